/*
 * test_mutex.c - comap_mutex between processes that are killed and stopped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include "crowd.h"

/* In a shared page; what is guarded lies in the heap. */
struct scene {
	comap_heap *heap;
	struct guarded *guarded;
	_Atomic uint32_t step, stop, nwaiting, ngranted;
};

struct guarded {
	comap_mutex mutex, other;
	uint64_t a, b;   /* equal whenever the mutex is free */
	comap_ref cell;
};

static struct scene *new_scene(void)
{
	struct scene *s = kin_page();

	s->heap = small_heap(0);
	s->guarded = comap_heap_calloc(s->heap, 1, sizeof *s->guarded);
	return s;
}

static void end_scene(struct scene *s)
{
	assert_true(is_whole(s->heap));
	comap_heap_close(s->heap);
	kin_page_drop(s);
}

static int hold(void *arg)
{
	struct scene *s = arg;

	KIN_ZERO(comap_mutex_lock(s->heap, &s->guarded->mutex));
	kin_raise(&s->step, 1);
	KIN_CHECK(kin_await(&s->step, 2));
	KIN_ZERO(comap_mutex_unlock(s->heap, &s->guarded->mutex));
	return 0;
}

static pid_t spawn_holder(struct scene *s)
{
	pid_t pid;

	kin_raise(&s->step, 0);
	pid = kin_spawn(hold, s);
	assert_true(kin_await(&s->step, 1));
	return pid;
}

/* ---- deadlines ------------------------------------------------------------------ */

static void trylock_and_lock_for_do_not_wait_longer(void **state)
{
	struct scene *s = new_scene();
	comap_mutex *mutex = &s->guarded->mutex;
	pid_t pid = spawn_holder(s);
	uint64_t start;

	(void)state;
	start = kin_now_ns();
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(comap_mutex_trylock(s->heap, mutex), -EBUSY);
	assert_int_equal(comap_mutex_lock_for(s->heap, mutex, 0), -ETIMEDOUT);
	assert_true(kin_now_ns() - start < SECOND);
	for (unsigned i = 1; i <= 4; i++) {
		start = kin_now_ns();
		assert_int_equal(comap_mutex_lock_for(s->heap, mutex, i * 15 * MS), -ETIMEDOUT);
		assert_true(kin_now_ns() - start >= i * 15 * MS);
		assert_true(kin_now_ns() - start < i * 15 * MS + SECOND);
	}
	assert_int_equal(comap_mutex_unlock(s->heap, mutex), -EPERM);
	kin_raise(&s->step, 2);
	assert_int_equal(comap_mutex_lock_for(s->heap, mutex, COMAP_FOREVER), 0);
	assert_int_equal(kin_wait(pid), 0);
	assert_int_equal(comap_mutex_trylock(s->heap, mutex), -EDEADLK);
	assert_int_equal(comap_mutex_lock(s->heap, mutex), -EDEADLK);
	assert_int_equal(comap_mutex_lock_for(s->heap, mutex, COMAP_FOREVER - 1), -EDEADLK);
	assert_int_equal(comap_mutex_unlock(s->heap, mutex), 0);
	assert_int_equal(comap_mutex_unlock(s->heap, mutex), -EPERM);
	end_scene(s);
}

static void stopped_owner_is_alive(void **state)
{
	struct scene *s = new_scene();
	comap_mutex *mutex = &s->guarded->mutex;
	pid_t pid = spawn_holder(s);

	(void)state;
	assert_int_equal(kin_stop(pid), 0);
	kin_raise(&s->step, 2);
	assert_int_equal(comap_mutex_lock_for(s->heap, mutex, 100 * MS), -ETIMEDOUT);
	assert_int_equal(comap_heap_reap(s->heap), 0);
	assert_int_equal(comap_mutex_trylock(s->heap, mutex), -EBUSY);
	kin_continue(pid);
	assert_int_equal(comap_mutex_lock_for(s->heap, mutex, 20 * SECOND), 0);
	assert_int_equal(comap_mutex_unlock(s->heap, mutex), 0);
	assert_int_equal(kin_wait(pid), 0);
	end_scene(s);
}

/* ---- dead owners ---------------------------------------------------------------- */

static void mutex_of_the_dead_is_granted_once_with_EOWNERDEAD(void **state)
{
	struct scene *s = new_scene();
	comap_mutex *mutex = &s->guarded->mutex;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		pid_t pid = spawn_holder(s);
		int err;

		assert_int_equal(kin_kill(pid), -SIGKILL);
		err = i % 2 ? comap_mutex_trylock(s->heap, mutex) : comap_mutex_lock(s->heap, mutex);
		assert_int_equal(err, -EOWNERDEAD);
		assert_int_equal(stats_of(s->heap).slots_dead, 0);
		assert_int_equal(comap_mutex_trylock(s->heap, mutex), -EDEADLK);
		assert_int_equal(comap_mutex_unlock(s->heap, mutex), 0);
		assert_int_equal(comap_mutex_lock(s->heap, mutex), 0);
		assert_int_equal(comap_mutex_unlock(s->heap, mutex), 0);
	}
	assert_int_equal(stats_of(s->heap).deaths, 20);
	end_scene(s);
}

