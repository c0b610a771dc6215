/*
 * test_once.c - comap_root_once between processes that die in the initialiser.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "crowd.h"

struct scene {
	comap_heap *heap;
	_Atomic uint32_t step, nbegun, nended, ninside, nfound, go;
	_Atomic uint32_t die_at;    /* in which begun initialiser, and where in it */
	_Atomic uint32_t die_where;
	_Atomic uint64_t root;
};

static struct scene *new_scene(void)
{
	struct scene *s = kin_page();

	s->heap = small_heap(0);
	return s;
}

static void end_scene(struct scene *s)
{
	(void)comap_heap_reap(s->heap);
	assert_true(is_whole(s->heap));
	comap_heap_close(s->heap);
	kin_page_drop(s);
}

#define ROOT_BYTES 3000u

static void die_inside(struct scene *s)
{
	atomic_store(&s->ninside, 0);
	kin_die();
}

/* Build the root in three steps; whoever is to die dies after `die_where` of them. */
static int build(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct scene *s = arg;
	uint32_t me = atomic_fetch_add(&s->nbegun, 1) + 1;
	bool dies = me <= atomic_load(&s->die_at);
	void *p;

	if (atomic_fetch_add(&s->ninside, 1) != 0)
		return -EADDRINUSE; /* two at once */
	if (dies && s->die_where == 0)
		die_inside(s);
	if (comap_ref_is_null(*cell)) {
		if (!comap_heap_malloc_to(heap, ROOT_BYTES, cell))
			return -errno;
	} else {
		atomic_fetch_add(&s->nfound, 1);
	}
	if (dies && s->die_where == 1)
		die_inside(s);
	p = comap_heap_at(heap, *cell);
	stamp(p, ROOT_BYTES, 7);
	if (dies)
		die_inside(s);
	atomic_fetch_add(&s->nended, 1);
	atomic_fetch_sub(&s->ninside, 1);
	return 0;
}

static int race(void *arg)
{
	struct scene *s = arg;
	comap_ref ref;

	atomic_fetch_add(&s->step, 1);
	while (!atomic_load(&s->go))
		;
	KIN_ZERO(comap_root_once(s->heap, "root", build, s, 20 * SECOND, &ref));
	KIN_CHECK(has_stamp(comap_heap_at(s->heap, ref), ROOT_BYTES, 7));
	if (atomic_load(&s->root) == 0)
		atomic_store(&s->root, ref.off);
	KIN_CHECK(atomic_load(&s->root) == ref.off);
	return 0;
}

#define RACERS 12u

static void exactly_one_initialiser_runs_to_the_end(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 15; round++) {
		struct scene *s = new_scene();
		pid_t pid[RACERS];

		for (unsigned i = 0; i < RACERS; i++)
			pid[i] = kin_spawn(race, s);
		assert_true(kin_await(&s->step, RACERS));
		atomic_store(&s->go, 1);
		for (unsigned i = 0; i < RACERS; i++)
			assert_int_equal(kin_wait(pid[i]), 0);
		assert_int_equal(s->nbegun, 1);
		assert_int_equal(s->nended, 1);
		assert_int_equal(live_blocks(s->heap), 1);
		end_scene(s);
	}
}

static int call_once(void *arg)
{
	struct scene *s = arg;
	comap_ref ref;

	KIN_ZERO(comap_root_once(s->heap, "root", build, s, 20 * SECOND, &ref));
	return 0;
}

