/*
 * peer_pmemobj.c - PMDK's libpmemobj: a pool in /dev/shm.  Set PMEM_IS_PMEM_FORCE=1, or each
 * operation is an msync.  Its blocks are objects; one process opens a pool at a time, so workers
 * are threads.
 */
#include <libpmemobj.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "peer.h"

const bool peer_is_shared = false;
static PMEMobjpool *pool;

void peer_begin(void)
{
	char path[64];

	snprintf(path, sizeof path, "/dev/shm/comap-bench-%d", (int)getpid());
	pool = pmemobj_create(path, "bench", 3ull << 30, 0600);
	if (!pool) {
		fprintf(stderr, "pmemobj: %s\n", pmemobj_errormsg());
		exit(2);
	}
	unlink(path);
}

void *peer_malloc(size_t size)
{
	PMEMoid oid;

	return pmemobj_alloc(pool, &oid, size, 0, NULL, NULL) == 0 ? pmemobj_direct(oid) : NULL;
}

void *peer_calloc(size_t count, size_t size)
{
	PMEMoid oid;

	return pmemobj_zalloc(pool, &oid, count * size, 0) == 0 ? pmemobj_direct(oid) : NULL;
}

void *peer_realloc(void *p, size_t size)
{
	PMEMoid oid = pmemobj_oid(p);

	if (!p)
		return peer_malloc(size);
	return pmemobj_realloc(pool, &oid, size, 0) == 0 ? pmemobj_direct(oid) : NULL;
}

void peer_free(void *p)
{
	PMEMoid oid = pmemobj_oid(p);

	if (p)
		pmemobj_free(&oid);
}

size_t peer_stored(void)
{
	return 0;
}

bool peer_file_create(const char *path, uint64_t most)
{
	FILE *f = fopen(path, "we");

	/* a sparse file: by itself it would allocate all of it */
	if (!f || ftruncate(fileno(f), (off_t)most) < 0 || fclose(f) != 0)
		return false;
	pool = pmemobj_create(path, "bench", 0, 0600);
	return pool;
}

bool peer_file_open(const char *path)
{
	pool = pmemobj_open(path, "bench");
	return pool;
}

void peer_close(void)
{
	pmemobj_close(pool);
}

int peer_reap(void)
{
	return -1;
}

bool peer_is_whole(void)
{
	return true;
}
