/*
 * test_heap_advise.c - what options and comap_heap_advise ask of the kernel arrives there, gives no
 * hole storage and changes no byte.
 */
#include <sys/resource.h>
#include <sys/syscall.h>
#include "fixture.h"

#define CEILING (64 * CM_MIB)

#define MPOL_PREFERRED 1 /* <linux/mempolicy.h> */
#define MPOL_BIND 2
#define MPOL_INTERLEAVE 3
#define MPOL_F_ADDR 2

/* ---- what the kernel says ------------------------------------------------------------- */

struct region {
	uint64_t rss_kib;
	char flags[256]; /* " rd wr sh ... " */
};

/* Of /proc/self/smaps, where at lies. */
static struct region region_of(const void *at)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	struct region region = { 0 };
	char line[4352];
	uint64_t start, end, kib;
	bool is_ours = false;

	KIN_CHECK(file != NULL);
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			is_ours = start <= (uintptr_t)at && (uintptr_t)at < end;
		if (is_ours && sscanf(line, "Rss: %lu kB", &kib) == 1)
			region.rss_kib = kib;
		if (is_ours && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(region.flags, sizeof region.flags, "%.250s", line + 8);
	}
	fclose(file);
	return region;
}

static bool has_flag(const void *at, const char *flag)
{
	struct region region = region_of(at);
	char want[8];

	snprintf(want, sizeof want, " %s ", flag);
	return strstr(region.flags, want) != NULL;
}

/* Valgrind's smaps, for one, has none. */
static bool has_flags_at_all(comap_heap *heap)
{
	return has_flag(heap->seg.base, "sh");
}

static char *first_block_of(comap_heap *heap)
{
	return heap->seg.base + heap->seg.data_off;
}

/* ---- heaps ------------------------------------------------------------------------------ */

static struct comap_heap_opts opts_of(uint32_t flags)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.max_size = CEILING;
	opts.flags = flags;
	return opts;
}

/* Opens and closes; what open said. */
static int try_opts(const struct comap_heap_opts *opts)
{
	comap_heap *heap = NULL;
	int err = comap_heap_open_anon(opts, &heap);

	if (err == 0) {
		assert_non_null(comap_heap_malloc(heap, 100));
		fx_close(heap);
	} else {
		assert_null(heap);
		assert_true(comap_heap_open_reason()[0] != '\0');
	}
	return err;
}

/* A memfd heap, or one in a file of dir. */
static comap_heap *create(const char *dir)
{
	struct comap_heap_opts opts = opts_of(COMAP_HEAP_CREATE);
	comap_heap *heap = NULL;

	opts.dirty_max = 1; /* what is freed becomes a hole */
	if (!dir)
		opts.flags = 0;
	assert_int_equal(dir ? comap_heap_open(fx_path(dir, "heap"), &opts, &heap)
			     : comap_heap_open_anon(&opts, &heap),
			 0);
	return heap;
}

/* Three blocks with a hole in their midst: the middle one is freed again. */
static void fill_around_a_hole(comap_heap *heap, char *ret_kept[2])
{
	char *hole;

	ret_kept[0] = comap_heap_malloc(heap, 5 * CM_MIB);
	hole = comap_heap_malloc(heap, 9 * CM_MIB);
	ret_kept[1] = comap_heap_malloc(heap, 5 * CM_MIB);
	assert_true(ret_kept[0] && hole && ret_kept[1]);
	memset(hole, 1, 9 * CM_MIB);
	for (unsigned i = 0; i < 2; i++)
		fx_fill(ret_kept[i], 5 * CM_MIB, i);
	comap_heap_free(heap, hole);
	assert_int_equal(comap_heap_trim(heap), 0);
}

/* ---- flags -------------------------------------------------------------------------------- */

static void each_flag_and_all_of_them_open(void **state)
{
	const uint32_t flags[] = { COMAP_HEAP_HUGE, COMAP_HEAP_POPULATE,
				   COMAP_HEAP_HUGE | COMAP_HEAP_POPULATE };

	(void)state;
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
		struct comap_heap_opts opts = opts_of(flags[i]);

		assert_int_equal(try_opts(&opts), 0);
		cm_os_no_memfd = true;
		assert_int_equal(try_opts(&opts), 0);
		cm_os_no_memfd = false;
	}
}

