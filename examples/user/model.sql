-- Users with a first name, a last name and addresses.

CREATE EXTENSION IF NOT EXISTS goes;

-- The aggregate: what a user is now. goes writes this table, everybody may query it.
CREATE TABLE users (
    LIKE goes_base_aggregate INCLUDING ALL,
    first_name text NOT NULL,
    last_name text NOT NULL,
    addresses jsonb NOT NULL DEFAULT '[]'
);

-- This creates users_events.
SELECT goes_register_aggregate('user', 'users');


-- Commands: a validate function rejects, a build function makes the event.
-- Each is a single SQL expression, so that it is inlined. Their bodies are strings:
-- a body that PostgreSQL has parsed ("RETURN ...") stands in the way of ALTER TABLE.

CREATE FUNCTION is_name(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN length(name) BETWEEN 3 AND 42;

CREATE FUNCTION validate_create_user(aggregate users, command goes_command) RETURNS void
LANGUAGE sql
AS $$
SELECT goes_require(
    is_name(command.data ->> 'first_name') AND is_name(command.data ->> 'last_name'),
    'first and last name must have 3 to 42 characters',
    detail => format('They are %L and %L.', command.data ->> 'first_name', command.data ->> 'last_name'),
    reason => 'name_length')
$$;

CREATE FUNCTION create_user(aggregate users, command goes_command) RETURNS goes_event_data
LANGUAGE sql
AS $$
SELECT goes_event_data('created', jsonb_build_object(
    'first_name', command.data -> 'first_name',
    'last_name', command.data -> 'last_name',
    'addresses', coalesce(command.data -> 'addresses', '[]')))
$$;

CREATE FUNCTION validate_update_first_name(aggregate users, command goes_command) RETURNS void
LANGUAGE sql
AS $$
SELECT goes_require(
    is_name(command.data ->> 'first_name'),
    'a first name must have 3 to 42 characters',
    detail => format('It is %L.', command.data ->> 'first_name'),
    reason => 'name_length')
$$;

-- NULL if the user has that name already: nothing happens then.
CREATE FUNCTION update_first_name(aggregate users, command goes_command) RETURNS goes_event_data
LANGUAGE sql
AS $$
SELECT CASE WHEN command.data ->> 'first_name' <> aggregate.first_name
    THEN goes_event_data('first_name_updated', jsonb_build_object('first_name', command.data -> 'first_name'))
END
$$;


-- Calculators: the next state, from the state and an event.

CREATE FUNCTION user_created(aggregate users, event goes_event) RETURNS users
LANGUAGE sql
AS $$
SELECT jsonb_populate_record(aggregate, event.data)
$$;

SELECT goes_register_event('user', 'created', 1, calculator => 'user_created');

-- The built-in calculator goes_merge would have done for both.
SELECT goes_register_event('user', 'first_name_updated', 1);

SELECT goes_register_command('user', 'create',
    validate => 'validate_create_user', build => 'create_user', target => 'new');
SELECT goes_register_command('user', 'update_first_name',
    validate => 'validate_update_first_name', build => 'update_first_name');


-- Reactors. A sync one runs in the command's transaction.

CREATE TABLE audit (
    event_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    action text NOT NULL,
    request_id text,
    recorded_at timestamptz NOT NULL
);

CREATE FUNCTION audit_user(event goes_event) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO audit
    VALUES (event.id, event.aggregate_id, event.action, event.metadata ->> 'request_id', event.recorded_at);
END;

SELECT goes_on('{user.*}', sync => '{audit_user}');

-- An async one runs after the commit, in a background worker.

CREATE TABLE greetings (
    user_id uuid NOT NULL,
    greeting text NOT NULL
);

CREATE FUNCTION say_hello(event goes_event) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO greetings
    VALUES (event.aggregate_id, format('Hello %s!', event.data ->> 'first_name'));
END;

SELECT goes_on('{user.created}', async => '{say_hello}');
