/*
 * test_seg_run.c - blocks beyond slabs: runs of units and of segments (run.c, whole.c).
 */
#include "fixture.h"

struct env {
	comap_heap *heap;
	struct cm_seg *seg;
	struct cm_self self;
};

static struct env begin(uint64_t max_size)
{
	struct env e;

	e.heap = fx_heap(max_size);
	e.seg = &e.heap->seg;
	e.self = fx_self(e.heap);
	return e;
}

static uint64_t alloc(struct env *e, uint64_t size, uint64_t align)
{
	uint64_t off = 0;
	bool is_zeroed;
	int err = cm_run_alloc(e->seg, &e->self, size, align, NULL, &off, &is_zeroed);

	if (err < 0)
		print_error("run_alloc(%llu, %llu) = %d\n", (unsigned long long)size,
			    (unsigned long long)align, err);
	assert_int_equal(err, 0);
	assert_true(off >= e->seg->data_off && off + size <= cm_seg_limit(e->seg));
	assert_true(off % (align < CM_UNIT ? CM_UNIT : align) == 0);
	assert_true(cm_run_size(e->seg, off) >= size);
	assert_true(cm_run_size(e->seg, off) == cm_round_up(size, CM_PAGE) || size == 0);
	return off;
}

static void release(struct env *e, uint64_t off)
{
	assert_int_equal(cm_run_free(e->seg, &e->self, off, NULL), 0);
}

static int resize(struct env *e, uint64_t off, uint64_t size)
{
	return cm_run_resize(e->seg, &e->self, off, size);
}

static uint64_t used(struct env *e)
{
	return cm_read(cm_span_word(e->seg, CM_SPAN_USED));
}

static const uint64_t sizes[] = {
	64 * CM_KIB + 1, 65 * CM_KIB, 128 * CM_KIB, 128 * CM_KIB + 1, CM_MIB, CM_MIB + 4096,
	63 * CM_UNIT - 1, 63 * CM_UNIT, 63 * CM_UNIT + 1, 4 * CM_MIB - 1, 4 * CM_MIB, 4 * CM_MIB + 1,
	8 * CM_MIB - 4096, 8 * CM_MIB, 9 * CM_MIB + 123, 17 * CM_MIB,
};
#define NSIZES (sizeof sizes / sizeof *sizes)

static void every_byte_of_a_run_can_be_written(void **state)
{
	struct env e = begin(256 * CM_MIB);
	uint64_t off[NSIZES];

	(void)state;
	for (unsigned i = 0; i < NSIZES; i++) {
		off[i] = alloc(&e, sizes[i], 1);
		fx_fill(cm_seg_at(e.seg, off[i]), cm_run_size(e.seg, off[i]), i);
		assert_sound(e.heap);
	}
	for (unsigned i = 0; i < NSIZES; i++)
		assert_true(fx_is_filled(cm_seg_at(e.seg, off[i]), cm_run_size(e.seg, off[i]), i));
	for (unsigned i = 0; i < NSIZES; i++) {
		release(&e, off[i]);
		assert_sound(e.heap);
	}
	assert_int_equal(fx_live_blocks(e.heap), 0);
	fx_close(e.heap);
}

static void every_alignment_to_4_mib_is_kept(void **state)
{
	struct env e = begin(512 * CM_MIB);

	(void)state;
	for (uint64_t align = CM_UNIT; align <= CM_SEGMENT; align *= 2)
		for (unsigned i = 0; i < NSIZES; i++) {
			uint64_t off = alloc(&e, sizes[i], align), other = alloc(&e, 100, align);

			release(&e, off);
			release(&e, other);
		}
	assert_sound(e.heap);
	assert_int_equal(fx_live_blocks(e.heap), 0);
	fx_close(e.heap);
}

