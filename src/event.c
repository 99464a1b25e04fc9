/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Events: stored, read, as SQL values and as JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "aggregate.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "guard.h"
#include "json.h"
#include "relation.h"
#include "role.h"
#include "row.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "uuid.h"

/* The stored columns, in the order of the statements below */
#define EVENT_COLUMNS \
	"position, id, aggregate_id, aggregate_version, action, event_version," \
	" data, metadata, command_id, imported, recorded_at"

static const GoesRequiredColumn event_columns[] = {
	{"position", INT8OID, true, true},
	{"id", UUIDOID, true, true},
	{"aggregate_id", UUIDOID, true, true},
	{"aggregate_version", INT8OID, true, true},
	{"action", TEXTOID, true, true},
	{"event_version", INT4OID, true, true},
	{"data", JSONBOID, true, true},
	{"metadata", JSONBOID, true, true},
	{"command_id", UUIDOID, false, true},
	{"imported", BOOLOID, true, true},
	{"recorded_at", TIMESTAMPTZOID, true, true}
};

/* The fields of type goes_event, in their order */
enum
{
	FIELD_POSITION,
	FIELD_ID,
	FIELD_AGGREGATE_TYPE,
	FIELD_AGGREGATE_ID,
	FIELD_AGGREGATE_VERSION,
	FIELD_ACTION,
	FIELD_EVENT_VERSION,
	FIELD_DATA,
	FIELD_METADATA,
	FIELD_TRANSIENT,
	FIELD_RECORDED_AT,
	FIELD_COUNT
};

/* ---------------------------------------------------------------------------
 * The table
 * ---------------------------------------------------------------------------
 */

/* goes_event_table_definition: columns and constraints, for CREATE TABLE. */
char *
goes_event_table_definition(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < goes_lengthof(event_columns); i++)
		appendStringInfo(&sql, "%s %s%s, ", event_columns[i].name,
						 format_type_be_qualified(event_columns[i].type),
						 event_columns[i].not_null ? " NOT NULL" : "");
	appendStringInfoString(&sql, "PRIMARY KEY (position), UNIQUE (aggregate_id, aggregate_version)");
	return sql.data;
}

/* goes_is_event_column: is it one that goes needs? */
bool
goes_is_event_column(const char *name)
{
	return goes_is_required(event_columns, goes_lengthof(event_columns), name);
}

/* goes_missing_event_columns: what a table lacks to be an events table. */
char *
goes_missing_event_columns(Relation relation)
{
	return goes_missing_columns(relation, event_columns,
								goes_lengthof(event_columns));
}

/* ---------------------------------------------------------------------------
 * Store
 * ---------------------------------------------------------------------------
 */

/* goes_event_prepare_append: the statement that goes_event_append runs. */
SPIPlanPtr
goes_event_prepare_append(Oid events)
{
	static const Oid argtypes[] = {
		INT8OID, UUIDOID, UUIDOID, INT8OID, TEXTOID, INT4OID,
		JSONBOID, JSONBOID, UUIDOID, BOOLOID, TIMESTAMPTZOID
	};

	return goes_prepare(psprintf("INSERT INTO %s (" EVENT_COLUMNS ") VALUES"
								 " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
								 goes_relation_name(events)),
						goes_lengthof(argtypes), argtypes);
}

/*
 * goes_event_attributes
 *		The attribute numbers of the columns that goes stores, if the table has
 *		these alone; else NULL.
 */
AttrNumber *
goes_event_attributes(Relation events)
{
	TupleDesc	desc = RelationGetDescr(events);
	AttrNumber *attnums = palloc(goes_lengthof(event_columns) * sizeof(AttrNumber));
	int			ncolumns = 0;

	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped)
			ncolumns++;
	}
	if (ncolumns != goes_lengthof(event_columns))
		return NULL;
	for (int i = 0; i < ncolumns; i++)
	{
		attnums[i] = SPI_fnumber(desc, event_columns[i].name);
		if (attnums[i] <= 0 || TupleDescAttr(desc, attnums[i] - 1)->attidentity != '\0')
			return NULL;
	}
	return attnums;
}

static void
report_trigger(Relation events, const GoesEvent *event, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOES_NOT_APPLICABLE),
			 errmsg("a trigger of table \"%s\" %s the event that goes wrote",
					RelationGetRelationName(events), what),
			 errdetail("The event is \"%s.%s.%d\", version " INT64_FORMAT " of aggregate %s.",
					   event->aggregate_type, event->action,
					   event->event_version, event->aggregate_version,
					   goes_uuid_string(&event->aggregate_id)),
			 errhint("A BEFORE trigger may only look at an event or raise an error."),
			 errtable(events)));
}

