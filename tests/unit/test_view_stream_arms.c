/* test_view_stream_arms.c - windows of files that others change, and which way is kept. */
#include "stream_fixture.h"

static void one_window_is_mapped_at_a_time_and_none_in_the_end(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	const char *dir = fx_mkdir();
	char *bytes = pattern(9 * CM_MIB);
	const char *path = make_file(dir, "mapped-windows", bytes, 9 * CM_MIB);
	comap_stream *stream;
	struct comap_bytes record;
	int n = 0;

	(void)state;
	opts.flags = COMAP_STREAM_MAP;
	stream = open_path(path, &opts);
	assert_int_equal(kin_count_maps("mapped-windows"), 0);
	while (comap_stream_record(stream, 0, &record) == 1) {
		if (n++ % 256 == 0)
			assert_in_range(kin_count_maps("mapped-windows"), 0, 1);
	}
	assert_true(n > 256);
	assert_int_equal(kin_count_maps("mapped-windows"), 0);
	comap_stream_close(stream);
	stream = open_path(path, &opts); /* left in the middle */
	assert_int_equal(comap_stream_next(stream, &record), 1);
	comap_stream_close(stream);
	assert_int_equal(kin_count_maps("mapped-windows"), 0);
	free(bytes);
	fx_rmdir(dir);
}

/* ---- files that others change ---------------------------------------------------------------- */

struct cut {
	const char *path;
	off_t size;
};

static int cut_file(void *arg)
{
	struct cut *cut = arg;

	return truncate(cut->path, cut->size) == 0 ? 0 : KIN_FAILED;
}

static void a_file_that_is_cut_short_ends_with_an_error(void **state)
{
	enum { N = 9 << 20, LEFT = (5 << 20) + 100 };
	const char *dir = fx_mkdir();
	char *bytes = pattern(N);

	(void)state;
	for (uint32_t flags = 0; flags <= COMAP_STREAM_MAP; flags++)
		for (uint64_t length = 0; length <= N; length += N) {
			struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
			const char *path = make_file(dir, "f", bytes, N);
			struct cut cut = { path, LEFT };
			struct comap_bytes chunk;
			comap_stream *stream;
			size_t done;
			int r;

			opts.flags = flags;
			opts.length = length;
			stream = open_path(path, &opts);
			assert_int_equal(comap_stream_next(stream, &chunk), 1);
			done = chunk.size;
			assert_int_equal(kin_run(cut_file, &cut), 0);
			while ((r = comap_stream_next(stream, &chunk)) == 1) {
				assert_in_range(chunk.size, 1, LEFT - done);
				assert_memory_equal(chunk.data, bytes + done, chunk.size);
				done += chunk.size;
			}
			assert_int_equal(r, -ENODATA);
			if (flags == COMAP_STREAM_MAP) /* is not read */
				assert_int_equal(done, CM_STREAM_WINDOW);
			else
				assert_int_equal(done, LEFT);
			assert_non_null(strstr(comap_view_reason(), "cut short"));
			assert_chunks(stream, "", 0, -ENODATA);
			comap_stream_close(stream);
		}
	free(bytes);
	fx_rmdir(dir);
}

static void a_file_cut_short_behind_the_last_window_is_noticed(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	const char *dir = fx_mkdir();
	const char *path = make_file(dir, "f", "0123456789", 10);
	struct cut cut = { path, 4 };
	struct comap_bytes chunk;

	(void)state;
	for (uint64_t length = 0; length <= 8; length += 8) {
		comap_stream *stream;

		path = make_file(dir, "f", "0123456789", 10);
		opts.flags = COMAP_STREAM_MAP;
		opts.length = length;
		stream = open_path(path, &opts);
		assert_int_equal(comap_stream_next(stream, &chunk), 1);
		assert_int_equal(kin_run(cut_file, &cut), 0);
		assert_chunks(stream, "", 0, -ENODATA);
		comap_stream_close(stream);
	}
	fx_rmdir(dir);
}

/* The library looks for their ends itself: a fault would be its own, and no guard's. */
static void records_of_a_file_that_is_cut_raise_no_signal(void **state)
{
	enum { LINE = 64, N = 24 << 20 };
	const char *dir = fx_mkdir();
	char *bytes = malloc(N), line[LINE];
	struct comap_bytes record;
	comap_stream *stream;
	struct cut cut;
	int r;

	(void)state;
	for (size_t i = 0; i < N; i += LINE) {
		snprintf(line, sizeof line, "%62zu\n", i / LINE);
		memcpy(bytes + i, line, LINE - 1);
		bytes[i + LINE - 1] = '\n';
	}
	/* cut before the first record; and when a mapped window was handed out as a chunk before,
	 * or a part of it */
	for (int first = 0; first < 2; first++) {
		cut = (struct cut){ make_file(dir, "f", bytes, N), 0 };
		stream = open_path(cut.path, NULL);
		for (size_t done = 0; first && done < 7 * (size_t)CM_STREAM_WINDOW; done += record.size)
			assert_int_equal(comap_stream_next(stream, &record), 1);
		if (first)
			assert_true(stats_of(stream).mapped_bytes > 0);
		assert_int_equal(comap_stream_record(stream, '\n', &record), 1);
		assert_int_equal(kin_run(cut_file, &cut), 0);
		while ((r = comap_stream_record(stream, '\n', &record)) == 1)
			assert_true(record.size <= LINE);
		assert_int_equal(r, -ENODATA);
		comap_stream_close(stream);
	}
	free(bytes);
	fx_rmdir(dir);
}

