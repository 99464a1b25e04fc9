/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  Command ids: each command with one runs once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_CLAIM_H
#define GOES_CLAIM_H

#include "postgres.h"

#include "command.h"

typedef struct GoesOutcome
{
	pg_uuid_t	aggregate_id;
	int64		position;		/* of its event; 0: nothing happened */
} GoesOutcome;

extern bool goes_claim(const GoesCommand *command, Oid aggregate_table,
					   GoesOutcome *outcome);
extern void goes_claim_settle(const GoesCommand *command,
							  const pg_uuid_t *aggregate_id, int64 position);

#endif							/* GOES_CLAIM_H */
