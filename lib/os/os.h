/*
 * os/os.h - the door of floor 1: the one floor that talks to the kernel.
 *
 * Functions return 0 or -errno.  None is a cancellation point: what libc makes
 * one goes through syscall(2).
 */
#ifndef CM_OS_H
#define CM_OS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/base.h"

/* ---- backing.c: the storage under a heap ------------------------------- */

struct cm_backing {
	int fd;            /* -1: an anonymous shared mapping */
	char *base;        /* where it is mapped */
	uint64_t size;     /* bytes of address space mapped, mostly past the end of the file */
	bool no_fallocate; /* the file system has none: write zeroes */
	bool no_punch;     /* nor can it punch holes */
};

/* Storage behind [off, off + len), or -ENOSPC.  What is there stays where the
 * file system has fallocate, and becomes zeroes where it has not: for ranges the
 * caller alone uses. */
int cm_os_commit(struct cm_backing *b, uint64_t off, uint64_t len);

/* The same for ranges that neighbours may be using.  zero_at: a byte in each
 * 4 KiB page that is reserved, or zero for ever: writing a zero there harms nobody. */
int cm_os_commit_shared(struct cm_backing *b, uint64_t off, uint64_t len, uint64_t zero_at);

/* Is there storage behind all of it?  Where the file system cannot tell: yes. */
bool cm_os_has_storage(const struct cm_backing *b, uint64_t off, uint64_t len);

/* Give the storage behind [off, off + len) back; reads as zeroes afterwards. */
int cm_os_punch(struct cm_backing *b, uint64_t off, uint64_t len);

/* Make the file at least size bytes long; never shorter. */
int cm_os_grow(struct cm_backing *b, uint64_t size);

/* Learn what the file system can do. */
void cm_os_probe(struct cm_backing *b);

/* What comap calls "the storage is full": a quota; of a heap, past a limit, too. */
static inline int cm_os_quota_is_enospc(int err)
{
	return err == -EDQUOT ? -ENOSPC : err;
}
int cm_os_full_is_enospc(int err);
/* fallocate(2), whatever signals come. */
int cm_os_fallocate(int fd, int mode, uint64_t off, uint64_t len);
/* Past the process's own limit (RLIMIT_FSIZE) the kernel's answer is a signal. */
bool cm_os_is_past_rlimit(uint64_t end);

/* ---- map.c: address space ------------------------------------------------ */

#define CM_OS_BASE_ALIGN (4 * CM_MIB)

/* Map b->size bytes of b->fd (or of nothing), base aligned to CM_OS_BASE_ALIGN. */
int cm_os_map(struct cm_backing *b, bool writable, bool dump);
void cm_os_unmap(struct cm_backing *b);

/* One private zeroed page that a fork child finds zeroed again; NULL when there
 * is no memory.  Where the kernel cannot do that, the fork handler must. */
void *cm_os_private_page(void);
void cm_os_private_page_drop(void *page);
/* Zeroed bytes of this process alone; NULL when there is no memory. */
void *cm_os_private_pages(uint64_t size);
void cm_os_private_pages_drop(void *pages, uint64_t size);

/* ---- advice.c: how the kernel is to treat the mapping ------------------------ */

enum cm_os_advice {
	CM_OS_NORMAL, CM_OS_SEQUENTIAL, CM_OS_RANDOM, CM_OS_WILLNEED, CM_OS_COLD, CM_OS_PAGEOUT, CM_OS_HUGE,
};
/* Of whole pages; what they hold stays.  -EINVAL: the kernel does not know it, or the pages are
 * locked. */
int cm_os_advise(void *at, uint64_t len, enum cm_os_advice what);

/* Pages of the mapping that come to memory stay there; none comes for it.  -EOPNOTSUPP: it is
 * anonymous; -ENOMEM, -EPERM: RLIMIT_MEMLOCK. */
int cm_os_pin(struct cm_backing *b);

/* Map in what has data now, as far as the kernel goes along. */
void cm_os_populate(struct cm_backing *b);

enum cm_os_place { CM_OS_INTERLEAVE, CM_OS_BIND, CM_OS_PREFER };
/* From which NUMA nodes its pages come from now on: a bit each. */
int cm_os_place(struct cm_backing *b, enum cm_os_place how, uint64_t nodes);

