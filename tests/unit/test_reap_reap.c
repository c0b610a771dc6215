/* test_reap_reap.c - what a dead thread held goes back, whoever it was on its way to. */
#include <pthread.h>
#include "fixture.h"

struct sums {
	uint64_t used, live;
};

static struct sums sums_of(comap_heap *heap)
{
	return (struct sums){ cm_read(cm_span_word(&heap->seg, CM_SPAN_USED)), fx_live_blocks(heap) };
}

static int holds_units(void *arg)
{
	comap_heap *heap = arg;
	struct cm_self self = fx_self(heap);
	struct cm_span span;

	KIN_CHECK(cm_span_take(&heap->seg, &self, 5, 1, 5 * CM_UNIT, NULL, &span) == 0);
	kin_die();
	return 0;
}

static int holds_half_a_slab(void *arg)
{
	comap_heap *heap = arg;
	struct cm_self self = fx_self(heap);
	struct cm_span span;

	KIN_CHECK(cm_span_take(&heap->seg, &self, 8, 8, 8 * CM_UNIT, NULL, &span) == 0);
	cm_write(&cm_seg_desc(&heap->seg, span.unit)->kind, 80);
	for (unsigned i = 0; i < 5; i++) /* five of its eight marks */
		cm_write(&heap->seg.units[span.unit + i], 80);
	kin_die();
	return 0;
}

static int holds_segments(void *arg)
{
	comap_heap *heap = arg;
	struct cm_self self = fx_self(heap);
	uint64_t segment;
	bool is_zeroed;

	KIN_CHECK(cm_whole_take(&heap->seg, &self, 5000, &segment, &is_zeroed) == 0);
	kin_die();
	return 0;
}

static int holds_what_it_purges(void *arg)
{
	comap_heap *heap = arg;
	struct cm_self self = fx_self(heap);
	struct cm_tx tx;
	struct cm_span span;

	/* take units as purge.c does, punch them, and never return them */
	KIN_CHECK(cm_span_take(&heap->seg, &self, 3, 1, 3 * CM_UNIT, NULL, &span) == 0);
	cm_tx_begin(&heap->seg.log, &self, CM_LOCK_NONE, &tx);
	KIN_CHECK(cm_os_punch(&heap->seg.backing, span.unit << CM_UNIT_SHIFT, 3 * CM_UNIT) == 0);
	kin_die();
	return 0;
}

static void a_death_gives_back(int (*child)(void *))
{
	comap_heap *heap = fx_heap(128 * CM_MIB);
	void *p = comap_heap_malloc(heap, 100), *q = comap_heap_malloc(heap, 100000);
	struct sums before, after;

	assert_non_null(p);
	assert_non_null(q);
	before = sums_of(heap);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(kin_run(child, heap), -SIGKILL);
		assert_sound(heap); /* unreaped, too: it is in transit */
		assert_int_equal(fx_stats(heap).slots_dead, 1);
		assert_int_equal(comap_heap_reap(heap), 1);
		assert_int_equal(comap_heap_reap(heap), 0);
		assert_int_equal(fx_stats(heap).deaths, i + 1);
		assert_int_equal(fx_stats(heap).slots_dead, 0);
		after = sums_of(heap);
		assert_true(after.live == before.live);
		/* a segment that was split meanwhile has its header */
		assert_true(after.used == before.used);
		assert_sound(heap);
	}
	fx_close(heap);
}

static void a_dead_threads_units_go_back(void **state)
{
	(void)state;
	a_death_gives_back(holds_units);
}

static void a_dead_threads_half_made_slab_goes_back(void **state)
{
	(void)state;
	a_death_gives_back(holds_half_a_slab);
}

static void a_dead_threads_segments_go_back(void **state)
{
	(void)state;
	a_death_gives_back(holds_segments);
}

static void a_dead_threads_holes_are_free_units_of_unknown_content(void **state)
{
	(void)state;
	a_death_gives_back(holds_what_it_purges);
}

