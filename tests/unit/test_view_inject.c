/*
 * test_view_inject.c - each call into the system fails once, at each place where it is made.
 *
 * The linker puts our functions before libc's (--wrap, in meson.build).  A scenario is done again
 * and again, and each time the next call of it fails: with ENOMEM where it asks for memory, else
 * with EIO, or with EMFILE.  Then true must be:
 *
 *   - the scenario's call says so by an error that such a failure may have, with a sentence for it; or
 *     nothing is wrong, for there was another way, and the bytes are right;
 *   - no descriptor, no mapping, no file is left, and the old file is as it was.
 *
 * Then some that fail at one place only, where it is known what must come of it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <comap/lz4view.h>
#include <comap/stream.h>
#include <comap/window.h>
#include "fixture.h"
#include "view/view.h"

#define LONG (9 << 20) /* bytes of a file that is mapped, and of which streams try both ways */
#define BROKEN (-ENOTRECOVERABLE) /* what a scenario says of wrong bytes */

/* ---- failing -------------------------------------------------------------------------- */

static _Atomic bool is_armed;
static _Atomic long calls, fail_at;
static _Atomic(const char *) failed; /* which call was it? */
static int with = EIO;
static long only; /* the one system call that fails; 0: any, and the library's functions */

static bool fails(long n, const char *what, int err)
{
	if (!is_armed || (only && n != only) || ++calls != fail_at)
		return false;
	failed = what;
	errno = err;
	return true;
}

/* Of these an error means something else, or there is none. */
static bool is_spared(long n)
{
	return n == SYS_close || n == SYS_ppoll || n == SYS_futex || n == SYS_getpid;
}

#define WRAP(type, name, parameters, arguments, err, none)    \
	type __real_##name parameters;                        \
	type __wrap_##name parameters;                        \
	type __wrap_##name parameters                         \
	{                                                     \
		if (fails(0, #name, err))                     \
			return none;                          \
		return __real_##name arguments;               \
	}
WRAP(void *, malloc, (size_t n), (n), ENOMEM, NULL)
WRAP(void *, calloc, (size_t n, size_t m), (n, m), ENOMEM, NULL)
WRAP(void *, realloc, (void *p, size_t n), (p, n), ENOMEM, NULL)
WRAP(char *, strdup, (const char *s), (s), ENOMEM, NULL)
WRAP(void *, mmap64, (void *at, size_t n, int p, int f, int fd, off_t o), (at, n, p, f, fd, o),
     ENOMEM, MAP_FAILED)
WRAP(int, fstat64, (int fd, struct stat *st), (fd, st), with, -1)
WRAP(int, fstatfs64, (int fd, struct statfs *st), (fd, st), with, -1)
WRAP(int, ftruncate64, (int fd, off_t n), (fd, n), with, -1)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), with, -1)
WRAP(int, linkat, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e), with, -1)
WRAP(int, renameat, (int a, const char *b, int c, const char *d), (a, b, c, d), with, -1)
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags), with, -1)
WRAP(void *, XXH32_createState, (void), (), ENOMEM, NULL)

static bool poll_lies; /* once: there is something to read */

static size_t copied_at_most = SIZE_MAX; /* by one copy_file_range */

