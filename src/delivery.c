/*-------------------------------------------------------------------------
 *
 * delivery.c
 *	  Events are delivered to an async reactor, a batch at a time.
 *
 * A batch is one transaction: the progress of the reactor's part is locked,
 * each event is handed over in a subtransaction, and the new checkpoint is
 * committed with what the reactor did.  What does not commit was not done.
 *
 * Looking for events takes no lock and writes nothing; so a part that gets
 * none of the events that come in only remembers up to where it has looked,
 * and stores that when there is time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "compat.h"
#include "delivery.h"
#include "event.h"
#include "execute.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pending.h"
#include "pgstat.h"
#include "position.h"
#include "registry.h"
#include "relation.h"
#include "scrub.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "transient.h"
#include "upcaster.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "uuid.h"
#include "worker.h"

/* A batch ends after that many milliseconds: others wait for its locks */
#define BATCH_TIME 100

/* The pause after an error of our own, in ms, doubled up to a limit */
#define ERROR_PAUSE 1000
#define LONGEST_ERROR_PAUSE 60000

/* The batch that is being delivered */
typedef struct Batch
{
	GoesTask   *task;
	int64		horizon;
	GoesAdvance advance;
	List	   *blocked;		/* GoesPending: aggregates that wait */
	List	   *settled;		/* int64 *: events whose transient data is done with */
	MemoryContext context;		/* outlives the transaction */
	MemoryContext event_context;	/* of one event */
	TimestampTz started;
	int64		last;			/* position of the last event that was handed over */
	bool		last_was_pending;
	int			count;
	bool		ended;			/* commit now */
	bool		changed;		/* the task is not what it was */
	bool		advanced;		/* advance is stored */
	bool		committing;
} Batch;

/* ---------------------------------------------------------------------------
 * Tasks
 * ---------------------------------------------------------------------------
 */

/*
 * goes_task_create
 *		A part of a reactor that is to be worked on; NULL if there is none such.
 *		Needs a connection to SPI.
 */
GoesTask *
goes_task_create(MemoryContext parent, const GoesReactor *reactor, Oid owner,
				 int part)
{
	GoesProgress progress;
	MemoryContext context;
	MemoryContext oldcontext;
	GoesTask   *task;

	if (!goes_progress_read(&reactor->id, part, &progress))
		return NULL;
	context = AllocSetContextCreate(parent, "goes task", ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(context);
	task = palloc0(sizeof(GoesTask));
	task->context = context;
	task->reactor = *goes_reactor_copy(reactor);
	task->owner = owner;
	task->part = part;
	task->progress = progress;
	task->scanned = progress.checkpoint;
	MemoryContextSwitchTo(oldcontext);
	task->sources = goes_sources_create(context, &task->reactor, owner, part,
										progress.parts);
	task->next_due = goes_pending_next_due(&task->reactor, part, progress.parts);
	return task;
}

/* goes_task_free: outside of any use of it. */
void
goes_task_free(GoesTask *task)
{
	goes_sources_free(task->sources);
	MemoryContextDelete(task->context);
}

/* Up to where the task may go when the horizon is there. */
static int64
goal(const GoesTask *task, int64 horizon)
{
	return Min(horizon, task->progress.barrier);
}

/* goes_task_is_idle: is there certainly nothing to do? */
bool
goes_task_is_idle(const GoesTask *task, int64 horizon)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < task->not_before)
		return true;
	return goal(task, horizon) <= task->scanned && now < task->next_due &&
		task->progress.barrier == GOES_NO_BARRIER;
}

/* ---------------------------------------------------------------------------
 * One event
 * ---------------------------------------------------------------------------
 */

/* What survives even the rollback of a call. */
static void
release_session(void)
{
	LockReleaseSession(USER_LOCKMETHOD);
	DropAllPreparedStatements();
}

/* Are there temporary objects in the session? */
static bool
has_temporary_objects(void)
{
	Oid			namespace;
	Oid			toast_namespace;
	Relation	depend;
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool		found;

	GetTempNamespaceState(&namespace, &toast_namespace);
	if (!OidIsValid(namespace))
		return false;
	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(NamespaceRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(namespace));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return found;
}

/*
 * Undo what a call has changed in the session.  Temporary objects cannot be
 * dropped before the transaction ends, since deferred triggers may be about to
 * look at them: so it ends now.
 */
