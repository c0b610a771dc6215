/*
 * test_threads.c - many threads in one process: slots come and go, and sometimes do
 * not suffice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include "crowd.h"

#define MOST_THREADS 16

struct worker {
	comap_heap *heap;
	uint64_t seed;
	unsigned rounds;
	_Atomic uint32_t *stop; /* NULL: rounds decide */
	unsigned nwrong;
	size_t size_most;
};

/* Random operations of the malloc family on 32 stamped blocks. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct dice dice = dice_of(w->seed);
	struct {
		void *at;
		size_t size;
		uint64_t mark;
	} block[32] = {0};

	for (unsigned n = 0; w->stop ? !atomic_load(w->stop) : n < w->rounds; n++) {
		unsigned i = (unsigned)roll(&dice, 32);
		size_t size = roll(&dice, roll(&dice, 50) ? 1500 : w->size_most), keep;
		void *p;

		if (block[i].at && !has_stamp(block[i].at, block[i].size, block[i].mark))
			w->nwrong++;
		if (block[i].at && roll(&dice, 4) == 0 && size) {
			p = comap_heap_realloc(w->heap, block[i].at, size);
			keep = size < block[i].size ? size : block[i].size;
			w->nwrong += !p || !has_stamp(p, keep, block[i].mark);
		} else {
			comap_heap_free(w->heap, block[i].at);
			p = roll(&dice, 4) ? comap_heap_malloc(w->heap, size)
					   : comap_heap_aligned_alloc(w->heap, 64, size);
			w->nwrong += !p;
		}
		block[i].at = p;
		block[i].size = p ? size : 0;
		block[i].mark = w->seed << 32 | n;
		if (p)
			stamp(p, size, block[i].mark);
	}
	for (unsigned i = 0; i < 32; i++)
		comap_heap_free(w->heap, block[i].at);
	return NULL;
}

static void start(pthread_t *thread, struct worker *w, unsigned n, void *(*fn)(void *))
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, fn, &w[i]), 0);
}

static void join(pthread_t *thread, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
}

static void eight_threads_do_not_get_in_each_others_way(void **state)
{
	comap_heap *heap = small_heap(0);
	pthread_t thread[8];
	struct worker w[8];

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		w[i] = (struct worker){ .heap = heap, .seed = i + 1, .rounds = 4000, .size_most = 6 * MIB };
	start(thread, w, 8, work);
	join(thread, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(w[i].nwrong, 0);
	assert_int_equal(live_blocks(heap), 0);
	assert_int_equal(stats_of(heap).misuses, 0);
	assert_int_equal(stats_of(heap).slots_live, 0);
	assert_int_equal(stats_of(heap).deaths, 0);
	assert_true(is_whole(heap));
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_true(stats_of(heap).committed < MIB);
	comap_heap_close(heap);
}

/* ---- slots ---------------------------------------------------------------------- */

static void *use_once(void *arg)
{
	struct worker *w = arg;
	void *p = comap_heap_malloc(w->heap, 100);

	w->nwrong += !p;
	comap_heap_free(w->heap, p);
	return NULL;
}

static void thread_that_ends_gives_its_slot_back(void **state)
{
	comap_heap *heap = small_heap(0);
	struct worker w = { .heap = heap };
	pthread_t thread;

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	for (unsigned i = 0; i < 10; i++) {
		start(&thread, &w, 1, use_once);
		join(&thread, 1);
		assert_int_equal(stats_of(heap).slots_live, 1);
		assert_int_equal(stats_of(heap).slots_dead, 0);
	}
	assert_int_equal(stats_of(heap).deaths, 0);
	comap_heap_close(heap);
}

static void thousands_of_short_threads_do_not_use_up_the_slots(void **state)
{
	comap_heap *heap = small_heap(5);
	comap_mutex *mutex = comap_heap_calloc(heap, 1, sizeof *mutex);
	struct worker w[4] = { { .heap = heap }, { .heap = heap }, { .heap = heap }, { .heap = heap } };
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		start(thread, w, 4, use_once);
		join(thread, 4);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(w[i].nwrong, 0);
	/* a mutex needs a slot of one's own */
	assert_int_equal(comap_mutex_lock(heap, mutex), 0);
	assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	assert_int_equal(stats_of(heap).slots_live, 1);
	assert_int_equal(stats_of(heap).deaths, 0);
	assert_int_equal(live_blocks(heap), 1);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
}

