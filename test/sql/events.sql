-- Reading on: the events of all types in the order of their positions.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

-- Without the preload nobody stores a horizon.
SELECT current_setting('shared_preload_libraries') ~ '\mgoes\M' AS preloaded \gset
\if :preloaded
\else
CALL fails($$SELECT * FROM goes_events()$$);
CALL fails($$SELECT * FROM goes_events(NULL)$$);
CALL fails($$SELECT goes_horizon()$$);
\i :end
\quit
\endif

SELECT * FROM goes_events();
SELECT goes_horizon();
CREATE TABLE users (LIKE goes_base_aggregate INCLUDING ALL, name text);
SELECT goes_register_aggregate('user', 'users');
SELECT goes_register_event('user', 'created'), goes_register_event('user', 'named');
SELECT goes_register_command('user', 'create', event => 'created', target => 'new'), goes_register_command('user', 'name', event => 'named');
CREATE TABLE "Order Table" (LIKE goes_base_aggregate INCLUDING ALL, amount integer) PARTITION BY HASH (id);
CREATE TABLE order_0 PARTITION OF "Order Table" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE order_1 PARTITION OF "Order Table" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT goes_register_aggregate('order', '"Order Table"');
SELECT goes_register_event('order', 'placed'), goes_register_event('order', 'paid', calculator => NULL);
CREATE FUNCTION pay(aggregate "Order Table", command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('paid', command.data, transient => '{"card": "4242"}');
SELECT goes_register_command('order', 'place', event => 'placed', target => 'new'), goes_register_command('order', 'pay', build => 'pay');

SELECT goes_do('user.create', id(1), '{"name": "a"}', '{"by": "test"}') -> 'position' AS position;
SELECT goes_do('order.place', id(1), '{"amount": 1}') -> 'position' AS position;
SELECT goes_do('user.name', id(1), '{"name": "b"}') -> 'position' AS position;
SELECT goes_do('order.pay', id(1), '{"amount": 1}') -> 'position' AS position;
SELECT goes_do('user.create', id(2), '{"name": "c"}') -> 'position' AS position;
-- a position that is never used
BEGIN;
SELECT goes_do('user.name', id(2), '{"name": "x"}') -> 'position' AS position;
ROLLBACK;
SELECT goes_do('order.place', id(2), '{"amount": 2}') -> 'position' AS position;
SELECT goes_do('user.name', id(2), '{"name": "d"}') -> 'position' AS position;
SELECT goes_wait();

--
-- All of them, in order, as the functions of the model get them
--
SELECT position, aggregate_type, aggregate_id, aggregate_version, action, event_version, data, metadata, transient FROM goes_events();
SELECT e.id = u.id AS id, e.recorded_at = u.recorded_at AS recorded_at FROM goes_events('{user}', max_events => 1) e JOIN users_events u USING (position);
SELECT pg_typeof(e) FROM goes_events(max_events => 1) e;
SELECT (goes_events('{order}')).position;
SELECT a.position, b.position FROM goes_events('{user.created}') a, goes_events('{order}', a.position, 1) b;
PREPARE next(bigint) AS SELECT position FROM goes_events(after => $1, max_events => 2);
EXECUTE next(0);
EXECUTE next(2);
DEALLOCATE next;
SELECT goes_horizon() = max(position) AS up_to_the_horizon FROM goes_events();
-- patterns
SELECT position FROM goes_events('{user}');
SELECT position FROM goes_events('{order.*}');
SELECT position FROM goes_events('{user.created,order.paid.1}');
SELECT position FROM goes_events('{user.named,user.named,user.created.1}');
SELECT count(*) FROM goes_events('{user.named,*}');
SELECT * FROM goes_events('{}');
SELECT position FROM goes_events('{{user.named},{order.paid}}');
-- from where, how many
SELECT position FROM goes_events(after => 4);
SELECT position FROM goes_events(after => 4, max_events => 2);
SELECT position FROM goes_events('{order}', 4, 1);
SELECT count(*) FROM goes_events(after => NULL, max_events => NULL);
SELECT count(*) FROM goes_events(after => -1);
SELECT count(*) FROM goes_events(after => 9223372036854775807);
SELECT count(*) FROM goes_events(max_events => 0);
SELECT count(*) FROM goes_events(max_events => 2147483647);
-- errors
CALL fails($$SELECT * FROM goes_events(NULL)$$);
CALL fails($$SELECT * FROM goes_events('{user,NULL}')$$);
CALL fails($$SELECT * FROM goes_events('{user.}')$$);
CALL fails($$SELECT * FROM goes_events('{nothing}')$$);
CALL fails($$SELECT * FROM goes_events('{user.created,nothing.done}')$$);
CALL fails($$SELECT * FROM goes_events('{user.paid}')$$);
CALL fails($$SELECT * FROM goes_events('{user.created.2}')$$);
CALL fails($$SELECT * FROM goes_events(max_events => -1)$$);

--
-- Nothing above the horizon: a transaction does not get its own events
--
BEGIN;
SELECT goes_do('user.name', id(1), '{"name": "e"}') -> 'position' AS position;
SELECT max(position) FROM goes_events();
ROLLBACK;
-- It is a query like others: no transaction id, no lock on a row, nothing is written.
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT count(*) FROM goes_events();
SELECT pg_current_xact_id_if_assigned() IS NULL AS without_xid;
SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation';
COMMIT;
BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM goes_events();
COMMIT;

-- Columns that users add, generate and drop; events that were imported
ALTER TABLE users_events ADD COLUMN note text DEFAULT 'x', ADD COLUMN e integer DEFAULT 7, ADD COLUMN size integer GENERATED ALWAYS AS (length(action)) STORED;
ALTER TABLE users_events DROP COLUMN note;
ALTER TABLE users_events DISABLE TRIGGER USER;
INSERT INTO users_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
SELECT nextval('goes.position'), id(100 + i), id(3), i, CASE i WHEN 1 THEN 'created' ELSE 'named' END, 1, '{}', '{}', true, '2000-01-01' FROM generate_series(1, 2) i;
ALTER TABLE users_events ENABLE TRIGGER USER;
SELECT goes_wait();
SELECT aggregate_version, action FROM goes_events('{user}', 8) WHERE aggregate_id = id(3);

-- More than are read at a time: whatever the step, all of them, each once.
CREATE TABLE points (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('point', 'points'), goes_register_event('point', 'made', calculator => NULL),
    goes_register_command('point', 'make', event => 'made', target => 'any');
SELECT count(goes_do(CASE WHEN i % 7 = 0 THEN 'user.name' ELSE 'point.make' END, id(1), jsonb_build_object('i', i))) FROM generate_series(1, 1000) i;
SELECT goes_wait();
CREATE VIEW stored AS
    SELECT position, 'user' AS type, data FROM users_events UNION ALL
    SELECT position, 'order', data FROM "Order Table_events" UNION ALL
    SELECT position, 'point', data FROM points_events;
SELECT count(*), count(DISTINCT position) FROM goes_events();
SELECT count(*) FROM (SELECT position, aggregate_type, data FROM goes_events() EXCEPT SELECT * FROM stored) AS differences;
SELECT count(*) FROM (SELECT * FROM stored EXCEPT SELECT position, aggregate_type, data FROM goes_events()) AS differences;
SELECT bool_and(position > previous) AS ascending FROM (SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY ordinality) AS previous FROM goes_events() WITH ORDINALITY) e;
CREATE FUNCTION read_all(step integer) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
    last bigint := 0;
    positions bigint[];
BEGIN
    LOOP
        positions := ARRAY(SELECT position FROM goes_events('{user,point}', last, step));
        EXIT WHEN positions = '{}';
        RETURN QUERY SELECT unnest(positions);
        last := positions[cardinality(positions)];
    END LOOP;
END $$;
SELECT step, count(*) = (SELECT count(*) FROM stored WHERE type <> 'order') AS all, count(DISTINCT position) = count(*) AS once
FROM unnest('{1,7,199,200,201,5000}'::integer[]) step, read_all(step) position GROUP BY step ORDER BY step;

--
-- Upcasters: patterns mean the stored version
--
CREATE FUNCTION upcast_name(data jsonb) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('full_name', data -> 'name', 'by', current_user);
SELECT goes_register_event('user', 'named', 2), goes_register_upcaster('user', 'named', 1, 'upcast_name');
SELECT goes_do('user.name', id(2), '{"full_name": "e"}') -> 'event_version' AS event_version;
SELECT goes_wait();
SELECT event_version, data - 'by' AS data FROM goes_events('{user.named}') WHERE aggregate_id = id(2);
SELECT count(*) FROM goes_events('{user.named.2}');
SELECT data - 'by' AS data, event_version FROM goes_events('{user.named.1}', max_events => 1);
-- of a version that only the upcaster knows
SELECT goes_unregister_event('user', 'named', 1);
SELECT count(*) > 0 AS found FROM goes_events('{user.named.1}');
-- They run as the table's owner, whoever reads: with no other rights than hers.
CREATE ROLE regress_goes_owner;
CREATE ROLE regress_goes_reader;
GRANT USAGE, CREATE ON SCHEMA test TO regress_goes_owner;
GRANT USAGE ON SCHEMA test TO regress_goes_reader;
ALTER TABLE users OWNER TO regress_goes_owner;
ALTER TABLE users_events OWNER TO regress_goes_owner;
SELECT data ->> 'by' AS by FROM goes_events('{user.named.1}', max_events => 1);
REVOKE EXECUTE ON FUNCTION upcast_name FROM PUBLIC;
GRANT EXECUTE ON FUNCTION upcast_name TO regress_goes_owner;
GRANT SELECT ON users_events TO regress_goes_reader;
SET ROLE regress_goes_reader;
SELECT data ->> 'by' AS by FROM goes_events('{user.named.1}', max_events => 1);
RESET ROLE;
-- What goes wrong in them
CREATE OR REPLACE FUNCTION upcast_name(data jsonb) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
CALL fails($$SELECT * FROM goes_events('{user.named.1}', max_events => 1)$$);
CREATE OR REPLACE FUNCTION upcast_name(data jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CLOSE ALL'; RETURN data; END $$;
CALL fails($$SELECT * FROM goes_events('{user.named.1}', max_events => 1)$$);
SELECT count(*) FROM pg_cursors;
SELECT goes_unregister_upcaster('user', 'named', 1);

--
-- Who may read
--
SET ROLE regress_goes_reader;
SELECT count(*) > 0 AS some FROM goes_events('{user}');
CALL fails($$SELECT * FROM goes_events()$$);
CALL fails($$SELECT * FROM goes_events('{user,order.paid}', max_events => 0)$$);
-- even if there is none to read
CALL fails($$SELECT * FROM goes_events('{order}', 1000000)$$);
RESET ROLE;
GRANT SELECT (position, action) ON "Order Table_events" TO regress_goes_reader;
SET ROLE regress_goes_reader;
CALL fails($$SELECT * FROM goes_events('{order}')$$);
RESET ROLE;
GRANT SELECT (id, aggregate_id, aggregate_version, event_version, data, metadata, command_id, imported, recorded_at) ON "Order Table_events" TO regress_goes_reader;
GRANT SELECT ON points_events TO regress_goes_reader;
SET ROLE regress_goes_reader;
SELECT count(*) FROM goes_events('{order}');
SELECT count(*) AS everything FROM goes_events();
RESET ROLE;
SELECT count(*) AS everything FROM stored;
-- A SECURITY DEFINER function reads as its owner.
CREATE FUNCTION count_points() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = test, public, pg_temp
RETURN (SELECT count(*) FROM goes_events('{point}'));
REVOKE SELECT ON points_events FROM regress_goes_reader;
SET ROLE regress_goes_reader;
CALL fails($$SELECT * FROM goes_events('{point}')$$);
SELECT count_points();
RESET ROLE;

--
-- Row-level security: an event is visible when its aggregate is, always
--
CREATE ROLE regress_goes_auditor BYPASSRLS;
GRANT USAGE ON SCHEMA test TO regress_goes_auditor;
CREATE TABLE notes (LIKE goes_base_aggregate INCLUDING ALL, author name, aggregate_id uuid, "position" bigint);
ALTER TABLE notes OWNER TO regress_goes_owner;
SET ROLE regress_goes_owner;
SELECT goes_register_aggregate('note', 'notes'), goes_register_event('note', 'written'), goes_register_command('note', 'write', event => 'written', target => 'any');
SELECT goes_do('note.write', id(i), jsonb_build_object('author', CASE WHEN i % 2 = 0 THEN 'regress_goes_reader' ELSE 'somebody' END)) IS NOT NULL AS written FROM generate_series(1, 4) i;
SELECT goes_wait();
GRANT SELECT ON notes_events TO regress_goes_reader, regress_goes_auditor;
SET ROLE regress_goes_reader;
SELECT aggregate_id FROM goes_events('{note}');
SET ROLE regress_goes_owner;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (author = current_user);
-- the events table has no policy yet
SET ROLE regress_goes_reader;
CALL fails($$SELECT * FROM goes_events('{note}')$$);
SET ROLE regress_goes_owner;
GRANT SELECT ON notes TO regress_goes_reader;
SET ROLE regress_goes_reader;
SELECT aggregate_id FROM goes_events('{note}');
SELECT aggregate_id FROM goes_events('{note.written.1,note}', max_events => 1);
SET row_security = off;
CALL fails($$SELECT * FROM goes_events('{note}')$$);
RESET row_security;
SET ROLE regress_goes_auditor;
SELECT count(*) FROM goes_events('{note}');
SET ROLE regress_goes_owner;
SELECT count(*) FROM goes_events('{note}');
-- What a policy calls cannot get at the reads of other types.
CREATE FUNCTION close_all() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CLOSE ALL'; RETURN true; END $$;
CREATE POLICY spoil ON notes USING (close_all());
SET ROLE regress_goes_reader;
DO $$
BEGIN
    PERFORM * FROM goes_events('{note,user}');
EXCEPTION WHEN invalid_cursor_state THEN
    RAISE INFO 'refused';
END $$;
SELECT count(*) FROM pg_cursors;
SET ROLE regress_goes_owner;
DROP POLICY spoil ON notes;
-- Now the events table has policies, too.
SELECT goes_register_aggregate('note', 'notes');
CREATE POLICY not_the_second ON notes_events AS RESTRICTIVE FOR SELECT USING (aggregate_id <> id(2));
SET ROLE regress_goes_reader;
SELECT aggregate_id FROM goes_events('{note}');
SET ROLE regress_goes_auditor;
SELECT count(*) FROM goes_events('{note}');
SET ROLE regress_goes_owner;
SELECT count(*) FROM goes_events('{note}');
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
SELECT count(*) FROM goes_events('{note}');
RESET ROLE;
SELECT count(*) FROM goes_events('{note}');

-- A type that is unregistered is not read any more; its name is unknown.
SELECT goes_unregister_aggregate('note');
SELECT count(*) FROM goes_events() WHERE aggregate_type = 'note';
CALL fails($$SELECT * FROM goes_events('{note}')$$);
\set ECHO none
\i :end
DROP OWNED BY regress_goes_owner, regress_goes_reader, regress_goes_auditor;
DROP ROLE regress_goes_owner, regress_goes_reader, regress_goes_auditor;
