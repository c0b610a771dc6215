/*
 * report.c - the figures of a heap, written for people and for programs.
 *
 * A report is three tables: the totals, which have one row, the classes, the
 * threads.  What a row shows is a list of columns, each a name and a place in a
 * struct of heap.h; a form is what stands before, between and behind them, and
 * how it shows letters it cannot hold.  One walk goes over tables, rows and
 * columns.  So a new figure is one entry here, in all forms at once.
 *
 * Everything is read through the public calls, which take no lock and no slot.
 * Numbers are whole: no locale puts a comma in them.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include "heap/heap.h"
#include "heap/report.h"

enum kind { U32, I32, U64, BYTES, LIMIT, STATE, NAME };

struct column {
	const char *name;
	size_t at;
	enum kind kind;
	int width; /* in TEXT */
};

struct class_row {
	struct comap_class_stats is;
	uint32_t use; /* of its blocks, in percent */
};

#define TOTAL(name, kind) { #name, offsetof(struct comap_heap_stats, name), kind, 0 }
static const struct column totals[] = {
	TOTAL(slots, U32),          TOTAL(slots_live, U32),      TOTAL(slots_dead, U32),
	TOTAL(max_size, BYTES),     TOTAL(quota, LIMIT),         TOTAL(grown, BYTES),
	TOTAL(committed, BYTES),    TOTAL(dirty, BYTES),         TOTAL(live_blocks, U64),
	TOTAL(live_bytes, BYTES),   TOTAL(cached_blocks, U64),   TOTAL(cached_bytes, BYTES),
	TOTAL(free_bytes, BYTES),   TOTAL(largest_free, BYTES),  TOTAL(large_blocks, U64),
	TOTAL(large_bytes, BYTES),  TOTAL(mallocs, U64),         TOTAL(frees, U64),
	TOTAL(caches, U64),         TOTAL(refills, U64),         TOTAL(flushes, U64),
	TOTAL(lock_waits, U64),     TOTAL(purged_bytes, BYTES),  TOTAL(deaths, U64),
	TOTAL(misuses, U64),        TOTAL(steals, U64),
};

#define CLASS(name) offsetof(struct class_row, is.name), U64
static const struct column class_columns[] = {
	{ "block_size", CLASS(block_size), 10 }, { "live", CLASS(live), 12 },
	{ "free", CLASS(free), 10 },             { "cached", CLASS(cached), 9 },
	{ "slabs", CLASS(slabs), 9 },
	{ "use_percent", offsetof(struct class_row, use), U32, 13 },
};

#define THREAD(name, kind) offsetof(struct comap_slot_info, name), kind
static const struct column thread_columns[] = {
	{ "slot", THREAD(slot, U32), 6 },      { "tgid", THREAD(tgid, I32), 9 },
	{ "tid", THREAD(tid, I32), 9 },        { "state", THREAD(is_dead, STATE), 7 },
	{ "mallocs", THREAD(mallocs, U64), 12 }, { "frees", THREAD(frees, U64), 12 },
	{ "bytes", THREAD(bytes, U64), 15 },   { "name", THREAD(name, NAME), 0 },
};

struct table {
	const char *name, *row; /* the row's element in XML; NULL: the table is one row */
	const struct column *columns;
	unsigned n;
};

#define COLUMNS(of) of, sizeof of / sizeof *of
static const struct table heap_table = { "heap", NULL, COLUMNS(totals) };
static const struct table class_table = { "classes", "class", COLUMNS(class_columns) };
static const struct table thread_table = { "threads", "thread", COLUMNS(thread_columns) };

/* ---- the walk ---------------------------------------------------------------------------- */

/* The cell as it stands in the report; *ret_n: its number. */
static void show(const struct cm_form *form, const struct column *column, const void *at, char *to,
		 size_t size, uint64_t *ret_n)
{
	*ret_n = 0;
	to[0] = '\0';
	switch (column->kind) {
	case NAME:
		cm_form_text(form, at, to, size);
		return;
	case STATE:
		snprintf(to, size, "%s", *(const int32_t *)at ? "dead" : "alive");
		return;
	case I32:
		snprintf(to, size, "%" PRId32, *(const int32_t *)at);
		return;
	case U32:
		*ret_n = *(const uint32_t *)at;
		break;
	case LIMIT:
	case BYTES:
	case U64:
		*ret_n = *(const uint64_t *)at;
	}
	if (column->kind == LIMIT && *ret_n == UINT64_MAX)
		snprintf(to, size, "%s", form->none);
	else
		snprintf(to, size, "%" PRIu64, *ret_n);
}

