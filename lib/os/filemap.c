/*
 * filemap.c - parts of files as memory, and what may be asked of it.
 *
 * Nothing here knows what a view is.  Ranges are whole pages; what replaces a
 * mapping (MAP_FIXED) replaces one of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>
#include "os/os.h"

#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03 /* Linux 4.15 */
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5, the same on every architecture */
#endif

size_t cm_os_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t cm_os_memory(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0 ? UINT64_MAX : ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

int cm_os_map_part(int fd, uint64_t off, size_t size, enum cm_os_access access, bool is_dax, void *at,
		   void **ret_at)
{
	int prot = PROT_READ | (access == CM_OS_LOOK ? 0 : PROT_WRITE);
	int flags = access == CM_OS_PRIVATE ? MAP_PRIVATE | MAP_NORESERVE
		    : is_dax                ? MAP_SHARED_VALIDATE | MAP_SYNC
					    : MAP_SHARED;
	void *got = mmap(at, size, prot, flags | (at ? MAP_FIXED : 0), fd, (off_t)off);

	if (got == MAP_FAILED && errno == EPERM && access == CM_OS_LOOK)
		/* before Linux 6.7 a memfd sealed against writing takes no shared mapping; its
		 * bytes do not change, so a private one shows the same */
		got = mmap(at, size, prot, MAP_PRIVATE | (at ? MAP_FIXED : 0), fd, (off_t)off);
	if (got == MAP_FAILED)
		return -errno;
	*ret_at = got;
	return 0;
}

int cm_os_map_zeroes(void *at, size_t size, bool is_writable)
{
	int prot = PROT_READ | (is_writable ? PROT_WRITE : 0);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	return mmap(at, size, prot, flags, -1, 0) == MAP_FAILED ? -errno : 0;
}

void cm_os_unmap_part(void *at, size_t size)
{
	static const size_t huge[] = { 2 * CM_MIB, 32 * CM_MIB, CM_GIB };
	uintptr_t begin = (uintptr_t)at;
	int saved = errno;
	bool is_gone = munmap(at, size) == 0;

	/* Of hugetlbfs: it goes by its own pages only.  They are no part of other mappings, so
	 * rounding up takes nothing else along. */
	for (unsigned i = 0; !is_gone && errno == EINVAL && i < sizeof huge / sizeof *huge; i++)
		is_gone = begin % huge[i] == 0 && munmap(at, cm_round_up(size, huge[i])) == 0;
	errno = saved;
}

int cm_os_remap(void *at, size_t size, size_t new_size, bool may_move, void **ret_at)
{
	void *got = mremap(at, size, new_size, may_move ? MREMAP_MAYMOVE : 0);

	if (got == MAP_FAILED)
		return -errno;
	*ret_at = got;
	return 0;
}

int cm_os_sync_map(void *at, size_t size)
{
	/* raw: msync(3) is a cancellation point, as those below are */
	return syscall(SYS_msync, at, size, MS_SYNC) < 0 ? -errno : 0;
}

int cm_os_sync_start(int fd, uint64_t off, uint64_t size)
{
	return syscall(SYS_sync_file_range, fd, off, size, SYNC_FILE_RANGE_WRITE) < 0 ? -errno : 0;
}

int cm_os_sync_data(int fd)
{
	return syscall(SYS_fdatasync, fd) < 0 ? -errno : 0;
}

int cm_os_sync_all(int fd)
{
	return syscall(SYS_fsync, fd) < 0 ? -errno : 0;
}

int cm_os_sync_folder(int dirfd, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;
	char dir[4096];
	int fd, err;

	if (n >= sizeof dir)
		return -ENAMETOOLONG;
	memcpy(dir, path, n);
	strcpy(dir + n, !slash ? "." : n == 0 ? "/" : "");
	fd = (int)syscall(SYS_openat, dirfd < 0 ? AT_FDCWD : dirfd, dir,
			  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = cm_os_sync_all(fd);
	cm_os_close(fd);
	/* some file systems know no such thing, and need none */
	return err == -EINVAL ? 0 : err;
}

int cm_os_extend(int fd, uint64_t size)
{
	struct cm_backing file = { .fd = fd };
	uint64_t had, now;
	int err = cm_os_file_size(fd, &had);

	if (err < 0 || size <= had)
		return err;
	/* never ftruncate: who made it longer still since would be cut short by us */
	err = cm_os_allocate(fd, had, size - had, false);
	if (err == -EOPNOTSUPP || err == -ENOSYS) {
		file.no_fallocate = true;
		err = cm_os_commit(&file, had, size - had); /* writes zeroes */
	}
	if (err < 0 && cm_os_file_size(fd, &now) == 0 && now > had && now <= size)
		(void)cm_os_cut(fd, had); /* as it was */
	return err == -EFBIG ? -ENOSPC : err;
}

int cm_os_cachestat(int fd, uint64_t off, uint64_t size, struct cm_os_residency *ret_residency)
{
	struct {
		uint64_t off, len;
	} range = { off, size };
	struct {
		uint64_t cache, dirty, writeback, evicted, recently_evicted;
	} got;

	if (syscall(SYS_cachestat, fd, &range, &got, 0) < 0)
		return -errno;
	*ret_residency = (struct cm_os_residency){
		.pages = cm_div_up(off % cm_os_page_size() + size, cm_os_page_size()),
		.resident = got.cache,
		.dirty = got.dirty,
	};
	return 0;
}

int cm_os_mincore(const void *at, size_t size, struct cm_os_residency *ret_residency)
{
	unsigned char in[4096];
	size_t page = cm_os_page_size(), n;
	char *from = (char *)(uintptr_t)at;

	*ret_residency = (struct cm_os_residency){ .pages = cm_div_up(size, page) };
	for (; size; from += n, size -= n) {
		n = cm_min(size, sizeof in * page);
		if (mincore(from, n, in) < 0)
			return -errno;
		for (size_t i = 0; i < cm_div_up(n, page); i++)
			ret_residency->resident += in[i] & 1;
	}
	return 0;
}

int cm_os_populate_read(void *at, size_t size)
{
	while (madvise(at, size, MADV_POPULATE_READ) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	return 0;
}

int cm_os_lock_pages(void *at, size_t size, bool is_locked)
{
	return (is_locked ? mlock(at, size) : munlock(at, size)) < 0 ? -errno : 0;
}

int cm_os_forget(void *at, size_t size)
{
	return madvise(at, size, MADV_DONTNEED) < 0 ? -errno : 0;
}

static int copy(void *to, const void *from, size_t n, bool is_remote_to)
{
	char *at = to, *src = (char *)(uintptr_t)from;
	struct iovec a, b;
	long got;

	for (; n; at += got, src += got, n -= (size_t)got) {
		a = (struct iovec){ at, cm_min(n, CM_GIB) };
		b = (struct iovec){ src, cm_min(n, CM_GIB) };
		got = is_remote_to ? syscall(SYS_process_vm_writev, cm_os_tgid(), &b, 1ul, &a, 1ul, 0ul)
				   : syscall(SYS_process_vm_readv, cm_os_tgid(), &a, 1ul, &b, 1ul, 0ul);
		/* a short copy ends at the page that it could not have; the next one says why */
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EFAULT;
	}
	return 0;
}

int cm_os_copy(void *to, const void *from, size_t n)
{
	return copy(to, from, n, false);
}

int cm_os_copy_to(void *to, const void *from, size_t n)
{
	return copy(to, from, n, true);
}
