/*
 * root.c - named entries into the heap.
 *
 * A change is one transaction under CM_LOCK_ROOT.  Its first pair makes the
 * version odd, its last pair makes it even again, so that readers need no lock:
 * they look at the version, the entries, the version.  When a death left it odd,
 * a reader that may write takes the lock, which mends; one that may not says
 * -EBUSY.
 *
 * A new page of entries is allocated into the `spare` cell (so a death leaves it
 * there, for the next who needs a page), cleared, and linked.  This is the one
 * place where a lock is taken while another is held: root, then bin or span,
 * never the other way round.
 *
 * Create-once: the entry is BUSY and names the slot whose thread runs the
 * initialiser.  Those who find it so wait, looking at that thread's life.  When
 * it dies they first reap it, so that what it was publishing into the entry's
 * cell is decided, and then one of them takes its place.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <xxhash.h>
#include <comap/root.h>
#include "heap/heap.h"
#include "heap/root_layout.h"

#define NAP_NS 10000000ull
#define LOCKLESS_TRIES 1000

struct name {
	uint64_t word[CM_ROOT_NAME_WORDS];
	uint64_t hash;
};

/* The length of one UTF-8 character at p (RFC 3629), 0: it is none. */
static size_t utf8_length(const unsigned char *p)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		return (p[1] & 0xc0) == 0x80 ? 2 : 0;
	if ((p[0] & 0xf0) == 0xe0) {
		if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[0] == 0xe0 && p[1] < 0xa0) ||
		    (p[0] == 0xed && p[1] > 0x9f))
			return 0;
		return 3;
	}
	if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80 ||
		    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
			return 0;
		return 4;
	}
	return 0;
}

static int read_name(const char *text, struct name *name)
{
	size_t n = text ? strnlen(text, COMAP_ROOT_NAME_MAX + 1) : 0, step;

	if (n == 0 || n > COMAP_ROOT_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i += step) {
		step = utf8_length((const unsigned char *)text + i);
		if (step == 0)
			return -EINVAL;
	}
	memset(name, 0, sizeof *name);
	memcpy(name->word, text, n);
	name->hash = XXH3_64bits(name->word, sizeof name->word);
	return 0;
}

static struct cm_root_page_shm *first_page(const struct cm_seg *seg)
{
	return (struct cm_root_page_shm *)(void *)(seg->base + CM_ROOTS_OFF);
}

/* The page after this one, or NULL; a damaged link ends the chain. */
static struct cm_root_page_shm *next_page(const struct cm_seg *seg, struct cm_root_page_shm *page)
{
	uint64_t off = cm_load_acquire(&page->next); /* pairs with apply(): a cleared page */

	if (!cm_seg_has(seg, off) || off % CM_ROOT_PAGE_BYTES ||
	    !cm_seg_has(seg, off + CM_ROOT_PAGE_BYTES - 1))
		return NULL;
	return (struct cm_root_page_shm *)cm_seg_at(seg, off);
}

/* A damaged chain may be a ring: no more pages than fit in the heap. */
static uint64_t pages_most(const struct cm_seg *seg)
{
	return cm_seg_limit(seg) / CM_ROOT_PAGE_BYTES;
}

bool cm_is_root_cell(const struct cm_seg *seg, const void *at)
{
	/* the first page is no block; the others are */
	for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++)
		if (at == (const void *)&first_page(seg)->root[i].cell)
			return true;
	return false;
}

bool cm_is_root_page(const struct cm_seg *seg, uint64_t off)
{
	struct cm_root_page_shm *page = first_page(seg);
	uint64_t left = pages_most(seg);

	if (off == cm_read(&page->spare))
		return true;
	for (; left && (page = next_page(seg, page)); left--)
		if (cm_off_of(seg, page) == off)
			return true;
	return false;
}

uint64_t cm_root_pages(const struct cm_seg *seg)
{
	struct cm_root_page_shm *page = first_page(seg);
	uint64_t n = cm_read(&page->spare) != 0, left = pages_most(seg);

	for (; left && (page = next_page(seg, page)); left--)
		n++;
	return n;
}

