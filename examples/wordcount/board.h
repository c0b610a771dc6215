/*
 * board.h - what the workers and their parent share.
 *
 * The board lies in the heap, so it holds refs and atomics and no address.  It
 * is made by the parent before the first fork.
 *
 * A chunk of text goes through four states, each entered by one store:
 *
 *	free      owner is CHUNK_FREE
 *	claimed   owner is the number of a worker, set by compare-and-swap: the
 *	          arena is that worker's, and it is building the table in there
 *	finished  table is set: the worker has let go, the chunk is the parent's
 *	merged    owner is CHUNK_MERGED, the memory is free again
 *
 * A worker that dies leaves at most one chunk claimed and not finished.  That
 * chunk says whose it was, and its arena whatever there is to be freed.
 */
#ifndef WORDCOUNT_BOARD_H
#define WORDCOUNT_BOARD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <comap/heap.h>
#include "arena.h"

enum {
	CHUNK_FREE = 0, /* workers count from 1 */
	CHUNK_MERGED = UINT16_MAX,
	NBUCKETS = 4096,
};

/* A word of one chunk and how often it is there. */
struct entry;
typedef COMAP_REF(struct entry) entry_ref;
struct entry {
	entry_ref next; /* in the same bucket */
	uint32_t count;
	uint32_t length;
	char word[];
};

/* The words of one chunk.  Table and entries lie in the chunk's arena. */
struct table {
	entry_ref bucket[NBUCKETS];
};

struct chunk {
	_Atomic uint32_t owner;
	struct arena arena;
	COMAP_REF(struct table) table;
};

struct board {
	_Atomic uint64_t ticket; /* where to look for a free chunk: a hint, no more */
	uint64_t nchunks;
	struct chunk chunk[];
};

_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
	       "an atomic with a hidden lock would not work between processes");

/* What each process knows of the job: the same in all of them, thanks to fork. */
struct job {
	comap_heap *heap;
	struct board *board;
	const char *text;
	size_t size;
	size_t chunk_size;
};

#endif
