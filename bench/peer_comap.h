/* peer_comap.h - a comap heap: the calls a user makes, with the heap's handle. */
#include <comap.h>

static const bool peer_is_shared = true;
extern comap_heap *peer_heap;

void peer_begin(void);
#define peer_malloc(size) comap_heap_malloc(peer_heap, (size))
#define peer_calloc(count, size) comap_heap_calloc(peer_heap, (count), (size))
#define peer_realloc(p, size) comap_heap_realloc(peer_heap, (p), (size))
#define peer_free(p) comap_heap_free(peer_heap, (p))
size_t peer_stored(void);
bool peer_file_create(const char *path, uint64_t most);
bool peer_file_open(const char *path);
void peer_close(void);
int peer_reap(void);
bool peer_is_whole(void);
