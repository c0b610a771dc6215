/*
 * paint.c - patterns that tell one block from another.
 *
 * Up to a page every byte is painted; beyond it both ends and a word in each page, so
 * that large blocks do not make the soak a memory benchmark.
 */
#include "soak.h"

#define WHOLE 4096u
#define END 64u

static unsigned char shade(uint64_t colour, size_t at)
{
	return (unsigned char)((colour * 0x9e3779b97f4a7c15u + at * 0xd1342543de82ef95u) >> 53);
}

/* The next byte after `at` that is painted. */
static size_t step(size_t size, size_t at)
{
	size_t next = at + 1;

	if (size <= WHOLE || next < END || next >= size - END)
		return next;
	if (next % 4096 < 8)
		return next;
	next = (next / 4096 + 1) * 4096;
	return next < size - END ? next : size - END;
}

void paint(void *block, size_t size, uint64_t colour)
{
	unsigned char *p = block;

	for (size_t at = 0; at < size; at = step(size, at))
		p[at] = shade(colour, at);
}

long find_stain(const void *block, size_t size, uint64_t colour)
{
	const unsigned char *p = block;

	for (size_t at = 0; at < size; at = step(size, at))
		if (p[at] != shade(colour, at))
			return (long)at;
	return -1;
}

void label(void *block, size_t size, uint64_t colour)
{
	uint64_t words[3] = { colour, size, ~(colour ^ size << 20) };

	memcpy(block, words, sizeof words);
	paint((char *)block + LABEL_BYTES, size - LABEL_BYTES, colour);
}

const char *read_label(const void *block, size_t usable, size_t *ret_size, uint64_t *ret_colour)
{
	uint64_t words[3];

	memcpy(words, block, sizeof words);
	*ret_colour = words[0];
	*ret_size = words[1];
	if (words[2] != ~(words[0] ^ words[1] << 20))
		return "its label is overwritten";
	if (words[1] < LABEL_BYTES || words[1] > usable)
		return "it is shorter than its label says";
	if (find_stain((const char *)block + LABEL_BYTES, words[1] - LABEL_BYTES, words[0]) >= 0)
		return "its paint is overwritten";
	return NULL;
}
