/*
 * seed.c - how the small heaps come about.
 *
 * The dead are threads that stand still while the file is copied: what the copy shows is what
 * a kill at that instruction would have left.  Afterwards they tidy up and end.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <comap.h>
#include "fuzz/seed.h"

#define MUST(x) ((x) ? (void)0 : must_fail(__LINE__, #x))

_Noreturn static void must_fail(int line, const char *what)
{
	fprintf(stderr, "seed.c:%d: not so: %s\n", line, what);
	abort();
}

/* ---- furniture -------------------------------------------------------------- */

struct making {
	comap_heap *heap;
	struct seed *seed;
};

static void *block(struct making *m, size_t size)
{
	void *p = comap_heap_malloc(m->heap, size);

	MUST(p);
	if (m->seed->nmarks < SEED_MARKS)
		m->seed->mark[m->seed->nmarks++] = comap_heap_ref(m->heap, p).off;
	return p;
}

/* Three slabs of 64 KiB blocks, each with a free one: a list with a middle. */
static void add_slabs(struct making *m)
{
	void *p[24];

	for (unsigned i = 0; i < 24; i++) {
		p[i] = comap_heap_malloc(m->heap, CM_SMALL_MOST);
		MUST(p[i]);
	}
	for (unsigned i = 3; i < 24; i += 8)
		comap_heap_free(m->heap, p[i]);
	m->seed->slab = comap_heap_ref(m->heap, p[8]).off >> CM_UNIT_SHIFT;
	m->seed->slab_class = cm_class_of(CM_SMALL_MOST);
	m->seed->mark[m->seed->nmarks++] = comap_heap_ref(m->heap, p[8]).off;
}

/* A slab that is in no list. */
static void add_full_slab(struct making *m)
{
	unsigned cls = cm_class_of(7 * 8 * CM_KIB);
	void *p = NULL;

	for (unsigned i = 0; i < cm_classes[cls].blocks; i++)
		p = comap_heap_malloc(m->heap, cm_classes[cls].size);
	MUST(p && cm_read(cm_bin_list(&m->heap->seg, cls)) == 0);
	m->seed->full = comap_heap_ref(m->heap, p).off >> CM_UNIT_SHIFT & ~7ull;
	m->seed->mark[m->seed->nmarks++] = comap_heap_ref(m->heap, p).off;
}

static void add_roots(struct making *m, unsigned n)
{
	struct cm_root_page_shm *page = (void *)((char *)m->heap->seg.base + CM_ROOTS_OFF);
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "root-%u", i);
		MUST(comap_root_set(m->heap, name, (comap_ref){ m->seed->mark[i % m->seed->nmarks] }) == 0);
	}
	MUST(comap_root_delete(m->heap, "root-3") == 0);
	m->seed->roots = cm_read(&page->next);
}

static void furnish(struct making *m)
{
	static const size_t small[] = { 16, 16, 64, 64, 100, 1000, 4096, 5000, 6656, 10000, 40000 };
	void *gap;

	for (size_t i = 0; i < sizeof small / sizeof *small; i++)
		block(m, small[i]);
	add_slabs(m);
	add_full_slab(m);
	gap = comap_heap_malloc(m->heap, 200000);
	m->seed->run = comap_heap_ref(m->heap, block(m, 300000)).off;
	m->seed->huge = comap_heap_ref(m->heap, block(m, 5 << 20)).off;
	block(m, 4100 << 10);
	comap_heap_free(m->heap, gap);
	add_roots(m, 35);
	comap_heap_free(m->heap, comap_heap_malloc(m->heap, 4096)); /* one slab kept empty */
}

static void furnish_little(struct making *m)
{
	block(m, 16);
	block(m, 100);
	block(m, 70000);
	add_roots(m, 5);
}

/* ---- the copy --------------------------------------------------------------- */

