/* test_seg_purge.c - storage of free units goes back, and only theirs. */
#include "fixture.h"

static uint64_t dirty(comap_heap *heap)
{
	return cm_read(cm_span_word(&heap->seg, CM_SPAN_DIRTY));
}

static void a_purge_gives_back_what_is_free(void **state)
{
	comap_heap *heap = fx_heap(128 * CM_MIB);
	struct cm_self self = fx_self(heap);
	uint64_t random = 9, before = fx_stored(heap);
	void *p[64], *kept[32];
	unsigned nkept = 0;

	(void)state;
	for (unsigned i = 0; i < 64; i++) {
		p[i] = comap_heap_malloc(heap, 100000 + fx_random(&random) % 1500000);
		assert_non_null(p[i]);
		memset(p[i], 0x11, comap_heap_usable_size(heap, p[i]));
	}
	for (unsigned i = 0; i < 64; i++) {
		if (i % 2) {
			kept[nkept++] = p[i];
			fx_fill(p[i], comap_heap_usable_size(heap, p[i]), i);
		} else {
			comap_heap_free(heap, p[i]);
		}
	}
	assert_int_equal(cm_purge_all(&heap->seg, &self), 0);
	assert_int_equal(dirty(heap), 0);
	assert_sound(heap);
	for (unsigned i = 0; i < nkept; i++) {
		assert_true(
			fx_is_filled(kept[i], comap_heap_usable_size(heap, kept[i]), i * 2 + 1));
		comap_heap_free(heap, kept[i]);
	}
	assert_int_equal(cm_purge_all(&heap->seg, &self), 0);
	assert_int_equal(dirty(heap), 0);
	assert_true(fx_stored(heap) <= before + 16384); /* the slot and the tables */
	fx_close(heap);
}

static void a_purge_keeps_as_much_as_it_is_told(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	void *p = comap_heap_malloc(heap, 20 * CM_UNIT), *q = comap_heap_malloc(heap, 8 * CM_MIB);

	(void)state;
	comap_heap_free(heap, p);
	comap_heap_free(heap, q);
	assert_int_equal(dirty(heap), 20 + 128);
	assert_int_equal(cm_purge(&heap->seg, &self, 1000), 0);
	assert_int_equal(dirty(heap), 20 + 128);
	assert_int_equal(cm_purge(&heap->seg, &self, 100), 0);
	assert_true(dirty(heap) <= 100 && dirty(heap) >= 20); /* highest addresses first */
	assert_int_equal(cm_purge_all(&heap->seg, &self), 0);
	assert_int_equal(dirty(heap), 0);
	fx_close(heap);
}

static void storage_that_cannot_go_back_stays_dirty(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 20 * CM_UNIT));
	heap->seg.backing.no_punch = true;
	assert_int_equal(cm_purge_all(&heap->seg, &self), -EOPNOTSUPP);
	assert_true(dirty(heap) >= 20);
	assert_true(cm_read(&self.slot->hold_at) == 0);
	assert_int_equal(comap_heap_trim(heap), -EOPNOTSUPP);
	assert_sound(heap);
	comap_heap_free(heap, comap_heap_malloc(heap, 40 * CM_UNIT));
	assert_sound(heap);
	heap->seg.backing.no_punch = false;
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_int_equal(dirty(heap), 0);
	fx_close(heap);
}

static void dirty_pages_stay_below_their_cap(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	uint64_t random = 11;
	comap_heap *heap;
	void *p[40] = { NULL };

	(void)state;
	opts.max_size = 256 * CM_MIB;
	opts.dirty_max = 2 * CM_MIB;
	heap = fx_heap_with(&opts);
	for (int i = 0; i < 2000; i++) {
		unsigned k = (unsigned)(fx_random(&random) % 40);

		comap_heap_free(heap, p[k]);
		assert_true(fx_stats(heap).dirty <= opts.dirty_max);
		p[k] = comap_heap_malloc(heap, fx_random(&random) % (i % 8 ? 200000 : 6000000));
		assert_non_null(p[k]);
		assert_true(fx_stats(heap).dirty <= opts.dirty_max);
		if (i % 200 == 0)
			assert_sound(heap);
	}
	fx_close(heap);
}

static void a_realloc_that_shrinks_respects_the_cap(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	void *p;

	(void)state;
	opts.max_size = 256 * CM_MIB;
	opts.dirty_max = CM_MIB;
	heap = fx_heap_with(&opts);
	p = comap_heap_malloc(heap, 40 * CM_MIB);
	memset(p, 1, 40 * CM_MIB);
	p = comap_heap_realloc(heap, p, 5 * CM_MIB);
	assert_true(fx_stats(heap).dirty <= opts.dirty_max);
	assert_true(fx_stored(heap) <= 10 * CM_MIB);
	p = comap_heap_realloc(heap, p, 100000);
	assert_true(fx_stats(heap).dirty <= opts.dirty_max);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_purge_gives_back_what_is_free),
		KIN_TEST(a_purge_keeps_as_much_as_it_is_told),
		KIN_TEST(storage_that_cannot_go_back_stays_dirty),
		KIN_TEST(dirty_pages_stay_below_their_cap),
		KIN_TEST(a_realloc_that_shrinks_respects_the_cap),
	};

	return cmocka_run_group_tests_name("seg/purge", tests, NULL, NULL);
}
