/*
 * content.c - what is in the files, and the same from memory.
 *
 * Text of common words, so that lz4 finds something to do, 4 MiB of it again and
 * again; the first word of each page is the page's number, scattered.  So every
 * page has a sum of its own, and what a file must hold is known without reading it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "views.h"

enum { BLOCK_PAGES = TEXT_BLOCK / PAGE, NWORDS = 600 };

static uint64_t next(uint64_t *x) /* xorshift64*, Vigna 2016 */
{
	*x ^= *x >> 12;
	*x ^= *x << 25;
	*x ^= *x >> 27;
	return *x * 0x2545f4914f6cdd1dull;
}

int open_or_fail(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		fail("open", path);
	return fd;
}

void *map_or_fail(int fd, size_t size, int prot, int flags)
{
	void *at = mmap(NULL, size, prot, flags, fd, 0);

	if (at == MAP_FAILED)
		fail("mmap", "a file");
	return at;
}

void *memory_or_fail(size_t size)
{
	void *at = malloc(size);

	if (!at)
		fail("malloc", "memory");
	return at;
}

/* ---- sums ----------------------------------------------------------------- */

static uint64_t words(const char *data, size_t n)
{
	uint64_t sum = 0, word;

	for (size_t i = 0; i < n; i++) {
		memcpy(&word, data + 8 * i, 8);
		sum += word;
	}
	return sum;
}

static size_t odd_bytes(struct summer *s, const unsigned char *data, size_t n)
{
	size_t i = 0;

	for (; i < n; i++, s->at++)
		s->sum += (uint64_t)data[i] << 8 * (s->at % 8);
	return i;
}

void sum_more(struct summer *s, const void *data, size_t n)
{
	const unsigned char *at = data;
	size_t before = (8 - s->at % 8) % 8, whole;

	before = odd_bytes(s, at, before < n ? before : n);
	at += before;
	n -= before;
	whole = n / 8 * 8;
	s->sum += words((const char *)at, n / 8);
	s->at += whole;
	odd_bytes(s, at + whole, n - whole);
}

uint64_t sum_of(const void *data, size_t n)
{
	struct summer s = {0};

	sum_more(&s, data, n);
	return s.sum;
}

/* ---- text ------------------------------------------------------------------- */

/* Short words are frequent, as in any text. */
static void write_text(char *to, size_t n)
{
	static char dictionary[NWORDS][12];
	uint64_t seed = 0x636f6d6170;
	size_t at = 0;

	for (int w = 0; w < NWORDS; w++)
		for (int i = 0; i < 2 + w % 9; i++)
			dictionary[w][i] = (char)('a' + next(&seed) % 26);
	while (at < n) {
		uint64_t r = next(&seed);
		const char *word = dictionary[(r & 1 ? r >> 8 : (r >> 8) % 40) % NWORDS];
		size_t length = strlen(word);

		length = length < n - at ? length : n - at;
		memcpy(to + at, word, length);
		at += length;
		if (at < n)
			to[at++] = r >> 60 ? ' ' : '\n';
	}
}

const char *text_block(void)
{
	static char *block;

	if (!block) {
		block = memory_or_fail(TEXT_BLOCK);
		write_text(block, TEXT_BLOCK);
	}
	return block;
}

static uint64_t stamp_of(uint64_t page)
{
	return (page + 1) * 0x9e3779b97f4a7c15ull;
}

/* A page as it must be. */
static void copy_page(uint64_t page, char *to)
{
	uint64_t stamp = stamp_of(page);

	memcpy(to, text_block() + page % BLOCK_PAGES * PAGE, PAGE);
	memcpy(to, &stamp, sizeof stamp);
}

void file_copy(const struct file *file, uint64_t off, void *to, size_t n)
{
	char page[PAGE];

	copy_page(file->first + off / PAGE, page);
	if (n > PAGE - off % PAGE)
		wrong("a place across pages");
	memcpy(to, page + off % PAGE, n);
}

uint64_t file_sum(const struct file *file)
{
	static uint64_t sums[BLOCK_PAGES];
	uint64_t sum = 0;

	for (int i = 0; i < BLOCK_PAGES && !sums[BLOCK_PAGES - 1]; i++)
		sums[i] = words(text_block() + (size_t)i * PAGE + 8, PAGE / 8 - 1);
	for (uint64_t p = file->first; p < file->first + file->npages; p++)
		sum += sums[p % BLOCK_PAGES] + stamp_of(p);
	return sum;
}

/* ---- files ------------------------------------------------------------------ */

struct file file_named(const char *name, uint64_t first, uint64_t size)
{
	struct file file = { .first = first, .npages = size / PAGE };

	snprintf(file.path, sizeof file.path, "%s/%s", views_dir, name);
	return file;
}

void file_make(const struct file *file)
{
	size_t room = BLOCK_PAGES * PAGE;
	uint64_t left = file->npages;
	struct stat st;
	char *pages;
	int fd;

	if (stat(file->path, &st) == 0 && (uint64_t)st.st_size == file->npages * PAGE)
		return;
	fd = open_or_fail(file->path, O_WRONLY | O_CREAT | O_TRUNC);
	pages = memory_or_fail(room);
	for (uint64_t page = file->first; left;) {
		uint64_t n = left < BLOCK_PAGES ? left : BLOCK_PAGES;

		for (uint64_t i = 0; i < n; i++)
			copy_page(page + i, pages + i * PAGE);
		if (write(fd, pages, n * PAGE) != (ssize_t)(n * PAGE))
			fail("write", file->path);
		page += n;
		left -= n;
	}
	free(pages);
	if (close(fd) < 0)
		fail("close", file->path);
}

uint64_t file_sum_seen(const char *path)
{
	struct summer s = {0};
	char *buffer = memory_or_fail(MIB);
	int fd = open_or_fail(path, O_RDONLY);
	ssize_t got;

	while ((got = read(fd, buffer, MIB)) > 0)
		sum_more(&s, buffer, (size_t)got);
	if (got < 0)
		fail("read", path);
	close(fd);
	free(buffer);
	return s.sum;
}

/* Four small reads a MiB are enough to spoil all of it: each leaves a folio of one page, and
 * what is read around it later is cut up to fit. */
static void read_here_and_there(int fd, uint64_t npages)
{
	uint64_t seed = 1;
	char page[PAGE];

	for (uint64_t i = 0; i < npages / 64; i++)
		if (pread(fd, page, PAGE, (off_t)(next(&seed) % npages * PAGE)) != (ssize_t)PAGE)
			fail("pread", "a file");
}

void file_settle(const struct file *file, enum state state)
{
	int fd = open_or_fail(file->path, O_RDONLY);

	if (fdatasync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		fail("evict", file->path);
	if (state == SMALL_FOLIOS)
		read_here_and_there(fd, file->npages);
	close(fd);
	if (file_sum_seen(file->path) != file_sum(file))
		wrong("a file is not as it was made");
}

/* ---- places ----------------------------------------------------------------- */

struct places places_in(uint64_t file_size, size_t size)
{
	return (struct places){ .seed = 42, .nslots = file_size / size, .size = size };
}

uint64_t places_next(struct places *p)
{
	return next(&p->seed) % p->nslots * p->size;
}

void places_saw(struct places *p, const void *bytes)
{
	p->sum = p->sum * 0x9e3779b97f4a7c15ull + words(bytes, p->size / 8);
}
