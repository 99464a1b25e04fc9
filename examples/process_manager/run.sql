-- Two orders go through the process; run model.sql first.
\set ON_ERROR_STOP on
\set ECHO queries

\echo '\n-- Place two orders. The commands return at once.\n'
SELECT goes_do('order.place', '00000000-0000-0000-0000-000000000001', '{"amount": 42}', '{"request_id": "first"}') ->> 'action' AS event;
SELECT goes_do('order.place', '00000000-0000-0000-0000-000000000002', '{"amount": 1000}', '{"request_id": "second"}') ->> 'action' AS event;

\echo '\n-- The process manager requests payments. Programs need not wait for that; a demonstration does.\n'
SELECT goes_wait();
SELECT order_id, amount, status FROM payments ORDER BY amount;

\echo '\n-- One is received, the other declined.\n'
SELECT goes_do('payment.receive', (SELECT id FROM payments WHERE amount = 42)) ->> 'action' AS event;
SELECT goes_do('payment.decline', (SELECT id FROM payments WHERE amount = 1000)) ->> 'action' AS event;
SELECT goes_wait();
SELECT id, amount, status, version FROM orders ORDER BY amount;

\echo '\n-- Who caused what: each event of the process names its cause, and all carry the request.\n'
SELECT e.position, e.aggregate_type || '.' || e.action AS event, cause.action AS caused_by, e.metadata ->> 'request_id' AS request
FROM goes_events() e
LEFT JOIN goes_events() cause ON cause.id = (e.metadata ->> 'causation_id')::uuid
ORDER BY e.position;
