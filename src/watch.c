/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  What is shown of rebuilds: view goes_stat_progress_rebuild.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "compat.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "rebuild.h"
#include "registry.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char *const phases[] = {
	"waiting for transactions",
	"reading events",
	"writing rows",
	"waiting for workers",
	"replaying one by one"
};

/* The columns of the view, in their order */
enum
{
	COLUMN_AGGREGATE_TYPE,
	COLUMN_PID,
	COLUMN_PHASE,
	COLUMN_PROCESSES,
	COLUMN_DONE,
	COLUMN_TOTAL,
	COLUMN_RATE,
	COLUMN_ETA,
	COLUMN_AGGREGATES,
	COLUMN_CHANGED,
	COLUMN_PART_LEFT,
	COLUMN_STARTED_AT,
	COLUMN_COUNT
};

static Interval *
interval_of_seconds(double seconds)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = (TimeOffset) (seconds * USECS_PER_SEC);
	return interval;
}

/* The columns that a rebuild has while it runs. */
static void
show_running(GoesRebuild *rebuild, Datum *values, bool *nulls)
{
	int64		done;
	int64		total;
	double		rate;

	goes_rebuild_progress(rebuild, &done, &total, &rate);
	memset(&nulls[COLUMN_PID], false, COLUMN_CHANGED - COLUMN_PID + 1);
	values[COLUMN_PID] = Int32GetDatum(rebuild->pid);
	values[COLUMN_PHASE] = CStringGetTextDatum(phases[pg_atomic_read_u32(&rebuild->phase)]);
	values[COLUMN_PROCESSES] = Int32GetDatum(pg_atomic_read_u32(&rebuild->processes));
	values[COLUMN_DONE] = Int64GetDatum(done);
	values[COLUMN_TOTAL] = Int64GetDatum(total);
	values[COLUMN_RATE] = Float8GetDatum(rate);
	nulls[COLUMN_ETA] = rate == 0;
	if (rate != 0)
		values[COLUMN_ETA] = IntervalPGetDatum(interval_of_seconds((total - done) / rate));
	values[COLUMN_AGGREGATES] = Int64GetDatum(pg_atomic_read_u64(&rebuild->aggregates));
	values[COLUMN_CHANGED] = Int64GetDatum(pg_atomic_read_u64(&rebuild->changed));
}

/* The shared memory of a rebuild, if it is running; in result whether it is. */
static bool
is_running(const GoesUnfinished *unfinished, const char *type, GoesRebuild *rebuild)
{
	return rebuild->magic == GOES_REBUILD_MAGIC &&
		rebuild->database == MyDatabaseId &&
		rebuild->started_at == unfinished->started_at &&
		strcmp(rebuild->type, type) == 0;
}

static void
show_progress(const GoesUnfinished *unfinished, const char *type, Datum *values,
			  bool *nulls)
{
	dsm_segment *segment = dsm_find_mapping(unfinished->progress);
	bool		mapped = segment != NULL;

	if (!mapped)
		segment = dsm_attach(unfinished->progress);
	/* After a crash the handle may be somebody else's */
	if (segment != NULL && dsm_segment_map_length(segment) >= sizeof(GoesRebuild) &&
		is_running(unfinished, type, dsm_segment_address(segment)))
		show_running(dsm_segment_address(segment), values, nulls);
	if (segment != NULL && !mapped)
		dsm_detach(segment);
}

static void
put_rebuild(ReturnSetInfo *result, const char *type)
{
	GoesUnfinished *unfinished = goes_parts_read(type);
	Datum		values[COLUMN_COUNT];
	bool		nulls[COLUMN_COUNT];

	if (unfinished == NULL)
		return;
	memset(nulls, true, sizeof(nulls));
	values[COLUMN_AGGREGATE_TYPE] = CStringGetTextDatum(type);
	values[COLUMN_PHASE] = CStringGetTextDatum("interrupted");
	values[COLUMN_PART_LEFT] = Float8GetDatum((double) goes_parts_left(unfinished) / GOES_HASH_END);
	values[COLUMN_STARTED_AT] = TimestampTzGetDatum(unfinished->started_at);
	nulls[COLUMN_AGGREGATE_TYPE] = nulls[COLUMN_PHASE] = false;
	nulls[COLUMN_PART_LEFT] = nulls[COLUMN_STARTED_AT] = false;
	show_progress(unfinished, type, values, nulls);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The types that have rebuilds which have not finished, with their tables. */
static void
read_types(List **types, List **relations)
{
	goes_registry_execute("SELECT type, relation::pg_catalog.oid FROM goes.aggregate_types"
						  " WHERE type OPERATOR(pg_catalog.=) ANY (SELECT aggregate_type FROM goes.rebuilds)"
						  " ORDER BY type",
						  0, NULL, NULL, NULL);
	*types = *relations = NIL;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		*types = lappend(*types, SPI_getvalue(row, desc, 1));
		*relations = lappend_oid(*relations,
								 DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull)));
	}
}

PG_FUNCTION_INFO_V1(goes_stat_progress_rebuild);

/*
 * goes.stat_progress_rebuild()
 *		The rows of view goes_stat_progress_rebuild: the rebuilds that have not
 *		finished of the types that the user owns, or all if he has the rights of
 *		pg_monitor.
 */
Datum
goes_stat_progress_rebuild(PG_FUNCTION_ARGS)
{
	bool		monitor = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	List	   *types;
	List	   *relations;
	ListCell   *type;
	ListCell   *relation;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	read_types(&types, &relations);
	forboth(type, types, relation, relations)
	{
		if (monitor || goes_owns_relation(lfirst_oid(relation), GetUserId()))
			put_rebuild((ReturnSetInfo *) fcinfo->resultinfo, lfirst(type));
	}
	SPI_finish();
	return (Datum) 0;
}
