/*
 * test_heap_ref.c - refs mean the same in every mapping, and are checked where they are not
 * trusted.
 *
 * two_maps: the same heap opened twice in this process, at different addresses.  What was
 * written through one is read through the other after the first is gone: an address that was
 * stored in the heap would fault at once.
 */
#include "fixture.h"

typedef COMAP_REF(struct node) node_ref;

struct node {
	node_ref next, other;
	comap_ref text;
	uint64_t value;
};

static comap_heap *second_map(comap_heap *heap, uint32_t flags)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *other = NULL;

	opts.flags = flags;
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), &opts, &other), 0);
	assert_ptr_not_equal(heap->seg.base, other->seg.base);
	return other;
}

static void a_list_built_in_one_mapping_is_read_in_another(void **state)
{
	comap_heap *a = fx_heap(64 * CM_MIB), *b = second_map(a, 0);
	struct node *head = NULL, *n;
	unsigned count = 0;
	comap_ref ref;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		comap_heap *via = i % 2 ? a : b; /* by turns */

		n = comap_heap_calloc(via, 1, i % 50 ? sizeof *n : 300000);
		assert_non_null(n);
		n->value = i;
		n->text = comap_heap_ref(via, comap_heap_strdup(via, "text"));
		n->next.ref = i ? comap_heap_ref(i % 2 ? b : a, head) : COMAP_NULL;
		head = n;
	}
	assert_int_equal(comap_root_set(a, "list", comap_heap_ref(a, head)), 0);
	assert_sound(a);
	fx_close(a);
	assert_int_equal(comap_root_get(b, "list", &ref), 0);
	for (n = comap_heap_at(b, ref); n; n = comap_at(b, n->next)) {
		assert_true(n->value == 999 - count++);
		assert_string_equal(comap_heap_at(b, n->text), "text");
	}
	assert_int_equal(count, 1000);
	assert_int_equal(fx_live_blocks(b), 2000);
	fx_close(b);
}

static void every_kind_of_operation_works_through_both_mappings(void **state)
{
	comap_heap *a = fx_heap(64 * CM_MIB), *b = second_map(a, 0);
	uint64_t random = 41;
	comap_ref live[200] = { {0} };

	(void)state;
	for (int i = 0; i < 4000; i++) {
		unsigned k = (unsigned)(fx_random(&random) % 200);
		comap_heap *via = fx_random(&random) % 2 ? a : b;
		size_t n = fx_random(&random) % (i % 10 ? 2000 : 200000) + 8;
		uint64_t *p;

		if (!comap_ref_is_null(live[k])) {
			p = comap_heap_at(via, live[k]);
			assert_true(*p == live[k].off);
			p = fx_random(&random) % 2 ? comap_heap_realloc(via, p, n)
						   : (comap_heap_free(via, p), comap_heap_malloc(via, n));
		} else {
			p = comap_heap_malloc(via, n);
		}
		assert_non_null(p);
		live[k] = comap_heap_ref(via, p);
		*p = live[k].off;
	}
	assert_sound(a);
	assert_sound(b);
	fx_close(a);
	for (unsigned k = 0; k < 200; k++)
		if (!comap_ref_is_null(live[k]))
			assert_true(*(uint64_t *)comap_heap_at(b, live[k]) == live[k].off);
	fx_close(b);
}

static void the_two_mappings_are_two_parties(void **state)
{
	comap_heap *a = fx_heap(64 * CM_MIB), *b = second_map(a, 0);
	comap_mutex *in_a = comap_heap_calloc(a, 1, sizeof *in_a);
	comap_mutex *in_b = comap_heap_at(b, comap_heap_ref(a, in_a));

	(void)state;
	assert_int_equal(comap_mutex_lock(a, in_a), 0);
	assert_int_equal(comap_mutex_trylock(b, in_b), -EBUSY);
	assert_int_equal(comap_mutex_unlock(b, in_b), -EPERM);
	assert_int_equal(comap_mutex_unlock(a, in_a), 0);
	assert_int_equal(comap_mutex_trylock(b, in_b), 0);
	assert_int_equal(comap_mutex_trylock(a, in_a), -EBUSY);
	assert_int_equal(fx_stats(a).slots_live, 2);
	assert_int_equal(comap_mutex_unlock(b, in_b), 0);
	assert_true(
		comap_ref_is_null(comap_heap_ref(b, in_a))); /* an address of the other mapping */
	fx_close(b);
	assert_int_equal(fx_stats(a).slots_live, 1);
	fx_close(a);
}

/* ---- refs --------------------------------------------------------------------------------- */

static void a_ref_and_an_address_are_each_others_inverse(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	char *p = comap_heap_malloc(heap, 500000);

	(void)state;
	for (size_t i = 0; i < 500000; i += 4999) {
		comap_ref ref = comap_heap_ref(heap, p + i);

		assert_false(comap_ref_is_null(ref));
		assert_ptr_equal(comap_heap_at(heap, ref), p + i);
	}
	assert_null(comap_heap_at(heap, COMAP_NULL));
	assert_true(comap_ref_is_null(COMAP_NULL));
	assert_true(comap_ref_is_same(comap_heap_ref(heap, p), comap_heap_ref(heap, p)));
	assert_false(comap_ref_is_same(comap_heap_ref(heap, p), comap_heap_ref(heap, p + 1)));
	fx_close(heap);
}

