/*
 * magazine.c - a thread's magazines, in its slot, in the shared heap.
 *
 * A magazine is a ring of offsets and a word with its two ends.  malloc takes the
 * entry below head and stores head - 1; free stores the entry at head, then
 * head + 1.  That one store is the whole change: before it the block is where it
 * was, after it where it goes.  No lock, and the block itself is not touched.
 * Only the slot's thread does this, so what needs no order among threads needs
 * only the compiler's (atomic.h).
 *
 * An empty magazine is refilled, and a full one flushed of its older half, or all of
 * it, by one record under the bin's lock: words of maps, and `ends`.  A block is thus free
 * in a map, or in one magazine, or in use, at any instant and for whoever
 * recovers.  A block in the magazine of a dead thread goes back when that thread
 * is reaped.
 *
 * A class begins without (cap 0: every call works on the maps) and gets a
 * magazine when it has been busy; its cap doubles while it stays busy, within
 * what the heap can afford for each of its threads.  It falls when others come,
 * and an idle magazine is closed after a while (cm_cache_decay).
 */
#include <errno.h>
#include "slab/stage.h"

enum way { REFILLS, FLUSHES };

#define HEAT_TO_OPEN 16u
#define HEAT_TO_GROW 4u
#define CAP_AT_FIRST 8u
#define CLASS_BYTES_MOST (64 * CM_KIB) /* one magazine holds */
#define HEAP_BYTES_MOST (4 * CM_MIB)   /* all threads' magazines hold, or */
#define SLOT_BYTES_LEAST (8 * CM_KIB)  /* each of them this much */
#define SLOT_BYTES_MOST (1 * CM_MIB)

static uint32_t cap_most(unsigned cls)
{
	return (uint32_t)cm_min(CLASS_BYTES_MOST / cm_classes[cls].size, CM_RING);
}

void cm_cache_begin(struct cm_cache *cache, bool is_lean)
{
	*cache = (struct cm_cache){ .is_lean = is_lean, .random = cache->random };
	if (cache->random == 0)
		cm_os_random(&cache->random, sizeof cache->random);
}

/* May one thread's magazines hold so much? */
static bool can_afford(const struct cm_seg *seg, uint64_t bytes)
{
	uint64_t most = HEAP_BYTES_MOST / cm_max(cm_life_nused(&seg->life), 1);

	return bytes <= cm_min(cm_max(most, SLOT_BYTES_LEAST), SLOT_BYTES_MOST);
}

/* Storage for the ring of a magazine. */
static int commit_ring(struct cm_seg *seg, const struct cm_self *self, unsigned mark)
{
	struct cm_magazines_shm *all = cm_magazines(self->slot);
	unsigned page = mark * CM_RING * 8 / CM_PAGE;
	uint64_t off = (uint64_t)((char *)self->slot - seg->base) + CM_SLOT_RINGS + page * CM_PAGE;
	int err;

	if (cm_read(&all->ring_pages) >> page & 1)
		return 0;
	err = cm_os_commit(&seg->backing, off, CM_PAGE);
	if (err == 0)
		cm_set_bits(&all->ring_pages, 1ull << page);
	return err;
}

/* A neighbour may have scribbled on it. */
static uint32_t cap_of(struct cm_magazine_shm *m)
{
	return (uint32_t)cm_min(cm_read(&m->cap), CM_RING);
}

/* After tail or cap changed.  To the short way of free (heap/malloc.c) the magazine has room until
 * head is there. */
static void set_full(struct cm_magazine_shm *m)
{
	cm_write(&m->full, cm_ends_tail(cm_read(&m->ends)) + cap_of(m));
}

/* Of what the magazines hold when they are full; a cap may be none of ours. */
static void forget_bytes(struct cm_cache *cache, unsigned cls, uint32_t n)
{
	cache->bytes -= (uint32_t)cm_min(n * cm_classes[cls].size, cache->bytes);
}

/* Some have come since this magazine got its cap: our share is smaller now. */
static void shrink(struct cm_seg *seg, struct cm_cache *cache, struct cm_magazine_shm *m, unsigned cls)
{
	uint32_t cap = cap_of(m), less = cap / 2;

	if (less < CAP_AT_FIRST || can_afford(seg, cache->bytes))
		return;
	forget_bytes(cache, cls, cap - less);
	cm_write(&m->cap, less);
}

