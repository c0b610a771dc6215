/*
 * atomic.h - every access to a shared word, with its order in its name.
 *
 * A kill stops a thread between two instructions, so what others see of the
 * dead is a prefix of its program order, and the kernel marks the death with
 * full ordering after it.  Words only their owner writes therefore need the
 * compiler to keep its hands off, and nothing of the processor:
 *
 *   cm_read, cm_write     relaxed; never torn, fused or invented
 *   cm_order()            the compiler moves no access across
 *
 * Words that others act on while the owner lives need more:
 *
 *   cm_load_acquire pairs with cm_store_release, cm_cas_ordered (acquire and
 *   release) with cm_swap_release; each use says which function it pairs with.
 *
 * A plain access to a shared word is a bug, also where it would work today.
 */
#ifndef CM_ATOMIC_H
#define CM_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t cm_word;
typedef _Atomic uint32_t cm_half;
typedef _Atomic uint8_t cm_byte;

_Static_assert(sizeof(cm_word) == 8 && sizeof(cm_half) == 4 && sizeof(cm_byte) == 1,
	       "shared words have the size of their type");

#define cm_read(p) atomic_load_explicit((p), memory_order_relaxed)
#define cm_write(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define cm_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define cm_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define cm_swap_release(p, v) atomic_exchange_explicit((p), (v), memory_order_release)
#define cm_add(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define cm_set_bits(p, v) atomic_fetch_or_explicit((p), (v), memory_order_relaxed)

/* The compiler keeps what stands above it above, and below below. */
#define cm_order() atomic_signal_fence(memory_order_seq_cst)

static inline bool cm_cas_ordered(cm_word *word, uint64_t expected, uint64_t wanted)
{
	return atomic_compare_exchange_strong_explicit(word, &expected, wanted, memory_order_acq_rel,
						       memory_order_relaxed);
}

static inline bool cm_cas_relaxed(cm_word *word, uint64_t expected, uint64_t wanted)
{
	return atomic_compare_exchange_strong_explicit(word, &expected, wanted, memory_order_relaxed,
						       memory_order_relaxed);
}

/* A word only its owner writes: no lock prefix, never torn. */
static inline void cm_count(cm_word *word, uint64_t by)
{
	cm_write(word, cm_read(word) + by);
}

static inline void cm_spin_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
