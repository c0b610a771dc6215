/*
 * test_seg_super.c - what a file says about itself is not believed before it was looked at.
 *
 * Every refusal is tried twice: on the header in memory, and through comap_heap_open on
 * a file, which must be left as it was.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>
#include "fixture.h"

/* ---- files ----------------------------------------------------------------------- */

struct file {
	const char *dir, *path;
	struct cm_super_shm super; /* of the sound heap */
	uint64_t size;
};

static struct file make_file(void)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct file f = { .dir = fx_mkdir() };
	comap_heap *heap;
	struct stat st;
	int fd;

	f.path = fx_path(f.dir, "heap");
	opts.flags = COMAP_HEAP_CREATE | COMAP_HEAP_EXCL;
	opts.max_size = 64 * CM_MIB;
	assert_int_equal(comap_heap_open(f.path, &opts, &heap), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_non_null(comap_heap_malloc(heap, 1u << (i * 5)));
	comap_heap_close(heap);
	fd = open(f.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, &f.super, sizeof f.super, 0), sizeof f.super);
	assert_int_equal(fstat(fd, &st), 0);
	f.size = (uint64_t)st.st_size;
	close(fd);
	return f;
}

static void poke(const struct file *f, uint64_t off, const void *bytes, size_t n)
{
	int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, bytes, n, (off_t)off), n);
	close(fd);
}

static uint64_t peek(const struct file *f, uint64_t off)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	uint64_t word = 0;

	assert_int_equal(pread(fd, &word, 8, (off_t)off), 8);
	close(fd);
	return word;
}

static uint64_t sum_of_file(const struct file *f)
{
	XXH3_state_t *state = XXH3_createState();
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);
	static char bytes[1 << 16];
	uint64_t sum;
	ssize_t n;

	XXH3_64bits_reset(state);
	while ((n = read(fd, bytes, sizeof bytes)) > 0)
		XXH3_64bits_update(state, bytes, (size_t)n);
	close(fd);
	sum = XXH3_64bits_digest(state);
	XXH3_freeState(state);
	return sum;
}

static int try_open(const struct file *f, uint32_t flags)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap = NULL;
	int err;

	opts.flags = flags;
	err = comap_heap_open(f->path, &opts, &heap);
	if (err < 0) {
		assert_null(heap);
		assert_true(*comap_heap_open_reason() != '\0');
		return err;
	}
	assert_string_equal(comap_heap_open_reason(), "");
	comap_heap_close(heap);
	return 0;
}

/* The file is refused with err, by writers and readers, and nothing in it changes. */
static void assert_refused(const struct file *f, int err, int err_readonly)
{
	uint64_t before = sum_of_file(f);
	struct stat a, b;

	assert_int_equal(stat(f->path, &a), 0);
	assert_int_equal(try_open(f, 0), err);
	assert_int_equal(try_open(f, COMAP_HEAP_CREATE), err);
	assert_int_equal(try_open(f, COMAP_HEAP_READONLY), err_readonly);
	assert_int_equal(stat(f->path, &b), 0);
	assert_true(a.st_size == b.st_size && a.st_ino == b.st_ino);
	assert_true(sum_of_file(f) == before);
}

static void drop_file(struct file *f)
{
	fx_rmdir(f->dir);
}

/* ---- the header ---------------------------------------------------------------------- */

static void reseal(struct cm_super_shm *s)
{
	s->fixed.sum = XXH3_64bits(&s->fixed, offsetof(struct cm_fixed_shm, sum));
}

static void every_flipped_bit_of_the_fixed_header_is_noticed(void **state)
{
	struct file f = make_file();
	const char *why = NULL;
	struct cm_super_shm s = f.super;

	(void)state;
	assert_int_equal(cm_super_validate(&s, &why), 0);
	for (unsigned i = 0; i < sizeof s.fixed; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			int err;

			memcpy(&s, &f.super, sizeof s);
			((unsigned char *)&s)[i] ^= (unsigned char)(1u << bit);
			why = NULL;
			err = cm_super_validate(&s, &why);
			assert_int_equal(err, i < 8 ? -ENOTUNIQ : -EUCLEAN);
			assert_non_null(why);
		}
	drop_file(&f);
}

struct change {
	size_t at;
	uint64_t value;
	unsigned bytes;
	int err, err_readonly;
};
#define FIELD(f) offsetof(struct cm_fixed_shm, f), /* value, bytes, errors follow */

