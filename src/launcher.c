/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The one background worker of the server that starts dispatchers.
 *
 * It is connected to no database, so that it never blocks DROP DATABASE.  For
 * the same reason it cannot see which databases have goes: it starts a
 * dispatcher in each, which ends at once where there is nothing to do.
 *
 * What it knows of a database, and what changes that:
 *
 *	due			no dispatcher; one is ordered when its time has come
 *	staffed		a dispatcher is ordered or runs
 *	absent		its last dispatcher found no extension, and ended
 *
 *	due -> staffed		at its time, if there is room
 *	staffed -> due		the dispatcher has ended; at once if it ran for a while or
 *						somebody told meanwhile that there may be goes, else
 *						after a pause that grows
 *	staffed -> absent	the same, after the dispatcher told that there is no goes
 *	absent -> due		somebody told that there may be goes now
 *
 * All of it is in this process's memory.  A launcher that is started again
 * finds in shared memory which databases are staffed, and takes all others for
 * due.  Nobody else orders dispatchers, so a database never has two of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "compat.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "shared.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "worker.h"

extern PGDLLEXPORT void goes_launcher_main(Datum arg);

/* All times in ms */

/* It looks at the list of databases without a reason after that long */
#define HEARTBEAT 60000

/* A dispatcher that ran for that long is started again without a pause */
#define LONG_RUN 10000
#define FIRST_PAUSE 1000
#define LONGEST_PAUSE 10000

/* A dispatcher that ran for that long has found goes */
#define PROBE_TIME 1000

/* So many dispatchers at a time that have not: each is a new connection */
#define MAX_PROBES 2

/* While all background workers of the server are taken, it tries that often */
#define RETRY_INTERVAL 5000

/* A worker that has not started after that long never will */
#define START_TIMEOUT 60000

/* A database that has, or may have, goes; or does not, then we remember that */
typedef struct Database
{
	Oid			oid;			/* the key */
	NameData	name;
	bool		listed;			/* it is there, and takes connections */
	bool		absent;
	bool		claimed;		/* we heard that it may have goes, since its last
								 * dispatcher was ordered: that one may have
								 * looked too early */
	TimestampTz due;			/* no dispatcher before that */
	int			pause;			/* that was before its last dispatcher */

	bool		staffed;
	bool		proven;			/* its dispatcher has found goes */
	pid_t		pid;			/* of its dispatcher, 0: only ordered */
	TimestampTz since;			/* when it was ordered, then when it started */
	BackgroundWorkerHandle *handle; /* of it; NULL: another launcher ordered it */
} Database;

/* What shared memory tells, at one moment */
typedef struct View
{
	GoesWorker *workers;
	int			nnews;
	bool		news_lost;
	GoesNews	news[GOES_MAX_NEWS];
} View;

static HTAB *databases = NULL;
static MemoryContext handle_context = NULL;

/* When to look at the list of databases again, whatever happens */
static TimestampTz list_due = 0;

/* Not to order before that, as there was no room in the server */
static TimestampTz retry_due = 0;
static bool told_no_room = false;

static TimestampTz
later(TimestampTz time, int ms)
{
	return TimestampTzPlusMilliseconds(time, ms);
}

/* The entry of a database, which is made if there is none. */
static Database *
get_database(Oid oid)
{
	bool		found;
	Database   *database = hash_search(databases, &oid, HASH_ENTER, &found);

	if (!found)
	{
		memset(database, 0, sizeof(Database));
		database->oid = oid;
	}
	return database;
}

/* ---------------------------------------------------------------------------
 * What has happened
 * ---------------------------------------------------------------------------
 */

/*
 * Take the news, and see which workers there are, both at the same moment: so
 * what a dispatcher told is known when it is found to have ended.
 */
static View *
take_view(void)
{
	View	   *view = palloc(sizeof(View));
	Size		size = mul_size(goes_shared->nworkers, sizeof(GoesWorker));

	view->workers = palloc(size);
	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	memcpy(view->workers, goes_worker_entry(0), size);
	memcpy(view->news, goes_shared->news, sizeof(view->news));
	view->nnews = goes_shared->nnews;
	view->news_lost = goes_shared->news_lost;
	goes_shared->nnews = 0;
	goes_shared->news_lost = false;
	LWLockRelease(goes_shared->lock);
	return view;
}

