/*
 * test_bad_tables.c - damage that no checksum covers: records of recovery, locks, tables.
 *
 * A heap with such damage is refused with EUCLEAN, and left as it was, or it opens; then
 * nothing done with it crashes, hangs or leaves the mapping, and the check says what is wrong.
 * Each piece of damage is tried in a child of its own, all of them before a test fails.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <comap.h>
#include "fuzz/exercise.h"
#include "fuzz/seed.h"
#include "support/kin.h"

#define SECONDS 5u

enum outcome {
	REFUSED,  /* EUCLEAN */
	REPORTED, /* opens, and the check says what is wrong */
	NOTICED,  /* either of the two */
	SURVIVED, /* either, or it does no harm at all */
	WELL,     /* no damage: opens, and the check finds nothing */
};

#define ONE_BYTE (1ull << 63) /* in an offset: a byte changes, not a word */

struct poke {
	uint64_t off, value;
};

struct damage {
	const char *text; /* as it stands in the source */
	int line;
	unsigned which;
	enum outcome outcome;
	const struct poke *poke;
	size_t npokes;
	bool looks_first;
};

static void poke(int fd, const struct damage *d)
{
	for (size_t i = 0; i < d->npokes; i++)
		KIN_CHECK(pwrite(fd, &d->poke[i].value, d->poke[i].off & ONE_BYTE ? 1 : 8,
				 (off_t)(d->poke[i].off & ~ONE_BYTE)) > 0);
}

static int suffer_once(int fd, const struct damage *d, bool is_first)
{
	struct seed_print before = seed_print(fd);
	struct exercise_walls walls;
	comap_heap *heap;
	int err = comap_heap_open_fd(fd, NULL, &heap), found = 0;

	if (err < 0) {
		KIN_CHECK(err == -EUCLEAN);
		KIN_CHECK(comap_heap_open_reason()[0]);
		KIN_CHECK(seed_print_is_same(before, seed_print(fd)));
		KIN_CHECK(!is_first || d->outcome == REFUSED || d->outcome == NOTICED ||
			  d->outcome == SURVIVED);
		return 0;
	}
	KIN_CHECK(!is_first || d->outcome != REFUSED);
	walls = exercise_wall_in(heap, heap->seg.max_size);
	if (is_first && d->looks_first) {
		found = exercise_look(heap);
		KIN_CHECK((d->outcome != REPORTED && d->outcome != NOTICED) || found == -EUCLEAN);
		KIN_CHECK(d->outcome != WELL || found == 0);
	}
	if (is_first)
		exercise_round(heap);
	(void)exercise_look(heap);
	exercise_wall_out(&walls);
	comap_heap_close(heap);
	return 0;
}

static int suffer_in_child(void *arg)
{
	struct damage *d = arg;
	int fd = seed_thaw(seed_get(d->which));

	poke(fd, d);
	watch_begin(d->text, SECONDS);
	suffer_once(fd, d, true);
	suffer_once(fd, d, false); /* what the program made of it opens, or is refused */
	return 0;
}

static unsigned nfailed;

static void suffer(struct damage d)
{
	int status = 0;

	for (unsigned turn = 0; turn < 2 && status == 0; turn++) {
		d.looks_first = turn == 0;
		status = kin_run(suffer_in_child, &d);
	}
	if (status == 0)
		return;
	nfailed++;
	print_error("test_bad_tables.c:%d: %s %d%s: %s", d.line, status < 0 ? "signal" : "status",
		    abs(status), d.looks_first ? "" : ", used before it was looked at", d.text);
	for (size_t i = 0; i < d.npokes; i++)
		print_error("; %#llx at %#llx", (unsigned long long)d.poke[i].value,
			    (unsigned long long)(d.poke[i].off & ~ONE_BYTE));
	print_error("\n");
}

#define SUFFER(which, outcome, ...) \
	suffer((struct damage){#__VA_ARGS__, __LINE__, which, outcome, (const struct poke[]){__VA_ARGS__}, \
			       sizeof((const struct poke[]){__VA_ARGS__}) / sizeof(struct poke), false})

/* All of them are tried before the test fails. */
static void begin_damage(void)
{
	nfailed = 0;
}

static void end_damage(void)
{
	assert_int_equal(nfailed, 0);
}

/* Offsets of words. */
#define AT_SUPER(field) offsetof(struct cm_super_shm, field)
#define AT_SLOT(i, field) (CM_SLOTS_OFF + (i) * CM_SLOT_STRIDE + offsetof(struct cm_slot_shm, field))
#define AT_PAIR(i, k, field) (AT_SLOT(i, redo.pair) + (k) * 16 + offsetof(struct cm_redo_pair_shm, field))
/* ends, then cap | full << 32 */
#define AT_MAGAZINE(i, mark) (CM_SLOTS_OFF + (i) * CM_SLOT_STRIDE + CM_SLOT_MAGAZINES + (mark) * 16)
#define AT_LOCK(id) (CM_LOCKS_OFF + (uint64_t)(id) * 64)
#define AT_LAST(id) (AT_LOCK(id) + 8)
#define AT_LOCK_WORD(id, k) (AT_LOCK(id) + 16 + (k) * 8)
#define AT_SEGMENT(seed, s) ((seed)->segments_off + (s) * 8)
#define AT_UNIT(seed, u) (((seed)->units_off + (u)) | ONE_BYTE)
#define AT_HEADER(s, field) (((uint64_t)(s) << CM_SEGMENT_SHIFT) + offsetof(struct cm_header_shm, field))
#define AT_DESC(u, field) \
	(((u) >> 6 << CM_SEGMENT_SHIFT) + ((u) & 63) * 1024 + offsetof(struct cm_desc_shm, field))
