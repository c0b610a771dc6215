/* stats.c - figures and the walk over live blocks, read from the tables that are the truth. */
#include <errno.h>
#include <string.h>
#include "heap/heap.h"
#include "heap/root_layout.h"

/* Calls slab(unit), run(off, size) for what begins in each split segment. */
struct visitor {
	int (*slab)(struct comap_heap *heap, unsigned cls, uint64_t unit, void *arg);
	int (*run)(struct comap_heap *heap, uint64_t off, uint64_t size, void *arg);
	void *arg;
};

static int visit_unit(struct comap_heap *heap, uint64_t unit, const struct visitor *v)
{
	struct cm_seg *seg = &heap->seg;
	unsigned mark = cm_read(&seg->units[unit]);
	struct cm_block block;
	uint64_t size;

	if (mark == CM_UNIT_RUN) {
		size = cm_run_size(seg, unit << CM_UNIT_SHIFT);
		return size ? v->run(heap, unit << CM_UNIT_SHIFT, size, v->arg) : 0;
	}
	if (mark == CM_UNIT_NONE || mark > CM_CLASSES || unit % cm_classes[mark - 1].units)
		return 0;
	if (cm_slab_find(seg, unit << CM_UNIT_SHIFT, &block) < 0)
		return 0;
	return v->slab(heap, block.cls, unit, v->arg);
}

static int visit(struct comap_heap *heap, const struct visitor *v)
{
	struct cm_seg *seg = &heap->seg;
	uint64_t end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT, size;
	int got = 0;

	for (uint64_t s = seg->data_off >> CM_SEGMENT_SHIFT; s < end && !got; s++) {
		unsigned kind = cm_seg_kind(cm_read(&seg->segments[s]));

		if (kind == CM_SEG_HUGE) {
			size = cm_run_size(seg, s << CM_SEGMENT_SHIFT);
			got = size ? v->run(heap, s << CM_SEGMENT_SHIFT, size, v->arg) : 0;
		}
		for (unsigned u = 1; kind == CM_SEG_SPLIT && u < CM_UNITS_PER_SEGMENT && !got; u++)
			got = visit_unit(heap, s << 6 | u, v);
	}
	return got;
}

/* ---- walk ------------------------------------------------------------------ */

struct walk {
	int (*fn)(void *ptr, size_t size, void *arg);
	void *arg;
	struct cm_cached cached; /* when the walk began */
};

/* Is the block in a magazine: in anybody's when we began, or in the caller's since? */
static bool is_cached(const struct comap_heap *heap, const struct walk *walk, unsigned cls, uint64_t off)
{
	const struct cm_seat *seat = cm_seats[heap->index];
	uint64_t offs[CM_RING];

	if (cm_cached_has(&walk->cached, off))
		return true;
	if (!seat || seat->serial != cm_read(&heap->serial))
		return false;
	for (uint32_t n = cm_cached_of(&heap->seg, seat->self.index, cls, offs); n > 0; n--)
		if (offs[n - 1] == off)
			return true;
	return false;
}

static int walk_slab(struct comap_heap *heap, unsigned cls, uint64_t unit, void *arg)
{
	const struct cm_class *c = &cm_classes[cls];
	struct cm_seg *seg = &heap->seg;
	struct walk *walk = arg;
	uint64_t off = unit << CM_UNIT_SHIFT;
	struct cm_block block;
	int got = 0;

	/* fn may free: the block, or the last one, and the slab is another's then */
	for (uint32_t i = 0; i < c->blocks && !got; i++, off += c->size)
		if (cm_slab_find(seg, off, &block) == 0 && block.cls == cls && block.unit == unit &&
		    !cm_slab_is_free(seg, &block) && !is_cached(heap, walk, cls, off) &&
		    (c->size != CM_ROOT_PAGE_BYTES || !cm_is_root_page(seg, off)))
			got = walk->fn(cm_seg_at(seg, off), c->size, walk->arg);
	return got;
}

