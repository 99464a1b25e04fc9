/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Making jsonb objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_JSON_H
#define GOES_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/uuid.h"

extern Jsonb *goes_empty_object(void);
extern void goes_push_value(JsonbParseState **state, const char *key,
							JsonbValue *value);
extern void goes_push_string(JsonbParseState **state, const char *key,
							 const char *string);
extern void goes_push_uuid(JsonbParseState **state, const char *key,
						   const pg_uuid_t *uuid);
extern void goes_push_integer(JsonbParseState **state, const char *key,
							  int64 integer);
extern void goes_push_jsonb(JsonbParseState **state, const char *key,
							Jsonb *jsonb);

#endif							/* GOES_JSON_H */
