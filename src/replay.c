/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  Aggregates recomputed from their events, and compared with them.
 *
 * For the owner of the aggregate table only, who sees all rows.  Reactors do
 * not run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "aggregate.h"
#include "attempt.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "executor/spi.h"
#include "fold.h"
#include "funcapi.h"
#include "guard.h"
#include "miscadmin.h"
#include "model.h"
#include "registry.h"
#include "relation.h"
#include "replay.h"
#include "states.h"
#include "upcaster.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "uuid.h"

/*
 * goes_check_no_policies
 *		Raise 42501 if row-level security of a table may hide rows from the
 *		current user.
 */
void
goes_check_no_policies(Relation relation)
{
	if (check_enable_rls(RelationGetRelid(relation), InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security may hide rows of table \"%s\"",
						RelationGetRelationName(relation)),
				 errhint("Use a role with BYPASSRLS, or ALTER TABLE ... NO FORCE ROW LEVEL SECURITY meanwhile."),
				 errtable(relation)));
}

/*
 * goes_open_own_tables
 *		Open the tables of a type for its owner: OG008, 42501, also if policies
 *		might hide rows.  The caller is connected to SPI, and closes them.
 */
void
goes_open_own_tables(GoesTables *tables, const char *type, LOCKMODE lockmode)
{
	(void) goes_own_type(type);
	tables->type = goes_open_tables(type, lockmode, &tables->aggregate,
									&tables->events);
	goes_check_owner(tables->type->relation);
	goes_check_no_policies(tables->aggregate);
	goes_check_no_policies(tables->events);
}

/* goes_close_tables: the locks stay until the transaction ends. */
void
goes_close_tables(GoesTables *tables)
{
	table_close(tables->events, NoLock);
	table_close(tables->aggregate, NoLock);
}

/* ---------------------------------------------------------------------------
 * goes_replay
 * ---------------------------------------------------------------------------
 */

/* A replay of one aggregate */
typedef struct Replay
{
	GoesFold   *fold;
	int64	   *position;		/* of the event that is at work */
} Replay;

static bool
apply_event(void *arg, const GoesEvent *event)
{
	const Replay *replay = arg;

	*replay->position = event->position;
	goes_fold_apply(replay->fold, event);
	return true;
}

/*
 * goes_store_state
 *		Write the state that was calculated in place of the stored one; false: the
 *		row is not what it was when that was read.
 */
bool
goes_store_state(const GoesTables *tables, const GoesState *stored,
				 const GoesState *calculated)
{
	GoesState  *state = goes_state_copy(tables->type->layout, tables->aggregate,
										calculated);

	state->exists = stored->exists;
	state->version = stored->version;
	state->tid = stored->tid;
	return goes_aggregate_store(tables->type, tables->aggregate, state) == GOES_STORED;
}

/* Fold all events of the aggregate of a fold that has been started, by version. */
static void
fold_events(const GoesTables *tables, GoesFold *fold, bool read_only, int64 *position)
{
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(&fold->state->id);
	Replay		replay = {.fold = fold,.position = position};

	goes_events_each(tables->type,
					 psprintf("SELECT %s FROM %s"
							  " WHERE aggregate_id OPERATOR(pg_catalog.=) $1"
							  " ORDER BY aggregate_version",
							  goes_event_columns(),
							  goes_relation_name(tables->type->events)),
					 1, &argtype, &arg, NULL, read_only, apply_event, &replay);
	*position = 0;
}

/*
 * goes_replay_aggregate
 *		Lock an aggregate, waiting for it, and recompute it; true if the row was
 *		different or missing.  When an event fails, position is that of it.  The
 *		caller is connected to SPI.
 */
bool
goes_replay_aggregate(const GoesTables *tables, const pg_uuid_t *id,
					  int64 *position)
{
	GoesState  *stored = goes_aggregate_load(tables->type, tables->aggregate, id,
											 GOES_LOAD_LOCK);
	GoesFold   *fold = goes_fold_create(tables->type, tables->aggregate);

	goes_fold_start(fold, id);
	fold_events(tables, fold, false, position);
	if (!fold->state->exists ||
		(stored->exists && goes_same_state(tables->type->layout, stored, fold->state)))
		return false;
	if (!goes_store_state(tables, stored, fold->state))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("aggregate %s of type \"%s\" was changed while it was replayed",
						goes_uuid_string(id), tables->type->name),
				 errtable(tables->aggregate)));
	return true;
}

