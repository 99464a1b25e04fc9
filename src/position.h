/*-------------------------------------------------------------------------
 *
 * position.h
 *	  The global order of events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_POSITION_H
#define GOES_POSITION_H

#include "postgres.h"

#include "access/xact.h"
#include "utils/rel.h"

/* Setting goes.notify */
extern bool goes_notify;

extern int64 goes_position_next(void);
extern bool goes_position_is_taken(void);
extern int64 goes_position_last(void);
extern int64 goes_position_settled(void);
extern int64 goes_position_committed(void);
extern void goes_position_mend(void);
extern void goes_position_mend_past(Relation events);
extern void goes_position_xact_callback(XactEvent event, void *arg);

#endif							/* GOES_POSITION_H */
