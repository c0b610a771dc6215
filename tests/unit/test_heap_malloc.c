/* test_heap_malloc.c - the malloc family means what libc's means, letter by letter. */
#include "fixture.h"

/* Either side of every border: slab classes, slabs and runs, runs and whole segments. */
static const size_t sizes[] = {
	0, 1, 15, 16, 17, 31, 32, 33, 100, 127, 128, 129, 4095, 4096, 4097, 8192, 8193, 32768, 32769,
	65535, 65536, 65537, 69632, 131072, 131073, 1000000, 4128767, 4128768, 4128769, 4194303, 4194304,
	4194305, 5000000, 8388608, 8388609,
};
#define NSIZES (sizeof sizes / sizeof *sizes)

static void a_block_has_the_size_and_alignment_it_promises(void **state)
{
	comap_heap *heap = fx_heap(512 * CM_MIB);
	void *p[NSIZES];

	(void)state;
	for (unsigned i = 0; i < NSIZES; i++) {
		p[i] = comap_heap_malloc(heap, sizes[i]);
		assert_non_null(p[i]);
		assert_true((uintptr_t)p[i] % 16 == 0);
		if (cm_is_pow2(sizes[i]) && sizes[i] <= 65536)
			assert_true((uintptr_t)p[i] % sizes[i] == 0);
		assert_true(comap_heap_usable_size(heap, p[i]) >= sizes[i]);
		assert_true(comap_heap_usable_size(heap, p[i]) >= 16);
		fx_fill(p[i], comap_heap_usable_size(heap, p[i]), i);
	}
	assert_sound(heap);
	assert_int_equal(fx_live_blocks(heap), NSIZES);
	for (unsigned i = 0; i < NSIZES; i++) {
		assert_true(fx_is_filled(p[i], comap_heap_usable_size(heap, p[i]), i));
		comap_heap_free(heap, p[i]);
	}
	assert_int_equal(fx_live_blocks(heap), 0);
	fx_close(heap);
}

static void nothing_is_a_unique_pointer(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	void *a = comap_heap_malloc(heap, 0), *b = comap_heap_malloc(heap, 0);
	void *c = comap_heap_calloc(heap, 0, 5), *d = comap_heap_calloc(heap, 5, 0);
	void *e = comap_heap_realloc(heap, NULL, 0), *f = comap_heap_reallocarray(heap, NULL, 0, 7);

	(void)state;
	assert_true(a && b && c && d && e && f);
	assert_true(a != b && b != c && c != d && d != e && e != f);
	assert_int_equal(fx_live_blocks(heap), 6);
	assert_null(comap_heap_realloc(heap, a, 0)); /* frees */
	assert_null(comap_heap_reallocarray(heap, b, 0, 9));
	assert_null(comap_heap_reallocarray(heap, c, 9, 0));
	assert_int_equal(fx_live_blocks(heap), 3);
	comap_heap_free(heap, NULL);
	assert_int_equal(fx_stats(heap).misuses, 0);
	assert_int_equal(comap_heap_usable_size(heap, NULL), 0);
	fx_close(heap);
}

/* Evaluates x, which must be NULL with that errno and change nothing. */
#define assert_fails(heap, x, want)                                                         \
	do {                                                                                \
		struct comap_heap_stats before_ = fx_stats(heap), after_;                   \
		errno = 0;                                                                  \
		assert_null(x);                                                             \
		assert_int_equal(errno, want);                                              \
		after_ = fx_stats(heap);                                                    \
		assert_true(before_.live_blocks == after_.live_blocks);                     \
		assert_true(before_.live_bytes == after_.live_bytes);                       \
		assert_true(before_.misuses == after_.misuses);                             \
		assert_sound(heap);                                                         \
	} while (0)

