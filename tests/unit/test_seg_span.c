/* test_seg_span.c - runs of free units: first fit, alignment, quota, ceiling. */
#include "fixture.h"

struct sums {
	uint64_t used, dirty, limit;
};

static struct sums sums_of(comap_heap *heap)
{
	return (struct sums){
		cm_read(cm_span_word(&heap->seg, CM_SPAN_USED)),
		cm_read(cm_span_word(&heap->seg, CM_SPAN_DIRTY)),
		cm_seg_limit(&heap->seg),
	};
}

static int take(comap_heap *heap, const struct cm_self *self, uint32_t n, uint32_t align,
		struct cm_span *span)
{
	return cm_span_take(&heap->seg, self, n, align, n * CM_UNIT, NULL, span);
}

static void give(comap_heap *heap, const struct cm_self *self)
{
	cm_span_give_hold(&heap->seg, self, self->slot);
	assert_true(cm_read(&self->slot->hold_at) == 0);
}

/* A run of n units (2..63), its first unit. */
static uint64_t run(comap_heap *heap, const struct cm_self *self, uint32_t n)
{
	uint64_t off = 0;
	bool is_zeroed;

	assert_int_equal(cm_run_alloc(&heap->seg, self, n * CM_UNIT, 1, NULL, &off, &is_zeroed), 0);
	return off >> CM_UNIT_SHIFT;
}

static void unrun(comap_heap *heap, const struct cm_self *self, uint64_t unit)
{
	assert_int_equal(cm_run_free(&heap->seg, self, unit << CM_UNIT_SHIFT, NULL), 0);
}

static void lowest_address_that_fits_is_taken(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	uint64_t first = heap->seg.data_off >> CM_UNIT_SHIFT, a, b, c, d;

	(void)state;
	a = run(heap, &self, 3);
	b = run(heap, &self, 5);
	c = run(heap, &self, 2);
	d = run(heap, &self, 40);
	assert_true(a == first + 1 && b == a + 3 && c == b + 5 && d == c + 2);
	unrun(heap, &self, b);
	assert_true(run(heap, &self, 6) == d + 40);  /* does not fit in 5 */
	assert_true(run(heap, &self, 5) == b);       /* does, exactly */
	unrun(heap, &self, b);
	assert_true(run(heap, &self, 2) == b);
	assert_true(run(heap, &self, 3) == b + 2);
	unrun(heap, &self, a);
	assert_true(run(heap, &self, 63) == first + 65); /* the next segment, after its header */
	assert_true(run(heap, &self, 3) == a);
	fx_close(heap);
}

static void a_span_begins_at_a_multiple_of_its_alignment(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	struct cm_span span;

	(void)state;
	for (uint32_t align = 1; align <= 32; align *= 2)
		for (uint32_t n = 1; n <= 63 && (align == 1 || align + n <= 64); n++) {
			assert_int_equal(take(heap, &self, n, align, &span), 0);
			assert_true(span.unit % align == 0 && span.n == n && (span.unit & 63) != 0);
			assert_true((span.unit & 63) + n <= 64);
			give(heap, &self);
			assert_sound(heap);
		}
	fx_close(heap);
}

static void units_are_never_handed_out_twice(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	static uint8_t owner[1024];
	struct {
		uint64_t unit;
		uint32_t n;
	} live[200];
	unsigned nlive = 0;
	uint64_t random = 3;

	(void)state;
	memset(owner, 0, sizeof owner);
	for (int i = 0; i < 3000; i++) {
		if (nlive < 40 && fx_random(&random) % 5 < 3) {
			uint32_t n = 2 + (uint32_t)(fx_random(&random) % 20);
			uint64_t unit = run(heap, &self, n);

			for (uint32_t u = 0; u < n; u++) {
				assert_int_equal(owner[unit + u], 0);
				owner[unit + u] = 1;
			}
			assert_true((unit & 63) != 0 && unit >> 6 == (unit + n - 1) >> 6);
			live[nlive].unit = unit;
			live[nlive++].n = n;
		} else if (nlive) {
			unsigned k = (unsigned)(fx_random(&random) % nlive);

			unrun(heap, &self, live[k].unit);
			memset(owner + live[k].unit, 0, live[k].n);
			live[k] = live[--nlive];
		}
		if (i % 100 == 0)
			assert_sound(heap);
	}
	fx_close(heap);
}

