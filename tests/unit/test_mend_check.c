/*
 * test_mend_check.c - the check finds every kind of damage, and nothing where there is none.
 *
 * Each case changes one word of a sound heap behind everybody's back, asks, and puts it back.
 * Where damage makes malloc or free fail, that is EUCLEAN and no crash.
 */
#include "heap/root_layout.h"
#include "fixture.h"

#define LISTED 5120 /* the block size of a class with three slabs in its list */

struct env {
	comap_heap *heap;
	struct cm_seg *seg;
	uint64_t slab, full;  /* units: a slab with free blocks, one without */
	uint64_t middle;      /* of a list of three slabs */
	uint64_t run, huge;   /* offsets */
	uint64_t split;       /* segment of slab and run */
	uint64_t empty;       /* a segment that is free */
};

static uint64_t off_of(struct env *e, const void *p)
{
	assert_non_null(p);
	return cm_off_of(&e->heap->seg, p);
}

static struct env begin(void)
{
	struct env e = { .heap = fx_lean_heap(128 * CM_MIB) };
	const unsigned cls = cm_class_of(LISTED);
	void *p[128];
	char name[16];

	e.seg = &e.heap->seg;
	e.slab = off_of(&e, comap_heap_malloc(e.heap, 112)) >> CM_UNIT_SHIFT;
	assert_non_null(comap_heap_malloc(e.heap, 112));
	e.full = off_of(&e, comap_heap_malloc(e.heap, 65536)) >> CM_UNIT_SHIFT;
	for (unsigned i = 1; i < 8; i++)
		assert_non_null(comap_heap_malloc(e.heap, 65536));
	e.full -= e.full % 8;
	/* three slabs, each with one free block */
	for (unsigned i = 0; i < 3 * cm_classes[cls].blocks; i++) {
		p[i] = comap_heap_malloc(e.heap, LISTED);
		assert_non_null(p[i]);
	}
	for (unsigned i = 0; i < 3; i++)
		comap_heap_free(e.heap, p[i * cm_classes[cls].blocks]);
	e.middle = cm_read(&cm_seg_desc(e.seg, cm_read(cm_bin_list(e.seg, cls)))->link) >> 32;
	assert_true(e.middle != 0);
	e.run = off_of(&e, comap_heap_malloc(e.heap, 3 * CM_UNIT));
	e.huge = off_of(&e, comap_heap_malloc(e.heap, 9 * CM_MIB));
	e.split = e.run >> CM_SEGMENT_SHIFT;
	p[0] = comap_heap_malloc(e.heap, 4 * CM_MIB);
	e.empty = off_of(&e, p[0]) >> CM_SEGMENT_SHIFT;
	comap_heap_free(e.heap, p[0]);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "root %u", i);
		assert_int_equal(comap_root_set(e.heap, name, (comap_ref){ e.run }), 0);
	}
	assert_sound(e.heap);
	return e;
}

struct found {
	unsigned n;
	uint64_t last;
};

static void count(uint64_t offset, const char *what, void *arg)
{
	struct found *found = arg;

	assert_true(what && strlen(what) > 10);
	found->n++;
	found->last = offset;
}

/* With *at changed to value, the check says so. */
static void assert_told_(struct env *e, cm_word *at, uint64_t value, const char *what, int line)
{
	uint64_t good = cm_read(at);
	struct found found = {0};
	int err;

	assert_true(good != value);
	cm_write(at, value);
	err = comap_heap_check(e->heap, count, &found);
	cm_write(at, good);
	if (err != -EUCLEAN || found.n == 0)
		fail_msg("line %d: %s: the check says %d and tells of %u", line, what, err, found.n);
	cm_write(&e->seg->super->damages, 0);
}
#define assert_told(e, at, value) assert_told_((e), (at), (value), #at " = " #value, __LINE__)
/* And put back, all is well. */
#define assert_found(e, at, value) (assert_told(e, at, value), assert_sound((e)->heap))

