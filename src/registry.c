/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  What is registered, cached per backend.
 *
 * The registry's tables (schema goes) are read a type at a time.  A trigger on
 * each of them invalidates the relation cache entry of goes.aggregate_types,
 * which tells every backend to read again; so does an ALTER of a registered
 * table.  Outdated entries are not freed before the transaction ends, since
 * the commands on the stack may be using them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "miscadmin.h"
#include "registry.h"
#include "role.h"
#include "settings.h"
#include "shared.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

typedef struct CacheEntry
{
	char		name[NAMEDATALEN];	/* hash key */
	GoesAggregateType *type;
} CacheEntry;

static HTAB *cache = NULL;
static uint64 generation = 1;	/* counts the changes of the registry */
static Oid	registry_relation = InvalidOid; /* goes.aggregate_types */
static int	executing = 0;		/* goes_registry_execute is at work */
static GoesObjects objects;
static bool objects_valid = false;

/* Forget all that is known.  Only sets flags. */
static void
registry_changed(void)
{
	generation++;
	objects_valid = false;
}

/* A relation changed; InvalidOid: maybe any did. */
static void
relation_changed(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS status;
	CacheEntry *entry;

	if (relation == InvalidOid || relation == registry_relation)
	{
		registry_changed();
		return;
	}
	if (cache == NULL)
		return;
	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->type != NULL && (entry->type->relation == relation ||
									entry->type->events == relation))
			entry->type->altered = true;
	}
}

/* A schema was renamed, perhaps: the text of prepared statements names it. */
static void
schema_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	registry_changed();
}

/* goes_registry_init: to be called once in a process. */
void
goes_registry_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_changed, (Datum) 0);
}

/* goes_registry_generation: changes whenever the registry did. */
uint64
goes_registry_generation(void)
{
	return generation;
}

PG_FUNCTION_INFO_V1(goes_registry_changed);

/* goes.registry_changed(): the trigger on each table of the registry. */
Datum
goes_registry_changed(PG_FUNCTION_ARGS)
{
	Oid			relation;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("goes.registry_changed() must be called as a trigger")));
	relation = get_relname_relid("aggregate_types",
								 get_namespace_oid("goes", false));
	CacheInvalidateRelcacheByRelid(relation);
	goes_workers_changed();
	/* Nobody but a restore writes the registry past goes's own functions */
	if (executing == 0)
		goes_begin_restore();
	return PointerGetDatum(NULL);
}

static Oid
find_type(const char *name, Oid schema)
{
	Oid			type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
									   CStringGetDatum(name),
									   ObjectIdGetDatum(schema));

	if (!OidIsValid(type))
		elog(ERROR, "type \"%s\" of extension \"goes\" does not exist", name);
	return type;
}

static Oid
find_trigger_function(const char *name)
{
	GoesSignature signature = {.nargs = 0,.result = TRIGGEROID};
	Oid			function = goes_function_find_qualified(name, &signature);

	if (!OidIsValid(function))
		elog(ERROR, "function %s() of extension \"goes\" does not exist", name);
	return function;
}

static void
find_extension(GoesObjects *found)
{
	Relation	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("goes"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1,
							  &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"goes\" does not exist")));
	found->extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
	found->owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	found->schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

static void
find_objects(GoesObjects *found)
{
	Oid			internals = get_namespace_oid("goes", false);

	find_extension(found);
	found->command_type = find_type("goes_command", found->schema);
	found->event_type = find_type("goes_event", found->schema);
	found->event_data_type = find_type("goes_event_data", found->schema);
	found->position = get_relname_relid("position", internals);
	found->guard_aggregate = find_trigger_function("goes.guard_aggregate");
	found->guard_events = find_trigger_function("goes.guard_events");
	found->react = find_trigger_function("goes.react");
	registry_relation = get_relname_relid("aggregate_types", internals);
}

/*
 * goes_objects
 *		The OIDs of the extension's own objects.  An invalidation while they are
 *		looked up makes the next call look again.
 */
const GoesObjects *
goes_objects(void)
{
	if (!objects_valid)
	{
		uint64		before = generation;
		GoesObjects found;

		find_objects(&found);
		objects = found;
		objects_valid = before == generation;
	}
	return &objects;
}

/*
 * goes_prepare_cursor
 *		Prepare a statement with CURSOR_OPT_... and keep it for the life of the
 *		process.
 */
SPIPlanPtr
goes_prepare_cursor(const char *sql, int nargs, const Oid *argtypes, int options)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, nargs, unconstify(Oid *, argtypes),
										  options);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", sql,
			 SPI_result_code_string(SPI_result));
	return plan;
}

