/*
 * backing.c - storage behind the mapping: committed before it is touched.
 *
 * A store into a hole of a full tmpfs or disk is SIGBUS.  So every range is
 * committed (fallocated) before its first use, and "full" is an error from a
 * system call.  Only cm_os_grow changes the length of the file; it looks at
 * RLIMIT_FSIZE first, because the kernel's answer there is a signal.
 *
 * fallocate of a long range may give up, and undo its work, at any signal; a
 * profiler's timer would make it run for ever.  Hence pieces, smaller each time.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "os/os.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define PIECE (32 * CM_MIB)
#define PIECE_LEAST (64 * CM_KIB)
#define PAGE 4096u

int cm_os_full_is_enospc(int err)
{
	return err == -EFBIG ? -ENOSPC : cm_os_quota_is_enospc(err);
}

int cm_os_fallocate(int fd, int mode, uint64_t off, uint64_t len)
{
	uint64_t piece = PIECE, n;

	for (; len; off += n, len -= n) {
		n = cm_min(len, piece);
		while (syscall(SYS_fallocate, fd, mode, off, n) < 0) {
			if (errno != EINTR)
				return -errno;
			piece = cm_max(piece / 2, PIECE_LEAST);
			n = cm_min(n, piece);
		}
	}
	return 0;
}

int cm_os_populate_write(void *at, size_t len)
{
	while (madvise(at, len, MADV_POPULATE_WRITE) < 0) {
		if (errno == EINTR || errno == EAGAIN)
			continue;
		/* EINVAL: before 5.14; an anonymous mapping has no limit of its own, so
		 * pages that come with the first touch are good enough there. */
		return errno == EINVAL ? 0 : errno == EFAULT ? -ENOSPC : -errno;
	}
	return 0;
}

bool cm_os_is_past_rlimit(uint64_t end)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) == 0 && end > limit.rlim_cur;
}

static int write_zeroes(int fd, uint64_t off, uint64_t len)
{
	static const char zeroes[64 * 1024];
	int64_t n;

	if (cm_os_is_past_rlimit(off + len))
		return -ENOSPC;
	for (; len; off += (uint64_t)n, len -= (uint64_t)n) {
		n = syscall(SYS_pwrite64, fd, zeroes, cm_min(len, sizeof zeroes), off);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return cm_os_full_is_enospc(-errno);
		else if (n == 0)
			return -ENOSPC;
	}
	return 0;
}

int cm_os_commit(struct cm_backing *b, uint64_t off, uint64_t len)
{
	if (b->fd < 0)
		return cm_os_populate_write(b->base + off, len);
	if (b->no_fallocate)
		return write_zeroes(b->fd, off, len);
	return cm_os_full_is_enospc(cm_os_fallocate(b->fd, 0, off, len));
}

int cm_os_commit_shared(struct cm_backing *b, uint64_t off, uint64_t len, uint64_t zero_at)
{
	uint64_t end = cm_round_up(off + len, PAGE);
	int err = 0;

	off &= ~(uint64_t)(PAGE - 1);
	if (b->fd < 0 || !b->no_fallocate)
		return cm_os_commit(b, off, end - off);
	for (; off < end && !err; off += PAGE)
		err = write_zeroes(b->fd, off + zero_at, 1);
	return err;
}

bool cm_os_has_storage(const struct cm_backing *b, uint64_t off, uint64_t len)
{
	off_t data, hole;

	if (b->fd < 0)
		return true;
	data = lseek(b->fd, (off_t)off, SEEK_DATA);
	if (data < 0)
		return errno != ENXIO; /* ENXIO: nothing but a hole from there on */
	hole = data > (off_t)off ? data : lseek(b->fd, data, SEEK_HOLE);
	return data == (off_t)off && (hole < 0 || (uint64_t)hole >= off + len);
}

int cm_os_punch(struct cm_backing *b, uint64_t off, uint64_t len)
{
	int err;

	if (b->no_punch)
		return -EOPNOTSUPP;
	if (b->fd < 0)
		err = madvise(b->base + off, len, MADV_REMOVE) < 0 ? -errno : 0;
	else
		err = cm_os_fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
	if (err == -EOPNOTSUPP || err == -ENOSYS)
		b->no_punch = true;
	return err;
}

int cm_os_grow(struct cm_backing *b, uint64_t size)
{
	struct stat st;

	if (b->fd < 0)
		return 0;
	if (fstat(b->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size >= size)
		return 0;
	if (cm_os_is_past_rlimit(size))
		return -ENOSPC;
	while (ftruncate(b->fd, (off_t)size) < 0)
		if (errno != EINTR)
			return cm_os_full_is_enospc(-errno);
	return 0;
}

void cm_os_probe(struct cm_backing *b)
{
	/* an empty file past RLIMIT_FSIZE gets a signal for an answer */
	int err = b->fd < 0 || cm_os_is_past_rlimit(PAGE)
			  ? 0
			  : cm_os_fallocate(b->fd, FALLOC_FL_KEEP_SIZE, 0, PAGE);

	b->no_fallocate = err == -EOPNOTSUPP || err == -ENOSYS;
}
