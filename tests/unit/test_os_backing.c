/* test_os_backing.c - storage is committed before it is touched, and given back by holes
 * (backing.c, file.c, map.c, filelock.c). */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "fixture.h"

#define SIZE (16 * CM_MIB)

static uint64_t stored(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static struct cm_backing begin(void)
{
	struct cm_backing b = { .fd = -1, .size = SIZE };

	assert_int_equal(cm_os_memfd(&b.fd), 0);
	cm_os_probe(&b);
	assert_false(b.no_fallocate);
	assert_int_equal(cm_os_grow(&b, SIZE), 0);
	assert_int_equal(cm_os_map(&b, true, false), 0);
	return b;
}

static void end(struct cm_backing *b)
{
	cm_os_unmap(b);
	assert_null(b->base);
	if (b->fd >= 0)
		close(b->fd);
}

static void the_mapping_begins_at_a_multiple_of_4_mib(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct cm_backing b = begin();

		assert_true((uintptr_t)b.base % CM_OS_BASE_ALIGN == 0);
		end(&b);
	}
}

static void committed_ranges_are_stored_and_keep_their_bytes(void **state)
{
	struct cm_backing b = begin();

	(void)state;
	assert_int_equal(cm_os_commit(&b, CM_MIB, 100000 & ~4095), 0);
	assert_true(stored(b.fd) >= (100000 & ~4095) && stored(b.fd) < CM_MIB);
	fx_fill(b.base + CM_MIB, 98304, 4);
	assert_int_equal(cm_os_commit(&b, CM_MIB, CM_MIB), 0);
	assert_true(fx_is_filled(b.base + CM_MIB, 98304, 4));
	assert_true(fx_is_zero(b.base + CM_MIB + 98304, 4096));
	end(&b);
}

static void a_hole_reads_as_zeroes_and_has_no_storage(void **state)
{
	struct cm_backing b = begin();

	(void)state;
	assert_int_equal(cm_os_commit(&b, 0, CM_MIB), 0);
	memset(b.base, 1, CM_MIB);
	assert_int_equal(cm_os_punch(&b, 65536, 65536), 0);
	assert_int_equal(stored(b.fd), CM_MIB - 65536);
	assert_int_equal(b.base[65535], 1);
	assert_int_equal(b.base[131072], 1);
	assert_true(fx_is_zero(b.base + 65536, 65536));
	end(&b);
}

static void a_file_grows_and_never_shrinks(void **state)
{
	struct cm_backing b = begin();
	uint64_t size = 0;

	(void)state;
	assert_int_equal(cm_os_grow(&b, 2 * SIZE), 0);
	assert_int_equal(cm_os_grow(&b, SIZE), 0);
	assert_int_equal(cm_os_file_size(b.fd, &size), 0);
	assert_true(size == 2 * SIZE);
	assert_true(ftruncate(b.fd, 4096) < 0); /* nor by anybody else: it is sealed */
	end(&b);
}

static int grows_beyond_the_limit(void *arg)
{
	struct cm_backing *b = arg;
	struct rlimit limit = { SIZE + 4096, SIZE + 4096 };

	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	KIN_CHECK(cm_os_grow(b, SIZE + 8192) == -ENOSPC); /* and no SIGXFSZ */
	KIN_CHECK(cm_os_grow(b, SIZE + 4096) == 0);
	return 0;
}

static void a_file_size_limit_is_an_error_and_no_signal(void **state)
{
	struct cm_backing b = begin();

	(void)state;
	assert_int_equal(kin_run(grows_beyond_the_limit, &b), 0);
	end(&b);
}

static void without_fallocate_zeroes_are_written(void **state)
{
	struct cm_backing b = begin();
	uint64_t before;

	(void)state;
	before = stored(b.fd);
	b.no_fallocate = true; /* as on an old network file system */
	assert_int_equal(cm_os_commit(&b, 8192, 65536 + 4096), 0);
	assert_int_equal(stored(b.fd) - before, 65536 + 4096);
	/* neighbours may be using a shared range: only its zero byte is written */
	memset(b.base + 8192, 7, 8192);
	b.base[8192 + 100] = 0;
	b.base[12288 + 100] = 0;
	assert_int_equal(cm_os_commit_shared(&b, 8192 + 50, 4096, 100), 0);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(b.base[8192 + i], i % 4096 == 100 ? 0 : 7);
	end(&b);
}

