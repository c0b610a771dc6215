/*
 * run.c - blocks too large for a slab.
 *
 * Up to 63 units: a run of units of one segment, described by the descriptor of
 * the first, which alone is marked in the unit table.  Beyond that: whole
 * segments, described by the segment table.  Offset space is rounded to units
 * or segments, storage to pages.
 *
 * Units that have all their storage become a block, and its offset appears in the
 * caller's cell, in the record that takes them.  Others lie in the caller's hold while they
 * get it, nobody else may touch their words, and become one in a transaction under no lock.
 * The size of a block that is live already changes under the span lock: others may free it
 * as soon as its owner is dead.  A block is freed in one record with its cell; its mark in
 * the unit table stays, and means nothing without the descriptor's kind.
 */
#include <errno.h>
#include "seg/seg.h"

#define UNITS_MOST (CM_UNITS_PER_SEGMENT - 1)

static int alloc_units(struct cm_seg *seg, const struct cm_self *self, uint64_t size,
		       uint32_t align, cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed)
{
	uint32_t n = (uint32_t)cm_div_up(size, CM_UNIT);
	const struct cm_run run = { .bytes = size, .dst = dst };
	struct cm_desc_shm *desc;
	struct cm_span span;
	struct cm_tx tx;
	int err;

	err = cm_span_take(seg, self, n, align, size, &run, &span);
	if (err < 0)
		return err;
	*ret_off = span.unit << CM_UNIT_SHIFT;
	*ret_is_zeroed = span.is_zeroed;
	if (span.is_run)
		return 0;
	desc = cm_seg_desc(seg, span.unit);
	cm_write(&desc->size, cm_round_up(size, CM_PAGE));
	cm_write(&seg->units[span.unit], CM_UNIT_RUN);
	cm_tx_begin(&seg->log, self, CM_LOCK_NONE, &tx);
	cm_tx_put(&tx, &desc->kind, CM_UNIT_RUN);
	cm_tx_put(&tx, &self->slot->hold_at, CM_HOLD_NONE);
	if (dst)
		cm_tx_put(&tx, dst, *ret_off);
	cm_tx_commit(&tx);
	return 0;
}

static int alloc_segments(struct cm_seg *seg, const struct cm_self *self, uint64_t size,
			  cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed)
{
	uint64_t pages = cm_div_up(size, CM_PAGE), segment;
	struct cm_tx tx;
	int err;

	err = cm_whole_take(seg, self, pages, &segment, ret_is_zeroed);
	if (err < 0)
		return err;
	cm_tx_begin(&seg->log, self, CM_LOCK_NONE, &tx);
	cm_tx_put(&tx, &seg->segments[segment],
		  cm_seg_entry(CM_SEG_HUGE, 0, pages) | (cm_read(&seg->segments[segment]) & CM_SEG_HAVE));
	cm_tx_put(&tx, &self->slot->hold_at, CM_HOLD_NONE);
	if (dst)
		cm_tx_put(&tx, dst, segment << CM_SEGMENT_SHIFT);
	cm_tx_commit(&tx);
	*ret_off = segment << CM_SEGMENT_SHIFT;
	return 0;
}

int cm_run_alloc(struct cm_seg *seg, const struct cm_self *self, uint64_t size, uint64_t align,
		 cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed)
{
	uint64_t n, by = cm_max(align >> CM_UNIT_SHIFT, 1);

	size = cm_max(size, 1);
	n = cm_div_up(size, CM_UNIT);
	if (size > seg->max_size)
		return -ENOMEM;
	/* unit 0 is the header: the first aligned place is unit `by` */
	if (n <= UNITS_MOST && (by == 1 || by + n <= CM_UNITS_PER_SEGMENT))
		return alloc_units(seg, self, size, (uint32_t)by, dst, ret_off, ret_is_zeroed);
	return alloc_segments(seg, self, size, dst, ret_off, ret_is_zeroed);
}

/* Does a block of units begin here? */
static bool is_unit_run(const struct cm_seg *seg, uint64_t off)
{
	uint64_t unit = off >> CM_UNIT_SHIFT;

	return cm_seg_has_unit(seg, unit) && off % CM_UNIT == 0 &&
	       cm_read(&seg->units[unit]) == CM_UNIT_RUN &&
	       cm_read(&cm_seg_desc(seg, unit)->kind) == CM_UNIT_RUN;
}

static uint32_t unit_run_length(const struct cm_seg *seg, uint64_t unit)
{
	uint64_t n = cm_div_up(cm_read(&cm_seg_desc(seg, unit)->size), CM_UNIT);

	/* bounded: the word is a neighbour's too */
	return (uint32_t)cm_min(cm_max(n, 1), CM_UNITS_PER_SEGMENT - (unit & 63));
}

static uint64_t huge_pages(const struct cm_seg *seg, uint64_t off)
{
	uint64_t entry;

	if (!cm_seg_has(seg, off) || off % CM_SEGMENT)
		return 0;
	entry = cm_read(&seg->segments[off >> CM_SEGMENT_SHIFT]);
	if (cm_seg_kind(entry) != CM_SEG_HUGE)
		return 0;
	return cm_min(cm_seg_pages(entry), (cm_seg_limit(seg) - off) / CM_PAGE);
}

