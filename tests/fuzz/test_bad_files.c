/*
 * test_bad_files.c - each kind of file that is refused has its own error, named in heap.h, and
 * is left as it was.
 *
 * Damage that no checksum covers is the business of test_bad_tables.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include <comap.h>
#include "fuzz/exercise.h"
#include "fuzz/seed.h"
#include "support/kin.h"

#define SECONDS 5u
#define NOBODY 65534u
#define OPENS 1 /* where an error is wanted: none */

static char dir[64];

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#define IS_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define IS_SANITIZED false
#endif

/* ---- files ------------------------------------------------------------------- */

/* A path in our folder; good until three calls later. */
static const char *in_dir(const char *name)
{
	static char paths[3][128];
	static unsigned turn;
	char *path = paths[turn++ % 3];

	snprintf(path, sizeof paths[0], "%s/%s", dir, name);
	return path;
}

static int new_file(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static int new_heap_file(const char *path, unsigned which)
{
	int fd = new_file(path);

	seed_write(seed_get(which), fd);
	return fd;
}

static void put(int fd, uint64_t off, const void *bytes, size_t n)
{
	assert_int_equal(pwrite(fd, bytes, n, (off_t)off), n);
}

/* ---- refusing ------------------------------------------------------------------ */

static int try_open(const char *path, int fd, uint32_t flags)
{
	comap_heap *const untouched = (comap_heap *)(void *)dir, *heap = untouched;
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	int err;

	opts.flags = flags;
	opts.timeout_ns = 20000000;
	err = path ? comap_heap_open(path, &opts, &heap) : comap_heap_open_fd(fd, &opts, &heap);
	if (err == 0) {
		assert_ptr_not_equal(heap, untouched);
		assert_string_equal(comap_heap_open_reason(), "");
		comap_heap_close(heap);
		return OPENS;
	}
	assert_ptr_equal(heap, untouched);
	assert_true(comap_heap_open_reason()[0] != '\0');
	return err;
}

static void want(const char *what, const char *how, int got, int wanted)
{
	if (got == wanted)
		return;
	print_error("%s, %s: got %d (%s), wanted %d (%s): \"%s\"\n", what, how, got, strerror(-got),
		    wanted, strerror(-wanted), comap_heap_open_reason());
	fail();
}

/* The file is refused through every door, and stays as it was. */
static void refuses(const char *what, const char *path, int rw, int ro)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct seed_print before;

	assert_true(fd >= 0);
	before = seed_print(fd);
	want(what, "by name", try_open(path, -1, 0), rw);
	want(what, "to create", try_open(path, -1, COMAP_HEAP_CREATE), rw);
	want(what, "by fd", try_open(NULL, fd, 0), rw);
	assert_true(ro == OPENS || seed_print_is_same(before, seed_print(fd)));
	want(what, "by name, to read", try_open(path, -1, COMAP_HEAP_READONLY), ro);
	want(what, "by fd, to read", try_open(NULL, fd, COMAP_HEAP_READONLY), ro);
	if (!seed_print_is_same(before, seed_print(fd))) {
		print_error("%s: the file has changed\n", what);
		fail();
	}
	close(fd);
}

/* ---- files that are no heaps --------------------------------------------------- */

static void what_is_no_heap_is_called_so(void **state)
{
	static const struct {
		const char *what;
		const char *bytes;
		size_t n;
		uint64_t size;
	} files[] = {
		{ "an empty file", "", 0, 0 },
		{ "a byte", "c", 1, 1 },
		{ "all of the magic number but the last byte", CM_MAGIC, 7, 7 },
		{ "zeroes of the right size", "", 0, 28 << 20 },
		{ "a text", "Once upon a time there was a heap.\n", 35, 35 },
		{ "a long text", "comap\n", 6, 1 << 20 },
		{ "another magic number", "comap\0\r\r", 8, 8 << 20 },
		{ "a magic number a page too late", "", 0, 4096 },
	};
	const char *path = in_dir("no-heap");

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		int fd = new_file(path);

		put(fd, 0, files[i].bytes, files[i].n);
		assert_int_equal(ftruncate(fd, (off_t)files[i].size), 0);
		if (i + 1 == sizeof files / sizeof *files)
			put(fd, 4096, CM_MAGIC, 8);
		close(fd);
		refuses(files[i].what, path, -ENOTUNIQ, -ENOTUNIQ);
	}
	unlink(path);
}

