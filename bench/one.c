/* one.c - rows with one worker. */
#include <string.h>
#include "bench.h"

static double pair64(void)
{
	double start = now(), took;
	uint64_t n = 0;

	do {
		for (unsigned i = 0; i < 10000; i++, n++)
			drop(stamped(64, n), n);
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

/* Replace random ones of `live` blocks of 16 to 1024 bytes. */
static void **fill(unsigned live)
{
	void **at = zeroed(live * sizeof *at);
	uint64_t random = 1;

	for (unsigned i = 0; i < live; i++)
		at[i] = stamped(small(next(&random)), i);
	return at;
}

static double churn_of(unsigned live)
{
	void **at = fill(live);
	uint64_t random = 2, n = 0, r;
	double start, took;
	unsigned i;

	for (unsigned k = 0; k < live; k++) { /* as it is after a while */
		i = (unsigned)((next(&random) >> 32) % live);
		drop(at[i], i);
		at[i] = stamped(small(next(&random)), i);
	}
	start = now();
	do {
		for (unsigned k = 0; k < 10000; k++, n++) {
			r = next(&random);
			i = (unsigned)((r >> 32) % live);
			drop(at[i], i);
			at[i] = stamped(small(r), i);
		}
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

static double churn10k(void)
{
	return churn_of(10000);
}

static double churn1m(void)
{
	return churn_of(1000000);
}

static double bulk(void)
{
	enum { N = 10000 };
	static void *at[N];
	double start = now(), took;
	uint64_t n = 0, random;

	do {
		random = 3;
		for (unsigned i = 0; i < N; i++)
			at[i] = stamped(small(next(&random)), i);
		for (unsigned i = 0; i < N; i++)
			drop(at[i], i);
		n += N;
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

static double first_fill(void)
{
	double start = now();

	(void)fill(1000000);
	return 1 / (now() - start);
}

static double large(void)
{
	enum { N = 32, WARM = 100 }; /* rounds until it has had all the memory it will */
	char *at[N] = {0};
	uint64_t random = 4, n = 0, r, size;
	double start = 0, took = 0;
	unsigned i;

	for (unsigned round = 0; round <= WARM || took < seconds; round++) {
		if (round == WARM)
			start = now();
		for (unsigned k = 0; k < 200; k++) {
			r = next(&random);
			i = (unsigned)(r >> 32) % N;
			if (at[i])
				drop(at[i], i);
			size = (64u << 10) << (r >> 40) % 6;
			size += (r >> 8) % size;
			at[i] = stamped(size, i);
			at[i][size - 1] = 1;
		}
		if (round >= WARM) {
			n += 200;
			took = now() - start;
		}
	}
	return (double)n / took / 1e3;
}

static double realloc_growth(void)
{
	double start = now(), took;
	uint64_t n = 0;

	do {
		for (unsigned turn = 0; turn < 20; turn++) {
			uint64_t *p[4] = {0};

			for (size_t size = 16; size < 256 << 10; size += size / 2)
				for (unsigned i = 0; i < 4; i++, n++) {
					p[i] = peer_realloc(p[i], size);
					if (!p[i] || (size > 16 && *p[i] != i))
						wrong("realloc lost the content");
					*p[i] = i;
				}
			for (unsigned i = 0; i < 4; i++)
				drop(p[i], i);
		}
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e3;
}

static double calloc_churn(void)
{
	enum { LIVE = 10000 };
	static uint64_t *at[LIVE];
	uint64_t random = 5, n = 0, r;
	double start = now(), took;
	size_t size;
	unsigned i;

	do {
		for (unsigned k = 0; k < 10000; k++, n++) {
			r = next(&random);
			i = (unsigned)((r >> 32) % LIVE);
			if (at[i])
				drop(at[i], ~0ull);
			size = small(r) & ~7ul;
			at[i] = peer_calloc(1, size);
			if (!at[i] || at[i][0] || at[i][size / 8 - 1])
				wrong("calloc is not zero");
			at[i][0] = at[i][size / 8 - 1] = ~0ull;
		}
		took = now() - start;
	} while (took < seconds);
	return (double)n / took / 1e6;
}

const struct row one_worker[] = {
	{ "pair64", "M/s", pair64, false },
	{ "churn10k", "M/s", churn10k, false },
	{ "churn1m", "M/s", churn1m, false },
	{ "large", "k/s", large, false },
	{ "realloc", "k/s", realloc_growth, false },
	{ "calloc", "M/s", calloc_churn, false },
	{ "bulk", "M/s", bulk, false },
	{ "fill", "M/s", first_fill, false },
	{0},
};
