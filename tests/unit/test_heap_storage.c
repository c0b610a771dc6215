/*
 * test_heap_storage.c - a full tmpfs is an error from malloc, never SIGBUS, and the heap goes on
 * when there is space again.
 *
 * The whole program moves into a mount namespace of its own with a tmpfs of 24 MiB; where it may
 * not, it steps aside.
 */
#include <pthread.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "fixture.h"

#define SIZE (24 * CM_MIB)

static char dir[] = "/tmp/comap-unit-tmpfs.XXXXXX";

static const char *path_of(const char *name)
{
	return fx_path(dir, name);
}

static comap_heap *open_here(uint64_t dirty_max)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = NULL;

	opts.flags = COMAP_HEAP_CREATE | COMAP_HEAP_EXCL;
	opts.max_size = CM_GIB;
	opts.slots = 64;
	opts.dirty_max = dirty_max;
	assert_int_equal(comap_heap_open(path_of("heap"), &opts, &heap), 0);
	return heap;
}

static void close_here(comap_heap *heap)
{
	fx_close(heap);
	assert_int_equal(comap_heap_unlink(path_of("heap")), 0);
}

static uint64_t space(void)
{
	struct statvfs st;

	assert_int_equal(statvfs(dir, &st), 0);
	return st.f_bfree * st.f_frsize;
}

