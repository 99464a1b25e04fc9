# The user example, as the demo runs it, with and without the preload.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

foreach my $preload ('goes', '')
{
	my $name = $preload ? 'preloaded' : 'plain';
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$preload'");
	$node->start;

	my ($stdout, $stderr);
	my $status = $node->psql(
		'postgres', undef,
		extra_params => [ '-f', 'examples/user/model.sql' ],
		stdout => \$stdout,
		stderr => \$stderr);
	is($status, 0, "$name: model.sql succeeds");
	if ($preload)
	{
		is($stderr, '', "$name: no warnings");
	}
	else
	{
		like($stderr, qr/WARNING/, "$name: warned that async reactors need the preload");
	}

	$status = $node->psql(
		'postgres', undef,
		extra_params => [ '-f', 'examples/user/run.sql' ],
		stdout => \$stdout,
		stderr => \$stderr);
	is($status, 0, "$name: run.sql succeeds");
	my @errors = $stderr =~ /ERROR:/g;
	is(scalar @errors, 2, "$name: run.sql shows its two errors");

	is($node->safe_psql('postgres', 'SELECT first_name, last_name, version, addresses FROM users'),
		'Augusta|Lovelace|2|[{"city": "London", "street": "12 St James\'s Square"}]',
		"$name: the user");
	is($node->safe_psql('postgres', q{
		SELECT aggregate_version, action, event_version, metadata ->> 'request_id'
		FROM users_events ORDER BY position}),
		"1|created|1|my_request_id\n2|first_name_updated|1|my_request_id",
		"$name: her events");
	is($node->safe_psql('postgres', q{
		SELECT e.action, a.request_id
		FROM audit a JOIN users_events e ON e.id = a.event_id ORDER BY e.position}),
		"created|my_request_id\nfirst_name_updated|my_request_id",
		"$name: the sync reactor ran");

	$node->stop;
}

done_testing();
