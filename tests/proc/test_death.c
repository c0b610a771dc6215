/*
 * test_death.c - kill -9 in the midst of everything, hundreds of times.
 *
 * Each test has a child that does one thing without end; it is killed at a random
 * moment, and what it left is counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "crowd.h"

#define CELLS 60u

struct scene {
	comap_heap *heap;
	struct desk *desk;
	_Atomic uint32_t step, stop;
	_Atomic uint64_t nops[2];
};

struct desk {
	comap_mutex mutex;
	comap_ref cell[CELLS];
};

static struct scene *new_scene(void)
{
	struct scene *s = kin_page();

	s->heap = small_heap(0);
	s->desk = comap_heap_calloc(s->heap, 1, sizeof *s->desk);
	return s;
}

static uint64_t blocks_in_cells(struct scene *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < CELLS; i++)
		n += !comap_ref_is_null(s->desk->cell[i]);
	return n;
}

/* Free what the cells hold; the rest is lost.  What was free goes back. */
static void end_scene(struct scene *s, uint64_t lost_most)
{
	struct comap_heap_stats stats;

	(void)comap_heap_reap(s->heap);
	for (unsigned i = 0; i < CELLS; i++)
		comap_heap_free_from(s->heap, &s->desk->cell[i]);
	comap_heap_free(s->heap, s->desk);
	assert_int_equal(comap_heap_trim(s->heap), 0);
	assert_true(is_whole(s->heap));
	stats = stats_of(s->heap);
	assert_true(stats.live_blocks <= lost_most);
	assert_int_equal(stats.misuses, 0);
	assert_int_equal(stats.slots_dead, 0);
	assert_int_equal(stats.slots_live, 1);
	assert_int_equal(stats.dirty, 0);
	/* a lost small block keeps its slab of up to 8 units and its segment's header; so does
	 * a page of roots, also one that a death left for the next who needs it */
	if (lost_most == 0)
		assert_true(stats.committed <= 128 * KIB);
	else
		assert_true(stats.committed <= stats.live_bytes + stats.live_blocks * 10 * 64 * KIB);
	comap_heap_close(s->heap);
	kin_page_drop(s);
}

/* Begin it, wait until it is at it, kill it after 0 to most_us. */
static void kill_at_work(struct scene *s, int (*fn)(void *), struct dice *dice, unsigned most_us)
{
	pid_t pid;

	kin_raise(&s->step, 0);
	pid = kin_spawn(fn, s);
	assert_true(kin_await(&s->step, 3));
	pause_us(roll(dice, most_us));
	assert_int_equal(kin_kill(pid), -SIGKILL);
}

static size_t some_size(struct dice *dice)
{
	switch (roll(dice, 8)) {
	case 0: return 64 * KIB + roll(dice, 400 * KIB);
	case 1: return roll(dice, 64 * KIB);
	default: return roll(dice, 2000);
	}
}

/* ---- plain malloc and free ------------------------------------------------------ */

/* A cell always has a block or none, never one that is free: so one block at a time is
 * in flight. */
static int plain(void *arg)
{
	struct scene *s = arg;
	struct dice dice = dice_of(kin_now_ns());

	for (;;) {
		comap_ref *cell = &s->desk->cell[roll(&dice, CELLS)];
		comap_ref old = comap_ref_exchange(cell, COMAP_NULL);
		void *p;

		comap_heap_free(s->heap, comap_heap_at(s->heap, old));
		KIN_CHECK((p = comap_heap_malloc(s->heap, some_size(&dice))));
		old = comap_ref_exchange(cell, comap_heap_ref(s->heap, p));
		comap_heap_free(s->heap, comap_heap_at(s->heap, old)); /* a neighbour's */
		atomic_fetch_add(&s->step, 1);
	}
	return 0;
}

static void killed_in_malloc_or_free_200_times(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(101);

	(void)state;
	for (unsigned i = 1; i <= 200; i++) {
		kill_at_work(s, plain, &dice, 150);
		assert_int_equal(comap_heap_reap(s->heap), 1);
		assert_true(is_whole(s->heap));
		assert_true(live_blocks(s->heap) <= 1 + blocks_in_cells(s) + i);
	}
	end_scene(s, 200);
}

/* ---- malloc_to and free_from ---------------------------------------------------- */

static int linked(void *arg)
{
	struct scene *s = arg;
	struct dice dice = dice_of(kin_now_ns());

	for (;;) {
		comap_ref *cell = &s->desk->cell[roll(&dice, CELLS)];

		comap_heap_free_from(s->heap, cell);
		KIN_CHECK(comap_ref_is_null(*cell));
		KIN_CHECK(comap_heap_malloc_to(s->heap, some_size(&dice), cell));
		atomic_fetch_add(&s->step, 1);
	}
	return 0;
}

