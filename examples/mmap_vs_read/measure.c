/*
 * measure.c - each way in a process of its own, in turns, in random order.
 *
 * A fork leaves the child a nearly empty page table for the file, a peak of its own and
 * counters that begin at zero.  Turns are mixed, so that whatever disturbs the machine disturbs
 * all; the median of the rounds by time is what is shown.
 */
#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include "way.h"

enum { ROUNDS_MOST = 15, SKIP = 77 };

const char *const family_names[NFAMILIES] = {
	[READS] = "read, write",
	[MAPS] = "mmap",
	[KERNEL] = "io_uring, copies in the kernel",
	[COMAP] = "comap, left to choose",
};

struct stage stage;
struct outcome outcomes[OUTCOMES_MOST];
int noutcomes;

/* What a child says to its parent. */
struct message {
	struct figures figures;
	uint64_t sum;
};
static struct message *message;

void not_here(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(message->figures.why_not, sizeof message->figures.why_not, format, list);
	va_end(list);
	_exit(SKIP);
}

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_in_child(const struct way *way)
{
	struct rusage before, after;
	double begun;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	getrusage(RUSAGE_SELF, &before);
	begun = now();
	message->sum = way->run(way->arg);
	message->figures.seconds = now() - begun;
	getrusage(RUSAGE_SELF, &after);
	message->figures.cpu_seconds = seconds_of(after.ru_utime) - seconds_of(before.ru_utime) +
				       seconds_of(after.ru_stime) - seconds_of(before.ru_stime);
	message->figures.minor = after.ru_minflt - before.ru_minflt;
	message->figures.major = after.ru_majflt - before.ru_majflt;
	message->figures.peak = (uint64_t)after.ru_maxrss * KIB;
	message->figures.is_there = true;
	_exit(0);
}

static struct figures run(const struct task *task, const struct way *way, enum state state, uint64_t want)
{
	int status;
	pid_t pid;

	if (state == COLD)
		task->evict();
	stage.serial++;
	memset(message, 0, sizeof *message);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		run_in_child(way);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "wait");
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP)
		return message->figures;
	if (status != 0)
		errx(1, "%s by %s failed", task->title, way->name);
	if (task->look)
		message->sum = task->look();
	if (message->sum != want)
		errx(1, "%s by %s: a wrong sum, so something was not seen as it is", task->title,
		     way->name);
	return message->figures;
}

static int by_seconds(const void *a, const void *b)
{
	const struct figures *x = a, *y = b;

	return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

static void shuffle(int *order, int n)
{
	static uint64_t seed = 7;

	for (int i = 0; i < n; i++)
		order[i] = i;
	for (int i = n - 1; i > 0; i--) {
		int j = (int)(next_random(&seed) % (unsigned)(i + 1)), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

const struct outcome *measure(const struct task *task, enum state state, int rounds)
{
	static struct figures seen[WAYS_MOST][ROUNDS_MOST];
	struct outcome *o = &outcomes[noutcomes];
	int order[WAYS_MOST];
	uint64_t want;

	if (!message)
		message = map_or_die(-1, sizeof *message, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS);
	rounds = rounds < ROUNDS_MOST ? rounds : ROUNDS_MOST;
	*o = (struct outcome){ .task = task, .state = state, .best = -1 };
	o->n = task->count ? task->count(state) : 1;
	stage.nplaces = o->n;
	o->bytes = task->bytes();
	want = task->want();
	while (o->nways < WAYS_MOST && task->ways[o->nways].name)
		o->nways++;
	for (int round = 0; round < rounds; round++) {
		shuffle(order, o->nways);
		for (int i = 0; i < o->nways; i++)
			seen[order[i]][round] = run(task, &task->ways[order[i]], state, want);
	}
	for (int w = 0; w < o->nways; w++) {
		qsort(seen[w], (size_t)rounds, sizeof seen[w][0], by_seconds);
		o->ways[w] = seen[w][rounds / 2];
		if (o->ways[w].is_there &&
		    (o->best < 0 || o->ways[w].seconds < o->ways[o->best].seconds))
			o->best = w;
	}
	noutcomes += noutcomes < OUTCOMES_MOST - 1;
	return o;
}

double rate_of(const struct outcome *o, int way)
{
	double work = o->task->piece ? o->n : (double)o->bytes / 1e9;

	return o->ways[way].is_there ? work / o->ways[way].seconds : 0;
}

int best_of_family(const struct outcome *o, enum family family)
{
	int best = -1;

	for (int w = 0; w < o->nways; w++)
		if (o->ways[w].is_there && o->task->ways[w].family == family &&
		    (best < 0 || o->ways[w].seconds < o->ways[best].seconds))
			best = w;
	return best;
}

const char *state_of(const struct outcome *o)
{
	return o->task->is_of_file || o->state == COLD ? state_names[o->state] : "warm";
}

const struct outcome *outcome_of(const struct task *task, enum state state)
{
	for (int i = 0; i < noutcomes; i++)
		if (outcomes[i].task == task && outcomes[i].state == state)
			return &outcomes[i];
	return NULL;
}