#define AT_ROOT(page, i, field) \
	((page) + offsetof(struct cm_root_page_shm, root) + (i) * sizeof(struct cm_root_shm) + \
	 offsetof(struct cm_root_shm, field))

static uint64_t word_of(const struct seed *seed, uint64_t off)
{
	const unsigned char *from = seed->bytes;
	uint64_t word = 0;

	for (uint32_t i = 0; i < seed->nextents; from += seed->extent[i++].len)
		if (off - seed->extent[i].off < seed->extent[i].len)
			memcpy(&word, from + (off - seed->extent[i].off), 8);
	return word;
}

static uint64_t name_of(const struct seed *seed, uint32_t slot)
{
	return cm_lock_name(slot, word_of(seed, AT_SLOT(slot, generation)));
}

static void heaps_of_the_dead_open(void **state)
{
	(void)state;
	begin_damage();
	for (unsigned which = 0; which < SEEDS; which++)
		SUFFER(which, WELL, { AT_SUPER(deaths), 0 });
	end_damage();
}

/* A death between two stores of apply(): the first k are there. */
static void cut_log(unsigned which, uint32_t slot, const struct poke *log, size_t n)
{
	struct poke p[64];
	size_t np;

	for (size_t k = 0; k <= n; k++) {
		np = 0;
		for (size_t i = 0; i < n; i++) {
			p[np++] = (struct poke){ AT_PAIR(slot, i, at), log[i].off };
			p[np++] = (struct poke){ AT_PAIR(slot, i, value), log[i].value };
		}
		for (size_t i = 0; i < k; i++)
			p[np++] = log[i];
		p[np++] = (struct poke){ AT_LOCK(CM_LOCK_SPAN), name_of(seed_get(which), slot) };
		p[np++] = (struct poke){ AT_LAST(CM_LOCK_SPAN), slot + 1 };
		p[np++] = (struct poke){ AT_SLOT(slot, redo.commit), CM_LOCK_SPAN << 16 | n };
		suffer((struct damage){ "half a log", (int)k, which, WELL, p, np, false });
	}
}

static void a_log_half_applied_is_no_damage(void **state)
{
	const struct seed *s = seed_get(SEED_DEAD);
	struct poke take[CM_REDO_PAIRS];
	size_t n = word_of(s, AT_SLOT(SEED_SLOT_LOG, redo.commit)) & 0xffff;

	(void)state;
	begin_damage();
	for (size_t i = 0; i < n; i++)
		take[i] = (struct poke){ word_of(s, AT_PAIR(SEED_SLOT_LOG, i, at)),
					 word_of(s, AT_PAIR(SEED_SLOT_LOG, i, value)) };
	cut_log(SEED_DEAD, SEED_SLOT_LOG, take, n);
	end_damage();
}

/* The hold of the common slot is given back: by itself, and by a reaper that died as well. */
static void a_hold_half_given_back_is_no_damage(void **state)
{
	const struct seed *crowd = seed_get(SEED_CROWD);
	uint64_t s = word_of(crowd, AT_SLOT(0, hold_at)) & 0xffffffff;
	uint64_t what = word_of(crowd, AT_SLOT(0, hold_what));
	uint64_t free = word_of(crowd, AT_HEADER(s, free)) | what;
	uint64_t used = AT_LOCK_WORD(CM_LOCK_SPAN, CM_SPAN_USED);
	uint64_t dirty = AT_LOCK_WORD(CM_LOCK_SPAN, CM_SPAN_DIRTY);
	const struct poke give[] = {
		{ AT_HEADER(s, free), free },
		{ AT_SEGMENT(crowd, s), cm_seg_entry(CM_SEG_SPLIT, cm_longest_run(free), 0) },
		{ used, word_of(crowd, used) - cm_popcount(what) },
		{ dirty, word_of(crowd, dirty) + cm_popcount(what) },
		{ AT_HEADER(s, have), word_of(crowd, AT_HEADER(s, have)) | what },
		{ AT_SLOT(0, hold_at), 0 },
		{ AT_SLOT(0, hold_what), 0 },
	};

	(void)state;
	assert_true(s && what);
	begin_damage();
	cut_log(SEED_CROWD, 0, give, sizeof give / sizeof *give);
	cut_log(SEED_CROWD, 1, give, sizeof give / sizeof *give);
	end_damage();
}