static void the_living_are_not_reaped(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap), other = {0};

	(void)state;
	assert_int_equal(cm_life_enter(&heap->seg.life, &other), 0);
	assert_false(cm_reap_slot(&heap->seg, &self, other.index,
				  CM_REAP_ASK_KERNEL | CM_REAP_PATIENT));
	assert_false(cm_reap_slot(&heap->seg, &self, self.index,
				  CM_REAP_ASK_KERNEL | CM_REAP_PATIENT));
	assert_int_equal(comap_heap_reap(heap), 0);
	assert_true(cm_read(&other.slot->state) == CM_SLOT_LIVE);
	cm_life_leave(&other);
	fx_close(heap);
}

static int attaches_and_dies(void *arg)
{
	KIN_CHECK(comap_heap_malloc(arg, 10) != NULL);
	kin_die();
	return 0;
}

static void a_newcomer_reaps_so_the_dead_never_fill_the_directory(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;

	(void)state;
	opts.max_size = 64 * CM_MIB;
	opts.slots = 4;
	heap = fx_heap_with(&opts);
	for (int i = 0; i < 20; i++)
		assert_int_equal(kin_run(attaches_and_dies, heap), -SIGKILL);
	assert_true(fx_stats(heap).deaths >= 16);
	assert_true(fx_live_blocks(heap) == 20);
	fx_close(heap);
}

static void a_damaged_hold_is_passed_over_and_counted(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_seg *seg = &heap->seg;
	void *p = comap_heap_malloc(heap, 200000);
	uint64_t segment = cm_off_of(seg, p) >> CM_SEGMENT_SHIFT, unit = cm_off_of(seg, p) >> 16 & 63;
	const uint64_t bad[][2] = {
		{ cm_hold_at(CM_HOLD_UNITS, 0), 2 },
		{ cm_hold_at(CM_HOLD_UNITS, segment), 0 },
		{ cm_hold_at(CM_HOLD_UNITS, segment), 1 }, /* the header */
		{ cm_hold_at(CM_HOLD_UNITS, segment), 1ull << 60 }, /* free already */
		{ cm_hold_at(CM_HOLD_UNITS, segment + 1), 2 }, /* beyond the heap's end */
		{ cm_hold_at(CM_HOLD_UNITS, segment) | 1ull << 40, 1ull << unit },
		{ cm_hold_at(CM_HOLD_SEGMENTS, segment), 1 }, /* not held: split */
		{ cm_hold_at(CM_HOLD_SEGMENTS, segment), ~0ull },
		{ cm_hold_at(3, segment), 2 },
		{ cm_hold_at(255, segment), 2 },
		{ ~0ull, ~0ull },
	};
	struct sums before = sums_of(heap);
	struct cm_self other = {0};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(cm_life_enter(&seg->life, &other), 0);
		cm_write(&other.slot->hold_at, bad[i][0]);
		cm_write(&other.slot->hold_what, bad[i][1]);
		if (cm_hold_is_valid(seg, other.slot))
			fail_msg("bad hold %u is believed", i);
		cm_robust_unlock(other.slot, other.raw); /* "LIVE, unlocked" is dead */
		assert_int_equal(comap_heap_reap(heap), 1);
		assert_true(cm_read(&seg->super->damages) == i + 1);
		assert_true(cm_read(&other.slot->hold_at) == 0);
		assert_true(sums_of(heap).used == before.used);
	}
	cm_write(&seg->super->damages, 0);
	fx_close(heap);
}

/* ---- whose log is finished before what is looked at ------------------------------------ */

/* A thread that died with the lock, and a committed log that makes *at this value. */
static struct cm_self dies_committed(struct cm_seg *seg, uint32_t lock, cm_word *at, uint64_t value)
{
	struct cm_self dead = {0};

	assert_int_equal(cm_life_enter(&seg->life, &dead), 0);
	cm_write(&dead.slot->redo.pair[0].at, cm_off_of(seg, at));
	cm_write(&dead.slot->redo.pair[0].value, value);
	cm_write(&dead.slot->redo.commit, (uint64_t)lock << 16 | 1);
	cm_write(&seg->locks[lock].last, dead.index + 1ull);
	cm_write(&seg->locks[lock].owner, dead.name);
	cm_robust_unlock(dead.slot, dead.raw); /* "LIVE, unlocked" is dead */
	return dead;
}

/* A reaper died with the dead one's hold, or ends of a magazine, in his log, and both words are as
 * the log makes them: the slot must not become free before that log is gone. */
