/*
 * ceiling.c - a heap larger than the machine.
 *
 * A comap heap is mapped once, for as much as it may ever have: others would
 * have to remap, too, if it moved.  That is address space, and free of charge;
 * what counts is what is used.  When the storage is used up, malloc says so.
 *
 * The last part needs a file system that is full: a small tmpfs, on /tmp of a
 * mount namespace of our own, where nobody else sees it.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "evidence.h"
#include "questions.h"
#include "side.h"
#include "smaps.h"

#define USED (32 * MIB)
#define QUOTA (16 * MIB)
#define TMPFS (16 * MIB)

enum { BLOCK = 1 << 20 };

/* Take and write blocks until there are no more.  Returns how many; errno says why. */
static int take_all(comap_heap *heap, void **ret_last)
{
	int n = 0, e;
	void *block;

	for (errno = 0; (block = comap_heap_malloc(heap, BLOCK)); n++) {
		memset(block, 1, BLOCK);
		*ret_last = block;
	}
	e = errno;
	must(n > 0, "there is some room");
	errno = e;
	return n;
}

static void show_quota(void)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct side side;
	void *last = NULL;
	int n, e;

	opts.quota = QUOTA;
	side = side_comap(&opts);
	n = take_all(side.heap, &last);
	e = errno;
	must(e == ENOMEM, "a quota reached is ENOMEM, not %s", strerror(e));
	must((uint64_t)n * BLOCK <= QUOTA, "no more than the quota");
	side_check(&side);
	evidence("comap   quota 16 MiB: %d blocks of 1 MiB, then NULL, %s", n, strerrorname_np(e));
	side_close(&side);
}

/* ---- a tmpfs that is full ------------------------------------------------ */

/* What happens without fallocate: a sparse file of that size, mapped and written. */
static int write_sparse_file(const char *path)
{
	char *map;
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), status;
	pid_t pid;

	if (fd < 0 || unlink(path) < 0 || ftruncate(fd, 2 * (off_t)TMPFS) < 0)
		err(1, "%s", path);
	map = mmap(NULL, 2 * TMPFS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(1, "mmap");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0); /* no core of it */
		touch(map, 2 * TMPFS);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "wait");
	munmap(map, 2 * TMPFS);
	close(fd);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void fill_tmpfs(void)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	int n, e, signal = write_sparse_file("/tmp/sparse");
	comap_heap *heap;
	void *last = NULL;

	must(signal == SIGBUS, "a store into a hole of a full tmpfs is SIGBUS, not %d", signal);
	evidence("mmap    a sparse file on a tmpfs of 16 MiB, written: SIG%s", sigabbrev_np(signal));

	opts.flags = COMAP_HEAP_CREATE | COMAP_HEAP_EXCL;
	e = comap_heap_open("/tmp/heap", &opts, &heap);
	if (e)
		errx(1, "heap on a tmpfs: %s %s", strerror(-e), comap_heap_open_reason());
	n = take_all(heap, &last);
	e = errno;
	must(e == ENOSPC, "a full tmpfs is ENOSPC, not %s", strerror(e));
	must(comap_heap_check(heap, NULL, NULL) == 0, "the heap on a full tmpfs is whole");
	comap_heap_free(heap, last);
	last = comap_heap_malloc(heap, BLOCK);
	must(last != NULL, "after a free there is room again");
	memset(last, 1, BLOCK);
	evidence(
		"comap   a heap on it: %d blocks of 1 MiB, all written, then NULL, %s; after a free, "
		"again a block",
		n, strerrorname_np(e));
	comap_heap_close(heap);
}

static void show_full_disk(void)
{
	if (unshare(CLONE_NEWNS) < 0) {
		skipped("the full tmpfs: no mount namespace: %s", strerror(errno));
		return;
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=16m") < 0) {
		skipped("the full tmpfs: mount: %s", strerror(errno));
		return;
	}
	fill_tmpfs();
}

/* ---- 6. larger than RAM -------------------------------------------------- */

void ask_larger_than_ram(void)
{
	uint64_t ram = kernel_number("/proc/meminfo", "MemTotal"), rss, empty;
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	char overcommit[64];
	struct side side;
	struct smaps m;
	void *volatile of_libc; /* or a compiler may leave out malloc and free */
	void *too_much, *block;
	int e;

	opts.max_size = 2 * ram;
	side = side_comap(&opts);
	empty = side_storage(&side);
	block = side_malloc(&side, USED);
	touch(block, USED);
	m = smaps_of(side.base, side.ceiling);
	rss = m.bytes[RSS];
	must(m.bytes[SIZE] >= 2 * ram - 4 * MIB, "the mapping is as large as the ceiling");
	must(rss >= USED && rss < USED + MIB, "only what is used counts, %" PRIu64, rss);
	must(side_storage(&side) - empty < USED + MIB, "and has storage");
	too_much = comap_heap_malloc(side.heap, side.ceiling + 1);
	e = errno;
	must(!too_much && e == ENOMEM, "more than the ceiling is NULL, ENOMEM");
	side_check(&side);

	of_libc = malloc(2 * (size_t)ram);

	answer("Yes, and it costs address space, not memory: a ceiling of %.1f GiB on a machine with %.1f GiB, of which "
	       "the %.0f MiB in use count. Past the ceiling, the quota or the end of the storage malloc "
	       "returns NULL, with ENOMEM or ENOSPC, and the heap is whole.",
	       mib(side.ceiling) / 1024, mib(ram) / 1024, mib(USED));
	smaps_print("comap", &m, 1u << SIZE | 1u << RSS);
	evidence("comap   st_blocks: %" PRIu64 " kB", side_storage(&side) / KIB);
	evidence("comap   malloc(ceiling + 1): NULL, %s", strerrorname_np(e));
	evidence("libc    malloc(2 x RAM): %s (vm.overcommit_memory = %s)",
		 of_libc ? "granted, to be killed when it is used" : "NULL",
		 kernel_text("/proc/sys/vm/overcommit_memory", overcommit));
	free(of_libc);
	side_close(&side);
	show_quota();
	show_full_disk();
}
