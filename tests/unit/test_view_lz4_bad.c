/* test_view_lz4_bad.c - .lz4 files that are damaged, foreign or made to deceive (lz4_frame.c,
 * lz4_table.c). */
#include "lz4_fixture.h"

/* ---- files that are not what they should be ------------------------------------------ */

static int refuse_bytes(const void *bytes, size_t n)
{
	struct file file = { 0 };
	int err;

	add(&file, bytes, n);
	err = refuse(&file);
	drop(&file);
	return err;
}

static void what_is_no_lz4_file_is_told_apart(void **state)
{
	struct file file = { 0 };
	comap_lz4 *lz4;

	(void)state;
	assert_int_equal(refuse_bytes("", 0), -ENOTUNIQ);
	assert_int_equal(refuse_bytes("\x04", 1), -ENOTUNIQ);
	assert_int_equal(refuse_bytes("some text", 9), -ENOTUNIQ);
	assert_int_equal(refuse_bytes("\x02\x21\x4c\x18", 4), -EPROTONOSUPPORT);
	add_skippable(&file, 3, "only this", 9);
	assert_int_equal(refuse(&file), -ENOTUNIQ);
	drop(&file);
	add_frame(&file, "hello", 5, false, 0);
	add(&file, "garbage", 7);
	assert_int_equal(refuse(&file), -EUCLEAN);
	assert_int_equal(try_open(&file, 8, &lz4), -EINVAL);
	assert_int_equal(try_open(&file, COMAP_LZ4_CHECK_BLOCKS, &lz4), -EINVAL);
	drop(&file);
}

static int refuse_header(unsigned char flags, unsigned char size, int is_summed)
{
	struct file file = { 0 };
	int err;

	add_frame(&file, "hello", 5, false, 0);
	file.bytes[4] = flags;
	file.bytes[5] = size;
	file.bytes[6] = (unsigned char)((XXH32(file.bytes + 4, 2, 0) >> 8) + !is_summed);
	err = refuse(&file);
	drop(&file);
	return err;
}

static void headers_that_are_not_known_are_refused(void **state)
{
	char *s = text(3 * BLOCK, 5);
	struct file file = { 0 };
	LZ4F_preferences_t linked = prefs_of(false, 0, 0);

	(void)state;
	assert_int_equal(refuse_header(0x60, 0x40, 0), -EUCLEAN);
	assert_int_equal(refuse_header(0x20, 0x40, 1), -EPROTONOSUPPORT); /* version 0 */
	assert_int_equal(refuse_header(0xa0, 0x40, 1), -EPROTONOSUPPORT); /* version 2 */
	assert_int_equal(refuse_header(0x62, 0x40, 1), -EPROTONOSUPPORT); /* reserved */
	assert_int_equal(refuse_header(0x60, 0x41, 1), -EPROTONOSUPPORT);
	assert_int_equal(refuse_header(0x60, 0xc0, 1), -EPROTONOSUPPORT);
	assert_int_equal(refuse_header(0x60, 0x30, 1), -EPROTONOSUPPORT); /* no such block size */
	assert_int_equal(refuse_header(0x40, 0x40, 1), -EOPNOTSUPP);	  /* linked */
	linked.frameInfo.blockMode = LZ4F_blockLinked;
	add_frame_as(&file, s, 3 * BLOCK, &linked);
	assert_int_equal(refuse(&file), -EOPNOTSUPP);
	drop(&file);
	linked = prefs_of(false, 0, 0);
	linked.frameInfo.dictID = 7;
	add_frame_as(&file, s, 100, &linked);
	assert_int_equal(refuse(&file), -EOPNOTSUPP);
	drop(&file);
	free(s);
}

static void a_file_cut_short_anywhere_is_refused(void **state)
{
	char *s = text(300, 6);
	struct file file = { 0 };
	size_t whole, first;

	(void)state;
	add_frame(&file, s, 300, true, ALL);
	first = file.size;
	add_skippable(&file, 2, "between", 7);
	add_frame(&file, s, 300, false, ALL);
	whole = file.size;
	for (file.size = 0; file.size < whole; file.size++)
		if (file.size != first && file.size != first + 15)
			assert_int_equal(refuse(&file), file.size < 4 ? -ENOTUNIQ : -ENODATA);
	file.size = whole;
	drop(&file);
	free(s);
}

