/* test_heap_open.c - options, names, modes, handles: every way in and out of a heap. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include "fixture.h"

/* 64 heaps are more locks held by one thread than its detector of deadlocks takes. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "detect_deadlocks=0";
}

static int open_with(const char *name, uint32_t flags, comap_heap **ret_heap)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.flags = flags;
	opts.max_size = 16 * CM_MIB;
	return comap_heap_open(name, &opts, ret_heap);
}

/* Opens and closes; what open said. */
static int try_open(const char *name, uint32_t flags)
{
	comap_heap *heap = NULL;
	int err = open_with(name, flags, &heap);

	if (err == 0) {
		assert_string_equal(comap_heap_open_reason(), "");
		fx_close(heap);
	} else {
		assert_null(heap);
		assert_true(comap_heap_open_reason()[0] != '\0');
	}
	return err;
}

static int try_anon(const void *opts)
{
	comap_heap *heap = NULL;
	int err = comap_heap_open_anon(opts, &heap);

	if (err == 0)
		fx_close(heap);
	else
		assert_null(heap);
	return err;
}

/* ---- options -------------------------------------------------------------------------- */

static void opts_of_a_newer_comap_work_while_new_fields_are_zero(void **state)
{
	struct {
		struct comap_heap_opts opts;
		uint64_t more[4];
	} newer = { COMAP_HEAP_OPTS_INIT, { 0 } };

	(void)state;
	newer.opts.max_size = 16 * CM_MIB;
	newer.opts.size = sizeof newer;
	assert_int_equal(try_anon(&newer), 0);
	newer.more[3] = 1;
	assert_int_equal(try_anon(&newer), -E2BIG);
	assert_true(comap_heap_open_reason()[0] != '\0');
	newer.more[3] = 0;
	((char *)newer.more)[0] = 1;
	assert_int_equal(try_anon(&newer), -E2BIG);
	newer.opts.size = sizeof newer.opts; /* then nobody looks there */
	assert_int_equal(try_anon(&newer), 0);
}

static void opts_of_an_older_comap_take_missing_fields_as_zero(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;

	(void)state;
	opts.max_size = 16 * CM_MIB;
	opts.quota = 4 * CM_MIB;
	opts.dirty_max = ~0ull;
	opts.timeout_ns = ~0ull;
	opts.size = offsetof(struct comap_heap_opts, quota);
	heap = fx_heap_with(&opts);
	assert_true(fx_stats(heap).quota == UINT64_MAX);
	assert_int_equal(fx_stats(heap).max_size, 16 * CM_MIB);
	fx_close(heap);
}

static void opts_without_a_size_are_einval(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	(void)state;
	opts.max_size = 16 * CM_MIB;
	for (uint32_t size = 0; size < 8; size++) {
		opts.size = size;
		assert_int_equal(try_anon(&opts), -EINVAL);
	}
	opts.size = UINT32_MAX; /* garbage, not a struct of 4 GiB */
	assert_int_equal(try_anon(&opts), -EINVAL);
}

static void unknown_and_contradictory_flags_are_einval(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	const char *name = "/tmp/comap-no-such-heap";

	(void)state;
	opts.max_size = 16 * CM_MIB;
	for (unsigned bit = 8; bit < 32; bit++) {
		opts.flags = 1u << bit;
		assert_int_equal(try_anon(&opts), -EINVAL);
	}
	assert_int_equal(try_open(name, COMAP_HEAP_EXCL), -EINVAL);
	assert_int_equal(try_open(name, COMAP_HEAP_CREATE | COMAP_HEAP_READONLY), -EINVAL);
	opts.flags = COMAP_HEAP_READONLY;
	assert_int_equal(try_anon(&opts), -EINVAL);
	opts.flags = 0;
	assert_int_equal(try_anon(&opts), 0);
}

