/*
 * check.c - does every table of the heap agree with every other?
 *
 * Each part under the locks that guard what it reads: segments and units (check_units.c), slabs and
 * their lists (check_slabs.c), magazines (check_magazines.c), roots and slots (here).  While a lock
 * is held findings are kept in a small array and told afterwards; beyond its size they are counted.
 *
 * A check stages nothing, so it may hold two locks at once where others hold one.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "heap/root_layout.h"
#include "mend/mend.h"

void cm_check_find(struct cm_check *c, uint64_t off, const char *what)
{
	if (c->n < CM_CHECK_KEPT)
		c->kept[c->n++] = (struct cm_finding){ off, what };
	c->total++;
}

void cm_check_lock(struct cm_check *c, uint32_t id, struct cm_tx *tx)
{
	if (c->seat)
		cm_tx_begin(&c->seg->log, &c->seat->self, id, tx);
}

void cm_check_unlock(struct cm_check *c, struct cm_tx *tx)
{
	if (c->seat)
		cm_tx_end(tx);
}

uint64_t cm_check_held_in(const struct cm_check *c, uint64_t segment)
{
	uint64_t mask = 0, at, what;

	for (uint32_t i = 0; i < cm_life_nused(&c->seg->life); i++) {
		struct cm_slot_shm *slot = cm_life_slot(&c->seg->life, i);

		at = cm_load_acquire(&slot->hold_at);
		what = cm_read(&slot->hold_what);
		if ((at & 0xffffffff) != segment)
			continue;
		if (at >> 56 == CM_HOLD_UNITS)
			mask |= what;
		else if (at >> 56 == CM_HOLD_SEGMENTS)
			mask |= 1;
	}
	return mask;
}

/* ---- roots -------------------------------------------------------------------------- */

static void check_root(struct cm_check *c, struct cm_root_shm *root, uint64_t off)
{
	uint64_t name[CM_ROOT_NAME_WORDS], ref = cm_read(&root->ref), state = cm_read(&root->state);

	if (state == CM_ROOT_EMPTY)
		return;
	for (unsigned i = 0; i < CM_ROOT_NAME_WORDS; i++)
		name[i] = cm_read(&root->name[i]);
	if (state > CM_ROOT_BUSY)
		cm_check_find(c, off, "a root has an unknown state");
	if (XXH3_64bits(name, sizeof name) != cm_read(&root->hash))
		cm_check_find(c, off, "a root's name does not match its hash");
	if (ref && !cm_seg_has(c->seg, ref))
		cm_check_find(c, off, "a root refers to nothing");
}

/* Where the page's link leads should be a page's block. */
static void check_link(struct cm_check *c, struct cm_root_page_shm *page)
{
	uint64_t next = cm_read(&page->next);

	if (next && (next % CM_ROOT_PAGE_BYTES || !cm_place_of(c->seg, next).size))
		cm_check_find(c, next, "the chain of roots leads to no block");
}

static void check_roots(struct cm_check *c)
{
	struct cm_root_walk walk = cm_root_walk(c->seg);
	uint64_t spare;
	struct cm_tx tx;

	cm_check_lock(c, CM_LOCK_ROOT, &tx);
	if (c->seat && cm_read(&walk.page->version) & 1)
		cm_check_find(c, CM_ROOTS_OFF,
			      "the roots are marked as changing, and nobody changes them");
	spare = cm_read(&walk.page->spare);
	if (spare && (spare % CM_ROOT_PAGE_BYTES || cm_place_of(c->seg, spare).off != spare))
		cm_check_find(c, CM_ROOTS_OFF, "the spare page of roots is no block");
	do {
		for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++)
			check_root(c, &walk.page->root[i], cm_off_of(c->seg, &walk.page->root[i]));
		check_link(c, walk.page);
	} while (cm_root_walk_on(c->seg, &walk));
	if (walk.is_ring)
		cm_check_find(c, cm_off_of(c->seg, walk.page), "the chain of roots is a ring");
	cm_check_unlock(c, &tx);
}

/* ---- slots ---------------------------------------------------------------------------- */

static bool is_free(struct cm_slot_shm *slot)
{
	return cm_load_acquire(&slot->state) == CM_SLOT_FREE;
}

static bool has_magazines(struct cm_slot_shm *slot)
{
	for (unsigned mark = 0; mark < CM_MAGAZINES; mark++)
		if (cm_load_acquire(&cm_magazines(slot)->magazine[mark].cap) ||
		    cm_read(&cm_magazines(slot)->magazine[mark].full) ||
		    cm_read(&cm_magazines(slot)->magazine[mark].ends))
			return true;
	return false;
}

static void check_slots(struct cm_check *c)
{
	uint64_t generation;
	bool is_busy;

	for (uint32_t i = 0; i < cm_life_nused(&c->seg->life); i++) {
		struct cm_slot_shm *slot = cm_life_slot(&c->seg->life, i);

		generation = cm_load_acquire(&slot->generation);
		if (!is_free(slot))
			continue;
		is_busy = cm_load_acquire(&slot->redo.commit) || cm_load_acquire(&slot->hold_at) ||
			  has_magazines(slot);
		/* a newcomer may be in it since, or come and gone: then it has another
		 * generation */
		if (is_busy && is_free(slot) && cm_load_acquire(&slot->generation) == generation)
			cm_check_find(c, cm_off_of(c->seg, slot), "a free slot has unfinished business");
	}
	if (cm_read(&c->seg->super->damages))
		cm_check_find(c, 0, "damage was met, and passed over, while the heap was in use");
}

static void tell(struct cm_check *c, void (*fn)(uint64_t offset, const char *what, void *arg), void *arg)
{
	for (unsigned i = 0; i < c->n && fn; i++)
		fn(c->kept[i].off, c->kept[i].what, arg);
	c->n = 0;
}

static int check_all(struct cm_check *c)
{
	struct cm_cached set;
	int err = cm_cached_begin(c->seg, &set);

	if (err < 0)
		return err;
	cm_check_units(c);
	for (unsigned cls = 0; cls < CM_CLASSES; cls++) {
		if (c->has_class[cls] || cm_read(cm_bin_list(c->seg, cls)))
			cm_check_bin(c, cls);
		if (cm_cached_count(c->seg, cls))
			cm_check_magazines(c, cls, &set);
	}
	cm_cached_end(&set);
	check_roots(c);
	check_slots(c);
	return 0;
}

int comap_heap_check(comap_heap *heap, void (*fn)(uint64_t offset, const char *what, void *arg),
		     void *arg)
{
	struct cm_check c = { .heap = heap, .seg = &heap->seg };
	int err = 0;

	if (!heap->seg.is_readonly) {
		c.seat = cm_seat_enter(heap, &err);
		if (!c.seat)
			return err;
	}
	err = check_all(&c);
	if (c.seat)
		cm_seat_leave(heap, c.seat);
	tell(&c, fn, arg);
	return c.total ? -EUCLEAN : err;
}
