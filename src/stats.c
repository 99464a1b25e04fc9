/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  What the statistics views show of reactors and workers.
 *
 * Who may manage a reactor sees all of it.  Whoever has the rights of
 * pg_monitor sees how all reactors and workers are, but no error and no event
 * of others: their text may hold data.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "horizon.h"
#include "miscadmin.h"
#include "progress.h"
#include "reactor.h"
#include "registry.h"
#include "shared.h"
#include "source.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker.h"

/* Events that a reactor has not processed are counted up to this number */
#define MOST_COUNTED 10000

/* Rows that are read at a time */
#define CHUNK 500

/* The result of a function */
typedef struct RowSet
{
	Tuplestorestate *store;
	TupleDesc	desc;
} RowSet;

/* May the user see how others' reactors and workers are? */
static bool
is_monitor(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

static RowSet
begin_result(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *info = (ReturnSetInfo *) fcinfo->resultinfo;
	RowSet		result;

	InitMaterializedSRF(fcinfo, 0);
	result.store = info->setResult;
	result.desc = info->setDesc;
	return result;
}

static void
set_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	*value = text ? CStringGetTextDatum(text) : (Datum) 0;
}

static void
set_name(Datum *value, bool *isnull, const char *name)
{
	*isnull = name == NULL;
	*value = name ? DirectFunctionCall1(namein, CStringGetDatum(name)) : (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * goes_stat_reactors: what is not done
 * ---------------------------------------------------------------------------
 */

/* What a reactor has not processed above its checkpoints */
typedef struct Lag
{
	int64		horizon;
	int64		count;			/* of events, no more than about MOST_COUNTED */
	int64		checkpoint;		/* the lowest one */
	TimestampTz oldest;			/* DT_NOEND: there is none */
} Lag;

/* Count the first events of a range and go on behind them; false: no more. */
static bool
count_chunk(GoesSources *sources, GoesRange *range, Lag *lag)
{
	GoesFound  *found;
	int			nfound;

	SPI_connect();
	nfound = goes_sources_read(sources, range, CHUNK, &found);
	if (nfound > 0)
	{
		lag->oldest = Min(lag->oldest, goes_found_event(&found[0])->recorded_at);
		range->after = found[nfound - 1].position;
		lag->count += nfound;
	}
	SPI_finish();
	return nfound == CHUNK;
}

/* Add what one part has not processed. */
static void
add_part(const GoesReactor *reactor, Oid owner, int part, Lag *lag)
{
	GoesProgress progress;
	GoesSources *sources;
	GoesRange	range;

	if (!goes_progress_read(&reactor->id, part, &progress))
		return;
	sources = goes_sources_create(CurrentMemoryContext, reactor, owner, part,
								  progress.parts);
	range.after = progress.checkpoint;
	range.up_to = lag->horizon;
	range.imported_to = progress.imported_to;
	lag->checkpoint = Min(lag->checkpoint, progress.checkpoint);
	PG_TRY();
	{
		while (count_chunk(sources, &range, lag) && lag->count < MOST_COUNTED)
			CHECK_FOR_INTERRUPTS();
	}
	PG_FINALLY();
	{
		/* Its statements outlive the transaction */
		goes_sources_free(sources);
	}
	PG_END_TRY();
}

static Lag
find_lag(const GoesReactor *reactor, Oid owner, int64 horizon)
{
	int			parts = goes_progress_parts(&reactor->id);
	Lag			lag = {
		.horizon = horizon,
		.checkpoint = horizon,
		.oldest = DT_NOEND
	};

	for (int part = 0; part < parts; part++)
		add_part(reactor, owner, part, &lag);
	/* All positions, where there are too many events to count them */
	if (lag.count >= MOST_COUNTED)
		lag.count = Max(lag.count, horizon - lag.checkpoint);
	return lag;
}

/* When the event was recorded; DT_NOEND: it is not the reactor's any more. */
static TimestampTz
recorded_at(const GoesReactor *reactor, Oid owner, const char *type, int64 position)
{
	GoesSources *sources = goes_sources_create(CurrentMemoryContext, reactor, owner, 0, 1);
	GoesFound  *found = goes_sources_read_one(sources, type, position);
	TimestampTz at = found ? goes_found_event(found)->recorded_at : DT_NOEND;

	goes_sources_free(sources);
	return at;
}

/* ---------------------------------------------------------------------------
 * goes_stat_reactors
 * ---------------------------------------------------------------------------
 */

/* The columns of the view, in their order */
enum
{
	REACTOR_NAME,
	REACTOR_MODE,
	REACTOR_OWNER,
	REACTOR_STATE,
	REACTOR_PROCESSED,
	REACTOR_FAILED,
	REACTOR_RETRIED,
	REACTOR_PENDING,
	REACTOR_DEAD,
	REACTOR_LAG,
	REACTOR_LAG_SECONDS,
	REACTOR_LAST_ERROR,
	REACTOR_LAST_ERROR_AT,
	REACTOR_COLUMNS
};

/* The columns of the query below; the first ones are as in the view */
enum
{
	TALLY_PROCESSED,
	TALLY_FAILED,
	TALLY_RETRIED,
	TALLY_PENDING,
	TALLY_DEAD,
	TALLY_LAST_ERROR,
	TALLY_LAST_ERROR_AT,
	TALLY_STOPPED,
	TALLY_RETRYING,
	TALLY_FIRST_TYPE,			/* of the pending events the first */
	TALLY_FIRST_POSITION,
	TALLY_COLUMNS
};

/* What the tables tell of a reactor's past, and of its failures */
typedef struct Tally
{
	Datum		values[TALLY_COLUMNS];
	bool		nulls[TALLY_COLUMNS];
} Tally;

/* The result lives in the SPI context of the caller. */
static Tally
read_tally(const GoesReactor *reactor)
{
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(&reactor->id);
	Tally		tally;

	(void) goes_registry_execute("SELECT processed, failed, retried, pending, dead, last_error, last_error_at,"
								 " stopped, retrying, first_type, first_position FROM"
								 " (SELECT COALESCE(pg_catalog.sum(processed), 0)::bigint AS processed,"
								 " COALESCE(pg_catalog.sum(failed), 0)::bigint AS failed,"
								 " COALESCE(pg_catalog.sum(retried), 0)::bigint AS retried,"
								 " (pg_catalog.array_agg(last_error ORDER BY last_error_at DESC NULLS LAST))[1] AS last_error,"
								 " pg_catalog.max(last_error_at) AS last_error_at"
								 " FROM goes.progress WHERE reactor OPERATOR(pg_catalog.=) $1) p,"
								 " (SELECT pg_catalog.count(*) AS pending,"
								 " COALESCE(pg_catalog.bool_or(NOT pg_catalog.isfinite(due_at)), false) AS stopped,"
								 " COALESCE(pg_catalog.bool_or(attempts OPERATOR(pg_catalog.>) 0), false) AS retrying,"
								 " (pg_catalog.array_agg(aggregate_type ORDER BY position))[1] AS first_type,"
								 " pg_catalog.min(position) AS first_position"
								 " FROM goes.pending WHERE reactor OPERATOR(pg_catalog.=) $1) q,"
								 " (SELECT pg_catalog.count(*) AS dead"
								 " FROM goes.dead_letters WHERE reactor OPERATOR(pg_catalog.=) $1) d",
								 1, &argtype, &arg, NULL);
	for (int i = 0; i < TALLY_COLUMNS; i++)
		tally.values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
										i + 1, &tally.nulls[i]);
	return tally;
}

/* Can nobody run it, or get its events, or is a dump being restored? */
static bool
is_blocked(const GoesReactor *reactor, Oid owner)
{
	const char *hint;

	return !OidIsValid(owner) ||
		(reactor->mode == GOES_ASYNC &&
		 (goes_is_being_restored() || goes_connect_problem(owner, &hint) != NULL));
}

static const char *
state_of(const GoesReactor *reactor, Oid owner, const Tally *tally)
{
	if (!reactor->active)
		return "off";
	if (reactor->paused)
		return "paused";
	if (is_blocked(reactor, owner))
		return "blocked";
	if (DatumGetBool(tally->values[TALLY_STOPPED]))
		return "stopped";
	if (DatumGetBool(tally->values[TALLY_RETRYING]))
		return "retrying";
	return "running";
}

/* When the oldest event was recorded that is pending or above the checkpoints. */
static TimestampTz
oldest_of(const GoesReactor *reactor, Oid owner, const Tally *tally, const Lag *lag)
{
	TimestampTz first;

	if (tally->nulls[TALLY_FIRST_POSITION])
		return lag->oldest;
	first = recorded_at(reactor, owner,
						TextDatumGetCString(tally->values[TALLY_FIRST_TYPE]),
						DatumGetInt64(tally->values[TALLY_FIRST_POSITION]));
	return Min(first, lag->oldest);
}

/*
 * How far behind the reactor is.  Of one that is off the patterns are
 * forgotten, and without an owner it reaches nothing: then that is unknown.
 */
static void
set_lag(const GoesReactor *reactor, Oid owner, int64 horizon, const Tally *tally,
		Datum *values, bool *nulls)
{
	int64		pending = DatumGetInt64(tally->values[TALLY_PENDING]);
	TimestampTz oldest;
	Lag			lag;

	nulls[REACTOR_LAG] = nulls[REACTOR_LAG_SECONDS] = !reactor->active || !OidIsValid(owner);
	if (nulls[REACTOR_LAG])
		return;
	lag = find_lag(reactor, owner, horizon);
	oldest = oldest_of(reactor, owner, tally, &lag);
	values[REACTOR_LAG] = Int64GetDatum(lag.count + pending);
	if (oldest != DT_NOEND)
		values[REACTOR_LAG_SECONDS] =
			Float8GetDatum(Max(0, GetCurrentTimestamp() - oldest) / 1000000.0);
	else if (lag.count + pending == 0)
		values[REACTOR_LAG_SECONDS] = Float8GetDatum(0);
	else
		nulls[REACTOR_LAG_SECONDS] = true;
}

static void
put_reactor(RowSet *result, const GoesReactor *reactor, int64 horizon, bool may_manage)
{
	Datum		values[REACTOR_COLUMNS];
	bool		nulls[REACTOR_COLUMNS] = {false};
	Oid			owner;
	Tally		tally;

	SPI_connect();
	owner = goes_reactor_owner(reactor);
	tally = read_tally(reactor);
	set_text(&values[REACTOR_NAME], &nulls[REACTOR_NAME], reactor->name);
	set_text(&values[REACTOR_MODE], &nulls[REACTOR_MODE],
			 reactor->mode == GOES_ASYNC ? "async" : "outside");
	set_name(&values[REACTOR_OWNER], &nulls[REACTOR_OWNER],
			 OidIsValid(owner) ? GetUserNameFromId(owner, true) : NULL);
	set_text(&values[REACTOR_STATE], &nulls[REACTOR_STATE],
			 state_of(reactor, owner, &tally));
	for (int i = TALLY_PROCESSED; i <= TALLY_DEAD; i++)
		values[REACTOR_PROCESSED + i] = tally.values[i];
	set_lag(reactor, owner, horizon, &tally, values, nulls);
	values[REACTOR_LAST_ERROR] = tally.values[TALLY_LAST_ERROR];
	nulls[REACTOR_LAST_ERROR] = tally.nulls[TALLY_LAST_ERROR] || !may_manage;
	values[REACTOR_LAST_ERROR_AT] = tally.values[TALLY_LAST_ERROR_AT];
	nulls[REACTOR_LAST_ERROR_AT] = tally.nulls[TALLY_LAST_ERROR_AT];
	tuplestore_putvalues(result->store, result->desc, values, nulls);
	SPI_finish();
}

PG_FUNCTION_INFO_V1(goes_stat_reactors);

/*
 * goes.stat_reactors()
 *		The rows of view goes_stat_reactors: the async and outside reactors that
 *		the user may manage, or all if he has the rights of pg_monitor; last_error
 *		of the former only.  lag is exact up to 10,000 events; above that, it is
 *		the number of positions between the checkpoint and the horizon.  Of the
 *		events that wait behind one of goes.pending it counts that one only.
 *		Errors: 55000 without the preload.
 */
Datum
goes_stat_reactors(PG_FUNCTION_ARGS)
{
	RowSet		result;
	bool		monitor = is_monitor();
	int64		horizon;
	ListCell   *cell;

	goes_require_preload();
	result = begin_result(fcinfo);
	SPI_connect();
	horizon = goes_horizon_live();
	foreach(cell, goes_reactors_read())
	{
		const GoesReactor *reactor = lfirst(cell);
		bool		may_manage;

		if (reactor->mode == GOES_SYNC)
			continue;
		may_manage = goes_reactor_may_manage(reactor);
		if (may_manage || monitor)
			put_reactor(&result, reactor, horizon, may_manage);
	}
	SPI_finish();
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * goes_dead_letters
 * ---------------------------------------------------------------------------
 */

#define DEAD_LETTER_COLUMNS 9

/* Put the next dead letters after a position; false: there are no more. */
static bool
put_dead_letters(RowSet *result, const GoesReactor *reactor, int64 *after)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID, INT8OID, TEXTOID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(*after),
		Int64GetDatum(CHUNK),
		CStringGetTextDatum(reactor->name)
	};
	uint64		count;

	SPI_connect();
	count = goes_registry_execute("SELECT $4, position, aggregate_type, aggregate_id, aggregate_version,"
								  " attempts, sqlstate, error, failed_at FROM goes.dead_letters"
								  " WHERE reactor OPERATOR(pg_catalog.=) $1"
								  " AND position OPERATOR(pg_catalog.>) $2"
								  " ORDER BY position LIMIT $3",
								  goes_lengthof(argtypes), argtypes, args, NULL);
	for (uint64 row = 0; row < count; row++)
	{
		Datum		values[DEAD_LETTER_COLUMNS];
		bool		nulls[DEAD_LETTER_COLUMNS];

		heap_deform_tuple(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, values, nulls);
		tuplestore_putvalues(result->store, result->desc, values, nulls);
		*after = DatumGetInt64(values[1]);
	}
	SPI_finish();
	return count == CHUNK;
}

