-- Reading the past, replay, verification and upcasters.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
CREATE TABLE docs (
    LIKE goes_base_aggregate INCLUDING ALL,
    title text,
    pages integer DEFAULT 1,
    price numeric(10,2),
    tags text[] DEFAULT '{}',
    size integer GENERATED ALWAYS AS (length(title)) STORED,
    number integer GENERATED ALWAYS AS IDENTITY
);
SELECT goes_register_aggregate('doc', 'docs');
SELECT goes_register_event('doc', 'put'), goes_register_event('doc', 'noted', 1, NULL);
CREATE FUNCTION remove(aggregate docs, event goes_event) RETURNS docs LANGUAGE plpgsql AS $$
BEGIN
    aggregate.deleted_at := event.recorded_at;
    RETURN aggregate;
END $$;
SELECT goes_register_event('doc', 'removed', 1, 'remove');
SELECT goes_register_command('doc', 'put', event => 'put', target => 'any'),
    goes_register_command('doc', 'note', event => 'noted'), goes_register_command('doc', 'remove', event => 'removed');

-- Each state is kept as it is after its event, to be compared with the past later.
CREATE TABLE seen AS SELECT docs.* FROM docs;
CREATE PROCEDURE run(command text, id uuid, data jsonb DEFAULT '{}') LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_do(command, id, data);
    INSERT INTO seen SELECT * FROM docs WHERE docs.id = run.id;
END $$;
CALL run('doc.put', id(1), '{"title": "one", "price": 1.005}');
CALL run('doc.put', id(2), '{"title": "two", "tags": ["a", "b"], "number": 99, "size": 99}');
CALL run('doc.put', id(1), '{"pages": 7}');
CALL run('doc.note', id(1), '{"pages": 8}');
CALL run('doc.put', id(1), '{"title": "uno", "tags": null}');
CALL run('doc.remove', id(2));

--
-- The past
--
SELECT version, title, pages, price, tags, size, number FROM goes_history(NULL::docs, id(1));
SELECT version, title, deleted_at = updated_at AS deleted FROM goes_history(NULL::docs, id(2));
SELECT count(*) FROM goes_history(NULL::docs, id(3));
-- it was as it is told
SELECT * FROM (SELECT * FROM goes_history(NULL::docs, id(1)) UNION ALL SELECT * FROM goes_history(NULL::docs, id(2))) AS history
EXCEPT SELECT * FROM seen;
SELECT (goes_aggregate_at(NULL::docs, id(1), version => v)).title FROM generate_series(1, 5) AS v;
SELECT goes_aggregate_at(NULL::docs, id(3)) IS NULL AS never_was, goes_aggregate_at(NULL::docs, id(1)) = docs AS is_now FROM docs WHERE id = id(1);
SELECT goes_aggregate_at(NULL::docs, id, at => created_at - interval '1 microsecond') IS NULL AS not_yet,
    (goes_aggregate_at(NULL::docs, id, at => updated_at)).version = version AS by_now FROM docs ORDER BY id;
SELECT id, version, title FROM goes_aggregates_at(NULL::docs, up_to => 3) ORDER BY id;
SELECT id, version, title FROM goes_aggregates_at(NULL::docs, ids => ARRAY[id(2), id(3)]);
SELECT count(*) FROM goes_aggregates_at(NULL::docs, at => '2000-01-01');
SELECT * FROM docs EXCEPT SELECT * FROM goes_aggregates_at(NULL::docs);
CALL fails($$SELECT goes_aggregate_at(NULL::seen, id(1))$$);
CALL fails($$SELECT goes_aggregate_at(1, id(1))$$);
CALL fails($$SELECT goes_aggregate_at(NULL::docs, NULL)$$);
CALL fails($$SELECT goes_aggregate_at(NULL::docs, id(1), 0)$$);
CALL fails($$SELECT * FROM goes_history(NULL::docs, NULL)$$);

-- After ALTER TABLE the past has the new shape.
ALTER TABLE docs DROP COLUMN pages, ADD COLUMN pages bigint DEFAULT 3;
SELECT version, title, pages FROM goes_history(NULL::docs, id(1));

--
-- Verification and replay
--
SELECT * FROM goes_verify('doc');
-- the new column has its default in the table, and other values in the events
SELECT goes_replay('doc', id(1)), goes_replay('doc', id(2));
SELECT goes_replay('doc', id(1)), goes_replay('doc', id(3));
SET goes.allow_direct_writes = on;
UPDATE docs SET title = 'wrong', pages = 0 WHERE id = id(1);
DELETE FROM docs WHERE id = id(2);
INSERT INTO docs (id, version, created_at, updated_at) VALUES (id(4), 1, now(), now());
RESET goes.allow_direct_writes;
SELECT id, problem, stored, expected - '{created_at,updated_at,deleted_at,number}'::text[] AS expected FROM goes_verify('doc');
SELECT goes_replay('doc', id(1)), goes_replay('doc', id(2)), goes_replay('doc', id(4));
SELECT id, problem FROM goes_verify('doc');
SELECT version, title, pages FROM docs ORDER BY id;
SET goes.allow_direct_writes = on;
DELETE FROM docs WHERE id = id(4);
RESET goes.allow_direct_writes;

