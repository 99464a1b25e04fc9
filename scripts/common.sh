# shellcheck shell=bash
#
# What check.sh and demo.sh have in common; they source it.

set -euo pipefail
shopt -s inherit_errexit
umask 022
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# PostgreSQL's variables of the caller (a host, a user) are meant for another server.
for variable in "${!PG@}"; do
	[ "$variable" = PG_CONFIG ] || unset "$variable"
done

say() {
	printf '\n== %s\n' "$*"
}

die() {
	printf '%s\n' "$*" >&2
	exit 1
}

# Runs a command as root.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "This needs root: $*"
	fi
}

# Runs a command as an ordinary user: postgres refuses to run as root.
as_user() {
	if [ "$(id -u)" -eq 0 ]; then
		runuser -u postgres -- env -u TMPDIR HOME=/nonexistent "$@"
	else
		"$@"
	fi
}

# Installs those of the Debian packages that are missing.
install_packages() {
	local package missing=()

	for package; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' ||
			missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0

	say "Installing ${missing[*]}"
	# One unreachable source need not matter; the installation tells.
	as_root apt-get -qq update || true
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
		-o Dpkg::Use-Pty=0 install "${missing[@]}" </dev/null
}

# The newest major version of PostgreSQL whose server Debian has installed.
debian_version() {
	local server versions=()

	for server in /usr/lib/postgresql/*/bin/postgres; do
		[ ! -x "$server" ] || versions+=("$(basename "${server%/bin/postgres}")")
	done
	[ ${#versions[@]} -eq 0 ] || printf '%s\n' "${versions[@]}" | sort -n | tail -n 1
}

# find_postgres PACKAGE...: sets bin, and PG_CONFIG unless the caller chose one.
# On Debian, installs what is missing of PostgreSQL and of the packages.
find_postgres() {
	if command -v apt-get >/dev/null; then
		if [ -z "${PG_CONFIG:-}" ]; then
			[ -n "$(debian_version)" ] || install_packages postgresql
			install_packages "postgresql-server-dev-$(debian_version)"
			PG_CONFIG=/usr/lib/postgresql/$(debian_version)/bin/pg_config
		fi
		install_packages "$@"
	fi
	PG_CONFIG=$(command -v "${PG_CONFIG:-pg_config}") || die "No pg_config: install PostgreSQL, or set PG_CONFIG"
	export PG_CONFIG
	bin=$("$PG_CONFIG" --bindir)
	[ "$(id -u)" -ne 0 ] || id postgres >/dev/null 2>&1 ||
		die "There is no user postgres: run this as an ordinary user"
}

# Copies the source tree to a new folder. Building there leaves nothing in the
# tree, and works where the ordinary user may not even read it.
copy_tree() {
	as_user mkdir "$1"
	tar -C "$tree" -c --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' . |
		as_user tar -C "$1" -x --no-same-owner
}

# Builds and installs what is in a folder.
build() {
	local install=as_root

	as_user make -s -C "$1" -j "$(nproc)" PG_CONFIG="$PG_CONFIG"
	[ ! -w "$("$PG_CONFIG" --pkglibdir)" ] || install=
	$install make -s -C "$1" install PG_CONFIG="$PG_CONFIG"
}

# start_server FOLDER SETTING...: creates and starts a server with its data, log
# and socket in the folder; without TCP, so it needs no free port.
start_server() {
	local folder=$1
	shift

	as_user "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null
	printf '%s\n' "listen_addresses = ''" "port = 5432" "unix_socket_directories = '$folder'" "$@" |
		as_user tee -a "$folder/data/postgresql.conf" >/dev/null
	as_user "$bin/pg_ctl" -s -w -D "$folder/data" -l "$folder/log" start </dev/null || {
		as_user cat "$folder/log"
		die "The server does not start."
	}
}

stop_server() {
	as_user "$1" -s -w -D "$2/data" -m fast stop
}
