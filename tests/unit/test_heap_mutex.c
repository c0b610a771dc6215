/* test_heap_mutex.c - the mutex users see: its errors, its deadlines, its dead owners. */
#include <pthread.h>
#include "fixture.h"

static comap_mutex *new_mutex(comap_heap *heap)
{
	comap_mutex *mutex = comap_heap_calloc(heap, 1, sizeof *mutex);

	assert_non_null(mutex);
	return mutex;
}

static void a_zeroed_mutex_is_locked_and_unlocked(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_mutex *mutex = new_mutex(heap);

	(void)state;
	assert_int_equal(sizeof *mutex, 16);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(comap_mutex_lock(heap, mutex), 0);
		assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
		assert_int_equal(comap_mutex_trylock(heap, mutex), 0);
		assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
		assert_int_equal(comap_mutex_lock_for(heap, mutex, 0), 0);
		assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
		assert_int_equal(comap_mutex_lock_for(heap, mutex, COMAP_FOREVER), 0);
		assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	}
	assert_true(mutex->word == 0 && mutex->reserved == 0);
	fx_close(heap);
}

static void it_is_not_recursive(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_mutex *mutex = new_mutex(heap), *other = new_mutex(heap);

	(void)state;
	assert_int_equal(comap_mutex_unlock(heap, mutex), -EPERM); /* not locked */
	assert_int_equal(comap_mutex_lock(heap, mutex), 0);
	assert_int_equal(comap_mutex_lock(heap, mutex), -EDEADLK);
	assert_int_equal(comap_mutex_trylock(heap, mutex), -EDEADLK);
	assert_int_equal(comap_mutex_lock_for(heap, mutex, 1000), -EDEADLK);
	assert_int_equal(comap_mutex_lock(heap, other), 0); /* another one is */
	assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	assert_int_equal(comap_mutex_unlock(heap, mutex), -EPERM);
	assert_int_equal(comap_mutex_unlock(heap, other), 0);
	fx_close(heap);
}

static void memory_can_be_had_while_one_is_locked(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_mutex *mutex = new_mutex(heap);
	void *p;

	(void)state;
	assert_int_equal(comap_mutex_lock(heap, mutex), 0);
	p = comap_heap_malloc(heap, 200000);
	assert_non_null(p);
	comap_heap_free(heap, p);
	assert_int_equal(comap_root_set(heap, "x", COMAP_NULL), 0);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_sound(heap);
	assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	fx_close(heap);
}

static void a_mutex_that_is_none_is_einval(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB), *elsewhere = fx_heap(64 * CM_MIB);
	comap_mutex *mutex = comap_heap_calloc(heap, 2, sizeof *mutex), on_stack = { 0, 0 };
	static comap_mutex in_data;
	char *base = heap->seg.base;
	comap_mutex *const bad[] = {
		NULL, &on_stack, &in_data, new_mutex(elsewhere), (comap_mutex *)base,
		(comap_mutex *)(base + CM_SLOTS_OFF), (comap_mutex *)(base + cm_seg_limit(&heap->seg)),
		(comap_mutex *)(base + heap->seg.max_size),
	};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(comap_mutex_lock(heap, bad[i]), -EINVAL);
		assert_int_equal(comap_mutex_trylock(heap, bad[i]), -EINVAL);
		assert_int_equal(comap_mutex_lock_for(heap, bad[i], 5), -EINVAL);
		assert_int_equal(comap_mutex_unlock(heap, bad[i]), -EPERM);
	}
	assert_true(on_stack.word == 0 && in_data.word == 0);
	for (unsigned i = 1; i < 8; i++) {
		comap_mutex *odd = (comap_mutex *)((char *)mutex + i);

		assert_int_equal(comap_mutex_lock(heap, odd), -EINVAL);
		assert_int_equal(comap_mutex_trylock(heap, odd), -EINVAL);
	}
	fx_close(elsewhere);
	fx_close(heap);
}

/* Reading the word of a mutex that lies at an odd address is undefined. */
static void unlocking_at_an_odd_address_is_eperm(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_mutex *mutex = comap_heap_calloc(heap, 2, sizeof *mutex);

	(void)state;
	for (unsigned i = 1; i < 8; i++)
		assert_int_equal(comap_mutex_unlock(heap, (comap_mutex *)((char *)mutex + i)), -EPERM);
	fx_close(heap);
}

