/*
 * spot.c - where a path leads: a name in a folder, and what bears it now.
 *
 * Whoever replaces a file needs the folder in which its name stands, and must find
 * it again when the name is given, whatever the caller did to its working directory
 * or its dirfd meanwhile.  So the folder is opened (O_PATH: search permission is all
 * it takes), and the last part of the path is kept as text.
 *
 * rename(2) replaces a symbolic link, not the file it leads to, so links are
 * followed here by hand, one at a time.  The kernel's own rule, that a link in a
 * folder like /tmp is followed only when it is ours or the folder owner's
 * (fs.protected_symlinks), does not see that: it is repeated here.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "os/os.h"

#define LINKS_MOST 40 /* as the kernel */

static_assert(CM_OS_CWD == AT_FDCWD, "the working directory has another number");

static int open_path(int at, const char *path, int flags)
{
	long fd;

	do
		fd = syscall(SYS_openat, at, path, O_PATH | O_CLOEXEC | flags, 0);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : (int)fd;
}

static void drop(int *fd)
{
	if (*fd >= 0)
		cm_os_close(*fd);
	*fd = -1;
}

int cm_os_spot_look(struct cm_os_spot *spot)
{
	struct stat st;
	int fd, err;

	fd = open_path(spot->folder, spot->name, O_NOFOLLOW);
	if ((fd == -EMFILE || fd == -ENFILE) && spot->old >= 0) {
		drop(&spot->old); /* to finish needs no more descriptors than to begin */
		fd = open_path(spot->folder, spot->name, O_NOFOLLOW);
	}
	if (fd < 0) {
		spot->what = CM_OS_SPOT_FREE;
		return fd == -ENOENT ? 0 : fd;
	}
	if (fstat(fd, &st) < 0) {
		err = -errno;
		cm_os_close(fd);
		return err;
	}
	spot->what = S_ISREG(st.st_mode)   ? CM_OS_SPOT_FILE
		     : S_ISLNK(st.st_mode) ? CM_OS_SPOT_LINK
		     : S_ISDIR(st.st_mode) ? CM_OS_SPOT_FOLDER
					   : CM_OS_SPOT_OTHER;
	drop(&spot->old);
	spot->old = fd;
	return 0;
}

/* Open the folder of path, and keep its last part. */
static int enter(struct cm_os_spot *spot, int at, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = (size_t)(name - path);
	char dir[4096];
	int fd;

	if (!*path)
		return -ENOENT;
	if (strlen(path) >= sizeof dir || strlen(name) >= sizeof spot->name)
		return -ENAMETOOLONG;
	memcpy(dir, path, n);
	strcpy(dir + n, n ? "" : ".");
	fd = open_path(at, dir, O_DIRECTORY);
	if (fd < 0)
		return fd;
	drop(&spot->folder);
	spot->folder = fd;
	strcpy(spot->name, name);
	return !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? -EISDIR : 0;
}

/* The text of the link that bears the name, if it may be followed. */
static int follow(const struct cm_os_spot *spot, char text[4096])
{
	struct stat link, folder;
	uint32_t fs_type;
	ssize_t n;

	text[0] = '\0';
	if (fstat(spot->old, &link) < 0 || fstat(spot->folder, &folder) < 0)
		return -errno;
	if ((folder.st_mode & (S_ISVTX | S_IWOTH)) == (S_ISVTX | S_IWOTH) && link.st_uid != geteuid() &&
	    link.st_uid != folder.st_uid)
		return -EACCES;
	/* /proc/self/fd/1: it leads to an open file, not to a name */
	if (cm_os_fs(spot->old, &fs_type) == CM_OS_FS_PSEUDO)
		return -ENODEV;
	n = readlinkat(spot->old, "", text, 4096);
	if (n < 0)
		return -errno;
	if (n == 4096)
		return -ENAMETOOLONG;
	text[n] = '\0';
	return 0;
}

int cm_os_spot_find(int dirfd, const char *path, bool follows, struct cm_os_spot *ret_spot)
{
	struct cm_os_spot spot = { .folder = -1, .old = -1 };
	char text[4096];
	int err = enter(&spot, dirfd, path);

	for (int links = 0; err == 0; links++) {
		err = cm_os_spot_look(&spot);
		if (err < 0 || spot.what != CM_OS_SPOT_LINK || !follows)
			break;
		err = links < LINKS_MOST ? follow(&spot, text) : -ELOOP;
		drop(&spot.old);
		if (err == 0)
			err = enter(&spot, spot.folder, text);
	}
	if (err < 0)
		cm_os_spot_drop(&spot);
	else
		*ret_spot = spot;
	return err;
}

int cm_os_spot_open_folder(const struct cm_os_spot *spot, int *ret_folder)
{
	long fd;

	do
		fd = syscall(SYS_openat, spot->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	while (fd < 0 && errno == EINTR);
	*ret_folder = (int)fd;
	return fd < 0 && errno != EACCES && errno != EPERM ? -errno : 0;
}

int cm_os_spot_sync(int folder, int fd)
{
	int err;

	if (folder < 0)
		return syscall(SYS_syncfs, fd) < 0 ? -errno : 0;
	err = cm_os_sync_all(folder);
	cm_os_close(folder);
	/* some file systems know no such thing, and need none */
	return err == -EINVAL ? 0 : err;
}

void cm_os_spot_drop(struct cm_os_spot *spot)
{
	drop(&spot->folder);
	drop(&spot->old);
}
