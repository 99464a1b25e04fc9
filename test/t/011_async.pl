# Async reactors: when they run, as whom, for which events, in which order, and
# what becomes of it when somebody changes them.  012_failures.pl is about calls
# that fail.

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
goes.max_backoff = '50ms'
fsync = off
});
$node->start;
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');

# Runs statements, and returns what they wrote.
sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# The SQLSTATE of statements one of which fails.
sub state_of
{
	my ($sql) = @_;
	my ($stdout, $stderr);

	$node->psql('postgres', $sql, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $stderr =~ /^(?:psql:[^\n]*: )?ERROR:  (\w{5}):/m ? $1 : "no error: $stdout $stderr";
}

# Waits until a query is true.
sub becomes
{
	my ($query, $name) = @_;
	my $true = $node->poll_query_until('postgres', $query);

	ok($true, $name);
	return $true;
}

# A session that stays until the end; returns a function that runs statements in
# it, and returns what they wrote.
my @sessions;
sub session
{
	my ($in, $out, $err) = ('', '', '');
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	push @sessions, $session;
	return sub {
		($out, $err) = ('', '');
		$in .= "$_[0]\n\\echo done\n\\warn done\n";
		$session->pump until $out =~ /^done\n/m && $err =~ /^done\n/m;
		$out =~ s/^done\n//m;
		$err =~ s/^done\n//m;
		chomp(my $both = $out . $err);
		return $both;
	};
}

sql(q{
CREATE EXTENSION goes;
CREATE ROLE app LOGIN;
CREATE ROLE writer LOGIN IN ROLE app;
CREATE ROLE writer2 LOGIN IN ROLE app;
CREATE ROLE writer3 LOGIN IN ROLE app;
CREATE ROLE stranger LOGIN;
CREATE ROLE another LOGIN ROLE writer;
CREATE ROLE user_of_it LOGIN;
GRANT CREATE ON SCHEMA public TO app;
GRANT TEMPORARY ON DATABASE postgres TO PUBLIC;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE FUNCTION n(id uuid) RETURNS integer LANGUAGE sql IMMUTABLE RETURN ltrim(replace(id::text, '-', ''), '0')::integer;
SET ROLE app;
CREATE TABLE users (LIKE goes_base_aggregate INCLUDING ALL, name text);
SELECT goes_register_aggregate('user', 'users'), goes_register_event('user', 'created'), goes_register_event('user', 'renamed'),
    goes_register_command('user', 'create', event => 'created', target => 'any'), goes_register_command('user', 'rename', event => 'renamed', target => 'any');
CREATE TABLE orders (LIKE goes_base_aggregate INCLUDING ALL, n integer);
SELECT goes_register_aggregate('order', 'orders'), goes_register_event('order', 'placed'),
    goes_register_command('order', 'place', event => 'placed', target => 'any');
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON users, orders TO user_of_it;
GRANT SELECT, INSERT ON users_events, orders_events TO user_of_it;

CREATE TABLE log (seq bigserial PRIMARY KEY, reactor text, what text, n integer, version bigint, position bigint, note text);
GRANT ALL ON log, log_seq_seq TO PUBLIC;
CREATE FUNCTION note(reactor text, event goes_event, note text DEFAULT NULL) RETURNS void LANGUAGE sql BEGIN ATOMIC
INSERT INTO log (reactor, what, n, version, position, note)
VALUES (reactor, event.aggregate_type || '.' || event.action || '.' || event.event_version, n(event.aggregate_id), event.aggregate_version, event.position, note);
END;
CREATE FUNCTION users(n integer, name text DEFAULT NULL) RETURNS bigint LANGUAGE sql
RETURN (goes_do('user.create', id(n), jsonb_build_object('name', name)) ->> 'position')::bigint;
CREATE FUNCTION orders(n integer) RETURNS bigint LANGUAGE sql
RETURN (goes_do('order.place', id(n)) ->> 'position')::bigint;
});

# Creates a function that may be a reactor; it writes to the log.
sub make
{
	my ($name, $body, $owner) = @_;

	$body //= '';
	$owner //= 'writer';
	sql(qq{CREATE FUNCTION $name(event goes_event) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN $body PERFORM public.note('$name', event); END \$\$;
		ALTER FUNCTION $name OWNER TO $owner});
	return;
}

# Registers reactors for the claims of one section, and forgets those before.
my @active;
sub section
{
	my ($events, @reactors) = @_;

	sql(join '', map({ "SELECT goes_off('$_', true);" } @active), 'TRUNCATE log;', map { "SELECT goes_on('$events', async => '{$_}');" } @reactors);
	@active = @reactors;
	return;
}

my $log = q{SELECT string_agg(n || '.' || version, ' ' ORDER BY seq) FROM log};
my $twice = q{SELECT count(*) - count(DISTINCT (reactor, position)) FROM log};

# ---------------------------------------------------------------------------
# After commit, and only then
# ---------------------------------------------------------------------------
make('hello');
section('{user,order}', 'hello');
{
	my $other = session();

	$other->('BEGIN; SELECT users(1);');
	my $last = sql('SELECT orders(1)');
	is(sql("SELECT goes_wait('hello', up_to => $last, timeout => '200ms')"), 'f', 'nothing passes an open transaction');
	is(sql($log), '', 'nothing runs before commit, of later transactions neither');
	$other->('COMMIT;');
	is(sql(q{SELECT goes_wait('hello')}), 't', 'committed');
	is(sql($log), '1.1 1.1', 'runs after commit, in position order');
	is(sql(q{SELECT string_agg(what, ' ' ORDER BY seq) FROM log}), 'user.created.1 order.placed.1', 'and not in the order of commits');

	sql(q{TRUNCATE log; BEGIN; SELECT users(2); ROLLBACK;
		BEGIN; SELECT users(3); SAVEPOINT s; SELECT users(4); ROLLBACK TO s; SELECT users(5); COMMIT;
		DO $$ BEGIN BEGIN PERFORM users(6); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END; PERFORM users(7); END $$;
		DO $$ BEGIN BEGIN PERFORM users(8); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END; END $$});
	is(sql(q{SELECT goes_wait(); } . $log), "t\n3.1 5.1 7.1", 'no event of a rollback, a savepoint or an exception block');
}

# Order across types, under concurrency
{
	sql('TRUNCATE log');
	my @writers = map {
		my $first = 100 + $_;
		my $file = PostgreSQL::Test::Utils::tempdir . "/writer$_";
		append_to_file($file, join '', map { "SELECT users(100 + ($_ + $first) % 5), orders(100 + $_ % 3);\n" } 1 .. 60);
		IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file ], '<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
	} 1 .. 3;
	$_->finish foreach @writers;
	is(sql(q{SELECT goes_wait()}), 't', 'concurrent writers: all is done');
	is(sql("SELECT count(*), count(DISTINCT position) FROM log"), '360|360', 'concurrent writers: each event once');
	is(sql('SELECT count(*) FROM (SELECT position, lag(position) OVER (ORDER BY seq) AS before FROM log) l WHERE position <= before'), '0', 'concurrent writers: in position order across types');
	is(sql(q{SELECT count(*) FROM (SELECT version, lag(version) OVER (PARTITION BY n, split_part(what, '.', 1) ORDER BY seq) AS before FROM log) l WHERE version <> before + 1}), '0',
		'concurrent writers: no version is missing');
}