/* Whatever was mapped before, not a byte is lost or comes twice. */
static void records_after_a_mapped_chunk_go_on_where_it_ended(void **state)
{
	enum { N = 20 << 20 };
	const char *dir = fx_mkdir();
	char *bytes = pattern(N);
	struct comap_bytes got;
	comap_stream *stream;
	size_t done = 0;
	uint64_t mapped;
	int r;

	(void)state;
	stream = open_path(make_file(dir, "f", bytes, N), NULL);
	while (!stream->is_chunk_mapped) {
		assert_int_equal(comap_stream_next(stream, &got), 1);
		done += got.size;
	}
	stream->left = 1000; /* as if less of it had been handed out */
	stream->at -= 1000;
	stream->mapped_bytes -= 1000;
	done -= 1000;
	mapped = stream->mapped_bytes;
	while ((r = comap_stream_record(stream, 'q', &got)) == 1) {
		assert_memory_equal(got.data, bytes + done, got.size);
		done += got.size + 1;
	}
	assert_int_equal(r, 0);
	assert_in_range(done, N, N + 1);
	assert_int_equal(stats_of(stream).mapped_bytes, mapped);
	comap_stream_close(stream);
	free(bytes);
	fx_rmdir(dir);
}

static void a_torn_record_is_no_record_but_a_chunk(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	const char *dir = fx_mkdir();
	char *bytes = pattern(CM_MIB);
	struct cut cut = { NULL, CM_STREAM_READ + 10 };
	comap_stream *stream;
	const char *path;

	(void)state;
	memset(bytes, 'x', CM_MIB);
	memcpy(bytes, "first\nsecond", 12);
	cut.path = path = make_file(dir, "f", bytes, CM_MIB);
	stream = open_path(path, &opts);
	assert_line(stream, "first");
	assert_int_equal(kin_run(cut_file, &cut), 0);
	assert_no_line(stream, -ENODATA);
	assert_no_line(stream, -ENODATA);
	{
		struct comap_bytes chunk;

		assert_int_equal(comap_stream_next(stream, &chunk), 1);
		assert_int_equal(chunk.size, CM_STREAM_READ + 10 - 6);
		assert_memory_equal(chunk.data, bytes + 6, chunk.size);
	}
	assert_chunks(stream, "", 0, -ENODATA);
	comap_stream_close(stream);
	free(bytes);
	fx_rmdir(dir);
}

static void what_a_file_grew_by_is_read_but_its_end_is_for_good(void **state)
{
	enum { N = 9 << 20, MORE = 3 << 20 };
	const char *dir = fx_mkdir();
	char *bytes = pattern(N + MORE);

	(void)state;
	for (uint32_t flags = 0; flags <= COMAP_STREAM_MAP; flags++) {
		struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
		const char *path = make_file(dir, "f", bytes, N);
		int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
		struct comap_bytes chunk;
		comap_stream *stream;

		opts.flags = flags;
		stream = open_path(path, &opts);
		assert_int_equal(comap_stream_next(stream, &chunk), 1);
		assert_int_equal(write(fd, bytes + N, MORE), MORE);
		assert_chunks(stream, bytes + chunk.size, N + MORE - chunk.size, 0);
		assert_int_equal(write(fd, "x", 1), 1);
		assert_chunks(stream, "", 0, 0);
		comap_stream_close(stream);
		close(fd);
	}
	free(bytes);
	fx_rmdir(dir);
}

/* ---- which way ----------------------------------------------------------------------- */

/* What a consumer's windows cost: work, noise of up to a quarter, now and then a long pause, and
 * the arms. */
struct costs {
	uint64_t arm[2];
	unsigned turns;   /* the arms change places after so many; 0: never */
	unsigned pause;   /* every so many windows; 0: never */
};

/* How much dearer than the better arm `windows` of them were, in per mille. */
static uint64_t loss(const struct costs *costs, unsigned windows)
{
	struct cm_arms arms = {0};
	uint64_t random = windows, all = 0, best = 0, ns, pause, noise;

	for (unsigned i = 0; i < windows; i++) {
		unsigned is_swapped = costs->turns && i / costs->turns % 2;
		enum cm_arm arm = cm_arms_choose(&arms);

		noise = fx_random(&random) % 4 ? 0 : fx_random(&random) % 25000;
		pause = costs->pause && i % costs->pause == 0 ? 10000000 : 0;
		ns = costs->arm[(unsigned)arm ^ is_swapped] + noise + pause;
		cm_arms_tell(&arms, ns);
		all += ns - pause;
		best += cm_min(costs->arm[0], costs->arm[1]) + noise;
	}
	return (all - best) * 1000 / best;
}

