-- Users who forget their passwords. The token that goes into the mail is never stored: the event has its hash, the
-- mailer gets the token as transient data. Run it in a database of a server that preloads goes.

CREATE EXTENSION IF NOT EXISTS goes;

CREATE TABLE users (
    LIKE goes_base_aggregate INCLUDING ALL,
    email text NOT NULL UNIQUE,
    password_hash text,
    reset_token_hash text,
    reset_expires_at timestamptz
);

SELECT goes_register_aggregate('user', 'users');

-- goes_merge calculates all of them: each key of an event's data goes to the column of that name.
SELECT goes_register_event('user', 'registered'),
    goes_register_event('user', 'password_reset_requested'),
    goes_register_event('user', 'password_reset');

CREATE FUNCTION hash_token(token text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
RETURN encode(sha256(convert_to(token, 'UTF8')), 'hex');

-- A token is a random UUID: 122 bits of the server's strong random numbers.
CREATE FUNCTION request_password_reset(aggregate users, command goes_command) RETURNS goes_event_data
LANGUAGE plpgsql
AS $$
DECLARE
    token text = gen_random_uuid();
BEGIN
    RETURN goes_event_data('password_reset_requested',
        jsonb_build_object('email', aggregate.email, 'reset_token_hash', hash_token(token),
            'reset_expires_at', clock_timestamp() + interval '1 hour'),
        transient => jsonb_build_object('token', token));
END
$$;

-- The token of that hash was lost before it was mailed. A new one, unless nobody needs it any more: it has expired, was
-- used, or another one was requested. Then nothing happens, so it does not matter how often this is executed.
CREATE FUNCTION replace_reset_token(aggregate users, command goes_command) RETURNS goes_event_data
LANGUAGE plpgsql
AS $$
BEGIN
    IF aggregate.reset_token_hash = command.data ->> 'reset_token_hash' AND aggregate.reset_expires_at > clock_timestamp() THEN
        RETURN request_password_reset(aggregate, command);
    END IF;
    RETURN NULL;
END
$$;

-- The command's data has the token; the event's has not.
CREATE FUNCTION reset_password(aggregate users, command goes_command) RETURNS goes_event_data
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM goes_require(
        aggregate.reset_token_hash = hash_token(command.data ->> 'token') AND aggregate.reset_expires_at > clock_timestamp(),
        'the token is not valid', reason => 'token');
    RETURN goes_event_data('password_reset',
        jsonb_build_object('password_hash', command.data -> 'password_hash', 'reset_token_hash', NULL, 'reset_expires_at', NULL));
END
$$;

SELECT goes_register_command('user', 'register', event => 'registered', target => 'new'),
    goes_register_command('user', 'request_password_reset', 'request_password_reset'),
    goes_register_command('user', 'replace_reset_token', 'replace_reset_token'),
    goes_register_command('user', 'reset_password', 'reset_password');

SELECT goes_on('{user.password_reset_requested}', outside => '{mailer}');
