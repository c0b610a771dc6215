/*
 * worker.c - counts the words of chunks until there is no chunk left.
 *
 * A worker may be killed at any instruction.  It keeps three rules:
 *
 *   1. It claims a chunk by a compare-and-swap that leaves its number there, so
 *      there is no instant at which a chunk is taken and nobody knows by whom.
 *   2. Whatever it allocates hangs from the chunk it has claimed.
 *   3. The store that shows the finished table is the last thing it does to the
 *      chunk.  Before it, all of the work is void; after it, all of it counts.
 *
 * Whoever begins a chunk first frees what a predecessor may have left there,
 * which for a chunk nobody had before is nothing.  So there is no separate path
 * for recovery: to recover is to begin.
 *
 * Inside the table there is no care at all, only plain memory and plain stores.
 * That is what makes it fast: a call into the heap every 64 KiB, and nothing for
 * anybody to repair, since a half built table is never looked at, only freed.
 */
#include "worker.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* The letter in lower case, or 0 for what is no letter.  Words are ASCII here. */
static unsigned char fold(char c)
{
	unsigned char lower = (unsigned char)c | 0x20;

	return lower >= 'a' && lower <= 'z' ? lower : 0;
}

static bool is_word(const struct entry *entry, const char *text, size_t length)
{
	if (entry->length != length)
		return false;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)entry->word[i] != fold(text[i]))
			return false;
	return true;
}

static int add_word(struct arena_pen *pen, entry_ref *bucket, const char *text, size_t length)
{
	struct entry *entry;

	for (entry = comap_at(pen->heap, *bucket); entry; entry = comap_at(pen->heap, entry->next)) {
		if (is_word(entry, text, length)) {
			entry->count++;
			return 0;
		}
	}
	if (length > UINT32_MAX)
		return -EFBIG;
	entry = arena_take(pen, sizeof *entry + length);
	if (!entry)
		return -errno;
	entry->next = *bucket;
	entry->count = 1;
	entry->length = (uint32_t)length;
	for (size_t i = 0; i < length; i++)
		entry->word[i] = (char)fold(text[i]);
	comap_set(pen->heap, *bucket, entry);
	return 0;
}

/*
 * A word belongs to the chunk its first letter is in: the chunk before reads on
 * past its own end, and this one skips what is left of a word begun before it.
 */
static int add_words(const struct job *job, size_t begin, struct arena_pen *pen,
		     struct table *table)
{
	const char *at = job->text + begin;
	const char *text_end = job->text + job->size;
	const char *end = job->size - begin < job->chunk_size ? text_end : at + job->chunk_size;

	if (begin > 0 && fold(at[-1]))
		while (at < end && fold(*at))
			at++;

	for (;;) {
		const char *word;
		uint32_t hash = 0;
		int err;

		while (at < end && !fold(*at))
			at++;
		if (at == end)
			return 0;
		for (word = at; at < text_end && fold(*at); at++)
			hash = hash * 31 + fold(*at);
		hash = (hash * 2654435769u) >> 16;
		err = add_word(pen, &table->bucket[hash % NBUCKETS], word, (size_t)(at - word));
		if (err || at >= end)
			return err;
	}
}

static int count_chunk(const struct job *job, struct chunk *chunk)
{
	size_t begin = (size_t)(chunk - job->board->chunk) * job->chunk_size;
	struct arena_pen pen;
	struct table *table;
	int err;

	arena_clear(job->heap, &chunk->arena);

	arena_open(&pen, job->heap, &chunk->arena);
	table = arena_take(&pen, sizeof *table);
	if (!table)
		return -errno;
	memset(table, 0, sizeof *table);
	err = add_words(job, begin, &pen, table);
	if (err)
		return err;

	/* release, pairs with the acquire in merge_finished(): whoever sees the table sees
	 * all of it.  death: before this store the chunk is done again; after it, it is
	 * finished, and none of ours. */
	comap_ref_store(&chunk->table.ref, comap_heap_ref(job->heap, table));
	return 0;
}

/* A chunk that is ours from now on, or NULL when each has an owner. */
static struct chunk *claim_chunk(struct board *board, uint32_t me)
{
	/* relaxed: a ticket only spreads the workers out.  One that is lost with its holder
	 * does no harm, since everybody looks all the way round. */
	uint64_t ticket = atomic_fetch_add_explicit(&board->ticket, 1, memory_order_relaxed);

	for (uint64_t i = 0; i < board->nchunks; i++) {
		struct chunk *chunk = &board->chunk[(ticket + i) % board->nchunks];
		uint32_t owner = CHUNK_FREE;

		/* death: before the swap the chunk is free; after it, it is known as ours. */
		if (atomic_compare_exchange_strong(&chunk->owner, &owner, me))
			return chunk;
	}
	return NULL;
}

int worker_run(const struct job *job, uint32_t me, struct chunk *chunk)
{
	int err = 0;

	if (!chunk)
		chunk = claim_chunk(job->board, me);
	while (chunk && !err) {
		err = count_chunk(job, chunk);
		chunk = claim_chunk(job->board, me);
	}
	return err;
}
