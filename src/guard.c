/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Triggers that let only goes write to its tables.
 *
 * Before goes writes rows it announces them (goes_guard_expect); the guard lets
 * exactly these rows pass, once, in the order in which they were announced, and
 * only from goes's own statement.  So a user's trigger that fires on the way
 * cannot use the opening for a row of its own.  What was announced and not
 * written, because of an error, is forgotten when that is rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "executor/spi.h"
#include "guard.h"
#include "miscadmin.h"
#include "registry.h"
#include "relation.h"
#include "role.h"
#include "uuid.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#define ROW_GUARD "goes_guard"
#define TRUNCATE_GUARD "goes_guard_truncate"

/* Setting goes.allow_direct_writes */
bool		goes_allow_direct_writes = false;

static GoesExpectation expected;

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/*
 * goes_guard_expect
 *		goes is about to write these rows of this table, in this order.  The ids
 *		must stay where they are until goes_guard_forget.
 */
void
goes_guard_expect(Oid relation, const pg_uuid_t *ids, int nids)
{
	expected.relation = relation;
	expected.ids = ids;
	expected.nids = nids;
	expected.trigger_depth = trigger_depth();
	expected.nest_level = GetCurrentTransactionNestLevel();
}

/* goes_guard_forget: it is done, or failed. */
void
goes_guard_forget(void)
{
	expected.relation = InvalidOid;
}

static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		goes_guard_forget();
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId subtransaction,
					 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB &&
		expected.nest_level >= GetCurrentTransactionNestLevel())
		goes_guard_forget();
}

/* goes_guard_init: to be called once in a process. */
void
goes_guard_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
}

/* goes_guard_save, goes_guard_restore: around a nested command. */
GoesExpectation
goes_guard_save(void)
{
	return expected;
}

void
goes_guard_restore(GoesExpectation saved)
{
	expected = saved;
}

/* goes_is_guard: is it the function of a guard? */
bool
goes_is_guard(Oid function)
{
	return function == goes_objects()->guard_aggregate ||
		function == goes_objects()->guard_events;
}

/*
 * goes_may_be_changed
 *		Does the table have BEFORE ROW triggers of others, which may change or
 *		suppress a row that goes writes?  A partitioned table's partitions may.
 */
bool
goes_may_be_changed(Relation relation)
{
	TriggerDesc *triggers = relation->trigdesc;

	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return true;
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) &&
			TRIGGER_FOR_BEFORE(trigger->tgtype) &&
			(TRIGGER_FOR_INSERT(trigger->tgtype) ||
			 TRIGGER_FOR_UPDATE(trigger->tgtype)) &&
			!goes_is_guard(trigger->tgfoid))
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------------------
 * The triggers
 * ---------------------------------------------------------------------------
 */

static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("guards of goes must be called as BEFORE triggers")));
	return trigger;
}

static bool
is_part_of(Oid relation, Oid ancestor)
{
	return relation == ancestor ||
		(get_rel_relispartition(relation) &&
		 list_member_oid(get_partition_ancestors(relation), ancestor));
}

/* Is it the row that goes announced next?  Then it may pass, this once. */
static bool
take_expected(TriggerData *trigger, HeapTuple row)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	bool		isnull;
	Datum		id;

	/* A trigger that fires on the way writes at a greater depth */
	if (!OidIsValid(expected.relation) ||
		trigger_depth() != expected.trigger_depth + 1 ||
		!is_part_of(RelationGetRelid(trigger->tg_relation), expected.relation))
		return false;
	id = heap_getattr(row, SPI_fnumber(desc, "id"), desc, &isnull);
	if (isnull || !goes_uuid_equal(DatumGetUUIDP(id), expected.ids))
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("a trigger of table \"%s\" changed the id of the row that goes wrote",
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("The id was %s.", goes_uuid_string(expected.ids)),
				 errhint("A BEFORE trigger may only look at the row or raise an error."),
				 errtable(trigger->tg_relation)));
	expected.ids++;
	if (--expected.nids == 0)
		goes_guard_forget();
	return true;
}

static const char *
operation(TriggerEvent event)
{
	if (TRIGGER_FIRED_BY_INSERT(event))
		return "INSERT";
	if (TRIGGER_FIRED_BY_UPDATE(event))
		return "UPDATE";
	if (TRIGGER_FIRED_BY_DELETE(event))
		return "DELETE";
	return "TRUNCATE";
}

PG_FUNCTION_INFO_V1(goes_guard_events);

/* goes.guard_events(): only INSERT, and only of what goes announced; else OG006. */
Datum
goes_guard_events(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) &&
		TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
		take_expected(trigger, trigger->tg_trigtuple))
		return PointerGetDatum(trigger->tg_trigtuple);

	ereport(ERROR,
			(errcode(ERRCODE_GOES_EVENTS_WRITE),
			 errmsg("cannot write to events table \"%s\"",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("%s is refused: events are appended by commands and never changed.",
					   operation(trigger->tg_event)),
			 errhint("Execute a command with goes_execute."),
			 errtable(trigger->tg_relation)));
}

/*
 * May the user write past goes?  A SECURITY DEFINER function or a foreign key
 * must not lend its owner's right, so ask who stands outside of them.
 */
static bool
direct_write_allowed(Relation relation)
{
	return goes_allow_direct_writes &&
		goes_owns_relation(RelationGetRelid(relation), GetOuterUserId());
}

PG_FUNCTION_INFO_V1(goes_guard_aggregate);

