/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  Tables: names, owners, DDL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_RELATION_H
#define GOES_RELATION_H

#include "postgres.h"

extern char *goes_relation_name(Oid relation);
extern Oid	goes_relation_owner(Oid relation);
extern void goes_check_owner(Oid relation);
extern void goes_run_ddl(const char *sql);

#endif							/* GOES_RELATION_H */
