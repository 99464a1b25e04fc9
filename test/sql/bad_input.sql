-- Malformed commands and registrations: each gives an error that names what is
-- wrong, and leaves everything as it was.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user
SELECT goes_do('user.create', id(1), '{"first_name": "Thomas", "last_name": "Ricardo"}') -> 'aggregate_version' AS version;

-- All that must stay as it is, to the very row versions.
CREATE FUNCTION everything() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    t regclass;
    rows text;
    result text;
BEGIN
    FOREACH t IN ARRAY '{goes.aggregate_types,goes.event_types,goes.command_types,goes.commands,users,users_events,audit}'::regclass[] LOOP
        EXECUTE format('SELECT string_agg(concat_ws('','', t.xmin, t.ctid, t), '';'' ORDER BY t.ctid) FROM %s t', t) INTO rows;
        result := concat(result, t, ':', rows);
    END LOOP;
    RETURN md5(concat(result, (SELECT string_agg(concat_ws(',', reactor, mode, patterns, active), ';' ORDER BY reactor) FROM goes.reactors),
        (SELECT string_agg(concat_ws(',', tgrelid, tgname, tgenabled, xmin), ';' ORDER BY oid) FROM pg_trigger),
        (SELECT count(*) FROM pg_class)));
END $$;
SELECT everything() AS before \gset

--
-- The document
--

CALL fails($$SELECT goes_execute(NULL)$$);
CALL fails($$SELECT goes_execute('null')$$);
CALL fails($$SELECT goes_execute('{}')$$);
CALL fails($$SELECT goes_execute('[]')$$);
CALL fails($$SELECT goes_execute('[{"command": "user.create"}]')$$);
CALL fails($$SELECT goes_execute('"user.create"')$$);
CALL fails($$SELECT goes_execute('7')$$);
CALL fails($$SELECT goes_execute('true')$$);
CALL fails($$SELECT goes_execute('')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create"')$$);
CALL fails($$SELECT goes_execute(NULL::users, NULL)$$);
CALL fails($$SELECT goes_execute(NULL::users, '[]')$$);
-- keys
CALL fails($$SELECT goes_execute('{"data": {}}')$$);
CALL fails($$SELECT goes_execute('{"Command": "user.create"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "payload": {}}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "": {}}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregateId": "00000000-0000-0000-0000-000000000001"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "clé": 1}')$$);
-- command
CALL fails($$SELECT goes_execute('{"command": null}')$$);
CALL fails($$SELECT goes_execute('{"command": 1}')$$);
CALL fails($$SELECT goes_execute('{"command": ["user.create"]}')$$);
CALL fails($$SELECT goes_execute('{"command": {"name": "user.create"}}')$$);
CALL fails($$SELECT goes_execute('{"command": ""}')$$);
CALL fails($$SELECT goes_execute('{"command": "."}')$$);
CALL fails($$SELECT goes_execute('{"command": "user"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user."}')$$);
CALL fails($$SELECT goes_execute('{"command": ".create"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create.1"}')$$);
CALL fails($$SELECT goes_execute('{"command": "User.create"}')$$);
CALL fails($$SELECT goes_execute('{"command": " user.create"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.*"}')$$);
CALL fails($$SELECT goes_execute(jsonb_build_object('command', repeat('u', 64) || '.create'))$$);
CALL fails($$SELECT goes_execute('{"command": "user.create; DROP TABLE users"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user''.create"}')$$);
-- aggregate_id
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": null}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": 1}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": ""}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": "1"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": "00000000-0000-0000-0000-00000000000g"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": "00000000-0000-0000-0000-0000000000011"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": "{00000000-0000-0000-0000-000000000001"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "aggregate_id": ["00000000-0000-0000-0000-000000000001"]}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.update_first_name", "data": {"first_name": "Other"}}')$$);
-- data and metadata
CALL fails($$SELECT goes_execute('{"command": "user.create", "data": null}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "data": []}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "data": "{}"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "data": 1}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "metadata": null}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "metadata": [{}]}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "metadata": false}')$$);
-- expected_version
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": null}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": "1"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": -1}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": 1.5}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": 9223372036854775808}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": 1e100}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": true}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "expected_version": {}}')$$);
-- command_id
CALL fails($$SELECT goes_execute('{"command": "user.create", "command_id": null}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "command_id": 1}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "command_id": "abc"}')$$);
CALL fails($$SELECT goes_execute('{"command": "user.create", "command_id": []}')$$);
-- goes_do
CALL fails($$SELECT goes_do(NULL)$$);
CALL fails($$SELECT goes_do('')$$);
CALL fails($$SELECT goes_do('user.create', data => '[]')$$);
CALL fails($$SELECT goes_do('user.create', data => '"text"')$$);
CALL fails($$SELECT goes_do('user.create', data => 'null')$$);
CALL fails($$SELECT goes_do('user.create', metadata => '1')$$);
CALL fails($$SELECT goes_do('user.create', expected_version => -1)$$);
-- data that the model does not understand
CALL fails($$SELECT goes_do('user.create')$$);
CALL fails($$SELECT goes_do('user.create', data => '{"first_name": {}, "last_name": []}')$$);
CREATE TABLE numbers (LIKE goes_base_aggregate INCLUDING ALL, n integer);
SELECT goes_register_aggregate('number', 'numbers');
SELECT goes_register_event('number', 'set');
SELECT goes_register_command('number', 'set', event => 'set', target => 'any');
CALL fails($$SELECT goes_do('number.set', data => '{"n": "one"}')$$);
CALL fails($$SELECT goes_do('number.set', data => '{"n": 3000000000}')$$);
CALL fails($$SELECT goes_do('number.set', data => '{"n": [1]}')$$);
SELECT goes_unregister_aggregate('number');
DROP TABLE numbers, numbers_events;
SELECT everything() = :'before' AS unchanged;

