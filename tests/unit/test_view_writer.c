/*
 * test_view_writer.c - what a writer writes, and how it ends when there is no room, or no process:
 * lib/view/writer_bytes.c, writer.c, os/extend.c.
 */
#include "writer_fixture.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#define SKIPPED 77

/* In a child: a file system of its own at dir, gone with the child; or the child ends as
 * skipped. */
static void mount_here(const char *dir, const char *type, const char *options)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir, type, 0, options) < 0)
		_exit(SKIPPED);
}

struct place {
	const char *dir, *path;
};

/* Run a child in a directory of its own. */
static void run_in_a_place(int (*child)(void *place))
{
	const char *dir = fx_mkdir();
	struct place place = { dir, fx_path(dir, "file") };
	int status = kin_run(child, &place);

	fx_rmdir(dir);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
}

/* ---- what is written ----------------------------------------------------------------- */

static const size_t sizes[] = { 0,	    1,		4095,	    4096,	 4097,	     BUFFER - 1,
				BUFFER,	    BUFFER + 1, BUFFER * 2, 3 * BUFFER + 4097, 9999999 };
static const size_t pieces[] = { 977, 4096, BUFFER - 1, BUFFER, BUFFER + 1, 700000, SIZE_MAX };

static void every_byte_arrives_whatever_the_pieces(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
			assert_int_equal(write_file_as(path, NULL, sizes[i], i + k, pieces[k],
						       COMAP_WRITER_PLAIN),
					 0);
			assert_true(has_content(path, sizes[i], i + k));
		}
	assert_int_equal(count_names(dir), 1);
	fx_rmdir(dir);
}

static void storage_that_no_byte_came_for_is_given_back(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		size_t size = i & 1 ? 3 * BUFFER + 1 : 100;

		unlink(path);
		opts.expect = i & 2 ? 100 << 20 : 0;
		opts.flags = i & 4 ? COMAP_WRITER_APPEND : 0;
		assert_int_equal(write_file_as(path, &opts, size, i, 5000, COMAP_WRITER_DURABLE), 0);
		assert_true(has_content(path, size, i));
		assert_int_equal(stat(path, &st), 0);
		assert_true(st.st_blocks * 512 <= 1 << 20);
	}
	fx_rmdir(dir);
}

static void what_is_expected_is_allocated_at_once(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	comap_writer *writer = NULL;
	struct stat st;

	(void)state;
	opts.expect = 10 << 20;
	opts.flags = COMAP_WRITER_APPEND;
	assert_int_equal(comap_writer_open(path, &opts, &writer), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 >= 10 << 20);
	assert_int_equal(st.st_size, 0);
	comap_writer_abort(writer);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	opts.flags = 0;
	opts.expect = UINT64_MAX;
	assert_int_equal(comap_writer_open(path, &opts, &writer), -EFBIG);
	opts.expect = INT64_MAX; /* and the disk is not filled to find out */
	assert_int_equal(comap_writer_open(path, &opts, &writer), -ENOSPC);
	assert_int_equal(count_names(dir), 1);
	fx_rmdir(dir);
}

/* ---- in place ------------------------------------------------------------------------ */

static void rooms_of_any_size_are_written_in_order(void **state)
{
	static const size_t rooms[] = { 0,	    1, 4095,	   100, BUFFER, 5000,
					BUFFER + 1, 3, 3 * BUFFER, 0,	70000 };
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	comap_writer *writer = open_writer(path, 0);
	char *bytes = content(1 << 22, 7);
	uint64_t done = 0;
	void *room;

	(void)state;
	for (unsigned turn = 0; turn < 3; turn++)
		for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
			size_t n = turn == 1 ? rooms[i] / 2 : rooms[i];

			if (done + rooms[i] > 1 << 22)
				break;
			assert_int_equal(comap_writer_reserve(writer, rooms[i], &room), 0);
			assert_non_null(room);
			memset(room, 0xa5, rooms[i]);
			memcpy(room, bytes + done, n);
			assert_int_equal(comap_writer_commit(writer, n), 0);
			done += n;
			assert_int_equal(comap_writer_write(writer, bytes + done, i), 0);
			done += i;
			assert_int_equal(comap_writer_size(writer), done);
		}
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	assert_true(done > 3 * BUFFER);
	assert_true(has_content(path, done, 7));
	free(bytes);
	fx_rmdir(dir);
}