static int walk_run(struct comap_heap *heap, uint64_t off, uint64_t size, void *arg)
{
	struct walk *walk = arg;

	return walk->fn(cm_seg_at(&heap->seg, off), size, walk->arg);
}

int comap_heap_walk(comap_heap *heap, int (*fn)(void *ptr, size_t size, void *arg), void *arg)
{
	struct walk walk = { .fn = fn, .arg = arg };
	const struct visitor v = { walk_slab, walk_run, &walk };
	int got = cm_cached_read(&heap->seg, &walk.cached);

	if (got < 0)
		return got;
	got = visit(heap, &v);
	cm_cached_end(&walk.cached);
	return got;
}

/* ---- figures ----------------------------------------------------------------- */

static int count_slab(struct comap_heap *heap, unsigned cls, uint64_t unit, void *arg)
{
	struct comap_heap_stats *s = arg;
	struct comap_class_stats *c = &s->classes[cls];
	uint64_t blocks = cm_classes[cls].blocks;
	uint64_t nfree = cm_min(cm_read(&cm_seg_desc(&heap->seg, unit)->nfree), blocks);

	c->slabs++;
	c->free += nfree;
	c->live += blocks - nfree;
	s->live_blocks += blocks - nfree;
	s->live_bytes += (blocks - nfree) * c->block_size;
	if (nfree)
		s->largest_free = cm_max(s->largest_free, c->block_size);
	s->free_bytes += nfree * c->block_size;
	return 0;
}

static int count_run(struct comap_heap *heap, uint64_t off, uint64_t size, void *arg)
{
	struct comap_heap_stats *s = arg;

	(void)heap;
	(void)off;
	s->live_blocks++;
	s->live_bytes += size;
	s->large_blocks++;
	s->large_bytes += size;
	return 0;
}

static void count_free(const struct cm_seg *seg, struct comap_heap_stats *s)
{
	uint64_t end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT, run = 0, e, units;

	for (uint64_t i = seg->data_off >> CM_SEGMENT_SHIFT; i < end; i++) {
		e = cm_read(&seg->segments[i]);
		units = 0;
		if (cm_seg_kind(e) == CM_SEG_FREE)
			units = CM_UNITS_PER_SEGMENT;
		else if (cm_seg_kind(e) == CM_SEG_SPLIT)
			units = cm_popcount(cm_read(&cm_seg_header(seg, i)->free));
		s->free_bytes += units * CM_UNIT;
		run = units >= CM_UNITS_PER_SEGMENT - 1 ? run + 1 : 0;
		s->largest_free = cm_max(s->largest_free, run * CM_SEGMENT);
		if (cm_seg_kind(e) == CM_SEG_SPLIT)
			s->largest_free = cm_max(s->largest_free, cm_seg_longest(e) * CM_UNIT);
	}
}

/* Blocks in magazines are nobody's. */
static void discount_cached(const struct cm_seg *seg, struct comap_heap_stats *s)
{
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		struct comap_class_stats *c = &s->classes[cls];

		c->cached = cm_min(cm_cached_count(seg, cls), c->live);
		c->live -= c->cached;
		s->live_blocks -= c->cached;
		s->live_bytes -= c->cached * c->block_size;
		s->cached_blocks += c->cached;
		s->cached_bytes += c->cached * c->block_size;
	}
}

/* The heap's own pages of roots are nobody's blocks. */
static void discount_roots(const struct cm_seg *seg, struct comap_heap_stats *s)
{
	struct comap_class_stats *c = &s->classes[cm_class_of(CM_ROOT_PAGE_BYTES)];
	uint64_t n = cm_min(cm_root_pages(seg), c->live);

	c->live -= n;
	s->live_blocks -= n;
	s->live_bytes -= n * CM_ROOT_PAGE_BYTES;
}

