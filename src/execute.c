/*-------------------------------------------------------------------------
 *
 * execute.c
 *	  The pipeline: a command becomes an event.
 *
 * execute_command() reads as the glossary does: look up and claim the command,
 * load the aggregate, validate, build, calculate, store, append.  All of it
 * runs in the caller's transaction, as the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "calculator.h"
#include "claim.h"
#include "compat.h"
#include "counters.h"
#include "errors.h"
#include "event.h"
#include "execute.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "guard.h"
#include "inline.h"
#include "json.h"
#include "metadata.h"
#include "miscadmin.h"
#include "position.h"
#include "reactor.h"
#include "relation.h"
#include "transient.h"
#include "upcaster.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "uuid.h"

/*
 * How often a command for target 'any' starts again after it lost the race to
 * create its aggregate.  Once would do, were it not for an aggregate that is
 * there but hidden from the caller by a policy.
 */
#define MAX_RACES 3

/* Setting goes.max_nesting */
int			goes_max_nesting = 32;

/* The event whose async reactor is running, in a runner; else NULL */
static const GoesEvent *cause = NULL;

/* The innermost command that is being executed */
static GoesExecution *current = NULL;

/* goes_current_execution: the innermost command, NULL outside of any. */
const GoesExecution *
goes_current_execution(void)
{
	return current;
}

/*
 * goes_set_cause
 *		Commands that are executed from now on are caused by this event, in no
 *		other command; NULL: by none.
 */
void
goes_set_cause(const GoesEvent *event)
{
	cause = event;
}

/* ---------------------------------------------------------------------------
 * Look up
 * ---------------------------------------------------------------------------
 */

static void
report_unknown(const GoesExecution *execution, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOES_UNKNOWN),
			 errmsg("command \"%s\" is not registered", execution->command->name),
			 errdetail_internal("%s", detail),
			 errhint("Commands are named <aggregate type>.<command>; register them with goes_register_command."),
			 execution->type ? goes_errtable(execution->type->relation) : 0));
}

static void
close_tables(GoesExecution *execution)
{
	if (execution->aggregate != NULL)
		table_close(execution->aggregate, NoLock);
	if (execution->events != NULL)
		table_close(execution->events, NoLock);
	execution->aggregate = NULL;
	execution->events = NULL;
}

static GoesAggregateType *
find_type(GoesExecution *execution, const char *name)
{
	GoesAggregateType *type = goes_find_aggregate_type(name);

	if (type == NULL)
		report_unknown(execution, psprintf("There is no aggregate type \"%s\".", name));
	return type;
}

/* A table may have been dropped behind the registry's back. */
static void
check_tables_exist(const GoesExecution *execution)
{
	if (execution->aggregate == NULL || execution->events == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("a table of aggregate type \"%s\" does not exist any more",
						execution->type->name),
				 errhint("Call goes_unregister_aggregate, or restore the table and register it again.")));
}

/*
 * Find the type and lock its tables, so that what is known of them stays true
 * until the transaction ends.  What is known is what the registry says once we
 * have the locks; if that is other tables by then, lock those.
 */
static void
open_type(GoesExecution *execution, const char *name)
{
	GoesAggregateType *type = find_type(execution, name);

	for (;;)
	{
		Oid			relation = type->relation;
		Oid			events = type->events;

		execution->aggregate = try_table_open(relation, RowExclusiveLock);
		execution->events = try_table_open(events, RowExclusiveLock);
		type = find_type(execution, name);
		if (type->relation == relation && type->events == events)
			break;
		close_tables(execution);
		CHECK_FOR_INTERRUPTS();
	}
	execution->type = type;
	check_tables_exist(execution);
	goes_position_mend();
	(void) goes_layout(type, execution->aggregate, execution->events);
}

static void
check_privileges(Relation relation, AclMode needed)
{
	if (!goes_may_use_schema(RelationGetNamespace(relation), GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA,
					   get_namespace_name(RelationGetNamespace(relation)));
	if (pg_class_aclmask(RelationGetRelid(relation), GetUserId(), needed,
						 ACLMASK_ALL) != needed)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE,
					   RelationGetRelationName(relation));
}