/* Publishes under the mutex, without end. */
static int publish(void *arg)
{
	struct scene *s = arg;
	struct guarded *g = s->guarded;

	for (unsigned n = 0;; n++) {
		KIN_ZERO(comap_mutex_lock(s->heap, &g->mutex));
		comap_heap_free_from(s->heap, &g->cell);
		KIN_CHECK(comap_ref_is_null(g->cell));
		KIN_CHECK(comap_heap_malloc_to(s->heap, n % 100 * 1001, &g->cell));
		KIN_ZERO(comap_mutex_unlock(s->heap, &g->mutex));
		kin_raise(&s->step, 1);
	}
	return 0;
}

static void what_the_dead_was_publishing_is_decided_before_the_grant(void **state)
{
	struct scene *s = new_scene();
	struct guarded *g = s->guarded;
	struct dice dice = dice_of(31);
	unsigned ndead = 0;

	(void)state;
	for (unsigned i = 0; i < 150; i++) {
		pid_t pid;
		int err;

		kin_raise(&s->step, 0);
		pid = kin_spawn(publish, s);
		assert_true(kin_await(&s->step, 1));
		pause_us(roll(&dice, 200));
		assert_int_equal(kin_kill(pid), -SIGKILL);
		err = comap_mutex_lock(s->heap, &g->mutex);
		assert_true(err == 0 || err == -EOWNERDEAD);
		ndead += err != 0;
		/* one block, and one more when the cell says so: no third state */
		assert_int_equal(live_blocks(s->heap), 1 + !comap_ref_is_null(g->cell));
		if (!comap_ref_is_null(g->cell))
			assert_non_null(comap_heap_at_checked(s->heap, g->cell, 1));
		comap_heap_free_from(s->heap, &g->cell);
		assert_int_equal(live_blocks(s->heap), 1);
		assert_int_equal(comap_mutex_unlock(s->heap, &g->mutex), 0);
		assert_true(is_whole(s->heap));
	}
	assert_true(ndead > 20);
	assert_int_equal(stats_of(s->heap).misuses, 0);
	end_scene(s);
}

/* ---- many ----------------------------------------------------------------------- */

struct counter {
	struct scene *s;
	unsigned n;
	unsigned nwrong;
};

static void *count(void *arg)
{
	struct counter *c = arg;
	struct guarded *g = c->s->guarded;

	for (unsigned i = 0; i < c->n; i++) {
		c->nwrong += comap_mutex_lock(c->s->heap, &g->mutex) != 0;
		c->nwrong += g->a != g->b;
		g->a++;
		g->b++;
		c->nwrong += comap_mutex_unlock(c->s->heap, &g->mutex) != 0;
	}
	return NULL;
}

