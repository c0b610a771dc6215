/* test_view_guard_handler.c - SIGBUS is shared with whoever else wants it (guard_handler.c).  Each
 * case is a process of its own, since cmocka takes SIGBUS too. */
#include <fcntl.h>
#include <pthread.h>
#include "fixture.h"
#include "view/guard.h"

#define PAGE cm_os_page_size()

/* A shared mapping of a file of no bytes: each look is a fault. */
static volatile char *lost_page(void)
{
	int fd = -1;
	void *at = MAP_FAILED;

	if (cm_os_memfd(&fd) == 0)
		at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	KIN_CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

/* A view of a file of which nothing is left. */
static comap_view *lost_view(void)
{
	comap_view *view = NULL;

	KIN_CHECK(comap_view_open_memfd("lost", 4 * PAGE, &view) == 0);
	KIN_CHECK(ftruncate(comap_view_fd(view), 0) == 0);
	return view;
}

static volatile char sink; /* valgrind leaves out loads that nobody uses */

static char look(comap_view *view)
{
	return sink = *(const volatile char *)comap_view_bytes(view).data;
}

static int guarded_look(comap_view *view)
{
	comap_guard guard;

	comap_guard_enter(&guard, view);
	KIN_CHECK(look(view) == 0);
	return comap_guard_leave(&guard);
}

/* ---- somebody else's handlers -------------------------------------------------------------- */

static volatile struct {
	unsigned n, n_other;
	int sig, code, err;
	void *at;
	int is_siginfo, blocks_bus, blocks_usr1, is_on_alternate;
} seen;
static struct sigaction chained;
static char *alternate;

static void note(int sig, const siginfo_t *info)
{
	sigset_t mask;
	char *here = __builtin_frame_address(0); /* a local may lie on a stack of the sanitizer's */

	seen.n++;
	seen.sig = sig;
	seen.err = errno;
	seen.is_siginfo = info != NULL;
	seen.code = info ? info->si_code : 0;
	seen.at = info ? info->si_addr : NULL;
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	seen.blocks_bus = sigismember(&mask, SIGBUS);
	seen.blocks_usr1 = sigismember(&mask, SIGUSR1);
	seen.is_on_alternate = alternate && here > alternate && here < alternate + (1 << 16);
	errno = ENOTTY;
	/* mend the fault, or it would come again */
	if (info && info->si_code > 0)
		mmap((void *)((uintptr_t)info->si_addr & ~(PAGE - 1)), PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void with_siginfo(int sig, siginfo_t *info, void *context)
{
	KIN_CHECK(context != NULL);
	note(sig, info);
}

static void *plain_at;
static void plain(int sig)
{
	note(sig, NULL);
	mmap(plain_at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Comes on top of us, and passes everything on. */
static void passing(int sig, siginfo_t *info, void *context)
{
	seen.n_other++;
	KIN_CHECK(seen.n_other < 100); /* it goes round in a circle */
	if (chained.sa_flags & SA_SIGINFO)
		chained.sa_sigaction(sig, info, context);
	else if (chained.sa_handler == SIG_DFL)
		_exit(42);
	else
		chained.sa_handler(sig);
}

static void take(void (*handler)(int, siginfo_t *, void *), int flags, struct sigaction *ret_old)
{
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	sigaddset(&action.sa_mask, SIGUSR1);
	KIN_CHECK(sigaction(SIGBUS, &action, ret_old) == 0);
}

static void *now_handling(void)
{
	struct sigaction now;

	KIN_CHECK(sigaction(SIGBUS, NULL, &now) == 0);
	return (void *)(uintptr_t)now.sa_sigaction;
}

/* ---- what is not ours ---------------------------------------------------------------- */

static int default_child(void *arg)
{
	(void)arg;
	KIN_CHECK(comap_guard_install() == 0);
	return *lost_page();
}

static int ignored_child(void *arg)
{
	signal(SIGBUS, SIG_IGN);
	return default_child(arg);
}

static int killed_child(void *arg)
{
	comap_view *view = lost_view();
	comap_guard guard;

	(void)arg;
	KIN_CHECK(comap_guard_install() == 0);
	comap_guard_enter(&guard, view);
	kill(getpid(), SIGBUS);
	return 3;
}

static int killed_and_ignored_child(void *arg)
{
	signal(SIGBUS, SIG_IGN);
	return killed_child(arg);
}

static void *look_unguarded(void *arg)
{
	look(arg);
	return NULL;
}

static int other_thread_child(void *arg)
{
	comap_view *view = lost_view();
	comap_guard guard;
	pthread_t thread;

	(void)arg;
	KIN_CHECK(comap_guard_install() == 0);
	comap_guard_enter(&guard, view);
	KIN_CHECK(pthread_create(&thread, NULL, look_unguarded, view) == 0);
	pthread_join(thread, NULL);
	return 3;
}

static int left_child(void *arg)
{
	comap_view *view = lost_view();

	(void)arg;
	KIN_CHECK(comap_guard_install() == 0);
	KIN_CHECK(guarded_look(view) == -ENODATA);
	look(view);
	return 3;
}

static int never_installed_child(void *arg)
{
	(void)arg;
	return guarded_look(lost_view());
}

static void a_fault_that_nobody_guards_ends_the_process_as_before(void **state)
{
	(void)state;
	assert_int_equal(kin_run(default_child, NULL), -SIGBUS);
	assert_int_equal(kin_run(ignored_child, NULL), -SIGBUS);
	assert_int_equal(kin_run(other_thread_child, NULL), -SIGBUS);
	assert_int_equal(kin_run(left_child, NULL), -SIGBUS);
	assert_int_equal(kin_run(never_installed_child, NULL), -SIGBUS);
}

static void a_sigbus_of_kill_is_never_ours(void **state)
{
	(void)state;
	assert_int_equal(kin_run(killed_child, NULL), -SIGBUS);
	assert_int_equal(kin_run(killed_and_ignored_child, NULL), 3);
}

/* ---- who was there before ------------------------------------------------------------ */

static int before_child(void *arg)
{
	comap_view *view = lost_view();
	volatile char *page = lost_page();

	(void)arg;
	take(with_siginfo, 0, NULL);
	KIN_CHECK(comap_guard_install() == 0);
	KIN_CHECK(guarded_look(view) == -ENODATA);
	KIN_CHECK(seen.n == 0);
	errno = EDOM;
	KIN_CHECK(page[100] == 0);
	KIN_CHECK(errno == EDOM);
	/* ThreadSanitizer calls handlers with an errno of its own, and all signals blocked */
	KIN_CHECK(FX_IS_SANITIZED || seen.err == EDOM);
	KIN_CHECK(seen.n == 1 && seen.sig == SIGBUS && seen.code == BUS_ADRERR);
	KIN_CHECK(seen.at == (void *)(uintptr_t)(page + 100));
	KIN_CHECK(seen.blocks_bus == 1 && seen.blocks_usr1 == 1);
	kill(getpid(), SIGBUS);
	KIN_CHECK(seen.n == 2 && seen.code == SI_USER);
	sigqueue(getpid(), SIGBUS, (union sigval){ .sival_ptr = view });
	while (seen.n < 3) /* under valgrind it takes its time */
		kin_sleep_us(100);
	KIN_CHECK(seen.n == 3 && seen.code == SI_QUEUE);
	comap_guard_remove();
	KIN_CHECK(now_handling() == (void *)(uintptr_t)with_siginfo);
	return 0;
}

static int plain_child(void *arg)
{
	struct sigaction action = { .sa_handler = plain, .sa_flags = SA_NODEFER };
	volatile char *page = lost_page();

	(void)arg;
	plain_at = (void *)(uintptr_t)page;
	KIN_CHECK(sigaction(SIGBUS, &action, NULL) == 0);
	KIN_CHECK(comap_guard_install() == 0);
	KIN_CHECK(*page == 0);
	KIN_CHECK(seen.n == 1 && !seen.is_siginfo);
	KIN_CHECK(FX_IS_SANITIZED || (seen.blocks_bus == 0 && seen.blocks_usr1 == 0));
	comap_guard_remove();
	KIN_CHECK(now_handling() == (void *)(uintptr_t)plain);
	return 0;
}

static int reset_child(void *arg)
{
	(void)arg;
	take(with_siginfo, SA_RESETHAND, NULL);
	KIN_CHECK(comap_guard_install() == 0);
	KIN_CHECK(*lost_page() == 0 && seen.n == 1);
	return *lost_page();
}

static void the_handler_found_there_gets_what_is_not_ours_as_it_asked_for(void **state)
{
	(void)state;
	assert_int_equal(kin_run(before_child, NULL), 0);
	assert_int_equal(kin_run(plain_child, NULL), 0);
	assert_int_equal(kin_run(reset_child, NULL), -SIGBUS);
}

/* ---- who came after ------------------------------------------------------------------ */

static int read_it(void *arg, struct comap_bytes bytes)
{
	*(int *)arg += *(const volatile char *)bytes.data;
	return 0;
}

/* It blocks signals, and we jump out of it. */
static int behind_child(void *arg)
{
	comap_view *view = lost_view();
	sigset_t mask;
	int sum = 0;

	(void)arg;
	KIN_CHECK(comap_guard_install() == 0);
	take(passing, 0, &chained);
	for (int i = 0; i < 3; i++) { /* a fault while SIGBUS is blocked would be the end */
		KIN_CHECK(comap_guard_call(view, read_it, &sum, NULL) == -ENODATA);
		pthread_sigmask(SIG_BLOCK, NULL, &mask);
		KIN_CHECK(sigismember(&mask, SIGBUS) == 0 && sigismember(&mask, SIGUSR1) == 0);
	}
	KIN_CHECK(seen.n_other == 3);
	comap_view_close(view);
	return sum;
}

static int after_child(void *arg)
{
	comap_view *view = lost_view();
	void *ours;

	(void)arg;
	take(with_siginfo, 0, NULL);
	KIN_CHECK(comap_guard_install() == 0);
	ours = now_handling();
	take(passing, 0, &chained);
	comap_guard_remove();
	KIN_CHECK(now_handling() == (void *)(uintptr_t)passing);
	/* ours is behind theirs, and works */
	KIN_CHECK(guarded_look(view) == -ENODATA && seen.n_other == 1 && seen.n == 0);
	KIN_CHECK(*lost_page() == 0 && seen.n_other == 2 && seen.n == 1);
	/* again on top: no circle */
	KIN_CHECK(comap_guard_install() == 0);
	KIN_CHECK(now_handling() != (void *)(uintptr_t)passing && now_handling() != ours);
	KIN_CHECK(guarded_look(view) == -ENODATA && seen.n_other == 2);
	KIN_CHECK(*lost_page() == 0 && seen.n_other == 3 && seen.n == 2);
	comap_guard_remove();
	KIN_CHECK(now_handling() == (void *)(uintptr_t)passing);
	/* they give back what they found, which is ours, though removed; installing takes it up
	 * again */
	KIN_CHECK(sigaction(SIGBUS, &chained, NULL) == 0);
	KIN_CHECK(*lost_page() == 0 && seen.n_other == 3 && seen.n == 3);
	KIN_CHECK(comap_guard_install() == 0 && now_handling() == ours);
	comap_guard_remove();
	KIN_CHECK(now_handling() == (void *)(uintptr_t)with_siginfo);
	return 0;
}

static int count_child(void *arg)
{
	(void)arg;
	take(with_siginfo, 0, NULL);
	comap_guard_remove(); /* of nothing */
	KIN_CHECK(comap_guard_install() == 0);
	KIN_CHECK(comap_guard_install() == 0);
	errno = EDOM;
	comap_guard_remove();
	KIN_CHECK(guarded_look(lost_view()) == -ENODATA && seen.n == 0);
	comap_guard_remove();
	KIN_CHECK(errno == EDOM);
	KIN_CHECK(now_handling() == (void *)(uintptr_t)with_siginfo);
	comap_guard_remove();
	KIN_CHECK(now_handling() == (void *)(uintptr_t)with_siginfo);
	return 0;
}

static int crowd_child(void *arg)
{
	struct sigaction dflt = { .sa_handler = SIG_DFL };
	int n = 0;

	(void)arg;
	for (int round = 0; round < 3; round++) {
		while (comap_guard_install() == 0) {
			n++;
			take(with_siginfo, 0, NULL);
		}
		KIN_CHECK(comap_guard_install() == -EBUSY);
		KIN_CHECK(n == 8 * (round + 1));
		/* nobody is left who could pass anything on */
		KIN_CHECK(sigaction(SIGBUS, &dflt, NULL) == 0);
	}
	while (n--)
		comap_guard_remove();
	KIN_CHECK(now_handling() == (void *)(uintptr_t)SIG_DFL);
	return 0;
}

static void who_takes_sigbus_after_us_keeps_it(void **state)
{
	(void)state;
	assert_int_equal(kin_run(after_child, NULL), 0);
	assert_int_equal(kin_run(behind_child, NULL), 0);
}

static void each_install_needs_a_remove(void **state)
{
	(void)state;
	assert_int_equal(kin_run(count_child, NULL), 0);
	assert_int_equal(kin_run(crowd_child, NULL), 0);
}

/* ---- stacks, errno ------------------------------------------------------------------- */

static int alternate_child(void *arg)
{
	stack_t stack = { .ss_size = 1 << 16 };
	comap_view *view = lost_view();
	int sum = 0;

	(void)arg;
	KIN_CHECK((stack.ss_sp = alternate = malloc(stack.ss_size)) != NULL);
	KIN_CHECK(sigaltstack(&stack, NULL) == 0);
	take(with_siginfo, SA_ONSTACK, NULL);
	KIN_CHECK(comap_guard_install() == 0);
	for (int i = 0; i < 100; i++) { /* one that is not given back would be full */
		KIN_CHECK(comap_guard_call(view, read_it, &sum, NULL) == -ENODATA);
		KIN_CHECK(guarded_look(view) == -ENODATA);
	}
	KIN_CHECK(*lost_page() == 0 && seen.n == 1 && seen.is_on_alternate);
	comap_guard_remove();
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(alternate);
	comap_view_close(view);
	return sum;
}

static int errno_child(void *arg)
{
	comap_view *view = lost_view();
	comap_guard guard;

	(void)arg;
	KIN_CHECK(comap_guard_install() == 0);
	comap_guard_enter(&guard, view);
	errno = EDOM;
	KIN_CHECK(look(view) == 0);
	KIN_CHECK(errno == EDOM);
	KIN_CHECK(comap_guard_leave(&guard) == -ENODATA);
	comap_guard_remove();
	comap_view_close(view);
	return 0;
}

static void guards_work_on_alternate_stacks(void **state)
{
	(void)state;
	assert_int_equal(kin_run(alternate_child, NULL), 0);
}

static void a_fault_leaves_errno_as_it_was(void **state)
{
	(void)state;
	assert_int_equal(kin_run(errno_child, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_fault_that_nobody_guards_ends_the_process_as_before),
		KIN_TEST(a_sigbus_of_kill_is_never_ours),
		KIN_TEST(the_handler_found_there_gets_what_is_not_ours_as_it_asked_for),
		KIN_TEST(who_takes_sigbus_after_us_keeps_it),
		KIN_TEST(each_install_needs_a_remove),
		KIN_TEST(guards_work_on_alternate_stacks),
		KIN_TEST(a_fault_leaves_errno_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
