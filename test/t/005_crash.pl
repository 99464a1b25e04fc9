# A crash at any point leaves an event with its aggregate's version, or neither.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# What must hold after each crash, whatever was going on
my $wrong = q{
SELECT 'counter', c.id FROM counter c
WHERE (version, n) IS DISTINCT FROM (SELECT (count(*), count(*)) FROM counter_events e WHERE e.aggregate_id = c.id)
UNION ALL SELECT 'version', aggregate_id FROM counter_events
GROUP BY aggregate_id HAVING max(aggregate_version) <> count(*) OR min(aggregate_version) <> 1
UNION ALL SELECT 'orphan', aggregate_id FROM counter_events e WHERE NOT EXISTS (SELECT FROM counter c WHERE c.id = e.aggregate_id)
UNION ALL SELECT 'order', aggregate_id FROM (
    SELECT aggregate_id, aggregate_version, row_number() OVER (PARTITION BY aggregate_id ORDER BY position) AS n FROM counter_events) o
WHERE aggregate_version <> n
UNION ALL SELECT 'command', command_id FROM goes.commands c
WHERE event_position IS NULL OR NOT EXISTS (SELECT FROM counter_events e WHERE e.position = c.event_position AND e.command_id = c.command_id)
UNION ALL SELECT 'claim', command_id FROM counter_events e
WHERE command_id IS NOT NULL AND NOT EXISTS (SELECT FROM goes.commands c WHERE c.command_id = e.command_id)
UNION ALL SELECT 'log', l.id FROM log l FULL JOIN counter_events e ON e.id = l.id WHERE l.id IS NULL OR e.id IS NULL
UNION ALL SELECT 'position', NULL FROM goes.position WHERE last_value < (SELECT max(position) FROM counter_events)
};

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'\nrestart_after_crash = on");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION goes;
CREATE TABLE counter (LIKE goes_base_aggregate INCLUDING ALL, n bigint NOT NULL DEFAULT 0);
SELECT goes_register_aggregate('counter', 'counter');
CREATE FUNCTION up(aggregate counter, event goes_event) RETURNS counter LANGUAGE plpgsql
AS $$ BEGIN aggregate.n = aggregate.n + 1; RETURN aggregate; END $$;
SELECT goes_register_event('counter', 'went_up', calculator => 'up');
SELECT goes_register_command('counter', 'go_up', event => 'went_up', target => 'any');
CREATE TABLE log (id uuid PRIMARY KEY);
-- "wait" in the metadata makes the reactor wait, when all is written but not committed.
CREATE FUNCTION note(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log VALUES (event.id);
    IF event.metadata ? 'wait' THEN
        PERFORM pg_sleep(600);
    END IF;
END
$$;
SELECT goes_on('{counter}', sync => '{note}');
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
SELECT goes_do('counter.go_up', id(1), command_id => id(1));
});

# Starts psql in the background.
my ($out, $err) = ('', '');
sub background
{
	my ($sql) = @_;

	($out, $err) = ('', '');
	return IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ], '<', '/dev/null', '>', \$out, '2>', \$err);
}

# Waits until a session is in that wait, and returns its pid.
sub waiting
{
	my ($event) = @_;

	$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = '$event' AND query LIKE '%goes_do%' AND pid <> pg_backend_pid()")
		or die 'timed out';
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE wait_event = '$event' AND query LIKE '%goes_do%' AND pid <> pg_backend_pid()");
}

# A session that ends in the middle of a command, all of it written: terminated ...
{
	my $session = background(q{SELECT goes_do('counter.go_up', id(1), command_id => id(2), metadata => '{"wait": 1}')});
	my $pid = waiting('PgSleep');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$session->finish;
	like($err, qr/terminating connection/, 'terminated');
	is($node->safe_psql('postgres', $wrong), '', 'terminated: nothing is half done');
	is($node->safe_psql('postgres', 'SELECT version FROM counter'), '1', 'terminated: nothing is done');
	is($node->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(1), command_id => id(2)) -> 'aggregate_version'}), '2',
		'terminated: the command may run again');
}

# ... or killed, with which the server restarts
{
	my $session = background(q{SELECT goes_do('counter.go_up', id(1), command_id => id(3), metadata => '{"wait": 1}')});
	my $pid = waiting('PgSleep');
	kill 'KILL', $pid;
	$session->finish;
	$node->poll_query_until('postgres', 'SELECT true');
	is($node->safe_psql('postgres', $wrong), '', 'killed: nothing is half done');
	is($node->safe_psql('postgres', 'SELECT version, n FROM counter'), '2|2', 'killed: nothing is done');
	is($node->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(1), command_id => id(3)) -> 'aggregate_version'}), '3',
		'killed: the command may run again');
}

