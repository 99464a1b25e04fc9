/*-------------------------------------------------------------------------
 *
 * counters.c
 *	  How often commands were called, and how that went: view
 *	  goes_stat_commands.
 *
 * A session counts in its own memory and adds that to the shared counters at
 * the end of a transaction, but not more often than once a second, and when the
 * session ends.  What was rolled back counts too.  An idle session that has
 * something left is woken up for it.
 *
 * One lock protects the shared counters.  Whoever executes commands does not
 * wait for it: if it is taken, he adds his counts the next time.
 *
 * A command is known by the id of its row in the registry.  Nobody looks for
 * the counters of one that is not registered any more, so they need not be
 * removed: if there is no room for a command, the one to which nothing was
 * added for the longest time loses its counters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "compat.h"
#include "counters.h"
#include "errors.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "registry.h"
#include "shared.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/sinval.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "uuid.h"

#define TRANCHE "goes_counters"

/* How many commands of all databases the shared memory has room for */
#define MAX_COMMANDS 5000

/* How many a session counts before it adds them at once */
#define MAX_PENDING 64

/* A session adds its counts that often, in ms */
#define FLUSH_INTERVAL 1000

typedef struct Counters
{
	int64		calls;
	int64		rejected;
	int64		failed;
	double		time;			/* in ms */
} Counters;

/* What a session has not added yet */
typedef struct Pending
{
	pg_uuid_t	command;
	Counters	counters;
} Pending;

/* A command; hash key */
typedef struct Key
{
	Oid			database;
	pg_uuid_t	command;
} Key;

StaticAssertDecl(sizeof(Key) == sizeof(Oid) + UUID_LEN, "a key has no gaps");

/* Entry of the shared hash */
typedef struct Entry
{
	Key			key;
	TimestampTz added_at;		/* when something was added last */
	Counters	counters;
} Entry;

static LWLock *lock = NULL;
static HTAB *commands = NULL;

static Pending pending[MAX_PENDING];
static int	npending = 0;
static TimestampTz flushed_at = 0;
static bool registered = false;
static TimeoutId idle_timeout;

/* ---------------------------------------------------------------------------
 * The shared counters
 * ---------------------------------------------------------------------------
 */

/* goes_counters_request: ask for the memory and its lock, before it exists. */
void
goes_counters_request(void)
{
	RequestAddinShmemSpace(hash_estimate_size(MAX_COMMANDS, sizeof(Entry)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

/* goes_counters_start: find or make it, with AddinShmemInitLock. */
void
goes_counters_start(void)
{
	HASHCTL		info = {
		.keysize = sizeof(Key),
		.entrysize = sizeof(Entry)
	};

	lock = &GetNamedLWLockTranche(TRANCHE)->lock;
	commands = ShmemInitHash("goes commands", MAX_COMMANDS, MAX_COMMANDS, &info,
							 HASH_ELEM | HASH_BLOBS);
}

/* Remove the command to which nothing was added for the longest time. */
static void
make_room(void)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;
	Entry	   *oldest = NULL;

	hash_seq_init(&status, commands);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (oldest == NULL || entry->added_at < oldest->added_at)
			oldest = entry;
	}
	hash_search(commands, &oldest->key, HASH_REMOVE, NULL);
}

/* Add what was counted for one command.  The caller has the lock. */
static void
add(const Pending *counted, TimestampTz now)
{
	Key			key = {.database = MyDatabaseId,.command = counted->command};
	Entry	   *entry = hash_search(commands, &key, HASH_FIND, NULL);

	if (entry == NULL)
	{
		if (hash_get_num_entries(commands) >= MAX_COMMANDS)
			make_room();
		entry = hash_search(commands, &key, HASH_ENTER, NULL);
		memset(&entry->counters, 0, sizeof(Counters));
	}
	entry->added_at = now;
	entry->counters.calls += counted->counters.calls;
	entry->counters.rejected += counted->counters.rejected;
	entry->counters.failed += counted->counters.failed;
	entry->counters.time += counted->counters.time;
}

/* Add all that this session has counted.  The caller has the lock. */
static void
flush_locked(TimestampTz now)
{
	for (int i = 0; i < npending; i++)
		add(&pending[i], now);
	npending = 0;
	flushed_at = now;
	if (MyBackendType == B_BACKEND && get_timeout_active(idle_timeout))
		disable_timeout(idle_timeout, false);
}

/* goes_counters_flush: add what this session has counted, now. */
void
goes_counters_flush(void)
{
	if (npending == 0)
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	flush_locked(GetCurrentTimestamp());
	LWLockRelease(lock);
}

/* goes_counters_forget_database: it is dropped. */
void
goes_counters_forget_database(Oid database)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	hash_seq_init(&status, commands);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.database == database)
			hash_search(commands, &entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(lock);
}

/* ---------------------------------------------------------------------------
 * Counting
 * ---------------------------------------------------------------------------
 */

/* The counters of a command in this session; mostly it is the last one again. */
static Counters *
find_pending(const pg_uuid_t *command)
{
	for (int i = npending - 1; i >= 0; i--)
	{
		if (goes_uuid_equal(&pending[i].command, command))
			return &pending[i].counters;
	}
	if (npending == MAX_PENDING)
		goes_counters_flush();
	memset(&pending[npending], 0, sizeof(Pending));
	pending[npending].command = *command;
	return &pending[npending++].counters;
}

