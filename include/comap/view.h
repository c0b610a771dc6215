/*
 * view.h - a file, or a part of one, as memory.
 *
 * A view is a pointer and a size.  What is behind it is chosen for you: small
 * files, pipes, /proc and network files are copied into memory, large local ones
 * are mapped; comap_view_get_info says which, and why.  Any byte offset will do.
 *
 * Caveats, early and plain:
 *
 *  - mmap is not simply faster: it depends on the size, on how often each byte is
 *    looked at and on how the page cache is laid out (docs/views.md).  Say how you
 *    will use it (access, expect), or leave it at 0.
 *  - A mapped file that another process cuts short raises SIGBUS where whole pages
 *    are gone, and reads as zeroes, silently, in the last partial page.  A guard
 *    (guard.h) turns both into -ENODATA.  comap_view_read and comap_view_write
 *    never raise a signal for it.  COMAP_VIEW_STABLE avoids the question.
 *  - COMAP_VIEW_PRIVATE is no snapshot: pages you have not written still change
 *    when the file does.
 *  - A store into a shared view is in the page cache at once, and on disk when the
 *    kernel likes, or after comap_view_flush.
 *  - A store into a hole of a full disk would be SIGBUS.  Sizes that comap_view_open
 *    (COMAP_VIEW_CREATE) and comap_view_resize give a file are allocated first, and a full
 *    disk is -ENOSPC from the call.  A sparse file of somebody else's keeps its holes.
 *
 * Threads and processes: a view may be read by any number of threads at once.  comap_view_resize,
 * comap_view_seal and comap_view_close of the last handle want it alone.  All else may be called at
 * once.  After fork the child has the view, too: a shared one is the same memory, a copy or a
 * private one is the child's own.
 *
 * A crash leaves the file as it was written; a view keeps no state in it.
 *
 * Every call that returns -errno also leaves a sentence: comap_view_reason().
 */
#ifndef COMAP_VIEW_H
#define COMAP_VIEW_H

#include <stdbool.h>
#include <comap/bytes.h>
#include <comap/version.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct comap_view comap_view;

/* ---- opening ---------------------------------------------------------- */

enum comap_view_mode {
	COMAP_VIEW_READ = 0,    /* look */
	COMAP_VIEW_SHARED = 1,  /* stores change the file, and are seen by all who map it */
	COMAP_VIEW_PRIVATE = 2, /* stores are this process's own and never reach the file */
};

enum comap_view_how {
	COMAP_VIEW_AUTO = 0,
	COMAP_VIEW_MAP = 1,  /* or fail with -ENODEV */
	COMAP_VIEW_COPY = 2, /* or fail with -EFBIG; not for SHARED */
};

/* How it will be used; advice to the kernel, too. */
enum comap_view_access {
	COMAP_VIEW_ANY = 0,
	COMAP_VIEW_SCAN = 1,   /* once, from the beginning to the end */
	COMAP_VIEW_RANDOM = 2, /* here and there */
};

#define COMAP_VIEW_CREATE   1u   /* SHARED: make the file when it is not there */
#define COMAP_VIEW_EXCL     2u   /* with CREATE: fail with -EEXIST when it is there */
#define COMAP_VIEW_NOFOLLOW 4u   /* the path's last part may be no symbolic link: -ELOOP */
#define COMAP_VIEW_STABLE   8u   /* what is seen never changes: a copy, or a sealed memfd; up to max_copy */
#define COMAP_VIEW_WAIT     16u  /* a FIFO nobody writes to: wait for a writer, else it is -ENXIO */
#define COMAP_VIEW_POPULATE 32u  /* map in all pages while opening */
#define COMAP_VIEW_LOCK     64u  /* keep it in memory (mlock(2)) */
#define COMAP_VIEW_NUL      128u /* READ, PRIVATE: a copy, with a zero byte behind it, not counted */
#define COMAP_VIEW_NO_FD    256u /* READ, PRIVATE: close the file once it is mapped: no descriptor is
				  * kept, and guards, changed, and residency do without */
#define COMAP_VIEW_WATCH    512u /* keep the file open also when it was copied, for comap_view_changed */
#define COMAP_VIEW_DAX     1024u /* SHARED: stores are durable without msync (MAP_SYNC), or -EOPNOTSUPP */

