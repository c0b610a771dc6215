/*
 * super.c - what the file says about itself, and whether to believe it.
 *
 * The fixed part has a checksum and every number in it follows from two: the
 * ceiling and the number of slots.  The rest changes word by word while the
 * heap lives, so it has no checksum; it is bounded instead: nothing read from
 * it is used as an address before it was compared with the ceiling.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "seg/seg.h"

static uint64_t sum_of(const struct cm_fixed_shm *fixed)
{
	return XXH3_64bits(fixed, offsetof(struct cm_fixed_shm, sum));
}

struct geometry {
	uint64_t units_off, segments_off, data_off;
};

static struct geometry geometry_of(uint64_t max_size, uint32_t nslots)
{
	struct geometry g;

	g.units_off = CM_SLOTS_OFF + nslots * CM_SLOT_STRIDE;
	g.segments_off = g.units_off + cm_round_up(max_size >> CM_UNIT_SHIFT, CM_UNIT);
	g.data_off = cm_round_up(g.segments_off + (max_size >> CM_SEGMENT_SHIFT) * 8, CM_SEGMENT);
	return g;
}

uint64_t cm_super_data_off(uint64_t max_size, uint32_t nslots)
{
	uint64_t off = geometry_of(max_size, nslots).data_off;

	return off + CM_SEGMENT <= max_size ? off : 0;
}

static int refuse(int err, const char *why, const char **ret_reason)
{
	*ret_reason = why;
	return err;
}

int cm_super_validate(const struct cm_super_shm *super, const char **ret_reason)
{
	struct cm_fixed_shm f;
	struct geometry g;

	memcpy(&f, &super->fixed, sizeof f);
	if (memcmp(f.magic, CM_MAGIC, 8) != 0)
		return refuse(-ENOTUNIQ, "not a comap heap: wrong magic number", ret_reason);
	if (f.byte_order == __builtin_bswap64(CM_BYTE_ORDER))
		return refuse(-EPROTOTYPE, "made on a machine of the other byte order", ret_reason);
	if (f.byte_order != CM_BYTE_ORDER || f.sum != sum_of(&f))
		return refuse(-EUCLEAN, "the header is damaged: wrong checksum", ret_reason);
	if (f.version != CM_FORMAT_VERSION || f.incompat != 0)
		return refuse(-EPROTONOSUPPORT, "made by a newer comap", ret_reason);
	if (f.word_bytes != sizeof(void *) || f.page != CM_PAGE || f.unit != CM_UNIT ||
	    f.segment != CM_SEGMENT)
		return refuse(-EPROTOTYPE, "made for another word, page or unit size", ret_reason);
	g = geometry_of(f.max_size, f.nslots);
	if (f.max_size < CM_MAX_SIZE_LEAST || f.max_size > CM_MAX_SIZE_MOST ||
	    f.max_size % CM_SEGMENT || f.nslots < 2 || f.nslots > CM_SLOTS_MAX ||
	    f.slots_off != CM_SLOTS_OFF || f.units_off != g.units_off ||
	    f.segments_off != g.segments_off || f.data_off != g.data_off ||
	    g.data_off + CM_SEGMENT > f.max_size)
		return refuse(-EUCLEAN, "the header is damaged: impossible sizes", ret_reason);
	return 0;
}

int cm_super_validate_state(struct cm_seg *seg, const char **ret_reason)
{
	uint64_t limit = cm_load_acquire(&seg->super->limit), nused = cm_read(&seg->super->nused);
	uint64_t file_size = limit;
	int err;

	if (limit < seg->data_off || limit > seg->max_size || limit % CM_SEGMENT || nused < 1 ||
	    nused > seg->life.nslots)
		return refuse(-EUCLEAN, "the header is damaged: impossible state", ret_reason);
	/* after the limit was read: it may be growing, and the file grows first */
	err = seg->backing.fd < 0 ? 0 : cm_os_file_size(seg->backing.fd, &file_size);
	if (err < 0)
		return refuse(err, "the file's size cannot be had", ret_reason);
	if (file_size < limit)
		return refuse(-ENODATA, "the file was cut short", ret_reason);
	return 0;
}

