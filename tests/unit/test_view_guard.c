/* test_view_guard.c - scopes in which a file that another process cuts short is an error (guard.c). */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "fixture.h"
#include "view/guard.h"

#define PAGE cm_os_page_size()

static const char *dir;

static int begin(void **state)
{
	dir = fx_mkdir();
	return kin_setup(state);
}

static int end(void **state)
{
	comap_guard_remove(); /* of a case that was left early, else of nothing */
	fx_rmdir(dir);
	return kin_teardown(state);
}

/* cmocka takes SIGBUS for each fixture and each test, so it is in the test that we must. */
struct guarded {
	void (*test)(void **state);
};

static void run_guarded(void **state)
{
	struct guarded *guarded = *state;

	assert_int_equal(comap_guard_install(), 0);
	guarded->test(state);
	comap_guard_remove();
}
#define GUARD_TEST(fn) { #fn, run_guarded, begin, end, &(struct guarded){ fn } }

/* ---- files, and who cuts them ---------------------------------------------------------- */

/* A file of n sevens. */
static void fill_file(const char *name, size_t n)
{
	int fd = open(fx_path(dir, name), O_RDWR | O_CREAT | O_CLOEXEC | O_TRUNC, 0600);
	char *bytes = malloc(n + 1);

	assert_true(fd >= 0 && bytes);
	memset(bytes, 7, n);
	assert_true(write(fd, bytes, n) == (ssize_t)n);
	close(fd);
	free(bytes);
}

static comap_view *part_of(const char *name, uint64_t off, uint64_t n, uint32_t mode, uint32_t flags)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	o.mode = mode;
	o.how = COMAP_VIEW_MAP;
	o.flags = flags;
	o.offset = off;
	o.length = n;
	if (comap_view_open(fx_path(dir, name), &o, &view) < 0)
		fail_msg("%s", comap_view_reason());
	return view;
}

static comap_view *view_of(const char *name, size_t n, uint32_t mode, uint32_t flags)
{
	fill_file(name, n);
	return part_of(name, 0, 0, mode, flags);
}

struct cut {
	const char *name;
	off_t size;
};

static int cut_child(void *arg)
{
	struct cut *cut = arg;

	KIN_CHECK(truncate(fx_path(dir, cut->name), cut->size) == 0);
	return 0;
}

/* Another process gives it this size. */
static void cut(const char *name, size_t size)
{
	assert_int_equal(kin_run(cut_child, &(struct cut){ name, (off_t)size }), 0);
}

static unsigned char at(const comap_view *view, size_t i)
{
	return ((const volatile unsigned char *)comap_view_bytes(view).data)[i];
}

static uint64_t faults(const comap_view *view)
{
	return view->memory->faults & UINT32_MAX;
}

/* ---- cut short -------------------------------------------------------------------------- */

static void without_a_cut_leave_says_nothing(void **state)
{
	static const uint32_t modes[] = { COMAP_VIEW_READ, COMAP_VIEW_SHARED, COMAP_VIEW_PRIVATE };
	comap_guard guard;
	comap_view *view;

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		view = view_of("f", 3 * PAGE + 5, modes[m], 0);
		comap_guard_enter(&guard, view);
		assert_int_equal(at(view, 3 * PAGE), 7);
		assert_int_equal(comap_guard_leave(&guard), 0);
		cut("f", 4 * PAGE); /* longer is no harm */
		comap_guard_enter(&guard, view);
		assert_int_equal(comap_guard_leave(&guard), 0);
		comap_view_close(view);
	}
}

static void a_file_cut_to_nothing_reads_as_zeroes_and_is_told(void **state)
{
	static const uint32_t modes[] = { COMAP_VIEW_READ, COMAP_VIEW_SHARED, COMAP_VIEW_PRIVATE };
	comap_guard guard;
	comap_view *view;
	size_t n = 5 * PAGE;

	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		view = view_of("f", n, modes[m], 0);
		comap_guard_enter(&guard, view);
		for (size_t i = 0; i < n; i++) {
			if (i == 100)
				cut("f", 0);
			assert_int_equal(at(view, i), i < 100 ? 7 : 0);
		}
		assert_int_equal(faults(view), 1); /* not one for each page */
		assert_int_equal(comap_guard_leave(&guard), -ENODATA);
		comap_view_close(view);
	}
}

