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
#include "access/xact.h"
#include "aggregate.h"
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
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "uuid.h"

/* The tables of a type that its owner works on */
typedef struct Tables
{
	GoesAggregateType *type;
	Relation	aggregate;
	Relation	events;
} Tables;

static void
check_no_policies(Relation relation)
{
	if (check_enable_rls(RelationGetRelid(relation), InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security may hide rows of table \"%s\"",
						RelationGetRelationName(relation)),
				 errhint("Use a role with BYPASSRLS, or ALTER TABLE ... NO FORCE ROW LEVEL SECURITY meanwhile."),
				 errtable(relation)));
}

static void
open_tables(Tables *tables, const char *type, LOCKMODE lockmode)
{
	(void) goes_own_type(type);
	tables->type = goes_open_tables(type, lockmode, &tables->aggregate,
									&tables->events);
	goes_check_owner(tables->type->relation);
	check_no_policies(tables->aggregate);
	check_no_policies(tables->events);
}

static void
close_tables(Tables *tables)
{
	table_close(tables->events, NoLock);
	table_close(tables->aggregate, NoLock);
}

static bool
same_column(const GoesState *a, const GoesState *b, int att)
{
	Form_pg_attribute form = TupleDescAttr(a->row.tupdesc, att);

	return a->row.nulls[att] == b->row.nulls[att] &&
		(a->row.nulls[att] || datum_image_eq(a->row.values[att],
											 b->row.values[att],
											 form->attbyval, form->attlen));
}

/* Do two states agree in the columns that goes writes? */
static bool
same_state(const GoesLayout *layout, const GoesState *a, const GoesState *b)
{
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (layout->columns[i].stored &&
			!same_column(a, b, layout->columns[i].attnum - 1))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------------------
 * goes_replay
 * ---------------------------------------------------------------------------
 */

static bool
apply_event(void *fold, const GoesEvent *event)
{
	goes_fold_apply(fold, event);
	return true;
}

/* Write the state that was calculated in place of the stored one. */
static void
replace_state(const Tables *tables, const GoesState *stored,
			  const GoesState *calculated)
{
	GoesState  *state = goes_state_copy(tables->type->layout, tables->aggregate,
										calculated);

	state->exists = stored->exists;
	state->version = stored->version;
	if (goes_aggregate_store(tables->type, tables->aggregate, state) != GOES_STORED)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("aggregate %s of type \"%s\" was changed while it was replayed",
						goes_uuid_string(&state->id), tables->type->name),
				 errtable(tables->aggregate)));
}

static bool
replay(const Tables *tables, const pg_uuid_t *id)
{
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(id);
	GoesState  *stored = goes_aggregate_load(tables->type, tables->aggregate, id,
											 GOES_LOAD_LOCK);
	GoesFold   *fold = goes_fold_create(tables->type, tables->aggregate);

	goes_fold_start(fold, id);
	goes_events_each(tables->type,
					 psprintf("SELECT %s FROM %s"
							  " WHERE aggregate_id OPERATOR(pg_catalog.=) $1"
							  " ORDER BY aggregate_version",
							  goes_event_columns(),
							  goes_relation_name(tables->type->events)),
					 1, &argtype, &arg, NULL, false, apply_event, fold);
	if (!fold->state->exists ||
		(stored->exists && same_state(tables->type->layout, stored, fold->state)))
		return false;
	replace_state(tables, stored, fold->state);
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
	Tables		tables;
	bool		changed;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "id")));
	SPI_connect();
	open_tables(&tables, type, RowExclusiveLock);
	changed = replay(&tables, PG_GETARG_UUID_P(1));
	close_tables(&tables);
	SPI_finish();
	PG_RETURN_BOOL(changed);
}

/* ---------------------------------------------------------------------------
 * goes_verify
 * ---------------------------------------------------------------------------
 */

