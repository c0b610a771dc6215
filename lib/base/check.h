/*
 * check.h - the ladder of self-checks, chosen by -Dcheck=0..3.
 *
 *   CM_REQUIRE(x)    what the caller promised     from level 1
 *   CM_INVARIANT(x)  what we ourselves guarantee  from level 2
 *   CM_CHECK_LEVEL   level 3 walks whole structures after each change
 *
 * Neither is for what stands in shared memory: a neighbour may have written it,
 * so damage there is an error (-EUCLEAN), not the end of this process.  A failed
 * check traps: a debugger or a core dump shows where.
 */
#ifndef CM_CHECK_H
#define CM_CHECK_H

#ifndef COMAP_CHECK
#define COMAP_CHECK 0
#endif
#define CM_CHECK_LEVEL COMAP_CHECK

#define CM_CHECKED_(level, x) ((void)(CM_CHECK_LEVEL >= (level) && !(x) ? (__builtin_trap(), 0) : 0))
#define CM_REQUIRE(x) CM_CHECKED_(1, x)
#define CM_INVARIANT(x) CM_CHECKED_(2, x)

#define CM_EXPECT(x) __builtin_expect(!!(x), 1)
#define CM_RARELY(x) __builtin_expect(!!(x), 0)

#endif
