/*-------------------------------------------------------------------------
 *
 * aggregate.c
 *	  The current state of an aggregate: a row of its table.
 *
 * A state holds the row's values by attribute number, with dropped columns as
 * NULL.  Values that were not changed keep their TOAST pointers, so that a
 * large value is neither read nor written again for nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "aggregate.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "guard.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "relation.h"
#include "rewrite/rewriteHandler.h"
#include "role.h"
#include "row.h"
#include "settings.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "uuid.h"

static const GoesRequiredColumn base_columns[] = {
	{"id", UUIDOID, true, false},
	{"version", INT8OID, true, false},
	{"created_at", TIMESTAMPTZOID, true, false},
	{"updated_at", TIMESTAMPTZOID, true, false},
	{"deleted_at", TIMESTAMPTZOID, false, false}
};

/* goes_is_base_column: is it one of goes_base_aggregate? */
bool
goes_is_base_column(const char *name)
{
	return goes_is_required(base_columns, goes_lengthof(base_columns), name);
}

/* goes_missing_base_columns: what a table lacks to be an aggregate table. */
char *
goes_missing_base_columns(Relation relation)
{
	return goes_missing_columns(relation, base_columns,
								goes_lengthof(base_columns));
}

/*
 * goes_unique_ids
 *		The unique indexes on the id alone, for ON CONFLICT (id); NIL if there are
 *		none, or if one is deferrable, at which that takes offence.
 */
List *
goes_unique_ids(Relation relation)
{
	AttrNumber	id = SPI_fnumber(RelationGetDescr(relation), "id");
	List	   *indexes = NIL;
	bool		deferrable = false;
	ListCell   *cell;

	foreach(cell, RelationGetIndexList(relation))
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID,
											ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);

		if (index->indisunique && index->indisvalid &&
			index->indnkeyatts == 1 && index->indkey.values[0] == id &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
		{
			indexes = lappend_oid(indexes, index->indexrelid);
			deferrable |= !index->indimmediate;
		}
		ReleaseSysCache(tuple);
	}
	return deferrable ? NIL : indexes;
}

/* ---------------------------------------------------------------------------
 * The layout
 * ---------------------------------------------------------------------------
 */

/*
 * The cast that an assignment to the column implies for a value of its own
 * type: that to varchar(42), numeric(10,2)[], ...  NULL if there is none.
 */
static ExprState *
make_fit(GoesLayout *layout, Form_pg_attribute att)
{
	ParamListInfo params = layout->econtext->ecxt_param_list_info;
	Param	   *value = makeNode(Param);
	Node	   *cast;

	if (att->atttypmod < 0)
		return NULL;
	value->paramkind = PARAM_EXTERN;
	value->paramid = 1;
	value->paramtype = att->atttypid;
	value->paramtypmod = -1;
	value->paramcollid = att->attcollation;
	value->location = -1;
	cast = coerce_to_target_type(NULL, (Node *) value, att->atttypid,
								 att->atttypid, att->atttypmod,
								 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (cast == NULL || cast == (Node *) value)
		return NULL;
	return ExecInitExprWithParams(expression_planner((Expr *) cast), params);
}

/* The expression of a generated column, over the row; else NULL. */
static ExprState *
make_generate(Relation relation, Form_pg_attribute att)
{
	Node	   *expression;

	if (att->attgenerated == '\0')
		return NULL;
	expression = goes_generation_expression(relation, att->attnum);
	return ExecInitExpr(expression_planner((Expr *) expression), NULL);
}

static void
describe_column(GoesLayout *layout, Relation relation, GoesColumn *column,
				Form_pg_attribute att, MemoryContext context)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	column->attnum = att->attnum;
	column->base = goes_is_base_column(NameStr(att->attname));
	column->stored = att->attgenerated == '\0' && att->attidentity == '\0';
	column->generate = make_generate(relation, att);
	column->fit = make_fit(layout, att);
	column->domain = get_typtype(att->atttypid) == TYPTYPE_DOMAIN ?
		att->atttypid : InvalidOid;
	MemoryContextSwitchTo(oldcontext);
}

/*
 * The value that a column has in the initial state: its default if that is
 * immutable (a replay must find the same), else NULL.
 */
