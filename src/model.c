/*-------------------------------------------------------------------------
 *
 * model.c
 *	  Registering the parts of a model: aggregates, events, commands.
 *
 * What is registered already as it is asked for is left alone: no lock, no
 * write, no invalidation, so that an application may register its model
 * whenever it starts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "aggregate.h"
#include "calculator.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "compat.h"
#include "errors.h"
#include "event.h"
#include "executor/spi.h"
#include "guard.h"
#include "miscadmin.h"
#include "model.h"
#include "pattern.h"
#include "position.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "role.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define VISIBLE_POLICY "goes_visible"
#define APPEND_POLICY "goes_append"

/* ---------------------------------------------------------------------------
 * Arguments and locks
 * ---------------------------------------------------------------------------
 */

/* goes_text_arg: a text or name argument that must not be NULL (22004). */
char *
goes_text_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* goes_version_arg: a version of an event: not NULL (22004), from 1 (22023). */
int32
goes_version_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	if (PG_GETARG_INT32(n) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at least 1", name)));
	return PG_GETARG_INT32(n);
}

static char *
optional_text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * goes_lock_registry
 *		Let one transaction at a time change the registry.
 */
void
goes_lock_registry(void)
{
	PreventCommandDuringRecovery("a change of goes's registry");
	LockDatabaseObject(ExtensionRelationId, goes_objects()->extension, 0,
					   ShareUpdateExclusiveLock);
}

/*
 * goes_own_type
 *		The registered type (OG008), which the current user must own (42501).
 */
GoesAggregateType *
goes_own_type(const char *name)
{
	GoesAggregateType *type = goes_get_aggregate_type(name);

	if (OidIsValid(get_rel_type_id(type->relation)))
		goes_check_owner(type->relation);
	return type;
}

/*
 * goes_own_type_locked
 *		The same, and nobody else changes the registry until this transaction
 *		ends.
 */
GoesAggregateType *
goes_own_type_locked(const char *name)
{
	(void) goes_own_type(name);
	goes_lock_registry();
	return goes_own_type(name);
}

static bool
same_string(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static Datum
text_datum(const char *string)
{
	return string ? CStringGetTextDatum(string) : (Datum) 0;
}

/* ---------------------------------------------------------------------------
 * The aggregate table
 * ---------------------------------------------------------------------------
 */

static void
report_kind(Oid relation, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" cannot be an aggregate table", get_rel_name(relation)),
			 errdetail("It is %s.", what),
			 errhint("Aggregate tables are ordinary or partitioned tables."),
			 goes_errtable(relation)));
}

static void
check_kind(Oid relation)
{
	char		kind = get_rel_relkind(relation);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		report_kind(relation, "neither an ordinary nor a partitioned table");
}

static void
check_aggregate_table(Relation relation)
{
	char	   *missing;

	if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		report_kind(RelationGetRelid(relation), "temporary");
	if (relation->rd_rel->relispartition)
		report_kind(RelationGetRelid(relation), "a partition");
	if (has_superclass(RelationGetRelid(relation)) ||
		(relation->rd_rel->relkind == RELKIND_RELATION &&
		 has_subclass(RelationGetRelid(relation))))
		report_kind(RelationGetRelid(relation), "part of an inheritance tree");
	if (relation->rd_rules != NULL)
		report_kind(RelationGetRelid(relation), "a table with rules");
	missing = goes_missing_base_columns(relation);
	if (missing != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table \"%s\" lacks base columns of an aggregate",
						RelationGetRelationName(relation)),
				 errdetail("It lacks these columns: %s.", missing),
				 errhint("Create it with CREATE TABLE ... (LIKE goes_base_aggregate INCLUDING ALL, ...)."),
				 errtable(relation)));
	if (goes_unique_ids(relation) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table \"%s\" needs a primary key or unique constraint on column \"id\" that is not deferrable",
						RelationGetRelationName(relation)),
				 errhint("Create it with CREATE TABLE ... (LIKE goes_base_aggregate INCLUDING ALL, ...)."),
				 errtable(relation)));
}

/* ---------------------------------------------------------------------------
 * The events table
 * ---------------------------------------------------------------------------
 */

