/*
 * lock.c - identity locks: the word says who holds it.
 *
 *   63       62 .. 32  31 .. 0
 *   waiters  slot + 1  generation            all zero: free
 *
 * One compare-and-swap takes it, one exchange gives it back.  Waiters spin
 * briefly, then sleep on the upper half until it changes, 10 ms at most: the
 * wake-up may have been meant for a waiter that was killed, so no sleep depends
 * on it.  Each time they wake they look whether the owner lives.
 *
 * A stale thief is harmless: it steals by comparing the whole word, and a slot
 * never holds a lock again under a generation in which it died (slot.c).
 */
#include <errno.h>
#include <limits.h>
#include "life/life.h"

#define SPINS 100
#define NAP_NS 10000000ull

static bool owner_is_dead(const struct cm_life *life, uint64_t word, bool ask_kernel)
{
	uint64_t owner = word & ~CM_LOCK_WAITERS;

	return owner >> 32 == 0 ||
	       cm_life_is_dead(life, (uint32_t)((owner >> 32) - 1), (uint32_t)owner, ask_kernel);
}

int cm_lock_take(const struct cm_life *life, cm_word *lock, const struct cm_self *self,
		 uint64_t deadline_ns, uint64_t *ret_seen)
{
	uint64_t mine = self->name, word, now, nap;
	bool has_slept = false;

	/* acquire pairs with the release in cm_lock_give; release, with the acquire below:
	 * who sees our name there sees our slot */
	if (CM_EXPECT(cm_cas_ordered(lock, 0, mine)))
		return 0;
	if (deadline_ns)
		cm_count(&self->slot->waits, 1);
	for (;;) {
		for (int i = 0; i < SPINS; i++) {
			word = cm_read(lock);
			/* who has slept may not be the only one: it takes the mark along */
			if (word == 0 && cm_cas_ordered(lock, 0, has_slept ? mine | CM_LOCK_WAITERS : mine))
				return 0;
			cm_spin_pause();
		}
		/* acquire: the directory is at least as long as the owner's number needs */
		word = cm_load_acquire(lock);
		if (word == 0)
			continue;
		if ((word & ~CM_LOCK_WAITERS) == mine)
			return -EDEADLK;
		/* a look that ends the wait may cost a system call */
		if (owner_is_dead(life, word, has_slept || deadline_ns == 0)) {
			*ret_seen = word;
			return 1;
		}
		now = deadline_ns == CM_NEVER ? 0 : cm_os_now_ns();
		if (deadline_ns != CM_NEVER && now >= deadline_ns)
			return -ETIMEDOUT;
		if (!(word & CM_LOCK_WAITERS)) {
			if (!cm_cas_relaxed(lock, word, word | CM_LOCK_WAITERS))
				continue;
			word |= CM_LOCK_WAITERS;
		}
		nap = deadline_ns == CM_NEVER ? NAP_NS : cm_min(NAP_NS, deadline_ns - now);
		cm_os_futex_wait(cm_upper_half(lock), (uint32_t)(word >> 32), nap);
		has_slept = true;
	}
}

bool cm_lock_steal(cm_word *lock, uint64_t seen, const struct cm_self *self)
{
	/* acquire: the death was seen by acquire already (cm_robust_word); this pairs
	 * with cm_lock_give of a thief before us.  The mark of the waiters stays. */
	return cm_cas_ordered(lock, seen, self->name | (seen & CM_LOCK_WAITERS));
}

void cm_lock_give(cm_word *lock)
{
	/* release pairs with the acquire in cm_lock_take and cm_lock_steal.  death
	 * after: the lock is free; a sleeper not woken wakes by itself. */
	if (CM_RARELY(cm_swap_release(lock, 0) & CM_LOCK_WAITERS))
		cm_os_futex_wake(cm_upper_half(lock), 1);
}
