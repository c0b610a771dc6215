/*
 * open.c - from a path, a descriptor or some memory to a view.
 *
 * What is it?  (fstat.)  How long is the part that is wanted?  Copy or map?
 * (policy.c.)  A small file costs open, fstat, pread, close, and nothing else: whether it is on a
 * network or in /proc is asked only where that matters.
 */
#include <stdlib.h>
#include <string.h>
#include "view/view.h"

#define FLAGS_ALL                                                                                     \
	(COMAP_VIEW_CREATE | COMAP_VIEW_EXCL | COMAP_VIEW_NOFOLLOW | COMAP_VIEW_STABLE |              \
	 COMAP_VIEW_WAIT | COMAP_VIEW_POPULATE | COMAP_VIEW_LOCK | COMAP_VIEW_NUL | COMAP_VIEW_NO_FD | \
	 COMAP_VIEW_WATCH | COMAP_VIEW_DAX)

static char empty[1]; /* where a view of nothing points */

/* A file on its way to a view. */
struct file {
	const char *path; /* NULL: a descriptor of the caller's */
	int dirfd, fd;
	bool is_made;
	struct cm_os_stat st;
};

static int read_opts(const struct comap_view_opts *given, struct comap_view_opts *o)
{
	bool is_shared;
	int err = given ? cm_opts_copy(o, sizeof *o, given, given->size) : 0;

	if (!given)
		*o = (struct comap_view_opts)COMAP_VIEW_OPTS_INIT;
	if (err < 0)
		return err;
	is_shared = o->mode == COMAP_VIEW_SHARED;
	if ((o->flags & ~FLAGS_ALL) || o->mode > COMAP_VIEW_PRIVATE || o->how > COMAP_VIEW_COPY ||
	    o->access > COMAP_VIEW_RANDOM || o->permissions > 07777)
		return -EINVAL;
	if ((o->flags & COMAP_VIEW_EXCL) && !(o->flags & COMAP_VIEW_CREATE))
		return -EINVAL;
	if (!is_shared && ((o->flags & (COMAP_VIEW_CREATE | COMAP_VIEW_DAX)) || o->reserve))
		return -EINVAL;
	if (is_shared && ((o->flags & (COMAP_VIEW_NO_FD | COMAP_VIEW_NUL | COMAP_VIEW_STABLE)) ||
			  o->how == COMAP_VIEW_COPY))
		return -EINVAL;
	if ((o->flags & COMAP_VIEW_NO_FD) && (o->flags & COMAP_VIEW_WATCH))
		return -EINVAL;
	if ((o->flags & COMAP_VIEW_NUL) && o->how == COMAP_VIEW_MAP)
		return -EINVAL;
	if (o->reserve && o->reserve < o->length)
		return -EINVAL;
	/* a file's offsets are signed */
	if (o->offset > INT64_MAX || o->length > INT64_MAX - o->offset || o->length > PTRDIFF_MAX)
		return -EOVERFLOW;
	if (o->max_copy == 0)
		o->max_copy = CM_MAX_COPY_DEFAULT;
	o->max_copy = cm_min(o->max_copy, PTRDIFF_MAX - CM_GIB);
	return 0;
}

static int open_path(struct file *f, const struct comap_view_opts *o)
{
	bool is_shared = o->mode == COMAP_VIEW_SHARED;
	unsigned how = is_shared ? CM_OS_OPEN_WRITE : 0;
	uint32_t permissions = o->permissions ? o->permissions : 0600;
	int err;

	how |= o->flags & COMAP_VIEW_NOFOLLOW ? CM_OS_OPEN_NOFOLLOW : 0;
	if (o->flags & COMAP_VIEW_CREATE) {
		/* made by us or not?  Only who creates exclusively knows. */
		err = cm_os_open_any(f->dirfd, f->path, how | CM_OS_OPEN_CREATE | CM_OS_OPEN_EXCL,
				     permissions, &f->fd);
		f->is_made = err == 0;
		if (err != -EEXIST || (o->flags & COMAP_VIEW_EXCL))
			return err;
		/* CREATE again: it may be gone, or be a link to what is not there yet */
		how |= CM_OS_OPEN_CREATE;
	}
	return cm_os_open_any(f->dirfd, f->path, how, permissions, &f->fd);
}

/* How much of a file of st.size bytes the view shows. */
static int measure(struct file *f, const struct comap_view_opts *o, uint64_t *ret_size)
{
	uint64_t end = o->offset + o->length;
	int err = 0;

	if (o->mode == COMAP_VIEW_SHARED && f->st.size < end && f->st.kind == CM_OS_REGULAR) {
		err = cm_os_extend(f->fd, end);
		if (err == 0)
			err = cm_os_stat(f->fd, &f->st);
		else if (err == -EBADF) /* it is open, but not for writing */
			err = -EACCES;
	}
	if (err == 0 && (f->st.size < o->offset || (o->length && f->st.size < end)))
		err = -ERANGE;
	if (err == 0)
		*ret_size = o->length ? o->length : f->st.size - o->offset;
	return err == 0 && *ret_size > PTRDIFF_MAX - CM_GIB ? -EOVERFLOW : err;
}

