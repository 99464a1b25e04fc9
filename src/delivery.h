/*-------------------------------------------------------------------------
 *
 * delivery.h
 *	  Events are delivered to an async reactor, a batch at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_DELIVERY_H
#define GOES_DELIVERY_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "function.h"
#include "progress.h"
#include "reactor.h"
#include "source.h"

/* One part of a reactor, as a runner works on it */
typedef struct GoesTask
{
	MemoryContext context;
	GoesReactor reactor;
	Oid			owner;
	int			part;
	GoesProgress progress;		/* as last read or written */
	int64		scanned;		/* no event for it up to here, from the checkpoint */
	TimestampTz next_due;		/* when an event that failed may be tried again */
	int64		alone_to;		/* up to here a transaction for each event, since
								 * one for many could not commit */
	bool		retried;		/* the last batch was of those */
	TimestampTz not_before;		/* after an error of our own */
	int			error_pause;	/* in milliseconds; 0: there was none */
	Oid			function_oid;	/* that is locked, and called whatever its name */
	uint64		function_generation;	/* by which it is still the owner's */
	GoesFunction *function;
	GoesSources *sources;
} GoesTask;

typedef enum GoesDelivered
{
	GOES_DELIVERED_NOTHING,		/* there is none */
	GOES_DELIVERED_SOME,		/* there may be more */
	GOES_DELIVERED_BUSY,		/* another runner is at it */
	GOES_DELIVERED_CHANGED		/* the task is not what it was: load it anew */
} GoesDelivered;

extern GoesTask *goes_task_create(MemoryContext parent, const GoesReactor *reactor,
								  Oid owner, int part);
extern void goes_task_free(GoesTask *task);
extern bool goes_task_is_idle(const GoesTask *task, int64 horizon);
extern GoesDelivered goes_task_deliver(GoesTask *task, int64 horizon);
extern GoesDelivered goes_task_persist(GoesTask *task);

#endif							/* GOES_DELIVERY_H */
