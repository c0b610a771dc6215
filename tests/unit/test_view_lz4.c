/*
 * test_view_lz4.c - .lz4 files read at any place, inflated and written by several threads (lz4_*.c, crew.c).
 *
 * What others write is made here by liblz4's own frames (LZ4F), and what we write is read by them.
 */
#include <fcntl.h>
#include <lz4frame.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <xxhash.h>
#include "fixture.h"
#include "view/lz4.h"

#define BLOCK (64u * 1024)
#define ALL (COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT)

/* ---- content, and files of it ---------------------------------------------------------------- */

struct file {
	unsigned char *bytes;
	size_t size, room;
};

static void add(struct file *file, const void *bytes, size_t n)
{
	if (file->size + n >= file->room) {
		file->room = 2 * (file->size + n) + 1;
		file->bytes = realloc(file->bytes, file->room);
		assert_non_null(file->bytes);
	}
	memcpy(file->bytes + file->size, bytes, n);
	file->size += n;
}

static void drop(struct file *file)
{
	free(file->bytes);
	*file = (struct file){ 0 };
}

static void set_u32(unsigned char *to, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		to[i] = (unsigned char)(n >> (8 * i));
}

static void add_u32(struct file *file, uint32_t n)
{
	unsigned char bytes[4];

	set_u32(bytes, n);
	add(file, bytes, 4);
}

/* Words in a random order: compresses to a half, and each offset looks different. */
static char *text(size_t n, uint64_t seed)
{
	static const char *const words[] = { "heap ",  "block ", "the ", "of a ",
					     "frame ", "is\n",	 "17 ",	 "x" };
	char *s = malloc(n + 16);

	assert_non_null(s);
	for (size_t i = 0; i < n;) {
		const char *word = words[fx_random(&seed) % 8];

		memcpy(s + i, word, strlen(word) + 1);
		i += strlen(word);
	}
	return s;
}

static LZ4F_preferences_t prefs_of(bool has_size, uint32_t checks, size_t size)
{
	return (LZ4F_preferences_t){
		.frameInfo = {
			.blockSizeID = LZ4F_max64KB,
			.blockMode = LZ4F_blockIndependent,
			.contentSize = has_size ? size : 0,
			.blockChecksumFlag = checks & COMAP_LZ4_CHECK_BLOCKS ? 1 : 0,
			.contentChecksumFlag = checks & COMAP_LZ4_CHECK_CONTENT ? 1 : 0,
		},
	};
}

static void add_frame_as(struct file *file, const char *from, size_t n, const LZ4F_preferences_t *prefs)
{
	size_t room = LZ4F_compressFrameBound(n, prefs), got;
	char *to = malloc(room);

	assert_non_null(to);
	got = LZ4F_compressFrame(to, room, from, n, prefs);
	assert_false(LZ4F_isError(got));
	add(file, to, got);
	free(to);
}

static void add_frame(struct file *file, const char *from, size_t n, bool has_size, uint32_t checks)
{
	LZ4F_preferences_t prefs = prefs_of(has_size, checks, n);

	add_frame_as(file, from, n, &prefs);
}

/* A frame flushed after each of the pieces, which end at cuts. */
static void add_flushed(struct file *file, const char *from, const size_t *cuts, size_t ncuts,
			bool has_size)
{
	LZ4F_preferences_t prefs = prefs_of(has_size, ALL, cuts[ncuts - 1]);
	size_t room = LZ4F_compressBound(cuts[ncuts - 1], &prefs) + 64, at = 0, got;
	char *to = malloc(room);
	LZ4F_cctx *ctx;

	assert_non_null(to);
	assert_int_equal(LZ4F_createCompressionContext(&ctx, LZ4F_VERSION), 0);
	add(file, to, LZ4F_compressBegin(ctx, to, room, &prefs));
	for (size_t i = 0; i < ncuts; at = cuts[i++]) {
		got = LZ4F_compressUpdate(ctx, to, room, from + at, cuts[i] - at, NULL);
		assert_false(LZ4F_isError(got));
		add(file, to, got);
		got = LZ4F_flush(ctx, to, room, NULL);
		assert_false(LZ4F_isError(got));
		add(file, to, got);
	}
	got = LZ4F_compressEnd(ctx, to, room, NULL);
	assert_false(LZ4F_isError(got));
	add(file, to, got);
	LZ4F_freeCompressionContext(ctx);
	free(to);
}

