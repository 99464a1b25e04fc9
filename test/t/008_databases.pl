# Several databases, and an extension that is dropped and created again in
# sessions that have used it.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'");
$node->start;

my $register = q{
SELECT goes_register_aggregate('thing', 'thing');
SELECT goes_register_event('thing', 'put');
SELECT goes_register_command('thing', 'put', event => 'put', target => 'any');
};
my $model = "CREATE TABLE thing (LIKE goes_base_aggregate INCLUDING ALL, name text); $register";
my $put = q{SELECT goes_do('thing.put', '00000000-0000-0000-0000-000000000001', jsonb_build_object('name', current_database()))};

# Runs it all in one session; returns what it wrote, without errors.
sub run
{
	my ($database, $sql) = @_;
	my ($stdout, $stderr);

	$node->psql($database, $sql, stdout => \$stdout, stderr => \$stderr, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return wantarray ? ($stdout, $stderr) : $stdout;
}

# Each database has its own types and positions.
foreach my $database (qw(one two))
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE EXTENSION goes; $model $put; $put;");
}
is($node->safe_psql('two', "$put -> 'position'"), '3', 'positions are of the database');
is($node->safe_psql('one', 'SELECT name, version FROM thing'), 'one|2', 'data is of the database');
my ($stdout, $stderr) = run('postgres', 'SELECT * FROM goes.aggregate_types');
like($stderr, qr/does not exist/, 'a database without the extension');

# A copy has it all.
$node->safe_psql('postgres', 'CREATE DATABASE three TEMPLATE one');
is($node->safe_psql('three', "$put -> 'position'; SELECT name, version FROM thing"), "3\nthree|3", 'a database copied from another one');
is($node->safe_psql('one', "$put -> 'position'"), '3', 'which does not mind');
$node->safe_psql('postgres', 'DROP DATABASE three');

# Dropped and created again, in one session: the tables are adopted.
$stdout = run('one', qq{
$put -> 'position';
SET client_min_messages = error;
DROP EXTENSION goes CASCADE;
SELECT count(*) FROM thing_events;
SELECT tgname FROM pg_trigger WHERE tgrelid IN ('thing'::regclass, 'thing_events'::regclass) AND NOT tgisinternal;
UPDATE thing SET name = 'written directly';
CREATE EXTENSION goes;
SELECT last_value, is_called FROM goes.position;
$register
SELECT last_value, is_called FROM goes.position;
$put -> 'position';
SELECT name, version FROM thing;
UPDATE thing SET name = 'x';
});
is($stdout, "4\n4\n1|f\nthing_events\n\n\n4|t\n5\none|5", 'dropped and created again in one session');

# In another schema, in a transaction, more than once, and rolled back
$stdout = run('one', qq{
SET client_min_messages = error;
CREATE SCHEMA ext;
$put -> 'position';
BEGIN;
DROP EXTENSION goes CASCADE;
CREATE EXTENSION goes SCHEMA ext;
SET LOCAL search_path = ext, public;
$register
$put -> 'position';
ROLLBACK;
$put -> 'position';
DROP EXTENSION goes CASCADE;
$put -> 'position';
CREATE EXTENSION goes SCHEMA ext;
SET search_path = ext, public;
$register
$put -> 'position';
ALTER EXTENSION goes SET SCHEMA public;
$put -> 'position';
SELECT count(*), count(DISTINCT position), max(aggregate_version) FROM thing_events;
});
like($stdout, qr/^6\nthing_events\n\n\n7\n(\d+)\nthing_events\n\n\n\d+\n\d+\n(\d+)\|\g2\|\g2$/, 'dropped and created again in another schema');

# While other sessions have used it, with functions and reactors in use
{
	my $work = q{
SET client_min_messages = error;
CREATE FUNCTION build(aggregate thing, command goes_command) RETURNS goes_event_data LANGUAGE sql RETURN goes_event_data('put', command.data);
CREATE FUNCTION note(event goes_event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE INFO 'noted'; END $$;
SELECT goes_register_command('thing', 'build', build => 'build', target => 'any');
SELECT goes_on('{*}', sync => '{note}');
};
	$node->safe_psql('two', $work);
	my ($in, $out, $err) = ('', '', '');
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('two') ], '<', \$in, '>', \$out, '2>', \$err,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	my $ask = sub {
		($out, $err) = ('', '');
		$in .= "$_[0]\n\\echo done\n\\warn done\n";
		$session->pump until $out =~ /done\n/ && $err =~ /done\n/;
		$out =~ s/done\n//;
		$err =~ s/done\n//;
		return $out . $err;
	};
	my $build = q{SELECT goes_do('thing.build', '00000000-0000-0000-0000-000000000001') -> 'aggregate_version';};

	like($ask->($build), qr/^4\n.*noted/s, 'another session uses it');
	$node->safe_psql('two', 'SET client_min_messages = error; DROP EXTENSION goes CASCADE');
	like($ask->($build), qr/ERROR/, 'and is told that it is gone');
	$node->safe_psql('two', "SET client_min_messages = error; CREATE EXTENSION goes; $register");
	like($ask->($build), qr/ERROR.*"thing.build" is not registered/, 'created again: without the function that went with it');
	$node->safe_psql('two', $work =~ s/CREATE FUNCTION note/CREATE OR REPLACE FUNCTION note/r);
	like($ask->($build), qr/^5\n.*noted/s, 'registered again');
	like($ask->("DROP EXTENSION goes CASCADE; CREATE EXTENSION goes; $register $put -> 'position';"), qr/\n\d+\n/, 'by itself, too');
	$in .= "\\q\n";
	$session->finish;
}

# Dropped in the middle of a command: by a function of the model
$stdout = run('two', q{
SET client_min_messages = error;
CREATE FUNCTION suicide(aggregate thing, command goes_command) RETURNS void LANGUAGE plpgsql
AS $$ BEGIN EXECUTE 'DROP EXTENSION goes CASCADE'; END $$;
SELECT goes_register_command('thing', 'suicide', event => 'put', validate => 'suicide', target => 'any');
});
($stdout, $stderr) = run('two', q{SELECT goes_do('thing.suicide'); SELECT count(*) FROM pg_extension WHERE extname = 'goes'; SELECT goes_do('thing.put') IS NOT NULL;});
like($stderr, qr/ERROR/, 'a command that drops the extension fails');
is($stdout, "1\nt", 'and that is undone');

# A database that somebody else drops
$node->safe_psql('postgres', 'DROP DATABASE two');
is($node->safe_psql('one', 'SELECT count(*) > 0 FROM thing_events'), 't', 'the other database is still there');
$node->stop;

done_testing();
