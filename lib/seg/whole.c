/*
 * whole.c - segments: taken whole, split into units, added at the end.
 *
 * Blocks from 4 MiB up are runs of whole segments, without a header, so offset
 * space is rounded to 4 MiB and storage to 4 KiB.  A split segment all of whose
 * units are free counts as free here; its header is then forgotten.
 *
 * Only growth changes the length of the file.  ftruncate runs under the span
 * lock, because two of them in the wrong order would shrink the file; it
 * allocates nothing, so it is short.  The tables' storage is committed before,
 * without the lock.
 */
#include <errno.h>
#include "seg/seg.h"

uint64_t cm_whole_units(uint64_t e)
{
	uint64_t pages = cm_seg_pages(e);

	if (e & CM_SEG_HAVE) /* behind the pages there may be storage of a block before */
		return cm_div_up(pages, CM_PAGES_PER_SEGMENT) * CM_UNITS_PER_SEGMENT;
	return cm_div_up(pages, CM_PAGES_PER_UNIT);
}

static bool is_free(uint64_t e)
{
	return cm_seg_kind(e) == CM_SEG_FREE ||
	       (cm_seg_kind(e) == CM_SEG_SPLIT && cm_seg_longest(e) == CM_UNITS_PER_SEGMENT - 1);
}

/* What taking free segments does to the sums. */
struct toll {
	int64_t used, dirty;
	bool is_zeroed;
	bool is_split;   /* one segment, and its header says what is stored */
	uint64_t stored; /* pages from the first that have storage, as far as we know */
	uint64_t entry;  /* what they are marked with */
};

/* That of segment s, the i-th of those that are taken. */
static void add_toll(const struct cm_seg *seg, uint64_t s, uint64_t i, struct toll *toll)
{
	uint64_t e = cm_read(&seg->segments[s]);

	if (cm_seg_kind(e) == CM_SEG_SPLIT) {
		toll->used -= 1; /* the header */
		toll->dirty -= cm_popcount(cm_read(&cm_seg_header(seg, s)->have));
		toll->is_zeroed = false;
		toll->is_split = true;
	} else {
		toll->dirty -= e & CM_SEG_HAVE ? CM_UNITS_PER_SEGMENT : 0;
		toll->is_zeroed = toll->is_zeroed && !(e & CM_SEG_HAVE);
		/* only when all before it are full */
		if (toll->stored == i * CM_PAGES_PER_SEGMENT)
			toll->stored += cm_min(cm_seg_pages(e), CM_PAGES_PER_SEGMENT);
	}
}

static void stage_sums(struct cm_seg *seg, struct cm_tx *tx, int64_t used_by, int64_t dirty_by)
{
	cm_word *used = cm_span_word(seg, CM_SPAN_USED);
	cm_word *dirty = cm_span_word(seg, CM_SPAN_DIRTY);

	cm_tx_put(tx, used, cm_read(used) + (uint64_t)used_by);
	cm_tx_put(tx, dirty, cm_read(dirty) + (uint64_t)dirty_by);
	cm_decay_note(seg, cm_read(dirty) + (uint64_t)dirty_by);
}

static bool quota_allows(const struct cm_seg *seg, int64_t by)
{
	uint64_t held = cm_read(cm_span_word(seg, CM_SPAN_USED)) +
			cm_read(cm_span_word(seg, CM_SPAN_DIRTY));

	return by <= 0 || held + (uint64_t)by <= cm_read(&seg->super->quota);
}

/* Stage: n free segments from s on are ours, HELD and marked with `pages`. */
static int stage_take(struct cm_seg *seg, struct cm_tx *tx, uint64_t s, uint64_t n, uint64_t pages,
		      struct toll *toll)
{
	*toll = (struct toll){ .is_zeroed = true };
	for (uint64_t i = 0; i < n; i++)
		add_toll(seg, s + i, i, toll);
	toll->entry = cm_seg_entry(CM_SEG_HELD, 0, pages) | (toll->is_zeroed ? 0 : CM_SEG_HAVE);
	toll->used += (int64_t)cm_whole_units(toll->entry);
	if (!quota_allows(seg, toll->used + toll->dirty))
		return -ENOMEM;
	/* death before the commit: free units without marks */
	for (uint64_t i = 0; i < n; i++)
		if (cm_seg_kind(cm_read(&seg->segments[s + i])) == CM_SEG_SPLIT)
			cm_span_clear_marks(seg, s + i, ~1ull);
	cm_tx_put(tx, &seg->segments[s], toll->entry);
	if (n > 1)
		cm_tx_fill(tx, &seg->segments[s + 1], n - 1, CM_SEG_CONT);
	stage_sums(seg, tx, toll->used, toll->dirty);
	cm_hold_stage(tx, tx->self->slot, CM_HOLD_SEGMENTS, s, n);
	return 0;
}

