/* worker.h - counts the words of chunks until there is no chunk left. */
#ifndef WORDCOUNT_WORKER_H
#define WORDCOUNT_WORKER_H

#include "board.h"

/*
 * The life of worker number `me`, in a process of its own.  `chunk` is the one
 * its predecessor of that number died over, or NULL.  The dead must have been
 * reaped.  Returns 0 or -errno.
 */
int worker_run(const struct job *job, uint32_t me, struct chunk *chunk);

#endif
