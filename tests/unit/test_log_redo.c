/*
 * test_log_redo.c - changes that happen or do not; locks 5 to 7 are nobody's, and their words ours.
 */
#include "fixture.h"

#define LOCK 5u
#define OTHER 6u

struct env {
	comap_heap *heap;
	struct cm_log *log;
	struct cm_self self;
	cm_word *word;  /* six of them, guarded by LOCK */
	cm_word *block; /* 4 KiB of ours */
};

static struct env begin(void)
{
	struct env e;

	e.heap = fx_heap(64 * CM_MIB);
	e.log = &e.heap->seg.log;
	e.self = fx_self(e.heap);
	e.word = e.heap->seg.locks[LOCK].word;
	e.block = comap_heap_calloc(e.heap, 512, 8);
	assert_non_null(e.block);
	return e;
}

static uint64_t off_of(struct env *e, cm_word *at)
{
	return cm_off_of(&e->heap->seg, (void *)at);
}

static uint64_t damages(struct env *e)
{
	return cm_read(&e->heap->seg.super->damages);
}

static void nothing_shows_before_the_commit_and_all_after(void **state)
{
	struct env e = begin();
	struct cm_tx tx;

	(void)state;
	cm_tx_begin(e.log, &e.self, LOCK, &tx);
	for (unsigned i = 0; i < 6; i++)
		cm_tx_put(&tx, &e.word[i], 100 + i);
	for (unsigned i = 0; i < 6; i++)
		assert_true(cm_read(&e.word[i]) == 0);
	cm_tx_commit(&tx);
	for (unsigned i = 0; i < 6; i++)
		assert_true(cm_read(&e.word[i]) == 100 + i);
	assert_true(cm_read(&e.self.slot->redo.commit) == 0);
	cm_tx_end(&tx);
	assert_true(cm_read(&e.heap->seg.locks[LOCK].owner) == 0);
	fx_close(e.heap);
}

static void a_transaction_that_is_not_committed_never_happened(void **state)
{
	struct env e = begin();
	struct cm_tx tx;

	(void)state;
	cm_tx_begin(e.log, &e.self, LOCK, &tx);
	cm_tx_put(&tx, &e.word[0], 1);
	cm_tx_end(&tx);
	assert_true(cm_read(&e.word[0]) == 0);
	cm_tx_begin(e.log, &e.self, LOCK, &tx);
	cm_tx_put(&tx, &e.word[1], 2);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	assert_true(cm_read(&e.word[0]) == 0 && cm_read(&e.word[1]) == 2);
	fx_close(e.heap);
}

static void one_lock_may_cover_several_commits(void **state)
{
	struct env e = begin();
	struct cm_tx tx;

	(void)state;
	cm_tx_begin(e.log, &e.self, LOCK, &tx);
	for (unsigned i = 0; i < 300; i++) {
		cm_tx_put(&tx, &e.word[0], cm_read(&e.word[0]) + 1);
		cm_tx_commit(&tx);
	}
	cm_tx_end(&tx);
	assert_true(cm_read(&e.word[0]) == 300);
	fx_close(e.heap);
}

static void a_fill_covers_its_words_and_no_other(void **state)
{
	struct env e = begin();
	struct cm_tx tx;

	(void)state;
	cm_tx_begin(e.log, &e.self, CM_LOCK_NONE, &tx);
	cm_tx_put(&tx, &e.block[0], 1);
	cm_tx_fill(&tx, &e.block[2], 500, 0xabcd);
	cm_tx_fill(&tx, &e.block[508], 1, 7);
	cm_tx_fill(&tx, &e.block[510], 0, 8);
	cm_tx_put(&tx, &e.block[511], 9);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	for (unsigned i = 0; i < 512; i++)
		assert_true(cm_read(&e.block[i]) == (i == 0   ? 1
						     : i >= 2 && i < 502 ? 0xabcd
						     : i == 508          ? 7
						     : i == 511          ? 9
									 : 0));
	fx_close(e.heap);
}

