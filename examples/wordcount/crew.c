/*
 * crew.c - the parent: forks workers, kills them, buries them, merges what they finish.
 *
 * Everything happens in one loop that sleeps until a child dies, or a
 * millisecond has passed.  What a death needs, in this order:
 *
 *   1. waitpid(): the worker is dead, not dying.
 *   2. comap_heap_reap(): a call into the heap that it died in is now finished,
 *      or undone, and what it held there is given back.  Only now do the refs on
 *      the board mean what they say.
 *   3. The chunk that names it as owner and has no table is the one it died
 *      over.  A new worker of the same number takes that over, arena and all.
 *
 * The parent is spared; were it killed too, PR_SET_PDEATHSIG takes the workers
 * along, and an anonymous heap is gone with the last of them.
 */
#include "crew.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "worker.h"

double crew_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A random number from 0 up to n (xorshift64*). */
static uint64_t random_below(struct crew *crew, uint64_t n)
{
	crew->seed ^= crew->seed >> 12;
	crew->seed ^= crew->seed << 25;
	crew->seed ^= crew->seed >> 27;
	return (crew->seed * 0x2545f4914f6cdd1d >> 32) % n;
}

static uint32_t count_alive(const struct crew *crew)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i <= crew->nworkers; i++)
		n += crew->pid[i] != 0;
	return n;
}

/* ---- life and death ------------------------------------------------------ */

static int hire(struct crew *crew, uint32_t number, struct chunk *chunk)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid < 0) {
		perror("fork");
		return -1;
	}
	if (pid == 0) {
		int err;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1); /* it was gone before it could take us along */
		err = worker_run(crew->job, number, chunk);
		if (err)
			fprintf(stderr, "worker %" PRIu32 ": %s\n", number, strerror(-err));
		_exit(err ? 1 : 0);
	}
	crew->pid[number] = pid;
	return 0;
}

static void kill_somebody(struct crew *crew)
{
	uint32_t nalive = count_alive(crew);
	uint64_t victim;

	if (nalive == 0)
		return;
	victim = random_below(crew, nalive);
	for (uint32_t i = 1; i <= crew->nworkers; i++)
		if (crew->pid[i] && victim-- == 0)
			kill(crew->pid[i], SIGKILL);
}

/* Between two kills lies a random time, from none to twice the average. */
static void plan_next_kill(struct crew *crew)
{
	double share = (double)random_below(crew, 1 << 20) / (1 << 20);

	crew->next_kill += 2 * share / crew->kills_per_second;
}

/* The chunk that worker `number` had claimed and not finished, or NULL. */
static struct chunk *unfinished_chunk(struct board *board, uint32_t number)
{
	for (uint64_t i = 0; i < board->nchunks; i++) {
		struct chunk *chunk = &board->chunk[i];

		if (atomic_load(&chunk->owner) == number &&
		    comap_ref_is_null(comap_ref_load(&chunk->table.ref)))
			return chunk;
	}
	return NULL;
}

static int replace(struct crew *crew, uint32_t number)
{
	struct chunk *chunk;
	int reaped = comap_heap_reap(crew->job->heap);

	if (reaped < 0) {
		fprintf(stderr, "reap: %s\n", strerror(-reaped));
		return -1;
	}
	chunk = unfinished_chunk(crew->job->board, number);
	crew->nkilled++;
	crew->nredone += chunk != NULL;
	return hire(crew, number, chunk);
}

/* See who has gone, and why. */
static int look_after_the_dead(struct crew *crew)
{
	for (uint32_t i = 1; i <= crew->nworkers; i++) {
		int status;

		if (!crew->pid[i] || waitpid(crew->pid[i], &status, WNOHANG) != crew->pid[i])
			continue;
		crew->pid[i] = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue; /* no chunk was left for it */
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
			fprintf(stderr, "worker %" PRIu32 " failed, wait status 0x%x\n", i,
				(unsigned)status);
			return -1;
		}
		if (replace(crew, i) < 0)
			return -1;
	}
	return 0;
}

