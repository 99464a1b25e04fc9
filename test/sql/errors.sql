-- Every SQLSTATE of goes, with its message, DETAIL, HINT, table and reason.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user
SELECT goes_do('user.create', id(1), '{"first_name": "Thomas", "last_name": "Ricardo"}') -> 'aggregate_version' AS version;

--
-- OG001: rejected by goes_reject or goes_require
--

CREATE FUNCTION reject(aggregate users, command goes_command) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_reject(command.data ->> 'message', command.data ->> 'detail', command.data ->> 'hint', command.data ->> 'reason');
END $$;
SELECT goes_register_command('user', 'reject', validate => 'reject', event => 'created');
CALL fails($$SELECT goes_do('user.reject', id(1), '{"message": "no", "detail": "It is not good.", "hint": "Try another.", "reason": "not_good"}')$$);
CALL fails($$SELECT goes_do('user.reject', id(1), '{"message": "100 % \"no\" %s"}')$$);
CALL fails($$SELECT goes_do('user.reject', id(1), '{"reason": "only a reason"}')$$);
CALL fails($$SELECT goes_do('user.reject', id(1))$$);
CREATE FUNCTION require(aggregate users, command goes_command) RETURNS void LANGUAGE sql
RETURN goes_require((command.data ->> 'condition')::boolean, 'required', 'The detail.', 'The hint.', 'the_reason');
SELECT goes_register_command('user', 'require', validate => 'require', event => 'first_name_updated');
CALL fails($$SELECT goes_do('user.require', id(1), '{"condition": false}')$$);
-- unknown is not true
CALL fails($$SELECT goes_do('user.require', id(1), '{"condition": null}')$$);
SELECT goes_do('user.require', id(1), '{"condition": true}') -> 'aggregate_version' AS version;
-- outside of commands too, without a table
CALL fails($$SELECT goes_reject('no', reason => 'why')$$);
CALL fails($$SELECT goes_reject(NULL)$$);
CALL fails($$SELECT goes_require(false, 'no')$$);
CALL fails($$SELECT goes_require(NULL, NULL)$$);
SELECT goes_require(true, 'no');
-- in a build function, a calculator and a reactor
CREATE FUNCTION build_or_reject(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql
AS $$SELECT goes_require(false, 'build says no'); SELECT goes_event_data('created', '{}')$$;
CREATE FUNCTION calculate_or_reject(aggregate users, event goes_event) RETURNS users LANGUAGE sql
AS $$SELECT goes_reject('calculator says no'); SELECT aggregate$$;
CREATE FUNCTION react_or_reject(event goes_event) RETURNS void LANGUAGE sql
AS $$SELECT goes_reject('reactor says no')$$;
SELECT goes_register_event('user', 'calculated', calculator => 'calculate_or_reject'), goes_register_event('user', 'reacted', calculator => NULL);
SELECT goes_register_command('user', 'build', 'build_or_reject'), goes_register_command('user', 'calculate', event => 'calculated'),
    goes_register_command('user', 'react', event => 'reacted');
SELECT goes_on('{user.reacted}', sync => '{react_or_reject}');
CALL fails($$SELECT goes_do('user.build', id(1))$$);
CALL fails($$SELECT goes_do('user.calculate', id(1))$$);
CALL fails($$SELECT goes_do('user.react', id(1))$$);
-- a plain RAISE passes through untouched
CREATE FUNCTION raise(aggregate users, command goes_command) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'plain' USING ERRCODE = 'UE001', DETAIL = 'The detail.', HINT = 'The hint.', CONSTRAINT = 'the_constraint', TABLE = 'the_table', SCHEMA = 'the_schema';
END $$;
SELECT goes_register_command('user', 'raise', validate => 'raise', event => 'created');
CALL fails($$SELECT goes_do('user.raise', id(1))$$);

--
-- OG002: expected_version does not match, or the aggregate moved
--

CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Other"}', expected_version => 7)$$);
CREATE FUNCTION move(aggregate users, command goes_command) RETURNS void LANGUAGE sql
AS $$SELECT goes_do('user.update_first_name', command.aggregate_id, '{"first_name": "Moved"}')$$;
SELECT goes_register_command('user', 'move', validate => 'move', event => 'created');
CALL fails($$SELECT goes_do('user.move', id(1))$$);
-- by something else than a command, where the owner writes himself
CREATE FUNCTION move_directly(aggregate users, command goes_command) RETURNS void LANGUAGE sql
AS $$UPDATE users SET version = version + 5 WHERE id = command.aggregate_id$$;
SELECT goes_register_command('user', 'move', validate => 'move_directly', event => 'created');
SET goes.allow_direct_writes = on;
CALL fails($$SELECT goes_do('user.move', id(1))$$);
RESET goes.allow_direct_writes;

--
-- OG003, OG004, OG005: not found, exists already, is deleted
--

CALL fails($$SELECT goes_do('user.update_first_name', id(2), '{"first_name": "Other"}')$$);
CALL fails($$SELECT goes_do('user.create', id(1), '{"first_name": "Other", "last_name": "Other"}')$$);
CREATE FUNCTION deleted(aggregate users, event goes_event) RETURNS users LANGUAGE plpgsql AS
$$BEGIN aggregate.deleted_at := event.recorded_at; RETURN aggregate; END$$;
SELECT goes_register_event('user', 'deleted', 1, 'deleted');
SELECT goes_register_command('user', 'delete', event => 'deleted', target => 'any');
SELECT goes_do('user.create', id(3), '{"first_name": "Third", "last_name": "User"}') -> 'aggregate_version' AS version;
SELECT goes_do('user.delete', id(3)) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('user.update_first_name', id(3), '{"first_name": "Other"}')$$);
CALL fails($$SELECT goes_do('user.delete', id(3))$$);

