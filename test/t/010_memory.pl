# Sessions do not grow, however many commands they execute.
#
# Each case executes commands in one session, measures all of its memory
# contexts, executes three times as many commands and measures again.  By the
# first measurement everything is cached that will be, so that hardly anything
# may be added: a quarter of a megabyte leaves room for blocks that are
# allocated in powers of two.  A leak of 16 bytes in each command would be more
# in the first cases.
#
# Within one transaction PostgreSQL itself remembers each update of a row that
# the transaction wrote itself, as a combo command id: not counted here.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tolerance = 256 * 1024;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'\nautovacuum = off");
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION goes;
CREATE ROLE one;
CREATE ROLE two;
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN lpad(n::text, 32, '0')::uuid;
CREATE VIEW memory AS SELECT sum(total_bytes) AS bytes FROM pg_backend_memory_contexts WHERE name <> 'Combo CIDs';

CREATE DOMAIN positive AS bigint CHECK (VALUE >= 0);
CREATE TABLE counter (
    LIKE goes_base_aggregate INCLUDING ALL,
    n positive NOT NULL DEFAULT 0,
    price numeric(10, 2) DEFAULT 1,
    name varchar(20),
    doubled bigint GENERATED ALWAYS AS (n * 2) STORED);
SELECT goes_register_aggregate('counter', 'counter');
CREATE FUNCTION validate(aggregate counter, command goes_command) RETURNS void LANGUAGE sql
RETURN goes_require(NOT command.data ? 'reject', 'rejected');
CREATE FUNCTION build(aggregate counter, command goes_command) RETURNS goes_event_data LANGUAGE sql
RETURN goes_event_data('went_up', command.data);
CREATE FUNCTION build_merge(aggregate counter, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql
AS $$ BEGIN RETURN goes_event_data('merged', command.data || '{"name": "x"}', transient => '{"secret": 1}'); END $$;
CREATE FUNCTION build_nothing(aggregate counter, command goes_command) RETURNS goes_event_data LANGUAGE plpgsql
AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION up(aggregate counter, event goes_event) RETURNS counter LANGUAGE plpgsql
AS $$ BEGIN aggregate.n = aggregate.n + 1; RETURN aggregate; END $$;
SELECT goes_register_event('counter', 'went_up', calculator => 'up'), goes_register_event('counter', 'merged');
SELECT goes_register_command('counter', 'go_up', build => 'build', validate => 'validate', target => 'any'),
    goes_register_command('counter', 'merge', build => 'build_merge', target => 'any'),
    goes_register_command('counter', 'nothing', build => 'build_nothing', target => 'any'),
    goes_register_command('counter', 'nest', event => 'merged', target => 'any');
CREATE FUNCTION note(event goes_event) RETURNS void LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION note_state(aggregate counter, event goes_event) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN IF event.data ? 'fail' THEN RAISE 'failed'; END IF; END $$;
CREATE FUNCTION note_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION nest(event goes_event) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN IF event.data ? 'nest' THEN PERFORM goes_do('counter.go_up', id((event.data -> 'nest')::int)); END IF; END $$;
SELECT goes_on('{counter}', sync => '{note,note_state,note_row,nest}');
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER look BEFORE INSERT OR UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION look();
CREATE TRIGGER look BEFORE INSERT ON counter_events FOR EACH ROW EXECUTE FUNCTION look();

CREATE TABLE hidden (LIKE goes_base_aggregate INCLUDING ALL, owner name DEFAULT 'one') PARTITION BY HASH (id);
CREATE TABLE hidden_0 PARTITION OF hidden FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hidden_1 PARTITION OF hidden FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON hidden USING (owner = current_user) WITH CHECK (true);
SELECT goes_register_aggregate('hidden', 'hidden');
SELECT goes_register_event('hidden', 'put');
SELECT goes_register_command('hidden', 'put', event => 'put', target => 'any');
GRANT ALL ON counter, counter_events, hidden, hidden_events TO one, two;

-- Both commands, for the i-th time
CREATE PROCEDURE work(i integer) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM goes_do('counter.go_up', id(i % 100));
    PERFORM goes_do('counter.merge', id(i % 100), metadata => '{"a": 1}', command_id => CASE WHEN i % 10 = 0 THEN gen_random_uuid() END);
END
$$;
});