long __real_syscall(long n, ...);
long __wrap_syscall(long n, ...);
long __wrap_syscall(long n, ...)
{
	va_list list;
	long a[6];

	va_start(list, n);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (n == SYS_ppoll && poll_lies) {
		poll_lies = false;
		return 1;
	}
	if (!is_spared(n) && fails(n, "syscall", with))
		return -1;
	if (n == SYS_copy_file_range)
		a[4] = (long)cm_min((size_t)a[4], copied_at_most);
	return __real_syscall(n, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int cut_before_seals = -1; /* a memfd that is cut and sealed when its seals are asked */

int __real_fcntl64(int fd, int what, ...);
int __wrap_fcntl64(int fd, int what, ...);
int __wrap_fcntl64(int fd, int what, ...)
{
	va_list list;
	long a;

	va_start(list, what);
	a = va_arg(list, long);
	va_end(list);
	if (fails(0, "fcntl", with))
		return -1;
	if (what == F_GET_SEALS && cut_before_seals >= 0) {
		(void)__real_ftruncate64(cut_before_seals, 4096);
		(void)__real_fcntl64(cut_before_seals, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
		cut_before_seals = -1;
	}
	return __real_fcntl64(fd, what, a);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x)
{
	return fails(0, "pthread_create", EAGAIN) ? EAGAIN : __real_pthread_create(t, a, f, x);
}

/* The at-th call of this one fails; 0: none. */
static void arm(long call, long at, int err)
{
	only = call;
	with = err;
	fail_at = at;
	calls = 0;
	failed = NULL;
	is_armed = true;
}

static void disarm(void)
{
	is_armed = false;
	only = 0;
}

/* ---- files ------------------------------------------------------------------------------ */

static char *bytes;   /* what is in all of them: LONG and more */
static char *scratch; /* LONG and one more */

static const char *path_of(const char *name)
{
	return fx_path(fx_folder, name);
}

static void make(const char *name, size_t n)
{
	FILE *file = fopen(path_of(name), "we");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, n, file), n);
	fclose(file);
}

static bool holds(const char *name, size_t n)
{
	FILE *file = fopen(path_of(name), "re");
	bool is_so = file && fread(scratch, 1, n + 1, file) == n && memcmp(scratch, bytes, n) == 0;

	if (file)
		fclose(file);
	return is_so;
}

static unsigned entries(const char *folder)
{
	DIR *dir = opendir(folder);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- scenarios: an error, or 0 and all is right --------------------------------------------- */

static int check(struct comap_bytes got, size_t n)
{
	return got.size == n && memcmp(got.data, bytes, n) == 0 ? 0 : BROKEN;
}

static int look(size_t n, uint32_t mode, uint32_t flags)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view, *part;
	int err;

	o.mode = mode;
	o.flags = flags;
	err = comap_view_open(path_of(n == LONG ? "long" : "short"), &o, &view);
	if (err == 0) {
		err = check(comap_view_bytes(view), n);
		if (err == 0)
			err = comap_view_sub(view, 1, 100, &part);
		if (err == 0) {
			err = memcmp(comap_view_bytes(part).data, bytes + 1, 100) ? BROKEN : 0;
			comap_view_close(part);
		}
		if (err == 0)
			err = comap_view_read(view, 0, scratch, n);
		if (err == 0)
			err = check((struct comap_bytes){ scratch, n }, n);
		comap_view_close(view);
	}
	return err;
}

static int copied(void) { return look(1000, COMAP_VIEW_READ, 0); }
static int mapped(void) { return look(LONG, COMAP_VIEW_READ, 0); }
static int watched(void) { return look(LONG, COMAP_VIEW_READ, COMAP_VIEW_WATCH | COMAP_VIEW_POPULATE); }
static int private(void) { return look(LONG, COMAP_VIEW_PRIVATE, 0); }

static int made(void)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;
	int err;

	o.mode = COMAP_VIEW_SHARED;
	o.flags = COMAP_VIEW_CREATE;
	o.length = 1000;
	o.reserve = 1 << 20;
	err = comap_view_open(path_of("made"), &o, &view);
	if (err < 0) {
		unlink(path_of("made")); /* which the manual says may stay, empty */
		return err;
	}
	err = comap_view_write(view, 0, bytes, 1000);
	if (err == 0)
		err = comap_view_resize(view, 100000, 0);
	if (err == 0)
		err = comap_view_write(view, 1000, bytes + 1000, 99000);
	if (err == 0)
		err = comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE);
	if (err == 0)
		err = check(comap_view_bytes(view), 100000);
	comap_view_close(view);
	if (err == 0 && !holds("made", 100000))
		err = BROKEN;
	unlink(path_of("made"));
	return err;
}

static int sealed(void)
{
	comap_view *view;
	int err = comap_view_open_memfd("inject", 10000, &view);

	if (err < 0)
		return err;
	err = comap_view_write(view, 0, bytes, 10000);
	if (err == 0)
		err = comap_view_seal(view, true);
	if (err == 0)
		err = check(comap_view_bytes(view), 10000);
	comap_view_close(view);
	return err;
}

