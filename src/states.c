/*-------------------------------------------------------------------------
 *
 * states.c
 *	  The states of many aggregates at once, from their events.
 *
 * The events of a type are read once, in the order of their positions, which is
 * nearly that of the table; to go from aggregate to aggregate would take ten
 * times as long, and much more where the table is not in memory.  The states
 * are in a hash table meanwhile.  When they take too much memory, those whose
 * hash is in the upper quarter of the range are dropped: they are left for
 * another reading.
 *
 * A state is kept as a value of the table's row type, which is what calculators
 * take and return, in one piece of memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "attempt.h"
#include "common/hashfn.h"
#include "compat.h"
#include "cursor.h"
#include "event.h"
#include "fold.h"
#include "miscadmin.h"
#include "relation.h"
#include "settings.h"
#include "states.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "uuid.h"

/* Column of goes_event_columns() that is the aggregate's id */
#define EVENT_AGGREGATE_ID 3

static uint32 hash_id(const pg_uuid_t *id);

#define SH_PREFIX folded
#define SH_ELEMENT_TYPE GoesFolded
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY id
#define SH_HASH_KEY(table, key) hash_id(&(key))
#define SH_EQUAL(table, a, b) goes_uuid_equal(&(a), &(b))
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Some events that were read */
typedef struct Events
{
	GoesStates *states;
	const GoesRows *rows;
	int			next;			/* the one that is at work, or the next */
} Events;

static uint32
hash_id(const pg_uuid_t *id)
{
	return hash_bytes(id->data, UUID_LEN);
}

/* ---------------------------------------------------------------------------
 * Memory
 * ---------------------------------------------------------------------------
 */

/*
 * goes_states_create
 *		States to be found, in a context of their own below parent.  They may take
 *		maintenance_work_mem.
 */
GoesStates *
goes_states_create(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "goes states",
												  ALLOCSET_DEFAULT_SIZES);
	GoesStates *states = MemoryContextAllocZero(parent, sizeof(GoesStates));

	states->context = context;
	states->step_context = AllocSetContextCreate(parent, "goes step",
												 ALLOCSET_DEFAULT_SIZES);
	states->memory = maintenance_work_mem * (Size) 1024;
	states->width = GOES_HASH_END;
	return states;
}

/*
 * goes_states_use
 *		Work with the type as it is, whose layout is there and whose table is open:
 *		before anything else in a transaction.
 */
void
goes_states_use(GoesStates *states, GoesAggregateType *type, Relation aggregate)
{
	pg_uuid_t	none = {0};

	states->type = type;
	states->aggregate = aggregate;
	/* In the current context, as the table is closed no later than that ends */
	states->scratch = goes_initial_state(type->layout, aggregate, &none);
}

/* Forget all states. */
static void
clear(GoesStates *states)
{
	MemoryContextReset(states->context);
	states->used = 0;
	states->table = folded_create(states->context, 256, NULL);
}

static bool
is_full(const GoesStates *states)
{
	return states->used + states->table->size * sizeof(GoesFolded) > states->memory &&
		states->table->members > 1 && states->to - states->from > 1;
}

static void
forget_row(GoesStates *states, GoesFolded *folded)
{
	if (folded->row == NULL)
		return;
	states->used -= GetMemoryChunkSpace(folded->row);
	pfree(folded->row);
	folded->row = NULL;
	folded->capacity = 0;
}

/* Leave the upper part of the range, a quarter of it, for another reading. */
static void
make_room(GoesStates *states)
{
	struct folded_hash *all = states->table;
	folded_iterator iterator;
	GoesFolded *folded;

	states->width = Max(1, (states->to - states->from) * 3 / 4);
	states->to = states->from + states->width;
	states->table = folded_create(states->context, all->members * 3 / 4, NULL);
	folded_start_iterate(all, &iterator);
	while ((folded = folded_iterate(all, &iterator)) != NULL)
	{
		bool		found;

		if (folded->hash < states->to)
		{
			GoesFolded *kept = folded_insert_hash(states->table, folded->id,
												  folded->hash, &found);
			char		status = kept->status;

			*kept = *folded;
			kept->status = status;
			continue;
		}
		forget_row(states, folded);
	}
	folded_destroy(all);
}

/* The entry of an aggregate, made if need be. */
static GoesFolded *
enter(GoesStates *states, const pg_uuid_t *id, uint32 hash)
{
	bool		found;
	GoesFolded *folded = folded_insert_hash(states->table, *id, hash, &found);

	if (!found)
	{
		folded->finding = GOES_MISSING;
		folded->capacity = 0;
		folded->row = NULL;
		folded->version = 0;
	}
	return folded;
}

/* ---------------------------------------------------------------------------
 * Folding
 * ---------------------------------------------------------------------------
 */

/*
 * goes_states_state
 *		The state of an aggregate, for the time until the next call.
 */
