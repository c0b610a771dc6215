/*
 * heap.h - a malloc that several processes share and kill -9 cannot break.
 *
 * Caveats, early and plain:
 *
 *  - Every process that maps a heap writable can scribble over it, as with any
 *    shared memory.  comap repairs what a death leaves, not what a stray
 *    pointer writes.  Readers can attach with COMAP_HEAP_READONLY.
 *  - Store refs (ref.h) in the heap, never addresses.
 *  - A process killed inside plain malloc or free may leak the one block it was
 *    getting or giving.  comap_heap_malloc_to and comap_heap_free_from leak none.
 *  - After a death, do not act on a cell the dead might have been publishing or clearing
 *    until it is reaped: comap_mutex reaps before it grants; other protocols
 *    call comap_heap_reap() first.
 *  - A process is dead when the kernel says so.  One that dumps core is dead
 *    when the dump ends, so heaps are left out of core dumps unless asked.
 *  - A stopped process (SIGSTOP, a debugger, the cgroup freezer) is alive.  If
 *    it was stopped in the microsecond it held one of the heap's locks, others
 *    that need that lock wait for it.
 *  - A file heap survives the death of every process.  It does not survive a
 *    power loss by itself: the kernel writes dirty pages in any order.
 *  - On copy-on-write and network file systems a full disk can still raise
 *    SIGBUS: they do not keep fallocate's promise.
 *  - A memory cgroup is no full disk: when a heap in a memfd or tmpfs passes the
 *    cgroup's limit, the kernel kills a process of it (OOM) where a full storage
 *    would be ENOSPC.  Set the quota below the limit.
 *
 * Threads and processes: every call may be made by any number of threads and
 * processes at once, except where it says otherwise.
 *
 * Signal handlers: a call made from a handler that interrupted comap in the
 * same thread fails with EDEADLK (free then leaks the block); anywhere else it
 * works.  comap_heap_open*, close and detach are not for handlers.
 *
 * Cancellation: no call here is a cancellation point.  Asynchronous
 * cancellation (PTHREAD_CANCEL_ASYNCHRONOUS) inside a call is the death of a
 * thread in the midst of it: the heap stays whole, the block in flight may leak.
 *
 * fork: the child goes on with the same handles, and is another party to the
 * heap at once.  vfork and posix_spawn are fine.  exec leaves the heap.  A child
 * forked by a signal handler that interrupted comap must exec or _exit, not return.
 */
#ifndef COMAP_HEAP_H
#define COMAP_HEAP_H

#include <stddef.h>
#include <stdint.h>
#include <comap/ref.h>
#include <comap/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- opening ---------------------------------------------------------- */

#define COMAP_HEAP_CREATE   1u /* make it when it is not there */
#define COMAP_HEAP_EXCL     2u /* with CREATE: fail with EEXIST when it is there */
#define COMAP_HEAP_READONLY 4u /* map it read-only: look, follow refs, walk; no slot is taken */
#define COMAP_HEAP_DUMP     8u /* include it in this process's core dumps */
#define COMAP_HEAP_LEAN    16u /* threads of this handle take no blocks in advance: slower, and no
				* more storage than what is live */

/* These are about this process's mapping, not about the heap: others choose for themselves.
 * Children made by fork go on with the mapping as it is, but for LOCK: locks are not inherited. */
#define COMAP_HEAP_HUGE     32u /* blocks in huge pages where the kernel will; only advice, never
				 * an error.  A huge page is 2 MiB of storage whatever is live in it,
				 * more than the quota and the stats know of.  memfd and tmpfs: see
				 * /sys/kernel/mm/transparent_hugepage/shmem_enabled */
#define COMAP_HEAP_POPULATE 64u /* map in all that holds data while opening: longer to open, no
				 * faults later.  Takes no storage.  What the kernel refuses comes
				 * with its first use */
#define COMAP_HEAP_LOCK    128u /* what comes to memory stays there (mlock(2)), by itself it brings
				 * nothing and takes no storage.  The whole ceiling counts against
				 * RLIMIT_MEMLOCK, so set max_size */