static void anonymous_memory_is_committed_and_punched_too(void **state)
{
	struct cm_backing b = { .fd = -1, .size = SIZE };

	(void)state;
	cm_os_probe(&b);
	assert_int_equal(cm_os_map(&b, true, false), 0);
	assert_int_equal(cm_os_grow(&b, SIZE), 0);
	assert_int_equal(cm_os_commit(&b, 0, CM_MIB), 0);
	memset(b.base, 1, CM_MIB);
	assert_int_equal(cm_os_punch(&b, 65536, 65536), 0);
	assert_true(fx_is_zero(b.base + 65536, 65536));
	assert_int_equal(b.base[65535], 1);
	end(&b);
}

static void a_storage_without_holes_is_remembered(void **state)
{
	struct cm_backing b = begin();

	(void)state;
	b.no_punch = true;
	assert_int_equal(cm_os_punch(&b, 0, 4096), -EOPNOTSUPP);
	end(&b);
}

static void an_unfinished_birth_leaves_no_file(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "heap");
	static struct cm_os_birth birth;
	struct stat st;

	(void)state;
	assert_int_equal(cm_os_birth_begin(&birth, path, 0600), 0);
	assert_int_equal(stat(path, &st), -1);
	cm_os_birth_abandon(&birth);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(cm_os_birth_begin(&birth, path, 0640), 0);
	assert_int_equal(cm_os_birth_publish(&birth), 0);
	assert_int_equal(stat(path, &st), 0);
	close(birth.fd);
	assert_int_equal(cm_os_birth_begin(&birth, path, 0600), 0);
	assert_int_equal(cm_os_birth_publish(&birth), -EEXIST);
	cm_os_birth_abandon(&birth);
	assert_int_equal(cm_os_birth_begin(&birth, fx_path(dir, "no/heap"), 0600), -ENOENT);
	fx_rmdir(dir);
}

static void file_locks_are_between_open_files_not_processes(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	int a = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), b = open(path, O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(cm_os_lock_exclusive(a, 0), 0);
	assert_int_equal(cm_os_lock_shared(b, 0), -EAGAIN);
	assert_int_equal(cm_os_lock_exclusive(b, 1), 0); /* another byte */
	assert_int_equal(cm_os_lock_shared(a, 0), 0);    /* downgraded */
	assert_int_equal(cm_os_lock_shared(b, 0), 0);
	assert_int_equal(cm_os_lock_exclusive(b, 0), -EAGAIN);
	close(a);
	assert_int_equal(cm_os_lock_exclusive(b, 0), 0);
	close(b);
	fx_rmdir(dir);
}

static void who_we_are_is_what_the_kernel_says(void **state)
{
	unsigned char bytes[32] = {0};
	char name[16];
	uint64_t before = cm_os_now_ns();

	(void)state;
	assert_int_equal(cm_os_tgid(), getpid());
	assert_false(cm_os_thread_is_gone(cm_os_tgid(), cm_os_tid()));
	errno = 0;
	assert_true(cm_os_thread_is_gone(cm_os_tgid(), 0x3ffffff));
	assert_int_equal(errno, 0);
	cm_os_thread_name(name);
	assert_true(name[0] && memchr(name, 0, 16));
	cm_os_random(bytes, sizeof bytes);
	assert_false(fx_is_zero(bytes, sizeof bytes));
	cm_os_sleep_ns(2000000);
	assert_true(cm_os_now_ns() - before >= 1000000);
	assert_true(cm_os_wall_ns() > 1700000000ull * 1000000000ull);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(the_mapping_begins_at_a_multiple_of_4_mib),
		KIN_TEST(committed_ranges_are_stored_and_keep_their_bytes),
		KIN_TEST(a_hole_reads_as_zeroes_and_has_no_storage),
		KIN_TEST(a_file_grows_and_never_shrinks),
		KIN_TEST(a_file_size_limit_is_an_error_and_no_signal),
		KIN_TEST(without_fallocate_zeroes_are_written),
		KIN_TEST(anonymous_memory_is_committed_and_punched_too),
		KIN_TEST(a_storage_without_holes_is_remembered),
		KIN_TEST(an_unfinished_birth_leaves_no_file),
		KIN_TEST(file_locks_are_between_open_files_not_processes),
		KIN_TEST(who_we_are_is_what_the_kernel_says),
	};

	return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