static void detached_thread_has_no_slot_until_its_next_call(void **state)
{
	comap_heap *heap = small_heap(0);
	void *p = comap_heap_malloc(heap, 10);

	(void)state;
	assert_int_equal(stats_of(heap).slots_live, 1);
	for (unsigned i = 0; i < 1000; i++) {
		comap_heap_detach(heap);
		assert_int_equal(stats_of(heap).slots_live, 0);
		comap_heap_detach(heap); /* again: nothing to give */
		comap_heap_free(heap, p);
		p = comap_heap_malloc(heap, 10 + i);
		assert_int_equal(stats_of(heap).slots_live, 1);
	}
	comap_heap_free(heap, p);
	assert_int_equal(stats_of(heap).deaths, 0);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
}

/* ---- more threads than slots ---------------------------------------------------- */

struct crush {
	comap_heap *heap;
	comap_mutex *mutex;
	pthread_barrier_t barrier;
	_Atomic uint32_t nlocked, nrefused, nother;
};

static void *try_mutex(void *arg)
{
	struct crush *c = arg;
	void *p = comap_heap_malloc(c->heap, 10);
	int err;

	pthread_barrier_wait(&c->barrier);
	err = comap_mutex_lock(c->heap, c->mutex);
	if (err == 0)
		err = comap_mutex_unlock(c->heap, c->mutex), c->nlocked++;
	else if (err == -EAGAIN)
		err = 0, c->nrefused++;
	c->nother += err != 0 || !p;
	pthread_barrier_wait(&c->barrier);
	comap_heap_free(c->heap, p);
	return NULL;
}

static void mutex_without_a_slot_is_EAGAIN(void **state)
{
	struct crush c = { .heap = small_heap(4) };
	pthread_t thread[16];

	(void)state;
	c.mutex = comap_heap_calloc(c.heap, 1, sizeof *c.mutex);
	comap_heap_detach(c.heap);
	pthread_barrier_init(&c.barrier, NULL, 16);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, try_mutex, &c), 0);
	join(thread, 16);
	pthread_barrier_destroy(&c.barrier);
	assert_int_equal(c.nlocked, 4);
	assert_int_equal(c.nrefused, 12);
	assert_int_equal(c.nother, 0);
	assert_int_equal(comap_mutex_lock(c.heap, c.mutex), 0);
	assert_int_equal(comap_mutex_unlock(c.heap, c.mutex), 0);
	assert_int_equal(live_blocks(c.heap), 1);
	assert_int_equal(stats_of(c.heap).slots_live, 1);
	assert_int_equal(stats_of(c.heap).deaths, 0);
	comap_heap_close(c.heap);
}

static void sixteen_threads_share_four_slots(void **state)
{
	comap_heap *heap = small_heap(4);
	pthread_t thread[16];
	struct worker w[16];

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		w[i] = (struct worker){
			.heap = heap, .seed = i + 1, .rounds = 300, .size_most = 300 * KIB
		};
	start(thread, w, 16, work);
	join(thread, 16);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(w[i].nwrong, 0);
	assert_int_equal(live_blocks(heap), 0);
	assert_int_equal(stats_of(heap).deaths, 0);
	assert_int_equal(stats_of(heap).slots_live, 0);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
}

struct crowded {
	comap_heap *heap;
	_Atomic uint32_t begun;
};

static void *churn_for_ever(void *arg)
{
	struct crowded *c = arg;

	for (unsigned n = 0;; n++) {
		comap_heap_free(c->heap, comap_heap_malloc(c->heap, n % 100 * 1000));
		atomic_fetch_add(&c->begun, 1);
	}
	return NULL;
}

static int twelve_churn(void *arg)
{
	pthread_t thread[12];

	for (int i = 0; i < 12; i++)
		KIN_CHECK(pthread_create(&thread[i], NULL, churn_for_ever, arg) == 0);
	pthread_join(thread[0], NULL);
	return 0;
}

