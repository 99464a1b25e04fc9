# goes_rebuild of many aggregates beside a running load: what interrupts it, and
# that nothing is lost.  The last part runs the SQL of docs/rebuild.md.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my ($events, $aggregates) = (200_000, 4_000);

# A library that lets writes to data files fail as if the disk were full, while a
# certain file is there.
my $folder = PostgreSQL::Test::Utils::tempdir;
my $full = "$folder/full";
my $shim = "$folder/full_disk.so";
append_to_file("$folder/full_disk.c", <<"C");
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
static int is_full(int fd)
{
	char link[64], path[4096];
	ssize_t n;
	if (access("$full", F_OK) != 0) return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0) return 0;
	path[n] = 0;
	return strstr(path, "/base/") != NULL;
}
#define REFUSE do { if (is_full(fd)) { errno = ENOSPC; return -1; } } while (0)
ssize_t pwrite(int fd, const void *b, size_t n, off_t o)
{ static ssize_t (*f)(int, const void *, size_t, off_t); if (!f) f = dlsym(RTLD_NEXT, "pwrite"); REFUSE; return f(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o)
{ static ssize_t (*f)(int, const void *, size_t, off64_t); if (!f) f = dlsym(RTLD_NEXT, "pwrite64"); REFUSE; return f(fd, b, n, o); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t o)
{ static ssize_t (*f)(int, const struct iovec *, int, off_t); if (!f) f = dlsym(RTLD_NEXT, "pwritev"); REFUSE; return f(fd, v, n, o); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t o)
{ static ssize_t (*f)(int, const struct iovec *, int, off64_t); if (!f) f = dlsym(RTLD_NEXT, "pwritev64"); REFUSE; return f(fd, v, n, o); }
static int refused(int fd) { return is_full(fd) ? ENOSPC : 0; }
int posix_fallocate(int fd, off_t o, off_t n)
{ static int (*f)(int, off_t, off_t); int r; if (!f) f = dlsym(RTLD_NEXT, "posix_fallocate"); r = refused(fd); return r ? r : f(fd, o, n); }
int posix_fallocate64(int fd, off64_t o, off64_t n)
{ static int (*f)(int, off64_t, off64_t); int r; if (!f) f = dlsym(RTLD_NEXT, "posix_fallocate64"); r = refused(fd); return r ? r : f(fd, o, n); }
C
my $has_shim = $^O eq 'linux' && system("cc -shared -fPIC -o $shim $folder/full_disk.c -ldl >$folder/cc.log 2>&1") == 0;
$ENV{LD_PRELOAD} = $shim if $has_shim;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
fsync = off
max_wal_size = 4GB
max_prepared_transactions = 2
restart_after_crash = on
autovacuum = off
});
$node->start;
delete $ENV{LD_PRELOAD};

sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# All that a statement says, errors and notices too.
sub said
{
	my ($sql) = @_;
	my ($out, $err);

	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 0);
	(my $said = "$out\n$err") =~ s/^\n+|\n+$//g;
	$said =~ s/^psql:[^:]*:\d+: //mg;
	return $said;
}

sub start_psql
{
	my ($sql) = @_;
	my %psql = (said => '');

	$psql{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ], '<', '/dev/null', '>&', \$psql{said},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%psql;
}

sub finish
{
	my ($psql) = @_;

	$psql->{run}->finish;
	return $psql->{said};
}

sub wait_until
{
	my ($what, $query) = @_;

	foreach (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if sql($query) eq 't';
		usleep(10_000);
	}
	die "timed out waiting for $what";
}

# Not with poll_query_until: its psql may end before it has got the query.
sub wait_until_up
{
	foreach (1 .. 100 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if finish(start_psql('SELECT true')) eq "t\n";
		usleep(10_000);
	}
	die 'the server did not come back';
}

# Four sessions that execute commands on these aggregates and some new ones.
my $script = "$folder/visit.sql";
append_to_file($script, "\\set n random(1, 5000)\nSELECT goes_do('user.visit', id(:n), jsonb_build_object('name', 'name of ' || :n));\n");
my $load;
sub start_load
{
	$load = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-R', 400, '-T', 1000, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<', '/dev/null', '>', "$folder/load.out", '2>>', "$folder/load.err");
	return;
}

