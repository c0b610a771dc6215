/* test_view_open.c - what becomes of a path, a descriptor and memory (open.c, copy.c, map.c,
 * policy.c). */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "fixture.h"
#include "view/view.h"

#define PAGE 4096u

/* A file of n bytes, which fx_is_filled knows by its number. */
static const char *file_of(const char *name, size_t n, uint64_t seed)
{
	const char *path = fx_path(fx_folder, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *bytes = calloc(n + 1, 1);

	assert_true(fd >= 0 && bytes);
	fx_fill(bytes, n, seed);
	assert_true(write(fd, bytes, n) == (ssize_t)n);
	free(bytes);
	close(fd);
	return path;
}

static struct comap_view_info info_of(const comap_view *view)
{
	struct comap_view_info info = { .size = sizeof info };

	assert_int_equal(comap_view_get_info(view, &info), 0);
	return info;
}

static comap_view *open_with(const char *path, const struct comap_view_opts *o)
{
	comap_view *view = NULL;
	int err = comap_view_open(path, o, &view);

	if (err < 0)
		fail_msg("%s", comap_view_reason());
	return view;
}

static struct comap_view_opts opts_of(uint32_t mode, uint32_t how, uint32_t flags)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;

	o.mode = mode;
	o.how = how;
	o.flags = flags;
	return o;
}

static const size_t sizes[] = { 1,     2,     PAGE - 1,	    PAGE,   PAGE + 1, 65535,
				65536, 65537, 3 * PAGE + 7, 300000, 9 << 20 };

static void any_way_shows_the_same_bytes(void **state)
{
	const struct comap_view_opts ways[] = {
		opts_of(COMAP_VIEW_READ, COMAP_VIEW_AUTO, 0),
		opts_of(COMAP_VIEW_READ, COMAP_VIEW_MAP, 0),
		opts_of(COMAP_VIEW_READ, COMAP_VIEW_COPY, 0),
		opts_of(COMAP_VIEW_PRIVATE, COMAP_VIEW_AUTO, 0),
		opts_of(COMAP_VIEW_PRIVATE, COMAP_VIEW_MAP, COMAP_VIEW_NO_FD),
		opts_of(COMAP_VIEW_SHARED, COMAP_VIEW_AUTO, COMAP_VIEW_POPULATE),
		opts_of(COMAP_VIEW_READ, COMAP_VIEW_AUTO, COMAP_VIEW_STABLE),
		opts_of(COMAP_VIEW_READ, COMAP_VIEW_AUTO, COMAP_VIEW_NUL),
		opts_of(COMAP_VIEW_READ, COMAP_VIEW_COPY, COMAP_VIEW_WATCH),
	};

	(void)state;
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		const char *path = file_of("same", sizes[s], s);

		for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
			comap_view *view = open_with(path, &ways[w]);
			struct comap_bytes b = comap_view_bytes(view);

			assert_int_equal(b.size, sizes[s]);
			assert_true(fx_is_filled(b.data, b.size, s));
			if (ways[w].how == COMAP_VIEW_MAP || ways[w].mode == COMAP_VIEW_SHARED)
				assert_true(info_of(view).is_mapped);
			if (ways[w].flags & COMAP_VIEW_NUL)
				assert_int_equal(((const char *)b.data)[b.size], 0);
			comap_view_close(view);
		}
	}
}

