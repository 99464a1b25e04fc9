/*-------------------------------------------------------------------------
 *
 * upcaster.h
 *	  Old versions of events, brought up to date when they are read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_UPCASTER_H
#define GOES_UPCASTER_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "registry.h"

extern List *goes_upcaster_gaps(const GoesAggregateType *type);
extern const GoesEvent *goes_upcast(const GoesAggregateType *type,
									const GoesEvent *event);
extern const GoesEvent *goes_upcast_as_owner(const GoesAggregateType *type,
											 const GoesEvent *event);
extern void goes_forget_upcaster(const char *type, const char *action,
								 int32 from_version);

#endif							/* GOES_UPCASTER_H */
