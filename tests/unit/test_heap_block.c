/*
 * test_heap_block.c - misuse is told, counted and ignored; and every block has one place.
 */
#include "fixture.h"

struct blocks {
	char *slab, *run, *huge;
};

static struct blocks some_blocks(comap_heap *heap)
{
	struct blocks b = {
		comap_heap_malloc(heap, 100), comap_heap_malloc(heap, 200000),
		comap_heap_malloc(heap, 5 * CM_MIB),
	};

	assert_true(b.slab && b.run && b.huge);
	fx_fill(b.slab, 100, 1);
	fx_fill(b.run, 200000, 2);
	fx_fill(b.huge, 5 * CM_MIB, 3);
	return b;
}

static void assert_intact(struct blocks *b)
{
	assert_true(fx_is_filled(b->slab, 100, 1));
	assert_true(fx_is_filled(b->run, 200000, 2));
	assert_true(fx_is_filled(b->huge, 5 * CM_MIB, 3));
}

/* Freeing ptr is the misuse `what` (0: any), and changes nothing but the count. */
static void assert_misuse(comap_heap *heap, struct fx_misuse *seen, void *ptr, int what)
{
	struct comap_heap_stats before = fx_stats(heap), after;
	unsigned n = seen->n;

	errno = 99;
	comap_heap_free(heap, ptr);
	assert_int_equal(errno, 99);
	assert_int_equal(seen->n, n + 1);
	assert_ptr_equal(seen->ptr, ptr);
	if (what)
		assert_int_equal(seen->last, what);
	after = fx_stats(heap);
	assert_int_equal(after.misuses, before.misuses + 1);
	before.misuses = after.misuses;
	assert_memory_equal(&before, &after, sizeof before);
	assert_sound(heap);
}

static void a_double_free_is_told_and_ignored(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const size_t sizes[] = { 0, 1, 100, 4096, 65536, 65537, 200000, 4128768, 4194304, 9000000 };
	struct blocks b = some_blocks(heap);
	struct fx_misuse seen;

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		void *p = comap_heap_malloc(heap, sizes[i]);

		assert_non_null(p);
		comap_heap_free(heap, p);
		assert_int_equal(seen.n, i * 2);
		assert_misuse(heap, &seen, p, COMAP_MISUSE_DOUBLE);
		assert_misuse(heap, &seen, p, COMAP_MISUSE_DOUBLE);
	}
	assert_intact(&b);
	fx_close(heap);
}

static void a_double_free_after_a_trim_is_still_refused(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const size_t sizes[] = { 1, 100, 65536, 65537, 4128768, 9000000 };
	struct fx_misuse seen;

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		void *p = comap_heap_malloc(heap, sizes[i]);

		comap_heap_free(heap, p);
		assert_int_equal(comap_heap_trim(heap), 0);
		assert_misuse(heap, &seen, p, 0);
	}
	fx_close(heap);
}

static void a_foreign_pointer_is_told_and_ignored(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB), *other = fx_heap(64 * CM_MIB);
	struct blocks b = some_blocks(heap);
	void *theirs = comap_heap_malloc(other, 100), *libcs = malloc(100);
	char *base = heap->seg.base, on_stack[64];
	static char in_data[64];
	struct fx_misuse seen;
	void *foreign[] = {
		theirs, libcs, on_stack, in_data, base, base + 64, base + CM_LOCKS_OFF,
		base + CM_SLOTS_OFF, base + heap->seg.data_off - 16, base + cm_seg_limit(&heap->seg),
		base + heap->seg.max_size - 16, base + heap->seg.max_size, base - 16, (void *)16,
		(void *)(UINTPTR_MAX - 15), (void *)(UINTPTR_MAX),
	};

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof foreign / sizeof *foreign; i++)
		assert_misuse(heap, &seen, foreign[i], COMAP_MISUSE_FOREIGN);
	assert_intact(&b);
	assert_int_equal(comap_heap_usable_size(other, theirs), 112);
	free(libcs);
	fx_close(other);
	fx_close(heap);
}

