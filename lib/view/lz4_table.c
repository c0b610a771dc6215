/*
 * lz4_table.c - the tables of frames and blocks, and how long each block is inflated.
 *
 * A block's header says how long it is as stored.  What it becomes is written nowhere: most
 * writers fill all blocks of a frame but the last, but whoever flushes a stream leaves a
 * short one in its midst, and from there on each offset would be wrong, silently.
 *
 * So it is measured: the lengths of a block's sequences are added up, nothing is copied.  That is
 * one and a half times as fast as decoding, done by several threads, and it touches all of the
 * file.  (Two blocks by turns in one thread took 0.75 of the time on one processor, and no less on
 * the two threads of a core.)  Where a frame says how long its content is, its last block is
 * enough: when that and all the others at their fullest make up the content, each of the others
 * must be full.
 *
 * A decoder asks for more: offsets that lead into the block, and how its last sequence looks.  What
 * passes here may yet be damaged; what does not, no decoder takes, but for one thing: a match at
 * offset 0, which the format forbids, liblz4 copies from where it writes to, and so whatever was
 * there before comes out.  Who wants to be sure of files of strangers has all blocks measured; for
 * the others it is memory of zeroes, or of this same content, wherever it is not the caller's.
 *
 * The tables grow by doubling, as blocks are found: no number in a file makes them large, only its
 * length does, 24 bytes for each block of at least 4.
 */
#include <stdlib.h>
#include "view/lz4.h"

/* Room for one more. */
static int grow(void **table, uint64_t n, uint64_t *room, size_t each)
{
	uint64_t more = *room ? 2 * *room : 16;
	void *grown;

	if (n < *room)
		return 0;
	if (more > SIZE_MAX / each)
		return -ENOMEM;
	grown = realloc(*table, (size_t)more * each);
	if (!grown)
		return -ENOMEM;
	*table = grown;
	*room = more;
	return 0;
}

int cm_lz4_add_block(comap_lz4 *lz4, uint64_t at, uint32_t word)
{
	void *table = lz4->blocks;

	if (grow(&table, lz4->nblocks, &lz4->room_blocks, sizeof *lz4->blocks) < 0)
		return -ENOMEM;
	lz4->blocks = table;
	lz4->blocks[lz4->nblocks++] = (struct cm_lz4_block){
		.at = at,
		.word = word,
		.frame = (uint32_t)lz4->nframes,
	};
	return 0;
}

/* What follows a length of 15: bytes to add, the last of which is not 255.  false: the block ends
 * before. */
static bool read_more(const uint8_t **p, const uint8_t *end, uint64_t *length)
{
	uint8_t byte;

	do {
		if (*p == end)
			return false;
		byte = *(*p)++;
		*length += byte;
	} while (byte == 255);
	return true;
}

int64_t cm_lz4_measure(const void *block, size_t n, uint64_t most)
{
	const uint8_t *p = block, *end = p + n;
	uint64_t size = 0, literals, match;
	uint8_t token;

	while (p < end && size <= most) {
		token = *p++;
		literals = token >> 4;
		match = (token & 15u) + 4u;
		if (literals == 15 && !read_more(&p, end, &literals))
			break;
		if (literals > (uint64_t)(end - p))
			break;
		p += literals;
		size += literals;
		if (p == end) /* the last sequence is literals only */
			return size <= most ? (int64_t)size : -EUCLEAN;
		if (end - p < 2)
			break;
		if (p[0] == 0 && p[1] == 0) /* where the match is: nowhere */
			break;
		p += 2;
		if (match == 19 && !read_more(&p, end, &match))
			break;
		size += match;
	}
	return -EUCLEAN;
}

static int64_t measure(const comap_lz4 *lz4, const struct cm_lz4_frame *frame, uint64_t i)
{
	const struct cm_lz4_block *block = &lz4->blocks[i];
	uint32_t length = cm_lz4_length(block->word);

	if (block->word & CM_LZ4_STORED)
		return length;
	return cm_lz4_measure(cm_lz4_at(lz4, block->at), length, frame->block_most);
}

/* All full but the last?  Then *ret_last is its size. */
static bool is_known_full(const comap_lz4 *lz4, const struct cm_lz4_frame *frame, bool is_full,
			  uint64_t *ret_last)
{
	uint64_t others = (frame->nblocks - 1) * frame->block_most;
	int64_t last;

	if (lz4->is_strict || !frame->declared || frame->declared < others ||
	    frame->declared - others > frame->block_most)
		return false;
	*ret_last = frame->declared - others;
	if (is_full)
		return true;
	last = measure(lz4, frame, frame->first + frame->nblocks - 1);
	return last >= 0 && (uint64_t)last == *ret_last;
}