static void find_knows_the_run_of_every_page(void **state)
{
	struct env e = begin(256 * CM_MIB);

	(void)state;
	for (unsigned i = 0; i < NSIZES; i++) {
		uint64_t off = alloc(&e, sizes[i], 1), size = cm_run_size(e.seg, off);

		for (uint64_t at = 0; at < size; at += 4096)
			assert_true(cm_run_find(e.seg, off + at) == off);
		assert_true(cm_run_find(e.seg, off + size - 1) == off);
		if (size % CM_UNIT) /* past its last page is no block */
			assert_true(cm_run_find(e.seg, off + size) == 0);
		assert_true(cm_run_size(e.seg, off + 4096) == 0);
	}
	assert_true(cm_run_find(e.seg, e.seg->data_off) == 0);
	assert_true(cm_run_find(e.seg, 0) == 0);
	assert_true(cm_run_find(e.seg, cm_seg_limit(e.seg)) == 0);
	assert_true(cm_run_find(e.seg, ~0ull) == 0);
	fx_close(e.heap);
}

static void a_run_is_freed_once(void **state)
{
	struct env e = begin(256 * CM_MIB);

	(void)state;
	for (unsigned i = 0; i < NSIZES; i++) {
		uint64_t off = alloc(&e, sizes[i], 1), before = used(&e);

		assert_int_equal(cm_run_free(e.seg, &e.self, off + CM_UNIT, NULL), -ENOENT);
		assert_int_equal(cm_run_free(e.seg, &e.self, off + 16, NULL), -ENOENT);
		assert_true(used(&e) == before);
		release(&e, off);
		before = used(&e);
		assert_int_equal(cm_run_free(e.seg, &e.self, off, NULL), -ENOENT);
		assert_true(used(&e) == before);
		assert_sound(e.heap);
	}
	fx_close(e.heap);
}

static void the_cell_changes_with_the_run(void **state)
{
	struct env e = begin(64 * CM_MIB);
	cm_word *cell = comap_heap_calloc(e.heap, 1, 16);
	const uint64_t both[] = { CM_MIB, 5 * CM_MIB };
	uint64_t off = 0;
	bool is_zeroed;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(cm_run_alloc(e.seg, &e.self, both[i], 1, cell, &off, &is_zeroed), 0);
		assert_true(cm_read(cell) == off);
		assert_int_equal(cm_run_free(e.seg, &e.self, off, cell), 0);
		assert_true(cm_read(cell) == 0);
		cm_write(cell, 77);
		assert_int_equal(cm_run_free(e.seg, &e.self, off, cell), -ENOENT);
		assert_true(cm_read(cell) == 77);
	}
	comap_heap_free(e.heap, cell);
	fx_close(e.heap);
}

static void a_run_grows_into_free_units_and_not_into_its_neighbour(void **state)
{
	struct env e = begin(64 * CM_MIB);
	uint64_t a = alloc(&e, 2 * CM_UNIT, 1), b = alloc(&e, 2 * CM_UNIT, 1);

	(void)state;
	fx_fill(cm_seg_at(e.seg, a), 2 * CM_UNIT, 1);
	assert_true(b == a + 2 * CM_UNIT);
	assert_int_equal(resize(&e, a, 2 * CM_UNIT + 1), -EBUSY);
	assert_true(cm_run_size(e.seg, a) == 2 * CM_UNIT);
	release(&e, b);
	assert_int_equal(resize(&e, a, 3 * CM_UNIT + 1), 0);
	assert_true(cm_run_size(e.seg, a) == 3 * CM_UNIT + CM_PAGE);
	assert_true(fx_is_filled(cm_seg_at(e.seg, a), 2 * CM_UNIT, 1));
	memset(cm_seg_at(e.seg, a), 1, 3 * CM_UNIT + CM_PAGE);
	assert_sound(e.heap);
	assert_true(alloc(&e, 2 * CM_UNIT, 1) == a + 4 * CM_UNIT);
	assert_int_equal(resize(&e, a, 4 * CM_UNIT), 0); /* its own last unit */
	memset(cm_seg_at(e.seg, a), 2, 4 * CM_UNIT);
	assert_int_equal(resize(&e, a, 64 * CM_UNIT), -EBUSY);
	fx_close(e.heap);
}

