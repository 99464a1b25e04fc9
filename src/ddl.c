/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  Event triggers: what happens to registered tables and functions.
 *
 * The registry names functions, since their OIDs do not survive a dump.  So a
 * rename must be followed: before an ALTER that may rename, the functions that
 * the registry names are looked up; afterwards their new names are stored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "aggregate.h"
#include "calculator.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "compat.h"
#include "event.h"
#include "executor/spi.h"
#include "guard.h"
#include "miscadmin.h"
#include "model.h"
#include "nodes/parsenodes.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "shared.h"
#include "upcaster.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* A place in the registry that names a function */
typedef enum ReferenceKind
{
	REFERENCE_BUILD,
	REFERENCE_VALIDATE,
	REFERENCE_CALCULATOR,
	REFERENCE_UPCASTER,
	REFERENCE_REACTOR
} ReferenceKind;

typedef struct Reference
{
	ReferenceKind kind;
	char	   *function;		/* qualified name, which is a reactor's too */
	Oid			oid;			/* InvalidOid: there is no such function */
	char	   *type;			/* these are NULL and 0 for a reactor */
	char	   *item;			/* command or action */
	int32		version;		/* of the event, from which an upcaster goes */
} Reference;

/* ---------------------------------------------------------------------------
 * References
 * ---------------------------------------------------------------------------
 */

static Reference *
make_reference(ReferenceKind kind, const char *function, Oid oid)
{
	Reference  *reference = palloc0(sizeof(Reference));

	reference->kind = kind;
	reference->function = pstrdup(function);
	reference->oid = oid;
	return reference;
}

static List *
add_type_reference(List *references, ReferenceKind kind, const char *function,
				   const GoesSignature *signature, const GoesAggregateType *type,
				   const char *item, int32 version)
{
	Reference  *reference;

	if (function == NULL)
		return references;
	reference = make_reference(kind, function,
							   goes_function_find_qualified(function, signature));
	reference->type = pstrdup(type->name);
	reference->item = pstrdup(item);
	reference->version = version;
	return lappend(references, reference);
}

static List *
add_type_references(List *references, const GoesAggregateType *type)
{
	GoesSignature calculator = goes_calculator_signature(type->rowtype);
	GoesSignature upcaster = goes_upcaster_signature();
	GoesSignature command = goes_command_signature(type->rowtype, VOIDOID);

	for (int i = 0; i < type->nevents; i++)
	{
		const GoesEventType *event = &type->event_types[i];

		if (event->calculator != NULL &&
			goes_calculator_is_function(event->calculator))
			references = add_type_reference(references, REFERENCE_CALCULATOR,
											event->calculator, &calculator,
											type, event->action, event->version);
	}
	for (int i = 0; i < type->nupcasters; i++)
	{
		const GoesUpcaster *u = &type->upcasters[i];

		references = add_type_reference(references, REFERENCE_UPCASTER,
										goes_function_name(u->function),
										&upcaster, type, u->action,
										u->from_version);
	}
	for (int i = 0; i < type->ncommands; i++)
	{
		const GoesCommandType *c = &type->command_types[i];

		references = add_type_reference(references, REFERENCE_BUILD,
										goes_function_name(c->build), &command,
										type, c->name, 0);
		references = add_type_reference(references, REFERENCE_VALIDATE,
										goes_function_name(c->validate), &command,
										type, c->name, 0);
	}
	return references;
}

static List *
type_names(void)
{
	List	   *names = NIL;
	uint64		nrows = goes_registry_execute("SELECT type FROM goes.aggregate_types"
											  " ORDER BY type COLLATE pg_catalog.\"C\"",
											  0, NULL, NULL, NULL);

	for (uint64 i = 0; i < nrows; i++)
		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, 1));
	return names;
}

