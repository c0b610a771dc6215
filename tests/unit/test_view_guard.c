/* test_view_guard.c - scopes in which a file that another process cuts short is an error
 * (guard.c). */
#include <sys/mount.h>
#include "guard_fixture.h"

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

/* ---- not cut, but not there either --------------------------------------------------- */

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

static void a_locked_view_is_locked_again(void **state)
{
	comap_view *view = view_of("f", 4 * PAGE, COMAP_VIEW_READ, COMAP_VIEW_LOCK);
	comap_guard guard;
	long before = fx_locked_kib();

	(void)state;
	if (before == 0) /* sanitizers and valgrind let no one lock */
		comap_view_close(view), skip();
	comap_guard_enter(&guard, view);
	cut("f", PAGE);
	assert_int_equal(at(view, PAGE), 0);
	assert_true(fx_locked_kib() < before);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	assert_int_equal(fx_locked_kib(), before);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