--
-- OG006, OG007: writes past goes
--

CALL fails($$INSERT INTO users_events SELECT * FROM users_events$$);
CALL fails($$UPDATE users_events SET action = 'x'$$);
CALL fails($$DELETE FROM users_events$$);
CALL fails($$TRUNCATE users_events$$);
CALL fails($$INSERT INTO users VALUES (id(4), 1, now(), now(), NULL, 'Fourth', 'User')$$);
CALL fails($$UPDATE users SET first_name = 'x'$$);
CALL fails($$DELETE FROM users$$);
CALL fails($$TRUNCATE users$$);

--
-- OG008: unknown aggregate type, command, event or reactor
--

CALL fails($$SELECT goes_do('nothing.create')$$);
CALL fails($$SELECT goes_do('create')$$);
CALL fails($$SELECT goes_do('user.unknown', id(1))$$);
CALL fails($$SELECT goes_register_event('nothing', 'created')$$);
CALL fails($$SELECT goes_register_command('nothing', 'create', event => 'created')$$);
CALL fails($$SELECT goes_register_command('user', 'new', event => 'unknown')$$);
CALL fails($$SELECT goes_unregister_aggregate('nothing')$$);
CALL fails($$SELECT goes_unregister_event('user', 'created', 2)$$);
CALL fails($$SELECT goes_unregister_event('user', 'unknown', 1)$$);
CALL fails($$SELECT goes_unregister_command('user', 'unknown')$$);
CALL fails($$SELECT goes_on('{nothing}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.unknown}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_on('{user.created.2}', sync => '{audit_user}')$$);
CALL fails($$SELECT goes_off('nothing')$$);

--
-- OG009: nested too deep
--

CREATE FUNCTION again(event goes_event) RETURNS void LANGUAGE sql
AS $$SELECT goes_do('user.require', event.aggregate_id, '{"condition": true}')$$;
SELECT goes_on('{user.first_name_updated}', sync => '{again}');
SET goes.max_nesting = 2;
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Other"}')$$);
RESET goes.max_nesting;
SELECT goes_off('again');

--
-- OG010: command id used for something else
--

SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Other"}', command_id => id(10)) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('user.create', id(1), command_id => id(10))$$);
CALL fails($$SELECT goes_do('user.update_first_name', id(2), command_id => id(10))$$);

--
-- OG011: an event or state that goes cannot apply
--

CREATE FUNCTION build(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data(command.data ->> 'action', command.data, (command.data ->> 'version')::integer);
SELECT goes_register_command('user', 'built', 'build');
CALL fails($$SELECT goes_do('user.built', id(1), '{"action": "unknown"}')$$);
CALL fails($$SELECT goes_do('user.built', id(1), '{"action": "created", "version": 2}')$$);
CALL fails($$SELECT goes_do('user.built', id(1), '{"action": null}')$$);
CREATE FUNCTION calculate_null(aggregate users, event goes_event) RETURNS users LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
SELECT goes_register_event('user', 'nulled', 1, 'calculate_null');
CALL fails($$SELECT goes_do('user.built', id(1), '{"action": "nulled"}')$$);
CREATE FUNCTION build_array(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('first_name_updated', '["no object"]');
SELECT goes_register_command('user', 'build_array', 'build_array');
CALL fails($$SELECT goes_do('user.build_array', id(1))$$);
-- a trigger that changes or suppresses what goes writes
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_ARGV[0] = 'suppress' THEN
        RETURN NULL;
    ELSIF TG_TABLE_NAME = 'users' THEN
        NEW.last_name := 'Meddler';
    ELSE
        NEW.action := 'meddled';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION meddle('change');
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Another"}')$$);
CALL fails($$SELECT goes_do('user.create', id(5), '{"first_name": "Fifth", "last_name": "User"}')$$);
CREATE OR REPLACE TRIGGER meddle BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION meddle('suppress');
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Another"}')$$);
CALL fails($$SELECT goes_do('user.create', id(5), '{"first_name": "Fifth", "last_name": "User"}')$$);
DROP TRIGGER meddle ON users;
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON users_events FOR EACH ROW EXECUTE FUNCTION meddle('change');
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Another"}')$$);
CREATE OR REPLACE TRIGGER meddle BEFORE INSERT OR UPDATE ON users_events FOR EACH ROW EXECUTE FUNCTION meddle('suppress');
CALL fails($$SELECT goes_do('user.update_first_name', id(1), '{"first_name": "Another"}')$$);
DROP TRIGGER meddle ON users_events;

-- Nothing of all that is left.
SELECT id, version, first_name, deleted_at IS NOT NULL AS deleted FROM users ORDER BY id;
SELECT aggregate_id, aggregate_version, action FROM users_events ORDER BY position;
SELECT command_id FROM goes.commands;

\i :end
