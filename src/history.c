/*-------------------------------------------------------------------------
 *
 * history.c
 *	  Reading the past: what an aggregate was, from its events.
 *
 * All of it is read under the snapshot of the query that calls, as its user; an
 * aggregate that the user may not see has no past.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "aggregate.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "executor/spi.h"
#include "fold.h"
#include "funcapi.h"
#include "registry.h"
#include "relation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "uuid.h"

/* A read of the past of aggregates of one type */
typedef struct Reading
{
	GoesAggregateType *type;
	Relation	aggregate;
	Relation	events;
	GoesFold   *fold;
	MemoryContext stored_context;
	GoesState  *stored;			/* the aggregate as it is; NULL: not visible */
	bool		every_state;	/* give the state after each event, not the last */
	ReturnSetInfo *result;
} Reading;

/* The type whose aggregates the first argument of a function is for. */
static GoesAggregateType *
type_arg(FunctionCallInfo fcinfo)
{
	Oid			rowtype = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relation = get_typ_typrelid(rowtype);
	char	   *name = OidIsValid(relation) ?
		goes_aggregate_type_of_relation(relation) : NULL;
	GoesAggregateType *type = name ? goes_find_aggregate_type(name) : NULL;

	if (type == NULL || type->rowtype != rowtype)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("%s is not the row type of a registered aggregate table",
						format_type_be(rowtype)),
				 errhint("Give a null of the table's row type first, such as NULL::users.")));
	return type;
}

static void
open_reading(Reading *reading, FunctionCallInfo fcinfo)
{
	memset(reading, 0, sizeof(Reading));
	reading->type = goes_open_tables(type_arg(fcinfo)->name, AccessShareLock,
									 &reading->aggregate, &reading->events);
	reading->fold = goes_fold_create(reading->type, reading->aggregate);
	reading->stored_context = AllocSetContextCreate(CurrentMemoryContext,
													"goes stored aggregate",
													ALLOCSET_SMALL_SIZES);
}

static void
close_reading(Reading *reading)
{
	table_close(reading->events, AccessShareLock);
	table_close(reading->aggregate, AccessShareLock);
}

/* The columns, the table and the aggregates of the query for events. */
static void
begin_query(StringInfo sql, const Reading *reading, const char *condition)
{
	initStringInfo(sql);
	appendStringInfo(sql, "SELECT %s FROM %s WHERE %s", goes_event_columns(),
					 goes_relation_name(reading->type->events), condition);
}

/* Begin with another aggregate, if the user may see it. */
static void
start_aggregate(Reading *reading, const pg_uuid_t *id)
{
	GoesState  *stored;

	MemoryContextReset(reading->stored_context);
	SPI_connect();
	stored = goes_aggregate_load(reading->type, reading->aggregate, id,
								 GOES_LOAD_SEE);
	MemoryContextSwitchTo(reading->stored_context);
	reading->stored = stored->exists ?
		goes_state_copy(reading->type->layout, reading->aggregate, stored) : NULL;
	SPI_finish();
	goes_fold_start(reading->fold, id);
}

/*
 * The state as a value of the row type, in the current context.  That of the fold
 * stays as the next calculator is to see it.
 */
static Datum
current_state(Reading *reading)
{
	const GoesLayout *layout = reading->type->layout;
	GoesState  *state = goes_state_copy(layout, reading->aggregate,
										reading->fold->state);

	goes_state_complete(layout, state, reading->stored);
	return goes_state_to_datum(state);
}

static void
give_state(Reading *reading)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(current_state(reading));
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	tuplestore_puttuple(reading->result->setResult, &tuple);
}

/* Give the last state of the aggregate that the reading leaves. */
static void
leave_aggregate(Reading *reading)
{
	if (reading->stored != NULL && !reading->every_state &&
		reading->fold->state->exists)
		give_state(reading);
}

static bool
read_event(void *arg, const GoesEvent *event)
{
	Reading    *reading = arg;
	GoesState  *state = reading->fold->state;

	if (state == NULL || !goes_uuid_equal(&state->id, &event->aggregate_id))
	{
		if (state != NULL)
			leave_aggregate(reading);
		start_aggregate(reading, &event->aggregate_id);
	}
	if (reading->stored == NULL)
		return true;
	goes_fold_apply(reading->fold, event);
	if (reading->every_state)
		give_state(reading);
	return true;
}

static void
check_not_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

PG_FUNCTION_INFO_V1(goes_aggregate_at);

/*
 * goes_aggregate_at(aggregate anyelement, id uuid, version bigint, at timestamptz) RETURNS anyelement
 *		The state of one aggregate after the event of that version (NULL: any)
 *		and no later than that time (NULL: now); NULL if it did not exist then,
 *		or the user may not see it, or it has no such version.  Errors: 22004,
 *		22023, 42501, OG008, OG011 (events are missing or cannot be applied), and
 *		those of calculators.
 */