/* goes_prepare: the same without options. */
SPIPlanPtr
goes_prepare(const char *sql, int nargs, const Oid *argtypes)
{
	return goes_prepare_cursor(sql, nargs, argtypes, 0);
}

/*
 * Read the registry as of now, as catalogs are read: what the transaction's
 * snapshot shows may be too old to be cached.
 */
static void
read_registry(SPIPlanPtr *plan, const char *sql, Oid argtype, Datum arg)
{
	if (*plan == NULL)
		*plan = goes_prepare(sql, 1, &argtype);
	if (SPI_execute_snapshot(*plan, &arg, NULL, GetLatestSnapshot(),
							 InvalidSnapshot, false, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the registry of goes");
}

/* Column of a row of the last result: string or NULL, in the current context. */
static char *
get_string(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static Datum
get_datum(uint64 row, int column)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column,
						 &isnull);
}

static char *
keep_string(MemoryContext context, const char *string)
{
	return string ? MemoryContextStrdup(context, string) : NULL;
}

/* goes_command_signature: of a build or validate function. */
GoesSignature
goes_command_signature(Oid rowtype, Oid result)
{
	GoesSignature signature = {
		.nargs = 2,
		.argtypes = {rowtype, goes_objects()->command_type},
		.result = result
	};

	return signature;
}

/* goes_calculator_signature: of a calculator function. */
GoesSignature
goes_calculator_signature(Oid rowtype)
{
	GoesSignature signature = {
		.nargs = 2,
		.argtypes = {rowtype, goes_objects()->event_type},
		.result = rowtype,
		.pure = true
	};

	return signature;
}

/* goes_upcaster_signature: of an upcaster function. */
GoesSignature
goes_upcaster_signature(void)
{
	GoesSignature signature = {
		.nargs = 1,
		.argtypes = {JSONBOID},
		.result = JSONBOID,
		.pure = true
	};

	return signature;
}

static void
read_upcasters(GoesAggregateType *type, Datum name)
{
	static SPIPlanPtr plan = NULL;
	GoesSignature signature = goes_upcaster_signature();

	read_registry(&plan,
				  "SELECT action, from_version, upcaster, xmin FROM goes.upcasters"
				  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1",
				  TEXTOID, name);
	type->nupcasters = SPI_processed;
	type->upcasters = MemoryContextAllocZero(type->context,
											 Max(1, SPI_processed) *
											 sizeof(GoesUpcaster));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		GoesUpcaster *upcaster = &type->upcasters[i];

		upcaster->action = keep_string(type->context, get_string(i, 1));
		upcaster->from_version = DatumGetInt32(get_datum(i, 2));
		upcaster->registered_by = DatumGetTransactionId(get_datum(i, 4));
		upcaster->function = goes_function_create(type->context, get_string(i, 3),
												  &signature, "upcaster");
	}
}

static void
read_event_types(GoesAggregateType *type, Datum name)
{
	static SPIPlanPtr plan = NULL;

	read_registry(&plan,
				  "SELECT action, event_version, calculator, xmin FROM goes.event_types"
				  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
				  " ORDER BY action COLLATE pg_catalog.\"C\", event_version",
				  TEXTOID, name);
	type->nevents = SPI_processed;
	type->event_types = MemoryContextAllocZero(type->context,
											   Max(1, SPI_processed) *
											   sizeof(GoesEventType));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		GoesEventType *event = &type->event_types[i];

		event->action = keep_string(type->context, get_string(i, 1));
		event->version = DatumGetInt32(get_datum(i, 2));
		event->registered_by = DatumGetTransactionId(get_datum(i, 4));
		event->calculator = keep_string(type->context, get_string(i, 3));
	}
}

static GoesTarget
parse_target(const char *target)
{
	if (strcmp(target, "new") == 0)
		return GOES_TARGET_NEW;
	if (strcmp(target, "existing") == 0)
		return GOES_TARGET_EXISTING;
	return GOES_TARGET_ANY;
}

static GoesFunction *
make_function(GoesAggregateType *type, const char *name, Oid result,
			  const char *purpose)
{
	GoesSignature signature = goes_command_signature(type->rowtype, result);

	if (name == NULL)
		return NULL;
	return goes_function_create(type->context, name, &signature, purpose);
}

