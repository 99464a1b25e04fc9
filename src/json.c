/*-------------------------------------------------------------------------
 *
 * json.c
 *	  JSON documents: made, and taken apart.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "compat.h"
#include "json.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "uuid.h"

/* ---------------------------------------------------------------------------
 * Made
 * ---------------------------------------------------------------------------
 */

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

/* ---------------------------------------------------------------------------
 * Taken apart: what is the document ("a command") and the key, for errors
 * ---------------------------------------------------------------------------
 */

/* goes_json_type: what a value is, for an error message; never the value itself. */
const char *
goes_json_type(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		case jbvBinary:
			return JsonContainerIsObject(value->val.binary.data) ?
				"an object" : "an array";
		default:
			return "something else";
	}
}

/* goes_report_wrong_value: raise 22023 for the value of a key. */
void
goes_report_wrong_value(const char *what, const char *key,
						const char *expected, const char *found)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for key \"%s\" of %s", key, what),
			 errdetail("It must be %s, but is %s.", expected, found)));
}

/* goes_take_pairs: hand each pair of an object to the taker. */
void
goes_take_pairs(JsonbContainer *object, GoesPairTaker taker, void *arg)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *key = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
		{
			taker(arg, key, &value);
			pfree(key);
		}
	}
}

/* goes_take_string: a string, or 22023. */
char *
goes_take_string(const char *what, const char *key, const JsonbValue *value)
{
	if (value->type != jbvString)
		goes_report_wrong_value(what, key, "a string", goes_json_type(value));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* goes_take_uuid: a string that is a UUID, or 22023. */
void
goes_take_uuid(const char *what, const char *key, const JsonbValue *value,
			   pg_uuid_t *uuid)
{
	if (value->type != jbvString)
		goes_report_wrong_value(what, key, "a UUID", goes_json_type(value));
	if (!goes_parse_uuid(value->val.string.val, value->val.string.len, uuid))
		goes_report_wrong_value(what, key, "a UUID", "another string");
}

/* goes_take_object: an object, or 22023. */
Jsonb *
goes_take_object(const char *what, const char *key, JsonbValue *value)
{
	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		goes_report_wrong_value(what, key, "an object", goes_json_type(value));
	return JsonbValueToJsonb(value);
}

/* Parse a number as an integer; false if it is none, or too great. */
static bool
parse_integer(Numeric numeric, int64 *integer)
{
	char	   *digits = DatumGetCString(DirectFunctionCall1(numeric_out,
															  NumericGetDatum(numeric)));
	char	   *end;

	errno = 0;
	*integer = strtoi64(digits, &end, 10);
	return errno == 0 && *end == '\0';
}

/* goes_take_integer: an integer in a range, or 22023. */
int64
goes_take_integer(const char *what, const char *key, const JsonbValue *value,
				  int64 least, int64 greatest)
{
	bool		is_number = value->type == jbvNumeric;
	int64		integer = 0;

	if (!is_number || !parse_integer(value->val.numeric, &integer) ||
		integer < least || integer > greatest)
		goes_report_wrong_value(what, key,
								psprintf("an integer from " INT64_FORMAT " to " INT64_FORMAT,
										 least, greatest),
								is_number ? "another number" : goes_json_type(value));
	return integer;
}

/* Does it begin with year, month and day, which no setting reads otherwise? */
static bool
begins_with_date(const char *string)
{
	int			year = strspn(string, "0123456789");
	const char *rest = string + year;

	return year >= 4 && rest[0] == '-' && strspn(rest + 1, "0123456789") == 2 &&
		rest[3] == '-' && isdigit((unsigned char) rest[4]);
}

/* Parse a time as the type's input function does, but never raise. */
static bool
parse_time(const char *string, TimestampTz *time)
{
	char		work[MAXDATELEN + MAXDATEFIELDS];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			nfields;
	int			kind;
	int			zone;
	struct pg_tm tm;
	fsec_t		fsec;

	return ParseDateTime(string, work, sizeof(work), fields, types,
						 MAXDATEFIELDS, &nfields) == 0 &&
		goes_decode_time(fields, types, nfields, &kind, &tm, &fsec, &zone) == 0 &&
		kind == DTK_DATE &&
		tm2timestamp(&tm, fsec, &zone, time) == 0;
}

/*
 * goes_take_time
 *		A time in ISO 8601, or 22023.  One without an offset is of the time zone
 *		of the session.
 */
TimestampTz
goes_take_time(const char *what, const char *key, const JsonbValue *value)
{
	const char *expected = "a time in ISO 8601";
	char		string[MAXDATELEN + 1] = {0};
	TimestampTz time = 0;

	if (value->type != jbvString)
		goes_report_wrong_value(what, key, expected, goes_json_type(value));
	if (value->val.string.len <= MAXDATELEN)
		memcpy(string, value->val.string.val, value->val.string.len);
	if (!begins_with_date(string) || !parse_time(string, &time))
		goes_report_wrong_value(what, key, expected, "another string");
	return time;
}