PG_FUNCTION_INFO_V1(goes_stat_dead_letters);

/*
 * goes.stat_dead_letters()
 *		The rows of view goes_dead_letters: of the reactors that the user may
 *		manage.  Errors: 55000 without the preload.
 */
Datum
goes_stat_dead_letters(PG_FUNCTION_ARGS)
{
	RowSet		result;
	ListCell   *cell;

	goes_require_preload();
	result = begin_result(fcinfo);
	SPI_connect();
	foreach(cell, goes_reactors_read())
	{
		const GoesReactor *reactor = lfirst(cell);
		int64		after = PG_INT64_MIN;

		if (reactor->mode == GOES_SYNC || !goes_reactor_may_manage(reactor))
			continue;
		while (put_dead_letters(&result, reactor, &after))
			CHECK_FOR_INTERRUPTS();
	}
	SPI_finish();
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * goes_stat_workers
 * ---------------------------------------------------------------------------
 */

/* The columns of the view, in their order */
enum
{
	WORKER_PID,
	WORKER_TYPE,
	WORKER_DATABASE,
	WORKER_ROLE,
	WORKER_STATE,
	WORKER_REACTOR,
	WORKER_POSITION,
	WORKER_SINCE,
	WORKER_COLUMNS
};

/* What is shown of an entry */
typedef struct SeenWorker
{
	GoesWorkerKind kind;
	Oid			database;
	Oid			role;
	pid_t		pid;
	TimestampTz since;
	bool		sleeps;
	pg_uuid_t	reactor;
	int64		position;
} SeenWorker;

static SeenWorker
see_worker(GoesWorker *worker)
{
	SeenWorker	seen = {
		.kind = worker->kind,
		.database = worker->database,
		.role = worker->role,
		.pid = worker->pid,
		.since = worker->since,
		.sleeps = pg_atomic_read_u64(&worker->busy_since) == 0,
		.reactor = worker->reactor,
		.position = worker->position
	};

	return seen;
}

/* Take down all entries that are in use, in the current context; how many. */
static int
see_workers(SeenWorker **seen)
{
	int			count = 0;

	*seen = palloc(goes_shared->nworkers * sizeof(SeenWorker));
	LWLockAcquire(goes_shared->lock, LW_SHARED);
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);

		if (worker->in_use)
			(*seen)[count++] = see_worker(worker);
	}
	LWLockRelease(goes_shared->lock);
	return count;
}

