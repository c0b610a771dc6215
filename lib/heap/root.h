/*
 * heap/root.h - what the files of the roots share.
 */
#ifndef CM_ROOT_H
#define CM_ROOT_H

#include "heap/heap.h"
#include "heap/root_layout.h"

/* ---- root_name.c ------------------------------------------------------------ */

struct cm_root_name {
	uint64_t word[CM_ROOT_NAME_WORDS];
	uint64_t hash;
};
/* 0, or -EINVAL: that names no root. */
int cm_root_read_name(const char *text, struct cm_root_name *name);

/* ---- root_page.c ------------------------------------------------------------ */

static inline struct cm_root_page_shm *cm_root_first_page(const struct cm_seg *seg)
{
	return (struct cm_root_page_shm *)(void *)(seg->base + CM_ROOTS_OFF);
}
/* The entry of that name, or NULL and the first empty one (or NULL) and the last page. */
struct cm_root_shm *cm_root_find(const struct cm_seg *seg, const struct cm_root_name *name,
				 struct cm_root_shm **ret_empty, struct cm_root_page_shm **ret_last);

/* The rest: under CM_LOCK_ROOT.  A change stages between these two. */
void cm_root_begin_change(struct cm_seg *seg, struct cm_tx *tx);
void cm_root_end_change(struct cm_seg *seg, struct cm_tx *tx);
/* Stage: the entry is this. */
void cm_root_stage(struct cm_tx *tx, struct cm_root_shm *root, const struct cm_root_name *name,
		   uint64_t state, uint64_t ref, uint64_t owner);
/* Stage: the entry is empty. */
void cm_root_stage_delete(struct cm_tx *tx, struct cm_root_shm *root);
/* The entry of that name, or a new place for it; 0, or -errno of an allocation. */
int cm_root_place(struct cm_seg *seg, const struct cm_self *self, struct cm_tx *tx,
		  const struct cm_root_name *name, struct cm_root_shm **ret_root, bool *ret_is_new);

#endif