static void flips_in_the_words_that_change(void **state)
{
	static const uint64_t words[] = {
		AT_SUPER(limit),      AT_SUPER(quota),	   AT_SUPER(dirty_max), AT_SUPER(life_abi),
		AT_SUPER(nused),      AT_SUPER(cursor),	   AT_SUPER(deaths),	AT_SUPER(decay_ms),
		AT_SUPER(decayed_ns), AT_SUPER(dirty_low),
	};
	const struct seed *seed = seed_get(SEED_DEAD);
	static const uint64_t limits[] = { 0, 1, ~0ull, CM_PAGE, CM_SEGMENT - 1, 1ull << 63 };

	(void)state;
	begin_damage();
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		for (unsigned bit = 0; bit < 64; bit++)
			if (words[i] != AT_SUPER(limit)) /* there ENODATA is an answer, too */
				SUFFER(SEED_DEAD, SURVIVED,
				       { words[i], word_of(seed, words[i]) ^ 1ull << bit });
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
		SUFFER(SEED_DEAD, REFUSED, { AT_SUPER(limit), limits[i] });
	SUFFER(SEED_DEAD, REFUSED, { AT_SUPER(limit), seed->limit - CM_PAGE });
	SUFFER(SEED_DEAD, REFUSED, { AT_SUPER(limit), seed->data_off - CM_SEGMENT });
	SUFFER(SEED_DEAD, REFUSED, { AT_SUPER(limit), seed->max_size + CM_SEGMENT });
	SUFFER(SEED_WHOLE, REPORTED, { AT_SUPER(limit), seed->limit - CM_SEGMENT });
	SUFFER(SEED_DEAD, REFUSED, { AT_SUPER(nused), 0 });
	SUFFER(SEED_DEAD, REFUSED, { AT_SUPER(nused), seed->nslots + 1 });
	end_damage();
}

/* The log of SEED_SLOT_LOG is committed under the span lock, which that slot holds. */
static void damaged_logs_are_refused(void **state)
{
	const struct seed *s = seed_get(SEED_DEAD);
	const uint64_t targets[] = {
		0,
		8,
		offsetof(struct cm_fixed_shm, max_size),
		AT_SUPER(quota),
		AT_SUPER(nused), /* header */
		AT_LOCK(CM_LOCK_SPAN), AT_LAST(CM_LOCK_SPAN), AT_LOCK(CM_LOCK_BIN + 3),          /* locks */
		AT_SLOT(1, life), AT_SLOT(1, state), AT_SLOT(1, generation), AT_SLOT(1, reap),   /* lives */
		AT_SLOT(0, redo.commit), AT_PAIR(SEED_SLOT_LOG, 5, at),                         /* logs */
		AT_SLOT(7, state),
		s->units_off,
		AT_SEGMENT(s, 0),
		AT_SEGMENT(s, s->limit >> CM_SEGMENT_SHIFT),
		s->limit, s->limit + CM_SEGMENT - 8, s->max_size - 8, s->max_size, s->max_size + 8,
		1ull << 40, 1ull << 63, ~7ull, ~0xfffull, 4, s->data_off + 4, s->data_off + 2,
	};
	const uint64_t commits[] = {
		CM_LOCK_SPAN << 16 | 57, CM_LOCK_SPAN << 16 | 0xffff, 128 << 16 | 6, 0xffffull << 16 | 6,
		1ull << 48 | 6, ~0ull, 1ull << 63,
	};
	uint64_t i = SEED_SLOT_LOG;

	(void)state;
	begin_damage();
	for (size_t t = 0; t < sizeof targets / sizeof *targets; t++)
		for (unsigned k = 0; k < 6; k += 5)
			SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, k, at), targets[t] },
			       { AT_PAIR(i, k, value), 0x1122334455667788 });
	for (size_t c = 0; c < sizeof commits / sizeof *commits; c++)
		SUFFER(SEED_DEAD, REFUSED, { AT_SLOT(i, redo.commit), commits[c] });
	/* a fill: too long, cut off, where no fill belongs */
	SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, 5, at), AT_SEGMENT(s, s->split) | 1 });
	SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, 0, at), AT_SEGMENT(s, s->split) | 1 },
	       { AT_PAIR(i, 0, value), 1ull << 60 });
	SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, 0, at), AT_SEGMENT(s, s->split) | 1 },
	       { AT_PAIR(i, 0, value), s->limit >> CM_SEGMENT_SHIFT });
	SUFFER(SEED_DEAD, NOTICED, { AT_PAIR(i, 0, at), s->data_off | 1 },
	       { AT_PAIR(i, 0, value), (s->limit - s->data_off) / 8 });
	SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, 0, at), 1 }, { AT_PAIR(i, 0, value), s->size / 8 });
	/* a limit nobody grew to */
	SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, 0, at), AT_SUPER(limit) },
	       { AT_PAIR(i, 0, value), s->max_size });
	SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, 0, at), AT_SUPER(limit) }, { AT_PAIR(i, 0, value), ~0ull });
	SUFFER(SEED_DEAD, REFUSED, { AT_PAIR(i, 0, at), AT_SUPER(limit) },
	       { AT_PAIR(i, 0, value), s->limit - CM_PAGE });
	/* a slot in no state there is */
	SUFFER(SEED_DEAD, REFUSED, { AT_SLOT(1, state), 2 });
	SUFFER(SEED_DEAD, REFUSED, { AT_SLOT(0, state), ~0ull });
	/* each is possible, but not together */
	SUFFER(SEED_DEAD, SURVIVED, { AT_SLOT(i, state), CM_SLOT_FREE });
	SUFFER(SEED_DEAD, REPORTED, { AT_LOCK(CM_LOCK_SPAN), 0 });
	SUFFER(SEED_DEAD, REPORTED, { AT_SLOT(i, redo.commit), CM_LOCK_ROOT << 16 | 6 });
	end_damage();
}

