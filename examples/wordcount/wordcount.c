/*
 * wordcount.c - many processes count words in one heap while somebody kills them.
 *
 * What it shows
 *
 *	A parent makes a heap and forks workers.  Each takes a chunk of the text,
 *	builds a table of its words in the heap, and shows the finished table by
 *	one store; the parent merges the tables and frees them.  With --kill the
 *	parent also shoots workers at random, with SIGKILL, wherever they happen
 *	to be: in the midst of a table, of malloc, of free, or of cleaning up after
 *	the one shot before.  The count must come out exact all the same, the heap
 *	whole, and not one block lost.
 *
 * How to run it
 *
 *	wordcount                   64 MiB of licence texts, 4 workers
 *	wordcount --kill 20         the same for 4 seconds, with 20 deaths a second
 *	wordcount -j 8 FILE...      your files, 8 workers
 *	wordcount --help
 *
 * What it prints
 *
 *	The input, the speed of one process without comap, of one worker and of all
 *	of them, the most frequent words; then one line for each thing it proves.
 *	The exit status is 0 when all of them hold, 1 when one does not, 2 for a
 *	wrong command line, and 77 when there is no text to count.
 *
 * Where to read on
 *
 *	board.h     what is shared: the states of a chunk, and who owns it when
 *	arena.[ch]  memory for a table that may be left half built: how comap's
 *	            malloc_to and free_from make "not one block lost" easy to keep
 *	worker.c    claim, count, publish
 *	crew.c      fork, kill, reap, take over, merge
 *	tally.c     the count without comap that the result is held against
 *	this file   the command line, the text, the proofs
 */
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "crew.h"
#include "tally.h"

#define DEFAULT_TEXTS "/usr/share/common-licenses"
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

struct options {
	uint32_t nworkers;
	size_t size; /* bytes of text; 0: the files as they are */
	size_t chunk_size;
	double kills_per_second;
	double seconds; /* go on counting for that long; 0: once */
	size_t ntop;
	uint64_t seed;
	const char *heap_name; /* NULL: an anonymous heap */
	char **files;
	int nfiles; /* 0: those of DEFAULT_TEXTS */
};

struct text {
	char *data;
	size_t size, room;
	int nfiles;
};

/* ---- the command line ---------------------------------------------------- */

static const char usage[] =
	"usage: wordcount [OPTION]... [FILE]...\n"
	"Count the words of FILEs (default: " DEFAULT_TEXTS ") by several\n"
	"processes in one comap heap, and prove the result.\n"
	"\n"
	"  -j, --workers=N     fork N workers (4)\n"
	"  -m, --mib=MIB       repeat or cut the text to MIB MiB (64; FILEs: as they are)\n"
	"  -c, --chunk=KIB     give it out in chunks of KIB KiB (256)\n"
	"  -k, --kill=RATE     kill RATE workers a second, at random\n"
	"  -t, --seconds=S     count again and again for S seconds (once; with --kill: 4)\n"
	"  -n, --top=N         print the N most frequent words (10)\n"
	"  -s, --seed=SEED     of the killer's random numbers (the time)\n"
	"      --heap=NAME     use a heap in the file NAME, made now and removed at the end,\n"
	"                      instead of an anonymous one\n"
	"  -h, --help\n";

static uint64_t parse_number(const char *what, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || !isdigit((unsigned char)*text) || *end || value < min || value > max)
		errx(2, "%s: from %" PRIu64 " to %" PRIu64 ", please, not '%s'", what, min, max,
		     text);
	return value;
}