sub stop_load
{
	$load->signal('TERM') if $load->pumpable;
	$load->finish;
	return;
}

# Another model, by which every aggregate differs: more for the calculator to do,
# after a change of the table.
my $revision = 0;
sub revise
{
	my ($extra, $change) = @_;

	$revision++;
	$extra //= '';
	$change //= '';
	sql(qq{BEGIN; $change; CREATE OR REPLACE FUNCTION visited(aggregate users, event goes_event) RETURNS users LANGUAGE plpgsql AS \$\$
BEGIN
    aggregate.name := event.data ->> 'name' || ' $revision';
    aggregate.visits := aggregate.visits + $revision;
    $extra
    RETURN aggregate;
END \$\$; COMMIT});
	return;
}

sub is_right
{
	my ($name) = @_;

	is(sql('SELECT count(*), string_agg(DISTINCT problem, $$, $$) FROM goes_verify($$user$$)'), '0|', "$name: goes_verify finds nothing");
	return;
}

sql(qq{
CREATE EXTENSION goes;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN md5(n::text)::uuid;
CREATE TABLE users (LIKE goes_base_aggregate INCLUDING ALL, name text, visits bigint NOT NULL DEFAULT 0);
SELECT goes_register_aggregate('user', 'users');
});
revise();
# as a restore would bring them, without their aggregates
sql(qq{
SELECT goes_register_event('user', 'visited', calculator => 'visited'), goes_register_command('user', 'visit', event => 'visited', target => 'any');
ALTER TABLE users_events DISABLE TRIGGER goes_guard;
INSERT INTO users_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
SELECT n + 1, gen_random_uuid(), id((n % $aggregates + 1)::integer), n / $aggregates + 1, 'visited', 1, jsonb_build_object('name', 'name ' || n), '{}', false,
    '2026-01-01'::timestamptz + n * interval '1 s'
FROM generate_series(0::bigint, $events - 1) n;
ALTER TABLE users_events ENABLE TRIGGER goes_guard;
SELECT setval('goes.position', $events);
VACUUM ANALYZE users_events;
});

# ---------------------------------------------------------------------------
# All rows are missing
# ---------------------------------------------------------------------------
like(said(q{CALL goes_rebuild('user')}), qr/is rebuilt: $aggregates aggregates, $aggregates changed/, 'all come back');
is_right('missing rows');
like(said(q{CALL goes_rebuild('user', parallelism => 2)}), qr/is rebuilt: $aggregates aggregates, 0 changed/, 'nothing differs');

