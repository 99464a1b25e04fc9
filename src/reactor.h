/*-------------------------------------------------------------------------
 *
 * reactor.h
 *	  Reactors: registered, and attached to events tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef GOES_REACTOR_H
#define GOES_REACTOR_H

#include "postgres.h"

#include "function.h"
#include "nodes/pg_list.h"
#include "pattern.h"

typedef enum GoesMode
{
	GOES_SYNC,
	GOES_ASYNC,
	GOES_OUTSIDE
} GoesMode;

/* How the function of a reactor is called */
typedef enum GoesForm
{
	GOES_FORM_NONE,				/* outside: no function */
	GOES_FORM_EVENT,			/* (goes_event) */
	GOES_FORM_AGGREGATE,		/* (aggregate, goes_event) */
	GOES_FORM_TRIGGER			/* () RETURNS trigger */
} GoesForm;

/* A row of goes.reactors */
typedef struct GoesReactor
{
	char	   *name;
	GoesMode	mode;
	GoesForm	form;
	bool		active;
	Oid			owner;			/* of an outside reactor, else InvalidOid */
	int			npatterns;
	GoesPattern *patterns;
} GoesReactor;

extern GoesSignature goes_reactor_signature(GoesForm form, Oid rowtype);
extern GoesReactor *goes_reactor_read(const char *name);
extern List *goes_reactors_read(void);
extern void goes_reactor_attach_all(const char *type, Oid relation, Oid events);
extern void goes_reactors_forget_type(const char *type);
extern void goes_reactor_detach_all(Oid events);
extern void goes_reactor_detach(const GoesReactor *reactor);
extern void goes_reactor_attach(const GoesReactor *reactor);
extern List *goes_reactor_functions(const GoesReactor *reactor);
extern bool goes_reactor_is_attached(const GoesReactor *reactor);
extern Oid	goes_reactor_function(const GoesReactor *reactor);
extern void goes_reactor_delete(const char *name);
extern void goes_reactor_rename(const GoesReactor *reactor, const char *name);

#endif							/* GOES_REACTOR_H */
