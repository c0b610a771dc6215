/*
 * crew.c - a few threads that help the calling one, and are gone when its call returns.
 *
 * They take no signals of the program's: its handlers would run where it does not
 * expect them.  Those that a fault raises stay open, for a blocked one would end the process before
 * any handler saw it.  The caller is no cancellation point meanwhile: it would leave the crew
 * at work on memory that is gone.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include "os/os.h"

unsigned cm_os_processors(void)
{
	cpu_set_t set;
	long n = -1;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		n = CPU_COUNT(&set);
	else /* more of them than a cpu_set_t has bits */
		n = sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned)n : 1;
}

static void block_signals(sigset_t *ret_old)
{
	static const int faults[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_SETMASK, &set, ret_old);
}

void cm_os_crew_start(struct cm_os_crew *crew, unsigned n, void *(*fn)(void *arg), void *arg)
{
	pthread_t *threads = n ? calloc(n, sizeof *threads) : NULL;
	sigset_t old;

	crew->threads = threads;
	crew->n = 0;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &crew->cancel_state);
	if (!threads)
		return;
	block_signals(&old);
	while (crew->n < n && pthread_create(&threads[crew->n], NULL, fn, arg) == 0)
		crew->n++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void cm_os_crew_join(struct cm_os_crew *crew)
{
	pthread_t *threads = crew->threads;

	for (unsigned i = 0; i < crew->n; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	pthread_setcancelstate(crew->cancel_state, NULL);
}
