/*
 * random.c - small reads here and there.
 *
 * A pread costs about the same each time.  A mapped page costs a fault the first time, which
 * brings its neighbours along, and nothing afterwards.  So a few reads are for pread, and many
 * for mmap; where the line runs depends on the folios again.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <comap/guard.h>
#include "way.h"

enum { FEW = 1000, COLD_READS = 2000 };

struct places places_of(size_t size)
{
	return (struct places){ .seed = 42, .nslots = stage.size / size, .size = size };
}

uint64_t places_next(struct places *p)
{
	return next_random(&p->seed) % p->nslots * p->size;
}

void places_saw(struct places *p, const void *bytes)
{
	p->sum = p->sum * 0x9e3779b97f4a7c15ull + sum_of(bytes, p->size);
}

static uint64_t random_pread(int size)
{
	struct places p = places_of((size_t)size);
	int fd = open_or_die(stage.file, O_RDONLY);
	char bytes[PAGE];

	for (unsigned i = 0; i < stage.nplaces; i++) {
		if (pread(fd, bytes, p.size, (off_t)places_next(&p)) != (ssize_t)p.size)
			err(1, "pread");
		places_saw(&p, bytes);
	}
	close(fd);
	return p.sum;
}

static uint64_t random_fread(int size)
{
	struct places p = places_of((size_t)size);
	FILE *stream = fopen(stage.file, "re");
	char bytes[PAGE];

	if (!stream)
		err(1, "%s", stage.file);
	for (unsigned i = 0; i < stage.nplaces; i++) {
		if (fseeko(stream, (off_t)places_next(&p), SEEK_SET) < 0 ||
		    fread(bytes, p.size, 1, stream) != 1)
			err(1, "fread");
		places_saw(&p, bytes);
	}
	fclose(stream);
	return p.sum;
}

static uint64_t random_mapped(int size, int advice, int flags)
{
	struct places p = places_of((size_t)size);
	int fd = open_or_die(stage.file, O_RDONLY);
	char *at = map_or_die(fd, stage.size, PROT_READ, MAP_SHARED | flags), bytes[PAGE];

	advise_or_skip(at, stage.size, advice);
	for (unsigned i = 0; i < stage.nplaces; i++) {
		memcpy(bytes, at + places_next(&p), p.size);
		places_saw(&p, bytes);
	}
	munmap(at, stage.size);
	close(fd);
	return p.sum;
}

static uint64_t random_mmap(int size) { return random_mapped(size, 0, 0); }
static uint64_t random_advised(int size) { return random_mapped(size, MADV_RANDOM, 0); }
static uint64_t random_willneed(int size) { return random_mapped(size, MADV_WILLNEED, 0); }
static uint64_t random_populate(int size) { return random_mapped(size, 0, MAP_POPULATE); }

/* In a guard it reads or maps, by how much it is told to expect. */
static uint64_t random_comap(int size)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	struct places p = places_of((size_t)size);
	comap_guard guard;
	comap_view *view;
	char bytes[PAGE];

	opts.access = COMAP_VIEW_RANDOM;
	opts.expect = (uint64_t)stage.nplaces * p.size;
	if (comap_view_open(stage.file, &opts, &view) < 0)
		errx(1, "%s", comap_view_reason());
	if (comap_guard_install() < 0)
		errx(1, "cannot guard against SIGBUS");
	comap_guard_enter(&guard, view);
	for (unsigned i = 0; i < stage.nplaces; i++) {
		if (comap_view_read(view, places_next(&p), bytes, p.size) < 0)
			errx(1, "%s", comap_view_reason());
		places_saw(&p, bytes);
	}
	if (comap_guard_leave(&guard) < 0)
		errx(1, "%s was cut short meanwhile", stage.file);
	comap_guard_remove();
	comap_view_close(view);
	return p.sum;
}

static uint64_t want4k(void) { return random_pread(PAGE); }
static uint64_t want64(void) { return random_pread(PLACE); }
static uint64_t bytes4k(void) { return (uint64_t)stage.nplaces * PAGE; }
static uint64_t bytes64(void) { return (uint64_t)stage.nplaces * PLACE; }

static unsigned count_many(enum state state, unsigned a_mib)
{
	uint64_t n = stage.size / MIB * a_mib;

	n = n < 4 * COLD_READS ? 4 * COLD_READS : n > 2000000 ? 2000000 : n;
	return state == COLD ? COLD_READS : (unsigned)n;
}

static unsigned count4k(enum state state) { return count_many(state, 64); }
static unsigned count64(enum state state) { return count_many(state, 400); }

static unsigned count_few(enum state state)
{
	(void)state;
	return FEW;
}

static void make_cold(void)
{
	evict(stage.file);
}

#define WAYS(size)                                                                                 \
	{                                                                                          \
		{ "pread", random_pread, size, READS },                                            \
		{ "fseek, fread", random_fread, size, READS },                                     \
		{ "mmap", random_mmap, size, MAPS },                                               \
		{ "mmap, random", random_advised, size, MAPS },                                    \
		{ "mmap, willneed", random_willneed, size, MAPS },                                 \
		{ "MAP_POPULATE", random_populate, size, MAPS },                                   \
		{ "io_uring, 32 at once", uring_random, size, KERNEL },                            \
		{ "comap_view_read", random_comap, size, COMAP },                                  \
		{0},                                                                               \
	}
static const struct way ways4k[] = WAYS(PAGE), ways64[] = WAYS(PLACE);

const struct task random4k_task = {
	.key = "random-4k", .title = "Random reads of 4 KiB", .piece = "reads", .ways = ways4k,
	.want = want4k, .bytes = bytes4k, .count = count4k, .evict = make_cold,
	.is_of_file = true,
};
const struct task random64_task = {
	.key = "random-64", .title = "Random reads of 64 bytes", .piece = "reads", .ways = ways64,
	.want = want64, .bytes = bytes64, .count = count64, .evict = make_cold,
	.is_of_file = true,
};
const struct task few_task = {
	.key = "random-few", .title = "A few random reads of 64 bytes", .piece = "reads", .ways = ways64,
	.want = want64, .bytes = bytes64, .count = count_few, .evict = make_cold,
	.is_of_file = true,
};
