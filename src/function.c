/*-------------------------------------------------------------------------
 *
 * function.c
 *	  User functions: found by name, called as planned expressions.
 *
 * A call through fmgr costs an SQL-language function dearly, so each function
 * is planned as an expression over parameters, in which the planner inlines
 * it if it can.  What the planner does depends on the role (who may execute
 * what is inlined), on the search path (under which the body is parsed) and on
 * the catalogs, so plans are kept by role and path, and forgotten when a
 * function, type, relation, operator, schema, role or membership changes.
 *
 * A function whose arguments are records is planned to read their columns, and
 * one that gives a row as ROW(...) to give its columns, so that no composite
 * value need be made and taken apart again.  Functions that are not inlined get
 * and give whole ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "function.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/params.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "settings.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

/* Plans kept for one function: sessions that change roles are rarely more */
#define MAX_PLANS 8

/*
 * Expressions that are ready to run.  Not reentrant, so a call takes them out
 * of their plan; a call inside that call makes another instance.
 */
typedef struct Instance
{
	MemoryContext context;
	List	   *states;			/* of the plan's results */
	ExprContext *econtext;
	ParamListInfo params;
	int			settings;		/* of goes_fix_settings, during a call */
} Instance;

/* A column of an argument, which is a parameter behind the arguments */
typedef struct Column
{
	int			arg;
	AttrNumber	attnum;
	Oid			type;
} Column;

typedef struct CallPlan
{
	struct CallPlan *next;
	MemoryContext context;
	Oid			role;
	GoesSearchPath *path;
	uint64		generation;
	bool		of_records;		/* arguments may be taken, results given by column */
	bool		reads_whole[GOES_MAX_ARGS]; /* arguments that are not */
	int			ncolumns;
	Column	   *columns;
	bool		by_column;		/* results are the columns of the result */
	List	   *results;		/* expressions */
	bool		fixes_settings; /* or they could give something else on replay */
	Instance   *idle;
	int			calls;			/* in progress; an error leaves it too high */
} CallPlan;

struct GoesFunction
{
	MemoryContext context;
	Oid			builtin;		/* a function of PostgreSQL's own, or InvalidOid */
	const char *name;			/* qualified, of any other */
	const char *purpose;		/* for errors: "calculator", ... */
	GoesSignature signature;
	CallPlan   *plans;			/* most recently used first */
};

/* Counts the catalog changes that may outdate a plan. */
static uint64 generation = 1;

static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	generation++;
}

/*
 * Any relation: it may be a composite type, or a table whose row type is, that
 * an expression has looked into.  Which ones it did is not known (functions keep
 * what they found out), so take each change for one of those.
 */
static void
relation_changed(Datum arg, Oid relation)
{
	generation++;
}

/* goes_function_init: to be called once in a process. */
void
goes_function_init(void)
{
	CacheRegisterSyscacheCallback(PROCOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(OPEROID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, catalog_changed, (Datum) 0);
	/* whose owner is the member of pg_database_owner */
	CacheRegisterSyscacheCallback(DATABASEOID, catalog_changed, (Datum) 0);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/* goes_function_generation: changes whenever a function may be another one. */
uint64
goes_function_generation(void)
{
	return generation;
}

/*
 * goes_retire
 *		Free a long-lived context at the end of the transaction, since callers
 *		further up the stack may still be using what is in it.
 */
void
goes_retire(MemoryContext context)
{
	MemoryContextSetParent(context, TopTransactionContext);
}

/* goes_function_spell: "name(argument types)". */
char *
goes_function_spell(const char *name, const GoesSignature *signature)
{
	StringInfoData string;

	initStringInfo(&string);
	appendStringInfo(&string, "%s(", name);
	for (int i = 0; i < signature->nargs; i++)
		appendStringInfo(&string, "%s%s", i > 0 ? ", " : "",
						 format_type_be(signature->argtypes[i]));
	appendStringInfoChar(&string, ')');
	return string.data;
}

static void
report_missing(const char *name, const GoesSignature *signature,
			   const char *purpose)
{
	char	   *spelled = goes_function_spell(name, signature);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("function %s does not exist", spelled),
			 errhint("The %s must be a function %s RETURNS %s.", purpose,
					 spelled, format_type_be(signature->result))));
}

