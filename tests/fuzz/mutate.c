/*
 * mutate.c - libFuzzer's changes, told what an input looks like.
 *
 * Left alone libFuzzer inserts and drops bytes, and every change behind that place becomes
 * another.  Here whole changes and whole steps come, go and alter; now and then the bytes are
 * left to libFuzzer.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz/script.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t asize, const uint8_t *b, size_t bsize,
				 uint8_t *out, size_t max_size, unsigned int seed);

struct input {
	uint8_t *data;
	size_t size, max_size;
	size_t n;     /* changes */
	size_t steps; /* where they begin */
};

static size_t below(size_t n)
{
	return n ? (size_t)rand() % n : 0;
}

static size_t count_changes(const uint8_t *data, size_t size)
{
	size_t said = data[1] % (SCRIPT_CHANGES_MOST + 1), there = (size - SCRIPT_HEAD) / SCRIPT_CHANGE;

	return said < there ? said : there;
}

static struct input parse(uint8_t *data, size_t size, size_t max_size)
{
	struct input in = { .data = data, .size = size, .max_size = max_size };

	in.n = count_changes(data, size);
	data[1] = (uint8_t)in.n;
	in.steps = SCRIPT_HEAD + in.n * SCRIPT_CHANGE;
	return in;
}

static int insert(struct input *in, size_t at, const uint8_t *from, size_t n)
{
	if (in->size + n > in->max_size)
		return 0;
	memmove(in->data + at + n, in->data + at, in->size - at);
	memcpy(in->data + at, from, n);
	in->size += n;
	return 1;
}

static void drop(struct input *in, size_t at, size_t n)
{
	memmove(in->data + at, in->data + at + n, in->size - at - n);
	in->size -= n;
}

static uint64_t draw_value(void)
{
	uint64_t value = (uint64_t)below(256);

	for (unsigned i = 1; i < 8 && below(3); i++)
		value |= (uint64_t)below(256) << 8 * i;
	return value;
}

static void draw_change(uint8_t change[SCRIPT_CHANGE])
{
	uint64_t value = draw_value();

	change[0] = (uint8_t)(below(8) | below(VALUE_KINDS) << 3);
	change[1] = (uint8_t)below(256);
	change[2] = (uint8_t)below(below(2) ? 8 : 256);
	change[3] = (uint8_t)below(4);
	memcpy(change + 4, &value, 8);
}

static void add_change(struct input *in)
{
	uint8_t change[SCRIPT_CHANGE];
	size_t at = below(in->n + 1);

	draw_change(change);
	if (in->n && below(3) == 0) /* beside another: the same, one word on */
		memcpy(change, in->data + SCRIPT_HEAD + below(in->n) * SCRIPT_CHANGE, sizeof change);
	if (below(3) == 0)
		change[2]++;
	if (in->n < SCRIPT_CHANGES_MOST &&
	    insert(in, SCRIPT_HEAD + at * SCRIPT_CHANGE, change, sizeof change))
		in->data[1] = (uint8_t)++in->n;
}

static void alter_change(struct input *in)
{
	uint8_t *change = in->data + SCRIPT_HEAD + below(in->n) * SCRIPT_CHANGE;
	uint8_t other[SCRIPT_CHANGE];

	if (!in->n)
		return;
	draw_change(other);
	switch (below(6)) {
	case 0:
		change[0] = other[0];
		break;
	case 1:
		change[1] = other[1];
		break;
	case 2:
		change[2] = (uint8_t)(change[2] + below(5) - 2);
		break;
	case 3:
		change[4 + below(8)] = (uint8_t)below(256);
		break;
	case 4:
		change[4] = (uint8_t)(change[4] + below(5) - 2);
		break;
	default:
		memcpy(change + 4, other + 4, 8);
	}
}

static void drop_change(struct input *in)
{
	if (!in->n)
		return;
	drop(in, SCRIPT_HEAD + below(in->n) * SCRIPT_CHANGE, SCRIPT_CHANGE);
	in->data[1] = (uint8_t)--in->n;
}

static void change_steps(struct input *in)
{
	uint8_t step[2] = { (uint8_t)below(32), (uint8_t)below(256) };
	size_t n, at;

	in->steps = SCRIPT_HEAD + in->n * SCRIPT_CHANGE;
	n = (in->size - in->steps) / 2;
	at = in->steps + below(n + 1) * 2;
	if (n < SCRIPT_STEPS_MOST / 2 && below(2))
		(void)insert(in, at, step, 2);
	else if (n && at + 2 <= in->size && below(2))
		drop(in, at, 2);
	else if (n)
		in->data[in->steps + below(n * 2)] = (uint8_t)below(256);
}

static void change_head(struct input *in)
{
	if (below(3))
		in->data[0] ^= (uint8_t)(1u << below(8));
	else
		in->data[0] = (uint8_t)((in->data[0] & ~SCRIPT_MODE) | SCRIPT_PLAIN);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	struct input in;

	srand(seed);
	if (size < SCRIPT_HEAD || (data[0] & SCRIPT_MODE) == SCRIPT_RAW || below(16) == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	in = parse(data, size, max_size);
	for (size_t times = 1 + below(4); times; times--)
		switch (below(8)) {
		case 0:
		case 1:
			add_change(&in);
			break;
		case 2:
		case 3:
			alter_change(&in);
			break;
		case 4:
			drop_change(&in);
			break;
		case 5:
		case 6:
			change_steps(&in);
			break;
		default:
			change_head(&in);
		}
	return in.size;
}

/* The changes of one, the steps of the other. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t asize, const uint8_t *b, size_t bsize,
				 uint8_t *out, size_t max_size, unsigned int seed)
{
	size_t keep, from;

	(void)seed;
	if (asize < SCRIPT_HEAD || bsize < SCRIPT_HEAD || asize > max_size)
		return 0;
	memcpy(out, a, asize);
	keep = SCRIPT_HEAD + count_changes(out, asize) * SCRIPT_CHANGE;
	from = SCRIPT_HEAD + count_changes(b, bsize) * SCRIPT_CHANGE;
	out[1] = (uint8_t)count_changes(out, asize);
	if (keep + bsize - from > max_size)
		return keep;
	memcpy(out + keep, b + from, bsize - from);
	return keep + bsize - from;
}
