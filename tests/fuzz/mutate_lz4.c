/*
 * mutate_lz4.c - libFuzzer's mutations, and then, mostly, checksums that are right again.
 *
 * A random change hardly ever gets past the byte that sums up a frame's header, or the checksum of
 * an index.  So after a change the headers are walked as far as they go and their sums are set,
 * those of blocks and of the index, too; now and then they are left wrong.  (The content's would
 * need its bytes: the seeds have some that are right.)
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#define MAGIC 0x184D2204u
#define MAGIC_SKIP 0x184D2A50u
#define INDEX_TAIL 48u

static uint32_t get(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void set(uint8_t *at, uint64_t n, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(n >> (8 * i));
}

/* A frame: where the next one begins, or size. */
static size_t mend_frame(uint8_t *data, size_t at, size_t size)
{
	size_t from = at + 4, to = at + 6 + (data[from] & 8) + (data[from] & 1 ? 4 : 0);
	unsigned sum = data[from] & 0x10 ? 4 : 0;
	uint32_t length;

	if (to >= size)
		return size;
	data[to] = (uint8_t)(XXH32(data + from, to - from, 0) >> 8);
	for (at = to + 1; size - at >= 4; at += 4 + length + sum) {
		length = get(data + at) & 0x7fffffff;
		if (get(data + at) == 0)
			return at + 4 + (data[from] & 4);
		if (length + 4ull + sum > size - at)
			return size;
		if (sum)
			set(data + at + 4 + length, XXH32(data + at + 4, length, 0), 4);
	}
	return size;
}

static void mend(uint8_t *data, size_t size)
{
	uint64_t length;

	for (size_t at = 0; at < size && size - at >= 15;) {
		if (get(data + at) == MAGIC) {
			at = mend_frame(data, at, size);
			continue;
		}
		length = get(data + at + 4);
		if ((get(data + at) & ~0xfu) != MAGIC_SKIP || length > size - at - 8)
			return;
		if (length >= INDEX_TAIL && memcmp(data + at + length, "comaplz4", 8) == 0)
			set(data + at + length - 8, XXH64(data + at, length - 8, 0), 8);
		at += 8 + length;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	size = LLVMFuzzerMutate(data, size, max_size);
	if (seed % 8)
		mend(data, size);
	return size;
}