static Counters *
count_call(const GoesExecution *execution)
{
	Counters   *counters = find_pending(&execution->command_type->id);
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, execution->started);
	counters->calls++;
	counters->time += INSTR_TIME_GET_MILLISEC(elapsed);
	return counters;
}

/* The session ends: what it was executing has failed. */
static void
end_session(int code, Datum arg)
{
	const GoesExecution *execution = goes_current_execution();

	for (; execution != NULL; execution = execution->outer)
	{
		if (execution->command_type != NULL)
			count_call(execution)->failed++;
	}
	goes_counters_flush();
}

/* What is to be done once in a process that counts. */
static void
register_session(void)
{
	before_shmem_exit(end_session, (Datum) 0);
	/* An interrupt after which an idle session runs an empty transaction */
	if (MyBackendType == B_BACKEND)
		idle_timeout = RegisterTimeout(USER_TIMEOUT, HandleCatchupInterrupt);
	registered = true;
}

/*
 * goes_count_begin
 *		A command begins: its time counts from now on, and it counts even if the
 *		session ends with it.
 */
void
goes_count_begin(GoesExecution *execution)
{
	if (!registered && goes_preloaded())
		register_session();
	INSTR_TIME_SET_CURRENT(execution->started);
}

/*
 * goes_count_end
 *		Count a command that was found and has ended, if not at its last stage
 *		then by the error that is being handled.  Never raises.
 */
void
goes_count_end(const GoesExecution *execution)
{
	Counters   *counters;

	if (execution->command_type == NULL || !registered)
		return;
	counters = count_call(execution);
	if (execution->stage == GOES_STAGE_DONE)
		return;
	if (geterrcode() == ERRCODE_GOES_REJECTED)
		counters->rejected++;
	else
		counters->failed++;
}

/* Wake up this session if it is idle by then. */
static void
flush_later(void)
{
	if (MyBackendType == B_BACKEND && !get_timeout_active(idle_timeout))
		enable_timeout_after(idle_timeout, FLUSH_INTERVAL);
}

static void
transaction_ends(XactEvent event, void *arg)
{
	TimestampTz now;

	if (npending == 0 ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	now = GetCurrentTransactionStopTimestamp();
	if (TimestampDifferenceExceeds(flushed_at, now, FLUSH_INTERVAL) &&
		LWLockConditionalAcquire(lock, LW_EXCLUSIVE))
	{
		flush_locked(now);
		LWLockRelease(lock);
	}
	else
		flush_later();
}

/* goes_counters_init: to be called once in a process, from _PG_init. */
void
goes_counters_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
}

/* ---------------------------------------------------------------------------
 * goes_stat_commands
 * ---------------------------------------------------------------------------
 */

/* The columns of the view, in their order */
enum
{
	COLUMN_COMMAND,
	COLUMN_CALLS,
	COLUMN_REJECTED,
	COLUMN_FAILED,
	COLUMN_TOTAL_TIME,
	COLUMN_MEAN_TIME,
	COLUMN_COUNT
};

/* What has been counted for a command of this database */
static Counters
read_counters(const pg_uuid_t *command)
{
	Key			key = {.database = MyDatabaseId,.command = *command};
	Counters	counters = {0};
	Entry	   *entry;

	LWLockAcquire(lock, LW_SHARED);
	entry = hash_search(commands, &key, HASH_FIND, NULL);
	if (entry != NULL)
		counters = entry->counters;
	LWLockRelease(lock);
	return counters;
}

static void
put_command(ReturnSetInfo *result, Datum name, const pg_uuid_t *command)
{
	Counters	counters = read_counters(command);
	Datum		values[COLUMN_COUNT];
	bool		nulls[COLUMN_COUNT] = {false};

	values[COLUMN_COMMAND] = name;
	values[COLUMN_CALLS] = Int64GetDatum(counters.calls);
	values[COLUMN_REJECTED] = Int64GetDatum(counters.rejected);
	values[COLUMN_FAILED] = Int64GetDatum(counters.failed);
	values[COLUMN_TOTAL_TIME] = Float8GetDatum(counters.time);
	nulls[COLUMN_MEAN_TIME] = counters.calls == 0;
	if (counters.calls > 0)
		values[COLUMN_MEAN_TIME] = Float8GetDatum(counters.time / counters.calls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(goes_stat_commands);

/*
 * goes.stat_commands()
 *		The rows of view goes_stat_commands: the registered commands of the types
 *		that the user owns, or all if he has the rights of pg_monitor.  Errors:
 *		55000 without the preload.
 */
Datum
goes_stat_commands(PG_FUNCTION_ARGS)
{
	bool		monitor = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	uint64		nrows;

	goes_require_preload();
	goes_counters_flush();
	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	nrows = goes_registry_execute("SELECT pg_catalog.concat(t.type, '.', c.command), c.id, t.relation::pg_catalog.oid"
								  " FROM goes.command_types c JOIN goes.aggregate_types t"
								  " ON t.type OPERATOR(pg_catalog.=) c.aggregate_type"
								  " ORDER BY t.type COLLATE pg_catalog.\"C\", c.command COLLATE pg_catalog.\"C\"",
								  0, NULL, NULL, NULL);
	for (uint64 i = 0; i < nrows; i++)
	{
		Datum		values[3];
		bool		nulls[3];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
		if (monitor || goes_owns_relation(DatumGetObjectId(values[2]), GetUserId()))
			put_command((ReturnSetInfo *) fcinfo->resultinfo, values[0],
						DatumGetUUIDP(values[1]));
	}
	SPI_finish();
	return (Datum) 0;
}
