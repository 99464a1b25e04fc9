/*-------------------------------------------------------------------------
 *
 * goes.c
 *	  Start of the library: settings and callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "counters.h"
#include "database.h"
#include "dispatcher.h"
#include "execute.h"
#include "fmgr.h"
#include "function.h"
#include "guard.h"
#include "inline.h"
#include "metadata.h"
#include "miscadmin.h"
#include "position.h"
#include "reactor.h"
#include "registry.h"
#include "row.h"
#include "shared.h"
#include "transient.h"
#include "utils/guc.h"
#include "worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* How async and outside reactors are run that do not say otherwise. */
static void
define_reactor_settings(void)
{
	DefineCustomIntVariable("goes.max_attempts",
							"Attempts of a reactor at one event before it is given up.",
							NULL,
							&goes_max_attempts,
							10, 1, PG_INT32_MAX,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goes.backoff",
							"Pause of a reactor after the first failure of an event, which doubles with each.",
							NULL,
							&goes_backoff,
							1000, 0, PG_INT32_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goes.max_backoff",
							"Longest pause of a reactor after a failure of an event.",
							NULL,
							&goes_max_backoff,
							300000, 0, PG_INT32_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goes.timeout",
							"Longest time that an async reactor may take for one event.",
							NULL,
							&goes_timeout,
							60000, 1, PG_INT32_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("goes.batch_size",
							"How many events of an async reactor share a transaction.",
							NULL,
							&goes_batch_size,
							100, 1, 10000,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);
}

/* What happens after commit. */
static void
define_worker_settings(void)
{
	DefineCustomEnumVariable("goes.async",
							 "Where async reactors run: after commit in the background, or inline in the transaction.",
							 "The latter is for tests of a model.",
							 &goes_async,
							 GOES_ASYNC_BACKGROUND, goes_async_options,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("goes.max_runners",
							"How many background workers run the async reactors of one database.",
							"They are among those of max_worker_processes.",
							&goes_max_runners,
							4, 1, 1024,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("goes.notify",
							 "Sends NOTIFY goes to wake up an idle dispatcher, and NOTIFY goes_events to outside listeners.",
							 NULL,
							 &goes_notify,
							 true,
							 PGC_SIGHUP,
							 0,
							 NULL, NULL, NULL);
}

static void
define_settings(void)
{
	define_reactor_settings();
	define_worker_settings();
	DefineCustomBoolVariable("goes.allow_direct_writes",
							 "Lets the owner of an aggregate table write to it without a command.",
							 NULL,
							 &goes_allow_direct_writes,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("goes.force_spi",
							 "Reads and writes rows with SQL statements even where that is not needed.",
							 "For tests and comparisons.",
							 &goes_force_spi,
							 false,
							 PGC_USERSET,
							 GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("goes.max_nesting",
							"How deep commands may be nested.",
							"A command that is executed by a reactor or function of another one is nested in it.",
							&goes_max_nesting,
							32, 1, 1000,
							PGC_USERSET,
							0,
							NULL, NULL, NULL);
	DefineCustomStringVariable("goes.metadata",
							   "Metadata of all events, under that of their commands.",
							   "A JSON object.",
							   &goes_metadata_setting,
							   "",
							   PGC_USERSET,
							   0,
							   goes_check_metadata, NULL, NULL);
}

/* _PG_init: never fails, so that pg_upgrade works. */
void
_PG_init(void)
{
	define_settings();
	goes_shared_init();
	goes_transient_init();
	goes_counters_init();
	goes_registry_init();
	goes_function_init();
	goes_guard_init();
	RegisterXactCallback(goes_position_xact_callback, NULL);
	MarkGUCPrefixReserved("goes");
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	goes_database_init();
	goes_register_launcher();
}

PG_FUNCTION_INFO_V1(goes_check_preload);

/* goes.check_preload(): called once, by CREATE EXTENSION. */
Datum
goes_check_preload(PG_FUNCTION_ARGS)
{
	goes_warn_without_preload();
	goes_launch_at_commit();
	PG_RETURN_VOID();
}