static void
read_command_types(GoesAggregateType *type, Datum name)
{
	static SPIPlanPtr plan = NULL;
	Oid			event_data = goes_objects()->event_data_type;

	read_registry(&plan,
				  "SELECT command, build, validate, event, target, allow_deleted, id"
				  " FROM goes.command_types"
				  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
				  " ORDER BY command COLLATE pg_catalog.\"C\"",
				  TEXTOID, name);
	type->ncommands = SPI_processed;
	type->command_types = MemoryContextAllocZero(type->context,
												 Max(1, SPI_processed) *
												 sizeof(GoesCommandType));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		GoesCommandType *command = &type->command_types[i];

		command->name = keep_string(type->context, get_string(i, 1));
		command->full_name = keep_string(type->context,
										 psprintf("%s.%s", type->name,
												  command->name));
		command->build = make_function(type, get_string(i, 2), event_data,
									   "build function");
		command->validate = make_function(type, get_string(i, 3), VOIDOID,
										  "validate function");
		command->event = keep_string(type->context, get_string(i, 4));
		command->target = parse_target(get_string(i, 5));
		command->allow_deleted = DatumGetBool(get_datum(i, 6));
		command->id = *DatumGetUUIDP(get_datum(i, 7));
	}
}

/* Read a type from the registry; NULL if it is not registered. */
static GoesAggregateType *
read_aggregate_type(const char *name)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context;
	GoesAggregateType *type;
	Datum		key = CStringGetTextDatum(name);
	uint64		before = generation;

	read_registry(&plan,
				  "SELECT relation, events FROM goes.aggregate_types"
				  " WHERE type OPERATOR(pg_catalog.=) $1",
				  TEXTOID, key);
	if (SPI_processed == 0)
		return NULL;

	context = AllocSetContextCreate(CurTransactionContext,
									"goes aggregate type",
									ALLOCSET_SMALL_SIZES);
	type = MemoryContextAllocZero(context, sizeof(GoesAggregateType));
	type->context = context;
	type->name = MemoryContextStrdup(context, name);
	/* What changed while it was read makes it outdated at once */
	type->generation = before;
	type->relation = DatumGetObjectId(get_datum(0, 1));
	type->events = DatumGetObjectId(get_datum(0, 2));
	type->rowtype = get_rel_type_id(type->relation);
	if (!OidIsValid(type->rowtype))
		return NULL;
	read_event_types(type, key);
	read_upcasters(type, key);
	read_command_types(type, key);
	return type;
}

/* goes_aggregate_type_is_valid: nothing has changed since it was found. */
bool
goes_aggregate_type_is_valid(const GoesAggregateType *type)
{
	return type->generation == generation && !type->altered;
}

static CacheEntry *
cache_entry(const char *name)
{
	CacheEntry *entry;
	bool		found;

	if (cache == NULL)
	{
		HASHCTL		info = {
			.keysize = NAMEDATALEN,
			.entrysize = sizeof(CacheEntry)
		};

		cache = hash_create("goes aggregate types", 64, &info,
							HASH_ELEM | HASH_STRINGS);
	}
	entry = hash_search(cache, name, HASH_ENTER, &found);
	if (!found)
		entry->type = NULL;
	return entry;
}

/*
 * goes_find_aggregate_type
 *		The registered type of that name, or NULL.  Valid until the end of the
 *		transaction, but outdated once goes_aggregate_type_is_valid says so.
 */
GoesAggregateType *
goes_find_aggregate_type(const char *name)
{
	CacheEntry *entry;
	GoesAggregateType *type;

	AcceptInvalidationMessages();
	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	if (cache != NULL)
	{
		entry = hash_search(cache, name, HASH_FIND, NULL);
		if (entry != NULL && goes_aggregate_type_is_valid(entry->type))
			return entry->type;
		if (entry != NULL)
		{
			goes_retire(entry->type->context);
			hash_search(cache, name, HASH_REMOVE, NULL);
		}
	}

	/* Before the first read, so that a change meanwhile is not missed */
	(void) goes_objects();
	SPI_connect();
	type = read_aggregate_type(name);
	SPI_finish();
	if (type != NULL)
	{
		MemoryContextSetParent(type->context, CacheMemoryContext);
		cache_entry(name)->type = type;
	}
	return type;
}

/* goes_get_aggregate_type: like goes_find_aggregate_type, but raises OG008. */
GoesAggregateType *
goes_get_aggregate_type(const char *name)
{
	GoesAggregateType *type = goes_find_aggregate_type(name);

	if (type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("aggregate type \"%s\" is not registered", name),
				 errhint("Register it with goes_register_aggregate.")));
	return type;
}

/*
 * goes_aggregate_type_of_relation
 *		Name of the type whose aggregate or events table this is, in the current
 *		memory context; NULL if there is none.
 */
char *
goes_aggregate_type_of_relation(Oid relation)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext context = CurrentMemoryContext;
	char	   *name = NULL;

	SPI_connect();
	read_registry(&plan,
				  "SELECT type FROM goes.aggregate_types"
				  " WHERE relation OPERATOR(pg_catalog.=) $1"
				  " OR events OPERATOR(pg_catalog.=) $1",
				  OIDOID, ObjectIdGetDatum(relation));
	if (SPI_processed > 0)
		name = MemoryContextStrdup(context, get_string(0, 1));
	SPI_finish();
	return name;
}