static void
set_initial_value(GoesLayout *layout, Relation relation, const GoesColumn *column,
				  MemoryContext context)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(relation),
										  column->attnum - 1);
	int			i = column->attnum - 1;
	Node	   *expression;
	EState	   *estate;
	ExprState  *state;
	Datum		value;
	int			settings;

	layout->initial_nulls[i] = true;
	if (!column->stored || column->base)
		return;
	expression = build_column_default(relation, column->attnum);
	if (expression == NULL || contain_mutable_functions(expression))
		return;

	settings = goes_fix_settings();
	estate = CreateExecutorState();
	state = ExecPrepareExpr((Expr *) expression, estate);
	value = ExecEvalExprSwitchContext(state, GetPerTupleExprContext(estate),
									  &layout->initial_nulls[i]);
	goes_restore_settings(settings);
	if (!layout->initial_nulls[i])
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(context);

		layout->initial_values[i] = datumCopy(value, att->attbyval, att->attlen);
		MemoryContextSwitchTo(oldcontext);
	}
	FreeExecutorState(estate);
}

static const char *
column_name(Relation relation, AttrNumber attnum)
{
	return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(relation),
												  attnum - 1)->attname));
}

/* Append the names of all columns, or of those that goes writes. */
static void
append_columns(StringInfo sql, const GoesLayout *layout, Relation relation,
			   bool stored_only)
{
	const char *separator = "";

	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (stored_only && !layout->columns[i].stored)
			continue;
		appendStringInfo(sql, "%s%s", separator,
						 column_name(relation, layout->columns[i].attnum));
		separator = ", ";
	}
}

static void
append_returning(StringInfo sql, const GoesLayout *layout, Relation relation)
{
	if (!layout->returning)
		return;
	appendStringInfoString(sql, " RETURNING ");
	append_columns(sql, layout, relation, false);
}

/* goes_aggregate_columns: what to select for goes_state_from_row. */
char *
goes_aggregate_columns(const GoesLayout *layout, Relation aggregate)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_columns(&sql, layout, aggregate, false);
	return sql.data;
}

/* goes_aggregate_column: the number of an attribute among these, from 1. */
int
goes_aggregate_column(const GoesLayout *layout, AttrNumber attnum)
{
	int			column = 0;

	while (layout->columns[column].attnum != attnum)
		column++;
	return column + 1;
}

static char *
read_sql(const GoesLayout *layout, Relation relation, const char *lock)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_columns(&sql, layout, relation, false);
	appendStringInfo(&sql, " FROM %s WHERE id OPERATOR(pg_catalog.=) $1%s",
					 goes_relation_name(RelationGetRelid(relation)), lock);
	return sql.data;
}

static char *
insert_sql(const GoesLayout *layout, Relation relation)
{
	StringInfoData sql;
	int			nparams = 0;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (", goes_relation_name(RelationGetRelid(relation)));
	append_columns(&sql, layout, relation, true);
	appendStringInfoString(&sql, ") VALUES (");
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (!layout->columns[i].stored)
			continue;
		appendStringInfo(&sql, "%s$%d", nparams > 0 ? ", " : "", nparams + 1);
		nparams++;
	}
	appendStringInfoString(&sql, ") ON CONFLICT (id) DO NOTHING");
	append_returning(&sql, layout, relation);
	return sql.data;
}

static char *
update_sql(const GoesLayout *layout, Relation relation)
{
	StringInfoData sql;
	int			nparams = 0;
	const char *separator = "";
	int			id_param = 0;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s SET ", goes_relation_name(RelationGetRelid(relation)));
	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (!layout->columns[i].stored)
			continue;
		nparams++;
		if (layout->columns[i].attnum == layout->id)
		{
			id_param = nparams;
			continue;
		}
		appendStringInfo(&sql, "%s%s = $%d", separator,
						 column_name(relation, layout->columns[i].attnum),
						 nparams);
		separator = ", ";
	}
	appendStringInfo(&sql, " WHERE id OPERATOR(pg_catalog.=) $%d"
					 " AND version OPERATOR(pg_catalog.=) $%d",
					 id_param, nparams + 1);
	append_returning(&sql, layout, relation);
	return sql.data;
}

