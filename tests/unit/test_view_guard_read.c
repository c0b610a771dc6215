/* test_view_guard_read.c - comap_view_read inside a guard: now and then a load, never a signal
 * (access.c). */
#include "guard_fixture.h"

#define FEW 4u /* looks that are asked of the kernel, of a file of FEW times 64 KiB */
#define SIZE (FEW * CM_LOOK_SPAN)

static uint64_t looks(const comap_view *view)
{
	return view->memory->looks;
}

static comap_view *read_view(uint32_t mode, uint32_t flags, uint64_t expect)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	fill_file("f", SIZE);
	o.mode = mode;
	o.flags = flags;
	o.how = COMAP_VIEW_MAP;
	o.expect = expect;
	assert_int_equal(comap_view_open(fx_path(dir, "f"), &o, &view), 0);
	return view;
}

static int read_at(const comap_view *view, uint64_t off, unsigned char *ret)
{
	*ret = 99;
	return comap_view_read(view, off, ret, 1);
}

/* So that the next look is a load, in a guard. */
static void look_often(const comap_view *view)
{
	unsigned char byte;

	while (looks(view) < FEW) {
		assert_int_equal(read_at(view, 5, &byte), 0);
		assert_int_equal(byte, 7);
	}
}

static void few_looks_ask_the_kernel_and_many_do_not(void **state)
{
	comap_view *view = read_view(COMAP_VIEW_READ, 0, 0);
	unsigned char bytes[100], sevens[100];
	comap_guard guard;

	(void)state;
	memset(sevens, 7, sizeof sevens);
	comap_guard_enter(&guard, view);
	for (unsigned i = 0; i < 1000; i++) {
		memset(bytes, 0, sizeof bytes);
		assert_int_equal(comap_view_read(view, i * 131, bytes, sizeof bytes), 0);
		assert_memory_equal(bytes, sevens, sizeof bytes);
		assert_int_equal(looks(view), cm_min(i + 1, FEW));
	}
	assert_int_equal(comap_view_read(view, SIZE - 1, bytes, 2), -ERANGE);
	assert_int_equal(comap_guard_leave(&guard), 0);
	assert_int_equal(read_at(view, 0, bytes), 0);
	assert_int_equal(looks(view), FEW + 1); /* outside it asks again */
	comap_view_close(view);
}

static void who_expects_many_looks_never_asks(void **state)
{
	comap_view *view = read_view(COMAP_VIEW_READ, 0, FEW);
	comap_guard guard;
	unsigned char byte;

	(void)state;
	comap_guard_enter(&guard, view);
	assert_int_equal(read_at(view, SIZE - 1, &byte), 0);
	assert_int_equal(byte, 7);
	assert_int_equal(looks(view), 0);
	assert_int_equal(comap_guard_leave(&guard), 0);
	comap_view_close(view);
	view = read_view(COMAP_VIEW_READ, 0, FEW - 1);
	comap_guard_enter(&guard, view);
	assert_int_equal(read_at(view, SIZE - 1, &byte), 0);
	assert_int_equal(looks(view), 1);
	assert_int_equal(comap_guard_leave(&guard), 0);
	comap_view_close(view);
}

/* Whichever way it reads. */
static void a_cut_is_told_by_the_read_or_by_leave(void **state)
{
	comap_view *view = read_view(COMAP_VIEW_READ, 0, 0);
	comap_guard guard;
	unsigned char byte;

	(void)state;
	comap_guard_enter(&guard, view);
	cut("f", PAGE + 3);
	assert_int_equal(read_at(view, PAGE + 3, &byte), -ENODATA); /* the kernel knows */
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	fill_file("f", SIZE);
	look_often(view);
	comap_guard_enter(&guard, view);
	cut("f", PAGE + 3);
	assert_int_equal(read_at(view, PAGE + 2, &byte), 0);
	assert_int_equal(byte, 7);
	assert_int_equal(read_at(view, PAGE + 3, &byte), 0);
	assert_int_equal(byte, 0); /* silently */
	assert_int_equal(read_at(view, 2 * PAGE, &byte), -ENODATA);
	assert_int_equal(faults(view), UINT64_C(1));
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_view_close(view);
}

static void what_is_there_again_is_read_from_the_file_not_from_zeroes(void **state)
{
	comap_view *view = read_view(COMAP_VIEW_READ, 0, FEW);
	comap_guard guard;
	unsigned char byte;

	(void)state;
	comap_guard_enter(&guard, view);
	cut("f", 0);
	assert_int_equal(at(view, 2 * PAGE), 0); /* from here on zeroes lie there */
	fill_file("f", SIZE);
	assert_int_equal(read_at(view, 3 * PAGE, &byte), 0);
	assert_int_equal(byte, 7);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_view_close(view);
}

