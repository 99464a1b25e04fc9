/*-------------------------------------------------------------------------
 *
 * outside.c
 *	  Outside reactors: programs fetch events and settle them.
 *
 * A fetched event becomes a row of goes.pending, leased until its program must
 * have settled it; later events of its aggregate wait behind it, as they do
 * behind one that failed.  A lease that runs out counts as a failed attempt and
 * hands the event on.  A lease belongs to the event, not to a session, so it
 * does not matter through which connection a program settles.
 *
 * The progress is locked while a fetch looks for events, so before it locks, it
 * makes sure that there is something, in a subtransaction that is rolled back:
 * it never waits with a lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "event.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "horizon.h"
#include "interval.h"
#include "miscadmin.h"
#include "model.h"
#include "pending.h"
#include "progress.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "role.h"
#include "scrub.h"
#include "shared.h"
#include "source.h"
#include "tcop/tcopprot.h"
#include "transient.h"
#include "upcaster.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "uuid.h"
#include "wait.h"

/* Events read at a time while those of blocked aggregates are passed over */
#define CHUNK 1000

/* The same where the first one may do, and more of them each time */
#define FIRST_CHUNK 10

#define GREATEST_FETCH 100000

/* For how long, in ms, a fetch tries to lock what another one has locked */
#define LOCK_PATIENCE 1000

/* A fetch that is going on */
typedef struct Fetch
{
	char	   *name;			/* of the reactor */
	GoesReactor *reactor;		/* as last read, in the SPI context of then */
	GoesSources *sources;
	GoesProgress progress;
	GoesAdvance advance;
	int			max_events;
	TimestampTz look_at;		/* when a pending event is due */
	bool		has_passed;		/* events that are for nobody */
	bool		locked;			/* the progress, until the transaction ends */
	TimestampTz lease_end;
	GoesPending *leased;		/* handed out, but not stored */
	int			nleased;
	int			nevents;
	Tuplestorestate *result;
	TupleDesc	desc;
} Fetch;

/* ---------------------------------------------------------------------------
 * The reactor
 * ---------------------------------------------------------------------------
 */

/* The outside reactor of that name, if the user may manage it, and it is on. */
static GoesReactor *
find_outside(const char *name)
{
	GoesReactor *reactor = goes_reactor_find(name);

	if (reactor->mode != GOES_OUTSIDE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("reactor \"%s\" is not an outside reactor", reactor->name)));
	goes_reactor_check_may_manage(reactor);
	if (!reactor->active)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("reactor \"%s\" is off", reactor->name),
				 errhint("Call goes_on to let it go on.")));
	return reactor;
}

/*
 * What the reactor of that name reads from, as it is registered now: kept for
 * the next fetch of this session, since preparing the statements costs more than
 * running them.
 */
static GoesSources *
find_sources(const char *name, GoesReactor **reactor)
{
	static GoesSources *kept = NULL;
	static GoesReactor *of = NULL;
	static MemoryContext context = NULL;
	static uint64 generation = 0;
	uint64		before;
	MemoryContext oldcontext;

	AcceptInvalidationMessages();
	before = goes_registry_generation();
	*reactor = find_outside(name);
	if (kept != NULL && generation == before &&
		goes_uuid_equal(&of->id, &(*reactor)->id))
		return kept;
	goes_sources_free(kept);
	kept = NULL;
	if (context == NULL)
		context = AllocSetContextCreate(CacheMemoryContext, "goes outside reactor",
										ALLOCSET_SMALL_SIZES);
	MemoryContextReset(context);
	oldcontext = MemoryContextSwitchTo(context);
	of = goes_reactor_copy(*reactor);
	MemoryContextSwitchTo(oldcontext);
	kept = goes_sources_create(context, of, goes_reactor_owner(*reactor), 0, 1);
	/* What changed while it was read makes it outdated at once */
	generation = before;
	return kept;
}

/* What is kept must not be replaced while it is in use, by an upcaster say. */
static bool in_use = false;

static void
check_not_nested(void)
{
	if (in_use)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("events cannot be fetched or settled while others are")));
}

/*
 * Up to where events may be read.  A transaction that keeps its snapshot goes
 * by the stored horizon under it: the live one may cover what it does not see.
 */
static int64
visible_horizon(void)
{
	return IsolationUsesXactSnapshot() ?
		goes_horizon_persisted(GetActiveSnapshot()) : goes_horizon_certain();
}

/* ---------------------------------------------------------------------------
 * Is there something?
 * ---------------------------------------------------------------------------
 */

