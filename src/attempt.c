/*-------------------------------------------------------------------------
 *
 * attempt.c
 *	  Work that may fail without spoiling the rest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "attempt.h"
#include "utils/resowner.h"

/*
 * Is the error none of the work's, but the session's or the server's: a cancel,
 * a full disk, no memory?  Then it would befall all other work too.
 */
static bool
is_beyond_work(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_OPERATOR_INTERVENTION ||
		category == ERRCODE_INSUFFICIENT_RESOURCES ||
		category == ERRCODE_SYSTEM_ERROR;
}

/*
 * goes_attempt
 *		Do the work in a subtransaction.  If it fails, that is undone, and the
 *		error is returned, in the current memory context; otherwise NULL.  An
 *		error that is not the work's own is raised.
 */
ErrorData *
goes_attempt(GoesWork work, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	/* Only now, or the session would be left in a subtransaction */
	if (error != NULL && is_beyond_work(error->sqlerrcode))
		ReThrowError(error);
	return error;
}
