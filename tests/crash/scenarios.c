/* scenarios.c - every operation that changes shared memory, to be stepped. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "crash/stepper.h"

static void *get(struct world *w, size_t size)
{
	void *p = comap_heap_malloc(w->heap, size);

	journal_add(w, p, size);
	return p;
}

static void put(struct world *w, void *p)
{
	journal_doubt(w, p);
	comap_heap_free(w->heap, p);
	journal_settled(w);
}

static void stock(struct world *w, unsigned n, size_t size)
{
	while (n--)
		get(w, size);
}

static void *block(struct world *w, unsigned i)
{
	return comap_heap_at(w->heap, (comap_ref){ w->journal->off[i] });
}

/* ---- malloc and friends --------------------------------------------------------- */

static void some_blocks(struct world *w)
{
	stock(w, 4, 64);
	stock(w, 2, 1000);
	stock(w, 2, 30000);
}

static void step_malloc(struct world *w)
{
	stock(w, 3, 64);
	stock(w, 1, 1000);
	stock(w, 1, 30000);
}

static void step_free(struct world *w)
{
	put(w, block(w, 0));
	put(w, block(w, 1));
	put(w, block(w, 3));
}

static void full_slab(struct world *w)
{
	stock(w, 16, 8192); /* two slabs of 8 */
	stock(w, 1, 64);
}

/* A slab leaves its list when full, comes back when one is freed. */
static void step_full(struct world *w)
{
	void *p = block(w, 3);

	put(w, p);
	get(w, 8192);
	put(w, block(w, 9));
	put(w, block(w, 2));
	stock(w, 2, 8192);
}

static void step_calloc(struct world *w)
{
	static const size_t sizes[] = { 60, 900 };

	for (unsigned i = 0; i < 2; i++) {
		unsigned char *p = comap_heap_calloc(w->heap, 1, sizes[i]);

		for (size_t k = 0; k < sizes[i]; k += 59)
			if (p[k])
				abort();
		journal_add(w, p, sizes[i]);
	}
}

static void one_run(struct world *w)
{
	some_blocks(w);
	get(w, 200000);
	get(w, 64);
}

/* Same place, other size; the content up to the smaller of the two stays. */
static void resize(struct world *w, unsigned i, size_t size)
{
	struct journal *j = w->journal;
	void *p = block(w, i), *q;

	if (size < j->size[i]) {
		((volatile unsigned char *)p)[size - 1] = 0; /* fill() puts the right byte there */
		j->size[i] = 0;
		fill(w->heap, p, size);
		j->size[i] = size;
	}
	q = comap_heap_realloc(w->heap, p, size);
	if (q != p)
		abort();
	if (size > j->size[i]) {
		j->size[i] = 0;
		fill(w->heap, p, size);
		j->size[i] = size;
	}
}

static void step_realloc_in_place(struct world *w)
{
	resize(w, 8, 320000); /* takes units behind it */
	resize(w, 8, 70000);  /* gives them back */
	resize(w, 8, 90000);
	resize(w, 9, 60);
}

static void one_huge(struct world *w)
{
	get(w, 64);
	get(w, 5 << 20);
}

static void step_realloc_huge(struct world *w)
{
	resize(w, 1, 7 << 20);
	resize(w, 1, 9 << 20);
	resize(w, 1, 5 << 20);
}

static void move(struct world *w, void *p, size_t had, size_t size)
{
	unsigned char first = *(unsigned char *)p;
	unsigned char *q;

	(void)had;
	journal_doubt(w, p);
	q = comap_heap_realloc(w->heap, p, size);
	if (!q || q == p || *q != first)
		abort();
	journal_add(w, q, size);
	journal_settled(w);
}

static void step_realloc_moving(struct world *w)
{
	move(w, block(w, 0), 64, 300);
	move(w, block(w, 8), 200000, 1000);
	move(w, block(w, 2), 64, 100000);
}

static void step_aligned(struct world *w)
{
	static const size_t aligns[] = { 256, 4096, 65536, 1 << 17, 1 << 21, 1 << 22 };

	for (unsigned i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
		void *p = comap_heap_aligned_alloc(w->heap, aligns[i], 100);

		if ((uintptr_t)p % aligns[i])
			abort();
		journal_add(w, p, 100);
	}
}