static void next_initialiser_finds_what_the_dead_one_published(void **state)
{
	(void)state;
	for (unsigned where = 0; where < 3; where++) {
		struct scene *s = new_scene();
		comap_ref ref;

		atomic_store(&s->die_at, 3);
		atomic_store(&s->die_where, where);
		for (unsigned i = 1; i <= 3; i++) {
			assert_int_equal(kin_run(call_once, s), -SIGKILL);
			assert_int_equal(s->nbegun, i);
			assert_int_equal(comap_root_get(s->heap, "root", &ref), -ENOENT);
			assert_int_equal(comap_root_set(s->heap, "root", COMAP_NULL), -EBUSY);
			assert_int_equal(comap_root_delete(s->heap, "root"), -EBUSY);
		}
		assert_int_equal(kin_run(call_once, s), 0);
		assert_int_equal(s->nbegun, 4);
		assert_int_equal(s->nended, 1);
		assert_int_equal(s->nfound, where == 0 ? 0 : 3);
		assert_int_equal(live_blocks(s->heap), 1); /* nothing leaked */
		assert_int_equal(comap_root_get(s->heap, "root", &ref), 0);
		assert_true(has_stamp(comap_heap_at(s->heap, ref), ROOT_BYTES, 7));
		end_scene(s);
	}
}

/* Killed wherever: in front of the initialiser, in it, behind it. */
static int loop_once(void *arg)
{
	struct scene *s = arg;
	char name[16];

	for (unsigned n = 0;; n++) {
		comap_ref ref;

		snprintf(name, sizeof name, "r%u", n % 7);
		atomic_store(&s->ninside, 0); /* the one before was killed, maybe in there */
		KIN_ZERO(comap_root_once(s->heap, name, build, s, 20 * SECOND, &ref));
		kin_raise(&s->step, 1);
		/* take it away again: a cell of ours gets it, then the name goes */
		KIN_ZERO(comap_root_delete(s->heap, name));
		comap_heap_free(s->heap, comap_heap_at(s->heap, ref));
	}
	return 0;
}

static void killed_at_any_moment_at_most_the_block_in_hand_is_lost(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(13);
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 150; i++) {
		pid_t pid;

		kin_raise(&s->step, 0);
		pid = kin_spawn(loop_once, s);
		assert_true(kin_await(&s->step, 1));
		pause_us(roll(&dice, 200));
		assert_int_equal(kin_kill(pid), -SIGKILL);
	}
	/* finish what they began */
	for (unsigned n = 0; n < 7; n++) {
		comap_ref ref;

		snprintf(name, sizeof name, "r%u", n);
		atomic_store(&s->ninside, 0);
		assert_int_equal(comap_root_once(s->heap, name, build, s, SECOND, &ref), 0);
		assert_true(has_stamp(comap_heap_at(s->heap, ref), ROOT_BYTES, 7));
		assert_int_equal(comap_root_delete(s->heap, name), 0);
		comap_heap_free(s->heap, comap_heap_at(s->heap, ref));
	}
	assert_true(live_blocks(s->heap) <= 150); /* deleted and not yet freed, or half freed */
	end_scene(s);
}

static void racers_take_over_from_those_who_die_in_it(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 12; round++) {
		struct scene *s = new_scene();
		unsigned nkilled = 0;
		pid_t pid[RACERS];

		for (unsigned i = 0; i < RACERS; i++)
			pid[i] = kin_spawn(race, s);
		assert_true(kin_await(&s->step, RACERS));
		atomic_store(&s->die_at, RACERS / 2);
		atomic_store(&s->die_where, round % 3);
		atomic_store(&s->go, 1);
		for (unsigned i = 0; i < RACERS; i++) {
			int status = wait_for(pid[i], 20);

			assert_true(status == 0 || status == -SIGKILL);
			nkilled += status == -SIGKILL;
		}
		assert_int_equal(nkilled, RACERS / 2);
		assert_int_equal(s->nbegun, RACERS / 2 + 1);
		assert_int_equal(s->nended, 1);
		assert_int_equal(live_blocks(s->heap), 1);
		end_scene(s);
	}
}

/* ---- deadlines ------------------------------------------------------------------ */

static int build_slowly(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct scene *s = arg;

	KIN_CHECK(comap_heap_malloc_to(heap, 10, cell));
	kin_raise(&s->step, 1);
	KIN_CHECK(kin_await(&s->step, 2));
	return 0;
}

static int call_slowly(void *arg)
{
	struct scene *s = arg;
	comap_ref ref;

	KIN_ZERO(comap_root_once(s->heap, "slow", build_slowly, s, 0, &ref));
	return 0;
}

