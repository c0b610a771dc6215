/* test_view_guard_many.c - several guards at once: nested, and of several threads (guard.c). */
#include <pthread.h>
#include <sched.h>
#include "guard_fixture.h"

/* ---- several guards ------------------------------------------------------------------ */

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

/* ---- many threads, and a file that is cut and written again all the time ------------- */

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

		/* whole pages: what is cut inside of one, and written again before leave, nobody
		 * can see */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		GUARD_TEST(guards_of_one_view_nest_and_each_is_told),
		GUARD_TEST(guards_of_different_views_nest_and_only_the_cut_one_is_told),
		GUARD_TEST(a_fault_of_one_thread_is_told_to_all_in_the_view),
		GUARD_TEST(who_enters_while_zeroes_lie_there_is_told),
		GUARD_TEST(no_zero_is_ever_read_that_leave_does_not_tell_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
