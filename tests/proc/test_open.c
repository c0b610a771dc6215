/*
 * test_open.c - races at the door: creating, attaching, repairing, removing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include "crowd.h"

static char name[64]; /* of the heap under test, in /dev/shm */

struct race {
	_Atomic uint32_t go, nready, nopen, stop;
	_Atomic uint32_t ncreated, nrefused, ninits, nother;
	_Atomic uint64_t root[32];
	uint32_t flags;
};

static void forget_name(void)
{
	(void)comap_heap_unlink(name);
}

static int open_small(uint32_t flags, comap_heap **ret_heap)
{
	struct comap_heap_opts opts = small_opts(flags, 32);

	return comap_heap_open(name, &opts, ret_heap);
}

static int init_root(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct race *race = arg;

	atomic_fetch_add(&race->ninits, 1);
	return comap_heap_malloc_to(heap, 100, cell) ? 0 : -errno;
}

/* ---- many at once --------------------------------------------------------------- */

#define RACERS 20u

static int open_at_once(void *arg)
{
	struct race *race = arg;
	uint32_t me = atomic_fetch_add(&race->nready, 1);
	comap_heap *heap;
	comap_ref ref;
	int err;

	while (!atomic_load(&race->go))
		;
	err = open_small(race->flags, &heap);
	atomic_fetch_add(&race->nopen, 1);
	if (err == -EEXIST) {
		atomic_fetch_add(&race->nrefused, 1);
		return 0;
	}
	KIN_CHECK(err == 0);
	atomic_fetch_add(&race->ncreated, 1);
	KIN_ZERO(comap_root_once(heap, "root", init_root, race, 20 * SECOND, &ref));
	race->root[me] = ref.off;
	/* nobody leaves before all have come: else the next one finds itself alone */
	KIN_CHECK(kin_await(&race->nopen, RACERS));
	comap_heap_close(heap);
	return 0;
}

static void run_race(struct race *race, uint32_t flags)
{
	pid_t pid[RACERS];

	memset(race, 0, sizeof *race);
	race->flags = flags;
	for (unsigned i = 0; i < RACERS; i++)
		pid[i] = kin_spawn(open_at_once, race);
	assert_true(kin_await(&race->nready, RACERS));
	atomic_store(&race->go, 1);
	for (unsigned i = 0; i < RACERS; i++)
		assert_int_equal(kin_wait(pid[i]), 0);
}

static void twenty_create_at_once_and_all_see_one_root(void **state)
{
	struct race *race = kin_page();

	(void)state;
	for (unsigned n = 0; n < 10; n++) {
		comap_heap *heap;

		run_race(race, COMAP_HEAP_CREATE);
		assert_int_equal(race->ncreated, RACERS);
		assert_int_equal(race->ninits, 1);
		for (unsigned i = 1; i < RACERS; i++)
			assert_int_equal(race->root[i], race->root[0]);
		assert_int_equal(open_small(0, &heap), 0);
		assert_int_equal(live_blocks(heap), 1);
		assert_int_equal(stats_of(heap).deaths, 0);
		assert_true(is_whole(heap));
		comap_heap_close(heap);
		forget_name();
	}
	kin_page_drop(race);
}

static void twenty_create_exclusively_and_one_does(void **state)
{
	struct race *race = kin_page();

	(void)state;
	for (unsigned n = 0; n < 10; n++) {
		run_race(race, COMAP_HEAP_CREATE | COMAP_HEAP_EXCL);
		assert_int_equal(race->ncreated, 1);
		assert_int_equal(race->nrefused, RACERS - 1);
		forget_name();
	}
	kin_page_drop(race);
}

static int open_and_close(void *arg)
{
	struct race *race = arg;

	atomic_fetch_add(&race->nready, 1);
	while (!atomic_load(&race->stop)) {
		comap_heap *heap;
		void *p;

		KIN_CHECK(open_small(COMAP_HEAP_CREATE, &heap) == 0);
		KIN_CHECK((p = comap_heap_malloc(heap, 100)));
		comap_heap_free(heap, p);
		comap_heap_close(heap);
		atomic_fetch_add(&race->nopen, 1);
	}
	return 0;
}