static int count_with_two_threads(void *arg)
{
	struct counter c[2] = { { arg, 15000, 0 }, { arg, 15000, 0 } };
	pthread_t thread[2];

	for (unsigned i = 0; i < 2; i++)
		KIN_CHECK(pthread_create(&thread[i], NULL, count, &c[i]) == 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	KIN_CHECK(c[0].nwrong == 0 && c[1].nwrong == 0);
	return 0;
}

static void four_processes_count_without_losing_one(void **state)
{
	struct scene *s = new_scene();
	pid_t pid[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pid[i] = kin_spawn(count_with_two_threads, s);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(kin_wait(pid[i]), 0);
	assert_int_equal(s->guarded->a, 8 * 15000);
	assert_int_equal(s->guarded->b, 8 * 15000);
	end_scene(s);
}

static int count_and_mend(void *arg)
{
	struct scene *s = arg;
	struct guarded *g = s->guarded;

	while (!atomic_load(&s->stop)) {
		int err = comap_mutex_lock(s->heap, &g->mutex);

		KIN_CHECK(err == 0 || err == -EOWNERDEAD);
		KIN_CHECK(err == -EOWNERDEAD || g->a == g->b);
		/* -EOWNERDEAD comes once: who is told mends */
		__atomic_store_n(&g->b, g->a, __ATOMIC_RELAXED);
		__atomic_store_n(&g->a, g->a + 1, __ATOMIC_RELAXED);
		atomic_signal_fence(memory_order_seq_cst);
		__atomic_store_n(&g->b, g->b + 1, __ATOMIC_RELAXED);
		KIN_ZERO(comap_mutex_unlock(s->heap, &g->mutex));
		atomic_fetch_add(&s->ngranted, 1);
	}
	return 0;
}

static void survivors_count_on_while_owners_and_waiters_are_killed(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(77);
	pid_t pid[4];
	int err;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pid[i] = kin_spawn(count_and_mend, s);
	for (unsigned n = 0; n < 150; n++) {
		unsigned i = (unsigned)roll(&dice, 4);
		uint32_t before = atomic_load(&s->ngranted);

		pause_us(roll(&dice, 1000));
		assert_int_equal(kin_kill(pid[i]), -SIGKILL);
		assert_true(stands(&s->ngranted, before + 100, 10));
		pid[i] = kin_spawn(count_and_mend, s);
	}
	atomic_store(&s->stop, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(wait_for(pid[i], 10), 0);
	err = comap_mutex_lock(s->heap, &s->guarded->mutex);
	assert_true(err == 0 || err == -EOWNERDEAD);
	assert_true(err != 0 || s->guarded->a == s->guarded->b);
	assert_true(s->guarded->a >= s->ngranted);
	assert_int_equal(live_blocks(s->heap), 1);
	end_scene(s);
}

static int wait_and_release(void *arg)
{
	struct scene *s = arg;
	int err;

	atomic_fetch_add(&s->nwaiting, 1);
	err = comap_mutex_lock(s->heap, &s->guarded->mutex);
	KIN_CHECK(err == 0 || err == -EOWNERDEAD);
	atomic_fetch_add(&s->ngranted, 1);
	KIN_ZERO(comap_mutex_unlock(s->heap, &s->guarded->mutex));
	return 0;
}

/* The wake-up goes to a waiter that is killed: the others wake by themselves. */
static void killed_waiters_take_no_wakeup_with_them(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		struct scene *s = new_scene();
		pid_t pid[8], owner;

		owner = spawn_holder(s);
		for (unsigned i = 0; i < 8; i++)
			pid[i] = kin_spawn(wait_and_release, s);
		assert_true(kin_await(&s->nwaiting, 8));
		kin_sleep_us(15000);
		if (round % 2)
			kin_raise(&s->step, 2); /* unlock */
		else
			kill(owner, SIGKILL);
		for (unsigned i = 0; i < 8; i += 2)
			kill(pid[i], SIGKILL);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(wait_for(pid[i], 10) == 0 || i % 2 == 0, 1);
		assert_true(s->ngranted >= 4);
		(void)kin_wait(owner);
		end_scene(s);
	}
}

/* ---- whose it is ---------------------------------------------------------------- */

static int hold_nothing(void *arg)
{
	struct scene *s = arg;

	KIN_CHECK(comap_mutex_unlock(s->heap, &s->guarded->mutex) == -EPERM);
	KIN_CHECK(comap_mutex_trylock(s->heap, &s->guarded->mutex) == -EBUSY);
	KIN_ZERO(comap_mutex_lock(s->heap, &s->guarded->other));
	return 0; /* and leaves it locked */
}

static void child_holds_nothing_of_what_its_parent_does(void **state)
{
	struct scene *s = new_scene();

	(void)state;
	assert_int_equal(comap_mutex_lock(s->heap, &s->guarded->mutex), 0);
	assert_int_equal(kin_run(hold_nothing, s), 0);
	assert_int_equal(comap_mutex_lock(s->heap, &s->guarded->other), -EOWNERDEAD);
	assert_int_equal(comap_mutex_unlock(s->heap, &s->guarded->other), 0);
	assert_int_equal(comap_mutex_unlock(s->heap, &s->guarded->mutex), 0);
	end_scene(s);
}

static void *lock_and_end(void *arg)
{
	struct scene *s = arg;

	return (void *)(intptr_t)comap_mutex_lock(s->heap, &s->guarded->mutex);
}

static void thread_that_ends_or_detaches_with_it_was_its_last_owner(void **state)
{
	struct scene *s = new_scene();
	pthread_t thread;
	void *err;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(pthread_create(&thread, NULL, lock_and_end, s), 0);
		pthread_join(thread, &err);
		assert_null(err);
		assert_int_equal(comap_mutex_lock(s->heap, &s->guarded->mutex), -EOWNERDEAD);
		comap_heap_detach(s->heap);
		assert_int_equal(comap_mutex_unlock(s->heap, &s->guarded->mutex), -EPERM);
		assert_int_equal(comap_mutex_lock(s->heap, &s->guarded->mutex), -EOWNERDEAD);
		assert_int_equal(comap_mutex_unlock(s->heap, &s->guarded->mutex), 0);
	}
	end_scene(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(trylock_and_lock_for_do_not_wait_longer),
		CROWD_TEST(stopped_owner_is_alive),
		CROWD_TEST(mutex_of_the_dead_is_granted_once_with_EOWNERDEAD),
		CROWD_TEST(what_the_dead_was_publishing_is_decided_before_the_grant),
		CROWD_TEST(four_processes_count_without_losing_one),
		CROWD_TEST(survivors_count_on_while_owners_and_waiters_are_killed),
		CROWD_TEST(killed_waiters_take_no_wakeup_with_them),
		CROWD_TEST(child_holds_nothing_of_what_its_parent_does),
		CROWD_TEST(thread_that_ends_or_detaches_with_it_was_its_last_owner),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
