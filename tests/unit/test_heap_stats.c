/* test_heap_stats.c - figures, walk and slots say what is there: against an accounting of our
 * own. */
#include <pthread.h>
#include "fixture.h"

#define MOST 2000

struct shadow {
	comap_heap *heap;
	uint64_t random;
	void *p[MOST];
	unsigned n;
};

static void add(struct shadow *s, size_t size)
{
	assert_true(s->n < MOST);
	s->p[s->n] = comap_heap_malloc(s->heap, size);
	assert_non_null(s->p[s->n++]);
}

static void drop(struct shadow *s, unsigned i)
{
	comap_heap_free(s->heap, s->p[i]);
	s->p[i] = s->p[--s->n];
}

static size_t size_of(struct shadow *s)
{
	uint64_t r = fx_random(&s->random);

	return r % 64 == 0 ? (r >> 8) % (9 * CM_MIB) : r % 8 == 0 ? (r >> 8) % 300000 : (r >> 8) % 3000;
}

static void churn(struct shadow *s, int steps)
{
	for (int i = 0; i < steps; i++)
		if (s->n < 300 && (s->n == 0 || fx_random(&s->random) % 5 < 3))
			add(s, size_of(s));
		else
			drop(s, (unsigned)(fx_random(&s->random) % s->n));
}

static void assert_figures(struct shadow *s)
{
	struct comap_heap_stats got = fx_stats(s->heap);
	uint64_t bytes = 0, large = 0, large_bytes = 0, by_class[COMAP_CLASSES] = {0}, free_in_slabs = 0;

	for (unsigned i = 0; i < s->n; i++) {
		size_t usable = comap_heap_usable_size(s->heap, s->p[i]);

		bytes += usable;
		if (usable > 65536) {
			large++;
			large_bytes += usable;
		} else {
			by_class[cm_class_of(usable)]++;
		}
	}
	assert_int_equal(got.live_blocks, s->n);
	assert_int_equal(got.live_bytes, bytes);
	assert_int_equal(got.large_blocks, large);
	assert_int_equal(got.large_bytes, large_bytes);
	for (unsigned c = 0; c < COMAP_CLASSES; c++) {
		assert_int_equal(got.classes[c].block_size, cm_classes[c].size);
		assert_int_equal(got.classes[c].live, by_class[c]);
		assert_int_equal(got.classes[c].live + got.classes[c].free + got.classes[c].cached,
				 got.classes[c].slabs * cm_classes[c].blocks);
		free_in_slabs += got.classes[c].free * cm_classes[c].size;
	}
	assert_true(got.free_bytes >= free_in_slabs);
	assert_true(got.free_bytes + got.live_bytes <= got.grown);
	assert_true(got.largest_free <= got.free_bytes);
	assert_true(got.dirty <= got.committed && got.committed <= got.grown);
	assert_true(got.live_bytes <= got.committed);
	assert_true(got.grown <= got.max_size);
}

static void figures_equal_a_shadow_accounting(void **state)
{
	struct shadow s = { .heap = fx_heap(256 * CM_MIB), .random = 31 };

	(void)state;
	assert_figures(&s);
	for (int i = 0; i < 40; i++) {
		churn(&s, 100);
		assert_figures(&s);
		if (i % 10 == 0)
			assert_int_equal(comap_heap_trim(s.heap), 0);
	}
	while (s.n)
		drop(&s, 0);
	assert_figures(&s);
	assert_int_equal(comap_heap_trim(s.heap), 0);
	assert_figures(&s);
	/* all that lies behind the tables is free, and nothing is stored there */
	assert_true(fx_stats(s.heap).free_bytes == fx_stats(s.heap).grown - s.heap->seg.data_off);
	assert_true(fx_stats(s.heap).committed == 0 && fx_stats(s.heap).dirty == 0);
	fx_close(s.heap);
}

static void committed_is_an_upper_bound_of_what_is_stored(void **state)
{
	struct shadow s = { .heap = fx_heap(512 * CM_MIB), .random = 32 };
	uint64_t tables;

	(void)state;
	add(&s, 10); /* the slot, and the tables' pages */
	add(&s, 100 * CM_MIB);
	drop(&s, 1);
	drop(&s, 0);
	assert_int_equal(comap_heap_trim(s.heap), 0);
	tables = fx_stored(s.heap);
	for (int i = 0; i < 40; i++) {
		churn(&s, 50);
		assert_true(fx_stored(s.heap) <= fx_stats(s.heap).committed + tables);
	}
	fx_close(s.heap);
}