static void a_program_is_no_heap(void **state)
{
	static unsigned char bytes[100000];
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = new_file(in_dir("elf"));
	ssize_t n = read(from, bytes, sizeof bytes);

	(void)state;
	assert_true(n > 4096);
	put(fd, 0, bytes, (size_t)n);
	close(fd);
	close(from);
	refuses("an ELF file", in_dir("elf"), -ENOTUNIQ, -ENOTUNIQ);
	unlink(in_dir("elf"));
}

static void what_is_no_file_is_called_so(void **state)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const uint32_t flags[] = { 0, COMAP_HEAP_CREATE, COMAP_HEAP_READONLY };

	(void)state;
	assert_int_equal(mkdir(in_dir("folder"), 0700), 0);
	assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
	strcpy(name.sun_path, in_dir("socket"));
	assert_int_equal(bind(sock, (struct sockaddr *)&name, sizeof name), 0);
	watch_begin("what is no file", SECONDS);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		want("a folder", "", try_open(in_dir("folder"), -1, flags[i]), -EISDIR);
		want("a FIFO", "", try_open(in_dir("fifo"), -1, flags[i]), -ENODEV);
		want("a socket", "", try_open(in_dir("socket"), -1, flags[i]), -ENODEV);
		want("/dev/null", "", try_open("/dev/null", -1, flags[i]), -ENODEV);
		want("/dev/zero", "", try_open("/dev/zero", -1, flags[i]), -ENODEV);
	}
	watch_end();
	close(sock);
	rmdir(in_dir("folder"));
	unlink(in_dir("fifo"));
	unlink(in_dir("socket"));
}

static void an_fd_that_is_no_file_is_called_so(void **state)
{
	int pipes[2], folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int event = eventfd(0, EFD_CLOEXEC), zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	int good = new_heap_file(in_dir("good"), SEED_WHOLE);
	int reader = open(in_dir("good"), O_RDONLY | O_CLOEXEC);
	int writer = open(in_dir("good"), O_WRONLY | O_CLOEXEC);
	int path_only = open(in_dir("good"), O_PATH | O_CLOEXEC);

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	want("no fd", "", try_open(NULL, -1, 0), -EBADF);
	want("a closed fd", "", try_open(NULL, 1000, 0), -EBADF);
	want("a pipe", "", try_open(NULL, pipes[0], COMAP_HEAP_READONLY), -ENODEV);
	want("an eventfd", "", try_open(NULL, event, 0), -ENODEV);
	want("a folder", "", try_open(NULL, folder, COMAP_HEAP_READONLY), -EISDIR);
	want("/dev/zero", "", try_open(NULL, zero, 0), -ENODEV);
	want("to create", "", try_open(NULL, good, COMAP_HEAP_CREATE), -EINVAL);
	want("open for reading", "to write", try_open(NULL, reader, 0), -EACCES);
	want("open for reading", "to read", try_open(NULL, reader, COMAP_HEAP_READONLY), OPENS);
	want("open for writing", "to write", try_open(NULL, writer, 0), -EACCES);
	want("O_PATH", "to write", try_open(NULL, path_only, 0), -EACCES);
	want("open for both", "to write", try_open(NULL, good, 0), OPENS);
	for (unsigned i = 0; i < 2; i++)
		close(pipes[i]);
	close(folder), close(event), close(zero), close(good);
	close(reader), close(writer), close(path_only);
	unlink(in_dir("good"));
}

