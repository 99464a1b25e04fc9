/*-------------------------------------------------------------------------
 *
 * record.h
 *	  Composite values, as their columns or as one Datum.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_RECORD_H
#define GOES_RECORD_H

#include "postgres.h"

#include "access/tupdesc.h"

/* A composite value: its columns, the Datum, or both */
typedef struct GoesRecord
{
	TupleDesc	desc;
	Datum	   *values;			/* by attribute number - 1; room for all columns */
	bool	   *nulls;
	bool		expanded;		/* the columns are set */
	Datum		composite;		/* or 0; kept once it was asked for */
} GoesRecord;

extern GoesRecord goes_record_create(TupleDesc desc);
extern GoesRecord goes_record_create_of(Oid type);
extern void goes_record_release(GoesRecord *record);
extern void goes_record_expand(GoesRecord *record);
extern Datum goes_record_to_datum(GoesRecord *record);
extern Datum goes_record_column(GoesRecord *record, AttrNumber attnum, Oid type,
								bool *isnull);

#endif							/* GOES_RECORD_H */
