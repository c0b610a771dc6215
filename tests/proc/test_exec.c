/*
 * test_exec.c - exec leaves the heap, from whatever thread, and a stranger comes in.
 *
 * Run with --guest it is the stranger: what an exec'ed process does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include "crowd.h"

static char self[4096]; /* this program */

struct meeting {
	comap_heap *heap;
	comap_mutex *mutex;
	_Atomic uint32_t step;
};

static const struct timespec forever = { .tv_sec = 1 << 30 };

/* ---- the stranger --------------------------------------------------------------- */

/* --guest sleep: attached to nothing.  --guest NAME: attach, take what the root holds. */
static int guest(const char *what)
{
	comap_heap *heap;
	comap_ref ref;
	char *text;
	int fd;

	kin_born();
	if (strcmp(what, "sleep") == 0)
		return nanosleep(&forever, NULL);
	if (strncmp(what, "fd:", 3) == 0) {
		fd = atoi(what + 3);
		KIN_ZERO(comap_heap_open_fd(fd, NULL, &heap));
		close(fd);
	} else {
		KIN_ZERO(comap_heap_open(what, NULL, &heap));
	}
	KIN_ZERO(comap_root_get(heap, "letter", &ref));
	text = comap_heap_at_checked(heap, ref, 6);
	KIN_CHECK(text && strcmp(text, "hello") == 0);
	comap_heap_free(heap, text);
	text = comap_heap_strdup(heap, "answer");
	KIN_CHECK(text);
	KIN_ZERO(comap_root_set(heap, "letter", comap_heap_ref(heap, text)));
	comap_heap_close(heap);
	return 0;
}

static void become(const char *what)
{
	execl(self, self, "--guest", what, (char *)NULL);
	_exit(KIN_FAILED);
}

/* Has it become the guest?  Its command line says so. */
static bool has_become(pid_t pid, const char *what)
{
	char path[64], line[8192];
	uint64_t end = kin_now_ns() + 20 * SECOND;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	while (kin_now_ns() < end) {
		fd = open(path, O_RDONLY);
		n = fd < 0 ? 0 : read(fd, line, sizeof line);
		if (fd >= 0)
			close(fd);
		for (ssize_t i = 0; i < n; i += (ssize_t)strnlen(line + i, (size_t)(n - i)) + 1)
			if (strcmp(line + i, what) == 0)
				return true;
		kin_sleep_us(500);
	}
	return false;
}

/* ---- leaving by exec ------------------------------------------------------------ */

static int attach_and_exec(void *arg)
{
	struct meeting *m = arg;

	KIN_ZERO(comap_mutex_lock(m->heap, m->mutex));
	become("sleep");
	return 0;
}

static void slot_of_a_process_that_execs_is_reaped(void **state)
{
	struct meeting m = { .heap = small_heap(0) };
	pid_t pid;

	(void)state;
	m.mutex = comap_heap_calloc(m.heap, 1, sizeof *m.mutex);
	pid = kin_spawn(attach_and_exec, &m);
	assert_true(has_become(pid, "sleep"));
	assert_int_equal(stats_of(m.heap).slots_dead, 1);
	assert_int_equal(comap_mutex_lock(m.heap, m.mutex), -EOWNERDEAD);
	assert_int_equal(stats_of(m.heap).slots_dead, 0);
	assert_int_equal(stats_of(m.heap).slots_live, 1);
	assert_int_equal(comap_mutex_unlock(m.heap, m.mutex), 0);
	assert_int_equal(kin_kill(pid), -SIGKILL);
	assert_true(is_whole(m.heap));
	comap_heap_close(m.heap);
}

static void *lock_and_exec(void *arg)
{
	(void)attach_and_exec(arg);
	return NULL;
}

static int exec_from_a_thread(void *arg)
{
	struct meeting *m = arg;
	pthread_t thread;

	KIN_CHECK(comap_heap_malloc(m->heap, 10));
	KIN_CHECK(pthread_create(&thread, NULL, lock_and_exec, m) == 0);
	pthread_join(thread, NULL);
	return KIN_FAILED;
}

/* The story: the kernel looks for the thread's own id in its robust futexes when it
 * already has the leader's, so it marks nothing. */
static void slot_of_a_thread_that_execs_is_reaped(void **state)
{
	struct meeting m = { .heap = small_heap(0) };
	pid_t pid;

	(void)state;
	m.mutex = comap_heap_calloc(m.heap, 1, sizeof *m.mutex);
	pid = kin_spawn(exec_from_a_thread, &m);
	assert_true(has_become(pid, "sleep"));
	assert_int_equal(stats_of(m.heap).slots_dead, 2);
	assert_int_equal(comap_heap_reap(m.heap), 2);
	assert_int_equal(stats_of(m.heap).slots_live, 1);
	assert_int_equal(comap_heap_reap(m.heap), 0);
	assert_int_equal(comap_mutex_trylock(m.heap, m.mutex), -EOWNERDEAD);
	assert_int_equal(comap_mutex_unlock(m.heap, m.mutex), 0);
	kin_kill(pid);
	assert_true(is_whole(m.heap));
	comap_heap_close(m.heap);
}

static void mutex_of_a_thread_that_execs_is_inherited_at_once(void **state)
{
	struct meeting m = { .heap = small_heap(0) };
	uint64_t start;
	pid_t pid;

	(void)state;
	m.mutex = comap_heap_calloc(m.heap, 1, sizeof *m.mutex);
	for (int i = 0; i < 5; i++) {
		pid = kin_spawn(exec_from_a_thread, &m);
		assert_true(has_become(pid, "sleep"));
		start = kin_now_ns();
		assert_int_equal(comap_mutex_lock(m.heap, m.mutex), -EOWNERDEAD);
		assert_true(kin_now_ns() - start < 2 * SECOND);
		assert_int_equal(stats_of(m.heap).slots_dead, 0);
		assert_int_equal(comap_mutex_unlock(m.heap, m.mutex), 0);
		kin_kill(pid);
	}
	comap_heap_close(m.heap);
}

