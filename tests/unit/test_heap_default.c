/* test_heap_default.c - the malloc family on the process's default heap; the version. */
#include <pthread.h>
#include "fixture.h"

/* 64 heaps are more locks held by one thread than its detector of deadlocks takes. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}

/* A heap of moderate size, so that valgrind can map it; what was set before. */
static comap_heap *use(comap_heap *heap)
{
	return comap_set_default_heap(heap);
}

static void version_is_mesons(void **state)
{
	char text[32];

	(void)state;
	assert_string_equal(comap_version(), MESON_VERSION);
	snprintf(text, sizeof text, "%d.%d.%d", COMAP_VERSION_MAJOR, COMAP_VERSION_MINOR,
		 COMAP_VERSION_PATCH);
	assert_string_equal(comap_version(), text);
}

static void the_family_works_on_the_heap_that_was_set(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref *cell;
	char *p, *q;
	void *r = NULL;

	(void)state;
	assert_null(use(heap));
	assert_ptr_equal(comap_default_heap(), heap);
	p = comap_malloc(100);
	assert_int_equal(comap_heap_usable_size(heap, p), 112);
	assert_int_equal(comap_usable_size(p), 112);
	p = comap_realloc(p, 300000);
	p = comap_reallocarray(p, 1000, 7);
	assert_true(comap_heap_usable_size(heap, p) >= 7000);
	q = comap_calloc(10, 10);
	assert_true(fx_is_zero(q, 100));
	assert_non_null(comap_aligned_alloc(4096, 10));
	assert_non_null(comap_memalign(8192, 10));
	assert_int_equal(comap_posix_memalign(&r, 65536, 10), 0);
	assert_true((uintptr_t)r % 65536 == 0);
	assert_int_equal(comap_posix_memalign(&r, 3, 10), EINVAL);
	assert_string_equal(comap_strdup("dup"), "dup");
	assert_string_equal(comap_strndup("dup", 1), "d");
	cell = comap_calloc(1, sizeof *cell);
	r = comap_malloc_to(50, cell);
	assert_ptr_equal(comap_heap_at(heap, *cell), r);
	comap_free_from(cell);
	assert_true(comap_ref_is_null(*cell));
	comap_free(p);
	comap_free(q);
	comap_free(NULL);
	assert_int_equal(comap_usable_size(NULL), 0);
	assert_int_equal(fx_stats(heap).misuses, 0);
	assert_int_equal(fx_live_blocks(heap), 6);
	assert_ptr_equal(use(NULL), heap);
	fx_close(heap);
}

static void the_old_heap_comes_back_to_its_owner(void **state)
{
	comap_heap *a = fx_heap(64 * CM_MIB), *b = fx_heap(64 * CM_MIB);

	(void)state;
	assert_null(use(a));
	assert_non_null(comap_malloc(10));
	assert_ptr_equal(use(b), a);
	assert_non_null(comap_malloc(10));
	assert_non_null(comap_malloc(10));
	assert_ptr_equal(use(NULL), b);
	assert_int_equal(fx_live_blocks(a), 1);
	assert_int_equal(fx_live_blocks(b), 2);
	fx_close(a);
	fx_close(b);
}

static void *asks(void *arg)
{
	comap_heap **seen = arg;

	KIN_CHECK(comap_malloc(10) != NULL);
	*seen = comap_default_heap();
	return NULL;
}

static void a_heap_is_made_at_first_use_and_only_one(void **state)
{
	struct kin_tally before = kin_tally();
	comap_heap *seen[8], *heap;
	pthread_t thread[8];

	(void)state;
	if (kin_is_valgrind() || FX_IS_SANITIZED)
		skip(); /* a tebibyte of ceiling */
	comap_free(NULL); /* freeing nothing needs no heap */
	assert_int_equal(comap_usable_size(NULL), 0);
	assert_true(kin_is_clean(before));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, asks, &seen[i]), 0);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	heap = comap_default_heap();
	for (unsigned i = 0; i < 8; i++)
		assert_ptr_equal(seen[i], heap);
	assert_int_equal(kin_tally().maps, before.maps + 1);
	assert_int_equal(fx_live_blocks(heap), 8);
	assert_ptr_equal(use(NULL), heap);
	fx_close(heap);
}

static int inherits(void *arg)
{
	KIN_CHECK(comap_default_heap() == arg);
	strcpy(comap_strdup("12345678901234567890"), "abc");
	return 0;
}

static void a_child_goes_on_with_it(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	assert_null(use(heap));
	assert_int_equal(kin_run(inherits, heap), 0);
	assert_int_equal(fx_live_blocks(heap), 1);
	assert_ptr_equal(use(NULL), heap);
	fx_close(heap);
}

/* With 64 handles open no default heap can be made: everything says why. */
static void when_it_cannot_be_made_errno_says_so(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap[64];
	comap_ref ref = {0};
	void *p = NULL;

	(void)state;
	opts.max_size = 8 * CM_MIB;
	for (unsigned i = 0; i < 64; i++)
		heap[i] = fx_heap_with(&opts);
	errno = 0;
	assert_null(comap_malloc(1));
	assert_int_equal(errno, EMFILE);
	assert_null(comap_default_heap());
	assert_null(comap_calloc(1, 1));
	assert_null(comap_realloc(NULL, 1));
	assert_null(comap_reallocarray(NULL, 1, 1));
	assert_null(comap_aligned_alloc(16, 1));
	assert_null(comap_memalign(16, 1));
	assert_null(comap_strdup(""));
	assert_null(comap_strndup("", 0));
	assert_null(comap_malloc_to(1, &ref));
	assert_int_equal(errno, EMFILE);
	errno = 3;
	assert_int_equal(comap_posix_memalign(&p, 16, 1), EMFILE);
	comap_free(&ref);
	comap_free_from(&ref);
	assert_int_equal(comap_usable_size(&ref), 0);
	for (unsigned i = 0; i < 64; i++)
		fx_close(heap[i]);
}

/* "errno is kept": also when the heap cannot be made for it. */
static void free_and_posix_memalign_keep_errno_without_a_heap(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap[64];
	comap_ref ref = {0};
	void *p = NULL;

	(void)state;
	opts.max_size = 8 * CM_MIB;
	for (unsigned i = 0; i < 64; i++)
		heap[i] = fx_heap_with(&opts);
	errno = 3;
	(void)comap_posix_memalign(&p, 16, 1);
	assert_int_equal(errno, 3);
	comap_free(&ref);
	assert_int_equal(errno, 3);
	comap_free_from(&ref);
	assert_int_equal(errno, 3);
	for (unsigned i = 0; i < 64; i++)
		fx_close(heap[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(version_is_mesons),
		KIN_TEST(the_family_works_on_the_heap_that_was_set),
		KIN_TEST(the_old_heap_comes_back_to_its_owner),
		KIN_TEST(a_heap_is_made_at_first_use_and_only_one),
		KIN_TEST(a_child_goes_on_with_it),
		KIN_TEST(when_it_cannot_be_made_errno_says_so),
		KIN_TEST(free_and_posix_memalign_keep_errno_without_a_heap),
	};

	return cmocka_run_group_tests_name("heap/default", tests, NULL, NULL);
}
