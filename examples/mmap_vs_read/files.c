/*
 * files.c - the files that are looked at, and how they lie in the page cache.
 *
 * The kernel keeps a file in folios of 4 KiB to 2 MiB, as large as the reads were that brought it
 * in.  A file read from its beginning to its end lies in large ones.  A few thousand small reads
 * here and there leave small ones, and what is read around them later is cut up to fit.  Both are
 * warm, and no call tells them apart; only page faults do.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "way.h"

const char *const state_names[NSTATES] = {
	[LARGE_FOLIOS] = "warm, large folios",
	[SMALL_FOLIOS] = "warm, small folios",
	[COLD] = "cold",
};

uint64_t next_random(uint64_t *x) /* xorshift64*, Vigna 2016 */
{
	*x ^= *x >> 12;
	*x ^= *x << 25;
	*x ^= *x >> 27;
	return *x * 0x2545f4914f6cdd1dull;
}

uint64_t size_of_file(void)
{
	return stage.size;
}

int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

void *map_or_die(int fd, uint64_t size, int prot, int flags)
{
	void *at = mmap(NULL, size, prot, flags, fd, 0);

	if (at == MAP_FAILED)
		err(1, "mmap");
	return at;
}

void *memory_or_die(size_t size)
{
	void *at = malloc(size);

	if (!at)
		err(1, "malloc");
	return at;
}

void advise_or_skip(void *at, uint64_t size, int advice)
{
	if (advice && madvise(at, size, advice) < 0)
		not_here("%s", strerror(errno));
}

/* ---- sums ----------------------------------------------------------------- */

static size_t odd_bytes(struct summer *s, const unsigned char *data, size_t n)
{
	for (size_t i = 0; i < n; i++, s->at++)
		s->sum += (uint64_t)data[i] << 8 * (s->at % 8);
	return n;
}

void sum_more(struct summer *s, const void *data, size_t n)
{
	const unsigned char *at = data;
	size_t before = (8 - s->at % 8) % 8, whole;
	uint64_t sum = 0, word;

	before = odd_bytes(s, at, before < n ? before : n);
	at += before;
	n -= before;
	whole = n / 8 * 8;
	for (size_t i = 0; i < whole; i += 8) {
		memcpy(&word, at + i, 8);
		sum += word;
	}
	s->sum += sum;
	s->at += whole;
	odd_bytes(s, at + whole, n - whole);
}

uint64_t sum_of(const void *data, size_t n)
{
	struct summer s = {0};

	sum_more(&s, data, n);
	return s.sum;
}

uint64_t sum_of_file(const char *path)
{
	struct summer s = {0};
	char *buffer = memory_or_die(MIB);
	int fd = open_or_die(path, O_RDONLY);
	ssize_t got;

	while ((got = read(fd, buffer, MIB)) > 0)
		sum_more(&s, buffer, (size_t)got);
	if (got < 0)
		err(1, "%s", path);
	close(fd);
	free(buffer);
	return s.sum;
}

/* ---- making them ------------------------------------------------------------ */

static void show_progress(const char *what, uint64_t done, uint64_t all)
{
	enum { WIDTH = 40 };
	static const char bar[] = "########################################";
	int n = (int)(done * WIDTH / all);

	if (!isatty(STDERR_FILENO))
		return;
	if (done == all)
		fprintf(stderr, "\r\033[K");
	else
		fprintf(stderr, "\r%s [%.*s%*s] %3d %%", what, n, bar, WIDTH - n, "",
			(int)(done * 100 / all));
}

void make_file(const char *path, uint64_t size, const char *what)
{
	uint64_t *words = memory_or_die(MIB), seed = size + 1;
	int fd = open_or_die(path, O_WRONLY | O_CREAT | O_TRUNC);

	for (uint64_t done = 0; done < size;) {
		size_t n = size - done < MIB ? (size_t)(size - done) : MIB;

		for (size_t i = 0; i < MIB / 8; i++)
			words[i] = next_random(&seed);
		if (write(fd, words, n) != (ssize_t)n)
			err(1, "%s", path);
		done += n;
		show_progress(what, done, size);
	}
	free(words);
	if (close(fd) < 0)
		err(1, "%s", path);
}

const char *in_folder(const char *name)
{
	static char paths[4][600];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", stage.folder, name);
	return path;
}

const char *small_path(unsigned i)
{
	char name[32];

	snprintf(name, sizeof name, "many/%u", i);
	return in_folder(name);
}

uint64_t make_small_files(void)
{
	uint64_t words[SMALL_FILE / 8], seed = 1, sum = 0;

	if (mkdir(in_folder("many"), 0700) < 0)
		err(1, "mkdir");
	for (unsigned i = 0; i < stage.nfiles; i++) {
		int fd = open_or_die(small_path(i), O_WRONLY | O_CREAT | O_EXCL);

		for (size_t w = 0; w < SMALL_FILE / 8; w++)
			words[w] = next_random(&seed);
		if (write(fd, words, sizeof words) != (ssize_t)sizeof words || fdatasync(fd) < 0)
			err(1, "%s", small_path(i));
		close(fd);
		sum += sum_of(words, sizeof words);
	}
	return sum;
}

/* ---- the page cache ----------------------------------------------------------- */

static double resident_share(int fd, uint64_t size)
{
	size_t npages = (size_t)((size + PAGE - 1) / PAGE), there = 0;
	unsigned char *pages = memory_or_die(npages);
	void *at = map_or_die(fd, size, PROT_READ, MAP_SHARED);

	if (mincore(at, size, pages) < 0)
		err(1, "mincore");
	for (size_t i = 0; i < npages; i++)
		there += pages[i] & 1;
	munmap(at, size);
	free(pages);
	return (double)there / (double)npages;
}

/* What others map, or root alone may put out, stays after posix_fadvise. */
static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1", 1) < 0)
		warn("drop_caches");
	close(fd);
}

bool evict(const char *path)
{
	int fd = open_or_die(path, O_RDONLY);
	bool is_gone = false;
	struct stat st;

	if (fstat(fd, &st) < 0)
		err(1, "%s", path);
	for (int turn = 0; turn < 2 && !is_gone; turn++) {
		if (turn)
			drop_caches();
		(void)fdatasync(fd);
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		is_gone = st.st_size == 0 || resident_share(fd, (uint64_t)st.st_size) < 0.02;
	}
	close(fd);
	return is_gone;
}

unsigned stray_reads(void)
{
	return (unsigned)(stage.size / PAGE / 64) + 1;
}

static void read_here_and_there(const char *path)
{
	int fd = open_or_die(path, O_RDONLY);
	uint64_t seed = 1, npages = (stage.size + PAGE - 1) / PAGE;
	char page[PAGE];

	for (unsigned i = 0; i < stray_reads(); i++)
		if (pread(fd, page, PAGE, (off_t)(next_random(&seed) % npages * PAGE)) < 0)
			err(1, "%s", path);
	close(fd);
}

bool settle(const char *path, enum state state)
{
	bool is_gone = evict(path);

	if (state == SMALL_FOLIOS)
		read_here_and_there(path);
	if (state != COLD)
		sum_of_file(path);
	return is_gone;
}