static void numbers_out_of_range_are_einval(void **state)
{
	const struct {
		uint64_t max_size;
		uint32_t slots, mode;
		int err;
	} all[] = {
		{ 8 * CM_MIB, 0, 0, 0 },
		{ 8 * CM_MIB - 1, 0, 0, -EINVAL },
		{ 1, 0, 0, -EINVAL },
		{ 64 * CM_TIB + 1, 0, 0, -EINVAL },
		{ UINT64_MAX, 0, 0, -EINVAL },
		{ 16 * CM_MIB, 65536, 0, -EINVAL },
		{ 16 * CM_MIB, UINT32_MAX, 0, -EINVAL },
		{ 16 * CM_MIB, 65535, 0, -EINVAL }, /* no room for so many under that ceiling */
		{ 16 * CM_MIB, 1, 0, 0 },
		{ 8 * CM_GIB, 65535, 0, 0 },
		{ 8 * CM_MIB + 1, 0, 0, 0 }, /* rounded up */
	};

	(void)state;
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
		struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

		opts.max_size = all[i].max_size;
		opts.slots = all[i].slots;
		opts.mode = all[i].mode;
		assert_int_equal(try_anon(&opts), all[i].err);
	}
}

static void one_slot_serves_one_thread(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	comap_mutex *mutex;

	(void)state;
	opts.max_size = 16 * CM_MIB;
	opts.slots = 1;
	heap = fx_heap_with(&opts);
	mutex = comap_heap_calloc(heap, 1, sizeof *mutex);
	assert_non_null(mutex);
	assert_int_equal(comap_mutex_lock(heap, mutex), 0);
	assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	fx_close(heap);
}

/* ---- names ------------------------------------------------------------------------------- */

static void a_heap_is_created_opened_and_unlinked(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "heap");
	comap_heap *a, *b;
	comap_ref ref;
	char *text;

	(void)state;
	assert_int_equal(try_open(path, 0), -ENOENT);
	assert_int_equal(try_open(path, COMAP_HEAP_READONLY), -ENOENT);
	assert_int_equal(comap_heap_unlink(path), -ENOENT);
	assert_int_equal(open_with(path, COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, &a), 0);
	text = comap_heap_strdup(a, "kept");
	assert_int_equal(comap_root_set(a, "text", comap_heap_ref(a, text)), 0);
	assert_int_equal(try_open(path, COMAP_HEAP_CREATE | COMAP_HEAP_EXCL), -EEXIST);
	assert_int_equal(open_with(path, COMAP_HEAP_CREATE, &b), 0); /* attaches */
	assert_int_equal(comap_root_get(b, "text", &ref), 0);
	assert_string_equal(comap_heap_at(b, ref), "kept");
	fx_close(b);
	fx_close(a);
	assert_int_equal(comap_heap_open(path, NULL, &a), 0); /* nobody had it */
	assert_int_equal(comap_root_get(a, "text", &ref), 0);
	assert_string_equal(comap_heap_at(a, ref), "kept");
	assert_int_equal(comap_heap_unlink(path), 0);
	assert_int_equal(comap_heap_unlink(path), -ENOENT);
	assert_int_equal(try_open(path, 0), -ENOENT);
	assert_non_null(comap_heap_malloc(a, 1000000)); /* those attached go on */
	fx_close(a);
	fx_rmdir(dir);
}

