/*-------------------------------------------------------------------------
 *
 * inline.h
 *	  Async reactors inside the transaction, for tests of a model.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_INLINE_H
#define GOES_INLINE_H

#include "postgres.h"

#include "goes.h"
#include "utils/guc.h"

typedef enum GoesAsync
{
	GOES_ASYNC_BACKGROUND,
	GOES_ASYNC_INLINE
} GoesAsync;

/* Setting goes.async */
extern int	goes_async;
extern const struct config_enum_entry goes_async_options[];

extern void goes_deliver_inline(const GoesEvent *stored, const GoesEvent *seen);

#endif							/* GOES_INLINE_H */
