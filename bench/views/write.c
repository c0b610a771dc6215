/*
 * write.c - a new file, and a copy of one; 256 MiB (a quarter of --mib).
 *
 * Nothing is synced: what is measured is the way into the page cache, and the file is removed
 * before the kernel has written much of it.  What was made is read back, and not timed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include <comap/stream.h>
#include <comap/writer.h>
#include "views.h"

#define ALL (views_mib * MIB / 4)

static const char *target(void)
{
	static char path[512];

	snprintf(path, sizeof path, "%s/made", views_dir);
	return path;
}

static void ready(const struct row *row)
{
	(void)row;
	text_block();
	if (unlink(target()) < 0 && errno != ENOENT)
		fail("remove", target());
}

static uint64_t look(const struct row *row)
{
	uint64_t sum = file_sum_seen(target());

	ready(row);
	return sum;
}

static int create(void)
{
	return open_or_fail(target(), O_RDWR | O_CREAT | O_EXCL);
}

static void allocate(int fd)
{
	if (fallocate(fd, 0, 0, (off_t)ALL) < 0)
		not_here("fallocate");
}

/* The whole of it, from text_block(), by pieces of BLOCK. */
static const char *piece(uint64_t off)
{
	return text_block() + off % TEXT_BLOCK;
}

/* ---- a new file ------------------------------------------------------------- */

static uint64_t want_text(const struct row *row)
{
	(void)row;
	return sum_of(text_block(), TEXT_BLOCK) * (ALL / TEXT_BLOCK) +
	       sum_of(text_block(), ALL % TEXT_BLOCK);
}

static uint64_t write_write(const struct row *row)
{
	int fd = create();

	(void)row;
	if (method->arg)
		allocate(fd);
	for (uint64_t off = 0; off < ALL; off += BLOCK)
		if (write(fd, piece(off), BLOCK) != (ssize_t)BLOCK)
			fail("write", target());
	close(fd);
	return 0;
}

static uint64_t write_fwrite(const struct row *row)
{
	FILE *stream = fopen(target(), "wxe");

	(void)row;
	if (!stream)
		fail("open", target());
	for (uint64_t off = 0; off < ALL; off += PAGE)
		if (fwrite(piece(off), PAGE, 1, stream) != 1)
			fail("fwrite", target());
	if (fclose(stream) != 0)
		fail("close", target());
	return 0;
}

enum { WITH_FALLOCATE = 1, WITH_HUGE = 2, WITH_POPULATE = 4 };

static uint64_t write_mmap(const struct row *row)
{
	int fd = create();
	char *at;

	(void)row;
	if (method->arg & WITH_FALLOCATE)
		allocate(fd);
	else if (ftruncate(fd, (off_t)ALL) < 0)
		fail("ftruncate", target());
	at = map_or_fail(fd, ALL, PROT_READ | PROT_WRITE,
			 MAP_SHARED | (method->arg & WITH_POPULATE ? MAP_POPULATE : 0));
	if ((method->arg & WITH_HUGE) && madvise(at, ALL, MADV_HUGEPAGE) < 0)
		not_here("this advice");
	for (uint64_t off = 0; off < ALL; off += BLOCK)
		memcpy(at + off, piece(off), BLOCK);
	munmap(at, ALL);
	close(fd);
	return 0;
}

static comap_writer *open_writer(bool says_how_much)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	comap_writer *writer;

	opts.expect = says_how_much ? ALL : 0;
	if (comap_writer_open(target(), &opts, &writer) < 0)
		wrong(comap_view_reason());
	return writer;
}

static uint64_t write_auto(const struct row *row)
{
	comap_writer *writer = open_writer(method->arg);

	(void)row;
	for (uint64_t off = 0; off < ALL; off += BLOCK)
		if (comap_writer_write(writer, piece(off), BLOCK) < 0)
			wrong(comap_view_reason());
	if (comap_writer_finish(writer, COMAP_WRITER_PLAIN) < 0)
		wrong(comap_view_reason());
	return 0;
}

static const struct method writes[] = {
	{ "write", write_write, 0 },
	{ "falloc+write", write_write, WITH_FALLOCATE },
	{ "fwrite", write_fwrite, 0 },
	{ "mmap", write_mmap, 0 },
	{ "falloc+mmap", write_mmap, WITH_FALLOCATE },
	{ "mmap-huge", write_mmap, WITH_HUGE },
	{ "mmap-populate", write_mmap, WITH_FALLOCATE | WITH_POPULATE },
	{ "auto", write_auto, false },
	{ "auto-hint", write_auto, true },
	{0},
};

/* ---- a copy ----------------------------------------------------------------- */

static struct file source(void)
{
	return file_named("source", 7, ALL);
}

static void prepare_copy(const struct row *row)
{
	struct file file = source();

	file_make(&file);
	file_settle(&file, row->state);
}

