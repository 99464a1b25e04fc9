/*-------------------------------------------------------------------------
 *
 * read.c
 *	  Reading on: the events of all types in the order of their positions.
 *
 * Up to the stored horizon under the caller's snapshot nothing can still
 * appear, and the same snapshot shows all of it; so whoever remembers the last
 * position misses nothing, in any isolation level and on a standby.
 *
 * Each type is a query that runs as the caller under that snapshot, through a
 * cursor; the cursors are merged by position.  Memory is bounded, but for the
 * result, which goes to disk when it is large.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "horizon.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "pattern.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "shared.h"
#include "storage/lmgr.h"
#include "upcaster.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* Events of one type that are read at a time */
#define FETCH_COUNT 200

/* The events of one type */
typedef struct Stream
{
	GoesAggregateType *type;
	Portal		portal;
	SPITupleTable *rows;		/* fetched last */
	uint64		nrows;
	uint64		row;			/* the one that is next */
	int64		position;		/* its position */
} Stream;

/* A read that is going on */
typedef struct Reading
{
	GoesReactor wanted;			/* only its patterns */
	int64		after;
	int64		up_to;
	int64		max_events;		/* -1: all */
	List	   *streams;
	binaryheap *heap;			/* those that have more; the next event first */
	MemoryContext event_context;
	Tuplestorestate *result;
} Reading;

/* ---------------------------------------------------------------------------
 * Arguments
 * ---------------------------------------------------------------------------
 */

/* Is an event of that action and version registered, or one that is upcast? */
static bool
is_known(const GoesPattern *pattern, const GoesAggregateType *type)
{
	bool		known = pattern->action == NULL;

	for (int i = 0; i < type->nevents && !known; i++)
		known = goes_pattern_matches(pattern, type->name,
									 type->event_types[i].action,
									 type->event_types[i].version);
	for (int i = 0; i < type->nupcasters && !known; i++)
		known = goes_pattern_matches(pattern, type->name,
									 type->upcasters[i].action,
									 type->upcasters[i].from_version);
	return known;
}

/* A pattern must name what is registered, or it is a typing error. */
static void
check_pattern(const GoesPattern *pattern)
{
	if (pattern->type != NULL &&
		!is_known(pattern, goes_get_aggregate_type(pattern->type)))
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("event \"%s\" is not registered",
						goes_pattern_to_string(pattern)),
				 errhint("Register it with goes_register_event.")));
}

static void
take_patterns(Reading *reading, FunctionCallInfo fcinfo)
{
	GoesReactor *wanted = &reading->wanted;
	Datum	   *texts;
	bool	   *nulls;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "events")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &texts, &nulls, &wanted->npatterns);
	wanted->patterns = palloc0(Max(1, wanted->npatterns) * sizeof(GoesPattern));
	for (int i = 0; i < wanted->npatterns; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", "events")));
		goes_pattern_parse(TextDatumGetCString(texts[i]), &wanted->patterns[i]);
		check_pattern(&wanted->patterns[i]);
	}
}

static void
take_arguments(Reading *reading, FunctionCallInfo fcinfo)
{
	take_patterns(reading, fcinfo);
	reading->after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	reading->max_events = PG_ARGISNULL(2) ? -1 : PG_GETARG_INT32(2);
	if (!PG_ARGISNULL(2) && reading->max_events < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_events must not be negative")));
}

/* ---------------------------------------------------------------------------
 * One type
 * ---------------------------------------------------------------------------
 */

/* The type with its tables locked, as it is then; NULL: it has just gone. */
static GoesAggregateType *
lock_type(const char *name)
{
	GoesAggregateType *type = goes_find_aggregate_type(name);

	while (type != NULL)
	{
		Oid			relation = type->relation;
		Oid			events = type->events;

		LockRelationOid(relation, AccessShareLock);
		LockRelationOid(events, AccessShareLock);
		type = goes_find_aggregate_type(name);
		if (type != NULL && type->relation == relation && type->events == events)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	return type;
}

/*
 * Raise 42501 if the user may not read a table of the type.  Whether it is
 * enough that he may read some columns is for the query to find out.
 */
static void
check_may_read(const GoesAggregateType *type, Oid relation, const char *why)
{
	if (pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relation, GetUserId(), ACL_SELECT,
								  ACLMASK_ANY) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for table %s", get_rel_name(relation)),
				 errdetail(why, type->name),
				 errhint("Name the events that you may read, or have SELECT on the table granted."),
				 goes_errtable(relation)));
}

