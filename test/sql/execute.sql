-- Executing commands: the pipeline, its forms and its arguments.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user

--
-- The user example
--

-- A command builds one event, stored with the state that follows from it.
SELECT jsonb_pretty(shown(goes_execute('{
    "command": "user.create",
    "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "data": {"first_name": "Thomas", "last_name": "Ricardo"},
    "metadata": {"request_id": "my_request_id"}}')));
SELECT id, version, deleted_at, first_name, last_name, addresses FROM users;
SELECT position, aggregate_id, aggregate_version, action, event_version, data, metadata, command_id, imported
FROM users_events;

-- Its result has all fields of goes_event but transient, the time in ISO 8601.
SELECT array_agg(key ORDER BY key) = (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
                                      WHERE attrelid = 'goes_event'::regclass AND attnum > 0 AND attname <> 'transient') AS fields,
    bool_and(value ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d$') FILTER (WHERE key = 'recorded_at') AS iso_8601
FROM jsonb_each_text(goes_do('user.update_first_name', id(1), '{"first_name": "Tomas"}'));

-- The times of an aggregate are those of its first and its last event.
SELECT u.created_at = first.recorded_at AS created_at, u.updated_at = last.recorded_at AS updated_at,
    first.recorded_at < last.recorded_at AS in_order
FROM users u, users_events first, users_events last
WHERE first.aggregate_version = 1 AND last.aggregate_version = 2;

-- The id of an event is a UUID version 7.
SELECT bool_and(id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]') AS version_7, count(DISTINCT id) FROM users_events;

-- Rejected: nothing is stored.
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "To"}')$$);
SELECT version, first_name FROM users;
SELECT count(*) FROM users_events;

-- Build returned NULL: nothing happened, no event.
SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Tomas"}') IS NULL AS nothing_happened;
SELECT version FROM users;
SELECT count(*) FROM users_events;

-- The sync reactor ran with each event.
SELECT user_id, action, request_id FROM audit ORDER BY recorded_at;

--
-- goes_execute(anyelement, jsonb): the state after it all
--

SELECT r.id, r.version, r.first_name, r.addresses
FROM goes_execute(NULL::users, '{"command": "user.create", "aggregate_id": "00000000-0000-0000-0000-000000000002",
    "data": {"first_name": "Second", "last_name": "User", "addresses": ["here"]}}') r;

-- Of its first argument only the type counts.
SELECT (goes_execute(u, '{"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002",
    "data": {"first_name": "Other"}}')).first_name FROM users u WHERE id = id(1);

-- When nothing happened it is the state as it was; NULL if there is none.
SELECT r.id, r.version, r.first_name
FROM goes_execute(NULL::users, '{"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002",
    "data": {"first_name": "Other"}}') r;
CREATE FUNCTION nothing(aggregate users, command goes_command) RETURNS goes_event_data
LANGUAGE sql RETURN NULL::goes_event_data;
SELECT goes_register_command('user', 'nothing', build => 'nothing', target => 'any');
SELECT goes_execute(NULL::users, '{"command": "user.nothing"}') IS NULL AS no_aggregate;

-- The row type must be that of the aggregate: else nothing is done.
CALL fails($$SELECT goes_execute(NULL::audit, '{"command": "user.create", "data": {"first_name": "Third", "last_name": "User"}}')$$);
CALL fails($$SELECT goes_execute(1, '{"command": "user.create", "data": {"first_name": "Third", "last_name": "User"}}')$$);
CALL fails($$SELECT goes_execute(NULL, '{"command": "user.create"}')$$);
SELECT count(*) FROM users;

--
-- goes_do: the parts of the command as arguments
--

SELECT shown(goes_do('user.create', id(3), '{"first_name": "Third", "last_name": "User"}', '{"a": 1}', 0, id(33)));
SELECT shown(goes_do(command => 'user.update_first_name', aggregate_id => id(3), data => '{"first_name": "Thrid"}', expected_version => 1));
SELECT command_id, metadata FROM users_events WHERE aggregate_id = id(3) ORDER BY position;
CALL fails($$SELECT goes_do('user.update_first_name', id(3), '{"first_name": "Third"}', expected_version => 1)$$);
-- NULL: left out
SELECT shown(goes_do('user.update_first_name', id(3), '{"first_name": "Third"}', NULL, NULL, NULL));
CALL fails($$SELECT goes_do('user.create', NULL, NULL)$$);

-- Without aggregate_id a new aggregate gets a UUID version 7.
SELECT goes_do('user.create', data => '{"first_name": "Fourth", "last_name": "User"}') ->> 'aggregate_id'
    ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]' AS version_7;
SELECT count(*) FROM users WHERE first_name = 'Fourth';

--
-- Targets
--

CREATE TABLE things (LIKE goes_base_aggregate INCLUDING ALL, name text, size integer DEFAULT 1);
SELECT goes_register_aggregate('thing', 'things');
CREATE FUNCTION thing_deleted(aggregate things, event goes_event) RETURNS things LANGUAGE plpgsql AS $$
BEGIN
    aggregate.deleted_at := event.recorded_at;
    RETURN aggregate;
END $$;
CREATE FUNCTION thing_restored(aggregate things, event goes_event) RETURNS things LANGUAGE plpgsql AS $$
BEGIN
    aggregate.deleted_at := NULL;
    RETURN aggregate;
END $$;
SELECT goes_register_event('thing', 'set'), goes_register_event('thing', 'deleted', 1, 'thing_deleted'),
    goes_register_event('thing', 'restored', 1, 'thing_restored');
SELECT goes_register_command('thing', 'create', event => 'set', target => 'new'),
    goes_register_command('thing', 'change', event => 'set'),
    goes_register_command('thing', 'put', event => 'set', target => 'any'),
    goes_register_command('thing', 'delete', event => 'deleted'),
    goes_register_command('thing', 'audit', event => 'set', allow_deleted => true),
    goes_register_command('thing', 'put_back', event => 'restored', target => 'any', allow_deleted => true),
    goes_register_command('thing', 'recreate', event => 'restored', target => 'new', allow_deleted => true);

-- new: it must not exist; existing: it must; any: either
CALL fails($$SELECT goes_do('thing.change', id(1))$$);
SELECT goes_do('thing.create', id(1), '{"name": "one"}') -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('thing.create', id(1))$$);
SELECT goes_do('thing.change', id(1), '{"name": "two"}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.put', id(1), '{"name": "three"}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.put', id(2), '{"name": "three"}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.put', NULL, '{"name": "three"}') -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('thing.change')$$);

