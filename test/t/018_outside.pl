# Outside reactors, as programs see them: what goes_fetch gives to whom, what
# goes_settle and leases that run out make of it, what waiting is and is not.

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
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'goes'
max_connections = 50
fsync = off
});
$node->start;

# thing and other have different owners; outsider may have both.  put() returns
# the position of its event.
$node->safe_psql('postgres', q{
CREATE EXTENSION goes;
CREATE ROLE app LOGIN;
CREATE ROLE app2 LOGIN;
CREATE ROLE outsider LOGIN IN ROLE app, app2;
CREATE ROLE both_tables LOGIN IN ROLE app, app2;
CREATE ROLE stranger LOGIN;
GRANT CREATE ON SCHEMA public TO app, app2, outsider;
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE FUNCTION n(id uuid) RETURNS integer LANGUAGE sql IMMUTABLE RETURN ltrim(replace(id::text, '-', ''), '0')::integer;
SET ROLE app;
CREATE TABLE thing (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('thing', 'thing'), goes_register_event('thing', 'put'), goes_register_event('thing', 'dropped');
CREATE FUNCTION build(aggregate thing, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data(coalesce(command.data ->> 'action', 'put'), command.data, transient => jsonb_build_object('secret', md5(aggregate.version::text)));
SELECT goes_register_command('thing', 'put', 'build', target => 'any');
SET ROLE app2;
CREATE TABLE other (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('other', 'other'), goes_register_event('other', 'put'),
    goes_register_command('other', 'put', event => 'put', target => 'any');
RESET ROLE;
CREATE FUNCTION put(n integer, data jsonb DEFAULT '{}', type text DEFAULT 'thing') RETURNS bigint LANGUAGE sql
RETURN (goes_do(type || '.put', id(n), data) ->> 'position')::bigint;
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

# Waits until a query is true.
sub becomes
{
	my ($query, $name) = @_;

	return ok($node->poll_query_until('postgres', $query), $name);
}

# A statement in a session that goes on, and what it says in the end.
sub begin
{
	my ($session, $sql) = @_;

	($session->{out}, $session->{err}) = ('', '');
	$session->{in} .= "$sql;\n\\echo done\n\\warn done\n";
	$session->{run}->pump_nb;
	return;
}

sub finish
{
	my ($session) = @_;

	$session->{run}->pump until $session->{out} =~ /^done\n/m && $session->{err} =~ /^done\n/m;
	(my $said = $session->{out} . $session->{err}) =~ s/^done\n//mg;
	chomp $said;
	return $said;
}

# A new reactor; the one before it goes.  Numbers of aggregates are never used
# again either.
my $reactor;
my $next = 0;
sub fresh
{
	my ($name, $settings, $events) = @_;

	sql("SELECT goes_off('$reactor', true)") if defined $reactor;
	$reactor = $name;
	$events //= '{thing}';
	sql(qq{SET ROLE outsider; SELECT goes_on('$events', outside => '{$name}')});
	sql("SELECT goes_alter_reactor('$name', $settings)") if $settings;
	return $next += 10;
}

# What a fetch gives, as aggregate.version in position order.
sub fetching
{
	my ($options) = @_;

	return sprintf(q{SELECT coalesce(string_agg(n(aggregate_id) || '.' || aggregate_version, ' ' ORDER BY position), '') FROM goes_fetch('%s', %s)}, $reactor, $options // '100');
}

sub fetch
{
	return sql(fetching(@_));
}

# Settles events named like that.
sub settling
{
	my ($events, $error) = @_;
	my $list = join ',', map { "'$_'" } split / /, $events;

	return sprintf(q{SELECT goes_settle('%s', (SELECT array_agg(position) FROM thing_events WHERE n(aggregate_id) || '.' || aggregate_version IN (%s)), %s)},
		$reactor, $list, defined $error ? "'$error'" : 'NULL');
}

sub settle
{
	return sql(settling(@_));
}

my $waits = q{SELECT count(*) = %d FROM pg_stat_activity WHERE query ~ 'goes_fetch' AND state = 'active' AND wait_event_type = 'Extension'};
sub waits
{
	my ($name, $count) = @_;

	return becomes(sprintf($waits, $count // 1), $name);
}

my $long = q{100, wait => '10 min'};

# ---------------------------------------------------------------------------
# Fetch and settle
# ---------------------------------------------------------------------------
{
	my $a = fresh('plain');
	my ($b, $c) = ($a + 1, $a + 2);

	is(fetch(), '', 'nothing: no rows');
	sql("SELECT put($a), put($a), put($b), put($a)");
	is(sql(q{SELECT goes_wait('plain', timeout => '10ms')}), 'f', 'not fetched: goes_wait');
	is(fetch($long), "$a.1 $b.1", 'one event of each aggregate');
	is(fetch(), '', 'leased: not again, and not the next one of the aggregate');
	is(sql(q{SELECT goes_wait('plain', timeout => '10ms')}), 'f', 'not settled: goes_wait');
	sql("SELECT put($c), put($b)");
	is(fetch($long), "$c.1", 'other aggregates go on');
	is(settle("$a.1 $b.1 $a.2 $a.1"), '2', 'settled: those that were fetched');
	is(settle("$a.1"), '0', 'settled twice');
	is(sql(q{SELECT goes_settle('plain', '{}')}), '0', 'nothing is settled');
	is(sql(q{SELECT goes_settle('plain', '{NULL,-1,9223372036854775807}')}), '0', 'no events are settled');
	is(fetch($long), "$a.2 $b.2", 'the next ones of their aggregates');
	is(settle("$a.2 $b.2 $c.1"), '3', 'settled');
	is(fetch($long), "$a.3", 'the next one');
	is(settle("$a.3"), '1', 'settled');
	is(fetch(), '', 'that was all');
	is(sql(q{SELECT count(*) FROM goes.pending}), '0', 'nothing is left');
	is(sql(q{SELECT goes_wait('plain')}), 't', 'goes_wait');
	is(sql(q{SELECT mode, owner, state, processed, failed, retried, pending, dead, lag FROM goes_stat_reactors WHERE reactor = 'plain'}), 'outside|outsider|running|6|0|0|0|0|0', 'statistics');

	# one at a time, by default
	sql("SELECT put($a), put($b), put($c)");
	is(sql(qq{SELECT n(aggregate_id) FROM goes_fetch('plain', wait => '10 min')}), $_, 'one by default') foreach $a, $b, $c;
	is(sql(q{SELECT state, pending, lag, lag_seconds > 0 FROM goes_stat_reactors WHERE reactor = 'plain'}), 'running|3|3|t', 'statistics count what is leased');
	is(settle("$a.4 $b.3 $c.2"), '3', 'settled');

	# the whole event
	my $position = sql(qq{SELECT goes_do('thing.put', id($a), '{"x": 1}', '{"who": "me"}') -> 'position'});
	is(sql(qq{SELECT e.transient ->> 'secret' = md5('4'), to_jsonb(e) - 'transient' = (SELECT to_jsonb(x) - 'transient' FROM goes_events('{thing}', $position - 1) x), e.data, e.metadata ->> 'who', e.aggregate_type, e.action, e.event_version
FROM goes_fetch('plain', wait => '10 min') e}), 't|t|{"x": 1}|me|thing|put|1', 'all fields of the event');

	# settled from the same statement, and the same transaction
	settle("$a.5");
	sql("SELECT put($a), put($b)");
	is(sql(qq{SELECT goes_settle('plain', array_agg(position)) FROM goes_fetch('plain', 10, wait => '10 min')}), '2', 'settled in the statement that fetches');
	sql("SELECT put($a)");
	is(sql(qq{BEGIN; SELECT count(*) FROM goes_fetch('plain', wait => '10 min'); SAVEPOINT s; @{[settling("$a.7")]}; ROLLBACK TO s; @{[settling("$a.7")]}; COMMIT}), "1\n1\n1", 'settled in the transaction that fetches, and rolled back');
	is(fetch(), '', 'that was all');

	# of which the patterns match nothing
	fresh('picky', undef, '{thing.dropped}');
	sql(qq{SELECT put($a), put($b, '{"action": "dropped"}'), put($a), put($a)});
	is(fetch($long), "$b.5", 'patterns: only what matches');
	is(settle("$b.5"), '1', 'patterns: settled');
	is(fetch(), '', 'patterns: nothing else does');
	is(sql(q{SELECT goes_wait('picky')}), 't', 'patterns: goes_wait passes what does not match');
	sql("SELECT put($a)");
	becomes(q{SELECT goes_horizon() = last_value FROM goes.position}, 'patterns: the horizon has passed one that does not');
	is(fetch(), '', 'patterns: nothing matches');
	is(sql(q{SELECT goes_wait('picky')}), 't', 'patterns: goes_wait passes it, too');

	# several types, in position order
	fresh('several', undef, '{*}');
	my $in_order = sql(qq{SELECT put($a, type => 'other'), put($b), put($b, type => 'other'), put($a)});
	is(sql(q{SELECT string_agg(aggregate_type || n(aggregate_id), ' ') FROM goes_fetch('several', 10, wait => '10 min')}), "other$a thing$b other$b thing$a", 'several types: in position order');
	is(sql(q{SELECT goes_settle('several', array_agg(position)) FROM goes.pending}), '4', 'several types: settled');
}

# ---------------------------------------------------------------------------
# Several programs
# ---------------------------------------------------------------------------
my ($one, $two, $three) = map { GoesLoad::Session->new($node) } 1 .. 3;
{
	my $a = fresh('shared');
	my ($b, $c) = ($a + 1, $a + 2);

	sql("SELECT put($a), put($a), put($b), put($c)");
	is($one->ask(fetching(q{1, wait => '10 min'})), "$a.1", 'several programs: one');
	is($two->ask(fetching('1')), "$b.1", 'several programs: two');
	is($three->ask(fetching('5')), "$c.1", 'several programs: three');
	is($two->ask(fetching('5')), '', 'several programs: no more');
	is($three->ask(settling("$a.1")), '1', 'settled through another session');
	is($two->ask(fetching('5')), "$a.2", 'and the next one goes to another');
	is($one->ask(settling("$a.2 $b.1 $c.1")), '3', 'settled');

	# rolled back: it never was fetched
	sql("SELECT put($a), put($b)");
	is($one->ask('BEGIN; ' . fetching($long)), "$a.3 $b.2", 'fetched');
	$one->ask('ROLLBACK');
	is($two->ask('BEGIN; ' . fetching($long)), "$a.3 $b.2", 'fetched again after a rollback');
	begin($one, fetching($long));
	$two->ask('COMMIT');
	sql("SELECT put($c)");
	my $said = finish($one);
	$said = $one->ask(fetching($long)) if $said eq '';
	is($said, "$c.2", 'who fetches meanwhile gets others');
	is(sql('SELECT string_agg(attempts::text, NULL) FROM goes.pending'), '000', 'no attempt is counted');
	is($two->ask('BEGIN; SAVEPOINT s; ' . settling("$a.3 $b.2 $c.2") . '; ROLLBACK TO s; ' . settling("$b.2") . '; COMMIT'), "3\n1", 'settled, and some rolled back');
	is($three->ask(settling("$a.3 $b.2 $c.2")), '2', 'settled, the others');
}

# A fetch that commits while goes_wait looks, which a lock makes last: the event
# is not settled, however much of it goes_wait has seen.
{
	my $a = fresh('looks');

	sql("SELECT put($a)");
	becomes(q{SELECT goes_horizon() = last_value FROM goes.position}, 'goes_wait looks: an event, and the horizon');
	$one->ask('BEGIN; LOCK TABLE goes.progress');
	begin($two, q{SELECT goes_wait('looks', timeout => '2s')});
	becomes("SELECT count(*) > 0 FROM pg_locks WHERE pid = $two->{pid} AND NOT granted AND relation = 'goes.progress'::regclass", 'goes_wait looks: it waits for a lock');
	is($one->ask(fetching()), "$a.1", 'goes_wait looks: meanwhile the event is fetched');
	$one->ask('COMMIT');
	is(finish($two), 'f', 'goes_wait looks: it does not take it for settled');
	is(settle("$a.1"), '1', 'goes_wait looks: settled');
	is(sql(q{SELECT goes_wait('looks')}), 't', 'goes_wait looks: now it does');
}

# Under load: four programs, some of which roll back or keep their snapshot, and
# leases that end at once.  What counts is what a program does between fetch and
# settle, here a row of the log.
{
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my %scripts = (
		put => "\\set n random(1000, 1020)\nSELECT put(:n);",
		put_many => "BEGIN;\nSELECT put(n) FROM generate_series(1000, 1004) n;\nEND;",
		put_and_rollback => "BEGIN;\nSELECT put(n) FROM generate_series(1005, 1008) n;\nROLLBACK;",
		work => q{SELECT coalesce(array_agg(position ORDER BY position), '{}') AS p FROM goes_fetch('busy', 3, '10 min', '50ms') \gset
INSERT INTO log (position, id, version) SELECT position, aggregate_id, aggregate_version FROM thing_events WHERE position = ANY (':p') ORDER BY position;
SELECT goes_settle('busy', ':p');},
		work_later => q{BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT coalesce(array_agg(position ORDER BY position), '{}') AS p FROM goes_fetch('busy', 2, '10 min', '1s') \gset
COMMIT;
INSERT INTO log (position, id, version) SELECT position, aggregate_id, aggregate_version FROM thing_events WHERE position = ANY (':p') ORDER BY position;
BEGIN;
SELECT goes_settle('busy', ':p');
COMMIT;},
		undone => "BEGIN;\nSELECT count(*) FROM goes_fetch('busy', 2);\nROLLBACK;");

	fresh('busy');
	sql('CREATE TABLE log (seq bigserial, position bigint, id uuid, version bigint)');
	append_to_file("$folder/$_", $scripts{$_}) foreach keys %scripts;
	my @pgbench = ('pgbench', '-n', '-h', $node->host, '-p', $node->port);
	my ($out, $err) = ('', '');
	my $load = IPC::Run::start([ @pgbench, '-c', 2, '-T', 4, '-R', 150, '-f', "$folder/put\@4", '-f', "$folder/put_many\@1", '-f', "$folder/put_and_rollback\@1", 'postgres' ], '>', \$out, '2>', \$err);
	my $work = IPC::Run::start([ @pgbench, '-c', 4, '-T', 5, '--max-tries=1', '-f', "$folder/work\@6", '-f', "$folder/work_later\@1", '-f', "$folder/undone\@1", 'postgres' ], '>', \$out, '2>', \$err);
	$_->finish foreach $load, $work;
	unlike($err, qr/client \d+ (aborted|script)/, 'load: no program fails') or diag($err);
	unlike($err, qr/(ERROR|FATAL):(?!.*could not serialize)/, 'load: no errors');
	cmp_ok(sql('SELECT count(*) FROM log'), '>', 100, 'load: there was some');
	# the rest, in the same way; what a script that had ended with an error has is none's
	is(sql(q{SELECT count(*) FROM goes.pending p WHERE leased AND NOT EXISTS (SELECT FROM log l WHERE l.position = p.position)}), '0', 'load: no lease is left');
	sql(q{DO $$
DECLARE p bigint[];
BEGIN
	LOOP
		SELECT array_agg(position ORDER BY position) INTO p FROM goes_fetch('busy', 1000);
		IF p IS NULL THEN
			EXIT WHEN (SELECT goes_wait('busy', timeout => '10ms'));
			CONTINUE;
		END IF;
		INSERT INTO log (position, id, version) SELECT position, aggregate_id, aggregate_version FROM thing_events WHERE position = ANY (p) ORDER BY position;
		PERFORM goes_settle('busy', p);
		COMMIT;
	END LOOP;
END $$});
	my $expected = 'SELECT position FROM thing_events WHERE n(aggregate_id) >= 1000';
	is(sql("SELECT position FROM ($expected EXCEPT ALL SELECT position FROM log) x LIMIT 5"), '', 'load: none is missed');
	is(sql("SELECT position FROM (SELECT position FROM log EXCEPT ALL $expected) x LIMIT 5"), '', 'load: none comes twice');
	is(sql('SELECT id, version FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY seq) AS nth FROM log) l WHERE version <> nth LIMIT 5'), '', 'load: in order for each aggregate');
	is(sql(q{SELECT processed = (SELECT count(*) FROM log), failed, lag FROM goes_stat_reactors WHERE reactor = 'busy'}), 't|0|0', 'load: statistics');
}

# ---------------------------------------------------------------------------
# Leases that run out
# ---------------------------------------------------------------------------
{
	my $a = fresh('lease', q{max_attempts => 4});
	my $b = $a + 1;

	sql("SELECT put($a), put($a), put($b)");
	is($one->ask(fetching(q{1, lease => '1ms', wait => '10 min'})), "$a.1", 'lease: one');
	becomes(q{SELECT count(*) = 1 FROM goes.pending WHERE leased AND due_at <= clock_timestamp()}, 'lease: has run out');
	is($two->ask(fetching(q{1, lease => '1h'})), "$a.1", 'lease: handed on, before new ones');
	is(sql('SELECT position IS NOT NULL, attempts, leased FROM goes.pending'), 't|1|t', 'lease: that counts as an attempt');
	is(sql(q{SELECT state, failed, retried, last_error FROM goes_stat_reactors WHERE reactor = 'lease'}), 'retrying|1|1|the lease ran out', 'lease: statistics');
	is($two->ask(fetching()), "$b.1", 'lease: others are there');
	is($one->ask(settling("$a.1")), '1', 'lease: the slow one settles it, for it belongs to the event');
	is($two->ask(settling("$a.1 $b.1")), '1', 'lease: and the other one need not');

	# run out, but not handed on
	is($one->ask(fetching(q{1, lease => '1ms', wait => '10 min'})), "$a.2", 'run out: fetched');
	becomes(q{SELECT count(*) = 1 FROM goes.pending WHERE leased AND due_at <= clock_timestamp()}, 'run out');
	is($one->ask(settling("$a.2")), '1', 'run out, but not handed on: settled');
	is(sql(q{SELECT failed FROM goes_stat_reactors WHERE reactor = 'lease'}), '1', 'run out, but not handed on: does not count');

	# the same event again and again, until it is given up
	sql("SELECT put($a), put($a), put($b)");
	is($one->ask(fetching(q{1, lease => '1h', wait => '10 min'})), "$a.3", 'dead: an event');
	$one->ask(q{UPDATE goes.pending SET due_at = now()});
	foreach (2 .. 4)
	{
		# it is before the other aggregate's event only when its lease has run out
		becomes(q{SELECT bool_and(due_at <= clock_timestamp()) FROM goes.pending}, "dead: due for attempt $_");
		is($one->ask(fetching(q{1, lease => '1ms', wait => '10 min'})), "$a.3", "dead: attempt $_");
	}
	is($one->ask(settling("$a.3", 'failed')), '1', 'dead: the last attempt');
	is(sql('SELECT attempts, error, sqlstate FROM goes.dead_letters'), '4|failed|38000', 'dead: after max_attempts') or diag(sql('SELECT * FROM goes.pending'));
	like($two->ask(fetching($long)), qr/^$a\.4 $b\.2$/, 'dead: the aggregate goes on');
	is($two->ask(settling("$a.4 $b.2")), '2', 'dead: settled');
	is(settle("$a.3"), '0', 'dead: too late to settle');
	is(sql(q{SELECT goes_wait('lease')}), 't', 'dead: goes_wait passes it');

	# leases alone make a dead letter, too; waiting goes on meanwhile
	sql(q{SELECT goes_retry('lease'); SELECT goes_alter_reactor('lease', max_attempts => 2)});
	is($one->ask(fetching(q{1, lease => '1ms', wait => '10 min'})), "$a.3", "dead by leases: attempt $_") foreach 1 .. 2;
	is(sql('SELECT count(*) FROM goes.dead_letters'), '0', 'dead by leases: not yet');
	sql("SELECT put($a)");
	becomes(q{SELECT bool_and(due_at <= clock_timestamp()) FROM goes.pending}, 'dead by leases: the last one runs out');
	is($one->ask(fetching($long)), "$a.5", 'dead by leases: others go on');
	is(sql('SELECT attempts, error FROM goes.dead_letters'), '2|the lease ran out', 'dead by leases: after max_attempts');
	is(settle("$a.5"), '1', 'dead by leases: settled');

	# on_failure stop
	$a = fresh('stops', q{max_attempts => 1, on_failure => 'stop'});
	$b = $a + 1;
	sql("SELECT put($a), put($a), put($b)");
	is(fetch(q{1, lease => '1ms', wait => '10 min'}), "$a.1", 'stop: an event');
	becomes(q{SELECT bool_and(due_at <= clock_timestamp()) FROM goes.pending}, 'stop: its lease runs out');
	is(fetch($long), "$b.1", 'stop: others go on');
	is(fetch(), '', 'stop: it does not come again');
	is(settle("$a.1"), '0', 'stop: too late to settle');
	is(sql(q{SELECT state, pending FROM goes_stat_reactors WHERE reactor = 'stops'}), 'stopped|2', 'stop: statistics');
	begin($one, fetching($long));
	waits('stop: a program waits');
	is(sql(q{SELECT goes_retry('stops')}), '1', 'stop: retried');
	is(finish($one), "$a.1", 'stop: it comes again, and ends the waiting');
	is(settle("$a.1 $b.1", 'no'), '2', 'stop: with an error, at once');
	is(sql(qq{SELECT goes_skip('stops', (SELECT position FROM thing_events WHERE aggregate_id = id($a) AND aggregate_version = 1))}), '', 'stop: skipped');
	is(fetch($long), "$a.2", 'stop: the aggregate goes on');
	is(sql(q{SELECT count(*), min(attempts) FROM goes.dead_letters}), '1|1', 'stop: the skipped one is a dead letter');
	is(settle("$a.2"), '1', 'stop: settled');
}

# ---------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------
{
	my $a = fresh('errors', q{max_attempts => 4, backoff => '1h', max_backoff => '3h'});
	my $b = $a + 1;
	# how many hours until the next attempt
	my $pause = q{SELECT attempts, leased, round(extract(epoch FROM due_at - failed_at) / 3600, 2)::float, sqlstate, error FROM goes.pending};

	sql("SELECT put($a), put($a)");
	is(fetch($long), "$a.1", 'error: fetched');
	is(settle("$a.1", 'mailbox is full'), '1', 'error: settled');
	is(settle("$a.1"), '0', 'error: then it is nobody\'s');
	is(sql($pause), '1|f|1|38000|mailbox is full', 'error: the first pause');
	is(fetch(), '', 'error: it and its aggregate wait');
	sql("SELECT put($b)");
	is(fetch($long), "$b.1", 'error: others go on');
	is(settle("$b.1"), '1', 'error: settled');
	is(sql(q{SELECT state, processed, failed, retried, last_error FROM goes_stat_reactors WHERE reactor = 'errors'}), 'retrying|1|1|0|mailbox is full', 'error: statistics');
	foreach my $attempt ([ 2, 2 ], [ 3, 3 ])
	{
		sql('UPDATE goes.pending SET due_at = now()');
		is(fetch(), "$a.1", "error: attempt $attempt->[0]");
		settle("$a.1", "error $attempt->[0]");
		is(sql($pause), "$attempt->[0]|f|$attempt->[1]|38000|error $attempt->[0]", 'error: the pause doubles, up to the greatest');
	}
	is(sql(q{SELECT goes_retry('errors')}), '1', 'error: retried');
	is(fetch(), "$a.1", 'error: it comes at once');
	settle("$a.1", '');
	is(sql($pause), '1|f|1|38000|', 'error: from the first attempt on; an empty error is one');
	foreach my $attempt (2 .. 4)
	{
		sql('UPDATE goes.pending SET due_at = now()');
		is(fetch(), "$a.1", "error: attempt $attempt again");
		settle("$a.1", "error $attempt");
	}
	is(sql('SELECT attempts, sqlstate, error FROM goes.dead_letters; SELECT attempts, leased FROM goes.pending'), "4|38000|error 4\n0|f", 'error: given up, the next one is due');
	is(sql('SELECT attempts, error FROM goes_dead_letters'), '4|error 4', 'error: in the view');
	is(fetch(), "$a.2", 'error: the next one');
	is(settle("$a.2"), '1', 'error: settled');
	is(sql(q{SELECT goes_retry()}), '1', 'error: the dead letter again');
	is(fetch(), "$a.1", 'error: it comes again');
	is(settle("$a.1"), '1', 'error: it is done at last');
	is(sql('SELECT count(*) FROM goes.dead_letters; SELECT count(*) FROM goes.pending'), "0\n0", 'error: nothing is left');

	# ends the waiting when it is due
	sql(q{SELECT goes_alter_reactor('errors', backoff => '20ms')});
	sql("SELECT put($a)");
	is(fetch($long), "$a.3", 'due: fetched');
	settle("$a.3", 'again');
	is(fetch($long), "$a.3", 'due: ends the waiting');
	settle("$a.3");

	# several at once, fire and forget
	sql(q{SELECT goes_alter_reactor('errors', max_attempts => 1)});
	sql("SELECT put($a), put($a), put($b), put($b + 1)");
	is(fetch($long), "$a.4 $b.2 @{[$b + 1]}.1", 'several errors: fetched');
	is(settle("$a.4 $b.2", 'boom'), '2', 'several errors: settled');
	is(sql('SELECT count(*) FROM goes.dead_letters'), '2', 'several errors: dead at once');
	is(fetch($long), "$a.5", 'several errors: the aggregate goes on');
	is(settle("$a.5 @{[$b + 1]}.1"), '2', 'several errors: others are settled');
}

# ---------------------------------------------------------------------------
# Waiting
# ---------------------------------------------------------------------------
{
	my $a = fresh('waiter');
	my $b = $a + 1;

	begin($one, fetching($long));
	begin($two, fetching($long));
	waits('wait: two programs wait', 2);
	$three->ask("BEGIN; SELECT put($a)");
	sql("SELECT put($b)");
	$three->ask("SELECT put($b + 1)");
	waits('wait: for commits', 2);
	$three->ask('COMMIT');
	# One gets all, or each gets some; who gets none waits on, for the last one.
	until ($one->{out} =~ /^done/m || $two->{out} =~ /^done/m)
	{
		$_->{run}->pump_nb foreach $one, $two;
		usleep(10_000);
	}
	sql("SELECT put($b + 2)");
	my @got = map { split ' ', $_ } finish($one), finish($two), fetch();
	is(join(' ', sort @got), join(' ', "$a.1", map { $b + $_ . '.1' } 0 .. 2), 'wait: ends with the commit, each event for one program');
	sql(q{SELECT goes_settle('waiter', array_agg(position)) FROM goes.pending});

	# settled by another one
	sql("SELECT put($a), put($a)");
	is(fetch($long), "$a.2", 'wait: one of two');
	begin($one, fetching($long));
	waits('wait: for the other one');
	settle("$a.2");
	is(finish($one), "$a.3", 'wait: ends when it is settled');
	settle("$a.3");

	# a lease that runs out
	sql("SELECT put($a)");
	is(fetch(q{1, lease => '200ms', wait => '10 min'}), "$a.4", 'wait: for a lease');
	is(fetch($long), "$a.4", 'wait: ends when it runs out');
	settle("$a.4");

	# paused
	sql(q{SELECT goes_pause('waiter')});
	sql("SELECT put($a)");
	becomes(q{SELECT goes_horizon() = last_value FROM goes.position}, 'wait: an event for a paused reactor');
	is(fetch(), '', 'paused: nothing comes');
	begin($one, fetching($long));
	waits('wait: for a paused reactor');
	sql(q{SELECT goes_resume('waiter')});
	is(finish($one), "$a.5", 'wait: ends when it is resumed');
	sql(q{SELECT goes_pause('waiter')});
	is(settle("$a.5"), '1', 'paused: what was fetched is settled');
	sql(q{SELECT goes_resume('waiter')});

	# in vain
	is(fetch(q{1, wait => '1ms'}), '', 'wait: in vain');
	is(fetch(q{1, wait => '0'}), '', 'wait: not at all');
	foreach my $how ('cancel', 'statement_timeout')
	{
		begin($one, "\\set VERBOSITY verbose\nSET statement_timeout = @{[$how eq 'cancel' ? 0 : 100]};\n" . fetching($long));
		if ($how eq 'cancel')
		{
			waits("wait: $how");
			sql("SELECT pg_cancel_backend($one->{pid})");
		}
		like(finish($one), qr/ERROR:  57014/, "wait: ends on $how");
		$one->ask('RESET statement_timeout');
	}
	sql("SELECT put($a)");
	is($one->ask(fetching($long)), "$a.6", 'wait: the session goes on');
	settle("$a.6");

	# nothing of a wait is in the way, also if it has read events, which are blocked
	sql("SELECT put($b), put($b)");
	is(fetch($long), "$b.2", 'wait: an event that blocks another one');
	begin($one, fetching($long));
	waits('wait: a program waits');
	is(state_of(q{SET lock_timeout = '10s'; ALTER TABLE thing_events ADD COLUMN note text}), 'no error:  ', 'wait: does not keep ALTER TABLE waiting');
	sql("SELECT put($a)");
	is(finish($one), "$a.7", 'wait: and goes on after it');
	settle("$a.7 $b.2");
	settle(fetch());

	# What is registered meanwhile counts.
	begin($one, fetching($long));
	waits('registered meanwhile: a program waits');
	sql(q{SET ROLE outsider; SELECT goes_on('{other}', outside => '{waiter}')});
	sql("BEGIN; SELECT put($a, type => 'other'); SELECT put($b); COMMIT");
	is(finish($one), "$a.1 $b.4", 'registered meanwhile: none is skipped');
	sql(q{SELECT goes_settle('waiter', array_agg(position)) FROM goes.pending});
	is(fetch(), '', 'registered meanwhile: all was there');

	fresh('all', undef, '{*}');
	begin($one, fetching($long));
	waits('type registered meanwhile: a program waits');
	sql(q{SET ROLE app; CREATE TABLE late (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('late', 'late'), goes_register_event('late', 'put'), goes_register_command('late', 'put', event => 'put', target => 'any')});
	sql("BEGIN; SELECT put($a, type => 'late'); SELECT put($b); COMMIT");
	is(finish($one), "$a.1 $b.5", 'type registered meanwhile: none is skipped');
	sql(q{SELECT goes_settle('all', array_agg(position)) FROM goes.pending});
}

# A program that dies while it waits gets nothing.
{
	my $a = fresh('dies');
	my $mortal = GoesLoad::Session->new($node);

	begin($mortal, fetching(q{100, lease => '1h', wait => '10 min'}));
	waits('dies: a program waits');
	$mortal->{run}->signal('KILL');
	$mortal->{run}->finish;
	sql("SELECT put($a)");
	is(fetch($long =~ s/10 min/20s/r), "$a.1", 'dies: another one gets the event');
	is(sql('SELECT attempts FROM goes.pending'), '0', 'dies: and no attempt is counted');
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'goes_fetch' AND pid <> pg_backend_pid() AND state = 'active'});
	settle("$a.1");
}

# ---------------------------------------------------------------------------
# Transactions that keep their snapshot
# ---------------------------------------------------------------------------
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $a = fresh('snapshots');
	my $b = $a + 1;

	$one->ask("BEGIN ISOLATION LEVEL $level; SELECT 1");
	sql("SELECT put($a)");
	becomes(q{SELECT goes_horizon() = last_value FROM goes.position}, "$level: an event, and the horizon");
	is($one->ask(fetching(q{1, wait => '10 min'})), '', "$level: what is newer than the snapshot does not come, and is not waited for");
	$one->ask('COMMIT');
	is($one->ask("BEGIN ISOLATION LEVEL $level; " . fetching()), "$a.1", "$level: it comes to the next transaction");
	is($one->ask(settling("$a.1") . '; COMMIT'), '1', "$level: settled");

	sql("SELECT put($a), put($b)");
	becomes(q{SELECT goes_horizon() = last_value FROM goes.position}, "$level: two events, and the horizon");
	$one->ask("BEGIN ISOLATION LEVEL $level; SELECT 1");
	is($two->ask(fetching('1')), "$a.2", "$level: another program fetches one");
	like($one->ask("\\set VERBOSITY verbose\n" . fetching()), qr/ERROR:  40001/, "$level: who has not seen that gets an error");
	$one->ask('ROLLBACK');
	is($one->ask("BEGIN ISOLATION LEVEL $level; " . fetching() . '; COMMIT'), "$b.1", "$level: and then the other one");
	is($one->ask("BEGIN ISOLATION LEVEL $level; " . settling("$a.2 $b.1") . '; COMMIT'), '2', "$level: settled");
}

# ---------------------------------------------------------------------------
# Rewind, off
# ---------------------------------------------------------------------------
{
	my $a = fresh('managed');
	my $b = $a + 1;
	my $first = sql("SELECT put($a)");

	sql("SELECT put($a), put($b)");
	is(fetch($long), "$a.1 $b.1", 'rewind: fetched');
	settle("$a.1");
	is(fetch($long), "$a.2", 'rewind: fetched, the next');
	sql("SELECT goes_rewind('managed', $first - 1)");
	is(settle("$a.2"), '0', 'rewind: what was fetched is nobody\'s');
	is(sql(qq{SELECT string_agg(n(aggregate_id) || '.' || aggregate_version || coalesce(transient::text, ''), ' ' ORDER BY position) FROM goes_fetch('managed', 10)}), "$a.1 $b.1", 'rewind: all come again, without transient data');
	settle("$a.1 $b.1");
	is(fetch(), "$a.2", 'rewind: all');
	settle("$a.2");

	sql("SELECT put($a), put($a), put($a)");
	is(fetch($long), "$a.3", 'off: fetched');
	sql("SELECT put($b)");
	is(fetch($long), "$b.2", 'off: fetched, and passed others of an aggregate');
	sql(q{SELECT goes_off('managed')});
	is(state_of(q{SELECT goes_fetch('managed')}), '55000', 'off: no more');
	# it may be refused, but must not lose what waits behind it
	$node->psql('postgres', settling("$a.3 $b.2"));
	sql(q{SET ROLE outsider; SELECT goes_on('{thing}', outside => '{managed}')});
	sql('UPDATE goes.pending SET due_at = now()');
	like(fetch(), qr/^($a\.3 $b\.2|$a\.4)$/, 'off and on: goes on');
	settle("$a.3 $b.2");
	like(join(' ', fetch(), sql('SELECT count(*) FROM goes.pending')), qr/^($a\.4| 1| 2)/, 'off and on: what waited comes');
	settle("$a.4");
	is(fetch(), "$a.5", 'off and on: all of it');
	settle("$a.5");

	# skipped while it is off
	sql("SELECT put($a), put($a)");
	sql(q{SELECT goes_alter_reactor('managed', max_attempts => 1, on_failure => 'stop')});
	is(fetch($long), "$a.6", 'skipped while off: fetched');
	sql("SELECT put($b)");
	is(fetch($long), "$b.3", 'skipped while off: passed');
	settle("$b.3");
	settle("$a.6", 'failed');
	sql(q{SELECT goes_off('managed')});
	$node->psql('postgres', qq{SELECT goes_skip('managed', (SELECT position FROM goes.pending WHERE due_at = 'infinity'))});
	sql(q{SET ROLE outsider; SELECT goes_on('{thing}', outside => '{managed}')});
	$node->psql('postgres', qq{SELECT goes_skip('managed', (SELECT position FROM goes.pending WHERE due_at = 'infinity'))});
	is(fetch(), "$a.7", 'skipped while off: the next one comes');
	settle("$a.7");

	# forgotten
	sql("SELECT put($a)");
	is(fetch($long), "$a.8", 'forgotten: fetched');
	sql(q{SELECT goes_off('managed', forget => true)});
	is(state_of(q{SELECT goes_settle('managed', '{1}')}), 'OG008', 'forgotten: settled too late');
	is(state_of(q{SELECT goes_fetch('managed')}), 'OG008', 'forgotten: not there');
	sql(q{SET ROLE outsider; SELECT goes_on('{thing}', outside => '{managed}')});
	is(fetch(), '', 'forgotten: begins anew');

	# a type that goes while its events are leased
	fresh('gone', undef, '{late,thing}');
	sql("SELECT put($a, type => 'late'), put($b, type => 'late'), put($a, type => 'late')");
	is(sql(q{SELECT count(*) FROM goes_fetch('gone', 10, lease => '1ms', wait => '10 min')}), '2', 'type unregistered: fetched');
	sql(q{SELECT goes_unregister_aggregate('late')});
	is(sql(q{SELECT goes_settle('gone', ARRAY[min(position)]) FROM goes.pending}), '1', 'type unregistered: settled');
	is(sql(q{SELECT count(*) FROM goes_fetch('gone', 10)}), '0', 'type unregistered: nothing comes');
}

# ---------------------------------------------------------------------------
# Transient data
# ---------------------------------------------------------------------------
{
	my $a = fresh('secrets');
	my $secret = q{SELECT string_agg(coalesce((transient ->> 'secret' = md5((aggregate_version - 1)::text))::text, 'NULL'), ' ' ORDER BY position) FROM goes_fetch('%s', 10, '%s', '10 min')};

	sql(q{SET ROLE outsider; SELECT goes_on('{thing}', outside => '{secrets2}')});
	sql("SELECT put($a)");
	is(sql(sprintf($secret, 'secrets', '1ms')), 'true', "transient: there, time $_") foreach 1 .. 3;
	is(settle("$a.1", 'failed'), '1', 'transient: settled with an error');
	sql(q{SELECT goes_retry('secrets')});
	is(sql(sprintf($secret, 'secrets', '1h')), 'true', 'transient: there after an error');
	settle("$a.1");
	is(sql(sprintf($secret, 'secrets2', '1h')), 'true', 'transient: there for each reactor');
	# nothing of it is kept
	sql("SELECT put($a), put($a + 1)");
	is(sql(sprintf($secret, 'secrets', '1h')), 'true true', 'transient: fetched before a restart');

	# fast shutdown ends waiting
	settle("$a.2");
	begin($one, fetching($long));
	waits('shutdown: a program waits');
	ok($node->stop('fast', fail_ok => 1), 'shutdown: does not wait for it');
	$one->{run}->pump while $one->{run}->pumpable;
	like($one->{err}, qr/terminating connection due to administrator command/, 'shutdown: ends the waiting');
	$_->{run}->finish foreach $one, $two, $three;
	$node->start;
	is(settle("@{[$a + 1]}.1", 'failed'), '1', 'restart: leases are kept');
	sql(q{SELECT goes_retry('secrets')});
	sql("SELECT put($a)");
	is(sql(sprintf($secret, 'secrets', '1h')), 'NULL true', 'restart: transient data is not');
	sql(q{SELECT goes_off('secrets2', true)});
}

# ---------------------------------------------------------------------------
# Upcasters, row-level security
# ---------------------------------------------------------------------------
{
	sql(q{SET ROLE app;
CREATE TABLE thing2 (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('thing2', 'thing2'), goes_register_event('thing2', 'put'), goes_register_command('thing2', 'put', event => 'put', target => 'any');
CREATE FUNCTION up(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF data ? 'bad' THEN
        RAISE 'cannot be upcast';
    END IF;
    RETURN data || jsonb_build_object('up', current_user);
END $$});
	my $a = fresh('upcast', q{max_attempts => 2, backoff => '1h', max_backoff => '1h'}, '{thing2}');
	my $b = $a + 1;
	sql(qq{SELECT put($a, type => 'thing2'), put($b, '{"bad": 1}', 'thing2'), put($b, type => 'thing2'), put($b + 1, type => 'thing2')});
	sql(q{SET ROLE app; SELECT goes_register_event('thing2', 'put', 2), goes_register_upcaster('thing2', 'put', 1, 'up')});
	is(sql(q{SELECT n(aggregate_id), event_version, data FROM goes_fetch('upcast', 10, wait => '10 min')}),
		qq{$a|2|{"up": "app"}\n@{[$b + 1]}|2|{"up": "app"}}, 'upcaster: others go on when it fails');
	is(sql(q{SELECT attempts, leased, sqlstate, error FROM goes.pending WHERE attempts > 0}), '1|f|P0001|cannot be upcast', 'upcaster: its error is a failure');
	sql('UPDATE goes.pending SET due_at = now() WHERE attempts > 0');
	is(fetch($long), "$b.2", 'upcaster: it fails again, and the next event of the aggregate comes');
	is(sql(q{SELECT attempts, error FROM goes.dead_letters}), '2|cannot be upcast', 'upcaster: given up');
	is(sql(q{SELECT failed, retried FROM goes_stat_reactors WHERE reactor = 'upcast'}), '2|1', 'upcaster: statistics');
	sql(q{SELECT goes_settle('upcast', array_agg(position)) FROM goes.pending});

	# One that fetches for another reactor: whatever comes of it, the server lives.
	sql(q{SET ROLE outsider; SELECT goes_on('{thing}', outside => '{nested}')});
	sql(q{SET ROLE app; CREATE OR REPLACE FUNCTION up(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_fetch('nested', 10);
    RETURN data;
END $$});
	sql("SELECT put($a)");
	sql(q{SELECT goes_rewind('upcast', 0)});
	my ($stdout, $stderr);
	$node->psql('postgres', q{SELECT count(*) FROM goes_fetch('upcast', 10, '1ms'); SELECT count(*) FROM goes_fetch('upcast', 10, '1ms'); SELECT count(*) FROM goes_fetch('nested', 10)}, stdout => \$stdout, stderr => \$stderr);
	unlike($stderr, qr/connection/, 'upcaster that fetches: the server lives') or $node->poll_query_until('postgres', 'SELECT true');
	sql(q{SELECT goes_off('nested', true)});

	# Nobody sees the rows, but the reactor gets them.
	$a = fresh('hidden', undef, '{thing}');
	sql(q{ALTER TABLE thing_events ENABLE ROW LEVEL SECURITY; ALTER TABLE thing_events FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON thing_events USING (false) WITH CHECK (true)});
	sql("SELECT put($a), put($a)");
	is(sql('SET ROLE app; SELECT count(*) FROM thing_events'), '0', 'row-level security: hides events');
	foreach my $version (1, 2)
	{
		is(sql('SET SESSION AUTHORIZATION outsider; ' . fetching($long)), "$a.$version", 'row-level security: but not from reactors');
		is(settle("$a.$version"), '1', 'row-level security: settled');
	}
	sql(q{DROP POLICY own ON thing_events; ALTER TABLE thing_events NO FORCE ROW LEVEL SECURITY; ALTER TABLE thing_events DISABLE ROW LEVEL SECURITY});
}

# ---------------------------------------------------------------------------
# Who may, and what is no argument
# ---------------------------------------------------------------------------
{
	my $a = fresh('whose', undef, '{thing,other}');

	sql("SELECT put($a), put($a + 1, type => 'other')");
	foreach my $role (qw(stranger app app2))
	{
		is(state_of("SET SESSION AUTHORIZATION $role; SELECT * FROM goes_fetch('whose', wait => '10 min')"), '42501', "fetch: not $role");
		is(state_of("SET SESSION AUTHORIZATION $role; SELECT goes_settle('whose', '{1}')"), '42501', "settle: not $role");
	}
	foreach my $role (qw(outsider both_tables))
	{
		is(sql("SET SESSION AUTHORIZATION $role; SELECT count(*) FROM goes_fetch('whose', 10, '1ms', '10 min')"), '2', "fetch: $role");
	}
	is(sql(qq{SET SESSION AUTHORIZATION both_tables; SELECT goes_settle('whose', (SELECT array_agg(position) FROM (SELECT position FROM thing_events WHERE aggregate_id = id($a) UNION ALL SELECT position FROM other_events WHERE aggregate_id = id($a + 1)) e))}), '2', 'settle: who has all tables');
	is(sql('SELECT count(*) FROM goes.pending'), '0', 'settled');

	sql(q{CREATE FUNCTION later(event goes_event) RETURNS void LANGUAGE sql BEGIN ATOMIC END;
CREATE FUNCTION at_once(event goes_event) RETURNS void LANGUAGE sql BEGIN ATOMIC END;
SELECT goes_on('{thing}', async => '{later}', sync => '{at_once}')});
	my %errors = (
		q{goes_fetch('later')} => '42809',
		q{goes_fetch('at_once')} => '42809',
		q{goes_settle('later', '{1}')} => '42809',
		q{goes_fetch('unknown')} => 'OG008',
		q{goes_settle('unknown', '{1}')} => 'OG008',
		q{goes_fetch(NULL)} => '22004',
		q{goes_fetch('whose', NULL)} => '22023',
		q{goes_fetch('whose', 0)} => '22023',
		q{goes_fetch('whose', -1)} => '22023',
		q{goes_fetch('whose', 2147483647)} => '22023',
		q{goes_fetch('whose', lease => NULL)} => '22004',
		q{goes_fetch('whose', lease => '0')} => '22023',
		q{goes_fetch('whose', lease => '-1s')} => '22023',
		q{goes_fetch('whose', wait => NULL)} => '22004',
		q{goes_fetch('whose', wait => '-1s')} => '22023',
		q{goes_settle(NULL, '{1}')} => '22004',
		q{goes_settle('whose', NULL)} => '22004');
	is(state_of("SELECT $_"), $errors{$_}, $_) foreach sort keys %errors;
	sql("SELECT put($a)");
	becomes(q{SELECT goes_horizon() = last_value FROM goes.position}, 'an event');
	is(state_of(q{BEGIN READ ONLY; SELECT * FROM goes_fetch('whose')}), '25006', 'fetch in a read-only transaction');
	is(sql(q{SELECT count(*) FROM goes_fetch('whose', lease => '178000000 years', wait => '178000000 years'); SELECT due_at BETWEEN now() + interval '99 years' AND now() + interval '101 years' FROM goes.pending}), "1\nt", 'the longest lease');
	sql(q{SELECT goes_settle('whose', array_agg(position)) FROM goes.pending});
}

# goes_wait, which looks whether there is anything, does not wait for a table, nor
# keep it.
{
	my $a = fresh('locked_out');
	my ($in, $out) = ('', '');
	my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out,
		IPC::Run::timeout(3 * $PostgreSQL::Test::Utils::timeout_default));

	sql("SELECT put($a, type => 'other')");
	$in .= "BEGIN; LOCK TABLE thing_events; SELECT 'locked';\n";
	$holder->pump until $out =~ /locked/;
	is(sql(q{SET statement_timeout = '20s'; SELECT goes_wait('locked_out', timeout => '500ms')}), 'f', 'goes_wait: a table is locked');
	$in .= "ROLLBACK;\n\\q\n";
	$holder->finish;
	is(sql(q{BEGIN; SELECT goes_wait('locked_out'), (SELECT count(*) FROM pg_locks WHERE relation = 'thing_events'::regclass); COMMIT}), 't|0', 'goes_wait: and then is not, by goes_wait either');
}

# ---------------------------------------------------------------------------
# What a backlog costs: each row is read a few times, however many there are
# ---------------------------------------------------------------------------
{
	my $reads = q{SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname = '%s'};

	fresh('costly');
	sql(q{SET ROLE app;
CREATE TABLE many (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('many', 'many'), goes_register_event('many', 'put');
RESET ROLE;
SELECT goes_on('{many}', outside => '{costly}');
SELECT goes_import('many', (SELECT jsonb_agg(jsonb_build_object('aggregate_id', id(n % 100), 'action', 'put', 'recorded_at', now())) FROM generate_series(1, 5000) n));
SELECT goes_rewind('costly', (SELECT min(position) - 1 FROM many_events))});
	sql('VACUUM ANALYZE many_events, goes.pending');
	my $scanned = sql(q{SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'pending'});
	my $pending = sql(sprintf $reads, 'pending');
	is(sql(q{DO $$DECLARE n integer; settled integer = 0;
BEGIN
	LOOP
		SELECT goes_settle('costly', coalesce(array_agg(position), '{}')) INTO n FROM goes_fetch('costly', 100);
		EXIT WHEN n = 0;
		settled := settled + n;
		COMMIT;
	END LOOP;
	PERFORM set_config('my.settled', settled::text, false);
END$$; SELECT current_setting('my.settled')}), '5000', 'a backlog is settled');
	is(sql(q{SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'pending'}), $scanned, 'goes.pending is never read as a whole');
	cmp_ok(sql(sprintf $reads, 'pending') - $pending, '<', 10 * 5000, 'nor is much of it read');
	cmp_ok(sql(sprintf $reads, 'many_events'), '<', 10 * 5000, 'nor many events that are not wanted');
}

# Without the preload
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
is(state_of(q{SELECT goes_fetch('whose')}), '55000', 'fetch without the preload');
is(state_of(q{SELECT goes_settle('whose', '{1}')}), '55000', 'settle without the preload');
is(unexpected_log($node), '', 'nothing unexpected in the log');

$node->stop;
done_testing();
