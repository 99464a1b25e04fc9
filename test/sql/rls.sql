-- Row-level security: what a policy hides does not exist.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

CREATE ROLE regress_goes_owner;
CREATE ROLE regress_goes_one;
CREATE ROLE regress_goes_two;
CREATE ROLE regress_goes_auditor BYPASSRLS;
GRANT USAGE, CREATE ON SCHEMA test TO PUBLIC;

SET ROLE regress_goes_owner;
CREATE TABLE notes (LIKE goes_base_aggregate INCLUDING ALL, author name, body text, aggregate_id uuid);
CREATE FUNCTION build_note(aggregate notes, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('written', jsonb_build_object('author', current_user) || command.data);
-- Nothing happens without a change.
CREATE FUNCTION build_edit(aggregate notes, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN CASE WHEN command.data ->> 'body' IS DISTINCT FROM aggregate.body THEN goes_event_data('edited', command.data) END;

--
-- Registering
--

-- Without row-level security the events table has none either.
SELECT goes_register_aggregate('note', 'notes');
CREATE VIEW policies AS
SELECT c.oid::regclass AS relation, relrowsecurity AS enabled, relforcerowsecurity AS forced, polname, polcmd, polpermissive, polroles,
    pg_get_expr(polqual, polrelid) AS "using", pg_get_expr(polwithcheck, polrelid) AS "check"
FROM pg_class c LEFT JOIN pg_policy p ON polrelid = c.oid
WHERE relname LIKE '%events' AND relkind IN ('r', 'p') AND relnamespace = 'test'::regnamespace;
SELECT relation, enabled, forced, polname FROM policies;
-- Registering again after ENABLE: the events table gets the policies.
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (author = current_user);
SELECT goes_register_aggregate('note', 'notes');
\x on
SELECT * FROM policies ORDER BY polname;
\x off
-- and that is all.
SELECT array_agg(xmin::text ORDER BY oid) AS before FROM pg_policy \gset
SELECT xmin AS class_before FROM pg_class WHERE oid = 'notes_events'::regclass \gset
SELECT goes_register_aggregate('note', 'notes');
SELECT array_agg(xmin::text ORDER BY oid) = :'before' AS same FROM pg_policy;
SELECT xmin = :'class_before' AS same FROM pg_class WHERE oid = 'notes_events'::regclass;
-- What was dropped comes back.
DROP POLICY goes_visible ON notes_events;
ALTER TABLE notes_events DISABLE ROW LEVEL SECURITY;
SELECT goes_register_aggregate('note', 'notes');
SELECT enabled, forced, polname FROM policies ORDER BY polname;

SELECT goes_register_event('note', 'written'), goes_register_event('note', 'edited');
SELECT goes_register_command('note', 'write', build => 'build_note', target => 'new'),
    goes_register_command('note', 'put', build => 'build_note', target => 'any'),
    goes_register_command('note', 'edit', build => 'build_edit');
GRANT SELECT, INSERT, UPDATE ON notes TO regress_goes_one, regress_goes_two, regress_goes_auditor;
GRANT SELECT, INSERT ON notes_events TO regress_goes_one, regress_goes_two, regress_goes_auditor;

--
-- Hidden rows do not exist
--

SET ROLE regress_goes_one;
SELECT goes_do('note.write', id(1), '{"body": "a"}', command_id => id(100)) IS NOT NULL AS written;
SELECT goes_do('note.put', id(2), '{"body": "b"}') IS NOT NULL AS put;
SELECT goes_do('note.edit', id(1), '{"body": "c"}', command_id => id(101)) IS NOT NULL AS edited;
SELECT goes_do('note.edit', id(1), '{"body": "c"}', command_id => id(102)) IS NULL AS nothing;
SELECT body, version FROM notes ORDER BY id;
SELECT aggregate_id, action, data FROM notes_events ORDER BY position;

SET ROLE regress_goes_two;
SELECT count(*) AS notes, (SELECT count(*) FROM notes_events) AS events FROM notes;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "x"}')$$);
CALL fails($$SELECT goes_do('note.edit', id(42), '{"body": "x"}')$$);
CALL fails($$SELECT goes_do('note.write', id(1), '{"body": "x"}')$$);
CALL fails($$SELECT goes_do('note.put', id(1), '{"body": "x"}')$$);
CALL fails($$SELECT goes_do('note.put', id(1), '{"body": "x"}', expected_version => 0)$$);
CALL fails($$SELECT goes_do('note.put', id(1), '{"body": "x"}', expected_version => 2)$$);
CALL fails($$SELECT goes_execute(NULL::notes, '{"command": "note.edit", "aggregate_id": "00000000-0000-0000-0000-000000000001"}')$$);
CALL fails($$SELECT goes_execute_many('[{"command": "note.put", "aggregate_id": "00000000-0000-0000-0000-000000000003"},
    {"command": "note.edit", "aggregate_id": "00000000-0000-0000-0000-000000000001"}]')$$);
CALL fails($$SELECT goes_execute_many('[{"command": "note.put", "aggregate_id": "00000000-0000-0000-0000-000000000001"}]')$$);
-- The same where triggers of the owner's own are
SET ROLE regress_goes_owner;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER look BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER look BEFORE INSERT ON notes_events FOR EACH ROW EXECUTE FUNCTION look();
SET ROLE regress_goes_two;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "x"}')$$);
CALL fails($$SELECT goes_do('note.write', id(1), '{"body": "x"}')$$);
CALL fails($$SELECT goes_do('note.put', id(1), '{"body": "x"}')$$);
SELECT goes_do('note.put', id(3), '{"body": "mine"}') IS NOT NULL AS put;
SELECT goes_do('note.edit', id(3), '{"body": "still mine"}') IS NOT NULL AS edited;
SET ROLE regress_goes_owner;
DROP TRIGGER look ON notes;
DROP TRIGGER look ON notes_events;
SET ROLE regress_goes_two;
SELECT id, body FROM notes;
SELECT aggregate_id, data FROM notes_events ORDER BY position;

-- Somebody else's command id tells nothing of an aggregate that is hidden.
CALL fails($$SELECT goes_do('note.write', id(1), command_id => id(100))$$);
CALL fails($$SELECT goes_do('note.edit', id(1), command_id => id(101))$$);
SELECT goes_do('note.edit', id(1), command_id => id(102)) IS NULL AS nothing;
CALL fails($$SELECT goes_execute_many('[{"command": "note.edit", "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "command_id": "00000000-0000-0000-0000-000000000101"}]')$$);
CALL fails($$SELECT goes_do('note.put', command_id => id(101))$$);
SET ROLE regress_goes_one;
SELECT goes_do('note.write', id(1), '{"body": "a"}', command_id => id(100)) -> 'data' AS data;
SELECT goes_do('note.edit', id(1), '{"body": "c"}', command_id => id(101)) -> 'data' AS data;
SELECT goes_do('note.edit', id(1), '{"body": "c"}', command_id => id(102)) IS NULL AS nothing;
SELECT * FROM goes_execute_many('[{"command": "note.edit", "aggregate_id": "00000000-0000-0000-0000-000000000001",
    "command_id": "00000000-0000-0000-0000-000000000102"}]');

