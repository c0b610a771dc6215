/*
 * stream_arms.c - files, window by window: read into a buffer, or mapped?
 *
 * For one and the same warm file a scan of mapped windows is between 1.5 times faster and 2.2
 * times slower than one of read(2) into 256 KiB, depending on the size of the folios it lies in
 * (docs/views.md).  No call tells that size, so both arms are tried, each on windows of 2 MiB:
 *
 *   trial    three windows each, and the arm with the cheapest single one is kept;
 *   steady   the kept arm for 7 windows, then one of the other: a probe.  When that is cheaper
 *            than each of the last three of the kept arm, there is another trial; else the next
 *            probe comes after twice as many, up to 64.
 *
 * A window costs the time from the call that begins it to the call that begins the next: a
 * mapped one is paid for by page faults, while the consumer reads.  So whatever else the
 * consumer does is in it.  That can only make a window dearer, which is why minima are compared:
 * one slow call, or one in two, says nothing about the arm.  In the order of a trial, R M M R R
 * M, each arm has odd and even turns, for the same reason.  Where the minima are close it is
 * read, which cannot raise SIGBUS.
 *
 * With arms that differ by the factor 2 the probes cost 1/64, 1.6 %, and a trial three windows.  A
 * trial that noise decided costs 7 windows in the wrong arm: the first probe mends it.
 * A file under 8 MiB is too short for that, and is read.
 *
 * The library touches no mapped byte itself: a file that was cut short would be a signal, in a
 * place where no guard of the program's could be.  So who takes records, whose ends we look for,
 * gets what was read.  It asks for the file's size before each window and at the end, and maps
 * nothing of a file that was cut short.
 */
#include "view/stream.h"

/* ---- the policy ------------------------------------------------------------------------ */

enum cm_arm cm_arms_choose(const struct cm_arms *arms)
{
	static const enum cm_arm order[CM_ARMS_TRIAL] = {
		CM_ARM_READ, CM_ARM_MAP, CM_ARM_MAP, CM_ARM_READ, CM_ARM_READ, CM_ARM_MAP,
	};

	if (arms->turn < CM_ARMS_TRIAL)
		return order[arms->turn];
	if (arms->turn == CM_ARMS_TRIAL + arms->period - 1)
		return arms->kept == CM_ARM_READ ? CM_ARM_MAP : CM_ARM_READ;
	return arms->kept;
}

/* Cheaper by more than the clock's and the cache's mood. */
static bool is_cheaper(uint64_t a, uint64_t b)
{
	return a < b - b / 32;
}

void cm_arms_tell(struct cm_arms *arms, uint64_t ns)
{
	unsigned steady = arms->turn - CM_ARMS_TRIAL;
	uint64_t *best, least;

	if (arms->turn < CM_ARMS_TRIAL) {
		best = &arms->best[cm_arms_choose(arms)];
		if (arms->turn < 2) /* the first of each arm: see the order */
			*best = ns;
		*best = cm_min(*best, ns);
		arms->kept = is_cheaper(arms->best[CM_ARM_MAP], arms->best[CM_ARM_READ])
				     ? CM_ARM_MAP
				     : CM_ARM_READ;
		arms->turn++;
		arms->period = CM_ARMS_PERIOD_LEAST;
	} else if (steady < arms->period - 1) {
		arms->recent[steady % 3] = ns;
		arms->turn++;
	} else {
		least = cm_min(arms->recent[0], cm_min(arms->recent[1], arms->recent[2]));
		arms->turn = is_cheaper(ns, least) ? 0 : CM_ARMS_TRIAL;
		arms->period = (unsigned)cm_min(2 * arms->period, CM_ARMS_PERIOD_MOST);
	}
}

/* ---- windows --------------------------------------------------------------------------- */

void cm_stream_drop_window(struct comap_stream *s)
{
	if (s->window)
		cm_os_unmap_part(s->window, s->window_span);
	s->window = NULL;
}