/* Another file takes all the space but `leave`. */
static void others_take_it(uint64_t leave)
{
	int fd = open(path_of("other"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint64_t n = space();

	assert_true(fd >= 0 && n >= leave);
	if (n > leave)
		assert_int_equal(posix_fallocate(fd, 0, (off_t)(n - leave)), 0);
	close(fd);
}

static void others_give_it_back(void)
{
	assert_int_equal(unlink(path_of("other")), 0);
}

/* Each block holds the address of the one before and a pattern. */
static unsigned fill(comap_heap *heap, size_t n, void **chain)
{
	unsigned count = 0;
	void **p;

	while ((p = comap_heap_malloc(heap, n))) {
		*p = *chain;
		fx_fill(p + 1, n - 8, n);
		*chain = p;
		count++;
	}
	return count;
}

static void drain(comap_heap *heap, size_t n, void **chain)
{
	while (*chain) {
		void *p = *chain;

		assert_true(fx_is_filled((void **)p + 1, n - 8, n));
		*chain = *(void **)p;
		comap_heap_free(heap, p);
	}
}

static int sees(void *ptr, size_t size, void *arg)
{
	(void)ptr;
	*(uint64_t *)arg += size;
	return 0;
}

static void full_storage_is_enospc_and_the_heap_goes_on(void **state)
{
	const size_t sizes[] = { 16, 100, 5000, 65536, 100000, 700000, 4194304, 5000000 };

	(void)state;
	for (unsigned i = kin_is_valgrind() ? 2 : 0; i < sizeof sizes / sizeof *sizes; i++) {
		comap_heap *heap = open_here(0);
		void *chain = NULL;
		uint64_t bytes = 0;
		unsigned n;

		errno = 0;
		n = fill(heap, sizes[i], &chain);
		assert_int_equal(errno, ENOSPC);
		assert_true(n * sizes[i] >= 14 * CM_MIB);
		assert_sound(heap);
		(void)fx_stats(heap);
		assert_int_equal(comap_heap_walk(heap, sees, &bytes), 0);
		assert_true(bytes >= n * sizes[i]);
		for (int again = 0; again < 20; again++) { /* and it stays an error */
			errno = 0;
			assert_null(comap_heap_malloc(heap, 8 * CM_MIB));
			assert_int_equal(errno, ENOSPC);
		}
		drain(heap, sizes[i], &chain);
		assert_int_equal(fill(heap, sizes[i], &chain), n);
		drain(heap, sizes[i], &chain);
		assert_int_equal(comap_heap_trim(heap), 0);
		assert_true(space() >= SIZE - 512 * CM_KIB);
		close_here(heap);
	}
}

static void space_that_others_took_and_gave_is_noticed(void **state)
{
	comap_heap *heap = open_here(0);
	void *p[4] = { NULL }, *chain = NULL;

	(void)state;
	p[0] = comap_heap_malloc(heap, CM_MIB);
	fx_fill(p[0], CM_MIB, 1);
	others_take_it(0);
	errno = 0;
	assert_null(comap_heap_malloc(heap, CM_MIB));
	assert_int_equal(errno, ENOSPC);
	fill(heap, 100, &chain);
	assert_int_equal(errno, ENOSPC);
	assert_null(comap_heap_realloc(heap, p[0], 3 * CM_MIB));
	assert_int_equal(errno, ENOSPC);
	assert_true(fx_is_filled(p[0], CM_MIB, 1)); /* as it was */
	assert_null(comap_heap_calloc(heap, 1, 200000));
	assert_null(comap_heap_memalign(heap, CM_MIB, 200000));
	assert_int_equal(comap_heap_posix_memalign(heap, &p[1], 4096, 200000), ENOSPC);
	assert_null(p[1]);
	assert_sound(heap);
	others_give_it_back();
	p[1] = comap_heap_calloc(heap, 1, 3 * CM_MIB);
	assert_true(p[1] && fx_is_zero(p[1], 3 * CM_MIB));
	p[0] = comap_heap_realloc(heap, p[0], 3 * CM_MIB);
	assert_true(p[0] && fx_is_filled(p[0], CM_MIB, 1));
	drain(heap, 100, &chain);
	close_here(heap);
}

static void what_lies_free_but_stored_can_still_be_had(void **state)
{
	comap_heap *heap = open_here(0);
	void *p = comap_heap_malloc(heap, 6 * CM_MIB), *q = comap_heap_malloc(heap, CM_MIB);

	(void)state;
	memset(p, 1, 6 * CM_MIB);
	comap_heap_free(heap, p);
	others_take_it(0);
	/* elsewhere than where the dirty pages are: they must be punched to make room */
	for (int i = 0; i < 3; i++) {
		p = comap_heap_memalign(heap, 4 * CM_MIB, 2 * CM_MIB);
		if (i < 2)
			assert_non_null(p);
		if (p)
			memset(p, 2, 2 * CM_MIB);
	}
	assert_non_null(q);
	assert_sound(heap);
	others_give_it_back();
	close_here(heap);
}

static void realloc_to_less_works_when_full(void **state)
{
	comap_heap *heap = open_here(0);
	const size_t sizes[] = { 4000, 200000, 3 * CM_MIB, 5 * CM_MIB };

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		char *p = comap_heap_malloc(heap, sizes[i]), *q;

		fx_fill(p, 100, i);
		others_take_it(0);
		for (size_t n = sizes[i]; n > 100; n = n * 2 / 3) {
			q = comap_heap_realloc(heap, p, n);
			assert_non_null(q);
			assert_true(fx_is_filled(q, 100, i));
			assert_true(comap_heap_usable_size(heap, q) >= n);
			p = q;
		}
		comap_heap_free(heap, p);
		others_give_it_back();
		assert_int_equal(comap_heap_trim(heap), 0);
	}
	close_here(heap);
}

static void malloc_to_leaves_its_cell_when_full(void **state)
{
	comap_heap *heap = open_here(0);
	comap_ref *cell = comap_heap_calloc(heap, 1, sizeof *cell);
	void *chain = NULL;

	(void)state;
	cell->off = 123;
	others_take_it(0);
	fill(heap, 3000, &chain);
	assert_null(comap_heap_malloc_to(heap, 3000, cell));
	assert_int_equal(errno, ENOSPC);
	assert_null(comap_heap_malloc_to(heap, 3000000, cell));
	assert_null(comap_heap_malloc_to(heap, 6000000, cell));
	assert_true(cell->off == 123);
	others_give_it_back();
	assert_non_null(comap_heap_malloc_to(heap, 3000, cell));
	assert_true(cell->off != 123);
	drain(heap, 3000, &chain);
	close_here(heap);
}

static int leaves_it(comap_heap *heap, comap_ref *cell, void *arg)
{
	(void)heap;
	(void)cell;
	(void)arg;
	return 0;
}

static void new_roots_are_enospc_when_full_and_old_ones_work(void **state)
{
	comap_heap *heap = open_here(0);
	void *chain = NULL;
	char name[32];
	int err = 0;
	unsigned n;
	comap_ref ref;

	(void)state;
	assert_int_equal(comap_heap_reap(heap), 0); /* so that we have a slot */
	others_take_it(0);
	fill(heap, 4096, &chain);
	for (n = 0; err == 0 && n < 100; n++) {
		snprintf(name, sizeof name, "root %u", n);
		err = comap_root_set(heap, name, COMAP_NULL);
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(n > 10);
	assert_int_equal(comap_root_get(heap, name, &ref), -ENOENT);
	assert_int_equal(comap_root_once(heap, name, leaves_it, NULL, 0, &ref), -ENOSPC);
	assert_int_equal(comap_root_set(heap, "root 1", comap_heap_ref(heap, chain)), 0);
	assert_int_equal(comap_root_get(heap, "root 1", &ref), 0);
	assert_ptr_equal(comap_heap_at(heap, ref), chain);
	assert_int_equal(comap_root_delete(heap, "root 2"), 0);
	assert_int_equal(comap_root_set(heap, name, COMAP_NULL), 0); /* in its place */
	assert_sound(heap);
	others_give_it_back();
	drain(heap, 4096, &chain);
	close_here(heap);
}

static void creating_a_heap_on_full_storage_leaves_nothing(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = NULL;
	struct stat st;

	(void)state;
	opts.flags = COMAP_HEAP_CREATE;
	opts.max_size = 64 * CM_MIB;
	for (uint64_t leave = 0; leave < 128 * CM_KIB; leave += 16 * CM_KIB) {
		int err;

		others_take_it(leave);
		err = comap_heap_open(path_of("heap"), &opts, &heap);
		if (err == 0) {
			comap_heap_free(heap, comap_heap_malloc(heap, 100));
			comap_heap_close(heap);
			assert_int_equal(comap_heap_unlink(path_of("heap")), 0);
			assert_true(leave >= 64 * CM_KIB);
		} else {
			assert_int_equal(err, -ENOSPC);
			assert_true(comap_heap_open_reason()[0] != '\0');
			assert_int_equal(stat(path_of("heap"), &st), -1);
			assert_true(space() == leave);
		}
		others_give_it_back();
	}
}

static void opening_reading_and_checking_need_no_space(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = open_here(0);
	comap_ref ref;
	uint64_t bytes = 0;
	void *p = NULL;

	(void)state;
	for (int i = 0; i < 500; i++) {
		p = comap_heap_malloc(heap, 100 + (size_t)i * 100);
		assert_non_null(p);
		if (i % 2)
			comap_heap_free(heap, p);
	}
	assert_int_equal(comap_root_set(heap, "p", comap_heap_ref(heap, p)), 0);
	assert_int_equal(comap_heap_trim(heap), 0);
	fx_close(heap);
	others_take_it(0);
	for (int flags = 0; flags <= (int)COMAP_HEAP_READONLY; flags += COMAP_HEAP_READONLY) {
		opts.flags = (uint32_t)flags;
		assert_int_equal(comap_heap_open(path_of("heap"), &opts, &heap), 0);
		assert_sound(heap);
		(void)fx_stats(heap);
		assert_int_equal(comap_heap_walk(heap, sees, &bytes), 0);
		assert_int_equal(comap_root_get(heap, "p", &ref), 0);
		for (uint64_t off = 0; off < 40 * CM_MIB; off += 4096) {
			(void)comap_heap_at_checked(heap, (comap_ref){ off }, 1);
			(void)comap_heap_usable_size(heap, heap->seg.base + off);
		}
		fx_close(heap);
	}
	assert_true(space() == 0);
	others_give_it_back();
	assert_int_equal(comap_heap_unlink(path_of("heap")), 0);
}

static void misuse_on_full_storage_is_no_sigbus(void **state)
{
	comap_heap *heap = open_here(0);
	char *p = comap_heap_malloc(heap, 700000), *base = heap->seg.base;
	struct fx_misuse seen;
	unsigned n = 0;

	(void)state;
	comap_heap_free(heap, p);
	assert_int_equal(comap_heap_trim(heap), 0);
	fx_watch_misuse(heap, &seen);
	others_take_it(0);
	for (uint64_t off = 0; off < cm_seg_limit(&heap->seg) + 8 * CM_MIB; off += 4096, n++)
		comap_heap_free(heap, base + off);
	assert_int_equal(seen.n, n);
	assert_true(space() == 0);
	others_give_it_back();
	close_here(heap);
}

/* A huge block that did not fit left the part that did as dirty pages, beyond the cap. */
static void a_block_that_did_not_fit_leaves_no_more_than_the_cap(void **state)
{
	comap_heap *heap = open_here(4 * CM_MIB);
	uint64_t before;

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 100));
	assert_int_equal(comap_heap_trim(heap), 0);
	before = space();
	for (size_t n = 18 * CM_MIB; n < 200 * CM_MIB; n = n * 3 / 2) {
		void *p = comap_heap_malloc(heap, n);

		assert_true((p != NULL) == (n < before));
		comap_heap_free(heap, p);
		assert_true(fx_stats(heap).dirty <= 4 * CM_MIB);
		assert_true(space() >= before - 5 * CM_MIB);
	}
	close_here(heap);
}

