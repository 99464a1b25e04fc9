/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  Shared memory: who has taken positions, and the workers.
 *
 * All of it is in the main segment, of a size that is known at start: a slot
 * for each backend and an entry for each background worker that can be.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "compat.h"
#include "counters.h"
#include "horizon.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "transient.h"
#include "utils/resowner.h"

#define TRANCHE "goes"

GoesShared *goes_shared = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

/* What is to be told when this transaction has committed */
static bool workers_changed = false;
static bool launch = false;
static bool progressed = false;
static bool restores = false;

/* ---------------------------------------------------------------------------
 * The memory
 * ---------------------------------------------------------------------------
 */

static Size
shared_size(void)
{
	Size		size = offsetof(GoesShared, slots);

	size = add_size(size, mul_size(MaxBackends, sizeof(GoesSlot)));
	return add_size(size, mul_size(max_worker_processes, sizeof(GoesWorker)));
}

static void
request_memory(void)
{
	if (next_shmem_request != NULL)
		next_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(TRANCHE, 1);
	goes_transient_request();
	goes_counters_request();
}

static void
initialize(GoesShared *shared)
{
	memset(shared, 0, shared_size());
	shared->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
	ConditionVariableInit(&shared->progressed);
	pg_atomic_init_u64(&shared->progress, 0);
	pg_atomic_init_u32(&shared->waiters, 0);
	pg_atomic_init_u64(&shared->changes, 1);
	pg_atomic_init_u64(&shared->exits, 1);
	shared->nslots = MaxBackends;
	shared->nworkers = max_worker_processes;
	for (int i = 0; i < shared->nslots; i++)
		pg_atomic_init_u64(&shared->slots[i].lowest, GOES_POSITION_NONE);
	for (int i = 0; i < shared->nworkers; i++)
	{
		GoesWorker *worker = (GoesWorker *) &shared->slots[shared->nslots] + i;

		pg_atomic_init_u32(&worker->sleeping, 0);
		pg_atomic_init_u32(&worker->asleep, 0);
		pg_atomic_init_u64(&worker->wanted, 0);
		pg_atomic_init_u64(&worker->loaded, 0);
		pg_atomic_init_u64(&worker->seen, 0);
		pg_atomic_init_u64(&worker->due_at, 0);
		pg_atomic_init_u64(&worker->busy_since, 0);
	}
}

static void
start_memory(void)
{
	bool		found;

	if (next_shmem_startup != NULL)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	goes_shared = ShmemInitStruct("goes", shared_size(), &found);
	if (!found)
		initialize(goes_shared);
	goes_transient_start();
	goes_counters_start();
	LWLockRelease(AddinShmemInitLock);
}

/* goes_preloaded: is there shared memory, and with it what happens after commit? */
bool
goes_preloaded(void)
{
	return goes_shared != NULL;
}

/* goes_require_preload: raise 55000 if there is not. */
void
goes_require_preload(void)
{
	if (!goes_preloaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("goes is not preloaded"),
				 errhint("Add goes to shared_preload_libraries and restart the server.")));
}

/*
 * goes_warn_without_preload
 *		Tell that nothing will happen after commit, unless the server preloads
 *		goes.
 */
void
goes_warn_without_preload(void)
{
	if (!goes_preloaded())
		ereport(WARNING,
				(errmsg("goes is not preloaded: async and outside reactors wait"),
				 errhint("Add goes to shared_preload_libraries and restart the server; nothing is lost until then.")));
}

/* goes_worker_entry: the n-th entry of a worker, from 0. */
GoesWorker *
goes_worker_entry(int n)
{
	return (GoesWorker *) &goes_shared->slots[goes_shared->nslots] + n;
}

/*
 * goes_has_slot
 *		Is this a process with a slot?  Auxiliary processes have none, but release
 *		resources at the end of what looks like a transaction too.
 */
bool
goes_has_slot(void)
{
	return goes_preloaded() && MyProc != NULL &&
		goes_my_procno() < goes_shared->nslots;
}

/* goes_my_slot: that of this backend. */
GoesSlot *
goes_my_slot(void)
{
	Assert(goes_has_slot());
	return &goes_shared->slots[goes_my_procno()];
}

/* ---------------------------------------------------------------------------
 * Waking up
 * ---------------------------------------------------------------------------
 */

/* goes_wake_worker: end its sleep, if it sleeps. */
void
goes_wake_worker(GoesWorker *worker)
{
	if (pg_atomic_read_u32(&worker->sleeping) != 0 &&
		pg_atomic_exchange_u32(&worker->sleeping, 0) != 0)
		SetLatch(&ProcGlobal->allProcs[worker->procno].procLatch);
}

/*
 * goes_wake_database
 *		End the sleep of the workers of a database (InvalidOid: of all).  Takes no
 *		lock: an entry that changes hands meanwhile wakes up its new worker for
 *		nothing, and no worker sleeps before it has looked at what we did before.
 */
void
goes_wake_database(Oid database)
{
	pg_memory_barrier();
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);

		if (worker->kind != GOES_LAUNCHER &&
			(worker->database == database || !OidIsValid(database)))
			goes_wake_worker(worker);
	}
}