/* Where pages come from that blocks will need, by NUMA node.  A heap in a memfd or tmpfs keeps the
 * policy, for everybody, and the last who sets one prevails.  To a file on disk it does nothing:
 * there the policy of the thread decides that first touches the page. */
#define COMAP_NUMA_DEFAULT    0u /* leave it: the policy the heap has, else that of the thread */
#define COMAP_NUMA_INTERLEAVE 1u /* the nodes by turns */
#define COMAP_NUMA_BIND       2u /* these nodes only: when they are full, the OOM killer comes */
#define COMAP_NUMA_PREFER     3u /* these first, then any; more than one node: Linux 5.15 */

struct comap_heap_opts {
	uint32_t size;       /* sizeof this struct; COMAP_HEAP_OPTS_INIT fills it */
	uint32_t flags;      /* COMAP_HEAP_* */
	uint32_t mode;       /* permission bits of a new file; 0 means 0600; umask applies */
	uint32_t slots;      /* new heap: most threads attached at once; 0: by ceiling, at most 4096 */
	uint64_t max_size;   /* new heap: the ceiling in bytes, its own tables included; it is address
			      * space, not memory.  0: 1 TiB, or less where the kernel grants less */
	uint64_t quota;      /* new heap: most bytes of storage it may hold; 0: no limit */
	uint64_t dirty_max;  /* new heap: at most so many free bytes are kept for reuse before they go
			      * back to the system; or fewer, since segments of 4 MiB go back whole;
			      * 0: 64 MiB */
	uint64_t timeout_ns; /* how long to wait for a neighbour that is repairing the heap;
			      * 0: 10 seconds */
	uint32_t numa;       /* COMAP_NUMA_*; not for READONLY */
	uint32_t reserved;   /* 0 */
	uint64_t numa_nodes; /* bit n: node n; empty with COMAP_NUMA_DEFAULT, and only then */
};

#ifdef __cplusplus
#define COMAP_HEAP_OPTS_INIT {sizeof(struct comap_heap_opts), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#else
#define COMAP_HEAP_OPTS_INIT {.size = sizeof(struct comap_heap_opts)}
#endif

/*
 * Open the heap called name: a path, or, when it has no slash, a file of that
 * name in /dev/shm.  opts may be NULL: attach to what exists, read and write.
 * The new handle is yours; close it with comap_heap_close.
 *
 * Two processes that race with COMAP_HEAP_CREATE: one creates, both attach.  A
 * creator that dies half-way leaves no file that opens.  A heap that everybody
 * left without closing (a reboot, a copied file) is repaired here, by the first
 * to come.
 *
 * Returns 0, or:
 *   -EINVAL           name empty or too long, opts.size not set, unknown flag, EXCL
 *                     without CREATE, READONLY with CREATE, more than permission bits,
 *                     max_size below 8 MiB or above 64 TiB, slots above 65535, or too
 *                     many for max_size; numa: no such policy, no nodes with it or nodes
 *                     without it, nodes this machine has not, or READONLY
 *   -E2BIG            opts is of a newer comap and sets a field unknown here
 *   -ENOENT           no such heap, and no COMAP_HEAP_CREATE
 *   -EEXIST           it exists, and COMAP_HEAP_EXCL
 *   -EACCES, -EPERM, -EROFS   no permission; EPERM with LOCK: RLIMIT_MEMLOCK is 0; with
 *                     numa: a container that forbids mbind(2)
 *   -EISDIR, -ENODEV  it is a directory; it is no regular file
 *   -ENOTUNIQ         it is a regular file, but no comap heap (magic number)
 *   -ENODATA          it is a comap heap cut short
 *   -EPROTOTYPE       made by a machine of the other byte order, or another word size or page size
 *   -EPROTONOSUPPORT  made by a newer comap, or by a libc whose mutex is laid out
 *                     otherwise, while its users are attached
 *   -EUCLEAN          its header or its recovery records are damaged
 *   -EBUSY            a neighbour was repairing it for longer than timeout_ns
 *   -ENOMEM           the kernel refused a mapping of max_size (see ulimit -v); LOCK:
 *                     RLIMIT_MEMLOCK is below max_size (see ulimit -l)
 *   -ENOSYS           numa: this kernel has no NUMA policies; LOCK: it is older than 4.4
 *   -EOPNOTSUPP       LOCK, a heap without a name, and no memfd
 *   -ENOSPC           the storage is full, or RLIMIT_FSIZE too low
 *   -EMFILE           64 heaps are open in this process, or as open(2)
 *   -ENOTDIR, -ELOOP, -ENFILE, -EIO and others   as open(2)
 * A file that is refused is left as it was.  comap_heap_open_reason() says more.
 */