static void fill(struct seed *seed, int fd)
{
	struct stat st;
	off_t at = 0, end;

	MUST(fstat(fd, &st) == 0);
	seed->size = (uint64_t)st.st_size;
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		MUST(end > at && seed->nextents < SEED_EXTENTS);
		seed->bytes = realloc(seed->bytes, seed->nbytes + (uint64_t)(end - at));
		MUST(seed->bytes);
		MUST(pread(fd, seed->bytes + seed->nbytes, (size_t)(end - at), at) == end - at);
		seed->extent[seed->nextents].off = (uint64_t)at;
		seed->extent[seed->nextents++].len = (uint64_t)(end - at);
		seed->nbytes += (uint64_t)(end - at);
		at = end;
	}
}

static void *byte_of(struct seed *seed, uint64_t off)
{
	unsigned char *bytes = seed->bytes;

	for (uint32_t i = 0; i < seed->nextents; bytes += seed->extent[i++].len)
		if (off - seed->extent[i].off < seed->extent[i].len)
			return bytes + (off - seed->extent[i].off);
	must_fail(__LINE__, "the byte lies in a hole");
}

/* What differs from one making to the next. */
static void scrub(struct seed *seed)
{
	struct cm_super_shm *super = byte_of(seed, 0);

	memset(super->fixed.uuid, 0, sizeof super->fixed.uuid);
	super->fixed.created_ns = 0;
	seed_sign(&super->fixed);
	for (uint32_t i = 0; i < seed->nused; i++) {
		struct cm_slot_shm *slot = byte_of(seed, CM_SLOTS_OFF + i * CM_SLOT_STRIDE);

		memset(slot->life, 0, sizeof slot->life);
		cm_write(&slot->ids, 0);
		cm_write(&slot->pid_namespace, 0);
		cm_write(&slot->comm[0], 0);
		cm_write(&slot->comm[1], 0);
	}
}

static void take_copy(struct making *m)
{
	const struct cm_fixed_shm *f = &m->heap->seg.super->fixed;
	struct seed *seed = m->seed;

	seed->max_size = f->max_size;
	seed->units_off = f->units_off;
	seed->segments_off = f->segments_off;
	seed->data_off = f->data_off;
	seed->nslots = f->nslots;
	seed->limit = cm_seg_limit(&m->heap->seg);
	seed->nused = cm_life_nused(&m->heap->seg.life);
	seed->split = seed->data_off >> CM_SEGMENT_SHIFT;
	fill(seed, comap_heap_fd(m->heap));
	scrub(seed);
}

/* ---- the dead --------------------------------------------------------------- */

struct victim {
	struct making *making;
	void (*fn)(struct victim *v);
	pthread_t thread;
	sem_t is_there, may_go;
};

/* Here it dies. */
static void stand_still(struct victim *v)
{
	sem_post(&v->is_there);
	while (sem_wait(&v->may_go) < 0)
		;
}

static void *run_victim(void *arg)
{
	struct victim *v = arg;

	v->fn(v);
	return NULL;
}

static void start(struct victim *v, struct making *m, void (*fn)(struct victim *v))
{
	*v = (struct victim){ .making = m, .fn = fn };
	sem_init(&v->is_there, 0, 0);
	sem_init(&v->may_go, 0, 0);
	MUST(pthread_create(&v->thread, NULL, run_victim, v) == 0);
	while (sem_wait(&v->is_there) < 0)
		;
}

static void end(struct victim *v)
{
	sem_post(&v->may_go);
	pthread_join(v->thread, NULL);
	sem_destroy(&v->is_there);
	sem_destroy(&v->may_go);
}

static struct cm_seat *enter(struct victim *v)
{
	int err = 0;
	struct cm_seat *seat = cm_seat_enter(v->making->heap, &err);

	MUST(seat);
	return seat;
}

static void dies_with_units(struct victim *v)
{
	struct cm_seg *seg = &v->making->heap->seg;
	struct cm_seat *seat = enter(v);
	struct cm_span span;

	MUST(cm_span_take(seg, &seat->self, 3, 1, 3 * CM_UNIT, NULL, &span) == 0);
	stand_still(v);
	cm_span_give_hold(seg, &seat->self, seat->self.slot);
	cm_seat_leave(v->making->heap, seat);
}

