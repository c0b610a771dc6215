/*
 * settle.c - the file is not where it was: what is known of its storage may be wrong.
 *
 * Who copies a file may leave out what was allocated and never written, and zeroes:
 * pages of tables, blocks nobody touched, free units.  They read as before, and
 * have no storage.  So the lone opener of a file that lies elsewhere than the
 * superblock says gives tables, slabs and blocks their storage, and forgets what
 * was known of what is free.  (Without fallocate blocks stay as they are: storage
 * would have to be written, over what is in them.)
 */
#include "seg/seg.h"

/* What of this used unit, and perhaps of those behind it, must have storage. */
static uint64_t bytes_at(const struct cm_seg *seg, uint64_t unit)
{
	uint64_t most = (CM_UNITS_PER_SEGMENT - (unit & 63)) * CM_UNIT;
	unsigned mark = cm_read(&seg->units[unit]);

	if (mark == CM_UNIT_RUN)
		return cm_min(cm_read(&cm_seg_desc(seg, unit)->size), most);
	return mark == CM_UNIT_NONE ? 0 : CM_UNIT;
}

static int settle_split(struct cm_seg *seg, uint64_t s)
{
	struct cm_header_shm *h = cm_seg_header(seg, s);
	uint64_t free = cm_read(&h->free), bytes;
	int err = 0;

	cm_write(&h->meta, 1); /* the page that we read here; the others are committed once more */
	for (unsigned u = 1; u < CM_UNITS_PER_SEGMENT && !err; u++) {
		if (free >> u & 1) {
			cm_write(&h->stored[u], 0);
			continue;
		}
		bytes = seg->backing.no_fallocate ? 0 : bytes_at(seg, s << 6 | u);
		if (bytes)
			err = cm_os_commit(&seg->backing, (s << 6 | u) << CM_UNIT_SHIFT, bytes);
	}
	/* descriptors of what is in use */
	return err < 0 ? err
		       : cm_os_commit_shared(&seg->backing, s << CM_SEGMENT_SHIFT, CM_UNIT,
					     CM_DESC_ZERO_AT);
}

static int settle_segment(struct cm_seg *seg, uint64_t s)
{
	uint64_t e = cm_read(&seg->segments[s]), most = cm_seg_limit(seg) - (s << CM_SEGMENT_SHIFT);

	if (cm_seg_kind(e) == CM_SEG_FREE && (e & CM_SEG_HAVE))
		cm_write(&seg->segments[s], cm_seg_entry(CM_SEG_FREE, 0, 0) | CM_SEG_HAVE);
	if (cm_seg_kind(e) == CM_SEG_SPLIT)
		return settle_split(seg, s);
	if (cm_seg_kind(e) == CM_SEG_HUGE && !seg->backing.no_fallocate)
		return cm_os_commit(&seg->backing, s << CM_SEGMENT_SHIFT,
				    cm_min(cm_seg_pages(e) * CM_PAGE, most));
	return 0;
}

int cm_seg_settle(struct cm_seg *seg)
{
	uint64_t first = seg->data_off >> CM_SEGMENT_SHIFT, end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT;
	uint64_t home = cm_os_file_home(seg->backing.fd);
	int err = 0;

	if (cm_read(&seg->super->home) == home)
		return 0;
	if (first < end)
		err = cm_os_commit_shared(&seg->backing, seg->units_off + first * CM_UNITS_PER_SEGMENT,
					  (end - first) * CM_UNITS_PER_SEGMENT, CM_TABLE_ZERO_AT);
	if (first < end && err == 0)
		err = cm_os_commit_shared(&seg->backing, seg->segments_off + first * 8,
					  (end - first) * 8, CM_SEGTAB_ZERO_AT);
	for (uint64_t s = first; s < end && err == 0; s++)
		err = settle_segment(seg, s);
	/* last: a death before leaves it to be done again */
	cm_order();
	if (err == 0)
		cm_write(&seg->super->home, home);
	return err;
}
