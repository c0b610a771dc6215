/* test_view_window.c - sliding windows over a file: what a pin shows, what stays mapped, what the
 * budget allows (window.c). */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "fixture.h"
#include "view/view.h"
#include <comap/window.h>

#define PAGE cm_os_page_size()
#define PAGES 64u

/* The byte at off: no two pages are alike. */
static unsigned char byte_at(uint64_t off)
{
	return (unsigned char)((off * 0x9e3779b97f4a7c15ull) >> 56);
}

static void fill_file(int fd, uint64_t off, size_t n)
{
	unsigned char *bytes = malloc(n + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(off + i);
	assert_true(pwrite(fd, bytes, n, (off_t)off) == (ssize_t)n);
	free(bytes);
}

/* A file of n such bytes, without a name. */
static int file_of(size_t n)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	fill_file(fd, 0, n);
	return fd;
}

static comap_windows *windows_of(int fd, size_t window, size_t budget)
{
	comap_windows *windows;

	if (comap_windows_open(fd, window, budget, &windows) < 0)
		fail_msg("%s", comap_view_reason());
	return windows;
}

static struct comap_pin pin(comap_windows *windows, uint64_t off, size_t size)
{
	struct comap_pin pinned;

	if (comap_windows_pin(windows, off, size, &pinned) < 0)
		fail_msg("%s", comap_view_reason());
	assert_non_null(pinned.bytes.data);
	assert_int_equal(pinned.bytes.size, size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(((const unsigned char *)pinned.bytes.data)[i], byte_at(off + i));
	return pinned;
}

static void look(comap_windows *windows, uint64_t off, size_t size)
{
	struct comap_pin pinned = pin(windows, off, size);

	comap_windows_unpin(windows, &pinned);
}

static int try_pin(comap_windows *windows, uint64_t off, size_t size)
{
	struct comap_pin pinned;
	int err = comap_windows_pin(windows, off, size, &pinned);

	if (err == 0)
		comap_windows_unpin(windows, &pinned);
	return err;
}

static void assert_mapped(comap_windows *windows, size_t n, size_t bytes)
{
	size_t have_n, have_bytes;

	comap_windows_mapped(windows, &have_n, &have_bytes);
	assert_int_equal(have_n, n);
	assert_int_equal(have_bytes, bytes);
}

/* ---- what a pin shows --------------------------------------------------------------------- */

static void a_pin_shows_the_files_bytes_at_any_offset(void **state)
{
	size_t page = PAGE, n = PAGES * page - 123;
	size_t budgets[] = { 2 * page, 4 * page, 32 * page, 0 }, windows_[] = { 1, 2 * page, 4 * page, 0 };
	uint64_t seed = 1;
	int fd = file_of(n);

	(void)state;
	for (unsigned b = 0; b < 4; b++)
		for (unsigned w = 0; w < 4; w++) {
			comap_windows *windows = windows_of(fd, windows_[w], budgets[b]);

			for (int i = 0; i < 300; i++) {
				uint64_t off = fx_random(&seed) % n;
				size_t size = (size_t)(fx_random(&seed) % (page + 2));

				look(windows, off, cm_min(size, n - off));
			}
			look(windows, 0, 1);
			look(windows, n - 1, 1);
			look(windows, page - 1, 2);
			comap_windows_close(windows);
		}
	close(fd);
}

static void half_a_window_fits_in_one_wherever_it_begins(void **state)
{
	size_t window = 8 * PAGE;
	int fd = file_of(PAGES * PAGE);
	comap_windows *windows = windows_of(fd, window, window); /* no room for a second one */

	(void)state;
	for (uint64_t off = 0; off + window / 2 <= PAGES * PAGE; off += PAGE / 2 - 1) {
		look(windows, off, window / 2);
		assert_mapped(windows, 1, window);
	}
	comap_windows_close(windows);
	close(fd);
}

static void neighbours_share_a_window(void **state)
{
	int fd = file_of(PAGES * PAGE);
	comap_windows *windows = windows_of(fd, 8 * PAGE, 32 * PAGE);
	struct comap_pin a = pin(windows, 100, 1000), b = pin(windows, 3 * PAGE, 100);

	(void)state;
	assert_ptr_equal(a.window, b.window);
	assert_true((const char *)b.bytes.data - (const char *)a.bytes.data == (ptrdiff_t)(3 * PAGE - 100));
	assert_mapped(windows, 1, 8 * PAGE);
	comap_windows_unpin(windows, &a);
	comap_windows_unpin(windows, &b);
	/* also when it was mapped for the later one: it begins at a multiple of half a window */
	a = pin(windows, 22 * PAGE, 4 * PAGE);
	b = pin(windows, 20 * PAGE, 1);
	assert_ptr_equal(a.window, b.window);
	assert_mapped(windows, 2, 16 * PAGE);
	comap_windows_unpin(windows, &a);
	comap_windows_unpin(windows, &b);
	comap_windows_close(windows);
	close(fd);
}

static void a_larger_range_gets_a_window_of_its_own_size(void **state)
{
	int fd = file_of(PAGES * PAGE);
	comap_windows *windows = windows_of(fd, 4 * PAGE, 40 * PAGE);

	(void)state;
	look(windows, PAGE + 1, 20 * PAGE);
	assert_mapped(windows, 1, 21 * PAGE);
	look(windows, 5 * PAGE, 16 * PAGE + 1); /* lies in it */
	assert_mapped(windows, 1, 21 * PAGE);
	look(windows, 30 * PAGE, 4 * PAGE); /* a window, at its offset */
	assert_mapped(windows, 2, 25 * PAGE);
	look(windows, 41 * PAGE, 4 * PAGE); /* no multiple of half a window */
	assert_mapped(windows, 3, 29 * PAGE);
	comap_windows_close(windows);
	close(fd);
}

static void a_pin_of_nothing_needs_no_window(void **state)
{
	int fd = file_of(0);
	comap_windows *windows = windows_of(fd, 0, 0);
	struct comap_pin none;

	(void)state;
	none = pin(windows, 0, 0);
	comap_windows_unpin(windows, &none);
	comap_windows_unpin(windows, &none);
	none = (struct comap_pin){ 0 };
	comap_windows_unpin(windows, &none);
	assert_int_equal(try_pin(windows, 0, 1), -ERANGE);
	assert_int_equal(try_pin(windows, 1, 0), -ERANGE);
	fill_file(fd, 0, 10);
	look(windows, 0, 10);
	look(windows, 10, 0);
	assert_mapped(windows, 1, PAGE); /* never more than the file has */
	comap_windows_close(windows);
	close(fd);
}

static void a_range_past_the_end_is_refused(void **state)
{
	size_t n = 5 * PAGE + 7;
	int fd = file_of(n);
	comap_windows *windows = windows_of(fd, 0, 0);
	struct comap_pin untouched = { .window = windows };

	(void)state;
	look(windows, n - 7, 7);
	assert_int_equal(comap_windows_pin(windows, n - 7, 8, &untouched), -ERANGE);
	assert_non_null(strstr(comap_view_reason(), "pin"));
	assert_ptr_equal(untouched.window, windows);
	assert_int_equal(try_pin(windows, n, 1), -ERANGE);
	assert_int_equal(try_pin(windows, n + 1, 0), -ERANGE);
	assert_int_equal(try_pin(windows, UINT64_MAX, 2), -ERANGE);
	assert_int_equal(try_pin(windows, 1, SIZE_MAX), -ERANGE);
	assert_int_equal(try_pin(windows, UINT64_MAX, SIZE_MAX), -ERANGE);
	comap_windows_close(windows);
	close(fd);
}

static int cut_child(void *arg)
{
	KIN_CHECK(ftruncate(*(int *)arg, (off_t)PAGE) == 0);
	return 0;
}

static void a_file_that_changes_its_size_is_seen_as_it_is_now(void **state)
{
	int fd = file_of(4 * PAGE);
	comap_windows *windows = windows_of(fd, 0, 0);

	(void)state;
	look(windows, 3 * PAGE, PAGE);
	assert_int_equal(kin_run(cut_child, &fd), 0);
	/* a window lies there still */
	assert_int_equal(try_pin(windows, 3 * PAGE, 1), -ERANGE);
	assert_int_equal(try_pin(windows, PAGE, 1), -ERANGE);
	look(windows, 0, PAGE);
	fill_file(fd, PAGE, 9 * PAGE);
	look(windows, 0, 4 * PAGE);
	assert_mapped(windows, 1, 4 * PAGE);
	look(windows, 0, 10 * PAGE);
	assert_mapped(windows, 2, 14 * PAGE);
	comap_windows_close(windows);
	close(fd);
}

static void a_file_larger_than_its_windows_is_seen_at_its_far_end(void **state)
{
	uint64_t far = (uint64_t)5 << 40;
	comap_windows *windows;
	int fd = -1;

	(void)state;
	assert_int_equal(cm_os_memfd(&fd), 0); /* sparse: it takes no storage */
	assert_int_equal(ftruncate(fd, (off_t)(far + PAGE)), 0);
	fill_file(fd, far, PAGE);
	fill_file(fd, 0, PAGE);
	windows = windows_of(fd, 2 * PAGE, 0);
	look(windows, far + 1, PAGE - 1);
	look(windows, 0, PAGE);
	assert_mapped(windows, 2, 3 * PAGE);
	comap_windows_close(windows);
	close(fd);
}

static void a_frozen_memfd_has_windows(void **state)
{
	comap_windows *windows;
	comap_view *view;

	(void)state;
	assert_int_equal(comap_view_open_memfd("frozen", 3 * PAGE, &view), 0);
	for (size_t i = 0; i < 3 * PAGE; i++)
		((unsigned char *)comap_view_writable(view))[i] = byte_at(i);
	assert_int_equal(comap_view_seal(view, true), 0);
	windows = windows_of(comap_view_fd(view), 0, 0);
	comap_view_close(view); /* the descriptor was duplicated */
	look(windows, 1, 3 * PAGE - 2);
	comap_windows_close(windows);
}

/* ---- what stays mapped --------------------------------------------------------------- */

/* Is there a mapping of the file that begins at this offset? */
static bool has_window_at(int fd, uint64_t off)
{
	FILE *file = fopen("/proc/self/maps", "re");
	unsigned long long at, inode;
	struct stat st;
	char line[4352];
	bool has = false;

	assert_non_null(file);
	assert_int_equal(fstat(fd, &st), 0);
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "%*s %*s %llx %*s %llu", &at, &inode) == 2 && inode == st.st_ino)
			has = has || at == off;
	fclose(file);
	return has;
}