/* Does row-level security of the aggregate table apply to the user? */
static bool
has_policies(const GoesAggregateType *type)
{
	return check_enable_rls(type->relation, InvalidOid, true) == RLS_ENABLED;
}

static void
check_privileges(const GoesAggregateType *type)
{
	check_may_read(type, type->events,
				   "It holds the events of aggregate type \"%s\", which match.");
	if (has_policies(type))
		check_may_read(type, type->relation,
					   "Its row-level security tells which events of aggregate type \"%s\" are visible.");
}

/*
 * The query of a type.  $1: after; $2: up to; $3: how many (NULL: all).  Even
 * where the events table has no policies, an event is only visible when its
 * aggregate is.
 */
static char *
make_query(const Reading *reading, const GoesAggregateType *type)
{
	const GoesReactor *wanted = &reading->wanted;
	char	   *condition = goes_patterns_condition(wanted->patterns, wanted->npatterns,
													type->name, "e.");
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s e"
					 " WHERE e.position OPERATOR(pg_catalog.>) $1"
					 " AND e.position OPERATOR(pg_catalog.<=) $2",
					 goes_event_columns(), goes_relation_name(type->events));
	if (condition != NULL)
		appendStringInfo(&sql, " AND (%s)", condition);
	if (has_policies(type))
		appendStringInfo(&sql, " AND EXISTS (SELECT FROM %s a"
						 " WHERE a.id OPERATOR(pg_catalog.=) e.aggregate_id)",
						 goes_relation_name(type->relation));
	appendStringInfoString(&sql, " ORDER BY e.position LIMIT $3");
	return sql.data;
}

/* Go to the next row; false: there is none. */
static bool
advance(Stream *stream)
{
	HeapTuple	tuple;
	bool		isnull;

	if (++stream->row >= stream->nrows)
	{
		SPI_freetuptable(stream->rows);
		SPI_cursor_fetch(stream->portal, true, FETCH_COUNT);
		stream->rows = SPI_tuptable;
		stream->nrows = SPI_processed;
		stream->row = 0;
		if (stream->nrows == 0)
			return false;
	}
	tuple = stream->rows->vals[stream->row];
	stream->position = DatumGetInt64(SPI_getbinval(tuple, stream->rows->tupdesc,
												   1, &isnull));
	return true;
}

/* Start to read a type; NULL if it has just gone. */
static Stream *
open_stream(const Reading *reading, const char *name)
{
	Oid			argtypes[] = {INT8OID, INT8OID, INT8OID};
	Datum		args[] = {
		Int64GetDatum(reading->after),
		Int64GetDatum(reading->up_to),
		Int64GetDatum(reading->max_events)
	};
	GoesAggregateType *type = lock_type(name);
	Stream	   *stream;

	if (type == NULL)
		return NULL;
	check_privileges(type);
	stream = palloc0(sizeof(Stream));
	stream->type = type;
	stream->portal = SPI_cursor_open_with_args(NULL, make_query(reading, type),
											   goes_lengthof(argtypes), argtypes, args,
											   reading->max_events < 0 ? "  n" : NULL,
											   true, CURSOR_OPT_NO_SCROLL);
	/* Or an upcaster, or a function of a policy, could close it */
	PinPortal(stream->portal);
	return stream;
}

static void
close_stream(Stream *stream)
{
	UnpinPortal(stream->portal);
	SPI_cursor_close(stream->portal);
}

