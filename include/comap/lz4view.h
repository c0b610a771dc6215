/*
 * lz4view.h - read a .lz4 file at any place, and inflate it in parallel.
 *
 * The LZ4 frame format (lz4_Frame_format.md 1.6, of the LZ4 project) cuts its content into blocks.
 * When blocks are independent, which is what the lz4 tool makes by default, each can be decoded by
 * itself.  Where each begins is read from an index in a skippable frame at the end of the file
 * (comap_lz4_write adds one; the lz4 tool skips it; docs/format-lz4.md), or found by walking from
 * header to header.  How long each is inflated no header says: in frames without a content size all
 * blocks are looked through while opening, by a thread for each processor, which takes half as long
 * as inflating them.  (lz4 --content-size writes one.)
 *
 * A handle may be used by any number of threads at once.  The view under it stays open as long as
 * it does.  What the file says is checked before it is believed: a damaged or hostile one is
 * -EUCLEAN.  The exception is an index, whose checksum is against accidents: one made to deceive
 * shows when its blocks are decoded, or the whole is inflated.  And what a block with a match at
 * offset 0 becomes depends on what was in memory.  For files of strangers there is
 * COMAP_LZ4_NO_INDEX.
 *
 * A file cut short by another process is -ENODATA, but what goes while it is being looked at is
 * SIGBUS, as for any view, where the program did not install the guards (guard.h).  There is no
 * need to enter one: these calls do, in each of their threads.
 */
#ifndef COMAP_LZ4VIEW_H
#define COMAP_LZ4VIEW_H

#include <comap/view.h>
#include <comap/writer.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct comap_lz4 comap_lz4;

/* Checksums to verify (XXH32).  One the file does not have is not missed. */
#define COMAP_LZ4_CHECK_BLOCKS  1u /* of each block, as it is stored */
#define COMAP_LZ4_CHECK_CONTENT 2u /* comap_lz4_inflate: of a frame's whole content */
#define COMAP_LZ4_NO_INDEX      4u /* comap_lz4_open: walk in any case, and look through all blocks */

/*
 * Open the compressed file that a view shows; several frames one after the other are one content,
 * skippable frames between them are skipped.  Returns 0, or:
 *   -EINVAL           unknown flag
 *   -ENOTUNIQ         no LZ4 frame
 *   -EPROTONOSUPPORT  a version, or the legacy format, that is not known here
 *   -EOPNOTSUPP       its blocks are linked, or it needs a dictionary: only from the beginning to the
 *                     end can it be read (the lz4 tool makes independent blocks by -BI, its default)
 *   -ENODATA          it is cut short
 *   -EUCLEAN          it is damaged
 *   -EIO              it cannot be read (with guards)
 *   -ENOMEM
 */
COMAP_API int comap_lz4_open(comap_view *view, uint32_t flags, comap_lz4 **ret_lz4);
/* NULL is allowed, errno stays. */
COMAP_API void comap_lz4_close(comap_lz4 *lz4);

struct comap_lz4_info {
	uint32_t size;         /* sizeof this struct, filled by the caller */
	uint32_t has_index;    /* it was found by an index, not by walking */
	uint64_t content_size; /* bytes inflated */
	uint64_t blocks, frames;
	uint32_t block_size;   /* of the largest block */
	uint32_t checks;       /* COMAP_LZ4_CHECK_*: the checksums that all its frames have */
};
/* Returns 0; -EINVAL: info->size not set; a longer one of a newer comap is zero beyond what is
 * known. */
COMAP_API int comap_lz4_get_info(const comap_lz4 *lz4, struct comap_lz4_info *info);

/*
 * Copy up to n bytes of the content from off; fewer only at its end.  The blocks in which they lie
 * are decoded, at first as far as needed; the last 16 are kept, up to 16 MiB of them.  flags:
 * COMAP_LZ4_CHECK_BLOCKS.  Returns how many, 0 at or past the end, or -EINVAL: flags; -EUCLEAN:
 * they are damaged; -ENODATA: the file was cut short; -EIO; -ENOMEM.  Then what is at `to` is
 * unspecified.
 */
COMAP_API int64_t comap_lz4_read(comap_lz4 *lz4, uint64_t off, void *to, size_t n, uint32_t flags);

/*
 * Inflate all of it to memory, content_size bytes at `to`, by that many threads; 0: one for each
 * processor.  The calling thread is one of them; when the system refuses the others, it does
 * without.  They are gone when this returns, take no signals, and the call is no cancellation
 * point.  flags: COMAP_LZ4_CHECK_BLOCKS, COMAP_LZ4_CHECK_CONTENT.  Returns 0, -EINVAL: n is not
 * content_size, or flags; -EUCLEAN, -ENODATA, -EIO, -ENOMEM as comap_lz4_read.  -ENOSPC: `to` is in
 * a mapped file, in a hole for which there is no storage.  Then what is at `to` is unspecified.
 */
COMAP_API int comap_lz4_inflate(comap_lz4 *lz4, void *to, uint64_t n, unsigned threads, uint32_t flags);

/*
 * Inflate all that a view shows into a writer, from its beginning to its end, without a handle:
 * faster than comap_lz4_inflate where a file is to be made, for a new mapping must be faulted in,
 * and where frames do not say how long they are inflated, for nothing is looked through before.  An
 * index is not used.  Threads and flags as there; the calling thread writes.  Memory: 1 MiB for
 * each thread and two more, or 4 MiB where blocks are so large.  Returns 0; an error of
 * comap_lz4_open or comap_lz4_inflate; or one of comap_writer_write, and of comap_writer_finish
 * then.  The writer may have got some of it, and finishing it would make a file of that: abort it.
 */
COMAP_API int comap_lz4_unpack(comap_view *view, comap_writer *writer, unsigned threads, uint32_t flags);

struct comap_lz4_write_opts {
	uint32_t size;       /* sizeof this struct; COMAP_LZ4_WRITE_OPTS_INIT fills it */
	uint32_t flags;      /* COMAP_LZ4_CHECK_*: checksums to write; COMAP_LZ4_NO_INDEX */
	uint32_t block_size; /* 64 KiB, 256 KiB, 1 MiB or 4 MiB; 0: 64 KiB */
	int32_t level;       /* as the lz4 tool: 1 to 12, below 0 faster; 0: 1 */
	uint32_t threads;    /* 0: one for each processor */
	uint32_t reserved;   /* 0 */
};
#ifdef __cplusplus
#define COMAP_LZ4_WRITE_OPTS_INIT {sizeof(struct comap_lz4_write_opts), 0, 0, 0, 0, 0}
#else
#define COMAP_LZ4_WRITE_OPTS_INIT {.size = sizeof(struct comap_lz4_write_opts)}
#endif
/*
 * Compress memory into a writer as one frame of independent blocks, with its content size, and the
 * index behind it.  opts may be NULL.  The writer stays open: frames may follow, each with its
 * index.  Threads as in comap_lz4_inflate: a guard of the caller's is not theirs, so bytes of a
 * file that may be cut short are for threads = 1.  Returns 0, -EINVAL: opts, or no bytes; -E2BIG:
 * opts is of a newer comap; -EFBIG: an index has no room for so many blocks (more than 2^30);
 * -ENOMEM; or as comap_writer_write.
 */
COMAP_API int comap_lz4_write(comap_writer *writer, struct comap_bytes bytes,
			      const struct comap_lz4_write_opts *opts);

#ifdef __cplusplus
}
#endif
#endif
