# The background workers: they are there without configuration, wherever goes
# is, they are in nobody's way, and they come back by themselves.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
max_worker_processes = 32
autovacuum = off
allow_in_place_tablespaces = on
goes.backoff = '10ms'
goes.max_backoff = '10ms'
goes.max_attempts = 1000000
});
$node->start;

my $extension = 'SET client_min_messages = error; CREATE EXTENSION goes;';
my $register = q{
SELECT goes_register_aggregate('thing', 'thing'), goes_register_event('thing', 'put'),
    goes_register_command('thing', 'put', event => 'put', target => 'any');
SELECT goes_on('{thing}', async => '{react}', start => (SELECT coalesce(max(position), 0) FROM log));
};
my $model = $extension . q{
CREATE TABLE thing (LIKE goes_base_aggregate INCLUDING ALL, what text);
CREATE TABLE log (position bigint, what text, database name DEFAULT current_database());
CREATE TABLE gate (is_open boolean);
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE FUNCTION put(n integer, what text DEFAULT 'note') RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN goes_do('thing.put', id(n), jsonb_build_object('what', what)) -> 'position'; END $$;
-- Notes the event; waits at the gate, or fails, if the event says so.
CREATE FUNCTION react(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log VALUES (event.position, event.data ->> 'what');
    IF event.data ->> 'what' = 'fail' THEN
        RAISE 'failed';
    END IF;
    WHILE event.data ->> 'what' = 'wait' AND NOT EXISTS (SELECT FROM gate) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
} . $register;

sub run
{
	my ($sql, $database) = @_;

	return $node->safe_psql($database // 'postgres', $sql);
}

# Runs what must fail; returns what it complains of.
sub fails
{
	my ($sql, $database) = @_;
	my $stderr;

	$node->psql($database // 'postgres', $sql, stderr => \$stderr);
	return $stderr;
}

sub poll
{
	my ($sql, $expected, $name) = @_;

	ok($node->poll_query_until('postgres', $sql, $expected), $name);
	return;
}

# Which workers a database has, once they are these
sub workers
{
	my ($database, $expected, $name) = @_;

	poll("SELECT coalesce(string_agg(backend_type, ',' ORDER BY backend_type), 'none') FROM pg_stat_activity WHERE datname = '$database' AND backend_type LIKE 'goes %'",
		$expected, $name);
	return;
}

my $both = 'goes dispatcher,goes runner';

# Waits until the reactor of a database waits at the gate.
sub is_busy
{
	my ($database) = @_;

	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = '$database' AND backend_type = 'goes runner' AND wait_event = 'PgSleep'")
		or die "no reactor runs in $database";
	return;
}

# Every event has reached the reactor, once.
sub all_done
{
	my ($database, $name) = @_;

	is(run('SELECT goes_wait()', $database), 't', "$name: all is done") or die 'not done';
	is(run('SELECT count(*) > 0, count(*) - count(DISTINCT position), (SELECT count(*) FROM thing_events WHERE position NOT IN (SELECT position FROM log)) FROM log', $database),
		't|0|0', "$name: each event once");
	return;
}

sub put
{
	my ($database, $n, $what) = @_;

	return run("SELECT put($n, '" . ($what // 'note') . "')", $database);
}

# A psql that stays; what it is asked, it answers, with its notifications.
sub session
{
	my ($database) = @_;
	my $self = { in => '', out => '' };

	$self->{psql} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($database) ], '<', \$self->{in}, '>', \$self->{out}, '2>&1',
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $self;
}

sub ask
{
	my ($session, $sql) = @_;

	$session->{out} = '';
	$session->{in} .= "$sql\n\\echo done\n";
	$session->{psql}->pump until $session->{out} =~ /done\n/;
	return $session->{out} =~ s/done\n//r;
}

sub end
{
	my ($session) = @_;

	$session->{in} .= "\\q\n";
	$session->{psql}->finish;
	return;
}

# Something that goes on in the background
sub start
{
	my ($sql, $database) = @_;
	my $self = { out => '' };

	$self->{psql} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($database // 'postgres'), '-c', $sql ], '<', '/dev/null', '>', \$self->{out}, '2>&1',
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $self;
}

sub finish
{
	my ($session) = @_;

	$session->{psql}->finish;
	return $session->{out};
}

# ---------------------------------------------------------------------------
# They appear, and disappear
# ---------------------------------------------------------------------------

poll(q{SELECT string_agg(backend_type, ',') FROM pg_stat_activity WHERE datname IS NULL AND backend_type LIKE 'goes %'}, 'goes launcher', 'a launcher, connected to no database');
run('CREATE DATABASE a');
run('CREATE DATABASE without');
run("BEGIN; $extension ROLLBACK; SELECT 1", 'without');
run($model, 'a');
workers('a', $both, 'CREATE EXTENSION and a model: the workers are there');
is(put('a', 1), '1', 'an event');
all_done('a', 'the first event');
# By now it would have any: the news of it came first
workers('without', 'none', 'none where CREATE EXTENSION was rolled back');
workers('postgres', 'none', 'none without the extension');
is(run(q{SELECT usename FROM pg_stat_activity WHERE backend_type = 'goes runner'}), run('SELECT current_user'), 'the runner is connected as the owner');

# In one that is a template, and in one made from it
run($model, 'template1');
run('CREATE DATABASE from_template');
workers('from_template', $both, 'made from a template with goes: the workers are there');
put('from_template', 1);
all_done('from_template', 'made from a template');
workers('template1', 'none', 'none in a template');
run("SET client_min_messages = error; DROP EXTENSION goes CASCADE; DROP TABLE thing, thing_events, log, gate; DROP FUNCTION id, put", 'template1');
is(fails('DROP DATABASE from_template'), '', 'DROP DATABASE');

# From the start of the server
$node->restart;
workers('a', $both, 'server start: the workers are there');
put('a', 2);
all_done('a', 'server start');
workers('without', 'none', 'server start: none without the extension');

# Whoever is ended is started again.
foreach my $worker ('goes dispatcher', 'goes runner', 'goes launcher')
{
	my $pid = run("SELECT pid FROM pg_stat_activity WHERE backend_type = '$worker'");
	is(run("SELECT pg_terminate_backend($pid)"), 't', "$worker terminated");
	# without anything to do, an owner can be without a runner
	put('a', 3);
	all_done('a', "$worker terminated");
	poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = '$worker' AND pid <> $pid", '1', "$worker terminated: there is another one");
}
put('a', 4, 'wait');
is_busy('a');
is(run(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'goes runner'}), 't', 'a busy runner terminated');
run('INSERT INTO gate VALUES (true)', 'a');
all_done('a', 'a busy runner terminated');
run('TRUNCATE gate', 'a');

# DROP EXTENSION, idle
my $drop = 'SET client_min_messages = error; DROP EXTENSION goes CASCADE;';
run($drop, 'a');
workers('a', 'none', 'DROP EXTENSION, idle: the workers have gone');
is(run('SELECT count(*) FROM thing_events', 'a'), '6', 'DROP EXTENSION: the events stay');
my ($again) = $model =~ /(CREATE FUNCTION react.*)/s;
run("$extension $again", 'a');
workers('a', $both, 'CREATE EXTENSION again: the workers are there');
put('a', 5);
all_done('a', 'CREATE EXTENSION again');

# DROP EXTENSION rolled back
run("BEGIN; $drop ROLLBACK;", 'a');
put('a', 5);
all_done('a', 'DROP EXTENSION rolled back');
workers('a', $both, 'DROP EXTENSION rolled back: the workers are there');

# DROP EXTENSION, busy: it waits for the reactor, and nobody else does.
my $waits = put('a', 5, 'wait');
is_busy('a');
{
	my $dropping = start($drop, 'a');
	poll(q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'a' AND query LIKE '%DROP EXTENSION%' AND wait_event_type = 'Lock'}, '1', 'DROP EXTENSION waits for a reactor that runs');
	my $position = put('a', 6);
	cmp_ok($position, '>', 0, 'DROP EXTENSION waits: commands do not');
	is(fails("SELECT goes_horizon(), count(*) FROM thing_events", 'a'), '', 'DROP EXTENSION waits: nor do queries');
	run('INSERT INTO gate VALUES (true)', 'a');
	is(finish($dropping), '', 'DROP EXTENSION, busy: done');
	workers('a', 'none', 'DROP EXTENSION, busy: the workers have gone');
	is(run(qq{SELECT count(*) FROM log WHERE position = $waits}, 'a'), '1', 'DROP EXTENSION, busy: what the reactor did has committed');
	run('TRUNCATE gate', 'a');
	run("$extension $again", 'a');
	all_done('a', 'created again after that');
}

# Dropped and created again in one transaction, before the workers have seen it
run("BEGIN; $drop $extension $again COMMIT", 'a');
put('a', 7);
all_done('a', 'dropped and created again at once');
workers('a', $both, 'dropped and created again at once: the workers are there');

# ---------------------------------------------------------------------------
# Commands on whole databases
# ---------------------------------------------------------------------------
run("CREATE TABLESPACE space LOCATION ''");
run('CREATE ROLE stranger LOGIN; CREATE ROLE creator LOGIN CREATEDB');
my $round = 0;
foreach my $state ('idle', 'busy')
{
	my $busy = $state eq 'busy';
	my $begin = sub {
		workers('a', $both, "$state, $_[0]: the workers are there before");
		return unless $busy;
		put('a', 10 + $round++, 'wait');
		is_busy('a');
	};
	my $finish = sub {
		my ($what, $database) = @_;
		run('INSERT INTO gate VALUES (true)', $database) if $busy;
		put($database, 20 + $round++);
		all_done($database, "$state, $what");
		workers($database, $both, "$state, $what: the workers are there again");
		run('TRUNCATE gate', $database);
	};

	# refused: nobody stops workers without the right to
	$begin->('refused');
	my $pids = q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE datname = 'a' AND backend_type LIKE 'goes %'};
	my $before = run($pids);
	foreach my $sql (
		'SET ROLE stranger; DROP DATABASE a',
		'SET ROLE creator; DROP DATABASE a',
		'SET ROLE creator; DROP DATABASE a WITH (FORCE)',
		'SET ROLE creator; ALTER DATABASE a RENAME TO mine',
		'SET ROLE creator; ALTER DATABASE a SET TABLESPACE space',
		'SET ROLE creator; CREATE DATABASE mine TEMPLATE a',
		'SET ROLE stranger; CREATE DATABASE mine TEMPLATE a',
		'SET ROLE creator; ALTER DATABASE a ALLOW_CONNECTIONS false')
	{
		like(fails(join '; ', (split /; /, $sql)) =~ s/.*(ERROR)/$1/sr, qr/ERROR:  (must be owner of|permission denied)/, "$state, refused: $sql");
	}
	is(run($pids), $before, "$state, refused: the same workers are there");
	$finish->('refused', 'a');

	# fails for another reason: they are back
	$begin->('fails');
	if (!$busy)
	{
		my $session = session('a');
		is(ask($session, 'SELECT 1;'), "1\n", "$state, fails: somebody else is connected");
		my $renaming = start('ALTER DATABASE a RENAME TO b');
		like(finish($renaming), qr/being accessed by other users\nDETAIL:  There is 1 other session/, "$state, fails: of others only that session is told of");
		end($session);
	}
	like(fails('ALTER DATABASE a RENAME TO without'), qr/already exists/, "$state, fails: name taken");
	like(fails('BEGIN; DROP DATABASE a'), qr/cannot run inside a transaction block/, "$state, fails: in a transaction");
	$finish->('fails', 'a');

	$begin->('RENAME');
	is(fails('ALTER DATABASE a RENAME TO b'), '', "$state, RENAME");
	$finish->('RENAME', 'b');
	is(fails('BEGIN; ALTER DATABASE b RENAME TO c; ROLLBACK'), '', "$state, RENAME rolled back");
	$finish->('RENAME rolled back', 'b');
	is(fails('BEGIN; ALTER DATABASE b RENAME TO c; ALTER DATABASE c RENAME TO a; COMMIT'), '', "$state, RENAME twice");
	$finish->('RENAME twice', 'a');

	$begin->('SET TABLESPACE');
	is(fails('ALTER DATABASE a SET TABLESPACE ' . ($busy ? 'pg_default' : 'space')), '', "$state, SET TABLESPACE");
	$finish->('SET TABLESPACE', 'a');

	foreach my $strategy ('wal_log', 'file_copy')
	{
		my $events = run('SELECT count(*) FROM thing_events', 'a');

		$begin->("copy by $strategy");
		is(fails("CREATE DATABASE copy TEMPLATE a STRATEGY $strategy"), '', "$state, copy by $strategy");
		$finish->("copy by $strategy, the original", 'a');
		$finish->("copy by $strategy, the copy", 'copy');
		is(run(q{SELECT count(*) > 0, count(*) FILTER (WHERE database = 'copy') > 0 FROM log}, 'copy'), 't|t', "$state, copy by $strategy: has what was done, and does its own");
		is(run(q{SELECT count(*) FROM log WHERE database = 'copy'}, 'a'), '0', "$state, copy by $strategy: the original has nothing of the copy");
		if ($busy)
		{
			put('copy', 30, 'wait');
			is_busy('copy');
		}
		my $force = $strategy eq 'wal_log' ? '' : ' WITH (FORCE)';
		is(fails("DROP DATABASE copy$force"), '', "$state, DROP DATABASE$force");
		workers('copy', 'none', "$state, DROP DATABASE$force: the workers have gone");
	}

	$begin->('ALLOW_CONNECTIONS');
	is(fails('ALTER DATABASE a ALLOW_CONNECTIONS false'), '', "$state, ALLOW_CONNECTIONS false");
	is(fails('ALTER DATABASE a RENAME TO b'), '', "$state, RENAME without connections");
	workers('b', 'none', "$state, no workers without connections");
	is(fails('ALTER DATABASE b ALLOW_CONNECTIONS true'), '', "$state, ALLOW_CONNECTIONS true");
	is(fails('ALTER DATABASE b RENAME TO a'), '', "$state, RENAME back");
	$finish->('ALLOW_CONNECTIONS', 'a');
}

# ---------------------------------------------------------------------------
# Settings that change
# ---------------------------------------------------------------------------
run("ALTER SYSTEM SET goes.max_runners = 1");
run("SELECT pg_reload_conf()");
run("SELECT goes_alter_reactor('react', parallelism => 8)", 'a');
all_done('a', 'parallelism');
is(run("SELECT count(*) FROM goes.progress", 'a'), '8', 'parallelism: in parts');
# one worker, with the new setting
run(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'a' AND backend_type LIKE 'goes %'});
workers('a', $both, 'max_runners 1: one runner');
run("SELECT put(100 + i, 'wait') FROM generate_series(1, 40) i", 'a');
my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'a' AND backend_type = 'goes runner' AND wait_event = 'PgSleep'};
poll($waiting, '1', 'max_runners 1: it is busy');
run("ALTER SYSTEM SET goes.max_runners = 3");
run("SELECT pg_reload_conf()");
poll($waiting, '3', 'max_runners 3: three are busy');
workers('a', 'goes dispatcher,goes runner,goes runner,goes runner', 'max_runners 3: and no more');
run('INSERT INTO gate VALUES (true)', 'a');
all_done('a', 'max_runners');
run('TRUNCATE gate', 'a');

