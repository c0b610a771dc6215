/*
 * lz4_inflate.c - all of the content at once, by several threads: to memory, or into a writer.
 *
 * A piece is a run of blocks, about a mebibyte.  Each thread decodes the next one from the mapping
 * straight to where it belongs; for a writer, into a piece's own bytes, still in a cache when they
 * are written.
 *
 * A content checksum is XXH32 of a frame's whole content, in order, and costs a third of decoding.
 * So the calling thread, which gets the pieces in order, hashes, and the others decode meanwhile
 * (lz4_ring.c).
 *
 * What goes into a writer needs no place beforehand, so there how long each block is inflated is
 * found by decoding it, and nothing is measured before.
 */
#include <stdlib.h>
#include <xxhash.h>
#include "view/lz4.h"

struct job {
	comap_lz4 *lz4;
	char *to;             /* NULL: into the writer */
	comap_writer *writer;
	uint32_t flags;
	uint64_t per_run; /* blocks in a piece */
	/* of the calling thread */
	XXH32_state_t *state;
	uint64_t frame;      /* whose content comes next */
	uint64_t seen;       /* bytes of it that came */
	bool is_writers;     /* the writer failed, and said why */
};

/* ---- decoding ------------------------------------------------------------------------ */

static uint64_t run_end(const struct job *job, uint64_t run)
{
	return cm_min((run + 1) * job->per_run, job->lz4->nblocks);
}

/* Block i to *to, and *to behind it. */
static int decode(const struct job *job, uint64_t i, char **to)
{
	int64_t got;
	int err = 0;

	if (job->flags & COMAP_LZ4_CHECK_BLOCKS)
		err = cm_lz4_check(job->lz4, i);
	if (err < 0)
		return err;
	if (job->to) {
		err = cm_lz4_decode_exact(job->lz4, i, *to);
		got = err < 0 ? err : (int64_t)cm_lz4_size(&job->lz4->blocks[i]);
	} else {
		got = cm_lz4_decode_any(job->lz4, i, *to);
		job->lz4->blocks[i].content = (uint64_t)got; /* its size: see size_of */
	}
	if (got < 0)
		return (int)got;
	*to += got;
	return 0;
}

/* New memory comes by a fault for each page, which costs as much as decoding; at once it is half of
 * that.  And a hole of a full disk is an error here, not a signal later. */
static int populate(char *at, size_t n)
{
	size_t page = cm_os_page_size(), before = (uintptr_t)at % page;

	return n ? cm_os_populate_write(at - before, cm_round_up(before + n, page)) : 0;
}

static int make(const void *arg, void *state, uint64_t run, struct cm_lz4_piece *piece)
{
	const struct job *job = arg;
	const comap_lz4 *lz4 = job->lz4;
	uint64_t begin = run * job->per_run, end = run_end(job, run);
	char *from = job->to ? job->to + lz4->blocks[begin].content : piece->bytes, *to = from;
	comap_guard guard;
	int err;

	(void)state;
	if (job->to) {
		err = populate(from, (size_t)(lz4->blocks[end].content - lz4->blocks[begin].content));
		if (err < 0)
			return err;
	}
	err = cm_lz4_enter(lz4, &guard, cm_lz4_end(lz4, end - 1));
	if (err < 0)
		return err;
	for (uint64_t i = begin; i < end && err == 0; i++)
		err = decode(job, i, &to);
	piece->size = (size_t)(to - from);
	return cm_lz4_leave(&guard, err);
}

/* ---- frames -------------------------------------------------------------------------- */

static int compare(const struct job *job, const struct cm_lz4_frame *frame)
{
	comap_guard guard;
	uint32_t sum;
	int err = cm_lz4_enter(job->lz4, &guard, frame->end);

	if (err < 0)
		return err;
	if (comap_bytes_u32le(job->lz4->bytes, frame->end - 4, &sum) < 0 ||
	    sum != XXH32_digest(job->state))
		err = -EUCLEAN;
	return cm_lz4_leave(&guard, err);
}

