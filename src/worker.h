/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  What the background workers have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_WORKER_H
#define GOES_WORKER_H

#include "postgres.h"

#include "postmaster/bgworker.h"
#include "shared.h"

/* This process's entry; NULL: it is no worker of goes */
extern GoesWorker *goes_my_worker;

extern GoesWorker *goes_worker_order(GoesWorkerKind kind, Oid database, Oid role,
									 uint32 *serial, BackgroundWorkerHandle **handle);
extern void goes_worker_give_up(GoesWorker *worker, uint32 serial);
extern bool goes_worker_make_room(Oid database, Oid role);
extern void goes_register_launcher(void);
extern void goes_worker_start(GoesWorkerKind kind, Datum arg);
extern bool goes_database_is_held(Oid database);
extern bool goes_take_casualty(const pg_uuid_t *reactor, int64 position);
extern const char *goes_worker_type(GoesWorkerKind kind);

extern bool goes_worker_begin(void);
extern bool goes_worker_reload(void);
extern void goes_worker_fall_asleep(void);
extern void goes_worker_stay_awake(void);
extern bool goes_worker_saw(int64 horizon);
extern void goes_worker_pace(void);
extern bool goes_worker_sleep(long timeout);

#endif							/* GOES_WORKER_H */
