/*
 * view/lz4.h - what the parts of the LZ4 view share.
 *
 * lz4_frame.c and lz4_index.c fill two tables, each in its own way: of frames, and of blocks.
 * lz4_read.c and lz4_inflate.c work by these tables alone, so it makes no difference to them where
 * the tables came from.
 *
 * Nothing in the tables lies outside the view's bytes: whoever fills them has checked it.
 * The bytes themselves may change under us, so a block's header is compared with its entry
 * again when it is decoded.
 */
#ifndef CM_LZ4_H
#define CM_LZ4_H

#include <comap/guard.h>
#include <comap/lz4view.h>
#include "view/view.h"

#define CM_LZ4_MAGIC 0x184D2204u
#define CM_LZ4_MAGIC_LEGACY 0x184C2102u
#define CM_LZ4_MAGIC_SKIP 0x184D2A50u /* to ...5F */
#define CM_LZ4_MAGIC_INDEX 0x184D2A5Eu

/* A block's header: how long it is as stored, and whether it was not worth compressing. */
#define CM_LZ4_STORED 0x80000000u
#define CM_LZ4_LENGTH 0x7fffffffu

#define CM_LZ4_BLOCK_MOST (4 * CM_MIB)
#define CM_LZ4_RUN_SIZE CM_MIB /* of blocks that are one piece of work */

struct cm_lz4_frame {
	uint64_t at;         /* of its magic */
	uint64_t blocks_at;  /* of its first block's header */
	uint64_t end;        /* behind its end mark and checksum */
	uint64_t first;      /* its first block's number */
	uint64_t nblocks;
	uint64_t content;    /* offset in all the content */
	uint64_t size;       /* of its content */
	uint64_t declared;   /* the size that its header states; 0: none */
	uint32_t block_most; /* no block is longer, stored or inflated */
	uint32_t checks;     /* COMAP_LZ4_CHECK_*: the checksums it has */
};

struct cm_lz4_block {
	uint64_t at;      /* of its bytes; the header is the 4 before */
	uint64_t content; /* offset in all the content; it ends where the next one's begins */
	uint32_t word;    /* its header */
	uint32_t frame;
};

/* A decoded block that is kept.  Only who has taken it may look at what is no atomic. */
struct cm_lz4_slot {
	cm_half is_taken;
	cm_word block; /* its number + 1; 0: none */
	cm_word used;  /* when: the one least recently used makes room */
	bool is_checked;
	size_t ready; /* bytes decoded so far, from the first on */
	char *bytes;  /* block_most of them, or NULL */
};
#define CM_LZ4_SLOTS 16u
#define CM_LZ4_KEPT_MOST (16 * CM_MIB)

struct comap_lz4 {
	comap_view *view;
	struct comap_bytes bytes;
	struct cm_lz4_frame *frames;
	struct cm_lz4_block *blocks; /* one more than nblocks: where the content ends */
	uint64_t nframes, nblocks;
	uint64_t room_frames, room_blocks;
	uint64_t content_size;
	uint32_t block_most; /* the largest of the frames' */
	uint32_t checks;     /* those that all frames have */
	bool has_index;
	bool is_unmeasured; /* how long the blocks are inflated is not known: no content, no sizes */
	bool is_strict; /* all blocks are measured, whatever the header says */
	unsigned nslots;
	cm_word clock; /* of the slots */
	struct cm_lz4_slot slots[CM_LZ4_SLOTS];
};

static inline uint32_t cm_lz4_length(uint32_t word)
{
	return word & CM_LZ4_LENGTH;
}

/* Bytes that a block's checksum takes. */
static inline uint32_t cm_lz4_sum_size(const struct cm_lz4_frame *frame)
{
	return frame->checks & COMAP_LZ4_CHECK_BLOCKS ? 4 : 0;
}

/* How long it is inflated. */
static inline size_t cm_lz4_size(const struct cm_lz4_block *block)
{
	return (size_t)(block[1].content - block->content);
}

static inline const char *cm_lz4_at(const comap_lz4 *lz4, uint64_t off)
{
	return (const char *)lz4->bytes.data + off;
}

/* ---- lz4_read.c: opening --------------------------------------------------------------- */

/* A handle without tables, which comap_lz4_close ends.  -ENOMEM. */
int cm_lz4_new(comap_view *view, comap_lz4 **ret_lz4);
/* Its tables; flags as comap_lz4_open. */
int cm_lz4_fill(comap_lz4 *lz4, uint32_t flags);

