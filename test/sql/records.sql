-- Functions of a model that the planner inlines read and give columns.  What they
-- see and give is the same as in PL/pgSQL, where values are whole.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

CREATE TYPE pair AS (a integer, b text);
CREATE FUNCTION make_type(language text, calculator text, builder text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE in_%1$s (LIKE goes_base_aggregate INCLUDING ALL, gone integer, n integer, note text, other text,
        numbers integer[], ends pair, doc jsonb)', language);
    EXECUTE format('ALTER TABLE in_%1$s DROP COLUMN gone', language);
    EXECUTE format('CREATE FUNCTION %1$s_calculate(aggregate in_%1$s, event goes_event) RETURNS in_%1$s LANGUAGE %1$s %2$s', language, calculator);
    EXECUTE format('CREATE FUNCTION %1$s_build(aggregate in_%1$s, command goes_command) RETURNS goes_event_data LANGUAGE %1$s %2$s', language, builder);
    PERFORM goes_register_aggregate(language, 'in_' || language),
        goes_register_event(language, 'set', calculator => language || '_calculate'),
        goes_register_command(language, 'set', build => language || '_build', target => 'any');
END $$;
-- Large values that do not compress, so that they are stored apart
CREATE FUNCTION large(seed integer) RETURNS text LANGUAGE sql IMMUTABLE RETURN
    (SELECT string_agg(md5(seed::text || i), '') FROM generate_series(1, 300) i);
SELECT make_type('sql', $$
RETURN ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, NULL,
    coalesce((event.data ->> 'n')::integer, aggregate.n),
    CASE WHEN event.data ? 'note' THEN event.data ->> 'note' WHEN event.data ? 'swap' THEN aggregate.other ELSE aggregate.note END,
    CASE WHEN event.data ? 'swap' THEN aggregate.note ELSE concat_ws('/', event.action, event.event_version, event.aggregate_type, (aggregate.ends).b) END,
    array_append(aggregate.numbers, (event.data ->> 'n')::integer),
    ROW(event.aggregate_version, right(aggregate.note, 3))::pair,
    event.data)::in_sql
$$, $$
RETURN goes_event_data('set', command.data || jsonb_build_object('before', aggregate.n, 'first', aggregate IS NULL, 'row', to_jsonb(aggregate) - '{created_at,updated_at,doc,note}'::text[],
    'unknown', command.aggregate_id IS NULL OR command.command_id IS NOT NULL))
$$), make_type('plpgsql', $$ AS $f$
BEGIN
    RETURN ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, NULL,
        coalesce((event.data ->> 'n')::integer, aggregate.n),
        CASE WHEN event.data ? 'note' THEN event.data ->> 'note' WHEN event.data ? 'swap' THEN aggregate.other ELSE aggregate.note END,
        CASE WHEN event.data ? 'swap' THEN aggregate.note
            ELSE concat_ws('/', event.action, event.event_version, 'sql', (aggregate.ends).b) END,
        array_append(aggregate.numbers, (event.data ->> 'n')::integer),
        ROW(event.aggregate_version, right(aggregate.note, 3))::pair,
        event.data)::in_plpgsql;
END $f$ $$, $$ AS $f$
BEGIN
    RETURN goes_event_data('set', command.data || jsonb_build_object('before', aggregate.n, 'first', aggregate IS NULL, 'row', to_jsonb(aggregate) - '{created_at,updated_at,doc,note}'::text[],
        'unknown', command.aggregate_id IS NULL OR command.command_id IS NOT NULL));