-- deleted: only with allow_deleted; it exists nevertheless
SELECT goes_do('thing.delete', id(1)) -> 'aggregate_version' AS version;
SELECT version, updated_at = deleted_at AS deleted FROM things WHERE id = id(1);
CALL fails($$SELECT goes_do('thing.change', id(1))$$);
CALL fails($$SELECT goes_do('thing.put', id(1))$$);
CALL fails($$SELECT goes_do('thing.create', id(1))$$);
CALL fails($$SELECT goes_do('thing.recreate', id(1))$$);
SELECT goes_do('thing.audit', id(1), '{"name": "four"}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.put_back', id(1)) -> 'aggregate_version' AS version;
SELECT goes_do('thing.change', id(1)) -> 'aggregate_version' AS version;
SELECT version, deleted_at, name FROM things WHERE id = id(1);

--
-- expected_version: what the caller has seen, 0: it does not exist yet
--

SELECT goes_do('thing.create', id(3), expected_version => 0) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('thing.create', id(4), expected_version => 1)$$);
CALL fails($$SELECT goes_do('thing.put', id(3), expected_version => 0)$$);
CALL fails($$SELECT goes_do('thing.put', id(4), expected_version => 1)$$);
SELECT goes_do('thing.put', id(3), expected_version => 1) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('thing.change', id(3), expected_version => 1)$$);
CALL fails($$SELECT goes_do('thing.change', id(3), expected_version => 9223372036854775807)$$);
-- the target is checked first
CALL fails($$SELECT goes_do('thing.create', id(3), expected_version => 0)$$);
CALL fails($$SELECT goes_do('thing.change', id(4), expected_version => 0)$$);

