/*
 * log/log.h - the door of floor 3: changes that happen or do not.
 *
 * Every change of the heap's tables is a redo transaction:
 *
 *	cm_tx_begin(log, self, lock, &tx);   // takes the lock, mends what the dead left
 *	cm_tx_put(&tx, &word, value);        // staged in our slot, nothing visible
 *	cm_tx_commit(&tx);                   // one store decides; then applied
 *	cm_tx_end(&tx);                      // gives the lock back
 *
 * Values are absolute and computed under the lock, so applying them again is
 * harmless.  A thread has one transaction at a time, so a slot needs one log.
 */
#ifndef CM_LOG_H
#define CM_LOG_H

#include "base/base.h"
#include "life/life.h"

/* One line of the lock table: a lock, and words that it guards. */
struct cm_lock_shm {
	cm_word owner; /* identity lock */
	cm_word last;  /* slot + 1 of the last holder that might have staged something */
	cm_word word[6];
};
_Static_assert(sizeof(struct cm_lock_shm) == 64, "one lock, one cache line");

enum {
	CM_LOCK_NONE = 0,   /* a transaction on words nobody else may change */
	CM_LOCK_SPAN = 1,   /* segments and units: seg/ */
	CM_LOCK_ROOT = 2,   /* named roots: heap/ */
	CM_LOCK_BIN = 16,   /* + class: slabs of that class: slab/ */
	CM_LOCKS = 128,
};

/* This process's view of what transactions need. */
struct cm_log {
	struct cm_life *life;
	struct cm_lock_shm *locks;
	/* May a transaction make the `count` words at `off` this value? */
	bool (*may_write)(const struct cm_log *log, uint64_t off, uint64_t count, uint64_t value);
	cm_word *steals;   /* figures in the superblock */
	cm_word *damages;
};

struct cm_tx {
	struct cm_log *log;
	const struct cm_self *self;
	struct cm_redo_shm *redo;
	uint32_t lock;
	uint32_t n;
};

/* Takes `lock` however long it takes (its holders need microseconds) and first
 * finishes what its dead owners committed. */
void cm_tx_begin(struct cm_log *log, const struct cm_self *self, uint32_t lock, struct cm_tx *tx);
static inline void cm_tx_put(struct cm_tx *tx, cm_word *at, uint64_t value)
{
	struct cm_redo_pair_shm *pair = &tx->redo->pair[tx->n++];

	CM_INVARIANT(tx->n <= CM_REDO_PAIRS);
	cm_write(&pair->at, (uint64_t)((char *)at - tx->log->life->backing->base));
	cm_write(&pair->value, value);
}
/* What the word will be: as staged last with cm_tx_put, or as it is. */
uint64_t cm_tx_get(const struct cm_tx *tx, cm_word *at);
void cm_tx_fill(struct cm_tx *tx, cm_word *at, uint64_t count, uint64_t value);
void cm_tx_commit(struct cm_tx *tx);
void cm_tx_end(struct cm_tx *tx);

/* Is what the slot's log says something we could have written? */
bool cm_log_is_valid(const struct cm_log *log, struct cm_slot_shm *slot);
/* The reaper's part: apply what `dead` committed and did not finish. */
void cm_log_finish(struct cm_log *log, const struct cm_self *self, struct cm_slot_shm *dead);

#endif
