-- Rows of plain tables are read and written without statements. goes.force_spi
-- = on takes the general path, and both do the same.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
SET track_functions = 'all';
SET datestyle = 'ISO';
SET goes.force_spi = off;

-- The way that a statement took: the guards are triggers, and only statements
-- fire these.
CREATE FUNCTION guard_calls(guard text) RETURNS bigint
LANGUAGE sql
RETURN (SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE schemaname = 'goes' AND funcname = guard);
CREATE FUNCTION way(statement text, OUT aggregate text, OUT event text)
LANGUAGE plpgsql AS $$
DECLARE
    aggregates bigint := guard_calls('guard_aggregate');
    events bigint := guard_calls('guard_events');
BEGIN
    EXECUTE statement;
    aggregate := CASE guard_calls('guard_aggregate') WHEN aggregates THEN 'row' ELSE 'statement' END;
    event := CASE guard_calls('guard_events') WHEN events THEN 'row' ELSE 'statement' END;
END
$$;

CREATE FUNCTION model(relation regclass) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    name text := (SELECT relname FROM pg_class WHERE oid = relation);
BEGIN
    PERFORM goes_register_aggregate(name, relation), goes_register_event(name, 'put'),
        goes_register_command(name, 'put', event => 'put', target => 'any');
END
$$;

--
-- Where it is possible
--

CREATE TABLE thing (LIKE goes_base_aggregate INCLUDING ALL, name text, size integer, body text);
SELECT model('thing');
CREATE FUNCTION ways(OUT step text, OUT aggregate text, OUT event text) RETURNS SETOF record
LANGUAGE sql AS $$
    SELECT 'create', w.* FROM way('SELECT goes_do(''thing.put'', gen_random_uuid())') w
    UNION ALL SELECT 'change', w.* FROM way('SELECT goes_do(''thing.put'', id(1), ''{"name": "a"}'')') w
$$;
SELECT goes_do('thing.put', id(1)) IS NOT NULL AS done;
SELECT * FROM ways();
SET goes.force_spi = on;
SELECT * FROM ways();
SET goes.force_spi = off;

-- Whatever the executor's functions do for a row is no hindrance.
CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
BEGIN;
ALTER TABLE thing ADD CHECK (size > 0), ADD UNIQUE (name), ADD UNIQUE (size) DEFERRABLE, ADD COLUMN other uuid REFERENCES thing,
    ADD EXCLUDE (lower(name) WITH =) WHERE (size > 10), DROP COLUMN body, REPLICA IDENTITY FULL;
CREATE INDEX ON thing (upper(name));
CREATE INDEX ON thing USING brin (size);
CREATE TRIGGER look AFTER INSERT OR UPDATE OF name ON thing FOR EACH ROW EXECUTE FUNCTION ignore();
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON thing DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ignore();
CREATE TRIGGER removal BEFORE DELETE ON thing FOR EACH ROW EXECUTE FUNCTION ignore();
SELECT * FROM ways();
ROLLBACK;

-- The rest is left to statements.
BEGIN;
CREATE TRIGGER change BEFORE UPDATE ON thing FOR EACH ROW EXECUTE FUNCTION change();
SELECT * FROM ways();
ROLLBACK;
BEGIN;
CREATE TRIGGER once AFTER INSERT OR UPDATE ON thing FOR EACH STATEMENT EXECUTE FUNCTION ignore();
SELECT * FROM ways();
ROLLBACK;
BEGIN;
CREATE TRIGGER before_once BEFORE UPDATE ON thing FOR EACH STATEMENT EXECUTE FUNCTION ignore();
SELECT * FROM ways();
ROLLBACK;
BEGIN;
CREATE TRIGGER all_of_them AFTER INSERT ON thing_events REFERENCING NEW TABLE AS added FOR EACH ROW EXECUTE FUNCTION ignore();
SELECT * FROM ways();
ROLLBACK;
BEGIN;
ALTER TABLE thing ADD COLUMN double integer GENERATED ALWAYS AS (size * 2) STORED;
SELECT * FROM ways();
ROLLBACK;
BEGIN;
ALTER TABLE thing ADD COLUMN number integer GENERATED ALWAYS AS IDENTITY;
SELECT * FROM ways();
ROLLBACK;
BEGIN;
ALTER TABLE thing ENABLE ROW LEVEL SECURITY;
SELECT * FROM ways();
ROLLBACK;
BEGIN;
ALTER TABLE thing_events ADD COLUMN note text DEFAULT 'none';
SELECT * FROM ways();
ROLLBACK;
SELECT * FROM ways();

