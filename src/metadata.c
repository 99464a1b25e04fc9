/*-------------------------------------------------------------------------
 *
 * metadata.c
 *	  Metadata of events: what the setting and the causing event add.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "json.h"
#include "metadata.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

/* Setting goes.metadata: a JSON object, or empty */
char	   *goes_metadata_setting = NULL;

/* goes_check_metadata: the setting's check hook; a JSON object or nothing. */
bool
goes_check_metadata(char **newval, void **extra, GucSource source)
{
	const char *first = *newval + strspn(*newval, " \t\r\n");

	if (*first == '\0')
		return true;
	if (*first == '{' && goes_is_json(*newval))
		return true;
	GUC_check_errdetail("It must be a JSON object.");
	return false;
}

static Jsonb *
merge(Jsonb *under, Jsonb *over)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
											  JsonbPGetDatum(under),
											  JsonbPGetDatum(over)));
}

static void
add_context(void *arg)
{
	errcontext("setting goes.metadata");
}

/* The check hook knows JSON; jsonb may still refuse an escaped NUL in it. */
static Jsonb *
from_setting(void)
{
	const char *setting = goes_metadata_setting ? goes_metadata_setting : "";
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_context
	};
	Jsonb	   *metadata;

	if (setting[strspn(setting, " \t\r\n")] == '\0')
		return NULL;
	error_context_stack = &context;
	metadata = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												  CStringGetDatum(setting)));
	error_context_stack = context.previous;
	return metadata;
}

/* causation_id: the causing event; correlation_id: the one that began it all. */
static Jsonb *
tracing(const GoesEvent *cause)
{
	JsonbParseState *state = NULL;
	JsonbValue	buffer;
	JsonbValue *correlation = getKeyJsonValueFromContainer(&cause->metadata->root,
														   "correlation_id",
														   strlen("correlation_id"),
														   &buffer);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	goes_push_uuid(&state, "causation_id", &cause->id);
	if (correlation != NULL)
		goes_push_value(&state, "correlation_id", correlation);
	else
		goes_push_uuid(&state, "correlation_id", &cause->id);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * goes_metadata
 *		The metadata of a command: what was given, over the setting
 *		goes.metadata, over the metadata of the event that caused it (NULL: no
 *		reactor executes it); and over all, the ids that trace the cause.
 */
Jsonb *
goes_metadata(Jsonb *given, const GoesEvent *cause)
{
	Jsonb	   *setting = from_setting();
	Jsonb	   *metadata = given;

	if (setting != NULL)
		metadata = merge(setting, metadata);
	if (cause == NULL)
		return metadata;
	return merge(merge(cause->metadata, metadata), tracing(cause));
}