COMAP_API int comap_heap_open(const char *name, const struct comap_heap_opts *opts,
			      comap_heap **ret_heap);

/*
 * A new heap without a name: a memfd (an anonymous shared mapping where there
 * is no memfd).  Shared with children made by fork; with anybody else by
 * passing comap_heap_fd() over a UNIX socket.  It is gone with its last user.
 * Errors: as above, those of creation.
 */
COMAP_API int comap_heap_open_anon(const struct comap_heap_opts *opts, comap_heap **ret_heap);

/*
 * Attach to the heap behind fd: a memfd received from a neighbour, or an open
 * file.  fd stays yours; it must be open for writing unless COMAP_HEAP_READONLY.
 * COMAP_HEAP_CREATE is -EINVAL here.  Errors: as comap_heap_open, and -EBADF.
 */
COMAP_API int comap_heap_open_fd(int fd, const struct comap_heap_opts *opts,
				 comap_heap **ret_heap);

/* Why the last open of this thread failed, in a few words; a static string, ""
 * when it did not. */
COMAP_API const char *comap_heap_open_reason(void);

/*
 * Leave the heap: this process's handle, the calling thread's slot.  Blocks stay
 * as they are.  The mapping goes when the last other thread that used the handle
 * ends or calls comap_heap_detach.  No thread may use the handle afterwards.
 * NULL is fine; errno is kept.
 */
COMAP_API void comap_heap_close(comap_heap *heap);

/* The calling thread gives back its slot; it takes another at its next call.
 * For threads that go idle for long.  Thread exit does the same by itself. */
COMAP_API void comap_heap_detach(comap_heap *heap);

/* Remove the name.  Those attached go on; the memory is freed with the last of
 * them.  Returns 0 or the error of unlink(2). */
COMAP_API int comap_heap_unlink(const char *name);

/* The file descriptor of the heap, to pass to a neighbour; it stays the heap's:
 * dup it to keep it.  -1 for a heap without one. */
COMAP_API int comap_heap_fd(const comap_heap *heap);

/* ---- the malloc family ------------------------------------------------ */

/*
 * As malloc(3), calloc(3), realloc(3), reallocarray(3), free(3), and so on,
 * glibc's reading of them: malloc(0) is a unique pointer, realloc(p, 0) frees p
 * and returns NULL, sizes above PTRDIFF_MAX fail.  16-byte alignment at least;
 * a power of two up to 64 KiB is aligned to itself.
 *
 * NULL with errno:
 *   ENOMEM   the ceiling or the quota is reached, or the size is impossible
 *   ENOSPC   the storage under the heap is full; the heap is whole, and goes on
 *            when there is space again
 *   EINVAL   alignment no power of two, or above 4 MiB; realloc: ptr is no block
 *            (reported as free would)
 *   EROFS    the heap is attached read-only
 *   EDEADLK  called from a signal handler that interrupted comap
 *   EUCLEAN  the heap's tables are damaged
 *
 * free keeps errno and cannot fail: a pointer that is not a live block of this
 * heap is reported (see comap_heap_on_misuse) and ignored.
 *
 * After a death: at most the one block in flight is lost.  A ref you keep to what
 * you were freeing, or moving with realloc, may then refer to nothing.
 */
