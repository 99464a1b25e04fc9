-- What the views show of reactors and workers, and to whom.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

-- Everything has a comment, and everybody may look.
SELECT c.relname AS view, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns,
    bool_and(col_description(c.oid, a.attnum) IS NOT NULL) AND obj_description(c.oid, 'pg_class') IS NOT NULL AS described,
    has_table_privilege('pg_monitor', c.oid, 'SELECT') AS readable
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname IN ('goes_stat_reactors', 'goes_stat_workers', 'goes_stat_horizon', 'goes_dead_letters') AND a.attnum > 0
GROUP BY c.oid, c.relname ORDER BY c.relname COLLATE "C";

-- Without the preload there is nothing to see.
SELECT current_setting('shared_preload_libraries') ~ '\mgoes\M' AS preloaded \gset
\if :preloaded
\else
CALL fails($$SELECT * FROM goes_stat_reactors$$);
CALL fails($$SELECT * FROM goes_stat_workers$$);
CALL fails($$SELECT * FROM goes_stat_horizon$$);
CALL fails($$SELECT * FROM goes_dead_letters$$);
\i :end
\quit
\endif

-- Waits until a condition is true.
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE
    reached boolean;
BEGIN
    FOR i IN 1..3000 LOOP
        EXECUTE 'SELECT ' || condition INTO reached;
        IF reached THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
        COMMIT;
    END LOOP;
    RAISE 'not reached: %', condition;
END $$;

-- alice owns the tables and the reactors; mia monitors, bob has nothing to do with it.
CREATE ROLE regress_goes_alice LOGIN;
CREATE ROLE regress_goes_mia IN ROLE pg_monitor;
CREATE ROLE regress_goes_bob;
GRANT USAGE, CREATE ON SCHEMA test TO regress_goes_alice;
GRANT USAGE ON SCHEMA test TO regress_goes_mia, regress_goes_bob;
SELECT * FROM goes_stat_reactors;
SELECT * FROM goes_dead_letters;
SELECT * FROM goes_stat_horizon;

