# shellcheck shell=bash
#
# Reactors after the commit: throughput on a backlog, latency, and programs
# outside; beside the job queues that one would use instead.

backlog=$((200000 / scale))

# Executes commands without a reactor, 1,000 in a call, until there is a backlog.
fill() {
	sql -o /dev/null -c "SELECT count(*) FROM generate_series(1, $((backlog / 1000))) n, LATERAL goes_execute_many((
		SELECT jsonb_agg(doc) FROM work.documents WHERE i BETWEEN 1 + n * 1000 % 19000 AND 1000 + n * 1000 % 19000)) e"
}

# goes: the backlog is gone through again after a rewind. Prints events per second.
run_backlog() {
	local reactor=$1
	sql -c "SELECT goes_pause('$reactor')" -c "SELECT goes_rewind('$reactor', $first)" >/dev/null
	per_second "$backlog" sql -c "SELECT goes_resume('$reactor')" -c "SELECT goes_wait('$reactor', timeout => '1h')"
}

# One program: fetch 100, settle them. $1 is goes. Prints events per second.
fetch_and_settle() {
	local rate
	sql -c "SELECT goes_rewind('program', $first)" >/dev/null
	rate=$(tps 1 '-c synchronous_commit=off' "SELECT array_agg(position)::text AS positions FROM goes_fetch('program', 100) \\gset
SELECT goes_settle('program', :positions::bigint[]);" -t $((backlog / 100)))
	awk -v tps="$rate" 'BEGIN { printf "%.0f\n", tps * 100 }'
}

graphile_backlog() {
	# What the function is given depends on n, or it would be called once only.
	sql -o /dev/null -c "SELECT count(*) FROM generate_series(1, $((backlog / 1000))) n, LATERAL graphile_worker.add_jobs((
		SELECT array_agg(('nothing', '{}', NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec) FROM generate_series(n, n + 999)))"
	node_program graphileworker.mjs backlog "$backlog"
}

pgboss_backlog() {
	node_program pgboss.mjs fill "$backlog"
	node_program pgboss.mjs backlog "$backlog"
}

pgq_backlog() {
	local consumer="DO \$\$ DECLARE batch bigint; n bigint; BEGIN
		LOOP
			batch := pgq.next_batch('nothing', 'consumer');
			EXIT WHEN batch IS NULL;
			FOR n IN SELECT ev_id FROM pgq.get_batch_events(batch) LOOP NULL; END LOOP;
			PERFORM pgq.finish_batch(batch);
			COMMIT;
		END LOOP; END \$\$"
	for ((i = 0; i < backlog / 10000; i++)); do
		sql -o /dev/null -c "SELECT count(pgq.insert_event('nothing', 'x', '{}')) FROM generate_series(1, 10000)" -c "SELECT pgq.ticker('nothing')"
	done
	sql -o /dev/null -c "SELECT pgq.force_tick('nothing')" -c "SELECT pgq.ticker('nothing')"
	per_second "$backlog" sql -c "$consumer"
}

run_one() {
	case $1 in
		goes) run_backlog nothing ;;
		goes-plpgsql) run_backlog nothing_plpgsql ;;
		graphile-worker) graphile_backlog ;;
		pg-boss) pgboss_backlog ;;
		pgq) pgq_backlog ;;
	esac
}

