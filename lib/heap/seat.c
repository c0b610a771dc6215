/*
 * seat.c - the calling thread in one heap: found fast, made late, given up at exit.
 *
 * A thread's slot is registered by its first call and given back when the thread
 * ends (pthread key), when the process exits (destructor), when the heap is
 * closed, or on request.  Who is killed instead is reaped.
 *
 * After fork the child's copy of the seat's page reads as zeroes, the serial
 * does not match, and the child registers a slot of its own.
 *
 * A thread that finds every slot taken, after reaping the dead, works through
 * the common slot for the length of the call.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "heap/heap.h"

#define LOOK_EVERY 64u /* calls, not counting the short ones, between two looks at a neighbour */

_Thread_local struct cm_seat *cm_seats[CM_HEAPS_MAX] __attribute__((tls_model("initial-exec")));
static _Thread_local struct cm_seat no_page; /* for a call when there is no memory for a seat */
static _Thread_local volatile bool is_registering; /* a signal handler must not, too */
static pthread_key_t key;
static bool has_key; /* without one, slots of ended threads are reaped instead */

static void leave_slot(struct comap_heap *heap, struct cm_seat *seat)
{
	seat->is_busy = true; /* a signal handler must not come back in the midst of it */
	seat->idle = 0;
	cm_order();
	cm_seat_drain(heap, seat);
	seat->serial = 0;
	cm_life_leave(&seat->self);
	cm_table_unref(heap);
	cm_order();
	seat->is_busy = false;
}

void cm_seat_drain(struct comap_heap *heap, struct cm_seat *seat)
{
	struct cm_misfreed misfreed = {0};

	cm_cache_drain(&heap->seg, &seat->self, seat->self.slot, &misfreed);
	cm_cache_begin(&seat->cache, heap->is_lean);
	cm_add(&heap->seg.super->misuses, misfreed.n);
}

/* Handle number i, if it is still the opening we sat down in, which then nobody ends. */
static void leave(unsigned i)
{
	struct comap_heap *heap = cm_table_at(i);
	struct cm_seat *seat = cm_seats[i];

	if (heap && seat && seat->serial == cm_read(&heap->serial) && seat->idle == seat->serial)
		leave_slot(heap, seat);
}

/* The thread ends: give back what it has, in every heap. */
static void thread_ends(void *unused)
{
	struct cm_seat *seat;

	(void)unused;
	is_registering = true; /* a signal handler must not come back in the midst of it */
	cm_order();
	for (unsigned i = 0; i < CM_HEAPS_MAX; i++) {
		if (!cm_seats[i])
			continue;
		leave(i);
		seat = cm_seats[i];
		cm_seats[i] = NULL;
		cm_order();
		cm_os_private_page_drop(seat);
	}
	cm_order();
	is_registering = false;
}

/* Not at the first use: a raw fork in the midst of pthread_once would leave the child stuck. */
__attribute__((constructor)) static void make_key(void)
{
	has_key = pthread_key_create(&key, thread_ends) == 0;
}

static void forget_seats(void)
{
	/* where the kernel has no MADV_WIPEONFORK */
	for (unsigned i = 0; i < CM_HEAPS_MAX; i++)
		if (cm_seats[i])
			memset(cm_seats[i], 0, sizeof *cm_seats[i]);
	is_registering = false;
}

__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, forget_seats);
}

__attribute__((destructor)) static void process_exits(void)
{
	for (unsigned i = 0; i < CM_HEAPS_MAX; i++)
		leave(i);
}

/* A slot of its own for the calling thread, or the common one until it leaves. */
static int take_slot(struct comap_heap *heap, struct cm_seat *seat)
{
	struct cm_seg *seg = &heap->seg;
	bool is_stale;
	int err, n;

	/* a fork child may live in another one than its parent */
	cm_write(&seg->life.pid_namespace, cm_os_pid_namespace());
	err = seat == &no_page ? -EAGAIN : cm_life_enter(&seg->life, &seat->self);
	seat->is_common = false;
	if (err == 0) {
		/* newcomers reap: so the dead never fill the directory; the first they meet
		 * leaves them his magazines */
		for (uint32_t i = CM_SLOT_COMMON + 1; !heap->is_lean && i < cm_life_nused(&seg->life); i++)
			if (cm_reap_inherit(seg, &seat->self, i)) {
				seat->reaped++;
				break;
			}
		seat->reaped += (uint32_t)cm_reap_all(seg, &seat->self, 0);
		return 0;
	}
	if (err != -EAGAIN && err != -ENOSPC) /* none free, or no storage for one more */
		return err;
	err = cm_life_enter_common(&seg->life, &seat->self, &is_stale);
	if (err < 0)
		return err;
	if (is_stale)
		cm_reap_self(seg, &seat->self);
	n = cm_reap_all(seg, &seat->self, CM_REAP_ASK_KERNEL);
	seat->reaped += (uint32_t)n;
	if (n > 0 && seat != &no_page) {
		cm_life_leave(&seat->self);
		return take_slot(heap, seat);
	}
	seat->is_common = true;
	return 0;
}

