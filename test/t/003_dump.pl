# Dump and restore: what is registered, the order of events, guards and
# policies are all there, and commands go on.

use strict;
use warnings;

use lib 'test/t';
use GoesModel;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'\nmax_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', $model);
my $source = $node->safe_psql('source', $fingerprint);
my $source_data = $node->safe_psql('source', $data);

# Whoever restores must be told of every problem.
sub restores
{
	my ($target, $name, @command) = @_;
	my ($stdout, $stderr);

	$target->safe_psql('postgres', "CREATE DATABASE $name");
	local $ENV{PGHOST} = $target->host;
	local $ENV{PGPORT} = $target->port;
	my $status = IPC::Run::run([@command], '<', '/dev/null', '>', \$stdout, '2>', \$stderr);
	$stderr =~ s/^.*WARNING:  goes is not preloaded.*\n(HINT: .*\n)?//mg;
	$stderr =~ s/^.*HINT:  Add goes to shared_preload_libraries.*\n//mg;
	ok($status, "$name: restored with " . join(' ', $command[0], grep { /^-/ } @command));
	is($stderr, '', "$name: no complaints");
	return;
}

my $dump = PostgreSQL::Test::Utils::tempdir;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
command_ok([ 'pg_dump', '-f', "$dump/plain.sql", 'source' ], 'pg_dump, plain');
command_ok([ 'pg_dump', '-Fc', '-f', "$dump/custom", 'source' ], 'pg_dump, custom');
command_ok([ 'pg_dump', '-Fd', '-j', '2', '-f', "$dump/directory", 'source' ], 'pg_dump, directory');
command_ok([ 'pg_dump', '-s', '-f', "$dump/schema.sql", 'source' ], 'pg_dump, schema only');
command_ok([ 'pg_dump', '-a', '--disable-triggers', '-f', "$dump/data.sql", 'source' ], 'pg_dump, data only');
command_ok([ 'pg_dump', '-a', '-f', "$dump/guarded.sql", 'source' ], 'pg_dump, data only with triggers');

