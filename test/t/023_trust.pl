# What would end users' trust: shared memory that others write to, transient
# data for who it is not for, events of another table, code of another role.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'\nmax_worker_processes = 5");
$node->start;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sql(q{
CREATE ROLE alice LOGIN;
CREATE ROLE mallory LOGIN;
GRANT CREATE ON SCHEMA public TO alice, mallory;
CREATE EXTENSION goes;
CREATE TABLE log (seq bigserial, reactor text, who text, position bigint, note text);
GRANT ALL ON log, log_seq_seq TO PUBLIC;
SET ROLE alice;
CREATE TABLE docs (LIKE goes_base_aggregate INCLUDING ALL, name text);
CREATE FUNCTION make_secret(aggregate docs, command goes_command) RETURNS goes_event_data LANGUAGE sql
AS $$ SELECT goes_event_data('put', command.data, transient => '{"token": "secret"}') $$;
SELECT goes_register_aggregate('doc', 'docs'), goes_register_event('doc', 'put'), goes_register_command('doc', 'put', 'make_secret', target => 'any');
SELECT goes_on('{doc}', outside => '{mailer}');
CREATE FUNCTION note(event goes_event) RETURNS void LANGUAGE sql
AS $$ INSERT INTO public.log (reactor, who, position, note) VALUES ('note', current_user, event.position, event.data ->> 'name') $$;
});

# Auxiliary processes come and go: they release resources too, but have no slot.
{
	my $before = sql('SELECT count(*) FROM goes_stat_workers WHERE pid > 0');
	my $io_workers = sql(q{SELECT count(*) FROM pg_settings WHERE name = 'io_workers'});

	if ($io_workers)
	{
		foreach my $n (1, 4, 1)
		{
			$node->append_conf('postgresql.conf', "io_workers = $n");
			$node->reload;
			$node->poll_query_until('postgres', "SELECT count(*) = $n FROM pg_stat_activity WHERE backend_type = 'io worker'") or die 'timed out';
		}
	}
	$node->restart;
	$node->poll_query_until('postgres', q{SELECT count(*) > 1 FROM goes_stat_workers WHERE state <> 'starting'}) or die 'timed out';
	is(sql(q{SELECT count(*) FROM goes_stat_workers w WHERE NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = w.pid AND a.backend_type LIKE 'goes %')}),
		'0', 'auxiliary processes leave the workers alone');
	is(sql(q{SELECT goes_do('doc.put', data => '{"name": "one"}') ->> 'action'}), 'put', 'and transient data');
	is(sql(q{SELECT transient ->> 'token' FROM goes_fetch('mailer')}), 'secret', 'which arrives');
}

# An event of somebody's own at the same position does not get it.
{
	my $position = sql('SELECT max(position) FROM docs_events');

	sql(qq{
	SET ROLE mallory;
	CREATE TABLE stolen (LIKE goes_base_aggregate INCLUDING ALL);
	SELECT goes_register_aggregate('stolen', 'stolen'), goes_register_event('stolen', 'put'), goes_register_command('stolen', 'put', event => 'put', target => 'any');
	SELECT goes_on('{stolen}', outside => '{thief}', start => 0);
	ALTER TABLE stolen_events DISABLE TRIGGER USER;
	INSERT INTO stolen_events SELECT $position, gen_random_uuid(), gen_random_uuid(), 1, 'put', 1, '{}', '{}', NULL, false, now();
	});
	is(sql(q{SET ROLE mallory; SELECT goes_rewind('thief', 0); SELECT count(*), count(transient) FROM goes_fetch('thief', 10)}), "\n1|0",
		'transient data is for the reactors of its own event');
}

