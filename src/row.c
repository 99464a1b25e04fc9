/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Single rows of plain tables, read and written without an SQL statement.
 *
 * To start, run and end a statement through SPI costs several times what it
 * does to one row.  These functions do the same to the row with the executor's
 * own functions: under a new snapshot, with the same privileges, locks,
 * constraints and AFTER triggers, and the same errors.  Whatever is out of the
 * ordinary they leave alone and return false; the caller then runs the
 * statement, which does the right thing or raises the right error.
 *
 * Only the guards' BEFORE triggers are not fired: they would let pass what goes
 * itself writes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "guard.h"
#include "row.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "uuid.h"

/* Setting goes.force_spi */
bool		goes_force_spi = false;

/* Triggers that only a statement fires */
static bool
has_statement_triggers(const TriggerDesc *triggers)
{
	return triggers->trig_insert_before_statement ||
		triggers->trig_insert_after_statement ||
		triggers->trig_insert_new_table ||
		triggers->trig_update_before_statement ||
		triggers->trig_update_after_statement ||
		triggers->trig_update_old_table ||
		triggers->trig_update_new_table;
}

/*
 * goes_rows_are_plain
 *		Can rows of this table be read and written without a statement, as far as
 *		its definition goes?
 */
bool
goes_rows_are_plain(Relation relation)
{
	return relation->rd_rel->relkind == RELKIND_RELATION &&
		!relation->rd_rel->relispartition &&
		!relation->rd_rel->relrowsecurity &&
		relation->rd_rules == NULL &&
		!goes_has_generated_columns(relation) &&
		!goes_may_be_changed(relation) &&
		(relation->trigdesc == NULL || !has_statement_triggers(relation->trigdesc));
}

/* And as far as the session and the current user go? */
static bool
is_possible(Relation relation, AclMode privileges)
{
	return !goes_force_spi && !XactReadOnly && ExecutorCheckPerms_hook == NULL &&
		pg_class_aclmask(RelationGetRelid(relation), GetUserId(), privileges,
						 ACLMASK_ALL) == privileges;
}

/* What a statement that is not read only begins with */
static Snapshot
push_new_snapshot(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	return GetActiveSnapshot();
}

/* ---------------------------------------------------------------------------
 * Find
 * ---------------------------------------------------------------------------
 */

/* Rows older than the index may not be in it for this transaction. */
static bool
index_is_usable(Relation index)
{
	return !index->rd_index->indcheckxmin ||
		TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data),
							  TransactionXmin);
}

/* Lock the row in the slot FOR NO KEY UPDATE and take its latest version. */
static bool
lock_row(Relation relation, AttrNumber attnum, const pg_uuid_t *id,
		 Snapshot snapshot, TupleTableSlot *slot)
{
	ItemPointerData tid = slot->tts_tid;
	TM_FailureData failure;
	bool		isnull;
	TM_Result	result;

	result = table_tuple_lock(relation, &tid, snapshot, slot,
							  GetCurrentCommandId(false), LockTupleNoKeyExclusive,
							  LockWaitBlock,
							  IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							  &failure);
	if (IsolationUsesXactSnapshot() && (result == TM_Updated || result == TM_Deleted))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
	if (result != TM_Ok)
		return false;
	return !failure.traversed ||
		goes_uuid_equal(DatumGetUUIDP(slot_getattr(slot, attnum, &isnull)), id);
}

static bool
scan(Relation relation, Relation index, const pg_uuid_t *id, bool lock,
	 HeapTuple *row)
{
	Snapshot	snapshot = push_new_snapshot();
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	IndexScanDesc scan = goes_index_beginscan(relation, index, snapshot);
	bool		known = true;
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	index_rescan(scan, &key, 1, NULL, 0);
	*row = NULL;
	if (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		known = !lock || lock_row(relation, index->rd_index->indkey.values[0],
								  id, snapshot, slot);
		if (known)
			*row = ExecCopySlotHeapTuple(slot);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	PopActiveSnapshot();
	return known;
}

/*
 * goes_row_find
 *		Find a row of a plain table by a unique index on its id, as of now, and
 *		lock it FOR NO KEY UPDATE if that is asked for.  Returns a copy in the
 *		current context, or NULL if there is none.
 */
bool
goes_row_find(Relation relation, Oid index_id, const pg_uuid_t *id, bool lock,
			  HeapTuple *row)
{
	Relation	index;
	bool		known;

	if (!is_possible(relation, lock ? ACL_SELECT | ACL_UPDATE : ACL_SELECT))
		return false;
	index = index_open(index_id, lock ? RowShareLock : AccessShareLock);
	known = index_is_usable(index) && scan(relation, index, id, lock, row);
	index_close(index, NoLock);
	return known;
}

/* ---------------------------------------------------------------------------
 * Write
 * ---------------------------------------------------------------------------
 */

/* What the executor needs to write one row */
typedef struct Write
{
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;		/* the row */
} Write;

/* All columns, as in an RTEPermissionInfo's insertedCols */
static Bitmapset *
all_columns(TupleDesc desc)
{
	return bms_add_range(NULL, 1 - FirstLowInvalidHeapAttributeNumber,
						 desc->natts - FirstLowInvalidHeapAttributeNumber);
}

/* updated: the columns of an UPDATE; NULL: it is an INSERT. */
static void
begin_write(Write *write, Relation relation, Bitmapset *updated,
			const Datum *values, const bool *nulls)
{
	EState	   *estate;
	MemoryContext oldcontext;

	(void) push_new_snapshot();
	estate = CreateExecutorState();
	oldcontext = MemoryContextSwitchTo(estate->es_query_cxt);
	goes_init_range_table(estate, relation,
						  updated ? NULL : all_columns(RelationGetDescr(relation)),
						  updated);
	estate->es_output_cid = GetCurrentCommandId(true);
	write->estate = estate;
	write->result = makeNode(ResultRelInfo);
	InitResultRelInfo(write->result, relation, 1, NULL, 0);
	estate->es_opened_result_relations = list_make1(write->result);
	write->slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(relation),
										 &TTSOpsVirtual);
	memcpy(write->slot->tts_values, values,
		   RelationGetNumberOfAttributes(relation) * sizeof(Datum));
	memcpy(write->slot->tts_isnull, nulls,
		   RelationGetNumberOfAttributes(relation) * sizeof(bool));
	ExecStoreVirtualTuple(write->slot);
	write->slot->tts_tableOid = RelationGetRelid(relation);
	MemoryContextSwitchTo(oldcontext);
	AfterTriggerBeginQuery();
}