static int never(comap_heap *heap, comap_ref *cell, void *arg)
{
	(void)heap;
	(void)cell;
	atomic_fetch_add((_Atomic uint32_t *)arg, 1);
	return -ECANCELED;
}

static void waiters_have_a_deadline(void **state)
{
	struct scene *s = new_scene();
	comap_ref ref = { 1 };
	uint64_t start;
	pid_t pid;
	int err;

	(void)state;
	pid = kin_spawn(call_slowly, s);
	assert_true(kin_await(&s->step, 1));
	for (unsigned i = 0; i < 4; i++) {
		start = kin_now_ns();
		err = comap_root_once(s->heap, "slow", never, &s->nbegun, i * 25 * MS, &ref);
		assert_int_equal(err, -ETIMEDOUT);
		assert_true(kin_now_ns() - start >= i * 25 * MS);
		assert_true(kin_now_ns() - start < i * 25 * MS + SECOND);
	}
	/* a stopped one is alive */
	assert_int_equal(kin_stop(pid), 0);
	assert_int_equal(comap_root_once(s->heap, "slow", never, &s->nbegun, 50 * MS, &ref), -ETIMEDOUT);
	assert_int_equal(ref.off, 1);
	/* meanwhile every other name is free */
	assert_int_equal(comap_root_set(s->heap, "another", COMAP_NULL), 0);
	assert_int_equal(comap_root_get(s->heap, "slow", &ref), -ENOENT);
	kin_continue(pid);
	kin_raise(&s->step, 2);
	assert_int_equal(comap_root_once(s->heap, "slow", never, &s->nbegun, UINT64_MAX, &ref), 0);
	assert_int_equal(kin_wait(pid), 0);
	assert_int_equal(s->nbegun, 0);
	assert_int_equal(live_blocks(s->heap), 1);
	end_scene(s);
}

static int wait_for_slow(void *arg)
{
	struct scene *s = arg;
	comap_ref ref;

	KIN_CHECK(comap_root_once(s->heap, "slow", never, &s->nbegun, UINT64_MAX, &ref) == -ECANCELED);
	return 0;
}

static void killed_initialiser_is_noticed_by_those_who_wait(void **state)
{
	struct scene *s = new_scene();
	uint64_t start;
	comap_ref ref;
	pid_t pid, waiter[3];

	(void)state;
	pid = kin_spawn(call_slowly, s);
	assert_true(kin_await(&s->step, 1));
	for (unsigned i = 0; i < 3; i++)
		waiter[i] = kin_spawn(wait_for_slow, s);
	kin_sleep_us(30000);
	start = kin_now_ns();
	kin_kill(pid);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(wait_for(waiter[i], 10), 0);
	assert_true(kin_now_ns() - start < 2 * SECOND);
	assert_int_equal(s->nbegun, 3); /* one after the other, each refused */
	assert_int_equal(comap_root_get(s->heap, "slow", &ref), -ENOENT);
	end_scene(s);
}

/* ---- errors --------------------------------------------------------------------- */

static int fail_twice(comap_heap *heap, comap_ref *cell, void *arg)
{
	unsigned *n = arg;

	if (!comap_ref_is_null(*cell))
		return -EADDRINUSE;
	if (++*n <= 2)
		return -ENOTCONN;
	return comap_heap_malloc_to(heap, 10, cell) ? 0 : -errno;
}

static void error_of_the_initialiser_is_returned_and_the_next_tries_afresh(void **state)
{
	struct scene *s = new_scene();
	comap_ref ref = { 1 };
	unsigned n = 0;

	(void)state;
	assert_int_equal(comap_root_once(s->heap, "x", fail_twice, &n, 0, &ref), -ENOTCONN);
	assert_int_equal(comap_root_get(s->heap, "x", &ref), -ENOENT);
	assert_int_equal(comap_root_delete(s->heap, "x"), -ENOENT);
	assert_int_equal(comap_root_once(s->heap, "x", fail_twice, &n, 0, &ref), -ENOTCONN);
	assert_int_equal(ref.off, 1);
	assert_int_equal(comap_root_once(s->heap, "x", fail_twice, &n, 0, &ref), 0);
	assert_int_equal(n, 3);
	assert_non_null(comap_heap_at_checked(s->heap, ref, 10));
	assert_int_equal(comap_root_once(s->heap, "x", fail_twice, &n, 0, &ref), 0);
	assert_int_equal(n, 3);
	end_scene(s);
}