--
-- Event versions: the latest that is registered, unless build says which
--

SELECT goes_register_event('thing', 'set', 3), goes_register_event('thing', 'set', 2, NULL);
SELECT goes_do('thing.change', id(3), '{"name": "v3"}') -> 'event_version' AS event_version;
CREATE FUNCTION build_version(aggregate things, command goes_command) RETURNS goes_event_data
LANGUAGE sql RETURN goes_event_data('set', command.data, (command.data ->> 'version')::integer);
SELECT goes_register_command('thing', 'version', build => 'build_version');
SELECT goes_do('thing.version', id(3), jsonb_build_object('version', v, 'name', 'v' || v)) -> 'event_version' AS event_version
FROM generate_series(1, 3) v;
SELECT goes_do('thing.version', id(3), '{"name": "v?"}') -> 'event_version' AS event_version;
-- version 2 has no calculator: it does not change the state
SELECT goes_do('thing.version', id(3), '{"name": "v2", "version": 2}') -> 'event_version' AS event_version;
SELECT name FROM things WHERE id = id(3);
CALL fails($$SELECT goes_do('thing.version', id(3), '{"version": 4}')$$);
CALL fails($$SELECT goes_do('thing.version', id(3), '{"version": 0}')$$);
CALL fails($$SELECT goes_do('thing.version', id(3), '{"version": -1}')$$);
SELECT goes_unregister_event('thing', 'set', 3), goes_unregister_event('thing', 'set', 2);
SELECT goes_do('thing.change', id(3), '{"name": "v1"}') -> 'event_version' AS event_version;

--
-- What build may return
--

CREATE FUNCTION build_any(aggregate things, command goes_command) RETURNS goes_event_data
LANGUAGE sql RETURN CASE command.data ->> 'case'
    WHEN 'null' THEN NULL
    WHEN 'all null' THEN ROW(NULL, NULL, NULL, NULL)::goes_event_data
    WHEN 'no data' THEN goes_event_data('noted', NULL)
    WHEN 'array' THEN goes_event_data('noted', '[1, 2]')
    WHEN 'scalar' THEN goes_event_data('noted', '"text"')
    WHEN 'json null' THEN goes_event_data('noted', 'null')
    WHEN 'merged array' THEN goes_event_data('set', '[1, 2]')
    WHEN 'no action' THEN goes_event_data(NULL, '{}')
    WHEN 'unknown action' THEN goes_event_data('unknown', '{}')
END;
SELECT goes_register_event('thing', 'noted', 1, NULL);
SELECT goes_register_command('thing', 'any', build => 'build_any', target => 'any');
SELECT c, goes_do('thing.any', id(5), jsonb_build_object('case', c)) -> 'data' AS data
FROM unnest('{"null",all null,no data,array,scalar,json null}'::text[]) c;
CALL fails($$SELECT goes_do('thing.any', id(5), '{"case": "merged array"}')$$);
CALL fails($$SELECT goes_do('thing.any', id(5), '{"case": "no action"}')$$);
CALL fails($$SELECT goes_do('thing.any', id(5), '{"case": "unknown action"}')$$);
SELECT version, name, size FROM things WHERE id = id(5);

--
-- The initial state: id, version 0, immutable defaults, else NULL; and what
-- validate and build get besides
--

CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN 2 * n;
CREATE SEQUENCE counter;
CREATE TYPE pair AS (a integer, b text);
CREATE DOMAIN age AS integer DEFAULT 18 CHECK (VALUE >= 0);
CREATE TABLE defaults (
    LIKE goes_base_aggregate INCLUDING ALL,
    plain text DEFAULT 'plain',
    called integer DEFAULT twice(21),
    "constant" jsonb DEFAULT '[1, 2]',
    composite pair DEFAULT ROW(1, 'one'),
    of_domain age,
    none text,
    fitted numeric(10, 2) DEFAULT 1.5,
    stable jsonb DEFAULT jsonb_build_object('a', 1),
    volatile integer DEFAULT nextval('counter'),
    random double precision DEFAULT random(),
    gone text DEFAULT 'gone',
    generated text GENERATED ALWAYS AS (plain || '!') STORED,
    identity bigint GENERATED ALWAYS AS IDENTITY
);
ALTER TABLE defaults DROP COLUMN gone;
CREATE TABLE seen (what text, aggregate defaults, command goes_command);
CREATE FUNCTION see_validate(aggregate defaults, command goes_command) RETURNS void
LANGUAGE sql AS $$INSERT INTO seen VALUES ('validate', aggregate, command)$$;
CREATE FUNCTION see_build(aggregate defaults, command goes_command) RETURNS goes_event_data
LANGUAGE sql AS $$
    INSERT INTO seen VALUES ('build', aggregate, command);
    SELECT goes_event_data('made', command.data)
$$;
SELECT goes_register_aggregate('default', 'defaults');
SELECT goes_register_event('default', 'made');
SELECT goes_register_command('default', 'make', validate => 'see_validate', build => 'see_build', target => 'any');
SELECT shown(goes_do('default.make', id(1), '{"none": "some"}', '{"m": 1}', 0, id(101)));
\x
SELECT what, (aggregate).* FROM seen;
SELECT (command).* FROM seen WHERE what = 'build';
SELECT plain, called, constant, composite, of_domain, none, fitted, stable, volatile, random, generated, identity FROM defaults;
TRUNCATE seen;
-- the second time it is the row as stored
SELECT shown(goes_do('default.make', id(1), '{"plain": "other"}'));
SELECT what, (aggregate).version, (aggregate).plain, (aggregate).none, (aggregate).stable, (aggregate).generated, (aggregate).identity,
    (command).* FROM seen;
\x
SELECT r.version, r.plain, r.generated, r.identity, r.volatile
FROM goes_execute(NULL::defaults, '{"command": "default.make", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"plain": "third"}}') r;
SELECT last_value, is_called FROM counter;

--
-- Functions in any language, STRICT or not
--