static void
clean_after_call(Batch *batch, int guc_level)
{
	AtEOXact_GUC(false, guc_level);
	PortalHashTableDeleteAll();
	CommandCounterIncrement();
	if (has_temporary_objects())
		batch->ended = true;
	release_session();
}

/*
 * Undo what the deferred triggers of a batch have changed in the session when
 * it was committed, and drop temporary objects: in a transaction of its own,
 * whose rollback would bring all that back.
 */
static void
clean_after_batch(void)
{
	StartTransactionCommand();
	SetPGVariable("session_authorization", NIL, false);
	SetPGVariable("role", NIL, false);
	ResetAllOptions();
	PortalHashTableDeleteAll();
	PushActiveSnapshot(GetTransactionSnapshot());
	ResetTempTableNamespace();
	PopActiveSnapshot();
	CommitTransactionCommand();
	release_session();
	ResetSequenceCaches();
}

/* Call the reactor; raises whatever it raises. */
static void
call(Batch *batch, const GoesFound *found, Jsonb **transient)
{
	GoesTask   *task = batch->task;
	GoesAggregateType *type;
	GoesEvent  *event;
	int			guc_level;
	GoesRecord	seen;
	GoesRecord *arg = &seen;

	MemoryContextSwitchTo(batch->event_context);
	event = goes_found_event(found);
	event->transient = *transient = goes_transient_find(event->position,
															 &task->reactor.id);
	type = goes_get_aggregate_type(found->source->type);
	seen = goes_event_to_record(goes_upcast_as_owner(type, event), true);
	goes_set_cause(event);
	guc_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	enable_timeout_after(STATEMENT_TIMEOUT, (int) Min(task->reactor.timeout, PG_INT32_MAX));
	(void) goes_function_call_records(task->function, &arg, NULL);
	disable_timeout(STATEMENT_TIMEOUT, false);
	PopActiveSnapshot();
	goes_record_release(&seen);
	clean_after_call(batch, guc_level);
}

static void
tell_what_runs(const GoesTask *task, int64 position)
{
	goes_my_worker->reactor = task->reactor.id;
	goes_my_worker->called_at = GetCurrentTimestamp();
	goes_my_worker->timeout = task->reactor.timeout;
	goes_my_worker->position = position;
}

/* What is kept of an error: its transient data must never reach the disk. */
static GoesFailure
take_failure(const ErrorData *error, Jsonb *transient)
{
	GoesFailure failure = {
		.sqlerrcode = error->sqlerrcode,
		.message = error->message ? goes_scrub(error->message, transient) : ""
	};

	return failure;
}

/* Call that function from now on, by its OID: its name may become another's. */
static void
use_function(GoesTask *task, Oid function)
{
	GoesSignature signature = goes_reactor_signature(GOES_FORM_EVENT, InvalidOid);

	if (task->function_oid == function)
		return;
	task->function_oid = function;
	task->function = goes_function_create_builtin(task->context, function, &signature);
}

/* Is the function that is called still the reactor's, and its owner the same? */
static bool
is_same_function(GoesTask *task)
{
	uint64		generation;

	AcceptInvalidationMessages();
	generation = goes_function_generation();
	if (task->function_generation == generation)
		return true;
	if (goes_reactor_function(&task->reactor) != task->function_oid ||
		goes_reactor_owner(&task->reactor) != task->owner)
		return false;
	task->function_generation = generation;
	return true;
}

/*
 * Has the reactor been renamed, dropped or given away in the middle of the
 * batch?  Then it is not called, nor says it anything that it failed; whoever
 * runs it now tries again.
 */
static bool
has_changed(Batch *batch)
{
	batch->changed = batch->changed || !is_same_function(batch->task);
	batch->ended |= batch->changed;
	return batch->changed;
}

/*
 * Hand one event over in a subtransaction.  Returns false, and what went
 * wrong, if the reactor raised an error, or has changed.
 */
