/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  Events that failed: attempts, pauses, dead letters.
 *
 * A reactor's checkpoint passes an event that failed, so that other aggregates'
 * events go on; the event becomes a row of goes.pending.  Later events of its
 * aggregate are passed as well and wait behind it: there is one row for an
 * aggregate, for the event that is next, and when that is done the row moves on
 * to the aggregate's next one, until the checkpoint is reached.
 *
 * All functions need a connection to SPI, and the reactor's progress locked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pending.h"
#include "registry.h"
#include "shared.h"
#include "transient.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "uuid.h"

/* The part of an aggregate, as goes_aggregate_part; of $n parts it is $m */
#define OF_PART(n, m) \
	"(pg_catalog.uuid_hash(aggregate_id) OPERATOR(pg_catalog.&) 2147483647)" \
	" OPERATOR(pg_catalog.%) " n " OPERATOR(pg_catalog.=) " m

/* What take_pending takes */
#define PENDING_COLUMNS \
	"position, aggregate_type, aggregate_id, aggregate_version, blocks, attempts, leased"

/* goes_pending_of: an event that was found and has not failed yet. */
GoesPending
goes_pending_of(const GoesFound *found, bool blocks)
{
	GoesPending event = {
		.position = found->position,
		.aggregate_type = found->source->type,
		.aggregate_id = found->aggregate_id,
		.aggregate_version = found->aggregate_version,
		.blocks = blocks
	};

	return event;
}

static void
take_pending(uint64 row, GoesPending *event)
{
	HeapTuple	tuple = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;

	event->position = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	event->aggregate_type = SPI_getvalue(tuple, desc, 2);
	event->aggregate_id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 3, &isnull));
	event->aggregate_version = DatumGetInt64(SPI_getbinval(tuple, desc, 4, &isnull));
	event->blocks = DatumGetBool(SPI_getbinval(tuple, desc, 5, &isnull));
	event->attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 6, &isnull));
	event->leased = DatumGetBool(SPI_getbinval(tuple, desc, 7, &isnull));
}

/*
 * goes_pending_due
 *		The events that may be tried again now, at most limit, in position order;
 *		returns how many.  What a program has leased is due when the lease ends.
 */
int
goes_pending_due(const GoesReactor *reactor, int part, int parts, int limit,
				 GoesPending **due)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, TIMESTAMPTZOID, INT4OID, INT4OID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		TimestampTzGetDatum(GetCurrentTimestamp()),
		Int32GetDatum(parts),
		Int32GetDatum(part),
		Int64GetDatum(limit)
	};
	uint64		count;

	count = goes_execute_kept(&plan, "SELECT " PENDING_COLUMNS
						 " FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1"
						 " AND due_at OPERATOR(pg_catalog.<=) $2 AND " OF_PART("$3", "$4")
						 " ORDER BY position LIMIT $5",
						 goes_lengthof(argtypes), argtypes, args, NULL);
	*due = palloc(Max(1, count) * sizeof(GoesPending));
	for (uint64 row = 0; row < count; row++)
		take_pending(row, &(*due)[row]);
	return count;
}

/*
 * goes_pending_leased
 *		Those of the events at these positions that a program has fetched; returns
 *		how many.
 */
int
goes_pending_leased(const GoesReactor *reactor, ArrayType *positions,
					GoesPending **leased)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, INT8ARRAYOID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		PointerGetDatum(positions)
	};
	uint64		count;

	count = goes_execute_kept(&plan, "SELECT " PENDING_COLUMNS
						 " FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1"
						 " AND position OPERATOR(pg_catalog.=) ANY ($2) AND leased"
						 " ORDER BY position",
						 goes_lengthof(argtypes), argtypes, args, NULL);
	*leased = palloc(Max(1, count) * sizeof(GoesPending));
	for (uint64 row = 0; row < count; row++)
		take_pending(row, &(*leased)[row]);
	return count;
}

/* goes_pending_next_due: when the next one is; DT_NOEND: no one will be. */
TimestampTz
goes_pending_next_due(const GoesReactor *reactor, int part, int parts)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, INT4OID, INT4OID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int32GetDatum(parts),
		Int32GetDatum(part)
	};
	Datum		next;
	bool		isnull;

	if (goes_execute_kept(&plan, "SELECT due_at FROM goes.pending"
					 " WHERE reactor OPERATOR(pg_catalog.=) $1 AND " OF_PART("$2", "$3")
					 " ORDER BY due_at LIMIT 1",
					 goes_lengthof(argtypes), argtypes, args, NULL) == 0)
		return DT_NOEND;
	next = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return DatumGetTimestampTz(next);
}

/*
 * goes_pending_blocked
 *		Those of the events that were found whose aggregates wait for another
 *		event, as a list of GoesPending of that one.
 */