struct comap_view_opts {
	uint32_t size;        /* sizeof this struct; COMAP_VIEW_OPTS_INIT fills it */
	uint32_t flags;       /* COMAP_VIEW_* */
	uint32_t mode;        /* enum comap_view_mode */
	uint32_t how;         /* enum comap_view_how */
	uint32_t access;      /* enum comap_view_access */
	uint32_t permissions; /* of a file made by CREATE; 0: 0600; umask applies */
	uint64_t offset;      /* the view begins at this byte of the file; any */
	uint64_t length;      /* bytes; 0: to the end of the file.  (An empty part: comap_view_sub.)
			       * With SHARED: the file becomes at least offset + length long */
	uint64_t expect;      /* how many bytes will be looked at, all in all; 0: unknown */
	uint64_t max_copy;    /* bytes that may be copied; 0: 64 MiB */
	uint64_t reserve;     /* SHARED: address space, for comap_view_resize not to move it; 0: none */
	uint64_t timeout_ns;  /* pipes, terminals: most time to wait for a byte; 0: as long as it takes */
};

#ifdef __cplusplus
#define COMAP_VIEW_OPTS_INIT {sizeof(struct comap_view_opts), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#else
#define COMAP_VIEW_OPTS_INIT {.size = sizeof(struct comap_view_opts)}
#endif

/*
 * View a file by path; by path from the directory dirfd, as openat(2); or the file behind fd, which
 * stays yours, its position unmoved where it has one (a pipe is read to its end).  opts may be
 * NULL: look at the whole of it.
 *
 * What cannot be mapped is read to its end: pipes, terminals, sockets, /proc and
 * /sys.  With an offset or a length, what comes before is read and dropped.
 *
 * Returns 0, or:
 *   -EINVAL     no path, opts.size not set, unknown flag or enum, permissions above 07777, flags
 *               that contradict: EXCL without CREATE; CREATE, DAX or reserve without SHARED;
 *               NO_FD or NUL with SHARED; NO_FD with WATCH; MAP with NUL; COPY or STABLE with
 *               SHARED; a reserve below length; or fd reads and maps whole blocks only (O_DIRECT,
 *               hugetlbfs), and this is none
 *   -EBADF      fd is no open file
 *   -E2BIG      opts is of a newer comap and sets a field unknown here
 *   -EOVERFLOW  offset + length is more than a file or this address space can have
 *   -ERANGE     the file ends before offset + length (SHARED makes a regular one longer)
 *   -ENOENT, -ENOTDIR, -ENAMETOOLONG, -ELOOP, -EEXIST, -EMFILE, -ENFILE   as open(2)
 *   -EACCES, -EPERM, -EROFS, -ETXTBSY   no permission
 *   -EAGAIN     another process has a lease on it (fcntl(2)), and was asked to give it up
 *   -EISDIR     it is a directory
 *   -ENXIO      a FIFO nobody writes to, and not WAIT; or a socket's path
 *   -ENODEV     MAP or SHARED: it cannot be mapped; MAP with STABLE: it is no sealed memfd
 *   -EOPNOTSUPP DAX: not persistent memory
 *   -EFBIG      it must be copied and is longer than max_copy
 *   -ENODATA    it was cut short while it was read
 *   -ETIMEDOUT  nothing came for timeout_ns
 *   -ENOSPC     SHARED: no storage for the length; also past a quota or RLIMIT_FSIZE
 *   -ENOMEM     no memory or address space; LOCK: RLIMIT_MEMLOCK
 *   -EIO        it cannot be read
 *   or another error of read(2): -ECONNRESET of a socket
 *
 * Locks of fcntl(2) go when any descriptor of the file is closed in the process that has them, the
 * view's own among them.
 */
COMAP_API int comap_view_open(const char *path, const struct comap_view_opts *opts, comap_view **ret_view);
COMAP_API int comap_view_open_at(int dirfd, const char *path, const struct comap_view_opts *opts,
				 comap_view **ret_view);
COMAP_API int comap_view_open_fd(int fd, const struct comap_view_opts *opts, comap_view **ret_view);

/*
 * View memory that is there already.  It must stay until release(data, arg) is called, with the
 * last handle; release may be NULL.  Returns 0, -EINVAL (data NULL and size not 0, or more than
 * PTRDIFF_MAX), or -ENOMEM: then release is not called.
 */
COMAP_API int comap_view_open_memory(const void *data, size_t size, void (*release)(void *data, void *arg),
				     void *arg, comap_view **ret_view);

/*
 * A new memfd of size bytes, zeroed, as a shared view: fill it, seal it, pass its fd to others, who
 * view it by comap_view_open_fd.  name is for /proc/PID/fd.  Returns 0, -EINVAL, -ENOMEM, -ENOSPC,
 * -EMFILE, -ENFILE, or -ENOSYS.  -ENOMEM is also a size beyond all memory and swap this machine
 * has.
 */
COMAP_API int comap_view_open_memfd(const char *name, size_t size, comap_view **ret_view);
/* Nobody can change its size any more, nor, with is_frozen, its content: the view becomes a
 * read-only one, at the same address.  Returns 0; -EINVAL: no memfd of ours, or one with a reserve;
 * -EBUSY: others map it writable, or other handles to this view are out; -EPERM: sealed against
 * more seals; -EAGAIN: I/O is under way. */