static int call_again(comap_heap *heap, comap_ref *cell, void *arg)
{
	comap_ref ref;

	(void)cell;
	if (comap_root_once(heap, "x", call_again, arg, 0, &ref) != -EDEADLK)
		return -EADDRINUSE;
	if (comap_root_set(heap, "x", COMAP_NULL) != -EBUSY ||
	    comap_root_delete(heap, "x") != -EBUSY || comap_root_get(heap, "x", &ref) != -ENOENT)
		return -EADDRINUSE;
	/* no lock is held: another name, and everything else, works */
	if (comap_root_once(heap, "y", fail_twice, arg, 0, &ref) != 0)
		return -EADDRINUSE;
	return comap_heap_check(heap, NULL, NULL);
}

static void initialiser_may_do_anything_but_wait_for_itself(void **state)
{
	struct scene *s = new_scene();
	unsigned n = 2;
	comap_ref ref = { 1 };

	(void)state;
	assert_int_equal(comap_root_once(s->heap, "x", call_again, &n, 0, &ref), 0);
	assert_int_equal(ref.off, 0); /* a null root is one, too */
	assert_int_equal(comap_root_get(s->heap, "y", &ref), 0);
	assert_int_equal(live_blocks(s->heap), 1);
	end_scene(s);
}

static int detach_inside(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct scene *s = arg;

	atomic_fetch_add(&s->nbegun, 1);
	comap_heap_detach(heap); /* goes idle, as its thread may */
	kin_raise(&s->step, 1);
	kin_sleep_us(100000);
	return comap_heap_malloc_to(heap, 10, cell) ? 0 : -errno;
}

static int second(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct scene *s = arg;

	atomic_fetch_add(&s->nbegun, 1);
	return comap_heap_malloc_to(heap, 10, cell) ? 0 : -errno;
}

static int run_detaching(void *arg)
{
	struct scene *s = arg;
	comap_ref ref;

	(void)comap_root_once(s->heap, "x", detach_inside, s, 0, &ref); /* an error, or the root */
	return 0;
}

/* Detaching ends one's turn as death does; then there must not be two results. */
static void initialiser_that_detaches_does_not_lead_to_two(void **state)
{
	struct scene *s = new_scene();
	comap_ref ref, after;
	pid_t pid;
	int err;

	(void)state;
	pid = kin_spawn(run_detaching, s);
	assert_true(kin_await(&s->step, 1));
	err = comap_root_once(s->heap, "x", second, s, 10 * SECOND, &ref);
	assert_int_equal(err, 0);
	(void)kin_wait(pid);
	assert_int_equal(comap_root_get(s->heap, "x", &after), 0);
	assert_int_equal(after.off, ref.off); /* what was handed out stays */
	end_scene(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(exactly_one_initialiser_runs_to_the_end),
		CROWD_TEST(next_initialiser_finds_what_the_dead_one_published),
		CROWD_TEST(killed_at_any_moment_at_most_the_block_in_hand_is_lost),
		CROWD_TEST(racers_take_over_from_those_who_die_in_it),
		CROWD_TEST(waiters_have_a_deadline),
		CROWD_TEST(killed_initialiser_is_noticed_by_those_who_wait),
		CROWD_TEST(error_of_the_initialiser_is_returned_and_the_next_tries_afresh),
		CROWD_TEST(initialiser_may_do_anything_but_wait_for_itself),
		CROWD_TEST(initialiser_that_detaches_does_not_lead_to_two),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
