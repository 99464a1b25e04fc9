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
		my @warnings = $stderr =~ /WARNING:  goes is not preloaded: async and outside reactors wait/g;
		is(scalar @warnings, 2, "$name: warned by CREATE EXTENSION and by the async reactor");
		my @hints = $stderr =~ /HINT:  Add goes to shared_preload_libraries and restart the server/g;
		is(scalar @hints, 2, "$name: and told what to do");
		unlike($stderr, qr/ERROR|NOTICE/, "$name: nothing else");
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
	is($node->safe_psql('postgres', 'SELECT greeting FROM greetings'), $preload ? 'Hello Ada!' : '',
		"$name: the async reactor " . ($preload ? 'ran' : 'waits'));

	# What is registered already is registered again as it is.
	my $state = q{
		SELECT xmin, t::text FROM goes.aggregate_types t UNION ALL SELECT xmin, t::text FROM goes.event_types t
		UNION ALL SELECT xmin, t::text FROM goes.command_types t UNION ALL SELECT xmin, t::text FROM goes.reactors t
		UNION ALL SELECT xmin, tgname FROM pg_trigger ORDER BY 2};
	my $before = $node->safe_psql('postgres', $state);
	my $again = join "\n", slurp_file('examples/user/model.sql') =~ /^(SELECT goes_(?:register_|on\().*?;)$/msg;
	$node->psql('postgres', $again, stderr => \$stderr);
	is($node->safe_psql('postgres', $state), $before, "$name: registering again changes nothing");
	is(scalar(() = $stderr =~ /WARNING/g), $preload ? 0 : 1, "$name: but warns again");

	$node->stop;
}

# What was registered without the preload is there with it, and the other way round.
{
	my $node = PostgreSQL::Test::Cluster->new('both');
	$node->init;
	# which is there to be adjusted
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
	$node->start;
	$node->psql('postgres', undef, extra_params => [ '-f', 'examples/user/model.sql' ], stderr => \my $stderr);
	foreach my $preload ('goes', '', 'goes')
	{
		$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "'$preload'");
		$node->restart;
		$node->safe_psql('postgres', q{SELECT goes_do('user.create', data => '{"first_name": "Ada", "last_name": "Lovelace"}')});
	}
	is($node->safe_psql('postgres', 'SELECT count(*), (SELECT count(*) FROM audit), max(position) FROM users_events'), '3|3|3',
		'with and without the preload in turn');
	is($node->safe_psql('postgres', q{SELECT mode, active FROM goes.reactors ORDER BY mode}), "async|t\nsync|t", 'the reactors are there');
	is($node->safe_psql('postgres', 'SELECT goes_wait()'), 't', 'the async reactor catches up');
	is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT user_id) FROM greetings'), '3|3', 'with each event once');
	$node->stop;
}

done_testing();
