/*-------------------------------------------------------------------------
 *
 * execute.h
 *	  The pipeline: a command becomes an event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_EXECUTE_H
#define GOES_EXECUTE_H

#include "postgres.h"

#include "aggregate.h"
#include "command.h"
#include "goes.h"
#include "portability/instr_time.h"
#include "registry.h"

typedef enum GoesStage
{
	GOES_STAGE_LOAD,
	GOES_STAGE_DECIDE,			/* validate and build */
	GOES_STAGE_CALCULATE,
	GOES_STAGE_STORE,
	GOES_STAGE_REACT,			/* the event is being inserted: sync reactors */
	GOES_STAGE_DONE
} GoesStage;

/* One command that is being executed; those inside it point to it */
typedef struct GoesExecution
{
	struct GoesExecution *outer;
	int			depth;			/* 1: not nested */
	GoesStage	stage;
	GoesCommand *command;
	Oid			returns;		/* row type that the caller asks for, or
								 * InvalidOid */
	GoesAggregateType *type;
	GoesCommandType *command_type;
	Relation	aggregate;
	Relation	events;
	GoesState  *state;			/* NULL: not loaded */
	GoesEvent  *event;			/* as stored; NULL: nothing happened */
	const GoesEvent *seen;		/* as upcasters leave it for everybody else */
	bool		claimed;		/* goes_execute_many has claimed the command id */
	bool		moved;			/* a nested command wrote the aggregate */
	TimestampTz common_time;	/* of all events of goes_execute_many, or 0 */
	instr_time	started;
} GoesExecution;

typedef void (*GoesReaction) (void *arg);

/* Setting goes.max_nesting */
extern int	goes_max_nesting;

extern const GoesExecution *goes_current_execution(void);
extern void goes_set_cause(const GoesEvent *event);
extern void goes_run_reaction(GoesAggregateType *type, Relation aggregate,
							  GoesEvent *event, GoesReaction reaction,
							  void *arg);

#endif							/* GOES_EXECUTE_H */