static void damaged_magazines_are_refused(void **state)
{
	const uint64_t caps[] = { 65, 150, 0xffffffff, 1ull << 32, 64ull << 32 };
	const uint64_t ends[] = { 1, 64, 1ull << 32, 5 | 5ull << 32, ~0ull };
	uint64_t i = SEED_SLOT_LOG;

	(void)state;
	begin_damage();
	for (size_t k = 0; k < sizeof caps / sizeof *caps; k++)
		SUFFER(SEED_DEAD, REFUSED, { AT_MAGAZINE(i, 4) + 8, caps[k] });
	for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
		SUFFER(SEED_DEAD, REFUSED, { AT_MAGAZINE(i, 4), ends[k] }); /* and no cap */
	SUFFER(SEED_DEAD, REFUSED, { AT_MAGAZINE(i, 4), 65 }, { AT_MAGAZINE(i, 4) + 8, 64 });
	SUFFER(SEED_DEAD, REFUSED, { AT_MAGAZINE(i, 4), 5ull << 32 }, { AT_MAGAZINE(i, 4) + 8, 8 });
	SUFFER(SEED_DEAD, REFUSED, { AT_MAGAZINE(i, CM_UNIT_NONE) + 8, 8 });
	SUFFER(SEED_DEAD, REFUSED, { AT_MAGAZINE(i, CM_MARK_SLAB_MOST + 1) + 8, 8 });
	SUFFER(SEED_DEAD, REFUSED, { AT_MAGAZINE(i, CM_UNIT_RUN) + 8, 8 });
	/* full is its thread's: what the dead left there is closed */
	SUFFER(SEED_DEAD, SURVIVED, { AT_MAGAZINE(i, 4) + 8, 8 | 1000ull << 32 });
	end_damage();
}

static void damaged_holds_are_noticed(void **state)
{
	const struct seed *s = seed_get(SEED_CROWD);
	uint64_t i = CM_SLOT_COMMON, units = word_of(s, AT_SLOT(i, hold_at)) & 0xffffffff;
	uint64_t free = word_of(s, AT_HEADER(units, free));
	uint64_t huge = s->huge >> CM_SEGMENT_SHIFT, end = s->limit >> CM_SEGMENT_SHIFT;
	const uint64_t nowhere[] = {
		cm_hold_at(CM_HOLD_UNITS, 0),
		cm_hold_at(CM_HOLD_UNITS, end),
		cm_hold_at(CM_HOLD_UNITS, end + 1),
		cm_hold_at(CM_HOLD_UNITS, 0xffffffff), cm_hold_at(CM_HOLD_UNITS, units) | 1ull << 32,
		cm_hold_at(CM_HOLD_UNITS, units) | 1ull << 55,
		cm_hold_at(3, units),
		cm_hold_at(255, units),
		units,
		~0ull,
	};
	const uint64_t wrong[] = {
		cm_hold_at(CM_HOLD_UNITS, huge), cm_hold_at(CM_HOLD_UNITS, huge + 1),
		cm_hold_at(CM_HOLD_SEGMENTS, units), cm_hold_at(CM_HOLD_SEGMENTS, huge),
	};

	(void)state;
	begin_damage();
	for (size_t k = 0; k < sizeof nowhere / sizeof *nowhere; k++) {
		SUFFER(SEED_CROWD, REFUSED, { AT_SLOT(i, hold_at), nowhere[k] });
		SUFFER(SEED_DEAD, REFUSED, { AT_SLOT(SEED_SLOT_HOLD, hold_at), nowhere[k] });
	}
	for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
		SUFFER(SEED_CROWD, NOTICED, { AT_SLOT(i, hold_at), wrong[k] });
		SUFFER(SEED_DEAD, NOTICED, { AT_SLOT(SEED_SLOT_HOLD, hold_at), wrong[k] });
	}
	SUFFER(SEED_CROWD, NOTICED, { AT_SLOT(i, hold_what), 0 });
	SUFFER(SEED_CROWD, NOTICED, { AT_SLOT(i, hold_what), 1 });
	SUFFER(SEED_CROWD, NOTICED, { AT_SLOT(i, hold_what), free });
	SUFFER(SEED_CROWD, NOTICED, { AT_SLOT(i, hold_what), ~0ull });
	SUFFER(SEED_CROWD, NOTICED, { AT_SLOT(i, hold_at), cm_hold_at(CM_HOLD_SEGMENTS, huge) },
	       { AT_SEGMENT(s, huge), cm_seg_entry(CM_SEG_HELD, 0, 2048) },
	       { AT_SLOT(i, hold_what), end - huge + 1 });
	/* another slab's units, a block's segments: the tables agree, so nobody can tell at once */
	SUFFER(SEED_CROWD, SURVIVED, { AT_SLOT(i, hold_what), ~1ull & ~free });
	SUFFER(SEED_CROWD, SURVIVED, { AT_SLOT(i, hold_at), cm_hold_at(CM_HOLD_SEGMENTS, huge) },
	       { AT_SEGMENT(s, huge), cm_seg_entry(CM_SEG_HELD, 0, (1ull << 48) - 1) },
	       { AT_SLOT(i, hold_what), 1 });
	end_damage();
}

