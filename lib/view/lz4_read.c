/*
 * lz4_read.c - open a .lz4 file, and read it at any place.
 *
 * To read one byte its block must be decoded up to there, 20 us for all of 64 KiB.  So decoded
 * blocks are kept, up to 16 of them and 16 MiB (four, when they have 4 MiB), the one least recently
 * used goes first.  Who asks for a block the first time gets it decoded as far as asked, and who
 * asks for more of it, in whole: reading here and there costs half, and reading on is not decoded
 * again and again.  A block that is wanted whole is decoded where it is wanted.
 *
 * No thread ever waits for another: a slot is taken by one compare-and-swap, and whoever finds it
 * taken looks for another that has the same block, or decodes it anew into the next best slot, or,
 * when all are taken, into memory of its own.  So a block that many threads want comes to be kept
 * many times over, which is as it should be; and a thread that is stopped, or was lost by fork(2),
 * holds nobody up.
 */
#include <stdlib.h>
#include <string.h>
#include "view/lz4.h"

/* ---- opening ------------------------------------------------------------------------------ */

int cm_lz4_fill(comap_lz4 *lz4, uint32_t flags)
{
	comap_guard guard;
	int err = cm_lz4_enter(lz4, &guard, lz4->bytes.size);

	if (err < 0)
		return err;
	err = flags & COMAP_LZ4_NO_INDEX ? 1 : cm_lz4_load_index(lz4);
	lz4->has_index = err == 0;
	lz4->is_strict = flags & COMAP_LZ4_NO_INDEX;
	if (err > 0)
		err = cm_lz4_walk(lz4);
	if (err == 0)
		err = cm_lz4_finish(lz4);
	return cm_lz4_leave(&guard, err);
}

int cm_lz4_new(comap_view *view, comap_lz4 **ret_lz4)
{
	comap_lz4 *lz4 = calloc(1, sizeof *lz4);

	if (!lz4)
		return -ENOMEM;
	lz4->view = comap_view_dup(view);
	lz4->bytes = comap_view_bytes(view);
	cm_lz4_clear(lz4);
	*ret_lz4 = lz4;
	return 0;
}

int comap_lz4_open(comap_view *view, uint32_t flags, comap_lz4 **ret_lz4)
{
	comap_lz4 *lz4 = NULL;
	int err = flags & ~COMAP_LZ4_NO_INDEX ? -EINVAL : cm_lz4_new(view, &lz4);

	if (err == 0)
		err = cm_lz4_fill(lz4, flags);
	if (err < 0) {
		comap_lz4_close(lz4);
		return cm_view_fail(err, "read LZ4 frames of", view->memory->path);
	}
	lz4->nslots = (unsigned)cm_min(CM_LZ4_SLOTS, CM_LZ4_KEPT_MOST / lz4->block_most);
	*ret_lz4 = lz4;
	return 0;
}

void comap_lz4_close(comap_lz4 *lz4)
{
	int saved = errno;

	if (!lz4)
		return;
	for (unsigned i = 0; i < CM_LZ4_SLOTS; i++)
		free(lz4->slots[i].bytes);
	cm_lz4_clear(lz4);
	comap_view_close(lz4->view);
	free(lz4);
	errno = saved;
}

int comap_lz4_get_info(const comap_lz4 *lz4, struct comap_lz4_info *info)
{
	struct comap_lz4_info full = {
		.size = info->size,
		.has_index = lz4->has_index,
		.content_size = lz4->content_size,
		.blocks = lz4->nblocks,
		.frames = lz4->nframes,
		.block_size = lz4->block_most,
		.checks = lz4->checks,
	};

	if (info->size < sizeof info->size || info->size > 4096)
		return cm_view_fail(-EINVAL, "tell about LZ4 frames of", lz4->view->memory->path);
	return cm_info_copy(info, info->size, &full, sizeof full);
}

/* ---- blocks that are kept ------------------------------------------------------------ */

static bool take(struct cm_lz4_slot *slot)
{
	uint32_t free_slot = 0;

	/* acquire pairs with the release of give(): the bytes are those of the block that it
	 * names */
	return atomic_compare_exchange_strong_explicit(&slot->is_taken, &free_slot, 1, memory_order_acquire,
						       memory_order_relaxed);
}

static void give(struct cm_lz4_slot *slot)
{
	cm_store_release(&slot->is_taken, 0);
}

static struct cm_lz4_slot *take_kept(comap_lz4 *lz4, uint64_t block)
{
	for (struct cm_lz4_slot *slot = lz4->slots; slot < lz4->slots + lz4->nslots; slot++) {
		/* a look that may be out of date: asked again once it is ours */
		if (cm_read(&slot->block) != block + 1 || !take(slot))
			continue;
		if (cm_read(&slot->block) == block + 1)
			return slot;
		give(slot);
	}
	return NULL;
}

/* The one least recently used of those that nobody has; NULL: each has somebody. */
static struct cm_lz4_slot *take_oldest(comap_lz4 *lz4)
{
	struct cm_lz4_slot *oldest;

