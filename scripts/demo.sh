#!/usr/bin/env bash
#
# Builds and installs goes, starts a throw-away server that preloads it, and runs
# the user example there. Installs what is missing on Debian. The server is left
# running, to play with; another run replaces it.
#
#   scripts/demo.sh
#   scripts/demo.sh stop

. "$(dirname "$0")/common.sh"

# Stops the server of an earlier run, if any, and removes its folder.
stop_demo() {
	[ -e "$demo" ] || return 0
	[ ! -e "$demo/data/postmaster.pid" ] || stop_server "$demo/bin/pg_ctl" "$demo"
	as_user rm -rf "$demo"
}

run_psql() {
	as_user "$bin/psql" -X -q -h "$demo" -U postgres -v ON_ERROR_STOP=1 "$@" 2>&1
}

case ${1:-start} in
	start)
		find_postgres make gcc libc6-dev
		;;
	stop)
		;;
	*)
		die "usage: $0 [stop]"
		;;
esac

cd /
demo=/tmp/goes-demo-$(as_user id -u)
stop_demo
[ "${1:-start}" = start ] || exit 0
# Whoever may enter this folder is a superuser of the server.
as_user mkdir -m 700 "$demo"
as_user ln -s "$bin" "$demo/bin"

say "Building and installing goes for $("$PG_CONFIG" --version)"
copy_tree "$demo/source"
build "$demo/source"

say "Starting a server with shared_preload_libraries = 'goes'"
start_server "$demo" "shared_preload_libraries = 'goes'"
run_psql -d postgres -c 'CREATE DATABASE demo'

# From standard input psql reports errors without the name of a file.
say "The model: examples/user/model.sql"
cat "$tree/examples/user/model.sql"
run_psql -d demo -o /dev/null <"$tree/examples/user/model.sql"

say "Commands and queries: examples/user/run.sql"
run_psql -d demo <"$tree/examples/user/run.sql"

say "The server is left running"
echo "Connect:    ${SUDO_USER:+sudo }$bin/psql -h $demo -U postgres demo"
echo "Stop it:    ${SUDO_USER:+sudo }$tree/scripts/demo.sh stop"
