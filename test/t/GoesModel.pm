# A model that uses what a dump has to carry, and what must be the same after
# it was restored or upgraded.

package GoesModel;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw($model $fingerprint $data $register $path same goes_on registers_again);

# Everything that a dump has to carry: names that need quotes, extension in a
# schema of its own, partitions, row-level security, all kinds of reactors,
# command ids, and what the user added to the events tables.
our $model = <<'SQL';
CREATE ROLE owner LOGIN;
CREATE ROLE app LOGIN;
CREATE ROLE stranger LOGIN;
CREATE SCHEMA "Ext";
CREATE EXTENSION goes SCHEMA "Ext";
GRANT USAGE ON SCHEMA "Ext" TO PUBLIC;
GRANT EXECUTE ON FUNCTION "Ext".goes_forget_commands TO owner;
CREATE SCHEMA "My Schema" AUTHORIZATION owner;
GRANT USAGE ON SCHEMA "My Schema" TO PUBLIC;
SET search_path = "My Schema", "Ext";
SET ROLE owner;

CREATE TABLE "User Accounts" (
    LIKE goes_base_aggregate INCLUDING ALL,
    "Name" text NOT NULL CHECK ("Name" <> ''),
    owner name NOT NULL DEFAULT '',
    n integer NOT NULL DEFAULT 0,
    doubled integer GENERATED ALWAYS AS (n * 2) STORED,
    number integer GENERATED ALWAYS AS IDENTITY) PARTITION BY HASH (id);
CREATE TABLE part_0 PARTITION OF "User Accounts" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_1 PARTITION OF "User Accounts" FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY HASH (id);
CREATE TABLE part_1_0 PARTITION OF part_1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
ALTER TABLE "User Accounts" ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON "User Accounts" USING (owner = current_user);