# ---------------------------------------------------------------------------
# Patterns, also of what is registered later
# ---------------------------------------------------------------------------
my @patterns = (
	[ 'p_version', '{user.created.1}', 'user.created.1' ],
	[ 'p_action', '{user.created}', 'user.created.1 user.created.2' ],
	[ 'p_type', '{user}', 'user.created.1 user.renamed.1 user.created.2' ],
	[ 'p_star', '{user.*}', 'user.created.1 user.renamed.1 user.created.2' ],
	[ 'p_all', '{*}', 'user.created.1 user.renamed.1 order.placed.1 user.created.2 later.put.1' ],
	[ 'p_several', '{user.renamed,order.placed.1,user.renamed.1}', 'user.renamed.1 order.placed.1' ]);
make($_->[0], q{SET LOCAL extra_float_digits = 1;}) foreach @patterns;
make('p_added');
section('{user}');
sql("SELECT goes_on('$_->[1]', async => '{$_->[0]}')") foreach @patterns;
sql(q{
SELECT goes_on('{user.renamed}', async => '{p_added}');
SELECT goes_on('{order}', async => '{p_added}');
SELECT goes_do('user.create', id(10)), goes_do('user.rename', id(10)), goes_do('order.place', id(10));
SET ROLE app;
SELECT goes_register_event('user', 'created', 2);
CREATE FUNCTION up(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN data || '{"up": true}';
CREATE TABLE later (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('later', 'later'), goes_register_event('later', 'put'), goes_register_command('later', 'put', event => 'put', target => 'any');
RESET ROLE;
SELECT goes_do('user.create', id(10));
SELECT goes_do('later.put', id(10));
});
is(sql(q{SELECT goes_wait()}), 't', 'patterns: all is done');
is(sql("SELECT string_agg(what, ' ' ORDER BY seq) FROM log WHERE reactor = '$_->[0]'"), $_->[2], "pattern $_->[1]") foreach @patterns;
is(sql("SELECT string_agg(what, ' ' ORDER BY seq) FROM log WHERE reactor = 'p_added'"), 'user.renamed.1 order.placed.1', 'patterns that are added');
@active = (map({ $_->[0] } @patterns), 'p_added');

# What the function's owner may not see: not delivered, and told.
{
	make('unreached', '', 'stranger');
	my ($stdout, $stderr);
	$node->psql('postgres', q{SELECT goes_on('{user}', async => '{unreached}')}, stdout => \$stdout, stderr => \$stderr);
	like($stderr, qr/NOTICE:  reactor "public.unreached" does not react to events of aggregate type "user"/, 'a reactor that may not see a type is told');
	is(sql(q{SELECT users(11) > 0; SELECT goes_wait(); SELECT count(*) FROM log WHERE reactor = 'unreached'}), "t\nt\n0", 'and gets none of its events');
	push @active, 'unreached';
}

# A type or a pattern that is registered while events flow: no event after it
# is missed, though the runner has a lot to read when the registry changes.
{
	section('{user}', 'hello');
	make("load$_"), push @active, "load$_" foreach 1 .. 3;
	sql(join '', map { "SELECT goes_on('{user.renamed}', async => '{load$_}'); SELECT goes_alter_reactor('load$_', parallelism => 60);" } 1 .. 3);
	is(sql(q{SELECT users(12) > 0; SELECT goes_wait()}), "t\nt", 'registered while events flow: ready');
	my $file = PostgreSQL::Test::Utils::tempdir . '/registrations';
	append_to_file($file, join '', map { qq{
		SET ROLE app;
		CREATE TABLE flow$_ (LIKE goes_base_aggregate INCLUDING ALL);
		SELECT goes_register_aggregate('flow$_', 'flow$_'), goes_register_event('flow$_', 'put'), goes_register_command('flow$_', 'put', event => 'put', target => 'any');
		RESET ROLE;
		SELECT goes_on('{flow$_}', async => '{hello}');
		SELECT goes_do('flow$_.put', id(12)); SELECT users(12);
		SELECT goes_do('flow$_.put', id(12)); SELECT users(12);
		BEGIN;
		SET LOCAL ROLE app;
		CREATE TABLE more$_ (LIKE goes_base_aggregate INCLUDING ALL);
		SELECT goes_register_aggregate('more$_', 'more$_'), goes_register_event('more$_', 'put'), goes_register_command('more$_', 'put', event => 'put', target => 'any');
		RESET ROLE;
		SELECT goes_on('{more$_}', async => '{hello}');
		SELECT goes_do('more$_.put', id(12));
		COMMIT;
		SELECT users(12);
	} } 1 .. 30);
	my $registrations = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ], '<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
	ok($registrations->finish, 'registered while events flow');
	is(sql(q{SELECT goes_wait('hello'); SELECT count(*), count(DISTINCT position) FROM log WHERE what ~ '^(flow|more)'}), "t\n90|90", 'registered while events flow: no event is missed');
}

# ---------------------------------------------------------------------------
# Where a reactor begins; off, on and forget
# ---------------------------------------------------------------------------
{
	make($_) foreach qw(from_start from_now from_n);
	section('{user}');
	sql('TRUNCATE log; SELECT users(20), users(20)');
	my $n = sql('SELECT users(20)');
	sql(qq{SELECT users(20); SELECT goes_wait();
		SELECT goes_on('{user}', async => '{from_start}', start => 0);
		SELECT goes_on('{user}', async => '{from_now}');
		SELECT goes_on('{user}', async => '{from_n}', start => $n);
		SELECT users(20)});
	@active = qw(from_start from_now from_n);
	is(sql('SELECT goes_wait()'), 't', 'start: all is done');
	is(sql(q{SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE reactor = 'from_now'}), '5', 'start: with what comes');
	is(sql(q{SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE reactor = 'from_n'}), '4 5', 'start: after a position');
	is(sql(q{SELECT count(*), count(DISTINCT position), bool_and(ok) FROM (SELECT position, position > lag(position, 1, 0::bigint) OVER (ORDER BY seq) AS ok FROM log WHERE reactor = 'from_start') l}),
		sql(q{SELECT count(*), count(*), true FROM users_events}), 'start: from the beginning');
	is(state_of(q{SELECT goes_on('{user}', async => '{hello}', start => -1)}), '22023', 'start: negative');

	sql(q{TRUNCATE log; SELECT goes_off('from_now'); SELECT users(20); SELECT goes_wait()});
	is(sql(q{SELECT count(*) FROM log WHERE reactor = 'from_now'}), '0', 'off: it gets nothing');
	is(sql(q{SELECT goes_on('{user}', async => '{from_now}', start => 0); SELECT goes_wait(); SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE reactor = 'from_now'}), "\nt\n6",
		'on again: it goes on from there, whatever start says');
	sql(q{TRUNCATE log; SELECT goes_off('from_now', forget => true); SELECT users(20); SELECT goes_on('{user}', async => '{from_now}'); SELECT users(20); SELECT goes_wait()});
	is(sql(q{SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE reactor = 'from_now'}), '8', 'forget: it begins anew');
	is(state_of(q{SELECT goes_off('from_now', true); SELECT goes_off('from_now')}), 'OG008', 'off: not registered');
	@active = qw(from_start from_n);

	# several times at once, while events flow: on and off skip nothing and repeat nothing
	sql('TRUNCATE log');
	my $before = sql('SELECT version FROM users WHERE id = id(20)');
	sql(join '', map { "SELECT users(20); SELECT goes_off('from_n'); SELECT users(20); SELECT goes_on('{user}', async => '{from_n}');" } 1 .. 10);
	is(sql(q{SELECT goes_wait(); SELECT count(*), count(DISTINCT version), min(version), max(version) FROM log WHERE reactor = 'from_n'}),
		"t\n20|20|" . ($before + 1) . '|' . ($before + 20), 'off and on while events flow');
}

# ---------------------------------------------------------------------------
# As whom it runs
# ---------------------------------------------------------------------------
{
	my $tell = q{INSERT INTO public.log (reactor, note) VALUES ('who', concat_ws(' ', current_user, session_user, current_setting('role')));};

	make('who', $tell);
	make('who_reset', qq{RESET ROLE; RESET SESSION AUTHORIZATION; $tell});
	make('who_set', qq{SET ROLE another; $tell RESET ROLE; SET SESSION AUTHORIZATION writer; $tell});
	sql(qq{
		CREATE FUNCTION who_definer(event goes_event) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS \$\$ BEGIN $tell END \$\$;
		CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $tell RETURN NULL; END \$\$;
		CREATE TABLE told (n integer);
		CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON told DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell();
		GRANT INSERT ON told TO writer, another;
		ALTER FUNCTION who_definer OWNER TO writer});
	make('who_deferred', 'SET ROLE another; INSERT INTO public.told VALUES (1);');
	foreach my $reactor (qw(who who_reset who_set who_definer who_deferred))
	{
		section('{user}', $reactor);
		sql('SET SESSION AUTHORIZATION user_of_it; SELECT users(30)');
		is(sql('SELECT goes_wait()'), 't', "$reactor: done");
		is(sql(q{SELECT string_agg(DISTINCT note, ', ') FROM log WHERE reactor = 'who'}),
			$reactor eq 'who_set' ? 'another writer another, writer writer none'
			# a trigger runs as whoever caused it, since PostgreSQL 18
			: $reactor eq 'who_deferred' && $version >= 180000 ? 'another writer none'
			: 'writer writer none', "$reactor: runs as its owner");
	}
	# neither can it become anybody else, though a superuser registers it and executes the command
	foreach my $role ('SET ROLE user_of_it', 'SET SESSION AUTHORIZATION app', 'SET ROLE stranger', 'SET ROLE ' . sql('SELECT quote_ident(current_user)'))
	{
		make('climber', qq{BEGIN $role; $tell EXCEPTION WHEN insufficient_privilege THEN INSERT INTO public.log (reactor, note) VALUES ('who', 'refused'); END;});
		section('{user}', 'climber');
		sql('SELECT users(30)');
		is(sql(q{SELECT goes_wait(); SELECT note FROM log WHERE reactor = 'who'}), "t\nrefused", "$role: refused");
		section('{user}');
		sql('DROP FUNCTION climber');
	}
	# registering it needs membership in its owner
	make('theirs');
	is(state_of(q{SET SESSION AUTHORIZATION stranger; SELECT goes_on('{user}', async => '{theirs}')}), '42501', 'registering: not without membership in the owner');
	is(state_of(q{SET SESSION AUTHORIZATION app; SELECT goes_on('{user}', async => '{theirs}')}), '42501', 'registering: the table owner neither');
	sql(q{GRANT writer TO stranger; SET SESSION AUTHORIZATION stranger; SELECT goes_on('{user}', async => '{theirs}')});
	sql(q{REVOKE writer FROM stranger; TRUNCATE log; SELECT users(30)});
	is(sql(q{SELECT goes_wait(); SELECT count(*) FROM log}), "t\n1", 'registering: a member may');
	@active = ('theirs');
}

# ---------------------------------------------------------------------------
# What a call changes in its session
# ---------------------------------------------------------------------------
{
	# tells what it finds, and leaves all it can
	my $find = q{
		INSERT INTO public.log (reactor, what, n, note) SELECT 'found', v.what, n(event.aggregate_id), v.found FROM (VALUES
			('set', current_setting('work_mem')),
			('set_config', coalesce(nullif(current_setting('my.setting', true), ''), 'none')),
			('search_path', current_setting('search_path')),
			('role', current_setting('role')),
			('read_only', current_setting('transaction_read_only')),
			('default_read_only', current_setting('default_transaction_read_only')),
			('async', current_setting('goes.async')),
			('temp', (SELECT count(*)::text FROM pg_class WHERE relpersistence = 't' AND relkind = 'r' AND relnamespace = pg_my_temp_schema())),
			('prepared', (SELECT count(*)::text FROM pg_prepared_statements WHERE name = 'mine')),
			('cursor', (SELECT count(*)::text FROM pg_cursors WHERE name IN ('mine', 'held'))),
			('lock', (SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid = 99))) v (what, found);};
	my $leave = q{
		SET work_mem = '123kB';
		PERFORM set_config('my.setting', 'left', false);
		SET search_path = nowhere;
		SET default_transaction_read_only = on;
		SET goes.async = 'inline';
		CREATE TEMPORARY TABLE mine (n integer);
		CREATE TEMPORARY TABLE users (n integer);
		EXECUTE 'PREPARE mine AS SELECT 1';
		EXECUTE 'DECLARE mine CURSOR FOR SELECT 1';
		EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1';
		PERFORM pg_advisory_lock(99);
		SET ROLE another;};
	my $fresh = sql(q{SET SESSION AUTHORIZATION writer; SELECT current_setting('work_mem')});
	my $expected = "async=background cursor=0 default_read_only=off lock=0 prepared=0 read_only=off role=none search_path=\"\$user\", public set=$fresh set_config=none temp=0";
	my $found = q{SELECT coalesce(string_agg(DISTINCT r, ' | '), 'nothing') FROM (SELECT string_agg(DISTINCT what || '=' || note, ' ' ORDER BY what || '=' || note) AS r FROM log WHERE reactor = 'found' GROUP BY n) f};

	# between the calls of one batch
	make('leaves', $find . $leave);
	section('{user}', 'leaves');
	sql(q{SELECT goes_pause('leaves'); SELECT users(i) FROM generate_series(40, 44) i; SELECT goes_resume('leaves')});
	is(sql(q{SELECT goes_wait('leaves'); SELECT count(*) FROM log WHERE reactor = 'leaves'}), "t\n5", 'left in the session: all is done');
	is(sql(q{SELECT failed, last_error FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'public.leaves'}), '0|', 'left in the session: none has failed');
	is(sql($found), $expected, 'left in the session: the next call finds nothing of it');

	# the same in batches of one
	section('{user}', 'leaves');
	sql(q{SELECT goes_alter_reactor('leaves', batch_size => 1); SELECT users(i) FROM generate_series(40, 44) i});
	is(sql(q{SELECT goes_wait('leaves'); SELECT count(*) FROM log WHERE reactor = 'leaves'}), "t\n5", 'left in the session, batches of one: all is done');
	is(sql($found), $expected, 'left in the session, batches of one: nothing of it');

	# a call that fails after it has left all that
	make('leaves_and_fails', "$find $leave IF event.aggregate_version % 2 = 1 THEN RAISE 'no'; END IF;");
	section('{user}', 'leaves_and_fails');
	sql(q{SELECT goes_alter_reactor('leaves_and_fails', max_attempts => 1); SELECT goes_pause('leaves_and_fails')});
	sql(q{SELECT users(45), users(45), users(45), users(46), users(46); SELECT goes_resume('leaves_and_fails')});
	is(sql(q{SELECT goes_wait('leaves_and_fails'); SELECT count(*) FROM log WHERE reactor = 'leaves_and_fails'}), "t\n2", 'left by a call that fails: others are done');
	is(sql($found), $expected, 'left by a call that fails: nothing of it');

	# by a deferred trigger, when the batch commits
	my $leave_late = $leave =~ s/SET default_transaction_read_only = on;//r;
	sql(qq{
		CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $leave_late RETURN NULL; END \$\$;
		CREATE TABLE leaving (n integer);
		CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON leaving DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION leave();
		GRANT INSERT ON leaving TO PUBLIC});
	make('leaves_late', "$find INSERT INTO public.leaving VALUES (1);");
	section('{user}', 'leaves_late');
	sql(q{SELECT goes_alter_reactor('leaves_late', batch_size => 1, max_attempts => 2); SELECT users(i) FROM generate_series(47, 50) i});
	is(sql(q{SELECT goes_wait('leaves_late'); SELECT count(*) FROM log WHERE reactor = 'leaves_late'}), "t\n4", 'left by a deferred trigger: all is done');
	is(sql($found), $expected, 'left by a deferred trigger: nothing of it');
	# nor does another reactor of the same owner, in the same session
	make('finds', $find);
	section('{user}', 'leaves', 'finds');
	sql(q{SELECT users(i) FROM generate_series(51, 54) i; SELECT goes_wait()});
	is(sql($found), $expected, 'left in the session: nor does another reactor');

	# a deferred constraint of a temporary table, which goes with the call
	make('temp_deferred', 'CREATE TEMPORARY TABLE t (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1), (1); UPDATE t SET n = 2 WHERE ctid = (SELECT max(ctid) FROM t);');
	section('{user}', 'temp_deferred');
	sql(q{SELECT goes_alter_reactor('temp_deferred', max_attempts => 2); SELECT users(55)});
	is(sql(q{SELECT goes_wait('temp_deferred'); SELECT count(*) FROM log; SELECT error FROM goes.dead_letters}), "t\n1", 'a deferred constraint on a temporary table');

	# a deferred trigger that changes what the next transaction would begin with
	foreach my $setting (q{default_transaction_read_only = on}, q{default_transaction_isolation = 'serializable'}, q{session_replication_role = replica})
	{
		my $owner = $setting =~ /replication/ ? sql('SELECT current_user') : 'writer';
		sql(qq{CREATE OR REPLACE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN SET $setting; RETURN NULL; END \$\$});
		make('begins_badly', q{INSERT INTO public.log (reactor, note) VALUES ('is', concat_ws(' ', current_setting('transaction_read_only'), current_setting('transaction_isolation'), current_setting('session_replication_role')));
			INSERT INTO public.leaving VALUES (1);}, qq{"$owner"});
		section('{user}', 'begins_badly');
		sql(q{SELECT goes_alter_reactor('begins_badly', batch_size => 1); SELECT users(i) FROM generate_series(57, 59) i});
		is(sql(q{SELECT goes_wait('begins_badly', timeout => '10s'); SELECT note, count(*) FROM log WHERE reactor = 'is' GROUP BY 1}), "t\noff read committed origin|3", "a deferred trigger: SET $setting");
		section('{user}');
		sql('DROP FUNCTION begins_badly');
		# whatever became of them, the claims below want other ones
		sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'goes runner'});
	}

	# LISTEN is refused or harmless
	make('listens', q{BEGIN EXECUTE 'LISTEN something'; EXCEPTION WHEN OTHERS THEN NULL; END; PERFORM pg_notify('something', 'x');});
	section('{user}', 'listens');
	sql('SELECT users(56); SELECT goes_wait(); SELECT users(56)');
	is(sql(q{SELECT goes_wait(); SELECT count(*) FROM log}), "t\n2", 'LISTEN does no harm');
}

