/* goes--1.0.sql */

-- complain if the script is sourced in psql rather than run by CREATE EXTENSION
\echo Use "CREATE EXTENSION goes" to load this file. \quit

-- ---------------------------------------------------------------------------
-- The registry: what is registered, and the global order of events.
-- Everybody may read it; only the functions below write it, as its owner.
-- ---------------------------------------------------------------------------
CREATE SCHEMA goes;
GRANT USAGE ON SCHEMA goes TO PUBLIC;
COMMENT ON SCHEMA goes IS 'registry and internals of the extension goes';

-- CACHE 1 and no CYCLE: positions must be taken in the order in which they are given out
CREATE SEQUENCE goes.position AS bigint MINVALUE 1 START 1 CACHE 1 NO CYCLE;
COMMENT ON SEQUENCE goes.position IS 'the global order of all events of this database';

CREATE TABLE goes.aggregate_types (
    type text PRIMARY KEY,
    relation regclass NOT NULL UNIQUE,
    events regclass NOT NULL UNIQUE
);
COMMENT ON TABLE goes.aggregate_types IS 'registered aggregate types; written by goes_register_aggregate';
COMMENT ON COLUMN goes.aggregate_types.type IS 'name of the type, the first part of its commands'' names';
COMMENT ON COLUMN goes.aggregate_types.relation IS 'the table that holds the current states';
COMMENT ON COLUMN goes.aggregate_types.events IS 'the table that holds the events';

CREATE TABLE goes.event_types (
    aggregate_type text NOT NULL,
    action text NOT NULL,
    event_version integer NOT NULL,
    calculator text,
    PRIMARY KEY (aggregate_type, action, event_version)
);
COMMENT ON TABLE goes.event_types IS 'registered events; written by goes_register_event';
COMMENT ON COLUMN goes.event_types.aggregate_type IS 'the type whose aggregates the event happens to';
COMMENT ON COLUMN goes.event_types.action IS 'what happened, in the past tense';
COMMENT ON COLUMN goes.event_types.event_version IS 'version of the layout of the data, from 1';
COMMENT ON COLUMN goes.event_types.calculator IS
    'qualified function (aggregate, goes_event), "goes_merge", "c:name" or NULL (the state does not change)';

CREATE TABLE goes.command_types (
    aggregate_type text NOT NULL,
    command text NOT NULL,
    build text,
    validate text,
    event text,
    target text NOT NULL CHECK (target OPERATOR(pg_catalog.=) ANY ('{new,existing,any}'::pg_catalog.text[])),
    allow_deleted boolean NOT NULL,
    id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    PRIMARY KEY (aggregate_type, command)
);
COMMENT ON TABLE goes.command_types IS 'registered commands; written by goes_register_command';
COMMENT ON COLUMN goes.command_types.aggregate_type IS 'the type whose aggregates the command is for';
COMMENT ON COLUMN goes.command_types.command IS 'name of the command without the type';
COMMENT ON COLUMN goes.command_types.build IS 'qualified function (aggregate, goes_command) that returns goes_event_data';
COMMENT ON COLUMN goes.command_types.validate IS 'qualified function (aggregate, goes_command) that raises to reject';
COMMENT ON COLUMN goes.command_types.event IS 'action of the event when there is no build function';
COMMENT ON COLUMN goes.command_types.target IS 'whether the aggregate must be new, must be existing, or may be any of both';
COMMENT ON COLUMN goes.command_types.allow_deleted IS 'whether the aggregate may be deleted';
COMMENT ON COLUMN goes.command_types.id IS 'by which its counters in shared memory know it';

CREATE TABLE goes.upcasters (
    aggregate_type text NOT NULL,
    action text NOT NULL,
    from_version integer NOT NULL,
    upcaster text NOT NULL,
    PRIMARY KEY (aggregate_type, action, from_version)
);
COMMENT ON TABLE goes.upcasters IS 'registered upcasters; written by goes_register_upcaster';
COMMENT ON COLUMN goes.upcasters.aggregate_type IS 'the type whose events it is for';
COMMENT ON COLUMN goes.upcasters.action IS 'the action whose events it is for';
COMMENT ON COLUMN goes.upcasters.from_version IS 'the version it takes; it gives the next one';
COMMENT ON COLUMN goes.upcasters.upcaster IS 'qualified function (jsonb) that returns jsonb';

CREATE TABLE goes.reactors (
    reactor text PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    mode text NOT NULL CHECK (mode OPERATOR(pg_catalog.=) ANY ('{sync,async,outside}'::pg_catalog.text[])),
    patterns text[] NOT NULL,
    form text CHECK (form OPERATOR(pg_catalog.=) ANY ('{event,aggregate,trigger}'::pg_catalog.text[])),
    active boolean NOT NULL DEFAULT true,
    owner regrole,
    paused boolean NOT NULL DEFAULT false,
    max_attempts integer,
    backoff interval,
    max_backoff interval,
    timeout interval,
    batch_size integer,
    parallelism integer NOT NULL DEFAULT 1,
    on_failure text NOT NULL DEFAULT 'skip' CHECK (on_failure OPERATOR(pg_catalog.=) ANY ('{skip,stop}'::pg_catalog.text[]))
);
COMMENT ON TABLE goes.reactors IS 'registered reactors; written by goes_on, goes_off and goes_alter_reactor';
COMMENT ON COLUMN goes.reactors.reactor IS 'qualified function, or the name of an outside reactor';
COMMENT ON COLUMN goes.reactors.id IS 'by which its progress knows it, whatever its name';
COMMENT ON COLUMN goes.reactors.mode IS 'sync, async or outside';
COMMENT ON COLUMN goes.reactors.patterns IS 'the events it reacts to';
COMMENT ON COLUMN goes.reactors.form IS
    'arguments of its function: the event, the aggregate and the event, or none as it RETURNS trigger; NULL: outside';