static double parse_real(const char *what, const char *text, double max)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= 0 && value <= max))
		errx(2, "%s: from 0 to %g, please, not '%s'", what, max, text);
	return value;
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "workers", required_argument, NULL, 'j' },
		{ "mib", required_argument, NULL, 'm' },
		{ "chunk", required_argument, NULL, 'c' },
		{ "kill", required_argument, NULL, 'k' },
		{ "seconds", required_argument, NULL, 't' },
		{ "top", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "heap", required_argument, NULL, 'H' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .nworkers = 4, .chunk_size = 256 * KIB, .seconds = -1, .ntop = 10 };
	bool has_size = false;
	int c;

	while ((c = getopt_long(argc, argv, "j:m:c:k:t:n:s:h", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			o.nworkers = (uint32_t)parse_number("--workers", optarg, 1, CREW_MAX);
			break;
		case 'm':
			o.size = parse_number("--mib", optarg, 1, 1 << 20) * MIB;
			has_size = true;
			break;
		case 'c':
			o.chunk_size = parse_number("--chunk", optarg, 1, 1 << 20) * KIB;
			break;
		case 'k':
			o.kills_per_second = parse_real("--kill", optarg, 1000);
			break;
		case 't':
			o.seconds = parse_real("--seconds", optarg, 1e6);
			break;
		case 'n':
			o.ntop = parse_number("--top", optarg, 0, 1 << 20);
			break;
		case 's':
			o.seed = parse_number("--seed", optarg, 1, UINT64_MAX);
			break;
		case 'H':
			o.heap_name = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	o.files = argv + optind;
	o.nfiles = argc - optind;
	if (o.nfiles == 0 && !has_size)
		o.size = 64 * MIB;
	if (o.seconds < 0)
		o.seconds = o.kills_per_second > 0 ? 4 : 0;
	if (o.seed == 0)
		o.seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	return o;
}

/* ---- the text ------------------------------------------------------------ */

static void text_append(struct text *text, const char *data, size_t size)
{
	if (text->room - text->size < size) {
		text->room = 2 * text->room + size;
		text->data = realloc(text->data, text->room);
		if (!text->data)
			err(1, "the text");
	}
	memcpy(text->data + text->size, data, size);
	text->size += size;
}

static void text_read(struct text *text, const char *path)
{
	char buffer[64 << 10];
	FILE *file = fopen(path, "r");
	size_t n;

	if (!file)
		err(1, "%s", path);
	while ((n = fread(buffer, 1, sizeof buffer, file)) > 0)
		text_append(text, buffer, n);
	if (ferror(file))
		err(1, "%s", path);
	fclose(file);
	text_append(text, "\n", 1); /* so that no word runs on from file to file */
	text->nfiles++;
}

/* Every regular file of the directory, in the order of their names. */
static void text_read_directory(struct text *text, const char *directory)
{
	struct dirent **entry;
	int n = scandir(directory, &entry, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];
		struct stat st;

		snprintf(path, sizeof path, "%s/%s", directory, entry[i]->d_name);
		if (lstat(path, &st) == 0 && S_ISREG(st.st_mode))
			text_read(text, path);
		free(entry[i]);
	}
	if (n >= 0)
		free(entry);
}

static void text_repeat(struct text *text, size_t size)
{
	size_t once = text->size;

	text->data = realloc(text->data, size);
	if (!text->data)
		err(1, "the text");
	for (; text->size < size; text->size += once) {
		size_t left = size - text->size;

		memcpy(text->data + text->size, text->data, left < once ? left : once);
	}
	text->size = text->room = size;
}

static struct text read_text(const struct options *options)
{
	struct text text = { 0 };

	if (options->nfiles == 0)
		text_read_directory(&text, DEFAULT_TEXTS);
	for (int i = 0; i < options->nfiles; i++)
		text_read(&text, options->files[i]);
	if (text.size == 0)
		errx(77, "no text in " DEFAULT_TEXTS);
	if (options->size > 0)
		text_repeat(&text, options->size);
	return text;
}

/* ---- the heap ------------------------------------------------------------ */

static comap_heap *open_heap(const char *name)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	int e;

	if (name) {
		opts.flags = COMAP_HEAP_CREATE | COMAP_HEAP_EXCL;
		e = comap_heap_open(name, &opts, &heap);
	} else {
		e = comap_heap_open_anon(&opts, &heap);
	}
	if (e)
		errx(1, "heap%s%s: %s %s", name ? " " : "", name ? name : "", strerror(-e),
		     comap_heap_open_reason());
	return heap;
}

static uint64_t count_live_blocks(comap_heap *heap)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	int e = comap_heap_get_stats(heap, &stats);

	if (e)
		errx(1, "stats: %s", strerror(-e));
	return stats.live_blocks;
}

/* The parent lives, so the board can come from plain calloc and go by plain free. */
static struct board *make_board(comap_heap *heap, size_t text_size, size_t chunk_size)
{
	size_t nchunks = (text_size + chunk_size - 1) / chunk_size;
	struct board *board;

	board = comap_heap_calloc(heap, 1, sizeof *board + nchunks * sizeof board->chunk[0]);
	if (!board)
		err(1, "board");
	board->nchunks = nchunks;
	return board;
}

/* ---- counting ------------------------------------------------------------ */

/* What the counts came to. */
struct result {
	struct tally expected; /* the count without comap */
	uint64_t nrounds;      /* counts made with comap */
	uint64_t nexact;       /* of these, the same as expected */
	uint64_t nkilled, nredone;
};

