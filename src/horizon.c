/*-------------------------------------------------------------------------
 *
 * horizon.c
 *	  The horizon: no event at or below it can still appear, or disappear.
 *
 * Positions are taken in order, but the transactions that take them end in any
 * order.  So each backend has a slot in shared memory with the first position
 * that its open transaction has taken:
 *
 *	writer: slot := "unknown"; take a position from the sequence; slot := it;
 *			when the transaction has ended for everybody, and what it changed in
 *			the registry was told to everybody: slot := "none"
 *	reader: read the last position from the sequence; then all slots.  The
 *			horizon is the last position, or that before the lowest slot.
 *
 * The sequence's buffer lock orders the two: if the reader sees a position in
 * the sequence, it sees the slot of whoever took it, or that it was emptied.
 * No writer waits.  A reader that finds a slot unknown for long goes by what it
 * knew before, and has to look again.  It must take a new snapshot afterwards.
 *
 * The dispatcher also stores the horizon in goes.horizon, in a transaction that
 * is flushed.  WAL order then makes all that it covers durable, on standbys
 * too, and whoever reads the row under some snapshot sees under the same
 * snapshot all events that it covers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "horizon.h"
#include "miscadmin.h"
#include "position.h"
#include "registry.h"
#include "shared.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* How often a reader looks again at a slot that is unknown, before it gives up */
#define MAX_SPINS 1000

/* ---------------------------------------------------------------------------
 * Writers
 * ---------------------------------------------------------------------------
 */

/* Say that this transaction is about to take its first position. */
static void
open_slot(GoesSlot *slot)
{
	slot->database = MyDatabaseId;
	slot->sequence = goes_objects()->position;
	slot->since = GetCurrentTimestamp();
	/* A full barrier */
	pg_atomic_exchange_u64(&slot->lowest, GOES_POSITION_UNKNOWN);
}

/*
 * A transaction that has taken a position of one extension takes one of
 * another: it has dropped the first, or a rollback to a savepoint has brought
 * it back.  Let its slot hold both horizons until it ends.
 */
static void
hold_every_sequence(GoesSlot *slot)
{
	pg_atomic_write_u64(&slot->lowest, 1);
	pg_write_barrier();
	slot->sequence = InvalidOid;
	pg_memory_barrier();
}

/* goes_horizon_take: to be called before a transaction takes a position. */
void
goes_horizon_take(void)
{
	GoesSlot   *slot;

	if (!goes_preloaded())
		return;
	slot = goes_my_slot();
	if (pg_atomic_read_u64(&slot->lowest) == GOES_POSITION_NONE)
		open_slot(slot);
	else if (slot->sequence != goes_objects()->position)
		hold_every_sequence(slot);
}

/* goes_horizon_taken: to be called when it has taken it. */
void
goes_horizon_taken(int64 position)
{
	GoesSlot   *slot;

	if (!goes_preloaded())
		return;
	slot = goes_my_slot();
	if (pg_atomic_read_u64(&slot->lowest) == GOES_POSITION_UNKNOWN)
		pg_atomic_write_u64(&slot->lowest, (uint64) position);
}

/*
 * goes_horizon_hold
 *		This transaction is about to commit a change of the registry.  Others may
 *		see that, and append what it allows, before workers are told of it: hold
 *		back all later positions until they are.
 */
void
goes_horizon_hold(void)
{
	if (!goes_preloaded())
		return;
	goes_horizon_take();
	goes_horizon_taken(goes_position_last() + 1);
}

/*
 * goes_horizon_release
 *		The transaction has ended for everybody: what it took or held is settled.
 *		Never fails.
 */
void
goes_horizon_release(void)
{
	GoesSlot   *slot;

	if (!goes_has_slot())
		return;
	slot = goes_my_slot();
	if (pg_atomic_read_u64(&slot->lowest) == GOES_POSITION_NONE)
		return;
	pg_atomic_exchange_u64(&slot->lowest, GOES_POSITION_NONE);
	goes_wake_database(MyDatabaseId);
}

/* ---------------------------------------------------------------------------
 * Readers
 * ---------------------------------------------------------------------------
 */

/* Whether the last look at the slots has seen a position in all of them */
static bool certain = true;

/*
 * goes_horizon_is_certain
 *		False if the horizon that goes_horizon_live has returned may be lower
 *		than it is, because somebody was just taking a position: nobody will wake
 *		up a worker when that is done, so it must look again soon.
 */
bool
goes_horizon_is_certain(void)
{
	return certain;
}

/* Is it a slot of this extension, in this database? */
static bool
is_ours(const GoesSlot *slot)
{
	return slot->database == MyDatabaseId &&
		(slot->sequence == goes_objects()->position ||
		 !OidIsValid(slot->sequence));
}

/* The value of a slot, once it is known; unknown if that takes too long. */
static uint64
read_slot(GoesSlot *slot)
{
	uint64		lowest = pg_atomic_read_u64(&slot->lowest);

	for (int spins = 0; lowest == GOES_POSITION_UNKNOWN && spins < MAX_SPINS; spins++)
	{
		/* Its process may not be running */
		if (spins % 100 == 99)
			pg_usleep(10);
		else
			SPIN_DELAY();
		lowest = pg_atomic_read_u64(&slot->lowest);
	}
	return lowest;
}

