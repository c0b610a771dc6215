/*
 * random.c - reads of 4 KiB and of 64 bytes, here and there in a warm file; few and many.
 *
 * Opening, mapping and unmapping count: who reads little should not pay for all of it.  What
 * is read is copied out, as pread does, and then looked at.
 *
 * `auto` is comap_view_read in a guard, without saying how much will be read; `auto-hint` says it
 * (expect).  `auto-checked` is comap_view_read alone, which asks the kernel each time.
 * `auto-bytes` looks at the view's bytes in place, with the hint `auto-bytes-hint`: there the
 * library can choose only when it opens.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <comap/guard.h>
#include "views.h"

static struct file read_from(const struct row *row)
{
	return file_named(row->state == LARGE_FOLIOS ? "large" : "small", 0, views_mib * MIB);
}

static void prepare(const struct row *row)
{
	struct file file = read_from(row);

	file_make(&file);
	file_settle(&file, row->state);
}

static uint64_t want(const struct row *row)
{
	struct file file = read_from(row);
	struct places p = places_in(views_mib * MIB, row->size);
	char bytes[PAGE];

	for (unsigned i = 0; i < row->n; i++) {
		file_copy(&file, places_next(&p), bytes, row->size);
		places_saw(&p, bytes);
	}
	return p.sum;
}

static uint64_t random_pread(const struct row *row)
{
	struct file file = read_from(row);
	struct places p = places_in(views_mib * MIB, row->size);
	int fd = open_or_fail(file.path, O_RDONLY);
	char bytes[PAGE];

	for (unsigned i = 0; i < row->n; i++) {
		if (pread(fd, bytes, row->size, (off_t)places_next(&p)) != (ssize_t)row->size)
			fail("pread", file.path);
		places_saw(&p, bytes);
	}
	close(fd);
	return p.sum;
}

static uint64_t random_fread(const struct row *row)
{
	struct file file = read_from(row);
	struct places p = places_in(views_mib * MIB, row->size);
	FILE *stream = fopen(file.path, "re");
	char bytes[PAGE];

	if (!stream)
		fail("open", file.path);
	for (unsigned i = 0; i < row->n; i++) {
		if (fseeko(stream, (off_t)places_next(&p), SEEK_SET) < 0 ||
		    fread(bytes, row->size, 1, stream) != 1)
			fail("fread", file.path);
		places_saw(&p, bytes);
	}
	fclose(stream);
	return p.sum;
}

static uint64_t look_around(const struct row *row, const char *data)
{
	struct places p = places_in(views_mib * MIB, row->size);
	char bytes[PAGE];

	for (unsigned i = 0; i < row->n; i++) {
		memcpy(bytes, data + places_next(&p), row->size);
		places_saw(&p, bytes);
	}
	return p.sum;
}

static uint64_t random_mmap(const struct row *row)
{
	struct file file = read_from(row);
	size_t size = views_mib * MIB;
	int fd = open_or_fail(file.path, O_RDONLY), flags = method->arg < 0 ? MAP_POPULATE : 0;
	char *at = map_or_fail(fd, size, PROT_READ, MAP_SHARED | flags);
	uint64_t sum;

	if (method->arg > 0 && madvise(at, size, method->arg) < 0)
		not_here("this advice");
	sum = look_around(row, at);
	munmap(at, size);
	close(fd);
	return sum;
}

static comap_view *open_view(const struct row *row, bool says_how_much)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	struct file file = read_from(row);
	comap_view *view;

	opts.access = COMAP_VIEW_RANDOM;
	opts.expect = says_how_much ? (uint64_t)row->n * row->size : 0;
	if (comap_view_open(file.path, &opts, &view) < 0)
		wrong(comap_view_reason());
	return view;
}

static uint64_t read_around(const struct row *row, const comap_view *view)
{
	struct places p = places_in(views_mib * MIB, row->size);
	char bytes[PAGE];

	for (unsigned i = 0; i < row->n; i++) {
		if (comap_view_read(view, places_next(&p), bytes, row->size) < 0)
			wrong(comap_view_reason());
		places_saw(&p, bytes);
	}
	return p.sum;
}

static uint64_t random_checked(const struct row *row)
{
	comap_view *view = open_view(row, false);
	uint64_t sum = read_around(row, view);

	comap_view_close(view);
	return sum;
}

static uint64_t random_auto(const struct row *row)
{
	comap_view *view = open_view(row, method->arg);
	comap_guard guard;
	uint64_t sum;

	if (comap_guard_install() < 0)
		wrong("the guards' handler is not to be had");
	comap_guard_enter(&guard, view);
	sum = read_around(row, view);
	if (comap_guard_leave(&guard) < 0)
		wrong("a guard says that the file was cut short");
	comap_guard_remove();
	comap_view_close(view);
	return sum;
}

static uint64_t random_bytes(const struct row *row)
{
	comap_view *view = open_view(row, method->arg);
	uint64_t sum = look_around(row, comap_view_bytes(view).data);

	comap_view_close(view);
	return sum;
}

static const struct method methods[] = {
	{ "pread", random_pread, 0 },
	{ "fread", random_fread, 0 },
	{ "mmap", random_mmap, 0 },
	{ "mmap-random", random_mmap, MADV_RANDOM },
	{ "mmap-willneed", random_mmap, MADV_WILLNEED },
	{ "mmap-populate", random_mmap, -1 },
	{ "auto", random_auto, false },
	{ "auto-hint", random_auto, true },
	{ "auto-checked", random_checked, 0 },
	{ "auto-bytes", random_bytes, false },
	{ "auto-bytes-hint", random_bytes, true },
	{0},
};

#define ROW(name_, size_, n_, state_)                                                              \
	{                                                                                          \
		.name = name_, .unit = "ms", .methods = methods, .prepare = prepare, .want = want, \
		.state = state_, .size = size_, .n = n_                                            \
	}
const struct row random_rows[] = {
	ROW("rand4k-few-large", PAGE, 2000, LARGE_FOLIOS),
	ROW("rand4k-many-large", PAGE, 200000, LARGE_FOLIOS),
	ROW("rand64-few-large", 64, 2000, LARGE_FOLIOS),
	ROW("rand64-many-large", 64, 500000, LARGE_FOLIOS),
	ROW("rand4k-few-small", PAGE, 2000, SMALL_FOLIOS),
	ROW("rand4k-many-small", PAGE, 200000, SMALL_FOLIOS),
	ROW("rand64-few-small", 64, 2000, SMALL_FOLIOS),
	ROW("rand64-many-small", 64, 500000, SMALL_FOLIOS),
	{0},
};