Datum
goes_aggregate_at(PG_FUNCTION_ARGS)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID, TIMESTAMPTZOID};
	MemoryContext context = CurrentMemoryContext;
	Reading		reading;
	StringInfoData sql;
	Datum		args[] = {
		PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3)
	};
	char		nulls[] = "   ";
	Datum		result = (Datum) 0;
	GoesState  *state;

	check_not_null(fcinfo, 1, "id");
	if (!PG_ARGISNULL(2) && PG_GETARG_INT64(2) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version must be at least 1")));
	nulls[1] = PG_ARGISNULL(2) ? 'n' : ' ';
	nulls[2] = PG_ARGISNULL(3) ? 'n' : ' ';
	SPI_connect();
	open_reading(&reading, fcinfo);
	/* Its last state is the one that is asked for, so give none on the way */
	begin_query(&sql, &reading, "aggregate_id OPERATOR(pg_catalog.=) $1");
	if (!PG_ARGISNULL(2))
		appendStringInfoString(&sql, " AND aggregate_version OPERATOR(pg_catalog.<=) $2");
	if (!PG_ARGISNULL(3))
		appendStringInfoString(&sql, " AND recorded_at OPERATOR(pg_catalog.<=) $3");
	appendStringInfoString(&sql, " ORDER BY aggregate_version");
	goes_events_each(reading.type, sql.data, goes_lengthof(argtypes), argtypes,
					 args, nulls, true, read_event, &reading);
	state = reading.fold->state;
	if (state != NULL && state->exists && reading.stored != NULL &&
		(PG_ARGISNULL(2) || state->version == PG_GETARG_INT64(2)))
	{
		MemoryContextSwitchTo(context);
		result = current_state(&reading);
	}
	close_reading(&reading);
	SPI_finish();
	if (result == (Datum) 0)
		PG_RETURN_NULL();
	return result;
}

/* The result set of a function that returns rows of the type's table. */
static void
begin_result(Reading *reading, FunctionCallInfo fcinfo)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	reading->result = (ReturnSetInfo *) fcinfo->resultinfo;
}

PG_FUNCTION_INFO_V1(goes_aggregates_at);

/*
 * goes_aggregates_at(aggregate anyelement, at timestamptz, up_to bigint, ids uuid[]) RETURNS SETOF anyelement
 *		The states of all aggregates of a type that existed at that time (NULL:
 *		now) after the events up to that position (NULL: any); ids: only of
 *		these.  Errors as for goes_aggregate_at.
 */
Datum
goes_aggregates_at(PG_FUNCTION_ARGS)
{
	static const Oid argtypes[] = {TIMESTAMPTZOID, INT8OID, UUIDARRAYOID};
	Reading		reading;
	StringInfoData sql;
	Datum		args[] = {
		PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3)
	};
	char		nulls[] = "   ";

	for (int i = 0; i < 3; i++)
		nulls[i] = PG_ARGISNULL(i + 1) ? 'n' : ' ';
	SPI_connect();
	open_reading(&reading, fcinfo);
	begin_result(&reading, fcinfo);
	begin_query(&sql, &reading, "true");
	if (!PG_ARGISNULL(1))
		appendStringInfoString(&sql, " AND recorded_at OPERATOR(pg_catalog.<=) $1");
	if (!PG_ARGISNULL(2))
		appendStringInfoString(&sql, " AND position OPERATOR(pg_catalog.<=) $2");
	if (!PG_ARGISNULL(3))
		appendStringInfoString(&sql, " AND aggregate_id OPERATOR(pg_catalog.=) ANY ($3)");
	appendStringInfoString(&sql, " ORDER BY aggregate_id, aggregate_version");
	goes_events_each(reading.type, sql.data, goes_lengthof(argtypes), argtypes,
					 args, nulls, true, read_event, &reading);
	if (reading.fold->state != NULL)
		leave_aggregate(&reading);
	close_reading(&reading);
	SPI_finish();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(goes_history);

/*
 * goes_history(aggregate anyelement, id uuid) RETURNS SETOF anyelement
 *		The state of one aggregate after each of its events, in order.  Errors
 *		as for goes_aggregate_at.
 */
Datum
goes_history(PG_FUNCTION_ARGS)
{
	static const Oid argtype = UUIDOID;
	Reading		reading;
	StringInfoData sql;
	Datum		arg = PG_GETARG_DATUM(1);

	check_not_null(fcinfo, 1, "id");
	SPI_connect();
	open_reading(&reading, fcinfo);
	begin_result(&reading, fcinfo);
	reading.every_state = true;
	begin_query(&sql, &reading, "aggregate_id OPERATOR(pg_catalog.=) $1");
	appendStringInfoString(&sql, " ORDER BY aggregate_version");
	goes_events_each(reading.type, sql.data, 1, &argtype, &arg, NULL, true,
					 read_event, &reading);
	close_reading(&reading);
	SPI_finish();
	return (Datum) 0;
}
