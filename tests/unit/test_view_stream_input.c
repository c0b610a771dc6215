/* test_view_stream_input.c - pipes, FIFOs, devices, /proc: nothing is lost, nobody waits for
 * ever. */
#include <sys/stat.h>
#include "stream_fixture.h"

#define NS_PER_MS 1000000ull

static void proc_and_devices_are_read_to_their_end(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	comap_stream *stream = open_path("/proc/self/maps", NULL);
	struct comap_bytes line;
	uint64_t bytes = 0;
	char name[16];
	int fd;

	(void)state;
	for (; comap_stream_record(stream, '\n', &line) == 1; bytes += line.size + 1)
		assert_non_null(memchr(line.data, '-', line.size));
	assert_in_range(bytes, 100, 64 << 20);
	assert_int_equal(stats_of(stream).read_bytes, bytes);
	assert_int_equal(stats_of(stream).is_mappable, 0);
	comap_stream_close(stream);
	opts.flags = COMAP_STREAM_MAP;
	assert_int_equal(comap_stream_open("/proc/self/maps", &opts, &stream), -ENODEV);
	opts.flags = 0;
	opts.offset = 6;
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC); /* begins "Name:\t..." */
	stream = open_fd(fd, &opts);
	cm_os_thread_name(name);
	assert_line(stream, name);
	comap_stream_close(stream);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
	opts.offset = 1 << 20;
	stream = open_fd(fd, &opts);
	assert_chunks(stream, "", 0, -ERANGE);
	comap_stream_close(stream);
	close(fd);
	assert_chunks(stream = open_path("/dev/null", NULL), "", 0, 0);
	comap_stream_close(stream);
	opts.offset = 3;
	opts.length = CM_STREAM_READ + 5;
	stream = open_path("/dev/zero", &opts);
	assert_int_equal(comap_stream_next(stream, &line), 1);
	assert_true(fx_is_zero(line.data, line.size));
	bytes = line.size;
	while (comap_stream_next(stream, &line) == 1)
		bytes += line.size;
	assert_int_equal(bytes, CM_STREAM_READ + 5);
	comap_stream_close(stream);
}

static int write_slowly(void *arg)
{
	int to = *(int *)arg;

	for (int i = 0; i < 40; i++) {
		char text[32];
		int n = snprintf(text, sizeof text, "%d\n%s", i, i % 3 ? "" : "half ");

		KIN_CHECK(write(to, text, (size_t)n) == n);
		kin_sleep_us(1500);
	}
	return 0;
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void a_slow_pipe_is_read_whole_whatever_signals_come(void **state)
{
	int ends[2];
	comap_stream *stream;
	pid_t pid;

	(void)state;
	for (int is_blocking = 0; is_blocking < 2; is_blocking++) {
		assert_int_equal(pipe2(ends, O_CLOEXEC | (is_blocking ? 0 : O_NONBLOCK)), 0);
		pid = kin_spawn(write_slowly, &ends[1]);
		close(ends[1]);
		fx_alarms(3000, on_alarm);
		stream = open_fd(ends[0], NULL);
		for (int i = 0; i < 40; i++) {
			char line[32];

			snprintf(line, sizeof line, "%s%d", i % 3 == 1 ? "half " : "", i);
			assert_line(stream, line);
		}
		assert_line(stream, "half ");
		assert_no_line(stream, 0);
		fx_alarms_end();
		assert_int_equal(!(fcntl(ends[0], F_GETFL) & O_NONBLOCK), is_blocking);
		comap_stream_close(stream);
		close(ends[0]);
		assert_int_equal(kin_wait(pid), 0);
	}
}

static void a_part_of_a_pipe_leaves_the_rest_in_it(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	comap_stream *stream;
	char rest[16];
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "0123456789", 10), 10);
	opts.offset = 2;
	opts.length = 5;
	stream = open_fd(ends[0], &opts);
	assert_chunks(stream, "23456", 5, 0);
	comap_stream_close(stream);
	assert_int_equal(read(ends[0], rest, sizeof rest), 3);
	assert_memory_equal(rest, "789", 3);
	close(ends[1]);
	close(ends[0]);
}

static void a_pipe_that_ends_before_the_part_does_is_an_error(void **state)
{
	static const uint64_t parts[][2] = { { 2, 9 }, { 5, 0 }, { 4, 1 }, { 4, 0 }, { 0, 4 } };
	static const int last[] = { -ERANGE, -ERANGE, -ERANGE, 0, 0 };
	static const char *const bytes[] = { "23", "", "", "", "0123" };

	(void)state;
	for (int i = 0; i < 5; i++) {
		struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
		comap_stream *stream;

		opts.offset = parts[i][0];
		opts.length = parts[i][1];
		stream = open_texts(&opts, "0", "12", "3");
		for (const char *at = bytes[i]; *at; at++) {
			struct comap_bytes chunk;

			assert_int_equal(comap_stream_next(stream, &chunk), 1);
			assert_memory_equal(chunk.data, at, chunk.size);
			at += chunk.size - 1;
		}
		assert_chunks(stream, "", 0, last[i]);
		comap_stream_close(stream);
	}
}