/* ---- lz4_frame.c ------------------------------------------------------------------------ */

/* The header of the frame at `at`: fills in at, blocks_at, declared, block_most, checks. */
int cm_lz4_header(struct comap_bytes bytes, uint64_t at, struct cm_lz4_frame *ret_frame);
/* Both tables, by walking. */
int cm_lz4_walk(comap_lz4 *lz4);

/* ---- lz4_table.c ------------------------------------------------------------------------ */

int cm_lz4_add_block(comap_lz4 *lz4, uint64_t at, uint32_t word);
/* The frame of the blocks from frame->first on: nblocks, content and size are filled in here.
 * is_full: all but the last are known to be. */
int cm_lz4_add_frame(comap_lz4 *lz4, struct cm_lz4_frame *frame, bool is_full);
/* There are no more frames. */
int cm_lz4_finish(comap_lz4 *lz4);
void cm_lz4_clear(comap_lz4 *lz4);

/* How many bytes a compressed block becomes; -EUCLEAN: it is no block, or becomes more than
 * `most`. */
int64_t cm_lz4_measure(const void *block, size_t n, uint64_t most);

/* ---- lz4_index.c ---------------------------------------------------------------------------- */

/* Both tables, by the index: 0; 1: there is none, or it does not fit; -ENOMEM. */
int cm_lz4_load_index(comap_lz4 *lz4);

/* The index of a frame that is being written. */
struct cm_lz4_index {
	unsigned char *bytes;
	size_t size;
};
/* -EFBIG: more blocks than a skippable frame has room for; -ENOMEM. */
int cm_lz4_index_new(struct cm_lz4_index *index, uint64_t nblocks);
void cm_lz4_index_set(struct cm_lz4_index *index, uint64_t block, uint32_t word);
/* All are set: the rest of it. */
void cm_lz4_index_seal(struct cm_lz4_index *index, uint64_t frame_size, uint64_t content_size,
		       uint32_t block_most);

/* ---- lz4_decode.c -------------------------------------------------------------------- */

/* Look at the view's bytes up to `end`.  -ENODATA: the file ends before by now.  What goes
 * meanwhile, leave tells, without a signal where the program installed the guards. */
int cm_lz4_enter(const comap_lz4 *lz4, comap_guard *guard, uint64_t end);
int cm_lz4_leave(comap_guard *guard, int err); /* err; or, when what was seen means nothing, why */

uint64_t cm_lz4_end(const comap_lz4 *lz4, uint64_t block); /* behind it and its checksum */

/* Between enter and leave.  The block as stored has the checksum that stands behind it, or none
 * does. */
int cm_lz4_check(const comap_lz4 *lz4, uint64_t block);
/* Decode it to `to`, where there is room for block_most bytes of its frame.  How many it has, or
 * -EUCLEAN. */
int64_t cm_lz4_decode_any(const comap_lz4 *lz4, uint64_t block, void *to);
/* Decode it to `to`, where there are just as many bytes as it has. */
int cm_lz4_decode_exact(const comap_lz4 *lz4, uint64_t block, void *to);
/* Its first n bytes, or all, to `to`, where there are its frame's block_most. */
int cm_lz4_decode_first(const comap_lz4 *lz4, uint64_t block, void *to, size_t n);

/* ---- lz4_ring.c ---------------------------------------------------------------------- */

/* A piece of work on its way from who made it to who takes it. */
struct cm_lz4_piece {
	char *bytes; /* piece_size of them, or NULL */
	size_t size; /* these two are the maker's to say */
	uint32_t word;
	int err; /* of make */
	bool is_ready;
};

struct cm_lz4_work {
	uint64_t npieces;
	size_t piece_size, state_size;
	void *arg;
	/* Called by several threads at once, for each piece once; state: state_size bytes, the
	 * thread's own, and whatever it left there.  An error ends the work. */
	int (*make)(const void *arg, void *state, uint64_t i, struct cm_lz4_piece *piece);
	/* Called by the calling thread, for one piece after the other; or NULL. */
	int (*take)(void *arg, uint64_t i, const struct cm_lz4_piece *piece);
};
/* All of it, by so many threads; 0: one for each processor.  The error of the first piece that had
 * one; -ENOMEM. */
int cm_lz4_run(const struct cm_lz4_work *work, unsigned threads);

#endif
