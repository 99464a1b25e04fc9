/*-------------------------------------------------------------------------
 *
 * import.c
 *	  Past events, appended by the owner of their aggregates' table.
 *
 * They are stored as if commands had appended them, but nothing decides and
 * nobody reacts.  The events are worked on some hundred at a time.  They stay in
 * memory, and so do the states of their aggregates, until all are done or take
 * too much of it; then each state is written, once, and after them the events,
 * many with one statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "aggregate.h"
#include "calculator.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "executor/spi.h"
#include "guard.h"
#include "json.h"
#include "miscadmin.h"
#include "model.h"
#include "position.h"
#include "registry.h"
#include "relation.h"
#include "replay.h"
#include "settings.h"
#include "storage/lmgr.h"
#include "upcaster.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "uuid.h"

#define WHAT "an event"

/* Events that are worked on, and written, at a time */
#define CHUNK 500

/* Aggregates that are locked at a time */
#define LOCKED_AT_ONCE 1000

/* An aggregate that the array names */
typedef struct Aggregate
{
	pg_uuid_t	id;
	bool		exists;			/* it has a row */
	int64		stored_version; /* of that, while the state is in memory */
	ItemPointerData tid;		/* where it is, if the table is plain */
	HeapTupleHeader state;		/* a value of the table's row type, or NULL */
	uint32		capacity;		/* of state, in bytes */
	int			last;			/* number of its last event that is applied */
} Aggregate;

typedef struct Import
{
	const char *type;
	GoesTables	tables;
	int			nevents;
	int			from;			/* numbers of the events at work, from 0 */
	int			to;
	JsonbIterator *elements;
	Jsonb	   *empty;			/* data and metadata that are left out */
	int			naggregates;	/* ordered by id */
	Aggregate  *aggregates;
	MemoryContext step_context; /* for the garbage of a step */
	MemoryContext context;		/* of all that is to be written: */
	int			nwritten;		/* events before that */
	int			npending;
	int			capacity;
	GoesEvent  *pending;
	List	   *changed;		/* their aggregates, in the order of the events */
} Import;

/* Errors tell which events are at work. */
static void
add_context(void *arg)
{
	const Import *import = arg;

	if (import->from == import->to)
		errcontext("event %d of %d in goes_import", import->from + 1,
				   import->nevents);
	else
		errcontext("events %d to %d of %d in goes_import", import->from + 1,
				   import->to + 1, import->nevents);
}

static void
set_at_work(Import *import, int from, int to)
{
	import->from = from;
	import->to = to;
}

/* ---------------------------------------------------------------------------
 * The tables
 * ---------------------------------------------------------------------------
 */

/*
 * Open the tables as goes_open_own_tables does, but the events table for
 * writing: nobody adds a trigger to it from now on.
 */
static void
open_tables(Import *import)
{
	for (;;)
	{
		goes_open_own_tables(&import->tables, import->type, RowExclusiveLock);
		LockRelationOid(import->tables.type->events, RowExclusiveLock);
		if (goes_aggregate_type_is_valid(import->tables.type))
			break;
		goes_close_tables(&import->tables);
		CHECK_FOR_INTERRUPTS();
	}
	goes_position_mend();
}

/* Go on with the model as it is by now. */
static void
use_latest_model(Import *import)
{
	AcceptInvalidationMessages();
	if (goes_aggregate_type_is_valid(import->tables.type))
		return;
	goes_close_tables(&import->tables);
	open_tables(import);
}

/* ---------------------------------------------------------------------------
 * The document
 * ---------------------------------------------------------------------------
 */

/* An element of the array */
typedef struct Element
{
	GoesEvent	event;
	bool		has_aggregate_id;
	bool		has_recorded_at;
} Element;