static void the_window_used_longest_ago_goes_first(void **state)
{
	int fd = file_of(PAGES * PAGE);
	comap_windows *windows = windows_of(fd, 2 * PAGE, 6 * PAGE);

	(void)state;
	look(windows, 0, 10);
	look(windows, 10 * PAGE, 10);
	look(windows, 20 * PAGE, 10);
	assert_mapped(windows, 3, 6 * PAGE); /* unpinned, and kept */
	look(windows, 0, 10);		     /* now the one at 10 pages is the oldest */
	look(windows, 30 * PAGE, 10);
	assert_mapped(windows, 3, 6 * PAGE);
	assert_false(has_window_at(fd, 10 * PAGE));
	assert_true(has_window_at(fd, 0) && has_window_at(fd, 20 * PAGE) && has_window_at(fd, 30 * PAGE));
	comap_windows_close(windows);
	close(fd);
}

static void pins_keep_their_windows_however_old(void **state)
{
	int fd = file_of(PAGES * PAGE);
	comap_windows *windows = windows_of(fd, 2 * PAGE, 6 * PAGE);
	struct comap_pin old = pin(windows, 0, 10), twice = pin(windows, 20, 10);

	(void)state;
	for (unsigned i = 4; i < PAGES; i += 4) {
		look(windows, i * PAGE, 10);
		assert_true(has_window_at(fd, 0) && has_window_at(fd, i * PAGE));
		assert_true(i <= 8 || !has_window_at(fd, (i - 8) * PAGE));
	}
	comap_windows_unpin(windows, &old);
	look(windows, 10 * PAGE, 10);
	look(windows, 20 * PAGE, 10);
	look(windows, 30 * PAGE, 10);
	assert_true(has_window_at(fd, 0)); /* still pinned once */
	comap_windows_unpin(windows, &twice);
	look(windows, 40 * PAGE, 10);
	assert_false(has_window_at(fd, 0));
	assert_true(has_window_at(fd, 20 * PAGE) && has_window_at(fd, 30 * PAGE));
	comap_windows_close(windows);
	assert_false(has_window_at(fd, 20 * PAGE));
	close(fd);
}

