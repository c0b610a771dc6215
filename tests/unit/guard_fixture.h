/*
 * guard_fixture.h - what the tests of guards share: files of sevens, and another process that cuts
 * them.
 */
#ifndef UNIT_GUARD_FIXTURE_H
#define UNIT_GUARD_FIXTURE_H

#include <fcntl.h>
#include <sys/stat.h>
#include "fixture.h"
#include "view/guard.h"

#define PAGE cm_os_page_size()

static const char *dir;

static inline int begin(void **state)
{
	dir = fx_mkdir();
	return kin_setup(state);
}

static inline int end(void **state)
{
	comap_guard_remove(); /* of a case that was left early, else of nothing */
	fx_rmdir(dir);
	return kin_teardown(state);
}

/* cmocka takes SIGBUS for each fixture and each test, so it is in the test that we must. */
struct guarded {
	void (*test)(void **state);
};

static inline void run_guarded(void **state)
{
	struct guarded *guarded = *state;

	assert_int_equal(comap_guard_install(), 0);
	guarded->test(state);
	comap_guard_remove();
}
#define GUARD_TEST(fn) { #fn, run_guarded, begin, end, &(struct guarded){ fn } }

/* ---- files, and who cuts them ---------------------------------------------------------- */

/* A file of n sevens. */
static inline void fill_file(const char *name, size_t n)
{
	int fd = open(fx_path(dir, name), O_RDWR | O_CREAT | O_CLOEXEC | O_TRUNC, 0600);
	char *bytes = malloc(n + 1);

	assert_true(fd >= 0 && bytes);
	memset(bytes, 7, n);
	assert_true(write(fd, bytes, n) == (ssize_t)n);
	close(fd);
	free(bytes);
}

static inline comap_view *part_of(const char *name, uint64_t off, uint64_t n, uint32_t mode, uint32_t flags)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	o.mode = mode;
	o.how = COMAP_VIEW_MAP;
	o.flags = flags;
	o.offset = off;
	o.length = n;
	if (comap_view_open(fx_path(dir, name), &o, &view) < 0)
		fail_msg("%s", comap_view_reason());
	return view;
}

static inline comap_view *view_of(const char *name, size_t n, uint32_t mode, uint32_t flags)
{
	fill_file(name, n);
	return part_of(name, 0, 0, mode, flags);
}

struct cut {
	const char *name;
	off_t size;
};

static inline int cut_child(void *arg)
{
	struct cut *cut = arg;

	KIN_CHECK(truncate(fx_path(dir, cut->name), cut->size) == 0);
	return 0;
}

/* Another process gives it this size. */
static inline void cut(const char *name, size_t size)
{
	assert_int_equal(kin_run(cut_child, &(struct cut){ name, (off_t)size }), 0);
}

static inline unsigned char at(const comap_view *view, size_t i)
{
	return ((const volatile unsigned char *)comap_view_bytes(view).data)[i];
}

static inline uint64_t faults(const comap_view *view)
{
	return view->memory->faults & UINT32_MAX;
}

#endif
