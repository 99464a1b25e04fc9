/*-------------------------------------------------------------------------
 *
 * manage.c
 *	  How async and outside reactors are run: alter, pause, rewind, retry.
 *
 * Each change locks the progress of the reactor, and so waits for the batch
 * that is running; when the change has committed, nothing is done as before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "horizon.h"
#include "interval.h"
#include "model.h"
#include "pending.h"
#include "position.h"
#include "progress.h"
#include "reactor.h"
#include "registry.h"
#include "shared.h"
#include "transient.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define GREATEST_BATCH_SIZE 10000
#define GREATEST_PARALLELISM 64

/* ---------------------------------------------------------------------------
 * The reactor
 * ---------------------------------------------------------------------------
 */

static void
check_waiting(const GoesReactor *reactor)
{
	if (reactor->mode == GOES_SYNC)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("reactor \"%s\" is sync", reactor->name),
				 errdetail("A sync reactor runs inside the command's transaction."),
				 errhint("Call goes_off to stop it.")));
}

/*
 * The async or outside reactor that the first argument names, which the user
 * may manage, with its progress locked.  Connects to SPI.
 */
static GoesReactor *
begin_change(FunctionCallInfo fcinfo)
{
	char	   *name = goes_text_arg(fcinfo, 0, "reactor");
	GoesReactor *reactor;

	goes_require_preload();
	PreventCommandDuringRecovery("a change of a reactor");
	SPI_connect();
	reactor = goes_reactor_lock(name);
	check_waiting(reactor);
	return reactor;
}

static void
end_change(void)
{
	goes_workers_changed();
	SPI_finish();
}

static void
set_paused(const GoesReactor *reactor, bool paused)
{
	static const Oid argtypes[] = {UUIDOID, BOOLOID};
	Datum		args[] = {UUIDPGetDatum(&reactor->id), BoolGetDatum(paused)};

	goes_registry_execute("UPDATE goes.reactors SET paused = $2"
						  " WHERE id OPERATOR(pg_catalog.=) $1"
						  " AND paused OPERATOR(pg_catalog.<>) $2",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

PG_FUNCTION_INFO_V1(goes_pause);

/*
 * goes_pause(reactor text)
 *		Let an async or outside reactor rest; its events wait, their transient
 *		data is forgotten.  Waits for the batch that is running.  Errors: OG008,
 *		42501, 42809 (sync), 55000 without the preload.
 */
Datum
goes_pause(PG_FUNCTION_ARGS)
{
	GoesReactor *reactor = begin_change(fcinfo);

	set_paused(reactor, true);
	goes_transient_forget_at_commit(&reactor->id);
	end_change();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(goes_resume);

/*
 * goes_resume(reactor text)
 *		End a pause.  Errors as for goes_pause.
 */
Datum
goes_resume(PG_FUNCTION_ARGS)
{
	set_paused(begin_change(fcinfo), false);
	end_change();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(goes_rewind);

/*
 * goes_rewind(reactor text, after bigint)
 *		Go on with the first event after that position, whatever came of it
 *		before; events that were imported so far come too.  NULL: 22004; below
 *		0, or what was not given out yet: 22023; others as for goes_pause.
 */
Datum
goes_rewind(PG_FUNCTION_ARGS)
{
	GoesReactor *reactor = begin_change(fcinfo);
	int64		last = goes_position_last();

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "after")));
	if (PG_GETARG_INT64(1) < 0 || PG_GETARG_INT64(1) > last)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no position " INT64_FORMAT, PG_GETARG_INT64(1)),
				 errdetail("The last position is " INT64_FORMAT ".", last),
				 errhint("To begin with the first event, rewind to 0.")));
	goes_progress_rewind(&reactor->id, PG_GETARG_INT64(1), last);
	goes_transient_forget_at_commit(&reactor->id);
	end_change();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * goes_alter_reactor
 * ---------------------------------------------------------------------------
 */

static void
check_integer(FunctionCallInfo fcinfo, int n, const char *name, int most)
{
	if (!PG_ARGISNULL(n) && (PG_GETARG_INT32(n) < 1 || PG_GETARG_INT32(n) > most))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d", name, most)));
}

static void
check_interval(FunctionCallInfo fcinfo, int n, const char *name, int64 least)
{
	if (!PG_ARGISNULL(n) && goes_interval_ms(PG_GETARG_INTERVAL_P(n)) < least)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 least > 0 ? errmsg("%s must be at least 1 ms", name) :
				 errmsg("%s must not be negative", name)));
}

static void
check_on_failure(FunctionCallInfo fcinfo, int n)
{
	char	   *given = PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));

	if (given != NULL && strcmp(given, "skip") != 0 && strcmp(given, "stop") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid on_failure \"%s\"", given),
				 errhint("It is \"skip\" or \"stop\".")));
}

static void
check_settings(FunctionCallInfo fcinfo)
{
	check_integer(fcinfo, 1, "max_attempts", PG_INT32_MAX);
	check_interval(fcinfo, 2, "backoff", 0);
	check_interval(fcinfo, 3, "max_backoff", 0);
	check_interval(fcinfo, 4, "timeout", 1);
	check_integer(fcinfo, 5, "batch_size", GREATEST_BATCH_SIZE);
	check_integer(fcinfo, 6, "parallelism", GREATEST_PARALLELISM);
	check_on_failure(fcinfo, 7);
}

PG_FUNCTION_INFO_V1(goes_alter_reactor);

/*
 * goes_alter_reactor(reactor text, max_attempts integer, backoff interval,
 *					  max_backoff interval, timeout interval,
 *					  batch_size integer, parallelism integer, on_failure text)
 *		Change how an async or outside reactor is run; what is NULL stays as it
 *		is.  Values that make no sense: 22023; others as for goes_pause.
 */
