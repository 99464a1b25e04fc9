/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  Aggregates that a rebuild could not, or has not yet, rebuilt.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_FAILURE_H
#define GOES_FAILURE_H

#include "postgres.h"

#include "goes.h"
#include "utils/uuid.h"

extern void goes_failures_put_off(const char *type, const Datum *ids, int count);
extern int	goes_failures_put_off_ids(const char *type, pg_uuid_t *ids, int limit);
extern void goes_failure_note(const char *type, const pg_uuid_t *id,
							  const GoesEvent *event, const ErrorData *error);
extern void goes_failures_note_no_events(const char *type, const Datum *ids,
										 int count);
extern void goes_failure_forget(const char *type, const pg_uuid_t *id);
extern void goes_failures_forget(const char *type);
extern void goes_failures_count(const char *type, int64 *failed, int64 *no_events);

#endif							/* GOES_FAILURE_H */