/* Is there a new event whose aggregate is free? */
static bool
has_new(Fetch *fetch, const GoesProgress *progress, int64 horizon)
{
	GoesRange	range = {
		.after = progress->checkpoint,
		.up_to = horizon,
		.imported_to = progress->imported_to
	};
	int			limit = FIRST_CHUNK;
	int			nfound = limit;

	for (; range.after < range.up_to && nfound == limit; limit = CHUNK)
	{
		GoesFound  *found;
		List	   *blocked;

		CHECK_FOR_INTERRUPTS();
		nfound = goes_sources_read(fetch->sources, &range, limit, &found);
		blocked = goes_pending_blocked(fetch->reactor, found, nfound);
		for (int i = 0; i < nfound; i++)
		{
			if (!goes_pending_is_blocked(blocked, &found[i]))
				return true;
			range.after = found[i].position;
		}
	}
	fetch->has_passed = range.up_to > progress->checkpoint;
	return false;
}

/* Look for events, without any lock; connected to SPI. */
static bool
look(Fetch *fetch)
{
	int64		horizon = visible_horizon();
	GoesProgress progress;
	TimestampTz now = GetCurrentTimestamp();

	/* What was registered before an event that is covered must be known */
	fetch->sources = find_sources(fetch->name, &fetch->reactor);
	fetch->look_at = DT_NOEND;
	fetch->has_passed = false;
	if (fetch->reactor->paused ||
		!goes_progress_read(&fetch->reactor->id, 0, &progress))
		return false;
	fetch->look_at = goes_pending_next_due(fetch->reactor, 0, 1);
	return fetch->look_at <= now || has_new(fetch, &progress, horizon);
}

/* A program that is gone must not lease events. */
static void
check_client(void)
{
	if (MyProcPort != NULL && !pq_check_connection())
	{
		ClientConnectionLost = true;
		InterruptPending = true;
	}
	CHECK_FOR_INTERRUPTS();
}

static bool
has_something(void *arg)
{
	Fetch	   *fetch = arg;
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool something = false;

	check_client();
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		SPI_connect();
		something = look(fetch);
		SPI_finish();
	}
	PG_FINALLY();
	{
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	return something;
}

/* ---------------------------------------------------------------------------
 * Fetch
 * ---------------------------------------------------------------------------
 */

/* The event as it is given to the program. */
static Datum
event_datum(const GoesFound *found, const pg_uuid_t *reactor)
{
	GoesAggregateType *type = goes_get_aggregate_type(found->source->type);
	GoesEvent  *event = goes_found_event(found);

	event->transient = goes_transient_find(event->position, reactor);
	return goes_event_to_datum(goes_upcast_as_owner(type, event), true);
}

/* The same; false, and what went wrong, if an upcaster raises an error. */
static bool
try_event_datum(const GoesFound *found, const pg_uuid_t *reactor, Datum *datum,
				GoesFailure *failure)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	if (goes_get_aggregate_type(found->source->type)->nupcasters == 0)
	{
		*datum = event_datum(found, reactor);
		return true;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		*datum = event_datum(found, reactor);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		failure->sqlerrcode = error->sqlerrcode;
		failure->message = error->message ? error->message : "";
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return ok;
}

static void
give_event(Fetch *fetch, Datum datum)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(datum);
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	tuplestore_puttuple(fetch->result, &tuple);
	fetch->nevents++;
}

static void
note_failure(Fetch *fetch, const GoesFailure *failure)
{
	fetch->advance.failed++;
	fetch->advance.error = failure->message;
}

/* There is room for so many leases. */
static void
begin_leases(Fetch *fetch, int count)
{
	fetch->leased = palloc(Max(1, count) * sizeof(GoesPending));
	fetch->nleased = 0;
}

static void
store_leases(Fetch *fetch)
{
	goes_pending_put(fetch->reactor, fetch->nleased, fetch->leased,
					 fetch->lease_end, true);
	pfree(fetch->leased);
}

/* Hand an event out under a lease, or note that this has failed. */
static GoesFate
lease(Fetch *fetch, const GoesPending *event, const GoesFound *found)
{
	GoesFailure failure;
	Datum		datum;

	if (try_event_datum(found, &fetch->reactor->id, &datum, &failure))
	{
		fetch->leased[fetch->nleased++] = *event;
		give_event(fetch, datum);
		return GOES_FATE_RETRY;
	}
	note_failure(fetch, &failure);
	return goes_pending_fail(fetch->reactor, event, &failure);
}

/* Events that wait behind others: up to the checkpoint. */
static GoesRange
passed_range(const GoesProgress *progress)
{
	GoesRange	range = {
		.up_to = progress->checkpoint,
		.imported_to = progress->imported_to
	};

	return range;
}

