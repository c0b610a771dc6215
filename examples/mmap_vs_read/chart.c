/*
 * chart.c - the tables as pictures, SVG by hand.
 *
 * One picture a task: a panel for each state, a bar for each way, longer is faster, with its
 * number at its end.  And one of everything: how many times as long as the best way the
 * best read, the best mmap and comap took.  Kinds of ways differ by pattern and by shape as well as
 * by colour, so that a grey print says the same.
 */
#include <err.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "way.h"

#define INK "#212529"
#define SOFT "#495057"
#define GRID "stroke=\"#dee2e6\" stroke-width=\"1\""
#define AXIS "stroke=\"#343a40\" stroke-width=\"1.5\""

static FILE *svg;

__attribute__((format(printf, 5, 6))) static void text_at(double x, double y, const char *anchor,
							  const char *style, const char *format, ...)
{
	va_list list;

	fprintf(svg, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" %s>", x, y, anchor, style);
	va_start(list, format);
	vfprintf(svg, format, list);
	va_end(list);
	fprintf(svg, "</text>\n");
}

static void line(double x1, double y1, double x2, double y2, const char *style)
{
	fprintf(svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, style);
}

/* What a kind of ways is filled with. */
static const char *const fills[NFAMILIES] = {
	[READS] = "url(#hatch)", [MAPS] = "#f0a040", [KERNEL] = "url(#dots)", [COMAP] = "#16324f",
};

static void swatch(double x, double y, double width, double height, enum family family)
{
	fprintf(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" "
		"stroke=\"#343a40\" stroke-width=\"1\"/>\n",
		x, y, width, height, fills[family]);
}

