/* test_view_lz4_write.c - frames that we write, and their index (lz4_write.c, lz4_index.c). */
#include <sys/resource.h>
#include "lz4_fixture.h"

/* ---- writing ------------------------------------------------------------------------- */

static void assert_lz4_reads(const struct file *file, const char *want, size_t n)
{
	char *got = malloc(n + 1);
	size_t at = 0, done = 0, hint = 0;
	LZ4F_dctx *ctx;

	assert_non_null(got);
	assert_int_equal(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION), 0);
	while (at < file->size) {
		size_t used = file->size - at, made = n + 1 - done;

		hint = LZ4F_decompress(ctx, got + done, &made, file->bytes + at, &used, NULL);
		assert_false(LZ4F_isError(hint));
		at += used;
		done += made;
	}
	assert_int_equal(hint, 0);
	assert_int_equal(done, n);
	assert_memory_equal(got, want, n);
	LZ4F_freeDecompressionContext(ctx);
	free(got);
}

static void what_we_write_lz4_reads_and_we_read_by_its_index(void **state)
{
	static const size_t sizes[] = { 0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 20 * BLOCK + 5 };
	static const uint32_t blocks[] = { 0, BLOCK, 4 * BLOCK, 16 * BLOCK, 64 * BLOCK };
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	char *s = text(21 * BLOCK, 9);

	(void)state;
	fx_fill(s + 3 * BLOCK, 4 * BLOCK, 1); /* no shorter compressed: stored */
	for (size_t i = 0; i < 30; i++) {
		size_t n = sizes[i % 6];
		struct comap_lz4_info info;
		struct file file;
		comap_lz4 *lz4;

		opts.flags = (uint32_t)i % 8;
		opts.block_size = blocks[i % 5];
		opts.threads = (uint32_t)i % 4;
		file = written(s, n, &opts, 1);
		assert_lz4_reads(&file, s, n);
		assert_holds(&file, s, n, COMAP_LZ4_NO_INDEX);
		lz4 = open_it(&file, 0);
		info = info_of(lz4);
		assert_int_equal(info.has_index, !(opts.flags & COMAP_LZ4_NO_INDEX));
		assert_int_equal(info.checks, opts.flags & ALL);
		assert_int_equal(info.block_size, opts.block_size ? opts.block_size : BLOCK);
		assert_int_equal(info.blocks, cm_div_up(n, info.block_size));
		assert_content(lz4, s, n);
		comap_lz4_close(lz4);
		drop(&file);
	}
	free(s);
}

static void higher_levels_make_it_shorter(void **state)
{
	static const int32_t levels[] = { INT32_MIN, -50, 1, 3, 9, 12 };
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	char *s = text(3 * BLOCK, 10);
	size_t before = 4 * BLOCK;

	(void)state;
	opts.threads = 2;
	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
		struct file file;

		opts.level = levels[i];
		file = written(s, 3 * BLOCK, &opts, 1);
		assert_lz4_reads(&file, s, 3 * BLOCK);
		assert_true(file.size <= before);
		before = file.size;
		drop(&file);
	}
	opts.level = 0;
	{
		struct file as_default = written(s, 3 * BLOCK, NULL, 1),
			    as_0 = written(s, 3 * BLOCK, &opts, 1);

		assert_int_equal(as_default.size, as_0.size);
		assert_memory_equal(as_default.bytes, as_0.bytes, as_0.size);
		drop(&as_default);
		drop(&as_0);
	}
	free(s);
}