static bool
jsonb_equal(Jsonb *a, Jsonb *b)
{
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

static bool
has_command_id(TupleDesc desc, HeapTuple row, const pg_uuid_t *command_id)
{
	bool		isnull;
	Datum		stored = SPI_getbinval(row, desc, SPI_fnumber(desc, "command_id"),
									   &isnull);

	return command_id == NULL ? isnull :
		!isnull && goes_uuid_equal(DatumGetUUIDP(stored), command_id);
}

/* Was the event stored as it is? */
static void
check_stored(const GoesAggregateType *type, Relation events,
			 const GoesEvent *event, const pg_uuid_t *command_id, bool imported)
{
	GoesEvent  *stored = goes_event_read(type, events, event->position);
	HeapTuple	row = stored ? SPI_tuptable->vals[0] : NULL;

	if (stored == NULL ||
		goes_event_is_imported(SPI_tuptable->tupdesc, row) != imported ||
		!has_command_id(SPI_tuptable->tupdesc, row, command_id) ||
		!goes_uuid_equal(&stored->id, &event->id) ||
		!goes_uuid_equal(&stored->aggregate_id, &event->aggregate_id) ||
		stored->aggregate_version != event->aggregate_version ||
		strcmp(stored->action, event->action) != 0 ||
		stored->event_version != event->event_version ||
		stored->recorded_at != event->recorded_at ||
		!jsonb_equal(stored->data, event->data) ||
		!jsonb_equal(stored->metadata, event->metadata))
		report_trigger(events, event, "changed");
}

/* goes_event_context: an error context callback, whose argument is a GoesEvent. */
void
goes_event_context(void *arg)
{
	const GoesEvent *event = arg;

	errcontext("goes event \"%s.%s.%d\", version " INT64_FORMAT " of aggregate %s",
			   event->aggregate_type, event->action, event->event_version,
			   event->aggregate_version, goes_uuid_string(&event->aggregate_id));
}

/* Store it without a statement if that is possible. */
static bool
append_plain(const GoesLayout *layout, Relation events, const Datum *values,
			 const bool *nulls)
{
	int			natts = RelationGetNumberOfAttributes(events);
	Datum	   *row;
	bool	   *row_nulls;

	if (layout->event_columns == NULL)
		return false;
	row = palloc0(natts * sizeof(Datum));
	row_nulls = palloc(natts * sizeof(bool));
	memset(row_nulls, true, natts * sizeof(bool));
	for (int i = 0; i < goes_lengthof(event_columns); i++)
	{
		row[layout->event_columns[i] - 1] = values[i];
		row_nulls[layout->event_columns[i] - 1] = nulls[i];
	}
	return goes_row_insert(events, row, row_nulls);
}

/* By statement; returns false if a trigger suppressed it. */
static bool
append_by_statement(const GoesLayout *layout, Relation events,
					const GoesEvent *event, Datum *values, const bool *nulls)
{
	char		spi_nulls[goes_lengthof(event_columns)];

	for (int i = 0; i < goes_lengthof(event_columns); i++)
		spi_nulls[i] = nulls[i] ? 'n' : ' ';
	goes_guard_expect(RelationGetRelid(events), &event->id, 1);
	if (SPI_execute_plan(layout->append, values, spi_nulls, false, 0) < 0)
		elog(ERROR, "could not write events table \"%s\"",
			 RelationGetRelationName(events));
	goes_guard_forget();
	return SPI_processed > 0;
}

/*
 * goes_event_append
 *		Store an event as the current user, which fires the sync reactors.
 *		command_id may be NULL.
 */
void
goes_event_append(const GoesAggregateType *type, Relation events,
				  const GoesEvent *event, const pg_uuid_t *command_id,
				  bool imported)
{
	Datum		values[] = {
		Int64GetDatum(event->position),
		UUIDPGetDatum(&event->id),
		UUIDPGetDatum(&event->aggregate_id),
		Int64GetDatum(event->aggregate_version),
		CStringGetTextDatum(event->action),
		Int32GetDatum(event->event_version),
		JsonbPGetDatum(event->data),
		JsonbPGetDatum(event->metadata),
		UUIDPGetDatum(command_id),
		BoolGetDatum(imported),
		TimestampTzGetDatum(event->recorded_at)
	};
	bool		nulls[goes_lengthof(event_columns)] = {false};
	bool		stored;
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = goes_event_context,
		.arg = unconstify(GoesEvent *, event)
	};

	nulls[8] = command_id == NULL;
	error_context_stack = &context;
	stored = append_plain(type->layout, events, values, nulls) ||
		append_by_statement(type->layout, events, event, values, nulls);
	error_context_stack = context.previous;
	if (!stored)
		report_trigger(events, event, "suppressed");
	if (goes_may_be_changed(events))
		check_stored(type, events, event, command_id, imported);
}

