/* test_life_slot.c - the directory of slots and the life words in it (slot.c, robust.c). */
#include <linux/futex.h>
#include <pthread.h>
#include "fixture.h"

struct env {
	comap_heap *heap;
	struct cm_life *life;
};

static struct env begin(uint32_t slots)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct env e;

	opts.max_size = 64 * CM_MIB;
	opts.slots = slots;
	e.heap = fx_heap_with(&opts);
	e.life = &e.heap->seg.life;
	return e;
}

static uint32_t tid_in(struct cm_slot_shm *slot)
{
	return cm_robust_word(slot) & FUTEX_TID_MASK;
}

static void the_life_word_holds_the_threads_id(void **state)
{
	struct env e = begin(0);
	struct cm_self self = {0};

	(void)state;
	assert_int_equal(cm_life_enter(e.life, &self), 0);
	assert_true(self.index != CM_SLOT_COMMON);
	assert_int_equal(tid_in(self.slot), cm_os_tid());
	assert_true(cm_read(&self.slot->state) == CM_SLOT_LIVE);
	assert_true(cm_read(&self.slot->ids) == ((uint64_t)getpid() << 32 | (uint32_t)cm_os_tid()));
	cm_robust_prepare(self.slot); /* what a newcomer does at the same time */
	assert_int_equal(tid_in(self.slot), cm_os_tid());
	assert_false(cm_life_needs_reap(e.life, self.index, true));
	cm_life_leave(&self);
	fx_close(e.heap);
}

static void leaving_frees_the_slot_and_changes_its_name(void **state)
{
	struct env e = begin(0);
	struct cm_self self = {0}, next = {0};
	struct cm_slot_shm *slot;
	uint64_t name, generation;

	(void)state;
	assert_int_equal(cm_life_enter(e.life, &self), 0);
	slot = self.slot;
	name = self.name;
	generation = cm_read(&slot->generation);
	assert_false(cm_life_is_dead(e.life, self.index, (uint32_t)generation, true));
	cm_life_leave(&self);
	assert_true(cm_read(&slot->state) == CM_SLOT_FREE);
	assert_int_equal(tid_in(slot), 0);
	assert_true(
		cm_life_is_dead(e.life, (uint32_t)(name >> 32) - 1, (uint32_t)generation, false));
	assert_false(cm_life_needs_reap(e.life, (uint32_t)(name >> 32) - 1, true));
	assert_int_equal(cm_life_enter(e.life, &next), 0);
	assert_ptr_equal(next.slot, slot); /* the only one so far */
	assert_true(next.name != name);
	cm_life_leave(&next);
	fx_close(e.heap);
}

static void a_generation_of_32_bits_wraps_to_a_new_name(void **state)
{
	struct env e = begin(0);
	struct cm_self self = {0};
	struct cm_slot_shm *slot;
	uint64_t name;

	(void)state;
	assert_int_equal(cm_life_enter(e.life, &self), 0);
	slot = self.slot;
	cm_life_leave(&self);
	cm_write(&slot->generation, 0xffffffff);
	assert_int_equal(cm_life_enter(e.life, &self), 0);
	name = self.name;
	assert_false(cm_life_is_dead(e.life, self.index, 0xffffffff, true));
	cm_life_leave(&self);
	assert_true(cm_read(&slot->generation) == 0);
	assert_int_equal(cm_life_enter(e.life, &self), 0);
	assert_true(self.name != name && self.name != 0);
	assert_true(cm_life_is_dead(e.life, self.index, 0xffffffff, false));
	cm_life_leave(&self);
	fx_close(e.heap);
}

static void only_as_many_slots_have_storage_as_were_needed(void **state)
{
	struct env e = begin(50);
	struct cm_self self[10];

	(void)state;
	memset(self, 0, sizeof self);
	assert_int_equal(cm_life_nused(e.life), 1);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(cm_life_enter(e.life, &self[i]), 0);
		assert_int_equal(cm_life_nused(e.life), i + 2);
	}
	for (unsigned i = 0; i < 10; i++)
		cm_life_leave(&self[i]);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(cm_life_enter(e.life, &self[0]), 0);
		cm_life_leave(&self[0]);
	}
	assert_int_equal(cm_life_nused(e.life), 11);
	fx_close(e.heap);
}

static void a_full_directory_says_so_and_a_free_slot_is_found_again(void **state)
{
	struct env e = begin(8);
	struct cm_self self[8], one = {0};
	unsigned n = 0;

	(void)state;
	memset(self, 0, sizeof self);
	while (n < 8 && cm_life_enter(e.life, &self[n]) == 0) {
		for (unsigned i = 0; i < n; i++)
			assert_true(self[i].index != self[n].index);
		n++;
	}
	assert_true(n >= 7);
	assert_int_equal(cm_life_enter(e.life, &one), -EAGAIN);
	for (unsigned i = 0; i < n; i++) {
		uint32_t index = self[i].index;

		cm_life_leave(&self[i]);
		assert_int_equal(cm_life_enter(e.life, &self[i]), 0);
		assert_int_equal(self[i].index, index);
		assert_int_equal(cm_life_enter(e.life, &one), -EAGAIN);
	}
	for (unsigned i = 0; i < n; i++)
		cm_life_leave(&self[i]);
	fx_close(e.heap);
}