static void step_large_units(struct world *w)
{
	void *p = get(w, 100000), *q = get(w, 1 << 20);

	put(w, p);
	get(w, 300000);
	put(w, q);
}

static void step_large_segments(struct world *w)
{
	void *p = get(w, 4200000), *q = get(w, 9 << 20);

	put(w, p);
	get(w, 4 << 20);
	put(w, q);
}

static void step_new_slab(struct world *w)
{
	static const size_t sizes[] = { 16, 100, 3328, 6600, 20000 };

	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		get(w, sizes[i]);
}

static void three_slabs(struct world *w)
{
	stock(w, 20, 8192);
	stock(w, 10, 60000);
}

static void step_slab_emptied(struct world *w)
{
	void *p[8];

	for (unsigned i = 0; i < 8; i++)
		p[i] = block(w, i);
	for (unsigned i = 0; i < 8; i++)
		put(w, p[i]);
	for (unsigned i = 0; i < 8; i++)
		p[i] = comap_heap_at(w->heap, (comap_ref){ w->journal->off[w->journal->n - 1 - i] });
	for (unsigned i = 0; i < 8; i++)
		put(w, p[i]);
}

static void step_growth(struct world *w)
{
	get(w, 100000);   /* the first segment */
	get(w, 10 << 20); /* three more */
	get(w, 3900000);
	get(w, 3900000);
}

/* ---- memory goes back -------------------------------------------------------------- */

static void dirty_heap(struct world *w)
{
	void *p[6];

	stock(w, 3, 64);
	p[0] = get(w, 100000);
	p[1] = get(w, 8000);
	stock(w, 1, 150000);
	p[2] = get(w, 300000);
	p[3] = get(w, 20000);
	stock(w, 1, 64);
	p[4] = get(w, 3 << 20);
	for (unsigned i = 0; i < 5; i++)
		put(w, p[i]);
}

static void step_trim(struct world *w)
{
	comap_heap_trim(w->heap);
}

/* dirty_max is 1 MiB: freeing more than that punches. */
static void step_purge(struct world *w)
{
	void *p = get(w, 1500000), *q = get(w, 5 << 20);

	put(w, p);
	put(w, q);
}

/* ---- publish ----------------------------------------------------------------------- */

#define CELLS 6

static void cells(struct world *w)
{
	comap_ref *cell = comap_heap_calloc(w->heap, CELLS, sizeof *cell);

	journal_add(w, cell, 0);
	for (unsigned i = 0; i < CELLS; i++)
		journal_cell(w, &cell[i]);
	stock(w, 7, 8192);
}

static const size_t cell_sizes[CELLS] = { 64, 64, 8192, 8192, 200000, 5 << 20 };

static comap_ref *cell(struct world *w, unsigned i)
{
	return comap_heap_at(w->heap, (comap_ref){ w->journal->cell[i] });
}

static void step_malloc_to(struct world *w)
{
	for (unsigned i = 0; i < CELLS; i++)
		if (!comap_heap_malloc_to(w->heap, cell_sizes[i], cell(w, i)))
			abort();
}

static void full_cells(struct world *w)
{
	cells(w);
	step_malloc_to(w);
}

static void step_free_from(struct world *w)
{
	for (unsigned i = 0; i < CELLS; i++)
		comap_heap_free_from(w->heap, cell(w, i));
}

/* Runs of two units each that are freed: units with all their storage, and marks.  Below dirty_max,
 * or they would be punched. */
static void free_runs(struct world *w, unsigned n)
{
	void *p[7];

	for (unsigned i = 0; i < n; i++)
		p[i] = get(w, 2 * 65536);
	for (unsigned i = 0; i < n; i++)
		put(w, p[i]);
}

static void warm_units(struct world *w)
{
	cells(w);
	free_runs(w, 6);
}

/* Runs become blocks in the record that takes them; runs, slabs and a huge block over old marks. */
static void step_warm_runs(struct world *w)
{
	void *p;

	if (!comap_heap_malloc_to(w->heap, 120000, cell(w, 0)) ||
	    !comap_heap_malloc_to(w->heap, 250000, cell(w, 1)))
		abort();
	comap_heap_free_from(w->heap, cell(w, 0));
	p = get(w, 300000);
	comap_heap_free_from(w->heap, cell(w, 1));
	get(w, 3328);
	put(w, p);
	p = get(w, 5 << 20);
	put(w, p);
	get(w, 100000);
}

