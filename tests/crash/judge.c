/*
 * judge.c - recover a copy of the heap, and hold it against what its users were told.
 *
 * Right means: the check finds nothing; every block the journals count as live is live, with
 * its content; every cell is null or refers to a live block of its own; nothing is live
 * beyond these and as many blocks as may be leaked; and the
 * heap works: blocks of all kinds come and go, and when everything is freed and trimmed,
 * nothing but the leaked is left.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "crash/stepper.h"
#include "heap/heap.h"

static char why[256];

#define FAIL(...) return snprintf(why, sizeof why, __VA_ARGS__), why

struct known {
	uint64_t off[JOURNAL_BLOCKS * 4];
	unsigned n, live, unknown;
	uint64_t stray[8];
};

static int by_offset(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void know(struct known *k, uint64_t off)
{
	if (k->n == sizeof k->off / sizeof k->off[0])
		abort();
	k->off[k->n++] = off;
}

static void note_problem(uint64_t off, const char *what, void *arg)
{
	(void)arg;
	snprintf(why, sizeof why, "check: %s at %#llx", what, (unsigned long long)off);
}

static comap_heap *counted_heap;

static int count_live(void *p, size_t size, void *arg)
{
	struct known *k = arg;
	uint64_t off = comap_heap_ref(counted_heap, p).off;

	(void)size;
	if (bsearch(&off, k->off, k->n, sizeof off, by_offset))
		k->live++;
	else if (k->unknown++ < 8)
		k->stray[k->unknown - 1] = off;
	return 0;
}

/* Everything somebody knows to be live: sorted, each once. */
static const char *gather(comap_heap *heap, struct journal *const *journals, unsigned n,
			  struct known *k)
{
	unsigned distinct = 0;

	k->n = 0;
	for (unsigned j = 0; j < n; j++) {
		for (unsigned i = 0; i < journals[j]->n; i++)
			know(k, journals[j]->off[i]);
		for (unsigned i = 0; i < journals[j]->ncells; i++) {
			comap_ref ref = *(comap_ref *)comap_heap_at(
				heap, (comap_ref){ journals[j]->cell[i] });

			if (ref.off == 0)
				continue;
			if (!comap_heap_at_checked(heap, ref, 1))
				FAIL("a cell refers to no live block: %#llx", (unsigned long long)ref.off);
			know(k, ref.off);
		}
	}
	qsort(k->off, k->n, sizeof k->off[0], by_offset);
	for (unsigned i = 0; i < k->n; i++)
		if (distinct == 0 || k->off[distinct - 1] != k->off[i])
			k->off[distinct++] = k->off[i];
	k->n = distinct;
	return NULL;
}

static const char *count(comap_heap *heap, struct journal *const *journals, unsigned n,
			 unsigned *ret_leaked)
{
	static struct known k;
	const char *wrong = gather(heap, journals, n, &k);

	if (wrong)
		return wrong;
	k.live = k.unknown = 0;
	counted_heap = heap;
	comap_heap_walk(heap, count_live, &k);
	if (k.live != k.n)
		FAIL("%u of %u known blocks are live", k.live, k.n);
	*ret_leaked = k.unknown;
	return NULL;
}

/* A block about to be freed, or moved, when its owner died: still live, and still its owner's? */
static bool doubt_is_live(comap_heap *heap, const struct journal *j)
{
	return j->doubt && comap_heap_at_checked(heap, (comap_ref){ j->doubt }, 1);
}

static const char *contents(comap_heap *heap, struct journal *const *journals, unsigned n)
{
	for (unsigned j = 0; j < n; j++)
		for (unsigned i = 0; i < journals[j]->n; i++) {
			comap_ref ref = { journals[j]->off[i] };

			if (!comap_heap_at_checked(heap, ref, journals[j]->size[i]))
				FAIL("block %#llx is smaller than %llu", (unsigned long long)ref.off,
				     (unsigned long long)journals[j]->size[i]);
			if (!is_filled(heap, comap_heap_at(heap, ref), journals[j]->size[i]))
				FAIL("block %#llx has lost its content", (unsigned long long)ref.off);
		}
	return NULL;
}

/* A bit of everything, given back at once; the largest costs a millisecond of zeroing pages. */
static const char *work(comap_heap *heap, bool with_huge)
{
	static const size_t sizes[] = { 1,    24,    64,    100,    1000,    4096,
					5000, 40000, 65536, 200000, 1 << 20, 5 << 20 };
	void *p[sizeof sizes / sizeof sizes[0]] = {0};
	comap_ref ref;
	int err;

	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		if (sizes[i] > 1 << 20 && !with_huge)
			continue;
		p[i] = comap_heap_malloc(heap, sizes[i]);
		if (!p[i] && sizes[i] <= 65536)
			FAIL("malloc(%zu) fails", sizes[i]);
		if (p[i])
			memset(p[i], 0xee, sizes[i] < 256 ? sizes[i] : 256);
	}
	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		comap_heap_free(heap, p[i]);
	err = comap_root_set(heap, "the judge's", COMAP_NULL);
	if (err < 0 || comap_root_get(heap, "the judge's", &ref) < 0 ||
	    comap_root_delete(heap, "the judge's") < 0)
		FAIL("roots do not work: %d", err);
	return NULL;
}

static const char *check(comap_heap *heap)
{
	why[0] = '\0';
	return comap_heap_check(heap, note_problem, NULL) < 0 ? why : NULL;
}