static void a_commit_without_its_room_is_refused_for_good(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	void *room;

	(void)state;
	make_file(path, 100, 1);
	for (unsigned i = 0; i < 4; i++) {
		comap_writer *writer = open_writer(path, 0);

		if (i > 0)
			assert_int_equal(comap_writer_reserve(writer, 10, &room), 0);
		if (i == 1)
			assert_int_equal(comap_writer_write(writer, "x", 1), 0);
		if (i == 2)
			assert_int_equal(comap_writer_commit(writer, 10), 0);
		assert_int_equal(comap_writer_commit(writer, i == 3 ? 11 : 1), -EINVAL);
		assert_int_equal(comap_writer_write(writer, "x", 1), -EINVAL);
		assert_int_equal(comap_writer_reserve(writer, 1, &room), -EINVAL);
		assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), -EINVAL);
		assert_non_null(strstr(comap_view_reason(), path));
		assert_true(has_content(path, 100, 1));
	}
	fx_rmdir(dir);
}

static void more_than_there_can_be_is_refused(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	void *room = NULL;
	comap_writer *writer;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		writer = open_writer(path, 0);
		assert_int_equal(comap_writer_write(writer, "x", 1), 0);
		if (i == 0)
			assert_int_equal(comap_writer_reserve(writer, fx_blind(SIZE_MAX), &room), -EFBIG);
		else if (i == 1)
			assert_int_equal(comap_writer_reserve(writer, fx_blind(PTRDIFF_MAX / 4),
							      &room),
					 -ENOMEM);
		else
			assert_int_equal(comap_writer_write(writer, "x", fx_blind(SIZE_MAX)), -EFBIG);
		assert_null(room);
		comap_writer_abort(writer);
	}
	assert_int_equal(count_names(dir), 0);
	fx_rmdir(dir);
}

/* ---- append -------------------------------------------------------------------------- */

static void append_writes_behind_the_end(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "log"), *name = fx_path(dir, "name");
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	char *bytes = content(1000000, 5);
	comap_writer *writer;
	mode_t mask = umask(022);

	(void)state;
	assert_int_equal(symlink("log", name), 0);
	opts.flags = COMAP_WRITER_APPEND;
	opts.permissions = 0666;
	for (size_t off = 0, n = 1; off < 1000000; off += n, n = cm_min(n * 7, 1000000 - off)) {
		assert_int_equal(comap_writer_open(name, &opts, &writer), 0);
		assert_int_equal(comap_writer_size(writer), 0);
		assert_int_equal(comap_writer_write(writer, bytes + off, n), 0);
		assert_int_equal(comap_writer_size(writer), n);
		assert_int_equal(comap_writer_finish(writer, n % 2 ? COMAP_WRITER_PLAIN
								   : COMAP_WRITER_DURABLE),
				 0);
	}
	assert_true(has_content(path, 1000000, 5));
	assert_int_equal(permissions(path), 0666);
	umask(mask);
	free(bytes);
	fx_rmdir(dir);
}

static void abort_of_an_append_takes_back_its_own_bytes_only(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "log");
	char *bytes = content(2 * BUFFER, 6);
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		comap_writer *writer;

		make_file(path, 100, 1);
		writer = open_writer(path, COMAP_WRITER_APPEND);
		if (i != 1)
			assert_int_equal(comap_writer_write(writer, bytes, 2 * BUFFER), 0);
		if (i == 2)
			assert_int_equal(truncate(path, 50), 0);
		if (i == 3) {
			FILE *file = fopen(path, "ae");

			fputs("other", file);
			fclose(file);
		}
		comap_writer_abort(writer);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, i < 2 ? 100 : i == 2 ? 50 : 100 + 2 * BUFFER + 5);
		assert_true(i > 1 || has_content(path, 100, 1));
		unlink(path);
	}
	free(bytes);
	fx_rmdir(dir);
}

