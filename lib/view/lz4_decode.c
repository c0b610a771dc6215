/*
 * lz4_decode.c - one block, decoded from where it lies in the file.
 *
 * The decoder reads the mapping itself: a copy first would cost a third of the time, and keep it no
 * safer from others who write to the file.  LZ4_decompress_safe stays inside what it was given,
 * whatever the bytes say, also when they change while it looks.
 *
 * A file that was cut short is another matter.  Before we look, the file is asked for its length,
 * so what was gone already is an error.  What goes while we look is a guard's business (guard.h):
 * in a program that installed it no signal comes, and in any program leave asks for the length
 * again, for the zeroes of the last page come without one.  It is entered here and not by the
 * caller, because guards are a thread's own and some threads are ours.
 *
 * How a block may end depends on how much room the decoder has: with all that a block of the
 * frame can have, it is less strict.  liblz4's own reader gives it that much, so what fails in
 * its exact place is tried there again before it is called damaged.
 *
 * For a few bytes a block is decoded as far as they need it, which is half of it on the average.
 * What follows is not looked at then, and damage there shows to those who read it.
 */
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include "view/lz4.h"

int cm_lz4_enter(const comap_lz4 *lz4, comap_guard *guard, uint64_t end)
{
	const struct cm_memory *memory = lz4->view->memory;
	uint64_t size, begin;

	if (end && memory->kind == CM_MEMORY_MAPPED && !memory->is_sealed && memory->fd >= 0 &&
	    memory->born.kind == CM_OS_REGULAR) {
		begin = memory->offset + (uint64_t)(lz4->view->data - memory->data);
		if (cm_os_file_size(memory->fd, &size) == 0 && (size < begin || size - begin < end))
			return -ENODATA;
	}
	comap_guard_enter(guard, lz4->view);
	return 0;
}

int cm_lz4_leave(comap_guard *guard, int err)
{
	int gone = comap_guard_leave(guard);

	return gone < 0 ? gone : err;
}

static const struct cm_lz4_frame *frame_of(const comap_lz4 *lz4, const struct cm_lz4_block *block)
{
	return &lz4->frames[block->frame];
}

uint64_t cm_lz4_end(const comap_lz4 *lz4, uint64_t i)
{
	const struct cm_lz4_block *block = &lz4->blocks[i];

	return block->at + cm_lz4_length(block->word) + cm_lz4_sum_size(frame_of(lz4, block));
}

int cm_lz4_check(const comap_lz4 *lz4, uint64_t i)
{
	const struct cm_lz4_block *block = &lz4->blocks[i];
	uint32_t length = cm_lz4_length(block->word), sum;

	if (!cm_lz4_sum_size(frame_of(lz4, block)))
		return 0;
	if (comap_bytes_u32le(lz4->bytes, block->at + length, &sum) < 0)
		return -EUCLEAN;
	return XXH32(cm_lz4_at(lz4, block->at), length, 0) == sum ? 0 : -EUCLEAN;
}

static int inflate(const char *from, uint32_t length, char *to, size_t n, size_t size, size_t room)
{
	if (n < size)
		return LZ4_decompress_safe_partial(from, to, (int)length, (int)n, (int)room);
	return LZ4_decompress_safe(from, to, (int)length, (int)room);
}

/* The first n bytes of it. */
static bool decode(const comap_lz4 *lz4, const struct cm_lz4_block *block, char *to, size_t n, size_t room)
{
	uint32_t length = cm_lz4_length(block->word), word;
	size_t size = cm_lz4_size(block);
	const char *from = cm_lz4_at(lz4, block->at);

	if (comap_bytes_u32le(lz4->bytes, block->at - 4, &word) < 0 || word != block->word)
		return false; /* an index that lies, or somebody wrote there */
	if (!(word & CM_LZ4_STORED))
		return inflate(from, length, to, n, size, room) == (int)n;
	if (length != size)
		return false;
	memcpy(to, from, n);
	return true;
}

int64_t cm_lz4_decode_any(const comap_lz4 *lz4, uint64_t i, void *to)
{
	const struct cm_lz4_block *block = &lz4->blocks[i];
	uint32_t length = cm_lz4_length(block->word), word;
	const char *from = cm_lz4_at(lz4, block->at);
	int got;

	if (comap_bytes_u32le(lz4->bytes, block->at - 4, &word) < 0 || word != block->word)
		return -EUCLEAN; /* somebody wrote there */
	if (word & CM_LZ4_STORED) {
		memcpy(to, from, length);
		return length;
	}
	got = LZ4_decompress_safe(from, to, (int)length, (int)frame_of(lz4, block)->block_most);
	return got < 0 ? -EUCLEAN : got;
}

int cm_lz4_decode_first(const comap_lz4 *lz4, uint64_t i, void *to, size_t n)
{
	const struct cm_lz4_block *block = &lz4->blocks[i];

	return decode(lz4, block, to, n, frame_of(lz4, block)->block_most) ? 0 : -EUCLEAN;
}

int cm_lz4_decode_exact(const comap_lz4 *lz4, uint64_t i, void *to)
{
	const struct cm_lz4_block *block = &lz4->blocks[i];
	size_t size = cm_lz4_size(block);
	char *room;
	int err;

	if (decode(lz4, block, to, size, size))
		return 0;
	room = calloc(1, frame_of(lz4, block)->block_most);
	if (!room)
		return -ENOMEM;
	err = cm_lz4_decode_first(lz4, i, room, size);
	if (err == 0)
		memcpy(to, room, size);
	free(room);
	return err;
}
