/* test_view_shared.c - shared views beside others who change the file, and what is locked (size.c,
 * change.c, filemap.c). */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "fixture.h"
#include "view/view.h"

#define PAGE 4096u

static comap_view *shared(const char *path, uint64_t length, uint64_t reserve, uint32_t flags)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	o.mode = COMAP_VIEW_SHARED;
	o.flags = COMAP_VIEW_CREATE | flags;
	o.length = length;
	o.reserve = reserve;
	if (comap_view_open(path, &o, &view) < 0)
		fail_msg("%s", comap_view_reason());
	return view;
}

static uint64_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

/* ---- sizes ----------------------------------------------------------------------------- */

/* Who asked for the size before others made the file longer must not make it shorter. */
static void growing_a_file_never_cuts_it(void **state)
{
	const char *path = fx_path(fx_folder, "f");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	(void)state;
	assert_int_equal(cm_os_extend(fd, 100), 0);
	assert_int_equal(size_of(path), 100);
	assert_int_equal(cm_os_extend(fd, 50), 0);
	assert_int_equal(size_of(path), 100);
	assert_int_equal(cm_os_extend(fd, UINT64_C(1) << 62), -ENOSPC);
	assert_int_equal(cm_os_extend(fd, UINT64_MAX), -ENOSPC);
	assert_int_equal(size_of(path), 100);
	close(fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(cm_os_extend(fd, 200), -EBADF);
	close(fd);
}

struct opener {
	const char *path;
	uint64_t length;
	_Atomic uint32_t *round;
};

static int open_and_store(void *arg)
{
	struct opener *o = arg;

	for (uint32_t i = 1; i <= 200; i++) {
		char name[4096];
		comap_view *view;

		kin_await(o->round, i);
		snprintf(name, sizeof name, "%s%u", o->path, i);
		view = shared(name, o->length, 0, 0);
		((volatile char *)comap_view_writable(view))[o->length - 1] = 1; /* SIGBUS, were it cut */
		comap_view_close(view);
	}
	return 0;
}

static void two_who_make_a_file_both_have_their_length(void **state)
{
	_Atomic uint32_t *round = kin_page();
	struct opener large = { fx_path(fx_folder, "f"), 1 << 20, round };
	pid_t child = kin_spawn(open_and_store, &large);

	(void)state;
	for (uint32_t i = 1; i <= 200; i++) {
		char name[4096];

		snprintf(name, sizeof name, "%s%u", large.path, i);
		kin_raise(round, i);
		comap_view_close(shared(name, 64 * 1024, 0, 0));
	}
	assert_int_equal(kin_wait(child), 0);
	kin_page_drop((void *)round);
}

static void a_view_with_advice_for_a_part_may_move(void **state)
{
	comap_view *view = shared(fx_path(fx_folder, "f"), 4 * PAGE, 0, 0);
	char *wall = (char *)comap_view_writable(view) + 4 * PAGE;

	(void)state;
	fx_fill(comap_view_writable(view), 4 * PAGE, 9);
	wall = mmap(wall, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	assert_int_equal(comap_view_advise(view, PAGE, PAGE, COMAP_ADVISE_RANDOM), 0);
	assert_int_equal(comap_view_resize(view, 100 * PAGE, 0), -EFBIG);
	assert_int_equal(comap_view_resize(view, 100 * PAGE, COMAP_RESIZE_MAY_MOVE), 0);
	assert_true(fx_is_filled(comap_view_bytes(view).data, 4 * PAGE, 9));
	((char *)comap_view_writable(view))[100 * PAGE - 1] = 1;
	comap_view_close(view);
	if (wall != MAP_FAILED)
		munmap(wall, PAGE);
}

static void a_view_that_moves_begins_in_the_midst_of_its_page_again(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	const char *path = fx_path(fx_folder, "f");
	comap_view *view;

	(void)state;
	comap_view_close(shared(path, 10, 0, 0));
	o.mode = COMAP_VIEW_SHARED;
	o.offset = 10;
	o.length = 1000;
	assert_int_equal(comap_view_open(path, &o, &view), 0);
	fx_fill(comap_view_writable(view), 1000, 9);
	assert_int_equal(comap_view_resize(view, 100 * PAGE, COMAP_RESIZE_MAY_MOVE), 0);
	assert_true(fx_is_filled(comap_view_bytes(view).data, 1000, 9));
	assert_true(fx_is_zero((const char *)comap_view_bytes(view).data + 1000, 99 * PAGE));
	comap_view_close(view);
}

static void without_address_space_a_view_stays_as_it_was(void **state)
{
	const char *path = fx_path(fx_folder, "f");
	struct rlimit limit, none;
	comap_view *view;
	int err;

	(void)state;
	if (FX_IS_SANITIZED || kin_is_valgrind())
		skip();
	view = shared(path, 4 * PAGE, 0, 0);
	fx_fill(comap_view_writable(view), 4 * PAGE, 9);
	assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
	none = limit;
	none.rlim_cur = PAGE;
	assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
	err = comap_view_resize(view, 100 * PAGE, COMAP_RESIZE_MAY_MOVE);
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	assert_int_equal(err, -ENOMEM);
	assert_int_equal(size_of(path), 4 * PAGE);
	assert_int_equal(view->memory->span, 4 * PAGE); /* close must not unmap a neighbour */
	assert_true(fx_is_filled(comap_view_bytes(view).data, 4 * PAGE, 9));
	comap_view_close(view);
}

/* A part of a mapping of hugetlbfs cannot be unmapped: it goes whole. */
static void a_mapping_of_huge_pages_goes(void **state)
{
	unsigned char in;
	char *at = mmap(NULL, 2 << 20, PROT_READ,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_HUGETLB |
				21 << 26 /* MAP_HUGE_2MB */, -1, 0);

	(void)state;
	if (at == MAP_FAILED)
		skip();
	cm_os_unmap_part(at, 3 * PAGE);
	assert_true(mincore(at, PAGE, &in) < 0 && errno == ENOMEM);
}

/* ---- flushing ---------------------------------------------------------------------------- */

static void a_flush_that_had_no_descriptor_may_be_tried_again(void **state)
{
	comap_view *view = shared(fx_path(fx_folder, "f"), PAGE, 0, 0);
	struct rlimit limit, none;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)comap_view_fd(view); /* it is the highest that is open */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(view->memory->is_made); /* its name is still to reach the disk */
	assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DATA), 0);
	assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE), 0);
	assert_false(view->memory->is_made);
	comap_view_close(view);
}