/*
 * Prepare a statement that finds its row by index.  The plan is made now, when
 * sequential scans can be ruled out: a plan made while the table is small must
 * serve when it has grown.  A partitioned table is left to the planner, which
 * may prune better with the values at hand.
 */
static SPIPlanPtr
prepare_by_index(const char *sql, int nargs, const Oid *argtypes, bool partitioned)
{
	SPIPlanPtr	plan = goes_prepare_cursor(sql, nargs, argtypes,
										   partitioned ? 0 : CURSOR_OPT_GENERIC_PLAN);
	CachedPlan *generic;
	int			nestlevel;

	if (partitioned)
		return plan;
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	generic = SPI_plan_get_cached_plan(plan);
	if (generic != NULL)
		ReleaseCachedPlan(generic, CurrentResourceOwner);
	AtEOXact_GUC(true, nestlevel);
	return plan;
}

static void
prepare_statements(GoesLayout *layout, Relation aggregate, Relation events)
{
	TupleDesc	desc = RelationGetDescr(aggregate);
	bool		partitioned = aggregate->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	Oid		   *argtypes = palloc((layout->ncolumns + 1) * sizeof(Oid));
	Oid			id = UUIDOID;
	int			nargs = 0;

	for (int i = 0; i < layout->ncolumns; i++)
	{
		if (layout->columns[i].stored)
			argtypes[nargs++] = TupleDescAttr(desc, layout->columns[i].attnum - 1)->atttypid;
	}
	layout->read = prepare_by_index(read_sql(layout, aggregate, ""),
									1, &id, partitioned);
	layout->lock = prepare_by_index(read_sql(layout, aggregate,
											 " FOR NO KEY UPDATE"),
									1, &id, partitioned);
	layout->insert = goes_prepare(insert_sql(layout, aggregate), nargs, argtypes);
	argtypes[nargs] = INT8OID;
	layout->update = prepare_by_index(update_sql(layout, aggregate),
									  nargs + 1, argtypes, partitioned);
	layout->append = goes_event_prepare_append(RelationGetRelid(events));
}

static void
free_statements(void *arg)
{
	GoesLayout *layout = arg;
	SPIPlanPtr	plans[] = {
		layout->read, layout->lock, layout->lock_many, layout->insert,
		layout->update, layout->append, layout->import
	};

	for (int i = 0; i < goes_lengthof(plans); i++)
	{
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
	}
}

/* What is needed to do without the statements, where that is possible */
static void
describe_plain_rows(GoesLayout *layout, Relation aggregate, Relation events)
{
	layout->unique_ids = goes_unique_ids(aggregate);
	layout->plain = goes_rows_are_plain(aggregate) && !layout->returning &&
		layout->unique_ids != NIL;
	for (int i = 0; i < layout->ncolumns; i++)
	{
		AttrNumber	attnum = layout->columns[i].attnum;

		if (layout->columns[i].stored && attnum != layout->id)
			layout->written = bms_add_member(layout->written,
											 attnum - FirstLowInvalidHeapAttributeNumber);
	}
	if (goes_rows_are_plain(events))
		layout->event_columns = goes_event_attributes(events);
}

static GoesLayout *
make_layout(GoesAggregateType *type, Relation aggregate, Relation events)
{
	TupleDesc	desc = RelationGetDescr(aggregate);
	MemoryContext oldcontext = MemoryContextSwitchTo(type->context);
	GoesLayout *layout = palloc0(sizeof(GoesLayout));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	callback->func = free_statements;
	callback->arg = layout;
	MemoryContextRegisterResetCallback(type->context, callback);
	layout->context = type->context;
	layout->natts = desc->natts;
	layout->columns = palloc0(desc->natts * sizeof(GoesColumn));
	layout->initial_values = palloc0(desc->natts * sizeof(Datum));
	layout->initial_nulls = palloc0(desc->natts * sizeof(bool));
	layout->econtext = CreateStandaloneExprContext();
	layout->econtext->ecxt_param_list_info = makeParamList(1);
	MemoryContextSwitchTo(oldcontext);

	layout->id = SPI_fnumber(desc, "id");
	layout->version = SPI_fnumber(desc, "version");
	layout->created_at = SPI_fnumber(desc, "created_at");
	layout->updated_at = SPI_fnumber(desc, "updated_at");
	layout->deleted_at = SPI_fnumber(desc, "deleted_at");
	layout->returning = goes_may_be_changed(aggregate);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		GoesColumn *column = &layout->columns[layout->ncolumns];

		layout->initial_nulls[i] = true;
		if (att->attisdropped)
			continue;
		describe_column(layout, aggregate, column, att, type->context);
		set_initial_value(layout, aggregate, column, type->context);
		layout->computes |= !column->stored;
		layout->ncolumns++;
	}
	layout->returning |= layout->computes;
	prepare_statements(layout, aggregate, events);
	oldcontext = MemoryContextSwitchTo(type->context);
	describe_plain_rows(layout, aggregate, events);
	MemoryContextSwitchTo(oldcontext);
	return layout;
}