static void the_middle_of_a_block_is_told_and_ignored(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct blocks b = some_blocks(heap);
	struct fx_misuse seen;
	char *inside[] = {
		b.slab + 1, b.slab + 8, b.slab + 16, b.slab + 96, b.slab + 111,
		b.run + 16, b.run + 4096, b.run + 65536, b.run + 131072, b.run + 199984,
		b.huge + 16, b.huge + 65536, b.huge + 4 * CM_MIB, b.huge + 4 * CM_MIB + 16,
		b.huge + 5 * CM_MIB - 16,
	};

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof inside / sizeof *inside; i++)
		assert_misuse(heap, &seen, inside[i], COMAP_MISUSE_INTERIOR);
	assert_intact(&b);
	comap_heap_free(heap, b.slab);
	comap_heap_free(heap, b.run);
	comap_heap_free(heap, b.huge);
	assert_int_equal(fx_live_blocks(heap), 0);
	fx_close(heap);
}

/* The mark of a freed run stays in the unit table until its unit is taken, also as a part of a huge
 * block, whose content could be taken for a descriptor. */
static void the_mark_of_a_freed_run_makes_no_block(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct fx_misuse seen;
	char *run[32], *huge;
	uint64_t *word;

	(void)state;
	for (unsigned i = 0; i < 31; i++)
		assert_non_null(run[i] = comap_heap_malloc(heap, 2 * CM_UNIT));
	for (unsigned i = 0; i < 31; i++)
		comap_heap_free(heap, run[i]);
	assert_sound(heap);
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < 31; i++)
		assert_misuse(heap, &seen, run[i], COMAP_MISUSE_DOUBLE);
	huge = comap_heap_malloc(heap, CM_SEGMENT);
	assert_true(huge && run[0] > huge && run[0] < huge + CM_SEGMENT);
	word = (uint64_t *)(void *)huge;
	for (unsigned i = 0; i < 65536 / 8; i++)
		word[i] = CM_UNIT_RUN;
	for (unsigned i = 0; i < 31; i++)
		assert_misuse(heap, &seen, run[i], COMAP_MISUSE_INTERIOR);
	assert_int_equal(comap_heap_usable_size(heap, huge), CM_SEGMENT);
	comap_heap_free(heap, huge);
	assert_int_equal(fx_live_blocks(heap), 0);
	fx_close(heap);
}

static void places_between_blocks_are_no_blocks(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct blocks b = some_blocks(heap);
	char *segment = (char *)((uintptr_t)b.slab & ~(uintptr_t)(CM_SEGMENT - 1));
	char *slab = (char *)((uintptr_t)b.slab & ~(uintptr_t)(CM_UNIT - 1));
	struct fx_misuse seen;
	char *between[] = {
		segment, segment + 16, segment + 1024, segment + CM_UNIT - 16, /* the header */
		slab + CM_UNIT - 16,         /* left over at the end of the slab: 64 KiB % 112 */
		segment + 60 * CM_UNIT,      /* free units */
		segment + 60 * CM_UNIT + 16, b.run + 200704, /* past the run's last page */
		b.huge + 5 * CM_MIB, b.huge + 8 * CM_MIB - 16,
	};

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof between / sizeof *between; i++)
		assert_misuse(heap, &seen, between[i], 0);
	assert_intact(&b);
	fx_close(heap);
}

static void misuse_without_a_handler_is_counted(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	void *p = comap_heap_malloc(heap, 10);

	(void)state;
	comap_heap_free(heap, p);
	comap_heap_free(heap, p);
	comap_heap_free(heap, &p);
	assert_int_equal(fx_stats(heap).misuses, 2);
	fx_close(heap);
}

