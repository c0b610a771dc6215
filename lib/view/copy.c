/*
 * copy.c - the bytes of a file in memory of ours.
 *
 * A regular file is read by pread, so the position of a descriptor that the caller
 * gave stays.  It says how long it is; if it gives less, another process cut it short,
 * or it is one of /proc or /sys, whose sizes are no sizes.  Anything else is read to its end,
 * and nobody knows before how long that will take: the buffer doubles.
 */
#include <stdlib.h>
#include <string.h>
#include "view/view.h"

#define SMALL_MOST (64 * CM_KIB) /* copies up to this lie behind the struct */
#define FIRST_BUFFER (64 * CM_KIB)

/* Memory for a copy of `size` bytes, and a zero behind them; NULL: none. */
static struct cm_memory *new_copy(uint64_t size, bool is_locked)
{
	struct cm_memory *memory;

	if (size < SMALL_MOST && !is_locked) {
		memory = cm_memory_new((size_t)size + 1);
		if (memory)
			memory->data = (char *)(memory + 1);
	} else {
		memory = cm_memory_new(0);
		if (memory)
			memory->data = memory->base = cm_pages_take((size_t)size + 1, &memory->span);
		if (memory && !memory->base) {
			free(memory);
			memory = NULL;
		}
	}
	if (memory) {
		memory->kind = CM_MEMORY_COPIED;
		memory->size = (size_t)size;
	}
	return memory;
}

int cm_copy_regular(int fd, uint64_t off, uint64_t size, bool is_locked, struct cm_memory **ret_memory)
{
	struct cm_memory *memory = new_copy(size, is_locked);
	uint64_t done = 0;
	int64_t got = 1;

	if (!memory)
		return -ENOMEM;
	while (done < size && got > 0) {
		got = cm_os_read_at(fd, memory->data + done, (size_t)cm_min(size - done, CM_GIB),
				    off + done);
		done += got > 0 ? (uint64_t)got : 0;
	}
	if (got < 0) {
		cm_memory_drop(memory);
		return (int)got;
	}
	memory->size = (size_t)done;
	memory->data[done] = '\0';
	*ret_memory = memory;
	return 0;
}

/* ---- what is read to its end ----------------------------------------------------- */

struct buffer {
	char *pages;
	size_t span;
	uint64_t n;
	bool has_seen; /* a byte, kept or dropped */
};

/* Room for one byte more than `most`: who is longer is seen to be. */
static int make_room(struct buffer *b, uint64_t most)
{
	size_t span;
	char *pages;

	if (b->n < b->span)
		return 0;
	if (b->n > most)
		return -EFBIG;
	pages = cm_pages_take(b->span ? b->span * 2 : FIRST_BUFFER, &span);
	if (!pages)
		return -ENOMEM;
	if (b->pages) {
		memcpy(pages, b->pages, b->n);
		cm_pages_give(b->pages, b->span);
	}
	b->pages = pages;
	b->span = span;
	return 0;
}

/* Some bytes, 0: the end, or -errno. */
static int64_t read_some(const struct cm_input *in, char *to, size_t n, uint64_t at)
{
	int64_t got;
	int err;

	for (;;) {
		if (in->is_seekable)
			return cm_os_read_at(in->fd, to, n, at);
		/* a blocking descriptor of the caller's would wait without end */
		if (in->timeout_ns) {
			err = cm_os_wait_readable(in->fd, in->timeout_ns);
			if (err < 0)
				return err;
		}
		/* others may have been faster */
		got = in->timeout_ns ? cm_os_read_now(in->fd, to, n) : cm_os_read(in->fd, to, n);
		if (got != -EAGAIN)
			return got;
		err = cm_os_wait_readable(in->fd, in->timeout_ns);
		if (err < 0)
			return err;
	}
}

/* Read and drop what comes before the view. */
static int skip(const struct cm_input *in, struct buffer *b, uint64_t n)
{
	int64_t got;

	while (n) {
		got = read_some(in, b->pages, (size_t)cm_min(n, b->span), 0);
		if (got <= 0)
			return got < 0 ? (int)got : -ERANGE;
		b->has_seen = true;
		n -= (uint64_t)got;
	}
	return 0;
}

/* Nothing came from the offset on: because it ends there, or before? */
static bool is_past_end(const struct cm_input *in)
{
	char byte;

	return in->is_seekable && in->offset && cm_os_read_at(in->fd, &byte, 1, in->offset - 1) == 0;
}

static int read_all(const struct cm_input *in, struct buffer *b)
{
	uint64_t most = in->length ? in->length : in->max_copy;
	int64_t got = 1;
	int err = make_room(b, 0);

	if (err == 0 && in->length > in->max_copy)
		err = -EFBIG;
	if (err == 0 && !in->is_seekable)
		err = skip(in, b, in->offset);
	while (err == 0 && got > 0 && (in->length == 0 || b->n < in->length)) {
		err = make_room(b, most);
		if (err < 0)
			break;
		got = read_some(in, b->pages + b->n,
				(size_t)cm_min(b->span - b->n, in->length ? in->length - b->n : UINT64_MAX),
				in->offset + b->n);
		if (got < 0)
			err = (int)got;
		else
			b->n += (uint64_t)got;
	}
	if (err == 0 && b->n > most)
		err = -EFBIG;
	if (err == 0 && (b->n < in->length || (b->n == 0 && is_past_end(in))))
		err = -ERANGE;
	if (in->needs_writer && b->n == 0 && !b->has_seen && (err == 0 || err == -ERANGE))
		err = -ENXIO;
	return err;
}

int cm_copy_to_end(const struct cm_input *in, struct cm_memory **ret_memory)
{
	struct cm_memory *memory;
	struct buffer b = {0};
	int err = read_all(in, &b);

	if (err == 0)
		err = make_room(&b, UINT64_MAX); /* for the zero */
	memory = err == 0 ? cm_memory_new(0) : NULL;
	if (!memory) {
		if (b.pages)
			cm_pages_give(b.pages, b.span);
		return err < 0 ? err : -ENOMEM;
	}
	b.pages[b.n] = '\0';
	memory->kind = CM_MEMORY_COPIED;
	memory->base = memory->data = b.pages;
	memory->span = b.span;
	memory->size = b.n;
	*ret_memory = memory;
	return 0;
}
