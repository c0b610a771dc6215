/*
 * fuzz_lz4.c - is a .lz4 file read as liblz4 reads it, at any place, by any way?
 *
 * The bytes of an input are the file.  True must be, whatever they are:
 *
 *   - what liblz4's own reader (LZ4F) takes from its beginning to its end, we take, and the same
 *     comes out; but for linked blocks and dictionaries, which are -EOPNOTSUPP;
 *   - what we inflate with all checksums, it takes;
 *   - when all of it could be inflated, each read gives the same bytes, with or without checksums,
 *     twice, and whether an index was used or not;
 *   - comap_lz4_unpack makes a file of the same bytes, or fails where inflating does;
 *   - an error is one of those that lz4view.h names.
 *
 * A match at offset 0 is the exception: what it becomes depends on what was in memory, so we refuse
 * it where we see it and liblz4 does not, and nothing is compared then.
 *
 * When inflating failed, a read gives bytes or an error: some blocks may be sound.
 */
#include <errno.h>
#include <lz4frame.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <comap/lz4view.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECKS (COMAP_LZ4_CHECK_BLOCKS | COMAP_LZ4_CHECK_CONTENT)
#define CONTENT_MOST (64u << 20)
#define READS 24

#define MUST(x) ((x) ? (void)0 : must_fail(#x))

static void must_fail(const char *what)
{
	fprintf(stderr, "fuzz_lz4: not so: %s\n", what);
	abort();
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 17;
}

/* What became of the file, one way.  is_odd: it may become different things. */
struct found {
	int err; /* of opening it */
	bool is_odd, is_whole, is_checked, has_index;
	char *content;
	uint64_t size;
};

/* ---- the exception ------------------------------------------------------------------- */

static uint64_t add_length(const uint8_t *block, size_t n, size_t *at, uint64_t length, uint64_t most)
{
	if (length < most)
		return length;
	while (*at < n && block[*at] == 255)
		length += 255, ++*at;
	return *at < n ? length + block[(*at)++] : length;
}

static bool has_zero_offset(const uint8_t *block, size_t n)
{
	size_t at = 0;

	while (at < n) {
		uint8_t token = block[at++];
		uint64_t literals = add_length(block, n, &at, token >> 4, 15);

		if (n - at < 2 || literals > n - at - 2)
			return false;
		at += literals;
		if (block[at] == 0 && block[at + 1] == 0)
			return true;
		at += 2;
		add_length(block, n, &at, token & 15, 15);
	}
	return false;
}

