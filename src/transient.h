/*-------------------------------------------------------------------------
 *
 * transient.h
 *	  Transient data of events: in main shared memory only, never on disk.
 *
 * Without the preload there is none: what is reserved is not kept, and
 * nothing is found.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_TRANSIENT_H
#define GOES_TRANSIENT_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/uuid.h"

/* A reactor has not settled an event yet */
typedef struct GoesClaim
{
	int64		position;
	pg_uuid_t	reactor;
} GoesClaim;

/* Setting goes.transient_memory, in kB */
extern int	goes_transient_memory;

extern void goes_transient_init(void);
extern void goes_transient_request(void);
extern void goes_transient_start(void);
extern void goes_transient_reserve(int64 position, Jsonb *data, int nreactors,
								   const pg_uuid_t *reactors);
extern Jsonb *goes_transient_find(int64 position, const pg_uuid_t *reactor);
extern void goes_transient_settle(int64 position, const pg_uuid_t *reactor);
extern void goes_transient_settle_at_commit(int64 position,
											const pg_uuid_t *reactor);
extern void goes_transient_forget_at_commit(const pg_uuid_t *reactor);
extern void goes_transient_sweep(Oid database, Oid sequence);
extern bool goes_transient_was_full(void);
extern int	goes_transient_claims(GoesClaim **claims);

#endif							/* GOES_TRANSIENT_H */
