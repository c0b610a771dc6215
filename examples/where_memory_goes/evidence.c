/* evidence.c - headings, paragraphs, lines; and must(). */
#include "evidence.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 3, COLUMNS = 96 };

struct tally *evidence_tally;

void heading(int number, const char *question)
{
	printf("\n%d. %s\n\n", number, question);
}

/* The words of text, broken into lines. */
static void print_wrapped(const char *text)
{
	int column = 0;

	while (*text) {
		int length = (int)strcspn(text, " ");

		if (column > 0 && column + 1 + length > COLUMNS) {
			printf("\n");
			column = 0;
		}
		column += printf("%*s%.*s", column ? 1 : MARGIN, "", length, text);
		text += length;
		text += strspn(text, " ");
	}
	printf("\n");
}

void answer(const char *format, ...)
{
	char text[1200];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	print_wrapped(text);
	printf("\n");
}

void evidence(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	printf("      ");
	vprintf(format, list);
	printf("\n");
	va_end(list);
}

void skipped(const char *format, ...)
{
	va_list list;

	evidence_tally->nskipped++;
	va_start(list, format);
	printf("   skipped: ");
	vprintf(format, list);
	printf("\n");
	va_end(list);
}

void must(bool holds, const char *format, ...)
{
	va_list list;

	evidence_tally->nchecked++;
	if (holds)
		return;
	fflush(stdout);
	va_start(list, format);
	fprintf(stderr, "where_memory_goes: it should be so and is not: ");
	vfprintf(stderr, format, list);
	fprintf(stderr, "\n");
	va_end(list);
	exit(1);
}