static void
take_pair(void *arg, const char *key, JsonbValue *value)
{
	Element    *element = arg;
	GoesEvent  *event = &element->event;

	if (strcmp(key, "aggregate_id") == 0)
	{
		goes_take_uuid(WHAT, key, value, &event->aggregate_id);
		element->has_aggregate_id = true;
	}
	else if (strcmp(key, "action") == 0)
		event->action = goes_take_string(WHAT, key, value);
	else if (strcmp(key, "event_version") == 0)
		event->event_version = goes_take_integer(WHAT, key, value, 1, PG_INT32_MAX);
	else if (strcmp(key, "data") == 0)
		event->data = goes_take_object(WHAT, key, value);
	else if (strcmp(key, "metadata") == 0)
		event->metadata = goes_take_object(WHAT, key, value);
	else if (strcmp(key, "recorded_at") == 0)
	{
		event->recorded_at = goes_take_time(WHAT, key, value);
		element->has_recorded_at = true;
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" in an event", key),
				 errhint("Known keys are \"aggregate_id\", \"action\", \"event_version\", \"data\", \"metadata\" and \"recorded_at\".")));
}

static void
require_key(bool given, const char *key)
{
	if (!given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" of an event is missing", key)));
}

static JsonbContainer *
element_object(const JsonbValue *value)
{
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event must be a JSON object"),
				 errhint("An event looks like {\"aggregate_id\": \"...\", \"action\": \"created\", \"data\": {}, \"recorded_at\": \"2020-12-31T23:59:59Z\"}.")));
	return value->val.binary.data;
}

/* The event of an element, with the defaults that the model does not know. */
static void
parse_event(const Import *import, const JsonbValue *value, GoesEvent *event)
{
	Element		element = {
		.event = {.data = import->empty,.metadata = import->empty}
	};

	goes_take_pairs(element_object(value), take_pair, &element);
	require_key(element.has_aggregate_id, "aggregate_id");
	require_key(element.event.action != NULL, "action");
	require_key(element.has_recorded_at, "recorded_at");
	*event = element.event;
}

/* Go to the next element of the array; false: there is none. */
static bool
next_element(JsonbIterator **elements, JsonbValue *value)
{
	JsonbIteratorToken token;

	do
		token = JsonbIteratorNext(elements, value, true);
	while (token != WJB_ELEM && token != WJB_DONE);
	return token == WJB_ELEM;
}

/* ---------------------------------------------------------------------------
 * The aggregates
 * ---------------------------------------------------------------------------
 */

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(&((const Aggregate *) a)->id, &((const Aggregate *) b)->id,
				  UUID_LEN);
}

