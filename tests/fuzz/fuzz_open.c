/*
 * fuzz_open.c - is there a heap file that harms whoever opens it?
 *
 * An input says how to spoil a small heap (script.h).  It is opened alone, so it is repaired;
 * then a program uses it, and it is looked at, closed, and perhaps opened once more.  Refusing
 * it is fine, and leaves it as it was; opening it is fine.  A crash, a touch outside the
 * mapping, two seconds of work, or a file that was refused but changed, is a finding.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "fuzz/exercise.h"
#include "fuzz/script.h"
#include "fuzz/seed.h"

#define SECONDS 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) ((x) ? (void)0 : must_fail(#x, err))

static void must_fail(const char *what, int err)
{
	fprintf(stderr, "fuzz_open: not so: %s (%d, \"%s\")\n", what, err, comap_heap_open_reason());
	abort();
}

static int open_it(int fd, unsigned flags, comap_heap **ret_heap)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	char path[64];

	opts.flags = flags & SCRIPT_READONLY ? COMAP_HEAP_READONLY : 0;
	opts.timeout_ns = 1000000;
	if (!(flags & SCRIPT_BY_NAME))
		return comap_heap_open_fd(fd, &opts, ret_heap);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return comap_heap_open(path, &opts, ret_heap);
}

/* is_whole: nothing was changed. */
static void try(int fd, unsigned flags, bool is_whole, const uint8_t *steps, size_t nbytes)
{
	struct seed_print before = seed_print(fd);
	struct exercise_walls walls;
	comap_heap *heap = NULL;
	int err = open_it(fd, flags, &heap);

	/* EMFILE: handles of earlier inputs leak; EBUSY: somebody has their lock still */
	MUST(err <= 0 && err != -EMFILE && err != -EBUSY && err != -EAGAIN);
	MUST(err == 0 || !is_whole);
	if (err < 0) {
		MUST(!heap && comap_heap_open_reason()[0]);
		MUST(seed_print_is_same(before, seed_print(fd)));
		return;
	}
	MUST(heap && !comap_heap_open_reason()[0]);
	walls = exercise_wall_in(heap, heap->seg.max_size);
	if (flags & SCRIPT_LOOK_FIRST)
		err = exercise_look(heap);
	MUST(err == 0 || !is_whole);
	exercise(heap, steps, nbytes);
	err = exercise_look(heap);
	/* the program frees pages of roots, too, where it finds them: only one without steps */
	MUST(err == 0 || !is_whole || nbytes);
	exercise_wall_out(&walls);
	comap_heap_close(heap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool is_whole;
	size_t at;
	int fd;

	if (size == 0)
		return 0;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	at = script_write(data, size, fd);
	/* a reader sees the logs of the dead, and mends none */
	is_whole = at <= SCRIPT_HEAD && (data[0] & SCRIPT_MODE) != SCRIPT_RAW &&
		   !(data[0] & SCRIPT_READONLY);
	watch_begin("an input", SECONDS);
	try(fd, data[0], is_whole, data + at, cm_min(size - at, SCRIPT_STEPS_MOST));
	if (data[0] & SCRIPT_AGAIN)
		try(fd, 0, is_whole && size - at < 2, data + at, 0);
	watch_end();
	close(fd);
	return 0;
}
