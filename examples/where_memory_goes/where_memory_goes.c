/*
 * where_memory_goes.c - the classic questions about malloc, answered by experiment.
 *
 * What it shows
 *
 *	How much does malloc(1) take?  Is memory there before it is touched?  Does
 *	free give it back?  How does free know the size?  Everybody has heard the
 *	answers for libc.  Here each question is put to libc's malloc and to a comap
 *	heap, side by side, and the kernel is asked what became of the memory:
 *	/proc/self/smaps, mincore, getrusage, st_blocks of the heap's file.
 *
 *	What comap does differently comes from one thing: its memory is a file that
 *	several processes map.  So it is shared over fork, it must have storage
 *	before it is touched, it goes back by punching holes, and, on a disk, the
 *	kernel can take it away under pressure.
 *
 * How to run it
 *
 *	where_memory_goes                 all questions
 *	where_memory_goes --only 4        one of them
 *	where_memory_goes --svg FILE      and a picture: both heaps grow and shrink
 *
 *	Two experiments need root: a full tmpfs (6) and a memory cgroup (8).
 *	Without, they are skipped and say so.
 *
 * What it prints
 *
 *	For each question an answer with the figures measured, and the evidence.
 *	Every claim is checked: the exit status is 1 when one does not hold, 77
 *	where malloc is not glibc's or the heap is no memfd.
 *
 * Where to read on
 *
 *	block.c     1, 5: what a block costs, where its size is
 *	touch.c     2, 3: storage, page table, page faults
 *	back.c      4: what free gives back
 *	ceiling.c   6: larger than RAM, and full
 *	fork.c      7: one memory, two processes
 *	pressure.c  8: what the kernel may evict (group.[ch]: the cgroup)
 *	plot.c      the picture
 *	side.[ch]   libc and comap behind one face; smaps.[ch] asks the kernel
 *	this file   the command line, a process for each question
 */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "evidence.h"
#include "questions.h"
#include "side.h"

static const struct question {
	const char *text;
	void (*ask)(void);
} questions[] = {
	{ "How much does malloc(1) take?", ask_how_much },
	{ "Is it there before it is touched?", ask_if_physical },
	{ "How many page faults does a MiB take?", ask_faults },
	{ "Does free give memory back?", ask_what_comes_back },
	{ "How does free know the size?", ask_who_knows_size },
	{ "Can a heap be larger than RAM?", ask_larger_than_ram },
	{ "What does fork do to it?", ask_fork },
	{ "What may the kernel evict under pressure?", ask_pressure },
};

enum { NQUESTIONS = sizeof questions / sizeof questions[0] };

struct options {
	int only; /* 0: all */
	const char *svg;
};

static const char usage[] =
	"usage: where_memory_goes [OPTION]...\n"
	"Ask libc's malloc and a comap heap the same questions, and the kernel for evidence.\n"
	"\n"
	"  -o, --only=N    question N alone, 1 to 8\n"
	"  -s, --svg=FILE  also let both heaps grow and shrink, and draw it\n"
	"  -h, --help\n";

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "only", required_argument, NULL, 'o' },
		{ "svg", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { 0 };
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "o:s:h", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			o.only = (int)strtol(optarg, &end, 10);
			if (end == optarg || *end || o.only < 1 || o.only > NQUESTIONS)
				errx(2, "--only: from 1 to %d, please, not '%s'", NQUESTIONS, optarg);
			break;
		case 's':
			o.svg = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		fputs(usage, stderr);
		exit(2);
	}
	return o;
}

/* glibc as it comes: what the environment changes about its malloc is taken out. */
static void use_plain_malloc(char **argv)
{
	static const char *const names[] = { "GLIBC_TUNABLES", "MALLOC_ARENA_MAX",
					     "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_",
					     "MALLOC_PERTURB_", "MALLOC_TOP_PAD_",
					     "MALLOC_TRIM_THRESHOLD_" };
	bool is_plain = true;
	void *block;
	size_t usable;

	block = malloc(1);
	usable = malloc_usable_size(block);
	free(block);
	if (usable != 24)
		errx(77, "this process's malloc is not glibc's");
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		is_plain &= !getenv(names[i]);
		unsetenv(names[i]);
	}
	if (!is_plain) {
		execv("/proc/self/exe", argv);
		err(1, "exec");
	}
}

/* Each question finds both heaps as they are at the start of a process. */
static void ask_in_child(void (*ask)(void), const char *path)
{
	struct tally before = *evidence_tally;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		if (ask)
			ask();
		else
			plot(path);
		exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "wait");
	if (WIFSIGNALED(status))
		errx(1, "%s", strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status))
		exit(WEXITSTATUS(status));
	must(evidence_tally->nchecked > before.nchecked || evidence_tally->nskipped > before.nskipped,
	     "each question checks something, or says why not");
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	static char output[1 << 16];
	struct side shared;

	use_plain_malloc(argv);
	setvbuf(stdout, output, _IOFBF, sizeof output); /* no buffer in the heap to be measured */
	shared = side_comap(NULL);
	evidence_tally = side_malloc(&shared, sizeof *evidence_tally);
	*evidence_tally = (struct tally){ 0 };

	for (int i = 0; i < NQUESTIONS; i++) {
		if (options.only && options.only != i + 1)
			continue;
		heading(i + 1, questions[i].text);
		ask_in_child(questions[i].ask, NULL);
	}
	if (options.svg)
		ask_in_child(NULL, options.svg);
	printf("\nproved: %" PRIu64 " checks, all of them hold; skipped: %" PRIu64 "\n",
	       evidence_tally->nchecked, evidence_tally->nskipped);
	side_close(&shared);
	if (fflush(stdout) != 0)
		err(1, "standard output");
	return 0;
}