COMAP_API int comap_view_seal(comap_view *view, bool is_frozen);

/* A part of a view, any byte offset: another handle to the same memory.  The memory goes with the
 * last handle.  Returns 0, -ERANGE or -ENOMEM. */
COMAP_API int comap_view_sub(comap_view *view, uint64_t off, uint64_t size, comap_view **ret_view);
/* One more reference to the same handle: the view itself. */
COMAP_API comap_view *comap_view_dup(comap_view *view);
/* One reference less.  NULL is allowed, errno stays.  Stores into a shared view are not lost;
 * whether they reach the disk, only comap_view_flush says. */
COMAP_API void comap_view_close(comap_view *view);

/* Why the last of the calling thread's calls of view.h, window.h, stream.h, writer.h or lz4view.h
 * that failed did so: a sentence with what was done, and to which file; "" when none did yet.  Good
 * until its next call. */
COMAP_API const char *comap_view_reason(void);

/* ---- what it is ------------------------------------------------------- */

/* Its bytes.  data is never NULL. */
COMAP_API struct comap_bytes comap_view_bytes(const comap_view *view);
/* The same to write: NULL for a READ view. */
COMAP_API void *comap_view_writable(comap_view *view);
/* Its file, or -1 when none is kept; it stays the view's. */
COMAP_API int comap_view_fd(const comap_view *view);

/* Why it was mapped or copied. */
enum comap_view_why {
	COMAP_WHY_ASKED = 0,     /* how said so */
	COMAP_WHY_MEMORY = 1,    /* it was memory already */
	COMAP_WHY_EMPTY = 2,     /* nothing to map */
	COMAP_WHY_NO_MAP = 3,    /* a pipe, a terminal, /proc: cannot be mapped */
	COMAP_WHY_NETWORK = 4,   /* another machine may cut it short */
	COMAP_WHY_STABLE = 5,    /* it was not to change */
	COMAP_WHY_SMALL = 6,     /* copying is faster */
	COMAP_WHY_LARGE = 7,     /* mapping is faster, or it is too much to copy */
	COMAP_WHY_WRITABLE = 8,  /* shared: must be mapped */
	COMAP_WHY_FEW = 9,       /* little of it will be looked at */
};

struct comap_view_info {
	uint32_t size;        /* sizeof this struct, filled by the caller */
	uint32_t why;         /* enum comap_view_why */
	uint64_t offset;      /* in the file */
	uint64_t length;
	uint64_t device, inode;
	uint64_t page_size;
	uint32_t is_mapped;   /* else copied, or memory of the caller's */
	uint32_t is_sealed;   /* nobody can cut it short */
	uint32_t fs_type;     /* statfs(2) f_type; 0: unknown */
	int32_t failed;       /* -errno of the first flush that failed, or 0 */
};
/* Returns 0; -EINVAL: info->size not set; a longer one of a newer comap is zero beyond what is
 * known. */
COMAP_API int comap_view_get_info(const comap_view *view, struct comap_view_info *info);

/* Has the file behind it changed since it was opened? */
#define COMAP_CHANGED_SIZE    1u /* it is longer or shorter */
#define COMAP_CHANGED_TIME    2u /* it was written to (its mtime or ctime) */
#define COMAP_CHANGED_SHORTER 4u /* it ends before the view does */
#define COMAP_CHANGED_NAME    8u /* its path leads to another file, or to none */
/* *ret_changes: a set of them.  Stores of this process count.  Returns 0; -EBADF: no file is kept,
 * or -errno of fstat(2). */
COMAP_API int comap_view_changed(const comap_view *view, uint32_t *ret_changes);

/* ---- reading and writing with errors instead of signals ----------------- */

/* Where off is, when size bytes from there lie in the view: 0 or -ERANGE. */
COMAP_API int comap_view_at(const comap_view *view, uint64_t off, size_t size, const void **ret_data);
/*
 * Copy n bytes out of it, or into it, whatever other processes do to the file: no signal is raised.
 * Returns 0, or -ERANGE: not inside the view; -EROFS: a READ view; -ENODATA: the file was cut short
 * (some may have been copied); -ENOSPC: a hole, and no storage for it; -EIO; -EPERM, -ENOSYS:
 * PRIVATE or NO_FD, and a container forbids process_vm_readv(2), or the kernel lacks it.
 *
 * To be sure, each call asks the kernel.  Many looks are up to twelve times faster inside a guard
 * of the view (guard.h, with the handler installed): there comap_view_read copies from the mapping,
 * at once where `expect` says that they will be many, else after one look for each 64 KiB of the
 * view.  Whether the file was cut short meanwhile is then said by comap_guard_leave.
 */