static void a_cut_inside_the_last_page_is_told_without_a_fault(void **state)
{
	comap_view *view = view_of("f", 2 * PAGE, COMAP_VIEW_READ, 0);
	comap_guard guard;

	(void)state;
	for (size_t size = 2 * PAGE - 1; size > PAGE; size -= PAGE / 2 - 1) {
		comap_guard_enter(&guard, view);
		cut("f", size);
		assert_int_equal(at(view, 2 * PAGE - 1), 0);
		assert_int_equal(at(view, size - 1), 7);
		assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	}
	assert_int_equal(faults(view), 0);
	comap_view_close(view);
}

static void what_is_before_a_cut_between_pages_is_still_the_file(void **state)
{
	comap_view *view = view_of("f", 4 * PAGE, COMAP_VIEW_READ, 0);
	comap_guard guard;

	(void)state;
	comap_guard_enter(&guard, view);
	cut("f", 2 * PAGE);
	assert_int_equal(at(view, 3 * PAGE), 0);
	assert_int_equal(at(view, 2 * PAGE), 0);
	assert_int_equal(at(view, 2 * PAGE - 1), 7);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_view_close(view);
}

static void sizes_and_offsets_of_every_kind_are_guarded(void **state)
{
	size_t page = PAGE, sizes[] = { 1, page - 1, page, page + 1, 3 * page },
	       offsets[] = { 0, 1, page - 1, page, page + 7 };
	comap_guard guard;
	comap_view *view;

	(void)state;
	for (unsigned s = 0; s < 5; s++)
		for (unsigned o = 0; o < 5; o++) {
			fill_file("f", 6 * PAGE);
			view = part_of("f", offsets[o], sizes[s], COMAP_VIEW_READ, 0);
			comap_guard_enter(&guard, view);
			cut("f", offsets[o] + sizes[s]); /* just not */
			assert_int_equal(at(view, sizes[s] - 1), 7);
			assert_int_equal(comap_guard_leave(&guard), 0);
			comap_guard_enter(&guard, view);
			cut("f", offsets[o] + sizes[s] - 1);
			assert_int_equal(at(view, sizes[s] - 1), 0);
			assert_int_equal(comap_guard_leave(&guard), -ENODATA);
			comap_guard_enter(&guard, view);
			cut("f", 0);
			for (size_t i = 0; i < sizes[s]; i++)
				assert_int_equal(at(view, i), 0);
			assert_int_equal(comap_guard_leave(&guard), -ENODATA);
			comap_view_close(view);
		}
}

static void a_cut_behind_a_part_is_no_news_to_it(void **state)
{
	comap_view *view = view_of("f", 4 * PAGE, COMAP_VIEW_READ, 0), *part, *empty;
	comap_guard guard;

	(void)state;
	assert_int_equal(comap_view_sub(view, 10, PAGE, &part), 0);
	assert_int_equal(comap_view_sub(view, 10, 0, &empty), 0);
	cut("f", PAGE + 10);
	comap_guard_enter(&guard, part);
	assert_int_equal(at(part, PAGE - 1), 7);
	assert_int_equal(comap_guard_leave(&guard), 0);
	cut("f", PAGE + 9);
	comap_guard_enter(&guard, part);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	cut("f", PAGE);
	comap_guard_enter(&guard, part);
	assert_int_equal(at(part, PAGE - 1), 0); /* it begins amid a page, and ends amid one */
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_guard_enter(&guard, empty);
	assert_int_equal(comap_guard_leave(&guard), 0);
	comap_view_close(empty);
	comap_view_close(part);
	comap_view_close(view);
}