static int copy_to_end(const struct file *f, const struct comap_view_opts *o, struct cm_memory **ret_memory)
{
	struct cm_input in = {
		.fd = f->fd,
		.is_seekable = f->st.kind != CM_OS_STREAM,
		.offset = o->offset,
		.length = o->length,
		.max_copy = o->max_copy,
		.timeout_ns = o->timeout_ns,
		.needs_writer = f->path && f->st.is_fifo,
	};
	int err = 0;

	if (o->mode == COMAP_VIEW_SHARED || o->how == COMAP_VIEW_MAP)
		return -ENODEV;
	if (in.needs_writer && (o->flags & COMAP_VIEW_WAIT)) {
		err = cm_os_wait_readable(f->fd, o->timeout_ns);
		in.needs_writer = false; /* there was one */
	}
	if (err == 0)
		err = cm_copy_to_end(&in, ret_memory);
	if (err == -EBADF) /* it is open, but not for reading */
		err = -EACCES;
	if (err == 0)
		(*ret_memory)->why = COMAP_WHY_NO_MAP;
	return err;
}

static int copy_regular(const struct file *f, const struct comap_view_opts *o, uint64_t size,
			enum comap_view_why why, struct cm_memory **ret_memory)
{
	struct cm_memory *memory;
	uint32_t type;
	int err;

	/* a size of 0 may be a lie, and so may any in /proc */
	if (f->st.size == 0 && f->st.kind == CM_OS_REGULAR && o->mode != COMAP_VIEW_SHARED &&
	    cm_os_fs(f->fd, &type) == CM_OS_FS_PSEUDO)
		return copy_to_end(f, o, ret_memory);
	err = cm_copy_regular(f->fd, o->offset, size, o->flags & COMAP_VIEW_LOCK, &memory);
	if (err < 0)
		return err == -EBADF ? -EACCES : err; /* it is open, but not for reading */
	if (memory->size < size) { /* sizes of /proc and /sys are no sizes */
		bool is_lie = cm_os_fs(f->fd, &type) == CM_OS_FS_PSEUDO;

		err = !is_lie ? -ENODATA : o->length || memory->size == 0 ? -ERANGE : 0;
	}
	if (err < 0) {
		cm_memory_drop(memory);
		return err;
	}
	memory->why = why;
	*ret_memory = memory;
	return 0;
}

static int map_file(const struct file *f, const struct comap_view_opts *o, uint64_t size,
		    enum comap_view_why why, struct cm_memory **ret_memory)
{
	struct cm_memory *memory = cm_memory_new(0);
	int err;

	if (!memory)
		return -ENOMEM;
	memory->mode = o->mode;
	memory->flags = o->flags;
	memory->offset = o->offset;
	memory->size = (size_t)size;
	memory->why = why;
	memory->fd = f->fd;
	cm_view_expect(memory, o->expect);
	err = cm_map(memory, o);
	memory->fd = -1; /* the caller's still */
	if (err < 0) {
		cm_memory_drop(memory);
		return err;
	}
	if (!memory->base)
		memory->data = empty;
	*ret_memory = memory;
	return 0;
}

static int fill_memory(struct file *f, const struct comap_view_opts *o, struct cm_memory **ret_memory)
{
	unsigned seals = 0;
	struct cm_choice choice;
	uint32_t type = 0;
	uint64_t size = 0;
	int err;

	if (f->st.kind == CM_OS_FOLDER)
		return -EISDIR;
	if (f->st.kind == CM_OS_STREAM)
		return copy_to_end(f, o, ret_memory);
	err = measure(f, o, &size);
	if (o->mode == COMAP_VIEW_SHARED && cm_os_fs(f->fd, &type) == CM_OS_FS_PSEUDO)
		return -ENODEV;
	if (err == -ERANGE && f->st.size == 0 && cm_os_fs(f->fd, &type) == CM_OS_FS_PSEUDO)
		return copy_to_end(f, o, ret_memory);
	if (err < 0)
		return err;
	choice = cm_view_choose(o, size, CM_OS_FS_LOCAL, 0);
	if (!choice.is_copy || (o->flags & COMAP_VIEW_STABLE)) { /* then it matters where it is */
		enum cm_os_fs fs = cm_os_fs(f->fd, &type);

		seals = fs == CM_OS_FS_MEMORY ? cm_os_seals(f->fd) : 0;
		/* it may have been cut between the two looks, and sealed then */
		if (seals & CM_OS_SEAL_SIZE) {
			err = cm_os_stat(f->fd, &f->st);
			if (err == 0)
				err = measure(f, o, &size);
			if (err < 0)
				return err;
		}
		choice = cm_view_choose(o, size, fs, seals);
		if (fs == CM_OS_FS_PSEUDO && !choice.is_copy && o->mode != COMAP_VIEW_SHARED)
			return copy_to_end(f, o, ret_memory);
	}
	if (choice.err < 0)
		return choice.err;
	err = choice.is_copy ? copy_regular(f, o, size, choice.why, ret_memory)
			     : map_file(f, o, size, choice.why, ret_memory);
	if (err == 0) {
		(*ret_memory)->fs_type = type;
		(*ret_memory)->is_sealed = seals & CM_OS_SEAL_SIZE ? 1 : 0;
	}
	return err;
}