static int write_file(uint32_t flags, enum comap_writer_how how, size_t had)
{
	struct comap_writer_opts o = COMAP_WRITER_OPTS_INIT;
	const char *name = flags & COMAP_WRITER_APPEND ? "log" : "old";
	size_t begin = flags & COMAP_WRITER_APPEND ? had : 0;
	comap_writer *writer;
	void *room;
	int err, first;

	make(name, had);
	o.flags = flags;
	o.expect = how == COMAP_WRITER_DURABLE ? 600000 - begin : 0;
	err = comap_writer_open(path_of(name), &o, &writer);
	if (err == 0) {
		first = comap_writer_write(writer, bytes + begin, 500000 - begin);
		if (first == 0)
			first = comap_writer_reserve(writer, 100000, &room);
		if (first == 0) {
			memcpy(room, bytes + 500000, 100000);
			first = comap_writer_commit(writer, 100000);
		}
		err = comap_writer_finish(writer, how);
		if (first < 0 && err != first)
			err = BROKEN; /* an error was lost */
	}
	if (holds(name, err == 0 ? 600000 : had))
		return err;
	/* the one exception: it has its name, and only that may not outlast a power loss */
	return how == COMAP_WRITER_DURABLE && err == -EIO && holds(name, 600000) ? err : BROKEN;
}

static int replaced(void) { return write_file(0, COMAP_WRITER_PLAIN, 77); }
static int durable(void) { return write_file(0, COMAP_WRITER_DURABLE, 77); }
static int appended(void) { return write_file(COMAP_WRITER_APPEND, COMAP_WRITER_PLAIN, 77); }

static int into_writer(void)
{
	comap_writer *writer;
	comap_view *view;
	int err = comap_view_open(path_of("long"), NULL, &view);

	if (err < 0)
		return err;
	err = comap_writer_open(path_of("old"), NULL, &writer);
	if (err == 0) {
		err = comap_writer_copy(writer, view, 0, 0);
		if (err == 0)
			err = comap_writer_finish(writer, COMAP_WRITER_PLAIN);
		else
			comap_writer_abort(writer);
		if (err == 0 && !holds("old", LONG))
			err = BROKEN;
	}
	comap_view_close(view);
	return err;
}

static int stream(const char *name, size_t n, uint32_t flags, bool by_records)
{
	struct comap_stream_opts o = COMAP_STREAM_OPTS_INIT;
	struct comap_bytes got;
	comap_stream *stream;
	size_t at = 0;
	int r;

	o.flags = flags;
	r = comap_stream_open(path_of(name), &o, &stream);
	if (r < 0)
		return r;
	while ((r = by_records ? comap_stream_record(stream, '\n', &got)
			       : comap_stream_next(stream, &got)) > 0) {
		if (got.size > n - at || memcmp(got.data, bytes + at, got.size))
			break;
		at += got.size + by_records;
	}
	comap_stream_close(stream);
	return r < 0 ? r : r > 0 || at - (at == n + 1) != n ? BROKEN : 0;
}

static int short_stream(void) { return stream("short", 1000, 0, false); }
static int long_stream(void) { return stream("long", LONG, 0, false); }
static int mapped_stream(void) { return stream("long", LONG, COMAP_STREAM_MAP, false); }
static int lines(void) { return stream("long", LONG, 0, true); }

static int windows(void)
{
	comap_windows *windows;
	struct comap_pin pin;
	int fd = open(path_of("long"), O_RDONLY | O_CLOEXEC);
	int err = comap_windows_open(fd, 1 << 20, 2 << 20, &windows);

	close(fd);
	if (err < 0)
		return err;
	for (size_t at = 0; err == 0 && at < LONG; at += LONG / 8) {
		err = comap_windows_pin(windows, at, 1000, &pin);
		if (err == 0 && memcmp(pin.bytes.data, bytes + at, 1000))
			err = BROKEN;
		if (err == 0)
			comap_windows_unpin(windows, &pin);
	}
	comap_windows_close(windows);
	return err;
}

static int pack(void)
{
	struct comap_lz4_write_opts o = COMAP_LZ4_WRITE_OPTS_INIT;
	comap_writer *writer;
	int err = comap_writer_open(path_of("packed"), NULL, &writer);

	if (err < 0)
		return err;
	o.flags = COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT;
	o.threads = 2;
	err = comap_lz4_write(writer, (struct comap_bytes){ bytes, LONG }, &o);
	if (err < 0)
		comap_writer_abort(writer);
	else
		err = comap_writer_finish(writer, COMAP_WRITER_PLAIN);
	return err;
}