List *
goes_pending_blocked(const GoesReactor *reactor, const GoesFound *found, int nfound)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, UUIDARRAYOID};
	Datum	   *ids = palloc(Max(1, nfound) * sizeof(Datum));
	Datum		args[2];
	List	   *blocked = NIL;
	uint64		count;

	for (int i = 0; i < nfound; i++)
		ids[i] = UUIDPGetDatum(&found[i].aggregate_id);
	args[0] = UUIDPGetDatum(&reactor->id);
	args[1] = PointerGetDatum(construct_array(ids, nfound, UUIDOID, UUID_LEN,
											  false, TYPALIGN_CHAR));
	count = goes_execute_kept(&plan, "SELECT " PENDING_COLUMNS
						 " FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1 AND blocks"
						 " AND aggregate_id OPERATOR(pg_catalog.=) ANY ($2)",
						 goes_lengthof(argtypes), argtypes, args, NULL);
	for (uint64 row = 0; row < count; row++)
	{
		GoesPending *event = palloc(sizeof(GoesPending));

		take_pending(row, event);
		blocked = lappend(blocked, event);
	}
	return blocked;
}

/* goes_pending_is_blocked: is the event's aggregate one of those? */
bool
goes_pending_is_blocked(const List *blocked, const GoesFound *found)
{
	ListCell   *cell;

	foreach(cell, blocked)
	{
		const GoesPending *event = lfirst(cell);

		if (goes_uuid_equal(&event->aggregate_id, &found->aggregate_id) &&
			strcmp(event->aggregate_type, found->source->type) == 0)
			return true;
	}
	return false;
}

/*
 * goes_pending_put
 *		Note that the event is due then; leased: a program has it until then.
 *		failure NULL: it has not failed (again).
 */
void
goes_pending_put(const GoesReactor *reactor, const GoesPending *event,
				 TimestampTz due_at, bool leased, const GoesFailure *failure)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {
		UUIDOID, INT8OID, TEXTOID, UUIDOID, INT8OID, BOOLOID, INT4OID,
		TIMESTAMPTZOID, BOOLOID, TEXTOID, TEXTOID, TIMESTAMPTZOID
	};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(event->position),
		CStringGetTextDatum(event->aggregate_type),
		UUIDPGetDatum(&event->aggregate_id),
		Int64GetDatum(event->aggregate_version),
		BoolGetDatum(event->blocks),
		Int32GetDatum(event->attempts),
		TimestampTzGetDatum(due_at),
		BoolGetDatum(leased),
		(Datum) 0, (Datum) 0,
		TimestampTzGetDatum(GetCurrentTimestamp())
	};
	char		nulls[] = "            ";

	if (failure == NULL)
		nulls[9] = nulls[10] = nulls[11] = 'n';
	else
	{
		args[9] = CStringGetTextDatum(unpack_sql_state(failure->sqlerrcode));
		args[10] = CStringGetTextDatum(failure->message);
	}
	goes_execute_kept(&plan, "INSERT INTO goes.pending AS p (reactor, position, aggregate_type, aggregate_id,"
				 " aggregate_version, blocks, attempts, due_at, leased, sqlstate, error, failed_at)"
				 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
				 " ON CONFLICT (reactor, position) DO UPDATE SET attempts = excluded.attempts,"
				 " due_at = excluded.due_at, leased = excluded.leased,"
				 " sqlstate = COALESCE(excluded.sqlstate, p.sqlstate),"
				 " error = COALESCE(excluded.error, p.error),"
				 " failed_at = COALESCE(excluded.failed_at, p.failed_at)",
				 goes_lengthof(argtypes), argtypes, args, nulls);
}

/* goes_pending_done: the event is settled. */
void
goes_pending_done(const GoesReactor *reactor, const GoesPending *event)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(event->position)
	};

	goes_execute_kept(&plan, "DELETE FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1"
				 " AND position OPERATOR(pg_catalog.=) $2",
				 goes_lengthof(argtypes), argtypes, args, NULL);
}

/* The event is given up. */
static void
bury(const GoesReactor *reactor, const GoesPending *event,
	 const GoesFailure *failure)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {
		UUIDOID, INT8OID, TEXTOID, UUIDOID, INT8OID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID
	};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(event->position),
		CStringGetTextDatum(event->aggregate_type),
		UUIDPGetDatum(&event->aggregate_id),
		Int64GetDatum(event->aggregate_version),
		Int32GetDatum(event->attempts),
		CStringGetTextDatum(unpack_sql_state(failure->sqlerrcode)),
		CStringGetTextDatum(failure->message),
		TimestampTzGetDatum(GetCurrentTimestamp())
	};

	goes_pending_done(reactor, event);
	goes_execute_kept(&plan, "INSERT INTO goes.dead_letters VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
				 " ON CONFLICT (reactor, position) DO UPDATE SET attempts = excluded.attempts,"
				 " sqlstate = excluded.sqlstate, error = excluded.error, failed_at = excluded.failed_at",
				 goes_lengthof(argtypes), argtypes, args, NULL);
	goes_transient_settle_at_commit(event->position, &reactor->id);
	ereport(LOG,
			(errmsg("reactor \"%s\" has given up the event at position " INT64_FORMAT,
					reactor->name, event->position),
			 errhint("See goes_dead_letters; goes_retry tries again.")));
}

