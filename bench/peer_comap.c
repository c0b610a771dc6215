/* peer_comap.c - what of peer_comap.h is no macro.  The heap is a memfd, or a file. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "peer.h"

comap_heap *peer_heap;

static bool is_open(int err)
{
	if (err < 0)
		fprintf(stderr, "comap: %s\n", comap_heap_open_reason());
	return err >= 0;
}

void peer_begin(void)
{
	if (!is_open(comap_heap_open_anon(NULL, &peer_heap)))
		exit(2);
}

size_t peer_stored(void)
{
	struct stat st;

	return fstat(comap_heap_fd(peer_heap), &st) < 0 ? 0 : (size_t)st.st_blocks * 512;
}

bool peer_file_create(const char *path, uint64_t most)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.flags = COMAP_HEAP_CREATE;
	opts.max_size = most;
	return is_open(comap_heap_open(path, &opts, &peer_heap));
}

bool peer_file_open(const char *path)
{
	return is_open(comap_heap_open(path, NULL, &peer_heap));
}

void peer_close(void)
{
	comap_heap_close(peer_heap);
}

int peer_reap(void)
{
	return comap_heap_reap(peer_heap);
}

bool peer_is_whole(void)
{
	return comap_heap_check(peer_heap, NULL, NULL) == 0;
}
