/*
 * stream_record.c - records: whatever lies between two separators.
 *
 * A record inside one chunk is handed out where it lies.  One that lies across chunks is joined in
 * a buffer of its own, which grows as bytes really come, never by what a limit would allow.
 *
 * Held bytes are bytes of the input that lie before the chunk.  When a call fails in the middle
 * of a record they stay: the next call goes on with them, with another separator if it likes,
 * and comap_stream_next hands them out as a chunk.  So no failure loses a byte, except that of a
 * record that is too long: its bytes are dropped, those that came at once and the rest by the
 * next call, so that the caller can stop at an input that never has a separator.
 */
#include <stdlib.h>
#include <string.h>
#include "view/stream.h"

#define HELD_LEAST 4096u

static size_t held_size(const struct cm_held *held)
{
	return held->n - held->at;
}

static void drop_held(struct cm_held *held)
{
	held->at = held->n = held->searched = 0;
}

static int hold(struct cm_held *held, const char *from, size_t n)
{
	size_t have = held_size(held), room;
	char *data;

	if (held->at) {
		memmove(held->data, held->data + held->at, have);
		held->at = 0;
		held->n = have;
	}
	if (n > held->room - have) {
		room = cm_max(cm_max(have + n, 2 * held->room), HELD_LEAST);
		data = realloc(held->data, room);
		if (!data)
			return -ENOMEM;
		held->data = data;
		held->room = room;
	}
	memcpy(held->data + have, from, n);
	held->n += n;
	return 0;
}

/* Hand out n held bytes, and be `more` bytes behind them. */
static int hand_out_held(struct comap_stream *s, size_t n, size_t more, struct comap_bytes *ret)
{
	*ret = (struct comap_bytes){ s->held.data + s->held.at, n };
	s->held.at += n + more;
	s->held.searched = 0;
	s->joined++;
	return 1;
}

/* 1: a whole record lies in what is held. */
static int take_from_held(struct comap_stream *s, unsigned char separator, struct comap_bytes *ret)
{
	struct cm_held *held = &s->held;
	const char *from, *found = NULL;

	if (held->separator != separator)
		held->searched = 0;
	held->separator = separator;
	if (held_size(held) == 0) {
		drop_held(held);
		return 0;
	}
	from = held->data + held->at;
	if (held_size(held) > held->searched)
		found = memchr(from + held->searched, separator, held_size(held) - held->searched);
	if (found)
		return hand_out_held(s, (size_t)(found - from), 1, ret);
	held->searched = held_size(held);
	return 0;
}

/* The record ends in the chunk, n bytes on. */
static int take_from_chunk(struct comap_stream *s, size_t n, size_t more, struct comap_bytes *ret)
{
	int err;

	if (held_size(&s->held) == 0) {
		*ret = (struct comap_bytes){ s->at, n };
	} else {
		err = hold(&s->held, s->at, n);
		if (err < 0)
			return err;
		hand_out_held(s, held_size(&s->held), 0, ret);
	}
	cm_stream_consume(s, n + more);
	return 1;
}

static int drop_long(struct comap_stream *s, size_t n, unsigned char separator)
{
	drop_held(&s->held);
	cm_stream_consume(s, n);
	s->is_skipping = true;
	s->skip_separator = separator;
	return -EMSGSIZE;
}

static int find_record(struct comap_stream *s, unsigned char separator, struct comap_bytes *ret)
{
	struct cm_held *held = &s->held;
	const char *found;
	size_t room, n;
	int r = take_from_held(s, separator, ret);

	while (r == 0) {
		if (s->left == 0)
			r = cm_stream_fill(s);
		else
			r = 1;
		if (r == 0 && held_size(held)) /* the last one */
			return hand_out_held(s, held_size(held), 0, ret);
		if (r <= 0)
			return r;
		/* a separator right behind the longest record is in time */
		room = (size_t)s->max_record - held_size(held);
		n = room < s->left ? room + 1 : s->left;
		found = memchr(s->at, separator, n);
		if (found)
			return take_from_chunk(s, (size_t)(found - s->at), 1, ret);
		if (n > room)
			return drop_long(s, n, separator);
		if (s->view) /* nothing comes behind this chunk */
			return take_from_chunk(s, n, 0, ret);
		r = hold(held, s->at, n);
		if (r == 0) {
			cm_stream_consume(s, n);
			held->searched = held_size(held);
		}
	}
	return r;
}

int cm_stream_skip(struct comap_stream *s)
{
	const char *found;
	int r;

	while (s->is_skipping) {
		if (s->left == 0) {
			r = cm_stream_fill(s);
			if (r <= 0)
				return r;
		}
		found = memchr(s->at, s->skip_separator, s->left);
		cm_stream_consume(s, found ? (size_t)(found - s->at) + 1 : s->left);
		s->is_skipping = !found;
	}
	return 1;
}

int comap_stream_record(comap_stream *stream, unsigned char separator, struct comap_bytes *ret_bytes)
{
	int r;

	cm_stream_read_on(stream);
	r = cm_stream_skip(stream);
	if (r > 0)
		r = find_record(stream, separator, ret_bytes);
	if (r < 0)
		return cm_view_fail(r, r == -EMSGSIZE ? "take a record of" : "read", stream->path);
	return r;
}
