/*
 * test_reboot.c - heaps that come back: files copied amid use, heaps all of whose
 * processes were killed, memfds sent to strangers, readers beside writers.
 *
 * Run with --stranger FD it is the process that gets a memfd over a socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/socket.h>
#include "crowd.h"

static char self[4096];
static char dir[64]; /* a directory for the files of a test */
static char path[96], copy[96];

static const struct timespec forever = { .tv_sec = 1 << 30 };

/* ---- people at work on a file --------------------------------------------------- */

#define WORKERS 4u
#define CELLS 40u /* each */

/* What lies in the heap, under root "desk". */
struct desk {
	comap_mutex mutex;
	uint64_t sum, twice; /* twice is 2 * sum whenever the mutex is free */
	comap_ref cell[WORKERS * CELLS];
	comap_ref common; /* guarded by the mutex */
};

struct shift {
	_Atomic uint32_t nborn, nready;
};

static struct desk *desk_of(comap_heap *heap)
{
	comap_ref ref;

	return comap_root_get(heap, "desk", &ref) == 0 ? comap_heap_at(heap, ref) : NULL;
}

static int work(void *arg)
{
	struct shift *shift = arg;
	uint32_t me = atomic_fetch_add(&shift->nborn, 1);
	struct dice dice = dice_of(me + kin_now_ns());
	comap_heap *heap;
	struct desk *desk;

	KIN_ZERO(comap_heap_open(path, NULL, &heap));
	KIN_CHECK((desk = desk_of(heap)));
	atomic_fetch_add(&shift->nready, 1);
	for (;;) {
		comap_ref *cell = &desk->cell[me * CELLS + roll(&dice, CELLS)];
		int err;

		comap_heap_free_from(heap, cell);
		KIN_CHECK(comap_heap_malloc_to(heap, roll(&dice, roll(&dice, 30) ? 5000 : 500000), cell));
		err = comap_mutex_lock(heap, &desk->mutex);
		KIN_CHECK(err == 0 || err == -EOWNERDEAD); /* when the shift ends */
		desk->twice = 2 * desk->sum;
		desk->sum++;
		comap_heap_free_from(heap, &desk->common);
		KIN_CHECK(comap_heap_malloc_to(heap, roll(&dice, 300), &desk->common));
		desk->twice += 2;
		KIN_ZERO(comap_mutex_unlock(heap, &desk->mutex));
	}
	return 0;
}

static void open_desk(comap_heap **ret_heap)
{
	struct comap_heap_opts opts = small_opts(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, 16);
	struct desk *desk;
	comap_heap *heap;

	opts.max_size = 128 * MIB;
	(void)unlink(path);
	assert_int_equal(comap_heap_open(path, &opts, &heap), 0);
	desk = comap_heap_calloc(heap, 1, sizeof *desk);
	assert_non_null(desk);
	assert_int_equal(comap_root_set(heap, "desk", comap_heap_ref(heap, desk)), 0);
	*ret_heap = heap;
}

static void begin_shift(pid_t *pid)
{
	struct shift *shift = kin_page();

	for (unsigned i = 0; i < WORKERS; i++)
		pid[i] = kin_spawn(work, shift);
	assert_true(kin_await(&shift->nready, WORKERS));
	kin_sleep_us(2000);
	kin_page_drop(shift);
}

static void end_shift(const pid_t *pid)
{
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(kin_kill(pid[i]), -SIGKILL);
}

/* One block for each full cell, and the desk: nobody's death lost any. */
static void assert_nothing_lost(comap_heap *heap)
{
	struct desk *desk = desk_of(heap);
	uint64_t want = 1;

	assert_non_null(desk);
	for (unsigned i = 0; i < WORKERS * CELLS; i++) {
		want += !comap_ref_is_null(desk->cell[i]);
		if (!comap_ref_is_null(desk->cell[i]))
			assert_non_null(comap_heap_at_checked(heap, desk->cell[i], 1));
	}
	want += !comap_ref_is_null(desk->common);
	assert_int_equal(live_blocks(heap), want);
}

