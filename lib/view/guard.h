/* view/guard.h - between the scopes of a thread (guard.c) and the handler of SIGBUS
 * (guard_handler.c). */
#ifndef CM_VIEW_GUARD_H
#define CM_VIEW_GUARD_H

#include <comap/guard.h>
#include "view/view.h"

/* A fault at this address: does the calling thread guard what was there?  Then zeroes are there
 * now, or comap_guard_call returns instead of this, with the signal mask of the handler's context.
 * Async-signal-safe. */
bool cm_guard_absorb(const void *at, void *context);

/* Copy n bytes of memory, which lie at from, if a guard of the calling thread covers them and the
 * handler is there.  true: they are what the file held, but for what comap_guard_leave will
 * tell. */
bool cm_guard_copy(const struct cm_memory *memory, void *to, const char *from, size_t n);
/* May zeroes lie over a part of it? */
bool cm_guard_may_lie(const struct cm_memory *memory);
/* Is the handler of SIGBUS ours, or was when comap_guard_install took it? */
bool cm_guard_is_installed(void);

#endif
