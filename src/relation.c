/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  Tables: names, owners, DDL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "relation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* goes_is_required: is the column of that name one of those? */
bool
goes_is_required(const GoesRequiredColumn *columns, int ncolumns,
				 const char *name)
{
	for (int i = 0; i < ncolumns; i++)
	{
		if (strcmp(columns[i].name, name) == 0)
			return true;
	}
	return false;
}

static bool
has_column(TupleDesc desc, const GoesRequiredColumn *column)
{
	int			attnum = SPI_fnumber(desc, column->name);
	Form_pg_attribute att;

	if (attnum <= 0)
		return false;
	att = TupleDescAttr(desc, attnum - 1);
	return att->atttypid == column->type &&
		(att->atttypmod < 0 || !column->exact) &&
		(att->attnotnull || !column->not_null) &&
		att->attgenerated == '\0' && att->attidentity == '\0';
}

/*
 * goes_missing_columns
 *		What a table lacks of the columns, as "name type, ..."; NULL if nothing.
 *		A generated or identity column is not one that goes can write.
 */
char *
goes_missing_columns(Relation relation, const GoesRequiredColumn *columns,
					 int ncolumns)
{
	StringInfoData missing;

	initStringInfo(&missing);
	for (int i = 0; i < ncolumns; i++)
	{
		if (!has_column(RelationGetDescr(relation), &columns[i]))
			appendStringInfo(&missing, "%s%s %s%s", missing.len > 0 ? ", " : "",
							 columns[i].name, format_type_be(columns[i].type),
							 columns[i].not_null ? " NOT NULL" : "");
	}
	return missing.len > 0 ? missing.data : NULL;
}

/* goes_relation_name: schema and name, quoted where needed. */
char *
goes_relation_name(Oid relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)),
									  get_rel_name(relation));
}

/*
 * goes_leaf_tables
 *		The table itself, or the partitions that hold its rows.  Row triggers are
 *		put on these: one on a partitioned table is cloned to its partitions, and
 *		a parallel restore may do that before the partitions' rows are loaded.
 *		Takes no lock; to do something with the partitions, lock the table.
 */
List *
goes_leaf_tables(Oid relation)
{
	List	   *leaves = NIL;
	ListCell   *cell;

	foreach(cell, find_all_inheritors(relation, NoLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(cell)) != RELKIND_PARTITIONED_TABLE)
			leaves = lappend_oid(leaves, lfirst_oid(cell));
	}
	return leaves;
}

/*
 * goes_errtable
 *		errtable() for a table that need not be open: sets the schema and table
 *		fields of the error.
 */
int
goes_errtable(Oid relation)
{
	char	   *name = get_rel_name(relation);

	if (name != NULL)
	{
		err_generic_string(PG_DIAG_SCHEMA_NAME,
						   get_namespace_name(get_rel_namespace(relation)));
		err_generic_string(PG_DIAG_TABLE_NAME, name);
	}
	return 0;
}

/* goes_relation_owner: the role that owns the relation, which must exist. */
Oid
goes_relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* goes_check_owner: 42501 unless the current user has the owner's rights. */
void
goes_check_owner(Oid relation)
{
	if (!goes_owns_relation(relation, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relation)),
					   get_rel_name(relation));
}

/* goes_run_ddl: run a utility statement.  The caller is connected to SPI. */
void
goes_run_ddl(const char *sql)
{
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not execute \"%s\"", sql);
}
