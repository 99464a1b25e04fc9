/*-------------------------------------------------------------------------
 *
 * reactor.c
 *	  Reactors: registered, and attached to events tables.
 *
 * A sync reactor is an AFTER INSERT trigger on every events table that one of
 * its patterns reaches; async and outside ones are rows of goes.reactors, with
 * the position up to which they are done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "compat.h"
#include "errors.h"
#include "executor/spi.h"
#include "guard.h"
#include "horizon.h"
#include "interval.h"
#include "miscadmin.h"
#include "model.h"
#include "position.h"
#include "progress.h"
#include "reactor.h"
#include "registry.h"
#include "relation.h"
#include "role.h"
#include "shared.h"
#include "transient.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "uuid.h"

static const char *const mode_names[] = {"sync", "async", "outside"};
static const char *const form_names[] = {NULL, "event", "aggregate", "trigger"};

/* ---------------------------------------------------------------------------
 * Rows of goes.reactors
 * ---------------------------------------------------------------------------
 */

#define REACTOR_COLUMNS \
	"reactor, mode, form, active, owner, patterns, id, paused, parallelism, on_failure," \
	" max_attempts, batch_size, backoff, max_backoff, timeout"

/* Settings of these names */
int			goes_max_attempts = 10;
int			goes_backoff = 1000;
int			goes_max_backoff = 300000;
int			goes_timeout = 60000;
int			goes_batch_size = 100;

static void
parse_patterns(GoesReactor *reactor, ArrayType *array)
{
	Datum	   *texts;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &texts, NULL,
					  &reactor->npatterns);
	reactor->patterns = palloc0(Max(1, reactor->npatterns) * sizeof(GoesPattern));
	for (int i = 0; i < reactor->npatterns; i++)
		goes_pattern_parse(TextDatumGetCString(texts[i]), &reactor->patterns[i]);
}

/* The index of a name; that of NULL is 0. */
static int
parse_name(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
	{
		if (name == NULL || (names[i] != NULL && strcmp(names[i], name) == 0))
			return i;
	}
	elog(ERROR, "invalid word \"%s\" in goes.reactors", name);
}

/* An integer column of a row, or the setting that holds where it is NULL. */
static int
take_integer(HeapTuple tuple, TupleDesc desc, int column, int setting)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? setting : DatumGetInt32(value);
}

/* The same for an interval, in milliseconds. */
static int64
take_interval(HeapTuple tuple, TupleDesc desc, int column, int setting)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? setting : goes_interval_ms(DatumGetIntervalP(value));
}

/* How the reactor is run. */
static void
take_settings(GoesReactor *reactor, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;

	reactor->id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 7, &isnull));
	reactor->paused = DatumGetBool(SPI_getbinval(tuple, desc, 8, &isnull));
	reactor->parallelism = take_integer(tuple, desc, 9, 1);
	reactor->stops = strcmp(SPI_getvalue(tuple, desc, 10), "stop") == 0;
	reactor->max_attempts = take_integer(tuple, desc, 11, goes_max_attempts);
	reactor->batch_size = take_integer(tuple, desc, 12, goes_batch_size);
	reactor->backoff = take_interval(tuple, desc, 13, goes_backoff);
	reactor->max_backoff = take_interval(tuple, desc, 14, goes_max_backoff);
	reactor->timeout = take_interval(tuple, desc, 15, goes_timeout);
}

/* Row number row of the last result, with REACTOR_COLUMNS. */
static GoesReactor *
take_reactor(uint64 row)
{
	HeapTuple	tuple = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	GoesReactor *reactor = palloc0(sizeof(GoesReactor));
	bool		isnull;
	Datum		owner;

	reactor->name = SPI_getvalue(tuple, desc, 1);
	reactor->mode = parse_name(mode_names, goes_lengthof(mode_names),
							   SPI_getvalue(tuple, desc, 2));
	reactor->form = parse_name(form_names, goes_lengthof(form_names),
							   SPI_getvalue(tuple, desc, 3));
	reactor->active = DatumGetBool(SPI_getbinval(tuple, desc, 4, &isnull));
	owner = SPI_getbinval(tuple, desc, 5, &isnull);
	/* A role that was dropped owns nothing */
	reactor->owner = isnull ||
		!SearchSysCacheExists1(AUTHOID, owner) ? InvalidOid : DatumGetObjectId(owner);
	parse_patterns(reactor, DatumGetArrayTypeP(SPI_getbinval(tuple, desc, 6, &isnull)));
	take_settings(reactor, tuple, desc);
	return reactor;
}

/*
 * goes_reactor_read
 *		The reactor of that exact name, or NULL.  The caller is connected to
 *		SPI.
 */
GoesReactor *
goes_reactor_read(const char *name)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(name);

	if (goes_registry_execute_kept(&plan, "SELECT " REACTOR_COLUMNS " FROM goes.reactors"
								   " WHERE reactor OPERATOR(pg_catalog.=) $1",
								   1, &argtype, &arg, NULL) == 0)
		return NULL;
	return take_reactor(0);
}

/* goes_reactors_read: all of them, by name.  The caller is connected to SPI. */
List *
goes_reactors_read(void)
{
	List	   *reactors = NIL;
	uint64		nrows = goes_registry_execute("SELECT " REACTOR_COLUMNS
											  " FROM goes.reactors"
											  " ORDER BY reactor COLLATE pg_catalog.\"C\"",
											  0, NULL, NULL, NULL);

	for (uint64 i = 0; i < nrows; i++)
		reactors = lappend(reactors, take_reactor(i));
	return reactors;
}

