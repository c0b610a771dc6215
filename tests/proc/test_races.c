/*
 * test_races.c - races of a few instructions, made certain.
 *
 * A process is walked instruction by instruction (ptrace) to the place where it must
 * not be disturbed, disturbed there, and let go; then again one instruction further.
 * What is waited for is a word of a slot, so this knows the layout of slots, and no
 * addresses.
 *
 * The first slot is the parent's, the second the reaper's; they are about the third.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <linux/futex.h>
#include <sys/ptrace.h>
#include "crowd.h"
#include "heap/heap.h"

#define THIRD 3u
#define MOST_STEPS 20000u

struct scene {
	comap_heap *heap;
	_Atomic uint32_t ready, reaped, attached, order;
};

static struct cm_slot_shm *third(const struct scene *s)
{
	return cm_life_slot(&s->heap->seg.life, THIRD);
}

/* ---- walking -------------------------------------------------------------------- */

/* In a child: traced by its parent, it waits for the first step. */
static void stand_still(void)
{
	KIN_CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	raise(SIGSTOP);
}

static bool is_standing(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
}

static bool step(pid_t pid, unsigned n)
{
	while (n--)
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) < 0 || !is_standing(pid))
			return false;
	return true;
}

/* How many steps until is(s, arg), or MOST_STEPS. */
static unsigned walk_until(pid_t pid, bool (*is)(const struct scene *s, uint64_t arg),
			   const struct scene *s, uint64_t arg)
{
	unsigned n = 0;

	while (n < MOST_STEPS && !is(s, arg) && step(pid, 1))
		n++;
	return n;
}

/* To the door of the next system call of that number. */
static bool walk_to_call(pid_t pid, uint64_t number)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD) < 0)
		return false;
	for (unsigned i = 0; i < 1000; i++) {
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0) < 0 || !is_standing(pid))
			return false;
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0 &&
		    info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == number)
			return true;
	}
	return false;
}