	for (unsigned tries = 0; tries < lz4->nslots; tries++) {
		oldest = NULL;
		for (struct cm_lz4_slot *slot = lz4->slots; slot < lz4->slots + lz4->nslots; slot++)
			if (!cm_read(&slot->is_taken) &&
			    (!oldest || cm_read(&slot->used) < cm_read(&oldest->used)))
				oldest = slot;
		if (!oldest)
			break;
		if (take(oldest))
			return oldest;
	}
	return NULL;
}

struct part {
	uint64_t block;
	size_t skip, n;
	char *to;
	uint32_t flags;
};

/* The bytes of a part into a slot that is ours. */
static int load(const comap_lz4 *lz4, struct cm_lz4_slot *slot, const struct part *part)
{
	bool is_kept = cm_read(&slot->block) == part->block + 1;
	bool is_ready = is_kept && slot->ready >= part->skip + part->n;
	bool is_checked = is_kept && slot->is_checked, must_check = part->flags & COMAP_LZ4_CHECK_BLOCKS;
	comap_guard guard;
	int err;

	if (is_ready && (is_checked || !must_check))
		return 0;
	if (!slot->bytes)
		slot->bytes = calloc(1, lz4->block_most); /* zeroes: see lz4_table.c */
	if (!slot->bytes)
		return -ENOMEM;
	cm_write(&slot->block, 0);
	if (!is_ready)
		slot->ready = is_kept ? cm_lz4_size(&lz4->blocks[part->block]) : part->skip + part->n;
	err = cm_lz4_enter(lz4, &guard, cm_lz4_end(lz4, part->block));
	if (err < 0)
		return err;
	if (must_check)
		err = cm_lz4_check(lz4, part->block);
	if (err == 0 && !is_ready)
		err = cm_lz4_decode_first(lz4, part->block, slot->bytes, slot->ready);
	err = cm_lz4_leave(&guard, err);
	if (err < 0)
		return err;
	slot->is_checked = must_check;
	cm_write(&slot->block, part->block + 1);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------- */

static int read_slot(comap_lz4 *lz4, struct cm_lz4_slot *slot, const struct part *part)
{
	int err = load(lz4, slot, part);

	if (err == 0)
		memcpy(part->to, slot->bytes + part->skip, part->n);
	cm_write(&slot->used, cm_add(&lz4->clock, 1) + 1);
	give(slot);
	return err;
}

static int read_own(comap_lz4 *lz4, const struct part *part)
{
	struct cm_lz4_slot own = { .is_taken = 1 };
	int err = read_slot(lz4, &own, part);

	free(own.bytes);
	return err;
}

/* Straight to where it is wanted. */
static int read_whole(const comap_lz4 *lz4, const struct part *part)
{
	comap_guard guard;
	int err = cm_lz4_enter(lz4, &guard, cm_lz4_end(lz4, part->block));

	if (err < 0)
		return err;
	if (part->flags & COMAP_LZ4_CHECK_BLOCKS)
		err = cm_lz4_check(lz4, part->block);
	if (err == 0)
		err = cm_lz4_decode_exact(lz4, part->block, part->to);
	return cm_lz4_leave(&guard, err);
}

static int read_part(comap_lz4 *lz4, const struct part *part)
{
	struct cm_lz4_slot *slot = take_kept(lz4, part->block);

	if (!slot && part->n == cm_lz4_size(&lz4->blocks[part->block]))
		return read_whole(lz4, part);
	if (!slot)
		slot = take_oldest(lz4);
	return slot ? read_slot(lz4, slot, part) : read_own(lz4, part);
}

/* The block in which off lies; off is inside the content. */
static uint64_t find(const comap_lz4 *lz4, uint64_t off)
{
	uint64_t low = 0, high = lz4->nblocks, middle; /* low begins at off or before, high behind it */

	while (high - low > 1) {
		middle = low + (high - low) / 2;
		if (lz4->blocks[middle].content <= off)
			low = middle;
		else
			high = middle;
	}
	return low;
}

int64_t comap_lz4_read(comap_lz4 *lz4, uint64_t off, void *to, size_t n, uint32_t flags)
{
	struct part part = { .to = to, .flags = flags };
	size_t left;
	int err = flags & ~COMAP_LZ4_CHECK_BLOCKS ? -EINVAL : 0;

	if (err == 0 && off >= lz4->content_size)
		return 0;
	n = left = (size_t)cm_min(n, lz4->content_size - off);
	for (part.block = n && err == 0 ? find(lz4, off) : 0; left && err == 0; part.block++) {
		part.skip = (size_t)(off - lz4->blocks[part.block].content);
		part.n = (size_t)cm_min(cm_lz4_size(&lz4->blocks[part.block]) - part.skip, left);
		err = part.n ? read_part(lz4, &part) : 0; /* millions of empty ones may lie in between */
		part.to += part.n;
		off += part.n;
		left -= part.n;
	}
	return err < 0 ? cm_view_fail(err, "read inflated bytes of", lz4->view->memory->path) : (int64_t)n;
}