static void huge_is_advice_for_blocks_and_not_for_tables(void **state)
{
	struct comap_heap_opts opts = opts_of(COMAP_HEAP_HUGE);
	comap_heap *heap = fx_heap_with(&opts), *plain = NULL;
	bool has_thp = access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;

	(void)state;
	if (!has_thp || !has_flags_at_all(heap)) {
		fx_close(heap);
		skip();
	}
	assert_true(has_flag(first_block_of(heap), "hg"));
	assert_true(has_flag(heap->seg.base + CEILING - 1, "hg"));
	assert_false(has_flag(heap->seg.base, "hg"));
	assert_true(has_flag(first_block_of(heap), "dd")); /* still in no core dump */
	/* others choose for themselves */
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), NULL, &plain), 0);
	assert_false(has_flag(first_block_of(plain), "hg"));
	fx_close(plain);
	fx_close(heap);
}

/* ulimit -l; and valgrind knows no mlock2. */
static bool cannot_lock(int err)
{
	return err == -EPERM || err == -ENOMEM || (err == -ENOSYS && kin_is_valgrind());
}

static void locked_pages_are_those_that_come(void **state)
{
	struct comap_heap_opts opts = opts_of(COMAP_HEAP_LOCK);
	comap_heap *heap = NULL;
	char *kept[2];
	int err = comap_heap_open_anon(&opts, &heap);

	(void)state;
	if (cannot_lock(err))
		skip();
	assert_int_equal(err, 0);
	assert_true(fx_stored(heap) <= 128 * CM_KIB); /* nothing came by itself */
	if (has_flags_at_all(heap)) {
		assert_true(has_flag(heap->seg.base, "lo") && has_flag(heap->seg.base, "lf"));
		assert_true(has_flag(first_block_of(heap), "lo"));
	}
	/* holes are still punched, and others advised upon what is locked are told */
	fill_around_a_hole(heap, kept);
	assert_true(fx_stored(heap) < 11 * CM_MIB);
	assert_int_equal(comap_heap_advise(heap, kept[0], 5 * CM_MIB, COMAP_ADVICE_PAGEOUT),
			 -EOPNOTSUPP);
	assert_int_equal(comap_heap_advise(heap, kept[0], 5 * CM_MIB, COMAP_ADVICE_COLD), -EOPNOTSUPP);
	assert_int_equal(comap_heap_advise(heap, kept[0], 5 * CM_MIB, COMAP_ADVICE_WILLNEED), 0);
	assert_true(fx_is_filled(kept[0], 5 * CM_MIB, 0));
	assert_true(fx_is_filled(kept[1], 5 * CM_MIB, 1));
	fx_close(heap);
	/* an anonymous mapping could not be punched any more */
	cm_os_no_memfd = true;
	assert_int_equal(try_opts(&opts), -EOPNOTSUPP);
	cm_os_no_memfd = false;
}

static int opens_locked_without_the_right(void *arg)
{
	static const uint64_t limits[] = { CEILING / 2, 0 };
	struct comap_heap_opts opts = opts_of(COMAP_HEAP_LOCK);
	comap_heap *heap = NULL;
	struct kin_tally before = kin_tally();

	(void)arg;
	if (geteuid() == 0)
		KIN_CHECK(setresuid(65534, 65534, 65534) == 0);
	for (unsigned i = 0; i < 2; i++) {
		struct rlimit limit;

		KIN_CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
		limit.rlim_cur = limit.rlim_max = cm_min(limit.rlim_max, limits[i]);
		KIN_CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
		KIN_CHECK(comap_heap_open_anon(&opts, &heap) == (limit.rlim_cur ? -ENOMEM : -EPERM));
		KIN_CHECK(heap == NULL);
		KIN_CHECK(strstr(comap_heap_open_reason(), "RLIMIT_MEMLOCK") != NULL);
	}
	opts.flags = 0;
	KIN_CHECK(comap_heap_open_anon(&opts, &heap) == 0);
	KIN_CHECK(comap_heap_malloc(heap, 100) != NULL);
	comap_heap_close(heap);
	KIN_CHECK(kin_is_clean(before));
	return 0;
}

static void locking_more_than_the_limit_is_refused(void **state)
{
	(void)state;
	if (kin_is_valgrind())
		skip();
	assert_int_equal(kin_run(opens_locked_without_the_right, NULL), 0);
}

