/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  All differences between the supported versions of PostgreSQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_COMPAT_H
#define GOES_COMPAT_H

#include "postgres.h"

#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "common/jsonapi.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parse_relation.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/rel.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Number of elements of an array, as the int that everything counts with */
#define goes_lengthof(array) ((int) lengthof(array))

/* The search path under which something was planned */
#if PG_VERSION_NUM >= 170000
typedef SearchPathMatcher GoesSearchPath;
#define goes_current_search_path(context) GetSearchPathMatcher(context)
#define goes_search_path_is_current(path) SearchPathMatchesCurrentEnvironment(path)
#else
typedef OverrideSearchPath GoesSearchPath;
#define goes_current_search_path(context) GetOverrideSearchPath(context)
#define goes_search_path_is_current(path) OverrideSearchPathMatchesCurrent(path)
#endif

#if PG_VERSION_NUM >= 160000
#define goes_owns_relation(relid, role) object_ownercheck(RelationRelationId, relid, role)
#define goes_may_execute(funcid, role) \
	(object_aclcheck(ProcedureRelationId, funcid, role, ACL_EXECUTE) == ACLCHECK_OK)
#define goes_may_use_schema(schema, role) \
	(object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE) == ACLCHECK_OK)
/* Membership that grants nothing does not count, from 16 on */
#define goes_is_member(member, role) \
	(has_privs_of_role(member, role) || member_can_set_role(member, role))
