/*
 * notes_test.c - kills `notes` hundreds of times and looks for what it lost.
 *
 * What it does, over and over, to one file:
 *
 *	1. Starts two processes that add notes as fast as they can and print the
 *	   number of each.  Kills the first at a random moment, and the second too
 *	   every other time.
 *	2. Lists the notes.  Each number that was printed must be there with its
 *	   text.  One note may be there whose number did not get printed, for each
 *	   of the killed, and it must be the one that was next.
 *	3. Starts a process that deletes some of them, and one that adds meanwhile.
 *	   Kills the deleter.  Each number it printed must be gone; one more may be.
 *	4. Runs `notes check`: the heap whole, the list sound, no block lost.
 *
 * How to run it
 *
 *	notes_test NOTES [ROUNDS [SEED]]      NOTES is the program; 200 rounds
 *
 * What it prints
 *
 *	How much was done and that nothing was lost; else what was, on stderr, and
 *	the seed.  The exit status is 0 or 1.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	LINES_MAX = 7500, /* their numbers fit in a pipe: nobody waits for us to read them */
	KEEP_MAX = 8000,  /* when there are more notes than that, most are deleted */
};

/* ---- what should be there ------------------------------------------------ */

/* A note says who wrote it: the text is made from these numbers, so knowing them is
 * knowing the text. */
struct note {
	uint64_t id; /* 0: not known, since it was never printed */
	uint32_t round, writer, line;
	bool is_certain;    /* else it may be there or not */
	uint64_t listed_as; /* its number in the list just read; 0: it was not there */
};

struct expected {
	struct note *note;
	size_t n, room;
};

static struct {
	uint64_t seed;
	const char *program;
	char directory[1024];
	char file[1040];
	uint64_t nadders_killed, ndeleters_killed;
	uint64_t nadded, ndeleted; /* acknowledged */
	uint64_t nextra;           /* done, but the killer was faster than the acknowledgement */
} test;

static void expect(struct expected *expected, struct note note)
{
	if (expected->n == expected->room) {
		expected->room = 2 * expected->room + 64;
		expected->note = realloc(expected->note, expected->room * sizeof note);
		if (!expected->note)
			err(1, "realloc");
	}
	expected->note[expected->n++] = note;
}

static void fail(const char *what, uint64_t id, const char *text)
{
	errx(1, "FAILED (seed %" PRIu64 ", file %s): %s: note %" PRIu64 " %s", test.seed, test.file,
	     what, id, text);
}

/* xorshift64* */
static uint64_t random_below(uint64_t n)
{
	static uint64_t state;

	if (!state)
		state = test.seed;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1d >> 32) % n;
}

/* Texts of many lengths: most are short, some are long. */
static void write_text(char text[static 1024], const struct note *note)
{
	uint32_t mixed = (note->line + 1) * 2654435761u ^ note->round * 40503u ^ note->writer;
	size_t length = mixed % 8 ? mixed % 61 : mixed % 797;
	int n = snprintf(text, 1024, "round %" PRIu32 " writer %" PRIu32 " line %" PRIu32 " ",
			 note->round, note->writer, note->line);

	memset(text + n, 'a' + (int)(mixed % 26), length);
	text[(size_t)n + length] = '\0';
}

/* ---- running the program ------------------------------------------------- */

struct child {
	pid_t pid;
	const char *verb;
	FILE *out;
	uint64_t id[LINES_MAX]; /* the numbers that it has acknowledged */
	size_t nids;
	bool was_killed;
};

