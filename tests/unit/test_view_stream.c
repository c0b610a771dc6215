/* test_view_stream.c - streams of files and views hand out every byte once and in order. */
#include "stream_fixture.h"

static void a_file_of_any_size_is_streamed_whole(void **state)
{
	static const size_t sizes[] = {
		0, 1, PAGE - 1, PAGE, PAGE + 1, CM_STREAM_READ - 1, CM_STREAM_READ, CM_STREAM_READ + 1,
		CM_STREAM_WINDOW - 1, CM_STREAM_WINDOW, CM_STREAM_WINDOW + 1, 9 * CM_MIB + 7,
	};
	static const uint32_t flags[] = { 0, COMAP_STREAM_COPY, COMAP_STREAM_MAP };
	const char *dir = fx_mkdir();

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		char *bytes = pattern(sizes[i]);
		const char *path = make_file(dir, "f", bytes, sizes[i]);

		for (size_t k = 0; k < 3; k++) {
			struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
			comap_stream *stream;

			opts.flags = flags[k];
			stream = open_path(path, &opts);
			assert_chunks(stream, bytes, sizes[i], 0);
			if (flags[k] == COMAP_STREAM_MAP)
				assert_int_equal(stats_of(stream).mapped_bytes, sizes[i]);
			else if (flags[k] == COMAP_STREAM_COPY || sizes[i] < 8 * CM_MIB)
				assert_int_equal(stats_of(stream).read_bytes, sizes[i]);
			assert_int_equal(stats_of(stream).is_mappable, 1);
			comap_stream_close(stream);
		}
		free(bytes);
	}
	fx_rmdir(dir);
}

static void any_part_of_a_file_can_be_streamed(void **state)
{
	enum { N = 9 << 20 };
	static const uint64_t parts[][2] = {
		{ 0, 1 }, { 1, 1 }, { PAGE - 1, 2 }, { PAGE + 1, CM_STREAM_WINDOW },
		{ CM_STREAM_WINDOW - 1, CM_STREAM_WINDOW + 2 }, { 12345, N - 12345 }, { 12345, 0 },
		{ N - 1, 1 }, { N, 0 },
	};
	const char *dir = fx_mkdir();
	char *bytes = pattern(N);
	const char *path = make_file(dir, "f", bytes, N);

	(void)state;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		for (uint32_t flags = 0; flags <= COMAP_STREAM_MAP; flags++) {
			struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
			comap_stream *stream;

			opts.flags = flags;
			opts.offset = parts[i][0];
			opts.length = parts[i][1];
			stream = open_path(path, &opts);
			assert_chunks(stream, bytes + opts.offset,
				      opts.length ? opts.length : N - opts.offset, 0);
			comap_stream_close(stream);
		}
	free(bytes);
	fx_rmdir(dir);
}

static void a_descriptor_keeps_its_position_its_flags_and_its_owner(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	const char *dir = fx_mkdir();
	int fd = open(make_file(dir, "f", "0123456789", 10), O_RDONLY | O_CLOEXEC);
	int flags = fcntl(fd, F_GETFL);
	comap_stream *stream;

	(void)state;
	assert_int_equal(lseek(fd, 7, SEEK_SET), 7);
	opts.offset = 2;
	stream = open_fd(fd, &opts);
	assert_chunks(stream, "23456789", 8, 0);
	comap_stream_close(stream);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 7);
	assert_int_equal(fcntl(fd, F_GETFL), flags);
	stream = open_fd(fd, &opts);
	close(fd); /* the stream does without */
	assert_chunks(stream, "23456789", 8, 0);
	comap_stream_close(stream);
	fx_rmdir(dir);
}

/* ---- views --------------------------------------------------------------------------------- */

static void a_view_is_streamed_in_slices_of_its_own_memory(void **state)
{
	enum { N = 5 << 20 };
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	char *bytes = pattern(N);
	comap_view *view = NULL;
	comap_stream *stream = NULL;
	struct comap_bytes chunk;

	(void)state;
	memset(bytes, 'a', N);
	bytes[3 << 20] = '\n';
	assert_int_equal(comap_view_open_memory(bytes, N, NULL, NULL, &view), 0);
	opts.offset = 3;
	opts.length = N - 4;
	assert_int_equal(comap_stream_open_view(view, &opts, &stream), 0);
	assert_int_equal(comap_stream_next(stream, &chunk), 1);
	assert_ptr_equal(chunk.data, bytes + 3);
	assert_int_equal(chunk.size, CM_STREAM_WINDOW);
	assert_int_equal(comap_stream_record(stream, '\n', &chunk), 1);
	assert_ptr_equal(chunk.data, bytes + 3 + CM_STREAM_WINDOW);
	assert_int_equal(chunk.size, (3 << 20) - 3 - CM_STREAM_WINDOW);
	assert_int_equal(comap_stream_record(stream, '\n', &chunk), 1);
	assert_ptr_equal(chunk.data, bytes + (3 << 20) + 1); /* the last one is not copied either */
	assert_int_equal(chunk.size, N - 1 - (3 << 20) - 1);
	assert_chunks(stream, "", 0, 0);
	assert_int_equal(stats_of(stream).joined, 0);
	assert_int_equal(stats_of(stream).read_bytes, N - 4);
	comap_stream_close(stream);

	opts.offset = N;
	opts.length = 0;
	assert_int_equal(comap_stream_open_view(view, &opts, &stream), 0);
	assert_chunks(stream, "", 0, 0);
	comap_stream_close(stream);
	opts.offset = 1;
	opts.length = N;
	assert_int_equal(comap_stream_open_view(view, &opts, &stream), -ERANGE);
	opts.length = 0;
	opts.flags = COMAP_STREAM_COPY;
	assert_int_equal(comap_stream_open_view(view, &opts, &stream), -EINVAL);
	comap_view_close(view);
	free(bytes);
}