/*
 * The lowest position that an open transaction has taken, PG_UINT64_MAX if
 * there is none; and the backend that has it.
 */
static uint64
lowest_taken(int *holder)
{
	uint64		lowest = GOES_POSITION_NONE;

	*holder = -1;
	pg_memory_barrier();
	for (int i = 0; i < goes_shared->nslots; i++)
	{
		GoesSlot   *slot = &goes_shared->slots[i];
		uint64		taken;

		if (pg_atomic_read_u64(&slot->lowest) == GOES_POSITION_NONE)
			continue;
		pg_read_barrier();
		if (!is_ours(slot))
			continue;
		taken = read_slot(slot);
		if (taken < lowest)
		{
			lowest = taken;
			*holder = i;
		}
	}
	return lowest;
}

/*
 * goes_horizon_live
 *		The horizon as it is now, or, if that is not certain, as this process has
 *		seen it before (0: it has not).  It counts for snapshots that are taken
 *		after this call.  Never goes back within a process.
 */
int64
goes_horizon_live(void)
{
	static Oid	sequence = InvalidOid;
	static int64 before = 0;
	int64		last = goes_position_last();
	int			holder;
	uint64		lowest = lowest_taken(&holder);

	if (sequence != goes_objects()->position)
	{
		sequence = goes_objects()->position;
		before = 0;
	}
	certain = lowest != GOES_POSITION_UNKNOWN;
	if (lowest <= (uint64) last)
		last = lowest == GOES_POSITION_UNKNOWN ? 0 : (int64) lowest - 1;
	before = Max(before, last);
	return before;
}

/*
 * goes_horizon_certain
 *		The same, for a session that may wait for the moments that it takes to
 *		be certain, and has not looked before.
 */
int64
goes_horizon_certain(void)
{
	int64		horizon = goes_horizon_live();

	while (!certain)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
		horizon = goes_horizon_live();
	}
	return horizon;
}

/*
 * goes_horizon_persisted
 *		The horizon as it is stored, under a snapshot; 0 if there is none yet.
 *		After a restore there may be two rows, of which each is right.
 */
int64
goes_horizon_persisted(Snapshot snapshot)
{
	Oid			relid = get_relname_relid("horizon", get_namespace_oid("goes", false));
	Relation	relation = table_open(relid, AccessShareLock);
	Snapshot	registered = RegisterSnapshot(snapshot);
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, registered,
										  0, NULL);
	HeapTuple	tuple;
	int64		horizon = 0;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, 1, RelationGetDescr(relation), &isnull);

		horizon = Max(horizon, DatumGetInt64(value));
	}
	systable_endscan(scan);
	UnregisterSnapshot(registered);
	table_close(relation, AccessShareLock);
	return horizon;
}

/*
 * goes_horizon_persist
 *		Store the horizon; nothing that its commit does not flush with it is
 *		covered.  For the dispatcher, which is connected to SPI.
 */
void
goes_horizon_persist(int64 horizon)
{
	static const Oid argtype = INT8OID;
	Datum		arg = Int64GetDatum(horizon);

	if (goes_registry_execute("UPDATE goes.horizon SET position = $1",
							  1, &argtype, &arg, NULL) == 0)
		(void) goes_registry_execute("INSERT INTO goes.horizon VALUES ($1)",
									 1, &argtype, &arg, NULL);
}

/* ---------------------------------------------------------------------------
 * The SQL functions
 * ---------------------------------------------------------------------------
 */

PG_FUNCTION_INFO_V1(goes_horizon);

/*
 * goes_horizon() RETURNS bigint
 *		The stored horizon under the caller's snapshot; 0 if no event was
 *		appended yet.  Errors: 55000 without the preload.
 */
Datum
goes_horizon(PG_FUNCTION_ARGS)
{
	goes_require_preload();
	PG_RETURN_INT64(goes_horizon_persisted(GetActiveSnapshot()));
}

PG_FUNCTION_INFO_V1(goes_stat_horizon);

/*
 * goes.stat_horizon()
 *		The row of view goes_stat_horizon: the live horizon, the last position,
 *		and who holds the horizon back, since when (NULL: nobody).
 */
Datum
goes_stat_horizon(PG_FUNCTION_ARGS)
{
	Datum		values[4];
	bool		nulls[4] = {false, false, true, true};
	TupleDesc	desc;
	int			holder;

	goes_require_preload();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	/* On a standby the sequence is ahead of what it gave out */
	values[0] = Int64GetDatum(RecoveryInProgress() ?
							  goes_horizon_persisted(GetActiveSnapshot()) :
							  goes_horizon_live());
	values[1] = Int64GetDatum(goes_position_last());
	if (lowest_taken(&holder) != GOES_POSITION_NONE)
	{
		values[2] = Int32GetDatum(ProcGlobal->allProcs[holder].pid);
		values[3] = TimestampTzGetDatum(goes_shared->slots[holder].since);
		nulls[2] = nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