/* Do the magazines have their rings, and no more in them than goes in, and none a free slot?  What
 * is in them is compared with the maps when it goes back.  A page never written may have become a
 * hole when the file was copied. */
static bool has_sound_magazines(struct cm_seg *seg, struct cm_slot_shm *slot, uint64_t off)
{
	struct cm_magazines_shm *all =
		(struct cm_magazines_shm *)(void *)((char *)slot + CM_SLOT_MAGAZINES);
	uint64_t cap, ends;
	uint32_t n;

	if (!cm_os_has_storage(&seg->backing, off + CM_SLOT_MAGAZINES, CM_PAGE))
		return true;
	for (unsigned mark = 0; mark < CM_MAGAZINES; mark++) {
		cap = cm_read(&all->magazine[mark].cap);
		ends = cm_read(&all->magazine[mark].ends);
		n = (uint32_t)ends - (uint32_t)(ends >> 32);
		if (cap == 0 && ends == 0 && cm_read(&all->magazine[mark].full) == 0)
			continue;
		if (cap == 0)
			return false;
		if (mark == CM_UNIT_NONE || mark > CM_MARK_SLAB_MOST || cap > CM_RING || n > CM_RING ||
		    cm_read(&slot->state) == CM_SLOT_FREE)
			return false;
		if (n && !cm_os_has_storage(&seg->backing, off + CM_SLOT_RINGS + mark * CM_RING * 8,
					    CM_RING * 8))
			return false;
	}
	return true;
}

int cm_super_validate_records(struct cm_seg *seg, const char **ret_reason)
{
	uint32_t n = cm_life_nused(&seg->life);

	for (uint32_t i = 0; i < n; i++) {
		struct cm_slot_shm *slot = cm_life_slot(&seg->life, i);

		/* reading a hole would fill it */
		if (!cm_os_has_storage(&seg->backing, CM_SLOTS_OFF + i * CM_SLOT_STRIDE, CM_PAGE))
			return refuse(-EUCLEAN, "a slot has no storage", ret_reason);
		/* Whether the hold is right is seen when the logs are finished: any of them
		 * may be half-way through beginning or ending it. */
		if (!cm_log_is_valid(&seg->log, slot) || !cm_hold_is_bounded(seg, slot) ||
		    cm_read(&slot->state) > CM_SLOT_LIVE ||
		    !has_sound_magazines(seg, slot, CM_SLOTS_OFF + i * CM_SLOT_STRIDE))
			return refuse(-EUCLEAN, "a recovery record is damaged", ret_reason);
	}
	return 0;
}

/* off lies in [from, to), and so do count words. */
static bool lies_in(uint64_t off, uint64_t count, uint64_t from, uint64_t to)
{
	return off >= from && off < to && count <= (to - off) / 8;
}

/* The words transactions are made of: the limit, what locks guard, roots, holds, the segment
 * table, and all that lies in segments. */
static bool may_write(const struct cm_log *log, uint64_t off, uint64_t count, uint64_t value)
{
	const struct cm_seg *seg = (const struct cm_seg *)(const void *)((const char *)log -
						      offsetof(struct cm_seg, log));
	uint64_t limit = cm_seg_limit(seg), slot = off - CM_SLOTS_OFF;
	uint64_t locks_end = CM_LOCKS_OFF + CM_LOCKS * sizeof(struct cm_lock_shm);
	const uint64_t hold = offsetof(struct cm_slot_shm, hold_at);
	const uint64_t magazines_end = CM_SLOT_MAGAZINES + CM_MAGAZINES * sizeof(struct cm_magazine_shm);
	uint64_t size = UINT64_MAX;

	if (off == offsetof(struct cm_super_shm, limit)) { /* the file grows first */
		if (seg->backing.fd >= 0 && cm_os_file_size(seg->backing.fd, &size) < 0)
			return false;
		return count == 1 && value >= limit && value <= cm_min(seg->max_size, size) &&
		       value % CM_SEGMENT == 0;
	}
	if (lies_in(off, count, CM_LOCKS_OFF, locks_end))
		return count == 1 && (off - CM_LOCKS_OFF) % sizeof(struct cm_lock_shm) >=
					     offsetof(struct cm_lock_shm, word);
	if (lies_in(off, count, CM_SLOTS_OFF, CM_SLOTS_OFF + cm_life_nused(&seg->life) * CM_SLOT_STRIDE))
		return lies_in(slot % CM_SLOT_STRIDE, count, hold, hold + 16) ||
		       (count == 1 && slot % sizeof(struct cm_magazine_shm) == 0 &&
			lies_in(slot % CM_SLOT_STRIDE, 1, CM_SLOT_MAGAZINES, magazines_end));
	return lies_in(off, count, CM_ROOTS_OFF, CM_ROOTS_OFF + 4096) ||
	       lies_in(off, count, seg->segments_off + (seg->data_off >> CM_SEGMENT_SHIFT) * 8,
		       seg->segments_off + (limit >> CM_SEGMENT_SHIFT) * 8) ||
	       lies_in(off, count, seg->data_off, limit);
}