/* What a table lacks to be an events table; NULL if nothing. */
static char *
events_table_problem(Relation events, Oid owner)
{
	char	   *missing;

	if (events->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return "It is temporary or unlogged.";
	if (events->rd_rel->relowner != owner)
		return "It has another owner than the aggregate table.";
	if (events->rd_rules != NULL)
		return "It has rules.";
	missing = goes_missing_event_columns(events);
	if (missing != NULL)
		return psprintf("It lacks these columns: %s.", missing);
	return NULL;
}

static void
create_events_table(Relation aggregate, const char *name)
{
	char	   *qualified = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(aggregate)),
													   name);
	GoesRole	before = goes_become(aggregate->rd_rel->relowner);

	goes_run_ddl(psprintf("CREATE TABLE %s (%s)", qualified,
						  goes_event_table_definition()));
	goes_run_ddl(psprintf("COMMENT ON TABLE %s IS %s", qualified,
						  quote_literal_cstr(psprintf("events of aggregate table %s, appended by goes",
													  goes_relation_name(RelationGetRelid(aggregate))))));
	goes_unbecome(before);
}

static void
report_taken(const char *name, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("relation \"%s\" already exists and cannot be the events table",
					name),
			 errdetail_internal("%s", problem),
			 errhint("Name another one as events_table.")));
}

/* The events table of that name beside the aggregate table: there, or made. */
static Relation
open_events_table(Relation aggregate, const char *name)
{
	Oid			namespace = RelationGetNamespace(aggregate);
	Oid			events_id = get_relname_relid(name, namespace);
	Relation	events;
	char	   *problem;

	if (!OidIsValid(events_id) &&
		SearchSysCacheExists2(TYPENAMENSP, CStringGetDatum(name),
							  ObjectIdGetDatum(namespace)))
		report_taken(name, "It is a type, and a table is a type too.");
	if (!OidIsValid(events_id))
	{
		create_events_table(aggregate, name);
		events_id = get_relname_relid(name, namespace);
	}
	if (get_rel_relkind(events_id) != RELKIND_RELATION &&
		get_rel_relkind(events_id) != RELKIND_PARTITIONED_TABLE)
		report_taken(name, "It is not a table.");
	events = table_open(events_id, ShareRowExclusiveLock);
	problem = events_table_problem(events, aggregate->rd_rel->relowner);
	if (problem == NULL && goes_aggregate_type_of_relation(events_id) != NULL)
		problem = "It belongs to another aggregate type.";
	if (problem != NULL)
		report_taken(name, problem);
	goes_position_mend_past(events);
	return events;
}

/* ---------------------------------------------------------------------------
 * Row-level security
 * ---------------------------------------------------------------------------
 */

static bool
has_policy(Oid relation, const char *name)
{
	static const Oid argtypes[] = {OIDOID, NAMEOID};
	NameData	policy;
	Datum		args[] = {
		ObjectIdGetDatum(relation),
		NameGetDatum(&policy)
	};

	namestrcpy(&policy, name);
	return goes_registry_execute("SELECT 1 FROM pg_catalog.pg_policy"
								 " WHERE polrelid OPERATOR(pg_catalog.=) $1"
								 " AND polname OPERATOR(pg_catalog.=) $2",
								 goes_lengthof(argtypes), argtypes, args, NULL) > 0;
}

static void
create_policy(Oid events, const char *name, const char *definition)
{
	if (!has_policy(events, name))
		goes_run_ddl(psprintf("CREATE POLICY %s ON %s %s", name,
							  goes_relation_name(events), definition));
}

/* Does the events table lack what makes it as visible as its aggregates? */
static bool
lacks_policies(Relation aggregate, Relation events)
{
	return aggregate->rd_rel->relrowsecurity &&
		(!events->rd_rel->relrowsecurity ||
		 (aggregate->rd_rel->relforcerowsecurity &&
		  !events->rd_rel->relforcerowsecurity) ||
		 !has_policy(RelationGetRelid(events), VISIBLE_POLICY) ||
		 !has_policy(RelationGetRelid(events), APPEND_POLICY));
}

