/*
 * view/stream.h - what the files of a stream share.
 *
 * A stream has a chunk: [at, at + left) of the buffer, of the mapped window or of a view, bytes
 * that came and were not handed out.  cm_stream_fill puts the next one in its place, and with
 * that ends the life of whatever was handed out before.  Before the chunk may lie held bytes: a
 * record that began in earlier chunks.
 */
#ifndef CM_VIEW_STREAM_H
#define CM_VIEW_STREAM_H

#include <comap/stream.h>
#include "view/view.h"

#define CM_STREAM_READ (256 * CM_KIB) /* most bytes of one read */
#define CM_STREAM_ADAPTIVE (8 * CM_MIB) /* of so many bytes on it is worth to try both ways */
#define CM_STREAM_WINDOW (2 * CM_MIB) /* mapped, or as much read; at such multiples in the file */

/* ---- stream_arms.c: which way is cheaper ---------------------------------------------- */

enum cm_arm { CM_ARM_READ, CM_ARM_MAP };

#define CM_ARMS_TRIAL 6u  /* windows of a trial, three of each arm */
/* In steady state the last window of a period is a probe, and the period doubles when the probe
 * changes nothing. */
#define CM_ARMS_PERIOD_LEAST 8u
#define CM_ARMS_PERIOD_MOST 64u

struct cm_arms {
	unsigned turn; /* 0 .. TRIAL - 1: in a trial; then 0 .. period - 1 of the steady state, behind it */
	unsigned period;
	enum cm_arm kept;
	uint64_t best[2];   /* of the trial so far: ns of the cheapest window */
	uint64_t recent[3]; /* of the kept arm */
};

enum cm_arm cm_arms_choose(const struct cm_arms *arms); /* for the next window; a zeroed struct begins */
void cm_arms_tell(struct cm_arms *arms, uint64_t ns);   /* what that window cost */

/* ---- the stream ------------------------------------------------------------------------ */

/* The bytes of a record that came in earlier chunks: [at, n) of data. */
struct cm_held {
	char *data;
	size_t at, n, room;
	size_t searched; /* in so many from at on there is no `separator` */
	unsigned char separator;
};

struct comap_stream {
	/* the source */
	int fd;           /* ours, also where it is a copy of the caller's; -1: a view */
	comap_view *view; /* or NULL */
	char *path;       /* for sentences; NULL: none */
	uint32_t flags;
	uint64_t offset, end; /* of the input; end UINT64_MAX: its own */
	uint64_t max_record, timeout_ns;
	bool is_sized;       /* a file that ends where fstat(2) says; else it is read until nothing comes */
	bool is_positioned;  /* read by pread(2) */
	bool is_wait_first;  /* read(2) might block: ask poll(2) before */
	bool is_writer_due;  /* a FIFO that nobody has written to yet */
	uint64_t expected;   /* a sized file that is found shorter was cut short */
	uint64_t pos;        /* where in the input the next fill begins */

	/* the chunk */
	const char *at;
	size_t left;
	bool is_chunk_mapped;
	char *buffer;
	size_t buffer_span;
	size_t ahead; /* bytes that opening had to read, at the beginning of the buffer */
	void *window;
	size_t window_span;

	/* which way */
	enum cm_arm arm;
	bool is_adaptive, is_mappable;
	bool is_window_whole; /* so its cost can be compared */
	uint64_t window_end, window_began_ns;
	struct cm_arms arms;

	/* records */
	struct cm_held held;
	bool is_skipping; /* the rest of a record that was too long, up to skip_separator */
	unsigned char skip_separator;

	bool is_done;
	int err; /* for good */
	uint64_t read_bytes, mapped_bytes, joined;
};

/* ---- stream.c ------------------------------------------------------------------------------ */

/* The next chunk; the one before is all consumed.  1, 0 at the end, or -errno. */
int cm_stream_fill(struct comap_stream *s);
/* n bytes of the chunk are gone by. */
void cm_stream_consume(struct comap_stream *s, size_t n);
int cm_stream_need_buffer(struct comap_stream *s);

/* ---- stream_arms.c, stream_input.c: fill, of what has a size and of what has none ---- */

int cm_stream_fill_file(struct comap_stream *s);
/* From here on no window is mapped, unless that was asked for: we are going to look at the bytes
 * ourselves. */
void cm_stream_read_on(struct comap_stream *s);
void cm_stream_drop_window(struct comap_stream *s);
int cm_stream_fill_input(struct comap_stream *s);
/* -ENXIO: nobody writes to it. */
int cm_stream_find_writer(struct comap_stream *s);

/* ---- stream_record.c ----------------------------------------------------------------- */

/* Go behind a record that was too long.  1; 0: the input ended with it; or -errno. */
int cm_stream_skip(struct comap_stream *s);

#endif
