/* test_view_stream_record.c - records are those of a naive split, wherever chunks end. */
#include <sys/resource.h>
#include "stream_fixture.h"

static void records_end_at_separators_wherever_chunks_do(void **state)
{
	comap_stream *stream = open_texts(NULL, "one\n", "two", "\nth", "r", "ee\n\nfive\nsi", "x");
	struct comap_stream_stats stats;

	(void)state;
	assert_line(stream, "one");
	assert_line(stream, "two");
	assert_line(stream, "three");
	assert_line(stream, "");
	assert_line(stream, "five");
	assert_line(stream, "six");
	assert_no_line(stream, 0);
	assert_no_line(stream, 0);
	stats = stats_of(stream);
	assert_int_equal(stats.read_bytes, strlen("one\ntwo\nthree\n\nfive\nsix"));
	assert_int_equal(stats.joined, 3); /* two, three, six */
	comap_stream_close(stream);
}

static void an_input_of_separators_has_that_many_empty_records(void **state)
{
	static const unsigned char separators[] = { 0, '\n', 0xff };
	const char *dir = fx_mkdir();

	(void)state;
	for (int i = 0; i < 3; i++)
		for (size_t n = 0; n < 4; n++) {
			char bytes[4];
			comap_stream *stream;
			struct comap_bytes record;

			memset(bytes, separators[i], sizeof bytes);
			stream = open_path(make_file(dir, "f", bytes, n), NULL);
			for (size_t k = 0; k < n; k++)
				assert_record(stream, separators[i], "", 0);
			assert_int_equal(comap_stream_record(stream, separators[i], &record), 0);
			comap_stream_close(stream);
		}
	fx_rmdir(dir);
}

static void a_record_may_be_as_long_as_max_record_and_no_longer(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	comap_stream *stream;

	(void)state;
	opts.max_record = 4;
	stream = open_texts(&opts, "1234\n12345\nok\n", "12", "34\n", "12", "345\nok\n", "123", "4",
			    "\n12345", "67", "8\nok\n1234");
	assert_line(stream, "1234");
	assert_no_line(stream, -EMSGSIZE); /* within a chunk */
	assert_line(stream, "ok");
	assert_line(stream, "1234");
	assert_no_line(stream, -EMSGSIZE); /* across chunks */
	assert_line(stream, "ok");
	assert_line(stream, "1234");
	assert_no_line(stream, -EMSGSIZE); /* its end is chunks away */
	assert_line(stream, "ok");
	assert_line(stream, "1234"); /* the last one, without a separator */
	assert_no_line(stream, 0);
	comap_stream_close(stream);

	stream = open_texts(&opts, "123456", "78", "9\nnext");
	assert_no_line(stream, -EMSGSIZE);
	assert_next(stream, "next"); /* chunks go on behind it, too */
	assert_no_line(stream, 0);
	comap_stream_close(stream);

	stream = open_texts(&opts, "123", "45"); /* the last one is too long */
	assert_no_line(stream, -EMSGSIZE);
	assert_no_line(stream, 0);
	assert_no_line(stream, 0);
	comap_stream_close(stream);
}

static void an_endless_record_is_an_error_at_once(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	comap_stream *stream;

	(void)state;
	opts.max_record = CM_MIB;
	stream = open_path("/dev/zero", &opts);
	assert_no_line(stream, -EMSGSIZE);
	comap_stream_close(stream);
}

static void chunks_and_records_mix(void **state)
{
	comap_stream *stream = open_texts(NULL, "a\nbc:d", "e;f\n", "g\nh");

	(void)state;
	assert_line(stream, "a");
	assert_record(stream, ':', "bc", 2);
	assert_record(stream, ';', "de", 2);
	assert_next(stream, "f\n");
	assert_line(stream, "g");
	assert_next(stream, "h");
	assert_chunks(stream, "", 0, 0);
	comap_stream_close(stream);
}

/* The records of a stream are those of a naive split. */
static void assert_split(comap_stream *stream, const char *text, size_t n, unsigned char separator)
{
	struct comap_bytes record;
	size_t from = 0, to;

	while (from < n) {
		for (to = from; to < n && (unsigned char)text[to] != separator; to++)
			;
		assert_record(stream, separator, text + from, to - from);
		from = to + 1;
	}
	assert_int_equal(comap_stream_record(stream, separator, &record), 0);
	comap_stream_close(stream);
}

static comap_stream *open_random_packets(const char *text, size_t n, uint64_t *random)
{
	int to;
	comap_stream *stream = open_packets(NULL, &to);

	for (size_t done = 0, size; done < n; done += size) {
		size = 1 + fx_random(random) % (1 + n / (4 + fx_random(random) % 20));
		size = size > n - done ? n - done : size;
		assert_int_equal(send(to, text + done, size, MSG_DONTWAIT), size);
	}
	close(to);
	return stream;
}

