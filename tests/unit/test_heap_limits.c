/*
 * test_heap_limits.c - at every limit there is an error, no signal, and the heap goes on.
 *
 * The ceiling, the quota, RLIMIT_FSIZE, RLIMIT_AS, and the promise that memory comes back.
 * Full storage is test_heap_storage.c.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include "fixture.h"

static const size_t sizes[] = { 16, 100, 1000, 4096, 20000, 65536, 70000, 500000, 4194304, 6000000 };
#define NSIZES (sizeof sizes / sizeof *sizes)

/* Millions of the smallest are too many for valgrind. */
static unsigned first_size(void)
{
	return kin_is_valgrind() ? 2 : 0;
}

/* Allocates blocks of n until NULL, links them, returns how many; errno is the last one's. */
static unsigned fill(comap_heap *heap, size_t n, void **ret_chain)
{
	unsigned count = 0;
	void **p;

	*ret_chain = NULL;
	while ((p = comap_heap_malloc(heap, n))) {
		*p = *ret_chain;
		*ret_chain = p;
		count++;
	}
	return count;
}

static void drain(comap_heap *heap, void *chain)
{
	while (chain) {
		void *next = *(void **)chain;

		comap_heap_free(heap, chain);
		chain = next;
	}
}

static comap_heap *limited(uint64_t max_size, uint64_t quota)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.max_size = max_size;
	opts.quota = quota;
	return fx_heap_with(&opts);
}

/* ---- the ceiling -------------------------------------------------------------------------- */

static void the_ceiling_is_enomem_and_the_heap_goes_on(void **state)
{
	(void)state;
	for (unsigned i = first_size(); i < NSIZES; i++) {
		comap_heap *heap = fx_heap(32 * CM_MIB);
		void *chain, *again;
		unsigned n;

		errno = 0;
		n = fill(heap, sizes[i], &chain);
		assert_int_equal(errno, ENOMEM);
		assert_true(n * sizes[i] >= 14 * CM_MIB); /* most of it was had */
		assert_true(fx_stats(heap).grown <= 32 * CM_MIB);
		assert_sound(heap);
		drain(heap, chain);
		assert_int_equal(fx_live_blocks(heap), 0);
		assert_int_equal(fill(heap, sizes[i], &again), n); /* exactly as much as before */
		drain(heap, again);
		fx_close(heap);
	}
}

/* What empty slabs keep for their class must serve another before there is ENOMEM. */
static void a_heap_with_nothing_live_serves_any_size(void **state)
{
	comap_heap *heap = fx_heap(8 * CM_MIB); /* one segment: 63 units */
	void *p;

	(void)state;
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		errno = 0;
		p = comap_heap_malloc(heap, cm_classes[cls].size);
		if (!p)
			fail_msg("class %u (%u bytes): errno %d with nothing live", cls,
				 cm_classes[cls].size, errno);
		comap_heap_free(heap, p);
	}
	p = comap_heap_malloc(heap, 4 * CM_MIB - 65536);
	assert_non_null(p);
	fx_close(heap);
}

static void a_request_that_cannot_be_met_costs_nothing(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	void *p = comap_heap_malloc(heap, 3000000);
	struct comap_heap_stats before, after;

	(void)state;
	before = fx_stats(heap);
	for (int i = 0; i < 100; i++) {
		assert_null(comap_heap_malloc(heap, 256 * CM_MIB));
		assert_int_equal(errno, ENOMEM);
		assert_null(comap_heap_realloc(heap, p, 300 * CM_MIB));
	}
	after = fx_stats(heap);
	assert_memory_equal(&before, &after, sizeof before);
	fx_close(heap);
}

/* ---- the quota ------------------------------------------------------------------------------ */

static void the_quota_is_enomem_and_never_exceeded(void **state)
{
	(void)state;
	for (unsigned i = first_size(); i < NSIZES; i++) {
		comap_heap *heap = limited(256 * CM_MIB, 12 * CM_MIB);
		void *chain;
		unsigned n;

		errno = 0;
		n = fill(heap, sizes[i], &chain);
		assert_int_equal(errno, ENOMEM);
		assert_true(n * sizes[i] >= 6000000);
		assert_true(fx_stats(heap).committed <= 12 * CM_MIB);
		assert_true(fx_stored(heap) <= 12 * CM_MIB + 256 * CM_KIB); /* and the tables */
		assert_sound(heap);
		drain(heap, chain);
		if (!comap_heap_malloc(heap, sizes[NSIZES - 1 - i]))
			fail_msg("no %zu bytes after those of %zu", sizes[NSIZES - 1 - i], sizes[i]);
		assert_true(fx_stored(heap) <= 12 * CM_MIB + 256 * CM_KIB);
		fx_close(heap);
	}
}

