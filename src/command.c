/*-------------------------------------------------------------------------
 *
 * command.c
 *	  A command as the caller gives it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "command.h"
#include "fmgr.h"
#include "funcapi.h"
#include "json.h"
#include "registry.h"
#include "utils/builtins.h"
#include "utils/typcache.h"
#include "uuid.h"

/* ---------------------------------------------------------------------------
 * The document
 * ---------------------------------------------------------------------------
 */

#define WHAT "a command"

static void
take_pair(void *arg, const char *key, JsonbValue *value)
{
	GoesCommand *command = arg;

	if (strcmp(key, "command") == 0)
		command->name = goes_take_string(WHAT, key, value);
	else if (strcmp(key, "aggregate_id") == 0)
	{
		goes_take_uuid(WHAT, key, value, &command->aggregate_id);
		command->has_aggregate_id = true;
	}
	else if (strcmp(key, "data") == 0)
		command->data = goes_take_object(WHAT, key, value);
	else if (strcmp(key, "metadata") == 0)
		command->metadata = goes_take_object(WHAT, key, value);
	else if (strcmp(key, "expected_version") == 0)
	{
		command->expected_version = goes_take_integer(WHAT, key, value,
													  0, PG_INT64_MAX);
		command->has_expected_version = true;
	}
	else if (strcmp(key, "command_id") == 0)
	{
		goes_take_uuid(WHAT, key, value, &command->command_id);
		command->has_command_id = true;
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" in a command", key),
				 errhint("Known keys are \"command\", \"aggregate_id\", \"data\", \"metadata\", \"expected_version\" and \"command_id\".")));
}

static void
set_defaults(GoesCommand *command)
{
	if (command->name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"command\" of a command is missing"),
				 errhint("It names the command, such as \"user.create\".")));
	if (command->data == NULL)
		command->data = goes_empty_object();
	if (command->metadata == NULL)
		command->metadata = goes_empty_object();
}

/*
 * goes_command_parse
 *		Parse a command document (NULL: something that is no container), with its
 *		defaults filled in.  What is wrong is 22023 with the key named.
 */
GoesCommand *
goes_command_parse(JsonbContainer *document)
{
	GoesCommand *command = palloc0(sizeof(GoesCommand));

	if (document == NULL || !JsonContainerIsObject(document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a command must be a JSON object"),
				 errhint("A command looks like {\"command\": \"user.create\", \"data\": {}}.")));
	goes_take_pairs(document, take_pair, command);
	set_defaults(command);
	return command;
}

/* ---------------------------------------------------------------------------
 * Arguments and results
 * ---------------------------------------------------------------------------
 */

static Jsonb *
object_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	JsonbValue	value = {.type = jbvBinary};
	Jsonb	   *jsonb;

	if (PG_ARGISNULL(n))
		return NULL;
	jsonb = PG_GETARG_JSONB_P(n);
	if (JB_ROOT_IS_SCALAR(jsonb))
		JsonbExtractScalar(&jsonb->root, &value);
	else
		value.val.binary.data = &jsonb->root;
	if (!JB_ROOT_IS_OBJECT(jsonb))
		goes_report_wrong_value(WHAT, name, "an object", goes_json_type(&value));
	return jsonb;
}

/*
 * goes_command_from_args
 *		The command of the arguments of goes_do (command, aggregate_id, data,
 *		metadata, expected_version, command_id), each of which may be NULL but
 *		the first.
 */
GoesCommand *
goes_command_from_args(FunctionCallInfo fcinfo)
{
	GoesCommand *command = palloc0(sizeof(GoesCommand));

	if (!PG_ARGISNULL(0))
		command->name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	command->has_aggregate_id = !PG_ARGISNULL(1);
	if (command->has_aggregate_id)
		command->aggregate_id = *PG_GETARG_UUID_P(1);
	command->data = object_arg(fcinfo, 2, "data");
	command->metadata = object_arg(fcinfo, 3, "metadata");
	command->has_expected_version = !PG_ARGISNULL(4);
	if (command->has_expected_version)
		command->expected_version = PG_GETARG_INT64(4);
	if (command->expected_version < 0)
		goes_report_wrong_value(WHAT, "expected_version",
								"an integer from 0 to 9223372036854775807",
								"another number");
	command->has_command_id = !PG_ARGISNULL(5);
	if (command->has_command_id)
		command->command_id = *PG_GETARG_UUID_P(5);
	set_defaults(command);
	return command;
}

/* goes_command_to_record: the command as a goes_command, to be released. */
GoesRecord
goes_command_to_record(const GoesCommand *command)
{
	GoesRecord	record = goes_record_create_of(goes_objects()->command_type);
	const Datum values[] = {
		UUIDPGetDatum(&command->command_id),
		CStringGetTextDatum(command->name),
		UUIDPGetDatum(&command->aggregate_id),
		Int64GetDatum(command->expected_version),
		JsonbPGetDatum(command->data),
		JsonbPGetDatum(command->metadata)
	};
	const bool	nulls[] = {
		!command->has_command_id, false, !command->has_aggregate_id,
		!command->has_expected_version, false, false
	};

	memcpy(record.values, values, sizeof(values));
	memcpy(record.nulls, nulls, sizeof(nulls));
	record.expanded = true;
	return record;
}
