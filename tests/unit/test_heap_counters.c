/* test_heap_counters.c - what a heap counts since its creation, whoever leaves or dies. */
#include <pthread.h>
#include "fixture.h"

/* Every block out of the maps is somebody's, or in a magazine. */
static void assert_balanced(comap_heap *heap)
{
	struct comap_heap_stats s = fx_stats(heap);

	assert_int_equal(s.mallocs - s.frees, s.live_blocks + s.cached_blocks + cm_root_pages(&heap->seg));
}

static int copy_first(const struct comap_slot_info *info, void *arg)
{
	*(struct comap_slot_info *)arg = *info;
	return 1;
}

/* ---- caches -------------------------------------------------------------------------------- */

static void a_busy_class_refills_and_flushes(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_heap_stats s = fx_stats(heap), before;
	void *p[1000];

	(void)state;
	assert_true(s.refills == 0 && s.flushes == 0 && s.caches == 0 && s.cached_blocks == 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_non_null(p[i] = comap_heap_malloc(heap, 100));
	s = fx_stats(heap);
	assert_true(s.refills > 0 && s.refills < 1000 && s.flushes == 0);
	assert_int_equal(s.caches, 1);
	before = s;
	for (unsigned i = 0; i < 1000; i++)
		comap_heap_free(heap, p[i]);
	s = fx_stats(heap);
	assert_true(s.flushes > 0 && s.refills == before.refills);
	assert_true(s.cached_blocks > 0 && s.cached_bytes == s.cached_blocks * 112);
	assert_balanced(heap);
	before = s;
	comap_heap_detach(heap);
	s = fx_stats(heap);
	assert_int_equal(s.flushes, before.flushes + 1);
	assert_true(s.caches == 0 && s.cached_blocks == 0);
	assert_balanced(heap);
	fx_close(heap);
}

static void a_lean_heap_has_no_caches(void **state)
{
	comap_heap *heap = fx_lean_heap(64 * CM_MIB);
	struct comap_heap_stats s;

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		assert_non_null(comap_heap_malloc(heap, 100));
	s = fx_stats(heap);
	assert_true(s.refills == 0 && s.flushes == 0 && s.caches == 0 && s.mallocs == 1000);
	fx_close(heap);
}

/* ---- those who leave ------------------------------------------------------------------------ */

static void churn(comap_heap *heap)
{
	void *p[300];

	for (unsigned i = 0; i < 300; i++)
		KIN_CHECK((p[i] = comap_heap_malloc(heap, 10 + i % 3 * 1000)) != NULL);
	for (unsigned i = 0; i < 250; i++)
		comap_heap_free(heap, p[i]);
}

static void *churns(void *heap)
{
	churn(heap);
	return NULL;
}

static int churns_and_dies(void *heap)
{
	churn(heap);
	kin_die();
	return 0;
}

static void figures_of_a_thread_that_left_stay_in_the_sums(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_slot_info info = {0};
	pthread_t thread;

	(void)state;
	for (unsigned i = 1; i <= 10; i++) {
		assert_int_equal(pthread_create(&thread, NULL, churns, heap), 0);
		pthread_join(thread, NULL);
		assert_balanced(heap);
		assert_int_equal(fx_stats(heap).live_blocks, 50 * i);
	}
	assert_true(fx_stats(heap).mallocs >= 3000);
	/* the next one in this slot begins at nothing */
	assert_non_null(comap_heap_malloc(heap, 10));
	assert_int_equal(cm_life_nused(&heap->seg.life), 2);
	assert_int_equal(comap_heap_slots(heap, copy_first, &info), 1);
	assert_true(info.mallocs == 1 && info.frees == 0 && info.bytes == 16);
	assert_balanced(heap);
	fx_close(heap);
}

static void figures_of_the_dead_stay_in_the_sums(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_heap_stats before;

	(void)state;
	assert_non_null(comap_heap_malloc(heap, 10));
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(kin_run(churns_and_dies, heap), -SIGKILL);
		assert_balanced(heap);
		before = fx_stats(heap);
		assert_int_equal(comap_heap_reap(heap), 1);
		assert_balanced(heap); /* what the reaper gave back for it is counted */
		assert_true(fx_stats(heap).flushes > before.flushes);
		assert_true(fx_stats(heap).mallocs == before.mallocs);
		assert_int_equal(fx_stats(heap).cached_blocks, 0);
	}
	fx_close(heap);
}

static void the_common_slot_counts_too(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	pthread_t thread;

	(void)state;
	opts.max_size = 64 * CM_MIB;
	opts.slots = 1;
	heap = fx_heap_with(&opts);
	assert_non_null(comap_heap_malloc(heap, 10)); /* the only slot is ours */
	assert_int_equal(pthread_create(&thread, NULL, churns, heap), 0);
	pthread_join(thread, NULL);
	assert_int_equal(fx_stats(heap).mallocs, 301);
	assert_int_equal(fx_stats(heap).frees, 250);
	fx_close(heap);
}

/* ---- waits ---------------------------------------------------------------------------------- */

struct waiter {
	comap_heap *heap;
	comap_mutex *mutex;
	_Atomic uint32_t is_ready;
};

static void *mallocs_one(void *arg)
{
	struct waiter *w = arg;

	fx_self(w->heap);
	kin_raise(&w->is_ready, 1);
	KIN_CHECK(comap_heap_malloc(w->heap, 100) != NULL);
	return NULL;
}

