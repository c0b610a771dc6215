/* death.c - rows on kill -9: what a reaper needs, and whether the others go on. */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include "bench.h"

#define LIVE 1000u

static struct state {
	_Atomic uint64_t n[2];
	_Atomic uint32_t stop;
} * state;

static void nap_ms(double ms)
{
	struct timespec t = { .tv_nsec = (long)(ms * 1e6) };

	nanosleep(&t, NULL);
}

/* Allocates and frees until it is stopped, or killed. */
static pid_t start_churning(int me)
{
	uint64_t random = 11 + (uint64_t)me, r;
	void *at[LIVE] = {0};
	pid_t pid = fork();
	unsigned i;

	if (pid < 0)
		wrong("no process");
	if (pid > 0)
		return pid;
	pin(me);
	while (!state->stop) {
		r = next(&random);
		i = (unsigned)((r >> 32) % LIVE);
		if (at[i])
			drop(at[i], i);
		at[i] = stamped(small(r), i);
		state->n[me]++;
	}
	for (i = 0; i < LIVE; i++)
		if (at[i])
			drop(at[i], i);
	_exit(0);
}

/* Has worker `me` done `more` beyond that within so many seconds? */
static bool gets_on(int me, uint64_t more, double patience)
{
	uint64_t from = state->n[me];
	double end = now() + patience;

	while (state->n[me] < from + more && now() < end)
		nap_ms(0.1);
	return state->n[me] >= from + more;
}

/* Both churn, one is killed: of 40 times, how often does the other go on? */
static double kills(void)
{
	uint64_t random = 12;
	unsigned survived = 0;
	pid_t pid[2];
	int status;

	if (!peer_is_shared)
		not_here("processes on one heap");
	peer_begin();
	state = zeroed(sizeof *state);
	for (unsigned turn = 0; turn < 40; turn++) {
		bool goes_on;

		state->stop = 0;
		for (int i = 0; i < 2; i++)
			pid[i] = start_churning(i);
		if (!gets_on(0, 1000, 10) || !gets_on(1, 1000, 10))
			wrong("the workers do not begin");
		nap_ms((double)(next(&random) % 1000) / 200);
		kill(pid[0], SIGKILL);
		waitpid(pid[0], NULL, 0);
		goes_on = gets_on(1, 20000, 2);
		state->stop = 1;
		if (!goes_on)
			kill(pid[1], SIGKILL);
		if (waitpid(pid[1], &status, 0) < 0 || (goes_on && status != 0))
			wrong("the survivor found its blocks changed");
		survived += goes_on;
		if (!goes_on)
			peer_begin(); /* nobody can use that one any more */
	}
	if (!peer_is_whole())
		wrong("the heap is damaged");
	return survived;
}

/* Microseconds to reap one who was killed while churning, the median of many. */
static double reap_beside(unsigned live)
{
	enum { TURNS = 21 };
	double took[TURNS], start;

	if (peer_reap() < 0)
		not_here("reaping");
	state = zeroed(sizeof *state);
	for (unsigned i = 0; i < live; i++)
		(void)stamped(16 + i % 4 * 16, i);
	for (unsigned i = 0; i < TURNS; i++) {
		pid_t pid = start_churning(1);

		if (!gets_on(1, 20000, 10))
			wrong("the worker does not begin");
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		start = now();
		if (peer_reap() != 1)
			wrong("there was nobody to reap");
		took[i] = (now() - start) * 1e6;
	}
	if (!peer_is_whole())
		wrong("the heap is damaged");
	return median(took, TURNS);
}

static double reap_1m(void)
{
	return reap_beside(1000000);
}

static double reap_10m(void)
{
	return reap_beside(10000000);
}

const struct row deaths[] = {
	{ "kills", "of 40", kills, true },
	{ "reap1m", "us", reap_1m, false },
	{ "reap10m", "us", reap_10m, false },
	{0},
};