static void what_is_taken_and_given_back_leaves_no_trace(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	struct cm_span span;
	struct sums before, after;

	(void)state;
	run(heap, &self, 2);
	before = sums_of(heap);
	assert_int_equal(take(heap, &self, 7, 1, &span), 0);
	assert_true(sums_of(heap).used == before.used + 7);
	assert_sound(heap); /* in transit is sound, too */
	give(heap, &self);
	after = sums_of(heap);
	assert_true(after.used == before.used && after.limit == before.limit);
	assert_true(after.dirty == before.dirty + 7);
	fx_close(heap);
}

static void a_span_reads_as_zeroes_when_it_says_so(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	struct cm_span span;

	(void)state;
	assert_int_equal(take(heap, &self, 4, 1, &span), 0);
	assert_true(span.is_zeroed); /* never used before */
	assert_true(fx_is_zero(cm_seg_at(&heap->seg, span.unit << CM_UNIT_SHIFT), 4 * CM_UNIT));
	memset(cm_seg_at(&heap->seg, span.unit << CM_UNIT_SHIFT), 0xee, 4 * CM_UNIT);
	give(heap, &self);
	assert_int_equal(take(heap, &self, 2, 1, &span), 0);
	assert_false(span.is_zeroed);
	give(heap, &self);
	assert_int_equal(cm_purge_all(&heap->seg, &self), 0);
	assert_int_equal(take(heap, &self, 4, 1, &span), 0);
	assert_true(span.is_zeroed);
	assert_true(fx_is_zero(cm_seg_at(&heap->seg, span.unit << CM_UNIT_SHIFT), 4 * CM_UNIT));
	give(heap, &self);
	fx_close(heap);
}

static void take_at_takes_what_is_free_and_nothing_else(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	uint64_t a = run(heap, &self, 4), b = run(heap, &self, 4), segment = a & ~63ull;
	struct sums before = sums_of(heap);

	(void)state;
	assert_int_equal(cm_span_take_at(&heap->seg, &self, segment, 1, CM_UNIT), -EBUSY);
	assert_int_equal(cm_span_take_at(&heap->seg, &self, a + 2, 1, CM_UNIT), -EBUSY);
	assert_int_equal(cm_span_take_at(&heap->seg, &self, b + 3, 2, CM_UNIT), -EBUSY);
	assert_int_equal(cm_span_take_at(&heap->seg, &self, segment + 60, 5, CM_UNIT), -EBUSY);
	assert_int_equal(cm_span_take_at(&heap->seg, &self, segment + 64, 1, CM_UNIT), -EBUSY);
	assert_true(sums_of(heap).used == before.used);
	assert_true(cm_read(&self.slot->hold_at) == 0);
	assert_int_equal(cm_span_take_at(&heap->seg, &self, segment + 60, 4, 4 * CM_UNIT), 0);
	assert_true(sums_of(heap).used == before.used + 4);
	give(heap, &self);
	assert_int_equal(cm_span_take_at(&heap->seg, &self, b + 4, 2, CM_UNIT), 0);
	give(heap, &self);
	fx_close(heap);
}

static void the_quota_stops_a_span_and_nothing_is_held(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct cm_self self;
	struct cm_span span;
	comap_heap *heap;

	(void)state;
	opts.max_size = 64 * CM_MIB;
	opts.quota = 10 * CM_UNIT; /* a header and 9 units */
	heap = fx_heap_with(&opts);
	self = fx_self(heap);
	assert_int_equal(take(heap, &self, 10, 1, &span), -ENOMEM);
	assert_true(cm_read(&self.slot->hold_at) == 0);
	assert_int_equal(take(heap, &self, 9, 1, &span), 0);
	assert_true(fx_stats(heap).committed <= opts.quota);
	give(heap, &self);
	assert_int_equal(take(heap, &self, 9, 1, &span), 0); /* what is dirty does not count twice */
	give(heap, &self);
	fx_close(heap);
}