/* ---------------------------------------------------------------------------
 * All types
 * ---------------------------------------------------------------------------
 */

/* The first element of a binary heap is the greatest: that of the lowest position. */
static int
compare_streams(Datum a, Datum b, void *arg)
{
	int64		x = ((const Stream *) DatumGetPointer(a))->position;
	int64		y = ((const Stream *) DatumGetPointer(b))->position;

	return x > y ? -1 : x < y;
}

static void
open_streams(Reading *reading)
{
	List	   *targets = goes_reactor_targets(&reading->wanted);
	ListCell   *cell;

	/* All are checked before anything is read */
	foreach(cell, targets)
	{
		Stream	   *stream = open_stream(reading,
										 ((const GoesReactorTarget *) lfirst(cell))->type);

		if (stream != NULL)
			reading->streams = lappend(reading->streams, stream);
	}
	reading->heap = binaryheap_allocate(Max(1, list_length(reading->streams)),
										compare_streams, NULL);
	foreach(cell, reading->streams)
	{
		if (advance(lfirst(cell)))
			binaryheap_add_unordered(reading->heap, PointerGetDatum(lfirst(cell)));
	}
	binaryheap_build(reading->heap);
}

static void
close_streams(Reading *reading)
{
	ListCell   *cell;

	foreach(cell, reading->streams)
		close_stream(lfirst(cell));
}

static void
give_event(Reading *reading, const GoesEvent *event)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(goes_event_to_datum(event, false));
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	tuplestore_puttuple(reading->result, &tuple);
}

/* Give the event that a stream is at. */
static void
give_next(Reading *reading, const Stream *stream)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(reading->event_context);
	GoesEvent  *event = goes_event_from_columns(stream->type->name,
												stream->rows->tupdesc,
												stream->rows->vals[stream->row]);
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = goes_event_context,
		.arg = event
	};

	error_context_stack = &context;
	give_event(reading, goes_upcast_as_owner(stream->type, event));
	error_context_stack = context.previous;
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(reading->event_context);
}

/* Give the events of all streams, the lowest position first. */
static void
merge(Reading *reading)
{
	for (int64 count = 0; count != reading->max_events; count++)
	{
		Stream	   *stream;

		CHECK_FOR_INTERRUPTS();
		if (binaryheap_empty(reading->heap))
			return;
		stream = (Stream *) DatumGetPointer(binaryheap_first(reading->heap));
		give_next(reading, stream);
		if (advance(stream))
			binaryheap_replace_first(reading->heap, PointerGetDatum(stream));
		else
			(void) binaryheap_remove_first(reading->heap);
	}
}

PG_FUNCTION_INFO_V1(goes_events);

/*
 * goes_events(events text[], after bigint, max_events integer) RETURNS SETOF goes_event
 *		The events that match any of the patterns, of all types, after that
 *		position (NULL: 0) and up to the stored horizon, at most max_events
 *		(NULL: all), in the order of their positions; as the upcasters leave them
 *		and without transient data.  What row-level security hides, an event or
 *		its aggregate, is left out.  Errors: 22004, 22023, OG008 for unknown types
 *		and events, 42501 if the table of any matching type may not be read, 55000
 *		without the preload, and those of upcasters.
 */
Datum
goes_events(PG_FUNCTION_ARGS)
{
	Reading		reading = {0};

	goes_require_preload();
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	reading.result = ((ReturnSetInfo *) fcinfo->resultinfo)->setResult;
	SPI_connect();
	take_arguments(&reading, fcinfo);
	reading.up_to = goes_horizon_persisted(GetActiveSnapshot());
	reading.event_context = AllocSetContextCreate(CurrentMemoryContext, "goes event",
												  ALLOCSET_DEFAULT_SIZES);
	open_streams(&reading);
	merge(&reading);
	close_streams(&reading);
	SPI_finish();
	return (Datum) 0;
}
