/*
 * root_name.c - what may name a root: 1 to 63 bytes of UTF-8.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include <comap/root.h>
#include "heap/root.h"

/* The length of one UTF-8 character at p (RFC 3629), 0: it is none. */
static size_t utf8_length(const unsigned char *p)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		return (p[1] & 0xc0) == 0x80 ? 2 : 0;
	if ((p[0] & 0xf0) == 0xe0) {
		if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[0] == 0xe0 && p[1] < 0xa0) ||
		    (p[0] == 0xed && p[1] > 0x9f))
			return 0;
		return 3;
	}
	if (p[0] >= 0xf0 && p[0] <= 0xf4) {
		if ((p[1] & 0xc0) != 0x80 || (p[2] & 0xc0) != 0x80 || (p[3] & 0xc0) != 0x80 ||
		    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
			return 0;
		return 4;
	}
	return 0;
}

int cm_root_read_name(const char *text, struct cm_root_name *name)
{
	size_t n = text ? strnlen(text, COMAP_ROOT_NAME_MAX + 1) : 0, step;

	if (n == 0 || n > COMAP_ROOT_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i += step) {
		step = utf8_length((const unsigned char *)text + i);
		if (step == 0)
			return -EINVAL;
	}
	memset(name, 0, sizeof *name);
	memcpy(name->word, text, n);
	name->hash = XXH3_64bits(name->word, sizeof name->word);
	return 0;
}