static void *churn_for_ever(void *arg)
{
	struct meeting *m = arg;

	for (unsigned n = 0;; n++) {
		comap_heap_free(m->heap, comap_heap_malloc(m->heap, n % 70 * 1000));
		kin_raise(&m->step, 1);
	}
	return NULL;
}

static int exec_amid_threads(void *arg)
{
	struct meeting *m = arg;
	pthread_t thread[3];

	for (int i = 0; i < 3; i++)
		KIN_CHECK(pthread_create(&thread[i], NULL, churn_for_ever, m) == 0);
	kin_await(&m->step, 1);
	become("sleep");
	return 0;
}

static void exec_kills_the_other_threads_in_the_midst_of_malloc(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *m = kin_page();
	pid_t pid;

	(void)state;
	m->heap = heap;
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	for (unsigned i = 0; i < 15; i++) {
		kin_raise(&m->step, 0);
		pid = kin_spawn(exec_amid_threads, m);
		assert_true(has_become(pid, "sleep"));
		(void)comap_heap_reap(heap);
		assert_int_equal(stats_of(heap).slots_dead, 0);
		assert_int_equal(stats_of(heap).slots_live, 1);
		assert_true(live_blocks(heap) <= 3 * (i + 1));
		assert_true(is_whole(heap));
		kin_kill(pid);
	}
	comap_heap_close(heap);
	kin_page_drop(m);
}

static int fail_to_exec(void *arg)
{
	struct meeting *m = arg;

	KIN_ZERO(comap_mutex_lock(m->heap, m->mutex));
	execl("/nonexistent/program", "program", (char *)NULL);
	kin_raise(&m->step, 1);
	KIN_CHECK(kin_await(&m->step, 2));
	KIN_ZERO(comap_mutex_unlock(m->heap, m->mutex));
	return 0;
}

static void exec_that_fails_changes_nothing(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *m = kin_page();
	pid_t pid;

	(void)state;
	m->heap = heap;
	m->mutex = comap_heap_calloc(heap, 1, sizeof *m->mutex);
	pid = kin_spawn(fail_to_exec, m);
	assert_true(kin_await(&m->step, 1));
	assert_int_equal(comap_heap_reap(heap), 0);
	assert_int_equal(comap_mutex_trylock(heap, m->mutex), -EBUSY);
	kin_raise(&m->step, 2);
	assert_int_equal(comap_mutex_lock(heap, m->mutex), 0);
	assert_int_equal(comap_mutex_unlock(heap, m->mutex), 0);
	assert_int_equal(kin_wait(pid), 0);
	comap_heap_close(heap);
	kin_page_drop(m);
}

/* ---- coming back ---------------------------------------------------------------- */

static void put_letter(comap_heap *heap)
{
	assert_int_equal(comap_root_set(heap, "letter",
					comap_heap_ref(heap, comap_heap_strdup(heap, "hello"))), 0);
}

static void assert_answered(comap_heap *heap)
{
	comap_ref ref;

	assert_int_equal(comap_root_get(heap, "letter", &ref), 0);
	assert_string_equal(comap_heap_at(heap, ref), "answer");
	comap_heap_free(heap, comap_heap_at(heap, ref));
	assert_int_equal(stats_of(heap).slots_dead, 0);
	assert_int_equal(stats_of(heap).slots_live, 1);
	assert_true(is_whole(heap));
}

static int become_guest(void *arg)
{
	KIN_CHECK(dup2(open("/dev/null", O_RDONLY), 100) == 100); /* no fd by chance */
	become(arg);
	return 0;
}

static void exec_ed_process_attaches_by_name(void **state)
{
	struct comap_heap_opts opts = small_opts(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, 0);
	comap_heap *heap;
	char name[64];

	(void)state;
	snprintf(name, sizeof name, "comap-test-exec-%d", (int)getpid());
	assert_int_equal(comap_heap_open(name, &opts, &heap), 0);
	for (int i = 0; i < 5; i++) {
		put_letter(heap);
		assert_int_equal(kin_run(become_guest, name), 0);
		assert_answered(heap);
	}
	assert_int_equal(comap_heap_unlink(name), 0);
	comap_heap_close(heap);
}

static int pass_the_fd(void *arg)
{
	char what[32];

	snprintf(what, sizeof what, "fd:%d", dup(comap_heap_fd(arg)));
	become(what);
	return 0;
}

static void exec_ed_process_attaches_by_an_inherited_fd(void **state)
{
	comap_heap *heap = small_heap(0);

	(void)state;
	put_letter(heap);
	assert_int_equal(kin_run(pass_the_fd, heap), 0);
	assert_answered(heap);
	assert_int_not_equal(fcntl(comap_heap_fd(heap), F_GETFD) & FD_CLOEXEC, 0);
	comap_heap_close(heap);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(slot_of_a_process_that_execs_is_reaped),
		CROWD_TEST(slot_of_a_thread_that_execs_is_reaped),
		CROWD_TEST(mutex_of_a_thread_that_execs_is_inherited_at_once),
		CROWD_TEST(exec_kills_the_other_threads_in_the_midst_of_malloc),
		CROWD_TEST(exec_that_fails_changes_nothing),
		CROWD_TEST(exec_ed_process_attaches_by_name),
		CROWD_TEST(exec_ed_process_attaches_by_an_inherited_fd),
	};
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	if (n < 0)
		return 77;
	if (argc == 3 && strcmp(argv[1], "--guest") == 0)
		return guest(argv[2]);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
