/*
 * slot.c - the directory of slots: entering, leaving, being found dead.
 *
 * A slot changes hands like this, each arrow one store or one futex operation:
 *
 *   FREE, unlocked --lock--> FREE, locked --state--> LIVE, locked
 *   LIVE, locked --generation, state--> FREE, locked --unlock--> FREE, unlocked
 *   LIVE, locked --death--> LIVE, OWNER_DIED --reaped--> FREE, OWNER_DIED
 *
 * Death in "FREE, locked" leaves FREE and OWNER_DIED, too: nothing to reap, the next
 * to lock it takes it over.  So a slot that is LIVE without a living tid in its
 * word is dead and waits for the reaper, and one that is FREE without one is
 * free.  The generation changes before a slot is free again: lock words that
 * name the old one are a dead man's.
 *
 * Newcomers start to look at different places (cursor), so two of them seldom
 * try the same mutex.
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include "life/life.h"

/* Is the thread whose tid stands in the word gone?  One-sided: a tid used again reads as
 * alive, and so does one of another namespace. */
static bool is_gone(const struct cm_life *life, struct cm_slot_shm *slot, uint32_t word)
{
	uint64_t ids = cm_read(&slot->ids);

	return cm_read(&slot->pid_namespace) &&
	       cm_read(&slot->pid_namespace) == cm_read(&life->pid_namespace) &&
	       (uint32_t)ids == (word & FUTEX_TID_MASK) &&
	       cm_os_thread_is_gone((int32_t)(ids >> 32), (int32_t)ids) && cm_robust_word(slot) == word;
}

bool cm_life_is_dead(const struct cm_life *life, uint32_t index, uint32_t generation,
		     bool ask_kernel)
{
	struct cm_slot_shm *slot;
	uint32_t word;

	if (index >= cm_life_nused(life))
		return true; /* no such slot: the word is damaged, its holder nobody */
	slot = cm_life_slot(life, index);
	word = cm_robust_word(slot);
	if ((uint32_t)cm_load_acquire(&slot->generation) != generation)
		return true;
	if ((word & FUTEX_OWNER_DIED) || (word & FUTEX_TID_MASK) == 0)
		return true;
	return ask_kernel && is_gone(life, slot, word) &&
	       (uint32_t)cm_load_acquire(&slot->generation) == generation;
}

bool cm_life_needs_reap(const struct cm_life *life, uint32_t index, bool ask_kernel)
{
	struct cm_slot_shm *slot = cm_life_slot(life, index);
	uint32_t generation = (uint32_t)cm_load_acquire(&slot->generation);

	/* acquire pairs with the release of state in try_slot() and leave() */
	return cm_load_acquire(&slot->state) == CM_SLOT_LIVE &&
	       cm_life_is_dead(life, index, generation, ask_kernel) &&
	       cm_load_acquire(&slot->state) == CM_SLOT_LIVE &&
	       (uint32_t)cm_load_acquire(&slot->generation) == generation;
}

int cm_life_commit(struct cm_life *life, uint32_t index)
{
	uint64_t off = life->slots_off + index * CM_SLOT_STRIDE;
	int err = cm_os_commit_shared(life->backing, off, CM_SLOT_COMMIT, CM_SLOT_ZERO_AT);

	if (err == 0)
		cm_robust_prepare(cm_life_slot(life, index));
	return err;
}

static void introduce(const struct cm_life *life, struct cm_self *self)
{
	struct cm_slot_shm *slot = self->slot;
	uint64_t comm[2];

	self->name = cm_lock_name(self->index, cm_read(&slot->generation));
	cm_write(&slot->ids, (uint64_t)cm_os_tgid() << 32 | (uint32_t)cm_os_tid());
	cm_write(&slot->pid_namespace, cm_read(&life->pid_namespace));
	cm_os_thread_name((char *)comm);
	cm_write(&slot->comm[0], comm[0]);
	cm_write(&slot->comm[1], comm[1]);
	cm_write(&slot->before[0], cm_read(&slot->mallocs));
	cm_write(&slot->before[1], cm_read(&slot->frees));
	cm_write(&slot->before[2], cm_read(&slot->bytes));
	/* release pairs with the acquire in cm_life_needs_reap.  death before: the
	 * slot is still free; after: it is ours, and reaped. */
	cm_store_release(&slot->state, CM_SLOT_LIVE);
}