/* All places that name a function, in the current (SPI) context. */
static List *
find_references(void)
{
	List	   *references = NIL;
	ListCell   *cell;

	foreach(cell, type_names())
	{
		GoesAggregateType *type = goes_find_aggregate_type(lfirst(cell));

		if (type != NULL)
			references = add_type_references(references, type);
	}
	foreach(cell, goes_reactors_read())
	{
		GoesReactor *reactor = lfirst(cell);
		ListCell   *function;

		if (reactor->mode == GOES_OUTSIDE)
			continue;
		foreach(function, goes_reactor_functions(reactor))
			references = lappend(references,
								 make_reference(REFERENCE_REACTOR, reactor->name,
												lfirst_oid(function)));
	}
	return references;
}

/* ---------------------------------------------------------------------------
 * Renames
 * ---------------------------------------------------------------------------
 */

/* The references as they were when a command started; commands may nest. */
typedef struct Started
{
	const Node *parsetree;
	List	   *references;
} Started;

static List *started = NIL;

static void
forget_started(void *arg)
{
	started = NIL;
}

/* A copy in the current memory context. */
static Reference *
copy_reference(const Reference *reference)
{
	Reference  *copy = make_reference(reference->kind, reference->function,
									  reference->oid);

	copy->type = reference->type ? pstrdup(reference->type) : NULL;
	copy->item = reference->item ? pstrdup(reference->item) : NULL;
	copy->version = reference->version;
	return copy;
}

static void
remember(const Node *parsetree, List *references)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopTransactionContext);
	Started    *entry = palloc0(sizeof(Started));
	ListCell   *cell;

	if (started == NIL)
	{
		MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

		callback->func = forget_started;
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	entry->parsetree = parsetree;
	foreach(cell, references)
		entry->references = lappend(entry->references,
									copy_reference(lfirst(cell)));
	started = lcons(entry, started);
	MemoryContextSwitchTo(oldcontext);
}

static List *
recall(const Node *parsetree)
{
	ListCell   *cell;

	foreach(cell, started)
	{
		Started    *entry = lfirst(cell);

		if (entry->parsetree == parsetree)
		{
			started = foreach_delete_current(started, cell);
			return entry->references;
		}
	}
	return NIL;
}

static const Node *
event_trigger_parsetree(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("event triggers of goes must be called as such")));
	return ((EventTriggerData *) fcinfo->context)->parsetree;
}

/* May the command have renamed functions, or moved them? */
static bool
may_rename(const Node *parsetree)
{
	return IsA(parsetree, RenameStmt) || IsA(parsetree, AlterObjectSchemaStmt) ||
		IsA(parsetree, AlterExtensionStmt);
}

PG_FUNCTION_INFO_V1(goes_ddl_command_start);

/* goes.ddl_command_start(): note the functions that the registry names. */
Datum
goes_ddl_command_start(PG_FUNCTION_ARGS)
{
	const Node *parsetree = event_trigger_parsetree(fcinfo);

	SPI_connect();
	remember(parsetree, find_references());
	SPI_finish();
	PG_RETURN_VOID();
}

static void
update_reference(const char *sql, const Reference *reference, const char *name)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID};
	Datum		args[] = {
		CStringGetTextDatum(name),
		CStringGetTextDatum(reference->type),
		CStringGetTextDatum(reference->item),
		Int32GetDatum(reference->version),
		CStringGetTextDatum(reference->function)
	};

	goes_registry_execute(sql, goes_lengthof(argtypes), argtypes, args, NULL);
}

