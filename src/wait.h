/*-------------------------------------------------------------------------
 *
 * wait.h
 *	  Waiting until reactors have done what is committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_WAIT_H
#define GOES_WAIT_H

#include "postgres.h"

#include "datatype/timestamp.h"

extern bool goes_wait_progress(bool (*is_done) (void *arg), void *arg,
							   int64 timeout, const TimestampTz *look_at);

#endif							/* GOES_WAIT_H */
