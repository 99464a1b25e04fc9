/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  What the background workers have in common.
 *
 * Whoever orders a worker reserves its entry in shared memory; the worker
 * takes it over when it starts, and its end frees it, so that at any time the
 * entries tell which workers there are or will be.  After a crash all memory
 * is new, and a worker of before finds its entry gone.
 *
 * Going to sleep takes two steps, so that no wake-up is lost: a worker says
 * that it sleeps, looks for work once more, and only then waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "reactor.h"
#include "registry.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "uuid.h"
#include "worker.h"

/* A runner that has been there for that long, in ms, may have to make room */
#define FAIR_TIME 1000

/* And if it does not for that long, in ms, after the time that its call has, ends */
#define STUBBORN_TIME 5000

/* While others want its place, a call has the usual time, or its own up to this */
#define LONGEST_CALL 600000

/*
 * A worker looks for work at most so often, in microseconds; and if it saw many
 * events the last time
 */
#define MIN_APART 1000
#define GATHER_TIME 20000
#define MANY_EVENTS 8

GoesWorker *goes_my_worker = NULL;

static void handle_terminate(SIGNAL_ARGS);

static const struct
{
	const char *type;
	const char *main;
}			kinds[] = {
	{"goes launcher", "goes_launcher_main"},
	{"goes dispatcher", "goes_dispatcher_main"},
	{"goes runner", "goes_runner_main"}
};

/* goes_worker_type: what pg_stat_activity calls it. */
const char *
goes_worker_type(GoesWorkerKind kind)
{
	return kinds[kind].type;
}

/* ---------------------------------------------------------------------------
 * Entries
 * ---------------------------------------------------------------------------
 */

/* Take a free entry; NULL: there is none.  The caller has the lock. */
static GoesWorker *
reserve(GoesWorkerKind kind, Oid database, Oid role)
{
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);

		if (worker->in_use)
			continue;
		worker->kind = kind;
		worker->database = database;
		worker->role = role;
		worker->pid = 0;
		worker->since = GetCurrentTimestamp();
		worker->serial++;
		worker->leave = false;
		worker->ended = false;
		worker->connected = false;
		worker->position = 0;
		worker->timeout = 0;
		pg_atomic_write_u32(&worker->sleeping, 0);
		pg_atomic_write_u32(&worker->asleep, 0);
		pg_atomic_write_u64(&worker->wanted, 0);
		pg_atomic_write_u64(&worker->loaded, 0);
		pg_atomic_write_u64(&worker->seen, 0);
		pg_atomic_write_u64(&worker->due_at, 0);
		pg_atomic_write_u64(&worker->busy_since, worker->since);
		worker->in_use = true;
		return worker;
	}
	return NULL;
}

/*
 * goes_worker_give_up
 *		Free the entry of a worker that was ordered, but could not start.
 */
void
goes_worker_give_up(GoesWorker *worker, uint32 serial)
{
	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	if (worker->in_use && worker->serial == serial && worker->pid == 0)
		worker->in_use = false;
	LWLockRelease(goes_shared->lock);
}

static BackgroundWorker
describe(GoesWorkerKind kind, Oid database, Oid role)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART
	};

	strlcpy(worker.bgw_library_name, "goes", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, kinds[kind].main, BGW_MAXLEN);
	strlcpy(worker.bgw_type, kinds[kind].type, BGW_MAXLEN);
	if (kind == GOES_LAUNCHER)
		strlcpy(worker.bgw_name, kinds[kind].type, BGW_MAXLEN);
	else if (kind == GOES_DISPATCHER)
		snprintf(worker.bgw_name, BGW_MAXLEN, "%s for database %u",
				 kinds[kind].type, database);
	else
		snprintf(worker.bgw_name, BGW_MAXLEN, "%s for role %u in database %u",
				 kinds[kind].type, role, database);
	return worker;
}

/*
 * goes_worker_order
 *		Order a worker for a database (and a role).  Returns its entry with the
 *		serial number that it has now, and a handle; NULL if all background
 *		workers of the server are taken.
 */