static void add_skippable(struct file *file, uint32_t kind, const void *bytes, uint32_t n)
{
	add_u32(file, CM_LZ4_MAGIC_SKIP + kind);
	add_u32(file, n);
	add(file, bytes, n);
}

/* ---- looking at them ---------------------------------------------------------------------------- */

static int try_open(const struct file *file, uint32_t flags, comap_lz4 **ret)
{
	comap_view *view;
	int err;

	assert_int_equal(comap_view_open_memory(file->size ? file->bytes : (void *)"", file->size,
						NULL, NULL, &view),
			 0);
	err = comap_lz4_open(view, flags, ret);
	comap_view_close(view);
	if (err < 0)
		assert_non_null(strstr(comap_view_reason(), "LZ4"));
	return err;
}

static comap_lz4 *open_it(const struct file *file, uint32_t flags)
{
	comap_lz4 *lz4 = NULL;

	assert_int_equal(try_open(file, flags, &lz4), 0);
	return lz4;
}

static int refuse(const struct file *file)
{
	comap_lz4 *lz4 = (comap_lz4 *)(uintptr_t)1;
	int err = try_open(file, 0, &lz4);

	assert_ptr_equal(lz4, (void *)(uintptr_t)1);
	return err;
}

static struct comap_lz4_info info_of(const comap_lz4 *lz4)
{
	struct comap_lz4_info info = { .size = sizeof info };

	assert_int_equal(comap_lz4_get_info(lz4, &info), 0);
	return info;
}

static void assert_content(comap_lz4 *lz4, const char *want, size_t n)
{
	char *got = malloc(n + 1);
	uint64_t seed = n;

	assert_non_null(got);
	assert_int_equal(info_of(lz4).content_size, n);
	for (unsigned threads = 0; threads < 4; threads++) {
		memset(got, 0xee, n + 1);
		assert_int_equal(comap_lz4_inflate(lz4, got, n, threads, threads % 2 ? ALL : 0), 0);
		assert_memory_equal(got, want, n);
		assert_int_equal((unsigned char)got[n], 0xee);
	}
	for (int i = 0; i < 200; i++) {
		uint64_t off = fx_random(&seed) % (n + 10), most = i % 10 ? 100 : 3 * BLOCK;
		size_t ask = fx_random(&seed) % most, is = off >= n ? 0 : cm_min(ask, n - off);

		memset(got, 0xee, n + 1);
		assert_int_equal(comap_lz4_read(lz4, off, got, ask > n ? n : ask, 0), is);
		assert_memory_equal(got, want + (is ? off : 0), is);
		assert_int_equal((unsigned char)got[is], 0xee);
	}
	free(got);
}

