/*
 * open.c - what a view and a guard cost themselves.
 *
 * A view against the system calls that it cannot do without: a small file is opened, measured,
 * read and closed; a large one opened, measured, asked for its file system (it may be on a
 * network), mapped, unmapped and closed, and not looked at: that is what other rows measure.
 *
 * A guard of a sealed memfd is a few stores.  Where the file can be cut short, leaving it asks for
 * the file's size, a system call.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <comap/guard.h>
#include "views.h"

static struct file opened(const struct row *row)
{
	return file_named(row->size > MIB ? "open-large" : "open-small", 3, row->size);
}

static void prepare(const struct row *row)
{
	struct file file = opened(row);

	file_make(&file);
	file_settle(&file, LARGE_FOLIOS);
}

static uint64_t first_word(const void *data)
{
	uint64_t word;

	memcpy(&word, data, sizeof word);
	return word;
}

static uint64_t want_first(const struct row *row)
{
	struct file file = opened(row);
	uint64_t word;

	file_copy(&file, 0, &word, sizeof word);
	return word * row->n;
}

static uint64_t bare_copy(const struct row *row)
{
	struct file file = opened(row);
	char buffer[PAGE];
	uint64_t sum = 0;
	struct stat st;

	for (unsigned i = 0; i < row->n; i++) {
		int fd = open_or_fail(file.path, O_RDONLY);

		if (fstat(fd, &st) < 0 || pread(fd, buffer, (size_t)st.st_size, 0) != st.st_size)
			fail("read", file.path);
		close(fd);
		sum += first_word(buffer);
	}
	return sum;
}

static uint64_t bare_map(const struct row *row)
{
	struct file file = opened(row);
	uint64_t sum = 0;
	struct statfs fs;
	struct stat st;
	void *at;

	for (unsigned i = 0; i < row->n; i++) {
		int fd = open_or_fail(file.path, O_RDONLY);

		if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
			fail("stat", file.path);
		at = map_or_fail(fd, (size_t)st.st_size, PROT_READ, MAP_SHARED);
		sum += (uint64_t)st.st_size;
		munmap(at, (size_t)st.st_size);
		close(fd);
	}
	return sum;
}

static uint64_t want_sizes(const struct row *row)
{
	return row->size * row->n;
}

static uint64_t open_auto(const struct row *row)
{
	struct file file = opened(row);
	struct comap_bytes bytes;
	uint64_t sum = 0;
	comap_view *view;

	for (unsigned i = 0; i < row->n; i++) {
		if (comap_view_open(file.path, NULL, &view) < 0)
			wrong(comap_view_reason());
		bytes = comap_view_bytes(view);
		sum += row->size > MIB ? bytes.size : first_word(bytes.data);
		comap_view_close(view);
	}
	return sum;
}

static const struct method copies[] = { { "bare", bare_copy, 0 }, { "auto", open_auto, 0 }, {0} };
static const struct method maps[] = { { "bare", bare_map, 0 }, { "auto", open_auto, 0 }, {0} };

/* ---- guards ----------------------------------------------------------------- */

static comap_view *guarded;
static int bare_fd = -1;

static void open_guarded(const struct row *row)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	struct file file = opened(row);
	bool is_sealed = method->arg;
	int err;

	if (bare_fd >= 0)
		return;
	bare_fd = open_or_fail(file.path, O_RDONLY);
	opts.how = COMAP_VIEW_MAP;
	if (comap_guard_install() < 0)
		wrong("no guards");
	err = is_sealed ? comap_view_open_memfd("bench", MIB, &guarded)
			: comap_view_open(file.path, &opts, &guarded);
	if (err == 0 && is_sealed) {
		memset(comap_view_writable(guarded), 1, 8);
		err = comap_view_seal(guarded, false);
	}
	if (err < 0)
		wrong(comap_view_reason());
}

static uint64_t want_guarded(const struct row *row)
{
	return row->n;
}

static uint64_t guard_auto(const struct row *row)
{
	uint64_t n = 0;
	comap_guard guard;

	for (unsigned i = 0; i < row->n; i++) {
		comap_guard_enter(&guard, guarded);
		n += comap_guard_leave(&guard) == 0;
	}
	return n;
}

static uint64_t guard_bare(const struct row *row)
{
	uint64_t n = 0;
	struct stat st;

	for (unsigned i = 0; i < row->n; i++)
		n += fstat(bare_fd, &st) == 0;
	return n;
}

static const struct method guards[] = {
	{ "auto", guard_auto, true }, /* sealed */
	{ "auto-file", guard_auto, false },
	{ "fstat", guard_bare, false },
	{0},
};

const struct row open_rows[] = {
	{ .name = "open-copy", .unit = "us", .methods = copies, .prepare = prepare, .want = want_first,
	  .size = PAGE, .n = 5000 },
	{ .name = "open-map", .unit = "us", .methods = maps, .prepare = prepare, .want = want_sizes,
	  .size = 64 * MIB, .n = 5000 },
	{ .name = "guard", .unit = "ns", .methods = guards, .prepare = prepare, .ready = open_guarded,
	  .want = want_guarded, .size = 64 * MIB, .n = 100000 },
	{0},
};
