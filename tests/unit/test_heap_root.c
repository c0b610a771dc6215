/* test_heap_root.c - named roots: names, many of them, create-once. */
#include <pthread.h>
#include "fixture.h"

static comap_ref new_block(comap_heap *heap)
{
	void *p = comap_heap_malloc(heap, 16);

	assert_non_null(p);
	return comap_heap_ref(heap, p);
}

static int get(comap_heap *heap, const char *name, comap_ref *ref)
{
	ref->off = 4711;
	return comap_root_get(heap, name, ref);
}

static void a_root_is_set_got_and_forgotten(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref a = new_block(heap), b = new_block(heap), ref;

	(void)state;
	assert_int_equal(get(heap, "x", &ref), -ENOENT);
	assert_int_equal(ref.off, 4711); /* written on success only */
	assert_int_equal(comap_root_delete(heap, "x"), -ENOENT);
	assert_int_equal(comap_root_set(heap, "x", a), 0);
	assert_int_equal(comap_root_set(heap, "y", COMAP_NULL), 0);
	assert_int_equal(get(heap, "x", &ref), 0);
	assert_true(comap_ref_is_same(ref, a));
	assert_int_equal(comap_root_set(heap, "x", b), 0);
	assert_int_equal(get(heap, "x", &ref), 0);
	assert_true(comap_ref_is_same(ref, b));
	assert_int_equal(get(heap, "y", &ref), 0); /* null is a value like another */
	assert_true(comap_ref_is_null(ref));
	assert_int_equal(comap_root_delete(heap, "x"), 0);
	assert_int_equal(get(heap, "x", &ref), -ENOENT);
	assert_int_equal(comap_root_delete(heap, "x"), -ENOENT);
	assert_int_equal(fx_live_blocks(heap), 2); /* what it referred to is not freed */
	fx_close(heap);
}

static void a_ref_outside_the_heap_is_einval(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const uint64_t bad[] = { 1,
				 4096,
				 CM_ROOTS_OFF,
				 heap->seg.data_off - 8,
				 cm_seg_limit(&heap->seg),
				 heap->seg.max_size,
				 ~0ull,
				 1ull << 63 };
	comap_ref ref;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(comap_root_set(heap, "x", (comap_ref){ bad[i] }), -EINVAL);
	assert_int_equal(get(heap, "x", &ref), -ENOENT);
	fx_close(heap);
}

/* ---- names ---------------------------------------------------------------------------- */

static void assert_bad_name(comap_heap *heap, const char *name)
{
	comap_ref ref;
	int err = comap_root_set(heap, name, COMAP_NULL);

	if (err != -EINVAL)
		fail_msg("\"%s\": %d", name ? name : "NULL", err);
	assert_int_equal(comap_root_get(heap, name, &ref), -EINVAL);
	assert_int_equal(comap_root_delete(heap, name), -EINVAL);
	assert_int_equal(comap_root_once(heap, name, NULL, NULL, 0, &ref), -EINVAL);
}

static int leaves_null(comap_heap *heap, comap_ref *cell, void *arg)
{
	(void)heap;
	(void)cell;
	(void)arg;
	return 0;
}

static void names_are_utf8_of_1_to_63_bytes(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	static const char *const good[] = {
		"a", " ", "/", "\x01", "\x7f", "gr\xc3\xbc\xc3\x9f\x65", "\xc2\x80", "\xdf\xbf",
		"\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf", "\xe2\x82\xac", "\xf0\x9f\x90\xa7",
	};
	static const char *const bad[] = {
		NULL, "",
		"\x80", "\xbf", "a\x80", "\xff", "\xfe", "\xf8\x88\x80\x80\x80", /* no beginnings */
		"\xc3", "\xe2\x82", "\xf0\x9f\x90", "a\xc3z", "\xe2\x28\xa1",    /* cut short */
		"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf",          /* overlong */
		"\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
		"\xed\xa0\x80", "\xed\xbf\xbf",                                  /* surrogates */
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf7\xbf\xbf\xbf",      /* beyond U+10FFFF */
	};
	comap_ref ref;

	(void)state;
	for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(comap_root_once(heap, good[i], leaves_null, NULL, 0, &ref), 0);
		assert_int_equal(comap_root_set(heap, good[i], COMAP_NULL), 0);
		assert_int_equal(comap_root_get(heap, good[i], &ref), 0);
		assert_int_equal(comap_root_delete(heap, good[i]), 0);
	}
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_bad_name(heap, bad[i]);
	fx_close(heap);
}