/*
 * goes_pending_bury_unseen
 *		Give up an event that the reactor does not see any more, and those of its
 *		aggregate in the range that wait behind it: its owner may have lost a
 *		right for a while only, so nothing is forgotten.
 */
void
goes_pending_bury_unseen(const GoesReactor *reactor, GoesSources *sources,
						 const GoesPending *event, const GoesRange *range)
{
	static const GoesFailure failure = {
		.sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE,
		.message = "the reactor does not get events of this type any more"
	};
	GoesPending next = *event;
	GoesFound  *found;

	bury(reactor, &next, &failure);
	while (event->blocks &&
		   (found = goes_sources_read_next(sources, next.aggregate_type,
										   &next.aggregate_id,
										   next.aggregate_version, range,
										   true)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		next = goes_pending_of(found, true);
		bury(reactor, &next, &failure);
	}
}

/* Another transaction was in the way: that is nobody's fault. */
static bool
is_conflict(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* The pause after that many failures, in microseconds. */
static int64
pause_after(const GoesReactor *reactor, int attempts)
{
	int64		pause = reactor->backoff;

	for (int i = 1; i < attempts && pause < reactor->max_backoff; i++)
		pause *= 2;
	return Min(pause, reactor->max_backoff) * 1000;
}

/*
 * goes_pending_fail
 *		Note that an attempt at the event has failed, and decide what becomes of
 *		it: event has the number of attempts before.
 */
GoesFate
goes_pending_fail(const GoesReactor *reactor, const GoesPending *event,
				  const GoesFailure *failure)
{
	GoesPending failed = *event;
	TimestampTz now = GetCurrentTimestamp();

	if (is_conflict(failure->sqlerrcode))
	{
		goes_pending_put(reactor, &failed, now, false, failure);
		return GOES_FATE_RETRY;
	}
	failed.attempts++;
	if (failed.attempts < reactor->max_attempts)
	{
		goes_pending_put(reactor, &failed,
						 now + pause_after(reactor, failed.attempts), false, failure);
		return GOES_FATE_RETRY;
	}
	if (reactor->stops)
	{
		goes_pending_put(reactor, &failed, DT_NOEND, false, failure);
		return GOES_FATE_STOPPED;
	}
	bury(reactor, &failed, failure);
	return GOES_FATE_DEAD;
}

/*
 * goes_pending_advance
 *		An event that blocked its aggregate is settled: the aggregate's next
 *		event in the range, if there is one, is due now.
 */
void
goes_pending_advance(const GoesReactor *reactor, GoesSources *sources,
					 const GoesPending *event, const GoesRange *range)
{
	GoesFound  *next;
	GoesPending pending;

	if (!event->blocks)
		return;
	next = goes_sources_read_next(sources, event->aggregate_type,
								  &event->aggregate_id,
								  event->aggregate_version, range, false);
	if (next == NULL)
		return;
	pending = goes_pending_of(next, true);
	goes_pending_put(reactor, &pending, GetCurrentTimestamp(), false, NULL);
}

/* ---------------------------------------------------------------------------
 * By hand
 * ---------------------------------------------------------------------------
 */

/*
 * goes_pending_retry
 *		Let all failed events be due now, as if they had not failed before, dead
 *		letters too; returns how many.
 */
int64
goes_pending_retry(const GoesReactor *reactor)
{
	static const Oid argtypes[] = {UUIDOID, TIMESTAMPTZOID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		TimestampTzGetDatum(GetCurrentTimestamp())
	};
	int64		count;

	count = goes_registry_execute("UPDATE goes.pending SET attempts = 0, due_at = $2"
								  " WHERE reactor OPERATOR(pg_catalog.=) $1"
								  " AND NOT leased AND attempts OPERATOR(pg_catalog.>) 0",
								  goes_lengthof(argtypes), argtypes, args, NULL);
	return count +
		goes_registry_execute("WITH dead AS (DELETE FROM goes.dead_letters"
							  " WHERE reactor OPERATOR(pg_catalog.=) $1 RETURNING *)"
							  " INSERT INTO goes.pending (reactor, position, aggregate_type, aggregate_id,"
							  " aggregate_version, blocks, attempts, due_at, sqlstate, error, failed_at)"
							  " SELECT reactor, position, aggregate_type, aggregate_id, aggregate_version,"
							  " false, 0, $2, sqlstate, error, failed_at FROM dead"
							  " ON CONFLICT (reactor, position) DO NOTHING",
							  goes_lengthof(argtypes), argtypes, args, NULL);
}

/*
 * goes_pending_repeat
 *		Let an event come again, whatever came of it before: now, unless the
 *		reactor still gets it by itself, or a program has it.  The progress need
 *		not be locked: nobody removes or moves it before this transaction ends.
 */
void
goes_pending_repeat(const GoesReactor *reactor, const GoesEvent *event,
					bool imported)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {
		UUIDOID, INT8OID, TEXTOID, UUIDOID, INT8OID, TIMESTAMPTZOID, BOOLOID
	};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(event->position),
		CStringGetTextDatum(event->aggregate_type),
		UUIDPGetDatum(&event->aggregate_id),
		Int64GetDatum(event->aggregate_version),
		TimestampTzGetDatum(GetCurrentTimestamp()),
		BoolGetDatum(imported)
	};

	goes_registry_execute_kept(&plan, "WITH progress AS (SELECT checkpoint, imported_to FROM goes.progress"
							   " WHERE reactor OPERATOR(pg_catalog.=) $1"
							   " AND (pg_catalog.uuid_hash($4) OPERATOR(pg_catalog.&) 2147483647)"
							   " OPERATOR(pg_catalog.%) parts OPERATOR(pg_catalog.=) part FOR KEY SHARE),"
							   " dead AS (DELETE FROM goes.dead_letters"
							   " WHERE reactor OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.=) $2),"
							   " inlined AS (DELETE FROM goes.inline_deliveries"
							   " WHERE reactor OPERATOR(pg_catalog.=) $1 AND position OPERATOR(pg_catalog.=) $2)"
							   " INSERT INTO goes.pending AS p (reactor, position, aggregate_type, aggregate_id,"
							   " aggregate_version, blocks, attempts, due_at)"
							   " SELECT $1, $2, $3, $4, $5, false, 0, $6 FROM progress"
	/* It gets an event that is above its checkpoint, or waits behind another */
							   " WHERE $7 AND $2 OPERATOR(pg_catalog.>) imported_to"
							   " OR $2 OPERATOR(pg_catalog.<=) checkpoint AND NOT EXISTS (SELECT FROM goes.pending b"
							   " WHERE b.reactor OPERATOR(pg_catalog.=) $1 AND b.blocks"
							   " AND b.aggregate_id OPERATOR(pg_catalog.=) $4 AND b.aggregate_type OPERATOR(pg_catalog.=) $3"
							   " AND b.aggregate_version OPERATOR(pg_catalog.<) $5)"
							   " ON CONFLICT (reactor, position) DO UPDATE SET attempts = 0, due_at = excluded.due_at"
							   " WHERE NOT p.leased",
							   goes_lengthof(argtypes), argtypes, args, NULL);
	goes_workers_changed();
}