static void records_of_random_texts_in_random_chunks_are_those_of_a_split(void **state)
{
	static const unsigned char separators[] = { '\n', 0, 0xff, 'x' };
	const char *dir = fx_mkdir();
	uint64_t random = 1;
	char text[3000];

	(void)state;
	for (int turn = 0; turn < (kin_is_valgrind() ? 100 : 2000); turn++) {
		unsigned char separator = separators[fx_random(&random) % 4];
		size_t n = fx_random(&random) % (turn % 8 ? 40 : sizeof text + 1);
		uint64_t seldom = 1 + fx_random(&random) % 30;
		comap_view *view;
		comap_stream *stream;

		for (size_t i = 0; i < n; i++)
			text[i] = (char)(fx_random(&random) % seldom ? fx_random(&random) : separator);
		assert_split(open_random_packets(text, n, &random), text, n, separator);
		assert_split(open_path(make_file(dir, "f", text, n), NULL), text, n, separator);
		assert_int_equal(comap_view_open_memory(text, n, NULL, NULL, &view), 0);
		assert_int_equal(comap_stream_open_view(view, NULL, &stream), 0);
		comap_view_close(view); /* the stream has it still */
		assert_split(stream, text, n, separator);
	}
	fx_rmdir(dir);
}

/* Separators at the borders of reads, windows and pages, and one byte off; and records longer than
 * any of them. */
static void records_end_exactly_at_the_borders_of_windows(void **state)
{
	enum { N = 11 << 20 };
	static const uint64_t steps[] = { PAGE, CM_STREAM_READ, CM_STREAM_WINDOW, 3 * CM_STREAM_WINDOW };
	const char *dir = fx_mkdir();
	char *bytes = malloc(N);

	(void)state;
	assert_non_null(bytes);
	for (int i = 0; i < 4; i++)
		for (int off = 0; off < 3; off++)
			for (uint32_t flags = 0; flags <= COMAP_STREAM_MAP; flags++) {
				struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;

				memset(bytes, 'a' + off, N);
				for (uint64_t at = steps[i]; at < N; at += steps[i])
					bytes[at - 2 + (unsigned)off] = '\n';
				opts.flags = flags;
				assert_split(open_path(make_file(dir, "f", bytes, N), &opts), bytes,
					     N, '\n');
			}
	free(bytes);
	fx_rmdir(dir);
}

static void set_space(rlim_t size)
{
	struct rlimit limit;

	KIN_CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
	limit.rlim_cur = size;
	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static rlim_t used_space(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	KIN_CHECK(file && fscanf(file, "%lu", &pages) == 1);
	fclose(file);
	return pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static int join_without_memory(void *arg)
{
	comap_stream *stream = arg;
	struct comap_bytes record;
	rlim_t used = used_space();
	int r;

	set_space(used + 4 * CM_MIB);
	r = comap_stream_record(stream, '\n', &record);
	KIN_CHECK(r == -ENOMEM);
	set_space(RLIM_INFINITY);
	KIN_CHECK(comap_stream_record(stream, '\n', &record) == 1);
	KIN_CHECK(record.size == 20 * CM_MIB);
	for (size_t i = 0; i < record.size; i++)
		KIN_CHECK(((const char *)record.data)[i] == (char)('a' + i % 17));
	KIN_CHECK(comap_stream_record(stream, '\n', &record) == 0);
	return 0;
}

static int map_without_memory(void *arg)
{
	comap_stream *stream = arg;
	struct comap_bytes chunk;

	set_space(used_space());
	KIN_CHECK(comap_stream_next(stream, &chunk) == -ENOMEM);
	KIN_CHECK(comap_stream_next(stream, &chunk) == -ENOMEM);
	set_space(RLIM_INFINITY);
	KIN_CHECK(comap_stream_next(stream, &chunk) == 1);
	KIN_CHECK(chunk.size == CM_STREAM_WINDOW && *(const char *)chunk.data == 'a');
	return 0;
}

static void without_memory_nothing_is_lost(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	const char *dir;
	comap_stream *stream;
	char *bytes;

	(void)state;
	if (FX_IS_SANITIZED || kin_is_valgrind())
		skip();
	dir = fx_mkdir();
	bytes = malloc(20 * CM_MIB);
	assert_non_null(bytes);
	for (size_t i = 0; i < 20 * CM_MIB; i++)
		bytes[i] = (char)('a' + i % 17);
	opts.flags = COMAP_STREAM_COPY;
	stream = open_path(make_file(dir, "f", bytes, 20 * CM_MIB), &opts);
	free(bytes);
	assert_int_equal(kin_run(join_without_memory, stream), 0);
	comap_stream_close(stream);
	opts.flags = COMAP_STREAM_MAP;
	stream = open_path(fx_path(dir, "f"), &opts);
	assert_int_equal(kin_run(map_without_memory, stream), 0);
	comap_stream_close(stream);
	fx_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(records_end_at_separators_wherever_chunks_do),
		KIN_TEST(an_input_of_separators_has_that_many_empty_records),
		KIN_TEST(a_record_may_be_as_long_as_max_record_and_no_longer),
		KIN_TEST(an_endless_record_is_an_error_at_once),
		KIN_TEST(chunks_and_records_mix),
		KIN_TEST(records_of_random_texts_in_random_chunks_are_those_of_a_split),
		KIN_TEST(records_end_exactly_at_the_borders_of_windows),
		KIN_TEST(without_memory_nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