static bool
hand_over(Batch *batch, const GoesFound *found, GoesFailure *failure)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb	   *volatile transient = NULL;
	volatile bool ok = true;

	if (has_changed(batch))
		return false;
	batch->last = found->position;
	batch->count++;
	if (goes_take_casualty(&batch->task->reactor.id, found->position))
	{
		failure->sqlerrcode = ERRCODE_ADMIN_SHUTDOWN;
		failure->message = "the runner ended while the reactor ran";
		/* What follows may end this one too */
		batch->ended = true;
		return false;
	}
	tell_what_runs(batch->task, found->position);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		call(batch, found, (Jsonb **) &transient);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		disable_timeout(STATEMENT_TIMEOUT, false);
		RollbackAndReleaseCurrentSubTransaction();
		release_session();
		MemoryContextSwitchTo(context);
		*failure = take_failure(error, transient);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	MemoryContextReset(batch->event_context);
	CurrentResourceOwner = owner;
	goes_set_cause(NULL);
	/* A timeout that came too late */
	QueryCancelPending = false;
	goes_my_worker->position = 0;
	return ok;
}

static void
remember_settled(Batch *batch, int64 position)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(batch->context);
	int64	   *settled = palloc(sizeof(int64));

	*settled = position;
	batch->settled = lappend(batch->settled, settled);
	MemoryContextSwitchTo(oldcontext);
}

static void
note_failure(Batch *batch, const GoesFailure *failure)
{
	batch->advance.failed++;
	batch->advance.error = failure->message;
}

/* Is it time to commit? */
static bool
is_full(const Batch *batch)
{
	const GoesTask *task = batch->task;

	/* What a reactor appended holds the horizon back */
	if (batch->count == 0)
		return false;
	return batch->ended || goes_position_is_taken() ||
		batch->count >= task->reactor.batch_size ||
		batch->last <= task->alone_to ||
		TimestampDifferenceExceeds(batch->started, GetCurrentTimestamp(), BATCH_TIME);
}

/* ---------------------------------------------------------------------------
 * Events that failed before
 * ---------------------------------------------------------------------------
 */

/* Events that wait behind a settled one: up to the checkpoint. */
static GoesRange
passed_range(const Batch *batch)
{
	GoesRange	range = {
		.after = 0,
		.up_to = batch->advance.checkpoint,
		.imported_to = batch->task->progress.imported_to
	};

	return range;
}

/* A pending event is settled; its aggregate's next one is due. */
static void
settle_pending(Batch *batch, const GoesPending *event)
{
	GoesRange	range = passed_range(batch);

	goes_pending_done(&batch->task->reactor, event);
	goes_pending_advance(&batch->task->reactor, batch->task->sources, 1, event,
						 &range);
}

/* Was the event delivered inside its transaction?  Then that is forgotten. */
static bool
take_inline_delivery(const GoesTask *task, int64 position)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(&task->reactor.id),
		Int64GetDatum(position)
	};

	return goes_registry_execute("DELETE FROM goes.inline_deliveries"
								 " WHERE reactor OPERATOR(pg_catalog.=) $1"
								 " AND position OPERATOR(pg_catalog.=) $2",
								 goes_lengthof(argtypes), argtypes, args, NULL) > 0;
}

static void
retry_event(Batch *batch, const GoesPending *event)
{
	GoesTask   *task = batch->task;
	GoesFound  *found = goes_sources_read_one(task->sources, event->aggregate_type,
											  event->position);
	GoesFailure failure;

	if (found == NULL)
	{
		GoesRange	range = passed_range(batch);

		goes_pending_bury_unseen(&task->reactor, task->sources, event, &range);
	}
	if (found == NULL || take_inline_delivery(task, event->position))
	{
		remember_settled(batch, event->position);
		settle_pending(batch, event);
		return;
	}
	batch->last_was_pending = true;
	batch->advance.retried += event->attempts > 0;
	if (hand_over(batch, found, &failure))
	{
		batch->advance.processed++;
		remember_settled(batch, event->position);
		settle_pending(batch, event);
		return;
	}
	if (has_changed(batch))
		return;
	note_failure(batch, &failure);
	if (goes_pending_fail(&task->reactor, event, &failure) == GOES_FATE_DEAD)
		settle_pending(batch, event);
}

static void
retry_due(Batch *batch)
{
	GoesTask   *task = batch->task;
	GoesPending *due;
	int			count = goes_pending_due(&task->reactor, task->part,
										 task->progress.parts,
										 task->reactor.batch_size, &due);

	for (int i = 0; i < count && !is_full(batch); i++)
		retry_event(batch, &due[i]);
}

/* ---------------------------------------------------------------------------
 * New events
 * ---------------------------------------------------------------------------
 */

