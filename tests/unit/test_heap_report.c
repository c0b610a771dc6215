/* test_heap_report.c - reports: what they say of names, and that they take nothing.  Their figures
 * are compared by check_report.py. */
#include <pthread.h>
#include "fixture.h"
#include "heap/report.h"

static const enum comap_report forms[] = { COMAP_REPORT_TEXT, COMAP_REPORT_XML, COMAP_REPORT_JSON };

/* A report as a string; free it. */
static char *report(comap_heap *heap, enum comap_report form)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	assert_int_equal(comap_heap_report(heap, to, form), 0);
	assert_int_equal(fclose(to), 0);
	assert_int_equal(strlen(text), size);
	return text;
}

static void assert_says(comap_heap *heap, enum comap_report form, const char *what)
{
	char *text = report(heap, form);

	if (!strstr(text, what))
		print_error("no %s in:\n%s\n", what, text);
	assert_non_null(strstr(text, what));
	free(text);
}

static void it_says_what_is_there(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	assert_says(heap, COMAP_REPORT_TEXT, "slots_live                        0\n");
	assert_says(heap, COMAP_REPORT_TEXT, "max_size                   67108864      64.0 MiB\n");
	assert_says(heap, COMAP_REPORT_TEXT, "quota                          none\n");
	assert_says(heap, COMAP_REPORT_XML, "\n  quota=\"none\"\n");
	assert_says(heap, COMAP_REPORT_JSON, ",\n  \"quota\": null,\n");
	assert_says(heap, COMAP_REPORT_JSON, "\"classes\": [],\n\"threads\": []\n}\n");
	for (unsigned i = 0; i < 10; i++)
		assert_non_null(comap_heap_malloc(heap, 65536));
	assert_int_equal(comap_heap_set_quota(heap, 1536 * 1024), 0);
	assert_says(heap, COMAP_REPORT_TEXT, "quota                       1572864       1.5 MiB\n");
	assert_says(heap, COMAP_REPORT_XML, "<class block_size=\"65536\" live=\"10\" ");
	assert_says(heap, COMAP_REPORT_JSON, "{\"block_size\": 65536, \"live\": 10, ");
	assert_says(heap, COMAP_REPORT_JSON, "\"state\": \"alive\"");
	fx_close(heap);
}

/* ---- names ----------------------------------------------------------------------------------- */

#define BAD "\xef\xbf\xbd"

/* A name, and how it stands in text, XML and JSON. */
static const char *const names[][4] = {
	{ "", "", "", "" },
	{ "worker/7", "worker/7", "worker/7", "worker/7" },
	{ "<a b=\"&'>", "<a b=\"&'>", "&#60;a b=&#34;&#38;'&#62;", "<a b=\\u0022&'>" },
	{ "a\\n\"", "a\\n\"", "a\\n&#34;", "a\\u005cn\\u0022" },
	{ "\x01\t\n\r\x1b[2J", "?????[2J", BAD "&#9;&#10;&#13;" BAD "[2J",
	  "\\u0001\\u0009\\u000a\\u000d\\u001b[2J" },
	{ "\x7f", "?", "\x7f", "\\u007f" },
	{ "\xc2\x9b" "31m", "?31m", "\xc2\x9b" "31m", "\xc2\x9b" "31m" },
	{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8e", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8e",
	  "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8e", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8e" },
	{ "\xff\xfe\x80", "???", BAD BAD BAD, BAD BAD BAD },
	{ "cut\xe2\x82", "cut??", "cut" BAD BAD, "cut" BAD BAD },
	{ "\xe2\x82x", "??x", BAD BAD "x", BAD BAD "x" },
	{ "\xc0\xaf", "??", BAD BAD, BAD BAD },                     /* overlong */
	{ "\xe0\x80\xaf", "???", BAD BAD BAD, BAD BAD BAD },
	{ "\xed\xa0\x80", "???", BAD BAD BAD, BAD BAD BAD },        /* a surrogate */
	{ "\xf4\x90\x80\x80", "????", BAD BAD BAD BAD, BAD BAD BAD BAD }, /* past the last letter */
	{ "\xef\xbf\xbe\xef\xbf\xbf", "\xef\xbf\xbe\xef\xbf\xbf", BAD BAD, "\xef\xbf\xbe\xef\xbf\xbf" },
	{ "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", "???????????????",
	  BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD,
	  "\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001" },
};

static void a_name_harms_no_form(void **state)
{
	char shown[128];

	(void)state;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		for (unsigned f = 0; f < CM_FORMS; f++) {
			memset(shown, 0xee, sizeof shown);
			shown[0] = '\0';
			cm_form_text(&cm_forms[forms[f]], names[i][0], shown, sizeof shown);
			assert_string_equal(shown, names[i][1 + f]);
		}
}

struct sitter {
	comap_heap *heap;
	_Atomic uint32_t stage; /* 1: sits; 2: may go */
};

static void *sits(void *arg)
{
	struct sitter *s = arg;

	prctl(PR_SET_NAME, "\"><!--\\\x1b\xff,\n");
	KIN_CHECK(comap_heap_malloc(s->heap, 10) != NULL);
	kin_raise(&s->stage, 1);
	KIN_CHECK(kin_await(&s->stage, 2));
	return NULL;
}

static void a_thread_with_a_hostile_name_is_reported(void **state)
{
	struct sitter s = { .heap = fx_heap(64 * CM_MIB) };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, sits, &s), 0);
	assert_true(kin_await(&s.stage, 1));
	assert_says(s.heap, COMAP_REPORT_TEXT, "  \"><!--\\??,?\n");
	assert_says(s.heap, COMAP_REPORT_XML, "name=\"&#34;&#62;&#60;!--\\" BAD BAD ",&#10;\"/>\n");
	assert_says(s.heap, COMAP_REPORT_JSON, "\"name\": \"\\u0022><!--\\u005c\\u001b" BAD ",\\u000a\"}");
	kin_raise(&s.stage, 2);
	pthread_join(thread, NULL);
	fx_close(s.heap);
}

