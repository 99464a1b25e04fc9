-- goes_execute_many: several commands, in order, all or nothing.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user
CREATE TABLE accounts (LIKE goes_base_aggregate INCLUDING ALL, balance integer NOT NULL DEFAULT 0 CHECK (balance >= 0));
CREATE FUNCTION account_moved(aggregate accounts, event goes_event) RETURNS accounts LANGUAGE plpgsql AS $$
BEGIN
    aggregate.balance := aggregate.balance + (event.data ->> 'amount')::integer;
    RETURN aggregate;
END $$;
CREATE FUNCTION move(aggregate accounts, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN CASE WHEN command.data ->> 'amount' <> '0' THEN goes_event_data('moved', command.data) END;
SELECT goes_register_aggregate('account', 'accounts');
SELECT goes_register_event('account', 'moved', 1, 'account_moved');
SELECT goes_register_command('account', 'move', 'move', target => 'any');

-- One row for each command, in their order; commands see what the ones before did.
SELECT shown(e) FROM goes_execute_many('[
    {"command": "user.create", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "Second", "last_name": "User"}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 5}},
    {"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "Other"}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": -3}, "expected_version": 1},
    {"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "Third"}}
]') e;
SELECT version, balance FROM accounts;
SELECT version, first_name FROM users;

-- NULL where nothing happened
SELECT row_number() OVER () AS command, e -> 'action' AS action FROM goes_execute_many('[
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 0}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 0}}
]') e;

-- No commands: no rows.
SELECT * FROM goes_execute_many('[]');

-- In the select list too.
SELECT shown(goes_execute_many('[{"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}}]'));

-- All events have one time, which is not before that of any of the aggregates.
SELECT count(*), count(DISTINCT e -> 'recorded_at') FROM goes_execute_many((SELECT jsonb_agg(jsonb_build_object(
    'command', 'account.move', 'aggregate_id', id(1 + n % 3), 'data', jsonb_build_object('amount', n))) FROM generate_series(1, 20) n)) e;
BEGIN;
SET LOCAL goes.allow_direct_writes = on;
UPDATE accounts SET updated_at = now() + '1 day' WHERE id = id(2);
SELECT bool_and((e ->> 'recorded_at')::timestamptz = now() + '1 day') AS never_earlier FROM goes_execute_many('[
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"amount": 1}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000009", "data": {"amount": 1}},
    {"command": "account.move", "data": {"amount": 1}}
]') e;
ROLLBACK;

-- All or nothing; the error says which command it was. Nothing runs before all
-- documents are read.
SELECT sum(version) AS version, sum(balance) AS balance, (SELECT count(*) FROM accounts_events) AS events FROM accounts;
CALL fails($$SELECT goes_execute_many('[
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 100}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"amount": -1000}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000003", "data": {"amount": 100}}
]')$$);
CALL fails($$SELECT goes_execute_many('[
    {"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "Fourth"}},
    {"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "F."}}
]')$$);
CALL fails($$SELECT goes_execute_many('[
    {"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "F."}},
    {"command": "user.no"}
]')$$);
CALL fails($$SELECT goes_execute_many('[
    {"command": "user.update_first_name", "aggregate_id": "00000000-0000-0000-0000-000000000002", "data": {"first_name": "F."}},
    {"command": "user.no"},
    {"command": "user.no", "aggregate": 1}
]')$$);
SELECT sum(version) AS version, sum(balance) AS balance, (SELECT count(*) FROM accounts_events) AS events FROM accounts;

-- As statement of a transaction that goes on
BEGIN;
SAVEPOINT a;
SELECT goes_execute_many('[
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}, "expected_version": 2}]');
ROLLBACK TO a;
SELECT count(*) FROM goes_execute_many('[
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}}]');
COMMIT;
SELECT sum(version) AS version, sum(balance) AS balance, (SELECT count(*) FROM accounts_events) AS events FROM accounts;

-- What is no array of commands
CALL fails($$SELECT goes_execute_many(NULL)$$);
CALL fails($$SELECT goes_execute_many('{"command": "account.move"}')$$);
CALL fails($$SELECT goes_execute_many('"account.move"')$$);
CALL fails($$SELECT goes_execute_many('null')$$);
CALL fails($$SELECT goes_execute_many('[null]')$$);
CALL fails($$SELECT goes_execute_many('[{"command": "account.move", "data": {"amount": 1}}, "account.move"]')$$);
CALL fails($$SELECT goes_execute_many('[[{"command": "account.move"}]]')$$);
CALL fails($$SELECT goes_execute_many('[{"command": "account.move", "data": {"amount": 1}}, {}]')$$);

-- Nested: a reactor executes commands with goes_execute_many and is executed by
-- it. All events have one time.
CREATE FUNCTION share(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (event.data ->> 'share')::boolean THEN
        PERFORM goes_execute_many(jsonb_build_array(
            jsonb_build_object('command', 'account.move', 'aggregate_id', id(21), 'data', '{"amount": 1}'::jsonb),
            jsonb_build_object('command', 'account.move', 'aggregate_id', id(22), 'data', '{"amount": 1}'::jsonb)));
    END IF;
END $$;
SELECT goes_on('{account}', sync => '{share}');
SELECT row_number() OVER () AS command, e -> 'aggregate_version' AS version FROM goes_execute_many('[
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000020", "data": {"amount": 2, "share": true}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000021", "data": {"amount": -1}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000020", "data": {"amount": 2, "share": true}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000022", "data": {"amount": -2}}
]') e;
SELECT aggregate_id, aggregate_version, data -> 'amount' AS amount, metadata ? 'causation_id' AS caused
FROM accounts_events WHERE aggregate_id >= id(20) ORDER BY position;
SELECT count(DISTINCT recorded_at) AS times FROM accounts_events WHERE aggregate_id >= id(20);
CALL fails($$SELECT goes_execute_many('[
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000021", "data": {"amount": 1}},
    {"command": "account.move", "aggregate_id": "00000000-0000-0000-0000-000000000022", "data": {"amount": -100, "share": true}}]')$$);
SELECT goes_off('share');

-- Many commands in one call.
SELECT count(*), max((e ->> 'aggregate_version')::bigint) FROM goes_execute_many((SELECT jsonb_agg(jsonb_build_object(
    'command', 'account.move', 'aggregate_id', id(100 + n % 10), 'data', '{"amount": 1}'::jsonb)) FROM generate_series(1, 2000) n)) e;
SELECT count(*), sum(version) AS version, sum(balance) AS balance FROM accounts WHERE id >= id(100);

\i :end
