-- What is shown of commands and of the model, and to whom.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

--
-- goes_dataflow
--
-- Nothing is registered.
SELECT goes_dataflow();
SELECT goes_dataflow('dot');
CALL fails($$SELECT goes_dataflow('svg')$$);
CALL fails($$SELECT goes_dataflow('DOT')$$);
CALL fails($$SELECT goes_dataflow(NULL)$$);

-- alice owns orders; mia monitors, bob has nothing to do with it.
CREATE ROLE regress_goes_alice LOGIN;
CREATE ROLE regress_goes_mia IN ROLE pg_monitor;
CREATE ROLE regress_goes_bob;
GRANT USAGE, CREATE ON SCHEMA test TO regress_goes_alice, regress_goes_bob;
GRANT USAGE ON SCHEMA test TO regress_goes_mia;

SET ROLE regress_goes_alice;
CREATE TABLE orders (LIKE goes_base_aggregate INCLUDING ALL, total integer);
CREATE FUNCTION build_order(aggregate orders, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$
BEGIN
    IF command.data ? 'fail' THEN
        RAISE 'failed' USING ERRCODE = 'UE001';
    ELSIF command.data ? 'reject' THEN
        PERFORM goes_reject('rejected');
    ELSIF command.data ? 'nested' THEN
        PERFORM goes_execute(command.data -> 'nested');
    ELSIF command.data ? 'tried' THEN
        BEGIN
            PERFORM goes_execute(command.data -> 'tried');
        EXCEPTION WHEN OTHERS THEN
        END;
    END IF;
    RETURN CASE WHEN NOT command.data ? 'nothing' THEN goes_event_data('placed', command.data) END;
END $$;
CREATE FUNCTION order_placed(aggregate orders, event goes_event) RETURNS orders LANGUAGE plpgsql AS $$
BEGIN
    aggregate.total := event.data -> 'total';
    RETURN aggregate;
END $$;
CREATE FUNCTION upcast_placed(data jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE RETURN data;
CREATE FUNCTION audit(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION as_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION ship(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
SET client_min_messages = error;
SELECT goes_register_aggregate('order', 'orders'),
    -- a gap: the first version is not turned into the third
    goes_register_event('order', 'paid', 1, 'order_placed'),
    goes_register_event('order', 'paid', 3),
    goes_register_event('order', 'placed', 1, 'order_placed'),
    goes_register_event('order', 'placed', 2, 'order_placed'),
    goes_register_event('order', 'noted', 1, NULL),
    goes_register_upcaster('order', 'placed', 1, 'upcast_placed'),
    -- what it makes is unknown, known, and told
    goes_register_command('order', 'decide', 'build_order', target => 'any'),
    goes_register_command('order', 'note', event => 'noted'),
    goes_register_command('order', 'place', 'build_order', event => 'placed', target => 'any'),
    goes_on('{order}', sync => '{audit}'),
    goes_on('{order.placed.1,order.noted}', sync => '{as_trigger}'),
    goes_on('{order.placed,order.paid}', async => '{ship}', outside => '{mailer}');
-- which is off
SELECT goes_on('{order}', outside => '{unused}');
SELECT goes_off('unused');
RESET client_min_messages;
SELECT goes_dataflow();
SELECT goes_dataflow('dot');

-- Everybody who may read the registry sees it all.
SET ROLE regress_goes_bob;
SELECT md5(goes_dataflow()) AS seen_by_bob \gset
RESET ROLE;
SELECT md5(goes_dataflow()) = :'seen_by_bob' AS the_same;
BEGIN;
REVOKE SELECT ON goes.aggregate_types FROM PUBLIC;
SET ROLE regress_goes_bob;
SELECT goes_dataflow();
ROLLBACK;
BEGIN;
REVOKE SELECT ON goes.reactors FROM PUBLIC;
SET ROLE regress_goes_bob;
SELECT goes_dataflow('dot');
ROLLBACK;

-- What reactors do not reach is not drawn: alice's, to bob's tables. Nor is a
-- trigger that the owner has dropped.
SET ROLE regress_goes_bob;
CREATE TABLE "Bob's [things]" (LIKE goes_base_aggregate INCLUDING ALL, name text);
SET client_min_messages = error;
SELECT goes_register_aggregate('thing', '"Bob''s [things]"'), goes_register_event('thing', 'made'),
    goes_register_command('thing', 'make', event => 'made', target => 'new');
RESET ROLE;
SELECT goes_on('{*}', outside => '{everything}'), goes_on('{thing}', sync => '{audit}', async => '{ship}');
RESET client_min_messages;
DROP TRIGGER "goes_on_test.as_trigger" ON orders_events;
CREATE FUNCTION edges(of text) RETURNS SETOF text LANGUAGE sql
BEGIN ATOMIC
    WITH lines AS (SELECT line FROM regexp_split_to_table(goes_dataflow('dot'), '\n') line),
    nodes AS (SELECT substring(line, '^ *(n\d+)') AS id, substring(line, 'label="((?:[^"\\]|\\.)*)"') AS label FROM lines WHERE line ~ '^ *n\d+ \[')
    SELECT label FROM lines JOIN nodes ON line ~ ('^  ' || id || ' -> ') JOIN (SELECT id AS target, label AS at FROM nodes) t ON line ~ (' -> ' || target || '( \[.*)?;$')
    WHERE at = of ORDER BY label COLLATE "C";
END;
SELECT edges('everything');
SELECT edges('test.audit');
SELECT edges('test.as_trigger');
SELECT edges('test.ship');

-- Names that are hard to write
SET ROLE regress_goes_alice;
CREATE TABLE "Tab ""le"" <b>&amp;</b> \N {x} [y] (z) #quot; |%| `c` ~é日" (LIKE goes_base_aggregate INCLUDING ALL);
ALTER TABLE "Tab ""le"" <b>&amp;</b> \N {x} [y] (z) #quot; |%| `c` ~é日" RENAME TO "Tab
""le"" <b>&amp;</b> \N {x} [y] (z) #quot; |%| `c` ~é日";
CREATE FUNCTION "Calc""[]"(aggregate "Tab
""le"" <b>&amp;</b> \N {x} [y] (z) #quot; |%| `c` ~é日", event goes_event) RETURNS "Tab
""le"" <b>&amp;</b> \N {x} [y] (z) #quot; |%| `c` ~é日" LANGUAGE plpgsql AS $$ BEGIN RETURN aggregate; END $$;
SELECT goes_register_aggregate('Ünïcode "type" end', 'test."Tab
""le"" <b>&amp;</b> \N {x} [y] (z) #quot; |%| `c` ~é日"', 'Events "of" it');
SELECT goes_register_event('Ünïcode "type" end', '1 <script>;', calculator => '"Calc""[]"'),
    goes_register_event('Ünïcode "type" end', '-_x__-', calculator => NULL),
    goes_register_command('Ünïcode "type" end', '"];--> \', event => '1 <script>;', target => 'new'),
    goes_on('{"Ünïcode \"type\" end"}', outside => '{"out\"side\\","%%{init}%%"}');
SELECT line FROM regexp_split_to_table(goes_dataflow(), '\n') line WHERE line ~ '#';
SELECT line FROM regexp_split_to_table(goes_dataflow('dot'), '\n') line WHERE line ~ 'Ünïcode|Calc|Tab|init|out.*shape';
RESET ROLE;

--
-- goes_stat_commands
--
-- Everything has a comment, and everybody may look.
SELECT c.relname AS view, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns,
    bool_and(col_description(c.oid, a.attnum) IS NOT NULL) AND obj_description(c.oid, 'pg_class') IS NOT NULL AS described,
    has_table_privilege('pg_monitor', c.oid, 'SELECT') AS readable
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname = 'goes_stat_commands' AND a.attnum > 0 GROUP BY c.oid, c.relname;

-- Without the preload nothing is counted.
SELECT current_setting('shared_preload_libraries') ~ '\mgoes\M' AS preloaded \gset
\if :preloaded
\else
SELECT goes_do('order.place', id(1)) IS NOT NULL AS placed;
CALL fails($$SELECT * FROM goes_stat_commands$$);
\set ECHO none
\i :end
DROP OWNED BY regress_goes_alice, regress_goes_mia, regress_goes_bob;
DROP ROLE regress_goes_alice, regress_goes_mia, regress_goes_bob;
\quit
\endif

-- Who sees what
SELECT command, calls, rejected, failed, total_time, mean_time FROM goes_stat_commands;
SET ROLE regress_goes_alice;
SELECT command FROM goes_stat_commands;
SET ROLE regress_goes_bob;
SELECT command FROM goes_stat_commands;
SET ROLE regress_goes_mia;
SELECT command FROM goes_stat_commands;
SET ROLE regress_goes_alice;

-- What alice's commands did since the last look
CREATE TEMPORARY TABLE seen AS SELECT * FROM goes_stat_commands;
CREATE FUNCTION counted(OUT command text, OUT calls bigint, OUT rejected bigint, OUT failed bigint, OUT took boolean) RETURNS SETOF record
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT n.command, n.calls - o.calls, n.rejected - o.rejected, n.failed - o.failed, n.total_time > o.total_time
        FROM goes_stat_commands n JOIN seen o USING (command) WHERE n.calls > o.calls ORDER BY n.command COLLATE "C";
    DELETE FROM seen;
    INSERT INTO seen SELECT * FROM goes_stat_commands;
END $$;

-- Well, with no event, by all ways
SELECT goes_do('order.place', id(1)) IS NOT NULL AS placed;
SELECT * FROM counted();
SELECT goes_execute('{"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"nothing": true}}');
SELECT (goes_execute(NULL::orders, '{"command": "order.decide", "aggregate_id": "00000000-0000-0000-0000-000000000001"}')).version;
SELECT count(*) FROM goes_execute_many('[{"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000001"},
    {"command": "order.note", "aggregate_id": "00000000-0000-0000-0000-000000000001"},
    {"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000002"}]');
SELECT * FROM counted();
SELECT bool_and(abs(mean_time * calls - total_time) < 0.001) AS mean, bool_and(total_time > 0 AND total_time < 60000) AS milliseconds FROM goes_stat_commands WHERE calls > 0;
-- one that has a command id counts each time
SELECT goes_do('order.place', id(1), command_id => id(100)) IS NOT NULL AS placed FROM generate_series(1, 2);
SELECT * FROM counted();
-- hard names
SELECT goes_do('Ünïcode "type" end."];--> \', id(1)) IS NOT NULL AS done;
SELECT * FROM counted();

-- Rejected and failed; what was not found does not count
SELECT goes_do('order.place', id(1), '{"reject": 1}');
SELECT goes_do('order.place', id(1), '{"fail": 1}');
SELECT goes_do('order.place', id(1), expected_version => 0);
SELECT goes_do('order.note', id(9));
SELECT goes_do('order.note');
SELECT goes_do('order.place', id(1), command_id => id(100)) IS NOT NULL AS placed;
SELECT goes_do('order.decide', id(1), command_id => id(100));
SELECT goes_do('order.unknown', id(1));
SELECT goes_do('unknown.unknown', id(1));
SELECT goes_do('unknown', id(1));
SELECT goes_execute('{"command": "order.place", "unknown": 1}');
SELECT (goes_execute(NULL::"Bob's [things]", '{"command": "order.place"}'));
SELECT * FROM counted();
-- lack of rights is a failure
SET ROLE regress_goes_mia;
SELECT goes_do('order.place', id(1));
SET ROLE regress_goes_alice;
SELECT * FROM counted();

-- Of several, those that began
SELECT goes_execute_many('[{"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000001"},
    {"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"reject": 1}},
    {"command": "order.note", "aggregate_id": "00000000-0000-0000-0000-000000000001"}]');
SELECT * FROM counted();
SELECT goes_execute_many('[{"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000001"}, {"command": "order.unknown"}]');
SELECT * FROM counted();

-- Rolled back, with savepoints
BEGIN;
SELECT goes_do('order.place', id(1)) IS NOT NULL AS placed;
ROLLBACK;
SELECT * FROM counted();
BEGIN;
SELECT goes_do('order.place', id(1)) IS NOT NULL AS placed;
SAVEPOINT s;
SELECT goes_do('order.place', id(1)) IS NOT NULL AS placed;
SELECT goes_do('order.place', id(1), '{"reject": 1}');
ROLLBACK TO s;
SELECT goes_do('order.note', id(1)) IS NOT NULL AS noted;
SELECT goes_do('order.decide', id(1), '{"fail": 1}');
ROLLBACK TO s;
SELECT goes_do('order.place', id(1)) IS NOT NULL AS placed;
COMMIT;
SELECT * FROM counted();
-- in the transaction itself
BEGIN;
SELECT goes_do('order.place', id(1)) IS NOT NULL AS placed;
SELECT * FROM counted();
COMMIT;
SELECT * FROM counted();

-- Nested: an error that is not caught is that of the outer one too
SELECT goes_do('order.decide', id(3), '{"nested": {"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000004"}}') IS NOT NULL AS decided;
SELECT * FROM counted();
SELECT goes_do('order.decide', id(3), '{"nested": {"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000004", "data": {"reject": 1}}}');
SELECT * FROM counted();
SELECT goes_do('order.decide', id(3), '{"nested": {"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000004", "data": {"fail": 1}}}');
SELECT * FROM counted();
SELECT goes_do('order.decide', id(3), '{"tried": {"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000004", "data": {"reject": 1}}}') IS NOT NULL AS decided;
SELECT * FROM counted();
SELECT goes_do('order.decide', id(3), '{"tried": {"command": "order.place", "aggregate_id": "00000000-0000-0000-0000-000000000004", "data": {"fail": 1}}}') IS NOT NULL AS decided;
SELECT * FROM counted();
-- the time of what is inside counts for both
CREATE FUNCTION build_slowly(aggregate orders, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.1); RETURN NULL; END $$;
SELECT goes_register_command('order', 'sleep', 'build_slowly', target => 'any');
SELECT goes_do('order.decide', id(3), '{"nested": {"command": "order.sleep", "aggregate_id": "00000000-0000-0000-0000-000000000004"}}') IS NOT NULL AS decided;
SELECT n.command, n.total_time - coalesce(o.total_time, 0) > 99 AS slept FROM goes_stat_commands n LEFT JOIN seen o USING (command) WHERE n.command IN ('order.decide', 'order.sleep') ORDER BY 1;
SELECT * FROM counted();

-- More commands in a transaction than a session keeps
SELECT count(goes_register_command('order', 'c' || i, event => 'noted')) FROM generate_series(1, 150) i;
DELETE FROM seen;
INSERT INTO seen SELECT * FROM goes_stat_commands;
SELECT count(goes_do('order.c' || i, id(1))) FROM generate_series(1, 150) i, generate_series(1, 2);
SELECT count(*), sum(calls), min(calls) FROM counted();

-- Registered again with other functions it goes on; unregistered it is gone,
-- unless that is rolled back; registered after that, it is another one.
SELECT goes_do('order.c1', id(1)) IS NOT NULL AS done;
SELECT goes_register_command('order', 'c1', 'build_order', target => 'any');
SELECT calls FROM goes_stat_commands WHERE command = 'order.c1';
BEGIN;
SELECT goes_unregister_command('order', 'c1');
SELECT calls FROM goes_stat_commands WHERE command = 'order.c1';
ROLLBACK;
SELECT calls FROM goes_stat_commands WHERE command = 'order.c1';
SELECT goes_unregister_command('order', 'c1');
SELECT calls FROM goes_stat_commands WHERE command = 'order.c1';
SELECT goes_register_command('order', 'c1', event => 'noted');
SELECT calls, total_time, mean_time FROM goes_stat_commands WHERE command = 'order.c1';
SELECT goes_unregister_aggregate('order');
SELECT count(*) FROM goes_stat_commands;
\set ECHO none
RESET ROLE;
\i :end
DROP OWNED BY regress_goes_alice, regress_goes_mia, regress_goes_bob;
DROP ROLE regress_goes_alice, regress_goes_mia, regress_goes_bob;