/* A nested command may have followed it before: then there is nothing to do. */
static void
follow_rename(const Reference *reference, const char *name)
{
	GoesReactor *reactor;

	switch (reference->kind)
	{
		case REFERENCE_BUILD:
			update_reference("UPDATE goes.command_types SET build = $1"
							 " WHERE aggregate_type OPERATOR(pg_catalog.=) $2"
							 " AND command OPERATOR(pg_catalog.=) $3"
							 " AND $4 OPERATOR(pg_catalog.=) 0"
							 " AND build OPERATOR(pg_catalog.=) $5",
							 reference, name);
			break;
		case REFERENCE_VALIDATE:
			update_reference("UPDATE goes.command_types SET validate = $1"
							 " WHERE aggregate_type OPERATOR(pg_catalog.=) $2"
							 " AND command OPERATOR(pg_catalog.=) $3"
							 " AND $4 OPERATOR(pg_catalog.=) 0"
							 " AND validate OPERATOR(pg_catalog.=) $5",
							 reference, name);
			break;
		case REFERENCE_CALCULATOR:
			update_reference("UPDATE goes.event_types SET calculator = $1"
							 " WHERE aggregate_type OPERATOR(pg_catalog.=) $2"
							 " AND action OPERATOR(pg_catalog.=) $3"
							 " AND event_version OPERATOR(pg_catalog.=) $4"
							 " AND calculator OPERATOR(pg_catalog.=) $5",
							 reference, name);
			break;
		case REFERENCE_UPCASTER:
			update_reference("UPDATE goes.upcasters SET upcaster = $1"
							 " WHERE aggregate_type OPERATOR(pg_catalog.=) $2"
							 " AND action OPERATOR(pg_catalog.=) $3"
							 " AND from_version OPERATOR(pg_catalog.=) $4"
							 " AND upcaster OPERATOR(pg_catalog.=) $5",
							 reference, name);
			break;
		case REFERENCE_REACTOR:
			reactor = goes_reactor_read(reference->function);
			if (reactor == NULL || goes_reactor_read(name) != NULL)
				break;
			if (list_length(goes_reactor_functions(reactor)) > 1)
				ereport(ERROR,
						(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						 errmsg("cannot rename function %s because reactor \"%s\" has functions of that name for several aggregate types",
								reference->function, reference->function),
						 errhint("Call goes_off first.")));
			goes_reactor_rename(reactor, name);
			break;
	}
}

static bool
is_same_reference(const Reference *a, const Reference *b)
{
	return a->kind == b->kind && a->version == b->version &&
		strcmp(a->function, b->function) == 0 &&
		(a->type == NULL || (b->type != NULL && strcmp(a->type, b->type) == 0)) &&
		(a->item == NULL || (b->item != NULL && strcmp(a->item, b->item) == 0));
}

/*
 * What was registered after the command started, but before it got its lock,
 * cannot be followed.
 */
static void
check_all_known(List *references)
{
	ListCell   *cell;

	foreach(cell, find_references())
	{
		Reference  *reference = lfirst(cell);
		ListCell   *other;
		bool		known = OidIsValid(reference->oid);

		foreach(other, references)
			known |= is_same_reference(reference, lfirst(other));
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not follow the renaming of function %s",
							reference->function),
					 errdetail("It was registered by a concurrent transaction."),
					 errhint("Try again.")));
	}
}

static void
follow_renames(List *references)
{
	ListCell   *cell;

	foreach(cell, references)
	{
		Reference  *reference = lfirst(cell);
		char	   *name;

		if (!OidIsValid(reference->oid) || get_func_name(reference->oid) == NULL)
			continue;
		name = goes_function_qualified_name(reference->oid);
		if (strcmp(name, reference->function) != 0)
			follow_rename(reference, name);
	}
	check_all_known(references);
}

/* ---------------------------------------------------------------------------
 * Altered tables
 * ---------------------------------------------------------------------------
 */

/*
 * Does the command make a partition?  Others must not put triggers on: while a
 * dump is restored, its own CREATE TRIGGER is still to come.
 */
static bool
makes_partition(const Node *parsetree)
{
	ListCell   *cell;

	if (IsA(parsetree, CreateStmt) || IsA(parsetree, CreateForeignTableStmt) ||
		IsA(parsetree, CreateSchemaStmt))
		return true;
	if (!IsA(parsetree, AlterTableStmt))
		return false;
	foreach(cell, ((const AlterTableStmt *) parsetree)->cmds)
	{
		if (((AlterTableCmd *) lfirst(cell))->subtype == AT_AttachPartition)
			return true;
	}
	return false;
}