/* Will a worker that was ordered never start? */
static bool
cannot_start(const GoesWorker *worker, const Database *database,
			 TimestampTz now)
{
	pid_t		pid;

	if (database != NULL && database->handle != NULL)
		return GetBackgroundWorkerPid(database->handle, &pid) == BGWH_STOPPED;
	/* Whoever ordered it may have died */
	return TimestampDifferenceExceeds(worker->since, now, START_TIMEOUT);
}

/* See which databases have dispatchers; free what cannot start, of any kind. */
static void
note_workers(const View *view, TimestampTz now)
{
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		const GoesWorker *worker = &view->workers[i];
		Database   *database = NULL;

		if (!worker->in_use || worker->kind == GOES_LAUNCHER)
			continue;
		if (worker->kind == GOES_DISPATCHER)
			database = get_database(worker->database);
		if (worker->pid == 0 && cannot_start(worker, database, now))
		{
			goes_worker_give_up(goes_worker_entry(i), worker->serial);
			continue;
		}
		if (database == NULL)
			continue;
		database->staffed = true;
		database->proven = worker->connected;
		database->pid = worker->pid;
		database->since = worker->since;
	}
}

/*
 * Its dispatcher has ended, or never began: when may it have another?  One that
 * ended after a claim did not end for the reason that is claimed to be gone.
 */
static void
note_end(Database *database, TimestampTz now)
{
	if (database->claimed ||
		(database->pid != 0 &&
		 TimestampDifferenceExceeds(database->since, now, LONG_RUN)))
		database->pause = 0;
	else if (database->pause == 0)
		database->pause = FIRST_PAUSE;
	else
		database->pause = Min(database->pause * 2, LONGEST_PAUSE);
	database->due = later(now, database->pause);
	if (database->handle != NULL)
		pfree(database->handle);
	database->handle = NULL;
}

/* Compare with what was known which databases have dispatchers. */
static void
compare_workers(const View *view, TimestampTz now)
{
	HASH_SEQ_STATUS status;
	Database   *database;
	List	   *before = NIL;
	ListCell   *cell;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
	{
		if (database->staffed)
			before = lappend(before, database);
		database->staffed = false;
	}
	note_workers(view, now);
	foreach(cell, before)
	{
		database = lfirst(cell);
		if (!database->staffed)
			note_end(database, now);
	}
}

/* The database may have goes: look at once. */
static void
claim(Database *database)
{
	database->absent = false;
	database->claimed = true;
	database->pause = 0;
	database->due = 0;
}

static void
note_news(const View *view)
{
	for (int i = 0; i < view->nnews; i++)
	{
		Database   *database = get_database(view->news[i].database);

		if (!view->news[i].absent)
			claim(database);
		else if (!database->claimed)
			database->absent = true;
		list_due = 0;
	}
}

/* There were news that nobody can tell: they may be of any database. */
static void
note_lost_news(void)
{
	HASH_SEQ_STATUS status;
	Database   *database;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
		claim(database);
	list_due = 0;
}

/*
 * See what has happened.  Must not wait for anything but LWLocks: other waits
 * use the latch, and would swallow a wake-up that is meant to end our sleep.
 */
static void
look(TimestampTz now)
{
	View	   *view = take_view();

	compare_workers(view, now);
	note_news(view);
	if (view->news_lost)
		note_lost_news();
}

/* ---------------------------------------------------------------------------
 * What to do
 * ---------------------------------------------------------------------------
 */

/* Has its dispatcher not proven yet that the database has goes? */
static bool
is_probe(const Database *database, TimestampTz now)
{
	return database->staffed && !database->proven &&
		(database->pid == 0 ||
		 !TimestampDifferenceExceeds(database->since, now, PROBE_TIME));
}

/* When there is something to do, if nothing happens before. */
static TimestampTz
next_work(TimestampTz now)
{
	TimestampTz due = DT_NOEND;
	TimestampTz room = DT_NOEND;
	int			nprobes = 0;
	HASH_SEQ_STATUS status;
	Database   *database;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
	{
		if (is_probe(database, now))
		{
			nprobes++;
			/* Nobody need tell us that one starts which another launcher ordered */
			room = Min(room, later(database->pid == 0 ? now : database->since,
								   PROBE_TIME));
		}
		else if (!database->staffed && !database->absent)
			due = Min(due, database->due);
	}
	if (nprobes >= MAX_PROBES)
		due = Max(due, room);
	due = Max(due, retry_due);
	return Min(due, list_due);
}

/* A row of pg_database: may the database have a dispatcher? */
static void
note_row(Form_pg_database row)
{
	Database   *database;

	if (!row->datallowconn || row->datistemplate ||
		row->datconnlimit == DATCONNLIMIT_INVALID_DB)
		return;
	database = get_database(row->oid);
	database->name = row->datname;
	database->listed = true;
}