static void a_header_that_means_something_else_is_refused_by_name(void **state)
{
	struct file f = make_file();
	const struct change changes[] = {
		{ FIELD(version) 2, 4, -EPROTONOSUPPORT, -EPROTONOSUPPORT },
		{ FIELD(version) 0, 4, -EPROTONOSUPPORT, -EPROTONOSUPPORT },
		{ FIELD(incompat) 1, 8, -EPROTONOSUPPORT, -EPROTONOSUPPORT },
		{ FIELD(incompat) 1ull << 63, 8, -EPROTONOSUPPORT, -EPROTONOSUPPORT },
		{ FIELD(ro_compat) 1, 8, -EPROTONOSUPPORT, 0 },
		{ FIELD(ro_compat) 1ull << 63, 8, -EPROTONOSUPPORT, 0 },
		{ FIELD(compat) ~0ull, 8, 0, 0 },
		{ FIELD(word_bytes) 4, 4, -EPROTOTYPE, -EPROTOTYPE },
		{ FIELD(page) 65536, 4, -EPROTOTYPE, -EPROTOTYPE },
		{ FIELD(unit) 4096, 4, -EPROTOTYPE, -EPROTOTYPE },
		{ FIELD(segment) 8 * CM_MIB, 8, -EPROTOTYPE, -EPROTOTYPE },
		{ FIELD(byte_order) 0x0807060504030201ull, 8, -EPROTOTYPE, -EPROTOTYPE },
		{ FIELD(max_size) 0, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(max_size) 4 * CM_MIB, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(max_size) 64 * CM_MIB + 4096, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(max_size) 65 * CM_TIB, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(max_size) ~0ull, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(nslots) 0, 4, -EUCLEAN, -EUCLEAN },
		{ FIELD(nslots) 1, 4, -EUCLEAN, -EUCLEAN },
		{ FIELD(nslots) 65536, 4, -EUCLEAN, -EUCLEAN },
		{ FIELD(nslots) ~0u, 4, -EUCLEAN, -EUCLEAN },
		{ FIELD(slots_off) 0, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(units_off) ~0ull, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(segments_off) 1ull << 40, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(data_off) 0, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(data_off) 64 * CM_MIB, 8, -EUCLEAN, -EUCLEAN },
		{ FIELD(data_off) 1ull << 62, 8, -EUCLEAN, -EUCLEAN },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
		const struct change *c = &changes[i];
		struct cm_super_shm s = f.super;

		memcpy((char *)&s + c->at, &c->value, c->bytes);
		reseal(&s);
		poke(&f, 0, &s, sizeof s.fixed);
		if (c->err == 0)
			assert_int_equal(try_open(&f, 0), 0);
		else
			assert_refused(&f, c->err, c->err_readonly);
	}
	poke(&f, 0, &f.super, sizeof f.super.fixed);
	assert_int_equal(try_open(&f, 0), 0);
	drop_file(&f);
}

static void impossible_state_words_are_refused(void **state)
{
	struct file f = make_file();
	const size_t limit = offsetof(struct cm_super_shm, limit);
	const size_t nused = offsetof(struct cm_super_shm, nused);
	const uint64_t limits[] = {
		0, 1, 4096, 4 * CM_MIB - 1, 64 * CM_MIB + CM_SEGMENT, 1ull << 63, ~0ull
	};
	const uint64_t nuseds[] = { 0, 66, 1ull << 32, ~0ull };
	uint64_t good = peek(&f, limit);

	(void)state;
	for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) {
		poke(&f, limit, &limits[i], 8);
		assert_refused(&f, -EUCLEAN, -EUCLEAN);
	}
	poke(&f, limit, &good, 8);
	good = peek(&f, nused);
	for (unsigned i = 0; i < sizeof nuseds / sizeof *nuseds; i++) {
		poke(&f, nused, &nuseds[i], 8);
		assert_refused(&f, -EUCLEAN, -EUCLEAN);
	}
	poke(&f, nused, &good, 8);
	assert_int_equal(try_open(&f, 0), 0);
	drop_file(&f);
}

static void a_file_cut_short_is_refused_at_every_length(void **state)
{
	struct file f = make_file();
	const uint64_t lengths[] = {
		f.size - 1, f.size - CM_SEGMENT, f.super.fixed.data_off, f.super.fixed.data_off - 1,
		CM_SLOTS_OFF + 1, CM_SLOTS_OFF, 4096, sizeof(struct cm_super_shm),
		sizeof(struct cm_super_shm) - 1, 256, 255, 9, 8, 7, 1, 0,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		int want = lengths[i] < 8 ? -ENOTUNIQ : -ENODATA;

		assert_int_equal(truncate(f.path, (off_t)lengths[i]), 0);
		assert_refused(&f, want, want);
	}
	drop_file(&f);
}

static void files_of_others_are_no_heaps(void **state)
{
	struct file f = make_file();
	const char *contents[] = { "", "x", "comap", "comap\0\r", "#!/bin/sh\nexit 0\n" };

	(void)state;
	for (unsigned i = 0; i < sizeof contents / sizeof *contents; i++) {
		assert_int_equal(truncate(f.path, 0), 0);
		poke(&f, 0, contents[i], strlen(contents[i]));
		assert_refused(&f, -ENOTUNIQ, -ENOTUNIQ);
		assert_int_equal(truncate(f.path, 1 << 20), 0);
		assert_refused(&f, -ENOTUNIQ, -ENOTUNIQ);
	}
	drop_file(&f);
}

