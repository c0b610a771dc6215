/*
 * table.c - one table for each task and state, and three sentences about all of them.
 *
 * The sentences are made of the numbers, and say nothing that was not measured: where a state or
 * a way is missing, so is what would be said about it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "way.h"

static void print_way(const struct outcome *o, int w)
{
	const struct figures *f = &o->ways[w];
	char each[24] = "";

	if (!f->is_there) {
		printf("    %-22s not here: %s\n", o->task->ways[w].name, f->why_not);
		return;
	}
	if (o->task->piece)
		snprintf(each, sizeof each, "%.3f", f->seconds * 1e6 / o->n);
	printf("  %c %-22s %8.3g %10s %10.2f %9.2f %9ld %7ld %9.1f\n", w == o->best ? '*' : ' ',
	       o->task->ways[w].name, (double)o->bytes / 1e9 / f->seconds, each, f->seconds * 1e3,
	       f->cpu_seconds * 1e3, f->minor, f->major, (double)f->peak / (double)MIB);
}

void print_outcome(const struct outcome *o)
{
	char work[64], each[32] = "";

	if (o->task->piece) {
		snprintf(work, sizeof work, "%u %s", o->n, o->task->piece);
		snprintf(each, sizeof each, "us each");
	} else {
		snprintf(work, sizeof work, "%.0f MiB", (double)o->bytes / (double)MIB);
	}
	printf("\n%s, %s (%s)\n\n", o->task->title, work,
	       state_of(o));
	printf("    %-22s %8s %10s %10s %9s %9s %7s %9s\n", "", "GB/s", each, "ms", "CPU ms", "minor",
	       "major", "peak MiB");
	for (int w = 0; w < o->nways; w++)
		print_way(o, w);
	fflush(stdout);
}

/* ---- sentences --------------------------------------------------------------- */

static char text[2048];

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	size_t at = strlen(text);
	va_list list;

	va_start(list, format);
	vsnprintf(text + at, sizeof text - at, format, list);
	va_end(list);
}

static void print_wrapped(void)
{
	enum { COLUMNS = 96 };
	int column = 0;

	for (const char *word = text; *word; word += strspn(word, " ")) {
		int length = (int)strcspn(word, " ");

		if (column > 0 && column + 1 + length > COLUMNS) {
			printf("\n");
			column = 0;
		}
		column += printf("%s%.*s", column ? " " : "", length, word);
		word += length;
	}
	printf("\n\n");
	text[0] = '\0';
}

static double times_faster(const struct outcome *o, int fast, int slow)
{
	return o->ways[slow].seconds / o->ways[fast].seconds;
}

static const char *in_words(double times)
{
	static char words[48];

	if (times >= 1)
		snprintf(words, sizeof words, "was %.2f times as fast as", times);
	else
		snprintf(words, sizeof words, "took %.2f times as long as", 1 / times);
	return words;
}

static void compare(const struct outcome *o, const char *when)
{
	int map = best_of_family(o, MAPS), read = best_of_family(o, READS);
	double times = times_faster(o, map, read);

	say("%s %s %s %s (%.1f and %.1f GB/s, %.1f faults a MiB)", when, o->task->ways[map].name,
	    in_words(times), o->task->ways[read].name, rate_of(o, map), rate_of(o, read),
	    (double)(o->ways[map].minor + o->ways[map].major) / ((double)o->bytes / (double)MIB));
}

static void say_scan(void)
{
	const struct outcome *large = outcome_of(&scan_task, LARGE_FOLIOS);
	const struct outcome *small = outcome_of(&scan_task, SMALL_FOLIOS);
	const struct outcome *cold = outcome_of(&scan_task, COLD);

	say("Scanning: ");
	compare(large, "where the file had been read in one go,");
	if (small)
		compare(small, "; after some stray reads, as warm,");
	if (cold)
		compare(cold, "; cold,");
	say(".");
	print_wrapped();
}

static void say_random(void)
{
	const struct outcome *many = outcome_of(&random64_task, LARGE_FOLIOS);
	const struct outcome *few = outcome_of(&few_task, SMALL_FOLIOS);
	int read = best_of_family(many, READS), map = best_of_family(many, MAPS);

	say("Looking here and there: for %u reads of 64 bytes %s %s %s (%.2f and %.2f us each)", many->n,
	    many->task->ways[map].name, in_words(times_faster(many, map, read)),
	    many->task->ways[read].name, many->ways[map].seconds * 1e6 / many->n,
	    many->ways[read].seconds * 1e6 / many->n);
	if (!few)
		few = outcome_of(&few_task, LARGE_FOLIOS);
	read = best_of_family(few, READS);
	map = best_of_family(few, MAPS);
	say("; for %u of them, %s, %s %s %s.", few->n, state_of(few), few->task->ways[map].name,
	    in_words(times_faster(few, map, read)), few->task->ways[read].name);
	print_wrapped();
}

/* Where leaving it to comap cost most. */
static void say_comap(void)
{
	const struct outcome *worst = NULL;
	double most = 0, times;
	int near = 0, of = 0;

	for (int i = 0; i < noutcomes; i++) {
		const struct outcome *o = &outcomes[i];
		int ours = best_of_family(o, COMAP);

		if (ours < 0)
			continue;
		times = times_faster(o, o->best, ours);
		of++;
		near += times <= 1.10;
		if (times > most) {
			most = times;
			worst = o;
		}
	}
	if (!worst)
		return;
	say("Left to choose, comap was within 10 %% of the best way in %d of %d tables; farthest off in "
	    "\"%s\" (%s), where it took %.2f times as long as %s.",
	    near, of, worst->task->title, state_of(worst), most,
	    worst->task->ways[worst->best].name);
	print_wrapped();
}

void print_sentences(void)
{
	printf("\nSeen on this machine\n\n");
	say_scan();
	say_random();
	say_comap();
}
