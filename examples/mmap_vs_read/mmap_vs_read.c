/*
 * mmap_vs_read.c - is mmap faster than read?  On your machine, with your file.
 *
 * What it shows
 *
 *	The answer everybody knows, "mmap saves the copy", is half of it.  A read
 *	copies; a mapping faults.  Which of the two is dearer depends on the size of
 *	the work, on how often each byte is looked at, and on something that cannot be
 *	asked for: whether the page cache holds the file in large pieces or in small ones.
 *	So this program does the same work in all the usual ways, in both of these states, and cold, and
 *	prints what each cost: time, CPU time, page faults, memory.  The last line of each table
 *	leaves the choice to comap.
 *
 * How to run it
 *
 *	mmap_vs_read                 with a file of its own, 1 GiB
 *	mmap_vs_read FILE            with yours, which is only read
 *	mmap_vs_read --svg DIR       and charts, one for each task, and one of all
 *
 *	What it makes lies in --dir (/var/tmp: not a tmpfs, please), about twice the size of the
 *	file, and is removed in the end, also after ^C.  Cold is measured as root, or with --cold.
 *
 * What it prints
 *
 *	A table for each task and state, the best way marked with *, and three sentences about what
 *	was seen.  Each way's work is checked, by the sum of all bytes it saw or by reading
 *	back what it made: the exit status is 1 when one is wrong.
 *
 * Where to read on
 *
 *	scan.c, random.c, many.c, write.c, update.c, uring.c   the ways
 *	files.c     how large folios come about, and small ones
 *	measure.c   a process for each run, in turns
 *	table.c     the tables and the sentences; chart.c the pictures
 *	this file   the command line, cleaning up
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include "way.h"

struct options {
	uint64_t mib;
	int rounds;
	bool is_cold;
	const char *file, *dir, *svg;
};

static const char usage[] =
	"usage: mmap_vs_read [OPTION]... [FILE]\n"
	"Do the same work by read, mmap, io_uring and comap, and compare.\n"
	"\n"
	"  -m, --mib=N     size of the file to make when none is named, 16 at least (1024)\n"
	"  -r, --rounds=N  how often each way is measured, 1 to 15 (5)\n"
	"  -c, --cold      also cold when not root\n"
	"  -d, --dir=DIR   where files are made (/var/tmp)\n"
	"  -s, --svg=DIR   draw charts there\n"
	"  -h, --help\n";

static uint64_t number_or_die(const char *option, const char *given, uint64_t least, uint64_t most)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(given, &end, 10);
	if (errno || end == given || *end || n < least || n > most)
		errx(2, "--%s: a number from %llu to %llu, please, not '%s'", option,
		     (unsigned long long)least, (unsigned long long)most, given);
	return n;
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "mib", required_argument, NULL, 'm' }, { "rounds", required_argument, NULL, 'r' },
		{ "cold", no_argument, NULL, 'c' },      { "dir", required_argument, NULL, 'd' },
		{ "svg", required_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .mib = 1024, .rounds = 5, .is_cold = geteuid() == 0, .dir = "/var/tmp" };
	int c;

	while ((c = getopt_long(argc, argv, "m:r:cd:s:h", longs, NULL)) != -1) {
		switch (c) {
		case 'm':
			o.mib = number_or_die("mib", optarg, 16, 1 << 20);
			break;
		case 'r':
			o.rounds = (int)number_or_die("rounds", optarg, 1, 15);
			break;
		case 'c':
			o.is_cold = true;
			break;
		case 'd':
			o.dir = optarg;
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
	o.file = argv[optind];
	if (optind + 1 < argc) {
		fputs(usage, stderr);
		exit(2);
	}
	return o;
}

/* ---- the work ------------------------------------------------------------------ */

static void set_stage(const struct options *o)
{
	static char made[600];
	struct stat st;

	stage.file = o->file;
	if (!o->file) {
		snprintf(made, sizeof made, "%s/file", stage.folder);
		make_file(made, o->mib * MIB, "making a file");
		stage.file = made;
	}
	if (stat(stage.file, &st) < 0)
		err(1, "%s", stage.file);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < MIB)
		errx(1, "%s: a regular file of 1 MiB at least, please", stage.file);
	stage.size = (uint64_t)st.st_size;
	stage.made = stage.size / 4 / BLOCK * BLOCK;
	stage.made = stage.made < BLOCK ? BLOCK : stage.made > 1024 * MIB ? 1024 * MIB : stage.made;
	stage.nfiles = (unsigned)(stage.size / MIB * 4);
	stage.nfiles = stage.nfiles < 200 ? 200 : stage.nfiles > 10000 ? 10000 : stage.nfiles;
	make_file(in_folder("source"), stage.made, "making a file to copy");
	stage.many_sum = make_small_files();
}

static void print_where(void)
{
	struct utsname name;

	if (uname(&name) < 0)
		err(1, "uname");
	printf("mmap against read: %.0f MiB, Linux %s, %ld processors\n",
	       (double)stage.size / (double)MIB, name.release, sysconf(_SC_NPROCESSORS_ONLN));
	printf("large folios: read in one go; small folios: after %u stray reads of 4 KiB, then in one go\n",
	       stray_reads());
}

static void work(const struct options *o)
{
	static const struct task *const reading[] = { &scan_task, &random4k_task, &random64_task,
						      &few_task };
	static const struct task *const others[] = { &many_task, &copy_task, &write_task, &update_task };

	set_stage(o);
	print_where();
	for (enum state state = 0; state < (o->is_cold ? NSTATES : COLD); state++) {
		if (!settle(stage.file, state)) {
			printf("\n%s: the file stays in the page cache, as on a tmpfs, or when others map "
			       "it; %s\n",
			       state_names[state], state == LARGE_FOLIOS ? "taken as it is" : "skipped");
			if (state != LARGE_FOLIOS)
				continue;
		}
		for (size_t t = 0; t < sizeof reading / sizeof *reading; t++)
			print_outcome(measure(reading[t], state, o->rounds));
	}
	for (size_t t = 0; t < sizeof others / sizeof *others; t++)
		print_outcome(measure(others[t], LARGE_FOLIOS, o->rounds));
	if (o->is_cold && evict(small_path(0)))
		print_outcome(measure(&many_task, COLD, o->rounds));
	print_sentences();
	if (o->svg)
		draw_charts(o->svg);
	if (fflush(stdout) != 0)
		err(1, "standard output");
}

/* ---- cleaning up: by a parent who does nothing else ------------------------------ */

static volatile sig_atomic_t worker;

static void pass_on(int signal)
{
	if (worker > 0)
		kill((pid_t)worker, signal);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void catch_signals(void (*handler)(int))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = handler };

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		if (sigaction(signals[i], &action, NULL) < 0)
			err(1, "sigaction");
}

int main(int argc, char **argv)
{
	struct options o = parse_options(argc, argv);
	int status;
	pid_t pid;

	snprintf(stage.folder, sizeof stage.folder, "%s/mmap_vs_read.XXXXXX", o.dir);
	catch_signals(pass_on);
	if (!mkdtemp(stage.folder))
		err(1, "%s", stage.folder);
	/* so that a way that outlives its parent is waited for, too */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		err(1, "prctl");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		catch_signals(SIG_DFL);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(&o);
		exit(0);
	}
	worker = pid;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			err(1, "wait");
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (nftw(stage.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0)
		warn("%s", stage.folder);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}
