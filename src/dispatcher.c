/*-------------------------------------------------------------------------
 *
 * dispatcher.c
 *	  The background worker that serves one database.
 *
 * It stores the horizon when that has moved and tells outside listeners, and it
 * sees to it that each owner of async reactors has a runner.  Nothing that it
 * does evaluates anything of a user's.
 *
 * Nothing begins before all registered tables and their guards are there: while
 * a dump is restored, they come last.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "compat.h"
#include "dispatcher.h"
#include "executor/spi.h"
#include "guard.h"
#include "horizon.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "position.h"
#include "postmaster/bgworker.h"
#include "progress.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "storage/ipc.h"
#include "shared.h"
#include "transient.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

extern PGDLLEXPORT void goes_dispatcher_main(Datum arg);

/* Setting goes.max_runners */
int			goes_max_runners = 4;

/* The horizon is stored that often at most, in ms: each time costs a flush */
#define PERSIST_INTERVAL 20

/* Idle for that long, in ms, it counts on NOTIFY goes */
#define AWAKE_TIME 1000

/* It looks around without a reason after that long, in ms */
#define HEARTBEAT 60000

/* Claims for transient data that are looked at in one go */
#define CLAIMS_CHUNK 1000

/* While something is missing it looks again after that long, in ms */
#define CLOSED_INTERVAL 500

/* It looks again after that long, in ms, if the horizon is not certain */
#define UNCERTAIN_INTERVAL 5

/* Runners that have worked for that long, in ms, could do with help */
#define BUSY_TIME 50

/* An owner that could not have a runner may have one after that long, in ms */
#define BLOCKED_INTERVAL 5000
#define NO_SLOT_INTERVAL 1000

/* After a runner could not connect: that long, in ms, doubled up to a limit */
#define FIRST_PAUSE 1000
#define LONGEST_PAUSE 60000

/* The same after one that could ended at once */
#define FIRST_SHORT_PAUSE 100
#define LONGEST_SHORT_PAUSE 1000

/* An owner of async reactors */
typedef struct Owner
{
	Oid			role;
	int			ntasks;			/* parts of reactors */
	int64		served_to;		/* up to where its runners have done all */
	TimestampTz due_at;			/* when one has something to do all the same */
	TimestampTz not_before;		/* no runner before that */
	int			failures;		/* starts in a row that failed */
	BackgroundWorkerHandle *handle; /* of the runner that was ordered last */
	GoesWorker *ordered;		/* its entry */
	uint32		serial;
	TimestampTz ordered_at;
} Owner;

static MemoryContext owner_context = NULL;
static List *owners = NIL;

/* What they were loaded from */
static uint64 loaded_changes = 0;
static uint64 loaded_generation = 0;

static bool begun = false;		/* all registered tables and guards are there */
static int64 stored = -1;		/* the horizon as it is stored; -1: not known */
static int64 storing = -1;		/* what this transaction stores, or did */
static TimestampTz stored_at = 0;
static TimestampTz no_slot_at = 0;	/* when there was no room in the server */

/* ---------------------------------------------------------------------------
 * Before anything begins
 * ---------------------------------------------------------------------------
 */

/* Is the table there, with its guards?  Waits for nobody. */
static bool
is_complete(Oid relation)
{
	return get_rel_name(relation) != NULL && goes_guard_is_complete(relation);
}

/* Is all there?  Else, in how many ms to look again. */
static bool
all_complete(long *again)
{
	uint64		ntypes = goes_registry_execute("SELECT relation, events FROM goes.aggregate_types",
											   0, NULL, NULL, NULL);
	SPITupleTable *rows = SPI_tuptable;

	for (uint64 row = 0; row < ntypes; row++)
	{
		for (int column = 1; column <= 2; column++)
		{
			bool		isnull;

			if (!is_complete(DatumGetObjectId(SPI_getbinval(rows->vals[row], rows->tupdesc,
															column, &isnull))))
			{
				*again = CLOSED_INTERVAL;
				return false;
			}
		}
	}
	/* While there is no type there is nothing to do, nor to wait for */
	return ntypes > 0;
}

/* ---------------------------------------------------------------------------
 * Owners
 * ---------------------------------------------------------------------------
 */

static Owner *
find_owner(Oid role)
{
	ListCell   *cell;

	foreach(cell, owners)
	{
		if (((Owner *) lfirst(cell))->role == role)
			return lfirst(cell);
	}
	return NULL;
}