static void impossible_sizes_are_enomem(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const size_t impossible[] = {
		fx_blind(SIZE_MAX), fx_blind(SIZE_MAX - 1), fx_blind(SIZE_MAX - 4096),
		fx_blind((size_t)PTRDIFF_MAX + 1), fx_blind(PTRDIFF_MAX), fx_blind(PTRDIFF_MAX - 65536),
		CM_TIB * 64, 64 * CM_MIB + 1, 64 * CM_MIB,
	};
	char *kept = comap_heap_malloc(heap, 1000), *text = comap_heap_malloc(heap, 40);

	(void)state;
	fx_fill(kept, 1000, 1);
	memset(text, 'x', 40);
	for (unsigned i = 0; i < sizeof impossible / sizeof *impossible; i++) {
		size_t n = impossible[i];
		void *q = (void *)0x10;

		assert_fails(heap, comap_heap_malloc(heap, n), ENOMEM);
		assert_fails(heap, comap_heap_calloc(heap, 1, n), ENOMEM);
		assert_fails(heap, comap_heap_calloc(heap, n, 1), ENOMEM);
		assert_fails(heap, comap_heap_realloc(heap, NULL, n), ENOMEM);
		assert_fails(heap, comap_heap_realloc(heap, kept, n), ENOMEM);
		assert_fails(heap, comap_heap_reallocarray(heap, kept, n, 1), ENOMEM);
		assert_fails(heap, comap_heap_aligned_alloc(heap, 64, n), ENOMEM);
		assert_fails(heap, comap_heap_memalign(heap, 1 << 20, n), ENOMEM);
		errno = 5;
		assert_int_equal(comap_heap_posix_memalign(heap, &q, 64, n), ENOMEM);
		assert_int_equal(errno, 5);
		assert_ptr_equal(q, (void *)0x10);
		assert_true(fx_is_filled(kept, 1000, 1));
	}
	fx_close(heap);
}

static void products_that_overflow_are_enomem(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const size_t big[][2] = {
		{ SIZE_MAX, 2 },
		{ SIZE_MAX / 2 + 1, 2 },
		{ (size_t)1 << 32, (size_t)1 << 32 },
		{ SIZE_MAX, SIZE_MAX },
		{ ((size_t)1 << 32) + 1, ((size_t)1 << 32) - 1 + 2 }, { 3, SIZE_MAX / 3 + 1 },
	};
	char *kept = comap_heap_malloc(heap, 100);

	(void)state;
	fx_fill(kept, 100, 1);
	for (unsigned i = 0; i < sizeof big / sizeof *big; i++) {
		size_t a = fx_blind(big[i][0]), b = fx_blind(big[i][1]);

		assert_fails(heap, comap_heap_calloc(heap, a, b), ENOMEM);
		assert_fails(heap, comap_heap_calloc(heap, b, a), ENOMEM);
		assert_fails(heap, comap_heap_reallocarray(heap, kept, a, b), ENOMEM);
		assert_fails(heap, comap_heap_reallocarray(heap, NULL, b, a), ENOMEM);
		assert_true(fx_is_filled(kept, 100, 1));
	}
	fx_close(heap);
}

static void good_alignments_are_kept_up_to_4_mib(void **state)
{
	comap_heap *heap = fx_heap(2 * CM_GIB);
	const size_t some[] = { 0, 1, 16, 100, 4096, 65536, 65537, 200000, 4194304, 4194305 };

	(void)state;
	for (size_t align = 1; align <= 4 * CM_MIB; align *= 2)
		for (unsigned i = 0; i < sizeof some / sizeof *some; i++) {
			void *p[6] = { NULL };

			p[0] = comap_heap_aligned_alloc(heap, align, some[i]);
			p[1] = comap_heap_memalign(heap, align, some[i]);
			if (align >= sizeof(void *)) {
				errno = 3;
				assert_int_equal(
					comap_heap_posix_memalign(heap, &p[2], align, some[i]), 0);
				assert_int_equal(errno, 3);
			} else {
				p[2] = comap_heap_malloc(heap, some[i]);
			}
			p[3] = comap_heap_aligned_alloc(heap, align, some[i]);
			for (unsigned k = 0; k < 4; k++) {
				assert_non_null(p[k]);
				assert_true((uintptr_t)p[k] % (k == 2 && align < 8 ? 16 : align) == 0);
				assert_true((uintptr_t)p[k] % 16 == 0);
				assert_true(comap_heap_usable_size(heap, p[k]) >= some[i]);
				fx_fill(p[k], some[i], k + align);
			}
			for (unsigned k = 0; k < 4; k++) {
				assert_true(fx_is_filled(p[k], some[i], k + align));
				comap_heap_free(heap, p[k]);
			}
		}
	assert_int_equal(fx_live_blocks(heap), 0);
	assert_int_equal(fx_stats(heap).misuses, 0);
	fx_close(heap);
}

