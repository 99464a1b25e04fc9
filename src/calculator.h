/*-------------------------------------------------------------------------
 *
 * calculator.h
 *	  The next state of an aggregate from its state and one event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_CALCULATOR_H
#define GOES_CALCULATOR_H

#include "postgres.h"

#include "aggregate.h"
#include "registry.h"

extern void goes_calculator_check(const char *name);
extern bool goes_calculator_is_function(const char *name);
extern void goes_calculate(GoesAggregateType *type, GoesState *state,
						   const GoesEvent *event);

#endif							/* GOES_CALCULATOR_H */
