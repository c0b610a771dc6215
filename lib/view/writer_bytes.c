/*
 * writer_bytes.c - bytes on their way to the file.
 *
 * They are collected in a buffer of 256 KiB and go out by one pwrite each, at offsets that are
 * multiples of the page; what is larger goes out from where it lies, without a copy.  Storage is
 * allocated ahead of them, in steps that grow with the file: the kernel then places one long extent
 * and has no length to update for each write, and a full disk is found out early.  A file that fits
 * into the buffer is one pwrite, and nothing is allocated for it.
 *
 * A mapped view's file is copied by the kernel, which reads nothing into our memory, and shares
 * storage where it can.
 *
 * When there is not enough for a step, or the file system knows no fallocate, there are no
 * more steps, and write(2) finds out what fits.
 *
 * Behind the end of a file that others may be appending to, nothing is allocated unless
 * the caller said how much will come: what is too much could be given back only by
 * ftruncate, which would cut what they append at that moment.
 */
#include <string.h>
#include "view/writer.h"

#define BUFFER (256 * CM_KIB)
#define PAGE 4096u
#define AHEAD_LEAST CM_MIB
#define AHEAD_MOST (64 * CM_MIB)
#define UNKNOWN UINT64_MAX /* an allocation failed, and left what it left */

static bool is_append(const struct comap_writer *writer)
{
	return writer->flags & COMAP_WRITER_APPEND;
}

static int fail(struct comap_writer *writer, int err)
{
	if (!writer->err)
		writer->err = err;
	return cm_view_fail(writer->err, "write", writer->path);
}

int cm_writer_expect(struct comap_writer *writer, uint64_t size)
{
	int err;

	if (!size)
		return 0;
	writer->has_spare = true;
	err = cm_os_allocate(writer->fd, writer->start, size, is_append(writer));
	writer->allocated = err == 0 ? size : UNKNOWN;
	return err == -EOPNOTSUPP || err == -ENOSYS ? 0 : err;
}

/* Storage for n bytes more, and for some of those that will follow. */
static void allocate_ahead(struct comap_writer *writer, size_t n)
{
	uint64_t end = writer->put + n;

	if (is_append(writer) || end <= writer->allocated)
		return;
	end += cm_max(cm_min(end, AHEAD_MOST), AHEAD_LEAST);
	writer->has_spare = true;
	if (cm_os_allocate(writer->fd, writer->allocated, end - writer->allocated, false) < 0)
		end = UNKNOWN;
	writer->allocated = end;
}

static int put(struct comap_writer *writer, const void *from, size_t n)
{
	int err;

	if (is_append(writer)) {
		err = cm_os_append(writer->fd, from, n, &writer->put);
		if (err < 0)
			writer->fill = 0; /* some may have been put: what counts is what the file has */
		return err;
	}
	err = cm_os_write_at(writer->fd, from, n, writer->put);
	if (err == 0)
		writer->put += n;
	return err;
}

/* The whole pages of the buffer reach the file; more is to come. */
static int put_pages(struct comap_writer *writer)
{
	size_t n = writer->fill - writer->fill % PAGE;
	int err;

	allocate_ahead(writer, n);
	err = put(writer, writer->buffer, n);
	if (err < 0)
		return err;
	writer->fill -= n;
	memmove(writer->buffer, writer->buffer + n, writer->fill);
	return 0;
}

int cm_writer_drain(struct comap_writer *writer)
{
	int err = writer->fill ? put(writer, writer->buffer, writer->fill) : 0;

	if (err == 0)
		writer->fill = 0;
	return err;
}

/* A buffer of at least size bytes, what is in it stays. */
static int need_span(struct comap_writer *writer, size_t size)
{
	size_t span;
	char *larger;

	if (size <= writer->span)
		return 0;
	larger = cm_pages_take(size, &span);
	if (!larger)
		return -ENOMEM;
	if (writer->buffer) {
		memcpy(larger, writer->buffer, writer->fill);
		cm_pages_give(writer->buffer, writer->span);
	}
	writer->buffer = larger;
	writer->span = span;
	return 0;
}

/* Is the writer well, and can the file become n bytes longer? */
static int may_grow(struct comap_writer *writer, size_t n)
{
	uint64_t size = writer->start + writer->put + writer->fill;

	writer->reserved = CM_WRITER_NO_ROOM;
	if (writer->err)
		return writer->err;
	return n > (uint64_t)INT64_MAX - size ? -EFBIG : 0;
}

