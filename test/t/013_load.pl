# Under load every committed event reaches every async reactor exactly once and
# in order, a reader who remembers a position misses nothing and sees nothing
# twice, and only transactions that have appended hold the horizon back.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use GoesLoad;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $LOAD_SECONDS = 10;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
deadlock_timeout = 100ms
max_connections = 50
log_line_prefix = '%m [%p] %b %a '
});
$node->start;
$node->safe_psql('postgres', $model);
$node->safe_psql('postgres', q{
CREATE TABLE junk (x integer);
CREATE TABLE seen (reader text, n bigint GENERATED ALWAYS AS IDENTITY, position bigint, id uuid, type text, aggregate_id uuid, version bigint, horizon bigint);
CREATE INDEX ON seen (reader, n);
CREATE TABLE probe (n bigint GENERATED ALWAYS AS IDENTITY, horizon bigint, events bigint);
GRANT ALL ON seen, probe TO app;
});
# a copy: its extension and its sequence have the same OIDs
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE postgres');

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

sub delivered
{
	my ($position) = @_;

	return query("SELECT count(*), count(DISTINCT reactor) FROM log WHERE position = $position AND reactor IN ('log_sql', 'log_plpgsql', 'log_parallel', 'log_failing')");
}

# A cold event; its position.  It reaches the four reactors that note all.
my $hit = q{SELECT goes_do('cold.hit', gen_random_uuid()) -> 'position'};

# Who has appended nothing delays nobody, nor does another database.
{
	my $session = GoesLoad::Session->new($node);
	my $other = GoesLoad::Session->new($node, 'other');
	my @idle = map { GoesLoad::Session->new($node) } 1 .. 4;

	$idle[0]->ask('BEGIN; SELECT count(*) FROM cold_events');
	$idle[1]->ask('BEGIN; INSERT INTO junk VALUES (1); SELECT txid_current()');
	$idle[2]->ask('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cold_events; SELECT goes_horizon()');
	$idle[3]->ask('BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO junk VALUES (2); SELECT goes_horizon()');
	like($other->ask("BEGIN; $hit"), qr/^\d+$/, 'a transaction of another database has appended');
	my $position = $session->ask($hit);
	like($position, qr/^\d+$/, 'appended');
	is(query("SELECT goes_wait(up_to => $position, timeout => '150s')"), 't', 'idle transactions delay no reactor');
	is(delivered($position), '4|4', 'idle transactions: delivered');
	cmp_ok(query('SELECT goes_horizon()'), '>=', $position, 'idle transactions: the horizon goes on');
	is(query("SELECT count(*) FROM goes_events('{*}', $position - 1)"), '1', 'idle transactions: goes_events goes on');
	is(query('SELECT holder_pid IS NULL AND held_since IS NULL AND horizon = last_position FROM goes_stat_horizon'), 't', 'idle transactions: nobody holds the horizon');
	is($idle[2]->ask("SELECT count(*) FROM goes_events('{*}', $position - 1)"), '0', 'a snapshot has the horizon of its time');
	# in it goes_wait sees what others do
	is($idle[2]->ask("SELECT goes_wait(up_to => $position, timeout => '150s')"), 't', 'goes_wait does not depend on the snapshot');
	$_->ask('COMMIT') foreach @idle;
	$_->quit foreach $session, $other, @idle;
}

