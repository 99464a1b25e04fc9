/*-------------------------------------------------------------------------
 *
 * source.c
 *	  The events that a reactor reacts to, read in position order.
 *
 * Each type is read as the owner of its events table, without row-level
 * security: delivery sees all rows, and nothing that the table's owner has
 * defined is evaluated with the rights of the reactor's.  What was read is
 * merged by position.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compat.h"
#include "event.h"
#include "registry.h"
#include "relation.h"
#include "role.h"
#include "settings.h"
#include "source.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/uuid.h"
#include "worker.h"

/*
 * goes_sources_create
 *		The types that the reactor's patterns match, for the aggregates of one
 *		part.  The reactor must live as long.  The caller is connected to SPI.
 */
GoesSources *
goes_sources_create(MemoryContext parent, const GoesReactor *reactor, Oid owner,
					int part, int parts)
{
	List	   *targets = goes_reactor_targets(reactor);
	MemoryContext context = AllocSetContextCreate(parent, "goes sources",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	GoesSources *sources = palloc0(sizeof(GoesSources));
	ListCell   *cell;

	sources->context = context;
	sources->reactor = reactor;
	sources->owner = owner;
	sources->part = part;
	sources->parts = parts;
	sources->sources = palloc0(Max(1, list_length(targets)) * sizeof(GoesSource));
	foreach(cell, targets)
	{
		const GoesReactorTarget *target = lfirst(cell);
		GoesSource *source = &sources->sources[sources->nsources++];

		source->type = pstrdup(target->type);
		source->events = target->events;
	}
	MemoryContextSwitchTo(oldcontext);
	return sources;
}

static void
free_plan(SPIPlanPtr *plan)
{
	if (*plan != NULL)
		SPI_freeplan(*plan);
	*plan = NULL;
}

static void
free_plans(GoesSource *source)
{
	free_plan(&source->scan);
	free_plan(&source->next);
	free_plan(&source->at);
}

/* goes_sources_free: with the statements; NULL is nothing. */
void
goes_sources_free(GoesSources *sources)
{
	if (sources == NULL)
		return;
	for (int i = 0; i < sources->nsources; i++)
		free_plans(&sources->sources[i]);
	MemoryContextDelete(sources->context);
}

/*
 * The statements name the table: if that was renamed, another one may have its
 * name by now.
 */
static void
follow_rename(const GoesSources *sources, GoesSource *source)
{
	char	   *name = goes_relation_name(source->events);

	if (source->name != NULL && strcmp(source->name, name) == 0)
		return;
	free_plans(source);
	source->name = MemoryContextStrdup(sources->context, name);
}

/* In a call of a reactor, which reads events itself, its own timeout runs. */
static bool
needs_timeout(void)
{
	return goes_my_worker != NULL && goes_my_worker->position == 0;
}

/*
 * A table's owner may let us wait, or his functions run, as long as he likes: a
 * runner, whose others must go on, gives up after the time that a call may take.
 */
static void
begin_timeout(const GoesSources *sources)
{
	if (needs_timeout())
		enable_timeout_after(STATEMENT_TIMEOUT,
							 (int) Min(sources->reactor->timeout, PG_INT32_MAX));
}

static void
end_timeout(void)
{
	if (needs_timeout())
		disable_timeout(STATEMENT_TIMEOUT, false);
}

/*
 * May the reactor get the events of this type?  Tables, owners and memberships
 * change without anybody registering anything, so look each time.
 */
static bool
may_see(const GoesSources *sources, const GoesSource *source)
{
	return get_rel_name(source->events) != NULL &&
		has_privs_of_role(sources->owner, goes_relation_owner(source->events));
}

/* The same; the table then keeps its name and owner until the transaction ends. */
static bool
is_reached(const GoesSources *sources, GoesSource *source)
{
	if (!may_see(sources, source))
		return false;
	begin_timeout(sources);
	LockRelationOid(source->events, AccessShareLock);
	end_timeout();
	if (!may_see(sources, source))
		return false;
	follow_rename(sources, source);
	return true;
}

/* goes_aggregate_part: which part an aggregate belongs to; the same as in SQL. */
int
goes_aggregate_part(const pg_uuid_t *aggregate_id, int parts)
{
	uint32		hash = DatumGetUInt32(hash_any(aggregate_id->data, UUID_LEN));

	return (hash & PG_INT32_MAX) % parts;
}

/* The condition on a row that the reactor gets it; $3 is imported_to. */
static char *
condition(const GoesSources *sources, const GoesSource *source)
{
	const GoesReactor *reactor = sources->reactor;
	char	   *patterns = goes_patterns_condition(reactor->patterns,
												   reactor->npatterns,
												   source->type, "");
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "(NOT imported OR position OPERATOR(pg_catalog.<=) $3)");
	if (patterns != NULL)
		appendStringInfo(&sql, " AND (%s)", patterns);
	if (sources->parts > 1)
		appendStringInfo(&sql, " AND (pg_catalog.uuid_hash(aggregate_id) OPERATOR(pg_catalog.&) %d)"
						 " OPERATOR(pg_catalog.%%) %d OPERATOR(pg_catalog.=) %d",
						 PG_INT32_MAX, sources->parts, sources->part);
	return sql.data;
}

