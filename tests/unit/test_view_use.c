/* test_view_use.c - looking into views, writing, flushing, resizing, advice, changes (access.c,
 * size.c, advise.c, change.c), while other processes cut the file short. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "fixture.h"
#include "view/view.h"

#define SIZE (9u << 20) /* is mapped */

static comap_view *view_of(const char *name, size_t n, uint32_t mode, uint32_t how, uint32_t flags)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	int fd = open(fx_path(fx_folder, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *bytes = calloc(n + 1, 1);
	comap_view *view;

	assert_true(fd >= 0 && bytes);
	fx_fill(bytes, n, 1);
	assert_true(write(fd, bytes, n) == (ssize_t)n);
	close(fd);
	free(bytes);
	o.mode = mode;
	o.how = how;
	o.flags = flags;
	if (comap_view_open(fx_path(fx_folder, name), &o, &view) < 0)
		fail_msg("%s", comap_view_reason());
	return view;
}

static void a_look_outside_is_refused(void **state)
{
	comap_view *view = view_of("f", 1000, COMAP_VIEW_READ, 0, 0);
	const void *at = NULL;
	char byte;

	(void)state;
	assert_int_equal(comap_view_at(view, 0, 1000, &at), 0);
	assert_true(at == comap_view_bytes(view).data);
	assert_int_equal(comap_view_at(view, 1000, 0, &at), 0);
	assert_int_equal(comap_view_at(view, 1000, 1, &at), -ERANGE);
	assert_int_equal(comap_view_at(view, 1001, 0, &at), -ERANGE);
	assert_int_equal(comap_view_at(view, UINT64_MAX, 2, &at), -ERANGE);
	assert_int_equal(comap_view_at(view, 2, SIZE_MAX, &at), -ERANGE);
	assert_int_equal(comap_view_read(view, 999, &byte, 2), -ERANGE);
	assert_int_equal(comap_view_write(view, 0, &byte, 1), -EROFS);
	assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DATA), -EROFS);
	assert_int_equal(comap_view_resize(view, 10, 0), -EROFS);
	comap_view_close(view);
}

static void numbers_come_out_in_either_order(void **state)
{
	static const unsigned char b[] = { 1, 2, 3, 4, 5, 6, 7, 8, 0x3f, 0xc0, 0, 0 };
	struct comap_bytes bytes = { b, sizeof b };
	uint16_t n16;
	uint32_t n32;
	uint64_t n64;
	uint8_t n8 = 0;
	float f;

	(void)state;
	assert_int_equal(comap_bytes_u8(bytes, 11, &n8), 0);
	assert_int_equal(comap_bytes_u8(bytes, 12, &n8), -ERANGE);
	assert_int_equal(comap_bytes_u16le(bytes, 1, &n16), 0);
	assert_int_equal(n16, 0x0302);
	assert_int_equal(comap_bytes_u16be(bytes, 1, &n16), 0);
	assert_int_equal(n16, 0x0203);
	assert_int_equal(comap_bytes_u32le(bytes, 0, &n32), 0);
	assert_int_equal(n32, 0x04030201);
	assert_int_equal(comap_bytes_u32be(bytes, 3, &n32), 0);
	assert_int_equal(n32, 0x04050607);
	assert_int_equal(comap_bytes_u64le(bytes, 0, &n64), 0);
	assert_true(n64 == 0x0807060504030201ull);
	assert_int_equal(comap_bytes_u64be(bytes, 0, &n64), 0);
	assert_true(n64 == 0x0102030405060708ull);
	assert_int_equal(comap_bytes_u64be(bytes, 5, &n64), -ERANGE);
	assert_int_equal(comap_bytes_u64be(bytes, UINT64_MAX - 3, &n64), -ERANGE);
	assert_true(n64 == 0x0102030405060708ull); /* as it was */
	assert_int_equal(comap_bytes_f32be(bytes, 8, &f), 0);
	assert_true(f == 1.5f);
}

