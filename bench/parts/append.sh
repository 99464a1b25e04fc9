# shellcheck shell=bash
#
# Events per second appended to 10,000 streams, 8 clients: what the other event
# stores in PostgreSQL do (an append, no command, no read model) beside a whole
# command of goes.

streams=10000

# Documents with the data of an event in the database at hand
make_documents() {
	sql -c "CREATE TABLE documents AS SELECT i, jsonb_build_object('amount', i % 97 + 1) AS data FROM generate_series(1, $((2 * streams))) i" \
		-c 'ALTER TABLE documents ADD PRIMARY KEY (i)' -c 'VACUUM ANALYZE documents'
}

# append VARIANT: in a subshell, so the database is that of the variant only here
append() {
	local script='\set i random(1, 20000)' options=$settings

	case $1 in
		goes)
			database=bench
			script+=$'\nSELECT goes_execute(doc) FROM stream.documents WHERE i = :i;'
			;;
		floor)
			database=bench
			script+=$'\nWITH d AS MATERIALIZED (SELECT doc FROM stream_floor.documents WHERE i = :i), u AS (UPDATE stream_floor.accounts a SET version = a.version + 1, updated_at = now() FROM d WHERE a.id = (d.doc ->> \'aggregate_id\')::uuid RETURNING a.id, a.version, a.updated_at, d.doc -> \'data\' AS data) INSERT INTO stream_floor.accounts_events SELECT nextval(\'stream_floor.positions\'), gen_random_uuid(), u.id, u.version, \'deposited\', 1, u.data, \'{}\', NULL, false, u.updated_at FROM u;'
			;;
		message-db)
			database=message_store
			options+=' -c search_path=message_store,public'
			script+=$'\nSELECT message_store.write_message(gen_random_uuid()::text, \'account-\' || (:i % 10000), \'Deposited\', (SELECT data FROM public.documents WHERE i = :i));'
			;;
		emmett)
			database=emmett
			# chr: pgbench would take what follows a colon for a variable
			script+=$'\nSELECT emt_append_to_stream(ARRAY[gen_random_uuid()::text], ARRAY[(SELECT data FROM documents WHERE i = :i)], ARRAY[\'{}\'::jsonb], ARRAY[\'1\'], ARRAY[\'Deposited\'], ARRAY[\'E\'], \'account-\' || (:i % 10000), \'account\', NULL, \'emt\' || chr(58) || \'default\');'
			;;
	esac
	tps 8 "$options" "$script"
}

sql_file accounts.sql -v v=stream -v n=$streams
sql_file functions_sql.sql -v v=stream
sql_file register.sql -v v=stream -v n=$streams -v calculator=deposited
sql_file accounts.sql -v v=stream_floor -v n=$streams
sql_file by_hand.sql -v v=stream_floor -v n=$streams
peers='floor goes'
if npm_packages @eventide/message-db @event-driven-io/emmett-postgresql pg; then
	(cd "$work/npm/node_modules/@eventide/message-db/database" &&
		as_user env PATH="$bin:$PATH" PGHOST="$server" PGUSER=postgres PGOPTIONS='-c client_min_messages=warning' bash install.sh >/dev/null)
	database=message_store
	make_documents
	create_database emmett
	node_program emmett.mjs
	make_documents
	# two clients that begin the same stream at once would fail
	sql -o /dev/null -c "SELECT count(*) FROM generate_series(0, $((streams - 1))) i,
		LATERAL emt_append_to_stream(ARRAY[gen_random_uuid()::text], ARRAY['{}'::jsonb], ARRAY['{}'::jsonb], ARRAY['1'],
			ARRAY['Opened'], ARRAY['E'], 'account-' || i, 'account', NULL, 'emt:default')"
	database=bench
	peers+=' message-db emmett'
fi
for synchronous in off on; do
	settings="-c synchronous_commit=$synchronous"
	# shellcheck disable=SC2086
	interleave "append, 8 clients, sync $synchronous" events/s append $peers
done