static void bad_options_are_refused_and_write_nothing(void **state)
{
	struct {
		struct comap_lz4_write_opts opts;
		uint32_t more;
	} wide = { .opts = COMAP_LZ4_WRITE_OPTS_INIT };
	struct comap_lz4_write_opts *o = &wide.opts, good = *o;
	struct comap_bytes bytes = { "hello", 5 };
	comap_writer *writer;

	(void)state;
	assert_int_equal(comap_writer_open(fx_path(fx_folder, "none.lz4"), NULL, &writer), 0);
	o->size = 0;
	assert_int_equal(comap_lz4_write(writer, bytes, o), -EINVAL);
	*o = good, o->flags = 8;
	assert_int_equal(comap_lz4_write(writer, bytes, o), -EINVAL);
	*o = good, o->level = 13;
	assert_int_equal(comap_lz4_write(writer, bytes, o), -EINVAL);
	*o = good, o->reserved = 1;
	assert_int_equal(comap_lz4_write(writer, bytes, o), -EINVAL);
	*o = good, o->block_size = 65537;
	assert_int_equal(comap_lz4_write(writer, bytes, o), -EINVAL);
	*o = good, o->size = sizeof wide, wide.more = 1;
	assert_int_equal(comap_lz4_write(writer, bytes, o), -E2BIG);
	assert_non_null(strstr(comap_view_reason(), "compress"));
	assert_int_equal(comap_lz4_write(writer, (struct comap_bytes){ NULL, 5 }, NULL), -EINVAL);
	assert_int_equal(comap_lz4_write(writer,
					 (struct comap_bytes){ "", (size_t)PTRDIFF_MAX + 1 }, NULL),
			 -EINVAL);
	assert_int_equal(comap_writer_size(writer), 0);
	comap_writer_abort(writer);
}

static int write_too_much(void *arg)
{
	struct rlimit limit = { 100000, 100000 };
	char *s = text(64 * BLOCK, 11);
	comap_writer *writer;

	signal(SIGXFSZ, SIG_IGN);
	KIN_CHECK(comap_writer_open(arg, NULL, &writer) == 0);
	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	KIN_CHECK(comap_lz4_write(writer, (struct comap_bytes){ s, 64 * BLOCK }, NULL) == -ENOSPC);
	KIN_CHECK(comap_view_reason()[0]);
	comap_writer_abort(writer);
	free(s);
	return 0;
}

static void a_full_disk_ends_the_writing_with_an_error(void **state)
{
	(void)state;
	assert_int_equal(kin_run(write_too_much, (void *)(uintptr_t)fx_path(fx_folder, "full.lz4")), 0);
}

/* ---- the index ----------------------------------------------------------------------- */

static void frames_that_each_have_an_index_are_found_by_them(void **state)
{
	char *s = text(2 * BLOCK + 50, 12), *twice = malloc(4 * BLOCK + 100);
	struct file file = written(s, 2 * BLOCK + 50, NULL, 2);
	comap_lz4 *lz4 = open_it(&file, 0);

	(void)state;
	memcpy(twice, s, 2 * BLOCK + 50);
	memcpy(twice + 2 * BLOCK + 50, s, 2 * BLOCK + 50);
	assert_int_equal(info_of(lz4).has_index, 1);
	assert_int_equal(info_of(lz4).frames, 2);
	assert_content(lz4, twice, 4 * BLOCK + 100);
	comap_lz4_close(lz4);
	assert_lz4_reads(&file, twice, 4 * BLOCK + 100);
	drop(&file);
	free(twice);
	free(s);
}

static void an_index_that_does_not_describe_all_is_passed_over(void **state)
{
	char *s = text(2 * BLOCK, 13);
	struct file with = written(s + 100, 2 * BLOCK - 100, NULL, 1), file = { 0 };
	comap_lz4 *lz4;

	(void)state;
	add_frame(&file, s, 100, true, 0);
	add(&file, with.bytes, with.size);
	for (int i = 0; i < 2; i++) { /* before it, and then also behind it, lies a frame without */
		lz4 = open_it(&file, 0);
		assert_int_equal(info_of(lz4).has_index, 0);
		assert_int_equal(info_of(lz4).content_size, 2 * BLOCK + i * 100);
		comap_lz4_close(lz4);
		add_frame(&file, s, 100, true, 0);
	}
	drop(&with);
	drop(&file);
	free(s);
}

static void seal(struct file *file, size_t at)
{
	size_t summed = file->size - at - 16;
	uint64_t sum = XXH64(file->bytes + at, summed, 0);

	memcpy(file->bytes + at + summed, &sum, 8);
}