static void reads_and_writes_go_through_every_kind_of_view(void **state)
{
	static const struct {
		uint32_t mode, how, flags;
	} kinds[] = {
		{ COMAP_VIEW_READ, COMAP_VIEW_MAP, 0 },     { COMAP_VIEW_READ, COMAP_VIEW_COPY, 0 },
		{ COMAP_VIEW_READ, COMAP_VIEW_MAP, COMAP_VIEW_NO_FD },
		{ COMAP_VIEW_SHARED, COMAP_VIEW_MAP, 0 },   { COMAP_VIEW_PRIVATE, COMAP_VIEW_MAP, 0 },
		{ COMAP_VIEW_PRIVATE, COMAP_VIEW_COPY, 0 },
	};
	char *all = calloc(100000, 1), *got = malloc(100000);

	(void)state;
	fx_fill(all, 100000, 1);
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		comap_view *view = view_of("f", 100000, kinds[i].mode, kinds[i].how, kinds[i].flags);
		comap_view *part;

		assert_int_equal(comap_view_sub(view, 4000, 90000, &part), 0);
		assert_int_equal(comap_view_read(part, 77, got, 80000), 0);
		assert_memory_equal(got, all + 4077, 80000);
		if (kinds[i].mode == COMAP_VIEW_READ) {
			assert_int_equal(comap_view_write(part, 0, "x", 1), -EROFS);
		} else {
			assert_int_equal(comap_view_write(part, 100, "hello", 5), 0);
			assert_memory_equal((const char *)comap_view_bytes(view).data + 4100, "hello", 5);
			assert_int_equal(comap_view_read(view, 4100, got, 5), 0);
			assert_memory_equal(got, "hello", 5);
			assert_int_equal(comap_view_write(part, 89999, "hello", 5), -ERANGE);
		}
		comap_view_close(view);
		comap_view_close(part);
	}
	free(all);
	free(got);
}

/* O_DIRECT: neither one byte nor an odd place can be asked for. */
static void a_descriptor_that_takes_whole_blocks_takes_any_bytes(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view = view_of("f", 10000, COMAP_VIEW_READ, 0, 0);
	int fd = open(fx_path(fx_folder, "f"), O_RDWR | O_DIRECT | O_CLOEXEC);
	char got[5];

	(void)state;
	comap_view_close(view);
	if (fd < 0)
		skip();
	o.mode = COMAP_VIEW_SHARED;
	assert_int_equal(comap_view_open_fd(fd, &o, &view), 0);
	close(fd);
	assert_int_equal(comap_view_write(view, 4093, "hello", 5), 0);
	assert_memory_equal((const char *)comap_view_bytes(view).data + 4093, "hello", 5);
	assert_int_equal(comap_view_read(view, 4093, got, 5), 0);
	assert_memory_equal(got, "hello", 5);
	comap_view_close(view);
}

static int cuts_it(void *arg)
{
	KIN_CHECK(truncate(arg, 10000) == 0);
	return 0;
}

static void a_file_cut_short_is_an_error_not_a_signal(void **state)
{
	static const struct {
		uint32_t mode, flags;
	} kinds[] = {
		{ COMAP_VIEW_READ, 0 }, { COMAP_VIEW_READ, COMAP_VIEW_NO_FD },
		{ COMAP_VIEW_SHARED, 0 }, { COMAP_VIEW_PRIVATE, 0 },
	};
	char bytes[300];
	struct stat st;

	(void)state;
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		comap_view *view = view_of("f", SIZE, kinds[i].mode, COMAP_VIEW_MAP, kinds[i].flags);

		assert_int_equal(kin_run(cuts_it, (void *)(uintptr_t)fx_path(fx_folder, "f")), 0);
		assert_int_equal(comap_view_read(view, 5000, bytes, 300), 0);
		assert_int_equal(comap_view_read(view, 1 << 20, bytes, 300), -ENODATA);
		assert_non_null(strstr(comap_view_reason(), "cut short"));
		if (!(kinds[i].flags & COMAP_VIEW_NO_FD))
			assert_int_equal(comap_view_read(view, 9900, bytes, 300),
					 -ENODATA); /* its last page */
		assert_int_equal(comap_view_load(view, NULL, NULL), -ENODATA);
		if (kinds[i].mode != COMAP_VIEW_READ)
			assert_int_equal(comap_view_write(view, 1 << 20, bytes, 300), -ENODATA);
		assert_int_equal(stat(fx_path(fx_folder, "f"), &st), 0);
		assert_int_equal(st.st_size, 10000); /* nor did a write make it long again */
		comap_view_close(view);
	}
}