END $f$ $$);
CREATE TABLE steps (n integer, data jsonb);
INSERT INTO steps VALUES (1, '{"n": 1, "note": "one"}'), (2, '{}'), (3, '{"swap": true}'), (4, '{"n": null, "note": null}'), (5, '{"swap": true, "n": 5}');
INSERT INTO steps SELECT i, jsonb_build_object('n', i) || CASE i WHEN 6 THEN jsonb_build_object('note', large(i)) ELSE '{}' END FROM generate_series(6, 12) i;
INSERT INTO steps VALUES (13, '{"swap": true}'), (14, '{"swap": true}'), (15, '{"note": null}');
SELECT count(goes_do(language || '.set', id(1), data)) FROM (SELECT * FROM steps ORDER BY n) s, (VALUES ('sql'), ('plpgsql')) l (language);
CREATE VIEW states AS
SELECT 'sql' AS language, to_jsonb(s) - '{created_at,updated_at}'::text[] AS state FROM in_sql s
UNION ALL SELECT 'plpgsql', to_jsonb(s) - '{created_at,updated_at}'::text[] FROM in_plpgsql s;
SELECT count(*), count(DISTINCT state) FROM states;
SELECT state #- '{doc,row}' AS state FROM states WHERE language = 'sql';
SELECT e.aggregate_version, e.data - 'note' AS data, md5(e.data::text) = md5(p.data::text) AS the_same
FROM in_sql_events e JOIN in_plpgsql_events p USING (aggregate_version) WHERE e.aggregate_version IN (1, 2, 6, 7) ORDER BY 1;
SELECT * FROM goes_verify('sql') UNION ALL SELECT * FROM goes_verify('plpgsql');
SELECT count(*), count(DISTINCT s.doc) FROM generate_series(1, 15) v, goes_aggregate_at(NULL::in_sql, id(1), version => v) s, goes_aggregate_at(NULL::in_plpgsql, id(1), version => v) p
WHERE to_jsonb(s) - '{created_at,updated_at}'::text[] = to_jsonb(p) - '{created_at,updated_at}'::text[];

-- A large value that stays is not written again
CREATE TABLE papers (LIKE goes_base_aggregate INCLUDING ALL, n integer, body text);
CREATE FUNCTION written(aggregate papers, event goes_event) RETURNS papers LANGUAGE sql
RETURN ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, aggregate.deleted_at,
    event.aggregate_version, coalesce(event.data ->> 'body', aggregate.body))::papers;
SELECT goes_register_aggregate('paper', 'papers'), goes_register_event('paper', 'written', calculator => 'written'),
    goes_register_command('paper', 'write', event => 'written', target => 'any');
SELECT count(goes_do('paper.write', id(1), CASE i WHEN 1 THEN jsonb_build_object('body', large(1)) ELSE '{}' END)) FROM generate_series(1, 5) i;
SELECT n, body = large(1) AS whole FROM papers;
CREATE FUNCTION values_stored(relation regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('SELECT count(DISTINCT chunk_id) FROM %s', (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = relation)) INTO result;
    RETURN result;
END $$;
SELECT values_stored('papers');
-- a column more, which the calculator does not give; then a column less
ALTER TABLE papers ADD COLUMN more text;
SELECT count(goes_do('paper.write', id(1)));
SELECT n, body = large(1) AS whole, more FROM papers;
CREATE OR REPLACE FUNCTION written(aggregate papers, event goes_event) RETURNS papers LANGUAGE sql
RETURN ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, aggregate.deleted_at,
    event.aggregate_version, aggregate.body, left(aggregate.body, 3))::papers;
SELECT count(goes_do('paper.write', id(1)));
SELECT n, body = large(1) AS whole, more FROM papers;
ALTER TABLE papers DROP COLUMN n;
SELECT count(goes_do('paper.write', id(1)));
SELECT body = large(1) AS whole, more FROM papers;
-- NULL and the aggregate itself, as one value
CREATE OR REPLACE FUNCTION written(aggregate papers, event goes_event) RETURNS papers LANGUAGE sql
RETURN CASE WHEN event.data ? 'nothing' THEN NULL ELSE aggregate END;
SELECT count(goes_do('paper.write', id(1)));
SELECT version, body = large(1) AS whole, more FROM papers;
\set VERBOSITY terse
SELECT goes_do('paper.write', id(1), '{"nothing": true}');
\set VERBOSITY default
SELECT version FROM papers;

