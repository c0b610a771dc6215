/*
 * mutex.c - comap_mutex: an identity lock that users see.
 *
 * The difference to our own locks: before it is taken from the dead, every dead
 * thread is reaped, so that a cell the dead was publishing under it is decided.
 * The reaping comes before the steal: a thief that dies between the two would
 * otherwise leave a lock that names a dead man whose predecessor nobody reaped.
 */
#include <errno.h>
#include <comap/sync.h>
#include "heap/heap.h"

static int take(comap_heap *heap, comap_mutex *mutex, uint64_t deadline_ns)
{
	cm_word *lock = (cm_word *)(void *)mutex; /* its first word */
	struct cm_seg *seg = &heap->seg;
	struct cm_seat *seat;
	uint64_t seen;
	int got = 0;

	if (!mutex || !cm_is_in_block(seg, mutex, sizeof *mutex))
		return -EINVAL;
	seat = cm_seat_enter_own(heap, &got);
	if (!seat)
		return got;
	for (;;) {
		got = cm_lock_take(&seg->life, lock, &seat->self, deadline_ns, &seen);
		if (got <= 0)
			break;
		(void)cm_reap_all(seg, &seat->self, CM_REAP_ASK_KERNEL | CM_REAP_PATIENT);
		if (cm_lock_steal(lock, seen, &seat->self)) {
			cm_add(&seg->super->steals, 1);
			got = -EOWNERDEAD;
			break;
		}
	}
	cm_seat_leave(heap, seat);
	return got;
}

int comap_mutex_lock(comap_heap *heap, comap_mutex *mutex)
{
	return take(heap, mutex, CM_NEVER);
}

int comap_mutex_trylock(comap_heap *heap, comap_mutex *mutex)
{
	int err = take(heap, mutex, 0);

	return err == -ETIMEDOUT ? -EBUSY : err;
}

int comap_mutex_lock_for(comap_heap *heap, comap_mutex *mutex, uint64_t timeout_ns)
{
	uint64_t now = cm_os_now_ns();

	return take(heap, mutex, timeout_ns >= CM_NEVER - now ? CM_NEVER : now + timeout_ns);
}

int comap_mutex_unlock(comap_heap *heap, comap_mutex *mutex)
{
	cm_word *lock = (cm_word *)(void *)mutex; /* its first word */
	struct cm_seat *seat;
	int err = 0;

	if (!mutex || !cm_is_in_block(&heap->seg, mutex, sizeof *mutex))
		return -EPERM;
	seat = cm_seat_enter_own(heap, &err);
	if (!seat)
		return err == -EDEADLK ? err : -EPERM;
	if (cm_lock_is_mine(lock, &seat->self))
		cm_lock_give(lock);
	else
		err = -EPERM;
	cm_seat_leave(heap, seat);
	return err;
}
