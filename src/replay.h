/*-------------------------------------------------------------------------
 *
 * replay.h
 *	  Aggregates recomputed from their events, and compared with them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_REPLAY_H
#define GOES_REPLAY_H

#include "postgres.h"

#include "aggregate.h"
#include "registry.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

/* The tables of a type that its owner works on */
typedef struct GoesTables
{
	GoesAggregateType *type;
	Relation	aggregate;
	Relation	events;
} GoesTables;

extern void goes_check_no_policies(Relation relation);
extern void goes_open_own_tables(GoesTables *tables, const char *type,
								 LOCKMODE lockmode);
extern void goes_close_tables(GoesTables *tables);
extern bool goes_replay_aggregate(const GoesTables *tables, const pg_uuid_t *id,
								  int64 *position);
extern bool goes_store_state(const GoesTables *tables, const GoesState *stored,
							 const GoesState *calculated);

#endif							/* GOES_REPLAY_H */
