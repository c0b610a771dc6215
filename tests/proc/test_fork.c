/*
 * test_fork.c - the heap across fork, raw clone, vfork, posix_spawn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include "crowd.h"

/* Where a test and its children meet, in a shared page. */
struct meeting {
	_Atomic uint32_t step;
	_Atomic uint32_t should_stop;
	_Atomic int32_t pid;
	_Atomic uint64_t count;
};

/* ---- blocks of one, freed by the other ------------------------------------------ */

#define SHARED_BLOCKS 600u

struct table {
	comap_heap *heap;
	comap_ref *cell;
};

static size_t size_of(unsigned i)
{
	return i % 50 == 49 ? 100 * KIB : 1 + i * 7 % 3000;
}

static int swap_odd_blocks(void *arg)
{
	struct table *t = arg;

	for (unsigned i = 1; i < SHARED_BLOCKS; i += 2) {
		void *block = comap_heap_at(t->heap, t->cell[i]);

		KIN_CHECK(has_stamp(block, size_of(i), i));
		comap_heap_free(t->heap, block);
		block = comap_heap_malloc(t->heap, size_of(i));
		KIN_CHECK(block);
		stamp(block, size_of(i), i + 1000);
		t->cell[i] = comap_heap_ref(t->heap, block);
	}
	return 0;
}

static void parent_and_child_free_each_others_blocks(void **state)
{
	comap_heap *heap = small_heap(0);
	struct table t = { .heap = heap };

	(void)state;
	assert_non_null(heap);
	t.cell = comap_heap_calloc(heap, SHARED_BLOCKS, sizeof *t.cell);
	assert_non_null(t.cell);
	for (unsigned i = 0; i < SHARED_BLOCKS; i++) {
		void *block = comap_heap_malloc(heap, size_of(i));

		assert_non_null(block);
		stamp(block, size_of(i), i);
		t.cell[i] = comap_heap_ref(heap, block);
	}
	assert_int_equal(kin_run(swap_odd_blocks, &t), 0);
	for (unsigned i = 0; i < SHARED_BLOCKS; i++) {
		assert_true(has_stamp(comap_heap_at(heap, t.cell[i]), size_of(i), i & 1 ? i + 1000 : i));
		comap_heap_free(heap, comap_heap_at(heap, t.cell[i]));
	}
	comap_heap_free(heap, t.cell);
	assert_int_equal(live_blocks(heap), 0);
	assert_int_equal(stats_of(heap).misuses, 0);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
}

/* ---- children libc knows nothing of --------------------------------------------- */

/* In a raw child: no stdio and no malloc, whose locks may be held for ever. */
static void leave(int status)
{
	syscall(SYS_exit_group, status);
	__builtin_unreachable();
}

#define RAW_CHECK(x) ((x) ? (void)0 : leave(__LINE__ % 100 + 1))

static int find_slot_of(const struct comap_slot_info *info, void *arg)
{
	return info->tid == *(pid_t *)arg && info->tgid == *(pid_t *)arg ? 1 + info->is_dead : 0;
}

/* 0: none of that pid; 1: alive; 2: dead. */
static int slot_of(comap_heap *heap, pid_t pid)
{
	return comap_heap_slots(heap, find_slot_of, &pid);
}