# Runs a statement for each i in one session, and compares.  :i is the number.
sub does_not_grow
{
	my ($name, %how) = @_;
	my $each = $how{each};
	my $end = $how{end} // 'COMMIT;';
	my $n = $how{n} // 1500;
	my $m = 3 * $n;
	my $per_command = $how{per_command} // 0;
	my $session = qq{
SET client_min_messages = error;
CREATE PROCEDURE pg_temp.loop(n integer) LANGUAGE plpgsql AS \$loop\$
DECLARE
    document jsonb := (SELECT jsonb_agg(jsonb_build_object('command', 'counter.go_up', 'aggregate_id', id(i % 100))) FROM generate_series(1, 1000) i);
BEGIN
    FOR i IN 1 .. n LOOP
        $each
        $end
    END LOOP;
END
\$loop\$;
};
	my ($before, $after);

	if ($end)
	{
		# measured between transactions
		($before, $after) = split /\n/, $node->safe_psql('postgres',
			"$session CALL pg_temp.loop($n); SELECT bytes FROM memory; CALL pg_temp.loop($m); SELECT bytes FROM memory;");
	}
	else
	{
		# measured within the transaction, and after it
		my ($after_first, $after_more);

		($before, $after, $after_first, $after_more) = split /\n/, $node->safe_psql('postgres', qq{$session
BEGIN; CALL pg_temp.loop($n); SELECT bytes FROM memory; CALL pg_temp.loop($m); SELECT bytes FROM memory; COMMIT;
SELECT bytes FROM memory; CALL pg_temp.loop($m); SELECT bytes FROM memory;});
		cmp_ok($after_more - $after_first, '<', $tolerance, "$name, after the transaction: $after_first to $after_more bytes");
	}
	cmp_ok($after - $before, '<', $tolerance + $per_command * $m, "$name: $before to $after bytes");
	return;
}

does_not_grow('each in a transaction of its own', each => 'CALL work(i);', n => 5000);
# The array of combo command ids, 8 bytes each, is in TopTransactionContext and doubles when it is full.
does_not_grow('all in one transaction', each => 'CALL work(i);', n => 5000, end => '', per_command => 2 * 16);
does_not_grow('rolled back', each => 'CALL work(i);', end => 'ROLLBACK;');
does_not_grow('new aggregates', each => q{PERFORM goes_do('counter.go_up'); PERFORM goes_do('counter.merge', gen_random_uuid());});
does_not_grow('in pieces of 1,000', each => 'PERFORM goes_execute_many(document);', n => 10);
does_not_grow('in pieces of 1,000 in one transaction', each => 'PERFORM goes_execute_many(document);', n => 5, end => '', per_command => 1000 * 16);
does_not_grow('returning the aggregate', each => q{PERFORM goes_execute(NULL::counter, jsonb_build_object('command', 'counter.go_up', 'aggregate_id', id(i % 100)));});
does_not_grow('nothing happens', each => q{PERFORM goes_do('counter.nothing', id(i % 100), command_id => id(i % 1000 + 100000));});
does_not_grow('nested', each => q{PERFORM goes_do('counter.nest', id(i % 100), jsonb_build_object('nest', i % 100 + 1));});
does_not_grow('errors that are caught', each => q{
	BEGIN PERFORM goes_do('counter.go_up', id(i % 100), '{"reject": 1}'); EXCEPTION WHEN SQLSTATE 'OG001' THEN NULL; END;
	BEGIN PERFORM goes_do('counter.merge', id(i % 100), '{"fail": 1}'); EXCEPTION WHEN raise_exception THEN NULL; END;
	BEGIN PERFORM goes_do('counter.merge', id(i % 100), '{"n": -1}'); EXCEPTION WHEN check_violation THEN NULL; END;
	BEGIN PERFORM goes_do('counter.unknown', id(i % 100)); EXCEPTION WHEN SQLSTATE 'OG008' THEN NULL; END;
	BEGIN PERFORM goes_do('counter.go_up', id(i % 100), expected_version => -1); EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN PERFORM goes_execute('{"nonsense": 1}'); EXCEPTION WHEN OTHERS THEN NULL; END;}, n => 2000);
