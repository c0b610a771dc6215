/*
 * way.h - tasks, ways to do them, and what was seen.
 *
 * A task is some work on the stage's files.  A way is a function that does it and returns
 * a sum of all it saw, which must be the task's: who skips something is not fast, but wrong.
 * It runs in a process of its own, so that page tables, peaks and faults are its own, too.
 */
#ifndef WAY_H
#define WAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define BLOCK (256 * KIB) /* what read and write take at a time */
#define SMALL_FILE (8 * KIB)

enum { ROUNDS_OF_UPDATES = 4, UPDATES_A_ROUND = 100, PLACE = 64 };

/* How the file came into the page cache, or not. */
enum state { LARGE_FOLIOS, SMALL_FOLIOS, COLD, NSTATES };
extern const char *const state_names[NSTATES];

enum family { READS, MAPS, KERNEL, COMAP, NFAMILIES };
extern const char *const family_names[NFAMILIES];

struct way {
	const char *name;
	uint64_t (*run)(int arg); /* in a child */
	int arg;
	enum family family;
};

struct task {
	const char *key, *title, *piece; /* piece: what n counts; NULL: bytes count */
	const struct way *ways;
	uint64_t (*want)(void);           /* the sum; by plain read, or as it was made */
	uint64_t (*look)(void);           /* the sum of what a way made, read back; or NULL */
	uint64_t (*bytes)(void);
	unsigned (*count)(enum state state); /* pieces; NULL: one */
	void (*evict)(void);                 /* before each cold run */
	bool is_of_file;                     /* on stage.file, whose folios matter */
};
extern const struct task scan_task, random4k_task, random64_task, few_task, many_task, copy_task,
	write_task, update_task;

/* Where it all happens. */
struct stage {
	const char *file; /* read only: it may be the user's */
	uint64_t size;    /* of it */
	char folder[512]; /* ours, for all that is made; removed in the end */
	uint64_t made;    /* bytes of the files that are written, copied and updated */
	unsigned nfiles;
	unsigned nplaces; /* of the random task that runs */
	uint32_t serial;  /* of the run: what it writes differs from what others wrote */
	uint64_t many_sum;
};
extern struct stage stage;

/* ---- measure.c ------------------------------------------------------------ */

struct figures {
	bool is_there;
	char why_not[64];
	double seconds, cpu_seconds;
	long minor, major;
	uint64_t peak; /* bytes resident at most */
};

enum { WAYS_MOST = 16, OUTCOMES_MOST = 24 };

/* One table. */
struct outcome {
	const struct task *task;
	enum state state;
	uint64_t bytes;
	unsigned n; /* pieces */
	int nways, best;
	struct figures ways[WAYS_MOST];
};
extern struct outcome outcomes[OUTCOMES_MOST];
extern int noutcomes;

/* All ways of a task, in turns; the medians make an outcome. */
const struct outcome *measure(const struct task *task, enum state state, int rounds);
double rate_of(const struct outcome *o, int way);     /* GB/s, or pieces a second */
int best_of_family(const struct outcome *o, enum family family); /* -1: none */
const struct outcome *outcome_of(const struct task *task, enum state state); /* NULL: none */
const char *state_of(const struct outcome *o);

_Noreturn void not_here(const char *format, ...) __attribute__((format(printf, 1, 2))); /* in a way */

/* ---- files.c ------------------------------------------------------------------ */

/* A file of random numbers; what: said on a terminal, with how far it is. */
void make_file(const char *path, uint64_t size, const char *what);
/* Put the file out of the page cache, and with a warm state in again.  False: it does not go. */
bool settle(const char *path, enum state state);
bool evict(const char *path);
unsigned stray_reads(void); /* as many small reads make SMALL_FOLIOS */
const char *in_folder(const char *name); /* a path, good until the next one but three */
const char *small_path(unsigned i);
uint64_t make_small_files(void); /* their sum */
uint64_t size_of_file(void);     /* stage.size, for struct task */
uint64_t next_random(uint64_t *x);

/* Sums of little-endian words, the last one filled up with zeroes; in pieces of any length. */
struct summer {
	uint64_t sum, at;
};
void sum_more(struct summer *s, const void *data, size_t n);
uint64_t sum_of(const void *data, size_t n);
uint64_t sum_of_file(const char *path);

int open_or_die(const char *path, int flags);
void *map_or_die(int fd, uint64_t size, int prot, int flags);
void *memory_or_die(size_t size);
void advise_or_skip(void *at, uint64_t size, int advice); /* 0: none */

/* ---- random.c: places to look at, always the same ones -------------------------- */

struct places {
	uint64_t seed, nslots, sum;
	size_t size;
};
struct places places_of(size_t size);
uint64_t places_next(struct places *p);
void places_saw(struct places *p, const void *bytes); /* in this order */

/* ---- uring.c: not_here() without liburing ---------------------------------------- */

uint64_t uring_scan(int arg);
uint64_t uring_random(int size);
uint64_t uring_many(int arg);
uint64_t uring_write(int arg);

/* ---- table.c, chart.c ------------------------------------------------------------ */

void print_outcome(const struct outcome *o);
void print_sentences(void);
void draw_charts(const char *folder);

#endif