# Owners that share the runners.  One of them is at a call that may take long: it
# goes on, and the others do not wait for its end, but take turns.
{
	my $call = sub { "CREATE FUNCTION $_[0](event goes_event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM nextval('public.calls'); $_[1]; END \$\$; ALTER FUNCTION $_[0] OWNER TO $_[0]; SELECT goes_on('{thing}', async => '{$_[0]}');" };
	my $waits = q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'a' AND usename = '%s' AND wait_event = '%s'};
	my $wait_at = q{WHILE NOT EXISTS (SELECT FROM public.doors WHERE name = '%s') LOOP PERFORM pg_sleep(0.01); END LOOP};

	run("ALTER SYSTEM SET goes.max_runners = 2");
	run("ALTER SYSTEM SET goes.timeout = '500ms'");
	run("SELECT pg_reload_conf()");
	run(q{CREATE ROLE long LOGIN SUPERUSER; CREATE ROLE short LOGIN SUPERUSER; CREATE ROLE late LOGIN SUPERUSER;
SELECT goes_pause('react'); CREATE SEQUENCE calls; CREATE TABLE doors (name text);} . $call->('long', sprintf $wait_at, 'long'), 'a');
	run(q{SELECT goes_alter_reactor('long', timeout => '1h')}, 'a');
	put('a', 150);
	poll(sprintf($waits, 'long', 'PgSleep'), '1', 'turns: the long call');
	run($call->('short', sprintf $wait_at, 'short') . q{SELECT goes_alter_reactor('short', timeout => '1h')}, 'a');
	put('a', 151);
	poll(sprintf($waits, 'short', 'PgSleep'), '1', 'turns: the short call');
	run($call->('late', 'NULL'), 'a');
	put('a', 152);
	# The long call is asked to leave, then the other runner has nothing to do
	sleep 2;
	run(q{INSERT INTO doors VALUES ('short')}, 'a');
	is(run(q{SELECT goes_wait('late', timeout => '4s')}, 'a'), 't', 'turns: an idle runner makes room at once');
	sleep 6;
	run(q{INSERT INTO doors VALUES ('long')}, 'a');
	is(run(q{SELECT goes_wait('long')}, 'a'), 't', 'turns: the long call ends by itself');
	is(run(q{SELECT sum(failed) FROM goes_stat_reactors WHERE reactor !~ 'react'}, 'a'), '0', 'turns: nothing has failed');
	is(run(q{SELECT goes_wait(), last_value FROM calls}, 'a'), 't|6', 'turns: no call was ended');
	run(q{SELECT goes_off('long', true), goes_off('short', true), goes_off('late', true); DROP FUNCTION long, short, late; SELECT goes_resume('react'); DROP SEQUENCE calls; DROP TABLE doors}, 'a');
	run('ALTER SYSTEM RESET goes.timeout');
}
run("ALTER SYSTEM RESET goes.max_runners");
run("SELECT pg_reload_conf()");