/* goes_execute(NULL::users, ...) is for commands of users. */
static void
check_row_type(const GoesExecution *execution)
{
	char	   *rowtype = format_type_be(execution->type->rowtype);

	if (OidIsValid(execution->returns) &&
		execution->returns != execution->type->rowtype)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("command \"%s\" returns %s, not %s",
						execution->command->name, rowtype,
						format_type_be(execution->returns)),
				 errhint("Call goes_execute(NULL::%s, ...).", rowtype),
				 errtable(execution->aggregate)));
}

static void
look_up_command(GoesExecution *execution)
{
	const char *name = execution->command->name;
	const char *dot = strchr(name, '.');

	if (dot == NULL)
		report_unknown(execution, "The name of an aggregate type is missing.");
	open_type(execution, pnstrdup(name, dot - name));
	execution->command_type = goes_find_command_type(execution->type, dot + 1);
	/* Before anything is done or told, such as a command's first outcome */
	check_privileges(execution->aggregate, ACL_SELECT | ACL_INSERT | ACL_UPDATE);
	check_privileges(execution->events, ACL_INSERT);
	if (execution->command_type == NULL)
		report_unknown(execution, psprintf("Aggregate type \"%s\" has no command of that name.",
										   execution->type->name));
	check_row_type(execution);
}

/* Without an id in the command, a new aggregate gets one. */
static void
choose_aggregate_id(GoesExecution *execution)
{
	GoesCommand *command = execution->command;

	if (command->has_aggregate_id)
		return;
	if (execution->command_type->target == GOES_TARGET_EXISTING)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"aggregate_id\" of a command is missing"),
				 errdetail("Command \"%s\" is for an existing aggregate.", command->name),
				 errtable(execution->aggregate)));
	goes_new_uuid(&command->aggregate_id);
	command->has_aggregate_id = true;
}

/* ---------------------------------------------------------------------------
 * Load
 * ---------------------------------------------------------------------------
 */

static void
report_aggregate(const GoesExecution *execution, int sqlstate,
				 const char *problem, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("aggregate %s of type \"%s\" %s",
					goes_uuid_string(&execution->command->aggregate_id),
					execution->type->name, problem),
			 errdetail("The command is \"%s\".", execution->command->name),
			 hint ? errhint("%s", hint) : 0,
			 errtable(execution->aggregate)));
}

static void
check_target(const GoesExecution *execution)
{
	const GoesState *state = execution->state;
	GoesTarget	target = execution->command_type->target;

	if (target == GOES_TARGET_NEW && state->exists)
		report_aggregate(execution, ERRCODE_GOES_EXISTS, "exists already", NULL);
	if (target == GOES_TARGET_EXISTING && !state->exists)
		report_aggregate(execution, ERRCODE_GOES_NOT_FOUND, "does not exist", NULL);
	if (state->deleted && !execution->command_type->allow_deleted)
		report_aggregate(execution, ERRCODE_GOES_DELETED, "is deleted",
						 "A command that may have a deleted aggregate is registered with allow_deleted.");
}

static void
report_version(const GoesExecution *execution, const char *problem,
			   int64 expected, int64 found, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOES_VERSION_CONFLICT),
			 errmsg("aggregate %s of type \"%s\" %s",
					goes_uuid_string(&execution->command->aggregate_id),
					execution->type->name, problem),
			 errdetail("Expected version " INT64_FORMAT ", found version " INT64_FORMAT ".",
					   expected, found),
			 errhint("%s", hint),
			 errtable(execution->aggregate)));
}

static void
check_expected_version(const GoesExecution *execution)
{
	const GoesCommand *command = execution->command;

	if (command->has_expected_version &&
		command->expected_version != execution->state->version)
		report_version(execution, "has another version than expected",
					   command->expected_version, execution->state->version,
					   "Read the aggregate again and decide anew.");
}

