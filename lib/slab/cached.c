/*
 * cached.c - which blocks lie in magazines: for the walk, the figures and the check.
 *
 * Nobody keeps that; it is read from the rings of all slots.  Their owners take
 * and give meanwhile, so it is a picture of a moment, and exact when nobody
 * allocates.  The set is an open-addressed hash table in memory of our own.
 */
#include <errno.h>
#include "slab/slab.h"

uint32_t cm_cached_count(const struct cm_seg *seg, unsigned cls)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < cm_life_nused(&seg->life); i++) {
		struct cm_magazines_shm *all = cm_magazines(cm_life_slot(&seg->life, i));

		if (cm_read(&all->magazine[cm_mark_of(cls)].cap))
			sum += cm_ends_count(cm_read(&all->magazine[cm_mark_of(cls)].ends));
	}
	return sum;
}

uint32_t cm_cached_of(const struct cm_seg *seg, uint32_t slot, unsigned cls, uint64_t offs[CM_RING])
{
	struct cm_slot_shm *s = cm_life_slot(&seg->life, slot);
	struct cm_magazine_shm *m = &cm_magazines(s)->magazine[cm_mark_of(cls)];
	uint64_t ends = cm_load_acquire(&m->ends);
	uint32_t n = cm_read(&m->cap) ? cm_ends_count(ends) : 0; /* no cap: perhaps no ring */

	for (uint32_t i = 0; i < n; i++)
		offs[i] = cm_read(&cm_ring(s, cm_mark_of(cls))[(cm_ends_tail(ends) + i) % CM_RING]);
	return n;
}

static uint64_t *place_of(const struct cm_cached *set, uint64_t off)
{
	uint64_t at = off * 0x9e3779b97f4a7c15ull >> 32 & set->mask;

	while (set->off[at] && set->off[at] != off)
		at = (at + 1) & set->mask;
	return &set->off[at];
}

bool cm_cached_has(const struct cm_cached *set, uint64_t off)
{
	return set->off && *place_of(set, off) == off;
}

bool cm_cached_add(struct cm_cached *set, uint64_t off)
{
	uint64_t *at;

	/* there may be more of them by now than we counted */
	if (!set->off || off == 0 || set->n > set->mask / 2)
		return true;
	at = place_of(set, off);
	if (*at == off)
		return false;
	*at = off;
	set->n++;
	return true;
}

int cm_cached_begin(const struct cm_seg *seg, struct cm_cached *set)
{
	uint64_t n = 0, size = 512;

	for (unsigned cls = 0; cls < CM_CLASSES; cls++)
		n += cm_cached_count(seg, cls);
	*set = (struct cm_cached){0};
	if (n == 0)
		return 0;
	while (size < n * 4)
		size *= 2;
	set->off = cm_os_private_pages(size * sizeof *set->off);
	if (!set->off)
		return -ENOMEM;
	set->mask = size - 1;
	return 0;
}

int cm_cached_read(const struct cm_seg *seg, struct cm_cached *set)
{
	uint64_t offs[CM_RING];
	int err = cm_cached_begin(seg, set);

	for (uint32_t slot = 0; !err && set->off && slot < cm_life_nused(&seg->life); slot++)
		for (unsigned cls = 0; cls < CM_CLASSES; cls++)
			for (uint32_t n = cm_cached_of(seg, slot, cls, offs); n > 0; n--)
				(void)cm_cached_add(set, offs[n - 1]);
	return err;
}

void cm_cached_end(struct cm_cached *set)
{
	if (set->off)
		cm_os_private_pages_drop(set->off, (set->mask + 1) * sizeof *set->off);
}