static void the_ceiling_stops_a_span(void **state)
{
	comap_heap *heap = fx_heap(8 * CM_MIB);
	struct cm_self self = fx_self(heap);
	struct cm_span span;

	(void)state;
	assert_true(heap->seg.data_off == 4 * CM_MIB); /* one segment */
	assert_true(run(heap, &self, 40) == 65);
	assert_int_equal(take(heap, &self, 24, 1, &span), -ENOMEM);
	assert_int_equal(take(heap, &self, 23, 1, &span), 0);
	assert_true(sums_of(heap).limit == 8 * CM_MIB);
	give(heap, &self);
	unrun(heap, &self, 65);
	assert_int_equal(take(heap, &self, 63, 1, &span), 0);
	give(heap, &self);
	fx_close(heap);
}

static void no_lock_is_kept_by_a_call_that_failed(void **state)
{
	comap_heap *heap = fx_heap(8 * CM_MIB);
	struct cm_self self = fx_self(heap);
	struct cm_span span;
	uint64_t unit = run(heap, &self, 63);

	(void)state;
	assert_int_equal(take(heap, &self, 1, 1, &span), -ENOMEM);
	assert_int_equal(cm_span_take_at(&heap->seg, &self, unit, 1, CM_UNIT), -EBUSY);
	for (unsigned i = 0; i < CM_LOCKS; i++)
		assert_true(cm_read(&heap->seg.locks[i].owner) == 0);
	fx_close(heap);
}

/* The hint "no segment below has a free unit" was moved past free units by a span of one
 * unit that had to be aligned. */
static void an_aligned_unit_does_not_hide_the_free_units_below(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	struct cm_span span;
	uint64_t unit;

	(void)state;
	/* fill the first segment, then make one hole at an odd unit */
	for (unit = 0; unit < 63;) {
		assert_int_equal(take(heap, &self, 1, 1, &span), 0);
		cm_write(&cm_seg_desc(&heap->seg, span.unit)->size, CM_UNIT);
		cm_write(&heap->seg.units[span.unit], CM_UNIT_RUN);
		cm_write(&cm_seg_desc(&heap->seg, span.unit)->kind, CM_UNIT_RUN);
		cm_write(&(&self)->slot->hold_at, 0);
		unit++;
	}
	assert_sound(heap);
	unit = (heap->seg.data_off >> CM_UNIT_SHIFT) + 33;
	unrun(heap, &self, unit);
	assert_int_equal(take(heap, &self, 1, 2, &span), 0); /* goes to the next segment */
	assert_true(span.unit > unit && span.unit % 2 == 0);
	assert_sound(heap);
	give(heap, &self);
	assert_int_equal(take(heap, &self, 1, 1, &span), 0);
	assert_true(span.unit == unit);
	give(heap, &self);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(lowest_address_that_fits_is_taken),
		KIN_TEST(a_span_begins_at_a_multiple_of_its_alignment),
		KIN_TEST(units_are_never_handed_out_twice),
		KIN_TEST(what_is_taken_and_given_back_leaves_no_trace),
		KIN_TEST(a_span_reads_as_zeroes_when_it_says_so),
		KIN_TEST(take_at_takes_what_is_free_and_nothing_else),
		KIN_TEST(the_quota_stops_a_span_and_nothing_is_held),
		KIN_TEST(the_ceiling_stops_a_span),
		KIN_TEST(no_lock_is_kept_by_a_call_that_failed),
		KIN_TEST(an_aligned_unit_does_not_hide_the_free_units_below),
	};

	return cmocka_run_group_tests_name("seg/span", tests, NULL, NULL);
}