--
-- WITH CHECK
--

CALL fails($$SELECT goes_do('note.write', id(4), '{"author": "regress_goes_two"}')$$);
CALL fails($$SELECT goes_do('note.put', id(2), '{"author": "regress_goes_two"}')$$);
CALL fails($$SELECT goes_do('note.edit', id(2), '{"author": "regress_goes_two", "body": "x"}')$$);
SELECT count(*) AS events FROM notes_events WHERE aggregate_id IN (id(2), id(4));
-- Policies for one kind of statement
SET ROLE regress_goes_owner;
DROP POLICY own ON notes;
CREATE POLICY read ON notes FOR SELECT USING (author = current_user OR body LIKE 'public%');
CREATE POLICY write ON notes FOR INSERT WITH CHECK (body <> 'forbidden');
CREATE POLICY change ON notes FOR UPDATE USING (author = current_user) WITH CHECK (body <> 'forbidden');
SET ROLE regress_goes_one;
SELECT goes_do('note.write', id(5), '{"body": "public"}', command_id => id(105)) IS NOT NULL AS written;
CALL fails($$SELECT goes_do('note.write', id(6), '{"body": "forbidden"}')$$);
CALL fails($$SELECT goes_do('note.edit', id(5), '{"body": "forbidden"}')$$);
-- Seen, but not to be changed: no aggregate for a command
SET ROLE regress_goes_two;
SELECT body FROM notes WHERE id = id(5);
SELECT data ->> 'body' AS body FROM notes_events WHERE aggregate_id = id(5);
CALL fails($$SELECT goes_do('note.edit', id(5), '{"body": "public too"}')$$);
CALL fails($$SELECT goes_do('note.put', id(5), '{"body": "public too"}')$$);
-- A command id of it may be repeated.
SELECT goes_do('note.write', id(5), command_id => id(105)) ->> 'action' AS action;
-- A state that its author could not see is no state that he may write.
CALL fails($$SELECT goes_do('note.write', id(6), '{"author": "nobody", "body": "private"}')$$);
SELECT goes_do('note.write', id(6), '{"author": "nobody", "body": "public"}') IS NOT NULL AS written;

