/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *	  The reactors of a stored event, run again.
 *
 * A sync reactor is run by its trigger, which fires as if the event had just been
 * inserted; async and outside ones get the event in their turn.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "aggregate.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "execute.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "pending.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "replay.h"
#include "role.h"
#include "shared.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "uuid.h"

/* A dispatch that is going on */
typedef struct Dispatch
{
	GoesTables	tables;
	Relation	leaf;			/* the table or partition that holds the event */
	TupleTableSlot *slot;		/* the event's row in it */
	TriggerDesc *triggers;		/* of leaf */
	TriggerDesc *chosen;		/* those of them that are to fire, or NULL */
	GoesEvent  *event;
	bool		imported;
	List	   *reactors;
} Dispatch;

/* ---------------------------------------------------------------------------
 * The event
 * ---------------------------------------------------------------------------
 */

/* A field of a goes_event, which must not be NULL. */
static Datum
take_field(HeapTupleHeader event, const char *name)
{
	bool		isnull;
	Datum		value = GetAttributeByName(event, name, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("field \"%s\" of argument \"event\" must not be null", name)));
	return value;
}

static void
report_no_event(const GoesAggregateType *type, int64 position)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no event at position " INT64_FORMAT " of aggregate type \"%s\"",
					position, type->name),
			 goes_errtable(type->events)));
}

/* Find the table and the place of the event's row, whoever the user is. */
static void
locate(const Dispatch *dispatch, int64 position, Oid *table, ItemPointer place)
{
	const GoesAggregateType *type = dispatch->tables.type;
	Oid			argtype = INT8OID;
	Datum		arg = Int64GetDatum(position);
	GoesRole	before = goes_become(goes_relation_owner(type->events));
	bool		isnull;

	if (SPI_execute_with_args(psprintf("SELECT tableoid, ctid FROM %s"
									   " WHERE position OPERATOR(pg_catalog.=) $1",
									   goes_relation_name(type->events)),
							  1, &argtype, &arg, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read events table \"%s\"",
			 get_rel_name(type->events));
	goes_unbecome(before);
	if (SPI_processed == 0)
		report_no_event(type, position);
	*table = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	*place = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0],
														  SPI_tuptable->tupdesc,
														  2, &isnull));
}

/* Read the event as it is stored, with its row and the triggers on that. */
static void
read_event(Dispatch *dispatch, int64 position)
{
	TupleDesc	desc;
	HeapTuple	row;
	Oid			table;
	ItemPointerData place;
	bool		is_copy;

	locate(dispatch, position, &table, &place);
	dispatch->leaf = table_open(table, AccessShareLock);
	dispatch->slot = table_slot_create(dispatch->leaf, NULL);
	if (!table_tuple_fetch_row_version(dispatch->leaf, &place, SnapshotSelf,
									   dispatch->slot))
		report_no_event(dispatch->tables.type, position);
	dispatch->triggers = CopyTriggerDesc(dispatch->leaf->trigdesc);
	desc = RelationGetDescr(dispatch->leaf);
	row = ExecFetchSlotHeapTuple(dispatch->slot, false, &is_copy);
	dispatch->event = goes_event_from_row(dispatch->tables.type->name, desc, row);
	dispatch->imported = goes_event_is_imported(desc, row);
	if (is_copy)
		heap_freetuple(row);
}

/* ---------------------------------------------------------------------------
 * The reactors
 * ---------------------------------------------------------------------------
 */

/* Does the reactor, whose patterns match, get such events? */
static bool
gets_events(const Dispatch *dispatch, const GoesReactor *reactor)
{
	return reactor->mode == GOES_SYNC ?
		goes_reactor_trigger(reactor, dispatch->triggers) != NULL :
		goes_reactor_reaches(reactor, dispatch->tables.type->relation);
}

static void
check_gets_events(const Dispatch *dispatch, const GoesReactor *reactor)
{
	const GoesEvent *event = dispatch->event;
	const char *problem = NULL;

	if (!goes_reactor_matches(reactor, event))
		problem = "None of its patterns matches.";
	else if (!gets_events(dispatch, reactor))
		problem = reactor->mode == GOES_SYNC ?
			"Its trigger is missing or disabled." :
			"Its owner does not have the rights of the table's owner.";
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reactor \"%s\" does not react to event \"%s.%s.%d\"",
						reactor->name, event->aggregate_type, event->action,
						event->event_version),
				 errdetail("%s", problem),
				 goes_errtable(dispatch->tables.type->events)));
}

/* Those to be run: the one of that name, or all that get the event. */
static void
find_reactors(Dispatch *dispatch, const char *name)
{
	ListCell   *cell;

	if (name != NULL)
	{
		GoesReactor *reactor = goes_reactor_find(name);

		check_gets_events(dispatch, reactor);
		dispatch->reactors = list_make1(reactor);
		return;
	}
	foreach(cell, goes_reactors_matching(dispatch->event))
	{
		if (gets_events(dispatch, lfirst(cell)))
			dispatch->reactors = lappend(dispatch->reactors, lfirst(cell));
	}
}

