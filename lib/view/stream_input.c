/*
 * stream_input.c - inputs that have no size: pipes, terminals, sockets, /proc.
 *
 * They are read until nothing comes.  What lies before the offset is read, too, and dropped;
 * with a length no byte behind it is read, for in a pipe it is somebody else's.
 *
 * A FIFO has a state more than other pipes: opened, and never written to.  Then read(2) says
 * "the end", as it does when the last writer has gone, and only poll(2) knows the difference: it
 * tells of a hang-up only when there was somebody.  So whoever waits for a writer polls first.
 * And whoever does not want to wait reads once: "the end" without a hang-up is nobody, "later"
 * is somebody who has not written yet.  That read may get bytes, from a writer who came between
 * the two calls; they are the first chunk.
 */
#include "view/stream.h"

static size_t wanted(const struct comap_stream *s)
{
	return (size_t)cm_min(CM_STREAM_READ, s->end - s->pos);
}

static int64_t read_once(struct comap_stream *s)
{
	int64_t got = -ESPIPE;

	if (s->is_positioned) {
		got = cm_os_read_at(s->fd, s->buffer, wanted(s), s->pos);
		/* of some files in /sys/kernel there is no position */
		s->is_positioned = got != -ESPIPE;
	}
	if (got != -ESPIPE)
		return got;
	return s->is_wait_first ? cm_os_read_now(s->fd, s->buffer, wanted(s))
				: cm_os_read(s->fd, s->buffer, wanted(s));
}

/* Some bytes into the buffer: how many, 0 at the end, -ETIMEDOUT, or -errno. */
static int64_t read_some(struct comap_stream *s)
{
	uint64_t end = s->timeout_ns ? cm_os_now_ns() + s->timeout_ns : 0, now;
	uint64_t left = s->timeout_ns;
	bool is_wait_first = s->is_wait_first || s->is_writer_due;
	int64_t got;
	int err;

	if (end < s->timeout_ns)
		end = UINT64_MAX;
	for (;;) {
		if (is_wait_first) {
			err = cm_os_wait_readable(s->fd, left);
			if (err < 0)
				return err;
			s->is_writer_due = false;
		}
		got = read_once(s);
		if (got != -EAGAIN)
			return got;
		/* nothing yet, or somebody else was faster */
		is_wait_first = true;
		if (s->timeout_ns) {
			now = cm_os_now_ns();
			if (now >= end)
				return -ETIMEDOUT;
			left = end - now;
		}
	}
}

int cm_stream_fill_input(struct comap_stream *s)
{
	int err = cm_stream_need_buffer(s);
	uint64_t skip;
	int64_t got;

	if (err < 0)
		return err;
	while (s->pos < s->end) {
		got = s->ahead ? (int64_t)s->ahead : read_some(s);
		s->ahead = 0;
		if (got < 0)
			return (int)got;
		if (got == 0)
			return s->pos < (s->end == UINT64_MAX ? s->offset : s->end) ? -ERANGE : 0;
		skip = s->pos < s->offset ? cm_min(s->offset - s->pos, (uint64_t)got) : 0;
		s->pos += (uint64_t)got;
		if (skip < (uint64_t)got) {
			s->at = s->buffer + skip;
			s->left = (size_t)((uint64_t)got - skip);
			return 1;
		}
	}
	return 0;
}

int cm_stream_find_writer(struct comap_stream *s)
{
	int64_t got;
	int err = cm_stream_need_buffer(s);

	if (err == 0)
		err = cm_os_wait_readable(s->fd, 1);
	if (err != -ETIMEDOUT)
		return err;
	got = cm_os_read(s->fd, s->buffer, wanted(s));
	if (got <= 0)
		return got == 0 ? -ENXIO : got == -EAGAIN ? 0 : (int)got;
	s->ahead = (size_t)got;
	return 0;
}