static void
load(GoesExecution *execution)
{
	execution->stage = GOES_STAGE_LOAD;
	execution->moved = false;
	execution->state = goes_aggregate_load(execution->type, execution->aggregate,
										   &execution->command->aggregate_id,
										   GOES_LOAD_LOCK);
	check_target(execution);
	check_expected_version(execution);
}

/*
 * Load with the model as it is when the aggregate is locked: what a transaction
 * that we waited for has registered counts.  The row stays locked, so there is
 * nothing more to wait for, and once again is enough.
 */
static void
load_with_latest_model(GoesExecution *execution)
{
	load(execution);
	AcceptInvalidationMessages();
	if (goes_aggregate_type_is_valid(execution->type))
		return;
	close_tables(execution);
	look_up_command(execution);
	load(execution);
}

/* ---------------------------------------------------------------------------
 * Validate and build
 * ---------------------------------------------------------------------------
 */

/* An event as the build function asks for it */
typedef struct EventData
{
	char	   *action;
	bool		has_version;	/* else it is the latest */
	int32		version;
	Jsonb	   *data;
	Jsonb	   *transient;
} EventData;

/* Take a goes_event_data apart; false if all of it is NULL. */
static bool
take_event_data(const GoesExecution *execution, const GoesRecord *record,
				EventData *built)
{
	const Datum *values = record->values;
	const bool *nulls = record->nulls;

	if (nulls[0] && nulls[1] && nulls[2] && nulls[3])
		return false;
	if (nulls[0])
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("build function of command \"%s\" returned an event without action",
						execution->command->name),
				 errdetail("The aggregate is %s.",
						   goes_uuid_string(&execution->state->id)),
				 errhint("Return goes_event_data('action', data), or NULL if nothing happened."),
				 errtable(execution->aggregate)));
	built->action = TextDatumGetCString(values[0]);
	built->has_version = !nulls[1];
	built->version = nulls[1] ? 0 : DatumGetInt32(values[1]);
	built->data = nulls[2] ? goes_empty_object() : DatumGetJsonbP(values[2]);
	built->transient = nulls[3] ? NULL : DatumGetJsonbP(values[3]);
	return true;
}

/* What was built by the command type's function; false if nothing. */
static bool
build(const GoesExecution *execution, GoesRecord *const *args, EventData *built)
{
	GoesRecord	record = goes_record_create_of(goes_objects()->event_data_type);
	bool		happened = goes_function_call_records(execution->command_type->build,
													  args, &record) &&
		take_event_data(execution, &record, built);

	goes_record_release(&record);
	return happened;
}

/* Without such a function, the event has the command's data. */
static void
build_default(const GoesExecution *execution, EventData *built)
{
	built->action = unconstify(char *, execution->command_type->event);
	built->has_version = false;
	built->data = execution->command->data;
	built->transient = NULL;
}

/* Run validate and build; false if nothing happened. */
static bool
decide(GoesExecution *execution, EventData *built)
{
	const GoesCommandType *command_type = execution->command_type;
	GoesRecord	state = goes_state_to_record(execution->state);
	GoesRecord	command = goes_command_to_record(execution->command);
	GoesRecord *args[] = {&state, &command};
	bool		happened = true;

	execution->stage = GOES_STAGE_DECIDE;
	if (command_type->validate != NULL)
		(void) goes_function_call_records(command_type->validate, args, NULL);
	if (command_type->build != NULL)
		happened = build(execution, args, built);
	else
		build_default(execution, built);
	goes_record_release(&command);
	return happened;
}

/* A nested command wrote the aggregate: unless that was rolled back, give up. */
static void
check_not_moved(const GoesExecution *execution)
{
	GoesState  *now;

	if (!execution->moved)
		return;
	now = goes_aggregate_load(execution->type, execution->aggregate,
							  &execution->state->id, GOES_LOAD_READ);
	if (now->version != execution->state->version)
		report_version(execution, "was changed by its own validate or build function",
					   execution->state->version, now->version,
					   "Execute the other command in a reactor, or outside of this command.");
}