static void copy_file(const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof command, "cp --sparse=always %s %s", from, to);
	assert_int_equal(system(command), 0);
}

/* ---- copies --------------------------------------------------------------------- */

/* All stand still while the file is copied, wherever they were: with blocks on their
 * way, logs half applied, locks held.  The copy knows none of them. */
static void copy_of_a_heap_in_use_is_mended_and_whole(void **state)
{
	pid_t pid[WORKERS];
	unsigned nlocked = 0;
	comap_heap *heap, *other;

	(void)state;
	open_desk(&heap);
	begin_shift(pid);
	for (unsigned n = 0; n < 25; n++) {
		struct comap_heap_stats stats;
		struct desk *desk;
		int err;

		for (unsigned i = 0; i < WORKERS; i++)
			assert_int_equal(kin_stop(pid[i]), 0);
		copy_file(path, copy);
		for (unsigned i = 0; i < WORKERS; i++)
			assert_int_equal(kin_continue(pid[i]), 0);

		assert_int_equal(comap_heap_open(copy, NULL, &other), 0);
		stats = stats_of(other);
		assert_int_equal(stats.slots_dead, 0);
		assert_int_equal(stats.slots_live, 1);
		assert_true(stats.deaths >= WORKERS);
		desk = desk_of(other);
		assert_non_null(desk);
		err = comap_mutex_trylock(other, &desk->mutex);
		assert_true(err == 0 || err == -EOWNERDEAD);
		if (err == 0)
			assert_int_equal(desk->twice, 2 * desk->sum);
		else
			nlocked++;
		assert_int_equal(comap_mutex_unlock(other, &desk->mutex), 0);
		assert_nothing_lost(other);
		assert_true(is_whole(other));
		for (unsigned i = 0; i < WORKERS * CELLS; i++)
			comap_heap_free_from(other, &desk->cell[i]);
		comap_heap_free_from(other, &desk->common);
		assert_int_equal(live_blocks(other), 1);
		assert_int_equal(stats_of(other).misuses, 0);
		assert_int_equal(comap_heap_trim(other), 0);
		assert_true(stats_of(other).committed <= MIB);
		assert_true(is_whole(other));
		comap_heap_close(other);
		assert_int_equal(unlink(copy), 0);
	}
	assert_true(nlocked > 0);
	end_shift(pid);
	(void)comap_heap_reap(heap);
	assert_nothing_lost(heap);
	assert_true(is_whole(heap));
	comap_heap_close(heap);
	assert_int_equal(comap_heap_unlink(path), 0);
}

static int hold_mutex(void *arg)
{
	comap_heap *heap;

	KIN_ZERO(comap_heap_open(path, NULL, &heap));
	KIN_ZERO(comap_mutex_lock(heap, &desk_of(heap)->mutex));
	kin_raise(arg, 1);
	pause();
	return 0;
}

static void mutex_held_when_copied_is_inherited_in_the_copy_alone(void **state)
{
	_Atomic uint32_t *step = kin_page();
	comap_heap *heap, *other;
	pid_t pid;

	(void)state;
	open_desk(&heap);
	pid = kin_spawn(hold_mutex, step);
	assert_true(kin_await(step, 1));
	copy_file(path, copy);
	assert_int_equal(comap_heap_open(copy, NULL, &other), 0);
	assert_int_equal(comap_mutex_lock(other, &desk_of(other)->mutex), -EOWNERDEAD);
	assert_int_equal(comap_mutex_unlock(other, &desk_of(other)->mutex), 0);
	assert_int_equal(comap_mutex_trylock(heap, &desk_of(heap)->mutex), -EBUSY);
	kin_kill(pid);
	assert_int_equal(comap_mutex_trylock(heap, &desk_of(heap)->mutex), -EOWNERDEAD);
	comap_heap_close(other);
	comap_heap_close(heap);
	assert_int_equal(unlink(copy), 0);
	assert_int_equal(unlink(path), 0);
	kin_page_drop(step);
}

