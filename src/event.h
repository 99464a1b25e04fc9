/*-------------------------------------------------------------------------
 *
 * event.h
 *	  Events: stored, read, as SQL values and as JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_EVENT_H
#define GOES_EVENT_H

#include "postgres.h"

#include "goes.h"
#include "record.h"
#include "registry.h"
#include "utils/rel.h"

extern char *goes_event_table_definition(void);
extern AttrNumber *goes_event_attributes(Relation events);
extern char *goes_missing_event_columns(Relation relation);
extern bool goes_is_event_column(const char *name);
extern SPIPlanPtr goes_event_prepare_append(Oid events);
extern void goes_event_append(const GoesAggregateType *type, Relation events,
							  const GoesEvent *event,
							  const pg_uuid_t *command_id, bool imported);
extern void goes_events_import(const GoesAggregateType *type, Relation events,
							   const GoesEvent *imported, int count);
extern GoesEvent *goes_event_read(const GoesAggregateType *type,
								  Relation events, int64 position);
extern GoesEvent *goes_event_from_row(const char *aggregate_type, TupleDesc desc,
									  HeapTuple row);
extern char *goes_event_columns(void);
extern GoesEvent *goes_event_from_columns(const char *aggregate_type,
										  TupleDesc desc, HeapTuple row);
extern void goes_event_context(void *event);
extern bool goes_event_is_imported(TupleDesc desc, HeapTuple row);
extern GoesRecord goes_event_to_record(const GoesEvent *event,
									   bool with_transient);
extern Datum goes_event_to_datum(const GoesEvent *event, bool with_transient);
extern Jsonb *goes_event_to_jsonb(const GoesEvent *event);

#endif							/* GOES_EVENT_H */
