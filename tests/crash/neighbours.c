/* neighbours.c - see neighbours.h. */
#include "crash/neighbours.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT 24

struct neighbours {
	pid_t pid;
	comap_heap *heap;
	_Atomic uint32_t ready;
	pid_t tid[NEIGHBOUR_THREADS];
	struct journal journal[NEIGHBOUR_THREADS];
};

struct thread {
	struct neighbours *n;
	unsigned index;
};

static void on_misuse(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg)
{
	(void)arg;
	fprintf(stderr, "neighbour: misuse %d of %#llx\n", what,
		(unsigned long long)comap_heap_ref(heap, ptr).off);
	abort();
}

static void *work(void *arg)
{
	static const size_t sizes[] = { 16, 64, 64, 64, 200, 1000, 8192, 30000, 100000 };
	const struct thread *t = arg;
	struct world w = { .heap = t->n->heap, .journal = &t->n->journal[t->index] };
	unsigned seed = 7 + t->index;
	void *p[KEPT] = {0};

	t->n->tid[t->index] = (pid_t)syscall(SYS_gettid);
	comap_heap_free(w.heap, comap_heap_malloc(w.heap, 1)); /* a slot */
	t->n->ready++;
	for (;;) {
		unsigned i = (unsigned)rand_r(&seed) % KEPT;
		size_t size = sizes[(unsigned)rand_r(&seed) % (sizeof sizes / sizeof sizes[0])];

		if (p[i]) {
			journal_doubt(&w, p[i]);
			comap_heap_free(w.heap, p[i]);
			journal_settled(&w);
			p[i] = NULL;
		} else {
			p[i] = comap_heap_malloc(w.heap, size);
			if (p[i])
				journal_add(&w, p[i], size);
		}
	}
	return NULL;
}

struct neighbours *neighbours_start(int heap_fd)
{
	struct neighbours *n =
		mmap(NULL, sizeof *n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct thread thread[NEIGHBOUR_THREADS];
	pthread_t id;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (comap_heap_open_fd(heap_fd, NULL, &n->heap) < 0)
			_exit(1);
		comap_heap_on_misuse(n->heap, on_misuse, NULL);
		for (unsigned i = 0; i < NEIGHBOUR_THREADS; i++) {
			thread[i] = (struct thread){ n, i };
			pthread_create(&id, NULL, work, &thread[i]);
		}
		for (;;)
			pause();
	}
	n->pid = pid; /* not fork()'s own store: the child shares this memory */
	while (n->ready < NEIGHBOUR_THREADS)
		usleep(100);
	return n;
}

unsigned neighbours_tids(const struct neighbours *n, pid_t *tids)
{
	for (unsigned i = 0; i < NEIGHBOUR_THREADS; i++)
		tids[i] = n->tid[i];
	return NEIGHBOUR_THREADS;
}

struct journal *neighbours_journal(struct neighbours *n, unsigned thread)
{
	return &n->journal[thread];
}

void neighbours_stop(struct neighbours *n)
{
	int status;

	kill(n->pid, SIGSTOP);
	if (waitpid(n->pid, &status, WUNTRACED) < 0 || !WIFSTOPPED(status))
		abort();
}

void neighbours_go(struct neighbours *n)
{
	kill(n->pid, SIGCONT);
}

void neighbours_end(struct neighbours *n)
{
	kill(n->pid, SIGKILL);
	waitpid(n->pid, NULL, 0);
	munmap(n, sizeof *n);
}
