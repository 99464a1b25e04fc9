/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Making jsonb objects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "json.h"
#include "utils/numeric.h"
#include "uuid.h"

/* goes_empty_object: the jsonb {}. */
Jsonb *
goes_empty_object(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* goes_push_value: a key with any value. */
void
goes_push_value(JsonbParseState **state, const char *key, JsonbValue *value)
{
	JsonbValue	name = {
		.type = jbvString,
		.val.string.val = unconstify(char *, key),
		.val.string.len = strlen(key)
	};

	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_VALUE, value);
}

/* goes_push_string: a key with a string. */
void
goes_push_string(JsonbParseState **state, const char *key, const char *string)
{
	JsonbValue	value = {
		.type = jbvString,
		.val.string.val = unconstify(char *, string),
		.val.string.len = strlen(string)
	};

	goes_push_value(state, key, &value);
}

/* goes_push_uuid: a key with a UUID, as a string. */
void
goes_push_uuid(JsonbParseState **state, const char *key, const pg_uuid_t *uuid)
{
	goes_push_string(state, key, goes_uuid_string(uuid));
}

/* goes_push_integer: a key with an integer. */
void
goes_push_integer(JsonbParseState **state, const char *key, int64 integer)
{
	JsonbValue	value = {
		.type = jbvNumeric,
		.val.numeric = int64_to_numeric(integer)
	};

	goes_push_value(state, key, &value);
}

/* goes_push_jsonb: a key with a jsonb. */
void
goes_push_jsonb(JsonbParseState **state, const char *key, Jsonb *jsonb)
{
	JsonbValue	value = {
		.type = jbvBinary,
		.val.binary.data = &jsonb->root,
		.val.binary.len = VARSIZE(jsonb) - VARHDRSZ
	};

	goes_push_value(state, key, &value);
}
