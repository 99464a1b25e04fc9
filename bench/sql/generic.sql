-- Any command of any type: what is registered in tables, executed dynamically
SET search_path = generic, public;
CREATE TRIGGER noop AFTER INSERT ON accounts_events FOR EACH ROW EXECUTE FUNCTION noop();
CREATE TABLE commands (command text PRIMARY KEY, relation regclass, events regclass, validate text, build text);
CREATE TABLE events (relation regclass, action text, calculate text, PRIMARY KEY (relation, action));
CREATE FUNCTION valid_deposit(aggregate jsonb, command jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (command -> 'data' ->> 'amount')::bigint <= 0 THEN
        RAISE 'an amount must be positive' USING DETAIL = format('It is %s.', command -> 'data' ->> 'amount');
    END IF;
END $$;
CREATE FUNCTION build_deposit(aggregate jsonb, command jsonb) RETURNS jsonb LANGUAGE sql
RETURN jsonb_build_object('action', 'deposited', 'data', command -> 'data');
CREATE FUNCTION deposited(aggregate jsonb, event jsonb) RETURNS jsonb LANGUAGE sql
RETURN aggregate || jsonb_build_object('balance', (aggregate ->> 'balance')::bigint + (event -> 'data' ->> 'amount')::bigint,
    'amount', event -> 'data' -> 'amount', 'note', event -> 'data' -> 'note');
INSERT INTO commands VALUES ('generic.deposit', 'accounts', 'accounts_events', 'generic.valid_deposit', 'generic.build_deposit');
INSERT INTO events VALUES ('accounts', 'deposited', 'generic.deposited');
CREATE FUNCTION execute(document jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    registered generic.commands;
    calculator text;
    aggregate jsonb;
    event jsonb;
    columns text;
BEGIN
    SELECT * INTO STRICT registered FROM generic.commands WHERE command = document ->> 'command';
    EXECUTE format('SELECT to_jsonb(t) FROM %s t WHERE id = $1 FOR NO KEY UPDATE', registered.relation)
        INTO STRICT aggregate USING (document ->> 'aggregate_id')::uuid;
    EXECUTE format('SELECT %s($1, $2)', registered.validate) USING aggregate, document;
    EXECUTE format('SELECT %s($1, $2)', registered.build) INTO event USING aggregate, document;
    event := event || jsonb_build_object('position', nextval('generic.positions'), 'id', gen_random_uuid(),
        'aggregate_id', aggregate -> 'id', 'aggregate_version', (aggregate ->> 'version')::bigint + 1, 'event_version', 1,
        'metadata', coalesce(document -> 'metadata', '{}'), 'imported', false, 'recorded_at', clock_timestamp());
    SELECT calculate INTO STRICT calculator FROM generic.events e WHERE e.relation = registered.relation AND action = event ->> 'action';
    EXECUTE format('SELECT %s($1, $2)', calculator) INTO aggregate USING aggregate, event;
    aggregate := aggregate || jsonb_build_object('version', event -> 'aggregate_version', 'updated_at', event -> 'recorded_at');
    EXECUTE format('INSERT INTO %s SELECT * FROM jsonb_populate_record(NULL::%1$s, $1)', registered.events) USING event;
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute WHERE attrelid = registered.relation AND attnum > 0 AND NOT attisdropped;
    EXECUTE format('UPDATE %s t SET (%s) = (SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $1)) WHERE t.id = $2', registered.relation, columns)
        USING aggregate, (document ->> 'aggregate_id')::uuid;
    RETURN event;
END $$;