# ---------------------------------------------------------------------------
# Upcasting
# ---------------------------------------------------------------------------
make('upcast', q{INSERT INTO public.log (reactor, note) VALUES ('seen', event.event_version || ' ' || event.data::text);});
section('{user.created.1}', 'upcast');
sql(q{
SET ROLE app;
CREATE OR REPLACE FUNCTION build_old(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN goes_event_data('created', '{"name": "old"}', 1);
SELECT goes_register_command('user', 'create_old', build => 'build_old', target => 'any'), goes_register_upcaster('user', 'created', 1, 'up');
RESET ROLE;
SELECT goes_do('user.create_old', id(60)), goes_do('user.create', id(60))});
is(sql(q{SELECT goes_wait(); SELECT note FROM log WHERE reactor = 'seen'}), "t\n2 {\"up\": true, \"name\": \"old\"}", 'the event is seen as upcasters leave it, and chosen as it is stored');

# ---------------------------------------------------------------------------
# goes_wait
# ---------------------------------------------------------------------------
{
	section('{user}', 'hello');
	sql(q{CREATE FUNCTION sync(event goes_event) RETURNS void LANGUAGE sql BEGIN ATOMIC END; SELECT goes_on('{order}', sync => '{sync}')});
	is(sql(q{SELECT goes_wait(), goes_wait(NULL, NULL, NULL), goes_wait('hello'), goes_wait('public.hello'), goes_wait('hello', 1), goes_wait(up_to => 0), goes_wait(timeout => '0')}), 't|t|t|t|t|t|t', 'wait: nothing to wait for');
	is(state_of(q{SELECT goes_wait('sync')}), '42809', 'wait: a sync reactor');
	is(state_of(q{SELECT goes_wait('nobody')}), 'OG008', 'wait: no reactor');
	is(state_of(q{BEGIN; SELECT users(70); SELECT goes_wait()}), '55000', 'wait: in a transaction that has appended');
	is(sql(q{BEGIN; SELECT goes_wait(); COMMIT}), 't', 'wait: in another one');
	my $last = sql('SELECT last_value FROM goes.position');
	is(sql(qq{SELECT goes_wait(up_to => $last + 100, timeout => '50ms'), goes_wait('hello', $last + 100, '50ms'), goes_wait(timeout => '-1s', up_to => $last + 100)}), 'f|f|f', 'wait: time-out');
	sql(q{SELECT goes_pause('hello')});
	$last = sql('SELECT users(70)');
	is(sql(qq{SELECT goes_wait(), goes_wait('hello', timeout => '50ms'), goes_wait('hello', $last - 1)}), 't|f|t', 'wait: for all that are not paused, or for one');
	sql(q{SELECT goes_resume('hello')});
	is(sql(q{SELECT goes_wait('hello')}), 't', 'wait: resumed');
	# whatever the snapshot: it is read as it is now
	my $old = session();
	$old->('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users;');
	sql('SELECT users(70)');
	is($old->('SELECT goes_wait(); COMMIT;'), 't', 'wait: in a transaction with an old snapshot');
	is(sql(q{BEGIN READ ONLY; SELECT goes_wait(); COMMIT; SET default_transaction_isolation = serializable; SELECT goes_wait()}), "t\nt", 'wait: in a transaction that only reads');
	is(sql(q{SET ROLE stranger; SELECT goes_wait(), goes_wait('public.hello')}), 't|t', 'wait: everybody may');
	# waiting begins before the event is there
	my $waits = session();
	my $next = sql('SELECT last_value FROM goes.position') + 1;
	my $is = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT goes_wait('hello', $next)" ], '<', '/dev/null', '>', \my $out);
	becomes(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT goes_wait(''hello'', %' AND wait_event_type = 'Extension' AND backend_type = 'client backend'}, 'wait: it waits');
	sql('SELECT users(70)');
	$is->finish;
	is($out, "t\n", 'wait: for what comes');

	make('waits', 'PERFORM public.goes_wait();');
	section('{user}', 'waits');
	sql(q{SELECT goes_alter_reactor('waits', max_attempts => 1); SELECT users(70)});
	is(sql(q{SELECT goes_wait('waits'); SELECT sqlstate FROM goes.dead_letters}), "t\n55000", 'wait: not inside a reactor');
}

# ---------------------------------------------------------------------------
# Process managers
# ---------------------------------------------------------------------------
{
	sql(q{
	CREATE TABLE chain (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
	GRANT ALL ON chain TO writer;
	SET ROLE app;
	CREATE TABLE steps (LIKE goes_base_aggregate INCLUDING ALL, n integer);
	SELECT goes_register_aggregate('step', 'steps'), goes_register_event('step', 'taken'), goes_register_command('step', 'take', event => 'taken', target => 'any');
	});
	make('begins', q{PERFORM public.goes_do('step.take', public.id(1000 * public.n(event.aggregate_id)), '{"n": 1}', '{"by": "begins"}');});
	make('goes_further', q{IF (event.data ->> 'n')::integer < 5 THEN
		PERFORM public.goes_do('step.take', public.id(public.n(event.aggregate_id) + 1), jsonb_build_object('n', (event.data ->> 'n')::integer + 1)); END IF;
		INSERT INTO public.chain VALUES (0); UPDATE public.chain SET n = public.n(event.aggregate_id) WHERE n = 0;}, 'writer2');
	sql('GRANT ALL ON chain TO writer2');
	section('{user}', 'begins');
	sql(q{SELECT goes_on('{step}', async => '{goes_further}')});
	push @active, 'goes_further';
	sql(q{SELECT goes_do('user.create', id(80), metadata => '{"tenant": "a", "by": "me"}'), goes_do('user.create', id(81))});
	becomes('SELECT count(*) = 10 FROM steps_events', 'process manager: the whole chain');
	is(sql('SELECT goes_wait()'), 't', 'process manager: all is done');
	is(sql(q{SELECT count(*), count(*) FILTER (WHERE metadata ->> 'tenant' = 'a' AND metadata ->> 'by' = 'begins') FROM steps_events}), '10|5', 'process manager: metadata is inherited, under the command\'s');
	is(sql(q{SELECT count(*) FROM steps_events s WHERE metadata ->> 'correlation_id' = (SELECT u.id::text FROM users_events u WHERE u.aggregate_id = id(n(s.aggregate_id) / 1000))}), '10', 'process manager: correlation_id is that of the first event');
	is(sql(q{SELECT count(*) FROM steps_events s WHERE metadata ->> 'causation_id' = (SELECT e.id::text FROM (SELECT id, aggregate_id FROM users_events UNION ALL SELECT id, aggregate_id FROM steps_events) e
		WHERE e.aggregate_id = CASE n(s.aggregate_id) % 1000 WHEN 0 THEN id(n(s.aggregate_id) / 1000) ELSE id(n(s.aggregate_id) - 1) END)}), '10', 'process manager: causation_id is that of the one before');
	is(sql('SELECT count(*), count(DISTINCT n) FROM chain'), '10|10', 'process manager: deferred constraints are checked when all is there');
	is(sql($twice), '0', 'process manager: each event once');

	# the next batch does not inherit anything
	sql('SELECT goes_do(\'step.take\', id(1), \'{"n": 5}\')');
	is(sql(q{SELECT goes_wait(); SELECT metadata FROM steps_events WHERE aggregate_id = id(1)}), "t\n{}", 'a command by nobody\'s cause');
}

# ---------------------------------------------------------------------------
# goes.async = inline
# ---------------------------------------------------------------------------
{
	make('in_line', q{IF event.data ->> 'name' = 'bad' THEN RAISE 'no' USING ERRCODE = 'ZZ001'; END IF; IF event.data ->> 'name' = 'worse' THEN RAISE 'no'; END IF;});
	section('{user}', 'in_line');
	sql(q{SET goes.async = 'inline'; BEGIN; SELECT users(90); SELECT set_config('my.n', (SELECT count(*)::text FROM log), false); COMMIT; INSERT INTO log (reactor, note) VALUES ('then', current_setting('my.n'))});
	is(sql(q{SELECT goes_wait(); SELECT count(*) FILTER (WHERE reactor = 'in_line'), max(note) FROM log}), "t\n1|1", 'inline: at once, and not again after commit');
	is(state_of(q{SET goes.async = 'inline'; SELECT users(90, 'bad')}), 'ZZ001', 'inline: an error fails the command');
	is(sql('SELECT version FROM users WHERE id = id(90)'), '1', 'inline: it is undone');
	is(state_of(q{SET SESSION AUTHORIZATION user_of_it; SET goes.async = 'inline'; SELECT users(90)}), '42501', 'inline: not without the rights of the owner');
	is(state_of(q{SET SESSION AUTHORIZATION app; SET goes.async = 'inline'; SELECT users(90)}), '42501', 'inline: the table owner neither');
	sql(q{SET SESSION AUTHORIZATION writer; BEGIN; SET LOCAL goes.async = 'inline'; SELECT users(90); COMMIT; SELECT users(90); BEGIN; SET LOCAL goes.async = 'inline'; SELECT users(90); SAVEPOINT s; SELECT users(90); ROLLBACK TO s; COMMIT});
	is(sql(q{SELECT goes_wait(); SELECT count(*), count(DISTINCT position) FROM log WHERE reactor = 'in_line'}), "t\n4|4", 'inline and background: each once');
	is(sql('SELECT count(*) FROM goes.inline_deliveries'), '0', 'inline: nothing is left to remember');

	# an event that went inline while an earlier one of its aggregate has failed
	sql(q{TRUNCATE log; SELECT goes_alter_reactor('in_line', backoff => '1h', max_backoff => '1h'); SELECT users(91, 'worse')});
	becomes('SELECT count(*) = 1 FROM goes.pending WHERE attempts = 1', 'inline: an earlier event has failed');
	sql(q{SET goes.async = 'inline'; SELECT users(91)});
	sql(q{SELECT users(92)});
	becomes('SELECT count(*) = 1 FROM log WHERE n = 92', 'inline: the reactor has passed it');
	sql(q{CREATE OR REPLACE FUNCTION in_line(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('in_line', event); END $$});
	is(sql(q{SELECT goes_retry('in_line'); SELECT goes_wait('in_line')}), "1\nt", 'inline: the earlier event is retried');
	is(sql(q{SELECT string_agg(version::text, ' ' ORDER BY seq) FROM log WHERE n = 91}), '2 1', 'inline: and the one that went inline is not repeated');
}

# ---------------------------------------------------------------------------
# Its function changes while events flow
# ---------------------------------------------------------------------------
my $waiting = q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted};
{
	# In the middle of a batch: a first call waits, and the others come after
	# the change.  Only one attempt: none of it may count as a failure.
	my $holder = session();
	# a lock on a table lets the session see what changed meanwhile
	my $wait = q{PERFORM pg_advisory_xact_lock(7); PERFORM FROM public.chain LIMIT 0;};
	my %changes = (
		'replaced' => [ q{CREATE OR REPLACE FUNCTION changing(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM public.note('new', event); END $$}, 'changing' ],
		'renamed' => [ 'ALTER FUNCTION changing RENAME TO changed', 'changed' ],
		'moved' => [ 'ALTER FUNCTION changing SET SCHEMA place', 'place.changing' ],
		'in a schema that is renamed' => [ 'ALTER SCHEMA home RENAME TO house', 'house.changing' ],
		'given to another owner' => [ 'ALTER FUNCTION changing OWNER TO writer2', 'changing' ]);
	# Both wait in the server, since a batch takes up to 100 ms only: the change
	# until the reactor is there, and who lets go of the reactor until the change
	# has committed, or waits for a lock.
	my $until = sub { return "DO \$\$ BEGIN LOOP EXIT WHEN $_[0]; PERFORM pg_sleep(0.001); END LOOP; END \$\$;\n" };
	my $reactor_waits = q{EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted)};
	my $changer_waits = q{EXISTS (SELECT FROM pg_locks w JOIN pg_locks c ON c.pid = w.pid WHERE c.locktype = 'advisory' AND c.objid = 8 AND NOT w.granted)};

	sql('CREATE SCHEMA place; GRANT USAGE ON SCHEMA place TO PUBLIC; CREATE TABLE changed (how text)');
	foreach my $how (sort keys %changes)
	{
		my ($change, $name) = @{$changes{$how}};
		my $before = $how =~ /schema/ ? 'home.changing' : 'changing';

		section('{user}');
		sql('CREATE SCHEMA home; GRANT USAGE ON SCHEMA home TO PUBLIC');
		make($before, $wait);
		section('{user}', $before);
		sql("SELECT goes_alter_reactor('$before', max_attempts => 1); SELECT goes_pause('$before'); SELECT users(i) FROM generate_series(100, 104) i");
		$holder->('SELECT pg_advisory_lock(7);');
		my $file = PostgreSQL::Test::Utils::tempdir . '/change';
		append_to_file($file, "SELECT pg_advisory_lock(8);\n" . $until->($reactor_waits) . "$change;\nINSERT INTO changed VALUES ('$how');\nSELECT users(i) FROM generate_series(105, 107) i;\n");
		my $changer = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ], '<', '/dev/null', '>', '/dev/null');
		becomes(q{SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 8)}, "$how: is going to be changed");
		is($holder->("SELECT goes_resume('$before'); " . $until->("$reactor_waits AND (EXISTS (SELECT FROM changed WHERE how = '$how') OR $changer_waits)") . 'SELECT pg_advisory_unlock(7);'), "\nt", "$how: in the middle of a batch");
		ok($changer->finish, "$how: changed");
		@active = ($name);
		is(sql("SELECT goes_wait('$name')"), 't', "$how: all is done");
		is(sql("SELECT string_agg(n::text, ' ' ORDER BY position) FROM log"), '100 101 102 103 104 105 106 107', "$how: each event once");
		is(sql('SELECT count(*) FROM goes.dead_letters; SELECT count(*) FROM goes.pending'), "0\n0", "$how: no call has failed");
		is(sql('SELECT string_agg(reactor, \' \') FROM goes.reactors WHERE active AND mode = \'async\''), $name =~ /\./ ? $name : "public.$name", "$how: registered under its name");
		section('{user}');
		sql("DROP FUNCTION $name; DROP SCHEMA IF EXISTS home, house");
		unlink $file;
	}

	# the new owner is who it runs as, and the old one needs no rights any more
	make('owned', q{INSERT INTO public.log (reactor, note) VALUES ('who', current_user);});
	section('{user}', 'owned');
	sql('SELECT users(110); SELECT goes_wait(); ALTER FUNCTION owned OWNER TO writer3; SELECT users(110)');
	is(sql(q{SELECT goes_wait(); SELECT string_agg(note, ' ' ORDER BY seq) FROM log WHERE reactor = 'who'}), "t\nwriter writer3", 'a new owner: it runs as that one');
	# an owner who may not see the type
	sql('ALTER FUNCTION owned OWNER TO stranger; SELECT users(110)');
	is(sql(q{SELECT goes_wait(); SELECT count(*) FROM log WHERE reactor = 'who' AND note = 'stranger'}), "t\n0", 'a new owner who may not see the events');
	section('{user}');

	# dropped while events flow, then made anew
	make('dropped');
	section('{user}', 'dropped');
	is(state_of('DROP FUNCTION dropped'), '2BP01', 'dropped: refused');
	my $file = PostgreSQL::Test::Utils::tempdir . '/flow';
	append_to_file($file, "SELECT users(111);\n" x 300);
	my $flow = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ], '<', '/dev/null', '>', '/dev/null');
	becomes('SELECT count(*) > 10 FROM log', 'dropped: it has run');
	sql('SET client_min_messages = error; DROP FUNCTION dropped(goes_event) CASCADE');
	is(sql(q{SELECT count(*) FROM goes.reactors WHERE reactor = 'public.dropped'; SELECT count(*) FROM goes.progress p WHERE NOT EXISTS (SELECT FROM goes.reactors r WHERE r.id = p.reactor)}), "0\n0", 'dropped: with its registration and progress');
	make('dropped');
	sql(q{SELECT goes_on('{user}', async => '{dropped}', start => 0)});
	ok($flow->finish, 'dropped: commands do not mind');
	sql(q{SELECT goes_wait('dropped')});
	is(sql(q{SELECT count(*), count(DISTINCT position) FROM (SELECT * FROM log ORDER BY seq DESC LIMIT (SELECT count(*) FROM users_events)) l}), sql('SELECT count(*), count(*) FROM users_events'), 'dropped: made anew, it begins anew');
}

