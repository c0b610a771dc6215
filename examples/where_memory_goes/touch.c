/*
 * touch.c - when memory becomes memory.
 *
 * libc gets address space from the kernel; a page of it becomes memory when it
 * is first touched, and if there is none by then, somebody is killed.  comap
 * cannot leave it at that: its memory is a file, and a store into a hole of a
 * full file system is SIGBUS.  So it asks for storage first (fallocate), and "no
 * more" is NULL from malloc.  What is then missing is only the entry in this
 * process's page table, and that comes with the first touch, as everywhere.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include "evidence.h"
#include "questions.h"
#include "side.h"
#include "smaps.h"

#define LARGE (64 * MIB)

/* How many bytes of the block are in memory and hold what they should, whoever has them
 * mapped.  The pages of a memfd that nobody touched are memory, but not yet zeroed. */
static uint64_t count_cached(void *block)
{
	static unsigned char pages[LARGE / PAGE];
	uint64_t ncached = 0;

	if (mincore(block, LARGE, pages) < 0)
		err(1, "mincore");
	for (size_t i = 0; i < sizeof pages; i++)
		ncached += pages[i] & 1;
	return ncached * PAGE;
}

/* The block without the part of a page that libc has its header in. */
static void *whole_pages(void *block)
{
	return (void *)(((uintptr_t)block + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
}

static bool is_about(uint64_t bytes, uint64_t expected)
{
	return bytes + MIB >= expected && bytes <= expected + MIB;
}

/* ---- 2. is it physical before it is touched? ----------------------------- */

struct state {
	uint64_t rss, cached, storage;
};

static struct state look(const struct side *side, void *block, uint64_t storage_before)
{
	return (struct state){ .rss = smaps_of(block, LARGE).bytes[RSS],
			       .cached = count_cached(block),
			       .storage = side->heap ? side_storage(side) - storage_before : 0 };
}

static void check_touch(const struct side *side, const struct state *fresh,
			const struct state *touched)
{
	const char *who = side->name;

	must(fresh->rss < MIB, "%s: before the touch %" PRIu64 " bytes are resident", who, fresh->rss);
	must(is_about(touched->rss, LARGE), "%s: after it, %" PRIu64 " are", who, touched->rss);
	must(touched->cached == LARGE, "%s: and in memory, %" PRIu64, who, touched->cached);
	if (!side->heap)
		return;
	must(is_about(fresh->storage, LARGE), "%s: storage at once, %" PRIu64, who, fresh->storage);
	must(is_about(touched->storage, fresh->storage), "%s: no more of it later, %" PRIu64, who,
	     touched->storage);
}

static void print_state(const struct side *side, const char *when, const struct state *s)
{
	char storage[24] = "        -";

	if (side->heap)
		snprintf(storage, sizeof storage, "%6" PRIu64 " kB", s->storage / KIB);
	evidence("%-7s %-8s %6" PRIu64 " kB  %6" PRIu64 " kB  %s", side->name, when, s->rss / KIB,
		 s->cached / KIB, storage);
}

/* How much shared memory the machine has more after malloc alone.  Others take and give
 * back, too: the experiment is repeated until it is not drowned. */
static uint64_t measure_taken(const struct side *side)
{
	uint64_t before, after, taken = 0;

	for (int i = 0; i < 20 && !is_about(taken, LARGE); i++) {
		void *block;

		side_trim(side);
		before = kernel_number("/proc/meminfo", "Shmem");
		block = side_malloc(side, LARGE);
		after = kernel_number("/proc/meminfo", "Shmem");
		side_free(side, block);
		taken = after > before ? after - before : 0;
	}
	must(taken > LARGE / 2, "malloc takes memory, of which Shmem says %" PRIu64, taken);
	return taken;
}

void ask_if_physical(void)
{
	struct side side[3] = { side_libc(), side_comap(NULL), side_disk(NULL) };
	struct state fresh[3], touched[3];
	int nsides = side[2].heap ? 3 : 2;
	uint64_t taken;

	for (int i = 0; i < nsides; i++) {
		uint64_t before = side[i].heap ? side_storage(&side[i]) : 0;
		void *block = whole_pages(side_malloc(&side[i], LARGE + PAGE));

		fresh[i] = look(&side[i], block, before);
		touch(block, LARGE);
		touched[i] = look(&side[i], block, before);
		check_touch(&side[i], &fresh[i], &touched[i]);
	}
	must(fresh[0].cached < MIB, "libc: nothing is in memory yet");
	taken = measure_taken(&side[1]);

	answer("libc: no. comap without a file: yes, %.0f MiB of pages are taken when malloc returns, and "
	       "zeroed and put into the page table (Rss) when touched. comap in a file: malloc reserves "
	       "the blocks on the disk, and they become memory when touched. So a full disk is an error "
	       "from malloc, never a SIGBUS from a store (6).",
	       mib(LARGE));
	evidence("                       Rss    mincore  st_blocks");
	for (int i = 0; i < nsides; i++) {
		print_state(&side[i], "malloc", &fresh[i]);
		print_state(&side[i], "touched", &touched[i]);
	}
	evidence("comap   malloc alone, untouched: Shmem of /proc/meminfo rose by %" PRIu64 " kB",
		 taken / KIB);
	if (nsides < 3)
		skipped("the heap in a file: %s", side_no_disk);
	side_close(&side[1]);
	side_close(&side[2]);
}

/* ---- 3. how many page faults for a MiB? ----------------------------------- */

enum { WRITE, AGAIN, REUSE, READ, READ_WRITE, NTRIES };

static double per_mib(uint64_t faults_before, size_t size)
{
	return (double)(count_faults() - faults_before) / mib(size);
}

static void measure_faults(const struct side *side, size_t size, double tries[NTRIES])
{
	void *whole = side_malloc(side, size + PAGE), *block = whole_pages(whole);
	uint64_t before = count_faults();

	touch(block, size);
	tries[WRITE] = per_mib(before, size);
	before = count_faults();
	touch(block, size);
	tries[AGAIN] = per_mib(before, size);
	side_free(side, whole);

	before = count_faults();
	whole = side_malloc(side, size + PAGE);
	block = whole_pages(whole);
	touch(block, size);
	tries[REUSE] = per_mib(before, size);
	side_free(side, whole);

	side_trim(side);
	whole = side_malloc(side, size + PAGE);
	block = whole_pages(whole);
	before = count_faults();
	peek(block, size);
	tries[READ] = per_mib(before, size);
	before = count_faults();
	touch(block, size);
	tries[READ_WRITE] = per_mib(before, size);
	side_free(side, whole);
}

void ask_faults(void)
{
	static const char *const names[NTRIES] = {
		[WRITE] = "written", [AGAIN] = "written again", [REUSE] = "freed, had again, written",
		[READ] = "trimmed, had again, read", [READ_WRITE] = "and then written",
	};
	struct comap_heap_opts keep = COMAP_HEAP_OPTS_INIT;
	struct side side[3];
	double tries[3][NTRIES];
	char setting[64], shmem[64];
	int nsides;

	keep.dirty_max = 2 * LARGE; /* free keeps the block's storage for the next malloc */
	side[0] = side_libc();
	side[1] = side_comap(&keep);
	side[2] = side_disk(&keep);
	nsides = side[2].heap ? 3 : 2;
	for (int i = 0; i < nsides; i++) {
		double *t = tries[i];

		/* little on the disk, which may be busy: a punch waits for pages being written */
		measure_faults(&side[i], i == 2 ? LARGE / 8 : LARGE, t);
		must(t[WRITE] > 0 && t[WRITE] < 258, "%s: a fault for a page at most, not %.1f a MiB",
		     side[i].name, t[WRITE]);
		must(t[AGAIN] < 1, "%s: no fault the second time, not %.1f", side[i].name, t[AGAIN]);
		must(t[READ] < 258, "%s: a read faults once a page at most, not %.1f", side[i].name,
		     t[READ]);
	}
	must(tries[0][REUSE] > 0.5 * tries[0][WRITE], "libc: a new mapping faults anew");
	must(tries[1][REUSE] < 1, "comap: a block had again does not fault, not %.1f", tries[1][REUSE]);

	answer("%.0f with libc and %.0f with comap; one for each page of 4 KiB makes 256, and huge pages "
	       "would make it fewer. None the second time. A large block that was freed and is had "
	       "again: %.0f with libc, which unmapped it, and %.0f with comap, which kept it (up to "
	       "dirty_max).",
	       tries[0][WRITE], tries[1][WRITE], tries[0][REUSE], tries[1][REUSE]);
	evidence("ru_minflt per MiB               libc    comap%s", nsides == 3 ? "     file" : "");
	for (int t = 0; t < NTRIES; t++) {
		char file[16] = "";

		if (nsides == 3)
			snprintf(file, sizeof file, "%8.1f", tries[2][t]);
		evidence("%-26s %8.1f %8.1f %s", names[t], tries[0][t], tries[1][t], file);
	}
	evidence("transparent_hugepage: enabled %s, shmem_enabled %s",
		 kernel_text("/sys/kernel/mm/transparent_hugepage/enabled", setting),
		 kernel_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shmem));
	if (nsides < 3)
		skipped("the heap in a file: %s", side_no_disk);
	side_close(&side[1]);
	side_close(&side[2]);
}
