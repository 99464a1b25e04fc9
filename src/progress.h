/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  How far async and outside reactors are: rows of goes.progress.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_PROGRESS_H
#define GOES_PROGRESS_H

#include "postgres.h"

#include "utils/uuid.h"

/* Value of barrier where there is none */
#define GOES_NO_BARRIER PG_INT64_MAX

typedef struct GoesProgress
{
	int			parts;
	int64		checkpoint;
	int64		barrier;		/* position at which all parts wait for each
								 * other, or GOES_NO_BARRIER */
	int64		imported_to;
	int64		revision;
} GoesProgress;

/* What a transaction adds to it */
typedef struct GoesAdvance
{
	int64		checkpoint;
	int64		processed;
	int64		failed;
	int64		retried;
	const char *error;			/* the last one; NULL: none */
} GoesAdvance;

extern void goes_progress_start(const pg_uuid_t *reactor, int64 start,
								bool with_imported);
extern void goes_progress_lock(const pg_uuid_t *reactor);
extern void goes_progress_forget(const pg_uuid_t *reactor);
extern int	goes_progress_parts(const pg_uuid_t *reactor);
extern bool goes_progress_read(const pg_uuid_t *reactor, int part,
							   GoesProgress *progress);
extern bool goes_progress_try_lock(const pg_uuid_t *reactor, int part,
								   GoesProgress *progress);
extern bool goes_progress_wait_lock(const pg_uuid_t *reactor, int part,
									GoesProgress *progress);
extern void goes_progress_advance(const pg_uuid_t *reactor, int part,
								  const GoesAdvance *advance);
extern void goes_progress_set_barrier(const pg_uuid_t *reactor, int parts);
extern bool goes_progress_repartition(const pg_uuid_t *reactor);
extern void goes_progress_rewind(const pg_uuid_t *reactor, int64 after,
								 int64 imported_to);

#endif							/* GOES_PROGRESS_H */
