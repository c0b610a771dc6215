/*
 * block.c - what a block costs, and how free knows its size.
 *
 * glibc writes the size of a block into the eight bytes before it: that is the
 * cost of a block, and what an overrun of the block before destroys.  comap keeps
 * blocks of one size together in a slab, and what size that is in the unit table,
 * one byte for each 64 KiB of the heap: nothing lies between blocks.
 *
 * To be seen from outside: the distance of neighbouring blocks is the usable size
 * and a header (libc), or the usable size (comap).
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "evidence.h"
#include "questions.h"
#include "side.h"
#include "smaps.h"

enum { NROW = 64, NMANY = 1 << 18 };

/* ---- 1. how much is malloc(1)? ------------------------------------------- */

static int compare_addresses(const void *a, const void *b)
{
	const uintptr_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The distance of neighbours among blocks of that size: the least there is. */
static size_t measure_spacing(const struct side *side, size_t size, size_t *ret_usable)
{
	uintptr_t row[NROW], least = UINTPTR_MAX;

	for (int i = 0; i < NROW; i++)
		row[i] = (uintptr_t)side_malloc(side, size);
	*ret_usable = side_usable(side, (void *)row[0]);
	qsort(row, NROW, sizeof row[0], compare_addresses);
	for (int i = 1; i < NROW; i++)
		if (row[i] - row[i - 1] < least)
			least = row[i] - row[i - 1];
	return least; /* the blocks stay: what is free would be found again by the next size */
}

/* Bytes of memory for each of a great many blocks of one byte: everything counts. */
static double measure_cost(const struct side *side)
{
	uint64_t before = side_storage(side);

	for (int i = 0; i < NMANY; i++)
		*(char *)side_malloc(side, 1) = 1;
	return (double)(side_storage(side) - before) / NMANY;
}

struct cost {
	size_t usable[2], spacing[2];
};

static void check_cost(const struct cost *c, size_t size)
{
	must(c->spacing[0] == c->usable[0] + sizeof(size_t),
	     "libc blocks of %zu are a size word apart: %zu, %zu usable", size, c->spacing[0],
	     c->usable[0]);
	must(c->spacing[1] == c->usable[1], "comap blocks of %zu touch: %zu apart, %zu usable", size,
	     c->spacing[1], c->usable[1]);
	must(c->usable[0] >= size && c->usable[1] >= size, "%zu bytes are usable", size);
	must(size < 128 || (c->usable[1] - size) * 8 <= size,
	     "comap rounds %zu up by an eighth, not to %zu", size, c->usable[1]);
}

void ask_how_much(void)
{
	static const size_t sizes[] = { 1, 16, 24, 25, 100, 1000, 4096, 5000, 40000 };
	enum { NSIZES = sizeof sizes / sizeof sizes[0] };
	struct side comap = side_comap(NULL), libc = side_libc();
	struct side *side[2] = { &libc, &comap };
	struct cost cost[NSIZES];
	double each[2];

	for (int i = 0; i < NSIZES; i++) {
		for (int s = 0; s < 2; s++)
			cost[i].spacing[s] = measure_spacing(side[s], sizes[i], &cost[i].usable[s]);
		check_cost(&cost[i], sizes[i]);
	}
	for (int s = 0; s < 2; s++)
		each[s] = measure_cost(side[s]);
	must(each[0] >= 32 && each[0] < 34, "a byte of libc's takes 32 bytes, not %.1f", each[0]);
	must(each[1] >= 16 && each[1] < 18, "a byte of comap's takes 16 bytes, not %.1f", each[1]);

	answer("libc: %zu bytes, of which %zu are to use and %zu are the block's header. comap: %zu "
	       "bytes, all to use; there is no header. Of a quarter of a million such blocks each took "
	       "%.2f and %.2f bytes of memory, everything counted.",
	       cost[0].spacing[0], cost[0].usable[0], cost[0].spacing[0] - cost[0].usable[0],
	       cost[0].spacing[1], each[0], each[1]);
	evidence("            libc                         comap");
	evidence("  asked     usable  spacing  overhead    usable  spacing  overhead");
	for (int i = 0; i < NSIZES; i++)
		evidence("%7zu    %7zu  %7zu   %7zu   %7zu  %7zu   %7zu", sizes[i],
			 cost[i].usable[0], cost[i].spacing[0], cost[i].spacing[0] - sizes[i],
			 cost[i].usable[1], cost[i].spacing[1], cost[i].spacing[1] - sizes[i]);
	side_check(&comap);
	side_close(&comap);
}

/* ---- 5. how does free know the size? ------------------------------------- */

/* The word before the block.  It is libc's, and looked at through a number, so that the
 * compiler does not take us at our word that p is only as large as we asked for. */
static size_t *word_before(void *block)
{
	return (size_t *)((uintptr_t)block - sizeof(size_t));
}

static void show_libc_headers(const struct side *libc)
{
	static const size_t sizes[] = { 1, 25, 1000, 1000000 };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		void *block = side_malloc(libc, sizes[i]);
		size_t word = *word_before(block), usable = side_usable(libc, block);
		bool is_mapped = word & 2; /* then the word before belongs to the block, too */
		char call[32];

		must((word & ~(size_t)7) == usable + (is_mapped ? 16 : 8),
		     "libc: p[-1] is the size: %#zx, %zu usable", word, usable);
		snprintf(call, sizeof call, "malloc(%zu)", sizes[i]);
		evidence("libc    %-15s  p[-1] = %#8zx: %zu bytes%s%s", call, word,
			 word & ~(size_t)7, word & 1 ? ", the one before is in use" : "",
			 is_mapped ? ", a mapping of its own" : "");
		free(block);
	}
}

