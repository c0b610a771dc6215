/*
 * slot_layout.h - a slot: what one attached thread keeps in the heap.
 *
 * The thread's life, its identity (slot, generation), the log of what it is
 * about to change, the pages it has in transit, and figures.  Others read it to
 * learn whether the thread lives, and finish what it began when it does not.
 *
 * Slots lie SLOT_STRIDE apart, so that magazines can follow the first page;
 * only the pages in use have storage.  Mirrored in docs/format.md.
 */
#ifndef CM_SLOT_LAYOUT_H
#define CM_SLOT_LAYOUT_H

#include <stddef.h>
#include "base/base.h"

#define CM_SLOT_STRIDE (64 * CM_KIB)
#define CM_SLOT_COMMIT 4096u  /* bytes of it that have storage */
#define CM_SLOT_ZERO_AT 4088u /* in each page: bytes that are zero for ever */
#define CM_SLOTS_MAX 65536u
#define CM_SLOT_COMMON 0u     /* shared by threads that find no slot of their own */

enum { CM_SLOT_FREE = 0, CM_SLOT_LIVE = 1 };

/* One pair of a log: an 8-byte word at offset `at` becomes `value`.  The low
 * bit of `at` set: a run of `value` words does, to the `value` of the next pair. */
struct cm_redo_pair_shm {
	cm_word at;
	cm_word value;
};

#define CM_REDO_PAIRS 56u

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
	cm_word reserved2[6];
	/* line 4: figures, written by the thread alone */
	cm_word mallocs, frees, bytes;
	cm_word reserved3[5];
	/* lines 5..: the log */
	struct cm_redo_shm redo;
};

_Static_assert(offsetof(struct cm_slot_shm, state) == 64, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, reap) == 128, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, hold_at) == 192, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, mallocs) == 256, "docs/format.md");
_Static_assert(offsetof(struct cm_slot_shm, redo) == 320, "docs/format.md");
_Static_assert(sizeof(struct cm_slot_shm) == 320 + 16 + 16 * CM_REDO_PAIRS, "docs/format.md");
_Static_assert(sizeof(struct cm_slot_shm) <= CM_SLOT_ZERO_AT, "the slot leaves its zero bytes alone");

#endif