struct freeing {
	comap_heap *heap;
	void *p[3];
};

static void *frees(void *arg)
{
	struct freeing *f = arg;

	for (unsigned i = 0; i < 3; i++)
		comap_heap_free(f->heap, f->p[i]);
	return NULL;
}

/* "free cannot fail": a thread that finds no storage for a slot of its own works through the
 * common one. */
static void a_new_thread_can_free_on_full_storage(void **state)
{
	struct freeing f = { .heap = open_here(0) };
	void *chain = NULL;
	pthread_t thread;

	(void)state;
	f.p[0] = comap_heap_malloc(f.heap, 100);
	f.p[1] = comap_heap_malloc(f.heap, 100000);
	f.p[2] = comap_heap_malloc(f.heap, 5 * CM_MIB);
	fill(f.heap, 16, &chain);
	drain(f.heap, 16, &chain);
	assert_int_equal(comap_heap_trim(f.heap), 0);
	others_take_it(0);
	assert_int_equal(pthread_create(&thread, NULL, frees, &f), 0);
	pthread_join(thread, NULL);
	assert_int_equal(fx_live_blocks(f.heap), 0);
	others_give_it_back();
	close_here(f.heap);
}

static void random_work_survives_space_that_comes_and_goes(void **state)
{
	comap_heap *heap = open_here(2 * CM_MIB);
	uint64_t random = 71, refused = 0;
	struct {
		void *p;
		size_t n;
	} live[400] = { { NULL, 0 } };
	bool is_taken = false;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		unsigned k = (unsigned)(fx_random(&random) % 400);
		size_t n = fx_random(&random) % (i % 32 ? i % 4 ? 3000 : 60000 : 2000000);
		void *p;

		if (live[k].p && !fx_is_filled(live[k].p, live[k].n, k))
			fail_msg("block %u was changed", k);
		if (fx_random(&random) % 3 == 0) {
			p = comap_heap_realloc(heap, live[k].p, n + 1);
			if (!p) {
				refused++;
				assert_int_equal(errno, ENOSPC);
				continue;
			}
		} else {
			comap_heap_free(heap, live[k].p);
			p = comap_heap_malloc(heap, n + 1);
			refused += p == NULL;
		}
		live[k].p = p;
		live[k].n = p ? n + 1 : 0;
		fx_fill(p, live[k].n, k);
		if (i % 1000 == 999) {
			assert_sound(heap);
			if (is_taken)
				others_give_it_back();
			else
				others_take_it(fx_random(&random) % CM_MIB < space() ? 0 : space());
			is_taken = !is_taken;
		}
	}
	if (is_taken)
		others_give_it_back();
	assert_true(refused > 100);
	close_here(heap);
}

