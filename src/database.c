/*-------------------------------------------------------------------------
 *
 * database.c
 *	  Commands on whole databases, which goes's workers must not be in the
 *	  way of.
 *
 * PostgreSQL drops, renames, moves and copies only a database in which nobody
 * works.  So before such a command looks who does, this ends the workers of
 * that database and holds it: no others start until the transaction ends.
 *
 * That is the end of the transaction, not of the command, because only then
 * can others see what it did and get a lock on the database.  It also covers
 * errors and the end of the process, and ALTER DATABASE RENAME in a transaction
 * block.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "compat.h"
#include "counters.h"
#include "database.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "shared.h"
#include "storage/latch.h"
#include "tcop/utility.h"
#include "transient.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker.h"

/* How long to wait for workers to end, in ms; then the command tells who is there */
#define END_TIMEOUT 5000
#define END_INTERVAL 10

static ProcessUtility_hook_type next_process_utility = NULL;
static object_access_hook_type next_object_access = NULL;

/* Databases that this transaction holds or changes, for the launcher to look at */
static List *touched = NIL;

/* The one that it drops, or InvalidOid */
static Oid	dropped = InvalidOid;

/* ---------------------------------------------------------------------------
 * Holding a database
 * ---------------------------------------------------------------------------
 */

static void
touch(Oid database)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);

	touched = list_append_unique_oid(touched, database);
	MemoryContextSwitchTo(oldcontext);
}

/* Does the entry belong to a worker of the database, which is not this process? */
static bool
is_worker_of(const GoesWorker *worker, Oid database)
{
	return worker->in_use && worker->database == database &&
		worker != goes_my_worker;
}

/*
 * Let no more workers start in a database, and tell those that are there to
 * end.  One that was ordered, but has not started, ends when it sees that the
 * database is held.  With the lock none can end meanwhile, so that no other
 * process can have got its pid.
 */
static void
hold(Oid database)
{
	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	goes_my_slot()->held = database;
	for (int i = 0; i < goes_shared->nworkers; i++)
	{
		GoesWorker *worker = goes_worker_entry(i);

		if (!is_worker_of(worker, database) || worker->pid <= 0)
			continue;
		worker->leave = true;
		worker->leave_at = GetCurrentTimestamp();
		kill(worker->pid, SIGTERM);
	}
	LWLockRelease(goes_shared->lock);
}

static bool
has_workers(Oid database)
{
	bool		found = false;

	LWLockAcquire(goes_shared->lock, LW_SHARED);
	for (int i = 0; i < goes_shared->nworkers && !found; i++)
		found = is_worker_of(goes_worker_entry(i), database);
	LWLockRelease(goes_shared->lock);
	return found;
}

/*
 * Free a database of goes's workers until the transaction ends.  Only one at a
 * time is held: an earlier one was renamed in the same transaction, whose lock
 * on it makes new workers wait.
 */
static void
free_of_workers(Oid database)
{
	TimestampTz start = GetCurrentTimestamp();

	touch(database);
	hold(database);
	while (has_workers(database) &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), END_TIMEOUT))
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 END_INTERVAL, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/*
 * The transaction has ended, locks included: workers may start again, wherever
 * the databases are now.
 */
static void
transaction_ended(ResourceReleasePhase phase, bool is_commit, bool is_top_level,
				  void *arg)
{
	List	   *databases = touched;
	ListCell   *cell;

	if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || touched == NIL)
		return;
	touched = NIL;
	if (is_commit && OidIsValid(dropped))
	{
		goes_transient_sweep(dropped, InvalidOid);
		goes_counters_forget_database(dropped);
	}
	dropped = InvalidOid;
	LWLockAcquire(goes_shared->lock, LW_EXCLUSIVE);
	goes_my_slot()->held = InvalidOid;
	LWLockRelease(goes_shared->lock);
	foreach(cell, databases)
		goes_tell_launcher(lfirst_oid(cell), false);
	list_free(databases);
}

/* ---------------------------------------------------------------------------
 * Which database a command wants for itself
 *
 * Nobody may stop workers by a command that fails for lack of rights.
 * ---------------------------------------------------------------------------
 */

