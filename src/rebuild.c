/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *	  All aggregates of a type recomputed, while commands go on: goes_rebuild.
 *
 * The procedure commits as it goes, and notes in goes.rebuilds what is left to
 * do.  If it is interrupted, the next call goes on from there, provided that
 * the model has not changed; otherwise, or when the model changes meanwhile, it
 * starts over.
 *
 * A command that was under way when the rebuild started may still store a state
 * that was calculated by an older model.  So the rebuild waits for the
 * transactions that were using the aggregate table then: shortly at first, and
 * if that does not do, at the end, when it replays all that was written since.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "cursor.h"
#include "executor/spi.h"
#include "failure.h"
#include "fingerprint.h"
#include "miscadmin.h"
#include "model.h"
#include "optimizer/plancat.h"
#include "reactor.h"
#include "rebuild.h"
#include "relation.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The most processes that one may ask for */
#define MAX_PARALLELISM 1024

/* How long to wait for open transactions before the work, in ms */
#define FIRST_WAIT 1000

/* How often to tell how far the rebuild is, in ms */
#define TELL_INTERVAL 10000

/* Age of a transaction id from which on it says nothing any more */
#define MAX_AGE 1000000000

/* One call of the procedure */
typedef struct Call
{
	char	   *type;
	int			batch_size;
	int			parallelism;
	MemoryContext context;		/* of the call, then of a try */
	LOCKTAG		lock;			/* keeps others from rebuilding the type */
	dsm_segment *segment;
	GoesRebuild *rebuild;		/* there */
	GoesRepair *repair;
	GoesUnfinished *unfinished; /* while it starts */
	int64		since;			/* see GoesUnfinished */
	bool		goes_on;		/* with a rebuild that was interrupted */
	VirtualTransactionId *before;	/* transactions that may use an older model */
	int			nbefore;
	struct GoesCrew *crew;
} Call;

/* ---------------------------------------------------------------------------
 * Telling
 * ---------------------------------------------------------------------------
 */

/*
 * goes_rebuild_progress
 *		How many events a rebuild that is running has read, of about how many, and
 *		how many a second.
 */
void
goes_rebuild_progress(GoesRebuild *rebuild, int64 *done, int64 *total, double *rate)
{
	double		seconds = (GetCurrentTimestamp() - rebuild->called_at) / 1000000.0;

	*done = pg_atomic_read_u64(&rebuild->done);
	/* The total is a guess */
	*total = Max(*done, (int64) pg_atomic_read_u64(&rebuild->total));
	*rate = seconds > 0 ? *done / seconds : 0;
}

/*
 * goes_rebuild_tell
 *		To be called now and then: tells the client how far the rebuild is, and
 *		raises the error of a worker.  Workers themselves have nobody to tell.
 */
void
goes_rebuild_tell(GoesRepair *repair)
{
	GoesRebuild *rebuild = repair->rebuild;
	TimestampTz now = GetCurrentTimestamp();
	int64		done;
	int64		total;
	double		rate;

	if (!repair->leader)
		return;
	goes_crew_check(rebuild);
	if (!TimestampDifferenceExceeds(repair->told_at, now, TELL_INTERVAL))
		return;
	repair->told_at = now;
	goes_rebuild_progress(rebuild, &done, &total, &rate);
	ereport(NOTICE,
			(errmsg("rebuild of aggregate type \"%s\": " INT64_FORMAT " of about " INT64_FORMAT " events, %.0f a second, " UINT64_FORMAT " aggregates changed",
					rebuild->type, done, total, rate,
					pg_atomic_read_u64(&rebuild->changed))));
}

/* ---------------------------------------------------------------------------
 * Preparation
 * ---------------------------------------------------------------------------
 */

static void
check_not_atomic(FunctionCallInfo fcinfo)
{
	const CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic ||
		IsSubTransaction())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot run inside a transaction block", "goes_rebuild"),
				 errdetail("It commits each batch."),
				 errhint("CALL it outside of BEGIN and of functions.")));
	PreventCommandIfReadOnly("goes_rebuild");
}