-- Rights to columns alone
CREATE ROLE goes_test_columns;
GRANT USAGE ON SCHEMA test, goes TO goes_test_columns;
GRANT SELECT, INSERT ON thing, thing_events TO goes_test_columns;
GRANT UPDATE (version, created_at, updated_at, deleted_at, name, size, body) ON thing TO goes_test_columns;
SET ROLE goes_test_columns;
CALL fails($$SELECT goes_do('thing.put', id(1), '{"name": "b"}')$$);
RESET ROLE;
GRANT UPDATE ON thing TO goes_test_columns;
SET ROLE goes_test_columns;
SELECT * FROM ways();
RESET ROLE;
REVOKE INSERT ON thing_events FROM goes_test_columns;
SET ROLE goes_test_columns;
CALL fails($$SELECT goes_do('thing.put', id(1), '{"name": "b"}')$$);
RESET ROLE;
DROP OWNED BY goes_test_columns;
DROP ROLE goes_test_columns;

-- A transaction that only reads
BEGIN READ ONLY;
SELECT goes_do('thing.put', id(1));
ROLLBACK;

--
-- Both ways do the same
--

CREATE DOMAIN percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE PROCEDURE make(type text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %1$I (LIKE goes_base_aggregate INCLUDING ALL, name text NOT NULL DEFAULT ''new'', gone integer,
        size integer CHECK (size <> 13), share percent, short varchar(5), body text, parent uuid REFERENCES %1$I DEFERRABLE,
        CONSTRAINT %2$I UNIQUE (short), CONSTRAINT %3$I UNIQUE (share) DEFERRABLE INITIALLY DEFERRED,
        CONSTRAINT %4$I EXCLUDE USING btree (size WITH =) WHERE (size > 50))',
        type, type || '_short', type || '_share', type || '_size');
    EXECUTE format('ALTER TABLE %I DROP COLUMN gone', type);
    EXECUTE format('CREATE TABLE %I (part uuid REFERENCES %I)', type || '_parts', type);
    PERFORM model(type::regclass);
    EXECUTE format('CREATE TABLE %I (n serial, what text)', type || '_log');
    EXECUTE format('CREATE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql AS %L', type || '_log', format(
        'BEGIN INSERT INTO %I (what) VALUES (concat_ws('' '', TG_NAME, TG_OP, OLD.version, NEW.version, NEW.name, length(NEW.body))); RETURN NULL; END', type || '_log'));
    EXECUTE format('CREATE TRIGGER a_all AFTER INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION %I()', type, type || '_log');
    EXECUTE format('CREATE TRIGGER b_name AFTER UPDATE OF name ON %I FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION %I()', type, type || '_log');
    EXECUTE format('CREATE TRIGGER c_id AFTER UPDATE OF id ON %I FOR EACH ROW EXECUTE FUNCTION %I()', type, type || '_log');
    EXECUTE format('CREATE CONSTRAINT TRIGGER d_late AFTER INSERT OR UPDATE ON %I DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION %I()', type, type || '_log');
END
$$;
CREATE PROCEDURE try(type text, number integer, data jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    reason text;
BEGIN
    PERFORM goes_do(type || '.put', id(number), data);
    SET CONSTRAINTS ALL IMMEDIATE;
    SET CONSTRAINTS ALL DEFERRED;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, reason = CONSTRAINT_NAME;
    EXECUTE format('INSERT INTO %I (what) VALUES ($1)', type || '_log') USING
        replace(concat_ws(', ', SQLSTATE, message, regexp_replace(detail, '\d+-\d+-\d+ [^,]*', 'now', 'g'), reason), type, 'TYPE');
END
$$;
CREATE PROCEDURE scenario(type text)
LANGUAGE plpgsql AS $$
DECLARE
    body text := (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 5000) i);
