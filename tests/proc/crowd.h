/*
 * crowd.h - what the tests with several processes share: small heaps, their
 * figures, blocks that know what they are, and kills at random moments.
 *
 * Usable on both sides of a fork: nothing here asserts.
 */
#ifndef CROWD_H
#define CROWD_H

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <comap.h>
#include "support/kin.h"

#if defined(__SANITIZE_ADDRESS__)
#define CROWD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CROWD_ASAN 1
#endif
#endif
#ifndef CROWD_ASAN
#define CROWD_ASAN 0
#endif

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* In a child: a call that returned 0, or its error on stderr. */
#define KIN_ZERO(call)                          \
	do {                                    \
		int err_ = (call);              \
		errno = -err_;                  \
		KIN_CHECK(err_ == 0 && #call);  \
	} while (0)

/* ---- random numbers: xorshift64* ------------------------------------------------ */

struct dice {
	uint64_t state;
};

static inline struct dice dice_of(uint64_t seed)
{
	return (struct dice){ seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du };
}

static inline uint64_t roll(struct dice *dice, uint64_t below)
{
	dice->state ^= dice->state >> 12;
	dice->state ^= dice->state << 25;
	dice->state ^= dice->state >> 27;
	return (dice->state * 0x2545f4914f6cdd1du >> 16) % below;
}

/* ---- heaps ---------------------------------------------------------------------- */

static inline struct comap_heap_opts small_opts(uint32_t flags, uint32_t slots)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.flags = flags;
	opts.slots = slots;
	opts.max_size = 1024 * MIB;
	return opts;
}

/* A memfd heap for so many threads (0: plenty), the common slot not counted; NULL with a
 * word on stderr when there is none. */
static inline comap_heap *small_heap(uint32_t slots)
{
	struct comap_heap_opts opts = small_opts(0, slots);
	comap_heap *heap = NULL;
	int err = comap_heap_open_anon(&opts, &heap);

	if (err < 0)
		fprintf(stderr, "open_anon: %s\n", strerror(-err));
	return err < 0 ? NULL : heap;
}

static inline void print_finding(uint64_t offset, const char *what, void *arg)
{
	(void)arg;
	fprintf(stderr, "check: %#" PRIx64 ": %s\n", offset, what);
}

/* Does the check pass? */
static inline bool is_whole(comap_heap *heap)
{
	int err = comap_heap_check(heap, print_finding, NULL);

	if (err < 0)
		fprintf(stderr, "check: %s\n", strerror(-err));
	return err == 0;
}

static inline struct comap_heap_stats stats_of(comap_heap *heap)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;

	(void)comap_heap_get_stats(heap, &stats);
	return stats;
}

static inline uint64_t live_blocks(comap_heap *heap)
{
	return stats_of(heap).live_blocks;
}

/* ---- blocks that know what they are --------------------------------------------- */

/* Fill a block of size bytes: every word differs from block to block. */
static inline void stamp(void *block, size_t size, uint64_t owner)
{
	unsigned char *p = block;

	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)((owner + i) * 0x9e37u >> 8 ^ owner);
}

static inline bool has_stamp(const void *block, size_t size, uint64_t owner)
{
	const unsigned char *p = block;

	for (size_t i = 0; i < size; i++)
		if (p[i] != (unsigned char)((owner + i) * 0x9e37u >> 8 ^ owner))
			return false;
	return true;
}

/* ---- when a test fails ---------------------------------------------------------- */

/* A failed test leaves children at work: they would spoil the next one. */
static inline void bury(void)
{
	FILE *file = fopen("/proc/thread-self/children", "re");
	int pid;

	while (file && fscanf(file, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	if (file)
		fclose(file);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static inline int crowd_teardown(void **state)
{
	int is_clean = kin_teardown(state);

	bury();
	return is_clean;
}

#define CROWD_TEST(f) cmocka_unit_test_setup_teardown(f, kin_setup, crowd_teardown)

/* ---- moments -------------------------------------------------------------------- */

/* Wait until *flag stands at least at value, at most seconds. */
static inline bool stands(_Atomic uint32_t *flag, uint32_t value, unsigned seconds)
{
	uint64_t end = kin_now_ns() + seconds * SECOND;

	while (atomic_load(flag) < value) {
		if (kin_now_ns() > end)
			return false;
		kin_sleep_us(100);
	}
	return true;
}

/* Spin: sleeping takes 50 us and more, and the moments we want lie closer together. */
static inline void pause_us(uint64_t us)
{
	uint64_t end = kin_now_ns() + us * 1000;

	if (us > 500)
		kin_sleep_us((unsigned)us - 100);
	while (kin_now_ns() < end)
		;
}

/* fork without libc's knowledge, as some runtimes do it: no handler runs, and libc
 * takes the child's thread for the parent's. */
static inline pid_t raw_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* kin_wait, but a child that hangs is killed after `seconds`: -SIGALRM. */
static inline int wait_for(pid_t pid, unsigned seconds)
{
	uint64_t end = kin_now_ns() + seconds * SECOND;
	int status;
	pid_t got;

	while ((got = waitpid(pid, &status, WNOHANG)) == 0) {
		if (kin_now_ns() > end) {
			(void)kin_kill(pid);
			return -SIGALRM;
		}
		kin_sleep_us(100);
	}
	if (got < 0)
		return -1000 - errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#endif
