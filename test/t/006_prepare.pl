# PREPARE TRANSACTION: refused after an event was appended, allowed otherwise.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = error;
CREATE EXTENSION goes;
CREATE TABLE thing (LIKE goes_base_aggregate INCLUDING ALL, name text);
SELECT goes_register_aggregate('thing', 'thing');
SELECT goes_register_event('thing', 'put');
SELECT goes_register_command('thing', 'put', event => 'put', target => 'any');
CREATE FUNCTION nothing(aggregate thing, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN NULL::goes_event_data;
SELECT goes_register_command('thing', 'nothing', build => 'nothing', target => 'any');
CREATE TABLE other (name text);
});

# Runs it all in one session; returns what it wrote, errors included.
sub run
{
	my ($sql) = @_;
	my ($stdout, $stderr);

	$node->psql('postgres', $sql, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $stdout . $stderr;
}

# After an event
my $out = run(q{BEGIN; SELECT goes_do('thing.put', data => '{"name": "a"}') IS NOT NULL; PREPARE TRANSACTION 'event'; SELECT count(*) FROM thing;});
like($out, qr/ERROR:  0A000: cannot PREPARE a transaction that has executed goes commands/, 'refused after an event');
is($node->safe_psql('postgres', 'SELECT count(*), (SELECT count(*) FROM thing_events), (SELECT count(*) FROM pg_prepared_xacts) FROM thing'), '0|0|0', 'nothing remains');
$out = run(q{BEGIN; SELECT count(*) FROM goes_execute_many('[{"command": "thing.put"}, {"command": "thing.put"}]'); PREPARE TRANSACTION 'many';});
like($out, qr/0A000/, 'refused after several events');
$out = run(q{BEGIN; SAVEPOINT s; SELECT goes_do('thing.put') IS NOT NULL; RELEASE s; PREPARE TRANSACTION 'savepoint';});
like($out, qr/0A000/, 'refused after an event in a subtransaction');
$out = run(q{BEGIN; DO $$ BEGIN PERFORM goes_do('thing.put'); EXCEPTION WHEN OTHERS THEN RAISE; END $$; PREPARE TRANSACTION 'do';});
like($out, qr/0A000/, 'refused after an event in a PL/pgSQL block');

# After an event that is only appended at the end, by a deferred trigger
$node->safe_psql('postgres', q{
CREATE TABLE later (name text);
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM goes_do('thing.put'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON later INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later();
});
$out = run(q{BEGIN; INSERT INTO later VALUES ('a'); PREPARE TRANSACTION 'deferred';});
like($out, qr/0A000/, 'refused after an event that a deferred trigger appended');
$out = run(q{BEGIN; INSERT INTO later VALUES ('a'); COMMIT; SELECT count(*) FROM thing_events;});
is($out, '1', 'which appends it at COMMIT');
$out = run(q{BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT goes_do('thing.put') -> 'aggregate_version'; COMMIT; FETCH ALL FROM c; SELECT count(*) FROM thing_events;});
is($out, "1\n2", 'as does a cursor WITH HOLD');

# The session goes on, and the refusal is not remembered.
$out = run(q{
BEGIN; SELECT goes_do('thing.put') IS NOT NULL; PREPARE TRANSACTION 'refused';
BEGIN; INSERT INTO other VALUES ('a'); PREPARE TRANSACTION 'allowed';
SELECT goes_do('thing.put') IS NOT NULL;
BEGIN; INSERT INTO other VALUES ('b'); PREPARE TRANSACTION 'allowed too';
BEGIN; SELECT goes_do('thing.put') IS NOT NULL; ROLLBACK;
BEGIN; INSERT INTO other VALUES ('c'); PREPARE TRANSACTION 'allowed after a rollback';
COMMIT PREPARED 'allowed'; COMMIT PREPARED 'allowed too'; COMMIT PREPARED 'allowed after a rollback';
});
is(scalar(() = $out =~ /ERROR/g), 1, 'allowed in later transactions') or diag($out);
is($node->safe_psql('postgres', 'SELECT count(*) FROM other'), '3', 'and committed');

# Without an event
$out = run(q{
BEGIN; SELECT goes_do('thing.nothing', '00000000-0000-0000-0000-000000000001', command_id => '00000000-0000-0000-0000-000000000001') IS NULL; PREPARE TRANSACTION 'nothing'; COMMIT PREPARED 'nothing';
BEGIN; DO $$ BEGIN PERFORM goes_do('thing.unknown'); EXCEPTION WHEN SQLSTATE 'OG008' THEN NULL; END $$; PREPARE TRANSACTION 'failed'; COMMIT PREPARED 'failed';
BEGIN; SELECT goes_uuidv7() IS NOT NULL; SELECT count(*) FROM goes.event_types; PREPARE TRANSACTION 'read'; COMMIT PREPARED 'read';
});
unlike($out, qr/ERROR/, 'allowed without an event');

# A model may be prepared.
$out = run(q{BEGIN; SELECT goes_register_event('thing', 'named', 2); SELECT goes_register_command('thing', 'name', event => 'named'); PREPARE TRANSACTION 'model';});
unlike($out, qr/ERROR/, 'a registration is prepared');
is(run(q{SELECT goes_do('thing.put', '00000000-0000-0000-0000-000000000001') -> 'aggregate_version';}), '1', 'commands go on meanwhile');
like(run(q{SELECT goes_do('thing.name', '00000000-0000-0000-0000-000000000001')}), qr/OG008/, 'without what is only prepared');
is(run(q{
SELECT goes_do('thing.put', '00000000-0000-0000-0000-000000000001') -> 'aggregate_version';
COMMIT PREPARED 'model';
SELECT goes_do('thing.name', '00000000-0000-0000-0000-000000000001') -> 'event_version';}), "2\n2", 'which is seen when it is committed');

# A command id that is prepared waits, also over a restart.
$out = run(q{BEGIN; SELECT goes_do('thing.nothing', '00000000-0000-0000-0000-000000000002', command_id => '00000000-0000-0000-0000-000000000002'); PREPARE TRANSACTION 'claim';});
unlike($out, qr/ERROR/, 'a command id is prepared');
$node->restart;
like(run(q{SET lock_timeout = '100ms'; SELECT goes_do('thing.nothing', '00000000-0000-0000-0000-000000000002', command_id => '00000000-0000-0000-0000-000000000002');}),
	qr/55P03/, 'which others wait for');
is(run(q{ROLLBACK PREPARED 'claim'; SELECT goes_do('thing.nothing', '00000000-0000-0000-0000-000000000002', command_id => '00000000-0000-0000-0000-000000000002') IS NULL;}), 't', 'and which may be given back');
$node->stop;

done_testing();
