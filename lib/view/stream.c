/*
 * stream.c - an input as a row of chunks: opening, the next one, closing.
 *
 * Inputs come in three kinds.  A view is memory already, all of it one chunk.  A file that has a
 * size is read or mapped window by window (stream_arms.c).  Anything else, pipes and /proc among
 * it, is read until nothing more comes (stream_input.c).
 *
 * The stream has a descriptor of its own, also where the caller gave one: the caller may close
 * his, and an open file is all that both share.  So nothing that belongs to it may change: a
 * regular file is read by pread(2), and a blocking descriptor stays one; where it must not
 * block, poll(2) is asked first.
 *
 * An end and most errors are for good.  Reading on behind a hole would make one text of two.  No
 * memory and no bytes in time are no such errors: whatever came stays, and the next call goes
 * on.
 */
#include <stdlib.h>
#include <string.h>
#include "view/stream.h"

#define FLAGS_ALL (COMAP_STREAM_COPY | COMAP_STREAM_MAP | COMAP_STREAM_WAIT)
#define MAX_RECORD_DEFAULT (64 * CM_MIB)

/* ---- opening ------------------------------------------------------------------------ */

static int read_opts(const struct comap_stream_opts *given, struct comap_stream_opts *o)
{
	int err = given ? cm_opts_copy(o, sizeof *o, given, given->size) : 0;

	if (!given)
		*o = (struct comap_stream_opts)COMAP_STREAM_OPTS_INIT;
	if (err < 0)
		return err;
	if ((o->flags & ~FLAGS_ALL) || ((o->flags & COMAP_STREAM_COPY) && (o->flags & COMAP_STREAM_MAP)))
		return -EINVAL;
	if (o->offset > INT64_MAX || o->length > INT64_MAX - o->offset)
		return -EOVERFLOW;
	if (o->max_record == 0)
		o->max_record = MAX_RECORD_DEFAULT;
	/* room for one more, and for a buffer that doubles */
	o->max_record = cm_min(o->max_record, PTRDIFF_MAX / 2);
	return 0;
}

static int new_stream(const struct comap_stream_opts *given, struct comap_stream **ret)
{
	struct comap_stream_opts o;
	struct comap_stream *s;
	int err = read_opts(given, &o);

	if (err < 0)
		return err;
	s = calloc(1, sizeof *s);
	if (!s)
		return -ENOMEM;
	s->fd = -1;
	s->flags = o.flags;
	s->offset = o.offset;
	s->end = o.length ? o.offset + o.length : UINT64_MAX;
	s->max_record = o.max_record;
	s->timeout_ns = o.timeout_ns;
	*ret = s;
	return 0;
}

/* The range lies in size bytes; expected becomes its end. */
static int set_range(struct comap_stream *s, uint64_t size)
{
	if (s->offset > size || (s->end != UINT64_MAX && s->end > size))
		return -ERANGE;
	s->expected = cm_min(s->end, size);
	s->pos = s->window_end = s->offset;
	return 0;
}

/* Reading or mapping, or both by turns. */
static int choose_arms(struct comap_stream *s, enum cm_os_fs fs)
{
	size_t page = cm_os_page_size();
	void *at;
	int err;

	s->is_mappable = true;
	if (s->flags & COMAP_STREAM_MAP) {
		s->arm = CM_ARM_MAP;
		if (s->expected == s->offset)
			return 0;
		err = cm_os_map_part(s->fd, s->offset / page * page, page, CM_OS_LOOK, false, NULL, &at);
		if (err < 0)
			return err == -ENOMEM ? err : -ENODEV;
		cm_os_unmap_part(at, page);
		return 0;
	}
	s->is_adaptive = !(s->flags & COMAP_STREAM_COPY) && fs != CM_OS_FS_NETWORK &&
			 s->expected - s->offset >= CM_STREAM_ADAPTIVE;
	return 0;
}

/* s->fd is open: what is behind it? */
static int look_at(struct comap_stream *s, bool is_given)
{
	struct cm_os_stat st;
	enum cm_os_fs fs;
	uint32_t type;
	int err = cm_os_stat(s->fd, &st);

	if (err < 0)
		return err;
	if (st.kind == CM_OS_FOLDER)
		return -EISDIR;
	/* reads nothing, but says whether it may be read */
	if (is_given && cm_os_read(s->fd, &st, 0) == -EBADF)
		return -EACCES;
	fs = st.kind == CM_OS_REGULAR ? cm_os_fs(s->fd, &type) : CM_OS_FS_LOCAL;
	/* a size of 0 may be a lie elsewhere than in /proc, too */
	s->is_sized = st.kind == CM_OS_BLOCK ||
		      (st.kind == CM_OS_REGULAR && fs != CM_OS_FS_PSEUDO &&
		       (st.size || fs != CM_OS_FS_NETWORK));
	if (s->is_sized) {
		err = set_range(s, st.size);
		return err < 0 ? err : choose_arms(s, fs);
	}
	if (s->flags & COMAP_STREAM_MAP)
		return -ENODEV;
	s->is_positioned = st.kind == CM_OS_REGULAR;
	/* the caller's may be blocking, and a limit is a limit */
	s->is_wait_first = is_given && s->timeout_ns;
	s->is_writer_due = st.is_fifo && (s->flags & COMAP_STREAM_WAIT);
	return st.is_fifo && !is_given && !s->is_writer_due ? cm_stream_find_writer(s) : 0;
}

