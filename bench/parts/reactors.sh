# shellcheck shell=bash
#
# What it costs the commits that there is a reactor after them.

. "$tree/bench/models.sh"

sql -o /dev/null -c "CREATE OR REPLACE FUNCTION nothing(event goes_event) RETURNS void LANGUAGE sql AS ''"
make_type plain sql deposited
make_type async sql deposited "async => '{public.nothing}'"
make_type outside sql deposited "outside => '{program}'"

low=1 high=$((2 * accounts))
settings='-c synchronous_commit=on'
for clients in 8 32; do
	interleave "commits, $clients clients, sync on" commands/s commands plain async outside
done
sql -o /dev/null -c "SELECT goes_off('public.nothing', true), goes_off('program', true)"
