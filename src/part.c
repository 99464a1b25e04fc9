/*-------------------------------------------------------------------------
 *
 * part.c
 *	  What a rebuild has done and has still to do: table goes.rebuilds.
 *
 * A rebuild goes through the aggregates of a type by the hash of their ids, in
 * one part for each process.  A part that is done stays until all are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "part.h"
#include "registry.h"
#include "states.h"
#include "utils/builtins.h"

static int64
get_integer(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

/*
 * goes_parts_read
 *		The rebuild of the type that has not finished, or NULL.  It may be running.
 *		The caller is connected to SPI.
 */
GoesUnfinished *
goes_parts_read(const char *type)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type);
	GoesUnfinished *rebuild;

	if (goes_registry_execute("SELECT part::pg_catalog.int8, hash_from, hash_to, fingerprint,"
							  " started_at, since, progress FROM goes.rebuilds"
							  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
							  " ORDER BY part",
							  1, &argtype, &arg, NULL) == 0)
		return NULL;
	rebuild = palloc0(sizeof(GoesUnfinished));
	rebuild->fingerprint = (uint64) get_integer(0, 4);
	rebuild->started_at = get_integer(0, 5);
	rebuild->since = get_integer(0, 6);
	rebuild->progress = (dsm_handle) get_integer(0, 7);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		GoesPart   *part = palloc(sizeof(GoesPart));

		part->number = (int32) get_integer(i, 1);
		part->from = (uint64) get_integer(i, 2);
		part->to = (uint64) get_integer(i, 3);
		rebuild->parts = lappend(rebuild->parts, part);
	}
	return rebuild;
}

/* The part with the most to do. */
static GoesPart *
largest_part(const GoesUnfinished *rebuild)
{
	GoesPart   *largest = linitial(rebuild->parts);
	ListCell   *cell;

	foreach(cell, rebuild->parts)
	{
		GoesPart   *part = lfirst(cell);

		if (part->to - part->from > largest->to - largest->from)
			largest = part;
	}
	return largest;
}

static int
count_open(const GoesUnfinished *rebuild)
{
	int			count = 0;
	ListCell   *cell;

	foreach(cell, rebuild->parts)
	{
		const GoesPart *part = lfirst(cell);

		count += part->from < part->to;
	}
	return count;
}

static void
add_part(GoesUnfinished *rebuild, uint64 from, uint64 to)
{
	GoesPart   *part = palloc(sizeof(GoesPart));

	part->number = list_length(rebuild->parts);
	part->from = from;
	part->to = to;
	rebuild->parts = lappend(rebuild->parts, part);
}

/*
 * goes_parts_split
 *		Split parts until that many have something to do, if there is so much.
 */
void
goes_parts_split(GoesUnfinished *rebuild, int count)
{
	for (int open = count_open(rebuild); open > 0 && open < count; open++)
	{
		GoesPart   *part = largest_part(rebuild);
		uint64		middle = part->from + (part->to - part->from) / 2;

		if (middle == part->from)
			break;
		add_part(rebuild, middle, part->to);
		part->to = middle;
	}
}

/* goes_parts_create: that many parts of all aggregates. */
void
goes_parts_create(GoesUnfinished *rebuild, int count)
{
	for (int i = 0; i < count; i++)
		add_part(rebuild, GOES_HASH_END * i / count, GOES_HASH_END * (i + 1) / count);
}

static void
insert_part(const char *type, const GoesUnfinished *rebuild, const GoesPart *part)
{
	static const Oid argtypes[] = {
		TEXTOID, INT4OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID,
		INT8OID
	};
	Datum		args[] = {
		CStringGetTextDatum(type), Int32GetDatum(part->number),
		Int64GetDatum((int64) part->from), Int64GetDatum((int64) part->to),
		Int64GetDatum((int64) rebuild->fingerprint),
		TimestampTzGetDatum(rebuild->started_at),
		Int64GetDatum(rebuild->since), Int64GetDatum((int64) rebuild->progress)
	};

	goes_registry_execute("INSERT INTO goes.rebuilds (aggregate_type, part, hash_from, hash_to,"
						  " fingerprint, started_at, since, progress)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/*
 * goes_parts_write
 *		Store a rebuild in place of what was stored.  The caller is connected to
 *		SPI, as for all that follows.
 */
void
goes_parts_write(const char *type, const GoesUnfinished *rebuild)
{
	ListCell   *cell;

	goes_parts_forget(type);
	foreach(cell, rebuild->parts)
		insert_part(type, rebuild, lfirst(cell));
}

/* goes_parts_settle: no transaction may have used an older model any more. */
void
goes_parts_settle(const char *type)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type);

	goes_registry_execute("UPDATE goes.rebuilds SET since = 0"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1",
						  1, &argtype, &arg, NULL);
}

/*
 * goes_part_advance
 *		The aggregates of a part are done up to a hash.  False: the rebuild is not
 *		that one any more.
 */
bool
goes_part_advance(const char *type, TimestampTz started_at, int32 number, uint64 from)
{
	static const Oid argtypes[] = {TEXTOID, TIMESTAMPTZOID, INT4OID, INT8OID};
	Datum		args[] = {
		CStringGetTextDatum(type), TimestampTzGetDatum(started_at),
		Int32GetDatum(number), Int64GetDatum((int64) from)
	};

	return goes_registry_execute("UPDATE goes.rebuilds SET hash_from = $4"
								 " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
								 " AND started_at OPERATOR(pg_catalog.=) $2"
								 " AND part OPERATOR(pg_catalog.=) $3",
								 goes_lengthof(argtypes), argtypes, args, NULL) > 0;
}

/* goes_parts_left: how many hashes are still to be done. */
uint64
goes_parts_left(const GoesUnfinished *rebuild)
{
	uint64		left = 0;
	ListCell   *cell;

	foreach(cell, rebuild->parts)
	{
		const GoesPart *part = lfirst(cell);

		left += part->to - part->from;
	}
	return left;
}

/* goes_parts_forget: there is no rebuild. */
void
goes_parts_forget(const char *type)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type);

	goes_registry_execute("DELETE FROM goes.rebuilds"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1",
						  1, &argtype, &arg, NULL);
}
