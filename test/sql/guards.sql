-- Guards: nobody writes an events table but goes, nor an aggregate table.
\getenv srcdir PG_ABS_SRCDIR
\set begin :srcdir '/sql/include/begin.sql'
\set user :srcdir '/sql/include/user.sql'
\set end :srcdir '/sql/include/end.sql'
\i :begin
\i :user
SELECT goes_register_command('user', 'put', event => 'created', target => 'any');
SELECT goes_do('user.create', id(1), '{"first_name": "First", "last_name": "User"}') -> 'aggregate_version' AS version;
CREATE FUNCTION checksum() RETURNS text LANGUAGE sql AS $$
    SELECT md5(concat((SELECT string_agg(u::text, ';' ORDER BY id) FROM users u), (SELECT string_agg(e::text, ';' ORDER BY position) FROM users_events e)))
$$;
SELECT checksum() AS before \gset
-- Runs a statement that must be refused, and shows what was refused on which table.
CREATE PROCEDURE refused(statement text) LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    relation text;
BEGIN
    BEGIN
        EXECUTE statement;
        RAISE SQLSTATE 'ZZZZZ' USING MESSAGE = 'was not refused';
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, relation = TABLE_NAME;
    END;
    RAISE INFO '% on %: %', state, relation, CASE WHEN state IN ('OG006', 'OG007') THEN split_part(detail, ':', 1) ELSE message END;
END $$;

--
-- Every way to write, as superuser and owner
--

CALL refused($$INSERT INTO users VALUES (id(2), 1, now(), now(), NULL, 'Second', 'User')$$);
CALL refused($$INSERT INTO users SELECT id(2), version, created_at, updated_at, deleted_at, first_name, last_name FROM users$$);
CALL refused($$INSERT INTO users SELECT * FROM users ON CONFLICT DO NOTHING$$);
CALL refused($$INSERT INTO users SELECT * FROM users ON CONFLICT (id) DO UPDATE SET version = 7$$);
CALL refused($$UPDATE users SET first_name = 'x'$$);
CALL refused($$UPDATE users SET id = id$$);
CALL refused($$DELETE FROM users$$);
CALL refused($$TRUNCATE users$$);
CALL refused($$TRUNCATE users, users_events$$);
CALL refused($$MERGE INTO users u USING (VALUES (1)) v ON u.id = id(1) WHEN MATCHED THEN UPDATE SET version = 7$$);
CALL refused($$MERGE INTO users u USING (VALUES (1)) v ON u.id = id(1) WHEN MATCHED THEN DELETE$$);
CALL refused($$MERGE INTO users u USING (VALUES (1)) v ON u.id = id(2) WHEN NOT MATCHED THEN INSERT VALUES (id(2), 1, now(), now(), NULL, 'Second', 'User')$$);
CALL refused($$WITH x AS (UPDATE users SET version = 7 RETURNING *) SELECT * FROM x$$);
CREATE VIEW users_view AS SELECT * FROM users;
CALL refused($$UPDATE users_view SET version = 7$$);
DROP VIEW users_view;
COPY users (id, version, created_at, updated_at, first_name, last_name) FROM stdin;
00000000-0000-0000-0000-000000000002	1	2001-01-01	2001-01-01	Second	User
\.
CALL refused($$INSERT INTO users_events SELECT position + 1, id(2), aggregate_id, aggregate_version + 1, action, event_version, data, metadata, command_id, imported, recorded_at FROM users_events$$);
CALL refused($$INSERT INTO users_events SELECT * FROM users_events ON CONFLICT DO NOTHING$$);
CALL refused($$UPDATE users_events SET data = '{}'$$);
CALL refused($$DELETE FROM users_events$$);
CALL refused($$TRUNCATE users_events CASCADE$$);
CALL refused($$MERGE INTO users_events e USING (VALUES (1)) v ON e.aggregate_id = id(1) WHEN MATCHED THEN UPDATE SET data = '{}'$$);
CALL refused($$MERGE INTO users_events e USING (VALUES (1)) v ON e.aggregate_id = id(1) WHEN MATCHED THEN DELETE$$);
COPY users_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at) FROM stdin;
2	00000000-0000-0000-0000-000000000002	00000000-0000-0000-0000-000000000001	2	created	1	{}	{}	f	2001-01-01
\.
-- what changes no row is no matter
UPDATE users SET version = 7 WHERE false;
DELETE FROM users_events WHERE position < 0;
-- nor is what only locks and reads
SELECT count(*) FROM (SELECT FROM users FOR UPDATE) u;
BEGIN;
LOCK TABLE users, users_events;
COMMIT;

