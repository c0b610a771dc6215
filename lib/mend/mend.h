/*
 * mend/mend.h - the door of floor 8: what the files of the check share.
 */
#ifndef CM_MEND_H
#define CM_MEND_H

#include "heap/heap.h"

#define CM_CHECK_KEPT 64u

struct cm_finding {
	uint64_t off;
	const char *what;
};

struct cm_check {
	struct comap_heap *heap;
	struct cm_seg *seg;
	struct cm_seat *seat; /* NULL: read-only, no locks */
	struct cm_finding kept[CM_CHECK_KEPT];
	unsigned n, total;
	bool has_class[CM_CLASSES]; /* some unit is marked with it */
};

void cm_check_find(struct cm_check *c, uint64_t off, const char *what);
void cm_check_lock(struct cm_check *c, uint32_t id, struct cm_tx *tx);
void cm_check_unlock(struct cm_check *c, struct cm_tx *tx);
/* Which units of the segment some slot has in its hold; bit 0: the segment itself. */
uint64_t cm_check_held_in(const struct cm_check *c, uint64_t segment);

void cm_check_units(struct cm_check *c);
/* The magazines of one class; set: of all classes so far. */
void cm_check_magazines(struct cm_check *c, unsigned cls, struct cm_cached *set);
/* The slabs of one class, and their list. */
void cm_check_bin(struct cm_check *c, unsigned cls);

#endif
