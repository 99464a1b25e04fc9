/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  Shared memory: who has taken positions, and the workers.
 *
 * Without the preload there is none; goes_shared is NULL then, which
 * goes_preloaded() tells.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_SHARED_H
#define GOES_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/uuid.h"

/* Value of a slot while its backend takes its first position */
#define GOES_POSITION_UNKNOWN UINT64CONST(0)
/* Value of a slot whose backend has taken none */
#define GOES_POSITION_NONE PG_UINT64_MAX

/* What one backend tells the others; by the number of its PGPROC */
typedef struct GoesSlot
{
	pg_atomic_uint64 lowest;	/* position that its open transaction has taken
								 * first */
	Oid			database;		/* of that position */
	Oid			sequence;
	TimestampTz since;			/* when it was taken */
	Oid			held;			/* a database that must be without workers while
								 * a command of this backend runs, or InvalidOid */
	Oid			restored;		/* the database into which this backend restores
								 * a dump, or InvalidOid */
	char		padding[PG_CACHE_LINE_SIZE - 36];
} GoesSlot;

typedef enum GoesWorkerKind
{
	GOES_LAUNCHER,				/* one in the server: starts dispatchers */
	GOES_DISPATCHER,			/* one in a database: horizon, starts runners */
	GOES_RUNNER					/* runs the async reactors of one owner */
} GoesWorkerKind;

/*
 * A background worker, from when it is ordered until it has ended.  The lock
 * protects what is not atomic; the worker alone writes the last part, whose
 * torn reads only spoil a line of a statistics view.
 */
typedef struct GoesWorker
{
	bool		in_use;
	GoesWorkerKind kind;
	Oid			database;
	Oid			role;			/* of a runner, else InvalidOid */
	pid_t		pid;			/* 0: ordered, but not there yet */
	int			procno;
	TimestampTz since;			/* when it was ordered, then when it started */
	uint32		serial;			/* tells the uses of this entry apart */
	bool		leave;			/* it is asked to end, to make room */
	TimestampTz leave_at;		/* when it was asked to */
	bool		ended;			/* it did not, and was made to */
	bool		connected;		/* to its database; stays when it has ended */

	pg_atomic_uint32 sleeping;	/* what may end its sleep must set its latch */
	pg_atomic_uint32 asleep;	/* a dispatcher that also waits for NOTIFY goes */
	pg_atomic_uint64 wanted;	/* of a dispatcher: the greatest position that
								 * goes_wait waits for in its database */
	/* of a runner: */
	pg_atomic_uint64 loaded;	/* the changes that it knows of */
	pg_atomic_uint64 seen;		/* up to where it has done all, by these */
	pg_atomic_uint64 due_at;	/* when it has to wake up, by these */
	pg_atomic_uint64 busy_since;	/* when it last woke up, 0: it sleeps */

	pg_uuid_t	reactor;		/* what a runner works on */
	int64		position;		/* 0: on nothing */
	TimestampTz called_at;
	int64		timeout;		/* of the call, in ms */
} GoesWorker;

/* A message to the launcher */
typedef struct GoesNews
{
	Oid			database;
	bool		absent;			/* it does not have goes; else: look whether it
								 * has */
} GoesNews;

#define GOES_MAX_NEWS 64

/* An event in whose call a runner ended */
typedef struct GoesCasualty
{
	Oid			database;
	pg_uuid_t	reactor;
	int64		position;
} GoesCasualty;

#define GOES_MAX_CASUALTIES 16

typedef struct GoesShared
{
	LWLock	   *lock;
	ConditionVariable progressed;	/* the horizon or a reactor has moved on */
	pg_atomic_uint64 progress;	/* how often */
	pg_atomic_uint32 waiters;	/* for it */
	pg_atomic_uint64 changes;	/* of what workers keep in their memory */
	pg_atomic_uint64 exits;		/* of runners, which knew what was due */
	int			nnews;
	bool		news_lost;		/* there were more: look at all databases */
	GoesNews	news[GOES_MAX_NEWS];
	int			ncasualties;	/* the oldest makes room */
	GoesCasualty casualties[GOES_MAX_CASUALTIES];
	int			nslots;
	int			nworkers;		/* entries of workers, which follow the slots */
	GoesSlot	slots[FLEXIBLE_ARRAY_MEMBER] pg_attribute_aligned(PG_CACHE_LINE_SIZE);
} GoesShared;

extern GoesShared *goes_shared;

extern void goes_shared_init(void);
extern bool goes_preloaded(void);
extern void goes_require_preload(void);
extern void goes_warn_without_preload(void);

extern GoesWorker *goes_worker_entry(int n);
extern bool goes_has_slot(void);
extern GoesSlot *goes_my_slot(void);

extern void goes_wake_database(Oid database);
extern void goes_wake_worker(GoesWorker *worker);
extern void goes_wake_launcher(void);
extern void goes_tell_launcher(Oid database, bool absent);
extern GoesWorker *goes_find_dispatcher(Oid database);
extern void goes_progressed(void);

extern void goes_begin_restore(void);
extern bool goes_is_being_restored(void);
extern void goes_progressed_at_commit(void);
extern void goes_workers_changed(void);
extern void goes_launch_at_commit(void);

#endif							/* GOES_SHARED_H */
