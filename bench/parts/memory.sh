# shellcheck shell=bash
#
# What processes hold after much work: anonymous memory, in kB.  In a database of its
# own, since every session knows the model of its database.

create_database memory
sql -c 'CREATE EXTENSION goes'
events=$((1000000 / scale))

# peak FUNCTION: the greatest memory of any process of the server but those of
# shared work, while the function runs
peak() {
	local pid highest=0 kb job
	"$@" >/dev/null &
	job=$!
	while kill -0 "$job" 2>/dev/null; do
		for pid in $(sql -c "SELECT pid FROM pg_stat_activity WHERE (backend_type = 'client backend' OR backend_type LIKE 'goes%') AND datname = current_database() AND pid <> pg_backend_pid()"); do
			kb=$(anonymous_kb "$pid")
			[ "${kb:-0}" -le "$highest" ] || highest=$kb
		done
		sleep 0.2
	done
	wait "$job"
	echo "$highest"
}

execute() {
	tps 1 '-c synchronous_commit=off' $'\\set i random(1, 20000)\nSELECT goes_execute(doc) FROM memory.documents WHERE i = :i;' -t "$1"
}

react() {
	sql -c "SELECT goes_rewind('forget', $first)" -c "SELECT goes_wait('forget', timeout => '1h')"
}

rebuild() {
	sql -c "CALL goes_rebuild('memory')"
}

sql_file accounts.sql -v v=memory -v n=10000
sql_file functions_sql.sql -v v=memory
sql_file register.sql -v v=memory -v n=10000 -v calculator=deposited
first=$(sql -c 'SELECT max(position) FROM memory.accounts_events')
record 'a session' "10000 commands" kB 1 "$(peak execute 10000)"
record 'a session' "$events commands" kB 1 "$(peak execute "$events")"
sql -o /dev/null -c "CREATE FUNCTION forget(event goes_event) RETURNS void LANGUAGE sql AS ''; SELECT goes_on('{memory}', async => '{forget}')" \
	-c "SELECT goes_wait(timeout => '1h')"
record 'a runner' "$events events" kB 1 "$(peak react)"
record 'a rebuild' "$events events" kB 1 "$(peak rebuild)"
sql -o /dev/null -c "SELECT goes_off('forget', true)" -c "SET search_path = memory, public; SET session_replication_role = replica;
	INSERT INTO accounts_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
	SELECT nextval('goes.position'), goes_uuidv7(), a.id, a.version + v, 'deposited', 1, '{\"amount\": 1}', '{}', true, now()
	FROM accounts a, generate_series(1, $((9 * events / 10000))) v"
record 'a rebuild' "$((10 * events)) events" kB 1 "$(peak rebuild)"

# One aggregate with all those events
sql_file accounts.sql -v v=single -v n=1
sql_file functions_sql.sql -v v=single
sql_file register.sql -v v=single -v n=1 -v calculator=deposited
sql -o /dev/null -c "SET search_path = single, public; SET session_replication_role = replica;
	INSERT INTO accounts_events (position, id, aggregate_id, aggregate_version, action, event_version, data, metadata, imported, recorded_at)
	SELECT nextval('goes.position'), goes_uuidv7(), account(1), v, 'deposited', 1, '{\"amount\": 1}', '{}', true, now() FROM generate_series(2, $events) v"
one() {
	sql -c "$1"
}
record 'one aggregate' "goes_replay, $events events" kB 1 "$(peak one "SELECT goes_replay('single', single.account(1))")"
record 'one aggregate' "goes_rebuild, $events events" kB 1 "$(peak one "CALL goes_rebuild('single')")"
record 'one aggregate' "goes_aggregate_at, $events events" kB 1 "$(peak one "SELECT * FROM goes_aggregate_at(NULL::single.accounts, single.account(1), version => $events - 1)")"
