-- goes_dispatch: the reactors of a stored event, run again.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

-- An event as a caller may have it: of all its fields only these two count.
CREATE FUNCTION at(p bigint, type text DEFAULT 'note') RETURNS goes_event LANGUAGE sql RETURN
    ROW(p, '00000000-0000-0000-0000-000000000666', type, '00000000-0000-0000-0000-000000000666', -1, 'forged', 0, '{"forged": 1}', '{"forged": 1}', '{"forged": 1}', '1900-01-01')::goes_event;

CREATE TABLE log (n integer GENERATED ALWAYS AS IDENTITY, what text);
-- What was logged since it was last shown.
CREATE FUNCTION logged() RETURNS SETOF text LANGUAGE sql AS $$ WITH gone AS (DELETE FROM log RETURNING *) SELECT what FROM gone ORDER BY n $$;

CREATE TABLE notes (gone integer, LIKE goes_base_aggregate INCLUDING ALL, body text NOT NULL DEFAULT '');
ALTER TABLE notes DROP COLUMN gone;
SELECT goes_register_aggregate('note', 'notes');
ALTER TABLE notes_events ADD who name DEFAULT current_user;
CREATE FUNCTION twice(data jsonb) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('body', (data ->> 'text') || (data ->> 'text'));
CREATE FUNCTION put(aggregate notes, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('put', command.data, (command.data ->> 'version')::integer, '{"secret": 42}');
SELECT goes_register_event('note', 'put', 2), goes_register_event('note', 'read', 1, NULL);
SELECT goes_register_upcaster('note', 'put', 1, 'twice');
SELECT goes_register_event('note', 'put', 1);
SELECT goes_register_command('note', 'put', 'put', target => 'any'), goes_register_command('note', 'read', event => 'read');

CREATE FUNCTION r1_event(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (what) VALUES (format('r1_event %s %s.%s.%s %s %s', event.position, event.aggregate_type, event.action, event.event_version, event.data, event.transient));
END $$;
CREATE FUNCTION r2_state(aggregate notes, event goes_event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO log (what) VALUES (format('r2_state %s of %s: %s, after %s others', event.aggregate_version, aggregate.version, aggregate.body, (SELECT count(*) FROM log))) $$;
CREATE FUNCTION r3_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (what) VALUES (format('r3_row %s %s.%s %s %s %s %s %s %s %s', TG_OP, NEW.action, NEW.event_version, NEW.data, NEW.who = current_user, TG_WHEN, TG_LEVEL, TG_TABLE_NAME, TG_NAME, pg_trigger_depth()));
    RETURN NULL;
END $$;
SELECT goes_on('{note.put}', sync => '{r1_event, r2_state, r3_row}');
CREATE FUNCTION own_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log (what) VALUES ('own trigger'); RETURN NEW; END $$;
CREATE TRIGGER own AFTER INSERT ON notes_events FOR EACH ROW EXECUTE FUNCTION own_trigger();

SELECT goes_do('note.put', id(1), '{"text": "ab", "version": 1}') ->> 'position' AS position;
SELECT goes_do('note.put', id(1), '{"body": "cd"}') ->> 'position' AS position;
SELECT goes_do('note.read', id(1)) ->> 'position' AS position;
SELECT goes_import('note', jsonb_build_array(jsonb_build_object('aggregate_id', id(2), 'action', 'put', 'data', '{"body": "old"}'::jsonb, 'recorded_at', '2020-01-01T00:00:00Z')));
SELECT logged();

--
-- Sync: again, in their order, with what is stored, the aggregate as it is now,
-- nothing transient, and no other trigger
--
SELECT goes_dispatch(at(1));
SELECT logged();
SELECT goes_dispatch(at(2));
SELECT logged();
-- none reacts to it
SELECT goes_dispatch(at(3));
-- an imported one
SELECT goes_dispatch(at(4));
SELECT logged();
-- one of them
SELECT goes_dispatch(at(1), 'r2_state');
SELECT goes_dispatch(at(2), 'test.r3_row');
SELECT goes_dispatch(at(4), reactor => 'r1_event');
SELECT logged();
-- many
SELECT count(goes_dispatch(at(position), 'r1_event')) FROM (SELECT position FROM notes_events WHERE action = 'put' ORDER BY position) AS e;
SELECT logged();
-- Nothing was stored by that.
SELECT count(*), max(position) FROM notes_events;

-- What it cannot do
CALL fails($$SELECT goes_dispatch(NULL)$$);
CALL fails($$SELECT goes_dispatch(at(NULL))$$);
CALL fails($$SELECT goes_dispatch(at(1, NULL))$$);
CALL fails($$SELECT goes_dispatch(at(1, 'nothing'))$$);
CALL fails($$SELECT goes_dispatch(at(5))$$);
CALL fails($$SELECT goes_dispatch(at(-1))$$);
CALL fails($$SELECT goes_dispatch(at(1), 'nobody')$$);
CALL fails($$SELECT goes_dispatch(at(3), 'r1_event')$$);

-- A trigger that its owner has disabled, or dropped, does not fire.
ALTER TABLE notes_events DISABLE TRIGGER "goes_on_test.r2_state";
DROP TRIGGER "goes_on_test.r3_row" ON notes_events;
SELECT goes_dispatch(at(1));
SELECT logged();
CALL fails($$SELECT goes_dispatch(at(1), 'r2_state')$$);
CALL fails($$SELECT goes_dispatch(at(1), 'r3_row')$$);
ALTER TABLE notes_events ENABLE TRIGGER "goes_on_test.r2_state";
SELECT goes_off('r2_state');
CALL fails($$SELECT goes_dispatch(at(1), 'r2_state')$$);
SELECT goes_on('{note.put.1}', sync => '{r2_state}');
-- A reactor gets the events that it is registered for now.
SELECT goes_on('{note.read}', sync => '{r3_row}');
SELECT goes_dispatch(at(1)), goes_dispatch(at(2)), goes_dispatch(at(3));
SELECT logged();

-- An error of one undoes it all; so does a rollback.
CREATE FUNCTION r4_fails(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF event.data ->> 'body' = 'old' THEN
        RAISE 'it is too old';
    END IF;
    INSERT INTO log (what) VALUES ('r4_fails');
END $$;
SELECT goes_on('{*}', sync => '{r4_fails}');
SELECT goes_dispatch(at(4));
CALL fails($$SELECT goes_dispatch(at(position)) FROM notes_events$$);
SELECT logged();
BEGIN;
SAVEPOINT a;
SELECT goes_dispatch(at(1));
ROLLBACK TO a;
SELECT goes_dispatch(at(1), 'r4_fails');
SELECT count(*) FROM log;
COMMIT;
SELECT logged();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT goes_dispatch(at(1)), goes_dispatch(at(2), 'r4_fails');
SELECT logged();
COMMIT;
SELECT goes_off('r4_fails');

--
-- Commands of a reactor are caused by the event.
--
CREATE TABLE copies (LIKE goes_base_aggregate INCLUDING ALL, body text, note uuid);
SELECT goes_register_aggregate('copy', 'copies');
SELECT goes_register_event('copy', 'made');
SELECT goes_register_command('copy', 'make', event => 'made', target => 'any');
CREATE FUNCTION copies(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_do('copy.make', id((event.position)::integer), jsonb_build_object('body', event.data -> 'body', 'note', event.aggregate_id));
END $$;
SELECT goes_on('{note.put}', sync => '{copies}');
SELECT goes_do('note.put', id(3), '{"body": "ef"}', '{"request": 7}') ->> 'position' AS position;
SELECT goes_dispatch(at(5), 'copies');
CREATE VIEW causes AS
    SELECT c.position, c.aggregate_id, c.aggregate_version, c.data ->> 'body' AS body, (SELECT n.position FROM notes_events n WHERE n.id = (c.metadata ->> 'causation_id')::uuid) AS cause,
        (SELECT n.position FROM notes_events n WHERE n.id = (c.metadata ->> 'correlation_id')::uuid) AS correlation, c.metadata -> 'request' AS request
    FROM copies_events c;
SELECT * FROM causes ORDER BY position;
-- In the middle of another command, too: of the event, not of that command.
CREATE FUNCTION again(event goes_event) RETURNS void LANGUAGE sql AS $$ SELECT goes_dispatch(at(5), 'copies') $$;
SELECT goes_on('{note.read}', sync => '{again}');
SELECT goes_do('note.read', id(1), '{}', '{"request": 8}') ->> 'position' AS position;
SELECT * FROM causes ORDER BY position DESC LIMIT 1;
DELETE FROM log;
-- Nested too deep
SET goes.max_nesting = 1;
CALL fails($$SELECT goes_dispatch(at(5), 'copies')$$);
RESET goes.max_nesting;
-- A reactor that rejects; the table in the error is that of the event's aggregate.
CREATE FUNCTION rejects(event goes_event) RETURNS void LANGUAGE sql RETURN goes_reject('not again', reason => 'once_only');
SELECT goes_off('copies'), goes_off('again'), goes_on('{note.read}', sync => '{rejects}');
CALL fails($$SELECT goes_dispatch(at(3))$$);
SELECT goes_off('rejects');

--
-- Others get it in their turn. On a server that does not preload goes, there is a
-- WARNING that they wait.
--
SET client_min_messages = error;
SELECT goes_on('{note}', outside => '{program}', start => 2);
CREATE VIEW waiting AS SELECT p.position, aggregate_type, aggregate_id, aggregate_version, blocks, attempts, due_at <= now() AS due, leased, failed_at IS NOT NULL AS failed
    FROM goes.pending p JOIN goes.reactors r ON r.id = p.reactor WHERE r.reactor = 'program' ORDER BY p.position;
-- 1 and 2 are behind it, 3 is before it; of the imported ones it gets those that were imported before it was registered.
SELECT goes_dispatch(at(1)), goes_dispatch(at(3)), goes_dispatch(at(4));
SELECT * FROM waiting;
-- Twice is once. Sync ones run each time.
SELECT goes_dispatch(at(1)), goes_dispatch(at(2), 'program');
SELECT * FROM waiting;
SELECT count(*) FROM logged() WHERE logged LIKE 'r1_event 1 %';
-- With goes.async = inline, too.
SET goes.async = 'inline';
SELECT goes_dispatch(at(2), 'program');
RESET goes.async;
-- An event that is imported from now on, it does not get, unless told so.
SELECT goes_import('note', jsonb_build_array(jsonb_build_object('aggregate_id', id(4), 'action', 'put', 'data', '{"body": "older"}'::jsonb, 'recorded_at', '2020-01-01T00:00:00Z')));
SELECT max(position) AS imported FROM notes_events \gset
SELECT goes_dispatch(at(:imported), 'program');
SELECT position - :imported, aggregate_id FROM waiting OFFSET 2;
DELETE FROM goes.pending;

-- One that a program has is its; one that failed is due now.
SELECT goes_dispatch(at(1), 'program'), goes_dispatch(at(2), 'program');
UPDATE goes.pending SET leased = true, attempts = 3, due_at = 'infinity' WHERE position = 1;
UPDATE goes.pending SET attempts = 9, due_at = 'infinity', failed_at = now(), blocks = true WHERE position = 2;
SELECT goes_dispatch(at(1)), goes_dispatch(at(2));
SELECT * FROM waiting;
-- One that waits for an earlier one of its aggregate gets its turn.
DELETE FROM goes.pending WHERE position = 2;
UPDATE goes.pending SET leased = false, blocks = true;
UPDATE goes.progress SET checkpoint = 100;
SELECT goes_dispatch(at(2)), goes_dispatch(at(3)), goes_dispatch(at(5));
SELECT * FROM waiting;
-- not so what comes before that
UPDATE goes.pending SET position = 2, aggregate_version = 2 WHERE position = 1;
SELECT goes_dispatch(at(1));
SELECT * FROM waiting;
DELETE FROM goes.pending;
-- A dead letter is none any more.
INSERT INTO goes.dead_letters SELECT r.id, position, 'note', aggregate_id, aggregate_version, 10, 'P0001', 'no', now() FROM goes.reactors r, notes_events WHERE reactor = 'program';
SELECT goes_dispatch(at(2), 'program');
SELECT * FROM waiting;
SELECT count(*) FILTER (WHERE position = 2) AS it, count(*) > 0 AS others FROM goes.dead_letters;
DELETE FROM goes.dead_letters;
DELETE FROM goes.pending;
-- So is the note that it was delivered inside its transaction.
UPDATE goes.progress SET checkpoint = 1;
INSERT INTO goes.inline_deliveries SELECT id, 2 FROM goes.reactors WHERE reactor = 'program';
SELECT goes_dispatch(at(2), 'program');
SELECT count(*) FROM goes.inline_deliveries;
SELECT * FROM waiting;
-- The part of the aggregate counts.
UPDATE goes.progress SET parts = 2, checkpoint = 0;
INSERT INTO goes.progress (reactor, part, parts, checkpoint, imported_to) SELECT reactor, 1, 2, 100, 0 FROM goes.progress;
SELECT goes_dispatch(at(position), 'program') FROM notes_events WHERE position < 6;
SELECT w.position, w.aggregate_id FROM waiting w EXCEPT
SELECT position, aggregate_id FROM notes_events WHERE (uuid_hash(aggregate_id) & 2147483647) % 2 = 1 OR imported;
SELECT count(*) > 0 AS some FROM waiting;
DELETE FROM goes.pending;
DELETE FROM goes.progress WHERE part = 1;
UPDATE goes.progress SET parts = 1, checkpoint = 100;
-- Whatever the snapshot, what counts is how far it is now.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM waiting;
SELECT goes_dispatch(at(2), 'program'), goes_dispatch(at(2), 'program');
SELECT count(*) FROM waiting;
COMMIT;
-- An error of a sync reactor undoes that, too.
DELETE FROM goes.pending;
SELECT goes_on('{note}', sync => '{r4_fails}');
CALL fails($$SELECT goes_dispatch(at(1)), goes_dispatch(at(4))$$);
SELECT count(*) FROM waiting;
SELECT goes_off('r4_fails');
-- Off, it gets nothing.
SELECT goes_off('program');
CALL fails($$SELECT goes_dispatch(at(2), 'program')$$);
SELECT goes_dispatch(at(2));
SELECT count(*) FROM goes.pending;
SELECT goes_off('program', true);
RESET client_min_messages;
DELETE FROM log;

--
-- Partitions and names
--
CREATE TABLE "Big Table" (LIKE goes_base_aggregate INCLUDING ALL, "Name" text) PARTITION BY HASH (id);
CREATE TABLE big_0 PARTITION OF "Big Table" FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE "It happened" (
    position bigint NOT NULL, id uuid NOT NULL, aggregate_id uuid NOT NULL, aggregate_version bigint NOT NULL, action text NOT NULL, event_version integer NOT NULL,
    data jsonb NOT NULL, metadata jsonb NOT NULL, command_id uuid, imported boolean NOT NULL, recorded_at timestamptz NOT NULL) PARTITION BY LIST (action);
CREATE TABLE it_happened_put PARTITION OF "It happened" FOR VALUES IN ('put');
-- columns in another order
CREATE TABLE it_happened_else (
    note text, recorded_at timestamptz NOT NULL, imported boolean NOT NULL, data jsonb NOT NULL, metadata jsonb NOT NULL, command_id uuid, action text NOT NULL, event_version integer NOT NULL,
    aggregate_id uuid NOT NULL, aggregate_version bigint NOT NULL, id uuid NOT NULL, position bigint NOT NULL);
ALTER TABLE it_happened_else DROP COLUMN note;
ALTER TABLE "It happened" ATTACH PARTITION it_happened_else DEFAULT;
SELECT goes_register_aggregate('Big', '"Big Table"', 'It happened');
SELECT goes_register_event('Big', 'put'), goes_register_event('Big', 'Put');
SELECT goes_register_command('Big', 'put', event => 'put', target => 'any'), goes_register_command('Big', 'Put', event => 'Put');
CREATE FUNCTION "React!"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (what) VALUES (format('React! %s %s', TG_TABLE_NAME, NEW.data ->> 'Name'));
    RETURN NULL;
END $$;
CREATE FUNCTION "React?"(aggregate "Big Table", event goes_event) RETURNS void LANGUAGE sql AS $$
    INSERT INTO log (what) VALUES (format('React? %s %s %s', aggregate.version, aggregate."Name", event.data ->> 'Name')) $$;
SELECT goes_on('{Big}', sync => '{"\"React!\"", "\"React?\""}');
SELECT max(p.position) AS last FROM goes_do('Big.put', id(1), '{"Name": "one"}') e, LATERAL (SELECT (e ->> 'position')::bigint AS position) p \gset
SELECT goes_do('Big.Put', id(1), '{"Name": "two"}') IS NOT NULL AS done;
SELECT goes_import('Big', jsonb_build_array(jsonb_build_object('aggregate_id', id(2), 'action', 'Put', 'data', '{"Name": "old"}'::jsonb, 'recorded_at', '2020-01-01T00:00:00Z')));
SELECT logged();
SELECT goes_dispatch(at(:last, 'Big')), goes_dispatch(at(:last + 1, 'Big')), goes_dispatch(at(:last + 2, 'Big'), '"React!"'), goes_dispatch(at(:last + 2, 'Big'), 'test."React?"');
SELECT logged();

--
-- Who may, and as whom
--
CREATE ROLE regress_goes_owner;
CREATE ROLE regress_goes_member IN ROLE regress_goes_owner;
CREATE ROLE regress_goes_app;
GRANT ALL ON SCHEMA test TO regress_goes_owner, regress_goes_app;
GRANT ALL ON log TO PUBLIC;
SET ROLE regress_goes_owner;
CREATE TABLE tasks (LIKE goes_base_aggregate INCLUDING ALL, writer name DEFAULT '');
SELECT goes_register_aggregate('task', 'tasks');
SELECT goes_register_event('task', 'put');
SELECT goes_register_command('task', 'put', event => 'put', target => 'any');
CREATE FUNCTION who(aggregate tasks, event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (what) VALUES (format('who %s %s', current_user, aggregate.version));
END $$;
SELECT goes_on('{task}', sync => '{who}');
GRANT SELECT, INSERT, UPDATE ON tasks TO regress_goes_app;
GRANT SELECT, INSERT ON tasks_events TO regress_goes_app;
SET ROLE regress_goes_app;
SELECT (goes_do('task.put', id(1)) ->> 'position')::bigint AS task \gset
SELECT goes_dispatch(at(:task, 'task'));
SET ROLE regress_goes_member;
SELECT goes_dispatch(at(:task, 'task'));
SELECT goes_dispatch(at(1));
SET ROLE regress_goes_owner;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
SELECT goes_dispatch(at(:task, 'task'));
ALTER TABLE tasks FORCE ROW LEVEL SECURITY;
SELECT goes_dispatch(at(:task, 'task'));
RESET ROLE;
SELECT goes_dispatch(at(:task, 'task'));
SELECT replace(l, current_user, 'superuser') FROM logged() l;
-- A reactor whose owner has no rights on the table any more
SET client_min_messages = error;
SET ROLE regress_goes_owner;
SELECT goes_on('{task}', outside => '{theirs}', start => 1000000);
RESET ROLE;
ALTER TABLE tasks OWNER TO CURRENT_USER;
ALTER TABLE tasks_events OWNER TO CURRENT_USER;
CALL fails(format($$SELECT goes_dispatch(at(%s, 'task'), 'theirs')$$, :task));
SELECT goes_dispatch(at(:task, 'task'));
SELECT count(*) FROM goes.pending;
SELECT goes_off('theirs', true);
DROP TABLE tasks CASCADE;
DROP TABLE tasks_events;
DROP OWNED BY regress_goes_owner, regress_goes_app;
DROP ROLE regress_goes_member, regress_goes_owner, regress_goes_app;
\i :end