/* The registered version of the event: the one that was built, or the latest. */
static int32
registered_version(const GoesExecution *execution, const EventData *built)
{
	GoesEventType *event_type = built->has_version ?
		goes_find_event_type(execution->type, built->action, built->version) :
		goes_latest_event_type(execution->type, built->action);

	if (event_type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 built->has_version ?
				 errmsg("event \"%s.%s.%d\" is not registered", execution->type->name,
						built->action, built->version) :
				 errmsg("event \"%s.%s\" is not registered", execution->type->name,
						built->action),
				 errdetail("Command \"%s\" built it.", execution->command->name),
				 errhint("Register it with goes_register_event."),
				 errtable(execution->aggregate)));
	return event_type->version;
}

/* By the wall clock, but never earlier than the aggregate's previous event. */
static TimestampTz
event_time(const GoesExecution *execution)
{
	TimestampTz now = execution->common_time != 0 ? execution->common_time :
		GetCurrentTimestamp();

	return execution->state->exists ? Max(now, execution->state->updated_at) : now;
}

static GoesEvent *
complete_event(const GoesExecution *execution, const EventData *built)
{
	GoesEvent  *event = palloc0(sizeof(GoesEvent));

	event->event_version = registered_version(execution, built);
	event->position = goes_position_next();
	goes_new_uuid(&event->id);
	event->aggregate_type = execution->type->name;
	event->aggregate_id = execution->state->id;
	event->aggregate_version = execution->state->version + 1;
	event->action = built->action;
	event->data = built->data;
	event->metadata = execution->command->metadata;
	event->transient = built->transient;
	event->recorded_at = event_time(execution);
	return event;
}

/* ---------------------------------------------------------------------------
 * Calculate, store, append
 * ---------------------------------------------------------------------------
 */

static void
calculate(GoesExecution *execution)
{
	execution->stage = GOES_STAGE_CALCULATE;
	execution->seen = goes_upcast(execution->type, execution->event);
	goes_calculate(execution->type, execution->state, execution->seen);
}

/* Tell the commands around this one that it wrote its aggregate. */
static void
mark_moved(const GoesExecution *execution)
{
	for (GoesExecution *outer = execution->outer; outer != NULL;
		 outer = outer->outer)
	{
		if (outer->type != NULL && outer->state != NULL &&
			outer->type->relation == execution->type->relation &&
			goes_uuid_equal(&outer->state->id, &execution->state->id))
			outer->moved = true;
	}
}

/* Store the aggregate; false if another transaction created it meanwhile. */
static bool
store(GoesExecution *execution)
{
	GoesState  *state = execution->state;
	GoesState  *now;

	execution->stage = GOES_STAGE_STORE;
	switch (goes_aggregate_store(execution->type, execution->aggregate, state))
	{
		case GOES_LOST_RACE:
			if (execution->command_type->target == GOES_TARGET_NEW)
				report_aggregate(execution, ERRCODE_GOES_EXISTS,
								 "exists already", NULL);
			return false;
		case GOES_MOVED:
			now = goes_aggregate_load(execution->type, execution->aggregate,
									  &state->id, GOES_LOAD_READ);
			report_version(execution, "was changed while its command ran",
						   state->version, now->version,
						   "Execute the other command in a reactor, or outside of this command.");
			break;
		case GOES_STORED:
			break;
	}
	mark_moved(execution);
	return true;
}

/* Keep the transient data for the reactors that run after commit. */
static void
keep_transient(const GoesEvent *event)
{
	List	   *reactors = goes_reactors_of_event(event);
	pg_uuid_t  *ids = palloc(Max(1, list_length(reactors)) * sizeof(pg_uuid_t));
	int			nids = 0;
	ListCell   *cell;

	foreach(cell, reactors)
	{
		const GoesReactor *reactor = lfirst(cell);

		if (reactor->mode != GOES_ASYNC || goes_async != GOES_ASYNC_INLINE)
			ids[nids++] = reactor->id;
	}
	if (nids > 0)
		goes_transient_reserve(event->position, event->transient, nids, ids);
}