static void a_name_has_63_bytes_at_most(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_root_iter iter = {0};
	char name[70], twin[70];
	comap_ref a = new_block(heap), ref;

	(void)state;
	memset(name, 'n', sizeof name);
	name[64] = '\0';
	assert_bad_name(heap, name);
	name[69] = '\0';
	name[64] = 'n';
	assert_bad_name(heap, name);
	name[63] = '\0';
	strcpy(twin, name);
	twin[62] = 'm'; /* they differ in the last byte */
	assert_int_equal(comap_root_set(heap, name, a), 0);
	assert_int_equal(comap_root_set(heap, twin, COMAP_NULL), 0);
	assert_int_equal(get(heap, name, &ref), 0);
	assert_true(comap_ref_is_same(ref, a));
	assert_int_equal(comap_root_next(heap, &iter), 1);
	assert_int_equal(strlen(iter.name), 63);
	assert_string_equal(iter.name, name);
	name[62] = '\0';
	assert_int_equal(get(heap, name, &ref), -ENOENT); /* a prefix is another name */
	memset(name, 'n', 62); /* a character that does not end within 63 bytes */
	strcpy(name + 61, "\xe2\x82\xac");
	assert_bad_name(heap, name);
	fx_close(heap);
}

/* ---- many ------------------------------------------------------------------------------- */

static unsigned count(comap_heap *heap)
{
	struct comap_root_iter iter = {0};
	unsigned n = 0;
	int got;

	while ((got = comap_root_next(heap, &iter)) == 1)
		n++;
	assert_int_equal(got, 0);
	return n;
}

static void a_thousand_roots_keep_what_they_refer_to(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	const unsigned n = 1200;
	comap_ref block = new_block(heap), ref;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "root-%u", i);
		assert_int_equal(comap_root_set(heap, name, (comap_ref){ block.off + i }), 0);
	}
	assert_sound(heap);
	assert_int_equal(count(heap), n);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "root-%u", i);
		assert_int_equal(get(heap, name, &ref), 0);
		assert_true(ref.off == block.off + i);
	}
	for (unsigned i = 0; i < n; i += 2) {
		snprintf(name, sizeof name, "root-%u", i);
		assert_int_equal(comap_root_delete(heap, name), 0);
	}
	assert_int_equal(count(heap), n / 2);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "root-%u", i);
		assert_int_equal(get(heap, name, &ref), i % 2 ? 0 : -ENOENT);
	}
	assert_sound(heap);
	fx_close(heap);
}

static void deleted_entries_are_used_again(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	uint64_t blocks = 0;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "passing %u", i);
		assert_int_equal(comap_root_set(heap, name, COMAP_NULL), 0);
		if (i >= 50) {
			snprintf(name, sizeof name, "passing %u", i - 50);
			assert_int_equal(comap_root_delete(heap, name), 0);
		}
		if (i == 100)
			blocks = fx_live_blocks(heap);
	}
	assert_int_equal(fx_live_blocks(heap), blocks); /* no more pages of entries */
	assert_int_equal(count(heap), 50);
	fx_close(heap);
}