Datum
goes_alter_reactor(PG_FUNCTION_ARGS)
{
	static const Oid argtypes[] = {
		UUIDOID, INT4OID, INTERVALOID, INTERVALOID, INTERVALOID, INT4OID, INT4OID, TEXTOID
	};
	Datum		args[8];
	char		nulls[] = "        ";
	GoesReactor *reactor;

	check_settings(fcinfo);
	reactor = begin_change(fcinfo);
	args[0] = UUIDPGetDatum(&reactor->id);
	for (int i = 1; i < goes_lengthof(args); i++)
	{
		args[i] = PG_GETARG_DATUM(i);
		if (PG_ARGISNULL(i))
			nulls[i] = 'n';
	}
	if (!PG_ARGISNULL(6) && reactor->mode == GOES_OUTSIDE && PG_GETARG_INT32(6) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parallelism of outside reactor \"%s\" cannot be set", reactor->name),
				 errhint("Let several programs fetch for it.")));
	goes_registry_execute("UPDATE goes.reactors SET max_attempts = COALESCE($2, max_attempts),"
						  " backoff = COALESCE($3, backoff), max_backoff = COALESCE($4, max_backoff),"
						  " timeout = COALESCE($5, timeout), batch_size = COALESCE($6, batch_size),"
						  " parallelism = COALESCE($7, parallelism), on_failure = COALESCE($8, on_failure)"
						  " WHERE id OPERATOR(pg_catalog.=) $1",
						  goes_lengthof(argtypes), argtypes, args, nulls);
	if (!PG_ARGISNULL(6))
		goes_progress_set_barrier(&reactor->id, PG_GETARG_INT32(6));
	end_change();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * Failures
 * ---------------------------------------------------------------------------
 */

/* Is the event of a reactor for its owner only: reactors the user may manage. */
static List *
manageable_reactors(void)
{
	List	   *manageable = NIL;
	ListCell   *cell;

	foreach(cell, goes_reactors_read())
	{
		GoesReactor *reactor = lfirst(cell);

		if (reactor->mode != GOES_SYNC && goes_reactor_may_manage(reactor))
			manageable = lappend(manageable, reactor);
	}
	return manageable;
}

PG_FUNCTION_INFO_V1(goes_retry);

/*
 * goes_retry(reactor text) RETURNS bigint
 *		Try the failed events of a reactor (NULL: of all that the user may
 *		manage) again at once, with all attempts before them: those that wait for
 *		their next attempt, those that stop their aggregates, and dead letters,
 *		which then run out of order.  Returns how many.  Errors as for
 *		goes_pause.
 */
Datum
goes_retry(PG_FUNCTION_ARGS)
{
	int64		count = 0;
	List	   *reactors;
	ListCell   *cell;

	if (!PG_ARGISNULL(0))
		reactors = list_make1(begin_change(fcinfo));
	else
	{
		goes_require_preload();
		SPI_connect();
		reactors = manageable_reactors();
	}
	foreach(cell, reactors)
	{
		const GoesReactor *reactor = lfirst(cell);

		if (PG_ARGISNULL(0))
			goes_progress_lock(&reactor->id);
		count += goes_pending_retry(reactor);
	}
	end_change();
	PG_RETURN_INT64(count);
}

/* How far the part of an aggregate is. */
static GoesRange
passed_range(const GoesReactor *reactor, const GoesPending *event)
{
	int			parts = goes_progress_parts(&reactor->id);
	GoesProgress progress = {0};
	GoesRange	range = {0};

	(void) goes_progress_read(&reactor->id,
							  goes_aggregate_part(&event->aggregate_id, Max(1, parts)),
							  &progress);
	range.up_to = progress.checkpoint;
	range.imported_to = progress.imported_to;
	return range;
}

/* Let the next event of the aggregate be due, if there is one. */
static void
advance(const GoesReactor *reactor, const GoesPending *event)
{
	GoesRange	range = passed_range(reactor, event);
	GoesSources *sources = goes_sources_create(CurrentMemoryContext, reactor,
											   goes_reactor_owner(reactor), 0, 1);

	PG_TRY();
	{
		goes_pending_advance(reactor, sources, 1, event, &range);
	}
	PG_FINALLY();
	{
		goes_sources_free(sources);
	}
	PG_END_TRY();
}

PG_FUNCTION_INFO_V1(goes_skip);

/*
 * goes_skip(reactor text, event_position bigint)
 *		Give up an event that has failed: it becomes a dead letter, and the later
 *		events of its aggregate go on.  One that is a dead letter already is
 *		removed.  Any other: 22023; NULL: 22004; 55000 also if the reactor is off;
 *		others as for goes_pause.
 */
Datum
goes_skip(PG_FUNCTION_ARGS)
{
	GoesReactor *reactor = begin_change(fcinfo);
	GoesPending event;

	/* Without its patterns nobody knows the next event of the aggregate */
	if (!reactor->active)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("reactor \"%s\" is off", reactor->name),
				 errhint("Call goes_on to let it go on.")));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "event_position")));
	if (goes_pending_skip(reactor, PG_GETARG_INT64(1), &event))
		advance(reactor, &event);
	else if (!goes_pending_remove_dead(reactor, PG_GETARG_INT64(1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reactor \"%s\" has no failed event at position " INT64_FORMAT,
						reactor->name, PG_GETARG_INT64(1)),
				 errhint("See goes_stat_reactors and goes_dead_letters.")));
	end_change();
	PG_RETURN_VOID();
}
