/*-------------------------------------------------------------------------
 *
 * crew.c
 *	  Background workers that help a session with a rebuild.
 *
 * They are started by the session itself, need no preload, and end with its
 * call.  Connected as the role that called, they work under its settings and
 * with the libraries that it has loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "rebuild.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/portal.h"

#define WORKER_TYPE "goes rebuild worker"

PGDLLEXPORT void goes_rebuild_worker_main(Datum arg);

struct GoesCrew
{
	int			size;
	BackgroundWorkerHandle *workers[FLEXIBLE_ARRAY_MEMBER];
};

/* ---------------------------------------------------------------------------
 * What the workers get from the session
 * ---------------------------------------------------------------------------
 */

/* Is it none of the session's own, but of its client, role or transaction? */
static bool
is_personal(const char *name)
{
	static const char *const names[] = {
		"role", "session_authorization", "client_encoding", "application_name",
		"transaction_isolation", "transaction_read_only", "transaction_deferrable"
	};

	for (int i = 0; i < goes_lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* Can and should a worker have this setting as the session has it? */
static bool
is_for_workers(const struct config_generic *setting)
{
	return (setting->context == PGC_USERSET ||
			(setting->context == PGC_SUSET && superuser())) &&
		!is_personal(setting->name);
}

/*
 * goes_crew_settings
 *		The settings of this session that its workers are to have, names and
 *		values in turn, in the current context.  Those at their defaults too: the
 *		role may have others.  View pg_settings would lack those that no library
 *		has defined.
 */
List *
goes_crew_settings(void)
{
	List	   *settings = NIL;
	int			count;
	struct config_generic **all = goes_guc_variables(&count);

	for (int i = 0; i < count; i++)
	{
		const char *name = all[i]->name;

		if (!is_for_workers(all[i]))
			continue;
		settings = lappend(settings, pstrdup(name));
		settings = lappend(settings, pstrdup(GetConfigOption(name, false, false)));
	}
	return settings;
}

/* goes_crew_settings_size: the bytes that they and the libraries take. */
Size
goes_crew_settings_size(List *settings)
{
	Size		size = EstimateLibraryStateSpace();
	ListCell   *cell;

	foreach(cell, settings)
		size = add_size(size, strlen(lfirst(cell)) + 1);
	return size;
}

/* goes_crew_write_settings: put them where the workers find them. */
void
goes_crew_write_settings(GoesRebuild *rebuild, List *settings)
{
	char	   *at = (char *) rebuild + rebuild->settings;
	ListCell   *cell;

	rebuild->nsettings = list_length(settings) / 2;
	foreach(cell, settings)
	{
		Size		size = strlen(lfirst(cell)) + 1;

		memcpy(at, lfirst(cell), size);
		at += size;
	}
	SerializeLibraryState(EstimateLibraryStateSpace(), at);
}

static void
take_setting(const char *name, const char *value)
{
	const char *now = GetConfigOption(name, true, false);

	if (now == NULL || strcmp(now, value) != 0)
		(void) set_config_option(name, value, superuser() ? PGC_SUSET : PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SET, true, WARNING, false);
}

/* In a worker, and a transaction. */
static void
take_settings(GoesRebuild *rebuild)
{
	const char *settings = (const char *) rebuild + rebuild->settings;
	const char *libraries = settings;

	/* They may define settings */
	for (int i = 0; i < 2 * rebuild->nsettings; i++)
		libraries += strlen(libraries) + 1;
	RestoreLibraryState(unconstify(char *, libraries));
	for (int i = 0; i < rebuild->nsettings; i++)
	{
		const char *name = settings;
		const char *value = name + strlen(name) + 1;

		take_setting(name, value);
		settings = value + strlen(value) + 1;
	}
}

/* ---------------------------------------------------------------------------
 * The session's side
 * ---------------------------------------------------------------------------
 */

static BackgroundWorkerHandle *
start_worker(const GoesRebuild *rebuild, dsm_handle handle)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_main_arg = UInt32GetDatum(handle),
		.bgw_notify_pid = MyProcPid
	};
	BackgroundWorkerHandle *started;

	strlcpy(worker.bgw_library_name, "goes", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "goes_rebuild_worker_main", BGW_MAXLEN);
	strlcpy(worker.bgw_type, WORKER_TYPE, BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, WORKER_TYPE " for pid %d", MyProcPid);
	return RegisterDynamicBackgroundWorker(&worker, &started) ? started : NULL;
}

