/*-------------------------------------------------------------------------
 *
 * goes.h
 *	  The C API of goes: calculators as C callbacks.
 *
 * A library defines a static GoesCalculator and hands it to
 * goes_register_calculator() in its _PG_init().  From then on, in every
 * session that has loaded the library, the calculator can be named:
 *
 *		SELECT goes_register_event('account', 'deposited', calculator => 'c:account_deposited');
 *
 * The list lives in a rendezvous variable, so the library does not link with
 * goes and may be loaded before it, after it, or without it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_H
#define GOES_H

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#define GOES_API_VERSION 1

/*
 * The state of an aggregate: a row of its table.  values and nulls have
 * tupdesc->natts elements; that of attribute number n is at n - 1.
 */
typedef struct GoesAggregate
{
	TupleDesc	tupdesc;		/* descriptor of the aggregate table */
	Datum	   *values;
	bool	   *nulls;
} GoesAggregate;

/*
 * An event.  data and metadata are never NULL and always JSON objects or
 * other JSON values as they were built; transient is NULL if there is none,
 * and always NULL for a calculator, which must give the same result on replay.
 */
typedef struct GoesEvent
{
	int64		position;		/* global order, from 1 */
	pg_uuid_t	id;
	const char *aggregate_type;
	pg_uuid_t	aggregate_id;
	int64		aggregate_version;	/* version of the aggregate after it, from 1 */
	const char *action;
	int32		event_version;	/* version of the layout of data, from 1 */
	Jsonb	   *data;
	Jsonb	   *metadata;
	Jsonb	   *transient;
	TimestampTz recorded_at;
} GoesEvent;

/*
 * Computes the next state in place.  A value passed by reference must be
 * replaced, not overwritten; allocate the new one in CurrentMemoryContext.
 * goes sets id, version, created_at and updated_at afterwards; deleted_at is
 * the calculator's to set.  Must depend on its arguments only, since it runs
 * again on replay; may raise errors.
 */
typedef void (*GoesCalculatorCallback) (GoesAggregate *aggregate,
										const GoesEvent *event);

typedef struct GoesCalculator
{
	int			api_version;	/* GOES_API_VERSION */
	const char *name;			/* without "c:"; unique in the server */
	GoesCalculatorCallback callback;
	struct GoesCalculator *next;	/* set by goes_register_calculator */
	bool		immutable;		/* does not depend on TimeZone, DateStyle and
								 * IntervalStyle; if it may, goes sets those to what
								 * they are on replay, which costs more than most
								 * calculators */
} GoesCalculator;

#define GOES_CALCULATORS "goes_calculators"

/*
 * Add a calculator to the list.  It must stay where it is as long as the
 * process lives: make it static.
 */
static inline void
goes_register_calculator(GoesCalculator *calculator)
{
	void	  **list = find_rendezvous_variable(GOES_CALCULATORS);

	calculator->next = (GoesCalculator *) *list;
	*list = calculator;
}

#endif							/* GOES_H */