/* Refuse what has the right arguments, but cannot be called as purpose wants. */
static void
check_callable(Oid function, const char *name, const GoesSignature *signature,
			   const char *purpose)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset ||
		proc->prorettype != signature->result)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot be used as %s",
						goes_function_spell(name, signature), purpose),
				 errhint("The %s must be a function %s RETURNS %s.", purpose,
						 goes_function_spell(name, signature),
						 format_type_be(signature->result))));
	if (isAnyTempNamespace(proc->pronamespace))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("temporary function %s cannot be used as %s",
						goes_function_spell(name, signature), purpose),
				 errhint("Create it in a schema that other sessions have too.")));
	ReleaseSysCache(tuple);
	if (!goes_may_execute(function, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, name);
}

/*
 * goes_function_parse_name
 *		Split a function's name as a user gives it; 42602 if it is none.
 */
List *
goes_function_parse_name(const char *name)
{
	char	   *copy = pstrdup(name);
	List	   *names;
	List	   *result = NIL;
	ListCell   *cell;

	/* The likeliest mistake is to give the arguments too */
	if (!SplitIdentifierString(copy, '.', &names) ||
		names == NIL || list_length(names) > 2 ||
		(strchr(name, '(') != NULL && strchr(name, '"') == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid function name \"%s\"", name),
				 errhint("Name a function without its arguments, with its schema if need be: create_user or app.create_user.")));
	foreach(cell, names)
		result = lappend(result, makeString(pstrdup(lfirst(cell))));
	return result;
}

/*
 * goes_function_find
 *		Find the function that a user named when registering it, on the current
 *		search path, with exactly the signature.  InvalidOid if there is none
 *		and purpose is NULL; otherwise that is an error, as are a wrong result
 *		type and a missing EXECUTE privilege.
 */
Oid
goes_function_find(const char *name, const GoesSignature *signature,
				   const char *purpose)
{
	List	   *names = goes_function_parse_name(name);
	Oid			function = LookupFuncName(names, signature->nargs,
										  signature->argtypes, true);

	if (purpose == NULL)
		return function;
	if (!OidIsValid(function))
		report_missing(name, signature, purpose);
	check_callable(function, name, signature, purpose);
	return function;
}

/*
 * goes_function_find_qualified
 *		Find a function by the qualified name under which it is registered;
 *		InvalidOid if there is none.  Needs no privilege on the schema.
 */
Oid
goes_function_find_qualified(const char *name, const GoesSignature *signature)
{
	List	   *names = goes_function_parse_name(name);
	Oid			namespace;

	if (list_length(names) != 2)
		return InvalidOid;
	namespace = get_namespace_oid(strVal(linitial(names)), true);
	if (!OidIsValid(namespace))
		return InvalidOid;
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(strVal(lsecond(names))),
						   PointerGetDatum(buildoidvector(signature->argtypes,
														  signature->nargs)),
						   ObjectIdGetDatum(namespace));
}

/*
 * goes_function_lock
 *		Keep a function that is being registered from being dropped or renamed
 *		until the transaction ends: whoever does that then must see it in the
 *		registry.
 */
void
goes_function_lock(const char *name, const GoesSignature *signature)
{
	Oid			function = goes_function_find_qualified(name, signature);

	if (OidIsValid(function))
		LockDatabaseObject(ProcedureRelationId, function, 0, AccessShareLock);
	if (!OidIsValid(function) ||
		goes_function_find_qualified(name, signature) != function)
		report_missing(name, signature, "function");
}

/* goes_function_qualified_name: schema and name, quoted where needed. */
char *
goes_function_qualified_name(Oid function)
{
	return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
									  get_func_name(function));
}