static bool has_name(struct cm_root_shm *root, const struct name *name)
{
	if (cm_read(&root->state) == CM_ROOT_EMPTY || cm_read(&root->hash) != name->hash)
		return false;
	for (unsigned i = 0; i < CM_ROOT_NAME_WORDS; i++)
		if (cm_read(&root->name[i]) != name->word[i])
			return false;
	return true;
}

/* The entry of that name, or NULL and the first empty one (or NULL) in *ret_empty. */
static struct cm_root_shm *find(const struct cm_seg *seg, const struct name *name,
				struct cm_root_shm **ret_empty, struct cm_root_page_shm **ret_last)
{
	struct cm_root_page_shm *page = first_page(seg);
	uint64_t left = pages_most(seg);

	*ret_empty = NULL;
	for (; page && left; left--, page = next_page(seg, page)) {
		*ret_last = page;
		for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++) {
			if (has_name(&page->root[i], name))
				return &page->root[i];
			if (!*ret_empty && cm_read(&page->root[i].state) == CM_ROOT_EMPTY)
				*ret_empty = &page->root[i];
		}
	}
	return NULL;
}

/* ---- changing: under CM_LOCK_ROOT -------------------------------------------- */

static void begin_change(struct cm_seg *seg, struct cm_tx *tx)
{
	cm_word *version = &first_page(seg)->version;

	cm_tx_put(tx, version, cm_read(version) | 1);
}

static void end_change(struct cm_seg *seg, struct cm_tx *tx)
{
	cm_word *version = &first_page(seg)->version;

	cm_tx_put(tx, version, (cm_read(version) | 1) + 1);
	cm_tx_commit(tx);
}

