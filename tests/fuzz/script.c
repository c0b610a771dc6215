/* script.c - spoil a good heap as an input says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "fuzz/script.h"
#include "fuzz/seed.h"

struct place {
	uint64_t off, nwords;
};

struct change {
	uint8_t op, region;
	uint16_t index;
	uint64_t value;
};

struct work {
	const struct seed *seed;
	char *base;
};

static uint64_t unit_of(const struct seed *seed, uint64_t i)
{
	return seed->mark[i % seed->nmarks] >> CM_UNIT_SHIFT;
}

/* Offset of the descriptor of a unit. */
static uint64_t desc_of(uint64_t unit)
{
	return (unit >> 6 << CM_SEGMENT_SHIFT) + (unit & 63) * 1024;
}

/* The line of the bin whose slabs the unit belongs to. */
static uint64_t bin_of(const struct work *w, uint64_t unit)
{
	unsigned cls = (unsigned char)w->base[w->seed->units_off + unit] - 1u;

	return CM_LOCKS_OFF + (CM_LOCK_BIN + (cls < CM_CLASSES ? cls : 0)) * 64;
}

static struct place place_of(const struct work *w, uint8_t region, uint16_t index)
{
	const struct seed *s = w->seed;
	unsigned which = region / REGIONS; /* of several slots, headers, blocks */
	uint64_t slot = CM_SLOTS_OFF + which % s->nused * CM_SLOT_STRIDE;

	switch (region % REGIONS) {
	case REGION_FIXED:
		return (struct place){ 0, sizeof(struct cm_fixed_shm) / 8 };
	case REGION_STATE:
		return (struct place){ offsetof(struct cm_super_shm, limit), 24 };
	case REGION_LOCKS:
		return (struct place){ CM_LOCKS_OFF, CM_LOCKS * 8 };
	case REGION_SPAN:
		return (struct place){ CM_LOCKS_OFF + CM_LOCK_SPAN * 64, 16 };
	case REGION_BINS:
		return (struct place){ bin_of(w, unit_of(s, which)), 3 };
	case REGION_ROOTS:
		return (struct place){ CM_ROOTS_OFF, 4 + 4 * 16 };
	case REGION_ROOTS_NEXT:
		return (struct place){ s->roots ? s->roots : s->mark[0], 64 };
	case REGION_WHO:
		return (struct place){ slot + offsetof(struct cm_slot_shm, state), 26 };
	case REGION_REDO:
		return (struct place){ slot + offsetof(struct cm_slot_shm, redo), 2 + 2 * 12 };
	case REGION_LIFE:
		return (struct place){ slot, 8 };
	case REGION_UNITS:
		return (struct place){ s->units_off + (s->data_off >> CM_UNIT_SHIFT),
				       (s->limit - s->data_off) >> CM_UNIT_SHIFT >> 3 };
	case REGION_SEGMENTS:
		return (struct place){ s->segments_off + (s->data_off >> CM_SEGMENT_SHIFT) * 8,
				       (s->limit - s->data_off) >> CM_SEGMENT_SHIFT };
	case REGION_HEADER:
		return (struct place){ s->data_off + (index >> 8) % 3 * CM_SEGMENT, 4 };
	case REGION_DESC:
		return (struct place){ desc_of(unit_of(s, which)), 80 };
	case REGION_ANY_DESC:
		return (struct place){ s->data_off + which % 4 * CM_SEGMENT, CM_UNIT / 8 };
	case REGION_MUTEX:
		return (struct place){ s->mutex, 2 };
	case REGION_BLOCK:
		return (struct place){ s->mark[which % s->nmarks], 8 };
	default:
		return (struct place){ which * 2 * CM_MIB % s->size, 65536 };
	}
}

static uint64_t word_in(const struct work *w, uint8_t region, uint16_t index)
{
	struct place at = place_of(w, region, index);
	uint64_t off = at.off + index % at.nwords * 8;

	return off + 8 <= w->seed->size ? off : 0;
}

static int64_t nudge(uint64_t value)
{
	return (int16_t)value * (int64_t)(value >> 16 & 1 ? 1 : 8);
}

static uint64_t owner(const struct work *w, uint64_t value)
{
	uint32_t slot = (uint32_t)(value & 0xff) % w->seed->nslots;
	const struct cm_slot_shm *at =
		(const void *)(w->base + CM_SLOTS_OFF + slot * CM_SLOT_STRIDE);

	return cm_lock_name(slot, cm_read(&at->generation) + (uint64_t)(int8_t)(value >> 8)) |
	       (value >> 16 & 1 ? CM_LOCK_WAITERS : 0);
}

static uint64_t extreme(uint64_t value)
{
	static const uint64_t words[] = {
		~0ull, 1ull << 63, ~0ull >> 1, 1ull << 48, 1ull << 32, 0xffffffff, 1ull << 31,
		(1ull << 48) - 1, ~0ull << 16, ~1ull, 0xffff, 0x10000, 64, 63, 0,
	};

	return words[value % (sizeof words / sizeof *words)];
}

