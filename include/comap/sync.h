/*
 * sync.h - locks that live in the heap and survive their owner.
 *
 * A comap_mutex is 16 bytes anywhere in a block of the heap; all zero bytes is
 * an unlocked one, so calloc initialises it and there is nothing to destroy.
 * The word in it names the slot of the thread that holds it.  When that thread
 * dies, the next to lock first reaps the dead (so what it was publishing is
 * decided), then gets the lock, with -EOWNERDEAD: the data under it may be half
 * changed, mend it.  One compare-and-swap to lock, one exchange to unlock.
 *
 * Not recursive.  Waiters spin, then sleep at most 10 ms at a time: a wake-up
 * lost with a killed process delays nobody for longer.
 *
 * Threads and processes: any.  Only the thread that locked may unlock.  After
 * fork the child holds nothing.
 */
#ifndef COMAP_SYNC_H
#define COMAP_SYNC_H

#include <stdint.h>
#include <comap/ref.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct comap_mutex {
	uint64_t word;
	uint64_t reserved; /* zero */
} comap_mutex;

#define COMAP_FOREVER UINT64_MAX

/*
 * Returns 0, or:
 *   -EOWNERDEAD  it is yours, and its last owner died holding it
 *   -ETIMEDOUT   lock_for: not within timeout_ns; trylock never
 *   -EBUSY       trylock: a living thread holds it
 *   -EDEADLK     you hold it already, or a signal handler interrupted comap
 *   -EAGAIN      every slot of the heap is taken
 *   -EINVAL      it is not in a block of this heap, or not 8-byte aligned
 *   -EROFS       read-only handle
 */
COMAP_API int comap_mutex_lock(comap_heap *heap, comap_mutex *mutex);
COMAP_API int comap_mutex_trylock(comap_heap *heap, comap_mutex *mutex);
COMAP_API int comap_mutex_lock_for(comap_heap *heap, comap_mutex *mutex, uint64_t timeout_ns);

/* Returns 0; -EPERM: you do not hold it; -EDEADLK: a signal handler interrupted comap. */
COMAP_API int comap_mutex_unlock(comap_heap *heap, comap_mutex *mutex);

#ifdef __cplusplus
}
#endif
#endif
