/*
 * extend.c - files that get longer: storage before the bytes, and bytes behind the end.
 *
 * System calls that libc makes a cancellation point are made without it: a thread that ended in one
 * would leave a signal blocked, or a writer that does not know what it wrote.
 *
 * Past RLIMIT_FSIZE the kernel answers with a signal that ends the process, also to
 * an allocation, so the limit is asked first.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "os/os.h"

#define SIGNALS 64ul /* bits of the kernel's set of them */
#define NOT_WORTH_ASKING (32 * CM_MIB)

/* What cannot be had at all is not to fill the disk first, under everybody's feet. */
static bool is_past_disk(int fd, uint64_t size)
{
	struct statfs fs;

	/* f_blocks 0: it has no limit, or does not tell */
	if (size <= NOT_WORTH_ASKING || fstatfs(fd, &fs) < 0 || fs.f_blocks == 0 || fs.f_bsize <= 0)
		return false;
	return size / (uint64_t)fs.f_bsize > fs.f_bfree;
}

int cm_os_allocate(int fd, uint64_t off, uint64_t size, bool keeps_size)
{
	if (off > INT64_MAX || size > INT64_MAX - off)
		return -EFBIG;
	if (cm_os_is_past_rlimit(off + size) || is_past_disk(fd, size))
		return -ENOSPC;
	return cm_os_quota_is_enospc(
		cm_os_fallocate(fd, keeps_size ? FALLOC_FL_KEEP_SIZE : 0, off, size));
}

int cm_os_open_append(const struct cm_os_spot *spot, uint32_t permissions, int *ret_fd,
		      bool *ret_is_made)
{
	int how = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW;
	bool is_made = spot->what == CM_OS_SPOT_FREE;
	uint32_t mode = permissions ? permissions & 0777 : 0666;
	int err = 0;
	long fd;

	how |= O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_LARGEFILE;
	do {
		fd = syscall(SYS_openat, spot->folder, spot->name, how | (is_made ? O_EXCL : 0), mode);
		if (fd < 0 && errno == EEXIST) /* made by somebody else since */
			is_made = false;
	} while (fd < 0 && (errno == EINTR || errno == EEXIST));
	if (fd < 0)
		return -errno;
	if (is_made && permissions && fchmod((int)fd, permissions) < 0) {
		err = -errno;
		(void)unlinkat(spot->folder, spot->name, 0);
		cm_os_close((int)fd);
		return err;
	}
	*ret_fd = (int)fd;
	*ret_is_made = is_made;
	return 0;
}

/* Others may have brought the file to RLIMIT_FSIZE since it was asked: no signal for that
 * either. */
static int64_t write_quietly(int fd, const void *bytes, size_t n)
{
	static const struct timespec now = { 0 };
	struct rlimit limit;
	sigset_t fsize, old, pending;
	int64_t put;
	int err;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return syscall(SYS_write, fd, bytes, n);
	sigemptyset(&fsize);
	sigaddset(&fsize, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &fsize, &old);
	sigpending(&pending);
	put = syscall(SYS_write, fd, bytes, n);
	err = errno;
	/* one that waited before stays the caller's */
	if (put < 0 && err == EFBIG &&
	    (sigismember(&pending, SIGXFSZ) ||
	     syscall(SYS_rt_sigtimedwait, &fsize, NULL, &now, SIGNALS / 8) == SIGXFSZ))
		err = ENOSPC;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return put;
}

int cm_os_append(int fd, const void *bytes, size_t n, uint64_t *put)
{
	const char *from = bytes;
	struct stat st;
	int64_t got;

	/* its end is where others left it */
	if (fstat(fd, &st) < 0)
		return -errno;
	if (cm_os_is_past_rlimit((uint64_t)st.st_size + n))
		return -ENOSPC;
	for (; n; from += got, n -= (size_t)got, *put += (uint64_t)got) {
		got = write_quietly(fd, from, cm_min(n, CM_GIB));
		if (got < 0 && errno == EINTR)
			got = 0;
		else if (got < 0)
			return cm_os_quota_is_enospc(-errno);
		else if (got == 0)
			return -EIO;
	}
	return 0;
}

int64_t cm_os_copy_range(int from, uint64_t off, int to, uint64_t to_off, uint64_t n)
{
	int64_t at = (int64_t)off, to_at = (int64_t)to_off, got;

	n = cm_min(n, CM_GIB);
	if (cm_os_is_past_rlimit(to_off + n))
		return -ENOSPC;
	do
		got = syscall(SYS_copy_file_range, from, &at, to, &to_at, n, 0ul);
	while (got < 0 && errno == EINTR);
	if (got >= 0)
		return got;
	switch (errno) {
	case EXDEV: /* of two file systems, before Linux 5.3 and some after */
	case EINVAL:
	case EBADF: /* O_APPEND */
	case ENOSYS:
	case EPERM: /* a container, or an immutable file: writing finds out which */
		return -EOPNOTSUPP;
	default:
		return cm_os_quota_is_enospc(-errno);
	}
}

int64_t cm_os_position(int fd)
{
	return lseek(fd, 0, SEEK_CUR);
}

int cm_os_cut(int fd, uint64_t size)
{
	while (ftruncate(fd, (off_t)size) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int cm_os_flush_close(int fd)
{
	int copy, err;

	err = cm_os_dup(fd, &copy);
	if (err < 0)
		return err == -EMFILE || err == -ENFILE ? 0 : err;
	/* EINTR: it is closed all the same */
	return syscall(SYS_close, copy) < 0 && errno != EINTR ? cm_os_quota_is_enospc(-errno) : 0;
}
