-- The warning depends on whether the server preloads goes.
SET client_min_messages = error;
CREATE EXTENSION goes;
RESET client_min_messages;

CREATE TABLE accounts (LIKE goes_base_aggregate INCLUDING ALL, balance bigint NOT NULL);
SELECT goes_register_aggregate('account', 'accounts');

-- The library comes after goes ...
LOAD 'c_calculator';
SELECT goes_register_event('account', 'opened', calculator => 'c:account_opened');
SELECT goes_register_event('account', 'deposited', calculator => 'c:account_deposited');
SELECT goes_register_command('account', 'open', event => 'opened', target => 'new');
SELECT goes_register_command('account', 'deposit', event => 'deposited');
\set id '00000000-0000-7000-8000-000000000001'
SELECT balance, version FROM goes_execute(NULL::accounts,
    jsonb_build_object('command', 'account.open', 'aggregate_id', :'id', 'data', '{"amount": 10}'::jsonb));
SELECT balance, version FROM goes_execute(NULL::accounts,
    jsonb_build_object('command', 'account.deposit', 'aggregate_id', :'id', 'data', '{"amount": 32}'::jsonb));

-- ... or before it, if the server does not preload goes.
\c -
LOAD 'c_calculator';
SELECT balance, version FROM goes_execute(NULL::accounts,
    jsonb_build_object('command', 'account.deposit', 'aggregate_id', :'id', 'data', '{"amount": 100}'::jsonb));

-- Without it there is an error.
\c -
SELECT goes_do('account.deposit', :'id', '{"amount": 1}');

-- It may come with every session.
SELECT current_database() AS database \gset
ALTER DATABASE :"database" SET session_preload_libraries = 'c_calculator';
\c -
SELECT balance, version FROM goes_execute(NULL::accounts,
    jsonb_build_object('command', 'account.deposit', 'aggregate_id', :'id', 'data', '{"amount": 1000}'::jsonb));

-- A calculator's error fails the command.
SELECT goes_do('account.deposit', :'id');
SELECT goes_do('account.deposit', :'id', '{"amount": "1"}');
SELECT goes_do('account.deposit', :'id', '{"amount": 9223372036854775807}');
SELECT goes_do('account.deposit', :'id', '{"amount": 1e30}');
SELECT balance, version FROM accounts;
SELECT aggregate_version, action, data FROM accounts_events ORDER BY position;

-- Beside other columns
ALTER TABLE accounts ADD COLUMN note text DEFAULT 'none', ADD COLUMN twice bigint GENERATED ALWAYS AS (balance * 2) STORED;
SELECT balance, note, twice, version FROM goes_execute(NULL::accounts,
    jsonb_build_object('command', 'account.deposit', 'aggregate_id', :'id', 'data', '{"amount": 10000}'::jsonb));