/* A partition that was detached is an ordinary table: its triggers of goes go. */
static void
release_detached(const Node *parsetree)
{
	ListCell   *cell;

	if (!IsA(parsetree, AlterTableStmt))
		return;
	foreach(cell, ((const AlterTableStmt *) parsetree)->cmds)
	{
		AlterTableCmd *command = lfirst(cell);
		Oid			detached;

		if (command->subtype != AT_DetachPartition &&
			command->subtype != AT_DetachPartitionFinalize)
			continue;
		detached = RangeVarGetRelid(((PartitionCmd *) command->def)->name,
									NoLock, true);
		if (OidIsValid(detached) && !get_rel_relispartition(detached))
		{
			goes_reactor_detach_all(detached);
			goes_guard_remove(detached);
		}
	}
}

/*
 * Whoever has dropped the guards of a type's tables first means to drop the
 * rest too: pg_restore --clean goes that way.
 */
static bool
is_guarded(const char *type_name)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(type_name);
	bool		guarded = false;

	if (goes_registry_execute("SELECT relation, events FROM goes.aggregate_types"
							  " WHERE type OPERATOR(pg_catalog.=) $1",
							  1, &argtype, &arg, NULL) == 0)
		return false;
	for (int column = 1; column <= 2; column++)
	{
		bool		isnull;
		Oid			table = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
														   SPI_tuptable->tupdesc,
														   column, &isnull));

		guarded |= get_rel_name(table) != NULL && goes_guard_is_installed(table);
	}
	return guarded;
}

/* An inheritance child would bring rows that no guard has seen. */
static void
check_no_child(Oid child)
{
	static const Oid argtype = OIDOID;
	Datum		arg = ObjectIdGetDatum(child);
	char	   *type;

	if (get_rel_relispartition(child) ||
		goes_registry_execute("SELECT t.type FROM pg_catalog.pg_inherits i"
							  " JOIN goes.aggregate_types t"
							  " ON i.inhparent OPERATOR(pg_catalog.=) t.relation"
							  " OR i.inhparent OPERATOR(pg_catalog.=) t.events"
							  " WHERE i.inhrelid OPERATOR(pg_catalog.=) $1",
							  1, &argtype, &arg, NULL) == 0)
		return;
	type = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("table \"%s\" cannot inherit from a table of aggregate type \"%s\"",
					get_rel_name(child), type),
			 errhint("Use a partitioned table."),
			 goes_errtable(child)));
}

static void
check_altered_table(Oid altered, const Node *parsetree)
{
	Relation	relation = table_open(altered, AccessShareLock);
	Oid			root = relation->rd_rel->relispartition ?
		llast_oid(get_partition_ancestors(altered)) : altered;
	char	   *type_name = goes_aggregate_type_of_relation(root);
	GoesAggregateType *type;
	bool		aggregate;
	char	   *missing;

	table_close(relation, NoLock);
	type = type_name ? goes_find_aggregate_type(type_name) : NULL;
	if (type == NULL)
		return;
	aggregate = type->relation == root;
	relation = table_open(root, AccessShareLock);
	if (has_superclass(root))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" of aggregate type \"%s\" cannot inherit from another table",
						RelationGetRelationName(relation), type->name),
				 errtable(relation)));
	missing = aggregate ? goes_missing_base_columns(relation) :
		goes_missing_event_columns(relation);
	if (!aggregate && relation->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot make events table \"%s\" unlogged",
						RelationGetRelationName(relation)),
				 errdetail("A crash would lose all events of aggregate type \"%s\".",
						   type->name),
				 errtable(relation)));
	if (missing != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot alter table \"%s\" because aggregate type \"%s\" uses it",
						RelationGetRelationName(relation), type->name),
				 errdetail("It would lack these columns: %s.", missing),
				 errhint("Call goes_unregister_aggregate first."),
				 errtable(relation)));
	table_close(relation, NoLock);
	if (makes_partition(parsetree) && is_guarded(type->name))
	{
		goes_guard_install(root, aggregate);
		if (!aggregate)
			goes_reactor_attach_all(type->name, type->relation, type->events);
	}
}