/* Let the crew count once.  How long it took, in seconds. */
static double count_once(struct crew *crew, struct result *result)
{
	struct tally found = { 0 };
	double took, start = crew_now();

	if (crew_count(crew, &found) < 0)
		exit(1);
	took = crew_now() - start;
	result->nrounds++;
	if (tally_is_same(&found, &result->expected))
		result->nexact++;
	else
		warnx("counted %" PRIu64 " words, %zu different; expected %" PRIu64 ", %zu",
		      found.ntotal, found.nwords, result->expected.ntotal, result->expected.nwords);
	tally_fini(&found);
	return took;
}

static void print_speed(const char *who, double mib, double seconds)
{
	printf("%-12s %7.3f s %7.0f MiB/s", who, seconds, mib / seconds);
}

static void count(const struct job *job, const struct options *options, struct result *result)
{
	double mib = (double)job->size / (double)MIB, alone, together = 0, start;
	double a_while = crew_now() + 1;
	struct crew one = { .job = job, .nworkers = 1, .next_progress = a_while };
	struct crew all = { .job = job,
			    .nworkers = options->nworkers,
			    .kills_per_second = options->kills_per_second,
			    .seed = options->seed,
			    .next_progress = a_while };
	uint64_t nrounds = 0;
	char who[16];

	start = crew_now();
	tally_add_text(&result->expected, job->text, job->size);
	print_speed("no comap", mib, crew_now() - start);
	printf("\n");

	alone = count_once(&one, result);
	print_speed("1 worker", mib, alone);
	printf("\n");

	start = all.next_kill = crew_now();
	do {
		together += count_once(&all, result);
		nrounds++;
	} while (crew_now() - start < options->seconds);
	snprintf(who, sizeof who, "%" PRIu32 " workers", options->nworkers);
	print_speed(who, mib, together / (double)nrounds);
	printf("   %.2f times one worker", alone * (double)nrounds / together);
	if (options->kills_per_second > 0)
		printf(", killed %.0f times a second (seed %" PRIu64 ")",
		       (double)all.nkilled / (crew_now() - start), options->seed);
	printf("\n");

	result->nkilled = all.nkilled;
	result->nredone = all.nredone;
}

/* ---- what it proves ------------------------------------------------------ */

static bool prove(bool holds, const char *claim)
{
	printf("%s  %-9s", holds ? "proved" : "FAILED", claim);
	return holds;
}

static void print_damage(uint64_t offset, const char *what, void *arg)
{
	(void)arg;
	printf("at offset %#" PRIx64 ": %s\n", offset, what);
}

/* Everything of ours in the heap has been freed. */
static bool prove_all(comap_heap *heap, const struct result *result, uint64_t live_before)
{
	uint64_t live = count_live_blocks(heap);
	bool is_exact = prove(result->nexact == result->nrounds, "exact");
	bool is_whole, has_no_leak;

	printf("%" PRIu64 " words, %zu different, in %" PRIu64 " of %" PRIu64
	       " counts the same as without comap\n",
	       result->expected.ntotal, result->expected.nwords, result->nexact, result->nrounds);

	is_whole = prove(comap_heap_check(heap, print_damage, NULL) == 0, "whole");
	printf("comap_heap_check after %" PRIu64 " workers killed, %" PRIu64 " chunks done again\n",
	       result->nkilled, result->nredone);

	has_no_leak = prove(live == live_before, "no leak");
	printf("%" PRIu64 " live blocks before, %" PRIu64 " now that all is freed\n", live_before,
	       live);
	return is_exact && is_whole && has_no_leak;
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	struct text text = read_text(&options);
	comap_heap *heap = open_heap(options.heap_name);
	uint64_t live_before = count_live_blocks(heap);
	struct board *board = make_board(heap, text.size, options.chunk_size);
	struct job job = { .heap = heap,
			   .board = board,
			   .text = text.data,
			   .size = text.size,
			   .chunk_size = options.chunk_size };
	struct result result = { 0 };
	bool is_proved;

	printf("%.1f MiB of text from %d files, in %" PRIu64 " chunks\n\n",
	       (double)text.size / (double)MIB, text.nfiles, board->nchunks);
	count(&job, &options, &result);
	printf("\n");
	tally_print_top(&result.expected, options.ntop);
	if (options.ntop > 0)
		printf("\n");

	comap_heap_free(heap, board);
	is_proved = prove_all(heap, &result, live_before);

	comap_heap_close(heap);
	if (options.heap_name)
		comap_heap_unlink(options.heap_name);
	tally_fini(&result.expected);
	free(text.data);
	return is_proved ? 0 : 1;
}