BEGIN
    CALL make(type);
    CALL try(type, 1, '{"name": "a", "size": 60, "share": 10, "short": "a"}');
    CALL try(type, 2, jsonb_build_object('body', body));
    CALL try(type, 2, '{"name": "b"}');
    CALL try(type, 2, '{"name": "b", "size": 2}');
    CALL try(type, 3, '{"name": null}');
    CALL try(type, 2, '{"name": null}');
    CALL try(type, 2, '{"size": 13}');
    CALL try(type, 3, '{"size": 13}');
    CALL try(type, 2, '{"size": 60}');
    CALL try(type, 3, '{"size": 60}');
    CALL try(type, 2, '{"share": 10}');
    CALL try(type, 3, '{"share": 10}');
    CALL try(type, 2, '{"share": 101}');
    CALL try(type, 2, '{"short": "a"}');
    CALL try(type, 3, '{"short": "a"}');
    CALL try(type, 2, '{"short": "too long"}');
    CALL try(type, 2, jsonb_build_object('parent', id(9)));
    CALL try(type, 3, jsonb_build_object('parent', id(1)));
    EXECUTE format('INSERT INTO %I VALUES ($1)', type || '_parts') USING id(2);
    CALL try(type, 2, jsonb_build_object('parent', id(3), 'body', reverse(body)));
    CALL try(type, 2, '{"body": "short"}');
    ALTER DOMAIN percent ADD CONSTRAINT even CHECK (VALUE % 2 = 0) NOT VALID;
    CALL try(type, 2, '{"share": 3}');
    CALL try(type, 2, '{"share": 4}');
    ALTER DOMAIN percent DROP CONSTRAINT even;
END
$$;
CALL scenario('plain');
SET goes.force_spi = on;
CALL scenario('forced');
SET goes.force_spi = off;
SELECT what FROM plain_log ORDER BY n;
SELECT * FROM plain_log FULL JOIN forced_log USING (n, what) WHERE plain_log IS NULL OR forced_log IS NULL;
SELECT id, version, name, size, share, short, md5(body), parent FROM plain
EXCEPT SELECT id, version, name, size, share, short, md5(body), parent FROM forced;
SELECT aggregate_id, aggregate_version, data FROM plain_events EXCEPT SELECT aggregate_id, aggregate_version, data FROM forced_events;
SELECT id, version, name, size, share, short, length(body), parent FROM plain ORDER BY id;
SELECT p.* FROM goes_verify('plain') p;

-- A row that was written in the same transaction, also in one that was rolled back
BEGIN;
SELECT goes_do('thing.put', id(2), '{"name": "x"}') IS NOT NULL AS done;
SELECT goes_do('thing.put', id(2), '{"name": "y"}') IS NOT NULL AS done;
SAVEPOINT s;
SELECT goes_do('thing.put', id(2), '{"name": "z"}') IS NOT NULL AS done;
SELECT goes_do('thing.put', id(3), '{"name": "z"}') IS NOT NULL AS done;
ROLLBACK TO s;
SELECT goes_do('thing.put', id(3), '{"size": 3}') IS NOT NULL AS done;
SELECT goes_do('thing.put', id(2), '{"size": 2}') IS NOT NULL AS done;
COMMIT;
SELECT id, version, name, size FROM thing WHERE id IN (id(2), id(3)) ORDER BY id;

-- An index from after the snapshot, which only newer transactions may use
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM thing WHERE id = id(2);
REINDEX TABLE thing;
SELECT goes_do('thing.put', id(2), '{"size": 4}') IS NOT NULL AS done;
COMMIT;
SELECT version, size FROM thing WHERE id = id(2);

-- Without a replica identity, a published table takes no updates.
SET client_min_messages = error;
BEGIN;
CREATE PUBLICATION goes_test_things FOR TABLE thing;
ALTER TABLE thing REPLICA IDENTITY NOTHING;
CALL fails($$SELECT goes_do('thing.put', id(2), '{"size": 5}')$$);
SET goes.force_spi = on;
CALL fails($$SELECT goes_do('thing.put', id(2), '{"size": 5}')$$);
ROLLBACK;
\i :end