static void after_leave_the_file_shows_again(void **state)
{
	static const uint32_t modes[] = { COMAP_VIEW_READ, COMAP_VIEW_SHARED };
	comap_guard guard;
	comap_view *view;

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		view = view_of("f", 3 * PAGE, modes[m], 0);
		comap_guard_enter(&guard, view);
		cut("f", 0);
		assert_int_equal(at(view, PAGE), 0);
		assert_int_equal(comap_guard_leave(&guard), -ENODATA);
		fill_file("f", 3 * PAGE);
		comap_guard_enter(&guard, view);
		assert_int_equal(at(view, PAGE), 7);
		if (modes[m] == COMAP_VIEW_SHARED)
			((char *)comap_view_writable(view))[PAGE] = 8;
		assert_int_equal(comap_guard_leave(&guard), 0);
		comap_view_close(view);
		view = part_of("f", 0, 0, COMAP_VIEW_READ, 0);
		assert_int_equal(at(view, PAGE), modes[m] == COMAP_VIEW_SHARED ? 8 : 7);
		comap_view_close(view);
	}
}

static void a_file_that_was_cut_and_grew_back_meanwhile_is_told(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	comap_guard guard;

	(void)state;
	comap_guard_enter(&guard, view);
	cut("f", 0);
	assert_int_equal(at(view, PAGE), 0);
	fill_file("f", 3 * PAGE);
	assert_int_equal(at(view, 2 * PAGE), 0);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_view_close(view);
}

static void stores_after_a_cut_are_lost_and_the_process_lives(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_SHARED, 0);
	volatile char *bytes = comap_view_writable(view);
	comap_guard guard;
	struct stat st;

	(void)state;
	comap_guard_enter(&guard, view);
	cut("f", PAGE);
	bytes[0] = 1;
	bytes[2 * PAGE] = 2;
	assert_int_equal(bytes[2 * PAGE], 2);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	assert_int_equal(bytes[0], 1);
	assert_int_equal(stat(fx_path(dir, "f"), &st), 0);
	assert_int_equal(st.st_size, PAGE);
	comap_view_close(view);
}

/* ---- where it is not mapped again --------------------------------------------------------- */

static void a_private_view_keeps_its_stores_and_says_each_time_that_it_was_cut(void **state)
{
	comap_view *view = view_of("f", 4 * PAGE, COMAP_VIEW_PRIVATE, 0);
	volatile char *bytes = comap_view_writable(view);
	comap_guard guard;

	(void)state;
	bytes[0] = bytes[PAGE] = 1;
	comap_guard_enter(&guard, view);
	cut("f", 2 * PAGE);
	assert_int_equal(bytes[3 * PAGE], 0);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	assert_true(bytes[0] == 1 && bytes[PAGE] == 1);
	comap_guard_enter(&guard, view);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	cut("f", 4 * PAGE); /* grown back; what the kernel dropped of our stores is behind the cut */
	comap_guard_enter(&guard, view);
	assert_int_equal(bytes[3 * PAGE], 0);
	assert_true(comap_guard_leave(&guard) < 0);
	assert_true(bytes[0] == 1 && bytes[PAGE] == 1);
	comap_view_close(view);
}

static void without_a_descriptor_each_leave_after_a_fault_says_enodata(void **state)
{
	static const uint32_t modes[] = { COMAP_VIEW_READ, COMAP_VIEW_PRIVATE };
	comap_guard guard;
	comap_view *view;

	(void)state;
	for (unsigned m = 0; m < 2; m++) {
		view = view_of("f", 4 * PAGE, modes[m], COMAP_VIEW_NO_FD);
		assert_int_equal(comap_view_fd(view), -1);
		if (modes[m] == COMAP_VIEW_PRIVATE)
			*(volatile char *)comap_view_writable(view) = 1;
		comap_guard_enter(&guard, view);
		assert_int_equal(comap_guard_leave(&guard), 0);
		comap_guard_enter(&guard, view);
		cut("f", PAGE);
		assert_int_equal(at(view, PAGE), 0);
		assert_int_equal(at(view, 3 * PAGE), 0);
		assert_int_equal(comap_guard_leave(&guard), -ENODATA);
		assert_int_equal(faults(view), modes[m] == COMAP_VIEW_READ ? 1 : 2);
		comap_guard_enter(&guard, view);
		assert_int_equal(at(view, 0), modes[m] == COMAP_VIEW_READ ? 7 : 1);
		assert_int_equal(comap_guard_leave(&guard), -ENODATA);
		comap_view_close(view);
	}
}

