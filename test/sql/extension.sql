-- What the extension consists of: names and signatures that users depend on.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

-- The types are frozen: users' functions and columns depend on them.
SELECT attrelid::regclass AS type, string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY attnum) AS columns
FROM pg_attribute
WHERE attrelid IN ('goes_base_aggregate'::regclass, 'goes_command'::regclass, 'goes_event'::regclass, 'goes_event_data'::regclass) AND attnum > 0
GROUP BY attrelid::regclass ORDER BY attrelid::regclass::text COLLATE "C";

-- So are the functions.
SELECT proname || '(' || pg_get_function_arguments(oid) || ') RETURNS ' || pg_get_function_result(oid) AS function
FROM pg_proc
WHERE proname IN ('goes_event_data', 'goes_uuidv7', 'goes_register_aggregate', 'goes_register_event', 'goes_register_command', 'goes_on', 'goes_off',
    'goes_unregister_aggregate', 'goes_unregister_event', 'goes_unregister_command', 'goes_execute', 'goes_execute_many', 'goes_do', 'goes_reject',
    'goes_require', 'goes_forget_commands')
ORDER BY proname COLLATE "C", pronargs;

-- Everything has a comment, nothing depends on the search path, and what is
-- internal is not for PUBLIC.
CREATE VIEW members AS
    SELECT classid, objid, pg_describe_object(classid, objid, 0) AS object FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'goes') AND deptype = 'e';
SELECT object FROM members
WHERE obj_description(objid, classid::regclass::name) IS NULL AND classid IN ('pg_proc'::regclass, 'pg_event_trigger'::regclass, 'pg_namespace'::regclass)
    OR classid = 'pg_class'::regclass AND obj_description(objid, 'pg_class') IS NULL
    OR classid = 'pg_type'::regclass AND obj_description(objid, 'pg_type') IS NULL AND (SELECT typelem = 0 AND typrelid = 0 OR typtype = 'd' FROM pg_type WHERE oid = objid)
ORDER BY object COLLATE "C";
SELECT c.relname, a.attname FROM members JOIN pg_class c ON c.oid = objid AND classid = 'pg_class'::regclass AND c.relkind = 'r'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE col_description(c.oid, a.attnum) IS NULL ORDER BY 1, 2;
SELECT object FROM members JOIN pg_proc p ON p.oid = objid AND classid = 'pg_proc'::regclass JOIN pg_language l ON l.oid = prolang
WHERE l.lanname NOT IN ('c', 'internal') AND prosqlbody IS NULL AND (proconfig IS NULL OR NOT proconfig::text ~ 'search_path');
SELECT c.relname, privilege_type FROM members JOIN pg_class c ON c.oid = objid AND classid = 'pg_class'::regclass,
    aclexplode(c.relacl) WHERE grantee = 0 AND privilege_type <> 'SELECT';
SELECT has_schema_privilege('pg_monitor', 'goes', 'CREATE') AS create, has_schema_privilege('pg_monitor', 'goes', 'USAGE') AS usage;

-- The registry goes into dumps.
SELECT c.relname FROM pg_extension, unnest(extconfig) t JOIN pg_class c ON c.oid = t
WHERE extname = 'goes' AND c.relname IN ('position', 'aggregate_types', 'event_types', 'command_types', 'reactors', 'commands') ORDER BY c.relname COLLATE "C";

-- Settings
SELECT name, vartype, context, boot_val, min_val, max_val FROM pg_settings
WHERE name IN ('goes.allow_direct_writes', 'goes.max_nesting', 'goes.metadata') ORDER BY name COLLATE "C";
SET goes.no_such_setting = 1;
SET goes.allow_direct_writes = 'maybe';

-- UUIDs version 7: distinct, ascending in a session, with the time of now.
CREATE TABLE uuids AS SELECT n, goes_uuidv7() AS id FROM generate_series(1, 10000) n;
SELECT count(DISTINCT id), bool_and(id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') AS version_7,
    bool_and(id > previous) AS ascending, bool_and(time BETWEEN now() - interval '1 minute' AND now() + interval '1 minute') AS time
FROM (SELECT id, lag(id, 1, '00000000-0000-0000-0000-000000000000') OVER (ORDER BY n) AS previous,
    to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0) AS time FROM uuids) u;

-- goes_event_data: what its defaults are
SELECT (goes_event_data('done', '{}')).*;
SELECT (goes_event_data('done', '{"a": 1}', transient => '{"b": 2}', event_version => 3)).*;

-- It can be dropped and created again; there is one in a database.
DROP VIEW members;
DROP EXTENSION goes;
SELECT to_regnamespace('goes'), to_regtype('goes_event');
SET client_min_messages = error;
CREATE EXTENSION goes SCHEMA public;
RESET client_min_messages;
CREATE EXTENSION goes;
\i :end
