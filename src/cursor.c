/*-------------------------------------------------------------------------
 *
 * cursor.c
 *	  The rows of a query, some at a time.
 *
 * As SPI_cursor_fetch, but rows that are not wanted are not even copied.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cursor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/portal.h"

/* Rows read at a time */
#define FETCH_COUNT 500

/* Takes the rows of one fetch */
typedef struct Receiver
{
	DestReceiver dest;			/* must be first */
	MemoryContext context;		/* of the rows */
	GoesRowFilter filter;		/* or NULL */
	void	   *arg;
	GoesRows	rows;
} Receiver;

static void
start_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	MemoryContext oldcontext;

	if (receiver->filter != NULL && !receiver->filter(receiver->arg, slot))
		return true;
	oldcontext = MemoryContextSwitchTo(receiver->context);
	receiver->rows.rows[receiver->rows.count++] = ExecCopySlotHeapTuple(slot);
	MemoryContextSwitchTo(oldcontext);
	return true;
}

static void
end_receiver(DestReceiver *self)
{
}

static void
init_receiver(Receiver *receiver, Portal portal, GoesRowFilter filter, void *arg)
{
	memset(receiver, 0, sizeof(Receiver));
	receiver->dest.receiveSlot = receive;
	receiver->dest.rStartup = start_receiver;
	receiver->dest.rShutdown = end_receiver;
	receiver->dest.rDestroy = end_receiver;
	receiver->dest.mydest = DestNone;
	receiver->context = AllocSetContextCreate(CurrentMemoryContext, "goes rows",
											  ALLOCSET_DEFAULT_SIZES);
	receiver->filter = filter;
	receiver->arg = arg;
	receiver->rows.desc = portal->tupDesc;
	receiver->rows.rows = palloc(FETCH_COUNT * sizeof(HeapTuple));
}

/*
 * goes_rows_each
 *		Run a query as the current user and hand its rows to the callback, but for
 *		those that the filter (NULL: none) does not want, under the active snapshot
 *		if read_only, else a new one.  The caller is connected to SPI.  Memory is
 *		bounded.
 */
void
goes_rows_each(const char *sql, int nargs, const Oid *argtypes,
			   const Datum *args, const char *nulls, bool read_only,
			   GoesRowFilter filter, GoesRowsCallback callback, void *arg)
{
	Portal		portal = SPI_cursor_open_with_args(NULL, sql, nargs,
												   unconstify(Oid *, argtypes),
												   unconstify(Datum *, args),
												   nulls, read_only, 0);
	Receiver	receiver;
	bool		more = true;

	init_receiver(&receiver, portal, filter, arg);
	/* A function that the callback calls could close it */
	PinPortal(portal);
	while (more && !portal->atEnd)
	{
		receiver.rows.count = 0;
		PortalRunFetch(portal, FETCH_FORWARD, FETCH_COUNT, &receiver.dest);
		more = receiver.rows.count == 0 || callback(arg, &receiver.rows);
		MemoryContextReset(receiver.context);
		CHECK_FOR_INTERRUPTS();
	}
	UnpinPortal(portal);
	SPI_cursor_close(portal);
	pfree(receiver.rows.rows);
	MemoryContextDelete(receiver.context);
}
