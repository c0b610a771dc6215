/* peer_comap.h - a comap heap in a memfd: the calls a user makes, with the heap's handle. */
#include <comap.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const bool peer_is_shared = true;
static comap_heap *peer_heap;

static inline void peer_begin(void)
{
	if (comap_heap_open_anon(NULL, &peer_heap) < 0) {
		fprintf(stderr, "comap: %s\n", comap_heap_open_reason());
		exit(2);
	}
}
#define peer_malloc(size) comap_heap_malloc(peer_heap, (size))
#define peer_calloc(count, size) comap_heap_calloc(peer_heap, (count), (size))
#define peer_realloc(p, size) comap_heap_realloc(peer_heap, (p), (size))
#define peer_free(p) comap_heap_free(peer_heap, (p))
static inline size_t peer_stored(void)
{
	struct stat st;

	return fstat(comap_heap_fd(peer_heap), &st) < 0 ? 0 : (size_t)st.st_blocks * 512;
}