/* An empty entry before it does not make a second one of the same name. */
static void a_name_is_there_once(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	char name[32];
	comap_ref ref;

	(void)state;
	for (unsigned i = 0; i < 70; i++) {
		snprintf(name, sizeof name, "n%u", i);
		assert_int_equal(comap_root_set(heap, name, COMAP_NULL), 0);
	}
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "n%u", i);
		assert_int_equal(comap_root_delete(heap, name), 0);
	}
	assert_int_equal(comap_root_set(heap, "n69", new_block(heap)), 0);
	assert_int_equal(count(heap), 30);
	assert_int_equal(comap_root_delete(heap, "n69"), 0);
	assert_int_equal(get(heap, "n69", &ref), -ENOENT);
	fx_close(heap);
}

static void an_iteration_stands_changes(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_root_iter iter = {0}, before;
	unsigned n = 0;
	char name[32];

	(void)state;
	assert_int_equal(comap_root_next(heap, &iter), 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "n%u", i);
		assert_int_equal(comap_root_set(heap, name, COMAP_NULL), 0);
	}
	while (comap_root_next(heap, &iter) == 1) { /* deletes what it is shown */
		assert_int_equal(comap_root_delete(heap, iter.name), 0);
		n++;
	}
	assert_int_equal(n, 100);
	assert_int_equal(count(heap), 0);
	before = iter;
	assert_int_equal(comap_root_next(heap, &iter), 0);
	assert_memory_equal(&iter, &before, sizeof iter);
	iter.pos = ~0ull; /* from nowhere */
	assert_int_equal(comap_root_next(heap, &iter), 0);
	fx_close(heap);
}

/* ---- create once ---------------------------------------------------------------------------- */

struct once {
	unsigned runs;
	int result;
	bool leaves_a_block;
	comap_ref seen;
};

static int counts(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct once *o = arg;

	o->runs++;
	o->seen = *cell;
	if (o->leaves_a_block)
		assert_non_null(comap_heap_malloc_to(heap, 64, cell));
	return o->result;
}

static void an_initialiser_runs_once(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct once o = { .leaves_a_block = true };
	comap_ref ref, again;

	(void)state;
	assert_int_equal(comap_root_once(heap, "x", counts, &o, COMAP_FOREVER, &ref), 0);
	assert_true(comap_ref_is_null(o.seen));
	assert_false(comap_ref_is_null(ref));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(comap_root_once(heap, "x", counts, &o, 0, &again), 0);
		assert_true(comap_ref_is_same(ref, again));
	}
	assert_int_equal(o.runs, 1);
	assert_int_equal(comap_root_get(heap, "x", &again), 0);
	assert_true(comap_ref_is_same(ref, again));
	assert_int_equal(comap_root_delete(heap, "x"), 0);
	assert_int_equal(comap_root_once(heap, "x", counts, &o, 0, &again), 0);
	assert_int_equal(o.runs, 2); /* gone means afresh */
	assert_int_equal(comap_root_set(heap, "set", ref), 0);
	assert_int_equal(comap_root_once(heap, "set", counts, &o, 0, &again), 0);
	assert_int_equal(o.runs, 2);
	fx_close(heap);
}

static void an_initialiser_that_fails_leaves_no_root(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct once o = { .result = -EXDEV };
	comap_ref ref = { 5 };

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(comap_root_once(heap, "x", counts, &o, COMAP_FOREVER, &ref), -EXDEV);
		assert_int_equal(comap_root_get(heap, "x", &ref), -ENOENT);
		assert_int_equal(count(heap), 0);
	}
	assert_int_equal(o.runs, 3);
	assert_true(ref.off == 5);
	o.result = 0;
	assert_int_equal(comap_root_once(heap, "x", counts, &o, COMAP_FOREVER, &ref), 0);
	assert_true(comap_ref_is_null(ref)); /* it left nothing in the cell: fine */
	assert_int_equal(comap_root_get(heap, "x", &ref), 0);
	fx_close(heap);
}