static void what_cannot_be_cut_costs_no_system_call(void **state)
{
	static const char given[3] = "abc";
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *views[4];
	comap_guard guard;

	(void)state;
	fill_file("f", 3 * PAGE);
	fill_file("empty", 0);
	o.how = COMAP_VIEW_COPY;
	o.flags = COMAP_VIEW_WATCH;
	assert_int_equal(comap_view_open(fx_path(dir, "f"), &o, &views[0]), 0);
	assert_int_equal(comap_view_open_memory(given, 3, NULL, NULL, &views[1]), 0);
	views[2] = part_of("empty", 0, 0, COMAP_VIEW_READ, 0);
	assert_int_equal(comap_view_open_memfd("sealed", 3 * PAGE, &views[3]), 0);
	assert_int_equal(comap_view_seal(views[3], false), 0);
	cut("f", 0);
	for (unsigned i = 0; i < 4; i++) {
		errno = 0;
		comap_guard_enter(&guard, views[i]);
		/* a descriptor that is no file would be an error, if it was asked */
		if (i == 3) {
			int fd = views[i]->memory->fd;

			views[i]->memory->fd = 1 << 20;
			assert_int_equal(comap_guard_leave(&guard), 0);
			views[i]->memory->fd = fd;
		} else {
			assert_int_equal(comap_guard_leave(&guard), 0);
		}
		assert_int_equal(errno, 0);
		comap_view_close(views[i]);
	}
}

/* ---- not cut, but not there either ------------------------------------------------------------ */

