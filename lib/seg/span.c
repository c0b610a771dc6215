/*
 * span.c - runs of free units inside one segment.
 *
 * The slab floor asks for n neighbouring units and later gives them back.  A
 * segment has 64 units, so "which are free" is one 64-bit word in its header,
 * and the first fit of n is found by a few shift-and-ands of that word.  The
 * segment table keeps the longest free run of each, so full segments are passed
 * over without touching them; lowest address first keeps the heap dense.
 *
 * Nothing is kept inside free units: they may have been punched, and reading a
 * hole in a memfd allocates it.
 *
 * True whenever the span lock is free:
 *   1. a unit's free bit is set exactly when it is no part of a slab, a run or a
 *      slot's hold;
 *   2. the unit table says NONE for every free unit, or RUN where a run began that was
 *      freed: without the descriptor's kind it means nothing;
 *   3. the table's longest run is that of the free word;
 *   4. CM_SPAN_USED and CM_SPAN_DIRTY are the sums the check recomputes.
 * All of it changes in one redo record, so a death leaves all or none.
 *
 * Storage is committed between the record that takes the units into the hold
 * and their use, with no span or bin lock held: a process stopped inside
 * fallocate holds nobody up (but for a new page of roots, under the root lock).
 * Units that have all their storage become a run in the very record that takes them.
 */
#include <errno.h>
#include "seg/seg.h"

/* Bits where n neighbouring ones begin. */
static uint64_t run_starts(uint64_t word, uint32_t n)
{
	for (uint32_t have = 1, step; have < n; have += step) {
		step = have < n - have ? have : n - have;
		word &= word >> step;
	}
	return word;
}

/* Bits 0, align, 2 align...; align: a power of two up to 64. */
static uint64_t multiples_of(uint32_t align)
{
	return align == 1 ? ~0ull : align < 64 ? ~0ull / ((1ull << align) - 1) : 1;
}

const char *cm_span_fault(const struct cm_seg *seg, uint64_t segment)
{
	struct cm_header_shm *h = cm_seg_header(seg, segment);
	uint64_t free = cm_read(&h->free);

	if (free & 1)
		return "a segment's header is marked free";
	if (cm_seg_longest(cm_read(&seg->segments[segment])) != cm_longest_run(free))
		return "the segment table has a wrong longest run";
	for (uint64_t left = free & ~cm_read(&h->have); left; left &= left - 1)
		if (cm_read(&h->stored[cm_lowest(left)]))
			return "a free unit has storage, and none";
	return NULL;
}

/* First segment with room, or 0; *ret_whole: first free whole segment, or 0. */
static uint64_t find(const struct cm_seg *seg, uint32_t n, uint32_t align, unsigned *ret_at,
		     uint64_t *ret_whole)
{
	uint64_t end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT;
	uint64_t s = cm_read(cm_span_word(seg, CM_SPAN_HINT)), e, starts;

	*ret_whole = 0;
	if (s < seg->data_off >> CM_SEGMENT_SHIFT || s >= end)
		s = seg->data_off >> CM_SEGMENT_SHIFT; /* a hint, and a neighbour's word */
	for (; s < end; s++) {
		e = cm_read(&seg->segments[s]);
		if (cm_seg_kind(e) == CM_SEG_FREE && *ret_whole == 0)
			*ret_whole = s;
		if (cm_seg_kind(e) != CM_SEG_SPLIT || cm_seg_longest(e) < n)
			continue;
		starts = run_starts(cm_read(&cm_seg_header(seg, s)->free), n) & multiples_of(align);
		if (starts) {
			*ret_at = cm_lowest(starts);
			return s;
		}
	}
	return 0;
}

static void stage_words(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t free,
			int64_t used_by, int64_t dirty_by)
{
	cm_word *used = cm_span_word(seg, CM_SPAN_USED);
	cm_word *dirty = cm_span_word(seg, CM_SPAN_DIRTY);

	cm_tx_put(tx, &cm_seg_header(seg, segment)->free, free);
	cm_tx_put(tx, &seg->segments[segment], cm_seg_entry(CM_SEG_SPLIT, cm_longest_run(free), 0));
	cm_tx_put(tx, used, cm_read(used) + (uint64_t)used_by);
	cm_tx_put(tx, dirty, cm_read(dirty) + (uint64_t)dirty_by);
	cm_decay_note(seg, cm_read(dirty) + (uint64_t)dirty_by);
}

void cm_span_clear_marks(struct cm_seg *seg, uint64_t segment, uint64_t mask)
{
	cm_byte *mark = &seg->units[segment << 6];

	for (; mask; mask &= mask - 1)
		if (cm_read(&mark[cm_lowest(mask)]))
			cm_write(&mark[cm_lowest(mask)], CM_UNIT_NONE);
}

