/*
 * root.h - named entries into the heap.
 *
 * A program that opens a heap knows no ref in it; roots are where it starts.  A
 * root is a name (UTF-8, 1 to 63 bytes) and a ref.  Names are few and change
 * seldom: a look-up reads the names one after the other.
 *
 * Threads and processes: any, at once.  After a death: a root is as it was
 * before the call or as the call makes it, never between.
 *
 * Common errors: -EINVAL the name is empty, longer than 63 bytes or not UTF-8;
 * -EROFS read-only handle; -EDEADLK called from a signal handler that
 * interrupted comap; -EUCLEAN the heap's tables are damaged.
 */
#ifndef COMAP_ROOT_H
#define COMAP_ROOT_H

#include <stddef.h>
#include <stdint.h>
#include <comap/ref.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COMAP_ROOT_NAME_MAX 63

/* Make name refer to ref; a null ref is a value like another.  What it referred to before is not
 * freed.  Also -EINVAL: ref lies outside the heap; -EBUSY: an initialiser of that name runs, or
 * died and comap_root_once was not called since; -ENOMEM, -ENOSPC: no room for a new name. */
COMAP_API int comap_root_set(comap_heap *heap, const char *name, comap_ref ref);

/* -ENOENT: no such name (or its initialiser has not finished).  Works on
 * read-only handles, without a lock; then -EBUSY when a change is half done: its
 * writer died, or has not run since you began to look. */
COMAP_API int comap_root_get(comap_heap *heap, const char *name, comap_ref *ret_ref);

/* Forget the name; what it referred to is not freed.  -ENOENT; -EBUSY while an
 * initialiser runs, or when one died and comap_root_once has not been called since. */
COMAP_API int comap_root_delete(comap_heap *heap, const char *name);

/*
 * Create once: when name is there, its ref.  When it is not, init runs in
 * exactly one process and thread, with no lock held, and the name appears with
 * the ref it left in *cell.  Others wait, holding nothing, at most timeout_ns
 * (UINT64_MAX: as long as it takes).
 *
 * cell lies in the heap and starts null.  When a process dies inside init, the
 * next caller runs init again, and finds in *cell what the dead one had
 * published there (comap_heap_malloc_to(heap, n, cell) leaks nothing that way).
 * init returns 0, or an error < 0, which the call returns; *cell must then be
 * null again, and the next caller tries afresh.
 *
 * Returns 0, what init returned, -ETIMEDOUT, -EDEADLK when init calls this for
 * the same name, -EPERM when init detached the thread from the heap, -EAGAIN when
 * the thread can have no slot of its own, -ENOMEM, -ENOSPC.  Read-only handles: as
 * comap_root_get.
 */
COMAP_API int comap_root_once(comap_heap *heap, const char *name,
			      int (*init)(comap_heap *heap, comap_ref *cell, void *arg), void *arg,
			      uint64_t timeout_ns, comap_ref *ret_ref);

/* Iterate: start with a zeroed struct; 1: the fields are the next root; 0: that
 * was all; or an error.  Names set or deleted meanwhile may or may not be seen. */
struct comap_root_iter {
	uint64_t pos; /* ours */
	comap_ref ref;
	char name[COMAP_ROOT_NAME_MAX + 1];
};
COMAP_API int comap_root_next(comap_heap *heap, struct comap_root_iter *iter);

#ifdef __cplusplus
}
#endif
#endif
