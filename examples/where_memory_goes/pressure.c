/*
 * pressure.c - what the kernel can take away when memory is short.
 *
 * A page can be taken from a process when there is somewhere to put it.  A page
 * of a file on a disk goes to its place in the file, and comes back from there
 * when it is touched.  A page of libc's, or of a memfd, could go to swap only;
 * without swap it has to stay, and somebody is killed.
 *
 * A child in a cgroup of 32 MiB writes twice as much: to libc's heap, to a comap
 * heap in a memfd, to a comap heap in a file.
 */
#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "evidence.h"
#include "group.h"
#include "questions.h"
#include "side.h"
#include "smaps.h"

#define LIMIT (32 * MIB)
#define BLOCK (1 * MIB)

enum { NBLOCKS = 64 };

/* The blocks, and what became of the child: in a heap that it shares with its parent. */
struct table {
	uint64_t nwritten, rss, major_faults;
	comap_ref block[NBLOCKS];
};

enum { CANNOT_JOIN = 3 };

static uint64_t stamp_of(int block, size_t page)
{
	return (uint64_t)block << 32 | page;
}

static uint64_t count_major_faults(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		err(1, "getrusage");
	return (uint64_t)usage.ru_majflt;
}

/* Take, write, and remember each block; in the end read all of them again. */
static bool write_all(const struct side *side, struct table *table)
{
	static uint64_t *blocks[NBLOCKS];
	bool is_right = true;

	for (int i = 0; i < NBLOCKS; i++) {
		blocks[i] = side_malloc(side, BLOCK);
		for (size_t page = 0; page < BLOCK / PAGE; page++)
			blocks[i][page * PAGE / sizeof(uint64_t)] = stamp_of(i, page);
		if (side->heap)
			table->block[i] = comap_heap_ref(side->heap, blocks[i]);
		table->nwritten++;
	}
	for (int i = 0; i < NBLOCKS; i++)
		for (size_t page = 0; page < BLOCK / PAGE; page++)
			is_right &= blocks[i][page * PAGE / sizeof(uint64_t)] == stamp_of(i, page);
	table->rss = side_rss(side);
	table->major_faults = count_major_faults();
	return is_right;
}

/* How the child ended: its signal, or minus its exit status. */
static int run_in(const struct group *group, const struct side *side, struct table *table)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (group_join(group) < 0)
			_exit(CANNOT_JOIN);
		_exit(write_all(side, table) ? 0 : 1);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "wait");
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

/* The parent, in no such group, reads what the child wrote. */
static bool is_as_written(const struct side *side, const struct table *table)
{
	bool is_right = true;

	for (int i = 0; i < NBLOCKS; i++) {
		const uint64_t *block = comap_heap_at_checked(side->heap, table->block[i], BLOCK);

		for (size_t page = 0; block && page < BLOCK / PAGE; page++)
			is_right &= block[page * PAGE / sizeof(uint64_t)] == stamp_of(i, page);
		is_right &= block != NULL;
	}
	return is_right;
}

struct outcome {
	int end;
	uint64_t nkills, peak;
};

static const char *try_in_group(const struct side *side, struct table *table, struct outcome *ret)
{
	struct group group;
	const char *reason = group_make(&group, LIMIT);

	if (reason)
		return reason;
	ret->end = run_in(&group, side, table);
	ret->nkills = group_kills(&group);
	ret->peak = group_peak(&group);
	group_remove(&group);
	return ret->end == -CANNOT_JOIN ? "a process may not join the memory cgroup" : NULL;
}

static void check_outcome(const struct side *side, const struct table *table,
			  const struct outcome *o, bool is_on_disk)
{
	must(o->peak <= LIMIT, "%s: no more than the limit, %" PRIu64, side->name, o->peak);
	if (is_on_disk) {
		must(o->end == 0 && o->nkills == 0, "the heap in a file survives, not %d", o->end);
		must(table->rss < LIMIT, "not all of it is resident, %" PRIu64, table->rss);
		must(table->major_faults > 0, "some pages were read again from the disk");
		must(is_as_written(side, table), "every page of it is as written");
	} else {
		must(o->end == SIGKILL && o->nkills > 0, "%s: killed, not %d", side->name, o->end);
		must(table->nwritten < NBLOCKS, "%s: before it was done", side->name);
	}
}

static void print_outcome(const char *name, const struct table *table, const struct outcome *o)
{
	double written = mib(table->nwritten * BLOCK);

	if (o->end > 0)
		evidence("%-20s %4.0f MiB written, then SIG%s (oom_kill %" PRIu64 ")", name, written,
			 sigabbrev_np(o->end), o->nkills);
	else
		evidence("%-20s %4.0f MiB written, and read again: Rss: %" PRIu64 " kB, major faults: %"
			 PRIu64,
			 name, written, table->rss / KIB, table->major_faults);
}

enum { LIBC, MEMFD, DISK, NSIDES };

void ask_pressure(void)
{
	static const char *const names[NSIDES] = { "libc", "comap in a memfd", "comap in a file" };
	struct side side[NSIDES] = {
		[MEMFD] = side_comap(NULL), [DISK] = side_disk(NULL), [LIBC] = side_libc()
	};
	int nsides = side[DISK].heap ? NSIDES : NSIDES - 1;
	struct outcome outcome[NSIDES];
	struct table *table = comap_heap_calloc(side[MEMFD].heap, NSIDES, sizeof *table);

	if (!table)
		err(1, "table");
	for (int i = 0; i < nsides; i++) {
		const char *reason = try_in_group(&side[i], &table[i], &outcome[i]);

		if (reason) {
			skipped("%s", reason);
			return;
		}
		check_outcome(&side[i], &table[i], &outcome[i], i == DISK);
	}
	answer("What is in a file on a disk, and nothing else. Children that write %d MiB in a memory "
	       "cgroup of %.0f MiB without swap: with libc's heap or a memfd there is nowhere to put the "
	       "pages, and the child is killed; those of a heap in a file are written to it, dropped, and "
	       "read again when they are needed.",
	       NBLOCKS, mib(LIMIT));
	for (int i = 0; i < nsides; i++)
		print_outcome(names[i], &table[i], &outcome[i]);
	if (nsides < NSIDES)
		skipped("the heap in a file: %s", side_no_disk);

	/* The dead child had the memfd's heap open. */
	must(comap_heap_reap(side[MEMFD].heap) >= 0, "the dead are reaped");
	for (int i = MEMFD; i < nsides; i++) {
		side_check(&side[i]);
		side_close(&side[i]);
	}
}