static void bad_alignments_are_einval(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const size_t bad[] = {
		0, 3, 5, 6, 7, 12, 24, 48, 96, 1000, 4095, 4097, 65535, 3 << 20, 8 << 20, (size_t)1 << 40,
		(size_t)1 << 63, SIZE_MAX, SIZE_MAX - 7,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		void *p = (void *)0x20;

		assert_fails(heap, comap_heap_aligned_alloc(heap, fx_blind(bad[i]), 100), EINVAL);
		assert_fails(heap, comap_heap_memalign(heap, fx_blind(bad[i]), 100), EINVAL);
		errno = 4;
		assert_int_equal(comap_heap_posix_memalign(heap, &p, fx_blind(bad[i]), 100), EINVAL);
		assert_int_equal(errno, 4);
		assert_ptr_equal(p, (void *)0x20);
	}
	for (size_t align = 1; align < sizeof(void *); align *= 2) { /* POSIX: a multiple of a pointer */
		void *p = (void *)0x20;

		assert_int_equal(comap_heap_posix_memalign(heap, &p, align, 100), EINVAL);
		assert_ptr_equal(p, (void *)0x20);
	}
	fx_close(heap);
}

static void realloc_keeps_the_bytes_across_every_border(void **state)
{
	comap_heap *heap = fx_heap(512 * CM_MIB);

	(void)state;
	for (unsigned i = 1; i < NSIZES; i++)
		for (unsigned k = 1; k < NSIZES; k++) {
			size_t least = sizes[i] < sizes[k] ? sizes[i] : sizes[k];
			char *p = comap_heap_malloc(heap, sizes[i]), *q;

			assert_non_null(p);
			fx_fill(p, least, i * NSIZES + k);
			memset(p + least, 0x5a, sizes[i] - least < 4096 ? sizes[i] - least : 4096);
			q = comap_heap_realloc(heap, p, sizes[k]);
			assert_non_null(q);
			assert_true(fx_is_filled(q, least, i * NSIZES + k));
			assert_true(comap_heap_usable_size(heap, q) >= sizes[k]);
			memset(q, 1, sizes[k] < 200000 ? sizes[k] : 200000); /* writable */
			q[sizes[k] - 1] = 1;
			comap_heap_free(heap, q);
		}
	assert_int_equal(fx_live_blocks(heap), 0);
	assert_int_equal(fx_stats(heap).misuses, 0);
	fx_close(heap);
}

static void realloc_to_what_fits_stays_where_it_is(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	for (unsigned i = 1; i < NSIZES; i++) {
		char *p = comap_heap_malloc(heap, sizes[i]);
		size_t usable = comap_heap_usable_size(heap, p);

		assert_ptr_equal(comap_heap_realloc(heap, p, usable), p);
		assert_ptr_equal(comap_heap_realloc(heap, p, sizes[i]), p);
		assert_ptr_equal(comap_heap_reallocarray(heap, p, sizes[i], 1), p);
		comap_heap_free(heap, p);
	}
	fx_close(heap);
}

static void realloc_that_shrinks_gives_memory_back(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);

	(void)state;
	for (unsigned i = 1; i < NSIZES; i++) {
		char *p = comap_heap_malloc(heap, sizes[i]);

		fx_fill(p, 1, 1);
		p = comap_heap_realloc(heap, p, 1);
		assert_non_null(p);
		assert_true(fx_is_filled(p, 1, 1));
		assert_true(comap_heap_usable_size(heap, p) <= 64); /* not far more than asked for */
		comap_heap_free(heap, p);
	}
	fx_close(heap);
}

