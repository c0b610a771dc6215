/*
 * decay.c - storage that nobody wanted for a while goes back.
 *
 * dirty_max bounds the free units that keep their storage; decay lets them go when they are of no
 * use.  Time is cut in periods.  The fewest dirty units there were in a period are what nobody
 * wanted during all of it: at its end that many are punched.  A heap whose free storage comes and
 * goes keeps it; one that has become smaller gives it back after two periods, without anybody
 * having measured the age of anything.
 *
 * decayed_ns and dirty_low are hints: a death between their stores makes one period longer, or
 * too much or too little go back once.
 */
#include "seg/seg.h"

#define NS_PER_MS 1000000u
#define UNITS_MOST 512u /* at once: punching is the caller's time */

void cm_decay_note(struct cm_seg *seg, uint64_t dirty)
{
	if (dirty < cm_read(&seg->super->dirty_low))
		cm_write(&seg->super->dirty_low, dirty);
}

bool cm_decay_is_due(const struct cm_seg *seg, uint64_t *then)
{
	uint64_t period = cm_read(&seg->super->decay_ms) * NS_PER_MS, now = cm_os_coarse_ns();

	/* the clock of another boot may be ahead: its difference is large, too */
	if (period == 0 || now - *then < period)
		return false;
	*then = now;
	return true;
}

void cm_decay(struct cm_seg *seg, const struct cm_self *self)
{
	uint64_t seen = cm_read(&seg->super->decayed_ns), then = seen, dirty, unwanted;

	if (!cm_decay_is_due(seg, &then) || seg->backing.no_punch ||
	    !cm_cas_relaxed(&seg->super->decayed_ns, seen, then))
		return; /* or a neighbour is at it */
	dirty = cm_read(cm_span_word(seg, CM_SPAN_DIRTY));
	unwanted = cm_min(cm_min(cm_read(&seg->super->dirty_low), dirty), UNITS_MOST);
	cm_write(&seg->super->dirty_low, dirty - unwanted);
	if (unwanted)
		(void)cm_purge(seg, self, dirty - unwanted);
}
