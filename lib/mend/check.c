/*
 * check.c - does every table of the heap agree with every other?
 *
 * Three passes, each under the lock that guards what it reads, one at a time:
 * segments and units (span), slabs and their lists (bin by bin), roots.  While a
 * lock is held findings are kept in a small array and told afterwards; beyond
 * its size they are counted.
 *
 * Units on their way lie in a slot's hold, which can begin or end under other
 * locks than the span's.  So holds are read before and after the units: a unit
 * that nothing claims was in neither.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "heap/heap.h"
#include "heap/root_layout.h"

#define KEPT 64u
#define PASSES 3

struct finding {
	uint64_t off;
	const char *what;
};

struct check {
	struct comap_heap *heap;
	struct cm_seg *seg;
	struct cm_seat *seat; /* NULL: read-only, no locks */
	struct finding kept[KEPT];
	unsigned n, total;
	bool has_class[CM_CLASSES];
};

static void find(struct check *c, uint64_t off, const char *what)
{
	if (c->n < KEPT)
		c->kept[c->n++] = (struct finding){ off, what };
	c->total++;
}

static void lock(struct check *c, uint32_t id, struct cm_tx *tx)
{
	if (c->seat)
		cm_tx_begin(&c->seg->log, &c->seat->self, id, tx);
}

static void unlock(struct check *c, struct cm_tx *tx)
{
	if (c->seat)
		cm_tx_end(tx);
}

/* ---- segments and units ------------------------------------------------------- */

/* Which units of the segment some slot has in its hold; bit 0: the segment itself. */
static uint64_t held_in(const struct check *c, uint64_t segment)
{
	uint64_t mask = 0, at, what;

	for (uint32_t i = 0; i < cm_life_nused(&c->seg->life); i++) {
		struct cm_slot_shm *slot = cm_life_slot(&c->seg->life, i);

		at = cm_load_acquire(&slot->hold_at);
		what = cm_read(&slot->hold_what);
		if ((at & 0xffffffff) != segment)
			continue;
		if (at >> 56 == CM_HOLD_UNITS)
			mask |= what;
		else if (at >> 56 == CM_HOLD_SEGMENTS)
			mask |= 1;
	}
	return mask;
}

/* Does a block's or a slab's descriptor belong to this unit? */
static bool is_first(uint64_t unit, unsigned mark)
{
	return mark == CM_UNIT_RUN || unit % cm_classes[mark - 1].units == 0;
}

/* What the unit table claims of a split segment: a bit for each unit of a slab or run. */
static uint64_t claimed_in(struct check *c, uint64_t segment, uint64_t held)
{
	uint64_t claimed = 0, unit, mask;
	unsigned mark, n;

	for (unsigned u = 1; u < CM_UNITS_PER_SEGMENT; u++) {
		unit = segment << 6 | u;
		mark = cm_read(&c->seg->units[unit]);
		if (mark == CM_UNIT_NONE)
			continue;
		if (mark == CM_UNIT_RUN) {
			n = (unsigned)cm_div_up(cm_read(&cm_seg_desc(c->seg, unit)->size), CM_UNIT);
		} else if (mark <= CM_CLASSES) {
			c->has_class[mark - 1] = true;
			n = 1;
			if (cm_read(&c->seg->units[unit & ~(cm_classes[mark - 1].units - 1ull)]) != mark)
				find(c, unit << CM_UNIT_SHIFT,
				     "a unit of a slab whose first unit is something else");
		} else {
			find(c, unit << CM_UNIT_SHIFT, "the unit table has an unknown mark");
			continue;
		}
		if (is_first(unit, mark) && !(held >> u & 1) &&
		    cm_read(&cm_seg_desc(c->seg, unit)->kind) != mark && !(held_in(c, segment) >> u & 1) &&
		    cm_read(&c->seg->units[unit]) == mark)
			find(c, unit << CM_UNIT_SHIFT, "a block's mark and its descriptor differ");
		if (n == 0 || u + n > CM_UNITS_PER_SEGMENT) {
			find(c, unit << CM_UNIT_SHIFT, "a run has an impossible length");
			continue;
		}
		mask = cm_mask(u, n);
		if (claimed & mask)
			find(c, unit << CM_UNIT_SHIFT, "a unit belongs to two blocks");
		claimed |= mask;
	}
	return claimed;
}

struct sums {
	uint64_t used, dirty, first_free;
};

static void check_split(struct check *c, uint64_t s, struct sums *sums)
{
	struct cm_header_shm *h = cm_seg_header(c->seg, s);
	uint64_t free = cm_read(&h->free), have = cm_read(&h->have);
	const char *fault = cm_span_fault(c->seg, s);
	uint64_t held = held_in(c, s), claimed = claimed_in(c, s, held), off = s << CM_SEGMENT_SHIFT;

	held |= held_in(c, s);
	if (fault)
		find(c, off, fault);
	if (free & claimed)
		find(c, off, "a unit is free and in use");
	if (~1ull & ~free & ~claimed & ~held)
		find(c, off, "a unit is neither free, nor in use, nor in transit");
	sums->used += CM_UNITS_PER_SEGMENT - cm_popcount(free);
	sums->dirty += cm_popcount(free & have);
	if (free && sums->first_free == 0)
		sums->first_free = s;
}

