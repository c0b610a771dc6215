/*
 * advise.c - what the kernel is told of a heap's mapping: by options when it is
 * opened, by comap_heap_advise later.
 *
 * The mapping is this process's, so advice is, too: no word of the heap changes,
 * no lock is taken, no slot needed, and a death leaves nothing.  (One exception
 * is the kernel's: a NUMA policy on a memfd or in tmpfs belongs to the file.)
 *
 * Order matters when opening.  The policy comes before the first page; locking
 * before populating, so that what is mapped in is locked.  Populating may take
 * long, so it comes when everything else is done and nobody waits for us.
 */
#include <errno.h>
#include "heap/heap.h"

_Static_assert(offsetof(struct comap_heap_opts, numa) == 48, "older programs end here");
_Static_assert(sizeof(struct comap_heap_opts) == 64, "no padding");

int cm_advice_validate(const struct comap_heap_opts *o, const char **ret_reason)
{
	if (o->reserved) {
		*ret_reason = "opts has a field this comap does not know";
		return -E2BIG;
	}
	if (o->numa > COMAP_NUMA_PREFER || (o->numa == COMAP_NUMA_DEFAULT) != (o->numa_nodes == 0)) {
		*ret_reason = "opts.numa is no policy, or opts.numa_nodes does not go with it";
		return -EINVAL;
	}
	if (o->numa != COMAP_NUMA_DEFAULT && (o->flags & COMAP_HEAP_READONLY)) {
		*ret_reason = "opts.numa says where to allocate, and a reader does not";
		return -EINVAL;
	}
	return 0;
}

static int place(struct comap_heap *heap, const struct comap_heap_opts *o, const char **ret_reason)
{
	static const enum cm_os_place how[] = {
		[COMAP_NUMA_INTERLEAVE] = CM_OS_INTERLEAVE,
		[COMAP_NUMA_BIND] = CM_OS_BIND,
		[COMAP_NUMA_PREFER] = CM_OS_PREFER,
	};
	int err;

	if (o->numa == COMAP_NUMA_DEFAULT)
		return 0;
	err = cm_os_place(&heap->seg.backing, how[o->numa], o->numa_nodes);
	*ret_reason = err == -EINVAL   ? "the kernel has no such nodes, or does not know the policy"
		      : err == -ENOSYS ? "this kernel has no NUMA policies"
				       : "the kernel refused the NUMA policy";
	return err;
}

static int pin(struct comap_heap *heap, const struct comap_heap_opts *o, const char **ret_reason)
{
	int err;

	if (!(o->flags & COMAP_HEAP_LOCK))
		return 0;
	err = cm_os_pin(&heap->seg.backing);
	*ret_reason = err == -EOPNOTSUPP ? "without memfd a heap cannot be locked"
		      : err == -ENOSYS   ? "this kernel cannot lock pages as they come"
					 : "RLIMIT_MEMLOCK is below max_size";
	return err;
}

int cm_advice_apply(struct comap_heap *heap, const struct comap_heap_opts *o, uint64_t data_off,
		    const char **ret_reason)
{
	struct cm_backing *b = &heap->seg.backing;
	int err = place(heap, o, ret_reason);

	/* the tables are sparse: huge pages are for what comes behind */
	if (err == 0 && (o->flags & COMAP_HEAP_HUGE))
		(void)cm_os_advise(b->base + data_off, b->size - data_off, CM_OS_HUGE);
	return err < 0 ? err : pin(heap, o, ret_reason);
}

/* What the public names are to the kernel's floor; false: no such advice. */
static bool read_advice(enum comap_advice what, enum cm_os_advice *ret_what)
{
	switch (what) {
	case COMAP_ADVICE_NORMAL:
		*ret_what = CM_OS_NORMAL;
		return true;
	case COMAP_ADVICE_SEQUENTIAL:
		*ret_what = CM_OS_SEQUENTIAL;
		return true;
	case COMAP_ADVICE_RANDOM:
		*ret_what = CM_OS_RANDOM;
		return true;
	case COMAP_ADVICE_WILLNEED:
		*ret_what = CM_OS_WILLNEED;
		return true;
	case COMAP_ADVICE_COLD:
		*ret_what = CM_OS_COLD;
		return true;
	case COMAP_ADVICE_PAGEOUT:
		*ret_what = CM_OS_PAGEOUT;
		return true;
	}
	return false;
}

int comap_heap_advise(comap_heap *heap, const void *ptr, size_t size, enum comap_advice what)
{
	struct cm_seg *seg = &heap->seg;
	uint64_t off = cm_off_of(seg, ptr), limit = cm_seg_limit(seg), first, end;
	enum cm_os_advice advice;
	int err;

	if (!read_advice(what, &advice) || off < seg->data_off || off > limit || size > limit - off)
		return -EINVAL;
	/* what shares a page with others is not ours to advise on */
	first = cm_round_up(off, CM_PAGE);
	end = (off + size) & ~(uint64_t)(CM_PAGE - 1);
	if (first >= end)
		return 0;
	err = cm_os_advise(seg->base + first, end - first, advice);
	/* our arguments are right, so this is about the advice, or about locked pages */
	return err == -EINVAL ? -EOPNOTSUPP : err;
}