static int inflate(void)
{
	struct comap_lz4_info info = { .size = sizeof info };
	comap_lz4 *lz4 = NULL;
	comap_view *view = NULL;
	int err;

	err = comap_view_open(path_of("packed"), NULL, &view);
	if (err == 0)
		err = comap_lz4_open(view, COMAP_LZ4_NO_INDEX, &lz4);
	if (err == 0)
		err = comap_lz4_get_info(lz4, &info);
	if (err == 0)
		err = comap_lz4_inflate(lz4, scratch, LONG, 2, COMAP_LZ4_CHECK_CONTENT);
	if (err == 0)
		err = check((struct comap_bytes){ scratch, LONG }, LONG);
	if (err == 0)
		err = (int)comap_lz4_read(lz4, 100000, scratch, 1000, COMAP_LZ4_CHECK_BLOCKS);
	if (err >= 0)
		err = err == 1000 && memcmp(scratch, bytes + 100000, 1000) == 0 ? 0 : BROKEN;
	comap_lz4_close(lz4);
	comap_view_close(view);
	return err;
}

static int unpack(void)
{
	comap_writer *writer;
	comap_view *view;
	int err = comap_view_open(path_of("packed"), NULL, &view);

	if (err < 0)
		return err;
	err = comap_writer_open(path_of("old"), NULL, &writer);
	if (err == 0) {
		err = comap_lz4_unpack(view, writer, 2, COMAP_LZ4_CHECK_CONTENT);
		if (err == 0)
			err = comap_writer_finish(writer, COMAP_WRITER_PLAIN);
		else
			comap_writer_abort(writer);
		if (err == 0 && !holds("old", LONG))
			err = BROKEN;
	}
	comap_view_close(view);
	return err;
}

/* ---- all of them -------------------------------------------------------------------------- */

static bool is_expected(int err)
{
	/* what cannot be asked for its file system is no memfd that we know */
	return err == -ENOMEM || err == -with || err == -EIO || err == -ENODEV ||
	       (err == -EINVAL && strcmp(failed, "fstatfs64") == 0);
}

static void fail_everywhere(int (*scenario)(void), const char *name)
{
	unsigned fds, files;
	int err;

	failed = "";
	for (fail_at = 1; failed; fail_at++) {
		assert_true(fail_at < 2000);
		make("old", 77);
		fds = entries("/proc/self/fd");
		files = entries(fx_folder);
		failed = NULL;
		calls = 0;
		is_armed = true;
		err = scenario();
		is_armed = false;
		if (err < 0 && failed && is_expected(err) && comap_view_reason()[0])
			; /* it says so */
		else if (err != 0)
			fail_msg("%s: call %ld, %s: %s (%s)", name, (long)fail_at, failed ? failed : "none",
				 strerrorname_np(-err), comap_view_reason());
		if (entries("/proc/self/fd") != fds || entries(fx_folder) > files + 1)
			fail_msg("%s: call %ld, %s: something is left", name, (long)fail_at,
				 failed ? failed : "none");
		unlink(path_of("log"));
		unlink(path_of("new"));
	}
	print_message("%s: %ld calls\n", name, (long)fail_at - 2);
	assert_true(fail_at > 3);
}

#define SCENARIO(fn) { #fn, fn }
static const struct {
	const char *name;
	int (*run)(void);
} scenarios[] = {
	SCENARIO(copied), SCENARIO(mapped), SCENARIO(watched), SCENARIO(private), SCENARIO(made),
	SCENARIO(sealed), SCENARIO(replaced), SCENARIO(durable), SCENARIO(appended),
	SCENARIO(into_writer), SCENARIO(short_stream), SCENARIO(long_stream), SCENARIO(mapped_stream),
	SCENARIO(lines), SCENARIO(windows), SCENARIO(inflate), SCENARIO(unpack), SCENARIO(pack),
};

static void each_call_may_fail_and_nothing_is_lost(void **state)
{
	static const int errors[] = { EIO, EMFILE };
	unsigned n = kin_is_valgrind() ? 1 : 2;

	(void)state;
	make("short", 1000);
	make("long", LONG);
	assert_int_equal(pack(), 0);
	for (unsigned e = 0; e < n; e++)
		for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
			with = errors[e];
			fail_everywhere(scenarios[i].run, scenarios[i].name);
		}
}

