/*
 * lz4_frame.c - walk a .lz4 file from header to header.
 *
 * The frame format (lz4_Frame_format.md 1.6 of the LZ4 project), numbers least byte first:
 *
 *	frame       magic 0x184D2204; flags; block size; [content size 8]; [dictionary 4]; header sum 1;
 *	            blocks; end mark 0; [XXH32 of the content 4]
 *	flags       bits 7-6: version 1; 5: blocks are independent; 4: they have checksums; 3: content
 *	            size; 2: content checksum; 1: zero; 0: dictionary
 *	block size  bits 6-4: 4 to 7, for 64 KiB to 4 MiB; the others are zero
 *	block       length 4, its highest bit: not compressed; that many bytes; [XXH32 of these 4]
 *	skippable   magic 0x184D2A50 to ...5F; length 4; that many bytes
 *
 * liblz4 reads frames, too, but from the beginning to the end.  Here nothing but the headers is
 * looked at (lz4_table.c says when that is not enough), and each number is held against the length of
 * the view before it is used.
 *
 * A content size of 0 says nothing, as in liblz4.
 */
#include <xxhash.h>
#include "view/lz4.h"

#define FLAG_DICTIONARY 0x01u
#define FLAG_RESERVED 0x02u
#define FLAG_CONTENT_SUM 0x04u
#define FLAG_CONTENT_SIZE 0x08u
#define FLAG_BLOCK_SUMS 0x10u
#define FLAG_INDEPENDENT 0x20u
#define VERSION(flags) ((flags) >> 6)
#define SIZE_CODE_LEAST 4u
#define SIZE_CODE(byte) ((unsigned)(byte) >> 4)

/* The number at *at, and go behind it.  -ENODATA: the view ends before. */
static int take_u32(struct comap_bytes bytes, uint64_t *at, uint32_t *ret)
{
	if (comap_bytes_u32le(bytes, *at, ret) < 0)
		return -ENODATA;
	*at += sizeof *ret;
	return 0;
}

static int check_flags(unsigned flags, unsigned size, struct comap_bytes bytes, uint64_t from, uint64_t to)
{
	uint8_t sum;

	if (comap_bytes_u8(bytes, to, &sum) < 0)
		return -ENODATA;
	if (sum != ((XXH32((const char *)bytes.data + from, (size_t)(to - from), 0) >> 8) & 0xff))
		return -EUCLEAN;
	if (flags & FLAG_RESERVED || size & 0x8f || SIZE_CODE(size) < SIZE_CODE_LEAST)
		return -EPROTONOSUPPORT;
	return flags & FLAG_DICTIONARY || !(flags & FLAG_INDEPENDENT) ? -EOPNOTSUPP : 0;
}

int cm_lz4_header(struct comap_bytes bytes, uint64_t at, struct cm_lz4_frame *ret_frame)
{
	struct cm_lz4_frame frame = { .at = at };
	uint64_t from = at + 4, to = from + 2;
	uint8_t flags, size;
	int err;

	if (comap_bytes_u8(bytes, from, &flags) < 0 || comap_bytes_u8(bytes, from + 1, &size) < 0)
		return -ENODATA;
	if (VERSION(flags) != 1)
		return -EPROTONOSUPPORT;
	if (flags & FLAG_CONTENT_SIZE) {
		if (comap_bytes_u64le(bytes, to, &frame.declared) < 0)
			return -ENODATA;
		to += 8;
	}
	if (flags & FLAG_DICTIONARY)
		to += 4;
	err = check_flags(flags, size, bytes, from, to);
	if (err < 0)
		return err;
	frame.blocks_at = to + 1;
	frame.block_most = 1u << (2 * SIZE_CODE(size) + 8);
	frame.checks = (flags & FLAG_BLOCK_SUMS ? COMAP_LZ4_CHECK_BLOCKS : 0) |
		       (flags & FLAG_CONTENT_SUM ? COMAP_LZ4_CHECK_CONTENT : 0);
	*ret_frame = frame;
	return 0;
}

static int walk_blocks(comap_lz4 *lz4, const struct cm_lz4_frame *frame, uint64_t *at)
{
	struct comap_bytes part;
	uint32_t word;
	int err;

	for (;;) {
		err = take_u32(lz4->bytes, at, &word);
		if (err < 0 || word == 0)
			return err;
		if (cm_lz4_length(word) > frame->block_most)
			return -EUCLEAN;
		if (comap_bytes_at(lz4->bytes, *at, cm_lz4_length(word) + cm_lz4_sum_size(frame),
				   &part) < 0)
			return -ENODATA;
		err = cm_lz4_add_block(lz4, *at, word);
		if (err < 0)
			return err;
		*at += part.size;
	}
}

static int walk_frame(comap_lz4 *lz4, uint64_t *at)
{
	struct cm_lz4_frame frame;
	uint32_t sum;
	int err = cm_lz4_header(lz4->bytes, *at, &frame);

	if (err < 0)
		return err;
	frame.first = lz4->nblocks;
	*at = frame.blocks_at;
	err = walk_blocks(lz4, &frame, at);
	if (err == 0 && frame.checks & COMAP_LZ4_CHECK_CONTENT)
		err = take_u32(lz4->bytes, at, &sum);
	if (err < 0)
		return err;
	frame.end = *at;
	return cm_lz4_add_frame(lz4, &frame, false);
}

static int walk_skippable(const comap_lz4 *lz4, uint64_t *at)
{
	struct comap_bytes part;
	uint32_t size;

	*at += 4;
	if (take_u32(lz4->bytes, at, &size) < 0 || comap_bytes_at(lz4->bytes, *at, size, &part) < 0)
		return -ENODATA;
	*at += size;
	return 0;
}

int cm_lz4_walk(comap_lz4 *lz4)
{
	uint64_t at = 0;
	uint32_t magic;
	int err = 0;

	while (err == 0 && at < lz4->bytes.size) {
		if (comap_bytes_u32le(lz4->bytes, at, &magic) < 0)
			err = at ? -ENODATA : -ENOTUNIQ;
		else if (magic == CM_LZ4_MAGIC)
			err = walk_frame(lz4, &at);
		else if ((magic & ~0xfu) == CM_LZ4_MAGIC_SKIP)
			err = walk_skippable(lz4, &at);
		else if (magic == CM_LZ4_MAGIC_LEGACY)
			err = -EPROTONOSUPPORT;
		else
			err = at ? -EUCLEAN : -ENOTUNIQ;
	}
	if (err == 0 && lz4->nframes == 0)
		err = -ENOTUNIQ;
	return err;
}