static uint64_t check_run(struct check *c, uint64_t s, uint64_t end, uint64_t entry, struct sums *sums)
{
	uint64_t pages = cm_seg_pages(entry), n = cm_div_up(pages, CM_PAGES_PER_SEGMENT);
	uint64_t off = s << CM_SEGMENT_SHIFT;

	if (n == 0 || n > end - s) {
		find(c, off, "a run of segments has an impossible length");
		return 1;
	}
	if (cm_seg_kind(entry) == CM_SEG_HELD && !(held_in(c, s) & 1) &&
	    cm_read(&c->seg->segments[s]) == entry)
		find(c, off, "a segment is in transit, but nobody holds it");
	for (uint64_t i = 1; i < n; i++)
		if (cm_seg_kind(cm_read(&c->seg->segments[s + i])) != CM_SEG_CONT)
			find(c, (s + i) << CM_SEGMENT_SHIFT, "a run of segments has a gap");
	sums->used += cm_whole_units(entry);
	return n;
}

static void check_segments(struct check *c)
{
	struct cm_seg *seg = c->seg;
	uint64_t end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT, entry, step;
	struct sums sums = {0};
	struct cm_tx tx;

	lock(c, CM_LOCK_SPAN, &tx);
	for (uint64_t s = seg->data_off >> CM_SEGMENT_SHIFT; s < end; s += step) {
		entry = cm_read(&seg->segments[s]);
		step = 1;
		switch (cm_seg_kind(entry)) {
		case CM_SEG_FREE:
			sums.dirty += entry & CM_SEG_HAVE ? CM_UNITS_PER_SEGMENT : 0;
			if (sums.first_free == 0)
				sums.first_free = s;
			break;
		case CM_SEG_SPLIT:
			check_split(c, s, &sums);
			break;
		case CM_SEG_HUGE:
		case CM_SEG_HELD:
			step = check_run(c, s, end, entry, &sums);
			break;
		default:
			find(c, s << CM_SEGMENT_SHIFT, "the segment table has an unknown or stray entry");
		}
	}
	if (sums.used != cm_read(cm_span_word(seg, CM_SPAN_USED)))
		find(c, CM_LOCKS_OFF, "the count of units in use is wrong");
	if (sums.dirty != cm_read(cm_span_word(seg, CM_SPAN_DIRTY)))
		find(c, CM_LOCKS_OFF, "the count of units with storage is wrong");
	if (sums.first_free && cm_read(cm_span_word(seg, CM_SPAN_HINT)) > sums.first_free)
		find(c, CM_LOCKS_OFF, "there is a free unit below the hint");
	unlock(c, &tx);
}

/* ---- slabs ------------------------------------------------------------------------ */

/* The slabs in the bin's list, each with a free block and linked both ways. */
static uint64_t check_list(struct check *c, unsigned cls)
{
	uint64_t unit = cm_read(cm_bin_list(c->seg, cls)), prev = 0, n = 0, link;
	uint64_t most = cm_seg_limit(c->seg) >> CM_UNIT_SHIFT;

	for (; unit; unit = link >> 32) {
		if (!cm_slab_begins(c->seg, cls, unit) || ++n > most) {
			find(c, unit << CM_UNIT_SHIFT,
			     "a bin's list leads to what is no slab of its class");
			return n;
		}
		link = cm_read(&cm_seg_desc(c->seg, unit)->link);
		if ((uint32_t)link != prev)
			find(c, unit << CM_UNIT_SHIFT, "a slab's link back is wrong");
		if (cm_read(&cm_seg_desc(c->seg, unit)->nfree) == 0)
			find(c, unit << CM_UNIT_SHIFT, "a full slab is in its bin's list");
		prev = unit;
	}
	return n;
}

static void check_bin(struct check *c, unsigned cls)
{
	uint64_t end = cm_seg_limit(c->seg) >> CM_UNIT_SHIFT, in_list, open = 0;
	uint64_t step = cm_classes[cls].units, unit = c->seg->data_off >> CM_UNIT_SHIFT;
	const char *fault;
	struct cm_tx tx;

	lock(c, CM_LOCK_BIN + cls, &tx);
	in_list = check_list(c, cls);
	for (; unit < end; unit += step) {
		/* A slab about to be linked, or just unlinked, lies in a hold. */
		if (!cm_slab_begins(c->seg, cls, unit) || held_in(c, unit >> 6) >> (unit & 63) & 1 ||
		    !cm_slab_begins(c->seg, cls, unit)) /* given back between the two looks */
			continue;
		fault = cm_slab_fault(c->seg, cls, unit);
		if (fault)
			find(c, unit << CM_UNIT_SHIFT, fault);
		open += cm_read(&cm_seg_desc(c->seg, unit)->nfree) != 0;
	}
	if (open != in_list)
		find(c, CM_LOCKS_OFF + (CM_LOCK_BIN + cls) * 64,
		     "a bin's list has not all slabs with a free block");
	unlock(c, &tx);
}

