/*
 * lz4_write.c - compress memory into one frame of independent blocks, by several threads.
 *
 * Blocks are compressed in any order and written in theirs.  A ring of slots, two more than there are
 * threads, holds what was compressed and not yet written; who finds no slot free waits for the writing,
 * so memory stays at that, however long the content is.  The calling thread writes, as the writer
 * is its own, and compresses whenever the block it should write next is not there.
 *
 * A block that does not get shorter is stored as it is, as the lz4 tool does.
 */
#include <limits.h>
#include <lz4.h>
#include <lz4hc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "view/lz4.h"

#define LEVEL_HIGH 3 /* from here on by LZ4_compress_HC */
#define LEVEL_MOST 12
#define LEVEL_LEAST (-65536) /* LZ4_compress_fast knows no faster */

struct slot {
	unsigned char *bytes; /* header, block, checksum */
	size_t size;
	uint32_t word;
	bool is_ready;
};

struct pack {
	const char *from;
	uint64_t size, nblocks;
	struct comap_lz4_write_opts opts;
	uint64_t nslots;
	struct slot *slots; /* block i is in slot i % nslots */

	pthread_mutex_t lock; /* of what follows, and of is_ready */
	pthread_cond_t ready; /* a block is */
	pthread_cond_t room;  /* a slot is free, or there is nothing more to do */
	uint64_t next;        /* block to be compressed */
	uint64_t written;     /* blocks */
	bool is_over;
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

static void pack_block(const struct pack *pack, void *state, uint64_t i)
{
	struct slot *slot = &pack->slots[i % pack->nslots];
	uint64_t off = i * pack->opts.block_size;
	int n = (int)cm_min(pack->size - off, pack->opts.block_size), length;

	length = compress(pack, state, pack->from + off, (char *)slot->bytes + 4, n);
	slot->word = (uint32_t)length;
	if (length <= 0) {
		length = n;
		slot->word = (uint32_t)n | CM_LZ4_STORED;
		memcpy(slot->bytes + 4, pack->from + off, (size_t)n);
	}
	put_u32(slot->bytes, slot->word);
	slot->size = 4 + (size_t)length;
	if (pack->opts.flags & COMAP_LZ4_CHECK_BLOCKS) {
		put_u32(slot->bytes + slot->size, XXH32(slot->bytes + 4, (size_t)length, 0));
		slot->size += 4;
	}
}

static void *new_state(const struct pack *pack)
{
	return malloc(
		(size_t)(pack->opts.level >= LEVEL_HIGH ? LZ4_sizeofStateHC() : LZ4_sizeofState()));
}

/* ---- the ring --------------------------------------------------------------------------------- */

static bool has_next(const struct pack *pack)
{
	return pack->next < pack->nblocks && pack->next - pack->written < pack->nslots;
}

/* Compress the next block; the lock is held when it is called and when it returns. */
static void pack_next(struct pack *pack, void *state)
{
	uint64_t i = pack->next++;

	pthread_mutex_unlock(&pack->lock);
	pack_block(pack, state, i);
	pthread_mutex_lock(&pack->lock);
	pack->slots[i % pack->nslots].is_ready = true;
	pthread_cond_signal(&pack->ready); /* only the writing thread waits for it */
}

static void *work(void *arg)
{
	struct pack *pack = arg;
	void *state = new_state(pack);

	pthread_mutex_lock(&pack->lock);
	while (state && !pack->is_over && pack->next < pack->nblocks)
		if (has_next(pack))
			pack_next(pack, state);
		else
			pthread_cond_wait(&pack->room, &pack->lock);
	pthread_mutex_unlock(&pack->lock);
	free(state);
	return NULL;
}

static const struct slot *await(struct pack *pack, void *state, uint64_t i)
{
	const struct slot *slot = &pack->slots[i % pack->nslots];

	pthread_mutex_lock(&pack->lock);
	while (!slot->is_ready)
		if (has_next(pack))
			pack_next(pack, state);
		else
			pthread_cond_wait(&pack->ready, &pack->lock);
	pthread_mutex_unlock(&pack->lock);
	return slot;
}

static void release(struct pack *pack, uint64_t i, bool is_over)
{
	pthread_mutex_lock(&pack->lock);
	pack->slots[i % pack->nslots].is_ready = false;
	pack->written = i + 1;
	pack->is_over = is_over;
	pthread_cond_broadcast(&pack->room);
	pthread_mutex_unlock(&pack->lock);
}

/* ---- the frame ---------------------------------------------------------------------------------- */

struct out {
	comap_writer *writer;
	uint64_t size; /* written */
	XXH32_state_t *sum;
	struct cm_lz4_index index;
	void *state;
};

static int put(struct out *out, const void *from, size_t n)
{
	out->size += n;
	return comap_writer_write(out->writer, from, n);
}

static int write_header(const struct pack *pack, struct out *out)
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
	return put(out, header, sizeof header);
}

