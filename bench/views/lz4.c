/*
 * lz4.c - inflating a .lz4 file against the lz4 tool, and reading it here and there.
 *
 * The file is the tool's own, by its defaults: independent blocks of 4 MiB, a checksum of the
 * content.  Both verify what is there to verify.  The tool is one process with its start and its
 * end; so it is for whoever calls it.
 *
 * `auto` makes a file by comap_lz4_unpack; `auto-mapped` inflates into the mapping of a new one.
 *
 * Random reads want small blocks: comap_lz4_write makes them, 64 KiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <comap/lz4view.h>
#include "views.h"

extern char **environ;

#define ALL (views_mib * MIB / 4)

static struct file content(void)
{
	return file_named("text", 11, ALL);
}

static const char *path_of(const char *name)
{
	static char path[512];

	snprintf(path, sizeof path, "%s/%s", views_dir, name);
	return path;
}

static void run_lz4(const char *const argv[], bool is_to_nowhere)
{
	posix_spawn_file_actions_t actions;
	int status, err;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	if (is_to_nowhere)
		posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	err = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (err == ENOENT)
		not_here("the lz4 tool");
	if (err || waitpid(pid, &status, 0) != pid || status != 0)
		wrong("the lz4 tool failed");
}

/* ---- all of it -------------------------------------------------------------- */

/* Rows by size: with the content's checksum or without. */
enum { CHECKED, UNCHECKED, IN_MEMORY };

static const char *packed_name(const struct row *row)
{
	return row->n == UNCHECKED ? "unchecked.lz4" : "checked.lz4";
}

static void prepare_inflate(const struct row *row)
{
	struct file file = content();
	char packed[512];

	file_make(&file);
	snprintf(packed, sizeof packed, "%s/%s", views_dir, packed_name(row));
	if (access(packed, R_OK) < 0) {
		const char *argv[] = { "lz4", "-q", "-f", "--no-frame-crc", file.path, packed, NULL };

		if (row->n != UNCHECKED) {
			argv[3] = file.path;
			argv[4] = packed;
			argv[5] = NULL;
		}
		run_lz4(argv, false);
	}
	file_sum_seen(packed);
}

static char *inflated; /* in memory */

static void ready_inflate(const struct row *row)
{
	(void)row;
	if (unlink(path_of("made")) < 0 && errno != ENOENT)
		fail("remove", path_of("made"));
}

static uint64_t want_inflated(const struct row *row)
{
	struct file file = content();

	(void)row;
	return file_sum(&file);
}

static uint64_t look_inflated(const struct row *row)
{
	uint64_t sum;

	if (row->n != IN_MEMORY) {
		sum = file_sum_seen(path_of("made"));
		ready_inflate(row);
		return sum;
	}
	if (!inflated) /* the tool wrote it to nowhere, and its checksum was right */
		return want_inflated(row);
	sum = sum_of(inflated, ALL);
	munmap(inflated, ALL);
	inflated = NULL;
	return sum;
}

static uint64_t inflate_tool(const struct row *row)
{
	char packed[512];

	snprintf(packed, sizeof packed, "%s/%s", views_dir, packed_name(row));
	if (row->n == IN_MEMORY)
		run_lz4((const char *const[]){ "lz4", "-q", "-dc", packed, NULL }, true);
	else
		run_lz4((const char *const[]){ "lz4", "-q", "-d", packed, path_of("made"), NULL }, false);
	return 0;
}

#define CHECKS (COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT)

/* To memory: a new mapping, of a new file or of none. */
static uint64_t inflate_mapped(const struct row *row)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	comap_view *packed, *made = NULL;
	comap_lz4 *lz4;
	int err;

	if (comap_view_open(path_of(packed_name(row)), NULL, &packed) < 0 ||
	    comap_lz4_open(packed, 0, &lz4) < 0)
		wrong(comap_view_reason());
	opts.mode = COMAP_VIEW_SHARED;
	opts.flags = COMAP_VIEW_CREATE | COMAP_VIEW_EXCL;
	opts.length = ALL;
	if (row->n == IN_MEMORY)
		inflated = map_or_fail(-1, ALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	else if (comap_view_open(path_of("made"), &opts, &made) < 0)
		wrong(comap_view_reason());
	err = comap_lz4_inflate(lz4, made ? comap_view_writable(made) : inflated, ALL,
				(unsigned)method->arg, CHECKS);
	if (err < 0)
		wrong(comap_view_reason());
	comap_view_close(made);
	comap_lz4_close(lz4);
	comap_view_close(packed);
	return 0;
}