/*
 * goes_function_create
 *		Prepare for calls of the function with this qualified name.  It is
 *		looked up when it is called, so it need not exist now.  All memory is in
 *		context, which the caller frees with goes_retire.
 */
GoesFunction *
goes_function_create(MemoryContext context, const char *name,
					 const GoesSignature *signature, const char *purpose)
{
	GoesFunction *function = MemoryContextAllocZero(context,
													sizeof(GoesFunction));

	function->context = context;
	function->name = MemoryContextStrdup(context, name);
	function->purpose = purpose;
	function->signature = *signature;
	return function;
}

/* goes_function_name: its qualified name; NULL for NULL. */
const char *
goes_function_name(const GoesFunction *function)
{
	return function ? function->name : NULL;
}

/*
 * goes_function_create_builtin
 *		The same for a function of PostgreSQL's own, with the types that its
 *		polymorphic arguments have here.
 */
GoesFunction *
goes_function_create_builtin(MemoryContext context, Oid builtin,
							 const GoesSignature *signature)
{
	GoesFunction *function = MemoryContextAllocZero(context,
													sizeof(GoesFunction));

	function->context = context;
	function->builtin = builtin;
	function->signature = *signature;
	return function;
}

static Oid
look_up(const GoesFunction *function)
{
	const GoesSignature *signature = &function->signature;
	Oid			oid;

	if (OidIsValid(function->builtin))
		return function->builtin;
	oid = goes_function_find_qualified(function->name, signature);
	if (!OidIsValid(oid))
		report_missing(function->name, signature, function->purpose);
	check_callable(oid, function->name, signature, function->purpose);
	return oid;
}

static Param *
make_param(int id, Oid type, int32 typmod, Oid collation)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = id;
	param->paramtype = type;
	param->paramtypmod = typmod;
	param->paramcollid = collation;
	param->location = -1;
	return param;
}

/* The call as an expression tree: the function over external parameters. */
static Expr *
build_call(const GoesFunction *function)
{
	const GoesSignature *signature = &function->signature;
	List	   *args = NIL;
	Oid			oid = look_up(function);

	for (int i = 0; i < signature->nargs; i++)
		args = lappend(args, make_param(i + 1, signature->argtypes[i], -1, InvalidOid));
	return (Expr *) makeFuncExpr(oid, signature->result, args, InvalidOid,
								 InvalidOid, COERCE_EXPLICIT_CALL);
}

/* ---------------------------------------------------------------------------
 * By column
 * ---------------------------------------------------------------------------
 */

/* What an expression takes from its arguments */
typedef struct Reading
{
	const GoesSignature *signature;
	CallPlan   *plan;
	List	   *columns;		/* of Column */
} Reading;

/* The parameter that is the column of an argument */
static Node *
column_param(Reading *reading, int arg, const FieldSelect *field)
{
	int			first = reading->signature->nargs + 1;
	Column	   *column;
	ListCell   *cell;

	foreach(cell, reading->columns)
	{
		column = lfirst(cell);
		if (column->arg == arg && column->attnum == field->fieldnum)
			return (Node *) make_param(first + foreach_current_index(cell),
									   field->resulttype, field->resulttypmod,
									   field->resultcollid);
	}
	column = palloc(sizeof(Column));
	column->arg = arg;
	column->attnum = field->fieldnum;
	column->type = field->resulttype;
	reading->columns = lappend(reading->columns, column);
	return (Node *) make_param(first + list_length(reading->columns) - 1,
							   field->resulttype, field->resulttypmod,
							   field->resultcollid);
}

static Param *
argument(Node *node)
{
	return node != NULL && IsA(node, Param) &&
		((Param *) node)->paramkind == PARAM_EXTERN ? (Param *) node : NULL;
}

