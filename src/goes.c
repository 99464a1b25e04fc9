/*-------------------------------------------------------------------------
 *
 * goes.c
 *	  Start of the library: settings and callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "execute.h"
#include "fmgr.h"
#include "function.h"
#include "guard.h"
#include "metadata.h"
#include "miscadmin.h"
#include "position.h"
#include "preload.h"
#include "registry.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

bool		goes_preloaded = false;

static void
define_settings(void)
{
	DefineCustomBoolVariable("goes.allow_direct_writes",
							 "Lets the owner of an aggregate table write to it without a command.",
							 NULL,
							 &goes_allow_direct_writes,
							 false,
							 PGC_USERSET,
							 0,
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
	MarkGUCPrefixReserved("goes");
}

/* _PG_init: never fails, so that pg_upgrade works. */
void
_PG_init(void)
{
	goes_preloaded = process_shared_preload_libraries_in_progress;
	define_settings();
	goes_registry_init();
	goes_function_init();
	RegisterXactCallback(goes_position_xact_callback, NULL);
}

/*
 * goes_warn_without_preload
 *		Tell that nothing will happen after commit, unless the server preloads
 *		goes.
 */
void
goes_warn_without_preload(void)
{
	if (!goes_preloaded)
		ereport(WARNING,
				(errmsg("goes is not preloaded: async and outside reactors wait"),
				 errhint("Add goes to shared_preload_libraries and restart the server; nothing is lost until then.")));
}

PG_FUNCTION_INFO_V1(goes_check_preload);

/* goes.check_preload(): called once, by CREATE EXTENSION. */
Datum
goes_check_preload(PG_FUNCTION_ARGS)
{
	goes_warn_without_preload();
	PG_RETURN_VOID();
}