static void dismiss_all(struct crew *crew)
{
	for (uint32_t i = 1; i <= crew->nworkers; i++) {
		if (!crew->pid[i])
			continue;
		kill(crew->pid[i], SIGKILL);
		waitpid(crew->pid[i], NULL, 0);
		crew->pid[i] = 0;
	}
	comap_heap_reap(crew->job->heap);
}

/* ---- the work ------------------------------------------------------------ */

static void merge_table(comap_heap *heap, const struct table *table, struct tally *tally)
{
	for (size_t i = 0; i < NBUCKETS; i++) {
		const struct entry *entry;

		for (entry = comap_at(heap, table->bucket[i]); entry;
		     entry = comap_at(heap, entry->next))
			tally_add(tally, entry->word, entry->length, entry->count);
	}
}

/* Make the tables finished since the last look part of the tally, and free them: blocks
 * that another process allocated, and one that may be dead by now.  Returns how many. */
static uint64_t merge_finished(const struct job *job, struct tally *tally)
{
	uint64_t nmerged = 0;

	for (uint64_t i = 0; i < job->board->nchunks; i++) {
		struct chunk *chunk = &job->board->chunk[i];
		/* acquire pairs with the release in count_chunk(): the table is all there. */
		comap_ref table = comap_ref_load(&chunk->table.ref);

		if (comap_ref_is_null(table))
			continue;
		merge_table(job->heap, comap_heap_at(job->heap, table), tally);
		atomic_store(&chunk->owner, CHUNK_MERGED);
		comap_ref_store(&chunk->table.ref, COMAP_NULL);
		arena_clear(job->heap, &chunk->arena);
		nmerged++;
	}
	return nmerged;
}

static void wipe_board(const struct job *job)
{
	atomic_store(&job->board->ticket, 0);
	for (uint64_t i = 0; i < job->board->nchunks; i++) {
		struct chunk *chunk = &job->board->chunk[i];

		atomic_store(&chunk->owner, CHUNK_FREE);
		comap_ref_store(&chunk->table.ref, COMAP_NULL);
		arena_clear(job->heap, &chunk->arena);
	}
}

/* On a terminal only, and only when there is something to wait for. */
static void show_progress(struct crew *crew, double now, uint64_t nmerged)
{
	if (now < crew->next_progress || !isatty(STDERR_FILENO))
		return;
	crew->next_progress = now + 0.1;
	crew->has_progress = true;
	fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " chunks, %" PRIu64 " workers killed\033[K",
		nmerged, crew->job->board->nchunks, crew->nkilled);
}

static void hide_progress(struct crew *crew)
{
	if (crew->has_progress)
		fprintf(stderr, "\r\033[K");
	crew->has_progress = false;
}

static int work_until_done(struct crew *crew, struct tally *tally, const sigset_t *child_died)
{
	uint64_t nmerged = 0;

	while (nmerged < crew->job->board->nchunks || count_alive(crew) > 0) {
		struct timespec tick = { .tv_nsec = 1000000 };
		double now = crew_now();

		while (crew->kills_per_second > 0 && now >= crew->next_kill) {
			kill_somebody(crew);
			plan_next_kill(crew);
		}
		if (look_after_the_dead(crew) < 0)
			return -1;
		nmerged += merge_finished(crew->job, tally);
		if (nmerged < crew->job->board->nchunks && count_alive(crew) == 0) {
			fprintf(stderr, "everybody left, and there is work to do\n");
			return -1;
		}
		show_progress(crew, now, nmerged);
		sigtimedwait(child_died, NULL, &tick);
	}
	return 0;
}

int crew_count(struct crew *crew, struct tally *tally)
{
	sigset_t child_died, before;
	int err = 0;

	/* Blocked, SIGCHLD stays pending until sigtimedwait() takes it: no death between
	 * looking and sleeping goes unnoticed. */
	sigemptyset(&child_died);
	sigaddset(&child_died, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_died, &before);

	wipe_board(crew->job);
	for (uint32_t i = 1; i <= crew->nworkers && !err; i++)
		err = hire(crew, i, NULL);
	if (!err)
		err = work_until_done(crew, tally, &child_died);
	hide_progress(crew);
	dismiss_all(crew);
	wipe_board(crew->job);

	sigprocmask(SIG_SETMASK, &before, NULL);
	return err;
}
