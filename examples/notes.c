/*
 * notes.c - a notebook in a file that kill -9 cannot tear.
 *
 * What it shows
 *
 *	A heap in a file outlives every process: open it again, and everything is
 *	where it was.  There is no loading and no saving; a note is a struct, and
 *	the file is the memory it lies in.  Any number of processes may add and
 *	delete at once, and any of them may be killed at any instruction.  A note
 *	whose number was printed is there for good.
 *
 * How to run it
 *
 *	notes FILE add TEXT...      add one note; its number is printed
 *	notes FILE add              add each line of standard input
 *	notes FILE list             print all, newest first: number, tab, text
 *	notes FILE delete ID...     delete notes; each number is printed once it is gone
 *	notes FILE delete           the same, with the numbers from standard input
 *	notes FILE check            verify the file, and that nothing in it is lost
 *
 *	FILE is a path, or a name without a slash, which is then in /dev/shm.  add
 *	makes the file.  The exit status is 0, 1 when something failed, or 2 for a
 *	wrong command line.
 *
 * How it works
 *
 *	The root "notes" leads to the notebook, which has a lock, the newest note,
 *	and one ref more, `limbo`: the note on its way in or out.
 *
 *	add       1. malloc_to(limbo)      the block hangs from limbo
 *	          2. fill it in
 *	          3. newest = limbo        one store: now it is a note
 *	          4. limbo = null
 *	delete    1. limbo = the note
 *	          2. the ref before = the note's next     one store: now it is none
 *	          3. free_from(limbo)      freed, and limbo null, both or neither
 *
 *	Who dies in between holds the lock, and the next to lock it is told so, by
 *	-EOWNERDEAD.  Mending is one rule for all the cases: if limbo's block is in
 *	the list, it is a note, and limbo forgets it; if it is not, it is freed.
 *	Mending may be cut short as well: limbo is as it was, or null.
 *
 * What a power loss does is another matter; see heap.h.
 */
#include <comap/heap.h>
#include <comap/root.h>
#include <comap/sync.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct note;
typedef COMAP_REF(struct note) note_ref;
struct note {
	note_ref next; /* the one added before this */
	uint64_t id;
	char text[];
};

struct notebook {
	comap_mutex lock; /* of all below, and of every note */
	note_ref newest;
	note_ref limbo; /* the note on its way in or out */
	uint64_t last_id;
	uint64_t nothers; /* live blocks that are no notes: this one, and what roots need */
};

/* ---- the notebook -------------------------------------------------------- */

static uint64_t count_live_blocks(comap_heap *heap)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;
	int e = comap_heap_get_stats(heap, &stats);

	if (e)
		errx(1, "stats: %s", strerror(-e));
	return stats.live_blocks;
}

/* Runs once in the life of the file, and once more for each time it was killed. */
static int make_notebook(comap_heap *heap, comap_ref *cell, void *arg)
{
	struct notebook *book = comap_heap_at(heap, *cell); /* from one who died in here */

	(void)arg;
	if (!book)
		book = comap_heap_malloc_to(heap, sizeof *book, cell);
	if (!book)
		return -errno;
	memset(book, 0, sizeof *book);
	book->nothers = count_live_blocks(heap);
	return 0;
}

static struct notebook *find_notebook(comap_heap *heap)
{
	comap_ref ref;
	int e = comap_root_once(heap, "notes", make_notebook, NULL, COMAP_FOREVER, &ref);

	if (e)
		errx(1, "the notebook: %s", strerror(-e));
	return comap_heap_at(heap, ref);
}

/* The last to hold the lock died.  See the essay above. */
static void mend(comap_heap *heap, struct notebook *book)
{
	const note_ref *ref;
	const struct note *note;

	for (ref = &book->newest; (note = comap_at(heap, *ref)); ref = &note->next) {
		if (comap_ref_is_same(ref->ref, book->limbo.ref)) {
			comap_ref_store(&book->limbo.ref, COMAP_NULL);
			return;
		}
	}
	comap_heap_free_from(heap, &book->limbo.ref);
}