/* A rule could turn what goes writes into something else, or nothing. */
static void
check_no_rules(Relation relation)
{
	if (relation->rd_rules != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" has rules", RelationGetRelationName(relation)),
				 errdetail("goes cannot write to a table with rules."),
				 errhint("Use triggers."),
				 errtable(relation)));
}

/*
 * goes_layout
 *		How to read and write the type's tables, both of which are open and
 *		locked.  The caller is connected to SPI.
 */
GoesLayout *
goes_layout(GoesAggregateType *type, Relation aggregate, Relation events)
{
	if (type->layout == NULL)
	{
		char	   *missing = goes_missing_base_columns(aggregate);

		check_no_rules(aggregate);
		check_no_rules(events);
		if (missing != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("aggregate table \"%s\" lacks base columns",
							RelationGetRelationName(aggregate)),
					 errdetail("It lacks these columns: %s.", missing),
					 errtable(aggregate)));
		type->layout = make_layout(type, aggregate, events);
	}
	return type->layout;
}

/*
 * goes_open_tables
 *		Open the tables of a type, which must be registered (OG008), and make its
 *		layout; returns the type as it is once they are locked.  The caller is
 *		connected to SPI, and closes them.
 */
GoesAggregateType *
goes_open_tables(const char *name, LOCKMODE lockmode, Relation *aggregate,
				 Relation *events)
{
	GoesAggregateType *type = goes_get_aggregate_type(name);

	for (;;)
	{
		Oid			aggregate_id = type->relation;
		Oid			events_id = type->events;

		*aggregate = table_open(aggregate_id, lockmode);
		*events = table_open(events_id, AccessShareLock);
		type = goes_get_aggregate_type(name);
		if (type->relation == aggregate_id && type->events == events_id)
			break;
		table_close(*events, NoLock);
		table_close(*aggregate, NoLock);
		CHECK_FOR_INTERRUPTS();
	}
	(void) goes_layout(type, *aggregate, *events);
	return type;
}

/* ---------------------------------------------------------------------------
 * Load
 * ---------------------------------------------------------------------------
 */

static GoesState *
make_state(const GoesLayout *layout, Relation aggregate, const pg_uuid_t *id)
{
	GoesState  *state = palloc0(sizeof(GoesState));
	Size		size = layout->natts * sizeof(Datum);

	state->id = *id;
	state->row.tupdesc = RelationGetDescr(aggregate);
	state->row.values = palloc0(size);
	state->row.nulls = palloc(layout->natts * sizeof(bool));
	memset(state->row.nulls, true, layout->natts * sizeof(bool));
	state->loaded = palloc0(size);
	return state;
}

/* goes_state_reset: make it the initial state of an aggregate without events. */
void
goes_state_reset(const GoesLayout *layout, GoesState *state, const pg_uuid_t *id)
{
	state->id = *id;
	state->exists = false;
	state->version = 0;
	state->deleted = false;
	state->composite = (Datum) 0;
	memcpy(state->row.values, layout->initial_values,
		   layout->natts * sizeof(Datum));
	memcpy(state->row.nulls, layout->initial_nulls,
		   layout->natts * sizeof(bool));
	state->row.values[layout->id - 1] = UUIDPGetDatum(&state->id);
	state->row.nulls[layout->id - 1] = false;
	state->row.values[layout->version - 1] = Int64GetDatum(0);
	state->row.nulls[layout->version - 1] = false;
}

