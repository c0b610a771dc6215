/*
 * seed.h - small valid heaps to be spoilt.
 *
 * Random bytes die at the checksum.  So whoever wants to see what comap makes of a bad file
 * begins with a good one, made once by the library itself, and copies it as often as it likes:
 *
 *	const struct seed *seed = seed_get(SEED_DEAD);
 *	int fd = seed_thaw(seed);               // a memfd of your own with that heap in it
 *
 * The same bytes each time: what names a process, a moment or chance is zeroed, so that an
 * input of the fuzzer means the same tomorrow.
 */
#ifndef FUZZ_SEED_H
#define FUZZ_SEED_H

#include <stddef.h>
#include <stdint.h>
#include "heap/heap.h"
#include "heap/root_layout.h"

enum {
	SEED_WHOLE, /* everybody left by the door */
	SEED_DEAD,  /* five threads died: in a log, half-way through one, with units, a mutex, a root */
	SEED_CROWD, /* one slot and the common one, both of dead threads */
	SEED_SMALL, /* one segment, nearly nothing in it, no room to grow */
	SEEDS,
};

/* Slots of SEED_DEAD. */
enum {
	SEED_SLOT_HOLD = 1, /* has three units in its hold */
	SEED_SLOT_MUTEX,    /* has a comap_mutex */
	SEED_SLOT_ONCE,     /* was inside an initialiser */
	SEED_SLOT_HALF,     /* had applied half a log, under the lock of a bin */
	SEED_SLOT_LOG,      /* had committed a log and applied nothing, under the span lock */
};

#define SEED_EXTENTS 64u
#define SEED_MARKS 32u

struct seed {
	uint64_t size;      /* of the file */
	uint64_t max_size, units_off, segments_off, data_off, limit;
	uint32_t nslots, nused;
	uint32_t nmarks;
	uint64_t mark[SEED_MARKS]; /* offsets of live blocks: small ones, runs, huge ones */
	uint64_t split;     /* a segment cut into units; SEED_SMALL: the only one */
	uint64_t slab;      /* first unit of a slab, second of three in its bin's list; 0: none */
	unsigned slab_class;
	uint64_t full;      /* first unit of a slab without a free block; 0: none */
	uint64_t run;       /* offset of a run of five units; 0: none */
	uint64_t huge;      /* offset of a block of two segments; 0: none */
	uint64_t mutex;     /* offset of a comap_mutex */
	uint64_t roots;     /* offset of the second page of roots; 0: there is one */
	uint32_t nextents;
	struct {
		uint64_t off, len;
	} extent[SEED_EXTENTS];
	unsigned char *bytes; /* of the extents, one after the other */
	uint64_t nbytes;
};

/* Made at the first call, kept for ever. */
const struct seed *seed_get(unsigned which);
/* Fill an empty file. */
void seed_write(const struct seed *seed, int fd);
int seed_thaw(const struct seed *seed);
/* Make the header's checksum right again. */
void seed_sign(struct cm_fixed_shm *fixed);
/* Where the parts of a heap of these sizes begin. */
void seed_lay_out(struct cm_fixed_shm *fixed, uint64_t max_size, uint32_t nslots);

/* What must not change when a file is refused: its length, its blocks, its bytes. */
struct seed_print {
	uint64_t size, blocks, hash;
};
struct seed_print seed_print(int fd);
bool seed_print_is_same(struct seed_print a, struct seed_print b);

#endif
