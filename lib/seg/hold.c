/* hold.c - is a slot's record of what is in transit something we could have written? */
#include "seg/seg.h"

bool cm_hold_is_valid(const struct cm_seg *seg, struct cm_slot_shm *slot)
{
	uint64_t at = cm_load_acquire(&slot->hold_at), what = cm_read(&slot->hold_what);
	uint64_t segment = at & 0xffffffff, entry;
	uint64_t first = seg->data_off >> CM_SEGMENT_SHIFT;
	uint64_t end = cm_seg_limit(seg) >> CM_SEGMENT_SHIFT;

	if (at == 0)
		return true;
	if ((at >> 32 & 0xffffff) || segment < first || segment >= end)
		return false;
	entry = cm_read(&seg->segments[segment]);
	if (at >> 56 == CM_HOLD_UNITS)
		return cm_seg_kind(entry) == CM_SEG_SPLIT && what != 0 && !(what & 1) &&
		       (cm_read(&cm_seg_header(seg, segment)->free) & what) == 0;
	if (at >> 56 == CM_HOLD_SEGMENTS)
		return cm_seg_kind(entry) == CM_SEG_HELD && what != 0 && what <= end - segment;
	return false;
}
