/*
 * seg_layout.h - the heap file: superblock, tables, segments and units.
 *
 *	0          superblock (4 KiB)
 *	16 KiB     lock table (8 KiB)
 *	32 KiB     first page of roots (heap/root_layout.h)
 *	64 KiB     slots, 64 KiB apart
 *	           unit table, a byte per 64 KiB of the heap
 *	           segment table, 8 bytes per 4 MiB of the heap
 *	data       segments of 4 MiB = 64 units of 64 KiB
 *
 * Mirrored byte for byte in docs/format.md.
 */
#ifndef CM_SEG_LAYOUT_H
#define CM_SEG_LAYOUT_H

#include <stddef.h>
#include "base/base.h"
#include "log/log.h"

#define CM_PAGE 4096u
#define CM_UNIT (64 * CM_KIB)
#define CM_UNIT_SHIFT 16
#define CM_SEGMENT (4 * CM_MIB)
#define CM_SEGMENT_SHIFT 22
#define CM_UNITS_PER_SEGMENT 64u
#define CM_PAGES_PER_SEGMENT 1024u
#define CM_PAGES_PER_UNIT 16u

#define CM_LOCKS_OFF (16 * CM_KIB)
#define CM_ROOTS_OFF (32 * CM_KIB)
#define CM_SLOTS_OFF (64 * CM_KIB)

#define CM_MAX_SIZE_LEAST (8 * CM_MIB)
#define CM_MAX_SIZE_MOST (64 * CM_TIB)

#define CM_MAGIC "comap\0\r\n"
#define CM_FORMAT_VERSION 1u
#define CM_BYTE_ORDER 0x0102030405060708ull

/* Fixed when the heap is made; sum is the XXH3 of the bytes before it. */
struct cm_fixed_shm {
	char magic[8];
	uint64_t byte_order;    /* CM_BYTE_ORDER as the maker's machine stores it */
	uint32_t version;
	uint32_t word_bytes;    /* sizeof(void *) */
	uint64_t compat;        /* may be ignored */
	uint64_t ro_compat;     /* unknown bits: read only */
	uint64_t incompat;      /* unknown bits: refuse */
	uint32_t page, unit;
	uint64_t segment;
	uint8_t uuid[16];
	uint64_t created_ns;    /* since the epoch */
	uint64_t max_size;
	uint32_t nslots, reserved0;
	uint64_t slots_off, units_off, segments_off, data_off;
	uint64_t reserved1[14];
	uint64_t sum;
};

struct cm_super_shm {
	struct cm_fixed_shm fixed;
	/* line 4: changes, one word at a time */
	cm_word limit;     /* guarded by CM_LOCK_SPAN: segments below it exist */
	cm_word quota;     /* units; UINT64_MAX: none */
	cm_word dirty_max; /* units */
	cm_word life_abi;  /* cm_robust_abi() of those attached */
	cm_word home;      /* a number for the file whose storage we know: settle.c */
	cm_word decay_ms;   /* a period of decay; 0: none */
	cm_word decayed_ns; /* when the last one ended, by the monotonic clock */
	cm_word dirty_low;  /* units: fewest dirty ones since */
	/* line 5: the slot directory */
	cm_word nused;
	cm_word cursor;
	cm_word reserved1[6];
	/* line 6: figures for people */
	cm_word deaths, misuses, steals, damages;
	cm_word purged; /* bytes */
	cm_word reserved2[3];
};

_Static_assert(offsetof(struct cm_fixed_shm, max_size) == 88, "docs/format.md");
_Static_assert(offsetof(struct cm_fixed_shm, data_off) == 128, "docs/format.md");
_Static_assert(offsetof(struct cm_fixed_shm, sum) == 248, "docs/format.md");
_Static_assert(sizeof(struct cm_fixed_shm) == 256, "docs/format.md");
_Static_assert(offsetof(struct cm_super_shm, limit) == 256, "docs/format.md");

