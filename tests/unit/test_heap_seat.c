/* test_heap_seat.c - threads come and go: slots, the common slot, several heaps at once. */
#include <pthread.h>
#include "fixture.h"

struct crew {
	comap_heap *heap[2];
	unsigned nheaps, rounds;
	_Atomic uint32_t inside;
	uint32_t wait_for;
};

/* Random work with patterns, so that a block handed out twice shows. */
static void *works(void *arg)
{
	struct crew *c = arg;
	uint64_t random = (uint64_t)cm_os_tid() * 7919;
	struct {
		void *p;
		size_t n;
		uint64_t seed;
	} live[64] = { { NULL, 0, 0 } };

	for (unsigned i = 0; i < c->rounds; i++) {
		unsigned k = (unsigned)(fx_random(&random) % 64);
		comap_heap *heap = c->heap[k % c->nheaps];
		size_t n = fx_random(&random) % (i % 16 ? 700 : 90000) + 1;

		KIN_CHECK(!live[k].p || fx_is_filled(live[k].p, live[k].n, live[k].seed));
		if (fx_random(&random) % 4 == 0) {
			live[k].p = comap_heap_realloc(heap, live[k].p, n);
		} else {
			comap_heap_free(heap, live[k].p);
			live[k].p = comap_heap_malloc(heap, n);
		}
		KIN_CHECK(live[k].p != NULL);
		live[k].n = n;
		live[k].seed = fx_random(&random);
		fx_fill(live[k].p, n, live[k].seed);
	}
	if (c->wait_for) { /* all in their slots at once */
		atomic_fetch_add(&c->inside, 1);
		KIN_CHECK(kin_await(&c->inside, c->wait_for));
	}
	for (unsigned k = 0; k < 64; k++)
		comap_heap_free(c->heap[k % c->nheaps], live[k].p);
	return NULL;
}

static void run(struct crew *c, unsigned n)
{
	pthread_t thread[16];

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, works, c), 0);
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
}

static void many_threads_never_share_a_block(void **state)
{
	struct crew c = { .heap = { fx_heap(256 * CM_MIB) }, .nheaps = 1 };

	(void)state;
	c.rounds = kin_is_valgrind() ? 300 : 4000;
	run(&c, 6);
	assert_int_equal(fx_live_blocks(c.heap[0]), 0);
	assert_int_equal(fx_stats(c.heap[0]).misuses, 0);
	assert_int_equal(fx_stats(c.heap[0]).slots_live, 0);
	fx_close(c.heap[0]);
}

static void a_thread_may_work_in_two_heaps(void **state)
{
	struct crew c = { .heap = { fx_heap(256 * CM_MIB), fx_heap(256 * CM_MIB) }, .nheaps = 2 };

	(void)state;
	c.rounds = kin_is_valgrind() ? 300 : 3000;
	run(&c, 4);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fx_live_blocks(c.heap[i]), 0);
		assert_int_equal(fx_stats(c.heap[i]).slots_live, 0);
		fx_close(c.heap[i]);
	}
}

static void threads_beyond_the_slots_work_through_the_common_one(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct crew c = { .nheaps = 1, .wait_for = 8 };

	(void)state;
	opts.max_size = 256 * CM_MIB;
	opts.slots = 3;
	c.heap[0] = fx_heap_with(&opts);
	c.rounds = kin_is_valgrind() ? 100 : 800;
	run(&c, 8);
	assert_int_equal(fx_live_blocks(c.heap[0]), 0);
	assert_int_equal(fx_stats(c.heap[0]).misuses, 0);
	assert_int_equal(fx_stats(c.heap[0]).slots_live, 0);
	assert_int_equal(fx_stats(c.heap[0]).deaths, 0);
	fx_close(c.heap[0]);
}

static void *uses_then_closes(void *arg)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	(void)arg;
	opts.max_size = 16 * CM_MIB;
	for (int i = 0; i < 30; i++) {
		comap_heap *heap = NULL;
		void *p;

		KIN_CHECK(comap_heap_open_anon(&opts, &heap) == 0);
		p = comap_heap_malloc(heap, 1000);
		KIN_CHECK(p != NULL);
		memset(p, i, 1000);
		KIN_CHECK(comap_heap_check(heap, NULL, NULL) == 0);
		comap_heap_close(heap);
	}
	return NULL;
}

/* A handle's place in the table is used again while other threads have seats of before. */
static void threads_open_and_close_at_the_same_time(void **state)
{
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, uses_then_closes, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
}

static void a_new_heap_in_an_old_place_is_another_heap(void **state)
{
	comap_heap *a = fx_heap(16 * CM_MIB), *b;
	unsigned index = a->index;
	void *p = comap_heap_malloc(a, 100);

	(void)state;
	assert_non_null(p);
	comap_heap_close(a);
	b = fx_heap(16 * CM_MIB);
	assert_int_equal(b->index, index);
	assert_int_equal(fx_live_blocks(b), 0);
	assert_int_equal(fx_stats(b).slots_live, 0);
	assert_non_null(comap_heap_malloc(b, 100));
	assert_int_equal(fx_stats(b).slots_live, 1);
	fx_close(b);
}

static int works_as_child(void *arg)
{
	struct crew *c = arg;

	(void)works(c);
	KIN_CHECK(comap_heap_check(c->heap[0], NULL, NULL) == 0);
	return 0;
}

static void children_are_parties_of_their_own(void **state)
{
	struct crew c = { .heap = { fx_heap(256 * CM_MIB) }, .nheaps = 1 };
	pid_t pid[4];

	(void)state;
	c.rounds = kin_is_valgrind() ? 200 : 3000;
	assert_non_null(comap_heap_malloc(c.heap[0], 10));
	for (unsigned i = 0; i < 4; i++)
		pid[i] = kin_spawn(works_as_child, &c);
	(void)works(&c);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(kin_wait(pid[i]), 0);
	assert_int_equal(fx_live_blocks(c.heap[0]), 1);
	fx_close(c.heap[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(many_threads_never_share_a_block),
		KIN_TEST(a_thread_may_work_in_two_heaps),
		KIN_TEST(threads_beyond_the_slots_work_through_the_common_one),
		KIN_TEST(threads_open_and_close_at_the_same_time),
		KIN_TEST(a_new_heap_in_an_old_place_is_another_heap),
		KIN_TEST(children_are_parties_of_their_own),
	};

	return cmocka_run_group_tests_name("heap/seat", tests, NULL, NULL);
}