/*
 * goes_initial_state
 *		The state of an aggregate that has no event yet, in the current context.
 */
GoesState *
goes_initial_state(const GoesLayout *layout, Relation aggregate,
				   const pg_uuid_t *id)
{
	GoesState  *state = make_state(layout, aggregate, id);

	goes_state_reset(layout, state, id);
	return state;
}

/* Take a row that has the columns of the layout. */
static void
take_row(const GoesLayout *layout, HeapTuple tuple, TupleDesc desc,
		 Datum *values, bool *nulls)
{
	for (int i = 0; i < layout->ncolumns; i++)
	{
		int			target = layout->columns[i].attnum - 1;

		values[target] = heap_getattr(tuple, i + 1, desc, &nulls[target]);
	}
}

/*
 * goes_state_from_row
 *		The state of an aggregate from a row of goes_aggregate_columns(), in the
 *		current context; what is passed by reference stays in the row.
 */
GoesState *
goes_state_from_row(const GoesLayout *layout, Relation aggregate,
					HeapTuple tuple, TupleDesc desc)
{
	pg_uuid_t	id = {0};
	GoesState  *state = make_state(layout, aggregate, &id);

	take_row(layout, tuple, desc, state->row.values, state->row.nulls);
	memcpy(state->loaded, state->row.values, layout->natts * sizeof(Datum));
	state->id = *DatumGetUUIDP(state->row.values[layout->id - 1]);
	goes_state_advance(layout, state);
	return state;
}

/* The same from a row of the table itself. */
static GoesState *
state_from_tuple(const GoesLayout *layout, Relation aggregate,
				 const pg_uuid_t *id, HeapTuple row)
{
	GoesState  *state = make_state(layout, aggregate, id);

	heap_deform_tuple(row, state->row.tupdesc, state->row.values, state->row.nulls);
	for (int i = 0; i < layout->natts; i++)
	{
		if (TupleDescAttr(state->row.tupdesc, i)->attisdropped)
			state->row.nulls[i] = true;
	}
	memcpy(state->loaded, state->row.values, layout->natts * sizeof(Datum));
	state->tid = row->t_self;
	goes_state_advance(layout, state);
	return state;
}

/*
 * goes_state_advance
 *		The state is that of its row by now: note the row's version and so on.
 */
void
goes_state_advance(const GoesLayout *layout, GoesState *state)
{
	state->exists = true;
	state->created_at = DatumGetTimestampTz(state->row.values[layout->created_at - 1]);
	state->version = DatumGetInt64(state->row.values[layout->version - 1]);
	state->updated_at = DatumGetTimestampTz(state->row.values[layout->updated_at - 1]);
	state->deleted = !state->row.nulls[layout->deleted_at - 1];
}

/* goes_state_copy: a copy of all values, in the current memory context. */
GoesState *
goes_state_copy(const GoesLayout *layout, Relation aggregate,
				const GoesState *state)
{
	GoesState  *copy = make_state(layout, aggregate, &state->id);

	for (int i = 0; i < layout->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(state->row.tupdesc, i);

		copy->row.nulls[i] = state->row.nulls[i];
		if (!state->row.nulls[i])
			copy->row.values[i] = datumCopy(state->row.values[i], att->attbyval,
											att->attlen);
	}
	if (state->exists)
		goes_state_advance(layout, copy);
	return copy;
}

/*
 * goes_aggregate_load
 *		Read an aggregate as the current user, and lock it.  If there is none
 *		(or a policy hides it), the state is the initial one, and exists is
 *		false.  The state lives in the caller's SPI context.
 */
GoesState *
goes_aggregate_load(const GoesAggregateType *type, Relation aggregate,
					const pg_uuid_t *id, GoesLoad how)
{
	const GoesLayout *layout = type->layout;
	Datum		arg = UUIDPGetDatum(id);
	HeapTuple	row;

	if (layout->plain && how != GOES_LOAD_SEE &&
		goes_row_find(aggregate, linitial_oid(layout->unique_ids), id,
					  how == GOES_LOAD_LOCK, &row))
		return row == NULL ? goes_initial_state(layout, aggregate, id) :
			state_from_tuple(layout, aggregate, id, row);
	if (SPI_execute_plan(how == GOES_LOAD_LOCK ? layout->lock : layout->read,
						 &arg, NULL, how == GOES_LOAD_SEE, 2) != SPI_OK_SELECT)
		elog(ERROR, "could not read aggregate table \"%s\"",
			 RelationGetRelationName(aggregate));
	if (SPI_processed == 0)
		return goes_initial_state(layout, aggregate, id);
	return goes_state_from_row(layout, aggregate, SPI_tuptable->vals[0],
							   SPI_tuptable->tupdesc);
}