/* ---- sizes, by several threads ------------------------------------------------------- */

struct sizing {
	comap_lz4 *lz4;
	const struct cm_lz4_frame *frame;
	uint64_t per_run; /* blocks */
};

/* Their sizes stand in `content` until place() makes offsets of them. */
static int measure_run(const void *arg, void *state, uint64_t run, struct cm_lz4_piece *piece)
{
	const struct sizing *sizing = arg;
	comap_lz4 *lz4 = sizing->lz4;
	uint64_t i = run * sizing->per_run, end = cm_min(i + sizing->per_run, sizing->frame->nblocks);
	comap_guard guard;
	int64_t size = 0;
	int err = cm_lz4_enter(lz4, &guard, 0);

	(void)state;
	(void)piece;
	for (; err == 0 && i < end; i++) {
		size = measure(lz4, sizing->frame, sizing->frame->first + i);
		err = size < 0 ? (int)size : 0;
		lz4->blocks[sizing->frame->first + i].content = (uint64_t)size;
	}
	return cm_lz4_leave(&guard, err);
}

static int measure_all(comap_lz4 *lz4, const struct cm_lz4_frame *frame)
{
	struct sizing sizing = { lz4, frame, cm_max(1, CM_LZ4_RUN_SIZE / frame->block_most) };
	struct cm_lz4_work work = {
		.npieces = cm_div_up(frame->nblocks, sizing.per_run),
		.arg = &sizing,
		.make = measure_run,
	};

	return cm_lz4_run(&work, 0);
}

/* All are full, and the last one has so many bytes.  What is stored as it is must agree. */
static int set_full(comap_lz4 *lz4, const struct cm_lz4_frame *frame, uint64_t last)
{
	uint64_t end = frame->first + frame->nblocks;

	for (uint64_t i = frame->first; i < end; i++) {
		lz4->blocks[i].content = i == end - 1 ? last : frame->block_most;
		if (lz4->blocks[i].word & CM_LZ4_STORED &&
		    cm_lz4_length(lz4->blocks[i].word) != lz4->blocks[i].content)
			return -EUCLEAN;
	}
	return 0;
}

/* Where each block's content begins. */
static int place(comap_lz4 *lz4, struct cm_lz4_frame *frame, bool is_full)
{
	uint64_t last = 0, size;
	int err = 0;

	if (frame->nblocks && is_known_full(lz4, frame, is_full, &last))
		err = set_full(lz4, frame, last);
	else if (frame->nblocks)
		err = measure_all(lz4, frame);
	for (uint64_t i = frame->first; err == 0 && i < frame->first + frame->nblocks; i++) {
		size = lz4->blocks[i].content;
		if (size > (uint64_t)INT64_MAX - frame->content - frame->size)
			return -EUCLEAN;
		lz4->blocks[i].content = frame->content + frame->size;
		frame->size += size;
	}
	return err < 0 ? err : frame->declared && frame->declared != frame->size ? -EUCLEAN : 0;
}

int cm_lz4_add_frame(comap_lz4 *lz4, struct cm_lz4_frame *frame, bool is_full)
{
	void *table = lz4->frames;
	int err;

	if (lz4->nframes == UINT32_MAX) /* a block has 32 bits to say which is its frame */
		return -EUCLEAN;
	if (grow(&table, lz4->nframes, &lz4->room_frames, sizeof *lz4->frames) < 0)
		return -ENOMEM;
	lz4->frames = table;
	frame->nblocks = lz4->nblocks - frame->first;
	frame->content = lz4->content_size;
	frame->size = 0;
	err = lz4->is_unmeasured ? 0 : place(lz4, frame, is_full);
	if (err < 0)
		return err;
	lz4->content_size += frame->size;
	lz4->checks &= frame->checks;
	if (frame->block_most > lz4->block_most)
		lz4->block_most = frame->block_most;
	lz4->frames[lz4->nframes++] = *frame;
	return 0;
}

int cm_lz4_finish(comap_lz4 *lz4)
{
	int err = cm_lz4_add_block(lz4, 0, 0);

	if (err < 0)
		return err;
	lz4->nblocks--;
	lz4->blocks[lz4->nblocks].content = lz4->content_size;
	return 0;
}

void cm_lz4_clear(comap_lz4 *lz4)
{
	free(lz4->frames);
	free(lz4->blocks);
	lz4->frames = NULL;
	lz4->blocks = NULL;
	lz4->nframes = lz4->nblocks = lz4->room_frames = lz4->room_blocks = 0;
	lz4->content_size = 0;
	lz4->block_most = 0;
	lz4->checks = COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT;
}
