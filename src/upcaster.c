/*-------------------------------------------------------------------------
 *
 * upcaster.c
 *	  Old versions of events, brought up to date when they are read.
 *
 * An upcaster turns the data of one version of an event into that of the next.
 * Stored rows never change; calculators, reactors and callers get the event in
 * the version to which the chain of upcasters leads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "errors.h"
#include "executor/spi.h"
#include "model.h"
#include "relation.h"
#include "role.h"
#include "upcaster.h"
#include "utils/builtins.h"

static const GoesUpcaster *
find_upcaster(const GoesAggregateType *type, const char *action, int32 version)
{
	for (int i = 0; i < type->nupcasters; i++)
	{
		if (type->upcasters[i].from_version == version &&
			strcmp(type->upcasters[i].action, action) == 0)
			return &type->upcasters[i];
	}
	return NULL;
}

static Jsonb *
call_upcaster(const GoesAggregateType *type, const GoesUpcaster *upcaster,
			  Jsonb *data)
{
	Datum		arg = JsonbPGetDatum(data);
	bool		isnull;
	Datum		result = goes_function_call(upcaster->function, &arg, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_NOT_APPLICABLE),
				 errmsg("upcaster %s returned NULL",
						goes_function_name(upcaster->function)),
				 errdetail("It was called for event \"%s.%s.%d\".", type->name,
						   upcaster->action, upcaster->from_version),
				 errhint("An upcaster returns the data of the next version.")));
	return DatumGetJsonbPCopy(result);
}

/*
 * goes_upcast
 *		The event in the version to which the upcasters lead: the event itself if
 *		there is none for it, otherwise a copy in the current memory context.
 *		OG011 if an upcaster returns NULL.
 */
const GoesEvent *
goes_upcast(const GoesAggregateType *type, const GoesEvent *event)
{
	const GoesUpcaster *upcaster = find_upcaster(type, event->action,
												 event->event_version);
	GoesEvent  *result;

	if (upcaster == NULL)
		return event;
	result = palloc(sizeof(GoesEvent));
	*result = *event;
	while (upcaster != NULL)
	{
		result->data = call_upcaster(type, upcaster, result->data);
		result->event_version++;
		upcaster = find_upcaster(type, result->action, result->event_version);
	}
	return result;
}

/*
 * goes_upcast_as_owner
 *		The same for somebody who may only read the events: upcasters are the
 *		table owner's functions, who must not get the rights of whoever reads.
 */
const GoesEvent *
goes_upcast_as_owner(const GoesAggregateType *type, const GoesEvent *event)
{
	GoesRole	before;
	const GoesEvent *seen;

	if (type->nupcasters == 0)
		return event;
	before = goes_become(goes_relation_owner(type->events));
	seen = goes_upcast(type, event);
	goes_unbecome(before);
	return seen;
}

/*
 * goes_upcaster_gaps
 *		The upcasters after which a link is missing: they lead to a version that is
 *		not the latest, and there is no upcaster from that.  A list of messages.
 */
List *
goes_upcaster_gaps(const GoesAggregateType *type)
{
	List	   *gaps = NIL;

	for (int i = 0; i < type->nupcasters; i++)
	{
		const GoesUpcaster *upcaster = &type->upcasters[i];
		int32		to = upcaster->from_version + 1;
		const GoesEventType *latest = goes_latest_event_type(type, upcaster->action);

		if (latest != NULL && to < latest->version &&
			find_upcaster(type, upcaster->action, to) == NULL)
			gaps = lappend(gaps, psprintf("there is no upcaster of event \"%s.%s.%d\", to which another one leads; the latest version is %d",
										  type->name, upcaster->action, to,
										  latest->version));
	}
	return gaps;
}

/* ---------------------------------------------------------------------------
 * Registration
 * ---------------------------------------------------------------------------
 */

