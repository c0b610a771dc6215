/*
 * lz4_index.c - an index behind the frame: its blocks need not be walked to be found.
 *
 * It is a skippable frame, so every reader of the frame format passes over it; the lz4 tool does.  It
 * describes the one frame directly before it and is found from its end, so that frames, each
 * with its index, can be put one behind the other, also by cat(1).  A file has an index when
 * its last bytes are one, and before each frame lies nothing, or again an index.
 *
 * Numbers are least byte first; n is the number of blocks:
 *
 *	offset    bytes
 *	0         4      magic of a skippable frame: 0x184D2A5E
 *	4         4      how many bytes follow: 4n + 48
 *	8         4n     the header of each block, as it stands before the block
 *	4n + 8    8      bytes of the frame, from its magic to the beginning of this
 *	4n + 16   8      bytes of its content
 *	4n + 24   8      n
 *	4n + 32   4      bytes of each block's content, the last one's excepted
 *	4n + 36   4      version: 1
 *	4n + 40   8      XXH64, seed 0, of what is before: of offset 0 to 4n + 40
 *	4n + 48   8      magic: "comaplz4"
 *
 * Where a block begins is the sum of the lengths before it, so that no number in the index can lead
 * outside, or leave a part of the frame out; and the sum must be the frame's length.  The content's size
 * and the blocks' must be those of the frame's header.
 *
 * An index that does not fit is passed over like any skippable frame, and the file is
 * walked: the blocks are the truth.  So it is with two files put together of which only one has an
 * index.  The checksum is against accidents.  An index made to deceive may match its frame in all that is
 * compared here and still cut it elsewhere: each block's header is compared when it is decoded, and
 * comap_lz4_inflate, which decodes all, finds it for sure.  Who reads here and there in files of strangers
 * opens them by COMAP_LZ4_NO_INDEX.
 */
#include <stdlib.h>
#include <xxhash.h>
#include "view/lz4.h"

#define HEAD 8u
#define TAIL 48u
#define SUMMED_TAIL 32u /* of these, before the checksum */
#define VERSION 1u
#define MAGIC 0x347a6c70616d6f63ull /* "comaplz4" */
#define BLOCKS_MOST ((UINT32_MAX - TAIL) / 4)

struct index {
	uint64_t at; /* of its own frame */
	uint64_t frame_size, content_size, nblocks;
	uint32_t block_most;
};

/* ---- reading ---------------------------------------------------------------------------- */

/* The index that ends at `end`: is it one, whole, and sound in itself? */
static bool find(struct comap_bytes bytes, uint64_t end, struct index *ret)
{
	struct index index;
	uint64_t magic, sum, tail = end - TAIL;
	uint32_t skip, size, version;

	if (end < HEAD + TAIL || comap_bytes_u64le(bytes, end - 8, &magic) < 0 || magic != MAGIC)
		return false;
	if (comap_bytes_u64le(bytes, tail, &index.frame_size) < 0 ||
	    comap_bytes_u64le(bytes, tail + 8, &index.content_size) < 0 ||
	    comap_bytes_u64le(bytes, tail + 16, &index.nblocks) < 0 ||
	    comap_bytes_u32le(bytes, tail + 24, &index.block_most) < 0 ||
	    comap_bytes_u32le(bytes, tail + 28, &version) < 0 ||
	    comap_bytes_u64le(bytes, tail + 32, &sum) < 0)
		return false;
	if (version != VERSION || index.nblocks > BLOCKS_MOST || index.nblocks * 4 > tail - HEAD)
		return false;
	index.at = tail - index.nblocks * 4 - HEAD;
	if (index.frame_size > index.at || comap_bytes_u32le(bytes, index.at, &skip) < 0 ||
	    comap_bytes_u32le(bytes, index.at + 4, &size) < 0)
		return false;
	if (skip != CM_LZ4_MAGIC_INDEX || size != index.nblocks * 4 + TAIL)
		return false;
	*ret = index;
	return XXH64((const char *)bytes.data + index.at,
		     HEAD + (size_t)index.nblocks * 4 + SUMMED_TAIL, 0) == sum;
}