/* Store the event, which fires the sync reactors; others get it after commit. */
static void
append(GoesExecution *execution)
{
	const GoesCommand *command = execution->command;

	execution->stage = GOES_STAGE_REACT;
	goes_event_append(execution->type, execution->events, execution->event,
					  command->has_command_id ? &command->command_id : NULL,
					  false);
	if (execution->event->transient != NULL)
		keep_transient(execution->event);
	if (goes_async == GOES_ASYNC_INLINE)
		goes_deliver_inline(execution->event, execution->seen);
}

/* ---------------------------------------------------------------------------
 * The pipeline
 * ---------------------------------------------------------------------------
 */

/* Load, decide and calculate; the event is NULL if nothing happened. */
static void
prepare_event(GoesExecution *execution)
{
	EventData	built;
	bool		happened;

	load_with_latest_model(execution);
	/* The functions see what was committed before the aggregate was locked */
	PushActiveSnapshot(GetTransactionSnapshot());
	happened = decide(execution, &built);
	check_not_moved(execution);
	execution->event = happened ? complete_event(execution, &built) : NULL;
	if (happened)
		calculate(execution);
	PopActiveSnapshot();
}

/* The event whose reactor executes this command, or NULL. */
static const GoesEvent *
find_cause(const GoesExecution *execution)
{
	for (GoesExecution *outer = execution->outer; outer != NULL;
		 outer = outer->outer)
	{
		if (outer->stage == GOES_STAGE_REACT)
			return outer->event;
	}
	return cause;
}

/*
 * The command ran before: its event again, for whoever may see the aggregate.
 */
static void
repeat_outcome(GoesExecution *execution, const GoesOutcome *outcome)
{
	execution->command->aggregate_id = outcome->aggregate_id;
	execution->command->has_aggregate_id = true;
	execution->state = goes_aggregate_load(execution->type, execution->aggregate,
										   &outcome->aggregate_id, GOES_LOAD_READ);
	if (outcome->position == 0)
		return;
	if (!execution->state->exists)
		report_aggregate(execution, ERRCODE_GOES_NOT_FOUND, "does not exist", NULL);
	execution->event = goes_event_read(execution->type, execution->events,
									   outcome->position);
	if (execution->event == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_COMMAND_ID_REUSED),
				 errmsg("the event of command id %s is not there any more",
						goes_uuid_string(&execution->command->command_id)),
				 errdetail("Table \"%s\" has no event at the position that was noted.",
						   RelationGetRelationName(execution->events)),
				 errhint("Give each command an id of its own."),
				 errtable(execution->events)));
	execution->seen = goes_upcast(execution->type, execution->event);
}

static void
execute_command(GoesExecution *execution)
{
	GoesCommand *command = execution->command;
	GoesOutcome outcome;
	int			races = 0;

	look_up_command(execution);
	if (command->has_command_id && !execution->claimed &&
		!goes_claim(command, execution->type->relation, &outcome))
	{
		repeat_outcome(execution, &outcome);
		return;
	}
	choose_aggregate_id(execution);
	command->metadata = goes_metadata(command->metadata, find_cause(execution));
	for (;;)
	{
		prepare_event(execution);
		if (execution->event == NULL || store(execution))
			break;
		if (++races == MAX_RACES)
			report_aggregate(execution, ERRCODE_GOES_EXISTS, "exists already",
							 "A row-level security policy hides it.");
	}
	if (execution->event != NULL)
		append(execution);
	if (command->has_command_id)
		goes_claim_settle(command, &execution->state->id,
						  execution->event ? execution->event->position : 0);
}

