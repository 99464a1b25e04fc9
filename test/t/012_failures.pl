# Async reactors that fail: what waits, what goes on, what is given up, and who
# may do something about it.  Nothing is skipped silently, and nothing that a
# failed call did stays.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
goes.backoff = '10ms'
fsync = off
});
$node->start;

# An event says in "do" how its reactor is to misbehave, which it does as long
# as that word is in the table bad.  The log is written first, so that what a
# failed call has done would show; the sequence counts calls, failed ones too.
$node->safe_psql('postgres', q{
CREATE EXTENSION goes;
CREATE ROLE app LOGIN;
CREATE ROLE app2 LOGIN;
CREATE ROLE reactor_owner LOGIN IN ROLE app, app2;
CREATE ROLE both_tables LOGIN IN ROLE app, app2;
CREATE ROLE stranger LOGIN;
GRANT CREATE ON SCHEMA public TO app, app2, reactor_owner;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
SET ROLE app;
CREATE TABLE thing (LIKE goes_base_aggregate INCLUDING ALL, n integer);
SELECT goes_register_aggregate('thing', 'thing'), goes_register_event('thing', 'put'),
    goes_register_command('thing', 'put', event => 'put', target => 'any');
SET ROLE app2;
CREATE TABLE other (LIKE goes_base_aggregate INCLUDING ALL, n integer);
SELECT goes_register_aggregate('other', 'other'), goes_register_event('other', 'put'),
    goes_register_command('other', 'put', event => 'put', target => 'any');
RESET ROLE;
CREATE FUNCTION put(n integer, what text DEFAULT NULL, type text DEFAULT 'thing') RETURNS bigint LANGUAGE sql
RETURN (goes_do(type || '.put', id(n), jsonb_build_object('do', what)) ->> 'position')::bigint;

CREATE TABLE bad (what text PRIMARY KEY);
INSERT INTO bad SELECT unnest('{fail,sleep,later,unique,40001,40P01,wait,fetch}'::text[]);
CREATE TABLE log (seq bigserial PRIMARY KEY, reactor text, type text, n integer, version bigint, position bigint);
CREATE SEQUENCE calls;
CREATE SEQUENCE conflicts;
CREATE TABLE once (n integer PRIMARY KEY);
INSERT INTO once VALUES (1);
CREATE TABLE later (what text);
GRANT ALL ON bad, log, once, later, log_seq_seq, calls, conflicts TO PUBLIC;
CREATE FUNCTION check_later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM bad WHERE what = NEW.what) THEN
        RAISE 'too late for %', NEW.what USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER check_later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION check_later();

CREATE FUNCTION misbehave(reactor text, event goes_event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    what text := event.data ->> 'do';
BEGIN
    PERFORM nextval('calls');
    INSERT INTO log (reactor, type, n, version, position)
    VALUES (reactor, event.aggregate_type, ltrim(replace(event.aggregate_id::text, '-', ''), '0')::integer, event.aggregate_version, event.position);
    IF what IS NULL THEN
        RETURN;
    ELSIF what = 'conflict' AND nextval('conflicts') <= 5 THEN
        RAISE 'in the way' USING ERRCODE = CASE WHEN currval('conflicts') % 2 = 0 THEN '40001' ELSE '40P01' END;
    ELSIF what = 'later' THEN
        INSERT INTO later VALUES (what);
    ELSIF NOT EXISTS (SELECT FROM bad WHERE bad.what = event.data ->> 'do') THEN
        RETURN;
    ELSIF what = 'fail' THEN
        RAISE 'failed on purpose: "%" is 100%% wrong', event.aggregate_version;
    ELSIF what = 'sleep' THEN
        PERFORM pg_sleep(600);
    ELSIF what = 'unique' THEN
        INSERT INTO once VALUES (2);
        INSERT INTO once VALUES (1);
    ELSIF what IN ('40001', '40P01') THEN
        RAISE 'in the way' USING ERRCODE = what;
    ELSIF what = 'wait' THEN
        PERFORM pg_advisory_xact_lock(7);
    ELSIF what = 'fetch' THEN
        PERFORM goes_fetch('elsewhere');
        PERFORM pg_sleep(600);
    END IF;
END $$;
});

