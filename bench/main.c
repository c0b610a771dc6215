/*
 * main.c - the malloc benchmark, one row a run:
 *
 *	bench_PEER ROW [SECONDS]
 *
 * prints "VALUE UNIT".  Exit status 3: the row found its own work wrong; 4: the peer has no such thing.
 */
#include <string.h>
#include "bench.h"

double seconds = 0.2;

int main(int argc, char **argv)
{
	static const struct row *const all[] = { one_worker, two_workers, footprints, files, deaths };

	if (argc > 2)
		seconds = strtod(argv[2], NULL);
	for (unsigned i = 0; argc > 1 && i < sizeof all / sizeof *all; i++)
		for (const struct row *row = all[i]; row->name; row++)
			if (strcmp(argv[1], row->name) == 0) {
				if (!row->is_alone)
					peer_begin();
				pin(0);
				printf("%.6g %s\n", row->run(), row->unit);
				return 0;
			}
	fprintf(stderr, "usage: %s ROW [SECONDS]\n", argv[0]);
	return 2;
}
