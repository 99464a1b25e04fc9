-- Sync reactors: forms, patterns, order, errors; how async and outside ones are registered.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
CREATE TABLE users (LIKE goes_base_aggregate INCLUDING ALL, name text);
CREATE TABLE orders (LIKE goes_base_aggregate INCLUDING ALL, user_id uuid, amount integer);
SELECT goes_register_aggregate('user', 'users'), goes_register_aggregate('order', 'orders');
SELECT goes_register_event('user', 'created'), goes_register_event('user', 'named'), goes_register_event('user', 'named', 2),
    goes_register_event('order', 'created'), goes_register_event('order', 'paid');
CREATE FUNCTION build_named(aggregate users, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('named', command.data, (command.data ->> 'v')::integer, '{"secret": "transient"}');
SELECT goes_register_command('user', 'create', event => 'created', target => 'new'), goes_register_command('user', 'name', 'build_named', target => 'any'),
    goes_register_command('order', 'create', event => 'created', target => 'new'), goes_register_command('order', 'pay', event => 'paid');
CREATE VIEW reactors AS SELECT reactor, mode, patterns, active FROM goes.reactors ORDER BY reactor COLLATE "C";

--
-- The three forms of a function
--

CREATE FUNCTION with_event(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'with_event: %.%.%, version %, data %, transient %', event.aggregate_type, event.action, event.event_version,
        event.aggregate_version, event.data, event.transient;
END $$;
CREATE FUNCTION with_aggregate(aggregate users, event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'with_aggregate: % at version %, event %, transient %', aggregate.name, aggregate.version, event.action, event.transient;
END $$;
CREATE FUNCTION as_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'as_trigger: % % %, % % on %', NEW.action, NEW.event_version, NEW.data, TG_WHEN, TG_OP, TG_RELID::regclass;
    RETURN NULL;
END $$;
SELECT goes_on('{user}', sync => '{with_event,with_aggregate,as_trigger}');
SELECT * FROM reactors;
\d users_events
SELECT goes_do('user.create', id(1), '{"name": "one"}') -> 'action' AS action;
SELECT goes_do('user.name', id(1), '{"name": "two"}') -> 'action' AS action;
-- They see what the command stored, and what they write is seen by those after.
CREATE FUNCTION with_query(event goes_event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'with_query: name %, % events', (SELECT name FROM users WHERE id = event.aggregate_id),
        (SELECT count(*) FROM users_events WHERE aggregate_id = event.aggregate_id);
END $$;
SELECT goes_on('{user}', sync => '{with_query}');
SELECT goes_do('user.name', id(1), '{"name": "three"}') -> 'action' AS action;
SELECT goes_off('with_query'), goes_off('test.with_event'), goes_off('with_aggregate'), goes_off('"as_trigger"');
SELECT * FROM reactors;
SELECT goes_do('user.name', id(1), '{"name": "four"}') -> 'action' AS action;

-- An SQL function that is inlined, one that is not, with or without STRICT
CREATE TABLE log (n bigserial, what text);
CREATE FUNCTION atomic(event goes_event) RETURNS void LANGUAGE sql BEGIN ATOMIC INSERT INTO log (what) VALUES ('atomic ' || event.action); END;
CREATE FUNCTION expression(aggregate users, event goes_event) RETURNS void LANGUAGE sql STRICT RETURN goes_require(aggregate.name <> 'bad', 'bad name');
SELECT goes_on('{user}', sync => '{atomic,expression}');
SELECT goes_do('user.name', id(1), '{"name": "five"}') -> 'action' AS action;
CALL fails($$SELECT goes_do('user.name', id(1), '{"name": "bad"}')$$);
SELECT what FROM log ORDER BY n;
SELECT goes_off('atomic'), goes_off('expression');

--
-- Patterns
--

CREATE PROCEDURE try(patterns text[]) LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '%:', patterns;
    PERFORM goes_on(patterns, sync => '{with_event,as_trigger}');
    PERFORM goes_do('user.create', id(2));
    PERFORM goes_do('user.name', id(2), '{"v": 1}');
    PERFORM goes_do('user.name', id(2));
    PERFORM goes_do('order.create', id(2));
    PERFORM goes_do('order.pay', id(2));
    RAISE SQLSTATE 'ZZZZZ';
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
    NULL;
END $$;
CALL try('{user.named.1}');
CALL try('{user.named.2}');
CALL try('{user.named}');
CALL try('{user}');
CALL try('{user.*}');
CALL try('{*}');
CALL try('{order.paid,user.created}');
CALL try('{user.created,user.named.2}');
CALL try('{user.named.1,user.named}');
CALL try('{user,user.named}');
CALL try('{order,*}');

-- An event that is both patterns' reaches the reactor once. Patterns add up; "user.*" is "user".
SELECT goes_on('{user.named.1}', sync => '{with_event,as_trigger}');
SELECT goes_on('{user.created,user.named.1}', sync => '{with_event,as_trigger}');
SELECT * FROM reactors;
SELECT goes_on('{order.*}', sync => '{with_event,as_trigger}');
SELECT goes_on('{order}', sync => '{with_event,as_trigger}');
SELECT * FROM reactors;
SELECT tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname ~ '^goes_on' ORDER BY tgrelid::regclass::text, tgname COLLATE "C";
SELECT goes_do('user.name', id(3)) -> 'event_version' AS version;
SELECT goes_do('user.name', id(3), '{"v": 1}') -> 'event_version' AS version;
SELECT goes_do('order.create', id(3)) -> 'event_version' AS version;
SELECT goes_off('with_event'), goes_off('as_trigger');
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^goes_on';

-- An aggregate's form is for one type; with several types there must be a function for each.
CALL fails($$SELECT goes_on('{user,order}', sync => '{with_aggregate}')$$);
CREATE FUNCTION with_aggregate(aggregate orders, event goes_event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'with_aggregate: order of % at version %', aggregate.amount, aggregate.version; END$$;
SELECT goes_on('{user.created,order.created}', sync => '{with_aggregate}');
SELECT goes_do('user.create', id(4), '{"name": "four"}') -> 'action' AS action;
SELECT goes_do('order.create', id(4), '{"amount": 4}') -> 'action' AS action;
SELECT goes_off('with_aggregate');

--
-- Name order
--

CREATE FUNCTION r10(event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'r10'; END$$;
CREATE FUNCTION r2() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'r2'; RETURN NULL; END$$;
CREATE FUNCTION r1(aggregate users, event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'r1'; END$$;
CREATE FUNCTION "R3"(event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'R3'; END$$;
SELECT goes_on('{user.named}', sync => '{r2}');
SELECT goes_on('{user.named}', sync => '{r10,"\"R3\""}');
SELECT goes_on('{user.named}', sync => '{r1}');
SELECT goes_do('user.name', id(4)) -> 'action' AS action;
SELECT goes_off('r10'), goes_off('r2'), goes_off('r1'), goes_off('"R3"');

--
-- Off, on again, and another mode
--

SELECT goes_on('{user}', sync => '{with_event}');
SELECT goes_off('with_event');
CALL fails($$SELECT goes_off('with_event')$$);
SELECT goes_on('{user.created}', sync => '{with_event}');
SELECT * FROM reactors;
SET client_min_messages = error;
CALL fails($$SELECT goes_on('{user.created}', async => '{with_event}')$$);
SELECT goes_off('with_event');
SELECT goes_on('{user.created}', async => '{with_event}');
CALL fails($$SELECT goes_on('{user.created}', sync => '{with_event}')$$);
SELECT goes_off('with_event');
SELECT goes_on('{user.created}', sync => '{with_event}');
SELECT * FROM reactors;
SELECT goes_off('with_event', forget => true);
-- a transaction that rolls back takes it with it
BEGIN;
SELECT goes_on('{user}', sync => '{with_event}');
SELECT goes_do('user.name', id(4)) -> 'action' AS action;
ROLLBACK;
SELECT * FROM reactors;
SELECT goes_do('user.name', id(4)) -> 'action' AS action;

--
-- Async and outside: rows that wait
--

SELECT goes_on('{user.created}', async => '{with_event}', outside => '{mailer}');
SELECT goes_on('{order}', outside => '{mailer}');
SELECT goes_on('{user}', outside => '{"from the beginning"}', start => 0);
SELECT goes_on('{user}', outside => '{"from the third"}', start => 3);
SELECT * FROM reactors;
SELECT r.reactor, checkpoint, owner = quote_ident(current_user)::regrole AS mine FROM goes.reactors r JOIN goes.progress p ON p.reactor = r.id WHERE mode = 'outside' AND r.reactor ~ 'from' ORDER BY r.reactor COLLATE "C";
SELECT checkpoint >= (SELECT max(position) FROM users_events) AS from_now_on FROM goes.reactors r JOIN goes.progress p ON p.reactor = r.id WHERE r.reactor = 'mailer';
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^goes_on';
-- off: the progress is kept, the patterns are given anew; unless it is forgotten
SELECT checkpoint AS before FROM goes.reactors r JOIN goes.progress p ON p.reactor = r.id WHERE r.reactor = 'mailer' \gset
SELECT goes_do('user.name', id(4)) -> 'action' AS action;
SELECT goes_off('mailer'), goes_off('with_event');
SELECT * FROM reactors;
SELECT goes_on('{order.created}', outside => '{mailer}', start => 0);
SELECT * FROM reactors;
SELECT checkpoint = :before AS kept FROM goes.reactors r JOIN goes.progress p ON p.reactor = r.id WHERE r.reactor = 'mailer';
SELECT goes_off('mailer', true), goes_off('from the beginning', true), goes_off('from the third', true), goes_off('with_event', true);
SELECT * FROM reactors;
SELECT goes_on('{user}', outside => '{mailer}', start => 3);
SELECT checkpoint FROM goes.reactors r JOIN goes.progress p ON p.reactor = r.id WHERE r.reactor = 'mailer';
SELECT goes_off('mailer', true);
RESET client_min_messages;

--
-- Errors
--

CREATE FUNCTION fail(event goes_event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN RAISE 'failed on %', event.data USING ERRCODE = 'UE001', DETAIL = 'The detail.', HINT = 'The hint.'; END$$;
CREATE FUNCTION fail_too() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE 'failed too' USING ERRCODE = 'UE002'; END$$;
CREATE FUNCTION divide(aggregate users, event goes_event) RETURNS void LANGUAGE sql AS $$SELECT 1 / 0$$;
SELECT goes_on('{user.named}', sync => '{fail}');
CALL fails($$SELECT goes_do('user.name', id(4), '{"n": 1}')$$);
SELECT goes_off('fail');
SELECT goes_on('{user.named}', sync => '{fail_too}');
CALL fails($$SELECT goes_do('user.name', id(4), '{"n": 1}')$$);
SELECT goes_off('fail_too');
SELECT goes_on('{user.named}', sync => '{divide}');
CALL fails($$SELECT goes_do('user.name', id(4), '{"n": 1}')$$);
SELECT goes_off('divide');
SELECT max(aggregate_version) FROM users_events WHERE aggregate_id = id(4);
SELECT version FROM users WHERE id = id(4);

--
-- Process managers: reactors that execute commands
--

CREATE TABLE payments (LIKE goes_base_aggregate INCLUDING ALL, order_id uuid, amount integer, done boolean DEFAULT false);
SELECT goes_register_aggregate('payment', 'payments');
SELECT goes_register_event('payment', 'requested'), goes_register_event('payment', 'made');
SELECT goes_register_command('payment', 'request', event => 'requested', target => 'new'), goes_register_command('payment', 'make', event => 'made');
CREATE FUNCTION request_payment(event goes_event) RETURNS void LANGUAGE sql
AS $$SELECT goes_do('payment.request', event.aggregate_id, event.data || jsonb_build_object('order_id', event.aggregate_id))$$;
CREATE FUNCTION make_payment(aggregate payments, event goes_event) RETURNS void LANGUAGE sql
AS $$SELECT goes_do('payment.make', aggregate.id, '{"done": true}') WHERE aggregate.amount < 100$$;
CREATE FUNCTION pay_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_do('order.pay', (SELECT order_id FROM payments WHERE id = NEW.aggregate_id), '{}');
    RETURN NULL;
END $$;
SELECT goes_on('{order.created}', sync => '{request_payment}'), goes_on('{payment.requested}', sync => '{make_payment}'), goes_on('{payment.made}', sync => '{pay_order}');
SELECT r.version, r.amount FROM goes_execute(NULL::orders, '{"command": "order.create", "aggregate_id": "00000000-0000-0000-0000-000000000005", "data": {"amount": 50}}') r;
SELECT r.version, r.amount FROM goes_execute(NULL::orders, '{"command": "order.create", "aggregate_id": "00000000-0000-0000-0000-000000000006", "data": {"amount": 500}}') r;
SELECT id, order_id, version, done FROM payments ORDER BY id;
WITH events AS (
    SELECT 'order' AS type, * FROM orders_events UNION ALL SELECT 'payment', * FROM payments_events
)
SELECT e.type, e.action, cause.type || '.' || cause.action AS causation, began.type || '.' || began.action AS correlation
FROM events e
    LEFT JOIN events cause ON cause.id = (e.metadata ->> 'causation_id')::uuid
    LEFT JOIN events began ON began.id = (e.metadata ->> 'correlation_id')::uuid
WHERE e.aggregate_id = id(5) ORDER BY e.position;
SELECT goes_off('request_payment'), goes_off('make_payment'), goes_off('pay_order');

--
-- Types that are registered later, or leave and come back
--

SELECT goes_on('{*}', sync => '{with_event}'), goes_on('{user}', sync => '{with_aggregate}'), goes_on('{user.created,order}', sync => '{as_trigger}');
CREATE TABLE lates (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('late', 'lates');
SELECT goes_register_event('late', 'come', calculator => NULL);
SELECT goes_register_command('late', 'come', event => 'come', target => 'any');
SELECT goes_do('late.come', id(1)) -> 'action' AS action;
SELECT goes_unregister_aggregate('user');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users_events'::regclass;
-- the patterns that name the type go with it, and a reactor that has no other
SELECT * FROM reactors;
SELECT goes_register_aggregate('user', 'users');
SELECT goes_register_event('user', 'created'), goes_register_command('user', 'create', event => 'created', target => 'new');
SELECT goes_on('{user}', sync => '{with_aggregate}');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'users_events'::regclass ORDER BY tgname COLLATE "C";
SELECT goes_do('user.create', id(7), '{"name": "seven"}') -> 'action' AS action;
SELECT goes_do('order.create', id(7)) -> 'action' AS action;
-- a trigger that somebody dropped is put back
DROP TRIGGER "goes_on_test.with_event" ON users_events;
SELECT goes_do('user.create', id(8), '{"name": "eight"}') -> 'action' AS action;
SELECT goes_on('{*}', sync => '{with_event}');
SELECT goes_do('user.create', id(9), '{"name": "nine"}') -> 'action' AS action;
SELECT goes_off('with_event'), goes_off('with_aggregate'), goes_off('as_trigger');
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^goes_on';

--
-- A type of somebody else's is left out, with a NOTICE
--

CREATE ROLE regress_goes_other;
GRANT USAGE, CREATE ON SCHEMA test TO regress_goes_other;
CREATE TABLE others (LIKE goes_base_aggregate INCLUDING ALL);
ALTER TABLE others OWNER TO regress_goes_other;
SET ROLE regress_goes_other;
SELECT goes_register_aggregate('other', 'others');
SELECT goes_register_event('other', 'done', calculator => NULL), goes_register_command('other', 'do', event => 'done', target => 'any');
CREATE FUNCTION other_reactor(event goes_event) RETURNS void LANGUAGE plpgsql AS
$$BEGIN RAISE NOTICE 'other_reactor: %.%', event.aggregate_type, event.action; END$$;
\set VERBOSITY terse
SELECT goes_on('{*}', sync => '{other_reactor}');
\set VERBOSITY default
RESET ROLE;
SELECT tgrelid::regclass FROM pg_trigger WHERE tgname ~ '^goes_on' ORDER BY 1;
-- also when a type comes later
CREATE ROLE regress_goes_mine;
GRANT USAGE, CREATE ON SCHEMA test TO regress_goes_mine;
CREATE TABLE mine (LIKE goes_base_aggregate INCLUDING ALL);
ALTER TABLE mine OWNER TO regress_goes_mine;
SELECT goes_register_aggregate('mine', 'mine');
SELECT goes_do('other.do', id(1)) -> 'action' AS action;
SELECT goes_do('user.create', id(10)) -> 'action' AS action;
-- the superuser's reaches all
SELECT goes_on('{*}', sync => '{with_event}');
SELECT goes_do('other.do', id(1)) -> 'action' AS action;
SELECT goes_off('with_event'), goes_off('other_reactor');
SELECT goes_unregister_aggregate('other');
SELECT goes_unregister_aggregate('mine');
DROP OWNED BY regress_goes_other, regress_goes_mine;
DROP ROLE regress_goes_other, regress_goes_mine;

-- CREATE OR REPLACE of a reactor counts at once.
SELECT goes_on('{user}', sync => '{with_event}');
CREATE OR REPLACE FUNCTION with_event(event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'replaced'; END$$;
SELECT goes_do('user.create', id(11)) -> 'action' AS action;
CREATE OR REPLACE FUNCTION with_event(event goes_event) RETURNS void LANGUAGE sql AS $$SELECT goes_reject('replaced again')$$;
CALL fails($$SELECT goes_do('user.create', id(12))$$);

-- A function of another form that appears later makes no difference.
CREATE OR REPLACE FUNCTION with_event(event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'the one'; END$$;
CREATE FUNCTION with_event() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'the other'; RETURN NULL; END$$;
CREATE FUNCTION with_event(users, goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'yet another'; END$$;
SELECT goes_do('user.create', id(13)) -> 'action' AS action;
CREATE FUNCTION unrelated() RETURNS void LANGUAGE sql AS '';
ALTER FUNCTION unrelated RENAME TO still_unrelated;
DROP FUNCTION still_unrelated;
DROP FUNCTION with_event();
DROP FUNCTION with_event(goes_event);
SELECT goes_off('with_event');
DROP FUNCTION with_event(goes_event), with_event(users, goes_event);

\i :end
