/*
 * heap/heap.h - the door of floor 7: what stands behind the public headers.
 */
#ifndef CM_HEAP_H
#define CM_HEAP_H

#include <comap/heap.h>
#include "reap/reap.h"
#include "seg/seg.h"
#include "slab/slab.h"

#define CM_HEAPS_MAX 64u /* handles a process may have open at once */

/* A handle: this process's.  Handles lie in a static table; nothing here needs malloc. */
struct comap_heap {
	struct cm_seg seg;   /* first: its first word is the base address (ref.h) */
	unsigned index;      /* in the table */
	int refs;            /* the handle, and each thread with a seat; under the table's mutex */
	bool is_open;        /* not yet: a fork child drops it */
	bool is_closed;
	bool is_lean;
	void (*on_misuse)(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg);
	void *on_misuse_arg;
	cm_word serial; /* of this opening; 0: the entry is free.  Last: threads that leave look at it */
};

/* ---- table.c: the handles of this process --------------------------------- */

struct comap_heap *cm_table_add(void); /* NULL: the table is full */
void cm_table_ref(struct comap_heap *heap);
void cm_table_unref(struct comap_heap *heap); /* unmaps with the last */
/* No fork between these two. */
void cm_table_hold(void);
void cm_table_release(void);
/* Is the calling thread in one of these?  Then it is a signal handler that asks. */
bool cm_table_is_busy(void);
struct comap_heap *cm_table_at(unsigned index); /* NULL: no open heap there */

/* ---- seat.c: the calling thread in one heap ---------------------------------- */

/* In a page of its own that a fork child finds zeroed, so a child, also of a raw
 * clone, never takes its parent's slot for its own. */
struct cm_seat {
	uint64_t idle;    /* the heap's serial while the thread has a slot and is in no call; else 0 */
	const char *low;  /* address of the first segment */
	uint64_t room;    /* bytes from there to the limit, as it was */
	uint64_t steps;   /* the same, by 16 bytes */
	const cm_byte *units;               /* of these addresses */
	struct cm_magazines_shm *magazines; /* of the slot */
	cm_word *rings;
	uint64_t serial;  /* of the heap; anything else: no slot here */
	struct cm_self self;
	struct cm_cache cache;
	bool is_busy;     /* inside a call: what a signal handler must not enter */
	bool is_common;   /* for this call only */
	uint32_t tick;
	uint32_t reaped;    /* dead threads reaped in passing */
	uint32_t next_look; /* the slot to look at next for a death */
};

/* By heap, for the calling thread; NULL: it never was in that one. */
extern _Thread_local struct cm_seat *cm_seats[CM_HEAPS_MAX] __attribute__((tls_model("initial-exec")));

/* Begin a call: NULL and *ret_err (-EROFS, -EDEADLK, -ENOMEM, or of the storage). */
struct cm_seat *cm_seat_enter(struct comap_heap *heap, int *ret_err);
/* The same, refusing the common slot: for what outlasts the call. */
struct cm_seat *cm_seat_enter_own(struct comap_heap *heap, int *ret_err);
void cm_seat_leave(struct comap_heap *heap, struct cm_seat *seat);
/* What its magazines hold goes back to the maps. */
void cm_seat_drain(struct comap_heap *heap, struct cm_seat *seat);
/* The calling thread gives its slot back. */
void cm_seat_give_up(struct comap_heap *heap);

/* ---- block.c: blocks, as every public call sees them ---------------------------- */

struct cm_place {
	bool is_slab;
	struct cm_block block; /* slab */
	uint64_t off, size;    /* its first byte and usable bytes; size 0: no block */
};
/* The block that begins at or holds off. */
struct cm_place cm_place_of(const struct cm_seg *seg, uint64_t off);
/* Allocate; dst as in cm_slab_alloc; cache: the thread's, or NULL to take it from the maps.  0 or
 * -errno. */
int cm_block_alloc(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, uint64_t size,
		   uint64_t align, cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed);
/* Free the block at off: 0, or the misuse it is (positive), or -errno.  Others may come to light:
 * in misfreed. */
int cm_block_free(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, uint64_t off,
		  cm_word *src, struct cm_misfreed *misfreed);
/* Do these bytes lie in a live block, 8-byte aligned? */
bool cm_is_in_block(const struct cm_seg *seg, const void *at, uint64_t size);
static inline uint64_t cm_off_of(const struct cm_seg *seg, const void *ptr)
{
	return (uintptr_t)ptr - (uintptr_t)seg->base; /* of any pointer at all */
}

/* ---- advise.c: what the options ask of the kernel --------------------------------------- */

/* Options that speak of the mapping: do they make sense?  0, or an error and the reason. */
int cm_advice_validate(const struct comap_heap_opts *o, const char **ret_reason);
/* Tell the kernel, of a mapping whose blocks begin at data_off; populating is left to the end. */
int cm_advice_apply(struct comap_heap *heap, const struct comap_heap_opts *o, uint64_t data_off,
		    const char **ret_reason);

/* ---- root_page.c: the pages of named roots ------------------------------------------- */

/* A walk along their chain.  Damage may have made it a ring: the mark catches up with the page
 * at the latest after three rounds (Brent, BIT 20, 1980). */
struct cm_root_walk {
	struct cm_root_page_shm *page; /* where we are */
	struct cm_root_page_shm *mark;
	uint64_t steps, lap;
	bool is_ring;
};
/* It begins at the first page. */
struct cm_root_walk cm_root_walk(const struct cm_seg *seg);
/* Goes to the next page; false: there is none, or it is a ring; a damaged link ends it. */
bool cm_root_walk_on(const struct cm_seg *seg, struct cm_root_walk *walk);
/* Is it the cell of a root, for its initialiser? */
bool cm_is_root_cell(const struct cm_seg *seg, const void *at);
/* Is the block at off one of the heap's own pages of roots?  And how many are there? */
bool cm_is_root_page(const struct cm_seg *seg, uint64_t off);
uint64_t cm_root_pages(const struct cm_seg *seg);

#endif
