/*
 * soak.h - what the people of the soak share.
 *
 * A monitor (soak.c) has workers, a process each, several threads in each
 * (worker.c); workers fork guests.  The monitor stops, continues and kills them at
 * random and replaces the dead.  All of them work in two heaps:
 *
 *   loose   plain malloc and free.  Blocks lie in one table that all swap in and out
 *           of; a death loses what the dead one had in hand.  Who has something in
 *           hand says so on the board, so how much may be lost is known exactly.
 *   exact   malloc_to and free_from.  A block is in a card's cell or it is free; no
 *           death may lose one.
 *
 * Every block is painted in a colour of its own, and looked at before it is freed:
 * two owners of one block would see each other's paint.
 *
 * The board is memory outside both heaps: heartbeats, counts, orders.
 */
#ifndef SOAK_H
#define SOAK_H

#include "../proc/crowd.h"

#define WORKERS_MOST 16u
#define THREADS_MOST 16u
#define GUESTS 48u
#define PEOPLE (WORKERS_MOST * THREADS_MOST + GUESTS)

#define TABLE 400u        /* cells for blocks of the loose heap */
#define CARDS 16u         /* a person's own, in the exact heap */
#define CORNERS 6u        /* mutexes with cards under them */
#define ONCE_NAMES 20u    /* in the exact heap: all in the first page of roots */
#define LOOSE_NAMES 80u

/* ---- in the heaps --------------------------------------------------------------- */

/* A cell and what its block looks like; colour 0: not painted (yet). */
struct card {
	comap_ref cell;
	_Atomic uint64_t colour, size;
};

struct corner {
	comap_mutex mutex;
	_Atomic uint64_t a, b; /* equal whenever the mutex is free */
	struct card card[CARDS];
};

/* Root "soak" of the exact heap. */
struct exact_desk {
	struct corner corner[CORNERS];
	struct card card[PEOPLE][CARDS];
};

/* Root "soak" of the loose heap. */
struct loose_desk {
	comap_mutex names; /* who deletes roots has it */
	comap_ref table[TABLE];
};

/* ---- on the board --------------------------------------------------------------- */

/* A thread of a worker, or a guest.  Its own cache line. */
struct person {
	_Alignas(64) _Atomic uint64_t beat; /* when its last call began or ended; 0: it rests */
	_Atomic uint64_t life;              /* of its worker: else the beat is a dead one's */
	_Atomic uint64_t nops;
	_Atomic uint32_t in_hand;           /* blocks of the loose heap a death now would lose */
	_Atomic uint32_t op;                /* OP_*: what it is doing, for people */
	_Atomic int32_t pid;                /* guests: 0 the place is free, -1 being taken */
};

enum { OP_REST, OP_SWAP, OP_MOVE, OP_CARD, OP_CORNER, OP_ROOTS, OP_ONCE, OP_TIDY, OP_FORK };

struct board {
	uint32_t nworkers, nthreads;
	uint32_t nslots;                       /* of each heap; 0: plenty */
	uint64_t seed;
	char file[256];                        /* the loose heap's path (exact: + "-exact"); "": memfds */
	_Atomic uint32_t stop;
	_Atomic uint64_t life[WORKERS_MOST];   /* grows with each death and exec */
	_Atomic uint64_t next_colour;
	_Atomic uint64_t may_lose;             /* blocks the dead had in hand */
	_Atomic uint64_t nforks, nexecs, nchecks, ndetaches, nwrong;
	struct person person[PEOPLE];
};

struct soak {
	struct board *board;
	comap_heap *loose, *exact;
	struct loose_desk *loose_desk;
	struct exact_desk *exact_desk;
	int board_fd, loose_fd, exact_fd; /* for those who exec */
};

static inline struct person *worker_person(struct board *board, unsigned worker, unsigned thread)
{
	return &board->person[worker * THREADS_MOST + thread];
}

static inline struct person *guest_person(struct board *board, unsigned guest)
{
	return &board->person[WORKERS_MOST * THREADS_MOST + guest];
}

/* ---- paint.c -------------------------------------------------------------------- */

void paint(void *block, size_t size, uint64_t colour);
/* Where it differs from that paint, or -1. */
long find_stain(const void *block, size_t size, uint64_t colour);

/* A block of the loose heap says itself what it is. */
#define LABEL_BYTES 24u
void label(void *block, size_t size, uint64_t colour);
/* NULL, or what is wrong with it. */
const char *read_label(const void *block, size_t usable, size_t *ret_size, uint64_t *ret_colour);

/* ---- account.c ------------------------------------------------------------------ */

/* The process is dead: what it had in hand may be lost. */
void settle(struct board *board, struct person *person);
/* Everybody is dead and reaped: compare the heaps with the tables.  0, or a word on stderr
 * and -1. */
int balance(struct soak *soak);
/* Free all that the tables know. */
void clear_tables(struct soak *soak);

/* ---- worker.c ------------------------------------------------------------------- */

int worker_run(struct soak *soak, unsigned worker);
int init_named_block(comap_heap *heap, comap_ref *cell, void *arg);
/* Attach (again) by what the board says. */
int soak_attach(struct soak *soak);

#endif
