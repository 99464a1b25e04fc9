-- Who may do what, with real roles.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin

-- alice owns the model, app uses it; mallory has nothing to do with it. ann is a
-- member of alice; ned is one too, but does not inherit her rights.
CREATE ROLE regress_goes_alice LOGIN;
CREATE ROLE regress_goes_app;
CREATE ROLE regress_goes_mallory LOGIN;
CREATE ROLE regress_goes_ann IN ROLE regress_goes_alice;
CREATE ROLE regress_goes_ned NOINHERIT IN ROLE regress_goes_alice;
CREATE ROLE regress_goes_group;
GRANT USAGE ON SCHEMA test TO PUBLIC;
CREATE SCHEMA alice AUTHORIZATION regress_goes_alice;
CREATE SCHEMA mallory AUTHORIZATION regress_goes_mallory;

SET ROLE regress_goes_alice;
SET search_path = alice, test, public;
CREATE TABLE orders (LIKE goes_base_aggregate INCLUDING ALL, item text);
CREATE FUNCTION is_item(item text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN length(item) > 2;
CREATE FUNCTION validate_order(aggregate orders, command goes_command) RETURNS void LANGUAGE sql
RETURN goes_require(is_item(command.data ->> 'item'), 'an item has more than 2 letters');
CREATE FUNCTION build_order(aggregate orders, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('placed', command.data);
CREATE FUNCTION build_change(aggregate orders, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql
AS $$ BEGIN RETURN goes_event_data('changed', command.data); END $$;
CREATE FUNCTION calculate_order(aggregate orders, event goes_event) RETURNS orders LANGUAGE sql
RETURN jsonb_populate_record(aggregate, event.data);
CREATE TABLE seen (what text);
CREATE FUNCTION see(event goes_event) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = alice
AS $$ BEGIN INSERT INTO seen VALUES (event.action || ' by ' || session_user); END $$;
CREATE FUNCTION see_order(aggregate orders, event goes_event) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN PERFORM goes_require(aggregate.item <> 'forbidden', 'forbidden'); END $$;
CREATE FUNCTION see_row() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE NOTICE 'see_row as %', current_user; RETURN NULL; END $$;

--
-- Registering: the rights of the table's owner
--

-- Makes everything that is registered for the type.
CREATE FUNCTION register() RETURNS void LANGUAGE sql SET search_path = alice, test, public AS $$
SELECT goes_register_aggregate('order', 'orders');
SELECT goes_register_event('order', 'placed', calculator => 'calculate_order');
SELECT goes_register_event('order', 'changed');
SELECT goes_register_command('order', 'place', validate => 'validate_order', build => 'build_order', target => 'new');
SELECT goes_register_command('order', 'replace', build => 'build_order', target => 'any');
SELECT goes_register_command('order', 'change', build => 'build_change');
SELECT goes_register_command('order', 'set', event => 'changed');
SELECT goes_on('{order}', sync => '{see,see_order,see_row}');
$$;
-- Takes all of it away.
CREATE FUNCTION unregister() RETURNS void LANGUAGE sql AS $$
SELECT goes_off('see');
SELECT goes_off('see_order');
SELECT goes_off('see_row');
SELECT goes_unregister_command('order', 'place');
SELECT goes_unregister_event('order', 'placed', 1);
SELECT goes_unregister_aggregate('order');
$$;

-- Nobody else can
GRANT USAGE ON SCHEMA alice TO PUBLIC;
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_register_aggregate('order', 'orders')$$);
CALL fails($$SELECT goes_register_aggregate('stolen', 'orders')$$);
SET ROLE regress_goes_ned;
CALL fails($$SELECT goes_register_aggregate('order', 'orders')$$);
-- but a member of the owner, for whom it is the owner's all the same.
SET ROLE regress_goes_ann;
SELECT register();
SELECT relation, events, pg_get_userbyid(relowner) AS owner FROM goes.aggregate_types JOIN pg_class ON oid = events;
SELECT unregister();
SELECT count(*) FROM goes.aggregate_types;
SET ROLE regress_goes_alice;
SELECT register();
SELECT reactor, mode, owner FROM goes.reactors ORDER BY reactor;

-- The parts of the type: not for others, even if it changes nothing.
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_register_aggregate('order', 'orders')$$);
CALL fails($$SELECT goes_register_event('order', 'changed')$$);
CALL fails($$SELECT goes_register_event('order', 'stolen')$$);
CALL fails($$SELECT goes_register_event('order', 'placed', calculator => NULL)$$);
CALL fails($$SELECT goes_register_command('order', 'set', event => 'changed')$$);
CALL fails($$SELECT goes_register_command('order', 'steal', event => 'changed')$$);
CALL fails($$SELECT goes_unregister_command('order', 'set')$$);
CALL fails($$SELECT goes_unregister_event('order', 'changed', 1)$$);
CALL fails($$SELECT goes_unregister_aggregate('order')$$);
CALL fails($$SELECT goes_off('alice.see')$$);
CALL fails($$SELECT goes_off('alice.see_row', forget => true)$$);
SET ROLE regress_goes_ned;
CALL fails($$SELECT goes_register_event('order', 'stolen')$$);
CALL fails($$SELECT goes_off('alice.see')$$);
-- nor by a table of his own
SET ROLE regress_goes_mallory;
CREATE TABLE mallory.orders (LIKE goes_base_aggregate INCLUDING ALL, item text);
CALL fails($$SELECT goes_register_aggregate('order', 'mallory.orders')$$);
-- or by a function that he may not execute
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
SET ROLE regress_goes_alice;
CREATE FUNCTION alice.secret(event goes_event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION alice.secret(aggregate mallory.orders, command goes_command) RETURNS goes_event_data LANGUAGE sql AS 'SELECT NULL::goes_event_data';
REVOKE EXECUTE ON FUNCTION alice.secret(goes_event), alice.secret(mallory.orders, goes_command) FROM PUBLIC;
SET ROLE regress_goes_mallory;
SELECT goes_register_aggregate('mallory', 'mallory.orders');
SELECT goes_register_event('mallory', 'done');
CALL fails($$SELECT goes_register_command('mallory', 'do', build => 'alice.secret')$$);
CALL fails($$SELECT goes_on('{mallory}', sync => '{alice.secret}')$$);
CALL fails($$SELECT goes_on('{mallory}', async => '{alice.secret}')$$);
-- An events table belongs to the owner of the aggregate table.
RESET ROLE;
CREATE TABLE mallory.adopted_events (LIKE mallory.orders_events INCLUDING ALL);
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_register_aggregate('mallory', 'mallory.orders', 'adopted_events')$$);

--
-- Executing: SELECT, INSERT, UPDATE; INSERT; EXECUTE; nothing else
--

SET ROLE regress_goes_alice;
GRANT SELECT, INSERT, UPDATE ON orders TO regress_goes_app;
GRANT INSERT ON orders_events TO regress_goes_app;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA alice FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_item, validate_order, build_order, build_change, calculate_order, see, see_order TO regress_goes_app;

SET ROLE regress_goes_app;
SELECT goes_do('order.place', id(1), '{"item": "bread"}') IS NOT NULL AS placed;
SELECT goes_do('order.replace', id(2), '{"item": "milk"}') IS NOT NULL AS replaced;
SELECT goes_do('order.replace', id(2), '{"item": "cream"}') IS NOT NULL AS replaced;
SELECT goes_do('order.change', id(1), '{"item": "roll"}') IS NOT NULL AS changed;
SELECT goes_do('order.set', id(1), '{"item": "rolls"}') IS NOT NULL AS set;
SELECT item FROM goes_execute(NULL::orders, jsonb_build_object('command', 'order.set', 'aggregate_id', id(1), 'data', '{"item": "bun"}'::jsonb));
SELECT count(*) FROM goes_execute_many(jsonb_build_array(jsonb_build_object('command', 'order.set', 'aggregate_id', id(1)),
    jsonb_build_object('command', 'order.set', 'aggregate_id', id(2), 'command_id', id(100))));
SELECT goes_do('order.set', id(2), command_id => id(100)) ->> 'aggregate_version' AS version;
-- Not even to read the events
CALL fails($$SELECT FROM alice.orders_events$$);
-- where triggers of the owner's own are
SET ROLE regress_goes_alice;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER look BEFORE INSERT ON orders_events FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER look BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION look();
SET ROLE regress_goes_app;
SELECT goes_do('order.set', id(2), command_id => id(101)) ->> 'aggregate_version' AS version;
SELECT goes_do('order.set', id(2), command_id => id(101)) ->> 'aggregate_version' AS version;
SET ROLE regress_goes_alice;
DROP TRIGGER look ON orders_events;
DROP TRIGGER look ON orders;

-- Each privilege is needed: tries the commands with all but that one, in this
-- session and thus with what is cached, then with it again.
RESET ROLE;
CREATE PROCEDURE test.without(privilege text) LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    state text;
    results text[];
BEGIN
    EXECUTE format('REVOKE %s FROM regress_goes_app', privilege);
    SET LOCAL client_min_messages = error;
    SET LOCAL ROLE regress_goes_app;
    FOREACH statement IN ARRAY ARRAY[
        $q$SELECT goes_do('order.place', goes_uuidv7(), '{"item": "bread"}')$q$,
        $q$SELECT goes_do('order.replace', id(1), '{"item": "milk"}')$q$,
        $q$SELECT goes_do('order.change', id(1), '{"item": "cream"}')$q$,
        $q$SELECT goes_do('order.change', id(42), '{"item": "cream"}')$q$,
        $q$SELECT goes_do('order.set', id(2), command_id => id(100))$q$,
        $q$SELECT goes_execute_many('[{"command": "order.set", "aggregate_id": "00000000-0000-0000-0000-000000000001"}]')$q$]
    LOOP
        BEGIN
            EXECUTE statement;
            state = 'ok';
        EXCEPTION WHEN OTHERS THEN
            state = SQLSTATE;
        END;
        results = results || state;
    END LOOP;
    RESET ROLE;
    EXECUTE format('GRANT %s TO regress_goes_app', privilege);
    RESET client_min_messages;
    RAISE INFO '%', results;
END
$$;
SET client_min_messages = warning;
CALL test.without('DELETE ON alice.orders');
CALL test.without('SELECT ON alice.orders');
CALL test.without('INSERT ON alice.orders');
CALL test.without('UPDATE ON alice.orders');
CALL test.without('INSERT ON alice.orders_events');
CALL test.without('EXECUTE ON FUNCTION alice.is_item');
CALL test.without('EXECUTE ON FUNCTION alice.validate_order');
CALL test.without('EXECUTE ON FUNCTION alice.build_order');
CALL test.without('EXECUTE ON FUNCTION alice.build_change');
CALL test.without('EXECUTE ON FUNCTION alice.calculate_order');
CALL test.without('EXECUTE ON FUNCTION alice.see');
CALL test.without('EXECUTE ON FUNCTION alice.see_order');
CALL test.without('DELETE ON alice.orders_events');
RESET client_min_messages;
-- in a session that has cached nothing, too
\c -
SET search_path = alice, test, public;
REVOKE USAGE ON SCHEMA alice FROM PUBLIC;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.set', id(1))$$);
RESET ROLE;
GRANT USAGE ON SCHEMA alice TO PUBLIC;
SET ROLE regress_goes_app;
SELECT goes_do('order.set', id(1)) IS NOT NULL AS set;
-- What fails names what is missing.
RESET ROLE;
REVOKE UPDATE ON alice.orders FROM regress_goes_app;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.set', id(1))$$);
RESET ROLE;
GRANT UPDATE ON alice.orders TO regress_goes_app;
REVOKE INSERT ON alice.orders_events FROM regress_goes_app;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.set', id(1))$$);
RESET ROLE;
GRANT INSERT ON alice.orders_events TO regress_goes_app;
REVOKE EXECUTE ON FUNCTION alice.calculate_order, alice.see FROM regress_goes_app;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.replace', id(1), '{"item": "milk"}')$$);
CALL fails($$SELECT goes_do('order.set', id(1))$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION alice.calculate_order, alice.see TO regress_goes_app;

-- A stranger learns nothing, not even from a command id that was used.
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_do('order.set', id(1))$$);
CALL fails($$SELECT goes_do('order.set', id(42))$$);
CALL fails($$SELECT goes_do('order.set', id(2), command_id => id(100))$$);
CALL fails($$SELECT goes_do('order.place', id(2), command_id => id(100))$$);
CALL fails($$SELECT goes_do('mallory.none', command_id => id(100))$$);
RESET ROLE;
GRANT SELECT ON alice.orders TO regress_goes_mallory;
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_do('order.set', id(2), command_id => id(100))$$);
-- Nor does he use up an id.
SELECT goes_register_command('mallory', 'do', event => 'done', target => 'any');
CALL fails($$SELECT goes_do('order.set', id(2), command_id => id(102))$$);
SELECT goes_do('mallory.do', id(1), command_id => id(102)) IS NOT NULL AS done;
-- Who claimed it and for what is not told.
CALL fails($$SELECT goes_do('mallory.do', id(2), command_id => id(100))$$);
RESET ROLE;
REVOKE SELECT ON alice.orders FROM regress_goes_mallory;

