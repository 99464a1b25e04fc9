-- Metadata: the command's, over the setting goes.metadata, over that of the
-- event that caused the command; and over all the ids that trace the cause.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
CREATE TABLE things (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('thing', 'things');
SELECT goes_register_event('thing', 'done', calculator => NULL);
SELECT goes_register_command('thing', 'do', event => 'done', target => 'any');

-- None: an empty object.
SELECT goes_do('thing.do') -> 'metadata' AS metadata;
SHOW goes.metadata;

-- The setting, for a transaction or the session
BEGIN;
SET LOCAL goes.metadata = '{"request_id": "my_request_id", "user": {"id": 1}}';
SELECT goes_do('thing.do', id(1)) -> 'metadata' AS metadata;
-- merged under the command's, key by key at the top
SELECT goes_do('thing.do', id(1), metadata => '{"user": {"name": "me"}, "b": 1}') -> 'metadata' AS metadata;
SAVEPOINT a;
SET LOCAL goes.metadata = '{"other": null}';
SELECT goes_do('thing.do', id(1)) -> 'metadata' AS metadata;
ROLLBACK TO a;
SELECT goes_do('thing.do', id(1)) -> 'metadata' AS metadata;
COMMIT;
SELECT goes_do('thing.do', id(1)) -> 'metadata' AS metadata;
SET goes.metadata = '{"session": true}';
SELECT goes_do('thing.do', id(1)) -> 'metadata' AS metadata;
SELECT metadata FROM things_events WHERE aggregate_id = id(1) ORDER BY position;
SET goes.metadata = '';
SELECT goes_do('thing.do', id(1)) -> 'metadata' AS metadata;
SET goes.metadata = '  {}  ';
SELECT goes_do('thing.do', id(1)) -> 'metadata' AS metadata;
RESET goes.metadata;

-- validate and build get it merged.
CREATE FUNCTION show_metadata(aggregate things, command goes_command) RETURNS void LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'validate: %', command.metadata; END$$;
SELECT goes_register_command('thing', 'show', event => 'done', validate => 'show_metadata', target => 'any');
BEGIN;
SET LOCAL goes.metadata = '{"a": 1}';
SELECT goes_do('thing.show', metadata => '{"b": 2}') -> 'metadata' AS metadata;
COMMIT;

-- A function with a SET clause
CREATE FUNCTION with_setting() RETURNS jsonb LANGUAGE sql SET goes.metadata = '{"of": "function"}'
AS $$SELECT goes_do('thing.do') -> 'metadata'$$;
SELECT with_setting();
SELECT goes_do('thing.do') -> 'metadata' AS metadata;

-- Invalid values are refused.
SET goes.metadata = '[]';
SET goes.metadata = '"text"';
SET goes.metadata = 'null';
SET goes.metadata = '{"a": }';
SET goes.metadata = '{"a": 1} {"b": 2}';
SET goes.metadata = 'text';
SELECT set_config('goes.metadata', '{', false);
SHOW goes.metadata;
-- what is JSON but cannot be jsonb, when it is used
SET goes.metadata = '{"a": "\u0000"}';
CALL fails($$SELECT goes_do('thing.do')$$);
RESET goes.metadata;

-- A command that a reactor executes inherits the metadata of the event that
-- caused it, under the setting and its own; causation_id is that event,
-- correlation_id the one that began it all.
CREATE FUNCTION continue(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event.data ? 'next' THEN
        PERFORM goes_do('thing.do', event.aggregate_id, event.data -> 'next', coalesce(event.data -> 'metadata', '{}'));
    END IF;
END $$;
SELECT goes_on('{thing}', sync => '{continue}');
BEGIN;
SET LOCAL goes.metadata = '{"request_id": "r", "a": "setting"}';
SELECT goes_do('thing.do', id(2), '{"next": {"next": {"next": {}, "metadata": {"a": "own", "c": 3}}, "metadata": {"b": 2}}}',
    '{"a": "first", "first": true}') -> 'metadata' AS metadata;
COMMIT;
SELECT e.aggregate_version, e.metadata - '{causation_id,correlation_id}'::text[] AS metadata,
    cause.aggregate_version AS causation, began.aggregate_version AS correlation
FROM things_events e
    LEFT JOIN things_events cause ON cause.id = (e.metadata ->> 'causation_id')::uuid
    LEFT JOIN things_events began ON began.id = (e.metadata ->> 'correlation_id')::uuid
WHERE e.aggregate_id = id(2) ORDER BY e.position;

-- A correlation_id that the first command was given goes through; no command can
-- pretend another cause.
SELECT goes_do('thing.do', id(3), '{"next": {"next": {}, "metadata": {"causation_id": "lie", "correlation_id": "lie"}}}',
    '{"correlation_id": "given"}') -> 'metadata' AS metadata;
SELECT e.aggregate_version, e.metadata - 'causation_id' AS metadata, cause.aggregate_version AS causation
FROM things_events e
    LEFT JOIN things_events cause ON cause.id = (e.metadata ->> 'causation_id')::uuid
WHERE e.aggregate_id = id(3) ORDER BY e.position;

-- A command that a build or validate function executes has no cause; unless a
-- reactor is further out.
CREATE FUNCTION do_other(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_do('thing.do', id(5), '{}', '{"by": "build"}');
    RETURN goes_event_data('done', '{}');
END $$;
SELECT goes_register_command('thing', 'do_other', 'do_other', target => 'any');
SELECT goes_do('thing.do_other', id(4), metadata => '{"outer": true}') -> 'metadata' AS metadata;
CREATE FUNCTION react_with_build(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event.data ? 'build' THEN
        PERFORM goes_do('thing.do_other', id(4));
    END IF;
END $$;
SELECT goes_on('{thing}', sync => '{react_with_build}');
SELECT goes_do('thing.do', id(6), '{"build": true}', '{"outermost": true}') -> 'metadata' AS metadata;
SELECT e.aggregate_id, e.metadata - '{causation_id,correlation_id}'::text[] AS metadata,
    cause.aggregate_id AS causation, began.aggregate_id AS correlation
FROM things_events e
    LEFT JOIN things_events cause ON cause.id = (e.metadata ->> 'causation_id')::uuid
    LEFT JOIN things_events began ON began.id = (e.metadata ->> 'correlation_id')::uuid
WHERE e.aggregate_id IN (id(4), id(5), id(6)) ORDER BY e.position;

-- After a reactor failed, nothing of its cause is left behind.
CREATE FUNCTION fail(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event.data ? 'fail' THEN
        RAISE 'failed';
    END IF;
END $$;
SELECT goes_on('{thing}', sync => '{fail}');
CALL fails($$SELECT goes_do('thing.do', id(7), '{"fail": true}')$$);
\set SHOW_CONTEXT never
SELECT goes_do('thing.do', id(7), '{"fail": true}');
\set SHOW_CONTEXT errors
SELECT goes_do('thing.do', id(7)) -> 'metadata' AS metadata;

\i :end
