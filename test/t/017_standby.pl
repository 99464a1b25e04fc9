# Reactors in the middle of their work are carried by dumps, standbys and base
# backups: what was done is done, the rest is done once, and in order.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
max_worker_processes = 64
goes.timeout = '10min'
});
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE source');

sub run
{
	my ($sql, $database, $server) = @_;

	return ($server // $node)->safe_psql($database // 'source', $sql);
}

sub poll
{
	my ($sql, $expected, $name, $database, $server) = @_;

	ok(($server // $node)->poll_query_until($database // 'source', $sql, $expected), $name);
	return;
}

# All reactors note what they get, and whether all was there by then: the guards
# of all tables, and data of the user's own.  An open gate lets those pass that
# wait or fail.
run(q{
SET client_min_messages = error;
CREATE EXTENSION goes;
CREATE TABLE alpha (LIKE goes_base_aggregate INCLUDING ALL, n integer);
CREATE TABLE zeta (LIKE goes_base_aggregate INCLUDING ALL, n integer);
SELECT goes_register_aggregate(t, t::regclass), goes_register_event(t, 'put'), goes_register_command(t, 'put', event => 'put', target => 'any')
FROM unnest('{alpha,zeta}'::text[]) t;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE FUNCTION put(n integer, type text DEFAULT 'alpha') RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN goes_do(type || '.put', public.id(n), jsonb_build_object('n', n)) -> 'position'; END $$;
CREATE TABLE reference (there boolean);
INSERT INTO reference VALUES (true);
CREATE TABLE gate (name text);
CREATE FUNCTION complete() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN RETURN (SELECT count(*) = 8 FROM pg_trigger WHERE tgname LIKE 'goes_guard%') AND EXISTS (SELECT FROM public.reference); END $$;
CREATE TABLE log (reactor text, position bigint, aggregate_id uuid, version bigint, at timestamptz DEFAULT clock_timestamp(),
    complete boolean DEFAULT complete(), pid integer DEFAULT pg_backend_pid());
CREATE FUNCTION handle(reactor text, event goes_event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n integer = event.data -> 'n';
BEGIN
    INSERT INTO log (reactor, position, aggregate_id, version) VALUES (reactor, event.position, event.aggregate_id, event.aggregate_version);
    IF NOT EXISTS (SELECT FROM gate WHERE name = reactor) AND
        (reactor = 'fails' AND n = 5 OR reactor = 'stops' AND n = 3 OR reactor = 'buries' AND n = 2 AND event.aggregate_version = 1) THEN
        RAISE 'reactor % fails', reactor;
    END IF;
    WHILE NOT EXISTS (SELECT FROM gate WHERE name = 'waits') AND
        (reactor IN ('fails', 'waits') AND n = 7 OR reactor = 'parts' AND n = 8) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
DO $$
DECLARE
    reactor text;
BEGIN
    FOREACH reactor IN ARRAY '{notes,fails,stops,buries,waits,parts,rests,quits}'::text[] LOOP
        EXECUTE format('CREATE FUNCTION %I(event goes_event) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN PERFORM handle(%L, event); END $f$', reactor, reactor);
        PERFORM goes_on('{*}', async => ARRAY[reactor]);
    END LOOP;
END $$;
SELECT goes_on('{zeta}', outside => '{fetcher}');
SELECT goes_alter_reactor('fails', backoff => '1 hour', max_backoff => '1 hour');
SELECT goes_alter_reactor('stops', max_attempts => 1, on_failure => 'stop');
SELECT goes_alter_reactor('buries', max_attempts => 1);
SELECT goes_alter_reactor('parts', parallelism => 4);
});

# In the middle of their work
run('SELECT put(i) FROM generate_series(1, 6) i; SELECT put(100 + i, \'zeta\') FROM generate_series(1, 6) i');
is(run($_), 't', $_) foreach q{SELECT goes_wait('notes')}, q{SELECT goes_wait('rests')}, q{SELECT goes_wait('quits')}, q{SELECT goes_wait('parts')}, q{SELECT goes_wait('buries')};
poll(q{SELECT count(*) FROM goes.pending WHERE attempts > 0}, '2', 'one reactor has failed, one is stopped');
run(q{SELECT goes_pause('rests'); SELECT goes_off('quits')});
is(run(q{SELECT count(*) FROM goes_fetch('fetcher', 2, lease => '1 hour', wait => '1 min')}), '2', 'two events fetched');
is(run(q{SELECT goes_settle('fetcher', ARRAY[min(position)]) FROM zeta_events}), '1', 'one of them settled');
run('SELECT put(i) FROM generate_series(7, 8) i');
my $busy = q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'source' AND backend_type = 'goes runner' AND wait_event = 'PgSleep'};
poll($busy, '3', 'three reactors are busy');
# behind them, and behind what has failed
run('SELECT put(i % 50 + 1) FROM generate_series(1, 200) i; SELECT put(100 + i, \'zeta\') FROM generate_series(7, 9) i; SELECT put(i % 50 + 1) FROM generate_series(1, 200) i; SELECT put(5), put(3), put(2)');
is(run(q{SELECT goes_wait('notes')}), 't', 'another one has all of them');
is(run(q{SELECT goes_wait('buries')}), 't', 'and one that has given one up');
poll(q{SELECT count(DISTINCT checkpoint) > 1 FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'public.parts'}, 't', 'parts are not equally far');

# What is carried as it is
my $carried = q{
SELECT 'horizon', max(position) >= HORIZON FROM goes.horizon;
SELECT 'reactor', r FROM goes.reactors r ORDER BY reactor;
SELECT 'dead letter', d FROM goes.dead_letters d ORDER BY 2;
SELECT 'progress', reactor, part, parts, barrier, imported_to FROM goes.progress ORDER BY 2, 3;
SELECT 'rests', p FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor ~ 'rests|quits|fetcher|buries|notes' ORDER BY 2;
SELECT 'pending', p FROM goes.pending p ORDER BY 2;
SELECT 'log', l FROM log l WHERE at < 'NOW' ORDER BY reactor, position};
my $horizon = run('SELECT goes_horizon()');
my $now = run('SELECT clock_timestamp()');
$carried =~ s/HORIZON/$horizon/;
$carried =~ s/NOW/$now/;
my $source = run($carried);
like($source, qr/^dead letter\|.*^pending\|.*^log\|/ms, 'there is something to carry');
like($source, qr/infinity/, 'a stopped aggregate too');
cmp_ok($horizon, '>', 400, 'and a horizon');

# What must be so in the end, for each reactor and event; the dead letter is one of the reactor's
my $wrong = q{
WITH events AS (SELECT position, aggregate_id, aggregate_version AS version FROM alpha_events
    UNION ALL SELECT position, aggregate_id, aggregate_version FROM zeta_events)
SELECT 'twice', reactor, position, count(*) FROM log GROUP BY reactor, position HAVING count(*) > 1
UNION ALL SELECT 'early', reactor, position, version FROM log WHERE NOT complete
UNION ALL SELECT 'order', reactor, position, version FROM (
    SELECT *, max(version) OVER (PARTITION BY reactor, aggregate_id ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM log) l WHERE before > version
UNION ALL SELECT 'unknown', reactor, position, l.version FROM log l WHERE NOT EXISTS (SELECT FROM events e WHERE (e.position, e.aggregate_id, e.version) = (l.position, l.aggregate_id, l.version))
UNION ALL SELECT 'missing', reactor, position, version FROM events CROSS JOIN unnest('{notes,fails,stops,buries,waits,parts,rests,quits}'::text[]) reactor
WHERE (reactor, position) NOT IN (SELECT reactor, position FROM log)
    AND (reactor, position) NOT IN (SELECT split_part(r.reactor, '.', 2), d.position FROM goes.dead_letters d JOIN goes.reactors r ON r.id = d.reactor)
ORDER BY 1, 2, 3};

# Whoever restores goes on from there: all that is left, and what comes then.
sub goes_on
{
	my ($name, $database, $server) = @_;
	my $last = run('SELECT max(position) FROM (SELECT position FROM alpha_events UNION ALL SELECT position FROM zeta_events) e', $database, $server);

	run(q{INSERT INTO gate VALUES ('fails'), ('stops'), ('waits');
		SELECT goes_resume('rests'); SELECT goes_on('{*}', async => '{quits}');
		SELECT goes_retry('fails') + goes_retry('stops')}, $database, $server);
	is(run(q{SELECT goes_wait(timeout => '1 min')}, $database, $server), 't', "$name: all is done");
	is(run($wrong, $database, $server), '', "$name: each reactor got each event once, in order, when all was there");
	is(run(q{SELECT sqlstate, error FROM goes.dead_letters}, $database, $server), 'P0001|reactor buries fails', "$name: there is the dead letter");
	is(run(q{SELECT array_agg(DISTINCT parts) FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'public.parts'}, $database, $server), '{4}', "$name: in as many parts");
	is(run(q{SELECT string_agg((data ->> 'n'), ',' ORDER BY position) FROM goes_fetch('fetcher', 100, wait => '1 min')}, $database, $server), '103,104,105,106,107,108,109', "$name: an outside reactor gets what was neither settled nor fetched");
	is(run('SELECT put(9)', $database, $server), $last + 1, "$name: positions go on");
	run("SELECT put(1, 'alpha'), put(5), put(101, 'zeta')", $database, $server);
	is(run('SELECT goes_wait()', $database, $server), 't', "$name: new events, too");
	is(run($wrong, $database, $server), '', "$name: each of them once");
	is(run('SELECT goes_horizon()', $database, $server), $last + 4, "$name: the horizon goes on");
	return;
}

# ---------------------------------------------------------------------------
# Dump and restore
# ---------------------------------------------------------------------------
my $dump = PostgreSQL::Test::Utils::tempdir;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
command_ok([ 'pg_dump', '-f', "$dump/plain.sql", 'source' ], 'pg_dump, plain');
command_ok([ 'pg_dump', '-Fc', '-f', "$dump/custom", 'source' ], 'pg_dump, custom');
command_ok([ 'pg_dump', '-s', '-f', "$dump/schema.sql", 'source' ], 'pg_dump, schema only');
command_ok([ 'pg_dump', '-a', '-Fc', '-f', "$dump/data", 'source' ], 'pg_dump, data only');
is(run($carried), $source, 'meanwhile nothing happened');
my @psql = ('psql', '-X', '-q', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1');
my @restore = ('pg_restore', '--exit-on-error');

sub database
{
	my ($name) = @_;

	run("CREATE DATABASE $name", 'postgres');
	return;
}

sub carried
{
	my ($name, $done) = @_;
	my $got = run($carried, $name);

	ok($got eq $source, "$name: horizon, progress, failures, dead letters and effects are carried");
	diag(join "\n", grep { my $line = $_; !grep { $_ eq $line } split /\n/, $source } split /\n/, $got) if $got ne $source;
	return;
}

# Lets the dispatcher look, more than once: nothing may come of it, so that not
# to wait long enough could only hide an error.
sub let_look
{
	my ($name, $database) = @_;

	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = '$database' AND backend_type = 'goes dispatcher'"), "$name: a dispatcher is there");
	sleep 1;
	is(run(q{SELECT count(*) FROM log WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()) OR NOT complete}, $database), '0', "$name: nothing is dispatched");
	is(run(q{SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'goes runner'}, $database), '0', "$name: no runner is there");
	return;
}

# Plain, in two parts: all but the last guard is there in the meantime.
{
	my ($first, $second) = slurp_file("$dump/plain.sql") =~ /^(.*)(^CREATE TRIGGER goes_guard.*)/ms or die 'no guard';

	append_to_file("$dump/first.sql", $first);
	append_to_file("$dump/second.sql", ($first =~ /^(\\restrict.*\n)/m ? $1 : '') . "SELECT pg_catalog.set_config('search_path', '', false);\n" . $second);
	database('plain');
	command_ok([ @psql, '-f', "$dump/first.sql", 'plain' ], 'plain: the first part');
	let_look('plain, before the last guard', 'plain');
	is(run($carried, 'plain'), $source, 'plain, before the last guard: nothing has changed');
	command_ok([ @psql, '-f', "$dump/second.sql", 'plain' ], 'plain: the second part');
	carried('plain');
	goes_on('plain', 'plain');
	run('DROP DATABASE plain', 'postgres');
}

database('at_once');
command_ok([ @restore, '-1', '-d', 'at_once', "$dump/custom" ], 'at_once: restored');
carried('at_once');
goes_on('at_once', 'at_once');
run('DROP DATABASE at_once', 'postgres');

foreach my $i (1 .. 3)
{
	database("parallel_$i");
	command_ok([ @restore, '-j', '4', '-d', "parallel_$i", "$dump/custom" ], "parallel_$i: restored");
	carried("parallel_$i");
	goes_on("parallel_$i", "parallel_$i") if $i == 1;
	run("DROP DATABASE parallel_$i", 'postgres');
}

# Restores in one session that makes a pause, after which it does what matches.
sub restore_slowly
{
	my ($database, $file, $later, $name, @options) = @_;
	my ($list, $in, $out) = ('', '', '');

	IPC::Run::run([ 'pg_restore', '-l', $file ], '>', \$list) or die;
	my @lines = grep { /^\d/ } split /\n/, $list;
	append_to_file("$dump/$database.list1", join("\n", grep { !/$later/ } @lines) . "\n");
	append_to_file("$dump/$database.list2", join("\n", grep { /$later/ } @lines) . "\n");
	command_ok([ 'pg_restore', @options, '-L', "$dump/$database.list$_", '-f', "$dump/$database$_.sql", $file ], "$name: part $_") foreach 1, 2;
	my $session = IPC::Run::start([ @psql, '-d', $node->connstr($database) ], '<', \$in, '>', \$out, '2>&1',
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$in .= "\\i $dump/${database}1.sql\n\\echo done\n";
	$session->pump while $session->pumpable && $out !~ /done\n/;
	# so that whoever begins too early does not stop at an event either
	run(q{INSERT INTO gate VALUES ('waits')}, $database);
	let_look($name, $database);
	$in .= "\\i $dump/${database}2.sql\n\\q\n";
	$session->finish;
	is($out, "done\n", "$name: no complaints");
	return;
}

# The order in which a worker of a parallel restore may do it: all of the events
# and their guards before the failures
database('worst');
restore_slowly('worst', "$dump/custom", qr/TABLE DATA goes (pending|dead_letters|inline_deliveries) /, 'worst order');
carried('worst');
goes_on('worst order', 'worst');
run('DROP DATABASE worst', 'postgres');

# Data only, where all guards are there before: the events of one type come last.
database('data');
command_ok([ @psql, '-f', "$dump/schema.sql", 'data' ], 'data only: the schema');
restore_slowly('data', "$dump/data", qr/TABLE DATA public zeta_events |SEQUENCE SET /, 'data only', '--disable-triggers');
carried('data');
goes_on('data only', 'data');
run('DROP DATABASE data', 'postgres');

# Without the sequence
{
	my $list;

	IPC::Run::run([ 'pg_restore', '-l', "$dump/custom" ], '>', \$list) or die;
	$list =~ s/^.*SEQUENCE SET goes position .*\n//m or die 'no sequence';
	append_to_file("$dump/lagging.list", $list);
	database('lagging');
	command_ok([ @restore, '-L', "$dump/lagging.list", '-d', 'lagging', "$dump/custom" ], 'lagging: restored without the sequence');
	carried('lagging');
	goes_on('lagging', 'lagging');
}
# and set back while the workers run
run(q{SELECT setval('goes.position', 3)}, 'lagging');
is(run('SELECT put(11); SELECT goes_wait()', 'lagging') =~ s/^\d+\n//r, 't', 'set back: a new event is delivered');
is(run($wrong, 'lagging'), '', 'set back: each reactor got each event once');
run('DROP DATABASE lagging', 'postgres');

# ---------------------------------------------------------------------------
# A standby
# ---------------------------------------------------------------------------
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

my $read_on = sub {
	my ($after) = @_;
	return qq{SELECT position FROM (SELECT position FROM alpha_events UNION ALL SELECT position FROM zeta_events) e WHERE position > $after AND position <= goes_horizon() ORDER BY position};
};
my $all = q{SELECT position FROM (SELECT position FROM alpha_events UNION ALL SELECT position FROM zeta_events) e ORDER BY position};

# Reading on while there is work: transactions that overlap, are rolled back, end in another order
{
	my $script = "$dump/load.sql";
	append_to_file($script, q{
\set n random(200, 220)
\set ms random(0, 5)
\set undo :ms = 3
BEGIN;
SELECT put(:n) FROM pg_sleep(0.001 * :ms);
SELECT put(:n + 100, 'zeta') FROM pg_sleep(0.001 * :ms);
\if :undo
ROLLBACK;
\else
COMMIT;
\endif
});
	my ($out, $err);
	my $load = IPC::Run::start([ 'pgbench', '-n', '-c', '6', '-t', '60', '-f', $script, 'source' ], '<', '/dev/null', '>', \$out, '2>', \$err);
	my (@seen, @events);
	my ($reads, $on) = (0, 1);
	while ($on)
	{
		$on = $load->pumpable;
		if (!$on)
		{
			$load->finish;
			is(run('SELECT goes_wait(\'notes\')'), 't', 'standby: the primary has done the work');
			$node->wait_for_catchup($standby, 'replay', $node->lsn('flush'));
		}
		else { $load->pump_nb }
		my $new = run($read_on->(@seen ? $seen[-1] : 0), 'source', $standby);
		push @seen, split /\n/, $new;
		push @events, split /\n/, run('SELECT position FROM goes_events(after => ' . (@events ? $events[-1] : 0) . ')', 'source', $standby);
		$reads++ if $new ne '';
	}
	like($out, qr/number of transactions actually processed: 360/, 'standby: there was work') or diag($err);
	cmp_ok($reads, '>', 2, 'standby: read on more than once');
	is("@seen", join(' ', split /\n/, run($all)), 'standby: whoever reads on up to the horizon misses nothing, and sees nothing twice');
	is("@events", "@seen", 'standby: goes_events, too');
	is(run('SELECT goes_horizon()', 'source', $standby), run('SELECT goes_horizon()'), 'standby: the horizon of the primary');
}

is(run(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'goes %'}, 'postgres', $standby), '0', 'standby: no workers');
foreach my $sql (
	'SELECT put(1)',
	q{SELECT goes_on('{*}', async => '{notes}', outside => '{another}')},
	q{SELECT goes_pause('notes')},
	q{SELECT goes_retry()},
	q{SELECT * FROM goes_fetch('fetcher')},
	q{SELECT goes_settle('fetcher', '{1}')})
{
	my $stderr;
	isnt($standby->psql('source', $sql, stderr => \$stderr, extra_params => [ '-v', 'VERBOSITY=verbose' ]), 0, "standby: refused: $sql");
	like($stderr, qr/ERROR:  25006: cannot /, "standby: 25006: $sql");
}
is(run(q{SELECT goes_wait('notes')}, 'source', $standby), 't', 'standby: goes_wait sees what was done');

# Promoted without the last commits, which the primary's reactors have had.
$standby->safe_psql('postgres', q{ALTER SYSTEM SET primary_conninfo = ''});
$standby->safe_psql('postgres', 'SELECT pg_reload_conf()');
poll('SELECT count(*) FROM pg_stat_wal_receiver', '0', 'promotion: the standby is cut off', 'postgres', $standby);
my $last = run('SELECT max(position) FROM (SELECT position FROM alpha_events UNION ALL SELECT position FROM zeta_events) e', 'source', $standby);
my $seen = run($read_on->(0), 'source', $standby);
my $known = run('SELECT goes_horizon()', 'source', $standby);
run('SELECT put(1), put(5), put(7), put(111, \'zeta\')');
is(run(q{SELECT goes_wait('notes')}), 't', 'promotion: the last events were delivered');
cmp_ok(run('SELECT goes_horizon()'), '>', $known, 'promotion: and covered by the horizon of the primary');
is(run('SELECT goes_horizon()', 'source', $standby), $known, 'promotion: the standby does not know');
$node->stop('immediate');
$standby->promote;
poll(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'goes dispatcher' AND datname = 'source'}, 't', 'promotion: workers start', 'postgres', $standby);
is(run('SELECT max(position) FROM (SELECT position FROM alpha_events UNION ALL SELECT position FROM zeta_events) e', 'source', $standby), $last, 'promotion: the last events are lost');
is(run($read_on->(0), 'source', $standby), $seen, 'promotion: but nothing that anybody has read there');
{
	# what the reactors did with it in the middle is as it was
	local $ENV{PGHOST} = $standby->host;
	local $ENV{PGPORT} = $standby->port;
	run(q{INSERT INTO gate VALUES ('fails'), ('stops'), ('waits'); SELECT goes_resume('rests'); SELECT goes_on('{*}', async => '{quits}'); SELECT goes_retry('fails') + goes_retry('stops')}, 'source', $standby);
	is(run(q{SELECT goes_wait(timeout => '1 min')}, 'source', $standby), 't', 'promotion: all is done');
	is(run($wrong, 'source', $standby), '', 'promotion: each reactor got each event that is there once, in order');
	cmp_ok(run('SELECT put(9)', 'source', $standby), '>', $last, 'promotion: positions go on');
	is(run('SELECT goes_wait()', 'source', $standby), 't', 'promotion: new events, too');
	is(run($wrong, 'source', $standby), '', 'promotion: each of them once');
	is(run('SELECT goes_horizon()', 'source', $standby), run($all, 'source', $standby) =~ s/.*\n//sr, 'promotion: the horizon goes on');
}
$standby->stop;

# ---------------------------------------------------------------------------
# A base backup as a server of its own
# ---------------------------------------------------------------------------
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'backup');
$copy->start;
poll(q{SELECT NOT pg_is_in_recovery()}, 't', 'base backup: a server of its own', 'postgres', $copy);
goes_on('base backup', 'source', $copy);
$copy->stop;

# The primary itself, after its crash
$node->start;
run(q{SELECT goes_rewind('fetcher', (SELECT min(position) FROM zeta_events))});
run(q{INSERT INTO gate VALUES ('fails'), ('stops'), ('waits'); SELECT goes_resume('rests'); SELECT goes_on('{*}', async => '{quits}'); SELECT goes_retry('fails') + goes_retry('stops')});
is(run(q{SELECT goes_wait(timeout => '1 min')}), 't', 'crash: all is done');
is(run($wrong), '', 'crash: each reactor got each event once, in order');

done_testing();