static void raw_child_has_a_slot_of_its_own_and_its_death_is_noticed(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	pid_t pid;

	(void)state;
	assert_non_null(heap);
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	assert_int_equal(stats_of(heap).slots_live, 1);

	pid = raw_fork();
	if (pid == 0) {
		alarm(KIN_SECONDS);
		RAW_CHECK(comap_heap_malloc(heap, 100));
		kin_raise(&meeting->step, 1);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_true(kin_await(&meeting->step, 1));
	assert_int_equal(stats_of(heap).slots_live, 2);
	assert_int_equal(slot_of(heap, pid), 1);
	assert_int_equal(slot_of(heap, getpid()), 1);
	assert_int_equal(comap_heap_reap(heap), 0);

	assert_int_equal(kin_kill(pid), -SIGKILL);
	assert_int_equal(slot_of(heap, pid), 2);
	assert_int_equal(stats_of(heap).slots_dead, 1);
	assert_int_equal(comap_heap_reap(heap), 1);
	assert_int_equal(stats_of(heap).slots_dead, 0);
	assert_int_equal(stats_of(heap).slots_live, 1);
	assert_int_equal(stats_of(heap).deaths, 1);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

static void raw_child_that_detaches_leaves_no_dead_slot(void **state)
{
	comap_heap *heap = small_heap(0);
	pid_t pid;

	(void)state;
	for (int i = 0; i < 20; i++) {
		pid = raw_fork();
		if (pid == 0) {
			void *p = comap_heap_malloc(heap, 100);

			RAW_CHECK(p);
			comap_heap_free(heap, p);
			comap_heap_detach(heap);
			RAW_CHECK(comap_heap_malloc_to(heap, 8, NULL) == NULL && errno == EINVAL);
			p = comap_heap_malloc(heap, 200); /* attached again */
			RAW_CHECK(p);
			comap_heap_free(heap, p);
			comap_heap_detach(heap);
			leave(0);
		}
		assert_int_equal(wait_for(pid, 20), 0);
		assert_int_equal(stats_of(heap).slots_dead, 0);
	}
	assert_int_equal(live_blocks(heap), 0);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
}

static void mutex_of_a_killed_raw_child_is_inherited(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	comap_mutex *mutex = comap_heap_calloc(heap, 1, sizeof *mutex);
	pid_t pid;

	(void)state;
	pid = raw_fork();
	if (pid == 0) {
		RAW_CHECK(comap_mutex_lock(heap, mutex) == 0);
		kin_raise(&meeting->step, 1);
		for (;;)
			pause();
	}
	assert_true(kin_await(&meeting->step, 1));
	assert_int_equal(comap_mutex_trylock(heap, mutex), -EBUSY);
	kin_kill(pid);
	assert_int_equal(comap_mutex_lock(heap, mutex), -EOWNERDEAD);
	assert_int_equal(stats_of(heap).slots_dead, 0);
	assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	assert_int_equal(comap_mutex_lock(heap, mutex), 0);
	assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

/* Raw children of raw children, and one that libc forked: each killed alone. */
static void raw_children_of_raw_children_are_told_apart(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	pid_t pid;

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	pid = raw_fork();
	if (pid == 0) {
		RAW_CHECK(comap_heap_malloc(heap, 10));
		pid = raw_fork();
		if (pid == 0) {
			RAW_CHECK(comap_heap_malloc(heap, 20));
			pid = fork();
			if (pid == 0) {
				RAW_CHECK(comap_heap_malloc(heap, 30));
				meeting->count = comap_heap_reap(heap);
				kill((pid_t)syscall(SYS_getpid), SIGKILL);
			}
			RAW_CHECK(pid > 0 && kin_wait(pid) == -SIGKILL);
			RAW_CHECK(comap_heap_reap(heap) == 1);
			kill((pid_t)syscall(SYS_getpid), SIGKILL);
		}
		RAW_CHECK(pid > 0 && kin_wait(pid) == -SIGKILL);
		RAW_CHECK(comap_heap_reap(heap) == 1);
		kill((pid_t)syscall(SYS_getpid), SIGKILL);
	}
	assert_int_equal(wait_for(pid, 20), -SIGKILL);
	assert_int_equal(comap_heap_reap(heap), 1);
	assert_int_equal(meeting->count, 0);
	assert_int_equal(stats_of(heap).deaths, 3);
	assert_int_equal(stats_of(heap).slots_live, 1);
	assert_int_equal(live_blocks(heap), 3);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

static void raw_child_killed_in_malloc_leaves_a_whole_heap(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	struct dice dice = dice_of(7);

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 1));
	for (unsigned i = 0; i < 60; i++) {
		pid_t pid = raw_fork();

		if (pid == 0)
			for (unsigned n = 0;; n++) {
				void *p = comap_heap_malloc(heap, n % 90 * 900);

				kin_raise(&meeting->step, i + 1);
				comap_heap_free(heap, p);
			}
		assert_true(kin_await(&meeting->step, i + 1));
		pause_us(roll(&dice, 300));
		assert_int_equal(kin_kill(pid), -SIGKILL);
		assert_int_equal(comap_heap_reap(heap), 1);
		assert_true(is_whole(heap));
		assert_true(live_blocks(heap) <= i + 1);
	}
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

/* ---- exec without fork's manners ------------------------------------------------ */

extern char **environ;

static void vfork_and_posix_spawn_leave_the_parents_slot_alone(void **state)
{
	comap_heap *heap = small_heap(0);
	comap_mutex *mutex = comap_heap_calloc(heap, 1, sizeof *mutex);
	char *args[] = { (char[]){ "true" }, NULL };
	pid_t pid;

	(void)state;
	assert_int_equal(comap_mutex_lock(heap, mutex), 0);
	for (int i = 0; i < 20; i++) {
		pid = vfork();
		if (pid == 0) {
			execv("/bin/true", args);
			_exit(1);
		}
		assert_int_equal(kin_wait(pid), 0);
		pid = vfork();
		if (pid == 0)
			_exit(0);
		assert_int_equal(kin_wait(pid), 0);
		assert_int_equal(posix_spawnp(&pid, "true", NULL, NULL, args, environ), 0);
		assert_int_equal(kin_wait(pid), 0);
		assert_int_not_equal(
			posix_spawnp(&pid, "/nonexistent/x", NULL, NULL, args, environ), 0);
	}
	assert_int_equal(comap_heap_reap(heap), 0);
	assert_int_equal(stats_of(heap).slots_live, 1);
	assert_int_equal(comap_mutex_unlock(heap, mutex), 0);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
}

/* ---- fork in programs with threads ---------------------------------------------- */

struct churn {
	comap_heap *heap;
	struct meeting *meeting;
	uint64_t seed;
	bool detaches;
};

static void *churn(void *arg)
{
	struct churn *c = arg;
	struct dice dice = dice_of(c->seed);
	void *block[16] = {0};

	while (!atomic_load(&c->meeting->should_stop)) {
		unsigned i = (unsigned)roll(&dice, 16);

		comap_heap_free(c->heap, block[i]);
		block[i] = comap_heap_malloc(c->heap, roll(&dice, roll(&dice, 20) ? 2000 : 200000));
		if (c->detaches)
			comap_heap_detach(c->heap);
		c->meeting->count++;
	}
	for (unsigned i = 0; i < 16; i++)
		comap_heap_free(c->heap, block[i]);
	return NULL;
}

/* What each child does: everything, a little. */
static int use_a_little(void *arg)
{
	comap_heap *heap = arg;

	for (unsigned i = 0; i < 20; i++) {
		void *p = comap_heap_malloc(heap, 1 + i * i * 300);

		KIN_CHECK(p);
		stamp(p, 1 + i * i * 300, i);
		KIN_CHECK(has_stamp(p, 1 + i * i * 300, i));
		comap_heap_free(heap, p);
	}
	return 0;
}

/* LeakSanitizer asks: a child that leaves by exit would be blamed for what the runner
 * still has. */
int __lsan_is_turned_off(void);
static bool is_child;

int __lsan_is_turned_off(void)
{
	return is_child;
}

static void leave_by_exit(void)
{
	is_child = true;
	exit(0);
}

static int use_a_little_and_exit(void *arg)
{
	(void)use_a_little(arg);
	leave_by_exit();
	return 0;
}

static void fork_while_threads_are_inside_malloc(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	struct churn c[3];
	pthread_t thread[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		c[i] = (struct churn){ .heap = heap, .meeting = meeting, .seed = i };
		assert_int_equal(pthread_create(&thread[i], NULL, churn, &c[i]), 0);
	}
	for (unsigned i = 0; i < 300; i++) {
		pid_t pid = kin_spawn(i % 2 ? use_a_little_and_exit : use_a_little, heap);

		assert_int_equal(wait_for(pid, 30), 0);
	}
	atomic_store(&meeting->should_stop, 1);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	/* half of them left by _exit: dead, but in the midst of nothing */
	(void)comap_heap_reap(heap);
	assert_int_equal(stats_of(heap).deaths, 150);
	assert_int_equal(stats_of(heap).slots_live, 1);
	assert_int_equal(live_blocks(heap), 0);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

/* The story: a lock of this process, held by another thread at the moment of a raw
 * clone, is held for ever in the child. */
static void raw_fork_while_threads_come_and_go(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	struct churn c[2];
	pthread_t thread[2];
	int nhung = 0;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		c[i] = (struct churn){ .heap = heap, .meeting = meeting, .seed = i, .detaches = true };
		assert_int_equal(pthread_create(&thread[i], NULL, churn, &c[i]), 0);
	}
	for (unsigned i = 0; i < 500 && nhung == 0; i++) {
		pid_t pid = raw_fork();

		if (pid == 0) {
			void *p = comap_heap_malloc(heap, 100);

			RAW_CHECK(p);
			comap_heap_free(heap, p);
			comap_heap_detach(heap);
			leave(0);
		}
		nhung += wait_for(pid, 5) != 0;
	}
	atomic_store(&meeting->should_stop, 1);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(nhung, 0);
	assert_int_equal(live_blocks(heap), 0);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

static int exit_by_exit(void *arg)
{
	KIN_CHECK(comap_heap_malloc(arg, 10));
	leave_by_exit();
	return 0;
}

static int exit_by_underscore(void *arg)
{
	KIN_CHECK(comap_heap_malloc(arg, 10));
	return 0;
}

static void *idle(void *arg)
{
	struct churn *c = arg;

	comap_heap_free(c->heap, comap_heap_malloc(c->heap, 10));
	kin_raise(&c->meeting->step, 1);
	while (!atomic_load(&c->meeting->should_stop))
		kin_sleep_us(1000);
	return NULL;
}

static void child_of_a_threaded_program_leaves_properly(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	struct churn c = { .heap = heap, .meeting = meeting };
	pthread_t thread;

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 10));
	assert_int_equal(pthread_create(&thread, NULL, idle, &c), 0);
	assert_true(kin_await(&meeting->step, 1));
	assert_int_equal(kin_run(exit_by_exit, heap), 0);
	assert_int_equal(stats_of(heap).slots_live, 2);
	assert_int_equal(stats_of(heap).slots_dead, 0);
	assert_int_equal(kin_run(exit_by_underscore, heap), 0);
	assert_int_equal(stats_of(heap).slots_live, 2);
	assert_int_equal(stats_of(heap).slots_dead, 1);
	assert_int_equal(comap_heap_reap(heap), 1);
	atomic_store(&meeting->should_stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(stats_of(heap).slots_live, 1);
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

static void *fork_from_here(void *arg)
{
	comap_heap *heap = arg;
	void *p = comap_heap_malloc(heap, 10);
	long failed = 0;

	for (int i = 0; i < 10; i++)
		failed += kin_run(use_a_little_and_exit, heap) != 0;
	comap_heap_free(heap, p);
	return (void *)failed;
}

static void fork_from_a_thread_that_is_not_the_first(void **state)
{
	comap_heap *heap = small_heap(0);
	pthread_t thread;
	void *failed;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, fork_from_here, heap), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(live_blocks(heap), 0);
	assert_int_equal(stats_of(heap).slots_live, 0);
	assert_int_equal(stats_of(heap).deaths, 0);
	comap_heap_close(heap);
}

/* ---- generations ---------------------------------------------------------------- */

struct node {
	comap_ref next;
	uint64_t depth;
};

struct descent {
	comap_heap *heap;
	comap_ref *head;
	unsigned depth;
};

static int descend(void *arg)
{
	struct descent *d = arg;
	struct node *node;

	KIN_CHECK((node = comap_heap_malloc(d->heap, sizeof *node)));
	*node = (struct node){ .next = *d->head, .depth = d->depth };
	*d->head = comap_heap_ref(d->heap, node);
	return --d->depth ? kin_run(descend, d) : 0;
}

static void great_grandchildren_build_one_list(void **state)
{
	comap_heap *heap = small_heap(0);
	struct descent d = { .heap = heap, .depth = 8 };
	uint64_t want = 1;

	(void)state;
	d.head = comap_heap_calloc(heap, 1, sizeof *d.head);
	assert_int_equal(kin_run(descend, &d), 0);
	while (!comap_ref_is_null(*d.head)) {
		struct node *node = comap_heap_at(heap, *d.head);

		assert_int_equal(node->depth, want++);
		*d.head = node->next;
		comap_heap_free(heap, node);
	}
	assert_int_equal(want, 9);
	assert_int_equal(comap_heap_reap(heap), 8); /* they left by _exit */
	comap_heap_close(heap);
}

/* ---- fork and close ------------------------------------------------------------- */

static int open_another(void *arg)
{
	comap_heap *heap = small_heap(0);
	void *p;

	(void)arg;
	KIN_CHECK(heap);
	KIN_CHECK(kin_count_maps("comap") == 1);
	KIN_CHECK((p = comap_heap_malloc(heap, 10)));
	comap_heap_free(heap, p);
	comap_heap_close(heap);
	KIN_CHECK(kin_count_maps("comap") == 0);
	return 0;
}

static void child_of_one_that_closed_can_open_another(void **state)
{
	comap_heap *heap = small_heap(0);

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 10));
	comap_heap_close(heap);
	assert_int_equal(kin_run(open_another, NULL), 0);
}

static void closed_heap_that_a_thread_still_uses_is_gone_in_the_child(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	struct churn c = { .heap = heap, .meeting = meeting };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, idle, &c), 0);
	assert_true(kin_await(&meeting->step, 1));
	comap_heap_close(heap);
	assert_int_equal(kin_count_maps("comap"), 1);
	assert_int_equal(kin_run(open_another, NULL), 0);
	atomic_store(&meeting->should_stop, 1);
	pthread_join(thread, NULL);
	assert_int_equal(kin_count_maps("comap"), 0);
	kin_page_drop(meeting);
}