static void any_byte_is_a_beginning(void **state)
{
	static const uint64_t offs[] = { 0, 1, 511, PAGE - 1, PAGE, PAGE + 1, 70000, 299999 };
	static const uint64_t lens[] = { 1, 2, PAGE, 5000 };
	const char *path = file_of("f", 300000, 7);
	char *all = calloc(300000, 1);

	(void)state;
	fx_fill(all, 300000, 7);
	for (unsigned how = COMAP_VIEW_AUTO; how <= COMAP_VIEW_COPY; how++)
		for (size_t i = 0; i < 8; i++)
			for (size_t k = 0; k < 5; k++) {
				struct comap_view_opts o = opts_of(COMAP_VIEW_READ, how, 0);
				comap_view *view;

				o.offset = offs[i];
				o.length = k < 4 ? lens[k] : 0;
				if (o.offset + o.length > 300000) {
					assert_int_equal(comap_view_open(path, &o, &view), -ERANGE);
					continue;
				}
				view = open_with(path, &o);
				assert_int_equal(comap_view_bytes(view).size,
						 k < 4 ? lens[k] : 300000 - offs[i]);
				assert_memory_equal(comap_view_bytes(view).data, all + offs[i],
						    comap_view_bytes(view).size);
				assert_int_equal(info_of(view).offset, offs[i]);
				comap_view_close(view);
			}
	free(all);
}

static void an_empty_file_is_a_view_of_nothing(void **state)
{
	const char *path = file_of("empty", 0, 0);

	(void)state;
	for (unsigned mode = COMAP_VIEW_READ; mode <= COMAP_VIEW_PRIVATE; mode++) {
		struct comap_view_opts o = opts_of(mode, COMAP_VIEW_AUTO, 0);
		comap_view *view = open_with(path, &o), *part;
		char byte;

		assert_non_null(comap_view_bytes(view).data);
		assert_int_equal(comap_view_bytes(view).size, 0);
		assert_int_equal(comap_view_read(view, 0, &byte, 0), 0);
		assert_int_equal(comap_view_read(view, 0, &byte, 1), -ERANGE);
		assert_int_equal(comap_view_sub(view, 0, 0, &part), 0);
		comap_view_close(view);
		assert_int_equal(comap_view_bytes(part).size, 0);
		comap_view_close(part);
	}
}

static void small_files_are_copied_and_large_ones_mapped(void **state)
{
	struct comap_view_opts o = opts_of(COMAP_VIEW_READ, COMAP_VIEW_AUTO, 0);
	comap_view *view;

	(void)state;
	view = open_with(file_of("small", 100000, 1), NULL);
	assert_false(info_of(view).is_mapped);
	assert_int_equal(info_of(view).why, COMAP_WHY_SMALL);
	assert_int_equal(comap_view_fd(view), -1);
	comap_view_close(view);
	view = open_with(file_of("large", 9 << 20, 1), NULL);
	assert_true(info_of(view).is_mapped);
	assert_int_equal(info_of(view).why, COMAP_WHY_LARGE);
	assert_true(comap_view_fd(view) >= 0);
	comap_view_close(view);
	o.expect = 4096;
	view = open_with(file_of("some", 4 << 20, 1), &o);
	assert_true(info_of(view).is_mapped);
	assert_int_equal(info_of(view).why, COMAP_WHY_FEW);
	comap_view_close(view);
	o.flags = COMAP_VIEW_NO_FD;
	view = open_with(fx_path(fx_folder, "large"), &o);
	assert_int_equal(comap_view_fd(view), -1);
	assert_true(fx_is_filled(comap_view_bytes(view).data, 9 << 20, 1));
	comap_view_close(view);
}

