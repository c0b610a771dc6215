/*
 * update.c - changes of 64 bytes in the midst of a file, synced in rounds.
 *
 * The way in costs little, by pwrite or by a store into a mapped page.  What costs is how often the
 * disk is asked: once a round, or once a page.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <comap/view.h>
#include "way.h"

enum { NUPDATES = ROUNDS_OF_UPDATES * UPDATES_A_ROUND };

/* Each place once: the step is odd, and the number of slots a power of two. */
static uint64_t update_place(unsigned i)
{
	uint64_t nslots = 1;

	while (nslots * 2 * PLACE <= stage.made)
		nslots *= 2;
	return (uint64_t)i * 0x9e3779b1u % nslots * PLACE;
}

static void fill(uint64_t words[PLACE / 8], unsigned i)
{
	for (int w = 0; w < PLACE / 8; w++)
		words[w] = (uint64_t)stage.serial << 32 | i;
}

static uint64_t want_updated(void)
{
	return NUPDATES; /* places that hold what this run wrote */
}

static uint64_t look_at_updated(void)
{
	uint64_t words[PLACE / 8], there[PLACE / 8], n = 0;
	int fd = open_or_die(in_folder("source"), O_RDONLY);

	for (unsigned i = 0; i < NUPDATES; i++) {
		fill(words, i);
		if (pread(fd, there, PLACE, (off_t)update_place(i)) != PLACE)
			err(1, "pread");
		n += memcmp(words, there, PLACE) == 0;
	}
	close(fd);
	return n;
}

static uint64_t update_pwrite(int arg)
{
	int fd = open_or_die(in_folder("source"), O_RDWR);
	uint64_t words[PLACE / 8];

	(void)arg;
	for (unsigned i = 0; i < NUPDATES; i++) {
		fill(words, i);
		if (pwrite(fd, words, PLACE, (off_t)update_place(i)) != PLACE)
			err(1, "pwrite");
		if ((i + 1) % UPDATES_A_ROUND == 0 && fdatasync(fd) < 0)
			err(1, "fdatasync");
	}
	close(fd);
	return 0;
}

static uint64_t update_fwrite(int arg)
{
	FILE *stream = fopen(in_folder("source"), "r+e");
	uint64_t words[PLACE / 8];

	(void)arg;
	if (!stream)
		err(1, "fopen");
	for (unsigned i = 0; i < NUPDATES; i++) {
		fill(words, i);
		if (fseeko(stream, (off_t)update_place(i), SEEK_SET) < 0 ||
		    fwrite(words, PLACE, 1, stream) != 1)
			err(1, "fwrite");
		if ((i + 1) % UPDATES_A_ROUND == 0 &&
		    (fflush(stream) != 0 || fdatasync(fileno(stream)) < 0))
			err(1, "fdatasync");
	}
	fclose(stream);
	return 0;
}

enum { SYNC_PAGES, SYNC_SPAN, SYNC_FILE };

static void sync_round(char *at, int fd, unsigned last, int how)
{
	int failed = 0;

	if (how == SYNC_FILE)
		failed = fdatasync(fd);
	else if (how == SYNC_SPAN)
		failed = msync(at, stage.made, MS_SYNC);
	for (unsigned i = last + 1 - UPDATES_A_ROUND; how == SYNC_PAGES && i <= last; i++)
		failed |= msync(at + update_place(i) / PAGE * PAGE, PAGE, MS_SYNC);
	if (failed)
		err(1, "msync");
}

static uint64_t update_mmap(int how)
{
	int fd = open_or_die(in_folder("source"), O_RDWR);
	char *at = map_or_die(fd, stage.made, PROT_READ | PROT_WRITE, MAP_SHARED);
	uint64_t words[PLACE / 8];

	for (unsigned i = 0; i < NUPDATES; i++) {
		fill(words, i);
		memcpy(at + update_place(i), words, PLACE);
		if ((i + 1) % UPDATES_A_ROUND == 0)
			sync_round(at, fd, i, how);
	}
	munmap(at, stage.made);
	close(fd);
	return 0;
}

static uint64_t update_comap(int arg)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	uint64_t words[PLACE / 8];
	comap_view *view;

	(void)arg;
	opts.mode = COMAP_VIEW_SHARED;
	opts.access = COMAP_VIEW_RANDOM;
	if (comap_view_open(in_folder("source"), &opts, &view) < 0)
		errx(1, "%s", comap_view_reason());
	for (unsigned i = 0; i < NUPDATES; i++) {
		fill(words, i);
		if (comap_view_write(view, update_place(i), words, PLACE) < 0)
			errx(1, "%s", comap_view_reason());
		if ((i + 1) % UPDATES_A_ROUND == 0 &&
		    comap_view_flush(view, 0, 0, COMAP_FLUSH_DATA) < 0)
			errx(1, "%s", comap_view_reason());
	}
	comap_view_close(view);
	return 0;
}

static unsigned count_updates(enum state state)
{
	(void)state;
	return NUPDATES;
}

static uint64_t bytes_updated(void)
{
	return NUPDATES * PLACE;
}

static const struct way updates[] = {
	{ "pwrite, fdatasync", update_pwrite, 0, READS },
	{ "fwrite, fdatasync", update_fwrite, 0, READS },
	{ "mmap, msync once", update_mmap, SYNC_SPAN, MAPS },
	{ "mmap, msync by page", update_mmap, SYNC_PAGES, MAPS },
	{ "mmap, fdatasync", update_mmap, SYNC_FILE, MAPS },
	{ "comap_view_flush", update_comap, 0, COMAP },
	{0},
};

const struct task update_task = {
	.key = "update", .title = "Changes of 64 bytes in place, synced after each 100", .piece = "changes",
	.ways = updates, .want = want_updated, .look = look_at_updated, .bytes = bytes_updated,
	.count = count_updates,
};