static void an_array_grows_piece_by_piece(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	uint32_t *a = NULL, *b = NULL;
	size_t n = 0;

	(void)state;
	while (n < 3000000) { /* two, so that they get into each other's way */
		size_t more = n + n / 3 + 1;

		a = comap_heap_reallocarray(heap, a, more, sizeof *a);
		b = comap_heap_reallocarray(heap, b, more, sizeof *b);
		assert_true(a && b);
		for (; n < more; n++) {
			a[n] = (uint32_t)n;
			b[n] = (uint32_t)~n;
		}
	}
	for (size_t i = 0; i < n; i++)
		assert_true(a[i] == i && b[i] == (uint32_t)~i);
	while (n > 10) {
		n = n * 2 / 3;
		a = comap_heap_reallocarray(heap, a, n, sizeof *a);
		for (size_t i = 0; i < n; i += 1 + n / 1000)
			assert_true(a[i] == i);
	}
	assert_sound(heap);
	fx_close(heap);
}

static void calloc_is_zero_whatever_was_there(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	uint64_t random = 21;

	(void)state;
	for (int round = 0; round < 400; round++) {
		size_t n = sizes[1 + fx_random(&random) % (NSIZES - 1)] - fx_random(&random) % 2;
		unsigned char *p;

		if (n == 0)
			continue;
		p = comap_heap_malloc(heap, n);
		assert_non_null(p);
		memset(p, 0xa5, comap_heap_usable_size(heap, p));
		comap_heap_free(heap, p);
		if (round % 5 == 0)
			assert_int_equal(comap_heap_trim(heap), 0);
		p = round & 1 ? comap_heap_calloc(heap, 1, n) : comap_heap_calloc(heap, n, 1);
		assert_non_null(p);
		assert_true(fx_is_zero(p, n));
		memset(p, 0x5a, comap_heap_usable_size(heap, p));
		comap_heap_free(heap, p);
	}
	fx_close(heap);
}

static void calloc_is_zero_in_a_heap_full_of_dirt(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	uint64_t random = 22;
	void *p[300] = { NULL };

	(void)state;
	for (int i = 0; i < 6000; i++) {
		unsigned k = (unsigned)(fx_random(&random) % 300);
		size_t n = fx_random(&random) % (1u << fx_random(&random) % 21);

		if (p[k])
			memset(p[k], 0xee, comap_heap_usable_size(heap, p[k]));
		comap_heap_free(heap, p[k]);
		p[k] = comap_heap_calloc(heap, n, 1);
		assert_non_null(p[k]);
		assert_true(fx_is_zero(p[k], n));
	}
	fx_close(heap);
}

static void strings_are_copied_with_their_end(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const char open_end[4] = { 'a', 'b', 'c', 'd' }; /* no NUL: strndup must not look for it */
	char *long_text = malloc(300000), *p;

	(void)state;
	p = comap_heap_strdup(heap, "");
	assert_string_equal(p, "");
	comap_heap_free(heap, p);
	p = comap_heap_strdup(heap, "fifteen chars..");
	assert_string_equal(p, "fifteen chars..");
	comap_heap_free(heap, p);
	p = comap_heap_strndup(heap, open_end, 4);
	assert_string_equal(p, "abcd");
	comap_heap_free(heap, p);
	p = comap_heap_strndup(heap, "abc", 2);
	assert_string_equal(p, "ab");
	p = comap_heap_strndup(heap, "abc", 0);
	assert_string_equal(p, "");
	p = comap_heap_strndup(heap, "abc", fx_blind(SIZE_MAX));
	assert_string_equal(p, "abc");
	memset(long_text, 'y', 299999);
	long_text[299999] = '\0';
	p = comap_heap_strdup(heap, long_text);
	assert_string_equal(p, long_text);
	free(long_text);
	fx_close(heap);
}