/* Overwrite the word and free the block: how does the process end? */
static int die_of_overrun(const struct side *libc)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		void *block = side_malloc(libc, 100);

		prctl(PR_SET_DUMPABLE, 0); /* no core of it, and no word on the terminal */
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		memset(word_before(block), 0xff, sizeof(size_t));
		free(block);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "wait");
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void ask_who_knows_size(void)
{
	struct side comap = side_comap(NULL), libc = side_libc();
	char *row[NROW];
	size_t usable, i;
	int signal;

	for (i = 0; i < NROW; i++)
		row[i] = side_malloc(&comap, 100);
	usable = side_usable(&comap, row[0]);
	for (i = 0; i < NROW; i++)
		must((row[i] > row[0] ? row[i] - row[0] : row[0] - row[i]) % (ptrdiff_t)usable == 0,
		     "block %zu is a multiple of %zu bytes from the first", i, usable);
	/* Every byte of every second block, and with it the eight before its neighbour. */
	for (i = 0; i < NROW; i += 2)
		memset(row[i], 0xff, usable);
	for (i = 1; i < NROW; i += 2)
		must(side_usable(&comap, row[i]) == usable, "the size of block %zu is known", i);
	for (i = 1; i < NROW; i += 2)
		side_free(&comap, row[i]);
	side_check(&comap);

	signal = die_of_overrun(&libc);
	must(signal == SIGABRT, "libc aborts when the size word is overwritten, signal %d", signal);

	answer("libc reads it from the word before the block: a size in 16s, and flags in the low "
	       "bits. comap finds it by the address alone: all blocks of one 64 KiB unit have one size, "
	       "and a table outside the blocks has a byte for each unit. So a full block next door "
	       "harms nothing, and with libc, one that runs over by 8 bytes ends the process at the next free "
	       "(SIG%s).",
	       sigabbrev_np(signal));
	show_libc_headers(&libc);
	evidence(
		"comap   malloc(100), %d times: %zu usable, and each a multiple of %zu from the first",
		NROW, usable, usable);
	evidence(
		"comap   every second one filled with ff, %zu bytes: the others keep their size, and "
		"are freed",
		usable);
	for (i = 0; i < NROW; i += 2)
		side_free(&comap, row[i]);
	side_check(&comap);
	side_close(&comap);
}