/* A block of whole segments counted by its pages, though its last segment kept the
 * storage of a larger block before it. */
static void storage_in_the_tail_of_a_huge_block_is_not_forgotten(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	uint64_t tables;
	comap_heap *heap;
	void *p;

	(void)state;
	opts.max_size = 256 * CM_MIB;
	opts.quota = 32 * CM_MIB;
	heap = fx_heap_with(&opts);
	comap_heap_free(heap, comap_heap_malloc(heap, 16));
	assert_int_equal(comap_heap_trim(heap), 0);
	tables = fx_stored(heap);
	p = comap_heap_malloc(heap, 16 * CM_MIB);
	assert_non_null(p);
	comap_heap_free(heap, p); /* 16 MiB are dirty */
	for (int i = 0; i < 2; i++) {
		p = comap_heap_malloc(heap, 4 * CM_MIB + 1);
		assert_non_null(p);
	}
	while (comap_heap_malloc(heap, CM_MIB))
		;
	assert_true(fx_stored(heap) <= fx_stats(heap).committed + tables);
	assert_true(fx_stored(heap) <= opts.quota + tables);
	fx_close(heap);
}

static void the_largest_free_block_can_be_had(void **state)
{
	struct shadow s = { .heap = fx_heap(256 * CM_MIB), .random = 33 };
	unsigned tried = 0;

	(void)state;
	for (int i = 0; i < 60; i++) {
		struct comap_heap_stats stats;
		void *p;

		churn(&s, 60);
		if (i % 7 == 0)
			assert_int_equal(comap_heap_trim(s.heap), 0);
		stats = fx_stats(s.heap);
		if (stats.largest_free <= 65536)
			continue;
		p = comap_heap_malloc(s.heap, stats.largest_free);
		assert_non_null(p);
		assert_true(fx_stats(s.heap).grown == stats.grown);
		comap_heap_free(s.heap, p);
		tried++;
	}
	assert_true(tried > 20);
	fx_close(s.heap);
}

static void the_largest_free_block_may_lie_in_a_slab(void **state)
{
	comap_heap *heap = fx_heap(8 * CM_MIB); /* one segment */
	void *last = NULL, *p;

	(void)state;
	while ((p = comap_heap_malloc(heap, 65536)))
		last = p;
	while (comap_heap_malloc(heap, 16))
		;
	comap_heap_free(heap, last);
	assert_int_equal(fx_stats(heap).largest_free, 65536);
	fx_close(heap);
}

static void a_full_heap_has_nothing_free(void **state)
{
	comap_heap *heap = fx_heap(16 * CM_MIB);
	struct comap_heap_stats stats;

	(void)state;
	for (unsigned cls = CM_CLASSES; cls-- > 0;)
		while (comap_heap_malloc(heap, cm_classes[cls].size))
			;
	stats = fx_stats(heap);
	assert_true(stats.grown == stats.max_size);
	assert_int_equal(stats.largest_free, 0);
	assert_int_equal(stats.free_bytes, 0);
	fx_close(heap);
}

static void stats_of_another_size_are_einval(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;

	(void)state;
	stats.size = 0;
	assert_int_equal(comap_heap_get_stats(heap, &stats), -EINVAL);
	stats.size = sizeof stats + 8;
	assert_int_equal(comap_heap_get_stats(heap, &stats), -EINVAL);
	stats.size = 4;
	assert_int_equal(comap_heap_get_stats(heap, &stats), -EINVAL);
	assert_int_equal(stats.live_blocks, 0);
	fx_close(heap);
}

static void options_show_in_the_figures(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct comap_heap_stats stats;
	comap_heap *heap;

	(void)state;
	opts.max_size = 100 * CM_MIB;
	opts.slots = 33;
	opts.quota = 10 * CM_MIB;
	heap = fx_heap_with(&opts);
	stats = fx_stats(heap);
	assert_int_equal(stats.size, sizeof stats);
	assert_int_equal(stats.max_size, 100 * CM_MIB);
	assert_int_equal(stats.slots, 33);
	assert_int_equal(stats.quota, 10 * CM_MIB);
	assert_int_equal(stats.slots_live, 0); /* opening takes no slot */
	assert_int_equal(comap_heap_set_quota(heap, 0), 0);
	assert_true(fx_stats(heap).quota == UINT64_MAX);
	assert_int_equal(fx_stats(heap).slots_live, 1);
	fx_close(heap);
}

/* ---- walk -------------------------------------------------------------------------------- */

struct seen {
	struct shadow *s;
	bool is_seen[MOST];
	unsigned n;
	int stop_at;
};

