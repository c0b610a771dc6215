/* peer_libc.h - malloc as it is called in this process: glibc's, or what LD_PRELOAD puts there. */
#include <stdlib.h>

static const bool peer_is_shared = false;
static inline void peer_begin(void) {}
#define peer_malloc malloc
#define peer_calloc calloc
#define peer_realloc realloc
#define peer_free free
static inline size_t peer_stored(void)
{
	return 0;
}
static inline bool peer_file_create(const char *path, uint64_t most)
{
	(void)path;
	(void)most;
	return false;
}
static inline bool peer_file_open(const char *path)
{
	(void)path;
	return false;
}
static inline void peer_close(void) {}
static inline int peer_reap(void)
{
	return -1;
}
static inline bool peer_is_whole(void)
{
	return true;
}
