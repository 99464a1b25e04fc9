/*-------------------------------------------------------------------------
 *
 * horizon.h
 *	  The horizon: no event at or below it can still appear, or disappear.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_HORIZON_H
#define GOES_HORIZON_H

#include "postgres.h"

#include "utils/snapshot.h"

extern void goes_horizon_take(void);
extern void goes_horizon_taken(int64 position);
extern void goes_horizon_hold(void);
extern void goes_horizon_release(void);
extern int64 goes_horizon_live(void);
extern bool goes_horizon_is_certain(void);
extern int64 goes_horizon_certain(void);
extern int64 goes_horizon_persisted(Snapshot snapshot);
extern void goes_horizon_persist(int64 horizon);

#endif							/* GOES_HORIZON_H */