GoesWorker *
goes_worker_order(GoesWorkerKind kind, Oid database, Oid role, uint32 *serial,
				  BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker = describe(kind, database, role);
	GoesWorker *entry;

	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	entry = reserve(kind, database, role);
	*serial = entry != NULL ? entry->serial : 0;
	LWLockRelease(goes_shared->lock);
	if (entry == NULL)
		return NULL;
	worker.bgw_main_arg = Int32GetDatum((int32) (entry - goes_worker_entry(0)));
	memcpy(worker.bgw_extra, serial, sizeof(*serial));
	worker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&worker, handle))
		return entry;
	goes_worker_give_up(entry, *serial);
	return NULL;
}

/* May the runner be asked to leave?  One that is idle, or has had its turn. */
static bool
may_leave(const GoesWorker *worker, TimestampTz busy_since)
{
	return busy_since == 0 ||
		TimestampDifferenceExceeds(worker->since, GetCurrentTimestamp(), FAIR_TIME);
}

/* One that does not leave ends in the middle of the call. */
static void
end_stubborn(GoesWorker *worker)
{
	int64		patience = Max(goes_timeout, Min(worker->timeout, LONGEST_CALL));

	if (worker->ended ||
		!TimestampDifferenceExceeds(worker->leave_at, GetCurrentTimestamp(),
									Min(patience + STUBBORN_TIME, PG_INT32_MAX)))
		return;
	worker->ended = true;
	kill(worker->pid, SIGTERM);
}

/*
 * goes_worker_make_room
 *		Let a runner of a database (InvalidOid: of any) leave that is not for
 *		that role: one that is idle, or has worked for a while.  False if there
 *		is none.  Its dispatcher starts another one when there is work.
 */
bool
goes_worker_make_room(Oid database, Oid role)
{
	GoesWorker *chosen = NULL;
	TimestampTz chosen_since = 0;
	bool		leaves = false;
	bool		idle_leaves = false;

	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);
		TimestampTz since = pg_atomic_read_u64(&worker->busy_since);

		if (!worker->in_use || worker->kind != GOES_RUNNER || worker->pid == 0 ||
			(OidIsValid(database) && worker->database != database) ||
			(worker->role == role && worker->database == MyDatabaseId))
			continue;
		if (worker->leave)
		{
			end_stubborn(worker);
			leaves = true;
			idle_leaves |= since == 0;
		}
		else if (may_leave(worker, since) && (chosen == NULL || since < chosen_since))
		{
			chosen = worker;
			chosen_since = since;
		}
	}
	/* One is about to leave already; but one that is idle will do so at once */
	if (leaves && (idle_leaves || chosen_since != 0))
		chosen = NULL;
	if (chosen != NULL)
	{
		chosen->leave = true;
		chosen->leave_at = GetCurrentTimestamp();
		SetLatch(&ProcGlobal->allProcs[chosen->procno].procLatch);
	}
	LWLockRelease(goes_shared->lock);
	return leaves || chosen != NULL;
}

/* goes_register_launcher: let the postmaster start it, and start it again. */
void
goes_register_launcher(void)
{
	BackgroundWorker worker = describe(GOES_LAUNCHER, InvalidOid, InvalidOid);

	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/* goes_database_is_held: must it be without workers now?  Needs the lock. */
bool
goes_database_is_held(Oid database)
{
	for (int i = 0; i < goes_shared->nslots; i++)
	{
		if (goes_shared->slots[i].held == database && OidIsValid(database))
			return true;
	}
	return false;
}

/* Has the call taken longer than it may? */
static bool
is_overdue(const GoesWorker *worker)
{
	return TimestampDifferenceExceeds(worker->called_at, GetCurrentTimestamp(),
									  (int) Min(worker->timeout, PG_INT32_MAX));
}

/*
 * A runner ends in the middle of a call: the reactor may be to blame, so that
 * counts as a failed attempt.  Needs the lock.
 */
static void
note_casualty(void)
{
	GoesCasualty *casualties = goes_shared->casualties;

	/* Who is asked to leave cannot help it, unless he would not */
	if (goes_my_worker->position == 0 ||
		(goes_my_worker->leave &&
		 !(goes_my_worker->ended && is_overdue(goes_my_worker))))
		return;
	if (goes_shared->ncasualties == GOES_MAX_CASUALTIES)
		memmove(&casualties[0], &casualties[1],
				--goes_shared->ncasualties * sizeof(GoesCasualty));
	casualties += goes_shared->ncasualties++;
	casualties->database = goes_my_worker->database;
	casualties->reactor = goes_my_worker->reactor;
	casualties->position = goes_my_worker->position;
}

/*
 * goes_take_casualty
 *		Did a runner end while it called that reactor for the event at that
 *		position?  True only once.
 */
bool
goes_take_casualty(const pg_uuid_t *reactor, int64 position)
{
	bool		found = false;

	if (goes_shared->ncasualties == 0)
		return false;
	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < goes_shared->ncasualties && !found; i++)
	{
		GoesCasualty *casualty = &goes_shared->casualties[i];

		found = casualty->database == MyDatabaseId &&
			casualty->position == position &&
			goes_uuid_equal(&casualty->reactor, reactor);
		if (found)
			memmove(casualty, casualty + 1,
					(--goes_shared->ncasualties - i) * sizeof(GoesCasualty));
	}
	LWLockRelease(goes_shared->lock);
	return found;
}