/* Free all anybody knows of: what stays is what was leaked. */
static const char *empty(comap_heap *heap, struct journal *const *journals, unsigned n, unsigned leaked)
{
	static struct known k;
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;

	gather(heap, journals, n, &k);
	for (unsigned i = 0; i < k.n; i++)
		comap_heap_free(heap, comap_heap_at(heap, (comap_ref){ k.off[i] }));
	comap_heap_trim(heap);
	comap_heap_get_stats(heap, &stats);
	if (stats.misuses)
		FAIL("freeing what is live was refused %llu times", (unsigned long long)stats.misuses);
	if (stats.live_blocks != leaked)
		FAIL("%llu blocks live in the empty heap", (unsigned long long)stats.live_blocks);
	if (leaked == 0 && cm_root_pages(&heap->seg) == 0 && stats.committed != 0)
		FAIL("the empty heap holds %llu bytes", (unsigned long long)stats.committed);
	if (stats.slots_dead)
		FAIL("%u dead slots are left", stats.slots_dead);
	return check(heap);
}

const char *judge(int fd, enum way way, const struct scenario *s, const struct dead *dead,
		  unsigned *ret_leaked)
{
	struct journal *const *journals = dead->journal;
	unsigned njournals = dead->njournals;
	/* who finds every slot taken works through the common slot, and so would wait for the
	 * stopped one there */
	bool was_there = way == WAY_WORK && s->slots != 1 && !dead->in_two_steps;
	const char *wrong = NULL;
	comap_heap *heap;
	int witness = -1, err;
	char path[64];

	if (way != WAY_ALONE) {
		struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1 };

		/* somebody else is attached */
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		witness = open(path, O_RDWR | O_CLOEXEC);
		if (witness < 0 || fcntl(witness, F_OFD_SETLK, &lock) < 0)
			abort();
	}
	if (!was_there)
		mark_dead(fd, dead);
	*ret_leaked = 0;
	err = comap_heap_open_fd(fd, NULL, &heap);
	if (err < 0) {
		if (witness >= 0)
			close(witness);
		FAIL("does not open: %d %s", err, comap_heap_open_reason());
	}
	if (was_there) {
		/* Newcomers reap; so come while they still seem to live, by a call that takes
		 * no lock, and let them die now. */
		if (comap_heap_set_quota(heap, 0) < 0)
			abort();
		mark_dead(fd, dead);
	}
	if (way == WAY_WORK)
		wrong = work(heap, s->may_leak == 0);
	if (!wrong && comap_heap_reap(heap) < 0)
		wrong = "reap fails";
	if (!wrong)
		wrong = check(heap);
	if (!wrong && s->verify)
		wrong = s->verify(heap, journals[0]);
	if (!wrong)
		wrong = count(heap, journals, njournals, ret_leaked);
	if (!wrong && s->keeps_doubt && doubt_is_live(heap, journals[0])) {
		*ret_leaked -= 1;
		comap_heap_free(heap, comap_heap_at(heap, (comap_ref){ journals[0]->doubt }));
	}
	if (!wrong)
		wrong = contents(heap, journals, njournals);
	if (!wrong && way == WAY_REAP)
		wrong = work(heap, false);
	if (!wrong)
		wrong = empty(heap, journals, njournals, *ret_leaked);
	comap_heap_close(heap);
	if (witness >= 0)
		close(witness);
	return wrong;
}

/* ---- for scenarios ------------------------------------------------------------ */

static unsigned char pattern(uint64_t off, size_t i)
{
	return (unsigned char)((off >> 4) + i * 7 + 0x5a);
}

void fill(comap_heap *heap, void *p, size_t size)
{
	uint64_t off = comap_heap_ref(heap, p).off;
	size_t n = size < 48 ? size : 48;

	/* pages of a large block are touched at both ends */
	for (size_t i = 0; i < n; i++)
		((volatile unsigned char *)p)[i] = pattern(off, i);
	if (size)
		((volatile unsigned char *)p)[size - 1] = pattern(off, size - 1);
}

bool is_filled(comap_heap *heap, const void *p, size_t size)
{
	uint64_t off = comap_heap_ref(heap, p).off;
	size_t n = size < 48 ? size : 48;

	for (size_t i = 0; i < n; i++)
		if (((const unsigned char *)p)[i] != pattern(off, i))
			return false;
	return size == 0 || ((const unsigned char *)p)[size - 1] == pattern(off, size - 1);
}

void journal_add(struct world *w, void *p, size_t size)
{
	struct journal *j = w->journal;

	if (!p || j->n == JOURNAL_BLOCKS)
		abort();
	fill(w->heap, p, size);
	j->off[j->n] = comap_heap_ref(w->heap, p).off;
	j->size[j->n] = size;
	j->n++;
}

void journal_doubt(struct world *w, void *p)
{
	struct journal *j = w->journal;
	uint64_t off = comap_heap_ref(w->heap, p).off;

	j->doubt = off;
	for (unsigned i = 0; i < j->n; i++) {
		if (j->off[i] != off)
			continue;
		/* in between the last one stands here twice, with one size or the other */
		j->size[i] = 0;
		j->off[i] = j->off[j->n - 1];
		j->size[i] = j->size[j->n - 1];
		j->n--;
		return;
	}
}

void journal_settled(struct world *w)
{
	w->journal->doubt = 0;
}

comap_ref *journal_cell(struct world *w, comap_ref *cell)
{
	struct journal *j = w->journal;

	j->cell[j->ncells] = comap_heap_ref(w->heap, cell).off;
	j->ncells++;
	return cell;
}