static int see(void *ptr, size_t size, void *arg)
{
	struct seen *seen = arg;

	for (unsigned i = 0; i < seen->s->n; i++)
		if (seen->s->p[i] == ptr) {
			assert_false(seen->is_seen[i]);
			seen->is_seen[i] = true;
			assert_int_equal(size, comap_heap_usable_size(seen->s->heap, ptr));
			seen->n++;
			return (int)seen->n == seen->stop_at ? 1234 : 0;
		}
	fail_msg("the walk sees a block nobody has");
	return -1;
}

static void a_walk_sees_each_live_block_once(void **state)
{
	struct shadow s = { .heap = fx_heap(256 * CM_MIB), .random = 34 };

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct seen seen = { .s = &s };

		assert_int_equal(comap_heap_walk(s.heap, see, &seen), 0);
		assert_int_equal(seen.n, s.n);
		churn(&s, 100);
	}
	fx_close(s.heap);
}

static void a_walk_stops_when_told_and_says_why(void **state)
{
	struct shadow s = { .heap = fx_heap(256 * CM_MIB), .random = 35 };

	(void)state;
	add(&s, 10);
	add(&s, 10);
	add(&s, 1000);
	add(&s, 200000);
	add(&s, 5 * CM_MIB);
	add(&s, 5 * CM_MIB);
	for (int stop = 1; stop <= 6; stop++) {
		struct seen seen = { .s = &s, .stop_at = stop };

		assert_int_equal(comap_heap_walk(s.heap, see, &seen), 1234);
		assert_int_equal(seen.n, stop);
	}
	fx_close(s.heap);
}

struct freeing {
	comap_heap *heap;
	unsigned n;
};

static int frees_it(void *ptr, size_t size, void *arg)
{
	struct freeing *f = arg;

	(void)size;
	comap_heap_free(f->heap, ptr);
	f->n++;
	return 0;
}

static void a_walk_may_free_what_it_sees(void **state)
{
	struct shadow s = { .heap = fx_heap(256 * CM_MIB), .random = 36 };
	struct freeing f = { .heap = s.heap };

	(void)state;
	churn(&s, 1500);
	assert_int_equal(comap_heap_walk(s.heap, frees_it, &f), 0);
	assert_int_equal(f.n, s.n);
	assert_int_equal(fx_live_blocks(s.heap), 0);
	assert_int_equal(fx_stats(s.heap).misuses, 0);
	fx_close(s.heap);
}

/* The slab under the walk's feet goes back to the system with its segment's header: from
 * then on its map reads as "all in use". */
static void a_walk_that_frees_sees_no_ghosts(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct freeing f = {0};
	void *p[64];
	unsigned n = 0;
	uint64_t segment;

	(void)state;
	opts.max_size = 64 * CM_MIB;
	opts.dirty_max = 1; /* empty units are punched at once */
	opts.flags = COMAP_HEAP_LEAN; /* blocks in the order of their addresses */
	f.heap = fx_heap_with(&opts);
	/* a segment full of slabs of 16-byte blocks, of which the last keeps only its first block;
	 * then one slab more, so that no slab of it is the class's last */
	for (segment = 0; n < 64; n++) {
		for (unsigned i = 0; i < 4096; i++) {
			void *q = comap_heap_malloc(f.heap, 16);

			assert_non_null(q);
			if (i == 0)
				p[n] = q;
		}
		segment = cm_off_of(&f.heap->seg, p[0]) >> CM_SEGMENT_SHIFT;
		assert_int_equal(cm_off_of(&f.heap->seg, p[n]) >> CM_SEGMENT_SHIFT, segment + (n == 63));
	}
	comap_heap_free(f.heap, (char *)p[63] + 16); /* so that it is in the class's list */
	for (unsigned s = 0; s < 63; s++)
		for (unsigned i = s < 62 ? 0 : 1; i < 4096; i++)
			comap_heap_free(f.heap, (char *)p[s] + i * 16);
	assert_int_equal(fx_live_blocks(f.heap), 1 + 4095);
	assert_int_equal(comap_heap_walk(f.heap, frees_it, &f), 0);
	assert_int_equal(f.n, 1 + 4095);
	assert_int_equal(fx_stats(f.heap).misuses, 0);
	fx_close(f.heap);
}

static int allocates_more(void *ptr, size_t size, void *arg)
{
	struct freeing *f = arg;

	(void)ptr;
	(void)size;
	if (f->n++ < 50)
		assert_non_null(comap_heap_malloc(f->heap, 100));
	return f->n > 10000;
}

