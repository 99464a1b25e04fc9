-- Registering a model: idempotent, replacing, adopting; names of all kinds.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user
CREATE VIEW registered AS
    SELECT 'aggregate ' || type AS what, concat_ws(', ', relation, events) AS how FROM goes.aggregate_types
    UNION ALL
    SELECT 'event ' || concat_ws('.', aggregate_type, action, event_version), coalesce(calculator, 'NULL') FROM goes.event_types
    UNION ALL
    SELECT 'command ' || concat_ws('.', aggregate_type, command),
        concat_ws(', ', 'build ' || build, 'validate ' || validate, 'event ' || event, target, CASE WHEN allow_deleted THEN 'deleted' END)
    FROM goes.command_types
    UNION ALL
    SELECT 'reactor ' || reactor, concat_ws(', ', mode, patterns, CASE WHEN NOT active THEN 'off' END) FROM goes.reactors;
CREATE VIEW rows_and_triggers AS
    SELECT 'aggregate_types' AS what, xmin::text AS x, ctid::text AS t FROM goes.aggregate_types
    UNION ALL SELECT 'event_types', xmin::text AS x, ctid::text AS t FROM goes.event_types
    UNION ALL SELECT 'command_types', xmin::text AS x, ctid::text AS t FROM goes.command_types
    UNION ALL SELECT 'reactors', xmin::text AS x, ctid::text AS t FROM goes.reactors
    UNION ALL SELECT tgrelid::regclass || tgname, xmin::text AS x, ctid::text AS t FROM pg_trigger;

-- What a registered model is: rows, and triggers that \d shows.
SELECT * FROM registered ORDER BY what COLLATE "C";
\d users_events
\d users

--
-- Idempotent: again, in one transaction, changes nothing
--

CREATE TEMP TABLE before AS SELECT * FROM rows_and_triggers;
BEGIN;
SET LOCAL client_min_messages = error;
SELECT goes_register_aggregate('user', 'users');
SELECT goes_register_aggregate('user', 'users', 'users_events');
SELECT goes_register_event('user', 'created', 1, calculator => 'user_created');
SELECT goes_register_event('user', 'created', 1, calculator => 'test.user_created');
SELECT goes_register_event('user', 'first_name_updated');
SELECT goes_register_command('user', 'create', validate => 'validate_create_user', build => 'create_user', target => 'new');
SELECT goes_register_command('user', 'update_first_name', 'update_first_name', 'validate_update_first_name', NULL, 'existing', false);
SELECT goes_on('{user.*}', sync => '{audit_user}');
SELECT goes_on('{user}', sync => '{test.audit_user}');
SELECT goes_on('{user.created}', async => '{say_hello}');
-- no lock on any table of the user's, none that would stop others on goes's
SELECT relation::regclass, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype = 'relation' AND (mode NOT IN ('AccessShareLock', 'SIReadLock') OR mode = 'AccessShareLock' AND relation::regclass::text ~ 'users|audit|greetings');
SELECT locktype, classid::regclass, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object';
SELECT pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
COMMIT;
SELECT * FROM rows_and_triggers EXCEPT SELECT * FROM before;
SELECT * FROM before EXCEPT SELECT * FROM rows_and_triggers;

-- What is missing is mended: a guard that somebody dropped.
DROP TRIGGER goes_guard ON users_events;
SELECT goes_register_aggregate('user', 'users');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'users_events'::regclass ORDER BY tgname COLLATE "C";

--
-- Replacing: the same key with other arguments
--

CREATE FUNCTION other_calculator(aggregate users, event goes_event) RETURNS users LANGUAGE sql
AS $$SELECT jsonb_populate_record(aggregate, event.data || '{"last_name": "of other_calculator"}')$$;
SELECT goes_register_event('user', 'first_name_updated', 1, 'other_calculator');
SELECT goes_do('user.create', id(1), '{"first_name": "Thomas", "last_name": "Ricardo"}') -> 'aggregate_version' AS version;
SELECT r.first_name, r.last_name FROM goes_execute(NULL::users, '{"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "data": {"first_name": "Other"}}') r;
SELECT goes_register_event('user', 'first_name_updated', 1, NULL);
SELECT goes_register_command('user', 'update_first_name', event => 'first_name_updated', target => 'any', allow_deleted => true);
SELECT * FROM registered WHERE what ~ 'first_name' ORDER BY what COLLATE "C";
SELECT r.version, r.first_name FROM goes_execute(NULL::users, '{"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "data": {"first_name": "-"}}') r;
SELECT goes_register_event('user', 'first_name_updated');
SELECT r.version, r.first_name FROM goes_execute(NULL::users, '{"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "data": {"first_name": "-"}}') r;

