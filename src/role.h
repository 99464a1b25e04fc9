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

typedef struct GoesRole
{
	Oid			user;
	int			context;
} GoesRole;

/*
 * goes_become
 *		Do what follows as role, without row-level security in the way of a
 *		table's owner.  No user's code may run under it.  After an error the end
 *		of the (sub)transaction restores the role.
 */
static inline GoesRole
goes_become(Oid role)
{
	GoesRole	before;

	GetUserIdAndSecContext(&before.user, &before.context);
	SetUserIdAndSecContext(role, before.context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	return before;
}

/* goes_unbecome: be the role again that goes_become returned. */
static inline void
goes_unbecome(GoesRole before)
{
	SetUserIdAndSecContext(before.user, before.context);
}

#endif							/* GOES_ROLE_H */