run("SELECT put(200, 'fail')", 'a');
$node->poll_query_until('a', 'SELECT count(*) = 1 FROM goes.pending WHERE attempts > 2') or die 'not tried';
run("ALTER SYSTEM SET goes.max_attempts = 1");
run("SELECT pg_reload_conf()");
ok($node->poll_query_until('a', 'SELECT count(*) = 1 FROM goes.dead_letters'), 'max_attempts 1: the next attempt is the last one');
run("ALTER SYSTEM RESET goes.max_attempts");
run("SELECT pg_reload_conf()");
run("SELECT goes_skip('react', position) FROM goes.dead_letters; INSERT INTO log SELECT position, 'failed' FROM thing_events WHERE aggregate_id = id(200)", 'a');
all_done('a', 'max_attempts');

# ---------------------------------------------------------------------------
# Notifications
# ---------------------------------------------------------------------------
{
	my $listener = session('a');
	my $got = ask($listener, 'LISTEN goes_events;');
	my $position = put('a', 40);
	for (;;)
	{
		$got .= ask($listener, 'SELECT pg_sleep(0.02);');
		last if $got =~ /"goes_events" with payload "$position"/;
	}
	is(join(',', $got =~ /notification "(\w+)"/g), join(',', ('goes_events') x scalar(() = $got =~ /notification/g)), 'LISTEN goes_events: the horizon, and nothing else');
	my @horizons = $got =~ /payload "(\d+)"/g;
	is_deeply(\@horizons, [ sort { $a <=> $b } @horizons ], 'LISTEN goes_events: it only grows');
	is(ask($listener, 'SELECT goes_horizon();'), "$position\n", 'LISTEN goes_events: it is stored by then');

	# An idle dispatcher is woken up by NOTIFY goes.  When it is idle nobody can see.
	$got = ask($listener, 'UNLISTEN *; LISTEN goes;');
	for my $i (1 .. 50)
	{
		sleep 1;
		put('a', 41);
		is(run('SELECT goes_wait()', 'a'), 't', 'LISTEN goes: all is done');
		$got .= ask($listener, 'SELECT 1;');
		last if $got =~ /notification/;
	}
	like($got, qr/Asynchronous notification "goes" received/, 'LISTEN goes: an idle dispatcher is notified');

	# Off: a new dispatcher has read the setting for sure.
	run("ALTER SYSTEM SET goes.notify = off");
	run("SELECT pg_reload_conf()");
	my $pid = run(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'goes dispatcher' AND datname = 'a'});
	run("SELECT pg_terminate_backend($pid)");
	poll("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'goes dispatcher' AND datname = 'a' AND pid <> $pid", '1', 'notify off: another dispatcher');
	ask($listener, 'LISTEN goes; LISTEN goes_events; LISTEN fence;');
	$got = '';
	foreach my $i (1 .. 3)
	{
		put('a', 42);
		is(run('SELECT goes_wait()', 'a'), 't', 'notify off: all is done');
		# idle again, as above
		sleep 1 if $i < 3;
	}
	run('NOTIFY fence', 'a');
	$got .= ask($listener, 'SELECT 1;') until $got =~ /"fence"/;
	is(join(',', $got =~ /notification "(\w+)"/g), 'fence', 'notify off: nothing is sent');
	run("ALTER SYSTEM RESET goes.notify");
	run("SELECT pg_reload_conf()");
	end($listener);
}

