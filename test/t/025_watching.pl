# goes_stat_commands: when sessions add what they have counted, what becomes of
# sessions that end in the middle of a command, of dropped databases, of more
# commands than there is room for, and of crashes.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'\nrestart_after_crash = on");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
GRANT CREATE ON SCHEMA public TO app;
CREATE EXTENSION goes;
SET ROLE app;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE TABLE things (LIKE goes_base_aggregate INCLUDING ALL);
CREATE FUNCTION build(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$
BEGIN
    IF command.data ? 'reject' THEN
        PERFORM goes_reject('no');
    ELSIF command.data ? 'fail' THEN
        RAISE 'failed';
    ELSIF command.data ? 'sleep' THEN
        PERFORM pg_sleep(1000);
    ELSIF command.data ? 'inside' THEN
        PERFORM goes_do('thing.put', id(77), '{"sleep": 1}');
    END IF;
    RETURN goes_event_data('put', '{}');
END $$;
SELECT goes_register_aggregate('thing', 'things'), goes_register_event('thing', 'put', calculator => NULL), goes_register_event('thing', 'noted', calculator => NULL),
    goes_register_command('thing', 'put', 'build', target => 'any'), goes_register_command('thing', 'note', event => 'noted', target => 'any');
SQL

# Of both commands: calls, rejected, failed
sub counted
{
	return $node->safe_psql('postgres', "SELECT string_agg(concat_ws(' ', calls, rejected, failed), ', ' ORDER BY command) FROM goes_stat_commands WHERE command ~ '(put|note)\$'");
}

# Waits until they are that.
sub counts
{
	my ($counts, $name) = @_;
	my ($note, $put) = map { join(' ', $_->@*) } $counts->@*;

	$node->poll_query_until('postgres', "SELECT string_agg(concat_ws(' ', calls, rejected, failed), ', ' ORDER BY command) FROM goes_stat_commands WHERE command ~ '(put|note)\$'", "$note, $put");
	is(counted(), "$note, $put", $name);
}

# A session with a pipe.
sub session
{
	my ($in, $out, $err) = ('', '', '');
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	return {
		process => $session,
		run => sub {
			$out = '';
			$in .= "$_[0];\n\\echo done\n";
			$session->pump until $out =~ /done\n/;
			return $out;
		}
	};
}

my $put = sub { "SELECT goes_do('thing.put', id($_[0]), '" . ($_[1] // '{}') . "') IS NULL" };

is(counted(), '0 0 0, 0 0 0', 'nothing was executed');

# An idle session adds what it has done, and one that is not in a transaction
# at its end; nobody waits for it to do anything else.
{
	my $session = session();

	$session->{run}->($put->(1)) for (1 .. 5);
	$session->{run}->($put->(1, '{"reject": 1}')) for (1 .. 3);
	my $begin = time();
	counts([ [ 0, 0, 0 ], [ 8, 3, 0 ] ], 'an idle session');
	cmp_ok(time() - $begin, '<', 20, 'adds its counts soon');
	$session->{run}->('BEGIN');
	$session->{run}->($put->(1)) for (1 .. 2);
	$session->{run}->('ROLLBACK');
	counts([ [ 0, 0, 0 ], [ 10, 3, 0 ] ], 'what it has rolled back');
	# the last one, right after the others were added
	$session->{run}->($put->(1, '{"fail": 1}'));
	$session->{run}->($put->(1, '{"fail": 1}'));
	$session->{process}->finish;
	counts([ [ 0, 0, 0 ], [ 12, 3, 2 ] ], 'a session that has ended');
}

# Ended in the middle of a command, and of one inside another
{
	my @sleepers = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $put->($_->@*) ], '<', '/dev/null', '>', '/dev/null', '2>', '/dev/null') }
		([ 2, '{"sleep": 1}' ], [ 3, '{"inside": 1}' ]);

	$node->poll_query_until('postgres', "SELECT count(*) = 2 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	eval { $_->finish } for @sleepers;
	counts([ [ 0, 0, 0 ], [ 15, 3, 5 ] ], 'sessions that were terminated');
	$node->psql('postgres', "SET statement_timeout = '100ms'; " . $put->(2, '{"sleep": 1}'));
	counts([ [ 0, 0, 0 ], [ 16, 3, 6 ] ], 'a command that was canceled');
}

# Many sessions at once
{
	$node->pgbench(
		'--client=5 --transactions=200 --no-vacuum',
		0, [qr/processed: 1000\/1000/], [qr/^$/],
		'concurrent sessions',
		{
			'025_watching' => q{
SELECT goes_do('thing.put', id(100 + :client_id));
SELECT goes_do('thing.note', id(200 + :client_id));
DO $$ BEGIN PERFORM goes_do('thing.put', id(1), '{"reject": 1}'); EXCEPTION WHEN SQLSTATE 'OG001' THEN END $$;
}
		});
	counts([ [ 1000, 0, 0 ], [ 2016, 1003, 6 ] ], 'many sessions');
}

# A runner that executes commands adds them before it sleeps.
{
	$node->safe_psql('postgres', q{
SET ROLE app;
CREATE FUNCTION react(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM goes_do('thing.note', event.aggregate_id); END $$;
SELECT goes_on('{thing.put}', async => '{react}');
SELECT goes_do('thing.put', id(300));});
	is($node->safe_psql('postgres', 'SELECT goes_wait()'), 't', 'a reactor has done its work');
	counts([ [ 1001, 0, 0 ], [ 2017, 1003, 6 ] ], 'its command');
	# not the first of its second
	$node->safe_psql('postgres', $put->(300) . ';' . $put->(301) . '; SELECT goes_wait(); ' . $put->(302));
	my $begin = time();
	counts([ [ 1004, 0, 0 ], [ 2020, 1003, 6 ] ], 'its commands');
	cmp_ok(time() - $begin, '<', 20, 'which it adds soon');
	$node->safe_psql('postgres', "SELECT goes_off('react')");
}

# Each database has its own, even a copy.
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'postgres' AND backend_type = 'client backend' AND pid <> pg_backend_pid()");
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE postgres');
is($node->safe_psql('other', 'SELECT sum(calls) FROM goes_stat_commands'), '0', 'a copied database');
$node->safe_psql('other', $put->(1));
is($node->safe_psql('other', 'SELECT sum(calls) FROM goes_stat_commands'), '1', 'counts its own commands');
is(counted(), '1004 0 0, 2020 1003 6', 'which the other one does not');

# There is room for 5000 commands of all databases. More than these make those
# that were not executed for the longest time lose their counts; a database
# that is dropped makes room.
my $many = q{INSERT INTO goes.command_types (aggregate_type, command, event, target, allow_deleted) SELECT 'thing', 'c' || i, 'noted', 'any', false FROM generate_series(1, %d) i};
my $execute = q{SET goes.metadata = ''; SELECT count(goes_do('thing.c' || i, id(1))) FROM generate_series(%d, %d) i};
$node->safe_psql('other', sprintf($many, 100));
$node->safe_psql('other', sprintf($execute, 1, 100));
$node->safe_psql('postgres', sprintf($many, 5100));
$node->safe_psql('postgres', sprintf($execute, 1, 4897));
is(counted(), '1004 0 0, 2020 1003 6', 'full, but for the copied database');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->safe_psql('postgres', sprintf($execute, 4898, 4998));
is($node->safe_psql('postgres', 'SELECT count(*), sum(calls) FROM goes_stat_commands WHERE calls > 0'), '5000|8022', 'full, when that is dropped');
is(counted(), '1004 0 0, 2020 1003 6', 'nothing is lost yet');
$node->safe_psql('postgres', sprintf($execute, 4999, 5100));
is(counted(), '0 0 0, 0 0 0', 'what was not executed for the longest time is lost');
is($node->safe_psql('postgres', "SELECT count(*), sum(calls) FROM goes_stat_commands WHERE calls > 0"), '5000|5000', 'as many as there is room for');
is($node->safe_psql('postgres', "SELECT count(*) FROM goes_stat_commands WHERE command IN (SELECT 'thing.c' || i FROM generate_series(200, 5100) i) AND calls = 1"), '4901', 'the latest of them');

# After a crash everything begins again.
{
	my $session = session();
	my ($pid) = $session->{run}->('SELECT pg_backend_pid()') =~ /(\d+)/;

	$session->{run}->($put->(1)) for (1 .. 3);
	kill 'KILL', $pid;
	eval { $session->{process}->finish };
	$node->poll_query_until('postgres', 'SELECT sum(calls) = 0 FROM goes_stat_commands');
	is($node->safe_psql('postgres', 'SELECT count(*), sum(calls) FROM goes_stat_commands'), '5102|0', 'a crash');
	$node->safe_psql('postgres', $put->(1));
	counts([ [ 0, 0, 0 ], [ 1, 0, 0 ] ], 'and it counts again');
}

# Graphviz can read the picture.
SKIP:
{
	my ($svg, $err) = ('', '');

	skip 'there is no Graphviz', 2 if !eval { IPC::Run::run([ 'dot', '-V' ], '>', \$svg, '2>', \$err) };
	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE "Tab ""le"" <b>&amp;</b> \N" (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('Ty "pe"', '"Tab ""le"" <b>&amp;</b> \N"'), goes_register_event('Ty "pe"', 'ma]de'), goes_register_command('Ty "pe"', '"];--> \', event => 'ma]de');
DELETE FROM goes.command_types WHERE command ~ '^c\d';
SQL
	my $dot = $node->safe_psql('postgres', q{SELECT goes_dataflow('dot')});
	ok(IPC::Run::run([ 'dot', '-Tplain' ], '<', \$dot, '>', \my $plain, '2>', \$err) && $err eq '', 'Graphviz reads it') or diag($err);
	is(scalar(() = $plain =~ /^edge /mg), scalar(() = $dot =~ / -> n/g), 'all edges');
}

done_testing();
