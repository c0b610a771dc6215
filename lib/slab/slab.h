/*
 * slab/slab.h - the door of floor 5: blocks up to 64 KiB.
 *
 * Slabs are owned by nobody.  A slab's bitmap says which of its blocks are free,
 * outside the blocks, and changes only under the lock of its class.
 *
 * slab.c takes and gives single blocks, each one transaction on the bitmap (lean
 * mode).  magazine.c stands before it: blocks taken and given in batches, and a
 * store for each between.
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

	if (CM_EXPECT(size <= 128))
		return (unsigned)(size - 1) / 16;
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
/* One more slab for the class's list.  0, or an error of the span floor, or -EUCLEAN. */
int cm_slab_add(struct cm_seg *seg, const struct cm_self *self, unsigned cls);
/* Our hold was a slab: its marks go, then its units. */
void cm_slab_give_hold(struct cm_seg *seg, const struct cm_self *self);
/* Is it a slab of the class with no block in use, and not the only one in the list?  Under the
 * lock of its bin. */
bool cm_slab_is_spare(const struct cm_seg *seg, unsigned cls, uint64_t unit);
/* A pattern for whoever still reads a freed block: from check level 1. */
void cm_slab_fill_freed(const struct cm_seg *seg, const struct cm_block *block);
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

/* ---- magazine.c: a thread's blocks in advance -------------------------------- */

/* The mark of a class in the unit table is the number of its magazine. */
static inline unsigned cm_mark_of(unsigned cls)
{
	return cls + 1;
}

static inline struct cm_magazines_shm *cm_magazines(struct cm_slot_shm *slot)
{
	return (struct cm_magazines_shm *)(void *)((char *)slot + CM_SLOT_MAGAZINES);
}

static inline cm_word *cm_ring(struct cm_slot_shm *slot, unsigned mark)
{
	return (cm_word *)(void *)((char *)slot + CM_SLOT_RINGS) + mark * CM_RING;
}

static inline uint32_t cm_ends_head(uint64_t ends)
{
	return (uint32_t)ends;
}

static inline uint32_t cm_ends_tail(uint64_t ends)
{
	return (uint32_t)(ends >> 32);
}

static inline uint64_t cm_ends(uint32_t head, uint32_t tail)
{
	return (uint64_t)tail << 32 | head;
}

/* How many blocks there are; a word that cannot be says none. */
static inline uint32_t cm_ends_count(uint64_t ends)
{
	uint32_t n = cm_ends_head(ends) - cm_ends_tail(ends);

	return n <= CM_RING ? n : 0;
}

/* What a thread knows of its magazines; private to it. */
struct cm_cache {
	uint8_t heat[CM_CLASSES]; /* slow paths of late */
	uint8_t run[CM_CLASSES];  /* the way of the last one | how often in a row before << 1 */
	uint32_t bytes;           /* what all magazines hold when they are full */
	uint64_t decayed_ns;      /* when we looked for idle ones */
	uint64_t ends[CM_CLASSES]; /* and what they were */
	bool is_lean;             /* no magazine is to be opened */
	uint64_t random;
};
/* Nothing is known of any magazine. */
void cm_cache_begin(struct cm_cache *cache, bool is_lean);

/* A block, by the magazine or by the map; dst as in cm_slab_alloc. */
int cm_cache_alloc(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, unsigned cls,
		   cm_word *dst, uint64_t *ret_off);
/* Blocks that a flush found to be free already, or no blocks: whoever freed them did so twice. */
struct cm_misfreed {
	uint32_t n;
	uint64_t off[CM_RING];
};
/* A block back; src as in cm_slab_free.  -EALREADY: it is free. */
int cm_cache_free(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache,
		  const struct cm_block *block, cm_word *src, struct cm_misfreed *misfreed);
/* All that the magazines of a slot hold goes back to the maps: our own, or a dead one's whom we
 * reap; afterwards they are closed. */
void cm_cache_drain(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *slot,
		    struct cm_misfreed *misfreed);

/* The mark for a size of up to CM_TINY_MOST bytes, by 16-byte steps; 0 bytes: CM_UNIT_NONE. */
#define CM_TINY_MOST 1024u
extern const uint8_t cm_tiny_marks[CM_TINY_MOST / 16 + 1];

/* Our slot was a dead thread's: go on with its magazines. */
void cm_cache_inherit(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache);
/* At the end of a period of decay, close our magazines that nobody used during it. */
void cm_cache_decay(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache,
		    struct cm_misfreed *misfreed);

/* ---- cached.c: who has what in advance ------------------------------------------ */

/* Blocks of the class in all magazines. */
uint32_t cm_cached_count(const struct cm_seg *seg, unsigned cls);
/* What lies in one slot's magazine; how many. */
uint32_t cm_cached_of(const struct cm_seg *seg, uint32_t slot, unsigned cls, uint64_t offs[CM_RING]);

/* The blocks in all magazines. */
struct cm_cached {
	uint64_t *off; /* hash table; NULL: there are none */
	uint64_t mask, n;
};
/* An empty set with room for them; -ENOMEM. */
int cm_cached_begin(const struct cm_seg *seg, struct cm_cached *set);
bool cm_cached_add(struct cm_cached *set, uint64_t off); /* false: it is there already */
/* Begin and add them all. */
int cm_cached_read(const struct cm_seg *seg, struct cm_cached *set);
bool cm_cached_has(const struct cm_cached *set, uint64_t off);
void cm_cached_end(struct cm_cached *set);

#endif
