/*
 * files.c - ten thousand files of 8 KiB: open each, look at all of it, close it.
 *
 * The plain way is open, fstat, read into a buffer that is kept, close.  What a
 * library adds to that is its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <comap/stream.h>
#include "views.h"

static struct file small_file(const struct row *row, unsigned i)
{
	char name[64];

	snprintf(name, sizeof name, "many/%u", i);
	return file_named(name, i * (row->size / PAGE), row->size);
}

static void prepare(const struct row *row)
{
	char folder[512];

	snprintf(folder, sizeof folder, "%s/many", views_dir);
	if (mkdir(folder, 0700) < 0 && errno != EEXIST)
		fail("make", folder);
	for (unsigned i = 0; i < row->n; i++) {
		struct file file = small_file(row, i);

		file_make(&file);
		if (file_sum_seen(file.path) != file_sum(&file))
			wrong("a file is not as it was made");
	}
}

static uint64_t want(const struct row *row)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < row->n; i++) {
		struct file file = small_file(row, i);

		sum += file_sum(&file);
	}
	return sum;
}

/* Their paths, made once: not what is measured. */
static char **paths;

static void ready(const struct row *row)
{
	if (paths)
		return;
	paths = memory_or_fail(row->n * sizeof *paths);
	for (unsigned i = 0; i < row->n; i++) {
		struct file file = small_file(row, i);

		paths[i] = strdup(file.path);
		if (!paths[i])
			fail("keep", file.path);
	}
}

static uint64_t plain(const char *path, char *buffer, size_t room)
{
	int fd = open_or_fail(path, O_RDONLY);
	struct stat st;
	ssize_t got;

	if (fstat(fd, &st) < 0 || (size_t)st.st_size > room)
		fail("stat", path);
	got = read(fd, buffer, (size_t)st.st_size);
	if (got != st.st_size)
		fail("read", path);
	close(fd);
	return sum_of(buffer, (size_t)got);
}

static uint64_t many_plain(const struct row *row)
{
	char *kept = memory_or_fail(row->size);
	uint64_t sum = 0;

	for (unsigned i = 0; i < row->n; i++) {
		if (method->arg) {
			char *buffer = memory_or_fail(row->size);

			sum += plain(paths[i], buffer, row->size);
			free(buffer);
		} else {
			sum += plain(paths[i], kept, row->size);
		}
	}
	free(kept);
	return sum;
}

static uint64_t many_fread(const struct row *row)
{
	char *kept = memory_or_fail(row->size);
	uint64_t sum = 0;

	for (unsigned i = 0; i < row->n; i++) {
		FILE *stream = fopen(paths[i], "re");

		if (!stream)
			fail("open", paths[i]);
		sum += sum_of(kept, fread(kept, 1, row->size, stream));
		fclose(stream);
	}
	free(kept);
	return sum;
}

static uint64_t many_mmap(const struct row *row)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < row->n; i++) {
		int fd = open_or_fail(paths[i], O_RDONLY);
		struct stat st;
		void *at;

		if (fstat(fd, &st) < 0)
			fail("stat", paths[i]);
		at = map_or_fail(fd, (size_t)st.st_size, PROT_READ, MAP_SHARED | method->arg);
		sum += sum_of(at, (size_t)st.st_size);
		munmap(at, (size_t)st.st_size);
		close(fd);
	}
	return sum;
}

static uint64_t many_auto(const struct row *row)
{
	struct comap_bytes bytes;
	uint64_t sum = 0;
	comap_view *view;

	for (unsigned i = 0; i < row->n; i++) {
		if (comap_view_open(paths[i], NULL, &view) < 0)
			wrong(comap_view_reason());
		bytes = comap_view_bytes(view);
		sum += sum_of(bytes.data, bytes.size);
		comap_view_close(view);
	}
	return sum;
}

static uint64_t many_streams(const struct row *row)
{
	struct comap_bytes bytes;
	comap_stream *stream;
	uint64_t sum = 0;

	for (unsigned i = 0; i < row->n; i++) {
		struct summer s = {0};

		if (comap_stream_open(paths[i], NULL, &stream) < 0)
			wrong(comap_view_reason());
		while (comap_stream_next(stream, &bytes) > 0)
			sum_more(&s, bytes.data, bytes.size);
		comap_stream_close(stream);
		sum += s.sum;
	}
	return sum;
}

static const struct method methods[] = {
	{ "plain", many_plain, false },
	{ "malloc+read", many_plain, true },
	{ "fread", many_fread, 0 },
	{ "mmap", many_mmap, 0 },
	{ "mmap-populate", many_mmap, MAP_POPULATE },
	{ "auto", many_auto, 0 },
	{ "auto-stream", many_streams, 0 },
	{0},
};

const struct row file_rows[] = {
	{ .name = "many-8k", .unit = "us", .methods = methods, .prepare = prepare, .ready = ready,
	  .want = want, .size = 8 * KIB, .n = 10000 },
	{0},
};
