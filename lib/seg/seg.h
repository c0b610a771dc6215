/*
 * seg/seg.h - the door of floor 4: the heap file, and runs of units and segments.
 *
 * Nobody owns a unit but through two things: a table that says what it is, or
 * the hold of a slot while it is on its way from one to the other.  Each way
 * is one transaction that moves units into the caller's hold, then work nobody
 * else can see (storage, descriptor, unit table), then one transaction
 * that ends the hold.  Whoever dies on the way is found with the units in the
 * hold, and the reaper gives them back.
 */
#ifndef CM_SEG_H
#define CM_SEG_H

#include "base/base.h"
#include "life/life.h"
#include "log/log.h"
#include "os/os.h"
#include "seg/seg_layout.h"

/* This process's view of one heap. */
struct cm_seg {
	char *base; /* first: comap_heap_at() reads it */
	struct cm_backing backing;
	struct cm_super_shm *super;
	struct cm_lock_shm *locks;
	cm_byte *units;      /* unit table, indexed by offset >> 16 */
	cm_word *segments;   /* segment table, indexed by offset >> 22 */
	uint64_t units_off, segments_off, data_off; /* of these, and of the first segment */
	uint64_t max_size;
	struct cm_life life;
	struct cm_log log;
	bool is_readonly;
};

static inline uint64_t cm_seg_limit(const struct cm_seg *seg)
{
	/* acquire pairs with apply() in redo.c: what is below exists.  Bounded, because a
	 * neighbour may have scribbled on it. */
	return cm_min(cm_load_acquire(&seg->super->limit), seg->max_size);
}

static inline cm_word *cm_span_word(const struct cm_seg *seg, unsigned which)
{
	return &seg->locks[CM_LOCK_SPAN].word[which];
}

static inline struct cm_header_shm *cm_seg_header(const struct cm_seg *seg, uint64_t segment)
{
	return (struct cm_header_shm *)(void *)(seg->base + (segment << CM_SEGMENT_SHIFT));
}

static inline struct cm_desc_shm *cm_seg_desc(const struct cm_seg *seg, uint64_t unit)
{
	return (struct cm_desc_shm *)(void *)(seg->base +
					      ((unit >> 6) << CM_SEGMENT_SHIFT) + (unit & 63) * 1024);
}

static inline void *cm_seg_at(const struct cm_seg *seg, uint64_t off)
{
	return seg->base + off;
}

/* Does the byte lie where blocks are handed out? */
static inline bool cm_seg_has(const struct cm_seg *seg, uint64_t off)
{
	return off >= seg->data_off && off < cm_seg_limit(seg);
}

/* Is this the unit of something that could be a slab: below limit, no header? */
static inline bool cm_seg_has_unit(const struct cm_seg *seg, uint64_t unit)
{
	return unit >= seg->data_off >> CM_UNIT_SHIFT &&
	       unit < cm_seg_limit(seg) >> CM_UNIT_SHIFT && (unit & 63) != 0;
}

/* ---- super.c: the file's own description ---------------------------------- */

struct cm_super_opts {
	uint64_t max_size;
	uint32_t nslots;
	uint64_t quota_units, dirty_max_units;
};
/* What a superblock describes; 0, or an error of comap_heap_open and the reason. */
int cm_super_validate(const struct cm_super_shm *super, const char **ret_reason);
/* Is what changes in it plausible, and the file long enough? */
int cm_super_validate_state(struct cm_seg *seg, const char **ret_reason);
/* Are the records recovery would act upon? For whoever is alone with the file. */
int cm_super_validate_records(struct cm_seg *seg, const char **ret_reason);
/* Write a new heap into seg->backing, mapped and empty. */
int cm_super_create(struct cm_seg *seg, const struct cm_super_opts *opts);
/* How long the part before the first segment is; 0: max_size is too small for it. */
uint64_t cm_super_data_off(uint64_t max_size, uint32_t nslots);
/* Fill seg's pointers; f: a validated copy, since the mapped one may change under us. */
void cm_super_bind(struct cm_seg *seg, const struct cm_fixed_shm *f);

/* ---- settle.c: the file was copied ----------------------------------------------- */

/* For whoever is alone with the file, after the dead are reaped: what is known of storage holds
 * for this file.  0, or an error of the storage. */
int cm_seg_settle(struct cm_seg *seg);

/* ---- span.c: units ---------------------------------------------------------- */

struct cm_span {
	uint64_t unit;      /* first one */
	uint32_t n;         /* units */
	bool is_zeroed;     /* it reads as zeroes */
	bool is_run;        /* it is a block already, and in no hold */
};
/* What cm_span_take makes of units that have all their storage. */
struct cm_run {
	uint64_t bytes;
	cm_word *dst; /* the cell that gets its offset in the same instant, or NULL */
};
/* Storage behind the first `bytes` bytes of n units, which are the caller's (in its hold, or of
 * its block).  -ENOSPC. */
int cm_span_store(struct cm_seg *seg, uint64_t unit, uint32_t n, uint64_t bytes);

/* n neighbouring units, the first a multiple of align, into the caller's hold, with storage behind
 * their first `bytes` bytes and their descriptor.  run, or NULL: may be that block at once.
 * -ENOMEM, -ENOSPC. */