/* The class was busy: begin its magazine, or let it hold more. */
static void warm(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, unsigned cls)
{
	struct cm_magazine_shm *m = &cm_magazines(self->slot)->magazine[cm_mark_of(cls)];
	uint32_t cap = cap_of(m), most = cap_most(cls), size = cm_classes[cls].size;
	uint32_t want = cap ? cap * 2 : CAP_AT_FIRST;

	if (cache->is_lean || ++cache->heat[cls] < (cap ? HEAT_TO_GROW : HEAT_TO_OPEN))
		return;
	cache->heat[cls] = 0;
	want = want < most ? want : most;
	if (want <= cap || self->index == CM_SLOT_COMMON ||
	    !can_afford(seg, (uint64_t)cache->bytes + (want - cap) * size) ||
	    commit_ring(seg, self, cm_mark_of(cls)) < 0)
		return;
	cache->bytes += (want - cap) * size;
	cm_write(&m->cap, want);
	/* death between: cap says that there is something to close */
	cm_order();
	set_full(m);
}

/* How many to take or give at once.  Half a magazine, so that the other way is as far; all of
 * it for who went the same way the two times before. */
static uint32_t batch_of(struct cm_cache *cache, unsigned cls, enum way way, uint32_t cap)
{
	uint8_t *run = &cache->run[cls];

	*run = *run % 2 == (unsigned)way ? (uint8_t)cm_min(*run + 2, 4 + way) : (uint8_t)way;
	return *run / 2 >= 2 ? cap : cap / 2 + 1;
}

/* 32 bits of a linear congruential generator: Knuth, TAOCP 2, 3.3.4, his MMIX. */
static uint64_t next_random(struct cm_cache *cache)
{
	cache->random = cache->random * 6364136223846793005u + 1442695040888963407u;
	return cache->random >> 32;
}

/* Take blocks from the maps; the caller gets one. */
static int refill(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, unsigned cls,
		  cm_word *dst, uint64_t *ret_off)
{
	struct cm_magazine_shm *m = &cm_magazines(self->slot)->magazine[cm_mark_of(cls)];
	uint32_t want = batch_of(cache, cls, REFILLS, cap_of(m)), n, head, tail, first = 0;
	cm_word *ring = cm_ring(self->slot, cm_mark_of(cls));
	uint64_t offs[CM_BATCH_MOST], ends;
	struct cm_tx tx;
	int err;

	do {
		cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cls, &tx);
		err = cm_stage_take(seg, &tx, cls, want, offs, &n);
		if (err == 0) {
			ends = cm_read(&m->ends);
			head = cm_ends_head(ends);
			tail = cm_ends_tail(ends);
			/* beyond head nobody looks; upwards from a random one, for whoever would
			 * foretell what lies behind a block */
			first = (uint32_t)(next_random(cache) * n >> 32);
			for (uint32_t i = 1, at = first; i < n; i++) {
				at = at + 1 < n ? at + 1 : 0;
				cm_write(&ring[(head + n - 1 - i) % CM_RING], offs[at]);
			}
			cm_tx_put(&tx, &m->ends, cm_ends(head + n - 1, tail));
			if (dst)
				cm_tx_put(&tx, dst, offs[first]);
			cm_tx_commit(&tx);
		}
		cm_tx_end(&tx);
	} while (err == -ENOENT && (err = cm_slab_add(seg, self, cls)) == 0);
	if (err < 0)
		return err;
	cm_slot_count_malloc(self->slot, n, cm_classes[cls].size);
	cm_count(&self->slot->refills, 1);
	*ret_off = offs[first];
	return 0;
}

/* Slabs that became empty and are still in the list: give back those that still are. */
static void give_empties(struct cm_seg *seg, const struct cm_self *self, unsigned cls,
			 const struct cm_given *given)
{
	struct cm_tx tx;
	bool ends;

	if (given->has_hold)
		cm_slab_give_hold(seg, self);
	for (uint32_t i = 0; i < given->nempty; i++) {
		cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cls, &tx);
		ends = cm_slab_is_spare(seg, cls, given->empty[i]) &&
		       cm_stage_end(seg, &tx, cls, given->empty[i]) == 0;
		if (ends)
			cm_tx_commit(&tx);
		cm_tx_end(&tx);
		if (ends)
			cm_slab_give_hold(seg, self);
	}
}

