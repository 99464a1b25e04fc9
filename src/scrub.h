/*-------------------------------------------------------------------------
 *
 * scrub.h
 *	  Taking transient data out of messages that are kept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_SCRUB_H
#define GOES_SCRUB_H

#include "postgres.h"

#include "utils/jsonb.h"

extern char *goes_scrub(const char *text, Jsonb *transient);

#endif							/* GOES_SCRUB_H */
