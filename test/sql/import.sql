-- goes_import: past events, appended by their owner.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user
SET TimeZone = 'UTC';
TRUNCATE greetings, audit;

-- A past event; what is NULL is left out.
CREATE FUNCTION past(id integer, action text, minute integer, data jsonb DEFAULT NULL, version integer DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_strip_nulls(jsonb_build_object('aggregate_id', id(id), 'action', action, 'event_version', version,
    'recorded_at', timestamptz '2020-01-01Z' + minute * interval '1 minute'))
    || CASE WHEN data IS NULL THEN '{}' ELSE jsonb_build_object('data', data) END
    || CASE WHEN metadata IS NULL THEN '{}' ELSE jsonb_build_object('metadata', metadata) END
$$;
-- What goes_verify says of all types.
CREATE VIEW problems AS SELECT type, v.* FROM goes.aggregate_types, goes_verify(type) v;

-- New aggregates, their events in between each other: positions as in the array,
-- versions of each aggregate, the times and metadata that are given.
SELECT goes_import('user', '[
    {"aggregate_id": "00000000-0000-0000-0000-000000000002", "action": "created", "event_version": 1, "recorded_at": "2020-01-02T03:04:05.678901Z",
        "data": {"first_name": "Ada", "last_name": "Lovelace", "addresses": []}, "metadata": {"source": "old"}},
    {"aggregate_id": "00000000-0000-0000-0000-000000000001", "action": "created", "recorded_at": "2020-01-01T00:00:00Z",
        "data": {"first_name": "Alan", "last_name": "Turing"}},
    {"aggregate_id": "00000000-0000-0000-0000-000000000002", "action": "first_name_updated", "recorded_at": "2020-01-03 00:00:00+02", "data": {"first_name": "Augusta"}},
    {"aggregate_id": "00000000-0000-0000-0000-000000000002", "action": "first_name_updated", "recorded_at": "2020-01-03T00:00:00+02:00"}
]');
SELECT * FROM users ORDER BY id;
SELECT position, aggregate_id, aggregate_version, action, event_version, data, metadata, command_id, imported, recorded_at FROM users_events ORDER BY position;
SELECT count(DISTINCT id) FROM users_events;
TABLE problems;
SELECT goes_import('user', '[]');

-- Commands go on where it ends.
SELECT e -> 'position' AS position, e -> 'aggregate_version' AS version, (e ->> 'recorded_at')::timestamptz > '2021-01-01' AS now
FROM goes_do('user.update_first_name', id(2), '{"first_name": "Countess"}') e;

-- Existing aggregates go on, too, but not back. The time may be the same.
CALL fails(format($$SELECT goes_import('user', %L)$$, jsonb_build_array(past(1, 'first_name_updated', -1, '{"first_name": "A."}'))));
CALL fails(format($$SELECT goes_import('user', %L)$$, jsonb_build_array(past(3, 'created', 1, '{"first_name": "A.", "last_name": "B."}'), past(3, 'first_name_updated', 0, '{"first_name": "C."}'))));
SELECT goes_import('user', jsonb_build_array(past(1, 'first_name_updated', 0, '{"first_name": "Al"}'), past(1, 'first_name_updated', 0, '{"first_name": "A."}')));
SELECT version, first_name, created_at, updated_at FROM users WHERE id = id(1);
-- Nothing that a command would check is checked.
SELECT first_name FROM users WHERE length(first_name) < 3;

-- No reactor has run, whatever its form; no setting of a session plays a part.
CREATE TABLE log (what text);
CREATE FUNCTION log_state(aggregate users, event goes_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO log VALUES ('state') $$;
CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES ('row'); RETURN NULL; END $$;
CREATE FUNCTION log_later(event goes_event) RETURNS void LANGUAGE sql AS $$ INSERT INTO log VALUES ('later') $$;
SET client_min_messages = error;
SELECT goes_on('{user}', sync => '{log_state, log_row}', async => '{log_later}', outside => '{program}');
RESET client_min_messages;
BEGIN;
SET LOCAL goes.async = 'inline';
SET LOCAL goes.metadata = '{"request": 1}';
SELECT goes_import('user', jsonb_build_array(past(4, 'created', 0, '{"first_name": "Grace", "last_name": "Hopper"}')));
COMMIT;
SELECT metadata FROM users_events WHERE aggregate_id = id(4);
SELECT (SELECT count(*) FROM log) AS log, (SELECT count(*) FROM audit) AS audit, (SELECT count(*) FROM greetings) AS greetings;
SELECT (SELECT count(*) FROM goes.pending) AS pending, (SELECT count(*) FROM goes.inline_deliveries) AS inline_deliveries;
SELECT goes_off('log_state'), goes_off('log_row'), goes_off('log_later', true), goes_off('program', true);

--
-- What is imported is what was exported
--
CREATE FUNCTION export(events regclass) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    exported jsonb;
BEGIN
    EXECUTE format('SELECT jsonb_agg(jsonb_build_object(''aggregate_id'', aggregate_id, ''action'', action, ''event_version'', event_version,
        ''data'', data, ''metadata'', metadata, ''recorded_at'', recorded_at) ORDER BY position) FROM %s', events) INTO exported;
    RETURN exported;
END $$;
CREATE SCHEMA copy;
CREATE TABLE copy.users (LIKE users INCLUDING ALL);
SELECT goes_register_aggregate('copy', 'copy.users');
SELECT goes_register_event('copy', 'created'), goes_register_event('copy', 'first_name_updated');
SELECT goes_import('copy', export('users_events')) = count(*) AS all_of_them FROM users_events;
SELECT count(*) FROM (TABLE users EXCEPT TABLE copy.users) AS different;
SELECT export('users_events') = export('copy.users_events') AS same;
TABLE problems;

--
-- Versions, upcasters, calculators
--
CREATE TABLE docs (LIKE goes_base_aggregate INCLUDING ALL, title text, day text, views integer NOT NULL DEFAULT 0, CHECK (views < 100));
CREATE FUNCTION doc_dated(aggregate docs, event goes_event) RETURNS docs LANGUAGE plpgsql AS $$
BEGIN
    aggregate.day := (event.data ->> 'at')::timestamptz::text;
    RETURN aggregate;
END $$;
CREATE FUNCTION doc_viewed(aggregate docs, event goes_event) RETURNS docs LANGUAGE plpgsql AS $$
BEGIN
    aggregate.views := aggregate.views + (event.data ->> 'times')::integer;
    RETURN aggregate;
END $$;
CREATE FUNCTION doc_lost(aggregate docs, event goes_event) RETURNS docs LANGUAGE sql AS 'SELECT NULL::docs';
CREATE FUNCTION doc_removed(aggregate docs, event goes_event) RETURNS docs LANGUAGE plpgsql AS $$
BEGIN
    aggregate.deleted_at := event.recorded_at;
    RETURN aggregate;
END $$;
CREATE FUNCTION times(data jsonb) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('times', coalesce(data -> 'n', '1'));
SELECT goes_register_aggregate('doc', 'docs');
SELECT goes_register_event('doc', 'put'), goes_register_event('doc', 'dated', 1, 'doc_dated'), goes_register_event('doc', 'viewed', 2, 'doc_viewed'),
    goes_register_event('doc', 'lost', 1, 'doc_lost'), goes_register_event('doc', 'noted', 3, NULL), goes_register_event('doc', 'noted', 12, NULL),
    goes_register_event('doc', 'removed', 1, 'doc_removed');
SELECT goes_register_upcaster('doc', 'viewed', 1, 'times');
SET TimeZone = 'America/New_York';
SELECT goes_import('doc', jsonb_build_array(
    past(1, 'put', 0, '{"title": "One", "views": 1}'),
    past(1, 'viewed', 1, '{"n": 2}', 1), past(1, 'viewed', 2, NULL, 1), past(1, 'viewed', 3, '{"times": 4}'),
    past(1, 'dated', 4, '{"at": "2020-06-30T23:00:00Z"}'), past(1, 'noted', 5), past(1, 'noted', 6, '{"x": 1}', 3), past(1, 'removed', 7), past(1, 'viewed', 8, '{"times": 1}')));
SET TimeZone = 'UTC';
-- The stored events are as they were given.
SELECT action, event_version, data FROM docs_events ORDER BY position;
SELECT version, created_at, updated_at, deleted_at, title, day, views FROM docs;
SELECT goes_rebuilt.* = docs.* AS same FROM docs, goes_aggregate_at(NULL::docs, docs.id) AS goes_rebuilt;
TABLE problems;

-- OG011: what the model does not know, or cannot apply
CALL fails(format($$SELECT goes_import('doc', %L)$$, jsonb_build_array(past(2, 'put', 0), past(2, 'burnt', 1))));
CALL fails(format($$SELECT goes_import('doc', %L)$$, jsonb_build_array(past(2, 'put', 0, NULL, 2))));
CALL fails(format($$SELECT goes_import('doc', %L)$$, jsonb_build_array(past(2, 'viewed', 0, '{"times": 1}', 3))));
CALL fails(format($$SELECT goes_import('doc', %L)$$, jsonb_build_array(past(2, 'put', 0), past(2, 'lost', 1), past(2, 'put', 2))));
-- A calculator's own errors, and those of constraints: which event it was
CALL fails(format($$SELECT goes_import('doc', %L)$$, jsonb_build_array(past(2, 'put', 0), past(3, 'put', 0), past(2, 'viewed', 1, '{"times": "x"}'))));
CALL fails(format($$SELECT goes_import('doc', %L)$$, jsonb_build_array(past(2, 'viewed', 0, '{"times": 99}'), past(3, 'viewed', 0, '{"times": 99}'), past(2, 'viewed', 1, '{"times": 1}'), past(3, 'put', 1))));
-- Only what is stored counts: each state once.
SELECT goes_import('doc', jsonb_build_array(past(2, 'viewed', 0, '{"times": 100}'), past(2, 'viewed', 1, '{"times": -1}')));
SELECT version, views FROM docs WHERE id = id(2);

--
-- The document
--
CREATE PROCEDURE refused(events text) LANGUAGE plpgsql AS $$ BEGIN CALL fails(format('SELECT goes_import(''doc'', %L)', events)); END $$;
CALL fails('SELECT goes_import(NULL, ''[]'')');
CALL fails('SELECT goes_import(''doc'', NULL)');
CALL fails('SELECT goes_import(''dog'', ''[]'')');
CALL refused('{"aggregate_id": 1}');
CALL refused('"x"');
CALL refused('[1]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z"}, [], 3]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z"}, "x"]');
CALL refused('[{"action": "put", "recorded_at": "2020-01-01Z"}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z"}, {"aggregate_id": "00000000-0000-0000-0000-000000000009", "recorded_at": "2020-01-01Z"}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put"}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "position": 1}]');
CALL refused('[{"aggregate_id": "nine", "action": "put", "recorded_at": "2020-01-01Z"}]');
CALL refused('[{"aggregate_id": 9, "action": "put", "recorded_at": "2020-01-01Z"}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": null, "recorded_at": "2020-01-01Z"}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "event_version": 0}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "event_version": 1.5}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "event_version": 2147483648}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "event_version": "1"}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "data": []}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "data": null}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "2020-01-01Z", "metadata": "{}"}]');
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": 1577836800}]');
-- A time that tells the same to everybody; one without an offset is of the session's time zone.
CALL refused('[{"aggregate_id": "00000000-0000-0000-0000-000000000009", "action": "put", "recorded_at": "now"}]');
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['', 'now', 'infinity', '-infinity', 'epoch', 'tomorrow', '1/2/2020', '01-02-2020', '20-01-02', '2020-13-01', '2020-02-30Z',
        '2020-01-01T25:00:00Z', '2020-01-01T00:00:00 Nowhere/Never', '300000-01-01', repeat('2', 1000), '2020-01-01 now', '12:00', '2020-1-1']
    LOOP
        BEGIN
            PERFORM goes_import('doc', jsonb_build_array(jsonb_build_object('aggregate_id', id(9), 'action', 'put', 'recorded_at', t)));
            RAISE INFO 'accepted: %', t;
        EXCEPTION WHEN invalid_parameter_value THEN
        END;
    END LOOP;
END $$;
SET DateStyle = 'German, DMY';
SET TimeZone = 'America/New_York';
SELECT goes_import('doc', jsonb_agg(jsonb_build_object('aggregate_id', id(10 + n::integer), 'action', 'put', 'recorded_at', t)))
FROM unnest(ARRAY['2020-02-01', '2020-02-01T00:00:00', '2020-02-01T00:00:00Z', '2020-02-01 01:00:00.123456+01', '2020-02-01T00:00:00.5-02:30', '12020-02-01T00:00:00Z', '0044-03-15T00:00:00Z BC'])
    WITH ORDINALITY AS t (t, n);
RESET DateStyle;
SET TimeZone = 'UTC';
SELECT updated_at FROM docs WHERE id > id(9) ORDER BY id;
SELECT count(*) FROM docs WHERE id = id(9);

--
-- All or nothing; in transactions as anything else
--
SELECT count(*) AS docs, (SELECT count(*) FROM docs_events) AS events FROM docs;
BEGIN;
SELECT goes_import('doc', jsonb_build_array(past(30, 'put', 0)));
SAVEPOINT a;
SELECT goes_import('doc', jsonb_build_array(past(31, 'put', 0), past(30, 'put', 1), past(30, 'burnt', 1)));
ROLLBACK TO a;
SELECT goes_import('doc', jsonb_build_array(past(31, 'put', 0), past(30, 'put', 1)));
ROLLBACK TO a;
SELECT goes_import('doc', jsonb_build_array(past(30, 'put', 2), past(31, 'put', 0)));
SELECT id, version FROM docs WHERE id >= id(30) ORDER BY id;
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT goes_import('doc', jsonb_build_array(past(30, 'put', 0), past(31, 'put', 0)));
SELECT goes_import('doc', jsonb_build_array(past(31, 'put', 1), past(30, 'put', 1)));
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT goes_import('doc', jsonb_build_array(past(30, 'put', 2), past(32, 'put', 0)));
COMMIT;
SELECT id, version FROM docs WHERE id >= id(30) ORDER BY id;
BEGIN READ ONLY;
SELECT goes_import('doc', jsonb_build_array(past(33, 'put', 0)));
ROLLBACK;
TABLE problems;

--
-- Each state is written once, if there is memory for all; else states and events
-- are written when they take too much of it.
--
CREATE FUNCTION many(first integer) RETURNS jsonb LANGUAGE sql AS $$
SELECT jsonb_agg(past(first + (n * 7919) % 3000, CASE n % 3 WHEN 0 THEN 'put' ELSE 'viewed' END, n,
    CASE n % 3 WHEN 0 THEN jsonb_build_object('title', repeat(n::text, 50)) ELSE '{"times": 1}' END)) FROM generate_series(1, 9000) n
$$;
-- rows that this session has written, maybe since a while
CREATE VIEW written AS SELECT n_tup_ins AS inserted, n_tup_upd AS updated FROM pg_stat_xact_user_tables WHERE relid = 'docs'::regclass;
BEGIN;
SET LOCAL maintenance_work_mem = '64MB';
SELECT coalesce(sum(inserted), 0) AS inserted, coalesce(sum(updated), 0) AS updated FROM written \gset before_
SELECT goes_import('doc', many(1000));
SELECT inserted - :before_inserted AS inserted, updated - :before_updated AS updated FROM written;
COMMIT;
BEGIN;
SET LOCAL maintenance_work_mem = '1MB';
SELECT coalesce(sum(inserted), 0) AS inserted, coalesce(sum(updated), 0) AS updated FROM written \gset before_
SELECT goes_import('doc', many(4000));
SELECT inserted - :before_inserted AS inserted, updated - :before_updated > 0 AS updated FROM written;
COMMIT;
SELECT count(*), min(version), max(version), sum(views), count(title) FROM docs WHERE id >= id(4000);
SELECT count(*) AS different FROM docs a JOIN docs b ON b.id = id(substr(a.id::text, 25)::integer + 3000)
WHERE a.id BETWEEN id(1000) AND id(3999) AND ROW(a.version, a.created_at, a.updated_at, a.title, a.views) <> ROW(b.version, b.created_at, b.updated_at, b.title, b.views);
SELECT count(*), count(DISTINCT position), bool_and(imported) FROM docs_events WHERE aggregate_id >= id(4000);
SELECT count(*) AS out_of_order FROM (SELECT position, lag(position) OVER (ORDER BY recorded_at) AS before FROM docs_events WHERE aggregate_id >= id(4000)) AS e WHERE before > position;
TABLE problems;
-- one aggregate with many events, and a large state
SELECT goes_import('doc', (SELECT jsonb_agg(past(50, 'put', n, jsonb_build_object('title', repeat(md5(n::text), 500)))) FROM generate_series(1, 2000) n));
SELECT version, length(title) FROM docs WHERE id = id(50);
TABLE problems;

--
-- Tables as people have them: the users' own columns, constraints and triggers
--
CREATE TABLE "Parent Table" (LIKE goes_base_aggregate INCLUDING ALL, gone integer, "Name" text UNIQUE, parent uuid REFERENCES "Parent Table",
    twice text GENERATED ALWAYS AS ("Name" || "Name") STORED, number integer GENERATED ALWAYS AS IDENTITY);
ALTER TABLE "Parent Table" DROP COLUMN gone;
SELECT goes_register_aggregate('Parent', '"Parent Table"', 'Happened "there"');
ALTER TABLE "Happened ""there""" ADD FOREIGN KEY (aggregate_id) REFERENCES "Parent Table", ADD who name DEFAULT current_user,
    ADD key text GENERATED ALWAYS AS (data ->> 'Name') STORED, ADD CHECK (NOT data ? 'forbidden');
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        INSERT INTO log VALUES (format('%s %s %s: %s', TG_WHEN, TG_OP, TG_TABLE_NAME, NEW.id = NEW.aggregate_id));
    ELSE
        INSERT INTO log VALUES (format('%s %s %s', TG_WHEN, TG_OP, TG_TABLE_NAME));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER each_row AFTER INSERT ON "Happened ""there""" FOR EACH ROW EXECUTE FUNCTION told();
CREATE TRIGGER each_statement AFTER INSERT ON "Happened ""there""" FOR EACH STATEMENT EXECUTE FUNCTION told();
SELECT goes_register_event('Parent', 'put');
-- Aggregates are written in the order of their first events, before all events: so one may refer to another, or take over its name.
SELECT goes_import('Parent', jsonb_build_array(past(9, 'put', 0, '{"Name": "x"}'), past(5, 'put', 0, jsonb_build_object('parent', id(9), 'Name', 'y')), past(7, 'put', 0, jsonb_build_object('parent', id(5)))));
SELECT goes_import('Parent', jsonb_build_array(past(9, 'put', 1, '{"Name": "z"}'), past(5, 'put', 1, '{"Name": "x"}'), past(1, 'put', 1, '{"Name": "y"}')));
SELECT id, version, "Name", parent, twice, number FROM "Parent Table" ORDER BY number;
SELECT position > 0 AS position, aggregate_id, who = current_user AS who, key FROM "Happened ""there""" ORDER BY "Happened ""there""".position;
SELECT what, count(*) FROM log GROUP BY what ORDER BY what;
CALL fails(format($$SELECT goes_import('Parent', %L)$$, jsonb_build_array(past(20, 'put', 0), past(21, 'put', 1, '{"Name": "x"}'))));
CALL fails(format($$SELECT goes_import('Parent', %L)$$, jsonb_build_array(past(20, 'put', 0, jsonb_build_object('parent', id(99))))));
CALL fails(format($$SELECT goes_import('Parent', %L)$$, jsonb_build_array(past(20, 'put', 0), past(20, 'put', 1, '{"forbidden": 1}'))));
TRUNCATE log;
DROP TRIGGER each_row ON "Happened ""there""";
DROP TRIGGER each_statement ON "Happened ""there""";

-- BEFORE triggers may look, but neither change nor suppress.
CREATE FUNCTION looks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_TABLE_NAME); RETURN NEW; END $$;
CREATE FUNCTION changes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.recorded_at := NEW.recorded_at - interval '1 day'; RETURN NEW; END $$;
CREATE FUNCTION changes_id() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := gen_random_uuid(); RETURN NEW; END $$;
CREATE FUNCTION suppresses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION renames() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."Name" := 'other'; RETURN NEW; END $$;
CREATE PROCEDURE with_trigger(relation regclass, function text, data jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER a BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %I()', relation, function);
    CALL fails(format('SELECT goes_import(''Parent'', %L)', jsonb_build_array(past(20, 'put', 0), past(7, 'put', 20, data))));
    EXECUTE format('DROP TRIGGER a ON %s', relation);
END $$;
CALL with_trigger('"Happened ""there"""', 'looks');
CALL with_trigger('"Happened ""there"""', 'changes');
CALL with_trigger('"Happened ""there"""', 'changes_id');
CALL with_trigger('"Happened ""there"""', 'suppresses');
CALL with_trigger('"Parent Table"', 'looks');
CALL with_trigger('"Parent Table"', 'renames');
CALL with_trigger('"Parent Table"', 'changes_id');
CALL with_trigger('"Parent Table"', 'suppresses');
CREATE TRIGGER a BEFORE INSERT ON "Happened ""there""" FOR EACH ROW EXECUTE FUNCTION looks();
SELECT goes_import('Parent', jsonb_build_array(past(20, 'put', 0), past(7, 'put', 20), past(20, 'put', 1)));
SELECT count(*) FROM log;
DROP TRIGGER a ON "Happened ""there""";
TABLE problems;

-- The guards let nothing else pass: not before the events, among them or after them.
CREATE FUNCTION forges() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO "Happened ""there""" (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
    VALUES (-1, gen_random_uuid(), id(9), 100, 'put', 1, '{}', '{}', true, now());
    RETURN NULL;
END $$;
CREATE TRIGGER a BEFORE INSERT ON "Happened ""there""" FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION forges();
CALL fails(format($$SELECT goes_import('Parent', %L)$$, jsonb_build_array(past(21, 'put', 0), past(22, 'put', 0))));
DROP TRIGGER a ON "Happened ""there""";
CREATE TRIGGER a AFTER INSERT ON "Happened ""there""" FOR EACH ROW EXECUTE FUNCTION forges();
CALL fails(format($$SELECT goes_import('Parent', %L)$$, jsonb_build_array(past(21, 'put', 0), past(22, 'put', 0))));
DROP TRIGGER a ON "Happened ""there""";
CREATE FUNCTION forge() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO "Happened ""there""" (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at, forged)
    VALUES (-1, gen_random_uuid(), id(9), 100, 'put', 1, '{}', '{}', true, now(), 'x');
    RETURN 'y';
END $$;
ALTER TABLE "Happened ""there""" ADD forged text;
ALTER TABLE "Happened ""there""" ALTER forged SET DEFAULT forge();
CALL fails(format($$SELECT goes_import('Parent', %L)$$, jsonb_build_array(past(21, 'put', 0), past(22, 'put', 0))));
ALTER TABLE "Happened ""there""" DROP COLUMN forged;
-- What was announced, but not written, is forgotten.
CREATE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no row for you'; END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON "Parent Table" FOR EACH ROW EXECUTE FUNCTION raises();
SELECT goes_import('Parent', jsonb_build_array(past(9, 'put', 50)));
CALL fails(format($$SELECT goes_import('Parent', %L)$$, jsonb_build_array(past(9, 'put', 50))));
ALTER TABLE "Parent Table" DISABLE TRIGGER a;
UPDATE "Parent Table" SET "Name" = 'forged' WHERE id = id(9);
SET goes.allow_direct_writes = on;
UPDATE "Parent Table" SET "Name" = 'wrong' WHERE id = id(9);
RESET goes.allow_direct_writes;
ALTER TABLE "Parent Table" ENABLE TRIGGER a;
SELECT goes_replay('Parent', id(9));
ALTER TABLE "Parent Table" DISABLE TRIGGER a;
UPDATE "Parent Table" SET "Name" = 'forged' WHERE id = id(9);
ALTER TABLE "Parent Table" ENABLE TRIGGER a;
CALL fails($$SELECT goes_replay('Parent', id(9))$$);
ALTER TABLE "Parent Table" DISABLE TRIGGER a;
UPDATE "Parent Table" SET "Name" = 'forged' WHERE id = id(9);
SELECT goes_replay('Parent', id(9));
-- A command in the middle of an import does not disturb it.
SELECT goes_register_command('Parent', 'put', event => 'put', target => 'any');
CREATE FUNCTION commands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.parent IS NULL THEN
        PERFORM goes_do('Parent.put', id(60 + NEW.version::integer), jsonb_build_object('parent', id(9)));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER b BEFORE INSERT ON "Parent Table" FOR EACH ROW EXECUTE FUNCTION commands();
SELECT goes_import('Parent', jsonb_build_array(past(51, 'put', 0), past(52, 'put', 0), past(51, 'put', 0)));
SELECT id, version FROM "Parent Table" WHERE id > id(50) ORDER BY id;
DROP TRIGGER b ON "Parent Table";
TABLE problems;

-- Partitions
CREATE TABLE parts (LIKE goes_base_aggregate INCLUDING ALL, name text) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE parts_events (
    recorded_at timestamptz NOT NULL, position bigint NOT NULL, id uuid NOT NULL, aggregate_id uuid NOT NULL, aggregate_version bigint NOT NULL, action text NOT NULL,
    event_version integer NOT NULL, data jsonb NOT NULL, metadata jsonb NOT NULL, command_id uuid, imported boolean NOT NULL) PARTITION BY RANGE (recorded_at);
CREATE TABLE parts_events_old PARTITION OF parts_events FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:10:00Z');
CREATE TABLE parts_events_new PARTITION OF parts_events DEFAULT;
SELECT goes_register_aggregate('part', 'parts');
SELECT goes_register_event('part', 'put');
SELECT goes_import('part', (SELECT jsonb_agg(past(n % 5, 'put', n, jsonb_build_object('name', 'n' || n))) FROM generate_series(1, 20) n));
SELECT id, version, name FROM parts ORDER BY id;
SELECT tableoid::regclass, count(*) FROM parts_events GROUP BY 1 ORDER BY 1;
TABLE problems;

--
-- Who may
--
CREATE ROLE regress_goes_owner;
CREATE ROLE regress_goes_member IN ROLE regress_goes_owner;
CREATE ROLE regress_goes_other;
GRANT ALL ON SCHEMA test TO regress_goes_owner, regress_goes_other;
SET ROLE regress_goes_owner;
CREATE TABLE notes (LIKE goes_base_aggregate INCLUDING ALL, body text, writer name NOT NULL DEFAULT 'x');
CREATE FUNCTION note_put(aggregate notes, event goes_event) RETURNS notes LANGUAGE plpgsql AS $$
BEGIN
    aggregate.writer := current_user;
    RETURN aggregate;
END $$;
SELECT goes_register_aggregate('note', 'notes');
SELECT goes_register_event('note', 'put', 1, 'note_put');
GRANT ALL ON notes, notes_events TO regress_goes_other;
SET ROLE regress_goes_other;
SELECT goes_import('note', '[]');
SET ROLE regress_goes_member;
SELECT goes_import('note', jsonb_build_array(past(1, 'put', 0)));
-- as the caller
SELECT writer FROM notes;
-- nothing may be hidden from him
SET ROLE regress_goes_owner;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
SELECT goes_import('note', jsonb_build_array(past(2, 'put', 0)));
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
SELECT goes_import('note', jsonb_build_array(past(3, 'put', 0)));
RESET ROLE;
SELECT goes_import('note', jsonb_build_array(past(3, 'put', 0)));
ALTER TABLE notes NO FORCE ROW LEVEL SECURITY;
ALTER TABLE notes_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes_events FORCE ROW LEVEL SECURITY;
SET ROLE regress_goes_owner;
SELECT goes_import('note', jsonb_build_array(past(4, 'put', 0)));
ALTER TABLE notes_events NO FORCE ROW LEVEL SECURITY;
REVOKE INSERT ON notes_events FROM regress_goes_owner;
SELECT goes_import('note', jsonb_build_array(past(4, 'put', 0)));
RESET ROLE;
SELECT count(*) FROM notes;
DROP TABLE notes CASCADE;
DROP TABLE notes_events;
DROP OWNED BY regress_goes_owner, regress_goes_other;
DROP ROLE regress_goes_member, regress_goes_owner, regress_goes_other;

--
-- From inside of a command
--
CREATE FUNCTION import_one(aggregate docs, event goes_event) RETURNS void LANGUAGE sql AS
$$ SELECT goes_import('doc', jsonb_build_array(past(70, 'put', aggregate.version::integer, '{"title": "by a reactor"}'))) $$;
CREATE FUNCTION import_self(aggregate docs, command goes_command) RETURNS goes_event_data LANGUAGE sql AS
$$ SELECT CASE WHEN goes_import('doc', jsonb_build_array(past(71, 'put', 100000000))) = 1 THEN goes_event_data('put', '{}') END $$;
SELECT goes_register_command('doc', 'put', event => 'put', target => 'any'), goes_register_command('doc', 'self', 'import_self', target => 'any');
SELECT goes_on('{doc}', sync => '{import_one}');
SELECT goes_do('doc.put', id(72), '{"title": "by a command"}') ->> 'aggregate_version' AS version;
SELECT title, version FROM docs WHERE id = id(70);
CALL fails($$SELECT goes_do('doc.self', id(71))$$);
SELECT goes_do('doc.put', id(71)) ->> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('doc.self', id(71))$$);
TABLE problems;
\i :end
