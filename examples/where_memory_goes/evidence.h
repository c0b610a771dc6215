/*
 * evidence.h - how an answer is printed, and what makes it a test.
 *
 * A question prints its heading, its answer in a sentence or two, and the lines
 * that show it.  Whatever the answer says has gone through must().
 */
#ifndef WHERE_EVIDENCE_H
#define WHERE_EVIDENCE_H

#include <stdbool.h>
#include <stdint.h>

/* One for the program: in shared memory, as each question is asked in a process of its own. */
struct tally {
	uint64_t nchecked, nskipped;
};
extern struct tally *evidence_tally;

void heading(int number, const char *question);
__attribute__((format(printf, 1, 2))) void answer(const char *format, ...);   /* wrapped */
__attribute__((format(printf, 1, 2))) void evidence(const char *format, ...); /* one line */
__attribute__((format(printf, 1, 2))) void skipped(const char *format, ...);  /* and why */

/* What has to hold.  When it does not, the program says the rest and ends with status 1. */
__attribute__((format(printf, 2, 3))) void must(bool holds, const char *format, ...);

#endif
