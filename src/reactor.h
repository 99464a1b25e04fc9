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
#include "goes.h"
#include "nodes/pg_list.h"
#include "pattern.h"
#include "utils/reltrigger.h"
#include "utils/uuid.h"

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
	pg_uuid_t	id;
	GoesMode	mode;
	GoesForm	form;
	bool		active;
	bool		paused;
	Oid			owner;			/* of an outside reactor, else InvalidOid */
	int			npatterns;
	GoesPattern *patterns;
	/* how it is run; what is not set is the setting of that name */
	int			max_attempts;
	int64		backoff;		/* milliseconds */
	int64		max_backoff;
	int64		timeout;
	int			batch_size;
	int			parallelism;
	bool		stops;			/* on_failure: stop, not skip */
} GoesReactor;

/* A registered type that a pattern of a reactor matches */
typedef struct GoesReactorTarget
{
	char	   *type;
	Oid			relation;
	Oid			events;
	bool		named;			/* by a pattern other than "*" */
} GoesReactorTarget;

/* Settings of the same name */
extern int	goes_max_attempts;
extern int	goes_backoff;
extern int	goes_max_backoff;
extern int	goes_timeout;
extern int	goes_batch_size;

extern GoesSignature goes_reactor_signature(GoesForm form, Oid rowtype);
extern GoesReactor *goes_reactor_read(const char *name);
extern List *goes_reactors_read(void);
extern bool goes_reactor_matches(const GoesReactor *reactor, const GoesEvent *event);
extern List *goes_reactors_matching(const GoesEvent *event);
extern List *goes_reactors_of_event(const GoesEvent *event);
extern bool goes_reactor_reaches(const GoesReactor *reactor, Oid relation);
extern Trigger *goes_reactor_trigger(const GoesReactor *reactor,
									 const TriggerDesc *triggers);
extern GoesReactor *goes_reactor_copy(const GoesReactor *reactor);
extern GoesReactor *goes_reactor_lock(const char *name);
extern GoesReactor *goes_reactor_find(const char *name);
extern List *goes_reactor_targets(const GoesReactor *reactor);
extern Oid	goes_reactor_owner(const GoesReactor *reactor);
extern bool goes_reactor_gets_events(const GoesReactor *reactor, Oid relation,
									 Oid events);
extern bool goes_reactor_may_manage(const GoesReactor *reactor);
extern void goes_reactor_check_may_manage(const GoesReactor *reactor);
extern const char *goes_connect_problem(Oid role, const char **hint);
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
