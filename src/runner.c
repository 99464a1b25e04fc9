/*-------------------------------------------------------------------------
 *
 * runner.c
 *	  The background worker that runs the async reactors of one owner.
 *
 * It is connected as the owner, so that nothing a reactor does can have other
 * rights.  Its tasks are the parts of the owner's reactors, among which it goes
 * around, a batch each; several runners of one owner share them by locking
 * what they work on.  It sleeps when no task has anything to do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "counters.h"
#include "delivery.h"
#include "executor/spi.h"
#include "horizon.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "registry.h"
#include "storage/ipc.h"
#include "shared.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

extern PGDLLEXPORT void goes_runner_main(Datum arg);

/* It stores how far it has looked when it was idle for that long, in ms */
#define PERSIST_DELAY 100

/* It looks around without a reason after that long, in ms */
#define HEARTBEAT 60000

/* It looks again after that long, in ms, if the horizon is not certain */
#define UNCERTAIN_INTERVAL 5

/* It looks that often, in ms, whether all parts have come to a barrier */
#define BARRIER_INTERVAL 50

/* One that is not the only one of its owner, who may have no reactor any more,
 * ends when it was idle that long */
#define SPARE_TIME 10000

static MemoryContext task_context = NULL;
static List *tasks = NIL;

/* What the tasks were loaded from */
static uint64 loaded_changes = 0;
static uint64 loaded_exits = 0;
static uint64 loaded_generation = 0;
static bool outdated = true;

/* Whether the last round has left tasks out */
static bool skipped = false;

/* ---------------------------------------------------------------------------
 * The session
 * ---------------------------------------------------------------------------
 */