# ---------------------------------------------------------------------------
# Several processes
# ---------------------------------------------------------------------------
my $state = q{SELECT md5(string_agg(users::text, ',' ORDER BY id)) FROM users};
my $right = sql($state);
my $spoil = q{SET goes.allow_direct_writes = on; UPDATE users SET name = 'wrong'};
{
	sql($spoil);
	my $rebuild = start_psql(q{CALL goes_rebuild('user', 1, 2)});
	wait_until('two processes', 'SELECT processes = 2 FROM goes_stat_progress_rebuild UNION ALL SELECT false LIMIT 1');
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'goes rebuild worker' AND usename = current_user}), 1, 'a worker helps');
	like(finish($rebuild), qr/is rebuilt: $aggregates aggregates, $aggregates changed/, 'two processes');
	is(sql($state), $right, 'and the same as by one');
}
{
	sql($spoil);
	like(said(q{CALL goes_rebuild('user', 1000, 30)}), qr/is rebuilt: $aggregates aggregates, $aggregates changed/, 'more processes than there can be');
	is(sql($state), $right, 'and the same');
}
{
	sql($spoil);
	my $rebuild = start_psql(q{CALL goes_rebuild('user', 1, 2)});
	wait_until('a worker', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'goes rebuild worker' UNION ALL SELECT false LIMIT 1});
	like(finish($rebuild), qr/is rebuilt: \d+ aggregates, $aggregates changed/, 'a worker that is terminated: the others do its part');
	is(sql($state), $right, 'and the same');
}
{
	sql($spoil);
	my $rebuild = start_psql(q{CALL goes_rebuild('user', 1, 2)});
	wait_until('a worker', q{SELECT processes = 2 AND changed > 100 FROM goes_stat_progress_rebuild UNION ALL SELECT false LIMIT 1});
	sql('SELECT pg_terminate_backend(pid, 60000) FROM goes_stat_progress_rebuild');
	finish($rebuild);
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'goes rebuild worker'}), 0, 'a session that is terminated takes its workers along');
	like(said(q{CALL goes_rebuild('user')}), qr/going on with/, 'the next call goes on');
	is(sql($state), $right, 'and the same');
}
# The settings of the session and its role are those of the workers
sql(q{
CREATE ROLE owner NOLOGIN;
GRANT ALL ON SCHEMA public TO owner;
CREATE SCHEMA apart AUTHORIZATION owner;
SET ROLE owner;
CREATE FUNCTION apart.shout(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper($1);
CREATE TABLE loud (LIKE goes_base_aggregate INCLUDING ALL, name text, who text);
SELECT goes_register_aggregate('loud', 'loud');
CREATE FUNCTION named(aggregate loud, event goes_event) RETURNS loud LANGUAGE plpgsql AS $$
BEGIN
    aggregate.name := shout(event.data ->> 'name');
    aggregate.who := concat(current_user, current_setting('my.setting', true), current_setting('work_mem'));
    PERFORM pg_sleep(0.005);
    RETURN aggregate;
END $$;
SELECT goes_register_event('loud', 'named', calculator => 'named'), goes_register_command('loud', 'name', event => 'named', target => 'any');
SET search_path = public, apart;
SET my.setting = ' mine';
SELECT goes_do('loud.name', id(n), '{"name": "x"}') FROM generate_series(1, 100) n;
});
like(said(q{SET ROLE owner; SET search_path = public, apart; SET my.setting = ' mine'; CALL goes_rebuild('loud', parallelism => 3)}),
	qr/is rebuilt: 100 aggregates, 0 changed/, 'workers have the settings of the session, or are not there');
sql(q{ALTER ROLE owner LOGIN; ALTER ROLE owner SET work_mem = '1MB'});
like(said(q{SET ROLE owner; SET search_path = public, apart; SET my.setting = ' mine'; CALL goes_rebuild('loud', parallelism => 3)}),
	qr/is rebuilt: 100 aggregates, 0 changed/, '... of a role that can log in too');
like(said(q{SET ROLE owner; SET search_path = public, apart; SET my.setting = ' ours'; CALL goes_rebuild('loud', parallelism => 3)}),
	qr/is rebuilt: 100 aggregates, 100 changed/, '... and other ones');
is(sql(q{SELECT count(DISTINCT who) FROM loud}), 1, '... all of them');
# A prepared transaction may have used another model too: that is waited for
{
	my $named = q{CREATE OR REPLACE FUNCTION named(aggregate loud, event goes_event) RETURNS loud LANGUAGE plpgsql AS
		$$ BEGIN aggregate.name := '%s'; aggregate.who := NULL; RETURN aggregate; END $$;};
	sql(sprintf($named, 'right') . q{CALL goes_rebuild('loud')});
	sql(sprintf($named, 'wrong') . q{BEGIN; SELECT goes_replay('loud', id(1)); PREPARE TRANSACTION 'replay'});
	sql(sprintf($named, 'right'));
	my $rebuild = start_psql(q{CALL goes_rebuild('loud')});
	wait_until('all but that', q{SELECT phase = 'waiting for transactions' AND aggregates = 100 FROM goes_stat_progress_rebuild UNION ALL SELECT false LIMIT 1});
	sql(q{COMMIT PREPARED 'replay'});
	like(finish($rebuild), qr/waiting for transactions .*is rebuilt: 100 aggregates, 1 changed/s, 'a prepared transaction is waited for');
	is(sql(q{SELECT count(*) FROM goes_verify('loud')}), 0, '... and what it wrote looked at again');
}
# The libraries of the session are those of the workers
SKIP:
{
	skip 'c_calculator is not installed', 2 unless -e $node->config_data('--pkglibdir') . '/c_calculator.so';

	sql(q{
CREATE TABLE account (LIKE goes_base_aggregate INCLUDING ALL, balance bigint NOT NULL);
LOAD 'c_calculator';
SELECT goes_register_aggregate('account', 'account'), goes_register_event('account', 'opened', calculator => 'c:account_opened'),
    goes_register_event('account', 'deposited', calculator => 'c:account_deposited');
SELECT goes_register_command('account', 'open', event => 'opened', target => 'new'), goes_register_command('account', 'deposit', event => 'deposited');
SELECT goes_do('account.open', id(n), '{"amount": 1}'), goes_do('account.deposit', id(n), '{"amount": 1}') FROM generate_series(1, 100) n;
SET goes.allow_direct_writes = on;
UPDATE account SET balance = 0;
});
	unlike(said(q{LOAD 'c_calculator'; CALL goes_rebuild('account', parallelism => 3)}), qr/WARNING/, 'C calculators that were loaded by the session');
	is(sql('SELECT count(*) FROM account WHERE balance <> 2'), 0, '... calculate');
}
# An error that is none of an aggregate ends all, wherever it occurs
{
	sql($spoil);
	sql(q{CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_backend_pid() NOT IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend') THEN
        RAISE 'full' USING ERRCODE = '53100', DETAIL = 'a detail', HINT = 'a hint';
    END IF;
    PERFORM pg_sleep(0.001);
    RETURN NEW;
END $$;
CREATE TRIGGER fill BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fill()});
	my $said = said(q{CALL goes_rebuild('user', 10, 2)});
	like($said, qr/ERROR:  full\nDETAIL:  a detail\nHINT:  a hint/, 'the error of a worker is the session\'s');
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'goes rebuild worker'}), 0, 'no worker is left');
	sql('DROP TRIGGER fill ON users');
	like(said(q{CALL goes_rebuild('user', 100, 2)}), qr/going on with .* interrupted\n.*Still to be done: \d+ %/, 'the next call goes on');
	is(sql($state), $right, 'and the same');
}