static void the_quota_holds_under_random_load(void **state)
{
	comap_heap *heap = limited(256 * CM_MIB, 10 * CM_MIB);
	uint64_t random = 51, refused = 0;
	void *p[200] = { NULL };

	(void)state;
	for (int i = 0; i < 5000; i++) {
		unsigned k = (unsigned)(fx_random(&random) % 200);
		size_t n = fx_random(&random) % (i % 16 ? 100000 : 3000000);
		void *q = fx_random(&random) % 4 ? comap_heap_realloc(heap, p[k], n + 1)
						 : (comap_heap_free(heap, p[k]), NULL);

		if (q || n == 0)
			p[k] = q;
		else if (fx_random(&random) % 4 == 0) {
			comap_heap_free(heap, p[k]);
			p[k] = NULL;
		}
		refused += q == NULL;
		assert_true(fx_stats(heap).committed <= 10 * CM_MIB);
		for (unsigned j = 0; !q && j < 3; j++) { /* make room */
			k = (unsigned)(fx_random(&random) % 200);
			comap_heap_free(heap, p[k]);
			p[k] = NULL;
		}
	}
	assert_true(refused > 10);
	fx_close(heap);
}

static void the_quota_can_be_changed_while_the_heap_runs(void **state)
{
	comap_heap *heap = limited(256 * CM_MIB, 4 * CM_MIB);
	void *chain, *more;
	unsigned n;

	(void)state;
	assert_int_equal(fx_stats(heap).quota, 4 * CM_MIB);
	n = fill(heap, 500000, &chain);
	assert_true(n >= 6 && n <= 8);
	assert_int_equal(comap_heap_set_quota(heap, 20 * CM_MIB), 0);
	assert_int_equal(fx_stats(heap).quota, 20 * CM_MIB);
	n += fill(heap, 500000, &more);
	assert_true(n >= 30 && n <= 41);
	assert_int_equal(comap_heap_set_quota(heap, CM_MIB), 0); /* below what is in use */
	assert_null(comap_heap_malloc(heap, 500000));
	assert_int_equal(fx_live_blocks(heap), n); /* frees nothing */
	drain(heap, more);
	drain(heap, chain);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_null(comap_heap_malloc(heap, 2000000));
	assert_non_null(comap_heap_malloc(heap, 300000));
	assert_int_equal(comap_heap_set_quota(heap, 0), 0);
	assert_non_null(comap_heap_malloc(heap, 100 * CM_MIB));
	fx_close(heap);
}

static void dirty_pages_make_room_when_the_quota_is_reached(void **state)
{
	comap_heap *heap = limited(256 * CM_MIB, 12 * CM_MIB);
	void *p[3];

	(void)state;
	for (int round = 0; round < 20; round++) {
		p[0] = comap_heap_malloc(heap, round % 2 ? 10 * CM_MIB : 3 * CM_MIB);
		assert_non_null(p[0]);
		memset(p[0], 1, 3 * CM_MIB);
		comap_heap_free(heap, p[0]);
		for (int i = 0; i < 3; i++) {
			p[i] = comap_heap_malloc(heap, 3 * CM_MIB);
			assert_non_null(p[i]);
		}
		for (int i = 0; i < 3; i++)
			comap_heap_free(heap, p[i]);
	}
	fx_close(heap);
}

static void quota_and_ceiling_stop_malloc_to_and_roots_as_well(void **state)
{
	comap_heap *heap = limited(64 * CM_MIB, 2 * CM_MIB);
	comap_ref *cell = comap_heap_calloc(heap, 1, sizeof *cell);
	char name[32];
	void *chain;
	int err = 0;

	(void)state;
	cell->off = 99;
	fill(heap, 500000, &chain);
	for (unsigned cls = CM_CLASSES; cls-- > 0;) {
		void *leaked;

		fill(heap, cm_classes[cls].size, &leaked);
	}
	assert_null(comap_heap_malloc_to(heap, 500000, cell));
	assert_int_equal(errno, ENOMEM);
	assert_true(cell->off == 99);
	for (unsigned i = 0; i < 200 && err == 0; i++) {
		snprintf(name, sizeof name, "root %u", i);
		err = comap_root_set(heap, name, COMAP_NULL);
	}
	assert_int_equal(err, -ENOMEM);
	assert_int_equal(comap_root_set(heap, "root 0", COMAP_NULL), 0); /* no new name */
	assert_sound(heap);
	drain(heap, chain);
	assert_int_equal(comap_root_set(heap, name, COMAP_NULL), 0);
	fx_close(heap);
}