# An immediate shutdown while a command waits for the aggregate
{
	my $holder = background(q{SELECT goes_do('counter.go_up', id(1), metadata => '{"wait": 1}')});
	waiting('PgSleep');
	my ($stdout, $stderr);
	my $waiter = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q{SELECT goes_do('counter.go_up', id(1), command_id => id(4))} ],
		'<', '/dev/null', '>', \$stdout, '2>', \$stderr);
	waiting('transactionid');
	$node->stop('immediate');
	$_->finish foreach $holder, $waiter;
	$node->start;
	is($node->safe_psql('postgres', $wrong), '', 'immediate shutdown: nothing is half done');
	is($node->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(1), command_id => id(4)) -> 'aggregate_version'}), '4',
		'immediate shutdown: commands go on');
}

# Crashes while several sessions are busy, with whatever was flushed: what a
# client was told is there.
foreach my $round (1 .. 4)
{
	my $how = $round % 2 ? 'kill' : 'immediate';
	my $acknowledged = PostgreSQL::Test::Utils::tempdir . '/acknowledged';
	my @sessions;

	foreach my $i (1 .. 4)
	{
		my $script = PostgreSQL::Test::Utils::tempdir . '/script';

		append_to_file($script, "\\set QUIET 1\n\\t on\n\\a\n" . join '', map {
			my $id = ($round * 10 + $i) * 100000 + $_;
			"SELECT goes_do('counter.go_up', id($_ % 3 + 1), command_id => id($id)) ->> 'position' || ' $id';\n"
		} 1 .. 20000);
		push @sessions, IPC::Run::start([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ],
			'<', '/dev/null', '>', "$acknowledged$i", '2>', '/dev/null');
	}
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM counter_events');
	$node->poll_query_until('postgres', "SELECT count(*) > $before + 200 FROM counter_events") or die 'timed out';
	usleep(int(rand(300_000)));
	if ($how eq 'kill')
	{
		kill 'KILL', $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE query LIKE '%goes_do%' AND pid <> pg_backend_pid() LIMIT 1});
		$_->finish foreach @sessions;
		$node->poll_query_until('postgres', 'SELECT true');
	}
	else
	{
		$node->stop('immediate');
		$_->finish foreach @sessions;
		$node->start;
	}
	is($node->safe_psql('postgres', $wrong), '', "round $round, $how: nothing is half done");

	my @acknowledged = map { grep { /^\d+ \d+$/ } split /\n/, slurp_file("$acknowledged$_") } 1 .. 4;
	cmp_ok(scalar @acknowledged, '>', 100, "round $round, $how: there was work");
	my $values = join ',', map { my ($position, $id) = split; "($position, id($id))" } @acknowledged;
	is($node->safe_psql('postgres', "SELECT count(*) FROM (VALUES $values) a (position, command_id) LEFT JOIN counter_events e USING (position, command_id) WHERE e.id IS NULL"),
		'0', "round $round, $how: what clients were told is there");
	my $last = $node->safe_psql('postgres', 'SELECT max(position) FROM counter_events');
	cmp_ok($node->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(1)) -> 'position'}), '>', $last, "round $round, $how: positions go on");
}
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT position), count(*) - count(DISTINCT id) FROM counter_events'), '0|0', 'no position and no id is given twice');

# A standby refuses commands; promoted, it goes on where the primary died.
{
	$node->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->start;
	$node->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(1), command_id => id(5))});
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	my ($stdout, $stderr);
	isnt($standby->psql('postgres', q{SELECT goes_do('counter.go_up', id(1))}, stderr => \$stderr), 0, 'standby: refuses commands');
	like($stderr, qr/ERROR:  cannot /, 'standby: and says why');
	isnt($standby->psql('postgres', q{SELECT goes_register_event('counter', 'other')}, stderr => \$stderr), 0, 'standby: refuses registrations');

	# an open transaction whose changes the standby has in part
	my $session = background(q{SELECT goes_do('counter.go_up', id(1), command_id => id(6), metadata => '{"wait": 1}')});
	waiting('PgSleep');
	$node->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(2))});
	my $last = $node->safe_psql('postgres', 'SELECT max(position) FROM counter_events');
	my $version = $node->safe_psql('postgres', 'SELECT version FROM counter WHERE id = id(1)');
	$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
	$node->stop('immediate');
	$session->finish;
	$standby->promote;
	is($standby->safe_psql('postgres', $wrong), '', 'standby: nothing is half done');
	is($standby->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(1), command_id => id(6)) -> 'aggregate_version'}), $version + 1, 'standby: the command may run again');
	cmp_ok($standby->safe_psql('postgres', q{SELECT goes_do('counter.go_up', id(1)) -> 'position'}), '>', $last, 'standby: positions go on');
	is($standby->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT position) FROM counter_events'), '0', 'standby: no position is given twice');
	$standby->stop;
}

done_testing();