# latency VARIANT REPETITION: 200 transactions per second; table "started" tells
# when the reactor of each began, the commit timestamp of what it wrote when it
# was committed.
latency() {
	local variant=$1 repetition=$2 script committed='probes p ON p.id = s.id' serve='' name

	name=${variant//-/}
	sql -c 'TRUNCATE probes, started'
	case $variant in
		goes)
			script=$'\\set i random(1, 20000)\nSELECT goes_execute(doc) FROM probe.documents WHERE i = :i;'
			committed='probe.accounts_events p ON p.position = s.id'
			;;
		graphile-worker) script="WITH p AS (INSERT INTO probes DEFAULT VALUES RETURNING id) SELECT graphile_worker.add_job('probe', json_build_object('id', id)) FROM p;" ;;
		pg-boss) script="WITH p AS (INSERT INTO probes DEFAULT VALUES RETURNING id) INSERT INTO pgboss.job (name, data) SELECT 'probe', jsonb_build_object('id', id) FROM p;" ;;
	esac
	if [ "$variant" != goes ]; then
		node_program "$name.mjs" serve >/dev/null 2>&1 &
		serve=$!
		sleep 4
	fi
	tps 8 '-c synchronous_commit=off' "$script" -R 200 -T $((seconds * 3)) >/dev/null
	sleep 2
	if [ -n "$serve" ]; then
		as_root pkill -f "$name.mjs serve" || true
		wait "$serve" 2>/dev/null || true
	fi
	sql -F ' ' -c "SELECT round(percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric, 3), round(percentile_cont(0.99) WITHIN GROUP (ORDER BY ms)::numeric, 3)
		FROM (SELECT extract(epoch FROM s.at - pg_xact_commit_timestamp(p.xmin)) * 1000 AS ms FROM started s JOIN $committed) l" |
		while read -r median worst; do
			[ "$repetition" -eq 0 ] || {
				record 'commit to start at 200/s, median' "$variant" ms "$repetition" "$median"
				record 'commit to start at 200/s, 99 %' "$variant" ms "$repetition" "$worst"
			}
		done
}

sql_file accounts.sql -v v=work -v n=10000
sql_file functions_sql.sql -v v=work
sql_file register.sql -v v=work -v n=10000 -v calculator=deposited
sql_file accounts.sql -v v=probe -v n=10000
sql_file functions_sql.sql -v v=probe
sql_file register.sql -v v=probe -v n=10000 -v calculator=deposited
sql -o /dev/null <<-'SQL'
	CREATE TABLE probes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
	CREATE TABLE started (id bigint, at timestamptz);
	CREATE OR REPLACE FUNCTION nothing(event goes_event) RETURNS void LANGUAGE sql AS '';
	CREATE FUNCTION nothing_plpgsql(event goes_event) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	CREATE FUNCTION start(event goes_event) RETURNS void LANGUAGE plpgsql AS
	    'BEGIN INSERT INTO started VALUES (event.position, clock_timestamp()); END';
SQL
first=$(sql -c 'SELECT coalesce(max(position), 0) FROM work.accounts_events')
fill
sql -o /dev/null -c "SELECT goes_on('{work.deposited}', async => '{nothing,nothing_plpgsql}', outside => '{program}')" \
	-c "SELECT goes_wait(timeout => '1h')"

peers='goes goes-plpgsql'
queues=goes
if npm_packages graphile-worker pg-boss@10 pg; then
	node_program graphileworker.mjs install
	node_program pgboss.mjs install
	sql -o /dev/null -c 'VACUUM ANALYZE'
	peers+=' graphile-worker pg-boss'
	queues+=' graphile-worker pg-boss'
fi
version=$("$PG_CONFIG" --version | grep -oE '[0-9]+' | head -n 1)
if command -v apt-get >/dev/null && install_packages "postgresql-$version-pgq3" &&
	sql -o /dev/null -c 'CREATE EXTENSION pgq' -c "SELECT pgq.create_queue('nothing')" -c "SELECT pgq.register_consumer('nothing', 'consumer')"; then
	peers+=' pgq'
fi
# shellcheck disable=SC2086
interleave "backlog of $backlog" events/s run_one $peers
interleave "outside, 100 at a time" events/s fetch_and_settle goes

sql -o /dev/null -c "SELECT goes_on('{probe}', async => '{start}')"
for ((i = 0; i <= repetitions; i++)); do
	for queue in $queues; do
		latency "$queue" "$i"
	done
done
sql -o /dev/null -c "SELECT goes_off('start', true), goes_off('nothing', true), goes_off('nothing_plpgsql', true), goes_off('program', true)"
