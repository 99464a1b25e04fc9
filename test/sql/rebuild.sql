-- All aggregates of a type recomputed.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
CREATE TABLE users (LIKE goes_base_aggregate INCLUDING ALL, name text, visits integer NOT NULL DEFAULT 0);
SELECT goes_register_aggregate('user', 'users');
CREATE FUNCTION visited(aggregate users, event goes_event) RETURNS users LANGUAGE plpgsql AS $$
BEGIN
    aggregate.name := coalesce(event.data ->> 'name', aggregate.name);
    aggregate.visits := aggregate.visits + 1;
    RETURN aggregate;
END $$;
CREATE FUNCTION removed(aggregate users, event goes_event) RETURNS users LANGUAGE plpgsql AS $$
BEGIN
    aggregate.deleted_at := event.recorded_at;
    RETURN aggregate;
END $$;
SELECT goes_register_event('user', 'visited', calculator => 'visited'), goes_register_event('user', 'removed', calculator => 'removed');
SELECT goes_register_command('user', 'visit', event => 'visited', target => 'any'), goes_register_command('user', 'remove', event => 'removed');
-- reactors must not run again
CREATE TABLE reactions (n integer);
CREATE FUNCTION react(event goes_event) RETURNS void LANGUAGE sql AS 'INSERT INTO reactions VALUES (1)';
SELECT goes_on('{user}', sync => '{react}');
CREATE FUNCTION visit(n integer, times integer DEFAULT 1) RETURNS void LANGUAGE sql AS
$$ SELECT goes_do('user.visit', id(n), jsonb_build_object('name', 'user ' || n)) FROM generate_series(1, times) $$;
SELECT visit(n, n % 3 + 1) FROM generate_series(1, 40) n \g /dev/null
SELECT goes_do('user.remove', id(40)) IS NOT NULL AS removed;

-- As they are now, with the row that holds each: a row that is right is not written.
CREATE TABLE right_rows AS SELECT * FROM users;
CREATE VIEW written AS SELECT count(*) FILTER (WHERE xmin::text::bigint >= current_setting('test.xid')::bigint) AS written, count(*) FROM users;
CREATE PROCEDURE mark() LANGUAGE sql AS $$ SELECT set_config('test.xid', pg_current_xact_id()::text, false) $$;
CREATE VIEW wrong AS SELECT coalesce(u.id, r.id) AS id FROM users u FULL JOIN right_rows r ON u = r WHERE u.id IS NULL OR r.id IS NULL;
CREATE PROCEDURE spoil(statement text) LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL goes.allow_direct_writes = on;
    EXECUTE statement;
END $$;

--
-- Nothing differs
--
SELECT count(*) AS reactions FROM reactions;
CALL mark();
CALL goes_rebuild('user');
SELECT * FROM written;
CALL goes_rebuild(aggregate_type => 'user', parallelism => 2);
SELECT * FROM written;

--
-- Rows that differ, are missing, or have no events
--
CALL spoil($$UPDATE users SET name = 'wrong', visits = 99 WHERE visits = 2$$);
CALL spoil($$UPDATE users SET version = version + 3, created_at = 'epoch', updated_at = now(), deleted_at = NULL WHERE id = id(40)$$);
CALL spoil($$DELETE FROM users WHERE id IN (id(3), id(4), id(5))$$);
CALL mark();
CALL goes_rebuild('user');
SELECT * FROM written;
SELECT * FROM wrong;
-- in batches of any size, and by several processes
CALL spoil($$UPDATE users SET visits = 0$$);
CALL goes_rebuild('user', 1);
SELECT * FROM wrong;
CALL spoil($$UPDATE users SET visits = 0$$);
CALL spoil($$DELETE FROM users WHERE id <= id(7)$$);
CALL goes_rebuild('user', 7, 3);
SELECT * FROM wrong;
CALL spoil($$UPDATE users SET visits = 0$$);
CALL spoil($$TRUNCATE users$$);
CALL goes_rebuild('user', 1000000, 2);
SELECT * FROM wrong;
CALL spoil($$INSERT INTO users (id, version, created_at, updated_at) VALUES (id(100), 1, now(), now()), (id(101), 1, now(), now())$$);
CALL goes_rebuild('user');
SELECT aggregate_type, aggregate_id, event_position, sqlstate, error FROM goes_rebuild_failures ORDER BY aggregate_id;
SELECT id, problem FROM goes_verify('user');
CALL spoil($$DELETE FROM users WHERE id >= id(100)$$);
-- the next one forgets what failed
CALL goes_rebuild('user');
SELECT count(*) FROM goes_rebuild_failures;
SELECT * FROM goes_stat_progress_rebuild;
SELECT count(*) FROM goes.rebuilds;
SELECT count(*) AS reactions FROM reactions;