/* The frames that end where block `upto` begins. */
static int end_frames(struct job *job, uint64_t upto)
{
	const comap_lz4 *lz4 = job->lz4;
	const struct cm_lz4_frame *frame = &lz4->frames[job->frame];
	int err = 0;

	for (; err == 0 && job->frame < lz4->nframes && frame->first + frame->nblocks == upto; frame++) {
		if (lz4->is_unmeasured && frame->declared && frame->declared != job->seen)
			err = -EUCLEAN;
		else if (job->flags & frame->checks & COMAP_LZ4_CHECK_CONTENT)
			err = compare(job, frame);
		job->frame++;
		job->seen = 0;
		XXH32_reset(job->state, 0);
	}
	return err;
}

static size_t size_of(const comap_lz4 *lz4, uint64_t i)
{
	return lz4->is_unmeasured ? (size_t)lz4->blocks[i].content : cm_lz4_size(&lz4->blocks[i]);
}

static int take(void *arg, uint64_t run, const struct cm_lz4_piece *piece)
{
	struct job *job = arg;
	const comap_lz4 *lz4 = job->lz4;
	uint64_t i = run * job->per_run, end = run_end(job, run);
	const char *at = job->to ? job->to + lz4->blocks[i].content : piece->bytes;
	int err = 0;

	for (; i < end && err == 0; i++) {
		if (job->flags & lz4->frames[job->frame].checks & COMAP_LZ4_CHECK_CONTENT)
			XXH32_update(job->state, at, size_of(lz4, i));
		at += size_of(lz4, i);
		job->seen += size_of(lz4, i);
		err = end_frames(job, i + 1);
	}
	if (err < 0 || job->to)
		return err;
	err = comap_writer_write(job->writer, piece->bytes, piece->size);
	job->is_writers = err < 0;
	return err;
}

static int run_job(struct job *job, unsigned threads)
{
	struct cm_lz4_work work = { .arg = job, .make = make, .take = take };
	int err;

	job->per_run = cm_max(1, CM_LZ4_RUN_SIZE / cm_max(1, job->lz4->block_most));
	work.npieces = cm_div_up(job->lz4->nblocks, job->per_run);
	work.piece_size = job->to ? 0 : (size_t)job->per_run * job->lz4->block_most;
	job->state = XXH32_createState();
	if (!job->state)
		return -ENOMEM;
	XXH32_reset(job->state, 0);
	err = end_frames(job, 0);
	if (err == 0)
		err = cm_lz4_run(&work, threads);
	XXH32_freeState(job->state);
	return err;
}

/* ---- calls --------------------------------------------------------------------------- */

#define CHECKS (COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT)

int comap_lz4_inflate(comap_lz4 *lz4, void *to, uint64_t n, unsigned threads, uint32_t flags)
{
	char none; /* `to` may be NULL when nothing goes there */
	struct job job = { .lz4 = lz4, .to = n ? to : &none, .flags = flags };
	int err = -EINVAL;

	if (!(flags & ~CHECKS) && n == lz4->content_size && n <= SIZE_MAX)
		err = run_job(&job, threads);
	return err < 0 ? cm_view_fail(err, "inflate", lz4->view->memory->path) : 0;
}

int comap_lz4_unpack(comap_view *view, comap_writer *writer, unsigned threads, uint32_t flags)
{
	struct job job = { .writer = writer, .flags = flags };
	comap_lz4 *lz4 = NULL;
	int err = flags & ~CHECKS ? -EINVAL : cm_lz4_new(view, &lz4);

	if (err == 0) {
		lz4->is_unmeasured = true;
		job.lz4 = lz4;
		err = cm_lz4_fill(lz4, COMAP_LZ4_NO_INDEX);
	}
	if (err == 0)
		err = run_job(&job, threads);
	comap_lz4_close(lz4);
	return err < 0 && !job.is_writers ? cm_view_fail(err, "unpack", view->memory->path) : err;
}