/* A split segment that is all free, with marks. */
static void all_warm(struct world *w)
{
	free_runs(w, 7);
}

/* It becomes a huge block; it goes back to the system. */
static void step_over_marks(struct world *w)
{
	void *p = get(w, 4 << 20);

	get(w, 100000);
	put(w, p);
}

/* A run grows into units with marks of runs that were there. */
static void run_before_marks(struct world *w)
{
	get(w, 64);
	get(w, 200000);
	free_runs(w, 6);
}

static void step_grow_over_marks(struct world *w)
{
	resize(w, 1, 500000);
	resize(w, 1, 70000);
	get(w, 120000);
}

static void step_trim_marks(struct world *w)
{
	comap_heap_trim(w->heap);
	get(w, 100000);
}

/* ---- magazines ----------------------------------------------------------------------- */

#define HOT 700   /* bytes: a class that has a magazine */
#define BIG 8000  /* and one whose slab has 8 blocks: a magazine spans several */

/* So many calls that the class gets its magazine, and the blocks stay. */
static void hot_class(struct world *w)
{
	stock(w, 40, HOT);
}

static void drop(struct world *w, unsigned n)
{
	while (n--)
		put(w, block(w, w->journal->n - 1));
}

static void half_full(struct world *w)
{
	hot_class(w);
	drop(w, 2);
}

static void step_magazine(struct world *w)
{
	get(w, HOT);
	put(w, block(w, 5));
	put(w, block(w, 7));
	get(w, HOT);
	stock(w, 1, HOT);
}

/* The class is about to be hot. */
static void nearly_hot(struct world *w)
{
	stock(w, 14, HOT);
}

static void step_refill(struct world *w)
{
	stock(w, 14, HOT);
}

static void step_flush(struct world *w)
{
	drop(w, 14);
}

static void hot_big(struct world *w)
{
	stock(w, 60, BIG);
}

/* Refills that need new slabs; flushes that empty them. */
static void step_refill_big(struct world *w)
{
	stock(w, 12, BIG);
}

static void step_flush_big(struct world *w)
{
	drop(w, 34);
}

static void hot_cells(struct world *w)
{
	cells(w);
	stock(w, 40, 64);
	stock(w, 40, 8192);
	drop(w, 2);
}

static void hot_full_cells(struct world *w)
{
	hot_cells(w);
	step_malloc_to(w);
}

static void two_hot_classes(struct world *w)
{
	hot_class(w);
	hot_big(w);
	drop(w, 1);
	put(w, block(w, 3));
}

/* Idle magazines and unwanted storage, a period is nearly over. */
static void decaying(struct world *w)
{
	if (comap_heap_set_decay(w->heap, 1) < 0)
		abort();
	two_hot_classes(w);
	for (unsigned i = 0; i < 3; i++)
		comap_heap_free(w->heap, comap_heap_malloc(w->heap, 200000));
	usleep(10000);
	for (unsigned i = 0; i < 64; i++)
		(void)comap_heap_set_quota(w->heap, 0);
	usleep(10000);
}

static void step_decay(struct world *w)
{
	for (unsigned i = 0; i < 64; i++)
		(void)comap_heap_set_quota(w->heap, 0);
}

/* The same way thrice: the next batches are long. */
static void long_refills(struct world *w)
{
	stock(w, 300, HOT);
}

static void step_long_refill(struct world *w)
{
	stock(w, 70, HOT);
}

static void long_flushes(struct world *w)
{
	stock(w, 400, HOT);
	drop(w, 250);
}

static void step_long_flush(struct world *w)
{
	drop(w, 70);
}

/* A dead thread left a slot and full magazines; its heir is stepped. */
static void testator(struct world *w)
{
	pid_t pid = fork();

	if (pid == 0) {
		two_hot_classes(w);
		while (w->journal->n)
			drop(w, 1);
		raise(SIGKILL);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) < 0)
		abort();
}

static void step_inherit(struct world *w)
{
	stock(w, 3, HOT);
	put(w, block(w, 1));
}

/* ---- roots --------------------------------------------------------------------------- */