static int
positive_arg(FunctionCallInfo fcinfo, int n, const char *name, int most)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	if (PG_GETARG_INT32(n) < 1 || PG_GETARG_INT32(n) > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d", name, most)));
	return PG_GETARG_INT32(n);
}

/* The lock belongs to the session: it stays over commits, and ends with an error. */
static void
lock_type(Call *call)
{
	GoesAggregateType *type = goes_own_type(call->type);

	/* Not the lock on the table itself */
	SET_LOCKTAG_OBJECT(call->lock, MyDatabaseId, RelationRelationId,
					   type->relation, 1);
	if (LockAcquire(&call->lock, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("aggregate type \"%s\" is being rebuilt already", call->type),
				 errhint("See goes_stat_progress_rebuild."),
				 goes_errtable(type->relation)));
}

/* About how many events a type has. */
static double
estimate_events(Oid events)
{
	double		sum = 0;
	ListCell   *cell;

	foreach(cell, goes_leaf_tables(events))
	{
		Relation	leaf = try_table_open(lfirst_oid(cell), AccessShareLock);
		BlockNumber pages;
		double		tuples = 0;
		double		visible;

		if (leaf == NULL)
			continue;
		if (RELKIND_HAS_STORAGE(leaf->rd_rel->relkind))
			estimate_rel_size(leaf, NULL, &pages, &tuples, &visible);
		table_close(leaf, AccessShareLock);
		sum += tuples;
	}
	return sum;
}

/* ---------------------------------------------------------------------------
 * Shared memory
 * ---------------------------------------------------------------------------
 */

static void
fill_parts(GoesRebuild *rebuild, const GoesUnfinished *unfinished)
{
	ListCell   *cell;

	foreach(cell, unfinished->parts)
	{
		const GoesPart *part = lfirst(cell);
		GoesSharedPart *shared = &rebuild->parts[rebuild->nparts++];

		shared->part = *part;
		pg_atomic_init_u32(&shared->state, part->from < part->to ?
						   GOES_PART_OPEN : GOES_PART_DONE);
	}
}

static void
fill(Call *call, Size settings)
{
	GoesRebuild *rebuild = call->rebuild;
	const GoesUnfinished *unfinished = call->unfinished;

	rebuild->database = MyDatabaseId;
	rebuild->role = GetUserId();
	rebuild->pid = MyProcPid;
	strlcpy(rebuild->type, call->type, sizeof(rebuild->type));
	rebuild->started_at = unfinished->started_at;
	rebuild->called_at = GetCurrentTimestamp();
	rebuild->fingerprint = unfinished->fingerprint;
	rebuild->batch_size = call->batch_size;
	rebuild->memory = Max(maintenance_work_mem / call->parallelism, 64);
	rebuild->settings = settings;
	pg_atomic_init_u32(&rebuild->phase, GOES_PHASE_STARTING);
	pg_atomic_init_u32(&rebuild->outdated, 0);
	pg_atomic_init_u32(&rebuild->processes, 1);
	pg_atomic_init_u64(&rebuild->total, 0);
	pg_atomic_init_u64(&rebuild->done, 0);
	pg_atomic_init_u64(&rebuild->aggregates, 0);
	pg_atomic_init_u64(&rebuild->changed, 0);
	pg_atomic_init_u32(&rebuild->failed, 0);
	fill_parts(rebuild, unfinished);
	pg_write_barrier();
	rebuild->magic = GOES_REBUILD_MAGIC;
}

/* Make the shared memory of what is to be done. */
static void
make_segment(Call *call)
{
	List	   *settings = goes_crew_settings();
	Size		size = offsetof(GoesRebuild, parts) +
		list_length(call->unfinished->parts) * sizeof(GoesSharedPart);

	call->segment = dsm_create(add_size(size, goes_crew_settings_size(settings)), 0);
	/* Beyond this transaction; clean_up lets it go */
	dsm_pin_mapping(call->segment);
	call->rebuild = dsm_segment_address(call->segment);
	memset(call->rebuild, 0, size);
	fill(call, size);
	goes_crew_write_settings(call->rebuild, settings);
}

static void
drop_segment(Call *call)
{
	if (call->segment != NULL)
		dsm_detach(call->segment);
	call->segment = NULL;
	call->rebuild = NULL;
}