/* The process ends: free its entry, and tell who may want to start another. */
static void
end_worker(int code, Datum arg)
{
	GoesWorkerKind kind = goes_my_worker->kind;
	Oid			database = goes_my_worker->database;

	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	note_casualty();
	goes_my_worker->in_use = false;
	goes_my_worker->database = InvalidOid;
	goes_my_worker->pid = 0;
	pg_atomic_write_u32(&goes_my_worker->sleeping, 0);
	goes_my_worker = NULL;
	LWLockRelease(goes_shared->lock);
	if (kind == GOES_RUNNER)
		pg_atomic_fetch_add_u64(&goes_shared->exits, 1);
	if (kind == GOES_RUNNER)
		goes_wake_database(database);
	if (kind == GOES_DISPATCHER)
		goes_wake_launcher();
}

/* Take over the entry that was reserved, if it still is and may be used. */
static GoesWorker *
take_over(GoesWorkerKind kind, Datum arg)
{
	GoesWorker *worker;
	uint32		serial;

	if (kind == GOES_LAUNCHER)
		return reserve(kind, InvalidOid, InvalidOid);
	if (DatumGetInt32(arg) >= goes_shared->nworkers)
		return NULL;
	worker = goes_worker_entry(DatumGetInt32(arg));
	memcpy(&serial, MyBgworkerEntry->bgw_extra, sizeof(serial));
	if (!worker->in_use || worker->kind != kind || worker->serial != serial ||
		worker->pid != 0)
		return NULL;
	if (goes_database_is_held(worker->database))
	{
		worker->in_use = false;
		return NULL;
	}
	return worker;
}

/*
 * goes_worker_start
 *		Begin the life of a worker, before it connects.  arg is that of its main
 *		function.  A worker that nobody wants any more ends here.
 */
void
goes_worker_start(GoesWorkerKind kind, Datum arg)
{
	pqsignal(SIGTERM, handle_terminate);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (!goes_preloaded())
		proc_exit(0);

	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	goes_my_worker = take_over(kind, arg);
	if (goes_my_worker != NULL)
	{
		goes_my_worker->procno = goes_my_procno();
		goes_my_worker->since = GetCurrentTimestamp();
		goes_my_worker->pid = MyProcPid;
	}
	LWLockRelease(goes_shared->lock);
	/* The launcher has an entry of its own; without one it tries again later */
	if (goes_my_worker == NULL)
		proc_exit(kind == GOES_LAUNCHER ? 1 : 0);
	on_shmem_exit(end_worker, (Datum) 0);
}

/* ---------------------------------------------------------------------------
 * The end
 * ---------------------------------------------------------------------------
 */

/* Whether this worker does nothing, so that its end is nothing to tell of */
static volatile sig_atomic_t resting = false;

/* SIGTERM: from the server that shuts down, who drops the database, a user. */
static void
handle_terminate(SIGNAL_ARGS)
{
	if (!resting)
		die(postgres_signal_arg);
	else
	{
		ShutdownRequestPending = true;
		SetLatch(MyLatch);
	}
}