# Runs statements, and returns what they wrote.
sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# The SQLSTATE of a statement that fails.
sub state_of
{
	my ($sql) = @_;
	my ($stdout, $stderr);

	$node->psql('postgres', $sql, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $stderr =~ /^(?:psql:[^\n]*: )?ERROR:  (\w{5}):/m ? $1 : "no error: $stdout $stderr";
}

# Waits until a query is true; what is not there yet is no failure of the test.
sub becomes
{
	my ($query, $name) = @_;
	my $true = $node->poll_query_until('postgres', $query);

	ok($true, $name);
	return $true;
}

# A reactor with a name of its own, for things by default; settings as for
# goes_alter_reactor.
my $current;
sub reactor
{
	my ($name, $settings, $events) = @_;

	sql("SELECT goes_off('$current', true)") if defined $current;
	$current = $name;
	$events //= '{thing}';
	sql(qq{
		TRUNCATE log, later;
		ALTER SEQUENCE calls RESTART;
		ALTER SEQUENCE conflicts RESTART;
		CREATE FUNCTION $name(event goes_event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM misbehave('$name', event); END \$\$;
		ALTER FUNCTION $name OWNER TO reactor_owner;
		SELECT goes_on('$events', async => '{$name}');
		SELECT goes_alter_reactor('$name', $settings)});
	return;
}

my $log = q{SELECT string_agg(n || '.' || version, ' ' ORDER BY seq) FROM log};
my $pending = q{SELECT p.aggregate_version, p.attempts, p.sqlstate, p.error FROM goes.pending p JOIN goes.reactors r ON r.id = p.reactor ORDER BY position};
my $dead = q{SELECT p.aggregate_version, p.attempts, p.sqlstate, p.error FROM goes.dead_letters p JOIN goes.reactors r ON r.id = p.reactor ORDER BY position};
my $next = 0;

# New aggregates for each claim
sub fresh { return $next += 10; }

# ---------------------------------------------------------------------------
# A poison event: pauses that grow, and what waits for it
# ---------------------------------------------------------------------------
{
	my $a = fresh();
	my $b = $a + 1;

	reactor('poison', q{max_attempts => 4, backoff => '100s', max_backoff => '300s'}, '{thing,other}');
	sql(qq{SELECT goes_pause('poison'); SELECT put($a), put($a, 'fail'), put($a), put($b), put($b), put($a), put($a, NULL, 'other'); SELECT goes_resume('poison')});
	becomes(q{SELECT count(*) = 4 FROM log}, 'poison: what does not depend on it goes on');
	is(sql($log), "$a.1 $b.1 $b.2 $a.1", 'poison: other aggregates, of the same id too, but no later event of its own');
	is(sql($pending), '2|1|P0001|failed on purpose: "2" is 100% wrong', 'poison: the attempt and its error are kept');
	is(sql(q{SELECT failed, retried, last_error, last_error_at IS NOT NULL FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor}),
		'1|0|failed on purpose: "2" is 100% wrong|t', 'poison: and counted');
	is(sql(q{SELECT goes_wait('poison', timeout => '0')}), 'f', 'poison: not passed');
	is(sql(q{SELECT goes_wait('poison', up_to => (SELECT min(position) FROM log), timeout => '30s')}), 't', 'poison: what is before it is');

	foreach my $attempt (2, 3)
	{
		# Let it be due now, which the reactor's runner sees when it looks again
		sql(q{UPDATE goes.pending SET due_at = now(); SELECT goes_alter_reactor('poison')});
		becomes("SELECT attempts = $attempt FROM goes.pending", "poison: attempt $attempt");
	}
	is(sql(q{SELECT extract(epoch FROM date_trunc('second', due_at - failed_at + interval '0.5 s'))::integer FROM goes.pending}), '300', 'poison: the pause grows up to its limit');
	sql("SELECT put($a), put($b)");
	becomes("SELECT count(*) = 5 FROM log", 'poison: other aggregates go on');
	is(sql($log), "$a.1 $b.1 $b.2 $a.1 $b.3", 'poison: and those behind it wait');
	sql(q{DELETE FROM bad WHERE what = 'fail'});
	is(sql(q{SELECT goes_retry('poison')}), '1', 'poison: retried');
	is(sql(q{SELECT goes_wait()}), 't', 'poison: all is done');
	is(sql($log), "$a.1 $b.1 $b.2 $a.1 $b.3 $a.2 $a.3 $a.4 $a.5", 'poison: in order, once');
	is(sql(q{SELECT count(*) FROM goes.pending}), '0', 'poison: nothing is left');
	sql(q{INSERT INTO bad VALUES ('fail')});

	# the first pause is the backoff, each next one its double
	reactor('grows', q{backoff => '100s', max_backoff => '1000s'});
	sql("SELECT put($a, 'fail')");
	foreach my $attempt (1 .. 3)
	{
		becomes("SELECT count(*) = 1 FROM goes.pending WHERE attempts = $attempt", "grows: attempt $attempt");
		is(sql(q{SELECT extract(epoch FROM date_trunc('second', due_at - failed_at + interval '0.5 s'))::integer FROM goes.pending}), 100 * 2**($attempt - 1), "grows: pause $attempt");
		sql(q{UPDATE goes.pending SET due_at = now(); SELECT goes_alter_reactor('grows')});
	}
}

# ---------------------------------------------------------------------------
# Given up: skip, which is the default, and stop
# ---------------------------------------------------------------------------
{
	my $a = fresh();
	my $b = $a + 1;

	reactor('skips', q{max_attempts => 3, backoff => '1ms'});
	sql("SELECT goes_pause('skips'); SELECT put($a), put($a, 'fail'), put($a), put($b), put($a, 'unique'), put($a); SELECT goes_resume('skips')");
	is(sql(q{SELECT goes_wait('skips')}), 't', 'skip: a dead letter is passed');
	is(sql(q{SELECT string_agg(n || '.' || version, ' ' ORDER BY n, seq) FROM log}), "$a.1 $a.3 $a.5 $b.1", 'skip: later events go on, and the failed calls have no effect');
	is(sql('SELECT * FROM once'), '1', 'skip: none at all');
	is(sql($dead), "2|3|P0001|failed on purpose: \"2\" is 100% wrong\n4|3|23505|duplicate key value violates unique constraint \"once_pkey\"", 'skip: dead letters');
	is(sql('SELECT last_value FROM calls'), '10', 'skip: each was tried three times');
	is(sql(q{SELECT processed, failed, retried FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor}), '4|6|4', 'skip: statistics');

	# still bad: dead again, after as many attempts
	is(sql(q{SELECT goes_retry('skips')}), '2', 'skip: dead letters are tried again');
	is(sql(q{SELECT goes_wait('skips'); SELECT last_value FROM calls}), "t\n16", 'skip: with all attempts before them');
	is(sql($dead), "2|3|P0001|failed on purpose: \"2\" is 100% wrong\n4|3|23505|duplicate key value violates unique constraint \"once_pkey\"", 'skip: and die again');
	sql(q{DELETE FROM bad WHERE what = 'fail'});
	is(sql(q{SELECT goes_retry(); SELECT goes_wait('skips'); SELECT count(*) FROM goes.dead_letters}), "2\nt\n1", 'skip: one has recovered');
	is(sql(q{SELECT string_agg(n || '.' || version, ' ' ORDER BY n, seq) FROM log}), "$a.1 $a.3 $a.5 $a.2 $b.1", 'skip: out of order, once');

	# skipped by hand
	my $position = sql('SELECT position FROM goes.dead_letters');
	sql("SELECT goes_skip('skips', $position)");
	is(sql('SELECT count(*) FROM goes.dead_letters'), '0', 'skip: a dead letter is removed');
	is(state_of("SELECT goes_skip('skips', $position)"), '22023', 'skip: once');
	is(state_of(q{SELECT goes_skip('skips', (SELECT max(position) FROM log))}), '22023', 'skip: an event that did not fail');
	is(state_of(q{SELECT goes_skip('skips', 1000000)}), '22023', 'skip: an event that is not there');
	is(state_of(q{SELECT goes_skip('skips', NULL)}), '22004', 'skip: NULL');
	is(state_of(q{SELECT goes_skip('nobody', 1)}), 'OG008', 'skip: no reactor');
	is(state_of(q{SELECT goes_retry('nobody')}), 'OG008', 'retry: no reactor');
	is(sql(q{SELECT goes_retry('skips')}), '0', 'retry: nothing to do');
	sql(q{INSERT INTO bad VALUES ('fail')});
}
{
	my $a = fresh();
	my $b = $a + 1;

	reactor('stops', q{max_attempts => 2, backoff => '1ms', on_failure => 'stop'});
	sql("SELECT put($a), put($a, 'fail'), put($a), put($b), put($a, 'fail'), put($a)");
	becomes(q{SELECT count(*) = 1 FROM goes.pending WHERE due_at = 'infinity'}, 'stop: stopped');
	sql("SELECT put($b)");
	becomes("SELECT count(*) = 1 FROM log WHERE n = $b AND version = 2", 'stop: other aggregates go on');
	is(sql($pending), '2|2|P0001|failed on purpose: "2" is 100% wrong', 'stop: the aggregate waits for that event');
	is(sql("SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE n = $a"), '1', 'stop: so no later one');
	is(sql(q{SELECT goes_wait('stops', timeout => '0')}), 'f', 'stop: not passed');
	is(sql(q{SELECT count(*) FROM goes.dead_letters}), '0', 'stop: no dead letter');

	# skipped, it is a dead letter and the next one is on
	sql("SELECT goes_skip('stops', (SELECT position FROM goes.pending))");
	becomes(q{SELECT count(*) = 1 FROM goes.pending WHERE due_at = 'infinity' AND aggregate_version = 4}, 'stop: skipped, the aggregate goes on, and stops again');
	is(sql("SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE n = $a"), '1 3', 'stop: with what is between');
	is(sql($dead), '2|2|P0001|failed on purpose: "2" is 100% wrong', 'stop: a skipped event is a dead letter');
	is(sql(q{DELETE FROM bad WHERE what = 'fail'; SELECT goes_retry('stops'); SELECT goes_wait('stops')}), "2\nt", 'stop: retry brings back both');
	is(sql("SELECT count(*), count(DISTINCT version) FROM log WHERE n = $a"), '5|5', 'stop: all, once');
	is(sql("SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE n = $a AND version <> 2"), '1 3 4 5', 'stop: in order but for the dead letter');
	sql(q{INSERT INTO bad VALUES ('fail')});

	# while it is failing, before it has stopped
	sql(q{SELECT goes_alter_reactor('stops', max_attempts => 10, backoff => '1h', max_backoff => '1h')});
	sql("SELECT put($b, 'fail'), put($b)");
	becomes(q{SELECT count(*) = 1 FROM goes.pending WHERE attempts = 1}, 'skip a failing event: it fails');
	sql("SELECT goes_skip('stops', (SELECT position FROM goes.pending))");
	is(sql(q{SELECT goes_wait('stops')}), 't', 'skip a failing event: the next one goes on');
	is(sql("SELECT max(version) FROM log WHERE n = $b"), '4', 'skip a failing event: indeed');
}

# Many aggregates stop; they come back in their order.
{
	my $a = fresh();

	$next += 100;
	reactor('many', q{max_attempts => 1, on_failure => 'stop', batch_size => 7});
	sql("SELECT put($a + i, CASE WHEN i > 10 THEN 'fail' END), put($a + i) FROM generate_series(1, 60) i; SELECT put($a + i) FROM generate_series(1, 60) i");
	becomes(q{SELECT count(*) = 50 FROM goes.pending WHERE due_at = 'infinity'}, 'many: stopped');
	becomes('SELECT count(*) = 30 FROM log', 'many: the others go on');
	is(sql(q{DELETE FROM bad WHERE what = 'fail'; SELECT goes_retry('many'); SELECT goes_wait('many')}), "50\nt", 'many: all are retried');
	is(sql(q{SELECT count(*), count(DISTINCT position) FROM log}), '180|180', 'many: nothing is lost, nothing is done twice');
	is(sql(q{SELECT count(*) FROM (SELECT version, row_number() OVER (PARTITION BY n ORDER BY seq) AS nth FROM log) l WHERE version <> nth}), '0', 'many: in order');
	sql(q{INSERT INTO bad VALUES ('fail')});
}

# Fire and forget
{
	my $a = fresh();

	reactor('forgets', q{max_attempts => 1, backoff => '1h'});
	sql("SELECT put($a, 'fail'), put($a)");
	is(sql(q{SELECT goes_wait('forgets')}), 't', 'max_attempts 1: no pause');
	is(sql($log), "$a.2", 'max_attempts 1: the next one goes on');
	is(sql("$dead; SELECT last_value FROM calls"), "1|1|P0001|failed on purpose: \"1\" is 100% wrong\n2", 'max_attempts 1: dead at once');

	# fewer attempts than it has had already
	reactor('lowered', q{max_attempts => 5, backoff => '1h', max_backoff => '1h'});
	sql("SELECT put($a, 'fail'), put($a)");
	becomes('SELECT count(*) = 1 FROM goes.pending WHERE attempts = 1', 'lowered: failed once');
	sql(q{UPDATE goes.pending SET due_at = now(); SELECT goes_alter_reactor('lowered', max_attempts => 1)});
	is(sql(q{SELECT goes_wait('lowered')}), 't', 'lowered: fewer attempts than it has had');
	is(sql('SELECT attempts FROM goes.dead_letters'), '2', 'lowered: dead');
}

# ---------------------------------------------------------------------------
# Conflicts: again at once, and not counted
# ---------------------------------------------------------------------------
{
	my $a = fresh();
	my $b = $a + 1;

	reactor('conflicts_end', q{max_attempts => 1, backoff => '1h', max_backoff => '1h'});
	sql("SELECT put($a, 'conflict'), put($a), put($b)");
	is(sql(q{SELECT goes_wait('conflicts_end')}), 't', 'conflict: tried again at once');
	is(sql(q{SELECT string_agg(n || '.' || version, ' ' ORDER BY n, seq) FROM log}), "$a.1 $a.2 $b.1", 'conflict: in order');
	is(sql('SELECT last_value FROM conflicts; SELECT count(*) FROM goes.dead_letters'), "6\n0", 'conflict: not counted');

	# even one that never ends holds up nobody else
	foreach my $state (qw(40001 40P01))
	{
		reactor("always_$state", q{max_attempts => 1, batch_size => 1});
		sql("SELECT put($a, '$state'); SELECT put($a), put($b)");
		becomes("SELECT count(*) = 1 FROM log WHERE n = $b", "$state again and again: other aggregates go on")
			or sql(q{DELETE FROM bad WHERE what LIKE '40%'});
		is(sql("SELECT count(*) FROM log WHERE n = $a"), '0', "$state again and again: its own wait");
		sql("DELETE FROM bad WHERE what = '$state'");
		is(sql("SELECT goes_wait('always_$state')"), 't', "$state again and again: until it is over");
		is(sql("SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE n = $a"), sql("SELECT (version - 1) || ' ' || version FROM thing WHERE id = id($a)"), "$state again and again: in order");
		sql(q{INSERT INTO bad VALUES ('40001'), ('40P01') ON CONFLICT DO NOTHING});
	}
}

# Failures that are due all the time do not hold up others either.
{
	my $a = fresh();

	reactor('busy', q{max_attempts => 1000000, backoff => '0', max_backoff => '0', batch_size => 2});
	sql("SELECT put($a, 'fail'), put($a + 1, 'fail'), put($a + 2, 'fail'); SELECT put($a + 3)");
	becomes("SELECT count(*) = 1 FROM log WHERE n = $a + 3", 'failing without a pause: other aggregates go on');
	sql(q{DELETE FROM bad WHERE what = 'fail'});
	is(sql(q{SELECT goes_wait('busy')}), 't', 'failing without a pause: until it is over');
	sql(q{INSERT INTO bad VALUES ('fail')});
}

# ---------------------------------------------------------------------------
# Calls that take too long, or are ended from outside
# ---------------------------------------------------------------------------
{
	my $a = fresh();

	reactor('slow', q{max_attempts => 1, timeout => '100ms'});
	sql("SELECT goes_pause('slow'); SELECT put($a), put($a, 'sleep'), put($a); SELECT goes_resume('slow')");
	is(sql(q{SELECT goes_wait('slow')}), 't', 'timeout: the call ends');
	is(sql($log), "$a.1 $a.3", 'timeout: without effect, and others go on');
	is(sql($dead), '2|1|57014|canceling statement due to statement timeout', 'timeout: it has failed');

	# A call that reads events itself has no more time than others.
	sql(q{SET ROLE reactor_owner; SELECT goes_on('{thing}', outside => '{elsewhere}')});
	reactor('reads', q{max_attempts => 1, timeout => '500ms'});
	sql("SELECT put($a + 1, 'fetch')");
	is(sql(q{SELECT goes_wait('reads')}), 't', 'timeout: a call that fetches ends');
	is(sql($dead), '1|1|57014|canceling statement due to statement timeout', 'timeout: and has failed');
	sql(q{SELECT goes_off('elsewhere', true)});
}

# A function is dropped while its reactor is busy: nobody waits for each other.
foreach my $round (1 .. 3)
{
	my $a = fresh();
	my $offset = -s $node->logfile;

	sql("SELECT count(put($a)) FROM generate_series(1, 300)");
	sql(qq{CREATE FUNCTION gone(event goes_event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_sleep(0.002); END \$\$;
SELECT goes_on('{thing}', async => '{gone}', start => 0)});
	becomes(q{SELECT processed > 0 FROM goes_stat_reactors WHERE reactor ~ 'gone'}, 'dropped: the reactor is busy');
	sql(q{SET client_min_messages = error; DROP FUNCTION gone CASCADE});
	is(sql(q{SELECT count(*) FROM goes_stat_reactors WHERE reactor ~ 'gone'}), '0', 'dropped: with its reactor');
	unlike(slurp_file($node->logfile, $offset), qr/deadlock/, 'dropped: without a deadlock');
}

my $waiting = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted};
my $runner = q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted};
# Several times: the dispatcher must not take what the runner has told before it
# was at work for what it tells now.
foreach my $round (1 .. 5)
{
	my $how = $round == 1 ? 'cancel' : 'terminate';
	my $a = fresh();
	my ($in, $out) = ('', '');
	my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out,
		IPC::Run::timeout(3 * $PostgreSQL::Test::Utils::timeout_default));

	reactor("ended_by_$how$round", q{backoff => '1ms'});
	$in .= "SELECT pg_advisory_lock(7);\n\\echo held\n";
	$holder->pump until $out =~ /held/;
	sql("SELECT goes_pause('ended_by_$how$round'); SELECT put($a), put($a, 'wait'), put($a), put($a + 1); SELECT goes_resume('ended_by_$how$round')");
	becomes($waiting, "$how: the reactor is in the middle of a batch");
	my $pid = sql($runner);
	is(sql("SELECT backend_type, usename FROM pg_stat_activity WHERE pid = $pid"), 'goes runner|reactor_owner', "$how: which is a runner's");
	sql("SELECT pg_${how}_backend($pid)");
	becomes($how eq 'cancel' ? 'SELECT count(*) = 1 FROM goes.pending WHERE attempts > 0' : "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", "$how: the call has ended");
	becomes($waiting, "$how: and is tried again");
	$in .= "SELECT pg_advisory_unlock(7);\n\\q\n";
	$holder->finish;
	is(sql("SELECT goes_wait('ended_by_$how$round')"), 't', "$how: all is done");
	is(sql("SELECT string_agg(n || '.' || version, ' ' ORDER BY n, seq) FROM log"), "$a.1 $a.2 $a.3 @{[$a + 1]}.1", "$how: in order, once");
	is(sql('SELECT count(*) FROM goes.dead_letters'), '0', "$how: nothing is given up");
}

