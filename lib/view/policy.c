/*
 * policy.c - copy or map?  All of it, in one function; and another for looks into what is mapped.
 *
 * Measured (docs/views.md, bench/views): a small view is had faster by pread into a buffer that was
 * used before than by mmap, which pays a page fault for each 16 pages and tears the pages down
 * again.  With one thread that ends at 256 KiB to 1 MiB, with two, which get into each other's way
 * at mmap and munmap, at 1 to 2 MiB.  From there on the copy falls out of the caches.  Who will look
 * at little of it does not want the rest copied.
 *
 * A file on another machine may be cut short there, and no guard of ours hears of it
 * in time: what can be copied is.
 */
#include "view/view.h"

/* Is so little of it wanted that the faults cost less than the copy?  A fault brings 16 pages. */
static bool wants_little(const struct comap_view_opts *opts, uint64_t size)
{
	if (opts->expect == 0 || size <= 256 * CM_KIB)
		return false;
	if (opts->access == COMAP_VIEW_RANDOM) /* looks at 64 bytes, and each may be at another place */
		return opts->expect / 64 < size / 8 / (64 * CM_KIB);
	return opts->expect < size / 8;
}

static struct cm_choice copy_or(const struct comap_view_opts *opts, uint64_t size, enum comap_view_why why,
				bool may_map)
{
	uint64_t most = opts->max_copy ? opts->max_copy : CM_MAX_COPY_DEFAULT;

	if (size <= most)
		return (struct cm_choice){ .is_copy = true, .why = why };
	if (may_map)
		return (struct cm_choice){ .why = COMAP_WHY_LARGE };
	return (struct cm_choice){ .is_copy = true, .why = why, .err = -EFBIG };
}

struct cm_choice cm_view_choose(const struct comap_view_opts *opts, uint64_t size, enum cm_os_fs fs,
				unsigned seals)
{
	if (opts->mode == COMAP_VIEW_SHARED)
		return (struct cm_choice){ .why = COMAP_WHY_WRITABLE };
	if (size == 0)
		return (struct cm_choice){ .is_copy = true, .why = COMAP_WHY_EMPTY };
	if ((opts->flags & COMAP_VIEW_STABLE) && !(seals & CM_OS_SEAL_BYTES) &&
	    opts->how == COMAP_VIEW_MAP)
		return (struct cm_choice){ .why = COMAP_WHY_STABLE, .err = -ENODEV };
	if ((opts->flags & COMAP_VIEW_STABLE) && !(seals & CM_OS_SEAL_BYTES))
		return copy_or(opts, size, COMAP_WHY_STABLE, false);
	if (opts->how == COMAP_VIEW_MAP)
		return (struct cm_choice){ .why = COMAP_WHY_ASKED };
	if (opts->how == COMAP_VIEW_COPY || (opts->flags & COMAP_VIEW_NUL))
		return copy_or(opts, size, COMAP_WHY_ASKED, false);
	if (fs == CM_OS_FS_NETWORK)
		return copy_or(opts, size, COMAP_WHY_NETWORK, true);
	if (wants_little(opts, size))
		return (struct cm_choice){ .why = COMAP_WHY_FEW };
	if (size <= CM_COPY_MOST)
		return copy_or(opts, size, COMAP_WHY_SMALL, true);
	return (struct cm_choice){ .why = COMAP_WHY_LARGE };
}

/*
 * A first look at 64 KiB of a mapping costs a page fault, of 1.5 us in large folios, where it brings
 * more than that, to 6 us in small ones; a pread costs 0.6 us wherever it looks.  Who will look how
 * often?  Nobody knows, so this is ski rental (Karlin, Manasse, Rudolph, Sleator, "Competitive
 * Snoopy Caching", 1988): first it is asked, and after one pread for each of those 64 KiB it is
 * mapped.  In large folios that costs about twice the better way at most; in small ones three times,
 * for whoever stops soon after.  Who says what to expect starts with the right one.
 */
void cm_view_expect(struct cm_memory *memory, uint64_t expect)
{
	/* there the kernel would go by way of the mapping, too */
	if (memory->mode == COMAP_VIEW_PRIVATE || memory->flags & COMAP_VIEW_NO_FD)
		memory->few_bytes = UINT64_MAX;
	else
		memory->few_bytes = expect / cm_max(1, memory->size / CM_LOOK_SPAN);
}
