/*
 * slab.c - slabs: units cut into blocks of one size.
 *
 * A slab is 1, 2, 4 or 8 units, the first a multiple of that, described by the
 * descriptor of its first unit.  Bit i of `map` says block i is free.  `open`
 * says which words of the map have a free bit, `nfree` counts them: both could
 * be rebuilt from the map, both change in the same record.  The bin of a class
 * is its lock and a doubly linked list of the slabs that have a free block;
 * links are unit numbers.
 *
 * True whenever the lock of the bin is free:
 *   1. a slab is in its bin's list exactly when nfree > 0;
 *   2. nfree and open are what map says;
 *
 * A slab whose last block is freed goes back to the span floor, unless it is
 * alone in the list: one stays, so that a program that allocates and frees one
 * block does not make and break a slab each time.
 *
 * How a slab is born: its units lie in our hold; descriptor and unit table are
 * written while nobody looks; one record under the bin's lock links it and ends
 * the hold.  How it ends: one record under the bin's lock frees the last block,
 * unlinks it and makes it our hold; then its marks in the unit table are
 * cleared and the span floor gets it.  So no two locks are ever held together.
 *
 * What a neighbour may have scribbled over is compared before it is used: unit
 * numbers with the limit, words of `open` with the map.
 */
#include <errno.h>
#include <string.h>
#include "slab/stage.h"

bool cm_slab_begins(const struct cm_seg *seg, unsigned cls, uint64_t unit)
{
	return cm_seg_has_unit(seg, unit) && unit % cm_classes[cls].units == 0 &&
	       cm_read(&seg->units[unit]) == cls + 1 &&
	       cm_read(&cm_seg_desc(seg, unit)->kind) == cls + 1;
}

const char *cm_slab_fault(const struct cm_seg *seg, unsigned cls, uint64_t unit)
{
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);
	uint64_t open = cm_read(&desc->open), map, valid;
	uint32_t blocks = cm_classes[cls].blocks, nfree = 0;

	for (uint32_t w = 0; w < 64; w++) {
		map = cm_read(&desc->map[w]);
		valid = w * 64 >= blocks ? 0 : cm_mask(0, blocks - w * 64 < 64 ? blocks - w * 64 : 64);
		if (map & ~valid)
			return "a slab has a free block past its end";
		if ((map != 0) != (open >> w & 1))
			return "a slab's summary of its map is wrong";
		nfree += cm_popcount(map);
	}
	if (nfree != cm_read(&desc->nfree))
		return "a slab's count of free blocks is wrong";
	for (unsigned i = 1; i < cm_classes[cls].units; i++)
		if (cm_read(&seg->units[unit + i]) != cls + 1)
			return "a slab has lost one of its units";
	return NULL;
}

/* Commit, and at check level 3 look the slab over while it is ours. */
static void commit(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint64_t unit)
{
	cm_tx_commit(tx);
	if (CM_CHECK_LEVEL >= 3)
		CM_INVARIANT(cm_slab_fault(seg, cls, unit) == NULL);
}

/* Ours alone: the units are in our hold. */
static void write_desc(struct cm_seg *seg, unsigned cls, uint64_t unit)
{
	const struct cm_class *c = &cm_classes[cls];
	struct cm_desc_shm *desc = cm_seg_desc(seg, unit);
	uint32_t left = c->blocks, n;
	uint64_t open = 0;

	for (unsigned w = 0; w < 64; w++, left -= n) {
		n = left < 64 ? left : 64;
		cm_write(&desc->map[w], n ? cm_mask(0, n) : 0);
		if (n)
			open |= 1ull << w;
	}
	cm_write(&desc->open, open);
	cm_write(&desc->nfree, c->blocks);
	cm_write(&desc->size, 0);
	cm_write(&desc->link, 0);
	cm_write(&desc->kind, cls + 1);
	for (unsigned i = 0; i < c->units; i++)
		cm_write(&seg->units[unit + i], (uint8_t)(cls + 1));
}

int cm_slab_add(struct cm_seg *seg, const struct cm_self *self, unsigned cls)
{
	const struct cm_class *c = &cm_classes[cls];
	struct cm_span span;
	struct cm_tx tx;
	int err;

	err = cm_span_take(seg, self, c->units, c->units, c->units * CM_UNIT, NULL, &span);
	if (err < 0)
		return err;
	write_desc(seg, cls, span.unit);
	cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cls, &tx);
	err = cm_stage_link(seg, &tx, cls, span.unit);
	if (err == 0) {
		cm_hold_stage(&tx, self->slot, CM_HOLD_NONE, 0, 0);
		cm_tx_commit(&tx);
	}
	cm_tx_end(&tx);
	if (err < 0) {
		cm_slab_clear_hold(seg, self->slot);
		cm_span_give_hold(seg, self, self->slot);
	}
	return err;
}

int cm_slab_alloc(struct cm_seg *seg, const struct cm_self *self, unsigned cls, cm_word *dst,
		  uint64_t *ret_off)
{
	struct cm_tx tx;
	uint32_t n;
	int err;

	do {
		cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cls, &tx);
		err = cm_stage_take(seg, &tx, cls, 1, ret_off, &n);
		if (err == 0) {
			if (dst)
				cm_tx_put(&tx, dst, *ret_off);
			commit(seg, &tx, cls, *ret_off >> CM_UNIT_SHIFT & ~(cm_classes[cls].units - 1ull));
		}
		cm_tx_end(&tx);
	} while (err == -ENOENT && (err = cm_slab_add(seg, self, cls)) == 0);
	if (err == 0)
		cm_slot_count_malloc(self->slot, 1, cm_classes[cls].size);
	return err;
}