static uint32_t get(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* In the blocks of a frame, from *at on; false, too, when it ends amid one. */
static bool is_odd_frame(const uint8_t *bytes, size_t size, size_t *at)
{
	uint8_t flags = bytes[*at + 4];
	uint32_t word, length;

	*at += 7u + (flags & 8) + (flags & 1 ? 4 : 0);
	while (*at < size && size - *at >= 4) {
		word = get(bytes + *at);
		length = word & 0x7fffffff;
		*at += 4;
		if (word == 0)
			break;
		if (length > size - *at)
			length = (uint32_t)(size - *at);
		if (!(word >> 31) && has_zero_offset(bytes + *at, length))
			return true;
		*at += length + (flags & 0x10 ? 4 : 0);
	}
	*at += flags & 4;
	return false;
}

static bool is_odd(const uint8_t *bytes, size_t size)
{
	size_t at = 0;

	while (at < size && size - at >= 8) {
		if (get(bytes + at) == 0x184D2204u) {
			if (is_odd_frame(bytes, size, &at))
				return true;
		} else if (get(bytes + at) >> 4 == 0x184D2A5u) {
			at += 8 + (size_t)get(bytes + at + 4);
		} else {
			break;
		}
	}
	return false;
}

/* An error that lz4view.h names for what a file may hold. */
static bool is_named(int err)
{
	return err == -ENOTUNIQ || err == -EPROTONOSUPPORT || err == -EOPNOTSUPP || err == -ENODATA ||
	       err == -EUCLEAN;
}

/* ---- ours ---------------------------------------------------------------------------- */

static void read_somewhere(comap_lz4 *lz4, const struct found *found, uint64_t *random)
{
	static char got[3 * 65536];
	uint64_t off = next_random(random) % (found->size + found->size / 8 + 2);
	size_t n = next_random(random) % (next_random(random) % 4 ? 100 : sizeof got);
	uint64_t is = off >= found->size ? 0 : found->size - off < n ? found->size - off : n;
	/* only when all checksums are known to hold */
	uint32_t flags = found->is_checked && next_random(random) % 2 ? COMAP_LZ4_CHECK_BLOCKS : 0;
	int64_t n_got = comap_lz4_read(lz4, off, got, n, flags);

	if (found->is_whole) {
		MUST(n_got == (int64_t)is);
		MUST(is == 0 || memcmp(got, found->content + off, is) == 0);
	}
	MUST(n_got == (int64_t)is || n_got == -EUCLEAN);
}

static void look(comap_lz4 *lz4, struct found *found, uint64_t random)
{
	struct comap_lz4_info info = { .size = sizeof info };
	unsigned threads = random % 8 ? 1 : 2;
	int err;

	MUST(comap_lz4_get_info(lz4, &info) == 0);
	MUST(info.frames > 0 && info.block_size >= 65536);
	MUST(info.content_size <= info.blocks * info.block_size);
	found->size = info.content_size;
	found->has_index = info.has_index;
	if (info.content_size > CONTENT_MOST)
		return;
	found->content = malloc((size_t)info.content_size + 1);
	MUST(found->content);
	err = comap_lz4_inflate(lz4, found->content, found->size, threads, CHECKS);
	MUST(err == 0 || err == -EUCLEAN);
	found->is_checked = found->is_whole = err == 0;
	if (err < 0) {
		err = comap_lz4_inflate(lz4, found->content, found->size, threads, 0);
		MUST(err == 0 || err == -EUCLEAN);
		found->is_whole = err == 0;
	}
	if (found->is_odd)
		found->is_whole = found->is_checked = false;
	for (int i = 0; i < READS; i++)
		read_somewhere(lz4, found, &random);
}

static struct found find(const uint8_t *bytes, size_t size, uint32_t flags, uint64_t random)
{
	struct found found = { .is_odd = is_odd(bytes, size) };
	comap_view *view;
	comap_lz4 *lz4 = NULL;

	MUST(comap_view_open_memory(bytes, size, NULL, NULL, &view) == 0);
	found.err = comap_lz4_open(view, flags, &lz4);
	comap_view_close(view);
	if (found.err == 0) {
		look(lz4, &found, random);
	} else {
		MUST(!lz4 && comap_view_reason()[0]);
		MUST(is_named(found.err));
	}
	comap_lz4_close(lz4);
	return found;
}

/* ---- into a file --------------------------------------------------------------------- */

static void unpack(const uint8_t *bytes, size_t size, const struct found *walked)
{
	char path[64];
	comap_view *view, *made;
	comap_writer *writer;
	int err;

	snprintf(path, sizeof path, "/tmp/fuzz_lz4.%d", (int)getpid());
	MUST(comap_writer_open(path, NULL, &writer) == 0);
	MUST(comap_view_open_memory(bytes, size, NULL, NULL, &view) == 0);
	err = comap_lz4_unpack(view, writer, 1 + (unsigned)size % 2, CHECKS);
	comap_view_close(view);
	MUST((err == 0) == walked->is_checked);
	/* of several faults each may find another first */
	MUST(err == 0 || (walked->err == 0 ? err == -EUCLEAN : is_named(err)));
	if (err < 0) {
		comap_writer_abort(writer);
		return;
	}
	MUST(comap_writer_finish(writer, COMAP_WRITER_PLAIN) == 0);
	MUST(comap_view_open(path, NULL, &made) == 0);
	MUST(comap_view_bytes(made).size == walked->size);
	MUST(memcmp(comap_view_bytes(made).data, walked->content, walked->size) == 0);
	comap_view_close(made);
	unlink(path);
}

/* ---- liblz4's ------------------------------------------------------------------------ */

/* Does it take all of the file?  Then what comes out is compared with content, unless that is
 * NULL. */
static bool lz4_takes(const uint8_t *bytes, size_t size, const struct found *found, uint64_t *ret_size)
{
	static char piece[65536];
	size_t at = 0, used, made, hint = 0;
	uint64_t done = 0;
	bool is_same = true;
	LZ4F_dctx *ctx;

	MUST(!LZ4F_isError(LZ4F_createDecompressionContext(&ctx, LZ4F_VERSION)));
	do {
		used = size - at;
		made = sizeof piece;
		hint = LZ4F_decompress(ctx, piece, &made, bytes + at, &used, NULL);
		if (LZ4F_isError(hint))
			break;
		if (found->is_whole)
			is_same = is_same && made <= found->size - done &&
				  memcmp(piece, found->content + done, made) == 0;
		at += used;
		done += made;
	} while (at < size || (made == sizeof piece && hint != 0));
	LZ4F_freeDecompressionContext(ctx);
	*ret_size = done;
	if (hint != 0)
		return false;
	MUST(is_same);
	return true;
}

/* ---- all of it ----------------------------------------------------------------------- */

static void compare(const uint8_t *bytes, size_t size, const struct found *walked)
{
	uint64_t n = 0;
	bool takes = size && lz4_takes(bytes, size, walked, &n);

	if (walked->is_odd)
		MUST(walked->err < 0);
	else if (takes && walked->err == -ENOTUNIQ)
		MUST(n == 0); /* skippable frames only */
	else if (takes && walked->err != -EOPNOTSUPP)
		MUST(walked->err == 0 && n == walked->size &&
		     (walked->is_checked || walked->size > CONTENT_MOST));
	if (walked->is_checked)
		MUST(takes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* of its very size, so that a byte too far is noticed */
	uint8_t *bytes = calloc(1, size ? size : 1);
	uint64_t random = size;
	struct found walked, found;

	MUST(bytes);
	if (size)
		memcpy(bytes, data, size);
	for (size_t i = 0; i < size; i += size / 16 + 1)
		random = random * 31 + data[i];
	walked = find(bytes, size, COMAP_LZ4_NO_INDEX, random);
	MUST(!walked.has_index);
	compare(bytes, size, &walked);
	if (!walked.is_odd && walked.size <= CONTENT_MOST && random % 4 == 0)
		unpack(bytes, size, &walked);
	found = find(bytes, size, 0, random + 1);
	if (!walked.is_odd &&
	    walked.err == -EUCLEAN) /* all is looked at; where it is not, less is noticed */
		MUST(found.err < 0 || !found.is_whole);
	else if (!walked.is_odd && !found.has_index)
		MUST(found.err == walked.err && found.size == walked.size &&
		     found.is_whole == walked.is_whole && found.is_checked == walked.is_checked);
	else if (found.is_whole)
		MUST(walked.err == 0 && walked.is_whole && found.size == walked.size &&
		     found.is_checked == walked.is_checked);
	if (found.is_whole)
		MUST(memcmp(found.content, walked.content, found.size) == 0);
	free(walked.content);
	free(found.content);
	free(bytes);
	return 0;
}
