/*
 * redo.c - stage, commit, apply; and apply for the dead.
 *
 * The log of a slot is committed when its word `commit` is not zero; that word
 * names the lock the transaction runs under.  Whoever takes a lock from a dead
 * owner looks at the slot that `last` names: if its log is committed under this
 * very lock, the pairs are stored (again) and the log is cleared.  Otherwise
 * nothing had happened.  Why this is sound:
 *
 *   1. Every word a transaction stores is guarded by its lock (or belongs to
 *      its thread alone, or is a cell only its caller may change), so between
 *      the death and the steal nobody changed it.  (The cell `spare` of root_page.c is
 *      such a cell, of whoever holds the root lock; see add_page there.)
 *   2. `last` changes only after that mending is done, so a thief that dies in
 *      the middle is mended by the next thief, not forgotten.
 *   3. The log is cleared before the lock is given, so a log that names a lock
 *      its slot does not hold does not exist.
 *
 * A transaction under CM_LOCK_NONE stores words that belong to its thread (its
 * own hold, a block not yet handed out, a cell only the caller may change); the
 * reaper of the slot finishes it.
 */
#include <errno.h>
#include "log/log.h"

#define FILL 1ull

static uint64_t commit_word(uint32_t lock, uint32_t n)
{
	return (uint64_t)lock << 16 | n;
}

static cm_word *word_at(const struct cm_log *log, uint64_t off)
{
	return (cm_word *)(void *)(log->life->backing->base + off);
}

static uint64_t offset_of(const struct cm_log *log, cm_word *at)
{
	return (uint64_t)((char *)at - log->life->backing->base);
}

/* Idempotent: any number of threads may have begun it, one after the other. */
static void apply(const struct cm_log *log, struct cm_redo_shm *redo, uint32_t n)
{
	uint64_t at, count, value;
	cm_word *to;

	for (uint32_t i = 0; i < n; i++) {
		at = cm_read(&redo->pair[i].at);
		value = cm_read(&redo->pair[i].value);
		to = word_at(log, at & ~FILL);
		if (!(at & FILL)) {
			/* release: a lock-free reader of a published cell sees the block's
			 * tables; pairs with comap_ref_load */
			cm_store_release(to, value);
			continue;
		}
		count = value;
		value = cm_read(&redo->pair[++i].value);
		for (uint64_t k = 0; k < count; k++)
			cm_write(&to[k], value);
	}
}

bool cm_log_is_valid(const struct cm_log *log, struct cm_slot_shm *slot)
{
	struct cm_redo_shm *redo = &slot->redo;
	uint64_t commit = cm_load_acquire(&redo->commit), at, value, count;
	uint32_t n = commit & 0xffff;

	if (commit == 0)
		return true;
	if (n > CM_REDO_PAIRS || commit >> 16 >= CM_LOCKS)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		at = cm_read(&redo->pair[i].at);
		count = at & FILL ? cm_read(&redo->pair[i].value) : 1;
		if ((at & FILL) && ++i >= n)
			return false;
		value = cm_read(&redo->pair[i].value);
		if (((at & ~FILL) & 7) || !log->may_write(log, at & ~FILL, count, value))
			return false;
	}
	return true;
}

/* `slot` is dead and we hold the lock its log may name (or it names none). */
static void finish(struct cm_log *log, struct cm_slot_shm *slot)
{
	uint64_t commit = cm_load_acquire(&slot->redo.commit);

	if (cm_log_is_valid(log, slot))
		apply(log, &slot->redo, commit & 0xffff);
	else
		cm_add(log->damages, 1);
	/* release: the words before the log is gone.  death before: applied again. */
	cm_store_release(&slot->redo.commit, 0);
}

static void mend(struct cm_log *log, uint32_t lock)
{
	uint64_t last = cm_read(&log->locks[lock].last);
	struct cm_slot_shm *slot;

	cm_add(log->steals, 1);
	if (last == 0 || last > cm_life_nused(log->life))
		return;
	slot = cm_life_slot(log->life, (uint32_t)last - 1);
	/* Not 0 and naming this lock: its owner is dead, by rule 3. */
	if (cm_load_acquire(&slot->redo.commit) >> 16 == lock)
		finish(log, slot);
}

void cm_tx_begin(struct cm_log *log, const struct cm_self *self, uint32_t lock, struct cm_tx *tx)
{
	uint64_t seen;
	int got;

	*tx = (struct cm_tx){ .log = log, .self = self, .redo = &self->slot->redo, .lock = lock };
	if (lock == CM_LOCK_NONE)
		return;
	for (;;) {
		got = cm_lock_take(log->life, &log->locks[lock].owner, self, CM_NEVER, &seen);
		if (got == 0)
			break;
		if (got < 0) {
			/* -EDEADLK: we hold none, so the word was scribbled on.  It names us. */
			cm_add(log->damages, 1);
			break;
		}
		if (cm_lock_steal(&log->locks[lock].owner, seen, self)) {
			mend(log, lock);
			break;
		}
	}
	/* death before: the next thief mends whom we would have; after: us. */
	cm_order();
	cm_write(&log->locks[lock].last, self->index + 1ull);
	cm_order();
}

uint64_t cm_tx_get(const struct cm_tx *tx, cm_word *at)
{
	uint64_t off = offset_of(tx->log, at);

	for (uint32_t i = tx->n; i-- > 0;)
		if (cm_read(&tx->redo->pair[i].at) == off)
			return cm_read(&tx->redo->pair[i].value);
	return cm_read(at);
}

void cm_tx_fill(struct cm_tx *tx, cm_word *at, uint64_t count, uint64_t value)
{
	struct cm_redo_pair_shm *pair = &tx->redo->pair[tx->n];

	tx->n += 2;
	CM_INVARIANT(tx->n <= CM_REDO_PAIRS);
	cm_write(&pair[0].at, offset_of(tx->log, at) | FILL);
	cm_write(&pair[0].value, count);
	cm_write(&pair[1].at, 0);
	cm_write(&pair[1].value, value);
}

void cm_tx_commit(struct cm_tx *tx)
{
	cm_order();
	/* The decision.  death before: nothing happened; after: all of it will. */
	cm_write(&tx->redo->commit, commit_word(tx->lock, tx->n));
	cm_order();
	apply(tx->log, tx->redo, tx->n);
	cm_order();
	cm_write(&tx->redo->commit, 0);
	cm_order();
	tx->n = 0;
}

void cm_tx_end(struct cm_tx *tx)
{
	if (tx->lock != CM_LOCK_NONE)
		cm_lock_give(&tx->log->locks[tx->lock].owner);
}

void cm_log_finish(struct cm_log *log, const struct cm_self *self, struct cm_slot_shm *dead)
{
	uint64_t commit = cm_load_acquire(&dead->redo.commit);
	uint32_t lock = (uint32_t)(commit >> 16);
	struct cm_tx tx;

	if (commit == 0)
		return;
	if (lock != CM_LOCK_NONE && lock < CM_LOCKS) {
		/* Another survivor may be finishing it at this moment, and the words may
		 * then be somebody's: so take its lock, which mends, and look again. */
		cm_tx_begin(log, self, lock, &tx);
		if (cm_load_acquire(&dead->redo.commit) != 0) {
			/* against rule 3: somebody scribbled here */
			cm_add(log->damages, 1);
			cm_write(&dead->redo.commit, 0);
		}
		cm_tx_end(&tx);
		return;
	}
	finish(log, dead);
}