/* goes_reactor_copy: a copy in the current context. */
GoesReactor *
goes_reactor_copy(const GoesReactor *reactor)
{
	GoesReactor *copy = palloc(sizeof(GoesReactor));

	*copy = *reactor;
	copy->name = pstrdup(reactor->name);
	copy->patterns = palloc0(Max(1, reactor->npatterns) * sizeof(GoesPattern));
	for (int i = 0; i < reactor->npatterns; i++)
		goes_pattern_parse(goes_pattern_to_string(&reactor->patterns[i]),
						   &copy->patterns[i]);
	return copy;
}

/* All reactors that are not off, by name, kept until the registry changes. */
static List *
active_reactors(void)
{
	static MemoryContext context = NULL;
	static List *active = NIL;
	static uint64 generation = 0;
	MemoryContext oldcontext;
	ListCell   *cell;
	List	   *all;
	uint64		before = goes_registry_generation();

	if (generation == before)
		return active;
	all = goes_reactors_read();
	generation = 0;
	if (context == NULL)
		context = AllocSetContextCreate(CacheMemoryContext, "goes active reactors",
										ALLOCSET_SMALL_SIZES);
	MemoryContextReset(context);
	active = NIL;
	oldcontext = MemoryContextSwitchTo(context);
	foreach(cell, all)
	{
		const GoesReactor *reactor = lfirst(cell);

		if (reactor->active)
			active = lappend(active, goes_reactor_copy(reactor));
	}
	MemoryContextSwitchTo(oldcontext);
	generation = before;
	return active;
}

/* goes_reactor_matches: does a pattern match an event as it is stored? */
bool
goes_reactor_matches(const GoesReactor *reactor, const GoesEvent *event)
{
	for (int i = 0; i < reactor->npatterns; i++)
	{
		if (goes_pattern_matches(&reactor->patterns[i], event->aggregate_type,
								 event->action, event->event_version))
			return true;
	}
	return false;
}

/*
 * goes_reactor_reaches
 *		Has the owner of an async or outside reactor the rights of the owner of an
 *		aggregate table?  The caller is connected to SPI.
 */
bool
goes_reactor_reaches(const GoesReactor *reactor, Oid relation)
{
	Oid			owner = goes_reactor_owner(reactor);

	return OidIsValid(owner) &&
		has_privs_of_role(owner, goes_relation_owner(relation));
}

/*
 * goes_reactors_matching
 *		The reactors that are not off and have a pattern which matches an event as
 *		it is stored, by name, as a list of GoesReactor in the current context.
 *		The caller is connected to SPI.
 */
List *
goes_reactors_matching(const GoesEvent *event)
{
	List	   *reactors = NIL;
	ListCell   *cell;

	foreach(cell, active_reactors())
	{
		if (goes_reactor_matches(lfirst(cell), event))
			reactors = lappend(reactors, goes_reactor_copy(lfirst(cell)));
	}
	return reactors;
}

/*
 * goes_reactors_of_event
 *		Those of them that are async or outside, get the event and are not paused.
 */
List *
goes_reactors_of_event(const GoesEvent *event)
{
	GoesAggregateType *type = goes_get_aggregate_type(event->aggregate_type);
	List	   *reactors = NIL;
	ListCell   *cell;

	foreach(cell, goes_reactors_matching(event))
	{
		const GoesReactor *reactor = lfirst(cell);

		if (reactor->mode != GOES_SYNC && !reactor->paused &&
			goes_reactor_reaches(reactor, type->relation))
			reactors = lappend(reactors, lfirst(cell));
	}
	return reactors;
}

static Datum
patterns_datum(const GoesReactor *reactor)
{
	Datum	   *texts = palloc(Max(1, reactor->npatterns) * sizeof(Datum));

	for (int i = 0; i < reactor->npatterns; i++)
		texts[i] = CStringGetTextDatum(goes_pattern_to_string(&reactor->patterns[i]));
	return PointerGetDatum(construct_array(texts, reactor->npatterns, TEXTOID,
										   -1, false, TYPALIGN_INT));
}

/* Write the row.  A new one gets its id. */
static void
write_reactor(GoesReactor *reactor)
{
	static const Oid argtypes[] = {
		TEXTOID, TEXTOID, TEXTARRAYOID, BOOLOID, OIDOID, TEXTOID, UUIDOID
	};
	const char *form = form_names[reactor->form];
	pg_uuid_t	new_id;
	Datum		args[] = {
		CStringGetTextDatum(reactor->name),
		CStringGetTextDatum(mode_names[reactor->mode]),
		patterns_datum(reactor),
		BoolGetDatum(reactor->active),
		ObjectIdGetDatum(reactor->owner),
		form ? CStringGetTextDatum(form) : (Datum) 0,
		UUIDPGetDatum(&new_id)
	};
	char		nulls[] = "       ";
	bool		isnull;

	goes_new_uuid(&new_id);
	if (!OidIsValid(reactor->owner))
		nulls[4] = 'n';
	if (form == NULL)
		nulls[5] = 'n';
	goes_registry_execute("INSERT INTO goes.reactors (reactor, mode, patterns, active, owner, form, id)"
						  " VALUES ($1, $2, $3, $4, $5, $6, $7)"
						  " ON CONFLICT (reactor) DO UPDATE SET mode = excluded.mode,"
						  " form = excluded.form, patterns = excluded.patterns, active = excluded.active,"
						  " owner = excluded.owner RETURNING id",
						  goes_lengthof(argtypes), argtypes, args, nulls);
	reactor->id = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0],
											   SPI_tuptable->tupdesc, 1, &isnull));
	goes_workers_changed();
}

/* goes_reactor_delete: remove the row, and all progress.  The caller is connected to SPI. */
void
goes_reactor_delete(const char *name)
{
	static const Oid argtype = TEXTOID;
	Datum		arg = CStringGetTextDatum(name);
	GoesReactor *reactor = goes_reactor_read(name);

	if (reactor == NULL)
		return;
	if (reactor->mode != GOES_SYNC)
	{
		goes_progress_forget(&reactor->id);
		goes_transient_forget_at_commit(&reactor->id);
	}
	goes_registry_execute("DELETE FROM goes.reactors"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1",
						  1, &argtype, &arg, NULL);
	goes_workers_changed();
}