static void
check_nesting(const GoesExecution *execution)
{
	check_stack_depth();
	if (execution->depth > goes_max_nesting)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NESTED_TOO_DEEP),
				 errmsg("commands are nested too deep"),
				 errdetail("Command \"%s\" would be at depth %d; the limit is %d.",
						   execution->command->name, execution->depth,
						   goes_max_nesting),
				 errhint("A reactor may be reacting to itself; otherwise raise goes.max_nesting."),
				 execution->outer->aggregate ?
				 errtable(execution->outer->aggregate) : 0));
	if (execution->outer != NULL &&
		execution->outer->stage == GOES_STAGE_CALCULATE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a calculator cannot execute a command"),
				 errdetail("Command \"%s\" was executed while an event of command \"%s\" was calculated.",
						   execution->command->name,
						   execution->outer->command->name),
				 errhint("Calculators run again on replay; execute commands in a reactor.")));
}

static void
add_context(void *arg)
{
	const GoesExecution *execution = arg;

	errcontext("goes command \"%s\"", execution->command->name);
}

/*
 * Execute a command inside the one that is being executed, if any.  The caller
 * is connected to SPI; the results in execution live in its SPI context.
 */
static void
run(GoesExecution *execution)
{
	GoesExpectation expected = goes_guard_save();
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_context,
		.arg = execution
	};

	execution->outer = current;
	execution->depth = current ? current->depth + 1 : 1;
	if (current != NULL && execution->common_time == 0)
		execution->common_time = current->common_time;
	error_context_stack = &context;
	check_nesting(execution);
	goes_count_begin(execution);
	current = execution;
	PG_TRY();
	{
		execute_command(execution);
		execution->stage = GOES_STAGE_DONE;
	}
	PG_FINALLY();
	{
		current = execution->outer;
		goes_guard_restore(expected);
		goes_count_end(execution);
	}
	PG_END_TRY();
	close_tables(execution);
	error_context_stack = context.previous;
}

/*
 * goes_run_reaction
 *		Let sync reactors run for an event that was stored before, as if the
 *		command that appended it were running.
 */
void
goes_run_reaction(GoesAggregateType *type, Relation aggregate, GoesEvent *event,
				  GoesReaction reaction, void *arg)
{
	GoesExecution execution = {
		.outer = current,
		.depth = current ? current->depth + 1 : 1,
		.stage = GOES_STAGE_REACT,
		.type = type,
		.aggregate = aggregate,
		.event = event,
		.seen = goes_upcast(type, event),
		.common_time = current ? current->common_time : 0
	};

	current = &execution;
	PG_TRY();
	{
		reaction(arg);
	}
	PG_FINALLY();
	{
		current = execution.outer;
	}
	PG_END_TRY();
}

/* ---------------------------------------------------------------------------
 * The SQL functions
 * ---------------------------------------------------------------------------
 */

static Jsonb *
document_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return PG_GETARG_JSONB_P(n);
}

/* Execute and return the event as jsonb in the current context; NULL: none. */
static Jsonb *
execute_to_jsonb(GoesExecution *execution)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *result = NULL;

	SPI_connect();
	run(execution);
	if (execution->event != NULL)
	{
		MemoryContextSwitchTo(context);
		result = goes_event_to_jsonb(execution->seen);
	}
	SPI_finish();
	return result;
}

