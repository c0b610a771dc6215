/* exercise.c - a program that does a little of everything. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "fuzz/exercise.h"

#define KEPT 32u
#define WALK_MOST 20000u
#define ROOTS_MOST 100u

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

struct program {
	comap_heap *heap;
	char *at[KEPT];
	size_t size[KEPT]; /* what may be written there */
	unsigned n;        /* how many were kept so far: the next place is n % KEPT */
	unsigned skip;     /* so many blocks of a walk are not kept */
};

/* From 1 byte to 8 MiB, most of them small. */
static size_t size_of(uint8_t arg)
{
	static const size_t large[] = {
		60000,   65536,   65537,   70000,   131072,  200000,  1 << 20, 3 << 20,
		4128768, 4128769, 4 << 20, 5 << 20, 8 << 20, 9 << 20, (size_t)1 << 50, SIZE_MAX / 4,
	};

	if (arg < 128)
		return (size_t)arg + 1;
	return arg < 240 ? (size_t)(arg - 127) * 300 : large[arg - 240];
}

/* Both ends and something of each page; of big ones only some pages. */
static void scribble(char *p, size_t size, uint8_t with)
{
	size_t step = size / 64 > 4096 ? size / 64 : 4096;

	memset(p, with, size < 64 ? size : 64);
	for (size_t i = 0; i < size; i += step)
		p[i] = (char)with;
	if (size)
		p[size - 1] = (char)with;
}

static void keep(struct program *p, void *at, size_t size)
{
	if (!at)
		return;
	p->at[p->n % KEPT] = at;
	p->size[p->n % KEPT] = size;
	p->n++;
}

static unsigned pick(const struct program *p, uint8_t arg)
{
	return p->n ? arg % (p->n < KEPT ? p->n : KEPT) : 0;
}

static int keep_some(void *ptr, size_t size, void *arg)
{
	struct program *p = arg;

	/* a block of somebody else's: looked at, not written */
	if (p->skip)
		p->skip--;
	else
		keep(p, ptr, 0);
	(void)size;
	return p->n >= KEPT / 2;
}

static int count(void *ptr, size_t size, void *arg)
{
	unsigned *n = arg;

	(void)ptr;
	(void)size;
	return ++*n > WALK_MOST;
}

static int count_slot(const struct comap_slot_info *info, void *arg)
{
	unsigned *n = arg;

	(void)info;
	return ++*n > WALK_MOST;
}

static void on_finding(uint64_t offset, const char *what, void *arg)
{
	unsigned *n = arg;

	*n += (unsigned)(offset != 0) + (what[0] != 0);
}

static void on_misuse(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg)
{
	(void)heap;
	(void)what;
	(void)ptr;
	++*(unsigned *)arg;
}

/* ---- roots -------------------------------------------------------------------- */

static const char *root_name(uint8_t arg, char name[80])
{
	if (arg < 80)
		snprintf(name, 80, "root-%u", arg);
	else if (arg < 160)
		snprintf(name, 80, "new-%u", arg);
	else if (arg < 240)
		snprintf(name, 80, "%s", arg & 1 ? "once" : "none");
	else
		snprintf(name, 80, "%.*s\xc3\xa4%c", arg - 240, "long names and UTF-8", arg);
	return name;
}

static int init(comap_heap *heap, comap_ref *cell, void *arg)
{
	uint8_t how = *(uint8_t *)arg;
	comap_ref ref;

	if (how & 1)
		(void)comap_heap_malloc_to(heap, 40, cell);
	if (how & 2)
		(void)comap_root_get(heap, "root-1", &ref);
	if (!(how & 4))
		return 0;
	comap_heap_free_from(heap, cell);
	return -ECANCELED;
}