/* ---- one of them -------------------------------------------------------------------------- */

static struct stat stat_of(const char *name)
{
	struct stat st;

	assert_int_equal(stat(path_of(name), &st), 0);
	return st;
}

static void where_there_is_no_fallocate_zeroes_are_written(void **state)
{
	int fd = open(path_of("f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600), err;

	(void)state;
	arm(SYS_fallocate, 1, EOPNOTSUPP);
	err = cm_os_extend(fd, 300000);
	disarm();
	assert_int_equal(err, 0);
	assert_non_null(failed);
	assert_int_equal(stat_of("f").st_size, 300000);
	assert_true(stat_of("f").st_blocks * 512 >= 300000);
	close(fd);
}

static void a_file_for_which_there_is_half_the_room_is_as_it_was(void **state)
{
	int fd = open(path_of("f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600), err;

	(void)state;
	assert_int_equal(cm_os_extend(fd, 100), 0);
	arm(SYS_fallocate, 2, ENOSPC);
	err = cm_os_extend(fd, 40 << 20);
	disarm();
	assert_int_equal(err, -ENOSPC);
	assert_non_null(failed);
	assert_int_equal(stat_of("f").st_size, 100);
	close(fd);
}

static void a_flush_that_lost_bytes_says_so_for_good(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EDQUOT };
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	struct comap_view_info info = { .size = sizeof info };
	comap_view *view;
	int err;

	(void)state;
	o.mode = COMAP_VIEW_SHARED;
	o.flags = COMAP_VIEW_CREATE;
	o.length = 1000;
	for (int i = 0; i < 3; i++) {
		int want = errors[i] == EIO ? -EIO : -ENOSPC;

		assert_int_equal(comap_view_open(path_of("f"), &o, &view), 0);
		arm(SYS_fsync, 1, errors[i]);
		err = comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE);
		disarm();
		assert_int_equal(err, want);
		assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE), want);
		assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DATA), want);
		assert_int_equal(comap_view_get_info(view, &info), 0);
		assert_int_equal(info.failed, want);
		comap_view_close(view);
	}
}

/* Of a file that was there: who made it may not have waited for its name.  The bytes are synced by
 * fdatasync(2). */
static void appending_syncs_the_folder_when_it_is_durable_and_only_then(void **state)
{
	struct comap_writer_opts o = COMAP_WRITER_OPTS_INIT;
	comap_writer *writer;
	int err;

	(void)state;
	make("log", 77);
	o.flags = COMAP_WRITER_APPEND;
	assert_int_equal(comap_writer_open(path_of("log"), &o, &writer), 0);
	assert_int_equal(comap_writer_write(writer, bytes, 100), 0);
	arm(SYS_fsync, 1, EIO);
	err = comap_writer_finish(writer, COMAP_WRITER_DURABLE);
	disarm();
	assert_int_equal(err, -EIO);
	assert_true(holds("log", 77));
	assert_int_equal(comap_writer_open(path_of("log"), &o, &writer), 0);
	arm(SYS_fsync, 1, EINVAL); /* this file system knows no such thing */
	err = comap_writer_finish(writer, COMAP_WRITER_DURABLE);
	disarm();
	assert_int_equal(err, 0);
	assert_non_null(failed);
	assert_int_equal(comap_writer_open(path_of("log"), &o, &writer), 0);
	assert_int_equal(comap_writer_write(writer, bytes + 77, 100), 0);
	arm(SYS_fsync, 1, EIO);
	err = comap_writer_finish(writer, COMAP_WRITER_PLAIN);
	disarm();
	assert_int_equal(err, 0);
	assert_int_equal(calls, 0);
	assert_true(holds("log", 177));
}

static void what_the_kernel_copies_in_part_is_read_from_there_on(void **state)
{
	static const int errors[] = { EXDEV, EINVAL, EBADF, ENOSYS, EPERM, EOPNOTSUPP };
	comap_writer *writer;
	comap_view *view;
	int err;

	(void)state;
	make("long", LONG);
	copied_at_most = 3000001;
	assert_int_equal(comap_view_open(path_of("long"), NULL, &view), 0);
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		for (long at = 0; at < 4; at++) {
			assert_int_equal(comap_writer_open(path_of("old"), NULL, &writer), 0);
			arm(SYS_copy_file_range, at, errors[i]);
			err = comap_writer_copy(writer, view, 0, 0);
			disarm();
			assert_int_equal(err, 0);
			assert_true(calls > 0);
			assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
			assert_true(holds("old", LONG));
		}
	copied_at_most = SIZE_MAX;
	comap_view_close(view);
}