/* Settings that a role or database may have, but a runner must not. */
static void
fix_settings(void)
{
	static const char *const fixed[][2] = {
		{"application_name", "goes runner"},
		{"role", "none"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"goes.async", "background"},
		{"transaction_timeout", "0"}
	};

	for (int i = 0; i < goes_lengthof(fixed); i++)
	{
		if (GetConfigOption(fixed[i][0], true, false) != NULL)
			SetConfigOption(fixed[i][0], fixed[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}
}

/* ---------------------------------------------------------------------------
 * Tasks
 * ---------------------------------------------------------------------------
 */

static void
forget_tasks(void)
{
	ListCell   *cell;

	foreach(cell, tasks)
		goes_task_free(lfirst(cell));
	tasks = NIL;
	MemoryContextReset(task_context);
}

static void
add_tasks(const GoesReactor *reactor, Oid owner)
{
	int			parts = goes_progress_parts(&reactor->id);

	for (int part = 0; part < parts; part++)
	{
		GoesTask   *task = goes_task_create(task_context, reactor, owner, part);
		MemoryContext oldcontext;

		if (task == NULL)
			continue;
		oldcontext = MemoryContextSwitchTo(task_context);
		tasks = lappend(tasks, task);
		MemoryContextSwitchTo(oldcontext);
	}
}

/* Read from the registry what this runner has to do. */
static void
load_tasks(void)
{
	Oid			owner = goes_my_worker->role;
	ListCell   *cell;

	forget_tasks();
	outdated = false;
	loaded_changes = pg_atomic_read_u64(&goes_shared->changes);
	loaded_exits = pg_atomic_read_u64(&goes_shared->exits);
	/* What it has done by what it knew before says nothing any more */
	pg_atomic_exchange_u64(&goes_my_worker->seen, 0);
	pg_atomic_exchange_u64(&goes_my_worker->due_at, 0);
	pg_atomic_exchange_u64(&goes_my_worker->loaded, loaded_changes);
	AcceptInvalidationMessages();
	loaded_generation = goes_registry_generation();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, goes_reactors_read())
	{
		GoesReactor *reactor = lfirst(cell);

		if (reactor->mode == GOES_ASYNC && reactor->active && !reactor->paused &&
			goes_reactor_owner(reactor) == owner)
			add_tasks(reactor, owner);
	}
	PopActiveSnapshot();
	SPI_finish();
}

/* Must they be read again? */
static bool
tasks_outdated(void)
{
	return outdated || loaded_generation != goes_registry_generation() ||
		loaded_changes != pg_atomic_read_u64(&goes_shared->changes) ||
		loaded_exits != pg_atomic_read_u64(&goes_shared->exits);
}

/*
 * Read the horizon, and then what is outdated: what was registered before an
 * event at or below the horizon must be known.  The end if the extension is
 * gone, or the owner may not connect any more.
 */
static int64
look_around(void)
{
	MemoryContext context = CurrentMemoryContext;
	int64		horizon;
	const char *hint;

	if (!goes_worker_begin())
		proc_exit(0);
	horizon = goes_horizon_live();
	AcceptInvalidationMessages();
	if (goes_connect_problem(goes_my_worker->role, &hint) != NULL)
		proc_exit(0);
	if (tasks_outdated())
		load_tasks();
	CommitTransactionCommand();
	/* Left in that which lives as long as the process, batches would stay for ever */
	MemoryContextSwitchTo(context);
	return horizon;
}

/* Go around once; false if there was nothing to do. */
static bool
work_on_tasks(int64 horizon)
{
	static int	first = 0;
	int			ntasks = list_length(tasks);
	bool		worked = false;

	skipped = false;
	first++;
	for (int i = 0; i < ntasks && !outdated; i++)
	{
		GoesTask   *task = list_nth(tasks, (first + i) % ntasks);
		GoesDelivered delivered;

		CHECK_FOR_INTERRUPTS();
		if (goes_my_worker->leave || goes_is_being_restored())
		{
			skipped = true;
			break;
		}
		if (goes_task_is_idle(task, horizon))
			continue;
		delivered = goes_task_deliver(task, horizon);
		worked |= delivered == GOES_DELIVERED_SOME;
		outdated |= delivered == GOES_DELIVERED_CHANGED;
	}
	return worked;
}

/* Does somebody wait for a position that is not stored yet? */
static bool
is_waited_for(const GoesTask *task)
{
	GoesWorker *dispatcher = goes_find_dispatcher(MyDatabaseId);

	return dispatcher != NULL &&
		(int64) pg_atomic_read_u64(&dispatcher->wanted) > task->progress.checkpoint;
}

/* Store how far the tasks have looked: those that are waited for, or all. */
static void
persist_tasks(bool all)
{
	ListCell   *cell;

	foreach(cell, tasks)
	{
		if (all || is_waited_for(lfirst(cell)))
			outdated |= goes_task_persist(lfirst(cell)) == GOES_DELIVERED_CHANGED;
	}
}

static bool
anything_to_persist(void)
{
	ListCell   *cell;

	foreach(cell, tasks)
	{
		GoesTask   *task = lfirst(cell);

		if (task->scanned > task->progress.checkpoint)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------------------
 * Sleep
 * ---------------------------------------------------------------------------
 */

/* How long there is nothing to do, in milliseconds. */
static long
time_to_sleep(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = HEARTBEAT;
	ListCell   *cell;

	foreach(cell, tasks)
	{
		GoesTask   *task = lfirst(cell);
		TimestampTz due = Max(task->next_due, task->not_before);

		timeout = Min(timeout, TimestampDifferenceMilliseconds(now, due));
		/* Other parts are about to come there */
		if (task->progress.barrier != GOES_NO_BARRIER)
			timeout = Min(timeout, BARRIER_INTERVAL);
	}
	return timeout;
}

/* Is there another runner of the same owner? */
static bool
is_spare(void)
{
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);

		if (worker != goes_my_worker && worker->in_use &&
			worker->kind == GOES_RUNNER && worker->pid != 0 && !worker->leave &&
			worker->database == goes_my_worker->database &&
			worker->role == goes_my_worker->role)
			return true;
	}
	return false;
}

/* Sleep until there may be something to do. */
static void
rest(TimestampTz idle_since)
{
	/* The end of a restore wakes us up */
	long		timeout = goes_is_being_restored() ? HEARTBEAT : time_to_sleep();

	pg_atomic_write_u64(&goes_my_worker->due_at,
						TimestampTzPlusMilliseconds(idle_since, timeout));
	if (!goes_horizon_is_certain())
		timeout = Min(timeout, UNCERTAIN_INTERVAL);
	if (anything_to_persist())
		timeout = Min(timeout, PERSIST_DELAY);
	if (is_spare() || tasks == NIL)
		timeout = Min(timeout, SPARE_TIME);
	if (goes_worker_sleep(timeout))
		return;
	if (TimestampDifferenceExceeds(idle_since, GetCurrentTimestamp(), PERSIST_DELAY))
		persist_tasks(true);
	/* Whoever ends last stays: two that end at once are started again */
	if (TimestampDifferenceExceeds(idle_since, GetCurrentTimestamp(), SPARE_TIME) &&
		(is_spare() || tasks == NIL))
		proc_exit(0);
}

/* Has all been delivered up to there? */
static bool
is_caught_up(int64 horizon)
{
	ListCell   *cell;

	foreach(cell, tasks)
	{
		if (!goes_task_is_idle(lfirst(cell), horizon))
			return false;
	}
	return true;
}

/* Work as long as there is something to do. */
static void
work(MemoryContext round_context)
{
	bool		worked;
	bool		busy;
	int64		horizon;

	do
	{
		MemoryContextSwitchTo(round_context);
		MemoryContextReset(round_context);
		CHECK_FOR_INTERRUPTS();
		/* The tasks have copies of settings */
		outdated |= goes_worker_reload();
		if (goes_my_worker->leave)
		{
			persist_tasks(true);
			proc_exit(0);
		}
		goes_worker_stay_awake();
		/* After this, what wakes us up is seen when we look the next time */
		goes_worker_fall_asleep();
		horizon = look_around();
		busy = goes_worker_saw(horizon);
		worked = work_on_tasks(horizon);
		persist_tasks(false);
		pgstat_report_stat(false);
		if (busy && worked && is_caught_up(horizon))
			goes_worker_pace();
	} while (worked || outdated || goes_my_worker->leave);
	if (!skipped)
		pg_atomic_write_u64(&goes_my_worker->seen, horizon);
	pgstat_report_stat(true);
	goes_counters_flush();
}

/*
 * goes_runner_main
 *		Main function of a runner; arg is the number of its entry.
 */
void
goes_runner_main(Datum arg)
{
	MemoryContext round_context;

	goes_worker_start(GOES_RUNNER, arg);
	BackgroundWorkerInitializeConnectionByOid(goes_my_worker->database,
											  goes_my_worker->role,
											  GOES_WORKER_CONNECT_FLAGS);
	goes_my_worker->connected = true;
	fix_settings();
	task_context = AllocSetContextCreate(TopMemoryContext, "goes tasks",
										 ALLOCSET_DEFAULT_SIZES);
	round_context = AllocSetContextCreate(TopMemoryContext, "goes runner",
										  ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		TimestampTz idle_since;

		work(round_context);
		idle_since = GetCurrentTimestamp();
		rest(idle_since);
	}
}