/* What a failed case left there would fail the next ones, too. */
static int clean_up(void **state)
{
	(void)unlink(path_of("heap"));
	(void)unlink(path_of("other"));
	return kin_teardown(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, kin_setup, clean_up)

/* 0 when we have a tmpfs of our own, with nobody else to see it. */
static int mount_ours(void)
{
	char size[32];

	if (!mkdtemp(dir))
		return -errno;
	snprintf(size, sizeof size, "size=%llu", SIZE);
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return -errno;
	if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, size) < 0)
		return -errno;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(full_storage_is_enospc_and_the_heap_goes_on),
		TEST(space_that_others_took_and_gave_is_noticed),
		TEST(what_lies_free_but_stored_can_still_be_had),
		TEST(realloc_to_less_works_when_full),
		TEST(malloc_to_leaves_its_cell_when_full),
		TEST(new_roots_are_enospc_when_full_and_old_ones_work),
		TEST(creating_a_heap_on_full_storage_leaves_nothing),
		TEST(opening_reading_and_checking_need_no_space),
		TEST(misuse_on_full_storage_is_no_sigbus),
		TEST(a_block_that_did_not_fit_leaves_no_more_than_the_cap),
		TEST(a_new_thread_can_free_on_full_storage),
		TEST(random_work_survives_space_that_comes_and_goes),
	};
	int err = mount_ours(), failed;

	if (err < 0) {
		fprintf(stderr, "no tmpfs of our own: %s\n", strerror(-err));
		rmdir(dir);
		return 77;
	}
	failed = cmocka_run_group_tests_name("heap on full storage", tests, NULL, NULL);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return failed;
}