/* ---- roots -------------------------------------------------------------------------- */

static void check_root(struct check *c, struct cm_root_shm *root, uint64_t off)
{
	uint64_t name[CM_ROOT_NAME_WORDS], ref = cm_read(&root->ref), state = cm_read(&root->state);

	if (state == CM_ROOT_EMPTY)
		return;
	for (unsigned i = 0; i < CM_ROOT_NAME_WORDS; i++)
		name[i] = cm_read(&root->name[i]);
	if (state > CM_ROOT_BUSY)
		find(c, off, "a root has an unknown state");
	if (XXH3_64bits(name, sizeof name) != cm_read(&root->hash))
		find(c, off, "a root's name does not match its hash");
	if (ref && !cm_seg_has(c->seg, ref))
		find(c, off, "a root refers to nothing");
}

static void check_roots(struct check *c)
{
	uint64_t off = CM_ROOTS_OFF, most = cm_seg_limit(c->seg) / CM_ROOT_PAGE_BYTES;
	struct cm_root_page_shm *page;
	uint64_t spare, seen = 0, steps = 0, power = 1;
	struct cm_tx tx;

	lock(c, CM_LOCK_ROOT, &tx);
	page = (struct cm_root_page_shm *)cm_seg_at(c->seg, off);
	if (c->seat && cm_read(&page->version) & 1)
		find(c, off, "the roots are marked as changing, and nobody changes them");
	spare = cm_read(&page->spare);
	if (spare && (spare % CM_ROOT_PAGE_BYTES || cm_place_of(c->seg, spare).off != spare))
		find(c, off, "the spare page of roots is no block");
	while (off && most--) {
		/* Brent's cycle finder: have we been here? */
		if (off == seen)
			break;
		if (++steps == power) {
			seen = off;
			power *= 2;
			steps = 0;
		}
		page = (struct cm_root_page_shm *)cm_seg_at(c->seg, off);
		for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++)
			check_root(c, &page->root[i], cm_off_of(c->seg, &page->root[i]));
		off = cm_read(&page->next);
		if (off && (off % CM_ROOT_PAGE_BYTES || !cm_place_of(c->seg, off).size)) {
			find(c, off, "the chain of roots leads to no block");
			off = 0;
		}
	}
	if (off)
		find(c, off, "the chain of roots is a ring");
	unlock(c, &tx);
}

/* ---- slots ---------------------------------------------------------------------------- */

static void check_slots(struct check *c)
{
	for (uint32_t i = 0; i < cm_life_nused(&c->seg->life); i++) {
		struct cm_slot_shm *slot = cm_life_slot(&c->seg->life, i);

		if (cm_load_acquire(&slot->state) != CM_SLOT_FREE)
			continue;
		/* a newcomer may have moved in since: look at the state again */
		if ((cm_read(&slot->redo.commit) || cm_read(&slot->hold_at)) &&
		    cm_load_acquire(&slot->state) == CM_SLOT_FREE)
			find(c, cm_off_of(c->seg, slot), "a free slot has unfinished business");
	}
	if (cm_read(&c->seg->super->damages))
		find(c, 0, "damage was met, and passed over, while the heap was in use");
}

static void tell(struct check *c, void (*fn)(uint64_t offset, const char *what, void *arg), void *arg)
{
	for (unsigned i = 0; i < c->n && fn; i++)
		fn(c->kept[i].off, c->kept[i].what, arg);
	c->n = 0;
}

static void check_all(struct check *c)
{
	check_segments(c);
	for (unsigned cls = 0; cls < CM_CLASSES; cls++)
		if (c->has_class[cls] || cm_read(cm_bin_list(c->seg, cls)))
			check_bin(c, cls);
	check_roots(c);
	check_slots(c);
}

int comap_heap_check(comap_heap *heap, void (*fn)(uint64_t offset, const char *what, void *arg),
		     void *arg)
{
	struct check c = { .heap = heap, .seg = &heap->seg };
	int err = 0;

	if (!heap->seg.is_readonly) {
		c.seat = cm_seat_enter(heap, &err);
		if (!c.seat)
			return err;
	}
	/* What neighbours have on its way may look wrong for an instant; damage stays. */
	for (int pass = 0; pass < PASSES && (pass == 0 || c.total); pass++) {
		c.n = c.total = 0;
		check_all(&c);
	}
	if (c.seat)
		cm_seat_leave(heap, c.seat);
	tell(&c, fn, arg);
	return c.total ? -EUCLEAN : 0;
}
