-- Orders and payments, and the process that leads from one to the other: async
-- reactors that execute commands. Run it in a database of a server that preloads goes.

CREATE EXTENSION IF NOT EXISTS goes;

CREATE TABLE orders (
    LIKE goes_base_aggregate INCLUDING ALL,
    amount numeric NOT NULL,
    status text NOT NULL DEFAULT 'placed'
);

CREATE TABLE payments (
    LIKE goes_base_aggregate INCLUDING ALL,
    order_id uuid NOT NULL,
    amount numeric NOT NULL,
    status text NOT NULL DEFAULT 'requested'
);

SELECT goes_register_aggregate('order', 'orders'), goes_register_aggregate('payment', 'payments');

SELECT goes_register_event('order', 'placed'), goes_register_event('order', 'paid'), goes_register_event('order', 'cancelled');
SELECT goes_register_event('payment', 'requested'), goes_register_event('payment', 'received'),
    goes_register_event('payment', 'declined');

-- What each command does to the order's status is data of its event.
CREATE FUNCTION set_order_paid(aggregate orders, command goes_command) RETURNS goes_event_data
LANGUAGE sql
AS $$
SELECT CASE WHEN aggregate.status = 'placed' THEN goes_event_data('paid', '{"status": "paid"}') END
$$;

CREATE FUNCTION cancel_order(aggregate orders, command goes_command) RETURNS goes_event_data
LANGUAGE sql
AS $$
SELECT CASE WHEN aggregate.status = 'placed'
    THEN goes_event_data('cancelled', jsonb_build_object('status', 'cancelled', 'reason', command.data -> 'reason'))
END
$$;

CREATE FUNCTION settle_payment(aggregate payments, command goes_command) RETURNS goes_event_data
LANGUAGE sql
AS $$
SELECT CASE WHEN aggregate.status = 'requested' AND command.name = 'payment.receive'
        THEN goes_event_data('received', '{"status": "received"}')
    WHEN aggregate.status = 'requested'
        THEN goes_event_data('declined', '{"status": "declined"}')
END
$$;

SELECT goes_register_command('order', 'place', event => 'placed', target => 'new'),
    goes_register_command('order', 'pay', 'set_order_paid'),
    goes_register_command('order', 'cancel', 'cancel_order');
SELECT goes_register_command('payment', 'request', event => 'requested', target => 'new'),
    goes_register_command('payment', 'receive', 'settle_payment'),
    goes_register_command('payment', 'decline', 'settle_payment');

-- The process. Each step is committed together with the reactor's progress, so each is done exactly once. The event's id
-- as command id keeps it so even if the reactor is rewound. Metadata (a request id, say) is handed on from event to event.
CREATE FUNCTION handle_payment(event goes_event) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    CASE event.aggregate_type || '.' || event.action
        WHEN 'order.placed' THEN
            PERFORM goes_do('payment.request', command_id => event.id,
                data => jsonb_build_object('order_id', event.aggregate_id, 'amount', event.data -> 'amount'));
        WHEN 'payment.received' THEN
            PERFORM goes_do('order.pay', (SELECT order_id FROM payments WHERE id = event.aggregate_id), command_id => event.id);
        WHEN 'payment.declined' THEN
            PERFORM goes_do('order.cancel', (SELECT order_id FROM payments WHERE id = event.aggregate_id),
                '{"reason": "the payment was declined"}', command_id => event.id);
    END CASE;
END
$$;

SELECT goes_on('{order.placed,payment.received,payment.declined}', async => '{handle_payment}');