# One that has appended delays only what is above its first position.
foreach my $end ('COMMIT', 'ROLLBACK', 'terminate', 'ROLLBACK TO a')
{
	my ($writer, $holder, $session) = map { GoesLoad::Session->new($node) } 1 .. 3;

	my $before = $writer->ask("BEGIN; $hit");
	$holder->ask('BEGIN; SAVEPOINT a');
	my $first = $holder->ask($hit);
	my $after = $session->ask($hit);
	my $second = $holder->ask($hit);
	my $last = $session->ask($hit);
	is("$first $after $second $last", join(' ', map { $before + $_ } 1 .. 4), "$end: positions");
	is(query('SELECT holder_pid, held_since <= clock_timestamp(), horizon, last_position FROM goes_stat_horizon'),
		"$writer->{pid}|t|" . ($before - 1) . "|$last", "$end: the first one holds the horizon");
	$writer->ask('COMMIT');
	is(query("SELECT goes_wait(up_to => $before, timeout => '150s')"), 't', "$end: what is before the held one goes on");
	is(delivered($before), '4|4', "$end: it is delivered");
	is(query('SELECT holder_pid, held_since <= clock_timestamp(), horizon, last_position FROM goes_stat_horizon'),
		"$holder->{pid}|t|$before|$last", "$end: the other one holds the horizon");
	is(query("SELECT goes_wait(up_to => $after, timeout => '300ms')"), 'f', "$end: what is after it waits");
	is(query("SELECT count(*) FROM log WHERE position > $before"), '0', "$end: nothing after it is delivered");
	is(query('SELECT goes_horizon()'), $before, "$end: the stored horizon");
	is(query("SELECT count(*), min(position) FROM goes_events('{*}', $before - 1)"), "1|$before", "$end: goes_events ends before it");
	if ($end eq 'terminate')
	{
		is(query("SELECT pg_terminate_backend($holder->{pid}, 60000)"), 't', "$end: it ends");
	}
	elsif ($end eq 'ROLLBACK TO a')
	{
		# the horizon may wait for the end of the transaction
		$holder->ask('ROLLBACK TO a');
		$holder->ask('COMMIT');
	}
	else
	{
		$holder->ask($end);
	}
	is(query("SELECT goes_wait(timeout => '150s')"), 't', "$end: then the rest goes on");
	is(delivered($after), '4|4', "$end: what waited is delivered");
	is(delivered($last), '4|4', "$end: to the last");
	is(delivered($first) . ' ' . delivered($second), $end eq 'COMMIT' ? '4|4 4|4' : '0|0 0|0', "$end: what the holder did");
	is(query("SELECT goes_horizon() = $last"), 't', "$end: the horizon is the last position");
	is(query('SELECT holder_pid IS NULL FROM goes_stat_horizon'), 't', "$end: nobody holds it any more");
	$_->quit foreach $writer, $session;
	$holder->{run}->finish if $end eq 'terminate';
	$holder->quit if $end ne 'terminate';
}

