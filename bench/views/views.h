/*
 * views.h - what the rows of the views benchmark share.
 *
 * A row is a piece of work on files that prepare() made; a method is one way to do
 * it.  It returns a sum of all the bytes it saw, which main.c compares with the sum
 * that they must have: a method that skips something is no fast one, but wrong.
 */
#ifndef VIEWS_H
#define VIEWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <comap/bytes.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define BLOCK (256 * KIB) /* what read and write take at a time */

struct row;
typedef uint64_t method_fn(const struct row *row);

struct method {
	const char *name;
	method_fn *run;
	int arg; /* the method's own: an advice, a flag */
};

/* How the file came into the page cache: by one long read, or first by many small ones here and
 * there. */
enum state { LARGE_FOLIOS, SMALL_FOLIOS };

struct row {
	const char *name, *unit; /* ms: of the whole work; us, ns: of one piece of it */
	const struct method *methods;
	void (*prepare)(const struct row *row); /* once for many runs; may be NULL */
	void (*ready)(const struct row *row);   /* before each run, not timed; may be NULL */
	uint64_t (*want)(const struct row *row);
	method_fn *look; /* after each run, not timed: the sum of what was made; or NULL */
	enum state state;
	size_t size; /* of one piece: bytes */
	unsigned n;  /* how many pieces, where the row knows */
};
extern const struct row scan_rows[], view_rows[], random_rows[], write_rows[], file_rows[], open_rows[],
	lz4_rows[];

extern const char *views_dir; /* where the files are */
extern uint64_t views_mib;    /* size of the large ones */
extern const struct method *method; /* the one that runs */

_Noreturn void fail(const char *what, const char *name); /* status 3, with errno */
_Noreturn void wrong(const char *what);                  /* status 3 */
_Noreturn void not_here(const char *what);               /* status 4: this machine has no such thing */

/* ---- content.c ---------------------------------------------------------- */

/* Files hold text, and at the beginning of each page its number, from `first` on. */
struct file {
	char path[512];
	uint64_t first, npages;
};
struct file file_named(const char *name, uint64_t first, uint64_t size);
void file_make(const struct file *file);                /* if it is not there */
void file_settle(const struct file *file, enum state state); /* out of the page cache, and in again */
uint64_t file_sum(const struct file *file);             /* as it must be */
uint64_t file_sum_seen(const char *path);               /* as it is: by read */
void file_copy(const struct file *file, uint64_t off, void *to, size_t n); /* as it must be */
const char *text_block(void); /* the 4 MiB that repeat, without numbers */
#define TEXT_BLOCK (4 * MIB)

/* Sums of little-endian words, the last one filled up with zeroes; in pieces of any length. */
struct summer {
	uint64_t sum, at;
};
void sum_more(struct summer *s, const void *data, size_t n);
uint64_t sum_of(const void *data, size_t n);

/* Places to look at: always the same ones. */
struct places {
	uint64_t seed, nslots, sum;
	size_t size;
};
struct places places_in(uint64_t file_size, size_t size);
uint64_t places_next(struct places *p);             /* an offset */
void places_saw(struct places *p, const void *bytes); /* what was there; the order counts */

int open_or_fail(const char *path, int flags);
void *map_or_fail(int fd, size_t size, int prot, int flags);
void *memory_or_fail(size_t size); /* malloc */

#endif
