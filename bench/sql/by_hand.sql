-- The same command without goes, in schema :v: the tables. The floor is the bare
-- statement; "hand" and "generic" are functions.
SET search_path = :"v", public;
CREATE TABLE accounts_events (
    position bigint PRIMARY KEY,
    id uuid NOT NULL,
    aggregate_id uuid NOT NULL,
    aggregate_version bigint NOT NULL,
    action text NOT NULL,
    event_version integer NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    command_id uuid,
    imported boolean NOT NULL,
    recorded_at timestamptz NOT NULL,
    UNIQUE (aggregate_id, aggregate_version)
);
CREATE SEQUENCE positions;
INSERT INTO accounts (id, version, created_at, updated_at) SELECT account(i), 1, now(), now() FROM generate_series(1, :n) i;
INSERT INTO accounts_events
SELECT nextval('positions'), gen_random_uuid(), id, 1, 'opened', 1, '{}', '{}', NULL, false, now() FROM accounts;
VACUUM ANALYZE accounts, accounts_events;
