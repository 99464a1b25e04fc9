/*-------------------------------------------------------------------------
 *
 * react.c
 *	  The trigger that calls a sync reactor.
 *
 * A reactor whose function RETURNS trigger is called by PostgreSQL itself; one
 * that takes the event, or the aggregate and the event, by goes.react(), whose
 * arguments are the reactor and its patterns.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "aggregate.h"
#include "catalog/partition.h"
#include "commands/trigger.h"
#include "event.h"
#include "execute.h"
#include "executor/spi.h"
#include "pattern.h"
#include "reactor.h"
#include "registry.h"
#include "upcaster.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "uuid.h"

/* What is known of a trigger: its arguments, parsed, and its function */
typedef struct Binding
{
	MemoryContext context;
	uint64		generation;		/* of the registry */
	char	   *type;
	int			nargs;
	char	  **args;			/* the trigger's */
	GoesPattern *patterns;		/* nargs - 1 */
	GoesFunction *function;
	bool		with_aggregate;
} Binding;

typedef struct BindingEntry
{
	Oid			trigger;		/* hash key */
	Binding    *binding;
} BindingEntry;

static HTAB *bindings = NULL;

/* ---------------------------------------------------------------------------
 * Bindings
 * ---------------------------------------------------------------------------
 */

/* The events table that is registered: the trigger's, or its partitioned root. */
static Oid
root_relation(Relation relation)
{
	Oid			relid = RelationGetRelid(relation);

	return relation->rd_rel->relispartition ?
		llast_oid(get_partition_ancestors(relid)) : relid;
}

/* The form of the reactor as registered; one that is not takes the event. */
static GoesForm
registered_form(const char *name)
{
	GoesReactor *reactor = goes_reactor_read(name);

	return reactor ? reactor->form : GOES_FORM_EVENT;
}

static void
bind_function(Binding *binding, const char *name, GoesForm form)
{
	GoesAggregateType *type = goes_get_aggregate_type(binding->type);
	GoesSignature signature = goes_reactor_signature(form, type->rowtype);

	binding->with_aggregate = form == GOES_FORM_AGGREGATE;
	binding->function = goes_function_create(binding->context, name, &signature,
											 "sync reactor");
}

static Binding *
make_binding(const TriggerData *trigger)
{
	MemoryContext context = AllocSetContextCreate(CurTransactionContext,
												  "goes sync reactor",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext;
	Binding    *binding;
	int			nargs = trigger->tg_trigger->tgnargs;
	GoesForm	form;
	uint64		generation;

	(void) goes_objects();
	generation = goes_registry_generation();
	form = registered_form(trigger->tg_trigger->tgargs[0]);

	oldcontext = MemoryContextSwitchTo(context);
	binding = palloc0(sizeof(Binding));
	binding->context = context;
	binding->generation = generation;
	binding->type = goes_aggregate_type_of_relation(root_relation(trigger->tg_relation));
	if (binding->type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" is not a registered events table",
						RelationGetRelationName(trigger->tg_relation)),
				 errhint("Register it with goes_register_aggregate, or drop the trigger \"%s\".",
						 trigger->tg_trigger->tgname)));
	binding->nargs = nargs;
	binding->args = palloc(nargs * sizeof(char *));
	binding->patterns = palloc0(nargs * sizeof(GoesPattern));
	for (int i = 0; i < nargs; i++)
	{
		binding->args[i] = pstrdup(trigger->tg_trigger->tgargs[i]);
		if (i > 0)
			goes_pattern_parse(binding->args[i], &binding->patterns[i - 1]);
	}
	bind_function(binding, binding->args[0], form);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextSetParent(context, CacheMemoryContext);
	return binding;
}

static bool
binding_is_valid(const Binding *binding, const Trigger *trigger)
{
	if (binding->generation != goes_registry_generation() ||
		binding->nargs != trigger->tgnargs)
		return false;
	for (int i = 0; i < binding->nargs; i++)
	{
		if (strcmp(binding->args[i], trigger->tgargs[i]) != 0)
			return false;
	}
	return true;
}

static BindingEntry *
binding_entry(Oid trigger)
{
	BindingEntry *entry;
	bool		found;

	if (bindings == NULL)
	{
		HASHCTL		info = {
			.keysize = sizeof(Oid),
			.entrysize = sizeof(BindingEntry)
		};

		bindings = hash_create("goes sync reactors", 64, &info,
							   HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(bindings, &trigger, HASH_ENTER, &found);
	if (!found)
		entry->binding = NULL;
	return entry;
}

/*
 * Forget what the registry has outdated: a trigger that was dropped is never
 * asked for again.
 */
static void
sweep_bindings(void)
{
	static uint64 swept = 0;
	HASH_SEQ_STATUS status;
	BindingEntry *entry;

	if (bindings == NULL || swept == goes_registry_generation())
		return;
	swept = goes_registry_generation();
	hash_seq_init(&status, bindings);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->binding != NULL && entry->binding->generation == swept)
			continue;
		if (entry->binding != NULL)
			goes_retire(entry->binding->context);
		hash_search(bindings, &entry->trigger, HASH_REMOVE, NULL);
	}
}