--
-- Aggregates
--

CALL fails($$SELECT goes_register_aggregate(NULL, 'users')$$);
CALL fails($$SELECT goes_register_aggregate('', 'users')$$);
CALL fails($$SELECT goes_register_aggregate('a.b', 'users')$$);
CALL fails($$SELECT goes_register_aggregate('*', 'users')$$);
CALL fails($$SELECT goes_register_aggregate(E'a\nb', 'users')$$);
CALL fails($$SELECT goes_register_aggregate(repeat('a', 64), 'users')$$);
CALL fails($$SELECT goes_register_aggregate(repeat('é', 32), 'users')$$);
CALL fails($$SELECT goes_register_aggregate('other', NULL)$$);
CALL fails($$SELECT goes_register_aggregate('other', 'missing')$$);
CALL fails($$SELECT goes_register_aggregate('other', 0)$$);
CALL fails($$SELECT goes_register_aggregate('other', 'users')$$);
CALL fails($$SELECT goes_register_aggregate('other', 'audit')$$);
CALL fails($$SELECT goes_register_aggregate('other', 'users_events')$$);
CALL fails($$SELECT goes_register_aggregate('other', 'users_pkey')$$);
CALL fails($$SELECT goes_register_aggregate('other', 'goes.position')$$);
CALL fails($$SELECT goes_register_aggregate('user', 'users', 'users')$$);
CALL fails($$SELECT goes_register_aggregate('user', 'users', 'audit')$$);
CALL fails($$SELECT goes_register_aggregate('user', 'users', '')$$);
-- tables that cannot be one
CREATE PROCEDURE refused(definition text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE definition;
    CALL fails('SELECT goes_register_aggregate(''other'', ''others'')');
    EXECUTE 'DROP ' || CASE WHEN definition ~ 'MATERIALIZED' THEN 'MATERIALIZED VIEW' WHEN definition ~ 'VIEW' THEN 'VIEW'
        WHEN definition ~ 'TYPE' THEN 'TYPE' ELSE 'TABLE' END || ' others';
END $$;
CALL refused('CREATE TEMP TABLE others (LIKE goes_base_aggregate INCLUDING ALL)');
CALL refused('CREATE VIEW others AS SELECT * FROM goes_base_aggregate');
CALL refused('CREATE MATERIALIZED VIEW others AS SELECT * FROM goes_base_aggregate');
CALL refused('CREATE TYPE others AS (id uuid)');
CALL refused('CREATE TABLE others () INHERITS (goes_base_aggregate)');
CALL refused('CREATE TABLE others ()');
CALL refused('CREATE TABLE others (LIKE goes_base_aggregate)');
CALL refused('CREATE TABLE others (LIKE goes_base_aggregate INCLUDING ALL, UNIQUE (id, version)); ALTER TABLE others DROP CONSTRAINT others_pkey');
CALL refused('CREATE TABLE others (LIKE goes_base_aggregate, UNIQUE (id) DEFERRABLE)');
CALL refused('CREATE TABLE others (id uuid PRIMARY KEY, version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL)');
CALL refused('CREATE TABLE others (id text PRIMARY KEY, version integer NOT NULL, created_at timestamp NOT NULL, updated_at date NOT NULL, deleted_at boolean)');
CALL refused('CREATE TABLE others (id uuid UNIQUE, version bigint, created_at timestamptz, updated_at timestamptz, deleted_at timestamptz)');
CALL refused('CREATE TABLE others ("ID" uuid PRIMARY KEY, version bigint NOT NULL, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, deleted_at timestamptz)');
CALL refused('CREATE TABLE others (id uuid PRIMARY KEY, version bigint GENERATED ALWAYS AS IDENTITY, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, deleted_at timestamptz)');
CREATE TABLE parents (LIKE goes_base_aggregate INCLUDING ALL);
CREATE TABLE children () INHERITS (parents);
CALL fails($$SELECT goes_register_aggregate('other', 'parents')$$);
CALL fails($$SELECT goes_register_aggregate('other', 'children')$$);
DROP TABLE parents, children;
CREATE TABLE parents (LIKE goes_base_aggregate INCLUDING ALL) PARTITION BY HASH (id);
CREATE TABLE children PARTITION OF parents FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CALL fails($$SELECT goes_register_aggregate('other', 'children')$$);
DROP TABLE parents;
-- names of the events table that are taken
CREATE TABLE others (LIKE goes_base_aggregate INCLUDING ALL);
CREATE VIEW others_events AS SELECT 1;
CALL fails($$SELECT goes_register_aggregate('other', 'others')$$);
DROP VIEW others_events;
CREATE SEQUENCE others_events;
CALL fails($$SELECT goes_register_aggregate('other', 'others')$$);
DROP SEQUENCE others_events;
CREATE INDEX others_events ON others (version);
CALL fails($$SELECT goes_register_aggregate('other', 'others')$$);
DROP INDEX others_events;
CREATE TYPE others_events AS (id uuid);
CALL fails($$SELECT goes_register_aggregate('other', 'others')$$);
DROP TYPE others_events;
CREATE TABLE others_events (position bigint PRIMARY KEY, id uuid NOT NULL, data json NOT NULL);
CALL fails($$SELECT goes_register_aggregate('other', 'others')$$);
DROP TABLE others_events, others;

--
-- Events
--

CALL fails($$SELECT goes_register_event(NULL, 'x')$$);
CALL fails($$SELECT goes_register_event('nothing', 'x')$$);
CALL fails($$SELECT goes_register_event('user', NULL)$$);
CALL fails($$SELECT goes_register_event('user', '')$$);
CALL fails($$SELECT goes_register_event('user', 'user.created')$$);
CALL fails($$SELECT goes_register_event('user', '*')$$);
CALL fails($$SELECT goes_register_event('user', E'\t')$$);
CALL fails($$SELECT goes_register_event('user', repeat('x', 64))$$);
CALL fails($$SELECT goes_register_event('user', 'x', NULL)$$);
CALL fails($$SELECT goes_register_event('user', 'x', 0)$$);
CALL fails($$SELECT goes_register_event('user', 'x', -1)$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, '')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'missing')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'missing.function')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'a.b.c')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'user_created(users, goes_event)')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'user_created; DROP TABLE users')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'a b')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, '"unclosed')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'create_user')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'upper')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'c:missing')$$);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'c:')$$);
CREATE FUNCTION wrong_result(users, goes_event) RETURNS jsonb LANGUAGE sql RETURN '{}'::jsonb;
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'wrong_result')$$);
CREATE FUNCTION wrong_set(users, goes_event) RETURNS SETOF users LANGUAGE sql AS 'SELECT $1';
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'wrong_set')$$);
CREATE FUNCTION wrong_order(goes_event, users) RETURNS users LANGUAGE sql AS 'SELECT $2';
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'wrong_order')$$);
CREATE FUNCTION too_many(users, goes_event, integer DEFAULT 1) RETURNS users LANGUAGE sql AS 'SELECT $1';
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'too_many')$$);
CREATE FUNCTION polymorphic(anyelement, goes_event) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'polymorphic')$$);
CREATE PROCEDURE a_procedure(users, goes_event) LANGUAGE sql AS 'SELECT 1';
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'a_procedure')$$);
CREATE AGGREGATE an_aggregate(goes_event) (SFUNC = user_created, STYPE = users);
CALL fails($$SELECT goes_register_event('user', 'x', 1, 'an_aggregate')$$);
CALL fails($$SELECT goes_unregister_event(NULL, NULL, NULL)$$);
CALL fails($$SELECT goes_unregister_event('user', 'created', NULL)$$);
CALL fails($$SELECT goes_unregister_event('user', 'created', 0)$$);
CALL fails($$SELECT goes_unregister_event('user', 'created', 7)$$);