/* ---- deaths ------------------------------------------------------------------------- */

struct told {
	_Atomic uint32_t stage;
	uint32_t index;
	uint64_t generation;
	comap_heap *heap;
};

static int enters_and_dies(void *arg)
{
	struct told *told = arg;
	struct cm_self self = {0};

	KIN_CHECK(cm_life_enter(&told->heap->seg.life, &self) == 0);
	told->index = self.index;
	told->generation = cm_read(&self.slot->generation);
	kin_raise(&told->stage, 1);
	while (atomic_load(&told->stage) == 1)
		kin_sleep_us(100);
	if (atomic_load(&told->stage) == 2)
		kin_die();
	_exit(7); /* without leaving: as dead as killed */
}

static void a_child_is_dead(unsigned how, int status)
{
	struct env e = begin(0);
	struct told *told = kin_page();
	uint32_t generation;
	pid_t pid;

	(void)fx_self(e.heap); /* who enters reaps: do that before */
	told->heap = e.heap;
	pid = kin_spawn(enters_and_dies, told);
	assert_true(kin_await(&told->stage, 1));
	generation = (uint32_t)told->generation;
	assert_false(cm_life_is_dead(e.life, told->index, generation, false));
	assert_false(cm_life_is_dead(e.life, told->index, generation, true));
	assert_false(cm_life_needs_reap(e.life, told->index, true));
	kin_raise(&told->stage, how);
	assert_int_equal(kin_wait(pid), status);
	assert_true(cm_life_is_dead(e.life, told->index, generation, false));
	assert_true(cm_life_needs_reap(e.life, told->index, false));
	assert_true(cm_robust_word(cm_life_slot(e.life, told->index)) & FUTEX_OWNER_DIED);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	assert_false(cm_life_needs_reap(e.life, told->index, true));
	assert_true(cm_life_is_dead(e.life, told->index, generation, false)); /* for ever */
	assert_true((uint32_t)cm_read(&cm_life_slot(e.life, told->index)->generation) != generation);
	assert_int_equal(tid_in(cm_life_slot(e.life, told->index)), 0);
	kin_page_drop(told);
	fx_close(e.heap);
}

static void a_killed_child_is_dead_at_once(void **state)
{
	(void)state;
	a_child_is_dead(2, -SIGKILL);
}

static void a_child_that_forgot_to_leave_is_dead(void **state)
{
	(void)state;
	a_child_is_dead(3, 7);
}

static void *enters_and_ends(void *arg)
{
	struct told *told = arg;
	struct cm_self self = {0};

	KIN_CHECK(cm_life_enter(&told->heap->seg.life, &self) == 0);
	told->index = self.index;
	return NULL;
}

static void a_thread_that_forgot_to_leave_is_dead(void **state)
{
	struct env e = begin(0);
	struct told told = { .heap = e.heap };
	pthread_t thread;

	(void)state;
	(void)fx_self(e.heap);
	assert_int_equal(pthread_create(&thread, NULL, enters_and_ends, &told), 0);
	pthread_join(thread, NULL);
	assert_true(cm_life_needs_reap(e.life, told.index, true));
	assert_int_equal(comap_heap_reap(e.heap), 1);
	fx_close(e.heap);
}

static void a_slot_beyond_the_directory_is_nobodys(void **state)
{
	struct env e = begin(0);

	(void)state;
	assert_true(cm_life_is_dead(e.life, cm_life_nused(e.life), 0, true));
	assert_true(cm_life_is_dead(e.life, 60000, 0, true));
	assert_true(cm_life_is_dead(e.life, UINT32_MAX, 0, true));
	cm_write(e.life->nused, ~0ull); /* scribbled over */
	assert_int_equal(cm_life_nused(e.life), e.life->nslots);
	cm_write(e.life->nused, 1);
	fx_close(e.heap);
}

static void a_word_marked_dead_is_seen_as_dead(void **state)
{
	struct env e = begin(0);
	struct cm_self self = {0};
	struct cm_slot_shm *slot;
	uint32_t index;

	(void)state;
	assert_int_equal(cm_life_enter(e.life, &self), 0);
	slot = self.slot;
	index = self.index;
	cm_life_leave(&self);
	cm_write(&slot->state, CM_SLOT_LIVE); /* as a file copied from another machine has it */
	cm_robust_mark_dead(slot);
	assert_true(cm_life_needs_reap(e.life, index, false));
	cm_life_release_dead(slot);
	assert_false(cm_life_needs_reap(e.life, index, false));
	assert_int_equal(cm_life_enter(e.life, &self), 0);
	assert_int_equal(self.index, index);
	cm_life_leave(&self);
	fx_close(e.heap);
}