CREATE FUNCTION plpgsql_validate(aggregate things, command goes_command) RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    RAISE NOTICE 'validate: aggregate % at version %, command % with %', aggregate.name, aggregate.version, command.name, command.data;
END $$;
CREATE FUNCTION plpgsql_build(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql STRICT STABLE AS $$
BEGIN
    RETURN goes_event_data('plpgsql_set', command.data);
END $$;
CREATE FUNCTION plpgsql_calculate(aggregate things, event goes_event) RETURNS things LANGUAGE plpgsql STRICT IMMUTABLE AS $$
BEGIN
    aggregate.name := event.data ->> 'name';
    -- goes's own columns are set afterwards, whatever a calculator does
    aggregate.id := '99999999-9999-9999-9999-999999999999';
    aggregate.version := 77;
    aggregate.created_at := '2000-01-01';
    aggregate.updated_at := NULL;
    RETURN aggregate;
END $$;
CREATE FUNCTION sql_build(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE sql STRICT AS $$
    SELECT 'sql_set', NULL::integer, command.data, NULL::jsonb
$$;
CREATE FUNCTION sql_calculate(aggregate things, event goes_event) RETURNS things LANGUAGE sql STRICT IMMUTABLE AS $$
    SELECT aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, aggregate.deleted_at,
        event.data ->> 'name', aggregate.size + 1
$$;
SELECT goes_register_event('thing', 'plpgsql_set', calculator => 'plpgsql_calculate'),
    goes_register_event('thing', 'sql_set', calculator => 'sql_calculate');
SELECT goes_register_command('thing', 'plpgsql', validate => 'plpgsql_validate', build => 'plpgsql_build', target => 'any'),
    goes_register_command('thing', 'sql', build => 'sql_build', target => 'any');
SELECT goes_do('thing.plpgsql', id(6), '{"name": "one"}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.sql', id(6), '{"name": "two"}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.sql', id(6), '{"name": "three"}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.plpgsql', id(6), '{"name": "four"}') -> 'aggregate_version' AS version;
SELECT t.version, t.name, t.size, t.created_at = min(e.recorded_at) AS created_at, t.updated_at = max(e.recorded_at) AS updated_at
FROM things t JOIN things_events e ON aggregate_id = t.id WHERE t.id = id(6) GROUP BY t.id;

-- C: a function of PostgreSQL's own that takes no look at its arguments
CREATE FUNCTION c_validate(things, goes_command) RETURNS void LANGUAGE internal STRICT AS 'void_in';
CREATE FUNCTION c_reactor(goes_event) RETURNS void LANGUAGE internal STRICT AS 'void_in';
SELECT goes_register_command('thing', 'c', validate => 'c_validate', event => 'set', target => 'any');
SELECT goes_on('{thing}', sync => '{c_reactor}');
SELECT goes_do('thing.c', id(6), '{"name": "five"}') -> 'aggregate_version' AS version;
SELECT goes_off('c_reactor');

-- They see what earlier commands of the same statement did.
CREATE FUNCTION counting_build(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE sql AS $$
    SELECT goes_event_data('set', jsonb_build_object('size', (SELECT count(*) FROM things_events WHERE aggregate_id = command.aggregate_id)))
$$;
SELECT goes_register_command('thing', 'count', build => 'counting_build', target => 'any');
SELECT (goes_execute(NULL::things, '{"command": "thing.count", "aggregate_id": "00000000-0000-0000-0000-000000000007"}')).size
FROM generate_series(1, 4);

--
-- The time of an event: the wall clock, never earlier than the one before
--

BEGIN;
SELECT (goes_execute(NULL::things, '{"command": "thing.create", "aggregate_id": "00000000-0000-0000-0000-000000000008"}')).updated_at > now() AS wall_clock;
COMMIT;
-- a clock that was set back: the aggregate's last event is of tomorrow
BEGIN;
SET LOCAL goes.allow_direct_writes = on;
UPDATE things SET updated_at = now() + '1 day' WHERE id = id(8);
SELECT (goes_execute(NULL::things, '{"command": "thing.change", "aggregate_id": "00000000-0000-0000-0000-000000000008"}')).updated_at = now() + '1 day' AS never_earlier;
SELECT max(recorded_at) = now() + '1 day' AS never_earlier FROM things_events WHERE aggregate_id = id(8);
COMMIT;

--
-- Transient data reaches sync reactors, and nobody else
--

CREATE FUNCTION build_secret(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('secret', command.data - 'password', transient => command.data -> 'password');
CREATE FUNCTION calculate_secret(aggregate things, event goes_event) RETURNS things LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'calculator: data %, transient %', event.data, event.transient;
    RETURN aggregate;
END $$;
CREATE FUNCTION see_secret(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'reactor: data %, transient %', event.data, event.transient;
END $$;
CREATE FUNCTION see_secret_too(aggregate things, event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'reactor with aggregate %: transient %', aggregate.name, event.transient;
END $$;
CREATE FUNCTION see_secret_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'trigger: %', to_jsonb(NEW) - '{id,recorded_at,position}'::text[];
    RETURN NULL;
END $$;
SELECT goes_register_event('thing', 'secret', calculator => 'calculate_secret');
SELECT goes_register_command('thing', 'secret', build => 'build_secret', target => 'any');
SELECT goes_on('{thing.secret}', sync => '{see_secret,see_secret_too,see_secret_trigger}');
SELECT shown(goes_do('thing.secret', id(8), '{"account": 1, "password": "hush"}')) - 'position' AS result;
SELECT count(*) FILTER (WHERE e::text ~ 'hush') FROM things_events e;
-- each event has its own
SELECT goes_do('thing.secret', id(8), '{"account": 2}') -> 'aggregate_version' AS version;

--
-- Savepoints and exception blocks
--

BEGIN;
SELECT goes_do('thing.create', id(9), '{"name": "one"}') -> 'aggregate_version' AS version;
SAVEPOINT a;
SELECT goes_do('thing.change', id(9), '{"name": "two"}') -> 'aggregate_version' AS version;
ROLLBACK TO a;
SELECT goes_do('thing.change', id(9), '{"name": "three"}') -> 'aggregate_version' AS version;
SAVEPOINT b;
SELECT goes_do('thing.create', id(9));
ROLLBACK TO b;
SELECT goes_do('thing.change', id(9), '{"name": "four"}') -> 'aggregate_version' AS version;
RELEASE b;
COMMIT;
SELECT version, name FROM things WHERE id = id(9);
SELECT aggregate_version, data FROM things_events WHERE aggregate_id = id(9) ORDER BY position;

DO $$
BEGIN
    PERFORM goes_do('thing.change', id(9), '{"name": "five"}');
    BEGIN
        PERFORM goes_do('thing.change', id(9), '{"name": "six"}');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        PERFORM goes_do('thing.change', id(9), '{"name": "seven"}');
    END;
    BEGIN
        PERFORM goes_do('thing.create', id(9));
    EXCEPTION WHEN SQLSTATE 'OG004' THEN
        RAISE NOTICE '%', SQLERRM;
    END;
END $$;
SELECT version, name FROM things WHERE id = id(9);
SELECT aggregate_version, data FROM things_events WHERE aggregate_id = id(9) ORDER BY position;

-- A constraint of the table fails the command, and so undoes its event.
CREATE UNIQUE INDEX things_name ON things (name) WHERE name IS NOT NULL AND size > 100;
ALTER TABLE things ADD CHECK (size < 1000);
SELECT goes_do('thing.put', id(10), '{"name": "same", "size": 101}') -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('thing.put', id(11), '{"name": "same", "size": 101}')$$);
CALL fails($$SELECT goes_do('thing.change', id(10), '{"size": 1000}')$$);
SELECT aggregate_id, aggregate_version FROM things_events WHERE aggregate_id IN (id(10), id(11));

-- One statement may execute many commands, on one aggregate or several.
SELECT n, goes_do('thing.put', id(12 + n % 2), jsonb_build_object('size', n)) -> 'aggregate_version' AS version
FROM generate_series(1, 6) n;
SELECT id, version, size FROM things WHERE id IN (id(12), id(13)) ORDER BY id;

-- No read-only transaction, no PREPARE TRANSACTION after an event, even one
-- that was rolled back. (Prepared nevertheless, it would be in the way of much.)
BEGIN READ ONLY;
SELECT goes_do('thing.change', id(9));
ROLLBACK;
BEGIN;
SELECT goes_do('thing.change', id(9)) -> 'aggregate_version' AS appended \gset
\if :{?appended}
PREPARE TRANSACTION 'goes';
\endif
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT goes_do('thing.change', id(9)) -> 'aggregate_version' AS appended_too \gset
ROLLBACK TO a;
\if :{?appended_too}
PREPARE TRANSACTION 'goes';
\endif
ROLLBACK;
SELECT version FROM things WHERE id = id(9);

-- Everything that executes is VOLATILE and PARALLEL UNSAFE.
SELECT proname, provolatile, proparallel FROM pg_proc
WHERE proname IN ('goes_execute', 'goes_execute_many', 'goes_do') ORDER BY 1;

\i :end