# Workers that are ended while they have nothing to do are replaced.
{
	my $a = fresh();

	foreach my $how (qw(cancel terminate))
	{
		sql("SELECT pg_${how}_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'goes %'; SELECT put($a)");
		is(sql("SELECT goes_wait()"), 't', "$how all workers: others go on");
	}
	is(sql("SELECT count(*), count(DISTINCT version) FROM log WHERE n = $a"), '2|2', 'each event once');
}

# ---------------------------------------------------------------------------
# Failures at commit: only the guilty event
# ---------------------------------------------------------------------------
{
	my $a = fresh();

	reactor('at_commit', q{max_attempts => 2, backoff => '1ms'});
	sql("SELECT goes_pause('at_commit'); SELECT put($a), put($a + 1), put($a + 2, 'later'), put($a + 3), put($a + 2), put($a + 4, 'later'), put($a + 5); SELECT goes_resume('at_commit')");
	is(sql(q{SELECT goes_wait('at_commit')}), 't', 'at commit: all is done or given up');
	is(sql(q{SELECT string_agg(n || '.' || version, ' ' ORDER BY n, seq) FROM log}), join(' ', map { "$_" } "$a.1", $a + 1 . '.1', $a + 2 . '.2', $a + 3 . '.1', $a + 5 . '.1'), 'at commit: the innocent, once');
	is(sql($dead), "1|2|23514|too late for later\n1|2|23514|too late for later", 'at commit: the guilty');
	is(sql(q{SELECT processed, failed FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor}), '5|4', 'at commit: statistics count only them');
	is(sql('SELECT count(*) FROM later'), '0', 'at commit: they left nothing');
	is(sql(q{SELECT goes_retry('at_commit'); SELECT goes_wait('at_commit'); SELECT count(*) FROM goes.dead_letters}), "2\nt\n2", 'at commit: retried, they fail again');
	is(sql(q{DELETE FROM bad WHERE what = 'later'; SELECT goes_retry('at_commit'); SELECT goes_wait('at_commit'); SELECT count(*) FROM goes.dead_letters; SELECT count(*) FROM later}),
		"2\nt\n0\n2", 'at commit: until it is mended');
	sql(q{INSERT INTO bad VALUES ('later')});
}
{
	my $a = fresh();

	reactor('stops_at_commit', q{max_attempts => 1, on_failure => 'stop'});
	sql("SELECT goes_pause('stops_at_commit'); SELECT put($a), put($a, 'later'), put($a), put($a + 1); SELECT goes_resume('stops_at_commit')");
	becomes(q{SELECT count(*) = 1 FROM goes.pending WHERE due_at = 'infinity'}, 'stop at commit: stopped');
	becomes('SELECT count(*) = 2 FROM log', 'stop at commit: others go on');
	is(sql($log), "$a.1 @{[$a + 1]}.1", 'stop at commit: the aggregate waits');
	is(sql(q{DELETE FROM bad WHERE what = 'later'; SELECT goes_retry('stops_at_commit'); SELECT goes_wait('stops_at_commit')}), "1\nt", 'stop at commit: retried');
	is(sql("SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE n = $a"), '1 2 3', 'stop at commit: in order');
	sql(q{INSERT INTO bad VALUES ('later')});
}

