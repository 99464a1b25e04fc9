/*-------------------------------------------------------------------------
 *
 * cursor.h
 *	  The rows of a query, some at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_CURSOR_H
#define GOES_CURSOR_H

#include "postgres.h"

#include "access/htup.h"
#include "executor/tuptable.h"

typedef struct GoesRows
{
	TupleDesc	desc;
	int			count;			/* never 0 */
	HeapTuple  *rows;
} GoesRows;

/* Called for the next rows, which are gone afterwards; false ends the reading. */
typedef bool (*GoesRowsCallback) (void *arg, const GoesRows *rows);

/* Is a row wanted?  Runs in the middle of the query: it may only look. */
typedef bool (*GoesRowFilter) (void *arg, TupleTableSlot *row);

extern void goes_rows_each(const char *sql, int nargs, const Oid *argtypes,
						   const Datum *args, const char *nulls, bool read_only,
						   GoesRowFilter filter, GoesRowsCallback callback,
						   void *arg);

#endif							/* GOES_CURSOR_H */
