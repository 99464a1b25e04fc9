/*-------------------------------------------------------------------------
 *
 * repair.c
 *	  The work of a rebuild: read events, compare rows, write what differs.
 *
 * A process takes a part of the aggregates, by the hash of their ids, and of
 * that as many as there is memory for.  Under one snapshot it finds their states
 * from the events and compares the rows, without locking any: in a snapshot an
 * aggregate and its events belong together.  Those that differ are then locked,
 * a batch in a transaction, without waiting.  If an aggregate has moved on since
 * the snapshot, or cannot be locked or written, it is put off, to be replayed
 * alone at the end.
 *
 * Each transaction makes sure that the model is still the same, since states
 * that were calculated before it changed are worth nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "attempt.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "cursor.h"
#include "event.h"
#include "executor/spi.h"
#include "failure.h"
#include "fingerprint.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "rebuild.h"
#include "relation.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Aggregates put off that are looked up at a time */
#define PUT_OFF_COUNT 100

/* How often a replay that meets a deadlock or the like is tried */
#define MAX_TRIES 5

/* Aggregates that are written in one transaction */
typedef struct Batch
{
	GoesRepair *repair;
	GoesFolded **problems;
	int			count;
	uint64		changed;
} Batch;

/* ---------------------------------------------------------------------------
 * Transactions
 * ---------------------------------------------------------------------------
 */

static void
events_folded(void *arg, uint64 nevents)
{
	GoesRepair *repair = arg;

	pg_atomic_fetch_add_u64(&repair->rebuild->done, nevents);
	goes_rebuild_tell(repair);
}

/*
 * goes_repair_create
 *		A process that is to work on a rebuild.  It lives in the current context,
 *		which must outlast transactions.
 */
GoesRepair *
goes_repair_create(GoesRebuild *rebuild, bool leader)
{
	GoesRepair *repair = palloc0(sizeof(GoesRepair));

	repair->rebuild = rebuild;
	repair->leader = leader;
	repair->told_at = GetCurrentTimestamp();
	repair->states = goes_states_create(CurrentMemoryContext);
	repair->states->memory = rebuild->memory * (Size) 1024;
	repair->states->callback = events_folded;
	repair->states->arg = repair;
	return repair;
}

static void
set_phase(GoesRepair *repair, GoesPhase phase)
{
	if (repair->leader)
		pg_atomic_write_u32(&repair->rebuild->phase, phase);
}

static bool
is_outdated(const GoesRepair *repair)
{
	return pg_atomic_read_u32(&repair->rebuild->outdated) != 0;
}

/* Is the model, which may have changed just now, still the one? */
static bool
check_model(GoesRepair *repair)
{
	GoesRebuild *rebuild = repair->rebuild;

	AcceptInvalidationMessages();
	if (goes_fingerprint(goes_get_aggregate_type(rebuild->type),
						 repair->tables.aggregate) != rebuild->fingerprint)
		pg_atomic_write_u32(&rebuild->outdated, 1);
	return !is_outdated(repair);
}

/*
 * goes_repair_open_tables
 *		Open the tables of a type for its owner, and set a snapshot that shows them
 *		as they are then.
 */
