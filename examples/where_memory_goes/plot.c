/*
 * plot.c - both heaps grow and shrink in step, and the picture of it.
 *
 * Every few milliseconds each heap does one MiB of the phase it is in, and a
 * sample is taken.  The pace is ours, so that the time axis says the same for
 * both; how fast they are is another program's question (bench/).
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "evidence.h"
#include "questions.h"
#include "side.h"
#include "smaps.h"

#define SMALL ((size_t)1024)
#define STEP ((size_t)MIB)
#define DIRTY_MAX (12 * MIB)

enum { NSTEPS = 32, NSMALL = STEP / SMALL, TICK_MS = 5, PAUSE = 10 };

enum phase { GROW_SMALL, GROW_LARGE, FREE_SMALL, FREE_LARGE, TRIM, NPHASES };

static const char *const phase_names[NPHASES] = {
	[GROW_SMALL] = "32 MiB in small blocks",
	[GROW_LARGE] = "32 MiB in large blocks",
	[FREE_SMALL] = "free the small, but one",
	[FREE_LARGE] = "free the large",
	[TRIM] = "trim",
};

enum { LIBC, COMAP, NSIDES };
enum { LIBC_RSS, COMAP_RSS, COMAP_STORAGE, NLINES_DRAWN };

struct sample {
	double ms;
	enum phase phase;
	double mib[NLINES_DRAWN];
};

static struct sample samples[(NSTEPS + PAUSE) * NPHASES + 1];
static size_t nsamples;

static void *small[NSIDES][NSTEPS][NSMALL], *large[NSIDES][NSTEPS];

/* ---- grow and shrink ----------------------------------------------------- */

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void do_small(const struct side *side, int step, bool is_free, void **blocks)
{
	for (int i = 0; i < NSMALL; i++) {
		if (!is_free) {
			blocks[i] = side_malloc(side, SMALL);
			memset(blocks[i], 1, SMALL);
		} else if (step < NSTEPS - 1 || i < NSMALL - 1) {
			side_free(side, blocks[i]);
		}
	}
}

/* One MiB's worth of the phase. */
static void do_step(const struct side *side, int s, enum phase phase, int step)
{
	switch (phase) {
	case GROW_SMALL:
	case FREE_SMALL:
		do_small(side, step, phase == FREE_SMALL, small[s][step]);
		break;
	case GROW_LARGE:
		large[s][step] = side_malloc(side, STEP);
		touch(large[s][step], STEP);
		break;
	case FREE_LARGE:
		side_free(side, large[s][step]);
		break;
	case TRIM:
	case NPHASES:
		if (step == 0)
			side_trim(side);
		break;
	}
}

static void take_sample(const struct side *sides, enum phase phase, double start)
{
	static const struct timespec tick = { .tv_nsec = TICK_MS * 1000000L };

	samples[nsamples++] = (struct sample){
		.ms = now_ms() - start,
		.phase = phase,
		.mib = { [LIBC_RSS] = mib(side_rss(&sides[LIBC])),
			 [COMAP_RSS] = mib(side_rss(&sides[COMAP])),
			 [COMAP_STORAGE] = mib(side_storage(&sides[COMAP])) },
	};
	nanosleep(&tick, NULL);
}

static void run(const struct side *sides)
{
	double start = now_ms();

	for (enum phase phase = 0; phase < NPHASES; phase++) {
		int nsteps = phase == TRIM ? 1 : NSTEPS;

		for (int step = 0; step < nsteps + PAUSE; step++) {
			for (int s = 0; step < nsteps && s < NSIDES; s++)
				do_step(&sides[s], s, phase, step);
			take_sample(sides, phase, start);
		}
	}
}

static const struct sample *last_of(enum phase phase)
{
	const struct sample *last = samples;

	for (size_t i = 0; i < nsamples; i++)
		if (samples[i].phase == phase)
			last = &samples[i];
	return last;
}