/* A pending event is settled or given up: its aggregate's next one is due. */
static void
settle_pending(const GoesReactor *reactor, GoesSources *sources,
			   const GoesPending *event, const GoesProgress *progress)
{
	GoesRange	range = passed_range(progress);

	goes_pending_done(reactor, event);
	goes_pending_advance(reactor, sources, 1, event, &range);
}

/* A lease that has run out is a failed attempt; true: the event is given up. */
static bool
lease_has_run_out(Fetch *fetch, GoesPending *event)
{
	GoesFailure failure = {
		.sqlerrcode = ERRCODE_QUERY_CANCELED,
		.message = "the lease ran out"
	};

	if (!event->leased)
		return false;
	note_failure(fetch, &failure);
	if (event->attempts + 1 >= fetch->reactor->max_attempts)
	{
		if (goes_pending_fail(fetch->reactor, event, &failure) == GOES_FATE_DEAD)
			settle_pending(fetch->reactor, fetch->sources, event, &fetch->progress);
		return true;
	}
	event->attempts++;
	return false;
}

/* Read pending events of all types; NULL stands for one that is not seen. */
static GoesFound **
read_due(GoesSources *sources, const GoesPending *due, int count)
{
	GoesFound **events = palloc0(Max(1, count) * sizeof(GoesFound *));
	int64	   *positions = palloc(Max(1, count) * sizeof(int64));

	for (int i = 0; i < sources->nsources; i++)
	{
		const char *type = sources->sources[i].type;
		int			npositions = 0;
		int			nfound = 0;
		int			next = 0;
		GoesFound  *found;

		for (int j = 0; j < count; j++)
		{
			if (strcmp(due[j].aggregate_type, type) == 0)
				positions[npositions++] = due[j].position;
		}
		if (npositions > 0)
			nfound = goes_sources_read_at(sources, type, npositions, positions, &found);
		for (int j = 0; j < count && next < nfound; j++)
		{
			if (found[next].position == due[j].position)
				events[j] = &found[next++];
		}
	}
	return events;
}

/* Events whose next attempt is due, and those whose lease has run out. */
static void
fetch_due(Fetch *fetch)
{
	GoesPending *due;
	int			count = goes_pending_due(fetch->reactor, 0, 1,
										 fetch->max_events, &due);
	GoesFound **events = read_due(fetch->sources, due, count);

	begin_leases(fetch, count);
	for (int i = 0; i < count && fetch->nevents < fetch->max_events; i++)
	{
		GoesFound  *found = events[i];

		if (lease_has_run_out(fetch, &due[i]))
			continue;
		fetch->advance.retried += due[i].attempts > 0;
		if (found == NULL)
		{
			GoesRange	range = passed_range(&fetch->progress);

			goes_pending_bury_unseen(fetch->reactor, fetch->sources, &due[i], &range);
		}
		if (found == NULL || lease(fetch, &due[i], found) == GOES_FATE_DEAD)
			settle_pending(fetch->reactor, fetch->sources, &due[i], &fetch->progress);
	}
	store_leases(fetch);
}

/* Hand out new events of what was found; returns the checkpoint after it. */
static int64
fetch_found(Fetch *fetch, const GoesFound *found, int nfound)
{
	List	   *blocked = goes_pending_blocked(fetch->reactor, found, nfound);
	int64		checkpoint = fetch->advance.checkpoint;

	begin_leases(fetch, nfound);
	for (int i = 0; i < nfound && fetch->nevents < fetch->max_events; i++)
	{
		checkpoint = found[i].position;
		if (!goes_pending_is_blocked(blocked, &found[i]))
		{
			GoesPending *event = palloc(sizeof(GoesPending));

			*event = goes_pending_of(&found[i], true);
			if (lease(fetch, event, &found[i]) != GOES_FATE_DEAD)
				blocked = lappend(blocked, event);
		}
	}
	store_leases(fetch);
	return checkpoint;
}

static void
fetch_new(Fetch *fetch, int64 horizon)
{
	GoesRange	range = {
		.up_to = horizon,
		.imported_to = fetch->progress.imported_to
	};

	while (fetch->nevents < fetch->max_events &&
		   fetch->advance.checkpoint < range.up_to)
	{
		int			limit = Min(CHUNK, Max(fetch->max_events - fetch->nevents, 10));
		GoesFound  *found;
		int			nfound;

		CHECK_FOR_INTERRUPTS();
		range.after = fetch->advance.checkpoint;
		nfound = goes_sources_read(fetch->sources, &range, limit, &found);
		fetch->advance.checkpoint = fetch_found(fetch, found, nfound);
		if (nfound < limit && fetch->nevents < fetch->max_events)
			fetch->advance.checkpoint = range.up_to;
	}
}

