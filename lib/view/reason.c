/*
 * reason.c - a sentence for whoever asks why.
 *
 * An errno says what, not where: ENOENT of which file, ENOSPC by which step?  So each failing call
 * of this floor leaves one line in a buffer of its thread.  Nothing is allocated, so it works when
 * memory is what failed.
 */
#include <stdio.h>
#include <string.h>
#include "view/view.h"

static _Thread_local char reason[1024];

int cm_view_fail(int err, const char *what, const char *file)
{
	const char *why = err == -ENODATA ? "it is cut short" : strerrordesc_np(-err);

	if (!why)
		why = "unknown error";
	if (file)
		snprintf(reason, sizeof reason, "cannot %s %.380s: %s", what, file, why);
	else
		snprintf(reason, sizeof reason, "cannot %s: %s", what, why);
	return err;
}

const char *comap_view_reason(void)
{
	return reason;
}