static void lock(comap_heap *heap, struct notebook *book)
{
	int e = comap_mutex_lock(heap, &book->lock);

	if (e == -EOWNERDEAD)
		mend(heap, book);
	else if (e)
		errx(1, "lock: %s", strerror(-e));
}

static void unlock(comap_heap *heap, struct notebook *book)
{
	comap_mutex_unlock(heap, &book->lock);
}

/* Returns 0 or -errno. */
static int add_note(comap_heap *heap, struct notebook *book, const char *text, uint64_t *ret_id)
{
	size_t size = strlen(text) + 1;
	struct note *note;
	int e = 0;

	lock(heap, book);
	note = comap_heap_malloc_to(heap, sizeof *note + size, &book->limbo.ref);
	if (!note) {
		e = -errno;
		goto out;
	}
	*ret_id = note->id = ++book->last_id; /* death: a number is left out, no harm */
	memcpy(note->text, text, size);
	note->next = book->newest;
	/* release: the note is complete before it is one.  death: before this store it is
	 * freed by mend(), after it it is here to stay. */
	comap_ref_store(&book->newest.ref, book->limbo.ref);
	comap_ref_store(&book->limbo.ref, COMAP_NULL);
out:
	unlock(heap, book);
	return e;
}

/* Returns 0, or -ENOENT. */
static int delete_note(comap_heap *heap, struct notebook *book, uint64_t id)
{
	note_ref *ref = &book->newest;
	struct note *note;

	lock(heap, book);
	while ((note = comap_at(heap, *ref)) && note->id != id)
		ref = &note->next;
	if (note) {
		comap_ref_store(&book->limbo.ref, ref->ref);
		/* death: before this store the note stays, after it mend() frees it. */
		comap_ref_store(&ref->ref, note->next.ref);
		comap_heap_free_from(heap, &book->limbo.ref);
	}
	unlock(heap, book);
	return note ? 0 : -ENOENT;
}

/* ---- the verbs ----------------------------------------------------------- */

/* Say that it is done, now: whoever reads this may rely on it. */
static void acknowledge(uint64_t id)
{
	printf("%" PRIu64 "\n", id);
	if (fflush(stdout) != 0)
		err(1, "standard output");
}

/* Call fn for each argument, or, when there is none, for each line of standard input. */
static bool for_each_text(char **texts, int n, comap_heap *heap, struct notebook *book,
			  bool (*fn)(comap_heap *heap, struct notebook *book, const char *text))
{
	bool is_good = true;
	char *line = NULL;
	size_t room = 0;

	for (int i = 0; i < n; i++)
		is_good &= fn(heap, book, texts[i]);
	while (n == 0 && getline(&line, &room, stdin) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		is_good &= fn(heap, book, line);
	}
	free(line);
	return is_good;
}

static bool add_one(comap_heap *heap, struct notebook *book, const char *text)
{
	uint64_t id = 0;
	int e = add_note(heap, book, text, &id);

	if (e) {
		warnx("add: %s", strerror(-e));
		return false;
	}
	acknowledge(id);
	return true;
}

static bool delete_one(comap_heap *heap, struct notebook *book, const char *text)
{
	char *end;
	uint64_t id = strtoull(text, &end, 10);

	if (end == text || *end || delete_note(heap, book, id) != 0) {
		warnx("delete: there is no note %s", text);
		return false;
	}
	acknowledge(id);
	return true;
}

static bool verb_add(comap_heap *heap, struct notebook *book, char **words, int n)
{
	char *text = NULL;
	size_t size = 0;
	bool is_good;
	FILE *joined;

	if (n < 2)
		return for_each_text(words, n, heap, book, add_one);
	joined = open_memstream(&text, &size);
	if (!joined)
		err(1, "add");
	for (int i = 0; i < n; i++)
		fprintf(joined, "%s%s", i ? " " : "", words[i]);
	if (fclose(joined) != 0)
		err(1, "add");
	is_good = add_one(heap, book, text);
	free(text);
	return is_good;
}

