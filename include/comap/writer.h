/*
 * writer.h - write a file so that it is there whole or not at all.
 *
 * A writer collects bytes in a file without a name (O_TMPFILE), or with a temporary
 * name beside it, and comap_writer_finish puts it in the place of the old one with one
 * rename.  Whoever opens the path sees the old file or the new one, never half of one; a
 * writer that dies leaves the old one.  (It may also leave a file PATH.<16 digits>~: when it
 * dies between the last two system calls of finish, or at any time where the file system
 * lacks O_TMPFILE.)
 *
 * The new file has the owner, as far as we may set it, the permissions and the access control
 * list of the old one.  It is a new file all the same: other hard links keep the old one, and
 * so does who has it open.
 *
 * With COMAP_WRITER_APPEND it writes behind the end of the file that is there, wherever that is by
 * then (O_APPEND), and finish only flushes.  Each write is whole, but what one call appended may
 * take several: bytes of others may come in between where the buffer of 256 KiB was full.
 *
 * Bytes go into a buffer and out by pwrite, into storage that was allocated
 * before: a full disk is -ENOSPC from the call that wanted to write, past RLIMIT_FSIZE too,
 * and no signal is raised.  (Mapping a new file is slower: docs/views.md.)
 *
 * A writer belongs to one thread at a time.  After fork one of the two goes on with it, and
 * the other leaves it alone.  After an error of write, copy, reserve or commit it says the same
 * error for good, finish too; the file at the path is as it was.
 *
 * Every call that returns -errno also leaves a sentence: comap_view_reason().
 */
#ifndef COMAP_WRITER_H
#define COMAP_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <comap/version.h>
#include <comap/view.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct comap_writer comap_writer;

#define COMAP_WRITER_APPEND   1u /* behind what the file at path holds; makes it when it is not there */
#define COMAP_WRITER_EXCL     2u /* finish fails with -EEXIST when the path is taken by then */
#define COMAP_WRITER_NOFOLLOW 4u /* replace a symbolic link itself; without: the file it leads to,
				  * or would.  With APPEND: -ELOOP */

struct comap_writer_opts {
	uint32_t size;        /* sizeof this struct; COMAP_WRITER_OPTS_INIT fills it */
	uint32_t flags;       /* COMAP_WRITER_* */
	uint32_t permissions; /* of the new file, exactly; 0: those of the file it replaces, else
			       * 0666 less umask.  With APPEND: of a file it makes */
	uint32_t reserved;    /* 0 */
	uint64_t expect;      /* bytes that will come, allocated at once; 0: unknown.  What is left
			       * over is given back.  With APPEND: only where nobody else appends,
			       * for giving back could cut what they append at that moment */
};

#ifdef __cplusplus
#define COMAP_WRITER_OPTS_INIT {sizeof(struct comap_writer_opts), 0, 0, 0, 0}
#else
#define COMAP_WRITER_OPTS_INIT {.size = sizeof(struct comap_writer_opts)}
#endif

/*
 * Begin to write path, or path from the directory dirfd, as openat(2).  opts may be NULL.  dirfd
 * may be closed and the working directory changed afterwards; a directory that is moved takes
 * the new file along.
 *
 * Returns 0, or:
 *   -EINVAL     path NULL, opts.size not set, unknown flag, permissions above 07777, EXCL with APPEND
 *   -E2BIG      opts is of a newer comap and sets a field unknown here
 *   -EISDIR     it is a directory
 *   -ENODEV     what is there is no regular file: a FIFO, a device, a socket, a link like /dev/stdout to
 *               an open file
 *   -ELOOP      too many links, or APPEND with NOFOLLOW and a link
 *   -EACCES, -EPERM, -EROFS   the directory may not be written to, APPEND: or the file; or a link that
 *               is somebody else's, in a directory like /tmp
 *   -ENOENT, -ENOTDIR, -ENAMETOOLONG, -EBADF, -EMFILE, -ENFILE   as openat(2)
 *   -ETXTBSY    APPEND: it is a program that runs
 *   -ENOSPC     no storage for expect, past a quota or RLIMIT_FSIZE too, or no room for one more file
 *   -EFBIG      expect is more than a file can hold
 *   -ENOMEM, -EIO
 */
COMAP_API int comap_writer_open(const char *path, const struct comap_writer_opts *opts,
				comap_writer **ret_writer);
COMAP_API int comap_writer_open_at(int dirfd, const char *path, const struct comap_writer_opts *opts,
				   comap_writer **ret_writer);

/* Append n bytes.  Returns 0, or -ENOSPC: also past a quota or RLIMIT_FSIZE; -EIO; -EFBIG: more
 * than a file can hold; -ENOMEM. */
COMAP_API int comap_writer_write(comap_writer *writer, const void *from, size_t n);

/*
 * Append n bytes of a view from off; 0: to its end.  Of a mapped file the kernel copies them
 * (copy_file_range(2)), and where the file system can, both files share the storage then.  No
 * signal is raised for what another process cut off.  Returns as write, or -ERANGE: not inside the
 * view, and then the writer goes on; -ENODATA: the file was cut short; -EIO.
 */
COMAP_API int comap_writer_copy(comap_writer *writer, const comap_view *view, uint64_t off, uint64_t n);

/* Room for n bytes to be written in place, then how many of them count: 0 to n.  What is in the
 * room before is anything.  It is good until the next call; comap_writer_size is none.  commit
 * without reserve, or of more than was reserved: -EINVAL.  Else as write. */
COMAP_API int comap_writer_reserve(comap_writer *writer, size_t n, void **ret_room);
COMAP_API int comap_writer_commit(comap_writer *writer, size_t n);

/* Bytes written so far; with APPEND, of this writer.  After an error: those that the file got. */
COMAP_API uint64_t comap_writer_size(const comap_writer *writer);

enum comap_writer_how {
	COMAP_WRITER_PLAIN = 0,   /* in the page cache: safe from the death of any process */
	COMAP_WRITER_DURABLE = 1, /* on disk, file and name: safe from power loss when this returns 0 */
};
/*
 * The file is complete: give it its name.  The writer is gone whatever comes back.
 *
 * Returns 0, or an error, and then the old file is as it was:
 *   -EEXIST     EXCL: the path is taken
 *   -EINVAL     how is neither of the two
 *   -EISDIR, -ENODEV   there is a directory now, or something that is no regular file
 *   -ENOENT     the directory was removed, or /proc is not there any more (chroot) and we are not root
 *   -ENOSPC     also past a quota or RLIMIT_FSIZE
 *   -EFBIG      more than a file can hold
 *   -EMFILE, -ENFILE   DURABLE: no descriptor for the directory
 *   -EACCES, -EBUSY, -EPERM, -EROFS, -EIO   as rename(2), fchmod(2) and fsync(2)
 *   or what write, copy, reserve or commit said before
 * With APPEND what was written may be there in part, and a file that was made stays, empty.  The
 * one exception: -EIO of DURABLE after the rename, when only the directory could not be synced: the
 * new file is in place, but may not outlast a power loss.
 */
COMAP_API int comap_writer_finish(comap_writer *writer, enum comap_writer_how how);
/* Give up: the old file stays.  With APPEND it gets its old length back, unless others changed it
 * meanwhile; one that was made stays, empty.  NULL is allowed, errno stays. */
COMAP_API void comap_writer_abort(comap_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
