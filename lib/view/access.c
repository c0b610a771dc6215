/*
 * access.c - what a view shows, and copying in and out of it with errors instead of signals.
 *
 * A plain load from a mapped file is a signal when another process cut the file
 * short.  comap_view_read asks the kernel to do the copying instead: pread, where the
 * file is kept and shows what the mapping does, else process_vm_readv of ourselves.
 * Inside a guard it may be a load all the same, once the looks are so many that this pays.
 * What cannot vanish (copies, the caller's memory, sealed memfds) is copied by memcpy.
 */
#include <string.h>
#include "view/guard.h"

struct comap_bytes comap_view_bytes(const comap_view *view)
{
	return (struct comap_bytes){ view->data, view->size };
}

void *comap_view_writable(comap_view *view)
{
	bool is_given = view->memory->kind == CM_MEMORY_GIVEN;

	return view->memory->mode == COMAP_VIEW_READ || is_given ? NULL : view->data;
}

int comap_view_fd(const comap_view *view)
{
	return view->memory->fd;
}

int comap_view_get_info(const comap_view *view, struct comap_view_info *info)
{
	const struct cm_memory *memory = view->memory;
	struct comap_view_info full = {
		.size = info->size,
		.why = memory->why,
		.offset = memory->offset + (uint64_t)(view->data - memory->data),
		.length = view->size,
		.device = memory->born.device,
		.inode = memory->born.inode,
		.page_size = cm_os_page_size(),
		.is_mapped = memory->kind == CM_MEMORY_MAPPED && memory->base,
		.is_sealed = memory->is_sealed,
		.fs_type = memory->fs_type,
		.failed = atomic_load_explicit(&memory->failed, memory_order_relaxed), /* a figure */
	};

	if (info->size < sizeof info->size || info->size > 4096)
		return cm_view_fail(-EINVAL, "tell about", memory->path);
	if (full.fs_type == 0 && memory->fd >= 0)
		(void)cm_os_fs(memory->fd, &full.fs_type);
	if (memory->size == 0)
		full.offset = memory->offset;
	return cm_info_copy(info, info->size, &full, sizeof full);
}

int comap_view_at(const comap_view *view, uint64_t off, size_t size, const void **ret_data)
{
	if (off > view->size || size > view->size - off)
		return cm_view_fail(-ERANGE, "look into", view->memory->path);
	*ret_data = view->data + off;
	return 0;
}

/* Memory that no other process can take away. */
static bool is_safe(const struct cm_memory *memory)
{
	return memory->kind != CM_MEMORY_MAPPED || memory->is_sealed;
}

static uint64_t file_offset(const comap_view *view, uint64_t off)
{
	return view->memory->offset + (uint64_t)(view->data - view->memory->data) + off;
}

static int read_file(const comap_view *view, uint64_t off, char *to, size_t n)
{
	int64_t got;

	for (; n; to += got, off += (uint64_t)got, n -= (size_t)got) {
		got = cm_os_read_at(view->memory->fd, to, cm_min(n, CM_GIB), file_offset(view, off));
		if (got <= 0)
			return got < 0 ? (int)got : -ENODATA;
	}
	return 0;
}

/* By way of the kernel. */
static int ask(const comap_view *view, uint64_t off, void *to, size_t n)
{
	struct cm_memory *memory = view->memory;
	int err;

	if (memory->fd >= 0 && memory->mode != COMAP_VIEW_PRIVATE) {
		atomic_fetch_add_explicit(&memory->looks, 1, memory_order_relaxed); /* a figure */
		err = read_file(view, off, to, n);
		if (err != -EINVAL) /* O_DIRECT takes whole blocks only */
			return err;
	}
	err = cm_os_copy(to, view->data + off, n);
	/* no signal and no error tells of zeroes in the last partial page, nor of a guard's */
	if (err == 0 && (cm_guard_may_lie(memory) ||
			 (memory->mode == COMAP_VIEW_PRIVATE &&
					  cm_memory_is_cut(memory, file_offset(view, off) + n))))
		err = -ENODATA;
	return err;
}

/* Where it is no load in a guard; apart, to keep that short. */
__attribute__((noinline)) static int read_otherwise(const comap_view *view, uint64_t off, void *to,
						    size_t n)
{
	const struct cm_memory *memory = view->memory;
	int err = 0;

	if (off > view->size || n > view->size - off)
		return cm_view_fail(-ERANGE, "read", memory->path);
	if (is_safe(memory))
		memcpy(to, view->data + off, n);
	else if (n)
		err = ask(view, off, to, n);
	if (err == -EFAULT) /* nothing was there */
		err = -ENODATA;
	return err < 0 ? cm_view_fail(err, "read", memory->path) : 0;
}

int comap_view_read(const comap_view *view, uint64_t off, void *to, size_t n)
{
	if (off <= view->size && n <= view->size - off && cm_view_looks_pay(view->memory, n) &&
	    cm_guard_copy(view->memory, to, view->data + off, n))
		return 0;
	return read_otherwise(view, off, to, n);
}

/* By way of the file: a hole gets its storage by the call that writes there. */
static int write_file(const comap_view *view, uint64_t off, const void *from, size_t n)
{
	uint64_t at = file_offset(view, off);
	struct cm_os_stat st;
	int err = cm_os_stat(view->memory->fd, &st);

	if (err == 0 && (at > st.size || n > st.size - at))
		err = -ENODATA; /* writing would make it long again, with zeroes before */
	if (err < 0)
		return err;
	/* pwrite(2) appends to a file that was opened so, wherever it is told to write */
	if (cm_os_is_appending(view->memory->fd))
		return cm_os_copy_to(view->data + off, from, n);
	err = cm_os_write_at(view->memory->fd, from, n, at);
	/* a seal against new writers (F_SEAL_FUTURE_WRITE) leaves the mapping writable; and
	 * O_DIRECT takes whole blocks only */
	return err == -EPERM || err == -EINVAL ? cm_os_copy_to(view->data + off, from, n) : err;
}

int comap_view_write(comap_view *view, uint64_t off, const void *from, size_t n)
{
	const struct cm_memory *memory = view->memory;
	int err = 0;

	if (!comap_view_writable(view))
		return cm_view_fail(-EROFS, "write", memory->path);
	if (off > view->size || n > view->size - off)
		return cm_view_fail(-ERANGE, "write", memory->path);
	if (n == 0)
		return 0;
	if (memory->kind == CM_MEMORY_MAPPED && memory->mode == COMAP_VIEW_SHARED)
		err = write_file(view, off, from, n);
	else if (is_safe(memory))
		memcpy(view->data + off, from, n);
	else
		err = cm_os_copy_to(view->data + off, from, n);
	if (err == -EFAULT)
		err = -ENODATA;
	return err < 0 ? cm_view_fail(err, "write", memory->path) : 0;
}