static void the_policy_is_what_it_says(void **state)
{
	struct comap_view_opts o = opts_of(COMAP_VIEW_READ, COMAP_VIEW_AUTO, 0);

	(void)state;
	/* another machine may cut it short */
	assert_true(cm_view_choose(&o, 60 << 20, CM_OS_FS_NETWORK, 0).is_copy);
	assert_int_equal(cm_view_choose(&o, 60 << 20, CM_OS_FS_NETWORK, 0).why, COMAP_WHY_NETWORK);
	assert_false(cm_view_choose(&o, 65 << 20, CM_OS_FS_NETWORK, 0).is_copy);
	o.flags = COMAP_VIEW_STABLE;
	o.how = COMAP_VIEW_MAP; /* a mapping cannot be, but of what is sealed */
	assert_int_equal(cm_view_choose(&o, 4096, CM_OS_FS_LOCAL, 0).err, -ENODEV);
	assert_int_equal(cm_view_choose(&o, 4096, CM_OS_FS_MEMORY, CM_OS_SEAL_BYTES).err, 0);
	o.how = COMAP_VIEW_AUTO;
	assert_int_equal(cm_view_choose(&o, 65 << 20, CM_OS_FS_LOCAL, 0).err, -EFBIG);
	assert_true(cm_view_choose(&o, 20 << 20, CM_OS_FS_LOCAL, CM_OS_SEAL_SIZE).is_copy);
	assert_false(
		cm_view_choose(&o, 20 << 20, CM_OS_FS_MEMORY, CM_OS_SEAL_SIZE | CM_OS_SEAL_BYTES)
			.is_copy);
	o.flags = 0;
	o.how = COMAP_VIEW_COPY;
	o.max_copy = 1000;
	assert_int_equal(cm_view_choose(&o, 1001, CM_OS_FS_LOCAL, 0).err, -EFBIG);
	assert_int_equal(cm_view_choose(&o, 1000, CM_OS_FS_LOCAL, 0).err, 0);
}

static void bad_options_are_refused(void **state)
{
	const char *path = file_of("f", 100, 1);
	struct {
		struct comap_view_opts o;
		uint64_t unknown;
	} newer = { COMAP_VIEW_OPTS_INIT, 1 };
	struct comap_view_opts bad[20], o = COMAP_VIEW_OPTS_INIT;
	comap_view *view = NULL;
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		bad[i] = o;
	bad[n++].size = 0;
	bad[n++].flags = 1u << 31;
	bad[n++].mode = 3;
	bad[n++].how = 3;
	bad[n++].access = 3;
	bad[n++].permissions = 010000;
	bad[n++].flags = COMAP_VIEW_EXCL;
	bad[n++].flags = COMAP_VIEW_CREATE;
	bad[n++].flags = COMAP_VIEW_DAX;
	bad[n++].reserve = 100;
	bad[n++].flags = COMAP_VIEW_NO_FD | COMAP_VIEW_WATCH;
	bad[n] = opts_of(COMAP_VIEW_READ, COMAP_VIEW_MAP, COMAP_VIEW_NUL), n++;
	bad[n] = opts_of(COMAP_VIEW_SHARED, COMAP_VIEW_COPY, 0), n++;
	bad[n] = opts_of(COMAP_VIEW_SHARED, 0, COMAP_VIEW_NO_FD), n++;
	bad[n] = opts_of(COMAP_VIEW_SHARED, 0, COMAP_VIEW_NUL), n++;
	bad[n] = opts_of(COMAP_VIEW_SHARED, 0, COMAP_VIEW_STABLE), n++;
	bad[n] = opts_of(COMAP_VIEW_SHARED, 0, 0), bad[n].length = 200, bad[n].reserve = 100, n++;
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(comap_view_open(path, &bad[i], &view), -EINVAL);
		assert_null(view);
	}
	newer.o.size = sizeof newer;
	assert_int_equal(comap_view_open(path, &newer.o, &view), -E2BIG);
	newer.unknown = 0;
	view = open_with(path, &newer.o);
	comap_view_close(view);
	o.size = offsetof(struct comap_view_opts, offset); /* an older one */
	view = open_with(path, &o);
	comap_view_close(view);
}