/* Stage: n segments are free, and may have storage; `stored` pages from the first surely. */
static void stage_free(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t n, uint64_t stored)
{
	uint64_t full = cm_min(stored / CM_PAGES_PER_SEGMENT, n);
	cm_word *at = &seg->segments[segment];

	if (full)
		cm_tx_fill(tx, at, full, cm_seg_entry(CM_SEG_FREE, 0, CM_PAGES_PER_SEGMENT) | CM_SEG_HAVE);
	if (full < n)
		cm_tx_put(tx, at + full,
			  cm_seg_entry(CM_SEG_FREE, 0, stored % CM_PAGES_PER_SEGMENT) | CM_SEG_HAVE);
	if (full + 1 < n)
		cm_tx_fill(tx, at + full + 1, n - full - 1, cm_seg_entry(CM_SEG_FREE, 0, 0) | CM_SEG_HAVE);
}

void cm_whole_stage_give(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t n)
{
	uint64_t e = cm_read(&seg->segments[segment]);
	cm_word *hint = cm_span_word(seg, CM_SPAN_HINT);

	/* a block has its storage; what is in transit may not */
	stage_free(seg, tx, segment, n, cm_seg_kind(e) == CM_SEG_HUGE ? cm_seg_pages(e) : 0);
	stage_sums(seg, tx, -(int64_t)cm_whole_units(e), (int64_t)(n * CM_UNITS_PER_SEGMENT));
	cm_tx_put(tx, hint, cm_min(cm_read(hint), segment));
}

/* First run of n free segments, or 0; *ret_tail: free ones at the end of the heap. */
static uint64_t find(const struct cm_seg *seg, uint64_t n, uint64_t *ret_tail)
{
	uint64_t end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT, run = 0;
	uint64_t s = cm_read(cm_span_word(seg, CM_SPAN_HINT));

	if (s < seg->data_off >> CM_SEGMENT_SHIFT || s >= end)
		s = seg->data_off >> CM_SEGMENT_SHIFT;

	for (; s < end; s++) {
		run = is_free(cm_read(&seg->segments[s])) ? run + 1 : 0;
		if (run == n)
			return s + 1 - n;
	}
	*ret_tail = run;
	return 0;
}

/* Storage for the block in segments we hold. */
static int commit_pages(struct cm_seg *seg, uint64_t segment, uint64_t pages, const struct toll *toll)
{
	uint64_t from = cm_min(toll->stored, pages), off = segment << CM_SEGMENT_SHIFT;
	int err;

	if (toll->is_split && pages <= CM_PAGES_PER_SEGMENT) {
		/* the header is there until the block's owner writes over it */
		err = cm_os_commit(&seg->backing, off, CM_UNIT);
		return err < 0 ? err
			       : cm_span_store(seg, segment << 6 | 1, CM_UNITS_PER_SEGMENT - 1,
					       pages * CM_PAGE - CM_UNIT);
	}
	return from < pages ? cm_os_commit(&seg->backing, off + from * CM_PAGE, (pages - from) * CM_PAGE)
			    : 0;
}

