/*
 * lz4_write.c - compress memory into one frame of independent blocks, by several threads.
 *
 * A block that does not get shorter is stored as it is, as the lz4 tool does.
 */
#include <limits.h>
#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "view/lz4.h"

#define LEVEL_HIGH 3 /* from here on by LZ4_compress_HC */
#define LEVEL_MOST 12
#define LEVEL_LEAST (-65536) /* LZ4_compress_fast knows no faster */

struct pack {
	const char *from;
	uint64_t size;
	struct comap_lz4_write_opts opts;
	struct cm_lz4_work work;
	comap_writer *writer;
	uint64_t written; /* bytes of the frame */
	XXH32_state_t *sum;
	struct cm_lz4_index index;
	bool is_writers; /* it said why already */
};

static void put_u32(unsigned char *to, uint32_t n)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (unsigned char)(n >> (8 * i));
}

/* ---- one block ------------------------------------------------------------------------------ */

/* How long it got; 0: not shorter. */
static int compress(const struct pack *pack, void *state, const char *from, char *to, int n)
{
	int level = pack->opts.level;

	if (level >= LEVEL_HIGH)
		return LZ4_compress_HC_extStateHC(state, from, to, n, n - 1, level);
	return LZ4_compress_fast_extState(state, from, to, n, n - 1, level < 0 ? 1 - level : 1);
}

static int make(const void *arg, void *state, uint64_t i, struct cm_lz4_piece *piece)
{
	const struct pack *pack = arg;
	unsigned char *bytes = (unsigned char *)piece->bytes;
	uint64_t off = i * pack->opts.block_size;
	int n = (int)cm_min(pack->size - off, pack->opts.block_size), length;

	length = compress(pack, state, pack->from + off, piece->bytes + 4, n);
	piece->word = (uint32_t)length;
	if (length <= 0) {
		length = n;
		piece->word = (uint32_t)n | CM_LZ4_STORED;
		memcpy(bytes + 4, pack->from + off, (size_t)n);
	}
	put_u32(bytes, piece->word);
	piece->size = 4 + (size_t)length;
	if (pack->opts.flags & COMAP_LZ4_CHECK_BLOCKS) {
		put_u32(bytes + piece->size, XXH32(bytes + 4, (size_t)length, 0));
		piece->size += 4;
	}
	return 0;
}

static size_t state_size(const struct pack *pack)
{
	return (size_t)(pack->opts.level >= LEVEL_HIGH ? LZ4_sizeofStateHC() : LZ4_sizeofState());
}

/* ---- the frame ----------------------------------------------------------------------- */

static int put(struct pack *pack, const void *from, size_t n)
{
	int err = comap_writer_write(pack->writer, from, n);

	pack->written += n;
	pack->is_writers = err < 0;
	return err;
}

static int write_header(struct pack *pack)
{
	unsigned char header[15] = { 0 };
	unsigned code = (cm_highest(pack->opts.block_size) - 8) / 2;

	put_u32(header, CM_LZ4_MAGIC);
	header[4] = 0x68; /* version 1, independent blocks, content size */
	if (pack->opts.flags & COMAP_LZ4_CHECK_BLOCKS)
		header[4] |= 0x10;
	if (pack->opts.flags & COMAP_LZ4_CHECK_CONTENT)
		header[4] |= 0x04;
	header[5] = (unsigned char)(code << 4);
	put_u32(header + 6, (uint32_t)pack->size);
	put_u32(header + 10, (uint32_t)(pack->size >> 32));
	header[14] = (unsigned char)(XXH32(header + 4, 10, 0) >> 8);
	return put(pack, header, sizeof header);
}

static int take(void *arg, uint64_t i, const struct cm_lz4_piece *piece)
{
	struct pack *pack = arg;
	uint64_t block_size = pack->opts.block_size, off = i * block_size;

	if (pack->sum)
		XXH32_update(pack->sum, pack->from + off, (size_t)cm_min(pack->size - off, block_size));
	if (pack->index.bytes)
		cm_lz4_index_set(&pack->index, i, piece->word);
	return put(pack, piece->bytes, piece->size);
}

static int write_end(struct pack *pack)
{
	unsigned char end[8] = { 0 };
	int err;

	if (pack->sum)
		put_u32(end + 4, XXH32_digest(pack->sum));
	err = put(pack, end, pack->sum ? 8 : 4);
	if (err < 0 || !pack->index.bytes)
		return err;
	cm_lz4_index_seal(&pack->index, pack->written, pack->size, pack->opts.block_size);
	return put(pack, pack->index.bytes, pack->index.size);
}

static int write_frame(struct pack *pack)
{
	int err = write_header(pack);

	if (err == 0)
		err = cm_lz4_run(&pack->work, pack->opts.threads);
	return err < 0 ? err : write_end(pack);
}

/* ---- what is asked for --------------------------------------------------------------- */

static int read_opts(struct comap_lz4_write_opts *opts, const struct comap_lz4_write_opts *asked)
{
	int err = 0;

	*opts = (struct comap_lz4_write_opts)COMAP_LZ4_WRITE_OPTS_INIT;
	if (asked)
		err = cm_opts_copy(opts, sizeof *opts, asked, asked->size);
	if (opts->block_size == 0)
		opts->block_size = 64 * CM_KIB;
	if (opts->level < LEVEL_LEAST)
		opts->level = LEVEL_LEAST;
	if (err < 0)
		return err;
	if (opts->flags & ~(COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT | COMAP_LZ4_NO_INDEX) ||
	    opts->level > LEVEL_MOST || opts->reserved)
		return -EINVAL;
	switch (opts->block_size) {
	case 64 * CM_KIB:
	case 256 * CM_KIB:
	case CM_MIB:
	case 4 * CM_MIB:
		return 0;
	}
	return -EINVAL;
}

static int begin(struct pack *pack)
{
	pack->work = (struct cm_lz4_work){
		.npieces = cm_div_up(pack->size, pack->opts.block_size),
		.piece_size = pack->opts.block_size + 8,
		.state_size = state_size(pack),
		.arg = pack,
		.make = make,
		.take = take,
	};
	if (pack->opts.flags & COMAP_LZ4_CHECK_CONTENT) {
		pack->sum = XXH32_createState();
		if (!pack->sum)
			return -ENOMEM;
		XXH32_reset(pack->sum, 0);
	}
	return pack->opts.flags & COMAP_LZ4_NO_INDEX
		       ? 0
		       : cm_lz4_index_new(&pack->index, pack->work.npieces);
}

int comap_lz4_write(comap_writer *writer, struct comap_bytes bytes, const struct comap_lz4_write_opts *opts)
{
	struct pack pack = { .from = bytes.data, .size = bytes.size, .writer = writer };
	int err = read_opts(&pack.opts, opts);

	if (err == 0 && ((!bytes.data && bytes.size) || bytes.size > PTRDIFF_MAX))
		err = -EINVAL;
	if (err == 0)
		err = begin(&pack);
	if (err == 0)
		err = write_frame(&pack);
	free(pack.index.bytes);
	XXH32_freeState(pack.sum);
	return err < 0 && !pack.is_writers ? cm_view_fail(err, "compress", NULL) : err;
}
