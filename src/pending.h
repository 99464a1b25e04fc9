/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  Events that failed: attempts, pauses, dead letters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_PENDING_H
#define GOES_PENDING_H

#include "postgres.h"

#include "reactor.h"
#include "source.h"
#include "utils/array.h"

/* A row of goes.pending */
typedef struct GoesPending
{
	int64		position;
	char	   *aggregate_type;
	pg_uuid_t	aggregate_id;
	int64		aggregate_version;
	bool		blocks;			/* later events of the aggregate wait */
	int			attempts;		/* that failed */
	bool		leased;			/* a program has fetched it */
} GoesPending;

/* What went wrong */
typedef struct GoesFailure
{
	int			sqlerrcode;
	const char *message;		/* without transient data */
} GoesFailure;

/* What became of an event that failed */
typedef enum GoesFate
{
	GOES_FATE_RETRY,
	GOES_FATE_STOPPED,
	GOES_FATE_DEAD
} GoesFate;

extern GoesPending goes_pending_of(const GoesFound *found, bool blocks);
extern int	goes_pending_due(const GoesReactor *reactor, int part, int parts,
							 int limit, GoesPending **due);
extern int	goes_pending_leased(const GoesReactor *reactor,
								ArrayType *positions, GoesPending **leased);
extern int	goes_pending_take_leased(const GoesReactor *reactor,
									 ArrayType *positions,
									 GoesPending **leased);
extern TimestampTz goes_pending_next_due(const GoesReactor *reactor, int part,
										 int parts);
extern List *goes_pending_blocked(const GoesReactor *reactor,
								  const GoesFound *found, int nfound);
extern bool goes_pending_is_blocked(const List *blocked, const GoesFound *found);
extern void goes_pending_bury_unseen(const GoesReactor *reactor,
									 GoesSources *sources,
									 const GoesPending *event,
									 const GoesRange *range);
extern GoesFate goes_pending_fail(const GoesReactor *reactor,
								  const GoesPending *event,
								  const GoesFailure *failure);
extern void goes_pending_done(const GoesReactor *reactor,
							  const GoesPending *event);
extern void goes_pending_put(const GoesReactor *reactor, int nevents,
							 const GoesPending *events, TimestampTz due_at,
							 bool leased);
extern void goes_pending_advance(const GoesReactor *reactor,
								 GoesSources *sources, int nevents,
								 const GoesPending *events,
								 const GoesRange *range);

extern int64 goes_pending_retry(const GoesReactor *reactor);
extern void goes_pending_repeat(const GoesReactor *reactor,
								const GoesEvent *event, bool imported);
extern bool goes_pending_skip(const GoesReactor *reactor, int64 position,
							  GoesPending *event);
extern bool goes_pending_remove_dead(const GoesReactor *reactor, int64 position);

#endif							/* GOES_PENDING_H */