static bool try_slot(struct cm_life *life, uint32_t index, struct cm_self *self)
{
	struct cm_slot_shm *slot = cm_life_slot(life, index);
	int err;

	if (cm_read(&slot->state) != CM_SLOT_FREE || (cm_robust_word(slot) & FUTEX_TID_MASK))
		return false;
	err = cm_robust_lock(slot, &self->raw);
	if (err < 0 && err != -EOWNERDEAD)
		return false;
	if (cm_load_acquire(&slot->state) != CM_SLOT_FREE) {
		/* taken, and its owner dead, since we looked: leave it to the reaper.
		 * Unlocked and LIVE is dead, like OWNER_DIED. */
		cm_robust_unlock(slot, self->raw);
		return false;
	}
	self->slot = slot;
	self->index = index;
	introduce(life, self);
	return true;
}

/* One more slot gets storage; neighbours may be doing the same. */
static int extend(struct cm_life *life, uint32_t n)
{
	int err = cm_life_commit(life, n);

	/* pairs with the acquire in cm_life_nused: who sees n + 1 sees a mutex */
	if (err == 0)
		(void)atomic_compare_exchange_strong_explicit(life->nused, &(uint64_t){n}, n + 1ull,
							      memory_order_release,
							      memory_order_relaxed);
	return err;
}

int cm_life_enter(struct cm_life *life, struct cm_self *ret_self)
{
	struct cm_self self = {0};
	uint32_t n, start;
	int err;

	for (;;) {
		n = cm_life_nused(life);
		start = (uint32_t)cm_add(life->cursor, 1);
		for (uint32_t i = 0; i + 1 < n; i++)
			if (try_slot(life, 1 + (start + i) % (n - 1), &self)) {
				*ret_self = self;
				return 0;
			}
		if (n >= life->nslots)
			return -EAGAIN;
		err = extend(life, n);
		if (err < 0)
			return err;
	}
}

void cm_life_new_generation(struct cm_self *self, struct cm_slot_shm *slot)
{
	uint64_t next = (uint32_t)(cm_read(&slot->generation) + 1);

	/* release: our stores under locks that named the old generation come first */
	cm_store_release(&slot->generation, next);
	if (self && self->slot == slot)
		self->name = cm_lock_name(self->index, next);
}

void cm_life_leave(struct cm_self *self)
{
	struct cm_slot_shm *slot = self->slot;

	cm_life_new_generation(self, slot);
	/* release pairs with cm_life_needs_reap.  death after: nothing is left to
	 * reap, and whoever locks the slot next takes it over. */
	cm_store_release(&slot->state, CM_SLOT_FREE);
	cm_robust_unlock(slot, self->raw);
	self->slot = NULL;
}

bool cm_life_inherit(const struct cm_life *life, struct cm_self *heir)
{
	int err;

	/* new name first: locks the dead held under the old one can be stolen.  death after: LIVE
	 * without a tid is dead, and is reaped. */
	cm_life_new_generation(heir, heir->slot);
	err = cm_robust_lock(heir->slot, &heir->raw);
	if (err < 0 && err != -EOWNERDEAD)
		return false;
	introduce(life, heir);
	return true;
}

void cm_life_release_dead(struct cm_slot_shm *slot)
{
	uint32_t tid = (uint32_t)cm_read(&slot->ids);

	cm_life_new_generation(NULL, slot);
	/* Its mutex is left as the kernel left it: a newcomer may be locking it at this
	 * moment, and takes it over.  Only where the kernel left the dead one's tid: */
	cm_robust_disown(slot, tid);
	/* release: whoever sees FREE sees the new generation.  death before: LIVE
	 * without a tid is dead, and is reaped once more. */
	cm_store_release(&slot->state, CM_SLOT_FREE);
}

int cm_life_enter_common(struct cm_life *life, struct cm_self *ret_self, bool *ret_stale)
{
	struct cm_self self = { .index = CM_SLOT_COMMON, .slot = cm_life_slot(life, CM_SLOT_COMMON) };
	uint64_t pause_ns = 1000;
	uint32_t word;
	int err;

	/* polled, not waited for in the kernel: see list_op_pending in robust.c */
	while ((cm_robust_word(self.slot) & FUTEX_TID_MASK) ||
	       (err = cm_robust_lock(self.slot, &self.raw)) == -EBUSY) {
		cm_os_sleep_ns(pause_ns);
		pause_ns = cm_min(pause_ns * 2, 1000000);
		word = cm_robust_word(self.slot);
		if (is_gone(life, self.slot, word))
			cm_robust_disown(self.slot, word & FUTEX_TID_MASK);
	}
	if (err == -ENOMEM)
		return err;
	*ret_stale = cm_load_acquire(&self.slot->state) == CM_SLOT_LIVE;
	/* new name first: locks the dead held under the old one can be stolen */
	if (*ret_stale)
		cm_life_new_generation(&self, self.slot);
	introduce(life, &self);
	*ret_self = self;
	return 0;
}