# Dispatchers listen, but the queue does not grow: 8 MB of it, and less than 200 kB are left.
run(q{SELECT pg_notify('other', repeat('x', 7900) || i) FROM generate_series(1, 1000) i}, 'a');
poll('SELECT pg_notification_queue_usage() * 1048576 < 25', 't', 'the queue of notifications is emptied');
run(q{SELECT pg_notify('other', repeat('x', 7900) || i) FROM generate_series(1, 1000) i}, 'postgres');
poll('SELECT pg_notification_queue_usage() * 1048576 < 25', 't', 'the queue of notifications is emptied, of another database too');
put('a', 43);
all_done('a', 'after many notifications');

# ---------------------------------------------------------------------------
# Idle
# ---------------------------------------------------------------------------
{
	my $work = q{SELECT pg_current_wal_insert_lsn()};
	my $commits = q{SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'a'};
	my ($lsn, $xacts) = ('', 0);

	# what the last command left to do, and the statistics of it
	poll(q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'a' AND backend_type NOT LIKE 'goes %'}, '0', 'idle: nobody is connected');
	run('CHECKPOINT');
	for (1 .. 30)
	{
		my $before = $lsn;
		$lsn = run($work);
		last if $lsn eq $before;
		sleep 1;
	}
	$xacts = run($commits);
	sleep 4;
	is(run($work), $lsn, 'idle: no WAL is written');
	cmp_ok(run($commits) - $xacts, '<', 5, 'idle: hardly any transactions');
	put('a', 44);
	all_done('a', 'idle');
}
$node->stop;

