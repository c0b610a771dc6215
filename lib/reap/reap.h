/*
 * reap/reap.h - the door of floor 6: finish what the dead began, give back what
 * they held.
 */
#ifndef CM_REAP_H
#define CM_REAP_H

#include "seg/seg.h"
#include "slab/slab.h"

enum {
	CM_REAP_ASK_KERNEL = 1, /* also deaths the robust list does not show: a system call each */
	CM_REAP_PATIENT = 2,    /* wait for another reaper to finish, rather than leave it to him */
};

/* Reap the dead thread in this slot; false: there is none (any more).  Call it
 * with no lock held. */
bool cm_reap_slot(struct cm_seg *seg, const struct cm_self *self, uint32_t index, unsigned how);
/* Every slot; how many were reaped. */
int cm_reap_all(struct cm_seg *seg, const struct cm_self *self, unsigned how);
/* The caller holds the dead one's slot as its own (the common slot). */
/* A newcomer changes its own slot, in which nothing is, for that of a dead thread, whose magazines
 * it goes on with.  True: it is done, and *self another. */
bool cm_reap_inherit(struct cm_seg *seg, struct cm_self *self, uint32_t index);
void cm_reap_self(struct cm_seg *seg, const struct cm_self *self);

#endif