PG_FUNCTION_INFO_V1(goes_replay);

/*
 * goes_replay(aggregate_type text, id uuid) RETURNS boolean
 *		Recompute one aggregate from its events; true if the row was different or
 *		missing.  One that has no events is left alone.  Errors: 22004, OG008,
 *		OG011, 42501, and those of calculators, upcasters and constraints.
 */
Datum
goes_replay(PG_FUNCTION_ARGS)
{
	char	   *type = goes_text_arg(fcinfo, 0, "aggregate_type");
	GoesTables	tables;
	int64		position;
	bool		changed;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "id")));
	SPI_connect();
	goes_open_own_tables(&tables, type, RowExclusiveLock);
	changed = goes_replay_aggregate(&tables, PG_GETARG_UUID_P(1), &position);
	goes_close_tables(&tables);
	SPI_finish();
	PG_RETURN_BOOL(changed);
}

/* ---------------------------------------------------------------------------
 * goes_verify
 * ---------------------------------------------------------------------------
 */

typedef struct Verification
{
	GoesTables	tables;
	GoesStates *states;
	GoesFunction *to_jsonb;
	ReturnSetInfo *result;
} Verification;

/* id, stored and expected may be NULL. */
static void
report_problem(Verification *v, const pg_uuid_t *id, const char *problem,
			   Jsonb *stored, Jsonb *expected)
{
	Datum		values[] = {
		UUIDPGetDatum(id), CStringGetTextDatum(problem),
		JsonbPGetDatum(stored), JsonbPGetDatum(expected)
	};
	bool		nulls[] = {id == NULL, false, stored == NULL, expected == NULL};

	tuplestore_putvalues(v->result->setResult, v->result->setDesc, values, nulls);
}

/* The columns of a state in which it differs from another (NULL: all). */
static Jsonb *
state_to_jsonb(Verification *v, GoesState *state, const GoesState *other)
{
	const GoesLayout *layout = v->tables.type->layout;
	Datum		row = goes_state_to_datum(state);
	bool		isnull;
	Datum		jsonb = goes_function_call(v->to_jsonb, &row, &isnull);

	for (int i = 0; other != NULL && i < layout->ncolumns; i++)
	{
		int			att = layout->columns[i].attnum - 1;

		if (!layout->columns[i].stored || goes_same_column(state, other, att))
			jsonb = DirectFunctionCall2(jsonb_delete, jsonb,
										CStringGetTextDatum(NameStr(TupleDescAttr(state->row.tupdesc, att)->attname)));
	}
	return DatumGetJsonbP(jsonb);
}

/* The row of an aggregate compared with its state; neither need exist. */
static void
report_difference(Verification *v, GoesState *calculated)
{
	GoesState  *stored = goes_aggregate_load(v->tables.type, v->tables.aggregate,
											 &calculated->id, GOES_LOAD_SEE);

	if (!stored->exists)
		report_problem(v, &calculated->id, "the aggregate is missing", NULL,
					   state_to_jsonb(v, calculated, NULL));
	else if (!goes_same_state(v->tables.type->layout, stored, calculated))
		report_problem(v, &calculated->id, "the aggregate differs from its events",
					   state_to_jsonb(v, stored, calculated),
					   state_to_jsonb(v, calculated, stored));
}

/* The fold of one aggregate of a verification */
typedef struct Again
{
	Verification *v;
	GoesFold   *fold;
	int64		position;		/* of the event that is at work */
} Again;

/* Work of goes_attempt. */
static void
fold_again(void *arg)
{
	Again	   *again = arg;

	SPI_connect();
	fold_events(&again->v->tables, again->fold, true, &again->position);
	SPI_finish();
}

