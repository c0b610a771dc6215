/*
 * fork.c - what MAP_SHARED changes for fork.
 *
 * After fork both processes have libc's pages, marked read-only; who writes
 * first gets a copy.  So the child has its own values, and pays for every page
 * it writes.  The pages of a comap heap are a file's: there is one of each,
 * whoever writes, and a child starts with none in its page table.
 *
 * Shared_Dirty counts pages that more than one process has mapped, Private_Dirty
 * those that only this one has; Pss divides a page by the number of its owners.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "evidence.h"
#include "questions.h"
#include "side.h"
#include "smaps.h"

#define BLOCK (16 * MIB)

enum { PARENTS = 1, CHILDS = 2 };
enum { LIBC, COMAP, NSIDES };

/* What the child reports, in the heap they share. */
struct report {
	uint64_t faults[NSIDES];
	struct smaps forked[NSIDES], wrote[NSIDES];
};

static void be_child(int *const *block, struct report *report)
{
	for (int i = 0; i < NSIDES; i++) {
		uint64_t before = count_faults();

		report->forked[i] = smaps_of(block[i], BLOCK);
		for (size_t at = 0; at < BLOCK / sizeof(int); at += PAGE / sizeof(int))
			block[i][at] = CHILDS;
		report->faults[i] = count_faults() - before;
		report->wrote[i] = smaps_of(block[i], BLOCK);
	}
}

static void check_fork(const struct report *r, int *const *block, const struct smaps *parents)
{
	const uint64_t *libc = r->wrote[LIBC].bytes, *comap = r->wrote[COMAP].bytes;

	must(block[LIBC][0] == PARENTS, "libc: the parent's value stays");
	must(block[COMAP][0] == CHILDS, "comap: the parent sees what the child wrote");
	must(r->forked[LIBC].bytes[SHARED_DIRTY] > BLOCK - MIB, "libc: after fork all is shared");
	must(libc[PRIVATE_DIRTY] > BLOCK - MIB, "libc: what the child wrote is its own");
	must(libc[SHARED_DIRTY] < MIB, "libc: and nothing is shared any more");
	must(comap[SHARED_DIRTY] > BLOCK - MIB, "comap: what the child wrote is shared");
	must(comap[PRIVATE_DIRTY] < MIB, "comap: and nothing is its own");
	must(libc[PSS] + parents[LIBC].bytes[PSS] > 2 * BLOCK - 2 * MIB, "libc: memory for two");
	must(comap[PSS] + parents[COMAP].bytes[PSS] < BLOCK + 2 * MIB, "comap: memory for one");
}

static void print_dirt(const char *name, const char *when, const struct smaps *m)
{
	const uint64_t *b = m->bytes;

	evidence("%-7s %-18s %6" PRIu64 " kB  %9" PRIu64 " kB  %10" PRIu64 " kB  %6" PRIu64 " kB", name,
		 when, b[RSS] / KIB, b[SHARED_DIRTY] / KIB, b[PRIVATE_DIRTY] / KIB, b[PSS] / KIB);
}

/* The parent looks while the child is alive: what both have mapped is shared. */
static void run_child(int *const *block, struct report *report, struct smaps *ret_parents)
{
	int done[2], leave[2], status;
	char byte;
	pid_t pid;

	if (pipe(done) < 0 || pipe(leave) < 0)
		err(1, "pipe");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		close(done[0]);
		close(leave[1]);
		be_child(block, report);
		close(done[1]);
		_exit(read(leave[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(done[1]);
	close(leave[0]);
	if (read(done[0], &byte, 1) != 0) /* until the child has closed its end */
		err(1, "read");
	for (int i = 0; i < NSIDES; i++)
		ret_parents[i] = smaps_of(block[i], BLOCK);
	close(leave[1]);
	close(done[0]);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "wait");
	must(status == 0, "the child was well");
}

void ask_fork(void)
{
	struct side side[NSIDES] = { [COMAP] = side_comap(NULL), [LIBC] = side_libc() };
	struct report *report = side_malloc(&side[COMAP], sizeof *report);
	struct smaps parents[NSIDES];
	int *block[NSIDES];

	for (int i = 0; i < NSIDES; i++) {
		block[i] = side_malloc(&side[i], BLOCK);
		touch(block[i], BLOCK);
		block[i][0] = PARENTS;
	}
	run_child(block, report, parents);
	check_fork(report, block, parents);

	answer("The child wrote %d where the parent had %d. With libc it wrote to a copy, and the parent "
	       "still reads %d: two processes, twice the memory. With comap the parent reads %d: two "
	       "processes, one memory.",
	       CHILDS, PARENTS, block[LIBC][0], block[COMAP][0]);
	evidence("                              Rss   Shared_Dirty   Private_Dirty        Pss");
	for (int i = 0; i < NSIDES; i++) {
		print_dirt(side[i].name, "child, forked", &report->forked[i]);
		print_dirt("", "child, wrote", &report->wrote[i]);
		print_dirt("", "parent, meanwhile", &parents[i]);
	}
	evidence("faults of the child, writing %.0f MiB: %" PRIu64 " with libc, each to copy a page; "
		 "%" PRIu64 " with comap",
		 mib(BLOCK), report->faults[LIBC], report->faults[COMAP]);
	side_check(&side[COMAP]);
	side_close(&side[COMAP]);
}
