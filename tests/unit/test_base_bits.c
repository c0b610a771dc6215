/* test_base_bits.c - arithmetic on words, against the slow way of doing it. */
#include "fixture.h"

static unsigned slow_longest_run(uint64_t word)
{
	unsigned best = 0, run = 0;

	for (unsigned i = 0; i < 64; i++) {
		run = word >> i & 1 ? run + 1 : 0;
		best = run > best ? run : best;
	}
	return best;
}

static void longest_run_counts_neighbouring_ones(void **state)
{
	uint64_t random = 1;

	(void)state;
	assert_int_equal(cm_longest_run(0), 0);
	assert_int_equal(cm_longest_run(~0ull), 64);
	assert_int_equal(cm_longest_run(~1ull), 63);
	assert_int_equal(cm_longest_run(1ull << 63), 1);
	assert_int_equal(cm_longest_run(0x8000000000000001ull), 1); /* no wrap */
	for (uint64_t word = 0; word < 65536; word++)
		assert_int_equal(cm_longest_run(word << 24), slow_longest_run(word << 24));
	for (int i = 0; i < 100000; i++) {
		uint64_t word = fx_random(&random);

		word |= i & 1 ? fx_random(&random) | fx_random(&random) : 0; /* longer runs, too */
		assert_int_equal(cm_longest_run(word), slow_longest_run(word));
	}
}

static void mask_has_n_bits_from_first_up(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 64; first++)
		for (unsigned n = 0; first + n <= 64; n++) {
			uint64_t mask = cm_mask(first, n);

			assert_int_equal(cm_popcount(mask), n);
			if (n) {
				assert_int_equal(cm_lowest(mask), first);
				assert_int_equal(cm_highest(mask), first + n - 1);
			}
		}
}

static void round_up_is_the_next_multiple(void **state)
{
	(void)state;
	for (uint64_t to = 1; to <= 1ull << 40; to *= 2)
		for (uint64_t k = 0; k < 5; k++) {
			assert_true(cm_round_up(k * to, to) == k * to);
			assert_true(cm_round_up(k * to + 1, to) == (to == 1 ? k + 1 : (k + 1) * to));
			assert_true(cm_round_up(k * to + to - 1, to) == (k + (to > 1)) * to);
		}
}

static void div_up_is_never_too_little(void **state)
{
	(void)state;
	for (uint64_t by = 1; by < 70; by++)
		for (uint64_t n = 0; n < 300; n++) {
			assert_true(cm_div_up(n, by) * by >= n);
			assert_true(n == 0 || (cm_div_up(n, by) - 1) * by < n);
		}
}

static void pow2_means_one_bit(void **state)
{
	(void)state;
	assert_false(cm_is_pow2(0));
	for (unsigned i = 0; i < 64; i++) {
		assert_true(cm_is_pow2(1ull << i));
		assert_false(i > 1 && cm_is_pow2((1ull << i) - 1));
		assert_false(i > 0 && cm_is_pow2((1ull << i) + 1));
	}
}

static void lowest_and_highest_bit_are_found_anywhere(void **state)
{
	(void)state;
	for (unsigned low = 0; low < 64; low++)
		for (unsigned high = low; high < 64; high++) {
			uint64_t word = 1ull << low | 1ull << high;

			assert_int_equal(cm_lowest(word), low);
			assert_int_equal(cm_highest(word), high);
		}
	assert_true(cm_min(3, 4) == 3 && cm_min(~0ull, 0) == 0);
	assert_true(cm_max(3, 4) == 4 && cm_max(~0ull, 0) == ~0ull);
}

static void swaps_and_adds_do_what_their_names_say(void **state)
{
	cm_word word = 5;
	cm_half half = 1;

	(void)state;
	assert_true(cm_cas_ordered(&word, 5, 6));
	assert_false(cm_cas_ordered(&word, 5, 7));
	assert_true(cm_cas_relaxed(&word, 6, 8));
	assert_true(cm_read(&word) == 8);
	assert_true(cm_swap_release(&word, 9) == 8);
	assert_true(cm_add(&word, ~0ull) == 9);
	cm_count(&word, 2);
	cm_set_bits(&word, 0xf0);
	assert_true(cm_read(&word) == 0xfa);
	cm_write(&half, 0xffffffffu);
	assert_true(cm_read(&half) == 0xffffffffu);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(longest_run_counts_neighbouring_ones),
		KIN_TEST(mask_has_n_bits_from_first_up),
		KIN_TEST(round_up_is_the_next_multiple),
		KIN_TEST(div_up_is_never_too_little),
		KIN_TEST(pow2_means_one_bit),
		KIN_TEST(lowest_and_highest_bit_are_found_anywhere),
		KIN_TEST(swaps_and_adds_do_what_their_names_say),
	};

	return cmocka_run_group_tests_name("base/bits", tests, NULL, NULL);
}