int cm_whole_take(struct cm_seg *seg, const struct cm_self *self, uint64_t pages,
		  uint64_t *ret_segment, bool *ret_is_zeroed)
{
	uint64_t n = cm_div_up(pages, CM_PAGES_PER_SEGMENT), s, tail = 0;
	bool has_purged = false;
	struct toll toll;
	struct cm_tx tx;
	int err;

	for (;;) {
		cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
		s = find(seg, n, &tail);
		err = s ? stage_take(seg, &tx, s, n, pages, &toll) : -ENOENT;
		if (err == 0)
			cm_tx_commit(&tx);
		cm_tx_end(&tx);
		if (err == 0) {
			err = commit_pages(seg, s, pages, &toll);
			if (err == 0)
				break;
			cm_span_give_hold(seg, self, self->slot);
		} else if (err == -ENOENT) {
			err = cm_whole_grow(seg, self, n - tail);
			if (err == 0)
				continue;
		}
		if (has_purged || cm_read(cm_span_word(seg, CM_SPAN_DIRTY)) == 0) {
			cm_purge_excess(seg, self);
			return err;
		}
		(void)cm_purge_all(seg, self);
		has_purged = true;
	}
	*ret_segment = s;
	*ret_is_zeroed = toll.is_zeroed;
	return 0;
}

/* Of a free segment's storage, how many pages of unit u that makes. */
static uint64_t stored_in_unit(uint64_t e, unsigned u)
{
	uint64_t pages = e & CM_SEG_HAVE ? cm_seg_pages(e) : 0, before = u * CM_PAGES_PER_UNIT;

	return pages <= before ? 0 : cm_min(pages - before, CM_PAGES_PER_UNIT);
}

int cm_whole_split(struct cm_seg *seg, const struct cm_self *self, uint64_t segment)
{
	cm_word *hint = cm_span_word(seg, CM_SPAN_HINT);
	struct cm_header_shm *h = cm_seg_header(seg, segment);
	uint64_t e, units = ~1ull;
	struct toll toll;
	struct cm_tx tx;
	int err = -ENOENT;

	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	e = cm_read(&seg->segments[segment]);
	if (cm_seg_kind(e) == CM_SEG_FREE)
		err = stage_take(seg, &tx, segment, 1, CM_PAGES_PER_UNIT, &toll);
	if (err == 0)
		cm_tx_commit(&tx);
	cm_tx_end(&tx);
	if (err < 0)
		return err;
	err = cm_os_commit(&seg->backing, segment << CM_SEGMENT_SHIFT, CM_PAGE);
	if (err < 0) {
		cm_span_give_hold(seg, self, self->slot);
		return err;
	}
	/* ours alone while held */
	cm_write(&h->free, units);
	cm_write(&h->have, e & CM_SEG_HAVE ? units : 0);
	for (unsigned u = 0; u < CM_UNITS_PER_SEGMENT; u++)
		cm_write(&h->stored[u], (uint8_t)stored_in_unit(e, u));
	cm_write(&h->meta, 1);
	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	cm_tx_put(&tx, &seg->segments[segment], cm_seg_entry(CM_SEG_SPLIT, 63, 0));
	/* its one used unit is the header now */
	stage_sums(seg, &tx, 1 - (int64_t)cm_whole_units(toll.entry), e & CM_SEG_HAVE ? 63 : 0);
	cm_tx_put(&tx, hint, cm_min(cm_read(hint), segment));
	cm_hold_stage(&tx, self->slot, CM_HOLD_NONE, 0, 0);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	return 0;
}

int cm_whole_grow(struct cm_seg *seg, const struct cm_self *self, uint64_t n)
{
	uint64_t limit = cm_seg_limit(seg), end;
	struct cm_tx tx;
	int err;

	if (n > (seg->max_size - limit) >> CM_SEGMENT_SHIFT)
		return -ENOMEM;
	end = limit + n * CM_SEGMENT;
	err = cm_os_commit_shared(&seg->backing, seg->units_off + (limit >> CM_UNIT_SHIFT),
				  n * CM_UNITS_PER_SEGMENT, CM_TABLE_ZERO_AT);
	if (err == 0)
		err = cm_os_commit_shared(&seg->backing,
					  seg->segments_off + (limit >> CM_SEGMENT_SHIFT) * 8,
					  n * 8, CM_SEGTAB_ZERO_AT);
	if (err < 0)
		return err;
	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	if (cm_seg_limit(seg) == limit) { /* else somebody was faster: look again */
		err = cm_os_grow(&seg->backing, end);
		if (err == 0) {
			cm_tx_put(&tx, &seg->super->limit, end);
			cm_tx_commit(&tx);
		}
	}
	cm_tx_end(&tx);
	return err;
}