/* ---- refusals ------------------------------------------------------------------------ */

static int open_with(const char *path, uint32_t flags, uint64_t offset, uint64_t length)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	comap_stream *stream = NULL;
	int err;

	opts.flags = flags;
	opts.offset = offset;
	opts.length = length;
	err = comap_stream_open(path, &opts, &stream);
	if (err == 0)
		comap_stream_close(stream);
	else
		assert_null(stream);
	return err;
}

static void options_that_make_no_sense_are_refused(void **state)
{
	const char *dir = fx_mkdir();
	const char *path = make_file(dir, "f", "0123456789", 10);
	struct {
		struct comap_stream_opts opts;
		uint64_t later;
	} newer = { COMAP_STREAM_OPTS_INIT, 0 };
	struct comap_stream_stats stats = {0};
	struct {
		struct comap_stream_stats stats;
		uint64_t more;
	} later = { .more = 99 };
	comap_stream *stream = NULL;

	(void)state;
	assert_int_equal(open_with(path, 8, 0, 0), -EINVAL);
	assert_int_equal(open_with(path, COMAP_STREAM_COPY | COMAP_STREAM_MAP, 0, 0), -EINVAL);
	assert_int_equal(open_with(path, 0, UINT64_MAX, 0), -EOVERFLOW);
	assert_int_equal(open_with(path, 0, 1, UINT64_MAX), -EOVERFLOW);
	assert_int_equal(open_with(path, 0, INT64_MAX, 1), -EOVERFLOW);
	assert_int_equal(open_with(path, 0, INT64_MAX, 0), -ERANGE);
	assert_int_equal(open_with(path, 0, 11, 0), -ERANGE);
	assert_int_equal(open_with(path, 0, 10, 1), -ERANGE);
	assert_int_equal(open_with(path, 0, 10, 0), 0);
	assert_int_equal(open_with(path, 0, 3, 7), 0);
	newer.opts.size = 0;
	assert_int_equal(comap_stream_open(path, &newer.opts, &stream), -EINVAL);
	newer.opts.size = sizeof newer;
	newer.later = 1;
	assert_int_equal(comap_stream_open(path, &newer.opts, &stream), -E2BIG);
	newer.later = 0;
	assert_int_equal(comap_stream_open(path, &newer.opts, &stream), 0);
	assert_int_equal(comap_stream_get_stats(stream, &stats), -EINVAL);
	later.stats.size = sizeof later;
	assert_int_equal(comap_stream_get_stats(stream, &later.stats), 0);
	assert_true(later.stats.is_mappable == 1 && later.more == 0);
	errno = EXDEV;
	comap_stream_close(stream);
	comap_stream_close(NULL);
	assert_int_equal(errno, EXDEV);
	fx_rmdir(dir);
}

static void what_cannot_be_streamed_says_why(void **state)
{
	const char *dir = fx_mkdir();
	const char *path = make_file(dir, "f", "0123456789", 10);
	comap_stream *stream = NULL;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ends[2], out;

	(void)state;
	assert_int_equal(open_with(fx_path(dir, "none"), 0, 0, 0), -ENOENT);
	assert_non_null(strstr(comap_view_reason(), "/none: No such file or directory"));
	assert_int_equal(open_with("", 0, 0, 0), -ENOENT);
	assert_int_equal(open_with(NULL, 0, 0, 0), -EINVAL);
	assert_int_equal(open_with(dir, 0, 0, 0), -EISDIR);
	assert_int_equal(open_with(fx_path(path, "under"), 0, 0, 0), -ENOTDIR);
	assert_int_equal(comap_stream_open_fd(-1, NULL, &stream), -EBADF);
	assert_int_equal(comap_stream_open_fd(fd, NULL, &stream), -EISDIR);
	assert_int_equal(comap_stream_open_at(-1, "f", NULL, &stream), -EBADF);
	assert_int_equal(comap_stream_open_at(fd, "none", NULL, &stream), -ENOENT);
	assert_null(stream);
	assert_int_equal(comap_stream_open_at(fd, "f", NULL, &stream), 0);
	assert_chunks(stream, "0123456789", 10, 0);
	comap_stream_close(stream);
	stream = NULL;
	close(fd);
	out = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(comap_stream_open_fd(out, NULL, &stream), -EACCES);
	close(out);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(comap_stream_open_fd(ends[1], NULL, &stream), -EACCES);
	assert_null(stream);
	close(ends[0]);
	close(ends[1]);
	fx_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_file_of_any_size_is_streamed_whole),
		KIN_TEST(any_part_of_a_file_can_be_streamed),
		KIN_TEST(a_descriptor_keeps_its_position_its_flags_and_its_owner),
		KIN_TEST(a_view_is_streamed_in_slices_of_its_own_memory),
		KIN_TEST(options_that_make_no_sense_are_refused),
		KIN_TEST(what_cannot_be_streamed_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
