/*
 * test_view_writer_beside.c - writers beside others who write the same file, and in processes that
 * have lost something: descriptors, room, /proc (writer.c, os/extend.c, os/replace.c).
 */
#include "writer_fixture.h"
#include "view/view.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#define SKIPPED 77

/* ---- beside others ------------------------------------------------------------------------ */

static int append_up_to_the_limit(void *arg)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };
	comap_writer *writer = open_writer(arg, COMAP_WRITER_APPEND);
	char bytes[3000] = { 0 };
	int err = 0;

	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	while (err == 0)
		err = comap_writer_write(writer, bytes, sizeof bytes);
	KIN_CHECK(err == -ENOSPC);
	comap_writer_abort(writer);
	return 0;
}

/* Each asks how long the file is, and another makes it longer before it writes. */
static void appenders_at_the_limit_get_an_error_and_no_signal(void **state)
{
	const char *path = fx_path(fx_folder, "log");
	pid_t pids[3];

	(void)state;
	for (int round = 0; round < 40; round++) {
		unlink(path);
		for (int i = 0; i < 3; i++)
			pids[i] = kin_spawn(append_up_to_the_limit, (void *)(uintptr_t)path);
		for (int i = 0; i < 3; i++)
			assert_int_equal(kin_wait(pids[i]), 0);
	}
}

static bool has_signal(int (*ask)(sigset_t *set))
{
	sigset_t set;

	KIN_CHECK(ask(&set) == 0);
	return sigismember(&set, SIGXFSZ);
}

static int get_mask(sigset_t *set)
{
	return pthread_sigmask(SIG_SETMASK, NULL, set);
}

/* The write begins at the limit, although the file, whose size is asked, ends before. */
static int append_at_the_limit(void)
{
	int fd = open(fx_path(fx_folder, "f"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), err;
	uint64_t put = 0;

	KIN_CHECK(lseek(fd, BUFFER, SEEK_SET) == BUFFER);
	err = cm_os_append(fd, "x", 1, &put);
	close(fd);
	return put ? 1 : err;
}

static int append_with_every_mask(void *arg)
{
	struct rlimit limit = { BUFFER, BUFFER };
	sigset_t fsize;

	(void)arg;
	sigemptyset(&fsize);
	sigaddset(&fsize, SIGXFSZ);
	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	KIN_CHECK(append_at_the_limit() == -ENOSPC);
	KIN_CHECK(!has_signal(get_mask) && !has_signal(sigpending));
	KIN_CHECK(pthread_sigmask(SIG_BLOCK, &fsize, NULL) == 0);
	KIN_CHECK(append_at_the_limit() == -ENOSPC);
	KIN_CHECK(has_signal(get_mask) && !has_signal(sigpending));
	raise(SIGXFSZ); /* the caller's own */
	KIN_CHECK(append_at_the_limit() == -ENOSPC);
	KIN_CHECK(has_signal(get_mask) && has_signal(sigpending));
	return 0;
}

static void signals_that_wait_and_are_blocked_stay_so_at_the_limit(void **state)
{
	(void)state;
	assert_int_equal(kin_run(append_with_every_mask, NULL), 0);
}

/* A log that was emptied meanwhile, and by chance is as long again as it should be. */
static void abort_takes_nobody_elses_bytes(void **state)
{
	const char *path = fx_path(fx_folder, "log");
	char *bytes = content(BUFFER, 2), other[100] = "other";
	comap_writer *writer;
	struct stat st;
	FILE *file;

	(void)state;
	make_file(path, 100, 1);
	writer = open_writer(path, COMAP_WRITER_APPEND);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(comap_writer_write(writer, bytes, BUFFER), 0);
	file = fopen(path, "ae");
	assert_int_equal(fwrite(other, 1, 100, file), 100);
	fclose(file);
	comap_writer_abort(writer);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, BUFFER + 100);
	free(bytes);
}

/* Our last byte is the file's, but between ours lie those of another. */
static void abort_takes_nothing_from_between(void **state)
{
	const char *path = fx_path(fx_folder, "log");
	char *bytes = content(BUFFER, 2);
	comap_writer *writer;
	struct stat st;
	FILE *file;

	(void)state;
	make_file(path, 100, 1);
	writer = open_writer(path, COMAP_WRITER_APPEND);
	assert_int_equal(comap_writer_write(writer, bytes, BUFFER), 0);
	file = fopen(path, "ae");
	assert_int_equal(fwrite("other", 1, 5, file), 5);
	fclose(file);
	assert_int_equal(comap_writer_write(writer, bytes, BUFFER), 0);
	comap_writer_abort(writer);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 100 + 2 * BUFFER + 5);
	free(bytes);
}

/* ---- without ------------------------------------------------------------------------------- */

static int finish_without_descriptors(void *arg)
{
	enum comap_writer_how how = *(enum comap_writer_how *)arg;
	const char *path = fx_path(fx_folder, "f");
	struct rlimit none = { 0, 0 };
	comap_writer *writer;
	int fd;

	make_file(path, 10, 1);
	writer = open_writer(path, 0);
	KIN_CHECK(comap_writer_write(writer, "x", 1) == 0);
	fd = dup(0);
	KIN_CHECK(fd >= 0);
	none.rlim_cur = none.rlim_max = (rlim_t)fd;
	close(fd);
	KIN_CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	/* the folder's, before anything happened */
	if (how == COMAP_WRITER_DURABLE)
		KIN_CHECK(comap_writer_finish(writer, how) == -EMFILE);
	else
		KIN_CHECK(comap_writer_finish(writer, how) == 0);
	none.rlim_cur = none.rlim_max = 0;
	return how == COMAP_WRITER_DURABLE ? access(path, F_OK) : 0;
}