static void an_address_outside_has_no_ref(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	char *base = heap->seg.base, *p = comap_heap_malloc(heap, 10);
	const void *outside[] = {
		&heap, base, base + CM_SLOTS_OFF, base + heap->seg.data_off - 1,
		base + cm_seg_limit(&heap->seg), base + heap->seg.max_size, base - 1, (void *)1,
	};

	(void)state;
	assert_non_null(p);
	for (unsigned i = 0; i < sizeof outside / sizeof *outside; i++) {
		errno = 0;
		assert_true(comap_ref_is_null(comap_heap_ref(heap, outside[i])));
		assert_int_equal(errno, EFAULT);
	}
	errno = 0;
	assert_true(comap_ref_is_null(comap_heap_ref(heap, NULL)));
	assert_int_equal(errno, 0);
	fx_close(heap);
}

static void *checked(comap_heap *heap, uint64_t off, size_t size)
{
	return comap_heap_at_checked(heap, (comap_ref){ off }, size);
}

static void a_checked_ref_stays_within_one_live_block(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const size_t sizes[] = { 16, 100, 4096, 65536, 65537, 200000, 4194304, 5000000 };

	(void)state;
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *p = comap_heap_malloc(heap, sizes[i]);
		size_t usable = comap_heap_usable_size(heap, p);
		uint64_t off = comap_heap_ref(heap, p).off;

		assert_ptr_equal(checked(heap, off, usable), p);
		assert_ptr_equal(checked(heap, off, 0), p);
		assert_ptr_equal(checked(heap, off + usable - 1, 1), p + usable - 1);
		assert_ptr_equal(checked(heap, off + usable / 2, usable - usable / 2), p + usable / 2);
		errno = 0;
		assert_null(checked(heap, off, usable + 1));
		assert_int_equal(errno, EFAULT);
		assert_null(checked(heap, off + 1, usable));
		assert_null(checked(heap, off + usable - 1, 2));
		assert_null(checked(heap, off + 1, SIZE_MAX));
		assert_null(checked(heap, off, SIZE_MAX));
		comap_heap_free(heap, p);
		errno = 0;
		assert_null(checked(heap, off, 1));
		assert_int_equal(errno, EFAULT);
		assert_null(checked(heap, off + usable / 2, 1));
	}
	fx_close(heap);
}

static void a_checked_ref_to_no_block_is_efault(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	char *p = comap_heap_malloc(heap, 100);
	uint64_t off = comap_heap_ref(heap, p).off, random = 42;
	const uint64_t bad[] = {
		1,
		8,
		4096,
		CM_LOCKS_OFF,
		CM_SLOTS_OFF,
		heap->seg.data_off,
		heap->seg.data_off + CM_UNIT - 1,
		cm_seg_limit(&heap->seg), cm_seg_limit(&heap->seg) - 1, heap->seg.max_size, ~0ull, ~15ull,
		1ull << 63, off + 112, (off & ~0xffffull) + 65535, off + CM_UNIT, off + 8 * CM_UNIT,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		errno = 0;
		assert_null(checked(heap, bad[i], 1));
		assert_int_equal(errno, EFAULT);
	}
	for (int i = 0; i < 100000; i++) {
		uint64_t wild = fx_random(&random) >> fx_random(&random) % 64;

		if (wild != 0 && (wild < off || wild >= off + 112))
			assert_null(checked(heap, wild, 1));
	}
	errno = 0;
	assert_null(checked(heap, 0, 1));
	assert_int_equal(errno, 0); /* null is no mistake */
	fx_close(heap);
}

static void a_cell_is_swapped_only_from_what_was_expected(void **state)
{
	comap_ref cell = { 7 }, expected = { 8 }, old;

	(void)state;
	assert_false(comap_ref_cas(&cell, &expected, (comap_ref){ 9 }));
	assert_true(expected.off == 7 && cell.off == 7);
	assert_true(comap_ref_cas(&cell, &expected, (comap_ref){ 9 }));
	assert_true(cell.off == 9 && expected.off == 7);
	old = comap_ref_exchange(&cell, COMAP_NULL);
	assert_true(old.off == 9 && cell.off == 0);
	comap_ref_store(&cell, (comap_ref){ 11 });
	assert_true(comap_ref_load(&cell).off == 11);
}

static void typed_refs_carry_their_type(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct node *a = comap_heap_calloc(heap, 1, sizeof *a), *b = comap_heap_calloc(heap, 1, sizeof *b);
	void *untyped = b;

	(void)state;
	assert_int_equal(sizeof(node_ref), 8);
	b->value = 5;
	comap_set(heap, a->next, b);
	assert_int_equal(comap_at(heap, a->next)->value, 5);
	comap_set(heap, a->other, untyped);
	assert_ptr_equal(comap_at(heap, a->other), b);
	comap_set(heap, a->next, NULL);
	assert_null(comap_at(heap, a->next));
	assert_non_null(comap_heap_malloc_to(heap, sizeof *b, &a->next.ref));
	comap_at(heap, a->next)->value = 6;
	comap_heap_free_from(heap, &a->next.ref);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_list_built_in_one_mapping_is_read_in_another),
		KIN_TEST(every_kind_of_operation_works_through_both_mappings),
		KIN_TEST(the_two_mappings_are_two_parties),
		KIN_TEST(a_ref_and_an_address_are_each_others_inverse),
		KIN_TEST(an_address_outside_has_no_ref),
		KIN_TEST(a_checked_ref_stays_within_one_live_block),
		KIN_TEST(a_checked_ref_to_no_block_is_efault),
		KIN_TEST(a_cell_is_swapped_only_from_what_was_expected),
		KIN_TEST(typed_refs_carry_their_type),
	};

	return cmocka_run_group_tests_name("heap/ref", tests, NULL, NULL);
}
