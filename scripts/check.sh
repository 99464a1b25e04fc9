#!/usr/bin/env bash
#
# Builds and installs goes and its C example, and runs all tests: regression and
# isolation tests on a throw-away server that preloads goes and on one that does
# not, then the TAP tests; and all of them where goes reads and writes every row
# with a statement (goes.force_spi). Installs what is missing on Debian. The last
# line is "N passed, N failed"; failure leaves the folder that it names.
#
#   scripts/check.sh
#   PG_CONFIG=/path/to/pg_config scripts/check.sh

. "$(dirname "$0")/common.sh"

find_postgres make gcc libc6-dev perl libipc-run-perl pgbouncer
# The mailer example's, unless there is another one already
command -v npm >/dev/null || ! command -v apt-get >/dev/null || install_packages nodejs npm
work=$(as_user mktemp -d /tmp/goes-check.XXXXXX)
cd "$work"
server=
passed=0
failed=0

clean_up() {
	[ -z "$server" ] || stop_server "$bin/pg_ctl" "$server" || true
}
trap clean_up EXIT

# suite NAME FOLDER ARGUMENT...: make installcheck with these arguments in a
# folder of the tree. Counts a regression test, an isolation spec and a test
# point of a TAP test as one each.
suite() {
	local name=$1 folder=$work/source/$2 log=$work/suite.log status=0 ok bad
	shift 2

	say "$name"
	as_user make -s -C "$folder" installcheck PG_CONFIG="$PG_CONFIG" "$@" 2>&1 | tee "$log" || status=$?

	# The layout of pg_regress up to 15, and that of TAP, which it has since 16; what is skipped does not count
	ok=$(grep -cE '^(test|    ) .* \.\.\. ok |^ok [0-9]+( +[-+] |$)' "$log") || true
	bad=$(grep -cE '^(test|    ) .* \.\.\. FAILED |^not ok [0-9]+( +[-+] |$)' "$log") || true
	# ended before it could count
	[ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	passed=$((passed + ok))
	failed=$((failed + bad))

	if [ "$bad" -gt 0 ]; then
		find "$folder" -name regression.diffs -exec cat {} +
	fi
	find "$folder" -name regression.diffs -exec rm {} +
}

# suites_on NAME SETTING...: the suites that run on a server with these settings
suites_on() {
	local name=$1
	shift

	server=$work/$name
	as_user mkdir "$server"
	start_server "$server" 'fsync = off' "$@"
	export PGHOST=$server PGPORT=5432 PGUSER=postgres
	suite "Regression tests, $name" . ISOLATION= TAP_TESTS=
	suite "C calculator, $name" examples/c_calculator
	suite "Isolation tests, $name" . REGRESS= TAP_TESTS=
	unset PGHOST PGPORT PGUSER
	stop_server "$bin/pg_ctl" "$server"
	server=
}

say "Building for $("$PG_CONFIG" --version)"
copy_tree "$work/source"
build "$work/source"
build "$work/source/examples/c_calculator"

suites_on preloaded "shared_preload_libraries = 'goes'"
suites_on plain
suites_on statements "shared_preload_libraries = 'goes'" 'goes.force_spi = on'
suite "TAP tests" . REGRESS= ISOLATION= PROVE_FLAGS="--verbose --jobs 2"
printf 'goes.force_spi = on\n' >"$work/statements.conf"
TEMP_CONFIG=$work/statements.conf suite "TAP tests, statements" . REGRESS= ISOLATION= PROVE_FLAGS="--verbose --jobs 2"

if [ "$failed" -gt 0 ]; then
	printf '\nLogs and results: %s\n' "$work"
else
	cd /
	as_user rm -rf "$work"
fi
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