static void
check_altered_tables(const Node *parsetree)
{
	List	   *tables = NIL;
	ListCell   *cell;

	if (SPI_execute("SELECT DISTINCT objid FROM pg_catalog.pg_event_trigger_ddl_commands()"
					" WHERE classid OPERATOR(pg_catalog.=) 1259"
					" AND object_type OPERATOR(pg_catalog.=) ANY ('{table,table column,foreign table}'::pg_catalog.text[])",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the DDL commands");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		tables = lappend_oid(tables,
							 DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
															SPI_tuptable->tupdesc,
															1, &isnull)));
	}
	foreach(cell, tables)
	{
		if (get_rel_name(lfirst_oid(cell)) == NULL)
			continue;
		check_no_child(lfirst_oid(cell));
		check_altered_table(lfirst_oid(cell), parsetree);
	}
}

/* pg_restore --disable-triggers lets no trigger of the registry tell of it. */
static bool
is_restore(const Node *parsetree)
{
	const AlterTableStmt *statement = (const AlterTableStmt *) parsetree;
	ListCell   *cell;

	if (!IsA(parsetree, AlterTableStmt) || !superuser() ||
		statement->relation->schemaname == NULL ||
		strcmp(statement->relation->schemaname, "goes") != 0)
		return false;
	foreach(cell, statement->cmds)
	{
		if (((AlterTableCmd *) lfirst(cell))->subtype == AT_DisableTrigAll)
			return true;
	}
	return false;
}

PG_FUNCTION_INFO_V1(goes_ddl_command_end);

/*
 * goes.ddl_command_end()
 *		Follow renames; refuse to spoil a registered table's columns (2BP01);
 *		put guards on new partitions.
 */
Datum
goes_ddl_command_end(PG_FUNCTION_ARGS)
{
	const Node *parsetree = event_trigger_parsetree(fcinfo);

	SPI_connect();
	if (is_restore(parsetree))
		goes_begin_restore();
	if (may_rename(parsetree))
		follow_renames(recall(parsetree));
	check_altered_tables(parsetree);
	release_detached(parsetree);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * Drops
 * ---------------------------------------------------------------------------
 */

/* A dropped table, column, constraint or function */
typedef struct Dropped
{
	Oid			relation;		/* of a table or part of one, else InvalidOid */
	char	   *table;			/* its name */
	char	   *column;			/* else NULL */
	char	   *constraint;		/* else NULL */
	char	   *function;		/* qualified name, else NULL */
} Dropped;

static bool
is_cascade(const Node *parsetree)
{
	ListCell   *cell;

	if (parsetree == NULL)
		return false;
	switch (nodeTag(parsetree))
	{
		case T_DropStmt:
			return ((const DropStmt *) parsetree)->behavior == DROP_CASCADE;
		case T_DropOwnedStmt:
			return ((const DropOwnedStmt *) parsetree)->behavior == DROP_CASCADE;
		case T_AlterTableStmt:
			foreach(cell, ((const AlterTableStmt *) parsetree)->cmds)
			{
				if (((AlterTableCmd *) lfirst(cell))->behavior == DROP_CASCADE)
					return true;
			}
			return false;
		default:
			return false;
	}
}

/* The n-th name of an object's address, from 0. */
static char *
address_name(ArrayType *array, int n)
{
	Datum	   *names;
	int			count;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL,
					  &count);
	return n < count ? TextDatumGetCString(names[n]) : "";
}