static void heap_whose_processes_were_all_killed_reopens(void **state)
{
	pid_t pid[WORKERS];
	comap_heap *heap;

	(void)state;
	open_desk(&heap);
	comap_heap_close(heap);
	for (unsigned n = 0; n < 25; n++) {
		struct desk *desk;
		int err;

		begin_shift(pid);
		for (unsigned i = 0; i < WORKERS; i++)
			kill(pid[i], SIGKILL);
		for (unsigned i = 0; i < WORKERS; i++)
			assert_int_equal(kin_wait(pid[i]), -SIGKILL);
		assert_int_equal(comap_heap_open(path, NULL, &heap), 0);
		assert_int_equal(stats_of(heap).slots_dead, 0);
		assert_int_equal(stats_of(heap).slots_live, 1);
		assert_nothing_lost(heap);
		desk = desk_of(heap);
		err = comap_mutex_lock(heap, &desk->mutex);
		assert_true(err == 0 || err == -EOWNERDEAD);
		assert_true(err == -EOWNERDEAD || desk->twice == 2 * desk->sum);
		desk->twice = 2 * desk->sum;
		assert_int_equal(comap_mutex_unlock(heap, &desk->mutex), 0);
		assert_true(is_whole(heap));
		comap_heap_close(heap);
	}
	assert_int_equal(comap_heap_unlink(path), 0);
}

/* ---- strangers ------------------------------------------------------------------ */

static int send_fd(int via, int fd)
{
	char byte = 'f', control[CMSG_SPACE(sizeof fd)] = {0};
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(via, &msg, 0) == 1 ? 0 : -errno;
}

static int receive_fd(int via)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof control };
	struct cmsghdr *c;
	int fd;

	if (recvmsg(via, &msg, MSG_CMSG_CLOEXEC) != 1 || !(c = CMSG_FIRSTHDR(&msg)))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

/* The stranger: gets the heap, works in it, says so, then holds the mutex until killed. */
static int stranger(int via)
{
	comap_heap *heap;
	struct desk *desk;
	int fd;

	kin_born();
	fd = receive_fd(via);
	KIN_CHECK(fd >= 0);
	KIN_ZERO(comap_heap_open_fd(fd, NULL, &heap));
	KIN_CHECK(fcntl(fd, F_GETFD) >= 0); /* still ours */
	close(fd);
	KIN_CHECK((desk = desk_of(heap)));
	KIN_CHECK(strcmp(comap_heap_at(heap, desk->cell[0]), "from the family") == 0);
	comap_heap_free_from(heap, &desk->cell[0]);
	KIN_CHECK(comap_heap_malloc_to(heap, 32, &desk->cell[1]));
	strcpy(comap_heap_at(heap, desk->cell[1]), "from a stranger");
	KIN_ZERO(comap_mutex_lock(heap, &desk->mutex));
	KIN_CHECK(write(via, "", 1) == 1);
	nanosleep(&forever, NULL);
	return 0;
}

static int become_stranger(void *arg)
{
	char number[16];
	int fd = dup(*(int *)arg); /* without FD_CLOEXEC */

	snprintf(number, sizeof number, "%d", fd);
	execl(self, self, "--stranger", number, (char *)NULL);
	return KIN_FAILED;
}

static void memfd_sent_over_a_socket_is_the_same_heap(void **state)
{
	comap_heap *heap = small_heap(0);
	struct desk *desk = comap_heap_calloc(heap, 1, sizeof *desk);
	int pair[2];
	pid_t pid;
	char byte;

	(void)state;
	assert_int_equal(comap_root_set(heap, "desk", comap_heap_ref(heap, desk)), 0);
	strcpy(comap_heap_malloc_to(heap, 32, &desk->cell[0]), "from the family");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = kin_spawn(become_stranger, &pair[1]);
	close(pair[1]);
	assert_int_equal(send_fd(pair[0], comap_heap_fd(heap)), 0);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	assert_true(comap_ref_is_null(desk->cell[0]));
	assert_string_equal(comap_heap_at(heap, desk->cell[1]), "from a stranger");
	assert_int_equal(stats_of(heap).slots_live, 2);
	assert_int_equal(comap_mutex_trylock(heap, &desk->mutex), -EBUSY);
	assert_int_equal(kin_kill(pid), -SIGKILL);
	assert_int_equal(comap_mutex_lock(heap, &desk->mutex), -EOWNERDEAD);
	assert_int_equal(comap_mutex_unlock(heap, &desk->mutex), 0);
	assert_int_equal(stats_of(heap).slots_dead, 0);
	assert_nothing_lost(heap);
	assert_true(is_whole(heap));
	close(pair[0]);
	comap_heap_close(heap);
}

