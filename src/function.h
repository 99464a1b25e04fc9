/*-------------------------------------------------------------------------
 *
 * function.h
 *	  User functions: found by name, called as planned expressions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_FUNCTION_H
#define GOES_FUNCTION_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "record.h"

#define GOES_MAX_ARGS 2

typedef struct GoesSignature
{
	int			nargs;
	Oid			argtypes[GOES_MAX_ARGS];
	Oid			result;
	bool		pure;			/* runs again on replay, under the same settings */
} GoesSignature;

typedef struct GoesFunction GoesFunction;

extern void goes_function_init(void);
extern List *goes_function_parse_name(const char *name);
extern Oid	goes_function_find(const char *name, const GoesSignature *signature,
							   const char *purpose);
extern Oid	goes_function_find_qualified(const char *name,
										 const GoesSignature *signature);
extern void goes_function_lock(const char *name, const GoesSignature *signature);
extern char *goes_function_qualified_name(Oid function);
extern char *goes_function_spell(const char *name,
								 const GoesSignature *signature);
extern GoesFunction *goes_function_create(MemoryContext context,
										  const char *name,
										  const GoesSignature *signature,
										  const char *purpose);
extern const char *goes_function_name(const GoesFunction *function);
extern GoesFunction *goes_function_create_builtin(MemoryContext context,
												  Oid function,
												  const GoesSignature *signature);
extern Datum goes_function_call(GoesFunction *function, const Datum *args,
								bool *isnull);
extern bool goes_function_call_records(GoesFunction *function,
									   GoesRecord *const *args,
									   GoesRecord *result);

extern uint64 goes_function_generation(void);
extern void goes_retire(MemoryContext context);

#endif							/* GOES_FUNCTION_H */
