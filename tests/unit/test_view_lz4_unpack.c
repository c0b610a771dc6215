/* test_view_lz4_unpack.c - .lz4 files into a writer, block by block, without measuring them
 * (lz4_inflate.c, lz4_ring.c). */
#include <sys/resource.h>
#include "lz4_fixture.h"
#include "view/guard.h"

static void files_of_other_shapes_come_out_whole(void **state)
{
	size_t cuts[] = { 10, BLOCK, 3 * BLOCK / 2, 40 * BLOCK + 7 };
	char *s = text(60 * BLOCK, 31);
	struct file file = { 0 };

	(void)state;
	/* many blocks of every length, in frames with and without a size and checksums, some
	 * empty */
	add_frame(&file, s, 0, false, ALL);
	add_flushed(&file, s, cuts, 4, false);
	add_skippable(&file, 3, "note", 4);
	add_frame(&file, s, 0, false, 0);
	add_frame(&file, s + cuts[3], 60 * BLOCK - cuts[3], true, ALL);
	add_frame(&file, s, 0, false, COMAP_LZ4_CHECK_CONTENT);
	assert_unpacks(&file, s, 60 * BLOCK);
	drop(&file);
	add_frame(&file, s, 0, false, ALL);
	assert_unpacks(&file, s, 0);
	drop(&file);
	free(s);
}

static void it_goes_behind_what_the_writer_has(void **state)
{
	const char *path = fx_path(fx_folder, "f");
	struct comap_writer_opts append = COMAP_WRITER_OPTS_INIT;
	char *s = text(20 * BLOCK, 32);
	struct file file = { 0 }, got = { 0 };
	comap_writer *writer;
	comap_view *view;

	(void)state;
	add_frame(&file, s, 20 * BLOCK, false, ALL);
	assert_int_equal(comap_view_open_memory(file.bytes, file.size, NULL, NULL, &view), 0);
	append.flags = COMAP_WRITER_APPEND;
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(comap_writer_open(path, turn ? &append : NULL, &writer), 0);
		assert_int_equal(comap_writer_write(writer, "before ", 7), 0);
		assert_int_equal(comap_lz4_unpack(view, writer, 0, ALL), 0);
		assert_int_equal(comap_writer_write(writer, "after", 5), 0);
		assert_int_equal(comap_writer_size(writer), 20 * BLOCK + 12);
		assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	}
	comap_view_close(view);
	add_file(&got, path);
	assert_int_equal(got.size, 2 * (20 * BLOCK + 12));
	for (int turn = 0; turn < 2; turn++) {
		const unsigned char *at = got.bytes + (turn ? 20 * BLOCK + 12 : 0);

		assert_memory_equal(at, "before ", 7);
		assert_memory_equal(at + 7, s, 20 * BLOCK);
		assert_memory_equal(at + 7 + 20 * BLOCK, "after", 5);
	}
	drop(&file);
	drop(&got);
	free(s);
}

/* Which no header contradicts: only the checksum of all does. */
static void a_content_that_is_not_as_declared_is_damage(void **state)
{
	char *s = text(3 * BLOCK, 33);
	struct file file = { 0 }, got;

	(void)state;
	add_frame(&file, s, 3 * BLOCK, true, 0);
	file.bytes[6]++; /* of the size */
	file.bytes[14] = (unsigned char)(XXH32(file.bytes + 4, 10, 0) >> 8);
	assert_int_equal(unpack(&file, 2, 0, &got), -EUCLEAN);
	drop(&got);
	drop(&file);
	free(s);
}

/* Behind frames of nothing, and beside one that has no checksum. */
static void a_wrong_checksum_is_noticed_wherever_its_frame_is(void **state)
{
	char *s = text(BLOCK + 100, 37), *got = malloc(BLOCK + 100);
	struct file file = { 0 }, all;
	comap_lz4 *lz4;

	(void)state;
	add_frame(&file, s, 0, false, ALL);
	add_frame(&file, s, BLOCK, false, 0);
	add_frame(&file, s, 0, false, ALL);
	add_frame(&file, s + BLOCK, 100, false, ALL);
	assert_holds(&file, s, BLOCK + 100, 0);
	file.bytes[file.size - 1]++;
	lz4 = open_it(&file, 0);
	for (uint32_t checks = 0; checks <= ALL; checks++) {
		int want = checks & COMAP_LZ4_CHECK_CONTENT ? -EUCLEAN : 0;

		assert_int_equal(comap_lz4_inflate(lz4, got, BLOCK + 100, 2, checks), want);
		assert_int_equal(unpack(&file, 2, checks, &all), want);
		assert_null(cm_guard_innermost); /* none is left behind on the stack */
		drop(&all);
	}
	comap_lz4_close(lz4);
	drop(&file);
	free(got);
	free(s);
}

static void unknown_flags_are_refused(void **state)
{
	char *s = text(100, 34);
	struct file file = { 0 }, got;

	(void)state;
	add_frame(&file, s, 100, true, 0);
	assert_int_equal(unpack(&file, 1, COMAP_LZ4_NO_INDEX, &got), -EINVAL);
	assert_int_equal(got.size, 0);
	drop(&got);
	drop(&file);
	free(s);
}

static int cut(void *path)
{
	KIN_CHECK(truncate(path, 3 * BLOCK / 2 + 100) == 0);
	return 0;
}