static void assert_holds(const struct file *file, const char *want, size_t n, uint32_t flags)
{
	comap_lz4 *lz4 = open_it(file, flags);

	assert_content(lz4, want, n);
	comap_lz4_close(lz4);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

static void each_byte_of_a_frame_is_read_as_it_was_written(void **state)
{
	static const size_t sizes[] = { 0, 1, 13, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17 };
	char *s = text(6 * BLOCK, 1);

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (unsigned how = 0; how < 8; how++) {
			struct file file = { 0 };

			add_frame(&file, s, sizes[i], how & 4, how & ALL);
			assert_holds(&file, s, sizes[i], 0);
			drop(&file);
		}
	free(s);
}

static void frames_one_after_the_other_are_one_content(void **state)
{
	char *s = text(4 * BLOCK, 2);
	struct file file = { 0 };
	LZ4F_preferences_t large = prefs_of(false, COMAP_LZ4_CHECK_CONTENT, 0);
	comap_lz4 *lz4;
	struct comap_lz4_info info;

	(void)state;
	large.frameInfo.blockSizeID = LZ4F_max1MB;
	add_skippable(&file, 0, "hello", 5);
	add_frame(&file, s, 100, false, ALL);
	add_frame(&file, s, 0, false, ALL);
	add_skippable(&file, 15, "", 0);
	add_frame_as(&file, s + 100, 2 * BLOCK, &large);
	add_frame(&file, s + 100 + 2 * BLOCK, BLOCK + 5, true, ALL);
	add_skippable(&file, 14, "no index, 48 bytes and more of it, but nothing that counts", 58);
	assert_holds(&file, s, 3 * BLOCK + 105, 0);
	lz4 = open_it(&file, 0);
	info = info_of(lz4);
	assert_int_equal(info.frames, 4);
	assert_int_equal(info.blocks, 1 + 0 + 1 + 2);
	assert_int_equal(info.block_size, 4 * BLOCK); /* that is enough for it, thinks liblz4 */
	assert_int_equal(info.checks, COMAP_LZ4_CHECK_CONTENT);
	assert_int_equal(info.has_index, 0);
	comap_lz4_close(lz4);
	drop(&file);
	free(s);
}

static void short_blocks_in_the_midst_do_not_shift_what_follows(void **state)
{
	static const size_t flushed[] = { 10, 11, BLOCK, 3 * BLOCK, 3 * BLOCK + 1000, 4 * BLOCK };
	/* the others being full, the last would just have what is left: one block is short, another is long */
	static const size_t once[] = { BLOCK - 1, 2 * BLOCK - 1 };
	char *s = text(5 * BLOCK, 3);

	(void)state;
	for (int has_size = 0; has_size < 2; has_size++) {
		struct file file = { 0 };

		add_flushed(&file, s, flushed, 6, has_size);
		assert_holds(&file, s, 4 * BLOCK, 0);
		drop(&file);
		add_flushed(&file, s, once, 2, has_size);
		assert_holds(&file, s, 2 * BLOCK - 1, 0);
		drop(&file);
	}
	free(s);
}

/* From a magic up to the end mark, by hand. */
static void add_raw_frame(struct file *file, uint64_t declared, const char *const *blocks,
			  const size_t *lengths, size_t n)
{
	unsigned char head[15] = { 0x04, 0x22, 0x4d, 0x18, 0x68, 0x40 };

	set_u32(head + 6, (uint32_t)declared);
	set_u32(head + 10, (uint32_t)(declared >> 32));
	head[14] = (unsigned char)(XXH32(head + 4, 10, 0) >> 8);
	add(file, head, 15);
	for (size_t i = 0; i < n; i++) {
		add_u32(file, (uint32_t)lengths[i]);
		add(file, blocks[i], lengths[i] & CM_LZ4_LENGTH);
	}
	add_u32(file, 0);
}

static void blocks_of_nothing_are_read_as_nothing(void **state)
{
	const char *blocks[] = { "", "\0", "ab", "\0", "" };
	static const size_t lengths[] = { CM_LZ4_STORED, 1, 2 | CM_LZ4_STORED, 1, CM_LZ4_STORED };
	struct file file = { 0 };

	(void)state;
	add_raw_frame(&file, 0, blocks, lengths, 2);
	assert_holds(&file, "", 0, 0);
	drop(&file);
	add_raw_frame(&file, 2, blocks, lengths, 5);
	add_raw_frame(&file, 0, blocks, lengths, 5);
	assert_holds(&file, "abab", 4, 0);
	drop(&file);
}

/* Four bytes behind the last match, where there should be five: liblz4 takes it when there is room. */
static void a_block_that_ends_as_no_encoder_would_is_read_as_lz4_reads_it(void **state)
{
	const char *blocks[] = { "\x1f" "a" "\x01\x00" "\xff\x02" "\x40" "bcde", "\x10" "f" };
	static const size_t lengths[] = { 11, 2 };
	char want[600], got[600];
	struct file file = { 0 };
	LZ4F_dctx *ctx;
	size_t n = sizeof got, used;

	(void)state;
	add_raw_frame(&file, 0, blocks, lengths, 2);
	assert_int_equal(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION), 0);
	used = file.size;
	assert_int_equal(LZ4F_decompress(ctx, got, &n, file.bytes, &used, NULL), 0);
	LZ4F_freeDecompressionContext(ctx);
	memset(want, 'a', 600);
	assert_int_equal(n, 1 + 276 + 4 + 1);
	memcpy(want + n - 5, "bcdef", 5);
	assert_memory_equal(got, want, n);
	assert_holds(&file, want, n, 0);
	drop(&file);
}