/* ---------------------------------------------------------------------------
 * The function and its owner
 * ---------------------------------------------------------------------------
 */

/*
 * goes_reactor_signature
 *		The arguments and result of a reactor's function; rowtype is that of the
 *		aggregate, which only one of the forms needs.
 */
GoesSignature
goes_reactor_signature(GoesForm form, Oid rowtype)
{
	GoesSignature signature = {0};

	signature.result = form == GOES_FORM_TRIGGER ? TRIGGEROID : VOIDOID;
	if (form == GOES_FORM_AGGREGATE)
		signature.argtypes[signature.nargs++] = rowtype;
	if (form != GOES_FORM_TRIGGER)
		signature.argtypes[signature.nargs++] = goes_objects()->event_type;
	return signature;
}

static GoesReactorTarget *
match_target(const GoesReactor *reactor, uint64 row)
{
	HeapTuple	tuple = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	GoesReactorTarget *target = palloc0(sizeof(GoesReactorTarget));
	bool		matched = false;
	bool		isnull;

	target->type = SPI_getvalue(tuple, desc, 1);
	target->relation = DatumGetObjectId(SPI_getbinval(tuple, desc, 2, &isnull));
	target->events = DatumGetObjectId(SPI_getbinval(tuple, desc, 3, &isnull));
	for (int i = 0; i < reactor->npatterns; i++)
	{
		if (!goes_pattern_matches_type(&reactor->patterns[i], target->type))
			continue;
		matched = true;
		target->named |= reactor->patterns[i].type != NULL;
	}
	return matched ? target : NULL;
}

/*
 * goes_reactor_targets
 *		The registered types that the reactor's patterns match, as a list of
 *		GoesReactorTarget.  The caller is connected to SPI.
 */
List *
goes_reactor_targets(const GoesReactor *reactor)
{
	List	   *targets = NIL;
	uint64		nrows = goes_registry_execute("SELECT type, relation, events"
											  " FROM goes.aggregate_types"
											  " ORDER BY type COLLATE pg_catalog.\"C\"",
											  0, NULL, NULL, NULL);

	for (uint64 i = 0; i < nrows; i++)
	{
		GoesReactorTarget *target = match_target(reactor, i);

		if (target != NULL)
			targets = lappend(targets, target);
	}
	return targets;
}

/* The function of a registered reactor that is for the type; or InvalidOid. */
static Oid
target_function(const GoesReactor *reactor, const GoesReactorTarget *target)
{
	GoesSignature signature = goes_reactor_signature(reactor->form,
													 get_rel_type_id(target->relation));

	return goes_function_find_qualified(reactor->name, &signature);
}

/*
 * goes_reactor_function
 *		The reactor's function; InvalidOid if it is gone, or the reactor is
 *		outside.  The caller is connected to SPI.
 */
Oid
goes_reactor_function(const GoesReactor *reactor)
{
	GoesSignature signature = goes_reactor_signature(reactor->form, InvalidOid);
	ListCell   *cell;

	if (reactor->form == GOES_FORM_NONE)
		return InvalidOid;
	if (reactor->form != GOES_FORM_AGGREGATE)
		return goes_function_find_qualified(reactor->name, &signature);
	foreach(cell, goes_reactor_targets(reactor))
	{
		Oid			function = target_function(reactor, lfirst(cell));

		if (OidIsValid(function))
			return function;
	}
	return InvalidOid;
}

/*
 * goes_reactor_functions
 *		OIDs of all functions of a reactor: one that takes the aggregate has one
 *		for each type that its patterns name.  InvalidOid for one that is gone.
 *		The caller is connected to SPI.
 */
List *
goes_reactor_functions(const GoesReactor *reactor)
{
	List	   *functions = NIL;
	ListCell   *cell;

	if (reactor->form != GOES_FORM_AGGREGATE)
		return list_make1_oid(goes_reactor_function(reactor));
	foreach(cell, goes_reactor_targets(reactor))
	{
		GoesReactorTarget *target = lfirst(cell);

		if (target->named)
			functions = lappend_oid(functions, target_function(reactor, target));
	}
	return functions;
}

/* The function in one form, of every type that is named; or InvalidOid. */
static Oid
find_in_form(const char *name, GoesForm form, List *targets)
{
	GoesSignature signature = goes_reactor_signature(form, InvalidOid);
	Oid			function = InvalidOid;
	ListCell   *cell;

	if (form != GOES_FORM_AGGREGATE)
		return goes_function_find(name, &signature, NULL);
	foreach(cell, targets)
	{
		GoesReactorTarget *target = lfirst(cell);

		if (!target->named)
			continue;
		signature = goes_reactor_signature(form, get_rel_type_id(target->relation));
		function = goes_function_find(name, &signature, NULL);
		if (!OidIsValid(function))
			break;
	}
	return function;
}

static void
report_no_function(const char *name, List *targets)
{
	GoesSignature event = goes_reactor_signature(GOES_FORM_EVENT, InvalidOid);
	StringInfoData forms;
	ListCell   *cell;

	initStringInfo(&forms);
	foreach(cell, targets)
	{
		GoesReactorTarget *target = lfirst(cell);
		GoesSignature signature = goes_reactor_signature(GOES_FORM_AGGREGATE,
														 get_rel_type_id(target->relation));

		if (target->named)
			appendStringInfo(&forms, ", %s RETURNS void",
							 goes_function_spell(name, &signature));
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("function %s does not exist", goes_function_spell(name, &event)),
			 errhint("A sync reactor is a function %s RETURNS void%s, or %s() RETURNS trigger.",
					 goes_function_spell(name, &event), forms.data, name)));
}