/* All aggregates that the array names, each once. */
static void
collect_aggregates(Import *import, Jsonb *events)
{
	JsonbIterator *elements = JsonbIteratorInit(&events->root);
	Aggregate  *all = palloc_extended(Max(1, import->nevents) * sizeof(Aggregate),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	JsonbValue	value;
	int			count = 0;

	for (int i = 0; next_element(&elements, &value); i++)
	{
		JsonbContainer *object;
		JsonbValue	buffer;
		JsonbValue *id;

		set_at_work(import, i, i);
		object = element_object(&value);
		id = getKeyJsonValueFromContainer(object, "aggregate_id",
										  strlen("aggregate_id"), &buffer);
		require_key(id != NULL, "aggregate_id");
		goes_take_uuid(WHAT, "aggregate_id", id, &all[i].id);
	}
	qsort(all, import->nevents, sizeof(Aggregate), compare_ids);
	for (int i = 0; i < import->nevents; i++)
	{
		if (i == 0 || compare_ids(&all[i], &all[count - 1]) != 0)
			all[count++] = all[i];
	}
	import->aggregates = all;
	import->naggregates = count;
}

/*
 * Lock those that exist in the order of their ids, so that two imports do not
 * deadlock.
 */
static void
lock_aggregates(Import *import)
{
	pg_uuid_t	ids[LOCKED_AT_ONCE];
	bool		exist[LOCKED_AT_ONCE];

	set_at_work(import, 0, import->nevents - 1);
	for (int from = 0; from < import->naggregates; from += LOCKED_AT_ONCE)
	{
		int			count = Min(LOCKED_AT_ONCE, import->naggregates - from);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
			ids[i] = import->aggregates[from + i].id;
		SPI_connect();
		goes_aggregates_lock(import->tables.type, import->tables.aggregate, ids,
							 count, exist);
		SPI_finish();
		for (int i = 0; i < count; i++)
			import->aggregates[from + i].exists = exist[i];
	}
}

static Aggregate *
find_aggregate(const Import *import, const pg_uuid_t *id)
{
	Aggregate	key = {.id = *id};

	return bsearch(&key, import->aggregates, import->naggregates,
				   sizeof(Aggregate), compare_ids);
}

/* Keep the state in memory. */
static void
keep_state(Import *import, Aggregate *aggregate, GoesState *state)
{
	HeapTupleHeader row = (HeapTupleHeader) DatumGetPointer(goes_state_to_datum(state));
	uint32		size = HeapTupleHeaderGetDatumLength(row);

	if (size > aggregate->capacity)
	{
		if (aggregate->state != NULL)
			pfree(aggregate->state);
		aggregate->state = MemoryContextAllocHuge(import->context, size);
		aggregate->capacity = size;
	}
	memcpy(aggregate->state, row, size);
}

/* Read an aggregate whose state is not in memory. */
static void
load(Import *import, Aggregate *aggregate)
{
	GoesState  *state;

	SPI_connect();
	state = goes_aggregate_load(import->tables.type, import->tables.aggregate,
								&aggregate->id, GOES_LOAD_READ);
	aggregate->stored_version = state->version;
	aggregate->tid = state->tid;
	keep_state(import, aggregate, state);
	SPI_finish();
}

/* The state that is in memory, in the current context; else the initial one. */
static GoesState *
current_state(const Import *import, const Aggregate *aggregate)
{
	const GoesLayout *layout = import->tables.type->layout;
	GoesState  *state = goes_initial_state(layout, import->tables.aggregate,
										   &aggregate->id);

	if (aggregate->state != NULL)
	{
		goes_state_from_datum(state, PointerGetDatum(aggregate->state));
		goes_state_advance(layout, state);
	}
	return state;
}

/* ---------------------------------------------------------------------------
 * The events
 * ---------------------------------------------------------------------------
 */

static int32
latest_version(const GoesAggregateType *type, const GoesEvent *event)
{
	const GoesEventType *latest = goes_latest_event_type(type, event->action);

	if (latest == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("event \"%s.%s\" is not registered", type->name, event->action),
				 errdetail("It is of aggregate %s.",
						   goes_uuid_string(&event->aggregate_id)),
				 errhint("Register it with goes_register_event."),
				 goes_errtable(type->relation)));
	return latest->version;
}

static void
check_time(const GoesAggregateType *type, const GoesState *state,
		   const GoesEvent *event)
{
	char	   *time;

	if (!state->exists || event->recorded_at >= state->updated_at)
		return;
	/* The other one has the buffer of timestamptz_to_str */
	time = pstrdup(timestamptz_to_str(event->recorded_at));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("event is earlier than the last one of aggregate %s of type \"%s\"",
					goes_uuid_string(&state->id), type->name),
			 errdetail("It was recorded at %s, version " INT64_FORMAT " of the aggregate at %s.",
					   time, state->version, timestamptz_to_str(state->updated_at)),
			 errhint("Import the events of an aggregate in the order of their times."),
			 goes_errtable(type->relation)));
}

/* Give the event what only the database knows. */
static void
complete_event(const Import *import, const GoesState *state, GoesEvent *event)
{
	GoesAggregateType *type = import->tables.type;

	check_time(type, state, event);
	event->aggregate_type = type->name;
	if (event->event_version == 0)
		event->event_version = latest_version(type, event);
	event->aggregate_version = state->version + 1;
	event->position = goes_position_next();
	goes_new_uuid(&event->id);
}