SET ROLE regress_goes_alice;
CREATE TABLE items (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('item', 'items'), goes_register_event('item', 'made', calculator => NULL), goes_register_event('item', 'sold', calculator => NULL);
SELECT goes_register_command('item', 'make', event => 'made', target => 'any'), goes_register_command('item', 'sell', event => 'sold');
-- fails if the data says so, and waits for a lock if it says so
CREATE FUNCTION work(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event.data ? 'wait' THEN
        PERFORM pg_advisory_xact_lock(20260101, (event.data -> 'wait')::integer);
    END IF;
    IF event.data ? 'fail' THEN
        RAISE 'failed: %', event.data ->> 'fail' USING ERRCODE = 'UE001';
    END IF;
END $$;
CREATE FUNCTION react_at_once(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
SELECT goes_on('{item.made}', async => '{work}', outside => '{mailer}'), goes_on('{item}', sync => '{react_at_once}');
SELECT goes_alter_reactor('work', max_attempts => 2, backoff => '1 day', max_backoff => '1 day');

--
-- goes_stat_reactors
--
CREATE VIEW reactors AS
    SELECT reactor, mode, owner, state, processed, failed, retried, pending, dead, lag, lag_seconds > 0 AS late, last_error, last_error_at IS NOT NULL AS at
    FROM goes_stat_reactors ORDER BY reactor COLLATE "C";
SELECT * FROM reactors;
SELECT goes_do('item.make', id(i)) IS NOT NULL AS made FROM generate_series(1, 3) i;
SELECT goes_do('item.sell', id(1)) IS NOT NULL AS sold;
SELECT goes_wait();
-- what a reactor does not react to is no lag
SELECT * FROM reactors;
SELECT lag_seconds FROM goes_stat_reactors WHERE reactor = 'test.work';
-- fetched, settled
SELECT count(*) FROM goes_fetch('mailer', 2);
SELECT * FROM reactors WHERE mode = 'outside';
SELECT goes_settle('mailer', ARRAY(SELECT position FROM items_events ORDER BY position LIMIT 2));
SELECT * FROM reactors WHERE mode = 'outside';

-- An event fails: a second attempt is left; those of other aggregates go on.
SELECT goes_do('item.make', id(1), '{"fail": "secret 1"}') -> 'position' AS first \gset
SELECT goes_do('item.make', id(1)) IS NOT NULL AS made;
SELECT goes_do('item.make', id(2)) IS NOT NULL AS made;
CALL until($$processed = 4 AND pending = 1 AND lag = 1 FROM goes_stat_reactors WHERE reactor = 'test.work'$$);
SELECT * FROM reactors WHERE mode = 'async';
-- the age is that of the event that failed
SELECT abs(extract(epoch FROM clock_timestamp() - recorded_at) - lag_seconds) < 10 AS age_of_the_first
FROM goes_stat_reactors, items_events WHERE reactor = 'test.work' AND position = :first;
-- The last attempt: it is a dead letter, and the aggregate goes on.
SELECT goes_alter_reactor('work', max_attempts => 1);
SELECT goes_retry('work');
CALL until($$dead = 1 AND pending = 0 FROM goes_stat_reactors WHERE reactor = 'test.work'$$);
SELECT goes_wait();
SELECT * FROM reactors WHERE mode = 'async';
SELECT reactor, position = :first AS first, aggregate_type, aggregate_id, aggregate_version, attempts, sqlstate, error,
    failed_at > now() - interval '1 minute' AS failed_at FROM goes_dead_letters;
-- stopped: later events of the aggregate wait
SELECT goes_alter_reactor('work', on_failure => 'stop');
SELECT goes_do('item.make', id(3), '{"fail": "secret 2"}') -> 'position' AS second \gset
CALL until($$state = 'stopped' FROM goes_stat_reactors WHERE reactor = 'test.work'$$);
SELECT * FROM reactors WHERE mode = 'async';

--
-- Who sees what
--
GRANT SELECT ON reactors TO regress_goes_mia;
SET ROLE regress_goes_mia;
SELECT * FROM test.reactors;
SELECT * FROM goes_dead_letters;
SET ROLE regress_goes_bob;
SELECT * FROM goes_stat_reactors;
SELECT * FROM goes_dead_letters;
SELECT horizon = last_position AS is_last, holder_pid, held_since FROM goes_stat_horizon;
RESET ROLE;
SELECT count(*), count(last_error) AS errors FROM goes_stat_reactors;
SELECT count(*) FROM goes_dead_letters;
-- the owner of all tables sees what reacts to their events
CREATE ROLE regress_goes_tables LOGIN;
GRANT USAGE ON SCHEMA test TO regress_goes_tables;
SET ROLE regress_goes_alice;
SELECT goes_skip('work', :second);
RESET ROLE;
GRANT regress_goes_tables TO regress_goes_alice;
ALTER TABLE items OWNER TO regress_goes_tables;
ALTER TABLE items_events OWNER TO regress_goes_tables;
SET ROLE regress_goes_tables;
SELECT reactor, owner, dead, last_error FROM goes_stat_reactors ORDER BY 1;
SELECT position = :first AS first, error FROM goes_dead_letters ORDER BY position;
-- while one that does not reach them any more gets no events, and has no lag
RESET ROLE;
REVOKE regress_goes_tables FROM regress_goes_alice;
SET ROLE regress_goes_alice;
SELECT reactor, state, lag FROM goes_stat_reactors ORDER BY 1;
RESET ROLE;
ALTER TABLE items OWNER TO regress_goes_alice;
ALTER TABLE items_events OWNER TO regress_goes_alice;

--
-- paused, blocked, off
--
SET ROLE regress_goes_alice;
SELECT goes_pause('work');
SELECT goes_do('item.make', id(1)) IS NOT NULL AS made;
SELECT goes_wait();
SELECT reactor, state, lag, lag_seconds > 0 AS late FROM goes_stat_reactors ORDER BY 1;
SELECT goes_resume('work');
SELECT goes_wait();
SELECT reactor, state, lag, lag_seconds > 0 AS late FROM goes_stat_reactors ORDER BY 1;
RESET ROLE;
SELECT current_database() AS database \gset
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SELECT reactor, state FROM goes_stat_reactors ORDER BY 1;
GRANT CONNECT ON DATABASE :"database" TO PUBLIC;
SELECT goes_off('test.work');
SELECT reactor, state, processed > 0 AS processed, dead, lag, lag_seconds > 0 AS late FROM goes_stat_reactors ORDER BY 1;
SET ROLE regress_goes_alice;
SELECT goes_on('{item.made}', async => '{work}');
SELECT goes_alter_reactor('work', max_attempts => 10, on_failure => 'skip');

--
-- goes_stat_workers
--
RESET ROLE;
SELECT pg_advisory_lock(20260101, 1);
SET ROLE regress_goes_alice;
SELECT goes_do('item.make', id(2), '{"wait": 1}') -> 'position' AS position \gset
CALL until($$count(*) = 1 FROM goes_stat_workers WHERE state = 'active' AND reactor = 'test.work'$$);
SELECT type, database = current_database() AS here, role, state, reactor, event_position = :position AS position, since < clock_timestamp() AS since,
    pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'goes runner' AND usename = 'regress_goes_alice' AND datname = current_database()) AS pid
FROM goes_stat_workers WHERE reactor IS NOT NULL;
SELECT DISTINCT type, role FROM goes_stat_workers;
SET ROLE regress_goes_bob;
SELECT * FROM goes_stat_workers;
SET ROLE regress_goes_mia;
SELECT DISTINCT type, database = current_database() AS here, role FROM goes_stat_workers
WHERE database IS NULL OR database = current_database() AND (role IS NULL OR role = 'regress_goes_alice') ORDER BY 1;
SELECT reactor FROM goes_stat_workers WHERE reactor IS NOT NULL;
RESET ROLE;
SELECT pg_advisory_unlock(20260101, 1);
SELECT goes_wait();
CALL until($$count(*) = 0 FROM goes_stat_workers WHERE reactor IS NOT NULL OR event_position IS NOT NULL AND database = current_database()$$);

--
-- goes_stat_horizon
--
SELECT horizon = last_position AS is_last, holder_pid, held_since FROM goes_stat_horizon;
BEGIN;
SELECT goes_do('item.make', id(1)) -> 'position' AS position \gset
SELECT horizon = :position - 1 AS before, last_position = :position AS last, holder_pid = pg_backend_pid() AS me, held_since BETWEEN now() AND clock_timestamp() AS since FROM goes_stat_horizon;
COMMIT;
SELECT horizon = :position AS horizon, holder_pid FROM goes_stat_horizon;

--
-- More events than are counted: then positions; and parts
--
SELECT goes_pause('mailer'), goes_pause('test.work');
SELECT goes_on('{item.sold}', outside => '{few}', start => 0), goes_on('{item}', outside => '{many}', start => 0);
ALTER TABLE items_events DISABLE TRIGGER USER;
INSERT INTO items_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
SELECT nextval('goes.position'), gen_random_uuid(), gen_random_uuid(), 1, 'made', 1, '{}', '{}', false, now() FROM generate_series(1, 9000);
ALTER TABLE items_events ENABLE TRIGGER USER;
SELECT reactor, lag = (SELECT count(*) FROM items_events WHERE action = 'sold' OR reactor = 'many') AS exact FROM goes_stat_reactors WHERE reactor IN ('few', 'many') ORDER BY 1;
ALTER TABLE items_events DISABLE TRIGGER USER;
INSERT INTO items_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
SELECT nextval('goes.position'), gen_random_uuid(), gen_random_uuid(), 1, 'made', 1, '{}', '{}', false, now() FROM generate_series(1, 2000);
ALTER TABLE items_events ENABLE TRIGGER USER;
SELECT reactor, lag = CASE reactor WHEN 'many' THEN horizon ELSE 1 END AS as_it_should FROM goes_stat_reactors, goes_stat_horizon WHERE reactor IN ('few', 'many') ORDER BY 1;
SELECT goes_settle('few', ARRAY(SELECT position FROM goes_fetch('few')));
SELECT goes_resume('test.work'), goes_alter_reactor('test.work', parallelism => 3);
SELECT goes_wait('test.work');
CALL until($$count(*) = 3 FROM goes.progress p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'test.work'$$);
SELECT goes_wait('test.work');
SELECT reactor, state, processed, pending, lag FROM goes_stat_reactors WHERE reactor IN ('few', 'test.work') ORDER BY 1;
SELECT processed = (SELECT count(*) FROM items_events WHERE action = 'made') - dead AS all_parts FROM goes_stat_reactors WHERE reactor = 'test.work';
SELECT goes_pause('test.work');
SELECT count(goes_do('item.make', id(i))) FROM generate_series(1, 20) i;
SELECT lag FROM goes_stat_reactors WHERE reactor = 'test.work';
-- more dead letters than are read at a time
INSERT INTO goes.dead_letters SELECT r.id, -i, 'item', id(1), i, 1 FROM goes.reactors r, generate_series(1, 1200) i WHERE r.reactor = 'few';
SELECT count(*), count(DISTINCT position), count(error) FROM goes_dead_letters WHERE reactor = 'few';
SELECT dead FROM goes_stat_reactors WHERE reactor = 'few';
-- What is forgotten is not shown.
SELECT goes_off('few', forget => true), goes_off('many', forget => true), goes_off('mailer', forget => true), goes_off('test.work', forget => true);
SELECT * FROM goes_stat_reactors;
SELECT * FROM goes_dead_letters;
\set ECHO none
\i :end
DROP OWNED BY regress_goes_alice, regress_goes_mia, regress_goes_bob, regress_goes_tables;
DROP ROLE regress_goes_alice, regress_goes_mia, regress_goes_bob, regress_goes_tables;
