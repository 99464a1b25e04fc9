/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  What is registered, cached per backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_REGISTRY_H
#define GOES_REGISTRY_H

#include "postgres.h"

#include "executor/spi.h"
#include "function.h"
#include "goes.h"
#include "utils/uuid.h"

struct GoesLayout;

typedef enum GoesTarget
{
	GOES_TARGET_NEW,
	GOES_TARGET_EXISTING,
	GOES_TARGET_ANY
} GoesTarget;

typedef struct GoesEventType
{
	const char *action;
	int32		version;
	TransactionId registered_by;	/* as it is now */
	const char *calculator;		/* NULL: the state does not change */
	GoesFunction *function;		/* of a calculator that is a function, or of
								 * goes_merge; made when first used */
} GoesEventType;

typedef struct GoesUpcaster
{
	const char *action;
	int32		from_version;
	TransactionId registered_by;	/* as it is now */
	GoesFunction *function;
} GoesUpcaster;

typedef struct GoesCommandType
{
	const char *name;			/* without the aggregate type */
	const char *full_name;		/* with it */
	pg_uuid_t	id;				/* by which its counters know it */
	GoesFunction *build;		/* or NULL */
	GoesFunction *validate;		/* or NULL */
	const char *event;			/* or NULL */
	GoesTarget	target;
	bool		allow_deleted;
} GoesCommandType;

typedef struct GoesAggregateType
{
	MemoryContext context;
	const char *name;
	Oid			relation;
	Oid			events;
	Oid			rowtype;		/* composite type of relation */
	uint64		generation;		/* of the registry that it was read from */
	bool		altered;		/* one of its tables was altered since */
	int			nevents;		/* ordered by action and version */
	GoesEventType *event_types;
	int			nupcasters;
	GoesUpcaster *upcasters;
	int			ncommands;		/* ordered by name */
	GoesCommandType *command_types;
	struct GoesLayout *layout;	/* how to read and write its tables, made when
								 * first used */
} GoesAggregateType;

/* OIDs of the extension's own objects */
typedef struct GoesObjects
{
	Oid			extension;
	Oid			owner;
	Oid			schema;			/* chosen at CREATE EXTENSION */
	Oid			position;		/* the sequence */
	Oid			command_type;	/* composite types */
	Oid			event_type;
	Oid			event_data_type;
	Oid			guard_aggregate;	/* trigger functions */
	Oid			guard_events;
	Oid			react;
} GoesObjects;

extern void goes_registry_init(void);
extern uint64 goes_registry_generation(void);
extern const GoesObjects *goes_objects(void);
extern GoesAggregateType *goes_find_aggregate_type(const char *name);
extern GoesAggregateType *goes_get_aggregate_type(const char *name);
extern char *goes_aggregate_type_of_relation(Oid relation);
extern bool goes_aggregate_type_is_valid(const GoesAggregateType *type);
extern GoesEventType *goes_find_event_type(const GoesAggregateType *type,
										   const char *action, int32 version);
extern GoesEventType *goes_latest_event_type(const GoesAggregateType *type,
											 const char *action);
extern GoesCommandType *goes_find_command_type(const GoesAggregateType *type,
											   const char *command);

extern GoesSignature goes_command_signature(Oid rowtype, Oid result);
extern GoesSignature goes_calculator_signature(Oid rowtype);
extern GoesSignature goes_upcaster_signature(void);

extern uint64 goes_registry_execute(const char *sql, int nargs,
									const Oid *argtypes, const Datum *args,
									const char *nulls);
extern uint64 goes_registry_execute_kept(SPIPlanPtr *plan, const char *sql,
										 int nargs, const Oid *argtypes,
										 const Datum *args, const char *nulls);
extern uint64 goes_execute_kept(SPIPlanPtr *plan, const char *sql, int nargs,
								const Oid *argtypes, Datum *args,
								const char *nulls);
extern uint64 goes_execute_by_index(SPIPlanPtr *plan, const char *sql, int nargs,
									const Oid *argtypes, Datum *args,
									const char *nulls);
extern SPIPlanPtr goes_prepare_cursor(const char *sql, int nargs,
									  const Oid *argtypes, int options);
extern SPIPlanPtr goes_prepare(const char *sql, int nargs, const Oid *argtypes);

#endif							/* GOES_REGISTRY_H */
