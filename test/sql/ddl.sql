-- Drops, renames and alterations of what is registered.
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
    SELECT 'command ' || concat_ws('.', aggregate_type, command), concat_ws(', ', build, validate, event) FROM goes.command_types
    UNION ALL
    SELECT 'reactor ' || reactor, concat_ws(', ', mode, patterns) FROM goes.reactors;
-- A model with all that can be dropped.
CREATE FUNCTION react_with_aggregate(aggregate users, event goes_event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'react_with_aggregate: %', to_jsonb(aggregate) - '{id,created_at,updated_at,deleted_at,addresses}'::text[]; END$$;
CREATE FUNCTION react_as_trigger() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'react_as_trigger: % on %', NEW.action, TG_TABLE_NAME; RETURN NULL; END$$;
SELECT goes_on('{user}', sync => '{react_with_aggregate,react_as_trigger}');
SELECT * FROM registered ORDER BY what COLLATE "C";
SELECT goes_do('user.create', id(1), '{"first_name": "First", "last_name": "User"}') -> 'aggregate_version' AS version;

--
-- What is in use is not dropped
--

CALL fails('DROP FUNCTION create_user');
CALL fails('DROP FUNCTION create_user(users, goes_command)');
CALL fails('DROP FUNCTION validate_update_first_name');
CALL fails('DROP ROUTINE user_created');
CALL fails('DROP FUNCTION audit_user');
CALL fails('DROP FUNCTION react_with_aggregate');
CALL fails('DROP FUNCTION react_as_trigger');
CALL fails('DROP FUNCTION say_hello');
CALL fails('DROP TABLE users_events');
\set VERBOSITY terse
DROP TABLE users;
DROP EXTENSION goes;
\set VERBOSITY default
CALL fails('ALTER TABLE users DROP COLUMN id');
CALL fails('ALTER TABLE users DROP COLUMN version');
CALL fails('ALTER TABLE users DROP deleted_at');
CALL fails('ALTER TABLE users_events DROP COLUMN metadata');
CALL fails('ALTER TABLE users_events DROP COLUMN imported');
CALL fails('DROP TYPE goes_event');
CALL fails('DROP TYPE goes_command');
CALL fails('DROP FUNCTION goes_do');
CALL fails('DROP SCHEMA goes CASCADE');
CALL fails('DROP TABLE goes.reactors');
CALL fails('DROP SEQUENCE goes.position');
-- nor altered so that goes cannot use it
CALL fails('ALTER TABLE users ALTER id TYPE text');
CALL fails('ALTER TABLE users ALTER version TYPE integer');
CALL fails('ALTER TABLE users ALTER deleted_at TYPE date');
CALL fails('ALTER TABLE users ALTER updated_at DROP NOT NULL');
CALL fails('ALTER TABLE users ALTER version ADD GENERATED ALWAYS AS IDENTITY');
CALL fails('ALTER TABLE users RENAME id TO ident');
CALL fails('ALTER TABLE users RENAME COLUMN deleted_at TO gone_at');
CALL fails('ALTER VIEW users RENAME COLUMN id TO ident');
CALL fails('ALTER MATERIALIZED VIEW users RENAME COLUMN id TO ident');
CALL fails('ALTER FOREIGN TABLE users RENAME COLUMN id TO ident');
CALL fails('ALTER TABLE users DROP CONSTRAINT users_pkey');
CALL fails('ALTER TABLE users_events ALTER position TYPE integer');
CALL fails('ALTER TABLE users_events RENAME action TO acted');
CALL fails('ALTER TABLE users_events RENAME data TO payload');
CALL fails('ALTER TABLE users_events ALTER data TYPE json');
SELECT * FROM registered ORDER BY what COLLATE "C";
SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Second"}') -> 'aggregate_version' AS version;

-- What is not in use is.
CREATE TABLE not_in_use (id uuid PRIMARY KEY, version bigint NOT NULL, position bigint);
CREATE FUNCTION not_in_use(users, goes_event) RETURNS users LANGUAGE sql AS 'SELECT $1';
ALTER TABLE not_in_use DROP version, ALTER position TYPE integer;
ALTER TABLE not_in_use RENAME id TO ident;
DROP TABLE not_in_use;
ALTER FUNCTION not_in_use RENAME TO still_not_in_use;
DROP FUNCTION still_not_in_use;
-- overloads of a function that is
CREATE FUNCTION create_user(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION create_user() RETURNS text LANGUAGE sql AS 'SELECT NULL';
CREATE FUNCTION audit_user(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
DROP FUNCTION create_user(text), create_user(), audit_user(text);
CREATE TEMP TABLE users (id integer);
ALTER TABLE users RENAME id TO ident;
DROP TABLE users;
CREATE VIEW of_users AS SELECT id, version FROM users;
ALTER VIEW of_users RENAME COLUMN id TO ident;
DROP VIEW of_users;
CREATE INDEX users_name ON users (first_name);
DROP INDEX users_name;

--
-- CASCADE: the registration goes with it
--

BEGIN;
DROP FUNCTION create_user CASCADE;
DROP FUNCTION validate_update_first_name, user_created CASCADE;
DROP FUNCTION audit_user CASCADE;
DROP FUNCTION say_hello CASCADE;
SELECT * FROM registered ORDER BY what COLLATE "C";
SELECT tgname FROM pg_trigger WHERE tgrelid = 'users_events'::regclass ORDER BY tgname COLLATE "C";
ROLLBACK;
BEGIN;
ALTER TABLE users DROP COLUMN deleted_at CASCADE;
SELECT what FROM registered ORDER BY what COLLATE "C";
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN ('users'::regclass, 'users_events'::regclass);
ROLLBACK;
BEGIN;
DROP TABLE users_events CASCADE;
SELECT what FROM registered ORDER BY what COLLATE "C";
SELECT tgname FROM pg_trigger WHERE tgrelid = 'users'::regclass;
ROLLBACK;
-- with the aggregate table: its functions go, so it takes CASCADE; the history stays
BEGIN;
SET LOCAL client_min_messages = warning;
DROP TABLE users CASCADE;
SELECT what FROM registered ORDER BY what COLLATE "C";
SELECT count(*) FROM users_events;
ROLLBACK;
-- without functions of its own it does not
CREATE TABLE plains (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('plain', 'plains'), goes_register_event('plain', 'done'), goes_register_command('plain', 'do', event => 'done', target => 'any');
SELECT goes_do('plain.do', id(1)) -> 'aggregate_version' AS version;
DROP TABLE plains;
SELECT what FROM registered WHERE what ~ 'plain';
SELECT aggregate_version FROM plains_events;
-- and if it comes back
CREATE TABLE plains (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('plain', 'plains'), goes_register_event('plain', 'done'), goes_register_command('plain', 'do', event => 'done', target => 'any');
DROP TABLE plains, plains_events;
CREATE SCHEMA app;
CREATE TABLE app.plains (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('plain', 'app.plains'), goes_register_event('plain', 'done'), goes_register_command('plain', 'do', event => 'done', target => 'any');
CREATE FUNCTION app.of_user(users, goes_event) RETURNS users LANGUAGE sql AS 'SELECT $1';
SELECT goes_register_event('user', 'apped', 1, 'app.of_user');
SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
RESET client_min_messages;
SELECT * FROM registered WHERE what ~ 'plain|app';
-- DROP OWNED
CREATE ROLE regress_goes_owner;
GRANT CREATE, USAGE ON SCHEMA test TO regress_goes_owner;
CREATE FUNCTION owned(users, goes_event) RETURNS users LANGUAGE sql AS 'SELECT $1';
ALTER FUNCTION owned OWNER TO regress_goes_owner;
SELECT goes_register_event('user', 'owned', 1, 'owned');
CALL fails('DROP OWNED BY regress_goes_owner');
DROP OWNED BY regress_goes_owner CASCADE;
SELECT * FROM registered WHERE what ~ 'owned';

--
-- Renames and moves: everything goes on
--

CREATE PROCEDURE works() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.goes_do('user.update_first_name', test.id(1), '{"first_name": "Again"}');
    PERFORM public.goes_do('user.update_first_name', test.id(1), '{"first_name": "And again"}');
    RAISE SQLSTATE 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
    RAISE NOTICE 'works';
END $$;
CALL works();
-- functions
ALTER FUNCTION update_first_name RENAME TO "Update it";
ALTER FUNCTION validate_update_first_name(users, goes_command) RENAME TO validate_it;
ALTER ROUTINE user_created RENAME TO calculate_it;
ALTER FUNCTION audit_user RENAME TO audit_it;
ALTER FUNCTION react_with_aggregate RENAME TO with_it;
ALTER FUNCTION react_as_trigger RENAME TO "Trigger it";
ALTER FUNCTION say_hello RENAME TO say_it;
CREATE SCHEMA other;
ALTER FUNCTION "Update it" SET SCHEMA other;
ALTER FUNCTION audit_it SET SCHEMA other;
ALTER FUNCTION "Trigger it" SET SCHEMA other;
SELECT * FROM registered ORDER BY what COLLATE "C";
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'users_events'::regclass AND tgname ~ '^goes_on' ORDER BY tgname COLLATE "C";
CALL works();
-- two names change places, in one transaction
BEGIN;
ALTER FUNCTION with_it RENAME TO x;
ALTER FUNCTION other.audit_it RENAME TO with_it;
ALTER FUNCTION x RENAME TO audit_it;
COMMIT;
SELECT * FROM registered WHERE what ~ 'reactor' ORDER BY what COLLATE "C";
CALL works();
-- rolled back to a savepoint, and after an error
BEGIN;
SAVEPOINT a;
ALTER FUNCTION validate_it RENAME TO validate_this;
SELECT * FROM registered WHERE what ~ 'command' ORDER BY what COLLATE "C";
ROLLBACK TO a;
ALTER FUNCTION validate_it RENAME TO create_user;
ROLLBACK TO a;
ALTER FUNCTION validate_it RENAME TO validate_that;
COMMIT;
SELECT * FROM registered WHERE what ~ 'command' ORDER BY what COLLATE "C";
DO $$
BEGIN
    ALTER FUNCTION validate_that RENAME TO validate_those;
    BEGIN
        ALTER FUNCTION validate_those RENAME TO create_user;
    EXCEPTION WHEN duplicate_function THEN
        ALTER FUNCTION validate_those RENAME TO validate_it;
    END;
END $$;
SELECT * FROM registered WHERE what ~ 'command' ORDER BY what COLLATE "C";
CALL works();
-- a schema
ALTER SCHEMA other RENAME TO "Other";
SELECT * FROM registered WHERE how ~ 'Other' OR what ~ 'Other' ORDER BY what COLLATE "C";
CALL works();
ALTER SCHEMA test RENAME TO moved;
SET search_path = moved, public;
SELECT * FROM registered ORDER BY what COLLATE "C";
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'users_events'::regclass AND tgname ~ '^goes_on' ORDER BY tgname COLLATE "C";
ALTER SCHEMA moved RENAME TO test;
SET search_path = test, public;
CALL works();
-- tables
ALTER TABLE users RENAME TO people;
ALTER TABLE users_events RENAME TO "History";
SELECT * FROM registered WHERE what ~ 'aggregate' ORDER BY what COLLATE "C";
CALL works();
SELECT goes_register_aggregate('user', 'people');
SELECT * FROM registered WHERE what ~ 'aggregate' ORDER BY what COLLATE "C";
ALTER TABLE people SET SCHEMA "Other";
CALL works();
ALTER TABLE "History" SET SCHEMA "Other";
CALL works();
SELECT goes_register_aggregate('user', '"Other".people');
SELECT * FROM registered WHERE what ~ 'aggregate' ORDER BY what COLLATE "C";
ALTER TABLE "Other"."History" RENAME TO users_events;
ALTER TABLE "Other".people RENAME TO users;
ALTER TABLE "Other".users SET SCHEMA test;
ALTER TABLE "Other".users_events SET SCHEMA test;
-- constraints and indexes: goes relies on no name
ALTER TABLE users RENAME CONSTRAINT users_pkey TO "the key";
ALTER INDEX users_events_pkey RENAME TO "the other key";
ALTER TABLE users_events DROP CONSTRAINT users_events_aggregate_id_aggregate_version_key;
CALL works();
-- the key may be replaced, if there is one all the time
ALTER TABLE users DROP CONSTRAINT "the key", ADD PRIMARY KEY (id);
CALL works();
ALTER TABLE users ADD UNIQUE (id);
ALTER TABLE users DROP CONSTRAINT users_pkey;
CALL works();
-- a role
ALTER TABLE users OWNER TO regress_goes_owner;
ALTER TABLE users_events OWNER TO regress_goes_owner;
ALTER ROLE regress_goes_owner RENAME TO regress_goes_renamed;
CALL works();
REASSIGN OWNED BY regress_goes_renamed TO CURRENT_USER;
DROP OWNED BY regress_goes_renamed;
DROP ROLE regress_goes_renamed;
CALL works();
--
-- Altering the tables between commands
--

SELECT goes_register_command('user', 'change', event => 'first_name_updated');
SELECT goes_off('"Other"."Trigger it"'), goes_off('"Other".with_it'), goes_off('audit_it');
ALTER TABLE users ADD COLUMN nick text, ADD COLUMN score integer NOT NULL DEFAULT 7;
SELECT to_jsonb(r) - '{id,created_at,updated_at,deleted_at,addresses}'::text[] AS state
FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"nick": "nick", "score": 8}}') r;
SELECT to_jsonb(r) - '{id,created_at,updated_at,deleted_at,addresses}'::text[] AS state
FROM goes_execute(NULL::users, '{"command": "user.create", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "Second", "last_name": "User"}}') r;
ALTER TABLE users ALTER score TYPE numeric(5, 1), ALTER nick TYPE varchar(5), ADD COLUMN doubled numeric GENERATED ALWAYS AS (score * 2) STORED;
SELECT to_jsonb(r) - '{id,created_at,updated_at,deleted_at,addresses}'::text[] AS state
FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"score": 8.55}}') r;
CALL fails($$SELECT goes_do('user.change', id(1), '{"nick": "nickname"}')$$);
ALTER TABLE users DROP COLUMN nick, DROP COLUMN doubled, ALTER score TYPE text;
SELECT to_jsonb(r) - '{id,created_at,updated_at,deleted_at,addresses}'::text[] AS state
FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"score": "ten", "nick": "gone"}}') r;
ALTER TABLE users RENAME score TO points;
ALTER TABLE users ALTER points SET DEFAULT 'none', ALTER last_name DROP NOT NULL;
SELECT to_jsonb(r) - '{id,created_at,updated_at,deleted_at,addresses}'::text[] AS state
FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"score": "x", "points": "y"}}') r;
ALTER TABLE users DROP COLUMN points;
-- in one transaction with commands, and rolled back
BEGIN;
ALTER TABLE users ADD COLUMN a text;
SELECT r.version, r.a FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"a": "a"}}') r;
SAVEPOINT a;
ALTER TABLE users DROP COLUMN a, ADD COLUMN b text;
SELECT r.version, r.b FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"b": "b"}}') r;
ROLLBACK TO a;
SELECT r.version, r.a FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"b": "b"}}') r;
ROLLBACK;
SELECT r.version, r.first_name FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"a": "a", "first_name": "End"}}') r;
-- the events table: columns with defaults, generated ones, CHECKs as event schema, indexes
ALTER TABLE users_events ADD COLUMN tenant text DEFAULT current_database(), ADD COLUMN request_id text GENERATED ALWAYS AS (metadata ->> 'request_id') STORED,
    ADD CHECK (action <> 'first_name_updated' OR jsonb_typeof(coalesce(data -> 'first_name', '""')) = 'string');
