/*
 * stage.c - blocks out of a class's slabs and back, any number in one record.
 *
 * The list of a bin holds the slabs with a free block.  Taking empties them from
 * the front; giving links those that were full, at the front.  A word may be
 * staged more than once in a record, so links are read through it (cm_tx_get);
 * all other words are written once a slab, and a slab is met once: what is given
 * is grouped by slab first.
 *
 * What a neighbour may have scribbled over is compared before it is used: unit
 * numbers with the limit, words of `open` with the map.
 */
#include <errno.h>
#include "slab/stage.h"

#define CALLERS_PAIRS 4u /* the ends of a magazine, a cell, a hold */

static uint32_t next_of(uint64_t link)
{
	return (uint32_t)(link >> 32);
}

static uint32_t prev_of(uint64_t link)
{
	return (uint32_t)link;
}

static uint64_t link_of(uint64_t next, uint64_t prev)
{
	return next << 32 | prev;
}

static int unlink_slab(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint64_t unit)
{
	uint64_t link = cm_tx_get(tx, &cm_seg_desc(seg, unit)->link);
	uint32_t next = next_of(link), prev = prev_of(link);
	cm_word *at;

	if ((next && !cm_slab_begins(seg, cls, next)) || (prev && !cm_slab_begins(seg, cls, prev)))
		return -EUCLEAN;
	if (prev) {
		at = &cm_seg_desc(seg, prev)->link;
		cm_tx_put(tx, at, link_of(next, prev_of(cm_tx_get(tx, at))));
	} else {
		cm_tx_put(tx, cm_bin_list(seg, cls), next);
	}
	if (next) {
		at = &cm_seg_desc(seg, next)->link;
		cm_tx_put(tx, at, link_of(next_of(cm_tx_get(tx, at)), prev));
	}
	return 0;
}

int cm_stage_link(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint64_t unit)
{
	uint64_t first = cm_tx_get(tx, cm_bin_list(seg, cls));
	cm_word *at;

	if (first && !cm_slab_begins(seg, cls, first))
		return -EUCLEAN;
	if (first) {
		at = &cm_seg_desc(seg, first)->link;
		cm_tx_put(tx, at, link_of(next_of(cm_tx_get(tx, at)), unit));
	}
	cm_tx_put(tx, &cm_seg_desc(seg, unit)->link, link_of(first, 0));
	cm_tx_put(tx, cm_bin_list(seg, cls), unit);
	return 0;
}

int cm_stage_end(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint64_t unit)
{
	cm_hold_stage(tx, tx->self->slot, CM_HOLD_UNITS, unit >> 6,
		      cm_mask(unit & 63, cm_classes[cls].units));
	return unlink_slab(seg, tx, cls, unit);
}

/* Out of one slab: up to `want`. */
static int take_from(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint64_t unit, uint32_t want,
		     uint64_t *offs, uint32_t *ret_n)
{
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);
	uint64_t open = cm_read(&desc->open), nfree = cm_read(&desc->nfree), was_open = open, map;
	uint64_t start = unit << CM_UNIT_SHIFT, size = cm_classes[cls].size;
	uint32_t n = 0, blocks = cm_classes[cls].blocks;
	unsigned w, bit;

	if (open == 0 || nfree == 0)
		return -EUCLEAN;
	while (open && n < want) {
		w = cm_lowest(open);
		map = cm_read(&desc->map[w]);
		if (map == 0 || w * 64 + cm_highest(map) >= blocks)
			return -EUCLEAN;
		for (; map && n < want; map &= map - 1) {
			bit = cm_lowest(map);
			offs[n++] = start + (w * 64 + bit) * size;
		}
		cm_tx_put(tx, &desc->map[w], map);
		if (map == 0)
			open &= open - 1;
	}
	if (n > nfree)
		return -EUCLEAN;
	if (open != was_open)
		cm_tx_put(tx, &desc->open, open);
	cm_tx_put(tx, &desc->nfree, nfree - n);
	*ret_n = n;
	return nfree == n ? unlink_slab(seg, tx, cls, unit) : 0;
}

int cm_stage_take(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint32_t want, uint64_t *offs,
		  uint32_t *ret_n)
{
	uint32_t n = 0, got = 0, nmet = 0;
	uint64_t unit, met[CM_BATCH_MOST];
	int err = 0;

	want = (uint32_t)cm_min(want, CM_BATCH_MOST);
	/* a block is a word of a map at most, a slab four more; and the caller stages a few */
	while (err == 0 && n < want && CM_REDO_PAIRS - tx->n >= want - n + 4 + CALLERS_PAIRS) {
		unit = cm_tx_get(tx, cm_bin_list(seg, cls));
		if (unit == 0)
			break;
		if (!cm_slab_begins(seg, cls, unit))
			return -EUCLEAN;
		/* one met again is in the list though it has none left, or the list is a ring */
		for (uint32_t i = 0; i < nmet; i++)
			if (met[i] == unit)
				return -EUCLEAN;
		met[nmet++] = unit;
		err = take_from(seg, tx, cls, unit, want - n, offs + n, &got);
		n += got;
	}
	*ret_n = n;
	return err == 0 && n == 0 ? -ENOENT : err;
}