/* An event is visible when its aggregate is. */
static void
add_policies(Oid aggregate, Oid events, bool force)
{
	char	   *name = goes_relation_name(events);
	GoesRole	before = goes_become(goes_relation_owner(events));

	create_policy(events, VISIBLE_POLICY,
				  psprintf("FOR SELECT USING (EXISTS (SELECT FROM %s aggregate"
						   " WHERE aggregate.id OPERATOR(pg_catalog.=) %s.aggregate_id))",
						   goes_relation_name(aggregate), name));
	create_policy(events, APPEND_POLICY, "FOR INSERT WITH CHECK (true)");
	goes_run_ddl(psprintf("ALTER TABLE %s ENABLE ROW LEVEL SECURITY", name));
	if (force)
		goes_run_ddl(psprintf("ALTER TABLE %s FORCE ROW LEVEL SECURITY", name));
	goes_unbecome(before);
}

/* ---------------------------------------------------------------------------
 * Aggregates
 * ---------------------------------------------------------------------------
 */

/*
 * Is it all registered like that?  Takes no lock that anybody would notice.
 * events_name NULL: whatever the events table is called by now.
 */
static bool
is_registered(const char *type_name, Oid relation, const char *events_name)
{
	GoesAggregateType *type = goes_find_aggregate_type(type_name);
	Relation	aggregate;
	Relation	events;
	bool		complete;

	if (type == NULL || type->relation != relation ||
		(events_name != NULL &&
		 !same_string(get_rel_name(type->events), events_name)))
		return false;
	aggregate = table_open(type->relation, AccessShareLock);
	events = table_open(type->events, AccessShareLock);
	complete = goes_guard_is_complete(type->relation) &&
		goes_guard_is_complete(type->events) &&
		!lacks_policies(aggregate, events);
	table_close(events, AccessShareLock);
	table_close(aggregate, AccessShareLock);
	return complete;
}

