/* image.c - copies of a heap file, holes and all. */
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "crash/stepper.h"
#include "heap/heap.h"

static void *grown(void *p, uint64_t size)
{
	p = realloc(p, size);
	if (!p)
		abort();
	return p;
}

bool image_take(struct image *image, int fd)
{
	struct stat st;
	off_t at = 0, end;

	memset(image, 0, sizeof *image);
	if (fstat(fd, &st) < 0)
		return false;
	image->size = (uint64_t)st.st_size;
	image->blocks = st.st_blocks;
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		if (end < 0)
			abort();
		image->bytes = grown(image->bytes, image->nbytes + (uint64_t)(end - at));
		image->extent = grown(image->extent, (image->nextents + 1) * sizeof image->extent[0]);
		if (pread(fd, image->bytes + image->nbytes, (size_t)(end - at), at) != end - at)
			abort();
		image->extent[image->nextents].off = (uint64_t)at;
		image->extent[image->nextents++].len = (uint64_t)(end - at);
		image->nbytes += (uint64_t)(end - at);
		at = end;
	}
	return true;
}

void image_copy(struct image *to, const struct image *from)
{
	*to = *from;
	to->bytes = grown(NULL, from->nbytes);
	memcpy(to->bytes, from->bytes, from->nbytes);
	to->extent = grown(NULL, from->nextents * sizeof from->extent[0]);
	memcpy(to->extent, from->extent, from->nextents * sizeof from->extent[0]);
}

bool image_is_same(const struct image *a, const struct image *b)
{
	return a->size == b->size && a->nextents == b->nextents && a->nbytes == b->nbytes &&
	       memcmp(a->extent, b->extent, a->nextents * sizeof a->extent[0]) == 0 &&
	       memcmp(a->bytes, b->bytes, a->nbytes) == 0;
}

/* The bytes of [off, off + len), as far as they have storage, differ from the image's. */
static bool differs(const struct image *image, const char *map, uint64_t off, uint64_t len)
{
	const unsigned char *bytes = image->bytes;

	for (uint32_t i = 0; i < image->nextents; bytes += image->extent[i++].len) {
		uint64_t from = image->extent[i].off, to = from + image->extent[i].len;
		uint64_t a = off > from ? off : from, b = off + len < to ? off + len : to;

		if (a < b && memcmp(bytes + (a - from), map + a, b - a) != 0)
			return true;
	}
	return false;
}

bool image_is_stale(const struct image *image, int fd, const char *map, const struct journal *j)
{
	const struct cm_super_shm *super = (const void *)map;
	const struct cm_fixed_shm *f = &super->fixed;
	struct stat st;

	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != image->size || st.st_blocks != image->blocks ||
	    image->nextents == 0)
		return true;
	if (differs(image, map, 0, 4096) || differs(image, map, CM_LOCKS_OFF, CM_LOCKS * 64) ||
	    differs(image, map, CM_ROOTS_OFF, 4096))
		return true;
	for (uint64_t i = 0; i < super->nused; i++)
		if (differs(image, map, CM_SLOTS_OFF + i * CM_SLOT_STRIDE, sizeof(struct cm_slot_shm)) ||
		    differs(image, map, CM_SLOTS_OFF + i * CM_SLOT_STRIDE + CM_SLOT_MAGAZINES,
			    sizeof(struct cm_magazines_shm)))
			return true;
	if (differs(image, map, f->units_off, f->max_size >> CM_UNIT_SHIFT) ||
	    differs(image, map, f->segments_off, (f->max_size >> CM_SEGMENT_SHIFT) * 8))
		return true;
	for (uint64_t s = f->data_off; s < super->limit; s += CM_SEGMENT)
		if (differs(image, map, s, CM_UNIT))
			return true;
	for (unsigned i = 0; i < j->ncells; i++)
		if (differs(image, map, j->cell[i], 8))
			return true;
	return j->hot && differs(image, map, j->hot, 16);
}

int image_thaw(const struct image *image)
{
	int fd = memfd_create("copy", MFD_CLOEXEC);
	const unsigned char *from = image->bytes;

	if (fd < 0 || ftruncate(fd, (off_t)image->size) < 0)
		abort();
	for (uint32_t i = 0; i < image->nextents; from += image->extent[i++].len)
		if (pwrite(fd, from, image->extent[i].len, (off_t)image->extent[i].off) !=
		    (ssize_t)image->extent[i].len)
			abort();
	return fd;
}

void image_drop(struct image *image)
{
	free(image->bytes);
	free(image->extent);
	memset(image, 0, sizeof *image);
}

/* The slots that have storage, mapped; *ret_n of them. */
static char *map_head(int fd, uint32_t *ret_n, struct cm_super_shm *ret_super)
{
	char *base;

	*ret_n = 0;
	if (pread(fd, ret_super, sizeof *ret_super, 0) != sizeof *ret_super ||
	    memcmp(ret_super->fixed.magic, CM_MAGIC, 8) != 0)
		return NULL;
	*ret_n = (uint32_t)ret_super->nused;
	base = mmap(NULL, CM_SLOTS_OFF + *ret_n * CM_SLOT_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    fd, 0);
	return base == MAP_FAILED ? NULL : base;
}

void mark_dead(int fd, const struct dead *dead)
{
	struct cm_super_shm super;
	uint32_t n;
	char *base = map_head(fd, &n, &super);

	if (!base)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct cm_slot_shm *slot = (void *)(base + CM_SLOTS_OFF + i * CM_SLOT_STRIDE);
		uint32_t word[16];

		/* handle_futex_death(): the word that holds the tid */
		memcpy(word, slot->life, sizeof word);
		for (unsigned t = 0; t < dead->n; t++)
			if ((word[0] & FUTEX_TID_MASK) == (uint32_t)dead->tid[t])
				word[0] = FUTEX_OWNER_DIED | (word[0] & FUTEX_WAITERS);
		memcpy(slot->life, word, sizeof word);
	}
	munmap(base, CM_SLOTS_OFF + n * CM_SLOT_STRIDE);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

uint64_t image_signature(int fd, bool *ret_has_locks)
{
	struct cm_super_shm super;
	uint64_t h = 1;
	uint32_t n;
	char *base = map_head(fd, &n, &super);
	struct cm_lock_shm *locks;

	if (!base)
		return 0;
	locks = (void *)(base + CM_LOCKS_OFF);
	*ret_has_locks = false;
	for (unsigned i = 0; i < CM_LOCKS; i++) {
		h = mix(h, locks[i].owner != 0);
		*ret_has_locks = *ret_has_locks || locks[i].owner;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct cm_slot_shm *slot = (void *)(base + CM_SLOTS_OFF + i * CM_SLOT_STRIDE);

		struct cm_magazines_shm *all = cm_magazines(slot);

		h = mix(h, slot->state | (uint64_t)(slot->reap != 0) << 8);
		h = mix(h, slot->redo.commit);
		h = mix(h, slot->hold_at);
		h = mix(h, slot->hold_what);
		for (unsigned m = 0; m < CM_MAGAZINES; m++)
			if (all->magazine[m].cap)
				h = mix(h, m << 1 | (cm_ends_count(all->magazine[m].ends) > 0));
	}
	munmap(base, CM_SLOTS_OFF + n * CM_SLOT_STRIDE);
	return h;
}
