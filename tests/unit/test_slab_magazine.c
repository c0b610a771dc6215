/* test_slab_magazine.c - magazines: filled, flushed, capped, counted, given back by the reaper. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include "fixture.h"
#include "kin.h"

#define SIZE 700u /* bytes of a block of the class under test */

static unsigned cls_of(size_t size)
{
	return cm_class_of(size);
}

static struct cm_magazine_shm *magazine(comap_heap *heap, size_t size)
{
	struct cm_seat *seat = cm_seats[heap->index];

	return &cm_magazines(seat->self.slot)->magazine[cm_mark_of(cls_of(size))];
}

static uint64_t cached(comap_heap *heap, size_t size)
{
	return fx_stats(heap).classes[cls_of(size)].cached;
}

/* A magazine for the class, all its blocks free. */
static void heat(comap_heap *heap, size_t size)
{
	fx_heat(heap, size);
	assert_true(cm_read(&magazine(heap, size)->cap) > 0);
}

static void a_class_gets_a_magazine_when_it_is_busy(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	void *p = comap_heap_malloc(heap, SIZE);

	(void)state;
	for (unsigned i = 0; i < 7; i++) { /* 15 calls in all */
		comap_heap_free(heap, p);
		assert_int_equal(cm_read(&magazine(heap, SIZE)->cap), 0);
		p = comap_heap_malloc(heap, SIZE);
	}
	heat(heap, SIZE);
	assert_true(cached(heap, SIZE) > 0);
	assert_true(cached(heap, SIZE) <= cm_read(&magazine(heap, SIZE)->cap));
	assert_int_equal(cached(heap, SIZE + 200), 0);
	assert_int_equal(fx_live_blocks(heap), 1);
	assert_sound(heap);
	fx_close(heap);
}

static void a_lean_heap_has_none(void **state)
{
	comap_heap *heap = fx_lean_heap(64 * CM_MIB);
	void *p[200];

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		p[i] = comap_heap_malloc(heap, SIZE);
	for (unsigned i = 0; i < 200; i++)
		comap_heap_free(heap, p[i]);
	assert_int_equal(fx_stats(heap).cached_bytes, 0);
	assert_int_equal(cm_read(&magazine(heap, SIZE)->cap), 0);
	fx_close(heap);
}

static void caps_are_bounded(void **state)
{
	comap_heap *heap = fx_heap(CM_GIB);
	uint64_t bytes = 0, cap;

	(void)state;
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		void *p[300];

		for (int turn = 0; turn < 20; turn++) {
			for (unsigned i = 0; i < 300; i++)
				assert_non_null(
					p[i] = comap_heap_malloc(heap, cm_classes[cls].size));
			for (unsigned i = 0; i < 300; i++)
				comap_heap_free(heap, p[i]);
		}
		cap = cm_read(&magazine(heap, cm_classes[cls].size)->cap);
		assert_true(cap <= CM_RING && cap * cm_classes[cls].size <= 64 * CM_KIB);
		bytes += cap * cm_classes[cls].size;
	}
	assert_true(bytes <= CM_MIB);
	assert_true(fx_stats(heap).cached_bytes <= bytes);
	assert_int_equal(fx_live_blocks(heap), 0);
	assert_sound(heap);
	fx_close(heap);
}

static uint64_t bytes_of_caps(comap_heap *heap)
{
	uint64_t bytes = 0;

	for (unsigned cls = 0; cls < CM_CLASSES; cls++)
		bytes += cm_read(&magazine(heap, cm_classes[cls].size)->cap) *
			 (uint64_t)cm_classes[cls].size;
	return bytes;
}

struct crowd {
	comap_heap *heap;
	pthread_barrier_t came, may_go;
};

static void *attend(void *arg)
{
	struct crowd *crowd = arg;

	comap_heap_free(crowd->heap, comap_heap_malloc(crowd->heap, 1));
	pthread_barrier_wait(&crowd->came);
	pthread_barrier_wait(&crowd->may_go);
	return NULL;
}