/* "It is not in a block of this heap": a free block is none, and no lock may live there. */
static void a_mutex_in_a_free_block_is_einval(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_mutex *gone = comap_heap_calloc(heap, 1, 300000);

	(void)state;
	comap_heap_free(heap, gone);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_int_equal(comap_mutex_lock(heap, gone), -EINVAL);
	fx_close(heap);
}

/* ---- others --------------------------------------------------------------------------------- */

struct shared {
	comap_heap *heap;
	comap_mutex *mutex;
	_Atomic uint32_t stage;
	unsigned long inside, n, rounds;
};

static void *holds(void *arg)
{
	struct shared *s = arg;

	KIN_CHECK(comap_mutex_lock(s->heap, s->mutex) == 0);
	kin_raise(&s->stage, 1);
	KIN_CHECK(kin_await(&s->stage, 2));
	KIN_CHECK(comap_mutex_unlock(s->heap, s->mutex) == 0);
	return NULL;
}

static void a_living_owner_is_waited_for(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB) };
	const uint64_t timeouts[] = { 0, 1, 3000000, 25000000 };
	pthread_t thread;

	(void)state;
	s.mutex = new_mutex(s.heap);
	assert_int_equal(pthread_create(&thread, NULL, holds, &s), 0);
	assert_true(kin_await(&s.stage, 1));
	assert_int_equal(comap_mutex_trylock(s.heap, s.mutex), -EBUSY);
	assert_int_equal(comap_mutex_unlock(s.heap, s.mutex), -EPERM); /* somebody else's */
	for (unsigned i = 0; i < 4; i++) {
		uint64_t start = cm_os_now_ns();

		assert_int_equal(comap_mutex_lock_for(s.heap, s.mutex, timeouts[i]), -ETIMEDOUT);
		assert_true(cm_os_now_ns() - start >= timeouts[i]);
	}
	kin_raise(&s.stage, 2);
	assert_int_equal(comap_mutex_lock(s.heap, s.mutex), 0);
	assert_int_equal(comap_mutex_unlock(s.heap, s.mutex), 0);
	pthread_join(thread, NULL);
	fx_close(s.heap);
}

static void *counts(void *arg)
{
	struct shared *s = arg;

	for (unsigned long i = 0; i < s->rounds; i++) {
		KIN_CHECK(i % 3 ? comap_mutex_lock(s->heap, s->mutex) == 0
				: comap_mutex_lock_for(s->heap, s->mutex, COMAP_FOREVER - 1) == 0);
		KIN_CHECK(s->inside++ == 0);
		s->n++;
		KIN_CHECK(--s->inside == 0);
		KIN_CHECK(comap_mutex_unlock(s->heap, s->mutex) == 0);
	}
	return NULL;
}

static void one_thread_at_a_time_is_inside(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB), .rounds = kin_is_valgrind() ? 200 : 10000 };
	pthread_t thread[4];

	(void)state;
	s.mutex = new_mutex(s.heap);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, counts, &s), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_true(s.n == 4 * s.rounds);
	fx_close(s.heap);
}

static int dies_holding(void *arg)
{
	struct shared *s = arg;

	KIN_CHECK(comap_mutex_lock(s->heap, s->mutex) == 0);
	kin_die();
	return 0;
}

static void a_dead_owner_is_eownerdead_once(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB) };

	(void)state;
	s.mutex = new_mutex(s.heap);
	for (int how = 0; how < 3; how++) {
		assert_int_equal(kin_run(dies_holding, &s), -SIGKILL);
		assert_int_equal(how == 0   ? comap_mutex_lock(s.heap, s.mutex)
				 : how == 1 ? comap_mutex_trylock(s.heap, s.mutex)
					    : comap_mutex_lock_for(s.heap, s.mutex, 0),
				 -EOWNERDEAD);
		assert_int_equal(comap_mutex_trylock(s.heap, s.mutex), -EDEADLK); /* it is ours */
		assert_int_equal(fx_stats(s.heap).slots_dead, 0);                 /* reaped before */
		assert_int_equal(fx_stats(s.heap).deaths, how + 1);
		assert_int_equal(comap_mutex_unlock(s.heap, s.mutex), 0);
		assert_int_equal(comap_mutex_lock(s.heap, s.mutex), 0); /* and normal again */
		assert_int_equal(comap_mutex_unlock(s.heap, s.mutex), 0);
	}
	assert_true(fx_stats(s.heap).steals >= 3);
	fx_close(s.heap);
}