-- From inside of a command: in validate, build and reactors.
CREATE FUNCTION write(event goes_event) RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE event.data ->> 'write'; END$$;
SELECT goes_on('{user}', sync => '{write}');
CALL refused($$SELECT goes_do('user.put', id(1), '{"write": "UPDATE users SET first_name = ''x''"}')$$);
CALL refused($$SELECT goes_do('user.put', id(1), '{"write": "DELETE FROM users WHERE id = test.id(1)"}')$$);
CALL refused($$SELECT goes_do('user.put', id(1), '{"write": "UPDATE users_events SET metadata = data"}')$$);
CALL refused($$SELECT goes_do('user.put', id(1), '{"write": "DELETE FROM users_events"}')$$);
CALL refused($$SELECT goes_do('user.put', id(1), '{"write": "TRUNCATE users_events"}')$$);
SELECT goes_off('write');

-- Foreign keys: cascades are writes too.
CREATE TABLE teams (id uuid PRIMARY KEY);
CREATE TABLE members (LIKE goes_base_aggregate INCLUDING ALL, cascading uuid REFERENCES teams ON DELETE CASCADE ON UPDATE CASCADE,
    nulling uuid REFERENCES teams ON DELETE SET NULL);
SELECT goes_register_aggregate('member', 'members'), goes_register_event('member', 'set'), goes_register_command('member', 'set', event => 'set', target => 'any');
ALTER TABLE members_events ADD team uuid GENERATED ALWAYS AS ((data ->> 'cascading')::uuid) STORED REFERENCES teams ON DELETE CASCADE;
INSERT INTO teams VALUES (id(1)), (id(2)), (id(3));
CALL fails($$SELECT goes_do('member.set', id(1), jsonb_build_object('nulling', id(4)))$$);
SELECT goes_do('member.set', id(1), jsonb_build_object('nulling', id(2))) -> 'aggregate_version' AS version;
CALL refused($$DELETE FROM teams WHERE id = id(2)$$);
SELECT goes_do('member.set', id(2), jsonb_build_object('cascading', id(1))) -> 'aggregate_version' AS version;
CALL refused($$UPDATE teams SET id = id(5) WHERE id = id(1)$$);
CALL refused($$DELETE FROM teams WHERE id = id(1)$$);
CALL refused($$TRUNCATE teams CASCADE$$);
SELECT goes_do('member.set', id(2), '{"cascading": null}') -> 'aggregate_version' AS version;
-- its row in members is free of it, its event is not
CALL refused($$DELETE FROM teams WHERE id = id(1)$$);
DELETE FROM teams WHERE id = id(3);
INSERT INTO teams VALUES (id(3));

