/*
 * back.c - what free gives back to the system, and when.
 *
 * libc has two kinds of memory.  Large blocks are mappings of their own and go
 * with munmap; what is large is a threshold, and the first free of such a block
 * raises it.  Small blocks come from one heap, of which only the top goes back:
 * one live block up there keeps everything below it, until malloc_trim.
 *
 * comap has one rule for both.  Free units of 64 KiB keep their storage for the
 * next malloc, up to dirty_max bytes of them; what is more is punched out of the
 * file at once, wherever it lies, and comap_heap_trim punches the rest.
 *
 * Neither can give back a page with a live block in it.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "evidence.h"
#include "questions.h"
#include "side.h"
#include "smaps.h"

#define SMALL ((size_t)1024)
#define TOTAL (32 * MIB)
#define LARGE (2 * TOTAL) /* fits into no hole that the small ones left */
#define KEPT (8 * MIB) /* dirty_max of the comap heap */

enum { NSMALL = TOTAL / SMALL };

static void *blocks[NSMALL]; /* neither heap's */

/* ---- step by step -------------------------------------------------------- */

enum { EMPTY, FULL, HALF, HALF_TRIM, LAST, LAST_TRIM, BIG, BIG_FREE, BIG_TRIM, NSTEPS };

static const char *const step_names[NSTEPS] = {
	[EMPTY] = "nothing",
	[FULL] = "32 MiB of 1 KiB blocks, written",
	[HALF] = "every second one freed",
	[HALF_TRIM] = "trim",
	[LAST] = "all freed but the last",
	[LAST_TRIM] = "trim",
	[BIG] = "one block of 64 MiB, written",
	[BIG_FREE] = "freed",
	[BIG_TRIM] = "trim",
};

struct track {
	uint64_t rss[NSTEPS], storage[NSTEPS];
};

static void note(const struct side *side, struct track *track, int step)
{
	track->rss[step] = side_rss(side);
	track->storage[step] = side_storage(side);
}

static void grow_and_shrink(const struct side *side, struct track *track)
{
	char *big;

	memset(blocks, 0xff, sizeof blocks); /* resident before anything is measured */
	note(side, track, EMPTY);
	for (int i = 0; i < NSMALL; i++) {
		blocks[i] = side_malloc(side, SMALL);
		memset(blocks[i], 1, SMALL);
	}
	note(side, track, FULL);

	for (int i = 0; i < NSMALL; i += 2)
		side_free(side, blocks[i]);
	note(side, track, HALF);
	side_trim(side);
	note(side, track, HALF_TRIM);
	for (int i = 1; i < NSMALL - 1; i += 2)
		side_free(side, blocks[i]);
	note(side, track, LAST);
	side_trim(side);
	note(side, track, LAST_TRIM);

	big = side_malloc(side, LARGE);
	touch(big, LARGE);
	note(side, track, BIG);
	side_free(side, big);
	note(side, track, BIG_FREE);
	side_trim(side);
	note(side, track, BIG_TRIM);
	side_free(side, blocks[NSMALL - 1]);
}

/* What the steps must have in common, and what not. */
static void check_tracks(const struct track *libc, const struct track *comap)
{
	const uint64_t *c = comap->storage, *l = libc->rss;

	must(l[FULL] >= TOTAL && l[FULL] < TOTAL + TOTAL / 8, "libc has 32 MiB");
	must(c[FULL] >= TOTAL && c[FULL] < TOTAL + TOTAL / 8, "comap has 32 MiB");
	must(l[HALF_TRIM] >= TOTAL - MIB, "libc: holes in pages do not go back");
	must(c[HALF_TRIM] >= TOTAL - MIB, "comap: holes in pages do not go back");
	must(l[LAST] >= TOTAL - MIB, "libc: the last block keeps all the others, %" PRIu64, l[LAST]);
	must(c[LAST] < KEPT + 2 * MIB, "comap: dirty_max is kept, not %" PRIu64, c[LAST]);
	must(l[LAST_TRIM] < MIB, "libc: malloc_trim gives it back, but for %" PRIu64, l[LAST_TRIM]);
	must(c[LAST_TRIM] < MIB, "comap: trim gives it back, but for %" PRIu64, c[LAST_TRIM]);
	must(l[BIG_FREE] < MIB, "libc: a large block goes at once, but for %" PRIu64, l[BIG_FREE]);
	must(c[BIG_FREE] < KEPT + MIB, "comap: dirty_max is kept, not %" PRIu64, c[BIG_FREE]);
	must(c[BIG_FREE] > KEPT - MIB, "comap: dirty_max is kept, not %" PRIu64, c[BIG_FREE]);
	must(c[BIG_TRIM] < MIB, "comap: trim gives it back, but for %" PRIu64, c[BIG_TRIM]);
	for (int i = 0; i < NSTEPS; i++)
		must(comap->rss[i] <= c[i] + MIB, "comap: no page without storage, step %d", i);
}