CREATE INDEX ON users_events (request_id);
SELECT goes_do('user.change', id(1), '{"first_name": "Checked"}', '{"request_id": "r"}') -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('user.change', id(1), '{"first_name": 1}')$$);
SELECT tenant = current_database() AS tenant, request_id FROM users_events ORDER BY position DESC LIMIT 1;
ALTER TABLE users_events DROP COLUMN tenant, DROP COLUMN request_id;
SELECT goes_do('user.change', id(1), '{"first_name": "Still"}') -> 'aggregate_version' AS version;

--
-- Functions that are replaced count at once
--

CREATE OR REPLACE FUNCTION validate_it(aggregate users, command goes_command) RETURNS void LANGUAGE sql RETURN goes_reject('replaced');
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Never"}')$$);
CREATE OR REPLACE FUNCTION validate_it(aggregate users, command goes_command) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'again'; END$$;
SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Thrice"}') -> 'aggregate_version' AS version;
-- also a function that one of them calls, inlined or not
CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1 || '!'$$;
CREATE OR REPLACE FUNCTION "Other"."Update it"(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql AS
$$SELECT goes_event_data('first_name_updated', jsonb_build_object('first_name', test.helper(command.data ->> 'first_name')))$$;
SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Helped"}') -> 'data' AS data;
CREATE OR REPLACE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT $1 || '?'$$;
SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Helped"}') -> 'data' AS data;
DROP FUNCTION helper;
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Helped"}')$$);
CREATE FUNCTION helper(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN $1 || '.'; END$$;
SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Helped"}') -> 'data' AS data;
-- dropped with CASCADE and made again: it is not registered, so not called
DROP FUNCTION validate_it CASCADE;
CREATE FUNCTION validate_it(aggregate users, command goes_command) RETURNS void LANGUAGE sql RETURN NULL;
CALL fails($$SELECT goes_do('user.update_first_name', id(1))$$);

--
-- DDL from inside of functions
--

CREATE FUNCTION ddl(aggregate users, command goes_command) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command.data ->> 'ddl';
END $$;
SELECT goes_register_command('user', 'ddl', validate => 'ddl', event => 'first_name_updated');
CREATE PROCEDURE with_ddl(ddl text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_do('user.ddl', id(1), jsonb_build_object('ddl', ddl, 'first_name', 'Ddl'));
END $$;
CALL with_ddl('CREATE TABLE made (id integer)');
CALL with_ddl('ALTER TABLE made RENAME id TO ident');
CALL with_ddl('DROP TABLE made');
CALL with_ddl('CREATE OR REPLACE FUNCTION helper(text) RETURNS text LANGUAGE sql AS ''SELECT $1''');
CALL with_ddl('ALTER FUNCTION helper RENAME TO helped');
CALL with_ddl('ALTER FUNCTION ddl RENAME TO ddl_renamed');
CALL with_ddl('ALTER FUNCTION ddl_renamed RENAME TO ddl');
CALL with_ddl('CREATE OR REPLACE FUNCTION ddl(aggregate users, command goes_command) RETURNS void LANGUAGE plpgsql AS ''BEGIN RAISE NOTICE $n$replaced$n$; EXECUTE command.data ->> $d$ddl$d$; END''');
CALL with_ddl('SELECT goes_register_event(''user'', ''new'')');
CALL with_ddl('SELECT goes_register_event(''user'', ''first_name_updated'', 2)');
CALL with_ddl('SELECT goes_unregister_event(''user'', ''first_name_updated'', 2)');
CALL with_ddl('CREATE TABLE others (LIKE goes_base_aggregate INCLUDING ALL); SELECT goes_register_aggregate(''other'', ''others'')');
CALL with_ddl('DROP TABLE others, others_events');
CALL with_ddl('ANALYZE audit');
CALL with_ddl('CREATE INDEX ON audit (action)');
SELECT what FROM registered WHERE what ~ 'new|other|ddl' ORDER BY what COLLATE "C";
-- its own tables are in use
CALL fails($$CALL with_ddl('ALTER TABLE users ADD COLUMN inside text')$$);
CALL fails($$CALL with_ddl('TRUNCATE users')$$);
SET client_min_messages = warning;
CALL fails($$CALL with_ddl('DROP TABLE users CASCADE')$$);
CALL fails($$CALL with_ddl('DROP EXTENSION goes CASCADE')$$);
RESET client_min_messages;
-- the command itself goes on with what it was when it began
CALL with_ddl('SELECT goes_unregister_command(''user'', ''ddl'')');
CALL fails($$CALL with_ddl('SELECT 1')$$);
SELECT version, first_name FROM users WHERE id = id(1);

--
-- DROP EXTENSION: tables and data stay, and can be adopted
--

SELECT count(*) AS users, sum(version) AS versions, (SELECT count(*) FROM users_events) AS events, (SELECT max(position) FROM users_events) AS last FROM users;
SET client_min_messages = error;
DROP EXTENSION goes CASCADE;
SELECT count(*) AS users, sum(version) AS versions, (SELECT count(*) FROM users_events) AS events FROM users;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN ('users'::regclass, 'users_events'::regclass);
SELECT proname FROM pg_proc WHERE pronamespace = 'test'::regnamespace ORDER BY proname COLLATE "C";
-- nothing is in the way of anything
ALTER TABLE users RENAME version TO revision;
ALTER TABLE users RENAME revision TO version;
CREATE EXTENSION goes SCHEMA public;
RESET client_min_messages;
SELECT goes_register_aggregate('user', 'users'), goes_register_event('user', 'changed'), goes_register_command('user', 'change', event => 'changed', target => 'any');
SELECT r.version, r.first_name FROM goes_execute(NULL::users, '{"command": "user.change", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"first_name": "Adopted"}}') r;
SELECT count(*), count(DISTINCT position), max(position) > 0 AS positions FROM users_events;
SELECT e.position > (SELECT max(position) FROM users_events WHERE position < e.position) AS after_all
FROM users_events e WHERE action = 'changed';

SET client_min_messages = warning;
DROP SCHEMA "Other" CASCADE;
\i :end