/* The expression, reading columns where it reads no more of an argument. */
static Node *
read_columns(Node *node, void *arg)
{
	Reading    *reading = arg;
	Param	   *param;

	if (node == NULL)
		return NULL;
	if (IsA(node, FieldSelect))
	{
		const FieldSelect *field = (FieldSelect *) node;

		param = argument((Node *) field->arg);
		if (param != NULL)
			return column_param(reading, param->paramid - 1, field);
	}
	param = argument(node);
	if (param != NULL)
		reading->plan->reads_whole[param->paramid - 1] = true;
	return expression_tree_mutator(node, read_columns, arg);
}

/* Is it a ROW of just the columns that the row type has, or had last of all? */
static bool
is_row_of_columns(const Expr *expression, Oid rowtype)
{
	const RowExpr *row = (const RowExpr *) expression;
	TupleDesc	desc;
	ListCell   *cell;
	bool		result;

	if (!IsA(expression, RowExpr) || row->row_typeid != rowtype)
		return false;
	desc = lookup_rowtype_tupdesc(rowtype, -1);
	result = list_length(row->args) <= desc->natts;
	foreach(cell, row->args)
	{
		Form_pg_attribute att = TupleDescAttr(desc, foreach_current_index(cell));

		result = result && (att->attisdropped || exprType(lfirst(cell)) == att->atttypid);
	}
	ReleaseTupleDesc(desc);
	return result;
}

/* Let a plan for calls with records take and give columns. */
static void
use_columns(CallPlan *plan, const GoesSignature *signature, Expr *expression)
{
	Reading		reading = {.signature = signature,.plan = plan};
	ListCell   *cell;

	expression = (Expr *) read_columns((Node *) expression, &reading);
	plan->ncolumns = list_length(reading.columns);
	plan->columns = palloc(Max(1, plan->ncolumns) * sizeof(Column));
	foreach(cell, reading.columns)
		plan->columns[foreach_current_index(cell)] = *(Column *) lfirst(cell);
	plan->by_column = is_row_of_columns(expression, signature->result);
	plan->results = plan->by_column ? ((RowExpr *) expression)->args :
		list_make1(expression);
}

/* ---------------------------------------------------------------------------
 * Plans
 * ---------------------------------------------------------------------------
 */

/*
 * Of functions that are not PostgreSQL's own we cannot believe that they are
 * immutable as they say; and of its own this one takes apart times in the session's
 * time zone.
 */
static bool
is_dubious(Oid function, void *arg)
{
	return function >= FirstGenbkiObjectId ||
		function == F_AGE_TIMESTAMPTZ_TIMESTAMPTZ;
}

/* Is there more than calls of immutable functions of PostgreSQL's own? */
static bool
is_complicated(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
		case T_Const:
		case T_Param:
		case T_FieldSelect:
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_ArrayExpr:
		case T_RowExpr:
		case T_NullTest:
		case T_BooleanTest:
			return check_functions_in_node(node, is_dubious, arg) ||
				expression_tree_walker(node, is_complicated, arg);
		default:
			return true;
	}
}

/* Could the result depend on settings?  To fix them costs more than most sums. */
static bool
may_see_settings(Expr *expression)
{
	return contain_mutable_functions((Node *) expression) ||
		is_complicated((Node *) expression, NULL);
}

/* Literals in a body that is inlined are read, and calls folded, under the settings. */
static Expr *
plan_call(const GoesFunction *function)
{
	int			settings = 0;
	Expr	   *expression;

	if (function->signature.pure)
		settings = goes_fix_settings();
	expression = expression_planner(build_call(function));
	if (function->signature.pure)
		goes_restore_settings(settings);
	return expression;
}

static CallPlan *
make_plan(GoesFunction *function, bool of_records)
{
	uint64		before;
	Expr	   *expression;
	MemoryContext context;
	MemoryContext oldcontext;
	CallPlan   *plan;

	/* Planning may bring in changes: then the plan is outdated at once */
	before = generation;
	expression = plan_call(function);

	context = AllocSetContextCreate(CurrentMemoryContext,
									"goes function plan",
									ALLOCSET_SMALL_SIZES);
	oldcontext = MemoryContextSwitchTo(context);
	plan = palloc0(sizeof(CallPlan));
	plan->context = context;
	plan->role = GetUserId();
	plan->path = goes_current_search_path(context);
	plan->generation = before;
	plan->of_records = of_records;
	plan->fixes_settings = function->signature.pure && may_see_settings(expression);
	expression = copyObject(expression);
	if (of_records)
		use_columns(plan, &function->signature, expression);
	else
		plan->results = list_make1(expression);
	MemoryContextSwitchTo(oldcontext);
	MemoryContextSetParent(context, function->context);
	return plan;
}