void cm_super_bind(struct cm_seg *seg, const struct cm_fixed_shm *f)
{
	seg->base = seg->backing.base;
	seg->super = (struct cm_super_shm *)(void *)seg->base;
	seg->locks = (struct cm_lock_shm *)(void *)(seg->base + CM_LOCKS_OFF);
	seg->units = (cm_byte *)(void *)(seg->base + f->units_off);
	seg->segments = (cm_word *)(void *)(seg->base + f->segments_off);
	seg->units_off = f->units_off;
	seg->segments_off = f->segments_off;
	seg->data_off = f->data_off;
	seg->max_size = f->max_size;
	seg->life = (struct cm_life){
		.backing = &seg->backing,
		.slots_off = f->slots_off,
		.nslots = f->nslots,
		.nused = &seg->super->nused,
		.cursor = &seg->super->cursor,
		.pid_namespace = cm_os_pid_namespace(),
	};
	seg->log = (struct cm_log){
		.life = &seg->life,
		.locks = seg->locks,
		.may_write = may_write,
		.steals = &seg->super->steals,
		.damages = &seg->super->damages,
	};
}

int cm_super_create(struct cm_seg *seg, const struct cm_super_opts *opts)
{
	struct geometry g = geometry_of(opts->max_size, opts->nslots);
	struct cm_super_shm *super;
	struct cm_fixed_shm f;
	int err;

	err = cm_os_grow(&seg->backing, g.data_off);
	if (err == 0)
		err = cm_os_commit(&seg->backing, 0, CM_SLOTS_OFF);
	if (err < 0)
		return err;
	memset(&f, 0, sizeof f);
	memcpy(f.magic, CM_MAGIC, 8);
	f.byte_order = CM_BYTE_ORDER;
	f.version = CM_FORMAT_VERSION;
	f.word_bytes = sizeof(void *);
	f.page = CM_PAGE;
	f.unit = (uint32_t)CM_UNIT;
	f.segment = CM_SEGMENT;
	cm_os_random(f.uuid, sizeof f.uuid);
	f.created_ns = cm_os_wall_ns();
	f.max_size = opts->max_size;
	f.nslots = opts->nslots;
	f.slots_off = CM_SLOTS_OFF;
	f.units_off = g.units_off;
	f.segments_off = g.segments_off;
	f.data_off = g.data_off;
	f.sum = sum_of(&f);

	/* Nobody else can see the file yet (file.c): plain order will do. */
	super = (struct cm_super_shm *)(void *)seg->backing.base;
	memcpy(&super->fixed, &f, sizeof f);
	cm_super_bind(seg, &f);
	cm_write(&super->limit, g.data_off);
	cm_write(&super->quota, opts->quota_units);
	cm_write(&super->dirty_max, opts->dirty_max_units);
	cm_write(&super->life_abi, cm_robust_abi());
	cm_write(&super->decay_ms, CM_DECAY_MS);
	cm_write(&super->home, cm_os_file_home(seg->backing.fd));
	cm_write(cm_span_word(seg, CM_SPAN_HINT), g.data_off >> CM_SEGMENT_SHIFT);
	err = cm_life_commit(&seg->life, CM_SLOT_COMMON);
	if (err == 0)
		cm_store_release(&super->nused, 1);
	return err;
}
