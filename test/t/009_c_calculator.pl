# The C calculators of examples/c_calculator, however their library is loaded.
# "make check" installs it.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $library = $node->config_data('--pkglibdir') . '/c_calculator.so';
plan skip_all => "$library is not installed" unless -e $library;

$node->init;
$node->start;
$node->safe_psql('postgres', q{
SET client_min_messages = error;
CREATE EXTENSION goes;
CREATE TABLE account (LIKE goes_base_aggregate INCLUDING ALL, balance bigint NOT NULL);
SELECT goes_register_aggregate('account', 'account');
LOAD 'c_calculator';
SELECT goes_register_event('account', 'opened', calculator => 'c:account_opened');
SELECT goes_register_event('account', 'deposited', calculator => 'c:account_deposited');
SELECT goes_register_command('account', 'open', event => 'opened', target => 'new');
SELECT goes_register_command('account', 'deposit', event => 'deposited');
SELECT goes_do('account.open', '00000000-0000-0000-0000-000000000001', '{"amount": 0}');
});
my $balance = 0;
my $deposit = q{SELECT balance FROM goes_execute(NULL::account, '{"command": "account.deposit", "aggregate_id": "00000000-0000-0000-0000-000000000001", "data": {"amount": 1}}')};

sub restart_with
{
	my ($conf) = @_;

	$node->adjust_conf('postgresql.conf', $_, undef) foreach qw(shared_preload_libraries session_preload_libraries local_preload_libraries);
	$node->append_conf('postgresql.conf', $conf);
	$node->restart;
	return;
}

# Loaded with the server or the session, before and after goes
foreach my $conf (
	"shared_preload_libraries = 'c_calculator'",
	"shared_preload_libraries = 'goes, c_calculator'",
	"shared_preload_libraries = 'c_calculator, goes'",
	"shared_preload_libraries = 'goes'\nsession_preload_libraries = 'c_calculator'",
	"shared_preload_libraries = 'c_calculator'\nsession_preload_libraries = 'goes'",
	"session_preload_libraries = 'c_calculator'",
	"session_preload_libraries = 'c_calculator, goes'",
	"session_preload_libraries = 'goes, c_calculator'")
{
	restart_with($conf);
	is($node->safe_psql('postgres', $deposit), ++$balance, $conf =~ s/\n/, /r);
	# once more in another session
	is($node->safe_psql('postgres', $deposit), ++$balance, 'again');
}

# With LOAD, before and after goes was used
foreach my $preload ('', "shared_preload_libraries = 'goes'")
{
	my $name = $preload || 'not preloaded';

	restart_with($preload);
	is($node->safe_psql('postgres', "LOAD 'c_calculator'; $deposit"), ++$balance, "$name: loaded before");
	is($node->safe_psql('postgres', "SELECT goes_uuidv7() IS NULL; LOAD 'c_calculator'; $deposit"), "f\n" . ++$balance, "$name: loaded after");
	is($node->safe_psql('postgres', "LOAD 'goes'; LOAD 'c_calculator'; LOAD 'c_calculator'; LOAD 'goes'; $deposit"), ++$balance, "$name: loaded twice");

	# Not at all
	my ($stdout, $stderr);
	$node->psql('postgres', $deposit, stderr => \$stderr, on_error_stop => 0, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($stderr, qr/ERROR:  42883: C calculator "account_deposited" is not loaded/, "$name: not loaded");
	like($stderr, qr/HINT:  .*LOAD.*session_preload_libraries/, "$name: with a hint");
	is($node->safe_psql('postgres', 'SELECT balance, version FROM account'), "$balance|" . ($balance + 1), "$name: nothing happened");

	# and then
	$node->psql('postgres', "$deposit; LOAD 'c_calculator'; $deposit;", stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
	is($stdout, ++$balance, "$name: loaded after the error");

	# A registration needs it, too.
	$node->psql('postgres', q{SELECT goes_register_event('account', 'x', calculator => 'c:account_opened')}, stderr => \$stderr);
	like($stderr, qr/is not loaded/, "$name: not registered without the library");
	$node->psql('postgres', q{LOAD 'c_calculator'; SELECT goes_register_event('account', 'x', calculator => 'c:nonsense')}, stderr => \$stderr);
	like($stderr, qr/"nonsense" is not loaded/, "$name: nor what the library does not have");
}

# For a database or a role
$node->safe_psql('postgres', q{ALTER DATABASE postgres SET session_preload_libraries = 'c_calculator'});
is($node->safe_psql('postgres', $deposit), ++$balance, 'of the database');

# A dump that is restored where it is not loaded: what is registered stays.
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
command_ok([ 'pg_dump', '-Fc', '-f', $dump, 'postgres' ], 'dumped');
command_ok([ 'pg_restore', '--exit-on-error', '-d', 'restored', $dump ], 'restored without the library');
is($node->safe_psql('restored', "LOAD 'c_calculator'; $deposit"), $balance + 1, 'commands go on with it');
$node->stop;

done_testing();
