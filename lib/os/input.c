/*
 * input.c - files of any kind: what they are, and reading and writing them.
 *
 * Everything is opened non-blocking, so that neither a FIFO without a writer nor
 * a device holds the caller; whoever wants to wait says so, and for how long.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include "os/os.h"

static uint64_t ns_of(struct timespec t)
{
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fill(const struct stat *st, struct cm_os_stat *ret)
{
	*ret = (struct cm_os_stat){
		.kind = S_ISREG(st->st_mode)   ? CM_OS_REGULAR
			: S_ISBLK(st->st_mode) ? CM_OS_BLOCK
			: S_ISDIR(st->st_mode) ? CM_OS_FOLDER
					       : CM_OS_STREAM,
		.size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
		.device = st->st_dev,
		.inode = st->st_ino,
		.modified_ns = ns_of(st->st_mtim),
		.changed_ns = ns_of(st->st_ctim),
		.permissions = st->st_mode & 07777,
		.is_fifo = S_ISFIFO(st->st_mode),
	};
}

int cm_os_stat(int fd, struct cm_os_stat *ret_stat)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	fill(&st, ret_stat);
	if (ret_stat->kind == CM_OS_BLOCK && ioctl(fd, BLKGETSIZE64, &ret_stat->size) < 0)
		return -errno;
	return 0;
}

int cm_os_stat_at(int dirfd, const char *path, struct cm_os_stat *ret_stat)
{
	struct stat st;

	if (fstatat(dirfd < 0 ? AT_FDCWD : dirfd, path, &st, 0) < 0)
		return -errno;
	fill(&st, ret_stat);
	return 0;
}

int cm_os_open_any(int dirfd, const char *path, unsigned flags, uint32_t permissions, int *ret_fd)
{
	int how = O_CLOEXEC | O_LARGEFILE | O_NONBLOCK | O_NOCTTY;
	long fd;

	how |= flags & CM_OS_OPEN_WRITE ? O_RDWR : O_RDONLY;
	how |= flags & CM_OS_OPEN_CREATE ? O_CREAT : 0;
	how |= flags & CM_OS_OPEN_EXCL ? O_EXCL : 0;
	how |= flags & CM_OS_OPEN_NOFOLLOW ? O_NOFOLLOW : 0;
	do
		fd = syscall(SYS_openat, dirfd < 0 ? AT_FDCWD : dirfd, path, how, permissions);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	*ret_fd = (int)fd;
	return 0;
}

int cm_os_dup(int fd, int *ret_fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return -errno;
	*ret_fd = copy;
	return 0;
}

int cm_os_open_here(int *ret_fd)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

bool cm_os_is_appending(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_APPEND);
}

int64_t cm_os_read(int fd, void *bytes, size_t n)
{
	int64_t got;

	do
		got = syscall(SYS_read, fd, bytes, n);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

int64_t cm_os_read_now(int fd, void *bytes, size_t n)
{
	struct iovec to = { bytes, n };
	int64_t got;

	do
		got = syscall(SYS_preadv2, fd, &to, 1ul, -1l, -1l, RWF_NOWAIT);
	while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		return cm_os_read(fd, bytes, n);
	return got < 0 ? -errno : got;
}

int cm_os_wait_readable(int fd, uint64_t timeout_ns)
{
	uint64_t end = timeout_ns ? cm_os_now_ns() + timeout_ns : 0, left;
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct timespec ts;
	long n;

	if (end < timeout_ns)
		end = UINT64_MAX;
	for (;;) {
		left = end ? end - cm_min(cm_os_now_ns(), end) : 0;
		ts.tv_sec = (time_t)(left / 1000000000u);
		ts.tv_nsec = (long)(left % 1000000000u);
		n = syscall(SYS_ppoll, &wait, 1, timeout_ns ? &ts : NULL, NULL, 8);
		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

int cm_os_write_at(int fd, const void *bytes, size_t n, uint64_t off)
{
	const char *from = bytes;
	int64_t put;

	if (cm_os_is_past_rlimit(off + n))
		return -ENOSPC;
	for (; n; from += put, off += (uint64_t)put, n -= (size_t)put) {
		put = syscall(SYS_pwrite64, fd, from, cm_min(n, CM_GIB), off);
		if (put < 0 && errno == EINTR)
			put = 0;
		else if (put < 0)
			return cm_os_quota_is_enospc(-errno);
		else if (put == 0)
			return -EIO;
	}
	return 0;
}

/* Numbers that <linux/magic.h> lacks, from statfs(2). */
#define CIFS 0xff534d42u
#define SMB2 0xfe534d42u
#define CEPH 0x00c36400u
#define LUSTRE 0x0bd00bd0u
#define GFS2 0x01161970u
#define OCFS2 0x7461636fu
#define GPFS 0x47504653u

enum cm_os_fs cm_os_fs(int fd, uint32_t *ret_type)
{
	struct statfs fs;

	*ret_type = 0;
	if (fstatfs(fd, &fs) < 0)
		return CM_OS_FS_LOCAL;
	*ret_type = (uint32_t)fs.f_type;
	switch (*ret_type) {
	case TMPFS_MAGIC:
	case HUGETLBFS_MAGIC:
	case RAMFS_MAGIC:
		return CM_OS_FS_MEMORY;
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case V9FS_MAGIC:
	case FUSE_SUPER_MAGIC:
	case AFS_SUPER_MAGIC:
	case CODA_SUPER_MAGIC:
	case CIFS:
	case SMB2:
	case CEPH:
	case LUSTRE:
	case GFS2:
	case OCFS2:
	case GPFS:
		return CM_OS_FS_NETWORK;
	case PROC_SUPER_MAGIC:
	case SYSFS_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case CGROUP_SUPER_MAGIC:
	case CGROUP2_SUPER_MAGIC:
	case SECURITYFS_MAGIC:
	case SELINUX_MAGIC:
	case EFIVARFS_MAGIC:
		return CM_OS_FS_PSEUDO;
	default:
		return CM_OS_FS_LOCAL;
	}
}

unsigned cm_os_seals(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0)
		return 0;
	return (seals & F_SEAL_SHRINK ? CM_OS_SEAL_SIZE : 0) |
	       (seals & F_SEAL_SHRINK && seals & F_SEAL_WRITE ? CM_OS_SEAL_BYTES : 0);
}

int cm_os_seal(int fd, unsigned seals)
{
	int add = F_SEAL_SHRINK | F_SEAL_GROW | (seals & CM_OS_SEAL_BYTES ? F_SEAL_WRITE : 0);

	return fcntl(fd, F_ADD_SEALS, add) < 0 ? -errno : 0;
}

int cm_os_memfd_named(const char *name, int *ret_fd)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}