# A renamed table stays the registered one, whatever gets its name.
{
	sql(q{SET ROLE alice; SELECT goes_on('{doc}', async => '{note}'); SELECT goes_do('doc.put', data => '{"name": "before"}')});
	is(sql('SELECT goes_wait()'), 't', 'renamed: before');
	sql(q{SELECT count(goes_settle('mailer', ARRAY[position])) FROM goes_fetch('mailer', 10)});
	sql(q{
	SET ROLE alice;
	ALTER TABLE docs_events RENAME TO docs_happened;
	CREATE TABLE docs_events (LIKE docs_happened INCLUDING ALL);
	SELECT goes_do('doc.put', data => '{"name": "after"}')});
	is(sql('SELECT goes_wait()'), 't', 'renamed: after');
	is(sql(q{SELECT string_agg(note, ' ' ORDER BY seq) FROM log}), 'before after', 'renamed: an async reactor gets all');
	is(sql(q{SELECT data ->> 'name', transient ->> 'token' FROM goes_fetch('mailer', 10)}), 'after|secret', 'renamed: an outside one too');
	is(sql(q{SELECT string_agg(data ->> 'name', ' ' ORDER BY position) FROM goes_events('{doc}')}), 'one before after', 'renamed: who reads on too');
}

# A function that is given away while a batch runs is not run by the old owner.
{
	sql(q{
	TRUNCATE log;
	SET ROLE alice;
	SELECT goes_off('note');
	CREATE FUNCTION slow(event goes_event) RETURNS void LANGUAGE plpgsql
	AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); INSERT INTO public.log (reactor, who, position) VALUES ('slow', session_user, event.position); END $$;
	SELECT goes_on('{doc}', async => '{slow}');
	});
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(1)');
	sql(q{SELECT count(goes_do('doc.put')) FROM generate_series(1, 5)});
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) or die 'timed out';
	my $giver = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		q{ALTER FUNCTION slow OWNER TO mallory},  '-c',
		q{CREATE OR REPLACE FUNCTION slow(event goes_event) RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN INSERT INTO public.log (reactor, who, position) VALUES ('taken', session_user, event.position); END $$} ], '<', '/dev/null');
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'ALTER FUNCTION slow%' AND wait_event_type = 'Lock'}) or die 'timed out';
	$holder->query_safe('SELECT pg_advisory_unlock(1)');
	ok($giver->finish, 'given away, when the batch has ended');
	$holder->quit;
	is(sql(q{SELECT count(*) FROM log WHERE reactor = 'taken' AND who <> 'mallory'}), '0', "nothing of the new owner's runs as the old one");
	is(sql(q{SELECT count(*) > 0, count(DISTINCT who) FROM log WHERE reactor = 'slow'}), 't|1', "the old owner's ran");
}

# Events that failed, or wait behind one that did, are not forgotten when the
# reactor's owner has lost the rights of the table's for a while.
{
	sql(q{
	TRUNCATE log;
	CREATE ROLE bob LOGIN IN ROLE alice;
	GRANT CREATE ON SCHEMA public TO bob;
	CREATE TABLE switch (fails boolean);
	INSERT INTO switch VALUES (true);
	GRANT SELECT ON switch TO bob;
	SET ROLE bob;
	CREATE FUNCTION switched(event goes_event) RETURNS void LANGUAGE plpgsql
	AS $$ BEGIN IF (SELECT fails FROM public.switch) THEN RAISE 'no'; END IF; INSERT INTO public.log (position) VALUES (event.position); END $$;
	SELECT goes_on('{doc}', async => '{switched}');
	SELECT goes_alter_reactor('switched', backoff => '1s', max_backoff => '1s');
	RESET ROLE;
	SELECT count(goes_do('doc.put', '00000000-0000-0000-0000-000000000001')) FROM generate_series(1, 3)});
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM goes.pending p, goes.progress g WHERE p.attempts > 0 AND g.reactor = p.reactor AND g.checkpoint = (SELECT last_value FROM goes.position)}) or die 'timed out';
	sql('REVOKE alice FROM bob');
	is(sql(q{SELECT goes_wait('switched')}), 't', 'a right is lost: passed');
	is(sql(q{SELECT count(*), count(DISTINCT position), min(error) FROM goes_dead_letters}), '3|3|the reactor does not get events of this type any more', 'a right is lost: dead letters');
	sql('GRANT alice TO bob; UPDATE switch SET fails = false');
	is(sql(q{SELECT goes_retry('switched'); SELECT goes_wait('switched'); SELECT count(*), count(DISTINCT position) FROM log}), "3\nt\n3|3", 'and is back: each comes once');
}

$node->stop;
done_testing();
