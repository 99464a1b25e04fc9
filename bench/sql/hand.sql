-- A function for this one command, as one would write it by hand
SET search_path = hand, public;
CREATE TRIGGER noop AFTER INSERT ON accounts_events FOR EACH ROW EXECUTE FUNCTION noop();
CREATE FUNCTION deposit(command jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    account hand.accounts;
    event hand.accounts_events;
BEGIN
    SELECT * INTO account FROM hand.accounts WHERE id = (command ->> 'aggregate_id')::uuid FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE 'there is no account %', command ->> 'aggregate_id';
    END IF;
    IF (command -> 'data' ->> 'amount')::bigint <= 0 THEN
        RAISE 'an amount must be positive' USING DETAIL = format('It is %s.', command -> 'data' ->> 'amount');
    END IF;
    account.version := account.version + 1;
    account.updated_at := clock_timestamp();
    account.amount := (command -> 'data' ->> 'amount')::bigint;
    account.balance := account.balance + account.amount;
    account.note := command -> 'data' ->> 'note';
    INSERT INTO hand.accounts_events VALUES (nextval('hand.positions'), gen_random_uuid(), account.id, account.version,
        'deposited', 1, command -> 'data', coalesce(command -> 'metadata', '{}'), NULL, false, account.updated_at) RETURNING * INTO event;
    UPDATE hand.accounts SET version = account.version, updated_at = account.updated_at, amount = account.amount,
        balance = account.balance, note = account.note WHERE id = account.id;
    RETURN to_jsonb(event);
END $$;