static Owner *
add_owner(Oid role)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(owner_context);
	Owner	   *owner = palloc0(sizeof(Owner));

	owner->role = role;
	owner->served_to = -1;
	owners = lappend(owners, owner);
	MemoryContextSwitchTo(oldcontext);
	return owner;
}

/* Has the owner tasks no more?  Then there is nothing to remember. */
static void
forget_owners(void)
{
	ListCell   *cell;

	foreach(cell, owners)
	{
		Owner	   *owner = lfirst(cell);

		if (owner->ntasks > 0)
			continue;
		owners = foreach_delete_current(owners, cell);
		if (owner->handle != NULL)
			pfree(owner->handle);
		pfree(owner);
	}
}

/* Read whose reactors there are. */
static void
load_owners(void)
{
	ListCell   *cell;

	foreach(cell, owners)
		((Owner *) lfirst(cell))->ntasks = 0;
	loaded_changes = pg_atomic_read_u64(&goes_shared->changes);
	loaded_generation = goes_registry_generation();
	foreach(cell, goes_reactors_read())
	{
		GoesReactor *reactor = lfirst(cell);
		Oid			role = goes_reactor_owner(reactor);
		Owner	   *owner;

		if (reactor->mode != GOES_ASYNC || !reactor->active || reactor->paused ||
			!OidIsValid(role))
			continue;
		owner = find_owner(role);
		if (owner == NULL)
			owner = add_owner(role);
		owner->ntasks += goes_progress_parts(&reactor->id);
		owner->served_to = -1;
	}
	forget_owners();
}

/* ---------------------------------------------------------------------------
 * Runners
 * ---------------------------------------------------------------------------
 */

/* The runners of this database: of one role, or of all for InvalidOid. */
typedef struct Count
{
	int			runners;
	int			idle;			/* of them */
	int			starting;
	int64		seen;			/* up to where an idle one has done all */
	TimestampTz due_at;			/* when it has to wake up */
	TimestampTz busy_since;		/* the last one to become busy */
} Count;

static bool
is_runner_of(const GoesWorker *worker, Oid role)
{
	return worker->in_use && worker->kind == GOES_RUNNER &&
		worker->database == MyDatabaseId &&
		(!OidIsValid(role) || worker->role == role);
}

static Count
count_runners(Oid role)
{
	Count		count = {.seen = -1};

	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);
		TimestampTz busy_since;

		if (!is_runner_of(worker, role))
			continue;
		busy_since = pg_atomic_read_u64(&worker->busy_since);
		count.runners++;
		count.starting += worker->pid == 0;
		count.idle += busy_since == 0;
		if (busy_since == 0 && pg_atomic_read_u64(&worker->loaded) == loaded_changes)
		{
			count.due_at = pg_atomic_read_u64(&worker->due_at);
			count.seen = Max(count.seen, (int64) pg_atomic_read_u64(&worker->seen));
		}
		count.busy_since = Max(count.busy_since, busy_since);
	}
	return count;
}

/* Would the owner's runners do with one more? */
static bool
needs_help(const Owner *owner, const Count *count)
{
	if (count->runners == 0)
		return true;
	return count->idle == 0 && count->starting == 0 &&
		count->runners < owner->ntasks &&
		TimestampDifferenceExceeds(count->busy_since, GetCurrentTimestamp(), BUSY_TIME);
}

/* Once for a shortage, which may come and go. */
static void
warn_no_slot(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (TimestampDifferenceExceeds(no_slot_at, now, HEARTBEAT))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a background worker for the async reactors of database \"%s\"",
						get_database_name(MyDatabaseId)),
				 errhint("Raise max_worker_processes; the reactors go on when a background worker ends.")));
	no_slot_at = now;
}

/* Start a runner; false if there is no room in the server. */
static bool
start_runner(Owner *owner)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(owner_context);

	if (owner->handle != NULL)
		pfree(owner->handle);
	owner->handle = NULL;
	owner->ordered = goes_worker_order(GOES_RUNNER, MyDatabaseId, owner->role,
									   &owner->serial, &owner->handle);
	MemoryContextSwitchTo(oldcontext);
	if (owner->ordered == NULL)
	{
		owner->handle = NULL;
		warn_no_slot();
		return false;
	}
	owner->ordered_at = GetCurrentTimestamp();
	return true;
}

/* A runner of the owner has done all up to there, and has to do more then. */
static void
note_served(Owner *owner, int64 seen, TimestampTz due_at)
{
	if (seen <= 0)
		return;
	owner->served_to = Max(owner->served_to, seen);
	owner->due_at = due_at;
}

