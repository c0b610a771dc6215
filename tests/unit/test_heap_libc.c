/*
 * test_heap_libc.c - the same random calls on libc's malloc and on ours, compared one by one.
 *
 * Compared: whether NULL comes back, errno when it does, contents, alignment, and that
 * usable_size holds what was asked for.  Where glibc is known to be laxer than the contract
 * (memalign rounds a bad alignment up) libc is not asked.
 */
#include <malloc.h>
#include "fixture.h"

#define BLOCKS 128

/* libc as a sanitizer has it ends the program where glibc returns NULL: unless told. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

struct pair {
	void *libc, *ours;
	size_t n, align;
	uint64_t seed;
};

struct run {
	comap_heap *heap;
	uint64_t random;
	struct pair block[BLOCKS];
};

static uint64_t pick(struct run *r, uint64_t n)
{
	return fx_random(&r->random) % n;
}

static size_t size_of(struct run *r)
{
	switch (pick(r, 16)) {
	case 0:
		return 0;
	case 1:
		return (size_t)pick(r, 6 * CM_MIB);
	case 2:
	case 3:
		return 60000 + (size_t)pick(r, 80000);
	case 4:
		return (size_t)1 << pick(r, 21);
	case 5:
	case 6:
	case 7:
		return (size_t)pick(r, 5000);
	default:
		return (size_t)pick(r, 300);
	}
}

/* A size neither has: libc is asked for its NULL and errno only where that is safe. */
static size_t impossible_size(struct run *r)
{
	const size_t some[] = {SIZE_MAX, SIZE_MAX - 15, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,
			       (size_t)1 << 62, (size_t)1 << 55};

	return fx_blind(some[pick(r, sizeof some / sizeof *some)]);
}

static void check_pair(struct run *r, const struct pair *p)
{
	assert_true(fx_is_filled(p->ours, p->n, p->seed));
	assert_true(fx_is_filled(p->libc, p->n, p->seed));
	assert_true((uintptr_t)p->ours % p->align == 0);
	assert_true(comap_heap_usable_size(r->heap, p->ours) >= p->n);
}

static void drop(struct run *r, struct pair *p)
{
	int saved = (int)pick(r, 100);

	if (!p->ours)
		return;
	check_pair(r, p);
	errno = saved;
	free(p->libc);
	assert_int_equal(errno, saved);
	comap_heap_free(r->heap, p->ours);
	assert_int_equal(errno, saved);
	*p = (struct pair){0};
}

static void keep(struct run *r, struct pair *p, void *libc, void *ours, size_t n, size_t align)
{
	assert_true((libc == NULL) == (ours == NULL));
	*p = (struct pair){ libc, ours, n, align, fx_random(&r->random) };
	if (!ours)
		return;
	fx_fill(libc, n, p->seed);
	fx_fill(ours, n, p->seed);
	check_pair(r, p);
}

static void do_malloc(struct run *r, struct pair *p)
{
	size_t n = size_of(r);

	drop(r, p);
	keep(r, p, malloc(n), comap_heap_malloc(r->heap, n), n, 16);
}

static void do_calloc(struct run *r, struct pair *p)
{
	size_t n = size_of(r) / 7, of = pick(r, 2) ? 7 : 0;
	void *libc, *ours;

	drop(r, p);
	libc = calloc(n, of);
	ours = comap_heap_calloc(r->heap, n, of);
	assert_true(libc && ours);
	assert_true(fx_is_zero(ours, n * of) && fx_is_zero(libc, n * of));
	keep(r, p, libc, ours, n * of, 16);
}

/* Do the first `least` bytes stand where fx_fill(p->n) put them?  (Large patterns have gaps.) */
static bool has_prefix(const void *bytes, size_t least, const struct pair *p)
{
	unsigned char *whole = malloc(p->n + 1);
	bool is_same = true;

	fx_fill(whole, p->n, p->seed);
	for (size_t i = 0; i < least; i += p->n <= 4096 ? 1 : 61)
		is_same = is_same && ((const unsigned char *)bytes)[i] == whole[i];
	free(whole);
	return is_same;
}

static void do_realloc(struct run *r, struct pair *p)
{
	size_t n = size_of(r), least = n < p->n ? n : p->n;
	bool is_array = pick(r, 2);
	void *libc, *ours;

	if (p->ours && n == 0) { /* both free it */
		check_pair(r, p);
		libc = p->libc;
		ours = p->ours;
		assert_null(is_array ? reallocarray(libc, 0, 9) : realloc(libc, 0));
		assert_null(is_array ? comap_heap_reallocarray(r->heap, ours, 0, 9)
				     : comap_heap_realloc(r->heap, ours, 0));
		*p = (struct pair){0};
		return;
	}
	libc = is_array ? reallocarray(p->libc, n, 1) : realloc(p->libc, n);
	ours = is_array ? comap_heap_reallocarray(r->heap, p->ours, n, 1)
			: comap_heap_realloc(r->heap, p->ours, n);
	assert_true(libc && ours);
	if (p->ours) {
		assert_true(has_prefix(ours, least, p));
		assert_true(has_prefix(libc, least, p));
	}
	keep(r, p, libc, ours, n, 16);
}

