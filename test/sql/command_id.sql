-- Command ids: a command with one runs once.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user
CREATE TABLE things (LIKE goes_base_aggregate INCLUDING ALL, n integer NOT NULL DEFAULT 0);
CREATE FUNCTION build_thing(aggregate things, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'build %', command.data - '{nested,react}'::text[];
    IF command.data ? 'nothing' THEN
        RETURN NULL;
    ELSIF command.data ? 'fail' THEN
        PERFORM goes_reject('failed');
    ELSIF command.data ? 'nested' THEN
        PERFORM goes_execute(command.data -> 'nested');
    END IF;
    RETURN goes_event_data('set', command.data);
END $$;
CREATE FUNCTION react_thing(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'reactor %', event.data - '{nested,react}'::text[];
    PERFORM goes_execute(event.data -> 'react') WHERE event.data ? 'react';
END $$;
SELECT goes_register_aggregate('thing', 'things');
SELECT goes_register_event('thing', 'set');
SELECT goes_register_command('thing', 'create', 'build_thing', target => 'new'),
    goes_register_command('thing', 'put', 'build_thing', target => 'any'),
    goes_register_command('thing', 'other', 'build_thing', target => 'any');
SELECT goes_on('{thing}', sync => '{react_thing}');

-- The second time nothing runs, and the first outcome is returned: the very event.
SELECT goes_do('thing.create', id(1), '{"n": 1}', command_id => id(101)) AS first \gset
SELECT shown(:'first');
SELECT goes_do('thing.create', id(1), '{"n": 1}', command_id => id(101)) = :'first' AS same;
SELECT goes_do('thing.put', id(1), '{"n": 2}') -> 'aggregate_version' AS version;
-- whatever else it says: data, metadata and expected version are not looked at
SELECT goes_do('thing.create', id(1), '{"n": 3}', '{"other": 1}', 7, id(101)) = :'first' AS same;
SELECT goes_execute('{"command": "thing.create", "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "command_id": "00000000-0000-0000-0000-000000000101"}') = :'first' AS same;
-- goes_execute(anyelement) returns the aggregate as it is now
SELECT r.version, r.n FROM goes_execute(NULL::things, '{"command": "thing.create", "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "command_id": "00000000-0000-0000-0000-000000000101"}') r;
SELECT command_id, aggregate_version FROM things_events ORDER BY position;

-- Without aggregate id: the id that was generated the first time.
SELECT goes_do('thing.create', data => '{"n": 1}', command_id => id(102)) AS first \gset
SELECT goes_do('thing.create', data => '{"n": 1}', command_id => id(102)) = :'first' AS same;

-- The outcome may be that nothing happened: it stays so.
SELECT goes_do('thing.put', id(1), '{"nothing": true}', command_id => id(103)) IS NULL AS nothing;
SELECT goes_do('thing.put', id(1), '{"n": 4}', command_id => id(103)) IS NULL AS nothing;
-- also for an aggregate that does not exist
SELECT goes_do('thing.put', id(2), '{"nothing": true}', command_id => id(104)) IS NULL AS nothing;
SELECT goes_do('thing.put', id(2), '{"n": 4}', command_id => id(104)) IS NULL AS nothing;
SELECT goes_execute(NULL::things, '{"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000002",
    "command_id": "00000000-0000-0000-0000-000000000104"}') IS NULL AS nothing;

-- The event need not be the aggregate's last, nor the aggregate alive.
CREATE FUNCTION thing_deleted(aggregate things, event goes_event) RETURNS things LANGUAGE plpgsql AS
$$BEGIN aggregate.deleted_at := event.recorded_at; RETURN aggregate; END$$;
SELECT goes_register_event('thing', 'deleted', 1, 'thing_deleted');
SELECT goes_register_command('thing', 'delete', event => 'deleted');
SELECT goes_do('thing.delete', id(1), command_id => id(105)) AS first \gset
SELECT goes_do('thing.delete', id(1), command_id => id(105)) = :'first' AS same;
SELECT goes_do('thing.create', id(1), command_id => id(101)) -> 'aggregate_version' AS version;

-- Used for something else: OG010
CALL fails($$SELECT goes_do('thing.put', id(1), command_id => id(101))$$);
CALL fails($$SELECT goes_do('thing.create', id(3), command_id => id(101))$$);
CALL fails($$SELECT goes_do('thing.create', command_id => id(101))$$);
CALL fails($$SELECT goes_do('thing.create', id(1), command_id => id(102))$$);
CALL fails($$SELECT goes_do('user.create', id(1), command_id => id(103))$$);

-- A command that failed may run again.
CALL fails($$SELECT goes_do('thing.put', id(4), '{"fail": true}', command_id => id(106))$$);
SELECT goes_do('thing.put', id(4), '{"n": 4}', command_id => id(106)) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('thing.create', id(4), command_id => id(107))$$);
SELECT goes_do('thing.other', id(4), command_id => id(107)) -> 'aggregate_version' AS version;
-- So may one that was rolled back, all of it or to a savepoint.
BEGIN;
SELECT goes_do('thing.put', id(4), '{"n": 5}', command_id => id(108)) -> 'aggregate_version' AS version;
SELECT goes_do('thing.put', id(4), '{"n": 5}', command_id => id(108)) -> 'aggregate_version' AS version;
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT goes_do('thing.put', id(4), '{"n": 6}', command_id => id(108)) -> 'aggregate_version' AS version;
ROLLBACK TO a;
SELECT goes_do('thing.put', id(4), '{"n": 7}', command_id => id(108)) -> 'aggregate_version' AS version;
COMMIT;
SELECT n, version FROM things WHERE id = id(4);

-- An unknown command claims nothing.
CALL fails($$SELECT goes_do('thing.unknown', id(4), command_id => id(109))$$);
SELECT command_id, command, given_id, event_position FROM goes.commands ORDER BY 1;
SELECT bool_and(claimed_at <= clock_timestamp()) AS claimed, bool_and(aggregate_id IS NOT NULL) AS settled FROM goes.commands;

-- In goes_execute_many: each once, also when an id occurs twice in the array.
SELECT row_number() OVER () AS command, shown(e) - '{metadata,aggregate_type,event_version}'::text[] AS event FROM goes_execute_many('[
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 1}, "command_id": "00000000-0000-0000-0000-000000000111"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 2}, "command_id": "00000000-0000-0000-0000-000000000110"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 3}, "command_id": "00000000-0000-0000-0000-000000000111"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"nothing": 1}, "command_id": "00000000-0000-0000-0000-000000000112"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 4}, "command_id": "00000000-0000-0000-0000-000000000112"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000004", "data": {"n": 5}, "command_id": "00000000-0000-0000-0000-000000000108"}
]') e;
-- and the whole array again
SELECT row_number() OVER () AS command, e -> 'position' AS position FROM goes_execute_many('[
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 1}, "command_id": "00000000-0000-0000-0000-000000000111"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 2}, "command_id": "00000000-0000-0000-0000-000000000110"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"nothing": 1}, "command_id": "00000000-0000-0000-0000-000000000112"}
]') e;
CALL fails($$SELECT goes_execute_many('[
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 1}, "command_id": "00000000-0000-0000-0000-000000000113"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000006", "data": {"n": 2}, "command_id": "00000000-0000-0000-0000-000000000113"}
]')$$);
CALL fails($$SELECT goes_execute_many('[
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"n": 1}, "command_id": "00000000-0000-0000-0000-000000000113"},
    {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"fail": 2}, "command_id": "00000000-0000-0000-0000-000000000114"}
]')$$);
SELECT count(*) FROM goes.commands WHERE command_id IN (id(113), id(114));