static void a_match_at_offset_0_is_refused_where_blocks_are_looked_through(void **state)
{
	const char *blocks[] = { "\x1f" "a" "\0\0" "\x02" "\x50" "bcdef" };
	static const size_t lengths[] = { 11 };
	struct file file = { 0 };
	comap_lz4 *lz4;
	char got[27];

	(void)state;
	add_raw_frame(&file, 0, blocks, lengths, 1);
	assert_int_equal(refuse(&file), -EUCLEAN);
	drop(&file);
	add_raw_frame(&file, 1 + 21 + 5, blocks, lengths, 1);
	assert_int_equal(try_open(&file, COMAP_LZ4_NO_INDEX, &lz4), -EUCLEAN);
	drop(&file);
	/* and elsewhere it shows nothing of the heap */
	blocks[0] = "\x1f" "a" "\x01\0" "\x02" "\x50" "bcdef";
	add_raw_frame(&file, 1 + 21 + 5, blocks, lengths, 1);
	lz4 = open_it(&file, 0);
	file.bytes[21] = 0;
	assert_int_equal(comap_lz4_read(lz4, 0, got, 25, 0), 25);
	for (int i = 1; i < 22; i++)
		assert_non_null(memchr(file.bytes, got[i], file.size)); /* zeroes are there, too */
	comap_lz4_close(lz4);
	drop(&file);
}

static void what_lies_past_the_end_is_not_read(void **state)
{
	char *s = text(BLOCK + 10, 4), got[16];
	struct file file = { 0 };
	comap_lz4 *lz4;

	(void)state;
	add_frame(&file, s, BLOCK + 10, false, 0);
	lz4 = open_it(&file, 0);
	assert_int_equal(comap_lz4_read(lz4, BLOCK + 10, got, 16, 0), 0);
	assert_int_equal(comap_lz4_read(lz4, UINT64_MAX, got, 16, 0), 0);
	assert_int_equal(comap_lz4_read(lz4, 0, NULL, 0, 0), 0);
	assert_int_equal(comap_lz4_read(lz4, BLOCK + 3, got, 16, 0), 7);
	assert_memory_equal(got, s + BLOCK + 3, 7);
	assert_int_equal(comap_lz4_read(lz4, 0, got, 16, COMAP_LZ4_CHECK_CONTENT), -EINVAL);
	assert_int_equal(comap_lz4_read(lz4, 0, got, 16, 1u << 31), -EINVAL);
	assert_int_equal(comap_lz4_inflate(lz4, s, BLOCK + 9, 1, 0), -EINVAL);
	assert_int_equal(comap_lz4_inflate(lz4, s, BLOCK + 11, 1, 0), -EINVAL);
	assert_int_equal(comap_lz4_inflate(lz4, s, BLOCK + 10, 1, COMAP_LZ4_NO_INDEX), -EINVAL);
	comap_lz4_close(lz4);
	drop(&file);
	free(s);
}

static void info_knows_older_and_newer_callers(void **state)
{
	struct {
		struct comap_lz4_info info;
		uint32_t more[4];
	} wide = { .more = { 1, 1, 1, 1 } };
	struct file file = { 0 };
	comap_lz4 *lz4;

	(void)state;
	add_frame(&file, "hello", 5, false, 0);
	lz4 = open_it(&file, 0);
	wide.info.size = sizeof wide;
	assert_int_equal(comap_lz4_get_info(lz4, &wide.info), 0);
	assert_int_equal(wide.info.size, sizeof wide);
	assert_int_equal(wide.info.content_size, 5);
	assert_true(fx_is_zero(wide.more, sizeof wide.more));
	wide.info = (struct comap_lz4_info){ .size = offsetof(struct comap_lz4_info, blocks),
					     .blocks = 99 };
	assert_int_equal(comap_lz4_get_info(lz4, &wide.info), 0);
	assert_int_equal(wide.info.content_size, 5);
	assert_int_equal(wide.info.blocks, 99);
	wide.info.size = 0;
	assert_int_equal(comap_lz4_get_info(lz4, &wide.info), -EINVAL);
	comap_lz4_close(lz4);
	drop(&file);
}