COMAP_API void *comap_heap_malloc(comap_heap *heap, size_t size);
COMAP_API void *comap_heap_calloc(comap_heap *heap, size_t count, size_t size);
COMAP_API void *comap_heap_realloc(comap_heap *heap, void *ptr, size_t size);
COMAP_API void *comap_heap_reallocarray(comap_heap *heap, void *ptr, size_t count, size_t size);
COMAP_API void comap_heap_free(comap_heap *heap, void *ptr);
COMAP_API void *comap_heap_aligned_alloc(comap_heap *heap, size_t align, size_t size);
COMAP_API void *comap_heap_memalign(comap_heap *heap, size_t align, size_t size);
/* 0, or one of these errors, positive, as posix_memalign(3); errno is kept. */
COMAP_API int comap_heap_posix_memalign(comap_heap *heap, void **ret_ptr, size_t align, size_t size);
/* How many bytes of the block you may use: at least what you asked for. */
COMAP_API size_t comap_heap_usable_size(comap_heap *heap, const void *ptr);
COMAP_API char *comap_heap_strdup(comap_heap *heap, const char *text);
COMAP_API char *comap_heap_strndup(comap_heap *heap, const char *text, size_t max);

/*
 * Allocate and link: *dst, a cell in this heap, becomes the ref of a new block,
 * both or neither, whoever dies.  Until the call returns only the caller may
 * change *dst: a field of a node nobody sees yet, or a word under your lock.
 * What *dst held before is overwritten, not freed.
 * Returns the block, or NULL with errno as malloc; EINVAL when dst lies outside
 * the heap's blocks or is not 8-byte aligned.
 */
COMAP_API void *comap_heap_malloc_to(comap_heap *heap, size_t size, comap_ref *dst);

/*
 * Free and unlink: the block *src refers to is freed and *src becomes null, both
 * or neither, whoever dies.  A null *src is fine.  Misuse (src outside the heap,
 * *src no block) is reported and ignored, *src stays.  errno is kept.
 */
COMAP_API void comap_heap_free_from(comap_heap *heap, comap_ref *src);

/* ---- who died --------------------------------------------------------- */

/*
 * Finish what dead neighbours began and give back what they held.  This happens by
 * itself, sooner or later: newcomers, comap_mutex and comap_root_once reap, and every
 * 64th call that does not find what it needs in a magazine looks at one neighbour;
 * who takes a lock from the dead finishes what was changed under it.  Call it when
 * you learn of a death (SIGCHLD) and your protocol has cells the dead may have been
 * publishing.  Returns how many slots of dead threads the calling thread reaped, those
 * among them that it met in passing since it called this last; or -EROFS or -EDEADLK.
 * Time: what the dead held, never the size of the heap.
 */
COMAP_API int comap_heap_reap(comap_heap *heap);

/* ---- memory goes back -------------------------------------------------- */

/* Give every free page back to the system now.  Returns 0, -EROFS, -EDEADLK, or the
 * error of the first hole punch that failed (-EOPNOTSUPP: this storage cannot). */
COMAP_API int comap_heap_trim(comap_heap *heap);

/* Change the quota in bytes, for everybody; 0: no limit; counted in units of 64 KiB,
 * rounded down.  A quota below what is in use stops growth and frees nothing.  Returns
 * 0, -EROFS or -EDEADLK. */
COMAP_API int comap_heap_set_quota(comap_heap *heap, uint64_t quota);

/* Set the period of decay in milliseconds, for everybody; a new heap has 10000, 0 is none.
 * Free storage that nobody wanted during a whole period goes back to the system, as far as
 * dirty_max left it; and a thread gives back what it took in advance of a size of which it had
 * as many ready at the end of a period as at its beginning.  Both happen inside other calls
 * that take a lock, now and then: a heap that nobody uses stays as it is.  Returns 0, -EROFS or
 * -EDEADLK. */
COMAP_API int comap_heap_set_decay(comap_heap *heap, uint32_t ms);