static void check_samples(void)
{
	const double *full = last_of(GROW_LARGE)->mib, *freed = last_of(FREE_SMALL)->mib;
	const double *empty = last_of(FREE_LARGE)->mib, *trimmed = last_of(TRIM)->mib;

	must(full[LIBC_RSS] > 63 && full[COMAP_RSS] > 63, "both heaps have 64 MiB");
	must(freed[LIBC_RSS] > 63, "libc: one block keeps all the small ones");
	must(freed[COMAP_STORAGE] < 32 + 12 + 3, "comap: only dirty_max is kept");
	must(empty[LIBC_RSS] > 31 && empty[LIBC_RSS] < 36, "libc: the large blocks went");
	must(empty[COMAP_STORAGE] < 12 + 3, "comap: only dirty_max is kept");
	must(trimmed[LIBC_RSS] < 2 && trimmed[COMAP_STORAGE] < 2, "trim leaves next to nothing");
}

/* ---- the picture --------------------------------------------------------- */

enum { WIDTH = 1000, HEIGHT = 560, LEFT = 76, RIGHT = 24, TOP = 104, BOTTOM = 64, MAX_MIB = 80 };

static const struct drawn {
	const char *name, *colour, *dash;
	double width;
} lines[NLINES_DRAWN] = {
	[LIBC_RSS] = { "libc, Rss", "#e8893a", "none", 6 },
	[COMAP_RSS] = { "comap, Rss", "#1f6fb2", "none", 2.5 },
	[COMAP_STORAGE] = { "comap, storage (st_blocks)", "#0b2e4f", "2 5", 2 },
};

static double x_of(double ms)
{
	double all = samples[nsamples - 1].ms;

	return LEFT + ms / all * (WIDTH - LEFT - RIGHT);
}

static double y_of(double m)
{
	return HEIGHT - BOTTOM - m / MAX_MIB * (HEIGHT - TOP - BOTTOM);
}

static void draw_text(FILE *svg, double x, double y, const char *anchor, int size,
		      const char *colour, const char *text)
{
	fprintf(svg, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" font-size=\"%d\" fill=\"%s\">"
		"%s</text>\n",
		x, y, anchor, size, colour, text);
}

static void draw_line(FILE *svg, double x1, double y1, double x2, double y2, const char *style)
{
	fprintf(svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2,
		style);
}

/* A band for each phase, every second one shaded, with its name. */
static void draw_phases(FILE *svg)
{
	double from = 0;

	for (enum phase phase = 0; phase < NPHASES; phase++) {
		double to = last_of(phase)->ms, x = x_of(from), width = x_of(to) - x;

		fprintf(svg, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n",
			x, TOP, width, HEIGHT - TOP - BOTTOM, phase % 2 ? "#ffffff" : "#f1f3f5");
		draw_text(svg, x + width / 2, TOP + 20, "middle", 13, "#343a40", phase_names[phase]);
		from = to;
	}
}

static void draw_axes(FILE *svg)
{
	const char *grid = "stroke=\"#ced4da\" stroke-width=\"1\"";
	const char *axis = "stroke=\"#343a40\" stroke-width=\"1.5\"";
	double all = samples[nsamples - 1].ms;
	char text[32];

	for (int m = 0; m <= MAX_MIB; m += 16) {
		if (m > 0)
			draw_line(svg, LEFT, y_of(m), WIDTH - RIGHT, y_of(m), grid);
		snprintf(text, sizeof text, "%d", m);
		draw_text(svg, LEFT - 10, y_of(m) + 4, "end", 13, "#343a40", text);
	}
	for (int ms = 0; ms <= all; ms += 100) {
		draw_line(svg, x_of(ms), y_of(0), x_of(ms), y_of(0) + 6, axis);
		snprintf(text, sizeof text, "%d", ms);
		draw_text(svg, x_of(ms), y_of(0) + 22, "middle", 13, "#343a40", text);
	}
	draw_line(svg, LEFT, TOP, LEFT, y_of(0), axis);
	draw_line(svg, LEFT, y_of(0), WIDTH - RIGHT, y_of(0), axis);
	draw_text(svg, LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 16, "middle", 14, "#343a40",
		  "time (ms)");
	fprintf(svg, "<text transform=\"translate(24 %.1f) rotate(-90)\" text-anchor=\"middle\" "
		"font-size=\"14\" fill=\"#343a40\">memory (MiB)</text>\n",
		(TOP + y_of(0)) / 2);
}

