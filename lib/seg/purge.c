/*
 * purge.c - storage of free units goes back to the system.
 *
 * A shared page goes back only by a hole in the file.  Units are taken into the
 * hold, punched with no lock held, and returned as free without storage.  A
 * process that dies in between leaves them in its hold: the reaper returns them
 * as "may have storage, contents unknown", which is true either way.
 *
 * Highest addresses first, since the lowest are handed out first.
 */
#include <errno.h>
#include "seg/seg.h"

static int punch_units(struct cm_seg *seg, uint64_t segment, uint64_t mask)
{
	struct cm_header_shm *h = cm_seg_header(seg, segment);
	unsigned at, n;
	int err = 0;

	/* ours alone; a death between leaves stored units of which we say that they are not */
	for (uint64_t left = mask; left; left &= left - 1)
		cm_write(&h->stored[cm_lowest(left)], 0);
	cm_order();
	for (; mask && !err; mask &= ~cm_mask(at, n)) {
		at = cm_lowest(mask);
		n = ~(mask >> at) ? cm_lowest(~(mask >> at)) : 64 - at;
		err = cm_os_punch(&seg->backing, (segment << 6 | at) << CM_UNIT_SHIFT, n * CM_UNIT);
	}
	return err;
}

/* What of this segment can be purged goes into the hold: its mask, ~0 for all of it, or 0.
 * everything: also a header that is all the storage a free segment has. */
static uint64_t take(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, bool everything)
{
	cm_word *used = cm_span_word(seg, CM_SPAN_USED), *dirty = cm_span_word(seg, CM_SPAN_DIRTY);
	uint64_t e = cm_read(&seg->segments[segment]), free = 0, mask = 0;
	int64_t used_by = 0, dirty_by = 0;

	if (cm_seg_kind(e) == CM_SEG_FREE && (e & CM_SEG_HAVE)) {
		mask = ~0ull;
		used_by = CM_UNITS_PER_SEGMENT;
		dirty_by = -(int64_t)CM_UNITS_PER_SEGMENT;
	} else if (cm_seg_kind(e) == CM_SEG_SPLIT) {
		struct cm_header_shm *h = cm_seg_header(seg, segment);

		free = cm_read(&h->free);
		mask = free & cm_read(&h->have);
		used_by = cm_popcount(mask);
		dirty_by = -used_by;
		if ((mask || everything) && cm_seg_longest(e) == CM_UNITS_PER_SEGMENT - 1) {
			mask = ~0ull; /* the header, too */
			used_by = CM_UNITS_PER_SEGMENT - 1;
		}
		/* death before the commit: free units without marks */
		cm_span_clear_marks(seg, segment, mask & ~1ull);
	}
	if (mask == 0)
		return 0;
	if (mask == ~0ull) {
		cm_tx_put(tx, &seg->segments[segment], cm_seg_entry(CM_SEG_HELD, 0, CM_PAGES_PER_SEGMENT));
		cm_hold_stage(tx, tx->self->slot, CM_HOLD_SEGMENTS, segment, 1);
	} else {
		free &= ~mask;
		cm_tx_put(tx, &cm_seg_header(seg, segment)->free, free);
		cm_tx_put(tx, &seg->segments[segment],
			  cm_seg_entry(CM_SEG_SPLIT, cm_longest_run(free), 0));
		cm_hold_stage(tx, tx->self->slot, CM_HOLD_UNITS, segment, mask);
	}
	cm_tx_put(tx, used, cm_read(used) + (uint64_t)used_by);
	cm_tx_put(tx, dirty, cm_read(dirty) + (uint64_t)dirty_by);
	cm_decay_note(seg, cm_read(dirty) + (uint64_t)dirty_by);
	cm_tx_commit(tx);
	return mask;
}

/* The held units are holes now: free, and nothing in them. */
static void give_clean(struct cm_seg *seg, const struct cm_self *self, uint64_t segment, uint64_t mask)
{
	cm_word *used = cm_span_word(seg, CM_SPAN_USED), *hint = cm_span_word(seg, CM_SPAN_HINT);
	struct cm_header_shm *h = cm_seg_header(seg, segment);
	struct cm_tx tx;
	uint64_t free;

	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	if (mask == ~0ull) {
		cm_tx_put(&tx, &seg->segments[segment], cm_seg_entry(CM_SEG_FREE, 0, 0));
	} else {
		free = cm_read(&h->free) | mask;
		cm_tx_put(&tx, &h->free, free);
		cm_tx_put(&tx, &h->have, cm_read(&h->have) & ~mask);
		cm_tx_put(&tx, &seg->segments[segment],
			  cm_seg_entry(CM_SEG_SPLIT, cm_longest_run(free), 0));
	}
	cm_tx_put(&tx, used, cm_read(used) - cm_popcount(mask));
	cm_tx_put(&tx, hint, cm_min(cm_read(hint), segment));
	cm_hold_stage(&tx, self->slot, CM_HOLD_NONE, 0, 0);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
}

/* everything: whatever the count of dirty units says, and headers. */
static int purge(struct cm_seg *seg, const struct cm_self *self, uint64_t keep, bool everything)
{
	uint64_t first = seg->data_off >> CM_SEGMENT_SHIFT, at = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT;
	uint64_t mask;
	struct cm_tx tx;
	int err;

	while (at > first) {
		mask = 0;
		cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
		while (at > first && mask == 0 &&
		       (everything || cm_read(cm_span_word(seg, CM_SPAN_DIRTY)) > keep))
			mask = take(seg, &tx, --at, everything);
		cm_tx_end(&tx);
		if (mask == 0)
			return 0;
		if (mask == ~0ull)
			err = cm_os_punch(&seg->backing, at << CM_SEGMENT_SHIFT, CM_SEGMENT);
		else
			err = punch_units(seg, at, mask);
		if (err < 0) {
			cm_span_give_hold(seg, self, self->slot);
			return err;
		}
		cm_add(&seg->super->purged, cm_popcount(mask) * CM_UNIT);
		give_clean(seg, self, at, mask);
	}
	return 0;
}

int cm_purge(struct cm_seg *seg, const struct cm_self *self, uint64_t keep)
{
	return purge(seg, self, keep, false);
}

int cm_purge_all(struct cm_seg *seg, const struct cm_self *self)
{
	return purge(seg, self, 0, true);
}

void cm_purge_excess(struct cm_seg *seg, const struct cm_self *self)
{
	uint64_t keep = cm_read(&seg->super->dirty_max);

	if (cm_read(cm_span_word(seg, CM_SPAN_DIRTY)) > keep && !seg->backing.no_punch)
		(void)cm_purge(seg, self, keep);
}
