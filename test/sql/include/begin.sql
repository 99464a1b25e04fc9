\set ECHO none
-- What every test begins with: goes in schema public, a schema of its own for
-- the rest, and a few helpers. Without the preload, goes gives a WARNING.
SET client_min_messages = error;
CREATE EXTENSION goes SCHEMA public;
RESET client_min_messages;
CREATE SCHEMA test;
SET search_path = test, public;

-- A fixed uuid for each number.
CREATE FUNCTION id(n integer) RETURNS uuid
LANGUAGE sql IMMUTABLE
RETURN lpad(n::text, 32, '0')::uuid;

-- An event as goes_execute returns it, without what differs from run to run.
CREATE FUNCTION shown(event jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN event - '{id,recorded_at}'::text[];

-- Runs a statement that must fail, and shows all that the error says: its
-- SQLSTATE, message, DETAIL, HINT, the table and constraint fields, and the lines
-- of the CONTEXT that goes adds. All that the statement did is undone.
CREATE PROCEDURE fails(statement text)
LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
    context text;
    at_schema text;
    at_table text;
    reason text;
BEGIN
    BEGIN
        EXECUTE statement;
        -- undoes it
        RAISE SQLSTATE 'ZZZZZ' USING MESSAGE = 'did not fail';
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS
            state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
            detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
            context = PG_EXCEPTION_CONTEXT, at_schema = SCHEMA_NAME,
            at_table = TABLE_NAME, reason = CONSTRAINT_NAME;
    END;
    RAISE INFO '%: %', state, message
        || coalesce(E'\nDETAIL:  ' || nullif(regexp_replace(regexp_replace(detail, '^Failing row contains .*', 'Failing row contains ...'),
            '\m[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\M', '<new uuid>'), ''), '')
        || coalesce(E'\nHINT:  ' || nullif(hint, ''), '')
        || coalesce(E'\nTABLE:  ' || nullif(concat_ws('.', nullif(regexp_replace(at_schema, '_temp_\d+', '_temp'), ''), nullif(at_table, '')), ''), '')
        || coalesce(E'\nREASON:  ' || nullif(reason, ''), '')
        || coalesce((SELECT E'\nCONTEXT:  ' || string_agg(line, E'\n' ORDER BY n)
                     FROM regexp_split_to_table(context, '\n') WITH ORDINALITY l (line, n)
                     WHERE line ~ '^(goes|command|events?|setting) '), '');
END
$$;
\set ECHO all