# ---------------------------------------------------------------------------
# Its owner changes
# ---------------------------------------------------------------------------
{
	# loses a privilege on what it writes to
	make('written');
	section('{user}', 'written');
	sql(q{CREATE TABLE target (n integer); GRANT INSERT ON target TO writer;
		CREATE OR REPLACE FUNCTION written(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO target VALUES (n(event.aggregate_id)); END $$;
		SELECT goes_alter_reactor('written', max_attempts => 1000000); SELECT users(120); SELECT goes_wait(); REVOKE INSERT ON target FROM writer; SELECT users(121)});
	becomes(q{SELECT count(*) = 1 FROM goes.pending WHERE attempts > 1 AND sqlstate = '42501'}, 'an owner without a privilege: fails, and is tried again');
	sql('GRANT INSERT ON target TO writer');
	is(sql(q{SELECT goes_wait(); SELECT string_agg(n::text, ' ' ORDER BY n) FROM target}), "t\n120 121", 'an owner with the privilege again: done');

	# can connect no more; the runner that is connected is no excuse
	make('blocked');
	section('{user}', 'blocked');
	my @blocks = (
		[ 'NOLOGIN', 'ALTER ROLE writer NOLOGIN', 'ALTER ROLE writer LOGIN' ],
		[ 'no CONNECT', 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC' ]);
	foreach my $block (@blocks)
	{
		my ($how, $take, $give) = @$block;
		my $is_blocked = $how ne 'NOLOGIN' || $version < 170000;

		foreach my $connected (1, 0)
		{
			my $name = $how . ($connected ? ', connected' : ', not connected');
			sql('SELECT users(122)');
			sql(q{SELECT goes_wait(); TRUNCATE log});
			sql($take);
			if (!$connected)
			{
				my $pid = sql(q{SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE backend_type = 'goes runner' AND usename = 'writer'});
				sql(qq{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY ('{$pid}')});
				becomes(qq{SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY ('{$pid}')}, "$name: the runner has gone");
			}
			my $last = sql('SELECT users(122), users(123)');
			if ($is_blocked)
			{
				is(sql(q{SELECT goes_wait('blocked', timeout => '300ms'); SELECT count(*) FROM log}), "f\n0", "$name: no event is consumed");
				is(state_of(q{SELECT goes_off('blocked'); SELECT goes_on('{user}', async => '{blocked}')}), '55000', "$name: registering is refused");
			}
			else
			{
				is(sql(q{SELECT goes_wait('blocked'); SELECT count(*) FROM log}), "t\n2", "$name: that is no obstacle");
			}
			sql($give);
			sql(q{SELECT goes_on('{user}', async => '{blocked}')});
			is(sql(q{SELECT goes_wait('blocked'); SELECT count(*), count(DISTINCT position) FROM log}), "t\n2|2", "$name: over, all is done, once");
		}
	}
	# A limit does not count background workers, in some versions.
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'goes runner'; TRUNCATE log; ALTER ROLE writer CONNECTION LIMIT 0; SELECT users(124); SELECT goes_wait('blocked', timeout => '300ms')});
	sql('ALTER ROLE writer CONNECTION LIMIT -1');
	is(sql(q{SELECT goes_wait('blocked'); SELECT count(*), count(DISTINCT position) FROM log}), "t\n1|1", 'connection limit: nothing is lost');
}

# ---------------------------------------------------------------------------
# Settings of roles and databases
# ---------------------------------------------------------------------------
{
	make('settled', q{INSERT INTO public.log (reactor, note) VALUES ('who', concat_ws(' ', current_user, session_user, current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('session_replication_role'), current_setting('goes.async')));
		INSERT INTO public.chain VALUES (1), (1); DELETE FROM public.chain WHERE n = 1;});
	sql('TRUNCATE chain');
	my @settings = (q{default_transaction_read_only = on}, q{default_transaction_isolation = 'serializable'}, q{default_transaction_deferrable = on}, q{search_path = ''},
		q{statement_timeout = '1ms'}, q{session_replication_role = 'replica'}, q{goes.async = 'inline'}, q{row_security = off}, q{quote_all_identifiers = on}, q{check_function_bodies = off},
		q{enable_indexscan = off}, q{bytea_output = 'escape'}, q{"DateStyle" = 'German'}, q{"TimeZone" = 'Asia/Kolkata'}, q{"IntervalStyle" = 'sql_standard'}, q{standard_conforming_strings = off},
		q{client_min_messages = debug1}, q{default_tablespace = ''}, q{goes.max_nesting = 1}, q{transform_null_equals = on}, q{role = 'another'}, q{lock_timeout = '1ms'},
		q{idle_in_transaction_session_timeout = '1ms'}, $version >= 170000 ? q{transaction_timeout = '1ms'} : ());
	# of the role, then of the database
	foreach my $where ('ROLE writer', 'DATABASE postgres')
	{
		section('{user}', 'settled');
		my @those = grep { $where =~ /ROLE/ || !/^role/ && !/row_security|goes.async|statement_timeout|search_path|default_transaction_read_only|lock_timeout|transaction_timeout/ } @settings;
		@those = (@those, q{default_transaction_read_only = on}, q{search_path = 'nowhere'}) if $where =~ /DATABASE/;
		sql(join ';', (map { "ALTER $where SET $_" } grep { !/search_path = ''/ } @those), q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('goes runner', 'goes dispatcher')});
		my $calm = 'SET default_transaction_read_only = off; SET default_transaction_isolation = \'read committed\'; SET default_transaction_deferrable = off; SET search_path = public; SET session_replication_role = origin; SET quote_all_identifiers = off; SET client_min_messages = notice; SET goes.max_nesting = 32; SET standard_conforming_strings = on; SET "DateStyle" = \'ISO\';';
		is(sql(qq{$calm SELECT users(130) > 0, users(131) > 0; SELECT goes_wait(); SELECT last_error FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'public.settled'}), "t|t\nt\n", "settings of $where: all is done, without an error");
		is(sql(qq{$calm SELECT DISTINCT note FROM log WHERE reactor = 'who'}), 'writer writer read committed off origin background', "settings of $where: the runner has its own");
		is(sql(qq{$calm ALTER $where RESET ALL; SELECT count(*) FROM log WHERE reactor = 'settled'}), '2', "settings of $where: each event once");
	}
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('goes runner', 'goes dispatcher')});
}

