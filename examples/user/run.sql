-- Commands and queries of the user model; run model.sql first.
\set ON_ERROR_STOP on
\set ECHO queries

\echo '\n-- Create a user. The command returns its event.\n'
SELECT jsonb_pretty(goes_execute('{
    "command": "user.create",
    "data": {
        "first_name": "Ada",
        "last_name": "Lovelace",
        "addresses": [{"street": "12 St James''s Square", "city": "London"}]
    },
    "metadata": {"request_id": "my_request_id"}
}')) AS event;

\echo '\n-- The aggregate, an ordinary table:\n'
SELECT id, version, first_name, last_name, addresses FROM users;
\set ECHO none
SELECT id AS user_id FROM users WHERE last_name = 'Lovelace' \gset
\set ECHO queries

\echo '\n-- Change the first name. Called like this, the command returns the user as it is then.\n'
SELECT id, version, first_name, last_name FROM goes_execute(NULL::users, jsonb_build_object(
    'command', 'user.update_first_name',
    'aggregate_id', :'user_id',
    'data', '{"first_name": "Augusta"}'::jsonb,
    'metadata', '{"request_id": "my_request_id"}'::jsonb));

\echo '\n-- The same with arguments, and with the name that she has already: no event.\n'
SELECT goes_do('user.update_first_name', :'user_id', '{"first_name": "Augusta"}') IS NULL AS nothing_happened;

\echo '\n-- Two errors: a name that is too short, and a write that is not a command.\n'
\set ON_ERROR_STOP off
SELECT goes_do('user.update_first_name', :'user_id', '{"first_name": "Al"}');
UPDATE users SET first_name = 'Al';
\set ON_ERROR_STOP on

\echo '\n-- The events, an ordinary table too:\n'
SELECT position, aggregate_version AS version, action, event_version, data, metadata
FROM users_events
WHERE aggregate_id = :'user_id'
ORDER BY aggregate_version;

\echo '\n-- The sync reactor audit_user wrote these rows, in the transactions of the commands:\n'
SELECT action, user_id, request_id FROM audit ORDER BY recorded_at;

\set ECHO none
SELECT current_setting('shared_preload_libraries') ~ '\mgoes\M' AS preloaded \gset
\set ECHO queries
\if :preloaded
\echo '\n-- The async reactor say_hello runs after the commit, in a background worker. goes_wait waits until it has.\n'
SELECT goes_wait();
SELECT greeting FROM greetings;
SELECT reactor, state, processed, failed, lag FROM goes_stat_reactors;

\echo '\n-- All events of all types, in order, up to the horizon: what a program reads that remembers its last position.\n'
SELECT position, aggregate_type, action, aggregate_version AS version FROM goes_events('{*}', after => 0);
\else
\echo '\n-- The server does not preload goes, so async reactors wait.\n'
\endif