static void let_go(pid_t pid)
{
	assert_int_equal(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
}

static bool is_named(const struct scene *s, uint64_t tid)
{
	return (cm_robust_word(third(s)) & FUTEX_TID_MASK) == tid;
}

static bool has_generation_after(const struct scene *s, uint64_t generation)
{
	return cm_read(&third(s)->generation) != generation;
}

static bool is_being_reaped(const struct scene *s, uint64_t unused)
{
	(void)unused;
	return cm_read(&third(s)->reap) != 0;
}

/* ---- who takes part ------------------------------------------------------------- */

static int reaper(void *arg)
{
	struct scene *s = arg;

	KIN_CHECK(comap_heap_malloc(s->heap, 10));
	kin_raise(&s->ready, 1);
	stand_still();
	KIN_CHECK(comap_heap_reap(s->heap) >= 0);
	kin_raise(&s->reaped, 1);
	pause();
	return 0;
}

static int victim(void *arg)
{
	struct scene *s = arg;

	KIN_CHECK(comap_heap_malloc(s->heap, 10));
	kin_die();
	return 0;
}

static int passer_by(void *arg)
{
	struct scene *s = arg;

	KIN_CHECK(comap_heap_malloc(s->heap, 10));
	comap_heap_detach(s->heap);
	return 0;
}

static int newcomer(void *arg)
{
	struct scene *s = arg;

	stand_still();
	KIN_CHECK(comap_heap_malloc(s->heap, 10));
	kin_raise(&s->attached, 1);
	pause();
	return 0;
}

static int comer_and_goer(void *arg)
{
	struct scene *s = arg;

	KIN_CHECK(comap_heap_malloc(s->heap, 10));
	kin_raise(&s->attached, 1);
	KIN_CHECK(kin_await(&s->order, 1));
	comap_heap_detach(s->heap);
	KIN_CHECK(comap_heap_malloc(s->heap, 10));
	kin_raise(&s->attached, 2);
	pause();
	return 0;
}

/* The parent has the first slot, the reaper the second, and stands still. */
static struct scene *new_scene(pid_t *ret_reaper)
{
	struct scene *s = kin_page();

	s->heap = small_heap(4); /* one more, for who finds the third taken */
	assert_non_null(comap_heap_malloc(s->heap, 10));
	*ret_reaper = kin_spawn(reaper, s);
	assert_true(kin_await(&s->ready, 1));
	assert_true(is_standing(*ret_reaper));
	return s;
}

static void end_scene(struct scene *s)
{
	assert_true(is_whole(s->heap));
	comap_heap_close(s->heap);
	kin_page_drop(s);
}

static int be_traced(void *arg)
{
	return arg || ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? 77 : 0;
}

static int find_slot_of(const struct comap_slot_info *info, void *arg)
{
	return info->tgid == *(pid_t *)arg ? 1 + info->is_dead : 0;
}

/* It is attached, seen to be alive, and seen to be dead when it is. */
static void assert_lives_and_dies(struct scene *s, pid_t pid)
{
	uint64_t deaths;

	assert_int_equal(comap_heap_slots(s->heap, find_slot_of, &pid), 1);
	assert_int_equal(comap_heap_reap(s->heap), 0);
	assert_int_equal(comap_heap_slots(s->heap, find_slot_of, &pid), 1);
	deaths = stats_of(s->heap).deaths;
	assert_int_equal(kin_kill(pid), -SIGKILL);
	assert_int_equal(comap_heap_reap(s->heap), 1);
	assert_int_equal(stats_of(s->heap).deaths, deaths + 1);
}

/* ---- the races ------------------------------------------------------------------ */

/* The story: a newcomer saw a free slot.  Before it locked the slot's mutex another took
 * the slot and died; before the reaper reset the mutex the newcomer had it locked. */
static void newcomer_and_reaper_do_not_meet_in_one_slot(void **state)
{
	(void)state;
	for (unsigned k = 0; k < 80; k++) {
		pid_t reaping, coming;
		struct scene *s = new_scene(&reaping);
		uint64_t generation;
		bool is_traced;

		assert_int_equal(kin_run(passer_by, s), 0);
		coming = kin_spawn(newcomer, s);
		assert_true(is_standing(coming));
		/* asked between the look at the slot and the lock */
		assert_true(walk_to_call(coming, SYS_get_robust_list));
		assert_int_equal(kin_run(victim, s), -SIGKILL);
		assert_true(cm_robust_word(third(s)) & FUTEX_OWNER_DIED);

		generation = cm_read(&third(s)->generation);
		assert_true(walk_until(reaping, has_generation_after, s, generation) < MOST_STEPS);
		/* the newcomer goes on, if it may, to where it has the mutex and k steps further */
		is_traced = walk_until(coming, is_named, s, (uint64_t)coming) == MOST_STEPS ||
			    step(coming, k);
		assert_true(is_traced);
		let_go(reaping);
		kin_sleep_us(1000);
		let_go(coming);
		assert_true(stands(&s->reaped, 1, 10));
		assert_true(stands(&s->attached, 1, 10));
		assert_lives_and_dies(s, coming);
		assert_int_equal(kin_kill(reaping), -SIGKILL);
		end_scene(s);
	}
}

/* Steps of the reaper until it has taken the dead one's slot in hand. */
static unsigned steps_to_reap_lock(void)
{
	pid_t reaping;
	struct scene *s = new_scene(&reaping);
	unsigned n;

	assert_int_equal(kin_run(victim, s), -SIGKILL);
	n = walk_until(reaping, is_being_reaped, s, 0);
	assert_true(n < MOST_STEPS);
	let_go(reaping);
	assert_true(stands(&s->reaped, 1, 10));
	assert_int_equal(kin_kill(reaping), -SIGKILL);
	end_scene(s);
	return n;
}

/* The story: the reaper saw a death; while it took the lock another reaped it, and a
 * newcomer came in.  It looked again, and while it looked the newcomer left and came
 * back: another generation than the one it had read, and alive: it took that for dead. */
static void slot_that_changes_hands_under_the_reapers_eyes_is_alive(void **state)
{
	unsigned nsteps = steps_to_reap_lock(), ncaught = 0;

	(void)state;
	for (unsigned k = 0; k < 80; k++) {
		pid_t reaping, coming;
		struct scene *s = new_scene(&reaping);

		assert_int_equal(kin_run(victim, s), -SIGKILL);
		assert_true(step(reaping, nsteps - 1));
		assert_false(is_being_reaped(s, 0));
		assert_int_equal(comap_heap_reap(s->heap), 1);
		coming = kin_spawn(comer_and_goer, s);
		assert_true(stands(&s->attached, 1, 10));
		assert_true(step(reaping, 1));
		ncaught += is_being_reaped(s, 0);
		assert_true(step(reaping, k));
		kin_raise(&s->order, 1);
		kin_sleep_us(1000); /* it may wait for the reaper */
		let_go(reaping);
		assert_true(stands(&s->reaped, 1, 10));
		assert_true(stands(&s->attached, 2, 10));
		assert_lives_and_dies(s, coming);
		assert_int_equal(kin_kill(reaping), -SIGKILL);
		end_scene(s);
	}
	assert_int_equal(ncaught, 80);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(newcomer_and_reaper_do_not_meet_in_one_slot),
		CROWD_TEST(slot_that_changes_hands_under_the_reapers_eyes_is_alive),
	};

	if (kin_is_valgrind() || kin_run(be_traced, NULL) != 0)
		return 77; /* a container may forbid ptrace */
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