# ---------------------------------------------------------------------------
# Pause, rewind, alter
# ---------------------------------------------------------------------------
{
	my $holder = session();

	make('managed', q{IF event.data ->> 'name' = 'wait' THEN PERFORM pg_advisory_xact_lock(7); END IF;});
	section('{user}', 'managed');
	$holder->('SELECT pg_advisory_lock(7);');
	sql(q{SELECT users(140, 'wait'), users(141)});
	becomes($waiting, 'pause: the reactor runs');
	my $pause = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q{SELECT goes_pause('managed'); INSERT INTO log (reactor) SELECT 'paused'} ], '<', '/dev/null', '>', \my $out);
	becomes(q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'SELECT goes_pause%' AND wait_event_type = 'Lock'}, 'pause: waits for what runs');
	$holder->('SELECT pg_advisory_unlock(7);');
	$pause->finish;
	my $done = sql(q{SELECT count(*) FROM log WHERE reactor = 'managed'});
	sql('SELECT users(142)');
	is(sql(q{SELECT goes_wait('managed', timeout => '200ms'); SELECT count(*) FROM log WHERE reactor = 'managed'}), "f\n$done", 'pause: nothing runs when it has committed');
	is(sql(q{SELECT goes_resume('managed'); SELECT goes_resume('managed'); SELECT goes_wait('managed'); SELECT string_agg(n::text, ' ' ORDER BY seq) FROM log WHERE reactor = 'managed'}), "\n\nt\n140 141 142", 'resume: it goes on');

	# a pause that is rolled back
	sql(q{BEGIN; SELECT goes_pause('managed'); ROLLBACK; SELECT users(143)});
	is(sql(q{SELECT goes_wait('managed'); SELECT max(n) FROM log}), "t\n143", 'pause: rolled back');

	my $after = sql('SELECT position FROM log WHERE n = 141');
	is(sql(qq{TRUNCATE log; SELECT goes_rewind('managed', $after); SELECT goes_wait('managed'); $log}), "\nt\n142.1 143.1", 'rewind: it goes on after that position');
	is(sql(qq{TRUNCATE log; SELECT goes_rewind('managed', 0); SELECT goes_wait('managed'); SELECT count(*), count(DISTINCT position) FROM log}), "\nt\n" . sql('SELECT count(*), count(*) FROM users_events'), 'rewind: from the beginning');
	is(state_of("SELECT goes_rewind('managed', $_->[0])"), $_->[1], "rewind to $_->[0]") foreach [ -1, '22023' ], [ 1000000, '22023' ], [ 'NULL', '22004' ];
	my $last = sql('SELECT last_value FROM goes.position');
	is(sql(qq{SELECT goes_pause('managed'); SELECT users(144) > 0; SELECT goes_rewind('managed', $last + 1); TRUNCATE log; SELECT goes_resume('managed'); SELECT users(145) > 0; SELECT goes_wait('managed'); $log}), "\nt\n\n\nt\nt\n145.1", 'rewind: forward');

	# settings
	sql(q{SELECT goes_alter_reactor('managed', max_attempts => 7, backoff => '2s', max_backoff => '1min', timeout => '3s', batch_size => 9, on_failure => 'stop')});
	is(sql(q{SELECT max_attempts, backoff, max_backoff, timeout, batch_size, on_failure, parallelism FROM goes.reactors WHERE reactor = 'public.managed'}), '7|00:00:02|00:01:00|00:00:03|9|stop|1', 'alter: what is given');
	sql(q{SELECT goes_alter_reactor('managed', batch_size => 10); SELECT goes_alter_reactor('managed')});
	is(sql(q{SELECT max_attempts, backoff, max_backoff, timeout, batch_size, on_failure, parallelism FROM goes.reactors WHERE reactor = 'public.managed'}), '7|00:00:02|00:01:00|00:00:03|10|stop|1', 'alter: the rest stays');
	is(state_of("SELECT goes_alter_reactor('managed', $_)"), '22023', "alter: $_") foreach 'max_attempts => 0', q{backoff => '-1s'}, q{max_backoff => '-1s'}, q{timeout => '0'}, 'batch_size => 0', 'batch_size => 10001', 'parallelism => 0', 'parallelism => 65', q{on_failure => 'x'};

	# parallelism up and down in the middle of a backlog
	sql(q{SELECT goes_pause('managed'); SELECT users(150 + i % 50) FROM generate_series(1, 1500) i; TRUNCATE log});
	sql(q{SELECT goes_resume('managed')});
	sql("SELECT goes_alter_reactor('managed', parallelism => $_); SELECT users(150 + i % 50) FROM generate_series(1, 100) i; SELECT pg_sleep(0.02)") foreach 4, 2, 8, 3, 3, 1, 64, 2;
	is(sql(q{SELECT goes_wait('managed')}), 't', 'parallelism: all is done');
	is(sql(q{SELECT count(*), count(DISTINCT position) FROM log}), '2300|2300', 'parallelism: each event once');
	is(sql('SELECT count(*) FROM (SELECT version, lag(version) OVER (PARTITION BY n ORDER BY seq) AS before FROM log) l WHERE version <> before + 1'), '0', 'parallelism: in order per aggregate');
	becomes(q{SELECT count(*) = 2 AND bool_and(parts = 2) AND bool_and(barrier IS NULL) FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'public.managed'}, 'parallelism: as it was set last');
}

