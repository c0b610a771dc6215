/*
 * patch_in_place.c - one process edits records in a file, another one sees it.
 *
 * What it shows
 *
 *	An account book: a header, then records of a fixed size that is no divisor
 *	of a page, so some lie across two.  A view may begin at any byte, so the
 *	records are an array.
 *
 *	The editor, a process of its own, opens a shared view behind the header,
 *	and books into every third record by plain stores; comap_view_flush puts
 *	one wide range on disk.  A second editor books into one record more and is
 *	killed before it could flush: flushing is for power loss, not for death.
 *
 *	The auditor believes nobody.  It looks through a view that it opened before
 *	any of this began, and through one that it opens afterwards, which is a
 *	copy made by read(2): both must show the same bytes, each record must have
 *	its checksum and the balance that the bookings make, and all that was not to
 *	be touched must be as it was.
 *
 * How to run it
 *
 *	patch_in_place
 *
 *	The file is made in a temporary folder, and removed.
 *
 * What it prints
 *
 *	What each of them does, and what that proves.  The exit status is 0 when
 *	everything was as expected.
 */
#include <comap/view.h>
#include <err.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct record {
	uint32_t number, bookings;
	int64_t balance;
	char owner[28];
	uint32_t check; /* of all before */
};

enum { NRECORDS = 1000, STEP = 3, LAST = 998, FEE = 25 };

static const char header[] = "account book 1\n";
#define HEADER (sizeof header - 1)

static void check_that(bool holds, const char *what)
{
	if (!holds)
		errx(1, "%s", what);
}

static void check(int e)
{
	if (e < 0)
		errx(1, "%s", comap_view_reason());
}

/* ---- records ------------------------------------------------------------- */

static uint32_t checksum(const struct record *record)
{
	const unsigned char *at = (const unsigned char *)record;
	uint32_t sum = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < offsetof(struct record, check); i++)
		sum = (sum ^ at[i]) * 16777619u;
	return sum;
}

static struct record first_state(uint32_t number)
{
	struct record record;

	memset(&record, 0, sizeof record);
	record.number = number;
	record.balance = 100 * (int64_t)number;
	snprintf(record.owner, sizeof record.owner, "customer %u", (unsigned)number);
	record.check = checksum(&record);
	return record;
}

/* Records are where they are: behind 15 bytes, at no alignment.  memcpy costs nothing for it. */
static void book(comap_view *view, uint32_t number, int64_t amount)
{
	char *at = (char *)comap_view_writable(view) + number * sizeof(struct record);
	struct record record;

	memcpy(&record, at, sizeof record);
	check_that(record.number == number && record.check == checksum(&record), "editor: a bad record");
	record.balance += amount;
	record.bookings++;
	record.check = checksum(&record);
	memcpy(at, &record, sizeof record);
}

/* ---- the two editors ------------------------------------------------------ */

static comap_view *open_records(const char *path)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	opts.mode = COMAP_VIEW_SHARED;
	opts.offset = HEADER;
	check(comap_view_open(path, &opts, &view));
	check_that(comap_view_bytes(view).size == NRECORDS * sizeof(struct record), "editor: the length");
	return view;
}

static int edit(const char *path)
{
	comap_view *view = open_records(path);
	unsigned n = 0;

	for (uint32_t i = 0; i < NRECORDS; i += STEP, n++)
		book(view, i, -FEE);
	check(comap_view_flush(view, 0, 0, COMAP_FLUSH_DATA));
	comap_view_close(view);
	printf("editor %d: %u of %d records booked, and flushed\n", (int)getpid(), n, NRECORDS);
	fflush(stdout);
	return 0;
}

static int edit_and_die(const char *path)
{
	comap_view *view = open_records(path);

	book(view, LAST, -FEE);
	printf("editor %d: record %d booked; killed before any flush\n", (int)getpid(), LAST);
	fflush(stdout);
	raise(SIGKILL);
	return 1;
}

static int run(int (*editor)(const char *path), const char *path)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		_exit(editor(path));
	check_that(waitpid(pid, &status, 0) == pid, "auditor: the editor is lost");
	return status;
}

