/*
 * window.c - sliding windows over a file, as git's packfile.c looks at its packs.
 *
 * A window begins at a multiple of half its size, so whatever is no longer than half a window lies
 * in one, wherever it begins, and neighbours share it.  What is longer and does not fit gets a
 * window that begins at its own page, and is as long as it must be.
 *
 * Windows stay mapped when nobody pins them, for they are likely to be wanted again, until the
 * budget wants their place: the one that was used longest ago goes first.  They are a list,
 * last used first; finding one and choosing the one to go are walks of it, for they are meant to be
 * few and large.
 *
 * A mapping shows the file, not what it was: each pin asks for the file's size, and is refused
 * past its end, also where a window still lies there from before.
 */
#include <stdlib.h>
#include "view/view.h"
#include <comap/window.h>

#define WINDOW_DEFAULT (sizeof(void *) == 4 ? 32 * CM_MIB : CM_GIB)
#define BUDGET_WINDOWS 8

struct window {
	struct window *next;
	char *base;
	uint64_t off; /* of base in the file */
	size_t span;  /* whole pages */
	size_t pins;
};

struct comap_windows {
	int fd;
	size_t window, budget;
	size_t mapped;         /* bytes of all windows; never above budget */
	size_t n;
	struct window *newest; /* last used first */
};

static const char empty[1]; /* what a pin of nothing points at */

/* ---- windows ------------------------------------------------------------------------ */

static int map_part(int fd, uint64_t off, size_t span, void **ret_at)
{
	return cm_os_map_part(fd, off, span, CM_OS_LOOK, false, NULL, ret_at);
}

/* Unmap the window that *at points to. */
static void drop(comap_windows *windows, struct window **at)
{
	struct window *window = *at;

	*at = window->next;
	windows->mapped -= window->span;
	windows->n--;
	cm_os_unmap_part(window->base, window->span);
	free(window);
}

/* Unmap the one that was used longest ago, of those without pins. */
static bool drop_oldest(comap_windows *windows)
{
	struct window **oldest = NULL;

	for (struct window **at = &windows->newest; *at; at = &(*at)->next)
		if (!(*at)->pins)
			oldest = at;
	if (oldest)
		drop(windows, oldest);
	return oldest != NULL;
}

static size_t pinned_bytes(const comap_windows *windows)
{
	size_t bytes = 0;

	for (const struct window *window = windows->newest; window; window = window->next)
		bytes += window->pins ? window->span : 0;
	return bytes;
}

static bool holds(const struct window *window, uint64_t off, size_t size)
{
	return off >= window->off && off - window->off <= window->span &&
	       size <= window->span - (off - window->off);
}

/* One that holds the range, or NULL; it is the newest now. */
static struct window *find(comap_windows *windows, uint64_t off, size_t size)
{
	struct window **at = &windows->newest, *window;

	while ((window = *at) != NULL && !holds(window, off, size))
		at = &window->next;
	if (window) {
		*at = window->next;
		window->next = windows->newest;
		windows->newest = window;
	}
	return window;
}

/* Where a window for the range begins, and how long it is.  The range lies in the file. */
static int place(const comap_windows *windows, uint64_t off, size_t size, uint64_t file_size,
		 uint64_t *ret_off, size_t *ret_span)
{
	uint64_t page = cm_os_page_size(), half = windows->window / 2;
	uint64_t begin = off - off % half, span = windows->window;

	if (off - begin + size > span) {
		begin = off - off % page;
		span = cm_max(span, cm_round_up(off - begin + size, page));
	}
	span = cm_min(span, cm_round_up(file_size - begin, page));
	if (span > windows->budget - pinned_bytes(windows))
		return -ENOBUFS;
	*ret_off = begin;
	*ret_span = (size_t)span;
	return 0;
}

static int open_window(comap_windows *windows, uint64_t off, size_t span)
{
	struct window *window = malloc(sizeof *window);
	void *at;
	int err;

	if (!window)
		return -ENOMEM;
	while (windows->mapped > windows->budget - span && drop_oldest(windows))
		;
	do /* address space may be short, or another limit than ours */
		err = map_part(windows->fd, off, span, &at);
	while (err == -ENOMEM && drop_oldest(windows));
	if (err < 0) {
		free(window);
		return err;
	}
	*window = (struct window){ .next = windows->newest, .base = at, .off = off, .span = span };
	windows->newest = window;
	windows->mapped += span;
	windows->n++;
	return 0;
}

