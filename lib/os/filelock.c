/*
 * filelock.c - open-file-description locks (fcntl(2), Linux 3.15).
 *
 * Unlike robust futexes they say nothing about one thread, but they survive
 * nothing either: no reboot and no copying of the file leaves one behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "os/os.h"

static int set_lock(int fd, short type, uint64_t byte)
{
	struct flock lock;

	memset(&lock, 0, sizeof lock);
	lock.l_type = type;
	lock.l_whence = SEEK_SET;
	lock.l_start = (off_t)byte;
	lock.l_len = 1;
	while (syscall(SYS_fcntl, fd, F_OFD_SETLK, &lock) < 0) {
		if (errno == EACCES)
			return -EAGAIN;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int cm_os_lock_shared(int fd, uint64_t byte)
{
	return set_lock(fd, F_RDLCK, byte);
}

int cm_os_lock_exclusive(int fd, uint64_t byte)
{
	return set_lock(fd, F_WRLCK, byte);
}
