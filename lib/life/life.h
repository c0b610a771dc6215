/*
 * life/life.h - the door of floor 2: who is alive, who holds what.
 *
 * A slot's life is one robust process-shared mutex, held by its thread from
 * attach to detach.  When the thread ends in any way, the kernel sets
 * FUTEX_OWNER_DIED in the mutex's word (get_robust_list(2)).  Nobody else ever
 * locks it: others read the word.
 *
 * All other locks are identity locks: one word that names the slot and the
 * generation of its holder.  Whether the holder lives is read from its slot, so
 * a lock can be taken from the dead by anybody, and there is one robust futex a
 * thread, however many locks it holds.
 */
#ifndef CM_LIFE_H
#define CM_LIFE_H

#include <pthread.h>
#include "base/base.h"
#include "life/slot_layout.h"
#include "os/os.h"

/* This process's view of the slot directory. */
struct cm_life {
	struct cm_backing *backing;
	uint64_t slots_off;    /* of slot 0 */
	uint32_t nslots;       /* capacity */
	cm_word *nused;        /* slots with storage: a high-water mark, in the superblock */
	cm_word *cursor;       /* where the next newcomer looks first */
	cm_word pid_namespace; /* a fork child may live in another than its parent */
};

/* Who the calling thread is in one heap. */
struct cm_self {
	struct cm_slot_shm *slot;
	uint32_t index;
	uint64_t name;         /* as it stands in lock words */
	struct cm_raw_robust *raw; /* see robust.c; NULL for threads made by libc */
};

static inline struct cm_slot_shm *cm_life_slot(const struct cm_life *life, uint32_t index)
{
	return (struct cm_slot_shm *)(void *)(life->backing->base + life->slots_off +
					      index * CM_SLOT_STRIDE);
}

static inline uint32_t cm_life_nused(const struct cm_life *life)
{
	uint64_t n = cm_load_acquire(life->nused); /* pairs with the CAS in extend() */

	return n > life->nslots ? life->nslots : (uint32_t)n;
}

/* Figures of the slot's thread: n blocks of so many bytes it got. */
static inline void cm_slot_count_malloc(struct cm_slot_shm *slot, uint32_t n, uint64_t size)
{
	cm_count(&slot->mallocs, n);
	cm_count(&slot->bytes, n * size);
}

/* ---- robust.c: one life word -------------------------------------------- */

/* Learn this libc's mutex layout; call before anything else.  0 or -ENOTSUP. */
int cm_robust_init(void);
/* A number that differs between libcs whose mutexes differ. */
uint64_t cm_robust_abi(void);
/* Make zeroed or stale bytes an unlocked mutex; never while its owner lives. */
void cm_robust_reset(struct cm_slot_shm *slot);
/* As reset for bytes that are zero or have been reset before: idempotent, so
 * several threads may do it at once, even while one of them has locked it. */
void cm_robust_prepare(struct cm_slot_shm *slot);
uint32_t cm_robust_word(struct cm_slot_shm *slot);
/* The kernel told us otherwise that its owner, this tid, is gone: say so in the word. */
void cm_robust_disown(struct cm_slot_shm *slot, uint32_t tid);
/* The exclusive opener of a file knows that all its owners are gone. */
void cm_robust_mark_dead(struct cm_slot_shm *slot);

/* Lock for the calling thread: 0; -EOWNERDEAD: locked, the last owner died;
 * -EBUSY; -ENOMEM.  Unlock undoes it. */
int cm_robust_lock(struct cm_slot_shm *slot, struct cm_raw_robust **ret_raw);
void cm_robust_unlock(struct cm_slot_shm *slot, struct cm_raw_robust *raw);

/* ---- slot.c: the directory ------------------------------------------------- */

/* Is the thread that had this slot at this generation gone?  `ask_kernel`: also
 * by tgkill, for deaths the robust list does not show (exec by a thread that is
 * not the leader). */
bool cm_life_is_dead(const struct cm_life *life, uint32_t index, uint32_t generation,
		     bool ask_kernel);
/* Is there a dead thread in this slot, waiting to be reaped? */
bool cm_life_needs_reap(const struct cm_life *life, uint32_t index, bool ask_kernel);

int cm_life_enter(struct cm_life *life, struct cm_self *ret_self); /* -EAGAIN: no slot free */
void cm_life_leave(struct cm_self *self);
/* The common slot, until cm_life_leave: waits its turn.  *ret_stale: its last user
 * died, reap it before use. */
int cm_life_enter_common(struct cm_life *life, struct cm_self *ret_self, bool *ret_stale);
/* The slot of a dead thread, mended, becomes the caller's as it is: heir->slot and index say
 * which.  Under its `reap` lock.  false: it cannot be had. */
bool cm_life_inherit(const struct cm_life *life, struct cm_self *heir);
/* A reaped slot is free again. */
void cm_life_release_dead(struct cm_slot_shm *slot);
void cm_life_new_generation(struct cm_self *self, struct cm_slot_shm *slot);
/* Give slot `index` storage; idempotent. */
int cm_life_commit(struct cm_life *life, uint32_t index);

/* ---- lock.c: identity locks -------------------------------------------------- */

/* The halves of a word, for futex(2). */
static inline cm_half *cm_lower_half(cm_word *word)
{
	return (cm_half *)(void *)word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}
static inline cm_half *cm_upper_half(cm_word *word)
{
	return (cm_half *)(void *)word + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
}

#define CM_LOCK_WAITERS (1ull << 63)
#define CM_NEVER UINT64_MAX

static inline uint64_t cm_lock_name(uint32_t index, uint64_t generation)
{
	return (uint64_t)(index + 1) << 32 | (uint32_t)generation;
}

/*
 * Take the lock: 0 it is ours; 1 its owner is dead, *ret_seen is the word to
 * steal it by; -ETIMEDOUT at deadline_ns (monotonic; 0: do not wait; CM_NEVER);
 * -EDEADLK when we hold it.
 */
int cm_lock_take(const struct cm_life *life, cm_word *lock, const struct cm_self *self,
		 uint64_t deadline_ns, uint64_t *ret_seen);
/* Take it from the dead owner; false when another was faster. */
bool cm_lock_steal(cm_word *lock, uint64_t seen, const struct cm_self *self);
void cm_lock_give(cm_word *lock);
static inline bool cm_lock_is_mine(cm_word *lock, const struct cm_self *self)
{
	return (cm_read(lock) & ~CM_LOCK_WAITERS) == self->name;
}

#endif
