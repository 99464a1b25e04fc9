/*-------------------------------------------------------------------------
 *
 * states.h
 *	  The states of many aggregates at once, from their events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_STATES_H
#define GOES_STATES_H

#include "postgres.h"

#include "access/htup.h"
#include "aggregate.h"
#include "registry.h"

/* Hashes of aggregates are below this */
#define GOES_HASH_END (UINT64CONST(1) << 32)

/* What an aggregate's row is, compared with its events */
typedef enum GoesFinding
{
	GOES_MISSING,				/* there is none, as far as is known */
	GOES_SAME,
	GOES_DIFFERENT,
	GOES_FAILED,				/* an event cannot be applied, in this order */
	GOES_NO_EVENTS				/* there is one, but no event */
} GoesFinding;

/* An aggregate, and what its events make of it */
typedef struct GoesFolded
{
	pg_uuid_t	id;				/* hash key */
	uint32		hash;
	char		status;			/* of the hash table */
	uint8		finding;
	uint32		capacity;		/* of row, in bytes */
	HeapTupleHeader row;		/* the state, a value of the row type, or NULL */
	int64		version;
	TimestampTz created_at;
} GoesFolded;

struct folded_hash;

/* Called now and then, with the number of events that were folded since */
typedef void (*GoesFoldedCallback) (void *arg, uint64 nevents);

/* The aggregates of a type whose hashes are in a range: from <= hash < to */
typedef struct GoesStates
{
	MemoryContext context;
	MemoryContext step_context; /* for the garbage of a step */
	GoesAggregateType *type;
	Relation	aggregate;
	uint64		from;
	uint64		to;
	uint64		width;			/* of the ranges that there is memory for */
	Size		memory;			/* what the states may take, in bytes */
	Size		used;			/* without the table */
	struct folded_hash *table;
	GoesState  *scratch;		/* the state that is being worked on */
	GoesFoldedCallback callback;
	void	   *arg;
} GoesStates;

extern GoesStates *goes_states_create(MemoryContext parent);
extern void goes_states_use(GoesStates *states, GoesAggregateType *type,
							Relation aggregate);
extern void goes_states_find(GoesStates *states, uint64 from, uint64 to);
extern GoesFolded **goes_states_problems(GoesStates *states, bool by_hash,
										 int *count);
extern GoesFolded *goes_states_get(GoesStates *states, const pg_uuid_t *id);
extern uint64 goes_states_count(const GoesStates *states);
extern GoesState *goes_states_state(GoesStates *states, const GoesFolded *folded);
extern bool goes_same_column(const GoesState *a, const GoesState *b, int att);
extern bool goes_same_state(const GoesLayout *layout, const GoesState *a,
							const GoesState *b);

#endif							/* GOES_STATES_H */
