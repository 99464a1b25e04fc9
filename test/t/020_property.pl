# Whatever the model and whatever is executed: replaying the events gives what is
# stored, the history of an aggregate is what it was at the time, and events that
# are imported into an empty database with the same model give the same read
# model.  Models, commands and upcasters are made up at random; the seed is fixed.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $SEED = 20;
my $TYPES = 8;
my $COMMANDS = 5000;
my $IDS = 30;	# aggregates of a type

srand($SEED);

sub pick
{
	return $_[ rand @_ ];
}

sub chance
{
	my ($percent) = @_;

	return rand(100) < $percent;
}

# ---------------------------------------------------------------------------
# Columns.  value: one as JSON, for goes_merge; step: an expression for the next
# value from the column and a field of the data, for calculators.
# ---------------------------------------------------------------------------

my %kinds = (
	'integer' => {
		value => sub { int(rand 2000) - 1000 },
		step => sub { "coalesce($_[0], 0) + coalesce($_[1]::integer, 1)" } },
	'bigint' => {
		value => sub { int(rand 1e15) },
		step => sub { "(coalesce($_[0], 7) * 31 + coalesce($_[1]::bigint, 1)) % 1000000007" } },
	'numeric(12,2)' => {
		value => sub { pick('1.005', '-2.5', '1e3', sprintf('%.4f', rand 1000)) },
		step => sub { "(coalesce($_[0], 0) * 1.37 + coalesce($_[1]::numeric, 0.005)) % 1000000" } },
	'double precision' => {
		value => sub { sprintf '%.10g', rand(10)**int(rand 20) },
		step => sub { "coalesce($_[0], 1) / 3 + coalesce($_[1]::float8, 0.1)" } },
	'boolean' => {
		value => sub { pick('true', 'false') },
		step => sub { "NOT coalesce($_[0], $_[1]::boolean)" } },
	'text' => {
		value => sub { '"' . pick('', 'a', 'Ä\u00e9', 'x' x 3000, '\\"q\\"', int rand 100) . '"' },
		step => sub { pick("right(coalesce($_[0], '') || coalesce($_[1], '-'), 300)", 'event.recorded_at::text',
			"(event.recorded_at - timestamptz '2000-01-01')::text", "coalesce($_[0], '') || aggregate.version", "event.metadata::text") } },
	'varchar(8)' => {
		value => sub { '"' . pick('short', '12345678', 'trailing          ') . '"' },
		step => sub { "right(coalesce($_[0], '') || coalesce($_[1], '+'), 8)" } },
	'char(5)' => {
		value => sub { '"' . pick('ab', 'abcde') . '"' },
		step => sub { "left(coalesce($_[1], '') || coalesce($_[0], 'z'), 3)" } },
	'jsonb' => {
		value => sub { pick('{"a": [1, {"b": null}]}', '[]', '"x"', '1.10', '{}') },
		step => sub { "jsonb_build_object('data', event.data, 'version', event.aggregate_version)" } },
	'text[]' => {
		value => sub { pick('[]', '["a", null, "b c"]', '["{}"]') },
		step => sub { "($_[0] || $_[1])[greatest(1, coalesce(cardinality($_[0]), 0) - 3):]" } },
	'timestamptz' => {
		value => sub { '"' . pick('2020-02-29T12:00:00Z', '2020-07-01 00:00:00+05:30', '1999-12-31T23:59:59.999999') . '"' },
		step => sub { 'event.recorded_at + interval \'1 day\' * event.aggregate_version' } },
	'date' => {
		value => sub { '"' . pick('2020-02-29', '1970-01-01') . '"' },
		step => sub { pick('event.recorded_at::date', "coalesce($_[0], '2000-01-01') + 1") } },
	'interval' => {
		value => sub { '"' . pick('1 day 02:03:04', '-1 mon', 'P1Y2M') . '"' },
		step => sub { "coalesce($_[0], '0') + interval '1 hour 30 min'" } },
	'small' => {
		value => sub { int rand 60 },
		step => sub { "(coalesce($_[0], 0) + 13) % 50" } },
	'mood' => {
		value => sub { '"' . pick('sad', 'ok', 'happy') . '"' },
		step => sub { "CASE $_[0] WHEN 'sad' THEN 'ok' WHEN 'ok' THEN 'happy' ELSE 'sad' END" } });

