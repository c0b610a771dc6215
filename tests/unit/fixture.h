/*
 * fixture.h - what the unit tests share: small heaps, and the question whether they are sound.
 *
 * Every case runs between kin_setup and kin_teardown (KIN_TEST), so an fd, a shared
 * mapping or a child that is left behind fails it.
 */
#ifndef UNIT_FIXTURE_H
#define UNIT_FIXTURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <comap.h>
#include "heap/heap.h"
#include "kin.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FX_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FX_IS_SANITIZED 1
#endif
#endif
#ifndef FX_IS_SANITIZED
#define FX_IS_SANITIZED 0
#endif

/* ---- heaps ------------------------------------------------------------------ */

/* A memfd heap of that ceiling; asserts. */
comap_heap *fx_heap(uint64_t max_size);
comap_heap *fx_lean_heap(uint64_t max_size); /* without magazines: every call works on the maps */
comap_heap *fx_heap_with(const struct comap_heap_opts *opts);

/* comap_heap_check passes; what it finds is printed. */
#define assert_sound(heap) fx_assert_sound((heap), __FILE__, __LINE__)
void fx_assert_sound(comap_heap *heap, const char *file, int line);

/* Sound, and closed. */
#define fx_close(heap) (assert_sound(heap), comap_heap_close(heap))

struct comap_heap_stats fx_stats(comap_heap *heap);
uint64_t fx_live_blocks(comap_heap *heap);

/* The caller's identity in the heap, for calls of the floors beneath; it keeps its slot
 * until detach, thread exit or close. */
struct cm_self fx_self(comap_heap *heap);

/* ---- misuse -------------------------------------------------------------------- */

struct fx_misuse {
	unsigned n;
	enum comap_misuse last;
	const void *ptr;
};
void fx_watch_misuse(comap_heap *heap, struct fx_misuse *seen);

/* ---- bytes ----------------------------------------------------------------------- */

uint64_t fx_random(uint64_t *state);
void fx_fill(void *p, size_t n, uint64_t seed);
bool fx_is_filled(const void *p, size_t n, uint64_t seed);
bool fx_is_zero(const void *p, size_t n);

/* KiB that this process has locked; 0 under sanitizers and valgrind, which let no one lock. */
long fx_locked_kib(void);

/* Bytes of storage behind the heap's file, as stat(2) counts them. */
uint64_t fx_stored(comap_heap *heap);

/* Use a size until the calling thread has a magazine for it, with blocks in it. */
void fx_heat(comap_heap *heap, size_t size);

/* SIGALRM every so many microseconds, without SA_RESTART, until the end; under valgrind more
 * seldom, for it takes longer than that to deliver one. */
void fx_alarms(long us, void (*handler)(int));
void fx_alarms_end(void);

/* A size_t the compiler knows nothing about: for sizes it would warn of. */
size_t fx_blind(size_t n);

/* A fresh directory under /tmp, or of the given file system type's choice; removed with
 * all in it by fx_rmdir. */
const char *fx_mkdir(void);
void fx_rmdir(const char *dir);
/* A case between these has a folder of its own. */
extern const char *fx_folder;
int fx_folder_setup(void **state);
int fx_folder_teardown(void **state);
#define FX_FOLDER_TEST(fn) cmocka_unit_test_setup_teardown(fn, fx_folder_setup, fx_folder_teardown)
/* dir/name, in a static buffer of its own for each of the last four calls. */
const char *fx_path(const char *dir, const char *name);

#endif
