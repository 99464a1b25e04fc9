-- The model's functions in SQL, for schema :v
SET search_path = :"v", public;
CREATE FUNCTION valid_deposit(aggregate accounts, command goes_command) RETURNS void LANGUAGE sql
RETURN goes_require((command.data ->> 'amount')::bigint > 0, 'an amount must be positive',
    detail => format('It is %s.', command.data ->> 'amount'), reason => 'amount');
CREATE FUNCTION build_deposit(aggregate accounts, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('deposited', command.data);
CREATE FUNCTION deposited(aggregate accounts, event goes_event) RETURNS accounts LANGUAGE sql
RETURN ROW(aggregate.id, aggregate.version, aggregate.created_at, aggregate.updated_at, aggregate.deleted_at,
    aggregate.balance + (event.data ->> 'amount')::bigint, (event.data ->> 'amount')::bigint, event.data ->> 'note')::accounts;