-- Commands go on after a replay.
SELECT goes_do('doc.put', id(1), '{"title": "eins"}') -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('doc.put', id(2))$$);

-- The dry run of a new calculator: nothing is written.
BEGIN;
CREATE OR REPLACE FUNCTION remove(aggregate docs, event goes_event) RETURNS docs LANGUAGE plpgsql AS $$
BEGIN
    aggregate.deleted_at := event.recorded_at;
    aggregate.title := NULL;
    RETURN aggregate;
END $$;
SELECT id, problem, stored, expected FROM goes_verify('doc');
ROLLBACK;
SELECT * FROM goes_verify('doc');

-- Guards that are gone, events that are missing, not registered or fail.
ALTER TABLE docs DISABLE TRIGGER goes_guard;
DROP TRIGGER goes_guard_truncate ON docs_events;
ALTER TABLE docs_events DISABLE TRIGGER goes_guard;
UPDATE docs_events SET action = 'unheard_of' WHERE aggregate_id = id(2) AND aggregate_version = 2;
DELETE FROM docs_events WHERE aggregate_id = id(1) AND aggregate_version = 3;
SELECT id, problem FROM goes_verify('doc');
CALL fails($$SELECT goes_replay('doc', id(1))$$);
CALL fails($$SELECT goes_replay('doc', id(2))$$);
CALL fails($$SELECT * FROM goes_history(NULL::docs, id(2))$$);
UPDATE docs_events SET action = 'removed' WHERE aggregate_id = id(2) AND aggregate_version = 2;
CREATE OR REPLACE FUNCTION remove(aggregate docs, event goes_event) RETURNS docs LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'this cannot be calculated';
END $$;
SELECT id, problem FROM goes_verify('doc');
CALL fails($$SELECT * FROM goes_history(NULL::docs, id(2))$$);

-- Whoever may not see an aggregate sees no past of it; owners only may replay.
CREATE TABLE notes (LIKE goes_base_aggregate INCLUDING ALL, author name, note text);
SELECT goes_register_aggregate('note', 'notes'), goes_register_event('note', 'taken'), goes_register_command('note', 'take', event => 'taken', target => 'new');
SELECT goes_do('note.take', id(1), '{"author": "regress_goes_a", "note": "of a"}') IS NOT NULL,
    goes_do('note.take', id(2), '{"author": "regress_goes_b", "note": "of b"}') IS NOT NULL;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (author = current_user);
CREATE ROLE regress_goes_a;
GRANT USAGE ON SCHEMA test TO regress_goes_a;
GRANT SELECT ON notes TO regress_goes_a;
SET ROLE regress_goes_a;
CALL fails($$SELECT * FROM goes_aggregates_at(NULL::notes)$$);
RESET ROLE;
GRANT SELECT ON notes_events TO regress_goes_a;
SET ROLE regress_goes_a;
-- though the events table has no policy yet
SELECT note FROM goes_aggregates_at(NULL::notes);
SELECT note FROM goes_history(NULL::notes, id(2));
SELECT goes_aggregate_at(NULL::notes, id(2)) IS NULL AS hidden;
CALL fails($$SELECT goes_replay('note', id(1))$$);
CALL fails($$SELECT * FROM goes_verify('note')$$);
RESET ROLE;
ALTER TABLE notes OWNER TO regress_goes_a;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
ALTER TABLE notes_events OWNER TO regress_goes_a;
SET ROLE regress_goes_a;
CALL fails($$SELECT * FROM goes_verify('note')$$);
CALL fails($$SELECT goes_replay('note', id(1))$$);
RESET ROLE;
DROP TABLE notes, notes_events;
REVOKE ALL ON SCHEMA test FROM regress_goes_a;
DROP ROLE regress_goes_a;

--
-- Upcasters: version 1 has a name, version 2 first and last name, version 3 a list of names.
--
CREATE TABLE people (LIKE goes_base_aggregate INCLUDING ALL, names text[]);
SELECT goes_register_aggregate('person', 'people'), goes_register_event('person', 'named', 1),
    goes_register_command('person', 'name', event => 'named', target => 'any');