/* ---- file.c: how heap files are born, opened, removed ---------------------- */

extern bool cm_os_no_memfd; /* tests: pretend the kernel has no memfd */

int cm_os_memfd(int *ret_fd);                            /* -ENOSYS: there is none */
int cm_os_open(const char *path, bool writable, int *ret_fd); /* regular files only */
/* The same file through an open file description of its own.  -EPERM, -ENOENT: the
 * file is fine, but cannot be opened anew. */
int cm_os_reopen(int fd, bool writable, int *ret_fd);
int cm_os_file_size(int fd, uint64_t *ret_size);
uint64_t cm_os_file_home(int fd); /* differs between files, also between one and its copy; 0: none */
int64_t cm_os_read_at(int fd, void *bytes, size_t n, uint64_t off); /* how many, or -errno */
void cm_os_close(int fd); /* close(2), but no cancellation point */

struct cm_os_birth {
	int fd;
	char path[4096]; /* the name it will have */
	char temp[4128]; /* the name it has meanwhile; "" for none */
};
int cm_os_birth_begin(struct cm_os_birth *birth, const char *path, uint32_t mode);
int cm_os_birth_publish(struct cm_os_birth *birth); /* -EEXIST: somebody was first */
void cm_os_birth_abandon(struct cm_os_birth *birth);

/* ---- input.c: files of any kind, for views -------------------------------------- */

enum cm_os_kind {
	CM_OS_REGULAR,
	CM_OS_BLOCK,  /* a disk: mappable, and of a size that fstat does not tell */
	CM_OS_STREAM, /* a pipe, terminal, socket or other device: read to its end */
	CM_OS_FOLDER,
};
struct cm_os_stat {
	enum cm_os_kind kind;
	uint64_t size; /* CM_OS_STREAM: 0 */
	uint64_t device, inode;
	uint64_t modified_ns, changed_ns;
	uint32_t permissions;
	bool is_fifo;
};
int cm_os_stat(int fd, struct cm_os_stat *ret_stat);
int cm_os_stat_at(int dirfd, const char *path, struct cm_os_stat *ret_stat); /* follows links */

#define CM_OS_OPEN_WRITE    1u
#define CM_OS_OPEN_CREATE   2u
#define CM_OS_OPEN_EXCL     4u
#define CM_OS_OPEN_NOFOLLOW 8u
/* Any file, and never waiting for one: a FIFO opens without a writer, too.  dirfd -1: the working
 * directory.  It stays non-blocking. */
#define CM_OS_CWD (-100) /* AT_FDCWD */
int cm_os_open_any(int dirfd, const char *path, unsigned flags, uint32_t permissions, int *ret_fd);
int cm_os_dup(int fd, int *ret_fd);
int cm_os_open_here(int *ret_fd); /* the working directory, for openat and its like only */

bool cm_os_is_appending(int fd); /* O_APPEND */

/* read(2): how many, 0 at the end, -EAGAIN: nothing yet, and it is non-blocking; -errno. */
int64_t cm_os_read(int fd, void *bytes, size_t n);
int64_t cm_os_read_now(int fd, void *bytes, size_t n); /* -EAGAIN also where fd is blocking */
/* Wait until there is something to read, or its end.  0: no limit.  -ETIMEDOUT. */
int cm_os_wait_readable(int fd, uint64_t timeout_ns);
/* All n of them.  -ENOSPC: also past RLIMIT_FSIZE or a quota. */
int cm_os_write_at(int fd, const void *bytes, size_t n, uint64_t off);

enum cm_os_fs {
	CM_OS_FS_LOCAL,
	CM_OS_FS_MEMORY,  /* tmpfs, a memfd */
	CM_OS_FS_NETWORK, /* other machines, or programs, change files as they like */
	CM_OS_FS_PSEUDO,  /* /proc and its like: sizes are no sizes */
};
enum cm_os_fs cm_os_fs(int fd, uint32_t *ret_type); /* the type as statfs(2) says it, or 0 */

#define CM_OS_SEAL_SIZE 1u  /* it cannot get shorter */
#define CM_OS_SEAL_BYTES 2u /* nor can what is in it change */
unsigned cm_os_seals(int fd); /* 0: none, or no memfd */
int cm_os_seal(int fd, unsigned seals);
int cm_os_memfd_named(const char *name, int *ret_fd); /* without seals */