static void draw_lines(FILE *svg)
{
	for (int l = 0; l < NLINES_DRAWN; l++) {
		fprintf(svg, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" "
			"stroke-dasharray=\"%s\" stroke-linejoin=\"round\" points=\"",
			lines[l].colour, lines[l].width, lines[l].dash);
		for (size_t i = 0; i < nsamples; i++)
			fprintf(svg, "%s%.1f,%.1f", i ? " " : "", x_of(samples[i].ms),
				y_of(samples[i].mib[l]));
		fprintf(svg, "\"/>\n");
	}
}

static void draw_legend(FILE *svg)
{
	double x = LEFT;

	for (int l = 0; l < NLINES_DRAWN; l++) {
		fprintf(svg, "<line x1=\"%.1f\" y1=\"80\" x2=\"%.1f\" y2=\"80\" stroke=\"%s\" "
			"stroke-width=\"%.1f\" stroke-dasharray=\"%s\"/>\n",
			x, x + 36, lines[l].colour, lines[l].width, lines[l].dash);
		draw_text(svg, x + 44, 85, "start", 14, lines[l].colour, lines[l].name);
		x += 160;
	}
}

/* What is to be seen, beside the line that shows it. */
static void draw_notes(FILE *svg)
{
	double ms = last_of(GROW_LARGE)->ms + 0.5 * (last_of(FREE_SMALL)->ms - last_of(GROW_LARGE)->ms);
	double end = last_of(FREE_LARGE)->ms;
	char text[64];

	draw_text(svg, x_of(ms), y_of(66), "middle", 13, "#c25700",
		  "one live block keeps them all");
	draw_text(svg, x_of(end) - 8, y_of(28.8), "end", 13, "#c25700",
		  "until trim");
	snprintf(text, sizeof text, "dirty_max, %d MiB, is kept", (int)(DIRTY_MAX / MIB));
	draw_text(svg, x_of(end) - 8, y_of(5), "end", 13, lines[COMAP_RSS].colour, text);
}

static void draw(FILE *svg)
{
	fprintf(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
		"height=\"%d\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	fprintf(svg, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
	draw_text(svg, LEFT, 34, "start", 20, "#212529", "Where memory goes, and when it comes back");
	draw_text(
		svg, LEFT, 56, "start", 13, "#495057",
		"The same blocks from libc's malloc and from a comap heap: small ones of 1 KiB, large "
		"ones of 1 MiB");
	draw_phases(svg);
	draw_axes(svg);
	draw_lines(svg);
	draw_legend(svg);
	draw_notes(svg);
	fprintf(svg, "</svg>\n");
}

void plot(const char *path)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct side sides[NSIDES];
	FILE *svg = fopen(path, "we");

	if (!svg)
		err(1, "%s", path);
	memset(samples, 0xff, sizeof samples); /* resident before anything is measured */
	memset(small, 0xff, sizeof small);
	memset(large, 0xff, sizeof large);
	opts.dirty_max = DIRTY_MAX;
	sides[COMAP] = side_comap(&opts);
	sides[LIBC] = side_libc();
	run(sides);
	check_samples();
	side_check(&sides[COMAP]);
	side_close(&sides[COMAP]);

	draw(svg);
	if (fclose(svg) != 0)
		err(1, "%s", path);
	printf("\nThe picture is in %s\n", path);
}