static void without_the_handler_or_a_guard_of_the_bytes_it_asks(void **state)
{
	comap_view *view = read_view(COMAP_VIEW_READ, 0, 2 * FEW), *part, *other = part_of("f", 0, 0, 0, 0);
	comap_guard guard, inner;
	unsigned char byte, two[2];

	(void)state;
	assert_int_equal(comap_view_sub(view, PAGE, PAGE, &part), 0);
	comap_guard_enter(&guard, part);
	comap_guard_enter(&inner, other);
	assert_int_equal(read_at(view, 0, &byte), 0);
	assert_int_equal(read_at(view, 2 * PAGE, &byte), 0);
	assert_int_equal(looks(view), 2);
	assert_int_equal(read_at(view, PAGE, &byte), 0);
	assert_int_equal(read_at(view, 2 * PAGE - 1, &byte), 0);
	assert_int_equal(read_at(part, PAGE - 1, &byte), 0);
	assert_int_equal(looks(view), 2);
	assert_int_equal(comap_view_read(view, PAGE - 1, two, 2), 0); /* one of them is guarded */
	assert_int_equal(comap_view_read(view, 2 * PAGE - 1, two, 2), 0);
	assert_int_equal(looks(view), 4);
	assert_int_equal(comap_view_read(view, 2 * PAGE - 2, two, 2), 0);
	assert_int_equal(looks(view), 4);
	cut("f", 0);
	comap_guard_remove();
	assert_int_equal(read_at(view, PAGE, &byte), -ENODATA);
	assert_int_equal(comap_guard_install(), 0);
	assert_int_equal(comap_guard_leave(&inner), -ENODATA);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_view_close(part);
	comap_view_close(other);
	comap_view_close(view);
}

/* The kernel would copy from the mapping, too. */
static void without_a_descriptor_each_look_is_a_load(void **state)
{
	comap_view *view = read_view(COMAP_VIEW_READ, COMAP_VIEW_NO_FD, 0);
	comap_guard guard;
	unsigned char byte;

	(void)state;
	comap_guard_enter(&guard, view);
	assert_int_equal(read_at(view, SIZE - 1, &byte), 0);
	assert_int_equal(byte, 7);
	cut("f", 0);
	assert_int_equal(read_at(view, 2 * PAGE, &byte), -ENODATA);
	assert_int_equal(faults(view), 1);
	assert_int_equal(comap_guard_leave(&guard), -ENODATA);
	comap_view_close(view);
}

static void stores_into_a_private_view_are_what_it_reads(void **state)
{
	static const uint32_t flags[] = { 0, COMAP_VIEW_NO_FD };
	comap_guard guard;
	unsigned char byte;
	comap_view *view;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		view = read_view(COMAP_VIEW_PRIVATE, flags[i], 0);
		((char *)comap_view_writable(view))[PAGE] = 3;
		comap_guard_enter(&guard, view);
		assert_int_equal(read_at(view, PAGE, &byte), 0);
		assert_int_equal(byte, 3);
		cut("f", 2 * PAGE);
		assert_int_equal(read_at(view, PAGE, &byte), 0);
		assert_int_equal(byte, 3);
		assert_int_equal(read_at(view, 3 * PAGE, &byte), -ENODATA);
		assert_int_equal(faults(view), 1);
		assert_int_equal(read_at(view, 3 * PAGE, &byte), -ENODATA); /* zeroes lie there */
		fill_file("f", SIZE); /* and stay */
		assert_int_equal(read_at(view, 3 * PAGE, &byte), -ENODATA);
		assert_int_equal(comap_view_load(view, NULL, NULL), -ENODATA);
		assert_int_equal(comap_guard_leave(&guard), -ENODATA);
		comap_guard_enter(&guard, view);
		assert_int_equal(comap_guard_leave(&guard), -ENODATA); /* not -EIO */
		comap_view_close(view);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		GUARD_TEST(few_looks_ask_the_kernel_and_many_do_not),
		GUARD_TEST(who_expects_many_looks_never_asks),
		GUARD_TEST(a_cut_is_told_by_the_read_or_by_leave),
		GUARD_TEST(what_is_there_again_is_read_from_the_file_not_from_zeroes),
		GUARD_TEST(without_the_handler_or_a_guard_of_the_bytes_it_asks),
		GUARD_TEST(without_a_descriptor_each_look_is_a_load),
		GUARD_TEST(stores_into_a_private_view_are_what_it_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
