/*-------------------------------------------------------------------------
 *
 * dispatcher.h
 *	  The background worker that serves one database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_DISPATCHER_H
#define GOES_DISPATCHER_H

/* Setting goes.max_runners */
extern int	goes_max_runners;

#endif							/* GOES_DISPATCHER_H */