# ---------------------------------------------------------------------------
# In several parts
# ---------------------------------------------------------------------------
{
	my $a = fresh();

	$next += 50;
	reactor('parts', q{max_attempts => 2, backoff => '1ms', parallelism => 4, batch_size => 5});
	sql("SELECT put($a + i, CASE WHEN i % 4 = 0 AND v = 2 THEN 'fail' WHEN i % 4 = 1 AND v = 2 THEN 'later' END) FROM generate_series(1, 3) v, generate_series(1, 40) i");
	is(sql(q{SELECT goes_wait('parts')}), 't', 'parts: all is done or given up');
	is(sql('SELECT count(*), count(DISTINCT position) FROM log'), '100|100', 'parts: what does not fail, once');
	is(sql(q{SELECT count(*) FROM (SELECT version, lag(version) OVER (PARTITION BY n ORDER BY seq) AS before FROM log) l WHERE version <= before}), '0', 'parts: in order');
	is(sql('SELECT count(*), min(attempts), max(attempts) FROM goes.dead_letters'), '20|2|2', 'parts: the others are dead');
	is(sql(q{SELECT count(*), sum(processed), sum(failed) FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor}), '4|100|40', 'parts: statistics');
	is(sql(q{DELETE FROM bad; SELECT goes_alter_reactor('parts', parallelism => 2); SELECT goes_retry(); SELECT goes_wait('parts'); SELECT count(*), count(DISTINCT position) FROM log}), "\n20\nt\n120|120", 'parts: retried in fewer');
	sql(q{INSERT INTO bad SELECT unnest('{fail,sleep,later,unique,40001,40P01,wait,fetch}'::text[])});

	# the number of parts changes while aggregates are stopped
	reactor('parts_stop', q{max_attempts => 1, on_failure => 'stop', parallelism => 3});
	sql("SELECT put($a + i, 'fail'), put($a + i) FROM generate_series(1, 20) i");
	becomes(q{SELECT count(*) = 20 FROM goes.pending WHERE due_at = 'infinity'}, 'parts with stopped aggregates');
	sql("SELECT goes_alter_reactor('parts_stop', parallelism => 5); SELECT put($a)");
	becomes(q{SELECT count(*) = 5 FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor}, 'parts with stopped aggregates: split anew');
	is(sql(q{DELETE FROM bad WHERE what = 'fail'; SELECT goes_retry('parts_stop'); SELECT goes_wait('parts_stop')}), "20\nt", 'parts with stopped aggregates: retried');
	is(sql(q{SELECT count(*), count(DISTINCT position) FROM log}), '41|41', 'parts with stopped aggregates: each once');
	sql(q{INSERT INTO bad VALUES ('fail')});
}