/* ---- resource limits ----------------------------------------------------------------- */

static int runs_into_rlimit_fsize(void *arg)
{
	struct rlimit limit = { 48 * CM_MIB, 48 * CM_MIB };
	comap_heap *heap = arg;
	void *chain, *p;

	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	errno = 0;
	KIN_CHECK(fill(heap, 300000, &chain) > 10);
	KIN_CHECK(errno == ENOSPC); /* and no SIGXFSZ */
	errno = 0;
	KIN_CHECK(comap_heap_malloc(heap, 30 * CM_MIB) == NULL && errno == ENOSPC);
	KIN_CHECK(comap_heap_check(heap, NULL, NULL) == 0);
	drain(heap, chain);
	p = comap_heap_malloc(heap, 5 * CM_MIB);
	KIN_CHECK(p != NULL);
	memset(p, 1, 5 * CM_MIB);
	comap_heap_free(heap, p);
	return 0;
}

static void rlimit_fsize_is_enospc_and_no_signal(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);

	(void)state;
	assert_int_equal(kin_run(runs_into_rlimit_fsize, heap), 0);
	assert_int_equal(fx_live_blocks(heap), 0);
	assert_non_null(comap_heap_malloc(heap, 50 * CM_MIB)); /* we have no such limit */
	fx_close(heap);
}

static int creates_below(void *arg)
{
	struct rlimit limit = { *(rlim_t *)arg, *(rlim_t *)arg };
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = NULL;

	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	opts.max_size = 64 * CM_MIB;
	KIN_CHECK(comap_heap_open_anon(&opts, &heap) == -ENOSPC);
	KIN_CHECK(heap == NULL && comap_heap_open_reason()[0] != '\0');
	return 0;
}

static void creating_below_rlimit_fsize_is_enospc_and_no_signal(void **state)
{
	rlim_t limits[] = { CM_MIB, 65536, 4096, 4095, 1, 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++)
		assert_int_equal(kin_run(creates_below, &limits[i]), 0);
}

/* The file is longer than this process may make it: what lies below is still ours to use. */
static int works_below_its_limit(void *arg)
{
	struct rlimit limit = { 4096, 4096 };
	comap_heap *heap = arg;
	void *p;

	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	for (int i = 0; i < 20; i++) {
		p = comap_heap_malloc(heap, 100000);
		KIN_CHECK(p != NULL);
		memset(p, 1, 100000);
		KIN_CHECK(comap_heap_malloc(heap, 100) != NULL);
		comap_heap_free(heap, p);
		KIN_CHECK(comap_heap_trim(heap) == 0);
	}
	return 0;
}

static void a_longer_file_than_rlimit_fsize_is_no_obstacle(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 40 * CM_MIB));
	assert_int_equal(kin_run(works_below_its_limit, heap), 0);
	assert_sound(heap);
	fx_close(heap);
}

static int runs_into_rlimit_as(void *arg)
{
	struct rlimit limit = { 8 * CM_GIB, 8 * CM_GIB };
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	comap_heap *heap = NULL;

	(void)arg;
	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	opts.max_size = 16 * CM_GIB;
	KIN_CHECK(comap_heap_open_anon(&opts, &heap) == -ENOMEM);
	KIN_CHECK(heap == NULL && comap_heap_open_reason()[0] != '\0');
	KIN_CHECK(comap_heap_open_anon(NULL, &heap) == 0); /* asked for nothing: takes less */
	KIN_CHECK(comap_heap_get_stats(heap, &stats) == 0);
	KIN_CHECK(stats.max_size >= CM_GIB && stats.max_size < 8 * CM_GIB);
	KIN_CHECK(comap_heap_malloc(heap, 100 * CM_MIB) != NULL);
	KIN_CHECK(comap_heap_malloc(heap, 8 * CM_GIB) == NULL && errno == ENOMEM);
	KIN_CHECK(comap_heap_check(heap, NULL, NULL) == 0);
	comap_heap_close(heap);
	return 0;
}

