/* test_life_lock.c - identity locks: take, give, wait, steal. */
#include <pthread.h>
#include "fixture.h"

struct env {
	comap_heap *heap;
	struct cm_life *life;
	struct cm_self self;
	cm_word *lock; /* in the heap */
	uint64_t seen;
};

static struct env begin(void)
{
	struct env e;

	e.heap = fx_heap(64 * CM_MIB);
	e.life = &e.heap->seg.life;
	e.self = fx_self(e.heap);
	e.lock = comap_heap_calloc(e.heap, 1, 64);
	e.seen = 0;
	assert_non_null(e.lock);
	return e;
}

static int take(struct env *e, uint64_t timeout_ns)
{
	return cm_lock_take(e->life, e->lock, &e->self,
			    timeout_ns == CM_NEVER ? CM_NEVER
			    : timeout_ns	   ? cm_os_now_ns() + timeout_ns
						   : 0,
			    &e->seen);
}

static void the_word_says_who_has_it(void **state)
{
	struct env e = begin();

	(void)state;
	assert_false(cm_lock_is_mine(e.lock, &e.self));
	assert_int_equal(take(&e, 0), 0);
	assert_true(cm_read(e.lock) == cm_lock_name(e.self.index, cm_read(&e.self.slot->generation)));
	assert_true(cm_lock_is_mine(e.lock, &e.self));
	cm_lock_give(e.lock);
	assert_true(cm_read(e.lock) == 0);
	fx_close(e.heap);
}

static void the_holder_is_told_that_it_holds_it(void **state)
{
	struct env e = begin();

	(void)state;
	assert_int_equal(take(&e, 0), 0);
	assert_int_equal(take(&e, 0), -EDEADLK);
	assert_int_equal(take(&e, CM_NEVER), -EDEADLK);
	cm_set_bits(e.lock, CM_LOCK_WAITERS); /* somebody waits meanwhile */
	assert_int_equal(take(&e, CM_NEVER), -EDEADLK);
	cm_lock_give(e.lock);
	assert_true(cm_read(e.lock) == 0);
	fx_close(e.heap);
}

/* ---- with another thread ------------------------------------------------------------ */

struct holder {
	struct env *e;
	_Atomic uint32_t stage; /* 1: holds it; 2: told to give it; 3: gave it */
};

static void *hold(void *arg)
{
	struct holder *h = arg;
	struct env mine = *h->e;

	mine.self = fx_self(mine.heap);
	KIN_CHECK(take(&mine, CM_NEVER) == 0);
	kin_raise(&h->stage, 1);
	KIN_CHECK(kin_await(&h->stage, 2));
	cm_lock_give(mine.lock);
	kin_raise(&h->stage, 3);
	return NULL;
}

static void a_living_owner_is_waited_for_until_the_deadline(void **state)
{
	struct env e = begin();
	struct holder h = { .e = &e };
	pthread_t thread;
	uint64_t start, took;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, hold, &h), 0);
	assert_true(kin_await(&h.stage, 1));
	assert_int_equal(take(&e, 0), -ETIMEDOUT);
	start = cm_os_now_ns();
	assert_int_equal(take(&e, 35000000), -ETIMEDOUT);
	took = cm_os_now_ns() - start;
	assert_true(took >= 35000000);
	assert_false(cm_lock_is_mine(e.lock, &e.self));
	kin_raise(&h.stage, 2);
	assert_true(kin_await(&h.stage, 3));
	assert_true(cm_read(e.lock) == 0); /* and the mark of the waiter went with it */
	assert_int_equal(take(&e, 0), 0);
	cm_lock_give(e.lock);
	pthread_join(thread, NULL);
	fx_close(e.heap);
}

static void a_waiter_gets_what_is_given(void **state)
{
	struct env e = begin();
	struct holder h = { .e = &e };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, hold, &h), 0);
	assert_true(kin_await(&h.stage, 1));
	kin_raise(&h.stage, 2);
	assert_int_equal(take(&e, CM_NEVER), 0);
	assert_true(cm_lock_is_mine(e.lock, &e.self));
	cm_lock_give(e.lock);
	pthread_join(thread, NULL);
	fx_close(e.heap);
}

struct counter {
	struct env *e;
	unsigned long inside, n; /* guarded by the lock alone: TSan knows no other */
	unsigned long rounds;
};

static void *count(void *arg)
{
	struct counter *c = arg;
	struct env mine = *c->e;

	mine.self = fx_self(mine.heap);
	for (unsigned long i = 0; i < c->rounds; i++) {
		KIN_CHECK(take(&mine, CM_NEVER) == 0);
		KIN_CHECK(c->inside++ == 0);
		c->n++;
		KIN_CHECK(--c->inside == 0);
		cm_lock_give(mine.lock);
	}
	return NULL;
}

static void one_thread_at_a_time_is_inside(void **state)
{
	struct env e = begin();
	struct counter c = { .e = &e, .rounds = kin_is_valgrind() ? 300 : 20000 };
	pthread_t thread[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, count, &c), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_true(c.n == 4 * c.rounds);
	assert_true(cm_read(e.lock) == 0);
	fx_close(e.heap);
}

/* ---- the dead --------------------------------------------------------------------------- */

static int dies_holding_it(void *arg)
{
	struct env mine = *(struct env *)arg;

	mine.self = fx_self(mine.heap);
	KIN_CHECK(take(&mine, 0) == 0);
	kin_die();
	return 0;
}