-- A reactor sees the same
CREATE TABLE seen (what text);
CREATE FUNCTION look(aggregate papers, event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO seen VALUES (concat_ws(' ', aggregate.version, event.aggregate_version, event.action, event.data)); END $$;
SELECT goes_on('{paper}', sync => '{look}');
SELECT count(goes_do('paper.write', id(1), '{"a": 1}'));
SELECT * FROM seen;

-- A command inside of a function of the same type, which is being called
CREATE FUNCTION build_nested(aggregate in_sql, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('set', CASE WHEN command.data ? 'inner'
    THEN jsonb_build_object('n', aggregate.n, 'inner', goes_do('sql.nest', goes_uuidv7(), '{"n": 7}') -> 'data' -> 'n', 'outer', aggregate.n)
    ELSE command.data END);
SELECT goes_register_command('sql', 'nest', build => 'build_nested', target => 'any');
SELECT goes_do('sql.nest', id(1), '{"inner": true}') -> 'data';


-- Literals in a function that is inlined are read under the settings of a replay,
-- not the session's, and so is what calls itself immutable
CREATE TABLE clocks (LIKE goes_base_aggregate INCLUDING ALL, literal timestamptz, day date, claimed text, apart interval);
CREATE FUNCTION claim(at timestamptz) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN at::text; END';
CREATE FUNCTION ticked(aggregate clocks, event goes_event) RETURNS clocks LANGUAGE sql AS $$
    SELECT ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, aggregate.deleted_at,
        '2024-01-01 12:00'::timestamptz, '01/02/2024'::date, claim('epoch'),
        age(to_timestamp((event.data ->> 'to')::float8), to_timestamp((event.data ->> 'from')::float8)))::clocks
$$;
SELECT goes_register_aggregate('clock', 'clocks'), goes_register_event('clock', 'ticked', calculator => 'ticked'),
    goes_register_command('clock', 'tick', event => 'ticked', target => 'any'),
    goes_register_event('clock', 'merged'), goes_register_command('clock', 'merge', event => 'merged', target => 'any');
SET TimeZone = 'America/New_York';
SET DateStyle = 'SQL, DMY';
SELECT count(goes_do('clock.tick', id(1), '{"from": 1709985600, "to": 1710075600}')),
    count(goes_do('clock.merge', id(4), '{"literal": "2024-01-01 12:00", "day": "01/02/2024"}'));
RESET TimeZone;
RESET DateStyle;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';
SELECT literal, day, claimed, apart FROM clocks ORDER BY id;
SELECT * FROM goes_verify('clock');
\c -
SET search_path = test, public;
SELECT * FROM goes_verify('clock');

-- Rows that are written without a statement give the same errors to who may only
-- insert events; and nothing may round what they are to repeat
CALL fails('ALTER TABLE clocks_events ALTER recorded_at TYPE timestamptz(0)');
ALTER TABLE clocks_events ADD CHECK (data ? 'from' OR data ? 'literal');
CREATE ROLE regress_goes_records;
GRANT USAGE ON SCHEMA test TO regress_goes_records;
GRANT SELECT, INSERT, UPDATE ON clocks TO regress_goes_records;
GRANT INSERT ON clocks_events TO regress_goes_records;
SET ROLE regress_goes_records;
CALL fails($$ SELECT goes_do('clock.tick', id(3), '{}') $$);
RESET ROLE;
DROP OWNED BY regress_goes_records;
DROP ROLE regress_goes_records;

-- A calculator does not see what the table computes: a replay does not have it
CREATE TABLE labels (LIKE goes_base_aggregate INCLUDING ALL, name text, upper text GENERATED ALWAYS AS (upper(name)) STORED,
    number integer GENERATED ALWAYS AS IDENTITY, was text);
CREATE FUNCTION named(aggregate labels, event goes_event) RETURNS labels LANGUAGE plpgsql AS $$
BEGIN
    aggregate.was := concat_ws('/', aggregate.name, aggregate.upper, aggregate.number);
    aggregate.name := event.data ->> 'name';
    RETURN aggregate;
END $$;
CREATE FUNCTION named_sql(aggregate labels, event goes_event) RETURNS labels LANGUAGE sql
RETURN ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, aggregate.deleted_at,
    event.data ->> 'name', NULL, NULL, concat_ws('/', aggregate.name, aggregate.upper, aggregate.number))::labels;
SELECT goes_register_aggregate('label', 'labels'), goes_register_event('label', 'named', calculator => 'named'),
    goes_register_event('label', 'renamed', calculator => 'named_sql'), goes_register_event('label', 'merged'),
    goes_register_event('label', 'touched', calculator => NULL),
    goes_register_command('label', 'name', event => 'named', target => 'any'), goes_register_command('label', 'rename', event => 'renamed'),
    goes_register_command('label', 'merge', event => 'merged'), goes_register_command('label', 'touch', event => 'touched');
SELECT count(goes_do(command, id(1), jsonb_build_object('name', repeat(command || i, 20))))
FROM generate_series(1, 3) i, unnest('{label.name,label.rename,label.merge,label.touch}'::text[]) command;
SELECT version, upper = upper(name) AS computed, number, length(was) FROM labels;
SELECT version, upper = upper(name) AS computed, number, length(was) FROM goes_history(NULL::labels, id(1));
SELECT * FROM goes_verify('label');

\i :end