static int dies(void *arg)
{
	KIN_CHECK(comap_heap_malloc(arg, 10) != NULL);
	kin_die();
	return 0;
}

static void the_dead_are_reported_as_dead(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);

	(void)state;
	assert_int_equal(kin_run(dies, heap), -SIGKILL);
	assert_says(heap, COMAP_REPORT_TEXT, "slots_dead                        1\n");
	assert_says(heap, COMAP_REPORT_TEXT, "   dead ");
	assert_says(heap, COMAP_REPORT_XML, " state=\"dead\" ");
	assert_says(heap, COMAP_REPORT_JSON, "\"state\": \"dead\"");
	assert_int_equal(comap_heap_reap(heap), 1);
	fx_close(heap);
}

/* ---- what it takes ------------------------------------------------------------------- */

static void it_takes_nothing_from_the_heap(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct comap_heap_stats before, after;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_non_null(comap_heap_malloc(heap, 1000));
	comap_heap_detach(heap);
	before = fx_stats(heap);
	for (unsigned f = 0; f < CM_FORMS; f++)
		free(report(heap, forms[f]));
	after = fx_stats(heap);
	assert_memory_equal(&before, &after, sizeof before);
	assert_int_equal(after.slots_live, 0);
	fx_close(heap);
}

static void who_only_reads_reports_the_same(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB), *reader;
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	(void)state;
	assert_non_null(comap_heap_malloc(heap, 1000));
	opts.flags = COMAP_HEAP_READONLY;
	assert_int_equal(comap_heap_open_fd(comap_heap_fd(heap), &opts, &reader), 0);
	for (unsigned f = 0; f < CM_FORMS; f++) {
		char *ours = report(heap, forms[f]), *theirs = report(reader, forms[f]);

		assert_string_equal(ours, theirs);
		free(ours);
		free(theirs);
	}
	comap_heap_close(reader);
	fx_close(heap);
}

/* Somebody stands in the midst of a change: whoever needed its lock would wait for ever. */
static void it_waits_for_no_lock(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	struct cm_self self = fx_self(heap);
	struct cm_tx tx;

	(void)state;
	assert_non_null(comap_heap_malloc(heap, 1000));
	for (uint32_t lock = CM_LOCK_SPAN; lock < CM_LOCKS; lock++) {
		cm_tx_begin(&heap->seg.log, &self, lock, &tx);
		free(report(heap, COMAP_REPORT_JSON));
		cm_tx_end(&tx);
	}
	fx_close(heap);
}

/* ---- errors -------------------------------------------------------------------------- */

static void an_unknown_form_is_einval_and_writes_nothing(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(comap_heap_report(heap, to, (enum comap_report)3), -EINVAL);
	assert_int_equal(comap_heap_report(heap, to, (enum comap_report) - 1), -EINVAL);
	assert_int_equal(fclose(to), 0);
	assert_int_equal(size, 0);
	free(text);
	fx_close(heap);
}

static void a_file_that_cannot_be_written_is_eio(void **state)
{
	comap_heap *heap = fx_heap(64 * CM_MIB);
	FILE *full = fopen("/dev/full", "w"), *in = fopen("/dev/null", "r");

	(void)state;
	assert_true(full && in);
	for (unsigned f = 0; f < CM_FORMS; f++) {
		clearerr(full);
		assert_int_equal(comap_heap_report(heap, full, forms[f]), -EIO);
		assert_int_equal(comap_heap_report(heap, in, forms[f]), -EIO);
	}
	fclose(full);
	fclose(in);
	fx_close(heap);
}

struct reporters {
	comap_heap *heap;
	FILE *to;
};

static void *reports(void *arg)
{
	struct reporters *r = arg;

	for (int i = 0; i < 50; i++)
		KIN_CHECK(comap_heap_report(r->heap, r->to, COMAP_REPORT_JSON) == 0);
	return NULL;
}

static void reports_of_two_threads_do_not_mix(void **state)
{
	struct reporters r = { .heap = fx_heap(64 * CM_MIB) };
	pthread_t threads[2];
	char *one, *text;
	size_t n;

	(void)state;
	r.to = tmpfile();
	assert_non_null(r.to);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reports, &r), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	one = report(r.heap, COMAP_REPORT_JSON);
	n = strlen(one);
	text = malloc(n);
	assert_non_null(text);
	rewind(r.to);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(fread(text, 1, n, r.to), n);
		assert_memory_equal(text, one, n);
	}
	assert_int_equal(fgetc(r.to), EOF);
	fclose(r.to);
	free(one);
	free(text);
	fx_close(r.heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(it_says_what_is_there),
		KIN_TEST(a_name_harms_no_form),
		KIN_TEST(a_thread_with_a_hostile_name_is_reported),
		KIN_TEST(the_dead_are_reported_as_dead),
		KIN_TEST(it_takes_nothing_from_the_heap),
		KIN_TEST(who_only_reads_reports_the_same),
		KIN_TEST(it_waits_for_no_lock),
		KIN_TEST(an_unknown_form_is_einval_and_writes_nothing),
		KIN_TEST(a_file_that_cannot_be_written_is_eio),
		KIN_TEST(reports_of_two_threads_do_not_mix),
	};

	return cmocka_run_group_tests_name("heap/report", tests, NULL, NULL);
}