enum comap_advice {
	COMAP_ADVICE_NORMAL = 1,     /* no SEQUENTIAL or RANDOM any more */
	COMAP_ADVICE_SEQUENTIAL = 2, /* will be read from the first byte to the last: read ahead */
	COMAP_ADVICE_RANDOM = 3,     /* will be read here and there: do not read ahead */
	COMAP_ADVICE_WILLNEED = 4,   /* will be needed soon: begin to read it in */
	COMAP_ADVICE_COLD = 5,       /* not needed for long: the first to go when memory is short */
	COMAP_ADVICE_PAGEOUT = 6,    /* not needed for long: let it go now */
};

/*
 * Tell the kernel how the bytes [ptr, ptr + size) will be used: of a block, of a
 * part of one, or of everything that lies there among the blocks.  Only the whole
 * 4 KiB pages in it count; when there is none, nothing is done.  No contents
 * change, no storage is taken or given back (see comap_heap_trim).
 *
 * COLD and PAGEOUT spare pages that another process has mapped, too.  Pages of a
 * memfd or tmpfs go to swap, or stay where there is none; those of a file go when
 * they are on disk.  They come back with their next use.
 *
 * Returns 0, or:
 *   -EINVAL      the bytes do not all lie where blocks are handed out, or no such advice
 *   -EOPNOTSUPP  the kernel does not know this advice (COLD and PAGEOUT: Linux 5.4), or
 *                the pages are locked (COMAP_HEAP_LOCK, mlock(2)), for COLD and PAGEOUT
 *   -ENOMEM      NORMAL, SEQUENTIAL, RANDOM: the process has too many mappings
 *   -EAGAIN, -EIO and others   as madvise(2)
 *
 * For read-only handles, too.  It takes no slot and no lock, so a signal handler may
 * call it, and a death in it leaves nothing.  NORMAL, SEQUENTIAL and RANDOM stay with
 * the mapping, which children made by fork inherit; the others are done once.
 */
COMAP_API int comap_heap_advise(comap_heap *heap, const void *ptr, size_t size,
				enum comap_advice what);

/* ---- seeing what is there ----------------------------------------------- */

#define COMAP_CLASSES 80 /* size classes up to 64 KiB */

struct comap_class_stats {
	uint64_t block_size; /* bytes */
	uint64_t live;       /* blocks handed out */
	uint64_t free;       /* blocks ready in slabs */
	uint64_t cached;     /* blocks ready in the magazines of threads */
	uint64_t slabs;
};

/*
 * Read from the heap's tables, which are the truth: exact when nobody is
 * allocating, a fair picture otherwise.  What is counted since creation
 * includes threads that left or died; a death loses at most what it was
 * about to count.
 */
struct comap_heap_stats {
	uint32_t size;           /* sizeof this struct; COMAP_HEAP_STATS_INIT fills it */
	uint32_t slots;          /* capacity */
	uint32_t slots_live;     /* threads attached */
	uint32_t slots_dead;     /* died, not yet reaped */
	uint64_t max_size;       /* ceiling, bytes */
	uint64_t quota;          /* bytes; UINT64_MAX: none */
	uint64_t grown;          /* bytes of the ceiling in use so far, tables included */
	uint64_t committed;      /* bytes of storage held by blocks and free pages; an upper bound */
	uint64_t dirty;          /* of these, free bytes kept for reuse */
	uint64_t live_blocks;
	uint64_t live_bytes;     /* usable size of the live blocks */
	uint64_t cached_bytes;   /* in the magazines of threads, ready for them alone */
	uint64_t free_bytes;     /* in slabs and free pages below grown */
	uint64_t largest_free;   /* bytes: largest block that fits below grown */
	uint64_t large_blocks;   /* live blocks above 64 KiB */
	uint64_t large_bytes;
	uint64_t deaths;         /* dead threads reaped since creation */
	uint64_t misuses;        /* bad frees refused since creation */
	uint64_t steals;         /* locks taken from dead owners since creation */
	struct comap_class_stats classes[COMAP_CLASSES];
	/* a struct that ends here is fine, too */
	uint64_t mallocs;        /* blocks threads got from the heap since creation, those of their
				  * magazines among them */
	uint64_t frees;          /* blocks given back since creation, likewise */
	uint64_t caches;         /* magazines in use: a thread has one for each class it is busy with */
	uint64_t cached_blocks;  /* in them; their bytes are cached_bytes */
	uint64_t refills;        /* batches taken into magazines since creation */
	uint64_t flushes;        /* batches given back from magazines since creation */
	uint64_t lock_waits;     /* times a lock, a comap_mutex among them, was waited for since
				  * creation; a trylock does not wait */
	uint64_t purged_bytes;   /* of free pages given back to the system since creation: by
				  * comap_heap_trim, above dirty_max, by decay, or to stay
				  * within the quota; an upper bound */
};