static SPIPlanPtr
prepare_lock_many(Relation aggregate)
{
	static const Oid argtype = UUIDARRAYOID;

	return prepare_by_index(psprintf("SELECT id FROM %s"
									 " WHERE id OPERATOR(pg_catalog.=) ANY ($1)"
									 " ORDER BY id FOR NO KEY UPDATE",
									 goes_relation_name(RelationGetRelid(aggregate))),
							1, &argtype,
							aggregate->rd_rel->relkind == RELKIND_PARTITIONED_TABLE);
}

/*
 * goes_aggregates_lock
 *		Lock those of the aggregates that exist, in the order of the ids, which are
 *		ascending and distinct; exist tells which they are.
 */
void
goes_aggregates_lock(const GoesAggregateType *type, Relation aggregate,
					 const pg_uuid_t *ids, int nids, bool *exist)
{
	GoesLayout *layout = type->layout;
	Datum	   *elements = palloc(nids * sizeof(Datum));
	Datum		arg;
	uint64		row = 0;

	for (int i = 0; i < nids; i++)
		elements[i] = UUIDPGetDatum(&ids[i]);
	arg = PointerGetDatum(construct_array(elements, nids, UUIDOID, UUID_LEN,
										  false, TYPALIGN_CHAR));
	if (layout->lock_many == NULL)
		layout->lock_many = prepare_lock_many(aggregate);
	if (SPI_execute_plan(layout->lock_many, &arg, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not lock rows of aggregate table \"%s\"",
			 RelationGetRelationName(aggregate));
	for (int i = 0; i < nids; i++)
	{
		bool		isnull;

		exist[i] = row < SPI_processed &&
			goes_uuid_equal(&ids[i],
							DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[row],
														SPI_tuptable->tupdesc,
														1, &isnull)));
		row += exist[i];
	}
}

/* ---------------------------------------------------------------------------
 * Change
 * ---------------------------------------------------------------------------
 */

/* goes_state_to_record: the state, which the record then refers to. */
GoesRecord
goes_state_to_record(GoesState *state)
{
	GoesRecord	record = {
		.desc = state->row.tupdesc,
		.values = state->row.values,
		.nulls = state->row.nulls,
		.expanded = state->composite == (Datum) 0,
		.composite = state->composite
	};

	return record;
}

/* goes_state_to_datum: the state as a value of the table's row type. */
Datum
goes_state_to_datum(GoesState *state)
{
	GoesRecord	record = goes_state_to_record(state);

	return goes_record_to_datum(&record);
}

/*
 * goes_state_expand
 *		Set the row of a state that has but its composite.
 */
void
goes_state_expand(GoesState *state)
{
	GoesRecord	record = goes_state_to_record(state);

	goes_record_expand(&record);
}

/* Is it the value that was loaded from TOAST storage? */
static bool
is_unchanged_toast(Form_pg_attribute att, Datum loaded, bool loaded_is_null,
				   Datum value, bool value_is_null)
{
	if (att->attlen != -1 || loaded_is_null || value_is_null ||
		loaded == (Datum) 0 ||
		!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(loaded)))
		return false;
	return value == loaded || datum_image_eq(loaded, value, false, -1);
}

/*
 * goes_state_from_record
 *		Take the state from a value of the table's row type, which is expanded.
 */
void
goes_state_from_record(GoesState *state, const GoesRecord *record)
{
	for (int i = 0; i < record->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(record->desc, i);

		if (att->attisdropped)
			continue;
		if (!is_unchanged_toast(att, state->loaded[i], state->row.nulls[i],
								record->values[i], record->nulls[i]))
			state->row.values[i] = record->values[i];
		state->row.nulls[i] = record->nulls[i];
	}
}