static void caps_shrink_when_others_come(void **state)
{
	enum { OTHERS = 24, BUDGET = 4 << 20 }; /* more: 8 blocks of each class are above it */
	struct crowd crowd = { .heap = fx_heap(CM_GIB) };
	pthread_t thread[OTHERS];

	(void)state;
	for (size_t size = 16; size <= 1024; size += 16)
		for (int turn = 0; turn < 8; turn++)
			heat(crowd.heap, size);
	assert_true(bytes_of_caps(crowd.heap) > BUDGET / OTHERS);
	pthread_barrier_init(&crowd.came, NULL, OTHERS + 1);
	pthread_barrier_init(&crowd.may_go, NULL, OTHERS + 1);
	for (unsigned i = 0; i < OTHERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, attend, &crowd), 0);
	pthread_barrier_wait(&crowd.came);
	for (size_t size = 16; size <= 1024; size += 16)
		for (int turn = 0; turn < 8; turn++)
			heat(crowd.heap, size);
	assert_true(bytes_of_caps(crowd.heap) <= BUDGET / OTHERS);
	assert_int_equal(fx_live_blocks(crowd.heap), 0);
	assert_sound(crowd.heap);
	pthread_barrier_wait(&crowd.may_go);
	for (unsigned i = 0; i < OTHERS; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&crowd.came);
	pthread_barrier_destroy(&crowd.may_go);
	fx_close(crowd.heap);
}

static void trim_and_detach_give_all_back(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	heat(heap, SIZE);
	heat(heap, 8000);
	assert_true(fx_stats(heap).cached_bytes > 0);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_int_equal(fx_stats(heap).cached_bytes, 0);
	assert_int_equal(fx_stats(heap).committed, 0);
	heat(heap, SIZE);
	comap_heap_detach(heap);
	assert_int_equal(fx_stats(heap).cached_bytes, 0);
	assert_sound(heap);
	fx_close(heap);
}

struct painted {
	unsigned char *p;
	size_t size;
	unsigned char colour;
};

/* Random work on many classes; every block keeps its paint, so none is handed out twice. */
static void random_work_hands_no_block_out_twice(void **state)
{
	enum { N = 3000 };
	static struct painted blocks[N];
	comap_heap *heap = fx_heap(256 * CM_MIB);
	uint64_t random = 7, live = 0;

	(void)state;
	memset(blocks, 0, sizeof blocks);
	for (unsigned turn = 0; turn < 200000; turn++) {
		uint64_t r = fx_random(&random);
		struct painted *b = &blocks[r % N];

		if (b->p) {
			assert_true(b->p[0] == b->colour && b->p[b->size - 1] == b->colour);
			comap_heap_free(heap, b->p);
			b->p = NULL;
			live--;
			if (r >> 32 & 1)
				continue;
		}
		b->size = 1 + (r >> 40) % (turn % 16 ? 300 : 9000);
		b->colour = (unsigned char)r;
		b->p = comap_heap_malloc(heap, b->size);
		assert_non_null(b->p);
		assert_true(comap_heap_usable_size(heap, b->p) >= b->size);
		memset(b->p, b->colour, b->size);
		live++;
		if (turn % 20000 == 0) {
			assert_int_equal(fx_live_blocks(heap), live);
			assert_sound(heap);
		}
	}
	for (unsigned i = 0; i < N; i++)
		comap_heap_free(heap, blocks[i].p);
	assert_int_equal(fx_live_blocks(heap), 0);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_int_equal(fx_stats(heap).committed, 0);
	fx_close(heap);
}

/* The longest batches, and each block of them in a slab of its own, which was full: what needs the
 * most words of a record. */
static void batches_may_be_scattered_over_full_slabs(void **state)
{
	enum { SLABS = 300, PER_SLAB = 128, SIZE_512 = 512, N = SLABS * PER_SLAB };
	comap_heap *heap = fx_heap(64 * CM_MIB);
	static void *p[N];

	(void)state;
	for (unsigned i = 0; i < N; i++) /* in order, so p[i] is in slab i / PER_SLAB */
		assert_non_null(p[i] = comap_heap_malloc(heap, SIZE_512));
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned i = 0; i < N; i += PER_SLAB)
			comap_heap_free(heap, p[i + k]);
		assert_int_equal(cm_read(&magazine(heap, SIZE_512)->cap), CM_RING);
		assert_int_equal(fx_live_blocks(heap), N - SLABS);
		assert_sound(heap);
		for (unsigned i = 0; i < N; i += PER_SLAB)
			assert_non_null(p[i + k] = comap_heap_malloc(heap, SIZE_512));
		assert_int_equal(fx_live_blocks(heap), N);
		assert_sound(heap);
	}
	for (unsigned k = 0; k < PER_SLAB; k++) /* and slab after slab becomes empty */
		for (unsigned i = 0; i < N; i += PER_SLAB)
			comap_heap_free(heap, p[i + k]);
	assert_int_equal(fx_live_blocks(heap), 0);
	assert_sound(heap);
	fx_close(heap);
}

/* A neighbour's stray store may hit any word of a magazine at any time: the calls after it return,
 * and write nowhere but into the heap. */