static int close_in_the_child(void *arg)
{
	comap_heap_free(arg, comap_heap_malloc(arg, 10));
	comap_heap_close(arg);
	KIN_CHECK(kin_count_maps("comap") == 0);
	return 0;
}

static void close_in_the_child_is_not_the_parents(void **state)
{
	comap_heap *heap = small_heap(0);
	void *p = comap_heap_malloc(heap, 10);

	(void)state;
	assert_int_equal(kin_run(close_in_the_child, heap), 0);
	assert_int_equal(stats_of(heap).slots_live, 1);
	assert_int_equal(stats_of(heap).slots_dead, 0);
	comap_heap_free(heap, p);
	assert_int_equal(live_blocks(heap), 0);
	comap_heap_close(heap);
}

static int use_default(void *arg)
{
	char *text = comap_heap_at(comap_default_heap(), *(comap_ref *)arg);

	KIN_CHECK(strcmp(text, "from the parent") == 0);
	strcpy(text, "from the child");
	KIN_CHECK(comap_malloc(10));
	return 0;
}

static int make_default(void *arg)
{
	(void)arg;
	KIN_CHECK(comap_malloc(10));
	KIN_CHECK(comap_default_heap());
	return 0;
}

static void default_heap_is_shared_when_made_before_fork(void **state)
{
	comap_heap *heap;
	comap_ref ref;
	char *text;

	(void)state;
	assert_null(comap_set_default_heap(NULL));
	assert_int_equal(kin_run(make_default, NULL), 0); /* the child's own */
	text = comap_strdup("from the parent");
	assert_non_null(text);
	heap = comap_default_heap();
	ref = comap_heap_ref(heap, text);
	assert_int_equal(live_blocks(heap), 1);
	assert_int_equal(kin_run(use_default, &ref), 0);
	assert_string_equal(text, "from the child");
	assert_int_equal(live_blocks(heap), 2);
	assert_ptr_equal(comap_set_default_heap(NULL), heap);
	comap_heap_close(heap);
}

