-- Commands executed inside of commands.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
CREATE TABLE things (LIKE goes_base_aggregate INCLUDING ALL, n integer DEFAULT 0);
SELECT goes_register_aggregate('thing', 'things');
SELECT goes_register_event('thing', 'set');
SELECT goes_register_command('thing', 'create', event => 'set', target => 'new'),
    goes_register_command('thing', 'set', event => 'set', target => 'any');

-- A function that executes what its command asks for, and swallows its errors
-- if it is asked to.
CREATE PROCEDURE run(what jsonb, swallow boolean) LANGUAGE plpgsql AS $$
BEGIN
    IF what IS NULL THEN
        RETURN;
    END IF;
    BEGIN
        PERFORM goes_execute(what);
        IF swallow THEN
            RAISE SQLSTATE 'ZZZZZ';
        END IF;
    EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
        NULL;
    END;
END $$;
CREATE FUNCTION validate_nested(aggregate things, command goes_command) RETURNS void LANGUAGE plpgsql AS
$$BEGIN CALL run(command.data -> 'validate', command.data ? 'swallow'); END$$;
CREATE FUNCTION build_nested(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$
BEGIN
    CALL run(command.data -> 'build', command.data ? 'swallow');
    RETURN goes_event_data('nested', command.data - '{validate,build,swallow}'::text[]);
END $$;
CREATE FUNCTION nested(aggregate things, event goes_event) RETURNS things LANGUAGE plpgsql AS $$
BEGIN
    CALL run(event.data -> 'calculate', false);
    aggregate.n := coalesce((event.data ->> 'n')::integer, aggregate.n);
    RETURN aggregate;
END $$;
CREATE FUNCTION react_nested(event goes_event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN CALL run(event.data -> 'react', event.data ? 'swallow_reaction'); END$$;
SELECT goes_register_event('thing', 'nested', calculator => 'nested');
SELECT goes_register_command('thing', 'nest', 'build_nested', 'validate_nested', target => 'any'),
    goes_register_command('thing', 'nest_new', 'build_nested', 'validate_nested', target => 'new');
SELECT goes_on('{thing.nested}', sync => '{react_nested}');

-- Another aggregate, in validate, build and a reactor
SELECT shown(goes_do('thing.nest', id(1), '{"n": 1,
    "validate": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"n": 2}},
    "build": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000003", "data": {"n": 3}},
    "react": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000004", "data": {"n": 4}}}')) - 'data' AS event;
SELECT position, aggregate_id, aggregate_version FROM things_events ORDER BY position;
SELECT id, version, n FROM things ORDER BY id;

-- The same aggregate: not in validate or build, what they saw would not hold;
-- neither for an aggregate that is there nor for one that is not yet.
CALL fails($$SELECT goes_do('thing.nest', id(1), '{"n": 10,
    "validate": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 11}}}')$$);
CALL fails($$SELECT goes_do('thing.nest', id(1), '{"n": 10,
    "build": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 11}}}')$$);
CALL fails($$SELECT goes_do('thing.nest', id(5), '{"n": 10,
    "build": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 11}}}')$$);
CALL fails($$SELECT goes_do('thing.nest_new', id(5), '{"n": 10,
    "validate": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 11}}}')$$);
-- two levels down
CALL fails($$SELECT goes_do('thing.nest', id(1), '{"n": 10,
    "build": {"command": "thing.nest", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {
        "react": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 11}}}}}')$$);
-- but if it was rolled back, nothing moved
SELECT goes_do('thing.nest', id(1), '{"n": 12, "swallow": true,
    "validate": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 11}}}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.nest', id(6), '{"n": 12, "swallow": true,
    "build": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000006", "data": {"n": 11}}}') -> 'aggregate_version' AS version;
SELECT id, version, n FROM things WHERE id IN (id(1), id(5), id(6)) ORDER BY id;

-- A reactor may: the event is stored by then. The state that is returned is the
-- one after it all, the event the command's own.
SELECT r.version, r.n FROM goes_execute(NULL::things, '{"command": "thing.nest", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 20,
    "react": {"command": "thing.nest", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 21,
        "react": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 22}}}}}}') r;
SELECT goes_do('thing.nest', id(1), '{"n": 23,
    "react": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"n": 24}}}') -> 'aggregate_version' AS version;
SELECT aggregate_version, data -> 'n' AS n FROM things_events WHERE aggregate_id = id(1) ORDER BY position;

-- A reactor's exception block undoes the nested command only.
SELECT goes_do('thing.nest', id(7), '{"n": 30, "swallow_reaction": true,
    "react": {"command": "thing.nest", "aggregate_id": "00000000-0000-0000-0000-000000000007", "data": {"n": 31}}}') -> 'aggregate_version' AS version;