static void scribbled_words_of_a_magazine_end_no_call(void **state)
{
	static const uint64_t values[] = { 0, 1, 7, 65, 150, 500, 60000, 0xffffffff, ~0ull };
	enum { VALUES = sizeof values / sizeof *values, WORDS = 4, N = 300 };
	static void *p[N];

	(void)state;
	for (unsigned k = 0; k < VALUES * WORDS * 2; k++) {
		comap_heap *heap = fx_heap(64 * CM_MIB);
		struct cm_magazine_shm *m;
		uint64_t value = values[k / (WORDS * 2)];

		assert_int_equal(comap_heap_set_decay(heap, 1), 0);
		heat(heap, SIZE);
		m = magazine(heap, SIZE);
		for (unsigned i = 0; i < N; i++) /* half of the time the magazine is nearly full */
			p[i] = comap_heap_malloc(heap, SIZE);
		for (unsigned i = 0; k % 2 && i < 60; i++)
			comap_heap_free(heap, p[i]);
		switch (k / 2 % WORDS) {
		case 0:
			cm_write(&m->cap, (uint32_t)value);
			break;
		case 1:
			cm_write(&m->full, (uint32_t)value);
			break;
		case 2:
			cm_write(&m->ends, value);
			break;
		default:
			cm_write(&m->ends, value << 32);
		}
		for (unsigned turn = 0; turn < 3; turn++) {
			for (unsigned i = 0; i < N; i++)
				p[i] = comap_heap_malloc(heap, SIZE);
			for (unsigned i = 0; i < N; i++)
				comap_heap_free(heap, p[i]);
		}
		usleep(10000);
		for (unsigned i = 0; i < 64; i++) /* a decay */
			assert_int_equal(comap_heap_set_quota(heap, 0), 0);
		assert_true(fx_stats(heap).grown <= 32 * CM_MIB); /* it does not eat the heap */
		(void)comap_heap_trim(heap);
		assert_int_equal(cm_read(&m->cap) | cm_read(&m->full) | cm_read(&m->ends), 0);
		fx_close(heap);
	}
}

/* Tables that make a refill meet a slab twice: it gives up instead of handing out blocks twice. */
static void a_refill_meets_no_slab_twice(void **state)
{
	enum { N = 400 };
	static void *p[N];

	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		comap_heap *heap = fx_heap(64 * CM_MIB);
		struct cm_seg *seg = &heap->seg;
		uint64_t unit, n = 0;

		heat(heap, SIZE);
		unit = cm_read(cm_bin_list(seg, cls_of(SIZE)));
		if (how == 0)
			cm_write(&cm_seg_desc(seg, unit)->nfree, 1000);
		else
			cm_write(&cm_seg_desc(seg, unit)->link, unit << 32);
		for (unsigned i = 0; i < N; i++)
			p[i] = comap_heap_malloc(heap, SIZE);
		for (unsigned i = 0; i < N; i++)
			for (unsigned k = 0; k < i; k++)
				assert_true(!p[i] || p[i] != p[k]);
		for (unsigned i = 0; i < N; i++)
			n += p[i] == NULL;
		assert_true(n > 0 || how == 1);
		comap_heap_close(heap); /* damaged, so not looked over */
	}
}

/* ---- misuse -------------------------------------------------------------------- */

struct told {
	unsigned n;
	enum comap_misuse what;
	const void *ptr;
};

static void tell(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg)
{
	struct told *told = arg;

	(void)heap;
	*told = (struct told){ told->n + 1, what, ptr };
}

static void a_block_freed_twice_in_a_row_is_told_at_once(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct told told = {0};
	void *p;

	(void)state;
	comap_heap_on_misuse(heap, tell, &told);
	heat(heap, SIZE);
	p = comap_heap_malloc(heap, SIZE);
	comap_heap_free(heap, p);
	comap_heap_free(heap, p);
	assert_true(told.n == 1 && told.what == COMAP_MISUSE_DOUBLE && told.ptr == p);
	assert_sound(heap);
	fx_close(heap);
}

static void a_block_freed_twice_is_told_by_the_flush_at_the_latest(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct told told = {0};
	void *p, *q;

	(void)state;
	comap_heap_on_misuse(heap, tell, &told);
	heat(heap, SIZE);
	p = comap_heap_malloc(heap, SIZE);
	q = comap_heap_malloc(heap, SIZE);
	comap_heap_free(heap, p);
	comap_heap_free(heap, q);
	comap_heap_free(heap, p); /* twice in the magazine, or told already with -Dcheck=1 */
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_int_equal(fx_stats(heap).misuses, 1);
	assert_sound(heap);
	fx_close(heap);
}