static void begin_window(struct comap_stream *s)
{
	uint64_t now;

	if (s->is_adaptive) {
		now = cm_os_now_ns();
		if (s->is_window_whole)
			cm_arms_tell(&s->arms, now - s->window_began_ns);
		s->window_began_ns = now;
		s->arm = cm_arms_choose(&s->arms);
	}
	s->window_end = cm_min(s->pos / CM_STREAM_WINDOW * CM_STREAM_WINDOW + CM_STREAM_WINDOW, s->end);
	s->is_window_whole = s->window_end - s->pos == CM_STREAM_WINDOW;
}

static int set_chunk(struct comap_stream *s, const char *at, size_t n, bool is_mapped)
{
	s->at = at;
	s->left = n;
	s->is_chunk_mapped = is_mapped;
	s->pos += n;
	return 1;
}

/* -ENODATA: it is shorter than it should be. */
static int check_size(const struct comap_stream *s, uint64_t *ret_size)
{
	struct cm_os_stat st;
	int err = cm_os_stat(s->fd, &st);

	if (err == 0)
		*ret_size = st.size;
	return err == 0 && st.size < s->expected ? -ENODATA : err;
}

static int read_window(struct comap_stream *s)
{
	size_t n = (size_t)cm_min(CM_STREAM_READ, s->window_end - s->pos);
	uint64_t size;
	int64_t got = 0;
	int err = cm_stream_need_buffer(s);

	/* Nothing where the size promises something: it was cut short and grew again in between,
	 * so read it again, or the size was a lie. */
	for (int turn = 0; err == 0 && got == 0 && turn < 2; turn++) {
		got = cm_os_read_at(s->fd, s->buffer, n, s->pos);
		if (got < 0)
			err = (int)got;
		else if (got == 0)
			err = check_size(s, &size);
	}
	return err < 0 ? err : got == 0 ? 0 : set_chunk(s, s->buffer, (size_t)got, false);
}

/* It is read from now on. */
static int fall_back(struct comap_stream *s, int err)
{
	if (s->flags & COMAP_STREAM_MAP)
		return err;
	s->is_adaptive = false;
	s->arm = CM_ARM_READ;
	return read_window(s);
}

static int map_window(struct comap_stream *s)
{
	size_t page = cm_os_page_size(), before = (size_t)(s->pos % page), n;
	uint64_t size = 0;
	void *at;
	int err = check_size(s, &size);

	if (err == -ENODATA)
		return fall_back(s, err); /* for what is left of it */
	if (err < 0)
		return err;
	if (s->pos >= size)
		return read_window(s); /* the end, or a little more by now */
	n = (size_t)(cm_min(s->window_end, size) - s->pos);
	err = cm_os_map_part(s->fd, s->pos - before, before + n, CM_OS_LOOK, false, NULL, &at);
	if (err < 0) {
		s->is_mappable = (s->flags & COMAP_STREAM_MAP) != 0;
		return fall_back(s, err);
	}
	s->window = at;
	s->window_span = before + n;
	/* of a cold file whole windows are read ahead, which makes large folios */
	if (s->is_window_whole)
		(void)cm_os_advise(at, s->window_span, CM_OS_HUGE);
	return set_chunk(s, (const char *)at + before, n, true);
}

void cm_stream_read_on(struct comap_stream *s)
{
	if (!s->is_adaptive || s->flags & COMAP_STREAM_MAP)
		return;
	s->is_adaptive = false;
	s->arm = CM_ARM_READ;
	if (s->is_chunk_mapped) { /* what is left of it is read again */
		s->pos -= s->left;
		s->left = 0;
		cm_stream_drop_window(s);
	}
}

int cm_stream_fill_file(struct comap_stream *s)
{
	uint64_t size;

	cm_stream_drop_window(s);
	if (s->pos >= s->end) /* what was mapped may have been zeroes */
		return s->mapped_bytes ? check_size(s, &size) : 0;
	if (s->pos == s->window_end)
		begin_window(s);
	return s->arm == CM_ARM_MAP ? map_window(s) : read_window(s);
}