/* ---- other pid namespaces ------------------------------------------------------- */

/* A pid that nobody outside has. */
static pid_t free_pid(void)
{
	for (pid_t pid = 2; pid < 300; pid++)
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return pid;
	return 0;
}

struct away {
	comap_heap *heap;
	struct meeting *meeting;
	pid_t wanted;
};

static int stay_attached(void *arg)
{
	struct away *away = arg;

	if (getpid() != away->wanted)
		return 77;
	KIN_CHECK(comap_heap_malloc(away->heap, 10));
	KIN_CHECK(comap_heap_reap(away->heap) == 0); /* nor are those outside, to us */
	kin_raise(&away->meeting->step, 1);
	KIN_CHECK(kin_await(&away->meeting->should_stop, 1));
	return 0;
}

/* The first process of the new namespace: goes on until a child has the pid wanted. */
static int be_init(void *arg)
{
	int status = 77;

	for (int i = 0; i < 400 && status == 77; i++)
		status = kin_run(stay_attached, arg);
	return status;
}

static int enter_namespace(void *arg)
{
	if (unshare(CLONE_NEWPID) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0)
		return 77;
	return kin_run(be_init, arg);
}

/* The story: a slot says which namespace its ids are of; a child that was forked into
 * another one said its parent's, and a tgkill for its pid found nobody. */