/* Find the function that a sync reactor names: in exactly one of the forms. */
static Oid
find_sync_function(const char *name, List *targets, GoesForm *form)
{
	Oid			found = InvalidOid;

	for (int i = GOES_FORM_EVENT; i <= GOES_FORM_TRIGGER; i++)
	{
		Oid			function = find_in_form(name, i, targets);

		if (OidIsValid(function) && OidIsValid(found))
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_FUNCTION),
					 errmsg("sync reactor \"%s\" is not unique", name),
					 errdetail("There are functions with more than one of the argument lists that a sync reactor may have."),
					 errhint("Rename all of them but one.")));
		if (OidIsValid(function))
		{
			found = function;
			*form = i;
		}
	}
	if (!OidIsValid(found))
		report_no_function(name, targets);
	return found;
}

static bool
matches_any_type(const GoesReactor *reactor)
{
	for (int i = 0; i < reactor->npatterns; i++)
	{
		if (reactor->patterns[i].type == NULL)
			return true;
	}
	return false;
}

/*
 * "*" reaches what its function's owner registers later, so it is for him to
 * say so.
 */
static void
check_may_match_any(const GoesReactor *reactor, Oid owner)
{
	if (matches_any_type(reactor) && !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of function %s to let it react to all events",
						reactor->name)));
}

/* Raise if the function has the wrong result type or may not be executed. */
static void
check_sync_function(const char *name, GoesForm form, List *targets)
{
	GoesSignature signature = goes_reactor_signature(form, InvalidOid);
	ListCell   *cell;

	if (form != GOES_FORM_AGGREGATE)
	{
		(void) goes_function_find(name, &signature, "sync reactor");
		return;
	}
	foreach(cell, targets)
	{
		GoesReactorTarget *target = lfirst(cell);

		signature = goes_reactor_signature(form, get_rel_type_id(target->relation));
		if (target->named)
			(void) goes_function_find(name, &signature, "sync reactor");
	}
}

static Oid
function_owner(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * goes_reactor_owner
 *		Who the reactor belongs to, as whom an async one runs; InvalidOid if its
 *		function or that role is gone.  The caller is connected to SPI.
 */
Oid
goes_reactor_owner(const GoesReactor *reactor)
{
	Oid			function;

	if (reactor->mode == GOES_OUTSIDE)
		return reactor->owner;
	function = goes_reactor_function(reactor);
	return OidIsValid(function) ? function_owner(function) : InvalidOid;
}

/* ---------------------------------------------------------------------------
 * Triggers
 * ---------------------------------------------------------------------------
 */

/* Names sort as the reactors do; a long one ends in a hash to stay unique. */
static char *
trigger_name(const char *reactor)
{
	char	   *name = psprintf("goes_on_%s", reactor);
	int			length = strlen(name);
	uint32		hash;

	if (length < NAMEDATALEN)
		return name;
	hash = hash_bytes((const unsigned char *) name, length);
	length = pg_mbcliplen(name, length, NAMEDATALEN - 10);
	return psprintf("%.*s_%08x", length, name, hash);
}

/* The arguments of goes.react(): the reactor and its patterns for the type. */
static char *
trigger_arguments(const GoesReactor *reactor, const GoesReactorTarget *target)
{
	StringInfoData arguments;

	initStringInfo(&arguments);
	appendStringInfoString(&arguments, quote_literal_cstr(reactor->name));
	for (int i = 0; i < reactor->npatterns; i++)
	{
		if (goes_pattern_matches_type(&reactor->patterns[i], target->type))
			appendStringInfo(&arguments, ", %s",
							 quote_literal_cstr(goes_pattern_to_string(&reactor->patterns[i])));
	}
	return arguments.data;
}

/* The same as WHEN condition of a function that RETURNS trigger. */
static char *
trigger_condition(const GoesReactor *reactor, const GoesReactorTarget *target)
{
	char	   *condition = goes_patterns_condition(reactor->patterns,
													reactor->npatterns,
													target->type, "NEW.");

	if (condition == NULL)
		return pstrdup("NOT NEW.imported");
	return psprintf("NOT NEW.imported AND (%s)", condition);
}

static void
create_trigger_on(Oid table, const GoesReactor *reactor, const GoesReactorTarget *target)
{
	GoesRole	before = goes_become(goes_relation_owner(table));
	const char *name = quote_identifier(trigger_name(reactor->name));
	char	   *table_name = goes_relation_name(table);

	if (reactor->form == GOES_FORM_TRIGGER)
		goes_run_ddl(psprintf("CREATE OR REPLACE TRIGGER %s AFTER INSERT ON %s"
							  " FOR EACH ROW WHEN (%s) EXECUTE FUNCTION %s()",
							  name, table_name, trigger_condition(reactor, target),
							  reactor->name));
	else
		goes_run_ddl(psprintf("CREATE OR REPLACE TRIGGER %s AFTER INSERT ON %s"
							  " FOR EACH ROW EXECUTE FUNCTION goes.react(%s)",
							  name, table_name, trigger_arguments(reactor, target)));
	goes_unbecome(before);
}

/* Create the triggers, and replace those that are there if replace. */
static void
create_triggers(const GoesReactor *reactor, const GoesReactorTarget *target, bool replace)
{
	char	   *name = trigger_name(reactor->name);
	ListCell   *cell;

	/* A partition that is being attached must be seen, or see the reactor */
	LockRelationOid(target->events, ShareRowExclusiveLock);
	foreach(cell, goes_leaf_tables(target->events))
	{
		if (replace || !OidIsValid(get_trigger_oid(lfirst_oid(cell), name, true)))
			create_trigger_on(lfirst_oid(cell), reactor, target);
	}
}

/* Is the trigger on an events table, on all of its partitions? */
static bool
has_triggers(Oid events, const char *name)
{
	ListCell   *cell;

	foreach(cell, goes_leaf_tables(events))
	{
		if (!OidIsValid(get_trigger_oid(lfirst_oid(cell), name, true)))
			return false;
	}
	return true;
}

static void
drop_triggers(Oid events, const char *name)
{
	ListCell   *cell;

	LockRelationOid(events, ShareRowExclusiveLock);
	foreach(cell, goes_leaf_tables(events))
	{
		GoesRole	before;

		if (!OidIsValid(get_trigger_oid(lfirst_oid(cell), name, true)))
			continue;
		before = goes_become(goes_relation_owner(lfirst_oid(cell)));
		goes_run_ddl(psprintf("DROP TRIGGER %s ON %s", quote_identifier(name),
							  goes_relation_name(lfirst_oid(cell))));
		goes_unbecome(before);
	}
}

/*
 * May the reactor see the type's events?  Its owner must have the rights of
 * the table's owner: a trigger runs its code as whoever executes a command.
 */
static bool
reaches(Oid owner, const GoesReactor *reactor, const GoesReactorTarget *target)
{
	if (has_privs_of_role(owner, goes_relation_owner(target->relation)))
		return true;
	ereport(NOTICE,
			(errmsg("reactor \"%s\" does not react to events of aggregate type \"%s\"",
					reactor->name, target->type),
			 errdetail("Its owner \"%s\" is not a member of \"%s\", the owner of table \"%s\".",
					   GetUserNameFromId(owner, false),
					   GetUserNameFromId(goes_relation_owner(target->relation), false),
					   get_rel_name(target->relation))));
	return false;
}

/* Create the triggers on one events table, if the reactor may. */
static void
attach(const GoesReactor *reactor, const GoesReactorTarget *target, bool replace)
{
	Oid			function = target_function(reactor, target);

	if (OidIsValid(function) &&
		reaches(function_owner(function), reactor, target))
		create_triggers(reactor, target, replace);
}

/* goes_reactor_attach: create or replace the triggers of a sync reactor. */
void
goes_reactor_attach(const GoesReactor *reactor)
{
	ListCell   *cell;

	foreach(cell, goes_reactor_targets(reactor))
		attach(reactor, lfirst(cell), true);
}

/* Are the triggers there?  Their owners may have dropped some on purpose. */
static bool
is_attached(const GoesReactor *reactor)
{
	char	   *name = trigger_name(reactor->name);
	ListCell   *cell;

	foreach(cell, goes_reactor_targets(reactor))
	{
		GoesReactorTarget *target = lfirst(cell);
		Oid			function = target_function(reactor, target);

		if (OidIsValid(function) &&
			has_privs_of_role(function_owner(function),
							  goes_relation_owner(target->relation)) &&
			!has_triggers(target->events, name))
			return false;
	}
	return true;
}

/*
 * goes_reactor_is_attached
 *		Has a sync reactor a trigger on any table, or does an async one get events
 *		of a type whose tables are guarded?  If not, its function is free to go.
 */
bool
goes_reactor_is_attached(const GoesReactor *reactor)
{
	char	   *name = trigger_name(reactor->name);
	ListCell   *cell;

	foreach(cell, goes_reactor_targets(reactor))
	{
		GoesReactorTarget *target = lfirst(cell);

		if (reactor->mode == GOES_SYNC ?
			has_triggers(target->events, name) :
			goes_guard_is_installed(target->events))
			return true;
	}
	return false;
}

/*
 * goes_reactor_trigger
 *		The trigger of a sync reactor among those of a table; NULL if it is missing
 *		or disabled.
 */
Trigger *
goes_reactor_trigger(const GoesReactor *reactor, const TriggerDesc *triggers)
{
	char	   *name = trigger_name(reactor->name);

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, name) == 0 &&
			(trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
			 trigger->tgenabled == TRIGGER_FIRES_ALWAYS))
			return trigger;
	}
	return NULL;
}

