/*-------------------------------------------------------------------------
 *
 * attempt.h
 *	  Work that may fail without spoiling the rest.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_ATTEMPT_H
#define GOES_ATTEMPT_H

#include "postgres.h"

typedef void (*GoesWork) (void *arg);

extern ErrorData *goes_attempt(GoesWork work, void *arg);

#endif							/* GOES_ATTEMPT_H */
