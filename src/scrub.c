/*-------------------------------------------------------------------------
 *
 * scrub.c
 *	  Taking transient data out of messages that are kept.
 *
 * Overlapping secrets must not leave a piece of each other.  So all bytes that
 * belong to one are marked first, and then each marked stretch is replaced.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "scrub.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

/* What is shorter is in every text, and no secret */
#define LEAST_LENGTH 4

#define REPLACEMENT "***"

typedef struct Message
{
	const char *text;
	int			length;
	bool	   *marks;			/* of each byte: it is part of a secret */
} Message;

static void
mark(Message *message, const char *secret, int length)
{
	const char *end = message->text + message->length;
	const char *p = message->text;

	while (end - p >= length &&
		   (p = memchr(p, secret[0], end - p - length + 1)) != NULL)
	{
		if (memcmp(p, secret, length) == 0)
			memset(message->marks + (p - message->text), true, length);
		p++;
	}
}

/* Mark a string also where a message shows it in a jsonb, or that in a row. */
static void
mark_string(Message *message, const char *string)
{
	StringInfoData json;
	StringInfoData field;

	initStringInfo(&json);
	escape_json(&json, string);
	initStringInfo(&field);
	for (int i = 1; i < json.len - 1; i++)
	{
		if (json.data[i] == '"' || json.data[i] == '\\')
			appendStringInfoChar(&field, json.data[i]);
		appendStringInfoChar(&field, json.data[i]);
	}
	mark(message, string, strlen(string));
	mark(message, json.data + 1, json.len - 2);
	mark(message, field.data, field.len);
	pfree(json.data);
	pfree(field.data);
}

static void
mark_scalar(Message *message, const JsonbValue *value)
{
	char	   *string;

	if (value->type == jbvString)
		string = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvNumeric)
		string = DatumGetCString(DirectFunctionCall1(numeric_out,
													 NumericGetDatum(value->val.numeric)));
	else
		return;
	if (strlen(string) >= LEAST_LENGTH)
		mark_string(message, string);
	pfree(string);
}

static void
mark_all(Message *message, Jsonb *transient)
{
	JsonbIterator *iterator = JsonbIteratorInit(&transient->root);
	JsonbValue	value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_VALUE || token == WJB_ELEM)
			mark_scalar(message, &value);
	}
}

/*
 * The message with each marked stretch replaced.  A character is replaced
 * whole, since some encodings find one in the middle of others.
 */
static char *
replace_marked(const Message *message)
{
	StringInfoData result;
	bool		before = false;
	int			length;

	initStringInfo(&result);
	for (int i = 0; i < message->length; i += length)
	{
		bool		marked;

		length = pg_encoding_mblen(GetDatabaseEncoding(), message->text + i);
		length = Max(1, Min(length, message->length - i));
		marked = memchr(message->marks + i, true, length) != NULL;
		if (!marked)
			appendBinaryStringInfo(&result, message->text + i, length);
		else if (!before)
			appendStringInfoString(&result, REPLACEMENT);
		before = marked;
	}
	return result.data;
}

/*
 * goes_scrub
 *		Replace what is from transient data in a text by "***": all strings and
 *		numbers in it, at any depth, that are not very short; not keys.  Returns
 *		a copy in the current context, NULL for NULL; transient may be NULL.
 */
char *
goes_scrub(const char *text, Jsonb *transient)
{
	Message		message;

	if (text == NULL)
		return NULL;
	if (transient == NULL)
		return pstrdup(text);
	message.text = text;
	message.length = strlen(text);
	message.marks = palloc0(message.length + 1);
	mark_all(&message, transient);
	return replace_marked(&message);
}
