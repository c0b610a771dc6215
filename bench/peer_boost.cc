// peer_boost.cc - Boost.Interprocess: managed_shared_memory or managed_mapped_file, best fit under one
// process-shared mutex.
#include <boost/interprocess/managed_mapped_file.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <cstdio>
#include <cstring>
#include <new>
#include <unistd.h>
#include "peer.h"

namespace bi = boost::interprocess;

const bool peer_is_shared = true;
static bi::managed_mapped_file *file;
static bi::managed_shared_memory::segment_manager *memory;

void peer_begin(void)
{
	char name[64];

	snprintf(name, sizeof name, "comap-bench-%d", (int)getpid());
	bi::shared_memory_object::remove(name);
	memory = (new bi::managed_shared_memory(bi::create_only, name, 4ull << 30))
			 ->get_segment_manager();
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
	bi::managed_shared_memory::segment_manager::size_type got = size, least = size;
	char *reuse = static_cast<char *>(p);
	size_t had;
	void *q;

	if (!p)
		return peer_malloc(size);
	had = memory->size(p);
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

bool peer_file_create(const char *path, uint64_t most)
{
	file = new bi::managed_mapped_file(bi::create_only, path, most);
	memory = file->get_segment_manager();
	return true;
}

bool peer_file_open(const char *path)
{
	file = new bi::managed_mapped_file(bi::open_only, path);
	memory = file->get_segment_manager();
	return true;
}

void peer_close(void)
{
	delete file;
}

int peer_reap(void)
{
	return -1;
}

bool peer_is_whole(void)
{
	return memory->check_sanity();
}
