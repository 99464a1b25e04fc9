/*-------------------------------------------------------------------------
 *
 * part.h
 *	  What a rebuild has done and has still to do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_PART_H
#define GOES_PART_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/dsm.h"
#include "utils/uuid.h"

/* Aggregates by their hash: those with from <= hash < to are still to be done */
typedef struct GoesPart
{
	int32		number;
	uint64		from;
	uint64		to;
} GoesPart;

/* A rebuild that has not finished */
typedef struct GoesUnfinished
{
	uint64		fingerprint;	/* of the model */
	TimestampTz started_at;
	int64		since;			/* transactions from this on may have used an
								 * older model; 0: none has */
	dsm_handle	progress;		/* where to look while it runs */
	List	   *parts;			/* GoesPart */
} GoesUnfinished;

extern GoesUnfinished *goes_parts_read(const char *type);
extern void goes_parts_create(GoesUnfinished *rebuild, int count);
extern void goes_parts_split(GoesUnfinished *rebuild, int count);
extern void goes_parts_write(const char *type, const GoesUnfinished *rebuild);
extern void goes_parts_settle(const char *type);
extern bool goes_part_advance(const char *type, TimestampTz started_at,
							  int32 number, uint64 from);
extern uint64 goes_parts_left(const GoesUnfinished *rebuild);
extern void goes_parts_forget(const char *type);

#endif							/* GOES_PART_H */