/* As many of n bytes as fit into the buffer, or those that need not go through it. */
static int write_some(struct comap_writer *writer, const char *from, size_t n, size_t *ret_done)
{
	int err;

	if (writer->fill == 0 && n >= BUFFER) {
		*ret_done = n - n % BUFFER;
		allocate_ahead(writer, *ret_done);
		return put(writer, from, *ret_done);
	}
	err = need_span(writer, BUFFER);
	if (err < 0)
		return err;
	*ret_done = cm_min(n, BUFFER - writer->fill);
	memcpy(writer->buffer + writer->fill, from, *ret_done);
	writer->fill += *ret_done;
	return writer->fill == BUFFER ? put_pages(writer) : 0;
}

int comap_writer_write(comap_writer *writer, const void *from, size_t n)
{
	const char *at = from;
	size_t done = 0;
	int err = may_grow(writer, n);

	for (; err == 0 && n; at += done, n -= done)
		err = write_some(writer, at, n, &done);
	return err < 0 ? fail(writer, err) : 0;
}

/* ---- of a view ----------------------------------------------------------------------------- */

/* By way of the buffer, whole buffers at a time. */
static int copy_bytes(struct comap_writer *writer, const comap_view *view, uint64_t off, uint64_t n)
{
	uint64_t piece;
	int err = 0;

	for (; err == 0 && n; off += piece, n -= piece) {
		piece = cm_min(n, BUFFER - writer->fill);
		err = need_span(writer, BUFFER);
		if (err == 0)
			err = comap_view_read(view, off, writer->buffer + writer->fill, (size_t)piece);
		if (err < 0)
			return err;
		writer->fill += (size_t)piece;
		if (writer->fill == BUFFER)
			err = put_pages(writer);
	}
	return err;
}

/* In the kernel, as many as it takes; *ret_done says how many, also when it fails. */
static int copy_range(struct comap_writer *writer, int fd, uint64_t off, uint64_t n, uint64_t *ret_done)
{
	int64_t got = 1;
	int err = cm_writer_drain(writer);

	for (*ret_done = 0; err == 0 && *ret_done < n && got > 0; *ret_done += (uint64_t)got) {
		got = cm_os_copy_range(fd, off + *ret_done, writer->fd, writer->put, n - *ret_done);
		if (got < 0)
			return (int)got;
		writer->put += (uint64_t)got;
	}
	/* storage for what was copied is there; a reflink must not get a second one */
	writer->allocated = cm_max(writer->allocated, writer->put);
	return err;
}

int comap_writer_copy(comap_writer *writer, const comap_view *view, uint64_t off, uint64_t n)
{
	const struct cm_memory *memory = view->memory;
	uint64_t file_off = memory->offset + (uint64_t)(view->data - memory->data) + off, done = 0;
	bool is_file = memory->kind == CM_MEMORY_MAPPED && memory->fd >= 0 &&
		       memory->mode != COMAP_VIEW_PRIVATE;
	int err;

	if (off > view->size || n > view->size - off)
		return cm_view_fail(-ERANGE, "write a part of a view to", writer->path);
	n = n ? n : view->size - off;
	err = may_grow(writer, n);
	if (err == 0 && is_file && n > BUFFER && !is_append(writer))
		err = copy_range(writer, memory->fd, file_off, n, &done);
	/* what it does not copy, or ended before it should, is read: that says why */
	if (err == 0 || err == -EOPNOTSUPP)
		err = copy_bytes(writer, view, off + done, n - done);
	return err < 0 ? fail(writer, err) : 0;
}

/* ---- in place -------------------------------------------------------------------------------- */

int comap_writer_reserve(comap_writer *writer, size_t n, void **ret_room)
{
	int err = may_grow(writer, n);

	if (err == 0 && n > PTRDIFF_MAX / 2)
		err = -ENOMEM; /* rounding it up must not overflow */
	if (err == 0 && n > BUFFER - writer->fill && writer->fill >= PAGE)
		err = put_pages(writer);
	if (err == 0)
		err = need_span(writer, cm_max(writer->fill + n, BUFFER));
	if (err < 0)
		return fail(writer, err);
	writer->reserved = n;
	*ret_room = writer->buffer + writer->fill;
	return 0;
}

int comap_writer_commit(comap_writer *writer, size_t n)
{
	int err = writer->err;

	if (err == 0 && (writer->reserved == CM_WRITER_NO_ROOM || n > writer->reserved))
		err = -EINVAL;
	writer->reserved = CM_WRITER_NO_ROOM;
	if (err == 0) {
		writer->fill += n;
		if (writer->fill >= BUFFER)
			err = put_pages(writer);
	}
	return err < 0 ? fail(writer, err) : 0;
}

uint64_t comap_writer_size(const comap_writer *writer)
{
	return writer->put + writer->fill;
}
