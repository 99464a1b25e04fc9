/*-------------------------------------------------------------------------
 *
 * counters.h
 *	  How often commands were called, and how that went.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_COUNTERS_H
#define GOES_COUNTERS_H

#include "postgres.h"

#include "execute.h"

extern void goes_counters_request(void);
extern void goes_counters_start(void);
extern void goes_counters_init(void);
extern void goes_count_begin(GoesExecution *execution);
extern void goes_count_end(const GoesExecution *execution);
extern void goes_counters_flush(void);
extern void goes_counters_forget_database(Oid database);

#endif							/* GOES_COUNTERS_H */