/* ---------------------------------------------------------------------------
 * Start
 * ---------------------------------------------------------------------------
 */

static int64
current_xmin(void)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId xmin = GetActiveSnapshot()->xmin;

	return U64FromFullTransactionId(next) -
		(uint32) (XidFromFullTransactionId(next) - xmin);
}

/* Begin a new rebuild, or go on with one that was interrupted. */
static void
choose_start(Call *call, uint64 fingerprint)
{
	GoesUnfinished *unfinished = goes_parts_read(call->type);

	call->goes_on = unfinished != NULL && unfinished->fingerprint == fingerprint;
	if (call->goes_on)
	{
		ereport(NOTICE,
				(errmsg("going on with the rebuild of aggregate type \"%s\" that was interrupted",
						call->type),
				 errdetail("Still to be done: %.0f %%.",
						   100.0 * goes_parts_left(unfinished) / GOES_HASH_END)));
		goes_parts_split(unfinished, call->parallelism);
	}
	else
	{
		if (unfinished != NULL)
			ereport(NOTICE,
					(errmsg("starting the rebuild of aggregate type \"%s\" over", call->type),
					 errdetail("Its model has changed since.")));
		unfinished = palloc0(sizeof(GoesUnfinished));
		unfinished->fingerprint = fingerprint;
		unfinished->started_at = GetCurrentTimestamp();
		unfinished->since = current_xmin();
		goes_failures_forget(call->type);
		goes_parts_create(unfinished, call->parallelism);
	}
	call->unfinished = unfinished;
}

/*
 * The first transaction: what is to be done, for all to know.  Those whose
 * transactions are using the table may be using an older model than this.
 */
static void
start(Call *call)
{
	GoesTables	tables;
	MemoryContext oldcontext;

	SPI_connect();
	goes_repair_open_tables(&tables, call->type, AccessShareLock);
	choose_start(call, goes_fingerprint(tables.type, tables.aggregate));
	make_segment(call);
	call->unfinished->progress = dsm_segment_handle(call->segment);
	goes_parts_write(call->type, call->unfinished);
	pg_atomic_write_u64(&call->rebuild->total,
						estimate_events(tables.type->events) *
						goes_parts_left(call->unfinished) / GOES_HASH_END);
	call->since = call->unfinished->since;
	oldcontext = MemoryContextSwitchTo(call->context);
	call->repair = goes_repair_create(call->rebuild, true);
	MemoryContextSwitchTo(oldcontext);
	goes_close_tables(&tables);
	PopActiveSnapshot();
	SPI_finish();
	goes_repair_next_transaction();
}

/* ---------------------------------------------------------------------------
 * Open transactions
 * ---------------------------------------------------------------------------
 */

/*
 * Those that write the table, each of which may use an older model.  The lock
 * that commands take tells, and is not taken by VACUUM.  A prepared transaction
 * has no pid.
 */
static void
find_open_transactions(Call *call)
{
	static const Oid argtype = OIDOID;
	Datum		arg = ObjectIdGetDatum(goes_get_aggregate_type(call->type)->relation);

	SPI_connect();
	if (SPI_execute_with_args("SELECT virtualtransaction FROM pg_catalog.pg_locks"
							  " WHERE locktype OPERATOR(pg_catalog.=) 'relation'"
							  " AND mode OPERATOR(pg_catalog.=) 'RowExclusiveLock' AND granted"
							  " AND relation OPERATOR(pg_catalog.=) $1"
							  " AND database OPERATOR(pg_catalog.=) (SELECT oid FROM pg_catalog.pg_database"
							  " WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
							  " AND coalesce(pid, 0) OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()",
							  1, unconstify(Oid *, &argtype), &arg, NULL,
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the locks");
	call->before = MemoryContextAlloc(call->context, Max(1, SPI_processed) *
									  sizeof(VirtualTransactionId));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *text = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		int			process;
		uint32		transaction;

		/* One that has just ended, but still has its locks, is not valid */
		if (sscanf(text, "%d/%u", &process, &transaction) == 2 &&
			LocalTransactionIdIsValid((LocalTransactionId) transaction))
			call->before[call->nbefore++] = goes_virtual_transaction(process, transaction);
	}
	SPI_finish();
}

/* Forget those that have ended. */
static void
forget_ended(Call *call)
{
	int			kept = 0;

	for (int i = 0; i < call->nbefore; i++)
	{
		if (!VirtualXactLock(call->before[i], false))
			call->before[kept++] = call->before[i];
	}
	call->nbefore = kept;
}

/* No transaction that is open may be using an older model any more: note that. */
static void
settle_since(Call *call)
{
	call->since = 0;
	if (goes_repair_begin(call->repair, AccessShareLock))
		goes_parts_settle(call->type);
	goes_repair_commit(call->repair);
}

/*
 * Wait shortly for the transactions that may be using an older model.  Those of
 * a rebuild that was interrupted may have ended long ago, but after it read what
 * they have written.
 */
static void
wait_at_first(Call *call)
{
	TimestampTz begun = GetCurrentTimestamp();

	call->nbefore = 0;
	if (call->since == 0)
		return;
	find_open_transactions(call);
	if (call->goes_on)
		return;
	for (forget_ended(call); call->nbefore > 0; forget_ended(call))
	{
		if (TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), FIRST_WAIT))
			return;
		pg_usleep(1000L);
		CHECK_FOR_INTERRUPTS();
	}
	settle_since(call);
}

