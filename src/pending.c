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
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "uuid.h"

/* The part of an aggregate, as goes_aggregate_part; of $n parts it is $m */
#define OF_PART(n, m) \
	"(pg_catalog.uuid_hash(aggregate_id) OPERATOR(pg_catalog.&) 2147483647)" \
	" OPERATOR(pg_catalog.%) " n " OPERATOR(pg_catalog.=) " m

/* What take_pending takes */
#define PENDING_COLUMNS \
	"position, aggregate_type, aggregate_id, aggregate_version, blocks, attempts, leased"

static Datum
make_array(Oid array_type, Datum *elements, int count)
{
	Oid			type = get_element_type(array_type);
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_array(elements, count, type, length, by_value,
										   align));
}

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

/* Where its aggregate is, for goes_sources_read_next. */
static GoesPlace
place_of(const GoesPending *event)
{
	GoesPlace	place = {
		.aggregate_id = event->aggregate_id,
		.aggregate_version = event->aggregate_version
	};

	return place;
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

/* All rows of the last result; returns how many. */
static int
take_all(GoesPending **events)
{
	*events = palloc(Max(1, SPI_processed) * sizeof(GoesPending));
	for (uint64 row = 0; row < SPI_processed; row++)
		take_pending(row, &(*events)[row]);
	return SPI_processed;
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

	goes_execute_by_index(&plan, "SELECT " PENDING_COLUMNS
						  " FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1"
						  " AND due_at OPERATOR(pg_catalog.<=) $2 AND " OF_PART("$3", "$4")
						  " ORDER BY position LIMIT $5",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	return take_all(due);
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

	goes_execute_by_index(&plan, "SELECT " PENDING_COLUMNS
						  " FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1"
						  " AND position OPERATOR(pg_catalog.=) ANY ($2) AND leased"
						  " ORDER BY position",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	return take_all(leased);
}

/* goes_pending_take_leased: the same, and they are settled. */
int
goes_pending_take_leased(const GoesReactor *reactor, ArrayType *positions,
						 GoesPending **leased)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, INT8ARRAYOID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		PointerGetDatum(positions)
	};

	goes_execute_by_index(&plan, "DELETE FROM goes.pending"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1"
						  " AND position OPERATOR(pg_catalog.=) ANY ($2) AND leased"
						  " RETURNING " PENDING_COLUMNS,
						  goes_lengthof(argtypes), argtypes, args, NULL);
	return take_all(leased);
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

	if (goes_execute_by_index(&plan, "SELECT due_at FROM goes.pending"
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
	args[1] = make_array(UUIDARRAYOID, ids, nfound);
	count = goes_execute_by_index(&plan, "SELECT " PENDING_COLUMNS
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

/* What becomes of a row that is there already */
#define ON_CONFLICT \
	" ON CONFLICT (reactor, position) DO UPDATE SET attempts = excluded.attempts," \
	" due_at = excluded.due_at, leased = excluded.leased," \
	" sqlstate = COALESCE(excluded.sqlstate, p.sqlstate)," \
	" error = COALESCE(excluded.error, p.error)," \
	" failed_at = COALESCE(excluded.failed_at, p.failed_at)"

/*
 * goes_pending_put
 *		Note that the events, which have not failed (again), are due then; leased:
 *		a program has them until then.
 */
void
goes_pending_put(const GoesReactor *reactor, int nevents, const GoesPending *events,
				 TimestampTz due_at, bool leased)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {
		UUIDOID, TIMESTAMPTZOID, BOOLOID,
		INT8ARRAYOID, TEXTARRAYOID, UUIDARRAYOID, INT8ARRAYOID, BOOLARRAYOID, INT4ARRAYOID
	};
	Datum	   *columns[6];
	Datum		args[goes_lengthof(argtypes)];

	if (nevents == 0)
		return;
	for (int i = 0; i < goes_lengthof(columns); i++)
		columns[i] = palloc(nevents * sizeof(Datum));
	for (int i = 0; i < nevents; i++)
	{
		columns[0][i] = Int64GetDatum(events[i].position);
		columns[1][i] = CStringGetTextDatum(events[i].aggregate_type);
		columns[2][i] = UUIDPGetDatum(&events[i].aggregate_id);
		columns[3][i] = Int64GetDatum(events[i].aggregate_version);
		columns[4][i] = BoolGetDatum(events[i].blocks);
		columns[5][i] = Int32GetDatum(events[i].attempts);
	}
	args[0] = UUIDPGetDatum(&reactor->id);
	args[1] = TimestampTzGetDatum(due_at);
	args[2] = BoolGetDatum(leased);
	for (int i = 0; i < goes_lengthof(columns); i++)
		args[3 + i] = make_array(argtypes[3 + i], columns[i], nevents);
	goes_execute_by_index(&plan, "INSERT INTO goes.pending AS p (reactor, due_at, leased, position,"
						  " aggregate_type, aggregate_id, aggregate_version, blocks, attempts)"
						  " SELECT $1, $2, $3, e.* FROM unnest($4, $5, $6, $7, $8, $9) AS e"
						  ON_CONFLICT,
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/* The event has failed, and is due again then. */
static void
put_failed(const GoesReactor *reactor, const GoesPending *event,
		   TimestampTz due_at, const GoesFailure *failure)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {
		UUIDOID, INT8OID, TEXTOID, UUIDOID, INT8OID, BOOLOID, INT4OID,
		TIMESTAMPTZOID, TEXTOID, TEXTOID, TIMESTAMPTZOID
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
		CStringGetTextDatum(unpack_sql_state(failure->sqlerrcode)),
		CStringGetTextDatum(failure->message),
		TimestampTzGetDatum(GetCurrentTimestamp())
	};

	goes_execute_by_index(&plan, "INSERT INTO goes.pending AS p (reactor, position, aggregate_type, aggregate_id,"
						  " aggregate_version, blocks, attempts, due_at, leased, sqlstate, error, failed_at)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false, $9, $10, $11)" ON_CONFLICT,
						  goes_lengthof(argtypes), argtypes, args, NULL);
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

	goes_execute_by_index(&plan, "DELETE FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1"
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
	goes_execute_by_index(&plan, "INSERT INTO goes.dead_letters VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
						  " ON CONFLICT (reactor, position) DO UPDATE SET attempts = excluded.attempts,"
						  " sqlstate = excluded.sqlstate, error = excluded.error, failed_at = excluded.failed_at",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	goes_transient_settle_at_commit(event->position, &reactor->id);
	ereport(LOG,
			(errmsg("reactor \"%s\" has given up the event at position " INT64_FORMAT,
					reactor->name, event->position),
			 errhint("See goes_dead_letters; goes_retry tries again.")));
}

/* The next event of the aggregate, whoever may see it. */
static bool
read_next(GoesSources *sources, const GoesPending *event, const GoesRange *range,
		  GoesFound **found)
{
	GoesPlace	place = place_of(event);

	return goes_sources_read_next(sources, event->aggregate_type, 1, &place, range,
								  true, found) > 0;
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
	while (event->blocks && read_next(sources, &next, range, &found))
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
		put_failed(reactor, &failed, now, failure);
		return GOES_FATE_RETRY;
	}
	failed.attempts++;
	if (failed.attempts < reactor->max_attempts)
	{
		put_failed(reactor, &failed, now + pause_after(reactor, failed.attempts),
				   failure);
		return GOES_FATE_RETRY;
	}
	if (reactor->stops)
	{
		put_failed(reactor, &failed, DT_NOEND, failure);
		return GOES_FATE_STOPPED;
	}
	bury(reactor, &failed, failure);
	return GOES_FATE_DEAD;
}

static void
advance_type(const GoesReactor *reactor, GoesSources *sources, const char *type,
			 int nevents, const GoesPending *events, const GoesRange *range)
{
	GoesPlace  *places = palloc(Max(1, nevents) * sizeof(GoesPlace));
	int			nplaces = 0;
	GoesFound  *found;
	GoesPending *next;
	int			nnext;

	for (int i = 0; i < nevents; i++)
	{
		if (events[i].blocks && strcmp(events[i].aggregate_type, type) == 0)
			places[nplaces++] = place_of(&events[i]);
	}
	if (nplaces == 0)
		return;
	nnext = goes_sources_read_next(sources, type, nplaces, places, range, false, &found);
	next = palloc(Max(1, nnext) * sizeof(GoesPending));
	for (int i = 0; i < nnext; i++)
		next[i] = goes_pending_of(&found[i], true);
	goes_pending_put(reactor, nnext, next, GetCurrentTimestamp(), false);
}

/*
 * goes_pending_advance
 *		Events are settled: of the aggregates that they blocked, the next events
 *		in the range, where there are such, are due now.
 */
void
goes_pending_advance(const GoesReactor *reactor, GoesSources *sources,
					 int nevents, const GoesPending *events, const GoesRange *range)
{
	for (int i = 0; i < sources->nsources; i++)
		advance_type(reactor, sources, sources->sources[i].type, nevents, events,
					 range);
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