/* ---- opening ------------------------------------------------------------------------- */

static int check_file(int fd)
{
	struct cm_os_stat st;
	void *at;
	int err = cm_os_stat(fd, &st);

	if (err < 0)
		return err;
	if (st.kind != CM_OS_REGULAR && st.kind != CM_OS_BLOCK)
		return -ENODEV;
	err = map_part(fd, 0, cm_os_page_size(), &at);
	if (err == 0)
		cm_os_unmap_part(at, cm_os_page_size());
	/* /proc has several ways to say that it cannot be mapped */
	return err == 0 || err == -EACCES || err == -ENOMEM ? err : -ENODEV;
}

static int open_windows(int fd, size_t window, size_t budget, comap_windows **ret_windows)
{
	size_t pair = 2 * cm_os_page_size(); /* half a window is whole pages, too */
	comap_windows *windows;
	int err;

	if (window > PTRDIFF_MAX - pair)
		return -EOVERFLOW;
	err = check_file(fd);
	if (err < 0)
		return err;
	windows = calloc(1, sizeof *windows);
	if (!windows)
		return -ENOMEM;
	windows->window = (size_t)cm_round_up(window ? window : WINDOW_DEFAULT, pair);
	if (!budget)
		budget = (size_t)cm_min(windows->window, PTRDIFF_MAX / BUDGET_WINDOWS) * BUDGET_WINDOWS;
	windows->budget = (size_t)cm_max(budget, windows->window);
	err = cm_os_dup(fd, &windows->fd);
	if (err < 0) {
		free(windows);
		return err;
	}
	*ret_windows = windows;
	return 0;
}

int comap_windows_open(int fd, size_t window, size_t budget, comap_windows **ret_windows)
{
	int err = open_windows(fd, window, budget, ret_windows);

	return err < 0 ? cm_view_fail(err, "open windows over a file", NULL) : 0;
}

void comap_windows_close(comap_windows *windows)
{
	int saved = errno;

	if (!windows)
		return;
	while (windows->newest)
		drop(windows, &windows->newest);
	cm_os_close(windows->fd);
	free(windows);
	errno = saved;
}

/* ---- pins -------------------------------------------------------------------------------- */

static int pin(comap_windows *windows, uint64_t off, size_t size, struct comap_pin *ret_pin)
{
	struct window *window;
	struct cm_os_stat st;
	uint64_t begin;
	size_t span;
	int err = cm_os_stat(windows->fd, &st);

	if (err < 0)
		return err;
	if (off > st.size || size > st.size - off)
		return -ERANGE;
	if (size == 0) {
		*ret_pin = (struct comap_pin){ .bytes = { empty, 0 } };
		return 0;
	}
	window = find(windows, off, size);
	if (!window) {
		err = place(windows, off, size, st.size, &begin, &span);
		if (err == 0)
			err = open_window(windows, begin, span);
		if (err < 0)
			return err;
		window = windows->newest;
	}
	window->pins++;
	ret_pin->bytes = (struct comap_bytes){ window->base + (off - window->off), size };
	ret_pin->window = window;
	return 0;
}

int comap_windows_pin(comap_windows *windows, uint64_t off, size_t size, struct comap_pin *ret_pin)
{
	int err = pin(windows, off, size, ret_pin);

	return err < 0 ? cm_view_fail(err, "pin a range of a file", NULL) : 0;
}

void comap_windows_unpin(comap_windows *windows, struct comap_pin *pin)
{
	struct window *window = pin->window;

	(void)windows; /* the window stays, until the budget wants its place */
	if (window)
		window->pins--;
	*pin = (struct comap_pin){ .bytes = { empty, 0 } };
}

void comap_windows_mapped(const comap_windows *windows, size_t *ret_windows, size_t *ret_bytes)
{
	*ret_windows = windows->n;
	*ret_bytes = windows->mapped;
}