--
-- Unregistering: names are free again, tables and events stay, reactors forget
--

-- a command without build function needs its event
CALL fails($$SELECT goes_unregister_event('user', 'first_name_updated', 1)$$);
SELECT goes_register_event('user', 'first_name_updated', 2);
SELECT goes_unregister_event('user', 'first_name_updated', 1);
CALL fails($$SELECT goes_unregister_event('user', 'first_name_updated', 2)$$);
SELECT goes_unregister_command('user', 'update_first_name');
CALL fails($$SELECT goes_do('user.update_first_name', id(1))$$);
SELECT goes_unregister_event('user', 'first_name_updated', 2);
SELECT goes_unregister_aggregate('user');
SELECT * FROM registered ORDER BY what COLLATE "C";
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN ('users'::regclass, 'users_events'::regclass);
CALL fails($$SELECT goes_do('user.create', id(2))$$);
SELECT count(*) FROM users;
SELECT count(*) FROM users_events;

--
-- Adopting tables that are there
--

-- again, with the events that it had
SELECT goes_register_aggregate('user', 'users');
SELECT goes_register_event('user', 'created', 1, 'user_created');
SELECT goes_register_command('user', 'put', event => 'created', target => 'any');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'users_events'::regclass ORDER BY tgname COLLATE "C";
SELECT goes_do('user.put', id(1), '{"first_name": "Adopted"}') -> 'aggregate_version' AS version;
SELECT aggregate_version, action FROM users_events ORDER BY position;

-- a table of that shape, with columns in another order and some more; the
-- sequence is raised past its greatest position
CREATE TABLE notes (LIKE goes_base_aggregate INCLUDING ALL, note text);
CREATE TABLE notes_events (
    recorded_at timestamptz NOT NULL,
    tenant integer NOT NULL DEFAULT 7,
    data jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
    metadata jsonb NOT NULL,
    position bigint PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    aggregate_id uuid NOT NULL,
    aggregate_version bigint NOT NULL,
    action text NOT NULL,
    event_version integer NOT NULL,
    command_id uuid,
    imported boolean NOT NULL,
    note text GENERATED ALWAYS AS (data ->> 'note') STORED,
    UNIQUE (aggregate_id, aggregate_version)
);
INSERT INTO notes_events (recorded_at, data, metadata, position, id, aggregate_id, aggregate_version, action, event_version, imported)
VALUES ('2001-01-01', '{"note": "old"}', '{}', 1000, id(1000), id(1), 1, 'noted', 1, false);
INSERT INTO notes VALUES (id(1), 1, '2001-01-01', '2001-01-01', NULL, 'old');
SELECT goes_register_aggregate('note', 'notes');
SELECT goes_register_event('note', 'noted');
SELECT goes_register_command('note', 'put', event => 'noted', target => 'any');
SELECT (goes_do('note.put', id(1), '{"note": "new"}') -> 'position')::bigint > 1000 AS raised;
SELECT aggregate_version, tenant, note, position > 1000 AS raised FROM notes_events ORDER BY position;
CALL fails($$SELECT goes_unregister_aggregate('note'); SELECT goes_register_aggregate('other', 'notes', 'users_events')$$);

-- not of that shape: 42P07
CREATE TABLE drafts (LIKE goes_base_aggregate INCLUDING ALL);
CREATE TABLE drafts_events (LIKE notes_events INCLUDING ALL);
ALTER TABLE drafts_events ALTER position TYPE integer;
CALL fails($$SELECT goes_register_aggregate('draft', 'drafts')$$);
ALTER TABLE drafts_events ALTER position TYPE bigint, DROP metadata;
CALL fails($$SELECT goes_register_aggregate('draft', 'drafts')$$);
ALTER TABLE drafts_events ADD metadata jsonb;
CALL fails($$SELECT goes_register_aggregate('draft', 'drafts')$$);
DROP TABLE drafts_events;
CREATE ROLE regress_goes_other;
CREATE TABLE drafts_events (LIKE users_events INCLUDING ALL);
ALTER TABLE drafts_events OWNER TO regress_goes_other;
CALL fails($$SELECT goes_register_aggregate('draft', 'drafts')$$);
DROP TABLE drafts_events;
DROP ROLE regress_goes_other;
CREATE UNLOGGED TABLE drafts_events (LIKE users_events INCLUDING ALL);
CALL fails($$SELECT goes_register_aggregate('draft', 'drafts')$$);
DROP TABLE drafts_events;
-- a name of one's own
SELECT goes_register_aggregate('draft', 'drafts', 'history of drafts');
SELECT goes_register_aggregate('draft', 'drafts', 'history of drafts');
SELECT goes_register_aggregate('draft', 'drafts');
SELECT * FROM registered WHERE what = 'aggregate draft';