static void rlimit_as_is_enomem_or_a_smaller_ceiling(void **state)
{
	(void)state;
	if (kin_is_valgrind() || FX_IS_SANITIZED)
		skip();
	assert_int_equal(kin_run(runs_into_rlimit_as, NULL), 0);
}

/* free cannot fail: not even the first call of a thread that gets no page for its seat. */
static int frees_without_memory(void *arg)
{
	void **p = arg;
	comap_heap *heap = p[0];
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	struct rlimit limit = { 0, 0 };

	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	errno = 6;
	comap_heap_free(heap, p[1]);
	KIN_CHECK(errno == 6);
	KIN_CHECK(comap_heap_get_stats(heap, &stats) == 0);
	KIN_CHECK(stats.live_blocks == 0);
	return 0;
}

static void free_works_in_a_process_without_address_space(void **state)
{
	comap_heap *others[20], *heap;
	struct cm_self self = {0};
	uint64_t off = 0;
	void *p[2];

	(void)state;
	if (kin_is_valgrind() || FX_IS_SANITIZED)
		skip();
	for (unsigned i = 0; i < 20; i++) /* so that ours is a handle this thread has no seat for */
		others[i] = fx_heap(8 * CM_MIB);
	heap = fx_heap(64 * CM_MIB);
	p[0] = heap;
	/* from beneath, for the same reason */
	assert_int_equal(cm_life_enter(&heap->seg.life, &self), 0);
	assert_int_equal(cm_slab_alloc(&heap->seg, &self, 5, NULL, &off), 0);
	cm_life_leave(&self);
	p[1] = cm_seg_at(&heap->seg, off);
	assert_int_equal(kin_run(frees_without_memory, p), 0);
	comap_heap_close(heap);
	for (unsigned i = 0; i < 20; i++)
		comap_heap_close(others[i]);
}

/* ---- memory comes back --------------------------------------------------------------- */

/* What a heap with nothing live must still store, page by page. */
static uint64_t tables_of(comap_heap *heap)
{
	const struct cm_fixed_shm *f = &heap->seg.super->fixed;
	uint64_t first = heap->seg.data_off, limit = cm_seg_limit(&heap->seg), bytes = CM_SLOTS_OFF;

	bytes += cm_life_nused(&heap->seg.life) * CM_SLOT_COMMIT;
	for (uint32_t i = 0; i < cm_life_nused(&heap->seg.life); i++) /* rings that were once used */
		bytes += cm_popcount(cm_read(
				 &cm_magazines(cm_life_slot(&heap->seg.life, i))->ring_pages)) *
			 CM_PAGE;
	bytes += cm_round_up(f->units_off + (limit >> 16), 4096) -
		 ((f->units_off + (first >> 16)) & ~4095ull);
	bytes += cm_round_up(f->segments_off + (limit >> 22) * 8, 4096) -
		 ((f->segments_off + (first >> 22) * 8) & ~4095ull);
	return bytes;
}

static void churn(comap_heap *heap, uint64_t seed, int steps)
{
	uint64_t random = seed;
	void *p[300] = { NULL };

	for (int i = 0; i < steps; i++) {
		unsigned k = (unsigned)(fx_random(&random) % 300);
		size_t n = fx_random(&random) % (i % 64 ? i % 8 ? 2000 : 200000 : 9000000);

		switch (fx_random(&random) % 4) {
		case 0:
			p[k] = comap_heap_realloc(heap, p[k], n + 1);
			break;
		case 1:
			comap_heap_free(heap, p[k]);
			p[k] = comap_heap_calloc(heap, 1, n);
			break;
		case 2:
			comap_heap_free(heap, p[k]);
			p[k] = comap_heap_memalign(heap, (size_t)1 << fx_random(&random) % 17, n + 1);
			break;
		default:
			comap_heap_free(heap, p[k]);
			p[k] = NULL;
			continue;
		}
		assert_non_null(p[k]);
		((char *)p[k])[n ? n - 1 : 0] = 1;
	}
	for (unsigned k = 0; k < 300; k++)
		comap_heap_free(heap, p[k]);
}