static void a_run_that_shrinks_gives_its_tail_back(void **state)
{
	struct env e = begin(64 * CM_MIB);
	uint64_t a = alloc(&e, 20 * CM_UNIT, 1), before;

	(void)state;
	fx_fill(cm_seg_at(e.seg, a), 20 * CM_UNIT, 1);
	before = used(&e);
	assert_int_equal(resize(&e, a, 5 * CM_UNIT - 100), 0);
	assert_true(used(&e) == before - 15);
	assert_true(cm_run_size(e.seg, a) >= 5 * CM_UNIT - 100);
	assert_true(cm_run_size(e.seg, a) <= 5 * CM_UNIT);
	assert_sound(e.heap);
	assert_true(alloc(&e, 15 * CM_UNIT, 1) == a + 5 * CM_UNIT);
	assert_int_equal(resize(&e, a, 5 * CM_UNIT), 0);
	fx_close(e.heap);
}

static void whole_segments_grow_and_shrink_where_they_lie(void **state)
{
	struct env e = begin(128 * CM_MIB);
	uint64_t a = alloc(&e, 6 * CM_MIB, 1), b = alloc(&e, 4 * CM_MIB, 1), c;

	(void)state;
	assert_true(b == a + 8 * CM_MIB);
	memset(cm_seg_at(e.seg, a), 1, 6 * CM_MIB);
	assert_int_equal(resize(&e, a, 8 * CM_MIB), 0); /* its own second segment */
	assert_true(cm_run_size(e.seg, a) == 8 * CM_MIB);
	memset(cm_seg_at(e.seg, a), 1, 8 * CM_MIB);
	assert_sound(e.heap);
	assert_int_equal(resize(&e, a, 8 * CM_MIB + 1), -EBUSY);
	release(&e, b);
	assert_int_equal(resize(&e, a, 8 * CM_MIB + 1), 0);
	assert_true(cm_run_size(e.seg, a) == 8 * CM_MIB + CM_PAGE);
	memset(cm_seg_at(e.seg, a), 1, 8 * CM_MIB + CM_PAGE);
	assert_sound(e.heap);
	assert_int_equal(resize(&e, a, 4 * CM_MIB - 10), 0);
	assert_true(cm_run_size(e.seg, a) <= 4 * CM_MIB);
	assert_sound(e.heap);
	c = alloc(&e, 8 * CM_MIB, 1);
	assert_true(c == a + 4 * CM_MIB);
	assert_int_equal(resize(&e, a, CM_MIB), -EBUSY); /* no whole segment's business */
	release(&e, a);
	release(&e, c);
	assert_int_equal(fx_live_blocks(e.heap), 0);
	fx_close(e.heap);
}

static void the_last_block_of_the_heap_grows_with_it(void **state)
{
	struct env e = begin(64 * CM_MIB);
	uint64_t a = alloc(&e, 5 * CM_MIB, 1), limit = cm_seg_limit(e.seg);

	(void)state;
	fx_fill(cm_seg_at(e.seg, a), 5 * CM_MIB, 1);
	assert_int_equal(resize(&e, a, 30 * CM_MIB), 0);
	assert_true(cm_seg_limit(e.seg) > limit);
	assert_true(fx_is_filled(cm_seg_at(e.seg, a), 5 * CM_MIB, 1));
	memset(cm_seg_at(e.seg, a), 1, 30 * CM_MIB);
	assert_sound(e.heap);
	assert_true(resize(&e, a, 64 * CM_MIB) < 0);
	assert_true(cm_run_size(e.seg, a) == 30 * CM_MIB);
	fx_close(e.heap);
}

static void whole_segments_are_taken_from_empty_split_ones_too(void **state)
{
	struct env e = begin(16 * CM_MIB); /* three segments */
	uint64_t a = alloc(&e, 2 * CM_UNIT, 1), b = alloc(&e, 63 * CM_UNIT, 1), huge;

	(void)state;
	memset(cm_seg_at(e.seg, a), 0xaa, 2 * CM_UNIT);
	memset(cm_seg_at(e.seg, b), 0xbb, 63 * CM_UNIT);
	release(&e, a);
	release(&e, b);
	huge = alloc(&e, 12 * CM_MIB, 1); /* all there is */
	assert_true(huge == e.seg->data_off);
	assert_sound(e.heap);
	memset(cm_seg_at(e.seg, huge), 0xcc, 12 * CM_MIB);
	release(&e, huge);
	a = alloc(&e, 3 * CM_UNIT, 1);
	assert_true(a == e.seg->data_off + CM_UNIT);
	assert_true(cm_read(&cm_seg_header(e.seg, a >> CM_SEGMENT_SHIFT)->free) ==
		    (~1ull & ~cm_mask(1, 3)));
	assert_sound(e.heap);
	fx_close(e.heap);
}

