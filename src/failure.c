/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  Aggregates that a rebuild could not, or has not yet, rebuilt: table
 *	  goes.rebuild_failures.
 *
 * One without a message is put off: it was locked, or failed together with
 * others, and is tried alone at the end.  Being in a table, that is not
 * forgotten when the rebuild is interrupted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "failure.h"
#include "registry.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/elog.h"

#define NO_EVENTS "the aggregate has no events"

static Datum
id_array(const Datum *ids, int count)
{
	return PointerGetDatum(construct_array(unconstify(Datum *, ids), count,
										   UUIDOID, UUID_LEN, false,
										   TYPALIGN_CHAR));
}

/*
 * goes_failures_put_off
 *		Let these aggregates be tried at the end.  The caller is connected to SPI,
 *		as for all functions here.
 */
void
goes_failures_put_off(const char *type, const Datum *ids, int count)
{
	static const Oid argtypes[] = {TEXTOID, UUIDARRAYOID};
	Datum		args[] = {CStringGetTextDatum(type), id_array(ids, count)};

	if (count == 0)
		return;
	goes_registry_execute("INSERT INTO goes.rebuild_failures (aggregate_type, aggregate_id)"
						  " SELECT $1, id FROM pg_catalog.unnest($2) id"
						  " ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE"
						  " SET event_position = NULL, aggregate_version = NULL, action = NULL,"
						  " event_version = NULL, sqlstate = NULL, error = NULL, failed_at = NULL",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/* goes_failures_put_off_ids: some of those; returns how many. */
int
goes_failures_put_off_ids(const char *type, pg_uuid_t *ids, int limit)
{
	static const Oid argtypes[] = {TEXTOID, INT4OID};
	Datum		args[] = {CStringGetTextDatum(type), Int32GetDatum(limit)};

	goes_registry_execute("SELECT aggregate_id FROM goes.rebuild_failures"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1 AND error IS NULL"
						  " ORDER BY aggregate_id LIMIT $2",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		ids[i] = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[i],
											  SPI_tuptable->tupdesc, 1, &isnull));
	}
	return SPI_processed;
}

/*
 * goes_failure_note
 *		The aggregate cannot be rebuilt.  event: the one that cannot be applied, or
 *		NULL when it is the row that cannot be written.
 */
void
goes_failure_note(const char *type, const pg_uuid_t *id, const GoesEvent *event,
				  const ErrorData *error)
{
	static const Oid argtypes[] = {
		TEXTOID, UUIDOID, INT8OID, INT8OID, TEXTOID, INT4OID, TEXTOID, TEXTOID
	};
	Datum		args[] = {
		CStringGetTextDatum(type), UUIDPGetDatum(id),
		Int64GetDatum(event ? event->position : 0),
		Int64GetDatum(event ? event->aggregate_version : 0),
		CStringGetTextDatum(event ? event->action : ""),
		Int32GetDatum(event ? event->event_version : 0),
		CStringGetTextDatum(unpack_sql_state(error->sqlerrcode)),
		CStringGetTextDatum(error->message ? error->message : "")
	};
	const char *nulls = event ? NULL : "  nnnn  ";

	goes_registry_execute("INSERT INTO goes.rebuild_failures (aggregate_type, aggregate_id,"
						  " event_position, aggregate_version, action, event_version,"
						  " sqlstate, error, failed_at)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, pg_catalog.clock_timestamp())"
						  " ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE"
						  " SET event_position = excluded.event_position,"
						  " aggregate_version = excluded.aggregate_version,"
						  " action = excluded.action, event_version = excluded.event_version,"
						  " sqlstate = excluded.sqlstate, error = excluded.error,"
						  " failed_at = excluded.failed_at",
						  goes_lengthof(argtypes), argtypes, args, nulls);
}

/* goes_failures_note_no_events: these aggregates have rows, but no events. */
void
goes_failures_note_no_events(const char *type, const Datum *ids, int count)
{
	static const Oid argtypes[] = {TEXTOID, UUIDARRAYOID, TEXTOID};
	Datum		args[] = {
		CStringGetTextDatum(type), id_array(ids, count),
		CStringGetTextDatum(NO_EVENTS)
	};

	if (count == 0)
		return;
	goes_registry_execute("INSERT INTO goes.rebuild_failures (aggregate_type, aggregate_id, error, failed_at)"
						  " SELECT $1, id, $3, pg_catalog.clock_timestamp() FROM pg_catalog.unnest($2) id"
						  " ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE"
						  " SET error = excluded.error, failed_at = excluded.failed_at",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/* goes_failure_forget: the aggregate is rebuilt. */
void
goes_failure_forget(const char *type, const pg_uuid_t *id)
{
	static const Oid argtypes[] = {TEXTOID, UUIDOID};
	Datum		args[] = {CStringGetTextDatum(type), UUIDPGetDatum(id)};

	goes_registry_execute("DELETE FROM goes.rebuild_failures"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
						  " AND aggregate_id OPERATOR(pg_catalog.=) $2",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/* goes_failures_forget: there are none of this type. */
void
goes_failures_forget(const char *type)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type);

	goes_registry_execute("DELETE FROM goes.rebuild_failures"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1",
						  1, &argtype, &arg, NULL);
}

/* goes_failures_count: those that failed, and those that have no events. */
void
goes_failures_count(const char *type, int64 *failed, int64 *no_events)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type);
	bool		isnull;

	goes_registry_execute("SELECT pg_catalog.count(sqlstate), pg_catalog.count(*)"
						  " OPERATOR(pg_catalog.-) pg_catalog.count(sqlstate)"
						  " FROM goes.rebuild_failures"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1",
						  1, &argtype, &arg, NULL);
	*failed = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	*no_events = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											 SPI_tuptable->tupdesc, 2, &isnull));
}