-- Partitions, also those that come later, directly and through the root.
CREATE TABLE parts (LIKE goes_base_aggregate INCLUDING ALL, name text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (MINVALUE) TO ('00000000-0000-0000-0000-000000000010');
CREATE TABLE parts_events (LIKE users_events, PRIMARY KEY (position)) PARTITION BY RANGE (position);
CREATE TABLE parts_events_1 PARTITION OF parts_events FOR VALUES FROM (MINVALUE) TO (1000);
SELECT goes_register_aggregate('part', 'parts'), goes_register_event('part', 'set'), goes_register_command('part', 'set', event => 'set', target => 'any');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('00000000-0000-0000-0000-000000000010') TO ('00000000-0000-0000-0000-000000000020') PARTITION BY RANGE (id);
CREATE TABLE parts_2_1 PARTITION OF parts_2 DEFAULT;
CREATE TABLE parts_3 (name text, LIKE goes_base_aggregate INCLUDING ALL);
ALTER TABLE parts ATTACH PARTITION parts_3 DEFAULT;
CREATE TABLE parts_events_2 PARTITION OF parts_events DEFAULT;
SELECT goes_do('part.set', i, '{"name": "n"}') -> 'aggregate_version' AS version FROM unnest(ARRAY[id(1), id(11), id(21)]) i;
SELECT tableoid::regclass, id, name FROM parts ORDER BY id;
CREATE PROCEDURE refused_on(table_name text) LANGUAGE plpgsql AS $$
BEGIN
    CALL refused(format('UPDATE %I SET id = id', table_name));
    CALL refused(format('DELETE FROM %I', table_name));
    CALL refused(format('TRUNCATE %I', table_name));
    CALL refused(format('INSERT INTO %I SELECT * FROM %1$I ON CONFLICT DO NOTHING', table_name));
END $$;
CALL refused_on('parts');
CALL refused_on('parts_1');
CALL refused_on('parts_2');
CALL refused_on('parts_2_1');
CALL refused_on('parts_3');
CALL refused_on('parts_events');
CALL refused_on('parts_events_1');
CALL refused($$TRUNCATE parts_events_2$$);
CALL refused($$UPDATE parts SET id = id(12) WHERE id = id(1)$$);
-- a partition that is detached is not goes's any more
ALTER TABLE parts DETACH PARTITION parts_3;
TRUNCATE parts_3;
INSERT INTO parts_3 (id, version, created_at, updated_at) VALUES (id(22), 1, now(), now());
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid = 'parts_3'::regclass;

SELECT checksum() = :'before' AS unchanged;

--
-- goes.allow_direct_writes: for the owner of an aggregate table, never for events
--

CREATE ROLE regress_goes_owner;
CREATE ROLE regress_goes_member IN ROLE regress_goes_owner;
CREATE ROLE regress_goes_other;
GRANT USAGE, CREATE ON SCHEMA test TO regress_goes_owner, regress_goes_other;
CREATE TABLE owned (LIKE goes_base_aggregate INCLUDING ALL, team uuid REFERENCES teams ON DELETE CASCADE);
ALTER TABLE owned OWNER TO regress_goes_owner;
SELECT goes_register_aggregate('owned', 'owned'), goes_register_event('owned', 'set'), goes_register_command('owned', 'set', event => 'set', target => 'any');
GRANT ALL ON owned, owned_events, teams TO regress_goes_other;
SET goes.allow_direct_writes = on;
SET ROLE regress_goes_owner;
INSERT INTO owned VALUES (id(1), 1, now(), now()), (id(2), 1, now(), now());
UPDATE owned SET version = 2;
DELETE FROM owned WHERE id = id(2);
CALL refused($$INSERT INTO owned_events VALUES (1)$$);
CALL refused($$TRUNCATE owned_events$$);
SET ROLE regress_goes_member;
UPDATE owned SET version = 3;
SET ROLE regress_goes_other;
CALL refused($$UPDATE owned SET version = 4$$);
CALL refused($$DELETE FROM owned$$);
CALL refused($$TRUNCATE owned$$);
-- neither with the owner's function around it: the outer user counts
RESET ROLE;
CREATE FUNCTION write_as_owner() RETURNS void LANGUAGE sql SECURITY DEFINER SET goes.allow_direct_writes = on AS $$UPDATE test.owned SET version = 4$$;
ALTER FUNCTION write_as_owner OWNER TO regress_goes_owner;
SET ROLE regress_goes_other;
CALL refused($$SELECT write_as_owner()$$);
SET ROLE regress_goes_owner;
SELECT write_as_owner();
RESET ROLE;
-- nor with a foreign key, which works as the table's owner
BEGIN;
UPDATE owned SET team = id(3);
SET ROLE regress_goes_other;
CALL refused($$DELETE FROM test.teams WHERE id = test.id(3)$$);
RESET ROLE;
ROLLBACK;
-- the superuser has the rights of all
UPDATE owned SET version = 5;
TRUNCATE owned;
-- off again; it is local to a transaction if it is asked to be
RESET goes.allow_direct_writes;
BEGIN;
SET LOCAL goes.allow_direct_writes = on;
INSERT INTO owned VALUES (id(1), 1, now(), now());
COMMIT;
CALL refused($$DELETE FROM owned$$);
-- an owner may also disable the guards themselves
ALTER TABLE owned DISABLE TRIGGER goes_guard;
DELETE FROM owned;
ALTER TABLE owned ENABLE TRIGGER goes_guard;
ALTER TABLE users_events DISABLE TRIGGER goes_guard_truncate;
BEGIN;
TRUNCATE users_events;
ROLLBACK;
ALTER TABLE users_events ENABLE TRIGGER goes_guard_truncate;
SELECT goes_unregister_aggregate('owned');
INSERT INTO owned VALUES (id(1), 1, now(), now());
DROP TABLE owned, owned_events;
DROP OWNED BY regress_goes_owner, regress_goes_member, regress_goes_other;
DROP ROLE regress_goes_owner, regress_goes_member, regress_goes_other;

--
-- BEFORE triggers of the user's own that change or suppress what goes writes
--

-- one that only looks, or raises, is fine
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % on %', TG_WHEN, TG_OP, TG_TABLE_NAME;
    IF NEW.id = id(13) THEN
        RAISE 'unlucky';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER z BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER a BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER z BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION look();
SELECT goes_do('user.put', id(2), '{"first_name": "Looked", "last_name": "At"}') -> 'aggregate_version' AS version;
SELECT goes_do('user.put', id(2)) -> 'aggregate_version' AS version;
CALL fails($$SELECT goes_do('user.put', id(13), '{"first_name": "Looked", "last_name": "At"}')$$);
DROP TRIGGER a ON users;
DROP TRIGGER z ON users;
DROP TRIGGER a ON users_events;
DROP TRIGGER z ON users_events;

-- each column of goes's, before and after the guard
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_ARGV[0] = 'NULL' THEN
        RETURN NULL;
    END IF;
    RETURN jsonb_populate_record(NEW, TG_ARGV[0]::jsonb);
END $$;
CREATE PROCEDURE meddle(table_name text, change text) LANGUAGE plpgsql AS $$
DECLARE
    name text;
    message text;
BEGIN
    FOREACH name IN ARRAY '{a,z}'::text[] LOOP
        BEGIN
            EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION meddle(%L)', name, table_name, change);
            BEGIN
                PERFORM goes_do('user.put', id(3), '{"first_name": "Third", "last_name": "User"}', '{"m": 1}', 0, id(1000));
                message := 'not noticed';
            EXCEPTION WHEN OTHERS THEN
                message := SQLSTATE || ' ' || SQLERRM;
            END;
            RAISE NOTICE '% %: %', name, change, message;
            BEGIN
                PERFORM goes_do('user.put', id(1), '{"first_name": "First"}');
                message := 'not noticed';
            EXCEPTION WHEN OTHERS THEN
                message := SQLSTATE || ' ' || SQLERRM;
            END;
            RAISE NOTICE '% %: %', name, change, message;
            RAISE SQLSTATE 'ZZZZZ';
        EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
            NULL;
        END;
    END LOOP;
END $$;
CALL meddle('users', 'NULL');
CALL meddle('users', '{"first_name": "x"}');
CALL meddle('users', '{"addresses": {}}');
CALL meddle('users', '{"version": 7}');
CALL meddle('users', '{"id": "00000000-0000-0000-0000-000000000099"}');
CALL meddle('users', '{"created_at": "2001-01-01"}');
CALL meddle('users', '{"updated_at": "2001-01-01"}');
CALL meddle('users', '{"deleted_at": "2001-01-01"}');
CALL meddle('users_events', 'NULL');
CALL meddle('users_events', '{"position": -1}');
CALL meddle('users_events', '{"id": "00000000-0000-0000-0000-000000000099"}');
CALL meddle('users_events', '{"aggregate_id": "00000000-0000-0000-0000-000000000099"}');
CALL meddle('users_events', '{"aggregate_version": 99}');
CALL meddle('users_events', '{"action": "x"}');
CALL meddle('users_events', '{"event_version": 99}');
CALL meddle('users_events', '{"data": {}}');
CALL meddle('users_events', '{"metadata": {"a": 1}}');
CALL meddle('users_events', '{"command_id": null}');
CALL meddle('users_events', '{"command_id": "00000000-0000-0000-0000-000000000099"}');
CALL meddle('users_events', '{"imported": true}');
CALL meddle('users_events', '{"recorded_at": "2001-01-01"}');
-- what changes nothing is none of goes's business; nor are columns that are not goes's
CALL meddle('users', '{}');
ALTER TABLE users_events ADD COLUMN tenant integer;
CALL meddle('users_events', '{"tenant": 7}');
-- triggers of a partition alone
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON parts_1 FOR EACH ROW EXECUTE FUNCTION meddle('{"name": "meddled"}');
CALL fails($$SELECT goes_do('part.set', id(1), '{"name": "x"}')$$);
CALL fails($$SELECT goes_do('part.set', id(2), '{"name": "x"}')$$);
SELECT goes_do('part.set', id(11), '{"name": "x"}') -> 'aggregate_version' AS version;
CREATE OR REPLACE TRIGGER a BEFORE INSERT OR UPDATE ON parts_1 FOR EACH ROW EXECUTE FUNCTION meddle('NULL');
CALL fails($$SELECT goes_do('part.set', id(1), '{"name": "x"}')$$);
CALL fails($$SELECT goes_do('part.set', id(2), '{"name": "x"}')$$);
DROP TRIGGER a ON parts_1;
CREATE TRIGGER a BEFORE INSERT ON parts_events_1 FOR EACH ROW EXECUTE FUNCTION meddle('{"metadata": {"meddled": true}}');
CALL fails($$SELECT goes_do('part.set', id(1), '{"name": "x"}')$$);
CREATE OR REPLACE TRIGGER a BEFORE INSERT ON parts_events_1 FOR EACH ROW EXECUTE FUNCTION meddle('NULL');
CALL fails($$SELECT goes_do('part.set', id(1), '{"name": "x"}')$$);
DROP TRIGGER a ON parts_events_1;

--
-- BEFORE triggers that try to get a row of their own through the opening
--

CREATE FUNCTION smuggle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.first_name <> 'Smuggler' OR pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    EXECUTE TG_ARGV[0] USING NEW;
    RETURN CASE WHEN TG_ARGV[1] = 'NEW' THEN NEW END;
END $$;
CREATE PROCEDURE smuggle(what text) LANGUAGE plpgsql AS $$
DECLARE
    name text;
    result text;
    command text;
    message text;
BEGIN
    FOREACH name IN ARRAY '{a,z}'::text[] LOOP
        FOREACH result IN ARRAY '{NEW,"NULL"}'::text[] LOOP
            FOREACH command IN ARRAY '{create,put}'::text[] LOOP
                BEGIN
                    EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION smuggle(%L, %L)', name, what, result);
                    PERFORM goes_do('user.' || command, id(4), '{"first_name": "Smuggler", "last_name": "User"}');
                    message := format('version %s, %s', (SELECT version FROM users WHERE id = id(4)), (SELECT count(*) FROM users_events WHERE aggregate_id = id(4)));
                    RAISE SQLSTATE 'ZZZZZ';
                EXCEPTION
                    WHEN SQLSTATE 'ZZZZZ' THEN RAISE NOTICE '% % %: done, %', name, result, command, message;
                    WHEN OTHERS THEN RAISE NOTICE '% % %: %, %', name, result, command, SQLSTATE, SQLERRM;
                END;
            END LOOP;
        END LOOP;
    END LOOP;
END $$;
-- another row with that id
CALL smuggle($$INSERT INTO users VALUES ($1.id, 7, now(), now(), NULL, 'Smuggled', 'Row')$$);
CALL smuggle($$INSERT INTO users VALUES ($1.id, 0, now(), now(), NULL, 'Smuggled', 'Row')$$);
-- nearly the same row, and the very same
CALL smuggle($$INSERT INTO users VALUES ($1.id, $1.version, $1.created_at, $1.updated_at, $1.deleted_at, 'Smuggled', $1.last_name)$$);
CALL smuggle($$INSERT INTO users SELECT ($1).*$$);
-- one with another id
CALL smuggle($$INSERT INTO users VALUES (id(5), 1, now(), now(), NULL, 'Smuggled', 'Row')$$);
-- a write that is rolled back, in order to use the opening again
CALL smuggle($x$DO $$BEGIN INSERT INTO users VALUES (id(4), 7, now(), now(), NULL, 'Smuggled', 'Row'); RAISE SQLSTATE 'YYYYY'; EXCEPTION WHEN OTHERS THEN NULL; END$$$x$);
-- an UPDATE or DELETE of something else
CALL smuggle($$UPDATE users SET last_name = 'Smuggled'$$);
CALL smuggle($$DELETE FROM users WHERE id <> $1.id$$);
CALL smuggle($$TRUNCATE users_events$$);
CALL smuggle($$UPDATE users_events SET action = 'smuggled'$$);
-- events
CALL smuggle($$INSERT INTO users_events SELECT -1, id, aggregate_id, 99, action, event_version, data, metadata, command_id, imported, recorded_at FROM users_events LIMIT 1$$);
-- a nested command is no smuggling, but what it did counts
CALL smuggle($$SELECT goes_do('user.put', id(5), '{"first_name": "Nested", "last_name": "Command"}')$$);
CALL smuggle($$SELECT goes_do('user.put', $1.id, '{"first_name": "Nested", "last_name": "Command"}')$$);
-- and after a nested command the opening is for the outer row still, and for nothing else
CALL smuggle($x$DO $$BEGIN PERFORM goes_do('user.put', id(5), '{"first_name": "Nested", "last_name": "Command"}');
    UPDATE users SET last_name = 'Smuggled' WHERE id = id(5); END$$$x$);
-- an update: the row before the row
CREATE TRIGGER a BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.first_name = 'Smuggler') EXECUTE FUNCTION smuggle($$UPDATE users SET first_name = 'Smuggled' WHERE id = $1.id$$, 'NEW');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
CREATE OR REPLACE TRIGGER a BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.first_name = 'Smuggler')
    EXECUTE FUNCTION smuggle($$UPDATE users SET first_name = 'Smuggled', version = $1.version WHERE id = $1.id$$, 'NULL');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