/* ---- the thresholds ------------------------------------------------------ */

/* Use up what libc has at the top of its heap; a block that fits there gets no mapping. */
static void use_up_top(const struct side *libc)
{
	for (int i = 0; i < 1000 && mallinfo2().keepcost > 32 * KIB; i++)
		side_malloc(libc, 16 * KIB);
	must(mallinfo2().keepcost <= 32 * KIB, "the top of libc's heap is used up");
}

/* Did malloc(size) make a mapping?  The block stays: its free would raise the threshold. */
static bool is_mapped_alone(const struct side *libc, size_t size, void **ret_block)
{
	size_t before;

	use_up_top(libc);
	before = mallinfo2().hblks;
	*ret_block = side_malloc(libc, size);
	return mallinfo2().hblks > before;
}

static size_t find_mmap_threshold(const struct side *libc)
{
	size_t no = 64 * KIB, yes = 256 * KIB;
	void *block;

	must(!is_mapped_alone(libc, no, &block) && is_mapped_alone(libc, yes, &block),
	     "libc: from 64 to 256 KiB something changes");
	while (yes - no > 1) {
		size_t size = no + (yes - no) / 2;

		if (is_mapped_alone(libc, size, &block))
			yes = size;
		else
			no = size;
	}
	return yes;
}

/* How much of 32 MiB freed a comap heap with that dirty_max keeps. */
static uint64_t measure_kept(uint64_t dirty_max, size_t block_size)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	size_t n = TOTAL / block_size;
	struct side side;
	/* Free segments of 4 MiB go back whole; magazines keep some small blocks. */
	uint64_t less = block_size < 4 * MIB ? MIB / 2 : 4 * MIB, more = 3 * MIB / 2, empty, kept;

	opts.dirty_max = dirty_max;
	side = side_comap(&opts);
	empty = side_storage(&side);
	for (size_t i = 0; i < n; i++)
		blocks[i] = side_malloc(&side, block_size);
	for (size_t i = 0; i < n; i++)
		side_free(&side, blocks[i]);
	kept = side_storage(&side) - empty;
	must(kept + less > dirty_max && kept < dirty_max + more,
	     "of blocks of %zu, with dirty_max %" PRIu64 ", %" PRIu64 " are kept", block_size,
	     dirty_max, kept);
	side_close(&side);
	return kept;
}

static void show_thresholds(const struct side *libc, size_t threshold)
{
	static const size_t sizes[] = { 1 * KIB, 40 * KIB, 1 * MIB, 8 * MIB };
	void *block;
	bool was_mapped, is_mapped;

	was_mapped = is_mapped_alone(libc, MIB, &block);
	side_free(libc, block);
	is_mapped = is_mapped_alone(libc, MIB, &block);
	must(was_mapped && !is_mapped, "libc: the free of a mapped block raises the threshold");
	evidence("libc    malloc(%zu) is the first to get a mapping of its own (M_MMAP_THRESHOLD)",
		 threshold);
	evidence("libc    malloc(1 MiB) gets one, and after its free no more: the threshold rose");
	evidence("comap   of 32 MiB freed is kept, with dirty_max of    1 MiB     4 MiB    16 MiB");
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		double kept[3];

		for (int d = 0; d < 3; d++)
			kept[d] = mib(measure_kept(MIB << 2 * d, sizes[i]));
		evidence("comap     in blocks of %4zu KiB                   %9.1f %9.1f %9.1f",
			 sizes[i] / (size_t)KIB, kept[0], kept[1], kept[2]);
	}
}

void ask_what_comes_back(void)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct track of_libc, of_comap;
	struct side libc, comap;
	size_t threshold;

	opts.dirty_max = KEPT;
	comap = side_comap(&opts);
	grow_and_shrink(&comap, &of_comap);
	side_check(&comap);
	side_close(&comap);
	libc = side_libc();
	grow_and_shrink(&libc, &of_libc);
	check_tracks(&of_libc, &of_comap);
	threshold = find_mmap_threshold(&libc);
	must(threshold > 120 * KIB && threshold <= 128 * KIB, "M_MMAP_THRESHOLD is 128 KiB, not %zu",
	     threshold);

	answer("libc: large blocks at once, from %zu bytes on at first; of small ones only the top of "
	       "the heap, so one block that stays kept %.0f MiB, until malloc_trim. comap: everything "
	       "above dirty_max, here %.0f MiB, large or small, wherever it lies; trim gives back the "
	       "rest. With every second block alive no page is free, and nobody gives back any.",
	       threshold, mib(of_libc.rss[LAST]), mib(KEPT));
	evidence("MiB                                 libc Rss   comap Rss   comap st_blocks");
	for (int i = 0; i < NSTEPS; i++)
		evidence("%-32s %10.1f %11.1f %13.1f", step_names[i], mib(of_libc.rss[i]),
			 mib(of_comap.rss[i]), mib(of_comap.storage[i]));
	show_thresholds(&libc, threshold);
}
