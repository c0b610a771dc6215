/*
 * account.c - how many blocks there should be, and how many there are.
 */
#include "soak.h"

void settle(struct board *board, struct person *person)
{
	/* in this order: killed in between, we allow too much, not too little */
	atomic_fetch_add(&board->may_lose, atomic_load(&person->in_hand));
	atomic_store(&person->in_hand, 0);
	atomic_store(&person->beat, 0);
}

static uint64_t count_cards(struct card *card, unsigned n)
{
	uint64_t full = 0;

	for (unsigned i = 0; i < n; i++)
		full += !comap_ref_is_null(card[i].cell);
	return full;
}

static uint64_t count_once_roots(comap_heap *heap)
{
	struct comap_root_iter iter = {0};
	uint64_t n = 0;

	while (comap_root_next(heap, &iter) == 1)
		n += strncmp(iter.name, "once", 4) == 0;
	return n;
}

/* Initialisers that died leave their block in a cell nobody sees: finish them. */
static void finish_once(struct soak *soak)
{
	char name[16];
	comap_ref ref;

	for (unsigned i = 0; i < ONCE_NAMES; i++) {
		snprintf(name, sizeof name, "once %u", i);
		if (comap_root_once(soak->exact, name, init_named_block, NULL, SECOND, &ref) < 0)
			fprintf(stderr, "soak: %s cannot be finished\n", name);
		snprintf(name, sizeof name, "name %u", i);
		(void)comap_root_once(soak->loose, name, init_named_block, NULL, SECOND, &ref);
	}
}

static uint64_t count_loose(struct soak *soak)
{
	struct comap_root_iter iter = {0};
	uint64_t n = 1; /* the desk */

	for (unsigned i = 0; i < TABLE; i++)
		n += !comap_ref_is_null(soak->loose_desk->table[i]);
	while (comap_root_next(soak->loose, &iter) == 1)
		n += strncmp(iter.name, "name", 4) == 0;
	return n;
}

int balance(struct soak *soak)
{
	uint64_t want, have;
	int err = 0;

	finish_once(soak);
	want = 1 + count_cards(&soak->exact_desk->card[0][0], PEOPLE * CARDS) +
	       count_once_roots(soak->exact);
	for (unsigned i = 0; i < CORNERS; i++)
		want += count_cards(soak->exact_desk->corner[i].card, CARDS);
	have = live_blocks(soak->exact);
	if (have != want) {
		fprintf(stderr, "soak: exact heap: %" PRIu64 " blocks live, %" PRIu64 " in cells\n",
			have, want);
		err = -1;
	}
	/* the pages of roots are blocks, too */
	want = count_loose(soak) + LOOSE_NAMES / 30 + atomic_load(&soak->board->may_lose);
	have = live_blocks(soak->loose);
	if (have > want || have < count_loose(soak)) {
		fprintf(stderr,
			"soak: loose heap: %" PRIu64 " blocks live, %" PRIu64 " to %" PRIu64
			" accounted for\n",
			have, count_loose(soak), want);
		err = -1;
	}
	if (!is_whole(soak->loose) || !is_whole(soak->exact))
		err = -1;
	return err;
}

void clear_tables(struct soak *soak)
{
	struct comap_root_iter iter;

	for (unsigned i = 0; i < TABLE; i++)
		comap_heap_free_from(soak->loose, &soak->loose_desk->table[i]);
	for (unsigned i = 0; i < PEOPLE; i++)
		for (unsigned k = 0; k < CARDS; k++)
			comap_heap_free_from(soak->exact, &soak->exact_desk->card[i][k].cell);
	for (unsigned i = 0; i < CORNERS; i++)
		for (unsigned k = 0; k < CARDS; k++)
			comap_heap_free_from(soak->exact, &soak->exact_desk->corner[i].card[k].cell);
	for (unsigned h = 0; h < 2; h++) {
		comap_heap *heap = h ? soak->exact : soak->loose;

		memset(&iter, 0, sizeof iter);
		while (comap_root_next(heap, &iter) == 1)
			if (comap_root_delete(heap, iter.name) == 0 && strncmp(iter.name, "set", 3) != 0)
				comap_heap_free(heap, comap_heap_at(heap, iter.ref));
	}
}