#define goes_owns_database(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#define goes_may_connect(role) \
	(object_aclcheck(DatabaseRelationId, MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK)
#else
#define goes_owns_relation(relid, role) pg_class_ownercheck(relid, role)
#define goes_may_execute(funcid, role) \
	(pg_proc_aclcheck(funcid, role, ACL_EXECUTE) == ACLCHECK_OK)
#define goes_may_use_schema(schema, role) \
	(pg_namespace_aclcheck(schema, role, ACL_USAGE) == ACLCHECK_OK)
#define goes_is_member(member, role) is_member_of_role(member, role)
#define goes_owns_database(database, role) pg_database_ownercheck(database, role)
#define goes_may_connect(role) \
	(pg_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK)
#endif

/* The connection limit of a database whose DROP was interrupted, since 15.4 */
#ifndef DATCONNLIMIT_INVALID_DB
#define DATCONNLIMIT_INVALID_DB (-2)
#endif

/* The expression of a generated column, over the row's own columns */
#if PG_VERSION_NUM >= 180000
#define goes_generation_expression(relation, attnum) \
	(TupleDescAttr(RelationGetDescr(relation), (attnum) - 1)->attgenerated == \
	 ATTRIBUTE_GENERATED_VIRTUAL ? \
	 build_generation_expression(relation, attnum) : \
	 build_column_default(relation, attnum))
#else
#define goes_generation_expression(relation, attnum) \
	build_column_default(relation, attnum)
#endif

/* The fields that ParseDateTime has found, as a time; 0, or an error's number */
#if PG_VERSION_NUM >= 160000
#define goes_decode_time(fields, types, nfields, kind, tm, fsec, zone) \
	DecodeDateTime(fields, types, nfields, kind, tm, fsec, zone, \
				   &(DateTimeErrorExtra) {0})
#else
#define goes_decode_time(fields, types, nfields, kind, tm, fsec, zone) \
	DecodeDateTime(fields, types, nfields, kind, tm, fsec, zone)
#endif

/* All functions of that name, whatever their arguments */
#define goes_function_candidates(names) \
	FuncnameGetCandidates(names, -1, NIL, false, false, false, true)

/*
 * Whether a background worker can connect as a role without LOGIN
 * (BGWORKER_BYPASS_ROLELOGINCHECK, from 17 on).
 */
#define GOES_WORKER_NEEDS_LOGIN (PG_VERSION_NUM < 170000)

/* A flag of background workers that may connect so */
#if GOES_WORKER_NEEDS_LOGIN
#define GOES_WORKER_CONNECT_FLAGS 0
#else
#define GOES_WORKER_CONNECT_FLAGS BGWORKER_BYPASS_ROLELOGINCHECK
#endif

/*
 * Of libpq/libpq.h (since 15), which cannot be included: where the server has
 * GSSAPI it needs that library's headers, which need not be installed.
 */
extern bool pq_check_connection(void);

/* The virtual transaction that pg_locks writes as "process/transaction" */
static inline VirtualTransactionId
goes_virtual_transaction(int process, LocalTransactionId transaction)
{
	VirtualTransactionId result;

#if PG_VERSION_NUM >= 170000
	result.procNumber = process;
#else
	result.backendId = process;
#endif
	result.localTransactionId = transaction;
	return result;
}

/* All settings of this process, for who includes utils/guc_tables.h */
#if PG_VERSION_NUM >= 160000
#define goes_guc_variables(count) get_guc_variables(count)
#else
#define goes_guc_variables(count) \
	(*(count) = GetNumConfigOptions(), get_guc_variables())
#endif

/* The number of this backend's PGPROC */
#if PG_VERSION_NUM >= 170000
#define goes_my_procno() ((int) MyProcNumber)
#else
#define goes_my_procno() (MyProc->pgprocno)
#endif

/* Does the string parse as JSON?  Never raises. */
static inline bool
goes_is_json(char *string)
{
#if PG_VERSION_NUM >= 170000
	JsonLexContext lex;

	makeJsonLexContextCstringLen(&lex, string, strlen(string),
								 GetDatabaseEncoding(), false);
	return pg_parse_json(&lex, &nullSemAction) == JSON_SUCCESS;
#else
	JsonLexContext *lex = makeJsonLexContextCstringLen(string, strlen(string),
													   GetDatabaseEncoding(),
													   false);

	return pg_parse_json(lex, &nullSemAction) == JSON_SUCCESS;
#endif
}

/*
 * What the executor's functions for single rows take.  Those of 16 and later
 * can leave out all but summarizing indexes, and keep what is updated apart
 * from the range table.
 */
#if PG_VERSION_NUM >= 180000
#define goes_index_beginscan(table, index, snapshot) \
	index_beginscan(table, index, snapshot, NULL, 1, 0)
#define goes_check_arbiters(result, slot, estate, conflict, arbiters) \
	ExecCheckIndexConstraints(result, slot, estate, conflict, \
							  &(ItemPointerData) {{0, 0}, InvalidOffsetNumber}, arbiters)
#else
#define goes_index_beginscan(table, index, snapshot) \
	index_beginscan(table, index, snapshot, 1, 0)
#define goes_check_arbiters(result, slot, estate, conflict, arbiters) \
	ExecCheckIndexConstraints(result, slot, estate, conflict, arbiters)
#endif

#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes GoesUpdateIndexes;
#define goes_updates_indexes(update) ((update) != TU_None)
#define goes_insert_index_tuples(result, slot, estate, update) \
	ExecInsertIndexTuples(result, slot, estate, (update) != TU_None, false, NULL, NIL, \
						  (update) == TU_Summarizing)
#define goes_insert_index_tuples_speculatively(result, slot, estate, conflict, arbiters) \
	ExecInsertIndexTuples(result, slot, estate, false, true, conflict, arbiters, false)
#define GOES_UPDATE_NO_INDEXES TU_None
#else
typedef bool GoesUpdateIndexes;
#define goes_updates_indexes(update) (update)
#define goes_insert_index_tuples(result, slot, estate, update) \
	ExecInsertIndexTuples(result, slot, estate, update, false, NULL, NIL)
#define goes_insert_index_tuples_speculatively(result, slot, estate, conflict, arbiters) \
	ExecInsertIndexTuples(result, slot, estate, false, true, conflict, arbiters)
#define GOES_UPDATE_NO_INDEXES false
#endif

/* Does the table have generated columns? */
static inline bool
goes_has_generated_columns(Relation relation)
{
	const TupleConstr *constraints = RelationGetDescr(relation)->constr;

	return constraints != NULL &&
#if PG_VERSION_NUM >= 180000
		(constraints->has_generated_stored || constraints->has_generated_virtual);
#else
		constraints->has_generated_stored;
#endif
}

/* Let a table be the range table of an estate, with the columns to be written. */
static inline void
goes_init_range_table(EState *estate, Relation relation, Bitmapset *inserted,
					  Bitmapset *updated)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(relation);
	entry->relkind = relation->rd_rel->relkind;
	entry->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		List	   *permissions = NIL;
		RTEPermissionInfo *permission = addRTEPermissionInfo(&permissions, entry);

		permission->insertedCols = inserted;
		permission->updatedCols = updated;
#if PG_VERSION_NUM >= 180000
		ExecInitRangeTable(estate, list_make1(entry), permissions,
						   bms_make_singleton(1));
#else
		ExecInitRangeTable(estate, list_make1(entry), permissions);
#endif
	}
#else
	entry->insertedCols = inserted;
	entry->updatedCols = updated;
	ExecInitRangeTable(estate, list_make1(entry));
#endif
}

#endif							/* GOES_COMPAT_H */