static void closing_nothing_keeps_errno(void **state)
{
	(void)state;
	errno = 77;
	comap_lz4_close(NULL);
	assert_int_equal(errno, 77);
}

/* ---- files that are not what they should be --------------------------------------------------------- */

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
	assert_int_equal(refuse_header(0x40, 0x40, 1), -ENOTSUP);	  /* linked */
	linked.frameInfo.blockMode = LZ4F_blockLinked;
	add_frame_as(&file, s, 3 * BLOCK, &linked);
	assert_int_equal(refuse(&file), -ENOTSUP);
	drop(&file);
	linked = prefs_of(false, 0, 0);
	linked.frameInfo.dictID = 7;
	add_frame_as(&file, s, 100, &linked);
	assert_int_equal(refuse(&file), -ENOTSUP);
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

/* Write s as we do, with all checksums. */
static struct file written(const char *s, size_t n, const struct comap_lz4_write_opts *opts, int times)
{
	const char *path = fx_path(fx_folder, "written.lz4");
	struct file file = { 0 };
	comap_writer *writer;
	char bytes[4096];
	size_t got;
	FILE *f;

	assert_int_equal(comap_writer_open(path, NULL, &writer), 0);
	for (int i = 0; i < times; i++)
		assert_int_equal(comap_lz4_write(writer, (struct comap_bytes){ s, n }, opts), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	f = fopen(path, "re");
	assert_non_null(f);
	while ((got = fread(bytes, 1, sizeof bytes, f)) > 0)
		add(&file, bytes, got);
	fclose(f);
	return file;
}

/* All that the checksums, the lengths and the index do not forbid is the same content. */
static void a_changed_byte_is_noticed_or_harmless(void **state)
{
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	char *s = text(BLOCK + 300, 7), *got = malloc(BLOCK + 300);
	struct file file;
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
	struct file file = { 0 };
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
	}
	assert_non_null(strstr(comap_view_reason(), "inflate"));
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

/* ---- writing ------------------------------------------------------------------------------------------ */

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

/* ---- the index ------------------------------------------------------------------------------------------ */

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

/* ---- threads, processes, signals -------------------------------------------------------------------------- */

struct crowd {
	comap_lz4 *lz4;
	const char *want;
	size_t n;
	_Atomic uint64_t seed;
};

static void *read_here_and_there(void *arg)
{
	struct crowd *crowd = arg;
	uint64_t seed = atomic_fetch_add(&crowd->seed, 1);
	char got[300];

	for (int i = 0; i < (kin_is_valgrind() ? 40 : 1000); i++) {
		uint64_t off = fx_random(&seed) % (crowd->n - sizeof got);

		if (comap_lz4_read(crowd->lz4, off, got, sizeof got,
				   i % 2 ? COMAP_LZ4_CHECK_BLOCKS : 0) != sizeof got ||
		    memcmp(got, crowd->want + off, sizeof got) != 0)
			return crowd; /* read wrong */
	}
	return NULL;
}

static void many_threads_read_at_once(void **state)
{
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	size_t n = 24 * BLOCK;
	char *s = text(n, 16);
	struct file file;
	pthread_t threads[24]; /* more than there are slots */
	struct crowd crowd = { .want = s, .n = n };
	void *wrong;

	(void)state;
	opts.flags = COMAP_LZ4_CHECK_BLOCKS;
	file = written(s, n, &opts, 1);
	crowd.lz4 = open_it(&file, 0);
	for (int i = 0; i < 24; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_here_and_there, &crowd), 0);
	for (int i = 0; i < 24; i++) {
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	comap_lz4_close(crowd.lz4);
	drop(&file);
	free(s);
}

static void when_all_slots_are_taken_reading_goes_on(void **state)
{
	char *s = text(2 * BLOCK, 17), got[20];
	struct file file = { 0 };
	comap_lz4 *lz4;

	(void)state;
	add_frame(&file, s, 2 * BLOCK, false, 0);
	lz4 = open_it(&file, 0);
	assert_int_equal(lz4->nslots, CM_LZ4_SLOTS);
	for (unsigned i = 0; i < lz4->nslots; i++) /* as threads would that a fork lost */
		cm_write(&lz4->slots[i].is_taken, 1);
	assert_int_equal(comap_lz4_read(lz4, BLOCK - 10, got, 20, 0), 20);
	assert_memory_equal(got, s + BLOCK - 10, 20);
	comap_lz4_close(lz4);
	drop(&file);
	free(s);
}

static void the_blocks_last_read_are_kept(void **state)
{
	char *s = text(20 * BLOCK, 18), got[4];
	struct file file = { 0 };
	uint64_t first;
	comap_lz4 *lz4;

	(void)state;
	add_frame(&file, s, 20 * BLOCK, false, 0);
	lz4 = open_it(&file, 0);
	first = lz4->blocks[0].at;
	for (unsigned i = 0; i < 18; i++)
		assert_int_equal(comap_lz4_read(lz4, i * BLOCK + 9, got, 4, 0), 4);
	/* damage shows who is decoded anew */
	memset(file.bytes + first, 0xff, lz4->blocks[19].at - first);
	for (unsigned i = 2; i < 18; i++)
		assert_int_equal(comap_lz4_read(lz4, i * BLOCK + 7, got, 4, 0), 4);
	assert_int_equal(comap_lz4_read(lz4, 0, got, 4, 0), -EUCLEAN);
	assert_int_equal(comap_lz4_read(lz4, BLOCK, got, 4, 0), -EUCLEAN);
	comap_lz4_close(lz4);
	drop(&file);
	free(s);
}

/* A block's first bytes, then more of it, both ways round and from its very end. */
static void a_block_decoded_in_part_is_decoded_further_when_more_is_wanted(void **state)
{
	char *s = text(2 * BLOCK, 24), got[100];
	static const size_t offs[] = { 0, 50, 40000, 10, BLOCK - 100, 3000 };
	struct file file = { 0 };
	comap_lz4 *lz4;

	(void)state;
	fx_fill(s + BLOCK, BLOCK, 3); /* stored */
	add_frame(&file, s, 2 * BLOCK, false, COMAP_LZ4_CHECK_BLOCKS);
	for (size_t at = 0; at < 2 * BLOCK; at += BLOCK)
		for (unsigned flags = 0; flags < 4; flags++) {
			lz4 = open_it(&file, 0);
			for (size_t i = 0; i < 6; i++) {
				memset(got, 0, sizeof got);
				assert_int_equal(comap_lz4_read(lz4, at + offs[i], got, 100,
								(flags >> i % 2) & 1),
						 100);
				assert_memory_equal(got, s + at + offs[i], 100);
				assert_int_equal(lz4->slots[0].ready, i == 0 ? 100 : BLOCK);
			}
			assert_null(lz4->slots[1].bytes);
			comap_lz4_close(lz4);
		}
	drop(&file);
	free(s);
}

static comap_view *map(const char *path)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	opts.how = COMAP_VIEW_MAP;
	assert_int_equal(comap_view_open(path, &opts, &view), 0);
	return view;
}