uint64_t cm_run_size(const struct cm_seg *seg, uint64_t off)
{
	if (is_unit_run(seg, off))
		return cm_min(cm_read(&cm_seg_desc(seg, off >> CM_UNIT_SHIFT)->size),
			      unit_run_length(seg, off >> CM_UNIT_SHIFT) * CM_UNIT);
	return huge_pages(seg, off) * CM_PAGE;
}

uint64_t cm_run_find(const struct cm_seg *seg, uint64_t off)
{
	uint64_t first = seg->data_off >> CM_SEGMENT_SHIFT, s = off >> CM_SEGMENT_SHIFT, unit, start = 0;

	if (!cm_seg_has(seg, off))
		return 0;
	if (cm_seg_kind(cm_read(&seg->segments[s])) == CM_SEG_SPLIT) {
		unit = off >> CM_UNIT_SHIFT;
		while ((unit & 63) > 1 && cm_read(&seg->units[unit]) == CM_UNIT_NONE)
			unit--;
		start = unit << CM_UNIT_SHIFT;
	} else {
		while (s > first && cm_seg_kind(cm_read(&seg->segments[s])) == CM_SEG_CONT)
			s--;
		start = s << CM_SEGMENT_SHIFT;
	}
	return off - start < cm_run_size(seg, start) ? start : 0;
}

static int free_units(struct cm_seg *seg, const struct cm_self *self, uint64_t unit, cm_word *src)
{
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);
	uint64_t mask;
	struct cm_tx tx;

	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	mask = cm_mask(unit & 63, unit_run_length(seg, unit));
	/* again, under the lock: two threads may be freeing it at once */
	if (!is_unit_run(seg, unit << CM_UNIT_SHIFT) ||
	    (cm_read(&cm_seg_header(seg, unit >> 6)->free) & mask)) {
		cm_tx_end(&tx);
		return -ENOENT;
	}
	cm_tx_put(&tx, &desc->kind, CM_UNIT_NONE);
	cm_span_stage_give(seg, &tx, unit >> 6, mask);
	if (src)
		cm_tx_put(&tx, src, 0);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	return 0;
}

static int free_segments(struct cm_seg *seg, const struct cm_self *self, uint64_t off, cm_word *src)
{
	uint64_t pages;
	struct cm_tx tx;

	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	pages = huge_pages(seg, off);
	if (pages) {
		cm_whole_stage_give(seg, &tx, off >> CM_SEGMENT_SHIFT,
				    cm_div_up(pages, CM_PAGES_PER_SEGMENT));
		if (src)
			cm_tx_put(&tx, src, 0);
		cm_tx_commit(&tx);
	}
	cm_tx_end(&tx);
	return pages ? 0 : -ENOENT;
}

int cm_run_free(struct cm_seg *seg, const struct cm_self *self, uint64_t off, cm_word *src)
{
	int err;

	if (is_unit_run(seg, off))
		err = free_units(seg, self, off >> CM_UNIT_SHIFT, src);
	else
		err = free_segments(seg, self, off, src);
	if (err == 0)
		cm_purge_excess(seg, self);
	return err;
}

static int shrink_units(struct cm_seg *seg, const struct cm_self *self, uint64_t unit, uint32_t n,
			uint32_t want)
{
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);
	unsigned tail = (unsigned)(unit & 63) + want;
	struct cm_tx tx;

	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	cm_span_stage_give(seg, &tx, unit >> 6, cm_mask(tail, n - want));
	cm_tx_put(&tx, &desc->size, want * CM_UNIT);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	return 0;
}

static int resize_units(struct cm_seg *seg, const struct cm_self *self, uint64_t unit, uint64_t size)
{
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);
	uint64_t had = cm_run_size(seg, unit << CM_UNIT_SHIFT);
	uint32_t n = unit_run_length(seg, unit), want = (uint32_t)cm_div_up(size, CM_UNIT);
	struct cm_tx tx;
	int err = 0;

	size = cm_round_up(size, CM_PAGE);
	if (want < n)
		return shrink_units(seg, self, unit, n, want);
	if (size <= had)
		return 0;
	if (want > n)
		err = cm_span_take_at(seg, self, unit + n, want - n, size - n * CM_UNIT);
	if (err < 0)
		return err;
	err = cm_span_store(seg, unit, n, cm_min(size, n * CM_UNIT));
	if (err < 0) {
		if (want > n)
			cm_span_give_hold(seg, self, self->slot);
		return err;
	}
	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	cm_tx_put(&tx, &desc->size, size);
	cm_tx_put(&tx, &self->slot->hold_at, CM_HOLD_NONE);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	return 0;
}

int cm_run_resize(struct cm_seg *seg, const struct cm_self *self, uint64_t off, uint64_t size)
{
	uint64_t unit = off >> CM_UNIT_SHIFT;
	struct cm_tx mend;
	int err;

	/* who died resizing it, and is not reaped yet, may have a log that makes its size
	 * another */
	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &mend);
	cm_tx_end(&mend);
	if (is_unit_run(seg, off)) {
		if (size > UNITS_MOST * CM_UNIT)
			return -EBUSY;
		err = resize_units(seg, self, unit, size);
	} else {
		if (size > seg->max_size || size <= UNITS_MOST * CM_UNIT)
			return -EBUSY;
		err = cm_whole_resize(seg, self, off >> CM_SEGMENT_SHIFT, cm_div_up(size, CM_PAGE));
	}
	if (err == 0)
		cm_purge_excess(seg, self);
	return err;
}
