# shellcheck shell=bash
#
# The model of accounts, by goes and by hand, and its commands.

accounts=10000

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