/* goes_reactor_detach: drop the triggers of a sync reactor. */
void
goes_reactor_detach(const GoesReactor *reactor)
{
	ListCell   *cell;

	foreach(cell, goes_reactor_targets(reactor))
		drop_triggers(((GoesReactorTarget *) lfirst(cell))->events, trigger_name(reactor->name));
}

/*
 * goes_reactor_attach_all
 *		Attach to a newly registered type the sync reactors whose patterns match
 *		it, and to its new partitions.  Triggers that are there, from a dump for
 *		example, are left alone.  The caller is connected to SPI.
 */
void
goes_reactor_attach_all(const char *type, Oid relation, Oid events)
{
	GoesReactorTarget target = {
		.type = unconstify(char *, type),
		.relation = relation,
		.events = events
	};
	ListCell   *cell;

	foreach(cell, goes_reactors_read())
	{
		GoesReactor *reactor = lfirst(cell);
		bool		matched = false;

		for (int i = 0; i < reactor->npatterns; i++)
			matched |= goes_pattern_matches_type(&reactor->patterns[i], type);
		if (matched && reactor->mode == GOES_SYNC)
			attach(reactor, &target, false);
	}
}

/* goes_reactor_detach_all: drop the triggers of all reactors on a table. */
void
goes_reactor_detach_all(Oid events)
{
	ListCell   *cell;

	foreach(cell, goes_reactors_read())
		drop_triggers(events, trigger_name(((GoesReactor *) lfirst(cell))->name));
}

/*
 * goes_reactors_forget_type
 *		Remove the patterns that name a type which is unregistered: another type
 *		of that name, of another owner perhaps, is not what they meant.  A sync
 *		reactor with no pattern left goes, any other stops.  The caller is
 *		connected to SPI.
 */