--
-- Roles and settings that change within a session
--

SET ROLE regress_goes_owner;
DROP POLICY read ON notes;
DROP POLICY write ON notes;
DROP POLICY change ON notes;
CREATE POLICY tenant ON notes USING (author = current_setting('app.author', true)) WITH CHECK (author = current_setting('app.author', true));
SET ROLE regress_goes_one;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "d"}')$$);
SET app.author = regress_goes_one;
SELECT goes_do('note.edit', id(1), '{"body": "d"}') IS NOT NULL AS edited;
SELECT count(*) AS notes, (SELECT count(DISTINCT aggregate_id) FROM notes_events) AS with_events FROM notes;
SET app.author = regress_goes_two;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "e"}')$$);
SELECT goes_do('note.edit', id(3), '{"body": "e"}') IS NOT NULL AS edited;
RESET app.author;
SET ROLE regress_goes_owner;
DROP POLICY tenant ON notes;
CREATE POLICY own ON notes USING (author = current_user);

SET ROLE regress_goes_one;
SELECT goes_do('note.edit', id(1), '{"body": "1"}') IS NOT NULL AS edited;
SET ROLE regress_goes_two;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "2"}')$$);
SET ROLE regress_goes_one;
SELECT goes_do('note.edit', id(1), '{"body": "3"}') IS NOT NULL AS edited;
-- Those whom policies do not concern
SET ROLE regress_goes_auditor;
SELECT goes_do('note.edit', id(1), '{"body": "4"}') IS NOT NULL AS edited;
SELECT count(*) AS notes, (SELECT count(DISTINCT aggregate_id) FROM notes_events) AS with_events FROM notes;
SET ROLE regress_goes_owner;
SELECT goes_do('note.edit', id(1), '{"body": "5"}') IS NOT NULL AS edited;
SELECT goes_do('note.edit', id(1), '{"body": "5"}', command_id => id(101)) ->> 'aggregate_version' AS version;
SELECT count(*) AS notes, (SELECT count(DISTINCT aggregate_id) FROM notes_events) AS with_events FROM notes;
RESET ROLE;
SELECT goes_do('note.edit', id(1), '{"body": "6"}') IS NOT NULL AS edited;
SET ROLE regress_goes_two;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "7"}')$$);
-- and within a transaction
BEGIN;
SET LOCAL ROLE regress_goes_one;
SELECT goes_do('note.edit', id(1), '{"body": "8"}') IS NOT NULL AS edited;
SET LOCAL ROLE regress_goes_two;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "9"}')$$);
COMMIT;
-- Those who want an error rather than hidden rows get it.
SET row_security = off;
CALL fails($$SELECT goes_do('note.edit', id(3), '{"body": "10"}')$$);
SET ROLE regress_goes_owner;
SELECT goes_do('note.edit', id(3), '{"body": "11"}') IS NOT NULL AS edited;
RESET row_security;
-- A SECURITY DEFINER function sees what its owner sees.
CREATE FUNCTION edit(note uuid, body text) RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = test, public, pg_temp
RETURN (goes_do('note.edit', note, jsonb_build_object('body', body)) ->> 'aggregate_version')::bigint;
SET ROLE regress_goes_two;
SELECT edit(id(1), '12') IS NOT NULL AS edited;
SELECT count(*) AS visible FROM notes WHERE id = id(1);

