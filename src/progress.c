/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  How far async and outside reactors are: rows of goes.progress.
 *
 * Whoever runs a part of a reactor locks its row until the transaction ends,
 * in which what the reactor did and its new checkpoint are committed together.
 * Whoever changes a reactor locks all of its rows, and so waits for what is
 * running.  All functions need a connection to SPI.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "progress.h"
#include "position.h"
#include "registry.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define PROGRESS_COLUMNS "parts, checkpoint, barrier, imported_to, revision"

static void
take_progress(GoesProgress *progress)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;
	Datum		barrier;

	progress->parts = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
	progress->checkpoint = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
	progress->imported_to = DatumGetInt64(SPI_getbinval(tuple, desc, 4, &isnull));
	progress->revision = DatumGetInt64(SPI_getbinval(tuple, desc, 5, &isnull));
	barrier = SPI_getbinval(tuple, desc, 3, &isnull);
	progress->barrier = isnull ? GOES_NO_BARRIER : DatumGetInt64(barrier);
}

/*
 * goes_progress_start
 *		Let a reactor begin after a position, in one part.  with_imported: what
 *		was imported so far counts as history that it gets.
 */
void
goes_progress_start(const pg_uuid_t *reactor, int64 start, bool with_imported)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(reactor),
		Int64GetDatum(start),
		Int64GetDatum(with_imported ? goes_position_last() : 0)
	};

	goes_progress_forget(reactor);
	goes_registry_execute("INSERT INTO goes.progress (reactor, part, parts, checkpoint, imported_to)"
						  " VALUES ($1, 0, 1, $2, $3)",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/*
 * goes_progress_lock
 *		Lock all parts until the transaction ends, waiting for what runs, and
 *		let those who have read them read them again.
 */
void
goes_progress_lock(const pg_uuid_t *reactor)
{
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(reactor);

	goes_registry_execute("SELECT 1 FROM goes.progress"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1"
						  " ORDER BY part FOR UPDATE",
						  1, &argtype, &arg, NULL);
	goes_registry_execute("UPDATE goes.progress SET revision = revision OPERATOR(pg_catalog.+) 1"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1",
						  1, &argtype, &arg, NULL);
}

/* goes_progress_forget: remove all that is kept of a reactor's progress. */
void
goes_progress_forget(const pg_uuid_t *reactor)
{
	static const char *const tables[] = {
		"progress", "pending", "dead_letters", "inline_deliveries"
	};
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(reactor);

	for (int i = 0; i < goes_lengthof(tables); i++)
		goes_registry_execute(psprintf("DELETE FROM goes.%s WHERE reactor OPERATOR(pg_catalog.=) $1",
									   tables[i]),
							  1, &argtype, &arg, NULL);
}

/* goes_progress_parts: how many there are; 0: the reactor has no progress. */
int
goes_progress_parts(const pg_uuid_t *reactor)
{
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(reactor);

	return goes_registry_execute("SELECT 1 FROM goes.progress"
								 " WHERE reactor OPERATOR(pg_catalog.=) $1",
								 1, &argtype, &arg, NULL);
}

#define SELECT_PROGRESS \
	"SELECT " PROGRESS_COLUMNS " FROM goes.progress" \
	" WHERE reactor OPERATOR(pg_catalog.=) $1 AND part OPERATOR(pg_catalog.=) $2"

static bool
read_progress(SPIPlanPtr *plan, const char *sql, const pg_uuid_t *reactor,
			  int part, GoesProgress *progress)
{
	static const Oid argtypes[] = {UUIDOID, INT4OID};
	Datum		args[] = {UUIDPGetDatum(reactor), Int32GetDatum(part)};

	if (goes_execute_by_index(plan, sql, goes_lengthof(argtypes), argtypes, args,
							  NULL) == 0)
		return false;
	take_progress(progress);
	return true;
}

/* goes_progress_read: of one part; false if there is none. */
bool
goes_progress_read(const pg_uuid_t *reactor, int part, GoesProgress *progress)
{
	static SPIPlanPtr plan = NULL;

	return read_progress(&plan, SELECT_PROGRESS, reactor, part, progress);
}

/*
 * goes_progress_try_lock
 *		The same, locked until the transaction ends; false also if somebody else
 *		has it locked.
 */
bool
goes_progress_try_lock(const pg_uuid_t *reactor, int part,
					   GoesProgress *progress)
{
	static SPIPlanPtr plan = NULL;

	return read_progress(&plan, SELECT_PROGRESS " FOR NO KEY UPDATE SKIP LOCKED",
						 reactor, part, progress);
}

/* goes_progress_wait_lock: the same, waiting for whoever has it locked. */
bool
goes_progress_wait_lock(const pg_uuid_t *reactor, int part,
						GoesProgress *progress)
{
	static SPIPlanPtr plan = NULL;

	return read_progress(&plan, SELECT_PROGRESS " FOR NO KEY UPDATE",
						 reactor, part, progress);
}

/* goes_progress_advance: note what was done; the caller has it locked. */
void
goes_progress_advance(const pg_uuid_t *reactor, int part,
					  const GoesAdvance *advance)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {
		UUIDOID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID
	};
	Datum		args[] = {
		UUIDPGetDatum(reactor),
		Int32GetDatum(part),
		Int64GetDatum(advance->checkpoint),
		Int64GetDatum(advance->processed),
		Int64GetDatum(advance->failed),
		Int64GetDatum(advance->retried),
		advance->error ? CStringGetTextDatum(advance->error) : (Datum) 0,
		TimestampTzGetDatum(GetCurrentTimestamp())
	};
	char		nulls[] = "        ";

	if (advance->error == NULL)
		nulls[6] = nulls[7] = 'n';
	goes_execute_by_index(&plan, "UPDATE goes.progress SET checkpoint = $3,"
						  " processed = processed OPERATOR(pg_catalog.+) $4,"
						  " failed = failed OPERATOR(pg_catalog.+) $5,"
						  " retried = retried OPERATOR(pg_catalog.+) $6,"
						  " last_error = COALESCE($7, last_error),"
						  " last_error_at = COALESCE($8, last_error_at)"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1"
						  " AND part OPERATOR(pg_catalog.=) $2",
						  goes_lengthof(argtypes), argtypes, args, nulls);
}