static bool
plan_is_valid(const CallPlan *plan, bool of_records)
{
	return plan->generation == generation &&
		plan->of_records == of_records &&
		plan->role == GetUserId() &&
		goes_search_path_is_current(plan->path);
}

/* Drop what a catalog change outdated, and the least recently used. */
static void
forget_plans(GoesFunction *function)
{
	CallPlan	  **link = &function->plans;
	int			kept = 0;

	while (*link)
	{
		CallPlan   *plan = *link;

		if (plan->generation == generation && ++kept < MAX_PLANS)
			link = &plan->next;
		else
		{
			*link = plan->next;
			if (plan->calls == 0)
				MemoryContextDelete(plan->context);
			else
				goes_retire(plan->context);
		}
	}
}

/* The plan for the current role and search path, made if need be. */
static CallPlan *
current_plan(GoesFunction *function, bool of_records)
{
	CallPlan	  **link;
	CallPlan   *plan;

	for (link = &function->plans; *link; link = &(*link)->next)
	{
		plan = *link;
		if (plan_is_valid(plan, of_records))
		{
			*link = plan->next;
			plan->next = function->plans;
			function->plans = plan;
			return plan;
		}
	}
	forget_plans(function);
	plan = make_plan(function, of_records);
	plan->next = function->plans;
	function->plans = plan;
	return plan;
}

/* ---------------------------------------------------------------------------
 * Calls
 * ---------------------------------------------------------------------------
 */

static Instance *
make_instance(const CallPlan *plan, const GoesSignature *signature)
{
	MemoryContext context = AllocSetContextCreate(CurTransactionContext,
												  "goes function call",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);
	Instance   *instance = palloc0(sizeof(Instance));
	ListCell   *cell;

	instance->context = context;
	instance->params = makeParamList(signature->nargs + plan->ncolumns);
	for (int i = 0; i < signature->nargs; i++)
		instance->params->params[i].ptype = signature->argtypes[i];
	for (int i = 0; i < plan->ncolumns; i++)
		instance->params->params[signature->nargs + i].ptype = plan->columns[i].type;
	instance->econtext = CreateStandaloneExprContext();
	instance->econtext->ecxt_param_list_info = instance->params;
	foreach(cell, plan->results)
		instance->states = lappend(instance->states,
								   ExecInitExprWithParams(lfirst(cell), instance->params));
	MemoryContextSwitchTo(oldcontext);
	return instance;
}

/*
 * Take the plan's idle instance, or make one.  While it is in use, its memory
 * belongs to the subtransaction, so that an error frees it: an expression
 * that was left in the middle is not to be run again.
 */
static Instance *
acquire_instance(CallPlan *plan, const GoesSignature *signature)
{
	Instance   *instance = plan->idle;

	if (instance == NULL)
		return make_instance(plan, signature);
	plan->idle = NULL;
	MemoryContextSetParent(instance->context, CurTransactionContext);
	return instance;
}

static void
release_instance(CallPlan *plan, Instance *instance)
{
	if (plan->idle != NULL)
		MemoryContextDelete(instance->context);
	else
	{
		plan->idle = instance;
		MemoryContextSetParent(instance->context, plan->context);
	}
}

static Instance *
begin_call(CallPlan *plan, const GoesSignature *signature)
{
	Instance   *instance;

	plan->calls++;
	instance = acquire_instance(plan, signature);
	ResetExprContext(instance->econtext);
	if (plan->fixes_settings)
		instance->settings = goes_fix_settings();
	return instance;
}

