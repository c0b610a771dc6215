/*
 * view.c - files of one size, each as one contiguous piece of memory, looked at once.
 *
 * 256 MiB of them (--mib 1024), and 1024 at most.  The fair peer of a view is not read into a small
 * buffer, which gives no contiguous memory, but a buffer of the file's size: a new one each time,
 * or one that is kept, with large pages.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <comap/view.h>
#include "views.h"

#define ALL_OF_THEM (views_mib * MIB / 4)
enum { FILES_MOST = 1024 };

static unsigned count(const struct row *row)
{
	uint64_t n = ALL_OF_THEM / row->size;

	return n < 1 ? 1 : n > FILES_MOST ? FILES_MOST : (unsigned)n;
}

static struct file viewed(const struct row *row, unsigned i)
{
	char name[64];

	snprintf(name, sizeof name, "view-%zuk-%s-%u", row->size / KIB,
		 row->state == LARGE_FOLIOS ? "large" : "small", i);
	return file_named(name, i * (row->size / PAGE), row->size);
}

static void prepare(const struct row *row)
{
	for (unsigned i = 0; i < count(row); i++) {
		struct file file = viewed(row, i);

		file_make(&file);
		file_settle(&file, row->state);
	}
}

static uint64_t want(const struct row *row)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count(row); i++) {
		struct file file = viewed(row, i);

		sum += file_sum(&file);
	}
	return sum;
}

/* Their paths, made once: not what is measured. */
static char *paths[FILES_MOST];

static void ready(const struct row *row)
{
	if (paths[0])
		return;
	for (unsigned i = 0; i < count(row); i++) {
		struct file file = viewed(row, i);

		paths[i] = strdup(file.path);
		if (!paths[i])
			fail("keep", file.path);
	}
}

static uint64_t each(const struct row *row, uint64_t (*one)(const char *path))
{
	unsigned n = count(row);
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += one(paths[i]);
	return sum;
}

static int open_and_measure(const char *path, size_t *ret_size)
{
	int fd = open_or_fail(path, O_RDONLY);
	struct stat st;

	if (fstat(fd, &st) < 0)
		fail("stat", path);
	*ret_size = (size_t)st.st_size;
	return fd;
}

static void read_all(int fd, char *to, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t got = pread(fd, to + done, size - done, (off_t)done);

		if (got <= 0)
			fail("pread", "a file");
		done += (size_t)got;
	}
}

static uint64_t one_malloc(const char *path)
{
	size_t size;
	int fd = open_and_measure(path, &size);
	char *memory = memory_or_fail(size);
	uint64_t sum;

	read_all(fd, memory, size);
	sum = sum_of(memory, size);
	free(memory);
	close(fd);
	return sum;
}

static uint64_t one_kept(const char *path)
{
	static char *kept;
	size_t size;
	int fd = open_and_measure(path, &size);

	if (!kept) {
		size_t span = size + 2 * MIB;

		kept = map_or_fail(-1, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
		(void)madvise(kept, span, MADV_HUGEPAGE);
	}
	read_all(fd, kept, size);
	close(fd);
	return sum_of(kept, size);
}

static uint64_t one_fread(const char *path)
{
	FILE *stream = fopen(path, "re");
	struct stat st;
	char *memory;
	size_t size;
	uint64_t sum;

	if (!stream || fstat(fileno(stream), &st) < 0)
		fail("open", path);
	size = (size_t)st.st_size;
	memory = memory_or_fail(size);
	if (fread(memory, 1, size, stream) != size)
		fail("fread", path);
	sum = sum_of(memory, size);
	free(memory);
	fclose(stream);
	return sum;
}

static uint64_t one_mmap(const char *path)
{
	size_t size;
	int fd = open_and_measure(path, &size), flags = method->arg < 0 ? MAP_POPULATE : 0;
	void *at = map_or_fail(fd, size, PROT_READ, MAP_SHARED | flags);
	uint64_t sum;

	if (method->arg > 0 && madvise(at, size, method->arg) < 0)
		not_here("this advice");
	sum = sum_of(at, size);
	munmap(at, size);
	close(fd);
	return sum;
}

static uint64_t one_auto(const char *path)
{
	struct comap_bytes bytes;
	comap_view *view;
	uint64_t sum;

	if (comap_view_open(path, NULL, &view) < 0)
		wrong(comap_view_reason());
	bytes = comap_view_bytes(view);
	sum = sum_of(bytes.data, bytes.size);
	comap_view_close(view);
	return sum;
}

static uint64_t all_malloc(const struct row *row) { return each(row, one_malloc); }
static uint64_t all_kept(const struct row *row) { return each(row, one_kept); }
static uint64_t all_fread(const struct row *row) { return each(row, one_fread); }
static uint64_t all_mmap(const struct row *row) { return each(row, one_mmap); }
static uint64_t all_auto(const struct row *row) { return each(row, one_auto); }

static const struct method methods[] = {
	{ "malloc+pread", all_malloc, 0 },
	{ "kept+pread", all_kept, 0 },
	{ "fread", all_fread, 0 },
	{ "mmap", all_mmap, 0 },
	{ "mmap-seq", all_mmap, MADV_SEQUENTIAL },
	{ "mmap-willneed", all_mmap, MADV_WILLNEED },
	{ "mmap-huge", all_mmap, MADV_HUGEPAGE },
	{ "mmap-populate", all_mmap, -1 },
	{ "auto", all_auto, 0 },
	{0},
};

#define ROW(name_, size_, state_)                                                                  \
	{                                                                                          \
		.name = name_, .unit = "ms", .methods = methods, .prepare = prepare, \
		.ready = ready, .want = want, .state = state_, .size = size_         \
	}
const struct row view_rows[] = {
	ROW("view-4k", 4 * KIB, LARGE_FOLIOS),
	ROW("view-64k", 64 * KIB, LARGE_FOLIOS),
	ROW("view-1m", MIB, LARGE_FOLIOS),
	ROW("view-16m", 16 * MIB, LARGE_FOLIOS),
	ROW("view-64m", 64 * MIB, LARGE_FOLIOS),
	ROW("view-16m-small", 16 * MIB, SMALL_FOLIOS),
	ROW("view-64m-small", 64 * MIB, SMALL_FOLIOS),
	{0},
};
