/*
 * change.c - has the file changed; and files that cannot: sealed memfds.
 */
#include "view/view.h"

int comap_view_changed(const comap_view *view, uint32_t *ret_changes)
{
	const struct cm_memory *memory = view->memory;
	const struct cm_os_stat *born = &memory->born;
	struct cm_os_stat now, named;
	uint32_t changes = 0;
	int err = memory->fd < 0 ? -EBADF : cm_os_stat(memory->fd, &now);

	if (err < 0)
		return cm_view_fail(err, "look for changes of", memory->path);
	if (now.size != born->size)
		changes |= COMAP_CHANGED_SIZE;
	if (now.modified_ns != born->modified_ns || now.changed_ns != born->changed_ns)
		changes |= COMAP_CHANGED_TIME;
	if (now.size < memory->offset + memory->size)
		changes |= COMAP_CHANGED_SHORTER;
	if (memory->path && (cm_os_stat_at(memory->dirfd, memory->path, &named) < 0 ||
			     named.device != born->device || named.inode != born->inode))
		changes |= COMAP_CHANGED_NAME;
	*ret_changes = changes;
	return 0;
}

int comap_view_open_memfd(const char *name, size_t size, comap_view **ret_view)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	int fd, err;

	if (!name || size > PTRDIFF_MAX)
		return cm_view_fail(-EINVAL, "make a memfd", NULL);
	err = cm_os_memfd_named(name, &fd);
	if (err < 0)
		return cm_view_fail(err, "make the memfd", name);
	o.mode = COMAP_VIEW_SHARED;
	/* memory is promised beyond what there is, and the OOM killer called when it is wanted */
	err = size > cm_os_memory() ? -ENOMEM : size ? cm_os_extend(fd, size) : 0;
	if (err < 0)
		cm_view_fail(err, "find storage for the memfd", name);
	else
		err = comap_view_open_fd(fd, &o, ret_view);
	cm_os_close(fd);
	return err;
}

/* No mapping of ours may be able to write while the seal is set. */
static int freeze(struct cm_memory *memory)
{
	int err, again;

	if (memory->base)
		err = cm_os_map_zeroes(memory->base, memory->span, false);
	else
		err = 0;
	if (err == 0)
		err = cm_os_seal(memory->fd, CM_OS_SEAL_SIZE | CM_OS_SEAL_BYTES);
	if (err == 0)
		memory->mode = COMAP_VIEW_READ;
	again = memory->base ? cm_memory_map(memory, memory->base) : 0;
	cm_memory_relock(memory);
	return err < 0 ? err : again;
}

int comap_view_seal(comap_view *view, bool is_frozen)
{
	struct cm_memory *memory = view->memory;
	uint32_t type;
	int err = 0;

	if (memory->fd < 0 || memory->mode != COMAP_VIEW_SHARED || memory->reserve ||
	    cm_os_fs(memory->fd, &type) != CM_OS_FS_MEMORY)
		err = -EINVAL;
	/* acquire: as in comap_view_resize */
	else if (is_frozen && (atomic_load_explicit(&view->refs, memory_order_acquire) != 1 ||
			       atomic_load_explicit(&memory->handles, memory_order_acquire) != 1))
		err = -EBUSY;
	else if (is_frozen)
		err = freeze(memory);
	else
		err = cm_os_seal(memory->fd, CM_OS_SEAL_SIZE);
	if (err < 0)
		return cm_view_fail(err, "seal", memory->path);
	/* what was cut off before stays gone, and is no safe memory */
	memory->is_sealed = !cm_memory_is_cut(memory, memory->offset + memory->size);
	return 0;
}