static void what_the_kernel_refuses_makes_no_file_and_spoils_none(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "heap");
	struct comap_heap_opts opts = opts_of(COMAP_HEAP_CREATE);
	comap_heap *heap = NULL;

	(void)state;
	opts.numa = COMAP_NUMA_BIND; /* also where the kernel has no NUMA */
	opts.numa_nodes = 1ull << 63;
	assert_true(comap_heap_open(path, &opts, &heap) < 0);
	assert_int_equal(access(path, F_OK), -1);
	comap_heap_close(create(dir));
	assert_int_equal(access(path, F_OK), 0);
	assert_true(comap_heap_open(path, &opts, &heap) < 0);
	opts.numa = COMAP_NUMA_DEFAULT;
	opts.numa_nodes = 0;
	assert_int_equal(comap_heap_open(path, &opts, &heap), 0);
	fx_close(heap);
	fx_rmdir(dir);
}

/* ---- populate ------------------------------------------------------------------------------- */

static void populate_and_check(const char *dir, uint32_t flags)
{
	struct comap_heap_opts opts = opts_of(flags);
	comap_heap *heap = create(dir), *other = NULL;
	comap_ref refs[2];
	char *kept[2];
	uint64_t stored, rss;
	int err;

	fill_around_a_hole(heap, kept);
	for (unsigned i = 0; i < 2; i++)
		refs[i] = comap_heap_ref(heap, kept[i]);
	assert_int_equal(fsync(comap_heap_fd(heap)), 0); /* a file gets its blocks when written back */
	stored = fx_stored(heap);
	assert_true(stored >= 10 * CM_MIB && stored < 12 * CM_MIB);
	err = comap_heap_open_fd(comap_heap_fd(heap), &opts, &other);
	if (!cannot_lock(err)) {
		assert_int_equal(err, 0);
		rss = region_of(first_block_of(other)).rss_kib;
		assert_int_equal(fx_stored(other), stored);
		if (has_flags_at_all(other))
			assert_true(rss >= 10 * 1024 && rss < 12 * 1024);
		for (unsigned i = 0; i < 2; i++)
			assert_true(fx_is_filled(comap_heap_at(other, refs[i]), 5 * CM_MIB, i));
		fx_close(other);
	}
	fx_close(heap);
	if (dir)
		assert_int_equal(comap_heap_unlink(fx_path(dir, "heap")), 0);
}

static void populate_maps_what_has_data_and_stores_nothing(void **state)
{
	const uint32_t more[] = { 0, COMAP_HEAP_LOCK, COMAP_HEAP_READONLY,
				  COMAP_HEAP_READONLY | COMAP_HEAP_LOCK };
	const char *dir = fx_mkdir();

	(void)state;
	for (unsigned i = 0; i < sizeof more / sizeof *more; i++) {
		populate_and_check(NULL, COMAP_HEAP_POPULATE | more[i]);
		populate_and_check(dir, COMAP_HEAP_POPULATE | more[i]);
	}
	fx_rmdir(dir);
}

/* ---- numa ---------------------------------------------------------------------------- */

static void numa_that_makes_no_sense_is_refused(void **state)
{
	static const struct {
		uint32_t numa;
		uint64_t nodes;
		int err;
	} all[] = {
		{ COMAP_NUMA_DEFAULT, 0, 0 },
		{ COMAP_NUMA_DEFAULT, 1, -EINVAL },
		{ COMAP_NUMA_INTERLEAVE, 0, -EINVAL },
		{ COMAP_NUMA_BIND, 0, -EINVAL },
		{ COMAP_NUMA_PREFER, 0, -EINVAL },
		{ COMAP_NUMA_PREFER + 1, 1, -EINVAL },
		{ UINT32_MAX, 1, -EINVAL },
	};
	struct comap_heap_opts opts = opts_of(0);
	comap_heap *heap, *reader = NULL;

	(void)state;
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		opts.numa = all[i].numa;
		opts.numa_nodes = all[i].nodes;
		assert_int_equal(try_opts(&opts), all[i].err);
	}
	opts = opts_of(0);
	opts.reserved = 1;
	assert_int_equal(try_opts(&opts), -E2BIG);
	heap = fx_heap(CEILING);
	opts = opts_of(COMAP_HEAP_READONLY);
	opts.numa = COMAP_NUMA_PREFER;
	opts.numa_nodes = 1;
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), &opts, &reader), -EINVAL);
	fx_close(heap);
}

static void programs_from_before_numa_say_nothing_of_it(void **state)
{
	struct comap_heap_opts opts = opts_of(0);

	(void)state;
	opts.numa = UINT32_MAX; /* what lies behind their struct */
	opts.reserved = UINT32_MAX;
	opts.numa_nodes = UINT64_MAX;
	opts.size = 48;
	assert_int_equal(try_opts(&opts), 0);
	opts.size = sizeof opts;
	assert_true(try_opts(&opts) < 0);
}