static void what_does_not_fit_beside_the_pins_is_enobufs_and_costs_nothing(void **state)
{
	int fd = file_of(PAGES * PAGE);
	comap_windows *windows = windows_of(fd, 2 * PAGE, 8 * PAGE);
	struct comap_pin a = pin(windows, 0, 10), b = pin(windows, 10 * PAGE, 10);

	(void)state;
	look(windows, 20 * PAGE, 10);
	assert_mapped(windows, 3, 6 * PAGE);
	assert_int_equal(try_pin(windows, 30 * PAGE, 4 * PAGE + 1), -ENOBUFS);
	assert_mapped(windows, 3, 6 * PAGE); /* the idle one was not given up for it */
	assert_int_equal(try_pin(windows, 30 * PAGE, 9 * PAGE), -ENOBUFS);
	assert_int_equal(try_pin(windows, 30 * PAGE, 4 * PAGE), 0);
	assert_mapped(windows, 3, 8 * PAGE);
	comap_windows_unpin(windows, &a);
	assert_int_equal(try_pin(windows, 40 * PAGE, 6 * PAGE), 0);
	assert_mapped(windows, 2, 8 * PAGE);
	comap_windows_unpin(windows, &b);
	assert_int_equal(try_pin(windows, 50 * PAGE, 8 * PAGE), 0);
	assert_mapped(windows, 1, 8 * PAGE);
	comap_windows_close(windows);
	close(fd);
}

