/* footprint.c - memory held, RSS or storage of the file, as a multiple of what is live. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include "bench.h"

static size_t resident(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long size = 0, rss = 0;

	if (!f || !fgets(line, sizeof line, f) || sscanf(line, "%lu %lu", &size, &rss) != 2)
		wrong("no statm");
	fclose(f);
	return rss * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t held(size_t before)
{
	size_t rss = resident() - before, stored = peer_stored();

	return rss > stored ? rss : stored;
}

static double footprint_churn(void)
{
	enum { LIVE = 1000000 };
	uint32_t *size = zeroed(LIVE * sizeof *size);
	void **at = zeroed(LIVE * sizeof *at);
	uint64_t random = 9, live = 0, r;
	size_t before;

	memset(at, 1, LIVE * sizeof *at);
	memset(at, 0, LIVE * sizeof *at);
	memset(size, 1, LIVE * sizeof *size);
	before = resident();
	for (unsigned k = 0; k < 4 * LIVE; k++) {
		unsigned i = k < LIVE ? k : (unsigned)((next(&random) >> 32) % LIVE);

		if (at[i]) {
			live -= size[i];
			drop(at[i], i);
		}
		r = next(&random);
		size[i] = (uint32_t)small(r);
		at[i] = stamped(size[i], i);
		memset((char *)at[i] + 8, 1, size[i] - 8);
		live += size[i];
	}
	return (double)held(before) / (double)live;
}

/* Sizes shift: each phase has its own range, what is live shrinks and grows. */
static double footprint_shifting(void)
{
	enum { LIVE = 100000, OPS = 10000000, SAMPLES = 200 };
	uint32_t *size = zeroed(LIVE * sizeof *size);
	void **at = zeroed(LIVE * sizeof *at);
	uint64_t random = 10, live = 0, r;
	double sum = 0;
	size_t before;

	memset(at, 1, LIVE * sizeof *at);
	memset(at, 0, LIVE * sizeof *at);
	memset(size, 1, LIVE * sizeof *size);
	before = resident();
	for (unsigned k = 0; k < OPS; k++) {
		unsigned phase = k / (OPS / 20), i;

		r = next(&random);
		i = (unsigned)((r >> 32) % LIVE);
		if (at[i]) {
			live -= size[i];
			drop(at[i], i);
			at[i] = NULL;
			if (phase % 3 == 2 && r % 4)
				continue;
		}
		size[i] = 16 + (uint32_t)((r >> 8) % (64u << phase % 7));
		at[i] = stamped(size[i], i);
		memset((char *)at[i] + 8, 1, size[i] - 8);
		live += size[i];
		if (k % (OPS / SAMPLES) == OPS / SAMPLES - 1)
			sum += (double)held(before) / (double)live;
	}
	return sum / SAMPLES;
}

/* A MiB of small blocks, of sizes that few allocators round, churned for a while. */
static void crowd_member(_Atomic uint32_t *ready, uint64_t random)
{
	static const uint16_t sizes[] = { 16, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512,
					  640, 768, 896, 1024 };
	enum { MOST = 1 << 16 };
	static struct {
		void *p;
		uint32_t size;
	} at[MOST];
	uint64_t live = 0, r;
	unsigned n = 0, i;

	for (; live < 1 << 20; live += at[n++].size) {
		at[n].size = sizes[next(&random) >> 32 & 15];
		at[n].p = stamped(at[n].size, n);
		memset((char *)at[n].p + 8, 1, at[n].size - 8);
	}
	for (unsigned k = 0; k < 20000; k++) {
		r = next(&random);
		i = (unsigned)((r >> 32) % n);
		drop(at[i].p, i);
		at[i].p = stamped(at[i].size, i);
	}
	++*ready;
	for (;;)
		pause();
}

/* KiB that each of 500 processes costs beyond its MiB. */
static double crowd(void)
{
	enum { N = 500 };
	_Atomic uint32_t *ready = zeroed(sizeof *ready);
	struct timespec nap = { .tv_nsec = 1000000 };
	double end = now() + 120, over;
	size_t before = peer_stored();
	static pid_t pid[N];

	if (!peer_is_shared || before == 0)
		not_here("processes on one heap whose storage is known");
	for (unsigned i = 0; i < N; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			wrong("no process");
		if (pid[i] == 0)
			crowd_member(ready, i + 1);
	}
	while (*ready < N && now() < end)
		nanosleep(&nap, NULL);
	over = (double)(peer_stored() - before) / N / 1024 - 1024;
	for (unsigned i = 0; i < N; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], NULL, 0);
	}
	if (*ready < N)
		wrong("they do not come");
	return over;
}

const struct row footprints[] = {
	{ "footprint", "x live", footprint_churn, false },
	{ "shifting", "x live", footprint_shifting, false },
	{ "crowd", "KiB", crowd, false },
	{0},
};