static void flushed_bytes_are_in_the_file(void **state)
{
	comap_view *view = view_of("f", 100000, COMAP_VIEW_SHARED, 0, 0), *part;
	char got[5];
	int fd;

	(void)state;
	memcpy((char *)comap_view_writable(view) + 50000, "hello", 5);
	assert_int_equal(comap_view_flush(view, 50000, 5, COMAP_FLUSH_START), 0);
	assert_int_equal(comap_view_flush(view, 50000, 5, COMAP_FLUSH_DATA), 0);
	assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE), 0);
	assert_int_equal(comap_view_flush(view, 100000, 0, COMAP_FLUSH_DATA), 0);
	assert_int_equal(comap_view_flush(view, 100001, 0, COMAP_FLUSH_DATA), -ERANGE);
	assert_int_equal(comap_view_flush(view, 1, UINT64_MAX, COMAP_FLUSH_DATA), -ERANGE);
	assert_int_equal(comap_view_flush(view, 0, 0, (enum comap_flush)3), -EINVAL);
	assert_int_equal(comap_view_sub(view, 33, 77777, &part), 0);
	assert_int_equal(comap_view_flush(part, 44444, 1, COMAP_FLUSH_DATA), 0);
	fd = open(fx_path(fx_folder, "f"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, got, 5, 50000), 5);
	assert_memory_equal(got, "hello", 5);
	close(fd);
	/* one that failed fails for good, whoever asks */
	part->memory->failed = -EIO;
	for (unsigned how = 0; how < 3; how++)
		assert_int_equal(comap_view_flush(view, 0, 0, (enum comap_flush)how), -EIO);
	comap_view_close(part);
	comap_view_close(view);
}

static void a_view_with_a_reserve_grows_where_it_is(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	const char *path = fx_path(fx_folder, "log");
	comap_view *view, *part;
	struct stat st;
	const void *was;

	(void)state;
	o.mode = COMAP_VIEW_SHARED;
	o.flags = COMAP_VIEW_CREATE;
	o.reserve = 64 << 20;
	o.offset = 10;
	assert_int_equal(comap_view_open(path, &o, &view), 0); /* empty as yet */
	was = NULL;
	for (size_t n = 1; n <= 16 << 20; n = n * 3 + 1) {
		assert_int_equal(comap_view_resize(view, n, 0), 0);
		if (was)
			assert_true(comap_view_bytes(view).data == was);
		was = comap_view_bytes(view).data;
		((char *)comap_view_writable(view))[n - 1] = 'x';
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, n + 10);
		assert_true(st.st_blocks * 512ull >= n);
	}
	assert_int_equal(comap_view_sub(view, 0, 1, &part), 0);
	assert_int_equal(comap_view_resize(view, 10, 0), -EBUSY);
	comap_view_close(part);
	assert_int_equal(comap_view_resize(view, 10, 0), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 20);
	assert_int_equal(comap_view_resize(view, 0, 0), -EINVAL);
	assert_int_equal(comap_view_resize(view, 10, 8), -EINVAL);
	assert_int_equal(comap_view_resize(view, INT64_MAX, 0), -EOVERFLOW);
	comap_view_close(view);
}