/*
 * The triggers of the sync reactors, without their conditions, which leave out
 * events that were imported; NULL: there are none.
 */
static TriggerDesc *
sync_triggers(const Dispatch *dispatch)
{
	TriggerDesc *chosen = palloc0(sizeof(TriggerDesc));
	ListCell   *cell;

	chosen->triggers = palloc(list_length(dispatch->reactors) * sizeof(Trigger));
	chosen->trig_insert_after_row = true;
	foreach(cell, dispatch->reactors)
	{
		const GoesReactor *reactor = lfirst(cell);
		Trigger    *trigger = &chosen->triggers[chosen->numtriggers];

		if (reactor->mode != GOES_SYNC)
			continue;
		*trigger = *goes_reactor_trigger(reactor, dispatch->triggers);
		trigger->tgqual = NULL;
		chosen->numtriggers++;
	}
	return chosen->numtriggers > 0 ? chosen : NULL;
}

/* Let PostgreSQL fire them, as it did when the row was inserted. */
static void
fire_triggers(void *arg)
{
	const Dispatch *dispatch = arg;
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *relation = makeNode(ResultRelInfo);

	InitResultRelInfo(relation, dispatch->leaf, 1, NULL, 0);
	relation->ri_TrigDesc = dispatch->chosen;
	estate->es_opened_result_relations = list_make1(relation);
	/* They see what was done before, by the ones for another event perhaps */
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	AfterTriggerBeginQuery();
	ExecARInsertTriggers(estate, relation, dispatch->slot, NIL, NULL);
	AfterTriggerEndQuery(estate);
	PopActiveSnapshot();
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
}

/* Run the sync reactors, in the order of their names. */
static void
run_sync(Dispatch *dispatch)
{
	dispatch->chosen = sync_triggers(dispatch);
	if (dispatch->chosen != NULL)
		goes_run_reaction(dispatch->tables.type, dispatch->tables.aggregate,
						  dispatch->event, fire_triggers, dispatch);
}

/* Let the others have the event in their turn; false: there are none. */
static bool
queue_others(const Dispatch *dispatch)
{
	bool		any = false;
	ListCell   *cell;

	foreach(cell, dispatch->reactors)
	{
		const GoesReactor *reactor = lfirst(cell);

		if (reactor->mode == GOES_SYNC)
			continue;
		goes_pending_repeat(reactor, dispatch->event, dispatch->imported);
		any = true;
	}
	return any;
}

/* ---------------------------------------------------------------------------
 * The SQL function
 * ---------------------------------------------------------------------------
 */

static void
open_tables(GoesTables *tables, const char *type)
{
	tables->type = goes_open_tables(type, AccessShareLock, &tables->aggregate,
									&tables->events);
	goes_check_owner(tables->type->events);
	goes_check_no_policies(tables->aggregate);
	goes_check_no_policies(tables->events);
}

/* Run or queue what is to react; true: something is queued. */
static bool
dispatch_event(Dispatch *dispatch, int64 position, const char *reactor)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = goes_event_context
	};
	bool		queued;

	read_event(dispatch, position);
	context.arg = dispatch->event;
	error_context_stack = &context;
	find_reactors(dispatch, reactor);
	run_sync(dispatch);
	queued = queue_others(dispatch);
	error_context_stack = context.previous;
	ExecDropSingleTupleTableSlot(dispatch->slot);
	table_close(dispatch->leaf, AccessShareLock);
	return queued;
}

PG_FUNCTION_INFO_V1(goes_dispatch);

/*
 * goes_dispatch(event goes_event, reactor text) RETURNS void
 *		Run the reactors of a stored event again, without transient data: of the
 *		argument only aggregate type and position count.  Sync reactors run now,
 *		as the user; async and outside ones get the event in their turn, unless
 *		they get it anyway.  reactor NULL: all that match.  Errors: 22004, OG008
 *		for an unknown type or reactor, 22023 if there is no such event or the
 *		reactor does not get it, 42501 unless the user owns the events table and
 *		sees all rows, and those of sync reactors.
 */
Datum
goes_dispatch(PG_FUNCTION_ARGS)
{
	Dispatch	dispatch = {0};
	HeapTupleHeader event;
	char	   *reactor = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "event")));
	event = PG_GETARG_HEAPTUPLEHEADER(0);
	SPI_connect();
	open_tables(&dispatch.tables,
				TextDatumGetCString(take_field(event, "aggregate_type")));
	/* Once in a query */
	if (dispatch_event(&dispatch, DatumGetInt64(take_field(event, "position")),
					   reactor) && fcinfo->flinfo->fn_extra == NULL)
	{
		goes_warn_without_preload();
		fcinfo->flinfo->fn_extra = fcinfo->flinfo;
	}
	goes_close_tables(&dispatch.tables);
	SPI_finish();
	PG_RETURN_VOID();
}