--
-- Events that fail, rows that cannot be written: the others go on
--
CALL spoil($$UPDATE users SET visits = 0$$);
CREATE OR REPLACE FUNCTION removed(aggregate users, event goes_event) RETURNS users LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'cannot remove %', aggregate.name USING ERRCODE = 'ZZ001';
END $$;
CALL goes_rebuild('user', 5);
SELECT aggregate_id, event_position - (SELECT min(position) FROM users_events) AS nth, aggregate_version, action, event_version, sqlstate, error, failed_at <= now() AS failed
FROM goes_rebuild_failures;
SELECT id FROM wrong;
SELECT id, problem FROM goes_verify('user');
-- an event that is missing, an event that nobody knows
ALTER TABLE users_events DISABLE TRIGGER goes_guard;
DELETE FROM users_events WHERE aggregate_id = id(2) AND aggregate_version = 1;
UPDATE users_events SET action = 'unheard_of' WHERE aggregate_id = id(1) AND aggregate_version = 2;
ALTER TABLE users_events ENABLE TRIGGER goes_guard;
CALL goes_rebuild('user', 5, 2);
SELECT aggregate_id, aggregate_version, action, sqlstate, error FROM goes_rebuild_failures ORDER BY aggregate_id;
ALTER TABLE users_events DISABLE TRIGGER goes_guard;
UPDATE users_events SET action = 'visited' WHERE aggregate_id = id(1);
DELETE FROM users_events WHERE aggregate_id = id(2);
ALTER TABLE users_events ENABLE TRIGGER goes_guard;
CALL spoil($$DELETE FROM users WHERE id = id(2)$$);
CREATE OR REPLACE FUNCTION removed(aggregate users, event goes_event) RETURNS users LANGUAGE plpgsql AS $$
BEGIN
    aggregate.deleted_at := event.recorded_at;
    RETURN aggregate;
END $$;
DELETE FROM right_rows WHERE id = id(2);
CALL goes_rebuild('user');
SELECT * FROM wrong;
-- positions that do not follow the versions, as only a hand can make them
ALTER TABLE users_events DISABLE TRIGGER goes_guard;
UPDATE users_events SET position = position + 1000000 WHERE aggregate_id = id(1) AND aggregate_version = 1;
ALTER TABLE users_events ENABLE TRIGGER goes_guard;
SELECT * FROM goes_verify('user');
CALL spoil($$UPDATE users SET visits = 0 WHERE id = id(1)$$);
SELECT id, problem FROM goes_verify('user');
CALL goes_rebuild('user');
SELECT * FROM wrong;
-- a constraint, a trigger, a deferred trigger
CALL spoil($$UPDATE users SET visits = 0, name = 'wrong'$$);
ALTER TABLE users ADD CONSTRAINT not_user_7 CHECK (name <> 'user 7');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.name = TG_ARGV[0] THEN
        RAISE '% is refused', NEW.name;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION refuse('user 8');