static void appenders_do_not_overwrite_one_another(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "log");
	comap_writer *a = open_writer(path, COMAP_WRITER_APPEND),
		     *b = open_writer(path, COMAP_WRITER_APPEND);
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(comap_writer_write(a, "aaaa", 4), 0);
		assert_int_equal(comap_writer_write(b, "bbb", 3), 0);
	}
	assert_int_equal(comap_writer_finish(a, COMAP_WRITER_PLAIN), 0);
	assert_int_equal(comap_writer_finish(b, COMAP_WRITER_PLAIN), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 21);
	/* a log that is emptied goes on at its new end */
	a = open_writer(path, COMAP_WRITER_APPEND);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(comap_writer_write(a, "aaaa", 4), 0);
	assert_int_equal(comap_writer_finish(a, COMAP_WRITER_PLAIN), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 4);
	fx_rmdir(dir);
}

/* ---- when there is no room ----------------------------------------------------------- */

static int write_past_the_limit(void *arg)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	const struct place *p = arg;
	comap_writer *writer = NULL;
	struct rlimit limit = { 1000000, RLIM_INFINITY };

	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0); /* SIGXFSZ would end us */
	KIN_CHECK(write_file(p->path, 1000000, 2) == 0);
	for (size_t piece = 100; piece < 3000000; piece *= 30)
		KIN_CHECK(write_file_as(p->path, NULL, 1000001, 3, piece, COMAP_WRITER_PLAIN) == -ENOSPC);
	KIN_CHECK(has_content(p->path, 1000000, 2));
	opts.expect = 1000001;
	KIN_CHECK(comap_writer_open(p->path, &opts, &writer) == -ENOSPC);
	opts.flags = COMAP_WRITER_APPEND;
	opts.expect = 1;
	KIN_CHECK(comap_writer_open(p->path, &opts, &writer) == -ENOSPC);
	opts.expect = 0;
	KIN_CHECK(write_file_as(p->path, &opts, 1, 3, 1, COMAP_WRITER_PLAIN) == -ENOSPC);
	KIN_CHECK(has_content(p->path, 1000000, 2));
	KIN_CHECK(truncate(p->path, 1000) == 0);
	KIN_CHECK(write_file_as(p->path, &opts, 999000, 3, 5000, COMAP_WRITER_PLAIN) == 0);
	KIN_CHECK(count_names(p->dir) == 1);
	return 0;
}

static void past_rlimit_fsize_is_enospc_and_no_signal(void **state)
{
	(void)state;
	run_in_a_place(write_past_the_limit);
}

static int fill_a_disk(void *arg)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	const struct place *p = arg;
	comap_writer *writer = NULL;
	char *bytes = content(BUFFER, 1);
	unsigned n = 0;

	mount_here(p->dir, "tmpfs", "size=2m");
	KIN_CHECK(write_file(p->path, 300000, 1) == 0);
	opts.expect = 3 << 20;
	KIN_CHECK(comap_writer_open(p->path, &opts, &writer) == -ENOSPC);
	/* more than half of it, though there is no room for a step ahead */
	KIN_CHECK(write_file_as(p->path, NULL, 1600000, 2, 5000, COMAP_WRITER_DURABLE) == 0);
	KIN_CHECK(has_content(p->path, 1600000, 2));
	for (size_t piece = 100; piece < 3000000; piece *= 30)
		KIN_CHECK(write_file_as(p->path, NULL, 1600000, 3, piece, COMAP_WRITER_PLAIN) == -ENOSPC);
	KIN_CHECK(comap_writer_open(p->path, NULL, &writer) == 0);
	while (comap_writer_write(writer, bytes, BUFFER) == 0)
		n++;
	KIN_CHECK(n == 1);
	KIN_CHECK(comap_writer_write(writer, bytes, 1) == -ENOSPC);
	KIN_CHECK(comap_writer_commit(writer, 1) == -ENOSPC);
	KIN_CHECK(comap_writer_finish(writer, COMAP_WRITER_PLAIN) == -ENOSPC);
	opts = (struct comap_writer_opts)COMAP_WRITER_OPTS_INIT;
	opts.flags = COMAP_WRITER_APPEND;
	KIN_CHECK(write_file_as(p->path, &opts, 1000000, 3, 5000, COMAP_WRITER_PLAIN) == -ENOSPC);
	KIN_CHECK(has_content(p->path, 1600000, 2));
	KIN_CHECK(count_names(p->dir) == 1);
	/* all that was taken is there again */
	KIN_CHECK(unlink(p->path) == 0);
	KIN_CHECK(write_file(p->path, 2000000, 4) == 0);
	free(bytes);
	return 0;
}

static void a_full_disk_is_an_error_and_leaves_the_old_file(void **state)
{
	(void)state;
	run_in_a_place(fill_a_disk);
}

