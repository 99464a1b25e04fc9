-- The model's functions in PL/pgSQL, for schema :v
SET search_path = :"v", public;
CREATE FUNCTION valid_deposit(aggregate accounts, command goes_command) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (command.data ->> 'amount')::bigint <= 0 THEN
        PERFORM goes_reject('an amount must be positive', detail => format('It is %s.', command.data ->> 'amount'), reason => 'amount');
    END IF;
END $$;
CREATE FUNCTION build_deposit(aggregate accounts, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql AS $$
BEGIN
    RETURN goes_event_data('deposited', command.data);
END $$;
CREATE FUNCTION deposited(aggregate accounts, event goes_event) RETURNS accounts LANGUAGE plpgsql AS $$
BEGIN
    aggregate.amount := (event.data ->> 'amount')::bigint;
    aggregate.balance := aggregate.balance + aggregate.amount;
    aggregate.note := event.data ->> 'note';
    RETURN aggregate;
END $$;