static Dropped *
take_dropped(HeapTuple tuple, TupleDesc desc)
{
	Dropped    *dropped = palloc0(sizeof(Dropped));
	char	   *type = SPI_getvalue(tuple, desc, 2);
	bool		isnull;
	Oid			oid = DatumGetObjectId(SPI_getbinval(tuple, desc, 1, &isnull));
	ArrayType  *names = DatumGetArrayTypeP(SPI_getbinval(tuple, desc, 3, &isnull));

	if (strcmp(type, "function") == 0)
		dropped->function = quote_qualified_identifier(address_name(names, 0),
													   address_name(names, 1));
	else
	{
		dropped->relation = oid;
		dropped->table = address_name(names, 1);
	}
	if (strcmp(type, "table column") == 0)
		dropped->column = address_name(names, 2);
	if (strcmp(type, "table constraint") == 0)
	{
		/* the OID is the constraint's */
		dropped->constraint = address_name(names, 2);
		dropped->relation = get_relname_relid(dropped->table,
											  get_namespace_oid(address_name(names, 0), true));
	}
	return dropped;
}

static List *
find_dropped(void)
{
	List	   *dropped = NIL;

	if (SPI_execute("SELECT objid, object_type, address_names"
					" FROM pg_catalog.pg_event_trigger_dropped_objects()"
					" WHERE object_type OPERATOR(pg_catalog.=) ANY"
					" ('{table,table column,table constraint,function}'::pg_catalog.text[])"
					" AND address_names IS NOT NULL",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the dropped objects");
	for (uint64 i = 0; i < SPI_processed; i++)
		dropped = lappend(dropped, take_dropped(SPI_tuptable->vals[i],
												SPI_tuptable->tupdesc));
	return dropped;
}

static void
report_in_use(const char *what, const char *user, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("cannot drop %s because %s uses it", what, user),
			 errhint("Call %s first, or use DROP ... CASCADE to remove the registration too.",
					 hint)));
}

static void
report_cascade(const char *what)
{
	ereport(NOTICE,
			(errmsg("drop cascades to registration of %s", what)));
}

/* Remove a type with all that is registered for it. */
static void
drop_type(const char *type)
{
	report_cascade(psprintf("aggregate type \"%s\"", type));
	goes_forget_type(type);
}

static char *
type_of_dropped_aggregate(Oid relation)
{
	static const Oid argtype = OIDOID;
	Datum		arg = ObjectIdGetDatum(relation);

	if (goes_registry_execute("SELECT type FROM goes.aggregate_types"
							  " WHERE relation OPERATOR(pg_catalog.=) $1",
							  1, &argtype, &arg, NULL) == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

/* With an aggregate table the registration of its type goes. */
static void
drop_aggregate(const Dropped *dropped)
{
	char	   *type;

	if (!OidIsValid(dropped->relation) || dropped->column != NULL ||
		dropped->constraint != NULL)
		return;
	type = type_of_dropped_aggregate(dropped->relation);
	if (type != NULL)
		drop_type(type);
}

/* An events table, or a column that goes needs. */
static void
drop_from_table(const Dropped *dropped, bool cascade)
{
	char	   *type;
	bool		in_use = dropped->column == NULL ||
		goes_is_base_column(dropped->column) ||
		goes_is_event_column(dropped->column);

	if (!OidIsValid(dropped->relation) || dropped->constraint != NULL || !in_use)
		return;
	type = goes_aggregate_type_of_relation(dropped->relation);
	if (type == NULL)
		return;
	if (dropped->column != NULL &&
		(type_of_dropped_aggregate(dropped->relation) != NULL ?
		 !goes_is_base_column(dropped->column) :
		 !goes_is_event_column(dropped->column)))
		return;
	if (!cascade && is_guarded(type))
		report_in_use(dropped->column ?
					  psprintf("column \"%s\" of table \"%s\"",
							   dropped->column, dropped->table) :
					  psprintf("table \"%s\"", dropped->table),
					  psprintf("aggregate type \"%s\"", type),
					  "goes_unregister_aggregate");
	drop_type(type);
}

/* The unique constraint on an aggregate's id. */
static void
drop_constraint(const Dropped *dropped)
{
	char	   *type;
	Relation	relation;

	if (dropped->constraint == NULL || !OidIsValid(dropped->relation))
		return;
	type = type_of_dropped_aggregate(dropped->relation);
	if (type == NULL || !is_guarded(type))
		return;
	relation = table_open(dropped->relation, AccessShareLock);
	if (goes_unique_ids(relation) == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop constraint \"%s\" of table \"%s\" because aggregate type \"%s\" uses it",
						dropped->constraint, dropped->table, type),
				 errhint("Replace it in the same ALTER TABLE, or call goes_unregister_aggregate first."),
				 errtable(relation)));
	table_close(relation, AccessShareLock);
}

