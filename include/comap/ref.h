/*
 * ref.h - how one shared object points at another.
 *
 * Each process maps the heap wherever its kernel finds room, so an address
 * means nothing to a neighbour.  A comap_ref is the distance in bytes from the
 * first byte of the heap, the same number for everybody.  It is one machine
 * word: copy it with memcpy, publish it with one atomic store, send it through
 * a channel, leave it in a file until next year.
 *
 * Zero is null: offset zero holds the heap's own header, which is never handed
 * out.  The struct is free at run time and keeps a size or an index from being
 * passed where a reference was meant.
 *
 * A typed ref is a ref whose type the compiler knows:
 *
 *	typedef COMAP_REF(struct node) node_ref;
 *	struct node { node_ref next; int value; };
 *
 *	struct node *n = comap_at(heap, list->next);       // a struct node *
 *	comap_set(heap, list->next, n);                     // n must be a struct node *
 *	comap_set(heap, list->next, "text");                // does not compile
 *
 * Threads and processes: a ref is a plain word.  Who may read or write it at
 * once is your protocol's business; the atomic forms below never tear.
 */
#ifndef COMAP_REF_H
#define COMAP_REF_H

#include <stddef.h>
#include <stdint.h>
#include <comap/version.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct comap_heap comap_heap;

typedef struct comap_ref {
	uint64_t off;
} comap_ref;

#ifdef __cplusplus
#define COMAP_NULL (comap_ref{0})
#else
#define COMAP_NULL ((comap_ref){0})
#endif

static inline int comap_ref_is_null(comap_ref ref)
{
	return ref.off == 0;
}

static inline int comap_ref_is_same(comap_ref a, comap_ref b)
{
	return a.off == b.off;
}

/*
 * The address of ref in this process, NULL for the null ref.  One load and one
 * add, no check: for refs you trust.  The first word of a handle is the address
 * the heap is mapped at; it is the one thing about a handle that is public.
 */
static inline void *comap_heap_at(const comap_heap *heap, comap_ref ref)
{
	return ref.off ? *(char *const *)(const void *)heap + ref.off : NULL;
}

/*
 * The same for a ref that came from somewhere you do not trust: NULL with errno
 * EFAULT unless all size bytes lie inside one block that is allocated now.
 * Interior refs are fine.  NULL with errno untouched for the null ref.  A block
 * that a neighbour frees while you look is your protocol's business.
 */
COMAP_API void *comap_heap_at_checked(const comap_heap *heap, comap_ref ref, size_t size);

/*
 * The ref of an address inside the heap.  Null for NULL; null too, with errno
 * EFAULT, for an address outside the part of the heap that hands out blocks.
 */
COMAP_API comap_ref comap_heap_ref(const comap_heap *heap, const void *ptr);

/* Acquire: what was written before the store you see here is visible to you. */
static inline comap_ref comap_ref_load(const comap_ref *from)
{
	comap_ref ref;

	ref.off = __atomic_load_n(&from->off, __ATOMIC_ACQUIRE);
	return ref;
}

/* Release: whoever loads this ref sees what you wrote before.  A process that
 * dies here leaves the old ref or the new one. */
static inline void comap_ref_store(comap_ref *to, comap_ref ref)
{
	__atomic_store_n(&to->off, ref.off, __ATOMIC_RELEASE);
}

static inline comap_ref comap_ref_exchange(comap_ref *to, comap_ref ref)
{
	comap_ref old;

	old.off = __atomic_exchange_n(&to->off, ref.off, __ATOMIC_ACQ_REL);
	return old;
}

/* Compare and swap: 1 when *to was *expected and is now wanted; else 0, and
 * *expected is what *to held. */
static inline int comap_ref_cas(comap_ref *to, comap_ref *expected, comap_ref wanted)
{
	return __atomic_compare_exchange_n(&to->off, &expected->off, wanted.off, 0,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/*
 * Typed refs.  `as` is never read or written: it only carries the type.
 */
#define COMAP_REF(type)         \
	union {                 \
		comap_ref ref;  \
		type *as;       \
	}

#define comap_at(heap, typed) ((__typeof__((typed).as))comap_heap_at((heap), (typed).ref))

#ifdef __cplusplus
#define COMAP_SAME_TYPE_(typed, ptr) (true ? (ptr) : (typed).as)
#else
#define COMAP_SAME_TYPE_(typed, ptr) \
	_Generic((ptr), __typeof__((typed).as): (ptr), void *: (ptr))
#endif
#define comap_set(heap, typed, ptr) \
	((void)((typed).ref = comap_heap_ref((heap), COMAP_SAME_TYPE_(typed, ptr))))

#ifdef __cplusplus
}
#endif
#endif
