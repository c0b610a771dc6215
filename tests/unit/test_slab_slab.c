/* test_slab_slab.c - bitmaps, lists and fullness of slabs, on the floor beneath malloc. */
#include "fixture.h"

static uint64_t alloc(comap_heap *heap, const struct cm_self *self, unsigned cls)
{
	uint64_t off = 0;

	assert_int_equal(cm_slab_alloc(&heap->seg, self, cls, NULL, &off), 0);
	assert_true(off != 0);
	return off;
}

static int release(comap_heap *heap, const struct cm_self *self, uint64_t off)
{
	struct cm_block block;

	assert_int_equal(cm_slab_find(&heap->seg, off, &block), 0);
	assert_true(block.off == off);
	return cm_slab_free(&heap->seg, self, &block, NULL);
}

static uint64_t slabs_of(comap_heap *heap, unsigned cls)
{
	return fx_stats(heap).classes[cls].slabs;
}

/* How many slabs the bin's list has. */
static unsigned list_length(comap_heap *heap, unsigned cls)
{
	unsigned n = 0;

	for (uint64_t unit = cm_read(cm_bin_list(&heap->seg, cls)); unit; n++)
		unit = cm_read(&cm_seg_desc(&heap->seg, unit)->link) >> 32;
	return n;
}

static void each_block_of_a_slab_is_handed_out_once(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	struct cm_self self = fx_self(heap);

	(void)state;
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		const struct cm_class *c = &cm_classes[cls];
		bool *seen = calloc(c->blocks, sizeof *seen);
		uint64_t first = 0;

		assert_non_null(seen);
		for (unsigned i = 0; i < c->blocks; i++) {
			uint64_t off = alloc(heap, &self, cls), unit = off >> CM_UNIT_SHIFT, diff;

			unit -= unit % c->units;
			assert_true(i == 0 || unit == first);
			first = unit;
			diff = off - (unit << CM_UNIT_SHIFT);
			assert_true(diff % c->size == 0 && diff / c->size < c->blocks);
			assert_false(seen[diff / c->size]);
			seen[diff / c->size] = true;
		}
		assert_int_equal(slabs_of(heap, cls), 1);
		assert_int_equal(list_length(heap, cls), 0);
		free(seen);
	}
	fx_close(heap);
}

static void a_full_slab_leaves_the_list_and_a_free_brings_it_back(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	const unsigned cls = cm_class_of(4096), blocks = cm_classes[cls].blocks;
	uint64_t off[256];

	(void)state;
	for (unsigned i = 0; i < blocks; i++)
		off[i] = alloc(heap, &self, cls);
	assert_int_equal(list_length(heap, cls), 0);
	assert_int_equal(release(heap, &self, off[3]), 0);
	assert_int_equal(list_length(heap, cls), 1);
	assert_sound(heap);
	assert_true(alloc(heap, &self, cls) == off[3]); /* its only free block */
	assert_int_equal(list_length(heap, cls), 0);
	fx_close(heap);
}

static void one_empty_slab_stays_and_the_others_go_back(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	const unsigned cls = cm_class_of(8192), blocks = cm_classes[cls].blocks;
	uint64_t off[64], used;

	(void)state;
	for (unsigned i = 0; i < 4 * blocks; i++)
		off[i] = alloc(heap, &self, cls);
	assert_int_equal(slabs_of(heap, cls), 4);
	used = cm_read(cm_span_word(&heap->seg, CM_SPAN_USED));
	for (unsigned i = 0; i < 4 * blocks; i++)
		assert_int_equal(release(heap, &self, off[i]), 0);
	assert_int_equal(slabs_of(heap, cls), 1);
	assert_true(cm_read(cm_span_word(&heap->seg, CM_SPAN_USED)) == used - 3);
	assert_sound(heap);
	cm_slab_trim(&heap->seg, &self);
	assert_int_equal(slabs_of(heap, cls), 0);
	assert_int_equal(list_length(heap, cls), 0);
	fx_close(heap);
}

static void one_block_back_and_forth_makes_one_slab(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	uint64_t first = alloc(heap, &self, 7), unit = first >> CM_UNIT_SHIFT;

	(void)state;
	assert_int_equal(release(heap, &self, first), 0);
	for (int i = 0; i < 100; i++) {
		uint64_t off = alloc(heap, &self, 7);

		assert_true(off >> CM_UNIT_SHIFT == unit);
		assert_int_equal(release(heap, &self, off), 0);
	}
	assert_int_equal(slabs_of(heap, 7), 1);
	fx_close(heap);
}

static void find_knows_the_block_of_every_byte(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	struct cm_self self = fx_self(heap);

	(void)state;
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		const struct cm_class *c = &cm_classes[cls];
		uint64_t unit = alloc(heap, &self, cls) >> CM_UNIT_SHIFT, start;
		struct cm_block block;

		unit -= unit % c->units;
		start = unit << CM_UNIT_SHIFT;
		for (uint64_t at = 0; at < c->units * CM_UNIT; at += at % 4096 < 64 ? 1 : 61) {
			int err = cm_slab_find(&heap->seg, start + at, &block);

			if (at / c->size >= c->blocks) { /* left over at the end */
				assert_int_equal(err, -ENOENT);
				continue;
			}
			assert_int_equal(err, 0);
			assert_int_equal(block.cls, cls);
			assert_true(block.unit == unit);
			assert_int_equal(block.index, at / c->size);
			assert_true(block.off == start + at / c->size * c->size);
		}
	}
	fx_close(heap);
}