typedef struct Verification
{
	Tables		tables;
	GoesFold   *fold;
	bool		failed;			/* a problem of this aggregate is reported */
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
state_to_jsonb(Verification *v, const GoesState *state, const GoesState *other)
{
	const GoesLayout *layout = v->tables.type->layout;
	Datum		row = goes_state_to_datum(state);
	bool		isnull;
	Datum		jsonb = goes_function_call(v->to_jsonb, &row, NULL, &isnull);

	for (int i = 0; other != NULL && i < layout->ncolumns; i++)
	{
		int			att = layout->columns[i].attnum - 1;

		if (!layout->columns[i].stored || same_column(state, other, att))
			jsonb = DirectFunctionCall2(jsonb_delete, jsonb,
										CStringGetTextDatum(NameStr(TupleDescAttr(state->row.tupdesc, att)->attname)));
	}
	return DatumGetJsonbP(jsonb);
}

/* Compare the aggregate that was folded with its row. */
static void
finish_aggregate(Verification *v)
{
	GoesState  *calculated = v->fold->state;
	GoesState  *stored;

	if (calculated == NULL || v->failed)
		return;
	SPI_connect();
	stored = goes_aggregate_load(v->tables.type, v->tables.aggregate,
								 &calculated->id, GOES_LOAD_SEE);
	if (!stored->exists)
		report_problem(v, &calculated->id, "the aggregate is missing", NULL,
					   state_to_jsonb(v, calculated, NULL));
	else if (!same_state(v->tables.type->layout, stored, calculated))
		report_problem(v, &calculated->id, "the aggregate differs from its events",
					   state_to_jsonb(v, stored, calculated),
					   state_to_jsonb(v, calculated, stored));
	SPI_finish();
}

/*
 * Apply an event in a subtransaction, so that one that fails spoils only its
 * aggregate.  What ends a statement (a cancel, say) is not caught.
 */
static void
try_event(Verification *v, const GoesEvent *event)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner oldowner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(oldcontext);
	PG_TRY();
	{
		goes_fold_apply(v->fold, event);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(oldcontext);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(oldcontext);
		CurrentResourceOwner = oldowner;
		v->failed = true;
		report_problem(v, &event->aggregate_id,
					   psprintf("event \"%s.%s.%d\", version " INT64_FORMAT ": %s",
								event->aggregate_type, event->action,
								event->event_version, event->aggregate_version,
								error->message), NULL, NULL);
	}
	PG_END_TRY();
}

static bool
verify_event(void *arg, const GoesEvent *event)
{
	Verification *v = arg;

	if (v->fold->state == NULL ||
		!goes_uuid_equal(&v->fold->state->id, &event->aggregate_id))
	{
		finish_aggregate(v);
		goes_fold_start(v->fold, &event->aggregate_id);
		v->failed = false;
	}
	if (!v->failed)
		try_event(v, event);
	return true;
}

static void
verify_events(Verification *v)
{
	goes_events_each(v->tables.type,
					 psprintf("SELECT %s FROM %s ORDER BY aggregate_id, aggregate_version",
							  goes_event_columns(),
							  goes_relation_name(v->tables.type->events)),
					 0, NULL, NULL, NULL, true, verify_event, v);
	finish_aggregate(v);
}

/* Aggregates without any event. */
static void
verify_rows(Verification *v)
{
	Portal		portal = SPI_cursor_open_with_args(NULL,
												   psprintf("SELECT a.id FROM %s a WHERE NOT EXISTS"
															" (SELECT FROM %s e WHERE e.aggregate_id OPERATOR(pg_catalog.=) a.id)"
															" ORDER BY a.id",
															goes_relation_name(v->tables.type->relation),
															goes_relation_name(v->tables.type->events)),
												   0, NULL, NULL, NULL, true, 0);

	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;
			Datum		id = SPI_getbinval(SPI_tuptable->vals[i],
										   SPI_tuptable->tupdesc, 1, &isnull);

			report_problem(v, DatumGetUUIDP(id), "the aggregate has no events",
						   NULL, NULL);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
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
 *		events, for events that cannot be applied and for guards that are missing
 *		or disabled; a row for each problem.  stored and expected hold the
 *		columns that differ.  Errors: 22004, OG008, 42501.
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
	open_tables(&v.tables, type, AccessShareLock);
	v.fold = goes_fold_create(v.tables.type, v.tables.aggregate);
	signature.argtypes[0] = v.tables.type->rowtype;
	v.to_jsonb = goes_function_create_builtin(CurrentMemoryContext, F_TO_JSONB,
											  &signature);
	verify_guards(&v, v.tables.aggregate);
	verify_guards(&v, v.tables.events);
	verify_rows(&v);
	verify_events(&v);
	close_tables(&v.tables);
	SPI_finish();
	return (Datum) 0;
}