static int recurses(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct once inner = { .leaves_a_block = true };
	comap_ref ref;

	(void)arg;
	KIN_CHECK(comap_root_once(heap, "x", counts, &inner, 0, &ref) == -EDEADLK);
	KIN_CHECK(inner.runs == 0);
	/* another name is fine, and so is everything else */
	KIN_CHECK(comap_root_once(heap, "inner", counts, &inner, 0, &ref) == 0);
	KIN_CHECK(comap_root_set(heap, "x", ref) == -EBUSY);
	KIN_CHECK(comap_root_delete(heap, "x") == -EBUSY);
	KIN_CHECK(comap_root_get(heap, "x", &ref) == -ENOENT);
	KIN_CHECK(comap_root_set(heap, "third", ref) == 0);
	KIN_CHECK(comap_heap_check(heap, NULL, NULL) == 0);
	KIN_CHECK(comap_heap_malloc_to(heap, 10, cell) != NULL);
	return 0;
}

static void an_initialiser_may_use_everything_but_itself(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	comap_ref ref;

	(void)state;
	assert_int_equal(comap_root_once(heap, "x", recurses, NULL, COMAP_FOREVER, &ref), 0);
	assert_int_equal(count(heap), 3);
	fx_close(heap);
}

/* ---- create once, by several --------------------------------------------------------- */

struct shared {
	comap_heap *heap;
	_Atomic uint32_t stage; /* 1: the initialiser runs; 2: it may end */
	_Atomic uint32_t runs;
	int result;
};

static int waits(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct shared *s = arg;

	KIN_CHECK(atomic_fetch_add(&s->runs, 1) == 0 || s->result);
	kin_raise(&s->stage, 1);
	KIN_CHECK(kin_await(&s->stage, 2));
	KIN_CHECK(s->result || comap_heap_malloc_to(heap, 10, cell) != NULL);
	return s->result;
}

static void *calls_once(void *arg)
{
	struct shared *s = arg;
	comap_ref ref;
	int err = comap_root_once(s->heap, "x", waits, s, COMAP_FOREVER, &ref);

	KIN_CHECK(err == s->result);
	return (void *)(uintptr_t)(err ? 0 : ref.off);
}

static void others_wait_and_get_the_same(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB) };
	pthread_t thread[5];
	void *off[5];
	comap_ref ref;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, calls_once, &s), 0);
	assert_true(kin_await(&s.stage, 1));
	assert_int_equal(comap_root_get(s.heap, "x", &ref), -ENOENT);
	assert_int_equal(comap_root_set(s.heap, "x", COMAP_NULL), -EBUSY);
	assert_int_equal(comap_root_delete(s.heap, "x"), -EBUSY);
	assert_int_equal(count(s.heap), 0);
	assert_sound(s.heap);
	kin_raise(&s.stage, 2);
	for (unsigned i = 0; i < 5; i++) {
		pthread_join(thread[i], &off[i]);
		assert_true(off[i] && off[i] == off[0]);
	}
	assert_int_equal(s.runs, 1);
	assert_int_equal(fx_live_blocks(s.heap), 1);
	fx_close(s.heap);
}

static void a_wait_for_the_initialiser_has_a_deadline(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB) };
	struct once mine = {0};
	const uint64_t timeouts[] = { 0, 1, 5000000, 35000000 };
	pthread_t thread;
	comap_ref ref;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, calls_once, &s), 0);
	assert_true(kin_await(&s.stage, 1));
	for (unsigned i = 0; i < 4; i++) {
		uint64_t start = cm_os_now_ns(), took;

		assert_int_equal(comap_root_once(s.heap, "x", counts, &mine, timeouts[i], &ref),
				 -ETIMEDOUT);
		took = cm_os_now_ns() - start;
		assert_true(took >= timeouts[i]);
		assert_true(took < timeouts[i] + 5000000000ull);
	}
	assert_int_equal(mine.runs, 0);
	kin_raise(&s.stage, 2);
	pthread_join(thread, NULL);
	assert_int_equal(comap_root_once(s.heap, "x", counts, &mine, 0, &ref), 0);
	fx_close(s.heap);
}

