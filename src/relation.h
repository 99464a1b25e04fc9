/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  Tables: names, owners, DDL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_RELATION_H
#define GOES_RELATION_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/rel.h"

/* A column that goes needs in a table */
typedef struct GoesRequiredColumn
{
	const char *name;
	Oid			type;
	bool		not_null;
	bool		exact;			/* without a type modifier, which would change values */
} GoesRequiredColumn;

extern bool goes_is_required(const GoesRequiredColumn *columns, int ncolumns,
							 const char *name);
extern char *goes_missing_columns(Relation relation,
								  const GoesRequiredColumn *columns,
								  int ncolumns);
extern char *goes_relation_name(Oid relation);
extern List *goes_leaf_tables(Oid relation);
extern int	goes_errtable(Oid relation);
extern Oid	goes_relation_owner(Oid relation);
extern void goes_check_owner(Oid relation);
extern void goes_run_ddl(const char *sql);

#endif							/* GOES_RELATION_H */
