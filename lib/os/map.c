/*
 * map.c - the one mapping of a heap, made once for its whole ceiling.
 *
 * Mapping past the end of the file is legal, and growth by anybody shows through
 * it, so nobody ever maps again.  The base is aligned to a segment: we reserve
 * more, and map inside our own reservation, never over somebody else's.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>
#include "os/os.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux 4.14 */
#endif

int cm_os_map(struct cm_backing *b, bool writable, bool dump)
{
	int prot = PROT_READ | (writable ? PROT_WRITE : 0);
	int flags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED | (b->fd < 0 ? MAP_ANONYMOUS : 0);
	uint64_t reserved = b->size + CM_OS_BASE_ALIGN;
	char *start, *base;
	int err;

	start = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return -errno;
	base = start + (cm_round_up((uint64_t)(uintptr_t)start, CM_OS_BASE_ALIGN) -
			(uint64_t)(uintptr_t)start);
	if (mmap(base, b->size, prot, flags, b->fd, 0) == MAP_FAILED) {
		err = -errno;
		munmap(start, reserved);
		return err;
	}
	if (base > start)
		munmap(start, (size_t)(base - start));
	munmap(base + b->size, (size_t)(start + reserved - (base + b->size)));
	/* A core dump reads, and so allocates, every hole; and the dying process
	 * counts as alive until its dump ends. */
	if (!dump)
		(void)madvise(base, b->size, MADV_DONTDUMP);
	b->base = base;
	return 0;
}

void cm_os_unmap(struct cm_backing *b)
{
	if (b->base)
		munmap(b->base, b->size);
	b->base = NULL;
}

void *cm_os_private_page(void)
{
	void *page = mmap(NULL, cm_os_page_size(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	(void)madvise(page, cm_os_page_size(), MADV_WIPEONFORK);
	return page;
}

void cm_os_private_page_drop(void *page)
{
	if (page)
		munmap(page, cm_os_page_size());
}

void *cm_os_private_pages(uint64_t size)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return pages == MAP_FAILED ? NULL : pages;
}

void cm_os_private_pages_drop(void *pages, uint64_t size)
{
	munmap(pages, size);
}