GoesState *
goes_states_state(GoesStates *states, const GoesFolded *folded)
{
	GoesState  *state = states->scratch;

	goes_state_reset(states->type->layout, state, &folded->id);
	if (folded->row == NULL)
		return state;
	state->composite = PointerGetDatum(folded->row);
	goes_state_expand(state);
	goes_state_advance(states->type->layout, state);
	return state;
}

/* The same before a step, which expands it if need be. */
static GoesState *
begin_step(GoesStates *states, const GoesFolded *folded)
{
	GoesState  *state = states->scratch;

	if (folded->row == NULL)
	{
		goes_state_reset(states->type->layout, state, &folded->id);
		return state;
	}
	state->id = folded->id;
	state->exists = true;
	state->version = folded->version;
	state->created_at = folded->created_at;
	state->composite = PointerGetDatum(folded->row);
	return state;
}

static void
make_capacity(GoesStates *states, GoesFolded *folded, uint32 size)
{
	if (size <= folded->capacity)
		return;
	forget_row(states, folded);
	folded->row = MemoryContextAllocHuge(states->context, size);
	folded->capacity = size;
	states->used += GetMemoryChunkSpace(folded->row);
}

static void
end_step(GoesStates *states, GoesFolded *folded, const GoesEvent *event)
{
	HeapTupleHeader row = DatumGetHeapTupleHeader(goes_state_to_datum(states->scratch));
	uint32		size = HeapTupleHeaderGetDatumLength(row);

	make_capacity(states, folded, size);
	memcpy(folded->row, row, size);
	folded->version = event->aggregate_version;
	if (folded->version == 1)
		folded->created_at = event->recorded_at;
}

static bool
is_in_range(const GoesStates *states, uint32 hash)
{
	return hash >= states->from && hash < states->to;
}

/* Is a row that has the id of its aggregate in this column in the range? */
static bool
is_row_in_range(const GoesStates *states, TupleTableSlot *row, int column)
{
	bool		isnull;

	return is_in_range(states, hash_id(DatumGetUUIDP(slot_getattr(row, column, &isnull))));
}

/* Filter of goes_rows_each. */
static bool
is_event_wanted(void *arg, TupleTableSlot *row)
{
	return is_row_in_range(arg, row, EVENT_AGGREGATE_ID);
}

/*
 * The aggregate of the event that is at work; NULL: it is none of the range,
 * which has become smaller since the event was read.
 */
static GoesFolded *
find_aggregate(const Events *events)
{
	GoesStates *states = events->states;
	bool		isnull;
	Datum		value = heap_getattr(events->rows->rows[events->next],
									 EVENT_AGGREGATE_ID, events->rows->desc, &isnull);
	const pg_uuid_t *id = DatumGetUUIDP(value);
	uint32		hash = hash_id(id);

	return is_in_range(states, hash) ? enter(states, id, hash) : NULL;
}

static void
fold_event(const Events *events, GoesFolded *folded)
{
	GoesStates *states = events->states;
	GoesEvent  *event = goes_event_from_columns(states->type->name,
												events->rows->desc,
												events->rows->rows[events->next]);

	goes_fold_step(states->type, begin_step(states, folded), event);
	end_step(states, folded, event);
}

/* Fold the events from the next one on; work of goes_attempt. */
static void
fold_events(void *arg)
{
	Events	   *events = arg;
	GoesStates *states = events->states;
	MemoryContext oldcontext = MemoryContextSwitchTo(states->step_context);
	int			nestlevel = goes_fix_settings();

	for (; events->next < events->rows->count; events->next++)
	{
		GoesFolded *folded = find_aggregate(events);

		if (folded == NULL || folded->finding == GOES_FAILED)
			continue;
		CHECK_FOR_INTERRUPTS();
		fold_event(events, folded);
		MemoryContextReset(states->step_context);
		while (is_full(states))
			make_room(states);
	}
	goes_restore_settings(nestlevel);
	MemoryContextSwitchTo(oldcontext);
}

/* The event that is at work cannot be folded: that ends its aggregate. */
static void
give_up(const Events *events)
{
	GoesFolded *folded = find_aggregate(events);

	forget_row(events->states, folded);
	folded->finding = GOES_FAILED;
}

/* An event that fails spoils only its aggregate. */
static bool
take_events(void *arg, const GoesRows *rows)
{
	GoesStates *states = arg;
	Events		events = {.states = states,.rows = rows};
	MemoryContext oldcontext = MemoryContextSwitchTo(states->step_context);

	while (events.next < rows->count)
	{
		ErrorData  *error = goes_attempt(fold_events, &events);

		if (error == NULL)
			break;
		give_up(&events);
		MemoryContextReset(states->step_context);
		events.next++;
	}
	MemoryContextSwitchTo(oldcontext);
	if (states->callback != NULL)
		states->callback(states->arg, rows->count);
	return true;
}

/* ---------------------------------------------------------------------------
 * Comparing
 * ---------------------------------------------------------------------------
 */

