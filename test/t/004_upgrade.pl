# pg_upgrade carries everything: from the same version, and from another one if
# "oldinstall" names its installation, which has goes too.

use strict;
use warnings;

use lib 'test/t';
use GoesModel;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# From one node to a new one, both with this setting
sub upgrade
{
	my ($name, $preload, %from) = @_;
	my $old = PostgreSQL::Test::Cluster->new("old_$name", %from);
	my $new = PostgreSQL::Test::Cluster->new("new_$name");
	# 18 has checksums by default; both must have them or not
	my @options = $new->pg_version >= 18 ? (extra => ['--no-data-checksums']) : ();
	my $settings = "shared_preload_libraries = '$preload'";

	$old->init($old->pg_version >= 18 ? @options : ());
	$old->append_conf('postgresql.conf', $settings);
	$old->start;
	$old->safe_psql('postgres', 'CREATE DATABASE kept');
	$old->safe_psql('kept', $model);
	my $registry = $old->safe_psql('kept', $fingerprint);
	my $rows = $old->safe_psql('kept', $data);
	$old->stop;

	$new->init(@options);
	$new->append_conf('postgresql.conf', $settings);
	# it writes to the current folder
	chdir(PostgreSQL::Test::Utils::tempdir) or die;
	command_ok(
		[
			'pg_upgrade', $new->pg_version >= 16 ? '--no-sync' : (),
			'-d', $old->data_dir, '-D', $new->data_dir,
			'-b', $old->config_data('--bindir'), '-B', $new->config_data('--bindir'),
			'-s', $new->host, '-p', $old->port, '-P', $new->port
		],
		"$name: pg_upgrade");
	$new->start;
	# 17 added the privilege MAINTAIN
	(my $upgraded = $new->safe_psql('kept', $fingerprint)) =~ s/=arwdDxtm\//=arwdDxt\//g;
	$registry =~ s/=arwdDxtm\//=arwdDxt\//g;
	same($upgraded, $registry, "$name: the same registry, triggers, policies, privileges");
	same($new->safe_psql('kept', $data), $rows, "$name: the same data");
	registers_again($new, 'kept');
	goes_on($new, 'kept');
	$new->stop;
	return;
}

upgrade('preloaded', 'goes');
upgrade('plain', '');
SKIP:
{
	skip 'oldinstall is not set', 1 unless $ENV{oldinstall};
	upgrade('older', 'goes', install_path => $ENV{oldinstall});
}

done_testing();