static void what_is_no_persistent_memory_is_no_dax(void **state)
{
	struct comap_view_opts o = opts_of(COMAP_VIEW_SHARED, 0, COMAP_VIEW_DAX);
	comap_view *view = NULL;
	int fd = memfd_create("memory", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(comap_view_open(file_of("f", 100, 1), &o, &view), -EOPNOTSUPP);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(comap_view_open_fd(fd, &o, &view), -EOPNOTSUPP);
	assert_null(view);
	close(fd);
}

static void ranges_that_overflow_are_refused(void **state)
{
	const char *path = file_of("f", 100, 1);
	static const uint64_t bad[][2] = {
		{ UINT64_MAX, 0 }, { UINT64_MAX, 1 }, { UINT64_MAX - 10, 100 }, { INT64_MAX, 1 },
		{ 0, UINT64_MAX }, { 1, INT64_MAX },
	};
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		for (unsigned how = 0; how < 3; how++) {
			o.how = how;
			o.offset = bad[i][0];
			o.length = bad[i][1];
			assert_int_equal(comap_view_open(path, &o, &view), -EOVERFLOW);
		}
	o.how = 0;
	o.offset = 101;
	o.length = 0;
	assert_int_equal(comap_view_open(path, &o, &view), -ERANGE);
	o.offset = 100;
	view = open_with(path, &o);
	assert_int_equal(comap_view_bytes(view).size, 0);
	comap_view_close(view);
}

static void what_is_no_file_has_its_error(void **state)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct comap_view_opts o = opts_of(COMAP_VIEW_READ, 0, COMAP_VIEW_NOFOLLOW);
	comap_view *view = NULL;
	int fd, ends[2];

	(void)state;
	assert_int_equal(comap_view_open(fx_folder, NULL, &view), -EISDIR);
	assert_int_equal(comap_view_open(fx_path(fx_folder, "none"), NULL, &view), -ENOENT);
	assert_non_null(strstr(comap_view_reason(), "none"));
	assert_non_null(strstr(comap_view_reason(), "No such file"));
	assert_int_equal(comap_view_open("", NULL, &view), -ENOENT);
	assert_int_equal(comap_view_open(NULL, NULL, &view), -EINVAL);
	assert_int_equal(comap_view_open_fd(-1, NULL, &view), -EBADF);
	assert_int_equal(comap_view_open_fd(987, NULL, &view), -EBADF);
	file_of("f", 10, 1);
	assert_int_equal(comap_view_open(fx_path(fx_folder, "f/g"), NULL, &view), -ENOTDIR);
	assert_int_equal(symlink("f", fx_path(fx_folder, "link")), 0);
	assert_int_equal(comap_view_open(fx_path(fx_folder, "link"), &o, &view), -ELOOP);
	view = open_with(fx_path(fx_folder, "link"), NULL);
	comap_view_close(view);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(name.sun_path, fx_path(fx_folder, "socket"));
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	assert_int_equal(comap_view_open(name.sun_path, NULL, &view), -ENXIO);
	close(fd);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(comap_view_open_fd(ends[1], NULL, &view), -EACCES); /* to write only */
	close(ends[0]);
	close(ends[1]);
	o = opts_of(COMAP_VIEW_SHARED, 0, 0);
	assert_int_equal(comap_view_open(fx_folder, &o, &view), -EISDIR);
	assert_int_equal(comap_view_open("/dev/null", &o, &view), -ENODEV);
	view = open_with("/dev/null", NULL);
	assert_int_equal(comap_view_bytes(view).size, 0);
	comap_view_close(view);
}

static void a_fifo_without_a_writer_holds_nobody(void **state)
{
	struct comap_view_opts o = opts_of(COMAP_VIEW_READ, 0, COMAP_VIEW_WAIT);
	const char *path = fx_path(fx_folder, "fifo");
	uint64_t start = cm_os_now_ns();
	comap_view *view;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(comap_view_open(path, NULL, &view), -ENXIO);
	o.timeout_ns = 50000000;
	assert_int_equal(comap_view_open(path, &o, &view), -ETIMEDOUT);
	assert_true(cm_os_now_ns() - start >= 50000000 && cm_os_now_ns() - start < 5000000000);
}

/* Writes n bytes in pieces, with pauses. */
struct feeder {
	int fd;
	size_t n, piece;
	const char *path;
};

static void *feed(void *arg)
{
	struct feeder *f = arg;
	char *bytes = calloc(f->n + 1, 1);
	size_t at = 0, step;

	fx_fill(bytes, f->n, 5);
	if (f->path)
		f->fd = open(f->path, O_WRONLY | O_CLOEXEC);
	for (; at < f->n; at += step) {
		ssize_t put = write(f->fd, bytes + at, f->piece < f->n - at ? f->piece : f->n - at);

		step = put > 0 ? (size_t)put : 0;
		if (put < 0)
			break;
		usleep(200);
	}
	close(f->fd);
	free(bytes);
	return NULL;
}