static void free_from_of_no_block_leaves_the_cell(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct blocks b = some_blocks(heap);
	comap_ref *cell = comap_heap_calloc(heap, 1, sizeof *cell), on_stack = { 4096 };
	struct fx_misuse seen;
	const uint64_t bad[] = {
		comap_heap_ref(heap, b.slab + 16).off, comap_heap_ref(heap, b.run + 4096).off,
		comap_heap_ref(heap, b.huge + 4 * CM_MIB).off, 1, 16, 4096, heap->seg.data_off,
		cm_seg_limit(&heap->seg), heap->seg.max_size, heap->seg.max_size + 4096,
	};

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		cell->off = bad[i];
		errno = 98;
		comap_heap_free_from(heap, cell);
		assert_int_equal(errno, 98);
		assert_int_equal(seen.n, i + 1);
		assert_true(cell->off == bad[i]);
		assert_sound(heap);
	}
	seen.n = 0;
	comap_heap_free_from(heap, &on_stack);
	comap_heap_free_from(heap, (comap_ref *)((char *)cell + 4));
	comap_heap_free_from(heap, (comap_ref *)heap->seg.base);
	assert_int_equal(seen.n, 3);
	assert_int_equal(seen.last, COMAP_MISUSE_FOREIGN);
	assert_true(on_stack.off == 4096);
	comap_heap_free_from(heap, NULL);
	assert_int_equal(fx_stats(heap).misuses, 3 + sizeof bad / sizeof *bad);
	assert_intact(&b);
	fx_close(heap);
}

/* A ref from a damaged neighbour may be any number. */
static void free_from_of_a_wild_ref_is_told_and_ignored(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref *cell = comap_heap_calloc(heap, 1, sizeof *cell);
	const uint64_t wild[] = { ~0ull, ~15ull, 1ull << 63, 1ull << 62, 1ull << 48, 0x7fffffffffffffff };
	struct fx_misuse seen;

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof wild / sizeof *wild; i++) {
		cell->off = wild[i];
		comap_heap_free_from(heap, cell);
		assert_int_equal(seen.n, i + 1);
		assert_int_equal(seen.last, COMAP_MISUSE_FOREIGN);
		assert_true(cell->off == wild[i]);
	}
	fx_close(heap);
}

static void realloc_of_no_block_is_told_and_returns_null(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct blocks b = some_blocks(heap);
	struct fx_misuse seen;
	void *gone = comap_heap_malloc(heap, 3000);
	int local;
	void *bad[] = { &local, b.slab + 16, b.run + 65536, b.huge + 4 * CM_MIB, gone };

	(void)state;
	comap_heap_free(heap, gone);
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		errno = 0;
		assert_null(comap_heap_realloc(heap, bad[i], 5000));
		assert_true(errno != 0);
		assert_int_equal(seen.n, i + 1);
		assert_ptr_equal(seen.ptr, bad[i]);
		assert_sound(heap);
	}
	assert_intact(&b);
	assert_int_equal(fx_live_blocks(heap), 3);
	fx_close(heap);
}

/* ---- what a handler may do ------------------------------------------------------------ */

static void allocates(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg)
{
	unsigned *n = arg;
	void *p = comap_heap_malloc(heap, 50);

	(void)what;
	(void)ptr;
	KIN_CHECK(p != NULL); /* no lock is held, and it is no reentry */
	if ((*n)++ == 0)
		comap_heap_free(heap, (void *)0x40); /* misuse within misuse */
	comap_heap_free(heap, p);
	KIN_CHECK(comap_heap_check(heap, NULL, NULL) == 0);
}

static void a_handler_may_use_the_heap(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	unsigned n = 0;

	(void)state;
	comap_heap_on_misuse(heap, allocates, &n);
	comap_heap_free(heap, (void *)0x30);
	assert_int_equal(n, 2);
	assert_int_equal(fx_live_blocks(heap), 0);
	comap_heap_on_misuse(heap, NULL, NULL);
	comap_heap_free(heap, (void *)0x30);
	assert_int_equal(n, 2);
	fx_close(heap);
}

static jmp_buf out;

static void jumps_away(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg)
{
	(void)heap;
	(void)what;
	(void)ptr;
	(void)arg;
	longjmp(out, 1);
}

static void a_handler_may_jump_away(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref *cell = comap_heap_calloc(heap, 1, sizeof *cell);
	volatile unsigned jumps = 0;

	(void)state;
	comap_heap_on_misuse(heap, jumps_away, NULL);
	if (setjmp(out))
		jumps++;
	switch (jumps) {
	case 0:
		comap_heap_free(heap, (void *)0x30);
		break;
	case 1:
		cell->off = 4096;
		comap_heap_free_from(heap, cell);
		break;
	case 2:
		(void)comap_heap_realloc(heap, (void *)0x30, 10);
		break;
	}
	assert_int_equal(jumps, 3);
	assert_non_null(comap_heap_malloc(heap, 10)); /* the thread is not thought busy */
	fx_close(heap);
}