static void open_fd_refuses_what_makes_no_sense(void **state)
{
	struct comap_heap_opts opts = small_opts(COMAP_HEAP_CREATE, 0);
	comap_heap *heap, *other;
	int fd, pipes[2];

	(void)state;
	open_desk(&heap);
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), &opts, &other), -EINVAL);
	assert_int_equal(comap_heap_open_fd(-1, NULL, &other), -EBADF);
	assert_int_equal(comap_heap_open_fd(9999, NULL, &other), -EBADF);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(comap_heap_open_fd(pipes[0], NULL, &other), -ENODEV);
	close(pipes[0]);
	close(pipes[1]);

	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(comap_heap_open_fd(fd, NULL, &other), -EACCES);
	opts.flags = COMAP_HEAP_READONLY;
	assert_int_equal(comap_heap_open_fd(fd, &opts, &other), 0);
	assert_non_null(desk_of(other));
	comap_heap_close(other);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	close(fd);

	/* two handles of one heap in one process: two bases, two slots */
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(comap_heap_open_fd(fd, NULL, &other), 0);
	close(fd);
	assert_ptr_not_equal(desk_of(other), desk_of(heap));
	assert_int_equal(comap_mutex_lock(other, &desk_of(other)->mutex), 0);
	assert_int_equal(comap_mutex_trylock(heap, &desk_of(heap)->mutex), -EBUSY);
	assert_int_equal(stats_of(heap).slots_live, 2);
	comap_heap_close(other); /* leaves it locked: nobody's */
	assert_int_equal(comap_mutex_trylock(heap, &desk_of(heap)->mutex), -EOWNERDEAD);
	comap_heap_close(heap);
	assert_int_equal(comap_heap_unlink(path), 0);
}

/* ---- readers -------------------------------------------------------------------- */

#define VERSIONS 8u

/* Writers set roots v0 .. v7 to blocks that begin with their number; one root comes and
 * goes.  Blocks are never freed: readers hold no lock. */
static int write_versions(void *arg)
{
	struct shift *shift = arg;
	struct dice dice = dice_of(kin_now_ns());
	comap_heap *heap;

	KIN_ZERO(comap_heap_open(path, NULL, &heap));
	atomic_fetch_add(&shift->nready, 1);
	for (uint64_t n = 0;; n++) {
		char name[8] = { 'v', (char)('0' + roll(&dice, VERSIONS)) };
		uint64_t *block = comap_heap_malloc(heap, 16);

		if (!block && errno == ENOMEM)
			block = comap_heap_at(heap, desk_of(heap)->cell[0]); /* full: begin again */
		else
			*block = (uint64_t)name[1];
		KIN_ZERO(comap_root_set(heap, "now and then", comap_heap_ref(heap, block)));
		if (*block == (uint64_t)name[1])
			KIN_ZERO(comap_root_set(heap, name, comap_heap_ref(heap, block)));
		if (n % 5 == 0) {
			int err = comap_root_delete(heap, "now and then");

			KIN_CHECK(err == 0 || err == -ENOENT);
		}
	}
	return 0;
}