COMMENT ON COLUMN goes.reactors.active IS 'false after goes_off, which keeps the progress';
COMMENT ON COLUMN goes.reactors.owner IS 'who registered it, of an outside reactor';
COMMENT ON COLUMN goes.reactors.paused IS 'by goes_pause; its events wait';
COMMENT ON COLUMN goes.reactors.max_attempts IS 'attempts at one event before it is given up; NULL: setting goes.max_attempts';
COMMENT ON COLUMN goes.reactors.backoff IS 'pause after the first failure, which doubles with each; NULL: setting goes.backoff';
COMMENT ON COLUMN goes.reactors.max_backoff IS 'the longest pause; NULL: setting goes.max_backoff';
COMMENT ON COLUMN goes.reactors.timeout IS 'longest time of one call; NULL: setting goes.timeout';
COMMENT ON COLUMN goes.reactors.batch_size IS 'events that share a transaction; NULL: setting goes.batch_size';
COMMENT ON COLUMN goes.reactors.parallelism IS 'how many parts of the aggregates it works on at a time';
COMMENT ON COLUMN goes.reactors.on_failure IS 'after the last attempt: skip the event, or stop its aggregate';

CREATE TABLE goes.progress (
    reactor uuid NOT NULL,
    part integer NOT NULL,
    parts integer NOT NULL,
    checkpoint bigint NOT NULL,
    barrier bigint,
    imported_to bigint NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    processed bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    retried bigint NOT NULL DEFAULT 0,
    last_error text,
    last_error_at timestamptz,
    PRIMARY KEY (reactor, part)
) WITH (fillfactor = 50);
COMMENT ON TABLE goes.progress IS 'how far async and outside reactors are; a row for each part of the aggregates';
COMMENT ON COLUMN goes.progress.reactor IS 'id of the reactor';
COMMENT ON COLUMN goes.progress.part IS 'from 0: the aggregates whose hash is this modulo parts';
COMMENT ON COLUMN goes.progress.parts IS 'how many there are';
COMMENT ON COLUMN goes.progress.checkpoint IS 'position up to which it is done, but for the events of goes.pending';
COMMENT ON COLUMN goes.progress.barrier IS 'position at which all parts wait for each other to change their number; NULL: none';
COMMENT ON COLUMN goes.progress.imported_to IS 'position up to which it gets imported events too';
COMMENT ON COLUMN goes.progress.revision IS 'counts the changes by others than who runs the reactor';
COMMENT ON COLUMN goes.progress.processed IS 'events it has processed';
COMMENT ON COLUMN goes.progress.failed IS 'attempts that failed';
COMMENT ON COLUMN goes.progress.retried IS 'attempts after a first one';
COMMENT ON COLUMN goes.progress.last_error IS 'message of the last error, without transient data';
COMMENT ON COLUMN goes.progress.last_error_at IS 'when it was raised';

CREATE TABLE goes.pending (
    reactor uuid NOT NULL,
    position bigint NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    aggregate_version bigint NOT NULL,
    blocks boolean NOT NULL,
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    leased boolean NOT NULL DEFAULT false,
    sqlstate text,
    error text,
    failed_at timestamptz,
    PRIMARY KEY (reactor, position)
);
COMMENT ON TABLE goes.pending IS 'events at or below the checkpoint that a reactor is not done with';
COMMENT ON COLUMN goes.pending.reactor IS 'id of the reactor';
COMMENT ON COLUMN goes.pending.position IS 'position of the event';
COMMENT ON COLUMN goes.pending.aggregate_type IS 'its type';
COMMENT ON COLUMN goes.pending.aggregate_id IS 'its aggregate';
COMMENT ON COLUMN goes.pending.aggregate_version IS 'version of the aggregate after it';
COMMENT ON COLUMN goes.pending.blocks IS 'whether later events of the aggregate wait for it';
COMMENT ON COLUMN goes.pending.attempts IS 'attempts that failed';
COMMENT ON COLUMN goes.pending.due_at IS 'when the next attempt may be; infinity: the aggregate is stopped';
COMMENT ON COLUMN goes.pending.leased IS 'whether a program has fetched it, until due_at';
COMMENT ON COLUMN goes.pending.sqlstate IS 'of the last error';
COMMENT ON COLUMN goes.pending.error IS 'its message, without transient data';
COMMENT ON COLUMN goes.pending.failed_at IS 'when it was raised';
CREATE UNIQUE INDEX pending_aggregate ON goes.pending (reactor, aggregate_id, aggregate_type) WHERE blocks;
COMMENT ON INDEX goes.pending_aggregate IS 'one event at a time is next for an aggregate';
CREATE INDEX pending_due_at ON goes.pending (reactor, due_at);
COMMENT ON INDEX goes.pending_due_at IS 'to find what is due';

CREATE TABLE goes.dead_letters (
    reactor uuid NOT NULL,
    position bigint NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    aggregate_version bigint NOT NULL,
    attempts integer NOT NULL,
    sqlstate text,
    error text,
    failed_at timestamptz,
    PRIMARY KEY (reactor, position)
);
COMMENT ON TABLE goes.dead_letters IS 'events that a reactor was given up on';
COMMENT ON COLUMN goes.dead_letters.reactor IS 'id of the reactor';
COMMENT ON COLUMN goes.dead_letters.position IS 'position of the event';
COMMENT ON COLUMN goes.dead_letters.aggregate_type IS 'its type';
COMMENT ON COLUMN goes.dead_letters.aggregate_id IS 'its aggregate';
COMMENT ON COLUMN goes.dead_letters.aggregate_version IS 'version of the aggregate after it';
COMMENT ON COLUMN goes.dead_letters.attempts IS 'attempts that failed';
COMMENT ON COLUMN goes.dead_letters.sqlstate IS 'of the last error';
COMMENT ON COLUMN goes.dead_letters.error IS 'its message, without transient data';
COMMENT ON COLUMN goes.dead_letters.failed_at IS 'when it was raised';

CREATE TABLE goes.inline_deliveries (
    reactor uuid NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (reactor, position)
);
COMMENT ON TABLE goes.inline_deliveries IS 'events that a reactor has had inside their transaction, goes.async being inline';
COMMENT ON COLUMN goes.inline_deliveries.reactor IS 'id of the reactor';
COMMENT ON COLUMN goes.inline_deliveries.position IS 'position of the event';