static void names_that_lead_nowhere(void **state)
{
	static char path[5000], part[400];

	(void)state;
	memset(path, 'x', sizeof path - 1);
	path[0] = '/';
	snprintf(part, sizeof part, "%s/%0300d", dir, 0);
	want("no name", "", try_open("", -1, 0), -EINVAL);
	want("no name", "to create", try_open("", -1, COMAP_HEAP_CREATE), -EINVAL);
	want("a name of 5000 bytes", "", try_open(path, -1, COMAP_HEAP_CREATE), -EINVAL);
	want("a part of 300 bytes", "", try_open(part, -1, 0), -EINVAL);
	want("a part of 300 bytes", "to create", try_open(part, -1, COMAP_HEAP_CREATE), -EINVAL);
	want("no such file", "", try_open(in_dir("none"), -1, 0), -ENOENT);
	want("no such file", "to read", try_open(in_dir("none"), -1, COMAP_HEAP_READONLY), -ENOENT);
	want("no such folder", "", try_open(in_dir("none/x"), -1, COMAP_HEAP_CREATE), -ENOENT);
	close(new_file(in_dir("file")));
	want("in a file", "", try_open(in_dir("file/x"), -1, COMAP_HEAP_CREATE), -ENOTDIR);
	unlink(in_dir("file"));
}

static void links_are_followed_if_they_lead_anywhere(void **state)
{
	(void)state;
	close(new_heap_file(in_dir("good"), SEED_WHOLE));
	assert_int_equal(symlink("good", in_dir("to-good")), 0);
	assert_int_equal(symlink("loop-b", in_dir("loop-a")), 0);
	assert_int_equal(symlink("loop-a", in_dir("loop-b")), 0);
	assert_int_equal(symlink("nothing", in_dir("dangling")), 0);
	watch_begin("links", SECONDS);
	want("a link", "", try_open(in_dir("to-good"), -1, 0), OPENS);
	want("a ring of links", "", try_open(in_dir("loop-a"), -1, 0), -ELOOP);
	want("a ring of links", "to create", try_open(in_dir("loop-a"), -1, COMAP_HEAP_CREATE), -ELOOP);
	want("a link to nothing", "", try_open(in_dir("dangling"), -1, 0), -ENOENT);
	want("a link to nothing", "to create", try_open(in_dir("dangling"), -1, COMAP_HEAP_CREATE),
	     -EEXIST);
	watch_end();
	assert_int_equal(access(in_dir("nothing"), F_OK), -1);
	unlink(in_dir("good")), unlink(in_dir("to-good")), unlink(in_dir("loop-a"));
	unlink(in_dir("loop-b")), unlink(in_dir("dangling"));
}

/* ---- heaps cut short, half made ------------------------------------------------- */

static void cut_to(const char *path, uint64_t size)
{
	const struct seed *seed = seed_get(SEED_DEAD);
	char what[64];
	int err = size < 8 ? -ENOTUNIQ : size < seed->limit ? -ENODATA : OPENS;

	close(new_heap_file(path, SEED_DEAD));
	assert_int_equal(truncate(path, (off_t)size), 0);
	snprintf(what, sizeof what, "cut to %llu bytes", (unsigned long long)size);
	if (err != OPENS)
		refuses(what, path, err, err);
	else
		want(what, "", try_open(path, -1, 0), OPENS);
}