COMAP_API int comap_view_read(const comap_view *view, uint64_t off, void *to, size_t n);
COMAP_API int comap_view_write(comap_view *view, uint64_t off, const void *from, size_t n);

/* ---- size and durability (SHARED) ---------------------------------------- */

enum comap_flush {
	COMAP_FLUSH_START = 0,   /* begin to write it out, and wait for nothing: no promise */
	COMAP_FLUSH_DATA = 1,    /* what was stored in the range is on disk, and can be found there */
	COMAP_FLUSH_DURABLE = 2, /* also what else the file is: times, and, if we made it, its name */
};
/*
 * Write out size bytes from off (0: to the end), rounded to pages.  One call for a wide range, not
 * one a page.  Returns 0, -EINVAL, -ERANGE, -EROFS (no SHARED view), or -EIO, -ENOSPC (also a
 * quota): it could not be written, and the kernel may have dropped it.  From then on each flush of
 * any handle to this memory says so again: write the file anew.  DURABLE of a file that we made
 * opens its folder: -EMFILE, -ENFILE, -EACCES, -ENOENT as open(2), and may be tried again.  It is
 * the folder in which the path stands; where that is a symbolic link, not the one it leads to.
 */
COMAP_API int comap_view_flush(comap_view *view, uint64_t off, uint64_t size, enum comap_flush how);

#define COMAP_RESIZE_MAY_MOVE 1u /* its address may change */
/*
 * The view, and the file, end at its offset + length from now on.  What is new is allocated and
 * reads as zeroes.  Within opts.reserve the address stays.  Returns 0, or -EINVAL: length 0, an
 * unknown flag, a part of a view, or the file goes on behind the view; -EROFS: no SHARED view;
 * -EBUSY: other handles, which would lose it; -EFBIG: it would have to move; -EPERM: a seal forbids
 * it; -EOVERFLOW, -ENOSPC, -ENOMEM, -EIO: it is as it was.
 */
COMAP_API int comap_view_resize(comap_view *view, uint64_t length, uint32_t flags);

/* ---- advice, residency, prefetch ------------------------------------------- */

enum comap_view_advice {
	COMAP_ADVISE_NORMAL = 0,
	COMAP_ADVISE_SCAN = 1,     /* MADV_SEQUENTIAL */
	COMAP_ADVISE_RANDOM = 2,   /* MADV_RANDOM: no reading ahead */
	COMAP_ADVISE_WILLNEED = 3, /* begin to read it */
	COMAP_ADVISE_HUGE = 4,     /* before the first touch of a cold file: large pages */
	COMAP_ADVISE_COLD = 5,     /* first to go when memory is short */
	COMAP_ADVISE_PAGEOUT = 6,  /* go now */
	COMAP_ADVISE_UNMAP = 7,    /* out of this process, not out of the cache (MADV_DONTNEED); a
				    * PRIVATE view's stores would be lost: -EINVAL there */
	COMAP_ADVISE_LOCK = 8,     /* mlock(2) */
	COMAP_ADVISE_UNLOCK = 9,
};
/* size 0: to the end.  A copy needs no advice but LOCK and UNLOCK: 0.  Returns 0, -ERANGE, -EINVAL:
 * no such advice, or the kernel does not know it, or the pages are locked (UNMAP, COLD, PAGEOUT);
 * -ENOMEM, -EPERM: RLIMIT_MEMLOCK, or LOCK of a file that was cut short; -EAGAIN; -EIO. */
COMAP_API int comap_view_advise(comap_view *view, uint64_t off, uint64_t size,
				enum comap_view_advice advice);

struct comap_residency {
	uint64_t pages;    /* in the range */
	uint64_t resident; /* of these, in memory: the page cache's, or this copy's */
	uint64_t dirty;    /* of these, not yet written out; 0 where the kernel does not tell */
};
/* size 0: to the end.  cachestat(2) where there is one, else mincore(2), which asks page by page.
 * Returns 0, -ERANGE or -ENOMEM. */
COMAP_API int comap_view_resident(const comap_view *view, uint64_t off, uint64_t size,
				  struct comap_residency *ret);

struct comap_range {
	uint64_t off, size;
};
/* Begin to read many ranges at once, before random reads of a cold file.  Returns 0, or -ERANGE:
 * one is outside, and none was begun. */
COMAP_API int comap_view_prefetch(comap_view *view, const struct comap_range *ranges, size_t n);

/*
 * Read all of it into memory, a piece at a time; progress (may be NULL) is told after each, and
 * ends it by returning something other than 0.  Returns 0; -ECANCELED: progress did; -ENODATA: cut
 * short; -EIO; -ENOMEM.
 */
COMAP_API int comap_view_load(comap_view *view, int (*progress)(void *arg, uint64_t done, uint64_t all),
			      void *arg);

#ifdef __cplusplus
}
#endif
#endif