# ---------------------------------------------------------------------------
# Settings of the server that change
# ---------------------------------------------------------------------------
{
	my $a = fresh();

	reactor('reloads', q{backoff => '1h', max_backoff => '1h'});
	sql("CREATE OR REPLACE FUNCTION reloads(event goes_event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO later VALUES (current_setting('goes.max_attempts')); PERFORM misbehave('reloads', event); END \$\$");
	sql("SELECT put($a); SELECT goes_wait()");
	$node->append_conf('postgresql.conf', 'goes.max_attempts = 1');
	$node->reload;
	# each look appends an event, whose reactor tells
	becomes("SELECT put($a) IS NULL OR EXISTS (SELECT FROM later WHERE what = '1')", 'reload: the runner has the new setting');
	sql("SELECT put($a + 1, 'fail')");
	becomes(q{SELECT count(*) = 1 FROM goes.dead_letters}, 'reload: and goes by it');
	$node->append_conf('postgresql.conf', 'goes.max_attempts = 10');
	$node->reload;
}

# ---------------------------------------------------------------------------
# Who may do something about it
# ---------------------------------------------------------------------------
{
	my $a = fresh();
	my @calls = (q{goes_retry('whose')}, q{goes_skip('whose', 1)}, q{goes_alter_reactor('whose', max_attempts => 1)},
		q{goes_pause('whose')}, q{goes_resume('whose')}, q{goes_rewind('whose', 0)}, q{goes_off('whose')});

	reactor('whose', q{max_attempts => 1, on_failure => 'stop'}, '{thing,other}');
	sql("SELECT put($a, 'fail'), put($a, 'fail', 'other')");
	becomes(q{SELECT count(*) = 2 FROM goes.pending WHERE due_at = 'infinity'}, 'who may: two are stopped');
	foreach my $role (qw(stranger app app2))
	{
		is(state_of("SET SESSION AUTHORIZATION $role; SELECT $_"), '42501', "who may: not $role: $_") foreach @calls;
		is(sql("SET SESSION AUTHORIZATION $role; SELECT goes_retry()"), '0', "who may: $role retries nothing");
	}
	is(sql(q{SELECT count(*) FROM goes.pending WHERE due_at = 'infinity'}), '2', 'who may: nothing has changed');
	foreach my $role (qw(reactor_owner both_tables), sql('SELECT current_user'))
	{
		is(sql("SET SESSION AUTHORIZATION \"$role\"; SELECT goes_retry()"), '2', "who may: $role retries all");
		becomes(q{SELECT count(*) = 2 FROM goes.pending WHERE due_at = 'infinity'}, 'who may: stopped again');
		is(sql("SET SESSION AUTHORIZATION \"$role\"; SELECT goes_retry('whose')"), '2', "who may: $role retries by name");
		becomes(q{SELECT count(*) = 2 FROM goes.pending WHERE due_at = 'infinity'}, 'who may: stopped again');
		sql(qq{SET SESSION AUTHORIZATION "$role"; SELECT goes_pause('whose'); SELECT goes_resume('whose'); SELECT goes_alter_reactor('whose', batch_size => 50)});
	}
	sql(q{SET SESSION AUTHORIZATION both_tables; SELECT goes_skip('whose', (SELECT max(position) FROM other_events))});
	is(sql('SELECT count(*) FROM goes.pending'), '1', 'who may: owners of all tables skip');
	sql(qq{SET SESSION AUTHORIZATION reactor_owner; SELECT goes_skip('whose', (SELECT max(position) FROM thing_events))});
	is(sql('SELECT count(*) FROM goes.pending'), '0', 'who may: the owner skips');

	# a sync reactor has nothing of the kind
	sql(q{CREATE FUNCTION at_once(event goes_event) RETURNS void LANGUAGE sql BEGIN ATOMIC END; SELECT goes_on('{thing}', sync => '{at_once}')});
	is(state_of("SELECT " . s/whose/at_once/r), '42809', "sync: $_") foreach grep { !/goes_off/ } @calls;
}

