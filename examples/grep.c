/*
 * grep.c - how many lines contain a word?  As `grep -c -F -a`, through streams.
 *
 * What it shows
 *
 *	One loop for any input: files, pipes, /proc, and .lz4 files, which are
 *	decoded block by block.  A stream hands out chunks as large as come handy,
 *	and each is searched as a whole: memmem(3) runs over many lines at once,
 *	and only where it finds something does anybody look for the line's end.
 *
 *	A chunk may end anywhere, in a line or in the midst of the pattern.  What
 *	must be known of all that came before is little: whether the line that goes
 *	on was counted already, and its last bytes, one fewer than the pattern has.
 *	So a line may be longer than memory.
 *
 *	Another process may cut a file short while it is read.  A stream that reads
 *	(COMAP_STREAM_COPY) says so, and for .lz4 files, which are mapped when they
 *	are large, there are guards: that is an error message and status 2, not a
 *	crash, and not the wrong number.
 *
 *	COMAP_STREAM_COPY is no loss: what is looked at once is read into a warm
 *	buffer about as fast as it is mapped (docs/views.md).
 *
 * How to run it
 *
 *	grep [-caF] PATTERN [FILE...]
 *
 *	-c, -a and -F are allowed, and what it does anyway.  No FILE, or "-", is
 *	the standard input.  A file that begins as an LZ4 frame is decoded; a pipe
 *	is taken as it is.
 *
 * What it prints
 *
 *	What grep prints: the number of lines, behind FILE: when there are several.
 *	The exit status is 0 when a line was found, 1 when none was, 2 after an
 *	error.  grep_test.py compares it with grep.
 */
#include <comap/bytes.h>
#include <comap/guard.h>
#include <comap/lz4view.h>
#include <comap/stream.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LZ4_MAGIC 0x184d2204u

/* ---- searching ----------------------------------------------------------- */

struct search {
	const char *pattern; /* without a newline: so what matches lies in one line */
	size_t size;
	uint64_t lines;
	bool is_counted;  /* the line in which the last chunk ended */
	char *seam;       /* else the last bytes of that chunk, fewer than size; there is room */
	size_t seam_size; /* for as many of the next one */
};

static void begin(struct search *s)
{
	s->lines = 0;
	s->is_counted = false;
	s->seam_size = 0;
}

/* Does the pattern begin in earlier chunks and end in this one? */
static bool is_across(struct search *s, const char *at, size_t n)
{
	size_t take;

	if (s->seam_size == 0)
		return false;
	take = n < s->size ? n : s->size - 1;
	memcpy(s->seam + s->seam_size, at, take);
	return memmem(s->seam, s->seam_size + take, s->pattern, s->size) != NULL;
}

static void keep_seam(struct search *s, const char *at, size_t n)
{
	size_t keep = s->size ? s->size - 1 : 0, old;

	if (n > keep) {
		at += n - keep;
		n = keep;
	}
	old = s->seam_size < keep - n ? s->seam_size : keep - n;
	memmove(s->seam, s->seam + s->seam_size - old, old);
	memcpy(s->seam + old, at, n);
	s->seam_size = old + n;
}

static void search_chunk(struct search *s, const char *at, size_t n)
{
	const char *end = at + n, *hit;

	if (!s->is_counted && is_across(s, at, n)) {
		s->lines++;
		s->is_counted = true;
	}
	while (at < end) {
		if (s->is_counted) {
			hit = memchr(at, '\n', (size_t)(end - at));
			if (!hit)
				return; /* the line goes on */
			at = hit + 1;
			s->is_counted = false;
			s->seam_size = 0;
		} else {
			hit = memmem(at, (size_t)(end - at), s->pattern, s->size);
			if (!hit)
				break;
			s->lines++;
			s->is_counted = true;
			at = hit + s->size;
		}
	}
	keep_seam(s, at, (size_t)(end - at));
}

/* ---- inputs -------------------------------------------------------------- */

struct input {
	const char *name; /* NULL: the standard input */
	uint64_t offset;  /* where in it we begin */
};

static int open_stream(const struct input *in, comap_stream **ret_stream)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;

	opts.flags = COMAP_STREAM_COPY | COMAP_STREAM_WAIT;
	opts.offset = in->offset;
	return in->name ? comap_stream_open(in->name, &opts, ret_stream)
			: comap_stream_open_fd(STDIN_FILENO, &opts, ret_stream);
}