/* goes_state_from_datum: the same from a Datum. */
void
goes_state_from_datum(GoesState *state, Datum composite)
{
	GoesRecord	record = goes_record_create(state->row.tupdesc);

	record.composite = composite;
	goes_record_expand(&record);
	goes_state_from_record(state, &record);
}

/* Fit a value into varchar(n), numeric(p, s), ... as an assignment would. */
static void
fit_value(const GoesLayout *layout, GoesState *state, const GoesColumn *column)
{
	ParamExternData *param = &layout->econtext->ecxt_param_list_info->params[0];
	int			att = column->attnum - 1;

	param->value = state->row.values[att];
	param->isnull = false;
	param->pflags = 0;
	param->ptype = TupleDescAttr(state->row.tupdesc, att)->atttypid;
	state->row.values[att] = ExecEvalExpr(column->fit, layout->econtext,
										  &state->row.nulls[att]);
}

/*
 * goes_state_conform
 *		Make the values what the table will store: fitted to the columns' type
 *		modifiers and checked against domains, as an assignment in SQL does.
 */
void
goes_state_conform(const GoesLayout *layout, GoesState *state)
{
	for (int i = 0; i < layout->ncolumns; i++)
	{
		GoesColumn *column = &layout->columns[i];
		int			att = column->attnum - 1;

		if (!column->stored)
			continue;
		if (column->fit != NULL && !state->row.nulls[att] &&
			(state->loaded[att] == (Datum) 0 ||
			 state->row.values[att] != state->loaded[att]))
			fit_value(layout, state, column);
		if (OidIsValid(column->domain))
			domain_check(state->row.values[att], state->row.nulls[att],
						 column->domain, &column->domain_cache,
						 layout->context);
	}
}

/*
 * goes_state_complete
 *		Give a state that was calculated, but not stored, the columns that goes
 *		does not write: generated ones are computed, identities are those of the
 *		stored row.
 */
void
goes_state_complete(const GoesLayout *layout, GoesState *state,
					const GoesState *stored)
{
	ExprContext *econtext = layout->econtext;
	TupleTableSlot *slot = MakeSingleTupleTableSlot(state->row.tupdesc,
													&TTSOpsVirtual);

	memcpy(slot->tts_values, state->row.values, layout->natts * sizeof(Datum));
	memcpy(slot->tts_isnull, state->row.nulls, layout->natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	econtext->ecxt_scantuple = slot;
	for (int i = 0; i < layout->ncolumns; i++)
	{
		const GoesColumn *column = &layout->columns[i];
		int			att = column->attnum - 1;

		if (column->generate != NULL)
			state->row.values[att] = ExecEvalExpr(column->generate, econtext,
												  &state->row.nulls[att]);
		else if (!column->stored)
		{
			state->row.values[att] = stored->row.values[att];
			state->row.nulls[att] = stored->row.nulls[att];
		}
	}
	econtext->ecxt_scantuple = NULL;
	ExecDropSingleTupleTableSlot(slot);
}

/* ---------------------------------------------------------------------------
 * Store
 * ---------------------------------------------------------------------------
 */

static void
report_trigger(Relation aggregate, const GoesState *state, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOES_NOT_APPLICABLE),
			 errmsg("a trigger of table \"%s\" %s the row that goes wrote",
					RelationGetRelationName(aggregate), what),
			 errdetail("The aggregate is %s.", goes_uuid_string(&state->id)),
			 errhint("A BEFORE trigger may only look at an aggregate or raise an error; compute the state in the calculator."),
			 errtable(aggregate)));
}

/*
 * Take the row as stored: with the columns that are not ours, and with ours
 * unchanged.
 */
static void
take_stored_row(const GoesLayout *layout, Relation aggregate, GoesState *state)
{
	Datum	   *values = palloc0(layout->natts * sizeof(Datum));
	bool	   *nulls = palloc0(layout->natts * sizeof(bool));

	take_row(layout, SPI_tuptable->vals[0], SPI_tuptable->tupdesc, values, nulls);
	for (int i = 0; i < layout->ncolumns; i++)
	{
		GoesColumn *column = &layout->columns[i];
		int			att = column->attnum - 1;
		Form_pg_attribute form = TupleDescAttr(state->row.tupdesc, att);

		if (!column->stored)
		{
			state->row.values[att] = values[att];
			state->row.nulls[att] = nulls[att];
		}
		else if (nulls[att] != state->row.nulls[att] ||
				 (!nulls[att] && !datum_image_eq(values[att],
												 state->row.values[att],
												 form->attbyval, form->attlen)))
			report_trigger(aggregate, state, "changed");
	}
}