static bool
may_create_databases(void)
{
	HeapTuple	tuple;
	bool		may = superuser();

	if (may)
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		may = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

/* Is it meant to be copied by everybody? */
static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		is_template;

	if (!HeapTupleIsValid(tuple))
		return false;
	is_template = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return is_template;
}

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

/* The one that CREATE DATABASE copies. */
static Oid
copied_database(const CreatedbStmt *statement)
{
	DefElem    *option = find_option(statement->options, "template");
	const char *name = option != NULL && option->arg != NULL ?
		defGetString(option) : "template1";
	Oid			database = get_database_oid(name, true);

	if (OidIsValid(database) && may_create_databases() &&
		(is_template(database) || goes_owns_database(database, GetUserId())))
		return database;
	return InvalidOid;
}

/* The one of that name, if the user may change it. */
static Oid
changed_database(const char *name)
{
	Oid			database = get_database_oid(name, true);

	if (OidIsValid(database) && database != MyDatabaseId &&
		goes_owns_database(database, GetUserId()))
		return database;
	return InvalidOid;
}

/*
 * The database that a command wants for itself; InvalidOid: none, or the
 * command will fail.  DROP DATABASE is not here, as object_access_hook comes in
 * time for it.
 */
static Oid
wanted_database(Node *statement, bool top_level)
{
	switch (nodeTag(statement))
	{
		case T_CreatedbStmt:
			if (!IsInTransactionBlock(top_level))
				return copied_database((CreatedbStmt *) statement);
			break;
		case T_AlterDatabaseStmt:
			if (find_option(((AlterDatabaseStmt *) statement)->options, "tablespace") &&
				!IsInTransactionBlock(top_level))
				return changed_database(((AlterDatabaseStmt *) statement)->dbname);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE &&
				may_create_databases())
				return changed_database(((RenameStmt *) statement)->subname);
			break;
		default:
			break;
	}
	return InvalidOid;
}

static bool
commits_prepared(const Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		((const TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* ---------------------------------------------------------------------------
 * Hooks
 * ---------------------------------------------------------------------------
 */

static void
process_utility(PlannedStmt *statement, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	Oid			database = wanted_database(statement->utilityStmt,
										   context == PROCESS_UTILITY_TOPLEVEL);

	bool		is_prepared = commits_prepared(statement->utilityStmt);

	if (OidIsValid(database))
		free_of_workers(database);
	(next_process_utility != NULL ? next_process_utility : standard_ProcessUtility)
		(statement, query, read_only_tree, context, params, environment, dest,
		 completion);
	/* It may have created the extension, or changed the registry */
	if (is_prepared && OidIsValid(get_extension_oid("goes", true)))
	{
		goes_workers_changed();
		goes_launch_at_commit();
	}
}

/*
 * DROP EXTENSION lets the workers look whether it was theirs, and a function
 * that is given to another role, whose reactor it is; no event trigger sees
 * REASSIGN OWNED.  DROP DATABASE gets here when it has checked the user's
 * rights, and before it looks who is connected.  A database that is new or
 * altered may be one where the launcher has something to do.
 */
static void
object_access(ObjectAccessType access, Oid class, Oid object, int subobject,
			  void *arg)
{
	if (next_object_access != NULL)
		next_object_access(access, class, object, subobject, arg);
	if ((class == ExtensionRelationId && access == OAT_DROP) ||
		(class == ProcedureRelationId && access == OAT_POST_ALTER))
		goes_workers_changed();
	if (class != DatabaseRelationId)
		return;
	if (access == OAT_DROP && object != MyDatabaseId)
	{
		dropped = object;
		free_of_workers(object);
	}
	else if (access == OAT_POST_CREATE || access == OAT_POST_ALTER)
		touch(object);
}

/* goes_database_init: to be called from _PG_init, with the preload. */
void
goes_database_init(void)
{
	RegisterResourceReleaseCallback(transaction_ended, NULL);
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	next_object_access = object_access_hook;
	object_access_hook = object_access;
}