static void killed_in_malloc_to_or_free_from_200_times_and_nothing_lost(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(102);

	(void)state;
	for (unsigned i = 1; i <= 200; i++) {
		kill_at_work(s, linked, &dice, 150);
		assert_int_equal(comap_heap_reap(s->heap), 1);
		assert_true(is_whole(s->heap));
		assert_int_equal(live_blocks(s->heap), 1 + blocks_in_cells(s));
		for (unsigned k = 0; k < CELLS; k++)
			assert_true(comap_ref_is_null(s->desk->cell[k]) ||
				    comap_heap_at_checked(s->heap, s->desk->cell[k], 1));
	}
	end_scene(s, 0);
}

/* Whole segments: growth, holes, runs of several. */
static int huge(void *arg)
{
	struct scene *s = arg;
	struct dice dice = dice_of(kin_now_ns());

	for (;;) {
		comap_ref *cell = &s->desk->cell[roll(&dice, 6)];

		comap_heap_free_from(s->heap, cell);
		KIN_CHECK(comap_heap_malloc_to(s->heap, 3 * MIB + roll(&dice, 9 * MIB), cell));
		if (roll(&dice, 4) == 0)
			KIN_CHECK(comap_heap_trim(s->heap) == 0);
		atomic_fetch_add(&s->step, 1);
	}
	return 0;
}

static void killed_amid_huge_blocks_and_trim(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(103);

	(void)state;
	for (unsigned i = 1; i <= 60; i++) {
		kill_at_work(s, huge, &dice, 3000);
		assert_int_equal(comap_heap_reap(s->heap), 1);
		assert_true(is_whole(s->heap));
		assert_int_equal(live_blocks(s->heap), 1 + blocks_in_cells(s));
	}
	end_scene(s, 0);
}

/* ---- realloc -------------------------------------------------------------------- */

/* The block in the cell is never in doubt: a copy has a new place, and the old one is
 * freed only by realloc itself.  So a death may leave a cell of a freed block: the child
 * works on cell 0 alone, and says before each call what it had. */
static int reallocate(void *arg)
{
	struct scene *s = arg;
	struct dice dice = dice_of(kin_now_ns());
	void *p;

	KIN_CHECK((p = comap_heap_malloc(s->heap, 1)));
	for (;;) {
		size_t size = 1 + some_size(&dice);
		unsigned char mark = (unsigned char)size;

		KIN_CHECK((p = comap_heap_realloc(s->heap, p, size)));
		((unsigned char *)p)[0] = mark;
		((unsigned char *)p)[size - 1] = mark;
		KIN_CHECK((p = comap_heap_realloc(s->heap, p, size + 3000)));
		KIN_CHECK(((unsigned char *)p)[0] == mark && ((unsigned char *)p)[size - 1] == mark);
		atomic_fetch_add(&s->step, 1);
	}
	return 0;
}

static void killed_in_realloc_loses_at_most_two(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(104);

	(void)state;
	for (unsigned i = 1; i <= 100; i++) {
		kill_at_work(s, reallocate, &dice, 150);
		(void)comap_heap_reap(s->heap);
		assert_true(is_whole(s->heap));
		/* the child's own block, and a copy of it under way */
		assert_true(live_blocks(s->heap) <= 1 + 2 * i);
	}
	end_scene(s, 200);
}

/* ---- everything else ------------------------------------------------------------ */

static int odds_and_ends(void *arg)
{
	struct scene *s = arg;
	struct dice dice = dice_of(kin_now_ns());
	char name[32];
	int err;

	for (;;) {
		snprintf(name, sizeof name, "root %u", (unsigned)roll(&dice, 50));
		switch (roll(&dice, 8)) {
		case 0:
			KIN_ZERO(comap_root_set(s->heap, name, comap_heap_ref(s->heap, s->desk)));
			break;
		case 1:
			err = comap_root_delete(s->heap, name);
			KIN_CHECK(err == 0 || err == -ENOENT);
			break;
		case 2:
			KIN_ZERO(comap_heap_set_quota(s->heap, roll(&dice, 2) * 900 * MIB));
			break;
		case 3:
			KIN_CHECK(comap_heap_reap(s->heap) >= 0);
			break;
		case 4:
			comap_heap_detach(s->heap);
			break;
		case 5:
			KIN_CHECK(is_whole(s->heap));
			break;
		case 6:
			KIN_ZERO(comap_heap_trim(s->heap));
			break;
		default:
			err = comap_mutex_lock(s->heap, &s->desk->mutex);
			KIN_CHECK(err == 0 || err == -EOWNERDEAD);
			comap_heap_free_from(s->heap, &s->desk->cell[0]);
			KIN_CHECK(
				comap_heap_malloc_to(s->heap, some_size(&dice), &s->desk->cell[0]));
			KIN_ZERO(comap_mutex_unlock(s->heap, &s->desk->mutex));
		}
		atomic_fetch_add(&s->step, 1);
	}
	return 0;
}