static void *locks_one(void *arg)
{
	struct waiter *w = arg;

	KIN_CHECK(comap_mutex_trylock(w->heap, w->mutex) == -EBUSY);
	kin_raise(&w->is_ready, 1);
	KIN_CHECK(comap_mutex_lock(w->heap, w->mutex) == 0);
	KIN_CHECK(comap_mutex_unlock(w->heap, w->mutex) == 0);
	return NULL;
}

static void assert_comes_to_wait(comap_heap *heap, uint64_t waits)
{
	uint64_t end = kin_now_ns() + 20 * 1000000000ull;

	while (fx_stats(heap).lock_waits < waits && kin_now_ns() < end)
		kin_sleep_us(100);
	assert_int_equal(fx_stats(heap).lock_waits, waits);
}

static void who_meets_another_at_a_class_waits(void **state)
{
	struct waiter w = { .heap = fx_lean_heap(64 * CM_MIB) };
	struct cm_self self = fx_self(w.heap);
	pthread_t thread;
	struct cm_tx tx;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_non_null(comap_heap_malloc(w.heap, 100));
	assert_int_equal(fx_stats(w.heap).lock_waits, 0); /* alone one never waits */
	for (unsigned i = 1; i <= 3; i++) {
		cm_tx_begin(&w.heap->seg.log, &self, CM_LOCK_BIN + cm_class_of(100), &tx);
		kin_raise(&w.is_ready, 0);
		assert_int_equal(pthread_create(&thread, NULL, mallocs_one, &w), 0);
		assert_true(kin_await(&w.is_ready, 1));
		assert_comes_to_wait(w.heap, i);
		cm_tx_end(&tx);
		pthread_join(thread, NULL);
	}
	assert_int_equal(fx_stats(w.heap).lock_waits, 3); /* once each, however long */
	fx_close(w.heap);
}

static void a_mutex_is_waited_for_and_a_trylock_waits_for_nothing(void **state)
{
	struct waiter w = { .heap = fx_heap(64 * CM_MIB) };
	pthread_t thread;

	(void)state;
	w.mutex = comap_heap_calloc(w.heap, 1, sizeof *w.mutex);
	assert_non_null(w.mutex);
	assert_int_equal(comap_mutex_lock(w.heap, w.mutex), 0);
	assert_int_equal(pthread_create(&thread, NULL, locks_one, &w), 0);
	assert_true(kin_await(&w.is_ready, 1));
	assert_comes_to_wait(w.heap, 1);
	assert_int_equal(comap_mutex_unlock(w.heap, w.mutex), 0);
	pthread_join(thread, NULL);
	assert_int_equal(fx_stats(w.heap).lock_waits, 1);
	fx_close(w.heap);
}

/* ---- memory that goes back ------------------------------------------------------------------- */

static void what_a_trim_gives_back_is_counted(void **state)
{
	comap_heap *heap = fx_heap(128 * CM_MIB);
	struct comap_heap_stats before;
	void *p[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		p[i] = comap_heap_malloc(heap, (i + 1) * 1000000);
		assert_non_null(p[i]);
	}
	assert_int_equal(fx_stats(heap).purged_bytes, 0);
	comap_heap_free(heap, p[0]);
	comap_heap_free(heap, p[2]);
	before = fx_stats(heap);
	assert_true(before.dirty >= 4000000);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_true(fx_stats(heap).purged_bytes >= before.dirty);
	before = fx_stats(heap);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_true(fx_stats(heap).purged_bytes == before.purged_bytes); /* nothing was left */
	fx_close(heap);
}

static void a_program_built_for_older_stats_gets_what_it_knows(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_heap_stats all, old;
	size_t size = offsetof(struct comap_heap_stats, mallocs);

	(void)state;
	assert_non_null(comap_heap_malloc(heap, 100));
	all = fx_stats(heap);
	memset(&old, 0xa5, sizeof old);
	old.size = (uint32_t)size;
	assert_int_equal(comap_heap_get_stats(heap, &old), 0);
	assert_int_equal(old.size, size);
	assert_memory_equal((char *)&old + sizeof old.size, (char *)&all + sizeof all.size,
			    size - sizeof old.size);
	for (size_t i = size; i < sizeof old; i++)
		assert_int_equal(((unsigned char *)&old)[i], 0xa5);
	old.size = (uint32_t)size + 8; /* nobody ever had that */
	assert_int_equal(comap_heap_get_stats(heap, &old), -EINVAL);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_busy_class_refills_and_flushes),
		KIN_TEST(a_lean_heap_has_no_caches),
		KIN_TEST(figures_of_a_thread_that_left_stay_in_the_sums),
		KIN_TEST(figures_of_the_dead_stay_in_the_sums),
		KIN_TEST(the_common_slot_counts_too),
		KIN_TEST(who_meets_another_at_a_class_waits),
		KIN_TEST(a_mutex_is_waited_for_and_a_trylock_waits_for_nothing),
		KIN_TEST(what_a_trim_gives_back_is_counted),
		KIN_TEST(a_program_built_for_older_stats_gets_what_it_knows),
	};

	return cmocka_run_group_tests_name("heap/counters", tests, NULL, NULL);
}