/* Nobody waits for ever for a lock that no living thread holds. */
static void wild_lock_words_hold_nobody_up(void **state)
{
	const struct seed *s = seed_get(SEED_WHOLE);
	const uint32_t locks[] = {
		CM_LOCK_SPAN, CM_LOCK_ROOT, CM_LOCK_BIN, CM_LOCK_BIN + s->slab_class,
	};
	const uint64_t wild[] = {
		1, ~0ull, CM_LOCK_WAITERS, CM_LOCK_WAITERS | 7, 1ull << 32, 1ull << 62,
		0xffffull << 32, cm_lock_name(s->nslots, 0), cm_lock_name(s->nused, 0),
	};

	(void)state;
	begin_damage();
	for (size_t l = 0; l < sizeof locks / sizeof *locks; l++) {
		for (size_t k = 0; k < sizeof wild / sizeof *wild; k++)
			SUFFER(SEED_WHOLE, SURVIVED, { AT_LOCK(locks[l]), wild[k] },
			       { AT_LAST(locks[l]), wild[k] >> 32 });
		/* whoever comes next finds its own name there */
		for (uint32_t slot = 0; slot < s->nused; slot++)
			for (uint64_t more = 0; more < 3; more++)
				SUFFER(SEED_WHOLE, SURVIVED,
				       { AT_LOCK(locks[l]), name_of(s, slot) + more });
	}
	for (uint32_t slot = 0; slot < seed_get(SEED_DEAD)->nused; slot++)
		for (uint32_t by = 0; by < s->nused; by++)
			SUFFER(SEED_DEAD, SURVIVED,
			       { AT_SLOT(slot, reap), name_of(seed_get(SEED_DEAD), by) });
	for (uint32_t slot = 0; slot < s->nslots; slot++)
		SUFFER(SEED_DEAD, SURVIVED, { s->mutex, cm_lock_name(slot, 1) },
		       { AT_SLOT(slot, life), ~0ull }, { AT_SLOT(slot, life) + 8, ~0ull },
		       { AT_SLOT(slot, life) + 24, 1ull << 63 });
	end_damage();
}

static void wild_bins_are_reported(void **state)
{
	const struct seed *s = seed_get(SEED_WHOLE);
	uint64_t list = AT_LOCK_WORD(CM_LOCK_BIN + s->slab_class, CM_BIN_LIST), mid = s->slab;
	uint64_t other = s->mark[0] >> CM_UNIT_SHIFT, end = s->limit >> CM_UNIT_SHIFT;
	const uint64_t wild[] = {
		1,
		63,
		s->data_off >> CM_UNIT_SHIFT,
		mid + 1,
		mid | 1ull << 48,
		mid | 1ull << 63,
		mid | 1ull << 32,
		other,
		end,
		end + 1,
		s->huge >> CM_UNIT_SHIFT,
		s->run >> CM_UNIT_SHIFT,
		~0ull,
		1ull << 47,
		0,
	};
	const uint64_t links[] = {
		0,     mid << 32, mid,	 mid << 32 | mid, other << 32,
		other, end << 32, ~0ull, 64ull << 32,	  0xffffffff,
	};

	(void)state;
	begin_damage();
	for (size_t k = 0; k < sizeof wild / sizeof *wild; k++)
		SUFFER(SEED_WHOLE, REPORTED, { list, wild[k] });
	for (size_t k = 0; k < sizeof links / sizeof *links; k++)
		SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(mid, link), links[k] });
	/* a list of a class that has none */
	SUFFER(SEED_WHOLE, REPORTED, { AT_LOCK_WORD(CM_LOCK_BIN + 70, CM_BIN_LIST), mid });
	/* two bins with the same slab: it is of neither, or of one */
	SUFFER(SEED_WHOLE, REPORTED,
	       { AT_LOCK_WORD(CM_LOCK_BIN + cm_class_of(16), CM_BIN_LIST), s->mark[2] >> CM_UNIT_SHIFT });
	end_damage();
}

