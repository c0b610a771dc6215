/* view/guard.h - between the scopes of a thread (guard.c) and the handler of SIGBUS
 * (guard_handler.c). */
#ifndef CM_VIEW_GUARD_H
#define CM_VIEW_GUARD_H

#include <string.h>
#include <comap/guard.h>
#include "view/view.h"

/* A fault at this address: does the calling thread guard what was there?  Then zeroes are there
 * now, or comap_guard_call returns instead of this, with the signal mask of the handler's context.
 * Async-signal-safe. */
bool cm_guard_absorb(const void *at, void *context);

/* The innermost guard of this thread, and how often the handler was installed; here for the sake of
 * cm_guard_copy. */
extern _Thread_local _Atomic(comap_guard *) cm_guard_innermost
	__attribute__((tls_model("initial-exec"), visibility("hidden")));
extern _Atomic unsigned cm_guard_installs __attribute__((visibility("hidden")));

/* Copy n bytes of memory, which lie at from, if a guard of the calling thread covers them and the
 * handler is there.  true: they are what the file held, but for what comap_guard_leave will
 * tell.  Inline, and each load relaxed: while one look waits for memory, the processor is to begin
 * the next ones. */
static inline bool cm_guard_copy(const struct cm_memory *memory, void *to, const char *from, size_t n)
{
	const comap_guard *guard = atomic_load_explicit(&cm_guard_innermost, memory_order_relaxed);

	while (guard && !(from >= guard->begin && from + n <= guard->end))
		guard = guard->outer;
	if (!guard || !atomic_load_explicit(&cm_guard_installs, memory_order_relaxed))
		return false;
	memcpy(to, from, n);
	/* the zeroes that we may have copied were laid by this thread's handler, or by another's that
	 * counted before */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&memory->faults, memory_order_relaxed) == guard->faults;
}
/* May zeroes lie over a part of it? */
bool cm_guard_may_lie(const struct cm_memory *memory);

#endif