static void free_keeps_errno(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	comap_ref *cell;

	(void)state;
	opts.max_size = 256 * CM_MIB;
	opts.dirty_max = 1; /* every free punches a hole */
	heap = fx_heap_with(&opts);
	cell = comap_heap_calloc(heap, 1, 8);
	for (unsigned i = 0; i < NSIZES; i++) {
		void *p = comap_heap_malloc(heap, sizes[i]);

		heap->seg.backing.no_punch = i % 2; /* a purge that fails */
		errno = 1234;
		comap_heap_free(heap, p);
		assert_int_equal(errno, 1234);
		comap_heap_free(heap, p); /* double: reported, and still */
		comap_heap_free(heap, heap);
		assert_int_equal(errno, 1234);
		assert_non_null(comap_heap_malloc_to(heap, sizes[i], cell));
		errno = 1234;
		comap_heap_free_from(heap, cell);
		comap_heap_free_from(heap, cell);
		comap_heap_detach(heap);
		assert_int_equal(errno, 1234);
	}
	heap->seg.backing.no_punch = false;
	assert_sound(heap);
	errno = 1234;
	comap_heap_close(heap);
	comap_heap_close(NULL);
	assert_int_equal(errno, 1234);
}

static void usable_size_is_all_mine_and_nobody_elses(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	char *a = comap_heap_malloc(heap, 100), *b = comap_heap_malloc(heap, 100000);
	int local;

	(void)state;
	assert_int_equal(comap_heap_usable_size(heap, a), 112);
	assert_int_equal(comap_heap_usable_size(heap, b), 102400);
	assert_int_equal(comap_heap_usable_size(heap, a + 16), 0); /* no block begins there */
	assert_int_equal(comap_heap_usable_size(heap, b + 4096), 0);
	assert_int_equal(comap_heap_usable_size(heap, &local), 0);
	assert_int_equal(comap_heap_usable_size(heap, heap->seg.base), 0);
	comap_heap_free(heap, a);
	comap_heap_free(heap, b);
	assert_int_equal(comap_heap_usable_size(heap, a), 0);
	assert_int_equal(comap_heap_usable_size(heap, b), 0);
	fx_close(heap);
}

/* ---- malloc_to, free_from ------------------------------------------------------------ */

static void malloc_to_links_and_free_from_unlinks(void **state)
{
	comap_heap *heap = fx_heap(256 * CM_MIB);
	comap_ref *cell = comap_heap_calloc(heap, 2, sizeof *cell);

	(void)state;
	for (unsigned i = 0; i < NSIZES; i++) {
		void *p = comap_heap_malloc_to(heap, sizes[i], &cell[1]);

		assert_non_null(p);
		assert_ptr_equal(comap_heap_at(heap, cell[1]), p);
		assert_true(comap_heap_usable_size(heap, p) >= sizes[i]);
		assert_true(comap_ref_is_null(cell[0]));
		comap_heap_free_from(heap, &cell[1]);
		assert_true(comap_ref_is_null(cell[1]));
		assert_int_equal(comap_heap_usable_size(heap, p), 0);
	}
	assert_int_equal(fx_live_blocks(heap), 1);
	comap_heap_free_from(heap, &cell[0]); /* null: fine */
	assert_int_equal(fx_stats(heap).misuses, 0);
	fx_close(heap);
}

static void malloc_to_overwrites_and_does_not_free(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref *cell = comap_heap_calloc(heap, 1, sizeof *cell);
	void *first = comap_heap_malloc_to(heap, 10, cell);

	(void)state;
	assert_true(comap_heap_malloc_to(heap, 10, cell) != first);
	assert_true(comap_heap_usable_size(heap, first) >= 10);
	assert_int_equal(fx_live_blocks(heap), 3);
	fx_close(heap);
}

static void malloc_to_that_fails_leaves_the_cell(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref *cell = comap_heap_malloc(heap, sizeof *cell);

	(void)state;
	cell->off = 4711;
	assert_fails(heap, comap_heap_malloc_to(heap, fx_blind(SIZE_MAX), cell), ENOMEM);
	assert_fails(heap, comap_heap_malloc_to(heap, 64 * CM_MIB, cell), ENOMEM);
	assert_true(cell->off == 4711);
	fx_close(heap);
}

