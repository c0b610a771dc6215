/* default.c - the malloc family on the process's default heap. */
#include <errno.h>
#include <comap/malloc.h>
#include <comap/version.h>
#include "heap/heap.h"

static _Atomic(comap_heap *) current;

comap_heap *comap_default_heap(void)
{
	/* acquire pairs with the exchange below: the handle is whole */
	comap_heap *heap = cm_load_acquire(&current), *fresh = NULL;
	int err;

	if (CM_EXPECT(heap != NULL))
		return heap;
	err = comap_heap_open_anon(NULL, &fresh);
	if (err < 0) {
		errno = -err;
		return NULL;
	}
	if (atomic_compare_exchange_strong_explicit(&current, &heap, fresh, memory_order_acq_rel,
						    memory_order_acquire))
		return fresh;
	comap_heap_close(fresh); /* another thread was first */
	return heap;
}

comap_heap *comap_set_default_heap(comap_heap *heap)
{
	return atomic_exchange_explicit(&current, heap, memory_order_acq_rel);
}

void *comap_malloc(size_t size)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_malloc(heap, size) : NULL;
}

void *comap_calloc(size_t count, size_t size)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_calloc(heap, count, size) : NULL;
}

void *comap_realloc(void *ptr, size_t size)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_realloc(heap, ptr, size) : NULL;
}

void *comap_reallocarray(void *ptr, size_t count, size_t size)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_reallocarray(heap, ptr, count, size) : NULL;
}

/* The default heap if there is one: what was never made has no blocks. */
static comap_heap *existing(void)
{
	return cm_load_acquire(&current);
}

void comap_free(void *ptr)
{
	comap_heap *heap = existing();

	if (heap)
		comap_heap_free(heap, ptr);
}

void *comap_aligned_alloc(size_t align, size_t size)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_aligned_alloc(heap, align, size) : NULL;
}

void *comap_memalign(size_t align, size_t size)
{
	return comap_aligned_alloc(align, size);
}

int comap_posix_memalign(void **ret_ptr, size_t align, size_t size)
{
	int saved = errno, err;
	comap_heap *heap = comap_default_heap();

	if (heap)
		return comap_heap_posix_memalign(heap, ret_ptr, align, size);
	err = errno;
	errno = saved;
	return err;
}

size_t comap_usable_size(const void *ptr)
{
	comap_heap *heap = existing();

	return heap ? comap_heap_usable_size(heap, ptr) : 0;
}

char *comap_strdup(const char *text)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_strdup(heap, text) : NULL;
}

char *comap_strndup(const char *text, size_t max)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_strndup(heap, text, max) : NULL;
}

void *comap_malloc_to(size_t size, comap_ref *dst)
{
	comap_heap *heap = comap_default_heap();

	return heap ? comap_heap_malloc_to(heap, size, dst) : NULL;
}

void comap_free_from(comap_ref *src)
{
	comap_heap *heap = existing();

	if (heap)
		comap_heap_free_from(heap, src);
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

#define VERSION \
	TEXT(COMAP_VERSION_MAJOR) "." TEXT(COMAP_VERSION_MINOR) "." TEXT(COMAP_VERSION_PATCH)

const char *comap_version(void)
{
	return VERSION;
}