/* Stage: the units of mask are free no more.  -ENOMEM: the quota forbids. */
static int stage_take(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t mask)
{
	struct cm_header_shm *h = cm_seg_header(seg, segment);
	unsigned n = cm_popcount(mask), warm = cm_popcount(mask & cm_read(&h->have));
	uint64_t held = cm_read(cm_span_word(seg, CM_SPAN_USED)) +
			cm_read(cm_span_word(seg, CM_SPAN_DIRTY));

	if (n > warm && held + n - warm > cm_read(&seg->super->quota))
		return -ENOMEM;
	stage_words(seg, tx, segment, cm_read(&h->free) & ~mask, n, -(int64_t)warm);
	/* death before the commit: free units without marks */
	cm_span_clear_marks(seg, segment, mask);
	return 0;
}

void cm_span_stage_give(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t mask)
{
	struct cm_header_shm *h = cm_seg_header(seg, segment);
	cm_word *hint = cm_span_word(seg, CM_SPAN_HINT);
	unsigned n = cm_popcount(mask);

	stage_words(seg, tx, segment, cm_read(&h->free) | mask, -(int64_t)n, n);
	cm_tx_put(tx, &h->have, cm_read(&h->have) | mask);
	cm_tx_put(tx, hint, cm_min(cm_read(hint), segment));
}

/* How far the storage of a unit reaches, as far as we know. */
static uint64_t stored_to(const struct cm_seg *seg, uint64_t unit)
{
	uint64_t pages = cm_read(&cm_seg_header(seg, unit >> 6)->stored[unit & 63]);

	return (unit << CM_UNIT_SHIFT) + cm_min(pages, CM_PAGES_PER_UNIT) * CM_PAGE;
}

static int commit_piece(struct cm_seg *seg, uint64_t from, uint64_t to)
{
	return from < to ? cm_os_commit(&seg->backing, from, to - from) : 0;
}

int cm_span_store(struct cm_seg *seg, uint64_t unit, uint32_t n, uint64_t bytes)
{
	uint64_t end = (unit << CM_UNIT_SHIFT) + cm_round_up(bytes, CM_PAGE), from = 0, to = 0, a, b;
	int err = 0;

	for (uint64_t u = unit; u < unit + n && !err; u++) {
		a = stored_to(seg, u);
		b = cm_min(end, (u + 1) << CM_UNIT_SHIFT);
		if (a >= b)
			continue;
		if (a != to) {
			err = commit_piece(seg, from, to);
			from = a;
		}
		to = b;
	}
	if (err == 0)
		err = commit_piece(seg, from, to);
	/* ours alone; a death before: what is stored is not known to be, and committed once more */
	for (uint64_t u = unit; u < unit + n && !err; u++)
		if (stored_to(seg, u) < cm_min(end, (u + 1) << CM_UNIT_SHIFT))
			cm_write(&cm_seg_header(seg, u >> 6)->stored[u & 63],
				 (uint8_t)((cm_min(end, (u + 1) << CM_UNIT_SHIFT) - (u << CM_UNIT_SHIFT)) /
					   CM_PAGE));
	return err;
}

/* Storage for held units: a descriptor for the first, `bytes` bytes of them. */
static int equip(struct cm_seg *seg, uint64_t unit, uint32_t n, uint64_t bytes)
{
	struct cm_header_shm *h = cm_seg_header(seg, unit >> 6);
	unsigned page = (unsigned)(unit & 63) / 4;
	int err = 0;

	if (!(cm_read(&h->meta) & 1ull << page)) {
		err = cm_os_commit_shared(&seg->backing, (unit >> 6 << CM_SEGMENT_SHIFT) + page * CM_PAGE,
					  CM_PAGE, CM_DESC_ZERO_AT);
		if (err == 0)
			cm_set_bits(&h->meta, 1ull << page);
	}
	return err < 0 ? err : cm_span_store(seg, unit, n, bytes);
}

/* Is all the storage of these free units known to be there, and the descriptor of the first? */
static bool is_equipped(const struct cm_seg *seg, uint64_t unit, uint32_t n, uint64_t bytes)
{
	uint64_t end = (unit << CM_UNIT_SHIFT) + cm_round_up(bytes, CM_PAGE);

	if (!(cm_read(&cm_seg_header(seg, unit >> 6)->meta) >> (unit & 63) / 4 & 1))
		return false;
	for (uint64_t u = unit; u < unit + n; u++)
		if (stored_to(seg, u) < cm_min(end, (u + 1) << CM_UNIT_SHIFT))
			return false;
	return true;
}