static void
write_aggregate_type(const char *type, Oid relation, Oid events)
{
	static const Oid argtypes[] = {TEXTOID, OIDOID, OIDOID};
	Datum		args[] = {
		CStringGetTextDatum(type),
		ObjectIdGetDatum(relation),
		ObjectIdGetDatum(events)
	};

	goes_registry_execute("INSERT INTO goes.aggregate_types (type, relation, events)"
						  " VALUES ($1, $2, $3) ON CONFLICT (type)"
						  " DO UPDATE SET relation = excluded.relation, events = excluded.events",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/* Remove goes's triggers from a table, if that still exists. */
static void
release_table(Oid relation, bool is_events)
{
	Relation	opened = try_table_open(relation, ShareRowExclusiveLock);

	if (opened == NULL)
		return;
	/* DDL refuses a table that is open here */
	table_close(opened, NoLock);
	if (is_events)
		goes_reactor_detach_all(relation);
	goes_guard_remove(relation);
}

static void
check_no_events(const GoesAggregateType *type)
{
	char	   *name = goes_relation_name(type->events);
	GoesRole	before = goes_become(goes_relation_owner(type->events));

	if (SPI_execute(psprintf("SELECT FROM %s LIMIT 1", name), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read events table %s", name);
	goes_unbecome(before);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("aggregate type \"%s\" has events in table %s",
						type->name, name),
				 errdetail("Another events table would split their history."),
				 errhint("Rename the table, or call goes_unregister_aggregate first.")));
}

/* The type moves to another table: what was put on the old ones goes. */
static void
release_tables(const char *type_name, Oid relation, Oid events)
{
	GoesAggregateType *type = goes_find_aggregate_type(type_name);

	if (type == NULL)
		return;
	if (type->relation != relation)
		release_table(type->relation, false);
	if (type->events != events)
	{
		check_no_events(type);
		release_table(type->events, true);
	}
}

static Relation
find_or_make_events(const char *type_name, Relation aggregate, const char *name)
{
	GoesAggregateType *type = goes_find_aggregate_type(type_name);

	if (type != NULL && type->relation == RelationGetRelid(aggregate) &&
		(name == NULL || same_string(get_rel_name(type->events), name)))
		return table_open(type->events, ShareRowExclusiveLock);
	if (name == NULL)
		name = makeObjectName(RelationGetRelationName(aggregate), NULL, "events");
	return open_events_table(aggregate, name);
}

/* A table serves one type; a type that is registered belongs to somebody. */
static void
check_not_taken(const char *type_name, Relation aggregate)
{
	GoesAggregateType *type = goes_find_aggregate_type(type_name);
	char	   *other = goes_aggregate_type_of_relation(RelationGetRelid(aggregate));

	if (type != NULL)
		goes_check_owner(type->relation);
	if (other != NULL && strcmp(other, type_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is registered as aggregate type \"%s\" already",
						RelationGetRelationName(aggregate), other),
				 errtable(aggregate)));
}

static void
register_aggregate(const char *type, Oid relation, const char *events_name)
{
	Relation	aggregate;
	Relation	events;
	Oid			events_id;
	bool		add;
	bool		force;

	aggregate = table_open(relation, ShareRowExclusiveLock);
	check_aggregate_table(aggregate);
	check_not_taken(type, aggregate);
	events = find_or_make_events(type, aggregate, events_name);
	events_id = RelationGetRelid(events);
	add = lacks_policies(aggregate, events);
	force = aggregate->rd_rel->relforcerowsecurity;
	/* DDL refuses a table that is open here */
	table_close(events, NoLock);
	table_close(aggregate, NoLock);

	release_tables(type, relation, events_id);
	goes_guard_install(relation, true);
	goes_guard_install(events_id, false);
	if (add)
		add_policies(relation, events_id, force);
	write_aggregate_type(type, relation, events_id);
	goes_reactor_attach_all(type, relation, events_id);
}

PG_FUNCTION_INFO_V1(goes_register_aggregate);

/*
 * goes_register_aggregate(type text, relation regclass, events_table name) RETURNS regclass
 *		Register a table as aggregate type; returns its events table, which is
 *		created or adopted.  Only events_table may be NULL: <table>_events.
 *		Errors: 22004, 22023, 42501, 42809 (not a table that it can be), 42P16
 *		(base columns), 42710 (registered otherwise), 42P07 (a table of that name
 *		that is no events table).
 */
Datum
goes_register_aggregate(PG_FUNCTION_ARGS)
{
	char	   *type = goes_text_arg(fcinfo, 0, "type");
	Oid			relation;
	char	   *events_name;
	Oid			events;

	goes_check_name("aggregate type", type);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "relation")));
	relation = PG_GETARG_OID(1);
	if (get_rel_name(relation) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	goes_check_owner(relation);
	check_kind(relation);
	events_name = PG_ARGISNULL(2) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(2)));
	if (events_name != NULL && *events_name == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be empty", "events_table")));
	SPI_connect();
	if (!is_registered(type, relation, events_name))
	{
		goes_lock_registry();
		if (!is_registered(type, relation, events_name))
			register_aggregate(type, relation, events_name);
	}
	events = goes_get_aggregate_type(type)->events;
	SPI_finish();
	PG_RETURN_OID(events);
}

/* Delete the rows of a type in one of the registry's tables. */
static void
delete_rows(const char *sql, const char *type)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type);

	goes_registry_execute(sql, 1, &argtype, &arg, NULL);
}

/*
 * The aggregate table is gone, so the type is not to be found any more: nobody
 * reacts to its events any longer, but they stay guarded.
 */
static void
detach_orphan(const char *type_name)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type_name);
	bool		isnull;
	Oid			events;

	if (goes_registry_execute("SELECT events FROM goes.aggregate_types"
							  " WHERE type OPERATOR(pg_catalog.=) $1",
							  1, &argtype, &arg, NULL) == 0)
		return;
	events = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	if (get_rel_name(events) != NULL)
		goes_reactor_detach_all(events);
}

/*
 * goes_forget_type
 *		Remove a type with all that is registered for it, and its triggers; the
 *		tables stay, or are gone already.  The caller is connected to SPI.
 */