SELECT goes_do('thing.set', id(7), '{"n": 32}') -> 'aggregate_version' AS version;
SELECT aggregate_version, data -> 'n' AS n FROM things_events WHERE aggregate_id = id(7) ORDER BY position;

-- A reactor that fails undoes all of it; the context tells the way there.
CALL fails($$SELECT goes_do('thing.nest', id(8), '{
    "react": {"command": "thing.nest", "aggregate_id": "00000000-0000-0000-0000-000000000009", "data": {
        "react": {"command": "thing.create", "aggregate_id": "00000000-0000-0000-0000-000000000001"}}}}')$$);
SELECT count(*) FROM things WHERE id IN (id(8), id(9));

-- A calculator cannot execute commands: it runs again on replay.
CALL fails($$SELECT goes_do('thing.nest', id(8), '{
    "calculate": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000009"}}')$$);

-- How deep: goes.max_nesting
CREATE FUNCTION matryoshka(depth integer) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN jsonb_build_object('command', 'thing.nest', 'aggregate_id', id(40 + depth),
        'data', CASE WHEN depth > 1 THEN jsonb_build_object('react', matryoshka(depth - 1)) ELSE '{}' END);
END $$;
SHOW goes.max_nesting;
SELECT goes_execute(matryoshka(32)) -> 'aggregate_version' AS version;
SELECT count(*) FROM things WHERE id > id(40);
DO $$
DECLARE
    detail text;
    hint text;
BEGIN
    PERFORM goes_execute(matryoshka(33));
EXCEPTION WHEN SQLSTATE 'OG009' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RAISE INFO '%, %, %', SQLERRM, detail, hint;
END $$;
SELECT sum(version) FROM things WHERE id > id(40);
SET goes.max_nesting = 33;
SELECT goes_execute(matryoshka(33)) -> 'aggregate_version' AS version;
SET goes.max_nesting = 2;
SELECT goes_execute(matryoshka(2)) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_execute(matryoshka(3))$$);
SET goes.max_nesting = 1;
SELECT goes_execute(matryoshka(1)) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_execute(matryoshka(2))$$);
CALL fails($$SELECT goes_do('thing.nest', id(1), '{"build": {"command": "thing.set", "aggregate_id": "00000000-0000-0000-0000-000000000002"}}')$$);
-- goes_execute_many is no level of its own
SELECT count(*) FROM goes_execute_many(jsonb_build_array(matryoshka(1), matryoshka(1)));
SET goes.max_nesting = 0;
SET goes.max_nesting = 1001;
RESET goes.max_nesting;

-- A reactor that reacts to itself comes to an end.
CREATE FUNCTION forever(event goes_event) RETURNS void LANGUAGE sql AS
$$SELECT goes_do('thing.set', event.aggregate_id)$$;
SELECT goes_on('{thing.set}', sync => '{forever}');
\set VERBOSITY terse
SELECT goes_do('thing.set', id(1));
\set VERBOSITY default
SELECT goes_off('forever');

-- A trigger of the user's own, and functions that queries of reactors call, may
-- execute commands as well; a command may be in a cursor, a view or a default.
CREATE TABLE log (n integer, event jsonb DEFAULT goes_do('thing.set', id(90), '{"n": 90}'));
CREATE FUNCTION log_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_do('thing.set', id(91), jsonb_build_object('n', NEW.n));
    RETURN NULL;
END $$;
CREATE TRIGGER log AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION log_trigger();
CREATE FUNCTION react_log(aggregate things, event goes_event) RETURNS void LANGUAGE sql AS
$$INSERT INTO log (n) SELECT aggregate.n WHERE aggregate.id = id(92)$$;
SELECT goes_on('{thing.set}', sync => '{react_log}');
SELECT goes_do('thing.set', id(92), '{"n": 92}') -> 'aggregate_version' AS version;
SELECT n, event -> 'aggregate_id' AS aggregate_id FROM log;
SELECT e.aggregate_id, e.aggregate_version, cause.aggregate_id AS causation
FROM things_events e LEFT JOIN things_events cause ON cause.id = (e.metadata ->> 'causation_id')::uuid
WHERE e.aggregate_id BETWEEN id(90) AND id(92) ORDER BY e.position;
BEGIN;
DECLARE c CURSOR FOR SELECT goes_do('thing.set', id(93), jsonb_build_object('n', n)) -> 'aggregate_version' AS version FROM generate_series(1, 10) n;
FETCH 2 FROM c;
SELECT goes_do('thing.set', id(93)) -> 'aggregate_version' AS version;
FETCH 2 FROM c;
COMMIT;

\i :end