static void a_name_without_a_slash_lies_in_dev_shm(void **state)
{
	char name[64], path[96];
	struct stat st;
	comap_heap *heap;

	(void)state;
	snprintf(name, sizeof name, "comap-unit-%d", (int)getpid());
	snprintf(path, sizeof path, "/dev/shm/%s", name);
	assert_int_equal(open_with(name, COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, &heap), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(try_open(path, 0), 0);
	assert_int_equal(comap_heap_unlink(name), 0);
	assert_int_equal(stat(path, &st), -1);
	fx_close(heap);
}

static void bad_names_are_refused(void **state)
{
	const char *dir = fx_mkdir();
	char *name = malloc(9000);

	(void)state;
	assert_int_equal(try_open("", COMAP_HEAP_CREATE), -EINVAL);
	assert_int_equal(try_open(NULL, COMAP_HEAP_CREATE), -EINVAL);
	assert_int_equal(comap_heap_unlink(""), -EINVAL);
	assert_int_equal(comap_heap_unlink(NULL), -EINVAL);
	memset(name, 'n', 8999);
	name[8999] = '\0';
	assert_int_equal(try_open(name, COMAP_HEAP_CREATE), -EINVAL);
	assert_int_equal(comap_heap_unlink(name), -EINVAL);
	name[4095] = '\0'; /* with /dev/shm/ before it */
	assert_int_equal(try_open(name, COMAP_HEAP_CREATE), -EINVAL);
	for (unsigned i = 0; i < 4095; i += 2)
		memcpy(name + i, "/.", 2); /* a path of the longest kind, too long by its end */
	name[4095] = '\0';
	assert_true(try_open(name, COMAP_HEAP_CREATE) < 0);
	free(name);
	assert_int_equal(try_open(dir, 0), -EISDIR);
	assert_int_equal(try_open(dir, COMAP_HEAP_READONLY), -EISDIR);
	assert_int_equal(try_open(dir, COMAP_HEAP_CREATE), -EISDIR);
	assert_int_equal(try_open(".", COMAP_HEAP_CREATE), -EISDIR); /* /dev/shm/. */
	assert_int_equal(try_open("/dev/null", 0), -ENODEV);
	assert_int_equal(try_open("/dev/null", COMAP_HEAP_READONLY), -ENODEV);
	assert_int_equal(try_open(fx_path(dir, "no/such"), COMAP_HEAP_CREATE), -ENOENT);
	assert_int_equal(mkfifo(fx_path(dir, "fifo"), 0600), 0);
	assert_int_equal(try_open(fx_path(dir, "fifo"), 0), -ENODEV); /* and does not wait */
	assert_int_equal(try_open(fx_path(dir, "fifo"), COMAP_HEAP_READONLY), -ENODEV);
	assert_int_equal(try_open(fx_path(dir, "fifo"), COMAP_HEAP_CREATE), -ENODEV);
	fx_rmdir(dir);
}

/* "-EINVAL: name empty or too long"; 255 bytes is what a directory takes. */
static void a_name_too_long_for_its_directory_is_einval(void **state)
{
	const char *dir = fx_mkdir();
	char name[301];

	(void)state;
	memset(name, 'n', 300);
	name[300] = '\0';
	assert_int_equal(try_open(name, COMAP_HEAP_CREATE), -EINVAL);
	assert_int_equal(try_open(fx_path(dir, name), COMAP_HEAP_CREATE), -EINVAL);
	assert_int_equal(try_open(fx_path(dir, name), 0), -EINVAL);
	fx_rmdir(dir);
}

static void a_failed_creation_leaves_no_file(void **state)
{
	const char *dir = fx_mkdir();
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = NULL;
	unsigned n = 0;
	DIR *d;

	(void)state;
	opts.flags = COMAP_HEAP_CREATE;
	opts.max_size = 16 * CM_MIB;
	opts.slots = 60000;
	assert_int_equal(comap_heap_open(fx_path(dir, "heap"), &opts, &heap), -EINVAL);
	assert_null(heap);
	d = opendir(dir);
	while (readdir(d))
		n++;
	closedir(d);
	assert_int_equal(n, 2); /* . and .. */
	fx_rmdir(dir);
}

/* ---- permissions ---------------------------------------------------------------------------- */

static mode_t mode_of(const char *dir, uint32_t mode, mode_t mask)
{
	const char *path = fx_path(dir, "heap");
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	struct stat st;
	mode_t old;

	opts.flags = COMAP_HEAP_CREATE | COMAP_HEAP_EXCL;
	opts.mode = mode;
	opts.max_size = 16 * CM_MIB;
	old = umask(mask);
	assert_int_equal(comap_heap_open(path, &opts, &heap), 0);
	umask(old);
	assert_int_equal(fstat(comap_heap_fd(heap), &st), 0);
	assert_int_equal(comap_heap_unlink(path), 0);
	fx_close(heap);
	return st.st_mode & 07777;
}

static void a_file_is_0600_unless_asked_and_umask_applies(void **state)
{
	const char *dir = fx_mkdir();

	(void)state;
	assert_int_equal(mode_of(dir, 0, 0), 0600);
	assert_int_equal(mode_of(dir, 0, 022), 0600);
	assert_int_equal(mode_of(dir, 0666, 0), 0666);
	assert_int_equal(mode_of(dir, 0666, 022), 0644);
	assert_int_equal(mode_of(dir, 0660, 077), 0600);
	fx_rmdir(dir);
}

static void bits_beyond_permissions_are_einval(void **state)
{
	const char *dir = fx_mkdir();
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = NULL;

	(void)state;
	opts.flags = COMAP_HEAP_CREATE;
	opts.max_size = 16 * CM_MIB;
	opts.mode = 04600;
	assert_int_equal(comap_heap_open(fx_path(dir, "heap"), &opts, &heap), -EINVAL);
	opts.mode = 0100600;
	assert_int_equal(comap_heap_open(fx_path(dir, "heap"), &opts, &heap), -EINVAL);
	fx_rmdir(dir);
}

static int opens_as_nobody(void *arg)
{
	const char *path = arg;

	KIN_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	KIN_CHECK(try_open(path, 0) == -EACCES);
	KIN_CHECK(try_open(path, COMAP_HEAP_CREATE) == -EACCES);
	KIN_CHECK(try_open(path, COMAP_HEAP_READONLY) == 0); /* mode 0644 */
	KIN_CHECK(try_open("/proc/comap-heap", COMAP_HEAP_CREATE) < 0);
	return 0;
}

static void no_permission_is_eacces(void **state)
{
	const char *dir = fx_mkdir();
	static char path[4352];
	comap_heap *heap;

	(void)state;
	if (geteuid() != 0) {
		fx_rmdir(dir);
		skip();
	}
	strcpy(path, fx_path(dir, "heap"));
	assert_int_equal(open_with(path, COMAP_HEAP_CREATE, &heap), 0);
	fx_close(heap);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(kin_run(opens_as_nobody, path), 0);
	fx_rmdir(dir);
}

/* ---- file descriptors ---------------------------------------------------------------- */

static void a_heap_is_opened_by_its_fd(void **state)
{
	comap_heap *a = fx_heap(16 * CM_MIB), *b = NULL;
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_ref ref;
	int fd = fcntl(comap_heap_fd(a), F_DUPFD_CLOEXEC, 0);

	(void)state;
	assert_true(fcntl(comap_heap_fd(a), F_GETFD) & FD_CLOEXEC);
	assert_int_equal(comap_root_set(a, "x", comap_heap_ref(a, comap_heap_strdup(a, "hello"))), 0);
	assert_int_equal(comap_heap_open_fd(fd, NULL, &b), 0);
	assert_true(comap_heap_fd(b) != fd);
	assert_true(fcntl(comap_heap_fd(b), F_GETFD) & FD_CLOEXEC);
	close(fd); /* stays ours to close */
	assert_int_equal(comap_root_get(b, "x", &ref), 0);
	assert_string_equal(comap_heap_at(b, ref), "hello");
	fx_close(a);
	assert_non_null(comap_heap_malloc(b, 3000000));
	b = (fx_close(b), NULL);
	assert_int_equal(comap_heap_open_fd(-1, NULL, &b), -EBADF);
	assert_int_equal(comap_heap_open_fd(fd, NULL, &b), -EBADF);
	opts.flags = COMAP_HEAP_CREATE;
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(comap_heap_open_fd(fd, NULL, &b), -ENODEV);
	assert_int_equal(comap_heap_open_fd(fd, &opts, &b), -EINVAL);
	close(fd);
	assert_null(b);
}

static void an_fd_open_for_reading_gives_readers_only(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "heap");
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = NULL;
	int fd;

	(void)state;
	assert_int_equal(try_open(path, COMAP_HEAP_CREATE), 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(comap_heap_open_fd(fd, NULL, &heap), -EACCES);
	opts.flags = COMAP_HEAP_READONLY;
	assert_int_equal(comap_heap_open_fd(fd, &opts, &heap), 0);
	comap_heap_close(heap);
	close(fd);
	fx_rmdir(dir);
}

static void a_closed_heap_leaves_no_fd_and_no_mapping(void **state)
{
	struct kin_tally before = kin_tally(), open_one;
	const char *dir = fx_mkdir(), *path = fx_path(dir, "heap");
	comap_heap *heap;

	(void)state;
	for (int i = 0; i < 30; i++) {
		heap = fx_heap(16 * CM_MIB);
		assert_non_null(comap_heap_malloc(heap, 100));
		open_one = kin_tally();
		assert_int_equal(open_one.fds, before.fds + 1);
		assert_int_equal(open_one.maps, before.maps + 1);
		comap_heap_close(heap);
		assert_true(kin_is_clean(before));
		assert_int_equal(try_open(path, COMAP_HEAP_CREATE), 0);
		assert_true(kin_is_clean(before));
		assert_int_equal(try_open(path, 0x80000000), -EINVAL);
		assert_int_equal(try_open("/dev/null", 0), -ENODEV);
		assert_true(kin_is_clean(before));
	}
	fx_rmdir(dir);
}

/* Lines of /proc/self/maps, of whatever kind: the pages of seats are private ones. */
static unsigned all_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned n = 0;
	int c;

	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static void opening_again_and_again_leaves_nothing_in_the_process(void **state)
{
	unsigned before = 0;

	(void)state;
	for (int i = 0; i < 300; i++) {
		comap_heap *heap = fx_heap(8 * CM_MIB);

		assert_non_null(comap_heap_malloc(heap, 100));
		comap_heap_close(heap);
		if (i == 100)
			before = all_maps();
	}
	assert_true(all_maps() <= before + 2);
}

static void the_65th_handle_is_emfile(void **state)
{
	comap_heap *heap[65] = { NULL }, *again = NULL;
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	unsigned n = 0;

	(void)state;
	opts.max_size = 8 * CM_MIB;
	while (n < 65 && comap_heap_open_anon(&opts, &heap[n]) == 0)
		assert_non_null(comap_heap_malloc(heap[n++], 10));
	assert_int_equal(n, 64);
	assert_int_equal(comap_heap_open_anon(&opts, &again), -EMFILE);
	assert_null(again);
	assert_true(comap_heap_open_reason()[0] != '\0');
	comap_heap_close(heap[17]);
	assert_int_equal(comap_heap_open_anon(&opts, &again), 0);
	assert_string_equal(comap_heap_open_reason(), "");
	assert_non_null(comap_heap_malloc(again, 10));
	heap[17] = again;
	for (unsigned i = 0; i < 64; i++)
		fx_close(heap[i]);
}

/* ---- closing while others use it ----------------------------------------------------- */

struct user {
	comap_heap *heap;
	_Atomic uint32_t stage;
	bool detaches;
};

static void *uses_it(void *arg)
{
	struct user *u = arg;
	char *p = comap_heap_malloc(u->heap, 100);

	KIN_CHECK(p != NULL);
	kin_raise(&u->stage, 1);
	KIN_CHECK(kin_await(&u->stage, 2));
	memset(p, 1, 100); /* still mapped */
	if (u->detaches) {
		comap_heap_detach(u->heap);
		kin_raise(&u->stage, 3);
		KIN_CHECK(kin_await(&u->stage, 4));
	}
	return NULL;
}

static void the_mapping_stays_until_the_last_thread_left(void **state)
{
	struct kin_tally before = kin_tally();

	(void)state;
	for (int detaches = 0; detaches < 2; detaches++) {
		struct user u = { .heap = fx_heap(16 * CM_MIB), .detaches = detaches };
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, uses_it, &u), 0);
		assert_true(kin_await(&u.stage, 1));
		comap_heap_close(u.heap);
		assert_int_equal(kin_tally().maps, before.maps + 1);
		kin_raise(&u.stage, 2);
		if (detaches) {
			assert_true(kin_await(&u.stage, 3));
			assert_int_equal(kin_tally().maps, before.maps);
			kin_raise(&u.stage, 4);
		}
		pthread_join(thread, NULL);
		assert_int_equal(kin_tally().maps, before.maps);
		assert_int_equal(kin_tally().fds, before.fds);
	}
}