/* ---- the common slot -------------------------------------------------------------------- */

struct common {
	struct cm_life *life;
	_Atomic uint32_t stage;
	_Atomic int inside;
};

static void *uses_the_common_slot(void *arg)
{
	struct common *c = arg;

	for (int i = 0; i < 200; i++) {
		struct cm_self self = {0};
		bool is_stale = true;

		KIN_CHECK(cm_life_enter_common(c->life, &self, &is_stale) == 0);
		KIN_CHECK(!is_stale);
		KIN_CHECK(atomic_fetch_add(&c->inside, 1) == 0);
		atomic_fetch_sub(&c->inside, 1);
		cm_life_leave(&self);
	}
	return NULL;
}

static void the_common_slot_has_one_user_at_a_time(void **state)
{
	struct env e = begin(0);
	struct common c = { .life = e.life };
	pthread_t thread[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, uses_the_common_slot, &c), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	fx_close(e.heap);
}

static void *uses_it_and_ends(void *arg)
{
	struct common *c = arg;

	for (int i = 0; i < 3; i++) {
		struct cm_self self = {0};
		bool is_stale = true;

		KIN_CHECK(cm_life_enter_common(c->life, &self, &is_stale) == 0);
		KIN_CHECK(!is_stale);
		KIN_CHECK(atomic_fetch_add(&c->inside, 1) == 0);
		atomic_fetch_sub(&c->inside, 1);
		cm_life_leave(&self);
	}
	return NULL;
}

/* A waiter that sees the last user's thread ended, and then reads the ids of the one who has
 * the slot since, declares the living dead. */
static void an_ended_thread_does_not_make_the_next_user_dead(void **state)
{
	struct env e = begin(0);
	struct common c = { .life = e.life };
	pthread_t thread[6];

	(void)state;
	for (int i = 0; i < (kin_is_valgrind() ? 20 : 700); i++) {
		for (unsigned k = 0; k < 6; k++)
			assert_int_equal(pthread_create(&thread[k], NULL, uses_it_and_ends, &c), 0);
		for (unsigned k = 0; k < 6; k++)
			pthread_join(thread[k], NULL);
	}
	fx_close(e.heap);
}

static int dies_in_the_common_slot(void *arg)
{
	struct cm_self self = {0};
	bool is_stale;

	KIN_CHECK(cm_life_enter_common(arg, &self, &is_stale) == 0);
	kin_die();
	return 0;
}

static void the_next_user_of_the_common_slot_hears_of_a_death(void **state)
{
	struct env e = begin(0);
	struct cm_self self = {0};
	bool is_stale = false;
	uint64_t generation = cm_read(&cm_life_slot(e.life, CM_SLOT_COMMON)->generation);

	(void)state;
	assert_int_equal(kin_run(dies_in_the_common_slot, e.life), -SIGKILL);
	assert_int_equal(cm_life_enter_common(e.life, &self, &is_stale), 0);
	assert_true(is_stale);
	assert_true(cm_read(&self.slot->generation) != generation);
	cm_life_leave(&self);
	is_stale = true;
	assert_int_equal(cm_life_enter_common(e.life, &self, &is_stale), 0);
	assert_false(is_stale);
	cm_life_leave(&self);
	fx_close(e.heap);
}

/* "Most threads attached at once": a slot is a thread's own, the common one is nobody's. */
static void as_many_threads_attach_as_opts_slots_says(void **state)
{
	struct env e = begin(4);
	struct cm_self self[4];
	unsigned n = 0;

	(void)state;
	memset(self, 0, sizeof self);
	while (n < 4 && cm_life_enter(e.life, &self[n]) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		cm_life_leave(&self[i]);
	assert_int_equal(fx_stats(e.heap).slots, 4);
	assert_int_equal(n, 4);
	fx_close(e.heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(the_life_word_holds_the_threads_id),
		KIN_TEST(leaving_frees_the_slot_and_changes_its_name),
		KIN_TEST(a_generation_of_32_bits_wraps_to_a_new_name),
		KIN_TEST(only_as_many_slots_have_storage_as_were_needed),
		KIN_TEST(a_full_directory_says_so_and_a_free_slot_is_found_again),
		KIN_TEST(a_killed_child_is_dead_at_once),
		KIN_TEST(a_child_that_forgot_to_leave_is_dead),
		KIN_TEST(a_thread_that_forgot_to_leave_is_dead),
		KIN_TEST(a_slot_beyond_the_directory_is_nobodys),
		KIN_TEST(a_word_marked_dead_is_seen_as_dead),
		KIN_TEST(the_common_slot_has_one_user_at_a_time),
		KIN_TEST(an_ended_thread_does_not_make_the_next_user_dead),
		KIN_TEST(the_next_user_of_the_common_slot_hears_of_a_death),
		KIN_TEST(as_many_threads_attach_as_opts_slots_says),
	};

	return cmocka_run_group_tests_name("life/slot", tests, NULL, NULL);
}
