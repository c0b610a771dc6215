/*
 * writer_fixture.h - files whose content shows that they are whole, for the tests of writers.
 *
 * A file's content is a sequence of numbers that begins with its seed, so that half a file, or one
 * of two halves, shows.
 */
#ifndef UNIT_WRITER_FIXTURE_H
#define UNIT_WRITER_FIXTURE_H

#include "fixture.h"
#include <comap/view.h>
#include <comap/writer.h>
#include <sys/stat.h>

#define BUFFER 262144u /* of the writer */

static inline uint64_t number(uint64_t seed, size_t i)
{
	return i ? (seed + i) * 0x9e3779b97f4a7c15u ^ seed : seed;
}

static inline char *content(size_t n, uint64_t seed)
{
	uint64_t *numbers = malloc(n + 8);

	for (size_t i = 0; numbers && i <= n / 8; i++)
		numbers[i] = number(seed, i);
	return (char *)numbers;
}

static inline bool is_content(const char *bytes, size_t n, uint64_t seed)
{
	char *wanted = content(n, seed);
	bool is_so = wanted && memcmp(bytes, wanted, n) == 0;

	free(wanted);
	return is_so;
}

static inline bool has_content(const char *path, size_t n, uint64_t seed)
{
	char *bytes = malloc(n + 1);
	FILE *file = fopen(path, "re");
	bool is_so = file && fread(bytes, 1, n + 1, file) == n && is_content(bytes, n, seed);

	if (file)
		fclose(file);
	free(bytes);
	return is_so;
}

static inline void make_file(const char *path, size_t n, uint64_t seed)
{
	char *bytes = content(n, seed);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	fclose(file);
	free(bytes);
}

static inline unsigned count_names(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static inline bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static inline mode_t permissions(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

/* Open, write n bytes in pieces, finish; the first error. */
static inline int write_file_as(const char *path, const struct comap_writer_opts *opts, size_t n,
				uint64_t seed, size_t piece, enum comap_writer_how how)
{
	comap_writer *writer;
	int err = comap_writer_open(path, opts, &writer);
	char *bytes;

	if (err < 0)
		return err;
	bytes = content(n, seed);
	for (size_t off = 0, k; off < n; off += k) {
		k = n - off < piece ? n - off : piece;
		(void)comap_writer_write(writer, bytes + off, k);
	}
	free(bytes);
	return comap_writer_finish(writer, how);
}

static inline int write_file(const char *path, size_t n, uint64_t seed)
{
	return write_file_as(path, NULL, n, seed, SIZE_MAX, COMAP_WRITER_PLAIN);
}

static inline comap_writer *open_writer(const char *path, uint32_t flags)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	comap_writer *writer = NULL;

	opts.flags = flags;
	assert_int_equal(comap_writer_open(path, &opts, &writer), 0);
	return writer;
}

static inline int open_error(const char *path, uint32_t flags)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	comap_writer *writer = NULL;
	int err;

	opts.flags = flags;
	err = comap_writer_open(path, &opts, &writer);
	if (err == 0)
		comap_writer_abort(writer);
	else
		assert_null(writer);
	return err;
}

#endif