# ---------------------------------------------------------------------------
# Changes from outside of goes's functions
# ---------------------------------------------------------------------------

# A psql that stays, and waits for what it is asked.
sub session
{
	my $self = { in => '', out => '' };

	$self->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$self->{in}, '>', \$self->{out},
		IPC::Run::timeout(3 * $PostgreSQL::Test::Utils::timeout_default));
	return $self;
}

sub ask
{
	my ($session, $sql) = @_;

	$session->{in} .= "$sql;\n\\echo answered\n";
	$session->{run}->pump until $session->{out} =~ s/^answered\n//m;
	return;
}

sub leave
{
	my ($session) = @_;

	$session->{in} .= "\\q\n";
	$session->{run}->finish;
	return;
}

# A session that writes the registry itself may be a restore, once it commits.
{
	my $a = fresh();
	my $writer = session();
	my $state = q{SELECT state FROM goes_stat_reactors WHERE reactor ~ 'written'};
	my $write = 'UPDATE goes.reactors SET mode = mode';

	reactor('written', q{max_attempts => 1});
	ask($writer, "BEGIN; $write; ROLLBACK");
	sql("SELECT put($a)");
	is(sql(q{SELECT goes_wait('written')}), 't', 'restore: not one that is rolled back');
	ask($writer, $write);
	is(sql($state), 'blocked', 'restore: the reactor is blocked');
	sql("SELECT put($a)");
	is(sql(q{SELECT goes_wait('written', timeout => '500ms')}), 'f', 'restore: nothing is done');
	leave($writer);
	becomes(qq{SELECT ($state) = 'running'}, 'restore: the end of the session ends it');
	is(sql(q{SELECT goes_wait('written')}), 't', 'restore: all is done');
}

# Who waits to change a reactor changes the one that has got its name meanwhile.
{
	my ($holder, $other, $pauser) = (session(), session(), session());
	my $waits = q{SELECT count(*) = %d FROM pg_locks WHERE NOT granted};

	reactor('replaced', q{max_attempts => 1});
	ask($holder, 'BEGIN; SELECT FROM goes.progress FOR UPDATE');
	$other->{in} .= "BEGIN; SELECT goes_off('replaced', true); SELECT goes_on('{thing}', async => '{replaced}'); COMMIT;\n";
	$other->{run}->pump_nb;
	becomes(sprintf($waits, 1), 'replaced: who replaces it waits');
	$pauser->{in} .= "SELECT goes_pause('replaced');\n";
	$pauser->{run}->pump_nb;
	becomes(sprintf($waits, 2), 'replaced: and who pauses it');
	leave($_) foreach $holder, $other, $pauser;
	is(sql(q{SELECT revision, paused FROM goes.progress JOIN goes.reactors ON id = progress.reactor WHERE reactors.reactor ~ 'replaced'}), '1|t', 'replaced: the new one is locked and paused');
}

$node->stop;
done_testing();
