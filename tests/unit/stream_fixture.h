/*
 * stream_fixture.h - what the tests of streams share: files, packets, and what comes out of a
 * stream.
 *
 * Chunks of a known size come from a socketpair of SOCK_SEQPACKET: each packet is one read.
 */
#ifndef UNIT_STREAM_FIXTURE_H
#define UNIT_STREAM_FIXTURE_H

#include <fcntl.h>
#include <sys/socket.h>
#include "fixture.h"
#include "view/stream.h"

#define PAGE 4096u

static inline const char *make_file(const char *dir, const char *name, const void *bytes, size_t n)
{
	const char *path = fx_path(dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (size_t done = 0; done < n;) {
		ssize_t put = write(fd, (const char *)bytes + done, n - done);

		assert_true(put > 0);
		done += (size_t)put;
	}
	close(fd);
	return path;
}

/* No byte of it is like the one a page, or a window, further on. */
static inline char *pattern(size_t n)
{
	char *bytes = malloc(n + 1);
	uint64_t state = n;

	assert_non_null(bytes);
	for (size_t i = 0; i < n + 1; i++)
		bytes[i] = (char)(i % 8 ? state >> 8 * (i % 8) : fx_random(&state));
	return bytes;
}

static inline comap_stream *open_path(const char *path, const struct comap_stream_opts *opts)
{
	comap_stream *stream = NULL;
	int err = comap_stream_open(path, opts, &stream);

	if (err < 0)
		print_error("%s\n", comap_view_reason());
	assert_int_equal(err, 0);
	return stream;
}

static inline comap_stream *open_fd(int fd, const struct comap_stream_opts *opts)
{
	comap_stream *stream = NULL;

	assert_int_equal(comap_stream_open_fd(fd, opts, &stream), 0);
	return stream;
}

/* Its chunks are those n bytes; then it says `last`, again and again. */
static inline void assert_chunks(comap_stream *stream, const char *bytes, size_t n, int last)
{
	struct comap_bytes chunk;
	size_t done = 0;
	int r;

	while ((r = comap_stream_next(stream, &chunk)) > 0) {
		assert_non_null(chunk.data);
		assert_in_range(chunk.size, 1, n - done);
		assert_memory_equal(chunk.data, bytes + done, chunk.size);
		done += chunk.size;
	}
	assert_int_equal(r, last);
	assert_int_equal(done, n);
	assert_int_equal(comap_stream_next(stream, &chunk), last);
	assert_int_equal(comap_stream_record(stream, '\n', &chunk), last);
}

static inline void assert_record(comap_stream *stream, unsigned char separator, const void *bytes, size_t n)
{
	struct comap_bytes record = {0};

	assert_int_equal(comap_stream_record(stream, separator, &record), 1);
	assert_non_null(record.data);
	assert_int_equal(record.size, n);
	assert_memory_equal(record.data, bytes, n);
}

static inline void assert_next(comap_stream *stream, const char *bytes)
{
	struct comap_bytes chunk = {0};

	assert_int_equal(comap_stream_next(stream, &chunk), 1);
	assert_int_equal(chunk.size, strlen(bytes));
	assert_memory_equal(chunk.data, bytes, chunk.size);
}

#define assert_line(stream, text) assert_record((stream), '\n', (text), strlen(text))

static inline void assert_no_line(comap_stream *stream, int r)
{
	struct comap_bytes record;

	assert_int_equal(comap_stream_record(stream, '\n', &record), r);
}

static inline struct comap_stream_stats stats_of(comap_stream *stream)
{
	struct comap_stream_stats stats = COMAP_STREAM_STATS_INIT;

	assert_int_equal(comap_stream_get_stats(stream, &stats), 0);
	return stats;
}

/* A stream whose chunks are what is sent to *ret_to, packet by packet. */
static inline comap_stream *open_packets(const struct comap_stream_opts *opts, int *ret_to)
{
	int ends[2], room = 4 << 20;
	comap_stream *stream;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	(void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
	stream = open_fd(ends[0], opts);
	close(ends[0]); /* the stream has its own */
	*ret_to = ends[1];
	return stream;
}

static inline void put(int to, const char *text)
{
	assert_int_equal(send(to, text, strlen(text), MSG_DONTWAIT), strlen(text));
}

static inline comap_stream *open_text(const struct comap_stream_opts *opts, const char *const *packets)
{
	int to;
	comap_stream *stream = open_packets(opts, &to);

	for (; *packets; packets++)
		put(to, *packets);
	close(to);
	return stream;
}
#define open_texts(opts, ...) open_text((opts), (const char *const[]){ __VA_ARGS__, NULL })

#endif
