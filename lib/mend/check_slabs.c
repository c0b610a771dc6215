/*
 * check_slabs.c - the slabs of a class, and the list of those with a free block.
 *
 * Under the bin's lock no slab is linked or unlinked.  A slab about to be linked,
 * or just unlinked, lies in a hold, and under the span lock it stays there.  So
 * both are taken, the bin's first.
 */
#include "mend/mend.h"

/* The slabs in the bin's list, each with a free block and linked both ways. */
static uint64_t check_list(struct cm_check *c, unsigned cls)
{
	uint64_t unit = cm_read(cm_bin_list(c->seg, cls)), prev = 0, n = 0, link;
	uint64_t most = cm_seg_limit(c->seg) >> CM_UNIT_SHIFT;

	for (; unit; unit = link >> 32) {
		if (!cm_slab_begins(c->seg, cls, unit) || ++n > most) {
			cm_check_find(c, unit << CM_UNIT_SHIFT,
				      "a bin's list leads to what is no slab of its class");
			return n;
		}
		link = cm_read(&cm_seg_desc(c->seg, unit)->link);
		if ((uint32_t)link != prev)
			cm_check_find(c, unit << CM_UNIT_SHIFT, "a slab's link back is wrong");
		if (cm_read(&cm_seg_desc(c->seg, unit)->nfree) == 0)
			cm_check_find(c, unit << CM_UNIT_SHIFT, "a full slab is in its bin's list");
		prev = unit;
	}
	return n;
}

/* Every slab of the class; how many have a free block. */
static uint64_t check_slabs(struct cm_check *c, unsigned cls)
{
	uint64_t end = cm_seg_limit(c->seg) >> CM_UNIT_SHIFT, open = 0;
	uint64_t step = cm_classes[cls].units, unit = c->seg->data_off >> CM_UNIT_SHIFT;
	const char *fault;

	for (; unit < end; unit += step) {
		if (!cm_slab_begins(c->seg, cls, unit) ||
		    cm_check_held_in(c, unit >> 6) >> (unit & 63) & 1)
			continue;
		fault = cm_slab_fault(c->seg, cls, unit);
		if (fault)
			cm_check_find(c, unit << CM_UNIT_SHIFT, fault);
		open += cm_read(&cm_seg_desc(c->seg, unit)->nfree) != 0;
	}
	return open;
}

void cm_check_bin(struct cm_check *c, unsigned cls)
{
	struct cm_tx bin, span;

	cm_check_lock(c, CM_LOCK_BIN + cls, &bin);
	cm_check_lock(c, CM_LOCK_SPAN, &span);
	if (check_list(c, cls) != check_slabs(c, cls))
		cm_check_find(c, CM_LOCKS_OFF + (CM_LOCK_BIN + cls) * 64,
			      "a bin's list has not all slabs with a free block");
	cm_check_unlock(c, &span);
	cm_check_unlock(c, &bin);
}
