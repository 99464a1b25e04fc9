/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *	  All aggregates of a type recomputed: what the files of goes_rebuild share.
 *
 *	  rebuild.c		the procedure: begin, go on after an interruption, end
 *	  repair.c		the work: read events, compare rows, write them
 *	  crew.c		background workers that help
 *	  part.c		what is done and what is left
 *	  failure.c		what could not be done
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_REBUILD_H
#define GOES_REBUILD_H

#include "postgres.h"

#include "part.h"
#include "port/atomics.h"
#include "replay.h"
#include "states.h"
#include "storage/dsm.h"

typedef enum GoesPhase
{
	GOES_PHASE_STARTING,		/* waits for transactions that may use an older
								 * model */
	GOES_PHASE_READING,			/* events, and the rows to compare */
	GOES_PHASE_WRITING,			/* rows that differ */
	GOES_PHASE_WORKERS,			/* waits for other processes */
	GOES_PHASE_ALONE			/* what was put off, one aggregate at a time */
} GoesPhase;

typedef enum GoesPartState
{
	GOES_PART_OPEN,
	GOES_PART_TAKEN,
	GOES_PART_DONE
} GoesPartState;

typedef struct GoesSharedPart
{
	GoesPart	part;
	pg_atomic_uint32 state;
} GoesSharedPart;

#define GOES_REBUILD_MAGIC 0x676f6573
#define GOES_REBUILD_TEXT 1024

/* The error of a worker */
typedef struct GoesRebuildError
{
	int			sqlstate;
	char		message[GOES_REBUILD_TEXT];
	char		detail[GOES_REBUILD_TEXT];
	char		hint[GOES_REBUILD_TEXT];
} GoesRebuildError;

/*
 * A rebuild that is running, in dynamic shared memory: for its processes, and
 * for who watches it.
 */
typedef struct GoesRebuild
{
	uint32		magic;
	Oid			database;
	Oid			role;			/* who called */
	int			pid;
	char		type[NAMEDATALEN];
	TimestampTz started_at;		/* the rebuild */
	TimestampTz called_at;		/* this call */
	uint64		fingerprint;
	int			batch_size;
	int			memory;			/* of each process, in kB */

	pg_atomic_uint32 phase;		/* of the process that was called */
	pg_atomic_uint32 outdated;	/* the model is not the one any more */
	pg_atomic_uint32 processes; /* that are at work */
	pg_atomic_uint64 total;		/* about how many events there are to do */
	pg_atomic_uint64 done;		/* how many were read */
	pg_atomic_uint64 aggregates;	/* that are done */
	pg_atomic_uint64 changed;	/* rows that were written */

	pg_atomic_uint32 failed;	/* a worker has: 1, 2 when error is written */
	GoesRebuildError error;

	int			nsettings;		/* names and values, each with its end */
	Size		settings;		/* where they begin, from here */
	int			nparts;
	GoesSharedPart parts[FLEXIBLE_ARRAY_MEMBER];
} GoesRebuild;

/* One process at work */
typedef struct GoesRepair
{
	GoesRebuild *rebuild;
	bool		leader;			/* the process that was called */
	GoesStates *states;
	GoesTables	tables;			/* in the transaction of the moment */
	TimestampTz told_at;		/* when the leader last told how far it is */
} GoesRepair;

/* rebuild.c */
extern void goes_rebuild_tell(GoesRepair *repair);
extern void goes_rebuild_progress(GoesRebuild *rebuild, int64 *done,
								  int64 *total, double *rate);

/* repair.c */
extern GoesRepair *goes_repair_create(GoesRebuild *rebuild, bool leader);
extern void goes_repair_open_tables(GoesTables *tables, const char *type,
									LOCKMODE lockmode);
extern void goes_repair_next_transaction(void);
extern bool goes_repair_begin(GoesRepair *repair, LOCKMODE lockmode);
extern void goes_repair_commit(GoesRepair *repair);
extern void goes_repair_parts(GoesRepair *repair);
extern void goes_repair_put_off(GoesRepair *repair);

/* crew.c */
struct GoesCrew;
extern Size goes_crew_settings_size(List *settings);
extern List *goes_crew_settings(void);
extern void goes_crew_write_settings(GoesRebuild *rebuild, List *settings);
extern struct GoesCrew *goes_crew_start(GoesRebuild *rebuild, dsm_handle handle,
										int size);
extern bool goes_crew_is_working(struct GoesCrew *crew);
extern void goes_crew_wait(long timeout);
extern void goes_crew_dismiss(struct GoesCrew *crew);
extern void goes_crew_check(GoesRebuild *rebuild);

#endif							/* GOES_REBUILD_H */
