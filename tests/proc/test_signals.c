/*
 * test_signals.c - calls from signal handlers, signals amid calls, cancellation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sys/time.h>
#include "crowd.h"

/* For the handler and the loop it interrupts: one process, one test at a time. */
static comap_heap *heap;
static _Atomic uint32_t nhandled, nrefused, nwrong;

/* Signals every `us` microseconds, or 0: none any more. */
static void storm(int us, void (*handler)(int))
{
	struct itimerval timer = { { 0, us }, { 0, us } };
	struct sigaction action = { .sa_handler = handler };

	if (us)
		sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	if (!us)
		alarm(KIN_SECONDS); /* kin's own, which shares the timer */
}

/* Allocate and free: whole, or refused with EDEADLK. */
static void use_heap(int sig)
{
	int saved = errno;
	void *p = comap_heap_malloc(heap, 100);

	(void)sig;
	nhandled++;
	if (p)
		comap_heap_free(heap, p);
	else if (errno == EDEADLK)
		nrefused++;
	else
		nwrong++;
	errno = saved;
}

static void do_nothing(int sig)
{
	(void)sig;
	nhandled++;
}

static bool lasts(uint64_t start, uint64_t ns)
{
	return kin_now_ns() - start < ns;
}

/* ---- handlers ------------------------------------------------------------------- */

static int allocate_amid_a_storm(void *arg)
{
	uint64_t start = kin_now_ns();
	unsigned n = 0;

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	storm(40, use_heap);
	while (lasts(start, SECOND)) {
		void *p = comap_heap_malloc(heap, n++ % 60 * 1500);

		KIN_CHECK(p);
		comap_heap_free(heap, p);
	}
	storm(0, NULL);
	KIN_CHECK(nhandled > 1000 && nwrong == 0);
	KIN_CHECK(nrefused > 0 && nrefused < nhandled); /* some within comap, some without */
	KIN_CHECK(live_blocks(heap) == 0);
	KIN_CHECK(stats_of(heap).misuses == 0);
	KIN_CHECK(is_whole(heap));
	return 0;
}

static void handler_that_interrupted_comap_is_refused_and_never_hangs(void **state)
{
	(void)state;
	assert_int_equal(wait_for(kin_spawn(allocate_amid_a_storm, NULL), 30), 0);
}

static int compute_amid_a_storm(void *arg)
{
	uint64_t start = kin_now_ns();

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	storm(40, use_heap); /* the first call of this thread is the handler's */
	while (lasts(start, SECOND / 4))
		;
	storm(0, NULL);
	KIN_CHECK(nhandled > 100 && nwrong == 0 && nrefused == 0);
	KIN_CHECK(live_blocks(heap) == 0 && is_whole(heap));
	KIN_CHECK(stats_of(heap).slots_live == 1);
	return 0;
}

static void handler_elsewhere_may_allocate(void **state)
{
	(void)state;
	assert_int_equal(wait_for(kin_spawn(compute_amid_a_storm, NULL), 30), 0);
}

struct desk {
	comap_mutex mutex;
	comap_ref cell;
};

static int call_everything_amid_a_storm(void *arg)
{
	uint64_t start = kin_now_ns();
	struct desk *desk;
	comap_ref ref;

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	KIN_CHECK((desk = comap_heap_calloc(heap, 1, sizeof *desk)));
	storm(40, use_heap);
	while (lasts(start, SECOND)) {
		KIN_ZERO(comap_mutex_lock(heap, &desk->mutex));
		KIN_CHECK(comap_heap_malloc_to(heap, 5000, &desk->cell));
		KIN_ZERO(comap_root_set(heap, "cell", desk->cell));
		KIN_ZERO(comap_root_get(heap, "cell", &ref));
		comap_heap_free_from(heap, &desk->cell);
		KIN_ZERO(comap_mutex_unlock(heap, &desk->mutex));
		KIN_ZERO(comap_root_delete(heap, "cell"));
		KIN_CHECK(comap_heap_reap(heap) == 0);
		KIN_ZERO(comap_heap_trim(heap));
		KIN_CHECK(is_whole(heap));
	}
	storm(0, NULL);
	KIN_CHECK(nhandled > 1000 && nwrong == 0 && nrefused > 0);
	KIN_CHECK(live_blocks(heap) == 1 && is_whole(heap));
	return 0;
}

