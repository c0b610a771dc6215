/*
 * peer.h - what a benchmark asks of an allocator.  A peer is one file: a header that gives these
 * names to what it has (peer_libc.h, peer_comap.h), or a source that defines them (peer_*.c, .cc).
 *
 * is_shared: workers are processes, else threads of one.  peer_begin comes before any worker.
 */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(PEER_COMAP)
#include "peer_comap.h"
#elif defined(PEER_LIBC)
#include "peer_libc.h"
#else
#ifdef __cplusplus
extern "C" {
#endif
extern const bool peer_is_shared;
void peer_begin(void);
void *peer_malloc(size_t size);
void *peer_calloc(size_t count, size_t size);
void *peer_realloc(void *p, size_t size);
void peer_free(void *p);
size_t peer_stored(void); /* bytes of storage it has, beyond what RSS shows; 0: none */
bool peer_file_create(const char *path, uint64_t most); /* a heap in a file; false: it has no such thing */
bool peer_file_open(const char *path);
void peer_close(void);     /* that one */
int peer_reap(void);       /* how many dead were found; -1: it has no such thing */
bool peer_is_whole(void);  /* as far as it can tell */
#ifdef __cplusplus
}
#endif
#endif

#endif
