-- Hostile names: whatever is on the search path, goes means what it means.
-- Here the extension lives in a schema of its own.
\getenv srcdir PG_ABS_SRCDIR
\set end :srcdir '/sql/include/end.sql'
SET client_min_messages = error;
CREATE SCHEMA app;
CREATE EXTENSION goes SCHEMA app;
RESET client_min_messages;
CREATE SCHEMA test;

-- A schema with functions, operators, types and relations named as PostgreSQL's
-- own and goes's, which comes before pg_catalog. All of them raise when used.
CREATE SCHEMA hostile;
SET search_path = hostile, test;
CREATE PROCEDURE hostile.make(signature text, result text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION hostile.%s RETURNS %s LANGUAGE plpgsql AS %L', signature, result,
        format('BEGIN RAISE %L; END', 'hostile ' || signature));
END $$;
DO $$
DECLARE
    t text;
    f text;
BEGIN
    -- operators on the types that goes compares
    FOREACH t IN ARRAY '{uuid,text,int8,int4,name,oid,regclass,timestamptz,bool,"\"char\"","text[]"}'::text[] LOOP
        FOREACH f IN ARRAY '{=,<,<>,>}'::text[] LOOP
            CALL hostile.make(format('"%s"(a pg_catalog.%s, b pg_catalog.%2$s)', f, t), 'pg_catalog.bool');
            EXECUTE format('CREATE OPERATOR hostile.%s (FUNCTION = hostile."%1$s", LEFTARG = pg_catalog.%s, RIGHTARG = pg_catalog.%2$s)', f, t);
        END LOOP;
    END LOOP;
    CALL hostile.make('"="(a pg_catalog.oid, b integer)', 'pg_catalog.bool');
    CREATE OPERATOR hostile.= (FUNCTION = hostile."=", LEFTARG = oid, RIGHTARG = integer);
    CALL hostile.make('"||"(a text, b text)', 'text');
    CREATE OPERATOR hostile.|| (FUNCTION = hostile."||", LEFTARG = text, RIGHTARG = text);
    -- functions that goes's statements might call
    CALL hostile.make('max(bigint)', 'bigint');
    CALL hostile.make('now()', 'timestamptz');
    CALL hostile.make('nextval(regclass)', 'bigint');
    CALL hostile.make('jsonb_populate_record(anyelement, jsonb)', 'anyelement');
    CALL hostile.make('pg_event_trigger_ddl_commands(OUT objid oid, OUT classid oid, OUT object_type text)', 'record');
    CALL hostile.make('pg_event_trigger_dropped_objects(OUT objid oid, OUT object_type text, OUT address_names text[])', 'record');
    -- goes's own
    FOREACH f IN ARRAY '{goes_merge,guard_events,guard_aggregate,react,registry_changed}'::text[] LOOP
        CALL hostile.make(f || '()', 'trigger');
    END LOOP;
    CALL hostile.make('goes_uuidv7()', 'uuid');
END $$;
-- types and tables
CREATE TYPE hostile.uuid AS (a integer);
CREATE DOMAIN hostile.jsonb AS pg_catalog.text CHECK (VALUE = 'never');
CREATE TYPE hostile.text AS ENUM ('hostile');
CREATE DOMAIN hostile.int8 AS pg_catalog.int4;
CREATE DOMAIN hostile.bool AS pg_catalog.text;
CREATE DOMAIN hostile.timestamptz AS pg_catalog.date;
CREATE TYPE hostile.regclass AS (a integer);
CREATE TYPE hostile.goes_event AS (a integer);
CREATE TYPE hostile.goes_command AS (a integer);
CREATE TYPE hostile.goes_event_data AS (a integer);
CREATE TABLE hostile.goes_base_aggregate (a integer);
CREATE TABLE hostile.aggregate_types (type pg_catalog.text, relation pg_catalog.regclass, events pg_catalog.regclass);
CREATE TABLE hostile.event_types (a integer);
CREATE TABLE hostile.command_types (a integer);
CREATE TABLE hostile.reactors (a integer);
CREATE TABLE hostile.commands (a integer);
CREATE TABLE hostile.pg_policy (polrelid pg_catalog.oid, polname pg_catalog.name);
CREATE SEQUENCE hostile.position START 1000000;

