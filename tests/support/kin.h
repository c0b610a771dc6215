/*
 * kin.h - children for tests, and what a test must not leave behind.
 *
 *	static int child(void *arg)            // runs in a process of its own
 *	{
 *		KIN_CHECK(comap_heap_malloc(arg, 100) != NULL);
 *		return 0;                      // its exit status
 *	}
 *	pid_t pid = kin_spawn(child, heap);
 *	assert_int_equal(kin_wait(pid), 0);
 *
 * A child never uses cmocka's assert_*: a failed one would jump back into the
 * runner, and the child would go on to run the parent's remaining tests.
 * KIN_CHECK says where on stderr and leaves by _exit(KIN_FAILED).
 *
 * Nothing outlives a test: a child that hangs is ended by its own alarm, and one
 * whose parent thread dies by PR_SET_PDEATHSIG.  (So spawn from a thread that
 * stays until the child is done.)
 *
 * Parent and children meet in a shared page: kin_page(), kin_raise(), kin_await().
 *
 * kin_setup and kin_teardown are cmocka fixtures: the test fails when it ends with
 * more fds, shared mappings or children than it began with.
 */
#ifndef KIN_H
#define KIN_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

#define KIN_FAILED 113      /* exit status of a failed KIN_CHECK */
#define KIN_SECONDS 120u    /* a child that lives longer hangs: SIGALRM ends it */

/* In a child: x, or say so and end. */
#define KIN_CHECK(x) ((x) ? (void)0 : kin_fail_(__FILE__, __LINE__, #x))

static inline void kin_fail_(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: in child %d: not so: %s (errno %d)\n", file, line, (int)getpid(), what,
		errno);
	_exit(KIN_FAILED);
}

/* ---- children ------------------------------------------------------------- */

/* After any fork of your own: what every child does first. */
static inline void kin_born(void)
{
	/* cmocka's handlers jump into the runner; a crash here is to be a death */
	static const int deadly[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTERM };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
		signal(deadly[i], SIG_DFL);
	signal(SIGALRM, SIG_DFL);
	alarm(KIN_SECONDS);
	/* A child that ends has its heap mapped, and a search for leaks would read every word of
	 * the ceiling, most of them by way of a SIGBUS. */
#ifdef VALGRIND_CLO_CHANGE
	VALGRIND_CLO_CHANGE("--leak-check=no");
#endif
}

/* Run fn in a child; what it returns (0..255) is the exit status.  -1: no fork. */
static inline pid_t kin_spawn(int (*fn)(void *arg), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int status;

		kin_born();
		status = fn(arg);
		fflush(NULL);
		_exit(status);
	}
	return pid;
}

/* Its exit status; when a signal ended it, minus that signal (-SIGKILL ...). */
static inline int kin_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1000 - errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static inline int kin_run(int (*fn)(void *arg), void *arg)
{
	pid_t pid = kin_spawn(fn, arg);

	return pid < 0 ? -1000 - errno : kin_wait(pid);
}

/* kill -9, and wait until it is gone. */
static inline int kin_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	return kin_wait(pid);
}

/* In a child: the death the tests are about.  Does not return. */
static inline void kin_die(void)
{
	raise(SIGKILL);
	_exit(KIN_FAILED);
}

/* Stop it (SIGSTOP) and wait until it stands still; 0 or -errno. */
static inline int kin_stop(pid_t pid)
{
	int status;

	if (kill(pid, SIGSTOP) < 0)
		return -errno;
	while (waitpid(pid, &status, WUNTRACED) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFSTOPPED(status) ? 0 : -ECHILD;
}

static inline int kin_continue(pid_t pid)
{
	return kill(pid, SIGCONT) < 0 ? -errno : 0;
}

/* ---- meeting ----------------------------------------------------------------- */

/* A zeroed page that children forked later share; kin_page_drop it. */
static inline void *kin_page(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

static inline void kin_page_drop(void *page)
{
	if (page)
		munmap(page, 4096);
}

static inline uint64_t kin_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline void kin_sleep_us(unsigned us)
{
	nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L }, NULL);
}

/* flag becomes value; whoever awaits it sees all that was written before. */
static inline void kin_raise(_Atomic uint32_t *flag, uint32_t value)
{
	atomic_store_explicit(flag, value, memory_order_release);
}

/* Wait until flag is at least value: 1, or 0 after KIN_SECONDS. */
static inline int kin_await(_Atomic uint32_t *flag, uint32_t value)
{
	uint64_t end = kin_now_ns() + KIN_SECONDS * 1000000000ull;

	while (atomic_load_explicit(flag, memory_order_acquire) < value) {
		if (kin_now_ns() > end)
			return 0;
		kin_sleep_us(100);
	}
	return 1;
}

/* ---- what is left behind ------------------------------------------------------- */

static inline int kin_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* . .. and the directory itself */
}

/* Shared mappings whose line in /proc/self/maps holds text ("" for all).  Heaps are
 * shared mappings; libc, sanitizers and thread stacks are private ones. */
static inline int kin_count_maps(const char *text)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[4352], perms[5];
	int n = 0;

	if (!file)
		return -1;
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "%*s %4s", perms) == 1 && perms[3] == 's' && strstr(line, text))
			n++;
	fclose(file);
	return n;
}

struct kin_tally {
	int fds, maps;
};

static inline struct kin_tally kin_tally(void)
{
	return (struct kin_tally){ .fds = kin_count_fds(), .maps = kin_count_maps("") };
}

/* 1 when nothing was left since `before`; else 0, and stderr says what. */
static inline int kin_is_clean(struct kin_tally before)
{
	struct kin_tally now = kin_tally();
	int is_clean = 1;

	if (now.fds != before.fds)
		is_clean = 0, fprintf(stderr, "left behind: %d fds\n", now.fds - before.fds);
	if (now.maps != before.maps)
		is_clean = 0, fprintf(stderr, "left behind: %d shared mappings\n", now.maps - before.maps);
	if (waitpid(-1, NULL, WNOHANG) >= 0)
		is_clean = 0, fprintf(stderr, "left behind: a child\n");
	return is_clean;
}

static struct kin_tally kin_before_;

/* cmocka fixtures: cmocka_unit_test_setup_teardown(f, kin_setup, kin_teardown). */
static inline int kin_setup(void **state)
{
	(void)state;
	kin_before_ = kin_tally();
	return 0;
}

static inline int kin_teardown(void **state)
{
	(void)state;
	return kin_is_clean(kin_before_) ? 0 : -1;
}

#define KIN_TEST(f) cmocka_unit_test_setup_teardown(f, kin_setup, kin_teardown)

/* Valgrind cannot map a tebibyte, and is slow: tests about either step aside. */
static inline int kin_is_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "valgrind") != NULL;
}

#endif
