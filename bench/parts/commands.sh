# shellcheck shell=bash
#
# Commands per second, beside the floor (the bare statement), a function by hand
# and a generic one, which one would write instead.

accounts=$((10000))

# make_type NAME FUNCTIONS CALCULATOR [REACTORS of goes_on]
make_type() {
	sql_file accounts.sql -v v="$1" -v n="$accounts"
	sql_file "functions_$2.sql" -v v="$1"
	sql_file register.sql -v v="$1" -v n="$accounts" -v calculator="$3"
	[ -z "${4:-}" ] || sql -o /dev/null -c "SET search_path = $1, public" -c "SELECT goes_on('{$1}', $4)"
}

make_by_hand() {
	sql_file accounts.sql -v v="$1" -v n="$accounts"
	sql_file by_hand.sql -v v="$1" -v n="$accounts"
	[ "$1" = floor ] || sql_file "$1.sql"
}

# script VARIANT: the document is chosen by :low and :high
script() {
	printf '\\set i random(:low, :high)\n'
	case $1 in
		floor)
			echo "WITH c AS MATERIALIZED (SELECT doc FROM floor.documents WHERE i = :i)," \
				"u AS (UPDATE floor.accounts a SET version = a.version + 1, updated_at = now(), balance = a.balance + (c.doc -> 'data' ->> 'amount')::bigint," \
				"amount = (c.doc -> 'data' ->> 'amount')::bigint, note = c.doc -> 'data' ->> 'note'" \
				"FROM c WHERE a.id = (c.doc ->> 'aggregate_id')::uuid RETURNING a.id, a.version, a.updated_at, c.doc -> 'data' AS data)" \
				"INSERT INTO floor.accounts_events SELECT nextval('floor.positions'), gen_random_uuid(), u.id, u.version," \
				"'deposited', 1, u.data, '{}', NULL, false, u.updated_at FROM u;"
			;;
		hand) echo 'SELECT hand.deposit(doc) FROM hand.documents WHERE i = :i;' ;;
		generic) echo 'SELECT generic.execute(doc) FROM generic.documents WHERE i = :i;' ;;
		spi) echo 'SELECT goes_execute(doc) FROM sql.documents WHERE i = :i;' ;;
		*) echo "SELECT goes_execute(doc) FROM $1.documents WHERE i = :i;" ;;
	esac
}

# commands VARIANT: per second, with $clients, $settings, documents from $low to $high
commands() {
	local options="$settings"

	[ "$1" != spi ] || options+=' -c goes.force_spi=on'
	tps "$clients" "$options" "$(script "$1")" -D low="$low" -D high="$high" -T "$seconds"
}

many() {
	case $1 in
		many) tps 1 "$settings" '\set i random(1, :high - 1000)
SELECT count(*) FROM goes_execute_many((SELECT jsonb_agg(doc) FROM quiet.documents WHERE i BETWEEN :i AND :i + 999));' \
			-D high="$high" -T "$seconds" | awk '{ print $1 * 1000 }' ;;
		single) clients=1 commands quiet ;;
	esac
}

for variant in floor hand generic; do
	make_by_hand "$variant"
done
make_type sql sql deposited "sync => '{noop}'"
make_type plpgsql plpgsql deposited "sync => '{noop}'"
make_type merge sql goes_merge "sync => '{noop}'"
make_type c sql c:account_deposited "sync => '{noop}'"
sql -o /dev/null -c "CREATE FUNCTION nothing(event goes_event) RETURNS void LANGUAGE sql AS ''"
make_type quiet sql deposited
make_type async sql deposited "async => '{public.nothing}'"
make_type outside sql deposited "outside => '{program}'"

low=1 high=$((2 * accounts))
for synchronous in off on; do
	settings="-c synchronous_commit=$synchronous"
	clients=8
	interleave "8 clients, sync $synchronous" commands/s commands floor hand generic spi sql plpgsql merge c
	for clients in 1 32; do
		interleave "$clients clients, sync $synchronous" commands/s commands floor hand sql plpgsql
	done
done
for clients in 8 32; do
	interleave "reactors, $clients clients, sync on" commands/s commands quiet async outside
done
clients=8
settings='-c synchronous_commit=off'
high=10
interleave "10 hot accounts, 8 clients, sync off" commands/s commands floor hand sql
low=-200 high=-1
interleave "64 kB payloads, 8 clients, sync off" commands/s commands floor hand sql
low=1 high=$((2 * accounts))
interleave "1,000 in a call, 1 client, sync off" commands/s many single many