static void a_view_without_a_reserve_moves_only_when_it_may(void **state)
{
	comap_view *view = view_of("f", 4096, COMAP_VIEW_SHARED, 0, 0);
	char *wall = (char *)comap_view_writable(view) + 4096;
	struct stat st;

	(void)state;
	/* somebody else's page right behind it */
	wall = mmap(wall, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	assert_int_equal(comap_view_resize(view, 1 << 20, 0), -EFBIG);
	assert_int_equal(stat(fx_path(fx_folder, "f"), &st), 0);
	assert_int_equal(st.st_size, 4096);
	assert_int_equal(comap_view_bytes(view).size, 4096);
	assert_int_equal(comap_view_resize(view, 1 << 20, COMAP_RESIZE_MAY_MOVE), 0);
	assert_true(fx_is_filled(comap_view_bytes(view).data, 4096, 1));
	assert_true(fx_is_zero((const char *)comap_view_bytes(view).data + 4096, (1 << 20) - 4096));
	comap_view_close(view);
	if (wall != MAP_FAILED)
		munmap(wall, 4096);
}

static void a_view_of_the_midst_of_a_file_is_not_resized(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view = view_of("f", 100000, COMAP_VIEW_READ, 0, 0);
	struct stat st;

	(void)state;
	comap_view_close(view);
	o.mode = COMAP_VIEW_SHARED;
	o.length = 5000;
	assert_int_equal(comap_view_open(fx_path(fx_folder, "f"), &o, &view), 0);
	assert_int_equal(comap_view_resize(view, 4000, 0), -EINVAL);
	assert_int_equal(stat(fx_path(fx_folder, "f"), &st), 0);
	assert_int_equal(st.st_size, 100000);
	comap_view_close(view);
}

static void a_full_disk_is_an_error_from_the_call(void **state)
{
	const char *at = fx_path(fx_folder, "tmpfs");
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view;
	char *path;
	char bytes[4096] = {0};

	(void)state;
	assert_int_equal(mkdir(at, 0700), 0);
	if (mount("none", at, "tmpfs", 0, "size=1m") < 0) {
		rmdir(at);
		skip();
	}
	path = strdup(fx_path(at, "f"));
	o.mode = COMAP_VIEW_SHARED;
	o.flags = COMAP_VIEW_CREATE;
	o.length = 2 << 20;
	assert_int_equal(comap_view_open(path, &o, &view), -ENOSPC);
	o.length = 100000;
	o.reserve = 4 << 20;
	assert_int_equal(comap_view_open(path, &o, &view), 0);
	fx_fill(comap_view_writable(view), 100000, 4);
	assert_int_equal(comap_view_resize(view, 3 << 20, 0), -ENOSPC);
	assert_int_equal(comap_view_bytes(view).size, 100000);
	assert_true(fx_is_filled(comap_view_bytes(view).data, 100000, 4));
	assert_int_equal(comap_view_resize(view, 900000, 0), 0);
	comap_view_close(view);
	/* a hole of a file of somebody else's */
	assert_int_equal(truncate(path, 8 << 20), 0);
	o.length = 0;
	o.reserve = 0;
	assert_int_equal(comap_view_open(path, &o, &view), 0);
	for (unsigned i = 0; i < 100; i++)
		if (comap_view_write(view, (1 << 20) + i * 4096, bytes, 4096) == -ENOSPC)
			break;
		else
			assert_true(i < 99);
	comap_view_close(view);
	free(path);
	assert_int_equal(umount(at), 0);
}

static void advice_is_taken_of_any_range(void **state)
{
	static const uint32_t modes[] = { COMAP_VIEW_READ, COMAP_VIEW_SHARED, COMAP_VIEW_PRIVATE };
	comap_view *view, *part;

	(void)state;
	for (unsigned m = 0; m < 3; m++)
		for (unsigned how = 0; how < 3; how++) {
			if (modes[m] == COMAP_VIEW_SHARED && how == COMAP_VIEW_COPY)
				continue;
			view = view_of("f", 200000, modes[m], how, 0);
			assert_int_equal(comap_view_sub(view, 777, 155555, &part), 0);
			for (int a = COMAP_ADVISE_NORMAL; a <= COMAP_ADVISE_UNLOCK; a++) {
				int want = a == COMAP_ADVISE_UNMAP && modes[m] == COMAP_VIEW_PRIVATE
						   ? -EINVAL
						   : 0;
				int got = comap_view_advise(part, 10000, 5000, (enum comap_view_advice)a);

				if (a == COMAP_ADVISE_HUGE && got == -EINVAL)
					continue; /* a kernel without them */
				assert_int_equal(got, want);
			}
			assert_int_equal(comap_view_advise(part, 155556, 0, COMAP_ADVISE_SCAN), -ERANGE);
			assert_int_equal(comap_view_advise(part, 0, 0, (enum comap_view_advice)10),
					 -EINVAL);
			comap_view_close(part);
			assert_true(fx_is_filled(comap_view_bytes(view).data, 200000, 1));
			comap_view_close(view);
		}
}

static int count(void *arg, uint64_t done, uint64_t all)
{
	uint64_t *n = arg;

	assert_true(done > n[0] && done <= all);
	n[0] = done;
	return n[1] && done >= n[1];
}

static void residency_and_loading_agree(void **state)
{
	comap_view *view = view_of("f", SIZE, COMAP_VIEW_READ, 0, 0);
	struct comap_range bad[2] = { { 0, 4096 }, { SIZE, 1 } },
			   good[3] = { { 0, 1 }, { 8191, 2 }, { SIZE - 1, 1 } };
	struct comap_residency in;
	uint64_t n[2] = { 0, 0 };

	(void)state;
	assert_int_equal(comap_view_prefetch(view, bad, 2), -ERANGE);
	assert_int_equal(comap_view_prefetch(view, good, 3), 0);
	assert_int_equal(comap_view_load(view, count, n), 0);
	assert_int_equal(n[0], SIZE);
	assert_int_equal(comap_view_resident(view, 0, 0, &in), 0);
	assert_int_equal(in.pages, SIZE / 4096);
	assert_int_equal(in.resident, in.pages);
	assert_int_equal(comap_view_resident(view, 4095, 2, &in), 0);
	assert_int_equal(in.pages, 2);
	assert_int_equal(comap_view_resident(view, SIZE, 0, &in), 0);
	assert_int_equal(in.pages, 0);
	assert_int_equal(comap_view_resident(view, SIZE, 1, &in), -ERANGE);
	n[0] = 0;
	n[1] = 3 << 20;
	assert_int_equal(comap_view_load(view, count, n), -ECANCELED);
	assert_true(n[0] >= 3 << 20 && n[0] < SIZE);
	comap_view_close(view);
	view = view_of("f", 100, COMAP_VIEW_READ, COMAP_VIEW_COPY, 0);
	assert_int_equal(comap_view_resident(view, 0, 0, &in), 0);
	assert_true(in.resident == in.pages && in.pages >= 1);
	comap_view_close(view);
}

static uint32_t changes_of(const comap_view *view)
{
	uint32_t changes = ~0u;

	assert_int_equal(comap_view_changed(view, &changes), 0);
	return changes;
}

static void changes_of_the_file_are_seen(void **state)
{
	comap_view *view = view_of("f", 100000, COMAP_VIEW_READ, COMAP_VIEW_MAP, 0), *copy;
	int fd = open(fx_path(fx_folder, "f"), O_WRONLY | O_CLOEXEC);
	uint32_t changes;

	(void)state;
	copy = view_of("g", 100, COMAP_VIEW_READ, COMAP_VIEW_COPY, 0);
	assert_int_equal(comap_view_changed(copy, &changes), -EBADF);
	comap_view_close(copy);
	copy = view_of("g", 100, COMAP_VIEW_READ, COMAP_VIEW_COPY, COMAP_VIEW_WATCH);
	assert_int_equal(changes_of(copy), 0);
	assert_int_equal(changes_of(view), 0);
	usleep(20000); /* a tick of the clock of mtimes */
	assert_int_equal(pwrite(fd, "x", 1, 5), 1);
	assert_int_equal(changes_of(view), COMAP_CHANGED_TIME);
	assert_int_equal(ftruncate(fd, 200000), 0);
	assert_int_equal(changes_of(view), COMAP_CHANGED_TIME | COMAP_CHANGED_SIZE);
	assert_int_equal(ftruncate(fd, 99999), 0);
	assert_int_equal(changes_of(view), COMAP_CHANGED_TIME | COMAP_CHANGED_SIZE | COMAP_CHANGED_SHORTER);
	assert_int_equal(rename(fx_path(fx_folder, "g"), fx_path(fx_folder, "f")), 0);
	assert_true(changes_of(view) & COMAP_CHANGED_NAME);
	assert_true(changes_of(copy) & COMAP_CHANGED_NAME); /* its name is gone */
	close(fd);
	comap_view_close(view);
	comap_view_close(copy);
}

static void paths_are_relative_to_their_directory(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	int dirfd = open(fx_folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	comap_view *view = view_of("f", 5000, COMAP_VIEW_READ, 0, 0);

	(void)state;
	comap_view_close(view);
	o.mode = COMAP_VIEW_SHARED;
	assert_int_equal(comap_view_open_at(dirfd, "f", &o, &view), 0);
	close(dirfd);
	assert_int_equal(changes_of(view), 0);
	assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE), 0);
	comap_view_close(view);
	dirfd = open(fx_folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	o.flags = COMAP_VIEW_CREATE | COMAP_VIEW_EXCL;
	o.length = 10;
	assert_int_equal(comap_view_open_at(dirfd, "new", &o, &view), 0);
	close(dirfd);
	assert_int_equal(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE), 0); /* its name, too */
	comap_view_close(view);
}