/* What "it" may refer to: note[0] before the call, note[1] after; 1: it is not there. */
static const char *verify_root(comap_heap *heap, const struct journal *j)
{
	comap_ref ref = { 1 };
	int err = comap_root_get(heap, "it", &ref);

	if (err < 0 && ref.off != 1)
		return "a root that is not there has a value";
	return ref.off == j->note[0] || ref.off == j->note[1] ? NULL : "a root has a value nobody gave it";
}

static void expect_root(struct world *w, uint64_t before, uint64_t after)
{
	/* both are right while the call runs */
	w->journal->note[0] = before;
	w->journal->note[1] = after;
}

static void no_root(struct world *w)
{
	stock(w, 3, 64);
	expect_root(w, 1, 1);
}

static void step_root_set(struct world *w)
{
	struct journal *j = w->journal;

	expect_root(w, 1, j->off[0]);
	if (comap_root_set(w->heap, "it", (comap_ref){ j->off[0] }) < 0)
		abort();
	expect_root(w, j->off[0], j->off[1]);
	if (comap_root_set(w->heap, "it", (comap_ref){ j->off[1] }) < 0)
		abort();
	expect_root(w, j->off[1], j->off[1]);
}

static void one_root(struct world *w)
{
	stock(w, 3, 64);
	expect_root(w, w->journal->off[0], w->journal->off[0]);
	comap_root_set(w->heap, "it", (comap_ref){ w->journal->off[0] });
}

static void step_root_delete(struct world *w)
{
	expect_root(w, w->journal->off[0], 1);
	if (comap_root_delete(w->heap, "it") < 0)
		abort();
	expect_root(w, 1, 1);
}

static void many_roots(struct world *w)
{
	char name[16];

	no_root(w);
	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "root %u", i);
		if (comap_root_set(w->heap, name, COMAP_NULL) < 0)
			abort();
	}
}

static int init_it(comap_heap *heap, comap_ref *to, void *arg)
{
	struct world *w = arg;

	if (comap_ref_is_null(*to) && !comap_heap_malloc_to(heap, 100, to))
		abort();
	w->journal->note[2] = 1;
	return 0;
}

static void step_root_once(struct world *w)
{
	comap_ref ref;

	w->journal->note[3] = 1;
	if (comap_root_once(w->heap, "it", init_it, w, COMAP_FOREVER, &ref) < 0)
		abort();
	w->journal->note[4] = ref.off;
}

static int adopt_it(comap_heap *heap, comap_ref *to, void *arg)
{
	*(int *)arg += 1;
	return comap_ref_is_null(*to) && !comap_heap_malloc_to(heap, 100, to) ? -12 : 0;
}

/* The next to come finds it, or makes it, and then it is the same for everybody; nothing but
 * its one block is live besides. */
static const char *verify_once(comap_heap *heap, const struct journal *j)
{
	comap_ref ref = {0}, again = {0};
	int ran = 0;

	if (comap_root_once(heap, "it", adopt_it, &ran, COMAP_FOREVER, &ref) < 0)
		return "create-once does not finish what the dead began";
	if (j->note[4] && (ran || ref.off != j->note[4]))
		return "a finished initialiser was run again";
	if (comap_root_once(heap, "it", adopt_it, &ran, COMAP_FOREVER, &again) < 0 || ran > 1 ||
	    again.off != ref.off)
		return "create-once ran twice";
	if (!comap_heap_at_checked(heap, ref, 100))
		return "create-once left no block";
	if (comap_root_delete(heap, "it") < 0)
		return "the root cannot be deleted";
	comap_heap_free(heap, comap_heap_at(heap, ref));
	return NULL;
}

/* ---- mutex ----------------------------------------------------------------------------- */

static void a_mutex(struct world *w)
{
	comap_mutex *m = comap_heap_calloc(w->heap, 1, sizeof *m);

	journal_add(w, m, 0);
	cells(w);
	w->journal->hot = comap_heap_ref(w->heap, m).off;
}

static void step_mutex(struct world *w)
{
	comap_mutex *m = block(w, 0);

	w->journal->note[0] = 1; /* may be held */
	if (comap_mutex_lock(w->heap, m) != 0)
		abort();
	if (!comap_heap_malloc_to(w->heap, 64, cell(w, 0)))
		abort();
	comap_heap_free_from(w->heap, cell(w, 0));
	if (comap_mutex_unlock(w->heap, m) != 0)
		abort();
	w->journal->note[0] = 0;
}