static void foreign_pointers_go_the_long_way(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct told told = {0};
	char *p, local[64];
	void *wrong[4];

	(void)state;
	comap_heap_on_misuse(heap, tell, &told);
	heat(heap, SIZE);
	p = comap_heap_malloc(heap, SIZE);
	wrong[0] = local;
	wrong[1] = heap->seg.base + 64;
	wrong[2] = p + 8;
	wrong[3] = heap->seg.base + heap->seg.max_size - 64;
	for (unsigned i = 0; i < 4; i++) {
		comap_heap_free(heap, wrong[i]);
		assert_int_equal(told.n, i + 1);
		assert_true(told.ptr == wrong[i]);
	}
	comap_heap_free(heap, p);
	assert_int_equal(fx_live_blocks(heap), 0);
	fx_close(heap);
}

/* ---- death ----------------------------------------------------------------------- */

static int dies_with_full_magazines(void *heap)
{
	heat(heap, SIZE);
	heat(heap, 64);
	heat(heap, 8000);
	raise(SIGKILL);
	return 0;
}

static void what_the_dead_had_in_advance_comes_back(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	void *p = comap_heap_malloc(heap, SIZE);

	(void)state;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(kin_run(dies_with_full_magazines, heap), -SIGKILL);
		assert_true(fx_stats(heap).cached_bytes > 0);
		assert_sound(heap);
		assert_int_equal(comap_heap_reap(heap), 1);
		assert_int_equal(fx_stats(heap).cached_bytes, 0);
		assert_int_equal(fx_live_blocks(heap), 1);
		assert_sound(heap);
	}
	comap_heap_free(heap, p);
	assert_int_equal(comap_heap_trim(heap), 0);
	assert_int_equal(fx_stats(heap).committed, 0);
	fx_close(heap);
}

static int dies_with_scribbled_magazine(void *arg)
{
	comap_heap *heap = arg;
	cm_word *ring;
	uint64_t ends;

	heat(heap, SIZE);
	ends = cm_read(&magazine(heap, SIZE)->ends);
	ring = cm_ring(cm_seats[heap->index]->self.slot, cm_mark_of(cls_of(SIZE)));
	cm_write(&ring[cm_ends_tail(ends) % CM_RING], ~0ull);
	cm_write(&ring[(cm_ends_tail(ends) + 1) % CM_RING], 24);
	raise(SIGKILL);
	return 0;
}

static void scribbled_entries_of_the_dead_are_passed_over(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	assert_non_null(comap_heap_malloc(heap, 100));
	assert_int_equal(kin_run(dies_with_scribbled_magazine, heap), -SIGKILL);
	assert_int_equal(comap_heap_check(heap, NULL, NULL), -EUCLEAN);
	assert_int_equal(comap_heap_reap(heap), 1);
	assert_int_equal(fx_stats(heap).cached_bytes, 0);
	assert_int_equal(fx_live_blocks(heap), 3); /* the two whose entries were written over */
	assert_sound(heap);
	fx_close(heap);
}

/* ---- room ---------------------------------------------------------------------------- */

static void what_lies_in_magazines_makes_room(void **state)
{
	comap_heap *heap = fx_heap(16 * CM_MIB);
	void *first = NULL, **next;
	uint64_t n = 0, again = 0;

	(void)state;
	for (; (next = comap_heap_malloc(heap, 30000)); n++) {
		*next = first;
		first = next;
	}
	for (; first; first = next) {
		next = *(void **)first;
		comap_heap_free(heap, first);
	}
	heat(heap, SIZE);
	heat(heap, 64);
	while (comap_heap_malloc(heap, 30000))
		again++;
	assert_true(again >= n);
	fx_close(heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_class_gets_a_magazine_when_it_is_busy),
		KIN_TEST(a_lean_heap_has_none),
		KIN_TEST(caps_are_bounded),
		KIN_TEST(caps_shrink_when_others_come),
		KIN_TEST(trim_and_detach_give_all_back),
		KIN_TEST(batches_may_be_scattered_over_full_slabs),
		KIN_TEST(scribbled_words_of_a_magazine_end_no_call),
		KIN_TEST(a_refill_meets_no_slab_twice),
		KIN_TEST(random_work_hands_no_block_out_twice),
		KIN_TEST(a_block_freed_twice_in_a_row_is_told_at_once),
		KIN_TEST(a_block_freed_twice_is_told_by_the_flush_at_the_latest),
		KIN_TEST(foreign_pointers_go_the_long_way),
		KIN_TEST(what_the_dead_had_in_advance_comes_back),
		KIN_TEST(scribbled_entries_of_the_dead_are_passed_over),
		KIN_TEST(what_lies_in_magazines_makes_room),
	};

	return cmocka_run_group_tests_name("slab_magazine", tests, NULL, NULL);
}
