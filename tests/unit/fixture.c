/* fixture.c - see fixture.h. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include "fixture.h"

comap_heap *fx_heap_with(const struct comap_heap_opts *opts)
{
	comap_heap *heap = NULL;
	int err = comap_heap_open_anon(opts, &heap);

	if (err < 0)
		print_error("cannot open: %s\n", comap_heap_open_reason());
	assert_int_equal(err, 0);
	assert_non_null(heap);
	return heap;
}

comap_heap *fx_heap(uint64_t max_size)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.max_size = max_size;
	return fx_heap_with(&opts);
}

comap_heap *fx_lean_heap(uint64_t max_size)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	opts.max_size = max_size;
	opts.flags = COMAP_HEAP_LEAN;
	return fx_heap_with(&opts);
}

static void tell(uint64_t offset, const char *what, void *arg)
{
	(void)arg;
	print_error("at offset %#llx: %s\n", (unsigned long long)offset, what);
}

void fx_assert_sound(comap_heap *heap, const char *file, int line)
{
	int err = comap_heap_check(heap, tell, NULL);

	if (err < 0)
		print_error("the heap's check says %d\n", err);
	_assert_int_equal((uintmax_t)err, 0, file, line);
}

struct comap_heap_stats fx_stats(comap_heap *heap)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;

	assert_int_equal(comap_heap_get_stats(heap, &stats), 0);
	return stats;
}

uint64_t fx_live_blocks(comap_heap *heap)
{
	return fx_stats(heap).live_blocks;
}

struct cm_self fx_self(comap_heap *heap)
{
	int err = 0;
	struct cm_seat *seat = cm_seat_enter_own(heap, &err);
	struct cm_self self;

	assert_non_null(seat);
	self = seat->self;
	cm_seat_leave(heap, seat);
	return self;
}

static void on_misuse(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg)
{
	struct fx_misuse *seen = arg;

	(void)heap;
	seen->n++;
	seen->last = what;
	seen->ptr = ptr;
}

void fx_watch_misuse(comap_heap *heap, struct fx_misuse *seen)
{
	*seen = (struct fx_misuse){0};
	comap_heap_on_misuse(heap, on_misuse, seen);
}

uint64_t fx_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static unsigned char byte_of(uint64_t seed, size_t i)
{
	return (unsigned char)(((seed + i / 64) * 0x9e3779b97f4a7c15ull >> 56) + i % 64 + 1);
}

/* Every byte of small blocks, every 61st of large ones and the last: enough to see a
 * block that moved wrong or overlaps another. */
static size_t step_of(size_t n)
{
	return n <= 4096 ? 1 : 61;
}

void fx_fill(void *p, size_t n, uint64_t seed)
{
	unsigned char *bytes = p;

	for (size_t i = 0; i < n; i += step_of(n))
		bytes[i] = byte_of(seed, i);
	if (n)
		bytes[n - 1] = byte_of(seed, n - 1);
}

bool fx_is_filled(const void *p, size_t n, uint64_t seed)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < n; i += step_of(n))
		if (bytes[i] != byte_of(seed, i))
			return false;
	return n == 0 || bytes[n - 1] == byte_of(seed, n - 1);
}

bool fx_is_zero(const void *p, size_t n)
{
	const unsigned char *bytes = p;

	return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static struct sigaction before_alarms;

void fx_alarms(long us, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };
	struct itimerval often;

	if (kin_is_valgrind())
		us = 100000;
	often = (struct itimerval){ { 0, us }, { 0, us } };
	assert_int_equal(sigaction(SIGALRM, &action, &before_alarms), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
}

void fx_alarms_end(void)
{
	struct itimerval never = { { 0, 0 }, { 0, 0 } };

	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	signal(SIGALRM, SIG_IGN); /* one may be on its way, and would end us */
	assert_int_equal(sigaction(SIGALRM, &before_alarms, NULL), 0);
}

long fx_locked_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	assert_non_null(file);
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "VmLck: %ld", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

uint64_t fx_stored(comap_heap *heap)
{
	struct stat st;

	assert_int_equal(fstat(comap_heap_fd(heap), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

size_t fx_blind(size_t n)
{
	volatile size_t hidden = n;

	return hidden;
}

const char *fx_mkdir(void)
{
	static char dir[64];

	strcpy(dir, "/tmp/comap-unit.XXXXXX");
	assert_non_null(mkdtemp(dir));
	return dir;
}

void fx_rmdir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	assert_non_null(d);
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), entry->d_name,
				       entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
	closedir(d);
	assert_int_equal(rmdir(dir), 0);
}

const char *fx_folder;

int fx_folder_setup(void **state)
{
	fx_folder = fx_mkdir();
	return kin_setup(state);
}

int fx_folder_teardown(void **state)
{
	fx_rmdir(fx_folder);
	return kin_teardown(state);
}

const char *fx_path(const char *dir, const char *name)
{
	static char paths[4][4352];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", dir, name);
	return path;
}

void fx_heat(comap_heap *heap, size_t size)
{
	void *p[64];

	for (int turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < 64; i++)
			assert_non_null(p[i] = comap_heap_malloc(heap, size));
		for (unsigned i = 0; i < 64; i++)
			comap_heap_free(heap, p[i]);
	}
}