static void a_log_that_names_the_dead_is_finished_before_the_slot_is_free(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap), dead = {0}, reaper;
	struct cm_seg *seg = &heap->seg;
	const uint32_t lock[] = { CM_LOCK_SPAN, CM_LOCK_BIN + 7 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct cm_magazine_shm *m;

		assert_int_equal(cm_life_enter(&seg->life, &dead), 0);
		m = &cm_magazines(dead.slot)->magazine[cm_mark_of(7)];
		cm_write(&m->cap, 8);
		cm_write(&m->ends, cm_ends(5, 5));
		cm_robust_unlock(dead.slot, dead.raw);
		reaper = i ? dies_committed(seg, lock[i], &m->ends, cm_ends(5, 5))
			   : dies_committed(seg, lock[i], &dead.slot->hold_at, 0);
		assert_true(cm_reap_slot(seg, &self, dead.index, 0));
		assert_int_equal(cm_read(&reaper.slot->redo.commit), 0);
		assert_int_equal(cm_read(&m->cap), 0);
		assert_int_equal(comap_heap_reap(heap), 1);
		assert_sound(heap);
	}
	fx_close(heap);
}

/* ---- inheritance ----------------------------------------------------------------------- */

static int leaves_full_magazines(void *heap)
{
	fx_heat(heap, 700);
	raise(SIGKILL);
	return 0;
}

static void a_newcomer_goes_on_with_the_magazines_of_the_dead(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	uint64_t cached;
	void *p;

	(void)state;
	assert_int_equal(kin_run(leaves_full_magazines, heap), -SIGKILL);
	cached = fx_stats(heap).cached_blocks;
	assert_true(cached > 0);
	p = comap_heap_malloc(heap, 700); /* our first call */
	assert_non_null(p);
	assert_int_equal(fx_stats(heap).cached_blocks, cached - 1);
	assert_int_equal(fx_stats(heap).deaths, 1);
	assert_int_equal(fx_stats(heap).slots_dead, 0);
	assert_int_equal(fx_stats(heap).slots_live, 1);
	assert_int_equal(comap_heap_reap(heap), 1);
	assert_sound(heap);
	comap_heap_free(heap, p);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_int_equal(fx_stats(heap).committed, 0);
	fx_close(heap);
}

static void a_lean_newcomer_wants_none(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	assert_int_equal(kin_run(leaves_full_magazines, heap), -SIGKILL);
	heap->is_lean = true;
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	assert_int_equal(fx_stats(heap).cached_blocks, 0);
	assert_int_equal(fx_stats(heap).deaths, 1);
	assert_sound(heap);
	fx_close(heap);
}

/* What is inherited is looked at: ends that cannot be, and a cap too large. */
static void scribbled_magazines_are_not_gone_on_with(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_seg *seg = &heap->seg;
	struct cm_magazine_shm *m;
	struct cm_self dead = {0};

	(void)state;
	assert_int_equal(cm_life_enter(&seg->life, &dead), 0);
	m = cm_magazines(dead.slot)->magazine;
	cm_write(&m[cm_mark_of(3)].cap, 8);
	cm_write(&m[cm_mark_of(3)].ends, cm_ends(20, 5));
	cm_write(&m[cm_mark_of(4)].cap, CM_RING + 1);
	cm_robust_unlock(dead.slot, dead.raw);
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	assert_int_equal(fx_stats(heap).cached_blocks, 0);
	assert_int_equal(cm_read(&m[cm_mark_of(3)].cap), 0);
	assert_int_equal(cm_read(&m[cm_mark_of(4)].cap), 0);
	assert_int_equal(cm_read(&seg->super->damages), 2);
	cm_write(&seg->super->damages, 0);
	assert_sound(heap);
	fx_close(heap);
}

/* A reaper died with the ends of an inherited magazine in his log, and another who lives is about
 * to reap him: it is finished before the heir uses them. */
