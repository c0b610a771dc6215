/*
 * root_layout.h - named roots: a chain of pages of entries.
 *
 * The first page lies at CM_ROOTS_OFF, the others are blocks of the heap.
 * Mirrored in docs/format.md.
 */
#ifndef CM_ROOT_LAYOUT_H
#define CM_ROOT_LAYOUT_H

#include "seg/seg_layout.h"

#define CM_ROOT_NAME_WORDS 8u
#define CM_ROOTS_PER_PAGE 30u

enum {
	CM_ROOT_EMPTY = 0,
	CM_ROOT_READY = 1,
	CM_ROOT_BUSY = 2, /* its initialiser runs in `owner`, or died there */
};

struct cm_root_shm {
	cm_word name[CM_ROOT_NAME_WORDS]; /* padded with zeroes */
	cm_word hash;                     /* XXH3 of the name's 64 bytes */
	cm_word state;
	cm_word ref;
	cm_word cell;                     /* what the initialiser publishes into */
	cm_word owner;                    /* as in lock words */
	cm_word reserved[3];
};

struct cm_root_page_shm {
	cm_word version;  /* first page: odd while a change is applied */
	cm_word next;     /* offset of the next page; 0: the last */
	cm_word spare;    /* first page: a page on its way to become the last */
	cm_word reserved[13];
	struct cm_root_shm root[CM_ROOTS_PER_PAGE];
};

_Static_assert(sizeof(struct cm_root_shm) == 128, "docs/format.md");
_Static_assert(sizeof(struct cm_root_page_shm) == 3968, "docs/format.md");
#define CM_ROOT_PAGE_BYTES 4096u

#endif
