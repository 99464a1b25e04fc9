# goes_dispatch and goes_import beside background workers: what is dispatched
# again reaches async and outside reactors once more, and not twice what they get
# anyway; imported events reach them only so, or after goes_rewind.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'");
$node->start;

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# What was noted since it was last asked for, after all is done.
sub noted
{
	is(query('SELECT goes_wait()'), 't', 'all is done');
	return query("WITH gone AS (DELETE FROM noted RETURNING *) SELECT string_agg(what, ' ' ORDER BY n) FROM gone");
}

query(<<'SQL');
CREATE ROLE keeper LOGIN;
CREATE EXTENSION goes;
GRANT CREATE ON SCHEMA public TO keeper;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE TABLE noted (n bigint GENERATED ALWAYS AS IDENTITY, what text);
GRANT ALL ON noted TO keeper;
SET ROLE keeper;
CREATE TABLE users (LIKE goes_base_aggregate INCLUDING ALL, name text);
CREATE TABLE mails (LIKE goes_base_aggregate INCLUDING ALL, name text);
CREATE FUNCTION create_user(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('created', command.data, transient => '{"password": "secret"}');
SELECT goes_register_aggregate('user', 'users'), goes_register_aggregate('mail', 'mails');
SELECT goes_register_event('user', 'created'), goes_register_event('user', 'renamed'), goes_register_event('mail', 'sent');
SELECT goes_register_command('user', 'create', 'create_user', target => 'new'), goes_register_command('user', 'rename', event => 'renamed'),
    goes_register_command('mail', 'send', event => 'sent', target => 'new');
CREATE FUNCTION later(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event.data ->> 'name' = 'fail' AND event.transient IS NULL THEN
        RAISE 'it has failed';
    END IF;
    INSERT INTO noted (what) VALUES (format('%s:%s%s%s', event.position, event.data ->> 'name', event.transient ->> 'password', CASE WHEN current_user <> 'keeper' THEN current_user END));
    IF event.data ? 'mail' THEN
        PERFORM goes_do('mail.send', data => event.data);
    END IF;
END $$;
CREATE FUNCTION import(name text, VARIADIC ids integer[]) RETURNS bigint LANGUAGE sql AS $$
SELECT goes_import('user', jsonb_agg(jsonb_build_object('aggregate_id', id(i), 'action', 'created', 'recorded_at', '2020-01-01T00:00:00Z', 'data', jsonb_build_object('name', name))))
FROM unnest(ids) i $$;
SELECT goes_do('user.create', id(1), '{"name": "one"}');
SELECT goes_do('user.rename', id(1), '{"name": "uno"}');
SELECT goes_on('{user}', async => '{later}', outside => '{program}');
SELECT goes_alter_reactor('later', max_attempts => 2, backoff => '10ms');
SELECT goes_do('user.create', id(2), '{"name": "two"}');
SELECT import('old', 3, 4);
SQL
is(noted(), '3:twosecret', 'new events come by themselves, imported ones do not');

# Events from before its time, one that it has had, and imported ones
query("SELECT goes_dispatch(e) FROM goes_events('{user.created}') e");
is(noted(), '1:one 3:two 4:old 5:old', 'again, in their order, as the owner of the function, without transient data');
query("SELECT goes_dispatch(e, 'later') FROM goes_events('{user}', max_events => 2) e");
is(noted(), '1:one 2:uno', 'to that reactor');
query("BEGIN; SELECT goes_dispatch(e) FROM goes_events() e; ROLLBACK");
is(noted(), '', 'nothing if that is rolled back');

# An imported event in the transaction that imports it
query("BEGIN; SELECT import('now', 5); SELECT goes_dispatch(ROW(position, NULL, 'user', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::goes_event) FROM users_events WHERE aggregate_id = id(5); COMMIT");
is(noted(), '6:now', 'one that has just been imported');

# What it still gets comes once.
query("SELECT goes_pause('later')");
query(q{SELECT goes_do('user.create', id(6), '{"name": "six"}')});
query("SELECT goes_wait(up_to => 7)");
query("SELECT goes_dispatch(e) FROM goes_events('{user}', 5) e");
query("SELECT goes_resume('later')");
is(noted(), '6:now 7:six', 'an event that was to come anyway comes once');
query("SELECT goes_rewind('later', 4)");
is(noted(), '5:old 6:now 7:six', 'a reactor that is rewound gets imported events by itself');

# Failures: a dead letter is none any more when it is dispatched again.
query(q{SELECT goes_do('user.rename', id(6), '{"name": "fail"}')});
query("SELECT goes_wait('later')");
$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM goes_dead_letters') or die 'no dead letter';
query("SELECT goes_dispatch(e) FROM goes_events('{user}', 7) e");
$node->poll_query_until('postgres', "SELECT attempts = 2 AND count(*) OVER () = 1 FROM goes_dead_letters WHERE NOT EXISTS (SELECT FROM goes.pending p JOIN goes.reactors r ON r.id = p.reactor WHERE r.mode = 'async')")
	or die 'no dead letter again';
is(query('SELECT failed FROM goes_stat_reactors WHERE mode = \'async\''), '4', 'a dead letter is tried again, as often as a new event');
query("CREATE OR REPLACE FUNCTION later(event goes_event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO noted (what) VALUES (event.data ->> 'name'); END \$\$");
query("SELECT goes_dispatch(e, 'later') FROM goes_events('{user}', 7) e");
is(noted(), 'fail', 'once it is mended');
is(query('SELECT count(*) FROM goes_dead_letters'), '0', 'no dead letter is left');

# Commands of the reactor are caused by the event.
query(q{CREATE OR REPLACE FUNCTION later(event goes_event) RETURNS void LANGUAGE sql AS $$ SELECT goes_do('mail.send', data => event.data) $$});
query("SELECT goes_dispatch(e, 'later') FROM goes_events('{user}', max_events => 1) e");
is(noted(), '', 'a reactor that executes a command');
is(query("SELECT data ->> 'name', (metadata ->> 'causation_id')::uuid = (SELECT id FROM users_events WHERE position = 1) FROM mails_events"), 'one|t', 'its cause is the event');

# A program
is(query("SELECT string_agg(position || coalesce(transient ->> 'password', ''), ' ' ORDER BY position) FROM goes_fetch('program', 10)"), '1 3secret 4 5 6 7secret',
	'a program gets what was dispatched, too');
is(query("SELECT count(goes_dispatch(e)) FROM goes_events('{user}', 2, 1) e"), '1', 'dispatched while a program has it');
is(query("SELECT count(*) FROM goes_fetch('program', 10)"), '0', 'it still has it');
is(query("SELECT goes_settle('program', '{1,3,4,5,6,7}')"), '6', 'all are settled');
is(query("SELECT goes_settle('program', array_agg(position)) FROM goes_fetch('program', 10)"), '1', 'so is what had to wait for one of them');
query("SELECT goes_dispatch(e) FROM goes_events('{user}', 2, 1) e");
is(query("SELECT position, transient FROM goes_fetch('program', 10)"), '3|', 'and now it comes again');

# Many, in parts
query(<<'SQL');
CREATE OR REPLACE FUNCTION later(event goes_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO noted (what) VALUES (event.position) $$;
SELECT goes_alter_reactor('later', parallelism => 3);
SELECT import('many', VARIADIC array_agg(i)) FROM generate_series(101, 400) i;
SQL
is(query('SELECT goes_wait()'), 't', 'all is done');
query("SELECT goes_dispatch(e, 'later') FROM goes_events('{user}') e WHERE (e.data ->> 'name') = 'many'");
is(query('SELECT goes_wait()'), 't', 'all is done');
is(query("SELECT count(*), count(DISTINCT what) FROM noted"), '300|300', 'each event once');
is(query('SELECT count(*) FROM goes.pending p JOIN goes.reactors r ON r.id = p.reactor WHERE r.mode = \'async\''), '0', 'nothing is left');

$node->stop;
done_testing();