static int make_and_leave(void *arg)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	uint32_t changes = 99;
	comap_view *view;

	(void)arg;
	KIN_CHECK(chdir(fx_folder) == 0);
	o.mode = COMAP_VIEW_SHARED;
	o.flags = COMAP_VIEW_CREATE;
	o.length = PAGE;
	KIN_CHECK(comap_view_open("made", &o, &view) == 0);
	KIN_CHECK(chdir("/") == 0);
	KIN_CHECK(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE) == 0);
	KIN_CHECK(comap_view_changed(view, &changes) == 0 && !(changes & COMAP_CHANGED_NAME));
	comap_view_close(view);
	return 0;
}

static void a_relative_name_stays_one_of_the_directory_it_was_made_in(void **state)
{
	(void)state;
	assert_int_equal(kin_run(make_and_leave, NULL), 0);
}

/* ---- locks --------------------------------------------------------------------------------- */

static void what_is_locked_stays_locked_and_nothing_else(void **state)
{
	static char given[8 * PAGE];
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view = shared(fx_path(fx_folder, "f"), 4 * PAGE, 64 * PAGE, COMAP_VIEW_LOCK);
	long before = fx_locked_kib();

	(void)state;
	if (before == 0) /* sanitizers and valgrind let no one lock */
		comap_view_close(view), skip();
	assert_int_equal(comap_view_resize(view, 32 * PAGE, 0), 0);
	assert_true(fx_locked_kib() >= before + 28 * 4);
	assert_int_equal(comap_view_advise(view, 0, PAGE, COMAP_ADVISE_UNLOCK), 0);
	assert_int_equal(view->memory->is_locked, true); /* the rest of it is */
	assert_int_equal(comap_view_advise(view, 0, 0, COMAP_ADVISE_UNLOCK), 0);
	assert_int_equal(view->memory->is_locked, false);
	comap_view_close(view);
	/* a copy, whose pages are kept for others */
	before = fx_locked_kib();
	o.how = COMAP_VIEW_COPY;
	o.flags = COMAP_VIEW_LOCK;
	assert_int_equal(comap_view_open(fx_path(fx_folder, "f"), &o, &view), 0);
	assert_true(fx_locked_kib() >= before + 128);
	comap_view_close(view);
	assert_int_equal(fx_locked_kib(), before);
	/* memory of the caller's that he locked himself */
	assert_int_equal(mlock(given, sizeof given), 0);
	assert_int_equal(comap_view_open_memory(given, sizeof given, NULL, NULL, &view), 0);
	assert_int_equal(comap_view_advise(view, 0, 0, COMAP_ADVISE_LOCK), 0);
	comap_view_close(view);
	assert_true(fx_locked_kib() >= before + 32);
	munlock(given, sizeof given);
}

static void a_locked_memfd_is_locked_when_it_is_frozen(void **state)
{
	comap_view *view;
	long before;

	(void)state;
	assert_int_equal(comap_view_open_memfd("locked", 8 * PAGE, &view), 0);
	before = fx_locked_kib();
	if (comap_view_advise(view, 0, 0, COMAP_ADVISE_LOCK) < 0 || fx_locked_kib() == 0)
		comap_view_close(view), skip();
	assert_int_equal(fx_locked_kib(), before + 32);
	assert_int_equal(comap_view_seal(view, true), 0);
	assert_int_equal(fx_locked_kib(), before + 32);
	comap_view_close(view);
}

