#!/usr/bin/env bash
#
# Measures goes beside what one would use instead, on a throw-away server, and
# writes results.tsv, results.md and plots. Installs what it needs on Debian and,
# for the peers, from the npm registry.
#
#   bench/run.sh                          everything, about 45 minutes
#   bench/run.sh --quick                  the same with less of everything, about 8
#   bench/run.sh [--quick] PART...        commands append reactors delivery history growth memory
#   bench/run.sh --output FOLDER ...      where to write (default: bench/results)

. "$(dirname "$0")/../scripts/common.sh"
. "$tree/bench/lib.sh"

all_parts="commands append reactors delivery history growth memory"
quick=
output=$tree/bench/results
parts=
while [ $# -gt 0 ]; do
	case $1 in
		--quick) quick=1 ;;
		--output) output=$2; shift ;;
		-*) die "usage: $0 [--quick] [--output FOLDER] [PART...]" ;;
		*) [ -e "$tree/bench/parts/$1.sh" ] || die "There is no part \"$1\"; parts: $all_parts"; parts+=" $1" ;;
	esac
	shift
done
if [ -n "$quick" ]; then
	seconds=1 repetitions=3 scale=20
else
	seconds=3 repetitions=5 scale=1
fi

find_postgres make gcc libc6-dev perl gnuplot-nox
work=$(as_user mktemp -d /tmp/goes-bench.XXXXXX)
server=$work/server
results=$work/results.tsv
as_user touch "$results"
trap 'stop_bench; as_root rm -rf "$work"' EXIT
cd "$work"

say "Building goes for $("$PG_CONFIG" --version)"
copy_tree "$work/source"
build "$work/source"
build "$work/source/examples/c_calculator"

start_bench
for part in ${parts:-$all_parts}; do
	say "$part"
	. "$tree/bench/parts/$part.sh"
done
write_report
