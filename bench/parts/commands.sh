# shellcheck shell=bash
#
# Commands per second, beside the floor (the bare statement), a function by hand
# and a generic one, which one would write instead.

. "$tree/bench/models.sh"

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
make_type quiet sql deposited

low=1 high=$((2 * accounts))
for synchronous in off on; do
	settings="-c synchronous_commit=$synchronous"
	clients=8
	interleave "8 clients, sync $synchronous" commands/s commands floor hand generic spi sql plpgsql merge c
	for clients in 1 32; do
		interleave "$clients clients, sync $synchronous" commands/s commands floor hand sql plpgsql
	done
done
clients=8
settings='-c synchronous_commit=off'
high=10
interleave "10 hot accounts, 8 clients, sync off" commands/s commands floor hand sql
low=-200 high=-1
interleave "64 kB payloads, 8 clients, sync off" commands/s commands floor hand sql
low=1 high=$((2 * accounts))
interleave "1,000 in a call, 1 client, sync off" commands/s many single many