static void assert_mark_found(struct env *e, uint64_t unit, uint8_t mark)
{
	uint8_t good = cm_read(&e->seg->units[unit]);
	struct found found = {0};
	int err;

	cm_write(&e->seg->units[unit], mark);
	err = comap_heap_check(e->heap, count, &found);
	cm_write(&e->seg->units[unit], good);
	assert_int_equal(err, -EUCLEAN);
	assert_true(found.n > 0);
	assert_sound(e->heap);
}

static void wrong_sums_are_found(void **state)
{
	struct env e = begin();
	cm_word *used = cm_span_word(e.seg, CM_SPAN_USED), *dirty = cm_span_word(e.seg, CM_SPAN_DIRTY);

	(void)state;
	assert_found(&e, used, cm_read(used) + 1);
	assert_found(&e, used, cm_read(used) - 1);
	assert_found(&e, dirty, cm_read(dirty) + 1);
	assert_found(&e, dirty, ~0ull);
	assert_found(&e, cm_span_word(e.seg, CM_SPAN_HINT), e.empty + 1);
	assert_found(&e, cm_span_word(e.seg, CM_SPAN_HINT), ~0ull);
	fx_close(e.heap);
}

static void wrong_segments_are_found(void **state)
{
	struct env e = begin();
	cm_word *split = &e.seg->segments[e.split], *huge = &e.seg->segments[e.huge >> CM_SEGMENT_SHIFT];
	cm_word *empty = &e.seg->segments[e.empty];
	uint64_t good = cm_read(split);

	(void)state;
	assert_found(&e, split, cm_seg_entry(CM_SEG_SPLIT, cm_seg_longest(good) + 1, 0));
	assert_found(&e, split, cm_seg_entry(CM_SEG_SPLIT, 0, 0));
	assert_found(&e, split, cm_seg_entry(CM_SEG_FREE, 0, 0));
	assert_found(&e, split, cm_seg_entry(CM_SEG_CONT, 0, 0));
	assert_found(&e, split, cm_seg_entry(7, 0, 0));
	assert_found(&e, split, ~0ull);
	assert_found(&e, huge, cm_seg_entry(CM_SEG_HUGE, 0, 0));
	assert_found(&e, huge, cm_seg_entry(CM_SEG_HUGE, 0, 1024));
	assert_found(&e, huge, cm_seg_entry(CM_SEG_HUGE, 0, 9 * 256 + 1024));
	assert_found(&e, huge, cm_seg_entry(CM_SEG_HUGE, 0, 1ull << 40));
	assert_found(&e, huge, cm_seg_entry(CM_SEG_HELD, 0, 9 * 256));
	assert_found(&e, huge, cm_seg_entry(CM_SEG_CONT, 0, 0));
	assert_found(&e, huge + 1, cm_seg_entry(CM_SEG_FREE, 0, 0));
	assert_found(&e, huge + 2, cm_seg_entry(CM_SEG_SPLIT, 63, 0));
	assert_found(&e, empty, cm_seg_entry(CM_SEG_HUGE, 0, 1024));
	assert_found(&e, empty, cm_seg_entry(CM_SEG_HELD, 0, 1024));
	assert_found(&e, empty, cm_seg_entry(CM_SEG_CONT, 0, 0));
	assert_found(&e, empty, cm_seg_entry(15, 0, 0));
	fx_close(e.heap);
}

static void wrong_units_are_found(void **state)
{
	struct env e = begin();
	cm_word *free = &cm_seg_header(e.seg, e.split)->free;
	uint64_t run = e.run >> CM_UNIT_SHIFT;

	(void)state;
	assert_found(&e, free, cm_read(free) | 1);
	assert_found(&e, free, cm_read(free) | 1ull << (e.slab & 63));
	assert_found(&e, free, cm_read(free) | 1ull << ((run & 63) + 2));
	assert_found(&e, free, cm_read(free) & (cm_read(free) - 1));
	assert_found(&e, free, 0);
	assert_mark_found(&e, run, CM_UNIT_NONE);
	assert_mark_found(&e, run, 1);
	assert_mark_found(&e, run + 1, CM_UNIT_RUN);
	assert_mark_found(&e, run + 3, 9); /* free */
	assert_mark_found(&e, run + 3, CM_UNIT_RUN);
	assert_mark_found(&e, e.slab, CM_UNIT_NONE);
	assert_mark_found(&e, e.slab, 0xff);
	assert_mark_found(&e, e.slab, CM_CLASSES + 1);
	assert_mark_found(&e, e.slab, 80);
	assert_mark_found(&e, e.full + 3, CM_UNIT_NONE);
	assert_mark_found(&e, e.full, CM_UNIT_NONE);
	fx_close(e.heap);
}