/* goes_find_event_type: the event of that action and version, or NULL. */
GoesEventType *
goes_find_event_type(const GoesAggregateType *type, const char *action,
					 int32 version)
{
	for (int i = 0; i < type->nevents; i++)
	{
		GoesEventType *event = &type->event_types[i];

		if (event->version == version && strcmp(event->action, action) == 0)
			return event;
	}
	return NULL;
}

/* goes_latest_event_type: the event of that action with the greatest version. */
GoesEventType *
goes_latest_event_type(const GoesAggregateType *type, const char *action)
{
	for (int i = type->nevents - 1; i >= 0; i--)
	{
		if (strcmp(type->event_types[i].action, action) == 0)
			return &type->event_types[i];
	}
	return NULL;
}

static int
compare_command(const void *name, const void *command)
{
	return strcmp((const char *) name,
				  ((const GoesCommandType *) command)->name);
}

/* goes_find_command_type: the command of that name (without the type), or NULL. */
GoesCommandType *
goes_find_command_type(const GoesAggregateType *type, const char *command)
{
	return bsearch(command, type->command_types, type->ncommands,
				   sizeof(GoesCommandType), compare_command);
}

/*
 * goes_registry_execute
 *		Run a statement as the owner of the extension, who alone may write the
 *		registry's tables, and return the number of rows.  Like a catalog the
 *		registry is read and written as it is now, whatever the transaction's
 *		snapshot.  All names in it must be qualified.  The caller is connected to
 *		SPI.
 */
uint64
goes_registry_execute(const char *sql, int nargs, const Oid *argtypes,
					  const Datum *args, const char *nulls)
{
	GoesRole	before = goes_become(goes_objects()->owner);
	SPIPlanPtr	plan = SPI_prepare(sql, nargs, unconstify(Oid *, argtypes));

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\"", sql);
	goes_unbecome(before);
	goes_registry_execute_kept(&plan, sql, nargs, argtypes, args, nulls);
	SPI_freeplan(plan);
	return SPI_processed;
}

/*
 * goes_registry_execute_kept
 *		The same with a statement that is prepared once, and kept in *plan.
 */
uint64
goes_registry_execute_kept(SPIPlanPtr *plan, const char *sql, int nargs,
						   const Oid *argtypes, const Datum *args,
						   const char *nulls)
{
	GoesRole	before = goes_become(goes_objects()->owner);
	int			result = SPI_ERROR_ARGUMENT;

	if (*plan == NULL)
		*plan = goes_prepare(sql, nargs, argtypes);
	executing++;
	PG_TRY();
	{
		result = SPI_execute_snapshot(*plan, unconstify(Datum *, args), nulls,
									  GetLatestSnapshot(), InvalidSnapshot,
									  false, true, 0);
	}
	PG_FINALLY();
	{
		executing--;
	}
	PG_END_TRY();
	if (result < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
	goes_unbecome(before);
	return SPI_processed;
}

static void
execute_kept(SPIPlanPtr *plan, const char *sql, int nargs, const Oid *argtypes,
			 Datum *args, const char *nulls, int options)
{
	if (*plan == NULL)
		*plan = goes_prepare_cursor(sql, nargs, argtypes, options);
	if (SPI_execute_plan(*plan, args, nulls, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
}

/*
 * goes_execute_kept
 *		Run a statement on goes's own tables as the owner of the extension, under
 *		a new snapshot (that of the transaction, if it keeps one), and return the
 *		number of rows.  It is prepared once, and kept in *plan.  The caller is
 *		connected to SPI.
 */
uint64
goes_execute_kept(SPIPlanPtr *plan, const char *sql, int nargs,
				  const Oid *argtypes, Datum *args, const char *nulls)
{
	GoesRole	before = goes_become(goes_objects()->owner);

	execute_kept(plan, sql, nargs, argtypes, args, nulls, 0);
	goes_unbecome(before);
	return SPI_processed;
}

/*
 * goes_execute_by_index
 *		The same on tables whose rows come and go, and with one plan for all
 *		arguments.
 */
uint64
goes_execute_by_index(SPIPlanPtr *plan, const char *sql, int nargs,
					  const Oid *argtypes, Datum *args, const char *nulls)
{
	GoesRole	before = goes_become(goes_objects()->owner);

	goes_prefer_indexes();
	execute_kept(plan, sql, nargs, argtypes, args, nulls, CURSOR_OPT_GENERIC_PLAN);
	goes_unbecome(before);
	return SPI_processed;
}
