/*-------------------------------------------------------------------------
 *
 * role.h
 *	  Doing something as another role, as foreign-key triggers do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_ROLE_H
#define GOES_ROLE_H

#include "postgres.h"

#include "miscadmin.h"
#include "utils/guc.h"

typedef struct GoesRole
{
	Oid			user;
	int			context;
	int			nestlevel;		/* of settings */
} GoesRole;

/*
 * goes_become
 *		Do what follows as role, without row-level security in the way of a
 *		table's owner.  What a table's owner has defined may run then (planning
 *		is enough), so nothing that outlives it is possible: as in VACUUM, no
 *		deferred triggers, no temporary tables, no settings.  After an error the
 *		end of the (sub)transaction restores all.
 */
static inline GoesRole
goes_become(Oid role)
{
	GoesRole	before;

	GetUserIdAndSecContext(&before.user, &before.context);
	SetUserIdAndSecContext(role, before.context |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	before.nestlevel = NewGUCNestLevel();
	return before;
}

/* goes_unbecome: be the role again that goes_become returned. */
static inline void
goes_unbecome(GoesRole before)
{
	AtEOXact_GUC(false, before.nestlevel);
	SetUserIdAndSecContext(before.user, before.context);
}

#endif							/* GOES_ROLE_H */