CREATE OR REPLACE TRIGGER a BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.first_name = 'Smuggler')
    EXECUTE FUNCTION smuggle($$SELECT goes_do('user.put', $1.id, '{"first_name": "Nested"}')$$, 'NEW');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
DROP TRIGGER a ON users;

-- Through the events table's opening
CREATE FUNCTION smuggle_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.data ->> 'first_name' <> 'Smuggler' OR pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    IF TG_ARGV[1] = 'same' THEN
        INSERT INTO users_events SELECT NEW.*;
    ELSE
        INSERT INTO users_events VALUES (NEW.position, NEW.id, NEW.aggregate_id, NEW.aggregate_version, 'smuggled', 1, '{"first_name": "x"}', NEW.metadata, NEW.command_id, false, NEW.recorded_at);
    END IF;
    RETURN CASE WHEN TG_ARGV[0] = 'NEW' THEN NEW END;
END $$;
CREATE TRIGGER a BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION smuggle_event('NEW');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
CREATE OR REPLACE TRIGGER a BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION smuggle_event('NULL');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
DROP TRIGGER a ON users_events;
CREATE TRIGGER z BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION smuggle_event('NEW');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
CREATE OR REPLACE TRIGGER z BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION smuggle_event('NULL');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
DROP TRIGGER z ON users_events;
CREATE TRIGGER a BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION smuggle_event('NEW', 'same');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
CREATE OR REPLACE TRIGGER a BEFORE INSERT ON users_events FOR EACH ROW EXECUTE FUNCTION smuggle_event('NULL', 'same');
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "Smuggler"}')$$);
DROP TRIGGER a ON users_events;

