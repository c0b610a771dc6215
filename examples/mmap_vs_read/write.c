/*
 * write.c - a new file, and a copy of one.
 *
 * A store into a new mapped page is a fault, in which the kernel finds storage for that page; write
 * does so for 256 KiB at once, and for the whole file after fallocate.  Nothing is synced, and what
 * was made is read back and removed before the kernel has written much of it.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include <comap/view.h>
#include <comap/writer.h>
#include "way.h"

static uint64_t bytes_made(void)
{
	return stage.made;
}

static const char *target(void)
{
	return in_folder("made");
}

static int create(void)
{
	return open_or_die(target(), O_RDWR | O_CREAT | O_EXCL);
}

static void allocate(int fd)
{
	if (fallocate(fd, 0, 0, (off_t)stage.made) < 0)
		not_here("fallocate: %s", strerror(errno));
}

static uint64_t look_at_target(void)
{
	uint64_t sum = sum_of_file(target());

	if (unlink(target()) < 0)
		err(1, "%s", target());
	return sum;
}

/* ---- a new file ------------------------------------------------------------- */

static const char *source_block(void) /* BLOCK bytes, again and again */
{
	static uint64_t block[BLOCK / 8];
	uint64_t seed = 3;

	for (size_t i = 0; !block[BLOCK / 8 - 1] && i < BLOCK / 8; i++)
		block[i] = next_random(&seed);
	return (const char *)block;
}

static uint64_t want_written(void)
{
	return sum_of(source_block(), BLOCK) * (stage.made / BLOCK);
}

static uint64_t write_write(int is_allocated)
{
	int fd = create();

	if (is_allocated)
		allocate(fd);
	for (uint64_t off = 0; off < stage.made; off += BLOCK)
		if (write(fd, source_block(), BLOCK) != (ssize_t)BLOCK)
			err(1, "write");
	close(fd);
	return 0;
}

static uint64_t write_pwrite(int arg)
{
	int fd = create();

	(void)arg;
	for (uint64_t off = 0; off < stage.made; off += BLOCK)
		if (pwrite(fd, source_block(), BLOCK, (off_t)off) != (ssize_t)BLOCK)
			err(1, "pwrite");
	close(fd);
	return 0;
}

static uint64_t write_fwrite(int arg)
{
	FILE *stream = fopen(target(), "wxe");

	(void)arg;
	if (!stream)
		err(1, "%s", target());
	for (uint64_t off = 0; off < stage.made; off += PAGE)
		if (fwrite(source_block() + off % BLOCK, PAGE, 1, stream) != 1)
			err(1, "fwrite");
	if (fclose(stream) != 0)
		err(1, "fclose");
	return 0;
}

static uint64_t write_mapped(int advice, bool is_allocated)
{
	int fd = create();
	char *at;

	if (is_allocated)
		allocate(fd);
	else if (ftruncate(fd, (off_t)stage.made) < 0)
		err(1, "ftruncate");
	at = map_or_die(fd, stage.made, PROT_READ | PROT_WRITE, MAP_SHARED);
	advise_or_skip(at, stage.made, advice);
	for (uint64_t off = 0; off < stage.made; off += BLOCK)
		memcpy(at + off, source_block(), BLOCK);
	munmap(at, stage.made);
	close(fd);
	return 0;
}

static uint64_t write_mmap(int advice) { return write_mapped(advice, false); }
static uint64_t write_mmap_allocated(int advice) { return write_mapped(advice, true); }

static comap_writer *open_writer(void)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	comap_writer *writer;

	opts.expect = stage.made;
	if (comap_writer_open(target(), &opts, &writer) < 0)
		errx(1, "%s", comap_view_reason());
	return writer;
}

static uint64_t write_comap(int arg)
{
	comap_writer *writer = open_writer();

	(void)arg;
	for (uint64_t off = 0; off < stage.made; off += BLOCK)
		if (comap_writer_write(writer, source_block(), BLOCK) < 0)
			errx(1, "%s", comap_view_reason());
	if (comap_writer_finish(writer, COMAP_WRITER_PLAIN) < 0)
		errx(1, "%s", comap_view_reason());
	return 0;
}

