/*-------------------------------------------------------------------------
 *
 * record.c
 *	  Composite values, as their columns or as one Datum.
 *
 * To put columns together into a Datum and to take it apart again costs more
 * than most of what is done with them, so either is left until it is needed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "record.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

/* goes_record_create: without a value, in the current context. */
GoesRecord
goes_record_create(TupleDesc desc)
{
	GoesRecord	record = {
		.desc = desc,
		.values = palloc(desc->natts * sizeof(Datum)),
		.nulls = palloc(desc->natts * sizeof(bool))
	};

	return record;
}

/*
 * goes_record_create_of
 *		The same of a composite type.  To be released with goes_record_release,
 *		unless an error or the end of the transaction does.
 */
GoesRecord
goes_record_create_of(Oid type)
{
	return goes_record_create(lookup_rowtype_tupdesc(type, -1));
}

/* goes_record_release: its columns and its Datum stay, but it is of no use. */
void
goes_record_release(GoesRecord *record)
{
	ReleaseTupleDesc(record->desc);
	record->desc = NULL;
}

/* goes_record_expand: set the columns, which then refer to the Datum. */
void
goes_record_expand(GoesRecord *record)
{
	HeapTupleHeader header;
	HeapTupleData tuple;

	if (record->expanded)
		return;
	header = DatumGetHeapTupleHeader(record->composite);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, record->desc, record->values, record->nulls);
	record->expanded = true;
}

/* goes_record_to_datum: as one value, in the current context. */
Datum
goes_record_to_datum(GoesRecord *record)
{
	if (record->composite == (Datum) 0)
		record->composite = HeapTupleGetDatum(heap_form_tuple(record->desc,
															  record->values,
															  record->nulls));
	return record->composite;
}

/*
 * goes_record_column
 *		A column, which must have the type: 42804 if it has another.  NULL for
 *		one that was dropped, or that the record is too old to have.
 */
Datum
goes_record_column(GoesRecord *record, AttrNumber attnum, Oid type, bool *isnull)
{
	Form_pg_attribute att;

	goes_record_expand(record);
	*isnull = attnum > record->desc->natts || record->nulls[attnum - 1];
	if (*isnull)
		return (Datum) 0;
	att = TupleDescAttr(record->desc, attnum - 1);
	if (att->atttypid != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" has type %s, but the function expects %s",
						NameStr(att->attname), format_type_be(att->atttypid),
						format_type_be(type))));
	return record->values[attnum - 1];
}