static void count_slots(const struct cm_seg *seg, struct comap_heap_stats *s)
{
	for (uint32_t i = 0; i < cm_life_nused(&seg->life); i++) {
		struct cm_slot_shm *slot = cm_life_slot(&seg->life, i);

		if (cm_life_needs_reap(&seg->life, i, true))
			s->slots_dead++;
		else if (cm_read(&slot->state) == CM_SLOT_LIVE)
			s->slots_live++;
		/* also of slots that are free now */
		s->mallocs += cm_read(&slot->mallocs);
		s->frees += cm_read(&slot->frees);
		s->refills += cm_read(&slot->refills);
		s->flushes += cm_read(&slot->flushes);
		s->lock_waits += cm_read(&slot->waits);
		for (unsigned cls = 0; cls < CM_CLASSES; cls++)
			s->caches += cm_read(&cm_magazines(slot)->magazine[cm_mark_of(cls)].cap) != 0;
	}
}

static void get_all(struct comap_heap *heap, struct comap_heap_stats *stats)
{
	const struct visitor v = { count_slab, count_run, stats };
	struct cm_seg *seg = &heap->seg;
	uint64_t quota;

	for (unsigned c = 0; c < CM_CLASSES; c++)
		stats->classes[c].block_size = cm_classes[c].size;
	quota = cm_read(&seg->super->quota);
	stats->slots = seg->life.nslots - 1; /* the common one is nobody's */
	stats->max_size = seg->max_size;
	stats->quota = quota > UINT64_MAX / CM_UNIT ? UINT64_MAX : quota * CM_UNIT;
	stats->grown = cm_seg_limit(seg);
	stats->dirty = cm_read(cm_span_word(seg, CM_SPAN_DIRTY)) * CM_UNIT;
	stats->committed = cm_read(cm_span_word(seg, CM_SPAN_USED)) * CM_UNIT + stats->dirty;
	stats->deaths = cm_read(&seg->super->deaths);
	stats->misuses = cm_read(&seg->super->misuses);
	stats->steals = cm_read(&seg->super->steals);
	stats->purged_bytes = cm_read(&seg->super->purged);
	count_slots(seg, stats);
	count_free(seg, stats);
	visit(heap, &v);
	discount_cached(seg, stats);
	discount_roots(seg, stats);
}

int comap_heap_get_stats(comap_heap *heap, struct comap_heap_stats *stats)
{
	/* the sizes the struct had, the oldest first; it grows at its end */
	static const uint32_t sizes[] = { offsetof(struct comap_heap_stats, mallocs), sizeof *stats };
	struct comap_heap_stats all = { .size = stats->size };

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
		if (stats->size == sizes[i]) {
			get_all(heap, &all);
			memcpy(stats, &all, all.size);
			return 0;
		}
	return -EINVAL;
}

/* What the thread in this slot added to a figure of the slot; 0: a neighbour scribbled here. */
static uint64_t since(cm_word *figure, cm_word *before)
{
	uint64_t now = cm_read(figure), then = cm_read(before);

	return now < then ? 0 : now - then;
}

int comap_heap_slots(comap_heap *heap, int (*fn)(const struct comap_slot_info *info, void *arg), void *arg)
{
	const struct cm_seg *seg = &heap->seg;
	int got = 0;

	for (uint32_t i = 0; i < cm_life_nused(&seg->life) && !got; i++) {
		struct cm_slot_shm *slot = cm_life_slot(&seg->life, i);
		struct comap_slot_info info = { .slot = i };
		uint64_t ids = cm_read(&slot->ids), comm[2];

		if (cm_load_acquire(&slot->state) != CM_SLOT_LIVE)
			continue;
		info.tgid = (int32_t)(ids >> 32);
		info.tid = (int32_t)ids;
		info.is_dead = cm_life_needs_reap(&seg->life, i, true);
		comm[0] = cm_read(&slot->comm[0]);
		comm[1] = cm_read(&slot->comm[1]);
		memcpy(info.name, comm, sizeof info.name);
		info.name[sizeof info.name - 1] = '\0';
		info.mallocs = since(&slot->mallocs, &slot->before[0]);
		info.frees = since(&slot->frees, &slot->before[1]);
		info.bytes = since(&slot->bytes, &slot->before[2]);
		got = fn(&info, arg);
	}
	return got;
}
