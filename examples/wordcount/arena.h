/*
 * arena.h - memory that a process may be killed in the midst of, and leak none.
 *
 * An arena is a chain of pages, big blocks of the heap, in which one writer lays
 * down small things one after the other.  All zero bytes is an empty arena.
 *
 * Who owns what: a struct arena lies in the heap and belongs to one process at
 * a time; how it passes from one to the next is the caller's protocol.  A
 * struct arena_pen is that process's own.
 *
 * After a death: once comap_heap_reap() has run, whoever owns the arena next
 * calls arena_clear(), and may die in there too.
 */
#ifndef WORDCOUNT_ARENA_H
#define WORDCOUNT_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <comap/heap.h>

struct arena {
	comap_ref first;         /* the first page; each page refers to the next */
	_Atomic uint64_t npages; /* how many of them may be looked into */
};

struct arena_pen {
	comap_heap *heap;
	struct arena *arena;
	comap_ref *end; /* the null ref that ends the chain */
	char *at;       /* where the next thing goes */
	size_t left;    /* bytes from there to the end of the page */
};

/* Start writing into an empty arena. */
void arena_open(struct arena_pen *pen, comap_heap *heap, struct arena *arena);

/* size bytes, 8-byte aligned, not cleared; NULL with errno as comap_heap_malloc. */
void *arena_take(struct arena_pen *pen, size_t size);

/* Free every page.  An arena half built, or half cleared, is fine. */
void arena_clear(comap_heap *heap, struct arena *arena);

#endif