static int cut(void *path)
{
	KIN_CHECK(truncate(path, 3 * BLOCK / 2 + 100) == 0);
	return 0;
}

static void a_file_that_another_process_cut_short_is_an_error(void **state)
{
	char *s = text(8 * BLOCK, 19), *got = malloc(8 * BLOCK);
	struct file file;
	comap_view *view, *tail;
	comap_lz4 *lz4;
	const char *path;

	(void)state;
	file = written(s, 8 * BLOCK, NULL, 1);
	path = fx_path(fx_folder, "written.lz4");
	view = map(path);
	assert_int_equal(comap_lz4_open(view, 0, &lz4), 0);
	assert_int_equal(kin_run(cut, (void *)(uintptr_t)path), 0);
	assert_int_equal(comap_lz4_read(lz4, 7 * BLOCK, got, 100, 0), -ENODATA);
	assert_int_equal(comap_lz4_read(lz4, 7 * BLOCK, got, BLOCK, 0), -ENODATA);
	assert_int_equal(comap_lz4_inflate(lz4, got, 8 * BLOCK, 2, 0), -ENODATA);
	assert_non_null(strstr(comap_view_reason(), "written.lz4"));
	comap_lz4_close(lz4);
	assert_int_equal(comap_lz4_open(view, 0, &lz4), -ENODATA);
	assert_int_equal(comap_lz4_open(view, COMAP_LZ4_NO_INDEX, &lz4), -ENODATA);
	assert_int_equal(comap_view_sub(view, BLOCK * 2, 100, &tail), 0);
	assert_int_equal(comap_lz4_open(tail, 0, &lz4), -ENODATA);
	comap_view_close(tail);
	comap_view_close(view);
	drop(&file);
	free(got);
	free(s);
}