static Datum
execute_and_return(FunctionCallInfo fcinfo, GoesCommand *command)
{
	GoesExecution execution = {.command = command};
	Jsonb	   *event = execute_to_jsonb(&execution);

	if (event == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(event);
}

PG_FUNCTION_INFO_V1(goes_execute);

/*
 * goes_execute(command jsonb) RETURNS jsonb
 *		Execute a command; returns its event, NULL if nothing happened.  NULL is
 *		refused.  Errors: 22023 for the document, OG001 to OG011, and whatever
 *		the model's functions, triggers and constraints raise.
 */
Datum
goes_execute(PG_FUNCTION_ARGS)
{
	return execute_and_return(fcinfo,
							  goes_command_parse(&document_arg(fcinfo, 0, "command")->root));
}

PG_FUNCTION_INFO_V1(goes_do);

/*
 * goes_do(command text, aggregate_id uuid, data jsonb, metadata jsonb,
 *		   expected_version bigint, command_id uuid) RETURNS jsonb
 *		The same with the parts of the command as arguments; NULL: left out.
 */
Datum
goes_do(PG_FUNCTION_ARGS)
{
	return execute_and_return(fcinfo, goes_command_from_args(fcinfo));
}

PG_FUNCTION_INFO_V1(goes_execute_returning);

/*
 * goes_execute(aggregate anyelement, command jsonb) RETURNS anyelement
 *		Execute a command; returns the aggregate as it is after all reactors,
 *		NULL if it does not exist.  Of the first argument only the type counts:
 *		the table's row type, or 42804.
 */
Datum
goes_execute_returning(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	GoesExecution execution = {0};
	GoesState  *state;
	Relation	aggregate;
	Datum		result = (Datum) 0;

	execution.command = goes_command_parse(&document_arg(fcinfo, 1, "command")->root);
	execution.returns = get_fn_expr_argtype(fcinfo->flinfo, 0);
	SPI_connect();
	run(&execution);
	aggregate = table_open(execution.type->relation, NoLock);
	state = goes_aggregate_load(execution.type, aggregate, &execution.state->id,
								GOES_LOAD_READ);
	if (state->exists)
	{
		MemoryContextSwitchTo(context);
		result = goes_state_to_datum(state);
	}
	table_close(aggregate, NoLock);
	SPI_finish();
	if (result == (Datum) 0)
		PG_RETURN_NULL();
	return result;
}

/* ---------------------------------------------------------------------------
 * goes_execute_many
 * ---------------------------------------------------------------------------
 */

/* Which command of goes_execute_many is at work, for errors */
typedef struct Batch
{
	int			ncommands;
	int			at;				/* from 0 */
	GoesExecution *executions;
} Batch;

static void
add_batch_context(void *arg)
{
	const Batch *batch = arg;

	errcontext("command %d of %d in goes_execute_many", batch->at + 1,
			   batch->ncommands);
}

static void
start_batch(Batch *batch, Jsonb *document)
{
	if (!JB_ROOT_IS_ARRAY(document) || JB_ROOT_IS_SCALAR(document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("commands must be a JSON array")));
	batch->ncommands = JB_ROOT_COUNT(document);
	batch->executions = palloc_extended(Max(1, batch->ncommands) * sizeof(GoesExecution),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static void
parse_all(Batch *batch, Jsonb *document)
{
	JsonbIterator *iterator = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		batch->executions[batch->at].command = goes_command_parse(value.type == jbvBinary ?
																	 value.val.binary.data : NULL);
		batch->at++;
	}
}

static int
compare_command_ids(const void *a, const void *b)
{
	const GoesExecution *x = *(GoesExecution *const *) a;
	const GoesExecution *y = *(GoesExecution *const *) b;
	int			order = memcmp(&x->command->command_id,
							   &y->command->command_id, UUID_LEN);

	/* Of two with one id the earlier command claims it */
	return order != 0 ? order : (x < y ? -1 : 1);
}

static int
compare_aggregates(const void *a, const void *b)
{
	const GoesExecution *x = *(GoesExecution *const *) a;
	const GoesExecution *y = *(GoesExecution *const *) b;
	int			order = strcmp(x->type->name, y->type->name);

	return order != 0 ? order : memcmp(&x->command->aggregate_id,
									   &y->command->aggregate_id, UUID_LEN);
}

/*
 * Claim all command ids in their order, so that two calls with the same ids do
 * not deadlock.  Those that ran before are left for their turn.
 */
static void
claim_all(Batch *batch)
{
	GoesExecution **claims = palloc(batch->ncommands * sizeof(GoesExecution *));
	GoesOutcome outcome;
	int			nclaims = 0;

	for (int i = 0; i < batch->ncommands; i++)
	{
		if (batch->executions[i].command->has_command_id)
			claims[nclaims++] = &batch->executions[i];
	}
	qsort(claims, nclaims, sizeof(GoesExecution *), compare_command_ids);
	for (int i = 0; i < nclaims; i++)
	{
		const GoesCommand *command = claims[i]->command;

		batch->at = claims[i] - batch->executions;
		if (i > 0 && goes_uuid_equal(&command->command_id,
									 &claims[i - 1]->command->command_id))
			continue;
		SPI_connect();
		claims[i]->claimed = goes_claim(command, claims[i]->type->relation,
										&outcome);
		SPI_finish();
	}
	pfree(claims);
}

/* Lock the aggregate of a command if there is one; its last time, or 0. */
static TimestampTz
lock_aggregate(GoesExecution *execution)
{
	GoesState  *state;
	TimestampTz updated_at;

	SPI_connect();
	open_type(execution, execution->type->name);
	state = goes_aggregate_load(execution->type, execution->aggregate,
								&execution->command->aggregate_id,
								GOES_LOAD_LOCK);
	updated_at = state->exists ? state->updated_at : 0;
	close_tables(execution);
	SPI_finish();
	return updated_at;
}

static void
look_up_all(Batch *batch)
{
	for (batch->at = 0; batch->at < batch->ncommands; batch->at++)
	{
		SPI_connect();
		look_up_command(&batch->executions[batch->at]);
		close_tables(&batch->executions[batch->at]);
		SPI_finish();
	}
}

/* The time of a batch that begins now; inside another one it is that one's. */
static TimestampTz
batch_time(void)
{
	return current != NULL && current->common_time != 0 ?
		current->common_time : GetCurrentTimestamp();
}

/*
 * Lock all aggregates that are named, by type and id, so that opposite
 * transfers do not deadlock.  Returns a time that is not before any of theirs.
 */
static TimestampTz
lock_all(Batch *batch)
{
	GoesExecution **named = palloc(batch->ncommands * sizeof(GoesExecution *));
	TimestampTz latest = 0;
	int			nnamed = 0;

	for (int i = 0; i < batch->ncommands; i++)
	{
		if (batch->executions[i].command->has_aggregate_id)
			named[nnamed++] = &batch->executions[i];
	}
	qsort(named, nnamed, sizeof(GoesExecution *), compare_aggregates);
	for (int i = 0; i < nnamed; i++)
	{
		batch->at = named[i] - batch->executions;
		if (i == 0 || compare_aggregates(&named[i - 1], &named[i]) != 0)
			latest = Max(latest, lock_aggregate(named[i]));
	}
	pfree(named);
	return Max(latest, batch_time());
}

static void
execute_all(Batch *batch, TimestampTz common_time, ReturnSetInfo *result)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "goes_execute_many",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	for (batch->at = 0; batch->at < batch->ncommands; batch->at++)
	{
		GoesExecution execution = {
			.command = batch->executions[batch->at].command,
			.claimed = batch->executions[batch->at].claimed,
			.common_time = common_time
		};
		Jsonb	   *event = execute_to_jsonb(&execution);
		Datum		value = JsonbPGetDatum(event);
		bool		isnull = event == NULL;

		tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(context);
}

PG_FUNCTION_INFO_V1(goes_execute_many);

/*
 * goes_execute_many(commands jsonb) RETURNS SETOF jsonb
 *		Execute a JSON array of commands in order, all or nothing; returns a row
 *		for each: its event, or NULL if nothing happened.  Errors are those of
 *		goes_execute; their context tells which command it was.
 */
Datum
goes_execute_many(PG_FUNCTION_ARGS)
{
	Jsonb	   *document = document_arg(fcinfo, 0, "commands");
	Batch		batch = {0};
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_batch_context,
		.arg = &batch
	};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	start_batch(&batch, document);
	error_context_stack = &context;
	parse_all(&batch, document);
	look_up_all(&batch);
	claim_all(&batch);
	execute_all(&batch, lock_all(&batch), (ReturnSetInfo *) fcinfo->resultinfo);
	error_context_stack = context.previous;
	return (Datum) 0;
}