/* May the function that a reference names be dropped without CASCADE? */
static bool
is_released(const Reference *reference)
{
	return reference->type != NULL ? !is_guarded(reference->type) :
		!goes_reactor_is_attached(goes_reactor_read(reference->function));
}

/* Without CASCADE an error, with it a NOTICE that the registration goes. */
static void
check_cascade(const Reference *reference, bool cascade, const char *user,
			  const char *hint)
{
	if (!cascade && !is_released(reference))
		report_in_use(psprintf("function %s", reference->function), user, hint);
	report_cascade(user);
}

static void
drop_reference(const Reference *reference, bool cascade)
{
	switch (reference->kind)
	{
		case REFERENCE_BUILD:
		case REFERENCE_VALIDATE:
			check_cascade(reference, cascade,
						  psprintf("command \"%s.%s\"", reference->type,
								   reference->item),
						  "goes_unregister_command");
			goes_forget_command(reference->type, reference->item);
			break;
		case REFERENCE_CALCULATOR:
			check_cascade(reference, cascade,
						  psprintf("event \"%s.%s.%d\"", reference->type,
								   reference->item, reference->version),
						  "goes_unregister_event");
			goes_forget_event(reference->type, reference->item,
							  reference->version);
			break;
		case REFERENCE_UPCASTER:
			check_cascade(reference, cascade,
						  psprintf("the upcaster of event \"%s.%s.%d\"",
								   reference->type, reference->item,
								   reference->version),
						  "goes_unregister_upcaster");
			goes_forget_upcaster(reference->type, reference->item,
								 reference->version);
			break;
		case REFERENCE_REACTOR:
			check_cascade(reference, cascade,
						  psprintf("reactor \"%s\"", reference->function),
						  "goes_off");
			if (goes_reactor_read(reference->function) != NULL)
				goes_reactor_detach(goes_reactor_read(reference->function));
			goes_reactor_delete(reference->function);
			break;
	}
}

/* What names a function that was dropped, and finds no other of that name. */
static void
drop_functions(List *dropped, bool cascade)
{
	ListCell   *cell;

	foreach(cell, find_references())
	{
		Reference  *reference = lfirst(cell);
		ListCell   *other;

		foreach(other, dropped)
		{
			Dropped    *d = lfirst(other);

			if (d->function != NULL && !OidIsValid(reference->oid) &&
				strcmp(d->function, reference->function) == 0)
			{
				drop_reference(reference, cascade);
				break;
			}
		}
	}
}

static bool
any_function(List *dropped)
{
	ListCell   *cell;

	foreach(cell, dropped)
	{
		if (((Dropped *) lfirst(cell))->function != NULL)
			return true;
	}
	return false;
}

PG_FUNCTION_INFO_V1(goes_sql_drop);

/*
 * goes.sql_drop()
 *		Refuse to drop a table, column or function that is in use (2BP01); with
 *		CASCADE, or with the aggregate table, its registration goes too.
 */
Datum
goes_sql_drop(PG_FUNCTION_ARGS)
{
	bool		cascade = is_cascade(event_trigger_parsetree(fcinfo));
	List	   *dropped;
	ListCell   *cell;

	SPI_connect();
	dropped = find_dropped();
	foreach(cell, dropped)
		drop_aggregate(lfirst(cell));
	foreach(cell, dropped)
		drop_from_table(lfirst(cell), cascade);
	foreach(cell, dropped)
		drop_constraint(lfirst(cell));
	if (any_function(dropped))
		drop_functions(dropped, cascade);
	SPI_finish();
	PG_RETURN_VOID();
}