-- A table that has the events of another type is not adopted.
CALL fails($$SELECT goes_register_aggregate('second', 'users')$$);
CREATE TABLE seconds (LIKE goes_base_aggregate INCLUDING ALL);
CALL fails($$SELECT goes_register_aggregate('second', 'seconds', 'users_events')$$);

-- A type moves to another table: the old ones are released.
CREATE TABLE drafts2 (LIKE drafts INCLUDING ALL);
SELECT goes_register_aggregate('draft', 'drafts2');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid::regclass::text ~ 'drafts' ORDER BY tgrelid::regclass::text, tgname;
INSERT INTO drafts VALUES (id(1), 1, now(), now());
SELECT goes_unregister_aggregate('draft');

--
-- Functions are found by name and exact argument types, on the search path
--

CREATE SCHEMA app;
CREATE FUNCTION app.build(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN goes_event_data('created', '{"last_name": "of app"}');
CREATE FUNCTION build(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN goes_event_data('created', '{"last_name": "of test"}');
-- overloads that do not count
CREATE FUNCTION build(aggregate notes, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN NULL::goes_event_data;
CREATE FUNCTION build(aggregate users, command jsonb) RETURNS goes_event_data LANGUAGE sql RETURN NULL::goes_event_data;
CREATE FUNCTION build(aggregate users, command goes_command, more integer DEFAULT 1) RETURNS goes_event_data LANGUAGE sql RETURN NULL::goes_event_data;
CREATE FUNCTION build(aggregate anyelement, command goes_command) RETURNS goes_event_data LANGUAGE sql AS 'SELECT NULL::goes_event_data';
CREATE FUNCTION build(VARIADIC users[]) RETURNS goes_event_data LANGUAGE sql AS 'SELECT NULL::goes_event_data';
SELECT goes_register_command('user', 'one', 'build'), goes_register_command('user', 'two', 'app.build');
SET search_path = app, test, public;
SELECT goes_register_command('user', 'three', 'build'), goes_register_command('user', 'four', 'test.build'), goes_register_command('user', 'five', ' App . Build ');
SET search_path = pg_catalog;
-- stored qualified: whatever the path is now
SELECT command, build FROM goes.command_types WHERE build ~ 'build' ORDER BY 1;
SELECT public.goes_do('user.' || c, test.id(1)) -> 'data' AS data FROM pg_catalog.unnest('{one,two,three,four,five}'::text[]) c;
RESET search_path;
SET search_path = test, public;
DROP SCHEMA app CASCADE;
SELECT command FROM goes.command_types WHERE build ~ 'build' ORDER BY 1;

--
-- Names of all kinds
--

\pset format unaligned
CREATE SCHEMA "My Schema";
CREATE TYPE "My Schema"."Mood" AS ENUM ('Good', 'bad');
CREATE TABLE "My Schema"."My ""Tablé"" $1" (LIKE goes_base_aggregate INCLUDING ALL, "Name" text, "select" integer, "name" text,
    "a ""quoted"" one" "My Schema"."Mood", "naïve" boolean);
CREATE FUNCTION "My Schema"."Build It!"(aggregate "My Schema"."My ""Tablé"" $1", command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('It''s done', command.data);
CREATE FUNCTION "My Schema"."Validate.It"(aggregate "My Schema"."My ""Tablé"" $1", command goes_command) RETURNS void LANGUAGE sql
RETURN goes_require(aggregate."select" IS DISTINCT FROM 13, 'no 13');
CREATE FUNCTION "My Schema"."Réact ""To"" It"(event goes_event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'event %, % of %', event.action, event.aggregate_version, event.aggregate_type; END$$;
CREATE FUNCTION "My Schema"."trigger"() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'trigger on %', TG_TABLE_NAME; RETURN NULL; END$$;
CREATE FUNCTION "My Schema"."react, with aggregate"(aggregate "My Schema"."My ""Tablé"" $1", event goes_event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'name %', aggregate."Name"; END$$;
SELECT goes_register_aggregate('Tischgäste & Co', '"My Schema"."My ""Tablé"" $1"');
SELECT goes_register_event('Tischgäste & Co', 'It''s done'), goes_register_event('Tischgäste & Co', '%s "x" $$');
SELECT goes_register_command('Tischgäste & Co', 'do It', '"My Schema"."Build It!"', '"My Schema"."Validate.It"', target => 'any'),
    goes_register_command('Tischgäste & Co', '/ \ ''', event => '%s "x" $$', target => 'any');
SELECT goes_on('{Tischgäste & Co.It''s done}', sync => ARRAY['"My Schema"."Réact ""To"" It"', '"My Schema".trigger', '"My Schema"."react, with aggregate"']);
SELECT r."Name", r."select", r."name", r."a ""quoted"" one", r."naïve" FROM goes_execute(NULL::"My Schema"."My ""Tablé"" $1",
    '{"command": "Tischgäste & Co.do It", "data": {"Name": "Größe", "select": 1, "name": "small", "a \"quoted\" one": "Good", "naïve": true}}') r;
SELECT goes_do('Tischgäste & Co./ \ ''', data => '{"Name": "second"}') -> 'action' AS action;
CALL fails($$SELECT goes_do('Tischgäste & Co.do it')$$);
SELECT goes_do('Tischgäste & Co.do It', id(1), '{"select": 13}') -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('Tischgäste & Co.do It', id(1), '{}')$$);
SELECT * FROM registered WHERE what ~ 'Tisch|My' ORDER BY what COLLATE "C";
\d "My Schema"."My ""Tablé"" $1_events"
SELECT goes_off('"My Schema"."Réact ""To"" It"');
SELECT goes_on('{Tischgäste & Co}', sync => ARRAY['"My Schema"."Réact ""To"" It"']);
DROP FUNCTION "My Schema"."Build It!";
DROP FUNCTION "My Schema"."Build It!" CASCADE;
SET client_min_messages = warning;
DROP SCHEMA "My Schema" CASCADE;
RESET client_min_messages;
SELECT * FROM registered WHERE what ~ 'Tisch|My' ORDER BY what COLLATE "C";
\pset format aligned

-- Types differ by case, and the longest names do.
CREATE TABLE lower (LIKE goes_base_aggregate INCLUDING ALL);
CREATE TABLE "UPPER" (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('case', 'lower'), goes_register_aggregate('CASE', '"UPPER"');
SELECT goes_register_event('case', 'done', calculator => NULL), goes_register_event('CASE', 'DONE', calculator => NULL);
SELECT goes_register_command('case', 'do', event => 'done', target => 'any'), goes_register_command('CASE', 'DO', event => 'DONE', target => 'any');
SELECT goes_do('case.do') -> 'action' AS lower, goes_do('CASE.DO') -> 'action' AS upper;
CALL fails($$SELECT goes_do('CASE.do')$$);
SELECT repeat('t', 63) AS type, repeat('c', 63) AS command, repeat('a', 63) AS action, repeat('x', 60) AS relation \gset
CREATE TABLE :relation (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate(:'type', :'relation') AS events \gset
SELECT :'events';
SELECT goes_register_event(:'type', :'action');
SELECT goes_register_command(:'type', :'command', event => :'action', target => 'any');
SELECT goes_do(:'type' || '.' || :'command') ->> 'action' = :'action' AS action;
SELECT goes_register_aggregate(:'type', :'relation') = :'events'::regclass AS same;
-- another whose events table would have the same name
CREATE TABLE xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy (LIKE goes_base_aggregate INCLUDING ALL);
CALL fails($$SELECT goes_register_aggregate('y', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy')$$);
SELECT goes_register_aggregate('y', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy', 'y_events');
-- long names of functions: triggers are cut, but differ
CREATE FUNCTION reactor_with_a_name_of_the_greatest_length_that_there_can_be__1(event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE '1'; END$$;
CREATE FUNCTION reactor_with_a_name_of_the_greatest_length_that_there_can_be__2(event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE '2'; END$$;
SELECT goes_on('{case}', sync => '{reactor_with_a_name_of_the_greatest_length_that_there_can_be__2,reactor_with_a_name_of_the_greatest_length_that_there_can_be__1}');
SELECT goes_do('case.do') -> 'action' AS action;
SELECT count(DISTINCT tgname) FROM pg_trigger WHERE tgrelid = 'lower_events'::regclass AND tgname ~ 'reactor_with';
SELECT goes_off('reactor_with_a_name_of_the_greatest_length_that_there_can_be__1');
SELECT goes_do('case.do') -> 'action' AS action;

\i :end
