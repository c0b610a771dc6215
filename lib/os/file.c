/*
 * file.c - heap files: how they are born, opened and removed.
 *
 * A named heap is written under no name (O_TMPFILE), or a temporary one where
 * the file system has no such thing, and gets its name when it is whole.  A
 * creator that dies half-way therefore leaves nothing under the name; a temporary
 * one, NAME.<16 digits>~, may stay behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "os/os.h"

bool cm_os_no_memfd;

int cm_os_memfd(int *ret_fd)
{
	int fd;

	if (cm_os_no_memfd)
		return -ENOSYS;
	fd = memfd_create("comap", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	/* nobody may cut it short under the others' feet */
	(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	*ret_fd = fd;
	return 0;
}

/* openat(2) as a raw call: libc's open is a cancellation point. */
static int raw_open(const char *path, int flags, uint32_t mode)
{
	long fd;

	do
		fd = syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC | O_LARGEFILE, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : (int)fd;
}

static int require_regular(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? -EISDIR : S_ISREG(st.st_mode) ? 0 : -ENODEV;
}

int cm_os_open(const char *path, bool writable, int *ret_fd)
{
	/* O_NONBLOCK: a FIFO must not hold us */
	int fd = raw_open(path, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_NOCTTY, 0);
	int err;

	if (fd < 0)
		return fd == -ENXIO ? -ENODEV : fd;
	err = require_regular(fd);
	if (err < 0)
		cm_os_close(fd);
	else
		*ret_fd = fd;
	return err;
}

int cm_os_reopen(int fd, bool writable, int *ret_fd)
{
	char path[64];
	int err = require_regular(fd);
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || err < 0)
		return flags < 0 ? -errno : err;
	if (writable && (flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	err = cm_os_open(path, writable, ret_fd);
	return err == -EACCES ? -EPERM : err;
}

int cm_os_file_size(int fd, uint64_t *ret_size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

uint64_t cm_os_file_home(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;
	return ((uint64_t)st.st_dev * 0x9e3779b97f4a7c15ull) ^ (uint64_t)st.st_ino;
}

int64_t cm_os_read_at(int fd, void *bytes, size_t n, uint64_t off)
{
	int64_t got;

	do
		got = syscall(SYS_pread64, fd, bytes, n, off);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

void cm_os_close(int fd)
{
	(void)syscall(SYS_close, fd);
}

int cm_os_birth_begin(struct cm_os_birth *birth, const char *path, uint32_t mode)
{
	const char *slash = strrchr(path, '/');
	size_t dirlen = slash ? (size_t)(slash - path) : 0;
	char dir[4096];
	uint64_t salt;
	int fd;

	if (strlen(path) >= sizeof birth->path)
		return -EINVAL;
	strcpy(birth->path, path);
	birth->temp[0] = '\0';
	if (!slash)
		strcpy(dir, ".");
	else if (dirlen == 0)
		strcpy(dir, "/");
	else {
		memcpy(dir, path, dirlen);
		dir[dirlen] = '\0';
	}
	/* a file without a name gets one through /proc */
	fd = access("/proc/self/fd", X_OK) < 0 ? -EOPNOTSUPP : raw_open(dir, O_TMPFILE | O_RDWR, mode);
	/* EISDIR: a kernel, EOPNOTSUPP: a file system that does not know O_TMPFILE */
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL) {
		cm_os_random(&salt, sizeof salt);
		snprintf(birth->temp, sizeof birth->temp, "%s.%016llx~", path, (unsigned long long)salt);
		fd = raw_open(birth->temp, O_CREAT | O_EXCL | O_RDWR, mode);
	}
	if (fd < 0)
		return fd;
	birth->fd = fd;
	return 0;
}

int cm_os_birth_publish(struct cm_os_birth *birth)
{
	char self[64];
	int err = 0;

	if (birth->temp[0]) {
		if (link(birth->temp, birth->path) < 0)
			err = -errno;
		unlink(birth->temp);
		return err;
	}
	snprintf(self, sizeof self, "/proc/self/fd/%d", birth->fd);
	if (linkat(AT_FDCWD, self, AT_FDCWD, birth->path, AT_SYMLINK_FOLLOW) < 0)
		err = -errno;
	return err;
}

void cm_os_birth_abandon(struct cm_os_birth *birth)
{
	if (birth->temp[0])
		unlink(birth->temp);
	cm_os_close(birth->fd);
	birth->fd = -1;
}