CREATE CONSTRAINT TRIGGER refuse_late AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse('user 9');
CALL goes_rebuild('user', 10);
SELECT aggregate_id, event_position, aggregate_version, action, sqlstate, error FROM goes_rebuild_failures ORDER BY aggregate_id;
SELECT DISTINCT id FROM wrong ORDER BY id;
ALTER TABLE users DROP CONSTRAINT not_user_7;
DROP TRIGGER refuse ON users;
DROP TRIGGER refuse_late ON users;
CALL goes_rebuild('user', 10);
SELECT * FROM wrong;
SELECT count(*) FROM goes_rebuild_failures;

--
-- A new column that the calculator fills
--
ALTER TABLE users ADD COLUMN greeting text, DROP COLUMN visits;
CREATE OR REPLACE FUNCTION visited(aggregate users, event goes_event) RETURNS users LANGUAGE sql
RETURN ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, aggregate.deleted_at,
    event.data ->> 'name', 'Hello ' || (event.data ->> 'name'))::users;
CALL goes_rebuild('user', 10);
SELECT count(*) FROM users WHERE greeting IS DISTINCT FROM 'Hello ' || name;
SELECT * FROM goes_verify('user');
CALL goes_rebuild('user', 10);
-- commands go on
SELECT visit(1), visit(50);
SELECT * FROM goes_verify('user');

