/*
 * malloc.h - the malloc family on the process's default heap.
 *
 * The default heap is made at its first use: anonymous, shared with children
 * made by fork afterwards, gone with the last of them.  To choose another (a
 * file, a name, a ceiling) open it and set it before the first allocation.
 *
 * Make the default heap before you fork: a heap made after fork is the child's
 * own.  comap_default_heap() makes it.
 *
 * Contracts, errors, deaths: those of the comap_heap_ function of the same
 * name (heap.h).  When the default heap cannot be made, allocation fails with
 * the errno of comap_heap_open_anon.
 */
#ifndef COMAP_MALLOC_H
#define COMAP_MALLOC_H

#include <stddef.h>
#include <comap/ref.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The default heap, made when there is none; it is not yours to close.  NULL
 * with errno when it cannot be made. */
COMAP_API comap_heap *comap_default_heap(void);

/* Use heap from now on; the old one is returned (NULL: there was none) and is
 * yours.  Pointers from the old one are the old one's.  NULL: make a new one at
 * the next use.  Not while other threads allocate. */
COMAP_API comap_heap *comap_set_default_heap(comap_heap *heap);

COMAP_API void *comap_malloc(size_t size);
COMAP_API void *comap_calloc(size_t count, size_t size);
COMAP_API void *comap_realloc(void *ptr, size_t size);
COMAP_API void *comap_reallocarray(void *ptr, size_t count, size_t size);
COMAP_API void comap_free(void *ptr);
COMAP_API void *comap_aligned_alloc(size_t align, size_t size);
COMAP_API void *comap_memalign(size_t align, size_t size);
COMAP_API int comap_posix_memalign(void **ret_ptr, size_t align, size_t size);
COMAP_API size_t comap_usable_size(const void *ptr);
COMAP_API char *comap_strdup(const char *text);
COMAP_API char *comap_strndup(const char *text, size_t max);
COMAP_API void *comap_malloc_to(size_t size, comap_ref *dst);
COMAP_API void comap_free_from(comap_ref *src);

#ifdef __cplusplus
}
#endif
#endif