/* ---- seals, and memory that was given ------------------------------------------------ */

static void a_memfd_that_was_cut_before_it_was_sealed_is_not_safe(void **state)
{
	struct comap_view_info info = { .size = sizeof info };
	comap_view *view;
	char byte;

	(void)state;
	assert_int_equal(comap_view_open_memfd("cut", 3 * PAGE, &view), 0);
	assert_int_equal(ftruncate(comap_view_fd(view), PAGE), 0);
	assert_int_equal(comap_view_seal(view, false), 0);
	assert_int_equal(comap_view_get_info(view, &info), 0);
	assert_int_equal(info.is_sealed, 0);
	assert_int_equal(comap_view_read(view, 0, &byte, 1), 0);
	assert_int_equal(comap_view_read(view, 2 * PAGE, &byte, 1), -ENODATA); /* no signal */
	comap_view_close(view);
}

static void a_memfd_that_others_write_to_is_not_frozen_and_stays_writable(void **state)
{
	comap_view *view;
	char *other;

	(void)state;
	assert_int_equal(comap_view_open_memfd("written", 3 * PAGE, &view), 0);
	other = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, comap_view_fd(view), 0);
	assert_ptr_not_equal(other, MAP_FAILED);
	assert_int_equal(comap_view_seal(view, true), -EBUSY);
	assert_non_null(comap_view_writable(view));
	strcpy(comap_view_writable(view), "still");
	assert_string_equal(other, "still");
	munmap(other, PAGE);
	assert_int_equal(comap_view_seal(view, true), 0);
	comap_view_close(view);
}

static void a_memfd_with_a_reserve_is_not_sealed(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view, *growing;

	(void)state;
	assert_int_equal(comap_view_open_memfd("growing", PAGE, &view), 0);
	o.mode = COMAP_VIEW_SHARED;
	o.reserve = 4 * PAGE;
	assert_int_equal(comap_view_open_fd(comap_view_fd(view), &o, &growing), 0);
	comap_view_close(view);
	assert_int_equal(comap_view_seal(growing, false), -EINVAL);
	assert_int_equal(comap_view_seal(growing, true), -EINVAL);
	assert_int_equal(comap_view_resize(growing, 4 * PAGE, 0), 0);
	comap_view_close(growing);
}

static void a_seal_against_writers_to_come_leaves_this_one(void **state)
{
	char byte = 'x';
	comap_view *view;

	(void)state;
	assert_int_equal(comap_view_open_memfd("future", 3 * PAGE, &view), 0);
	if (fcntl(comap_view_fd(view), F_ADD_SEALS, 0x0010 /* F_SEAL_FUTURE_WRITE */) < 0)
		comap_view_close(view), skip();
	assert_int_equal(comap_view_write(view, PAGE, &byte, 1), 0);
	assert_int_equal(((const char *)comap_view_bytes(view).data)[PAGE], 'x');
	comap_view_close(view);
}

static const void *released = "not yet";

static void release(void *data, void *arg)
{
	(void)arg;
	released = data;
}

static void who_gave_no_memory_gets_none_back(void **state)
{
	comap_view *view;

	(void)state;
	assert_int_equal(comap_view_open_memory(NULL, 0, release, NULL, &view), 0);
	assert_non_null(comap_view_bytes(view).data);
	comap_view_close(view);
	assert_null(released);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(growing_a_file_never_cuts_it),
		FX_FOLDER_TEST(two_who_make_a_file_both_have_their_length),
		FX_FOLDER_TEST(a_view_with_advice_for_a_part_may_move),
		FX_FOLDER_TEST(a_view_that_moves_begins_in_the_midst_of_its_page_again),
		FX_FOLDER_TEST(without_address_space_a_view_stays_as_it_was),
		FX_FOLDER_TEST(a_mapping_of_huge_pages_goes),
		FX_FOLDER_TEST(a_flush_that_had_no_descriptor_may_be_tried_again),
		FX_FOLDER_TEST(a_relative_name_stays_one_of_the_directory_it_was_made_in),
		FX_FOLDER_TEST(what_is_locked_stays_locked_and_nothing_else),
		FX_FOLDER_TEST(a_locked_memfd_is_locked_when_it_is_frozen),
		FX_FOLDER_TEST(a_memfd_that_was_cut_before_it_was_sealed_is_not_safe),
		FX_FOLDER_TEST(a_memfd_that_others_write_to_is_not_frozen_and_stays_writable),
		FX_FOLDER_TEST(a_memfd_with_a_reserve_is_not_sealed),
		FX_FOLDER_TEST(a_seal_against_writers_to_come_leaves_this_one),
		FX_FOLDER_TEST(who_gave_no_memory_gets_none_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
