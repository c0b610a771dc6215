/*
 * slab/stage.h - what slab.c and magazine.c share: blocks out of the maps and back, as part of a
 * transaction under the bin's lock.
 */
#ifndef CM_STAGE_H
#define CM_STAGE_H

#include "slab/slab.h"

/* So many blocks fit one transaction however they are scattered: one word each, five for each slab,
 * and a few; more do, when they lie together. */
#define CM_BATCH_SCATTERED 28u
#define CM_BATCH_MOST CM_RING

/* Stage: up to `want` blocks are ours; their offsets, lowest first within a slab, how many in
 * *ret_n.  -ENOENT: the list is empty; -EUCLEAN. */
int cm_stage_take(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint32_t want, uint64_t *offs,
		  uint32_t *ret_n);

struct cm_given {
	uint32_t n;          /* blocks that went back */
	bool has_hold;       /* a slab became empty: it is our hold */
	uint32_t nempty;     /* more that did, still in the list */
	uint64_t empty[CM_BATCH_MOST];
	uint32_t nbad;       /* those that were no block of the class in use */
	uint64_t bad[CM_BATCH_MOST];
};
static inline void cm_given_begin(struct cm_given *given)
{
	given->n = given->nempty = given->nbad = 0; /* not the arrays: they are long */
	given->has_hold = false;
}
/* Group n offsets by slab; true: giving them back fits one transaction. */
bool cm_stage_fits(unsigned cls, uint64_t *offs, uint32_t n);
/* Stage: these n blocks are free.  They are grouped, and fit. */
int cm_stage_give(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, const uint64_t *offs, uint32_t n,
		  struct cm_given *ret_given);

int cm_stage_link(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint64_t unit);
/* Stage: the slab is out of its list and our hold. */
int cm_stage_end(struct cm_seg *seg, struct cm_tx *tx, unsigned cls, uint64_t unit);

#endif
