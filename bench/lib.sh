# shellcheck shell=bash
#
# The throw-away server, loads on it, and what was measured; run.sh sources it.

# What differs from the defaults; synchronous_commit differs from load to load.
server_settings=(
	"shared_preload_libraries = 'goes, c_calculator'"
	'max_connections = 200'
	'max_worker_processes = 32'
	'shared_buffers = 1GB'
	'max_wal_size = 16GB'
	'checkpoint_timeout = 1h'
	'track_commit_timestamp = on'
	'autovacuum_naptime = 10s'
	"timezone = 'UTC'"
)

start_bench() {
	as_user mkdir "$server"
	start_server "$server" "${server_settings[@]}"
	say "The server: $("$PG_CONFIG" --version), $(nproc) cores, $(awk '/MemTotal/ { printf "%d GB", $2 / 1048576 }' /proc/meminfo)"
	printf '%s\n' "${server_settings[@]}"
	create_database bench
	sql -c 'CREATE EXTENSION goes'
}

stop_bench() {
	[ ! -e "$server/data/postmaster.pid" ] || stop_server "$bin/pg_ctl" "$server"
}

# create_database NAME: it becomes that of all that follows.
create_database() {
	database=$1
	as_user "$bin/psql" -X -q -h "$server" -U postgres -d postgres -c "CREATE DATABASE $database"
}

# sql ARGUMENT...: psql, which prints bare values.
sql() {
	as_user "$bin/psql" -X -q -A -t -h "$server" -U postgres -d "$database" -v ON_ERROR_STOP=1 "$@"
}

# sql_file FILE [PSQL ARGUMENT...]: what the file prints does not matter.
sql_file() {
	local file=$1
	shift
	sql -o /dev/null "$@" <"$tree/bench/sql/$file"
}

# tps CLIENTS SETTINGS SCRIPT [PGBENCH ARGUMENT...]: transactions per second of a
# script, which is one line or more of text.
tps() {
	local clients=$1 settings=$2 script=$3
	shift 3
	printf '%s\n' "$script" | as_user tee "$work/script.sql" >/dev/null
	as_user env PGOPTIONS="$settings" "$bin/pgbench" -n -M prepared -h "$server" -U postgres \
		-c "$clients" -j 2 -f "$work/script.sql" "${@:--T$seconds}" "$database" 2>"$work/pgbench.log" |
		awk '/^tps = / { print $3; found = 1 } END { exit !found }' ||
		{ cat "$work/pgbench.log" >&2; return 1; }
}

# record SCENARIO VARIANT UNIT REPETITION VALUE
record() {
	[ -n "$5" ] || die "No value for \"$1\" of $2"
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$part" "$1" "$2" "$3" "$4" "$5" | as_user tee -a "$results" >/dev/null
	printf '%-44s %-14s %12s %s\n' "$1" "$2" "$5" "$3"
}

# interleave SCENARIO UNIT FUNCTION VARIANT...: FUNCTION VARIANT prints a number;
# the variants take turns, after a warm-up that does not count.
interleave() {
	local scenario=$1 unit=$2 function=$3 repetition variant value
	shift 3
	for ((repetition = 0; repetition <= repetitions; repetition++)); do
		for variant; do
			value=$("$function" "$variant")
			[ "$repetition" -eq 0 ] || record "$scenario" "$variant" "$unit" "$repetition" "$value"
		done
	done
}

# seconds_of COMMAND...: how long it takes; what it prints does not matter.
seconds_of() {
	local begin end
	begin=$(date +%s%N)
	"$@" >/dev/null
	end=$(date +%s%N)
	awk -v ns=$((end - begin)) 'BEGIN { printf "%.6f\n", ns / 1e9 }'
}

# per_second COUNT COMMAND...
per_second() {
	local count=$1 took
	shift
	took=$(seconds_of "$@")
	awk -v n="$count" -v s="$took" 'BEGIN { printf "%.0f\n", n / s }'
}

# anonymous_kb PID: the memory of a process that is its own, in kB.
anonymous_kb() {
	awk '/^RssAnon/ { print $2 }' "/proc/$1/status" 2>/dev/null || echo 0
}

# npm_packages PACKAGE...: installs them into the scratch folder. False without npm.
npm_packages() {
	command -v npm >/dev/null || ! command -v apt-get >/dev/null || install_packages nodejs npm
	command -v npm >/dev/null || return 1
	[ -e "$work/npm" ] || as_user mkdir "$work/npm"
	(cd "$work/npm" && as_user env HOME="$work/npm" npm install --silent --no-fund --no-audit --prefix "$work/npm" "$@" >&2)
}

# node_program FILE ARGUMENT...: a program of peers/, with the packages.
node_program() {
	local file=$1
	shift
	[ -e "$work/npm/$file" ] || as_user tee "$work/npm/$file" <"$tree/bench/peers/$file" >/dev/null
	(cd "$work/npm" && as_user env HOME="$work/npm" NODE_NO_WARNINGS=1 \
		DATABASE_URL="postgresql://postgres@localhost/$database?host=$server" node "$file" "$@")
}

write_report() {
	say "Results"
	mkdir -p "$output"
	cp "$results" "$output/results.tsv"
	perl "$tree/bench/report.pl" "$output" "$tree/bench/targets.tsv" "$("$PG_CONFIG" --version), $(nproc) cores" "${quick:+quick}"
	cat "$output/results.md"
}