/* Calculate the state after an event, in the current context. */
static void
calculate(const Import *import, GoesState *state, GoesEvent *event)
{
	GoesAggregateType *type = import->tables.type;
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = goes_event_context,
		.arg = event
	};

	error_context_stack = &context;
	goes_calculate(type, state, goes_upcast(type, event));
	error_context_stack = context.previous;
}

/* Apply a pending event to its aggregate, which is not written yet. */
static void
apply_event(Import *import, GoesEvent *event)
{
	Aggregate  *aggregate = find_aggregate(import, &event->aggregate_id);
	MemoryContext oldcontext;
	GoesState  *state;

	if (aggregate->state == NULL)
	{
		oldcontext = MemoryContextSwitchTo(import->context);
		import->changed = lappend(import->changed, aggregate);
		MemoryContextSwitchTo(oldcontext);
		if (aggregate->exists)
			load(import, aggregate);
	}
	state = current_state(import, aggregate);
	complete_event(import, state, event);
	calculate(import, state, event);
	keep_state(import, aggregate, state);
	aggregate->last = import->from;
}

/* Parse some more elements; false: there is none. */
static bool
parse_chunk(Import *import)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(import->context);
	int			before = import->npending;
	JsonbValue	value;

	if (import->capacity < before + CHUNK)
	{
		import->capacity = Max(before + CHUNK, import->capacity * 2);
		import->pending = import->pending == NULL ?
			palloc(import->capacity * sizeof(GoesEvent)) :
			repalloc_huge(import->pending, import->capacity * sizeof(GoesEvent));
	}
	while (import->npending < before + CHUNK &&
		   next_element(&import->elements, &value))
	{
		int			at = import->nwritten + import->npending;

		set_at_work(import, at, at);
		parse_event(import, &value, &import->pending[import->npending]);
		import->npending++;
	}
	MemoryContextSwitchTo(oldcontext);
	return import->npending > before;
}

/* Apply the pending events from one on. */
static void
apply_chunk(Import *import, int first)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(import->step_context);
	int			nestlevel = goes_fix_settings();

	for (int i = first; i < import->npending; i++)
	{
		CHECK_FOR_INTERRUPTS();
		set_at_work(import, import->nwritten + i, import->nwritten + i);
		apply_event(import, &import->pending[i]);
		MemoryContextReset(import->step_context);
	}
	goes_restore_settings(nestlevel);
	MemoryContextSwitchTo(oldcontext);
}

/* ---------------------------------------------------------------------------
 * Writing
 * ---------------------------------------------------------------------------
 */

static void
store_state(Import *import, Aggregate *aggregate)
{
	GoesState  *state = current_state(import, aggregate);

	state->exists = aggregate->exists;
	state->version = aggregate->stored_version;
	state->tid = aggregate->tid;
	set_at_work(import, aggregate->last, aggregate->last);
	if (goes_aggregate_store(import->tables.type, import->tables.aggregate,
							 state) != GOES_STORED)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("aggregate %s of type \"%s\" was %s while its events were imported",
						goes_uuid_string(&aggregate->id), import->tables.type->name,
						aggregate->exists ? "changed" : "created"),
				 errhint("Import them again."),
				 errtable(import->tables.aggregate)));
	SPI_freetuptable(SPI_tuptable);
	aggregate->exists = true;
	ItemPointerSetInvalid(&aggregate->tid);
	aggregate->state = NULL;
	aggregate->capacity = 0;
}

/* Before the events, which may refer to the aggregates. */
static void
store_states(Import *import)
{
	ListCell   *cell;

	foreach(cell, import->changed)
	{
		CHECK_FOR_INTERRUPTS();
		store_state(import, lfirst(cell));
		MemoryContextReset(import->step_context);
	}
}