static void a_sealed_memfd_is_safe_and_needs_no_copy(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	struct comap_view_info info = { .size = sizeof info };
	comap_view *view, *other, *part;
	const void *was;

	(void)state;
	assert_int_equal(comap_view_open_memfd("test", SIZE, &view), 0);
	was = comap_view_bytes(view).data;
	fx_fill(comap_view_writable(view), SIZE, 6);
	assert_int_equal(comap_view_seal(view, false), 0);
	assert_true(ftruncate(comap_view_fd(view), 10) < 0);
	assert_int_equal(comap_view_sub(view, 0, 10, &part), 0);
	assert_int_equal(comap_view_seal(view, true), -EBUSY);
	comap_view_close(part);
	assert_int_equal(comap_view_seal(view, true), 0);
	assert_true(comap_view_bytes(view).data == was);
	assert_true(fx_is_filled(was, SIZE, 6));
	assert_null(comap_view_writable(view));
	o.flags = COMAP_VIEW_STABLE;
	o.max_copy = 1000;
	assert_int_equal(comap_view_open_fd(comap_view_fd(view), &o, &other), 0); /* as it is */
	assert_int_equal(comap_view_get_info(other, &info), 0);
	assert_true(info.is_mapped && info.is_sealed);
	assert_true(fx_is_filled(comap_view_bytes(other).data, SIZE, 6));
	comap_view_close(other);
	comap_view_close(view);
	view = view_of("f", 100, COMAP_VIEW_SHARED, 0, 0);
	assert_true(comap_view_seal(view, false) < 0);
	comap_view_close(view);
	assert_int_equal(comap_view_open_memfd("empty", 0, &view), 0);
	assert_int_equal(comap_view_bytes(view).size, 0);
	assert_int_equal(comap_view_resize(view, 5000, 0), 0);
	assert_true(fx_is_zero(comap_view_bytes(view).data, 5000));
	comap_view_close(view);
}

