/*
 * group.h - a memory cgroup of our own, v2 or v1, for a child to run in.
 */
#ifndef WHERE_GROUP_H
#define WHERE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

struct group {
	char path[512];
	bool is_v2;
};

/*
 * Make one below the group we are in (v2: or one further up, where the memory
 * controller is on), with so many bytes of memory and no swap.  Nothing but the
 * new directory is changed.  Returns NULL, or why there is none: a static string.
 */
const char *group_make(struct group *group, uint64_t limit);
void group_remove(const struct group *group);

/* The calling process moves into it.  0, or -errno. */
int group_join(const struct group *group);

uint64_t group_peak(const struct group *group);  /* bytes, at most so far */
uint64_t group_kills(const struct group *group); /* by the OOM killer */

#endif
