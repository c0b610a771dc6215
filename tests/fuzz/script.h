/*
 * script.h - what the bytes of an input mean.
 *
 *	0    mode | seed << 2 | SCRIPT_* flags
 *	1    n, how many changes follow (modulo 33)
 *	2..  n changes of 12 bytes: op, region, index (2), value (8), little endian
 *	     the rest: steps of a program that uses the heap (exercise.h), two bytes each
 *
 * In SCRIPT_RAW mode all bytes after the first are the file.
 *
 * explain.py FILES says an input in words.
 */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

enum {
	SCRIPT_PLAIN,  /* the changes, and no more: a changed header dies at its checksum */
	SCRIPT_SIGNED, /* the header's checksum is made right afterwards */
	SCRIPT_SIZED,  /* the first change gives a ceiling and slots, all offsets follow; signed */
	SCRIPT_RAW,
};
#define SCRIPT_MODE 0x03u
#define SCRIPT_SEED_SHIFT 2
#define SCRIPT_READONLY 0x10u
#define SCRIPT_BY_NAME 0x20u   /* comap_heap_open, not comap_heap_open_fd */
#define SCRIPT_LOOK_FIRST 0x40u
#define SCRIPT_AGAIN 0x80u     /* open what the program left once more */

#define SCRIPT_HEAD 2u
#define SCRIPT_CHANGE 12u
#define SCRIPT_CHANGES_MOST 32u
#define SCRIPT_STEPS_MOST 96u

/* Low three bits of op: what happens to the word at region and index. */
enum {
	CHANGE_SET,
	CHANGE_XOR,
	CHANGE_ADD,
	CHANGE_OR,
	CHANGE_AND_NOT,
	CHANGE_BYTE,
	CHANGE_FILL, /* as many words as the low byte of index says */
	CHANGE_BIT,  /* one bit turns over */
};

/* The other five: what the value is made of. */
enum {
	VALUE_RAW,
	VALUE_SMALL,      /* signed, one byte */
	VALUE_POWER,      /* 2^value, or that less one */
	VALUE_LIMIT,      /* the end of the file, more or less */
	VALUE_CEILING,    /* the end of the mapping, more or less */
	VALUE_PLACE,      /* offset of a region and index; bit 0 may be set: a FILL */
	VALUE_OWNER,      /* how a slot is named in a lock */
	VALUE_UNIT,       /* number of a unit something begins in */
	VALUE_BLOCK,      /* offset of a live block */
	VALUE_SEGMENT,    /* an entry of the segment table */
	VALUE_HOLD,       /* a hold_at */
	VALUE_COMMIT,     /* a commit word */
	VALUE_LINK,       /* a slab's links */
	VALUE_EXTREME,    /* the ends of ranges */
	VALUE_ROOTS,      /* offset of a page of roots */
	VALUE_MARK,       /* a byte of the unit table, eight times */
	VALUE_KINDS,
};

enum {
	REGION_FIXED,
	REGION_STATE,
	REGION_LOCKS,      /* all of them */
	REGION_SPAN,       /* span and root locks */
	REGION_BINS,       /* bins of the classes in use */
	REGION_ROOTS,
	REGION_ROOTS_NEXT, /* the second page, or the first block */
	REGION_WHO,        /* slot: state, generation, reap, hold */
	REGION_REDO,       /* slot: commit and first pairs */
	REGION_LIFE,       /* slot: its mutex */
	REGION_UNITS,
	REGION_SEGMENTS,
	REGION_HEADER,
	REGION_DESC,       /* descriptors of units something begins in */
	REGION_ANY_DESC,
	REGION_MUTEX,
	REGION_BLOCK,      /* first words of live blocks */
	REGION_FILE,       /* anywhere */
	REGIONS,
};

/* Write the file an input (of one byte at least) tells of into fd, an empty memfd; returns where
 * in data the steps of the program begin. */
size_t script_write(const uint8_t *data, size_t size, int fd);

#endif