/* How long the owner has to wait after that many failures, in milliseconds. */
static int64
pause_after(int failures, bool connected)
{
	int64		pause = connected ? FIRST_SHORT_PAUSE : FIRST_PAUSE;
	int64		longest = connected ? LONGEST_SHORT_PAUSE : LONGEST_PAUSE;

	for (int i = 1; i < failures && pause < longest; i++)
		pause *= 2;
	return Min(pause, longest);
}

/*
 * Has the runner that was ordered last ended at once?  Then it could not
 * connect, perhaps, and is not tried again for a while.
 */
static void
check_start(Owner *owner)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		late = TimestampDifferenceExceeds(owner->ordered_at, now, FIRST_PAUSE);
	bool		known;
	bool		connected;
	pid_t		pid;

	if (owner->handle == NULL)
		return;
	if (late)
		owner->failures = 0;
	/* The entry is freed before the postmaster knows */
	if (owner->ordered->in_use && owner->ordered->serial == owner->serial &&
		GetBackgroundWorkerPid(owner->handle, &pid) != BGWH_STOPPED)
		return;
	/* If its entry is another's by now, nothing is known of it */
	known = owner->ordered->serial == owner->serial;
	connected = !known || owner->ordered->connected;
	late |= known && connected && owner->ordered->leave;
	if (known && pg_atomic_read_u64(&owner->ordered->loaded) == loaded_changes)
		note_served(owner, pg_atomic_read_u64(&owner->ordered->seen),
					pg_atomic_read_u64(&owner->ordered->due_at));
	pfree(owner->handle);
	owner->handle = NULL;
	goes_worker_give_up(owner->ordered, owner->serial);
	if (late)
		return;
	owner->failures++;
	owner->not_before = now + pause_after(owner->failures, connected) * 1000;
}

/* For how long the owner may not have a runner, in milliseconds. */
static long
blocked_for(const Owner *owner)
{
	const char *hint;

	if (goes_connect_problem(owner->role, &hint) != NULL)
		return BLOCKED_INTERVAL;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), owner->not_before);
}

/*
 * Can an owner without a runner, which had to make room for others, do without?
 * An event of its own that has failed may be due.
 */
static bool
is_served(const Owner *owner, const Count *count, int64 horizon)
{
	return count->runners == 0 && owner->served_to >= horizon &&
		GetCurrentTimestamp() < owner->due_at;
}

/*
 * Give the owner a runner if it needs one; returns in how many ms to look
 * again.
 */
static long
serve_owner(Owner *owner, int64 horizon)
{
	Count		count = count_runners(owner->role);
	Count		all = count_runners(InvalidOid);
	long		blocked;

	note_served(owner, count.seen, count.due_at);
	if (is_served(owner, &count, horizon))
		return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), owner->due_at);
	/* Whether those that are there need help shows only after a while */
	if (!needs_help(owner, &count))
		return count.idle == 0 && count.runners < owner->ntasks ? BUSY_TIME : HEARTBEAT;
	blocked = blocked_for(owner);
	if (blocked > 0)
		return blocked;
	if (all.runners >= goes_max_runners)
	{
		if (count.runners == 0)
			(void) goes_worker_make_room(MyDatabaseId, owner->role);
		return BUSY_TIME;
	}
	if (start_runner(owner))
		return BUSY_TIME;
	/* Runners of other databases may have nothing to do */
	if (count.runners == 0 && goes_worker_make_room(InvalidOid, owner->role))
		return BUSY_TIME;
	return NO_SLOT_INTERVAL;
}

/* Give all owners runners; returns in how many ms to look again. */
static long
serve_owners(int64 horizon)
{
	static int	first = 0;
	int			nowners = list_length(owners);
	long		again = HEARTBEAT;

	/* All of them, before an entry that one has left is used again */
	for (int i = 0; i < nowners; i++)
		check_start(list_nth(owners, i));
	first++;
	for (int i = 0; i < nowners; i++)
		again = Min(again, serve_owner(list_nth(owners, (first + i) % nowners),
									   horizon));
	return again;
}

/* ---------------------------------------------------------------------------
 * The horizon
 * ---------------------------------------------------------------------------
 */

/*
 * Store the horizon if it has moved, and it is time to; returns in how many ms
 * it is.
 */
