/* two.c - rows with two workers: processes where the peer is shared, else threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include "bench.h"

#define CELLS 1000u
#define RING 4096u

struct cells {
	uint64_t *at[CELLS];
};

/* A ring of one writer and one reader: each keeps what it last saw of the other's end, and looks
 * again only when that is not enough. */
struct shared {
	struct cells cells[3];
	_Alignas(64) _Atomic(struct cells *) table;
	_Alignas(64) _Atomic uint64_t head;
	_Alignas(64) _Atomic uint64_t tail;
	_Alignas(64) void *ring[RING];
	_Alignas(64) _Atomic uint64_t n[2];
	_Atomic uint32_t ready, stop;
};
static struct shared *shared;

/* Larson and Krishnan, ISMM 1998: workers replace random blocks and hand over what they hold.
 * Here: there is one set of blocks more than workers, and after every 1000 replacements a worker
 * changes its set for the one on the table.  So most blocks are freed by who did not allocate
 * them. */
static void larson_worker(int me)
{
	struct cells *mine = &shared->cells[me];
	uint64_t random = 6 + (uint64_t)me, n = 0, r;
	uint64_t **at;

	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
		for (unsigned k = 0; k < CELLS; k++, n++) {
			r = next(&random);
			at = &mine->at[(r >> 32) % CELLS];
			if (*at)
				drop(*at, (uint64_t)(uintptr_t)at);
			*at = stamped(small(r), (uint64_t)(uintptr_t)at);
		}
		mine = atomic_exchange(&shared->table, mine);
	}
	shared->n[me] = n;
}

static void produce(void)
{
	uint64_t n = 0, tail = 0, random = 8;

	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed))
		for (unsigned k = 0; k < 100; k++) {
			if (n - tail == RING)
				tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
			if (n - tail == RING)
				continue;
			shared->ring[n % RING] = stamped(small(next(&random)), n);
			atomic_store_explicit(&shared->head, ++n, memory_order_release);
		}
}

static void consume(void)
{
	uint64_t n = 0, head = 0;

	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed))
		for (unsigned k = 0; k < 100; k++) {
			if (n == head)
				head = atomic_load_explicit(&shared->head, memory_order_acquire);
			if (n == head)
				continue;
			drop(shared->ring[n % RING], n);
			atomic_store_explicit(&shared->tail, ++n, memory_order_release);
		}
	shared->n[1] = n; /* each block counts once */
}

static void pipe_worker(int me)
{
	if (me == 0)
		produce();
	else
		consume();
}

static void (*worker)(int me);

static void *work(void *arg)
{
	int me = (int)(intptr_t)arg;

	pin(me);
	shared->ready++;
	while (shared->ready < 2)
		;
	worker(me);
	return NULL;
}

static void start(int me, pthread_t *ret_thread, pid_t *ret_pid)
{
	if (!peer_is_shared) {
		if (pthread_create(ret_thread, NULL, work, (void *)(intptr_t)me) != 0)
			wrong("no thread");
		return;
	}
	*ret_pid = fork();
	if (*ret_pid < 0)
		wrong("no process");
	if (*ret_pid == 0) {
		work((void *)(intptr_t)me);
		_exit(0);
	}
}

static double run_both(void (*fn)(int me))
{
	struct timespec nap = { .tv_nsec = 1000000 };
	pthread_t thread[2];
	pid_t pid[2];
	double begin, took;
	int status;

	shared = zeroed(sizeof *shared);
	shared->table = &shared->cells[2];
	worker = fn;
	for (int i = 0; i < 2; i++)
		start(i, &thread[i], &pid[i]);
	while (shared->ready < 2)
		nanosleep(&nap, NULL);
	begin = now();
	nap.tv_nsec = (long)(seconds * 1e9) % 1000000000;
	nap.tv_sec = (time_t)seconds;
	nanosleep(&nap, NULL);
	shared->stop = 1;
	took = now() - begin;
	for (int i = 0; i < 2; i++)
		if (!peer_is_shared)
			pthread_join(thread[i], NULL);
		else if (waitpid(pid[i], &status, 0) < 0 || status != 0)
			wrong("a worker failed");
	return (double)(shared->n[0] + shared->n[1]) / took / 1e6;
}

static double larson(void)
{
	return run_both(larson_worker);
}

static double producer_consumer(void)
{
	return run_both(pipe_worker);
}

const struct row two_workers[] = {
	{ "larson", "M/s", larson, false },
	{ "pipe", "M/s", producer_consumer, false },
	{0},
};