static void
deliver_event(Batch *batch, const GoesFound *found)
{
	GoesPending *event;
	GoesFailure failure;

	batch->last_was_pending = false;
	if (hand_over(batch, found, &failure))
	{
		batch->advance.processed++;
		remember_settled(batch, found->position);
		return;
	}
	if (has_changed(batch))
		return;
	note_failure(batch, &failure);
	event = palloc(sizeof(GoesPending));
	*event = goes_pending_of(found, true);
	if (goes_pending_fail(&batch->task->reactor, event, &failure) != GOES_FATE_DEAD)
		batch->blocked = lappend(batch->blocked, event);
}

/* What else there is to know, now that the progress is locked */
typedef struct Situation
{
	bool		runs;			/* the reactor is registered, and not paused */
	bool		has_blocked;
	bool		has_inline;
} Situation;

static Situation
look_around(const GoesTask *task)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(&task->reactor.id);
	Situation	situation = {false};
	bool		isnull;

	if (goes_execute_by_index(&plan, "SELECT r.active AND NOT r.paused AND r.mode OPERATOR(pg_catalog.=) 'async',"
							  " EXISTS (SELECT FROM goes.pending p WHERE p.reactor OPERATOR(pg_catalog.=) $1 AND p.blocks),"
							  " EXISTS (SELECT FROM goes.inline_deliveries i WHERE i.reactor OPERATOR(pg_catalog.=) $1)"
							  " FROM goes.reactors r WHERE r.id OPERATOR(pg_catalog.=) $1",
							  1, &argtype, &arg, NULL) > 0)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		situation.runs = DatumGetBool(SPI_getbinval(tuple, desc, 1, &isnull));
		situation.has_blocked = DatumGetBool(SPI_getbinval(tuple, desc, 2, &isnull));
		situation.has_inline = DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	return situation;
}

static void
deliver_found(Batch *batch, const Situation *situation, const GoesFound *found,
			  int nfound, int64 up_to)
{
	GoesTask   *task = batch->task;

	if (situation->has_blocked && nfound > 0)
		batch->blocked = list_concat(batch->blocked,
									 goes_pending_blocked(&task->reactor, found, nfound));
	for (int i = 0; i < nfound; i++)
	{
		if (is_full(batch))
			return;
		/* One that is blocked is looked at when its turn comes */
		if (!goes_pending_is_blocked(batch->blocked, &found[i]) &&
			!(situation->has_inline && take_inline_delivery(task, found[i].position)))
			deliver_event(batch, &found[i]);
		if (batch->changed)
			return;
		batch->advance.checkpoint = found[i].position;
	}
	batch->advance.checkpoint = Max(batch->advance.checkpoint, up_to);
}

/* ---------------------------------------------------------------------------
 * A batch
 * ---------------------------------------------------------------------------
 */

/* Lock the progress; GOES_DELIVERED_SOME: it is what the task knows. */
static GoesDelivered
lock_task(GoesTask *task, bool *locked)
{
	GoesProgress progress;

	*locked = false;
	if (!goes_progress_try_lock(&task->reactor.id, task->part, &progress))
		return GOES_DELIVERED_BUSY;
	if (progress.revision != task->progress.revision ||
		progress.parts != task->progress.parts)
		return GOES_DELIVERED_CHANGED;
	*locked = progress.checkpoint == task->progress.checkpoint;
	if (*locked)
		return GOES_DELIVERED_SOME;
	/* Another runner has worked on it: look again from where it is now */
	task->progress = progress;
	task->scanned = progress.checkpoint;
	task->next_due = goes_pending_next_due(&task->reactor, task->part,
										   progress.parts);
	return GOES_DELIVERED_SOME;
}

/* Store how far the batch has come, and see when there is more to do. */
static void
store_progress(Batch *batch)
{
	GoesTask   *task = batch->task;

	goes_progress_advance(&task->reactor.id, task->part, &batch->advance);
	task->next_due = goes_pending_next_due(&task->reactor, task->part,
										   task->progress.parts);
	batch->advanced = true;
}

/* All parts may have come to the barrier, at which there is nothing to read. */
static GoesDelivered
wait_at_barrier(GoesTask *task)
{
	if (task->progress.checkpoint != task->progress.barrier ||
		!goes_progress_repartition(&task->reactor.id))
		return GOES_DELIVERED_NOTHING;
	goes_workers_changed();
	return GOES_DELIVERED_CHANGED;
}

