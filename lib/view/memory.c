/*
 * memory.c - the memory that the handles of a view share, and the handles.
 *
 * Copies up to a few KiB lie behind the struct, in one allocation: opening and reading
 * many small files is then one malloc and the system calls it needs.  Larger copies come from
 * whole pages, and one of each power of two is kept when it is given back: a fresh one costs
 * a page fault for each 4 KiB, which is as much as the copying.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "view/view.h"

#define POOL_LEAST_SHIFT 17 /* 128 KiB */
#define POOL_MOST_SHIFT 23  /* 8 MiB: all that are kept make 16 MiB at most */
#define HUGE_PAGE (2 * CM_MIB)

static _Atomic(void *) pool[POOL_MOST_SHIFT - POOL_LEAST_SHIFT + 1];

static unsigned pool_index(size_t size)
{
	unsigned shift = size <= 1ull << POOL_LEAST_SHIFT ? POOL_LEAST_SHIFT : cm_highest(size - 1) + 1;

	return shift - POOL_LEAST_SHIFT;
}

char *cm_pages_take(size_t size, size_t *ret_span)
{
	unsigned i = pool_index(size);
	bool is_pooled = i < sizeof pool / sizeof *pool;
	char *pages = NULL;

	*ret_span = is_pooled ? (size_t)1 << (i + POOL_LEAST_SHIFT) : cm_round_up(size, cm_os_page_size());
	if (is_pooled)
		pages = atomic_exchange_explicit(&pool[i], NULL, memory_order_acquire);
	if (!pages) {
		pages = cm_os_private_pages(*ret_span);
		if (pages && *ret_span >= HUGE_PAGE)
			(void)cm_os_advise(pages, *ret_span, CM_OS_HUGE);
	}
	return pages;
}

void cm_pages_give(char *pages, size_t span)
{
	unsigned i = pool_index(span);
	void *none = NULL;

	/* release pairs with the acquire of cm_pages_take: our stores into them come first */
	if (i < sizeof pool / sizeof *pool && span == (size_t)1 << (i + POOL_LEAST_SHIFT) &&
	    atomic_compare_exchange_strong_explicit(&pool[i], &none, pages, memory_order_release,
						    memory_order_relaxed))
		return;
	cm_os_unmap_part(pages, span);
}

struct cm_memory *cm_memory_new(size_t extra)
{
	struct cm_memory *memory = malloc(sizeof *memory + extra);

	if (memory) {
		memset(memory, 0, sizeof *memory);
		memory->fd = memory->dirfd = -1;
	}
	return memory;
}

void cm_memory_drop(struct cm_memory *memory)
{
	int saved = errno;

	/* Whoever has these pages next did not ask for that.  Memory of the caller's, and a small
	 * copy amid malloc's, share pages with others, who may have: they stay as they are. */
	if (memory->is_locked && memory->kind == CM_MEMORY_COPIED && memory->base)
		(void)cm_os_lock_pages(memory->base, memory->span, false);
	if (memory->kind == CM_MEMORY_GIVEN && memory->release)
		memory->release(memory->data, memory->arg);
	if (memory->kind == CM_MEMORY_COPIED && memory->base)
		cm_pages_give(memory->base, memory->span);
	if (memory->kind == CM_MEMORY_MAPPED && memory->base)
		cm_os_unmap_part(memory->base, memory->span);
	if (memory->fd >= 0)
		cm_os_close(memory->fd);
	if (memory->dirfd >= 0)
		cm_os_close(memory->dirfd);
	free(memory->path);
	free(memory);
	errno = saved;
}

void cm_memory_relock(struct cm_memory *memory)
{
	if (atomic_load_explicit(&memory->is_locked, memory_order_relaxed) && memory->base)
		(void)cm_os_lock_pages(memory->base, memory->span,
				       true); /* what is not in the file cannot be */
}

int cm_memory_view(struct cm_memory *memory, char *data, size_t size, comap_view **ret_view)
{
	struct comap_view *view = malloc(sizeof *view);

	if (!view)
		return -ENOMEM;
	view->refs = 1;
	view->memory = memory;
	view->data = data;
	view->size = size;
	/* relaxed: whoever makes a handle has one already, or nobody has */
	atomic_fetch_add_explicit(&memory->handles, 1, memory_order_relaxed);
	*ret_view = view;
	return 0;
}

int comap_view_sub(comap_view *view, uint64_t off, uint64_t size, comap_view **ret_view)
{
	if (off > view->size || size > view->size - off)
		return cm_view_fail(-ERANGE, "view a part of", view->memory->path);
	if (cm_memory_view(view->memory, view->data + off, (size_t)size, ret_view) < 0)
		return cm_view_fail(-ENOMEM, "view a part of", view->memory->path);
	return 0;
}

comap_view *comap_view_dup(comap_view *view)
{
	atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed); /* we have one */
	return view;
}

void comap_view_close(comap_view *view)
{
	struct cm_memory *memory;

	/* acquire and release: what other threads did with it comes before it goes */
	if (!view || atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) != 1)
		return;
	memory = view->memory;
	if (atomic_fetch_sub_explicit(&memory->handles, 1, memory_order_acq_rel) == 1)
		cm_memory_drop(memory);
	free(view);
}