-- Nested commands have ids of their own.
SELECT goes_do('thing.put', id(7), '{"n": 1,
    "nested": {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000008", "command_id": "00000000-0000-0000-0000-000000000121"},
    "react": {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000009", "command_id": "00000000-0000-0000-0000-000000000122"}}',
    command_id => id(120)) -> 'position' AS position;
SELECT goes_do('thing.put', id(7), command_id => id(120)) -> 'position' AS position;
SELECT goes_do('thing.put', id(8), command_id => id(121)) -> 'position' AS position;
SELECT goes_do('thing.put', id(9), command_id => id(122)) -> 'position' AS position;
-- one that ran before runs no more
SELECT goes_do('thing.put', id(7), '{"n": 2,
    "react": {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000009", "command_id": "00000000-0000-0000-0000-000000000122"}}') -> 'position' AS position;
-- A command cannot be its own: it has no outcome yet.
CALL fails($$SELECT goes_do('thing.put', id(7), '{"n": 1,
    "nested": {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000007", "command_id": "00000000-0000-0000-0000-000000000123"}}',
    command_id => id(123))$$);
CALL fails($$SELECT goes_do('thing.put', id(7), '{"n": 1,
    "react": {"command": "thing.put", "aggregate_id": "00000000-0000-0000-0000-000000000007", "command_id": "00000000-0000-0000-0000-000000000123"}}',
    command_id => id(123))$$);
SELECT count(*) FROM goes.commands WHERE command_id = id(123);

-- goes_forget_commands: how many were used before that time; they run again then.
SELECT goes_forget_commands('2000-01-01'), goes_forget_commands('-infinity');
SELECT goes_forget_commands(NULL);
SELECT count(*) AS known FROM goes.commands \gset
SELECT goes_forget_commands(clock_timestamp()) = :known AS all_of_them;
SELECT count(*) FROM goes.commands;
SELECT goes_do('thing.put', id(9), command_id => id(122)) -> 'aggregate_version' AS version;

-- The registered names may change meanwhile: a command is what it was called.
SELECT goes_do('thing.put', id(10), '{"n": 1}', command_id => id(130)) -> 'aggregate_version' AS version;
SELECT goes_unregister_command('thing', 'put');
CALL fails($$SELECT goes_do('thing.put', id(10), '{"n": 1}', command_id => id(130))$$);
SELECT goes_register_command('thing', 'put', event => 'set');
SELECT goes_do('thing.put', id(10), '{"n": 1}', command_id => id(130)) -> 'aggregate_version' AS version;

\i :end