/* One that is mapped, by a view that keeps its file and by one that does not. */
static void a_file_that_another_process_cut_short_is_an_error(void **state)
{
	static const uint32_t flags[] = { 0, COMAP_VIEW_NO_FD };
	const char *path = fx_path(fx_folder, "written.lz4");
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	char *s = text(40 * BLOCK, 35);
	struct file file;
	comap_writer *writer;
	comap_view *view;

	(void)state;
	opts.how = COMAP_VIEW_MAP;
	assert_int_equal(comap_guard_install(), 0);
	for (unsigned i = 0; i < 2; i++) {
		file = written(s, 40 * BLOCK, NULL, 1);
		opts.flags = flags[i];
		assert_int_equal(comap_view_open(path, &opts, &view), 0);
		assert_int_equal(kin_run(cut, (void *)(uintptr_t)path), 0);
		assert_int_equal(comap_writer_open(fx_path(fx_folder, "out"), NULL, &writer), 0);
		assert_int_equal(comap_lz4_unpack(view, writer, 3, 0), -ENODATA);
		assert_non_null(strstr(comap_view_reason(), "written.lz4"));
		comap_writer_abort(writer);
		comap_view_close(view);
		drop(&file);
	}
	comap_guard_remove();
	free(s);
}

static int unpack_too_much(void *arg)
{
	struct rlimit limit = { 4 * BLOCK, 4 * BLOCK };
	comap_writer *writer;
	comap_view *view;
	struct file *file = arg;

	KIN_CHECK(comap_view_open_memory(file->bytes, file->size, NULL, NULL, &view) == 0);
	KIN_CHECK(comap_writer_open(fx_path(fx_folder, "full"), NULL, &writer) == 0);
	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	KIN_CHECK(comap_lz4_unpack(view, writer, 2, 0) == -ENOSPC);
	KIN_CHECK(strstr(comap_view_reason(), "full"));
	KIN_CHECK(comap_writer_finish(writer, COMAP_WRITER_PLAIN) == -ENOSPC);
	comap_view_close(view);
	return 0;
}

static void a_full_disk_ends_it_with_an_error(void **state)
{
	char *s = text(60 * BLOCK, 36);
	struct file file = { 0 };

	(void)state;
	add_frame(&file, s, 60 * BLOCK, false, 0);
	assert_int_equal(kin_run(unpack_too_much, &file), 0);
	drop(&file);
	free(s);
}

/* A match at offset 0 is what was in memory before: zeroes or content, nothing else of this
 * process. */
static void no_strange_bytes_come_out(void **state)
{
	/* one literal, 'x', a match at 0 of 18 bytes, and five literals, the last sequence */
	static const unsigned char block[] = { 0x1e, 'x', 0, 0, 0x50, 'a', 'b', 'c', 'd', 'e' };
	static const unsigned char header[] = { 4, 0x22, 0x4d, 0x18, 0x60, 0x40, 0 };
	struct file file = { 0 }, got;
	char *trash;

	(void)state;
	for (int i = 0; i < 50; i++) { /* so that memory the allocator gives is full of these */
		trash = malloc(BLOCK);
		memset(trash, 'S', BLOCK);
		free(trash);
	}
	add(&file, header, sizeof header);
	file.bytes[6] = (unsigned char)(XXH32(file.bytes + 4, 2, 0) >> 8);
	add_u32(&file, sizeof block);
	add(&file, block, sizeof block);
	add_u32(&file, 0);
	assert_int_equal(unpack(&file, 1, 0, &got), 0);
	assert_int_equal(got.size, 24);
	for (size_t i = 0; i < got.size; i++)
		assert_true(got.bytes[i] != 'S');
	drop(&got);
	drop(&file);
}

/* ---- the ring -------------------------------------------------------------------------- */

#define HELPERS 3u
#define SLOTS (HELPERS + 3)

static _Atomic unsigned made;

static int count(const void *arg, void *state, uint64_t i, struct cm_lz4_piece *piece)
{
	(void)arg;
	(void)state;
	(void)i;
	(void)piece;
	made++;
	return 0;
}

static int fail_when_all_wait(void *arg, uint64_t i, const struct cm_lz4_piece *piece)
{
	(void)arg;
	(void)piece;
	for (int ms = 0; made < SLOTS && ms < 1000; ms++) /* fewer, when the system refused a thread */
		usleep(1000);
	usleep(20000);
	return i == 0 ? -EIO : 0;
}

static int end_by_an_error(void *arg)
{
	const struct cm_lz4_work work = { .npieces = 100, .make = count, .take = fail_when_all_wait };

	(void)arg;
	alarm(10);
	KIN_CHECK(cm_lz4_run(&work, HELPERS + 1) == -EIO);
	KIN_CHECK(made <= SLOTS);
	return 0;
}

static void helpers_that_wait_for_room_go_home_after_an_error(void **state)
{
	(void)state;
	assert_int_equal(kin_run(end_by_an_error, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(files_of_other_shapes_come_out_whole),
		FX_FOLDER_TEST(it_goes_behind_what_the_writer_has),
		FX_FOLDER_TEST(a_content_that_is_not_as_declared_is_damage),
		FX_FOLDER_TEST(a_wrong_checksum_is_noticed_wherever_its_frame_is),
		FX_FOLDER_TEST(unknown_flags_are_refused),
		FX_FOLDER_TEST(a_file_that_another_process_cut_short_is_an_error),
		FX_FOLDER_TEST(a_full_disk_ends_it_with_an_error),
		FX_FOLDER_TEST(no_strange_bytes_come_out),
		FX_FOLDER_TEST(helpers_that_wait_for_room_go_home_after_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
