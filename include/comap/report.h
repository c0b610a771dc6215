/*
 * report.h - the figures of a heap, printed: as malloc_stats(3) and malloc_info(3) do for malloc.
 *
 * One report has three parts: the totals of struct comap_heap_stats, a row for
 * each size class that has slabs, a row for each attached thread.  Names are
 * those of heap.h.  TEXT is for people and may change; programs read XML or
 * JSON, whose version stays while names are only added.
 */
#ifndef COMAP_REPORT_H
#define COMAP_REPORT_H

#include <stdio.h>
#include <comap/ref.h>
#include <comap/version.h>

#ifdef __cplusplus
extern "C" {
#endif

enum comap_report {
	COMAP_REPORT_TEXT = 0,
	COMAP_REPORT_XML = 1,  /* XML 1.0, root element <comap version="1"> */
	COMAP_REPORT_JSON = 2, /* RFC 8259, one object */
};

/*
 * Write a report to `to`, and flush it.  Figures are as fair as those of
 * comap_heap_get_stats.  A limit that is not set is "none", in JSON null.
 * Names of threads are any bytes: what is no UTF-8, or what XML 1.0 cannot
 * hold, becomes U+FFFD; in TEXT, this and control characters become '?'.
 *
 * Nothing is taken from the heap, no slot either, so read-only handles report,
 * too; no lock of the heap is held.  `to` is locked meanwhile, so two reports do
 * not mix.  stdio may call malloc: not for signal handlers.
 *
 * Returns 0, or -EINVAL: no such form; -EIO: `to` could not be written, now or
 * before (ferror(3)).  Part of the report may then be written.
 */
COMAP_API int comap_heap_report(comap_heap *heap, FILE *to, enum comap_report form);

#ifdef __cplusplus
}
#endif
#endif