# ---------------------------------------------------------------------------
# Several owners, and one runner for all
# ---------------------------------------------------------------------------
{
	make("turn$_->[0]", $_->[1], $_->[2]) foreach [ 1, '', 'writer' ], [ 2, '', 'writer2' ], [ 3, '', 'writer3' ];
	$node->append_conf('postgresql.conf', 'goes.max_runners = 1');
	$node->reload;
	section('{user}', 'turn1', 'turn2', 'turn3');
	becomes('SHOW goes.max_runners' =~ s/SHOW (.*)/SELECT current_setting('$1') = '1'/r, 'one runner: set');
	foreach my $round (1 .. 14)
	{
		sql('SELECT users(200)');
		is(sql('SELECT goes_wait()'), 't', "one runner: all owners had their turn in round $round")
			or last;
	}
	is(sql('SELECT count(*), count(DISTINCT (reactor, position)), count(DISTINCT reactor) FROM log'), '42|42|3', 'one runner: each event once for each');
	# also when what they have to do is to try again
	sql(q{CREATE SEQUENCE tries; GRANT ALL ON tries TO PUBLIC;
		CREATE OR REPLACE FUNCTION turn1(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF nextval('public.tries') < 3 THEN RAISE 'not yet'; END IF; PERFORM public.note('turn1', event); END $$;
		SELECT goes_alter_reactor('turn1', backoff => '200ms', max_backoff => '200ms'); SELECT users(201)});
	is(sql(q{SELECT goes_wait(); SELECT count(*) FROM log WHERE n = 201}), "t\n3", 'one runner: a turn to try again');
	$node->append_conf('postgresql.conf', 'goes.max_runners = 4');
	$node->reload;
}

# ---------------------------------------------------------------------------
# Settings of the server
# ---------------------------------------------------------------------------
{
	section('{user}');
	is(sql(q{SELECT string_agg(concat_ws(' ', name, boot_val, min_val, max_val, context), E'\n' ORDER BY name) FROM pg_settings
		WHERE name IN ('goes.async', 'goes.max_runners', 'goes.notify', 'goes.max_attempts', 'goes.backoff', 'goes.max_backoff', 'goes.timeout', 'goes.batch_size')}), q{goes.async background user
goes.backoff 1000 0 2147483647 sighup
goes.batch_size 100 1 10000 sighup
goes.max_attempts 10 1 2147483647 sighup
goes.max_backoff 300000 0 2147483647 sighup
goes.max_runners 4 1 1024 sighup
goes.notify on sighup
goes.timeout 60000 1 2147483647 sighup}, 'settings and their ranges');
	is(sql("SHOW goes.$_->[0]"), $_->[1], "SHOW goes.$_->[0]") foreach [ 'timeout', '1min' ], [ 'batch_size', '100' ], [ 'max_attempts', '10' ], [ 'async', 'background' ], [ 'max_nesting', '32' ], [ 'metadata', '' ], [ 'allow_direct_writes', 'off' ];
	is(state_of(q{SET goes.async = 'sideways'}), '22023', 'goes.async: no such word');
	is(state_of(q{SET goes.max_runners = 2}), '55P02', 'goes.max_runners: for the server only');
}

# ---------------------------------------------------------------------------
# Without the preload
# ---------------------------------------------------------------------------
{
	my ($stdout, $stderr);

	make('patient');
	section('{user}', 'patient');
	sql('SELECT users(300); SELECT goes_wait()');
	$node->stop;
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
	$node->start;
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'goes%'}), '0', 'no preload: no workers');
	$node->psql('postgres', 'CREATE DATABASE bare');
	$node->psql('bare', 'CREATE EXTENSION goes', stderr => \$stderr);
	like($stderr, qr/WARNING:.*not preloaded.*\n.*HINT:.*shared_preload_libraries/s, 'no preload: CREATE EXTENSION warns');
	make('late_patient');
	$node->psql('postgres', q{SELECT goes_on('{user}', async => '{late_patient}')}, stderr => \$stderr);
	like($stderr, qr/WARNING:.*not preloaded.*\n.*HINT:.*shared_preload_libraries/s, 'no preload: goes_on warns');
	foreach my $call (q{goes_wait()}, q{goes_wait('patient')}, q{goes_pause('patient')}, q{goes_resume('patient')}, q{goes_rewind('patient', 0)}, q{goes_retry()}, q{goes_retry('patient')},
		q{goes_skip('patient', 1)}, q{goes_alter_reactor('patient', batch_size => 1)}, q{goes_horizon()}, q{goes_events()}, q{goes_fetch('patient')}, q{goes_settle('patient', '{1}')})
	{
		my ($name) = $call =~ /(\w+)/;
	SKIP:
		{
			skip "$name is not there", 1 if sql("SELECT count(*) FROM pg_proc WHERE proname = '$name'") eq '0';
			is(state_of("SELECT $call"), '55000', "no preload: $call");
		}
	}
	sql('SELECT users(300), users(301); BEGIN; SELECT users(302); ROLLBACK; SELECT users(303)');
	sql(q{SELECT goes_off('patient'); SELECT goes_on('{user}', async => '{patient}')});
	sql(q{SET SESSION AUTHORIZATION writer; SET goes.async = 'inline'; SELECT users(304)});
	$node->stop;
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'goes'});
	$node->start;
	becomes('SELECT goes_wait()', 'preload again: all is done');
	is(sql(q{SELECT string_agg(n || '.' || version, ' ' ORDER BY seq) FROM log WHERE reactor = 'patient' AND n <> 304}), '300.1 300.2 301.1 303.1', 'preload again: what was appended is delivered, once');
	is(sql(q{SELECT string_agg(n || '.' || version, ' ' ORDER BY seq) FROM log WHERE reactor = 'late_patient' AND n <> 304}), '300.2 301.1 303.1', 'preload again: to what was registered meanwhile, too');
	is(sql(q{SELECT count(*), count(DISTINCT reactor) FROM log WHERE n = 304}), '2|2', 'preload again: what was done inline is not repeated');
}

$node->stop;
done_testing();