static long
store_horizon(int64 horizon)
{
	TimestampTz now = GetCurrentTimestamp();

	if (stored < 0)
		stored = goes_horizon_persisted(GetLatestSnapshot());
	if (horizon <= stored)
		return HEARTBEAT;
	if (!TimestampDifferenceExceeds(stored_at, now, PERSIST_INTERVAL))
		return PERSIST_INTERVAL;
	goes_horizon_persist(horizon);
	storing = horizon;
	if (goes_notify)
		Async_Notify("goes_events", psprintf(INT64_FORMAT, horizon));
	stored_at = now;
	return HEARTBEAT;
}

/* There are events for programs that wait in goes_fetch, stored or not. */
static void
tell_waiters(int64 horizon)
{
	static int64 told = -1;

	if (horizon > told)
		goes_progressed();
	told = Max(told, horizon);
}

/* ---------------------------------------------------------------------------
 * The process
 * ---------------------------------------------------------------------------
 */

/* What is claimed for transient data, and up to where that was looked at */
typedef struct Claims
{
	MemoryContext context;
	GoesClaim  *claims;
	int			count;
	int			next;
	TimestampTz began;
	TimestampTz not_before;		/* another time */
} Claims;

/*
 * Settle those of the claims whose reactors do not want the data any more.  They
 * may wait behind an earlier event of the aggregate.
 */
static void
settle_unwanted(const GoesClaim *claims, int count)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDARRAYOID, INT8ARRAYOID};
	Datum	   *reactors = palloc(count * sizeof(Datum));
	Datum	   *positions = palloc(count * sizeof(Datum));
	Datum		args[2];
	uint64		nrows;

	for (int i = 0; i < count; i++)
	{
		reactors[i] = UUIDPGetDatum(&claims[i].reactor);
		positions[i] = Int64GetDatum(claims[i].position);
	}
	args[0] = PointerGetDatum(construct_array(reactors, count, UUIDOID, UUID_LEN,
											  false, TYPALIGN_CHAR));
	args[1] = PointerGetDatum(construct_array(positions, count, INT8OID, sizeof(int64),
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	nrows = goes_execute_by_index(&plan, "SELECT c.reactor, c.position FROM unnest($1, $2) AS c (reactor, position)"
								  " WHERE NOT EXISTS (SELECT FROM goes.reactors r"
								  " WHERE r.id OPERATOR(pg_catalog.=) c.reactor AND r.active AND NOT r.paused"
								  " AND (c.position OPERATOR(pg_catalog.>) (SELECT pg_catalog.min(checkpoint)"
								  " FROM goes.progress p WHERE p.reactor OPERATOR(pg_catalog.=) c.reactor)"
								  " OR EXISTS (SELECT FROM goes.pending q WHERE q.reactor OPERATOR(pg_catalog.=) c.reactor"
								  " AND q.position OPERATOR(pg_catalog.<=) c.position"
								  " AND (q.blocks OR q.position OPERATOR(pg_catalog.=) c.position))))",
								  goes_lengthof(argtypes), argtypes, args, NULL);
	for (uint64 row = 0; row < nrows; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		goes_transient_settle(DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull)),
							  DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &isnull)));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* The next claims up to the horizon: above it nothing is certain. */
static int
next_claims(Claims *claims, int64 horizon, GoesClaim *chunk)
{
	int			count = 0;

	while (claims->next < claims->count && count < CLAIMS_CHUNK)
	{
		const GoesClaim *claim = &claims->claims[claims->next++];

		if (claim->position <= horizon)
			chunk[count++] = *claim;
	}
	return count;
}