static void a_dead_owners_lock_can_be_stolen_once(void **state)
{
	struct env e = begin();
	uint64_t seen;

	(void)state;
	assert_int_equal(kin_run(dies_holding_it, &e), -SIGKILL);
	assert_int_equal(take(&e, 0), 1);
	seen = e.seen;
	assert_true(seen == cm_read(e.lock) && seen != 0);
	assert_int_equal(take(&e, CM_NEVER), 1); /* to know is not to have */
	assert_true(cm_lock_steal(e.lock, seen, &e.self));
	assert_true(cm_lock_is_mine(e.lock, &e.self));
	assert_false(cm_lock_steal(e.lock, seen, &e.self));
	cm_lock_give(e.lock);
	assert_false(cm_lock_steal(e.lock, seen, &e.self)); /* late: it is free, take it */
	comap_heap_reap(e.heap);
	fx_close(e.heap);
}

static void a_stale_theft_does_not_hit_the_next_owner_of_the_slot(void **state)
{
	struct env e = begin(), other;
	uint64_t seen, nused;
	uint32_t index;

	(void)state;
	assert_int_equal(kin_run(dies_holding_it, &e), -SIGKILL);
	assert_int_equal(take(&e, 0), 1);
	seen = e.seen;
	index = (uint32_t)(seen >> 32) - 1;
	assert_true(cm_lock_steal(e.lock, seen, &e.self));
	cm_lock_give(e.lock);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	/* somebody alive gets the dead one's slot and takes the lock */
	other = e;
	for (nused = cm_life_nused(e.life); nused; nused--) {
		assert_int_equal(cm_life_enter(e.life, &other.self), 0);
		if (other.self.index == index)
			break;
		cm_life_leave(&other.self);
	}
	assert_int_equal(other.self.index, index);
	assert_int_equal(take(&other, 0), 0);
	assert_true(cm_read(other.lock) != seen);
	assert_false(cm_lock_steal(e.lock, seen, &e.self));
	assert_int_equal(take(&e, 0), -ETIMEDOUT);
	cm_lock_give(e.lock);
	cm_life_leave(&other.self);
	fx_close(e.heap);
}

static void a_word_that_names_nobody_is_a_dead_mans(void **state)
{
	struct env e = begin();
	const uint64_t nobody[] = {
		1, 0x12345678, cm_lock_name(e.self.index, cm_read(&e.self.slot->generation) + 1),
		cm_lock_name(5000, 0), cm_lock_name(0x7ffffffe, 3), CM_LOCK_WAITERS,
		CM_LOCK_WAITERS | 9,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof nobody / sizeof *nobody; i++) {
		cm_write(e.lock, nobody[i]);
		assert_int_equal(take(&e, 50000000), 1);
		assert_true((e.seen & ~CM_LOCK_WAITERS) == (nobody[i] & ~CM_LOCK_WAITERS));
		assert_true(cm_lock_steal(e.lock, e.seen, &e.self));
		assert_true(cm_lock_is_mine(e.lock, &e.self));
		cm_lock_give(e.lock);
	}
	fx_close(e.heap);
}

static void the_waiters_mark_survives_a_theft(void **state)
{
	struct env e = begin();

	(void)state;
	assert_int_equal(kin_run(dies_holding_it, &e), -SIGKILL);
	cm_set_bits(e.lock, CM_LOCK_WAITERS);
	assert_int_equal(take(&e, 0), 1);
	assert_true(cm_lock_steal(e.lock, e.seen, &e.self));
	assert_true(cm_read(e.lock) & CM_LOCK_WAITERS); /* else nobody would wake them */
	assert_true(cm_lock_is_mine(e.lock, &e.self));
	cm_lock_give(e.lock);
	comap_heap_reap(e.heap);
	fx_close(e.heap);
}

static int takes_and_ends(void *arg)
{
	return dies_holding_it(arg);
}

static void a_waiter_notices_a_death_by_itself(void **state)
{
	struct env e = begin();
	pid_t pid;
	uint64_t start;

	(void)state;
	pid = kin_spawn(takes_and_ends, &e);
	while (cm_read(e.lock) == 0) /* it may take a moment to be born */
		kin_sleep_us(100);
	start = cm_os_now_ns();
	assert_int_equal(take(&e, CM_NEVER), 1);
	assert_true(cm_os_now_ns() - start < 5000000000ull);
	assert_int_equal(kin_wait(pid), -SIGKILL);
	assert_true(cm_lock_steal(e.lock, e.seen, &e.self));
	cm_lock_give(e.lock);
	comap_heap_reap(e.heap);
	fx_close(e.heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(the_word_says_who_has_it),
		KIN_TEST(the_holder_is_told_that_it_holds_it),
		KIN_TEST(a_living_owner_is_waited_for_until_the_deadline),
		KIN_TEST(a_waiter_gets_what_is_given),
		KIN_TEST(one_thread_at_a_time_is_inside),
		KIN_TEST(a_dead_owners_lock_can_be_stolen_once),
		KIN_TEST(a_stale_theft_does_not_hit_the_next_owner_of_the_slot),
		KIN_TEST(a_word_that_names_nobody_is_a_dead_mans),
		KIN_TEST(the_waiters_mark_survives_a_theft),
		KIN_TEST(a_waiter_notices_a_death_by_itself),
	};

	return cmocka_run_group_tests_name("life/lock", tests, NULL, NULL);
}