/* ---------------------------------------------------------------------------
 * Transactions
 * ---------------------------------------------------------------------------
 */

/*
 * goes_worker_begin
 *		Start a transaction in which the extension cannot be dropped.  Returns
 *		false, without a transaction, if it is not there, or not the one that it
 *		was when this worker started.
 */
bool
goes_worker_begin(void)
{
	static Oid	extension = InvalidOid;
	static uint64 checked = 0;
	MemoryContext context = CurrentMemoryContext;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(TopTransactionContext);
	if (!OidIsValid(extension))
		extension = get_extension_oid("goes", true);
	if (OidIsValid(extension))
	{
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
		if (checked == goes_registry_generation() ||
			get_extension_oid("goes", true) == extension)
		{
			checked = goes_registry_generation();
			return true;
		}
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return false;
}

/* ---------------------------------------------------------------------------
 * Sleep
 * ---------------------------------------------------------------------------
 */

/*
 * goes_worker_reload
 *		Read the configuration again if that was asked for; returns whether.
 */
bool
goes_worker_reload(void)
{
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

/*
 * goes_worker_fall_asleep
 *		Say that this worker sleeps.  It must look for work once more before
 *		goes_worker_sleep, or call goes_worker_stay_awake.
 */
void
goes_worker_fall_asleep(void)
{
	pg_atomic_exchange_u32(&goes_my_worker->sleeping, 1);
}

/* goes_worker_stay_awake: there is work after all. */
void
goes_worker_stay_awake(void)
{
	pg_atomic_write_u32(&goes_my_worker->sleeping, 0);
}

/* Has the horizon moved far between the last two looks? */
static bool busy = false;

/*
 * goes_worker_saw
 *		The horizon is there by now.  Returns whether the database is busy: it has
 *		moved far since the last time.
 */
bool
goes_worker_saw(int64 horizon)
{
	static int64 last = 0;

	busy = horizon - last >= MANY_EVENTS;
	last = horizon;
	return busy;
}

/* From here on there is nothing to do, and to be terminated is nothing to tell of. */
static void
begin_rest(void)
{
	pgstat_report_activity(STATE_IDLE, NULL);
	pg_atomic_write_u64(&goes_my_worker->busy_since, 0);
	resting = true;
	CHECK_FOR_INTERRUPTS();
}

static void
end_rest(void)
{
	resting = false;
	/* Only a launcher that failed is started again */
	if (ShutdownRequestPending)
		proc_exit(goes_my_worker->kind == GOES_LAUNCHER ? 1 : 0);
	pg_atomic_write_u64(&goes_my_worker->busy_since, GetCurrentTimestamp());
	CHECK_FOR_INTERRUPTS();
}

/*
 * goes_worker_pace
 *		Wait until some time has passed since the last call: on a busy database
 *		there is always something new, and to look each time costs everybody more
 *		than to let it gather.  Nobody wakes up a worker that is not asleep, so it
 *		must look for work afterwards.
 */
void
goes_worker_pace(void)
{
	static TimestampTz last = 0;
	int64		apart = busy ? GATHER_TIME : MIN_APART;
	TimestampTz elapsed = GetCurrentTimestamp() - last;

	goes_worker_stay_awake();
	if (elapsed >= 0 && elapsed < apart)
	{
		begin_rest();
		pg_usleep(apart - elapsed);
		end_rest();
	}
	last = GetCurrentTimestamp();
}

/*
 * goes_worker_sleep
 *		Sleep until somebody wakes this worker, or has since it fell asleep, or
 *		for that many milliseconds (-1: without limit).  Returns whether it was
 *		woken up.
 */
bool
goes_worker_sleep(long timeout)
{
	int			events;

	begin_rest();
	/* Another wait of ours may have taken the wake-up that was meant for this */
	if (pg_atomic_read_u32(&goes_my_worker->sleeping) == 0)
		SetLatch(MyLatch);
	events = WaitLatch(MyLatch,
					   WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
					   (timeout >= 0 ? WL_TIMEOUT : 0),
					   timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	end_rest();
	goes_worker_stay_awake();
	if (events & WL_LATCH_SET)
		goes_worker_pace();
	return (events & WL_LATCH_SET) != 0;
}