/* In a mount namespace of its own, so that nothing is left; 77: not allowed. */
static int full_disk_child(void *arg)
{
	char *dirty = malloc(PAGE);
	volatile char *bytes;
	comap_view *view;
	comap_guard guard;
	int fd;

	(void)arg;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir, "tmpfs", 0, "size=128k") < 0)
		return 77;
	KIN_CHECK(comap_guard_install() == 0); /* kin_born put the default there */
	fd = open(fx_path(dir, "f"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	KIN_CHECK(fd >= 0 && ftruncate(fd, 64 * (off_t)PAGE) == 0);
	memset(dirty, 5, PAGE);
	KIN_CHECK(pwrite(fd, dirty, PAGE, 63 * (off_t)PAGE) == (ssize_t)PAGE);
	close(fd);
	fd = open(fx_path(dir, "rest"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, dirty, PAGE) > 0)
		;
	close(fd);
	free(dirty);

	view = part_of("f", 0, 0, COMAP_VIEW_SHARED, 0);
	bytes = comap_view_writable(view);
	comap_guard_enter(&guard, view);
	bytes[3 * PAGE] = 1; /* no storage for it */
	KIN_CHECK(faults(view) == 1);
	bytes[63 * PAGE] = 9; /* has some, and is not covered by zeroes */
	KIN_CHECK(comap_guard_leave(&guard) == -EIO);
	KIN_CHECK(bytes[63 * PAGE] == 9 && bytes[63 * PAGE + 1] == 5);
	KIN_CHECK(unlink(fx_path(dir, "rest")) == 0);
	comap_guard_enter(&guard, view);
	bytes[3 * PAGE] = 2;
	KIN_CHECK(comap_guard_leave(&guard) == 0);
	comap_view_close(view);
	view = part_of("f", 0, 0, COMAP_VIEW_READ, 0);
	KIN_CHECK(at(view, 3 * PAGE) == 2 && at(view, 63 * PAGE) == 9);
	comap_view_close(view);
	comap_guard_remove();
	return 0;
}

static void a_hole_of_a_full_disk_is_eio_and_costs_one_page(void **state)
{
	int status = kin_run(full_disk_child, NULL);

	(void)state;
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

static long locked_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "VmLck: %ld", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

static void a_locked_view_is_locked_again(void **state)
{
	comap_view *view = view_of("f", 4 * PAGE, COMAP_VIEW_READ, COMAP_VIEW_LOCK);
	comap_guard guard;
	long before = locked_kib();

	(void)state;
	if (before == 0) /* sanitizers and valgrind let no one lock */
		comap_view_close(view), skip();
	comap_guard_enter(&guard, view);
	cut("f", PAGE);
	assert_int_equal(at(view, PAGE), 0);
	assert_true(locked_kib() < before);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	assert_int_equal(locked_kib(), before);
	comap_view_close(view);
}

/* ---- several guards ----------------------------------------------------------------------------- */

static void guards_of_one_view_nest_and_each_is_told(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	comap_guard outer, inner;

	(void)state;
	comap_guard_enter(&outer, view);
	comap_guard_enter(&inner, view);
	cut("f", 0);
	assert_int_equal(at(view, PAGE), 0);
	assert_int_equal(comap_guard_leave(&inner), -ENODATA);
	fill_file("f", 3 * PAGE);
	comap_guard_enter(&inner, view);
	assert_int_equal(at(view, PAGE), 7);
	assert_int_equal(comap_guard_leave(&inner), 0);
	assert_int_equal(comap_guard_leave(&outer), -ENODATA);
	comap_view_close(view);
}

static void guards_of_different_views_nest_and_only_the_cut_one_is_told(void **state)
{
	comap_view *a = view_of("a", 3 * PAGE, COMAP_VIEW_READ, 0);
	comap_view *b = view_of("b", 3 * PAGE, COMAP_VIEW_READ, 0);
	comap_guard outer, inner;

	(void)state;
	comap_guard_enter(&outer, a);
	comap_guard_enter(&inner, b);
	cut("a", 0);
	assert_int_equal(at(a, PAGE), 0); /* of the outer one */
	assert_int_equal(at(b, PAGE), 7);
	assert_int_equal(comap_guard_leave(&inner), 0);
	assert_int_equal(comap_guard_leave(&outer), -ENODATA);
	comap_view_close(b);
	comap_view_close(a);
}

struct other {
	comap_view *view;
	_Atomic uint32_t step;
	int err;
};

static void *other_thread(void *arg)
{
	struct other *other = arg;
	comap_guard guard;

	comap_guard_enter(&guard, other->view);
	kin_raise(&other->step, 1);
	kin_await(&other->step, 2);
	other->err = comap_guard_leave(&guard);
	return NULL;
}

static void a_fault_of_one_thread_is_told_to_all_in_the_view(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	struct other other = { .view = view };
	comap_guard guard;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, other_thread, &other), 0);
	kin_await(&other.step, 1);
	comap_guard_enter(&guard, view);
	cut("f", 0);
	assert_int_equal(at(view, 0), 0);
	fill_file("f", 3 * PAGE);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	kin_raise(&other.step, 2);
	pthread_join(thread, NULL);
	/* by then the file is whole, and mapped; it may have read the zeroes all the same */
	assert_int_equal(other.err, -ENODATA);
	comap_view_close(view);
}

static void who_enters_while_zeroes_lie_there_is_told(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	struct other other = { .view = view };
	comap_guard guard;
	pthread_t thread;

	(void)state;
	comap_guard_enter(&guard, view);
	cut("f", 0);
	assert_int_equal(at(view, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, other_thread, &other), 0);
	kin_await(&other.step, 1);
	fill_file("f", 3 * PAGE);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	kin_raise(&other.step, 2);
	pthread_join(thread, NULL);
	assert_true(other.err < 0);
	comap_view_close(view);
}

/* ---- many threads, and a file that is cut and written again all the time ----------------------------- */

#define PAGES 16u

