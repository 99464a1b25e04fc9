# Transient data: reactors after commit get it, nothing else does, it is never
# on disk, and its memory is given back.

use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use File::Find;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Everything that PostgreSQL itself can write about a statement, it writes.
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'pg_stat_statements,goes'
pg_stat_statements.track = all
goes.transient_memory = '1MB'
goes.backoff = '10ms'
goes.max_backoff = '10ms'
dynamic_shared_memory_type = mmap
log_statement = all
log_min_duration_statement = 0
log_min_messages = debug1
log_min_error_statement = debug1
log_error_verbosity = verbose
log_parameter_max_length_on_error = -1
restart_after_crash = on
});
$node->start;

# Secrets are made of pieces when they are needed, so that no statement, no
# function and no argument holds one.  Nothing below may write one down either.
sub secret
{
	my ($n, $version) = @_;

	return 'top' . 'Secret' . md5_hex("secret $n $version");
}

# Its digits are in no position, date or size.
sub pin
{
	my ($n, $version) = @_;

	return 8 * 10**14 + hex(substr(md5_hex("pin $n $version"), 0, 8)) * 10**4;
}

sub run
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

my $model = <<'SQL';
CREATE EXTENSION goes;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE FUNCTION n(id uuid) RETURNS integer LANGUAGE sql IMMUTABLE RETURN ltrim(replace(id::text, '-', ''), '0')::integer;
CREATE FUNCTION secret(id uuid, version bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN 'top' || 'Secret' || md5('secret ' || n(id) || ' ' || version); END $$;
CREATE FUNCTION pin(id uuid, version bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN RETURN 8 * 100000000000000 + ('x' || left(md5('pin ' || n(id) || ' ' || version), 8))::bit(32)::bigint * 10000; END $$;

CREATE TABLE doc (LIKE goes_base_aggregate INCLUDING ALL, saw text);
SELECT goes_register_aggregate('doc', 'doc');
CREATE FUNCTION calculate(aggregate doc, event goes_event) RETURNS doc LANGUAGE plpgsql AS $$
BEGIN aggregate.saw = coalesce(event.transient::text, 'nothing'); RETURN aggregate; END $$;
SELECT goes_register_event('doc', action, calculator => 'calculate')
FROM unnest('{seen,slow,failed,letter,pieces,held,fetched,unheard}'::text[]) action;
CREATE FUNCTION build(aggregate doc, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$
DECLARE
    secret text = secret(aggregate.id, aggregate.version + 1);
BEGIN
    RETURN goes_event_data(command.data ->> 'action',
        jsonb_build_object('mark', 'vis' || 'ible' || md5(n(aggregate.id)::text)),
        transient => jsonb_build_object('secret', secret, 'pin', pin(aggregate.id, aggregate.version + 1),
            'deep', jsonb_build_array(jsonb_build_object('list', '"\' || secret || '"')),
            'long', secret || '+' || secret,
            'size', repeat('x', (command.data ->> 'size')::integer)));
END $$;
SELECT goes_register_command('doc', 'put', build => 'build', target => 'any');
CREATE FUNCTION put(action text, n integer, size integer DEFAULT 0) RETURNS bigint LANGUAGE sql
RETURN (goes_do('doc.put', id(n), jsonb_build_object('action', action, 'size', size)) ->> 'position')::bigint;

-- What reactors got: right, nothing or wrong
CREATE TABLE log (seq bigserial, reactor text, n integer, version bigint, got text);
CREATE FUNCTION note(reactor text, event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (reactor, n, version, got) VALUES (reactor, n(event.aggregate_id), event.aggregate_version,
        CASE WHEN event.transient IS NULL THEN 'nothing'
            WHEN event.transient ->> 'secret' = secret(event.aggregate_id, event.aggregate_version)
                AND (event.transient ->> 'pin')::bigint = pin(event.aggregate_id, event.aggregate_version) THEN 'right'
            ELSE 'wrong' END);
END $$;
CREATE TABLE gate (name text);
CREATE SEQUENCE attempts;

CREATE FUNCTION sync(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM note('sync', event); END $$;
CREATE FUNCTION see(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM note('see', event); END $$;
-- Waits at a gate, with the data in hand.
CREATE FUNCTION slow(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note('slow', event);
    WHILE NOT EXISTS (SELECT FROM gate WHERE name = 'slow') LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SQL

my $failing = <<'SQL';
-- Fails in one way after another, each of which tells the secret.
CREATE TABLE later (id uuid, version bigint);
CREATE FUNCTION tell_later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'at commit: %', secret(NEW.id, NEW.version); END $$;
CREATE CONSTRAINT TRIGGER tell_later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell_later();
CREATE FUNCTION fail(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    secret text = event.transient ->> 'secret';
BEGIN
    IF EXISTS (SELECT FROM gate WHERE name = 'failed') THEN
        PERFORM note('fail', event);
        RETURN;
    END IF;
    CASE nextval('attempts') % 9
        WHEN 0 THEN RAISE EXCEPTION '%', event.transient;
        WHEN 1 THEN RAISE EXCEPTION '%', event;
        WHEN 2 THEN RAISE EXCEPTION '%', secret USING DETAIL = secret, HINT = secret, COLUMN = secret, TABLE = secret;
        WHEN 3 THEN PERFORM secret::integer;
        WHEN 4 THEN EXECUTE format('SELECT %I FROM doc', secret);
        WHEN 5 THEN PERFORM jsonb_build_object(secret, secret)::text::integer;
        WHEN 6 THEN RAISE EXCEPTION 'the pin is % or %', event.transient -> 'pin', (event.transient -> 'pin')::numeric;
        WHEN 7 THEN INSERT INTO later VALUES (event.aggregate_id, event.aggregate_version);
        WHEN 8 THEN RAISE EXCEPTION '%', jsonb_pretty(to_jsonb(event.transient::text));
    END CASE;
END $$;
CREATE FUNCTION letter(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'letter: %', event.transient ->> 'secret'; END $$;
-- What PostgreSQL makes of a name: the first bytes of it, and in lower case.
-- That it cuts it off is a NOTICE of the reactor's own.
CREATE FUNCTION pieces(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF n(event.aggregate_id) % 2 = 0 THEN
        EXECUTE format('SELECT %s', event.transient ->> 'secret');
    ELSE
        EXECUTE format('SELECT %I', event.transient ->> 'long');
    END IF;
END $$;
ALTER FUNCTION pieces(goes_event) SET log_min_messages = warning;
CREATE FUNCTION hold(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM gate WHERE name = 'held') THEN
        RAISE EXCEPTION 'not now';
    END IF;
    PERFORM note('hold', event);
END $$;
SELECT goes_on('{doc.seen,doc.slow,doc.failed,doc.letter}', sync => '{sync}');
SELECT goes_on('{doc.seen,doc.held}', async => '{see}');
SELECT goes_on('{doc.slow}', async => '{slow}');
SELECT goes_on('{doc.failed}', async => '{fail}');
SELECT goes_on('{doc.letter}', async => '{letter}');
SELECT goes_on('{doc.pieces}', async => '{pieces}');
SELECT goes_on('{doc.held}', async => '{hold}');
SELECT goes_on('{doc.fetched}', outside => '{fetcher}');
SELECT goes_alter_reactor('fail', max_attempts => 1000000);
SELECT goes_alter_reactor('letter', max_attempts => 3);
SELECT goes_alter_reactor('pieces', max_attempts => 2);
SELECT goes_alter_reactor('hold', backoff => '1 hour', max_backoff => '1 hour');
SELECT goes_alter_reactor('slow', timeout => '10 min');
SQL
run("CREATE EXTENSION pg_stat_statements; $model $failing");

# ---------------------------------------------------------------------------
# Nowhere on disk
# ---------------------------------------------------------------------------

my %secrets;
my $start = time;

# In which files is any of these strings, in whatever case?  Files that nobody
# has written to since the server was set up are left out.
sub found
{
	my (@strings) = map { lc } @_;
	my @found;
	my $look = sub {
		return unless -f $_ && ((stat _)[9] >= $start || /dynshmem/);
		open my $file, '<:raw', $_ or return;
		my $content = do { local $/; <$file> };
		close $file;
		return unless defined $content;
		$content = lc $content;
		push @found, $File::Find::name =~ s{.*/([^/]*/[^/]*)}{$1}r if grep { index($content, $_) >= 0 } @strings;
	};

	find({ wanted => $look, no_chdir => 1 }, $node->data_dir, $node->logfile);
	return join "\n", sort @found;
}

# Both halves of a secret too, should a page end in the middle of one
sub is_clean
{
	my ($name) = @_;
	my @parts = map { (substr($_, 9, 16), substr($_, 25)) } keys %secrets;

	is(found('top' . 'secret', @parts, values %secrets), '', "$name: the secret is in no file");
	return;
}

sub put
{
	my ($action, $n, $version) = @_;

	$secrets{ secret($n, $version) } = pin($n, $version);
	return run("SELECT put('$action', $n)");
}

# The search finds what is there: data that is not transient
put('seen', 1, 1);
is(run(q{SELECT goes_wait()}), 't', 'all is done');
my $control = 'vis' . 'ible' . md5_hex(1);
like(found($control), qr{pg_wal/}, 'the search finds data of events in the WAL');
run('CHECKPOINT');
like(found($control), qr{^\d+/\d+$}m, 'and in tables');
like(found(q{put('seen', 1)}), qr{\.log}, 'and statements in the log');
is(run(q{SELECT reactor, got FROM log ORDER BY reactor}), "see|right\nsync|right", 'sync and async reactors get it');
is(run(q{SELECT saw FROM doc WHERE id = id(1)}), 'nothing', 'the calculator does not');
is(run(q{SELECT secret(id(1), 1) = 'top' || 'Secret' || md5('secret 1 1'), pin(id(1), 1)}), 't|' . pin(1, 1), 'the secret is what this test looks for');
is_clean('after success');

# While a reactor runs
put('slow', 2, 1);
put('failed', 3, 1);
my $running = q{FROM pg_stat_activity WHERE backend_type = 'goes runner' AND wait_event = 'PgSleep'};
$node->poll_query_until('postgres', "SELECT count(*) > 0 $running") or die 'no reactor runs';
is_clean('while it runs');
run('CHECKPOINT');
is_clean('while it runs, after a checkpoint');
is(run(q{SELECT count(*) FROM pg_stat_activity WHERE query || coalesce(application_name, '') ~* ('top' || 'secret')}), '0', 'while it runs: not in pg_stat_activity');

# After failures, all of them
$node->poll_query_until('postgres', 'SELECT last_value > 20 FROM attempts') or die 'not tried again';
is(run(q{SELECT count(*), bool_and(attempts > 0) FROM goes.pending}), '1|t', 'after failures: they are kept');
is_clean('after failures');
is(run(q{SELECT last_error ~ '\*\*\*' FROM goes.progress WHERE last_error IS NOT NULL}), 't', 'after failures: the error without it is kept');
put('letter', 4, 1);
is(run(q{SELECT goes_wait('letter')}), 't', 'dead letter: it is done');
is(run(q{SELECT attempts, sqlstate, error FROM goes.dead_letters}), '3|P0001|letter: ***', 'dead letter: the error without the secret');
like(found('has given up the event'), qr/\.log/, 'dead letter: the log tells');
run('CHECKPOINT');
is_clean('dead letter');
run(q{SELECT goes_retry('letter')});
is(run(q{SELECT goes_wait('letter')}), 't', 'dead letter, tried again: it is done');
is(run(q{SELECT error FROM goes.dead_letters}), 'letter: <NULL>', 'dead letter, tried again: the data is gone');

# An outside reactor, until it has settled it
put('fetched', 5, 1);
my $fetch = q{SELECT coalesce((f.transient ->> 'secret' = secret(f.aggregate_id, f.aggregate_version))::text, 'nothing') FROM goes_fetch('fetcher', lease => '1ms', wait => '1 min') f};
is(run($fetch), 'true', 'outside: gets it');
is(run($fetch), 'true', 'outside: gets it again after the lease');
is_clean('outside, fetched');
is(run(qq{SELECT goes_settle('fetcher', ARRAY[(SELECT max(position) FROM doc_events)], 'failed with ' || secret(id(5), 1))}), '1', 'outside: settled with an error');
is(run($fetch), 'true', 'outside: gets it again after an error');
is_clean('outside, failed');
is(run(q{SELECT goes_settle('fetcher', ARRAY[(SELECT max(position) FROM doc_events)])}), '1', 'outside: settled');

# A statement that fails, and one that is rolled back
my ($stdout, $stderr);
$secrets{ secret(6, 1) } = pin(6, 1);
$node->psql('postgres', q{BEGIN; SELECT put('slow', 6); SELECT 1 / 0;}, stderr => \$stderr);
like($stderr, qr/division by zero/, 'rolled back: after an error');
is_clean('rolled back');

# Done at last
run(q{INSERT INTO gate VALUES ('slow'), ('failed')});
is(run(q{SELECT goes_wait()}), 't', 'all is done after all');
is(run(q{SELECT reactor, got FROM log WHERE n IN (2, 3) AND reactor <> 'sync' ORDER BY reactor}), "fail|right\nslow|right", 'however long it took, and after all retries: the data was there');
is(run(q{SELECT count(*) FROM doc WHERE saw <> 'nothing'}), '0', 'no calculator has seen any');
is(run(q{SELECT count(*) FROM pg_stat_statements WHERE query ~* ('top' || 'secret')}), '0', 'not in pg_stat_statements');
is(run(q{SELECT count(*) > 0 FROM pg_stat_statements WHERE query ~ 'FROM gate'}), 't', 'which has the statements of reactors');
is_clean('after all');
$node->stop;
is_clean('after a shutdown');
$node->start;

# Names are cut off and folded, and the errors tell what is left of them
put('pieces', $_, 1) foreach 8, 9;
is(run(q{SELECT goes_wait('pieces')}), 't', 'pieces of it: done');
is(run(q{SELECT count(*) FROM goes.dead_letters d JOIN doc_events e USING (position) WHERE e.action = 'pieces'}), '2', 'pieces of it: dead letters');
is_clean('pieces of it in an error');
%secrets = ();

# ---------------------------------------------------------------------------
# Its memory is given back
# ---------------------------------------------------------------------------

run(q{ALTER SYSTEM SET log_statement = none; ALTER SYSTEM SET log_min_duration_statement = -1; ALTER SYSTEM SET log_min_messages = warning; SELECT pg_reload_conf()});

my $size = 100_000;
my $n = 100;

# Runs SQL, however often, in transactions of its own; __N__ is a new aggregate.
sub again
{
	my ($times, $sql, $name, $database) = @_;
	my ($stdout, $stderr);
	my $script = join "\n", map { $n++; $sql =~ s/__N__/$n/gr } 1 .. $times;

	is($node->psql($database // 'postgres', $script, stdout => \$stdout, stderr => \$stderr, on_error_stop => 1), 0, $name) or diag($stderr);
	return;
}

# How many events find room until there is no more
sub room
{
	my ($database) = @_;
	my ($stdout, $stderr);
	my $script = join "\n", map { $n++; "SELECT put('held', $n, $size);" } 1 .. 20;

	isnt($node->psql($database // 'postgres', $script, stdout => \$stdout, stderr => \$stderr,
			on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]), 0, 'full at last');
	like($stderr, qr/ERROR:  53400: out of memory for transient data\nDETAIL: .*\nHINT:  Raise goes.transient_memory/, 'with a hint');
	unlike($stderr, qr/xxxx/, 'and without the data');
	return scalar split /\n/, $stdout;
}

# Waits until the failing reactor has tried so many.
sub held
{
	my ($count) = @_;

	$node->poll_query_until('postgres', "SELECT count(*) FROM goes.pending p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor ~ 'hold' AND attempts > 0", $count)
		or die 'not tried';
	return;
}

# All that the reactors hold is done with
sub release
{
	run(q{INSERT INTO gate VALUES ('held'); SELECT goes_retry('hold')});
	is(run('SELECT goes_wait()'), 't', 'the gate is open: all is done');
	run(q{DELETE FROM gate WHERE name = 'held'});
	return;
}

my $put = "SELECT put('held', __N__, $size);";
my $room = room();
cmp_ok($room, '>=', 7, 'most of the memory can be used');
is(run(q{SELECT goes_wait('see')}), 't', 'one reactor has had them all');
held($room);

# When it is full: that command fails, and nothing else does
is(run(q{SELECT count(*), count(*) FILTER (WHERE e.aggregate_id IS NULL) FROM doc d LEFT JOIN (SELECT DISTINCT aggregate_id FROM doc_events) e ON e.aggregate_id = d.id WHERE n(d.id) > 100}), "$room|0", 'full: an aggregate for each event that was stored');
my $last = $n;
again(1, qq{
BEGIN;
SELECT put('unheard', __N__, 2 * 1024 * 1024);
SAVEPOINT s;
\\set ON_ERROR_STOP off
$put
\\set ON_ERROR_STOP on
ROLLBACK TO s;
DO \$\$ BEGIN PERFORM put('held', 1000, $size); RAISE 'there is room'; EXCEPTION WHEN configuration_limit_exceeded THEN END \$\$;
SELECT put('unheard', __N__);
SELECT put('fetched', __N__, 100);
COMMIT;}, 'full: a transaction goes on without that command');
is(run("SELECT string_agg(action, ',' ORDER BY position) FROM doc_events WHERE aggregate_id = id($n)"), 'unheard,unheard,fetched', 'full: all but that one are stored');
is(run('SELECT count(*) FROM doc WHERE id = id(1000)'), '0', 'full: nothing of what failed');
run(q{SELECT goes_settle('fetcher', ARRAY[position]) FROM goes_fetch('fetcher')});
release();
is(run(q{SELECT count(*), count(DISTINCT n), min(got), max(got) FROM log WHERE reactor = 'hold'}), "$room|$room|right|right", 'full: each event that was stored reached its reactor once, with its data');

# Rolled back, in every way
again(40, "BEGIN; $put ROLLBACK;", 'rolled back: again and again');
again(40, "BEGIN; SAVEPOINT a; $put ROLLBACK TO a; COMMIT;", 'rolled-back savepoint: again and again');
again(40, "BEGIN; SAVEPOINT a; SAVEPOINT b; $put RELEASE b; ROLLBACK TO a; COMMIT;", 'released in one that is rolled back: again and again');
again(1, qq{BEGIN;
DO \$\$ BEGIN
    FOR i IN 1..50 LOOP
        BEGIN
            BEGIN PERFORM put('held', 100000 + i, $size); EXCEPTION WHEN division_by_zero THEN END;
            PERFORM 1 / 0;
        EXCEPTION WHEN division_by_zero THEN END;
    END LOOP;
END \$\$; COMMIT;}, 'exception blocks: again and again');
foreach my $i (1 .. 3)
{
	my ($out, $err);
	my $script = join "\n", 'BEGIN;', (map { $n++; $put =~ s/__N__/$n/r } 1 .. 3), 'SAVEPOINT s;', (map { $n++; $put =~ s/__N__/$n/r } 1 .. 3), 'SELECT pg_terminate_backend(pg_backend_pid());';
	isnt($node->psql('postgres', $script, stderr => \$err), 0, 'session terminated');
	like($err, qr/terminating connection/, 'session terminated: in its transaction');
}
is(run(q{SELECT count(*) FROM log WHERE reactor = 'hold'}), $room, 'rolled back: nothing was delivered');
is(room(), $room, 'rolled back: there is as much room as before');
release();

# Settled: only when both reactors have
again(40, "SELECT put('seen', __N__, $size); SELECT goes_wait('see');", 'settled: again and again');
again(20, "SELECT put('letter', __N__, $size); SELECT goes_wait('letter');", 'dead letter: again and again');
again(20, "SELECT put('fetched', __N__, $size); SELECT goes_settle('fetcher', ARRAY[position]) FROM goes_fetch('fetcher', wait => '1 min');", 'settled outside: again and again');
is(room(), $room, 'settled: there is as much room as before');

# Full of what a failing reactor holds: given back by each of these
run(q{SELECT goes_pause('hold')});
again(20, $put, 'paused: gets none, so there is room');
is(run('SELECT goes_wait()'), 't', 'paused: the other one has them');
run(q{SELECT goes_resume('hold')});
is(room(), $room, 'paused: gave it back');
run(q{SELECT goes_rewind('hold', (SELECT max(position) FROM doc_events))});
is(room(), $room, 'rewound: gave it back');
release();
is(room(), $room, 'settled, with the data or without: gave it back');
is(run(q{SELECT goes_wait('see')}), 't', 'one reactor has had them all');
held($room);
is(run(q{SELECT count(goes_skip('hold', position)) FROM goes.pending p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor ~ 'hold'}), $room, 'skipped');
is(room(), $room, 'skipped: gave it back');
run(q{BEGIN; SELECT goes_pause('hold'); ROLLBACK; BEGIN; SAVEPOINT s; SELECT goes_rewind('hold', 0); ROLLBACK TO s; COMMIT;});
$stderr = '';
$node->psql('postgres', "SELECT put('held', 1000, $size)", stderr => \$stderr);
like($stderr, qr/out of memory for transient data/, 'paused and rewound, but rolled back: gives nothing back');
run(q{TRUNCATE log});
release();
is(run(q{SELECT count(DISTINCT n), min(got), max(got) FROM log WHERE reactor = 'hold' AND seq > (SELECT max(seq) - 5 FROM log WHERE reactor = 'hold')}), '5|right|right', 'and the data is still there');
is(room(), $room, 'settled after all: gave it back');
run(q{SELECT goes_off('hold')});
again(20, $put, 'off: gives it back, and gets none');
is(run('SELECT goes_wait()'), 't', 'off: the other one has them');
run(q{SELECT goes_off('hold', forget => true); SELECT goes_on('{doc.held}', async => '{hold}'); SELECT goes_alter_reactor('hold', backoff => '1 hour', max_backoff => '1 hour')});
is(room(), $room, 'off and on: all the room is there');
run(q{DROP FUNCTION hold CASCADE});
again(20, $put, 'dropped: gives it back');
is(run(q{SELECT goes_wait('see')}), 't', 'dropped: the other one has them');
$node->restart;

# Of another database: the memory is one
my $other = "$model $failing";
my $drop = q{SET client_min_messages = error; DROP EXTENSION goes CASCADE};
run('CREATE DATABASE other');
$node->safe_psql('other', $other);
is(room('other'), $room, 'another database: as much room');
$stderr = '';
$node->psql('postgres', "SELECT put('fetched', 2000, $size)", stderr => \$stderr);
like($stderr, qr/out of memory for transient data/, 'another database: there is no more for this one');
$node->safe_psql('other', $drop);
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'other'}) or die 'workers stay';
again(5, "SELECT put('fetched', __N__, $size);", 'extension dropped: gave it back');
run(q{SELECT count(goes_settle('fetcher', ARRAY[position])) FROM goes_fetch('fetcher', 100)});
$node->restart;

# What the reactor does not get any more, nobody can settle
run('CREATE ROLE powerless LOGIN');
run('DROP DATABASE other');
run('CREATE DATABASE other');
$node->safe_psql('other', $other);
is(room('other'), $room, 'rights lost: as much room');
$node->safe_psql('other', q{ALTER FUNCTION hold OWNER TO powerless; SELECT goes_retry('hold')});
is($node->safe_psql('other', 'SELECT goes_wait()'), 't', 'rights lost: all is done');
again(5, "SELECT put('fetched', __N__, $size);", 'rights lost: gave it back');
run(q{SELECT count(goes_settle('fetcher', ARRAY[position])) FROM goes_fetch('fetcher', 100)});
$node->restart;
$node->safe_psql('other', q{ALTER FUNCTION hold OWNER TO CURRENT_USER});
is(room('other'), $room, 'unregistered: as much room');
$node->safe_psql('other', q{SELECT goes_unregister_aggregate('doc'), goes_retry('hold')});
is($node->safe_psql('other', 'SELECT goes_wait()'), 't', 'unregistered: all is done');
again(5, "SELECT put('fetched', __N__, $size);", 'unregistered: gave it back');
run(q{SELECT count(goes_settle('fetcher', ARRAY[position])) FROM goes_fetch('fetcher', 100)});
run('DROP DATABASE other');
$node->restart;

# The same of many events, which are looked at some at a time
run('CREATE DATABASE other');
$node->safe_psql('other', $other);
is($node->psql('other', "DO \$\$ BEGIN FOR i IN 1..100000 LOOP PERFORM put('held', 3000 + i); COMMIT; END LOOP; END \$\$", stderr => \$stderr), 3, 'many: full at last');
cmp_ok($node->safe_psql('other', 'SELECT count(*) FROM doc_events'), '>', 1000, 'many: of so many events');
$node->safe_psql('other', q{SELECT goes_unregister_aggregate('doc'), goes_retry('hold')});
is($node->safe_psql('other', 'SELECT goes_wait()'), 't', 'many: all is done');
again(5, "SELECT put('fetched', __N__, $size);", 'many: gave it back');
run(q{SELECT count(goes_settle('fetcher', ARRAY[position])) FROM goes_fetch('fetcher', 100)});
run('DROP DATABASE other');
$node->restart;
run('CREATE DATABASE other');
$node->safe_psql('other', $other);
is(room('other'), $room, 'another database again: as much room');
run('DROP DATABASE other');
again(5, "SELECT put('fetched', __N__, $size);", 'database dropped: gave it back');
is(run(q{SELECT count(goes_settle('fetcher', ARRAY[position])) FROM goes_fetch('fetcher', 100)}), '5', 'database dropped: and all goes on');

# ---------------------------------------------------------------------------
# It does not survive a restart
# ---------------------------------------------------------------------------
run(q{
CREATE FUNCTION hold(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM gate WHERE name = 'held') THEN
        RAISE EXCEPTION 'not now';
    END IF;
    PERFORM note('hold', event);
END $$;
SELECT goes_on('{doc.held}', async => '{hold}');
SELECT goes_alter_reactor('hold', backoff => '1 hour', max_backoff => '1 hour');
TRUNCATE log;
});
my ($out, $err);
foreach my $how ('restart', 'crash', 'immediate shutdown')
{
	my $before = $n + 1;

	again(3, "SELECT put('held', __N__); SELECT put('fetched', __N__);", "$how: events before");
	is(run(q{SELECT goes_wait('see')}), 't', "$how: one reactor has had them");
	$node->poll_query_until('postgres', q{SELECT count(*) >= 3 FROM goes.pending WHERE attempts > 0}) or die 'not tried';
	if ($how eq 'crash')
	{
		my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT pg_sleep(600)' ], '<', '/dev/null', '>', \$out, '2>', \$err);
		$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'}) or die 'no session';
		kill 'KILL', run(q{SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'});
		$session->finish;
		$node->poll_query_until('postgres', 'SELECT true') or die 'no server';
	}
	else
	{
		$node->stop($how eq 'restart' ? 'fast' : 'immediate');
		$node->start;
	}
	again(1, "SELECT put('held', __N__);", "$how: an event after");
	is(run(q{SELECT string_agg(coalesce(transient ->> 'secret', 'nothing'), ',') FROM goes_fetch('fetcher', 100)}), 'nothing,nothing,nothing', "$how: nothing for the outside reactor");
	is(run(q{SELECT goes_settle('fetcher', array_agg(position)) FROM doc_events WHERE action = 'fetched'}), '3', "$how: which settles them");
	release();
	is(run(qq{SELECT got, count(*), count(DISTINCT n) FROM log WHERE reactor = 'hold' AND n >= $before GROUP BY got ORDER BY got}),
		"nothing|3|3\nright|1|1", "$how: each event once, those of before without their data");
	is(room(), $room, "$how: there is as much room as before");
	release();
}

done_testing();
