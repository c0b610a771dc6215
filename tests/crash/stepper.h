/*
 * stepper.h - stop a process after every machine instruction, and see what its death there
 * would leave.
 *
 * A scenario runs in a child under PTRACE_SINGLESTEP (stepper.c).  After each instruction that
 * changed the heap, the heap is copied, with its length and holes, every slot of the dead is
 * marked as the kernel would mark it, and the copy is recovered and judged (judge.c), in each
 * of several ways.  What the child told its journal is what the judge holds the copy against.
 */
#ifndef STEPPER_H
#define STEPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <comap.h>

#define JOURNAL_BLOCKS 512
#define JOURNAL_CELLS 32

/* Written by one thread of a stepped process, outside the heap; survives its death. */
struct journal {
	_Atomic uint32_t done;
	_Atomic uint64_t doubt;  /* offset of the block being freed: may be live or not */
	_Atomic uint32_t n;      /* blocks that are surely live, and hold their pattern */
	_Atomic uint64_t off[JOURNAL_BLOCKS];
	_Atomic uint64_t size[JOURNAL_BLOCKS];
	_Atomic uint32_t ncells; /* refs in the heap that own what they refer to */
	_Atomic uint64_t cell[JOURNAL_CELLS];
	_Atomic uint64_t note[8]; /* the scenario's own */
	_Atomic uint64_t hot;     /* offset of a shared word in a block, to be watched like a cell */
	_Atomic int32_t helper;   /* a second thread of the stepped process: it dies, too */
};

struct world {
	comap_heap *heap;       /* the child's handle; NULL when the scenario opens it itself */
	int fd;                 /* the heap's file */
	const char *path;       /* for scenarios on named heaps */
	struct journal *journal;
};

struct scenario {
	const char *name;
	void (*prepare)(struct world *w); /* at full speed */
	void (*step)(struct world *w);    /* instruction by instruction */
	unsigned may_leak;
	/* NULL when the recovered copy is right by this scenario's own measure, else why not */
	const char *(*verify)(comap_heap *copy, const struct journal *j);
	bool keeps_doubt;   /* what the journal doubts is its owner's if it is live: realloc */
	bool is_hot;        /* with magazines; else on the maps alone, as far as prepare goes */
	bool opens_itself;  /* world.heap is NULL at first */
	bool is_named;      /* the heap appears at world.path while it is stepped */
	bool has_neighbours; /* two threads of another process work on the heap meanwhile */
	uint32_t slots;     /* of the heap; 0: 16 */
	bool goes_on;       /* after `done` the child must end by itself: its exit is stepped, too */
};

/* How a copy is recovered. */
enum way {
	WAY_REAP,  /* a survivor reaps, then works */
	WAY_WORK,  /* one who was there before the death works, meeting its locks, then reaps */
	WAY_ALONE, /* nobody survived: the next to open it is alone */
	WAYS,
};

/* An image of the heap at one instant. */
struct image {
	uint64_t size;    /* length of the file */
	uint32_t nextents;
	struct extent {
		uint64_t off, len;
	} * extent;
	int64_t blocks;   /* of storage */
	unsigned char *bytes; /* of the extents, one after the other */
	uint64_t nbytes;
};
bool image_take(struct image *image, int fd);
void image_copy(struct image *to, const struct image *from);
bool image_is_same(const struct image *a, const struct image *b);
/* Has anything changed that recovery looks at, or the length, or the holes?  Content of blocks
 * that are no cells does not count.  map: of the same file. */
bool image_is_stale(const struct image *image, int fd, const char *map, const struct journal *j);
#define IMAGE_MAP_SIZE (32u << 20)
int image_thaw(const struct image *image); /* a memfd with the same bytes, length and holes */
void image_drop(struct image *image);
/* A number for what a reaper would have to do: locks, logs, holds, states. */
uint64_t image_signature(int fd, bool *ret_has_locks);
/* Do what the kernel does to the slots of the dead. */
struct dead;
void mark_dead(int fd, const struct dead *dead);

/* Who is dead, and what they had told their journals. */
struct dead {
	pid_t tid[8];
	unsigned n;
	struct journal *journal[4];
	unsigned njournals;
	bool in_two_steps; /* some had died before: who comes now reaps those */
};

/* Recover the copy in fd in that way and judge it; NULL or what is wrong. */
const char *judge(int fd, enum way way, const struct scenario *s, const struct dead *dead,
		  unsigned *ret_leaked);

/* For scenarios: allocate, fill, tell the journal, in that order; and back. */
void journal_add(struct world *w, void *p, size_t size);
void journal_doubt(struct world *w, void *p); /* it is about to be freed */
void journal_settled(struct world *w);
comap_ref *journal_cell(struct world *w, comap_ref *cell);
void fill(comap_heap *heap, void *p, size_t size);
bool is_filled(comap_heap *heap, const void *p, size_t size);

extern const struct scenario scenarios[];
extern const unsigned nscenarios;

#endif