static void a_budget_of_two_pages_is_enough(void **state)
{
	int fd = file_of(PAGES * PAGE);
	comap_windows *windows = windows_of(fd, 1, 1);
	struct comap_pin a;

	(void)state;
	for (unsigned i = 0; i + 1 < PAGES; i++) {
		a = pin(windows, i * PAGE + PAGE - 1, 2); /* across two pages */
		assert_mapped(windows, 1, 2 * PAGE);
		assert_int_equal(try_pin(windows, (i + 7) % PAGES * PAGE, 1), -ENOBUFS);
		comap_windows_unpin(windows, &a);
	}
	comap_windows_close(windows);
	close(fd);
}

/* ---- opening ------------------------------------------------------------------------- */

static void what_cannot_be_mapped_is_refused(void **state)
{
	comap_windows *windows = NULL;
	int fds[2], fd;

	(void)state;
	assert_int_equal(comap_windows_open(-1, 0, 0, &windows), -EBADF);
	assert_int_equal(comap_windows_open(1 << 20, 0, 0, &windows), -EBADF);
	assert_non_null(strstr(comap_view_reason(), "open windows"));
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(comap_windows_open(fds[0], 0, 0, &windows), -ENODEV);
	close(fds[0]);
	close(fds[1]);
	fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(comap_windows_open(fd, 0, 0, &windows), -ENODEV);
	close(fd);
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	assert_int_equal(comap_windows_open(fd, 0, 0, &windows), -ENODEV);
	close(fd);
	fd = open("/tmp", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(comap_windows_open(fd, 0, 0, &windows), -EACCES);
	close(fd);
	fd = file_of(10);
	assert_int_equal(comap_windows_open(fd, SIZE_MAX, 0, &windows), -EOVERFLOW);
	assert_int_equal(comap_windows_open(fd, PTRDIFF_MAX, 0, &windows), -EOVERFLOW);
	assert_null(windows);
	windows = windows_of(fd, PTRDIFF_MAX - 4 * PAGE, SIZE_MAX);
	look(windows, 1, 9);
	comap_windows_close(windows);
	windows = windows_of(fd, PTRDIFF_MAX - 4 * PAGE, 0);
	look(windows, 1, 9);
	errno = EDOM;
	comap_windows_close(windows);
	comap_windows_close(NULL);
	assert_int_equal(errno, EDOM);
	close(fd);
}

static int no_fd_child(void *arg)
{
	comap_windows *windows;
	struct rlimit few;

	KIN_CHECK(getrlimit(RLIMIT_NOFILE, &few) == 0);
	few.rlim_cur = 64;
	KIN_CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
	while (dup(*(int *)arg) >= 0)
		;
	KIN_CHECK(comap_windows_open(*(int *)arg, 0, 0, &windows) == -EMFILE);
	return 0;
}

/* Address space for two windows of the four that the budget would allow. */
static int narrow_child(void *arg)
{
	size_t window = 64 * CM_MIB, vm = 0, n, bytes;
	comap_windows *windows;
	struct comap_pin a, b;
	struct rlimit limit;
	FILE *file = fopen("/proc/self/statm", "re");

	KIN_CHECK(file && fscanf(file, "%zu", &vm) == 1);
	fclose(file);
	KIN_CHECK(comap_windows_open(*(int *)arg, window, 4 * window, &windows) == 0);
	limit.rlim_cur = limit.rlim_max = vm * PAGE + 2 * window + window / 2;
	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	for (unsigned i = 0; i < 4; i++) {
		KIN_CHECK(comap_windows_pin(windows, i * window, 1, &a) == 0);
		comap_windows_unpin(windows, &a);
	}
	comap_windows_mapped(windows, &n, &bytes);
	KIN_CHECK(n == 2 && bytes == 2 * window);
	KIN_CHECK(comap_windows_pin(windows, 0, 1, &a) == 0);
	KIN_CHECK(comap_windows_pin(windows, window, 1, &b) == 0);
	KIN_CHECK(comap_windows_pin(windows, 2 * window, 1, &b) == -ENOMEM);
	comap_windows_close(windows);
	return 0;
}

static void what_the_kernel_refuses_is_told(void **state)
{
	int fd = file_of(10);

	(void)state;
	assert_int_equal(kin_run(no_fd_child, &fd), 0);
	close(fd);
	if (FX_IS_SANITIZED || kin_is_valgrind()) /* have no address space to limit */
		skip();
	assert_int_equal(cm_os_memfd(&fd), 0);
	assert_int_equal(ftruncate(fd, 1 << 30), 0);
	assert_int_equal(kin_run(narrow_child, &fd), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_pin_shows_the_files_bytes_at_any_offset),
		KIN_TEST(half_a_window_fits_in_one_wherever_it_begins),
		KIN_TEST(neighbours_share_a_window),
		KIN_TEST(a_larger_range_gets_a_window_of_its_own_size),
		KIN_TEST(a_pin_of_nothing_needs_no_window),
		KIN_TEST(a_range_past_the_end_is_refused),
		KIN_TEST(a_file_that_changes_its_size_is_seen_as_it_is_now),
		KIN_TEST(a_file_larger_than_its_windows_is_seen_at_its_far_end),
		KIN_TEST(a_frozen_memfd_has_windows),
		KIN_TEST(the_window_used_longest_ago_goes_first),
		KIN_TEST(pins_keep_their_windows_however_old),
		KIN_TEST(what_does_not_fit_beside_the_pins_is_enobufs_and_costs_nothing),
		KIN_TEST(a_budget_of_two_pages_is_enough),
		KIN_TEST(what_cannot_be_mapped_is_refused),
		KIN_TEST(what_the_kernel_refuses_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