static void begin(const char *folder, const char *name, int width, int height, const char *title)
{
	char path[1024];

	snprintf(path, sizeof path, "%s/%s.svg", folder, name);
	svg = fopen(path, "we");
	if (!svg)
		err(1, "%s", path);
	fprintf(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
		"height=\"%d\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" fill=\"" INK
		"\">\n",
		width, height, width, height);
	fprintf(svg, "<defs>\n"
		"<pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" "
		"patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#ffffff\"/>"
		"<rect width=\"2.5\" height=\"6\" fill=\"#1f6fb2\"/></pattern>\n"
		"<pattern id=\"dots\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">"
		"<rect width=\"6\" height=\"6\" fill=\"#ffffff\"/>"
		"<circle cx=\"3\" cy=\"3\" r=\"1.4\" fill=\"#495057\"/></pattern>\n</defs>\n");
	fprintf(svg, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
	text_at(24, 34, "start", "font-size=\"20\" font-weight=\"bold\"", "%s", title);
}

static void end(void)
{
	fprintf(svg, "</svg>\n");
	if (fclose(svg) != 0)
		err(1, "chart");
}

/* ---- one task ------------------------------------------------------------------ */

enum { NAMES = 200, TOP = 132, PITCH = 26, BAR = 16, LABEL = 84, FOOT = 62 };

static void draw_legend(const struct task *task, double y)
{
	static const int widths[NFAMILIES] = { 140, 96, 262, 200 };
	double x = 24;

	for (enum family f = 0; f < NFAMILIES; f++) {
		bool is_used = false;

		for (const struct way *w = task->ways; w->name; w++)
			is_used |= w->family == f;
		if (!is_used)
			continue;
		swatch(x, y - 11, 24, 13, f);
		text_at(x + 31, y, "start", "font-size=\"13\"", "%s", family_names[f]);
		x += widths[f];
	}
}

static double largest_rate(const struct outcome *o)
{
	return o->best < 0 ? 0 : rate_of(o, o->best);
}

/* 1, 2 or 5 times a power of ten, so that three to six of them reach up to most. */
static double tick_step(double most)
{
	double step = pow(10, floor(log10(most / 3)));

	return step * (most / step > 15 ? 5 : most / step > 6 ? 2 : 1);
}

static double unit_of(const struct task *task, double most, char *name, size_t room)
{
	if (!task->piece) {
		snprintf(name, room, "GB/s");
		return 1;
	}
	snprintf(name, room, "%s%s a second", most >= 1e6 ? "million " : most >= 1e3 ? "thousand " : "",
		 task->piece);
	return most >= 1e6 ? 1e6 : most >= 1e3 ? 1e3 : 1;
}

static void draw_panel(const struct outcome *o, double left, double width, double most)
{
	double foot = TOP + PITCH * o->nways, room = width - LABEL, step, unit;
	char name[48];

	unit = unit_of(o->task, most, name, sizeof name);
	step = tick_step(most / unit);
	for (double tick = 0; tick <= most / unit * 1.001; tick += step) {
		double x = left + tick * unit / most * room;

		line(x, TOP - 4, x, foot + 4, tick > 0 ? GRID : AXIS);
		text_at(x, foot + 20, "middle", "font-size=\"12\" fill=\"" SOFT "\"", "%.4g", tick);
	}
	text_at(left + room / 2, foot + 42, "middle", "font-size=\"13\"", "%s", name);
	text_at(left, TOP - 16, "start", "font-size=\"14\" font-weight=\"bold\"", "%s",
		state_of(o));
	for (int w = 0; w < o->nways; w++) {
		double y = TOP + PITCH * w + (PITCH - BAR) / 2.0, rate = rate_of(o, w);

		if (!o->ways[w].is_there) {
			text_at(left + 6, y + 13, "start", "font-size=\"12\" fill=\"" SOFT "\"",
				"not here");
			continue;
		}
		swatch(left, y, rate / most * room, BAR, o->task->ways[w].family);
		text_at(left + rate / most * room + 6, y + 13, "start",
			w == o->best ? "font-size=\"13\" font-weight=\"bold\"" : "font-size=\"13\"",
			w == o->best ? "%.3g best" : "%.3g", rate / unit);
	}
}

static void describe(const struct outcome *const *panels, int n)
{
	const struct outcome *first = panels[0], *last = panels[n - 1];
	char work[80], cold[48] = "";

	if (!first->task->piece)
		snprintf(work, sizeof work, "%.0f MiB", (double)first->bytes / (double)MIB);
	else
		snprintf(work, sizeof work, "%u %s", first->n, first->task->piece);
	if (last->n != first->n)
		snprintf(cold, sizeof cold, ", cold %u", last->n);
	text_at(24, 56, "start", "font-size=\"13\" fill=\"" SOFT "\"", "%s%s; longer is faster",
		work, cold);
}

static void draw_task(const char *folder, const struct task *task)
{
	const struct outcome *panels[NSTATES];
	int n = 0, width, height;
	double each, warm = 0;

	for (enum state state = 0; state < NSTATES; state++)
		if ((panels[n] = outcome_of(task, state)) != NULL && panels[n]->best >= 0)
			n++;
	if (n == 0)
		return;
	/* one scale for all that is warm: it is there to be compared */
	for (int i = 0; i < n; i++)
		if (panels[i]->state != COLD)
			warm = fmax(warm, largest_rate(panels[i]));
	width = n == 1 ? 800 : n == 2 ? 900 : 1120;
	height = TOP + PITCH * panels[0]->nways + FOOT;
	each = (width - NAMES) / (double)n;
	begin(folder, task->key, width, height, task->title);
	describe(panels, n);
	draw_legend(task, 84);
	for (int w = 0; w < panels[0]->nways; w++)
		text_at(NAMES - 12, TOP + PITCH * w + PITCH / 2.0 + 5, "end", "font-size=\"13\"", "%s",
			task->ways[w].name);
	for (int i = 0; i < n; i++)
		draw_panel(panels[i], NAMES + each * i, each,
			   panels[i]->state == COLD ? largest_rate(panels[i]) : warm);
	end();
}

/* ---- all of them ----------------------------------------------------------------- */

enum { TITLES = 400, ALL_WIDTH = 1120, ALL_TOP = 118, ALL_PITCH = 42, LANE = 9, FIGURES = 120 };

static void draw_mark(double x, double y, enum family family)
{
	static const char *const style = "stroke=\"#343a40\" stroke-width=\"1.3\"";

	switch (family) {
	case READS:
		fprintf(svg, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"#6db3e8\" %s/>\n", x,
			y, style);
		break;
	case MAPS:
		fprintf(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" fill=\"#f0a040\" %s/>\n",
			x - 3.5, y - 3.5, style);
		break;
	case KERNEL:
		fprintf(svg, "<path d=\"M%.1f %.1f l4.5 8 h-9 z\" fill=\"#ffffff\" %s/>\n", x,
			y - 4.5, style);
		break;
	case COMAP:
	case NFAMILIES:
		fprintf(svg, "<path d=\"M%.1f %.1f l5 5 l-5 5 l-5 -5 z\" fill=\"#16324f\" %s/>\n", x,
			y - 5, style);
		break;
	}
}

static double ratio(const struct outcome *o, enum family family)
{
	int w = best_of_family(o, family);

	return w < 0 ? 0 : o->ways[w].seconds / o->ways[o->best].seconds;
}

static void draw_row(const struct outcome *o, double y, double most)
{
	double room = ALL_WIDTH - TITLES - FIGURES;

	text_at(TITLES - 14, y - 3, "end", "font-size=\"13\"", "%s", o->task->title);
	text_at(TITLES - 14, y + 12, "end", "font-size=\"12\" fill=\"" SOFT "\"", "%s",
		state_of(o));
	for (enum family f = 0; f < NFAMILIES; f++) {
		double times = ratio(o, f), lane = y + LANE * ((double)f - 1.5), x;

		if (times <= 0)
			continue;
		x = TITLES + log2(times) / log2(most) * room;
		line(TITLES, lane, x, lane, "stroke=\"#adb5bd\" stroke-width=\"1.5\"");
		draw_mark(x, lane, f);
	}
	text_at(ALL_WIDTH - 24, y + 5, "end", "font-size=\"13\" font-weight=\"bold\"", "%.2f",
		ratio(o, COMAP));
}

static void draw_all(const char *folder)
{
	static const int widths[NFAMILIES] = { 130, 90, 250, 200 };
	double most = 2, room = ALL_WIDTH - TITLES - FIGURES, foot, x = 24;
	int height = ALL_TOP + ALL_PITCH * noutcomes + 60;

	for (int i = 0; i < noutcomes; i++)
		for (enum family f = 0; f < NFAMILIES; f++)
			while (ratio(&outcomes[i], f) > most)
				most *= 2;
	foot = ALL_TOP + ALL_PITCH * noutcomes;
	begin(folder, "overview", ALL_WIDTH, height, "How many times as long as the best way?");
	text_at(24, 56, "start", "font-size=\"13\" fill=\"" SOFT "\"",
		"The best way of each kind; further left is better");
	for (enum family f = 0; f < NFAMILIES; f++) {
		draw_mark(x + 6, 80, f);
		text_at(x + 18, 84, "start", "font-size=\"13\"", "%s", family_names[f]);
		x += widths[f];
	}
	text_at(ALL_WIDTH - 24, ALL_TOP - 12, "end", "font-size=\"13\" font-weight=\"bold\"", "comap");
	for (int i = 0; i < noutcomes; i += 2)
		fprintf(svg, "<rect x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#f1f3f5\"/>\n",
			ALL_TOP + ALL_PITCH * i, ALL_WIDTH, ALL_PITCH);
	for (double times = 1; times <= most; times *= 2) {
		double at = TITLES + log2(times) / log2(most) * room;

		line(at, ALL_TOP, at, foot + 5, times > 1 ? GRID : AXIS);
		text_at(at, foot + 22, "middle", "font-size=\"12\" fill=\"" SOFT "\"", "%g", times);
	}
	text_at(TITLES + room / 2, foot + 44, "middle", "font-size=\"13\"",
		"times as long as the best (each step doubles)");
	for (int i = 0; i < noutcomes; i++)
		draw_row(&outcomes[i], ALL_TOP + ALL_PITCH * (i + 0.5), most);
	end();
}

void draw_charts(const char *folder)
{
	static const struct task *const tasks[] = { &scan_task, &random4k_task, &random64_task, &few_task,
						    &many_task, &copy_task, &write_task, &update_task };

	if (mkdir(folder, 0777) < 0 && errno != EEXIST)
		err(1, "%s", folder);
	for (size_t t = 0; t < sizeof tasks / sizeof *tasks; t++)
		draw_task(folder, tasks[t]);
	draw_all(folder);
	printf("The charts are in %s\n", folder);
}