/* Without a descriptor nobody can ask for the length: only the guards see it, in each thread. */
static void where_guards_are_installed_what_goes_meanwhile_is_an_error(void **state)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	char *s = text(40 * BLOCK, 25), *got = malloc(40 * BLOCK);
	struct file file = written(s, 40 * BLOCK, NULL, 1);
	const char *path = fx_path(fx_folder, "written.lz4");
	comap_view *view;
	comap_lz4 *lz4;

	(void)state;
	opts.how = COMAP_VIEW_MAP;
	opts.flags = COMAP_VIEW_NO_FD;
	assert_int_equal(comap_view_open(path, &opts, &view), 0);
	assert_int_equal(comap_lz4_open(view, 0, &lz4), 0);
	assert_int_equal(comap_guard_install(), 0);
	assert_int_equal(comap_lz4_read(lz4, 2, got, 100, 0), 100);
	assert_int_equal(kin_run(cut, (void *)(uintptr_t)path), 0);
	assert_int_equal(comap_lz4_inflate(lz4, got, 40 * BLOCK, 3, 0), -ENODATA);
	assert_int_equal(comap_lz4_read(lz4, 37 * BLOCK + 5, got, 100, 0), -ENODATA);
	comap_lz4_close(lz4);
	assert_int_equal(comap_lz4_open(view, 0, &lz4), -ENODATA);
	comap_guard_remove();
	comap_view_close(view);
	drop(&file);
	free(got);
	free(s);
}

static void a_part_of_a_file_is_read_and_the_view_may_be_closed_before(void **state)
{
	char *s = text(2 * BLOCK, 20);
	struct file file = written(s, 2 * BLOCK, NULL, 1);
	const char *path = fx_path(fx_folder, "part.lz4");
	comap_view *view, *part;
	comap_lz4 *lz4;
	FILE *f = fopen(path, "we");

	(void)state;
	assert_non_null(f);
	assert_int_equal(fwrite(s, 1, 4097, f), 4097);
	assert_int_equal(fwrite(file.bytes, 1, file.size, f), file.size);
	fclose(f);
	view = map(path);
	assert_int_equal(comap_view_sub(view, 4097, file.size, &part), 0);
	assert_int_equal(comap_lz4_open(part, 0, &lz4), 0);
	comap_view_close(view);
	comap_view_close(part);
	assert_content(lz4, s, 2 * BLOCK);
	comap_lz4_close(lz4);
	drop(&file);
	free(s);
}

static _Atomic uint32_t ticks, strangers;
static pthread_t first_thread;

static void tick(int signal)
{
	(void)signal;
	ticks++;
	if (!pthread_equal(pthread_self(), first_thread))
		strangers++;
}

static void signals_disturb_nothing_and_reach_no_thread_of_ours(void **state)
{
	int us = kin_is_valgrind() ? 50000 : 300;
	struct itimerval often = { { 0, us }, { 0, us } }, never = { { 0, 0 }, { 0, 0 } };
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	struct sigaction act = { .sa_handler = tick }, before;
	size_t n = 100 * BLOCK;
	char *s = text(n, 21), *got = malloc(n);
	struct file file;
	comap_lz4 *lz4;

	(void)state;
	first_thread = pthread_self();
	opts.threads = 4;
	opts.flags = ALL;
	assert_int_equal(sigaction(SIGALRM, &act, &before), 0);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 3; i++) {
		file = written(s, n, &opts, 1);
		lz4 = open_it(&file, 0);
		assert_int_equal(comap_lz4_inflate(lz4, got, n, 4, ALL), 0);
		assert_memory_equal(got, s, n);
		comap_lz4_close(lz4);
		drop(&file);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN); /* also one that is under way */
	sigaction(SIGALRM, &before, NULL);
	assert_true(ticks > 0);
	assert_int_equal(strangers, 0);
	free(got);
	free(s);
}