static void start(struct child *child, const char *verb, FILE *in)
{
	int out[2];

	if (pipe(out) < 0)
		err(1, "pipe");
	*child = (struct child){ .pid = fork(), .verb = verb };
	if (child->pid < 0)
		err(1, "fork");
	if (child->pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(in ? fileno(in) : null, STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execl(test.program, test.program, test.file, verb, (char *)NULL);
		warn("%s", test.program);
		_exit(127);
	}
	close(out[1]);
	child->out = fdopen(out[0], "r");
	if (!child->out)
		err(1, "fdopen");
}

/* Read acknowledgements until there are n, or no more come. */
static void read_ids(struct child *child, size_t n)
{
	while (child->nids < n && fscanf(child->out, "%" SCNu64, &child->id[child->nids]) == 1)
		child->nids++;
}

/* Wait for its end, which may be SIGKILL and must else be a success, and read the rest. */
static void finish(struct child *child)
{
	int status;

	if (waitpid(child->pid, &status, 0) != child->pid)
		err(1, "waitpid");
	child->was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (!child->was_killed && status != 0)
		errx(1, "FAILED (seed %" PRIu64 ", file %s): %s: wait status %#x", test.seed,
		     test.file, child->verb, (unsigned)status);
	read_ids(child, LINES_MAX);
	fclose(child->out);
}

/* Kill it at a random moment: within the first milliseconds, in which it attaches, or
 * shortly after one of the first of the n acknowledgements it is to give. */
static void kill_sometime(struct child *child, size_t n)
{
	uint64_t delay_ns;

	if (random_below(4) == 0) {
		delay_ns = random_below(3000000);
	} else {
		read_ids(child, 1 + random_below(n / 8 + 1));
		delay_ns = random_below(100000);
	}
	nanosleep(&(struct timespec){ .tv_nsec = (long)delay_ns }, NULL);
	kill(child->pid, SIGKILL);
	finish(child);
}

static FILE *temporary(void)
{
	FILE *file = tmpfile();

	if (!file)
		err(1, "tmpfile");
	return file;
}

static void rewind_for_child(FILE *file)
{
	if (fflush(file) != 0 || lseek(fileno(file), 0, SEEK_SET) < 0)
		err(1, "tmpfile");
}

/* ---- adding -------------------------------------------------------------- */

static void start_adder(struct child *child, uint32_t round, uint32_t writer, uint32_t nlines)
{
	FILE *lines = temporary();
	char text[1024];

	for (uint32_t i = 0; i < nlines; i++) {
		write_text(text, &(struct note){ .round = round, .writer = writer, .line = i });
		fprintf(lines, "%s\n", text);
	}
	rewind_for_child(lines);
	start(child, "add", lines);
	fclose(lines);
}

/* The k-th number that it printed is that of its k-th line. */
static void expect_added(struct expected *expected, const struct child *adder, uint32_t round,
			 uint32_t writer, uint32_t nlines)
{
	struct note note = { .round = round, .writer = writer, .is_certain = true };

	for (; note.line < adder->nids; note.line++) {
		note.id = adder->id[note.line];
		expect(expected, note);
	}
	if (!adder->was_killed && note.line < nlines)
		fail("an adder left early", note.id, "");
	if (adder->was_killed && note.line < nlines) {
		note.id = 0;
		note.is_certain = false;
		expect(expected, note);
	}
	test.nadded += adder->nids;
	test.nadders_killed += adder->was_killed;
}

/* ---- deleting ------------------------------------------------------------ */

static int by_id(const void *left, const void *right)
{
	const struct note *l = left, *r = right;

	return (l->id > r->id) - (l->id < r->id);
}

static struct note *find_by_id(const struct expected *expected, uint64_t id)
{
	struct note key = { .id = id };

	return expected->n ? bsearch(&key, expected->note, expected->n, sizeof key, by_id) : NULL;
}

/* Delete one in `one_in`, the newest first; they are added to ret_victims. */
static void start_deleter(struct child *child, const struct expected *expected, uint64_t one_in,
			  struct expected *ret_victims)
{
	FILE *ids = temporary();

	for (size_t i = expected->n; i-- > 0 && ret_victims->n < LINES_MAX;) {
		if (random_below(one_in))
			continue;
		expect(ret_victims, expected->note[i]);
		fprintf(ids, "%" PRIu64 "\n", expected->note[i].id);
	}
	rewind_for_child(ids);
	start(child, "delete", ids);
	fclose(ids);
}

/* Those it acknowledged must be gone, and the one after them may be. */
static void expect_deleted(struct expected *expected, const struct child *deleter,
			   const struct expected *victims)
{
	size_t n, kept = 0;

	for (n = 0; n < deleter->nids; n++) {
		if (n == victims->n || victims->note[n].id != deleter->id[n])
			fail("deleted another one", deleter->id[n], "");
		find_by_id(expected, deleter->id[n])->round = 0; /* none of any round: gone */
	}
	if (!deleter->was_killed && n < victims->n)
		fail("a deleter left early", victims->note[n].id, "");
	if (deleter->was_killed && n < victims->n)
		find_by_id(expected, victims->note[n].id)->is_certain = false;
	test.ndeleted += deleter->nids;
	test.ndeleters_killed += deleter->was_killed;

	for (size_t i = 0; i < expected->n; i++)
		if (expected->note[i].round)
			expected->note[kept++] = expected->note[i];
	expected->n = kept;
}

/* ---- verifying ----------------------------------------------------------- */

static bool has_text(const struct note *note, const char *text)
{
	char wanted[1024];

	write_text(wanted, note);
	return !strcmp(wanted, text);
}

/* The expected note that this line of the list is. */
static struct note *recognise(const struct expected *expected, uint64_t id, const char *text)
{
	struct note *note = find_by_id(expected, id);

	/* Those without a number have number 0 and come first. */
	for (size_t i = 0; !note && i < expected->n && expected->note[i].id == 0; i++)
		if (has_text(&expected->note[i], text))
			note = &expected->note[i];
	if (!note)
		fail("nobody added this", id, text);
	if (note->listed_as)
		fail("twice in the list", id, text);
	if (!has_text(note, text))
		fail("the text is wrong", id, text);
	return note;
}

static void read_list(const struct expected *expected)
{
	static struct child lister;
	char *line = NULL;
	size_t room = 0;

	start(&lister, "list", NULL);
	while (getline(&line, &room, lister.out) >= 0) {
		char *text;
		uint64_t id = strtoull(line, &text, 10);

		line[strcspn(line, "\n")] = '\0';
		if (*text != '\t' || id == 0)
			fail("not a line of a list", id, line);
		recognise(expected, id, text + 1)->listed_as = id;
	}
	free(line);
	finish(&lister);
}

/* List the notes and compare.  Afterwards what was doubtful is certain, or gone. */
static void verify(struct expected *expected)
{
	size_t kept = 0;

	qsort(expected->note, expected->n, sizeof *expected->note, by_id);
	read_list(expected);
	for (size_t i = 0; i < expected->n; i++) {
		struct note note = expected->note[i];

		if (!note.listed_as && note.is_certain)
			fail("acknowledged and lost", note.id, "");
		if (note.listed_as && !note.id)
			test.nextra++; /* added, not acknowledged */
		if (!note.listed_as && note.id)
			test.nextra++; /* deleted, not acknowledged */
		if (!note.listed_as)
			continue;
		note.id = note.listed_as;
		note.listed_as = 0;
		note.is_certain = true;
		expected->note[kept++] = note;
	}
	expected->n = kept;
	qsort(expected->note, expected->n, sizeof *expected->note, by_id);
}

static void check(void)
{
	static struct child checker;
	char text[1024];
	size_t n;
	int status;

	start(&checker, "check", NULL);
	n = fread(text, 1, sizeof text - 1, checker.out);
	text[n] = '\0';
	fclose(checker.out);
	if (waitpid(checker.pid, &status, 0) != checker.pid || status != 0)
		errx(1, "FAILED (seed %" PRIu64 ", file %s): check says:\n%s", test.seed, test.file,
		     text);
}

/* ---- the test ------------------------------------------------------------ */

static void add_and_kill(struct expected *expected, uint32_t round)
{
	static struct child victim, other;
	uint32_t nothers = 1 + (uint32_t)random_below(300);

	start_adder(&victim, round, 1, LINES_MAX);
	start_adder(&other, round, 2, nothers);
	kill_sometime(&victim, LINES_MAX);
	if (random_below(2))
		kill_sometime(&other, nothers);
	else
		finish(&other);
	expect_added(expected, &victim, round, 1, LINES_MAX);
	expect_added(expected, &other, round, 2, nothers);
}

static void delete_and_kill(struct expected *expected, uint32_t round)
{
	static struct child victim, other;
	uint64_t one_in = expected->n > KEEP_MAX ? 1 : 1 + random_below(3);
	uint32_t nothers = 1 + (uint32_t)random_below(100);
	struct expected ids = { 0 };

	start_deleter(&victim, expected, one_in, &ids);
	start_adder(&other, round, 3, nothers);
	if (expected->n > KEEP_MAX)
		finish(&victim);
	else
		kill_sometime(&victim, ids.n);
	finish(&other);
	expect_deleted(expected, &victim, &ids);
	expect_added(expected, &other, round, 3, nothers);
	free(ids.note);
}

static void make_place(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(test.directory, sizeof test.directory, "%s/notes_test.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(test.directory))
		err(1, "%s", test.directory);
	snprintf(test.file, sizeof test.file, "%s/notes", test.directory);
}

int main(int argc, char **argv)
{
	uint32_t nrounds = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 200;
	struct expected expected = { 0 };
	static struct child first;

	if (argc < 2) {
		fprintf(stderr, "usage: notes_test NOTES [ROUNDS [SEED]]\n");
		return 2;
	}
	test.program = argv[1];
	test.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	if (!test.seed)
		test.seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	make_place();

	start_adder(&first, 1, 0, 1); /* from now on there is a file */
	finish(&first);
	expect_added(&expected, &first, 1, 0, 1);
	for (uint32_t round = 1; round <= nrounds; round++) {
		add_and_kill(&expected, round);
		verify(&expected);
		delete_and_kill(&expected, round);
		verify(&expected);
		check();
	}
	printf("%" PRIu32 " rounds: %" PRIu64 " adders and %" PRIu64 " deleters killed\n", nrounds,
	       test.nadders_killed, test.ndeleters_killed);
	printf("proved: %" PRIu64 " notes added and %" PRIu64 " deleted as acknowledged, %" PRIu64
	       " more just before a kill\n",
	       test.nadded, test.ndeleted, test.nextra);
	printf("proved: the heap whole and no block lost, in each round\n");

	free(expected.note);
	unlink(test.file);
	rmdir(test.directory);
	return 0;
}
