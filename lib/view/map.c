/*
 * map.c - a part of a file, mapped.
 *
 * The kernel maps whole pages, so the mapping begins at the page in which the view
 * does, and data points into it.  With a reserve the mapping is made at once for all of
 * it: past the end of the file is legal, and when the file grows it shows through, so the view
 * never moves.
 */
#include "view/view.h"

#define ASK_ABOVE CM_COPY_MOST /* below, asking what is in memory is not worth it */

/* A file that is to be scanned and is not in memory comes in large pages if that is said before the
 * first touch, and is then scanned faster than read; random looks should bring no neighbours. */
static void advise(const struct cm_memory *memory, uint32_t access)
{
	struct cm_os_residency in;

	if (access == COMAP_VIEW_RANDOM)
		(void)cm_os_advise(memory->base, memory->span, CM_OS_RANDOM);
	if (access == COMAP_VIEW_SCAN && memory->size > ASK_ABOVE &&
	    cm_os_cachestat(memory->fd, memory->offset, memory->size, &in) == 0 &&
	    in.resident < in.pages / 2)
		(void)cm_os_advise(memory->base, memory->span, CM_OS_HUGE);
}

enum cm_os_access cm_memory_access(const struct cm_memory *memory)
{
	return memory->mode == COMAP_VIEW_SHARED    ? CM_OS_SHARED
	       : memory->mode == COMAP_VIEW_PRIVATE ? CM_OS_PRIVATE
						    : CM_OS_LOOK;
}

int cm_memory_map(struct cm_memory *memory, void *at)
{
	uint64_t begin = memory->offset - memory->offset % cm_os_page_size();
	bool is_dax = memory->flags & COMAP_VIEW_DAX;
	void *got;
	int err = cm_os_map_part(memory->fd, begin, memory->span, cm_memory_access(memory), is_dax,
				 at, &got);

	if (err < 0)
		return err;
	if (got != memory->base) { /* else other threads may be reading these */
		memory->base = got;
		memory->data = memory->base + memory->offset % cm_os_page_size();
	}
	return 0;
}

int cm_map(struct cm_memory *memory, const struct comap_view_opts *o)
{
	size_t page = cm_os_page_size();
	uint64_t delta = memory->offset % page, want = cm_max(memory->size, o->reserve);
	int err;

	memory->kind = CM_MEMORY_MAPPED;
	if (want == 0)
		return 0; /* nothing to map; its data is the one empty place */
	if (want > PTRDIFF_MAX - delta - page)
		return -EOVERFLOW;
	memory->span = (size_t)cm_round_up(delta + want, page);
	memory->reserve = (size_t)o->reserve;
	err = cm_memory_map(memory, NULL);
	if (err < 0)
		return err;
	advise(memory, o->access);
	/* what cannot be had now comes with its first touch */
	if (o->flags & COMAP_VIEW_POPULATE)
		(void)cm_os_populate_read(memory->base, memory->span);
	return 0;
}