static void a_log_takes_all_its_pairs(void **state)
{
	struct env e = begin();
	struct cm_tx tx;

	(void)state;
	cm_tx_begin(e.log, &e.self, CM_LOCK_NONE, &tx);
	for (unsigned i = 0; i < CM_REDO_PAIRS; i++)
		cm_tx_put(&tx, &e.block[i], i + 1);
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	for (unsigned i = 0; i < CM_REDO_PAIRS; i++)
		assert_true(cm_read(&e.block[i]) == i + 1);
	assert_true(cm_read(&e.block[CM_REDO_PAIRS]) == 0);
	fx_close(e.heap);
}

/* ---- logs of the dead ------------------------------------------------------------ */

/* A slot nobody has: it looks like one whose owner died there. */
static struct cm_slot_shm *dead_slot(struct env *e)
{
	struct cm_self self = {0};
	struct cm_slot_shm *slot;

	assert_int_equal(cm_life_enter(&e->heap->seg.life, &self), 0);
	slot = self.slot;
	cm_life_leave(&self);
	return slot;
}

static void pair(struct cm_slot_shm *slot, unsigned i, uint64_t at, uint64_t value)
{
	cm_write(&slot->redo.pair[i].at, at);
	cm_write(&slot->redo.pair[i].value, value);
}

static void commit(struct cm_slot_shm *slot, uint32_t lock, uint32_t n)
{
	cm_write(&slot->redo.commit, (uint64_t)lock << 16 | n);
}

static void applying_a_log_again_changes_nothing(void **state)
{
	struct env e = begin();
	struct cm_slot_shm *dead = dead_slot(&e);

	(void)state;
	for (int again = 0; again < 3; again++) {
		pair(dead, 0, off_of(&e, &e.block[0]), 11);
		pair(dead, 1, off_of(&e, &e.block[1]) | 1, 3);
		pair(dead, 2, 0, 12);
		pair(dead, 3, off_of(&e, &e.block[2]), 13);
		commit(dead, CM_LOCK_NONE, 4);
		assert_true(cm_log_is_valid(e.log, dead));
		cm_log_finish(e.log, &e.self, dead);
		assert_true(cm_read(&dead->redo.commit) == 0);
		assert_true(cm_read(&e.block[0]) == 11 && cm_read(&e.block[1]) == 12);
		assert_true(cm_read(&e.block[2]) == 13 && cm_read(&e.block[3]) == 12);
		assert_true(cm_read(&e.block[4]) == 0);
	}
	assert_true(damages(&e) == 0);
	fx_close(e.heap);
}