my @psql = ('psql', '-X', '-q', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1');
my %restored = (
	from_plain => [ @psql, '-f', "$dump/plain.sql", 'from_plain' ],
	from_plain_at_once => [ @psql, '-1', '-f', "$dump/plain.sql", 'from_plain_at_once' ],
	from_custom => [ 'pg_restore', '-d', 'from_custom', "$dump/custom" ],
	from_custom_at_once => [ 'pg_restore', '--exit-on-error', '-1', '-d', 'from_custom_at_once', "$dump/custom" ],
	from_custom_parallel => [ 'pg_restore', '--exit-on-error', '-j', '4', '-d', 'from_custom_parallel', "$dump/custom" ],
	from_directory_parallel => [ 'pg_restore', '--exit-on-error', '-j', '4', '-d', 'from_directory_parallel', "$dump/directory" ]);

foreach my $name (sort keys %restored)
{
	restores($node, $name, @{ $restored{$name} });
	same($node->safe_psql($name, $fingerprint), $source, "$name: the same registry, triggers, policies, privileges");
	same($node->safe_psql($name, $data), $source_data, "$name: the same data");
	registers_again($node, $name);
	goes_on($node, $name);
}

# In parallel, nothing may come before the data that it is for: so try some more.
foreach my $i (1 .. 10)
{
	restores($node, "parallel_$i", 'pg_restore', '--exit-on-error', '-j', '4', '-d', "parallel_$i", $i % 2 ? "$dump/directory" : "$dump/custom");
	same($node->safe_psql("parallel_$i", $data), $source_data, "parallel_$i: the same data");
	$node->safe_psql('postgres', "DROP DATABASE parallel_$i");
}

# Over what is there already: however far that gets, no event is lost or doubled.
foreach my $clean (0, 1)
{
	my $name = $clean ? 'clean' : 'over';

	restores($node, $name, 'pg_restore', '--exit-on-error', '-d', $name, "$dump/custom");
	IPC::Run::run([ 'pg_restore', $clean ? ('--clean', '--if-exists') : (), '-d', $name, "$dump/custom" ], '>', "$dump/log", '2>', "$dump/log");
	my $log = slurp_file("$dump/log");
	note($log);
	# pg_restore itself cannot clean the primary keys of partitions: they go with the tables
	my @errors = grep { !/cannot drop inherited constraint/ } $log =~ /ERROR:.*/g;
	is("@errors", '', "$name: restored over what was there") if $clean;
	same($node->safe_psql($name, $fingerprint), $source, "$name: the same registry, triggers, policies, privileges");
	same($node->safe_psql($name, $data), $source_data, "$name: the same data");
	goes_on($node, $name);
}

# A dump of what was restored is the same dump.
command_ok([ 'pg_dump', '-f', "$dump/second.sql", 'from_plain_at_once' ], 'pg_dump of what was restored');
restores($node, 'second', @psql, '-f', "$dump/second.sql", 'second');
same($node->safe_psql('second', $fingerprint), $node->safe_psql('from_plain_at_once', $fingerprint), 'second: the same registry');

# Schema only: registered again, the triggers and policies that are there are adopted.
restores($node, 'schema_only', @psql, '-f', "$dump/schema.sql", 'schema_only');
is($node->safe_psql('schema_only', 'SELECT count(*) FROM goes.aggregate_types'), '0', 'schema only: nothing is registered');
my ($stdout, $stderr);
$node->psql('schema_only', "$path INSERT INTO plain VALUES ('00000000-0000-0000-0000-000000000001', 1, now(), now())", stderr => \$stderr);
like($stderr, qr/cannot write to/, 'schema only: but guarded');
my $triggers = $node->safe_psql('schema_only', q{SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2});
$node->safe_psql('schema_only', "$path SET ROLE owner; $register SELECT goes_off('spooler');");
is($node->safe_psql('schema_only', q{SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2}), $triggers,
	'schema only: registering adopts the triggers');
(my $registered = $source) =~ s/^(command\||position\|).*\n//mg;
(my $again = $node->safe_psql('schema_only', $fingerprint)) =~ s/^(command\||position\|).*\n//mg;
same($again, $registered, 'schema only: the same registry');
is($node->safe_psql('schema_only', "$path SET ROLE app; SELECT goes_do('plain.put') -> 'position', goes_do('plain.put') -> 'position'"), '1|2',
	'schema only: commands begin anew');

# Data only, into what has its schema already
restores($node, 'data_only', @psql, '-f', "$dump/schema.sql", 'data_only');
{
	my $status = $node->psql('data_only', "\\i $dump/guarded.sql", on_error_stop => 1, stderr => \$stderr);
	like($stderr, qr/cannot write to/, 'data only: guards refuse it');
	$node->safe_psql('postgres', 'DROP DATABASE data_only');
	restores($node, 'data_only', @psql, '-f', "$dump/schema.sql", 'data_only');
	command_ok([ @psql, '-f', "$dump/data.sql", 'data_only' ], 'data only: --disable-triggers');
	same($node->safe_psql('data_only', $fingerprint), $source, 'data only: the same registry, triggers, policies, privileges');
	same($node->safe_psql('data_only', $data), $source_data, 'data only: the same data');
	goes_on($node, 'data_only');
}

# A sequence that lags its tables, as a restore in the wrong order leaves it,
# is mended before it gives a position twice: to any of the types.
$node->safe_psql('from_plain', q{SELECT setval('goes.position', 1)});
{
	my $last = $node->safe_psql('from_plain', q{SELECT max(position) FROM "My Schema".plain_events});

	is($node->safe_psql('from_plain', "$path SET ROLE app; SELECT goes_do('child.put') -> 'position', goes_do('plain.put') -> 'position'"),
		($last + 1) . '|' . ($last + 2), 'a lagging sequence is mended');
}
# by several sessions at once, too
$node->safe_psql('from_custom', q{SELECT setval('goes.position', 1)});
$node->pgbench(
	'--client=8 --transactions=25 --no-vacuum',
	0, [qr/processed: 200/], [qr/^$/],
	'several sessions mend a sequence',
	{ '003_mend' => q{SELECT "Ext".goes_do(CASE WHEN random() < 0.5 THEN 'child.put' ELSE 'plain.put' END);} },
	'from_custom');
is($node->safe_psql('from_custom', q{
	SELECT count(*) - count(DISTINCT position) FROM (SELECT position FROM "My Schema"."User Accounts_events"
		UNION ALL SELECT position FROM "My Schema".plain_events
		UNION ALL SELECT position FROM "My Schema"."Happened to ""child""") p}), '0', 'no position is given twice');

# A dump is taken while commands are executed: no event without its version.
{
	my $script = "$dump/commands.sql";
	append_to_file($script, qq{$path
DO \$\$
BEGIN
    FOR i IN 1 .. 2000 LOOP
        PERFORM goes_do('plain.put', ('00000000-0000-0000-0000-' || lpad((i % 40)::text, 12, '0'))::uuid, command_id => gen_random_uuid());
        COMMIT;
    END LOOP;
END
\$\$;
});
	my $load = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('source'), '-f', $script ]);
	$node->poll_query_until('source', q{SELECT count(*) > 100 FROM "My Schema".plain_events});
	command_ok([ 'pg_dump', '-Fc', '-f', "$dump/busy", 'source' ], 'pg_dump while commands are executed');
	ok($load->finish, 'the commands succeed');
	restores($node, 'busy', 'pg_restore', '--exit-on-error', '-d', 'busy', "$dump/busy");
	is($node->safe_psql('busy', q{
		SELECT count(*) FROM "My Schema".plain p
		WHERE version <> (SELECT count(*) FROM "My Schema".plain_events e WHERE e.aggregate_id = p.id)}), '0', 'busy: versions fit the events');
	is($node->safe_psql('busy', q{
		SELECT count(*) FROM goes.commands c
		WHERE NOT EXISTS (SELECT FROM "My Schema".plain_events e WHERE e.position = c.event_position)}), '0', 'busy: command ids fit the events');
	cmp_ok($node->safe_psql('busy', "$path SET ROLE app; SELECT goes_do('child.put') -> 'position'"), '>',
		$node->safe_psql('busy', q{SELECT max(position) FROM "My Schema".plain_events}), 'busy: positions go on');
}

# On a server that does not preload goes
{
	my $plain = PostgreSQL::Test::Cluster->new('plain');

	$plain->init;
	$plain->start;
	$plain->safe_psql('postgres', 'CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE stranger LOGIN');
	restores($plain, 'not_preloaded', 'pg_restore', '--exit-on-error', '-d', 'not_preloaded', "$dump/custom");
	same($plain->safe_psql('not_preloaded', $fingerprint), $source, 'not preloaded: the same registry, triggers, policies, privileges');
	goes_on($plain, 'not_preloaded');
	$plain->stop;
}

done_testing();