# ---------------------------------------------------------------------------
# A column is added and filled while commands go on; it is cancelled
# ---------------------------------------------------------------------------
# rows take their time, so that what is to happen in the middle does
sql(q{CREATE FUNCTION slow_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$;
CREATE TRIGGER slow_down BEFORE UPDATE ON users FOR EACH ROW WHEN (current_setting('my.slow', true) = 'on') EXECUTE FUNCTION slow_down()});
sub start_slowly
{
	local $ENV{PGOPTIONS} = '-c my.slow=on';
	return start_psql(@_);
}
start_load();
revise(q{aggregate.filled := coalesce(aggregate.filled, 0) + 1;}, 'ALTER TABLE users ADD COLUMN filled bigint');
my $quarter = $aggregates / 4;
my $changed = "SELECT changed > $quarter FROM goes_stat_progress_rebuild UNION ALL SELECT false LIMIT 1";
{
	my $rebuild = start_slowly(q{CALL goes_rebuild('user', 4)});
	wait_until('a part of it', $changed);
	my $progress = sql(q{SELECT phase, processes, done BETWEEN 100000 AND total, rate > 0, eta >= '0', part_left BETWEEN 0.001 AND 0.999, pid IN (SELECT pid FROM pg_stat_activity)
		FROM goes_stat_progress_rebuild});
	is($progress, 'writing rows|1|t|t|t|t|t', 'progress');
	sql('SELECT pg_cancel_backend(pid) FROM goes_stat_progress_rebuild');
	like(finish($rebuild), qr/ERROR:  canceling statement due to user request/, 'cancelled');
	is(sql(q{SELECT phase, pid, done, part_left BETWEEN 0.001 AND 0.999 FROM goes_stat_progress_rebuild}), 'interrupted|||t', 'interrupted');
	my $said = said(q{CALL goes_rebuild('user', 100)});
	like($said, qr/going on with the rebuild of aggregate type "user" that was interrupted\nDETAIL:  Still to be done: \d\d? %/, 'goes on');
	$said =~ /is rebuilt: (\d+) aggregates, (\d+) changed/;
	cmp_ok($1, '<', 0.95 * sql('SELECT count(*) FROM users'), 'with a part of the aggregates');
	unlike($said, qr/WARNING/, 'nothing failed');
	is_right('cancelled');
	is(sql('SELECT count(*) FROM users WHERE filled IS DISTINCT FROM version'), 0, 'filled, those that commands changed too');
}

