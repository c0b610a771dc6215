/*
 * advise.c - how the kernel is to treat the pages of a view, which are in memory, and having them
 * read.
 *
 * Advice to a copy is no advice: it is memory already.  Ranges are rounded outwards to pages; where
 * pages are given up (COMAP_ADVISE_UNMAP, COLD, PAGEOUT) that does a neighbour's bytes in them no
 * harm: they come back.
 */
#include "view/guard.h"

#define LOAD_STEP (2 * CM_MIB)

int cm_view_range(const comap_view *view, uint64_t off, uint64_t size, struct cm_range *ret)
{
	size_t page = cm_os_page_size();
	uintptr_t begin, end;

	if (off > view->size || size > view->size - off)
		return -ERANGE;
	size = size ? size : view->size - off;
	begin = (uintptr_t)(view->data + off);
	end = begin + (uintptr_t)size;
	ret->size = size;
	ret->file_off = view->memory->offset + (uint64_t)(view->data - view->memory->data) + off;
	ret->page = view->data + off - begin % page;
	ret->page_size = size ? (size_t)(cm_round_up(end, page) - (begin - begin % page)) : 0;
	return 0;
}

static int advise(struct cm_memory *memory, const struct cm_range *r, enum comap_view_advice advice)
{
	static const enum cm_os_advice plain[] = {
		[COMAP_ADVISE_NORMAL] = CM_OS_NORMAL,     [COMAP_ADVISE_SCAN] = CM_OS_SEQUENTIAL,
		[COMAP_ADVISE_RANDOM] = CM_OS_RANDOM,     [COMAP_ADVISE_WILLNEED] = CM_OS_WILLNEED,
		[COMAP_ADVISE_HUGE] = CM_OS_HUGE,         [COMAP_ADVISE_COLD] = CM_OS_COLD,
		[COMAP_ADVISE_PAGEOUT] = CM_OS_PAGEOUT,
	};
	bool is_mapped = memory->kind == CM_MEMORY_MAPPED;
	int err;

	switch (advice) {
	case COMAP_ADVISE_LOCK:
	case COMAP_ADVISE_UNLOCK:
		err = cm_os_lock_pages(r->page, r->page_size, advice == COMAP_ADVISE_LOCK);
		if (err == 0 && (advice == COMAP_ADVISE_LOCK || r->size == memory->size))
			atomic_store_explicit(&memory->is_locked, advice == COMAP_ADVISE_LOCK,
					      memory_order_relaxed);
		return err;
	case COMAP_ADVISE_UNMAP:
		if (memory->mode == COMAP_VIEW_PRIVATE)
			return -EINVAL;
		return is_mapped ? cm_os_forget(r->page, r->page_size) : 0;
	default:
		return is_mapped ? cm_os_advise(r->page, r->page_size, plain[advice]) : 0;
	}
}

int comap_view_advise(comap_view *view, uint64_t off, uint64_t size, enum comap_view_advice advice)
{
	struct cm_range r;
	int err = (unsigned)advice > COMAP_ADVISE_UNLOCK ? -EINVAL : cm_view_range(view, off, size, &r);

	if (err == 0 && r.page_size)
		err = advise(view->memory, &r, advice);
	return err < 0 ? cm_view_fail(err, "advise the kernel of", view->memory->path) : 0;
}

int comap_view_resident(const comap_view *view, uint64_t off, uint64_t size, struct comap_residency *ret)
{
	const struct cm_memory *memory = view->memory;
	struct cm_os_residency in = {0};
	struct cm_range r;
	int err = cm_view_range(view, off, size, &r);

	if (err == 0 && r.page_size) {
		err = -ENOSYS;
		if (memory->kind == CM_MEMORY_MAPPED && memory->fd >= 0 &&
		    memory->mode != COMAP_VIEW_PRIVATE)
			err = cm_os_cachestat(memory->fd, r.file_off, r.size, &in);
		if (err < 0) /* no such call, or not for this file */
			err = cm_os_mincore(r.page, r.page_size, &in);
	}
	if (err < 0)
		return cm_view_fail(err, "see what is in memory of", memory->path);
	*ret = (struct comap_residency){ in.pages, in.resident, in.dirty };
	return 0;
}

int comap_view_prefetch(comap_view *view, const struct comap_range *ranges, size_t n)
{
	struct cm_range r;

	for (size_t i = 0; i < n; i++)
		if (cm_view_range(view, ranges[i].off, ranges[i].size, &r) < 0)
			return cm_view_fail(-ERANGE, "prefetch", view->memory->path);
	for (size_t i = 0; i < n && view->memory->kind == CM_MEMORY_MAPPED; i++) {
		(void)cm_view_range(view, ranges[i].off, ranges[i].size, &r);
		if (ranges[i].size)
			(void)cm_os_advise(r.page, r.page_size, CM_OS_WILLNEED);
	}
	return 0;
}

bool cm_memory_is_cut(const struct cm_memory *memory, uint64_t file_end)
{
	struct cm_os_stat st;

	return memory->fd >= 0 && cm_os_stat(memory->fd, &st) == 0 && st.size < file_end;
}

/* Why pages could not be had: gone, or not to be read? */
static int why_not(const struct cm_memory *memory, int err)
{
	if (err != -EFAULT && err != -EHWPOISON)
		return err;
	/* without a descriptor nobody knows, and this is the likely case */
	if (memory->fd < 0 || cm_memory_is_cut(memory, memory->offset + memory->size))
		return -ENODATA;
	return -EIO;
}

/* An older kernel than Linux 5.14 has no call for it: touch each page by reading it from the
 * file. */
static int load_by_reading(const comap_view *view, uint64_t off, size_t n)
{
	char byte;
	int err = 0;

	for (size_t at = 0; at < n && err == 0; at += cm_os_page_size())
		err = comap_view_read(view, off + at, &byte, 1);
	return err;
}

int comap_view_load(comap_view *view, int (*progress)(void *arg, uint64_t done, uint64_t all), void *arg)
{
	struct cm_memory *memory = view->memory;
	bool is_mapped = memory->kind == CM_MEMORY_MAPPED;
	uint64_t step;
	struct cm_range r = {0};
	int err = 0;

	for (uint64_t off = 0; off < view->size && err == 0; off += step) {
		step = cm_min(view->size - off, LOAD_STEP);
		err = cm_view_range(view, off, step, &r);
		if (is_mapped)
			err = cm_os_populate_read(r.page, r.page_size);
		if (err == -EINVAL)
			err = load_by_reading(view, off, (size_t)step);
		if (err < 0)
			err = why_not(memory, err);
		else if (progress && progress(arg, off + step, view->size) != 0)
			err = -ECANCELED;
	}
	/* its last partial page reads as zeroes, and no call says so; nor of those of a guard */
	if (err == 0 && is_mapped && !memory->is_sealed &&
	    (cm_memory_is_cut(memory, r.file_off + r.size) || cm_guard_may_lie(memory)))
		err = -ENODATA;
	return err < 0 ? cm_view_fail(err, "load", memory->path) : 0;
}