static void every_call_stands_a_handler_that_allocates(void **state)
{
	(void)state;
	assert_int_equal(wait_for(kin_spawn(call_everything_amid_a_storm, NULL), 30), 0);
}

/* The story: a seat on its way out looked like none, so a handler took a new slot into
 * the very place that was being given back. */
static int detach_amid_a_storm(void *arg)
{
	uint64_t start = kin_now_ns();

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	storm(30, use_heap);
	while (lasts(start, 3 * SECOND)) {
		void *p = comap_heap_malloc(heap, 100);

		KIN_CHECK(p);
		comap_heap_free(heap, p);
		comap_heap_detach(heap);
	}
	storm(0, NULL);
	KIN_CHECK(nhandled > 1000 && nwrong == 0);
	comap_heap_detach(heap);
	KIN_CHECK(stats_of(heap).slots_live == 0 && stats_of(heap).slots_dead == 0);
	KIN_CHECK(live_blocks(heap) == 0 && is_whole(heap));
	return 0;
}

static void handler_that_interrupted_detach_is_refused_or_served(void **state)
{
	(void)state;
	assert_int_equal(wait_for(kin_spawn(detach_amid_a_storm, NULL), 30), 0);
}

static void *short_life(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 20; i++)
		use_heap(0);
	return NULL;
}

