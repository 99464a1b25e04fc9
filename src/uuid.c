/*-------------------------------------------------------------------------
 *
 * uuid.c
 *	  UUIDs version 7: ids of events and of new aggregates.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "uuid.h"

#define NS_PER_MS	1000000
#define NS_PER_STEP 245			/* more than 1/4096 ms: a step of the 12 bits */

/* pg_strong_random has a price per call, so ask for many bytes at once */
static uint8 random_pool[1024];
static int	random_left = 0;

static void
take_random(uint8 *target, int length)
{
	if (random_left < length)
	{
		if (!pg_strong_random(random_pool, sizeof(random_pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		random_left = sizeof(random_pool);
	}
	random_left -= length;
	memcpy(target, random_pool + random_left, length);
	/* a secret elsewhere must not be guessable from a memory dump */
	memset(random_pool + random_left, 0, length);
}

/* Nanoseconds since 1970, greater than at the last call in this backend. */
static int64
ascending_clock(void)
{
	static int64 last = 0;
	struct timespec now;
	int64		ns;

	clock_gettime(CLOCK_REALTIME, &now);
	ns = (int64) now.tv_sec * 1000000000 + now.tv_nsec;
	last = Max(ns, last + NS_PER_STEP);
	return last;
}

/*
 * goes_new_uuid
 *		A new UUID version 7: 48 bits of milliseconds since 1970, 12 bits of
 *		their fraction, 62 random bits (RFC 9562, section 5.7 with method 3 of
 *		section 6.2).  Ascending within a backend.
 */
void
goes_new_uuid(pg_uuid_t *uuid)
{
	int64		ns = ascending_clock();
	uint64		ms = ns / NS_PER_MS;
	uint32		fraction = (uint32) ((ns % NS_PER_MS) * 4096 / NS_PER_MS);

	for (int i = 0; i < 6; i++)
		uuid->data[i] = (uint8) (ms >> (40 - 8 * i));
	uuid->data[6] = 0x70 | (uint8) (fraction >> 8);
	uuid->data[7] = (uint8) fraction;
	take_random(uuid->data + 8, 8);
	uuid->data[8] = 0x80 | (uuid->data[8] & 0x3f);
}

PG_FUNCTION_INFO_V1(goes_uuidv7);

/* goes_uuidv7() RETURNS uuid: see goes_new_uuid. */
Datum
goes_uuidv7(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	goes_new_uuid(uuid);
	PG_RETURN_UUID_P(uuid);
}

/* goes_uuid_string: a UUID as text, in the current memory context. */
char *
goes_uuid_string(const pg_uuid_t *uuid)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid)));
}

/* The value of a hex digit; -1: it is none. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * goes_parse_uuid
 *		Parse a UUID as the type's input function does (hex digits, a hyphen
 *		after any group of four, braces around it all), but return false
 *		instead of raising.  The string need not be NUL-terminated.
 */
bool
goes_parse_uuid(const char *string, int length, pg_uuid_t *uuid)
{
	const char *end = string + length;
	bool		braces = length > 0 && *string == '{';

	if (braces)
		string++;
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (end - string < 2 ||
			hex_digit(string[0]) < 0 || hex_digit(string[1]) < 0)
			return false;
		uuid->data[i] = (uint8) (hex_digit(string[0]) * 16 + hex_digit(string[1]));
		string += 2;
		if (string < end && *string == '-' && i % 2 == 1 && i < UUID_LEN - 1)
			string++;
	}
	if (braces && (string == end || *string++ != '}'))
		return false;
	return string == end;
}