CREATE TABLE goes.rebuilds (
    aggregate_type text NOT NULL,
    part integer NOT NULL,
    hash_from bigint NOT NULL,
    hash_to bigint NOT NULL,
    fingerprint bigint NOT NULL,
    started_at timestamptz NOT NULL,
    since bigint NOT NULL,
    progress bigint NOT NULL,
    PRIMARY KEY (aggregate_type, part)
) WITH (fillfactor = 50);
COMMENT ON TABLE goes.rebuilds IS
    'rebuilds that run or were interrupted: what is left to do, in parts of the aggregates by the hash of their ids; not dumped, since a restored table is another one';
COMMENT ON COLUMN goes.rebuilds.aggregate_type IS 'the type that is rebuilt';
COMMENT ON COLUMN goes.rebuilds.part IS 'number of the part';
COMMENT ON COLUMN goes.rebuilds.hash_from IS 'the first hash that is not done';
COMMENT ON COLUMN goes.rebuilds.hash_to IS 'the first hash that is not of the part';
COMMENT ON COLUMN goes.rebuilds.fingerprint IS 'of the model, to tell whether it has changed';
COMMENT ON COLUMN goes.rebuilds.started_at IS 'when the rebuild was started; the same for all parts';
COMMENT ON COLUMN goes.rebuilds.since IS
    'transaction id: commands from this one on may have used an older model, and are looked at again; 0: none has';
COMMENT ON COLUMN goes.rebuilds.progress IS 'handle of the dynamic shared memory that tells how far it is';

CREATE TABLE goes.rebuild_failures (
    aggregate_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    event_position bigint,
    aggregate_version bigint,
    action text,
    event_version integer,
    sqlstate text,
    error text,
    failed_at timestamptz,
    PRIMARY KEY (aggregate_type, aggregate_id)
);
COMMENT ON TABLE goes.rebuild_failures IS 'aggregates that the last rebuild of their type did not rebuild; not dumped, as goes.rebuilds';
COMMENT ON COLUMN goes.rebuild_failures.aggregate_type IS 'the type';
COMMENT ON COLUMN goes.rebuild_failures.aggregate_id IS 'the aggregate';
COMMENT ON COLUMN goes.rebuild_failures.event_position IS 'position of the event that could not be applied; NULL: it is none''s fault';
COMMENT ON COLUMN goes.rebuild_failures.aggregate_version IS 'version of the aggregate after that event';
COMMENT ON COLUMN goes.rebuild_failures.action IS 'action of that event';
COMMENT ON COLUMN goes.rebuild_failures.event_version IS 'version of its data';
COMMENT ON COLUMN goes.rebuild_failures.sqlstate IS 'of the error; NULL: the row has no events';
COMMENT ON COLUMN goes.rebuild_failures.error IS 'its message; NULL: put off until the end of the rebuild, since it was locked or moved on';
COMMENT ON COLUMN goes.rebuild_failures.failed_at IS 'when it was raised';