/*
 * Keep the function with its owner until the transaction ends, so that this
 * session never runs what another one has made of it; false if it is not his
 * any more.
 */
static bool
lock_function(GoesTask *task)
{
	Oid			function = goes_reactor_function(&task->reactor);

	if (!OidIsValid(function))
		return false;
	LockDatabaseObject(ProcedureRelationId, function, 0, AccessShareLock);
	use_function(task, function);
	return is_same_function(task);
}

/* Deliver in the transaction that has begun, connected to SPI. */
static GoesDelivered
deliver_batch(Batch *batch)
{
	GoesTask   *task = batch->task;
	bool		due = GetCurrentTimestamp() >= task->next_due;
	GoesRange	range = {
		.after = task->scanned,
		.up_to = goal(task, batch->horizon),
		.imported_to = task->progress.imported_to
	};
	int			limit = task->scanned < task->alone_to ? 1 : task->reactor.batch_size;
	GoesFound  *found = NULL;
	int			nfound = 0;
	GoesDelivered result;
	bool		locked;
	Situation	situation;

	if (range.up_to > range.after)
		nfound = goes_sources_read(task->sources, &range, limit, &found);
	if (nfound == 0)
		task->scanned = Max(task->scanned, range.up_to);
	if (nfound == 0 && !due && task->progress.barrier != GOES_NO_BARRIER &&
		task->scanned == task->progress.checkpoint)
		return wait_at_barrier(task);
	if (nfound == 0 && !due && task->progress.barrier == GOES_NO_BARRIER)
		return GOES_DELIVERED_NOTHING;
	/* The function first, as DROP does */
	if (!lock_function(task))
		return GOES_DELIVERED_CHANGED;
	result = lock_task(task, &locked);
	if (!locked)
		return result;
	situation = look_around(task);
	if (!situation.runs)
		return GOES_DELIVERED_CHANGED;
	/* In turn, so that neither failures nor new events can keep the others away */
	if (due && (nfound == 0 || !task->retried))
		retry_due(batch);
	else
		deliver_found(batch, &situation, found, nfound,
					  nfound < limit ? range.up_to : 0);
	task->retried = due && !task->retried;
	store_progress(batch);
	return batch->changed ? GOES_DELIVERED_CHANGED : GOES_DELIVERED_SOME;
}

/* Begin a transaction for a batch; what is in context outlives it. */
static void
begin_batch(Batch *batch, GoesTask *task, int64 horizon, MemoryContext context)
{
	memset(batch, 0, sizeof(Batch));
	batch->task = task;
	batch->horizon = horizon;
	batch->advance.checkpoint = task->progress.checkpoint;
	batch->started = GetCurrentTimestamp();
	batch->context = context;
	if (!goes_worker_begin())
		proc_exit(0);
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	batch->event_context = AllocSetContextCreate(CurrentMemoryContext,
												 "goes event",
												 ALLOCSET_DEFAULT_SIZES);
}

/* Commit it; what has committed is done with. */
static void
commit_batch(Batch *batch)
{
	GoesTask   *task = batch->task;
	ListCell   *cell;

	PopActiveSnapshot();
	SPI_finish();
	batch->committing = true;
	CommitTransactionCommand();
	batch->committing = false;
	task->error_pause = 0;
	MemoryContextSwitchTo(batch->context);
	if (!batch->advanced)
		return;
	task->progress.checkpoint = batch->advance.checkpoint;
	task->scanned = Max(task->scanned, batch->advance.checkpoint);
	foreach(cell, batch->settled)
		goes_transient_settle(*(int64 *) lfirst(cell), &task->reactor.id);
	goes_progressed();
}

/* The pending event at that position, if it is due and the first that is. */
static bool
find_due(const GoesTask *task, int64 position, GoesPending *event)
{
	GoesPending *due;

	if (goes_pending_due(&task->reactor, task->part, task->progress.parts, 1, &due) == 0 ||
		due->position != position)
		return false;
	*event = *due;
	return true;
}

/* The new event at that position. */
static bool
find_new(const GoesTask *task, int64 position, GoesPending *event)
{
	GoesRange	range = {
		.after = position - 1,
		.up_to = position,
		.imported_to = task->progress.imported_to
	};
	GoesFound  *found;

	if (goes_sources_read(task->sources, &range, 1, &found) == 0)
		return false;
	*event = goes_pending_of(found, true);
	return true;
}