/* Run a statement of a source as its table's owner, made if need be. */
static void
run(const GoesSources *sources, const GoesSource *source, SPIPlanPtr *plan, const char *sql, int nargs,
	const Oid *argtypes, Datum *args)
{
	GoesRole	before = goes_become(goes_relation_owner(source->events));

	goes_prefer_indexes();
	begin_timeout(sources);
	if (*plan == NULL)
		*plan = goes_prepare_cursor(sql, nargs, argtypes, CURSOR_OPT_GENERIC_PLAN);
	/* Not read-only: a new snapshot, which is after the horizon that we know */
	if (SPI_execute_plan(*plan, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read events table \"%s\"",
			 get_rel_name(source->events));
	end_timeout();
	goes_unbecome(before);
}

/* What was found in the row-th row of the last result. */
static void
take_found(GoesSource *source, uint64 row, GoesFound *found)
{
	bool		isnull;

	found->source = source;
	found->tuple = SPI_tuptable->vals[row];
	found->desc = SPI_tuptable->tupdesc;
	found->position = DatumGetInt64(SPI_getbinval(found->tuple, found->desc, 1, &isnull));
	found->aggregate_id = *DatumGetUUIDP(SPI_getbinval(found->tuple, found->desc, 3, &isnull));
	found->aggregate_version = DatumGetInt64(SPI_getbinval(found->tuple, found->desc, 4, &isnull));
}

static void
scan_source(const GoesSources *sources, GoesSource *source,
			const GoesRange *range, int limit)
{
	static const Oid argtypes[] = {INT8OID, INT8OID, INT8OID, INT8OID};
	Datum		args[] = {
		Int64GetDatum(range->after),
		Int64GetDatum(range->up_to),
		Int64GetDatum(range->imported_to),
		Int64GetDatum(limit)
	};
	char	   *sql = source->scan != NULL ? NULL :
		psprintf("SELECT %s FROM %s WHERE position OPERATOR(pg_catalog.>) $1"
				 " AND position OPERATOR(pg_catalog.<=) $2 AND %s"
				 " ORDER BY position LIMIT $4",
				 goes_event_columns(), goes_relation_name(source->events),
				 condition(sources, source));

	run(sources, source, &source->scan, sql, goes_lengthof(argtypes), argtypes, args);
}

static int
compare_found(const void *a, const void *b)
{
	int64		x = ((const GoesFound *) a)->position;
	int64		y = ((const GoesFound *) b)->position;

	return x < y ? -1 : x > y;
}

/*
 * goes_sources_read
 *		The first events in a range, at most limit, in position order; returns
 *		how many.  They live in the SPI context of the caller.
 */
int
goes_sources_read(GoesSources *sources, const GoesRange *range, int limit,
				  GoesFound **found)
{
	GoesFound  *all = NULL;
	int			nall = 0;
	int			nread = 0;

	for (int i = 0; i < sources->nsources; i++)
	{
		GoesSource *source = &sources->sources[i];

		if (!is_reached(sources, source))
			continue;
		scan_source(sources, source, range, limit);
		if (SPI_processed == 0)
			continue;
		all = all ? repalloc(all, (nall + SPI_processed) * sizeof(GoesFound)) :
			palloc(SPI_processed * sizeof(GoesFound));
		for (uint64 row = 0; row < SPI_processed; row++)
			take_found(source, row, &all[nall++]);
		nread++;
	}
	if (nread > 1)
		qsort(all, nall, sizeof(GoesFound), compare_found);
	*found = all;
	return Min(nall, limit);
}

/* The source of a type if its table is there, whoever may see it; or NULL. */
static GoesSource *
find_any_source(GoesSources *sources, const char *type)
{
	for (int i = 0; i < sources->nsources; i++)
	{
		GoesSource *source = &sources->sources[i];

		if (strcmp(source->type, type) != 0)
			continue;
		if (get_rel_name(source->events) == NULL)
			return NULL;
		follow_rename(sources, source);
		return source;
	}
	return NULL;
}

/* The source of a type if the reactor may get its events, or NULL. */
static GoesSource *
find_source(GoesSources *sources, const char *type)
{
	for (int i = 0; i < sources->nsources; i++)
	{
		GoesSource *source = &sources->sources[i];

		if (strcmp(source->type, type) == 0)
			return is_reached(sources, source) ? source : NULL;
	}
	return NULL;
}

/* All rows of the last result; returns how many. */
static int
take_all(GoesSource *source, GoesFound **found)
{
	*found = palloc(Max(1, SPI_processed) * sizeof(GoesFound));
	for (uint64 row = 0; row < SPI_processed; row++)
		take_found(source, row, &(*found)[row]);
	return SPI_processed;
}

/*
 * goes_sources_read_at
 *		The events of a type at these positions, but for those that the reactor
 *		does not get any more, in position order; returns how many.
 */
int
goes_sources_read_at(GoesSources *sources, const char *type, int npositions,
					 const int64 *positions, GoesFound **found)
{
	static const Oid argtype = INT8ARRAYOID;
	GoesSource *source = find_source(sources, type);
	Datum	   *elements;
	Datum		arg;
	char	   *sql;

	if (source == NULL)
		return 0;
	elements = palloc(Max(1, npositions) * sizeof(Datum));
	for (int i = 0; i < npositions; i++)
		elements[i] = Int64GetDatum(positions[i]);
	arg = PointerGetDatum(construct_array(elements, npositions, INT8OID, sizeof(int64),
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	sql = source->at != NULL ? NULL :
		psprintf("SELECT %s FROM %s WHERE position OPERATOR(pg_catalog.=) ANY ($1)"
				 " ORDER BY position",
				 goes_event_columns(), goes_relation_name(source->events));
	run(sources, source, &source->at, sql, 1, &argtype, &arg);
	return take_all(source, found);
}

/* goes_sources_read_one: the same for one position, or NULL. */
GoesFound *
goes_sources_read_one(GoesSources *sources, const char *type, int64 position)
{
	GoesFound  *found;

	return goes_sources_read_at(sources, type, 1, &position, &found) > 0 ? found : NULL;
}

/*
 * The statement of goes_sources_read_next, which must go by the aggregates: no
 * index knows the expression for the position.  Versions are in the order of
 * positions, so the first one after the range ends the search too.
 */
static char *
next_sql(const GoesSources *sources, const GoesSource *source)
{
	return psprintf("SELECT next.* FROM unnest($4, $5) AS place (id, version)"
					" CROSS JOIN LATERAL (SELECT %s FROM %s AS event"
					" WHERE aggregate_id OPERATOR(pg_catalog.=) place.id"
					" AND aggregate_version OPERATOR(pg_catalog.>) place.version"
					" AND (position OPERATOR(pg_catalog.+) 0) OPERATOR(pg_catalog.>) $1 AND %s"
					" ORDER BY aggregate_version LIMIT 1) AS next"
					" WHERE next.position OPERATOR(pg_catalog.<=) $2",
					goes_event_columns(), goes_relation_name(source->events),
					condition(sources, source));
}

/*
 * goes_sources_read_next
 *		Of each of these aggregates of a type, the first event after that version
 *		that the reactor gets, with a position in the range; returns how many
 *		there are.  unseen_too: or would get, had its owner the rights of the
 *		table's.
 */
int
goes_sources_read_next(GoesSources *sources, const char *type, int nplaces,
					   const GoesPlace *places, const GoesRange *range,
					   bool unseen_too, GoesFound **found)
{
	static const Oid argtypes[] = {INT8OID, INT8OID, INT8OID, UUIDARRAYOID, INT8ARRAYOID};
	GoesSource *source = unseen_too ? find_any_source(sources, type) :
		find_source(sources, type);
	Datum	   *ids = palloc(Max(1, nplaces) * sizeof(Datum));
	Datum	   *versions = palloc(Max(1, nplaces) * sizeof(Datum));
	Datum		args[] = {
		Int64GetDatum(range->after),
		Int64GetDatum(range->up_to),
		Int64GetDatum(range->imported_to),
		(Datum) 0, (Datum) 0
	};

	if (source == NULL)
		return 0;
	for (int i = 0; i < nplaces; i++)
	{
		ids[i] = UUIDPGetDatum(&places[i].aggregate_id);
		versions[i] = Int64GetDatum(places[i].aggregate_version);
	}
	args[3] = PointerGetDatum(construct_array(ids, nplaces, UUIDOID, UUID_LEN,
											  false, TYPALIGN_CHAR));
	args[4] = PointerGetDatum(construct_array(versions, nplaces, INT8OID, sizeof(int64),
											  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	run(sources, source, &source->next,
		source->next != NULL ? NULL : next_sql(sources, source),
		goes_lengthof(argtypes), argtypes, args);
	return take_all(source, found);
}

/* goes_found_event: the event as it is stored, in the current context. */
GoesEvent *
goes_found_event(const GoesFound *found)
{
	return goes_event_from_columns(found->source->type, found->desc, found->tuple);
}