--
-- Roles that change within a session
--

-- Inlined functions were planned for another role.
SET ROLE regress_goes_alice;
SELECT goes_do('order.replace', id(1), '{"item": "one"}') IS NOT NULL AS replaced;
SET ROLE regress_goes_app;
SELECT goes_do('order.replace', id(1), '{"item": "two"}') IS NOT NULL AS replaced;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION alice.build_order FROM regress_goes_app;
SET ROLE regress_goes_alice;
SELECT goes_do('order.replace', id(1), '{"item": "three"}') IS NOT NULL AS replaced;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.replace', id(1), '{"item": "four"}')$$);
-- Through a group, and out of it again
RESET ROLE;
GRANT EXECUTE ON FUNCTION alice.build_order TO regress_goes_group;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.replace', id(1), '{"item": "four"}')$$);
RESET ROLE;
GRANT regress_goes_group TO regress_goes_app;
SET ROLE regress_goes_app;
SELECT goes_do('order.replace', id(1), '{"item": "five"}') IS NOT NULL AS replaced;
RESET ROLE;
REVOKE regress_goes_group FROM regress_goes_app;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.replace', id(1), '{"item": "six"}')$$);
-- also in the middle of a transaction
RESET ROLE;
BEGIN;
GRANT regress_goes_group TO regress_goes_app;
SET LOCAL ROLE regress_goes_app;
SELECT goes_do('order.replace', id(1), '{"item": "seven"}') IS NOT NULL AS replaced;
ROLLBACK;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.replace', id(1), '{"item": "eight"}')$$);
RESET ROLE;
-- What an inlined function calls in turn
GRANT EXECUTE ON FUNCTION alice.build_order TO regress_goes_app;
REVOKE EXECUTE ON FUNCTION alice.is_item FROM regress_goes_app;
SET ROLE regress_goes_alice;
SELECT goes_do('order.place', id(3), '{"item": "one"}') IS NOT NULL AS placed;
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.place', id(4), '{"item": "two"}')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION alice.is_item TO regress_goes_app;
SET ROLE regress_goes_app;
SELECT goes_do('order.place', id(4), '{"item": "two"}') IS NOT NULL AS placed;
-- A superuser who stops being one
RESET ROLE;
ALTER ROLE regress_goes_mallory SUPERUSER;
SET ROLE regress_goes_mallory;
SELECT goes_do('order.replace', id(1), '{"item": "one"}') IS NOT NULL AS replaced;
RESET ROLE;
ALTER ROLE regress_goes_mallory NOSUPERUSER;
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_do('order.replace', id(1), '{"item": "two"}')$$);
-- A function that is replaced by one of somebody else: who may execute it counts.
SET ROLE regress_goes_alice;
DROP FUNCTION calculate_order(orders, goes_event) CASCADE;
CREATE FUNCTION calculate_order(aggregate orders, event goes_event) RETURNS orders LANGUAGE sql
RETURN jsonb_populate_record(aggregate, event.data || '{"item": "new function"}');
REVOKE EXECUTE ON FUNCTION calculate_order FROM PUBLIC;
SELECT goes_register_event('order', 'placed', calculator => 'calculate_order');
SET ROLE regress_goes_app;
CALL fails($$SELECT goes_do('order.replace', id(1), '{"item": "two"}')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION alice.calculate_order TO regress_goes_app;
SET ROLE regress_goes_app;
SELECT goes_do('order.replace', id(1), '{"item": "two"}') IS NOT NULL AS replaced;
SELECT item FROM orders WHERE id = id(1);

-- Many roles, one after the other
RESET ROLE;
CREATE PROCEDURE test.many_roles() LANGUAGE plpgsql AS $$
DECLARE
    refused integer = 0;
BEGIN
    FOR i IN 1 .. 20 LOOP
        EXECUTE format('CREATE ROLE regress_goes_many_%s', i);
        IF i % 2 = 0 THEN
            EXECUTE format('GRANT regress_goes_app TO regress_goes_many_%s', i);
        END IF;
    END LOOP;
    FOR round IN 1 .. 3 LOOP
        FOR i IN 1 .. 20 LOOP
            EXECUTE format('SET LOCAL ROLE regress_goes_many_%s', i);
            BEGIN
                PERFORM goes_do('order.change', id(1), '{"item": "many"}');
            EXCEPTION WHEN insufficient_privilege THEN
                refused = refused + 1;
            END;
            RESET ROLE;
        END LOOP;
    END LOOP;
    FOR i IN 1 .. 20 LOOP
        EXECUTE format('DROP ROLE regress_goes_many_%s', i);
    END LOOP;
    RAISE INFO '% refused', refused;
END
$$;
SET client_min_messages = warning;
CALL test.many_roles();
RESET client_min_messages;

--
-- SECURITY DEFINER: the rights of the definer
--

SET ROLE regress_goes_alice;
CREATE FUNCTION place(item text) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = alice, public, pg_temp
RETURN goes_do('order.place', data => jsonb_build_object('item', item)) ->> 'action';
CREATE FUNCTION repair() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = alice, public, pg_temp SET goes.allow_direct_writes = on
AS $$ BEGIN UPDATE orders SET item = 'repaired'; END $$;
CREATE FUNCTION repair_only() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = alice, public, pg_temp
AS $$ BEGIN UPDATE orders SET item = 'repaired'; END $$;
GRANT EXECUTE ON FUNCTION place, repair, repair_only TO regress_goes_mallory;
SET ROLE regress_goes_mallory;
SELECT alice.place('bread');
-- but not her right to write past the commands, which is for her to use
CALL fails($$SELECT alice.repair()$$);
SET goes.allow_direct_writes = on;
CALL fails($$SELECT alice.repair_only()$$);
SET ROLE regress_goes_app;
CALL fails($$UPDATE orders SET item = 'direct'$$);
SET ROLE regress_goes_ann;
UPDATE orders SET item = item;
SET ROLE regress_goes_alice;
UPDATE orders SET item = item;
RESET goes.allow_direct_writes;
CALL fails($$UPDATE orders SET item = item$$);
-- A SECURITY DEFINER function of the model runs as its owner, within the caller's command.
CREATE FUNCTION build_secretly(aggregate orders, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql SECURITY DEFINER
AS $$ BEGIN RETURN goes_event_data('changed', jsonb_build_object('item', current_user)); END $$;
SELECT goes_register_command('order', 'secretly', build => 'build_secretly');
REVOKE EXECUTE ON FUNCTION build_secretly FROM PUBLIC;
GRANT EXECUTE ON FUNCTION build_secretly TO regress_goes_app;
SET ROLE regress_goes_app;
SELECT item FROM goes_execute(NULL::orders, jsonb_build_object('command', 'order.secretly', 'aggregate_id', id(1)));

--
-- Sync reactors: no trojans
--

-- A function of mallory's, in the triggers of others' commands, would run as
-- whoever executes them.
SET ROLE regress_goes_mallory;
CREATE FUNCTION mallory.spy(event goes_event) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN RAISE INFO 'spy on % as %', event.aggregate_type, current_user; END $$;
CREATE FUNCTION mallory.spy_row() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE INFO 'spy on % as %', TG_TABLE_NAME, current_user; RETURN NULL; END $$;
CALL fails($$SELECT goes_on('{order}', sync => '{mallory.spy}')$$);
CALL fails($$SELECT goes_on('{order.changed}', sync => '{mallory.spy_row}')$$);
SELECT goes_on('{*}', sync => '{mallory.spy,mallory.spy_row}');
SELECT goes_do('mallory.do', id(1)) IS NOT NULL AS done;
-- Not even if alice herself names it.
SET ROLE regress_goes_alice;
SELECT goes_on('{order}', sync => '{mallory.spy}');
SELECT goes_do('order.set', id(1)) IS NOT NULL AS set;
-- Nor types that are registered later.
CREATE TABLE late (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('late', 'late');
SELECT goes_register_event('late', 'done');
SELECT goes_register_command('late', 'do', event => 'done', target => 'any');
SELECT goes_do('late.do', id(1)) IS NOT NULL AS done;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'goes_on%spy%' ORDER BY 1, 2;
CALL fails($$SELECT goes_off('mallory.spy_row')$$);
-- As a member of alice he may.
RESET ROLE;
GRANT regress_goes_alice TO regress_goes_mallory;
SET ROLE regress_goes_mallory;
SELECT goes_on('{late}', sync => '{mallory.spy}');
SET ROLE regress_goes_alice;
SELECT goes_do('late.do', id(1)) IS NOT NULL AS done;
RESET ROLE;
REVOKE regress_goes_alice FROM regress_goes_mallory;
SET ROLE regress_goes_mallory;
SELECT goes_off('mallory.spy');
SELECT goes_off('mallory.spy_row');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'goes_on%spy%' ORDER BY 1, 2;
-- He cannot put a function of hers on types that will come, nor one of a superuser.
RESET ROLE;
CREATE FUNCTION test.by_superuser(event goes_event) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN RAISE INFO 'by_superuser on % as %', event.aggregate_type, current_user; END $$;
GRANT EXECUTE ON FUNCTION alice.see TO regress_goes_mallory;
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_on('{*}', sync => '{alice.see}')$$);
CALL fails($$SELECT goes_on('{*}', sync => '{by_superuser}')$$);
SELECT goes_unregister_aggregate('mallory');
CALL fails($$SELECT goes_on('{*}', sync => '{by_superuser}')$$);
-- Nor by a detour: with a type of his own that she registers when he has left it.
CREATE TABLE mallory.detour (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('detour', 'mallory.detour');
SET client_min_messages = error;
DO $$
BEGIN
    -- whether or not that is refused
    BEGIN
        PERFORM goes_on('{detour}', sync => '{alice.see}');
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
    BEGIN
        PERFORM goes_on('{detour}', sync => '{by_superuser}');
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
END
$$;
RESET client_min_messages;
SELECT goes_unregister_aggregate('detour');
SET ROLE regress_goes_alice;
CREATE TABLE detour (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('detour', 'detour');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'detour_events'::regclass ORDER BY 1;
DROP TABLE detour, detour_events CASCADE;
-- She can turn off what reaches no tables but hers.
RESET ROLE;
CREATE SCHEMA others AUTHORIZATION regress_goes_group;
SET ROLE regress_goes_group;
CREATE TABLE others.others (LIKE goes_base_aggregate INCLUDING ALL);
SELECT goes_register_aggregate('other', 'others.others');
RESET ROLE;
GRANT regress_goes_alice TO regress_goes_mallory;
SET ROLE regress_goes_mallory;
SELECT goes_on('{*}', sync => '{mallory.spy}');
RESET ROLE;
REVOKE regress_goes_alice FROM regress_goes_mallory;
SET ROLE regress_goes_alice;
SELECT goes_off('mallory.spy');
SET ROLE regress_goes_mallory;
SELECT goes_register_aggregate('mallory', 'mallory.orders');
SELECT goes_register_event('mallory', 'done');
SELECT goes_register_command('mallory', 'do', event => 'done', target => 'any');
-- For a type of his own he may use what he may execute: it runs as whoever executes.
SELECT goes_on('{mallory}', sync => '{by_superuser}');
SELECT goes_do('mallory.do', id(1)) IS NOT NULL AS done;
CALL fails($$SELECT goes_on('{order}', sync => '{by_superuser}')$$);
SELECT goes_off('by_superuser');
-- The superuser's own reaches all.
RESET ROLE;
SELECT goes_on('{*}', sync => '{by_superuser}');
SET ROLE regress_goes_mallory;
SELECT goes_do('mallory.do', id(1)) IS NOT NULL AS done;
CALL fails($$SELECT goes_off('by_superuser')$$);
SET ROLE regress_goes_app;
SELECT goes_do('order.set', id(1)) IS NOT NULL AS set;
RESET ROLE;
SELECT goes_off('by_superuser');
-- A trigger made by hand reaches no other's functions or tables either.
SET ROLE regress_goes_mallory;
CREATE TABLE mallory.plain (id uuid);
CREATE TRIGGER react AFTER INSERT ON mallory.plain FOR EACH ROW EXECUTE FUNCTION goes.react('alice.see', '*');
CALL fails($$INSERT INTO mallory.plain VALUES (id(1))$$);
DROP TRIGGER react ON mallory.plain;
CREATE TRIGGER react AFTER INSERT ON mallory.orders_events FOR EACH ROW EXECUTE FUNCTION goes.react('alice.secret', '*');
CALL fails($$SELECT goes_do('mallory.do', id(1))$$);
DROP TRIGGER react ON mallory.orders_events;
CALL fails($$CREATE TRIGGER react AFTER INSERT ON alice.orders_events FOR EACH ROW EXECUTE FUNCTION goes.react('mallory.spy', '*')$$);

--
-- Async and outside reactors
--

-- Without the preload there is a WARNING.
SET client_min_messages = error;
SET ROLE regress_goes_alice;
CREATE FUNCTION later(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
-- It would run as alice: only who may be her can let it.
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_on('{mallory}', async => '{alice.later}')$$);
CALL fails($$SELECT goes_on('{*}', async => '{alice.later}')$$);
SET ROLE regress_goes_ann;
SELECT goes_on('{order}', async => '{later}');
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_on('{order}', async => '{alice.later}')$$);
CALL fails($$SELECT goes_off('alice.later')$$);
SET ROLE regress_goes_alice;
SELECT goes_off('later');
SELECT reactor, mode, active, owner FROM goes.reactors WHERE mode <> 'sync';
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_off('alice.later', forget => true)$$);
SET ROLE regress_goes_alice;
SELECT goes_off('later', forget => true);
SELECT count(*) FROM goes.reactors WHERE mode <> 'sync';
-- She must be able to connect.
RESET ROLE;
SELECT current_database() AS database \gset
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
\set VERBOSITY terse
SELECT goes_on('{order}', async => '{alice.later}');
\set VERBOSITY default
GRANT CONNECT ON DATABASE :"database" TO regress_goes_alice;
SELECT goes_on('{order}', async => '{alice.later}');
SELECT goes_off('alice.later', forget => true);
REVOKE CONNECT ON DATABASE :"database" FROM regress_goes_alice;
GRANT CONNECT ON DATABASE :"database" TO PUBLIC;
-- and log in, before version 17.
ALTER ROLE regress_goes_alice NOLOGIN;
CREATE FUNCTION test.sqlstate(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN '00000';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END
$$;
SELECT test.sqlstate($$SELECT goes_on('{order}', async => '{alice.later}')$$)
    = CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN '00000' ELSE '55000' END AS as_it_should;
SET ROLE regress_goes_alice;
SELECT test.sqlstate($$SELECT goes_off('alice.later', forget => true)$$)
    = CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN '00000' ELSE 'OG008' END AS as_it_should;
RESET ROLE;
ALTER ROLE regress_goes_alice LOGIN;
-- An outside reactor belongs to whoever registered it first.
SET ROLE regress_goes_alice;
SELECT goes_on('{order}', outside => '{mailer}');
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_on('{mallory}', outside => '{mailer}')$$);
CALL fails($$SELECT goes_off('mailer')$$);
SET ROLE regress_goes_ann;
SELECT goes_on('{order.placed,late}', outside => '{mailer}');
SELECT goes_off('mailer');
SET ROLE regress_goes_mallory;
CALL fails($$SELECT goes_on('{mallory}', outside => '{mailer}')$$);
CALL fails($$SELECT goes_off('mailer', forget => true)$$);
SELECT reactor, mode, active, owner, patterns FROM goes.reactors WHERE mode <> 'sync';
SET ROLE regress_goes_ann;
SELECT goes_off('mailer', forget => true);
-- The owners of all its tables may turn one off, too.
SET ROLE regress_goes_mallory;
SELECT goes_on('{mallory}', outside => '{spy}');
RESET ROLE;
GRANT regress_goes_mallory TO regress_goes_app;
SET ROLE regress_goes_app;
SELECT goes_off('spy', forget => true);
RESET ROLE;
REVOKE regress_goes_mallory FROM regress_goes_app;
RESET client_min_messages;

--
-- The registry and the internals
--

SET ROLE regress_goes_alice;
SELECT type, relation, events FROM goes.aggregate_types ORDER BY type;
SELECT count(*) > 0 AS event_types, (SELECT count(*) > 0 FROM goes.command_types) AS command_types,
    (SELECT count(*) > 0 FROM goes.reactors) AS reactors, (SELECT last_value > 0 FROM goes.position) AS position FROM goes.event_types;
CALL fails($$SELECT FROM goes.commands$$);
CREATE PROCEDURE refused(statement text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RAISE 'executed: %', statement;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END
$$;
DO $$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY ARRAY['aggregate_types', 'event_types', 'command_types', 'reactors', 'commands'] LOOP
        CALL refused(format('INSERT INTO goes.%s DEFAULT VALUES', relation));
        CALL refused(format('DELETE FROM goes.%s', relation));
        CALL refused(format('TRUNCATE goes.%s', relation));
        CALL refused(format('LOCK goes.%s', relation));
        CALL refused(format('CREATE TRIGGER spy AFTER INSERT ON goes.%s FOR EACH ROW EXECUTE FUNCTION alice.see_row()', relation));
        CALL refused(format('CREATE TABLE alice.spy (type text REFERENCES goes.%s)', relation));
        CALL refused(format('ALTER TABLE goes.%s DISABLE TRIGGER ALL', relation));
        CALL refused(format('DROP TABLE goes.%s', relation));
    END LOOP;
    CALL refused('UPDATE goes.aggregate_types SET type = type');
    CALL refused('UPDATE goes.event_types SET calculator = calculator');
    CALL refused('UPDATE goes.command_types SET build = build');
    CALL refused('UPDATE goes.reactors SET owner = owner');
    CALL refused('UPDATE goes.commands SET event_position = 1');
    CALL refused($q$SELECT nextval('goes.position')$q$);
    CALL refused($q$SELECT setval('goes.position', 1)$q$);
    CALL refused('ALTER SEQUENCE goes.position RESTART');
    CALL refused('CREATE TABLE goes.spy ()');
    CALL refused('INSERT INTO goes_base_aggregate VALUES (gen_random_uuid(), 1, now(), now(), NULL)');
    CALL refused('DROP EXTENSION goes CASCADE');
    CALL refused('ALTER EXTENSION goes ADD TABLE alice.orders');
    CALL refused('ALTER EVENT TRIGGER goes_sql_drop DISABLE');
    CALL refused('CREATE OR REPLACE FUNCTION public.goes_reject(message text, detail text, hint text, reason text) RETURNS void LANGUAGE sql AS $f$ $f$');
    CALL refused('CREATE OR REPLACE FUNCTION goes.react() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN END$f$');
    CALL refused('CREATE TRIGGER spy AFTER INSERT ON alice.seen FOR EACH STATEMENT EXECUTE FUNCTION goes.registry_changed()');
    CALL refused('SELECT goes_forget_commands(now())');
END
$$;
-- Nothing of goes's own can be called but as what it is.
\set VERBOSITY sqlstate
SELECT goes.guard_events();
SELECT goes.guard_aggregate();
SELECT goes.react();
SELECT goes.registry_changed();
SELECT goes.ddl_command_start();
SELECT goes.ddl_command_end();
SELECT goes.sql_drop();
-- A guard elsewhere only refuses.
CREATE TRIGGER guard BEFORE INSERT ON seen FOR EACH ROW EXECUTE FUNCTION goes.guard_events();
INSERT INTO seen VALUES ('x');
DROP TRIGGER guard ON seen;
CREATE TRIGGER guard AFTER INSERT ON seen FOR EACH ROW EXECUTE FUNCTION goes.guard_aggregate();
INSERT INTO seen VALUES ('x');
DROP TRIGGER guard ON seen;
\set VERBOSITY default
-- Which functions PUBLIC may not execute
SELECT oid::regprocedure FROM pg_proc
WHERE oid IN (SELECT objid FROM pg_depend WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'goes') AND classid = 'pg_proc'::regclass)
    AND NOT has_function_privilege('regress_goes_mallory', oid, 'EXECUTE')
ORDER BY oid::regprocedure::text COLLATE "C";
-- Forgetting command ids can be granted.
RESET ROLE;
GRANT EXECUTE ON FUNCTION goes_forget_commands TO regress_goes_app;
SET ROLE regress_goes_app;
SELECT goes_forget_commands('2000-01-01');
SELECT goes_forget_commands('infinity') > 0 AS forgotten;
SELECT goes_do('order.set', id(2), command_id => id(100)) IS NOT NULL AS set;

-- The owner has no less rights: what she does to her tables is hers.
SET ROLE regress_goes_alice;
ALTER TABLE orders DISABLE TRIGGER goes_guard;
UPDATE orders SET item = 'repaired' WHERE id = id(1);
ALTER TABLE orders ENABLE TRIGGER goes_guard;
SET ROLE regress_goes_app;
SELECT item FROM goes_execute(NULL::orders, jsonb_build_object('command', 'order.set', 'aggregate_id', id(1)));

-- A new owner
RESET ROLE;
ALTER TABLE alice.orders OWNER TO regress_goes_mallory;
ALTER TABLE alice.orders_events OWNER TO regress_goes_mallory;
SET ROLE regress_goes_alice;
CALL fails($$SELECT goes_register_event('order', 'changed')$$);
SET ROLE regress_goes_mallory;
SELECT goes_register_event('order', 'changed');
SET ROLE regress_goes_app;
SELECT goes_do('order.set', id(1)) IS NOT NULL AS set;

RESET ROLE;
\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA alice, mallory, others CASCADE;
\i :end
DROP ROLE regress_goes_ann, regress_goes_ned, regress_goes_group, regress_goes_app, regress_goes_mallory, regress_goes_alice;