static void
add_param(ParamListInfo params, Oid type, Datum value, bool isnull)
{
	ParamExternData *param = &params->params[params->numParams++];

	param->ptype = type;
	param->value = value;
	param->isnull = isnull;
	param->pflags = 0;
}

/*
 * The parameters of the insert statement, the columns that goes writes, and
 * behind them those of the update statement.  Not marked as constants: the
 * planner would read a large value from TOAST to put it into a plan.
 */
static ParamListInfo
collect_params(const GoesLayout *layout, const GoesState *state)
{
	ParamListInfo params = makeParamList(layout->ncolumns + 1);

	params->numParams = 0;
	for (int i = 0; i < layout->ncolumns; i++)
	{
		int			att = layout->columns[i].attnum - 1;

		if (layout->columns[i].stored)
			add_param(params, TupleDescAttr(state->row.tupdesc, att)->atttypid,
					  state->row.values[att], state->row.nulls[att]);
	}
	if (state->exists)
		add_param(params, INT8OID, Int64GetDatum(state->version), false);
	return params;
}

/* Nothing was updated: the aggregate moved, or a trigger suppressed the row. */
static GoesStored
update_lost(const GoesAggregateType *type, Relation aggregate,
			const GoesState *state)
{
	GoesState  *now = goes_aggregate_load(type, aggregate, &state->id,
										  GOES_LOAD_READ);

	if (now->exists && now->version == state->version)
		report_trigger(aggregate, state, "suppressed");
	return GOES_MOVED;
}

/*
 * Nothing was inserted: the aggregate exists by now, even if a policy hides it.
 * Where triggers may have suppressed the row, make sure, with the owner's eyes.
 */
static GoesStored
insert_lost(const GoesAggregateType *type, Relation aggregate,
			const GoesState *state)
{
	GoesRole	before;
	bool		exists;

	if (!goes_may_be_changed(aggregate))
		return GOES_LOST_RACE;
	before = goes_become(aggregate->rd_rel->relowner);
	exists = goes_aggregate_load(type, aggregate, &state->id,
								 GOES_LOAD_READ)->exists;
	goes_unbecome(before);
	if (!exists)
		report_trigger(aggregate, state, "suppressed");
	return GOES_LOST_RACE;
}

/* Store it without a statement if that is possible. */
static bool
store_plain(const GoesLayout *layout, Relation aggregate, GoesState *state)
{
	if (!layout->plain)
		return false;
	if (!state->exists)
		return goes_row_insert_new(aggregate, layout->unique_ids,
								   state->row.values, state->row.nulls);
	return ItemPointerIsValid(&state->tid) &&
		goes_row_update(aggregate, &state->tid, layout->written,
						state->row.values, state->row.nulls);
}

/*
 * goes_aggregate_store
 *		Write the state, whose base columns are set already, as the current
 *		user; state->version is still the one that was loaded.
 */
GoesStored
goes_aggregate_store(const GoesAggregateType *type, Relation aggregate,
					 GoesState *state)
{
	const GoesLayout *layout = type->layout;

	if (store_plain(layout, aggregate, state))
		return GOES_STORED;
	goes_guard_expect(RelationGetRelid(aggregate), &state->id, 1);
	if (SPI_execute_plan_with_paramlist(state->exists ? layout->update : layout->insert,
										collect_params(layout, state), false, 0) < 0)
		elog(ERROR, "could not write aggregate table \"%s\"",
			 RelationGetRelationName(aggregate));
	goes_guard_forget();
	if (SPI_processed == 0)
		return state->exists ? update_lost(type, aggregate, state) :
			insert_lost(type, aggregate, state);
	if (layout->returning)
		take_stored_row(layout, aggregate, state);
	return GOES_STORED;
}
