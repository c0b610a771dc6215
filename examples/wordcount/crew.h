/* crew.h - the parent: forks workers, kills them, buries them, merges what they finish. */
#ifndef WORDCOUNT_CREW_H
#define WORDCOUNT_CREW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "board.h"
#include "tally.h"

enum { CREW_MAX = 64 };

struct crew {
	const struct job *job;
	uint32_t nworkers;       /* at most CREW_MAX */
	double kills_per_second; /* on average; 0: everybody lives */
	uint64_t seed;           /* of the killer's random numbers, not 0 */

	uint64_t nkilled; /* counted up by each crew_count() */
	uint64_t nredone; /* of these, workers that died over a chunk */

	pid_t pid[CREW_MAX + 1]; /* of worker 1, 2, ...; 0: not at work */
	double next_kill; /* when; the caller sets the first of each: crew_now(), or later */
	double next_progress;
	bool has_progress;
};

/*
 * Count every chunk of the board once more, and add what is found to tally.
 * Returns 0, or -1 when something went wrong and was said on stderr.  In either
 * case no worker is left, and nothing hangs from the board.
 */
int crew_count(struct crew *crew, struct tally *tally);

/* Seconds on a clock that only goes forward. */
double crew_now(void);

#endif
