/* opts.c - option structs that grow: what both sides know is copied, the rest must be zero. */
#include <string.h>
#include "view/view.h"

#define SIZE_MOST 4096u /* no struct of options is longer: a size that was never set is nonsense */

int cm_opts_copy(void *to, size_t want, const void *from, size_t have)
{
	const char *bytes = from;

	if (have < sizeof(uint32_t) || have > SIZE_MOST)
		return -EINVAL;
	for (size_t i = want; i < have; i++)
		if (bytes[i])
			return -E2BIG;
	memset(to, 0, want);
	memcpy(to, from, want < have ? want : have);
	return 0;
}

int cm_info_copy(void *to, size_t want, const void *from, size_t have)
{
	memset(to, 0, want);
	memcpy(to, from, want < have ? want : have);
	return 0;
}
