/*
 * rows.c - the workloads of the malloc benchmark, one row a run:
 *
 *	bench_PEER ROW [SECONDS]
 *
 * prints "VALUE UNIT" and checks its own work: each block carries a number that is looked at
 * before it is freed; a wrong one ends the program with status 3.
 *
 * Workers are pinned to one processor each: unpinned, both often share one, and no cache line ever
 * moves between them.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "peer.h"

#include <stdlib.h> /* exit; peers' headers may have more of it */

static double seconds = 0.2;

static double now(void)
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

static void wrong(const char *what)
{
	fprintf(stderr, "wrong: %s\n", what);
	_exit(3);
}

static void pin(int cpu)
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

static void *zeroed(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static inline size_t small(uint64_t r)
{
	return 16 + (r >> 20) % 1009;
}

/* ---- one worker ------------------------------------------------------------------ */

static double pair64(void)
{
	double start = now(), took;
	uint64_t n = 0;

	do {
		for (unsigned i = 0; i < 10000; i++, n++)
			drop(stamped(64, n), n);
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

/* Replace random ones of `live` blocks of 16 to 1024 bytes. */
static void **fill(unsigned live)
{
	void **at = zeroed(live * sizeof *at);
	uint64_t random = 1;

	for (unsigned i = 0; i < live; i++)
		at[i] = stamped(small(next(&random)), i);
	return at;
}

static double churn_of(unsigned live)
{
	void **at = fill(live);
	uint64_t random = 2, n = 0, r;
	double start, took;
	unsigned i;

	for (unsigned k = 0; k < live; k++) { /* as it is after a while */
		i = (unsigned)((next(&random) >> 32) % live);
		drop(at[i], i);
		at[i] = stamped(small(next(&random)), i);
	}
	start = now();
	do {
		for (unsigned k = 0; k < 10000; k++, n++) {
			r = next(&random);
			i = (unsigned)((r >> 32) % live);
			drop(at[i], i);
			at[i] = stamped(small(r), i);
		}
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

static double churn10k(void)
{
	return churn_of(10000);
}

static double churn1m(void)
{
	return churn_of(1000000);
}

static double bulk(void)
{
	enum { N = 10000 };
	static void *at[N];
	double start = now(), took;
	uint64_t n = 0, random;

	do {
		random = 3;
		for (unsigned i = 0; i < N; i++)
			at[i] = stamped(small(next(&random)), i);
		for (unsigned i = 0; i < N; i++)
			drop(at[i], i);
		n += N;
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

static double first_fill(void)
{
	double start = now();

	(void)fill(1000000);
	return 1 / (now() - start);
}

static double large(void)
{
	enum { N = 32 };
	char *at[N] = {0};
	uint64_t random = 4, n = 0, r, size;
	double start = 0, took = 0;
	unsigned i;

	for (unsigned round = 0; round < 3 || took < seconds; round++) {
		if (round == 2)
			start = now();
		for (unsigned k = 0; k < 200; k++) {
			r = next(&random);
			i = (unsigned)(r >> 32) % N;
			if (at[i])
				drop(at[i], i);
			size = (64u << 10) << (r >> 40) % 6;
			size += (r >> 8) % size;
			at[i] = stamped(size, i);
			at[i][size - 1] = 1;
		}
		if (round >= 2) {
			n += 200;
			took = now() - start;
		}
	}
	return (double)n / took / 1e3;
}

static double realloc_growth(void)
{
	double start = now(), took;
	uint64_t n = 0;

	do {
		for (unsigned turn = 0; turn < 20; turn++) {
			uint64_t *p[4] = {0};

			for (size_t size = 16; size < 256 << 10; size += size / 2)
				for (unsigned i = 0; i < 4; i++, n++) {
					p[i] = peer_realloc(p[i], size);
					if (!p[i] || (size > 16 && *p[i] != i))
						wrong("realloc lost the content");
					*p[i] = i;
				}
			for (unsigned i = 0; i < 4; i++)
				drop(p[i], i);
		}
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e3;
}

static double calloc_churn(void)
{
	enum { LIVE = 10000 };
	static uint64_t *at[LIVE];
	uint64_t random = 5, n = 0, r;
	double start = now(), took;
	size_t size;
	unsigned i;

	do {
		for (unsigned k = 0; k < 10000; k++, n++) {
			r = next(&random);
			i = (unsigned)((r >> 32) % LIVE);
			if (at[i])
				drop(at[i], ~0ull);
			size = small(r) & ~7ul;
			at[i] = peer_calloc(1, size);
			if (!at[i] || at[i][0] || at[i][size / 8 - 1])
				wrong("calloc is not zero");
			at[i][0] = at[i][size / 8 - 1] = ~0ull;
		}
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

/* ---- two workers -------------------------------------------------------------------- */

#define CELLS 2000u
#define RING 4096u

struct shared {
	_Atomic(void *) cell[CELLS];
	_Alignas(64) _Atomic uint64_t head;
	_Alignas(64) _Atomic uint64_t tail;
	_Atomic(void *) ring[RING];
	_Alignas(64) _Atomic uint64_t n[2];
	_Atomic uint32_t ready, stop;
};
static struct shared *shared;

/* Larson and Krishnan 1998, in short: what one put there the other frees. */
static void larson_worker(int me)
{
	uint64_t random = 6 + (uint64_t)me, n = 0, r;
	uint64_t *old;

	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed))
		for (unsigned k = 0; k < 1000; k++, n++) {
			r = next(&random);
			old = atomic_exchange(&shared->cell[(r >> 32) % CELLS],
					      stamped(small(r) & ~15ul, 7));
			if (old)
				drop(old, 7);
		}
	shared->n[me] = n;
}

static void pipe_worker(int me)
{
	uint64_t n = 0, random = 8;
	void *p;

	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed))
		for (unsigned k = 0; k < 100; k++) {
			if (me == 0 &&
			    n - atomic_load_explicit(&shared->tail, memory_order_acquire) < RING) {
				p = stamped(small(next(&random)), n);
				atomic_store_explicit(&shared->ring[n % RING], p, memory_order_relaxed);
				atomic_store_explicit(&shared->head, ++n, memory_order_release);
			} else if (me == 1 &&
				   n < atomic_load_explicit(&shared->head, memory_order_acquire)) {
				p = atomic_load_explicit(&shared->ring[n % RING], memory_order_relaxed);
				drop(p, n);
				atomic_store_explicit(&shared->tail, ++n, memory_order_release);
			}
		}
	shared->n[me] = me ? n : 0; /* each block counts once */
}

static void (*worker)(int me);

static void *work(void *arg)
{
	int me = (int)(intptr_t)arg;

	pin(me);
	shared->ready++;
	while (shared->ready < 2)
		;
	worker(me);
	return NULL;
}

static void start(int me, pthread_t *ret_thread, pid_t *ret_pid)
{
	if (!peer_is_shared) {
		if (pthread_create(ret_thread, NULL, work, (void *)(intptr_t)me) != 0)
			wrong("no thread");
		return;
	}
	*ret_pid = fork();
	if (*ret_pid < 0)
		wrong("no process");
	if (*ret_pid == 0) {
		work((void *)(intptr_t)me);
		_exit(0);
	}
}

static double two_workers(void (*fn)(int me))
{
	struct timespec nap = { .tv_nsec = 1000000 };
	pthread_t thread[2];
	pid_t pid[2];
	double begin, took;
	int status;

	shared = zeroed(sizeof *shared);
	worker = fn;
	for (int i = 0; i < 2; i++)
		start(i, &thread[i], &pid[i]);
	while (shared->ready < 2)
		nanosleep(&nap, NULL);
	begin = now();
	nap.tv_nsec = (long)(seconds * 1e9) % 1000000000;
	nap.tv_sec = (time_t)seconds;
	nanosleep(&nap, NULL);
	shared->stop = 1;
	took = now() - begin;
	for (int i = 0; i < 2; i++)
		if (!peer_is_shared)
			pthread_join(thread[i], NULL);
		else if (waitpid(pid[i], &status, 0) < 0 || status != 0)
			wrong("a worker failed");
	return (double)(shared->n[0] + shared->n[1]) / took / 1e6;
}

static double larson(void)
{
	return two_workers(larson_worker);
}

static double producer_consumer(void)
{
	return two_workers(pipe_worker);
}

/* ---- footprint ----------------------------------------------------------------------- */

static size_t resident(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long size = 0, rss = 0;

	if (!f || !fgets(line, sizeof line, f) || sscanf(line, "%lu %lu", &size, &rss) != 2)
		wrong("no statm");
	fclose(f);
	return rss * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t held(size_t before)
{
	size_t rss = resident() - before, stored = peer_stored();

	return rss > stored ? rss : stored;
}

static double footprint_churn(void)
{
	enum { LIVE = 1000000 };
	uint32_t *size = zeroed(LIVE * sizeof *size);
	void **at = zeroed(LIVE * sizeof *at);
	uint64_t random = 9, live = 0, r;
	size_t before;

	memset(at, 1, LIVE * sizeof *at);
	memset(at, 0, LIVE * sizeof *at);
	memset(size, 1, LIVE * sizeof *size);
	before = resident();
	for (unsigned k = 0; k < 4 * LIVE; k++) {
		unsigned i = k < LIVE ? k : (unsigned)((next(&random) >> 32) % LIVE);

		if (at[i]) {
			live -= size[i];
			drop(at[i], i);
		}
		r = next(&random);
		size[i] = (uint32_t)small(r);
		at[i] = stamped(size[i], i);
		memset((char *)at[i] + 8, 1, size[i] - 8);
		live += size[i];
	}
	return (double)held(before) / (double)live;
}

/* Sizes shift: each phase has its own range, what is live shrinks and grows. */
static double footprint_shifting(void)
{
	enum { LIVE = 100000, OPS = 10000000, SAMPLES = 200 };
	uint32_t *size = zeroed(LIVE * sizeof *size);
	void **at = zeroed(LIVE * sizeof *at);
	uint64_t random = 10, live = 0, r;
	double sum = 0;
	size_t before;

	memset(at, 1, LIVE * sizeof *at);
	memset(at, 0, LIVE * sizeof *at);
	memset(size, 1, LIVE * sizeof *size);
	before = resident();
	for (unsigned k = 0; k < OPS; k++) {
		unsigned phase = k / (OPS / 20), i;

		r = next(&random);
		i = (unsigned)((r >> 32) % LIVE);
		if (at[i]) {
			live -= size[i];
			drop(at[i], i);
			at[i] = NULL;
			if (phase % 3 == 2 && r % 4)
				continue;
		}
		size[i] = 16 + (uint32_t)((r >> 8) % (64u << phase % 7));
		at[i] = stamped(size[i], i);
		memset((char *)at[i] + 8, 1, size[i] - 8);
		live += size[i];
		if (k % (OPS / SAMPLES) == OPS / SAMPLES - 1)
			sum += (double)held(before) / (double)live;
	}
	return sum / SAMPLES;
}

/* ---------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *unit;
	double (*run)(void);
} rows[] = {
	{ "pair64", "M/s", pair64 },
	{ "churn10k", "M/s", churn10k },
	{ "churn1m", "M/s", churn1m },
	{ "larson", "M/s", larson },
	{ "pipe", "M/s", producer_consumer },
	{ "large", "k/s", large },
	{ "realloc", "k/s", realloc_growth },
	{ "calloc", "M/s", calloc_churn },
	{ "bulk", "M/s", bulk },
	{ "fill", "M/s", first_fill },
	{ "footprint", "x live", footprint_churn },
	{ "shifting", "x live", footprint_shifting },
};

int main(int argc, char **argv)
{
	if (argc > 2)
		seconds = strtod(argv[2], NULL);
	for (unsigned i = 0; argc > 1 && i < sizeof rows / sizeof *rows; i++)
		if (strcmp(argv[1], rows[i].name) == 0) {
			peer_begin();
			pin(0);
			printf("%.6g %s\n", rows[i].run(), rows[i].unit);
			return 0;
		}
	fprintf(stderr, "usage: %s ROW [SECONDS]\n", argv[0]);
	return 2;
}