static int leaves_holding(void *arg)
{
	struct shared *s = arg;

	KIN_CHECK(comap_mutex_lock(s->heap, s->mutex) == 0);
	comap_heap_detach(s->heap);
	return 0;
}

static void an_owner_that_left_is_as_good_as_dead(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB) };

	(void)state;
	s.mutex = new_mutex(s.heap);
	assert_int_equal(kin_run(leaves_holding, &s), 0);
	assert_int_equal(comap_mutex_lock_for(s.heap, s.mutex, 10000000000ull), -EOWNERDEAD);
	assert_int_equal(comap_mutex_unlock(s.heap, s.mutex), 0);
	fx_close(s.heap);
}

static int child_of_a_holder(void *arg)
{
	struct shared *s = arg;

	KIN_CHECK(comap_mutex_unlock(s->heap, s->mutex) == -EPERM);
	KIN_CHECK(comap_mutex_trylock(s->heap, s->mutex) == -EBUSY);
	return 0;
}

static void after_fork_the_child_holds_nothing(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB) };

	(void)state;
	s.mutex = new_mutex(s.heap);
	assert_int_equal(comap_mutex_lock(s.heap, s.mutex), 0);
	assert_int_equal(kin_run(child_of_a_holder, &s), 0);
	assert_int_equal(comap_mutex_unlock(s.heap, s.mutex), 0);
	fx_close(s.heap);
}

/* The lock outlasts the call, so it needs a slot of one's own. */
static void *locks_without_a_slot(void *arg)
{
	struct shared *s = arg;
	void *p = comap_heap_malloc(s->heap, 100); /* through the common slot */

	KIN_CHECK(p != NULL);
	comap_heap_free(s->heap, p);
	KIN_CHECK(comap_mutex_lock(s->heap, s->mutex) == -EAGAIN);
	KIN_CHECK(comap_mutex_trylock(s->heap, s->mutex) == -EAGAIN);
	KIN_CHECK(comap_mutex_unlock(s->heap, s->mutex) == -EPERM);
	return NULL;
}

static void without_a_slot_it_is_eagain(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct cm_self taken[8];
	struct shared s;
	pthread_t thread;
	unsigned n = 0;

	(void)state;
	memset(&s, 0, sizeof s);
	memset(taken, 0, sizeof taken);
	opts.max_size = 64 * CM_MIB;
	opts.slots = 4;
	s.heap = fx_heap_with(&opts);
	s.mutex = new_mutex(s.heap);
	while (n < 8 && cm_life_enter(&s.heap->seg.life, &taken[n]) == 0)
		n++;
	assert_true(n < 8);
	assert_int_equal(pthread_create(&thread, NULL, locks_without_a_slot, &s), 0);
	pthread_join(thread, NULL);
	while (n)
		cm_life_leave(&taken[--n]);
	fx_close(s.heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_zeroed_mutex_is_locked_and_unlocked),
		KIN_TEST(it_is_not_recursive),
		KIN_TEST(memory_can_be_had_while_one_is_locked),
		KIN_TEST(a_mutex_that_is_none_is_einval),
		KIN_TEST(unlocking_at_an_odd_address_is_eperm),
		KIN_TEST(a_mutex_in_a_free_block_is_einval),
		KIN_TEST(a_living_owner_is_waited_for),
		KIN_TEST(one_thread_at_a_time_is_inside),
		KIN_TEST(a_dead_owner_is_eownerdead_once),
		KIN_TEST(an_owner_that_left_is_as_good_as_dead),
		KIN_TEST(after_fork_the_child_holds_nothing),
		KIN_TEST(without_a_slot_it_is_eagain),
	};

	return cmocka_run_group_tests_name("heap/mutex", tests, NULL, NULL);
}