# ---------------------------------------------------------------------------
# ALTER TABLE in the middle
# ---------------------------------------------------------------------------
revise(q{aggregate.filled := coalesce(aggregate.filled, 0) + 1;});
{
	my $rebuild = start_slowly(q{CALL goes_rebuild('user', 4, 2)});
	wait_until('a part of it', $changed);
	revise('', q{ALTER TABLE users ADD COLUMN other text DEFAULT 'other', DROP COLUMN filled});
	my $said = finish($rebuild);
	like($said, qr/starting the rebuild of aggregate type "user" over\nDETAIL:  Its model has changed since/, 'the model changes: it starts over');
	like($said, qr/is rebuilt/, 'and ends');
	like(said(q{CALL goes_rebuild('user')}), qr/is rebuilt: \d+ aggregates, 0 changed/, 'the second time nothing is left to do');
	is_right('altered');
}

# ---------------------------------------------------------------------------
# Full disk
# ---------------------------------------------------------------------------
SKIP:
{
	skip 'no C compiler for a library that makes the disk full', 4 unless $has_shim;

	stop_load();
	# wider rows, and no room for them
	revise(q{aggregate.name := rpad(aggregate.name, 300);});
	sql('VACUUM FULL users');
	my $rebuild = start_slowly(q{CALL goes_rebuild('user', 4)});
	wait_until('a part of it', 'SELECT changed > 100 FROM goes_stat_progress_rebuild UNION ALL SELECT false LIMIT 1');
	append_to_file($full, '');
	my $said = finish($rebuild);
	unlink $full;
	like($said, qr/ERROR:  could not (?:extend|write)[^\n]*No space left on device/, 'the disk is full');
	is(sql('SELECT count(*) FROM goes_rebuild_failures'), 0, 'that is no failure of an aggregate');
	start_load();
	like(said(q{CALL goes_rebuild('user')}), qr/going on with the rebuild/, 'goes on');
	is_right('full disk');
}

# ---------------------------------------------------------------------------
# kill -9
# ---------------------------------------------------------------------------
revise();
{
	my $rebuild = start_slowly(q{CALL goes_rebuild('user', 4, 2)});
	wait_until('a part of it', $changed);
	my $pid = sql('SELECT pid FROM goes_stat_progress_rebuild');
	kill 'KILL', $pid;
	eval { finish($rebuild) };
	stop_load();
	wait_until_up();
	is(sql('SELECT phase FROM goes_stat_progress_rebuild'), 'interrupted', 'interrupted by a crash');
	start_load();
	my $said = said(q{CALL goes_rebuild('user', 100, 2)});
	like($said, qr/going on with the rebuild of aggregate type "user" that was interrupted\nDETAIL:  Still to be done: \d\d? %/, 'goes on after a crash');
	is_right('crash');
}
stop_load();
is_right('in the end');
is(sql('SELECT count(*) FROM goes.rebuilds'), 0, 'nothing is left to do');
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'object'}), 0, 'no lock is left');
cmp_ok(sql('SELECT count(*) FROM users_events'), '>', $events, 'there was a load');
my $unexpected = slurp_file("$folder/load.err");
$unexpected =~ s/^.*(?:terminating connection|server closed|connection to server|This probably means|before or while|could not connect|aborted in command|Run was aborted|crash of another server process|the current transaction|and exit, because|possibly corrupted|In a moment|terminated by|database system|SSL).*\n//mg;
is($unexpected, '', 'no command failed');

# ---------------------------------------------------------------------------
# The guide
# ---------------------------------------------------------------------------
my ($guide) = grep { -e } map { "$_/docs/rebuild.md" } ($ENV{srcdir} // '.', abs_path("$FindBin::RealBin/../.."));
$node->safe_psql('postgres', 'CREATE DATABASE guide');
my $blocks = join "\n", slurp_file($guide) =~ /^```sql\n(.*?)^```$/msg;
my ($out, $err);
$node->psql('guide', "\\set QUIET on\nCREATE EXTENSION goes;\n$blocks", stdout => \$out, stderr => \$err, on_error_stop => 0);
unlike($err, qr/ERROR/, 'the guide runs');
is(join("\n", $err =~ /NOTICE:  (.*)/g), join("\n", slurp_file($guide) =~ /^NOTICE:  (.*)/mg), 'and tells what it says');
is($out =~ s/^\|*\n//mgr, "orders_events\n60|6000.00|the aggregate differs from its events\n0\nplaced|1|P0001|customer 3 is not to be shouted at|14", 'and returns what it says');

$node->stop;
done_testing();