--
-- FORCE: the owner, too
--

SET ROLE regress_goes_owner;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
SELECT goes_register_aggregate('note', 'notes');
SELECT enabled, forced, polname FROM policies ORDER BY polname;
SELECT count(*) AS notes, (SELECT count(*) FROM notes_events) AS events FROM notes;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "13"}')$$);
CALL fails($$SELECT goes_do('note.write', id(1))$$);
CALL fails($$SELECT goes_do('note.put', id(1))$$);
CALL fails($$SELECT goes_do('note.edit', id(1), command_id => id(101))$$);
SELECT goes_do('note.write', id(7), '{"body": "of the owner"}', command_id => id(107)) IS NOT NULL AS written;
SELECT goes_do('note.write', id(7), '{"body": "of the owner"}', command_id => id(107)) ->> 'action' AS action;
SELECT goes_do('note.edit', id(7), '{"body": "edited"}') IS NOT NULL AS edited;
SELECT body, (SELECT count(*) FROM notes_events) AS events FROM notes;
-- What goes itself has to see, it sees: the last position, the stored event.
RESET ROLE;
SELECT last_value AS last FROM goes.position \gset
SELECT setval('goes.position', 1);
\c -
SET search_path = test, public;
SET ROLE regress_goes_owner;
CREATE TRIGGER look BEFORE INSERT ON notes_events FOR EACH ROW EXECUTE FUNCTION look();
SELECT (goes_do('note.edit', id(7), '{"body": "again"}') -> 'position')::bigint > :last AS next;
SET ROLE regress_goes_one;
SELECT goes_do('note.edit', id(1), '{"body": "14"}') IS NOT NULL AS edited;
SELECT goes_do('note.edit', id(1), '{"body": "c"}', command_id => id(101)) -> 'data' AS data;
SET ROLE regress_goes_owner;
DROP TRIGGER look ON notes_events;
ALTER TABLE notes NO FORCE ROW LEVEL SECURITY;

--
-- Partitioned tables, quoted names, and policies that were there before
--

