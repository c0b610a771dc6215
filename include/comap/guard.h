/*
 * guard.h - an error instead of SIGBUS, while another process may cut a mapped file short.
 *
 *	comap_guard guard;
 *
 *	comap_guard_install();                  // once, in main: this is the program's to decide
 *	...
 *	comap_guard_enter(&guard, view);
 *	sum = add_up(comap_view_bytes(view));   // may read zeroes, never crashes
 *	if (comap_guard_leave(&guard) < 0)      // -ENODATA: forget the sum
 *
 * Between enter and leave a fault inside the view puts zeroes there, and work goes on: where the
 * file was cut short, from the fault to the end of the mapping; where it cannot be read, or a hole not
 * be filled, one page.  leave maps the file again and says what happened; only in PRIVATE views, which
 * would lose their stores, and those without a descriptor, the zeroes stay, and each later leave
 * says so.  A fault anywhere else goes to the handler that was there before.
 *
 * The kernel raises no signal for the last partial page of a file that was cut short inside it: it
 * reads as zeroes.  So leave also asks for the file's size, which costs a system call, but for views
 * of sealed memfds and of copies.  One that was cut inside a page and has its old length again by
 * then leaves no trace.
 *
 * Guards nest, also of one view, and end in reverse order.  One belongs to the thread that entered,
 * and covers its loads and stores only.  Its view must stay open, and as long as it is, meanwhile.
 * All who guard the same file's view, or parts of it, learn of a fault.  A thread that blocks SIGBUS
 * is not guarded: the kernel ends the process.
 *
 * The idea of zero pages is of systemd's sigbus.c, that of scopes of a thread of
 * Firefox's MmapFaultHandler.
 */
#ifndef COMAP_GUARD_H
#define COMAP_GUARD_H

#include <comap/view.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Take SIGBUS, and pass on to the handler found there what is none of ours; give it back.  Each
 * install needs a remove.  When somebody else took SIGBUS since, remove leaves that one alone and
 * ours behind it.  Not for a library to do unasked.  Returns 0; -EBUSY: others took it over eight
 * times, and ours is behind each; or -errno of sigaction(2).
 */
COMAP_API int comap_guard_install(void);
COMAP_API void comap_guard_remove(void);

typedef struct comap_guard {
	comap_view *view;
	struct comap_guard *outer;
	const char *begin, *end;
	uint64_t faults;
	void *jump;
	uint64_t reserved[2];
} comap_guard;

/* Without an installed handler it guards nothing but the size: a fault ends the process.  The guard
 * lies in the caller's memory.  Safe in signal handlers. */
COMAP_API void comap_guard_enter(comap_guard *guard, comap_view *view);
/* Returns 0; -ENODATA: the file was cut short, and what was read meanwhile may be zeroes; -EIO: it
 * could not be read, or for a hole of a full disk, not be written.  Stores since the fault are
 * lost.  Safe in signal handlers; it leaves no comap_view_reason. */
COMAP_API int comap_guard_leave(comap_guard *guard);

/*
 * Call fn(arg, bytes of the view) and end it in its midst at the first fault, by siglongjmp: it
 * must hold no locks and no memory; nor may a handler of a signal that interrupts it touch the view
 * outside a guard of its own, for then that signal stays blocked.  Guards that it entered end with
 * it.  Returns what comap_guard_leave would, fn's value in *ret (may be NULL) when 0.
 */
COMAP_API int comap_guard_call(comap_view *view, int (*fn)(void *arg, struct comap_bytes bytes), void *arg,
			       int *ret);

#ifdef __cplusplus
}
#endif
#endif