static void pipes_are_read_to_their_end(void **state)
{
	static const size_t lengths[] = { 0, 1, 65535, 65536, 65537, 1000000 };
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	pthread_t thread;
	comap_view *view;
	int ends[2];

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		for (int nonblock = 0; nonblock < 2; nonblock++) {
			struct feeder f = { .n = lengths[i], .piece = 33333 };

			assert_int_equal(pipe2(ends, O_CLOEXEC | (nonblock ? O_NONBLOCK : 0)), 0);
			(void)fcntl(ends[1], F_SETFL, 0);
			f.fd = ends[1];
			o.timeout_ns = nonblock ? 0 : 60000000000;
			pthread_create(&thread, NULL, feed, &f);
			assert_int_equal(comap_view_open_fd(ends[0], &o, &view), 0);
			pthread_join(thread, NULL);
			assert_int_equal(comap_view_bytes(view).size, lengths[i]);
			assert_true(fx_is_filled(comap_view_bytes(view).data, lengths[i], 5));
			assert_int_equal(info_of(view).why, COMAP_WHY_NO_MAP);
			comap_view_close(view);
			close(ends[0]);
		}
}

static void a_part_of_a_pipe_can_be_had(void **state)
{
	struct feeder f = { .n = 200000, .piece = 50000, .path = fx_path(fx_folder, "fifo") };
	struct comap_view_opts o = opts_of(COMAP_VIEW_READ, 0, COMAP_VIEW_WAIT);
	char *all = calloc(200000, 1);
	pthread_t thread;
	comap_view *view;

	(void)state;
	fx_fill(all, 200000, 5);
	assert_int_equal(mkfifo(f.path, 0600), 0);
	o.offset = 70001;
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < 3; i++) {
		o.length = i == 0 ? 0 : i == 1 ? 60000 : 150000;
		pthread_create(&thread, NULL, feed, &f);
		if (i == 2) {
			assert_int_equal(comap_view_open(f.path, &o, &view), -ERANGE);
		} else {
			view = open_with(f.path, &o);
			assert_int_equal(comap_view_bytes(view).size, i ? 60000 : 129999);
			assert_memory_equal(comap_view_bytes(view).data, all + 70001,
					    comap_view_bytes(view).size);
			comap_view_close(view);
		}
		pthread_join(thread, NULL);
	}
	signal(SIGPIPE, SIG_DFL);
	free(all);
}

static void a_pipe_that_says_nothing_times_out(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;
	int ends[2];

	(void)state;
	o.timeout_ns = 20000000;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(comap_view_open_fd(ends[0], &o, &view), -ETIMEDOUT);
	close(ends[0]);
	close(ends[1]);
}

static void what_never_ends_is_too_big(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	(void)state;
	o.max_copy = 1000000;
	assert_int_equal(comap_view_open("/dev/zero", &o, &view), -EFBIG);
	o.length = 5000;
	view = open_with("/dev/zero", &o);
	assert_int_equal(comap_view_bytes(view).size, 5000);
	assert_true(fx_is_zero(comap_view_bytes(view).data, 5000));
	comap_view_close(view);
	o.length = 1000001;
	assert_int_equal(comap_view_open("/dev/zero", &o, &view), -EFBIG);
}

