/* heap/report.h - the forms of a report: what stands around names and values; report_form.c. */
#ifndef CM_REPORT_H
#define CM_REPORT_H

#include <stddef.h>
#include <stdint.h>
#include <comap/report.h>

struct cm_form {
	const char *head, *tail;         /* %s: our version */
	const char *begin[2], *end[2];   /* a table, of one row and of many; %s: its name */
	const char *row[2], *row_end[2]; /* likewise; %s: the row's name */
	const char *next_row, *next_cell[2];
	const char *cell[2]; /* a number, a text; %s: name and value; NULL: columns for people */
	const char *none;
	void (*escape)(char *to, size_t size, uint32_t letter); /* to "": it stays as it is */
};

#define CM_FORMS 3u
extern const struct cm_form cm_forms[CM_FORMS]; /* by enum comap_report */

/* Any bytes, as the form can hold them; each becomes at most 6. */
void cm_form_text(const struct cm_form *form, const char *text, char *to, size_t size);

#endif