int cm_span_take(struct cm_seg *seg, const struct cm_self *self, uint32_t n, uint32_t align,
		 uint64_t bytes, const struct cm_run *run, struct cm_span *ret_span);
/* The n units from `unit` on, when they are free: into the hold, with storage behind
 * `bytes` bytes of them.  -EBUSY: they are not. */
int cm_span_take_at(struct cm_seg *seg, const struct cm_self *self, uint64_t unit, uint32_t n,
		    uint64_t bytes);
/* Give back what slot holds (units or segments); its tables are cleared first. */
void cm_span_give_hold(struct cm_seg *seg, const struct cm_self *self, struct cm_slot_shm *slot);

/* Stage: the units of mask, which the caller has, are free. */
void cm_span_stage_give(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t mask);
/* Marks that freed runs left at free units of a split segment go.  Under the span lock. */
void cm_span_clear_marks(struct cm_seg *seg, uint64_t segment, uint64_t mask);

/* What is wrong with a split segment's header, a static string, or NULL.  Under the span lock. */
const char *cm_span_fault(const struct cm_seg *seg, uint64_t segment);

/* ---- run.c: blocks that are runs of units or of segments --------------------- */

/* A block of size > 64 KiB, or of align > 64 KiB: its offset, or -errno.  dst: the cell
 * that gets the offset in the same instant, or NULL. */
int cm_run_alloc(struct cm_seg *seg, const struct cm_self *self, uint64_t size, uint64_t align,
		 cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed);
/* Bytes of the block at off; 0: no run begins there. */
uint64_t cm_run_size(const struct cm_seg *seg, uint64_t off);
/* Where the run begins that holds the byte at off; 0: none does. */
uint64_t cm_run_find(const struct cm_seg *seg, uint64_t off);
/* Free it; src: the cell that becomes 0 in the same instant, or NULL.  -ENOENT: no
 * run begins there (any more). */
int cm_run_free(struct cm_seg *seg, const struct cm_self *self, uint64_t off, cm_word *src);
/* Make it size bytes without moving it; -EBUSY: not possible; -ENOSPC. */
int cm_run_resize(struct cm_seg *seg, const struct cm_self *self, uint64_t off, uint64_t size);

/* ---- whole.c: whole segments --------------------------------------------------- */

/* How many units an entry that is a block, or held, counts for. */
uint64_t cm_whole_units(uint64_t entry);
/* n neighbouring segments into the caller's hold, HELD for a block of `pages` pages. */
int cm_whole_take(struct cm_seg *seg, const struct cm_self *self, uint64_t pages,
		  uint64_t *ret_segment, bool *ret_is_zeroed);
/* Turn a free segment into one with units.  -ENOENT: it is free no more. */
int cm_whole_split(struct cm_seg *seg, const struct cm_self *self, uint64_t segment);
/* Make the block that begins here `pages` pages, without moving it; -EBUSY: no room. */
int cm_whole_resize(struct cm_seg *seg, const struct cm_self *self, uint64_t segment, uint64_t pages);
/* Stage: the n segments are free; their storage may be there. */
void cm_whole_stage_give(struct cm_seg *seg, struct cm_tx *tx, uint64_t segment, uint64_t n);
/* n more segments exist, unless the ceiling or the storage forbids. */
int cm_whole_grow(struct cm_seg *seg, const struct cm_self *self, uint64_t n);

/* ---- purge.c: storage goes back -------------------------------------------------- */

/* Punch free units until at most `keep` of them may have storage. */
int cm_purge(struct cm_seg *seg, const struct cm_self *self, uint64_t keep);
/* Punch whatever is free, headers of empty segments, too. */
int cm_purge_all(struct cm_seg *seg, const struct cm_self *self);
/* The same, if there are more than the heap's dirty_max. */
void cm_purge_excess(struct cm_seg *seg, const struct cm_self *self);

/* ---- decay.c: storage that nobody wants ------------------------------------------- */

#define CM_DECAY_MS 10000u /* unless somebody says otherwise */
/* There are about to be so many dirty units.  Under the span lock. */
void cm_decay_note(struct cm_seg *seg, uint64_t dirty);
/* Has a period passed since *then?  If so, that is now. */
bool cm_decay_is_due(const struct cm_seg *seg, uint64_t *then);
/* At the end of a period, punch what nobody wanted. */
void cm_decay(struct cm_seg *seg, const struct cm_self *self);

/* ---- hold.c: the slot's record of what is in transit -------------------------------- */

static inline uint64_t cm_hold_at(unsigned kind, uint64_t segment)
{
	return (uint64_t)kind << 56 | segment;
}
static inline void cm_hold_stage(struct cm_tx *tx, struct cm_slot_shm *slot, unsigned kind,
				 uint64_t segment, uint64_t what)
{
	cm_tx_put(tx, &slot->hold_what, what);
	cm_tx_put(tx, &slot->hold_at, cm_hold_at(kind, segment));
}
/* Does it name what exists? */
bool cm_hold_is_bounded(const struct cm_seg *seg, struct cm_slot_shm *slot);
/* And do the tables agree?  Under the span lock. */
bool cm_hold_is_valid(const struct cm_seg *seg, struct cm_slot_shm *slot);

#endif
