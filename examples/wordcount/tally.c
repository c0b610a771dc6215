/*
 * tally.c - words and how often each was seen: plain private memory, no comap.
 *
 * The parent merges the workers' tables into a tally, and makes another one by
 * itself to hold it against.  For that to prove anything the two ways of
 * counting share nothing: tally_add_text() has a tokeniser of its own, written
 * in other words than worker.c's, knows no chunks, and hashes differently.
 */
#include "tally.h"

#include <ctype.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_of(const char *word, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)word[i]) * 0x100000001b3;
	return hash ^ hash >> 32;
}

/* The place of the word, or the empty one where it belongs. */
static struct tally_word *find(const struct tally *tally, const char *word, size_t length)
{
	size_t i = hash_of(word, length) & (tally->nplaces - 1);

	for (;; i = (i + 1) & (tally->nplaces - 1)) {
		struct tally_word *place = &tally->place[i];

		if (!place->word)
			return place;
		if (place->length == length && !memcmp(place->word, word, length))
			return place;
	}
}

static void grow(struct tally *tally)
{
	struct tally bigger = *tally;

	bigger.nplaces = tally->nplaces ? 2 * tally->nplaces : 1024;
	bigger.place = calloc(bigger.nplaces, sizeof *bigger.place);
	if (!bigger.place)
		err(1, "tally");
	for (size_t i = 0; i < tally->nplaces; i++) {
		const struct tally_word *old = &tally->place[i];

		if (old->word)
			*find(&bigger, old->word, old->length) = *old;
	}
	free(tally->place);
	*tally = bigger;
}

void tally_add(struct tally *tally, const char *word, size_t length, uint64_t count)
{
	struct tally_word *place;

	if (2 * tally->nwords >= tally->nplaces)
		grow(tally);
	place = find(tally, word, length);
	if (!place->word) {
		place->word = malloc(length + 1);
		if (!place->word)
			err(1, "tally");
		memcpy(place->word, word, length);
		place->word[length] = '\0';
		place->length = length;
		tally->nwords++;
	}
	place->count += count;
	tally->ntotal += count;
}

void tally_add_text(struct tally *tally, const char *text, size_t size)
{
	char *word = NULL;
	size_t length = 0, room = 0;

	for (size_t i = 0; i <= size; i++) {
		int c = i < size ? (unsigned char)text[i] : '\n';

		if (isalpha(c)) { /* of the "C" locale: nobody called setlocale() */
			if (length == room) {
				room = room ? 2 * room : 64;
				word = realloc(word, room);
				if (!word)
					err(1, "tally");
			}
			word[length++] = (char)tolower(c);
		} else if (length > 0) {
			tally_add(tally, word, length, 1);
			length = 0;
		}
	}
	free(word);
}

bool tally_is_same(const struct tally *a, const struct tally *b)
{
	/* As many words in both, and each of a's in b: then each of b's is in a. */
	if (a->nwords != b->nwords || a->ntotal != b->ntotal)
		return false;
	for (size_t i = 0; i < a->nplaces; i++) {
		const struct tally_word *in_a = &a->place[i];

		if (in_a->word && find(b, in_a->word, in_a->length)->count != in_a->count)
			return false;
	}
	return true;
}

static int by_count(const void *left, const void *right)
{
	const struct tally_word *l = left, *r = right;

	if (l->count != r->count)
		return l->count < r->count ? 1 : -1;
	return l->word && r->word ? strcmp(l->word, r->word) : 0;
}

void tally_print_top(const struct tally *tally, size_t n)
{
	struct tally_word *sorted = calloc(tally->nplaces + 1, sizeof *sorted);

	if (!sorted)
		err(1, "tally");
	if (tally->nplaces > 0)
		memcpy(sorted, tally->place, tally->nplaces * sizeof *sorted);
	qsort(sorted, tally->nplaces, sizeof *sorted, by_count);
	for (size_t i = 0; i < n && i < tally->nwords; i++)
		printf("%12llu  %s\n", (unsigned long long)sorted[i].count, sorted[i].word);
	free(sorted);
}

void tally_fini(struct tally *tally)
{
	for (size_t i = 0; i < tally->nplaces; i++)
		free(tally->place[i].word);
	free(tally->place);
	*tally = (struct tally){ 0 };
}
