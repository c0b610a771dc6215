/*
 * uring.c - the same work by io_uring, where liburing was there to build with.
 *
 * The ring is made in the timed part, as files are opened there.  In a warm page cache it has
 * nothing to wait for, so it can save system calls only; cold it reads many places at once.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "way.h"

#ifdef HAVE_LIBURING
#include <liburing.h>

enum { SCAN_DEPTH = 8, RANDOM_DEPTH = 32, FILES_DEPTH = 64 };

static void open_ring(struct io_uring *ring, unsigned depth)
{
	int failed = io_uring_queue_init(depth, ring, 0);

	if (failed < 0)
		not_here("io_uring: %s", strerror(-failed));
}

/* Wait for n completions; results by user data. */
static void reap(struct io_uring *ring, unsigned n, int *results)
{
	struct io_uring_cqe *cqe;

	for (unsigned i = 0; i < n; i++) {
		int failed = io_uring_wait_cqe(ring, &cqe);

		if (failed < 0)
			errx(1, "io_uring: %s", strerror(-failed));
		results[cqe->user_data] = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
}

static void submit(struct io_uring *ring)
{
	int failed = io_uring_submit(ring);

	if (failed < 0)
		errx(1, "io_uring: %s", strerror(-failed));
}

/* The oldest of SCAN_DEPTH reads is waited for, used, and asked anew further on. */
uint64_t uring_scan(int arg)
{
	static char buffers[SCAN_DEPTH][BLOCK];
	int fd = open_or_die(stage.file, O_RDONLY), results[SCAN_DEPTH];
	bool is_done[SCAN_DEPTH] = {0};
	uint64_t nblocks = (stage.size + BLOCK - 1) / BLOCK, asked = 0;
	struct summer s = {0};
	struct io_uring ring;
	struct io_uring_cqe *cqe;

	(void)arg;
	open_ring(&ring, SCAN_DEPTH);
	for (uint64_t b = 0; b < nblocks; b++) {
		unsigned slot = (unsigned)(b % SCAN_DEPTH);

		for (; asked < nblocks && asked < b + SCAN_DEPTH; asked++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			io_uring_prep_read(sqe, fd, buffers[asked % SCAN_DEPTH], BLOCK, asked * BLOCK);
			sqe->user_data = asked % SCAN_DEPTH;
		}
		submit(&ring);
		while (!is_done[slot]) {
			if (io_uring_wait_cqe(&ring, &cqe) < 0)
				errx(1, "io_uring");
			results[cqe->user_data] = cqe->res;
			is_done[cqe->user_data] = true;
			io_uring_cqe_seen(&ring, cqe);
		}
		is_done[slot] = false;
		if (results[slot] <= 0 || (b + 1 < nblocks && results[slot] != (int)BLOCK))
			errx(1, "io_uring: a short read");
		sum_more(&s, buffers[slot], (size_t)results[slot]);
	}
	io_uring_queue_exit(&ring);
	close(fd);
	return s.sum;
}

uint64_t uring_random(int size)
{
	static char bytes[RANDOM_DEPTH][PAGE];
	struct places p = places_of((size_t)size);
	int fd = open_or_die(stage.file, O_RDONLY), results[RANDOM_DEPTH];
	struct io_uring ring;

	open_ring(&ring, RANDOM_DEPTH);
	for (unsigned done = 0; done < stage.nplaces;) {
		unsigned left = stage.nplaces - done, n = left < RANDOM_DEPTH ? left : RANDOM_DEPTH;

		for (unsigned i = 0; i < n; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			io_uring_prep_read(sqe, fd, bytes[i], (unsigned)size, places_next(&p));
			sqe->user_data = i;
		}
		submit(&ring);
		reap(&ring, n, results);
		for (unsigned i = 0; i < n; i++) {
			if (results[i] != size)
				errx(1, "io_uring: a short read");
			places_saw(&p, bytes[i]);
		}
		done += n;
	}
	io_uring_queue_exit(&ring);
	close(fd);
	return p.sum;
}

/* Open 64, read 64, close 64. */
uint64_t uring_many(int arg)
{
	static char bytes[FILES_DEPTH][SMALL_FILE], paths[FILES_DEPTH][600];
	int fds[FILES_DEPTH], results[FILES_DEPTH];
	struct io_uring ring;
	uint64_t sum = 0;

	(void)arg;
	open_ring(&ring, FILES_DEPTH);
	for (unsigned done = 0; done < stage.nfiles;) {
		unsigned left = stage.nfiles - done, n = left < FILES_DEPTH ? left : FILES_DEPTH;

		for (int phase = 0; phase < 3; phase++) {
			for (unsigned i = 0; i < n; i++) {
				struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

				if (phase == 0) {
					strcpy(paths[i], small_path(done + i));
					io_uring_prep_openat(sqe, AT_FDCWD, paths[i],
							     O_RDONLY | O_CLOEXEC, 0);
				} else if (phase == 1) {
					io_uring_prep_read(sqe, fds[i], bytes[i], SMALL_FILE, 0);
				} else {
					io_uring_prep_close(sqe, fds[i]);
				}
				sqe->user_data = i;
			}
			submit(&ring);
			reap(&ring, n, phase == 0 ? fds : results);
			for (unsigned i = 0; phase == 1 && i < n; i++)
				sum += results[i] > 0 ? sum_of(bytes[i], (size_t)results[i]) : 0;
		}
		done += n;
	}
	io_uring_queue_exit(&ring);
	return sum;
}

uint64_t uring_write(int arg)
{
	static char block[BLOCK];
	int fd = open_or_die(in_folder("made"), O_RDWR | O_CREAT | O_EXCL), results[SCAN_DEPTH];
	uint64_t seed = 3, word;
	struct io_uring ring;

	(void)arg;
	for (size_t i = 0; i < BLOCK; i += 8) { /* the block that the other ways write */
		word = next_random(&seed);
		memcpy(block + i, &word, 8);
	}
	open_ring(&ring, SCAN_DEPTH);
	for (uint64_t off = 0; off < stage.made;) {
		unsigned n = 0;

		for (; n < SCAN_DEPTH && off < stage.made; n++, off += BLOCK) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			io_uring_prep_write(sqe, fd, block, BLOCK, off);
			sqe->user_data = n;
		}
		submit(&ring);
		reap(&ring, n, results);
		for (unsigned i = 0; i < n; i++)
			if (results[i] != (int)BLOCK)
				errx(1, "io_uring: a short write");
	}
	io_uring_queue_exit(&ring);
	close(fd);
	return 0;
}

#else

static const char lack[] = "built without liburing";

uint64_t uring_scan(int arg)
{
	(void)arg;
	not_here("%s", lack);
}

uint64_t uring_random(int size)
{
	(void)size;
	not_here("%s", lack);
}

uint64_t uring_many(int arg)
{
	(void)arg;
	not_here("%s", lack);
}

uint64_t uring_write(int arg)
{
	(void)arg;
	not_here("%s", lack);
}

#endif