static void zeroed_runs_read_as_zeroes(void **state)
{
	struct env e = begin(64 * CM_MIB);
	uint64_t random = 5, off;
	bool is_zeroed, has_seen[2] = { false, false };

	(void)state;
	for (int i = 0; i < 120; i++) {
		uint64_t size = sizes[fx_random(&random) % (NSIZES - 1)];

		assert_int_equal(cm_run_alloc(e.seg, &e.self, size, 1, NULL, &off, &is_zeroed), 0);
		size = cm_run_size(e.seg, off);
		if (is_zeroed)
			assert_true(fx_is_zero(cm_seg_at(e.seg, off), size));
		has_seen[is_zeroed] = true;
		memset(cm_seg_at(e.seg, off), 0xff, size);
		if (i % 3 == 0 && size <= 2 * CM_MIB)
			(void)resize(&e, off, size + CM_UNIT);
		release(&e, off);
		if (i % 4 == 0)
			assert_int_equal(cm_purge_all(e.seg, &e.self), 0);
	}
	assert_true(has_seen[0] && has_seen[1]);
	fx_close(e.heap);
}

static void the_ceiling_leaves_the_heap_as_it_was(void **state)
{
	struct env e = begin(32 * CM_MIB);
	uint64_t a = alloc(&e, 5 * CM_MIB, 1), b = alloc(&e, 4 * CM_MIB, 1);
	uint64_t before = used(&e), limit = cm_seg_limit(e.seg), off;
	bool is_zeroed;
	const uint64_t many[] = { 24 * CM_MIB, 32 * CM_MIB, 33 * CM_MIB, CM_TIB, 1ull << 62, INT64_MAX };

	(void)state;
	assert_true(b > a);
	for (unsigned i = 0; i < sizeof many / sizeof *many; i++) {
		assert_int_equal(cm_run_alloc(e.seg, &e.self, many[i], 1, NULL, &off, &is_zeroed),
				 -ENOMEM);
		assert_int_equal(resize(&e, a, many[i]), -EBUSY);
		assert_true(used(&e) == before && cm_seg_limit(e.seg) == limit);
	}
	assert_int_equal(resize(&e, a, 8 * CM_MIB), 0);
	fx_close(e.heap);
}

/* A size of 0 with an alignment beyond slabs took no segment at all. */
static void nothing_aligned_widely_is_a_block_like_another(void **state)
{
	struct env e = begin(128 * CM_MIB);
	uint64_t off[14];
	unsigned n = 0;

	(void)state;
	for (uint64_t align = 2 * CM_UNIT; align <= CM_SEGMENT; align *= 2)
		for (int twice = 0; twice < 2; twice++) {
			off[n] = alloc(&e, 0, align);
			for (unsigned i = 0; i < n; i++)
				assert_true(off[i] != off[n]);
			assert_true(cm_run_find(e.seg, off[n]) == off[n]);
			n++;
			assert_sound(e.heap);
		}
	assert_int_equal(fx_live_blocks(e.heap), n);
	while (n)
		release(&e, off[--n]);
	fx_close(e.heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(every_byte_of_a_run_can_be_written),
		KIN_TEST(every_alignment_to_4_mib_is_kept),
		KIN_TEST(find_knows_the_run_of_every_page),
		KIN_TEST(a_run_is_freed_once),
		KIN_TEST(the_cell_changes_with_the_run),
		KIN_TEST(a_run_grows_into_free_units_and_not_into_its_neighbour),
		KIN_TEST(a_run_that_shrinks_gives_its_tail_back),
		KIN_TEST(whole_segments_grow_and_shrink_where_they_lie),
		KIN_TEST(the_last_block_of_the_heap_grows_with_it),
		KIN_TEST(whole_segments_are_taken_from_empty_split_ones_too),
		KIN_TEST(zeroed_runs_read_as_zeroes),
		KIN_TEST(the_ceiling_leaves_the_heap_as_it_was),
		KIN_TEST(nothing_aligned_widely_is_a_block_like_another),
	};

	return cmocka_run_group_tests_name("seg/run", tests, NULL, NULL);
}