/* ---- what is mapped, and how --------------------------------------------------------- */

/* Does the heap's mapping have this flag in smaps ("dd": not in core dumps)? */
static bool has_vmflag(comap_heap *heap, const char *flag)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char line[4352], want[8];
	uint64_t start, end;
	bool is_ours = false, has = false;

	assert_non_null(file);
	snprintf(want, sizeof want, " %s", flag);
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			is_ours = start == (uint64_t)(uintptr_t)heap->seg.base;
		if (is_ours && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line, want) != NULL;
	}
	fclose(file);
	return has;
}

static void heaps_are_left_out_of_core_dumps_unless_asked(void **state)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = fx_heap(16 * CM_MIB), *reader = NULL;

	(void)state;
	if (!has_vmflag(heap, "sh")) { /* valgrind's smaps, for one */
		fx_close(heap);
		skip();
	}
	assert_true(has_vmflag(heap, "dd"));
	opts.flags = COMAP_HEAP_READONLY;
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), &opts, &reader), 0);
	assert_true(has_vmflag(reader, "dd"));
	assert_false(has_vmflag(reader, "wr"));
	comap_heap_close(reader);
	fx_close(heap);
	opts.flags = COMAP_HEAP_DUMP;
	opts.max_size = 16 * CM_MIB;
	heap = fx_heap_with(&opts);
	assert_false(has_vmflag(heap, "dd"));
	fx_close(heap);
}

