/*
 * slot_layout.h - a slot: what one attached thread keeps in the heap.
 *
 * The thread's life, its identity (slot, generation), the log of what it is
 * about to change, the pages it has in transit, and figures.  Others read it to
 * learn whether the thread lives, and finish what it began when it does not.
 *
 * Slots lie SLOT_STRIDE apart: a page of what is above, a page of magazines, and
 * their rings, which get storage with the first class that uses one.  Mirrored in
 * docs/format.md.
 */
#ifndef CM_SLOT_LAYOUT_H
#define CM_SLOT_LAYOUT_H

#include <stddef.h>
#include "base/base.h"

#define CM_SLOT_STRIDE (64 * CM_KIB)
#define CM_SLOT_COMMIT 8192u  /* bytes of it that have storage from the start */
#define CM_SLOT_ZERO_AT 4088u /* in each of these pages: bytes that are zero for ever */
#define CM_SLOTS_MAX 65536u
#define CM_SLOT_COMMON 0u     /* shared by threads that find no slot of their own */

enum { CM_SLOT_FREE = 0, CM_SLOT_LIVE = 1 };

/* One pair of a log: an 8-byte word at offset `at` becomes `value`.  The low
 * bit of `at` set: a run of `value` words does, to the `value` of the next pair. */
struct cm_redo_pair_shm {
	cm_word at;
	cm_word value;
};

#define CM_REDO_PAIRS 200u

/* What a thread is about to change; log/redo.c. */
struct cm_redo_shm {
	cm_word commit; /* 0: nothing; else number of pairs | lock << 16 */
	cm_word reserved;
	struct cm_redo_pair_shm pair[CM_REDO_PAIRS];
};

struct cm_slot_shm {
	/* line 0: a pthread_mutex_t, robust, held as long as the thread is attached */
	uint8_t life[64];
	/* line 1: who */
	cm_word state;      /* CM_SLOT_* */
	cm_word generation; /* its low 32 bits are in every lock word of this slot */
	cm_word ids;        /* tgid << 32 | tid, in its own pid namespace */
	cm_word pid_namespace;
	cm_word comm[2];    /* the thread's name when it came */
	cm_word reserved0[2];
	/* line 2: the lock of whoever reaps this slot */
	cm_word reap;
	cm_word reserved1[7];
	/* line 3: pages in transit between the span layer and their use; seg/span.c */
	cm_word hold_at;   /* 0: none; else kind << 56 | segment */
	cm_word hold_what; /* units: bit mask in the segment; segments: how many */
	cm_word before[3]; /* mallocs, frees and bytes when the thread came */
	cm_word reserved2[3];
	/* line 4: figures, written by the thread alone, and by the reaper of it dead.  They are of
	 * all the slot's threads, one after the other, so their sums over the slots are of the
	 * heap's life, whoever leaves or dies */
	cm_word mallocs, frees, bytes; /* blocks out of the maps, and back; bytes of the former */
	cm_word refills, flushes;      /* of magazines */
	cm_word waits;                 /* for a lock that was not free at once */
	cm_word reserved3[2];
	/* lines 5..: the log */
	struct cm_redo_shm redo;
};

/*
 * Magazines: blocks of one class that the thread took from the maps in advance or
 * has not given back yet.  A ring of 64 offsets; `ends` says which of them count:
 * from tail up to head, both modulo 2^32.  One store of head takes or gives one.
 */
#define CM_RING 64u
#define CM_MAGAZINES 128u /* indexed by the mark of the unit table; most are unused */

struct cm_magazine_shm {
	cm_word ends; /* head | tail << 32 */
	cm_half cap;  /* most blocks it holds; 0: the class works on the maps, and all is 0 */
	cm_half full; /* tail + cap, for its thread alone: head there, it is full */
};

struct cm_magazines_shm {
	struct cm_magazine_shm magazine[CM_MAGAZINES];
	cm_word ring_pages; /* bit p: page p of the rings has storage; set late is harmless */
	cm_word reserved[7];
};

#define CM_SLOT_MAGAZINES 4096u /* where these lie in the slot */
#define CM_SLOT_RINGS 8192u     /* ring m at CM_RING * 8 * m from here */

_Static_assert(CM_SLOT_MAGAZINES + sizeof(struct cm_magazines_shm) <= 4096 + CM_SLOT_ZERO_AT, "page 1");
_Static_assert(offsetof(struct cm_slot_shm, state) == 64, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, reap) == 128, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, hold_at) == 192, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, mallocs) == 256, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, waits) == 296, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, redo) == 320, "docs/format.md");
_Static_assert(sizeof(struct cm_slot_shm) == 320 + 16 + 16 * CM_REDO_PAIRS, "docs/format.md");
_Static_assert(sizeof(struct cm_slot_shm) <= CM_SLOT_ZERO_AT, "the slot leaves its zero bytes alone");

#endif
