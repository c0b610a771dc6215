/* test_view_lz4.c - .lz4 files read at any place, by many threads, and cut short meanwhile
 * (lz4_read.c, lz4_decode.c). */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include "lz4_fixture.h"

/* ---- reading ------------------------------------------------------------------------- */

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
	/* the others being full, the last would just have what is left: one block is short, another
	 * is long */
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

/* Millions of them cost what a walk over the table costs, not a look at the file each. */
static void blocks_of_nothing_between_two_bytes_are_passed_over(void **state)
{
	const char *blocks[1002] = { 0 };
	size_t lengths[1002];
	struct file file = { 0 };
	comap_lz4 *lz4;
	char got[3];

	(void)state;
	for (int i = 0; i < 1002; i++)
		blocks[i] = "", lengths[i] = CM_LZ4_STORED;
	blocks[0] = "\x10" "a";
	blocks[1001] = "\x10" "b";
	lengths[0] = lengths[1001] = 2;
	add_raw_frame(&file, 0, blocks, lengths, 1002);
	lz4 = open_it(&file, 0);
	assert_int_equal(info_of(lz4).blocks, 1002);
	assert_int_equal(comap_lz4_read(lz4, 0, got, 3, 0), 2);
	assert_memory_equal(got, "ab", 2);
	assert_true(lz4->clock <= 2); /* times that a slot was used */
	comap_lz4_close(lz4);
	drop(&file);
}

/* Four bytes behind the last match, where there should be five: liblz4 takes it when there is
 * room. */
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
	const char *blocks[] = { "\x1f" "a" "\0\0" "\x02" "\x50" "bcdef", "\x10" "g" };
	static const size_t lengths[] = { 11 }, full_lengths[] = { 4 + 256 + 1 + 6, 2 };
	char full[4 + 256 + 1 + 6] = "\x1f" "a", got[27];
	struct file file = { 0 };
	comap_lz4 *lz4;

	(void)state;
	add_raw_frame(&file, 0, blocks, lengths, 1);
	assert_int_equal(try_open(&file, 0, &lz4), -EUCLEAN);
	drop(&file);
	add_raw_frame(&file, 1 + 21 + 5, blocks, lengths, 1);
	assert_int_equal(try_open(&file, COMAP_LZ4_NO_INDEX, &lz4), -EUCLEAN);
	drop(&file);
	/* in a block before the last, which has all that a block may have: 1 + 65530 + 5 */
	memset(full + 4, 0xff, 256);
	memcpy(full + 260, "\xe7\x50" "bcdef", 7);
	blocks[0] = full;
	add_raw_frame(&file, BLOCK + 1, blocks, full_lengths, 2);
	comap_lz4_close(open_it(&file, 0)); /* only the last was looked through */
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

/* ---- threads, processes, signals ----------------------------------------------------- */

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

static int open_and_measure(void *arg)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	const struct file *file = arg;
	const char *path = fx_path(fx_folder, "measured.lz4");
	comap_lz4 *lz4 = open_it(file, 0);
	/* behind its header, and where a page ends: the rest of that would be zeroes */
	uint64_t cut_at = cm_round_up(lz4->blocks[20].at, cm_os_page_size());
	comap_view *view;
	int fd;

	comap_lz4_close(lz4);
	opts.how = COMAP_VIEW_MAP;
	opts.flags = COMAP_VIEW_NO_FD;
	KIN_CHECK(comap_guard_install() == 0);
	for (int i = 0; i < 20; i++) { /* which thread measures which blocks is chance */
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		KIN_CHECK(write(fd, file->bytes, file->size) == (ssize_t)file->size);
		KIN_CHECK(comap_view_open(path, &opts, &view) == 0);
		KIN_CHECK(ftruncate(fd, (off_t)cut_at) == 0);
		close(fd);
		KIN_CHECK(comap_lz4_open(view, 0, &lz4) == -ENODATA);
		comap_view_close(view);
	}
	return 0;
}

