/* hold.c - is a slot's record of what is in transit something we could have written? */
#include "seg/seg.h"

bool cm_hold_is_bounded(const struct cm_seg *seg, struct cm_slot_shm *slot)
{
	uint64_t at = cm_load_acquire(&slot->hold_at), segment = at & 0xffffffff;

	/* hold_what is a word of its own: a log may have stored the one and not the other */
	return at == 0 || (!(at >> 32 & 0xffffff) && segment >= seg->data_off >> CM_SEGMENT_SHIFT &&
			   segment < cm_seg_limit(seg) >> CM_SEGMENT_SHIFT &&
			   (at >> 56 == CM_HOLD_UNITS || at >> 56 == CM_HOLD_SEGMENTS));
}

bool cm_hold_is_valid(const struct cm_seg *seg, struct cm_slot_shm *slot)
{
	uint64_t at = cm_read(&slot->hold_at), what = cm_read(&slot->hold_what);
	uint64_t segment = at & 0xffffffff, entry;

	if (at == 0 || !cm_hold_is_bounded(seg, slot) || what == 0)
		return at == 0;
	entry = cm_read(&seg->segments[segment]);
	if (at >> 56 == CM_HOLD_SEGMENTS)
		return cm_seg_kind(entry) == CM_SEG_HELD &&
		       what <= (cm_seg_limit(seg) >> CM_SEGMENT_SHIFT) - segment;
	return cm_seg_kind(entry) == CM_SEG_SPLIT && !(what & 1) &&
	       (cm_read(&cm_seg_header(seg, segment)->free) & what) == 0;
}