static void what_a_reader_of_the_page_found(void **state)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	comap_view *view = view_of("f", 10000, COMAP_VIEW_READ, 0, 0);
	int fd = open(fx_path(fx_folder, "f"), O_RDWR | O_APPEND | O_CLOEXEC);
	struct stat st;

	(void)state;
	comap_view_close(view);
	assert_int_equal(comap_view_open_memfd("x", (size_t)1 << 45, &view), -ENOMEM); /* no OOM killer */
	assert_int_equal(comap_view_open_at(-1, "f", NULL, &view), -EBADF);
	/* a descriptor that appends writes where it is told to */
	o.mode = COMAP_VIEW_SHARED;
	assert_int_equal(comap_view_open_fd(fd, &o, &view), 0);
	assert_int_equal(comap_view_write(view, 0, "yyyy", 4), 0);
	assert_memory_equal(comap_view_bytes(view).data, "yyyy", 4);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 10000);
	comap_view_close(view);
	close(fd);
	/* locks end with the view, and do not reach behind its file */
	o.flags = COMAP_VIEW_LOCK;
	o.reserve = 1 << 20;
	assert_int_equal(comap_view_open(fx_path(fx_folder, "f"), &o, &view), 0);
	comap_view_close(view);
	/* making it longer is no change by others */
	o.flags = COMAP_VIEW_CREATE;
	o.length = 5000;
	assert_int_equal(comap_view_open(fx_path(fx_folder, "new"), &o, &view), 0);
	assert_int_equal(changes_of(view), 0);
	comap_view_close(view);
	fd = open(fx_path(fx_folder, "f"), O_RDONLY | O_CLOEXEC);
	o.flags = 0;
	o.reserve = 0;
	o.length = 20000;
	assert_int_equal(comap_view_open_fd(fd, &o, &view), -EACCES);
	close(fd);
	fd = open(fx_path(fx_folder, "f"), O_WRONLY | O_CLOEXEC);
	assert_int_equal(comap_view_open_fd(fd, NULL, &view), -EACCES);
	close(fd);
	o.length = 0;
	assert_true(comap_view_open("/proc/self/comm", &o, &view) < 0);
}

