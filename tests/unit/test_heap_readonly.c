/* test_heap_readonly.c - a reader sees everything and changes nothing. */
#include <sys/stat.h>
#include "fixture.h"

struct env {
	comap_heap *writer, *reader;
	char *text, *run, *huge;
};

static struct env begin(void)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct env e = { .writer = fx_heap(64 * CM_MIB) };

	e.text = comap_heap_strdup(e.writer, "read me");
	e.run = comap_heap_malloc(e.writer, 200000);
	e.huge = comap_heap_malloc(e.writer, 5 * CM_MIB);
	assert_true(e.text && e.run && e.huge);
	assert_int_equal(comap_root_set(e.writer, "text", comap_heap_ref(e.writer, e.text)), 0);
	assert_int_equal(comap_root_set(e.writer, "null", COMAP_NULL), 0);
	opts.flags = COMAP_HEAP_READONLY;
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(e.writer), &opts, &e.reader), 0);
	return e;
}

static void end(struct env *e)
{
	fx_close(e->reader);
	fx_close(e->writer);
}

/* Its address in the reader's mapping. */
static void *there(struct env *e, const void *p)
{
	return comap_heap_at(e->reader, comap_heap_ref(e->writer, p));
}

#define assert_erofs(x)                                                                        \
	do {                                                                                   \
		errno = 0;                                                                     \
		assert_null(x);                                                                \
		assert_int_equal(errno, EROFS);                                                \
	} while (0)

static void a_reader_changes_nothing(void **state)
{
	struct env e = begin();
	struct comap_heap_stats before = fx_stats(e.writer), after;
	comap_mutex *mutex = comap_heap_calloc(e.writer, 1, sizeof *mutex);
	comap_ref *cell = (comap_ref *)(void *)mutex, ref;
	void *q = (void *)5;

	(void)state;
	assert_erofs(comap_heap_malloc(e.reader, 10));
	assert_erofs(comap_heap_malloc(e.reader, 10 * CM_MIB));
	assert_erofs(comap_heap_calloc(e.reader, 1, 10));
	assert_erofs(comap_heap_realloc(e.reader, NULL, 10));
	assert_erofs(comap_heap_realloc(e.reader, there(&e, e.text), 1000));
	assert_erofs(comap_heap_realloc(e.reader, there(&e, e.huge), 1000));
	assert_erofs(comap_heap_aligned_alloc(e.reader, 64, 10));
	assert_erofs(comap_heap_memalign(e.reader, 1 << 20, 10));
	assert_erofs(comap_heap_strdup(e.reader, "x"));
	assert_erofs(comap_heap_strndup(e.reader, "x", 1));
	assert_erofs(comap_heap_malloc_to(e.reader, 10, there(&e, cell)));
	assert_int_equal(comap_heap_posix_memalign(e.reader, &q, 64, 10), EROFS);
	assert_ptr_equal(q, (void *)5);
	comap_heap_free(e.reader, there(&e, e.text)); /* misuse: told, ignored */
	comap_heap_free(e.reader, there(&e, e.huge));
	comap_heap_free_from(e.reader, there(&e, cell));
	assert_int_equal(comap_root_set(e.reader, "x", COMAP_NULL), -EROFS);
	assert_int_equal(comap_root_delete(e.reader, "text"), -EROFS);
	assert_int_equal(comap_mutex_lock(e.reader, there(&e, mutex)), -EROFS);
	assert_int_equal(comap_mutex_trylock(e.reader, there(&e, mutex)), -EROFS);
	assert_int_equal(comap_mutex_lock_for(e.reader, there(&e, mutex), 1), -EROFS);
	assert_int_equal(comap_mutex_unlock(e.reader, there(&e, mutex)), -EPERM);
	assert_int_equal(comap_heap_reap(e.reader), -EROFS);
	assert_int_equal(comap_heap_trim(e.reader), -EROFS);
	assert_int_equal(comap_heap_set_quota(e.reader, 1), -EROFS);
	assert_int_equal(comap_heap_set_decay(e.reader, 1), -EROFS);
	assert_int_equal(comap_root_once(e.reader, "nope", NULL, NULL, 0, &ref), -ENOENT);
	comap_heap_free(e.writer, mutex);
	before.mallocs++, before.frees++; /* the mutex, the writer's own */
	after = fx_stats(e.writer);
	assert_memory_equal(&before, &after, sizeof before);
	assert_int_equal(after.slots_live, 1); /* a reader takes no slot */
	end(&e);
}