static void a_ceiling_costs_no_storage(void **state)
{
	const uint64_t sizes[] = { 16 * CM_MIB, CM_GIB, 64 * CM_GIB, CM_TIB };
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	(void)state;
	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		comap_heap *heap = NULL;

		if (sizes[i] > 16 * CM_GIB && (kin_is_valgrind() || FX_IS_SANITIZED))
			break;
		opts.max_size = sizes[i];
		heap = fx_heap_with(&opts);
		assert_true(fx_stored(heap) <= 128 * CM_KIB);
		assert_int_equal(fx_stats(heap).max_size, sizes[i]);
		assert_non_null(comap_heap_malloc(heap, 100));
		assert_true(fx_stored(heap) <= 512 * CM_KIB);
		fx_close(heap);
	}
}

static void no_options_mean_a_ceiling_of_a_tebibyte(void **state)
{
	comap_heap *heap = NULL;

	(void)state;
	if (kin_is_valgrind() || FX_IS_SANITIZED)
		skip();
	assert_int_equal(comap_heap_open_anon(NULL, &heap), 0);
	assert_true(fx_stats(heap).max_size == CM_TIB);
	assert_int_equal(fx_stats(heap).slots, 4096);
	assert_non_null(comap_heap_malloc(heap, 100 * CM_MIB));
	fx_close(heap);
}

