/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  Waiting until reactors have done what is committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "horizon.h"
#include "interval.h"
#include "miscadmin.h"
#include "model.h"
#include "pgstat.h"
#include "position.h"
#include "progress.h"
#include "reactor.h"
#include "registry.h"
#include "shared.h"
#include "source.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "wait.h"
#include "worker.h"

/* Whoever waits looks again after that long, in ms, should nobody wake it */
#define LOOK_INTERVAL 500
#define HEARTBEAT 60000

/* For how long it waits for a lock: a lock_timeout */
#define LOCK_PATIENCE "10ms"

/* What is waited for */
typedef struct Target
{
	const GoesReactor *reactor; /* NULL: all async ones that are not paused */
	int64		up_to;
} Target;

/*
 * Sleep until then, or until there is progress since what was seen.  What is
 * asked meanwhile may end our preparation to sleep, so prepare only now, and
 * see whether there was any before.
 */
static void
sleep_until(uint64 seen, TimestampTz then)
{
	long		timeout = Min(HEARTBEAT,
							  TimestampDifferenceMilliseconds(GetCurrentTimestamp(), then));

	ConditionVariablePrepareToSleep(&goes_shared->progressed);
	if (pg_atomic_read_u64(&goes_shared->progress) == seen)
		(void) ConditionVariableTimedSleep(&goes_shared->progressed,
										   Max(1, timeout), PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
}

static void
end_wait(int code, Datum arg)
{
	pg_atomic_fetch_sub_u32(&goes_shared->waiters, 1);
}

/*
 * goes_wait_progress
 *		Wait until something has moved on in a database: a horizon was stored, or
 *		a reactor has committed.  is_done is asked before each sleep; it may set
 *		look_at to when it wants to be asked again, should nothing happen (NULL:
 *		soon).  timeout in milliseconds, -1: without limit.  Returns whether it is
 *		done.
 */
bool
goes_wait_progress(bool (*is_done) (void *arg), void *arg, int64 timeout,
				   const TimestampTz *look_at)
{
	TimestampTz end = timeout < 0 ? DT_NOEND :
		GetCurrentTimestamp() + timeout * 1000;
	volatile bool done = false;

	pg_atomic_fetch_add_u32(&goes_shared->waiters, 1);
	PG_ENSURE_ERROR_CLEANUP(end_wait, (Datum) 0);
	{
		for (;;)
		{
			uint64		seen = pg_atomic_read_u64(&goes_shared->progress);
			TimestampTz now;

			pg_memory_barrier();
			done = is_done(arg);
			now = GetCurrentTimestamp();
			if (done || now >= end)
				break;
			sleep_until(seen, Min(end, look_at ? *look_at :
								  now + LOOK_INTERVAL * INT64CONST(1000)));
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_wait, (Datum) 0);
	end_wait(0, (Datum) 0);
	return done;
}

/* Does a query find a row for the reactor, or any of all? */
static bool
any_reactor(const Target *target, const char *condition)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID};
	Datum		args[] = {
		target->reactor ? UUIDPGetDatum(&target->reactor->id) : (Datum) 0,
		Int64GetDatum(target->up_to)
	};
	bool		any = goes_registry_execute(psprintf("SELECT 1 FROM goes.reactors r WHERE CASE WHEN $1 IS NULL"
													 " THEN r.mode OPERATOR(pg_catalog.=) 'async' AND r.active AND NOT r.paused"
													 " ELSE r.id OPERATOR(pg_catalog.=) $1 END AND EXISTS (%s) LIMIT 1",
													 condition),
											goes_lengthof(argtypes), argtypes, args,
											target->reactor ? NULL : "n ") > 0;

	SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = NULL;
	return any;
}

/* Is it, or any of all, not done with an event that its checkpoint has passed? */
static bool
has_pending(const Target *target)
{
	return any_reactor(target, "SELECT FROM goes.pending p WHERE p.reactor OPERATOR(pg_catalog.=) r.id"
					   " AND p.position OPERATOR(pg_catalog.<=) $2");
}

/* Is its checkpoint, or that of any, before the position? */
static bool
is_behind(const Target *target)
{
	return any_reactor(target, "SELECT FROM goes.progress p WHERE p.reactor OPERATOR(pg_catalog.=) r.id"
					   " AND p.checkpoint OPERATOR(pg_catalog.<) $2");
}

