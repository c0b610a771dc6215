/*
 * lz4_fixture.h - what the tests of LZ4 views share: frames in memory, and what must come out of
 * them.
 *
 * What others write is made by liblz4's own frames (LZ4F).
 */
#ifndef UNIT_LZ4_FIXTURE_H
#define UNIT_LZ4_FIXTURE_H

#include <fcntl.h>
#include <lz4frame.h>
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

static inline void add(struct file *file, const void *bytes, size_t n)
{
	if (file->size + n >= file->room) {
		file->room = 2 * (file->size + n) + 1;
		file->bytes = realloc(file->bytes, file->room);
		assert_non_null(file->bytes);
	}
	memcpy(file->bytes + file->size, bytes, n);
	file->size += n;
}

static inline void add_file(struct file *file, const char *path)
{
	FILE *f = fopen(path, "re");
	char bytes[4096];
	size_t got;

	assert_non_null(f);
	while ((got = fread(bytes, 1, sizeof bytes, f)) > 0)
		add(file, bytes, got);
	fclose(f);
}

static inline void drop(struct file *file)
{
	free(file->bytes);
	*file = (struct file){ 0 };
}

static inline void set_u32(unsigned char *to, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		to[i] = (unsigned char)(n >> (8 * i));
}

static inline void add_u32(struct file *file, uint32_t n)
{
	unsigned char bytes[4];

	set_u32(bytes, n);
	add(file, bytes, 4);
}

/* Words in a random order: compresses to a half, and each offset looks different. */
static inline char *text(size_t n, uint64_t seed)
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

static inline LZ4F_preferences_t prefs_of(bool has_size, uint32_t checks, size_t size)
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

static inline void add_frame_as(struct file *file, const char *from, size_t n,
				const LZ4F_preferences_t *prefs)
{
	size_t room = LZ4F_compressFrameBound(n, prefs), got;
	char *to = malloc(room);

	assert_non_null(to);
	got = LZ4F_compressFrame(to, room, from, n, prefs);
	assert_false(LZ4F_isError(got));
	add(file, to, got);
	free(to);
}

static inline void add_frame(struct file *file, const char *from, size_t n, bool has_size, uint32_t checks)
{
	LZ4F_preferences_t prefs = prefs_of(has_size, checks, n);

	add_frame_as(file, from, n, &prefs);
}

/* A frame flushed after each of the pieces, which end at cuts. */
static inline void add_flushed(struct file *file, const char *from, const size_t *cuts, size_t ncuts,
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

/* From a magic up to the end mark, by hand. */
static inline void add_raw_frame(struct file *file, uint64_t declared, const char *const *blocks,
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

static inline void add_skippable(struct file *file, uint32_t kind, const void *bytes, uint32_t n)
{
	add_u32(file, CM_LZ4_MAGIC_SKIP + kind);
	add_u32(file, n);
	add(file, bytes, n);
}

/* ---- looking at them ----------------------------------------------------------------- */

static inline int try_open(const struct file *file, uint32_t flags, comap_lz4 **ret)
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

static inline comap_lz4 *open_it(const struct file *file, uint32_t flags)
{
	comap_lz4 *lz4 = NULL;

	assert_int_equal(try_open(file, flags, &lz4), 0);
	return lz4;
}

static inline struct comap_lz4_info info_of(const comap_lz4 *lz4)
{
	struct comap_lz4_info info = { .size = sizeof info };

	assert_int_equal(comap_lz4_get_info(lz4, &info), 0);
	return info;
}

static inline void assert_content(comap_lz4 *lz4, const char *want, size_t n)
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

/* Into a file, and what is there then; -errno of the unpacking. */
static inline int unpack(const struct file *file, unsigned threads, uint32_t flags, struct file *ret)
{
	const char *path = fx_path(fx_folder, "unpacked");
	comap_writer *writer;
	comap_view *view;
	int err;

	*ret = (struct file){ 0 };
	assert_int_equal(comap_writer_open(path, NULL, &writer), 0);
	assert_int_equal(comap_view_open_memory(file->size ? file->bytes : (void *)"", file->size,
						NULL, NULL, &view),
			 0);
	err = comap_lz4_unpack(view, writer, threads, flags);
	comap_view_close(view);
	if (err < 0)
		assert_non_null(strstr(comap_view_reason(), "unpack"));
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	add_file(ret, path);
	return err;
}

static inline int refuse(const struct file *file)
{
	comap_lz4 *lz4 = (comap_lz4 *)(uintptr_t)1;
	int err = try_open(file, 0, &lz4);
	struct file got;

	assert_ptr_equal(lz4, (void *)(uintptr_t)1);
	assert_int_equal(unpack(file, 2, 0, &got), err);
	drop(&got);
	return err;
}

static inline void assert_unpacks(const struct file *file, const char *want, size_t n)
{
	struct file got;

	for (unsigned threads = 0; threads < 4; threads++) {
		assert_int_equal(unpack(file, threads, threads % 2 ? ALL : 0, &got), 0);
		assert_int_equal(got.size, n);
		if (n)
			assert_memory_equal(got.bytes, want, n);
		drop(&got);
	}
}

static inline void assert_holds(const struct file *file, const char *want, size_t n, uint32_t flags)
{
	comap_lz4 *lz4 = open_it(file, flags);

	assert_content(lz4, want, n);
	comap_lz4_close(lz4);
	assert_unpacks(file, want, n);
}

/* What we write of s, so many times, one frame behind the other. */
static inline struct file written(const char *s, size_t n, const struct comap_lz4_write_opts *opts,
				  int times)
{
	const char *path = fx_path(fx_folder, "written.lz4");
	struct file file = { 0 };
	comap_writer *writer;

	assert_int_equal(comap_writer_open(path, NULL, &writer), 0);
	for (int i = 0; i < times; i++)
		assert_int_equal(comap_lz4_write(writer, (struct comap_bytes){ s, n }, opts), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	add_file(&file, path);
	return file;
}

#endif