static void files_whose_size_is_a_lie_are_read(void **state)
{
	static const char *const paths[] = { "/proc/self/status", "/proc/self/maps",
					     "/sys/kernel/mm/transparent_hugepage/enabled" };
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		if (access(paths[i], R_OK) < 0)
			continue;
		view = open_with(paths[i], NULL);
		assert_true(comap_view_bytes(view).size > 10);
		assert_true(memchr(comap_view_bytes(view).data, '\n', comap_view_bytes(view).size) != NULL);
		comap_view_close(view);
	}
	o.offset = 5;
	o.length = 3;
	view = open_with("/proc/self/status", &o);
	assert_int_equal(comap_view_bytes(view).size, 3);
	comap_view_close(view);
	/* what ends before is told, though no size says it */
	o.length = 1 << 20;
	assert_int_equal(comap_view_open("/proc/self/status", &o, &view), -ERANGE);
	o.offset = 1 << 30;
	o.length = 0;
	assert_int_equal(comap_view_open("/proc/self/status", &o, &view), -ERANGE);
	if (access(paths[2], R_OK) == 0) {
		o.offset = 3000;
		assert_int_equal(comap_view_open(paths[2], &o, &view), -ERANGE);
		o.offset = 0;
		o.length = 4000;
		assert_int_equal(comap_view_open(paths[2], &o, &view), -ERANGE);
	}
	o.offset = 5;
	o.how = COMAP_VIEW_MAP;
	o.length = 0;
	assert_true(comap_view_open("/proc/self/status", &o, &view) < 0);
}

static void the_position_of_a_descriptor_stays(void **state)
{
	const char *path = file_of("f", 50000, 3);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	comap_view *view;

	(void)state;
	assert_int_equal(lseek(fd, 77, SEEK_SET), 77);
	for (unsigned how = 0; how < 3; how++) {
		struct comap_view_opts o = opts_of(COMAP_VIEW_READ, how, 0);

		assert_int_equal(comap_view_open_fd(fd, &o, &view), 0);
		assert_true(fx_is_filled(comap_view_bytes(view).data, 50000, 3));
		assert_int_equal(lseek(fd, 0, SEEK_CUR), 77);
		comap_view_close(view);
	}
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close(fd);
}

static void shared_views_make_files_and_make_them_longer(void **state)
{
	struct comap_view_opts o = opts_of(COMAP_VIEW_SHARED, 0, COMAP_VIEW_CREATE);
	const char *path = fx_path(fx_folder, "new");
	comap_view *view, *other;
	struct stat st;

	(void)state;
	o.offset = 100;
	o.length = 100000;
	o.permissions = 0640;
	view = open_with(path, &o);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 100100);
	assert_true(st.st_blocks * 512 >= 100100); /* allocated: a full disk would have been an error */
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_true(fx_is_zero(comap_view_bytes(view).data, 100000));
	fx_fill(comap_view_writable(view), 100000, 9);
	o.flags |= COMAP_VIEW_EXCL;
	assert_int_equal(comap_view_open(path, &o, &other), -EEXIST);
	o.flags = 0;
	other = open_with(path, &o);
	assert_true(fx_is_filled(comap_view_bytes(other).data, 100000, 9));
	comap_view_close(other);
	comap_view_close(view);
	o = opts_of(COMAP_VIEW_SHARED, 0, 0);
	assert_int_equal(comap_view_open(fx_path(fx_folder, "none"), &o, &view), -ENOENT);
}

static void private_stores_stay_private(void **state)
{
	const char *path = file_of("f", 9 << 20, 3);
	struct comap_view_opts o = opts_of(COMAP_VIEW_PRIVATE, 0, 0);
	comap_view *view;

	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		o.how = how;
		view = open_with(path, &o);
		memset(comap_view_writable(view), 0, 100000);
		assert_true(fx_is_zero(comap_view_bytes(view).data, 100000));
		comap_view_close(view);
		view = open_with(path, NULL);
		assert_true(fx_is_filled(comap_view_bytes(view).data, 9 << 20, 3));
		assert_null(comap_view_writable(view));
		comap_view_close(view);
	}
}

static void past_the_limit_of_file_sizes_is_enospc(void **state)
{
	struct rlimit was, less = { 1 << 20, 1 << 20 };
	struct comap_view_opts o = opts_of(COMAP_VIEW_SHARED, 0, COMAP_VIEW_CREATE);
	comap_view *view;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	less.rlim_max = was.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
	o.length = 2 << 20;
	assert_int_equal(comap_view_open(fx_path(fx_folder, "f"), &o, &view), -ENOSPC); /* not SIGXFSZ */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
}