/* ---- without memfd ------------------------------------------------------------------- */

static void without_memfd_memory_is_anonymous_and_shared(void **state)
{
	comap_heap *heap;
	void *p, *q;

	(void)state;
	cm_os_no_memfd = true;
	heap = fx_heap(64 * CM_MIB);
	cm_os_no_memfd = false;
	assert_int_equal(comap_heap_fd(heap), -1);
	p = comap_heap_malloc(heap, 100);
	q = comap_heap_malloc(heap, 6 * CM_MIB);
	assert_true(p && q);
	memset(q, 1, 6 * CM_MIB);
	assert_non_null(comap_heap_realloc(heap, p, 300000));
	comap_heap_free(heap, q);
	assert_int_equal(comap_heap_trim(heap), 0);
	q = comap_heap_calloc(heap, 1, 6 * CM_MIB);
	assert_true(fx_is_zero(q, 6 * CM_MIB));
	assert_int_equal(comap_root_set(heap, "q", comap_heap_ref(heap, q)), 0);
	while (comap_heap_malloc(heap, CM_MIB))
		;
	assert_int_equal(errno, ENOMEM);
	fx_close(heap);
}

static int writes(void *arg)
{
	comap_heap *heap = arg;
	comap_ref ref;

	KIN_CHECK(comap_root_get(heap, "x", &ref) == 0);
	strcpy(comap_heap_at(heap, ref), "from the child");
	KIN_CHECK(comap_heap_strdup(heap, "leaks not") != NULL);
	return 0;
}