void
goes_forget_type(const char *type_name)
{
	GoesAggregateType *type = goes_find_aggregate_type(type_name);

	if (type != NULL)
	{
		release_table(type->relation, false);
		release_table(type->events, true);
	}
	else
		detach_orphan(type_name);
	goes_reactors_forget_type(type_name);
	delete_rows("DELETE FROM goes.command_types"
				" WHERE aggregate_type OPERATOR(pg_catalog.=) $1", type_name);
	delete_rows("DELETE FROM goes.upcasters"
				" WHERE aggregate_type OPERATOR(pg_catalog.=) $1", type_name);
	delete_rows("DELETE FROM goes.event_types"
				" WHERE aggregate_type OPERATOR(pg_catalog.=) $1", type_name);
	delete_rows("DELETE FROM goes.rebuilds"
				" WHERE aggregate_type OPERATOR(pg_catalog.=) $1", type_name);
	delete_rows("DELETE FROM goes.rebuild_failures"
				" WHERE aggregate_type OPERATOR(pg_catalog.=) $1", type_name);
	delete_rows("DELETE FROM goes.aggregate_types"
				" WHERE type OPERATOR(pg_catalog.=) $1", type_name);
}

PG_FUNCTION_INFO_V1(goes_unregister_aggregate);

/*
 * goes_unregister_aggregate(type text)
 *		Remove a type, see goes_forget_type.  Errors: 22004, OG008, 42501.
 */
Datum
goes_unregister_aggregate(PG_FUNCTION_ARGS)
{
	char	   *type = goes_text_arg(fcinfo, 0, "type");

	(void) goes_own_type_locked(type);
	SPI_connect();
	goes_forget_type(type);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * Events
 * ---------------------------------------------------------------------------
 */

/* The calculator as it is stored: a function gets its qualified name. */
static char *
resolve_calculator(const GoesAggregateType *type, char *calculator)
{
	GoesSignature signature = goes_calculator_signature(type->rowtype);

	if (calculator == NULL)
		return NULL;
	goes_calculator_check(calculator);
	if (!goes_calculator_is_function(calculator))
		return calculator;
	return goes_function_qualified_name(goes_function_find(calculator, &signature,
														   "calculator"));
}


static void
write_event_type(const char *type, const char *action, int32 version,
				 const char *calculator)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID, INT4OID, TEXTOID};
	Datum		args[] = {
		text_datum(type), text_datum(action), Int32GetDatum(version),
		text_datum(calculator)
	};

	goes_registry_execute("INSERT INTO goes.event_types"
						  " (aggregate_type, action, event_version, calculator)"
						  " VALUES ($1, $2, $3, $4)"
						  " ON CONFLICT (aggregate_type, action, event_version)"
						  " DO UPDATE SET calculator = excluded.calculator",
						  goes_lengthof(argtypes), argtypes, args,
						  calculator ? NULL : "   n");
}

/*
 * Check an event that is to be registered; true if it is registered like that.
 * The calculator becomes what is stored.
 */
static bool
check_event(const char *type_name, const char *action, int32 version,
			char **calculator)
{
	GoesAggregateType *type = goes_own_type(type_name);
	GoesEventType *registered = goes_find_event_type(type, action, version);
	char	   *resolved = resolve_calculator(type, *calculator);

	if (registered != NULL && same_string(registered->calculator, resolved))
		return true;
	*calculator = resolved;
	return false;
}

static void
lock_calculator(const char *type_name, const char *calculator)
{
	GoesSignature signature = goes_calculator_signature(goes_own_type(type_name)->rowtype);

	if (calculator != NULL && goes_calculator_is_function(calculator))
		goes_function_lock(calculator, &signature);
}

PG_FUNCTION_INFO_V1(goes_register_event);

/*
 * goes_register_event(aggregate_type text, action text, event_version integer, calculator text)
 *		Register one version of an event.  calculator NULL: the state does not
 *		change.  Errors: 22004, 22023, OG008, 42501, 42883, 42P13.
 */
