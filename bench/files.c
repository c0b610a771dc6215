/* files.c - rows on heaps in files: how long it takes until one that is there already is of use. */
#include <string.h>
#include "bench.h"

/* Microseconds: open, the first malloc, its free.  The median of many. */
static double open_with(unsigned objects, uint64_t most)
{
	enum { TURNS = 41 };
	double took[TURNS], start;
	char path[64];

	snprintf(path, sizeof path, "bench-%d.heap", (int)getpid());
	unlink(path);
	if (!peer_file_create(path, most))
		not_here("heaps in files");
	for (unsigned i = 0; i < objects; i++)
		(void)stamped(64, i);
	peer_close();
	for (unsigned i = 0; i < TURNS; i++) {
		start = now();
		if (!peer_file_open(path))
			wrong("the heap does not open");
		drop(stamped(64, i), i);
		took[i] = (now() - start) * 1e6;
		peer_close();
	}
	unlink(path);
	return median(took, TURNS);
}

static double open_big(void)
{
	return open_with(1000000, 8ull << 30);
}

static double open_small(void)
{
	return open_with(1000, 256ull << 20);
}

const struct row files[] = {
	{ "open", "us", open_big, true },
	{ "open-small", "us", open_small, true },
	{0},
};