int cm_slab_find(const struct cm_seg *seg, uint64_t off, struct cm_block *ret_block)
{
	uint64_t unit = off >> CM_UNIT_SHIFT, first;
	unsigned cls;
	uint32_t index;

	if (!cm_seg_has_unit(seg, unit))
		return -ENOENT;
	cls = (unsigned)cm_read(&seg->units[unit]) - 1;
	if (cls >= CM_CLASSES)
		return -ENOENT;
	first = unit & ~(uint64_t)(cm_classes[cls].units - 1);
	if (!cm_slab_begins(seg, cls, first))
		return -ENOENT;
	index = cm_class_index(cls, off - (first << CM_UNIT_SHIFT));
	if (index >= cm_classes[cls].blocks)
		return -ENOENT;
	*ret_block = (struct cm_block){
		.cls = cls,
		.unit = first,
		.index = index,
		.off = (first << CM_UNIT_SHIFT) + (uint64_t)index * cm_classes[cls].size,
	};
	return 0;
}

bool cm_slab_is_free(const struct cm_seg *seg, const struct cm_block *block)
{
	return cm_read(&cm_seg_desc(seg, block->unit)->map[block->index / 64]) >> block->index % 64 & 1;
}

bool cm_slab_is_spare(const struct cm_seg *seg, unsigned cls, uint64_t unit)
{
	return cm_slab_begins(seg, cls, unit) &&
	       cm_read(&cm_seg_desc(seg, unit)->nfree) == cm_classes[cls].blocks &&
	       cm_read(&cm_seg_desc(seg, unit)->link) != 0;
}

void cm_slab_fill_freed(const struct cm_seg *seg, const struct cm_block *block)
{
	memset(cm_seg_at(seg, block->off), 0xdf, cm_classes[block->cls].size);
}

void cm_slab_clear_hold(struct cm_seg *seg, struct cm_slot_shm *slot)
{
	uint64_t at = cm_read(&slot->hold_at), mask = cm_read(&slot->hold_what);
	uint64_t base = (at & 0xffffffff) << 6;

	if (at >> 56 != CM_HOLD_UNITS)
		return;
	for (; mask; mask &= mask - 1)
		cm_write(&seg->units[base + cm_lowest(mask)], CM_UNIT_NONE);
}

void cm_slab_give_hold(struct cm_seg *seg, const struct cm_self *self)
{
	/* death here: the reaper does the same */
	cm_slab_clear_hold(seg, self->slot);
	cm_span_give_hold(seg, self, self->slot);
	cm_purge_excess(seg, self);
}

int cm_slab_free(struct cm_seg *seg, const struct cm_self *self, const struct cm_block *block,
		 cm_word *src)
{
	uint64_t off = block->off;
	struct cm_given given;
	struct cm_tx tx;
	int err;

	cm_tx_begin(&seg->log, self, CM_LOCK_BIN + block->cls, &tx);
	err = cm_stage_give(seg, &tx, block->cls, &off, 1, &given);
	if (err == 0 && given.nbad)
		err = -EALREADY;
	if (err == 0) {
		if (src)
			cm_tx_put(&tx, src, 0);
		commit(seg, &tx, block->cls, block->unit);
		if (CM_CHECK_LEVEL >= 1)
			cm_slab_fill_freed(seg, block); /* while it is still nobody else's */
	}
	cm_tx_end(&tx);
	if (err == 0)
		cm_count(&self->slot->frees, 1);
	if (err == 0 && given.has_hold)
		cm_slab_give_hold(seg, self);
	return err;
}

/* The first slab of the list with no block in use, or 0. */
static uint64_t find_empty(const struct cm_seg *seg, unsigned cls)
{
	uint64_t unit = cm_read(cm_bin_list(seg, cls));

	/* as many steps as there are units: a scribbled-over list may be a ring */
	for (uint64_t n = cm_seg_limit(seg) >> CM_UNIT_SHIFT; n && unit; n--) {
		if (!cm_slab_begins(seg, cls, unit))
			return 0;
		if (cm_read(&cm_seg_desc(seg, unit)->nfree) == cm_classes[cls].blocks)
			return unit;
		unit = cm_read(&cm_seg_desc(seg, unit)->link) >> 32;
	}
	return 0;
}

static bool give_one_empty(struct cm_seg *seg, const struct cm_self *self, unsigned cls)
{
	struct cm_tx tx;
	uint64_t unit;
	bool takes;

	cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cls, &tx);
	unit = find_empty(seg, cls);
	takes = unit && cm_stage_end(seg, &tx, cls, unit) == 0;
	if (takes)
		cm_tx_commit(&tx);
	cm_tx_end(&tx);
	if (takes)
		cm_slab_give_hold(seg, self);
	return takes;
}

void cm_slab_trim(struct cm_seg *seg, const struct cm_self *self)
{
	for (unsigned cls = 0; cls < CM_CLASSES; cls++)
		while (cm_read(cm_bin_list(seg, cls)) && give_one_empty(seg, self, cls))
			;
}
