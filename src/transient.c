/*-------------------------------------------------------------------------
 *
 * transient.c
 *	  Transient data of events: in main shared memory only, never on disk.
 *
 * An entry holds the data of one event and the reactors that have not settled
 * it; when the last one has, it is overwritten with zeros and given back.  It
 * is there before its event is committed, but nobody looks for it until then.
 *
 * The memory is cut into blocks of one size, and an entry takes a chain of
 * them, so it cannot fragment: an entry fits if there are enough free blocks.
 * It is no DSA because one with a limited size loses some of its memory for
 * good each time that it is full (ensure_active_superblock in dsa.c), and it is
 * not in dynamic shared memory because that may be files in the data directory.
 *
 * One lock protects everything.  Nothing that is done with it in the shared
 * memory can fail, which also lets transactions do it while they end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "registry.h"
#include "shared.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "transient.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "uuid.h"

#define TRANCHE "goes_transient"

#define DEFAULT_MEMORY (8 * 1024)
#define LEAST_MEMORY 1024
#define GREATEST_MEMORY (2 * 1024 * 1024 - 1)

#define BLOCK_SIZE 128
#define BLOCKS_PER_BUCKET 4

/* Instead of the number of a block; block 0 is never used */
#define NO_BLOCK 0

/*
 * Blocks are known by their number, entries by that of their first block.
 */
typedef struct Memory
{
	LWLock	   *lock;
	pg_atomic_uint32 nentries;	/* also read without the lock */
	pg_atomic_uint32 full;		/* how often somebody found no room */
	uint32		nblocks;
	uint32		nbuckets;
	uint32		nfree;			/* blocks */
	uint32		free;			/* chain of those that were in use before */
	uint32		fresh;			/* this one and all that follow never were */
	uint32	   *buckets;		/* chains of entries, by position */
	uint32	   *links;			/* of each block: the next one of its chain */
	char	   *blocks;
} Memory;

/* The reactors' uuids follow, then the data, all through the chain of blocks. */
typedef struct Entry
{
	int64		position;		/* of the event */
	Oid			database;
	Oid			sequence;		/* that the position is from */
	uint32		next;			/* entry in the same bucket */
	int32		nreactors;
	int32		nwaiting;		/* the first ones: they have not settled it */
	uint32		size;			/* of the data */
} Entry;

StaticAssertDecl(sizeof(Entry) % UUID_LEN == 0 && BLOCK_SIZE % UUID_LEN == 0,
				 "a block holds uuids whole");

/* For how long a command waits for room: so often so many microseconds */
#define ROOM_TRIES 20
#define ROOM_INTERVAL 5000

typedef enum ActionKind
{
	RELEASE,					/* give back what was reserved: on abort */
	SETTLE,						/* on commit */
	FORGET						/* on commit */
} ActionKind;

/* What is left to do when the transaction ends */
typedef struct Action
{
	struct Action *next;
	ActionKind	kind;
	SubTransactionId subtransaction;
	Oid			sequence;
	int64		position;
	pg_uuid_t	reactor;		/* not of RELEASE */
} Action;

int			goes_transient_memory = DEFAULT_MEMORY;

static Memory *memory = NULL;

/*
 * The latest first, so that those of the current subtransaction are at the
 * head.  In TopTransactionContext, which outlives the callbacks.
 */
static Action *actions = NULL;

/* ---------------------------------------------------------------------------
 * The memory
 * ---------------------------------------------------------------------------
 */

static Size
memory_size(void)
{
	return (Size) goes_transient_memory * 1024;
}

/* goes_transient_request: ask for the memory and its lock, before it exists. */
void
goes_transient_request(void)
{
	RequestAddinShmemSpace(memory_size());
	RequestNamedLWLockTranche(TRANCHE, 1);
}

/* Cut the memory up. */
static void
initialize(void)
{
	Size		bucket_size = sizeof(uint32) +
		BLOCKS_PER_BUCKET * (sizeof(uint32) + BLOCK_SIZE);
	Size		overhead = CACHELINEALIGN(sizeof(Memory)) + PG_CACHE_LINE_SIZE;
	char	   *start = (char *) memory + CACHELINEALIGN(sizeof(Memory));

	memory->lock = &GetNamedLWLockTranche(TRANCHE)->lock;
	pg_atomic_init_u32(&memory->nentries, 0);
	pg_atomic_init_u32(&memory->full, 0);
	memory->nbuckets = (memory_size() - overhead) / bucket_size;
	memory->nblocks = memory->nbuckets * BLOCKS_PER_BUCKET;
	memory->nfree = memory->nblocks - 1;
	memory->free = NO_BLOCK;
	memory->fresh = NO_BLOCK + 1;
	memory->buckets = (uint32 *) start;
	memory->links = memory->buckets + memory->nbuckets;
	memory->blocks = (char *) CACHELINEALIGN(memory->links + memory->nblocks);
	memset(memory->buckets, 0, memory->nbuckets * sizeof(uint32));
}