static void wild_slabs_are_reported(void **state)
{
	const struct seed *s = seed_get(SEED_WHOLE);
	uint64_t mid = s->slab, one = s->mark[0] >> CM_UNIT_SHIFT;
	const uint64_t wild[] = { 0, ~0ull, 1ull << 63, 0xff00, 2 };

	(void)state;
	begin_damage();
	for (size_t k = 0; k < sizeof wild / sizeof *wild; k++) {
		SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(mid, map[0]), wild[k] << 8 | 0x21 });
		SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(mid, open), wild[k] });
		SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(mid, nfree), wild[k] });
		SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(mid, kind), wild[k] });
	}
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(mid, map[63]), 1ull << 63 },
	       { AT_DESC(mid, open), 1ull << 63 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(mid, map[1]), ~0ull }, { AT_DESC(mid, open), 3 },
	       { AT_DESC(mid, nfree), 65 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(one, map[5]), 0 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(s->full, kind), 0 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(s->full, kind), s->slab_class + 1 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(s->full, map[0]), 1 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(one, nfree), 1 });
	for (unsigned mark = 0; mark < 256; mark += mark < 4 || mark > 78 ? 1 : 25) {
		SUFFER(SEED_WHOLE, mark == s->slab_class + 1 ? WELL : REPORTED,
		       { AT_UNIT(s, mid), mark });
		SUFFER(SEED_WHOLE, mark == s->slab_class + 1 ? WELL : REPORTED,
		       { AT_UNIT(s, mid + 3), mark });
	}
	SUFFER(SEED_WHOLE, SURVIVED, { AT_UNIT(s, s->split << 6), 1 }); /* the header's own */
	SUFFER(SEED_WHOLE, SURVIVED, { AT_UNIT(s, s->split << 6), CM_UNIT_RUN });
	SUFFER(SEED_WHOLE, SURVIVED, { AT_UNIT(s, s->huge >> CM_UNIT_SHIFT) + 1, 1 });
	end_damage();
}

static void wild_segments_are_reported(void **state)
{
	const struct seed *s = seed_get(SEED_WHOLE);
	uint64_t split = s->split, huge = s->huge >> CM_SEGMENT_SHIFT, run = s->run >> CM_UNIT_SHIFT;
	const uint64_t wild[] = { ~0ull, 1ull << 63, 1, 0xffff0000, ~1ull, 0 };
	const uint64_t sizes[] = {
		0, 1, 64 * CM_UNIT, 65536ull << 16, 1ull << 48, (1ull << 48) + CM_UNIT, 1ull << 63,
		~0ull, ~0ull - 100, ~0ull - CM_UNIT, 4 * CM_UNIT, 6 * CM_UNIT,
	};
	const uint64_t pages[] = {
		0,
		1,
		1024,
		2049,
		4096,
		1ull << 20,
		1ull << 32,
		1ull << 40,
		(1ull << 48) - 1,
		(1ull << 48) - 1024,
	};

	(void)state;
	begin_damage();
	for (unsigned kind = 0; kind < 16; kind++) {
		SUFFER(SEED_WHOLE, kind == CM_SEG_SPLIT ? WELL : REPORTED,
		       { AT_SEGMENT(s, split), (word_of(s, AT_SEGMENT(s, split)) & ~0xfull) | kind });
		SUFFER(SEED_WHOLE, kind == CM_SEG_HUGE ? WELL : REPORTED,
		       { AT_SEGMENT(s, huge), (word_of(s, AT_SEGMENT(s, huge)) & ~0xfull) | kind });
		SUFFER(SEED_WHOLE, kind == CM_SEG_CONT ? WELL : REPORTED,
		       { AT_SEGMENT(s, huge + 1), kind });
	}
	for (size_t k = 0; k < sizeof wild / sizeof *wild; k++) {
		SUFFER(SEED_WHOLE, REPORTED, { AT_HEADER(split, free), wild[k] ^ 2 });
		SUFFER(SEED_WHOLE, SURVIVED, { AT_HEADER(split, have), wild[k] });
		SUFFER(SEED_WHOLE, SURVIVED, { AT_HEADER(split, stored), wild[k] });
		SUFFER(SEED_WHOLE, SURVIVED, { AT_HEADER(split, meta), wild[k] });
		SUFFER(SEED_WHOLE, REPORTED, { AT_SEGMENT(s, split), wild[k] });
	}
	for (unsigned longest = 0; longest < 256; longest += 51)
		SUFFER(SEED_WHOLE, REPORTED,
		       { AT_SEGMENT(s, split), cm_seg_entry(CM_SEG_SPLIT, longest, 0) });
	for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
		SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(run, size), sizes[k] });
	SUFFER(SEED_WHOLE, REPORTED, { AT_DESC(run, kind), 0 });
	for (size_t k = 0; k < sizeof pages / sizeof *pages; k++)
		SUFFER(SEED_WHOLE, REPORTED,
		       { AT_SEGMENT(s, huge), cm_seg_entry(CM_SEG_HUGE, 0, pages[k]) });
	end_damage();
}