static int write_without_fallocate(void *arg)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	const struct place *p = arg;

	mount_here(p->dir, "ramfs", NULL);
	for (unsigned i = 0; i < 4; i++) {
		opts.flags = i & 1 ? COMAP_WRITER_APPEND : 0;
		opts.expect = i & 2 ? 5000000 : 0;
		(void)unlink(p->path);
		KIN_CHECK(write_file_as(p->path, &opts, 2000000, i, 5000, COMAP_WRITER_DURABLE) == 0);
		KIN_CHECK(has_content(p->path, 2000000, i));
	}
	return 0;
}

static void a_file_system_without_fallocate_will_do(void **state)
{
	(void)state;
	run_in_a_place(write_without_fallocate);
}

static int write_without_memory(void *arg)
{
	const struct place *p = arg;
	comap_writer *writer = NULL;
	struct rlimit limit = { 1, RLIM_INFINITY };
	void *room = NULL;

	KIN_CHECK(write_file(p->path, 100, 1) == 0);
	KIN_CHECK(comap_writer_open(p->path, NULL, &writer) == 0);
	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	KIN_CHECK(comap_writer_reserve(writer, 20 << 20, &room) == -ENOMEM &&
		  !room); /* the pool keeps none of these */
	limit.rlim_cur = RLIM_INFINITY;
	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	KIN_CHECK(comap_writer_write(writer, "x", 1) == -ENOMEM);
	KIN_CHECK(comap_writer_finish(writer, COMAP_WRITER_PLAIN) == -ENOMEM);
	KIN_CHECK(has_content(p->path, 100, 1));
	return 0;
}

static void without_memory_the_old_file_stays(void **state)
{
	(void)state;
	if (FX_IS_SANITIZED || kin_is_valgrind())
		skip();
	run_in_a_place(write_without_memory);
}

/* ---- death and signals --------------------------------------------------------------- */

#define OLD_SIZE 700000u

/* Replace it again and again, each time by a whole file. */
static int replace_for_ever(void *path)
{
	uint64_t seed = 1;

	while (write_file_as(path, NULL, OLD_SIZE, seed, 50000,
			     seed % 8 ? COMAP_WRITER_PLAIN : COMAP_WRITER_DURABLE) == 0)
		seed++;
	return KIN_FAILED;
}

/* Whole: all of it made from the seed that made its beginning. */
static bool is_whole(const char *path)
{
	char *bytes = malloc(OLD_SIZE + 1);
	FILE *file = fopen(path, "re");
	bool is_so = file && fread(bytes, 1, OLD_SIZE + 1, file) == OLD_SIZE;
	uint64_t seed;

	memcpy(&seed, bytes, sizeof seed);
	is_so = is_so && is_content(bytes, OLD_SIZE, seed);
	if (file)
		fclose(file);
	free(bytes);
	return is_so;
}

/* Remove what is there besides `file`: all of it temporary names. */
static unsigned sweep(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;
	unsigned n = 0;
	int end;

	while ((entry = readdir(d))) {
		const char *name = entry->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "file") == 0)
			continue;
		end = 0;
		assert_int_equal(sscanf(name, "file.%*16[0-9a-f]~%n", &end), 0);
		assert_int_equal(end, 22);
		assert_int_equal(name[end], 0);
		assert_int_equal(unlinkat(dirfd(d), name, 0), 0);
		n++;
	}
	closedir(d);
	return n;
}

static void who_is_killed_leaves_a_whole_file(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	uint64_t random = kin_now_ns(), end;
	pid_t child;

	(void)state;
	make_file(path, OLD_SIZE, 0);
	for (unsigned i = 0; i < 60; i++) {
		cm_os_no_tmpfile = i % 4 == 3;
		child = kin_spawn(replace_for_ever, (void *)(uintptr_t)path);
		end = kin_now_ns() + fx_random(&random) % 15000000;
		do
			assert_true(is_whole(path)); /* while it works, too */
		while (kin_now_ns() < end);
		assert_int_equal(kin_kill(child), -SIGKILL);
		assert_true(is_whole(path));
		assert_true(sweep(dir) <= 1);
	}
	cm_os_no_tmpfile = false;
	assert_int_equal(write_file(path, 10, 1), 0);
	assert_true(has_content(path, 10, 1));
	fx_rmdir(dir);
}

