/*-------------------------------------------------------------------------
 *
 * fingerprint.h
 *	  What tells one version of a type's model from another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_FINGERPRINT_H
#define GOES_FINGERPRINT_H

#include "postgres.h"

#include "registry.h"
#include "utils/rel.h"

extern uint64 goes_fingerprint(const GoesAggregateType *type, Relation aggregate);

#endif							/* GOES_FINGERPRINT_H */