/*
 * goes_progress_set_barrier
 *		Have that many parts from now on: all parts go on up to where the first
 *		of them is; there they are split anew.  The caller has them locked.
 */
void
goes_progress_set_barrier(const pg_uuid_t *reactor, int parts)
{
	static const Oid argtypes[] = {UUIDOID, INT4OID};
	Datum		args[] = {UUIDPGetDatum(reactor), Int32GetDatum(parts)};

	goes_registry_execute("UPDATE goes.progress SET barrier = CASE WHEN parts OPERATOR(pg_catalog.<>) $2 THEN"
						  " (SELECT pg_catalog.max(checkpoint) FROM goes.progress"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1) END"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/*
 * goes_progress_repartition
 *		Split anew, as it is registered by now, if all parts have come to the
 *		barrier and nobody else has one of them locked.
 */
bool
goes_progress_repartition(const pg_uuid_t *reactor)
{
	static const Oid argtypes[] = {UUIDOID};
	Datum		args[] = {UUIDPGetDatum(reactor)};
	uint64		nlocked = goes_registry_execute("SELECT 1 FROM goes.progress"
												" WHERE reactor OPERATOR(pg_catalog.=) $1"
												" AND checkpoint OPERATOR(pg_catalog.=) barrier"
												" FOR UPDATE SKIP LOCKED",
												1, argtypes, args, NULL);

	if (nlocked == 0 || (int) nlocked != goes_progress_parts(reactor))
		return false;
	goes_registry_execute("WITH old AS (DELETE FROM goes.progress"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1 RETURNING *),"
						  " total AS (SELECT pg_catalog.max(checkpoint) AS checkpoint,"
						  " pg_catalog.max(imported_to) AS imported_to, pg_catalog.max(revision) AS revision,"
						  " pg_catalog.sum(processed)::bigint AS processed, pg_catalog.sum(failed)::bigint AS failed,"
						  " pg_catalog.sum(retried)::bigint AS retried,"
						  " (pg_catalog.array_agg(last_error ORDER BY last_error_at DESC NULLS LAST))[1] AS last_error,"
						  " pg_catalog.max(last_error_at) AS last_error_at FROM old),"
						  " wanted AS (SELECT parallelism AS parts FROM goes.reactors"
						  " WHERE id OPERATOR(pg_catalog.=) $1)"
						  " INSERT INTO goes.progress (reactor, part, parts, checkpoint, imported_to, revision,"
						  " processed, failed, retried, last_error, last_error_at)"
						  " SELECT $1, part, parts, checkpoint, imported_to, revision OPERATOR(pg_catalog.+) 1,"
						  " CASE part WHEN 0 THEN processed ELSE 0 END, CASE part WHEN 0 THEN failed ELSE 0 END,"
						  " CASE part WHEN 0 THEN retried ELSE 0 END, CASE part WHEN 0 THEN last_error END,"
						  " CASE part WHEN 0 THEN last_error_at END"
						  " FROM total, wanted, pg_catalog.generate_series(0, parts OPERATOR(pg_catalog.-) 1) AS part",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	return true;
}

/*
 * goes_progress_rewind
 *		Go on after another position, and forget the failures after it.  The
 *		caller has all parts locked.
 */
void
goes_progress_rewind(const pg_uuid_t *reactor, int64 after, int64 imported_to)
{
	static const char *const tables[] = {
		"pending", "dead_letters", "inline_deliveries"
	};
	static const Oid argtypes[] = {UUIDOID, INT8OID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(reactor),
		Int64GetDatum(after),
		Int64GetDatum(imported_to)
	};

	goes_registry_execute("UPDATE goes.progress SET checkpoint = $2, imported_to = $3,"
						  " barrier = CASE WHEN barrier IS NOT NULL THEN $2 END"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	for (int i = 0; i < goes_lengthof(tables); i++)
		goes_registry_execute(psprintf("DELETE FROM goes.%s WHERE reactor OPERATOR(pg_catalog.=) $1"
									   " AND position OPERATOR(pg_catalog.>) $2",
									   tables[i]),
							  2, argtypes, args, NULL);
}