Datum
goes_register_event(PG_FUNCTION_ARGS)
{
	char	   *type = goes_text_arg(fcinfo, 0, "aggregate_type");
	char	   *action = goes_text_arg(fcinfo, 1, "action");
	int32		version = goes_version_arg(fcinfo, 2, "event_version");
	char	   *calculator = optional_text_arg(fcinfo, 3);

	goes_check_name("event", action);
	if (check_event(type, action, version, &calculator))
		PG_RETURN_VOID();
	goes_lock_registry();
	if (check_event(type, action, version, &calculator))
		PG_RETURN_VOID();
	lock_calculator(type, calculator);
	SPI_connect();
	write_event_type(type, action, version, calculator);
	SPI_finish();
	PG_RETURN_VOID();
}

/* goes_forget_event: remove the row.  The caller is connected to SPI. */
void
goes_forget_event(const char *type, const char *action, int32 version)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		args[] = {
		text_datum(type), text_datum(action), Int32GetDatum(version)
	};

	goes_registry_execute("DELETE FROM goes.event_types"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
						  " AND action OPERATOR(pg_catalog.=) $2"
						  " AND event_version OPERATOR(pg_catalog.=) $3",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/* An action that a command without build function makes must stay. */
static void
check_event_unused(const GoesAggregateType *type, const char *action,
				   int32 version)
{
	for (int i = 0; i < type->nevents; i++)
	{
		if (strcmp(type->event_types[i].action, action) == 0 &&
			type->event_types[i].version != version)
			return;
	}
	for (int i = 0; i < type->ncommands; i++)
	{
		if (type->command_types[i].build == NULL &&
			same_string(type->command_types[i].event, action))
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot unregister event \"%s.%s\" because command \"%s\" makes it",
							type->name, action, type->command_types[i].full_name),
					 errhint("Unregister the command first.")));
	}
}

PG_FUNCTION_INFO_V1(goes_unregister_event);

/*
 * goes_unregister_event(aggregate_type text, action text, event_version integer)
 *		Remove one version of an event.  Errors: 22004, OG008, 42501, 2BP01 (a
 *		command makes it).
 */
Datum
goes_unregister_event(PG_FUNCTION_ARGS)
{
	char	   *type_name = goes_text_arg(fcinfo, 0, "aggregate_type");
	char	   *action = goes_text_arg(fcinfo, 1, "action");
	int32		version = goes_version_arg(fcinfo, 2, "event_version");
	GoesAggregateType *type = goes_own_type_locked(type_name);

	if (goes_find_event_type(type, action, version) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("event \"%s.%s.%d\" is not registered", type_name, action,
						version)));
	check_event_unused(type, action, version);
	SPI_connect();
	goes_forget_event(type_name, action, version);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * Commands
 * ---------------------------------------------------------------------------
 */

/* A command as goes_register_command asks for it */
typedef struct Request
{
	char	   *type;
	char	   *name;
	char	   *build;
	char	   *validate;
	char	   *event;
	char	   *target;
	bool		allow_deleted;
} Request;

static char *
resolve_command_function(const GoesAggregateType *type, const char *name,
						 Oid result, const char *purpose)
{
	GoesSignature signature = goes_command_signature(type->rowtype, result);

	if (name == NULL)
		return NULL;
	return goes_function_qualified_name(goes_function_find(name, &signature,
														   purpose));
}

static void
check_request(const Request *request, const GoesAggregateType *type)
{
	if (strcmp(request->target, "new") != 0 &&
		strcmp(request->target, "existing") != 0 &&
		strcmp(request->target, "any") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid target \"%s\"", request->target),
				 errhint("Targets are \"new\", \"existing\" and \"any\".")));
	if (request->build == NULL && request->event == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("command \"%s.%s\" has neither a build function nor an event",
						request->type, request->name),
				 errhint("Give the action of its event as event => '...', or a build function.")));
	if (request->event != NULL &&
		goes_latest_event_type(type, request->event) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("event \"%s.%s\" is not registered", request->type,
						request->event),
				 errhint("Register it with goes_register_event.")));
}

static bool
is_same_command(const Request *request, const GoesCommandType *registered)
{
	static const char *const targets[] = {"new", "existing", "any"};

	return registered != NULL &&
		same_string(request->build, goes_function_name(registered->build)) &&
		same_string(request->validate, goes_function_name(registered->validate)) &&
		same_string(request->event, registered->event) &&
		strcmp(request->target, targets[registered->target]) == 0 &&
		request->allow_deleted == registered->allow_deleted;
}