static void an_heir_finishes_the_log_of_a_dead_reaper_first(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_seg *seg = &heap->seg;
	struct cm_magazine_shm *m;
	struct cm_self dead = {0}, other = {0}, reaper;
	uint64_t seen;

	(void)state;
	assert_int_equal(cm_life_enter(&seg->life, &dead), 0);
	m = &cm_magazines(dead.slot)->magazine[cm_mark_of(7)];
	cm_write(&m->cap, 8);
	cm_write(&m->ends, cm_ends(5, 5));
	cm_robust_unlock(dead.slot, dead.raw);
	reaper = dies_committed(seg, CM_LOCK_BIN + 7, &m->ends, cm_ends(6, 6));
	assert_int_equal(cm_life_enter(&seg->life, &other), 0);
	assert_int_equal(cm_lock_take(&seg->life, &reaper.slot->reap, &other, 0, &seen), 0);
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	assert_int_equal(fx_stats(heap).deaths, 1);
	assert_int_equal(cm_read(&reaper.slot->redo.commit), 0);
	cm_lock_give(&reaper.slot->reap);
	cm_life_leave(&other);
	assert_int_equal(cm_read(&m->ends), cm_ends(6, 6));
	assert_int_equal(cm_read(&m->full), 6 + 8);
	assert_sound(heap);
	fx_close(heap);
}

struct reaping {
	struct cm_seg *seg;
	struct cm_self self;
	uint32_t index;
};

static void *reaps(void *arg)
{
	struct reaping *r = arg;

	assert_true(cm_reap_slot(r->seg, &r->self, r->index, 0));
	return NULL;
}

/* A thief has the lock that the log names and is at it: the reaper must not apply it, too. */
static void a_log_under_a_lock_is_left_to_who_has_the_lock(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_seg *seg = &heap->seg;
	struct cm_self self = fx_self(heap), dead;
	cm_word *word = &seg->locks[CM_LOCK_BIN + 7].word[5];
	struct reaping reaping = { .seg = seg };
	pthread_t thread;

	(void)state;
	assert_int_equal(cm_life_enter(&seg->life, &reaping.self), 0);
	dead = dies_committed(seg, CM_LOCK_BIN + 7, word, 1);
	cm_write(&seg->locks[CM_LOCK_BIN + 7].owner, self.name); /* stolen, not mended yet */
	reaping.index = dead.index;
	assert_int_equal(pthread_create(&thread, NULL, reaps, &reaping), 0);
	cm_os_sleep_ns(30000000);
	assert_true(cm_read(&dead.slot->redo.commit) != 0);
	assert_int_equal(cm_read(word), 0);
	cm_write(&dead.slot->redo.commit, 0); /* mended, and changed again since */
	cm_write(word, 2);
	cm_lock_give(&seg->locks[CM_LOCK_BIN + 7].owner);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(cm_read(word), 2);
	cm_write(word, 0);
	cm_life_leave(&reaping.self);
	fx_close(heap);
}

static void a_reap_counts_whom_it_reaped_while_entering(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	assert_int_equal(kin_run(attaches_and_dies, heap), -SIGKILL);
	assert_int_equal(comap_heap_reap(heap), 1); /* our first call of all */
	assert_int_equal(fx_stats(heap).deaths, 1);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_newcomer_goes_on_with_the_magazines_of_the_dead),
		KIN_TEST(a_lean_newcomer_wants_none),
		KIN_TEST(scribbled_magazines_are_not_gone_on_with),
		KIN_TEST(an_heir_finishes_the_log_of_a_dead_reaper_first),
		KIN_TEST(a_dead_threads_units_go_back),
		KIN_TEST(a_dead_threads_half_made_slab_goes_back),
		KIN_TEST(a_dead_threads_segments_go_back),
		KIN_TEST(a_dead_threads_holes_are_free_units_of_unknown_content),
		KIN_TEST(the_living_are_not_reaped),
		KIN_TEST(a_newcomer_reaps_so_the_dead_never_fill_the_directory),
		KIN_TEST(a_reap_counts_whom_it_reaped_while_entering),
		KIN_TEST(a_damaged_hold_is_passed_over_and_counted),
		KIN_TEST(a_log_that_names_the_dead_is_finished_before_the_slot_is_free),
		KIN_TEST(a_log_under_a_lock_is_left_to_who_has_the_lock),
	};

	return cmocka_run_group_tests_name("reap/reap", tests, NULL, NULL);
}