struct rewrite {
	int fd;
	_Atomic uint32_t *stop;
};

static int rewrite_child(void *arg)
{
	struct rewrite *rewrite = arg;
	int fd = rewrite->fd;
	uint64_t seed = 1;
	char *page = malloc(PAGE);

	KIN_CHECK(page);
	memset(page, 7, PAGE);
	while (!atomic_load(rewrite->stop)) {
		unsigned from = (unsigned)(fx_random(&seed) % PAGES);

		/* whole pages: what is cut inside of one, and written again before leave, nobody can see */
		KIN_CHECK(ftruncate(fd, (off_t)(from * PAGE)) == 0);
		for (; from < PAGES; from++)
			KIN_CHECK(pwrite(fd, page, PAGE, (off_t)(from * PAGE)) == (ssize_t)PAGE);
		kin_sleep_us(50); /* whole for a while */
	}
	free(page);
	return 0;
}

struct reader {
	comap_view *view;
	_Atomic uint32_t *stop;
	uint64_t seed, lies;
	_Atomic uint64_t clean, told;
};

/* To ThreadSanitizer mapping the file again is a store, and this a race with it. */
__attribute__((no_sanitize("thread"))) static int count_zeroes(void *arg, struct comap_bytes bytes)
{
	const volatile char *from = bytes.data;
	struct reader *reader = arg;
	int zeroes = 0;

	for (unsigned i = 0; i < PAGES; i++)
		zeroes += from[fx_random(&reader->seed) % bytes.size] == 0;
	return zeroes;
}

static void *read_all_the_time(void *arg)
{
	struct reader *reader = arg;
	comap_guard guard;
	int zeroes, err;

	while (!atomic_load(reader->stop)) {
		zeroes = 0;
		if (fx_random(&reader->seed) % 4) {
			comap_guard_enter(&guard, reader->view);
			zeroes = count_zeroes(reader, comap_view_bytes(reader->view));
			err = comap_guard_leave(&guard);
		} else {
			err = comap_guard_call(reader->view, count_zeroes, reader, &zeroes);
		}
		reader->clean += err == 0;
		reader->told += err < 0;
		reader->lies += err == 0 && zeroes;
	}
	return NULL;
}

static void no_zero_is_ever_read_that_leave_does_not_tell_of(void **state)
{
	_Atomic uint32_t *stop = kin_page();
	comap_view *view;
	struct reader readers[4] = { 0 };
	pthread_t threads[4];
	uint64_t clean = 0, told = 0, start = kin_now_ns();
	comap_guard guard;
	pid_t child;

	(void)state;
	assert_int_equal(comap_view_open_memfd("f", PAGES * PAGE, &view), 0);
	memset(comap_view_writable(view), 7, PAGES * PAGE);
	child = kin_spawn(rewrite_child, &(struct rewrite){ comap_view_fd(view), stop });
	for (unsigned i = 0; i < 4; i++) {
		readers[i].view = view;
		readers[i].stop = stop;
		readers[i].seed = i;
		assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &readers[i]), 0);
	}
	do { /* a second, or longer where the machine is busy */
		kin_sleep_us(100000);
		clean = told = 0;
		for (unsigned i = 0; i < 4; i++) {
			clean += readers[i].clean;
			told += readers[i].told;
		}
	} while (kin_now_ns() < start + 1000000000 ||
		 ((!clean || !told) && kin_now_ns() < start + 20000000000));
	kin_raise(stop, 1);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(readers[i].lies, 0);
	}
	assert_int_equal(kin_wait(child), 0);
	assert_true(clean > 0 && told > 0);
	comap_guard_enter(&guard, view); /* and no zeroes stay */
	assert_int_equal(at(view, (PAGES - 1) * PAGE), 7);
	assert_int_equal(comap_guard_leave(&guard), 0);
	kin_page_drop((void *)stop);
	comap_view_close(view);
}

/* ---- calls --------------------------------------------------------------------------------------------- */