static void a_heap_cut_short_is_called_so(void **state)
{
	const struct seed *s = seed_get(SEED_DEAD);
	const uint64_t edges[] = {
		8, sizeof(struct cm_fixed_shm), sizeof(struct cm_super_shm), CM_PAGE, CM_LOCKS_OFF,
		CM_ROOTS_OFF, CM_ROOTS_OFF + CM_PAGE, CM_SLOTS_OFF, CM_SLOTS_OFF + CM_SLOT_COMMIT,
		CM_SLOTS_OFF + CM_SLOT_STRIDE, s->units_off, s->units_off + (s->data_off >> CM_UNIT_SHIFT),
		s->segments_off, s->segments_off + CM_PAGE, s->data_off, s->data_off + CM_PAGE,
		s->data_off + CM_SEGMENT, s->huge, s->limit - CM_SEGMENT, s->limit - CM_PAGE, s->limit,
		s->limit + CM_SEGMENT,
	};
	const char *path = in_dir("short");

	(void)state;
	for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
		for (uint64_t off = edges[i] - 1; off <= edges[i] + 1; off++)
			cut_to(path, off);
	srand(1);
	for (unsigned i = 0; i < 64; i++)
		cut_to(path, (uint64_t)rand() % s->limit);
	unlink(path);
}

static void a_limit_past_the_file_is_a_file_cut_short(void **state)
{
	const char *path = in_dir("limit");
	const struct seed *seed = seed_get(SEED_WHOLE);
	int fd = new_heap_file(path, SEED_WHOLE);
	uint64_t limit = seed->limit + CM_SEGMENT;

	(void)state;
	assert_true(limit <= seed->max_size);
	put(fd, offsetof(struct cm_super_shm, limit), &limit, 8);
	refuses("a limit past the end", path, -ENODATA, -ENODATA);
	close(fd);
	unlink(path);
}

static void what_a_creator_left_half_way_does_not_open(void **state)
{
	const struct seed *seed = seed_get(SEED_WHOLE);
	const char *path = in_dir("heap.0123456789abcdef~");
	static const unsigned char zeroes[4096];
	int fd = new_heap_file(path, SEED_WHOLE);

	(void)state;
	/* the header is there, what changes is not */
	put(fd, sizeof(struct cm_fixed_shm), zeroes, 4096 - sizeof(struct cm_fixed_shm));
	refuses("a header and no more", path, -EUCLEAN, -EUCLEAN);
	/* the limit, too, but no slot */
	put(fd, offsetof(struct cm_super_shm, limit), &seed->data_off, 8);
	refuses("no slot yet", path, -EUCLEAN, -EUCLEAN);
	put(fd, 0, zeroes, sizeof zeroes);
	refuses("no header yet", path, -ENOTUNIQ, -ENOTUNIQ);
	close(fd);
	want("beside it", "to create", try_open(in_dir("heap"), -1, COMAP_HEAP_CREATE), OPENS);
	unlink(path);
	unlink(in_dir("heap"));
}

/* ---- the fixed part ---------------------------------------------------------------- */

struct header {
	const char *path;
	int fd;
	struct cm_fixed_shm good;
};

static struct header header_begin(unsigned which)
{
	struct header h = { .path = in_dir("header") };

	h.fd = new_heap_file(h.path, which);
	assert_int_equal(pread(h.fd, &h.good, sizeof h.good, 0), sizeof h.good);
	return h;
}

static void header_end(struct header *h)
{
	put(h->fd, 0, &h->good, sizeof h->good);
	want("the header as it was", "", try_open(h->path, -1, 0), OPENS);
	close(h->fd);
	unlink(h->path);
}

/* A header somebody might have written: its sum is right. */
static void header_refuses(const struct header *h, const char *what, struct cm_fixed_shm bad, int rw,
			   int ro)
{
	seed_sign(&bad);
	put(h->fd, 0, &bad, sizeof bad);
	refuses(what, h->path, rw, ro);
}