static void a_silent_pipe_times_out_and_nothing_is_lost(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	struct comap_bytes chunk;
	comap_stream *stream;
	uint64_t began;
	int ends[2];

	(void)state;
	opts.timeout_ns = 20 * NS_PER_MS;
	for (int is_blocking = 0; is_blocking < 2; is_blocking++) {
		assert_int_equal(pipe2(ends, O_CLOEXEC | (is_blocking ? 0 : O_NONBLOCK)), 0);
		stream = open_fd(ends[0], &opts);
		began = kin_now_ns();
		assert_int_equal(comap_stream_next(stream, &chunk), -ETIMEDOUT);
		assert_true(kin_now_ns() - began >= 20 * NS_PER_MS);
		assert_int_equal(write(ends[1], "a,b", 3), 3);
		assert_no_line(stream, -ETIMEDOUT);
		assert_record(stream, ',', "a", 1); /* another separator than before */
		assert_no_line(stream, -ETIMEDOUT);
		assert_int_equal(write(ends[1], "c\nd", 3), 3);
		assert_line(stream, "bc");
		assert_no_line(stream, -ETIMEDOUT);
		assert_next(stream, "d"); /* what there is of a line is a chunk, too */
		assert_int_equal(comap_stream_next(stream, &chunk), -ETIMEDOUT);
		close(ends[1]);
		assert_chunks(stream, "", 0, 0);
		comap_stream_close(stream);
		close(ends[0]);
	}
}

/* Who polled and then waits in read(2) for a byte that another reader took waits for ever. */
static void what_another_reader_took_is_not_waited_for(void **state)
{
	char byte;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(cm_os_read_now(ends[0], &byte, 1), -EAGAIN);
	assert_int_equal(write(ends[1], "x", 1), 1);
	assert_int_equal(cm_os_read_now(ends[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	close(ends[1]);
	assert_int_equal(cm_os_read_now(ends[0], &byte, 1), 0);
	close(ends[0]);
}

struct fifo {
	const char *path;
	unsigned sleep_us;
};

static int write_to_fifo(void *arg)
{
	struct fifo *fifo = arg;
	int fd;

	kin_sleep_us(fifo->sleep_us);
	fd = open(fifo->path, O_WRONLY | O_CLOEXEC);
	KIN_CHECK(fd >= 0);
	kin_sleep_us(fifo->sleep_us);
	KIN_CHECK(write(fd, "late\n", 5) == 5);
	return 0;
}

static void a_fifo_without_a_writer_is_an_error_or_waited_for(void **state)
{
	struct comap_stream_opts opts = COMAP_STREAM_OPTS_INIT;
	const char *dir = fx_mkdir(), *path = fx_path(dir, "fifo");
	struct fifo fifo = { path, 20000 };
	comap_stream *stream = NULL;
	pid_t pid;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(comap_stream_open(path, NULL, &stream), -ENXIO);
	assert_null(stream);
	opts.flags = COMAP_STREAM_WAIT;
	pid = kin_spawn(write_to_fifo, &fifo);
	stream = open_path(path, &opts);
	assert_line(stream, "late");
	assert_no_line(stream, 0);
	comap_stream_close(stream);
	assert_int_equal(kin_wait(pid), 0);

	opts.timeout_ns = 5 * NS_PER_MS;
	stream = open_path(path, &opts);
	assert_no_line(stream, -ETIMEDOUT);
	assert_no_line(stream, -ETIMEDOUT);
	pid = kin_spawn(write_to_fifo, &fifo);
	for (struct comap_bytes line; comap_stream_record(stream, '\n', &line) != 1;)
		;
	assert_int_equal(kin_wait(pid), 0);
	assert_no_line(stream, 0);
	comap_stream_close(stream);

	/* a writer who has not written is one */
	fd = open(path, O_RDWR | O_CLOEXEC);
	opts.flags = 0;
	stream = open_path(path, &opts);
	assert_no_line(stream, -ETIMEDOUT);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
	assert_line(stream, "x");
	assert_no_line(stream, 0);
	comap_stream_close(stream);
	fx_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(proc_and_devices_are_read_to_their_end),
		KIN_TEST(a_slow_pipe_is_read_whole_whatever_signals_come),
		KIN_TEST(a_part_of_a_pipe_leaves_the_rest_in_it),
		KIN_TEST(a_pipe_that_ends_before_the_part_does_is_an_error),
		KIN_TEST(a_silent_pipe_times_out_and_nothing_is_lost),
		KIN_TEST(what_another_reader_took_is_not_waited_for),
		KIN_TEST(a_fifo_without_a_writer_is_an_error_or_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