static void released(void *data, void *arg)
{
	assert_non_null(data);
	++*(int *)arg;
}

static void memory_is_released_with_the_last_handle(void **state)
{
	static char bytes[100];
	comap_view *view, *part, *part2;
	int n = 0;

	(void)state;
	assert_int_equal(comap_view_open_memory(NULL, 1, NULL, NULL, &view), -EINVAL);
	assert_int_equal(comap_view_open_memory(bytes, (size_t)PTRDIFF_MAX + 1, NULL, NULL, &view),
			 -EINVAL);
	assert_int_equal(comap_view_open_memory(bytes, 100, released, &n, &view), 0);
	assert_int_equal(info_of(view).why, COMAP_WHY_MEMORY);
	assert_int_equal(comap_view_sub(view, 10, 50, &part), 0);
	assert_int_equal(comap_view_sub(part, 5, 46, &part2), -ERANGE);
	assert_int_equal(comap_view_sub(part, UINT64_MAX, 2, &part2), -ERANGE);
	assert_int_equal(comap_view_sub(part, 2, UINT64_MAX, &part2), -ERANGE);
	assert_int_equal(comap_view_sub(part, 5, 45, &part2), 0);
	assert_true(comap_view_bytes(part2).data == bytes + 15);
	assert_true(comap_view_dup(part2) == part2);
	comap_view_close(view);
	comap_view_close(part);
	comap_view_close(part2);
	assert_int_equal(n, 0);
	errno = 17;
	comap_view_close(part2);
	comap_view_close(NULL);
	assert_int_equal(errno, 17);
	assert_int_equal(n, 1);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void signals_interrupt_nothing(void **state)
{
	struct feeder f = { .n = 500000, .piece = 1000 };
	comap_view *view;
	pthread_t thread;
	sigset_t set;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	f.fd = ends[1];
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_create(&thread, NULL, feed, &f);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	fx_alarms(500, on_alarm);
	assert_int_equal(comap_view_open_fd(ends[0], NULL, &view), 0);
	fx_alarms_end();
	pthread_join(thread, NULL);
	assert_true(fx_is_filled(comap_view_bytes(view).data, 500000, 5));
	comap_view_close(view);
	close(ends[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(any_way_shows_the_same_bytes),
		FX_FOLDER_TEST(any_byte_is_a_beginning),
		FX_FOLDER_TEST(an_empty_file_is_a_view_of_nothing),
		FX_FOLDER_TEST(small_files_are_copied_and_large_ones_mapped),
		FX_FOLDER_TEST(the_policy_is_what_it_says),
		FX_FOLDER_TEST(bad_options_are_refused),
		FX_FOLDER_TEST(what_is_no_persistent_memory_is_no_dax),
		FX_FOLDER_TEST(ranges_that_overflow_are_refused),
		FX_FOLDER_TEST(what_is_no_file_has_its_error),
		FX_FOLDER_TEST(a_fifo_without_a_writer_holds_nobody),
		FX_FOLDER_TEST(pipes_are_read_to_their_end),
		FX_FOLDER_TEST(a_part_of_a_pipe_can_be_had),
		FX_FOLDER_TEST(a_pipe_that_says_nothing_times_out),
		FX_FOLDER_TEST(what_never_ends_is_too_big),
		FX_FOLDER_TEST(files_whose_size_is_a_lie_are_read),
		FX_FOLDER_TEST(the_position_of_a_descriptor_stays),
		FX_FOLDER_TEST(shared_views_make_files_and_make_them_longer),
		FX_FOLDER_TEST(private_stores_stay_private),
		FX_FOLDER_TEST(past_the_limit_of_file_sizes_is_enospc),
		FX_FOLDER_TEST(memory_is_released_with_the_last_handle),
		FX_FOLDER_TEST(signals_interrupt_nothing),
	};

	return cmocka_run_group_tests_name("view/open", tests, NULL, NULL);
}