/* Does the kernel, and whoever confines us, let us set policies?  For node 0. */
static bool has_numa(void)
{
	unsigned long mask = 1;
	void *page = kin_page();
	long got = syscall(SYS_mbind, page, 4096, MPOL_BIND, &mask, 65, 0);

	kin_page_drop(page);
	return got == 0;
}

static int policy_at(const void *at)
{
	unsigned long nodes[1024 / 64];
	int mode = -1;

	return syscall(SYS_get_mempolicy, &mode, nodes, 1024, at, MPOL_F_ADDR) < 0 ? -errno : mode;
}

static void the_kernel_learns_the_policy(void **state)
{
	static const struct {
		uint32_t numa;
		int mode;
	} all[] = {
		{ COMAP_NUMA_INTERLEAVE, MPOL_INTERLEAVE },
		{ COMAP_NUMA_BIND, MPOL_BIND },
		{ COMAP_NUMA_PREFER, MPOL_PREFERRED },
	};
	struct comap_heap_opts opts = opts_of(0);
	comap_heap *heap, *other = NULL;

	(void)state;
	if (!has_numa())
		skip();
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		opts.numa = all[i].numa;
		opts.numa_nodes = 1;
		heap = fx_heap_with(&opts);
		assert_int_equal(policy_at(heap->seg.base), all[i].mode);
		assert_int_equal(policy_at(first_block_of(heap)), all[i].mode);
		/* it is the memfd's: who opens it otherwise follows it */
		assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), NULL, &other), 0);
		assert_int_equal(policy_at(first_block_of(other)), all[i].mode);
		assert_non_null(comap_heap_malloc(other, CM_MIB));
		fx_close(other);
		fx_close(heap);
	}
}

static void nodes_that_are_not_there_are_einval(void **state)
{
	struct comap_heap_opts opts = opts_of(0);

	(void)state;
	if (!has_numa() || access("/sys/devices/system/node/node63", F_OK) == 0)
		skip();
	for (opts.numa = COMAP_NUMA_INTERLEAVE; opts.numa <= COMAP_NUMA_PREFER; opts.numa++) {
		opts.numa_nodes = 1ull << 63;
		assert_int_equal(try_opts(&opts), -EINVAL);
	}
}

/* ---- comap_heap_advise --------------------------------------------------------------- */

static void advice_on_what_is_no_block_of_the_heap_is_einval(void **state)
{
	comap_heap *heap = fx_heap(CEILING);
	char *p = comap_heap_malloc(heap, CM_MIB), on_stack[64];
	char *first = first_block_of(heap), *end = heap->seg.base + cm_seg_limit(&heap->seg);
	const struct {
		const void *ptr;
		size_t size;
		int err;
	} all[] = {
		{ p, CM_MIB, 0 },
		{ p, 0, 0 },
		{ p + 1, 4096, 0 }, /* no whole page in it */
		{ first, (size_t)(end - first), 0 },
		{ end, 0, 0 },
		{ first - 1, 10, -EINVAL },
		{ heap->seg.base, 4096, -EINVAL },
		{ end, 1, -EINVAL },
		{ end - 4096, 4097, -EINVAL },
		{ end + 1, 0, -EINVAL },
		{ p, SIZE_MAX, -EINVAL },
		{ p, SIZE_MAX - (uintptr_t)p + 1, -EINVAL },
		{ on_stack, sizeof on_stack, -EINVAL },
		{ NULL, 0, -EINVAL },
	};

	(void)state;
	assert_non_null(p);
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		assert_int_equal(comap_heap_advise(heap, all[i].ptr, all[i].size, COMAP_ADVICE_WILLNEED),
				 all[i].err);
	for (int what = -2; what < 10; what++)
		assert_int_equal(comap_heap_advise(heap, p, CM_MIB, (enum comap_advice)what) == -EINVAL,
				 what < COMAP_ADVICE_NORMAL || what > COMAP_ADVICE_PAGEOUT);
	fx_close(heap);
}

static void only_whole_pages_are_advised_on(void **state)
{
	comap_heap *heap = fx_heap(CEILING);
	char *p = comap_heap_malloc(heap, CM_MIB);

	(void)state;
	assert_non_null(p);
	if (!has_flags_at_all(heap)) {
		fx_close(heap);
		skip();
	}
	assert_int_equal(comap_heap_advise(heap, p + 1, 3 * 4096 - 2, COMAP_ADVICE_SEQUENTIAL), 0);
	assert_false(has_flag(p, "sr"));
	assert_true(has_flag(p + 4096, "sr"));
	assert_false(has_flag(p + 2 * 4096, "sr"));
	assert_int_equal(comap_heap_advise(heap, p, CM_MIB, COMAP_ADVICE_RANDOM), 0);
	assert_true(has_flag(p + 4096, "rr") && !has_flag(p + 4096, "sr"));
	assert_int_equal(comap_heap_advise(heap, p, CM_MIB, COMAP_ADVICE_NORMAL), 0);
	assert_false(has_flag(p + 4096, "rr"));
	fx_close(heap);
}

