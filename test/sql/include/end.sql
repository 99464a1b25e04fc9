\set ECHO none
SET client_min_messages = warning;
DROP EXTENSION goes CASCADE;
DROP SCHEMA test CASCADE;
RESET client_min_messages;