static void a_child_shares_it_with_and_without_memfd(void **state)
{
	(void)state;
	for (int without = 0; without < 2; without++) {
		comap_heap *heap;
		char *p;

		cm_os_no_memfd = without;
		heap = fx_heap(64 * CM_MIB);
		cm_os_no_memfd = false;
		p = comap_heap_calloc(heap, 1, 100);
		assert_int_equal(comap_root_set(heap, "x", comap_heap_ref(heap, p)), 0);
		assert_int_equal(kin_run(writes, heap), 0);
		assert_string_equal(p, "from the child");
		assert_int_equal(fx_live_blocks(heap), 2);
		fx_close(heap);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(opts_of_a_newer_comap_work_while_new_fields_are_zero),
		KIN_TEST(opts_of_an_older_comap_take_missing_fields_as_zero),
		KIN_TEST(opts_without_a_size_are_einval),
		KIN_TEST(unknown_and_contradictory_flags_are_einval),
		KIN_TEST(numbers_out_of_range_are_einval),
		KIN_TEST(one_slot_serves_one_thread),
		KIN_TEST(a_heap_is_created_opened_and_unlinked),
		KIN_TEST(a_name_without_a_slash_lies_in_dev_shm),
		KIN_TEST(bad_names_are_refused),
		KIN_TEST(a_name_too_long_for_its_directory_is_einval),
		KIN_TEST(a_failed_creation_leaves_no_file),
		KIN_TEST(a_file_is_0600_unless_asked_and_umask_applies),
		KIN_TEST(bits_beyond_permissions_are_einval),
		KIN_TEST(no_permission_is_eacces),
		KIN_TEST(a_heap_is_opened_by_its_fd),
		KIN_TEST(an_fd_open_for_reading_gives_readers_only),
		KIN_TEST(a_closed_heap_leaves_no_fd_and_no_mapping),
		KIN_TEST(opening_again_and_again_leaves_nothing_in_the_process),
		KIN_TEST(the_65th_handle_is_emfile),
		KIN_TEST(the_mapping_stays_until_the_last_thread_left),
		KIN_TEST(heaps_are_left_out_of_core_dumps_unless_asked),
		KIN_TEST(a_ceiling_costs_no_storage),
		KIN_TEST(no_options_mean_a_ceiling_of_a_tebibyte),
		KIN_TEST(without_memfd_memory_is_anonymous_and_shared),
		KIN_TEST(a_child_shares_it_with_and_without_memfd),
	};

	return cmocka_run_group_tests_name("heap/open", tests, NULL, NULL);
}