/* With all that is counted from it put right as well, so that nothing else gives it away. */
static void assert_free_word_found(struct env *e, uint64_t value)
{
	struct cm_header_shm *h = cm_seg_header(e->seg, e->split);
	cm_word *used = cm_span_word(e->seg, CM_SPAN_USED), *entry = &e->seg->segments[e->split];
	cm_word *dirty = cm_span_word(e->seg, CM_SPAN_DIRTY);
	uint64_t was_used = cm_read(used), was_entry = cm_read(entry), was_dirty = cm_read(dirty);
	uint64_t good = cm_read(&h->free), have = cm_read(&h->have);

	cm_write(used, was_used + cm_popcount(good) - cm_popcount(value));
	cm_write(dirty, was_dirty - cm_popcount(good & have) + cm_popcount(value & have));
	cm_write(entry, cm_seg_entry(CM_SEG_SPLIT, cm_longest_run(value), 0));
	assert_told(e, &h->free, value);
	assert_int_equal(comap_heap_check(e->heap, NULL, NULL), -EUCLEAN); /* the counts alone */
	cm_write(used, was_used);
	cm_write(dirty, was_dirty);
	cm_write(entry, was_entry);
	assert_sound(e->heap);
}

static void a_unit_free_and_in_use_or_neither_is_found(void **state)
{
	struct env e = begin();
	uint64_t free = cm_read(&cm_seg_header(e.seg, e.split)->free);
	uint64_t run = e.run >> CM_UNIT_SHIFT;

	(void)state;
	assert_free_word_found(&e, free | 1ull << (run & 63));
	assert_free_word_found(&e, free | 1ull << ((run & 63) + 2));
	assert_free_word_found(&e, free | 1ull << (e.slab & 63));
	assert_free_word_found(&e, free & (free - 1)); /* lost */
	fx_close(e.heap);
}

static void wrong_runs_are_found(void **state)
{
	struct env e = begin();
	struct cm_desc_shm *desc = cm_seg_desc(e.seg, e.run >> CM_UNIT_SHIFT);

	(void)state;
	assert_found(&e, &desc->size, 0);
	assert_found(&e, &desc->size, 2 * CM_UNIT);
	assert_found(&e, &desc->size, 4 * CM_UNIT);
	assert_found(&e, &desc->size, 63 * CM_UNIT);
	assert_found(&e, &desc->size, 1ull << 50);
	assert_found(&e, &desc->size, ~0ull);
	fx_close(e.heap);
}

/* Then nobody can free it, walk does not see it, and its units are in use for ever. */
static void a_block_whose_mark_and_descriptor_differ_is_found(void **state)
{
	struct env e = begin();
	struct cm_desc_shm *run = cm_seg_desc(e.seg, e.run >> CM_UNIT_SHIFT);
	struct cm_desc_shm *full = cm_seg_desc(e.seg, e.full);

	(void)state;
	assert_found(&e, &full->kind, CM_UNIT_NONE);
	assert_found(&e, &full->kind, 1);
	assert_found(&e, &run->kind, CM_UNIT_NONE);
	assert_found(&e, &run->kind, 5);
	fx_close(e.heap);
}

