/*-------------------------------------------------------------------------
 *
 * errors.h
 *	  The SQLSTATEs of goes: class OG.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_ERRORS_H
#define GOES_ERRORS_H

#define ERRCODE_GOES_REJECTED			MAKE_SQLSTATE('O', 'G', '0', '0', '1')
#define ERRCODE_GOES_VERSION_CONFLICT	MAKE_SQLSTATE('O', 'G', '0', '0', '2')
#define ERRCODE_GOES_NOT_FOUND			MAKE_SQLSTATE('O', 'G', '0', '0', '3')
#define ERRCODE_GOES_EXISTS				MAKE_SQLSTATE('O', 'G', '0', '0', '4')
#define ERRCODE_GOES_DELETED			MAKE_SQLSTATE('O', 'G', '0', '0', '5')
#define ERRCODE_GOES_EVENTS_WRITE		MAKE_SQLSTATE('O', 'G', '0', '0', '6')
#define ERRCODE_GOES_AGGREGATE_WRITE	MAKE_SQLSTATE('O', 'G', '0', '0', '7')
#define ERRCODE_GOES_UNKNOWN			MAKE_SQLSTATE('O', 'G', '0', '0', '8')
#define ERRCODE_GOES_NESTED_TOO_DEEP	MAKE_SQLSTATE('O', 'G', '0', '0', '9')
#define ERRCODE_GOES_COMMAND_ID_REUSED	MAKE_SQLSTATE('O', 'G', '0', '1', '0')
#define ERRCODE_GOES_NOT_APPLICABLE		MAKE_SQLSTATE('O', 'G', '0', '1', '1')

#endif							/* GOES_ERRORS_H */