/* The oldest of a magazine, grouped: n, or as many as fit one record. */
static uint32_t read_oldest(cm_word *ring, unsigned cls, uint64_t ends, uint32_t n, uint64_t *offs)
{
	for (;; n = CM_BATCH_SCATTERED) {
		for (uint32_t i = 0; i < n; i++)
			offs[i] = cm_read(&ring[(cm_ends_tail(ends) + i) % CM_RING]);
		if (cm_stage_fits(cls, offs, n))
			return n;
	}
}

/* The oldest n of a magazine, ours or a dead one's, go back to the maps.  How many did. */
static uint32_t flush(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *slot,
		      unsigned cls, uint32_t n, struct cm_misfreed *misfreed)
{
	struct cm_magazine_shm *m = &cm_magazines(slot)->magazine[cm_mark_of(cls)];
	cm_word *ring = cm_ring(slot, cm_mark_of(cls));
	uint64_t offs[CM_BATCH_MOST], ends;
	struct cm_given given;
	struct cm_tx tx;
	uint32_t count;

	cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cls, &tx);
	/* under the lock: the record of a dead reaper may just have changed it */
	ends = cm_read(&m->ends);
	count = cm_ends_count(ends);
	n = read_oldest(ring, cls, ends, n < count ? n : count, offs);
	cm_given_begin(&given);
	if (n && cm_stage_give(seg, &tx, cls, offs, n, &given) < 0) {
		/* the tables are damaged: the blocks are lost, and no more */
		cm_add(&seg->super->damages, 1);
		tx.n = 0;
		cm_given_begin(&given);
	}
	if (n) {
		cm_tx_put(&tx, &m->ends, cm_ends(cm_ends_head(ends), cm_ends_tail(ends) + n));
		cm_tx_commit(&tx);
	}
	cm_tx_end(&tx);
	cm_count(&slot->frees, given.n); /* ours, or a dead one's that we reap: nobody else's */
	cm_count(&slot->flushes, n > 0);
	give_empties(seg, self, cls, &given);
	for (uint32_t i = 0; i < given.nbad && misfreed->n < CM_RING; i++)
		misfreed->off[misfreed->n++] = given.bad[i];
	return n;
}

/* A cell that only the caller may change, and our ends, in one instant: ours alone, so no lock. */
static void store_both(struct cm_seg *seg, const struct cm_self *self, cm_word *ends, uint64_t value,
		       cm_word *cell, uint64_t ref)
{
	struct cm_tx tx;

	cm_tx_begin(&seg->log, self, CM_LOCK_NONE, &tx);
	cm_tx_put(&tx, ends, value);
	cm_tx_put(&tx, cell, ref);
	cm_tx_commit(&tx);
}

int cm_cache_alloc(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, unsigned cls,
		   cm_word *dst, uint64_t *ret_off)
{
	struct cm_magazine_shm *m = &cm_magazines(self->slot)->magazine[cm_mark_of(cls)];
	uint64_t ends;
	uint32_t head;

	if (cap_of(m) == 0) {
		warm(seg, self, cache, cls);
		return cm_slab_alloc(seg, self, cls, dst, ret_off);
	}
	ends = cm_read(&m->ends);
	if (cm_ends_count(ends) == 0) {
		warm(seg, self, cache, cls);
		shrink(seg, cache, m, cls);
		set_full(m);
		return refill(seg, self, cache, cls, dst, ret_off);
	}
	head = cm_ends_head(ends) - 1;
	*ret_off = cm_read(&cm_ring(self->slot, cm_mark_of(cls))[head % CM_RING]);
	if (!cm_seg_has(seg, *ret_off) || *ret_off % 16) { /* a neighbour scribbled here */
		cm_write(cm_lower_half(&m->ends), head);
		return -EUCLEAN;
	}
	if (dst) {
		store_both(seg, self, &m->ends, cm_ends(head, cm_ends_tail(ends)), dst, *ret_off);
	} else {
		cm_order();
		/* death after: the block is the caller's, who is dead */
		cm_write(cm_lower_half(&m->ends), head);
	}
	return 0;
}

/* Is it among those freed last?  At check level 1: or anywhere in the magazine. */
static bool is_cached(struct cm_slot_shm *slot, unsigned mark, uint64_t ends, uint64_t off)
{
	uint32_t n = cm_ends_count(ends), look = CM_CHECK_LEVEL >= 1 ? n : n < 1 ? n : 1;

	for (uint32_t i = 1; i <= look; i++)
		if (cm_read(&cm_ring(slot, mark)[(cm_ends_head(ends) - i) % CM_RING]) == off)
			return true;
	return false;
}

