#!/usr/bin/env bash
#
# How many instructions one command takes, by stage: they are the same on any
# machine with the same compiler and libraries, and tell of a regression where
# times do not. Counted by callgrind in a single-user server, as the difference
# between many commands and few, so that what is done once drops out. Installs
# what it needs on Debian.
#
#   bench/instructions.sh [SETTING=VALUE...]      e.g. goes.force_spi=on

. "$(dirname "$0")/../scripts/common.sh"
. "$tree/bench/lib.sh"

find_postgres make gcc libc6-dev perl valgrind
work=$(as_user mktemp -d /tmp/goes-instructions.XXXXXX)
server=$work/server
trap 'stop_bench; as_root rm -rf "$work"' EXIT
cd "$work"
copy_tree "$work/source"
build "$work/source"
build "$work/source/examples/c_calculator"
start_bench
sql_file accounts.sql -v v=sql -v n=10000
sql_file functions_sql.sql -v v=sql
sql_file register.sql -v v=sql -v n=10000 -v calculator=deposited
sql -o /dev/null -c "SET search_path = sql, public" -c "SELECT goes_on('{sql}', sync => '{noop}')"
stop_bench

# count COMMANDS: profile.COMMANDS of so many
count() {
	local settings=()
	for setting in "${@:2}"; do
		settings+=(-c "$setting")
	done
	{
		echo 'PREPARE execute(integer) AS SELECT goes_execute(doc) FROM sql.documents WHERE i = $1;'
		for ((i = 1; i <= $1; i++)); do
			echo "EXECUTE execute($((i * 7 % 10000 + 1)));"
		done
	} | as_user tee "$work/commands.sql" >/dev/null
	as_user valgrind --tool=callgrind --callgrind-out-file="$work/profile.$1" \
		"$bin/postgres" --single -D "$server/data" -c synchronous_commit=off "${settings[@]}" bench <"$work/commands.sql" >"$work/out.$1" 2>&1
	! grep -q ERROR "$work/out.$1" || { grep ERROR "$work/out.$1" | head -n 3 >&2; exit 1; }
	callgrind_annotate --inclusive=yes --auto=no --threshold=100 "$work/profile.$1" 2>/dev/null | as_user tee "$work/functions.$1" >/dev/null
}

say "Counting"
count 100 "$@"
count 500 "$@"
perl - "$work" <<'PERL'
my ($folder) = @ARGV;
# Function and what it is; indented: part of the one before
my @stages = (
	[ 'TOTALS', 'the statement, with its transaction' ],
	[ 'goes_execute', '  goes_execute' ],
	[ 'goes_command_parse', '    read the command' ],
	[ 'look_up_command', '    look it up, open the tables, check privileges' ],
	[ 'goes_aggregate_load', '    load and lock the aggregate' ],
	[ 'goes_calculate', '    calculate' ],
	[ 'goes_aggregate_store', '    store the aggregate' ],
	[ 'goes_event_append', '    store the event, run the sync reactors' ],
	[ 'goes_event_to_jsonb', '    return the event' ],
);
my %counts;
for my $n (100, 500)
{
	open(my $in, '<', "$folder/functions.$n") or die;
	while (<$in>)
	{
		$counts{TOTALS}{$n} = $1 =~ s/,//gr if /^\s*([\d,]+) .*PROGRAM TOTALS/;
		next unless /^\s*([\d,]+) \(.*?\)\s+\S*?:([A-Za-z_]\w*)(?:\.[\w.]+)?(?:\s|$)/;
		my ($count, $function) = ($1, $2);
		$count =~ s/,//g;
		# A function has a line for each file that its inlined parts come from
		$counts{$function}{$n} = $count if $count > ($counts{$function}{$n} // 0);
	}
}
sub each_command { return (($counts{ $_[0] }{500} // 0) - ($counts{ $_[0] }{100} // 0)) / 400 }
my $rest = each_command('goes_execute');
for my $stage (grep { $counts{ $_->[0] }{500} } @stages)
{
	printf "%-52s %10.0f\n", $stage->[1], each_command($stage->[0]);
	$rest -= each_command($stage->[0]) if $stage->[1] =~ /^    /;
}
printf "%-52s %10.0f\n", '    validate and build, and what is between these', $rest;
PERL