-- After a failure no opening is left.
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'failed'; END$$;
CREATE TRIGGER a BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fail();
CALL fails($$SELECT goes_do('user.put', id(1), '{"first_name": "x"}')$$);
DROP TRIGGER a ON users;
CALL fails($$UPDATE users SET first_name = 'x' WHERE id = id(1)$$);
ALTER TABLE users ADD CONSTRAINT no_bad CHECK (first_name <> 'bad');
DO $$
BEGIN
    PERFORM goes_do('user.put', id(1), '{"first_name": "bad"}');
EXCEPTION WHEN check_violation THEN
    UPDATE users SET first_name = 'x' WHERE id = id(1);
END $$;

-- AFTER triggers of the user's own see what is stored, and may execute commands.
CREATE FUNCTION after_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE '% % on % % at %', TG_WHEN, TG_OP, TG_TABLE_NAME, NEW.first_name, NEW.version;
    IF NEW.first_name = 'Outer' THEN
        PERFORM goes_do('user.put', NEW.id, '{"first_name": "Inner"}');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER after_user AFTER INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION after_user();
SELECT version - 2 AS after FROM users WHERE id = id(2);
SELECT goes_do('user.put', id(2), '{"first_name": "Outer"}') -> 'aggregate_version' AS version;
SELECT version, first_name FROM users WHERE id = id(2);
SELECT aggregate_version, data, position - lag(position) OVER (ORDER BY aggregate_version) > 0 AS in_order FROM users_events WHERE aggregate_id = id(2) ORDER BY aggregate_version;

-- A table with rules is not written.
CREATE RULE nothing AS ON UPDATE TO users DO INSTEAD NOTHING;
CALL fails($$SELECT goes_do('user.put', id(2), '{"first_name": "Ruled"}')$$);
DROP RULE nothing ON users;
CREATE RULE nothing AS ON INSERT TO users_events DO ALSO NOTHING;
CALL fails($$SELECT goes_do('user.put', id(2), '{"first_name": "Ruled"}')$$);
DROP RULE nothing ON users_events;
SELECT goes_do('user.put', id(2), '{"first_name": "Free"}') -> 'aggregate_version' AS version;

-- Tables do not come to goes by inheritance.
CALL fails($$CREATE TABLE kid () INHERITS (users)$$);
CALL fails($$CREATE TABLE kid () INHERITS (users_events)$$);
CREATE TABLE kid (LIKE users INCLUDING ALL);
CALL fails($$ALTER TABLE kid INHERIT users$$);
CREATE TABLE parent (first_name text NOT NULL);
CALL fails($$ALTER TABLE users INHERIT parent$$);

\i :end