static int open_view(const struct input *in, comap_view **ret_view)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;

	opts.access = COMAP_VIEW_SCAN;
	opts.offset = in->offset;
	return in->name ? comap_view_open(in->name, &opts, ret_view)
			: comap_view_open_fd(STDIN_FILENO, &opts, ret_view);
}

/* A regular file, or a pipe, which cannot be looked at twice? */
static bool may_be_lz4(const comap_stream *stream, struct comap_bytes bytes)
{
	struct comap_stream_stats stats = COMAP_STREAM_STATS_INIT;
	uint32_t magic;

	return comap_bytes_u32le(bytes, 0, &magic) == 0 && magic == LZ4_MAGIC &&
	       comap_stream_get_stats(stream, &stats) == 0 && stats.is_mappable;
}

static char block[4 << 20]; /* the largest there are */

static int search_blocks(struct search *s, comap_lz4 *lz4)
{
	struct comap_lz4_info info = { .size = sizeof info };
	uint64_t off = 0;
	int64_t got = comap_lz4_get_info(lz4, &info);

	if (got < 0 || info.content_size == 0)
		return (int)got;
	/* whole blocks, so that none is decoded twice */
	while ((got = comap_lz4_read(lz4, off, block, info.block_size, COMAP_LZ4_CHECK_BLOCKS)) > 0) {
		search_chunk(s, block, (size_t)got);
		off += (uint64_t)got;
	}
	return (int)got;
}

/* -ENOTUNIQ: it only looked like one. */
static int search_lz4(struct search *s, const struct input *in)
{
	comap_view *view;
	comap_lz4 *lz4;
	int e = open_view(in, &view);

	if (e < 0)
		return e;
	e = comap_lz4_open(view, 0, &lz4);
	if (e == 0) {
		e = search_blocks(s, lz4);
		comap_lz4_close(lz4);
	}
	comap_view_close(view);
	return e;
}

static int search_input(struct search *s, const struct input *in)
{
	struct comap_bytes bytes;
	comap_stream *stream;
	int r = open_stream(in, &stream), e = -ENOTUNIQ;

	if (r < 0)
		return r;
	begin(s);
	r = comap_stream_next(stream, &bytes);
	if (r > 0 && may_be_lz4(stream, bytes))
		e = search_lz4(s, in);
	if (e != -ENOTUNIQ)
		r = e;
	for (; r > 0; r = comap_stream_next(stream, &bytes))
		search_chunk(s, bytes.data, bytes.size);
	comap_stream_close(stream);
	return r;
}

/* ---- the program --------------------------------------------------------- */

/* Returns what would be the exit status, were this the only file. */
static int count(struct search *s, const char *name, bool has_prefix)
{
	bool is_stdin = !strcmp(name, "-");
	off_t at = is_stdin ? lseek(STDIN_FILENO, 0, SEEK_CUR) : 0;
	struct input in = { is_stdin ? NULL : name, at > 0 ? (uint64_t)at : 0 };

	if (is_stdin)
		name = "(standard input)";
	if (search_input(s, &in) < 0) {
		fprintf(stderr, "grep: %s: %s\n", name, comap_view_reason());
		return 2;
	}
	if (has_prefix)
		printf("%s:", name);
	printf("%" PRIu64 "\n", s->lines);
	return s->lines == 0;
}

static int count_all(struct search *s, char **names, int n)
{
	bool has_found = false, has_failed = false;

	for (int i = 0; i < n; i++) {
		int status = count(s, names[i], n > 1);

		has_found |= status == 0;
		has_failed |= status == 2;
	}
	if (fflush(stdout) != 0) {
		perror("grep: write");
		has_failed = true;
	}
	return has_failed ? 2 : !has_found;
}

static int usage(void)
{
	fprintf(stderr, "usage: grep [-caF] PATTERN [FILE...]\n"
			"PATTERN is one line, and FILE - the standard input\n");
	return 2;
}

int main(int argc, char **argv)
{
	char *standard_input = (char[]){ "-" };
	struct search s = { 0 };
	int c, status;

	while ((c = getopt(argc, argv, "caF")) != -1)
		if (c == '?')
			return usage();
	if (optind == argc || strchr(argv[optind], '\n'))
		return usage();
	s.pattern = argv[optind++];
	s.size = strlen(s.pattern);
	s.seam = malloc(2 * s.size + 1);
	if (!s.seam || comap_guard_install() < 0) {
		perror("grep");
		return 2;
	}
	status = optind < argc ? count_all(&s, argv + optind, argc - optind)
			       : count_all(&s, &standard_input, 1);
	comap_guard_remove();
	free(s.seam);
	return status;
}