/* Signals come while threads begin and end. */
static int threads_amid_a_storm(void *arg)
{
	uint64_t start = kin_now_ns();

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	storm(30, use_heap);
	while (lasts(start, 2 * SECOND)) {
		pthread_t thread[2];
		sigset_t none, alarm_only;

		sigemptyset(&none);
		sigemptyset(&alarm_only);
		sigaddset(&alarm_only, SIGALRM);
		for (unsigned i = 0; i < 2; i++)
			KIN_CHECK(pthread_create(&thread[i], NULL, short_life, NULL) == 0);
		pthread_sigmask(SIG_BLOCK, &alarm_only, NULL); /* theirs are all of them */
		for (unsigned i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		pthread_sigmask(SIG_SETMASK, &none, NULL);
	}
	storm(0, NULL);
	KIN_CHECK(nhandled > 1000 && nwrong == 0);
	comap_heap_detach(heap);
	(void)comap_heap_reap(heap); /* a handler after the last destructor: reaped */
	comap_heap_detach(heap);
	KIN_CHECK(stats_of(heap).slots_live == 0 && stats_of(heap).slots_dead == 0);
	KIN_CHECK(live_blocks(heap) == 0 && is_whole(heap));
	return 0;
}

static void handlers_amid_threads_that_begin_and_end(void **state)
{
	(void)state;
	assert_int_equal(wait_for(kin_spawn(threads_amid_a_storm, NULL), 30), 0);
}

/* ---- interrupted system calls --------------------------------------------------- */

static int large_amid_a_storm(void *arg)
{
	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	for (int us = 5000; us >= 50; us /= 10) {
		storm(us, do_nothing);
		for (unsigned i = 0; i < 4; i++) {
			size_t size = (40 + i * 17) * MIB;
			unsigned char *p = comap_heap_malloc(heap, size);

			KIN_CHECK(p);
			for (size_t at = 0; at < size; at += 4096)
				p[at] = 1;
			p = comap_heap_realloc(heap, p, size + 30 * MIB);
			KIN_CHECK(p);
			comap_heap_free(heap, p);
			KIN_ZERO(comap_heap_trim(heap));
		}
		storm(0, NULL);
	}
	KIN_CHECK(nhandled > 100);
	KIN_CHECK(live_blocks(heap) == 0 && is_whole(heap));
	return 0;
}

static void large_allocations_amid_a_storm_of_alarms(void **state)
{
	(void)state;
	assert_int_equal(wait_for(kin_spawn(large_amid_a_storm, NULL), 60), 0);
}

static int wait_amid_a_storm(void *arg)
{
	comap_mutex *mutex;
	uint64_t start;
	pid_t pid;

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	KIN_CHECK((mutex = comap_heap_calloc(heap, 1, sizeof *mutex)));
	KIN_ZERO(comap_mutex_lock(heap, mutex));
	pid = fork();
	if (pid == 0) {
		storm(100, do_nothing);
		for (unsigned i = 1; i < 5; i++) {
			start = kin_now_ns();
			KIN_CHECK(comap_mutex_lock_for(heap, mutex, i * 20 * MS) == -ETIMEDOUT);
			KIN_CHECK(kin_now_ns() - start >= i * 20 * MS);
		}
		KIN_ZERO(comap_mutex_lock(heap, mutex));
		KIN_ZERO(comap_mutex_unlock(heap, mutex));
		_exit(0);
	}
	kin_sleep_us(300000);
	KIN_ZERO(comap_mutex_unlock(heap, mutex));
	KIN_CHECK(kin_wait(pid) == 0);
	return 0;
}

static void signals_shorten_no_wait(void **state)
{
	(void)state;
	assert_int_equal(wait_for(kin_spawn(wait_amid_a_storm, NULL), 30), 0);
}

/* ---- cancellation --------------------------------------------------------------- */

/* Not under ASan: it does not see that cancellation unwinds a stack, and takes what was on
 * it for alive. */

static char name[64];
static _Atomic int reached; /* how far a thread came that is already cancelled */

#define REACHED() (reached = __LINE__)

static int init_cell(comap_heap *of, comap_ref *cell, void *arg)
{
	(void)arg;
	return comap_heap_malloc_to(of, 10, cell) ? 0 : -errno;
}

/* Cancelled before it begins: any cancellation point ends it. */
static void *call_while_cancelled(void *arg)
{
	struct comap_heap_opts opts = small_opts(COMAP_HEAP_CREATE, 0);
	comap_heap *mine, *again, *third;
	comap_mutex *mutex;
	comap_ref ref;
	void *p;

	(void)arg;
	pthread_cancel(pthread_self());
	REACHED();
	if (comap_heap_open(name, &opts, &mine) < 0)
		return NULL;
	REACHED();
	if (comap_heap_open(name, NULL, &again) < 0)
		return NULL;
	REACHED();
	if (comap_heap_open_fd(comap_heap_fd(mine), NULL, &third) < 0)
		return NULL;
	REACHED();
	comap_heap_close(third);
	REACHED();
	comap_heap_close(again);
	REACHED();
	if (comap_heap_open("/", NULL, &again) == 0 || comap_heap_open("/dev/null", NULL, &again) == 0)
		return NULL;
	REACHED();
	p = comap_heap_malloc(mine, 10);
	p = comap_heap_realloc(mine, p, 10 * MIB);
	p = comap_heap_realloc(mine, p, 20 * MIB);
	comap_heap_free(mine, p);
	REACHED();
	(void)comap_heap_trim(mine);
	REACHED();
	mutex = comap_heap_calloc(mine, 1, sizeof *mutex);
	(void)comap_mutex_lock(mine, mutex);
	REACHED();
	(void)comap_mutex_unlock(mine, mutex);
	(void)comap_root_once(mine, "root", init_cell, NULL, SECOND, &ref);
	REACHED();
	(void)comap_root_delete(mine, "root");
	(void)comap_heap_reap(mine);
	(void)comap_heap_check(mine, NULL, NULL);
	(void)stats_of(mine);
	REACHED();
	comap_heap_detach(mine);
	REACHED();
	(void)comap_heap_unlink(name);
	comap_heap_close(mine);
	REACHED();
	p = comap_malloc(10);
	comap_free(p);
	comap_heap_close(comap_set_default_heap(NULL));
	reached = -1;
	pthread_testcancel();
	return NULL; /* not reached */
}

static int run_while_cancelled(void *arg)
{
	pthread_t thread;
	void *result;

	(void)arg;
	snprintf(name, sizeof name, "comap-test-signals-%d", (int)getpid());
	KIN_CHECK(pthread_create(&thread, NULL, call_while_cancelled, NULL) == 0);
	pthread_join(thread, &result);
	(void)comap_heap_unlink(name);
	if (reached != -1)
		fprintf(stderr, "%s: cancelled after line %d\n", __FILE__, reached);
	KIN_CHECK(result == PTHREAD_CANCELED);
	KIN_CHECK(reached == -1);
	KIN_CHECK((heap = small_heap(0))); /* no lock of this process is left held */
	comap_heap_close(heap);
	return 0;
}

static void no_call_is_a_cancellation_point(void **state)
{
	(void)state;
	if (CROWD_ASAN)
		skip();
	assert_int_equal(wait_for(kin_spawn(run_while_cancelled, NULL), 20), 0);
}

static void *allocate_until_cancelled(void *arg)
{
	_Atomic uint32_t *nlive = arg;

	for (unsigned n = 0;; n++) {
		void *p = comap_heap_malloc(heap, n % 90 * 1000);

		atomic_fetch_add(nlive, 1);
		comap_heap_free(heap, p);
		atomic_fetch_sub(nlive, 1);
		if (n % 16 == 0)
			pthread_testcancel();
	}
	return NULL;
}

static int cancel_threads(void *arg)
{
	struct dice dice = dice_of(1);
	_Atomic uint32_t nlive = 0;

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	for (unsigned i = 0; i < 100; i++) {
		pthread_t thread;
		void *result;

		KIN_CHECK(pthread_create(&thread, NULL, allocate_until_cancelled, &nlive) == 0);
		pause_us(roll(&dice, 400));
		pthread_cancel(thread);
		pthread_join(thread, &result);
		KIN_CHECK(result == PTHREAD_CANCELED && nlive == 0);
	}
	KIN_CHECK(live_blocks(heap) == 0);
	KIN_CHECK(stats_of(heap).slots_live == 0 && stats_of(heap).deaths == 0);
	KIN_CHECK(is_whole(heap));
	return 0;
}

static void cancelled_threads_lose_nothing(void **state)
{
	(void)state;
	if (CROWD_ASAN)
		skip();
	assert_int_equal(wait_for(kin_spawn(cancel_threads, NULL), 30), 0);
}

static void *allocate_until_struck(void *arg)
{
	_Atomic uint32_t *step = arg;
	unsigned n = 0;

	comap_heap_free(heap, comap_heap_malloc(heap, 10)); /* attached */
	kin_raise(step, 1);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	for (;;)
		comap_heap_free(heap, comap_heap_malloc(heap, n++ % 90 * 1000));
	return NULL;
}

static int strike_threads(void *arg)
{
	struct dice dice = dice_of(2);

	(void)arg;
	KIN_CHECK((heap = small_heap(0)));
	comap_heap_free(heap, comap_heap_malloc(heap, 10));
	for (unsigned i = 1; i <= 100; i++) {
		_Atomic uint32_t step = 0;
		pthread_t thread;
		void *result;

		KIN_CHECK(pthread_create(&thread, NULL, allocate_until_struck, &step) == 0);
		KIN_CHECK(stands(&step, 1, 10));
		pause_us(roll(&dice, 200));
		pthread_cancel(thread);
		pthread_join(thread, &result);
		KIN_CHECK(result == PTHREAD_CANCELED);
		KIN_CHECK(comap_heap_reap(heap) >= 0);
		KIN_CHECK(live_blocks(heap) <= i);
		KIN_CHECK(is_whole(heap));
	}
	KIN_CHECK(stats_of(heap).slots_dead == 0 && stats_of(heap).slots_live == 1);
	return 0;
}

static void asynchronous_cancellation_is_a_death(void **state)
{
	(void)state;
	if (CROWD_ASAN)
		skip();
	assert_int_equal(wait_for(kin_spawn(strike_threads, NULL), 30), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(handler_that_interrupted_comap_is_refused_and_never_hangs),
		CROWD_TEST(handler_elsewhere_may_allocate),
		CROWD_TEST(every_call_stands_a_handler_that_allocates),
		CROWD_TEST(handler_that_interrupted_detach_is_refused_or_served),
		CROWD_TEST(handlers_amid_threads_that_begin_and_end),
		CROWD_TEST(large_allocations_amid_a_storm_of_alarms),
		CROWD_TEST(signals_shorten_no_wait),
		CROWD_TEST(no_call_is_a_cancellation_point),
		CROWD_TEST(cancelled_threads_lose_nothing),
		CROWD_TEST(asynchronous_cancellation_is_a_death),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
