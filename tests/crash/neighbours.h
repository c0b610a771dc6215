/* neighbours.h - a second process whose threads work on the heap while the first is stepped. */
#ifndef NEIGHBOURS_H
#define NEIGHBOURS_H

#include "crash/stepper.h"

#define NEIGHBOUR_THREADS 2

struct neighbours;
struct neighbours *neighbours_start(int heap_fd);
unsigned neighbours_tids(const struct neighbours *n, pid_t *tids);
struct journal *neighbours_journal(struct neighbours *n, unsigned thread);
void neighbours_stop(struct neighbours *n); /* every thread of them stands still */
void neighbours_go(struct neighbours *n);
void neighbours_end(struct neighbours *n);

#endif