/* ---- recovery records ------------------------------------------------------------------ */

static uint64_t slot_off(unsigned i)
{
	return CM_SLOTS_OFF + i * CM_SLOT_STRIDE;
}

static void damaged_recovery_records_are_refused_before_they_are_used(void **state)
{
	struct file f = make_file();
	const size_t redo = offsetof(struct cm_slot_shm, redo);
	const struct {
		uint64_t at, value;
	} bad[] = {
		{ slot_off(1) + offsetof(struct cm_slot_shm, state), 2 },
		{ slot_off(1) + offsetof(struct cm_slot_shm, state), ~0ull },
		{ slot_off(0) + redo, 1000 },
		{ slot_off(1) + redo, (uint64_t)CM_LOCKS << 16 | 1 },
		{ slot_off(1) + offsetof(struct cm_slot_shm, hold_at), 1 },
		{ slot_off(0) + offsetof(struct cm_slot_shm, hold_at), ~0ull },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint64_t good = peek(&f, bad[i].at);

		poke(&f, bad[i].at, &bad[i].value, 8);
		assert_refused(&f, -EUCLEAN, 0); /* a reader needs no recovery */
		poke(&f, bad[i].at, &good, 8);
	}
	assert_int_equal(try_open(&f, 0), 0);
	drop_file(&f);
}

/* Crafted in a copied file: the lone opener would apply it. */
static int opens_it(void *arg)
{
	return try_open(arg, 0) == -EUCLEAN ? 0 : 1;
}

static void a_record_that_points_past_the_file_is_no_sigbus(void **state)
{
	struct file f = make_file();
	const uint64_t redo = slot_off(1) + offsetof(struct cm_slot_shm, redo);
	uint64_t words[4] = { 1, 0, f.size, 0xbad }, one = 1;

	(void)state;
	poke(&f, slot_off(1) + offsetof(struct cm_slot_shm, state), &one, 8);
	poke(&f, redo, words, sizeof words);
	assert_int_equal(kin_run(opens_it, &f), 0);
	drop_file(&f);
}

static void a_record_that_rewrites_the_header_is_refused(void **state)
{
	struct file f = make_file();
	const uint64_t redo = slot_off(1) + offsetof(struct cm_slot_shm, redo);
	uint64_t words[4] = { 1, 0, offsetof(struct cm_fixed_shm, uuid), 0xbad }, one = 1;

	(void)state;
	poke(&f, slot_off(1) + offsetof(struct cm_slot_shm, state), &one, 8);
	poke(&f, redo, words, sizeof words);
	assert_refused(&f, -EUCLEAN, 0);
	drop_file(&f);
}

/* ---- creating ---------------------------------------------------------------------------- */

static void tables_leave_room_for_a_segment_or_there_is_no_heap(void **state)
{
	(void)state;
	assert_true(cm_super_data_off(8 * CM_MIB, 16) == 4 * CM_MIB);
	assert_true(cm_super_data_off(8 * CM_MIB, 200) == 0);
	assert_true(cm_super_data_off(CM_GIB, 65535) == 0);
	assert_true(cm_super_data_off(8 * CM_GIB, 65535) != 0);
	for (uint64_t size = 8 * CM_MIB; size <= 64 * CM_TIB; size *= 2) {
		uint64_t off = cm_super_data_off(size, 16);

		assert_true(off != 0 && off % CM_SEGMENT == 0 && off + CM_SEGMENT <= size);
		assert_true(off - CM_SLOTS_OFF - 16 * CM_SLOT_STRIDE >= (size >> 16) + (size >> 22) * 8);
	}
}

static void two_heaps_are_never_the_same_heap(void **state)
{
	comap_heap *a = fx_heap(8 * CM_MIB), *b = fx_heap(8 * CM_MIB);

	(void)state;
	assert_memory_not_equal(a->seg.super->fixed.uuid, b->seg.super->fixed.uuid, 16);
	assert_true(a->seg.super->fixed.created_ns <= b->seg.super->fixed.created_ns);
	fx_close(a);
	fx_close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(every_flipped_bit_of_the_fixed_header_is_noticed),
		KIN_TEST(a_header_that_means_something_else_is_refused_by_name),
		KIN_TEST(impossible_state_words_are_refused),
		KIN_TEST(a_file_cut_short_is_refused_at_every_length),
		KIN_TEST(files_of_others_are_no_heaps),
		KIN_TEST(damaged_recovery_records_are_refused_before_they_are_used),
		KIN_TEST(a_record_that_points_past_the_file_is_no_sigbus),
		KIN_TEST(a_record_that_rewrites_the_header_is_refused),
		KIN_TEST(tables_leave_room_for_a_segment_or_there_is_no_heap),
		KIN_TEST(two_heaps_are_never_the_same_heap),
	};

	return cmocka_run_group_tests_name("seg/super", tests, NULL, NULL);
}