static void
read_databases(void)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		note_row((Form_pg_database) GETSTRUCT(tuple));
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(oldcontext);
}

/* Bring the list of databases up to date, and forget those that are gone. */
static void
list_databases(TimestampTz now)
{
	HASH_SEQ_STATUS status;
	Database   *database;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
		database->listed = false;
	read_databases();
	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
	{
		if (!database->listed && !database->staffed)
			hash_search(databases, &database->oid, HASH_REMOVE, NULL);
	}
	list_due = later(now, HEARTBEAT);
}

static bool
is_held(Oid database)
{
	bool		held;

	LWLockAcquire(goes_shared->lock, LW_SHARED);
	held = goes_database_is_held(database);
	LWLockRelease(goes_shared->lock);
	return held;
}

static void
warn_no_room(const Database *database)
{
	if (!told_no_room)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start the goes dispatcher of database \"%s\"",
						NameStr(database->name)),
				 errdetail("All background workers of the server are taken."),
				 errhint("Consider increasing the configuration parameter \"max_worker_processes\".")));
	told_no_room = true;
}

/* Order a dispatcher; false: there is no room in the server. */
static bool
order(Database *database, TimestampTz now)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(handle_context);
	uint32		serial;
	GoesWorker *worker = goes_worker_order(GOES_DISPATCHER, database->oid,
										   InvalidOid, &serial, &database->handle);

	MemoryContextSwitchTo(oldcontext);
	if (worker == NULL)
	{
		warn_no_room(database);
		(void) goes_worker_make_room(InvalidOid, InvalidOid);
		retry_due = later(now, RETRY_INTERVAL);
		return false;
	}
	told_no_room = false;
	database->claimed = false;
	database->staffed = true;
	database->pid = 0;
	database->since = now;
	return true;
}

/* Those whose time has come, in the current memory context. */
static List *
due_databases(TimestampTz now, int *nprobes)
{
	List	   *due = NIL;
	HASH_SEQ_STATUS status;
	Database   *database;

	*nprobes = 0;
	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
	{
		if (is_probe(database, now))
			(*nprobes)++;
		else if (database->listed && !database->staffed &&
				 !database->absent && database->due <= now)
			due = lappend(due, database);
	}
	return due;
}

/* Order dispatchers where it is time, as many as there is room for. */
static void
order_dispatchers(TimestampTz now)
{
	int			nprobes;
	List	   *due = due_databases(now, &nprobes);
	ListCell   *cell;

	if (due == NIL)
		told_no_room = false;
	if (now < retry_due)
		return;
	foreach(cell, due)
	{
		Database   *database = lfirst(cell);

		if (nprobes >= MAX_PROBES)
			break;
		/* Who holds it tells us when that is over */
		if (is_held(database->oid))
		{
			database->due = later(now, HEARTBEAT);
			continue;
		}
		if (!order(database, now))
			break;
		nprobes++;
	}
}

/* ---------------------------------------------------------------------------
 * The process
 * ---------------------------------------------------------------------------
 */

static void
initialize(void)
{
	HASHCTL		control = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(Database),
	};

	handle_context = AllocSetContextCreate(TopMemoryContext,
										   "goes launcher: handles",
										   ALLOCSET_SMALL_SIZES);
	databases = hash_create("goes launcher: databases", 64, &control,
							HASH_ELEM | HASH_BLOBS);
	/* An earlier launcher may have taken news that make these outdated */
	look(GetCurrentTimestamp());
	note_lost_news();
}

/*
 * One round.  Says that we sleep before it looks, so that whatever happens
 * after the look ends the sleep.
 */
static void
run_once(void)
{
	TimestampTz now;
	TimestampTz next;

	(void) goes_worker_reload();
	goes_worker_fall_asleep();
	now = GetCurrentTimestamp();
	look(now);
	next = next_work(now);
	if (next > now)
	{
		(void) goes_worker_sleep(TimestampDifferenceMilliseconds(now, next));
		return;
	}
	goes_worker_stay_awake();
	list_databases(now);
	order_dispatchers(now);
}

/* goes_launcher_main: runs until it is told to end. */
void
goes_launcher_main(Datum arg)
{
	MemoryContext context;

	goes_worker_start(GOES_LAUNCHER, arg);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "goes launcher: one round",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	initialize();
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(context);
		run_once();
	}
}