static void each_bit_of_the_header_counts(void **state)
{
	struct header h = header_begin(SEED_WHOLE);
	unsigned char *bytes = (unsigned char *)&h.good;
	char what[64];

	(void)state;
	for (unsigned bit = 0; bit < sizeof h.good * 8; bit++) {
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
		put(h.fd, 0, bytes, sizeof h.good);
		snprintf(what, sizeof what, "bit %u of byte %u", bit % 8, bit / 8);
		refuses(what, h.path, bit < 64 ? -ENOTUNIQ : -EUCLEAN, bit < 64 ? -ENOTUNIQ : -EUCLEAN);
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	header_end(&h);
}

static void a_newer_heap_is_called_so(void **state)
{
	struct header h = header_begin(SEED_WHOLE);
	struct cm_fixed_shm f;

	(void)state;
	f = h.good, f.version = 2;
	header_refuses(&h, "version 2", f, -EPROTONOSUPPORT, -EPROTONOSUPPORT);
	f = h.good, f.version = ~0u;
	header_refuses(&h, "version 2^32 - 1", f, -EPROTONOSUPPORT, -EPROTONOSUPPORT);
	for (unsigned bit = 0; bit < 64; bit++) {
		f = h.good, f.incompat = 1ull << bit;
		header_refuses(&h, "incompat", f, -EPROTONOSUPPORT, -EPROTONOSUPPORT);
		f = h.good, f.ro_compat = 1ull << bit;
		header_refuses(&h, "ro_compat", f, -EPROTONOSUPPORT, OPENS);
	}
	f = h.good, f.compat = ~0ull;
	seed_sign(&f);
	put(h.fd, 0, &f, sizeof f);
	want("compat", "", try_open(h.path, -1, 0), OPENS);
	header_end(&h);
}

static void a_heap_of_another_machine_is_called_so(void **state)
{
	struct header h = header_begin(SEED_WHOLE);
	uint64_t words[sizeof h.good / 8];
	struct cm_fixed_shm f;

	(void)state;
	f = h.good, f.byte_order = __builtin_bswap64(f.byte_order);
	header_refuses(&h, "the other byte order", f, -EPROTOTYPE, -EPROTOTYPE);
	memcpy(words, &h.good, sizeof words);
	for (unsigned i = 1; i < sizeof words / 8; i++)
		words[i] = __builtin_bswap64(words[i]);
	put(h.fd, 0, words, sizeof words);
	refuses("all in the other byte order", h.path, -EPROTOTYPE, -EPROTOTYPE);
	f = h.good, f.word_bytes = 4;
	header_refuses(&h, "a word of 4 bytes", f, -EPROTOTYPE, -EPROTOTYPE);
	f = h.good, f.page = 16384;
	header_refuses(&h, "a page of 16 KiB", f, -EPROTOTYPE, -EPROTOTYPE);
	f = h.good, f.unit = 32768;
	header_refuses(&h, "a unit of 32 KiB", f, -EPROTOTYPE, -EPROTOTYPE);
	f = h.good, f.segment = 2 * CM_MIB;
	header_refuses(&h, "a segment of 2 MiB", f, -EPROTOTYPE, -EPROTOTYPE);
	header_end(&h);
}

static void impossible_sizes_are_damage(void **state)
{
	static const struct {
		uint64_t max_size;
		uint32_t nslots;
	} sizes[] = {
		{ 0, 8 }, { 4 * CM_MIB, 8 }, { 8 * CM_MIB, 0 }, { 8 * CM_MIB, 1 }, { 8 * CM_MIB, 200 },
		{ 32 * CM_MIB + CM_UNIT, 8 }, { 32 * CM_MIB, 65536 }, { 32 * CM_MIB, ~0u },
		{ 64 * CM_TIB + CM_SEGMENT, 8 }, { 1ull << 63, 8 }, { ~0ull, 8 }, { ~0ull << 22, ~0u },
	};
	struct header h = header_begin(SEED_WHOLE);
	struct cm_fixed_shm f;

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		f = h.good;
		seed_lay_out(&f, sizes[i].max_size, sizes[i].nslots);
		header_refuses(&h, "impossible sizes", f, -EUCLEAN, -EUCLEAN);
	}
	f = h.good, f.slots_off += CM_UNIT;
	header_refuses(&h, "slots elsewhere", f, -EUCLEAN, -EUCLEAN);
	f = h.good, f.units_off = ~0ull << 16;
	header_refuses(&h, "units elsewhere", f, -EUCLEAN, -EUCLEAN);
	f = h.good, f.segments_off -= 8;
	header_refuses(&h, "segments elsewhere", f, -EUCLEAN, -EUCLEAN);
	f = h.good, f.data_off += CM_SEGMENT;
	header_refuses(&h, "data elsewhere", f, -EUCLEAN, -EUCLEAN);
	f = h.good;
	seed_lay_out(&f, 64 * CM_TIB, 8); /* possible, but then it is longer */
	header_refuses(&h, "the largest heap", f, -ENODATA, -ENODATA);
	header_end(&h);
}

