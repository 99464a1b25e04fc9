# Crashes of any process while events are delivered: workers come back by
# themselves, what is committed is delivered exactly once, and nothing that the
# horizon covered is lost, even if some sessions do not wait for the disk.
# Workers that are told to end come back too, and hold no shutdown up.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use GoesLoad;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# wal_writer_delay: what is not flushed for somebody may be lost
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
restart_after_crash = on
deadlock_timeout = 100ms
wal_writer_delay = 10s
max_connections = 50
log_line_prefix = '%m [%p] %b %a '
});
$node->start;
$node->safe_psql('postgres', $model);

sub query
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# Is the server there?
sub answers
{
	my ($stdout, $stderr);

	return $node->psql('postgres', 'SELECT 1', stdout => \$stdout, stderr => \$stderr) == 0;
}

# A reader outside of the server: each line of the file has a horizon, and what
# was read up to it, all under one snapshot.
my $read = PostgreSQL::Test::Utils::tempdir . '/read';
append_to_file($read, '');
sub start_outside_reader
{
	my ($last) = @_;

	return start_psql($node, 'outside', "\\set last $last\n" .
		(q{SELECT goes_horizon() AS horizon, coalesce(string_agg(position || ':' || id, ' '), '') AS seen, coalesce(max(position), :last) AS last FROM goes_events('{*}', :last) \gset
\echo :horizon :seen
SELECT pg_sleep(0.002) \gset
} x 20000), $read);
}

# What all readers have read so far: the greatest horizon, and the events.
sub what_was_read
{
	my ($horizon, $back, @events) = (0, 0);

	foreach my $line (split /\n/, slurp_file($read))
	{
		my ($h, @seen) = split / /, $line;
		$back++ if $h < $horizon;
		$horizon = $h;
		push @events, @seen;
	}
	return ($horizon, $back, @events);
}

