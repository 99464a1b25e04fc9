/*-------------------------------------------------------------------------
 *
 * inline.c
 *	  Async reactors inside the transaction, for tests of a model.
 *
 * With goes.async = inline they run as the caller, when the event has been
 * stored, and an error fails the command.  Should the transaction commit, they
 * must not run again, so that is noted.  Since the caller's settings may decide
 * what a function does, only who has the rights of its owner may do so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "event.h"
#include "inline.h"
#include "miscadmin.h"
#include "reactor.h"
#include "registry.h"
#include "utils/acl.h"

/* Setting goes.async */
int			goes_async = GOES_ASYNC_BACKGROUND;

const struct config_enum_entry goes_async_options[] = {
	{"background", GOES_ASYNC_BACKGROUND, false},
	{"inline", GOES_ASYNC_INLINE, false},
	{NULL, 0, false}
};

static void
check_may_run(const GoesReactor *reactor)
{
	Oid			owner = goes_reactor_owner(reactor);

	/* A SECURITY DEFINER function of the owner's must not lend the right */
	if (!OidIsValid(owner) || !has_privs_of_role(GetUserId(), owner) ||
		!has_privs_of_role(GetOuterUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of reactor \"%s\" to run it inside a transaction",
						reactor->name),
				 errhint("Set goes.async to \"background\".")));
}

/* Note that the reactor has had the event. */
static void
note_delivery(const GoesReactor *reactor, const GoesEvent *event)
{
	static const Oid argtypes[] = {UUIDOID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(&reactor->id),
		Int64GetDatum(event->position)
	};

	goes_registry_execute("INSERT INTO goes.inline_deliveries VALUES ($1, $2)",
						  goes_lengthof(argtypes), argtypes, args, NULL);
}

static void
add_context(void *arg)
{
	errcontext("goes async reactor \"%s\"", ((const GoesReactor *) arg)->name);
}

static void
call_reactor(const GoesReactor *reactor, const GoesEvent *event)
{
	GoesSignature signature = goes_reactor_signature(GOES_FORM_EVENT, InvalidOid);
	GoesFunction *function = goes_function_create(CurrentMemoryContext, reactor->name,
												  &signature, "async reactor");
	GoesRecord	seen = goes_event_to_record(event, true);
	GoesRecord *arg = &seen;
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_context,
		.arg = unconstify(GoesReactor *, reactor)
	};

	error_context_stack = &context;
	(void) goes_function_call_records(function, &arg, NULL);
	error_context_stack = context.previous;
	goes_record_release(&seen);
}

/*
 * goes_deliver_inline
 *		Run the async reactors of an event that has just been stored: stored as
 *		it is, seen as upcasters leave it.  Those that are paused wait.  The
 *		caller is connected to SPI.
 */
void
goes_deliver_inline(const GoesEvent *stored, const GoesEvent *seen)
{
	ListCell   *cell;

	foreach(cell, goes_reactors_of_event(stored))
	{
		const GoesReactor *reactor = lfirst(cell);

		if (reactor->mode != GOES_ASYNC)
			continue;
		check_may_run(reactor);
		call_reactor(reactor, seen);
		note_delivery(reactor, stored);
	}
}