static SPIPlanPtr
prepare_import(Oid events)
{
	Oid			argtype = get_array_type(goes_objects()->event_type);

	return goes_prepare_cursor(psprintf("INSERT INTO %s (" EVENT_COLUMNS ")"
										" SELECT position, id, aggregate_id, aggregate_version,"
										" action, event_version, data, metadata,"
										" NULL::pg_catalog.uuid, true, recorded_at"
										" FROM pg_catalog.unnest($1)",
										goes_relation_name(events)),
							   1, &argtype, CURSOR_OPT_GENERIC_PLAN);
}

/*
 * goes_events_import
 *		Store events as imported ones, in their order, with one statement.  Only
 *		for a table that has no triggers which may change them
 *		(goes_may_be_changed).
 */
void
goes_events_import(const GoesAggregateType *type, Relation events,
				   const GoesEvent *imported, int count)
{
	GoesLayout *layout = type->layout;
	Oid			event_type = goes_objects()->event_type;
	Datum	   *rows = palloc(count * sizeof(Datum));
	pg_uuid_t  *ids = palloc(count * sizeof(pg_uuid_t));
	Datum		arg;

	for (int i = 0; i < count; i++)
	{
		rows[i] = goes_event_to_datum(&imported[i], false);
		ids[i] = imported[i].id;
	}
	arg = PointerGetDatum(construct_array(rows, count, event_type, -1, false,
										  TYPALIGN_DOUBLE));
	if (layout->import == NULL)
		layout->import = prepare_import(RelationGetRelid(events));
	goes_guard_expect(RelationGetRelid(events), ids, count);
	if (SPI_execute_plan(layout->import, &arg, NULL, false, 0) != SPI_OK_INSERT ||
		SPI_processed != (uint64) count)
		elog(ERROR, "could not write events table \"%s\"",
			 RelationGetRelationName(events));
	goes_guard_forget();
}

/* ---------------------------------------------------------------------------
 * Read
 * ---------------------------------------------------------------------------
 */

static Datum
get_column(TupleDesc desc, HeapTuple row, const char *name)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, SPI_fnumber(desc, name), &isnull);

	if (isnull || SPI_result != 0)
		elog(ERROR, "column \"%s\" of an events table is missing or null", name);
	return value;
}

/*
 * goes_event_from_row
 *		Make an event of a row of an events table, in the current context.  It
 *		has no transient data.
 */
GoesEvent *
goes_event_from_row(const char *aggregate_type, TupleDesc desc, HeapTuple row)
{
	GoesEvent  *event = palloc0(sizeof(GoesEvent));

	event->position = DatumGetInt64(get_column(desc, row, "position"));
	event->id = *DatumGetUUIDP(get_column(desc, row, "id"));
	event->aggregate_type = aggregate_type;
	event->aggregate_id = *DatumGetUUIDP(get_column(desc, row, "aggregate_id"));
	event->aggregate_version = DatumGetInt64(get_column(desc, row, "aggregate_version"));
	event->action = TextDatumGetCString(get_column(desc, row, "action"));
	event->event_version = DatumGetInt32(get_column(desc, row, "event_version"));
	event->data = DatumGetJsonbPCopy(get_column(desc, row, "data"));
	event->metadata = DatumGetJsonbPCopy(get_column(desc, row, "metadata"));
	event->recorded_at = DatumGetTimestampTz(get_column(desc, row, "recorded_at"));
	return event;
}

/* goes_event_columns: what to select for goes_event_from_columns. */
char *
goes_event_columns(void)
{
	return EVENT_COLUMNS;
}

/*
 * goes_event_from_columns
 *		The same for a row of the columns of goes_event_columns.  What is passed
 *		by reference stays in the row where that is possible.
 */
GoesEvent *
goes_event_from_columns(const char *aggregate_type, TupleDesc desc, HeapTuple row)
{
	GoesEvent  *event = palloc0(sizeof(GoesEvent));
	Datum		values[11];
	bool		nulls[11];

	heap_deform_tuple(row, desc, values, nulls);
	event->position = DatumGetInt64(values[0]);
	event->id = *DatumGetUUIDP(values[1]);
	event->aggregate_type = aggregate_type;
	event->aggregate_id = *DatumGetUUIDP(values[2]);
	event->aggregate_version = DatumGetInt64(values[3]);
	event->action = TextDatumGetCString(values[4]);
	event->event_version = DatumGetInt32(values[5]);
	event->data = DatumGetJsonbP(values[6]);
	event->metadata = DatumGetJsonbP(values[7]);
	event->recorded_at = DatumGetTimestampTz(values[10]);
	return event;
}