/* err 0: the stream is the caller's; else it goes, and a sentence stays. */
static int finish_open(struct comap_stream *s, int err, const char *path, comap_stream **ret_stream)
{
	if (err == 0) {
		*ret_stream = s;
		return 0;
	}
	comap_stream_close(s);
	return cm_view_fail(err, "stream", path);
}

int comap_stream_open_at(int dirfd, const char *path, const struct comap_stream_opts *opts,
			 comap_stream **ret_stream)
{
	struct comap_stream *s = NULL;
	int err = path ? new_stream(opts, &s) : -EINVAL;

	/* a negative dirfd means the working directory below: only if the caller meant it, too */
	if (err == 0 && dirfd < 0 && dirfd != CM_OS_CWD && path[0] != '/')
		err = -EBADF;
	if (err == 0) {
		s->path = strdup(path);
		err = s->path ? cm_os_open_any(dirfd, path, 0, 0, &s->fd) : -ENOMEM;
	}
	if (err == 0)
		err = look_at(s, false);
	return finish_open(s, err, path, ret_stream);
}

int comap_stream_open(const char *path, const struct comap_stream_opts *opts, comap_stream **ret_stream)
{
	return comap_stream_open_at(CM_OS_CWD, path, opts, ret_stream);
}

int comap_stream_open_fd(int fd, const struct comap_stream_opts *opts, comap_stream **ret_stream)
{
	struct comap_stream *s = NULL;
	int err = new_stream(opts, &s);

	if (err == 0)
		err = cm_os_dup(fd, &s->fd);
	if (err == 0)
		err = look_at(s, true);
	return finish_open(s, err, "the file of a descriptor", ret_stream);
}

int comap_stream_open_view(comap_view *view, const struct comap_stream_opts *opts,
			   comap_stream **ret_stream)
{
	struct comap_stream *s = NULL;
	int err = new_stream(opts, &s);

	if (err == 0 && (s->flags & (COMAP_STREAM_COPY | COMAP_STREAM_MAP)))
		err = -EINVAL;
	if (err == 0)
		err = set_range(s, view->size);
	if (err == 0) {
		s->view = comap_view_dup(view);
		s->at = view->data + s->offset;
		s->left = (size_t)(s->expected - s->offset);
		s->is_mappable = s->is_chunk_mapped = view->memory->kind == CM_MEMORY_MAPPED;
	}
	return finish_open(s, err, "a view", ret_stream);
}

void comap_stream_close(comap_stream *stream)
{
	int saved = errno;

	if (!stream)
		return;
	cm_stream_drop_window(stream);
	if (stream->buffer)
		cm_pages_give(stream->buffer, stream->buffer_span);
	if (stream->fd >= 0)
		cm_os_close(stream->fd);
	comap_view_close(stream->view);
	free(stream->held.data);
	free(stream->path);
	free(stream);
	errno = saved;
}

/* ---- chunks -------------------------------------------------------------------------- */

int cm_stream_need_buffer(struct comap_stream *s)
{
	if (!s->buffer)
		s->buffer = cm_pages_take(CM_STREAM_READ, &s->buffer_span);
	return s->buffer ? 0 : -ENOMEM;
}

void cm_stream_consume(struct comap_stream *s, size_t n)
{
	s->at += n;
	s->left -= n;
	*(s->is_chunk_mapped ? &s->mapped_bytes : &s->read_bytes) += n;
}

int cm_stream_fill(struct comap_stream *s)
{
	int r;

	if (s->err < 0 || s->is_done)
		return s->err;
	if (s->view)
		r = 0; /* it was all one chunk */
	else
		r = s->is_sized ? cm_stream_fill_file(s) : cm_stream_fill_input(s);
	s->is_done = r == 0;
	if (r < 0 && r != -ETIMEDOUT && r != -ENOMEM)
		s->err = r;
	return r;
}

int comap_stream_next(comap_stream *stream, struct comap_bytes *ret_bytes)
{
	struct comap_stream *s = stream;
	struct cm_held *held = &s->held;
	int r = cm_stream_skip(s);

	if (r > 0 && held->n > held->at) { /* of a record that was not whole */
		*ret_bytes = (struct comap_bytes){ held->data + held->at, held->n - held->at };
		held->at = held->n;
		return 1;
	}
	if (r > 0 && s->left == 0)
		r = cm_stream_fill(s);
	if (r < 0)
		return cm_view_fail(r, "read", s->path);
	if (r == 0)
		return 0;
	*ret_bytes = (struct comap_bytes){ s->at, s->view ? cm_min(s->left, CM_STREAM_WINDOW) : s->left };
	cm_stream_consume(s, ret_bytes->size);
	return 1;
}

int comap_stream_get_stats(const comap_stream *stream, struct comap_stream_stats *stats)
{
	struct comap_stream_stats full = {
		.size = stats->size,
		.is_mappable = stream->is_mappable,
		.read_bytes = stream->read_bytes,
		.mapped_bytes = stream->mapped_bytes,
		.joined = stream->joined,
	};

	if (stats->size < sizeof stats->size || stats->size > 4096)
		return cm_view_fail(-EINVAL, "tell of a stream, stats.size not being set,", NULL);
	return cm_info_copy(stats, stats->size, &full, sizeof full);
}