void
goes_reactors_forget_type(const char *type)
{
	ListCell   *cell;

	foreach(cell, goes_reactors_read())
	{
		GoesReactor *reactor = lfirst(cell);
		int			kept = 0;

		for (int i = 0; i < reactor->npatterns; i++)
		{
			if (reactor->patterns[i].type == NULL ||
				strcmp(reactor->patterns[i].type, type) != 0)
				reactor->patterns[kept++] = reactor->patterns[i];
		}
		if (kept == reactor->npatterns)
			continue;
		reactor->npatterns = kept;
		reactor->active = reactor->active && kept > 0;
		if (kept == 0 && reactor->mode == GOES_SYNC)
			goes_reactor_delete(reactor->name);
		else
			write_reactor(reactor);
		if (!reactor->active)
			goes_transient_forget_at_commit(&reactor->id);
	}
}

/* goes_reactor_rename: its function was renamed. */
void
goes_reactor_rename(const GoesReactor *reactor, const char *name)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID};
	Datum		args[] = {
		CStringGetTextDatum(reactor->name),
		CStringGetTextDatum(name)
	};
	GoesReactor renamed = *reactor;

	renamed.name = pstrdup(name);
	goes_registry_execute("UPDATE goes.reactors SET reactor = $2"
						  " WHERE reactor OPERATOR(pg_catalog.=) $1",
						  goes_lengthof(argtypes), argtypes, args, NULL);
	if (reactor->mode == GOES_SYNC)
	{
		goes_reactor_detach(reactor);
		goes_reactor_attach(&renamed);
	}
}

/* ---------------------------------------------------------------------------
 * goes_on
 * ---------------------------------------------------------------------------
 */

/* A text[] argument without NULLs; NULL itself is empty. */
static Datum *
texts_arg(FunctionCallInfo fcinfo, int n, const char *name, int *count)
{
	Datum	   *texts = NULL;
	bool	   *nulls;

	*count = 0;
	if (PG_ARGISNULL(n))
		return NULL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false,
					  TYPALIGN_INT, &texts, &nulls, count);
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", name)));
	}
	return texts;
}

/* A pattern must name what is registered, or it is a typing error. */
static void
check_pattern(const GoesPattern *pattern)
{
	GoesAggregateType *type;
	bool		known = pattern->action == NULL;

	if (pattern->type == NULL)
		return;
	type = goes_get_aggregate_type(pattern->type);
	for (int i = 0; i < type->nevents && !known; i++)
		known = goes_pattern_matches(pattern, type->name,
									 type->event_types[i].action,
									 type->event_types[i].version);
	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("event \"%s\" is not registered",
						goes_pattern_to_string(pattern)),
				 errhint("Register it with goes_register_event.")));
}

/* The reactor that goes_on asks for, without name and owner. */
static GoesReactor *
requested_reactor(FunctionCallInfo fcinfo, GoesMode mode)
{
	GoesReactor *reactor = palloc0(sizeof(GoesReactor));
	Datum	   *texts = texts_arg(fcinfo, 0, "events", &reactor->npatterns);

	if (reactor->npatterns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no event pattern is given")));
	reactor->mode = mode;
	reactor->active = true;
	reactor->patterns = palloc0(reactor->npatterns * sizeof(GoesPattern));
	for (int i = 0; i < reactor->npatterns; i++)
	{
		goes_pattern_parse(TextDatumGetCString(texts[i]), &reactor->patterns[i]);
		check_pattern(&reactor->patterns[i]);
	}
	return reactor;
}

static bool
has_pattern(const GoesReactor *reactor, const GoesPattern *pattern)
{
	char	   *string = goes_pattern_to_string(pattern);

	for (int i = 0; i < reactor->npatterns; i++)
	{
		if (strcmp(goes_pattern_to_string(&reactor->patterns[i]), string) == 0)
			return true;
	}
	return false;
}

/* Put the patterns that the reactor has before those that are new. */
static bool
add_patterns(GoesReactor *reactor, const GoesReactor *existing)
{
	GoesReactor sum = *existing;
	bool		added = false;

	sum.patterns = palloc0((existing->npatterns + reactor->npatterns) *
						   sizeof(GoesPattern));
	memcpy(sum.patterns, existing->patterns,
		   existing->npatterns * sizeof(GoesPattern));
	for (int i = 0; i < reactor->npatterns; i++)
	{
		if (has_pattern(&sum, &reactor->patterns[i]))
			continue;
		sum.patterns[sum.npatterns++] = reactor->patterns[i];
		added = true;
	}
	reactor->patterns = sum.patterns;
	reactor->npatterns = sum.npatterns;
	return added;
}

/*
 * Merge with what is registered under the name; false if nothing is new.
 * has_progress tells whether there is progress to go on from.
 */
static bool
merge_registered(GoesReactor *reactor, bool *has_progress)
{
	GoesReactor *existing = goes_reactor_read(reactor->name);
	bool		added;

	*has_progress = false;
	if (existing == NULL)
		return true;
	if (existing->mode != reactor->mode && existing->active)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("reactor \"%s\" is %s already", reactor->name,
						mode_names[existing->mode]),
				 errhint("Call goes_off first to change its mode.")));
	if (existing->mode != reactor->mode)
		return true;
	*has_progress = true;
	added = add_patterns(reactor, existing);
	return added || !existing->active || existing->form != reactor->form ||
		(reactor->mode == GOES_SYNC && !is_attached(reactor));
}

/* The first position that the reactor is not to see is the one after this. */
static int64
start_position(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(4))
		return goes_preloaded() ? goes_horizon_certain() : goes_position_settled();
	if (PG_GETARG_INT64(4) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start must not be negative")));
	return PG_GETARG_INT64(4);
}

/* Keep the reactor's functions as they are until the transaction ends. */
static void
lock_functions(const GoesReactor *reactor)
{
	GoesSignature signature = goes_reactor_signature(reactor->form, InvalidOid);
	ListCell   *cell;

	if (reactor->form == GOES_FORM_EVENT || reactor->form == GOES_FORM_TRIGGER)
		goes_function_lock(reactor->name, &signature);
	if (reactor->form != GOES_FORM_AGGREGATE)
		return;
	foreach(cell, goes_reactor_targets(reactor))
	{
		GoesReactorTarget *target = lfirst(cell);

		signature = goes_reactor_signature(reactor->form,
										   get_rel_type_id(target->relation));
		if (target->named)
			goes_function_lock(reactor->name, &signature);
	}
}