/* ---- who may, who is there -------------------------------------------------------- */

static int as_nobody(void *arg)
{
	char path[128];

	(void)arg;
	KIN_CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	snprintf(path, sizeof path, "%s", in_dir("private"));
	KIN_CHECK(try_open(path, -1, 0) == -EACCES);
	KIN_CHECK(try_open(path, -1, COMAP_HEAP_READONLY) == -EACCES);
	KIN_CHECK(try_open(path, -1, COMAP_HEAP_CREATE) == -EACCES);
	KIN_CHECK(try_open(in_dir("to-read"), -1, 0) == -EACCES);
	KIN_CHECK(try_open(in_dir("to-read"), -1, COMAP_HEAP_READONLY) == OPENS);
	KIN_CHECK(try_open(in_dir("new"), -1, COMAP_HEAP_CREATE) == -EACCES);
	return 0;
}

static void who_may_not_is_told_so(void **state)
{
	struct seed_print before;
	int fd, readable;

	(void)state;
	if (geteuid() != 0)
		skip();
	fd = new_heap_file(in_dir("private"), SEED_WHOLE);
	readable = new_heap_file(in_dir("to-read"), SEED_WHOLE);
	before = seed_print(fd);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(fchmod(readable, 0444), 0);
	assert_int_equal(kin_run(as_nobody, NULL), 0);
	assert_true(seed_print_is_same(before, seed_print(fd)));
	close(fd), close(readable);
	unlink(in_dir("private")), unlink(in_dir("to-read"));
}