static int read_without_memory(void *arg)
{
	struct file *file = arg;
	char byte;
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	struct rlimit limit;
	comap_lz4 *lz4 = open_it(file, 0);

	KIN_CHECK(f && fscanf(f, "%zu", &pages) == 1);
	fclose(f);
	limit.rlim_cur = limit.rlim_max = pages * 4096 + 1024 * 1024;
	KIN_CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	while (malloc(16 * BLOCK)) /* what was free before counts, too */
		;
	KIN_CHECK(comap_lz4_read(lz4, 0, &byte, 1, 0) == -ENOMEM);
	KIN_CHECK(strstr(comap_view_reason(), "read"));
	comap_lz4_close(lz4);
	return 0;
}

static void no_memory_is_an_error(void **state)
{
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	struct file file;
	char *s;

	(void)state;
	if (FX_IS_SANITIZED || kin_is_valgrind())
		skip();
	s = text(3 * BLOCK, 22);
	opts.block_size = 64 * BLOCK;
	file = written(s, 3 * BLOCK, &opts, 1);
	assert_int_equal(kin_run(read_without_memory, &file), 0);
	drop(&file);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(each_byte_of_a_frame_is_read_as_it_was_written),
		FX_FOLDER_TEST(frames_one_after_the_other_are_one_content),
		FX_FOLDER_TEST(short_blocks_in_the_midst_do_not_shift_what_follows),
		FX_FOLDER_TEST(blocks_of_nothing_are_read_as_nothing),
		FX_FOLDER_TEST(a_block_that_ends_as_no_encoder_would_is_read_as_lz4_reads_it),
		FX_FOLDER_TEST(a_match_at_offset_0_is_refused_where_blocks_are_looked_through),
		FX_FOLDER_TEST(what_lies_past_the_end_is_not_read),
		FX_FOLDER_TEST(info_knows_older_and_newer_callers),
		FX_FOLDER_TEST(closing_nothing_keeps_errno),
		FX_FOLDER_TEST(what_is_no_lz4_file_is_told_apart),
		FX_FOLDER_TEST(headers_that_are_not_known_are_refused),
		FX_FOLDER_TEST(a_file_cut_short_anywhere_is_refused),
		FX_FOLDER_TEST(a_changed_byte_is_noticed_or_harmless),
		FX_FOLDER_TEST(damage_is_noticed_by_the_checksum_that_was_asked_for),
		FX_FOLDER_TEST(a_content_size_that_lies_is_refused_and_takes_no_memory),
		FX_FOLDER_TEST(a_block_that_becomes_too_long_is_refused),
		FX_FOLDER_TEST(what_we_write_lz4_reads_and_we_read_by_its_index),
		FX_FOLDER_TEST(higher_levels_make_it_shorter),
		FX_FOLDER_TEST(bad_options_are_refused_and_write_nothing),
		FX_FOLDER_TEST(a_full_disk_ends_the_writing_with_an_error),
		FX_FOLDER_TEST(frames_that_each_have_an_index_are_found_by_them),
		FX_FOLDER_TEST(an_index_that_does_not_describe_all_is_passed_over),
		FX_FOLDER_TEST(an_index_with_a_wrong_word_is_passed_over),
		FX_FOLDER_TEST(an_index_whose_frame_has_another_end_is_passed_over),
		FX_FOLDER_TEST(an_index_that_lies_is_noticed_when_its_blocks_are_decoded),
		FX_FOLDER_TEST(many_threads_read_at_once),
		FX_FOLDER_TEST(when_all_slots_are_taken_reading_goes_on),
		FX_FOLDER_TEST(the_blocks_last_read_are_kept),
		FX_FOLDER_TEST(a_block_decoded_in_part_is_decoded_further_when_more_is_wanted),
		FX_FOLDER_TEST(a_file_that_another_process_cut_short_is_an_error),
		FX_FOLDER_TEST(where_guards_are_installed_what_goes_meanwhile_is_an_error),
		FX_FOLDER_TEST(a_part_of_a_file_is_read_and_the_view_may_be_closed_before),
		FX_FOLDER_TEST(signals_disturb_nothing_and_reach_no_thread_of_ours),
		FX_FOLDER_TEST(no_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
