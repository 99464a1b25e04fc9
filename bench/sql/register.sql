-- The aggregate type of schema :v: its functions are those of schema :functions,
-- its calculator is :calculator.
SET search_path = :"v", public;
SELECT goes_register_aggregate(:'v', 'accounts'),
    goes_register_event(:'v', 'opened'),
    goes_register_event(:'v', 'deposited', calculator => :'calculator'),
    goes_register_command(:'v', 'open', event => 'opened', target => 'new'),
    goes_register_command(:'v', 'deposit', validate => 'valid_deposit', build => 'build_deposit');
SELECT goes_do(:'v' || '.open', account(i)) FROM generate_series(1, :n) i;
VACUUM ANALYZE accounts, accounts_events;
