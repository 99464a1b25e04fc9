/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The settings under which pure functions of a model and queries of goes run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgtime.h"
#include "settings.h"
#include "utils/guc.h"

/* All was as it has to be; levels of settings begin with 1 */
#define NOTHING_FIXED 0

static void
set_config(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * goes_fix_settings
 *		Let calculators and upcasters see the same settings on execute and on
 *		replay.  Returns what goes_restore_settings needs; after an error the
 *		end of the (sub)transaction restores them.
 */
int
goes_fix_settings(void)
{
	bool		timezone = strcmp(pg_get_timezone_name(session_timezone), "UTC") != 0;
	bool		date = DateStyle != USE_ISO_DATES || DateOrder != DATEORDER_MDY;
	bool		interval = IntervalStyle != INTSTYLE_ISO_8601;
	int			nestlevel;

	/* To end a level of settings is costly: around many steps they are fixed once */
	if (!timezone && !date && !interval)
		return NOTHING_FIXED;
	nestlevel = NewGUCNestLevel();
	if (timezone)
		set_config("TimeZone", "UTC");
	if (date)
		set_config("DateStyle", "ISO, MDY");
	if (interval)
		set_config("IntervalStyle", "iso_8601");
	return nestlevel;
}

/* goes_restore_settings: undo goes_fix_settings. */
void
goes_restore_settings(int nestlevel)
{
	if (nestlevel != NOTHING_FIXED)
		AtEOXact_GUC(true, nestlevel);
}

/*
 * goes_prefer_indexes
 *		Plan with single indexes until the current level of settings ends: for
 *		tables that are used as queues, which look small to the planner, but are
 *		full of what is deleted, and for a few rows out of many.
 */
void
goes_prefer_indexes(void)
{
	set_config("enable_seqscan", "off");
	set_config("enable_bitmapscan", "off");
}