static void
report_failure(Verification *v, const pg_uuid_t *id, int64 position,
			   const ErrorData *error)
{
	GoesEvent  *event = goes_event_read(v->tables.type, v->tables.events, position);
	char	   *name = event == NULL ? "events" :
		psprintf("event \"%s.%s.%d\", version " INT64_FORMAT,
				 event->aggregate_type, event->action, event->event_version,
				 event->aggregate_version);

	report_problem(v, id, psprintf("%s: %s", name, error->message), NULL, NULL);
}

/*
 * The events could not be applied in the order of their positions.  Whoever has
 * filled the table by hand may have given them such that do not follow their
 * versions, so try again by these.
 */
static void
look_again(Verification *v, const pg_uuid_t *id)
{
	Again		again = {
		.v = v,
		.fold = goes_fold_create(v->tables.type, v->tables.aggregate)
	};
	ErrorData  *error;

	goes_fold_start(again.fold, id);
	error = goes_attempt(fold_again, &again);
	if (error != NULL)
		report_failure(v, id, again.position, error);
	else
		report_difference(v, again.fold->state);
}

/* What is wrong with an aggregate that has events. */
static void
report_aggregate(Verification *v, const GoesFolded *folded)
{
	if (folded->finding == GOES_FAILED)
		look_again(v, &folded->id);
	else if (folded->finding != GOES_NO_EVENTS)
		report_difference(v, goes_states_state(v->states, folded));
}

static void
report_aggregates(Verification *v)
{
	int			count;
	GoesFolded **problems = goes_states_problems(v->states, false, &count);

	for (int i = 0; i < count; i++)
	{
		if (problems[i]->finding == GOES_NO_EVENTS)
			report_problem(v, &problems[i]->id, "the aggregate has no events",
						   NULL, NULL);
	}
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		SPI_connect();
		report_aggregate(v, problems[i]);
		SPI_finish();
	}
}

static void
verify_aggregates(Verification *v)
{
	v->states = goes_states_create(CurrentMemoryContext);
	goes_states_use(v->states, v->tables.type, v->tables.aggregate);
	for (uint64 from = 0; from < GOES_HASH_END; from = v->states->to)
	{
		goes_states_find(v->states, from, GOES_HASH_END);
		report_aggregates(v);
	}
}

static void
verify_upcasters(Verification *v)
{
	ListCell   *cell;

	foreach(cell, goes_upcaster_gaps(v->tables.type))
		report_problem(v, NULL, lfirst(cell), NULL, NULL);
}

static void
verify_guards(Verification *v, Relation relation)
{
	ListCell   *cell;

	foreach(cell, goes_guard_problems(RelationGetRelid(relation)))
		report_problem(v, NULL, lfirst(cell), NULL, NULL);
}

PG_FUNCTION_INFO_V1(goes_verify);

/*
 * goes_verify(aggregate_type text) RETURNS TABLE (id uuid, problem text, stored jsonb, expected jsonb)
 *		Compare all aggregates of a type with their events, and look for missing
 *		events, for events that cannot be applied, for guards that are missing or
 *		disabled and for upcasters that lead nowhere; a row for each problem.
 *		stored and expected hold the columns that differ.  Errors: 22004, OG008, 42501.
 */
Datum
goes_verify(PG_FUNCTION_ARGS)
{
	char	   *type = goes_text_arg(fcinfo, 0, "aggregate_type");
	Verification v = {0};
	GoesSignature signature = {.nargs = 1,.result = JSONBOID};

	InitMaterializedSRF(fcinfo, 0);
	v.result = (ReturnSetInfo *) fcinfo->resultinfo;
	SPI_connect();
	goes_open_own_tables(&v.tables, type, AccessShareLock);
	signature.argtypes[0] = v.tables.type->rowtype;
	v.to_jsonb = goes_function_create_builtin(CurrentMemoryContext, F_TO_JSONB,
											  &signature);
	verify_guards(&v, v.tables.aggregate);
	verify_guards(&v, v.tables.events);
	verify_upcasters(&v);
	verify_aggregates(&v);
	goes_close_tables(&v.tables);
	SPI_finish();
	return (Datum) 0;
}