--
-- Other tables: quoted names, partitions, columns that goes does not write
--
CREATE TABLE "Odd ""Table""" (
    LIKE goes_base_aggregate INCLUDING ALL,
    "Dropped" integer,
    "The Name" varchar(5) DEFAULT 'none',
    "Big" text GENERATED ALWAYS AS (upper("The Name")) STORED,
    number integer GENERATED ALWAYS AS IDENTITY
) PARTITION BY HASH (id);
CREATE TABLE "part 0" PARTITION OF "Odd ""Table""" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE "part 1" PARTITION OF "Odd ""Table""" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE "Odd ""Table""" DROP COLUMN "Dropped";
SELECT goes_register_aggregate('Odd "type"', '"Odd ""Table"""');
SELECT goes_register_event('Odd "type"', 'put'), goes_register_command('Odd "type"', 'put', event => 'put', target => 'any');
SELECT goes_do('Odd "type".put', id(n), jsonb_build_object('The Name', 'n' || n)) FROM generate_series(1, 20) n \g /dev/null
CREATE TABLE right_odds AS SELECT * FROM "Odd ""Table""";
CALL spoil($$UPDATE "Odd ""Table""" SET "The Name" = NULL WHERE id <= id(5)$$);
CALL spoil($$DELETE FROM "Odd ""Table""" WHERE id > id(18)$$);
CALL goes_rebuild('Odd "type"', 3, 2);
SELECT id, version, "The Name", "Big" FROM "Odd ""Table""" EXCEPT SELECT id, version, "The Name", "Big" FROM right_odds;
SELECT * FROM goes_verify('Odd "type"');
CALL spoil($$UPDATE "Odd ""Table""" SET "The Name" = NULL$$);
SET default_transaction_isolation = 'serializable';
CALL goes_rebuild('Odd "type"', 3);
SET default_transaction_isolation = 'repeatable read';
CALL spoil($$UPDATE "Odd ""Table""" SET "The Name" = NULL$$);
CALL goes_rebuild('Odd "type"', 3, 2);
RESET default_transaction_isolation;
SELECT * FROM goes_verify('Odd "type"');
SELECT count(*) AS events FROM "Odd ""Table""_events";
-- no event at all
CREATE TABLE empty (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('empty', 'empty');
CALL goes_rebuild('empty');

--
-- Little memory: the events are read several times
--
CREATE TABLE many (LIKE goes_base_aggregate INCLUDING ALL, text text);
SELECT goes_register_aggregate('many', 'many'), goes_register_event('many', 'put'), goes_register_command('many', 'put', event => 'put', target => 'any');
SELECT goes_do('many.put', id(n % 3000), jsonb_build_object('text', repeat(n::text, 300))) FROM generate_series(1, 3500) n \g /dev/null
CREATE TABLE right_many AS SELECT * FROM many;
SET maintenance_work_mem = '1MB';
CALL spoil($$UPDATE many SET text = NULL WHERE id < id(100)$$);
CALL spoil($$DELETE FROM many WHERE id > id(2900)$$);
CALL spoil($$INSERT INTO many (id, version, created_at, updated_at) SELECT id(n), 1, now(), now() FROM generate_series(5001, 5003) n$$);
SELECT problem, count(*) FROM goes_verify('many') GROUP BY problem ORDER BY problem;
CALL goes_rebuild('many', 10, 2);
SELECT count(*) FROM (SELECT * FROM many WHERE id < id(5000) EXCEPT SELECT * FROM right_many) AS wrong;
SELECT id, problem FROM goes_verify('many') ORDER BY id;
CALL goes_rebuild('many');
RESET maintenance_work_mem;

--
-- Where it may be called
--
BEGIN;
CALL goes_rebuild('user');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
CREATE FUNCTION rebuild() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL goes_rebuild('user'); END $$;
SELECT rebuild();
DO $$
BEGIN
    BEGIN
        CALL goes_rebuild('user');
    EXCEPTION WHEN OTHERS THEN
        RAISE INFO '% %', SQLSTATE, SQLERRM;
    END;
END $$;
-- and in a procedure that may commit
DO $$
BEGIN
    UPDATE reactions SET n = 2;
    CALL goes_rebuild('user');
    ROLLBACK;
END $$;
SELECT DISTINCT n FROM reactions;
CALL goes_rebuild('user');

--
-- Arguments and rights
--
CALL fails($$CALL goes_rebuild('user')$$);
CALL goes_rebuild(NULL);
\echo :LAST_ERROR_SQLSTATE
CALL goes_rebuild('user', NULL);
\echo :LAST_ERROR_SQLSTATE
CALL goes_rebuild('user', 0);
\echo :LAST_ERROR_SQLSTATE
CALL goes_rebuild('user', 1, -1);
\echo :LAST_ERROR_SQLSTATE
CALL goes_rebuild('nobody');
\echo :LAST_ERROR_SQLSTATE
SET default_transaction_read_only = on;
CALL goes_rebuild('user');
\echo :LAST_ERROR_SQLSTATE
RESET default_transaction_read_only;
CREATE ROLE regress_goes_owner;
CREATE ROLE regress_goes_other;
GRANT USAGE ON SCHEMA test TO regress_goes_owner, regress_goes_other;
GRANT ALL ON users, users_events TO regress_goes_other;
SET ROLE regress_goes_other;
CALL goes_rebuild('user');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
-- an owner who has no other rights
ALTER TABLE users OWNER TO regress_goes_owner;
ALTER TABLE users_events OWNER TO regress_goes_owner;
CALL spoil($$UPDATE users SET greeting = NULL$$);
CALL spoil($$INSERT INTO users (id, version, created_at, updated_at) VALUES (id(102), 1, now(), now())$$);
SET ROLE regress_goes_owner;
CALL goes_rebuild('user', 10, 2);
SELECT aggregate_id, error FROM goes_rebuild_failures;
SELECT id, problem FROM goes_verify('user');
SELECT * FROM goes.rebuild_failures;
RESET ROLE;
SET ROLE regress_goes_other;
SELECT * FROM goes_rebuild_failures;
SELECT * FROM goes_stat_progress_rebuild;
SELECT * FROM goes.rebuilds;
RESET ROLE;
-- policies that hide rows from their owner
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON users USING (name <> 'user 1');
SET ROLE regress_goes_owner;
CALL goes_rebuild('user');
RESET ROLE;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
SET ROLE regress_goes_owner;
CALL goes_rebuild('user');
RESET ROLE;
-- but not from a superuser
CALL goes_rebuild('user');
SELECT goes_unregister_aggregate('user');
SELECT count(*) FROM goes.rebuild_failures WHERE aggregate_type = 'user';
SET client_min_messages = warning;
DROP TABLE users, users_events CASCADE;
DROP OWNED BY regress_goes_owner, regress_goes_other;
DROP ROLE regress_goes_owner, regress_goes_other;
RESET client_min_messages;
\i :end