/* goes_transient_start: find or make it, with AddinShmemInitLock. */
void
goes_transient_start(void)
{
	bool		found;

	memory = ShmemInitStruct("goes transient data", memory_size(), &found);
	if (!found)
		initialize();
}

/* Is there certainly nothing to be found?  Takes no lock. */
static bool
is_empty(void)
{
	return !goes_preloaded() || pg_atomic_read_u32(&memory->nentries) == 0;
}

static char *
block_address(uint32 block)
{
	return memory->blocks + (Size) block * BLOCK_SIZE;
}

static Entry *
entry_address(uint32 block)
{
	return (Entry *) block_address(block);
}

/* Take so many blocks, of which there are enough.  Returns their chain. */
static uint32
take_blocks(uint32 n)
{
	uint32		chain = NO_BLOCK;

	Assert(n <= memory->nfree);
	memory->nfree -= n;
	for (; n > 0; n--)
	{
		uint32		block = memory->free;

		if (block != NO_BLOCK)
			memory->free = memory->links[block];
		else
			block = memory->fresh++;
		memory->links[block] = chain;
		chain = block;
	}
	return chain;
}

/* Give a chain of blocks back, with nothing left in them. */
static void
free_blocks(uint32 chain)
{
	while (chain != NO_BLOCK)
	{
		uint32		block = chain;

		chain = memory->links[block];
		explicit_bzero(block_address(block), BLOCK_SIZE);
		memory->links[block] = memory->free;
		memory->free = block;
		memory->nfree++;
	}
}

/* Find the place at an offset in a chain of blocks: a block and the offset in it. */
static Size
seek(uint32 *block, Size offset)
{
	for (; offset >= BLOCK_SIZE; offset -= BLOCK_SIZE)
		*block = memory->links[*block];
	return offset;
}

static void
write_bytes(uint32 block, Size offset, const void *bytes, Size size)
{
	const char *from = bytes;

	offset = seek(&block, offset);
	while (size > 0)
	{
		Size		part = Min(size, BLOCK_SIZE - offset);

		memcpy(block_address(block) + offset, from, part);
		from += part;
		size -= part;
		offset = 0;
		block = memory->links[block];
	}
}

static void
read_bytes(uint32 block, Size offset, void *bytes, Size size)
{
	char	   *to = bytes;

	offset = seek(&block, offset);
	while (size > 0)
	{
		Size		part = Min(size, BLOCK_SIZE - offset);

		memcpy(to, block_address(block) + offset, part);
		to += part;
		size -= part;
		offset = 0;
		block = memory->links[block];
	}
}

/* ---------------------------------------------------------------------------
 * Entries; with the lock
 * ---------------------------------------------------------------------------
 */

static uint32 *
bucket_of(int64 position)
{
	return &memory->buckets[(uint64) position % memory->nbuckets];
}

/* What leads to the entry of an event of this database, or NULL. */
static uint32 *
find_entry(Oid sequence, int64 position)
{
	uint32	   *link = bucket_of(position);

	while (*link != NO_BLOCK)
	{
		Entry	   *entry = entry_address(*link);

		if (entry->position == position && entry->sequence == sequence &&
			entry->database == MyDatabaseId)
			return link;
		link = &entry->next;
	}
	return NULL;
}

static Size
reactor_offset(int n)
{
	return sizeof(Entry) + (Size) n * UUID_LEN;
}

/* Where a reactor is among those that have not settled the entry, or -1. */
static int
find_claim(uint32 block, const pg_uuid_t *reactor)
{
	int			nwaiting = entry_address(block)->nwaiting;

	for (int i = 0; i < nwaiting; i++)
	{
		uint32		at = block;
		Size		offset = seek(&at, reactor_offset(i));

		if (memcmp(block_address(at) + offset, reactor, UUID_LEN) == 0)
			return i;
	}
	return -1;
}

/* A reactor needs an entry no more.  Returns whether no other one does. */
static bool
drop_claim(uint32 block, const pg_uuid_t *reactor)
{
	Entry	   *entry = entry_address(block);
	int			n = find_claim(block, reactor);
	pg_uuid_t	last;

	if (n < 0)
		return false;
	entry->nwaiting--;
	read_bytes(block, reactor_offset(entry->nwaiting), &last, UUID_LEN);
	write_bytes(block, reactor_offset(n), &last, UUID_LEN);
	return entry->nwaiting == 0;
}