/* Is no event up to the position for an outside reactor? */
static bool
read_nothing(const Target *target)
{
	const GoesReactor *reactor = target->reactor;
	GoesSources *sources;
	GoesRange	range = {.up_to = target->up_to};
	GoesProgress progress;
	GoesFound  *found;
	volatile int nfound = 1;

	if (!goes_progress_read(&reactor->id, 0, &progress))
		return false;
	range.after = progress.checkpoint;
	range.imported_to = progress.imported_to;
	sources = goes_sources_create(CurrentMemoryContext, reactor,
								  goes_reactor_owner(reactor), 0, 1);
	PG_TRY();
	{
		nfound = goes_sources_read(sources, &range, 1, &found);
	}
	PG_FINALLY();
	{
		goes_sources_free(sources);
	}
	PG_END_TRY();
	return nfound == 0;
}

/* What is locked is asked again later, for the wait has an end of its own. */
static void
do_not_wait_for_locks(void)
{
	(void) set_config_option("lock_timeout", LOCK_PATIENCE, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * The same, as far as can be said without waiting.  If no program asks, nobody
 * moves its checkpoint.  No lock is kept.
 */
static bool
nothing_is_for(const Target *target)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool nothing = false;

	if (target->reactor == NULL || target->reactor->mode != GOES_OUTSIDE ||
		!target->reactor->active)
		return false;
	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		do_not_wait_for_locks();
		SPI_connect();
		nothing = read_nothing(target);
		SPI_finish();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return nothing;
}

/* Let the runners store how far they are, though nothing was for them. */
static void
ask_for(int64 position)
{
	GoesWorker *dispatcher = goes_find_dispatcher(MyDatabaseId);
	uint64		wanted;

	if (dispatcher == NULL)
		return;
	position = Min(position, goes_position_last());
	wanted = pg_atomic_read_u64(&dispatcher->wanted);
	while (wanted < (uint64) position &&
		   !pg_atomic_compare_exchange_u64(&dispatcher->wanted, &wanted, position))
		;
	goes_wake_database(MyDatabaseId);
}

static bool
have_passed(void *arg)
{
	const Target *target = arg;

	/* In this order: what a checkpoint passes is pending when it has passed */
	bool		passed = goes_horizon_persisted(GetLatestSnapshot()) >= target->up_to &&
		(!is_behind(target) || nothing_is_for(target)) &&
		!has_pending(target);

	if (!passed)
		ask_for(target->up_to);
	return passed;
}

/* Waiting for what only the end of this transaction allows would be for ever. */
static void
check_may_wait(void)
{
	goes_require_preload();
	if (goes_position_is_taken())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("goes_wait cannot wait in a transaction that has executed commands"),
				 errhint("Call it after COMMIT.")));
	if (goes_my_worker != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("goes_wait cannot be called by an async reactor")));
}

PG_FUNCTION_INFO_V1(goes_wait);

/*
 * goes_wait(reactor text, up_to bigint, timeout interval) RETURNS boolean
 *		Wait until the stored horizon and the reactor (NULL: all async ones that
 *		are neither off nor paused) have passed a position (NULL: that of the last
 *		committed event); false if that has not happened in time (NULL: without
 *		limit).  Events that failed and may be tried again are not passed, dead
 *		letters are.  Errors: OG008; 42809 for a sync reactor; 55000 without the
 *		preload, in a transaction that has appended, in a runner.
 */
Datum
goes_wait(PG_FUNCTION_ARGS)
{
	Target		target = {0};
	int64		timeout = PG_ARGISNULL(2) ? -1 :
		Max(0, goes_interval_ms(PG_GETARG_INTERVAL_P(2)));
	bool		passed;

	check_may_wait();
	SPI_connect();
	if (!PG_ARGISNULL(0))
	{
		target.reactor = goes_reactor_find(goes_text_arg(fcinfo, 0, "reactor"));
		if (target.reactor->mode == GOES_SYNC)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("reactor \"%s\" is sync", target.reactor->name),
					 errdetail("It has done its work when the command returns.")));
	}
	target.up_to = PG_ARGISNULL(1) ? goes_position_committed() : PG_GETARG_INT64(1);
	passed = goes_wait_progress(have_passed, &target, timeout, NULL);
	SPI_finish();
	PG_RETURN_BOOL(passed);
}