static uint64_t value_of(const struct work *w, const struct change *c)
{
	const struct seed *s = w->seed;
	uint64_t v = c->value, first = s->data_off >> CM_SEGMENT_SHIFT;

	switch ((c->op >> 3) % VALUE_KINDS) {
	case VALUE_SMALL:
		return (uint64_t)(int64_t)(int8_t)v;
	case VALUE_POWER:
		return (1ull << v % 64) - (v >> 8 & 1);
	case VALUE_LIMIT:
		return s->limit + (uint64_t)nudge(v);
	case VALUE_CEILING:
		return s->max_size + (uint64_t)nudge(v);
	case VALUE_PLACE:
		return word_in(w, (uint8_t)v, (uint16_t)(v >> 8)) | (v >> 24 & 1);
	case VALUE_OWNER:
		return owner(w, v);
	case VALUE_UNIT:
		return unit_of(s, v & 0xff) + (uint64_t)(int8_t)(v >> 8) + ((v >> 16 & 0xff) << 48);
	case VALUE_BLOCK:
		return s->mark[(v & 0xff) % s->nmarks] + (uint64_t)(int8_t)(v >> 8) * 16;
	case VALUE_SEGMENT:
		return cm_seg_entry(v & 7, v >> 8 & 0xff, v >> 16 & 0xffff) | (v >> 3 & 3) << 4;
	case VALUE_HOLD:
		return cm_hold_at(v & 3, (first + (v >> 8 & 7)) | (v >> 16 & 1) << 40);
	case VALUE_COMMIT:
		return (v >> 8 & 0xff) << 16 | (v & 0x3f);
	case VALUE_LINK:
		return unit_of(s, v & 0xff) << 32 | (v >> 16 & 1 ? unit_of(s, v >> 8 & 0xff) : 0);
	case VALUE_EXTREME:
		return extreme(v);
	case VALUE_ROOTS:
		return v & 1 ? CM_ROOTS_OFF : s->roots + (v >> 1 & 1) * 8;
	case VALUE_MARK:
		return (v & 0xff) * 0x0101010101010101ull;
	default:
		return v;
	}
}

static void change_word(const struct work *w, const struct change *c)
{
	uint64_t off = word_in(w, c->region, c->index), value = value_of(w, c), word, n;
	char *at = w->base + off;

	memcpy(&word, at, 8);
	switch (c->op & 7) {
	case CHANGE_SET:
		word = value;
		break;
	case CHANGE_XOR:
		word ^= value;
		break;
	case CHANGE_ADD:
		word += value;
		break;
	case CHANGE_OR:
		word |= value;
		break;
	case CHANGE_AND_NOT:
		word &= ~value;
		break;
	case CHANGE_BYTE:
		at[c->value >> 8 & 7] = (char)c->value;
		return;
	case CHANGE_BIT:
		word ^= 1ull << c->value % 64;
		break;
	default:
		n = cm_min((c->index & 0xff) + 1u, (w->seed->size - off) / 8);
		for (uint64_t i = 0; i < n; i++)
			memcpy(at + i * 8, &value, 8);
		return;
	}
	memcpy(at, &word, 8);
}

static struct change read_change(const uint8_t *data)
{
	struct change c = { .op = data[0], .region = data[1], .value = 0 };

	c.index = (uint16_t)(data[2] | data[3] << 8);
	for (unsigned i = 0; i < 8; i++)
		c.value |= (uint64_t)data[4 + i] << 8 * i;
	return c;
}

/* Other sizes, and all that follows from them; now and then sizes the file is too short for. */
static void resize(const struct work *w, const struct change *c)
{
	static const uint64_t max_sizes[] = {
		8 * CM_MIB, 12 * CM_MIB, 16 * CM_MIB, 32 * CM_MIB, 36 * CM_MIB, 64 * CM_MIB,
		CM_GIB, 16 * CM_GIB, CM_TIB, 64 * CM_TIB, 128 * CM_TIB, 32 * CM_MIB + CM_UNIT,
		0, ~0ull, 1ull << 63, 4 * CM_MIB,
	};
	static const uint32_t nslots[] = { 0, 1, 2, 3, 4, 8, 9, 16, 48, 64, 256, 65535, 65536, ~0u };

	seed_lay_out((struct cm_fixed_shm *)(void *)w->base,
		     max_sizes[c->value % (sizeof max_sizes / sizeof *max_sizes)],
		     nslots[(c->value >> 8) % (sizeof nslots / sizeof *nslots)]);
}

static void spoil(const struct work *w, unsigned mode, const uint8_t *data, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct change c = read_change(data + i * SCRIPT_CHANGE);

		if (i == 0 && mode == SCRIPT_SIZED)
			resize(w, &c);
		else
			change_word(w, &c);
	}
	if (mode != SCRIPT_PLAIN)
		seed_sign((struct cm_fixed_shm *)(void *)w->base);
}

static void write_all(int fd, const uint8_t *data, size_t size)
{
	if (size && write(fd, data, size) != (ssize_t)size)
		abort();
}

size_t script_write(const uint8_t *data, size_t size, int fd)
{
	unsigned n, mode = data[0] & SCRIPT_MODE;
	struct work w;

	if (mode == SCRIPT_RAW) {
		write_all(fd, data + 1, size - 1);
		return size;
	}
	n = size < SCRIPT_HEAD ? 0 : data[1] % (SCRIPT_CHANGES_MOST + 1);
	n = (unsigned)cm_min(n, size < SCRIPT_HEAD ? 0 : (size - SCRIPT_HEAD) / SCRIPT_CHANGE);
	w.seed = seed_get(data[0] >> SCRIPT_SEED_SHIFT & 3);
	seed_write(w.seed, fd);
	w.base = mmap(NULL, w.seed->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (w.base == MAP_FAILED)
		abort();
	spoil(&w, mode, data + SCRIPT_HEAD, n);
	munmap(w.base, w.seed->size);
	return cm_min(size, SCRIPT_HEAD + n * SCRIPT_CHANGE);
}