/* Remove the entry that this leads to. */
static void
drop_entry(uint32 *link)
{
	uint32		block = *link;

	*link = entry_address(block)->next;
	pg_atomic_fetch_sub_u32(&memory->nentries, 1);
	free_blocks(block);
}

static void
make_entry(uint32 block, Oid sequence, int64 position, Jsonb *data,
		   int nreactors, const pg_uuid_t *reactors)
{
	uint32	   *bucket = bucket_of(position);
	Entry	   *entry = entry_address(block);

	entry->position = position;
	entry->database = MyDatabaseId;
	entry->sequence = sequence;
	entry->next = *bucket;
	entry->nreactors = nreactors;
	entry->nwaiting = nreactors;
	entry->size = VARSIZE(data);
	write_bytes(block, reactor_offset(0), reactors, (Size) nreactors * UUID_LEN);
	write_bytes(block, reactor_offset(nreactors), data, VARSIZE(data));
	*bucket = block;
	pg_atomic_fetch_add_u32(&memory->nentries, 1);
}

/* ---------------------------------------------------------------------------
 * Entries; taking the lock
 * ---------------------------------------------------------------------------
 */

static void
settle(Oid sequence, int64 position, const pg_uuid_t *reactor)
{
	uint32	   *link;

	LWLockAcquire(memory->lock, LW_EXCLUSIVE);
	link = find_entry(sequence, position);
	if (link != NULL && drop_claim(*link, reactor))
		drop_entry(link);
	LWLockRelease(memory->lock);
}

/* Remove an entry for all; another may have done it: a sweep, a pause. */
static void
release(Oid sequence, int64 position)
{
	uint32	   *link;

	LWLockAcquire(memory->lock, LW_EXCLUSIVE);
	link = find_entry(sequence, position);
	if (link != NULL)
		drop_entry(link);
	LWLockRelease(memory->lock);
}

/*
 * Remove all entries that a test says are not needed.  The lock is taken for
 * one bucket at a time, so that a lot of memory does not hold up others.
 */
static void
drop_entries(bool (*is_needless) (uint32 block, const void *arg), const void *arg)
{
	for (uint32 i = 0; i < memory->nbuckets; i++)
	{
		uint32	   *link = &memory->buckets[i];

		if (*link == NO_BLOCK)
			continue;
		LWLockAcquire(memory->lock, LW_EXCLUSIVE);
		while (*link != NO_BLOCK)
		{
			if (is_needless(*link, arg))
				drop_entry(link);
			else
				link = &entry_address(*link)->next;
		}
		LWLockRelease(memory->lock);
	}
}

/* For drop_entries, and a reactor's uuid: forget it. */
static bool
was_last_claim(uint32 block, const void *reactor)
{
	return entry_address(block)->database == MyDatabaseId &&
		drop_claim(block, reactor);
}

/* For drop_entries, and an array of a database and a sequence. */
static bool
is_of_other_sequence(uint32 block, const void *arg)
{
	const Oid  *oids = arg;
	Entry	   *entry = entry_address(block);

	return entry->database == oids[0] && entry->sequence != oids[1];
}

/* ---------------------------------------------------------------------------
 * The end of transactions
 * ---------------------------------------------------------------------------
 */

/* An action that is not in the list yet. */
static Action *
new_action(ActionKind kind, Oid sequence, int64 position)
{
	Action	   *action = MemoryContextAllocZero(TopTransactionContext,
												sizeof(Action));

	action->kind = kind;
	action->subtransaction = GetCurrentSubTransactionId();
	action->sequence = sequence;
	action->position = position;
	return action;
}

static void
remember(Action *action)
{
	action->next = actions;
	actions = action;
}

/* Do what is to be done on commit, or what is to be done on abort. */
static void
run(const Action *action, bool is_commit)
{
	switch (action->kind)
	{
		case RELEASE:
			if (!is_commit)
				release(action->sequence, action->position);
			break;
		case SETTLE:
			if (is_commit)
				settle(action->sequence, action->position, &action->reactor);
			break;
		case FORGET:
			if (is_commit)
				drop_entries(was_last_claim, &action->reactor);
			break;
	}
}

static void
end_transaction(bool is_commit)
{
	for (Action *action = actions; action != NULL; action = action->next)
		run(action, is_commit);
	actions = NULL;
}