/* Give the segments of the block behind its first `keep` back. */
static void give_tail(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t n, uint64_t keep)
{
	uint64_t was = cm_read(&seg->segments[segment]);
	uint64_t is = cm_seg_entry(CM_SEG_HUGE, 0, keep * CM_PAGES_PER_SEGMENT);
	cm_word *hint = cm_span_word(seg, CM_SPAN_HINT);

	cm_tx_put(tx, &seg->segments[segment], is);
	stage_free(seg, tx, segment + keep, n - keep, cm_seg_pages(was) - keep * CM_PAGES_PER_SEGMENT);
	stage_sums(seg, tx, (int64_t)cm_whole_units(is) - (int64_t)cm_whole_units(was),
		   (int64_t)((n - keep) * CM_UNITS_PER_SEGMENT));
	cm_tx_put(tx, hint, cm_min(cm_read(hint), segment + keep));
	cm_tx_commit(tx);
}

/* Take what lies behind the block, for it to grow into: free segments, the last of them perhaps
 * beyond the end of the heap. */
static int take_behind(struct cm_seg *seg, const struct cm_self *self, uint64_t from, uint64_t n,
		       struct toll *toll)
{
	uint64_t end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT;
	struct cm_tx tx;
	int err = 0;

	for (uint64_t s = from; s < from + n && s < end; s++)
		if (!is_free(cm_read(&seg->segments[s])))
			return -EBUSY;
	if (from + n > end)
		err = cm_whole_grow(seg, self, from + n - end);
	if (err < 0)
		return err;
	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT;
	for (uint64_t s = from; s < from + n && !err; s++)
		err = s < end && is_free(cm_read(&seg->segments[s])) ? 0 : -EBUSY;
	if (err == 0)
		err = stage_take(seg, &tx, from, n, n * CM_PAGES_PER_SEGMENT, toll);
	if (err == 0)
		cm_tx_commit(&tx);
	cm_tx_end(&tx);
	return err;
}

int cm_whole_resize(struct cm_seg *seg, const struct cm_self *self, uint64_t segment, uint64_t pages)
{
	/* bounded: the entry is a neighbour's too */
	uint64_t was = cm_read(&seg->segments[segment]), is = cm_seg_entry(CM_SEG_HUGE, 0, pages);
	uint64_t had = cm_min(cm_seg_pages(was),
			      (cm_seg_limit(seg) - (segment << CM_SEGMENT_SHIFT)) / CM_PAGE);
	uint64_t n = cm_div_up(had, CM_PAGES_PER_SEGMENT), want = cm_div_up(pages, CM_PAGES_PER_SEGMENT);
	struct toll toll = { .is_zeroed = !(was & CM_SEG_HAVE) };
	struct cm_tx tx;
	int err = 0;

	if (want == n && pages <= had)
		return 0;
	if (want < n) {
		cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
		give_tail(seg, &tx, segment, n, want);
		cm_tx_end(&tx);
		return 0;
	}
	if (want > n)
		err = take_behind(seg, self, segment + n, want - n, &toll);
	is |= toll.is_zeroed ? 0 : CM_SEG_HAVE;
	if (err == 0)
		err = cm_os_commit(&seg->backing, (segment << CM_SEGMENT_SHIFT) + had * CM_PAGE,
				   (pages - had) * CM_PAGE);
	if (err == 0) {
		int64_t by = (int64_t)cm_whole_units(is) - (int64_t)cm_whole_units(was);

		cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
		if (want > n) {
			by -= (int64_t)((want - n) * CM_UNITS_PER_SEGMENT);
			cm_tx_put(&tx, &seg->segments[segment + n], CM_SEG_CONT);
		}
		err = quota_allows(seg, by) ? 0 : -ENOMEM;
		if (err == 0) {
			cm_tx_put(&tx, &seg->segments[segment], is);
			stage_sums(seg, &tx, by, 0);
			cm_hold_stage(&tx, self->slot, CM_HOLD_NONE, 0, 0);
			cm_tx_commit(&tx);
		}
		cm_tx_end(&tx);
	}
	if (err < 0 && cm_read(&self->slot->hold_at)) {
		cm_span_give_hold(seg, self, self->slot);
		cm_purge_excess(seg, self);
	}
	return err;
}