static void stage_entry(struct cm_tx *tx, struct cm_root_shm *root, const struct name *name,
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

/* One more page at the end of the chain. */
static int add_page(struct cm_seg *seg, const struct cm_self *self, struct cm_tx *tx,
		    struct cm_root_page_shm *last)
{
	cm_word *spare = &first_page(seg)->spare;
	struct cm_tx mend;
	bool is_zeroed;
	uint64_t off;
	int err;

	/* who died between here and there may have a log under the bin's lock that sets spare */
	cm_tx_begin(&seg->log, self, CM_LOCK_BIN + cm_class_of(CM_ROOT_PAGE_BYTES), &mend);
	cm_tx_end(&mend);
	off = cm_read(spare);
	if (off == 0) {
		err = cm_block_alloc(seg, self, CM_ROOT_PAGE_BYTES, CM_ROOT_PAGE_BYTES, spare, &off,
				     &is_zeroed);
		if (err < 0)
			return err;
	}
	if (!cm_seg_has(seg, off) || off % CM_ROOT_PAGE_BYTES)
		return -EUCLEAN;
	for (unsigned i = 0; i < CM_ROOT_PAGE_BYTES / 8; i++)
		cm_write(&((cm_word *)cm_seg_at(seg, off))[i], 0);
	begin_change(seg, tx);
	cm_tx_put(tx, &last->next, off);
	cm_tx_put(tx, spare, 0);
	end_change(seg, tx);
	return 0;
}

/* The entry of that name, or a new place for it. */
static int find_or_place(struct cm_seg *seg, const struct cm_self *self, struct cm_tx *tx,
			 const struct name *name, struct cm_root_shm **ret_root, bool *ret_is_new)
{
	struct cm_root_page_shm *last = NULL;
	struct cm_root_shm *empty;
	int err;

	for (;;) {
		*ret_root = find(seg, name, &empty, &last);
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

int comap_root_set(comap_heap *heap, const char *text, comap_ref ref)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_root_shm *root;
	struct cm_seat *seat;
	struct name name;
	struct cm_tx tx;
	bool is_new;
	int err = read_name(text, &name);

	if (err == 0 && ref.off && !cm_seg_has(seg, ref.off))
		err = -EINVAL;
	if (err < 0)
		return err;
	seat = cm_seat_enter(heap, &err);
	if (!seat)
		return err;
	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	err = find_or_place(seg, &seat->self, &tx, &name, &root, &is_new);
	if (err == 0 && !is_new && cm_read(&root->state) == CM_ROOT_BUSY)
		err = -EBUSY;
	if (err == 0) {
		begin_change(seg, &tx);
		if (is_new)
			stage_entry(&tx, root, &name, CM_ROOT_READY, ref.off, 0);
		else
			cm_tx_put(&tx, &root->ref, ref.off);
		end_change(seg, &tx);
	}
	cm_tx_end(&tx);
	cm_seat_leave(heap, seat);
	return err;
}

static void stage_delete(struct cm_tx *tx, struct cm_root_shm *root)
{
	static const struct name none;

	stage_entry(tx, root, &none, CM_ROOT_EMPTY, 0, 0);
}

int comap_root_delete(comap_heap *heap, const char *text)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_root_page_shm *last;
	struct cm_root_shm *root, *empty;
	struct cm_seat *seat;
	struct name name;
	struct cm_tx tx;
	int err = read_name(text, &name);

	if (err < 0)
		return err;
	seat = cm_seat_enter(heap, &err);
	if (!seat)
		return err;
	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	root = find(seg, &name, &empty, &last);
	err = !root ? -ENOENT : cm_read(&root->state) == CM_ROOT_BUSY ? -EBUSY : 0;
	if (err == 0) {
		begin_change(seg, &tx);
		stage_delete(&tx, root);
		end_change(seg, &tx);
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
	if (cm_read(&first_page(&heap->seg)->version) & 1) {
		/* no change is half done now, so somebody scribbled here */
		cm_add(&heap->seg.super->damages, 1);
		end_change(&heap->seg, &tx);
	}
	cm_tx_end(&tx);
	cm_seat_leave(heap, seat);
	return 0;
}

/* Call read(arg) until no change went on meanwhile; it must stand half-changed entries. */
static int read_steadily(comap_heap *heap, int (*read)(const struct cm_seg *seg, void *arg), void *arg)
{
	cm_word *version = &first_page(&heap->seg)->version;
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
	struct name name;
	comap_ref ref;
};

static int read_one(const struct cm_seg *seg, void *arg)
{
	struct cm_root_page_shm *last;
	struct cm_root_shm *empty, *root;
	struct get *get = arg;

	root = find(seg, &get->name, &empty, &last);
	if (!root || cm_read(&root->state) != CM_ROOT_READY)
		return -ENOENT;
	get->ref.off = cm_read(&root->ref);
	return 0;
}

int comap_root_get(comap_heap *heap, const char *text, comap_ref *ret_ref)
{
	struct get get;
	int err = read_name(text, &get.name);

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
	struct cm_root_page_shm *page = first_page(seg);
	uint64_t left = pages_most(seg), pos = 0, word;

	for (; page && left; left--, page = next_page(seg, page))
		for (unsigned i = 0; i < CM_ROOTS_PER_PAGE; i++) {
			if (pos++ < next->from || cm_read(&page->root[i].state) != CM_ROOT_READY)
				continue;
			for (unsigned w = 0; w < CM_ROOT_NAME_WORDS; w++) {
				word = cm_read(&page->root[i].name[w]);
				memcpy(next->found.name + w * 8, &word, 8);
			}
			next->found.name[COMAP_ROOT_NAME_MAX] = '\0';
			next->found.ref.off = cm_read(&page->root[i].ref);
			next->found.pos = pos;
			return 1;
		}
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

/* ---- create once ---------------------------------------------------------------------- */

enum turn { TURN_READY, TURN_OURS, TURN_WAIT, TURN_REAP };

/* Whose turn is it?  Makes it ours when it is nobody's. */
static int take_turn(comap_heap *heap, struct cm_seat *seat, const struct name *name,
		     uint64_t *reaped, struct cm_root_shm **ret_root, comap_ref *ret_ref)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_root_shm *root;
	uint64_t owner;
	struct cm_tx tx;
	bool is_new;
	int turn;

	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	turn = find_or_place(seg, &seat->self, &tx, name, &root, &is_new);
	if (turn < 0) {
		cm_tx_end(&tx);
		return turn;
	}
	*ret_root = root;
	owner = cm_read(&root->owner);
	if (is_new) {
		begin_change(seg, &tx);
		stage_entry(&tx, root, name, CM_ROOT_BUSY, 0, seat->self.name);
		end_change(seg, &tx);
		turn = TURN_OURS;
	} else if (cm_read(&root->state) == CM_ROOT_READY) {
		ret_ref->off = cm_read(&root->ref);
		turn = TURN_READY;
	} else if (owner == seat->self.name) {
		turn = -EDEADLK;
	} else if (owner >> 32 &&
		   !cm_life_is_dead(&seg->life, (uint32_t)(owner >> 32) - 1, (uint32_t)owner, true)) {
		turn = TURN_WAIT;
	} else if (owner != *reaped) {
		*reaped = owner; /* this one, and not under the lock */
		turn = TURN_REAP;
	} else {
		begin_change(seg, &tx);
		cm_tx_put(&tx, &root->owner, seat->self.name);
		end_change(seg, &tx);
		turn = TURN_OURS;
	}
	cm_tx_end(&tx);
	return turn;
}

/* Our initialiser has run: the entry is ready, or gone. */
static int end_turn(comap_heap *heap, struct cm_root_shm *root, int result, comap_ref *ret_ref)
{
	struct cm_seg *seg = &heap->seg;
	struct cm_seat *seat;
	struct cm_tx tx;
	int err = 0;

	seat = cm_seat_enter_own(heap, &err);
	if (!seat)
		return err;
	cm_tx_begin(&seg->log, &seat->self, CM_LOCK_ROOT, &tx);
	if (cm_read(&root->owner) != seat->self.name) {
		/* init gave our slot up (detach), or forked and came back in the child */
		cm_tx_end(&tx);
		cm_seat_leave(heap, seat);
		return -EPERM;
	}
	begin_change(seg, &tx);
	if (result == 0) {
		ret_ref->off = cm_read(&root->cell);
		cm_tx_put(&tx, &root->ref, ret_ref->off);
		cm_tx_put(&tx, &root->cell, 0);
		cm_tx_put(&tx, &root->owner, 0);
		cm_tx_put(&tx, &root->state, CM_ROOT_READY);
	} else {
		stage_delete(&tx, root);
	}
	end_change(seg, &tx);
	cm_tx_end(&tx);
	cm_os_futex_wake(cm_lower_half(&root->state), INT_MAX);
	cm_seat_leave(heap, seat);
	return result;
}

int comap_root_once(comap_heap *heap, const char *text,
		    int (*init)(comap_heap *heap, comap_ref *cell, void *arg), void *arg,
		    uint64_t timeout_ns, comap_ref *ret_ref)
{
	uint64_t start = cm_os_now_ns(), reaped = 0, waited;
	struct cm_root_shm *root = NULL;
	struct cm_seat *seat;
	struct name name;
	int turn = read_name(text, &name), err = 0;

	if (turn < 0)
		return turn;
	if (heap->seg.is_readonly)
		return comap_root_get(heap, text, ret_ref);
	for (;;) {
		seat = cm_seat_enter_own(heap, &err);
		if (!seat)
			return err;
		turn = take_turn(heap, seat, &name, &reaped, &root, ret_ref);
		if (turn == TURN_REAP)
			(void)cm_reap_all(&heap->seg, &seat->self, CM_REAP_ASK_KERNEL | CM_REAP_PATIENT);
		cm_seat_leave(heap, seat);
		if (turn < 0 || turn == TURN_READY)
			return turn;
		if (turn == TURN_OURS)
			return end_turn(heap, root,
					init(heap, (comap_ref *)(void *)&root->cell, arg), ret_ref);
		if (turn == TURN_WAIT) {
			waited = cm_os_now_ns() - start;
			if (waited >= timeout_ns)
				return -ETIMEDOUT;
			cm_os_futex_wait(cm_lower_half(&root->state), CM_ROOT_BUSY,
					 cm_min(NAP_NS, timeout_ns - waited));
		}
	}
}