struct visit {
	const char *cuts;
	size_t at;
	comap_view *also; /* guarded inside */
	int value, got;
	bool is_over;
};

static int visit(void *arg, struct comap_bytes bytes)
{
	struct visit *visit = arg;
	comap_guard guard;

	if (visit->also) {
		comap_guard_enter(&guard, visit->also);
		(void)at(visit->also, 0); /* faults, if it was cut */
	}
	if (visit->cuts)
		cut(visit->cuts, 0);
	if (bytes.size)
		visit->got = ((const volatile char *)bytes.data)[visit->at];
	if (visit->also)
		comap_guard_leave(&guard);
	visit->is_over = true;
	return visit->value;
}

static void a_call_returns_what_its_function_did(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0), *empty;
	struct visit v = { .value = -12 };
	int value = 0;

	(void)state;
	assert_int_equal(comap_guard_call(view, visit, &v, &value), 0);
	assert_true(value == -12 && v.got == 7 && v.is_over);
	assert_int_equal(comap_guard_call(view, visit, &v, NULL), 0);
	v.value = 5;
	assert_int_equal(comap_view_sub(view, 0, 0, &empty), 0);
	assert_int_equal(comap_guard_call(empty, visit, &v, &value), 0);
	assert_int_equal(value, 5);
	comap_view_close(empty);
	comap_view_close(view);
}

static void a_fault_ends_a_call_in_its_midst(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_SHARED, 0);
	sigset_t before, after;
	struct visit v;
	int value = 33;

	(void)state;
	sigprocmask(SIG_BLOCK, NULL, &before);
	for (int turn = 0; turn < 3; turn++) { /* a handler that was jumped out of works again */
		v = (struct visit){ .cuts = "f", .at = PAGE };
		assert_int_equal(comap_guard_call(view, visit, &v, &value), -ENODATA);
		assert_true(value == 33 && !v.is_over);
		fill_file("f", 3 * PAGE);
	}
	sigprocmask(SIG_BLOCK, NULL, &after);
	assert_int_equal(sigismember(&after, SIGBUS), sigismember(&before, SIGBUS));
	assert_int_equal(at(view, PAGE), 7); /* it is the file still, no zeroes */
	comap_view_close(view);
}

static void a_cut_without_a_fault_spoils_a_call_too(void **state)
{
	comap_view *view = view_of("f", PAGE - 1, COMAP_VIEW_READ, 0);
	struct visit v = { .at = PAGE - 2, .value = 5 };
	int value = 33;

	(void)state;
	cut("f", PAGE - 2);
	assert_int_equal(comap_guard_call(view, visit, &v, &value), -ENODATA);
	assert_true(value == 33 && v.is_over && v.got == 0);
	comap_view_close(view);
}

static void guards_inside_of_a_call_end_with_it(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	comap_view *also = view_of("g", 3 * PAGE, COMAP_VIEW_READ, 0);
	struct visit v = { .cuts = "f", .at = PAGE, .also = also };
	comap_guard guard;

	(void)state;
	cut("g", 0);
	assert_int_equal(comap_guard_call(view, visit, &v, NULL), -ENODATA);
	assert_false(v.is_over);
	assert_int_equal(faults(also), 1);
	fill_file("g", 3 * PAGE);
	comap_guard_enter(&guard, also);
	assert_int_equal(at(also, 0), 7);
	assert_int_equal(comap_guard_leave(&guard), 0);
	comap_view_close(also);
	comap_view_close(view);
}

static void a_guard_inside_of_a_call_of_its_view_has_zeroes(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	struct visit v = { .cuts = "f", .at = PAGE, .also = view };
	int value = 33;

	(void)state;
	assert_int_equal(comap_guard_call(view, visit, &v, &value), -ENODATA);
	assert_true(v.is_over && v.got == 0 && value == 33);
	comap_view_close(view);
}

/* ---- handlers of other signals, and fork ----------------------------------------------------------------- */

static comap_view *signal_view;
static volatile int signal_err;