/* Creating, attaching, being alone, being the last: all at any time; and a name that
 * somebody keeps removing. */
static void opening_closing_and_unlinking_without_rest(void **state)
{
	struct race *race = kin_page();
	pid_t pid[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		pid[i] = kin_spawn(open_and_close, race);
	for (unsigned i = 0; i < 300; i++) {
		(void)comap_heap_unlink(name);
		kin_sleep_us(i * 13 % 3000);
	}
	atomic_store(&race->stop, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(wait_for(pid[i], 20), 0);
	assert_true(race->nopen > 100);
	forget_name();
	kin_page_drop(race);
}

static int grow(void *arg)
{
	struct race *race = arg;
	comap_heap *heap;

	KIN_ZERO(open_small(0, &heap));
	kin_raise(&race->nready, 1);
	while (!atomic_load(&race->stop)) {
		void *p = comap_heap_malloc(heap, 3 * MIB); /* for ever: up to the ceiling */

		kin_sleep_us(p ? 50 : 5000);
	}
	return 0;
}

/* The story: the opener took the length of the file, then a neighbour grew it, then the
 * opener read how long it should be, and found the file cut short. */
static void attach_while_a_neighbour_grows_the_heap(void **state)
{
	struct race *race = kin_page();
	unsigned nbad = 0;

	(void)state;
	for (unsigned round = 0; round < 5 && nbad == 0; round++) {
		comap_heap *heap, *other;
		pid_t pid;

		memset(race, 0, sizeof *race);
		assert_int_equal(open_small(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, &heap), 0);
		pid = kin_spawn(grow, race);
		assert_true(kin_await(&race->nready, 1));
		for (unsigned i = 0; i < 800; i++) {
			int err = open_small(i % 2 ? 0 : COMAP_HEAP_READONLY, &other);

			nbad += err != 0;
			if (err == 0)
				comap_heap_close(other);
		}
		kin_raise(&race->stop, 1);
		assert_int_equal(wait_for(pid, 20), 0);
		comap_heap_close(heap);
		forget_name();
	}
	assert_int_equal(nbad, 0);
	kin_page_drop(race);
}

/* ---- unlink --------------------------------------------------------------------- */

static int wait_for_text(void *arg)
{
	struct race *race = arg;
	comap_heap *heap;
	comap_ref ref;
	char *text;

	KIN_CHECK(open_small(0, &heap) == 0);
	kin_raise(&race->nready, 1);
	KIN_CHECK(kin_await(&race->go, 1));
	KIN_ZERO(comap_root_get(heap, "text", &ref));
	text = comap_heap_at(heap, ref);
	KIN_CHECK(strcmp(text, "still here") == 0);
	comap_heap_free(heap, text);
	KIN_CHECK(open_small(0, &heap) == -ENOENT);
	return 0;
}

static void those_attached_go_on_after_unlink(void **state)
{
	struct race *race = kin_page();
	comap_heap *heap, *other;
	comap_ref ref;
	pid_t pid;

	(void)state;
	assert_int_equal(open_small(COMAP_HEAP_CREATE, &heap), 0);
	pid = kin_spawn(wait_for_text, race);
	assert_true(kin_await(&race->nready, 1));
	assert_int_equal(comap_heap_unlink(name), 0);
	assert_int_equal(comap_heap_unlink(name), -ENOENT);
	ref = comap_heap_ref(heap, comap_heap_strdup(heap, "still here"));
	assert_int_equal(comap_root_set(heap, "text", ref), 0);
	atomic_store(&race->go, 1);
	assert_int_equal(kin_wait(pid), 0);
	assert_int_equal(live_blocks(heap), 0);

	/* the name is free for another heap */
	assert_int_equal(open_small(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, &other), 0);
	assert_int_equal(comap_root_get(other, "text", &ref), -ENOENT);
	comap_heap_close(other);
	comap_heap_close(heap);
	forget_name();
	kin_page_drop(race);
}

/* ---- creators that die ---------------------------------------------------------- */

static int create_and_wait(void *arg)
{
	comap_heap *heap;

	kin_raise(arg, 1);
	KIN_CHECK(open_small(COMAP_HEAP_CREATE, &heap) == 0);
	kin_raise(arg, 2);
	pause();
	return 0;
}

static void killed_creator_leaves_nothing_that_opens_half_made(void **state)
{
	_Atomic uint32_t *step = kin_page();
	struct dice dice = dice_of(11);
	unsigned nthere = 0, nearly = 0;

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		comap_heap *heap;
		void *p;
		pid_t pid;
		int err;

		kin_raise(step, 0);
		pid = kin_spawn(create_and_wait, step);
		while (atomic_load(step) == 0)
			;
		pause_us(roll(&dice, 350));
		nearly += atomic_load(step) == 1;
		assert_int_equal(kin_kill(pid), -SIGKILL);
		err = open_small(0, &heap);
		if (err == -ENOENT)
			continue;
		assert_int_equal(err, 0);
		nthere++;
		assert_true(is_whole(heap));
		p = comap_heap_malloc(heap, 100);
		assert_non_null(p);
		comap_heap_free(heap, p);
		assert_int_equal(live_blocks(heap), 0);
		comap_heap_close(heap);
		forget_name();
	}
	assert_true(nthere > 0 && nearly > 0); /* the delays reach from before to after */
	kin_page_drop(step);
}

/* ---- repair --------------------------------------------------------------------- */

struct mess {
	comap_heap *heap;
	comap_ref *cell;
	_Atomic uint32_t nmessing;
};

#define MESSERS 6u
#define CELLS_EACH 20u

static int make_a_mess(void *arg)
{
	struct mess *mess = arg;
	uint32_t me = atomic_fetch_add(&mess->nmessing, 1);
	comap_ref *cell = mess->cell + me * CELLS_EACH;
	struct dice dice = dice_of(me);

	for (;;) {
		comap_ref *c = &cell[roll(&dice, CELLS_EACH)];

		comap_heap_free_from(mess->heap, c);
		KIN_CHECK(comap_heap_malloc_to(mess->heap, roll(&dice, 100000), c));
	}
	return 0;
}

/* Everybody dies in the midst of something: a heap with several dead slots. */
static void leave_a_mess(void)
{
	struct mess *mess = kin_page();
	pid_t pid[MESSERS];
	comap_heap *heap;

	assert_int_equal(open_small(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, &heap), 0);
	mess->heap = heap;
	mess->cell = comap_heap_calloc(heap, MESSERS * CELLS_EACH, sizeof *mess->cell);
	assert_int_equal(comap_root_set(heap, "cells", comap_heap_ref(heap, mess->cell)), 0);
	comap_heap_detach(heap);
	for (unsigned i = 0; i < MESSERS; i++)
		pid[i] = kin_spawn(make_a_mess, mess);
	assert_true(kin_await(&mess->nmessing, MESSERS));
	kin_sleep_us(3000);
	for (unsigned i = 0; i < MESSERS; i++)
		kill(pid[i], SIGSTOP); /* first: nobody is to be reaped by a newcomer */
	for (unsigned i = 0; i < MESSERS; i++)
		assert_int_equal(kin_kill(pid[i]), -SIGKILL);
	comap_heap_close(heap);
	kin_page_drop(mess);
}

static bool is_mended(comap_heap *heap)
{
	struct comap_heap_stats stats = stats_of(heap);
	uint64_t want = 1;
	comap_ref *cell, ref;

	if (comap_root_get(heap, "cells", &ref) < 0)
		return false;
	cell = comap_heap_at(heap, ref);
	for (unsigned i = 0; i < MESSERS * CELLS_EACH; i++)
		want += !comap_ref_is_null(cell[i]);
	return stats.slots_dead == 0 && stats.live_blocks == want;
}

static int open_a_mess(void *arg)
{
	struct race *race = arg;
	comap_heap *heap;

	atomic_fetch_add(&race->nready, 1);
	while (!atomic_load(&race->go))
		;
	KIN_CHECK(open_small(0, &heap) == 0);
	KIN_CHECK(is_mended(heap));
	atomic_fetch_add(&race->nopen, 1);
	KIN_CHECK(kin_await(&race->nopen, 3));
	KIN_CHECK(stats_of(heap).deaths <= MESSERS);
	KIN_CHECK(is_whole(heap));
	comap_heap_close(heap);
	return 0;
}

static void two_attach_while_a_third_repairs(void **state)
{
	struct race *race = kin_page();
	pid_t pid[3];

	(void)state;
	for (unsigned n = 0; n < 20; n++) {
		leave_a_mess();
		memset(race, 0, sizeof *race);
		for (unsigned i = 0; i < 3; i++)
			pid[i] = kin_spawn(open_a_mess, race);
		assert_true(kin_await(&race->nready, 3));
		atomic_store(&race->go, 1);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(kin_wait(pid[i]), 0);
		forget_name();
	}
	kin_page_drop(race);
}

static int open_once(void *arg)
{
	comap_heap *heap;

	kin_raise(arg, 1);
	KIN_CHECK(open_small(0, &heap) == 0);
	kin_raise(arg, 2);
	pause();
	return 0;
}

static void killed_repairer_is_followed_by_the_next(void **state)
{
	_Atomic uint32_t *step = kin_page();
	struct dice dice = dice_of(5);
	unsigned nearly = 0;

	(void)state;
	for (unsigned n = 0; n < 10; n++) {
		comap_heap *heap;

		leave_a_mess();
		for (unsigned i = 0; i < 25; i++) {
			pid_t pid;

			kin_raise(step, 0);
			pid = kin_spawn(open_once, step);
			while (atomic_load(step) == 0)
				;
			pause_us(roll(&dice, 150));
			nearly += atomic_load(step) == 1;
			assert_int_equal(kin_kill(pid), -SIGKILL);
		}
		assert_int_equal(open_small(0, &heap), 0);
		assert_true(is_mended(heap));
		assert_true(is_whole(heap));
		comap_heap_close(heap);
		forget_name();
	}
	assert_true(nearly > 0);
	kin_page_drop(step);
}

static int open_again_and_again(void *arg)
{
	struct race *race = arg;
	comap_heap *heap;

	while (!atomic_load(&race->stop)) {
		KIN_CHECK(open_small(0, &heap) == 0);
		comap_heap_close(heap);
		atomic_fetch_add(&race->nopen, 1);
	}
	return 0;
}

/* Does anybody have the file to himself?  docs/format.md: a lock on its first byte. */
static bool is_being_repaired(int fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK;
}

/* Stop the child in the midst of a repair: true when we caught it. */
static bool catch_repairing(pid_t pid, int fd, struct dice *dice)
{
	for (unsigned i = 0; i < 20000; i++) {
		pause_us(roll(dice, 120));
		if (kin_stop(pid) < 0)
			return false;
		if (is_being_repaired(fd))
			return true;
		kin_continue(pid);
	}
	return false;
}

static void stopped_repairer_is_EBUSY_after_the_timeout(void **state)
{
	struct comap_heap_opts opts = small_opts(0, 0);
	struct race *race = kin_page();
	struct dice dice = dice_of(23);
	comap_heap *heap;
	uint64_t before;
	char path[96];
	pid_t pid;
	int fd;

	(void)state;
	leave_a_mess();
	snprintf(path, sizeof path, "/dev/shm/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	pid = kin_spawn(open_again_and_again, race);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(catch_repairing(pid, fd, &dice));
		opts.timeout_ns = 60 * MS;
		before = kin_now_ns();
		assert_int_equal(comap_heap_open(name, &opts, &heap), -EBUSY);
		assert_true(kin_now_ns() - before >= 60 * MS);
		assert_true(kin_now_ns() - before < 5 * SECOND);
		assert_true(strlen(comap_heap_open_reason()) > 0);

		/* a reader asks nobody */
		opts.flags = COMAP_HEAP_READONLY;
		assert_int_equal(comap_heap_open(name, &opts, &heap), 0);
		comap_heap_close(heap);
		opts.flags = 0;

		kin_continue(pid);
		opts.timeout_ns = 20 * SECOND;
		assert_int_equal(comap_heap_open(name, &opts, &heap), 0);
		assert_true(is_mended(heap));
		assert_true(is_whole(heap));
		comap_heap_close(heap);
	}
	/* and one that is killed there hands on to who waits */
	assert_true(catch_repairing(pid, fd, &dice));
	assert_int_equal(kin_kill(pid), -SIGKILL);
	assert_int_equal(comap_heap_open(name, &opts, &heap), 0);
	assert_true(is_mended(heap));
	assert_true(is_whole(heap));
	comap_heap_close(heap);
	close(fd);
	forget_name();
	kin_page_drop(race);
}

/* ---- fork amid an open ---------------------------------------------------------- */

static void *open_for_ever(void *arg)
{
	comap_heap *heap;

	for (;;) {
		KIN_ZERO(open_small(0, &heap));
		kin_raise(arg, 1);
		comap_heap_close(heap);
	}
	return NULL;
}

struct orphanage {
	_Atomic uint32_t step;
	_Atomic int32_t orphan;
};

/* While one thread opens and closes, the other forks, and the process is killed. */
static int leave_an_orphan(void *arg)
{
	struct orphanage *o = arg;
	pthread_t thread;
	pid_t pid;

	KIN_CHECK(pthread_create(&thread, NULL, open_for_ever, &o->step) == 0);
	KIN_CHECK(kin_await(&o->step, 1));
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		alarm(KIN_SECONDS);
		for (;;)
			pause();
	}
	o->orphan = pid;
	kin_die();
	return 0;
}