static void after_a_failure_the_next_in_line_tries(void **state)
{
	struct shared s = { .heap = fx_heap(64 * CM_MIB), .result = -EXDEV };
	pthread_t thread[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, calls_once, &s), 0);
	assert_true(kin_await(&s.stage, 1));
	while (atomic_load(&s.runs) < 3) { /* each in turn fails */
		kin_raise(&s.stage, 2);
		kin_sleep_us(1000);
	}
	kin_raise(&s.stage, 2);
	for (unsigned i = 0; i < 3; i++) {
		kin_raise(&s.stage, 2);
		pthread_join(thread[i], NULL);
	}
	assert_int_equal(s.runs, 3);
	assert_int_equal(count(s.heap), 0);
	fx_close(s.heap);
}

static int dies_in_it(comap_heap *heap, comap_ref *cell, void *arg)
{
	(void)arg;
	KIN_CHECK(comap_heap_malloc_to(heap, 100, cell) != NULL);
	kin_die();
	return 0;
}

static int calls_and_dies(void *arg)
{
	comap_ref ref;

	comap_root_once(arg, "x", dies_in_it, NULL, COMAP_FOREVER, &ref);
	return 1;
}

static int finds_it(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct once *o = arg;

	(void)heap;
	o->runs++;
	o->seen = *cell;
	return 0;
}

static void after_a_death_the_next_finds_what_was_published(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct once o = {0};
	comap_ref ref;

	(void)state;
	assert_int_equal(kin_run(calls_and_dies, heap), -SIGKILL);
	assert_int_equal(comap_root_get(heap, "x", &ref), -ENOENT);
	assert_int_equal(fx_live_blocks(heap), 1);
	assert_int_equal(comap_root_once(heap, "x", finds_it, &o, COMAP_FOREVER, &ref), 0);
	assert_int_equal(o.runs, 1);
	assert_false(comap_ref_is_null(o.seen));
	assert_true(comap_ref_is_same(ref, o.seen));
	assert_int_equal(comap_heap_usable_size(heap, comap_heap_at(heap, ref)), 112);
	assert_int_equal(fx_live_blocks(heap), 1);
	assert_int_equal(fx_stats(heap).deaths, 1);
	fx_close(heap);
}

/* What a dead initialiser left in its cell is for the next one: until it ran, nobody else takes
 * the name. */
static void a_dead_initialisers_name_waits_for_the_next_initialiser(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct once o = {0};
	comap_ref ref;

	(void)state;
	assert_int_equal(kin_run(calls_and_dies, heap), -SIGKILL);
	assert_int_equal(comap_heap_reap(heap) >= 0, 1);
	assert_int_equal(comap_root_set(heap, "x", COMAP_NULL), -EBUSY);
	assert_int_equal(comap_root_delete(heap, "x"), -EBUSY);
	assert_int_equal(comap_root_once(heap, "x", finds_it, &o, COMAP_FOREVER, &ref), 0);
	assert_int_equal(comap_root_set(heap, "x", COMAP_NULL), 0);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_root_is_set_got_and_forgotten),
		KIN_TEST(a_ref_outside_the_heap_is_einval),
		KIN_TEST(names_are_utf8_of_1_to_63_bytes),
		KIN_TEST(a_name_has_63_bytes_at_most),
		KIN_TEST(a_thousand_roots_keep_what_they_refer_to),
		KIN_TEST(deleted_entries_are_used_again),
		KIN_TEST(a_name_is_there_once),
		KIN_TEST(an_iteration_stands_changes),
		KIN_TEST(an_initialiser_runs_once),
		KIN_TEST(an_initialiser_that_fails_leaves_no_root),
		KIN_TEST(an_initialiser_may_use_everything_but_itself),
		KIN_TEST(others_wait_and_get_the_same),
		KIN_TEST(a_wait_for_the_initialiser_has_a_deadline),
		KIN_TEST(after_a_failure_the_next_in_line_tries),
		KIN_TEST(after_a_death_the_next_finds_what_was_published),
		KIN_TEST(a_dead_initialisers_name_waits_for_the_next_initialiser),
	};

	return cmocka_run_group_tests_name("heap/root", tests, NULL, NULL);
}