my %defaults = ('integer' => '42', 'text' => "'default'", 'boolean' => 'false', 'text[]' => "'{}'", 'jsonb' => "'[]'", 'numeric(12,2)' => '0', 'timestamptz' => 'now()');

sub quoted
{
	my ($name) = @_;

	return '"' . ($name =~ s/"/""/gr) . '"';
}

# ---------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------

sub make_type
{
	my ($n) = @_;
	my %type = (name => pick('type', 'Type', 'a type') . " $n", table => pick('t', 'T', 'my "t') . $n, n => $n);

	foreach my $i (1 .. 3 + int rand 6)
	{
		my $kind = pick(sort keys %kinds);
		my $default = chance(50) ? $defaults{$kind} : undef;
		my $not_null = defined $default && $default ne 'now()' && chance(30);

		push @{ $type{columns} }, { name => pick('c', 'C', 'a "c" ') . $i, kind => $kind, default => $default, not_null => $not_null };
	}
	return \%type;
}

# A calculator that takes a step in some of the columns: in PL/pgSQL, or in SQL
# that is inlined, which gives all columns.
sub make_calculator
{
	my ($type, $name) = @_;
	my $table = quoted($type->{table});
	my $head = "CREATE FUNCTION $name(aggregate $table, event goes_event) RETURNS $table LANGUAGE";
	my %steps = map {
		my $field = '(event.data ->> ' . "'" . ($_->{name} =~ s/'/''/gr) . "')";
		$_->{name} => $kinds{ $_->{kind} }{step}->('aggregate.' . quoted($_->{name}), $field)
	} grep { chance(50) } @{ $type->{columns} };

	$steps{steps} = 'aggregate.steps + 1';
	return "$head plpgsql AS \$\$\nBEGIN\n"
		. join('', map { '    aggregate.' . quoted($_) . " := $steps{$_};\n" } sort keys %steps)
		. "    RETURN aggregate;\nEND \$\$;\n" if chance(50);
	return "$head sql AS \$\$\nSELECT ROW("
		. join(', ', map { $steps{$_} // ($_ eq 'doubled' || $_ eq 'number' ? 'NULL' : 'aggregate.' . quoted($_)) } @{ $type->{all_columns} })
		. ")::$table \$\$;\n";
}

# Its tables: with what is not goes's, a dropped column, in partitions.
sub table_sql
{
	my ($type) = @_;
	my $table = quoted($type->{table});
	my $events = quoted("$type->{table}_events");
	my $partitioned = chance(30);
	my $sql = "CREATE TABLE $table (gone text, LIKE goes_base_aggregate INCLUDING ALL, steps integer NOT NULL DEFAULT 0, total integer DEFAULT 0";

	foreach my $column (@{ $type->{columns} })
	{
		$sql .= ', ' . quoted($column->{name}) . " $column->{kind}";
		$sql .= " DEFAULT $column->{default}" if defined $column->{default};
		$sql .= ' NOT NULL' if $column->{not_null};
	}
	my @computed = ((chance(50) ? 'doubled' : ()), (!$partitioned && chance(50) ? 'number' : ()));
	$sql .= ', gone_too integer, doubled integer GENERATED ALWAYS AS (steps * 2) STORED' if grep { $_ eq 'doubled' } @computed;
	$sql .= ', number integer GENERATED ' . pick('ALWAYS', 'BY DEFAULT') . ' AS IDENTITY' if grep { $_ eq 'number' } @computed;
	$sql .= ')' . ($partitioned ? ' PARTITION BY HASH (id)' : '') . ";\n";
	$sql .= join '', map { "CREATE TABLE parts_$type->{n}_$_ PARTITION OF $table FOR VALUES WITH (MODULUS 2, REMAINDER $_);\n" } 0, 1 if $partitioned;
	my $dropped = chance(50);
	$sql .= "ALTER TABLE $table DROP COLUMN gone;\n" if $dropped;
	$type->{all_columns} = [ ($dropped ? () : 'gone'), qw(id version created_at updated_at deleted_at steps total), (map { $_->{name} } @{ $type->{columns} }),
		(map { $_ eq 'doubled' ? ('gone_too', $_) : $_ } @computed) ];
	$sql .= <<SQL if chance(30);
CREATE TABLE $events (recorded_at timestamptz NOT NULL, extra text DEFAULT 'x', position bigint NOT NULL, id uuid NOT NULL, aggregate_id uuid NOT NULL,
    aggregate_version bigint NOT NULL, action text NOT NULL, event_version integer NOT NULL, data jsonb NOT NULL, metadata jsonb NOT NULL, command_id uuid,
    imported boolean NOT NULL, UNIQUE (aggregate_id, aggregate_version)) PARTITION BY HASH (aggregate_id);
CREATE TABLE events_$type->{n}_0 PARTITION OF $events FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_$type->{n}_1 PARTITION OF $events FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SQL
	return $sql;
}

# The commands and events that every type has.
sub common_sql
{
	my ($type) = @_;
	my ($name, $table, $n) = ($type->{name}, quoted($type->{table}), $type->{n});

	return <<SQL;
SELECT goes_register_aggregate('$name', '$table');
CREATE FUNCTION remove_$n(aggregate $table, event goes_event) RETURNS $table LANGUAGE plpgsql
AS \$\$ BEGIN aggregate.deleted_at := event.recorded_at; RETURN aggregate; END \$\$;
CREATE FUNCTION restore_$n(aggregate $table, event goes_event) RETURNS $table LANGUAGE plpgsql
AS \$\$ BEGIN aggregate.deleted_at := NULL; aggregate.steps := aggregate.steps - 1; RETURN aggregate; END \$\$;
CREATE FUNCTION evolve_$n(aggregate $table, event goes_event) RETURNS $table LANGUAGE plpgsql
AS \$\$ BEGIN aggregate.total := aggregate.total + (event.data ->> 'n')::integer; RETURN aggregate; END \$\$;
CREATE FUNCTION build_$n(aggregate $table, command goes_command) RETURNS goes_event_data LANGUAGE sql AS \$\$
SELECT CASE WHEN NOT command.data ? 'nothing' THEN
    goes_event_data(split_part(command.name, '.', 2), command.data || jsonb_build_object('was', aggregate.version), (command.data ->> 'version')::integer) END \$\$;
CREATE FUNCTION validate_$n(aggregate $table, command goes_command) RETURNS void LANGUAGE sql
AS \$\$ SELECT goes_require(NOT command.data ? 'reject', 'rejected') \$\$;
SELECT goes_register_event('$name', 'created'), goes_register_event('$name', 'put'), goes_register_event('$name', 'noted', 1, NULL),
    goes_register_event('$name', 'removed', 1, 'remove_$n'), goes_register_event('$name', 'restored', 1, 'restore_$n'), goes_register_event('$name', 'evolved', 1, 'evolve_$n');
SELECT goes_register_command('$name', 'created', 'build_$n', target => 'new'), goes_register_command('$name', 'put', 'build_$n', 'validate_$n', target => 'any'),
    goes_register_command('$name', 'noted', event => 'noted'), goes_register_command('$name', 'removed', event => 'removed'),
    goes_register_command('$name', 'restored', event => 'restored', allow_deleted => true), goes_register_command('$name', 'evolved', 'build_$n', target => 'any');
SQL
}

# What each event left is noted by a reactor, under settings that do not change;
# another one executes a command.
sub reactors_sql
{
	my ($type) = @_;
	my ($name, $table, $n) = ($type->{name}, quoted($type->{table}), $type->{n});

	return <<SQL;
CREATE FUNCTION note_$n(aggregate $table, event goes_event) RETURNS void LANGUAGE sql SET TimeZone = 'UTC' SET DateStyle = 'ISO, MDY' SET IntervalStyle = 'postgres' AS \$\$
INSERT INTO seen SELECT $n, t.id, t.version, t::text, aggregate::text FROM $table t WHERE t.id = aggregate.id \$\$;
CREATE FUNCTION react_$n(event goes_event) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
    IF event.data ? 'follow' THEN
        PERFORM goes_do('$name.put', (event.data ->> 'follow')::uuid, event.data - 'follow');
    END IF;
END \$\$;
SELECT goes_on(ARRAY['$name'], sync => '{note_$n, react_$n}');
SQL
}

# In the middle of its life, an event gets new versions, which mean the same.
sub evolution_sql
{
	my ($type) = @_;
	my ($name, $table, $n) = ($type->{name}, quoted($type->{table}), $type->{n});
	my @bodies = ("(event.data ->> 'amount')::integer", "(SELECT sum(a::integer) FROM jsonb_array_elements_text(event.data -> 'amounts') a)");
	my @upcasters = ("(data - 'n') || jsonb_build_object('amount', data -> 'n')", "(data - 'amount') || jsonb_build_object('amounts', jsonb_build_array(data -> 'amount'))");
	my $sql = '';

	foreach my $i (0 .. $type->{evolutions} - 1)
	{
		my ($from, $to) = ($i + 1, $i + 2);

		$sql .= <<SQL;
CREATE FUNCTION evolve_${n}_$to(aggregate $table, event goes_event) RETURNS $table LANGUAGE plpgsql
AS \$\$ BEGIN aggregate.total := aggregate.total + $bodies[$i]; RETURN aggregate; END \$\$;
CREATE FUNCTION upcast_${n}_$from(data jsonb) RETURNS jsonb LANGUAGE sql RETURN $upcasters[$i];
SELECT goes_register_event('$name', 'evolved', $to, 'evolve_${n}_$to');
SELECT goes_register_upcaster('$name', 'evolved', $from, 'upcast_${n}_$from');
SQL
		# the calculator of what is upcast is needed no more
		$sql .= "SELECT goes_unregister_event('$name', 'evolved', $from);\n" if $type->{forgets};
	}
	return $sql;
}

my @types = map { make_type($_) } 1 .. $TYPES;
my $model = <<'SQL';
CREATE EXTENSION goes;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN small AS integer CHECK (VALUE < 50);
SQL
my $evolution = '';

foreach my $type (@types)
{
	$type->{steps} = [ map { "step_$_" } 1 .. 1 + int rand 4 ];
	$type->{evolutions} = int rand 3;
	$type->{forgets} = chance(50);
	$model .= table_sql($type) . common_sql($type);
	foreach my $step (@{ $type->{steps} })
	{
		$model .= make_calculator($type, "${step}_$type->{n}");
		$model .= "SELECT goes_register_event('$type->{name}', '$step', 1, '${step}_$type->{n}'), goes_register_command('$type->{name}', '$step', "
			. pick("event => '$step'", "'build_$type->{n}'", "'build_$type->{n}', 'validate_$type->{n}'") . ", target => '" . pick('existing', 'any') . "');\n";
	}
	$evolution .= evolution_sql($type);
}

# ---------------------------------------------------------------------------
# Commands
# ---------------------------------------------------------------------------

sub random_id
{
	return sprintf '00000000-0000-0000-0000-%012d', 1 + int rand $IDS;
}

# A value of each column, more or less; sometimes one that does not fit, and keys
# that no column has, or that are goes's.
sub random_data
{
	my ($type) = @_;
	my %data;

	foreach my $column (@{ $type->{columns} })
	{
		next if chance(40);
		$data{ $column->{name} } = chance(2) ? pick('null', '"no such thing"', '[[]]') : $kinds{ $column->{kind} }{value}->();
	}
	$data{ pick('id', 'version', 'created_at', 'deleted_at', 'doubled', 'number', 'other') } = pick('1', '"x"') if chance(10);
	$data{reject} = 1 if chance(2);
	$data{nothing} = 1 if chance(2);
	$data{follow} = '"' . random_id() . '"' if chance(3);
	return \%data;
}

sub json_object
{
	my ($data) = @_;

	return '{' . join(', ', map { '"' . (s/(["\\])/\\$1/gr) . "\": $data->{$_}" } sort keys %$data) . '}';
}

sub random_command
{
	my ($evolved) = @_;
	my $type = pick(@types);
	my $name = pick('created', ('put') x 4, 'noted', ('evolved') x 3, 'removed', ('restored') x 2, (@{ $type->{steps} }) x 3);
	my $data = random_data($type);
	my %document = (command => "\"$type->{name}.$name\"", aggregate_id => '"' . random_id() . '"');

	if ($name eq 'evolved')
	{
		# stored in the version of the day
		my $version = $evolved ? $type->{evolutions} + 1 : 1;
		my $n = int rand 100;

		# one that is forgotten cannot be asked for
		delete $data->{version} if $evolved && $type->{forgets};
		$data->{ ('n', 'amount', 'amounts')[ $version - 1 ] } = $version == 3 ? "[$n, 1]" : $n;
	}
	$document{data} = json_object($data);
	$document{metadata} = '{"request": ' . int(rand 10) . '}' if chance(20);
	$document{expected_version} = int rand 5 if chance(5);
	return json_object(\%document);
}

sub literal
{
	my ($string) = @_;

	return "'" . ($string =~ s/'/''/gr) . "'";
}

# A command, or several at once; in all the ways that transactions can go.
sub random_statements
{
	my ($evolved) = @_;
	my @calls = map { 'CALL run(' . literal(chance(15) ? '[' . join(', ', map { random_command($evolved) } 1 .. 1 + int rand 4) . ']' : random_command($evolved)) . ');' }
		1 .. (chance(30) ? 1 + int rand 6 : 1);

	@calls = map { chance(10) ? ('SAVEPOINT s;', $_, pick('RELEASE s;', 'ROLLBACK TO s;')) : $_ } @calls if @calls > 1;
	@calls = ('BEGIN' . pick('', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE') . ';', @calls, chance(10) ? 'ROLLBACK;' : 'COMMIT;') if @calls > 1;
	@calls = ("SET TimeZone = '" . pick('UTC', 'Asia/Kathmandu', 'America/New_York') . "'; SET DateStyle = '" . pick('ISO, MDY', 'German', 'SQL, DMY') . "'; SET IntervalStyle = '"
		. pick('postgres', 'sql_standard') . "';", @calls) if chance(5);
	return @calls;
}

sub random_session
{
	my ($count, $evolved) = @_;
	my @statements;

	while (grep({ /^CALL/ } @statements) < $count)
	{
		push @statements, random_statements($evolved) for 1 .. 100;
	}
	return join "\n", @statements;
}

# ---------------------------------------------------------------------------
# The test
# ---------------------------------------------------------------------------

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'");
$node->start;

sub query
{
	my ($sql, $database) = @_;

	return $node->safe_psql($database || 'postgres', "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres';\n$sql");
}

query($model);
query(<<'SQL' . join '', map { reactors_sql($_) } @types);
CREATE TABLE seen (type integer, id uuid, version bigint, stored text, given text);
CREATE TABLE outcomes (state text, message text);
-- what fails is undone; the rest goes on
CREATE PROCEDURE run(document jsonb) LANGUAGE plpgsql AS $$
BEGIN
    IF jsonb_typeof(document) = 'array' THEN
        PERFORM goes_execute_many(document);
    ELSE
        PERFORM goes_execute(document);
    END IF;
    INSERT INTO outcomes VALUES ('00000');
EXCEPTION WHEN OTHERS THEN
    INSERT INTO outcomes VALUES (SQLSTATE, SQLERRM);
END $$;
SQL
query(random_session($COMMANDS / 2, 0));
query($evolution);
query(random_session($COMMANDS / 2, 1));

note query('SELECT state, count(*), min(message) FROM outcomes GROUP BY 1 ORDER BY 2 DESC');
cmp_ok(query("SELECT count(*) FROM outcomes WHERE state = '00000'"), '>', $COMMANDS / 3, 'many commands succeed');
is(query(q{SELECT DISTINCT state, message FROM outcomes WHERE state !~ '^(00000|OG00[1-5]|22...|23502|23514|428..)$'}), '', 'and fail only as they should');

my $versions = 0;

foreach my $type (@types)
{
	my ($name, $table, $n) = ($type->{name}, quoted($type->{table}), $type->{n});
	my $history = "SELECT h.version, h::text FROM $table t, goes_history(NULL::$table, t.id) h";

	is(query("SELECT * FROM goes_verify('$name')"), '', "$name: replaying gives what is stored");
	is(query("SELECT count(*) FROM $table WHERE goes_replay('$name', id)"), '0', "$name: a replay changes nothing");
	is(query("SELECT id, version, stored, given FROM seen WHERE type = $n AND stored <> given LIMIT 3"), '', "$name: what a reactor gets is what is stored");
	is(query("SELECT version, stored FROM seen WHERE type = $n EXCEPT ALL $history LIMIT 3"), '', "$name: all that was is in the history");
	is(query("$history EXCEPT ALL SELECT version, stored FROM seen WHERE type = $n LIMIT 3"), '', "$name: all that is in the history was");
	is(query("SELECT t.id FROM $table t WHERE t::text IS DISTINCT FROM goes_aggregate_at(NULL::$table, t.id)::text LIMIT 3"), '', "$name: the last of it is now");
	$versions += query("SELECT count(*) FROM seen WHERE type = $n");
}
cmp_ok($versions, '>', $COMMANDS / 3, "$versions versions");

# Elsewhere, in one go or in several, with much memory or little.
my $columns = "aggregate_id, action, event_version, data, metadata, recorded_at";

query('CREATE DATABASE elsewhere');
query($model, 'elsewhere');
query($evolution, 'elsewhere');
foreach my $type (@types)
{
	my ($name, $table) = ($type->{name}, quoted($type->{table}));
	my $events = quoted("$type->{table}_events");
	my $slice = pick(1, 7, 50, 300, 1000000);
	my $file = $node->basedir . "/events_$type->{n}.json";
	my $rows = "SELECT (to_jsonb(t) - 'number')::text FROM $table t ORDER BY id";
	my $stored = "SELECT aggregate_version, $columns FROM $events ORDER BY position";
	my $past = "SELECT h.version, (to_jsonb(h) - 'number')::text FROM $table t, goes_history(NULL::$table, t.id) h ORDER BY t.id, h.version";

	append_to_file($file, query(<<SQL));
SELECT jsonb_agg(events ORDER BY slice) FROM (
    SELECT slice, jsonb_agg(to_jsonb(e) - 'position' - 'slice' ORDER BY position) AS events
    FROM (SELECT position, row_number() OVER (ORDER BY position) / $slice AS slice, $columns FROM $events) AS e GROUP BY slice) AS slices
SQL
	query('SET maintenance_work_mem = ' . pick(1024, 65536) . <<SQL, 'elsewhere');
; DO \$\$
DECLARE
    slice jsonb;
BEGIN
    FOR slice IN SELECT jsonb_array_elements(pg_read_file('$file')::jsonb) LOOP
        PERFORM goes_import('$name', slice);
    END LOOP;
END \$\$
SQL
	is(query($stored, 'elsewhere'), query($stored), "$name: the same events elsewhere, in slices of $slice");
	is(query($rows, 'elsewhere'), query($rows), "$name: the same aggregates");
	is(query($past, 'elsewhere'), query($past), "$name: the same history");
	is(query("SELECT * FROM goes_verify('$name')", 'elsewhere'), '', "$name: replaying gives the same");
}

$node->stop;
done_testing();
