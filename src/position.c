/*-------------------------------------------------------------------------
 *
 * position.c
 *	  The global order of events.
 *
 * Positions come from the sequence goes.position.  One that is taken by a
 * transaction that rolls back stays unused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "position.h"
#include "registry.h"
#include "relation.h"
#include "role.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

/* Did this transaction take a position?  A rolled-back savepoint counts too. */
static bool taken = false;

/*
 * goes_position_next
 *		Take the next position.  Call it with the aggregate's row locked, so
 *		that the order of positions is that of the aggregate's versions.
 */
int64
goes_position_next(void)
{
	taken = true;
	return nextval_internal(goes_objects()->position, false);
}

/*
 * goes_position_xact_callback
 *		An event's position is settled when its transaction ends, which the
 *		ones that wait for that must be able to see: so no PREPARE TRANSACTION.
 */
void
goes_position_xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (taken)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has executed goes commands")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			taken = false;
			break;
		default:
			break;
	}
}

/* Run a query that gives one bigint, as the extension's owner; 0 for NULL. */
static int64
query_as_owner(const char *sql, Oid owner)
{
	GoesRole	before = goes_become(owner);
	int64		result = 0;

	SPI_connect();
	if (SPI_execute(sql, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", sql);
	if (SPI_processed > 0)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			result = DatumGetInt64(value);
	}
	SPI_finish();
	goes_unbecome(before);
	return result;
}

/* goes_position_last: the last position that was taken, 0 if none was. */
int64
goes_position_last(void)
{
	return query_as_owner("SELECT CASE WHEN is_called THEN last_value ELSE 0 END"
						  " FROM goes.position", goes_objects()->owner);
}

/*
 * goes_position_settled
 *		A position such that no event at or below it can still appear.  Waits
 *		for the open transactions that have taken positions, which hold a lock
 *		on the sequence, but not for later ones.
 */
int64
goes_position_settled(void)
{
	int64		last = goes_position_last();
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, goes_objects()->position);
	WaitForLockers(tag, ShareLock, false);
	return last;
}

/*
 * goes_position_mend
 *		Raise the sequence past the greatest position of an events table, which
 *		a restore may have brought without the sequence.
 */
void
goes_position_mend(Relation events)
{
	char	   *sql = psprintf("SELECT pg_catalog.max(position) FROM %s",
							   goes_relation_name(RelationGetRelid(events)));
	Oid			sequence = goes_objects()->position;
	int64		greatest;

	greatest = query_as_owner(sql, events->rd_rel->relowner);
	if (greatest > goes_position_last())
	{
		/* One at a time, so that a mended sequence is never set back */
		LockDatabaseObject(RelationRelationId, sequence, 0, ExclusiveLock);
		if (greatest > goes_position_last())
		{
			GoesRole	before = goes_become(goes_objects()->owner);

			DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence),
								Int64GetDatum(greatest));
			goes_unbecome(before);
		}
		UnlockDatabaseObject(RelationRelationId, sequence, 0, ExclusiveLock);
	}
}
