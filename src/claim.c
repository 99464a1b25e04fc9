/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  Command ids: each command with one runs once.
 *
 * The claim is a row of goes.commands.  Its primary key makes a concurrent
 * claim wait for the end of this transaction; a rollback gives the id back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "claim.h"
#include "compat.h"
#include "errors.h"
#include "executor/spi.h"
#include "registry.h"
#include "relation.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "uuid.h"

/* What it was used for may be nothing that this caller is to know. */
static void
report_reuse(const GoesCommand *command, Oid aggregate_table)
{
	ereport(ERROR,
			(errcode(ERRCODE_GOES_COMMAND_ID_REUSED),
			 errmsg("command id %s was used for another command",
					goes_uuid_string(&command->command_id)),
			 errdetail("The id belongs to another command or aggregate than \"%s\" for %s.",
					   command->name,
					   command->has_aggregate_id ?
					   psprintf("aggregate %s", goes_uuid_string(&command->aggregate_id)) :
					   "a new aggregate"),
			 errhint("Give each command an id of its own."),
			 goes_errtable(aggregate_table)));
}

/* The outcome of the command that claimed the id first. */
static void
read_outcome(const GoesCommand *command, Oid aggregate_table,
			 GoesOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtype = UUIDOID;
	Datum		arg = UUIDPGetDatum(&command->command_id);
	Datum		values[4];
	bool		nulls[4];
	pg_uuid_t  *given;

	if (goes_execute_kept(&plan, "SELECT command, given_id, aggregate_id, event_position"
					 " FROM goes.commands WHERE command_id OPERATOR(pg_catalog.=) $1",
					 1, &argtype, &arg, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent use of a command id")));
	for (int i = 0; i < 4; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								  i + 1, &nulls[i]);
	given = nulls[1] ? NULL : DatumGetUUIDP(values[1]);
	if (strcmp(TextDatumGetCString(values[0]), command->name) != 0 ||
		(given != NULL) != command->has_aggregate_id ||
		(given != NULL && !goes_uuid_equal(given, &command->aggregate_id)))
		report_reuse(command, aggregate_table);
	if (nulls[2])
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("command id %s is being used by this transaction",
						goes_uuid_string(&command->command_id)),
				 errhint("A command cannot execute itself."),
				 goes_errtable(aggregate_table)));
	outcome->aggregate_id = *DatumGetUUIDP(values[2]);
	outcome->position = nulls[3] ? 0 : DatumGetInt64(values[3]);
}

/*
 * goes_claim
 *		Claim the command's id, waiting for a transaction that has it.  Returns
 *		false, and the outcome, if the command has run before; OG010 if the id
 *		was used for another one.  aggregate_table is for the error's fields.
 *		The caller is connected to SPI.
 */
bool
goes_claim(const GoesCommand *command, Oid aggregate_table,
		   GoesOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, TEXTOID, UUIDOID, TIMESTAMPTZOID};
	Datum		args[] = {
		UUIDPGetDatum(&command->command_id),
		CStringGetTextDatum(command->name),
		UUIDPGetDatum(&command->aggregate_id),
		TimestampTzGetDatum(GetCurrentTimestamp())
	};
	char		nulls[] = "    ";

	if (!command->has_aggregate_id)
		nulls[2] = 'n';
	if (goes_execute_kept(&plan, "INSERT INTO goes.commands (command_id, command, given_id, claimed_at)"
					 " VALUES ($1, $2, $3, $4) ON CONFLICT (command_id) DO NOTHING",
					 goes_lengthof(argtypes), argtypes, args, nulls) > 0)
		return true;
	read_outcome(command, aggregate_table, outcome);
	return false;
}

/*
 * goes_claim_settle
 *		Note the outcome of a command whose id was claimed; position 0: nothing
 *		happened.  The caller is connected to SPI.
 */
void
goes_claim_settle(const GoesCommand *command, const pg_uuid_t *aggregate_id,
				  int64 position)
{
	static SPIPlanPtr plan = NULL;
	static const Oid argtypes[] = {UUIDOID, UUIDOID, INT8OID};
	Datum		args[] = {
		UUIDPGetDatum(&command->command_id),
		UUIDPGetDatum(aggregate_id),
		Int64GetDatum(position)
	};

	(void) goes_execute_kept(&plan, "UPDATE goes.commands SET aggregate_id = $2, event_position = $3"
						" WHERE command_id OPERATOR(pg_catalog.=) $1",
						goes_lengthof(argtypes), argtypes, args,
						position == 0 ? "  n" : NULL);
}

PG_FUNCTION_INFO_V1(goes_forget_commands);

/*
 * goes_forget_commands(before timestamptz) RETURNS bigint
 *		Delete the command ids that were used before that time; returns how
 *		many.  Strict.
 */
Datum
goes_forget_commands(PG_FUNCTION_ARGS)
{
	static const Oid argtype = TIMESTAMPTZOID;
	Datum		before = PG_GETARG_DATUM(0);
	uint64		forgotten;

	SPI_connect();
	forgotten = goes_registry_execute("DELETE FROM goes.commands"
									  " WHERE claimed_at OPERATOR(pg_catalog.<) $1",
									  1, &argtype, &before, NULL);
	SPI_finish();
	PG_RETURN_INT64(forgotten);
}
