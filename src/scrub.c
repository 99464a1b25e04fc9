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

/* What is that long gives something of a secret away, in bytes */
#define PIECE 8

#define REPLACEMENT "***"

typedef struct Message
{
	const char *text;
	int			length;
	bool	   *marks;			/* of each byte: it is part of a secret */
} Message;

/* Errors show names in lower case. */
static char
fold(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool
same_bytes(const char *a, const char *b, int length)
{
	for (int i = 0; i < length; i++)
	{
		if (fold(a[i]) != fold(b[i]))
			return false;
	}
	return true;
}

/* Mark a secret that is too short to have pieces. */
static void
mark_whole(Message *message, const char *secret, int length)
{
	for (int i = 0; i + length <= message->length; i++)
	{
		if (same_bytes(message->text + i, secret, length))
			memset(message->marks + i, true, length);
	}
}

static uint64
piece_at(const char *text)
{
	uint64		piece = 0;

	for (int i = 0; i < PIECE; i++)
		piece = piece << 8 | (unsigned char) fold(text[i]);
	return piece;
}

static int
compare_pieces(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/* Mark all pieces of a secret: an error may show only a part of it. */
static void
mark_pieces(Message *message, const char *secret, int length)
{
	int			npieces = length - PIECE + 1;
	uint64	   *pieces = palloc_extended(npieces * sizeof(uint64), MCXT_ALLOC_HUGE);

	for (int i = 0; i < npieces; i++)
		pieces[i] = piece_at(secret + i);
	qsort(pieces, npieces, sizeof(uint64), compare_pieces);
	for (int i = 0; i + PIECE <= message->length; i++)
	{
		uint64		piece = piece_at(message->text + i);

		if (bsearch(&piece, pieces, npieces, sizeof(uint64), compare_pieces))
			memset(message->marks + i, true, PIECE);
	}
	pfree(pieces);
}

static void
mark(Message *message, const char *secret, int length)
{
	if (length < PIECE)
		mark_whole(message, secret, length);
	else
		mark_pieces(message, secret, length);
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
 *		numbers in it, at any depth, that are not very short, and pieces of them,
 *		in upper or lower case; not keys.  Returns a copy in the current context,
 *		NULL for NULL; transient may be NULL.
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