#ifdef __cplusplus
#define COMAP_HEAP_STATS_INIT {sizeof(struct comap_heap_stats)}
#else
#define COMAP_HEAP_STATS_INIT {.size = sizeof(struct comap_heap_stats)}
#endif

/* Returns 0, or -EINVAL when stats->size is none a comap ever had; a program built for an older
 * one gets what it knows.  Time: grows with the heap.  report.h prints all this. */
COMAP_API int comap_heap_get_stats(comap_heap *heap, struct comap_heap_stats *stats);

struct comap_slot_info {
	uint32_t slot;
	int32_t tgid, tid;   /* in the attacher's pid namespace: for people, not for kill(2) */
	int32_t is_dead;
	char name[16];       /* the thread's comm when it attached */
	uint64_t mallocs, frees, bytes; /* blocks the thread got from the heap and gave back, those
					 * of its magazines among them; and the bytes of the first */
};

/* Calls fn for each attached thread until it returns non-zero, which is then
 * returned; else 0.  No lock is held while fn runs. */
COMAP_API int comap_heap_slots(comap_heap *heap,
			       int (*fn)(const struct comap_slot_info *info, void *arg), void *arg);

/*
 * Calls fn for each live block until it returns non-zero, which is then
 * returned; else 0, or -ENOMEM.  No lock is held while fn runs, so it may free; a
 * block that others free or allocate meanwhile may or may not be seen.
 */
COMAP_API int comap_heap_walk(comap_heap *heap, int (*fn)(void *ptr, size_t size, void *arg),
			      void *arg);

/*
 * Verify every invariant of the heap's tables.  For each thing that is wrong, up to
 * the 64th, fn (may be NULL) gets the offset and a sentence.  Returns 0 when all is
 * well, -EUCLEAN when not, or -EDEADLK.  Others wait for the locks it
 * holds; fn runs with no lock held.  A read-only handle checks
 * without locks: then be the only one.
 */
COMAP_API int comap_heap_check(comap_heap *heap,
			       void (*fn)(uint64_t offset, const char *what, void *arg), void *arg);

enum comap_misuse {
	COMAP_MISUSE_FOREIGN = 1,   /* freed what this heap never handed out */
	COMAP_MISUSE_DOUBLE = 2,    /* freed what is free already: found at once when it was the last
				     * freed, else when it goes back to its slab: told when a
				     * free takes it there, counted in any case; -Dcheck=1: at
				     * once */
	COMAP_MISUSE_INTERIOR = 3,  /* freed the middle of a block; in a busy class with -Dcheck=1 */
	COMAP_MISUSE_REENTRY = 4,   /* freed from a handler that interrupted comap: the block leaks */
};

/*
 * Who is told of misuse in this process: fn(heap, what, ptr, arg), with no lock
 * held; it may log, abort, or longjmp away.  NULL (the default): the call is
 * ignored and counted.  Set it before threads use the handle.
 */
COMAP_API void comap_heap_on_misuse(comap_heap *heap,
				    void (*fn)(comap_heap *heap, enum comap_misuse what,
					       const void *ptr, void *arg),
				    void *arg);

#ifdef __cplusplus
}
#endif
#endif