SELECT goes_do('person.name', id(1), '{"name": "Ada Lovelace"}') -> 'event_version' AS event_version;
CREATE FUNCTION split_name(data jsonb) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('first', split_part(data ->> 'name', ' ', 1), 'last', split_part(data ->> 'name', ' ', 2));
CREATE FUNCTION list_names(data jsonb) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('names', jsonb_build_array(data -> 'first', data -> 'last'));
-- a chain is made from its end
CALL fails($$SELECT goes_register_upcaster('person', 'named', 1, 'split_name')$$);
SELECT goes_register_event('person', 'named', 3);
SELECT goes_register_upcaster('person', 'named', 2, 'list_names'), goes_register_upcaster('person', 'named', 1, 'split_name');
SELECT xmin AS before FROM goes.upcasters WHERE from_version = 1 \gset
SELECT goes_register_upcaster('person', 'named', 1, 'split_name');
SELECT xmin = :'before' AS unchanged FROM goes.upcasters WHERE from_version = 1;
CREATE TABLE reacted (event_version integer, data jsonb);
CREATE FUNCTION note(event goes_event) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO reacted VALUES (event.event_version, event.data); END;
SELECT goes_on('{person.named.1}', sync => '{note}');
CREATE FUNCTION name_1(aggregate people, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN goes_event_data('named', command.data, 1);
SELECT goes_register_command('person', 'name_1', 'name_1', target => 'any');
-- stored as it was built, seen in the latest version; patterns mean the stored one
SELECT shown(goes_do('person.name_1', id(2), '{"name": "Grace Hopper"}', command_id => id(7)));
SELECT shown(goes_do('person.name_1', id(2), '{"name": "Grace Hopper"}', command_id => id(7)));
SELECT goes_do('person.name', id(3), '{"names": ["Barbara", "Liskov"]}') -> 'event_version' AS event_version;
SELECT event_version, data FROM people_events ORDER BY position;
SELECT * FROM reacted;
SELECT names FROM goes_aggregates_at(NULL::people) ORDER BY id;
SELECT id, problem, stored, expected FROM goes_verify('person');
SELECT goes_replay('person', id(1));
SELECT * FROM goes_verify('person');
-- what goes wrong
CALL fails($$SELECT goes_register_upcaster('person', 'named', 0, 'split_name')$$);
CALL fails($$SELECT goes_register_upcaster('person', 'named', 1, 'nothing')$$);
CALL fails($$SELECT goes_register_upcaster('person', NULL, 1, 'split_name')$$);
CALL fails($$SELECT goes_register_upcaster('nobody', 'named', 1, 'split_name')$$);
CALL fails($$SELECT goes_unregister_upcaster('person', 'named', 3)$$);
CALL fails($$DROP FUNCTION split_name$$);
ALTER FUNCTION split_name RENAME TO cut_name;
SELECT from_version, upcaster FROM goes.upcasters ORDER BY 1;
CREATE OR REPLACE FUNCTION list_names(data jsonb) RETURNS jsonb LANGUAGE sql RETURN NULL::jsonb;
CALL fails($$SELECT goes_do('person.name_1', id(2), '{"name": "Grace Hopper"}')$$);
SELECT id, problem FROM goes_verify('person');
SELECT goes_unregister_upcaster('person', 'named', 2);
SELECT id, problem FROM goes_verify('person');
-- a link is missing, even if version 2 can be applied again
SELECT goes_register_event('person', 'named', 2);
SELECT id, problem FROM goes_verify('person');
DROP FUNCTION cut_name CASCADE;
SELECT count(*) FROM goes.upcasters;

-- A random model: many commands on few aggregates, then the past of each is what was seen.
SELECT setseed(0.42);
CREATE TABLE items (LIKE goes_base_aggregate INCLUDING ALL, a integer, b text, c jsonb, d numeric, e timestamptz);
SELECT goes_register_aggregate('item', 'items'), goes_register_event('item', 'changed'),
    goes_register_command('item', 'change', event => 'changed', target => 'any', allow_deleted => true);
CREATE TABLE seen_items AS SELECT * FROM items;
DO $$
DECLARE
    item uuid;
BEGIN
    FOR i IN 1..3000 LOOP
        item := id((random() * 40)::integer);
        PERFORM goes_do('item.change', item, (SELECT jsonb_object_agg(key, value) FROM jsonb_each(jsonb_build_object(
            'a', (random() * 1000)::integer, 'b', repeat('x', (random() * 30)::integer), 'c', jsonb_build_array(i, random()),
            'd', random() * 1000, 'e', '2026-01-01 12:00'::timestamp + random() * interval '1 year', 'version', 7, 'f', i))
            WHERE random() < 0.5 OR key = 'f'));
        INSERT INTO seen_items SELECT * FROM items WHERE id = item;
    END LOOP;
END $$;
SELECT count(*) FROM seen_items;
SELECT count(*) FROM (SELECT * FROM seen_items EXCEPT SELECT h.* FROM items, goes_history(NULL::items, items.id) AS h) AS differences;
SELECT count(*) FROM (SELECT * FROM items EXCEPT SELECT * FROM goes_aggregates_at(NULL::items)) AS differences;
SELECT count(*) FROM goes_verify('item');
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German';
SELECT count(*) FROM goes_verify('item');
RESET TimeZone;
RESET DateStyle;
\i :end
