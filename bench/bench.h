/*
 * bench.h - what the rows share.  Each block carries a number that is looked at before it is freed;
 * a wrong one ends the program with status 3.
 */
#ifndef BENCH_H
#define BENCH_H

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "peer.h"

#include <stdlib.h> /* exit; peers' headers may have more of it */

extern double seconds; /* how long a row runs */

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline uint64_t next(uint64_t *x) /* xorshift64*, Vigna 2016 */
{
	*x ^= *x >> 12;
	*x ^= *x << 25;
	*x ^= *x >> 27;
	return *x * 0x2545f4914f6cdd1dull;
}

static inline void wrong(const char *what)
{
	fprintf(stderr, "wrong: %s\n", what);
	_exit(3);
}

/* This peer has nothing of the kind. */
static inline void not_here(const char *what)
{
	fprintf(stderr, "not here: %s\n", what);
	_exit(4);
}

/* Workers are pinned to one processor each: unpinned, both often share one, and no cache line ever
 * moves between them. */
static inline void pin(int cpu)
{
	cpu_set_t set;
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	CPU_ZERO(&set);
	CPU_SET((size_t)(cpu % (n < 1 ? 1 : n)), &set);
	(void)sched_setaffinity(0, sizeof set, &set);
}

static inline void *stamped(size_t size, uint64_t stamp)
{
	uint64_t *p = peer_malloc(size);

	if (!p)
		wrong("no memory");
	*p = stamp;
	return p;
}

static inline void drop(void *p, uint64_t stamp)
{
	if (*(volatile uint64_t *)p != stamp)
		wrong("a block changed while it was ours");
	peer_free(p);
}

/* Zeroes, shared with children. */
static inline void *zeroed(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static inline int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double median(double *values, unsigned n)
{
	qsort(values, n, sizeof *values, by_value);
	return values[n / 2];
}

static inline size_t small(uint64_t r)
{
	return 16 + (r >> 20) % 1009;
}

struct row {
	const char *name, *unit;
	double (*run)(void);
	bool is_alone; /* makes its heap itself: peer_begin is not called */
};
extern const struct row one_worker[], two_workers[], footprints[], files[], deaths[];

#endif