static void an_impossible_log_is_refused_and_counted(void **state)
{
	struct env e = begin();
	struct cm_slot_shm *dead = dead_slot(&e);
	const uint64_t end = e.heap->seg.max_size, good = off_of(&e, &e.block[0]);
	const struct {
		uint32_t lock, n;
		uint64_t at, value;
	} bad[] = {
		{ CM_LOCK_NONE, CM_REDO_PAIRS + 1, good, 1 }, /* more pairs than there are */
		{ CM_LOCK_NONE, 0xffff, good, 1 },
		{ CM_LOCKS, 1, good, 1 }, /* no such lock */
		{ 0xffffffff, 1, good, 1 },
		{ CM_LOCK_NONE, 1, good + 4, 1 }, /* not aligned */
		{ CM_LOCK_NONE, 1, good + 2, 1 },
		{ CM_LOCK_NONE, 1, end, 1 }, /* beyond the heap */
		{ CM_LOCK_NONE, 1, ~7ull, 1 },
		{ CM_LOCK_NONE, 1, 1ull << 63, 1 },
		{ CM_LOCK_NONE, 1, good | 1, 1 }, /* a fill without its value */
		{ CM_LOCK_NONE, 2, good | 1, end / 8 }, /* a fill beyond the heap */
		{ CM_LOCK_NONE, 2, good | 1, ~0ull },
		{ CM_LOCK_NONE, 2, good | 1, 1ull << 61 }, /* times 8 it is 0 */
		{ CM_LOCK_NONE, 2, end | 1, 0 },
		{ CM_LOCK_NONE, 2, (end - 8) | 1, 2 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		pair(dead, 0, bad[i].at, bad[i].value);
		pair(dead, 1, 0, 0xbad);
		commit(dead, bad[i].lock, bad[i].n);
		if (cm_log_is_valid(e.log, dead))
			fail_msg("bad log %u is believed", i);
		cm_log_finish(e.log, &e.self, dead);
		assert_true(cm_read(&dead->redo.commit) == 0);
		assert_true(damages(&e) == i + 1);
		assert_true(cm_read(&e.block[0]) == 0);
	}
	assert_int_equal(comap_heap_check(e.heap, NULL, NULL), -EUCLEAN); /* damage is remembered */
	cm_write(&e.heap->seg.super->damages, 0);
	fx_close(e.heap);
}

/* The file ends at `limit`, the mapping at the ceiling: a store between is SIGBUS. */
static void a_log_that_writes_past_the_end_of_the_file_is_refused(void **state)
{
	struct env e = begin();
	struct cm_slot_shm *dead = dead_slot(&e);

	(void)state;
	assert_true(cm_seg_limit(&e.heap->seg) < e.heap->seg.max_size);
	pair(dead, 0, cm_seg_limit(&e.heap->seg), 1);
	commit(dead, CM_LOCK_NONE, 1);
	assert_false(cm_log_is_valid(e.log, dead));
	pair(dead, 0, off_of(&e, &e.block[0]) | 1,
	     (e.heap->seg.max_size - off_of(&e, &e.block[0])) / 8 - 1);
	commit(dead, CM_LOCK_NONE, 2);
	assert_false(cm_log_is_valid(e.log, dead));
	commit(dead, 0, 0);
	fx_close(e.heap);
}

/* ---- owners that die ----------------------------------------------------------------- */

static struct env *kin_env;

static void stage(struct cm_tx *tx)
{
	cm_tx_put(tx, &kin_env->word[0], 41);
	cm_tx_put(tx, &kin_env->word[1], 42);
	cm_tx_fill(tx, &kin_env->block[8], 8, 43);
}

static int dies_before_the_commit(void *arg)
{
	struct cm_self self = fx_self(kin_env->heap);
	struct cm_tx tx;

	(void)arg;
	cm_tx_begin(kin_env->log, &self, LOCK, &tx);
	stage(&tx);
	kin_die();
	return 0;
}

static int dies_after_the_commit(void *arg)
{
	struct cm_self self = fx_self(kin_env->heap);
	struct cm_tx tx;

	(void)arg;
	cm_tx_begin(kin_env->log, &self, LOCK, &tx);
	stage(&tx);
	cm_write(&self.slot->redo.commit, (uint64_t)LOCK << 16 | tx.n);
	cm_write(&kin_env->word[1], 42); /* half of it is applied */
	kin_die();
	return 0;
}

static int dies_committed_without_a_lock(void *arg)
{
	struct cm_self self = fx_self(kin_env->heap);
	struct cm_tx tx;

	(void)arg;
	cm_tx_begin(kin_env->log, &self, CM_LOCK_NONE, &tx);
	stage(&tx);
	cm_write(&self.slot->redo.commit, (uint64_t)CM_LOCK_NONE << 16 | tx.n);
	kin_die();
	return 0;
}

static void touch(struct env *e)
{
	struct cm_tx tx;

	cm_tx_begin(e->log, &e->self, LOCK, &tx);
	cm_tx_end(&tx);
}

static void a_death_before_the_commit_changes_nothing(void **state)
{
	struct env e = begin();

	(void)state;
	kin_env = &e;
	assert_int_equal(kin_run(dies_before_the_commit, NULL), -SIGKILL);
	touch(&e);
	assert_true(cm_read(&e.word[0]) == 0 && cm_read(&e.word[1]) == 0);
	assert_true(cm_read(&e.block[8]) == 0);
	assert_true(fx_stats(e.heap).steals == 1);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	fx_close(e.heap);
}

static void a_death_after_the_commit_changes_all(void **state)
{
	struct env e = begin();

	(void)state;
	kin_env = &e;
	assert_int_equal(kin_run(dies_after_the_commit, NULL), -SIGKILL);
	assert_true(cm_read(&e.word[0]) == 0);
	touch(&e);
	assert_true(cm_read(&e.word[0]) == 41 && cm_read(&e.word[1]) == 42);
	for (unsigned i = 8; i < 16; i++)
		assert_true(cm_read(&e.block[i]) == 43);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	fx_close(e.heap);
}

static void what_the_thief_mended_is_not_applied_again_by_the_reaper(void **state)
{
	struct env e = begin();
	struct cm_tx tx;

	(void)state;
	kin_env = &e;
	assert_int_equal(kin_run(dies_after_the_commit, NULL), -SIGKILL);
	cm_tx_begin(e.log, &e.self, LOCK, &tx);
	cm_tx_put(&tx, &e.word[0], 1000); /* somebody's work since */
	cm_tx_commit(&tx);
	cm_tx_end(&tx);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	assert_true(cm_read(&e.word[0]) == 1000 && cm_read(&e.word[1]) == 42);
	fx_close(e.heap);
}

static void the_reaper_alone_finishes_it_as_well(void **state)
{
	struct env e = begin();

	(void)state;
	kin_env = &e;
	assert_int_equal(kin_run(dies_after_the_commit, NULL), -SIGKILL);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	assert_true(cm_read(&e.word[0]) == 41 && cm_read(&e.word[1]) == 42);
	assert_int_equal(kin_run(dies_committed_without_a_lock, NULL), -SIGKILL);
	cm_write(&e.word[0], 0);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	assert_true(cm_read(&e.word[0]) == 41);
	assert_int_equal(comap_heap_reap(e.heap), 0);
	fx_close(e.heap);
}

static void a_dead_owners_other_locks_do_not_bring_its_log_to_life(void **state)
{
	struct env e = begin();
	struct cm_tx tx;

	(void)state;
	kin_env = &e;
	assert_int_equal(kin_run(dies_after_the_commit, NULL), -SIGKILL);
	/* as if the dead had been the last holder of OTHER, too */
	cm_write(&e.heap->seg.locks[OTHER].last, cm_read(&e.heap->seg.locks[LOCK].last));
	cm_write(&e.heap->seg.locks[OTHER].owner, cm_read(&e.heap->seg.locks[LOCK].owner));
	cm_tx_begin(e.log, &e.self, OTHER, &tx);
	assert_true(cm_read(&e.word[0]) == 0); /* its words are LOCK's business */
	cm_tx_end(&tx);
	touch(&e);
	assert_true(cm_read(&e.word[0]) == 41);
	assert_int_equal(comap_heap_reap(e.heap), 1);
	fx_close(e.heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(nothing_shows_before_the_commit_and_all_after),
		KIN_TEST(a_transaction_that_is_not_committed_never_happened),
		KIN_TEST(one_lock_may_cover_several_commits),
		KIN_TEST(a_fill_covers_its_words_and_no_other),
		KIN_TEST(a_log_takes_all_its_pairs),
		KIN_TEST(applying_a_log_again_changes_nothing),
		KIN_TEST(an_impossible_log_is_refused_and_counted),
		KIN_TEST(a_log_that_writes_past_the_end_of_the_file_is_refused),
		KIN_TEST(a_death_before_the_commit_changes_nothing),
		KIN_TEST(a_death_after_the_commit_changes_all),
		KIN_TEST(what_the_thief_mended_is_not_applied_again_by_the_reaper),
		KIN_TEST(the_reaper_alone_finishes_it_as_well),
		KIN_TEST(a_dead_owners_other_locks_do_not_bring_its_log_to_life),
	};

	return cmocka_run_group_tests_name("log/redo", tests, NULL, NULL);
}