static void child_in_another_pid_namespace_is_not_taken_for_dead(void **state)
{
	comap_heap *heap = small_heap(0);
	struct meeting *meeting = kin_page();
	struct away away = { .heap = heap, .meeting = meeting, .wanted = free_pid() };
	pid_t pid;
	int status = -1;

	(void)state;
	comap_heap_free(heap, comap_heap_malloc(heap, 10));
	pid = kin_spawn(enter_namespace, &away);
	while (atomic_load(&meeting->step) == 0 && waitpid(pid, &status, WNOHANG) == 0)
		kin_sleep_us(1000);
	if (atomic_load(&meeting->step) == 0) {
		comap_heap_close(heap);
		kin_page_drop(meeting);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip(); /* no right to unshare */
		assert_int_equal(status, 0);
	}
	assert_int_equal(stats_of(heap).slots_live, 2);
	assert_int_equal(stats_of(heap).slots_dead, 0);
	assert_int_equal(comap_heap_reap(heap), 0);
	kin_raise(&meeting->should_stop, 1);
	assert_int_equal(kin_wait(pid), 0);
	comap_heap_close(heap);
	kin_page_drop(meeting);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(parent_and_child_free_each_others_blocks),
		CROWD_TEST(raw_child_has_a_slot_of_its_own_and_its_death_is_noticed),
		CROWD_TEST(raw_child_that_detaches_leaves_no_dead_slot),
		CROWD_TEST(mutex_of_a_killed_raw_child_is_inherited),
		CROWD_TEST(raw_children_of_raw_children_are_told_apart),
		CROWD_TEST(raw_child_killed_in_malloc_leaves_a_whole_heap),
		CROWD_TEST(vfork_and_posix_spawn_leave_the_parents_slot_alone),
		CROWD_TEST(fork_while_threads_are_inside_malloc),
		CROWD_TEST(child_of_a_threaded_program_leaves_properly),
		CROWD_TEST(fork_from_a_thread_that_is_not_the_first),
		CROWD_TEST(great_grandchildren_build_one_list),
		CROWD_TEST(child_of_one_that_closed_can_open_another),
		CROWD_TEST(closed_heap_that_a_thread_still_uses_is_gone_in_the_child),
		CROWD_TEST(close_in_the_child_is_not_the_parents),
		CROWD_TEST(default_heap_is_shared_when_made_before_fork),
		CROWD_TEST(raw_fork_while_threads_come_and_go),
		CROWD_TEST(child_in_another_pid_namespace_is_not_taken_for_dead),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