static Binding *
get_binding(const TriggerData *trigger)
{
	Oid			oid = trigger->tg_trigger->tgoid;
	BindingEntry *entry;
	Binding    *binding;

	sweep_bindings();
	entry = binding_entry(oid);
	if (entry->binding != NULL &&
		binding_is_valid(entry->binding, trigger->tg_trigger))
		return entry->binding;
	if (entry->binding != NULL)
		goes_retire(entry->binding->context);
	entry->binding = NULL;
	binding = make_binding(trigger);
	/* The hash table may have changed while the registry was read */
	binding_entry(oid)->binding = binding;
	return binding;
}

/* ---------------------------------------------------------------------------
 * The call
 * ---------------------------------------------------------------------------
 */

static bool
matches(const Binding *binding, const GoesEvent *event)
{
	for (int i = 0; i < binding->nargs - 1; i++)
	{
		if (goes_pattern_matches(&binding->patterns[i], binding->type,
								 event->action, event->event_version))
			return true;
	}
	return false;
}

/* The command that is inserting this very row, or repeats it; or NULL. */
static const GoesExecution *
find_execution(const TriggerData *trigger)
{
	const GoesExecution *execution = goes_current_execution();
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		isnull;
	Datum		id;

	if (execution == NULL || execution->stage != GOES_STAGE_REACT)
		return NULL;
	id = SPI_getbinval(trigger->tg_trigtuple, desc, SPI_fnumber(desc, "id"),
					   &isnull);
	if (isnull || !goes_uuid_equal(DatumGetUUIDP(id), &execution->event->id))
		return NULL;
	return execution;
}

/* The aggregate of an event that is not inserted by a command, as one value. */
static Datum
load_aggregate(const Binding *binding, const GoesEvent *event)
{
	Relation	aggregate;
	Relation	events;
	GoesAggregateType *type = goes_open_tables(binding->type, AccessShareLock,
											   &aggregate, &events);
	Datum		result;

	result = goes_state_to_datum(goes_aggregate_load(type, aggregate,
													 &event->aggregate_id,
													 GOES_LOAD_READ));
	table_close(events, AccessShareLock);
	table_close(aggregate, AccessShareLock);
	return result;
}

/* The aggregate as it is now, to be released. */
static GoesRecord
current_aggregate(const Binding *binding, const GoesExecution *execution,
				  const GoesEvent *event)
{
	GoesAggregateType *type = goes_get_aggregate_type(binding->type);
	GoesRecord	record = goes_record_create_of(type->rowtype);

	record.composite = execution && execution->state ?
		goes_state_to_datum(execution->state) : load_aggregate(binding, event);
	return record;
}

static void
call_reactor(const Binding *binding, const GoesExecution *execution,
			 const GoesEvent *event)
{
	GoesAggregateType *type = goes_get_aggregate_type(binding->type);
	GoesRecord	seen = goes_event_to_record(execution ? execution->seen :
											goes_upcast(type, event), true);
	GoesRecord	aggregate;
	GoesRecord *args[2];
	GoesRecord **next = args;

	if (binding->with_aggregate)
	{
		aggregate = current_aggregate(binding, execution, event);
		*next++ = &aggregate;
	}
	*next = &seen;
	(void) goes_function_call_records(binding->function, args, NULL);
	if (binding->with_aggregate)
		goes_record_release(&aggregate);
	goes_record_release(&seen);
}

static void
add_context(void *arg)
{
	errcontext("goes sync reactor \"%s\"", ((const Binding *) arg)->args[0]);
}

static void
react(const Binding *binding, const TriggerData *trigger)
{
	const GoesExecution *execution = find_execution(trigger);
	const GoesEvent *event = execution ? execution->event :
		goes_event_from_row(binding->type, RelationGetDescr(trigger->tg_relation),
							trigger->tg_trigtuple);
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = add_context,
		.arg = unconstify(Binding *, binding)
	};

	if (!matches(binding, event))
		return;
	if (execution == NULL &&
		goes_event_is_imported(RelationGetDescr(trigger->tg_relation),
							   trigger->tg_trigtuple))
		return;
	error_context_stack = &callback;
	call_reactor(binding, execution, event);
	error_context_stack = callback.previous;
}

PG_FUNCTION_INFO_V1(goes_react);

/*
 * goes.react(reactor, pattern, ...) RETURNS trigger
 *		AFTER INSERT FOR EACH ROW on an events table: calls the reactor if one of
 *		the patterns matches the event and it was not imported.
 */
Datum
goes_react(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs < 2)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("goes.react() must be called as an AFTER INSERT row trigger with a reactor and its patterns")));
	SPI_connect();
	react(get_binding(trigger), trigger);
	SPI_finish();
	return PointerGetDatum(NULL);
}
