/*
 * check_units.c - segments, units, and the sums kept of them, under the span lock.
 *
 * Under that lock nothing becomes free and nothing free is taken.  Yet units on
 * their way from a hold to a block, or from a block to a hold, go on under other
 * locks or none: their owner writes the mark and the descriptor of what he holds,
 * and only then ends the hold.  So holds are read before and after the tables,
 * and whatever looks wrong in them is looked at again: it is a fault when nobody
 * holds it and it still looks so.
 */
#include "mend/mend.h"

struct sums {
	uint64_t used, dirty, first_free;
};

/* Does a block's or a slab's descriptor belong to this unit? */
static bool is_first(uint64_t unit, unsigned mark)
{
	return mark == CM_UNIT_RUN || unit % cm_classes[mark - 1].units == 0;
}

/* What a marked unit contradicts, or NULL. */
static const char *unit_fault(const struct cm_seg *seg, uint64_t unit, unsigned mark)
{
	if (mark != CM_UNIT_RUN && mark > CM_CLASSES)
		return "the unit table has an unknown mark";
	if (is_first(unit, mark) && cm_read(&cm_seg_desc(seg, unit)->kind) != mark)
		return "a block's mark and its descriptor differ";
	if (mark != CM_UNIT_RUN &&
	    cm_read(&seg->units[unit & ~(cm_classes[mark - 1].units - 1ull)]) != mark)
		return "a unit of a slab whose first unit is something else";
	return NULL;
}

static void check_unit(struct cm_check *c, uint64_t unit, unsigned mark)
{
	const char *fault = unit_fault(c->seg, unit, mark);

	if (!fault || cm_check_held_in(c, unit >> 6) >> (unit & 63) & 1)
		return;
	/* acquire of the hold, above: who ended it has written mark and descriptor before */
	mark = cm_read(&c->seg->units[unit]);
	fault = mark == CM_UNIT_NONE ? NULL : unit_fault(c->seg, unit, mark);
	if (fault)
		cm_check_find(c, unit << CM_UNIT_SHIFT, fault);
}

/* What the unit table claims of a split segment: a bit for each unit of a slab or run. */
static uint64_t claimed_in(struct cm_check *c, uint64_t segment, uint64_t free)
{
	uint64_t claimed = 0, unit, mask;
	unsigned mark, n;

	for (unsigned u = 1; u < CM_UNITS_PER_SEGMENT; u++) {
		unit = segment << 6 | u;
		mark = cm_read(&c->seg->units[unit]);
		if (mark == CM_UNIT_NONE)
			continue;
		/* a run began here, and was freed */
		if (mark == CM_UNIT_RUN && (free >> u & 1) &&
		    cm_read(&cm_seg_desc(c->seg, unit)->kind) != CM_UNIT_RUN)
			continue;
		check_unit(c, unit, mark);
		n = 1;
		if (mark == CM_UNIT_RUN)
			n = (unsigned)cm_div_up(cm_read(&cm_seg_desc(c->seg, unit)->size), CM_UNIT);
		else if (mark <= CM_CLASSES)
			c->has_class[mark - 1] = true;
		if (n == 0 || u + n > CM_UNITS_PER_SEGMENT) {
			cm_check_find(c, unit << CM_UNIT_SHIFT, "a run has an impossible length");
			continue;
		}
		mask = cm_mask(u, n);
		if (claimed & mask)
			cm_check_find(c, unit << CM_UNIT_SHIFT, "a unit belongs to two blocks");
		claimed |= mask;
	}
	return claimed;
}

static void check_split(struct cm_check *c, uint64_t s, struct sums *sums)
{
	struct cm_header_shm *h = cm_seg_header(c->seg, s);
	uint64_t free = cm_read(&h->free), have = cm_read(&h->have), off = s << CM_SEGMENT_SHIFT;
	const char *fault = cm_span_fault(c->seg, s);
	uint64_t held = cm_check_held_in(c, s), claimed = claimed_in(c, s, free);

	/* what the units' words said before is in one of the two */
	atomic_thread_fence(memory_order_acquire);
	held |= cm_check_held_in(c, s);
	if (fault)
		cm_check_find(c, off, fault);
	if (free & claimed)
		cm_check_find(c, off, "a unit is free and in use");
	if (~1ull & ~free & ~claimed & ~held)
		cm_check_find(c, off, "a unit is neither free, nor in use, nor in transit");
	sums->used += CM_UNITS_PER_SEGMENT - cm_popcount(free);
	sums->dirty += cm_popcount(free & have);
	if (free && sums->first_free == 0)
		sums->first_free = s;
}

static uint64_t check_run(struct cm_check *c, uint64_t s, uint64_t end, uint64_t entry, struct sums *sums)
{
	uint64_t pages = cm_seg_pages(entry), n = cm_div_up(pages, CM_PAGES_PER_SEGMENT);
	uint64_t off = s << CM_SEGMENT_SHIFT;

	if (n == 0 || n > end - s) {
		cm_check_find(c, off, "a run of segments has an impossible length");
		return 1;
	}
	if (cm_seg_kind(entry) == CM_SEG_HELD && !(cm_check_held_in(c, s) & 1) &&
	    cm_read(&c->seg->segments[s]) == entry)
		cm_check_find(c, off, "a segment is in transit, but nobody holds it");
	for (uint64_t i = 1; i < n; i++)
		if (cm_seg_kind(cm_read(&c->seg->segments[s + i])) != CM_SEG_CONT)
			cm_check_find(c, (s + i) << CM_SEGMENT_SHIFT, "a run of segments has a gap");
	sums->used += cm_whole_units(entry);
	return n;
}

static void check_sums(struct cm_check *c, const struct sums *sums)
{
	if (sums->used != cm_read(cm_span_word(c->seg, CM_SPAN_USED)))
		cm_check_find(c, CM_LOCKS_OFF, "the count of units in use is wrong");
	if (sums->dirty != cm_read(cm_span_word(c->seg, CM_SPAN_DIRTY)))
		cm_check_find(c, CM_LOCKS_OFF, "the count of units with storage is wrong");
	if (sums->first_free && cm_read(cm_span_word(c->seg, CM_SPAN_HINT)) > sums->first_free)
		cm_check_find(c, CM_LOCKS_OFF, "there is a free unit below the hint");
}

void cm_check_units(struct cm_check *c)
{
	struct cm_seg *seg = c->seg;
	struct sums sums = {0};
	uint64_t end, entry, step;
	struct cm_tx tx;

	cm_check_lock(c, CM_LOCK_SPAN, &tx);
	end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT; /* under the lock: a neighbour may be growing */
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
			cm_check_find(c, s << CM_SEGMENT_SHIFT,
				      "the segment table has an unknown or stray entry");
		}
	}
	check_sums(c, &sums);
	cm_check_unlock(c, &tx);
}
