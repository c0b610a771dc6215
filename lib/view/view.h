/*
 * view/view.h - the door of the side floor: files as memory.
 *
 * A handle (struct comap_view) is a range of some memory (struct cm_memory), which is
 * a mapping, a copy, or the caller's own; it is shared by all handles made from the
 * first by comap_view_sub.  A view keeps no state in any file, so nothing here is shared
 * with other processes but the file's bytes themselves.
 *
 * This floor needs base and os only.
 */
#ifndef CM_VIEW_H
#define CM_VIEW_H

#include <comap/view.h>
#include "os/os.h"

/* ---- reason.c: why a call failed ------------------------------------------------- */

/* Note a sentence for comap_view_reason(), and return err: "cannot <what> <file>: <strerror>".
 * file may be NULL. */
int cm_view_fail(int err, const char *what, const char *file);

/* ---- memory.c: what handles share -------------------------------------------------- */

enum cm_memory_kind { CM_MEMORY_MAPPED, CM_MEMORY_COPIED, CM_MEMORY_GIVEN };

struct cm_memory {
	_Atomic uint32_t handles;
	enum cm_memory_kind kind;
	char *base;          /* of the mapping, of the reservation, or of the allocation */
	size_t span;         /* bytes of it: whole pages, where it is mapped */
	char *data;          /* the first byte of the view: base + offset % page */
	size_t size;         /* bytes of the view */
	int fd;              /* -1: none is kept */
	uint64_t offset;     /* of data in the file */
	uint32_t mode, flags, why, fs_type;
	uint32_t is_sealed;  /* cannot get shorter */
	/* Flags, relaxed: nothing else is told by them. */
	_Atomic bool is_locked; /* mlock(2): also a part of it */
	_Atomic bool is_made;   /* by us: its name is not known to be on disk */
	size_t reserve;      /* bytes reserved from data on; 0: none */
	struct cm_os_stat born; /* what the file was when it was opened */
	char *path;          /* as the caller named it, or NULL */
	int dirfd;           /* a copy of the caller's, or -1: path is relative to the working directory */
	void (*release)(void *data, void *arg);
	void *arg;
	uint64_t few_bytes;         /* looks at no more than so many bytes will be many: policy.c */
	_Atomic uint64_t looks;     /* calls of comap_view_read that asked the kernel */
	_Atomic int32_t failed;     /* -errno of the first flush that failed */
	_Atomic uint64_t faults;    /* guards: so often something was not there (guard.c) */
	_Atomic uint64_t zeroed;    /* guards: whether zeroes may lie over a part (guard.c) */
};

struct comap_view {
	_Atomic uint32_t refs;
	struct cm_memory *memory;
	char *data;
	size_t size;
};

/* With `extra` bytes behind it, for a small copy; NULL: no memory. */
struct cm_memory *cm_memory_new(size_t extra);
/* One more handle to it.  -ENOMEM. */
int cm_memory_view(struct cm_memory *memory, char *data, size_t size, comap_view **ret_view);
/* It was mapped anew, all or a part: lock it again, if it was. */
void cm_memory_relock(struct cm_memory *memory);
void cm_memory_drop(struct cm_memory *memory); /* unmap, close, free */

/* Pages for a copy, from a pool; NULL: no memory.  What is in them is anything. */
char *cm_pages_take(size_t size, size_t *ret_span);
void cm_pages_give(char *pages, size_t span);

/* ---- policy.c: copy or map ------------------------------------------------------------ */

/* Below so many bytes a contiguous view is copied; docs/views.md has the measurements. */
#define CM_COPY_MOST (512 * CM_KIB)
#define CM_MAX_COPY_DEFAULT (64 * CM_MIB)

struct cm_choice {
	bool is_copy;
	enum comap_view_why why;
	int err; /* 0, or why neither can be */
};
/* What to do with size bytes of a mappable file. */
struct cm_choice cm_view_choose(const struct comap_view_opts *opts, uint64_t size, enum cm_os_fs fs,
				unsigned seals);

#define CM_LOOK_SPAN (64 * CM_KIB) /* what one fault of a mapped file brings */
/* Of a mapping that is to be looked into, whose mode and flags are set: what opts.expect says of it. */
void cm_view_expect(struct cm_memory *memory, uint64_t expect);
/* Should the next look, of n bytes, be a load from the mapping, where that is safe?  Else pread. */
static inline bool cm_view_looks_pay(const struct cm_memory *memory, size_t n)
{
	return n <= memory->few_bytes ||
	       atomic_load_explicit(&memory->looks, memory_order_relaxed) >= memory->size / CM_LOOK_SPAN;
}

/* ---- copy.c ---------------------------------------------------------------------------------- */

/* Something to read to its end. */
struct cm_input {
	int fd;
	bool is_seekable;
	uint64_t offset, length; /* length 0: to the end */
	uint64_t max_copy, timeout_ns;
	bool needs_writer; /* a FIFO that gives nothing has no writer: -ENXIO */
};
/* Of a regular file; fewer bytes than asked for where it ends before. */
int cm_copy_regular(int fd, uint64_t off, uint64_t size, bool is_locked, struct cm_memory **ret_memory);
int cm_copy_to_end(const struct cm_input *in, struct cm_memory **ret_memory);

/* ---- map.c --------------------------------------------------------------------------- */

/* Map what memory's fd, offset, size and mode say. */
int cm_map(struct cm_memory *memory, const struct comap_view_opts *o);
/* Its mapping anew, at: over the old one, or NULL. */
int cm_memory_map(struct cm_memory *memory, void *at);
enum cm_os_access cm_memory_access(const struct cm_memory *memory);

/* ---- opts.c -------------------------------------------------------------------------------- */

/* Copy an option struct of `have` bytes, of an older or newer caller, into one of `want`.  -EINVAL:
 * have is nonsense; -E2BIG: what is not known here is not zero. */
int cm_opts_copy(void *to, size_t want, const void *from, size_t have);
/* And one of figures back to the caller: what it does not know is left out, what we do not know is
 * zero.  0. */
int cm_info_copy(void *to, size_t want, const void *from, size_t have);

/* ---- advise.c ------------------------------------------------------------------------------ */

/* Does its file end before there?  As far as one can see: a file must be kept. */
bool cm_memory_is_cut(const struct cm_memory *memory, uint64_t file_end);

/* A range of a view, as bytes of its file and as whole pages of its memory. */
struct cm_range {
	uint64_t size, file_off;
	char *page;
	size_t page_size;
};
/* size 0: to the end.  -ERANGE. */
int cm_view_range(const comap_view *view, uint64_t off, uint64_t size, struct cm_range *ret);

#endif
