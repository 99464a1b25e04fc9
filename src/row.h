/*-------------------------------------------------------------------------
 *
 * row.h
 *	  Single rows of plain tables, read and written without an SQL statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_ROW_H
#define GOES_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"
#include "utils/uuid.h"

extern bool goes_force_spi;

extern bool goes_rows_are_plain(Relation relation);
extern bool goes_row_find(Relation relation, Oid index, const pg_uuid_t *id,
						  bool lock, HeapTuple *row);
extern bool goes_row_insert(Relation relation, const Datum *values,
							const bool *nulls);
extern bool goes_row_insert_new(Relation relation, List *arbiters,
								const Datum *values, const bool *nulls);
extern bool goes_row_update(Relation relation, ItemPointer tid,
							const Bitmapset *columns, const Datum *values,
							const bool *nulls);

#endif							/* GOES_ROW_H */