--
-- Commands
--

CALL fails($$SELECT goes_register_command(NULL, 'x', event => 'created')$$);
CALL fails($$SELECT goes_register_command('nothing', 'x', event => 'created')$$);
CALL fails($$SELECT goes_register_command('user', NULL, event => 'created')$$);
CALL fails($$SELECT goes_register_command('user', '', event => 'created')$$);
CALL fails($$SELECT goes_register_command('user', 'user.x', event => 'created')$$);
CALL fails($$SELECT goes_register_command('user', 'x')$$);
CALL fails($$SELECT goes_register_command('user', 'x', validate => 'validate_create_user')$$);
CALL fails($$SELECT goes_register_command('user', 'x', event => '')$$);
CALL fails($$SELECT goes_register_command('user', 'x', event => 'unknown')$$);
CALL fails($$SELECT goes_register_command('user', 'x', event => 'created.1')$$);
CALL fails($$SELECT goes_register_command('user', 'x', event => 'created', target => NULL)$$);
CALL fails($$SELECT goes_register_command('user', 'x', event => 'created', target => '')$$);
CALL fails($$SELECT goes_register_command('user', 'x', event => 'created', target => 'NEW')$$);
CALL fails($$SELECT goes_register_command('user', 'x', event => 'created', target => 'old')$$);
CALL fails($$SELECT goes_register_command('user', 'x', 'missing')$$);
CALL fails($$SELECT goes_register_command('user', 'x', 'create_user', 'missing')$$);
CALL fails($$SELECT goes_register_command('user', 'x', 'user_created')$$);
CALL fails($$SELECT goes_register_command('user', 'x', 'validate_create_user')$$);
CALL fails($$SELECT goes_register_command('user', 'x', 'create_user', 'create_user')$$);
CALL fails($$SELECT goes_register_command('user', 'x', 'a.b.c.d')$$);
CALL fails($$SELECT goes_unregister_command(NULL, 'create')$$);
CALL fails($$SELECT goes_unregister_command('user', NULL)$$);
CALL fails($$SELECT goes_unregister_command('user', 'user.create')$$);
CALL fails($$SELECT goes_unregister_aggregate(NULL)$$);

