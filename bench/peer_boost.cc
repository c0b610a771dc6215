// peer_boost.cc - Boost.Interprocess: managed_shared_memory, best fit under one process-shared mutex.
#include <boost/interprocess/managed_shared_memory.hpp>
#include <cstdio>
#include <cstring>
#include <new>
#include <unistd.h>
#include "peer.h"

namespace bi = boost::interprocess;

const bool peer_is_shared = true;
static bi::managed_shared_memory *memory;

void peer_begin(void)
{
	char name[64];

	snprintf(name, sizeof name, "comap-bench-%d", (int)getpid());
	bi::shared_memory_object::remove(name);
	memory = new bi::managed_shared_memory(bi::create_only, name, 4ull << 30);
	bi::shared_memory_object::remove(name); // mapped it stays
}

void *peer_malloc(size_t size)
{
	return memory->allocate(size, std::nothrow);
}

void *peer_calloc(size_t count, size_t size)
{
	void *p = memory->allocate(count * size, std::nothrow);

	return p ? memset(p, 0, count * size) : nullptr;
}

void *peer_realloc(void *p, size_t size)
{
	bi::managed_shared_memory::size_type got = size, least = size;
	char *reuse = static_cast<char *>(p);
	size_t had;
	void *q;

	if (!p)
		return peer_malloc(size);
	had = memory->get_segment_manager()->size(p);
	if (had >= size)
		return p;
	if (memory->allocation_command<char>(bi::expand_fwd | bi::nothrow_allocation, least, got, reuse))
		return p;
	q = peer_malloc(size);
	if (q) {
		memcpy(q, p, had);
		memory->deallocate(p);
	}
	return q;
}

void peer_free(void *p)
{
	if (p)
		memory->deallocate(p);
}

size_t peer_stored(void)
{
	return 0;
}
