/*-------------------------------------------------------------------------
 *
 * uuid.h
 *	  UUIDs version 7.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_UUID_H
#define GOES_UUID_H

#include "utils/uuid.h"

extern void goes_new_uuid(pg_uuid_t *uuid);
extern char *goes_uuid_string(const pg_uuid_t *uuid);
extern bool goes_parse_uuid(const char *string, int length, pg_uuid_t *uuid);

static inline bool
goes_uuid_equal(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a, b, UUID_LEN) == 0;
}

#endif							/* GOES_UUID_H */
