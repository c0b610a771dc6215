/*
 * root_once.c - create-once: one process runs the initialiser to the end.
 *
 * The entry is BUSY and names the slot whose thread runs the initialiser.  Those
 * who find it so wait, looking at that thread's life.  When it dies they first
 * reap it, so that what it was publishing into the entry's cell is decided, and
 * then one of them takes its place.
 */
#include <errno.h>
#include <limits.h>
#include <comap/root.h>
#include "heap/root.h"

#define NAP_NS 10000000ull

enum turn { TURN_READY, TURN_OURS, TURN_WAIT, TURN_REAP };

/* Whose turn is it?  Makes it ours when it is nobody's. */
static int take_turn(comap_heap *heap, struct cm_seat *seat, const struct cm_root_name *name,
		     uint64_t *reaped, struct cm_root_shm **ret_root, comap_ref *ret_ref)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_root_shm *root;
	uint64_t owner;
	struct cm_tx tx;
	bool is_new;
	int turn;

	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	turn = cm_root_place(seg, &seat->self, &tx, name, &root, &is_new);
	if (turn < 0) {
		cm_tx_end(&tx);
		return turn;
	}
	*ret_root = root;
	owner = cm_read(&root->owner);
	if (is_new) {
		cm_root_begin_change(seg, &tx);
		cm_root_stage(&tx, root, name, CM_ROOT_BUSY, 0, seat->self.name);
		cm_root_end_change(seg, &tx);
		turn = TURN_OURS;
	} else if (cm_read(&root->state) == CM_ROOT_READY) {
		ret_ref->off = cm_read(&root->ref);
		turn = TURN_READY;
	} else if (owner == seat->self.name) {
		turn = -EDEADLK;
	} else if (owner >> 32 &&
		   !cm_life_is_dead(&seg->life, (uint32_t)(owner >> 32) - 1, (uint32_t)owner, true)) {
		turn = TURN_WAIT;
	} else if (owner != *reaped) {
		*reaped = owner; /* this one, and not under the lock */
		turn = TURN_REAP;
	} else {
		cm_root_begin_change(seg, &tx);
		cm_tx_put(&tx, &root->owner, seat->self.name);
		cm_root_end_change(seg, &tx);
		turn = TURN_OURS;
	}
	cm_tx_end(&tx);
	return turn;
}

/* Our initialiser has run: the entry is ready, or gone. */
static int end_turn(comap_heap *heap, struct cm_root_shm *root, int result, comap_ref *ret_ref)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_seat *seat;
	struct cm_tx tx;
	int err = 0;

	seat = cm_seat_enter_own(heap, &err);
	if (!seat)
		return err;
	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	if (cm_read(&root->owner) != seat->self.name) {
		/* init gave our slot up (detach), or forked and came back in the child */
		cm_tx_end(&tx);
		cm_seat_leave(heap, seat);
		return -EPERM;
	}
	cm_root_begin_change(seg, &tx);
	if (result == 0) {
		ret_ref->off = cm_read(&root->cell);
		cm_tx_put(&tx, &root->ref, ret_ref->off);
		cm_tx_put(&tx, &root->cell, 0);
		cm_tx_put(&tx, &root->owner, 0);
		cm_tx_put(&tx, &root->state, CM_ROOT_READY);
	} else {
		cm_root_stage_delete(&tx, root);
	}
	cm_root_end_change(seg, &tx);
	cm_tx_end(&tx);
	cm_os_futex_wake(cm_lower_half(&root->state), INT_MAX);
	cm_seat_leave(heap, seat);
	return result;
}

int comap_root_once(comap_heap *heap, const char *text,
		    int (*init)(comap_heap *heap, comap_ref *cell, void *arg), void *arg,
		    uint64_t timeout_ns, comap_ref *ret_ref)
{
	uint64_t start = cm_os_now_ns(), reaped = 0, waited;
	struct cm_root_shm *root = NULL;
	struct cm_seat *seat;
	struct cm_root_name name;
	int turn = cm_root_read_name(text, &name), err = 0;

	if (turn < 0)
		return turn;
	if (heap->seg.is_readonly)
		return comap_root_get(heap, text, ret_ref);
	for (;;) {
		seat = cm_seat_enter_own(heap, &err);
		if (!seat)
			return err;
		turn = take_turn(heap, seat, &name, &reaped, &root, ret_ref);
		if (turn == TURN_REAP)
			(void)cm_reap_all(&heap->seg, &seat->self, CM_REAP_ASK_KERNEL | CM_REAP_PATIENT);
		cm_seat_leave(heap, seat);
		if (turn < 0 || turn == TURN_READY)
			return turn;
		if (turn == TURN_OURS)
			return end_turn(heap, root,
					init(heap, (comap_ref *)(void *)&root->cell, arg), ret_ref);
		if (turn == TURN_WAIT) {
			waited = cm_os_now_ns() - start;
			if (waited >= timeout_ns)
				return -ETIMEDOUT;
			cm_os_futex_wait(cm_lower_half(&root->state), CM_ROOT_BUSY,
					 cm_min(NAP_NS, timeout_ns - waited));
		}
	}
}