static const char *verify_mutex(comap_heap *heap, const struct journal *j)
{
	comap_mutex *m = comap_heap_at(heap, (comap_ref){ j->hot });
	int got = comap_mutex_lock_for(heap, m, 2000000000);

	if (got != 0 && (got != -130 /* EOWNERDEAD */ || !j->note[0]))
		return "the mutex of a dead owner cannot be had";
	if (comap_mutex_lock_for(heap, m, 1000) != -35 /* EDEADLK */)
		return "the mutex is not ours";
	return comap_mutex_unlock(heap, m) == 0 ? NULL : "the mutex cannot be given back";
}

/* ---- coming and going ---------------------------------------------------------------------- */

static void step_first_call(struct world *w)
{
	get(w, 64);
}

static void step_detach(struct world *w)
{
	comap_heap_detach(w->heap);
}

static void step_close(struct world *w)
{
	comap_heap_close(w->heap);
}

static void step_attach(struct world *w)
{
	if (comap_heap_open_fd(w->fd, NULL, &w->heap) < 0)
		abort();
	get(w, 64);
}

static void step_create(struct world *w)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.flags = COMAP_HEAP_CREATE | COMAP_HEAP_EXCL;
	opts.max_size = 32 << 20;
	opts.slots = 16;
	if (comap_heap_open(w->path, &opts, &w->heap) < 0)
		abort();
	get(w, 64);
}

static void step_exit(struct world *w)
{
	w->journal->done = 1;
	exit(0);
}