static void do_aligned(struct run *r, struct pair *p)
{
	size_t align = (size_t)1 << pick(r, 23), n = size_of(r);
	void *libc = NULL, *ours = NULL;
	int a, b;

	drop(r, p);
	switch (pick(r, 3)) {
	case 0:
		n = cm_round_up(n, align); /* what C11 asks for */
		libc = aligned_alloc(align, n);
		ours = comap_heap_aligned_alloc(r->heap, align, n);
		break;
	case 1:
		libc = memalign(align, n);
		ours = comap_heap_memalign(r->heap, align, n);
		break;
	default:
		errno = 77;
		a = posix_memalign(&libc, align, n);
		b = comap_heap_posix_memalign(r->heap, &ours, align, n);
		assert_int_equal(a, b);
		assert_int_equal(errno, 77);
		if (a)
			libc = ours = NULL;
	}
	keep(r, p, libc, ours, n, align < 16 ? 1 : align);
}

static void do_strings(struct run *r, struct pair *p)
{
	static const char text[] = "a text of some length that is not a multiple of anything in particular";
	size_t max = (size_t)pick(r, sizeof text + 10);
	char *libc, *ours;

	drop(r, p);
	libc = max % 2 ? strdup(text) : strndup(text, max);
	ours = max % 2 ? comap_heap_strdup(r->heap, text) : comap_heap_strndup(r->heap, text, max);
	assert_string_equal(libc, ours);
	keep(r, p, libc, ours, strlen(libc) + 1, 16);
}

/* Both NULL, both ENOMEM, and what the pointer held is there as before. */
static void do_impossible(struct run *r, struct pair *p)
{
	size_t n = impossible_size(r), m = (size_t)pick(r, 3) + 2;
	bool asks_libc = !kin_is_valgrind();
	unsigned how = (unsigned)pick(r, 6);
	void *libc = NULL, *ours = NULL, *q = NULL;
	void *volatile answer; /* a compiler that knows malloc would say it is not NULL */

	if (how == 5 && n < SIZE_MAX / 2)
		n = fx_blind(SIZE_MAX / 2 + 1);
	errno = ENOMEM;
	if (asks_libc) {
		errno = 0;
		answer = how == 0   ? malloc(n)
			 : how == 1 ? calloc(m, n)
			 : how == 2 ? realloc(p->libc, n)
			 : how == 3 ? reallocarray(p->libc, n, m)
			 : how == 4 ? memalign(64, n)
				    : calloc(n, m);
		libc = answer;
	}
	assert_null(libc);
	if (!FX_IS_SANITIZED)
		assert_int_equal(errno, ENOMEM);
	errno = 0;
	ours = how == 0	  ? comap_heap_malloc(r->heap, n)
	       : how == 1 ? comap_heap_calloc(r->heap, m, n)
	       : how == 2 ? comap_heap_realloc(r->heap, p->ours, n)
	       : how == 3 ? comap_heap_reallocarray(r->heap, p->ours, n, m)
	       : how == 4 ? comap_heap_memalign(r->heap, 64, n)
			  : comap_heap_calloc(r->heap, n, m);
	assert_null(ours);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(comap_heap_posix_memalign(r->heap, &q, 64, n), ENOMEM);
	if (p->ours)
		check_pair(r, p);
}

static void the_same_calls_have_the_same_answers(uint64_t seed, int steps)
{
	struct run r = { .heap = fx_heap(CM_GIB), .random = seed };
	uint64_t live = 0;

	for (int i = 0; i < steps; i++) {
		struct pair *p = &r.block[pick(&r, BLOCKS)];

		switch (pick(&r, 12)) {
		case 0:
		case 1:
		case 2:
			do_malloc(&r, p);
			break;
		case 3:
			do_calloc(&r, p);
			break;
		case 4:
		case 5:
		case 6:
			do_realloc(&r, p);
			break;
		case 7:
			do_aligned(&r, p);
			break;
		case 8:
			do_strings(&r, p);
			break;
		case 9:
			do_impossible(&r, p);
			break;
		default:
			drop(&r, p);
		}
		if (i % 1000 == 0)
			assert_sound(r.heap);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		live += r.block[i].ours != NULL;
	assert_int_equal(fx_live_blocks(r.heap), live);
	for (unsigned i = 0; i < BLOCKS; i++)
		drop(&r, &r.block[i]);
	assert_int_equal(fx_live_blocks(r.heap), 0);
	assert_int_equal(fx_stats(r.heap).misuses, 0);
	assert_int_equal(comap_heap_trim(r.heap), 0);
	fx_close(r.heap);
}

static void ours_answers_as_libc_does(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= (kin_is_valgrind() ? 1 : 4); seed++)
		the_same_calls_have_the_same_answers(seed, kin_is_valgrind() ? 1200 : 3500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(ours_answers_as_libc_does),
	};

	return cmocka_run_group_tests_name("heap/malloc against libc", tests, NULL, NULL);
}