static void
transaction_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (actions != NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has reserved or released transient data of goes events")));
			break;
		case XACT_EVENT_COMMIT:
			end_transaction(true);
			break;
		case XACT_EVENT_ABORT:
			end_transaction(false);
			break;
		default:
			break;
	}
}

static void
subtransaction_callback(SubXactEvent event, SubTransactionId id,
						SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Action *action = actions;
			 action != NULL && action->subtransaction == id;
			 action = action->next)
			action->subtransaction = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (actions != NULL && actions->subtransaction == id)
		{
			Action	   *action = actions;

			run(action, false);
			actions = action->next;
			pfree(action);
		}
	}
}

/* ---------------------------------------------------------------------------
 * For others
 * ---------------------------------------------------------------------------
 */

/*
 * goes_transient_init
 *		Define the setting; to be called once in a process, from _PG_init,
 *		before the prefix of the settings is reserved.  A session that loads
 *		the library later only needs it so that its value is valid.
 */
void
goes_transient_init(void)
{
	bool		is_preload = process_shared_preload_libraries_in_progress;

	DefineCustomIntVariable("goes.transient_memory",
							"Shared memory for the transient data of events.",
							"Transient data is kept until the async and outside reactors of its event are done.",
							&goes_transient_memory,
							DEFAULT_MEMORY, LEAST_MEMORY, GREATEST_MEMORY,
							is_preload ? PGC_POSTMASTER : PGC_SIGHUP,
							GUC_UNIT_KB,
							NULL, NULL, NULL);
	if (!is_preload)
		return;
	RegisterXactCallback(transaction_callback, NULL);
	RegisterSubXactCallback(subtransaction_callback, NULL);
}

/*
 * The sequence that the positions are from.  After a transaction, when catalogs
 * cannot be read, that of before: what this process has found is from it.
 */
static Oid
current_sequence(void)
{
	static Oid	sequence = InvalidOid;

	if (IsTransactionState())
		sequence = goes_objects()->position;
	return sequence;
}

static void
report_full(Size size, uint32 nfree)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("out of memory for transient data"),
			 errdetail("The event needs %zu bytes; of %zu bytes %zu are free, the rest is taken by %u events.",
					   size, (Size) (memory->nblocks - 1) * BLOCK_SIZE,
					   (Size) nfree * BLOCK_SIZE,
					   pg_atomic_read_u32(&memory->nentries)),
			 errhint("Raise goes.transient_memory, or see which reactors are blocked or lag behind: transient data stays until all reactors of its event are done.")));
}

/* Let all dispatchers look for what is claimed for nothing, and wait a little. */
static void
ask_for_room(uint32 needed)
{
	pg_atomic_fetch_add_u32(&memory->full, 1);
	goes_wake_database(InvalidOid);
	for (int i = 0; i < ROOM_TRIES && memory->nfree < needed; i++)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(ROOM_INTERVAL);
	}
}

/* Make the entry if there is room; returns how many blocks were free. */
static uint32
try_reserve(const Action *action, uint32 needed, Jsonb *data, int nreactors,
			const pg_uuid_t *reactors)
{
	uint32		nfree;

	LWLockAcquire(memory->lock, LW_EXCLUSIVE);
	nfree = memory->nfree;
	if (needed <= nfree)
		make_entry(take_blocks(needed), action->sequence, action->position, data,
				   nreactors, reactors);
	LWLockRelease(memory->lock);
	return nfree;
}

/*
 * goes_transient_reserve
 *		Keep the transient data of an event that this transaction appends until
 *		the reactors, of which there is at least one, have settled it.  Gone if
 *		the (sub)transaction rolls back.  Raises 53400 if there is no room.
 */
void
goes_transient_reserve(int64 position, Jsonb *data, int nreactors,
					   const pg_uuid_t *reactors)
{
	Size		size = reactor_offset(nreactors) + VARSIZE(data);
	uint32		needed = (size + BLOCK_SIZE - 1) / BLOCK_SIZE;
	Action	   *action;
	uint32		nfree;

	if (!goes_preloaded())
		return;
	Assert(nreactors > 0);
	action = new_action(RELEASE, current_sequence(), position);
	nfree = try_reserve(action, needed, data, nreactors, reactors);
	if (nfree < needed && needed < memory->nblocks)
	{
		ask_for_room(needed);
		nfree = try_reserve(action, needed, data, nreactors, reactors);
	}
	if (nfree < needed)
	{
		pfree(action);
		report_full(size, nfree);
	}
	remember(action);
}

/*
 * goes_transient_find
 *		The transient data of an event of this database, copied to the current
 *		context; NULL if there is none, or no more, or it is not for that
 *		reactor.  Works between transactions
 *		too, once it was found in one.
 */