static int die_while_writing(void *path)
{
	comap_writer *writer = NULL;
	char bytes[50000] = "";

	KIN_CHECK(comap_writer_open(path, NULL, &writer) == 0);
	for (unsigned i = 0; i < 30; i++)
		KIN_CHECK(comap_writer_write(writer, bytes, sizeof bytes) == 0);
	kin_die();
	return 0;
}

static void who_dies_while_writing_leaves_nothing(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");

	(void)state;
	assert_int_equal(kin_run(die_while_writing, (void *)(uintptr_t)path), -SIGKILL);
	assert_int_equal(count_names(dir), 0);
	fx_rmdir(dir);
}

static void ignore(int signal)
{
	(void)signal;
}

/* Write while a timer fires often. */
static void write_amid_signals(const char *path)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	enum comap_writer_how how;

	for (unsigned i = 0; i < 6; i++) {
		opts.expect = i & 1 ? 100 << 20 : 0;
		opts.flags = i & 2 ? COMAP_WRITER_APPEND : 0;
		how = i & 4 ? COMAP_WRITER_DURABLE : COMAP_WRITER_PLAIN;
		unlink(path);
		fx_alarms(300, ignore);
		assert_int_equal(write_file_as(path, &opts, 3000000, i, 77777, how), 0);
		fx_alarms_end();
		assert_true(has_content(path, 3000000, i));
	}
}

static void signals_disturb_nothing(void **state)
{
	char memory[] = "/dev/shm/comap-unit.XXXXXX"; /* there fallocate gives up, on older kernels */
	const char *dir = fx_mkdir();

	(void)state;
	write_amid_signals(fx_path(dir, "file"));
	if (mkdtemp(memory)) {
		write_amid_signals(fx_path(memory, "file"));
		fx_rmdir(memory);
	}
	fx_rmdir(dir);
}

/* ---- options ------------------------------------------------------------------------- */

static void options_are_checked(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	struct {
		struct comap_writer_opts known;
		uint64_t unknown;
	} longer = { .known = COMAP_WRITER_OPTS_INIT };
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	comap_writer *writer = NULL;

	(void)state;
	longer.known.size = sizeof longer;
	assert_int_equal(comap_writer_open(path, &longer.known, &writer), 0);
	comap_writer_abort(writer);
	writer = NULL;
	longer.unknown = 1;
	assert_int_equal(comap_writer_open(path, &longer.known, &writer), -E2BIG);
	opts.size = 0;
	assert_int_equal(comap_writer_open(path, &opts, &writer), -EINVAL);
	assert_non_null(strstr(comap_view_reason(), path));
	opts = (struct comap_writer_opts)COMAP_WRITER_OPTS_INIT;
	opts.reserved = 1;
	assert_int_equal(comap_writer_open(path, &opts, &writer), -EINVAL);
	assert_int_equal(open_error(path, 8), -EINVAL);
	assert_null(writer);
	writer = open_writer(path, 0);
	assert_int_equal(comap_writer_finish(writer, (enum comap_writer_how)2), -EINVAL);
	assert_int_equal(count_names(dir), 0);
	fx_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(every_byte_arrives_whatever_the_pieces),
		KIN_TEST(storage_that_no_byte_came_for_is_given_back),
		KIN_TEST(what_is_expected_is_allocated_at_once),
		KIN_TEST(rooms_of_any_size_are_written_in_order),
		KIN_TEST(a_commit_without_its_room_is_refused_for_good),
		KIN_TEST(more_than_there_can_be_is_refused),
		KIN_TEST(append_writes_behind_the_end),
		KIN_TEST(abort_of_an_append_takes_back_its_own_bytes_only),
		KIN_TEST(appenders_do_not_overwrite_one_another),
		KIN_TEST(past_rlimit_fsize_is_enospc_and_no_signal),
		KIN_TEST(a_full_disk_is_an_error_and_leaves_the_old_file),
		KIN_TEST(a_file_system_without_fallocate_will_do),
		KIN_TEST(without_memory_the_old_file_stays),
		KIN_TEST(who_is_killed_leaves_a_whole_file),
		KIN_TEST(who_dies_while_writing_leaves_nothing),
		KIN_TEST(signals_disturb_nothing),
		KIN_TEST(options_are_checked),
	};

	return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