static bool
put_off_rows(void *arg, const GoesRows *rows)
{
	const Call *call = arg;
	Datum	   *ids = palloc(rows->count * sizeof(Datum));

	for (int i = 0; i < rows->count; i++)
	{
		bool		isnull;

		ids[i] = heap_getattr(rows->rows[i], 1, rows->desc, &isnull);
	}
	goes_failures_put_off(call->type, ids, rows->count);
	pfree(ids);
	return true;
}

/* Put off all aggregates that were written by the transactions since then. */
static void
put_off_written(Call *call)
{
	static const Oid argtype = XIDOID;
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	bool		old = next - (uint64) call->since > MAX_AGE;
	Datum		arg = TransactionIdGetDatum((TransactionId) call->since);

	if (goes_repair_begin(call->repair, AccessShareLock))
		goes_rows_each(psprintf("SELECT id FROM %s%s",
								goes_relation_name(call->repair->tables.type->relation),
								old ? "" : " WHERE pg_catalog.age(xmin) OPERATOR(pg_catalog.<=) pg_catalog.age($1)"),
					   old ? 0 : 1, &argtype, &arg, NULL, true, NULL, put_off_rows, call);
	goes_repair_commit(call->repair);
}

/* Wait for the transactions that may be using an older model, and look again. */
static void
wait_at_last(Call *call)
{
	if (call->since == 0)
		return;
	pg_atomic_write_u32(&call->rebuild->phase, GOES_PHASE_STARTING);
	forget_ended(call);
	if (call->nbefore > 0)
		ereport(NOTICE,
				(errmsg("waiting for transactions that were using aggregate type \"%s\" when its rebuild started",
						call->type)));
	for (int i = 0; i < call->nbefore; i++)
		(void) VirtualXactLock(call->before[i], true);
	call->nbefore = 0;
	put_off_written(call);
	settle_since(call);
}

/* ---------------------------------------------------------------------------
 * The work
 * ---------------------------------------------------------------------------
 */

/* What is still taken when the workers have ended was left by one that died. */
static void
reopen_parts(GoesRebuild *rebuild)
{
	for (int i = 0; i < rebuild->nparts; i++)
	{
		if (pg_atomic_read_u32(&rebuild->parts[i].state) == GOES_PART_TAKEN)
			pg_atomic_write_u32(&rebuild->parts[i].state, GOES_PART_OPEN);
	}
}

static void
wait_for_crew(Call *call)
{
	pg_atomic_write_u32(&call->rebuild->phase, GOES_PHASE_WORKERS);
	while (goes_crew_is_working(call->crew))
	{
		goes_crew_wait(1000L);
		goes_rebuild_tell(call->repair);
	}
	goes_crew_check(call->rebuild);
}