--
-- Reactors
--

CALL fails($$SELECT goes_on(NULL, sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{NULL}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{""}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{.created}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.*.1}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{*.created}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user*}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{**}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.created.0}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.created.-1}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.created.one}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.created.1.2}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.created.99999999999}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{"user.created.1 "}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user,nothing}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.created.9}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user}')$$);
CALL fails($$SELECT goes_on('{user}', NULL, NULL, NULL)$$);
CALL fails($$SELECT goes_on('{user}', sync => '{NULL}')$$);
CALL fails($$SELECT goes_on('{user}', sync => '{""}')$$);
CALL fails($$SELECT goes_on('{user}', sync => '{missing}')$$);
CALL fails($$SELECT goes_on('{user}', sync => '{audit_user,missing}')$$);
CALL fails($$SELECT goes_on('{user}', sync => '{create_user}')$$);
CALL fails($$SELECT goes_on('{user}', sync => '{audit_user()}')$$);
CREATE FUNCTION returns_event(goes_event) RETURNS goes_event LANGUAGE sql AS 'SELECT $1';
CALL fails($$SELECT goes_on('{user}', sync => '{returns_event}')$$);
CREATE FUNCTION returns_user(users, goes_event) RETURNS users LANGUAGE sql AS 'SELECT $1';
CALL fails($$SELECT goes_on('{user}', sync => '{returns_user}')$$);
CREATE FUNCTION no_trigger() RETURNS void LANGUAGE sql AS '';
CALL fails($$SELECT goes_on('{user}', sync => '{no_trigger}')$$);
-- the aggregate of '*' has no type
CREATE FUNCTION of_user(users, goes_event) RETURNS void LANGUAGE sql AS '';
CALL fails($$SELECT goes_on('{*}', sync => '{of_user}')$$);
CREATE FUNCTION two_forms(goes_event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION two_forms(users, goes_event) RETURNS void LANGUAGE sql AS '';
CALL fails($$SELECT goes_on('{user}', sync => '{two_forms}')$$);
SET client_min_messages = error;
CALL fails($$SELECT goes_on('{user}', async => '{missing}')$$);
CALL fails($$SELECT goes_on('{user}', async => '{of_user}')$$);
CALL fails($$SELECT goes_on('{user}', async => '{NULL}')$$);
CALL fails($$SELECT goes_on('{user}', outside => '{NULL}')$$);
CALL fails($$SELECT goes_on('{user}', outside => '{""}')$$);
CALL fails($$SELECT goes_on('{user}', outside => '{a.b}')$$);
CALL fails($$SELECT goes_on('{user}', outside => '{*}')$$);
CALL fails($$SELECT goes_on('{user}', outside => ARRAY[repeat('x', 64)])$$);
CALL fails($$SELECT goes_on('{user}', outside => '{mailer}', start => -1)$$);
CALL fails($$SELECT goes_on('{user}', sync => '{say_hello}')$$);
CALL fails($$SELECT goes_on('{user}', async => '{audit_user}')$$);
RESET client_min_messages;
CALL fails($$SELECT goes_off(NULL)$$);
CALL fails($$SELECT goes_off('')$$);
CALL fails($$SELECT goes_off('missing')$$);
CALL fails($$SELECT goes_off('missing.reactor')$$);
CALL fails($$SELECT goes_off('audit_user()')$$);
CALL fails($$SELECT goes_off('create_user')$$);

-- goes's trigger functions are for goes's triggers only.
CALL fails($$SELECT goes.guard_events()$$);
CALL fails($$CREATE TABLE t (a integer); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION goes.guard_aggregate(); INSERT INTO t VALUES (1)$$);
CALL fails($$CREATE TABLE t (a integer); CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION goes.guard_aggregate(); INSERT INTO t VALUES (1)$$);
CALL fails($$CREATE TABLE t (a integer); CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION goes.guard_events(); INSERT INTO t VALUES (1)$$);
CALL fails($$CREATE TABLE t (a integer); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION goes.react(); INSERT INTO t VALUES (1)$$);
CALL fails($$CREATE TABLE t (a integer); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION goes.react('test.audit_user', '*'); INSERT INTO t VALUES (1)$$);
CALL fails($$CREATE TRIGGER t AFTER UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION goes.react('test.audit_user', '*'); UPDATE audit SET action = 'x'$$);
CALL fails($$CREATE TABLE t (a integer); CREATE TRIGGER t AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION goes.registry_changed(); SELECT goes.registry_changed()$$);

SELECT everything() = :'before' AS unchanged;
SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Tomas"}') -> 'aggregate_version' AS version;

\i :end