# What the readers have read is what is there, in order.
sub check_reader
{
	my ($name) = @_;
	my ($horizon, $back, @events) = what_was_read();

	is($back, 0, "$name: the horizon has not gone back");
	cmp_ok(query('SELECT goes_horizon()'), '>=', $horizon, "$name: nor does it after the crash");
	my @there = split /\n/, query("SELECT position || ':' || id FROM all_events WHERE position <= $horizon ORDER BY position");
	my ($i, $n) = (0, @there > @events ? scalar @there : scalar @events);
	$i++ while $i < $n && ($there[$i] // '') eq ($events[$i] // '');
	ok($i == $n, "$name: what the horizon covered is there, and nothing else")
	  or diag("event number $i: read " . ($events[$i] // 'none') . ', there is ' . ($there[$i] // 'none'));
	return;
}

# The number of times that the server was ready.
sub times_ready
{
	return scalar(() = slurp_file($node->logfile) =~ /database system is ready to accept connections/g);
}

sub kill_child
{
	my ($pid) = @_;
	my $ready = times_ready();

	like($pid, qr/^\d+$/, 'somebody to kill') or return;
	kill 'KILL', $pid;
	wait_until('the restart of the server', sub { times_ready() > $ready && answers() });
	return;
}

# Ends the postmaster without a word, and starts another when all it had
# started has gone.
sub kill_postmaster
{
	my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	$node->kill9;
	wait_until('the end of the postmaster', sub { !kill 0, $pid });
	wait_until('the end of the processes', sub { $node->start(fail_ok => 1) });
	return;
}

my $busy = q{SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'load%' AND backend_type = 'client backend' ORDER BY random() LIMIT 1};
my %crash = (
	runner => sub { kill_child(pid_of($node, 'goes runner')) },
	dispatcher => sub { kill_child(pid_of($node, 'goes dispatcher')) },
	launcher => sub { kill_child(pid_of($node, 'goes launcher')) },
	backend => sub { kill_child(query($busy)) },
	postmaster => \&kill_postmaster,
	immediate => sub { $node->stop('immediate'); $node->start });

my $round = 0;
foreach my $what (qw(runner dispatcher launcher backend postmaster immediate runner backend postmaster immediate))
{
	my $name = 'round ' . ++$round . ", $what";
	my (undef, undef, @read) = what_was_read();
	my ($last) = @read ? $read[-1] =~ /^(\d+):/ : 0;
	my $before = query('SELECT count(*) FROM all_events');
	my $delivered = query('SELECT count(*) FROM log');
	my @processes = (start_load($node, 1000, 300), start_outside_reader($last));

	$node->poll_query_until('postgres', "SELECT count(*) > $before + 150 FROM all_events") or die 'timed out';
	$node->poll_query_until('postgres', "SELECT count(*) > $delivered + 300 FROM log") or die 'timed out';
	wait_until('reading', sub { my (undef, undef, @now) = what_was_read(); @now > @read + 50 });
	usleep(int(rand(300_000)));
	$crash{$what}->();
	stop_all(@processes);
	ok($processes[0]{result} != 0 && $processes[3]{result} != 0, "$name: there was a crash");
	is(query("SELECT goes_wait(timeout => '150s')"), 't', "$name: workers are back");
	check_reader($name);
}
settled($node, 'crashes');
is(wrong_deliveries($node), '', 'after all crashes every event is delivered exactly once and in order');
is(query(q{SELECT string_agg(DISTINCT backend_type, ',' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type ~ '^goes'}), 'goes dispatcher,goes launcher,goes runner', 'all kinds of workers are there');
is(query(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('goes dispatcher', 'goes launcher') AND coalesce(datname, 'postgres') = 'postgres'}), '2', 'one launcher, one dispatcher');

# Workers that are told to end, or to stop what they do, under load: they come
# back, or go on.
{
	my @load = start_load($node, 1000, 200);

	foreach my $type ('goes runner', 'goes dispatcher', 'goes launcher')
	{
		my $pid = pid_of($node, $type);

		is(query("SELECT pg_cancel_backend($pid)"), 't', "$type: cancelled");
		is(query(q{SELECT goes_do('hot.hit', id(1)) IS NOT NULL}), 't', "$type: commands go on");
		$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = '$type'") or die 'timed out';
		is(query("SELECT goes_wait(timeout => '150s')"), 't', "$type cancelled: all goes on");
		# one that the cancel has ended may be replaced by now
		$pid = wait_until($type, sub { pid_of($node, $type) });
		is(query("SELECT pg_terminate_backend($pid, 60000)"), 't', "$type: ends when it is told to");
		ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = '$type' AND pid <> $pid"), "$type: comes back");
		is(query("SELECT goes_wait(timeout => '150s')"), 't', "$type terminated: all goes on");
	}
	# all at once
	is(query("SELECT bool_and(pg_terminate_backend(pid, 60000)) FROM pg_stat_activity WHERE backend_type ~ '^goes'"), 't', 'all workers: end');
	is(query(q{SELECT goes_do('hot.hit', id(1)) IS NOT NULL}), 't', 'all workers: commands go on');
	is(query("SELECT goes_wait(timeout => '150s')"), 't', 'all workers terminated: all goes on');
	stop_all(@load);
}
settled($node, 'terminated workers');
is(wrong_deliveries($node), '', 'after workers were ended every event is delivered exactly once and in order');

# Shutdowns with workers busy: one sleeps in a reactor for longer than pg_ctl
# waits, the others have a lot to do.
$node->safe_psql('postgres', q{
CREATE TABLE nap (seconds integer);
INSERT INTO nap VALUES (0);
GRANT SELECT ON nap TO app;
SET ROLE app;
CREATE FUNCTION log_slow(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (reactor, position, type, aggregate_id, version)
    VALUES ('log_slow', event.position, event.aggregate_type, event.aggregate_id, event.aggregate_version);
    PERFORM pg_sleep(seconds) FROM nap;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'swallowed';
END $$;
SELECT goes_on('{cold}', async => '{log_slow}');
SELECT goes_alter_reactor('log_slow', timeout => '1h');
});
foreach my $mode ('smart', 'fast', 'immediate')
{
	my $from = query('SELECT coalesce(max(position), 0) FROM all_events');

	query('UPDATE nap SET seconds = 3600');
	query('SELECT hit_cold(20), hit_hot() FROM generate_series(1, 20)');
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'goes runner' AND wait_event = 'PgSleep'}) or die 'timed out';
	my @load = $mode eq 'smart' ? () : start_load($node, 1000, 300);
	$node->poll_query_until('postgres', "SELECT count(*) > $from + 430 FROM all_events") or die 'timed out' if @load;
	# fails the test if it times out
	$node->stop($mode);
	pass("$mode shutdown: ends");
	stop_all(@load);
	$node->start;
	query('UPDATE nap SET seconds = 0');
	# the first call after the start may have seen the old value
	$node->poll_query_until('postgres', q{SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity WHERE backend_type = 'goes runner' AND wait_event = 'PgSleep'}) or die 'timed out';
	settled($node, "$mode shutdown");
	is(query("SELECT count(*) > 400 FROM all_events WHERE position > $from"), 't', "$mode shutdown: there were events");
	is(query("SELECT position, type, aggregate_id, version FROM all_events WHERE type = 'cold' AND position > $from EXCEPT ALL SELECT position, type, aggregate_id, version FROM log WHERE reactor = 'log_slow'"),
		'', "$mode shutdown: what was interrupted is delivered");
	is(query("SELECT position FROM log WHERE reactor = 'log_slow' GROUP BY position HAVING count(*) > 1"), '', "$mode shutdown: and not twice");
}
query(q{DELETE FROM log WHERE reactor = 'log_slow'});
is(wrong_deliveries($node), '', 'after shutdowns every event is delivered exactly once and in order');

$node->stop;
# a start that comes too early
is(unexpected_log($node, qr/FATAL:  (pre-existing shared memory block|lock file)/), '', 'nothing strange in the log');
done_testing();
