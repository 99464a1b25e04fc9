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
#include "errors.h"
#include "event.h"
#include "executor/spi.h"
#include "fold.h"
#include "relation.h"
#include "upcaster.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "uuid.h"

/* Garbage beside a state, in bytes, that is worth moving it */
#define MUCH_GARBAGE (1024 * 1024)

/* Events read at a time */
#define FETCH_COUNT 200

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
check_next(const GoesFold *fold, const GoesEvent *event)
{
	if (event->aggregate_version != fold->state->version + 1)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("events of aggregate %s of type \"%s\" are missing",
						goes_uuid_string(&fold->state->id), fold->type->name),
				 errdetail("Version " INT64_FORMAT " is followed by version " INT64_FORMAT ".",
						   fold->state->version, event->aggregate_version),
				 goes_errtable(fold->type->events)));
}

/*
 * goes_fold_apply
 *		Apply the next stored event of the aggregate.  Errors are those of the
 *		calculator, and OG011; their context names the event.
 */
void
goes_fold_apply(GoesFold *fold, const GoesEvent *event)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(fold->contexts[fold->at]);
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = goes_event_context,
		.arg = unconstify(GoesEvent *, event)
	};

	error_context_stack = &context;
	check_next(fold, event);
	goes_calculate(fold->type, fold->state, goes_upcast(fold->type, event));
	goes_state_advance(fold->type->layout, fold->state);
	error_context_stack = context.previous;
	MemoryContextSwitchTo(oldcontext);
	if (MemoryContextMemAllocated(fold->contexts[fold->at], false) > MUCH_GARBAGE)
		collect_garbage(fold);
}

/* Hand the fetched rows to the callback; false: it has seen enough. */
static bool
hand_over(const GoesAggregateType *type, MemoryContext context,
		  GoesEventCallback callback, void *arg)
{
	SPITupleTable *rows = SPI_tuptable;
	uint64		nrows = SPI_processed;
	bool		more = true;

	for (uint64 i = 0; more && i < nrows; i++)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		more = callback(arg, goes_event_from_columns(type->name, rows->tupdesc,
													 rows->vals[i]));
		MemoryContextSwitchTo(oldcontext);
		MemoryContextReset(context);
	}
	SPI_freetuptable(rows);
	return more && nrows > 0;
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
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "goes event",
												  ALLOCSET_DEFAULT_SIZES);
	Portal		portal = SPI_cursor_open_with_args(NULL, sql, nargs,
												   unconstify(Oid *, argtypes),
												   unconstify(Datum *, args),
												   nulls, read_only, 0);

	/* A calculator could close it */
	PinPortal(portal);
	do
		SPI_cursor_fetch(portal, true, FETCH_COUNT);
	while (hand_over(type, context, callback, arg));
	UnpinPortal(portal);
	SPI_cursor_close(portal);
	MemoryContextDelete(context);
}
