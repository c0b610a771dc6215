/*
 * root_page.c - the chain of pages of roots, and changes to it.
 *
 * A new page of entries is allocated into the `spare` cell (so a death leaves it
 * there, for the next who needs a page), cleared, and linked.  This is the one
 * place where a lock is taken to change something while another is held: root,
 * then bin or span, never the other way round.
 */
#include <errno.h>
#include "heap/root.h"

struct cm_root_walk cm_root_walk(const struct cm_seg *seg)
{
	return (struct cm_root_walk){ .page = cm_root_first_page(seg), .lap = 1 };
}

bool cm_root_walk_on(const struct cm_seg *seg, struct cm_root_walk *walk)
{
	uint64_t off = cm_load_acquire(&walk->page->next); /* pairs with apply(): a cleared page */

	if (++walk->steps == walk->lap) {
		walk->mark = walk->page;
		walk->lap *= 2;
		walk->steps = 0;
	}
	if (!cm_seg_has(seg, off) || off % CM_ROOT_PAGE_BYTES ||
	    !cm_seg_has(seg, off + CM_ROOT_PAGE_BYTES - 1))
		return false;
	walk->page = (struct cm_root_page_shm *)cm_seg_at(seg, off);
	walk->is_ring = walk->page == walk->mark;
	return !walk->is_ring;
}

bool cm_is_root_cell(const struct cm_seg *seg, const void *at)
{
	/* the first page is no block; the others are */
	for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++)
		if (at == (const void *)&cm_root_first_page(seg)->root[i].cell)
			return true;
	return false;
}

bool cm_is_root_page(const struct cm_seg *seg, uint64_t off)
{
	struct cm_root_walk walk = cm_root_walk(seg);

	if (off == cm_read(&walk.page->spare))
		return true;
	while (cm_root_walk_on(seg, &walk))
		if (cm_off_of(seg, walk.page) == off)
			return true;
	return false;
}

uint64_t cm_root_pages(const struct cm_seg *seg)
{
	struct cm_root_walk walk = cm_root_walk(seg);
	uint64_t n = cm_read(&walk.page->spare) != 0;

	while (cm_root_walk_on(seg, &walk))
		n++;
	return n;
}

static bool has_name(struct cm_root_shm *root, const struct cm_root_name *name)
{
	if (cm_read(&root->state) == CM_ROOT_EMPTY || cm_read(&root->hash) != name->hash)
		return false;
	for (unsigned i = 0; i < CM_ROOT_NAME_WORDS; i++)
		if (cm_read(&root->name[i]) != name->word[i])
			return false;
	return true;
}

struct cm_root_shm *cm_root_find(const struct cm_seg *seg, const struct cm_root_name *name,
				 struct cm_root_shm **ret_empty, struct cm_root_page_shm **ret_last)
{
	struct cm_root_walk walk = cm_root_walk(seg);

	*ret_empty = NULL;
	do {
		*ret_last = walk.page;
		for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++) {
			if (has_name(&walk.page->root[i], name))
				return &walk.page->root[i];
			if (!*ret_empty && cm_read(&walk.page->root[i].state) == CM_ROOT_EMPTY)
				*ret_empty = &walk.page->root[i];
		}
	} while (cm_root_walk_on(seg, &walk));
	return NULL;
}

void cm_root_begin_change(struct cm_seg *seg, struct cm_tx *tx)
{
	cm_word *version = &cm_root_first_page(seg)->version;

	cm_tx_put(tx, version, cm_read(version) | 1);
}

void cm_root_end_change(struct cm_seg *seg, struct cm_tx *tx)
{
	cm_word *version = &cm_root_first_page(seg)->version;

	cm_tx_put(tx, version, (cm_read(version) | 1) + 1);
	cm_tx_commit(tx);
}

void cm_root_stage(struct cm_tx *tx, struct cm_root_shm *root, const struct cm_root_name *name,
		   uint64_t state, uint64_t ref, uint64_t owner)
{
	for (unsigned i = 0; i < CM_ROOT_NAME_WORDS; i++)
		cm_tx_put(tx, &root->name[i], name->word[i]);
	cm_tx_put(tx, &root->hash, name->hash);
	cm_tx_put(tx, &root->ref, ref);
	cm_tx_put(tx, &root->cell, 0);
	cm_tx_put(tx, &root->owner, owner);
	cm_tx_put(tx, &root->state, state);
}

void cm_root_stage_delete(struct cm_tx *tx, struct cm_root_shm *root)
{
	static const struct cm_root_name none;

	cm_root_stage(tx, root, &none, CM_ROOT_EMPTY, 0, 0);
}

/* One more page at the end of the chain. */
static int add_page(struct cm_seg *seg, const struct cm_self *self, struct cm_tx *tx,
		    struct cm_root_page_shm *last)
{
	cm_word *spare = &cm_root_first_page(seg)->spare;
	struct cm_tx mend;
	bool is_zeroed;
	uint64_t off;
	int err;

	/* who died between here and there may have a log under the bin's lock that sets spare */
	cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cm_class_of(CM_ROOT_PAGE_BYTES), &mend);
	cm_tx_end(&mend);
	off = cm_read(spare);
	if (off == 0) {
		err = cm_block_alloc(seg, self, NULL, CM_ROOT_PAGE_BYTES, CM_ROOT_PAGE_BYTES, spare, &off,
				     &is_zeroed);
		if (err < 0)
			return err;
	}
	if (!cm_seg_has(seg, off) || off % CM_ROOT_PAGE_BYTES)
		return -EUCLEAN;
	for (unsigned i = 0; i < CM_ROOT_PAGE_BYTES / 8; i++)
		cm_write(&((cm_word *)cm_seg_at(seg, off))[i], 0);
	cm_root_begin_change(seg, tx);
	cm_tx_put(tx, &last->next, off);
	cm_tx_put(tx, spare, 0);
	cm_root_end_change(seg, tx);
	return 0;
}

int cm_root_place(struct cm_seg *seg, const struct cm_self *self, struct cm_tx *tx,
		  const struct cm_root_name *name, struct cm_root_shm **ret_root, bool *ret_is_new)
{
	struct cm_root_page_shm *last = NULL;
	struct cm_root_shm *empty;
	int err;

	for (;;) {
		*ret_root = cm_root_find(seg, name, &empty, &last);
		*ret_is_new = *ret_root == NULL;
		if (*ret_root)
			return 0;
		*ret_root = empty;
		if (empty)
			return 0;
		err = add_page(seg, self, tx, last);
		if (err < 0)
			return err;
	}
}