/* The name of a reactor of this database; NULL: there is none. */
static char *
reactor_name(const pg_uuid_t *id)
{
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(id);

	if (goes_registry_execute("SELECT reactor FROM goes.reactors"
							  " WHERE id OPERATOR(pg_catalog.=) $1",
							  1, &argtype, &arg, NULL) == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static const char *
worker_state(const SeenWorker *worker)
{
	if (worker->pid == 0)
		return "starting";
	return worker->sleeps ? "idle" : "active";
}

static void
put_worker(RowSet *result, const SeenWorker *worker)
{
	Datum		values[WORKER_COLUMNS];
	bool		nulls[WORKER_COLUMNS] = {false};
	bool		works = worker->position != 0;

	values[WORKER_PID] = Int32GetDatum(worker->pid);
	nulls[WORKER_PID] = worker->pid == 0;
	set_text(&values[WORKER_TYPE], &nulls[WORKER_TYPE], goes_worker_type(worker->kind));
	set_name(&values[WORKER_DATABASE], &nulls[WORKER_DATABASE],
			 OidIsValid(worker->database) ? get_database_name(worker->database) : NULL);
	set_name(&values[WORKER_ROLE], &nulls[WORKER_ROLE],
			 OidIsValid(worker->role) ? GetUserNameFromId(worker->role, true) : NULL);
	set_text(&values[WORKER_STATE], &nulls[WORKER_STATE], worker_state(worker));
	set_text(&values[WORKER_REACTOR], &nulls[WORKER_REACTOR],
			 works && worker->database == MyDatabaseId ? reactor_name(&worker->reactor) : NULL);
	values[WORKER_POSITION] = Int64GetDatum(worker->position);
	nulls[WORKER_POSITION] = !works;
	values[WORKER_SINCE] = TimestampTzGetDatum(worker->since);
	tuplestore_putvalues(result->store, result->desc, values, nulls);
}

PG_FUNCTION_INFO_V1(goes_stat_workers);

/*
 * goes.stat_workers()
 *		The rows of view goes_stat_workers: the server's workers of goes, or the
 *		runners only whose role's rights the user has, unless he has those of
 *		pg_monitor.  Errors: 55000 without the preload.
 */
Datum
goes_stat_workers(PG_FUNCTION_ARGS)
{
	RowSet		result;
	bool		monitor = is_monitor();
	SeenWorker *seen;
	int			count;

	goes_require_preload();
	result = begin_result(fcinfo);
	SPI_connect();
	count = see_workers(&seen);
	for (int i = 0; i < count; i++)
	{
		if (monitor || (OidIsValid(seen[i].role) &&
						has_privs_of_role(GetUserId(), seen[i].role)))
			put_worker(&result, &seen[i]);
	}
	SPI_finish();
	return (Datum) 0;
}
