/*
 * reap.c - what a dead thread leaves, and how it is finished.
 *
 * Left behind are at most: a committed log (finish it), a hold (units go back),
 * magazines (their blocks go back), locks (stolen by whoever wants them; nothing
 * to do here), and the slot.  The order matters: the log may end or begin a hold,
 * and names a magazine's ends.
 *
 * One reaper at a time, by the slot's own `reap` lock, which like any identity
 * lock can be stolen from a dead reaper.  Every step may be done again: a reaper
 * that dies is a dead thread with a hold and a log of its own, and the next one
 * finds this slot as it left it.  The generation changes before the slot is
 * free, so words that name the dead stay a dead man's.
 *
 * The time this takes depends on what the dead one held, not on the heap.
 */
#include "reap/reap.h"

/* What the dead one has in transit, once nobody else's log is about to change that. */
static bool holds_something(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *dead)
{
	bool holds, is_valid;
	struct cm_tx tx;

	/* A reaper before us may have died while giving this hold back.  Taking the
	 * span lock finishes that; before, the units may already be somebody's. */
	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	holds = cm_read(&dead->hold_at) != 0;
	is_valid = cm_hold_is_valid(seg, dead);
	cm_tx_end(&tx);
	if (is_valid)
		return holds;
	cm_add(&seg->super->damages, 1);
	cm_write(&dead->hold_at, 0);
	return false;
}

/* All but its magazines. */
static void mend_calls(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *dead)
{
	cm_log_finish(&seg->log, self, dead);
	if (holds_something(seg, self, dead)) {
		cm_slab_clear_hold(seg, dead);
		cm_span_give_hold(seg, self, dead);
	}
}

static void drain(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *dead)
{
	struct cm_misfreed unused = {0}; /* nobody is left to be told */

	cm_cache_drain(seg, self, dead, &unused);
}

/* Its `reap` lock is ours, and it is dead. */
static bool take(struct cm_seg *seg, const struct cm_self *self, uint32_t index, unsigned how)
{
	struct cm_slot_shm *dead = cm_life_slot(&seg->life, index);
	uint64_t deadline = how & CM_REAP_PATIENT ? CM_NEVER : 0, seen;
	bool ask_kernel = how & CM_REAP_ASK_KERNEL;
	int got;

	if (index == self->index || !cm_life_needs_reap(&seg->life, index, ask_kernel))
		return false;
	do
		got = cm_lock_take(&seg->life, &dead->reap, self, deadline, &seen);
	while (got == 1 && !cm_lock_steal(&dead->reap, seen, self));
	if (got < 0)
		return false; /* a living reaper is at it */
	/* another reaper may have been here while we waited */
	if (!cm_life_needs_reap(&seg->life, index, ask_kernel)) {
		cm_lock_give(&dead->reap);
		return false;
	}
	return true;
}

bool cm_reap_slot(struct cm_seg *seg, const struct cm_self *self, uint32_t index, unsigned how)
{
	struct cm_slot_shm *dead = cm_life_slot(&seg->life, index);

	if (!take(seg, self, index, how))
		return false;
	mend_calls(seg, self, dead);
	drain(seg, self, dead);
	cm_life_release_dead(dead);
	cm_add(&seg->super->deaths, 1);
	cm_lock_give(&dead->reap);
	return true;
}

bool cm_reap_inherit(struct cm_seg *seg, struct cm_self *self, uint32_t index)
{
	struct cm_self heir = { .slot = cm_life_slot(&seg->life, index), .index = index };
	bool inherits;

	if (!take(seg, self, index, 0))
		return false;
	mend_calls(seg, self, heir.slot);
	inherits = cm_life_inherit(&seg->life, &heir);
	if (!inherits) {
		drain(seg, self, heir.slot);
		cm_life_release_dead(heir.slot);
	}
	cm_add(&seg->super->deaths, 1);
	/* death from cm_life_inherit to the end: both slots are reaped */
	cm_lock_give(&heir.slot->reap);
	if (inherits) {
		cm_life_leave(self);
		*self = heir;
	}
	return inherits;
}

/* The common slot has no lock but its life: to reap its dead user one becomes its
 * next one. */
static int reap_common(struct cm_seg *seg, unsigned how)
{
	struct cm_slot_shm *slot = cm_life_slot(&seg->life, CM_SLOT_COMMON);
	bool is_stale, is_used = cm_load_acquire(&slot->state) == CM_SLOT_LIVE;
	struct cm_self common;

	/* patient: whoever has it may be about to reap the user before */
	if (!(how & CM_REAP_PATIENT ? is_used : cm_life_needs_reap(&seg->life, CM_SLOT_COMMON, false)) ||
	    cm_life_enter_common(&seg->life, &common, &is_stale) < 0)
		return 0;
	if (is_stale)
		cm_reap_self(seg, &common);
	cm_life_leave(&common);
	return is_stale;
}

int cm_reap_all(struct cm_seg *seg, const struct cm_self *self, unsigned how)
{
	int n = self->index == CM_SLOT_COMMON ? 0 : reap_common(seg, how);

	for (uint32_t i = CM_SLOT_COMMON + 1; i < cm_life_nused(&seg->life); i++)
		n += cm_reap_slot(seg, self, i, how);
	return n;
}

void cm_reap_self(struct cm_seg *seg, const struct cm_self *self)
{
	mend_calls(seg, self, self->slot);
	drain(seg, self, self->slot);
	cm_add(&seg->super->deaths, 1);
}