int cm_cache_free(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache,
		  const struct cm_block *block, cm_word *src, struct cm_misfreed *misfreed)
{
	unsigned cls = block->cls, mark = cm_mark_of(cls);
	struct cm_magazine_shm *m = &cm_magazines(self->slot)->magazine[mark];
	uint32_t cap = cap_of(m), head, n;
	uint64_t ends = cm_read(&m->ends);

	if (cap == 0) {
		warm(seg, self, cache, cls);
		return cm_slab_free(seg, self, block, src);
	}
	if (cm_slab_is_free(seg, block) || is_cached(self->slot, mark, ends, block->off))
		return -EALREADY;
	if (cm_ends_count(ends) >= cap) {
		warm(seg, self, cache, cls);
		shrink(seg, cache, m, cls);
		do {
			n = flush(seg, self, self->slot, cls, batch_of(cache, cls, FLUSHES, cap), misfreed);
			ends = cm_read(&m->ends);
		} while (n && cm_ends_count(ends) >= cap_of(m));
		set_full(m);
	}
	head = cm_ends_head(ends);
	cm_write(&cm_ring(self->slot, mark)[head % CM_RING], block->off);
	if (src) {
		store_both(seg, self, &m->ends, cm_ends(head + 1, cm_ends_tail(ends)), src, 0);
	} else {
		cm_order();
		/* death before: the block is the caller's still, who is dead; after: ours.
		 * release pairs with cm_cached_of */
		cm_store_release(cm_lower_half(&m->ends), head + 1);
	}
	if (CM_CHECK_LEVEL >= 1)
		cm_slab_fill_freed(seg, block); /* nobody but us takes it from the magazine */
	return 0;
}

/* Also one without a cap, if a neighbour scribbled there: nobody knows what is in it. */
static bool is_open(struct cm_magazine_shm *m)
{
	return cm_read(&m->cap) || cm_read(&m->ends) || cm_read(&m->full);
}

/* Nothing is in it. */
static void close_magazine(struct cm_magazine_shm *m)
{
	cm_write(&m->full, 0);
	cm_write(&m->ends, 0); /* whatever a neighbour made of it */
	/* cap last: as long as it is there, somebody does this again */
	cm_order();
	cm_write(&m->cap, 0);
}

void cm_cache_drain(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *slot,
		    struct cm_misfreed *misfreed)
{
	struct cm_magazine_shm *m = cm_magazines(slot)->magazine;

	/* Also an empty one is flushed when its slot's thread is dead: taking the lock of its bin
	 * finishes the log of a reaper before us, who died with this very magazine in it. */
	for (unsigned cls = 0; cls < CM_CLASSES; cls++)
		while (cm_read(&m[cm_mark_of(cls)].cap) &&
		       flush(seg, self, slot, cls, CM_RING, misfreed) > 0)
			;
	/* death before: they are flushed again; they are empty */
	for (unsigned cls = 0; cls < CM_CLASSES; cls++)
		if (is_open(&m[cm_mark_of(cls)]))
			close_magazine(&m[cm_mark_of(cls)]);
}

void cm_cache_inherit(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache)
{
	struct cm_magazine_shm *m;
	uint32_t cap;
	struct cm_tx tx;

	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		m = &cm_magazines(self->slot)->magazine[cm_mark_of(cls)];
		cap = cm_read(&m->cap);
		if (!is_open(m))
			continue;
		/* as in cm_cache_drain: a reaper may have died with its ends in his log */
		cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cls, &tx);
		cm_tx_end(&tx);
		if (cap == 0 || cap > cap_most(cls) || cm_ends_count(cm_read(&m->ends)) > cap) {
			cm_add(&seg->super->damages, 1); /* what is in it is lost, and no more */
			close_magazine(m);
			continue;
		}
		cache->bytes += cap * cm_classes[cls].size;
		set_full(m);
	}
}

void cm_cache_decay(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache,
		    struct cm_misfreed *misfreed)
{
	struct cm_magazine_shm *m;
	uint64_t ends;

	if (!cm_decay_is_due(seg, &cache->decayed_ns))
		return;
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		m = &cm_magazines(self->slot)->magazine[cm_mark_of(cls)];
		ends = cm_read(&m->ends);
		if (cap_of(m) && ends == cache->ends[cls]) {
			while (flush(seg, self, self->slot, cls, CM_RING, misfreed) > 0)
				;
			forget_bytes(cache, cls, cap_of(m));
			close_magazine(m);
			ends = 0;
		}
		cache->ends[cls] = ends;
	}
}
