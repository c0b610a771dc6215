/*
 * size.c - shared views: writing out, and another size.
 *
 * A failed write-back is reported by the kernel once, and the pages may be clean
 * afterwards although the disk has not got them (fsyncgate, LWN 752063).  So the first
 * failure stays with the memory for good.
 */
#include "view/view.h"

static int is_shared(const comap_view *view)
{
	return view->memory->mode == COMAP_VIEW_SHARED && view->memory->kind == CM_MEMORY_MAPPED;
}

static int sync_range(const comap_view *view, const struct cm_range *r, enum comap_flush how)
{
	struct cm_memory *memory = view->memory;
	int err;

	if (how == COMAP_FLUSH_START)
		return r->size ? cm_os_sync_start(memory->fd, r->file_off, r->size) : 0;
	if (how == COMAP_FLUSH_DATA)
		return r->page_size ? cm_os_sync_map(r->page, r->page_size) : 0;
	err = cm_os_sync_all(memory->fd);
	if (err == 0 && memory->path && atomic_load_explicit(&memory->is_made, memory_order_relaxed)) {
		err = cm_os_sync_folder(memory->dirfd, memory->path);
		atomic_store_explicit(&memory->is_made, err < 0, memory_order_relaxed);
	}
	return err;
}

int comap_view_flush(comap_view *view, uint64_t off, uint64_t size, enum comap_flush how)
{
	struct cm_memory *memory = view->memory;
	/* relaxed: nothing else is told by it */
	int32_t failed = atomic_load_explicit(&memory->failed, memory_order_relaxed);
	struct cm_range r;
	int err;

	if ((unsigned)how > COMAP_FLUSH_DURABLE)
		return cm_view_fail(-EINVAL, "flush", memory->path);
	if (!is_shared(view))
		return cm_view_fail(-EROFS, "flush", memory->path);
	err = cm_view_range(view, off, size, &r);
	if (err < 0)
		return cm_view_fail(err, "flush", memory->path);
	if (failed)
		return cm_view_fail(failed, "flush, since it failed before,", memory->path);
	err = cm_os_quota_is_enospc(sync_range(view, &r, how));
	if (err == -EIO || err == -ENOSPC) /* bytes are lost; else it may be tried again */
		atomic_compare_exchange_strong_explicit(&memory->failed, &(int32_t){ 0 }, err,
							memory_order_relaxed, memory_order_relaxed);
	return err < 0 ? cm_view_fail(err, "flush", memory->path) : 0;
}

static bool is_alone(comap_view *view)
{
	/* acquire: what others did with their handles comes before they gave them up */
	return atomic_load_explicit(&view->refs, memory_order_acquire) == 1 &&
	       atomic_load_explicit(&view->memory->handles, memory_order_acquire) == 1;
}

/* Its mapping, longer and at another place.  mremap(2) takes one mapping only, and advice to a part
 * or a lock of it makes two; then it is made anew. */
static int move(struct cm_memory *memory, size_t span)
{
	char *old = memory->base;
	size_t old_span = memory->span;
	void *at;
	int err = cm_os_remap(old, old_span, span, true, &at);

	if (err == 0) {
		memory->base = at;
		memory->data = memory->base + memory->offset % cm_os_page_size();
		memory->span = span;
		return 0;
	}
	memory->span = span;
	err = cm_memory_map(memory, NULL);
	if (err < 0)
		memory->span = old_span;
	else
		cm_os_unmap_part(old, old_span);
	return err;
}

/* Room in the mapping for `length` bytes from data on. */
static int make_room(struct cm_memory *memory, uint64_t length, bool may_move)
{
	size_t delta = (size_t)(memory->offset % cm_os_page_size()), span;
	void *at;
	int err;

	if (length > PTRDIFF_MAX - delta - cm_os_page_size())
		return -EOVERFLOW;
	span = (size_t)cm_round_up(delta + length, cm_os_page_size());
	if (span <= memory->span)
		return 0;
	if (!memory->base) {
		memory->span = span;
		err = cm_memory_map(memory, NULL);
		memory->span = err < 0 ? 0 : span;
		return err;
	}
	if (!may_move && cm_os_remap(memory->base, memory->span, span, false, &at) < 0)
		return -EFBIG;
	if (may_move) {
		err = move(memory, span);
		if (err < 0)
			return err;
	}
	memory->span = span;
	memory->reserve = 0;
	return 0;
}

static int set_size(struct cm_memory *memory, uint64_t from, uint64_t to)
{
	return to > from ? cm_os_extend(memory->fd, to) : cm_os_cut(memory->fd, to);
}

int comap_view_resize(comap_view *view, uint64_t length, uint32_t flags)
{
	struct cm_memory *memory = view->memory;
	bool may_move = flags & COMAP_RESIZE_MAY_MOVE;
	uint64_t end;
	int err;

	if (length == 0 || (flags & ~COMAP_RESIZE_MAY_MOVE))
		return cm_view_fail(-EINVAL, "resize", memory->path);
	if (!is_shared(view))
		return cm_view_fail(-EROFS, "resize", memory->path);
	if (!is_alone(view))
		return cm_view_fail(-EBUSY, "resize, with other handles to it,", memory->path);
	err = length > INT64_MAX - memory->offset ? -EOVERFLOW : cm_os_file_size(memory->fd, &end);
	if (err == 0 && (view->data != memory->data || view->size != memory->size ||
			 end > memory->offset + memory->size))
		err = -EINVAL; /* what comes behind would be lost */
	if (err == 0)
		err = set_size(memory, end, memory->offset + length);
	if (err == 0) {
		err = make_room(memory, length, may_move);
		if (err < 0)
			(void)set_size(memory, memory->offset + length, end);
	}
	if (err < 0)
		return cm_view_fail(err, "resize", memory->path);
	view->data = memory->data;
	view->size = memory->size = (size_t)length;
	cm_memory_relock(memory);
	return 0;
}
