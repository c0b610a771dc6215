/*
 * check_magazines.c - is what lies in magazines a block of its class, in use as far as the map
 * says, and in one magazine only?
 *
 * Under the bin's lock no magazine of the class is filled or flushed, so the
 * blocks in them and in use together stay the same ones.  But their owners take
 * and give without a lock: one block can be read in two places while it goes from
 * one to the other.  So a second one is looked at again, in an order in which a
 * block that moved once is not seen twice.
 */
#include "mend/mend.h"

#define TURNS 16u /* that a block goes to and fro in step with us so often is not to be feared */

static bool has(const struct cm_seg *seg, uint32_t slot, unsigned cls, uint64_t off)
{
	uint64_t offs[CM_RING];

	for (uint32_t n = cm_cached_of(seg, slot, cls, offs); n > 0; n--)
		if (offs[n - 1] == off)
			return true;
	return false;
}

/* Another slot that has it while this one has it before and after, again and again. */
static bool is_elsewhere(const struct cm_seg *seg, uint32_t slot, unsigned cls, uint64_t off)
{
	unsigned seen = 0;

	for (unsigned turn = 0; turn < TURNS; turn++)
		for (uint32_t i = 0; i < slot; i++)
			if (has(seg, slot, cls, off) && has(seg, i, cls, off) && has(seg, slot, cls, off)) {
				seen++;
				break;
			}
	return seen == TURNS;
}

static void check_one(struct cm_check *c, uint32_t slot, unsigned cls, uint64_t off, struct cm_cached *set)
{
	struct cm_block block;

	if (cm_slab_find(c->seg, off, &block) < 0 || block.cls != cls || block.off != off)
		cm_check_find(c, off, "a magazine has what is no block of its class");
	else if (cm_slab_is_free(c->seg, &block))
		cm_check_find(c, off, "a block in a magazine is free in its map");
	else if (!cm_cached_add(set, off) && is_elsewhere(c->seg, slot, cls, off))
		cm_check_find(c, off, "a block is in two magazines");
}

void cm_check_magazines(struct cm_check *c, unsigned cls, struct cm_cached *set)
{
	uint64_t offs[CM_RING];
	struct cm_tx tx;

	cm_check_lock(c, CM_LOCK_BIN + cls, &tx);
	for (uint32_t slot = 0; slot < cm_life_nused(&c->seg->life); slot++)
		for (uint32_t n = cm_cached_of(c->seg, slot, cls, offs); n > 0; n--)
			check_one(c, slot, cls, offs[n - 1], set);
	cm_check_unlock(c, &tx);
}
