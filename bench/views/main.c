/*
 * main.c - the views benchmark, one method of one row a run:
 *
 *	bench_views list                          rows, their units and methods
 *	bench_views DIR MIB prepare ROW           make its files; they stay in DIR
 *	bench_views DIR MIB run ROW METHOD        do it, print "VALUE FAULTS"
 *
 * VALUE is the median of some passes, in the row's unit, FAULTS the page faults of one.  Each
 * pass opens, maps, looks and unmaps anew; nothing but buffers of libc and comap stays.
 * Exit status 3: the method saw or made something wrong; 4: this machine has no such thing.
 *
 * What would make the numbers a lie: files not in the page cache (then it is the disk that is
 * measured: prepare reads them), a folio state other than the row says (FAULTS show it), and
 * other work on the machine (views.py takes turns, and tells the spread).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "views.h"

const char *views_dir;
uint64_t views_mib = 1024;
const struct method *method;

enum { PASSES_MOST = 64 };
#define ENOUGH 0.05 /* seconds */

static const struct row *const all[] = { scan_rows, view_rows, random_rows, write_rows,
					 file_rows, open_rows, lz4_rows };
enum { NGROUPS = sizeof all / sizeof *all };

void fail(const char *what, const char *name)
{
	fprintf(stderr, "%s %s: %s\n", what, name, strerror(errno));
	_exit(3);
}

void wrong(const char *what)
{
	fprintf(stderr, "wrong: %s\n", what);
	_exit(3);
}

void not_here(const char *what)
{
	fprintf(stderr, "not here: %s\n", what);
	_exit(4);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static long faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt + u.ru_majflt;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double in_unit(const struct row *row, double seconds)
{
	if (strcmp(row->unit, "ms") == 0)
		return seconds * 1e3;
	return seconds * (strcmp(row->unit, "us") == 0 ? 1e6 : 1e9) / row->n;
}

static void run(const struct row *row)
{
	double passes[PASSES_MOST], begun, all_of_them = 0;
	uint64_t want = row->want(row), sum;
	long before, after = 0;
	int n = 0;

	while (n < PASSES_MOST && all_of_them < ENOUGH) {
		if (row->ready)
			row->ready(row);
		before = faults();
		begun = now();
		sum = method->run(row);
		passes[n] = now() - begun;
		after = faults() - before;
		all_of_them += passes[n++];
		if (row->look)
			sum = row->look(row);
		if (sum != want)
			wrong("the sum of what was seen");
	}
	qsort(passes, (size_t)n, sizeof *passes, by_value);
	printf("%.6g %ld\n", in_unit(row, passes[n / 2]), after);
}

static void list(void)
{
	for (int g = 0; g < NGROUPS; g++)
		for (const struct row *row = all[g]; row->name; row++) {
			printf("%s %s", row->name, row->unit);
			for (const struct method *m = row->methods; m->name; m++)
				printf(" %s", m->name);
			printf("\n");
		}
}

static const struct row *find_row(const char *name)
{
	for (int g = 0; g < NGROUPS; g++)
		for (const struct row *row = all[g]; row->name; row++)
			if (strcmp(row->name, name) == 0)
				return row;
	return NULL;
}

int main(int argc, char **argv)
{
	const struct row *row = argc > 4 ? find_row(argv[4]) : NULL;

	if (argc == 2 && strcmp(argv[1], "list") == 0) {
		list();
		return 0;
	}
	if (row) {
		views_dir = argv[1];
		views_mib = strtoull(argv[2], NULL, 10);
		if (strcmp(argv[3], "prepare") == 0 && argc == 5) {
			if (row->prepare)
				row->prepare(row);
			return 0;
		}
		for (method = row->methods; argc == 6 && method->name; method++)
			if (strcmp(method->name, argv[5]) == 0) {
				run(row);
				return 0;
			}
	}
	fprintf(stderr, "usage: %s list | DIR MIB prepare ROW | DIR MIB run ROW METHOD\n", argv[0]);
	return 2;
}
