-- One million events (or :events) of :n accounts of type "past", without commands
SET search_path = past, public;
SET session_replication_role = replica;
INSERT INTO accounts_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
SELECT nextval('goes.position'), goes_uuidv7(), account((i - 1) % :n + 1), (i - 1) / :n + 2, 'deposited', 1,
    jsonb_build_object('amount', i % 97 + 1), '{}', false, now()
FROM generate_series(1, :events) i;
RESET session_replication_role;
VACUUM ANALYZE accounts_events;
CALL goes_rebuild('past');
-- What one would write by hand: the accounts are right already
CREATE TABLE copies AS SELECT * FROM accounts;
ALTER TABLE copies ADD PRIMARY KEY (id);
VACUUM ANALYZE copies;
-- With an aggregate, by hand
CREATE FUNCTION applied(account accounts, event accounts_events) RETURNS accounts LANGUAGE plpgsql AS $$
BEGIN
    account.version := event.aggregate_version;
    account.updated_at := event.recorded_at;
    account.amount := (event.data ->> 'amount')::bigint;
    account.balance := coalesce(account.balance, 0) + coalesce(account.amount, 0);
    RETURN account;
END $$;
CREATE AGGREGATE folded(accounts_events) (SFUNC = applied, STYPE = accounts);
SELECT max(position) AS last_position FROM accounts_events \gset
-- events of one aggregate
INSERT INTO documents SELECT -1000 - i, jsonb_build_object('command', 'past.deposit', 'aggregate_id', account(1), 'data', '{"amount": 1}'::jsonb)
FROM generate_series(1, 1000) i;
SELECT count(*) FROM goes_execute_many((SELECT jsonb_agg(doc) FROM documents WHERE i < -1000));
-- for goes_import, in the order they happened
CREATE TABLE chunks AS
SELECT size, n / size AS n, jsonb_agg(jsonb_build_object('aggregate_id', aggregate_id, 'action', action, 'event_version', 1, 'data', data,
    'metadata', metadata, 'recorded_at', recorded_at) ORDER BY position) AS chunk
FROM (SELECT *, row_number() OVER (ORDER BY position) - 1 AS n FROM accounts_events WHERE position <= :last_position) e, (VALUES (10000), (100000)) sizes (size)
GROUP BY 1, 2;
VACUUM ANALYZE chunks;