static void find_finds_nothing_where_no_slab_is(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	uint64_t off = alloc(heap, &self, 0), segment = off & ~(CM_SEGMENT - 1);
	const uint64_t nowhere[] = {
		0, 1, CM_LOCKS_OFF, heap->seg.data_off - 1, segment, segment + CM_UNIT - 1,
		segment + 40 * CM_UNIT, cm_seg_limit(&heap->seg), heap->seg.max_size - 1,
		heap->seg.max_size, ~0ull, ~0ull - CM_SEGMENT, 1ull << 63,
	};
	struct cm_block block;

	(void)state;
	for (unsigned i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
		assert_int_equal(cm_slab_find(&heap->seg, nowhere[i], &block), -ENOENT);
	fx_close(heap);
}

static void a_free_block_is_not_freed_again(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	uint64_t a = alloc(heap, &self, 3), b = alloc(heap, &self, 3), nfree;
	struct cm_block block;

	(void)state;
	assert_int_equal(release(heap, &self, a), 0);
	nfree = fx_stats(heap).classes[3].free;
	assert_int_equal(cm_slab_find(&heap->seg, a, &block), 0);
	assert_true(cm_slab_is_free(&heap->seg, &block));
	assert_int_equal(cm_slab_free(&heap->seg, &self, &block, NULL), -EALREADY);
	assert_int_equal(fx_stats(heap).classes[3].free, nfree);
	assert_int_equal(cm_slab_find(&heap->seg, b, &block), 0);
	assert_false(cm_slab_is_free(&heap->seg, &block));
	fx_close(heap);
}

static void a_block_of_a_slab_that_went_back_is_not_freed_again(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	const unsigned cls = cm_class_of(8192), blocks = cm_classes[cls].blocks;
	struct cm_block stale;
	uint64_t off[64] = {0};

	(void)state;
	for (unsigned i = 0; i < 2 * blocks; i++)
		off[i] = alloc(heap, &self, cls);
	assert_int_equal(cm_slab_find(&heap->seg, off[0], &stale), 0);
	for (unsigned i = 2 * blocks; i-- > 0;)
		assert_int_equal(release(heap, &self, off[i]), 0);
	assert_int_equal(cm_slab_free(&heap->seg, &self, &stale, NULL), -EALREADY);
	fx_close(heap);
}

static void the_cell_changes_with_the_block(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	cm_word *cell = comap_heap_calloc(heap, 1, 64);
	struct cm_block block;
	uint64_t off = 0;

	(void)state;
	assert_int_equal(cm_slab_alloc(&heap->seg, &self, 9, cell, &off), 0);
	assert_true(cm_read(cell) == off);
	assert_int_equal(cm_slab_find(&heap->seg, off, &block), 0);
	assert_int_equal(cm_slab_free(&heap->seg, &self, &block, cell), 0);
	assert_true(cm_read(cell) == 0);
	cm_write(cell, 12345);
	assert_int_equal(cm_slab_free(&heap->seg, &self, &block, cell), -EALREADY);
	assert_true(cm_read(cell) == 12345);
	fx_close(heap);
}

static void random_frees_keep_every_class_sound(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	struct cm_self self = fx_self(heap);
	uint64_t random = 7, live[512];
	unsigned n = 0;

	(void)state;
	for (int round = 0; round < 6000; round++) {
		if (n < 512 && (n == 0 || fx_random(&random) % 5 < 3)) {
			unsigned cls = (unsigned)(fx_random(&random) % CM_CLASSES);

			live[n++] = alloc(heap, &self, cls);
		} else {
			unsigned i = (unsigned)(fx_random(&random) % n);

			assert_int_equal(release(heap, &self, live[i]), 0);
			live[i] = live[--n];
		}
		if (round % 500 == 0)
			assert_sound(heap);
	}
	while (n)
		assert_int_equal(release(heap, &self, live[--n]), 0);
	cm_slab_trim(&heap->seg, &self);
	assert_int_equal(fx_live_blocks(heap), 0);
	for (unsigned cls = 0; cls < CM_CLASSES; cls++)
		assert_int_equal(slabs_of(heap, cls), 0);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(each_block_of_a_slab_is_handed_out_once),
		KIN_TEST(a_full_slab_leaves_the_list_and_a_free_brings_it_back),
		KIN_TEST(one_empty_slab_stays_and_the_others_go_back),
		KIN_TEST(one_block_back_and_forth_makes_one_slab),
		KIN_TEST(find_knows_the_block_of_every_byte),
		KIN_TEST(find_finds_nothing_where_no_slab_is),
		KIN_TEST(a_free_block_is_not_freed_again),
		KIN_TEST(a_block_of_a_slab_that_went_back_is_not_freed_again),
		KIN_TEST(the_cell_changes_with_the_block),
		KIN_TEST(random_frees_keep_every_class_sound),
	};

	return cmocka_run_group_tests_name("slab/slab", tests, NULL, NULL);
}