Jsonb *
goes_transient_find(int64 position, const pg_uuid_t *reactor)
{
	Jsonb	   *data = NULL;
	Oid			sequence;
	uint32	   *link;

	if (is_empty())
		return NULL;
	sequence = current_sequence();
	LWLockAcquire(memory->lock, LW_SHARED);
	link = find_entry(sequence, position);
	if (link != NULL && find_claim(*link, reactor) >= 0)
	{
		Entry	   *entry = entry_address(*link);

		data = palloc(entry->size);
		read_bytes(*link, reactor_offset(entry->nreactors), data, entry->size);
	}
	LWLockRelease(memory->lock);
	return data;
}

/*
 * goes_transient_settle
 *		A reactor needs the transient data of an event no more, whether this
 *		transaction commits or not.  Works between transactions too, for what
 *		was found in one.
 */
void
goes_transient_settle(int64 position, const pg_uuid_t *reactor)
{
	if (!is_empty())
		settle(current_sequence(), position, reactor);
}

/* Does a reactor wait for an event whose transient data is there? */
static bool
has_claim(Oid sequence, int64 position, const pg_uuid_t *reactor)
{
	uint32	   *link;
	bool		has;

	LWLockAcquire(memory->lock, LW_SHARED);
	link = find_entry(sequence, position);
	has = link != NULL && find_claim(*link, reactor) >= 0;
	LWLockRelease(memory->lock);
	return has;
}

/* goes_transient_settle_at_commit: the same, if the (sub)transaction commits. */
void
goes_transient_settle_at_commit(int64 position, const pg_uuid_t *reactor)
{
	Oid			sequence;
	Action	   *action;

	if (is_empty())
		return;
	sequence = current_sequence();
	if (!has_claim(sequence, position, reactor))
		return;
	action = new_action(SETTLE, sequence, position);
	action->reactor = *reactor;
	remember(action);
}

/*
 * goes_transient_forget_at_commit
 *		A reactor of this database gets no transient data of any event that has
 *		some when this (sub)transaction commits: it was paused, rewound or
 *		removed.
 */
void
goes_transient_forget_at_commit(const pg_uuid_t *reactor)
{
	Action	   *action;

	if (!goes_preloaded())
		return;
	action = new_action(FORGET, InvalidOid, 0);
	action->reactor = *reactor;
	remember(action);
}

/*
 * goes_transient_sweep
 *		Remove at once what nobody can ask for any more: the transient data of a
 *		database whose positions are not from this sequence (all if it is
 *		InvalidOid), because the extension or the database was dropped.  Needs
 *		no transaction.
 */
void
goes_transient_sweep(Oid database, Oid sequence)
{
	Oid			oids[] = {database, sequence};

	if (!is_empty())
		drop_entries(is_of_other_sequence, oids);
}

/* goes_transient_was_full: has anybody found no room since this process asked? */
bool
goes_transient_was_full(void)
{
	static uint32 seen = 0;
	uint32		full = goes_preloaded() ? pg_atomic_read_u32(&memory->full) : 0;
	bool		was_full = full != seen;

	seen = full;
	return was_full;
}

/* Collect the claims in this database, at most limit; returns how many there are. */
static int
collect_claims(Oid sequence, GoesClaim *claims, int limit)
{
	int			count = 0;

	LWLockAcquire(memory->lock, LW_SHARED);
	for (uint32 bucket = 0; bucket < memory->nbuckets; bucket++)
	{
		for (uint32 block = memory->buckets[bucket]; block != NO_BLOCK;
			 block = entry_address(block)->next)
		{
			Entry	   *entry = entry_address(block);

			if (entry->database != MyDatabaseId || entry->sequence != sequence)
				continue;
			for (int i = 0; i < entry->nwaiting; i++, count++)
			{
				if (count >= limit)
					continue;
				claims[count].position = entry->position;
				read_bytes(block, reactor_offset(i), &claims[count].reactor, UUID_LEN);
			}
		}
	}
	LWLockRelease(memory->lock);
	return count;
}

/*
 * goes_transient_claims
 *		Who has not settled what yet, in this database, in the current context;
 *		returns how many.
 */
int
goes_transient_claims(GoesClaim **claims)
{
	Oid			sequence = current_sequence();
	int			count = collect_claims(sequence, NULL, 0);

	*claims = palloc_extended(Max(1, count) * sizeof(GoesClaim), MCXT_ALLOC_HUGE);
	return Min(count, collect_claims(sequence, *claims, count));
}