static void wrong_slabs_are_found(void **state)
{
	struct env e = begin();
	struct cm_desc_shm *desc = cm_seg_desc(e.seg, e.slab), *full = cm_seg_desc(e.seg, e.full);
	const unsigned cls = cm_class_of(112), blocks = cm_classes[cls].blocks;

	(void)state;
	assert_found(&e, &desc->nfree, cm_read(&desc->nfree) - 1);
	assert_found(&e, &desc->nfree, 0);
	assert_found(&e, &desc->nfree, ~0ull);
	assert_found(&e, &desc->open, 0);
	assert_found(&e, &desc->open, cm_read(&desc->open) | 1ull << 63);
	assert_found(&e, &desc->map[0], cm_read(&desc->map[0]) ^ 1);
	assert_found(&e, &desc->map[1], 0);
	assert_found(&e, &desc->map[blocks / 64], cm_read(&desc->map[blocks / 64]) | 1ull << blocks % 64);
	assert_found(&e, &desc->map[63], 1);
	assert_found(&e, &desc->kind, CM_UNIT_NONE);
	assert_found(&e, &desc->kind, CM_UNIT_RUN);
	assert_found(&e, &desc->kind, cls + 2);
	assert_found(&e, &full->nfree, 1);
	assert_found(&e, &full->map[0], 1);
	assert_found(&e, &full->open, 1);
	fx_close(e.heap);
}

static void wrong_lists_are_found(void **state)
{
	struct env e = begin();
	cm_word *list = cm_bin_list(e.seg, cm_class_of(LISTED));
	cm_word *link = &cm_seg_desc(e.seg, e.middle)->link, *small = cm_bin_list(e.seg, cm_class_of(112));
	uint64_t first = cm_read(list), last = cm_read(link) >> 32;

	(void)state;
	assert_found(&e, list, 0);
	assert_found(&e, list, e.middle);
	assert_found(&e, list, e.slab);
	assert_found(&e, list, e.run >> CM_UNIT_SHIFT);
	assert_found(&e, list, 1);
	assert_found(&e, list, ~0ull);
	assert_found(&e, list, cm_seg_limit(e.seg) >> CM_UNIT_SHIFT);
	assert_found(&e, link, 0);
	assert_found(&e, link, last << 32);
	assert_found(&e, link, first);
	assert_found(&e, link, first << 32 | first); /* a ring */
	assert_found(&e, link, e.middle << 32 | first);
	assert_found(&e, link, 0xffffffffull << 32 | first);
	assert_found(&e, &cm_seg_desc(e.seg, last)->link, 0);
	assert_found(&e, &cm_seg_desc(e.seg, last)->link, first << 32 | e.middle);
	assert_found(&e, small, 0);
	assert_found(&e, small, e.full);
	fx_close(e.heap);
}

static void wrong_roots_are_found(void **state)
{
	struct env e = begin();
	struct cm_root_page_shm *page = (struct cm_root_page_shm *)(void *)(e.seg->base + CM_ROOTS_OFF);
	struct cm_root_shm *root = &page->root[7];

	(void)state;
	assert_found(&e, &root->name[0], cm_read(&root->name[0]) ^ 0x100);
	assert_found(&e, &root->name[7], 1);
	assert_found(&e, &root->hash, cm_read(&root->hash) + 1);
	assert_found(&e, &root->state, 3);
	assert_found(&e, &root->state, ~0ull);
	assert_found(&e, &root->ref, 8);
	assert_found(&e, &root->ref, cm_seg_limit(e.seg));
	assert_found(&e, &root->ref, ~0ull);
	assert_found(&e, &page->next, cm_read(&page->next) + 8);
	assert_found(&e, &page->next, 4096);
	assert_found(&e, &page->next, ~4095ull);
	assert_found(&e, &page->next, cm_seg_limit(e.seg));
	fx_close(e.heap);
}

static void unfinished_business_in_a_free_slot_is_found(void **state)
{
	struct env e = begin();
	struct cm_self self = {0};
	struct cm_slot_shm *slot;

	(void)state;
	assert_int_equal(cm_life_enter(&e.seg->life, &self), 0);
	slot = self.slot;
	cm_life_leave(&self);
	assert_found(&e, &slot->redo.commit, 1);
	assert_found(&e, &slot->hold_at, cm_hold_at(CM_HOLD_UNITS, e.split));
	assert_found(&e, &e.seg->super->damages, 1);
	fx_close(e.heap);
}