/* Write an async or outside reactor, unless it is there as it should be. */
static void
register_waiting(FunctionCallInfo fcinfo, GoesReactor *reactor, Oid owner)
{
	GoesReactor requested = *reactor;
	bool		has_progress;
	int64		start = 0;
	ListCell   *cell;

	goes_warn_without_preload();
	goes_launch_at_commit();
	if (!merge_registered(reactor, &has_progress))
		return;
	/* May wait for other transactions: not while they may wait for our lock */
	if (!has_progress)
		start = start_position(fcinfo);
	goes_lock_registry();
	*reactor = requested;
	if (!merge_registered(reactor, &has_progress))
		return;
	lock_functions(reactor);
	write_reactor(reactor);
	if (!has_progress)
		goes_progress_start(&reactor->id, start, !PG_ARGISNULL(4));
	foreach(cell, goes_reactor_targets(reactor))
		(void) reaches(owner, reactor, lfirst(cell));
}

/* Leave out the patterns whose type the reactor does not reach. */
static void
drop_unreached(GoesReactor *reactor, Oid owner, List *targets)
{
	int			kept = 0;

	for (int i = 0; i < reactor->npatterns; i++)
	{
		GoesPattern *pattern = &reactor->patterns[i];
		bool		reached = pattern->type == NULL;
		ListCell   *cell;

		foreach(cell, targets)
		{
			GoesReactorTarget *target = lfirst(cell);

			if (pattern->type != NULL && strcmp(pattern->type, target->type) == 0)
				reached = reaches(owner, reactor, target);
		}
		if (reached)
			reactor->patterns[kept++] = *pattern;
	}
	reactor->npatterns = kept;
}

/* A sync reactor as goes_on asks for it, checked; NULL if it reaches nothing. */
static GoesReactor *
requested_sync(FunctionCallInfo fcinfo, const char *name)
{
	GoesReactor *reactor = requested_reactor(fcinfo, GOES_SYNC);
	List	   *targets = goes_reactor_targets(reactor);
	Oid			function = find_sync_function(name, targets, &reactor->form);
	Oid			owner = function_owner(function);
	ListCell   *cell;

	check_sync_function(name, reactor->form, targets);
	reactor->name = goes_function_qualified_name(function);
	check_may_match_any(reactor, owner);
	foreach(cell, targets)
	{
		GoesReactorTarget *target = lfirst(cell);

		if (target->named || has_privs_of_role(owner, goes_relation_owner(target->relation)))
			goes_check_owner(target->relation);
	}
	drop_unreached(reactor, owner, targets);
	return reactor->npatterns > 0 ? reactor : NULL;
}

static void
register_sync(FunctionCallInfo fcinfo, const char *name)
{
	GoesReactor *reactor = requested_sync(fcinfo, name);
	bool		has_progress;

	if (reactor == NULL || !merge_registered(reactor, &has_progress))
		return;
	goes_lock_registry();
	reactor = requested_sync(fcinfo, name);
	if (reactor == NULL || !merge_registered(reactor, &has_progress))
		return;
	lock_functions(reactor);
	write_reactor(reactor);
	goes_reactor_attach(reactor);
}

/*
 * goes_connect_problem
 *		Why a background worker could not connect as a role, and what can be
 *		done about it; NULL: it can, as far as is known.
 */
const char *
goes_connect_problem(Oid role, const char **hint)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can_login;

	if (!HeapTupleIsValid(tuple))
		return "does not exist";
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (GOES_WORKER_NEEDS_LOGIN && !can_login)
	{
		*hint = "Async reactors run as their function's owner: ALTER ROLE ... LOGIN (it needs no password), or give the function another owner.";
		return "cannot log in";
	}
	if (!goes_may_connect(role))
	{
		*hint = "Async reactors run as their function's owner: GRANT CONNECT, or give the function another owner.";
		return "cannot connect to this database";
	}
	return NULL;
}

static void
check_may_connect(Oid owner)
{
	const char *hint;
	const char *problem = goes_connect_problem(owner, &hint);

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" owns an async reactor, but %s",
						GetUserNameFromId(owner, false), problem),
				 errhint("%s", hint)));
}

static void
register_async(FunctionCallInfo fcinfo, const char *name)
{
	GoesReactor *reactor = requested_reactor(fcinfo, GOES_ASYNC);
	GoesSignature signature = goes_reactor_signature(GOES_FORM_EVENT, InvalidOid);
	Oid			function = goes_function_find(name, &signature, "async reactor");
	Oid			owner = function_owner(function);

	if (!goes_is_member(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be member of role \"%s\"",
						GetUserNameFromId(owner, false)),
				 errdetail("It owns function %s, as which the async reactor would run.",
						   goes_function_spell(name, &signature))));
	check_may_connect(owner);
	reactor->form = GOES_FORM_EVENT;
	reactor->name = goes_function_qualified_name(function);
	register_waiting(fcinfo, reactor, owner);
}

static void
register_outside(FunctionCallInfo fcinfo, const char *name)
{
	GoesReactor *reactor = requested_reactor(fcinfo, GOES_OUTSIDE);
	GoesReactor *existing = goes_reactor_read(name);

	goes_check_name("outside reactor", name);
	if (existing != NULL && existing->mode == GOES_OUTSIDE &&
		!has_privs_of_role(GetUserId(), existing->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of reactor \"%s\"", name)));
	reactor->name = pstrdup(name);
	reactor->owner = existing != NULL && existing->mode == GOES_OUTSIDE ?
		existing->owner : GetUserId();
	register_waiting(fcinfo, reactor, reactor->owner);
}