static void to_finish_takes_no_more_descriptors_than_to_begin(void **state)
{
	enum comap_writer_how how = COMAP_WRITER_PLAIN;

	(void)state;
	if (kin_is_valgrind()) /* it has descriptors of its own */
		skip();
	assert_int_equal(kin_run(finish_without_descriptors, &how), 0);
	how = COMAP_WRITER_DURABLE;
	assert_int_equal(kin_run(finish_without_descriptors, &how), 0);
	assert_true(has_content(fx_path(fx_folder, "f"), 10, 1));
	assert_int_equal(count_names(fx_folder), 1);
}

static int append_to_a_small_disk(void *arg)
{
	const char *path = fx_path(fx_folder, "small/log");
	comap_writer *writer;
	char *bytes = content(3000000, 2);
	struct stat st;

	(void)arg;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", fx_path(fx_folder, "small"), "tmpfs", 0, "size=1m") < 0)
		return SKIPPED;
	writer = open_writer(path, COMAP_WRITER_APPEND);
	for (size_t off = 0; off < 3000000; off += 50000)
		if (comap_writer_write(writer, bytes + off, 50000) < 0)
			break;
	KIN_CHECK(stat(path, &st) == 0);
	KIN_CHECK(comap_writer_size(writer) == (uint64_t)st.st_size);
	KIN_CHECK(comap_writer_finish(writer, COMAP_WRITER_PLAIN) == -ENOSPC);
	KIN_CHECK(stat(path, &st) == 0 && st.st_size == 0);
	free(bytes);
	return 0;
}

static void after_an_error_the_size_is_what_the_file_got(void **state)
{
	int status;

	(void)state;
	assert_int_equal(mkdir(fx_path(fx_folder, "small"), 0700), 0);
	status = kin_run(append_to_a_small_disk, NULL);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
}

static bool lose_proc(void)
{
	return unshare(CLONE_NEWNS) == 0 && mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
	       umount2("/proc", MNT_DETACH) == 0 && access("/proc/self", F_OK) < 0;
}

static int lose_proc_meanwhile(void *arg)
{
	const char *path = fx_path(fx_folder, "f");
	comap_writer *writer = open_writer(path, 0);
	bool is_new = !is_there(path);

	(void)arg;
	KIN_CHECK(comap_writer_write(writer, "new", 3) == 0);
	if (!lose_proc())
		return SKIPPED;
	KIN_CHECK(comap_writer_finish(writer, COMAP_WRITER_PLAIN) == 0);
	KIN_CHECK(is_new || count_names(fx_folder) == 1);
	return 0;
}

static void a_writer_that_lost_proc_meanwhile_finishes(void **state)
{
	struct stat st;
	int status;

	(void)state;
	for (int turn = 0; turn < 2; turn++) { /* a new file, then in the place of one */
		status = kin_run(lose_proc_meanwhile, NULL);
		if (status == SKIPPED)
			skip();
		assert_int_equal(status, 0);
		assert_int_equal(stat(fx_path(fx_folder, "f"), &st), 0);
		assert_int_equal(st.st_size, 3);
	}
}

/* An access control list as the kernel takes it: user 65534 may read and write, the group
 * nothing. */
static const unsigned char list[] = {
	2, 0, 0, 0,                                        /* version */
	1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,                /* the owner */
	2, 0, 6, 0, 0xfe, 0xff, 0,    0,                   /* one user */
	4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,                /* the group */
	0x10, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* the mask, which stat(2) shows as the group's */
	0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,             /* others */
};

static int replace_without_proc(void *arg)
{
	(void)arg;
	if (!lose_proc())
		return SKIPPED;
	KIN_CHECK(write_file(fx_path(fx_folder, "f"), 10, 2) == 0);
	return 0;
}

static void a_list_that_cannot_be_read_gives_the_group_nothing(void **state)
{
	const char *path = fx_path(fx_folder, "f");
	int status;

	(void)state;
	make_file(path, 10, 1);
	assert_int_equal(chmod(path, 0600), 0);
	if (setxattr(path, "system.posix_acl_access", list, sizeof list, 0) < 0)
		skip();
	assert_int_equal(permissions(path), 0660); /* by the mask */
	status = kin_run(replace_without_proc, NULL);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
	assert_true(has_content(path, 10, 2));
	assert_int_equal(permissions(path), 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(appenders_at_the_limit_get_an_error_and_no_signal),
		FX_FOLDER_TEST(signals_that_wait_and_are_blocked_stay_so_at_the_limit),
		FX_FOLDER_TEST(abort_takes_nobody_elses_bytes),
		FX_FOLDER_TEST(abort_takes_nothing_from_between),
		FX_FOLDER_TEST(to_finish_takes_no_more_descriptors_than_to_begin),
		FX_FOLDER_TEST(after_an_error_the_size_is_what_the_file_got),
		FX_FOLDER_TEST(a_writer_that_lost_proc_meanwhile_finishes),
		FX_FOLDER_TEST(a_list_that_cannot_be_read_gives_the_group_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
