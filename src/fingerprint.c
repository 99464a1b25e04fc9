/*-------------------------------------------------------------------------
 *
 * fingerprint.c
 *	  What tells one version of a type's model from another.
 *
 * All that goes itself knows to decide about states: the tables, the columns,
 * the events with their calculators, the upcasters, and the functions as they
 * are stored.  What these functions call is not known, nor is what a library
 * does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "calculator.h"
#include "catalog/pg_proc.h"
#include "common/hashfn.h"
#include "compat.h"
#include "fingerprint.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

static void
add_bytes(uint64 *hash, const void *bytes, Size length)
{
	*hash = hash_combine64(*hash, hash_bytes_extended(bytes, length, 0));
}

static void
add_integer(uint64 *hash, uint64 integer)
{
	add_bytes(hash, &integer, sizeof(integer));
}

static void
add_string(uint64 *hash, const char *string)
{
	if (string == NULL)
		add_integer(hash, 0);
	else
		add_bytes(hash, string, strlen(string) + 1);
}

/*
 * The catalog row of the function, and the transaction that wrote it: commands
 * may have calculated with another function between two that are the same.
 */
static void
add_function(uint64 *hash, const char *name, const GoesSignature *signature)
{
	Oid			function = goes_function_find_qualified(name, signature);
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));

	add_string(hash, name);
	if (!HeapTupleIsValid(tuple))
		return;
	add_integer(hash, HeapTupleHeaderGetRawXmin(tuple->t_data));
	add_bytes(hash, (char *) tuple->t_data + tuple->t_data->t_hoff,
			  tuple->t_len - tuple->t_data->t_hoff);
	ReleaseSysCache(tuple);
}

static void
add_events(uint64 *hash, const GoesAggregateType *type)
{
	GoesSignature signature = goes_calculator_signature(type->rowtype);

	for (int i = 0; i < type->nevents; i++)
	{
		const GoesEventType *event = &type->event_types[i];

		add_string(hash, event->action);
		add_integer(hash, event->version);
		add_integer(hash, event->registered_by);
		if (event->calculator != NULL &&
			goes_calculator_is_function(event->calculator))
			add_function(hash, event->calculator, &signature);
		else
			add_string(hash, event->calculator);
	}
}

/* In whatever order the registry gives them: that is no change. */
static void
add_upcasters(uint64 *hash, const GoesAggregateType *type)
{
	GoesSignature signature = goes_upcaster_signature();
	uint64		sum = 0;

	for (int i = 0; i < type->nupcasters; i++)
	{
		const GoesUpcaster *upcaster = &type->upcasters[i];
		uint64		one = 0;

		add_string(&one, upcaster->action);
		add_integer(&one, upcaster->from_version);
		add_integer(&one, upcaster->registered_by);
		add_function(&one, goes_function_name(upcaster->function), &signature);
		sum += one;
	}
	add_integer(hash, sum);
}

static void
add_column(uint64 *hash, Form_pg_attribute att)
{
	add_string(hash, NameStr(att->attname));
	add_integer(hash, att->attisdropped);
	add_integer(hash, att->atttypid);
	add_integer(hash, (uint32) att->atttypmod);
	add_integer(hash, att->attnotnull);
	add_integer(hash, (uint8) att->attgenerated);
	add_integer(hash, (uint8) att->attidentity);
}

static void
add_columns(uint64 *hash, TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
		add_column(hash, TupleDescAttr(desc, i));
	for (int i = 0; desc->constr != NULL && i < desc->constr->num_defval; i++)
	{
		add_integer(hash, desc->constr->defval[i].adnum);
		add_string(hash, desc->constr->defval[i].adbin);
	}
}

/*
 * goes_fingerprint
 *		A number that changes with the model of a type, whose table is open.
 */
uint64
goes_fingerprint(const GoesAggregateType *type, Relation aggregate)
{
	uint64		hash = 0;

	add_integer(&hash, type->relation);
	add_integer(&hash, type->events);
	add_columns(&hash, RelationGetDescr(aggregate));
	add_events(&hash, type);
	add_upcasters(&hash, type);
	return hash;
}
