/* view/writer.h - what writer.c (how a file begins and ends) and writer_bytes.c share. */
#ifndef CM_VIEW_WRITER_H
#define CM_VIEW_WRITER_H

#include <comap/writer.h>
#include "view/view.h"

struct comap_writer {
	struct cm_os_spot spot; /* the name it will have */
	int fd;
	int err;               /* of the first write, reserve or commit that failed; 0: none did */
	uint32_t flags;        /* COMAP_WRITER_* */
	uint32_t permissions;
	bool is_made;          /* APPEND: the file was not there */
	bool is_published;     /* the new file has its name */
	bool has_spare;        /* storage was asked for that the bytes may not fill */
	uint64_t start;        /* APPEND: bytes that the file had */
	uint64_t put;          /* bytes that have left the buffer */
	uint64_t allocated;    /* bytes of ours that have storage; UINT64_MAX: seek no more */
	char *buffer;          /* NULL: nothing came yet */
	size_t span;           /* bytes of it */
	size_t fill;           /* bytes in it */
	size_t reserved;       /* behind them, by reserve; NO_ROOM: none */
	char path[];           /* as the caller named it */
};

#define CM_WRITER_NO_ROOM SIZE_MAX

/* Storage for what will come, from opts.expect. */
int cm_writer_expect(struct comap_writer *writer, uint64_t size);
/* All that is in the buffer reaches the file; no more will come. */
int cm_writer_drain(struct comap_writer *writer);

#endif
