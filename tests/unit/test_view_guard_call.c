/* test_view_guard_call.c - guards that end a call in its midst, in signal handlers and after fork
 * (guard.c). */
#include <pthread.h>
#include "guard_fixture.h"

/* ---- calls --------------------------------------------------------------------------- */

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

/* ---- handlers of other signals, and fork --------------------------------------------- */

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
