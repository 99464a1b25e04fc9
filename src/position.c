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

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "horizon.h"
#include "position.h"
#include "registry.h"
#include "relation.h"
#include "role.h"
#include "shared.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

/* A sequence that lags by more is not mended: such a position is a forgery */
#define GREATEST_LAG (INT64CONST(1) << 40)

/* Setting goes.notify */
bool		goes_notify = true;

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
	int64		position;

	taken = true;
	goes_horizon_take();
	position = nextval_internal(goes_objects()->position, false);
	goes_horizon_taken(position);
	return position;
}

/* goes_position_is_taken: has this transaction taken a position? */
bool
goes_position_is_taken(void)
{
	return taken;
}

/*
 * A notification in every commit would make all commits of the cluster wait
 * for each other, so only a dispatcher that has been idle for a while gets one.
 */
static void
notify_dispatcher(void)
{
	GoesWorker *dispatcher;

	if (!goes_preloaded() || !goes_notify)
		return;
	dispatcher = goes_find_dispatcher(MyDatabaseId);
	if (dispatcher != NULL && pg_atomic_read_u32(&dispatcher->asleep) != 0)
		Async_Notify("goes", NULL);
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
		case XACT_EVENT_PRE_COMMIT:
			if (taken)
				notify_dispatcher();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			taken = false;
			break;
		default:
			break;
	}
}

/* goes_position_last: the last position that was taken, 0 if none was. */
int64
goes_position_last(void)
{
	LOCAL_FCINFO(fcinfo, 1);
	GoesRole	before = goes_become(goes_objects()->owner);
	Datum		last;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = ObjectIdGetDatum(goes_objects()->position);
	fcinfo->args[0].isnull = false;
	last = pg_sequence_last_value(fcinfo);
	goes_unbecome(before);
	return fcinfo->isnull ? 0 : DatumGetInt64(last);
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
 * An index by which the greatest position can be found; InvalidOid: none.  The
 * table may be anybody's: nothing of its definition may be evaluated here.
 */
static Oid
position_index(Relation events)
{
	AttrNumber	position = SPI_fnumber(RelationGetDescr(events), "position");
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(events))
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		bool		found = index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indisvalid &&
			index->rd_index->indkey.values[0] == position &&
			(index->rd_indoption[0] & INDOPTION_DESC) == 0 &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

		index_close(index, AccessShareLock);
		if (found)
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/*
 * The greatest committed position in one table that has storage; 0 if it is
 * empty, or has no index on it.  Reads with SnapshotSelf, to which SERIALIZABLE
 * does not object: this read must not make two commands depend on each other.
 */
static int64
greatest_in(Relation events)
{
	Oid			index_id = position_index(events);
	Relation	index;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;
	int64		greatest = 0;

	if (!OidIsValid(index_id))
		return 0;
	index = index_open(index_id, AccessShareLock);
	scan = systable_beginscan_ordered(events, index, SnapshotSelf, 0, NULL);
	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
		greatest = DatumGetInt64(heap_getattr(tuple,
											  SPI_fnumber(RelationGetDescr(events), "position"),
											  RelationGetDescr(events), &isnull));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	return greatest;
}

/* The greatest position in an events table and its partitions. */
static int64
greatest_position(Relation events)
{
	int64		greatest = 0;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(RelationGetRelid(events), NoLock, NULL))
	{
		Relation	table = try_table_open(lfirst_oid(cell), AccessShareLock);

		if (table == NULL)
			continue;
		if (RELKIND_HAS_STORAGE(table->rd_rel->relkind))
			greatest = Max(greatest, greatest_in(table));
		table_close(table, AccessShareLock);
	}
	return greatest;
}

/* Can the table and its partitions be read without waiting? */
static bool
is_free(Oid events)
{
	bool		is_free = ConditionalLockRelationOid(events, AccessShareLock);
	ListCell   *cell;

	if (!is_free)
		return false;
	if (get_rel_name(events) == NULL)
	{
		UnlockRelationOid(events, AccessShareLock);
		return true;
	}
	foreach(cell, find_all_inheritors(events, NoLock, NULL))
	{
		is_free = is_free &&
			ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock);
		if (is_free)
			UnlockRelationOid(lfirst_oid(cell), AccessShareLock);
	}
	UnlockRelationOid(events, AccessShareLock);
	return is_free;
}

static void
raise_sequence(int64 greatest)
{
	Oid			sequence = goes_objects()->position;

	int64		last = goes_position_last();

	/* One table's owner must not be able to use up what all share */
	if (greatest <= last || greatest - last > GREATEST_LAG)
		return;
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

/* goes_position_mend_past: raise the sequence past this table's positions. */
void
goes_position_mend_past(Relation events)
{
	raise_sequence(greatest_position(events));
}

/* The registered events tables, in the current memory context. */
static List *
events_tables(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *tables = NIL;

	SPI_connect();
	(void) goes_registry_execute("SELECT events FROM goes.aggregate_types",
								 0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			table = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														   SPI_tuptable->tupdesc,
														   1, &isnull));
		MemoryContext oldcontext = MemoryContextSwitchTo(context);

		tables = lappend_oid(tables, table);
		MemoryContextSwitchTo(oldcontext);
	}
	SPI_finish();
	return tables;
}

/*
 * goes_position_committed
 *		The greatest position of a committed event, 0 if there is none.  If
 *		somebody has locked an events table, that may be the last position, and
 *		its transaction need not have committed.
 */
int64
goes_position_committed(void)
{
	int64		greatest = 0;
	ListCell   *cell;

	foreach(cell, events_tables())
	{
		Relation	events;

		if (!is_free(lfirst_oid(cell)))
			return goes_position_last();
		events = try_table_open(lfirst_oid(cell), AccessShareLock);
		if (events == NULL)
			continue;
		greatest = Max(greatest, greatest_position(events));
		table_close(events, AccessShareLock);
	}
	return greatest;
}

/*
 * goes_position_mend
 *		Raise the sequence past all events, which a restore may have brought
 *		without it.  Done when a session first needs it, and again when the
 *		registry changed.  A table that somebody has locked is left for later,
 *		so that work on one type never holds up another.
 */
void
goes_position_mend(void)
{
	static uint64 mended = 0;
	uint64		generation = goes_registry_generation();
	int64		greatest = 0;
	bool		complete = true;
	ListCell   *cell;

	if (mended == generation)
		return;
	foreach(cell, events_tables())
	{
		Relation	events;

		if (!is_free(lfirst_oid(cell)))
		{
			complete = false;
			continue;
		}
		events = try_table_open(lfirst_oid(cell), AccessShareLock);
		if (events != NULL)
		{
			greatest = Max(greatest, greatest_position(events));
			table_close(events, AccessShareLock);
		}
	}
	raise_sequence(greatest);
	if (complete)
		mended = generation;
}