static void what_is_found_is_told_with_its_place(void **state)
{
	struct env e = begin();
	struct cm_desc_shm *desc = cm_seg_desc(e.seg, e.slab);
	uint64_t good = cm_read(&desc->nfree);
	struct found found = {0};

	(void)state;
	cm_write(&desc->nfree, good - 1);
	assert_int_equal(comap_heap_check(e.heap, NULL, NULL), -EUCLEAN); /* without a listener */
	assert_int_equal(comap_heap_check(e.heap, count, &found), -EUCLEAN);
	assert_int_equal(found.n, 1);
	assert_true(found.last == e.slab << CM_UNIT_SHIFT);
	cm_write(&desc->nfree, good);
	fx_close(e.heap);
}

static void a_heap_full_of_damage_is_told_of_without_end(void **state)
{
	struct env e = begin();
	cm_word good[32];
	struct found found = {0};

	(void)state;
	for (uint64_t unit = e.split << 6 | 1; unit < (e.split << 6 | 30); unit++) {
		cm_write(&good[unit & 31], cm_read(&e.seg->units[unit]));
		cm_write(&e.seg->units[unit], 0xdd);
	}
	assert_int_equal(comap_heap_check(e.heap, count, &found), -EUCLEAN);
	assert_true(found.n >= 29);
	for (uint64_t unit = e.split << 6 | 1; unit < (e.split << 6 | 30); unit++)
		cm_write(&e.seg->units[unit], (uint8_t)cm_read(&good[unit & 31]));
	fx_close(e.heap);
}

/* Damage that malloc and free meet is an error and is remembered, not followed. */
static void damage_met_by_malloc_and_free_is_euclean(void **state)
{
	struct env e = begin();
	cm_word *list = cm_bin_list(e.seg, cm_class_of(LISTED));
	struct cm_desc_shm *desc = cm_seg_desc(e.seg, e.slab);
	const uint64_t wrong[] = { 1,
				   e.slab,
				   e.run >> CM_UNIT_SHIFT,
				   ~0ull,
				   1ull << 40,
				   cm_seg_limit(e.seg) >> CM_UNIT_SHIFT,
				   e.seg->max_size >> CM_UNIT_SHIFT };
	uint64_t good = cm_read(list);
	void *p;

	(void)state;
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		cm_write(list, wrong[i]);
		errno = 0;
		assert_null(comap_heap_malloc(e.heap, LISTED));
		assert_int_equal(errno, EUCLEAN);
	}
	cm_write(list, good);
	p = comap_heap_malloc(e.heap, 112);
	good = cm_read(&desc->nfree);
	cm_write(&desc->nfree, 0); /* and yet it is in the list */
	errno = 0;
	assert_null(comap_heap_malloc(e.heap, 112));
	assert_int_equal(errno, EUCLEAN);
	cm_write(&desc->nfree, ~0ull);
	errno = 9;
	comap_heap_free(e.heap, p);
	assert_int_equal(errno, 9);
	assert_true(cm_read(&e.seg->super->damages) > 0);
	cm_write(&desc->nfree, good);
	cm_write(&e.seg->super->damages, 0);
	assert_sound(e.heap);
	comap_heap_free(e.heap, p);
	fx_close(e.heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(wrong_sums_are_found),
		KIN_TEST(wrong_segments_are_found),
		KIN_TEST(wrong_units_are_found),
		KIN_TEST(a_unit_free_and_in_use_or_neither_is_found),
		KIN_TEST(wrong_runs_are_found),
		KIN_TEST(wrong_slabs_are_found),
		KIN_TEST(wrong_lists_are_found),
		KIN_TEST(wrong_roots_are_found),
		KIN_TEST(unfinished_business_in_a_free_slot_is_found),
		KIN_TEST(what_is_found_is_told_with_its_place),
		KIN_TEST(a_heap_full_of_damage_is_told_of_without_end),
		KIN_TEST(damage_met_by_malloc_and_free_is_euclean),
		KIN_TEST(a_block_whose_mark_and_descriptor_differ_is_found),
	};

	return cmocka_run_group_tests_name("mend/check", tests, NULL, NULL);
}
