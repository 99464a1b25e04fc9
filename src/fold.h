/*-------------------------------------------------------------------------
 *
 * fold.h
 *	  The state of an aggregate from its events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_FOLD_H
#define GOES_FOLD_H

#include "postgres.h"

#include "aggregate.h"
#include "registry.h"

typedef struct GoesFold
{
	GoesAggregateType *type;
	Relation	aggregate;
	GoesState  *state;
	MemoryContext contexts[2];	/* the state is in one of them */
	int			at;				/* in which */
} GoesFold;

extern GoesFold *goes_fold_create(GoesAggregateType *type, Relation aggregate);
extern void goes_fold_start(GoesFold *fold, const pg_uuid_t *id);
extern void goes_fold_step(GoesAggregateType *type, GoesState *state,
						   const GoesEvent *event);
extern void goes_fold_apply(GoesFold *fold, const GoesEvent *event);

/*
 * Called for each event, in order; false ends the reading.  The event is gone
 * after the call.
 */
typedef bool (*GoesEventCallback) (void *arg, const GoesEvent *event);

extern void goes_events_each(const GoesAggregateType *type, const char *sql,
							 int nargs, const Oid *argtypes, const Datum *args,
							 const char *nulls, bool read_only,
							 GoesEventCallback callback, void *arg);

#endif							/* GOES_FOLD_H */