/* The frame it describes; false: not that one. */
static bool read_header(const comap_lz4 *lz4, const struct index *index, struct cm_lz4_frame *ret_frame)
{
	uint64_t most = index->block_most, at = index->at - index->frame_size;
	struct cm_lz4_frame frame;
	uint32_t magic;

	if (comap_bytes_u32le(lz4->bytes, at, &magic) < 0 || magic != CM_LZ4_MAGIC ||
	    cm_lz4_header(lz4->bytes, at, &frame) < 0)
		return false;
	frame.first = lz4->nblocks;
	frame.end = index->at;
	*ret_frame = frame;
	/* no overflow: 2^30 blocks of 2^22 bytes */
	return frame.declared == index->content_size && frame.block_most == most &&
	       index->nblocks == cm_div_up(cm_min(index->content_size, BLOCKS_MOST * most), most);
}

/* 0; 1: it does not fit; -ENOMEM. */
static int load(comap_lz4 *lz4, const struct index *index)
{
	struct cm_lz4_frame frame;
	uint64_t at;
	uint32_t word;
	int err = 0;

	if (!read_header(lz4, index, &frame))
		return 1;
	at = frame.blocks_at;
	for (uint64_t i = 0; i < index->nblocks; i++) {
		if (comap_bytes_u32le(lz4->bytes, index->at + HEAD + 4 * i, &word) < 0 || word == 0 ||
		    cm_lz4_length(word) > frame.block_most || at >= frame.end)
			return 1;
		err = cm_lz4_add_block(lz4, at + 4, word);
		if (err < 0)
			return err;
		at += 4 + cm_lz4_length(word) + cm_lz4_sum_size(&frame);
	}
	if (comap_bytes_u32le(lz4->bytes, at, &word) < 0 || word != 0)
		return 1;
	at += 4 + (frame.checks & COMAP_LZ4_CHECK_CONTENT ? 4 : 0);
	if (at != frame.end)
		return 1;
	err = cm_lz4_add_frame(lz4, &frame, true);
	return err == -EUCLEAN ? 1 : err;
}

/* How many there are from the end of the view to its beginning; 0: something else lies between. */
static uint64_t count(struct comap_bytes bytes)
{
	struct index index;
	uint64_t n = 0;

	for (uint64_t end = bytes.size; end; end = index.at - index.frame_size, n++)
		if (!find(bytes, end, &index) || index.frame_size == 0)
			return 0;
	return n;
}

int cm_lz4_load_index(comap_lz4 *lz4)
{
	uint64_t n = count(lz4->bytes), end = lz4->bytes.size;
	struct index *all;
	int err = 0;

	if (n == 0)
		return 1;
	all = n > SIZE_MAX / sizeof *all ? NULL : malloc((size_t)n * sizeof *all);
	if (!all)
		return -ENOMEM;
	for (uint64_t i = n; i-- && err == 0;) {
		if (find(lz4->bytes, end, &all[i]))
			end = all[i].at - all[i].frame_size;
		else /* just now it was there: somebody writes */
			err = 1;
	}
	for (uint64_t i = 0; i < n && err == 0; i++)
		err = load(lz4, &all[i]);
	free(all);
	if (err)
		cm_lz4_clear(lz4);
	return err;
}

/* ---- writing ------------------------------------------------------------------------------ */

static void put(unsigned char *to, uint64_t number, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (unsigned char)(number >> (8 * i));
}

int cm_lz4_index_new(struct cm_lz4_index *index, uint64_t nblocks)
{
	if (nblocks > BLOCKS_MOST)
		return -EFBIG;
	index->size = HEAD + (size_t)nblocks * 4 + TAIL;
	index->bytes = malloc(index->size);
	return index->bytes ? 0 : -ENOMEM;
}

void cm_lz4_index_set(struct cm_lz4_index *index, uint64_t block, uint32_t word)
{
	put(index->bytes + HEAD + 4 * block, word, 4);
}

void cm_lz4_index_seal(struct cm_lz4_index *index, uint64_t frame_size, uint64_t content_size,
		       uint32_t block_most)
{
	unsigned char *tail = index->bytes + index->size - TAIL;

	put(index->bytes, CM_LZ4_MAGIC_INDEX, 4);
	put(index->bytes + 4, index->size - HEAD, 4);
	put(tail, frame_size, 8);
	put(tail + 8, content_size, 8);
	put(tail + 16, (index->size - HEAD - TAIL) / 4, 8);
	put(tail + 24, block_most, 4);
	put(tail + 28, VERSION, 4);
	put(tail + 32, XXH64(index->bytes, (size_t)(tail - index->bytes) + SUMMED_TAIL, 0), 8);
	put(tail + 40, MAGIC, 8);
}
