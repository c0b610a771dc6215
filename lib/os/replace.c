/*
 * replace.c - a new file in the place of an old one, in one step.
 *
 * The new file has no name while it is written (O_TMPFILE), so one that dies leaves
 * nothing.  Linux cannot link a nameless file over an existing name; it gets a name
 * beside it, NAME.<16 digits>~, for the moment until rename(2), and where the old name is
 * free it is linked to that at once.  File systems without O_TMPFILE, and a process
 * without /proc, use such a name from the start.
 *
 * The new file looks like the old: its owner, as far as we may give files away, its
 * permissions, and its access control list, whose mask stat(2) shows as the permissions
 * of the group: without the list they would say something else.  What a group or an
 * owner was trusted with is not passed on to another: set-id bits go, and the group's
 * permissions shrink to those of everybody.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "os/os.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1u
#endif
#define ACL "system.posix_acl_access"

bool cm_os_no_tmpfile;

static int raw_open(int at, const char *path, int flags, uint32_t mode)
{
	long fd;

	do
		fd = syscall(SYS_openat, at, path, flags | O_CLOEXEC | O_LARGEFILE, mode);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : (int)fd;
}

struct self_path {
	char text[32];
};

static struct self_path self_path(int fd)
{
	struct self_path path;

	snprintf(path.text, sizeof path.text, "/proc/self/fd/%d", fd);
	return path;
}

/* A name of ours beside it. */
static void choose_temp(struct cm_os_spot *spot)
{
	unsigned long long salt;

	cm_os_random(&salt, sizeof salt);
	/* the longest name leaves no room for the digits */
	snprintf(spot->temp, sizeof spot->temp, "%.237s.%016llx~", spot->name, salt);
}

/* Exactly these, whatever umask took away. */
static int set_permissions(int fd, uint32_t permissions)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	/* FAT and its like refuse to be told what they have already */
	if ((st.st_mode & 07777) == permissions || fchmod(fd, permissions) == 0)
		return 0;
	return -errno;
}

int cm_os_replace_begin(struct cm_os_spot *spot, uint32_t permissions, int *ret_fd)
{
	/* what the old file was to keep from others, the new one keeps from the start */
	uint32_t mode = permissions ? permissions & 0777 : spot->what == CM_OS_SPOT_FILE ? 0600 : 0666;
	int fd = -EOPNOTSUPP, err;

	spot->temp[0] = '\0';
	if (!cm_os_no_tmpfile && access("/proc/self/fd", X_OK) == 0)
		fd = raw_open(spot->folder, ".", O_TMPFILE | O_RDWR, mode);
	/* EISDIR: a kernel, EOPNOTSUPP: a file system that does not know O_TMPFILE */
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL) {
		choose_temp(spot);
		fd = raw_open(spot->folder, spot->temp, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, mode);
	}
	if (fd < 0) {
		spot->temp[0] = '\0';
		return fd;
	}
	err = permissions ? set_permissions(fd, permissions) : 0;
	if (err < 0)
		cm_os_replace_abandon(spot, fd);
	else
		*ret_fd = fd;
	return err;
}

/* The owner of old, or at least its group, if we may. */
static void copy_owner(int fd, const struct stat *old)
{
	if (fchown(fd, old->st_uid, old->st_gid) < 0 && fchown(fd, (uid_t)-1, old->st_gid) < 0)
		return; /* few may */
}

/* Its access control list, or none.  Returns whether fd says now what old says. */
static bool copy_list(int fd, int old)
{
	char list[4096];
	ssize_t n = getxattr(self_path(old).text, ACL, list, sizeof list);
	bool is_unknown = n < 0 && errno != ENODATA && errno != EOPNOTSUPP; /* too long, or no /proc */

	if (n > 0)
		return fsetxattr(fd, ACL, list, (size_t)n, 0) == 0;
	/* the folder may have given it one */
	(void)fremovexattr(fd, ACL);
	return !is_unknown;
}

int cm_os_replace_dress(const struct cm_os_spot *spot, int fd, uint32_t permissions)
{
	struct stat old, now;
	uint32_t mode;

	if (spot->old < 0)
		return permissions ? set_permissions(fd, permissions) : 0;
	if (fstat(spot->old, &old) < 0 || fstat(fd, &now) < 0)
		return -errno;
	if (!S_ISREG(old.st_mode))
		return permissions ? set_permissions(fd, permissions) : 0;
	if (now.st_uid != old.st_uid || now.st_gid != old.st_gid)
		copy_owner(fd, &old);
	if (permissions) /* again: a change of the owner takes set-id bits away */
		return set_permissions(fd, permissions);
	if (fstat(fd, &now) < 0)
		return -errno;
	mode = old.st_mode & 07777;
	if (now.st_uid != old.st_uid)
		mode &= ~(uint32_t)S_ISUID;
	if (now.st_gid != old.st_gid) {
		mode &= ~(uint32_t)S_ISGID & ~(uint32_t)070;
		mode |= (mode & 07) << 3 & (old.st_mode & 070);
		(void)fremovexattr(fd, ACL); /* nor the list that the folder may have given it */
	} else if (!copy_list(fd, spot->old))
		mode &= ~(uint32_t)070;
	return set_permissions(fd, mode);
}

static int link_self(const struct cm_os_spot *spot, int fd, const char *name)
{
	const struct self_path self = self_path(fd);

	if (linkat(AT_FDCWD, self.text, spot->folder, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	/* /proc is gone since: without it the kernel lets few do this, but root */
	if (errno == ENOENT && linkat(fd, "", spot->folder, name, AT_EMPTY_PATH) == 0)
		return 0;
	return -errno;
}

/* From the temporary name to a free one. */
static int move_exclusive(struct cm_os_spot *spot)
{
	long err = syscall(SYS_renameat2, spot->folder, spot->temp, spot->folder, spot->name,
			   RENAME_NOREPLACE);

	if (err == 0 || (errno != EINVAL && errno != ENOSYS))
		return err < 0 ? -errno : 0;
	if (linkat(spot->folder, spot->temp, spot->folder, spot->name, 0) < 0)
		return -errno;
	(void)unlinkat(spot->folder, spot->temp, 0);
	return 0;
}

int cm_os_replace_publish(struct cm_os_spot *spot, int fd, bool is_exclusive)
{
	int err = -EEXIST;

	if (!spot->temp[0]) {
		if (is_exclusive || spot->what == CM_OS_SPOT_FREE)
			err = link_self(spot, fd, spot->name);
		if (err != -EEXIST || is_exclusive)
			return err;
		choose_temp(spot);
		err = link_self(spot, fd, spot->temp);
		if (err < 0) {
			spot->temp[0] = '\0';
			return err;
		}
	}
	if (is_exclusive)
		err = move_exclusive(spot);
	else
		err = renameat(spot->folder, spot->temp, spot->folder, spot->name) < 0 ? -errno : 0;
	if (err == 0)
		spot->temp[0] = '\0';
	return err;
}

void cm_os_replace_abandon(struct cm_os_spot *spot, int fd)
{
	int saved = errno;

	if (spot->temp[0])
		(void)unlinkat(spot->folder, spot->temp, 0);
	spot->temp[0] = '\0';
	cm_os_close(fd);
	errno = saved;
}
