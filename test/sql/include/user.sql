\set ECHO none
-- The user example.
SET client_min_messages = error;
\o /dev/null
\set model :srcdir '/../examples/user/model.sql'
\i :model
\o
RESET client_min_messages;
\set ECHO all