static bool verb_delete(comap_heap *heap, struct notebook *book, char **ids, int n)
{
	return for_each_text(ids, n, heap, book, delete_one);
}

/* Into memory first: standard output may be slow, and others wait for the lock. */
static bool verb_list(comap_heap *heap, struct notebook *book, char **rest, int n)
{
	const struct note *note;
	char *text = NULL;
	size_t size = 0;
	FILE *list = open_memstream(&text, &size);

	(void)rest, (void)n;
	if (!list)
		err(1, "list");
	lock(heap, book);
	for (note = comap_at(heap, book->newest); note; note = comap_at(heap, note->next))
		fprintf(list, "%" PRIu64 "\t%s\n", note->id, note->text);
	unlock(heap, book);
	if (fclose(list) != 0 || fwrite(text, 1, size, stdout) != size || fflush(stdout) != 0)
		err(1, "list");
	free(text);
	return true;
}

static void print_damage(uint64_t offset, const char *what, void *arg)
{
	(void)arg;
	printf("at offset %#" PRIx64 ": %s\n", offset, what);
}

static bool verb_check(comap_heap *heap, struct notebook *book, char **rest, int n)
{
	bool is_whole = comap_heap_check(heap, print_damage, NULL) == 0, is_sound = true;
	uint64_t nnotes = 0, nlive;
	note_ref ref;

	(void)rest, (void)n;
	lock(heap, book);
	nlive = count_live_blocks(heap);
	for (ref = book->newest; is_sound && !comap_ref_is_null(ref.ref); nnotes++) {
		const struct note *note = comap_heap_at_checked(heap, ref.ref, sizeof *note);

		is_sound = note && nnotes < nlive && note->id <= book->last_id;
		if (is_sound)
			ref = note->next;
	}
	is_sound &= comap_ref_is_null(book->limbo.ref);
	unlock(heap, book);

	printf("heap: %s\n", is_whole ? "whole" : "DAMAGED");
	printf("list: %s, %" PRIu64 " notes\n", is_sound ? "sound" : "BROKEN", nnotes);
	printf("blocks: %" PRIu64 " of notes and %" PRIu64 " others make %" PRIu64 ", %" PRIu64
	       " are live: %s\n",
	       nnotes, book->nothers, nnotes + book->nothers, nlive,
	       nnotes + book->nothers == nlive ? "none lost" : "WRONG");
	return is_whole && is_sound && nnotes + book->nothers == nlive;
}

/* ---- the command line ---------------------------------------------------- */

static const struct verb {
	const char *name;
	bool (*run)(comap_heap *heap, struct notebook *book, char **rest, int n);
	uint32_t open_flags;
} verbs[] = {
	{ "add", verb_add, COMAP_HEAP_CREATE },
	{ "list", verb_list, 0 },
	{ "delete", verb_delete, 0 },
	{ "check", verb_check, 0 },
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct verb *verb = argc >= 3 ? find_verb(argv[2]) : NULL;
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct notebook *book;
	comap_heap *heap;
	bool is_good;
	int e;

	if (!verb) {
		fprintf(stderr,
			"usage: notes FILE add [TEXT...] | list | delete [ID...] | check\n");
		return 2;
	}
	opts.flags = verb->open_flags;
	e = comap_heap_open(argv[1], &opts, &heap);
	if (e)
		errx(1, "%s: %s %s", argv[1], strerror(-e), comap_heap_open_reason());
	book = find_notebook(heap);
	is_good = verb->run(heap, book, argv + 3, argc - 3);
	comap_heap_close(heap);
	return is_good ? 0 : 1;
}