static void a_walk_may_allocate_and_ends_all_the_same(void **state)
{
	struct freeing f = { .heap = fx_heap(64 * CM_MIB) };

	(void)state;
	assert_non_null(comap_heap_malloc(f.heap, 100));
	assert_int_equal(comap_heap_walk(f.heap, allocates_more, &f), 0);
	fx_close(f.heap);
}

/* ---- slots --------------------------------------------------------------------------------- */

struct one {
	struct comap_slot_info info;
	unsigned n;
};

static int copy(const struct comap_slot_info *info, void *arg)
{
	struct one *one = arg;

	one->info = *info;
	one->n++;
	return 0;
}

static int stops(const struct comap_slot_info *info, void *arg)
{
	(void)info;
	(void)arg;
	return -77;
}

static void a_slot_says_who_and_how_much(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct one one = { .n = 0 };
	char name[16];
	void *p;

	(void)state;
	assert_int_equal(comap_heap_slots(heap, copy, &one), 0);
	assert_int_equal(one.n, 0);
	p = comap_heap_malloc(heap, 100);
	assert_non_null(comap_heap_malloc(heap, 100000));
	comap_heap_free(heap, p);
	assert_int_equal(comap_heap_slots(heap, copy, &one), 0);
	assert_int_equal(one.n, 1);
	cm_os_thread_name(name);
	assert_string_equal(one.info.name, name);
	assert_int_equal(one.info.tgid, getpid());
	assert_int_equal(one.info.tid, cm_os_tid());
	assert_int_equal(one.info.is_dead, 0);
	assert_int_equal(one.info.mallocs, 2);
	assert_int_equal(one.info.frees, 1);
	assert_true(one.info.bytes >= 100 + 100000 && one.info.bytes <= 112 + 102400);
	assert_int_equal(comap_heap_slots(heap, stops, NULL), -77);
	fx_close(heap);
}

static void *uses_and_ends(void *arg)
{
	KIN_CHECK(comap_heap_malloc(arg, 10) != NULL);
	return NULL;
}

static void a_thread_that_ends_gives_its_slot_back(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(pthread_create(&thread, NULL, uses_and_ends, heap), 0);
		pthread_join(thread, NULL);
		assert_int_equal(fx_stats(heap).slots_live, 0);
		assert_int_equal(fx_stats(heap).slots_dead, 0);
	}
	assert_int_equal(cm_life_nused(&heap->seg.life), 2);
	fx_close(heap);
}

static int dies(void *arg)
{
	KIN_CHECK(comap_heap_malloc(arg, 10) != NULL);
	kin_die();
	return 0;
}

static void a_dead_slot_is_counted_as_dead(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct one one = { .n = 0 };

	(void)state;
	assert_non_null(comap_heap_malloc(heap, 10));
	assert_int_equal(kin_run(dies, heap), -SIGKILL);
	assert_int_equal(fx_stats(heap).slots_live, 1);
	assert_int_equal(fx_stats(heap).slots_dead, 1);
	assert_int_equal(comap_heap_slots(heap, copy, &one), 0);
	assert_int_equal(one.n, 2);
	assert_int_equal(one.info.is_dead, 1);
	assert_int_equal(comap_heap_reap(heap), 1);
	assert_int_equal(fx_stats(heap).slots_dead, 0);
	assert_int_equal(fx_stats(heap).deaths, 1);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(figures_equal_a_shadow_accounting),
		KIN_TEST(committed_is_an_upper_bound_of_what_is_stored),
		KIN_TEST(storage_in_the_tail_of_a_huge_block_is_not_forgotten),
		KIN_TEST(the_largest_free_block_can_be_had),
		KIN_TEST(the_largest_free_block_may_lie_in_a_slab),
		KIN_TEST(a_full_heap_has_nothing_free),
		KIN_TEST(stats_of_another_size_are_einval),
		KIN_TEST(options_show_in_the_figures),
		KIN_TEST(a_walk_sees_each_live_block_once),
		KIN_TEST(a_walk_stops_when_told_and_says_why),
		KIN_TEST(a_walk_may_free_what_it_sees),
		KIN_TEST(a_walk_that_frees_sees_no_ghosts),
		KIN_TEST(a_walk_may_allocate_and_ends_all_the_same),
		KIN_TEST(a_slot_says_who_and_how_much),
		KIN_TEST(a_thread_that_ends_gives_its_slot_back),
		KIN_TEST(a_dead_slot_is_counted_as_dead),
	};

	return cmocka_run_group_tests_name("heap/stats", tests, NULL, NULL);
}