static void dies_with_mutex(struct victim *v)
{
	comap_mutex *mutex = comap_heap_calloc(v->making->heap, 1, 64);

	MUST(mutex);
	v->making->seed->mutex = comap_heap_ref(v->making->heap, mutex).off;
	MUST(comap_mutex_lock(v->making->heap, mutex) == 0);
	stand_still(v);
	MUST(comap_mutex_unlock(v->making->heap, mutex) == 0);
}

static int init_and_die(comap_heap *heap, comap_ref *cell, void *arg)
{
	MUST(comap_heap_malloc_to(heap, 48, cell));
	stand_still(arg);
	return 0;
}

static void dies_in_once(struct victim *v)
{
	comap_ref ref;

	MUST(comap_root_once(v->making->heap, "once", init_and_die, v, 0, &ref) == 0);
}

/* A block of 48 bytes was taken and its offset published; only the first word is there yet. */
static void dies_half_way(struct victim *v)
{
	struct cm_seg *seg = &v->making->heap->seg;
	struct cm_seat *seat = enter(v);
	unsigned cls = cm_class_of(48);
	uint64_t unit = cm_read(cm_bin_list(seg, cls)), map, nfree;
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);
	struct cm_tx tx;

	MUST(unit);
	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_BIN + cls, &tx);
	map = cm_read(&desc->map[0]);
	nfree = cm_read(&desc->nfree);
	cm_tx_put(&tx, &desc->map[0], map & (map - 1));
	cm_tx_put(&tx, &desc->nfree, nfree - 1);
	cm_tx_put(&tx, cm_seg_at(seg, v->making->seed->mark[2]),
		  (unit << CM_UNIT_SHIFT) + cm_lowest(map) * cm_classes[cls].size);
	cm_write(&tx.redo->commit, (CM_LOCK_BIN + cls) << 16 | tx.n);
	cm_write(&desc->map[0], map & (map - 1));
	stand_still(v);
	cm_write(&tx.redo->commit, 0);
	cm_tx_end(&tx);
	cm_seat_leave(v->making->heap, seat);
}

/* A unit was taken; no word is there yet. */
static void dies_in_log(struct victim *v)
{
	struct cm_seg *seg = &v->making->heap->seg;
	struct cm_seat *seat = enter(v);
	uint64_t s = seg->data_off >> CM_SEGMENT_SHIFT, free, unit;
	cm_word *used = cm_span_word(seg, CM_SPAN_USED), *dirty = cm_span_word(seg, CM_SPAN_DIRTY);
	struct cm_header_shm *h;
	struct cm_tx tx;

	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_SPAN, &tx);
	while (cm_seg_longest(cm_read(&seg->segments[s])) == 0)
		MUST(++s < cm_seg_limit(seg) >> CM_SEGMENT_SHIFT);
	h = cm_seg_header(seg, s);
	free = cm_read(&h->free);
	MUST(cm_seg_kind(cm_read(&seg->segments[s])) == CM_SEG_SPLIT && free);
	unit = 1ull << cm_highest(free);
	free &= ~unit;
	cm_tx_put(&tx, &h->free, free);
	cm_tx_put(&tx, &seg->segments[s], cm_seg_entry(CM_SEG_SPLIT, cm_longest_run(free), 0));
	cm_tx_put(&tx, used, cm_read(used) + 1);
	cm_tx_put(&tx, dirty, cm_read(dirty) - (cm_read(&h->have) & unit ? 1 : 0));
	cm_hold_stage(&tx, seat->self.slot, CM_HOLD_UNITS, s, unit);
	cm_write(&tx.redo->commit, (uint64_t)CM_LOCK_SPAN << 16 | tx.n);
	stand_still(v);
	cm_write(&tx.redo->commit, 0);
	cm_tx_end(&tx);
	cm_seat_leave(v->making->heap, seat);
}

/* ---- the four ---------------------------------------------------------------- */

static comap_heap *open_new(uint32_t slots, uint64_t max_size)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;

	opts.slots = slots;
	opts.max_size = max_size;
	MUST(comap_heap_open_anon(&opts, &heap) == 0);
	return heap;
}