/* By whatever takes bytes from a pipe within a time; what it says. */
static int stream_pipe(int fd, char *got)
{
	struct comap_stream_opts o = COMAP_STREAM_OPTS_INIT;
	struct comap_bytes chunk;
	comap_stream *stream;
	int r;

	o.timeout_ns = 20000000;
	KIN_CHECK(comap_stream_open_fd(fd, &o, &stream) == 0);
	r = comap_stream_next(stream, &chunk);
	if (r == 1)
		*got = *(const char *)chunk.data;
	comap_stream_close(stream);
	return r < 0 ? r : 0;
}

static int view_pipe(int fd, char *got)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;
	int err;

	o.timeout_ns = 20000000;
	o.length = 1;
	err = comap_view_open_fd(fd, &o, &view);
	if (err == 0) {
		*got = *(const char *)comap_view_bytes(view).data;
		comap_view_close(view);
	}
	return err;
}

static int read_pipes(void *arg)
{
	int (*const ways[])(int fd, char *got) = { stream_pipe, view_pipe };
	char got;
	int ends[2];

	(void)arg;
	alarm(10);
	KIN_CHECK(pipe2(ends, O_CLOEXEC) == 0);
	for (int i = 0; i < 2; i++) {
		poll_lies = true; /* another process was faster */
		KIN_CHECK(ways[i](ends[0], &got) == -ETIMEDOUT);
		KIN_CHECK(!poll_lies);
		KIN_CHECK(write(ends[1], "a", 1) == 1);
		arm(SYS_preadv2, 1, EOPNOTSUPP); /* not every file knows RWF_NOWAIT */
		KIN_CHECK(ways[i](ends[0], &got) == 0 && got == 'a');
		disarm();
		KIN_CHECK(failed);
	}
	return 0;
}

static void who_waits_for_a_time_never_waits_longer(void **state)
{
	(void)state;
	assert_int_equal(kin_run(read_pipes, NULL), 0);
}

static void a_memfd_that_is_cut_before_it_is_sealed_is_seen_as_it_is(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	struct comap_view_info info = { .size = sizeof info };
	int fd = memfd_create("cut", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	comap_view *view;

	(void)state;
	assert_int_equal(ftruncate(fd, 3 * 4096), 0);
	o.how = COMAP_VIEW_MAP;
	cut_before_seals = fd;
	assert_int_equal(comap_view_open_fd(fd, &o, &view), 0);
	assert_int_equal(cut_before_seals, -1);
	assert_int_equal(comap_view_get_info(view, &info), 0);
	assert_true(info.is_sealed);
	assert_int_equal(info.length, 4096);
	comap_view_close(view);
	close(fd);
}

static int begin(void **state)
{
	(void)state;
	bytes = calloc(1, LONG); /* fx_fill leaves holes */
	scratch = calloc(1, LONG + 1);
	if (!bytes || !scratch)
		return -1;
	fx_fill(bytes, LONG, 1);
	for (size_t i = 100; i < LONG; i += 1000)
		bytes[i] = '\n';
	return 0;
}

static int end(void **state)
{
	(void)state;
	free(scratch);
	free(bytes);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(each_call_may_fail_and_nothing_is_lost),
		FX_FOLDER_TEST(where_there_is_no_fallocate_zeroes_are_written),
		FX_FOLDER_TEST(a_file_for_which_there_is_half_the_room_is_as_it_was),
		FX_FOLDER_TEST(a_flush_that_lost_bytes_says_so_for_good),
		FX_FOLDER_TEST(appending_syncs_the_folder_when_it_is_durable_and_only_then),
		FX_FOLDER_TEST(what_the_kernel_copies_in_part_is_read_from_there_on),
		FX_FOLDER_TEST(who_waits_for_a_time_never_waits_longer),
		FX_FOLDER_TEST(a_memfd_that_is_cut_before_it_is_sealed_is_seen_as_it_is),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