/*
 * goes_pending_skip
 *		Make a dead letter of the pending event at that position, and return it;
 *		false if there is none.  Its aggregate is for the caller to advance.
 */
bool
goes_pending_skip(const GoesReactor *reactor, int64 position, GoesPending *event)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(position)
	};

	if (goes_registry_execute("SELECT " PENDING_COLUMNS
							  " FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1"
							  " AND position OPERATOR(pg_catalog.=) $2",
							  goes_lengthof(argtypes), argtypes, args, NULL) == 0)
		return false;
	take_pending(0, event);
	goes_registry_execute("WITH given_up AS (DELETE FROM goes.pending"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1"
						  " AND position OPERATOR(pg_catalog.=) $2 RETURNING *)"
						  " INSERT INTO goes.dead_letters SELECT reactor, position, aggregate_type, aggregate_id,"
						  " aggregate_version, attempts, sqlstate, error, failed_at FROM given_up"
						  " ON CONFLICT (reactor, position) DO NOTHING",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	goes_transient_settle_at_commit(position, &reactor->id);
	return true;
}

/* goes_pending_remove_dead: remove a dead letter; false if there is none. */
bool
goes_pending_remove_dead(const GoesReactor *reactor, int64 position)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(position)
	};

	return goes_registry_execute("DELETE FROM goes.dead_letters"
								 " WHERE reactor OPERATOR(pg_catalog.=) $1"
								 " AND position OPERATOR(pg_catalog.=) $2",
								 goes_lengthof(argtypes), argtypes, args, NULL) > 0;
}
