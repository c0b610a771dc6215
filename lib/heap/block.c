/* block.c - one idea of "block" over slabs and runs. */
#include <errno.h>
#include "heap/heap.h"

struct request {
	unsigned cls;
	uint64_t size, align;
	cm_word *dst;
	struct cm_cache *cache;
};

static int alloc_in(struct cm_seg *seg, const struct cm_self *self, const struct request *r,
		    uint64_t *ret_off, bool *ret_is_zeroed)
{
	*ret_is_zeroed = false;
	if (r->cls >= CM_CLASSES)
		return cm_run_alloc(seg, self, r->size, r->align, r->dst, ret_off, ret_is_zeroed);
	if (r->cache)
		return cm_cache_alloc(seg, self, r->cache, r->cls, r->dst, ret_off);
	return cm_slab_alloc(seg, self, r->cls, r->dst, ret_off);
}

static void drain(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache)
{
	struct cm_misfreed misfreed = {0};

	cm_cache_drain(seg, self, self->slot, &misfreed);
	cm_cache_begin(cache, cache->is_lean);
	cm_add(&seg->super->misuses, misfreed.n);
}

int cm_block_alloc(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, uint64_t size,
		   uint64_t align, cm_word *dst, uint64_t *ret_off, bool *ret_is_zeroed)
{
	const struct request r = { cm_class_of_aligned(size, align), size, align, dst, cache };
	int err = alloc_in(seg, self, &r, ret_off, ret_is_zeroed);

	if ((err == -ENOMEM || err == -ENOSPC) && size <= seg->max_size) {
		/* what our magazines and the bins keep may make room */
		if (cache)
			drain(seg, self, cache);
		cm_slab_trim(seg, self);
		err = alloc_in(seg, self, &r, ret_off, ret_is_zeroed);
	}
	if (err == 0 && r.cls >= CM_CLASSES)
		cm_slot_count_malloc(self->slot, 1, size);
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

static int free_run(struct cm_seg *seg, const struct cm_self *self, uint64_t off, cm_word *src)
{
	int err = cm_run_free(seg, self, off, src);

	if (err == 0)
		cm_count(&self->slot->frees, 1);
	return err;
}

int cm_block_free(struct cm_seg *seg, const struct cm_self *self, struct cm_cache *cache, uint64_t off,
		  cm_word *src, struct cm_misfreed *misfreed)
{
	struct cm_block block;
	int err;

	if (cm_slab_find(seg, off, &block) < 0)
		err = free_run(seg, self, off, src);
	else if (block.off != off)
		err = COMAP_MISUSE_INTERIOR;
	else
		err = cm_cache_free(seg, self, cache, &block, src, misfreed);
	if (err == -EALREADY)
		err = COMAP_MISUSE_DOUBLE;
	else if (err == -ENOENT)
		err = misuse_at(seg, off);
	return err;
}

bool cm_is_in_block(const struct cm_seg *seg, const void *at, uint64_t size)
{
	uint64_t off = cm_off_of(seg, at);
	struct cm_place place = cm_place_of(seg, off);

	return off % 8 == 0 && place.size && off - place.off < place.size &&
	       size <= place.size - (off - place.off);
}