static void killed_user_of_the_common_slot_does_not_hold_the_others(void **state)
{
	comap_heap *heap = small_heap(4);
	struct crowded *c = kin_page();
	struct dice dice = dice_of(3);
	pid_t pid;

	(void)state;
	c->heap = heap;
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	for (unsigned i = 0; i < 40; i++) {
		atomic_store(&c->begun, 0);
		pid = kin_spawn(twelve_churn, c);
		assert_true(kin_await(&c->begun, 50));
		pause_us(roll(&dice, 1500));
		assert_int_equal(kin_kill(pid), -SIGKILL);
		/* who finds no slot reaps the dead, the user of the common slot too */
		if (i % 2)
			comap_heap_detach(heap);
		for (unsigned k = 0; k < 3; k++) {
			void *p = comap_heap_malloc(heap, 1000);

			assert_non_null(p);
			comap_heap_free(heap, p);
		}
		(void)comap_heap_reap(heap);
		assert_int_equal(stats_of(heap).slots_dead, 0);
		assert_int_equal(stats_of(heap).slots_live, 1);
		assert_true(live_blocks(heap) <= 12 * (i + 1));
		assert_true(is_whole(heap));
	}
	comap_heap_close(heap);
	kin_page_drop(c);
}

struct share {
	comap_heap *heap;
	_Atomic uint32_t stop;
};

static void *share(void *arg)
{
	struct share *s = arg;

	while (!atomic_load(&s->stop)) {
		void *p = comap_heap_malloc(s->heap, 100);

		KIN_CHECK(p);
		stamp(p, 100, (uintptr_t)p);
		KIN_CHECK(has_stamp(p, 100, (uintptr_t)p));
		comap_heap_free(s->heap, p);
	}
	return NULL;
}

static int share_with_four_threads(void *arg)
{
	pthread_t thread[4];

	for (unsigned i = 0; i < 4; i++)
		KIN_CHECK(pthread_create(&thread[i], NULL, share, arg) == 0);
	join(thread, 4);
	return 0;
}

/* The story: who waited for the common slot saw it change hands, took that for a death,
 * and took the mutex from its living owner. */
static void common_slot_goes_from_process_to_process(void **state)
{
	struct share *s = kin_page();
	pid_t pid[4];

	(void)state;
	s->heap = small_heap(1);
	comap_heap_free(s->heap, comap_heap_malloc(s->heap, 1)); /* the only slot is ours */
	for (unsigned i = 0; i < 4; i++)
		pid[i] = kin_spawn(share_with_four_threads, s);
	kin_sleep_us(2500000);
	atomic_store(&s->stop, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(wait_for(pid[i], 20), 0);
	assert_int_equal(stats_of(s->heap).deaths, 0);
	assert_int_equal(live_blocks(s->heap), 0);
	assert_true(is_whole(s->heap));
	comap_heap_close(s->heap);
	kin_page_drop(s);
}

/* ---- handles and the threads that use them -------------------------------------- */

struct lingering {
	comap_heap *heap;
	_Atomic uint32_t step;
};

static void *attach_and_linger(void *arg)
{
	struct lingering *l = arg;

	comap_heap_free(l->heap, comap_heap_malloc(l->heap, 10));
	kin_raise(&l->step, 1);
	kin_await(&l->step, 2);
	return NULL;
}

static void mapping_goes_with_the_last_thread(void **state)
{
	struct lingering l = { .heap = small_heap(0) };
	comap_heap *other;
	pthread_t thread;
	void *p;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, attach_and_linger, &l), 0);
	assert_true(kin_await(&l.step, 1));
	comap_heap_close(l.heap);
	assert_int_equal(kin_count_maps("/memfd:comap"), 1);
	/* another handle meanwhile: no thread mistakes one for the other */
	other = small_heap(0);
	p = comap_heap_malloc(other, 100);
	assert_non_null(p);
	kin_raise(&l.step, 2);
	pthread_join(thread, NULL);
	assert_int_equal(kin_count_maps("/memfd:comap"), 1);
	comap_heap_free(other, p);
	assert_int_equal(stats_of(other).slots_live, 1);
	comap_heap_close(other);
	assert_int_equal(kin_count_maps("/memfd:comap"), 0);
}

static void *use_what_is_opened_and_closed(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->rounds; i++) {
		comap_heap *heap = small_heap(0);
		void *p = heap ? comap_heap_malloc(heap, 100) : NULL;

		w->nwrong += !p || live_blocks(heap) != 1;
		comap_heap_free(heap, p);
		comap_heap_close(heap);
	}
	return NULL;
}

