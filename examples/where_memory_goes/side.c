/* side.c - the same calls for libc and for comap. */
#include "side.h"
#include <err.h>
#include <linux/magic.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "evidence.h"
#include "smaps.h"

const char side_no_disk[] = "no ext4, xfs or overlay with 512 MiB free at $TMPDIR, /var/tmp, /tmp or .";

struct side side_libc(void)
{
	return (struct side){ .name = "libc", .rss_before = smaps_of_anonymous().bytes[RSS] };
}

static struct side make_side(const char *name, comap_heap *heap)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	int e = comap_heap_get_stats(heap, &stats);

	if (e)
		errx(1, "stats: %s", strerror(-e));
	/* The address of offset 1, less 1: zero is null. */
	return (struct side){ .name = name,
			      .heap = heap,
			      .base = (char *)comap_heap_at(heap, (comap_ref){ .off = 1 }) - 1,
			      .ceiling = stats.max_size };
}

struct side side_comap(const struct comap_heap_opts *opts)
{
	comap_heap *heap;
	int e = comap_heap_open_anon(opts, &heap);

	if (e)
		errx(1, "heap: %s %s", strerror(-e), comap_heap_open_reason());
	if (comap_heap_fd(heap) < 0)
		errx(77, "this system has no memfd");
	return make_side("comap", heap);
}

/* Does its page cache go to a disk, and does it keep fallocate's promise? */
static bool is_disk(const char *directory)
{
	struct statfs fs;

	if (access(directory, W_OK | X_OK) < 0 || statfs(directory, &fs) < 0)
		return false;
	if ((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < 512 * MIB)
		return false;
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC ||
	       fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

struct side side_disk(const struct comap_heap_opts *opts)
{
	const char *directories[] = { getenv("TMPDIR"), "/var/tmp", "/tmp", "." };
	struct comap_heap_opts o = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	char path[4096];
	size_t i = 0;
	int e;

	while (i < 4 && !(directories[i] && is_disk(directories[i])))
		i++;
	if (i == 4)
		return (struct side){ .name = "none" };
	if (opts)
		o = *opts;
	o.flags |= COMAP_HEAP_CREATE | COMAP_HEAP_EXCL;
	snprintf(path, sizeof path, "%s/where_memory_goes.%d", directories[i], (int)getpid());
	e = comap_heap_open(path, &o, &heap);
	if (e)
		errx(1, "heap %s: %s %s", path, strerror(-e), comap_heap_open_reason());
	e = comap_heap_unlink(path);
	if (e)
		errx(1, "unlink %s: %s", path, strerror(-e));
	return make_side("file", heap);
}

void side_close(struct side *side)
{
	comap_heap_close(side->heap);
	side->heap = NULL;
}

void *side_malloc(const struct side *side, size_t size)
{
	/* volatile: a compiler may leave out a malloc whose block nobody uses */
	void *volatile block = side->heap ? comap_heap_malloc(side->heap, size) : malloc(size);

	if (!block)
		err(1, "%s: malloc(%zu)", side->name, size);
	return block;
}

void side_free(const struct side *side, void *block)
{
	if (side->heap)
		comap_heap_free(side->heap, block);
	else
		free(block);
}

size_t side_usable(const struct side *side, void *block)
{
	return side->heap ? comap_heap_usable_size(side->heap, block) : malloc_usable_size(block);
}

void side_trim(const struct side *side)
{
	int e = 0;

	if (side->heap)
		e = comap_heap_trim(side->heap);
	else
		malloc_trim(0);
	if (e)
		errx(1, "%s: trim: %s", side->name, strerror(-e));
}

void side_check(const struct side *side)
{
	must(comap_heap_check(side->heap, NULL, NULL) == 0, "the heap (%s) is whole", side->name);
}

uint64_t side_rss(const struct side *side)
{
	uint64_t now;

	if (side->heap)
		return smaps_of(side->base, side->ceiling).bytes[RSS];
	now = smaps_of_anonymous().bytes[RSS];
	return now > side->rss_before ? now - side->rss_before : 0;
}

uint64_t side_storage(const struct side *side)
{
	struct stat st;

	if (!side->heap)
		return side_rss(side);
	if (fstat(comap_heap_fd(side->heap), &st) < 0)
		err(1, "fstat");
	return (uint64_t)st.st_blocks * 512;
}