static void figures_of_a_newer_and_an_older_caller(void **state)
{
	struct {
		struct comap_view_info info;
		uint64_t more;
	} newer = { { .size = sizeof newer }, 7 };
	struct comap_view_info info = { .size = 8, .length = 99 };
	comap_view *view = view_of("f", 100, COMAP_VIEW_READ, 0, 0);

	(void)state;
	assert_int_equal(comap_view_get_info(view, &newer.info), 0);
	assert_int_equal(newer.more, 0);
	assert_int_equal(newer.info.length, 100);
	assert_int_equal(comap_view_get_info(view, &info), 0);
	assert_int_equal(info.length, 99); /* not known to it */
	info.size = 0;
	assert_int_equal(comap_view_get_info(view, &info), -EINVAL);
	comap_view_close(view);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(a_look_outside_is_refused),
		FX_FOLDER_TEST(numbers_come_out_in_either_order),
		FX_FOLDER_TEST(reads_and_writes_go_through_every_kind_of_view),
		FX_FOLDER_TEST(a_descriptor_that_takes_whole_blocks_takes_any_bytes),
		FX_FOLDER_TEST(a_file_cut_short_is_an_error_not_a_signal),
		FX_FOLDER_TEST(flushed_bytes_are_in_the_file),
		FX_FOLDER_TEST(a_view_with_a_reserve_grows_where_it_is),
		FX_FOLDER_TEST(a_view_without_a_reserve_moves_only_when_it_may),
		FX_FOLDER_TEST(a_view_of_the_midst_of_a_file_is_not_resized),
		FX_FOLDER_TEST(a_full_disk_is_an_error_from_the_call),
		FX_FOLDER_TEST(advice_is_taken_of_any_range),
		FX_FOLDER_TEST(residency_and_loading_agree),
		FX_FOLDER_TEST(changes_of_the_file_are_seen),
		FX_FOLDER_TEST(paths_are_relative_to_their_directory),
		FX_FOLDER_TEST(a_sealed_memfd_is_safe_and_needs_no_copy),
		FX_FOLDER_TEST(what_a_reader_of_the_page_found),
		FX_FOLDER_TEST(figures_of_a_newer_and_an_older_caller),
	};

	return cmocka_run_group_tests_name("view/use", tests, NULL, NULL);
}