# One that has used another extension of that name, which it then undid, holds
# the horizon all the same.
{
	my ($holder, $session) = map { GoesLoad::Session->new($node) } 1 .. 2;

	like($holder->ask(q{
SET client_min_messages = error;
BEGIN;
SAVEPOINT a;
DROP EXTENSION goes CASCADE;
CREATE EXTENSION goes;
CREATE TABLE thing (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('thing', 'thing');
SELECT goes_register_event('thing', 'hit');
SELECT goes_register_command('thing', 'hit', event => 'hit', target => 'any');
SELECT goes_do('thing.hit') -> 'position';
ROLLBACK TO a}), qr/^thing_events\n\n\n1$/, 'another extension, rolled back');
	my $first = $holder->ask($hit);
	my $after = $session->ask($hit);
	is($after, $first + 1, 'another extension: positions');
	is(query("SELECT goes_wait(up_to => $after, timeout => '1s')"), 'f', 'another extension: the horizon is held');
	is(query("SELECT count(*) FROM log WHERE position >= $first"), '0', 'another extension: nothing after it is delivered');
	$holder->ask('COMMIT');
	is(query("SELECT goes_wait(timeout => '150s')"), 't', 'another extension: then all goes on');
	is(delivered($first) . ' ' . delivered($after), '4|4 4|4', 'another extension: all is delivered');
	$_->quit foreach $holder, $session;
}

# A reactor that is changed while a runner reads what it is like, which a lock
# makes last: what counts is how it was when the change had committed.
{
	my ($locker, $session) = map { GoesLoad::Session->new($node) } 1 .. 2;
	my $reading = q{SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE NOT l.granted AND l.relation = '%s'::regclass AND a.backend_type = 'goes runner'};

	query(q{
SET ROLE app;
CREATE FUNCTION log_late(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (reactor, position, type, aggregate_id, version)
    VALUES ('log_late', event.position, event.aggregate_type, event.aggregate_id, event.aggregate_version);
END $$;
SELECT goes_on('{hot}', async => '{log_late}')});
	query("SELECT goes_wait(timeout => '150s')");
	$locker->ask('BEGIN; LOCK TABLE goes.pending');
	$session->ask(q{SELECT goes_register_event('cold', 'reload')});
	ok($node->poll_query_until('postgres', sprintf($reading, 'goes.pending')), 'new patterns: a runner has read the old ones');
	$session->ask(q{SELECT goes_on('{cold}', async => '{log_late}')});
	my $position = $session->ask($hit);
	# an event that takes the checkpoint past it
	$session->ask('SELECT hit_hot()');
	$locker->ask('COMMIT');
	is(query("SELECT goes_wait(timeout => '150s')"), 't', 'new patterns: all goes on');
	is(query("SELECT count(*) FROM log WHERE reactor = 'log_late' AND position = $position"), '1', 'new patterns: what was appended after them is delivered');

	query("SELECT goes_alter_reactor('log_parallel', parallelism => 1)");
	my $parts = q{SELECT count(*) = %1$d AND min(parts) = %1$d AND max(parts) = %1$d AND bool_and(barrier IS NULL)
FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'public.log_parallel'};
	ok($node->poll_query_until('postgres', sprintf($parts, 1)), 'parallelism 1: takes effect');
	query("SELECT goes_wait(timeout => '150s')");
	$locker->ask('BEGIN; LOCK TABLE goes.progress');
	$session->ask(q{SELECT goes_register_event('cold', 'reload again')});
	ok($node->poll_query_until('postgres', sprintf($reading, 'goes.progress')), 'parallelism: a runner has read the old one');
	$locker->ask("SELECT goes_alter_reactor('log_parallel', parallelism => 3)");
	$locker->ask('COMMIT');
	ok($node->poll_query_until('postgres', sprintf($parts, 3)), 'parallelism 3: takes effect');
	# and again and again, with events
	foreach my $i (1 .. 30)
	{
		$session->ask("$hit; SELECT goes_alter_reactor('log_parallel', parallelism => 1 + $i % 4); $hit; SELECT goes_alter_reactor('log_parallel', parallelism => 3)");
	}
	ok($node->poll_query_until('postgres', sprintf($parts, 3)), 'parallelism: takes effect, however often it is changed');
	query(q{SELECT goes_off('log_late', forget => true); DELETE FROM log WHERE reactor = 'log_late'});
	$_->quit foreach $locker, $session;
}

# Load.  One reader reads and commits, the other reads several times in a
# transaction; the first also notes how many events the horizon covers.
my $see = q{INSERT INTO seen (reader, position, id, type, aggregate_id, version, horizon)
SELECT '%s', e.position, e.id, e.aggregate_type, e.aggregate_id, e.aggregate_version, goes_horizon() FROM goes_events('{*}', :last, %s) e;
};
my $last = q{SELECT coalesce((SELECT position FROM seen WHERE reader = '%s' ORDER BY n DESC LIMIT 1), 0) AS last \gset
};
my $read_committed = sprintf($last, 'committed') . sprintf($see, 'committed', 'NULL') .
  "INSERT INTO probe (horizon, events) SELECT h, (SELECT count(*) FROM all_events WHERE position <= h) FROM goes_horizon() h;\n";
my $read_repeatable = "BEGIN ISOLATION LEVEL REPEATABLE READ;\n" .
  join('', map { sprintf($last, 'repeatable') . sprintf($see, 'repeatable', 7) . "\\sleep 3 ms\n" } 1 .. 6) . "COMMIT;\n";
my @readers = (start_reader($node, 'committed', $read_committed), start_reader($node, 'repeatable', $read_repeatable));

# Sessions that are killed, and have errors.
my $victim = join '', map { $_ . ";\n" } (
	'SELECT hit_cold(2)', 'SELECT hit_hot()',
	'BEGIN', 'SELECT hit_cold(1)', 'SELECT 1 / 0', 'COMMIT',
	'BEGIN', 'SELECT hit_hot()', 'SELECT pg_sleep(random() * 0.2)', 'SELECT hit_cold(1)', 'COMMIT',
	q{SELECT goes_do('hot.unknown')},
	'BEGIN', 'SELECT hit_cold(1)', 'SAVEPOINT a', 'SELECT hit_cold(1)', 'SELECT 1 / 0', 'ROLLBACK TO a', 'SELECT pg_sleep(random() * 0.2)', 'COMMIT');
$victim x= 1000;
my @load = start_load($node, $LOAD_SECONDS, 120);
my @victims;
my %ended = (terminate => 0, TERM => 0, INT => 0);
my $end = time + $LOAD_SECONDS;
my $kills = 0;
while (time < $end)
{
	my @ended = grep { !$_->{run}->pumpable } @victims;
	stop_gently(@ended);
	@victims = grep { $_->{run}->pumpable } @victims;
	push @victims, start_psql($node, 'victim', $victim) while @victims < 2;
	usleep(rand(300_000));
	my $pid = query("SELECT pid FROM pg_stat_activity WHERE application_name = 'victim' AND backend_type = 'client backend' ORDER BY random() LIMIT 1");
	next unless $pid;
	my $how = (sort keys %ended)[ $kills++ % 3 ];
	$ended{$how}++ if $how eq 'terminate' ? query("SELECT pg_terminate_backend($pid)") eq 't' : kill $how, $pid;
}
stop_gently(@load);
stop_all(@victims);
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name IN ('load', 'load async', 'load slow', 'victim')") or die 'timed out';
foreach my $load (@load)
{
	ok($load->{result} == 0, "$load->{name}: went well") or diag(slurp_file($load->{err}));
}
cmp_ok($ended{$_}, '>', 0, "sessions were ended: $_") foreach sort keys %ended;
settled($node, 'load');

cmp_ok(query("SELECT min(n) FROM (SELECT count(*) AS n FROM all_events GROUP BY type) t"), '>', 50, 'there was load');
cmp_ok(query('SELECT (SELECT last_value FROM goes.position) - count(*) FROM all_events'), '>', 50, 'much was rolled back');
cmp_ok(query("SELECT count(*) FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor ~ 'log_parallel' AND processed > 20"), '==', 3, 'three parts had work')
  or diag(query("SELECT p FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor ~ 'log_parallel'"));
cmp_ok(query("SELECT sum(failed) FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor ~ 'log_failing'"), '>', 0, 'a reactor has failed');
is(query(q{SELECT string_agg(reactor, ' ' ORDER BY reactor) FROM (SELECT r.reactor FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor GROUP BY 1 HAVING sum(failed) = 0 AND count(*) = 1) r}),
	'public.log_echo public.log_plpgsql public.log_sql', 'others have not, and have one part');
is(wrong_deliveries($node), '', 'every event is delivered exactly once and in order');

# The readers come to the end by themselves.
foreach my $reader ('committed', 'repeatable')
{
	my $max = query('SELECT max(position) FROM all_events');

	ok($node->poll_query_until('postgres', "SELECT max(position) = $max FROM seen WHERE reader = '$reader'"), "reader $reader: reaches the end");
	cmp_ok(query("SELECT count(DISTINCT horizon) FROM seen WHERE reader = '$reader'"), '>', 5, "reader $reader: many reads");
	is(query("SELECT position, id, type, aggregate_id, version FROM all_events EXCEPT ALL SELECT position, id, type, aggregate_id, version FROM seen WHERE reader = '$reader' LIMIT 5"), '',
		"reader $reader: misses nothing");
	is(query("SELECT position, id, type, aggregate_id, version FROM seen WHERE reader = '$reader' EXCEPT ALL SELECT position, id, type, aggregate_id, version FROM all_events LIMIT 5"), '',
		"reader $reader: sees nothing twice, and nothing that was rolled back");
	is(query("SELECT position, before FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM seen WHERE reader = '$reader') s WHERE position <= before LIMIT 5"), '',
		"reader $reader: in order");
	is(query("SELECT position, horizon FROM seen WHERE position > horizon LIMIT 5"), '', "reader $reader: nothing above the horizon");
}
foreach my $reader (@readers)
{
	ok($reader->{run}->pumpable, "reader $reader->{name}: had no error") or diag(slurp_file($reader->{err}));
}
stop_all(@readers);
cmp_ok(query('SELECT count(DISTINCT horizon) FROM probe'), '>', 5, 'the horizon has moved');
is(query('SELECT horizon, before FROM (SELECT horizon, lag(horizon) OVER (ORDER BY n) AS before FROM probe) p WHERE horizon < before LIMIT 5'), '', 'the horizon never goes back');
is(query('SELECT horizon, events, now FROM (SELECT horizon, events, (SELECT count(*) FROM all_events WHERE position <= horizon) AS now FROM probe) p WHERE events <> now LIMIT 5'), '',
	'no event at or below a horizon appears or disappears');

$node->stop;
is(unexpected_log($node), '', 'nothing strange in the log');
done_testing();