static void make_dead(struct making *m)
{
	static void (*const fn[])(struct victim * v) = {
		dies_with_units, dies_with_mutex, dies_in_once, dies_half_way, dies_in_log,
	};
	struct victim v[sizeof fn / sizeof *fn];
	size_t n = sizeof fn / sizeof *fn;

	for (size_t i = 0; i < n; i++)
		start(&v[i], m, fn[i]);
	take_copy(m);
	while (n)
		end(&v[--n]);
}

/* The main thread has the one slot, so the victim works through the common one. */
static void make_crowd(struct making *m)
{
	struct victim v;

	comap_heap_free(m->heap, comap_heap_malloc(m->heap, 16));
	start(&v, m, dies_with_units);
	take_copy(m);
	end(&v);
}

static void make(unsigned which, struct seed *seed)
{
	static const uint32_t slots[SEEDS] = { 8, 8, 1, 4 };
	struct making m = { .seed = seed };

	m.heap = open_new(slots[which], which == SEED_SMALL ? 8 * CM_MIB : 32 * CM_MIB);
	if (which == SEED_SMALL)
		furnish_little(&m);
	else
		furnish(&m);
	seed->mutex = seed->mark[seed->nmarks > 4 ? 4 : 0];
	if (which != SEED_CROWD) {
		/* slot 1 is to be the first victim's */
		block(&m, 48);
		comap_heap_detach(m.heap);
		cm_write(&m.heap->seg.super->cursor, 0);
	}
	if (which == SEED_DEAD)
		make_dead(&m);
	else if (which == SEED_CROWD)
		make_crowd(&m);
	else
		take_copy(&m);
	comap_heap_close(m.heap);
}

const struct seed *seed_get(unsigned which)
{
	static struct seed *kept[SEEDS];

	if (!kept[which]) {
		kept[which] = calloc(1, sizeof *kept[which]);
		MUST(kept[which]);
		make(which, kept[which]);
	}
	return kept[which];
}

void seed_write(const struct seed *seed, int fd)
{
	const unsigned char *from = seed->bytes;

	MUST(ftruncate(fd, (off_t)seed->size) == 0);
	for (uint32_t i = 0; i < seed->nextents; from += seed->extent[i++].len)
		MUST(pwrite(fd, from, seed->extent[i].len, (off_t)seed->extent[i].off) ==
		     (ssize_t)seed->extent[i].len);
}

int seed_thaw(const struct seed *seed)
{
	int fd = memfd_create("seed", MFD_CLOEXEC);

	MUST(fd >= 0);
	seed_write(seed, fd);
	return fd;
}

void seed_sign(struct cm_fixed_shm *fixed)
{
	fixed->sum = XXH3_64bits(fixed, offsetof(struct cm_fixed_shm, sum));
}

void seed_lay_out(struct cm_fixed_shm *fixed, uint64_t max_size, uint32_t nslots)
{
	fixed->max_size = max_size;
	fixed->nslots = nslots;
	fixed->units_off = CM_SLOTS_OFF + nslots * CM_SLOT_STRIDE;
	fixed->segments_off = fixed->units_off + cm_round_up(max_size >> CM_UNIT_SHIFT, CM_UNIT);
	fixed->data_off = cm_round_up(fixed->segments_off + (max_size >> CM_SEGMENT_SHIFT) * 8,
				      CM_SEGMENT);
}

struct seed_print seed_print(int fd)
{
	static unsigned char buffer[64 * 1024];
	XXH3_state_t *state = XXH3_createState();
	struct seed_print print;
	struct stat st;
	off_t at = 0, end;
	ssize_t n;

	MUST(state && fstat(fd, &st) == 0);
	print.size = (uint64_t)st.st_size;
	print.blocks = (uint64_t)st.st_blocks;
	XXH3_64bits_reset(state);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		XXH3_64bits_update(state, &at, sizeof at);
		for (; at < end; at += n) {
			n = pread(fd, buffer, cm_min((uint64_t)(end - at), sizeof buffer), at);
			MUST(n > 0);
			XXH3_64bits_update(state, buffer, (size_t)n);
		}
	}
	print.hash = XXH3_64bits_digest(state);
	XXH3_freeState(state);
	return print;
}

bool seed_print_is_same(struct seed_print a, struct seed_print b)
{
	return a.size == b.size && a.blocks == b.blocks && a.hash == b.hash;
}