CREATE TABLE "Secret Notes" (LIKE goes_base_aggregate INCLUDING ALL, "Author" name DEFAULT 'nobody', aggregate text, "position" text) PARTITION BY HASH (id);
CREATE TABLE secret_0 PARTITION OF "Secret Notes" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE secret_1 PARTITION OF "Secret Notes" FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE "Secret Notes" ENABLE ROW LEVEL SECURITY;
ALTER TABLE "Secret Notes" FORCE ROW LEVEL SECURITY;
CREATE POLICY goes_visible ON "Secret Notes" USING ("Author" = current_user);
CREATE TABLE "Secret Notes_events" (LIKE notes_events INCLUDING ALL);
ALTER TABLE "Secret Notes_events" ENABLE ROW LEVEL SECURITY;
CREATE POLICY nobody ON "Secret Notes_events" AS RESTRICTIVE FOR SELECT USING (action <> 'hidden');
SELECT goes_register_aggregate('secret', '"Secret Notes"');
SELECT enabled, forced, polname, polcmd, polpermissive FROM policies WHERE relation = '"Secret Notes_events"'::regclass ORDER BY polname COLLATE "C";
SELECT goes_register_event('secret', 'written'), goes_register_event('secret', 'hidden');
SELECT goes_register_command('secret', 'write', event => 'written', target => 'any'), goes_register_command('secret', 'hide', event => 'hidden');
GRANT SELECT, INSERT, UPDATE ON "Secret Notes" TO regress_goes_one, regress_goes_two;
GRANT SELECT, INSERT ON "Secret Notes_events" TO regress_goes_one, regress_goes_two;
SET ROLE regress_goes_one;
SELECT goes_do('secret.write', id(i), '{"Author": "regress_goes_one"}') IS NOT NULL AS written FROM generate_series(1, 4) i;
SELECT goes_do('secret.hide', id(1)) IS NOT NULL AS hidden;
SELECT count(*) AS secrets, (SELECT count(*) FROM "Secret Notes_events") AS events FROM "Secret Notes";
SET ROLE regress_goes_two;
SELECT count(*) AS secrets, (SELECT count(*) FROM "Secret Notes_events") AS events FROM "Secret Notes";
CALL fails($$SELECT goes_do('secret.write', id(1), '{"Author": "regress_goes_two"}')$$);
CALL fails($$SELECT goes_do('secret.hide', id(1))$$);
SET ROLE regress_goes_owner;
SELECT count(*) AS secrets, (SELECT count(*) FROM "Secret Notes_events") AS events FROM "Secret Notes";
-- A new partition has no policies of its own, and needs none.
CREATE TABLE more (LIKE goes_base_aggregate INCLUDING ALL, author name) PARTITION BY RANGE (id);
ALTER TABLE more ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON more USING (author = current_user);
SELECT goes_register_aggregate('more', 'more');
SELECT goes_register_event('more', 'written');
SELECT goes_register_command('more', 'write', event => 'written', target => 'any');
CREATE TABLE more_1 PARTITION OF more DEFAULT;
GRANT SELECT, INSERT, UPDATE ON more TO regress_goes_one, regress_goes_two;
GRANT INSERT ON more_events TO regress_goes_one, regress_goes_two;
SET ROLE regress_goes_one;
SELECT goes_do('more.write', id(1), '{"author": "regress_goes_one"}') IS NOT NULL AS written;
SET ROLE regress_goes_two;
CALL fails($$SELECT goes_do('more.write', id(1), '{"author": "regress_goes_two"}')$$);

--
-- Reactors run as whoever executes, and see what he sees.
--

SET ROLE regress_goes_owner;
CREATE FUNCTION count_notes(aggregate notes, event goes_event) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN RAISE INFO '% sees % notes, % events', current_user, (SELECT count(*) FROM notes), (SELECT count(*) FROM notes_events); END $$;
SELECT goes_on('{note}', sync => '{count_notes}');
SET ROLE regress_goes_two;
SELECT goes_do('note.edit', id(3), '{"body": "15"}') IS NOT NULL AS edited;
SET ROLE regress_goes_auditor;
SELECT goes_do('note.edit', id(3), '{"body": "16"}') IS NOT NULL AS edited;

-- No policy, no rows
SET ROLE regress_goes_owner;
DROP POLICY own ON notes;
SET ROLE regress_goes_one;
CALL fails($$SELECT goes_do('note.edit', id(1), '{"body": "17"}')$$);
CALL fails($$SELECT goes_do('note.write', id(8), '{"body": "18"}')$$);
SELECT count(*) AS notes, (SELECT count(*) FROM notes_events) AS events FROM notes;
SET ROLE regress_goes_owner;
ALTER TABLE notes DISABLE ROW LEVEL SECURITY;
SET ROLE regress_goes_one;
SELECT goes_do('note.edit', id(3), '{"body": "19"}') IS NOT NULL AS edited;

RESET ROLE;
SELECT count(*) AS wrong FROM notes n WHERE version <> (SELECT count(*) FROM notes_events e WHERE e.aggregate_id = n.id);
\set ECHO none
\i :end
DROP ROLE regress_goes_owner, regress_goes_one, regress_goes_two, regress_goes_auditor;
