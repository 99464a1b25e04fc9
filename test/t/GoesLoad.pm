# A model with reactors that note what they get, sessions that execute its
# commands in every way that a transaction can go, and what must hold of it all
# in the end.  Used by 013_load.pl and 014_async_crash.pl.
package GoesLoad;

use strict;
use warnings;
use Exporter 'import';

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw($model wait_until start_load start_psql start_reader stop_all stop_gently
  settled wrong_deliveries unexpected_log pid_of);

# hot: few aggregates that everybody wants; cold: many; echo: what a reactor
# appends.  No table of notes has a unique constraint, so that doubles show.
our $model = <<'SQL';
CREATE ROLE app LOGIN;
CREATE ROLE echoer LOGIN;
GRANT app TO echoer;
GRANT ALL ON SCHEMA public TO app, echoer;
CREATE EXTENSION goes;
SET ROLE app;
CREATE TABLE hot (LIKE goes_base_aggregate INCLUDING ALL, n bigint NOT NULL DEFAULT 0);
CREATE TABLE cold (LIKE goes_base_aggregate INCLUDING ALL, n bigint NOT NULL DEFAULT 0);
CREATE TABLE echo (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate(t, t::regclass) FROM unnest('{hot,cold,echo}'::text[]) t;
CREATE FUNCTION up(aggregate hot, event goes_event) RETURNS hot LANGUAGE plpgsql
AS $$ BEGIN aggregate.n = aggregate.n + 1; RETURN aggregate; END $$;
SELECT goes_register_event('hot', 'hit', calculator => 'up'), goes_register_event('cold', 'hit'), goes_register_event('echo', 'heard');
SELECT goes_register_command('hot', 'hit', event => 'hit', target => 'any'), goes_register_command('cold', 'hit', event => 'hit', target => 'any'),
    goes_register_command('echo', 'hear', event => 'heard', target => 'any');

CREATE TABLE log (reactor text, n bigint GENERATED ALWAYS AS IDENTITY, position bigint, type text, aggregate_id uuid, version bigint);
GRANT SELECT, INSERT ON log TO echoer;
CREATE FUNCTION log_sql(event goes_event) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO log (reactor, position, type, aggregate_id, version)
    VALUES ('log_sql', (event).position, (event).aggregate_type, (event).aggregate_id, (event).aggregate_version);
END;
CREATE FUNCTION log_plpgsql(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (reactor, position, type, aggregate_id, version)
    VALUES ('log_plpgsql', event.position, event.aggregate_type, event.aggregate_id, event.aggregate_version);
END $$;
CREATE FUNCTION log_parallel(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (reactor, position, type, aggregate_id, version)
    VALUES ('log_parallel', event.position, event.aggregate_type, event.aggregate_id, event.aggregate_version);
END $$;
-- fails now and then, after it has written
CREATE FUNCTION log_failing(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (reactor, position, type, aggregate_id, version)
    VALUES ('log_failing', event.position, event.aggregate_type, event.aggregate_id, event.aggregate_version);
    IF random() < 0.03 THEN
        RAISE 'now and then' USING ERRCODE = CASE WHEN random() < 0.5 THEN '40001' ELSE 'P0001' END;
    END IF;
END $$;
SELECT goes_on('{*}', async => '{log_sql,log_plpgsql,log_parallel,log_failing}', start => 0);
SELECT goes_alter_reactor('log_parallel', parallelism => 3), goes_alter_reactor('log_failing', backoff => '10ms', max_backoff => '100ms', max_attempts => 1000000);
RESET ROLE;
-- executes commands, as another role
SET ROLE echoer;
CREATE FUNCTION log_echo(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (reactor, position, type, aggregate_id, version)
    VALUES ('log_echo', event.position, event.aggregate_type, event.aggregate_id, event.aggregate_version);
    PERFORM goes_do('echo.hear', event.aggregate_id, jsonb_build_object('version', event.aggregate_version));
END $$;
SELECT goes_on('{hot}', async => '{log_echo}', start => 0);
RESET ROLE;
SET ROLE app;

CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE FUNCTION hit_hot() RETURNS void LANGUAGE plpgsql
AS $$ BEGIN PERFORM goes_do('hot.hit', id(1 + floor(random() * 3)::integer)); END $$;
CREATE FUNCTION hit_cold(n integer) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN FOR i IN 1 .. n LOOP PERFORM goes_do('cold.hit', id(100 + floor(random() * 400)::integer), jsonb_build_object('n', i)); END LOOP; END $$;
-- what the block has done is undone, and more is done when that has failed
CREATE FUNCTION hit_and_fail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM hit_cold(1);
        PERFORM hit_hot();
        RAISE 'undo it';
    EXCEPTION WHEN raise_exception THEN
        PERFORM hit_cold(1);
    END;
    BEGIN
        PERFORM hit_cold(1);
        PERFORM 1 / (random() * 0)::integer;
    EXCEPTION WHEN division_by_zero THEN
    END;
END $$;
CREATE VIEW all_events AS
    SELECT position, id, 'hot' AS type, aggregate_id, aggregate_version AS version, data FROM hot_events
    UNION ALL SELECT position, id, 'cold', aggregate_id, aggregate_version, data FROM cold_events
    UNION ALL SELECT position, id, 'echo', aggregate_id, aggregate_version, data FROM echo_events;
SQL

our @reactors = qw(log_sql log_plpgsql log_parallel log_failing log_echo);

# Polls until the code returns something true, and returns that.
sub wait_until
{
	my ($what, $code) = @_;

	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $result = $code->();
		return $result if $result;
		usleep(100_000);
	}
	die "timed out waiting for $what";
}

# Scripts of pgbench with their weights: about a third is rolled back.  Those
# that hold their transaction for a while have a pgbench of their own.  Only
# the first lock in a transaction is on a hot aggregate, and all that
# deadlock is tried again or counted as failed by pgbench.
my %busy = (
	commit_hot => [ 4, 'SELECT hit_hot();' ],
	commit_cold => [ 3, "BEGIN;\nSELECT hit_cold(3);\nCOMMIT;" ],
	rollback => [ 5, "BEGIN;\nSELECT hit_hot();\nSELECT hit_cold(2);\nROLLBACK;" ],
	savepoints => [ 2, "BEGIN;\nSELECT hit_cold(1);\nSAVEPOINT a;\nSELECT hit_hot();\nROLLBACK TO a;\nSELECT hit_cold(1);\nSAVEPOINT b;\nSELECT hit_cold(1);\nRELEASE b;\nCOMMIT;" ],
	first_undone => [ 1, "BEGIN;\nSAVEPOINT a;\nSELECT hit_cold(1);\nROLLBACK TO a;\nSELECT hit_hot();\nCOMMIT;" ],
	savepoints_rollback => [ 1, "BEGIN;\nSAVEPOINT a;\nSELECT hit_cold(1);\nRELEASE a;\nROLLBACK;" ],
	exceptions => [ 2, 'SELECT hit_and_fail();' ],
	repeatable => [ 1, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM cold;\nSELECT goes_do('cold.hit', gen_random_uuid());\nCOMMIT;" ]);
my %slow = (
	commit => [ 2, "BEGIN;\nSELECT hit_cold(1);\n\\sleep :hold ms\nSELECT hit_cold(1);\nCOMMIT;" ],
	rollback => [ 1, "BEGIN;\nSELECT hit_cold(1);\n\\sleep :hold ms\nROLLBACK;" ],
	savepoint => [ 1, "BEGIN;\nSAVEPOINT a;\nSELECT hit_cold(1);\nROLLBACK TO a;\n\\sleep :hold ms\nSELECT hit_cold(1);\nCOMMIT;" ]);
foreach my $script (values %slow)
{
	$script->[1] = "\\set hold random_exponential(50, 3000, 5)\n\\set pause random(100, 1500)\n\\sleep :pause ms\n$script->[1]";
}

# Starts pgbench; returns a handle whose {err} is a file with what went wrong.
sub start_pgbench
{
	my ($node, $name, $scripts, $options, @arguments) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my @files;

	foreach my $script (sort keys %$scripts)
	{
		my ($weight, $text) = @{ $scripts->{$script} };
		append_to_file("$folder/$script.sql", "$text\n");
		push @files, '-f', "$folder/$script.sql\@$weight";
	}
	my %process = (name => $name, err => "$folder/err");
	local $ENV{PGAPPNAME} = $name;
	local $ENV{PGOPTIONS} = $options;
	$process{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-U', 'app', '--max-tries=1', @arguments, @files, 'postgres' ],
		'<', '/dev/null', '>', "$folder/out", '2>', $process{err});
	return \%process;
}

# Six sessions that are left alone, until they are stopped or the server is.
sub start_load
{
	my ($node, $seconds, $rate) = @_;

	return (
		start_pgbench($node, 'load', \%busy, '', '-c', 2, '-T', $seconds, '-R', $rate / 2),
		start_pgbench($node, 'load async', \%busy, '-c synchronous_commit=off', '-c', 2, '-T', $seconds, '-R', $rate / 2),
		start_pgbench($node, 'load slow', \%slow, '', '-c', 2, '-T', $seconds));
}

# A reader that is a pgbench which repeats one script.
sub start_reader
{
	my ($node, $name, $script) = @_;

	return start_pgbench($node, $name, { reader => [ 1, $script ] }, '', '-c', 1, '-T', 1000);
}

# A psql with a script, which goes on after errors and ends with its session.
sub start_psql
{
	my ($node, $name, $script, $out) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my $file = "$folder/script";
	my %process = (name => $name, err => "$folder/err");

	append_to_file($file, $script);
	local $ENV{PGAPPNAME} = $name;
	$process{run} = IPC::Run::start([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-U', 'app', '-d', 'postgres', '-f', $file ],
		'<', '/dev/null', '>>', $out // '/dev/null', '2>', $process{err});
	return \%process;
}

# Waits for processes to end by themselves.
sub stop_gently
{
	foreach my $process (@_)
	{
		$process->{run}->finish;
		$process->{result} = $process->{run}->result(0);
	}
	return;
}

# Ends processes now, whatever they do.
sub stop_all
{
	$_->{run}->signal('TERM') foreach grep { $_->{run}->pumpable } @_;
	stop_gently(@_);
	return;
}

# The server process of that type.
sub pid_of
{
	my ($node, $type) = @_;

	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type' ORDER BY random() LIMIT 1");
}

# All is delivered: also what the reactors have appended meanwhile.
sub settled
{
	my ($node, $name) = @_;

	is($node->safe_psql('postgres', "SELECT goes_wait(timeout => '150s')"), 't', "$name: goes_wait");
	is($node->safe_psql('postgres', "SELECT goes_wait(timeout => '150s')"), 't', "$name: goes_wait for what reactors have appended");
	return;
}

# What is wrong with what was delivered; all must have been.
sub wrong_deliveries
{
	my ($node) = @_;
	my $expected = 'SELECT position, type, aggregate_id, version FROM all_events';
	my $wrong = '';

	foreach my $reactor (@reactors)
	{
		my $events = $reactor eq 'log_echo' ? "$expected WHERE type = 'hot'" : $expected;
		my $got = "SELECT position, type, aggregate_id, version FROM log WHERE reactor = '$reactor'";

		$wrong .= $node->safe_psql('postgres', "SELECT '$reactor missing', x FROM ($events EXCEPT ALL $got) x ORDER BY x LIMIT 5") . "\n";
		$wrong .= $node->safe_psql('postgres', "SELECT '$reactor too much', x FROM ($got EXCEPT ALL $events) x ORDER BY x LIMIT 5") . "\n";
	}
	$wrong .= $node->safe_psql('postgres', q{
SELECT reactor, 'not in version order', l FROM (
    SELECT *, row_number() OVER (PARTITION BY reactor, type, aggregate_id ORDER BY n) AS expected FROM log) l
WHERE version <> expected ORDER BY n LIMIT 5}) . "\n";
	# parts of a reactor go at a pace of their own, and after a failure
	# (a cancelled call is one) other aggregates' events go on
	$wrong .= $node->safe_psql('postgres', q{
SELECT reactor, 'not in position order', l FROM (
    SELECT *, lag(position) OVER (PARTITION BY reactor ORDER BY n) AS before FROM log
    WHERE reactor IN (SELECT split_part(r.reactor, '.', 2) FROM goes.reactors r JOIN goes.progress p ON p.reactor = r.id
        GROUP BY r.reactor HAVING count(*) = 1 AND sum(p.failed) = 0)) l
WHERE position <= before ORDER BY n LIMIT 5}) . "\n";
	$wrong .= $node->safe_psql('postgres', q{
SELECT 'echo', h.type, h.position, e.position FROM (SELECT * FROM all_events WHERE type = 'hot') h
FULL JOIN (SELECT * FROM all_events WHERE type = 'echo' AND data ? 'version') e
ON h.aggregate_id = e.aggregate_id AND h.version = (e.data ->> 'version')::bigint AND h.version = e.version
WHERE h.id IS NULL OR e.id IS NULL LIMIT 5}) . "\n";
	$wrong .= $node->safe_psql('postgres', q{
SELECT 'version', type, aggregate_id FROM all_events GROUP BY type, aggregate_id HAVING max(version) <> count(*) OR min(version) <> 1
UNION ALL SELECT 'position', NULL, NULL FROM all_events GROUP BY position HAVING count(*) > 1
UNION ALL SELECT 'pending', aggregate_type, aggregate_id FROM goes.pending
UNION ALL SELECT 'dead letter', aggregate_type, aggregate_id FROM goes.dead_letters LIMIT 5}) . "\n";
	$wrong =~ s/\n+/\n/g;
	$wrong =~ s/^\n|\n$//g;
	return $wrong;
}

# Lines of the server's log that must not be there.
sub unexpected_log
{
	my ($node, $also_expected) = @_;
	my $expected = qr/connection to client lost|terminating connection due to unexpected postmaster exit|terminating (connection|background worker "goes [^"]*") due to administrator command|the database system is /;

	return join "\n", grep { /PANIC:|TRAP:|FATAL:|assert/i && !/FATAL:  $expected/ && !($also_expected && /$also_expected/) }
	  split /\n/, slurp_file($node->logfile);
}

# A psql that is told one thing after the other.
package GoesLoad::Session;

use PostgreSQL::Test::Utils;

sub new
{
	my ($class, $node, $database) = @_;
	my $self = bless { in => '', out => '', err => '' }, $class;

	$self->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($database // 'postgres') ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$self->{pid} = $self->ask('SELECT pg_backend_pid()');
	return $self;
}

# Returns all that it says.
sub ask
{
	my ($self, $sql) = @_;

	($self->{out}, $self->{err}) = ('', '');
	$self->{in} .= "$sql;\n\\echo done\n\\warn done\n";
	$self->{run}->pump until $self->{out} =~ /^done\n/m && $self->{err} =~ /^done\n/m;
	(my $said = $self->{out} . $self->{err}) =~ s/^done\n//mg;
	chomp $said;
	return $said;
}

sub quit
{
	my ($self) = @_;

	$self->{in} .= "\\q\n";
	$self->{run}->finish;
	return;
}

1;