/* Stage: the units that are taken are a run.  Nobody looks at them before the commit; a death there
 * leaves the mark of a run at a free unit, which means nothing. */
static void stage_run(struct cm_seg *seg, struct cm_tx *tx, uint64_t unit, const struct cm_run *run)
{
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);

	cm_write(&desc->size, cm_round_up(run->bytes, CM_PAGE));
	cm_write(&seg->units[unit], CM_UNIT_RUN);
	cm_tx_put(tx, &desc->kind, CM_UNIT_RUN);
	if (run->dst)
		cm_tx_put(tx, run->dst, unit << CM_UNIT_SHIFT);
}

int cm_span_take(struct cm_seg *seg, const struct cm_self *self, uint32_t n, uint32_t align,
		 uint64_t bytes, const struct cm_run *run, struct cm_span *ret_span)
{
	bool has_purged = false, is_first_free;
	uint64_t segment, whole, mask;
	struct cm_tx tx;
	unsigned at;
	int err;

	for (;;) {
		cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
		segment = find(seg, n, align, &at, &whole);
		err = -ENOENT;
		if (segment) {
			mask = cm_mask(at, n);
			err = stage_take(seg, &tx, segment, mask);
			is_first_free = n == 1 && align == 1 && (whole == 0 || whole > segment);
			ret_span->is_run = run && is_equipped(seg, segment << 6 | at, n, bytes);
			if (err == 0 && ret_span->is_run)
				stage_run(seg, &tx, segment << 6 | at, run);
			else if (err == 0)
				cm_hold_stage(&tx, self->slot, CM_HOLD_UNITS, segment, mask);
			if (err == 0 && is_first_free)
				cm_tx_put(&tx, cm_span_word(seg, CM_SPAN_HINT), segment);
			if (err == 0)
				cm_tx_commit(&tx);
			if (CM_CHECK_LEVEL >= 3)
				CM_INVARIANT(cm_span_fault(seg, segment) == NULL);
		}
		cm_tx_end(&tx);
		if (err == 0) {
			ret_span->is_zeroed = !(cm_read(&cm_seg_header(seg, segment)->have) & mask);
			if (!ret_span->is_run)
				err = equip(seg, segment << 6 | at, n, bytes);
			if (err == 0)
				break;
			cm_span_give_hold(seg, self, self->slot);
		} else if (err == -ENOENT && whole) {
			err = cm_whole_split(seg, self, whole);
		} else if (err == -ENOENT) {
			err = cm_whole_grow(seg, self, 1);
		}
		if (err == 0 || err == -ENOENT)
			continue;
		/* Full: what lies free but punched may yet make room. */
		if (has_purged || cm_read(cm_span_word(seg, CM_SPAN_DIRTY)) == 0) {
			cm_purge_excess(seg, self);
			return err;
		}
		(void)cm_purge_all(seg, self);
		has_purged = true;
	}
	ret_span->unit = segment << 6 | at;
	ret_span->n = n;
	return 0;
}

int cm_span_take_at(struct cm_seg *seg, const struct cm_self *self, uint64_t unit, uint32_t n,
		    uint64_t bytes)
{
	uint64_t segment = unit >> 6, mask;
	struct cm_tx tx;
	int err = -EBUSY;

	if ((unit & 63) == 0 || (unit & 63) + n > CM_UNITS_PER_SEGMENT)
		return -EBUSY;
	mask = cm_mask(unit & 63, n);
	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	if ((cm_read(&cm_seg_header(seg, segment)->free) & mask) == mask)
		err = stage_take(seg, &tx, segment, mask);
	if (err == 0) {
		cm_hold_stage(&tx, self->slot, CM_HOLD_UNITS, segment, mask);
		cm_tx_commit(&tx);
	}
	cm_tx_end(&tx);
	if (err < 0)
		return err;
	err = equip(seg, unit, n, bytes);
	if (err < 0)
		cm_span_give_hold(seg, self, self->slot);
	return err;
}

void cm_span_give_hold(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *slot)
{
	struct cm_tx tx;
	uint64_t at, what;

	cm_tx_begin(&seg->log, self, CM_LOCK_SPAN, &tx);
	at = cm_read(&slot->hold_at);
	what = cm_read(&slot->hold_what);
	if (at >> 56 == CM_HOLD_UNITS)
		cm_span_stage_give(seg, &tx, at & 0xffffffff, what);
	else if (at >> 56 == CM_HOLD_SEGMENTS)
		cm_whole_stage_give(seg, &tx, at & 0xffffffff, what);
	cm_hold_stage(&tx, slot, CM_HOLD_NONE, 0, 0);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
}