/* goes.guard_aggregate(): only what goes announced; else OG007. */
Datum
goes_guard_aggregate(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_data(fcinfo);
	bool		update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	HeapTuple	row = update ? trigger->tg_newtuple : trigger->tg_trigtuple;

	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
		!TRIGGER_FIRED_BY_DELETE(trigger->tg_event) &&
		take_expected(trigger, row))
		return PointerGetDatum(row);
	if (direct_write_allowed(trigger->tg_relation))
		return PointerGetDatum(row);

	ereport(ERROR,
			(errcode(ERRCODE_GOES_AGGREGATE_WRITE),
			 errmsg("cannot write to aggregate table \"%s\" directly",
					RelationGetRelationName(trigger->tg_relation)),
			 errdetail("%s is refused: only commands change an aggregate.",
					   operation(trigger->tg_event)),
			 errhint("Execute a command with goes_execute. The owner of the table may SET goes.allow_direct_writes = on to repair it."),
			 errtable(trigger->tg_relation)));
}

/* ---------------------------------------------------------------------------
 * Installation
 * ---------------------------------------------------------------------------
 */

static bool
has_trigger(Oid relation, const char *name)
{
	return OidIsValid(get_trigger_oid(relation, name, true));
}

/* goes_guard_is_installed: has the table, or a partition of it, its row guard? */
bool
goes_guard_is_installed(Oid relation)
{
	ListCell   *cell;

	foreach(cell, goes_leaf_tables(relation))
	{
		if (has_trigger(lfirst_oid(cell), ROW_GUARD))
			return true;
	}
	return false;
}

/* goes_guard_is_complete: are all guards of a table and its partitions there? */
bool
goes_guard_is_complete(Oid relation)
{
	ListCell   *cell;

	foreach(cell, goes_leaf_tables(relation))
	{
		if (!has_trigger(lfirst_oid(cell), ROW_GUARD))
			return false;
	}
	foreach(cell, find_all_inheritors(relation, NoLock, NULL))
	{
		if (!has_trigger(lfirst_oid(cell), TRUNCATE_GUARD))
			return false;
	}
	return true;
}

/* What is wrong with one guard, or NIL. */
static List *
trigger_problem(Oid relation, const char *name)
{
	Relation	opened = table_open(relation, AccessShareLock);
	TriggerDesc *triggers = opened->trigdesc;
	char	   *problem = psprintf("guard %s of table %s is missing", name,
								   goes_relation_name(relation));

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, name) == 0)
			problem = trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
				trigger->tgenabled == TRIGGER_FIRES_ALWAYS ? NULL :
				psprintf("guard %s of table %s is disabled", name,
						 goes_relation_name(relation));
	}
	table_close(opened, AccessShareLock);
	return problem ? list_make1(problem) : NIL;
}

/*
 * goes_guard_problems
 *		Sentences about the guards of a table and its partitions that are missing
 *		or disabled; NIL if all is well.
 */
List *
goes_guard_problems(Oid relation)
{
	List	   *problems = NIL;
	ListCell   *cell;

	foreach(cell, goes_leaf_tables(relation))
		problems = list_concat(problems, trigger_problem(lfirst_oid(cell), ROW_GUARD));
	foreach(cell, find_all_inheritors(relation, NoLock, NULL))
		problems = list_concat(problems, trigger_problem(lfirst_oid(cell), TRUNCATE_GUARD));
	return problems;
}

static void
install_trigger(Oid relation, const char *trigger, const char *events,
				const char *level, bool aggregate)
{
	GoesRole	before;

	if (has_trigger(relation, trigger))
		return;
	before = goes_become(goes_relation_owner(relation));
	goes_run_ddl(psprintf("CREATE TRIGGER %s BEFORE %s ON %s FOR EACH %s"
						  " EXECUTE FUNCTION goes.%s()",
						  trigger, events, goes_relation_name(relation),
						  level, aggregate ? "guard_aggregate" : "guard_events"));
	goes_unbecome(before);
}

/*
 * goes_guard_install
 *		Put the guards on a table and its partitions where they are missing.
 *		The caller is connected to SPI.
 */
void
goes_guard_install(Oid relation, bool aggregate)
{
	ListCell   *cell;

	foreach(cell, goes_leaf_tables(relation))
		install_trigger(lfirst_oid(cell), ROW_GUARD,
						"INSERT OR UPDATE OR DELETE", "ROW", aggregate);
	foreach(cell, find_all_inheritors(relation, NoLock, NULL))
		install_trigger(lfirst_oid(cell), TRUNCATE_GUARD,
						"TRUNCATE", "STATEMENT", aggregate);
}

static void
remove_trigger(Oid relation, const char *trigger)
{
	GoesRole	before;

	if (!has_trigger(relation, trigger))
		return;
	before = goes_become(goes_relation_owner(relation));
	goes_run_ddl(psprintf("DROP TRIGGER %s ON %s", trigger,
						  goes_relation_name(relation)));
	goes_unbecome(before);
}

/*
 * goes_guard_remove
 *		Remove the guards from a table and its partitions.  The caller is
 *		connected to SPI.
 */
void
goes_guard_remove(Oid relation)
{
	ListCell   *cell;

	foreach(cell, goes_leaf_tables(relation))
		remove_trigger(lfirst_oid(cell), ROW_GUARD);
	foreach(cell, find_all_inheritors(relation, NoLock, NULL))
		remove_trigger(lfirst_oid(cell), TRUNCATE_GUARD);
}