static uint64_t slab_of(unsigned cls, uint64_t off)
{
	return off >> CM_UNIT_SHIFT & ~(cm_classes[cls].units - 1ull);
}

bool cm_stage_fits(unsigned cls, uint64_t *offs, uint32_t n)
{
	uint32_t slabs = 0;

	for (uint32_t at = 0; at < n; slabs++) {
		uint64_t slab = slab_of(cls, offs[at++]);

		while (at < n && slab_of(cls, offs[at]) == slab)
			at++;
		for (uint32_t i = at; i < n; i++) {
			uint64_t off = offs[i];

			if (slab_of(cls, off) == slab) {
				offs[i] = offs[at];
				offs[at++] = off;
			}
		}
	}
	/* a block is a word of a map at most; a slab is two more and a place in the list; one of
	 * them ends */
	return n + slabs * 5 + 4 + CALLERS_PAIRS <= CM_REDO_PAIRS;
}

static void note_bad(struct cm_given *given, uint64_t off)
{
	given->bad[given->nbad++] = off;
}

/* The blocks of one slab among those that are given. */
struct share {
	uint64_t unit;
	uint32_t n;     /* offsets that lie in it */
	uint32_t count; /* of these, blocks that were in use */
	uint64_t open;  /* words of the map they are in */
};

/* Stage: the bits of the slab's share of offs. */
static void set_bits(struct cm_tx *tx, struct cm_desc_shm *desc, unsigned cls, const uint64_t *offs,
		     uint32_t n, struct share *share, struct cm_given *given)
{
	uint64_t start = share->unit << CM_UNIT_SHIFT, end = cm_classes[cls].units * CM_UNIT;
	uint64_t size = cm_classes[cls].size, map[64], now = 0, open = 0, bit;
	uint32_t index, w = 0, count = 0, i;

	for (i = 0; i < n && offs[i] - start < end; i++) {
		index = cm_class_index(cls, offs[i] - start);
		if (index >= cm_classes[cls].blocks || start + index * size != offs[i]) {
			note_bad(given, offs[i]);
			continue;
		}
		if (!open || index / 64 != w) {
			map[w] = now;
			w = index / 64;
			now = open >> w & 1 ? map[w] : cm_read(&desc->map[w]);
			open |= 1ull << w;
		}
		bit = 1ull << index % 64;
		if (now & bit) {
			note_bad(given, offs[i]);
			continue;
		}
		now |= bit;
		count++;
	}
	map[w] = now;
	for (uint64_t left = count ? open : 0; left; left &= left - 1)
		cm_tx_put(tx, &desc->map[cm_lowest(left)], map[cm_lowest(left)]);
	share->n = i;
	share->count = count;
	share->open = open;
}

/* Stage: the slab gets its share, and a place in the list, or its end. */
static int give_to(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, const uint64_t *offs, uint32_t n,
		   struct share *share, struct cm_given *given)
{
	struct cm_desc_shm *desc = cm_seg_desc(seg, share->unit);
	uint64_t open = cm_read(&desc->open), nfree = cm_read(&desc->nfree);
	uint32_t blocks = cm_classes[cls].blocks;
	int err = 0;

	set_bits(tx, desc, cls, offs, n, share, given);
	if (share->count == 0)
		return 0;
	if (nfree > blocks || nfree + share->count > blocks)
		return -EUCLEAN;
	if (share->open & ~open)
		cm_tx_put(tx, &desc->open, open | share->open);
	cm_tx_put(tx, &desc->nfree, nfree + share->count);
	given->n += share->count;
	if (nfree == 0)
		err = cm_stage_link(seg, tx, cls, share->unit);
	/* the last one in the list stays */
	if (err || nfree + share->count < blocks || cm_tx_get(tx, &desc->link) == 0)
		return err;
	if (given->has_hold) {
		given->empty[given->nempty++] = share->unit;
		return 0;
	}
	given->has_hold = true;
	return cm_stage_end(seg, tx, cls, share->unit);
}

int cm_stage_give(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, const uint64_t *offs, uint32_t n,
		  struct cm_given *given)
{
	int err = 0;

	cm_given_begin(given);
	for (uint32_t i = 0; i < n && err == 0;) {
		struct share share = { .unit = slab_of(cls, offs[i]) };

		if (cm_slab_begins(seg, cls, share.unit)) {
			err = give_to(seg, tx, cls, offs + i, n - i, &share, given);
			i += share.n;
		} else {
			note_bad(given, offs[i++]); /* the whole slab went back since */
		}
	}
	return err;
}