/* All that the checksums, the lengths and the index do not forbid is the same content. */
static void a_changed_byte_is_noticed_or_harmless(void **state)
{
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	char *s = text(BLOCK + 300, 7), *got = malloc(BLOCK + 300);
	struct file file;
	struct file all;
	comap_lz4 *lz4;
	unsigned refused = 0, damaged = 0, harmless = 0;

	(void)state;
	memset(s, 'y', BLOCK - 100); /* short, for there are many bytes to change */
	opts.flags = ALL;
	file = written(s, BLOCK + 300, &opts, 1);
	for (size_t i = 0; i < file.size; i++)
		for (unsigned bit = 1; bit < 256; bit *= i % 7 ? 16 : 2) {
			file.bytes[i] ^= (unsigned char)bit;
			if (try_open(&file, 0, &lz4) < 0) {
				refused++;
			} else {
				if (info_of(lz4).content_size != BLOCK + 300 ||
				    comap_lz4_inflate(lz4, got, BLOCK + 300, 1, ALL) < 0)
					damaged++;
				else
					harmless++, assert_memory_equal(got, s, BLOCK + 300);
				comap_lz4_close(lz4);
			}
			if (i % 16 == 0 || i < 100) {
				if (unpack(&file, 1, ALL, &all) == 0)
					assert_memory_equal(all.bytes, s, BLOCK + 300);
				drop(&all);
			}
			file.bytes[i] ^= (unsigned char)bit;
		}
	assert_true(refused && damaged && harmless);
	drop(&file);
	free(got);
	free(s);
}

static void damage_is_noticed_by_the_checksum_that_was_asked_for(void **state)
{
	char *s = text(3 * BLOCK, 8), *got = malloc(3 * BLOCK);
	struct file file = { 0 }, all;
	const char *hit;
	comap_lz4 *lz4;

	(void)state;
	add_frame(&file, s, 3 * BLOCK, false, ALL);
	/* a literal of the first block */
	hit = memchr(file.bytes + 12, 'h', 1000);
	assert_non_null(hit);
	file.bytes[hit - (char *)file.bytes] = 'H';
	lz4 = open_it(&file, 0);
	assert_int_equal(comap_lz4_read(lz4, 5, got, 100, 0), 100);
	assert_int_equal(comap_lz4_read(lz4, 5, got, 100, COMAP_LZ4_CHECK_BLOCKS), -EUCLEAN);
	assert_int_equal(comap_lz4_read(lz4, 5, got, 100, 0), 100);
	assert_int_equal(comap_lz4_read(lz4, 0, got, BLOCK, COMAP_LZ4_CHECK_BLOCKS), -EUCLEAN);
	assert_int_equal(comap_lz4_read(lz4, BLOCK + 5, got, 100, COMAP_LZ4_CHECK_BLOCKS), 100);
	for (unsigned threads = 1; threads < 4; threads++) {
		assert_int_equal(comap_lz4_inflate(lz4, got, 3 * BLOCK, threads, 0), 0);
		assert_int_equal(comap_lz4_inflate(lz4, got, 3 * BLOCK, threads,
						   COMAP_LZ4_CHECK_BLOCKS),
				 -EUCLEAN);
		assert_int_equal(comap_lz4_inflate(lz4, got, 3 * BLOCK, threads,
						   COMAP_LZ4_CHECK_CONTENT),
				 -EUCLEAN);
		assert_non_null(strstr(comap_view_reason(), "inflate"));
		for (uint32_t checks = 0; checks <= ALL; checks++) {
			assert_int_equal(unpack(&file, threads, checks, &all), checks ? -EUCLEAN : 0);
			assert_int_equal(all.size, checks ? 0 : 3 * BLOCK);
			drop(&all);
		}
	}
	comap_lz4_close(lz4);
	drop(&file);
	free(got);
	free(s);
}