CREATE FUNCTION "Create!"(aggregate "User Accounts", command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('created', jsonb_build_object('owner', current_user) || command.data);
CREATE FUNCTION validate(aggregate "User Accounts", command goes_command) RETURNS void LANGUAGE sql
RETURN goes_require(command.data ? 'Name', 'a name is needed');
CREATE FUNCTION count_up(aggregate "User Accounts", event goes_event) RETURNS "User Accounts" LANGUAGE plpgsql
AS $$ BEGIN aggregate.n = aggregate.n + 1; RETURN aggregate; END $$;

SELECT goes_register_aggregate('Account', '"User Accounts"');
SELECT goes_register_event('Account', 'created'), goes_register_event('Account', 'counted', 1, 'count_up'), goes_register_event('Account', 'counted', 2, 'count_up'),
    goes_register_event('Account', 'closed', calculator => NULL);
SELECT goes_register_command('Account', 'create', '"Create!"', 'validate', target => 'new'),
    goes_register_command('Account', 'count', event => 'counted'),
    goes_register_command('Account', 'close', event => 'closed', allow_deleted => true);
ALTER TABLE "User Accounts_events" ADD COLUMN who name DEFAULT current_user, ADD COLUMN name text GENERATED ALWAYS AS (data ->> 'Name') STORED,
    ADD CHECK (action <> 'none');
CREATE INDEX ON "User Accounts_events" (name);

-- with a partitioned events table
CREATE TABLE plain (LIKE goes_base_aggregate INCLUDING ALL, name text UNIQUE);
CREATE TABLE plain_events (
    position bigint PRIMARY KEY, id uuid NOT NULL, aggregate_id uuid NOT NULL, aggregate_version bigint NOT NULL, action text NOT NULL,
    event_version integer NOT NULL, data jsonb NOT NULL, metadata jsonb NOT NULL, command_id uuid, imported boolean NOT NULL,
    recorded_at timestamptz NOT NULL) PARTITION BY RANGE (position);
CREATE TABLE plain_events_1 PARTITION OF plain_events FOR VALUES FROM (0) TO (30);
CREATE TABLE plain_events_2 PARTITION OF plain_events DEFAULT;
SELECT goes_register_aggregate('plain', 'plain');
SELECT goes_register_event('plain', 'put');
SELECT goes_register_command('plain', 'put', event => 'put', target => 'any');

-- referring to each other
CREATE TABLE child (LIKE goes_base_aggregate INCLUDING ALL, parent uuid REFERENCES plain);
SELECT goes_register_aggregate('child', 'child', 'Happened to "child"');
SELECT goes_register_event('child', 'put');
SELECT goes_register_command('child', 'put', event => 'put', target => 'any');
ALTER TABLE "Happened to ""child""" ADD FOREIGN KEY (aggregate_id) REFERENCES child;

CREATE TABLE log (what text);
CREATE FUNCTION "React!"(event goes_event) RETURNS void LANGUAGE sql
BEGIN ATOMIC INSERT INTO log VALUES ('event ' || event.action); END;
CREATE FUNCTION react_state(aggregate plain, event goes_event) RETURNS void LANGUAGE plpgsql SET search_path = "My Schema"
AS $$ BEGIN INSERT INTO log VALUES ('state ' || aggregate.version); END $$;
CREATE FUNCTION react_row() RETURNS trigger LANGUAGE plpgsql SET search_path = "My Schema"
AS $$ BEGIN INSERT INTO log VALUES ('row ' || NEW.aggregate_version); RETURN NULL; END $$;
CREATE FUNCTION later(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
SELECT goes_on('{*}', sync => '{"\"React!\""}');
SELECT goes_on('{plain.put,Account.counted.1,Account.counted.2}', sync => '{react_row}');
SELECT goes_on('{plain}', sync => '{react_state}');
SELECT goes_on('{plain.put}', async => '{later}', outside => '{mailer,spooler}', start => 3);
SELECT goes_off('spooler');

GRANT SELECT, INSERT, UPDATE ON "User Accounts", plain, child TO app, stranger;
GRANT SELECT, INSERT ON "User Accounts_events", plain_events, "Happened to ""child""", log TO app, stranger;
REVOKE EXECUTE ON FUNCTION "Create!" FROM PUBLIC;
GRANT EXECUTE ON FUNCTION "Create!" TO app, stranger;

SET ROLE app;
SELECT goes_do('Account.create', ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, '{"Name": "x"}') FROM generate_series(1, 10) i;
SELECT goes_do('Account.count', ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid) FROM generate_series(1, 5) i;
SELECT goes_do('plain.put', ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, jsonb_build_object('name', i),
    command_id => ('00000000-0000-0000-0001-' || lpad(i::text, 12, '0'))::uuid) FROM generate_series(1, 20) i;
SELECT goes_do('child.put', ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid,
    jsonb_build_object('parent', ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid)) FROM generate_series(1, 3) i;
SQL

# What is the same in the source and in what was restored
our $fingerprint = <<'SQL';
SET search_path = pg_catalog;
SELECT 'aggregate type', t FROM goes.aggregate_types t ORDER BY type;
SELECT 'event type', t FROM goes.event_types t ORDER BY 2;
SELECT 'command type', to_jsonb(t) - 'id' FROM goes.command_types t ORDER BY 2;
-- the id is new when it is registered again
SELECT 'reactor', reactor, to_jsonb(t) - 'id' FROM goes.reactors t ORDER BY 2;
SELECT 'command', t FROM goes.commands t ORDER BY 2;
SELECT 'position', last_value, is_called FROM goes.position;
SELECT 'trigger', pg_get_triggerdef(oid), tgenabled, tgparentid <> 0 FROM pg_trigger WHERE NOT tgisinternal ORDER BY 2, 3;
SELECT 'policy', p FROM pg_policies p ORDER BY 2;
SELECT 'relation', oid::regclass::text, relowner::regrole, relrowsecurity, relforcerowsecurity,
    (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a)
FROM pg_class WHERE relkind IN ('r', 'p', 'S') AND relnamespace::regnamespace::text IN ('"My Schema"', 'goes') ORDER BY 2;
SELECT 'function', oid::regprocedure::text, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(proacl) a)
FROM pg_proc WHERE pronamespace::regnamespace::text IN ('"My Schema"', '"Ext"', 'goes') ORDER BY 2;
SELECT 'event trigger', evtname, evtenabled, evtfoid::regprocedure, evttags FROM pg_event_trigger ORDER BY 2;
SELECT 'member', pg_describe_object(classid, objid, 0) FROM pg_depend WHERE deptype = 'e' AND classid <> 'pg_type'::regclass ORDER BY 2;
SQL
our $data = <<'SQL';
SELECT 'account', t FROM "My Schema"."User Accounts" t ORDER BY id;
SELECT 'account event', t FROM "My Schema"."User Accounts_events" t ORDER BY position;
SELECT 'plain', t FROM "My Schema".plain t ORDER BY id;
SELECT 'plain event', t FROM "My Schema".plain_events t ORDER BY position;
SELECT 'child', t FROM "My Schema".child t ORDER BY id;
SELECT 'child event', t FROM "My Schema"."Happened to ""child""" t ORDER BY position;
SQL

# Registering it all again
our ($register) = $model =~ /(SELECT goes_register_aggregate.*)GRANT SELECT, INSERT, UPDATE/s;
$register = join "\n", grep { /;/ } map { "$_;" } grep { /goes_(register_|on\()/ } split /;\s*/, $register;
$register =~ s/^--.*$//mg;
our $path = 'SET search_path = "My Schema", "Ext"; SET client_min_messages = error;';

# Compares lines and shows only those that differ.
sub same
{
	my ($got, $expected, $name) = @_;
	my (%got, %expected);

	$got{$_}++ foreach split /\n/, $got;
	$expected{$_}++ foreach split /\n/, $expected;
	my @missing = grep { !$got{$_} } sort keys %expected;
	my @unexpected = grep { !$expected{$_} } sort keys %got;
	ok($got eq $expected, $name);
	diag(join "\n", map({ "missing: $_" } @missing), map({ "unexpected: $_" } @unexpected)) if $got ne $expected;
	return;
}

# Commands go on, in the right order and under the same guards.
sub goes_on
{
	my ($target, $name) = @_;
	my $execute = sub {
		my ($sql) = @_;
		return $target->safe_psql($name, "$path SET ROLE app; $sql");
	};

	my ($last) = $target->safe_psql($name, q{
		SELECT max(position) FROM (SELECT position FROM "My Schema"."User Accounts_events"
			UNION ALL SELECT position FROM "My Schema".plain_events
			UNION ALL SELECT position FROM "My Schema"."Happened to ""child""") p});
	my $position = $last;
	is($execute->(q{
		SELECT e ->> 'position', e ->> 'aggregate_version'
		FROM goes_do('plain.put', '00000000-0000-0000-0000-000000000001', '{"name": "new"}') e}),
		++$position . '|2', "$name: next position and version");
	is($execute->(q{
		SELECT e ->> 'position', e ->> 'aggregate_version', e ->> 'event_version'
		FROM goes_do('Account.count', '00000000-0000-0000-0000-000000000001') e}),
		++$position . '|3|2', "$name: next position and version of another type");
	is($execute->(q{SELECT n, doubled, version FROM "User Accounts" WHERE id = '00000000-0000-0000-0000-000000000001'}),
		'2|4|3', "$name: calculated on");
	is($execute->(q{
		SELECT e ->> 'aggregate_version', (e ->> 'position')::int > 10, e -> 'data'
		FROM goes_do('plain.put', '00000000-0000-0000-0000-000000000007', '{"name": "other"}', command_id => '00000000-0000-0000-0001-000000000007') e}),
		'1|t|{"name": 7}', "$name: a command id that was used");
	is($execute->(q{SELECT array_agg(what) FROM (SELECT what FROM log ORDER BY ctid DESC LIMIT 5) l}),
		'{"row 3","event counted","state 2","row 2","event put"}', "$name: reactors");
	$position++;
	$execute->(q{SELECT goes_do('plain.put', gen_random_uuid(), '{"name": "one more"}')});
	is($target->safe_psql($name, 'SELECT last_value FROM goes.position'), $position, "$name: the sequence");

	foreach my $write (
		q{INSERT INTO "User Accounts" SELECT * FROM "User Accounts"}, q{UPDATE part_0 SET version = 7},
		q{DELETE FROM part_1_0}, q{TRUNCATE part_1_0}, q{TRUNCATE plain CASCADE},
		q{UPDATE plain_events SET action = 'x'}, q{TRUNCATE plain_events_1}, q{DELETE FROM "User Accounts_events"})
	{
		my ($stdout, $stderr);
		$target->psql($name, "$path $write", stderr => \$stderr);
		like($stderr, qr/cannot write to|generated|identity/, "$name: refused: $write");
	}

	is($target->safe_psql($name, "$path SET ROLE stranger;" . q{
		SELECT count(*), (SELECT count(*) FROM "User Accounts_events"), (SELECT count(*) FROM plain) FROM "User Accounts"}),
		'0|0|21', "$name: policies");
	return;
}

# Registering again finds everything as it is to be.
sub registers_again
{
	my ($target, $name) = @_;
	my $state = q{
		SELECT 'aggregate', xmin, t::text FROM goes.aggregate_types t UNION ALL
		SELECT 'event', xmin, t::text FROM goes.event_types t UNION ALL
		SELECT 'command', xmin, t::text FROM goes.command_types t UNION ALL
		SELECT 'reactor', xmin, t::text FROM goes.reactors t WHERE active UNION ALL
		SELECT 'trigger', xmin, ROW(tgname, tgrelid)::text FROM pg_trigger UNION ALL
		SELECT 'policy', xmin, ROW(polname, polrelid)::text FROM pg_policy UNION ALL
		SELECT 'class', xmin, ROW(relname, relrowsecurity)::text FROM pg_class WHERE relkind IN ('r', 'p') ORDER BY 1, 3};
	# not spooler, which is off
	(my $again = $register) =~ s/,spooler//;
	my $before = $target->safe_psql($name, $state);

	$target->safe_psql($name, "$path SET ROLE owner; $again");
	same($target->safe_psql($name, $state), $before, "$name: registering again changes nothing");
	return;
}

1;