static void the_cheaper_arm_is_found_whoever_it_is(void **state)
{
	static const uint64_t factors[] = { 100, 103, 110, 130, 150, 215 };

	(void)state;
	for (int i = 0; i < 6; i++)
		for (int is_map = 0; is_map < 2; is_map++)
			for (unsigned pause = 0; pause < 70; pause++) {
				struct costs costs = { { 100000, 100000 }, 0, pause };

				costs.arm[!is_map] = 1000 * factors[i];
				if (pause == 1)
					continue; /* is no pause, but the work */
				assert_in_range(loss(&costs, 1024), 0, 49);
			}
}

static void arms_that_change_places_are_noticed(void **state)
{
	struct costs costs = { { 100000, 200000 }, 1000, 0 };
	struct cm_arms arms = {0};
	unsigned i;

	(void)state;
	assert_in_range(loss(&costs, 8000), 0, 99);
	for (i = 0; i < 100; i++)
		cm_arms_tell(&arms, cm_arms_choose(&arms) == CM_ARM_READ ? 100 : 200);
	assert_int_equal(arms.kept, CM_ARM_READ);
	for (i = 0; i < CM_ARMS_PERIOD_MOST + CM_ARMS_TRIAL; i++)
		cm_arms_tell(&arms, cm_arms_choose(&arms) == CM_ARM_READ ? 100 : 50);
	assert_int_equal(arms.kept, CM_ARM_MAP);
}

/* Six windows of a busy machine decided wrongly; the first probe comes soon. */
static void a_wrong_choice_is_mended_soon(void **state)
{
	struct cm_arms arms = {0};
	unsigned wrong = 0;

	(void)state;
	for (unsigned i = 0; i < CM_ARMS_TRIAL; i++)
		cm_arms_tell(&arms, cm_arms_choose(&arms) == CM_ARM_READ ? 90 : 300);
	assert_int_equal(arms.kept, CM_ARM_READ);
	for (unsigned i = 0; i < 64; i++) {
		wrong += cm_arms_choose(&arms) == CM_ARM_READ;
		cm_arms_tell(&arms, cm_arms_choose(&arms) == CM_ARM_READ ? 150 : 100);
	}
	assert_int_equal(arms.kept, CM_ARM_MAP);
	assert_in_range(wrong, 7, 7 + 3 + 3); /* up to the probe, in the trial, and probes */
}

static void equal_arms_are_read(void **state)
{
	struct cm_arms arms = {0};
	unsigned maps = 0;

	(void)state;
	for (unsigned i = 0; i < 640; i++) {
		maps += cm_arms_choose(&arms) == CM_ARM_MAP;
		cm_arms_tell(&arms, 100000);
	}
	assert_int_equal(arms.kept, CM_ARM_READ);
	assert_in_range(maps, 3 + 9, 3 + 12); /* the trial, after 8, 16, 32, and one in 64 */
}

static void a_long_file_is_tried_both_ways(void **state)
{
	enum { N = 40 << 20 };
	const char *dir = fx_mkdir();
	char *bytes = pattern(N);
	comap_stream *stream = open_path(make_file(dir, "f", bytes, N), NULL);
	struct comap_stream_stats stats;

	(void)state;
	assert_chunks(stream, bytes, N, 0);
	stats = stats_of(stream);
	assert_int_equal(stats.read_bytes + stats.mapped_bytes, N);
	assert_true(stats.read_bytes >= 3 * CM_STREAM_WINDOW);
	assert_true(stats.mapped_bytes >= 3 * CM_STREAM_WINDOW);
	comap_stream_close(stream);
	free(bytes);
	fx_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(one_window_is_mapped_at_a_time_and_none_in_the_end),
		KIN_TEST(a_file_that_is_cut_short_ends_with_an_error),
		KIN_TEST(a_file_cut_short_behind_the_last_window_is_noticed),
		KIN_TEST(records_of_a_file_that_is_cut_raise_no_signal),
		KIN_TEST(records_after_a_mapped_chunk_go_on_where_it_ended),
		KIN_TEST(a_torn_record_is_no_record_but_a_chunk),
		KIN_TEST(what_a_file_grew_by_is_read_but_its_end_is_for_good),
		KIN_TEST(the_cheaper_arm_is_found_whoever_it_is),
		KIN_TEST(arms_that_change_places_are_noticed),
		KIN_TEST(a_wrong_choice_is_mended_soon),
		KIN_TEST(equal_arms_are_read),
		KIN_TEST(a_long_file_is_tried_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
