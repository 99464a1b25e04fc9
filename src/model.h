/*-------------------------------------------------------------------------
 *
 * model.h
 *	  Registering the parts of a model: aggregates, events, commands.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_MODEL_H
#define GOES_MODEL_H

#include "postgres.h"

#include "fmgr.h"
#include "registry.h"

extern void goes_lock_registry(void);
extern char *goes_text_arg(FunctionCallInfo fcinfo, int n, const char *name);
extern int32 goes_version_arg(FunctionCallInfo fcinfo, int n, const char *name);
extern GoesAggregateType *goes_own_type(const char *name);
extern GoesAggregateType *goes_own_type_locked(const char *name);
extern void goes_forget_type(const char *type);
extern void goes_forget_event(const char *type, const char *action, int32 version);
extern void goes_forget_command(const char *type, const char *command);

#endif							/* GOES_MODEL_H */
