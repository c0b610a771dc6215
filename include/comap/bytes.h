/*
 * bytes.h - a range of memory, and numbers read out of it with every bound checked.
 *
 * Views, windows, streams and records all hand out a struct comap_bytes.  It owns
 * nothing: it is good for as long as what gave it says.  Offsets count from its
 * first byte, need no alignment, and cannot overflow: what does not lie inside is
 * -ERANGE, and *ret stays as it was.
 *
 * Whether the memory itself may vanish (a mapped file that another process cuts
 * short) is another question: see guard.h.
 */
#ifndef COMAP_BYTES_H
#define COMAP_BYTES_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct comap_bytes {
	const void *data; /* never NULL where a call returned it, also when size is 0 */
	size_t size;
};

/* A part of it.  Returns 0 or -ERANGE. */
static inline int comap_bytes_at(struct comap_bytes bytes, uint64_t off, uint64_t size,
				 struct comap_bytes *ret)
{
	if (off > bytes.size || size > bytes.size - off)
		return -ERANGE;
	ret->data = (const char *)bytes.data + off;
	ret->size = (size_t)size;
	return 0;
}

/* n bytes, copied.  Returns 0 or -ERANGE. */
static inline int comap_bytes_copy(struct comap_bytes bytes, uint64_t off, void *to, size_t n)
{
	struct comap_bytes part;

	if (comap_bytes_at(bytes, off, n, &part) < 0)
		return -ERANGE;
	if (n)
		memcpy(to, part.data, n);
	return 0;
}

/* Numbers of 8 to 64 bits, least or most significant byte first.  Each returns 0 or -ERANGE. */
#define COMAP_BYTES_NUMBER_(name, type, shift)                                                      \
	static inline int comap_bytes_##name(struct comap_bytes bytes, uint64_t off, type *ret)     \
	{                                                                                           \
		unsigned char b[sizeof(type)];                                                      \
		uint64_t n = 0;                                                                     \
                                                                                                    \
		if (comap_bytes_copy(bytes, off, b, sizeof b) < 0)                                  \
			return -ERANGE;                                                             \
		for (size_t i = 0; i < sizeof b; i++)                                               \
			n |= (uint64_t)b[i] << (shift);                                             \
		*ret = (type)n;                                                                     \
		return 0;                                                                           \
	}
COMAP_BYTES_NUMBER_(u8, uint8_t, 0)
COMAP_BYTES_NUMBER_(u16le, uint16_t, 8 * i)
COMAP_BYTES_NUMBER_(u32le, uint32_t, 8 * i)
COMAP_BYTES_NUMBER_(u64le, uint64_t, 8 * i)
COMAP_BYTES_NUMBER_(u16be, uint16_t, 8 * (sizeof b - 1 - i))
COMAP_BYTES_NUMBER_(u32be, uint32_t, 8 * (sizeof b - 1 - i))
COMAP_BYTES_NUMBER_(u64be, uint64_t, 8 * (sizeof b - 1 - i))
#undef COMAP_BYTES_NUMBER_

/* IEEE 754 numbers of 32 and 64 bits.  Each returns 0 or -ERANGE. */
#define COMAP_BYTES_FLOAT_(name, type, bits, number)                                                \
	static inline int comap_bytes_##name(struct comap_bytes bytes, uint64_t off, type *ret)     \
	{                                                                                           \
		bits n;                                                                             \
                                                                                                    \
		if (comap_bytes_##number(bytes, off, &n) < 0)                                       \
			return -ERANGE;                                                             \
		memcpy(ret, &n, sizeof n);                                                          \
		return 0;                                                                           \
	}
COMAP_BYTES_FLOAT_(f32le, float, uint32_t, u32le)
COMAP_BYTES_FLOAT_(f64le, double, uint64_t, u64le)
COMAP_BYTES_FLOAT_(f32be, float, uint32_t, u32be)
COMAP_BYTES_FLOAT_(f64be, double, uint64_t, u64be)
#undef COMAP_BYTES_FLOAT_

#ifdef __cplusplus
}
#endif
#endif
