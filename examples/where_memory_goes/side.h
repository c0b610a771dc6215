/*
 * side.h - libc's malloc and a comap heap behind one face.
 *
 * The questions put both to the same experiment.  A failure that no question
 * asks for ends the program: these calls return what they were asked for.
 */
#ifndef WHERE_SIDE_H
#define WHERE_SIDE_H

#include <comap/heap.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct side {
	const char *name;
	comap_heap *heap; /* NULL: libc */
	const char *base; /* where the heap is mapped */
	size_t ceiling;
	uint64_t rss_before; /* libc: of what has no file, when the side was made */
};

struct side side_libc(void);
struct side side_comap(const struct comap_heap_opts *opts);
/* A heap in a file on a disk, already without a name.  heap is NULL when there is no
 * file system for it: side_no_disk says so. */
struct side side_disk(const struct comap_heap_opts *opts);
extern const char side_no_disk[];
void side_close(struct side *side);

void *side_malloc(const struct side *side, size_t size);
void side_free(const struct side *side, void *block);
size_t side_usable(const struct side *side, void *block);
void side_trim(const struct side *side); /* malloc_trim(0), comap_heap_trim */
void side_check(const struct side *side); /* must be whole */

/* Resident bytes: those in this process's page table, of the heap alone. */
uint64_t side_rss(const struct side *side);
/* Bytes of storage under the heap: memory for a memfd, disk for a file (st_blocks). */
uint64_t side_storage(const struct side *side);

#endif
