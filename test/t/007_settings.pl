# Settings in postgresql.conf, good and bad: the server starts with them all.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

my $model = q{
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS goes;
CREATE TABLE IF NOT EXISTS thing (LIKE goes_base_aggregate INCLUDING ALL, name text);
SELECT goes_register_aggregate('thing', 'thing');
SELECT goes_register_event('thing', 'put');
SELECT goes_register_command('thing', 'put', event => 'put', target => 'any');
};
$node->safe_psql('postgres', $model);

sub restart_with
{
	my ($conf) = @_;

	$node->adjust_conf('postgresql.conf', $_, undef)
		foreach qw(shared_preload_libraries session_preload_libraries goes.allow_direct_writes goes.max_nesting goes.metadata goes.nonsense);
	$node->append_conf('postgresql.conf', $conf);
	my $offset = -s $node->logfile;
	ok($node->restart(fail_ok => 1) // 1, 'the server starts');
	return $offset;
}

# A command without its own setting
my $put = q{SELECT goes_do('thing.put', metadata => '{"given": 1}') -> 'metadata'};

foreach my $preload ("shared_preload_libraries = 'goes'", "session_preload_libraries = 'goes'", '')
{
	my $name = $preload || 'not preloaded';

	# The defaults
	restart_with($preload);
	is($node->safe_psql('postgres', q{SELECT goes_uuidv7() IS NOT NULL; SHOW goes.allow_direct_writes; SHOW goes.max_nesting; SHOW goes.metadata;}),
		"t\noff\n32\n", "$name: defaults");

	# Good values
	restart_with("$preload\ngoes.allow_direct_writes = on\ngoes.max_nesting = 7\ngoes.metadata = '{\"from\": \"conf\"}'");
	is($node->safe_psql('postgres', q{SELECT goes_uuidv7() IS NOT NULL; SHOW goes.allow_direct_writes; SHOW goes.max_nesting; SHOW goes.metadata;}),
		"t\non\n7\n{\"from\": \"conf\"}", "$name: good values");
	is($node->safe_psql('postgres', $put), '{"from": "conf", "given": 1}', "$name: metadata of the setting");

	# Bad ones: told, ignored
	my $offset = restart_with("$preload\ngoes.allow_direct_writes = perhaps\ngoes.max_nesting = 0\ngoes.metadata = 'nonsense'\ngoes.nonsense = 1");
	my ($stdout, $stderr);
	is($node->psql('postgres', q{SELECT goes_uuidv7() IS NOT NULL; SHOW goes.allow_direct_writes; SHOW goes.max_nesting; SHOW goes.metadata;}, stdout => \$stdout, stderr => \$stderr),
		0, "$name: sessions start with bad values");
	is($stdout, "t\noff\n32\n", "$name: and have the defaults instead");
	my $told = $stderr . slurp_file($node->logfile, $offset);
	like($told, qr/(WARNING|LOG):  .*"goes.$_"/, "$name: told of bad goes.$_") foreach qw(allow_direct_writes max_nesting metadata nonsense);
	is($node->safe_psql('postgres', $put), '{"given": 1}', "$name: commands succeed");
	foreach my $bad (q{SET goes.max_nesting = 0}, q{SET goes.max_nesting = 'x'}, q{SET goes.max_nesting = 1001}, q{SET goes.metadata = '[1]'},
		q{SET goes.metadata = '{"a": }'}, q{SET goes.metadata = '"a"'}, q{SET goes.metadata = '{} {}'}, q{SET goes.nonsense = 1}, q{SET goes.allow_direct_writes = 2})
	{
		is($node->psql('postgres', "SELECT goes_uuidv7(); $bad", stderr => \$stderr), 3, "$name: refused: $bad");
	}
}

# Placeholders that were set before the library was loaded
restart_with('');
is($node->safe_psql('postgres', qq{SET goes.metadata = '{"early": 1}'; $put}), '{"early": 1, "given": 1}', 'set before the library is loaded');
my ($stdout, $stderr);
$node->psql('postgres', qq{SET goes.metadata = 'nonsense'; SET goes.nonsense = 1; $put}, stdout => \$stdout, stderr => \$stderr);
is($stdout, '{"given": 1}', 'nonsense that was set before the library is loaded');
like($stderr, qr/WARNING/, 'of which is warned');

# By role and by database
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET goes.metadata = '{"database": 1}'; CREATE ROLE app LOGIN; GRANT ALL ON thing, thing_events TO app;
	ALTER ROLE app SET goes.metadata = '{"role": 1}'});
is($node->safe_psql('postgres', $put), '{"given": 1, "database": 1}', 'of the database');
is($node->safe_psql('postgres', $put, extra_params => [ '-U', 'app' ]), '{"role": 1, "given": 1}', 'of the role');
is($node->safe_psql('postgres', qq{SET ROLE app; $put}), '{"given": 1, "database": 1}', 'not by SET ROLE');
is($node->safe_psql('postgres', qq{BEGIN; SET LOCAL goes.metadata = '{"local": 1}'; $put; COMMIT; $put}), qq({"given": 1, "local": 1}\n{"given": 1, "database": 1}), 'local');

# A reload reaches sessions that run.
restart_with("shared_preload_libraries = 'goes'");
$node->append_conf('postgresql.conf', "goes.max_nesting = 5");
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('goes.max_nesting') = '5'});
is($node->safe_psql('postgres', 'SHOW goes.max_nesting'), '5', 'reloaded');
$node->append_conf('postgresql.conf', "goes.max_nesting = 5000");
my $offset = -s $node->logfile;
$node->reload;
$node->wait_for_log(qr/goes.max_nesting/, $offset);
is($node->safe_psql('postgres', 'SHOW goes.max_nesting'), '5', 'a bad value is not reloaded');
$node->stop;

done_testing();
