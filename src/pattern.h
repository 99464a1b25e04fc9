/*-------------------------------------------------------------------------
 *
 * pattern.h
 *	  Which events a reactor reacts to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_PATTERN_H
#define GOES_PATTERN_H

#include "postgres.h"

typedef struct GoesPattern
{
	char	   *type;			/* NULL: any */
	char	   *action;			/* NULL: any */
	int32		version;		/* 0: any */
} GoesPattern;

extern void goes_check_name(const char *what, const char *name);
extern void goes_pattern_parse(const char *text, GoesPattern *pattern);
extern char *goes_pattern_to_string(const GoesPattern *pattern);
extern bool goes_pattern_matches_type(const GoesPattern *pattern,
									  const char *type);
extern bool goes_pattern_matches(const GoesPattern *pattern, const char *type,
								 const char *action, int32 version);
extern char *goes_patterns_condition(const GoesPattern *patterns, int npatterns,
									 const char *type, const char *prefix);

#endif							/* GOES_PATTERN_H */