-- A model, defined in good order
SET search_path = test, app, pg_catalog;
CREATE TABLE things (LIKE goes_base_aggregate INCLUDING ALL, name text, mark uuid, number bigint);
CREATE FUNCTION id(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE FUNCTION validate_thing(aggregate things, command goes_command) RETURNS void LANGUAGE sql
RETURN goes_require(command.data ->> 'name' <> 'bad', 'bad name');
CREATE FUNCTION build_thing(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('made', command.data);
CREATE FUNCTION calculate_thing(aggregate things, event goes_event) RETURNS things LANGUAGE sql
RETURN jsonb_populate_record(aggregate, event.data);
CREATE FUNCTION react_thing(event goes_event) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$BEGIN RAISE NOTICE 'reactor %', event.data; END$$;
CREATE FUNCTION react_thing_too(aggregate things, event goes_event) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$BEGIN RAISE NOTICE 'reactor too %', aggregate.name; END$$;
CREATE FUNCTION react_as_trigger() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$BEGIN RAISE NOTICE 'trigger %', NEW.action; RETURN NULL; END$$;
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$BEGIN NEW.name := 'meddled'; RETURN NEW; END$$;

-- registered and used with the hostile schema first. (The path of a session
-- that does this is odd enough: all its own statements have to name pg_catalog.)
SET search_path = hostile, test, app, pg_catalog;
SELECT 'a'::pg_catalog.text = 'a'::pg_catalog.text;
SELECT max(1::bigint);
SELECT app.goes_register_aggregate('thing', 'test.things');
SELECT app.goes_register_event('thing', 'made', 1, 'test.calculate_thing'), app.goes_register_event('thing', 'merged', 1, 'goes_merge');
SELECT app.goes_register_command('thing', 'make', 'test.build_thing', 'test.validate_thing', target => 'any'),
    app.goes_register_command('thing', 'merge', event => 'merged', target => 'any');
SELECT app.goes_on('{thing}', sync => '{test.react_thing,test.react_thing_too}'), app.goes_on('{thing.made.1,thing.merged}', sync => '{test.react_as_trigger}');
-- again: nothing
SELECT app.goes_register_aggregate('thing', 'test.things');
SELECT app.goes_register_command('thing', 'make', 'test.build_thing', 'test.validate_thing', target => 'any');
SELECT app.goes_on('{thing}', sync => '{test.react_thing,test.react_thing_too}');
SELECT app.goes_do('thing.make', test.id(1), '{"name": "one", "mark": "00000000-0000-0000-0000-000000000009", "number": 7}') OPERATOR(pg_catalog.->) 'aggregate_version' AS version;
SELECT app.goes_do('thing.merge', test.id(1), '{"name": "two", "number": 8}', command_id => test.id(100)) OPERATOR(pg_catalog.->) 'aggregate_version' AS version;
SELECT app.goes_do('thing.merge', test.id(1), '{"name": "two", "number": 8}', command_id => test.id(100)) OPERATOR(pg_catalog.->) 'aggregate_version' AS version;
SELECT app.goes_do('thing.make', test.id(1), '{"name": "bad"}');
SELECT (app.goes_execute(NULL::test.things, '{"command": "thing.merge", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"name": "three"}}')).name;
SELECT pg_catalog.count(*) FROM app.goes_execute_many('[
    {"command": "thing.merge", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"name": "second"}},
    {"command": "thing.make", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"name": "four"}}]');
-- guards, DDL, renames and drops
UPDATE test.things SET name = 'five';
DELETE FROM test.things_events;
CREATE TRIGGER meddle BEFORE UPDATE ON test.things FOR EACH ROW EXECUTE FUNCTION test.meddle();
SELECT app.goes_do('thing.merge', test.id(1), '{"name": "six"}');
DROP TRIGGER meddle ON test.things;
ALTER TABLE test.things ADD COLUMN more pg_catalog.text;
ALTER TABLE test.things RENAME version TO revision;
ALTER FUNCTION test.build_thing RENAME TO build_it;
ALTER FUNCTION test.react_as_trigger RENAME TO trigger_it;
DROP FUNCTION test.build_it;
DROP TABLE test.things_events;
SELECT app.goes_do('thing.make', test.id(1), '{"name": "seven", "more": "more"}') OPERATOR(pg_catalog.->) 'aggregate_version' AS version;
-- row-level security
ALTER TABLE test.things ENABLE ROW LEVEL SECURITY;
SELECT app.goes_register_aggregate('thing', 'test.things');
SELECT polname FROM pg_catalog.pg_policy WHERE polrelid OPERATOR(pg_catalog.=) 'test.things_events'::pg_catalog.regclass ORDER BY polname USING OPERATOR(pg_catalog.<);
ALTER TABLE test.things DISABLE ROW LEVEL SECURITY;
SELECT app.goes_off('test.trigger_it'), app.goes_forget_commands('-infinity');
SELECT app.goes_unregister_event('thing', 'merged', 1);
SELECT app.goes_unregister_command('thing', 'merge');
SELECT app.goes_unregister_event('thing', 'merged', 1);

