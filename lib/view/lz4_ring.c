/*
 * lz4_ring.c - pieces made by several threads, in any order, and taken in theirs by the calling
 * one.
 *
 * A ring of slots, two more than there are threads, holds what was made and not yet taken; who
 * finds no slot free waits for the taking, so memory stays at that, however much there is, and what
 * is taken is still in a cache.  The calling thread takes, and makes whenever the piece it should
 * take next is not there.
 *
 * The slots' bytes begin as zeroes, and later hold other pieces: nothing of what else the process
 * has in its memory.
 */
#include <pthread.h>
#include <stdlib.h>
#include "view/lz4.h"

struct ring {
	const struct cm_lz4_work *work;
	uint64_t nslots;
	struct cm_lz4_piece *slots; /* piece i is in slot i % nslots */
	char *bytes;                /* of all slots */
	size_t span;

	pthread_mutex_t lock; /* of what follows, and of is_ready */
	pthread_cond_t ready; /* a piece is */
	pthread_cond_t room;  /* a slot is free, or there is nothing more to do */
	uint64_t next;        /* piece to be made */
	uint64_t taken;       /* pieces */
	bool is_over;
};

static struct cm_lz4_piece *slot_of(const struct ring *ring, uint64_t i)
{
	return &ring->slots[i % ring->nslots];
}

static bool has_next(const struct ring *ring)
{
	return ring->next < ring->work->npieces && ring->next - ring->taken < ring->nslots;
}

/* Make the next piece; the lock is held when it is called and when it returns. */
static void make_next(struct ring *ring, void *state)
{
	uint64_t i = ring->next++;
	struct cm_lz4_piece *piece = slot_of(ring, i);

	pthread_mutex_unlock(&ring->lock);
	piece->err = ring->work->make(ring->work->arg, state, i, piece);
	pthread_mutex_lock(&ring->lock);
	piece->is_ready = true;
	pthread_cond_signal(&ring->ready); /* only the calling thread waits for it */
}

static void *help(void *arg)
{
	struct ring *ring = arg;
	void *state = malloc(ring->work->state_size + 1);

	pthread_mutex_lock(&ring->lock);
	while (state && !ring->is_over && ring->next < ring->work->npieces)
		if (has_next(ring))
			make_next(ring, state);
		else
			pthread_cond_wait(&ring->room, &ring->lock);
	pthread_mutex_unlock(&ring->lock);
	free(state);
	return NULL;
}

static const struct cm_lz4_piece *await(struct ring *ring, void *state, uint64_t i)
{
	const struct cm_lz4_piece *piece = slot_of(ring, i);

	pthread_mutex_lock(&ring->lock);
	while (!piece->is_ready)
		if (has_next(ring))
			make_next(ring, state);
		else
			pthread_cond_wait(&ring->ready, &ring->lock);
	pthread_mutex_unlock(&ring->lock);
	return piece;
}

static void release(struct ring *ring, uint64_t i, bool is_over)
{
	pthread_mutex_lock(&ring->lock);
	slot_of(ring, i)->is_ready = false;
	ring->taken = i + 1;
	ring->is_over = is_over;
	pthread_cond_broadcast(&ring->room);
	pthread_mutex_unlock(&ring->lock);
}

static int take_all(struct ring *ring, void *state)
{
	const struct cm_lz4_work *work = ring->work;
	const struct cm_lz4_piece *piece;
	int err = 0;

	for (uint64_t i = 0; i < work->npieces && err == 0; i++) {
		piece = await(ring, state, i);
		err = piece->err;
		if (err == 0 && work->take)
			err = work->take(work->arg, i, piece);
		release(ring, i, err < 0);
	}
	return err;
}

static int new_slots(struct ring *ring)
{
	size_t each = ring->work->piece_size;

	if (each > (PTRDIFF_MAX - CM_GIB) / ring->nslots)
		return -ENOMEM;
	ring->slots = calloc((size_t)ring->nslots, sizeof *ring->slots);
	if (!ring->slots)
		return -ENOMEM;
	if (!each)
		return 0;
	ring->span = cm_round_up(each * (size_t)ring->nslots, cm_os_page_size());
	ring->bytes = cm_os_private_pages(ring->span);
	if (!ring->bytes)
		return -ENOMEM;
	(void)cm_os_advise(ring->bytes, ring->span, CM_OS_HUGE);
	for (uint64_t i = 0; i < ring->nslots; i++)
		ring->slots[i].bytes = ring->bytes + i * each;
	return 0;
}

static int run(struct ring *ring, unsigned threads, void *state)
{
	struct cm_os_crew crew;
	int err;

	pthread_mutex_init(&ring->lock, NULL);
	pthread_cond_init(&ring->ready, NULL);
	pthread_cond_init(&ring->room, NULL);
	cm_os_crew_start(&crew, threads - 1, help, ring);
	err = take_all(ring, state);
	cm_os_crew_join(&crew);
	pthread_cond_destroy(&ring->room);
	pthread_cond_destroy(&ring->ready);
	pthread_mutex_destroy(&ring->lock);
	return err;
}

int cm_lz4_run(const struct cm_lz4_work *work, unsigned threads)
{
	struct ring ring = { .work = work };
	void *state = malloc(work->state_size + 1);
	int err;

	if (threads == 0)
		threads = cm_os_processors();
	threads = (unsigned)cm_max(1, cm_min(threads, work->npieces));
	ring.nslots = threads + 2ull;
	err = state ? new_slots(&ring) : -ENOMEM;
	if (err == 0)
		err = run(&ring, threads, state);
	if (ring.bytes)
		cm_os_unmap_part(ring.bytes, ring.span);
	free(ring.slots);
	free(state);
	return err;
}
