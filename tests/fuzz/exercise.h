/*
 * exercise.h - everything a program may do with a heap, in bounded time.
 *
 * The heap may be damaged in any way.  What its calls answer is not looked at: they may refuse,
 * hand out what is somebody else's, or say it is damaged.  They may not crash, touch anything
 * outside the mapping, or take long.  Blocks are written within the size that was asked for.
 */
#ifndef FUZZ_EXERCISE_H
#define FUZZ_EXERCISE_H

#include <stddef.h>
#include <stdint.h>
#include <comap.h>

/* Two bytes a step: what to do, and with what. */
void exercise(comap_heap *heap, const uint8_t *steps, size_t nbytes);
/* A fixed round with each call in it. */
void exercise_round(comap_heap *heap);
/* What a read-only handle can do, too.  Returns what comap_heap_check said. */
int exercise_look(comap_heap *heap);

/*
 * Walls of unmapped pages around the heap's mapping, where there is room for them: a step over
 * its end is then no step into a neighbour's memory.
 */
struct exercise_walls {
	void *wall[2];
	size_t length[2];
};
struct exercise_walls exercise_wall_in(const comap_heap *heap, uint64_t size);
void exercise_wall_out(const struct exercise_walls *walls);

/* From here on to watch_end: abort() after so many seconds of processor time, or ten times as
 * many by the clock.  Children watch for themselves. */
void watch_begin(const char *what, unsigned seconds);
void watch_end(void);

#endif