/* Write some of the pending events, from one on; returns how many. */
static int
append_events(Import *import, int first)
{
	Relation	events = import->tables.events;
	int			count = goes_may_be_changed(events) ? 1 :
		Min(CHUNK, import->npending - first);
	int			number = import->nwritten + first;

	set_at_work(import, number, number + count - 1);
	SPI_connect();
	if (goes_may_be_changed(events))
		goes_event_append(import->tables.type, events, &import->pending[first],
						  NULL, true);
	else
		goes_events_import(import->tables.type, events, &import->pending[first],
						   count);
	SPI_finish();
	return count;
}

/* Write all that is pending, and forget it. */
static void
write_pending(Import *import)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(import->step_context);
	int			next = 0;

	store_states(import);
	while (next < import->npending)
	{
		CHECK_FOR_INTERRUPTS();
		next += append_events(import, next);
		MemoryContextReset(import->step_context);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(import->context);
	import->nwritten += import->npending;
	import->npending = 0;
	import->capacity = 0;
	import->pending = NULL;
	import->changed = NIL;
}

static bool
is_full(const Import *import)
{
	return MemoryContextMemAllocated(import->context, true) >
		maintenance_work_mem * (Size) 1024;
}

/* ---------------------------------------------------------------------------
 * The whole
 * ---------------------------------------------------------------------------
 */

static void
import_all(Import *import, Jsonb *events)
{
	import->elements = JsonbIteratorInit(&events->root);
	import->empty = goes_empty_object();
	import->step_context = AllocSetContextCreate(CurrentMemoryContext,
												 "goes import step",
												 ALLOCSET_DEFAULT_SIZES);
	import->context = AllocSetContextCreate(CurrentMemoryContext, "goes import",
											ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		int			first = import->npending;

		if (!parse_chunk(import))
			break;
		apply_chunk(import, first);
		if (is_full(import))
			write_pending(import);
	}
	write_pending(import);
}

/* Do it; what an error leaves in the guards belongs to whoever called. */
static void
run(Import *import, Jsonb *events)
{
	GoesExpectation expected = goes_guard_save();
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_context,
		.arg = import
	};

	error_context_stack = &context;
	PG_TRY();
	{
		collect_aggregates(import, events);
		lock_aggregates(import);
		/* What a transaction that we waited for has registered counts */
		use_latest_model(import);
		import_all(import, events);
	}
	PG_FINALLY();
	{
		goes_guard_restore(expected);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
}

static Jsonb *
events_arg(FunctionCallInfo fcinfo, int n)
{
	Jsonb	   *events;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "events")));
	events = PG_GETARG_JSONB_P(n);
	if (!JB_ROOT_IS_ARRAY(events) || JB_ROOT_IS_SCALAR(events))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events must be a JSON array")));
	return events;
}

PG_FUNCTION_INFO_V1(goes_import);

/*
 * goes_import(aggregate_type text, events jsonb) RETURNS bigint
 *		Append past events, a JSON array of aggregate_id, action, event_version,
 *		data, metadata and recorded_at, those of an aggregate in their order;
 *		returns how many.  Calculators and upcasters run, no commands and no
 *		reactors.  All or nothing.  Errors: 22004, 22023 for the document and for
 *		a time before the aggregate's last one, 42501, 40001, OG008, OG011, those
 *		of calculators, upcasters, triggers and constraints; their context tells
 *		which event it was.
 */
Datum
goes_import(PG_FUNCTION_ARGS)
{
	Import		import = {.type = goes_text_arg(fcinfo, 0, "aggregate_type")};
	Jsonb	   *events = events_arg(fcinfo, 1);

	import.nevents = JB_ROOT_COUNT(events);
	SPI_connect();
	open_tables(&import);
	if (import.nevents > 0)
		run(&import, events);
	goes_close_tables(&import.tables);
	SPI_finish();
	PG_RETURN_INT64(import.nevents);
}
