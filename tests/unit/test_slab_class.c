/* test_slab_class.c - the table of size classes says what its comments promise. */
#include "fixture.h"

static void class_of_is_the_smallest_that_fits(void **state)
{
	unsigned want = 0;

	(void)state;
	for (uint64_t size = 1; size <= CM_SMALL_MOST; size++) {
		while (cm_classes[want].size < size)
			want++;
		assert_int_equal(cm_class_of(size), want);
	}
	assert_int_equal(want, CM_CLASSES - 1);
}

static void tiny_sizes_are_marked_by_a_table(void **state)
{
	(void)state;
	assert_int_equal(cm_tiny_marks[0], CM_UNIT_NONE);
	for (uint64_t size = 1; size <= CM_TINY_MOST; size++)
		assert_int_equal(cm_tiny_marks[(size + 15) / 16], cm_mark_of(cm_class_of(size)));
}

static void sizes_ascend_in_sixteens_from_16_to_64_kib(void **state)
{
	(void)state;
	assert_int_equal(COMAP_CLASSES, CM_CLASSES);
	assert_int_equal(cm_classes[0].size, 16);
	assert_int_equal(cm_classes[CM_CLASSES - 1].size, CM_SMALL_MOST);
	for (unsigned i = 0; i < CM_CLASSES; i++) {
		assert_int_equal(cm_classes[i].size % 16, 0);
		assert_true(i == 0 || cm_classes[i].size > cm_classes[i - 1].size);
	}
}

static void waste_is_at_most_an_eighth_above_128_bytes(void **state)
{
	(void)state;
	for (uint64_t size = 129; size <= CM_SMALL_MOST; size++)
		assert_true((cm_classes[cm_class_of(size)].size - size) * 8 <= size);
	for (uint64_t size = 1; size <= 128; size++)
		assert_true(cm_classes[cm_class_of(size)].size - size < 16);
}

static void reciprocal_finds_the_block_of_every_byte_of_a_slab(void **state)
{
	(void)state;
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		uint64_t end = cm_classes[cls].units * CM_UNIT, index = 0, next = cm_classes[cls].size;

		for (uint64_t diff = 0; diff < end; diff++) {
			if (diff == next) {
				index++;
				next += cm_classes[cls].size;
			}
			if (cm_class_index(cls, diff) != index)
				fail_msg("class %u, byte %llu", cls, (unsigned long long)diff);
		}
	}
}

/* Of 64 KiB or more what is left over at the end, in per cent. */
static double over(uint32_t size, unsigned units)
{
	return 100.0 * (double)(units * CM_UNIT % size) / (double)(units * CM_UNIT);
}

static void slabs_are_the_fewest_units_that_waste_3_per_cent_or_8(void **state)
{
	(void)state;
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		const struct cm_class *c = &cm_classes[cls];
		unsigned want = 1;

		assert_int_equal(c->blocks, c->units * CM_UNIT / c->size);
		assert_true(c->blocks <= 4096); /* the bits of a map */
		assert_true(c->blocks >= 8);
		assert_true(over(c->size, c->units) <= 12.5);
		if (c->size > 8192) {
			assert_int_equal(c->units, 8);
			continue;
		}
		while (want < 4 && over(c->size, want) > 3.0)
			want *= 2;
		assert_int_equal(c->units, want);
	}
}

static void aligned_class_is_the_first_whose_blocks_all_lie_right(void **state)
{
	(void)state;
	for (uint64_t align = 1; align <= CM_SMALL_MOST; align *= 2)
		for (uint64_t size = 0; size <= CM_SMALL_MOST; size += size < 2048 ? 1 : 127) {
			unsigned cls = cm_class_of_aligned(size, align);

			assert_true(cls < CM_CLASSES); /* the largest serves every alignment */
			assert_true(cm_classes[cls].size >= size && cm_classes[cls].size % align == 0);
			while (cls-- > 0 && cm_classes[cls].size >= size)
				assert_true(cm_classes[cls].size % align != 0);
		}
	assert_int_equal(cm_class_of_aligned(CM_SMALL_MOST + 1, 1), CM_CLASSES);
	assert_int_equal(cm_class_of_aligned(1, 2 * CM_SMALL_MOST), CM_CLASSES);
}

static void powers_of_two_are_aligned_to_themselves(void **state)
{
	(void)state;
	for (uint64_t size = 16; size <= CM_SMALL_MOST; size *= 2)
		assert_int_equal(cm_classes[cm_class_of(size)].size, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(class_of_is_the_smallest_that_fits),
		KIN_TEST(tiny_sizes_are_marked_by_a_table),
		KIN_TEST(sizes_ascend_in_sixteens_from_16_to_64_kib),
		KIN_TEST(waste_is_at_most_an_eighth_above_128_bytes),
		KIN_TEST(reciprocal_finds_the_block_of_every_byte_of_a_slab),
		KIN_TEST(slabs_are_the_fewest_units_that_waste_3_per_cent_or_8),
		KIN_TEST(aligned_class_is_the_first_whose_blocks_all_lie_right),
		KIN_TEST(powers_of_two_are_aligned_to_themselves),
	};

	return cmocka_run_group_tests_name("slab/class", tests, NULL, NULL);
}
