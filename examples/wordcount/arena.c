/*
 * arena.c - memory that a process may be killed in the midst of, and leak none.
 *
 * comap_heap_malloc_to() allocates a page and links it to the chain, both or
 * neither.  What it cannot do is fill the page: for a moment the chain ends in
 * a page whose own `next` is whatever the block held before.  So the arena
 * counts the pages that may be looked into, and a page is counted only when
 * its `next` is null.  At every instant:
 *
 *	first -> page -> page -> ... -> page -> null, or one page more
 *	         '------- npages --------'      that nobody looks into
 *
 * Whoever comes after a death frees that one page more, if it is there, then
 * takes the last page off the count, which makes it the one page more, and so
 * on up the chain.  Each step leaves the picture above true, so one may die
 * between any two of them, and the next simply begins again.
 *
 * Going to the end of the chain each time costs the square of its length; a
 * chain here has three or four pages.
 */
#include "arena.h"

enum { PAGE_BYTES = 64 << 10 };

struct page {
	comap_ref next;
	uint64_t bytes[];
};

/* The ref that follows the first n pages. */
static comap_ref *ref_after(comap_heap *heap, struct arena *arena, uint64_t n)
{
	comap_ref *ref = &arena->first;

	while (n--) {
		struct page *page = comap_heap_at(heap, *ref);

		ref = &page->next;
	}
	return ref;
}

static int add_page(struct arena_pen *pen, size_t room)
{
	struct arena *arena = pen->arena;
	uint64_t npages = atomic_load_explicit(&arena->npages, memory_order_relaxed);
	size_t size = sizeof(struct page) + room;
	struct page *page;

	if (size < PAGE_BYTES)
		size = PAGE_BYTES;
	page = comap_heap_malloc_to(pen->heap, size, pen->end);
	if (!page)
		return -1;
	page->next = COMAP_NULL;
	/* release: the page is fit to be looked into before it is counted.  death: before
	 * this store it is the one page more that arena_clear() frees unseen. */
	atomic_store_explicit(&arena->npages, npages + 1, memory_order_release);

	pen->end = &page->next;
	pen->at = (char *)page->bytes;
	pen->left = size - sizeof *page;
	return 0;
}

void arena_open(struct arena_pen *pen, comap_heap *heap, struct arena *arena)
{
	*pen = (struct arena_pen){ .heap = heap, .arena = arena, .end = &arena->first };
}

void *arena_take(struct arena_pen *pen, size_t size)
{
	char *taken;

	size = (size + 7) & ~(size_t)7;
	if (size > pen->left && add_page(pen, size) < 0)
		return NULL;
	taken = pen->at;
	pen->at += size;
	pen->left -= size;
	return taken;
}

void arena_clear(comap_heap *heap, struct arena *arena)
{
	/* acquire pairs with the release in add_page(), should that have been a neighbour. */
	uint64_t npages = atomic_load_explicit(&arena->npages, memory_order_acquire);

	comap_heap_free_from(heap, ref_after(heap, arena, npages));
	while (npages > 0) {
		/* release: in this order for whoever comes after our death. */
		atomic_store_explicit(&arena->npages, --npages, memory_order_release);
		comap_heap_free_from(heap, ref_after(heap, arena, npages));
	}
}