# ---------------------------------------------------------------------------
# All background workers of the server are taken
# ---------------------------------------------------------------------------
{
	my $small = PostgreSQL::Test::Cluster->new('small');
	$small->init;
	# the launcher, a dispatcher and a runner; one more
	$small->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
max_worker_processes = 4
max_logical_replication_workers = 0
max_parallel_workers = 0
autovacuum = off
});
	$small->start;
	$node = $small;
	my $warnings = sub {
		my ($what) = @_;
		return scalar(() = slurp_file($small->logfile) =~ /WARNING:  could not start $what\n(.*DETAIL:.*\n)?.*HINT:  .*max_worker_processes/g);
	};
	my $warns = sub {
		my ($what, $name) = @_;

		for (my $i = 0; $i < 10 * $PostgreSQL::Test::Utils::timeout_default && !$warnings->($what); $i++)
		{
			usleep(100_000);
		}
		is($warnings->($what), 1, "$name: a warning with a hint");
		return;
	};
	my $of_runner = qr/a background worker for the async reactors of database "\w+"/;
	my $of_dispatcher = qr/the goes dispatcher of database "three"/;

	run("CREATE DATABASE $_") foreach qw(one two three);
	run($model, 'one');
	workers('one', $both, 'no room: the first database has its workers');
	# busy, so that nobody can take its runner
	put('one', 1, 'wait');
	is_busy('one');
	run($model, 'two');
	workers('two', 'goes dispatcher', 'no room: the second one has no runner');
	$warns->($of_runner, 'no room for a runner');
	put('two', 2);
	# the attempts go on
	is(run("SELECT goes_wait(timeout => '2 s')", 'two'), 'f', 'no room: not done yet');
	is(run('SELECT count(*) FROM log', 'two'), '0', 'no room: nothing is done');
	cmp_ok($warnings->($of_runner), '<', 3, 'no room: hardly any more warnings');

	# They share the runner that there is room for.
	run('INSERT INTO gate VALUES (true)', 'one');
	foreach my $round (1 .. 2)
	{
		foreach my $database ('two', 'one')
		{
			put($database, 3);
			all_done($database, "room for one runner, round $round: $database");
		}
	}
	cmp_ok($warnings->($of_runner), '<', 10, 'room for one runner: hardly any more warnings');

	# Nothing at all for the third one, until there is
	run($model, 'three');
	$warns->($of_dispatcher, 'no room for a dispatcher');
	put('three', 4);
	is(run("SELECT goes_wait(timeout => '1 s')", 'three'), 'f', 'no room for a dispatcher: not done yet');
	is($warnings->($of_dispatcher), 1, 'no room for a dispatcher: no more warnings');
	is(fails('DROP DATABASE one'), '', 'no room for a dispatcher: DROP DATABASE');
	all_done('three', 'room for a dispatcher');
	put('two', 5);
	all_done('two', 'room for a dispatcher: the other one');
	is(fails('DROP DATABASE two'), '', 'room for all: DROP DATABASE');
	put('three', 6);
	all_done('three', 'room for all');
	cmp_ok($warnings->($of_runner), '<', 20, 'in the end: hardly any warnings');
	$small->stop;
}

done_testing();
