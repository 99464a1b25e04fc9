# shellcheck shell=bash
#
# The past: rebuild, import, time travel.

accounts=$((10000 / (scale > 1 ? 10 : 1)))
events=$((1000000 / scale))

rebuild() {
	case $1 in
		goes) per_second "$events" sql -c "CALL goes_rebuild('past')" ;;
		goes-2) per_second "$events" sql -c "CALL goes_rebuild('past', parallelism => 2)" ;;
		loop) per_second "$((events / 10))" sql -c "DO \$\$ DECLARE e past.accounts_events; BEGIN
			FOR e IN SELECT * FROM past.accounts_events WHERE action = 'deposited' ORDER BY position LIMIT $((events / 10)) LOOP
				UPDATE past.copies SET version = e.aggregate_version, updated_at = e.recorded_at,
					balance = balance + (e.data ->> 'amount')::bigint, amount = (e.data ->> 'amount')::bigint WHERE id = e.aggregate_id;
			END LOOP; END \$\$" ;;
		aggregate) per_second "$events" sql -c "UPDATE past.copies c SET version = (state).version, updated_at = (state).updated_at, balance = (state).balance, amount = (state).amount
			FROM (SELECT aggregate_id, past.folded(e) AS state FROM past.accounts_events e GROUP BY aggregate_id) f WHERE f.aggregate_id = c.id
			AND (c.version, c.updated_at, c.balance, c.amount) IS DISTINCT FROM ((state).version, (state).updated_at, (state).balance, (state).amount)" ;;
		sum) per_second "$events" sql -c "UPDATE past.copies c SET version = f.version, updated_at = f.at, balance = f.balance, amount = f.amount
			FROM (SELECT aggregate_id, max(aggregate_version) AS version, max(recorded_at) AS at, sum((data ->> 'amount')::bigint) AS balance,
				(array_agg((data ->> 'amount')::bigint ORDER BY position DESC))[1] AS amount FROM past.accounts_events GROUP BY aggregate_id) f
			WHERE f.aggregate_id = c.id AND (c.version, c.updated_at, c.balance, c.amount) IS DISTINCT FROM (f.version, f.at, f.balance, f.amount)" ;;
	esac
}

# background NAME SETTINGS SCRIPT [PGBENCH ARGUMENT...]: a load until end_background
background() {
	local name=$1 settings=$2 script=$3
	shift 3
	printf '%s\n' '\set i random(1, :n)' "$script" | as_user tee "$work/$name.sql" >/dev/null
	as_user env PGOPTIONS="$settings" "$bin/pgbench" -n -M prepared -h "$server" -U postgres -T 3600 -D n="$accounts" -f "$work/$name.sql" "$@" "$database" \
		>/dev/null 2>"$work/$name.log" &
}

end_background() {
	as_root pkill -TERM -f "$work/[a-z]*.sql" || true
	wait
	! grep ERROR "$work"/*.log >&2
}

# While commands keep coming, and queries that must not wait.  All rows are wrong.
rebuild_beside_load() {
	local rate
	sql -c 'SET goes.allow_direct_writes = on' -c 'UPDATE past.accounts SET balance = balance + 1'
	background load '-c synchronous_commit=off' 'SELECT goes_execute(doc) FROM past.documents WHERE i = :i;' -c 4 -R 500
	background readers '' 'SELECT balance FROM past.accounts WHERE id = past.account(:i);' -c 2 -R 200 -l --log-prefix="$work/readers"
	sleep 1
	rate=$(per_second "$events" sql -c "CALL goes_rebuild('past')")
	# pgbench forgets the last part of its log, which it has not written yet
	sleep 1
	end_background
	[ "$repetition" -eq 0 ] ||
		record 'beside it, the greatest latency of a reader' goes ms "$repetition" "$(cat "$work"/readers.[0-9]* | awk '$3 > max { max = $3 } END { print max / 1000 }')" >&2
	as_root sh -c "rm -f $work/readers.[0-9]*"
	[ "$(sql -c "SELECT count(*) FROM goes_verify('past')")" -eq 0 ]
	echo "$rate"
}

# VARIANT is "<events> a call", each call a transaction
import() {
	local size=${1%% *}
	sql_file accounts.sql -v v=imported -v n=0
	sql_file functions_sql.sql -v v=imported
	sql_file register.sql -v v=imported -v n=0 -v calculator=deposited
	per_second "$events" sql -c "DO \$\$ BEGIN
		FOR i IN 0 .. $(((events - 1) / size)) LOOP
			PERFORM goes_import('imported', chunk) FROM past.chunks WHERE size = $size AND n = i;
			COMMIT;
		END LOOP; END \$\$"
	sql -o /dev/null -c "SET client_min_messages = warning; SELECT goes_unregister_aggregate('imported'); DROP SCHEMA imported CASCADE"
}

# Milliseconds
travel() {
	tps 1 '' "SELECT * FROM goes_aggregate_at(NULL::past.accounts, past.account(1), version => 1000)" -T "$seconds" | awk '{ printf "%.3f\n", 1000 / $1 }'
}

sql_file accounts.sql -v v=past -v n="$accounts"
sql_file functions_sql.sql -v v=past
sql_file register.sql -v v=past -v n="$accounts" -v calculator=deposited
sql_file history.sql -v n="$accounts" -v events="$events"

interleave "rebuild, $events events of $accounts, nothing differs" events/s rebuild goes goes-2 loop aggregate sum
interleave "rebuild of rows that are all wrong, beside 500 commands/s and 200 queries/s" events/s rebuild_beside_load goes
interleave "import, $events events of $accounts" events/s import '100000 a call' '10000 a call'
interleave "time travel, 1,000 events" ms travel goes