static void after_free_and_trim_only_the_tables_are_stored(void **state)
{
	comap_heap *heap = fx_heap(512 * CM_MIB);

	(void)state;
	assert_int_equal(fx_stored(heap), CM_SLOTS_OFF + CM_SLOT_COMMIT);
	for (uint64_t seed = 1; seed < 6; seed++) {
		churn(heap, seed, 2000);
		assert_true(fx_stored(heap) > tables_of(heap));
		assert_int_equal(fx_live_blocks(heap), 0);
		assert_int_equal(comap_heap_trim(heap), 0);
		assert_int_equal(fx_stats(heap).committed, 0);
		/* no page more: a stray load in a hole would have left one */
		assert_int_equal(fx_stored(heap), tables_of(heap));
		assert_sound(heap);
	}
	fx_close(heap);
}

static int sees(void *ptr, size_t size, void *arg)
{
	(void)ptr;
	*(uint64_t *)arg += size;
	return 0;
}

static void looking_around_touches_no_hole(void **state)
{
	comap_heap *heap = fx_heap(512 * CM_MIB);
	struct fx_misuse seen;
	uint64_t before, bytes = 0, random = 61;
	struct comap_root_iter iter = {0};
	void *kept[20];
	comap_ref ref;

	(void)state;
	fx_watch_misuse(heap, &seen);
	for (unsigned i = 0; i < 20; i++)
		kept[i] = comap_heap_malloc(heap, (size_t)1 << i);
	assert_int_equal(comap_root_set(heap, "kept", comap_heap_ref(heap, kept[3])), 0);
	churn(heap, 7, 2000);
	assert_int_equal(comap_heap_trim(heap), 0);
	before = fx_stored(heap);
	for (int round = 0; round < 3; round++) {
		assert_sound(heap);
		(void)fx_stats(heap);
		assert_int_equal(comap_heap_walk(heap, sees, &bytes), 0);
		assert_int_equal(comap_root_get(heap, "kept", &ref), 0);
		assert_int_equal(comap_root_get(heap, "no", &ref), -ENOENT);
		while (comap_root_next(heap, &iter) == 1)
			;
		assert_int_equal(comap_heap_reap(heap), 0);
		for (int i = 0; i < 20000; i++) { /* any number, and any address */
			uint64_t off = fx_random(&random) % (heap->seg.max_size + 8 * CM_MIB) & ~7ull;

			(void)comap_heap_at_checked(heap, (comap_ref){ off }, 1);
			(void)comap_heap_usable_size(heap, heap->seg.base + off);
			if (i % 100 == 0 && !cm_place_of(&heap->seg, off).size)
				comap_heap_free(heap, heap->seg.base + off);
		}
		assert_int_equal(fx_stored(heap), before);
	}
	assert_int_equal(fx_live_blocks(heap), 20);
	fx_close(heap);
}

static void the_dirty_cap_bounds_what_is_kept(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;

	(void)state;
	opts.max_size = 512 * CM_MIB;
	opts.dirty_max = 3 * CM_MIB;
	heap = fx_heap_with(&opts);
	churn(heap, 8, 3000);
	assert_int_equal(fx_live_blocks(heap), 0);
	assert_true(fx_stats(heap).dirty <= opts.dirty_max);
	/* empty slabs that stay are not dirty pages: at most one a class */
	assert_true(fx_stored(heap) <= fx_stats(heap).committed + tables_of(heap));
	fx_close(heap);
}

/* Is there storage behind every page?  Then a touch adds none. */
static bool has_storage(comap_heap *heap, volatile char *p, size_t size)
{
	uint64_t before = fx_stored(heap);

	for (size_t at = 0; at < size; at += 4096)
		p[at] = 1;
	p[size - 1] = 1;
	return fx_stored(heap) == before;
}

/* What is known of storage is never more than there is: the first touch of each
 * block adds none, through splits, whole segments, shrinking, growing, trimming. */
