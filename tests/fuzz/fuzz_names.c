/*
 * fuzz_names.c - is a root's name taken exactly when it is UTF-8 of 1 to 63 bytes?
 *
 * The bytes of an input are the name.  What is valid is said here a second time, by decoding
 * and looking at the number that comes out (RFC 3629), not at the bytes.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <comap.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x) ((x) ? (void)0 : must_fail(#x))

static void must_fail(const char *what)
{
	fprintf(stderr, "fuzz_names: not so: %s\n", what);
	abort();
}

/* Bytes of the character at p, of n; 0: it is none. */
static size_t decode(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = p[0] < 0x80	  ? 1
			: p[0] >> 5 == 6  ? 2
			: p[0] >> 4 == 14 ? 3
			: p[0] >> 3 == 30 ? 4
					  : 0;
	uint32_t c = length == 1 ? p[0] : p[0] & (0x7fu >> length);

	if (length == 0 || length > n)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : length;
}

static bool is_name(const uint8_t *p, size_t n)
{
	size_t step;

	if (n == 0 || n > COMAP_ROOT_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i += step) {
		step = decode(p + i, n - i);
		if (step == 0)
			return false;
	}
	return true;
}

static int no_init(comap_heap *heap, comap_ref *cell, void *arg)
{
	(void)heap;
	(void)cell;
	(void)arg;
	return 0;
}

static void try_name(comap_heap *heap, const char *name, bool is_valid)
{
	struct comap_root_iter iter = { 0 };
	comap_ref ref = COMAP_NULL;

	if (!is_valid) {
		MUST(comap_root_set(heap, name, ref) == -EINVAL);
		MUST(comap_root_get(heap, name, &ref) == -EINVAL);
		MUST(comap_root_delete(heap, name) == -EINVAL);
		MUST(comap_root_once(heap, name, no_init, NULL, 0, &ref) == -EINVAL);
		MUST(comap_root_next(heap, &iter) == 0);
		return;
	}
	MUST(comap_root_get(heap, name, &ref) == -ENOENT);
	MUST(comap_root_once(heap, name, no_init, NULL, 0, &ref) == 0 && comap_ref_is_null(ref));
	MUST(comap_root_set(heap, name, ref) == 0);
	MUST(comap_root_get(heap, name, &ref) == 0);
	MUST(comap_root_next(heap, &iter) == 1 && strcmp(iter.name, name) == 0);
	MUST(comap_root_delete(heap, name) == 0);
	MUST(comap_root_get(heap, name, &ref) == -ENOENT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static comap_heap *heap;
	static char name[256];
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.max_size = 8 << 20;
	opts.slots = 2;
	if (!heap)
		MUST(comap_heap_open_anon(&opts, &heap) == 0);
	size = size < sizeof name - 1 ? size : sizeof name - 1;
	memcpy(name, data, size);
	name[size] = '\0';
	try_name(heap, name, is_name((const uint8_t *)name, strlen(name)));
	return 0;
}