static void wild_sums_are_reported(void **state)
{
	const struct seed *s = seed_get(SEED_WHOLE);
	uint64_t used = AT_LOCK_WORD(CM_LOCK_SPAN, CM_SPAN_USED);
	uint64_t hint = AT_LOCK_WORD(CM_LOCK_SPAN, CM_SPAN_HINT);
	const uint64_t by[] = { 1, ~0ull, 1ull << 32, 1ull << 63 };

	(void)state;
	begin_damage();
	for (size_t k = 0; k < sizeof by / sizeof *by; k++) {
		SUFFER(SEED_WHOLE, REPORTED, { used, word_of(s, used) + by[k] });
		SUFFER(SEED_WHOLE, REPORTED, { used + 8, word_of(s, used + 8) + by[k] });
		SUFFER(SEED_WHOLE, REPORTED, { hint, (s->limit >> CM_SEGMENT_SHIFT) + by[k] });
	}
	SUFFER(SEED_WHOLE, WELL, { hint, 0 });
	end_damage();
}

static int malloc_spoilt(void *arg)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	struct damage *d = arg;
	const struct seed *s = seed_get(d->which);
	int fd = seed_thaw(s);
	comap_heap *heap;

	poke(fd, d);
	watch_begin("malloc", SECONDS);
	KIN_CHECK(comap_heap_open_fd(fd, NULL, &heap) == 0);
	KIN_CHECK(comap_heap_malloc(heap, 20) && comap_heap_malloc(heap, 100000));
	KIN_CHECK(comap_heap_get_stats(heap, &stats) == 0 && stats.grown == s->limit);
	comap_heap_close(heap);
	return 0;
}

/* The hint is no truth: no heap with room grows to its ceiling for its sake. */
static void a_wild_hint_grows_no_heap(void **state)
{
	const uint64_t wild[] = { ~0ull, 1ull << 63, 1ull << 22, 1000 };

	(void)state;
	begin_damage();
	for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
		struct poke hint = { AT_LOCK_WORD(CM_LOCK_SPAN, CM_SPAN_HINT), wild[i] };
		struct damage d = { "", __LINE__, SEED_WHOLE, SURVIVED, &hint, 1, false };

		nfailed += kin_run(malloc_spoilt, &d) != 0;
	}
	end_damage();
}

static void wild_roots_are_reported(void **state)
{
	const struct seed *s = seed_get(SEED_WHOLE);
	const uint64_t first = CM_ROOTS_OFF, next = offsetof(struct cm_root_page_shm, next);
	const uint64_t wild[] = {
		CM_ROOTS_OFF, 1,	   4096,  s->roots + 8, s->roots + 1, s->limit,
		s->limit - 8, s->max_size, ~0ull, ~0xfffull,	1ull << 48,   s->data_off,
	};

	(void)state;
	assert_true(s->roots);
	begin_damage();
	for (size_t k = 0; k < sizeof wild / sizeof *wild; k++) {
		SUFFER(SEED_WHOLE, REPORTED, { first + next, wild[k] });
		SUFFER(SEED_WHOLE, REPORTED, { s->roots + next, wild[k] });
		SUFFER(SEED_WHOLE, REPORTED, { first + offsetof(struct cm_root_page_shm, spare), wild[k] });
	}
	SUFFER(SEED_WHOLE, REPORTED, { s->roots + next, s->roots }); /* a ring */
	SUFFER(SEED_WHOLE, REPORTED, { first, 1 }); /* for ever in the midst of a change */
	SUFFER(SEED_WHOLE, REPORTED, { first, ~0ull });
	SUFFER(SEED_WHOLE, REPORTED, { AT_ROOT(first, 1, state), 3 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_ROOT(first, 1, state), ~0ull });
	SUFFER(SEED_WHOLE, REPORTED, { AT_ROOT(first, 1, hash), 1 });
	SUFFER(SEED_WHOLE, REPORTED, { AT_ROOT(first, 1, name[7]), ~0ull });
	SUFFER(SEED_WHOLE, REPORTED, { AT_ROOT(first, 1, ref), s->limit });
	SUFFER(SEED_WHOLE, REPORTED, { AT_ROOT(first, 1, ref), ~0ull });
	for (uint32_t slot = 0; slot < s->nslots; slot++) /* an initialiser of ours? */
		for (uint64_t more = 0; more < 3; more++)
			SUFFER(SEED_WHOLE, SURVIVED, { AT_ROOT(first, 1, state), CM_ROOT_BUSY },
			       { AT_ROOT(first, 1, owner), cm_lock_name(slot, more) },
			       { AT_ROOT(first, 1, cell), ~0ull });
	end_damage();
}

/* A heap that has grown to 16 GiB, most of them holes, with two pages of roots. */
static int open_large(uint64_t *ret_next)
{
	const uint64_t size = 16 * CM_GIB;
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	char name[16];
	int fd;

	opts.max_size = size;
	KIN_CHECK(comap_heap_open_anon(&opts, &heap) == 0);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "root-%u", i);
		KIN_CHECK(comap_root_set(heap, name, COMAP_NULL) == 0);
	}
	fd = dup(comap_heap_fd(heap));
	comap_heap_close(heap);
	KIN_CHECK(ftruncate(fd, (off_t)size) == 0);
	KIN_CHECK(pwrite(fd, &size, 8, AT_SUPER(limit)) == 8);
	KIN_CHECK(pread(fd, ret_next, 8, CM_ROOTS_OFF + offsetof(struct cm_root_page_shm, next)) == 8);
	return fd;
}

