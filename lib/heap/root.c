/*
 * root.c - named entries into the heap.
 *
 * A change is one transaction under CM_LOCK_ROOT.  Its first pair makes the
 * version odd, its last pair makes it even again, so that readers need no lock:
 * they look at the version, the entries, the version.  When a death left it odd,
 * a reader that may write takes the lock, which mends; one that may not says
 * -EBUSY.
 */
#include <errno.h>
#include <string.h>
#include <comap/root.h>
#include "heap/root.h"

#define LOCKLESS_TRIES 1000

int comap_root_set(comap_heap *heap, const char *text, comap_ref ref)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_root_shm *root;
	struct cm_seat *seat;
	struct cm_root_name name;
	struct cm_tx tx;
	bool is_new;
	int err = cm_root_read_name(text, &name);

	if (err == 0 && ref.off && !cm_seg_has(seg, ref.off))
		err = -EINVAL;
	if (err < 0)
		return err;
	seat = cm_seat_enter(heap, &err);
	if (!seat)
		return err;
	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	err = cm_root_place(seg, &seat->self, &tx, &name, &root, &is_new);
	if (err == 0 && !is_new && cm_read(&root->state) == CM_ROOT_BUSY)
		err = -EBUSY;
	if (err == 0) {
		cm_root_begin_change(seg, &tx);
		if (is_new)
			cm_root_stage(&tx, root, &name, CM_ROOT_READY, ref.off, 0);
		else
			cm_tx_put(&tx, &root->ref, ref.off);
		cm_root_end_change(seg, &tx);
	}
	cm_tx_end(&tx);
	cm_seat_leave(heap, seat);
	return err;
}

int comap_root_delete(comap_heap *heap, const char *text)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_root_page_shm *last;
	struct cm_root_shm *root, *empty;
	struct cm_seat *seat;
	struct cm_root_name name;
	struct cm_tx tx;
	int err = cm_root_read_name(text, &name);

	if (err < 0)
		return err;
	seat = cm_seat_enter(heap, &err);
	if (!seat)
		return err;
	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	root = cm_root_find(seg, &name, &empty, &last);
	err = !root ? -ENOENT : cm_read(&root->state) == CM_ROOT_BUSY ? -EBUSY : 0;
	if (err == 0) {
		cm_root_begin_change(seg, &tx);
		cm_root_stage_delete(&tx, root);
		cm_root_end_change(seg, &tx);
	}
	cm_tx_end(&tx);
	cm_seat_leave(heap, seat);
	return err;
}

/* ---- reading: without a lock ----------------------------------------------------- */

/* Take and give the lock: whoever died in the middle of a change is mended. */
static int mend_roots(struct comap_heap *heap)
{
	struct cm_seat *seat;
	struct cm_tx tx;
	int err = 0;

	if (heap->seg.is_readonly)
		return -EBUSY;
	seat = cm_seat_enter(heap, &err);
	if (!seat)
		return err;
	cm_tx_begin(&heap->seg.log, &seat->self, CM_LOCK_ROOT, &tx);
	if (cm_read(&cm_root_first_page(&heap->seg)->version) & 1) {
		/* no change is half done now, so somebody scribbled here */
		cm_add(&heap->seg.super->damages, 1);
		cm_root_end_change(&heap->seg, &tx);
	}
	cm_tx_end(&tx);
	cm_seat_leave(heap, seat);
	return 0;
}

/* Call read(arg) until no change went on meanwhile; it must stand half-changed entries. */
static int read_steadily(comap_heap *heap, int (*read)(const struct cm_seg *seg, void *arg), void *arg)
{
	cm_word *version = &cm_root_first_page(&heap->seg)->version;
	uint64_t before;
	int got, err = 0;

	for (int i = 1; !err; i++) {
		/* acquire pairs with the release stores of apply(): the entries are no
		 * older than this version */
		before = cm_load_acquire(version);
		if (!(before & 1)) {
			got = read(&heap->seg, arg);
			atomic_thread_fence(memory_order_acquire);
			if (cm_read(version) == before)
				return got;
		}
		cm_spin_pause();
		if (i % LOCKLESS_TRIES == 0)
			err = mend_roots(heap);
	}
	return err;
}

struct get {
	struct cm_root_name name;
	comap_ref ref;
};

static int read_one(const struct cm_seg *seg, void *arg)
{
	struct cm_root_page_shm *last;
	struct cm_root_shm *empty, *root;
	struct get *get = arg;

	root = cm_root_find(seg, &get->name, &empty, &last);
	if (!root || cm_read(&root->state) != CM_ROOT_READY)
		return -ENOENT;
	get->ref.off = cm_read(&root->ref);
	return 0;
}

int comap_root_get(comap_heap *heap, const char *text, comap_ref *ret_ref)
{
	struct get get;
	int err = cm_root_read_name(text, &get.name);

	if (err == 0)
		err = read_steadily(heap, read_one, &get);
	if (err == 0)
		*ret_ref = get.ref;
	return err;
}

struct next {
	uint64_t from;
	struct comap_root_iter found;
};

static int read_next(const struct cm_seg *seg, void *arg)
{
	struct next *next = arg;
	struct cm_root_walk walk = cm_root_walk(seg);
	uint64_t pos = 0, word;

	do {
		for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++) {
			struct cm_root_shm *root = &walk.page->root[i];

			if (pos++ < next->from || cm_read(&root->state) != CM_ROOT_READY)
				continue;
			for (unsigned w = 0; w < CM_ROOT_NAME_WORDS; w++) {
				word = cm_read(&root->name[w]);
				memcpy(next->found.name + w * 8, &word, 8);
			}
			next->found.name[COMAP_ROOT_NAME_MAX] = '\0';
			next->found.ref.off = cm_read(&root->ref);
			next->found.pos = pos;
			return 1;
		}
	} while (cm_root_walk_on(seg, &walk));
	return 0;
}

int comap_root_next(comap_heap *heap, struct comap_root_iter *iter)
{
	struct next next = { .from = iter->pos };
	int got = read_steadily(heap, read_next, &next);

	if (got == 1)
		*iter = next.found;
	return got;
}