static void a_store_by_a_reader_faults(void **state)
{
	struct env e = begin();
	comap_ref ref;

	(void)state;
	assert_int_equal(comap_root_get(e.reader, "text", &ref), 0);
	/* the mapping itself is read-only: seen by a child, whom it kills */
	if (kin_is_valgrind() || FX_IS_SANITIZED) {
		end(&e);
		skip();
	}
	pid_t pid = fork();

	if (pid == 0) {
		kin_born();
		*(volatile char *)comap_heap_at(e.reader, ref) = 'x';
		_exit(0);
	}
	assert_int_equal(kin_wait(pid), -SIGSEGV);
	end(&e);
}

static int counts(void *ptr, size_t size, void *arg)
{
	(void)ptr;
	*(uint64_t *)arg += size;
	return 0;
}

static int counts_slots(const struct comap_slot_info *info, void *arg)
{
	(void)info;
	++*(unsigned *)arg;
	return 0;
}

static void a_reader_sees_everything(void **state)
{
	struct env e = begin();
	struct comap_root_iter iter = {0};
	struct comap_heap_stats mine, theirs;
	uint64_t bytes = 0;
	unsigned n = 0;
	comap_ref ref;

	(void)state;
	assert_int_equal(comap_root_get(e.reader, "text", &ref), 0);
	assert_string_equal(comap_heap_at(e.reader, ref), "read me");
	assert_string_equal(comap_heap_at_checked(e.reader, ref, 8), "read me");
	assert_int_equal(comap_root_get(e.reader, "no", &ref), -ENOENT);
	assert_int_equal(comap_root_once(e.reader, "text", NULL, NULL, 0, &ref), 0);
	while (comap_root_next(e.reader, &iter) == 1)
		n++;
	assert_int_equal(n, 2);
	theirs = fx_stats(e.writer);
	mine = fx_stats(e.reader);
	assert_memory_equal(&mine, &theirs, sizeof mine);
	assert_int_equal(comap_heap_walk(e.reader, counts, &bytes), 0);
	assert_int_equal(bytes, mine.live_bytes);
	assert_int_equal(comap_heap_usable_size(e.reader, there(&e, e.huge)), 5 * CM_MIB);
	n = 0;
	assert_int_equal(comap_heap_slots(e.reader, counts_slots, &n), 0);
	assert_int_equal(n, 1);
	assert_sound(e.reader);
	/* growth by others shows without doing anything */
	e.text = comap_heap_malloc(e.writer, 20 * CM_MIB);
	strcpy(e.text, "new");
	assert_string_equal(there(&e, e.text), "new");
	assert_true(comap_heap_fd(e.reader) >= 0);
	comap_heap_detach(e.reader);
	end(&e);
}

static void a_readers_check_finds_damage_too(void **state)
{
	struct env e = begin();
	cm_word *dirty = cm_span_word(&e.writer->seg, CM_SPAN_DIRTY);

	(void)state;
	cm_add(dirty, 1);
	assert_int_equal(comap_heap_check(e.reader, NULL, NULL), -EUCLEAN);
	cm_add(dirty, ~0ull);
	end(&e);
}

static void a_readers_free_is_told_to_its_handler(void **state)
{
	struct env e = begin();
	struct fx_misuse seen;

	(void)state;
	fx_watch_misuse(e.reader, &seen);
	errno = 44;
	comap_heap_free(e.reader, there(&e, e.run));
	assert_int_equal(errno, 44);
	assert_int_equal(seen.n, 1);
	assert_int_equal(comap_heap_usable_size(e.writer, e.run), 200704);
	end(&e);
}

static void a_file_only_read_is_not_changed(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "heap");
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	struct stat a, b;
	uint64_t bytes = 0;

	(void)state;
	opts.flags = COMAP_HEAP_CREATE;
	opts.max_size = 64 * CM_MIB;
	assert_int_equal(comap_heap_open(path, &opts, &heap), 0);
	for (int i = 0; i < 100; i++)
		assert_non_null(comap_heap_malloc(heap, 10000));
	fx_close(heap);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(stat(path, &a), 0);
	opts.flags = COMAP_HEAP_READONLY;
	assert_int_equal(comap_heap_open(path, &opts, &heap), 0);
	assert_int_equal(comap_heap_walk(heap, counts, &bytes), 0);
	assert_true(bytes >= 1000000);
	(void)fx_stats(heap);
	fx_close(heap);
	assert_int_equal(stat(path, &b), 0);
	assert_true(a.st_blocks == b.st_blocks && a.st_size == b.st_size);
	assert_true(a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec);
	fx_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(a_reader_changes_nothing),
		KIN_TEST(a_store_by_a_reader_faults),
		KIN_TEST(a_reader_sees_everything),
		KIN_TEST(a_readers_check_finds_damage_too),
		KIN_TEST(a_readers_free_is_told_to_its_handler),
		KIN_TEST(a_file_only_read_is_not_changed),
	};

	return cmocka_run_group_tests_name("heap/readonly", tests, NULL, NULL);
}
