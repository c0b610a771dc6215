/* view/guard.h - between the scopes of a thread (guard.c) and the handler of SIGBUS (guard_handler.c). */
#ifndef CM_VIEW_GUARD_H
#define CM_VIEW_GUARD_H

#include <comap/guard.h>
#include "view/view.h"

/* A fault at this address: does the calling thread guard what was there?  Then zeroes are there now, or
 * comap_guard_call returns instead of this, with the signal mask of the handler's context.
 * Async-signal-safe. */
bool cm_guard_absorb(const void *at, void *context);

#endif
