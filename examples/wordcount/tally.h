/* tally.h - words and how often each was seen: plain private memory, no comap. */
#ifndef WORDCOUNT_TALLY_H
#define WORDCOUNT_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tally_word {
	char *word; /* NULL: the place is empty */
	size_t length;
	uint64_t count;
};

/* All zero bytes is an empty tally. */
struct tally {
	struct tally_word *place; /* open addressing; nplaces is a power of two */
	size_t nplaces;
	size_t nwords;   /* different words */
	uint64_t ntotal; /* words in all */
};

/* Running out of memory ends the program. */
void tally_add(struct tally *tally, const char *word, size_t length, uint64_t count);

/* Add each word of a text: the straightforward count, which the other is held against. */
void tally_add_text(struct tally *tally, const char *text, size_t size);

/* The same words, each as often. */
bool tally_is_same(const struct tally *a, const struct tally *b);

void tally_print_top(const struct tally *tally, size_t n);

void tally_fini(struct tally *tally);

#endif
