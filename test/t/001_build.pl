# Builds outside the source tree, and what is installed and uninstalled.

use strict;
use warnings;

use File::Find;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = PostgreSQL::Test::Utils::tempdir;
my $build = PostgreSQL::Test::Utils::tempdir;
my $root = PostgreSQL::Test::Utils::tempdir;
# not those of the make that runs this test
delete @ENV{qw(MAKEFLAGS MAKELEVEL MFLAGS)};

# The files under the installation root, by name
sub installed
{
	my @files;

	find(sub { push @files, $_ if -f }, $root);
	return sort grep { !/\.bc$/ } @files;
}

# make would take objects of the source tree for its own: a copy without them
system_or_bail('cp', '-r', 'Makefile', 'goes.control', glob('goes--*.sql'), 'src', $source);
unlink glob("$source/src/*.o $source/src/*.bc");

my @make = ('make', '-s', '-C', $build, '-f', "$source/Makefile");

command_ok([ @make, 'all' ], 'builds outside the source tree');
ok(-e "$build/src/uuid.o", 'objects are in the build folder');
command_ok([ @make, 'install', "DESTDIR=$root" ], 'installs');
is_deeply(
	[installed],
	[qw(goes--1.0.sql goes.control goes.h goes.so)],
	'installs library, control file, script and header');
command_ok([ @make, 'uninstall', "DESTDIR=$root" ], 'uninstalls');
is_deeply([installed], [], 'uninstall leaves no file');

done_testing();