/* ---- the auditor ----------------------------------------------------------- */

static void make_book(const char *path)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	opts.mode = COMAP_VIEW_SHARED;
	opts.flags = COMAP_VIEW_CREATE | COMAP_VIEW_EXCL;
	opts.length = HEADER + NRECORDS * sizeof(struct record);
	check(comap_view_open(path, &opts, &view));
	check(comap_view_write(view, 0, header, HEADER));
	for (uint32_t i = 0; i < NRECORDS; i++) {
		struct record record = first_state(i);

		check(comap_view_write(view, HEADER + i * sizeof record, &record, sizeof record));
	}
	check(comap_view_flush(view, 0, 0, COMAP_FLUSH_DURABLE));
	comap_view_close(view);
}

static comap_view *look(const char *path, enum comap_view_how how)
{
	struct comap_view_opts opts = COMAP_VIEW_OPTS_INIT;
	comap_view *view;

	opts.how = how;
	check(comap_view_open(path, &opts, &view));
	return view;
}

/* How many records were booked into, all others being as they were. */
static unsigned audit(const comap_view *view)
{
	struct comap_bytes bytes = comap_view_bytes(view), part;
	struct record record, was;
	unsigned booked = 0;

	check_that(bytes.size == HEADER + NRECORDS * sizeof record, "auditor: another length");
	check_that(comap_bytes_at(bytes, 0, HEADER, &part) == 0 && !memcmp(part.data, header, HEADER),
		   "auditor: another header");
	for (uint32_t i = 0; i < NRECORDS; i++) {
		check_that(comap_bytes_copy(bytes, HEADER + i * sizeof record, &record, sizeof record) == 0,
			   "auditor: a record is missing");
		check_that(record.check == checksum(&record), "auditor: a checksum is wrong");
		was = first_state(i);
		if (memcmp(&record, &was, sizeof record) == 0)
			continue;
		was.balance -= FEE;
		was.bookings = 1;
		was.check = checksum(&was);
		check_that(memcmp(&record, &was, sizeof record) == 0, "auditor: not as it was booked");
		check_that(i % STEP == 0 || i == LAST, "auditor: a record that nobody was to touch");
		booked++;
	}
	return booked;
}

static void verify(const char *path, const comap_view *old, unsigned expected)
{
	comap_view *fresh = look(path, COMAP_VIEW_COPY);
	struct comap_bytes a = comap_view_bytes(old), b = comap_view_bytes(fresh);

	check_that(audit(old) == expected, "auditor: another number of bookings in the old view");
	check_that(audit(fresh) == expected, "auditor: another number of bookings in the file");
	check_that(a.size == b.size && !memcmp(a.data, b.data, a.size), "auditor: two truths");
	comap_view_close(fresh);
	printf("auditor %d: %u bookings, in the view of before and in the file alike\n", (int)getpid(),
	       expected);
	fflush(stdout);
}

int main(void)
{
	const unsigned third = (NRECORDS + STEP - 1) / STEP;
	char folder[] = "/tmp/comap-patch.XXXXXX", path[64];
	comap_view *view;
	uint32_t changes;
	int status;

	if (!mkdtemp(folder))
		err(1, "mkdtemp");
	snprintf(path, sizeof path, "%s/book", folder);
	make_book(path);
	view = look(path, COMAP_VIEW_MAP);
	verify(path, view, 0);

	check_that(run(edit, path) == 0, "auditor: the editor failed");
	verify(path, view, third);

	status = run(edit_and_die, path);
	check_that(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "auditor: the second editor lives");
	verify(path, view, third + 1);

	check(comap_view_changed(view, &changes));
	check_that(!(changes & (COMAP_CHANGED_SIZE | COMAP_CHANGED_NAME)), "auditor: it is another file");
	comap_view_close(view);
	unlink(path);
	rmdir(folder);
	printf("proved: %u records of %zu bytes patched in place, the file is the same one,\n"
	       "        and a booking outlives its process without a flush\n",
	       third + 1, sizeof(struct record));
	return 0;
}
