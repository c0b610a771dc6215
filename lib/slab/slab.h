/*
 * slab/slab.h - the door of floor 5: blocks up to 64 KiB.
 *
 * Slabs are owned by nobody.  A slab's bitmap says which of its blocks are free,
 * outside the blocks, and changes only under the lock of its class.  This is
 * lean mode: every malloc and free is one transaction on the bitmap.
 */
#ifndef CM_SLAB_H
#define CM_SLAB_H

#include "seg/seg.h"

#define CM_CLASSES 80u
#define CM_SMALL_MOST (64 * CM_KIB)

struct cm_class {
	uint32_t size;       /* of a block, bytes */
	uint16_t units;      /* of a slab: 1, 2, 4 or 8; it begins at a multiple of that */
	uint16_t blocks;     /* in a slab */
	uint64_t reciprocal; /* 2^40 / size, rounded up */
};
extern const struct cm_class cm_classes[CM_CLASSES];

/* The class for size bytes, 1 <= size <= CM_SMALL_MOST. */
static inline unsigned cm_class_of(uint64_t size)
{
	unsigned top;

	if (size <= 128)
		return (unsigned)((size + 15) / 16) - 1;
	top = cm_highest(size - 1);
	return 8 + (top - 7) * 8 + (unsigned)((size - 1) >> (top - 3) & 7);
}

/* The first class of size bytes or more whose blocks all lie at multiples of align;
 * CM_CLASSES: there is none. */
unsigned cm_class_of_aligned(uint64_t size, uint64_t align);

/* Which block of a slab holds the byte `diff` bytes into it. */
static inline uint32_t cm_class_index(unsigned cls, uint64_t diff)
{
	return (uint32_t)(diff * cm_classes[cls].reciprocal >> 40);
}

/* The block at or around an offset. */
struct cm_block {
	unsigned cls;
	uint64_t unit;   /* first of its slab */
	uint32_t index;
	uint64_t off;    /* of its first byte */
};
/* -ENOENT: off is in no slab, or past its last block. */
int cm_slab_find(const struct cm_seg *seg, uint64_t off, struct cm_block *ret_block);
/* Its map bit; a picture of the moment. */
bool cm_slab_is_free(const struct cm_seg *seg, const struct cm_block *block);

/* Does a slab of the class begin at this unit, as far as its tables say? */
bool cm_slab_begins(const struct cm_seg *seg, unsigned cls, uint64_t unit);
/* What is wrong with its tables, a static string, or NULL.  Under the lock of its bin. */
const char *cm_slab_fault(const struct cm_seg *seg, unsigned cls, uint64_t unit);

/* A block of the class; dst: the cell that gets its offset in the same instant, or
 * NULL.  0, -ENOMEM, -ENOSPC, -EUCLEAN. */
int cm_slab_alloc(struct cm_seg *seg, const struct cm_self *self, unsigned cls, cm_word *dst,
		  uint64_t *ret_off);
/* Free the block; src: the cell that becomes 0 in the same instant, or NULL.
 * -EALREADY: it is free; -EUCLEAN: the slab's tables are damaged. */
int cm_slab_free(struct cm_seg *seg, const struct cm_self *self, const struct cm_block *block,
		 cm_word *src);
/* Give back the empty slabs that bins keep. */
void cm_slab_trim(struct cm_seg *seg, const struct cm_self *self);
/* Units go from being a slab, or nothing, to being a hold's: clear their tables. */
void cm_slab_clear_hold(struct cm_seg *seg, struct cm_slot_shm *slot);

/* Words of a bin's line in the lock table. */
enum {
	CM_BIN_LIST, /* first unit of the first slab with a free block; 0: none */
};
static inline cm_word *cm_bin_list(const struct cm_seg *seg, unsigned cls)
{
	return &seg->locks[CM_LOCK_BIN + cls].word[CM_BIN_LIST];
}

#endif