/* Words of the span lock's line. */
enum {
	CM_SPAN_USED,  /* units that are not free; whole segments in use count by their pages */
	CM_SPAN_DIRTY, /* free units that may have storage */
	CM_SPAN_HINT,  /* no segment below has a free unit */
};

/*
 * Segment table entry: kind | flags << 4 | longest free run << 8 | pages << 16.
 * All zero is a free segment without storage.
 */
enum {
	CM_SEG_FREE = 0, /* flags say what storage it has */
	CM_SEG_SPLIT,    /* units, with a header in unit 0 */
	CM_SEG_HUGE,     /* first of a run of whole segments: a block of `pages` pages */
	CM_SEG_CONT,     /* another segment of such a run */
	CM_SEG_HELD,     /* first of a run in transit, named by some slot's hold */
};
#define CM_TABLE_ZERO_AT 0u /* in each page of the unit table: a header unit, 0 for ever */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define CM_SEGTAB_ZERO_AT 7u /* in each page: the top byte of an entry, zero for ever */
#else
#define CM_SEGTAB_ZERO_AT 0u
#endif
#define CM_SEG_HAVE 0x10ull /* it may have storage; `pages` of it, from the first, surely */

static inline unsigned cm_seg_kind(uint64_t e)
{
	return e & 0xf;
}

static inline unsigned cm_seg_longest(uint64_t e)
{
	return e >> 8 & 0xff;
}

static inline uint64_t cm_seg_pages(uint64_t e)
{
	return e >> 16;
}

static inline uint64_t cm_seg_entry(unsigned kind, unsigned longest, uint64_t pages)
{
	return kind | (uint64_t)longest << 8 | pages << 16;
}

/* Unit table: 0 for free and held units, headers, whole segments and the inside of runs. */
enum {
	CM_UNIT_NONE = 0,
	/* 1 .. 80: a unit of a slab of class n - 1 */
	CM_MARK_SLAB_MOST = 80,
	CM_UNIT_RUN = 0x7f,  /* first unit of a run of units */
};

/* Unit 0 of a split segment. Bit u stands for unit u; bit 0, the header, is never set. */
struct cm_header_shm {
	cm_word free; /* truth: set when the unit is no part of a slab, a run or a hold */
	cm_word have; /* of the free ones: may have storage, contents unknown */
	cm_word meta; /* bit p: page p of this unit has storage; set late is harmless */
	cm_word reserved0;
	cm_byte stored[64]; /* of each unit, so many pages from its first have storage; or more */
	uint64_t reserved1[116];
};

/* One descriptor per unit, at 1 KiB * unit; it means something for the first unit
 * of a slab or run. */
struct cm_desc_shm {
	cm_word kind;     /* CM_UNIT_NONE, CM_UNIT_RUN, or class + 1 */
	cm_word size;     /* run: bytes with storage; slab: 0 */
	cm_word link;     /* slab: next << 32 | previous unit in its bin's list; 0: none */
	cm_word nfree;    /* slab: free blocks */
	cm_word open;     /* slab: bit w: map[w] has a free block */
	cm_word reserved0[3];
	uint64_t reserved1[56];
	cm_word map[64];  /* slab, truth: bit set: the block is free */
};

_Static_assert(sizeof(struct cm_header_shm) == 1024, "docs/format.md");
_Static_assert(sizeof(struct cm_desc_shm) == 1024, "docs/format.md");
_Static_assert(offsetof(struct cm_desc_shm, map) == 512, "docs/format.md");
#define CM_DESC_ZERO_AT 504u /* in each page of headers: a reserved byte, where a zero harms nobody */

/* A slot's hold_at: kind << 56 | segment. */
enum {
	CM_HOLD_NONE = 0,
	CM_HOLD_UNITS = 1,    /* hold_what: bit mask of units in the segment */
	CM_HOLD_SEGMENTS = 2, /* hold_what: number of segments */
};

#endif