/* By a writer or a reader of the heap, on all that is there, holes and tables of units too. */
static void advise_on_all(comap_heap *heap)
{
	char *first = first_block_of(heap);
	size_t size = cm_seg_limit(&heap->seg) - heap->seg.data_off;
	int err;

	for (int what = COMAP_ADVICE_NORMAL; what <= COMAP_ADVICE_PAGEOUT; what++) {
		err = comap_heap_advise(heap, first, size, (enum comap_advice)what);
		if (err != -EOPNOTSUPP) /* Linux 5.3 */
			assert_int_equal(err, 0);
	}
}

static void advise_and_check(const char *dir)
{
	struct comap_heap_opts opts = opts_of(COMAP_HEAP_READONLY);
	comap_heap *heap = create(dir), *reader = NULL;
	char *kept[2], *small = comap_heap_strdup(heap, "small");
	uint64_t stored;

	fill_around_a_hole(heap, kept);
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), &opts, &reader), 0);
	for (int round = 0; round < 3; round++) {
		stored = fx_stored(heap);
		advise_on_all(round == 1 ? reader : heap);
		assert_true(fx_stored(heap) <= stored);
		assert_string_equal(small, "small");
		for (unsigned i = 0; i < 2; i++) {
			const void *there = comap_heap_at(reader, comap_heap_ref(heap, kept[i]));

			assert_true(fx_is_filled(kept[i], 5 * CM_MIB, i));
			assert_true(fx_is_filled(there, 5 * CM_MIB, i));
		}
		assert_sound(heap);
		assert_int_equal(fsync(comap_heap_fd(heap)), 0); /* then pages of a file may go */
	}
	comap_heap_close(reader);
	fx_close(heap);
	if (dir)
		assert_int_equal(comap_heap_unlink(fx_path(dir, "heap")), 0);
}

static void no_advice_loses_a_byte_or_stores_one(void **state)
{
	const char *dir = fx_mkdir();

	(void)state;
	advise_and_check(NULL);
	advise_and_check(dir);
	fx_rmdir(dir);
}

/* ---- fork ---------------------------------------------------------------------------- */

static int has_the_advice_and_not_the_lock(void *arg)
{
	comap_heap *heap = arg;

	KIN_CHECK(has_flag(first_block_of(heap), "hg"));
	KIN_CHECK(!has_flag(first_block_of(heap), "lo"));
	KIN_CHECK(comap_heap_malloc(heap, 5000) != NULL);
	return 0;
}

static void a_child_inherits_advice_and_no_lock(void **state)
{
	struct comap_heap_opts opts = opts_of(COMAP_HEAP_HUGE | COMAP_HEAP_LOCK);
	comap_heap *heap = NULL;
	int err = comap_heap_open_anon(&opts, &heap);

	(void)state;
	if (cannot_lock(err))
		skip();
	assert_int_equal(err, 0);
	if (has_flag(first_block_of(heap), "hg"))
		assert_int_equal(kin_run(has_the_advice_and_not_the_lock, heap), 0);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(each_flag_and_all_of_them_open),
		KIN_TEST(huge_is_advice_for_blocks_and_not_for_tables),
		KIN_TEST(locked_pages_are_those_that_come),
		KIN_TEST(locking_more_than_the_limit_is_refused),
		KIN_TEST(what_the_kernel_refuses_makes_no_file_and_spoils_none),
		KIN_TEST(populate_maps_what_has_data_and_stores_nothing),
		KIN_TEST(numa_that_makes_no_sense_is_refused),
		KIN_TEST(programs_from_before_numa_say_nothing_of_it),
		KIN_TEST(the_kernel_learns_the_policy),
		KIN_TEST(nodes_that_are_not_there_are_einval),
		KIN_TEST(advice_on_what_is_no_block_of_the_heap_is_einval),
		KIN_TEST(only_whole_pages_are_advised_on),
		KIN_TEST(no_advice_loses_a_byte_or_stores_one),
		KIN_TEST(a_child_inherits_advice_and_no_lock),
	};

	return cmocka_run_group_tests_name("heap/advise", tests, NULL, NULL);
}