static void every_block_has_its_storage(void **state)
{
	comap_heap *heap = fx_heap(2 * CM_GIB);
	uint64_t random = 99, r;
	char *p[40] = {0};
	unsigned i;
	size_t size;

	(void)state;
	for (unsigned turn = 0; turn < 6000; turn++) {
		r = fx_random(&random);
		i = (unsigned)(r % 40);
		size = 1 + (r >> 8) % (turn % 3 == 0 ? 14 * CM_MIB : turn % 3 == 1 ? 4 * CM_MIB : 400000);
		if (r >> 40 & 1) {
			comap_heap_free(heap, p[i]);
			p[i] = comap_heap_malloc(heap, size);
		} else {
			p[i] = comap_heap_realloc(heap, p[i], size);
		}
		assert_non_null(p[i]);
		if (!has_storage(heap, p[i], comap_heap_usable_size(heap, p[i])))
			fail_msg("turn %u: a block of %zu bytes has not all its storage", turn, size);
		if (turn % 61 == 0)
			assert_int_equal(comap_heap_trim(heap), 0);
		if (turn % 500 == 0)
			assert_sound(heap);
		if (turn % 97 == 0)
			for (i = 0; i < 40; i++) {
				comap_heap_free(heap, p[i]);
				p[i] = NULL;
			}
	}
	fx_close(heap);
}

/* A copy has holes where there was storage never written: cp(1) does that. */
static int sparse_copy(int from)
{
	static char bytes[65536];
	int to = memfd_create("copy", MFD_CLOEXEC);
	off_t at = 0, end;
	ssize_t n;

	assert_true(to >= 0);
	assert_int_equal(ftruncate(to, lseek(from, 0, SEEK_END)), 0);
	while ((at = lseek(from, at, SEEK_DATA)) >= 0)
		for (end = lseek(from, at, SEEK_HOLE); at < end; at += n) {
			n = pread(from, bytes, (size_t)cm_min(sizeof bytes, (uint64_t)(end - at)), at);
			assert_true(n > 0 && pwrite(to, bytes, (size_t)n, at) == n);
		}
	return to;
}

static void a_copied_heap_asks_for_storage_again(void **state)
{
	comap_heap *heap = fx_heap(CM_GIB);
	static const size_t bytes[] = { 40 * CM_MIB, 3 * CM_MIB, 300000, 60000 };
	void *p[4];
	int fd, copy;

	(void)state;
	assert_non_null(comap_heap_malloc(heap, 100));
	for (unsigned i = 0; i < 4; i++)
		assert_non_null(p[i] = comap_heap_malloc(heap, bytes[i]));
	for (unsigned i = 0; i < 4; i++)
		comap_heap_free(heap, p[i]);
	fd = dup(comap_heap_fd(heap));
	fx_close(heap);
	copy = sparse_copy(fd);
	close(fd);
	assert_int_equal(comap_heap_open_fd(copy, NULL, &heap), 0);
	close(copy);
	for (unsigned i = 0; i < 4; i++) {
		p[i] = comap_heap_malloc(heap, bytes[i]);
		assert_non_null(p[i]);
		if (!has_storage(heap, p[i], comap_heap_usable_size(heap, p[i])))
			fail_msg("%zu bytes have not all their storage", bytes[i]);
	}
	assert_sound(heap);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(the_ceiling_is_enomem_and_the_heap_goes_on),
		KIN_TEST(a_heap_with_nothing_live_serves_any_size),
		KIN_TEST(a_request_that_cannot_be_met_costs_nothing),
		KIN_TEST(the_quota_is_enomem_and_never_exceeded),
		KIN_TEST(the_quota_holds_under_random_load),
		KIN_TEST(the_quota_can_be_changed_while_the_heap_runs),
		KIN_TEST(dirty_pages_make_room_when_the_quota_is_reached),
		KIN_TEST(quota_and_ceiling_stop_malloc_to_and_roots_as_well),
		KIN_TEST(rlimit_fsize_is_enospc_and_no_signal),
		KIN_TEST(creating_below_rlimit_fsize_is_enospc_and_no_signal),
		KIN_TEST(a_longer_file_than_rlimit_fsize_is_no_obstacle),
		KIN_TEST(rlimit_as_is_enomem_or_a_smaller_ceiling),
		KIN_TEST(free_works_in_a_process_without_address_space),
		KIN_TEST(after_free_and_trim_only_the_tables_are_stored),
		KIN_TEST(looking_around_touches_no_hole),
		KIN_TEST(the_dirty_cap_bounds_what_is_kept),
		KIN_TEST(every_block_has_its_storage),
		KIN_TEST(a_copied_heap_asks_for_storage_again),
	};

	return cmocka_run_group_tests_name("heap/limits", tests, NULL, NULL);
}
