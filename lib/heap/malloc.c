/*
 * malloc.c - the malloc family on a heap.
 *
 * libc's semantics stand in one place each: sizes in alloc(), alignment in
 * aligned(), the corners of realloc in comap_heap_realloc().
 */
#include <errno.h>
#include <string.h>
#include "heap/heap.h"

#define ALIGN_MOST CM_SEGMENT

/* NULL with errno.  dst: a cell that gets the ref in the same instant, or NULL. */
static void *alloc(struct comap_heap *heap, size_t size, size_t align, cm_word *dst,
		   bool *ret_is_zeroed)
{
	struct cm_seat *seat;
	uint64_t off = 0;
	int err = 0;

	*ret_is_zeroed = false;
	if (size > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	seat = cm_seat_enter(heap, &err);
	if (seat) {
		err = cm_block_alloc(&heap->seg, &seat->self, &seat->cache, size, align, dst, &off,
				     ret_is_zeroed);
		cm_seat_leave(heap, seat);
	}
	if (err < 0) {
		errno = -err;
		return NULL;
	}
	return cm_seg_at(&heap->seg, off);
}

static void report(struct comap_heap *heap, enum comap_misuse what, const void *ptr)
{
	if (!heap->seg.is_readonly)
		cm_add(&heap->seg.super->misuses, 1);
	if (heap->on_misuse)
		heap->on_misuse(heap, what, ptr, heap->on_misuse_arg);
}

/* src: a cell that becomes null in the same instant, or NULL. */
static void release(struct comap_heap *heap, uint64_t off, cm_word *src)
{
	struct cm_misfreed misfreed;
	struct cm_seat *seat;
	int saved = errno, err = 0;

	misfreed.n = 0;
	seat = cm_seat_enter(heap, &err);
	if (seat) {
		err = cm_block_free(&heap->seg, &seat->self, &seat->cache, off, src, &misfreed);
		cm_seat_leave(heap, seat);
	} else if (err == -EDEADLK) {
		err = COMAP_MISUSE_REENTRY;
	} else if (err == -EROFS) {
		err = COMAP_MISUSE_FOREIGN; /* no block of ours to free */
	}
	if (err > 0)
		report(heap, (enum comap_misuse)err, (const void *)((uintptr_t)heap->seg.base + off));
	else if (err == -EUCLEAN)
		cm_add(&heap->seg.super->damages, 1);
	for (uint32_t i = 0; i < misfreed.n; i++)
		report(heap, COMAP_MISUSE_DOUBLE, cm_seg_at(&heap->seg, misfreed.off[i]));
	errno = saved;
}

/* ---- the short ways -----------------------------------------------------------
 *
 * Nearly every malloc and free of a small block is one of these two: a few loads,
 * and one store to shared memory, which is the whole change (slab/magazine.c).
 * They take the long way when the thread has no slot or is in a call already
 * (idle is 0), and when the magazine is empty, full, or closed.
 */

/* Out of line, or the short way gets its stack frame. */
__attribute__((noinline)) static void *long_malloc(comap_heap *heap, size_t size)
{
	bool is_zeroed;

	return alloc(heap, size, 1, NULL, &is_zeroed);
}

/* A step of 16 bytes too little or off turns into a number that is too large. */
static inline uint64_t steps_of(uint64_t diff)
{
	return diff >> 4 | diff << 60;
}

void *comap_heap_malloc(comap_heap *heap, size_t size)
{
	struct cm_seat *seat = cm_seats[heap->index];
	uint64_t serial = cm_read(&heap->serial), off;
	struct cm_magazine_shm *m;
	uint32_t head;
	size_t mark;

	if (CM_EXPECT(size <= CM_TINY_MOST))
		mark = cm_tiny_marks[(size + 15) / 16];
	else if (size <= CM_SMALL_MOST)
		mark = cm_mark_of(cm_class_of(size));
	else
		return long_malloc(heap, size);
	if (CM_RARELY(!seat || seat->idle != serial))
		return long_malloc(heap, size);
	seat->idle = 0; /* to a signal handler the thread is in a call */
	cm_order();
	m = &seat->magazines->magazine[mark];
	head = cm_read(cm_lower_half(&m->ends));
	if (CM_RARELY(head == cm_read(cm_upper_half(&m->ends))))
		goto longer; /* none in it, and perhaps no ring */
	off = cm_read(&(seat->rings + mark * CM_RING)[(head - 1) % CM_RING]);
	if (CM_RARELY(off - heap->seg.data_off >= seat->room))
		goto longer; /* what a neighbour scribbled on */
	cm_order();
	/* death after: the block is the caller's, who is dead */
	cm_write(cm_lower_half(&m->ends), head - 1);
	cm_order();
	seat->idle = serial;
	return heap->seg.base + off;

longer:
	seat->idle = serial;
	return long_malloc(heap, size);
}

static bool short_free(struct comap_heap *heap, const void *ptr)
{
	struct cm_seat *seat = cm_seats[heap->index];
	uint64_t serial = cm_read(&heap->serial), diff, off;
	struct cm_magazine_shm *m;
	uint32_t head;
	cm_word *ring;
	size_t mark;

	if (CM_CHECK_LEVEL >= 1 || CM_RARELY(!seat || seat->idle != serial))
		return false;
	diff = (uintptr_t)ptr - (uintptr_t)seat->low;
	if (CM_RARELY(steps_of(diff) >= seat->steps))
		return false;
	seat->idle = 0;
	cm_order();
	mark = cm_read(&seat->units[diff >> CM_UNIT_SHIFT]) % CM_MAGAZINES;
	m = &seat->magazines->magazine[mark];
	ring = &seat->rings[mark * CM_RING];
	head = cm_read(cm_lower_half(&m->ends));
	off = diff + heap->seg.data_off;
	/* full, or closed; or freed just before */
	if (CM_RARELY(head == cm_read(&m->full) || cm_read(&ring[(head - 1) % CM_RING]) == off)) {
		seat->idle = serial;
		return false;
	}
	cm_write(&ring[head % CM_RING], off);
	cm_order();
	/* death before: the block is the caller's still, who is dead; after: the magazine's.
	 * release pairs with cm_cached_of: who sees head sees the entry */
	cm_store_release(cm_lower_half(&m->ends), head + 1);
	cm_order();
	seat->idle = serial;
	return true;
}

void *comap_heap_calloc(comap_heap *heap, size_t count, size_t size)
{
	size_t total;
	bool is_zeroed;
	void *p;

	if (__builtin_mul_overflow(count, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	if (total <= CM_SMALL_MOST) {
		p = comap_heap_malloc(heap, total);
		is_zeroed = false;
	} else {
		p = alloc(heap, total, 1, NULL, &is_zeroed);
	}
	if (p && !is_zeroed)
		memset(p, 0, total);
	return p;
}

void comap_heap_free(comap_heap *heap, void *ptr)
{
	if (CM_EXPECT(short_free(heap, ptr)))
		return;
	if (ptr)
		release(heap, (uintptr_t)ptr - (uintptr_t)heap->seg.base, NULL);
}

/* Make the block at ptr hold size bytes where it lies: 0, -EBUSY it cannot, -errno. */
static int resize_in_place(struct comap_heap *heap, void *ptr, size_t size, size_t *ret_had)
{
	struct cm_place place;
	struct cm_seat *seat;
	int err = 0;

	seat = cm_seat_enter(heap, &err);
	if (!seat)
		return err;
	place = cm_place_of(&heap->seg, cm_off_of(&heap->seg, ptr));
	*ret_had = place.size;
	if (place.size == 0 || place.off != cm_off_of(&heap->seg, ptr))
		err = -EFAULT;
	else if (place.is_slab)
		/* shrinking by less than half is not worth a copy */
		err = size <= place.size &&
				      (size * 2 > place.size || cm_class_of(size) == place.block.cls)
			      ? 0
			      : -EBUSY;
	else if (size <= CM_SMALL_MOST)
		err = -EBUSY;
	else
		err = cm_run_resize(&heap->seg, &seat->self, place.off, size);
	cm_seat_leave(heap, seat);
	return err;
}

void *comap_heap_realloc(comap_heap *heap, void *ptr, size_t size)
{
	size_t had = 0;
	void *p;
	int err;

	if (!ptr)
		return comap_heap_malloc(heap, size);
	if (size == 0) {
		comap_heap_free(heap, ptr);
		return NULL;
	}
	if (size > PTRDIFF_MAX) {
		errno = ENOMEM;
		return NULL;
	}
	err = resize_in_place(heap, ptr, size, &had);
	if (err == 0)
		return ptr;
	if (err == -EFAULT) { /* no block: report it as free would, touch nothing */
		report(heap, COMAP_MISUSE_FOREIGN, ptr);
		errno = EINVAL;
		return NULL;
	}
	if (had == 0) { /* we could not even look */
		errno = -err;
		return NULL;
	}
	/* no room in place, be it for the ceiling's sake: elsewhere there may be some.
	 * death between here and free: the new block leaks, the old one is the caller's. */
	p = comap_heap_malloc(heap, size);
	if (!p) {
		/* a smaller block must always be had: the old one serves */
		return size <= had ? ptr : NULL;
	}
	memmove(p, ptr, had < size ? had : size); /* blocks of a damaged heap may overlap */
	comap_heap_free(heap, ptr);
	return p;
}

void *comap_heap_reallocarray(comap_heap *heap, void *ptr, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return comap_heap_realloc(heap, ptr, total);
}

static void *aligned(comap_heap *heap, size_t align, size_t size)
{
	bool is_zeroed;

	if (!cm_is_pow2(align) || align > ALIGN_MOST) {
		errno = EINVAL;
		return NULL;
	}
	return alloc(heap, size, align, NULL, &is_zeroed);
}

void *comap_heap_aligned_alloc(comap_heap *heap, size_t align, size_t size)
{
	return aligned(heap, align, size);
}

void *comap_heap_memalign(comap_heap *heap, size_t align, size_t size)
{
	return aligned(heap, align, size);
}

int comap_heap_posix_memalign(comap_heap *heap, void **ret_ptr, size_t align, size_t size)
{
	int saved = errno, err = 0;
	void *p;

	if (align % sizeof(void *))
		return EINVAL;
	p = aligned(heap, align, size);
	if (p)
		*ret_ptr = p;
	else
		err = errno;
	errno = saved;
	return err;
}

size_t comap_heap_usable_size(comap_heap *heap, const void *ptr)
{
	uint64_t off = cm_off_of(&heap->seg, ptr);
	struct cm_place place;

	if (!ptr)
		return 0;
	place = cm_place_of(&heap->seg, off);
	return place.off == off ? place.size : 0;
}

char *comap_heap_strndup(comap_heap *heap, const char *text, size_t max)
{
	size_t n = strnlen(text, max);
	char *copy = comap_heap_malloc(heap, n + 1);

	if (copy) {
		memcpy(copy, text, n);
		copy[n] = '\0';
	}
	return copy;
}

char *comap_heap_strdup(comap_heap *heap, const char *text)
{
	return comap_heap_strndup(heap, text, strlen(text));
}

/* May a call store a ref there? */
static bool is_cell(const comap_heap *heap, const comap_ref *cell)
{
	return cm_is_in_block(&heap->seg, cell, sizeof *cell) || cm_is_root_cell(&heap->seg, cell);
}

void *comap_heap_malloc_to(comap_heap *heap, size_t size, comap_ref *dst)
{
	bool is_zeroed;

	if (!is_cell(heap, dst)) {
		errno = EINVAL;
		return NULL;
	}
	return alloc(heap, size, 1, (cm_word *)(void *)dst, &is_zeroed);
}

void comap_heap_free_from(comap_heap *heap, comap_ref *src)
{
	uint64_t off;

	if (!src)
		return;
	if (!is_cell(heap, src)) {
		report(heap, COMAP_MISUSE_FOREIGN, src);
		return;
	}
	/* relaxed: until we return only the caller may change it */
	off = cm_read((cm_word *)(void *)src);
	if (off)
		release(heap, off, (cm_word *)(void *)src);
}

/* ---- refs ------------------------------------------------------------------ */

comap_ref comap_heap_ref(const comap_heap *heap, const void *ptr)
{
	comap_ref ref = COMAP_NULL;

	if (!ptr)
		return ref;
	if (cm_seg_has(&heap->seg, cm_off_of(&heap->seg, ptr)))
		ref.off = cm_off_of(&heap->seg, ptr);
	else
		errno = EFAULT;
	return ref;
}

void *comap_heap_at_checked(const comap_heap *heap, comap_ref ref, size_t size)
{
	struct cm_place place;

	if (comap_ref_is_null(ref))
		return NULL;
	place = cm_place_of(&heap->seg, ref.off);
	if (place.size && ref.off - place.off < place.size && size <= place.size - (ref.off - place.off))
		return cm_seg_at(&heap->seg, ref.off);
	errno = EFAULT;
	return NULL;
}