/* True: what is there is right.  A writer may have died in the midst: -EBUSY. */
static bool read_all(comap_heap *heap, unsigned *nbusy)
{
	struct comap_root_iter iter = {0};
	unsigned nseen = 0;
	int got;

	while ((got = comap_root_next(heap, &iter)) == 1) {
		const uint64_t *block = comap_heap_at(heap, iter.ref);

		if (iter.name[0] == 'v') {
			nseen++;
			if (*block != (uint64_t)iter.name[1])
				return false;
		}
	}
	for (char c = '0'; c < (char)('0' + VERSIONS) && got == 0; c++) {
		comap_ref ref;

		got = comap_root_get(heap, (char[]){ 'v', c, 0 }, &ref);
		if (got == 0 && *(uint64_t *)comap_heap_at(heap, ref) != (uint64_t)c)
			return false;
	}
	*nbusy += got == -EBUSY;
	return got == -EBUSY || (got == 0 && nseen == VERSIONS);
}

static void reader_beside_writers_sees_whole_roots(void **state)
{
	struct comap_heap_opts opts = small_opts(COMAP_HEAP_READONLY, 0);
	struct shift *shift = kin_page();
	comap_heap *heap, *reader;
	unsigned nbusy = 0;
	pid_t pid[2];

	(void)state;
	open_desk(&heap);
	for (char c = '0'; c < (char)('0' + VERSIONS); c++) {
		uint64_t *block = comap_heap_malloc(heap, 16);

		*block = (uint64_t)c;
		assert_int_equal(comap_root_set(heap, (char[]){ 'v', c, 0 },
						comap_heap_ref(heap, block)),
				 0);
	}
	assert_non_null(comap_heap_malloc_to(heap, 16, &desk_of(heap)->cell[0]));
	comap_heap_detach(heap);
	assert_int_equal(comap_heap_open(path, &opts, &reader), 0);
	for (unsigned n = 0; n < 15; n++) {
		kin_raise(&shift->nready, 0);
		for (unsigned i = 0; i < 2; i++)
			pid[i] = kin_spawn(write_versions, shift);
		assert_true(kin_await(&shift->nready, 2));
		for (unsigned i = 0; i < 200; i++)
			assert_true(read_all(reader, &nbusy));
		assert_int_equal(kin_kill(pid[0]), -SIGKILL);
		for (unsigned i = 0; i < 50; i++)
			assert_true(read_all(reader, &nbusy));
		assert_int_equal(kin_kill(pid[1]), -SIGKILL);
		/* nobody mends but who writes */
		assert_int_equal(comap_root_set(heap, "mended", COMAP_NULL), 0);
		nbusy = 0;
		assert_true(read_all(reader, &nbusy));
		assert_int_equal(nbusy, 0);
		(void)comap_heap_reap(heap);
		assert_true(is_whole(heap));
	}
	assert_int_equal(stats_of(reader).slots_live, 1); /* the writer's, here */
	assert_null(comap_heap_malloc(reader, 10));
	assert_int_equal(errno, EROFS);
	assert_int_equal(comap_heap_reap(reader), -EROFS);
	comap_heap_close(reader);
	comap_heap_close(heap);
	assert_int_equal(comap_heap_unlink(path), 0);
	kin_page_drop(shift);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CROWD_TEST(copy_of_a_heap_in_use_is_mended_and_whole),
		CROWD_TEST(mutex_held_when_copied_is_inherited_in_the_copy_alone),
		CROWD_TEST(heap_whose_processes_were_all_killed_reopens),
		CROWD_TEST(memfd_sent_over_a_socket_is_the_same_heap),
		CROWD_TEST(open_fd_refuses_what_makes_no_sense),
		CROWD_TEST(reader_beside_writers_sees_whole_roots),
	};
	int nfailed;

	if (argc == 3 && strcmp(argv[1], "--stranger") == 0)
		return stranger(atoi(argv[2]));
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return 77;
	snprintf(dir, sizeof dir, "/dev/shm/comap-test-XXXXXX");
	if (!mkdtemp(dir))
		return 77;
	snprintf(path, sizeof path, "%s/heap", dir);
	snprintf(copy, sizeof copy, "%s/copy", dir);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	nfailed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	unlink(copy);
	rmdir(dir);
	return nfailed;
}
