/*
 * lz4_inflate.c - all of the content at once, by several threads.
 *
 * Each thread takes the next run of blocks, about a mebibyte, and decodes it from the mapping straight to
 * where it belongs: no byte is copied twice, and who is slow takes fewer runs.  The calling thread
 * is one of them.
 *
 * A content checksum is XXH32 of a frame's whole content, in order, and costs more than decoding on
 * one thread.  So whoever finished a run also hashes what is ready to be, unless somebody is at it: one
 * thread follows behind the others, who go on decoding.
 */
#include <stdlib.h>
#include <xxhash.h>
#include "view/lz4.h"

#define RUN_SIZE CM_MIB

struct hashing {
	cm_half is_taken;      /* by the thread that hashes */
	uint64_t frame, block; /* next to be hashed */
	XXH32_state_t *state;
};

struct job {
	const comap_lz4 *lz4;
	char *to;
	uint32_t flags;
	uint64_t per_run, nruns; /* blocks in a run; runs */
	cm_word next;            /* run to be taken */
	_Atomic int32_t err;     /* the first */
	cm_byte *is_done;        /* of each run; NULL: nothing is to be hashed */
	struct hashing hashing;
};

static void fail(struct job *job, int err)
{
	int32_t none = 0;

	atomic_compare_exchange_strong_explicit(&job->err, &none, err, memory_order_relaxed,
						memory_order_relaxed);
}

static uint64_t run_end(const struct job *job, uint64_t run)
{
	return cm_min((run + 1) * job->per_run, job->lz4->nblocks);
}

static int inflate_run(const struct job *job, uint64_t run)
{
	const comap_lz4 *lz4 = job->lz4;
	uint64_t end = run_end(job, run);
	comap_guard guard;
	int err = cm_lz4_enter(lz4, &guard, cm_lz4_end(lz4, end - 1));

	if (err < 0)
		return err;
	for (uint64_t i = run * job->per_run; i < end && err == 0; i++) {
		if (job->flags & COMAP_LZ4_CHECK_BLOCKS)
			err = cm_lz4_check(lz4, i);
		if (err == 0)
			err = cm_lz4_decode_exact(lz4, i, job->to + lz4->blocks[i].content);
	}
	return cm_lz4_leave(&guard, err);
}

/* ---- the content's checksum -------------------------------------------------------------------- */

static int compare(const struct job *job, const struct cm_lz4_frame *frame)
{
	comap_guard guard;
	uint32_t sum;
	int err = cm_lz4_enter(job->lz4, &guard, frame->end);

	if (err < 0)
		return err;
	if (comap_bytes_u32le(job->lz4->bytes, frame->end - 4, &sum) < 0 ||
	    sum != XXH32_digest(job->hashing.state))
		err = -EUCLEAN;
	return cm_lz4_leave(&guard, err);
}

/* The frame's blocks as far as they are inflated: true when these are all. */
static bool hash_frame(struct job *job, const struct cm_lz4_frame *frame)
{
	const struct cm_lz4_block *blocks = job->lz4->blocks;
	uint64_t *i = &job->hashing.block, end = frame->first + frame->nblocks, upto, run;

	while (*i < end) {
		run = *i / job->per_run;
		if (!cm_load_acquire(&job->is_done[run])) /* pairs with the release of work() */
			return false;
		upto = cm_min(end, run_end(job, run));
		XXH32_update(job->hashing.state, job->to + blocks[*i].content,
			     (size_t)(blocks[upto].content - blocks[*i].content));
		*i = upto;
	}
	return true;
}

static void hash_some(struct job *job)
{
	struct hashing *hashing = &job->hashing;
	const struct cm_lz4_frame *frame;
	uint32_t not_taken = 0;
	int err = 0;

	/* acquire and release: the next one to hash goes on where we ended */
	if (!atomic_compare_exchange_strong_explicit(&hashing->is_taken, &not_taken, 1,
						     memory_order_acquire, memory_order_relaxed))
		return;
	while (err == 0 && hashing->frame < job->lz4->nframes) {
		frame = &job->lz4->frames[hashing->frame];
		if (frame->checks & COMAP_LZ4_CHECK_CONTENT) {
			if (!hash_frame(job, frame))
				break;
			err = compare(job, frame);
		}
		hashing->frame++;
		hashing->block = frame->first + frame->nblocks;
		XXH32_reset(hashing->state, 0);
	}
	if (err < 0)
		fail(job, err);
	cm_store_release(&hashing->is_taken, 0);
}

/* ---- the threads --------------------------------------------------------------------------------- */

static void *work(void *arg)
{
	struct job *job = arg;
	uint64_t run;
	int err;

	while (cm_read(&job->err) == 0) {
		run = cm_add(&job->next, 1);
		if (run >= job->nruns)
			break;
		err = inflate_run(job, run);
		if (err < 0)
			fail(job, err);
		if (err < 0 || !job->is_done)
			continue;
		/* release pairs with the acquire of hash_frame() */
		cm_store_release(&job->is_done[run], 1);
		hash_some(job);
	}
	return NULL;
}

static int begin_hashing(struct job *job)
{
	job->is_done = calloc((size_t)job->nruns + 1, sizeof *job->is_done);
	job->hashing.state = XXH32_createState();
	if (!job->is_done || !job->hashing.state)
		return -ENOMEM;
	XXH32_reset(job->hashing.state, 0);
	return 0;
}

static int run_job(struct job *job, unsigned threads)
{
	struct cm_os_crew crew;

	cm_os_crew_start(&crew, threads ? threads - 1 : 0, work, job);
	work(job);
	cm_os_crew_join(&crew);
	/* what was ready when somebody else was just putting the hash down */
	if (job->is_done && cm_read(&job->err) == 0)
		hash_some(job);
	return cm_read(&job->err);
}

int comap_lz4_inflate(comap_lz4 *lz4, void *to, uint64_t n, unsigned threads, uint32_t flags)
{
	char none; /* `to` may be NULL when nothing goes there */
	struct job job = { .lz4 = lz4, .to = n ? to : &none, .flags = flags };
	int err = 0;

	if (flags & ~(COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT) || n != lz4->content_size ||
	    n > SIZE_MAX)
		err = -EINVAL;
	job.per_run = cm_max(1, RUN_SIZE / lz4->block_most);
	job.nruns = cm_div_up(lz4->nblocks, job.per_run);
	if (threads == 0)
		threads = cm_os_processors();
	if (err == 0 && flags & COMAP_LZ4_CHECK_CONTENT)
		err = begin_hashing(&job);
	if (err == 0)
		err = run_job(&job, (unsigned)cm_min(threads, job.nruns));
	free(job.is_done);
	XXH32_freeState(job.hashing.state);
	return err < 0 ? cm_view_fail(err, "inflate", lz4->view->memory->path) : 0;
}