static const struct way writes[] = {
	{ "write 256 KiB", write_write, false, READS },
	{ "pwrite 256 KiB", write_pwrite, 0, READS },
	{ "fallocate, write", write_write, true, READS },
	{ "fwrite", write_fwrite, 0, READS },
	{ "mmap", write_mmap, 0, MAPS },
	{ "mmap, hugepage", write_mmap, MADV_HUGEPAGE, MAPS },
	{ "fallocate, mmap", write_mmap_allocated, 0, MAPS },
	{ "io_uring 8 x 256 KiB", uring_write, 0, KERNEL },
	{ "comap_writer", write_comap, 0, COMAP },
	{0},
};

const struct task write_task = {
	.key = "write", .title = "A new file, not synced", .ways = writes, .want = want_written,
	.look = look_at_target, .bytes = bytes_made,
};

/* ---- a copy ----------------------------------------------------------------- */

static uint64_t want_copied(void)
{
	return sum_of_file(in_folder("source"));
}

static int open_source(void)
{
	return open_or_die(in_folder("source"), O_RDONLY);
}

static uint64_t copy_read(int size)
{
	char *buffer = memory_or_die((size_t)size);
	int from = open_source(), to = create();
	ssize_t got;

	while ((got = read(from, buffer, (size_t)size)) > 0)
		if (write(to, buffer, (size_t)got) != got)
			err(1, "write");
	close(from);
	close(to);
	return 0;
}

static uint64_t copy_mmap(int maps_both)
{
	int from = open_source(), to = create();
	const char *old = map_or_die(from, stage.made, PROT_READ, MAP_SHARED);

	if (maps_both) {
		allocate(to);
		memcpy(map_or_die(to, stage.made, PROT_READ | PROT_WRITE, MAP_SHARED), old, stage.made);
	}
	for (uint64_t off = 0; !maps_both && off < stage.made; off += BLOCK)
		if (write(to, old + off, BLOCK) != (ssize_t)BLOCK)
			err(1, "write");
	close(from);
	close(to);
	return 0;
}

static uint64_t copy_in_kernel(int is_sendfile)
{
	int from = open_source(), to = create();

	for (uint64_t done = 0; done < stage.made;) {
		size_t left = (size_t)(stage.made - done);
		ssize_t got = is_sendfile ? sendfile(to, from, NULL, left)
					  : copy_file_range(from, NULL, to, NULL, left, 0);

		if (got <= 0)
			not_here("%s", strerror(errno));
		done += (uint64_t)got;
	}
	close(from);
	close(to);
	return 0;
}

static uint64_t copy_comap(int arg)
{
	comap_writer *writer = open_writer();
	comap_view *view;

	(void)arg;
	if (comap_view_open(in_folder("source"), NULL, &view) < 0 ||
	    comap_writer_copy(writer, view, 0, 0) < 0 ||
	    comap_writer_finish(writer, COMAP_WRITER_PLAIN) < 0)
		errx(1, "%s", comap_view_reason());
	comap_view_close(view);
	return 0;
}

static const struct way copies[] = {
	{ "read, write 256 KiB", copy_read, BLOCK, READS },
	{ "read, write 1 MiB", copy_read, MIB, READS },
	{ "mmap, write", copy_mmap, false, MAPS },
	{ "mmap, mmap", copy_mmap, true, MAPS },
	{ "copy_file_range", copy_in_kernel, false, KERNEL },
	{ "sendfile", copy_in_kernel, true, KERNEL },
	{ "comap_writer_copy", copy_comap, 0, COMAP },
	{0},
};

const struct task copy_task = {
	.key = "copy", .title = "A copy, not synced", .ways = copies, .want = want_copied,
	.look = look_at_target, .bytes = bytes_made,
};