/* To a file, as the tool does. */
static uint64_t inflate_auto(const struct row *row)
{
	comap_writer *writer;
	comap_view *packed;

	if (row->n == IN_MEMORY)
		return inflate_mapped(row);
	if (comap_view_open(path_of(packed_name(row)), NULL, &packed) < 0 ||
	    comap_writer_open(path_of("made"), NULL, &writer) < 0 ||
	    comap_lz4_unpack(packed, writer, (unsigned)method->arg, CHECKS) < 0 ||
	    comap_writer_finish(writer, COMAP_WRITER_PLAIN) < 0)
		wrong(comap_view_reason());
	comap_view_close(packed);
	return 0;
}

static const struct method inflates[] = {
	{ "lz4-d", inflate_tool, 0 },
	{ "auto-1-thread", inflate_auto, 1 },
	{ "auto", inflate_auto, 0 },
	{ "auto-mapped", inflate_mapped, 0 },
	{0},
};

/* ---- here and there ----------------------------------------------------------- */

static comap_view *packed_view;
static comap_lz4 *packed_lz4;

static void prepare_random(const struct row *row)
{
	struct file file = content();
	comap_writer *writer;
	comap_view *view;

	(void)row;
	file_make(&file);
	if (comap_view_open(file.path, NULL, &view) < 0 ||
	    comap_writer_open(path_of("blocks.lz4"), NULL, &writer) < 0 ||
	    comap_lz4_write(writer, comap_view_bytes(view), NULL) < 0 ||
	    comap_writer_finish(writer, COMAP_WRITER_PLAIN) < 0)
		wrong(comap_view_reason());
	comap_view_close(view);
	file_sum_seen(path_of("blocks.lz4"));
}

static void ready_random(const struct row *row)
{
	(void)row;
	comap_lz4_close(packed_lz4);
	comap_view_close(packed_view);
	packed_lz4 = NULL;
	packed_view = NULL;
	if (comap_view_open(path_of("blocks.lz4"), NULL, &packed_view) < 0 ||
	    comap_lz4_open(packed_view, (uint32_t)method->arg, &packed_lz4) < 0)
		wrong(comap_view_reason());
}

static uint64_t want_random(const struct row *row)
{
	struct places p = places_in(ALL, row->size);
	struct file file = content();
	char bytes[PAGE];

	for (unsigned i = 0; i < row->n; i++) {
		file_copy(&file, places_next(&p), bytes, row->size);
		places_saw(&p, bytes);
	}
	return p.sum;
}

static uint64_t random_auto(const struct row *row)
{
	struct places p = places_in(ALL, row->size);
	char bytes[PAGE];

	for (unsigned i = 0; i < row->n; i++) {
		if (comap_lz4_read(packed_lz4, places_next(&p), bytes, row->size, 0) !=
		    (int64_t)row->size)
			wrong(comap_view_reason());
		places_saw(&p, bytes);
	}
	return p.sum;
}

static const struct method randoms[] = {
	{ "auto", random_auto, 0 },
	{ "auto-walk", random_auto, COMAP_LZ4_NO_INDEX },
	{0},
};

#define INFLATE(name_, how_)                                                                       \
	{                                                                                          \
		.name = name_, .unit = "ms", .methods = inflates, .prepare = prepare_inflate,      \
		.ready = ready_inflate, .want = want_inflated, .look = look_inflated, .n = how_    \
	}
const struct row lz4_rows[] = {
	INFLATE("lz4-inflate", CHECKED),
	INFLATE("lz4-inflate-nocrc", UNCHECKED),
	INFLATE("lz4-inflate-mem", IN_MEMORY),
	{ .name = "lz4-rand64", .unit = "us", .methods = randoms, .prepare = prepare_random,
	  .ready = ready_random, .want = want_random, .size = 64, .n = 5000 },
	{0},
};