static void
start_crew(Call *call)
{
	const char *hint;
	MemoryContext oldcontext = MemoryContextSwitchTo(call->context);
	int			size = goes_connect_problem(GetUserId(), &hint) == NULL ?
		call->parallelism - 1 : 0;

	call->crew = goes_crew_start(call->rebuild, dsm_segment_handle(call->segment), size);
	MemoryContextSwitchTo(oldcontext);
}

static void
work(Call *call)
{
	wait_at_first(call);
	start_crew(call);
	goes_repair_parts(call->repair);
	wait_for_crew(call);
	reopen_parts(call->rebuild);
	goes_repair_parts(call->repair);
	if (pg_atomic_read_u32(&call->rebuild->outdated) != 0)
		return;
	wait_at_last(call);
	goes_repair_put_off(call->repair);
}

/* The end of work, good or bad. */
static void
clean_up(int code, Datum arg)
{
	Call	   *call = (Call *) DatumGetPointer(arg);

	if (call->crew != NULL)
		goes_crew_dismiss(call->crew);
	call->crew = NULL;
	drop_segment(call);
}

/* ---------------------------------------------------------------------------
 * The end
 * ---------------------------------------------------------------------------
 */

static void
report_result(const Call *call, int64 failed, int64 no_events)
{
	GoesRebuild *rebuild = call->rebuild;

	ereport(NOTICE,
			(errmsg("aggregate type \"%s\" is rebuilt: " UINT64_FORMAT " aggregates, " UINT64_FORMAT " changed",
					call->type, pg_atomic_read_u64(&rebuild->aggregates),
					pg_atomic_read_u64(&rebuild->changed))));
	if (failed > 0 || no_events > 0)
		ereport(WARNING,
				(errmsg("not all aggregates of type \"%s\" could be rebuilt", call->type),
				 errdetail("Aggregates that failed: " INT64_FORMAT ", rows without events: " INT64_FORMAT ".",
						   failed, no_events),
				 errhint("See goes_rebuild_failures.")));
}

/* Is it done?  Then it is forgotten; if the model has changed, it is not. */
static bool
finish(Call *call)
{
	bool		finished = goes_repair_begin(call->repair, AccessShareLock);

	if (finished)
	{
		int64		failed;
		int64		no_events;

		goes_parts_forget(call->type);
		goes_failures_count(call->type, &failed, &no_events);
		report_result(call, failed, no_events);
	}
	goes_repair_commit(call->repair);
	return finished;
}

static bool
try_to_rebuild(Call *call)
{
	MemoryContext parent = call->context;
	bool		finished;

	call->context = AllocSetContextCreate(parent, "goes rebuild", ALLOCSET_DEFAULT_SIZES);
	PG_ENSURE_ERROR_CLEANUP(clean_up, PointerGetDatum(call));
	{
		start(call);
		work(call);
		finished = finish(call);
	}
	PG_END_ENSURE_ERROR_CLEANUP(clean_up, PointerGetDatum(call));
	clean_up(0, PointerGetDatum(call));
	/* It may start over many times */
	MemoryContextDelete(call->context);
	call->context = parent;
	return finished;
}

PG_FUNCTION_INFO_V1(goes_rebuild);

/*
 * goes_rebuild(aggregate_type text, batch_size integer, parallelism integer)
 *		Recompute all aggregates of a type from their events, and write the rows
 *		that differ, that many in a transaction, with that many processes.  What
 *		fails is in goes_rebuild_failures.  Errors: 22004, 22023, 25001, 25006,
 *		55006, OG008, 42501.
 */
Datum
goes_rebuild(PG_FUNCTION_ARGS)
{
	Call		call = {0};

	check_not_atomic(fcinfo);
	call.type = goes_text_arg(fcinfo, 0, "aggregate_type");
	call.batch_size = positive_arg(fcinfo, 1, "batch_size", PG_INT32_MAX);
	call.parallelism = positive_arg(fcinfo, 2, "parallelism", MAX_PARALLELISM);
	lock_type(&call);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	call.context = CurrentMemoryContext;
	call.type = pstrdup(call.type);
	goes_repair_next_transaction();
	while (!try_to_rebuild(&call))
		CHECK_FOR_INTERRUPTS();
	SPI_finish();
	LockRelease(&call.lock, ExclusiveLock, true);
	PG_RETURN_VOID();
}