-- Without a primary key, so that a restore finds no row in its way.
CREATE TABLE goes.horizon (
    position bigint NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE goes.horizon IS 'the horizon as the dispatcher has stored it, in one row or, after a restore, two: the greatest counts';
COMMENT ON COLUMN goes.horizon.position IS 'no event at or below it can still appear, or disappear';

CREATE TABLE goes.commands (
    command_id uuid PRIMARY KEY,
    command text NOT NULL,
    given_id uuid,
    aggregate_id uuid,
    event_position bigint,
    claimed_at timestamptz NOT NULL
);
COMMENT ON TABLE goes.commands IS 'command ids that were used, each with its outcome; trimmed by goes_forget_commands';
COMMENT ON COLUMN goes.commands.command_id IS 'the id the caller gave';
COMMENT ON COLUMN goes.commands.command IS 'name of the command';
COMMENT ON COLUMN goes.commands.given_id IS 'the aggregate the caller gave, if any';
COMMENT ON COLUMN goes.commands.aggregate_id IS 'the aggregate the command was for';
COMMENT ON COLUMN goes.commands.event_position IS 'position of its event; NULL: nothing happened';
COMMENT ON COLUMN goes.commands.claimed_at IS 'when the command ran, by the wall clock';
CREATE INDEX commands_claimed_at ON goes.commands (claimed_at);
COMMENT ON INDEX goes.commands_claimed_at IS 'for goes_forget_commands';

GRANT SELECT ON goes.aggregate_types, goes.event_types, goes.command_types, goes.upcasters, goes.reactors,
    goes.position, goes.horizon TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('goes.position', '');
SELECT pg_catalog.pg_extension_config_dump('goes.aggregate_types', '');
SELECT pg_catalog.pg_extension_config_dump('goes.event_types', '');
SELECT pg_catalog.pg_extension_config_dump('goes.command_types', '');
SELECT pg_catalog.pg_extension_config_dump('goes.upcasters', '');
SELECT pg_catalog.pg_extension_config_dump('goes.reactors', '');
SELECT pg_catalog.pg_extension_config_dump('goes.commands', '');
SELECT pg_catalog.pg_extension_config_dump('goes.progress', '');
SELECT pg_catalog.pg_extension_config_dump('goes.pending', '');
SELECT pg_catalog.pg_extension_config_dump('goes.dead_letters', '');
SELECT pg_catalog.pg_extension_config_dump('goes.inline_deliveries', '');
SELECT pg_catalog.pg_extension_config_dump('goes.horizon', '');

-- ---------------------------------------------------------------------------
-- Types
-- ---------------------------------------------------------------------------
CREATE TABLE @extschema@.goes_base_aggregate (
    id uuid PRIMARY KEY,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);
COMMENT ON TABLE @extschema@.goes_base_aggregate IS
    'template of every aggregate table: CREATE TABLE users (LIKE goes_base_aggregate INCLUDING ALL, ...)';
COMMENT ON COLUMN @extschema@.goes_base_aggregate.id IS 'the aggregate''s id';
COMMENT ON COLUMN @extschema@.goes_base_aggregate.version IS 'number of its events';
COMMENT ON COLUMN @extschema@.goes_base_aggregate.created_at IS 'time of its first event';
COMMENT ON COLUMN @extschema@.goes_base_aggregate.updated_at IS 'time of its last event';
COMMENT ON COLUMN @extschema@.goes_base_aggregate.deleted_at IS 'set by a calculator when the aggregate is deleted';
GRANT SELECT ON @extschema@.goes_base_aggregate TO PUBLIC;

CREATE TYPE @extschema@.goes_command AS (
    command_id uuid,
    name text,
    aggregate_id uuid,
    expected_version bigint,
    data jsonb,
    metadata jsonb
);
COMMENT ON TYPE @extschema@.goes_command IS 'a command as validate and build functions get it';

CREATE TYPE @extschema@.goes_event AS (
    position bigint,
    id uuid,
    aggregate_type text,
    aggregate_id uuid,
    aggregate_version bigint,
    action text,
    event_version integer,
    data jsonb,
    metadata jsonb,
    transient jsonb,
    recorded_at timestamptz
);
COMMENT ON TYPE @extschema@.goes_event IS 'an event as calculators and reactors get it';

CREATE TYPE @extschema@.goes_event_data AS (
    action text,
    event_version integer,
    data jsonb,
    transient jsonb
);
COMMENT ON TYPE @extschema@.goes_event_data IS 'the event that a build function asks for';

-- A plain SQL expression, so that it disappears when a build function is inlined.
CREATE FUNCTION @extschema@.goes_event_data(action text, data jsonb, event_version integer DEFAULT NULL, transient jsonb DEFAULT NULL)
RETURNS @extschema@.goes_event_data
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ROW(action, event_version, data, transient)::@extschema@.goes_event_data;
COMMENT ON FUNCTION @extschema@.goes_event_data(text, jsonb, integer, jsonb) IS
    'the event to build; event_version NULL: the latest registered version of the action; transient data is never stored';

CREATE FUNCTION @extschema@.goes_uuidv7()
RETURNS uuid
LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'goes_uuidv7';
COMMENT ON FUNCTION @extschema@.goes_uuidv7() IS 'a new UUID version 7 (RFC 9562), ascending within a session';

-- ---------------------------------------------------------------------------
-- Defining a model
-- ---------------------------------------------------------------------------
CREATE FUNCTION @extschema@.goes_register_aggregate(type text, relation regclass, events_table name DEFAULT NULL)
RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_register_aggregate';
COMMENT ON FUNCTION @extschema@.goes_register_aggregate(text, regclass, name) IS
    'register a table as aggregate type, create or adopt its events table and return that; events_table NULL: <table>_events';

CREATE FUNCTION @extschema@.goes_register_event(aggregate_type text, action text, event_version integer DEFAULT 1, calculator text DEFAULT 'goes_merge')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_register_event';
COMMENT ON FUNCTION @extschema@.goes_register_event(text, text, integer, text) IS
    'register an event with its calculator: a function (aggregate, goes_event) RETURNS aggregate, goes_merge, c:name or NULL';

CREATE FUNCTION @extschema@.goes_register_command(aggregate_type text, command text, build text DEFAULT NULL, validate text DEFAULT NULL,
    event text DEFAULT NULL, target text DEFAULT 'existing', allow_deleted boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_register_command';
COMMENT ON FUNCTION @extschema@.goes_register_command(text, text, text, text, text, text, boolean) IS
    'register the command <aggregate_type>.<command>; target: new, existing or any; without build the command''s data becomes the event''s';

CREATE FUNCTION @extschema@.goes_register_upcaster(aggregate_type text, action text, from_version integer, upcaster text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_register_upcaster';
COMMENT ON FUNCTION @extschema@.goes_register_upcaster(text, text, integer, text) IS
    'register a function (jsonb) RETURNS jsonb that turns the data of from_version into that of the next version';

CREATE FUNCTION @extschema@.goes_on(events text[], sync text[] DEFAULT '{}', async text[] DEFAULT '{}', outside text[] DEFAULT '{}', start bigint DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_on';
COMMENT ON FUNCTION @extschema@.goes_on(text[], text[], text[], text[], bigint) IS
    'let reactors react to events; patterns: user.created.1, user.created, user, *; start: the position after which an async or outside reactor begins';

CREATE FUNCTION @extschema@.goes_off(reactor text, forget boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_off';
COMMENT ON FUNCTION @extschema@.goes_off(text, boolean) IS
    'stop a reactor; the progress of an async or outside one is kept unless forget';

CREATE FUNCTION @extschema@.goes_unregister_aggregate(type text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_unregister_aggregate';
COMMENT ON FUNCTION @extschema@.goes_unregister_aggregate(text) IS
    'remove an aggregate type with its events, commands, guards and triggers; its tables stay';

CREATE FUNCTION @extschema@.goes_unregister_event(aggregate_type text, action text, event_version integer)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_unregister_event';
COMMENT ON FUNCTION @extschema@.goes_unregister_event(text, text, integer) IS
    'remove one version of an event; stored events stay';

CREATE FUNCTION @extschema@.goes_unregister_command(aggregate_type text, command text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_unregister_command';
COMMENT ON FUNCTION @extschema@.goes_unregister_command(text, text) IS
    'remove a command';

CREATE FUNCTION @extschema@.goes_unregister_upcaster(aggregate_type text, action text, from_version integer)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_unregister_upcaster';
COMMENT ON FUNCTION @extschema@.goes_unregister_upcaster(text, text, integer) IS
    'remove an upcaster';

-- ---------------------------------------------------------------------------
-- Executing
-- ---------------------------------------------------------------------------
CREATE FUNCTION @extschema@.goes_execute(command jsonb)
RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_execute';
COMMENT ON FUNCTION @extschema@.goes_execute(jsonb) IS
    'execute a command and return its event; NULL if nothing happened';

CREATE FUNCTION @extschema@.goes_execute(aggregate anyelement, command jsonb)
RETURNS anyelement
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_execute_returning';
COMMENT ON FUNCTION @extschema@.goes_execute(anyelement, jsonb) IS
    'execute a command and return the aggregate after it all: goes_execute(NULL::users, ...)';

CREATE FUNCTION @extschema@.goes_execute_many(commands jsonb)
RETURNS SETOF jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_execute_many';
COMMENT ON FUNCTION @extschema@.goes_execute_many(jsonb) IS
    'execute a JSON array of commands in order, all or nothing, and return the event of each (NULL where nothing happened)';

CREATE FUNCTION @extschema@.goes_do(command text, aggregate_id uuid DEFAULT NULL, data jsonb DEFAULT '{}', metadata jsonb DEFAULT '{}',
    expected_version bigint DEFAULT NULL, command_id uuid DEFAULT NULL)
RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_do';
COMMENT ON FUNCTION @extschema@.goes_do(text, uuid, jsonb, jsonb, bigint, uuid) IS
    'goes_execute with the parts of the command as arguments';

CREATE FUNCTION @extschema@.goes_reject(message text, detail text DEFAULT NULL, hint text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_reject';
COMMENT ON FUNCTION @extschema@.goes_reject(text, text, text, text) IS
    'reject the command with OG001; reason: a machine-readable word, in the error''s constraint field';

CREATE FUNCTION @extschema@.goes_require(condition boolean, message text, detail text DEFAULT NULL, hint text DEFAULT NULL, reason text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_require';
COMMENT ON FUNCTION @extschema@.goes_require(boolean, text, text, text, text) IS
    'reject the command with OG001 unless the condition is true';

CREATE FUNCTION @extschema@.goes_forget_commands(before timestamptz)
RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_forget_commands';
COMMENT ON FUNCTION @extschema@.goes_forget_commands(timestamptz) IS
    'forget the command ids used before that time and return how many; run again, such a command is executed again';
REVOKE EXECUTE ON FUNCTION @extschema@.goes_forget_commands(timestamptz) FROM PUBLIC;

-- ---------------------------------------------------------------------------
-- After commit: async reactors
-- ---------------------------------------------------------------------------
CREATE FUNCTION @extschema@.goes_alter_reactor(reactor text, max_attempts integer DEFAULT NULL, backoff interval DEFAULT NULL,
    max_backoff interval DEFAULT NULL, timeout interval DEFAULT NULL, batch_size integer DEFAULT NULL,
    parallelism integer DEFAULT NULL, on_failure text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_alter_reactor';
COMMENT ON FUNCTION @extschema@.goes_alter_reactor(text, integer, interval, interval, interval, integer, integer, text) IS
    'change how an async or outside reactor is run; what is NULL stays; on_failure: skip or stop';

CREATE FUNCTION @extschema@.goes_pause(reactor text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_pause';
COMMENT ON FUNCTION @extschema@.goes_pause(text) IS
    'let the events of an async or outside reactor wait; none is running when this has committed';

CREATE FUNCTION @extschema@.goes_resume(reactor text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_resume';
COMMENT ON FUNCTION @extschema@.goes_resume(text) IS 'end a pause of goes_pause';

CREATE FUNCTION @extschema@.goes_rewind(reactor text, after bigint)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_rewind';
COMMENT ON FUNCTION @extschema@.goes_rewind(text, bigint) IS
    'let an async or outside reactor go on with the first event after that position, imported ones too; its later failures are forgotten';

CREATE FUNCTION @extschema@.goes_retry(reactor text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_retry';
COMMENT ON FUNCTION @extschema@.goes_retry(text) IS
    'try the failed events of a reactor again now, dead letters too, and return how many; NULL: of all reactors that you may manage';

CREATE FUNCTION @extschema@.goes_skip(reactor text, event_position bigint)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_skip';
COMMENT ON FUNCTION @extschema@.goes_skip(text, bigint) IS
    'give up a failed event, which becomes a dead letter; or, if it is one, remove it';

CREATE FUNCTION @extschema@.goes_wait(reactor text DEFAULT NULL, up_to bigint DEFAULT NULL, timeout interval DEFAULT '30s')
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_wait';
COMMENT ON FUNCTION @extschema@.goes_wait(text, bigint, interval) IS
    'wait until the horizon and the reactor (NULL: all async ones that are not paused) have passed a position (NULL: all that is committed); false: time-out';

-- ---------------------------------------------------------------------------
-- After commit: outside reactors
-- ---------------------------------------------------------------------------
CREATE FUNCTION @extschema@.goes_fetch(reactor text, max_events integer DEFAULT 1, lease interval DEFAULT '1min', wait interval DEFAULT '0')
RETURNS SETOF @extschema@.goes_event
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_fetch';
COMMENT ON FUNCTION @extschema@.goes_fetch(text, integer, interval, interval) IS
    'the next events of an outside reactor, which are the caller''s until it settles them or the lease ends; wait: for the first one';

CREATE FUNCTION @extschema@.goes_settle(reactor text, positions bigint[], error text DEFAULT NULL)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_settle';
COMMENT ON FUNCTION @extschema@.goes_settle(text, bigint[], text) IS
    'settle events that were fetched, and return how many; error: they failed and come again after a pause';

-- ---------------------------------------------------------------------------
-- Reading on
-- ---------------------------------------------------------------------------
CREATE FUNCTION @extschema@.goes_horizon()
RETURNS bigint
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'goes_horizon';
COMMENT ON FUNCTION @extschema@.goes_horizon() IS
    'a position such that no event at or below it can still appear, or disappear';

CREATE FUNCTION @extschema@.goes_events(events text[] DEFAULT '{*}', after bigint DEFAULT 0, max_events integer DEFAULT NULL)
RETURNS SETOF @extschema@.goes_event
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_events';
COMMENT ON FUNCTION @extschema@.goes_events(text[], bigint, integer) IS
    'the events of all types that match a pattern, in position order, after that position and up to goes_horizon()';


-- ---------------------------------------------------------------------------
-- Reading the past
-- ---------------------------------------------------------------------------
CREATE FUNCTION @extschema@.goes_aggregate_at(aggregate anyelement, id uuid, version bigint DEFAULT NULL, at timestamptz DEFAULT NULL)
RETURNS anyelement
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_aggregate_at';
COMMENT ON FUNCTION @extschema@.goes_aggregate_at(anyelement, uuid, bigint, timestamptz) IS
    'the state of an aggregate after that version and no later than that time: goes_aggregate_at(NULL::users, id, version => 3)';

CREATE FUNCTION @extschema@.goes_aggregates_at(aggregate anyelement, at timestamptz DEFAULT NULL, up_to bigint DEFAULT NULL, ids uuid[] DEFAULT NULL)
RETURNS SETOF anyelement
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_aggregates_at';
COMMENT ON FUNCTION @extschema@.goes_aggregates_at(anyelement, timestamptz, bigint, uuid[]) IS
    'the states of all aggregates of a type, or of these ids, at that time and after the events up to that position';

CREATE FUNCTION @extschema@.goes_history(aggregate anyelement, id uuid)
RETURNS SETOF anyelement
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_history';
COMMENT ON FUNCTION @extschema@.goes_history(anyelement, uuid) IS
    'the state of an aggregate after each of its events, in order';

-- ---------------------------------------------------------------------------
-- Replay and maintenance
-- ---------------------------------------------------------------------------
CREATE FUNCTION @extschema@.goes_replay(aggregate_type text, id uuid)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_replay';
COMMENT ON FUNCTION @extschema@.goes_replay(text, uuid) IS
    'recompute an aggregate from its events; true if its row was different or missing';

CREATE FUNCTION @extschema@.goes_verify(aggregate_type text)
RETURNS TABLE (id uuid, problem text, stored jsonb, expected jsonb)
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_verify';
COMMENT ON FUNCTION @extschema@.goes_verify(text) IS
    'compare all aggregates of a type with their events; a row for each problem, none if all is well';

CREATE FUNCTION @extschema@.goes_dispatch(event @extschema@.goes_event, reactor text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_dispatch';
COMMENT ON FUNCTION @extschema@.goes_dispatch(@extschema@.goes_event, text) IS
    'run the reactors of a stored event again, sync ones now, others in their turn; reactor NULL: all that match';

CREATE FUNCTION @extschema@.goes_import(aggregate_type text, events jsonb)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_import';
COMMENT ON FUNCTION @extschema@.goes_import(text, jsonb) IS
    'append past events (an array of aggregate_id, action, event_version, data, metadata, recorded_at), which nobody reacts to, and return how many';

-- Without a SET clause, as it commits
CREATE PROCEDURE @extschema@.goes_rebuild(aggregate_type text, batch_size integer DEFAULT 1000, parallelism integer DEFAULT 1)
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_rebuild';
COMMENT ON PROCEDURE @extschema@.goes_rebuild(text, integer, integer) IS
    'recompute all aggregates of a type from their events while commands go on, and write the rows that differ, batch_size in a transaction, with that many processes';

-- Aggregates may be put off while a rebuild runs: these are no failures
CREATE VIEW @extschema@.goes_rebuild_failures WITH (security_barrier) AS
    SELECT f.aggregate_type, f.aggregate_id, f.event_position, f.aggregate_version, f.action, f.event_version, f.sqlstate, f.error, f.failed_at
    FROM goes.rebuild_failures f
    JOIN goes.aggregate_types t ON t.type OPERATOR(pg_catalog.=) f.aggregate_type
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relation
    WHERE f.error IS NOT NULL AND pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW @extschema@.goes_rebuild_failures IS
    'the aggregates of types that you own which the last rebuild did not rebuild';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.aggregate_type IS 'the type';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.aggregate_id IS 'the aggregate';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.event_position IS
    'position of the event that could not be applied; NULL: the row could not be written, or has no events';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.aggregate_version IS 'version of the aggregate after that event';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.action IS 'action of that event';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.event_version IS 'version of its data';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.sqlstate IS 'of the error; NULL: the row has no events';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.error IS 'its message';
COMMENT ON COLUMN @extschema@.goes_rebuild_failures.failed_at IS 'when it was raised';
GRANT SELECT ON @extschema@.goes_rebuild_failures TO PUBLIC;

-- ---------------------------------------------------------------------------
-- Watching. What a user may see, the functions decide: they run as whoever
-- reads the view.
-- ---------------------------------------------------------------------------
CREATE FUNCTION goes.stat_reactors()
RETURNS TABLE (reactor text, mode text, owner name, state text, processed bigint, failed bigint, retried bigint, pending bigint,
    dead bigint, lag bigint, lag_seconds double precision, last_error text, last_error_at timestamptz)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_stat_reactors';
COMMENT ON FUNCTION goes.stat_reactors() IS 'the rows of view goes_stat_reactors';

CREATE VIEW @extschema@.goes_stat_reactors AS
    SELECT reactor, mode, owner, state, processed, failed, retried, pending, dead, lag, lag_seconds, last_error, last_error_at
    FROM goes.stat_reactors();
COMMENT ON VIEW @extschema@.goes_stat_reactors IS
    'the async and outside reactors that you may manage, with the rights of pg_monitor all: how they are, and how far behind';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.reactor IS 'qualified function, or the name of an outside reactor';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.mode IS 'async or outside';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.owner IS
    'the owner of its function, as whom it runs, or who registered an outside reactor; NULL: the function or the role is gone';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.state IS
    'off (goes_off); paused; blocked (its function is gone, or its owner cannot connect); stopped (an aggregate waits for goes_retry or goes_skip); retrying (an event has failed and is tried again); running';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.processed IS 'events it has processed';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.failed IS 'attempts that failed';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.retried IS 'attempts after a first one';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.pending IS
    'events that have failed and wait, that a program has fetched, or that are next behind one of these';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.dead IS 'events it was given up on, see goes_dead_letters';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.lag IS
    'events it has not processed, the pending ones included, but not those that wait behind a pending one of their aggregate; more than 10,000 are not counted: then the positions from its checkpoint to the horizon; NULL: unknown, as it is off or has no owner';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.lag_seconds IS
    'age of the oldest of these events; 0: there is none; NULL: unknown';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.last_error IS
    'message of the last error, without transient data; NULL: none, or you may not manage the reactor';
COMMENT ON COLUMN @extschema@.goes_stat_reactors.last_error_at IS 'when it was raised';
GRANT SELECT ON @extschema@.goes_stat_reactors TO PUBLIC;

CREATE FUNCTION goes.stat_commands()
RETURNS TABLE (command text, calls bigint, rejected bigint, failed bigint, total_time double precision, mean_time double precision)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_stat_commands';
COMMENT ON FUNCTION goes.stat_commands() IS 'the rows of view goes_stat_commands';

CREATE VIEW @extschema@.goes_stat_commands AS
    SELECT command, calls, rejected, failed, total_time, mean_time FROM goes.stat_commands();
COMMENT ON VIEW @extschema@.goes_stat_commands IS
    'the commands of types that you own, with the rights of pg_monitor all: how often they were called since the server was started, rolled back or not';
COMMENT ON COLUMN @extschema@.goes_stat_commands.command IS 'the command''s name';
COMMENT ON COLUMN @extschema@.goes_stat_commands.calls IS
    'how often it was executed, well or not; other sessions add what they did at most a second later, if they are not inside a transaction';
COMMENT ON COLUMN @extschema@.goes_stat_commands.rejected IS 'of these, how often it ended with OG001, its own or that of a command inside it';
COMMENT ON COLUMN @extschema@.goes_stat_commands.failed IS 'of these, how often it ended with another error';
COMMENT ON COLUMN @extschema@.goes_stat_commands.total_time IS 'time that all of these took, in milliseconds; that of commands inside it is included';
COMMENT ON COLUMN @extschema@.goes_stat_commands.mean_time IS 'the mean of it; NULL: there were no calls';
GRANT SELECT ON @extschema@.goes_stat_commands TO PUBLIC;

CREATE FUNCTION goes.stat_workers()
RETURNS TABLE (pid integer, type text, database name, role name, state text, reactor text, event_position bigint, since timestamptz)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_stat_workers';
COMMENT ON FUNCTION goes.stat_workers() IS 'the rows of view goes_stat_workers';

CREATE VIEW @extschema@.goes_stat_workers AS
    SELECT pid, type, database, role, state, reactor, event_position, since FROM goes.stat_workers();
COMMENT ON VIEW @extschema@.goes_stat_workers IS
    'the background workers of goes in the server, with the rights of pg_monitor all, else the runners of roles whose rights you have';
COMMENT ON COLUMN @extschema@.goes_stat_workers.pid IS 'process id; NULL: it is not there yet';
COMMENT ON COLUMN @extschema@.goes_stat_workers.type IS 'goes launcher, goes dispatcher or goes runner, as in pg_stat_activity';
COMMENT ON COLUMN @extschema@.goes_stat_workers.database IS 'the database it serves; NULL: the launcher';
COMMENT ON COLUMN @extschema@.goes_stat_workers.role IS 'the owner of the reactors that a runner runs';
COMMENT ON COLUMN @extschema@.goes_stat_workers.state IS 'starting, idle or active';
COMMENT ON COLUMN @extschema@.goes_stat_workers.reactor IS 'the reactor that a runner of this database is calling; NULL: none';
COMMENT ON COLUMN @extschema@.goes_stat_workers.event_position IS 'position of the event that it is called for';
COMMENT ON COLUMN @extschema@.goes_stat_workers.since IS 'when it was started';
GRANT SELECT ON @extschema@.goes_stat_workers TO PUBLIC;

CREATE FUNCTION goes.stat_horizon(OUT horizon bigint, OUT last_position bigint, OUT holder_pid integer, OUT held_since timestamptz)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_stat_horizon';
COMMENT ON FUNCTION goes.stat_horizon() IS 'the row of view goes_stat_horizon';

CREATE VIEW @extschema@.goes_stat_horizon AS
    SELECT horizon, last_position, holder_pid, held_since FROM goes.stat_horizon();
COMMENT ON VIEW @extschema@.goes_stat_horizon IS 'how far the horizon is, and which open transaction holds it back';
COMMENT ON COLUMN @extschema@.goes_stat_horizon.horizon IS
    'no event at or below it can still appear, or disappear; as of now, what goes_horizon() returns may be a little behind';
COMMENT ON COLUMN @extschema@.goes_stat_horizon.last_position IS 'the last position that was taken';
COMMENT ON COLUMN @extschema@.goes_stat_horizon.holder_pid IS
    'process id of the session whose open transaction has taken the lowest position; NULL: none holds the horizon back';
COMMENT ON COLUMN @extschema@.goes_stat_horizon.held_since IS 'when that transaction took its first position';
GRANT SELECT ON @extschema@.goes_stat_horizon TO PUBLIC;

CREATE FUNCTION goes.stat_dead_letters()
RETURNS TABLE (reactor text, "position" bigint, aggregate_type text, aggregate_id uuid, aggregate_version bigint, attempts integer,
    sqlstate text, error text, failed_at timestamptz)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_stat_dead_letters';
COMMENT ON FUNCTION goes.stat_dead_letters() IS 'the rows of view goes_dead_letters';

CREATE VIEW @extschema@.goes_dead_letters AS
    SELECT d.reactor, d."position", d.aggregate_type, d.aggregate_id, d.aggregate_version, d.attempts, d.sqlstate, d.error, d.failed_at
    FROM goes.stat_dead_letters() d;
COMMENT ON VIEW @extschema@.goes_dead_letters IS
    'the events that reactors which you may manage were given up on; goes_retry tries them again, goes_skip removes them';
COMMENT ON COLUMN @extschema@.goes_dead_letters.reactor IS 'qualified function, or the name of an outside reactor';
COMMENT ON COLUMN @extschema@.goes_dead_letters.position IS 'position of the event';
COMMENT ON COLUMN @extschema@.goes_dead_letters.aggregate_type IS 'its type';
COMMENT ON COLUMN @extschema@.goes_dead_letters.aggregate_id IS 'its aggregate';
COMMENT ON COLUMN @extschema@.goes_dead_letters.aggregate_version IS 'version of the aggregate after it';
COMMENT ON COLUMN @extschema@.goes_dead_letters.attempts IS 'attempts that failed';
COMMENT ON COLUMN @extschema@.goes_dead_letters.sqlstate IS 'of the last error; NULL: goes_skip gave the event up before any';
COMMENT ON COLUMN @extschema@.goes_dead_letters.error IS 'its message, without transient data';
COMMENT ON COLUMN @extschema@.goes_dead_letters.failed_at IS 'when it was raised';
GRANT SELECT ON @extschema@.goes_dead_letters TO PUBLIC;

CREATE FUNCTION goes.stat_progress_rebuild()
RETURNS TABLE (aggregate_type text, pid integer, phase text, processes integer, done bigint, total bigint, rate double precision,
    eta interval, aggregates bigint, changed bigint, part_left double precision, started_at timestamptz)
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_stat_progress_rebuild';
COMMENT ON FUNCTION goes.stat_progress_rebuild() IS 'the rows of view goes_stat_progress_rebuild';

CREATE VIEW @extschema@.goes_stat_progress_rebuild AS
    SELECT aggregate_type, pid, phase, processes, done, total, rate, eta, aggregates, changed, part_left, started_at
    FROM goes.stat_progress_rebuild();
COMMENT ON VIEW @extschema@.goes_stat_progress_rebuild IS
    'the rebuilds that run or were interrupted, of types that you own, with the rights of pg_monitor all';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.aggregate_type IS 'the type that is rebuilt';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.pid IS 'process id of the session that called goes_rebuild; NULL: it was interrupted';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.phase IS
    'what that session does: waiting for transactions (that began before the rebuild), reading events, writing rows, waiting for workers, replaying one by one (aggregates that were locked, have moved on or failed); interrupted: the next call goes on';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.processes IS 'processes at work';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.done IS 'events read by this call';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.total IS 'about how many it has to read';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.rate IS 'events a second';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.eta IS 'time that reading the rest would take at this rate';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.aggregates IS 'aggregates that are done';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.changed IS 'rows that were written';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.part_left IS 'part of the aggregates, of 1, that is not done for good: where the next call would go on if this one were interrupted';
COMMENT ON COLUMN @extschema@.goes_stat_progress_rebuild.started_at IS 'when the rebuild was started, be it by an earlier call';
GRANT SELECT ON @extschema@.goes_stat_progress_rebuild TO PUBLIC;

-- It reads the registry as its caller.
CREATE FUNCTION @extschema@.goes_dataflow(format text DEFAULT 'mermaid')
RETURNS text
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'goes_dataflow';
COMMENT ON FUNCTION @extschema@.goes_dataflow(text) IS
    'the registered model as a graph, for Mermaid or Graphviz (format dot): commands to events to calculators to aggregates, events to reactors; dashed: the build function decides';

-- ---------------------------------------------------------------------------
-- Triggers
-- ---------------------------------------------------------------------------
CREATE FUNCTION goes.guard_events()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_guard_events';
COMMENT ON FUNCTION goes.guard_events() IS 'lets only goes insert into an events table, and nobody change it (OG006)';

CREATE FUNCTION goes.guard_aggregate()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_guard_aggregate';
COMMENT ON FUNCTION goes.guard_aggregate() IS 'lets only goes write to an aggregate table (OG007)';

CREATE FUNCTION goes.react()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_react';
COMMENT ON FUNCTION goes.react() IS 'calls a sync reactor; arguments: its qualified function and the patterns it reacts to';

CREATE FUNCTION goes.registry_changed()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_registry_changed';
COMMENT ON FUNCTION goes.registry_changed() IS 'tells all sessions to read the registry again';
REVOKE EXECUTE ON FUNCTION goes.registry_changed() FROM PUBLIC;

CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON goes.aggregate_types
    FOR EACH STATEMENT EXECUTE FUNCTION goes.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON goes.event_types
    FOR EACH STATEMENT EXECUTE FUNCTION goes.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON goes.command_types
    FOR EACH STATEMENT EXECUTE FUNCTION goes.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON goes.upcasters
    FOR EACH STATEMENT EXECUTE FUNCTION goes.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON goes.reactors
    FOR EACH STATEMENT EXECUTE FUNCTION goes.registry_changed();

-- ---------------------------------------------------------------------------
-- Event triggers: drops and renames of what is registered
-- ---------------------------------------------------------------------------
CREATE FUNCTION goes.ddl_command_start()
RETURNS event_trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_ddl_command_start';
COMMENT ON FUNCTION goes.ddl_command_start() IS 'notes which functions the registry names, before one is renamed';
REVOKE EXECUTE ON FUNCTION goes.ddl_command_start() FROM PUBLIC;

CREATE FUNCTION goes.ddl_command_end()
RETURNS event_trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_ddl_command_end';
COMMENT ON FUNCTION goes.ddl_command_end() IS 'follows renames, guards new partitions and refuses to change base columns';
REVOKE EXECUTE ON FUNCTION goes.ddl_command_end() FROM PUBLIC;

CREATE FUNCTION goes.sql_drop()
RETURNS event_trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'goes_sql_drop';
COMMENT ON FUNCTION goes.sql_drop() IS 'refuses to drop what is in use, or removes its registration too';
REVOKE EXECUTE ON FUNCTION goes.sql_drop() FROM PUBLIC;

CREATE EVENT TRIGGER goes_ddl_command_start ON ddl_command_start
    WHEN TAG IN ('ALTER FUNCTION', 'ALTER ROUTINE', 'ALTER SCHEMA', 'ALTER EXTENSION')
    EXECUTE FUNCTION goes.ddl_command_start();
COMMENT ON EVENT TRIGGER goes_ddl_command_start IS 'notes which functions the registry names, before one is renamed';
CREATE EVENT TRIGGER goes_ddl_command_end ON ddl_command_end
    WHEN TAG IN ('ALTER FUNCTION', 'ALTER ROUTINE', 'ALTER SCHEMA', 'ALTER EXTENSION', 'ALTER TABLE',
        -- which make partitions
        'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA',
        -- which rename columns of tables too
        'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE')
    EXECUTE FUNCTION goes.ddl_command_end();
COMMENT ON EVENT TRIGGER goes_ddl_command_end IS 'follows renames, guards new partitions and refuses to change base columns';
CREATE EVENT TRIGGER goes_sql_drop ON sql_drop
    EXECUTE FUNCTION goes.sql_drop();
COMMENT ON EVENT TRIGGER goes_sql_drop IS 'refuses to drop what is in use, or removes its registration too';

-- The WARNING when the server does not preload goes.
CREATE FUNCTION goes.check_preload()
RETURNS void
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'goes_check_preload';
COMMENT ON FUNCTION goes.check_preload() IS 'warns if the server does not preload goes, without which nothing happens after commit';
SELECT goes.check_preload();
