/*-------------------------------------------------------------------------
 *
 * reject.c
 *	  goes_reject and goes_require: how a model says no.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "errors.h"
#include "execute.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/relcache.h"

static char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* Raise OG001 with message, detail, hint and reason, from argument first on. */
static void
reject(FunctionCallInfo fcinfo, int first)
{
	char	   *message = text_arg(fcinfo, first);
	char	   *detail = text_arg(fcinfo, first + 1);
	char	   *hint = text_arg(fcinfo, first + 2);
	char	   *reason = text_arg(fcinfo, first + 3);
	const GoesExecution *execution = goes_current_execution();

	ereport(ERROR,
			(errcode(ERRCODE_GOES_REJECTED),
			 errmsg("%s", message ? message : "command was rejected"),
			 detail ? errdetail("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0,
			 reason ? err_generic_string(PG_DIAG_CONSTRAINT_NAME, reason) : 0,
			 execution ? errtable(execution->aggregate) : 0));
}

PG_FUNCTION_INFO_V1(goes_reject);

/*
 * goes_reject(message text, detail text, hint text, reason text)
 *		Raises OG001; each argument may be NULL.
 */
Datum
goes_reject(PG_FUNCTION_ARGS)
{
	reject(fcinfo, 0);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(goes_require);

/*
 * goes_require(condition boolean, message text, detail text, hint text, reason text)
 *		Raises OG001 if the condition is false or NULL.
 */
Datum
goes_require(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || !PG_GETARG_BOOL(0))
		reject(fcinfo, 1);
	PG_RETURN_VOID();
}
