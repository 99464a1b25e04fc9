/*-------------------------------------------------------------------------
 *
 * aggregate.h
 *	  The current state of an aggregate: a row of its table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_AGGREGATE_H
#define GOES_AGGREGATE_H

#include "postgres.h"

#include "goes.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"
#include "record.h"
#include "registry.h"
#include "storage/itemptr.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

/* A column of an aggregate table */
typedef struct GoesColumn
{
	AttrNumber	attnum;
	bool		base;			/* of goes_base_aggregate */
	bool		stored;			/* written by goes: neither generated nor
								 * identity */
	ExprState  *generate;		/* of a generated column, else NULL */
	ExprState  *fit;			/* fits a value into varchar(42), ...; or NULL */
	Oid			domain;			/* or InvalidOid */
	void	   *domain_cache;
} GoesColumn;

/* How to read and write the tables of an aggregate type */
typedef struct GoesLayout
{
	MemoryContext context;		/* in which it lives */
	int			natts;			/* with dropped columns */
	int			ncolumns;		/* without */
	GoesColumn *columns;
	AttrNumber	id;
	AttrNumber	version;
	AttrNumber	created_at;
	AttrNumber	updated_at;
	AttrNumber	deleted_at;
	Datum	   *initial_values;	/* by attribute number - 1 */
	bool	   *initial_nulls;
	ExprContext *econtext;		/* for the columns' fit, whose value is the one
								 * parameter */
	bool		computes;		/* it has columns that are not stored by goes */
	bool		returning;		/* the stored row may differ from the state */
	bool		plain;			/* rows of the aggregate table are, see row.c */
	List	   *unique_ids;		/* OIDs of the unique indexes on the id */
	Bitmapset  *written;		/* columns that an update writes, see row.c */
	AttrNumber *event_columns;	/* of a plain events table, in the order of
								 * goes_event_columns; else NULL */
	SPIPlanPtr	read;
	SPIPlanPtr	lock;
	SPIPlanPtr	insert;
	SPIPlanPtr	update;
	SPIPlanPtr	append;			/* the event */
	SPIPlanPtr	lock_many;		/* these two are made when first used */
	SPIPlanPtr	import;			/* many events */
} GoesLayout;

/* The state of one aggregate while a command works on it */
typedef struct GoesState
{
	GoesAggregate row;			/* the C API's part */
	Datum	   *loaded;			/* as read, TOAST pointers included */
	Datum		composite;		/* the row as a value of its type, or 0; then the
								 * row itself may be left out until
								 * goes_state_expand; goes_calculate clears it */
	bool		exists;
	ItemPointerData tid;		/* of a row of a plain table, else invalid */
	pg_uuid_t	id;
	int64		version;		/* 0: does not exist yet */
	TimestampTz created_at;		/* these are meaningless for version 0 */
	TimestampTz updated_at;
	bool		deleted;
} GoesState;

typedef enum GoesStored
{
	GOES_STORED,
	GOES_LOST_RACE,				/* a new aggregate's id exists by now */
	GOES_MOVED					/* an existing one has another version by now */
} GoesStored;

typedef enum GoesLoad
{
	GOES_LOAD_SEE,				/* under the active snapshot */
	GOES_LOAD_READ,				/* as of now */
	GOES_LOAD_LOCK				/* FOR NO KEY UPDATE */
} GoesLoad;

extern char *goes_missing_base_columns(Relation relation);
extern List *goes_unique_ids(Relation relation);
extern bool goes_is_base_column(const char *name);
extern GoesAggregateType *goes_open_tables(const char *name, LOCKMODE lockmode,
										   Relation *aggregate, Relation *events);
extern GoesLayout *goes_layout(GoesAggregateType *type, Relation aggregate,
							   Relation events);
extern GoesState *goes_aggregate_load(const GoesAggregateType *type,
									  Relation aggregate, const pg_uuid_t *id,
									  GoesLoad how);
extern void goes_aggregates_lock(const GoesAggregateType *type,
								 Relation aggregate, const pg_uuid_t *ids,
								 int nids, bool *exist);
extern GoesState *goes_initial_state(const GoesLayout *layout,
									 Relation aggregate, const pg_uuid_t *id);
extern char *goes_aggregate_columns(const GoesLayout *layout, Relation aggregate);
extern int	goes_aggregate_column(const GoesLayout *layout, AttrNumber attnum);
extern GoesState *goes_state_from_row(const GoesLayout *layout,
									  Relation aggregate, HeapTuple tuple,
									  TupleDesc desc);
extern void goes_state_reset(const GoesLayout *layout, GoesState *state,
							 const pg_uuid_t *id);
extern void goes_state_expand(GoesState *state);
extern GoesState *goes_state_copy(const GoesLayout *layout, Relation aggregate,
								  const GoesState *state);
extern void goes_state_advance(const GoesLayout *layout, GoesState *state);
extern void goes_state_complete(const GoesLayout *layout, GoesState *state,
								const GoesState *stored);
extern GoesRecord goes_state_to_record(GoesState *state);
extern Datum goes_state_to_datum(GoesState *state);
extern void goes_state_from_record(GoesState *state, const GoesRecord *record);
extern void goes_state_from_datum(GoesState *state, Datum composite);
extern void goes_state_conform(const GoesLayout *layout, GoesState *state);
extern GoesStored goes_aggregate_store(const GoesAggregateType *type,
									   Relation aggregate, GoesState *state);

#endif							/* GOES_AGGREGATE_H */