static void use_roots(struct program *p, unsigned what, uint8_t arg)
{
	struct comap_root_iter iter = {0};
	comap_ref ref = { .off = 0 };
	char name[80];

	root_name(arg, name);
	switch (what) {
	case 0:
		if (p->n)
			ref = comap_heap_ref(p->heap, p->at[pick(p, arg)]);
		(void)comap_root_set(p->heap, name, ref);
		break;
	case 1:
		if (comap_root_get(p->heap, name, &ref) == 0)
			keep(p, comap_heap_at_checked(p->heap, ref, 1), 0);
		break;
	case 2:
		(void)comap_root_delete(p->heap, name);
		break;
	case 3:
		(void)comap_root_once(p->heap, name, init, &arg, 1000000, &ref);
		break;
	default:
		for (unsigned i = 0; i < ROOTS_MOST && comap_root_next(p->heap, &iter) == 1; i++)
			(void)comap_heap_at_checked(p->heap, iter.ref, 8);
	}
}

/* ---- blocks --------------------------------------------------------------------- */

static void add(struct program *p, unsigned what, uint8_t arg)
{
	size_t size = size_of(arg);
	char *at = NULL;

	switch (what) {
	case 0:
		at = comap_heap_malloc(p->heap, size);
		break;
	case 1:
		at = comap_heap_calloc(p->heap, 1, size);
		break;
	case 2:
		at = comap_heap_aligned_alloc(p->heap, (size_t)1 << arg % 24, size);
		break;
	default:
		at = comap_heap_strdup(p->heap, "a text");
		size = 7;
	}
	if (at)
		scribble(at, size, (uint8_t)~arg);
	keep(p, at, size);
}

static void drop(struct program *p, uint8_t arg)
{
	unsigned i = pick(p, arg);

	if (!p->n)
		return;
	comap_heap_free(p->heap, p->at[i]);
	p->size[i] = 0;
	if (arg & 128)
		comap_heap_free(p->heap, p->at[i]); /* twice */
}

static void resize(struct program *p, uint8_t arg, uint8_t how)
{
	size_t size = size_of(how);
	unsigned i = pick(p, arg);
	char *at;

	if (!p->n)
		return;
	at = comap_heap_realloc(p->heap, p->at[i], size);
	if (!at)
		return;
	scribble(at, size, how);
	p->at[i] = at;
	p->size[i] = size;
}

/* A cell in one of our blocks gets a block, or gives it back. */
static void link_block(struct program *p, uint8_t arg, bool gives_back)
{
	unsigned i = pick(p, arg);
	comap_ref *cell = p->n && p->size[i] >= 16 ? (comap_ref *)(void *)p->at[i] : NULL;
	size_t size = size_of((uint8_t)(arg * 3));

	if (gives_back) {
		if (p->n) /* of any block: what stands there may be no ref */
			comap_heap_free_from(p->heap, (comap_ref *)(void *)p->at[i]);
	} else {
		char *at = comap_heap_malloc_to(p->heap, size, cell);

		if (at)
			scribble(at, size, arg);
	}
}

static void look_at(struct program *p, uint8_t arg)
{
	unsigned i = pick(p, arg);
	comap_ref ref = { .off = (uint64_t)arg << (arg & 31) };

	(void)comap_heap_at_checked(p->heap, ref, arg);
	if (!p->n)
		return;
	ref = comap_heap_ref(p->heap, p->at[i]);
	ref.off += arg;
	(void)comap_heap_at_checked(p->heap, ref, size_of(arg));
	(void)comap_heap_usable_size(p->heap, p->at[i]);
	(void)comap_heap_usable_size(p->heap, p->at[i] + arg);
}

/* Anything is freed: what begins no block is refused. */
static void free_wildly(struct program *p, uint8_t arg)
{
	char *base = *(char **)(void *)p->heap;

	comap_heap_free(p->heap, base + ((size_t)arg << 16));
	comap_heap_free(p->heap, base + (4 << 20) + ((size_t)arg << 12));
	comap_heap_free(p->heap, base + ((size_t)arg << 22) + 16);
	comap_heap_free(p->heap, base - arg);
}

