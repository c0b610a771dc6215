/*
 * scan.c - one warm file, from its beginning to its end, once.
 *
 * Which way is the fastest depends on how the file came into the page cache, so it is there twice:
 * once read in one go, in large folios, once after a few thousand small reads.  `auto` is a
 * comap_stream.  `auto-view` is a view of all of it, which is contiguous and can only be mapped at
 * that size; it is here to be seen, not to be judged.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <comap/stream.h>
#include "views.h"

static struct file scanned(const struct row *row)
{
	return file_named(row->state == LARGE_FOLIOS ? "large" : "small", 0, views_mib * MIB);
}

static void prepare(const struct row *row)
{
	struct file file = scanned(row);

	file_make(&file);
	file_settle(&file, row->state);
}

static uint64_t want(const struct row *row)
{
	struct file file = scanned(row);

	return file_sum(&file);
}

static uint64_t scan_read(const struct row *row)
{
	struct file file = scanned(row);
	struct summer s = {0};
	char *buffer = memory_or_fail(BLOCK);
	int fd = open_or_fail(file.path, O_RDONLY);
	ssize_t got;

	while ((got = read(fd, buffer, BLOCK)) > 0)
		sum_more(&s, buffer, (size_t)got);
	close(fd);
	free(buffer);
	return s.sum;
}

static uint64_t scan_pread(const struct row *row)
{
	struct file file = scanned(row);
	struct summer s = {0};
	char *buffer = memory_or_fail(BLOCK);
	int fd = open_or_fail(file.path, O_RDONLY);
	ssize_t got;

	while ((got = pread(fd, buffer, BLOCK, (off_t)s.at)) > 0)
		sum_more(&s, buffer, (size_t)got);
	close(fd);
	free(buffer);
	return s.sum;
}

static uint64_t scan_fread(const struct row *row)
{
	struct file file = scanned(row);
	struct summer s = {0};
	FILE *stream = fopen(file.path, "re");
	char buffer[4096];
	size_t got;

	if (!stream)
		fail("open", file.path);
	while ((got = fread(buffer, 1, sizeof buffer, stream)) > 0)
		sum_more(&s, buffer, got);
	fclose(stream);
	return s.sum;
}

static uint64_t scan_mmap(const struct row *row)
{
	struct file file = scanned(row);
	size_t size = views_mib * MIB;
	int fd = open_or_fail(file.path, O_RDONLY), flags = method->arg < 0 ? MAP_POPULATE : 0;
	void *at = map_or_fail(fd, size, PROT_READ, MAP_SHARED | flags);
	uint64_t sum;

	if (method->arg > 0 && madvise(at, size, method->arg) < 0)
		not_here("this advice");
	sum = sum_of(at, size);
	munmap(at, size);
	close(fd);
	return sum;
}

static uint64_t scan_auto(const struct row *row)
{
	struct file file = scanned(row);
	struct summer s = {0};
	struct comap_bytes bytes;
	comap_stream *stream;

	if (comap_stream_open(file.path, NULL, &stream) < 0)
		wrong(comap_view_reason());
	while (comap_stream_next(stream, &bytes) > 0)
		sum_more(&s, bytes.data, bytes.size);
	comap_stream_close(stream);
	return s.sum;
}

static uint64_t scan_view(const struct row *row)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	struct file file = scanned(row);
	struct comap_bytes bytes;
	comap_view *view;
	uint64_t sum;

	opts.access = COMAP_VIEW_SCAN;
	if (comap_view_open(file.path, &opts, &view) < 0)
		wrong(comap_view_reason());
	bytes = comap_view_bytes(view);
	sum = sum_of(bytes.data, bytes.size);
	comap_view_close(view);
	return sum;
}

static const struct method methods[] = {
	{ "read", scan_read, 0 },
	{ "pread", scan_pread, 0 },
	{ "fread", scan_fread, 0 },
	{ "mmap", scan_mmap, 0 },
	{ "mmap-seq", scan_mmap, MADV_SEQUENTIAL },
	{ "mmap-willneed", scan_mmap, MADV_WILLNEED },
	{ "mmap-huge", scan_mmap, MADV_HUGEPAGE },
	{ "mmap-populate", scan_mmap, -1 },
	{ "auto", scan_auto, 0 },
	{ "auto-view", scan_view, 0 },
	{0},
};

const struct row scan_rows[] = {
	{ .name = "scan-large", .unit = "ms", .methods = methods, .prepare = prepare, .want = want },
	{ .name = "scan-small", .unit = "ms", .methods = methods, .prepare = prepare, .want = want,
	  .state = SMALL_FOLIOS },
	{0},
};