static void
write_upcaster(const char *type, const char *action, int32 from_version,
			   const char *function)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID, INT4OID, TEXTOID};
	Datum		args[] = {
		CStringGetTextDatum(type), CStringGetTextDatum(action),
		Int32GetDatum(from_version), CStringGetTextDatum(function)
	};

	goes_registry_execute("INSERT INTO goes.upcasters"
						  " (aggregate_type, action, from_version, upcaster)"
						  " VALUES ($1, $2, $3, $4)"
						  " ON CONFLICT (aggregate_type, action, from_version)"
						  " DO UPDATE SET upcaster = excluded.upcaster",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

/* What is upcast must lead to a version that somebody can apply. */
static void
check_next_version(const GoesAggregateType *type, const char *action,
				   int32 from_version)
{
	if (goes_find_event_type(type, action, from_version + 1) == NULL &&
		find_upcaster(type, action, from_version + 1) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("event \"%s.%s.%d\" is not registered", type->name, action,
						from_version + 1),
				 errdetail("The upcaster from version %d leads to it.", from_version),
				 errhint("Register the event, or the upcaster from version %d, first.",
						 from_version + 1)));
}

/*
 * Check an upcaster that is to be registered; true if it is registered already.
 * Its name becomes the qualified one.
 */
static bool
check_upcaster(const char *type_name, const char *action, int32 from_version,
			   char **function)
{
	GoesSignature signature = goes_upcaster_signature();
	GoesAggregateType *type = goes_own_type(type_name);
	const GoesUpcaster *registered = find_upcaster(type, action, from_version);

	*function = goes_function_qualified_name(goes_function_find(*function, &signature,
																"upcaster"));
	if (registered != NULL &&
		strcmp(goes_function_name(registered->function), *function) == 0)
		return true;
	check_next_version(type, action, from_version);
	return false;
}

PG_FUNCTION_INFO_V1(goes_register_upcaster);

/*
 * goes_register_upcaster(aggregate_type text, action text, from_version integer, upcaster text)
 *		Register the function (jsonb) RETURNS jsonb that turns the data of
 *		from_version into that of the next version.  Errors: 22004, 22023, OG008,
 *		42501, 42883, 42P13.
 */
Datum
goes_register_upcaster(PG_FUNCTION_ARGS)
{
	char	   *type = goes_text_arg(fcinfo, 0, "aggregate_type");
	char	   *action = goes_text_arg(fcinfo, 1, "action");
	int32		from_version = goes_version_arg(fcinfo, 2, "from_version");
	char	   *function = goes_text_arg(fcinfo, 3, "upcaster");
	GoesSignature signature = goes_upcaster_signature();

	if (check_upcaster(type, action, from_version, &function))
		PG_RETURN_VOID();
	goes_lock_registry();
	if (check_upcaster(type, action, from_version, &function))
		PG_RETURN_VOID();
	goes_function_lock(function, &signature);
	SPI_connect();
	write_upcaster(type, action, from_version, function);
	SPI_finish();
	PG_RETURN_VOID();
}

/* goes_forget_upcaster: remove the row.  The caller is connected to SPI. */
void
goes_forget_upcaster(const char *type, const char *action, int32 from_version)
{
	static const Oid argtypes[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		args[] = {
		CStringGetTextDatum(type), CStringGetTextDatum(action),
		Int32GetDatum(from_version)
	};

	goes_registry_execute("DELETE FROM goes.upcasters"
						  " WHERE aggregate_type OPERATOR(pg_catalog.=) $1"
						  " AND action OPERATOR(pg_catalog.=) $2"
						  " AND from_version OPERATOR(pg_catalog.=) $3",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

PG_FUNCTION_INFO_V1(goes_unregister_upcaster);

/*
 * goes_unregister_upcaster(aggregate_type text, action text, from_version integer)
 *		Remove an upcaster.  Errors: 22004, 22023, OG008, 42501.
 */
Datum
goes_unregister_upcaster(PG_FUNCTION_ARGS)
{
	char	   *type_name = goes_text_arg(fcinfo, 0, "aggregate_type");
	char	   *action = goes_text_arg(fcinfo, 1, "action");
	int32		from_version = goes_version_arg(fcinfo, 2, "from_version");
	GoesAggregateType *type = goes_own_type_locked(type_name);

	if (find_upcaster(type, action, from_version) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_GOES_UNKNOWN),
				 errmsg("event \"%s.%s.%d\" has no upcaster", type_name, action,
						from_version)));
	SPI_connect();
	goes_forget_upcaster(type_name, action, from_version);
	SPI_finish();
	PG_RETURN_VOID();
}