/* goes_same_column: have two states the same value in a column? */
bool
goes_same_column(const GoesState *a, const GoesState *b, int att)
{
	Form_pg_attribute form = TupleDescAttr(a->row.tupdesc, att);

	return a->row.nulls[att] == b->row.nulls[att] &&
		(a->row.nulls[att] || datum_image_eq(a->row.values[att],
											 b->row.values[att],
											 form->attbyval, form->attlen));
}

/* goes_same_state: do two states agree in the columns that goes writes? */
bool
goes_same_state(const GoesLayout *layout, const GoesState *a, const GoesState *b)
{
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (layout->columns[i].stored &&
			!goes_same_column(a, b, layout->columns[i].attnum - 1))
			return false;
	}
	return true;
}

/* What the stored row is, compared with its events. */
static void
compare_row(GoesStates *states, const GoesState *stored)
{
	uint32		hash = hash_id(&stored->id);
	GoesFolded *folded;

	/* It has become smaller, maybe */
	if (!is_in_range(states, hash))
		return;
	folded = enter(states, &stored->id, hash);
	if (folded->finding == GOES_FAILED)
		return;
	if (folded->row == NULL)
		folded->finding = GOES_NO_EVENTS;
	else
		folded->finding = goes_same_state(states->type->layout, stored,
										  goes_states_state(states, folded)) ?
			GOES_SAME : GOES_DIFFERENT;
	/* It takes no more part */
	if (folded->finding == GOES_SAME)
		forget_row(states, folded);
}

/* Filter of goes_rows_each. */
static bool
is_aggregate_wanted(void *arg, TupleTableSlot *row)
{
	GoesStates *states = arg;

	return is_row_in_range(states, row, goes_aggregate_column(states->type->layout,
															 states->type->layout->id));
}

static bool
compare_rows(void *arg, const GoesRows *rows)
{
	GoesStates *states = arg;
	MemoryContext oldcontext = MemoryContextSwitchTo(states->step_context);

	for (int i = 0; i < rows->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		compare_row(states, goes_state_from_row(states->type->layout,
												states->aggregate,
												rows->rows[i], rows->desc));
		MemoryContextReset(states->step_context);
		while (is_full(states))
			make_room(states);
	}
	MemoryContextSwitchTo(oldcontext);
	return true;
}

/* ---------------------------------------------------------------------------
 * The whole
 * ---------------------------------------------------------------------------
 */

/*
 * goes_states_find
 *		Find the states of all aggregates in a range of hashes from the events
 *		that the active snapshot shows, and compare their rows with them.  Where
 *		the range has too many, it becomes smaller: states->to tells.  The caller
 *		is connected to SPI, and may see all rows.
 */
void
goes_states_find(GoesStates *states, uint64 from, uint64 to)
{
	bool		all;

	clear(states);
	states->from = from;
	states->to = Min(to, from + states->width);
	all = states->to - states->from == GOES_HASH_END;
	goes_rows_each(psprintf("SELECT %s FROM %s ORDER BY position",
							goes_event_columns(),
							goes_relation_name(states->type->events)),
				   0, NULL, NULL, NULL, true,
				   all ? NULL : is_event_wanted, take_events, states);
	goes_rows_each(psprintf("SELECT %s FROM %s",
							goes_aggregate_columns(states->type->layout,
												   states->aggregate),
							goes_relation_name(states->type->relation)),
				   0, NULL, NULL, NULL, true,
				   is_aggregate_wanted, compare_rows, states);
}

/* goes_states_count: how many aggregates there are, with or without a row. */
uint64
goes_states_count(const GoesStates *states)
{
	return states->table->members;
}

/* goes_states_get: what is known of an aggregate, which must be there. */
GoesFolded *
goes_states_get(GoesStates *states, const pg_uuid_t *id)
{
	return folded_lookup(states->table, *id);
}

static int
compare_ids(const void *a, const void *b)
{
	const GoesFolded *x = *(GoesFolded *const *) a;
	const GoesFolded *y = *(GoesFolded *const *) b;

	return memcmp(&x->id, &y->id, UUID_LEN);
}

static int
compare_hashes(const void *a, const void *b)
{
	const GoesFolded *x = *(GoesFolded *const *) a;
	const GoesFolded *y = *(GoesFolded *const *) b;

	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/*
 * goes_states_problems
 *		The aggregates whose rows are not what their events make of them, ordered
 *		by hash or by id, in the context of the states.
 */
GoesFolded **
goes_states_problems(GoesStates *states, bool by_hash, int *count)
{
	GoesFolded **problems = MemoryContextAllocHuge(states->context,
												   Max(1, states->table->members) *
												   sizeof(GoesFolded *));
	folded_iterator iterator;
	GoesFolded *folded;

	*count = 0;
	folded_start_iterate(states->table, &iterator);
	while ((folded = folded_iterate(states->table, &iterator)) != NULL)
	{
		if (folded->finding != GOES_SAME)
			problems[(*count)++] = folded;
	}
	qsort(problems, *count, sizeof(GoesFolded *), by_hash ? compare_hashes : compare_ids);
	return problems;
}
