/* test_seg_decay.c - what nobody wants goes back in time, and what is wanted stays. */
#include <unistd.h>
#include "fixture.h"
#include "slab/slab.h"

enum { PERIOD_MS = 20, RUN = 100000, RUNS = 100 };

static comap_heap *decaying_heap(void)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);

	assert_int_equal(comap_heap_set_decay(heap, PERIOD_MS), 0);
	return heap;
}

/* A period passes, and then somebody looks; nothing is allocated. */
static void periods_pass(comap_heap *heap, unsigned n)
{
	while (n--) {
		usleep(2 * PERIOD_MS * 1000);
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(comap_heap_set_quota(heap, 0), 0);
	}
}

static void use_runs(comap_heap *heap, unsigned n)
{
	void *p[RUNS];

	for (unsigned i = 0; i < n; i++)
		assert_non_null(p[i] = comap_heap_malloc(heap, RUN));
	for (unsigned i = 0; i < n; i++)
		comap_heap_free(heap, p[i]);
}

static void unwanted_storage_goes_back(void **state)
{
	comap_heap *heap = decaying_heap();

	(void)state;
	use_runs(heap, RUNS);
	assert_true(fx_stats(heap).dirty >= (uint64_t)RUNS * RUN);
	periods_pass(heap, 3);
	assert_int_equal(fx_stats(heap).dirty, 0);
	assert_true(fx_stored(heap) < CM_MIB);
	assert_sound(heap);
	fx_close(heap);
}

static void storage_that_comes_and_goes_stays(void **state)
{
	comap_heap *heap = decaying_heap();
	uint64_t wanted;

	(void)state;
	use_runs(heap, RUNS / 4);
	wanted = fx_stats(heap).dirty;
	use_runs(heap, RUNS);
	for (unsigned i = 0; i < 6; i++) {
		use_runs(heap, RUNS / 4);
		periods_pass(heap, 1);
	}
	assert_int_equal(fx_stats(heap).dirty, wanted);
	assert_sound(heap);
	fx_close(heap);
}

static void without_decay_all_stays(void **state)
{
	comap_heap *heap = decaying_heap();
	uint64_t dirty;

	(void)state;
	assert_int_equal(comap_heap_set_decay(heap, 0), 0);
	use_runs(heap, RUNS);
	dirty = fx_stats(heap).dirty;
	periods_pass(heap, 4);
	assert_int_equal(fx_stats(heap).dirty, dirty);
	fx_close(heap);
}

static void idle_magazines_are_closed(void **state)
{
	comap_heap *heap = decaying_heap();
	unsigned idle = cm_class_of(64), busy = cm_class_of(256);

	(void)state;
	fx_heat(heap, 64);
	fx_heat(heap, 256);
	assert_true(fx_stats(heap).classes[idle].cached > 0);
	for (unsigned i = 0; i < 4; i++) {
		comap_heap_free(heap, comap_heap_malloc(heap, 256)); /* head as it was */
		(void)comap_heap_malloc(heap, 256);
		periods_pass(heap, 1);
	}
	assert_int_equal(fx_stats(heap).classes[idle].cached, 0);
	assert_true(fx_stats(heap).classes[busy].cached > 0);
	assert_int_equal(fx_live_blocks(heap), 4);
	assert_sound(heap);
	fx_heat(heap, 64); /* and opens again */
	assert_true(fx_stats(heap).classes[idle].cached > 0);
	fx_close(heap);
}

static void a_clock_that_jumped_back_stops_nothing(void **state)
{
	comap_heap *heap = decaying_heap();

	(void)state;
	cm_write(&heap->seg.super->decayed_ns, UINT64_MAX / 2); /* another boot, longer up */
	use_runs(heap, RUNS);
	periods_pass(heap, 3);
	assert_int_equal(fx_stats(heap).dirty, 0);
	cm_write(&heap->seg.super->dirty_low, UINT64_MAX); /* scribbled on */
	use_runs(heap, 3);
	periods_pass(heap, 2);
	assert_int_equal(fx_stats(heap).dirty, 0);
	assert_sound(heap);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(unwanted_storage_goes_back),
		KIN_TEST(storage_that_comes_and_goes_stays),
		KIN_TEST(without_decay_all_stays),
		KIN_TEST(idle_magazines_are_closed),
		KIN_TEST(a_clock_that_jumped_back_stops_nothing),
	};

	return cmocka_run_group_tests_name("seg/decay", tests, NULL, NULL);
}