/* goes_event_is_imported: was the stored event appended by an import? */
bool
goes_event_is_imported(TupleDesc desc, HeapTuple row)
{
	return DatumGetBool(get_column(desc, row, "imported"));
}

/*
 * goes_event_read
 *		Read the event at a position whoever the current user is (the caller
 *		has made sure that he may see it); NULL if there is none.  The result is
 *		in the SPI context, to which the caller is connected.
 */
GoesEvent *
goes_event_read(const GoesAggregateType *type, Relation events, int64 position)
{
	Oid			argtype = INT8OID;
	Datum		arg = Int64GetDatum(position);
	GoesRole	before = goes_become(events->rd_rel->relowner);
	char	   *sql = psprintf("SELECT " EVENT_COLUMNS " FROM %s"
							   " WHERE position OPERATOR(pg_catalog.=) $1",
							   goes_relation_name(RelationGetRelid(events)));

	if (SPI_execute_with_args(sql, 1, &argtype, &arg, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read events table \"%s\"",
			 RelationGetRelationName(events));
	goes_unbecome(before);
	if (SPI_processed == 0)
		return NULL;
	return goes_event_from_row(type->name, SPI_tuptable->tupdesc,
							   SPI_tuptable->vals[0]);
}

/* ---------------------------------------------------------------------------
 * As an SQL value and as JSON
 * ---------------------------------------------------------------------------
 */

/*
 * goes_event_to_record
 *		The event as a goes_event, to be released.  Calculators get it without
 *		transient data, since a replay does not have that either.
 */
GoesRecord
goes_event_to_record(const GoesEvent *event, bool with_transient)
{
	GoesRecord	record = goes_record_create_of(goes_objects()->event_type);
	Datum	   *values = record.values;

	memset(record.nulls, false, FIELD_COUNT * sizeof(bool));
	values[FIELD_POSITION] = Int64GetDatum(event->position);
	values[FIELD_ID] = UUIDPGetDatum(&event->id);
	values[FIELD_AGGREGATE_TYPE] = CStringGetTextDatum(event->aggregate_type);
	values[FIELD_AGGREGATE_ID] = UUIDPGetDatum(&event->aggregate_id);
	values[FIELD_AGGREGATE_VERSION] = Int64GetDatum(event->aggregate_version);
	values[FIELD_ACTION] = CStringGetTextDatum(event->action);
	values[FIELD_EVENT_VERSION] = Int32GetDatum(event->event_version);
	values[FIELD_DATA] = JsonbPGetDatum(event->data);
	values[FIELD_METADATA] = JsonbPGetDatum(event->metadata);
	values[FIELD_TRANSIENT] = JsonbPGetDatum(event->transient);
	record.nulls[FIELD_TRANSIENT] = event->transient == NULL || !with_transient;
	values[FIELD_RECORDED_AT] = TimestampTzGetDatum(event->recorded_at);
	record.expanded = true;
	return record;
}

/* goes_event_to_datum: the same as one value. */
Datum
goes_event_to_datum(const GoesEvent *event, bool with_transient)
{
	GoesRecord	record = goes_event_to_record(event, with_transient);
	Datum		result = goes_record_to_datum(&record);

	goes_record_release(&record);
	return result;
}

/* goes_event_to_jsonb: all fields but transient; the time in ISO 8601. */
Jsonb *
goes_event_to_jsonb(const GoesEvent *event)
{
	JsonbParseState *state = NULL;
	char		recorded_at[MAXDATELEN + 1];

	JsonEncodeDateTime(recorded_at, TimestampTzGetDatum(event->recorded_at),
					   TIMESTAMPTZOID, NULL);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	/* In the order in which jsonb stores keys, which then need not be sorted */
	goes_push_uuid(&state, "id", &event->id);
	goes_push_jsonb(&state, "data", event->data);
	goes_push_string(&state, "action", event->action);
	goes_push_jsonb(&state, "metadata", event->metadata);
	goes_push_integer(&state, "position", event->position);
	goes_push_string(&state, "recorded_at", recorded_at);
	goes_push_uuid(&state, "aggregate_id", &event->aggregate_id);
	goes_push_integer(&state, "event_version", event->event_version);
	goes_push_string(&state, "aggregate_type", event->aggregate_type);
	goes_push_integer(&state, "aggregate_version", event->aggregate_version);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
