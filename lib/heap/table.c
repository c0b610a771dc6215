/*
 * table.c - the handles of this process, and what fork does to them.
 *
 * A handle stays until its last thread has left: the slots of threads lie in
 * the mapping, and the kernel walks the robust list through them when a thread
 * ends.  Unmapping a linked one would break the list for every other lock.
 *
 * The mutex here is private to the process and held for a few instructions; the
 * fork handlers hold it, so that the child finds the table whole.  No lock of a
 * shared heap is ever taken for a fork.
 */
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include "heap/heap.h"

static struct comap_heap table[CM_HEAPS_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_serial;
static _Thread_local volatile bool is_busy;

/* In a page that a fork child finds wiped. */
enum { WIPED = 0, SEEN = 1, BEING_SEEN = 2 };
static cm_word *mark;

static void drop(struct cm_backing *backing)
{
	cm_os_unmap(backing);
	if (backing->fd >= 0)
		cm_os_close(backing->fd);
}

/* A fork child has one thread, and that one has no seat yet.  A heap that another thread was
 * about to open is not the child's: it would share that thread's lock on the file for ever. */
static void forget_threads(void)
{
	for (struct comap_heap *heap = table; heap < table + CM_HEAPS_MAX; heap++) {
		if (!cm_read(&heap->serial))
			continue;
		heap->refs = heap->is_open && !heap->is_closed;
		if (heap->refs > 0)
			continue;
		drop(&heap->seg.backing);
		cm_write(&heap->serial, 0);
	}
}

/* A child of a raw clone, whom no fork handler prepared: one thread of it does what the
 * handler would have done.  The mark is wiped where the memory is a copy; a vfork child, who
 * has the parent's memory, finds it. */
static void notice_raw_fork(void)
{
	uint64_t seen = WIPED;

	if (CM_EXPECT(!mark || cm_load_acquire(mark) == SEEN))
		return;
	if (atomic_compare_exchange_strong(mark, &seen, BEING_SEEN)) {
		pthread_mutex_init(&mutex, NULL);
		forget_threads();
		cm_store_release(mark, SEEN);
	}
	while (cm_load_acquire(mark) != SEEN)
		cm_spin_pause();
}

void cm_table_hold(void)
{
	is_busy = true;
	cm_order();
	notice_raw_fork();
	pthread_mutex_lock(&mutex);
}

void cm_table_release(void)
{
	pthread_mutex_unlock(&mutex);
	cm_order();
	is_busy = false;
}

bool cm_table_is_busy(void)
{
	return is_busy;
}

struct comap_heap *cm_table_add(void)
{
	struct comap_heap *heap = NULL;

	cm_table_hold();
	for (unsigned i = 0; i < CM_HEAPS_MAX && !heap; i++) {
		if (cm_read(&table[i].serial))
			continue;
		heap = &table[i];
		memset(heap, 0, offsetof(struct comap_heap, serial));
		heap->index = i;
		heap->refs = 1;
		heap->seg.backing.fd = -1;
		cm_write(&heap->serial, ++last_serial);
	}
	cm_table_release();
	return heap;
}

void cm_table_ref(struct comap_heap *heap)
{
	cm_table_hold();
	heap->refs++;
	cm_table_release();
}

void cm_table_unref(struct comap_heap *heap)
{
	struct cm_backing backing;
	bool is_last;

	cm_table_hold();
	backing = heap->seg.backing;
	is_last = --heap->refs == 0;
	if (is_last)
		cm_write(&heap->serial, 0);
	cm_table_release();
	if (is_last)
		drop(&backing);
}

struct comap_heap *cm_table_at(unsigned index)
{
	return cm_read(&table[index].serial) ? &table[index] : NULL;
}

static void after_fork_in_child(void)
{
	forget_threads();
	if (mark)
		cm_store_release(mark, SEEN);
	cm_table_release();
}

__attribute__((constructor)) static void watch_forks(void)
{
	mark = cm_os_private_page();
	if (mark)
		cm_store_release(mark, SEEN);
	pthread_atfork(cm_table_hold, cm_table_release, after_fork_in_child);
}