/* The walk finds zeroes where the next header was, and takes them for an end; then what lies before
 * them is measured, by several threads. */
static void a_block_that_went_before_it_is_measured_is_an_error_in_any_thread(void **state)
{
	char *s = text(40 * BLOCK, 26);
	struct file file = { 0 };

	(void)state;
	add_frame(&file, s, 40 * BLOCK, false, 0);
	assert_int_equal(kin_run(open_and_measure, &file), 0);
	drop(&file);
	free(s);
}

static int inflate_to_nowhere(void *lz4)
{
	int fd = memfd_create("empty", MFD_CLOEXEC);
	void *to = mmap(NULL, 40 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	KIN_CHECK(to != MAP_FAILED);
	if (cm_os_populate_write(to, 4096) == 0)
		return 77; /* before Linux 5.14 */
	KIN_CHECK(comap_lz4_inflate(lz4, to, 40 * BLOCK, 3, 0) == -ENOSPC);
	return 0;
}

/* A full disk, or here a file that ends before. */
static void a_place_without_storage_is_an_error_and_no_signal(void **state)
{
	char *s = text(40 * BLOCK, 27);
	struct file file = { 0 };
	comap_lz4 *lz4;
	int status;

	(void)state;
	add_frame(&file, s, 40 * BLOCK, false, 0);
	lz4 = open_it(&file, 0);
	status = kin_run(inflate_to_nowhere, lz4);
	comap_lz4_close(lz4);
	drop(&file);
	free(s);
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
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
	struct comap_lz4_write_opts opts = COMAP_LZ4_WRITE_OPTS_INIT;
	size_t n = 100 * BLOCK;
	char *s = text(n, 21), *got = malloc(n);
	struct file file;
	comap_lz4 *lz4;

	(void)state;
	first_thread = pthread_self();
	opts.threads = 4;
	opts.flags = ALL;
	fx_alarms(300, tick);
	for (int i = 0; i < 3; i++) {
		file = written(s, n, &opts, 1);
		lz4 = open_it(&file, 0);
		assert_int_equal(comap_lz4_inflate(lz4, got, n, 4, ALL), 0);
		assert_memory_equal(got, s, n);
		comap_lz4_close(lz4);
		drop(&file);
	}
	fx_alarms_end();
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
		FX_FOLDER_TEST(blocks_of_nothing_between_two_bytes_are_passed_over),
		FX_FOLDER_TEST(a_block_that_ends_as_no_encoder_would_is_read_as_lz4_reads_it),
		FX_FOLDER_TEST(a_match_at_offset_0_is_refused_where_blocks_are_looked_through),
		FX_FOLDER_TEST(what_lies_past_the_end_is_not_read),
		FX_FOLDER_TEST(info_knows_older_and_newer_callers),
		FX_FOLDER_TEST(closing_nothing_keeps_errno),
		FX_FOLDER_TEST(many_threads_read_at_once),
		FX_FOLDER_TEST(when_all_slots_are_taken_reading_goes_on),
		FX_FOLDER_TEST(the_blocks_last_read_are_kept),
		FX_FOLDER_TEST(a_block_decoded_in_part_is_decoded_further_when_more_is_wanted),
		FX_FOLDER_TEST(a_file_that_another_process_cut_short_is_an_error),
		FX_FOLDER_TEST(a_block_that_went_before_it_is_measured_is_an_error_in_any_thread),
		FX_FOLDER_TEST(a_place_without_storage_is_an_error_and_no_signal),
		FX_FOLDER_TEST(where_guards_are_installed_what_goes_meanwhile_is_an_error),
		FX_FOLDER_TEST(a_part_of_a_file_is_read_and_the_view_may_be_closed_before),
		FX_FOLDER_TEST(signals_disturb_nothing_and_reach_no_thread_of_ours),
		FX_FOLDER_TEST(no_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
