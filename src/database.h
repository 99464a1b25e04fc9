/*-------------------------------------------------------------------------
 *
 * database.h
 *	  Commands on whole databases, which goes's workers must not be in the
 *	  way of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_DATABASE_H
#define GOES_DATABASE_H

extern void goes_database_init(void);

#endif							/* GOES_DATABASE_H */
