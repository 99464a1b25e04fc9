/*-------------------------------------------------------------------------
 *
 * command.h
 *	  A command as the caller gives it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_COMMAND_H
#define GOES_COMMAND_H

#include "postgres.h"

#include "record.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

typedef struct GoesCommand
{
	const char *name;			/* "user.create" */
	bool		has_command_id;
	pg_uuid_t	command_id;
	bool		has_aggregate_id;
	pg_uuid_t	aggregate_id;
	bool		has_expected_version;
	int64		expected_version;
	Jsonb	   *data;
	Jsonb	   *metadata;
} GoesCommand;

extern GoesCommand *goes_command_parse(JsonbContainer *document);
extern GoesCommand *goes_command_from_args(FunctionCallInfo fcinfo);
extern GoesRecord goes_command_to_record(const GoesCommand *command);

#endif							/* GOES_COMMAND_H */