static void
write_command_type(const Request *request)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID};
	Datum		args[] = {
		text_datum(request->type), text_datum(request->name),
		text_datum(request->build), text_datum(request->validate),
		text_datum(request->event), text_datum(request->target),
		BoolGetDatum(request->allow_deleted)
	};
	char		nulls[] = "       ";

	for (int i = 0; i < 6; i++)
	{
		if (args[i] == (Datum) 0)
			nulls[i] = 'n';
	}
	goes_registry_execute("INSERT INTO goes.command_types"
						  " (aggregate_type, command, build, validate, event, target, allow_deleted)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7)"
						  " ON CONFLICT (aggregate_type, command)"
						  " DO UPDATE SET build = excluded.build, validate = excluded.validate,"
						  " event = excluded.event, target = excluded.target,"
						  " allow_deleted = excluded.allow_deleted",
						  goes_lengthof(argtypes), argtypes, args, nulls);
}

/*
 * Check a command that is to be registered; true if it is registered like that.
 * The functions' names become qualified ones.
 */
static bool
check_command(Request *request)
{
	GoesAggregateType *type = goes_own_type(request->type);

	check_request(request, type);
	request->build = resolve_command_function(type, request->build,
											  goes_objects()->event_data_type,
											  "build function");
	request->validate = resolve_command_function(type, request->validate, VOIDOID,
												 "validate function");
	return is_same_command(request, goes_find_command_type(type, request->name));
}

static void
lock_command_functions(const Request *request)
{
	GoesSignature signature = goes_command_signature(goes_own_type(request->type)->rowtype,
													 VOIDOID);

	if (request->build != NULL)
		goes_function_lock(request->build, &signature);
	if (request->validate != NULL)
		goes_function_lock(request->validate, &signature);
}

PG_FUNCTION_INFO_V1(goes_register_command);

/*
 * goes_register_command(aggregate_type text, command text, build text, validate text,
 *						 event text, target text, allow_deleted boolean)
 *		Register a command.  build, validate and event may be NULL, but not build
 *		and event both.  Errors: 22004, 22023, OG008, 42501, 42883, 42P13.
 */
Datum
goes_register_command(PG_FUNCTION_ARGS)
{
	Request		request = {
		.type = goes_text_arg(fcinfo, 0, "aggregate_type"),
		.name = goes_text_arg(fcinfo, 1, "command"),
		.build = optional_text_arg(fcinfo, 2),
		.validate = optional_text_arg(fcinfo, 3),
		.event = optional_text_arg(fcinfo, 4),
		.target = goes_text_arg(fcinfo, 5, "target"),
		.allow_deleted = !PG_ARGISNULL(6) && PG_GETARG_BOOL(6)
	};

	goes_check_name("command", request.name);
	if (check_command(&request))
		PG_RETURN_VOID();
	goes_lock_registry();
	if (check_command(&request))
		PG_RETURN_VOID();
	lock_command_functions(&request);
	SPI_connect();
	write_command_type(&request);
	SPI_finish();
	PG_RETURN_VOID();
}

/* goes_forget_command: remove the row.  The caller is connected to SPI. */
void
goes_forget_command(const char *type, const char *command)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID};
	Datum		args[] = {text_datum(type), text_datum(command)};

	goes_registry_execute("DELETE FROM goes.command_types"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
						  " AND command OPERATOR(pg_catalog.=) $2",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

PG_FUNCTION_INFO_V1(goes_unregister_command);

/*
 * goes_unregister_command(aggregate_type text, command text)
 *		Remove a command.  Errors: 22004, OG008, 42501.
 */
Datum
goes_unregister_command(PG_FUNCTION_ARGS)
{
	char	   *type_name = goes_text_arg(fcinfo, 0, "aggregate_type");
	char	   *command = goes_text_arg(fcinfo, 1, "command");
	GoesAggregateType *type = goes_own_type_locked(type_name);

	if (goes_find_command_type(type, command) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("command \"%s.%s\" is not registered", type_name, command)));
	SPI_connect();
	goes_forget_command(type_name, command);
	SPI_finish();
	PG_RETURN_VOID();
}