/* What the view must know of its file later; the descriptor is kept, or closed when it is ours. */
static int remember(struct file *f, const struct comap_view_opts *o, struct cm_memory *memory)
{
	bool keeps = memory->kind == CM_MEMORY_MAPPED ? !(o->flags & COMAP_VIEW_NO_FD)
						      : (o->flags & COMAP_VIEW_WATCH) != 0;
	int err = 0;

	memory->mode = o->mode;
	memory->flags = o->flags;
	memory->offset = o->offset;
	memory->born = f->st;
	memory->is_made = f->is_made;
	if (f->path) {
		memory->path = strdup(f->path);
		if (!memory->path)
			return -ENOMEM;
	}
	if (!keeps)
		return 0;
	if (!f->path)
		return cm_os_dup(f->fd, &memory->fd);
	if (f->path[0] != '/') { /* whoever looks for it later may have changed the working directory */
		if (f->dirfd >= 0)
			err = cm_os_dup(f->dirfd, &memory->dirfd);
		else if (f->is_made || (o->flags & COMAP_VIEW_WATCH))
			err = cm_os_open_here(&memory->dirfd);
	}
	if (err == 0) {
		memory->fd = f->fd;
		f->fd = -1;
	}
	return err;
}

/* What the view shows; behind the end of the file there is nothing to lock. */
static int lock(struct cm_memory *memory)
{
	size_t begin = (size_t)(memory->data - memory->base) % cm_os_page_size();
	int err = memory->size ? cm_os_lock_pages(memory->data - begin, begin + memory->size, true) : 0;

	memory->is_locked = err == 0;
	return err;
}

static int open_file(struct file *f, const struct comap_view_opts *given, comap_view **ret_view)
{
	struct cm_memory *memory = NULL;
	struct comap_view_opts o;
	bool is_ours = f->path != NULL;
	int err = read_opts(given, &o);

	if (err < 0)
		return cm_view_fail(err, "view, with these options,", f->path);
	if (is_ours)
		err = cm_os_quota_is_enospc(open_path(f, &o));
	if (err == 0)
		err = cm_os_stat(f->fd, &f->st);
	if (err == 0)
		err = fill_memory(f, &o, &memory);
	if (err == 0)
		err = remember(f, &o, memory);
	if (err == 0 && (o.flags & COMAP_VIEW_LOCK) && memory->base) {
		err = lock(memory);
	}
	if (err == 0)
		err = cm_memory_view(memory, memory->data, memory->size, ret_view);
	if (err < 0 && memory)
		cm_memory_drop(memory);
	if (is_ours && f->fd >= 0)
		cm_os_close(f->fd);
	return err < 0 ? cm_view_fail(err, "view", f->path ? f->path : "the file of a descriptor") : 0;
}

int comap_view_open_at(int dirfd, const char *path, const struct comap_view_opts *opts,
		       comap_view **ret_view)
{
	struct file f = { .path = path, .dirfd = dirfd == CM_OS_CWD ? -1 : dirfd, .fd = -1 };

	if (!path || !path[0])
		return cm_view_fail(!path ? -EINVAL : -ENOENT, "view", "a file without a name");
	if (dirfd < 0 && dirfd != CM_OS_CWD && path[0] != '/')
		return cm_view_fail(-EBADF, "view", path);
	return open_file(&f, opts, ret_view);
}

int comap_view_open(const char *path, const struct comap_view_opts *opts, comap_view **ret_view)
{
	return comap_view_open_at(CM_OS_CWD, path, opts, ret_view);
}

int comap_view_open_fd(int fd, const struct comap_view_opts *opts, comap_view **ret_view)
{
	struct file f = { .dirfd = -1, .fd = fd };

	if (fd < 0)
		return cm_view_fail(-EBADF, "view", "no file");
	return open_file(&f, opts, ret_view);
}

int comap_view_open_memory(const void *data, size_t size, void (*release)(void *data, void *arg), void *arg,
			   comap_view **ret_view)
{
	struct cm_memory *memory;

	if ((!data && size) || size > PTRDIFF_MAX)
		return cm_view_fail(-EINVAL, "view memory", NULL);
	memory = cm_memory_new(0);
	if (!memory)
		return cm_view_fail(-ENOMEM, "view memory", NULL);
	memory->kind = CM_MEMORY_GIVEN;
	memory->why = COMAP_WHY_MEMORY;
	memory->data = (char *)(uintptr_t)data; /* which release gets; what is shown is never NULL */
	memory->size = size;
	if (cm_memory_view(memory, data ? memory->data : empty, size, ret_view) < 0) {
		cm_memory_drop(memory);
		return cm_view_fail(-ENOMEM, "view memory", NULL);
	}
	memory->release = release; /* only now: on an error it is not called */
	memory->arg = arg;
	return 0;
}