static void lock_mutex(struct program *p, uint8_t arg)
{
	unsigned i = pick(p, arg);
	comap_mutex *mutex = (comap_mutex *)(void *)p->at[i];
	int err;

	if (!p->n || (uintptr_t)mutex % 8)
		return;
	if (arg & 64)
		err = comap_mutex_trylock(p->heap, mutex);
	else
		err = comap_mutex_lock_for(p->heap, mutex, 100000);
	if (err == 0 || err == -EOWNERDEAD)
		(void)comap_mutex_trylock(p->heap, mutex); /* ours already */
	(void)comap_mutex_unlock(p->heap, mutex);
}

static void manage(struct program *p, unsigned what, uint8_t arg)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	unsigned n = 0;

	switch (what) {
	case 0:
		(void)comap_heap_check(p->heap, on_finding, &n);
		break;
	case 1:
		(void)comap_heap_get_stats(p->heap, &stats);
		break;
	case 2:
		(void)comap_heap_reap(p->heap);
		break;
	case 3:
		(void)comap_heap_trim(p->heap);
		break;
	case 4:
		(void)comap_heap_set_quota(p->heap, (uint64_t)arg << 20);
		break;
	case 5:
		comap_heap_detach(p->heap);
		break;
	case 6:
		(void)comap_heap_slots(p->heap, count_slot, &n);
		break;
	default:
		p->n = 0;
		p->skip = arg;
		(void)comap_heap_walk(p->heap, keep_some, p);
	}
}

static void step(struct program *p, uint8_t what, uint8_t arg)
{
	what %= 32;
	if (what < 4)
		add(p, what, arg);
	else if (what < 7)
		drop(p, arg);
	else if (what < 10)
		resize(p, arg, (uint8_t)(arg * 5 + what));
	else if (what < 14)
		link_block(p, arg, what & 1);
	else if (what < 19)
		use_roots(p, what - 14u, arg);
	else if (what < 21)
		lock_mutex(p, arg);
	else if (what < 22)
		look_at(p, arg);
	else if (what < 23)
		free_wildly(p, arg);
	else if (what < 24)
		resize(p, arg, (uint8_t)(240 + arg % 14));
	else
		manage(p, what - 24u, arg);
}

void exercise(comap_heap *heap, const uint8_t *steps, size_t nbytes)
{
	struct program p = { .heap = heap };
	unsigned misuses = 0;

	comap_heap_on_misuse(heap, on_misuse, &misuses);
	for (size_t i = 0; i + 1 < nbytes; i += 2)
		step(&p, steps[i], steps[i + 1]);
	comap_heap_on_misuse(heap, NULL, NULL);
}

void exercise_round(comap_heap *heap)
{
	/* what is there; each kind of block; runs, huge ones, cells; roots; misuse, reap, trim */
	static const uint8_t steps[][2] = {
		{ 31, 0 },  { 21, 1 },	{ 21, 2 },  { 9, 3 },	 { 4, 0 },    { 4, 1 },
		{ 6, 130 }, { 20, 4 },	{ 0, 10 },  { 0, 63 },	 { 1, 200 },  { 2, 12 },
		{ 0, 239 }, { 0, 241 }, { 0, 243 }, { 3, 0 },	 { 0, 247 },  { 0, 250 },
		{ 1, 245 }, { 0, 254 }, { 10, 17 }, { 10, 20 },	 { 11, 20 },  { 14, 1 },
		{ 14, 90 }, { 15, 1 },	{ 16, 2 },  { 17, 201 }, { 17, 161 }, { 17, 85 },
		{ 18, 0 },  { 7, 17 },	{ 23, 18 }, { 23, 24 },	 { 8, 25 },   { 23, 26 },
		{ 23, 19 }, { 19, 16 }, { 20, 80 }, { 22, 3 },	 { 22, 64 },  { 22, 70 },
		{ 12, 18 }, { 13, 18 }, { 26, 0 },  { 27, 0 },	 { 29, 0 },   { 0, 1 },
		{ 0, 246 }, { 4, 17 },	{ 4, 18 },  { 4, 19 },	 { 4, 20 },   { 4, 21 },
		{ 4, 22 },  { 5, 23 },	{ 5, 24 },  { 5, 25 },	 { 5, 26 },   { 28, 1 },
		{ 0, 250 }, { 28, 0 },	{ 0, 252 }, { 0, 252 },	 { 6, 5 },    { 27, 0 },
		{ 24, 0 },  { 25, 0 },	{ 30, 0 },
	};

	exercise(heap, &steps[0][0], sizeof steps);
}

