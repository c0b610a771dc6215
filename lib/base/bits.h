/* bits.h - arithmetic on words that every floor needs. */
#ifndef CM_BITS_H
#define CM_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CM_KIB 1024ull
#define CM_MIB (1024ull * CM_KIB)
#define CM_GIB (1024ull * CM_MIB)
#define CM_TIB (1024ull * CM_GIB)

static inline uint64_t cm_round_up(uint64_t n, uint64_t to) /* to: a power of two */
{
	return (n + to - 1) & ~(to - 1);
}

static inline uint64_t cm_div_up(uint64_t n, uint64_t by)
{
	return (n + by - 1) / by;
}

static inline bool cm_is_pow2(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static inline uint64_t cm_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t cm_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline unsigned cm_popcount(uint64_t word)
{
	return (unsigned)__builtin_popcountll(word);
}

/* Index of the lowest set bit; word is not 0. */
static inline unsigned cm_lowest(uint64_t word)
{
	return (unsigned)__builtin_ctzll(word);
}

/* Index of the highest set bit; word is not 0. */
static inline unsigned cm_highest(uint64_t word)
{
	return 63u - (unsigned)__builtin_clzll(word);
}

/* n bits set from bit `first` up; first + n <= 64. */
static inline uint64_t cm_mask(unsigned first, unsigned n)
{
	return (n >= 64 ? ~0ull : (1ull << n) - 1) << first;
}

/* How many neighbouring ones the longest run in word has: each turn shortens
 * every run by one. */
static inline unsigned cm_longest_run(uint64_t word)
{
	unsigned n = 0;

	for (; word; word &= word << 1)
		n++;
	return n;
}

#endif
