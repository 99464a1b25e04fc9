-- Schema :v with a table of accounts, its events and ready-made commands. With
-- :n accounts; documents -200 to -1 have a payload of 64 kB.
CREATE SCHEMA :"v";
SET search_path = :"v", public;
CREATE TABLE accounts (
    LIKE goes_base_aggregate INCLUDING ALL,
    balance bigint NOT NULL DEFAULT 0,
    amount bigint,
    note text
);
CREATE FUNCTION account(i integer) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('0190b2a5-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid;
CREATE TABLE documents (i integer PRIMARY KEY, doc jsonb NOT NULL);
INSERT INTO documents
SELECT i, jsonb_build_object('command', :'v' || '.deposit', 'aggregate_id', account((i - 1) % :n + 1), 'data', jsonb_build_object('amount', i % 97 + 1))
FROM generate_series(1, 2 * :n) i;
INSERT INTO documents
SELECT i, jsonb_build_object('command', :'v' || '.deposit', 'aggregate_id', account(-i), 'data', jsonb_build_object('amount', -i,
    'note', (SELECT string_agg(md5(i::text || n), '') FROM generate_series(1, 2048) n)))
FROM generate_series(-200, -1) i;
VACUUM ANALYZE documents;
-- A sync reactor
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