static uint64_t want_copy(const struct row *row)
{
	struct file file = source();

	(void)row;
	return file_sum(&file);
}

static uint64_t copy_read(const struct row *row)
{
	struct file file = source();
	size_t size = (size_t)method->arg;
	char *buffer = memory_or_fail(size);
	int from = open_or_fail(file.path, O_RDONLY), to = create();
	ssize_t got;

	(void)row;
	while ((got = read(from, buffer, size)) > 0)
		if (write(to, buffer, (size_t)got) != got)
			fail("write", target());
	close(from);
	close(to);
	free(buffer);
	return 0;
}

static uint64_t copy_mmap(const struct row *row)
{
	struct file file = source();
	int from = open_or_fail(file.path, O_RDONLY), to = create();
	const char *old = map_or_fail(from, ALL, PROT_READ, MAP_SHARED);
	char *new;

	(void)row;
	if (method->arg) { /* map the new one, too */
		allocate(to);
		new = map_or_fail(to, ALL, PROT_READ | PROT_WRITE, MAP_SHARED);
		memcpy(new, old, ALL);
		munmap(new, ALL);
	} else {
		for (uint64_t off = 0; off < ALL; off += MIB) {
			size_t n = ALL - off < MIB ? ALL - off : MIB;

			if (write(to, old + off, n) != (ssize_t)n)
				fail("write", target());
		}
	}
	munmap((void *)(uintptr_t)old, ALL);
	close(from);
	close(to);
	return 0;
}

static uint64_t copy_in_kernel(const struct row *row)
{
	struct file file = source();
	int from = open_or_fail(file.path, O_RDONLY), to = create();

	(void)row;
	for (uint64_t done = 0; done < ALL;) {
		ssize_t got = method->arg ? sendfile(to, from, NULL, ALL - done)
					  : copy_file_range(from, NULL, to, NULL, ALL - done, 0);

		if (got <= 0)
			not_here("a copy in the kernel");
		done += (uint64_t)got;
	}
	close(from);
	close(to);
	return 0;
}

static uint64_t copy_splice(const struct row *row)
{
	struct file file = source();
	int from = open_or_fail(file.path, O_RDONLY), to = create(), ends[2];
	ssize_t got, put;

	(void)row;
	if (pipe2(ends, O_CLOEXEC) < 0)
		fail("make", "a pipe");
	(void)fcntl(ends[1], F_SETPIPE_SZ, MIB);
	while ((got = splice(from, NULL, ends[1], NULL, MIB, SPLICE_F_MOVE)) > 0)
		for (; got > 0; got -= put) {
			put = splice(ends[0], NULL, to, NULL, (size_t)got, SPLICE_F_MOVE);
			if (put <= 0)
				fail("splice", target());
		}
	if (got < 0)
		fail("splice", file.path);
	close(ends[0]);
	close(ends[1]);
	close(from);
	close(to);
	return 0;
}

static uint64_t copy_auto(const struct row *row)
{
	struct file file = source();
	comap_writer *writer = open_writer(method->arg);
	comap_view *view;

	(void)row;
	if (comap_view_open(file.path, NULL, &view) < 0 || comap_writer_copy(writer, view, 0, 0) < 0 ||
	    comap_writer_finish(writer, COMAP_WRITER_PLAIN) < 0)
		wrong(comap_view_reason());
	comap_view_close(view);
	return 0;
}

/* What is read on the way may be changed on the way. */
static uint64_t copy_stream(const struct row *row)
{
	struct file file = source();
	comap_writer *writer = open_writer(method->arg);
	struct comap_bytes bytes;
	comap_stream *stream;

	(void)row;
	if (comap_stream_open(file.path, NULL, &stream) < 0)
		wrong(comap_view_reason());
	while (comap_stream_next(stream, &bytes) > 0)
		if (comap_writer_write(writer, bytes.data, bytes.size) < 0)
			wrong(comap_view_reason());
	comap_stream_close(stream);
	if (comap_writer_finish(writer, COMAP_WRITER_PLAIN) < 0)
		wrong(comap_view_reason());
	return 0;
}

static const struct method copies[] = {
	{ "read+write", copy_read, BLOCK },
	{ "read+write-1m", copy_read, MIB },
	{ "mmap+write", copy_mmap, false },
	{ "mmap+mmap", copy_mmap, true },
	{ "copy_file_range", copy_in_kernel, false },
	{ "sendfile", copy_in_kernel, true },
	{ "splice", copy_splice, 0 },
	{ "auto", copy_auto, false },
	{ "auto-stream", copy_stream, false },
	{0},
};

const struct row write_rows[] = {
	{ .name = "write", .unit = "ms", .methods = writes, .ready = ready, .want = want_text,
	  .look = look },
	{ .name = "copy", .unit = "ms", .methods = copies, .prepare = prepare_copy, .ready = ready,
	  .want = want_copy, .look = look },
	{0},
};