static void a_cell_outside_the_heap_is_einval(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref *cell = comap_heap_calloc(heap, 4, sizeof *cell), on_stack = {0};
	static comap_ref in_data;
	comap_ref *in_libc = calloc(1, sizeof *in_libc);
	char *base = heap->seg.base;
	comap_ref *const bad[] = {
		NULL, &on_stack, &in_data, in_libc,
		(comap_ref *)((char *)cell + 4), (comap_ref *)((char *)cell + 1), /* not aligned */
		(comap_ref *)base,                                                  /* the superblock */
		(comap_ref *)(base + CM_LOCKS_OFF), (comap_ref *)(base + CM_SLOTS_OFF + 64),
		(comap_ref *)(base + cm_seg_limit(&heap->seg)),                     /* not grown yet */
		(comap_ref *)(base + heap->seg.max_size),
	};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_fails(heap, comap_heap_malloc_to(heap, 100, bad[i]), EINVAL);
	assert_true(fx_is_zero(cell, 32) && fx_is_zero(&on_stack, 8) && fx_is_zero(in_libc, 8));
	free(in_libc);
	fx_close(heap);
}

/* "EINVAL when dst lies outside the heap's blocks": the tables between them are no block. */
static void a_cell_in_no_block_is_einval(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	char *small = comap_heap_malloc(heap, 100), *gone = comap_heap_malloc(heap, 500000);
	char *base = heap->seg.base;
	uint64_t off = cm_off_of(&heap->seg, small);

	(void)state;
	comap_heap_free(heap, gone);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_fails(heap, comap_heap_malloc_to(heap, 8, (comap_ref *)(gone + 64)), EINVAL);
	assert_fails(heap, comap_heap_malloc_to(heap, 8, (comap_ref *)(small + 112)), EINVAL);
	assert_fails(heap, comap_heap_malloc_to(heap, 8, (comap_ref *)(base + (off & ~(CM_SEGMENT - 1)))),
		     EINVAL); /* a segment's header */
	fx_close(heap);
}

/* ---- after fork, detach, many threads: still a malloc ------------------------------------ */

static void a_detached_thread_comes_back_with_its_next_call(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	void *p = comap_heap_malloc(heap, 10);

	(void)state;
	assert_int_equal(fx_stats(heap).slots_live, 1);
	comap_heap_detach(heap);
	assert_int_equal(fx_stats(heap).slots_live, 0);
	comap_heap_detach(heap); /* twice: fine */
	comap_heap_free(heap, p);
	assert_int_equal(fx_stats(heap).slots_live, 1);
	assert_int_equal(fx_live_blocks(heap), 0);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_block_has_the_size_and_alignment_it_promises),
		KIN_TEST(nothing_is_a_unique_pointer),
		KIN_TEST(impossible_sizes_are_enomem),
		KIN_TEST(products_that_overflow_are_enomem),
		KIN_TEST(good_alignments_are_kept_up_to_4_mib),
		KIN_TEST(bad_alignments_are_einval),
		KIN_TEST(realloc_keeps_the_bytes_across_every_border),
		KIN_TEST(realloc_to_what_fits_stays_where_it_is),
		KIN_TEST(realloc_that_shrinks_gives_memory_back),
		KIN_TEST(an_array_grows_piece_by_piece),
		KIN_TEST(calloc_is_zero_whatever_was_there),
		KIN_TEST(calloc_is_zero_in_a_heap_full_of_dirt),
		KIN_TEST(strings_are_copied_with_their_end),
		KIN_TEST(free_keeps_errno),
		KIN_TEST(usable_size_is_all_mine_and_nobody_elses),
		KIN_TEST(malloc_to_links_and_free_from_unlinks),
		KIN_TEST(malloc_to_overwrites_and_does_not_free),
		KIN_TEST(malloc_to_that_fails_leaves_the_cell),
		KIN_TEST(a_cell_outside_the_heap_is_einval),
		KIN_TEST(a_cell_in_no_block_is_einval),
		KIN_TEST(a_detached_thread_comes_back_with_its_next_call),
	};

	return cmocka_run_group_tests_name("heap/malloc", tests, NULL, NULL);
}