static void on_signal(int sig)
{
	comap_guard guard;
	sigset_t bus;

	(void)sig;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	/* ThreadSanitizer calls handlers with all signals blocked */
	pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
	comap_guard_enter(&guard, signal_view);
	(void)at(signal_view, 0);
	signal_err = comap_guard_leave(&guard);
}

static void a_guard_works_in_a_signal_handler(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	void (*old)(int) = signal(SIGUSR1, on_signal);
	comap_guard guard;

	(void)state;
	signal_view = view_of("g", 3 * PAGE, COMAP_VIEW_READ, 0);
	cut("g", 0);
	comap_guard_enter(&guard, view);
	raise(SIGUSR1);
	assert_int_equal(signal_err, -ENODATA);
	assert_int_equal(at(view, 2 * PAGE), 7);
	assert_int_equal(comap_guard_leave(&guard), 0);
	signal(SIGUSR1, old);
	comap_view_close(signal_view);
	comap_view_close(view);
}

static void a_child_inherits_its_parents_guards(void **state)
{
	comap_view *view = view_of("f", 3 * PAGE, COMAP_VIEW_READ, 0);
	comap_guard guard;
	pid_t pid;

	(void)state;
	comap_guard_enter(&guard, view);
	fflush(NULL);
	pid = fork();
	if (pid == 0) { /* without kin_born, which would take the handler away */
		alarm(KIN_SECONDS);
		KIN_CHECK(truncate(fx_path(dir, "f"), 0) == 0);
		KIN_CHECK(at(view, PAGE) == 0);
		KIN_CHECK(comap_guard_leave(&guard) == -ENODATA);
		_exit(0);
	}
	assert_int_equal(kin_wait(pid), 0);
	assert_int_equal(faults(view), 0); /* that was the child's own */
	assert_int_equal(at(view, PAGE), 0);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_view_close(view);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		GUARD_TEST(without_a_cut_leave_says_nothing),
		GUARD_TEST(a_file_cut_to_nothing_reads_as_zeroes_and_is_told),
		GUARD_TEST(a_cut_inside_the_last_page_is_told_without_a_fault),
		GUARD_TEST(what_is_before_a_cut_between_pages_is_still_the_file),
		GUARD_TEST(sizes_and_offsets_of_every_kind_are_guarded),
		GUARD_TEST(a_cut_behind_a_part_is_no_news_to_it),
		GUARD_TEST(after_leave_the_file_shows_again),
		GUARD_TEST(a_file_that_was_cut_and_grew_back_meanwhile_is_told),
		GUARD_TEST(stores_after_a_cut_are_lost_and_the_process_lives),
		GUARD_TEST(a_private_view_keeps_its_stores_and_says_each_time_that_it_was_cut),
		GUARD_TEST(without_a_descriptor_each_leave_after_a_fault_says_enodata),
		GUARD_TEST(what_cannot_be_cut_costs_no_system_call),
		GUARD_TEST(a_hole_of_a_full_disk_is_eio_and_costs_one_page),
		GUARD_TEST(a_locked_view_is_locked_again),
		GUARD_TEST(guards_of_one_view_nest_and_each_is_told),
		GUARD_TEST(guards_of_different_views_nest_and_only_the_cut_one_is_told),
		GUARD_TEST(a_fault_of_one_thread_is_told_to_all_in_the_view),
		GUARD_TEST(who_enters_while_zeroes_lie_there_is_told),
		GUARD_TEST(no_zero_is_ever_read_that_leave_does_not_tell_of),
		GUARD_TEST(a_call_returns_what_its_function_did),
		GUARD_TEST(a_fault_ends_a_call_in_its_midst),
		GUARD_TEST(a_cut_without_a_fault_spoils_a_call_too),
		GUARD_TEST(guards_inside_of_a_call_end_with_it),
		GUARD_TEST(a_guard_inside_of_a_call_of_its_view_has_zeroes),
		GUARD_TEST(a_guard_works_in_a_signal_handler),
		GUARD_TEST(a_child_inherits_its_parents_guards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