static void write_for_people(FILE *to, const struct table *table, const struct column *column,
			     const char *shown, uint64_t n)
{
	uint64_t tenths = n / 1024 * 10 + n % 1024 * 10 / 1024;
	unsigned unit = 0;

	if (table->row) {
		fprintf(to, "%s%*s", column->width ? "" : "  ", column->width, shown);
		return;
	}
	for (; tenths >= 10240; tenths /= 1024)
		unit++;
	fprintf(to, "  %-14s %20s", column->name, shown);
	if ((column->kind == BYTES || column->kind == LIMIT) && n >= 1024 && n != UINT64_MAX)
		fprintf(to, "  %6u.%u %ciB", (unsigned)tenths / 10, (unsigned)tenths % 10, "KMGTPE"[unit]);
	fputc('\n', to);
}

static void write_row(FILE *to, const struct cm_form *form, const struct table *table, unsigned nth,
		      const void *row)
{
	char shown[128]; /* a name has 15 bytes, and each becomes at most 6 */
	bool is_many = table->row;
	uint64_t n;

	fputs(nth ? form->next_row : "", to);
	fprintf(to, form->row[is_many], is_many ? table->row : table->name);
	for (const struct column *c = table->columns; c < table->columns + table->n; c++) {
		show(form, c, (const char *)row + c->at, shown, sizeof shown, &n);
		if (!form->cell[0]) {
			write_for_people(to, table, c, shown, n);
			continue;
		}
		fputs(c > table->columns ? form->next_cell[is_many] : "", to);
		fprintf(to, form->cell[c->kind >= STATE], c->name, shown);
	}
	fputs(form->row_end[is_many], to);
}

static void begin(FILE *to, const struct cm_form *form, const struct table *table)
{
	fprintf(to, form->begin[table->row != NULL], table->name);
	if (!table->row || form->cell[0])
		return;
	for (const struct column *c = table->columns; c < table->columns + table->n; c++)
		fprintf(to, "%s%*s", c->width ? "" : "  ", c->width, c->name);
	fputc('\n', to);
}

static void end(FILE *to, const struct cm_form *form, const struct table *table)
{
	fprintf(to, form->end[table->row != NULL], table->name);
}

struct threads {
	FILE *to;
	const struct cm_form *form;
	unsigned n;
};

static int write_thread(const struct comap_slot_info *info, void *arg)
{
	struct threads *t = arg;

	write_row(t->to, t->form, &thread_table, t->n++, info);
	return 0;
}

static void write_report(comap_heap *heap, FILE *to, const struct cm_form *form)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	struct threads threads = { to, form, 0 };
	unsigned n = 0;

	(void)comap_heap_get_stats(heap, &stats);
	fprintf(to, form->head, comap_version());
	begin(to, form, &heap_table);
	write_row(to, form, &heap_table, 0, &stats);
	end(to, form, &heap_table);
	begin(to, form, &class_table);
	for (unsigned c = 0; c < COMAP_CLASSES; c++) {
		const struct comap_class_stats *is = &stats.classes[c];
		uint64_t blocks = is->live + is->free + is->cached;
		struct class_row row = { *is, blocks ? (uint32_t)(is->live * 100 / blocks) : 0 };

		if (is->slabs)
			write_row(to, form, &class_table, n++, &row);
	}
	end(to, form, &class_table);
	begin(to, form, &thread_table);
	(void)comap_heap_slots(heap, write_thread, &threads);
	end(to, form, &thread_table);
	fputs(form->tail, to);
}

int comap_heap_report(comap_heap *heap, FILE *to, enum comap_report form)
{
	int state, err;

	if ((unsigned)form >= CM_FORMS)
		return -EINVAL;
	/* stdio has cancellation points; an end there would leave `to` locked */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	flockfile(to);
	write_report(heap, to, &cm_forms[form]);
	err = fflush(to) == EOF || ferror(to) ? -EIO : 0;
	funlockfile(to);
	pthread_setcancelstate(state, NULL);
	return err;
}
