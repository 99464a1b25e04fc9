/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  Triggers that let only goes write to its tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_GUARD_H
#define GOES_GUARD_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/rel.h"
#include "utils/uuid.h"

/* Rows that goes is about to write, in their order; relation InvalidOid: none */
typedef struct GoesExpectation
{
	Oid			relation;
	const pg_uuid_t *ids;		/* of those that have not passed yet */
	int			nids;
	int			trigger_depth;	/* at which goes writes them */
	int			nest_level;		/* of the transaction in which it does */
} GoesExpectation;

extern bool goes_allow_direct_writes;

extern void goes_guard_init(void);
extern void goes_guard_expect(Oid relation, const pg_uuid_t *ids, int nids);
extern void goes_guard_forget(void);
extern GoesExpectation goes_guard_save(void);
extern void goes_guard_restore(GoesExpectation saved);
extern bool goes_is_guard(Oid function);
extern bool goes_may_be_changed(Relation relation);
extern bool goes_guard_is_installed(Oid relation);
extern List *goes_guard_problems(Oid relation);
extern bool goes_guard_is_complete(Oid relation);
extern void goes_guard_install(Oid relation, bool aggregate);
extern void goes_guard_remove(Oid relation);

#endif							/* GOES_GUARD_H */
