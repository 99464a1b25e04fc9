# shellcheck shell=bash
#
# How it grows: commands per second of 8 clients (or more), sync off, on more and
# more of everything.

settings='-c synchronous_commit=off'
accounts=10000

grow() {
	sql_file accounts.sql -v v="$1" -v n="$accounts"
	sql_file functions_sql.sql -v v="$1"
	sql_file register.sql -v v="$1" -v n="$accounts" -v calculator=deposited
}

# The commands of a schema, and the floor's beside them
commands_of() {
	tps "${clients:-8}" "$settings" "\\set i random(1, :high)
SELECT goes_execute(doc) FROM $1.documents WHERE i = :i;" -D high="${high:-20000}" -T "$seconds"
}

by_clients() {
	clients=$1 commands_of grown
}

# Schemas size_N with N events each
by_size() {
	commands_of "size_$1"
}

# Aggregates of schema "long" with 1, 100, ... events: documents 1, 2, ...
by_length() {
	clients=1 tps 1 "$settings" "SELECT goes_execute(doc) FROM long.documents WHERE i = :high;" -D high="$1" -T "$seconds"
}

grow grown
interleave "clients" commands/s by_clients 1 2 4 8 16 32 64

sizes='10000 100000 1000000 10000000'
[ -z "$quick" ] || sizes='10000 100000'
for size in $sizes; do
	grow "size_$size"
	sql -o /dev/null -c "SET search_path = size_$size, public; SET session_replication_role = replica;
		INSERT INTO accounts_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
		SELECT nextval('goes.position'), goes_uuidv7(), gen_random_uuid(), 1, 'deposited', 1, '{\"amount\": 1}', '{}', true, now()
		FROM generate_series(1, $size - $accounts)"
	sql -c "VACUUM ANALYZE size_$size.accounts_events"
done
# shellcheck disable=SC2086
interleave "events in the table" commands/s by_size $sizes
for size in $sizes; do
	sql -o /dev/null -c "SET client_min_messages = warning; SELECT goes_unregister_aggregate('size_$size'); DROP SCHEMA size_$size CASCADE"
done

# Each has as many events as the documents are called
accounts=4 grow long
i=0
for length in 1 100 10000 100000; do
	i=$((i + 1))
	sql -o /dev/null -c "SET search_path = long, public; SET session_replication_role = replica; SET goes.allow_direct_writes = on;
		INSERT INTO accounts_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
		SELECT nextval('goes.position'), goes_uuidv7(), account($i), v, 'deposited', 1, '{\"amount\": 1}', '{}', true, now()
		FROM generate_series(2, $length) v;
		UPDATE accounts SET version = $length WHERE id = account($i)"
	sql -c "INSERT INTO long.documents SELECT $length + 10, doc FROM long.documents WHERE i = $i"
done
interleave "events of the aggregate" commands/s by_length 11 110 10010 100010

# types_until COUNT: creates those that are missing, each with a reactor
types=0
types_until() {
	sql -o /dev/null <<-SQL
		$(for ((; types < $1; types++)); do
			echo "CREATE TABLE many.t$types (LIKE goes_base_aggregate INCLUDING ALL);
				SELECT goes_register_aggregate('t$types', 'many.t$types'), goes_register_event('t$types', 'put'), goes_register_command('t$types', 'put', event => 'put', target => 'any');
				CREATE FUNCTION many.r$types(event goes_event) RETURNS void LANGUAGE sql AS '';
				SELECT goes_on('{t$types}', async => '{many.r$types}');"
		done)
	SQL
	types=$1
}

# More and more types; those that were there count too
sql -c 'CREATE SCHEMA many'
counts='1 10 100 1000'
[ -z "$quick" ] || counts='1 10 100'
for count in $counts; do
	types_until "$count"
	for ((repetition = 1; repetition <= repetitions; repetition++)); do
		record 'types and reactors' "$count" commands/s "$repetition" "$(commands_of grown)"
	done
done