/* goes_wake_launcher: let it look for what there is to do. */
void
goes_wake_launcher(void)
{
	pg_memory_barrier();
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);

		if (worker->in_use && worker->kind == GOES_LAUNCHER)
			goes_wake_worker(worker);
	}
}

/* goes_tell_launcher: whether a database has goes, or may have it. */
void
goes_tell_launcher(Oid database, bool absent)
{
	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	if (goes_shared->nnews < GOES_MAX_NEWS)
	{
		GoesNews   *news = &goes_shared->news[goes_shared->nnews++];

		news->database = database;
		news->absent = absent;
	}
	else
		goes_shared->news_lost = true;
	LWLockRelease(goes_shared->lock);
	goes_wake_launcher();
}

/* goes_find_dispatcher: the running one of a database, or NULL.  No lock. */
GoesWorker *
goes_find_dispatcher(Oid database)
{
	static int	last = 0;

	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		int			n = (last + i) % goes_shared->nworkers;
		GoesWorker *worker = goes_worker_entry(n);

		if (worker->in_use && worker->kind == GOES_DISPATCHER &&
			worker->database == database && worker->pid != 0)
		{
			last = n;
			return worker;
		}
	}
	return NULL;
}

/* goes_progressed: end the waiting of goes_wait and goes_fetch, for a look. */
void
goes_progressed(void)
{
	/* A full barrier */
	pg_atomic_fetch_add_u64(&goes_shared->progress, 1);
	if (pg_atomic_read_u32(&goes_shared->waiters) > 0)
		ConditionVariableBroadcast(&goes_shared->progressed);
}

/* ---------------------------------------------------------------------------
 * Restores
 * ---------------------------------------------------------------------------
 */

/* Workers that saw a part of what was restored look at it anew. */
static void
tell_change(void)
{
	pg_atomic_fetch_add_u64(&goes_shared->changes, 1);
	goes_wake_database(MyDatabaseId);
	goes_progressed();
}

static void
end_restore(int code, Datum arg)
{
	goes_my_slot()->restored = InvalidOid;
	tell_change();
}

/*
 * goes_begin_restore
 *		This session loads the registry from a dump: from when this transaction
 *		commits until the session ends, nothing is dispatched in its database, for
 *		tables of which some rows are missing yet must not be read.
 */
void
goes_begin_restore(void)
{
	restores = true;
}

/* It commits what it has loaded. */
static void
hold_dispatch(void)
{
	if (OidIsValid(goes_my_slot()->restored))
		return;
	ereport(LOG,
			(errmsg("goes dispatches nothing in this database until this session ends"),
			 errdetail("The session writes the registry's tables itself, as the restore of a dump does.")));
	before_shmem_exit(end_restore, (Datum) 0);
	goes_my_slot()->restored = MyDatabaseId;
	tell_change();
}

/* goes_is_being_restored: does any session load this database from a dump? */
bool
goes_is_being_restored(void)
{
	for (int i = 0; i < goes_shared->nslots; i++)
	{
		if (goes_shared->slots[i].restored == MyDatabaseId)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------------------
 * At the end of a transaction
 * ---------------------------------------------------------------------------
 */

/*
 * goes_workers_changed
 *		This transaction changes what workers keep in their memory: reactors and
 *		their progress.  They look again when it has committed.
 */
void
goes_workers_changed(void)
{
	workers_changed = true;
}

/* goes_progressed_at_commit: goes_progressed, when this transaction has ended. */
void
goes_progressed_at_commit(void)
{
	progressed = true;
}

/* goes_launch_at_commit: this database has goes, once the transaction commits. */
void
goes_launch_at_commit(void)
{
	launch = true;
}

static void
transaction_commits(XactEvent event, void *arg)
{
	if ((event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) ||
		!goes_preloaded())
		return;
	if (restores)
		hold_dispatch();
	/* The change may be that the extension is dropped */
	if (event == XACT_EVENT_PRE_COMMIT && workers_changed &&
		OidIsValid(get_extension_oid("goes", true)))
		goes_horizon_hold();
}

/*
 * Tell it after invalidations were sent and locks released, so that whoever
 * looks sees the change; and settle the positions after that.
 */
static void
transaction_ended(ResourceReleasePhase phase, bool is_commit, bool is_top_level,
				  void *arg)
{
	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level ||
		!goes_has_slot())
		return;
	/* A rollback, too, ends the wait of a runner for what was locked */
	if (workers_changed)
		tell_change();
	if (is_commit && launch)
		goes_tell_launcher(MyDatabaseId, false);
	if (progressed)
		goes_progressed();
	workers_changed = false;
	restores = false;
	launch = false;
	progressed = false;
	goes_horizon_release();
}

/* goes_shared_init: to be called once in a process, from _PG_init. */
void
goes_shared_init(void)
{
	RegisterResourceReleaseCallback(transaction_ended, NULL);
	RegisterXactCallback(transaction_commits, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_memory;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_memory;
}