-- What the path held while it was planned does not stick: functions are parsed
-- under the path of the call, as any call does.
SET search_path = a, app, pg_catalog;
CREATE SCHEMA a;
CREATE SCHEMA b;
CREATE FUNCTION a.word() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'a'$$;
CREATE FUNCTION b.word() RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'b'$$;
CREATE FUNCTION test.build_word(aggregate test.things, command goes_command) RETURNS goes_event_data LANGUAGE sql AS
$$SELECT app.goes_event_data('made', pg_catalog.jsonb_build_object('name', word()))$$;
SELECT goes_register_command('thing', 'word', 'test.build_word');
SET search_path = a, pg_catalog;
SELECT app.goes_do('thing.word', test.id(1)) -> 'data' AS data;
SET search_path = b, pg_catalog;
SELECT app.goes_do('thing.word', test.id(1)) -> 'data' AS data;
SET search_path = a, pg_catalog;
SELECT app.goes_do('thing.word', test.id(1)) -> 'data' AS data;
SET search_path = pg_catalog;
SELECT app.goes_do('thing.word', test.id(1)) -> 'data' AS data;
SET search_path = '';
SELECT app.goes_do('thing.make', test.id(1), '{"name": "no path"}') -> 'data' AS data;

-- Temporary objects come first on every path, and do not matter either.
SET search_path = test, app;
CREATE TEMP TABLE things (id uuid PRIMARY KEY, version bigint, name text);
CREATE TEMP TABLE things_events (position bigint);
CREATE TEMP TABLE aggregate_types (type text);
CREATE TEMP TABLE goes_base_aggregate (a integer);
CREATE TYPE pg_temp.goes_event AS (a integer);
CREATE TYPE pg_temp.goes_command AS (a integer);
CREATE TYPE pg_temp.jsonb AS (a integer);
CREATE TEMP SEQUENCE position;
CREATE FUNCTION pg_temp.build_it(test.things, app.goes_command) RETURNS app.goes_event_data LANGUAGE sql AS $$SELECT NULL::app.goes_event_data$$;
CREATE FUNCTION pg_temp.max(bigint) RETURNS bigint LANGUAGE sql AS $$SELECT 0::bigint$$;
SELECT goes_do('thing.make', id(1), '{"name": "eight"}') -> 'data' AS data;
SELECT goes_register_command('thing', 'make', 'build_it', target => 'any');
SELECT goes_register_aggregate('temporary', 'things');
SELECT goes_register_aggregate('thing', 'test.things');
SELECT type, relation, events FROM goes.aggregate_types;
-- a function of this session alone is nothing to register
SELECT goes_register_command('thing', 'temporary', 'pg_temp.build_it', target => 'any');
-- a function whose argument is the temporary type is not the one that is looked for
CREATE FUNCTION test.wrong(test.things, pg_temp.goes_event) RETURNS test.things LANGUAGE sql AS $$SELECT $1$$;
SELECT goes_register_event('thing', 'wrong', 1, 'test.wrong');
DROP TABLE things, things_events;
DROP FUNCTION test.wrong;

-- The extension's schema may be renamed, and drop with the extension's tables intact.
ALTER SCHEMA app RENAME TO renamed;
SET search_path = test, renamed;
SELECT goes_do('thing.make', id(1), '{"name": "nine"}') -> 'data' AS data;
SELECT goes_register_event('thing', 'made', 2, 'calculate_thing');
SELECT goes_do('thing.make', id(1), '{"name": "ten"}') -> 'event_version' AS event_version;
-- It cannot move to another schema, and there is but one.
ALTER EXTENSION goes SET SCHEMA test;
CREATE EXTENSION goes SCHEMA test;
SELECT extname, extnamespace::regnamespace FROM pg_extension WHERE extname = 'goes';
SET client_min_messages = warning;
DROP SCHEMA renamed CASCADE;
SELECT name FROM test.things ORDER BY id;
SELECT count(*) FROM test.things_events;
DROP SCHEMA hostile, a, b CASCADE;
SET search_path = pg_catalog;
DROP SCHEMA test CASCADE;