static void an_index_with_a_wrong_word_is_passed_over(void **state)
{
	char *s = text(3 * BLOCK + 9, 14);
	struct file file = written(s, 3 * BLOCK + 9, NULL, 1);
	size_t at = file.size - 56 - 16;
	comap_lz4 *lz4;

	(void)state;
	for (size_t i = at; i < file.size; i++)
		for (int is_sealed = 0; is_sealed < 2; is_sealed++) {
			struct file bad = { 0 };

			add(&bad, file.bytes, file.size);
			bad.bytes[i] ^= 0x10;
			if (is_sealed && i < file.size - 16)
				seal(&bad, at);
			/* the length of the skippable frame itself leads past the end */
			if (i >= at + 4 && i < at + 8) {
				assert_true(try_open(&bad, 0, &lz4) < 0);
			} else if (i < at + 4) {
				if (try_open(&bad, 0, &lz4) == 0) {
					assert_int_equal(info_of(lz4).has_index, 0);
					comap_lz4_close(lz4);
				}
			} else {
				lz4 = open_it(&bad, 0);
				assert_int_equal(info_of(lz4).has_index, 0);
				assert_content(lz4, s, 3 * BLOCK + 9);
				comap_lz4_close(lz4);
			}
			drop(&bad);
		}
	drop(&file);
	free(s);
}

static void an_index_whose_frame_has_another_end_is_passed_over(void **state)
{
	char *s = text(BLOCK + 9, 23);
	struct file file = written(s, BLOCK + 9, NULL, 1), apart = { 0 };
	size_t at = file.size - 56 - 8;
	comap_lz4 *lz4;

	(void)state;
	/* something is put between them, and the index says that it is a part of the frame */
	add(&apart, file.bytes, at);
	add_skippable(&apart, 1, "", 0);
	add(&apart, file.bytes + at, file.size - at);
	at += 8;
	set_u32(apart.bytes + at + 16, (uint32_t)at);
	seal(&apart, at);
	lz4 = open_it(&apart, 0);
	assert_int_equal(info_of(lz4).has_index, 0);
	assert_content(lz4, s, BLOCK + 9);
	comap_lz4_close(lz4);
	/* the end mark is none */
	file.bytes[at - 8 - 4] = 1;
	assert_true(try_open(&file, 0, &lz4) < 0);
	drop(&apart);
	drop(&file);
	free(s);
}

/* Two blocks whose lengths the index states as one less and one more: the sums are right. */
static void an_index_that_lies_is_noticed_when_its_blocks_are_decoded(void **state)
{
	char *s = text(3 * BLOCK, 15), *got = malloc(3 * BLOCK);
	struct file file = written(s, 3 * BLOCK, NULL, 1);
	size_t at = file.size - 56 - 12;
	comap_lz4 *lz4;

	(void)state;
	file.bytes[at + 8]++;
	file.bytes[at + 12]--;
	seal(&file, at);
	lz4 = open_it(&file, 0);
	assert_int_equal(info_of(lz4).has_index, 1);
	assert_int_equal(comap_lz4_inflate(lz4, got, 3 * BLOCK, 2, 0), -EUCLEAN);
	assert_int_equal(comap_lz4_read(lz4, 10, got, 10, 0), -EUCLEAN);
	assert_int_equal(comap_lz4_read(lz4, BLOCK + 10, got, 10, 0), -EUCLEAN);
	assert_int_equal(comap_lz4_read(lz4, 2 * BLOCK + 10, got, 10, 0), 10);
	comap_lz4_close(lz4);
	assert_holds(&file, s, 3 * BLOCK, COMAP_LZ4_NO_INDEX);
	/* now the index is right, and a block's header is not */
	file.bytes[at + 8]--;
	file.bytes[at + 12]++;
	seal(&file, at);
	file.bytes[15] ^= 1;
	lz4 = open_it(&file, 0);
	assert_int_equal(comap_lz4_read(lz4, 10, got, 10, 0), -EUCLEAN);
	assert_int_equal(comap_lz4_inflate(lz4, got, 3 * BLOCK, 2, 0), -EUCLEAN);
	comap_lz4_close(lz4);
	drop(&file);
	free(got);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(what_we_write_lz4_reads_and_we_read_by_its_index),
		FX_FOLDER_TEST(higher_levels_make_it_shorter),
		FX_FOLDER_TEST(bad_options_are_refused_and_write_nothing),
		FX_FOLDER_TEST(a_full_disk_ends_the_writing_with_an_error),
		FX_FOLDER_TEST(frames_that_each_have_an_index_are_found_by_them),
		FX_FOLDER_TEST(an_index_that_does_not_describe_all_is_passed_over),
		FX_FOLDER_TEST(an_index_with_a_wrong_word_is_passed_over),
		FX_FOLDER_TEST(an_index_whose_frame_has_another_end_is_passed_over),
		FX_FOLDER_TEST(an_index_that_lies_is_noticed_when_its_blocks_are_decoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
