/*
 * advice.c - how the kernel is to treat the pages of a mapping.
 *
 * Nothing here may give a hole storage: the heap's tables say what is stored,
 * and a full disk must be an error from malloc.  So pages are locked as they
 * come (MLOCK_ONFAULT), and only those that have data are mapped in.  They are
 * looked for again for every piece, because neighbours punch holes meanwhile;
 * a page they punch between our look and the populating comes back as a page
 * of zeroes, which is what its unit reads as, and goes with the unit's next
 * punch.
 *
 * Populating reads: a page of a memfd or tmpfs that was read may be written
 * without another fault, and pages of a file do not become dirty for it.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "os/os.h"

#ifndef MADV_COLD
#define MADV_COLD 20 /* Linux 5.4 */
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define PIECE (2 * CM_MIB)
#define PAGE 4096

/* Of <linux/mempolicy.h>, where older ones lack the last. */
#define MPOL_PREFERRED 1
#define MPOL_BIND 2
#define MPOL_INTERLEAVE 3
#define MPOL_PREFERRED_MANY 5 /* Linux 5.15 */

int cm_os_advise(void *at, uint64_t len, enum cm_os_advice what)
{
	static const int madv[] = {
		[CM_OS_NORMAL] = MADV_NORMAL,     [CM_OS_SEQUENTIAL] = MADV_SEQUENTIAL,
		[CM_OS_RANDOM] = MADV_RANDOM,     [CM_OS_WILLNEED] = MADV_WILLNEED,
		[CM_OS_COLD] = MADV_COLD,         [CM_OS_PAGEOUT] = MADV_PAGEOUT,
		[CM_OS_HUGE] = MADV_HUGEPAGE,
	};

	return madvise(at, len, madv[what]) < 0 ? -errno : 0;
}

int cm_os_pin(struct cm_backing *b)
{
	/* MADV_REMOVE, the one way to punch an anonymous mapping, refuses locked pages */
	if (b->fd < 0)
		return -EOPNOTSUPP;
	/* libc's would say EINVAL where the kernel says ENOSYS */
	return syscall(SYS_mlock2, b->base, b->size, MLOCK_ONFAULT) < 0 ? -errno : 0;
}

void cm_os_populate(struct cm_backing *b)
{
	off_t data, hole, at = 0, end = (off_t)b->size;
	uint64_t len;

	/* what is new and anonymous has nothing in it yet */
	while (b->fd >= 0 && at < end) {
		data = lseek(b->fd, at, SEEK_DATA);
		hole = data < 0 ? -1 : lseek(b->fd, data, SEEK_HOLE);
		if (hole <= data || data >= end) /* ENXIO: nothing but a hole from there on */
			return;
		data -= data % PAGE;
		len = cm_min((uint64_t)(cm_min(hole, end) - data), PIECE);
		if (madvise(b->base + data, len, MADV_POPULATE_READ) < 0 && errno == EINVAL)
			(void)madvise(b->base + data, len, MADV_WILLNEED); /* an older kernel */
		at = data + (off_t)len;
	}
}

int cm_os_place(struct cm_backing *b, enum cm_os_place how, uint64_t nodes)
{
	int mode = how == CM_OS_INTERLEAVE ? MPOL_INTERLEAVE
		   : how == CM_OS_BIND     ? MPOL_BIND
		   : cm_is_pow2(nodes)     ? MPOL_PREFERRED
					   : MPOL_PREFERRED_MANY;

	/* the kernel looks at one bit less than it is told */
	return syscall(SYS_mbind, b->base, b->size, mode, &nodes, 64 + 1, 0) < 0 ? -errno : 0;
}
