/*-------------------------------------------------------------------------
 *
 * calculator.c
 *	  The next state of an aggregate from its state and one event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "aggregate.h"
#include "calculator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "event.h"
#include "relation.h"
#include "settings.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "uuid.h"

#define MERGE "goes_merge"
#define C_PREFIX "c:"

/* ---------------------------------------------------------------------------
 * C callbacks
 * ---------------------------------------------------------------------------
 */

static bool
is_c_calculator(const char *name)
{
	return strncmp(name, C_PREFIX, strlen(C_PREFIX)) == 0;
}

/* The calculator of that name (with prefix) in the libraries loaded so far. */
static const GoesCalculator *
find_callback(const char *name)
{
	void	  **list = find_rendezvous_variable(GOES_CALCULATORS);
	const char *wanted = name + strlen(C_PREFIX);

	for (GoesCalculator *calculator = *list; calculator != NULL;
		 calculator = calculator->next)
	{
		if (calculator->api_version != GOES_API_VERSION)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("C calculator was built for another version of goes.h"),
					 errdetail("It has API version %d, goes has %d.",
							   calculator->api_version, GOES_API_VERSION)));
		if (strcmp(calculator->name, wanted) == 0)
			return calculator;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("C calculator \"%s\" is not loaded", wanted),
			 errhint("LOAD its library, or add it to session_preload_libraries or shared_preload_libraries.")));
}

/* goes_calculator_is_function: is it neither goes_merge nor a C callback? */
bool
goes_calculator_is_function(const char *name)
{
	return strcmp(name, MERGE) != 0 && !is_c_calculator(name);
}

/* goes_calculator_check: raise unless a C callback of that name is loaded. */
void
goes_calculator_check(const char *name)
{
	if (is_c_calculator(name))
		(void) find_callback(name);
}

static void
run_callback(GoesState *state, const GoesEvent *event, const char *name)
{
	const GoesCalculator *calculator = find_callback(name);
	GoesEvent	seen = *event;
	int			settings = 0;

	seen.transient = NULL;
	if (!calculator->immutable)
		settings = goes_fix_settings();
	calculator->callback(&state->row, &seen);
	if (!calculator->immutable)
		goes_restore_settings(settings);
}

/* ---------------------------------------------------------------------------
 * goes_merge
 * ---------------------------------------------------------------------------
 */

/* The data without the keys that are not to reach a column of that name. */
static Jsonb *
mergeable_data(const GoesLayout *layout, const GoesState *state, Jsonb *data)
{
	for (int i = 0; i < layout->ncolumns; i++)
	{
		const GoesColumn *column = &layout->columns[i];
		char	   *name = NameStr(TupleDescAttr(state->row.tupdesc,
												 column->attnum - 1)->attname);
		JsonbValue	ignored;

		if ((column->base || !column->stored) &&
			getKeyJsonValueFromContainer(&data->root, name, strlen(name),
										 &ignored) != NULL)
			data = DatumGetJsonbP(DirectFunctionCall2(jsonb_delete,
													  JsonbPGetDatum(data),
													  CStringGetTextDatum(name)));
	}
	return data;
}

/* May it depend on settings what a value of JSON is in some column? */
static bool
may_read_settings(const GoesLayout *layout, TupleDesc desc)
{
	for (int i = 0; i < layout->ncolumns; i++)
	{
		const GoesColumn *column = &layout->columns[i];
		Oid			function;
		Oid			ioparam;

		if (column->base || !column->stored)
			continue;
		getTypeInputInfo(TupleDescAttr(desc, column->attnum - 1)->atttypid,
						 &function, &ioparam);
		if (function >= FirstGenbkiObjectId ||
			func_volatile(function) != PROVOLATILE_IMMUTABLE)
			return true;
	}
	return false;
}

/* Each key of the data goes to the column of that name, as in jsonb_populate_record. */
static void
merge(GoesAggregateType *type, GoesEventType *event_type, GoesState *state,
	  const GoesEvent *event)
{
	Datum		args[2];
	bool		isnull;

	if (!JB_ROOT_IS_OBJECT(event->data))
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("the data of event \"%s.%s.%d\" is not a JSON object",
						type->name, event->action, event->event_version),
				 errdetail("The event is version " INT64_FORMAT " of aggregate %s.",
						   event->aggregate_version,
						   goes_uuid_string(&event->aggregate_id)),
				 errhint("goes_merge needs an object; register a calculator function for other data."),
				 goes_errtable(type->relation)));
	if (event_type->function == NULL)
	{
		GoesSignature signature = {
			.nargs = 2,
			.argtypes = {type->rowtype, JSONBOID},
			.result = type->rowtype,
			.pure = may_read_settings(type->layout, state->row.tupdesc)
		};

		event_type->function = goes_function_create_builtin(type->context,
															F_JSONB_POPULATE_RECORD,
															&signature);
	}
	args[0] = goes_state_to_datum(state);
	args[1] = JsonbPGetDatum(mergeable_data(type->layout, state, event->data));
	goes_state_from_datum(state, goes_function_call(event_type->function, args,
													&isnull));
}