/* In namespaces of its own, so that nobody sees the mount. */
static int on_readonly_storage(void *arg)
{
	(void)arg;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", dir, "tmpfs", 0, NULL) < 0)
		return 77;
	close(new_heap_file(in_dir("heap"), SEED_WHOLE));
	KIN_CHECK(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
	KIN_CHECK(try_open(in_dir("heap"), -1, 0) == -EROFS);
	KIN_CHECK(try_open(in_dir("new"), -1, COMAP_HEAP_CREATE) == -EROFS);
	KIN_CHECK(try_open(in_dir("heap"), -1, COMAP_HEAP_READONLY) == OPENS);
	return 0;
}

static void readonly_storage_is_called_so(void **state)
{
	int status = kin_run(on_readonly_storage, NULL);

	(void)state;
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

static void a_heap_under_repair_is_busy(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int fd = new_heap_file(in_dir("busy"), SEED_DEAD);

	(void)state;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	watch_begin("busy", SECONDS);
	want("under repair", "", try_open(in_dir("busy"), -1, 0), -EBUSY);
	watch_end();
	close(fd);
	want("left alone", "", try_open(in_dir("busy"), -1, 0), OPENS);
	unlink(in_dir("busy"));
}

static void a_heap_of_another_libc_waits_for_its_users(void **state)
{
	int fd = new_heap_file(in_dir("libc"), SEED_WHOLE);
	uint64_t other = 4711, ours;
	comap_heap *heap;

	(void)state;
	assert_int_equal(comap_heap_open(in_dir("libc"), NULL, &heap), 0);
	assert_int_equal(pread(fd, &ours, 8, offsetof(struct cm_super_shm, life_abi)), 8);
	put(fd, offsetof(struct cm_super_shm, life_abi), &other, 8);
	want("another libc", "", try_open(in_dir("libc"), -1, 0), -EPROTONOSUPPORT);
	want("another libc", "to read", try_open(in_dir("libc"), -1, COMAP_HEAP_READONLY), OPENS);
	comap_heap_close(heap);
	want("another libc", "alone", try_open(in_dir("libc"), -1, 0), OPENS);
	assert_int_equal(pread(fd, &other, 8, offsetof(struct cm_super_shm, life_abi)), 8);
	assert_int_equal(other, ours);
	close(fd);
	unlink(in_dir("libc"));
}

static int with_little_room(void *arg)
{
	struct rlimit limit = { .rlim_cur = 24 << 20, .rlim_max = 24 << 20 };

	(void)arg;
	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	KIN_CHECK(try_open(in_dir("room"), -1, 0) == -ENOMEM);
	return 0;
}

static void no_address_space_is_called_so(void **state)
{
	int fd = new_heap_file(in_dir("room"), SEED_DEAD);
	struct seed_print before = seed_print(fd);

	(void)state;
	if (!IS_SANITIZED && !kin_is_valgrind()) {
		assert_int_equal(kin_run(with_little_room, NULL), 0);
		assert_true(seed_print_is_same(before, seed_print(fd)));
	}
	close(fd);
	unlink(in_dir("room"));
}

static void handles_are_counted(void **state)
{
	comap_heap *heap[CM_HEAPS_MAX + 1];
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	unsigned n = 0;
	int fd = seed_thaw(seed_get(SEED_SMALL)), err = 0;

	(void)state;
	opts.flags = COMAP_HEAP_READONLY;
	while (n <= CM_HEAPS_MAX && err == 0) {
		err = comap_heap_open_fd(fd, &opts, &heap[n]);
		n += err == 0;
	}
	assert_int_equal(err, -EMFILE);
	assert_int_equal(n, CM_HEAPS_MAX);
	while (n)
		comap_heap_close(heap[--n]);
	close(fd);
}

/* ---- the runner ----------------------------------------------------------------------- */

static int make_folder(void **state)
{
	(void)state;
	(void)seed_get(SEED_WHOLE);
	(void)seed_get(SEED_DEAD);
	(void)seed_get(SEED_SMALL);
	strcpy(dir, "/dev/shm/comap-bad-XXXXXX");
	if (mkdtemp(dir))
		return 0;
	strcpy(dir, "/tmp/comap-bad-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(what_is_no_heap_is_called_so),
		KIN_TEST(a_program_is_no_heap),
		KIN_TEST(what_is_no_file_is_called_so),
		KIN_TEST(an_fd_that_is_no_file_is_called_so),
		KIN_TEST(names_that_lead_nowhere),
		KIN_TEST(links_are_followed_if_they_lead_anywhere),
		KIN_TEST(a_heap_cut_short_is_called_so),
		KIN_TEST(what_a_creator_left_half_way_does_not_open),
		KIN_TEST(each_bit_of_the_header_counts),
		KIN_TEST(a_newer_heap_is_called_so),
		KIN_TEST(a_heap_of_another_machine_is_called_so),
		KIN_TEST(impossible_sizes_are_damage),
		KIN_TEST(who_may_not_is_told_so),
		KIN_TEST(readonly_storage_is_called_so),
		KIN_TEST(a_heap_under_repair_is_busy),
		KIN_TEST(a_heap_of_another_libc_waits_for_its_users),
		KIN_TEST(no_address_space_is_called_so),
		KIN_TEST(handles_are_counted),
		KIN_TEST(a_limit_past_the_file_is_a_file_cut_short),
	};

	return cmocka_run_group_tests_name("bad_files", tests, make_folder, remove_folder);
}