/* The story: a child inherits the fd of a heap that another thread is about to open, and
 * with it the lock of who is alone; when its parent dies, nobody gives that back. */
static void child_forked_amid_an_open_does_not_keep_the_heap_to_itself(void **state)
{
	struct comap_heap_opts opts = small_opts(0, 0);
	struct orphanage *o = kin_page();
	unsigned nbusy = 0;
	comap_heap *heap;

	(void)state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(open_small(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, &heap), 0);
	comap_heap_close(heap);
	opts.timeout_ns = 100 * MS;
	for (unsigned i = 0; i < 300 && nbusy == 0; i++) {
		int err;

		kin_raise(&o->step, 0);
		assert_int_equal(kin_run(leave_an_orphan, o), -SIGKILL);
		err = comap_heap_open(name, &opts, &heap);
		assert_true(err == 0 || err == -EBUSY);
		nbusy += err == -EBUSY;
		if (err == 0)
			comap_heap_close(heap);
		assert_int_equal(kin_kill(o->orphan), -SIGKILL);
	}
	assert_int_equal(nbusy, 0);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
	forget_name();
	kin_page_drop(o);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(twenty_create_at_once_and_all_see_one_root),
		CROWD_TEST(twenty_create_exclusively_and_one_does),
		CROWD_TEST(opening_closing_and_unlinking_without_rest),
		CROWD_TEST(attach_while_a_neighbour_grows_the_heap),
		CROWD_TEST(those_attached_go_on_after_unlink),
		CROWD_TEST(killed_creator_leaves_nothing_that_opens_half_made),
		CROWD_TEST(two_attach_while_a_third_repairs),
		CROWD_TEST(killed_repairer_is_followed_by_the_next),
		CROWD_TEST(stopped_repairer_is_EBUSY_after_the_timeout),
		CROWD_TEST(child_forked_amid_an_open_does_not_keep_the_heap_to_itself),
	};
	int nfailed;

	snprintf(name, sizeof name, "comap-test-open-%d", (int)getpid());
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	nfailed = cmocka_run_group_tests(tests, NULL, NULL);
	forget_name();
	return nfailed;
}