/*
 * goes_crew_start
 *		Start that many workers, or as many as there is room for; in the current
 *		context.
 */
struct GoesCrew *
goes_crew_start(GoesRebuild *rebuild, dsm_handle handle, int size)
{
	struct GoesCrew *crew = palloc0(offsetof(struct GoesCrew, workers) +
									size * sizeof(BackgroundWorkerHandle *));

	while (crew->size < size)
	{
		BackgroundWorkerHandle *worker = start_worker(rebuild, handle);

		if (worker == NULL)
			break;
		crew->workers[crew->size++] = worker;
	}
	return crew;
}

/* goes_crew_is_working: are any of them there, or on their way? */
bool
goes_crew_is_working(struct GoesCrew *crew)
{
	for (int i = 0; i < crew->size; i++)
	{
		pid_t		pid;
		BgwHandleStatus status = GetBackgroundWorkerPid(crew->workers[i], &pid);

		if (status == BGWH_STARTED || status == BGWH_NOT_YET_STARTED)
			return true;
	}
	return false;
}

/* goes_crew_wait: until something happens, for that many ms at most. */
void
goes_crew_wait(long timeout)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* goes_crew_dismiss: end the workers that are left, and wait for that. */
void
goes_crew_dismiss(struct GoesCrew *crew)
{
	for (int i = 0; i < crew->size; i++)
		TerminateBackgroundWorker(crew->workers[i]);
	/* They may be writing: whoever rebuilds next must not meet them */
	HOLD_INTERRUPTS();
	for (int i = 0; i < crew->size; i++)
		(void) WaitForBackgroundWorkerShutdown(crew->workers[i]);
	RESUME_INTERRUPTS();
	crew->size = 0;
}

/* goes_crew_check: raise the error that a worker has met, if any. */
void
goes_crew_check(GoesRebuild *rebuild)
{
	const GoesRebuildError *error = &rebuild->error;

	if (pg_atomic_read_u32(&rebuild->failed) != 2)
		return;
	pg_read_barrier();
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg("%s", error->message),
			 error->detail[0] ? errdetail("%s", error->detail) : 0,
			 error->hint[0] ? errhint("%s", error->hint) : 0,
			 errcontext(WORKER_TYPE)));
}

/* ---------------------------------------------------------------------------
 * The worker
 * ---------------------------------------------------------------------------
 */

static void
copy_text(char *to, const char *from)
{
	strlcpy(to, from ? from : "", GOES_REBUILD_TEXT);
}

/* Leave the error that is being handled to the session. */
static void
report_error(GoesRebuild *rebuild)
{
	uint32		none = 0;
	ErrorData  *error;

	MemoryContextSwitchTo(PortalContext);
	error = CopyErrorData();
	FlushErrorState();
	if (!pg_atomic_compare_exchange_u32(&rebuild->failed, &none, 1))
		return;
	rebuild->error.sqlstate = error->sqlerrcode;
	copy_text(rebuild->error.message, error->message);
	copy_text(rebuild->error.detail, error->detail);
	copy_text(rebuild->error.hint, error->hint);
	pg_write_barrier();
	pg_atomic_write_u32(&rebuild->failed, 2);
}

static void
work(GoesRebuild *rebuild)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, WORKER_TYPE);
	take_settings(rebuild);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	goes_repair_next_transaction();
	MemoryContextSwitchTo(PortalContext);
	goes_repair_parts(goes_repair_create(rebuild, false));
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
}

/* goes_rebuild_worker_main: arg is the handle of the shared memory. */
void
goes_rebuild_worker_main(Datum arg)
{
	dsm_segment *segment;
	GoesRebuild *rebuild;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	/* Not there: the session has ended by now */
	segment = dsm_attach(DatumGetUInt32(arg));
	if (segment == NULL)
		proc_exit(0);
	rebuild = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnectionByOid(rebuild->database, rebuild->role,
											  GOES_WORKER_CONNECT_FLAGS);
	/* Where a procedure that commits has its memory */
	PortalContext = AllocSetContextCreate(TopMemoryContext, WORKER_TYPE,
										  ALLOCSET_DEFAULT_SIZES);
	pg_atomic_fetch_add_u32(&rebuild->processes, 1);
	PG_TRY();
	{
		work(rebuild);
	}
	PG_CATCH();
	{
		report_error(rebuild);
	}
	PG_END_TRY();
	pg_atomic_fetch_sub_u32(&rebuild->processes, 1);
	proc_exit(0);
}