/* Collect all claims, unless that took long, and was done a short while ago. */
static void
collect_claims(Claims *claims)
{
	MemoryContext oldcontext;

	if (GetCurrentTimestamp() < claims->not_before || !goes_transient_was_full())
		return;
	if (claims->context == NULL)
		claims->context = AllocSetContextCreate(TopMemoryContext, "goes claims",
												ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(claims->context);
	claims->count = goes_transient_claims(&claims->claims);
	claims->next = 0;
	claims->began = GetCurrentTimestamp();
	MemoryContextSwitchTo(oldcontext);
}

/* All were looked at: so they are not for nine times as long. */
static void
forget_claims(Claims *claims)
{
	TimestampTz now = GetCurrentTimestamp();

	claims->not_before = now + 9 * (now - claims->began);
	claims->count = claims->next = 0;
	MemoryContextReset(claims->context);
}

/*
 * There was no room for transient data: give back what is claimed for events
 * that were passed, because the reactor does not get them any more.  A chunk at
 * a time, since horizon and runners cannot wait; returns in how many ms the next
 * one may be looked at.
 */
static long
settle_passed(int64 horizon)
{
	static Claims claims = {0};
	GoesClaim  *chunk;
	int			count;

	if (claims.count == 0)
		collect_claims(&claims);
	if (claims.count == 0)
		return HEARTBEAT;
	chunk = palloc(CLAIMS_CHUNK * sizeof(GoesClaim));
	count = next_claims(&claims, horizon, chunk);
	if (count > 0)
		settle_unwanted(chunk, count);
	if (claims.next < claims.count)
		return 0;
	forget_claims(&claims);
	return HEARTBEAT;
}

static void
look_again(void)
{
	static bool swept = false;

	if (!swept)
		goes_transient_sweep(MyDatabaseId, goes_objects()->position);
	swept = true;
	if (loaded_changes == pg_atomic_read_u64(&goes_shared->changes) &&
		loaded_generation == goes_registry_generation())
		return;
	load_owners();
}

/* The extension is gone; unless it has been created again. */
static void
tell_that_it_is_gone(void)
{
	bool		absent;

	StartTransactionCommand();
	absent = !OidIsValid(get_extension_oid("goes", true));
	CommitTransactionCommand();
	if (absent)
		goes_transient_sweep(MyDatabaseId, InvalidOid);
	goes_tell_launcher(MyDatabaseId, absent);
}

/* What is to be done now; returns in how many ms there may be more. */
static long
work(void)
{
	int64		horizon;
	long		timeout = HEARTBEAT;

	if (!goes_worker_begin())
	{
		tell_that_it_is_gone();
		proc_exit(0);
	}
	/* The launcher need not wait for this one any more */
	if (!goes_my_worker->connected)
	{
		goes_my_worker->connected = true;
		goes_wake_launcher();
	}
	AcceptInvalidationMessages();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	begun = !goes_is_being_restored() && (begun || all_complete(&timeout));
	if (begun)
	{
		look_again();
		/* A table that was locked is left for later */
		goes_position_mend();
		horizon = goes_horizon_live();
		(void) goes_worker_saw(horizon);
		tell_waiters(horizon);
		timeout = Min(store_horizon(horizon), serve_owners(horizon));
		timeout = Min(timeout, settle_passed(horizon));
		if (!goes_horizon_is_certain())
			timeout = Min(timeout, UNCERTAIN_INTERVAL);
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	if (storing > stored)
	{
		stored = storing;
		goes_progressed();
	}
	return timeout;
}

/* LISTEN goes, which wakes up a dispatcher that has nothing to do. */
static void
listen_to_commits(void)
{
	StartTransactionCommand();
	Async_Listen("goes");
	CommitTransactionCommand();
}

static void
connect_to_database(void)
{
	BackgroundWorkerInitializeConnectionByOid(goes_my_worker->database,
											  InvalidOid, 0);
	/* A flush is all that it takes: not a standby that may be away */
	SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed",
					PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off",
					PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog, pg_temp",
					PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", "goes dispatcher",
					PGC_SUSET, PGC_S_OVERRIDE);
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * goes_dispatcher_main
 *		Main function of a dispatcher; arg is the number of its entry.
 */
void
goes_dispatcher_main(Datum arg)
{
	MemoryContext round_context;
	TimestampTz active_at;

	goes_worker_start(GOES_DISPATCHER, arg);
	connect_to_database();
	listen_to_commits();
	owner_context = AllocSetContextCreate(TopMemoryContext, "goes owners",
										  ALLOCSET_DEFAULT_SIZES);
	round_context = AllocSetContextCreate(TopMemoryContext, "goes dispatcher",
										  ALLOCSET_DEFAULT_SIZES);
	active_at = GetCurrentTimestamp();
	for (;;)
	{
		long		timeout;
		bool		asleep;

		MemoryContextSwitchTo(round_context);
		MemoryContextReset(round_context);
		CHECK_FOR_INTERRUPTS();
		(void) goes_worker_reload();
		ProcessNotifyInterrupt(false);
		goes_worker_fall_asleep();
		timeout = work();
		pgstat_report_stat(true);
		asleep = TimestampDifferenceExceeds(active_at, GetCurrentTimestamp(), AWAKE_TIME);
		if (!asleep)
			timeout = Min(timeout, AWAKE_TIME);
		pg_atomic_write_u32(&goes_my_worker->asleep, asleep);
		if (goes_worker_sleep(timeout))
			active_at = GetCurrentTimestamp();
		pg_atomic_write_u32(&goes_my_worker->asleep, 0);
	}
}