static void a_content_size_that_lies_is_refused_and_takes_no_memory(void **state)
{
	static const uint64_t lies[] = { 1, 4, 6, BLOCK, 1ull << 40, UINT64_MAX };
	const char *blocks[] = { "hello" };
	static const size_t lengths[] = { 5 | CM_LZ4_STORED };
	struct file file = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		add_raw_frame(&file, lies[i], blocks, lengths, 1);
		assert_int_equal(refuse(&file), -EUCLEAN);
		drop(&file);
	}
	add_raw_frame(&file, 5, blocks, lengths, 1);
	assert_holds(&file, "hello", 5, 0);
	drop(&file);
}

/* By its size all blocks but the last are full. */
static void a_stored_block_that_is_not_full_where_all_must_be_is_refused(void **state)
{
	const char *blocks[] = { "hello", "\x10" "x" };
	static const size_t lengths[] = { 5 | CM_LZ4_STORED, 2 };
	struct file file = { 0 };

	(void)state;
	add_raw_frame(&file, BLOCK + 1, blocks, lengths, 2);
	assert_int_equal(refuse(&file), -EUCLEAN);
	drop(&file);
}

/* A block that says it goes on for 16 MiB, in a few KiB, and one whose length is cut. */
static void a_block_that_becomes_too_long_is_refused(void **state)
{
	struct file file = { 0 };
	char *long_run = malloc(60000);
	comap_lz4 *lz4;
	const char *blocks[] = { long_run };
	size_t lengths[] = { 60000 };

	(void)state;
	memset(long_run, 0xff, 60000);
	memcpy(long_run, "\x1f" "a" "\x01\x00", 4);
	add_raw_frame(&file, 0, blocks, lengths, 1);
	assert_int_equal(refuse(&file), -EUCLEAN);
	drop(&file);
	memcpy(long_run + 59990, "\x00\x50" "abcde" "\x00\x00\x00", 10);
	add_raw_frame(&file, 0, blocks, lengths, 1);
	assert_int_equal(refuse(&file), -EUCLEAN);
	drop(&file);
	/* 1 + 65529 bytes, and 7 literals */
	memcpy(long_run + 4 + 65510 / 255, "\xe6\x70" "abcdefg", 9);
	lengths[0] = 4 + 65510 / 255 + 9;
	add_raw_frame(&file, 0, blocks, lengths, 1);
	assert_int_equal(refuse(&file), -EUCLEAN);
	drop(&file);
	/* and with 6 they are just as many as a block may have */
	long_run[5 + 65510 / 255] = '\x60';
	lengths[0]--;
	add_raw_frame(&file, 0, blocks, lengths, 1);
	assert_int_equal(cm_lz4_measure(long_run, lengths[0], BLOCK), BLOCK);
	lz4 = open_it(&file, 0);
	assert_int_equal(info_of(lz4).content_size, BLOCK);
	comap_lz4_close(lz4);
	drop(&file);
	lengths[0] = (BLOCK + 1) | CM_LZ4_STORED;
	free(long_run);
	long_run = calloc(1, BLOCK + 1);
	blocks[0] = long_run;
	add_raw_frame(&file, 0, blocks, lengths, 1);
	assert_int_equal(refuse(&file), -EUCLEAN);
	drop(&file);
	free(long_run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(what_is_no_lz4_file_is_told_apart),
		FX_FOLDER_TEST(headers_that_are_not_known_are_refused),
		FX_FOLDER_TEST(a_file_cut_short_anywhere_is_refused),
		FX_FOLDER_TEST(a_changed_byte_is_noticed_or_harmless),
		FX_FOLDER_TEST(damage_is_noticed_by_the_checksum_that_was_asked_for),
		FX_FOLDER_TEST(a_content_size_that_lies_is_refused_and_takes_no_memory),
		FX_FOLDER_TEST(a_stored_block_that_is_not_full_where_all_must_be_is_refused),
		FX_FOLDER_TEST(a_block_that_becomes_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