/* The heap has one slot, and another thread has it. */
static void *sit(void *arg)
{
	struct world *w = arg;

	comap_heap_free(w->heap, comap_heap_malloc(w->heap, 1));
	w->journal->helper = (int32_t)syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static void take_the_slot(struct world *w)
{
	pthread_t id;

	pthread_create(&id, NULL, sit, w);
	while (!w->journal->helper)
		usleep(100);
	stock(w, 2, 64);
}

static void step_common(struct world *w)
{
	get(w, 64);
	put(w, block(w, 0));
	get(w, 100000);
}

/* ---- with others --------------------------------------------------------------------- */

static void step_beside_others(struct world *w)
{
	void *p = get(w, 64);

	get(w, 30000);
	put(w, p);
	p = get(w, 200000);
	put(w, p);
	for (unsigned i = 0; i < 4; i++) {
		get(w, 64);
		get(w, 1000);
		put(w, block(w, w->journal->n - 2)); /* not 0: the cells lie there */
	}
	if (!comap_heap_malloc_to(w->heap, 64, cell(w, 0)) ||
	    !comap_heap_malloc_to(w->heap, 200000, cell(w, 1)))
		abort();
	comap_heap_free_from(w->heap, cell(w, 0));
	comap_heap_free_from(w->heap, cell(w, 1));
}

const struct scenario scenarios[] = {
	{ .name = "malloc", .prepare = some_blocks, .step = step_malloc, .may_leak = 1 },
	{ .name = "free", .prepare = some_blocks, .step = step_free, .may_leak = 1 },
	{ .name = "slab_full", .prepare = full_slab, .step = step_full, .may_leak = 1 },
	{ .name = "calloc", .prepare = some_blocks, .step = step_calloc, .may_leak = 1 },
	{ .name = "realloc_in_place", .prepare = one_run, .step = step_realloc_in_place },
	{ .name = "realloc_huge", .prepare = one_huge, .step = step_realloc_huge },
	{ .name = "realloc_moving",
	  .prepare = one_run,
	  .step = step_realloc_moving,
	  .may_leak = 1,
	  .keeps_doubt = true },
	{ .name = "aligned", .prepare = some_blocks, .step = step_aligned, .may_leak = 1 },
	{ .name = "large_units", .prepare = some_blocks, .step = step_large_units, .may_leak = 1 },
	{ .name = "large_segments", .prepare = some_blocks, .step = step_large_segments, .may_leak = 1 },
	{ .name = "new_slab", .step = step_new_slab, .may_leak = 1 },
	{ .name = "slab_emptied", .prepare = three_slabs, .step = step_slab_emptied, .may_leak = 1 },
	{ .name = "growth", .step = step_growth, .may_leak = 1 },
	{ .name = "trim", .prepare = dirty_heap, .step = step_trim },
	{ .name = "purge", .prepare = some_blocks, .step = step_purge, .may_leak = 1 },
	{ .name = "malloc_to", .prepare = cells, .step = step_malloc_to },
	{ .name = "free_from", .prepare = full_cells, .step = step_free_from },
	{ .name = "warm_runs", .prepare = warm_units, .step = step_warm_runs, .may_leak = 1 },
	{ .name = "over_marks", .prepare = all_warm, .step = step_over_marks, .may_leak = 1 },
	{ .name = "grow_over_marks",
	  .prepare = run_before_marks,
	  .step = step_grow_over_marks,
	  .may_leak = 1 },
	{ .name = "trim_marks", .prepare = all_warm, .step = step_trim_marks, .may_leak = 1 },
	{ .name = "root_set", .prepare = no_root, .step = step_root_set, .verify = verify_root },
	{ .name = "root_page", .prepare = many_roots, .step = step_root_set, .verify = verify_root },
	{ .name = "root_delete", .prepare = one_root, .step = step_root_delete, .verify = verify_root },
	{ .name = "root_once",
	  .prepare = some_blocks,
	  .step = step_root_once,
	  .verify = verify_once,
	  .may_leak = 1 },
	{ .name = "mutex", .prepare = a_mutex, .step = step_mutex, .verify = verify_mutex },
	{ .name = "slot_register", .step = step_first_call, .may_leak = 1 },
	{ .name = "slot_release", .prepare = some_blocks, .step = step_detach },
	{ .name = "slot_common", .prepare = take_the_slot, .step = step_common, .may_leak = 1, .slots = 1 },
	{ .name = "attach", .step = step_attach, .may_leak = 1, .opens_itself = true },
	{ .name = "detach", .prepare = some_blocks, .step = step_close },
	{ .name = "exit", .prepare = some_blocks, .step = step_exit, .goes_on = true },
	{ .name = "create", .step = step_create, .may_leak = 1, .opens_itself = true, .is_named = true },
	{ .name = "magazine", .prepare = half_full, .step = step_magazine, .may_leak = 1, .is_hot = true },
	{ .name = "magazine_open",
	  .prepare = nearly_hot,
	  .step = step_refill,
	  .may_leak = 1,
	  .is_hot = true },
	{ .name = "refill", .prepare = hot_class, .step = step_refill, .may_leak = 1, .is_hot = true },
	{ .name = "refill_big",
	  .prepare = hot_big,
	  .step = step_refill_big,
	  .may_leak = 1,
	  .is_hot = true },
	{ .name = "flush", .prepare = hot_class, .step = step_flush, .may_leak = 1, .is_hot = true },
	{ .name = "flush_big", .prepare = hot_big, .step = step_flush_big, .may_leak = 1, .is_hot = true },
	{ .name = "refill_long",
	  .prepare = long_refills,
	  .step = step_long_refill,
	  .may_leak = 1,
	  .is_hot = true },
	{ .name = "flush_long",
	  .prepare = long_flushes,
	  .step = step_long_flush,
	  .may_leak = 1,
	  .is_hot = true },
	{ .name = "decay", .prepare = decaying, .step = step_decay, .is_hot = true },
	{ .name = "inherit", .prepare = testator, .step = step_inherit, .may_leak = 1, .is_hot = true },
	{ .name = "hot_malloc_to", .prepare = hot_cells, .step = step_malloc_to, .is_hot = true },
	{ .name = "hot_free_from", .prepare = hot_full_cells, .step = step_free_from, .is_hot = true },
	{ .name = "hot_trim", .prepare = two_hot_classes, .step = step_trim, .is_hot = true },
	{ .name = "hot_detach", .prepare = two_hot_classes, .step = step_close, .is_hot = true },
	{ .name = "hot_exit",
	  .prepare = two_hot_classes,
	  .step = step_exit,
	  .is_hot = true,
	  .goes_on = true },
	{ .name = "neighbours",
	  .prepare = cells,
	  .step = step_beside_others,
	  .may_leak = 1,
	  .has_neighbours = true },
	{ .name = "hot_neighbours",
	  .prepare = hot_cells,
	  .step = step_beside_others,
	  .may_leak = 1,
	  .is_hot = true,
	  .has_neighbours = true },
};
const unsigned nscenarios = sizeof scenarios / sizeof scenarios[0];