static void
end_call(CallPlan *plan, Instance *instance)
{
	if (plan->fixes_settings)
		goes_restore_settings(instance->settings);
	release_instance(plan, instance);
	plan->calls--;
}

static void
set_param(Instance *instance, int number, Datum value, bool isnull)
{
	instance->params->params[number].value = value;
	instance->params->params[number].isnull = isnull;
}

/* The one result, copied: it may be a constant of the plan, which is short-lived. */
static Datum
evaluate(Instance *instance, Oid type, bool *isnull)
{
	Datum		result = ExecEvalExpr((ExprState *) linitial(instance->states),
									  instance->econtext, isnull);

	return *isnull || type == VOIDOID ? (Datum) 0 : datumCopy(result, false, -1);
}

/*
 * goes_function_call
 *		Call the function as the current user with arguments that are not NULL.
 *		There must be an active snapshot.  The result, of a type of variable
 *		length or void, is a copy in the current memory context.
 */
Datum
goes_function_call(GoesFunction *function, const Datum *args, bool *isnull)
{
	CallPlan   *plan = current_plan(function, false);
	Instance   *instance = begin_call(plan, &function->signature);
	Datum		result;

	for (int i = 0; i < function->signature.nargs; i++)
		set_param(instance, i, args[i], false);
	result = evaluate(instance, function->signature.result, isnull);
	end_call(plan, instance);
	return result;
}

/* What the expressions read of the arguments */
static void
set_records(const CallPlan *plan, const GoesSignature *signature,
			Instance *instance, GoesRecord *const *args)
{
	for (int i = 0; i < signature->nargs; i++)
	{
		if (plan->reads_whole[i])
			set_param(instance, i, goes_record_to_datum(args[i]), false);
	}
	for (int i = 0; i < plan->ncolumns; i++)
	{
		const Column *column = &plan->columns[i];
		bool		isnull;
		Datum		value = goes_record_column(args[column->arg], column->attnum,
											   column->type, &isnull);

		set_param(instance, signature->nargs + i, value, isnull);
	}
}

/* Is it the value of that column of the record?  Then it need not be copied. */
static bool
is_in_record(const GoesRecord *record, int column, Datum value)
{
	return record->expanded && column < record->desc->natts &&
		!record->nulls[column] && record->values[column] == value &&
		!TupleDescAttr(record->desc, column)->attbyval;
}

static void
evaluate_columns(Instance *instance, const GoesRecord *first_arg,
				 GoesRecord *result)
{
	memset(result->nulls, true, result->desc->natts * sizeof(bool));
	for (int i = 0; i < list_length(instance->states); i++)
	{
		Form_pg_attribute att = TupleDescAttr(result->desc, i);
		Datum		value;

		if (att->attisdropped)
			continue;
		value = ExecEvalExpr((ExprState *) list_nth(instance->states, i),
							 instance->econtext, &result->nulls[i]);
		if (!result->nulls[i] && !att->attbyval &&
			!is_in_record(first_arg, i, value))
			value = datumCopy(value, false, att->attlen);
		result->values[i] = value;
	}
	result->expanded = true;
}

/*
 * goes_function_call_records
 *		The same with arguments that all are records.  The result, a record
 *		without a value, is filled in (NULL for a function that returns void);
 *		what it refers to is in the current memory context, or belongs to the first
 *		argument.  False if the function returned NULL.
 */
bool
goes_function_call_records(GoesFunction *function, GoesRecord *const *args,
						   GoesRecord *result)
{
	CallPlan   *plan = current_plan(function, true);
	Instance   *instance = begin_call(plan, &function->signature);
	bool		isnull = false;

	set_records(plan, &function->signature, instance, args);
	if (plan->by_column)
		evaluate_columns(instance, args[0], result);
	else
	{
		Datum		composite = evaluate(instance, function->signature.result, &isnull);

		if (result != NULL && !isnull)
		{
			result->composite = composite;
			goes_record_expand(result);
		}
	}
	end_call(plan, instance);
	return !isnull;
}