void
goes_repair_open_tables(GoesTables *tables, const char *type, LOCKMODE lockmode)
{
	/* To make the layout takes a snapshot, which the lock may outdate */
	PushActiveSnapshot(GetTransactionSnapshot());
	goes_open_own_tables(tables, type, lockmode);
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * goes_repair_begin
 *		Begin the work of the transaction that has been started; false if the model
 *		has changed.  Either way goes_repair_commit is to follow.
 */
bool
goes_repair_begin(GoesRepair *repair, LOCKMODE lockmode)
{
	SPI_connect();
	goes_repair_open_tables(&repair->tables, repair->rebuild->type, lockmode);
	goes_states_use(repair->states, repair->tables.type, repair->tables.aggregate);
	return check_model(repair);
}

/*
 * goes_repair_next_transaction
 *		Commit and start another one.  Whatever the session's default is, it must
 *		see what is there when its statements begin.
 */
void
goes_repair_next_transaction(void)
{
	SPI_commit();
	XactIsoLevel = XACT_READ_COMMITTED;
}

/* goes_repair_commit: end the work of a transaction. */
void
goes_repair_commit(GoesRepair *repair)
{
	goes_close_tables(&repair->tables);
	PopActiveSnapshot();
	SPI_finish();
	goes_repair_next_transaction();
}

/*
 * Nobody need wait for this commit to be flushed: what a crash undoes, the next
 * call does again, and the last commit makes all durable.
 */
static void
commit_lazily(void)
{
	if (synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* ---------------------------------------------------------------------------
 * Reading
 * ---------------------------------------------------------------------------
 */

/* Find the states of as many aggregates of a part as there is memory for. */
static bool
find_states(GoesRepair *repair, uint64 from, uint64 to)
{
	bool		valid;

	set_phase(repair, GOES_PHASE_READING);
	valid = goes_repair_begin(repair, AccessShareLock);
	if (valid)
	{
		goes_states_find(repair->states, from, to);
		valid = check_model(repair);
	}
	goes_repair_commit(repair);
	return valid;
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

/* The ids of those of a batch that were found to be like that. */
static int
collect_ids(const Batch *batch, bool (*wanted) (const GoesFolded *), Datum *ids)
{
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
	{
		if (wanted(batch->problems[i]))
			ids[count++] = UUIDPGetDatum(&batch->problems[i]->id);
	}
	return count;
}

static bool
has_no_events(const GoesFolded *folded)
{
	return folded->finding == GOES_NO_EVENTS;
}

/* Has it a state that is to be written? */
static bool
is_writable(const GoesFolded *folded)
{
	return folded->finding == GOES_DIFFERENT || folded->finding == GOES_MISSING;
}

/* Is it to be put off, since it cannot be written with the others? */
static bool
is_left(const GoesFolded *folded)
{
	return is_writable(folded) || folded->finding == GOES_FAILED;
}

/* Write a state; stored is its row, or an initial state if there is none. */
static void
write_state(Batch *batch, GoesFolded *folded, const GoesState *stored)
{
	GoesRepair *repair = batch->repair;

	SPI_connect();
	if (goes_store_state(&repair->tables, stored,
						 goes_states_state(repair->states, folded)))
	{
		folded->finding = GOES_SAME;
		batch->changed++;
	}
	SPI_finish();
}

/* A row is locked: write it, unless it is right by now, or more has happened. */
static void
write_locked(Batch *batch, const GoesState *stored)
{
	GoesRepair *repair = batch->repair;
	GoesFolded *folded = goes_states_get(repair->states, &stored->id);

	if (stored->version > folded->version)
		return;
	if (goes_same_state(repair->tables.type->layout, stored,
						goes_states_state(repair->states, folded)))
		folded->finding = GOES_SAME;
	else
		write_state(batch, folded, stored);
}

/* The stored state in a row of write_existing() */
static GoesState *
stored_state(const GoesTables *tables, HeapTuple row, TupleDesc desc)
{
	const GoesLayout *layout = tables->type->layout;
	GoesState  *state = goes_state_from_row(layout, tables->aggregate, row, desc);
	bool		isnull;

	if (layout->plain)
		state->tid = *(ItemPointer) DatumGetPointer(heap_getattr(row, desc->natts,
																 desc, &isnull));
	return state;
}

static bool
write_rows(void *arg, const GoesRows *rows)
{
	Batch	   *batch = arg;
	GoesTables *tables = &batch->repair->tables;
	MemoryContext context = batch->repair->states->step_context;
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	for (int i = 0; i < rows->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		write_locked(batch, stored_state(tables, rows->rows[i], rows->desc));
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);
	return true;
}

static void
write_existing(Batch *batch, const Datum *ids, int count)
{
	static const Oid argtype = UUIDARRAYOID;
	GoesTables *tables = &batch->repair->tables;
	Datum		arg = PointerGetDatum(construct_array(unconstify(Datum *, ids), count,
													  UUIDOID, UUID_LEN, false,
													  TYPALIGN_CHAR));

	goes_rows_each(psprintf("SELECT %s, ctid FROM %s WHERE id OPERATOR(pg_catalog.=) ANY ($1)"
							" FOR NO KEY UPDATE SKIP LOCKED",
							goes_aggregate_columns(tables->type->layout,
												   tables->aggregate),
							goes_relation_name(tables->type->relation)),
				   1, &argtype, &arg, NULL, false, NULL, write_rows, batch);
}

static void
write_missing(Batch *batch)
{
	GoesTables *tables = &batch->repair->tables;
	MemoryContext context = batch->repair->states->step_context;
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	for (int i = 0; i < batch->count; i++)
	{
		GoesFolded *folded = batch->problems[i];

		if (folded->finding != GOES_MISSING)
			continue;
		CHECK_FOR_INTERRUPTS();
		write_state(batch, folded, goes_initial_state(tables->type->layout,
													  tables->aggregate,
													  &folded->id));
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);
}

/* Let what is deferred to the commit, where it would end all, happen now. */
static void
fire_deferred_triggers(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);

	AfterTriggerSetState(statement);
}

/* Work of goes_attempt. */
static void
write_states(void *arg)
{
	Batch	   *batch = arg;
	Datum	   *ids = palloc(batch->count * sizeof(Datum));
	int			count = collect_ids(batch, is_writable, ids);

	SPI_connect();
	if (count > 0)
		write_existing(batch, ids, count);
	write_missing(batch);
	fire_deferred_triggers();
	SPI_finish();
}

/* What the batch was found to be, to go back to when it fails. */
static GoesFinding *
save_findings(const Batch *batch)
{
	GoesFinding *findings = palloc(batch->count * sizeof(GoesFinding));

	for (int i = 0; i < batch->count; i++)
		findings[i] = batch->problems[i]->finding;
	return findings;
}

static void
restore_findings(Batch *batch, const GoesFinding *findings)
{
	for (int i = 0; i < batch->count; i++)
		batch->problems[i]->finding = findings[i];
	batch->changed = 0;
}

static void
record(const Batch *batch)
{
	const char *type = batch->repair->rebuild->type;
	Datum	   *ids = palloc(batch->count * sizeof(Datum));

	goes_failures_put_off(type, ids, collect_ids(batch, is_left, ids));
	goes_failures_note_no_events(type, ids, collect_ids(batch, has_no_events, ids));
}

/* The part is done up to a hash. */
static void
advance(GoesRepair *repair, const GoesPart *part, uint64 to)
{
	GoesRebuild *rebuild = repair->rebuild;

	if (!goes_part_advance(rebuild->type, rebuild->started_at, part->number, to))
		pg_atomic_write_u32(&rebuild->outdated, 1);
}

/* Write a batch, after which the part is done up to a hash. */
static bool
write_batch(Batch *batch, const GoesPart *part, uint64 to)
{
	GoesRepair *repair = batch->repair;
	bool		valid = goes_repair_begin(repair, RowExclusiveLock);

	if (valid && batch->count > 0)
	{
		GoesFinding *findings = save_findings(batch);

		if (goes_attempt(write_states, batch) != NULL)
			restore_findings(batch, findings);
		record(batch);
	}
	if (valid)
		advance(repair, part, to);
	commit_lazily();
	goes_repair_commit(repair);
	pg_atomic_fetch_add_u64(&repair->rebuild->changed, batch->changed);
	return valid;
}

/* Write what has been found to differ. */
static bool
write_all(GoesRepair *repair, const GoesPart *part)
{
	int			count;
	GoesFolded **problems = goes_states_problems(repair->states, true, &count);
	int			at = 0;

	set_phase(repair, GOES_PHASE_WRITING);
	do
	{
		Batch		batch = {
			.repair = repair,
			.problems = problems + at,
			.count = Min(count - at, repair->rebuild->batch_size)
		};

		at += batch.count;
		if (!write_batch(&batch, part,
						 at < count ? problems[at]->hash : repair->states->to))
			return false;
		goes_rebuild_tell(repair);
	} while (at < count);
	return true;
}

/* ---------------------------------------------------------------------------
 * Parts
 * ---------------------------------------------------------------------------
 */

static void
repair_part(GoesRepair *repair, GoesSharedPart *shared)
{
	GoesPart   *part = &shared->part;

	while (part->from < part->to)
	{
		if (!find_states(repair, part->from, part->to) ||
			!write_all(repair, part))
			return;
		part->from = repair->states->to;
		pg_atomic_fetch_add_u64(&repair->rebuild->aggregates,
								goes_states_count(repair->states));
	}
	pg_atomic_write_u32(&shared->state, GOES_PART_DONE);
}

static bool
take_part(GoesSharedPart *part)
{
	uint32		state = GOES_PART_OPEN;

	return pg_atomic_compare_exchange_u32(&part->state, &state, GOES_PART_TAKEN);
}

/*
 * goes_repair_parts
 *		Work on parts that nobody else has taken, until there are none, or the
 *		model has changed.
 */
void
goes_repair_parts(GoesRepair *repair)
{
	GoesRebuild *rebuild = repair->rebuild;

	for (int i = 0; i < rebuild->nparts && !is_outdated(repair); i++)
	{
		if (take_part(&rebuild->parts[i]))
			repair_part(repair, &rebuild->parts[i]);
	}
}

/* ---------------------------------------------------------------------------
 * What was put off
 * ---------------------------------------------------------------------------
 */

/* A replay of one aggregate */
typedef struct Alone
{
	GoesRepair *repair;
	const pg_uuid_t *id;
	int64		position;		/* of the event that is at work, or 0 */
	bool		changed;
} Alone;

/* Work of goes_attempt. */
static void
replay_alone(void *arg)
{
	Alone	   *alone = arg;

	SPI_connect();
	alone->changed = goes_replay_aggregate(&alone->repair->tables, alone->id,
										   &alone->position);
	fire_deferred_triggers();
	SPI_finish();
}

static void
note_failure(const Alone *alone, const ErrorData *error)
{
	GoesTables *tables = &alone->repair->tables;
	GoesEvent  *event = NULL;

	if (alone->position != 0)
		event = goes_event_read(tables->type, tables->events, alone->position);
	goes_failure_note(tables->type->name, alone->id, event, error);
}

static bool
is_worth_another_try(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* Replay an aggregate that was put off, waiting for it. */
static bool
repair_alone(GoesRepair *repair, const pg_uuid_t *id)
{
	Alone		alone = {.repair = repair,.id = id};
	bool		valid = goes_repair_begin(repair, RowExclusiveLock);

	if (valid)
	{
		ErrorData  *error;
		int			tries = 0;

		do
			error = goes_attempt(replay_alone, &alone);
		while (error != NULL && is_worth_another_try(error) && ++tries < MAX_TRIES);
		if (error != NULL)
			note_failure(&alone, error);
		else
			goes_failure_forget(repair->rebuild->type, id);
		alone.changed &= error == NULL;
	}
	commit_lazily();
	goes_repair_commit(repair);
	pg_atomic_fetch_add_u64(&repair->rebuild->changed, alone.changed ? 1 : 0);
	return valid;
}

/* Some ids of aggregates that were put off; how many. */
static int
next_put_off(GoesRepair *repair, pg_uuid_t *ids)
{
	int			count = 0;

	if (goes_repair_begin(repair, AccessShareLock))
		count = goes_failures_put_off_ids(repair->rebuild->type, ids, PUT_OFF_COUNT);
	goes_repair_commit(repair);
	return count;
}

/*
 * goes_repair_put_off
 *		Replay the aggregates that were put off, one by one.
 */
void
goes_repair_put_off(GoesRepair *repair)
{
	pg_uuid_t	ids[PUT_OFF_COUNT];
	int			count;

	set_phase(repair, GOES_PHASE_ALONE);
	while ((count = next_put_off(repair, ids)) > 0)
	{
		for (int i = 0; i < count; i++)
		{
			if (!repair_alone(repair, &ids[i]))
				return;
			goes_rebuild_tell(repair);
		}
	}
}