/* Fire the triggers, and see what was written from now on. */
static void
end_write(Write *write)
{
	EState	   *estate = write->estate;

	AfterTriggerEndQuery(estate);
	ExecCloseResultRelations(estate);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	PopActiveSnapshot();
	CommandCounterIncrement();
}

static void
check_constraints(Write *write)
{
	if (RelationGetDescr(write->result->ri_RelationDesc)->constr != NULL)
		ExecConstraints(write->result, write->slot, write->estate);
}

/*
 * goes_row_insert
 *		Insert a row into a plain table: values by attribute number, that of
 *		dropped columns NULL.
 */
bool
goes_row_insert(Relation relation, const Datum *values, const bool *nulls)
{
	Write		write;
	List	   *recheck;

	if (!is_possible(relation, ACL_INSERT))
		return false;
	begin_write(&write, relation, NULL, values, nulls);
	ExecOpenIndices(write.result, false);
	check_constraints(&write);
	table_tuple_insert(relation, write.slot, write.estate->es_output_cid, 0, NULL);
	recheck = goes_insert_index_tuples(write.result, write.slot, write.estate,
									   GOES_UPDATE_NO_INDEXES);
	ExecARInsertTriggers(write.estate, write.result, write.slot, recheck, NULL);
	end_write(&write);
	return true;
}

/* Insert unless there is a conflict; false if there was one. */
static bool
insert_speculatively(Write *write, List *arbiters, List **recheck)
{
	Relation	relation = write->result->ri_RelationDesc;
	TransactionId xid = GetCurrentTransactionId();
	bool		conflict = false;
	uint32		token = SpeculativeInsertionLockAcquire(xid);

	table_tuple_insert_speculative(relation, write->slot,
								   write->estate->es_output_cid, 0, NULL, token);
	*recheck = goes_insert_index_tuples_speculatively(write->result, write->slot,
													  write->estate, &conflict,
													  arbiters);
	table_tuple_complete_speculative(relation, write->slot, token, !conflict);
	SpeculativeInsertionLockRelease(xid);
	return !conflict;
}

/*
 * goes_row_insert_new
 *		The same ON CONFLICT DO NOTHING, for the unique indexes that are the
 *		arbiters; false also if there is a conflict.
 */
bool
goes_row_insert_new(Relation relation, List *arbiters, const Datum *values,
					const bool *nulls)
{
	Write		write;
	List	   *recheck = NIL;
	ItemPointerData conflicting;
	bool		inserted = false;

	if (!is_possible(relation, ACL_INSERT | ACL_SELECT))
		return false;
	begin_write(&write, relation, NULL, values, nulls);
	ExecOpenIndices(write.result, true);
	check_constraints(&write);
	while (!inserted &&
		   goes_check_arbiters(write.result, write.slot, write.estate,
							   &conflicting, arbiters))
		inserted = insert_speculatively(&write, arbiters, &recheck);
	if (inserted)
		ExecARInsertTriggers(write.estate, write.result, write.slot, recheck, NULL);
	end_write(&write);
	return inserted;
}

/* Is it a row that this snapshot sees, not one that was changed since? */
static bool
is_current(Relation relation, ItemPointer tid)
{
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	bool		current = table_tuple_fetch_row_version(relation, tid,
														GetActiveSnapshot(), slot);

	ExecDropSingleTupleTableSlot(slot);
	return current;
}

/*
 * goes_row_update
 *		Write a version of a row of a plain table that this transaction has
 *		locked; columns are those that a statement would set, as in an
 *		RTEPermissionInfo's updatedCols.  False also if it has another version.
 */
bool
goes_row_update(Relation relation, ItemPointer tid, const Bitmapset *columns,
				const Datum *values, const bool *nulls)
{
	Write		write;
	TM_FailureData failure;
	LockTupleMode lockmode;
	GoesUpdateIndexes indexes;
	List	   *recheck = NIL;
	bool		updated;

	if (!is_possible(relation, ACL_SELECT | ACL_UPDATE))
		return false;
	begin_write(&write, relation, unconstify(Bitmapset *, columns), values, nulls);
	updated = is_current(relation, tid);
	if (updated)
	{
		CheckCmdReplicaIdentity(relation, CMD_UPDATE);
		check_constraints(&write);
		updated = table_tuple_update(relation, tid, write.slot,
									 write.estate->es_output_cid,
									 GetActiveSnapshot(), InvalidSnapshot, true,
									 &failure, &lockmode, &indexes) == TM_Ok;
	}
	if (updated && goes_updates_indexes(indexes))
	{
		ExecOpenIndices(write.result, false);
		recheck = goes_insert_index_tuples(write.result, write.slot,
										   write.estate, indexes);
	}
	if (updated)
		ExecARUpdateTriggers(write.estate, write.result, NULL, NULL, tid, NULL,
							 write.slot, recheck, NULL, false);
	end_write(&write);
	return updated;
}
