# The process manager example: orders are paid or cancelled by themselves.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'goes'");
$node->start;

foreach my $file ('model', 'run')
{
	my ($stdout, $stderr);
	my $status = $node->psql(
		'postgres', undef,
		extra_params => [ '-f', "examples/process_manager/$file.sql" ],
		stdout => \$stdout,
		stderr => \$stderr);
	is($status, 0, "$file.sql succeeds");
	is($stderr, '', "$file.sql: no errors, no warnings");
}

is($node->safe_psql('postgres', 'SELECT amount, status, version FROM orders ORDER BY amount'), "42|paid|2\n1000|cancelled|2", 'the orders');
is($node->safe_psql('postgres', 'SELECT amount, status, version FROM payments ORDER BY amount'), "42|received|2\n1000|declined|2", 'their payments');
is($node->safe_psql('postgres', q{
	SELECT action, metadata ->> 'request_id', (SELECT c.action FROM goes_events() c WHERE c.id = (e.metadata ->> 'causation_id')::uuid)
	FROM goes_events() e WHERE aggregate_type = 'payment' AND action = 'requested' OR action IN ('paid', 'cancelled') ORDER BY position}),
	"requested|first|placed\nrequested|second|placed\npaid||received\ncancelled||declined", 'what caused what');
is($node->safe_psql('postgres', q{SELECT state, processed, failed, lag FROM goes_stat_reactors}), 'running|4|0|0', 'the reactor');

# However often it is told, the process goes on once.
$node->safe_psql('postgres', q{SELECT goes_rewind('handle_payment', 0)});
is($node->safe_psql('postgres', 'SELECT goes_wait()'), 't', 'told again');
is($node->safe_psql('postgres', 'SELECT status, version, count(*) FROM orders GROUP BY 1, 2 ORDER BY 1'), "cancelled|2|1\npaid|2|1", 'orders are as they were');
is($node->safe_psql('postgres', 'SELECT count(*) FROM payments'), '2', 'no payment is requested twice');

$node->stop;
done_testing();