/* Handles lie in a table: each entry is used again and again, by whichever thread. */
static void threads_open_and_close_heaps_of_their_own(void **state)
{
	pthread_t thread[4];
	struct worker w[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		w[i] = (struct worker){ .rounds = 100 };
	start(thread, w, 4, use_what_is_opened_and_closed);
	join(thread, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(w[i].nwrong, 0);
}

static pthread_key_t late_key;

static void allocate_late(void *arg)
{
	static _Thread_local int rounds;
	struct worker *w = arg;

	(void)use_once(w);
	if (++rounds < 3)
		pthread_setspecific(late_key, w);
}

static void *leave_work_to_a_destructor(void *arg)
{
	pthread_setspecific(late_key, arg);
	return use_once(arg);
}

static void key_destructors_may_allocate(void **state)
{
	struct worker w = { .heap = small_heap(0) };
	pthread_t thread;

	(void)state;
	pthread_key_create(&late_key, allocate_late);
	for (unsigned i = 0; i < 20; i++) {
		start(&thread, &w, 1, leave_work_to_a_destructor);
		join(&thread, 1);
	}
	pthread_key_delete(late_key);
	assert_int_equal(w.nwrong, 0);
	(void)comap_heap_reap(w.heap); /* glibc runs destructors four times, then no more */
	assert_int_equal(stats_of(w.heap).slots_dead, 0);
	assert_int_equal(stats_of(w.heap).slots_live, 1);
	assert_int_equal(live_blocks(w.heap), 0);
	comap_heap_close(w.heap);
}

/* ---- looking while others work -------------------------------------------------- */

struct glance {
	comap_heap *heap;
	_Atomic uint32_t stop, nfound;
	bool detaches;
	uint64_t seed;
};

/* Slabs of several units are born and die all the time. */
static void *churn_slabs(void *arg)
{
	struct glance *g = arg;
	struct dice dice = dice_of(17);

	while (!atomic_load(&g->stop)) {
		size_t size = (3 + roll(&dice, 60)) * KIB;
		void *p[40];

		for (unsigned i = 0; i < 40; i++)
			p[i] = comap_heap_malloc(g->heap, size);
		for (unsigned i = 0; i < 40; i++)
			comap_heap_free(g->heap, p[i]);
		if (g->detaches)
			comap_heap_detach(g->heap);
	}
	return NULL;
}

static void *attach_and_detach(void *arg)
{
	struct glance *g = arg;

	while (!atomic_load(&g->stop)) {
		comap_heap_free(g->heap, comap_heap_malloc(g->heap, 10));
		comap_heap_detach(g->heap);
	}
	return NULL;
}

static void check_amid(void *(*fn)(void *), unsigned nthreads, unsigned nchecks)
{
	struct glance g = { .heap = small_heap(0) };
	unsigned nbad = 0;
	pthread_t thread[8];

	for (unsigned i = 0; i < nthreads; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, fn, &g), 0);
	for (unsigned i = 0; i < nchecks && nbad < 3; i++) {
		nbad += !is_whole(g.heap);
		if (i % 8 == 0)
			(void)stats_of(g.heap);
	}
	atomic_store(&g.stop, 1);
	join(thread, nthreads);
	assert_true(is_whole(g.heap));
	assert_int_equal(nbad, 0);
	assert_int_equal(live_blocks(g.heap), 0);
	comap_heap_close(g.heap);
}

/* The story: check saw a slab whose last block had just been freed, half unmarked. */
static void check_finds_nothing_while_slabs_come_and_go(void **state)
{
	(void)state;
	check_amid(churn_slabs, 3, 3000);
}

static void check_finds_nothing_while_threads_come_and_go(void **state)
{
	(void)state;
	check_amid(attach_and_detach, 4, 5000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(eight_threads_do_not_get_in_each_others_way),
		CROWD_TEST(thread_that_ends_gives_its_slot_back),
		CROWD_TEST(thousands_of_short_threads_do_not_use_up_the_slots),
		CROWD_TEST(detached_thread_has_no_slot_until_its_next_call),
		CROWD_TEST(mutex_without_a_slot_is_EAGAIN),
		CROWD_TEST(sixteen_threads_share_four_slots),
		CROWD_TEST(killed_user_of_the_common_slot_does_not_hold_the_others),
		CROWD_TEST(common_slot_goes_from_process_to_process),
		CROWD_TEST(mapping_goes_with_the_last_thread),
		CROWD_TEST(threads_open_and_close_heaps_of_their_own),
		CROWD_TEST(key_destructors_may_allocate),
		CROWD_TEST(check_finds_nothing_while_slabs_come_and_go),
		CROWD_TEST(check_finds_nothing_while_threads_come_and_go),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