does_not_grow('errors that are caught, in one transaction', each => q{
	BEGIN PERFORM goes_do('counter.go_up', id(i % 100), '{"reject": 1}'); EXCEPTION WHEN SQLSTATE 'OG001' THEN NULL; END;
	BEGIN PERFORM goes_do('counter.merge', id(i % 100), '{"fail": 1}'); EXCEPTION WHEN raise_exception THEN NULL; END;}, end => '', per_command => 2 * 16);
does_not_grow('switching roles', each => q{
	EXECUTE 'SET LOCAL ROLE ' || CASE WHEN i % 2 = 0 THEN 'one' ELSE 'two' END;
	PERFORM goes_do('counter.go_up', id(i % 100));
	BEGIN PERFORM goes_do('hidden.put', id(i % 10), '{"owner": "one"}'); EXCEPTION WHEN SQLSTATE 'OG004' OR insufficient_privilege THEN NULL; END;
	RESET ROLE;});
does_not_grow('switching roles in one transaction', each => q{
	EXECUTE 'SET LOCAL ROLE ' || CASE WHEN i % 2 = 0 THEN 'one' ELSE 'two' END;
	PERFORM goes_do('counter.go_up', id(i % 100));
	RESET ROLE;}, end => '', per_command => 2 * 16);
does_not_grow('switching search paths', each => q{
	PERFORM set_config('search_path', format('public, s%s', i % 50), true);
	CALL public.work(i);});
# What changes makes everything be read again.
does_not_grow('altered tables', each => q{ALTER TABLE counter ALTER name SET STATISTICS 10; CALL work(i);}, n => 200);
does_not_grow('another model', each => q{
	PERFORM goes_register_command('counter', 'other', event => 'merged', target => CASE WHEN i % 2 = 0 THEN 'any' ELSE 'new' END);
	CALL work(i);}, n => 200);
does_not_grow('other functions', each => q{
	CREATE OR REPLACE FUNCTION build(aggregate counter, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN goes_event_data('went_up', command.data);
	CALL work(i);}, n => 200);
does_not_grow('other reactors', each => q{
	IF i % 2 = 0 THEN PERFORM goes_off('note_state'); ELSE PERFORM goes_on('{counter}', sync => '{note_state}'); END IF;
	CALL work(i);}, n => 200);
# PostgreSQL caches what it has once looked up in vain: 1 kB each time, without goes too.
does_not_grow('other partitions', each => q{
	ALTER TABLE hidden DETACH PARTITION hidden_0;
	ALTER TABLE hidden ATTACH PARTITION hidden_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	PERFORM goes_do('hidden.put', id(i % 10));}, n => 200, per_command => 2048);

# A runner that is given all those events again and again
$node->safe_psql('postgres', q{
CREATE FUNCTION forget(event goes_event) RETURNS void LANGUAGE sql AS '';
SELECT goes_on('{counter}', async => '{forget}'), goes_wait(timeout => '3min');});

sub runner_bytes
{
	my $offset = -s $node->logfile;

	$node->safe_psql('postgres', q{SELECT goes_rewind('forget', 0)});
	$node->safe_psql('postgres', q{SELECT goes_wait('forget', timeout => '3min')});
	$node->safe_psql('postgres', q{SELECT pg_log_backend_memory_contexts(pid) FROM pg_stat_activity WHERE backend_type LIKE 'goes runner%'});
	$node->wait_for_log(qr/Grand total: \d+ bytes/, $offset);
	return substr(slurp_file($node->logfile), $offset) =~ /Grand total: (\d+) bytes/ ? $1 : die;
}

my $events = $node->safe_psql('postgres', 'SELECT count(*) FROM counter_events');
my ($before, $after) = (runner_bytes(), runner_bytes());
cmp_ok($after - $before, '<', $tolerance, "a runner, $events events: $before to $after bytes");
$node->stop;

done_testing();
