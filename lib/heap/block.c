/* block.c - one idea of "block" over slabs and runs. */
#include <errno.h>
#include "heap/heap.h"

static int alloc_in(struct cm_seg *seg, const struct cm_self *self, unsigned cls, uint64_t size,
		    uint64_t align, cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed)
{
	*ret_is_zeroed = false;
	return cls < CM_CLASSES ? cm_slab_alloc(seg, self, cls, dst, ret_off)
				: cm_run_alloc(seg, self, size, align, dst, ret_off, ret_is_zeroed);
}

int cm_block_alloc(struct cm_seg *seg, const struct cm_self *self, uint64_t size, uint64_t align,
		   cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed)
{
	unsigned cls = cm_class_of_aligned(size, align);
	int err = alloc_in(seg, self, cls, size, align, dst, ret_off, ret_is_zeroed);

	if (err == -ENOMEM || err == -ENOSPC) {
		/* empty slabs that bins keep may make room */
		cm_slab_trim(seg, self);
		err = alloc_in(seg, self, cls, size, align, dst, ret_off, ret_is_zeroed);
	}
	if (err == 0) {
		cm_count(&self->slot->mallocs, 1);
		cm_count(&self->slot->bytes, cls < CM_CLASSES ? cm_classes[cls].size : size);
	}
	return err;
}

struct cm_place cm_place_of(const struct cm_seg *seg, uint64_t off)
{
	struct cm_place place = {0};

	if (cm_slab_find(seg, off, &place.block) == 0) {
		place.is_slab = true;
		place.off = place.block.off;
		place.size = cm_slab_is_free(seg, &place.block) ? 0 : cm_classes[place.block.cls].size;
	} else {
		place.off = cm_run_find(seg, off);
		place.size = place.off ? cm_run_size(seg, place.off) : 0;
	}
	return place;
}

/* What somebody did who freed off, which is no live block's beginning. */
static int misuse_at(const struct cm_seg *seg, uint64_t off)
{
	if (!cm_seg_has(seg, off) || off % 16)
		return COMAP_MISUSE_FOREIGN;
	if (cm_run_find(seg, off))
		return COMAP_MISUSE_INTERIOR;
	/* runs begin at units: a free one there was a block, most likely */
	return off % CM_UNIT ? COMAP_MISUSE_FOREIGN : COMAP_MISUSE_DOUBLE;
}

int cm_block_free(struct cm_seg *seg, const struct cm_self *self, uint64_t off, cm_word *src)
{
	struct cm_block block;
	int err;

	if (cm_slab_find(seg, off, &block) == 0)
		err = block.off != off ? COMAP_MISUSE_INTERIOR : cm_slab_free(seg, self, &block, src);
	else
		err = cm_run_free(seg, self, off, src);
	if (err == -EALREADY)
		err = COMAP_MISUSE_DOUBLE;
	else if (err == -ENOENT)
		err = misuse_at(seg, off);
	if (err == 0)
		cm_count(&self->slot->frees, 1);
	return err;
}

bool cm_is_in_block(const struct cm_seg *seg, const void *at, uint64_t size)
{
	uint64_t off = cm_off_of(seg, at);
	struct cm_place place = cm_place_of(seg, off);

	return off % 8 == 0 && place.size && off - place.off < place.size &&
	       size <= place.size - (off - place.off);
}
