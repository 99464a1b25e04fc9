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
ALTER TABLE papers ADD COLUMN more text DEFAULT 'more';
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
-- a column of another type than the one that the calculator gives
ALTER TABLE papers ALTER COLUMN more DROP DEFAULT, ALTER COLUMN more TYPE integer USING more::integer;
CALL fails($$ SELECT goes_do('paper.write', id(1)) $$);
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

\i :end