static void killed_in_whatever_else_there_is(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(105);
	uint64_t npages = 0;

	(void)state;
	for (unsigned i = 1; i <= 200; i++) {
		kill_at_work(s, odds_and_ends, &dice, 200);
		(void)comap_heap_reap(s->heap);
		assert_true(is_whole(s->heap));
		/* besides ours: further pages of roots */
		npages = live_blocks(s->heap) - 1 - blocks_in_cells(s);
		assert_true(npages <= 2);
	}
	assert_int_equal(comap_heap_set_quota(s->heap, 0), 0);
	end_scene(s, npages);
}

/* ---- survivors ------------------------------------------------------------------ */

static int survive(void *arg)
{
	struct scene *s = arg;
	unsigned me = atomic_fetch_add(&s->stop, 2) / 2; /* bit 0: stop */
	struct dice dice = dice_of(me);
	void *block[20] = {0};
	size_t size[20] = {0};
	uint64_t mark[20] = {0};

	while (!(atomic_load(&s->stop) & 1)) {
		unsigned i = (unsigned)roll(&dice, 20);

		KIN_CHECK(!block[i] || has_stamp(block[i], size[i], mark[i]));
		comap_heap_free(s->heap, block[i]);
		size[i] = some_size(&dice) / 4;
		mark[i] = (uint64_t)me << 40 | atomic_fetch_add(&s->nops[me], 1);
		KIN_CHECK((block[i] = comap_heap_malloc(s->heap, size[i])));
		stamp(block[i], size[i], mark[i]);
	}
	for (unsigned i = 0; i < 20; i++)
		comap_heap_free(s->heap, block[i]);
	comap_heap_detach(s->heap);
	return 0;
}

static void survivors_go_on(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(106);
	pid_t pid[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		pid[i] = kin_spawn(survive, s);
	while (atomic_load(&s->stop) < 4)
		kin_sleep_us(100);
	for (unsigned i = 1; i <= 100; i++) {
		uint64_t before[2] = { s->nops[0], s->nops[1] };
		uint64_t end = kin_now_ns() + 10 * SECOND;

		kill_at_work(s, i % 2 ? plain : linked, &dice, 300);
		for (unsigned k = 0; k < 2; k++)
			while (s->nops[k] < before[k] + 20)
				assert_true(kin_now_ns() < end);
	}
	atomic_fetch_or(&s->stop, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(wait_for(pid[i], 10), 0);
	end_scene(s, 50);
}

/* Many die in the same instant, some of them while they mend what others left. */
static void eight_die_at_once(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(107);
	pid_t pid[8];

	(void)state;
	for (unsigned n = 1; n <= 20; n++) {
		kin_raise(&s->step, 0);
		for (unsigned i = 0; i < 8; i++)
			pid[i] = kin_spawn(plain, s);
		assert_true(kin_await(&s->step, 100));
		pause_us(roll(&dice, 1000));
		for (unsigned i = 0; i < 8; i++)
			kill(pid[i], SIGKILL);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(kin_wait(pid[i]), -SIGKILL);
		(void)comap_heap_reap(s->heap);
		assert_int_equal(stats_of(s->heap).slots_dead, 0);
		assert_true(is_whole(s->heap));
		assert_true(live_blocks(s->heap) <= 1 + blocks_in_cells(s) + 8 * n);
	}
	end_scene(s, 160);
}

/* ---- stopped and continued ------------------------------------------------------ */

static void stopped_and_continued_500_times(void **state)
{
	struct scene *s = new_scene();
	struct dice dice = dice_of(108);
	uint64_t end;
	pid_t pid[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		pid[i] = kin_spawn(survive, s);
	while (atomic_load(&s->stop) < 4)
		kin_sleep_us(100);
	for (unsigned n = 0; n < 500; n++) {
		pid_t which = pid[roll(&dice, 2)];

		assert_int_equal(kin_stop(which), 0);
		if (roll(&dice, 2))
			pause_us(roll(&dice, 1000));
		assert_int_equal(kin_continue(which), 0);
		pause_us(roll(&dice, 300));
	}
	for (unsigned k = 0; k < 2; k++) {
		uint64_t before = s->nops[k];

		end = kin_now_ns() + 10 * SECOND;
		while (s->nops[k] < before + 100)
			assert_true(kin_now_ns() < end);
	}
	atomic_fetch_or(&s->stop, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(wait_for(pid[i], 10), 0);
	assert_int_equal(live_blocks(s->heap), 1);
	end_scene(s, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(killed_in_malloc_or_free_200_times),
		CROWD_TEST(killed_in_malloc_to_or_free_from_200_times_and_nothing_lost),
		CROWD_TEST(killed_amid_huge_blocks_and_trim),
		CROWD_TEST(killed_in_realloc_loses_at_most_two),
		CROWD_TEST(killed_in_whatever_else_there_is),
		CROWD_TEST(survivors_go_on),
		CROWD_TEST(eight_die_at_once),
		CROWD_TEST(stopped_and_continued_500_times),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
