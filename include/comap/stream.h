/*
 * stream.h - any input from its beginning to its end, as memory: chunks, lines, records.
 *
 * Files, disks, pipes, terminals, sockets, /proc, and views.  Nothing is copied that need not
 * be, and a chunk and a record are all that is in memory at once.  For a file there are two ways
 * to a chunk, read(2) into a buffer and a mapped window; which one is faster depends on how the
 * page cache is laid out, which no call tells.  So for files of 8 MiB and more both are tried on
 * the first windows, timed up to the next call, the cheaper one is kept, and the other one tried
 * again now and then.
 *
 * Caveats:
 *
 *  - What a stream hands out is good until the next call on it but comap_stream_get_stats.
 *  - A file that another process cuts short ends early, and then the stream says -ENODATA.  It
 *    raises no signal itself, but whoever reads a mapped window just then may get SIGBUS, or
 *    zeroes, of which only the next call tells.  COMAP_STREAM_COPY reads only, and has neither;
 *    nor has comap_stream_record, which reads, too.  COMAP_STREAM_MAP maps also for records, in
 *    which then the library itself looks for the end; what lies behind the cut is not handed out.
 *  - A file that grows meanwhile is read up to where it ends when the stream comes there.  It is
 *    not followed: the end is for good.
 *  - What is read of a pipe, ahead of what was handed out, is lost to others who read it.
 *
 * A stream belongs to one thread at a time, and keeps no state in its file.  After fork it is
 * for one of the two processes: a pipe's bytes go to whoever reads first.
 */
#ifndef COMAP_STREAM_H
#define COMAP_STREAM_H

#include <comap/bytes.h>
#include <comap/version.h>
#include <comap/view.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct comap_stream comap_stream;

#define COMAP_STREAM_COPY 1u /* read(2) only: other processes may cut the file short */
#define COMAP_STREAM_MAP  2u /* map only, or fail with -ENODEV; may raise SIGBUS, as above */
#define COMAP_STREAM_WAIT 4u /* a FIFO nobody writes to: wait for a writer, else it is -ENXIO */

struct comap_stream_opts {
	uint32_t size;        /* sizeof this struct; COMAP_STREAM_OPTS_INIT fills it */
	uint32_t flags;       /* COMAP_STREAM_* */
	uint64_t offset;      /* begin at this byte; of what has no size, so many are read and dropped */
	uint64_t length;      /* these many bytes, and no more are read; 0: to the end of the input */
	uint64_t max_record;  /* longest line or record; 0: 64 MiB */
	uint64_t timeout_ns;  /* pipes, terminals: most time to wait for a byte; 0: as long as it takes */
};

#ifdef __cplusplus
#define COMAP_STREAM_OPTS_INIT {sizeof(struct comap_stream_opts), 0, 0, 0, 0, 0}
#else
#define COMAP_STREAM_OPTS_INIT {.size = sizeof(struct comap_stream_opts)}
#endif

/*
 * Stream a path ("-" is a file of that name); a path from the directory dirfd, as openat(2); the
 * file behind fd; or a view.  opts may be NULL: all of it.
 *
 * fd may be closed once this returns.  Its flags stay as they are, blocking or not.  A file is
 * read from opts.offset on wherever its position is, which does not move; a pipe, a terminal or a
 * socket from where it is.
 *
 * A view stays open as long as the stream, which hands out parts of its memory; it must not be
 * resized meanwhile, and its guards are yours.
 *
 * Returns 0, or:
 *   -EINVAL     no path, opts.size not set, unknown flag, COPY with MAP, or either with a view
 *   -EBADF      fd or dirfd is no open file
 *   -E2BIG      opts is of a newer comap and sets a field unknown here
 *   -EOVERFLOW  offset + length is more than a file can have
 *   -ERANGE     the file, or the view, ends before offset + length (for pipes and /proc:
 *               comap_stream_next says it)
 *   -ENOENT, -ENOTDIR, -ENAMETOOLONG, -ELOOP, -EMFILE, -ENFILE   as open(2)
 *   -EACCES, -EPERM   no permission; fd is not open for reading
 *   -EISDIR     it is a directory
 *   -ENXIO      the path of a FIFO nobody writes to, and not WAIT; or of a socket
 *   -ENODEV     MAP: it cannot be mapped
 *   -ENOMEM     no memory
 *   -EIO        it cannot be read
 */
COMAP_API int comap_stream_open(const char *path, const struct comap_stream_opts *opts,
				comap_stream **ret_stream);
COMAP_API int comap_stream_open_at(int dirfd, const char *path, const struct comap_stream_opts *opts,
				   comap_stream **ret_stream);
COMAP_API int comap_stream_open_fd(int fd, const struct comap_stream_opts *opts, comap_stream **ret_stream);
COMAP_API int comap_stream_open_view(comap_view *view, const struct comap_stream_opts *opts,
				     comap_stream **ret_stream);
/* NULL is allowed, errno stays. */
COMAP_API void comap_stream_close(comap_stream *stream);

/*
 * The next bytes, as many as come handy, at least one.  Returns 1; 0 at the end; or
 *   -ETIMEDOUT  nothing came for timeout_ns; call again
 *   -ENOMEM     no memory; nothing is lost, call again
 *   -ENODATA    another process cut the file short
 *   -ERANGE     a pipe or the like ended before offset + length
 *   -EIO, or another error of read(2)
 * The last three are for good: each later call says the same.
 */
COMAP_API int comap_stream_next(comap_stream *stream, struct comap_bytes *ret_bytes);

/*
 * The next record, which ends with the byte `separator` (a line: '\n') or with the input; the
 * separator is not part of it.  An input that ends with a separator has no empty record after it.
 * Returns as comap_stream_next, or
 *   -EMSGSIZE   it is longer than max_record; it is dropped, and the next call goes on behind it
 * Chunks, and records of any separator, may be mixed.  A record that an error ended before its
 * separator came stays: comap_stream_next hands out what there is of it.
 */
COMAP_API int comap_stream_record(comap_stream *stream, unsigned char separator,
				  struct comap_bytes *ret_bytes);

/* How the bytes came that are gone by: handed out, separators and dropped records included. */
struct comap_stream_stats {
	uint32_t size;          /* sizeof this struct; COMAP_STREAM_STATS_INIT fills it */
	uint32_t is_mappable;   /* as far as was tried */
	uint64_t read_bytes, mapped_bytes;
	uint64_t joined;        /* records that were copied: they lay across chunks, or had no separator */
};

#ifdef __cplusplus
#define COMAP_STREAM_STATS_INIT {sizeof(struct comap_stream_stats), 0, 0, 0, 0}
#else
#define COMAP_STREAM_STATS_INIT {.size = sizeof(struct comap_stream_stats)}
#endif

/* Returns 0, or -EINVAL: stats->size is not set; a longer one of a newer comap is zero beyond what
 * is known. */
COMAP_API int comap_stream_get_stats(const comap_stream *stream, struct comap_stream_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
