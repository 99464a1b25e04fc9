/*-------------------------------------------------------------------------
 *
 * source.h
 *	  The events that a reactor reacts to, read in position order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_SOURCE_H
#define GOES_SOURCE_H

#include "postgres.h"

#include "access/htup.h"
#include "executor/spi.h"
#include "goes.h"
#include "reactor.h"
#include "utils/uuid.h"

/* One type whose events a reactor may get */
typedef struct GoesSource
{
	char	   *type;
	Oid			events;
	char	   *name;			/* the table's, in the statements */
	SPIPlanPtr	scan;			/* these are made when first used */
	SPIPlanPtr	next;
	SPIPlanPtr	at;
} GoesSource;

/* All of them, for one part of the aggregates */
typedef struct GoesSources
{
	MemoryContext context;
	const GoesReactor *reactor;
	Oid			owner;			/* the reactor's */
	int			part;
	int			parts;
	int			nsources;
	GoesSource *sources;
} GoesSources;

/* An event that was found, as it is stored */
typedef struct GoesFound
{
	int64		position;
	pg_uuid_t	aggregate_id;
	int64		aggregate_version;
	GoesSource *source;
	HeapTuple	tuple;
	TupleDesc	desc;
} GoesFound;

/* A version of an aggregate */
typedef struct GoesPlace
{
	pg_uuid_t	aggregate_id;
	int64		aggregate_version;
} GoesPlace;

/* Positions to read: after < position <= up_to, imported ones <= imported_to */
typedef struct GoesRange
{
	int64		after;
	int64		up_to;
	int64		imported_to;
} GoesRange;

extern GoesSources *goes_sources_create(MemoryContext parent,
										const GoesReactor *reactor, Oid owner,
										int part, int parts);
extern void goes_sources_free(GoesSources *sources);
extern int	goes_sources_read(GoesSources *sources, const GoesRange *range,
							  int limit, GoesFound **found);
extern int	goes_sources_read_at(GoesSources *sources, const char *type,
								 int npositions, const int64 *positions,
								 GoesFound **found);
extern GoesFound *goes_sources_read_one(GoesSources *sources, const char *type,
										int64 position);
extern int	goes_sources_read_next(GoesSources *sources, const char *type,
								   int nplaces, const GoesPlace *places,
								   const GoesRange *range, bool unseen_too,
								   GoesFound **found);
extern int	goes_aggregate_part(const pg_uuid_t *aggregate_id, int parts);
extern GoesEvent *goes_found_event(const GoesFound *found);

#endif							/* GOES_SOURCE_H */
