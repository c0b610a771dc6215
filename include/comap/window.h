/*
 * window.h - a file larger than one wants to map, through a few sliding windows.
 *
 * A pin is a range of the file as memory.  Windows are mapped where pins want
 * them, reused while pins fit in, and the one that was used longest ago goes when
 * the budget is full.  (git's packfile.c does the same.)
 *
 * A comap_windows belongs to one thread at a time.  Guards do not know of windows: take a
 * file that nobody cuts short, or check its size after use.
 */
#ifndef COMAP_WINDOW_H
#define COMAP_WINDOW_H

#include <comap/bytes.h>
#include <comap/version.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct comap_windows comap_windows;

/*
 * Windows over the regular file behind fd, read-only; fd is duplicated (and closing the copy ends
 * fcntl(2) locks of the process on that file).  window: bytes of one, rounded up to pairs of pages;
 * 0: 1 GiB, or 32 MiB where addresses have 32 bits.  budget: bytes of all of them; 0: 8 windows,
 * below one window: one window.  Returns 0, -EBADF, -EOVERFLOW: too large for the address space;
 * -ENODEV: cannot be mapped; -EACCES: fd is not open for reading; -EMFILE; -ENOMEM.
 */
COMAP_API int comap_windows_open(int fd, size_t window, size_t budget, comap_windows **ret_windows);
/* Pins end with it.  NULL is allowed, errno stays. */
COMAP_API void comap_windows_close(comap_windows *windows);

struct comap_pin {
	struct comap_bytes bytes;
	void *window; /* comap's own */
};
/*
 * Bytes [off, off + size) of the file, until unpinned.  Up to half a window fits in one wherever it
 * begins.  A range larger than a window gets one of its own size.  Returns 0; -ERANGE: not inside
 * the file as it is now; -ENOBUFS: it does not fit the budget beside what is pinned; -ENOMEM.
 */
COMAP_API int comap_windows_pin(comap_windows *windows, uint64_t off, size_t size,
				struct comap_pin *ret_pin);
/* A pin of nothing, one that was unpinned before, or all zeroes is left alone. */
COMAP_API void comap_windows_unpin(comap_windows *windows, struct comap_pin *pin);

/* How many windows are mapped now, and bytes of them. */
COMAP_API void comap_windows_mapped(const comap_windows *windows, size_t *ret_windows, size_t *ret_bytes);

#ifdef __cplusplus
}
#endif
#endif
