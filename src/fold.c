/*-------------------------------------------------------------------------
 *
 * fold.c
 *	  The state of an aggregate from its events.
 *
 * The state is held in memory while events are applied to it.  Each step leaves
 * garbage beside it; when there is much, the state moves to a fresh context, so
 * that a million events take no more memory than a few.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "calculator.h"
#include "compat.h"
#include "cursor.h"
#include "errors.h"
#include "event.h"
#include "fold.h"
#include "relation.h"
#include "upcaster.h"
#include "utils/memutils.h"
#include "uuid.h"

/* Garbage beside a state, in bytes, that is worth moving it */
#define MUCH_GARBAGE (1024 * 1024)

/*
 * goes_fold_create
 *		Prepare to fold events of a type, whose layout is there and whose table
 *		is open.  The fold lives in the current memory context.
 */
GoesFold *
goes_fold_create(GoesAggregateType *type, Relation aggregate)
{
	GoesFold   *fold = palloc0(sizeof(GoesFold));

	fold->type = type;
	fold->aggregate = aggregate;
	for (int i = 0; i < goes_lengthof(fold->contexts); i++)
		fold->contexts[i] = AllocSetContextCreate(CurrentMemoryContext,
												  "goes fold",
												  ALLOCSET_DEFAULT_SIZES);
	return fold;
}

/* goes_fold_start: begin with the initial state of an aggregate. */
void
goes_fold_start(GoesFold *fold, const pg_uuid_t *id)
{
	pg_uuid_t	copy = *id;
	MemoryContext oldcontext;

	for (int i = 0; i < goes_lengthof(fold->contexts); i++)
		MemoryContextReset(fold->contexts[i]);
	oldcontext = MemoryContextSwitchTo(fold->contexts[fold->at]);
	fold->state = goes_initial_state(fold->type->layout, fold->aggregate, &copy);
	MemoryContextSwitchTo(oldcontext);
}

/* Move the state to the other context and leave the garbage behind. */
static void
collect_garbage(GoesFold *fold)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(fold->contexts[1 - fold->at]);

	fold->state = goes_state_copy(fold->type->layout, fold->aggregate, fold->state);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(fold->contexts[fold->at]);
	fold->at = 1 - fold->at;
}

static void
check_next(const GoesAggregateType *type, const GoesState *state,
		   const GoesEvent *event)
{
	if (event->aggregate_version != state->version + 1)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("events of aggregate %s of type \"%s\" are missing",
						goes_uuid_string(&state->id), type->name),
				 errdetail("Version " INT64_FORMAT " is followed by version " INT64_FORMAT ".",
						   state->version, event->aggregate_version),
				 goes_errtable(type->events)));
}

/*
 * goes_fold_step
 *		Turn a state, which need not be of a fold, into the one after the next
 *		stored event of the aggregate, in the current context; its version and the
 *		like stay.  Errors are those of the calculator, and OG011; their context
 *		names the event.
 */
void
goes_fold_step(GoesAggregateType *type, GoesState *state, const GoesEvent *event)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = goes_event_context,
		.arg = unconstify(GoesEvent *, event)
	};

	error_context_stack = &context;
	check_next(type, state, event);
	goes_calculate(type, state, goes_upcast(type, event));
	error_context_stack = context.previous;
}

/* goes_fold_apply: apply the next stored event of the aggregate. */
void
goes_fold_apply(GoesFold *fold, const GoesEvent *event)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(fold->contexts[fold->at]);

	goes_fold_step(fold->type, fold->state, event);
	goes_state_advance(fold->type->layout, fold->state);
	MemoryContextSwitchTo(oldcontext);
	if (MemoryContextMemAllocated(fold->contexts[fold->at], true) > MUCH_GARBAGE)
		collect_garbage(fold);
}

/* A reading of events */
typedef struct Reading
{
	const GoesAggregateType *type;
	MemoryContext context;		/* of one event */
	GoesEventCallback callback;
	void	   *arg;
} Reading;

static bool
hand_over(void *arg, const GoesRows *rows)
{
	const Reading *reading = arg;
	bool		more = true;

	for (int i = 0; more && i < rows->count; i++)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(reading->context);

		CHECK_FOR_INTERRUPTS();
		more = reading->callback(reading->arg,
								 goes_event_from_columns(reading->type->name,
														 rows->desc,
														 rows->rows[i]));
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(reading->context);
	}
	return more;
}

/*
 * goes_events_each
 *		Run a query for goes_event_columns() as the current user and call the
 *		callback for each row, under the active snapshot if read_only, else a
 *		new one.  The caller is connected to SPI.  Memory is bounded.
 */
void
goes_events_each(const GoesAggregateType *type, const char *sql, int nargs,
				 const Oid *argtypes, const Datum *args, const char *nulls,
				 bool read_only, GoesEventCallback callback, void *arg)
{
	Reading		reading = {
		.type = type,
		.context = AllocSetContextCreate(CurrentMemoryContext, "goes event",
										 ALLOCSET_DEFAULT_SIZES),
		.callback = callback,
		.arg = arg
	};

	goes_rows_each(sql, nargs, argtypes, args, nulls, read_only, NULL,
				   hand_over, &reading);
	MemoryContextDelete(reading.context);
}