/* ---- within a call: what a signal handler meets ------------------------------------------ */

static void a_call_within_a_call_is_edeadlk(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_mutex *mutex = comap_heap_calloc(heap, 1, sizeof *mutex);
	void *p = comap_heap_malloc(heap, 10);
	struct cm_seat *seat;
	struct fx_misuse seen;
	comap_ref ref;
	int err = 0;

	(void)state;
	fx_watch_misuse(heap, &seen);
	seat = cm_seat_enter(heap, &err); /* as if a signal interrupted malloc here */
	assert_non_null(seat);
	errno = 0;
	assert_null(comap_heap_malloc(heap, 10));
	assert_int_equal(errno, EDEADLK);
	errno = 0;
	assert_null(comap_heap_realloc(heap, p, 1000));
	assert_int_equal(errno, EDEADLK);
	comap_heap_free(heap, p);
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.last, COMAP_MISUSE_REENTRY);
	assert_int_equal(comap_root_set(heap, "x", COMAP_NULL), -EDEADLK);
	assert_int_equal(comap_root_delete(heap, "x"), -EDEADLK);
	assert_int_equal(comap_root_once(heap, "x", NULL, NULL, 0, &ref), -EDEADLK);
	assert_int_equal(comap_mutex_lock(heap, mutex), -EDEADLK);
	assert_int_equal(comap_mutex_unlock(heap, mutex), -EDEADLK);
	assert_int_equal(comap_heap_reap(heap), -EDEADLK);
	assert_int_equal(comap_heap_trim(heap), -EDEADLK);
	assert_int_equal(comap_heap_set_quota(heap, 0), -EDEADLK);
	assert_int_equal(comap_heap_set_decay(heap, 0), -EDEADLK);
	assert_int_equal(comap_heap_check(heap, NULL, NULL), -EDEADLK);
	cm_seat_leave(heap, seat);
	assert_int_equal(comap_heap_usable_size(heap, p), 16); /* the block leaked, as promised */
	assert_non_null(comap_heap_malloc(heap, 10));
	comap_heap_free(heap, p);
	fx_close(heap);
}

static void a_place_is_found_from_every_byte_of_a_block(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct blocks b = some_blocks(heap);
	const struct {
		char *p;
		size_t n, step;
	} all[] = { { b.slab, 112, 1 }, { b.run, 200704, 1001 }, { b.huge, 5 * CM_MIB, 65537 } };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		for (size_t at = 0; at < all[i].n; at += all[i].step) {
			struct cm_place place =
				cm_place_of(&heap->seg, cm_off_of(&heap->seg, all[i].p + at));

			assert_true(place.off == cm_off_of(&heap->seg, all[i].p));
			assert_true(place.size == all[i].n);
			assert_true(place.is_slab == (i == 0));
		}
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_double_free_is_told_and_ignored),
		KIN_TEST(a_double_free_after_a_trim_is_still_refused),
		KIN_TEST(a_foreign_pointer_is_told_and_ignored),
		KIN_TEST(the_middle_of_a_block_is_told_and_ignored),
		KIN_TEST(the_mark_of_a_freed_run_makes_no_block),
		KIN_TEST(places_between_blocks_are_no_blocks),
		KIN_TEST(misuse_without_a_handler_is_counted),
		KIN_TEST(free_from_of_no_block_leaves_the_cell),
		KIN_TEST(free_from_of_a_wild_ref_is_told_and_ignored),
		KIN_TEST(realloc_of_no_block_is_told_and_returns_null),
		KIN_TEST(a_handler_may_use_the_heap),
		KIN_TEST(a_handler_may_jump_away),
		KIN_TEST(a_call_within_a_call_is_edeadlk),
		KIN_TEST(a_place_is_found_from_every_byte_of_a_block),
	};

	return cmocka_run_group_tests_name("heap/block", tests, NULL, NULL);
}
