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

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
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

#endif							/* GOES_COMPAT_H */
