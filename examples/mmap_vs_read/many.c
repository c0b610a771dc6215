/*
 * many.c - many small files: open each, look at all of it, close it.
 *
 * A mapping is made and torn down for each, and while it is, other threads of the process
 * wait; reading into a buffer that is there already is three times faster even without them.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <comap/view.h>
#include "way.h"

static uint64_t many_read(int arg)
{
	static char buffer[SMALL_FILE];
	uint64_t sum = 0;
	struct stat st;

	(void)arg;
	for (unsigned i = 0; i < stage.nfiles; i++) {
		int fd = open_or_die(small_path(i), O_RDONLY);
		ssize_t got = fstat(fd, &st) < 0 ? -1 : read(fd, buffer, sizeof buffer);

		if (got != st.st_size)
			err(1, "%s", small_path(i));
		sum += sum_of(buffer, (size_t)got);
		close(fd);
	}
	return sum;
}

static uint64_t many_fread(int arg)
{
	static char buffer[SMALL_FILE];
	uint64_t sum = 0;

	(void)arg;
	for (unsigned i = 0; i < stage.nfiles; i++) {
		FILE *stream = fopen(small_path(i), "re");

		if (!stream)
			err(1, "%s", small_path(i));
		sum += sum_of(buffer, fread(buffer, 1, sizeof buffer, stream));
		fclose(stream);
	}
	return sum;
}

static uint64_t many_mmap(int flags)
{
	uint64_t sum = 0;
	struct stat st;

	for (unsigned i = 0; i < stage.nfiles; i++) {
		int fd = open_or_die(small_path(i), O_RDONLY);
		void *at;

		if (fstat(fd, &st) < 0)
			err(1, "%s", small_path(i));
		at = map_or_die(fd, (uint64_t)st.st_size, PROT_READ, MAP_SHARED | flags);
		sum += sum_of(at, (size_t)st.st_size);
		munmap(at, (size_t)st.st_size);
		close(fd);
	}
	return sum;
}

static uint64_t many_comap(int arg)
{
	struct comap_bytes bytes;
	uint64_t sum = 0;
	comap_view *view;

	(void)arg;
	for (unsigned i = 0; i < stage.nfiles; i++) {
		if (comap_view_open(small_path(i), NULL, &view) < 0)
			errx(1, "%s", comap_view_reason());
		bytes = comap_view_bytes(view);
		sum += sum_of(bytes.data, bytes.size);
		comap_view_close(view);
	}
	return sum;
}

static uint64_t want(void) { return stage.many_sum; }
static uint64_t bytes(void) { return stage.nfiles * SMALL_FILE; }

static unsigned count(enum state state)
{
	(void)state;
	return stage.nfiles;
}

static void make_cold(void)
{
	for (unsigned i = 0; i < stage.nfiles; i++)
		evict(small_path(i));
}

static const struct way ways[] = {
	{ "read", many_read, 0, READS },
	{ "fread", many_fread, 0, READS },
	{ "mmap", many_mmap, 0, MAPS },
	{ "MAP_POPULATE", many_mmap, MAP_POPULATE, MAPS },
	{ "io_uring, 64 at once", uring_many, 0, KERNEL },
	{ "comap_view_open", many_comap, 0, COMAP },
	{0},
};

const struct task many_task = {
	.key = "many-files", .title = "Many files of 8 KiB", .piece = "files", .ways = ways, .want = want,
	.bytes = bytes, .count = count, .evict = make_cold,
};