PG_FUNCTION_INFO_V1(goes_on);

/*
 * goes_on(events text[], sync text[], async text[], outside text[], start bigint)
 *		Register reactors for the events that match any of the patterns, or add
 *		the patterns to reactors that are registered.  start: the position after
 *		which a new async or outside reactor begins; NULL: with what commits
 *		from now on.  Errors: 22023 for patterns, OG008 for unknown types and
 *		events, 42883 and 42725 for functions, 42501.
 */
Datum
goes_on(PG_FUNCTION_ARGS)
{
	static void (*const registers[]) (FunctionCallInfo, const char *) = {
		register_sync, register_async, register_outside
	};
	int			total = 0;

	SPI_connect();
	for (int mode = 0; mode < goes_lengthof(registers); mode++)
	{
		int			count;
		Datum	   *names = texts_arg(fcinfo, mode + 1, mode_names[mode], &count);

		for (int i = 0; i < count; i++)
			registers[mode] (fcinfo, TextDatumGetCString(names[i]));
		total += count;
	}
	if (total == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no reactor is given"),
				 errhint("Name at least one in \"sync\", \"async\" or \"outside\".")));
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------------------------------------------------------------------------
 * goes_off
 * ---------------------------------------------------------------------------
 */

/*
 * goes_reactor_find
 *		The registered reactor that a user means: by its name, or on the search
 *		path; OG008 if there is none.  The caller is connected to SPI.
 */
GoesReactor *
goes_reactor_find(const char *name)
{
	GoesReactor *reactor = goes_reactor_read(name);
	FuncCandidateList candidate;

	if (reactor != NULL)
		return reactor;
	candidate = goes_function_candidates(goes_function_parse_name(name));
	for (; candidate != NULL && reactor == NULL; candidate = candidate->next)
		reactor = goes_reactor_read(goes_function_qualified_name(candidate->oid));
	if (reactor == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("reactor \"%s\" is not registered", name),
				 errhint("Register it with goes_on.")));
	return reactor;
}

/*
 * goes_reactor_gets_events
 *		Does the reactor get the events of an aggregate table that it has patterns
 *		for?  The caller is connected to SPI.
 */
bool
goes_reactor_gets_events(const GoesReactor *reactor, Oid relation, Oid events)
{
	if (reactor->mode == GOES_SYNC)
		return has_triggers(events, trigger_name(reactor->name));
	return goes_reactor_reaches(reactor, relation);
}

/* The same, but of a reactor without an owner it is as its patterns say. */
static bool
gets_events(const GoesReactor *reactor, Oid owner, const GoesReactorTarget *target)
{
	if (reactor->mode != GOES_SYNC && !OidIsValid(owner))
		return true;
	return goes_reactor_gets_events(reactor, target->relation, target->events);
}

/*
 * goes_reactor_may_manage
 *		Has the current user the rights of the reactor's owner, or of all its
 *		tables' owners?  The caller is connected to SPI.
 */
bool
goes_reactor_may_manage(const GoesReactor *reactor)
{
	Oid			owner = goes_reactor_owner(reactor);
	bool		any = false;
	ListCell   *cell;

	if (superuser() ||
		(OidIsValid(owner) && has_privs_of_role(GetUserId(), owner)))
		return true;
	foreach(cell, goes_reactor_targets(reactor))
	{
		GoesReactorTarget *target = lfirst(cell);

		if (!gets_events(reactor, owner, target))
			continue;
		if (!goes_owns_relation(target->relation, GetUserId()))
			return false;
		any = true;
	}
	return any;
}

/* goes_reactor_check_may_manage: raise 42501 if the current user may not. */
void
goes_reactor_check_may_manage(const GoesReactor *reactor)
{
	if (!goes_reactor_may_manage(reactor))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of reactor \"%s\", or of all its tables",
						reactor->name)));
}

/*
 * goes_reactor_lock
 *		The reactor that a user means and may manage, to change it: nobody else
 *		changes the registry, nor runs a batch of it, until the transaction ends.
 *		The caller is connected to SPI.
 */
GoesReactor *
goes_reactor_lock(const char *name)
{
	GoesReactor *reactor = goes_reactor_find(name);
	pg_uuid_t	locked = reactor->id;

	goes_reactor_check_may_manage(reactor);
	/* May wait for a call that takes long: not while others wait for our lock */
	if (reactor->mode != GOES_SYNC)
		goes_progress_lock(&locked);
	goes_lock_registry();
	reactor = goes_reactor_find(name);
	goes_reactor_check_may_manage(reactor);
	/* Another one has got the name meanwhile */
	if (reactor->mode != GOES_SYNC && !goes_uuid_equal(&reactor->id, &locked))
		goes_progress_lock(&reactor->id);
	return reactor;
}

PG_FUNCTION_INFO_V1(goes_off);

/*
 * goes_off(reactor text, forget boolean)
 *		Stop a reactor: its triggers go; the progress of an async or outside one
 *		stays, unless forget is true.  Errors: OG008, 42501.
 */
Datum
goes_off(PG_FUNCTION_ARGS)
{
	char	   *name = goes_text_arg(fcinfo, 0, "reactor");
	bool		forget = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	GoesReactor *reactor;

	SPI_connect();
	reactor = goes_reactor_lock(name);
	if (reactor->mode == GOES_SYNC)
		goes_reactor_detach(reactor);
	else
		goes_transient_forget_at_commit(&reactor->id);
	if (reactor->mode == GOES_SYNC || forget)
		goes_reactor_delete(reactor->name);
	else if (reactor->active)
	{
		reactor->active = false;
		reactor->npatterns = 0;
		write_reactor(reactor);
	}
	SPI_finish();
	PG_RETURN_VOID();
}