/*
 * The one event of a transaction that could not commit, because of a deferred
 * constraint perhaps, has failed: note that in a transaction of its own.
 */
static void
fail_alone(Batch *batch, const GoesFailure *failure)
{
	GoesTask   *task = batch->task;
	int64		position = batch->last;
	bool		was_pending = batch->last_was_pending;
	GoesPending event;
	bool		locked;

	begin_batch(batch, task, batch->horizon, batch->context);
	(void) lock_task(task, &locked);
	if (locked && (was_pending ? find_due(task, position, &event) :
				   find_new(task, position, &event)))
	{
		note_failure(batch, failure);
		batch->advance.retried += event.attempts > 0;
		if (!was_pending)
			batch->advance.checkpoint = position;
		if (goes_pending_fail(&task->reactor, &event, failure) == GOES_FATE_DEAD &&
			was_pending)
			settle_pending(batch, &event);
		store_progress(batch);
	}
	commit_batch(batch);
}

/*
 * A batch raised an error.  One that was raised while it committed is the
 * reactor's: if the batch had several events, they are done again one by one.
 * Any other is our own, and the task pauses.
 */
static void
recover(Batch *batch)
{
	GoesTask   *task = batch->task;
	bool		of_reactor = batch->committing && batch->count > 0;
	ErrorData  *error;
	GoesFailure failure;

	MemoryContextSwitchTo(batch->context);
	error = CopyErrorData();
	if (!of_reactor)
		EmitErrorReport();
	FlushErrorState();
	disable_timeout(STATEMENT_TIMEOUT, false);
	AbortCurrentTransaction();
	QueryCancelPending = false;
	MemoryContextSwitchTo(batch->context);
	goes_my_worker->position = 0;
	task->next_due = 0;
	task->alone_to = Max(task->alone_to, batch->last);
	if (!of_reactor)
	{
		task->error_pause = Min(Max(ERROR_PAUSE, task->error_pause * 2),
								LONGEST_ERROR_PAUSE);
		task->not_before = GetCurrentTimestamp() + task->error_pause * INT64CONST(1000);
	}
	else if (batch->count == 1)
	{
		failure = take_failure(error, goes_transient_find(batch->last, &task->reactor.id));
		fail_alone(batch, &failure);
	}
}

/* Do something with a batch of its own; an error ends that and is recovered. */
static GoesDelivered
in_batch(GoesTask *task, int64 horizon, GoesDelivered (*work) (Batch *batch))
{
	MemoryContext context = CurrentMemoryContext;
	Batch	   *batch = palloc0(sizeof(Batch));
	bool		ran;
	volatile GoesDelivered result = GOES_DELIVERED_SOME;
	volatile bool failed = false;

	pgstat_report_activity(STATE_RUNNING, task->reactor.name);
	PG_TRY();
	{
		begin_batch(batch, task, horizon, CurrentMemoryContext);
		result = work(batch);
		commit_batch(batch);
	}
	PG_CATCH();
	{
		failed = true;
	}
	PG_END_TRY();
	ran = batch->count > 0;
	if (failed)
		recover(batch);
	if (ran)
		clean_after_batch();
	MemoryContextSwitchTo(context);
	return result;
}

/*
 * goes_task_deliver
 *		Deliver a batch up to the horizon.  Errors of the reactor become part of
 *		its progress; those of our own are logged, and the task pauses.
 *		Allocates in the current context.
 */
GoesDelivered
goes_task_deliver(GoesTask *task, int64 horizon)
{
	return in_batch(task, horizon, deliver_batch);
}

static GoesDelivered
persist_batch(Batch *batch)
{
	GoesTask   *task = batch->task;
	bool		locked;
	GoesDelivered result = lock_task(task, &locked);

	if (locked)
	{
		batch->advance.checkpoint = task->scanned;
		store_progress(batch);
	}
	return result;
}

/*
 * goes_task_persist
 *		Store up to where the task has looked, if it is not stored.
 */
GoesDelivered
goes_task_persist(GoesTask *task)
{
	if (task->scanned <= task->progress.checkpoint)
		return GOES_DELIVERED_NOTHING;
	return in_batch(task, task->scanned, persist_batch);
}