/* ---- filemap.c: parts of files as memory, for views -------------------------------- */

enum cm_os_access { CM_OS_LOOK, CM_OS_SHARED, CM_OS_PRIVATE };
/* Map the file's [off, off + size), off a multiple of the page; at: inside a reservation or mapping
 * of ours, which it replaces, or NULL.  is_dax: MAP_SYNC.  To look at a memfd sealed against
 * writing is possible everywhere. */
int cm_os_map_part(int fd, uint64_t off, size_t size, enum cm_os_access access, bool is_dax, void *at,
		   void **ret_at);
/* Private zeroed pages in the place of a mapping of ours; async-signal-safe. */
int cm_os_map_zeroes(void *at, size_t size, bool is_writable);
void cm_os_unmap_part(void *at, size_t size);
/* Another size, moved when it must be and may. */
int cm_os_remap(void *at, size_t size, size_t new_size, bool may_move, void **ret_at);
size_t cm_os_page_size(void);
uint64_t cm_os_memory(void); /* bytes of RAM and swap this machine has */

/* Stored bytes of a shared mapping reach the disk: all of [at, at + size), whole pages. */
int cm_os_sync_map(void *at, size_t size);
int cm_os_sync_start(int fd, uint64_t off, uint64_t size); /* begin, and wait for nothing */
int cm_os_sync_data(int fd);                               /* fdatasync(2) */
int cm_os_sync_all(int fd);                                /* fsync(2) */
int cm_os_sync_folder(int dirfd, const char *path);        /* the folder in which path lies */

/* The file ends at size, or behind; what is new has storage.  -ENOSPC; -EBADF: not open for
 * writing. */
int cm_os_extend(int fd, uint64_t size);

struct cm_os_residency {
	uint64_t pages, resident, dirty;
};
/* Of the page cache behind the file's range.  -ENOSYS: this kernel does not tell. */
int cm_os_cachestat(int fd, uint64_t off, uint64_t size, struct cm_os_residency *ret_residency);
int cm_os_mincore(const void *at, size_t size, struct cm_os_residency *ret_residency);

/* Have whole pages read in now.  -EFAULT: they are not in the file any more; -EIO; -EINVAL: the
 * kernel cannot. */
int cm_os_populate_read(void *at, size_t size);
/* Have whole pages there to be written, if the kernel can.  -ENOSPC: a file's hole, and no storage
 * for it. */
int cm_os_populate_write(void *at, size_t size);
int cm_os_lock_pages(void *at, size_t size, bool is_locked); /* mlock(2), munlock(2) */
int cm_os_forget(void *at, size_t size);                     /* MADV_DONTNEED */
/* memcpy that gives up where memory cannot be had: process_vm_readv(2) of ourselves.  -EFAULT, and
 * some may have been copied; -EPERM, -ENOSYS: a container forbids it, or the kernel lacks it. */
int cm_os_copy(void *to, const void *from, size_t n);
/* The same, where what is written to may be gone. */
int cm_os_copy_to(void *to, const void *from, size_t n);

/* ---- spot.c: where a path leads ------------------------------------------------ */

enum cm_os_spot_what {
	CM_OS_SPOT_FREE, CM_OS_SPOT_FILE, CM_OS_SPOT_LINK, CM_OS_SPOT_FOLDER, CM_OS_SPOT_OTHER,
};
struct cm_os_spot {
	int folder;                /* O_PATH */
	int old;                   /* O_PATH: the last that was seen to have the name; -1: nothing had */
	enum cm_os_spot_what what; /* has it now */
	char name[256];
	char temp[256];            /* a name of ours beside it; "" for none */
};
/* dirfd as in openat(2).  follows: links in the last part, to where the file is or would be. */
int cm_os_spot_find(int dirfd, const char *path, bool follows, struct cm_os_spot *ret_spot);
int cm_os_spot_look(struct cm_os_spot *spot); /* again */
void cm_os_spot_drop(struct cm_os_spot *spot);
/* The folder, for what follows; -1: it may be written, but not read. */
int cm_os_spot_open_folder(const struct cm_os_spot *spot, int *ret_folder);
/* The names in it reach the disk, and it is closed.  -1: all of fd's file system does. */
int cm_os_spot_sync(int folder, int fd);