int exercise_look(comap_heap *heap)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	struct program p = { .heap = heap };
	unsigned n = 0;
	int err = comap_heap_check(heap, on_finding, &n);

	(void)comap_heap_get_stats(heap, &stats);
	n = 0;
	(void)comap_heap_slots(heap, count_slot, &n);
	n = 0;
	(void)comap_heap_walk(heap, count, &n);
	(void)comap_heap_walk(heap, keep_some, &p);
	for (unsigned i = 0; i < p.n; i++)
		look_at(&p, (uint8_t)i);
	use_roots(&p, 4, 0);
	use_roots(&p, 1, 1);
	use_roots(&p, 1, 34);
	use_roots(&p, 1, 201);
	return err;
}

/* ---- walls ------------------------------------------------------------------------- */

/* As much as there is room for, up to length bytes; where: -1 below `at`, 0 above. */
static size_t build(char *at, int where, size_t length, void **ret_wall)
{
	for (; length >= 4096; length /= 16) {
		char *from = at + where * (ptrdiff_t)length;
		void *got = mmap(from, length, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

		*ret_wall = got;
		if (got == from)
			return length;
		if (got != MAP_FAILED) /* a kernel before 4.17 */
			munmap(got, length);
	}
	return 0;
}

struct exercise_walls exercise_wall_in(const comap_heap *heap, uint64_t size)
{
	const size_t length = 256 << 20;
	char *base = *(char *const *)(const void *)heap;
	struct exercise_walls walls = {0};

	walls.length[0] = build(base, -1, length, &walls.wall[0]);
	walls.length[1] = build(base + size, 0, length, &walls.wall[1]);
	return walls;
}

void exercise_wall_out(const struct exercise_walls *walls)
{
	for (unsigned i = 0; i < 2; i++)
		if (walls->length[i])
			munmap(walls->wall[i], walls->length[i]);
}

/* ---- the watch ------------------------------------------------------------------------ */

static timer_t timers[2]; /* processor time, the clock */
static pid_t timers_of;
static const char *volatile watched = "";

static void on_time(int sig, siginfo_t *info, void *context)
{
	static const char *const text[] = { "takes too much processor time: ", "hangs: " };
	const char *say = text[info->si_value.sival_int];

	(void)sig;
	(void)context;
	(void)!write(2, say, strlen(say));
	(void)!write(2, watched, strlen(watched));
	(void)!write(2, "\n", 1);
	abort();
}

static void make_timers(void)
{
	static const clockid_t clocks[] = { CLOCK_PROCESS_CPUTIME_ID, CLOCK_MONOTONIC };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF };

	struct sigaction action = { .sa_sigaction = on_time, .sa_flags = SA_SIGINFO };

	sigaction(SIGPROF, &action, NULL);
	for (int i = 0; i < 2; i++) {
		event.sigev_value.sival_int = i;
		if (timer_create(clocks[i], &event, &timers[i]) < 0)
			abort();
	}
	timers_of = getpid();
}

static void set_timers(unsigned seconds)
{
	struct itimerspec spec = { .it_value = { .tv_sec = seconds } };

	timer_settime(timers[0], 0, &spec, NULL);
	spec.it_value.tv_sec *= 20; /* other tests run beside this one */
	timer_settime(timers[1], 0, &spec, NULL);
}

void watch_begin(const char *what, unsigned seconds)
{
	if (timers_of != getpid())
		make_timers();
	watched = what;
	set_timers(seconds);
}

void watch_end(void)
{
	set_timers(0);
}