/* ---------------------------------------------------------------------------
 * Functions
 * ---------------------------------------------------------------------------
 */

static void
call_function(GoesAggregateType *type, GoesEventType *event_type,
			  GoesState *state, const GoesEvent *event)
{
	GoesRecord	before = goes_state_to_record(state);
	GoesRecord	seen = goes_event_to_record(event, false);
	GoesRecord *args[] = {&before, &seen};
	GoesRecord	after = goes_record_create(state->row.tupdesc);

	if (event_type->function == NULL)
	{
		GoesSignature signature = goes_calculator_signature(type->rowtype);

		event_type->function = goes_function_create(type->context,
													event_type->calculator,
													&signature, "calculator");
	}
	if (!goes_function_call_records(event_type->function, args, &after))
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("calculator %s returned NULL", event_type->calculator),
				 errdetail("The event is \"%s.%s.%d\", version " INT64_FORMAT " of aggregate %s.",
						   type->name, event->action, event->event_version,
						   event->aggregate_version,
						   goes_uuid_string(&event->aggregate_id)),
				 errhint("A calculator returns the aggregate, unchanged if need be."),
				 goes_errtable(type->relation)));
	goes_record_release(&seen);
	goes_state_from_record(state, &after);
}

/* ---------------------------------------------------------------------------
 * The step
 * ---------------------------------------------------------------------------
 */

/*
 * Generated and identity columns are those of the stored row, which a replay does
 * not have: so no calculator sees them.
 */
static void
hide_computed_columns(const GoesLayout *layout, GoesState *state)
{
	if (!layout->computes)
		return;
	goes_state_expand(state);
	state->composite = (Datum) 0;
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (!layout->columns[i].stored)
			state->row.nulls[layout->columns[i].attnum - 1] = true;
	}
}

static void
run_calculator(GoesAggregateType *type, GoesEventType *event_type,
			   GoesState *state, const GoesEvent *event)
{
	bool		in_place = event_type->calculator == NULL ||
		is_c_calculator(event_type->calculator);

	hide_computed_columns(type->layout, state);
	if (in_place)
		goes_state_expand(state);
	if (event_type->calculator == NULL)
		return;
	if (strcmp(event_type->calculator, MERGE) == 0)
		merge(type, event_type, state, event);
	else if (in_place)
		run_callback(state, event, event_type->calculator);
	else
		call_function(type, event_type, state, event);
}

static void
set_column(GoesState *state, AttrNumber attnum, Datum value)
{
	state->row.values[attnum - 1] = value;
	state->row.nulls[attnum - 1] = false;
}

/* The base columns but deleted_at are goes's, whatever the calculator did. */
static void
set_base_columns(const GoesLayout *layout, GoesState *state,
				 const GoesEvent *event)
{
	set_column(state, layout->id, UUIDPGetDatum(&state->id));
	set_column(state, layout->version, Int64GetDatum(event->aggregate_version));
	set_column(state, layout->created_at,
			   TimestampTzGetDatum(event->aggregate_version == 1 ?
								   event->recorded_at : state->created_at));
	set_column(state, layout->updated_at, TimestampTzGetDatum(event->recorded_at));
}

/*
 * goes_calculate
 *		Turn the state into the one after the event, as the table will store it.
 *		state->version and the like remain those that were loaded.  Raises OG011
 *		if the event is not registered or its calculator returns NULL.
 */
void
goes_calculate(GoesAggregateType *type, GoesState *state, const GoesEvent *event)
{
	GoesEventType *event_type = goes_find_event_type(type, event->action,
													 event->event_version);

	if (event_type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("event \"%s.%s.%d\" is not registered", type->name,
						event->action, event->event_version),
				 errdetail("It is version " INT64_FORMAT " of aggregate %s.",
						   event->aggregate_version,
						   goes_uuid_string(&event->aggregate_id)),
				 errhint("Register it with goes_register_event."),
				 goes_errtable(type->relation)));
	run_calculator(type, event_type, state, event);
	state->composite = (Datum) 0;
	set_base_columns(type->layout, state, event);
	goes_state_conform(type->layout, state);
}