/* The slot is the thread's: what the short ways of malloc and free need of it. */
static void sit_down(struct comap_heap *heap, struct cm_seat *seat)
{
	struct cm_seg *seg = &heap->seg;

	seat->low = seg->base + seg->data_off;
	seat->units = seg->units + (seg->data_off >> CM_UNIT_SHIFT);
	seat->magazines = cm_magazines(seat->self.slot);
	seat->rings = cm_ring(seat->self.slot, 0);
	seat->next_look = seat->self.index;
	cm_cache_begin(&seat->cache, heap->is_lean);
	cm_cache_inherit(&heap->seg, &seat->self, &seat->cache);
	seat->serial = cm_read(&heap->serial);
}

static struct cm_seat *seat_slow(struct comap_heap *heap, int *ret_err)
{
	struct cm_seat *seat;
	int err;

	if (heap->seg.is_readonly || is_registering || no_page.is_busy || cm_table_is_busy()) {
		*ret_err = heap->seg.is_readonly ? -EROFS : -EDEADLK;
		return NULL;
	}
	is_registering = true;
	cm_order();
	/* again: a signal handler may have come and gone meanwhile */
	seat = cm_seats[heap->index];
	if (seat && seat->serial == cm_read(&heap->serial)) {
		seat->idle = 0;
		seat->is_busy = true;
		is_registering = false;
		return seat;
	}
	if (!seat) {
		seat = cm_os_private_page();
		cm_seats[heap->index] = seat;
		if (seat && has_key)
			pthread_setspecific(key, cm_seats);
		if (!seat)
			seat = &no_page;
	}
	seat->reaped = 0;
	err = take_slot(heap, seat);
	if (err == 0 && !seat->is_common) {
		cm_table_ref(heap);
		sit_down(heap, seat);
	}
	if (err == 0)
		seat->is_busy = true;
	cm_order();
	is_registering = false;
	*ret_err = err;
	return err == 0 ? seat : NULL;
}

struct cm_seat *cm_seat_enter(struct comap_heap *heap, int *ret_err)
{
	struct cm_seat *seat = cm_seats[heap->index];

	CM_REQUIRE(cm_read(&heap->serial) != 0); /* not a closed one */
	if (CM_RARELY(!seat || (seat->serial != cm_read(&heap->serial) && !seat->is_busy)))
		return seat_slow(heap, ret_err);
	if (CM_RARELY(seat->is_busy || seat->idle != seat->serial)) {
		*ret_err = -EDEADLK;
		return NULL;
	}
	seat->idle = 0;
	seat->is_busy = true;
	cm_order();
	return seat;
}

struct cm_seat *cm_seat_enter_own(struct comap_heap *heap, int *ret_err)
{
	struct cm_seat *seat = cm_seat_enter(heap, ret_err);

	if (seat && seat->is_common) {
		cm_seat_leave(heap, seat);
		*ret_err = -EAGAIN;
		return NULL;
	}
	return seat;
}

/* Now and then look whether a neighbour died, one line of one slot, and let go what is idle. */
static void look_around(struct comap_heap *heap, struct cm_seat *seat)
{
	uint32_t n = cm_life_nused(&heap->seg.life);
	struct cm_misfreed misfreed;

	seat->next_look = seat->next_look + 1 < n ? seat->next_look + 1 : CM_SLOT_COMMON + 1;
	if (seat->next_look < n)
		seat->reaped += cm_reap_slot(&heap->seg, &seat->self, seat->next_look, 0);
	if (!seat->is_common) {
		misfreed.n = 0;
		cm_cache_decay(&heap->seg, &seat->self, &seat->cache, &misfreed);
		cm_add(&heap->seg.super->misuses, misfreed.n);
	}
	cm_decay(&heap->seg, &seat->self);
}

void cm_seat_leave(struct comap_heap *heap, struct cm_seat *seat)
{
	if (CM_RARELY(++seat->tick % LOOK_EVERY == 0))
		look_around(heap, seat);
	if (CM_RARELY(seat->is_common)) {
		cm_life_leave(&seat->self);
		seat->is_common = false;
	}
	/* not below: a neighbour may have scribbled on the limit */
	seat->room = cm_max(cm_seg_limit(&heap->seg), heap->seg.data_off) - heap->seg.data_off;
	seat->steps = seat->room >> 4;
	cm_order();
	seat->is_busy = false;
	cm_order();
	seat->idle = seat->serial; /* 0 without a slot of its own */
}

void cm_seat_give_up(struct comap_heap *heap)
{
	leave(heap->index);
}