static int walk_ring(void *arg)
{
	struct comap_root_iter iter = { 0 };
	comap_ref ref;
	uint64_t page;
	unsigned n = 0;
	comap_heap *heap;
	int fd = open_large(&page), got;

	(void)arg;
	KIN_CHECK(pwrite(fd, &page, 8, (off_t)(page + offsetof(struct cm_root_page_shm, next))) == 8);
	watch_begin("a ring of pages of roots", SECONDS);
	KIN_CHECK(comap_heap_open_fd(fd, NULL, &heap) == 0);
	while ((got = comap_root_next(heap, &iter)) == 1)
		n++;
	KIN_CHECK((got == 0 || got == -EUCLEAN) && n >= 40);
	KIN_CHECK(comap_root_get(heap, "none", &ref) == -ENOENT);
	KIN_CHECK(comap_root_get(heap, "root-39", &ref) == 0);
	KIN_CHECK(comap_root_set(heap, "another", COMAP_NULL) == 0);
	KIN_CHECK(comap_heap_check(heap, NULL, NULL) == -EUCLEAN);
	(void)exercise_look(heap);
	comap_heap_close(heap);
	return 0;
}

static void a_ring_of_roots_has_an_end(void **state)
{
	(void)state;
	if (kin_is_valgrind())
		skip();
	assert_int_equal(kin_run(walk_ring, NULL), 0);
}

/* What realloc says fits, does. */
static int realloc_spoilt(void *arg)
{
	struct damage *d = arg;
	const struct seed *s = seed_get(d->which);
	int fd = seed_thaw(s);
	comap_heap *heap;

	poke(fd, d);
	watch_begin("realloc", SECONDS);
	KIN_CHECK(comap_heap_open_fd(fd, NULL, &heap) == 0);
	for (size_t size = 9 << 20; size >= 600 << 10; size -= 500 << 10)
		for (unsigned i = 0; i < 2; i++) {
			comap_ref ref = { i ? s->huge : s->run };
			char *p = comap_heap_at(heap, ref), *q = comap_heap_realloc(heap, p, size);

			KIN_CHECK(!q || comap_heap_usable_size(heap, q) >= size);
			if (q)
				memset(q, 1, size);
		}
	comap_heap_close(heap);
	return 0;
}

static void realloc_believes_no_wild_size(void **state)
{
	const struct seed *s = seed_get(SEED_WHOLE);
	uint64_t run = AT_DESC(s->run >> CM_UNIT_SHIFT, size);
	uint64_t huge = AT_SEGMENT(s, s->huge >> CM_SEGMENT_SHIFT);
	const struct poke pokes[] = {
		{ run, ~0ull - 100 }, { run, ~0ull }, { run, 1ull << 48 }, { run, 4 << 20 }, { run, 1 },
		{ huge, cm_seg_entry(CM_SEG_HUGE, 0, 1ull << 40) },
		{ huge, cm_seg_entry(CM_SEG_HUGE, 0, (1ull << 48) - 1) },
		{ huge, cm_seg_entry(CM_SEG_HUGE, 0, 8192) },
		{ huge, cm_seg_entry(CM_SEG_HUGE, 0, 1) },
	};

	(void)state;
	begin_damage();
	for (size_t i = 0; i < sizeof pokes / sizeof *pokes; i++) {
		struct damage d = { "", __LINE__, SEED_WHOLE, SURVIVED, &pokes[i], 1, false };

		if (kin_run(realloc_spoilt, &d) != 0) {
			print_error("realloc, with %#llx at %#llx\n", (unsigned long long)pokes[i].value,
				    (unsigned long long)pokes[i].off);
			nfailed++;
		}
	}
	end_damage();
}

/* ---- the runner ----------------------------------------------------------------------- */

static int make_seeds(void **state)
{
	(void)state;
	for (unsigned which = 0; which < SEEDS; which++)
		(void)seed_get(which);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(heaps_of_the_dead_open),
		KIN_TEST(a_log_half_applied_is_no_damage),
		KIN_TEST(a_hold_half_given_back_is_no_damage),
		KIN_TEST(flips_in_the_words_that_change),
		KIN_TEST(damaged_logs_are_refused),
		KIN_TEST(damaged_magazines_are_refused),
		KIN_TEST(damaged_holds_are_noticed),
		KIN_TEST(wild_lock_words_hold_nobody_up),
		KIN_TEST(wild_bins_are_reported),
		KIN_TEST(wild_slabs_are_reported),
		KIN_TEST(wild_segments_are_reported),
		KIN_TEST(wild_sums_are_reported),
		KIN_TEST(a_wild_hint_grows_no_heap),
		KIN_TEST(wild_roots_are_reported),
		KIN_TEST(a_ring_of_roots_has_an_end),
		KIN_TEST(realloc_believes_no_wild_size),
	};

	return cmocka_run_group_tests_name("bad_tables", tests, make_seeds, NULL);
}