/* Where events are given up, the next ones of their aggregates are due. */
static void
fetch_until_some(Fetch *fetch, int64 horizon)
{
	int64		failed;

	do
	{
		failed = fetch->advance.failed;
		fetch_due(fetch);
		fetch_new(fetch, horizon);
	} while (fetch->nevents == 0 && fetch->advance.failed > failed);
}

/* Lock the progress; false: another fetch has it, and does not end in time. */
static bool
lock_progress(Fetch *fetch, int64 patience)
{
	TimestampTz end = GetCurrentTimestamp() + patience * 1000;
	long		pause = 100;

	while (!goes_progress_try_lock(&fetch->reactor->id, 0, &fetch->progress))
	{
		CHECK_FOR_INTERRUPTS();
		if (GetCurrentTimestamp() >= end)
			return false;
		pg_usleep(pause);
		pause = Min(pause * 2, 20000);
	}
	return true;
}

/* Has anything been done that is to be stored? */
static bool
has_advanced(const Fetch *fetch)
{
	return fetch->advance.checkpoint != fetch->progress.checkpoint ||
		fetch->advance.failed > 0 || fetch->advance.retried > 0;
}

/*
 * Fetch under the lock, which everybody needs who changes the reactor: so read
 * it again, after the horizon.
 */
static void
fetch_events(Fetch *fetch, int64 patience)
{
	SPI_connect();
	fetch->sources = find_sources(fetch->name, &fetch->reactor);
	fetch->locked = lock_progress(fetch, patience);
	if (fetch->locked)
	{
		int64		horizon = visible_horizon();

		fetch->sources = find_sources(fetch->name, &fetch->reactor);
		if (!fetch->reactor->paused)
		{
			fetch->advance.checkpoint = fetch->progress.checkpoint;
			fetch_until_some(fetch, horizon);
			if (has_advanced(fetch))
				goes_progress_advance(&fetch->reactor->id, 0, &fetch->advance);
		}
	}
	SPI_finish();
}

/* The result set, which must not reach the disk: it has transient data. */
static void
begin_result(Fetch *fetch, FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext oldcontext;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	oldcontext = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	tuplestore_end(result->setResult);
	result->setResult = tuplestore_begin_heap(true, false, MAX_KILOBYTES);
	MemoryContextSwitchTo(oldcontext);
	fetch->result = result->setResult;
}

static int64
positive_interval_arg(FunctionCallInfo fcinfo, int n, const char *name, int64 least)
{
	int64		ms;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	ms = goes_interval_ms(PG_GETARG_INTERVAL_P(n));
	if (ms < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 least > 0 ? errmsg("%s must be at least 1 ms", name) :
				 errmsg("%s must not be negative", name)));
	return ms;
}

static int
max_events_arg(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 1 || PG_GETARG_INT32(1) > GREATEST_FETCH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must be between 1 and %d", GREATEST_FETCH)));
	return PG_GETARG_INT32(1);
}

/*
 * Wait for something, and fetch it.  While another program has the lock, look
 * again whether it has left something.
 */
static void
fetch_or_wait(Fetch *fetch, int64 lease, int64 wait)
{
	TimestampTz end = GetCurrentTimestamp() + wait * 1000;
	long		pause = 1000;

	for (;;)
	{
		int64		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);
		bool		something = goes_wait_progress(has_something, fetch, left,
												   &fetch->look_at);

		/* What is for nobody is passed once and for all */
		if (!something && !fetch->has_passed)
			return;
		check_client();
		fetch->lease_end = GetCurrentTimestamp() + lease * 1000;
		fetch_events(fetch, left > 0 ? 0 : LOCK_PATIENCE);
		if (fetch->locked || GetCurrentTimestamp() >= end)
			return;
		pg_usleep(pause);
		pause = Min(pause * 2, 100000);
	}
}

PG_FUNCTION_INFO_V1(goes_fetch);

/*
 * goes_fetch(reactor text, max_events integer, lease interval, wait interval) RETURNS SETOF goes_event
 *		The next events of an outside reactor, at most one of an aggregate, which
 *		are this program's until it settles them or the lease ends, counted from
 *		when they are fetched; with their transient data.  Waits up to that long
 *		for the first one; none comes to a reactor that is paused.  In REPEATABLE
 *		READ and SERIALIZABLE it does not wait.  Errors: OG008, 42501, 42809 (not
 *		outside), 55000 (off; no preload), 22004 and 22023 for arguments.
 */