static int write_blocks(struct pack *pack, struct out *out)
{
	uint64_t off, block_size = pack->opts.block_size;
	const struct slot *slot;
	int err = 0;

	for (uint64_t i = 0; i < pack->nblocks && err == 0; i++) {
		slot = await(pack, out->state, i);
		off = i * block_size;
		if (out->sum)
			XXH32_update(out->sum, pack->from + off,
				     (size_t)cm_min(pack->size - off, block_size));
		if (out->index.bytes)
			cm_lz4_index_set(&out->index, i, slot->word);
		err = put(out, slot->bytes, slot->size);
		release(pack, i, err < 0);
	}
	return err;
}

static int write_end(const struct pack *pack, struct out *out)
{
	unsigned char end[8] = { 0 };
	int err;

	if (out->sum)
		put_u32(end + 4, XXH32_digest(out->sum));
	err = put(out, end, out->sum ? 8 : 4);
	if (err < 0 || !out->index.bytes)
		return err;
	cm_lz4_index_seal(&out->index, out->size, pack->size, pack->opts.block_size);
	return put(out, out->index.bytes, out->index.size);
}

static int write_frame(struct pack *pack, struct out *out)
{
	struct cm_os_crew crew;
	int err = write_header(pack, out);

	if (err < 0)
		return err;
	pthread_mutex_init(&pack->lock, NULL);
	pthread_cond_init(&pack->ready, NULL);
	pthread_cond_init(&pack->room, NULL);
	cm_os_crew_start(&crew, pack->opts.threads - 1, work, pack);
	err = write_blocks(pack, out);
	cm_os_crew_join(&crew);
	pthread_cond_destroy(&pack->room);
	pthread_cond_destroy(&pack->ready);
	pthread_mutex_destroy(&pack->lock);
	return err < 0 ? err : write_end(pack, out);
}

/* ---- what is asked for ---------------------------------------------------------------------------- */

static int read_opts(struct comap_lz4_write_opts *opts, const struct comap_lz4_write_opts *asked)
{
	int err = 0;

	*opts = (struct comap_lz4_write_opts)COMAP_LZ4_WRITE_OPTS_INIT;
	if (asked)
		err = cm_opts_copy(opts, sizeof *opts, asked, asked->size);
	if (opts->block_size == 0)
		opts->block_size = 64 * CM_KIB;
	if (opts->threads == 0)
		opts->threads = cm_os_processors();
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

/* The slots, and their bytes behind them. */
static int new_slots(struct pack *pack)
{
	size_t each = pack->opts.block_size + 8;
	unsigned char *bytes;

	if (pack->nslots > SIZE_MAX / (each + sizeof *pack->slots))
		return -ENOMEM;
	pack->slots = calloc((size_t)pack->nslots, sizeof *pack->slots);
	bytes = malloc((size_t)pack->nslots * each);
	if (!pack->slots || !bytes) {
		free(bytes);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < pack->nslots; i++)
		pack->slots[i].bytes = bytes + i * each;
	return 0;
}

static int begin(struct pack *pack, struct out *out)
{
	int err = 0;

	pack->nblocks = cm_div_up(pack->size, pack->opts.block_size);
	pack->opts.threads = (uint32_t)cm_max(1, cm_min(pack->opts.threads, pack->nblocks));
	pack->nslots = cm_min(pack->opts.threads + 2ull, cm_max(1, pack->nblocks));
	out->state = new_state(pack);
	if (pack->opts.flags & COMAP_LZ4_CHECK_CONTENT) {
		out->sum = XXH32_createState();
		if (!out->sum)
			return -ENOMEM;
		XXH32_reset(out->sum, 0);
	}
	if (!(pack->opts.flags & COMAP_LZ4_NO_INDEX))
		err = cm_lz4_index_new(&out->index, pack->nblocks);
	if (err == 0)
		err = out->state ? new_slots(pack) : -ENOMEM;
	return err;
}

int comap_lz4_write(comap_writer *writer, struct comap_bytes bytes, const struct comap_lz4_write_opts *opts)
{
	struct pack pack = { .from = bytes.data, .size = bytes.size };
	struct out out = { .writer = writer };
	int err = read_opts(&pack.opts, opts);
	bool is_writers = false; /* it said why already */

	if (err == 0 && ((!bytes.data && bytes.size) || bytes.size > PTRDIFF_MAX))
		err = -EINVAL;
	if (err == 0)
		err = begin(&pack, &out);
	if (err == 0) {
		err = write_frame(&pack, &out);
		is_writers = true;
	}
	if (pack.slots)
		free(pack.slots[0].bytes);
	free(pack.slots);
	free(out.index.bytes);
	XXH32_freeState(out.sum);
	free(out.state);
	return err < 0 && !is_writers ? cm_view_fail(err, "compress", NULL) : err;
}