/* ---- replace.c: a new file in the place of an old one ------------------------------- */

extern bool cm_os_no_tmpfile; /* tests: pretend the file system has no O_TMPFILE */

/* permissions 0: those that cm_os_replace_dress takes from the old file, or 0666 less umask. */
int cm_os_replace_begin(struct cm_os_spot *spot, uint32_t permissions, int *ret_fd);
int cm_os_replace_dress(const struct cm_os_spot *spot, int fd, uint32_t permissions);
int cm_os_replace_publish(struct cm_os_spot *spot, int fd, bool is_exclusive); /* -EEXIST: exclusive */
void cm_os_replace_abandon(struct cm_os_spot *spot, int fd); /* closes fd */

/* ---- extend.c: files that get longer ---------------------------------------------- */

/* Storage behind [off, off + size); keeps_size: the file is as long as before.  -ENOSPC: also past
 * RLIMIT_FSIZE or a quota, and then some may be there; -EOPNOTSUPP, -ENOSYS: the file system
 * cannot. */
int cm_os_allocate(int fd, uint64_t off, uint64_t size, bool keeps_size);
/* The file that has the name, or a new one, to write behind its end.  permissions: of a new one; 0:
 * 0666 less umask. */
int cm_os_open_append(const struct cm_os_spot *spot, uint32_t permissions, int *ret_fd,
		      bool *ret_is_made);
/* All n of them behind the end, wherever it is; *put grows by what was written, also when it
 * fails. */
int cm_os_append(int fd, const void *bytes, size_t n, uint64_t *put);
int64_t cm_os_position(int fd);       /* after cm_os_append: behind the last byte it wrote */
/* From one file to another, in the kernel; fewer bytes where it likes, 0: `from` ends there.
 * -EOPNOTSUPP: not between these two.  -ENOSPC as above. */
int64_t cm_os_copy_range(int from, uint64_t off, int to, uint64_t to_off, uint64_t n);
int cm_os_cut(int fd, uint64_t size); /* ftruncate(2): storage behind size goes, too */
int cm_os_flush_close(int fd);        /* what close(2) would say: NFS writes back then; fd stays open */

/* ---- crew.c: threads that help for the time of a call -------------------------- */

unsigned cm_os_processors(void); /* that this process may use: 1 at least */

struct cm_os_crew {
	void *threads;
	unsigned n; /* how many there are */
	int cancel_state;
};
/* fn(arg) in up to n threads: fewer, or none, when the system refuses.  To be joined by the caller,
 * who cannot be cancelled until then. */
void cm_os_crew_start(struct cm_os_crew *crew, unsigned n, void *(*fn)(void *arg), void *arg);
void cm_os_crew_join(struct cm_os_crew *crew);

/* ---- filelock.c: who has the file open ------------------------------------- */

/* Open-file-description locks on one byte: they live as long as the open file
 * (and so its mappings) do, and end with the process.  Never waits: -EAGAIN. */
int cm_os_lock_shared(int fd, uint64_t byte);
int cm_os_lock_exclusive(int fd, uint64_t byte);

/* ---- futex.c, clock.c ------------------------------------------------------ */

void cm_os_futex_wait(cm_half *word, uint32_t expected, uint64_t timeout_ns);
void cm_os_futex_wake(cm_half *word, int n);
uint64_t cm_os_now_ns(void);      /* monotonic */
uint64_t cm_os_coarse_ns(void);   /* the same, as of the last tick: a few ns to read */
uint64_t cm_os_wall_ns(void);     /* since the epoch */
void cm_os_sleep_ns(uint64_t ns); /* at most */

/* ---- proc.c: who we are, who is gone --------------------------------------- */

int32_t cm_os_tgid(void);
int32_t cm_os_tid(void);
void cm_os_thread_name(char name[16]);
uint64_t cm_os_pid_namespace(void); /* its inode number; 0: unknown */
bool cm_os_thread_is_gone(int32_t tgid, int32_t tid);
void cm_os_random(void *bytes, size_t n);

/* The kernel's robust list of this thread, NULL when it has none. */
void *cm_os_robust_head(void);
int cm_os_set_robust_head(void *head, size_t len);

#endif
