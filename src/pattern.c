/*-------------------------------------------------------------------------
 *
 * pattern.c
 *	  Which events a reactor reacts to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "pattern.h"
#include "utils/builtins.h"

/*
 * goes_check_name
 *		Names of types, actions and commands are joined with dots and matched by
 *		patterns, so they must not hold what these are made of.
 */
void
goes_check_name(const char *what, const char *name)
{
	const char *problem = NULL;

	if (*name == '\0')
		problem = "It is empty.";
	else if (strlen(name) >= NAMEDATALEN)
		problem = "It is longer than 63 bytes.";
	else if (strpbrk(name, ".*") != NULL)
		problem = "It contains a dot or an asterisk.";
	for (const char *c = name; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ')
			problem = "It contains a control character.";
	}
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name of %s: \"%s\"", what, name),
				 errdetail_internal("%s", problem)));
}

static void
report_invalid(const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid event pattern \"%s\"", text),
			 errhint("Patterns are \"user.created.1\", \"user.created\", \"user\", \"user.*\" and \"*\".")));
}

/* Split off the part before the next dot; *rest is NULL after the last one. */
static char *
next_part(char **rest)
{
	char	   *part = *rest;
	char	   *dot = strchr(part, '.');

	*rest = dot ? dot + 1 : NULL;
	if (dot)
		*dot = '\0';
	return part;
}

static int32
parse_version(const char *part, const char *text)
{
	char	   *end;
	long		version;

	errno = 0;
	version = strtol(part, &end, 10);
	if (*part < '1' || *part > '9' || *end != '\0' || errno != 0 ||
		version > PG_INT32_MAX)
		report_invalid(text);
	return (int32) version;
}

/*
 * goes_pattern_parse
 *		Parse a pattern into the current memory context; 22023 if it is invalid.
 */
void
goes_pattern_parse(const char *text, GoesPattern *pattern)
{
	char	   *rest = pstrdup(text);

	memset(pattern, 0, sizeof(GoesPattern));
	if (strcmp(text, "*") == 0)
		return;
	pattern->type = next_part(&rest);
	if (rest != NULL && strcmp(rest, "*") == 0)
		rest = NULL;
	if (rest != NULL)
	{
		pattern->action = next_part(&rest);
		if (*pattern->action == '\0' || strchr(pattern->action, '*') != NULL)
			report_invalid(text);
	}
	if (*pattern->type == '\0' || strchr(pattern->type, '*') != NULL)
		report_invalid(text);
	if (rest != NULL)
		pattern->version = parse_version(rest, text);
}

/* goes_pattern_to_string: its canonical form ("user.*" is "user"). */
char *
goes_pattern_to_string(const GoesPattern *pattern)
{
	if (pattern->type == NULL)
		return pstrdup("*");
	if (pattern->action == NULL)
		return pstrdup(pattern->type);
	if (pattern->version == 0)
		return psprintf("%s.%s", pattern->type, pattern->action);
	return psprintf("%s.%s.%d", pattern->type, pattern->action,
					pattern->version);
}

/* goes_pattern_matches_type: may it match events of that type? */
bool
goes_pattern_matches_type(const GoesPattern *pattern, const char *type)
{
	return pattern->type == NULL || strcmp(pattern->type, type) == 0;
}

/* goes_pattern_matches: does it match the event, by its stored version? */
bool
goes_pattern_matches(const GoesPattern *pattern, const char *type,
					 const char *action, int32 version)
{
	return goes_pattern_matches_type(pattern, type) &&
		(pattern->action == NULL || strcmp(pattern->action, action) == 0) &&
		(pattern->version == 0 || pattern->version == version);
}

static void
append_condition(StringInfo condition, const GoesPattern *pattern,
				 const char *prefix)
{
	appendStringInfo(condition, "%s%saction OPERATOR(pg_catalog.=) %s",
					 condition->len > 0 ? " OR " : "", prefix,
					 quote_literal_cstr(pattern->action));
	if (pattern->version != 0)
		appendStringInfo(condition, " AND %sevent_version OPERATOR(pg_catalog.=) %d",
						 prefix, pattern->version);
}

/*
 * goes_patterns_condition
 *		The SQL condition on a row of a type's events table that any of the
 *		patterns matches it; NULL if all rows match.  prefix comes before the
 *		columns' names.
 */
char *
goes_patterns_condition(const GoesPattern *patterns, int npatterns,
						const char *type, const char *prefix)
{
	StringInfoData condition;

	initStringInfo(&condition);
	for (int i = 0; i < npatterns; i++)
	{
		if (!goes_pattern_matches_type(&patterns[i], type))
			continue;
		if (patterns[i].action == NULL)
			return NULL;
		append_condition(&condition, &patterns[i], prefix);
	}
	return condition.data;
}
