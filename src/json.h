/*-------------------------------------------------------------------------
 *
 * json.h
 *	  JSON documents: made, and taken apart.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_JSON_H
#define GOES_JSON_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* Called for each pair of an object */
typedef void (*GoesPairTaker) (void *arg, const char *key, JsonbValue *value);

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

extern const char *goes_json_type(const JsonbValue *value);
extern void goes_report_wrong_value(const char *what, const char *key,
									const char *expected, const char *found);
extern void goes_take_pairs(JsonbContainer *object, GoesPairTaker taker,
							void *arg);
extern char *goes_take_string(const char *what, const char *key,
							  const JsonbValue *value);
extern void goes_take_uuid(const char *what, const char *key,
						   const JsonbValue *value, pg_uuid_t *uuid);
extern Jsonb *goes_take_object(const char *what, const char *key,
							   JsonbValue *value);
extern int64 goes_take_integer(const char *what, const char *key,
							   const JsonbValue *value, int64 least,
							   int64 greatest);
extern TimestampTz goes_take_time(const char *what, const char *key,
								  const JsonbValue *value);

#endif							/* GOES_JSON_H */