Datum
goes_fetch(PG_FUNCTION_ARGS)
{
	Fetch		fetch = {0};
	int64		lease;
	int64		wait;

	goes_require_preload();
	PreventCommandDuringRecovery("goes_fetch()");
	check_not_nested();
	fetch.name = goes_text_arg(fcinfo, 0, "reactor");
	fetch.max_events = max_events_arg(fcinfo);
	lease = positive_interval_arg(fcinfo, 2, "lease", 1);
	wait = positive_interval_arg(fcinfo, 3, "wait", 0);
	begin_result(&fetch, fcinfo);
	in_use = true;
	PG_TRY();
	{
		SPI_connect();
		(void) find_outside(fetch.name);
		fetch_or_wait(&fetch, lease, IsolationUsesXactSnapshot() ? 0 : wait);
		SPI_finish();
	}
	PG_FINALLY();
	{
		in_use = false;
	}
	PG_END_TRY();
	return (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * Settle
 * ---------------------------------------------------------------------------
 */

/* The program reports that its attempt has failed. */
static void
fail_leased(const GoesReactor *reactor, GoesSources *sources,
			const GoesPending *event, const char *error,
			const GoesProgress *progress, GoesAdvance *advance)
{
	GoesFailure failure = {
		.sqlerrcode = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
		.message = goes_scrub(error, goes_transient_find(event->position, &reactor->id))
	};

	advance->failed++;
	advance->error = failure.message;
	if (goes_pending_fail(reactor, event, &failure) == GOES_FATE_DEAD)
		settle_pending(reactor, sources, event, progress);
}

/* All of them have failed; returns how many. */
static int
fail_all(const GoesReactor *reactor, GoesSources *sources, ArrayType *positions,
		 const char *error, const GoesProgress *progress, GoesAdvance *advance)
{
	GoesPending *leased;
	int			count = goes_pending_leased(reactor, positions, &leased);

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		fail_leased(reactor, sources, &leased[i], error, progress, advance);
	}
	return count;
}

/* All of them are done; returns how many. */
static int
settle_all(const GoesReactor *reactor, GoesSources *sources, ArrayType *positions,
		   const GoesProgress *progress, GoesAdvance *advance)
{
	GoesPending *leased;
	int			count = goes_pending_take_leased(reactor, positions, &leased);
	GoesRange	range = passed_range(progress);

	goes_pending_advance(reactor, sources, count, leased, &range);
	for (int i = 0; i < count; i++)
		goes_transient_settle_at_commit(leased[i].position, &reactor->id);
	advance->processed += count;
	return count;
}

/* Settle the events at these positions; returns how many were fetched. */
static int
settle(const char *name, ArrayType *positions, const char *error)
{
	GoesReactor *reactor = find_outside(name);
	GoesSources *sources;
	GoesProgress progress;
	GoesAdvance advance = {0};
	int			count;

	if (!goes_progress_wait_lock(&reactor->id, 0, &progress))
		return 0;
	sources = find_sources(name, &reactor);
	advance.checkpoint = progress.checkpoint;
	count = error == NULL ?
		settle_all(reactor, sources, positions, &progress, &advance) :
		fail_all(reactor, sources, positions, error, &progress, &advance);
	if (count > 0)
		goes_progress_advance(&reactor->id, 0, &advance);
	return count;
}

PG_FUNCTION_INFO_V1(goes_settle);

/*
 * goes_settle(reactor text, positions bigint[], error text) RETURNS bigint
 *		Settle events that were fetched: done (error NULL), or failed, upon which
 *		they come again after a pause, as for an async reactor.  Returns how many
 *		were settled: not those that are settled already, or were never fetched.
 *		A lease that has run out, but was not handed on, counts still.  Errors:
 *		OG008, 42501, 42809, 22004; 55000 if the reactor is off, or without the
 *		preload.
 */
Datum
goes_settle(PG_FUNCTION_ARGS)
{
	char	   *name = goes_text_arg(fcinfo, 0, "reactor");
	volatile int count = 0;

	goes_require_preload();
	PreventCommandDuringRecovery("goes_settle()");
	check_not_nested();
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "positions")));
	in_use = true;
	PG_TRY();
	{
		SPI_connect();
		count = settle(name, PG_GETARG_ARRAYTYPE_P(1),
					   PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)));
		SPI_finish();
	}
	PG_FINALLY();
	{
		in_use = false;
	}
	PG_END_TRY();
	goes_progressed_at_commit();
	PG_RETURN_INT64(count);
}
