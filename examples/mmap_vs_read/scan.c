/*
 * scan.c - the file from its beginning to its end, once.
 *
 * read copies each byte, and mmap pays a page fault for each folio, or for each 64 KiB where folios
 * are small: whether copying 64 KiB or faulting for them is dearer decides.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <comap/stream.h>
#include "way.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; libc headers may be older */
#endif

static uint64_t scan_read(int size)
{
	struct summer s = {0};
	char *buffer = memory_or_die((size_t)size);
	int fd = open_or_die(stage.file, O_RDONLY);
	ssize_t got;

	while ((got = read(fd, buffer, (size_t)size)) > 0)
		sum_more(&s, buffer, (size_t)got);
	close(fd);
	return s.sum;
}

static uint64_t scan_pread(int size)
{
	struct summer s = {0};
	char *buffer = memory_or_die((size_t)size);
	int fd = open_or_die(stage.file, O_RDONLY);
	ssize_t got;

	while ((got = pread(fd, buffer, (size_t)size, (off_t)s.at)) > 0)
		sum_more(&s, buffer, (size_t)got);
	close(fd);
	return s.sum;
}

static uint64_t scan_fread(int size)
{
	struct summer s = {0};
	FILE *stream = fopen(stage.file, "re");
	char *buffer = memory_or_die((size_t)size);
	size_t got;

	if (!stream)
		err(1, "%s", stage.file);
	while ((got = fread(buffer, 1, (size_t)size, stream)) > 0)
		sum_more(&s, buffer, got);
	fclose(stream);
	return s.sum;
}

static uint64_t scan_mapped(int advice, int flags)
{
	int fd = open_or_die(stage.file, O_RDONLY);
	void *at = map_or_die(fd, stage.size, PROT_READ, MAP_SHARED | flags);
	uint64_t sum;

	advise_or_skip(at, stage.size, advice);
	sum = sum_of(at, stage.size);
	munmap(at, stage.size);
	close(fd);
	return sum;
}

static uint64_t scan_mmap(int advice)
{
	return scan_mapped(advice, 0);
}

static uint64_t scan_populate(int flags)
{
	return scan_mapped(0, flags);
}

static uint64_t scan_comap(int arg)
{
	struct summer s = {0};
	struct comap_bytes bytes;
	comap_stream *stream;
	int got;

	(void)arg;
	if (comap_stream_open(stage.file, NULL, &stream) < 0)
		errx(1, "%s", comap_view_reason());
	while ((got = comap_stream_next(stream, &bytes)) > 0)
		sum_more(&s, bytes.data, bytes.size);
	if (got < 0)
		errx(1, "%s", comap_view_reason());
	comap_stream_close(stream);
	return s.sum;
}

static uint64_t want(void)
{
	return sum_of_file(stage.file);
}

static void make_cold(void)
{
	evict(stage.file);
}

static const struct way ways[] = {
	{ "read 4 KiB", scan_read, 4 * KIB, READS },
	{ "read 256 KiB", scan_read, BLOCK, READS },
	{ "pread 256 KiB", scan_pread, BLOCK, READS },
	{ "fread", scan_fread, 4 * KIB, READS },
	{ "mmap", scan_mmap, 0, MAPS },
	{ "mmap, sequential", scan_mmap, MADV_SEQUENTIAL, MAPS },
	{ "mmap, willneed", scan_mmap, MADV_WILLNEED, MAPS },
	{ "mmap, hugepage", scan_mmap, MADV_HUGEPAGE, MAPS },
	{ "mmap, populate read", scan_mmap, MADV_POPULATE_READ, MAPS },
	{ "MAP_POPULATE", scan_populate, MAP_POPULATE, MAPS },
	{ "io_uring 8 x 256 KiB", uring_scan, 0, KERNEL },
	{ "comap_stream", scan_comap, 0, COMAP },
	{0},
};

const struct task scan_task = {
	.key = "scan", .title = "Sequential scan", .ways = ways, .want = want, .bytes = size_of_file,
	.evict = make_cold, .is_of_file = true,
};
