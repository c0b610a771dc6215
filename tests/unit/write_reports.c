/*
 * write_reports.c - DIR: the three reports of one heap, in DIR/text, DIR/xml and DIR/json, and of
 * the same heap while two processes work in it, in DIR/busy.xml and DIR/busy.json.  check_report.py
 * reads them.
 *
 * The heap has a bit of everything: classes in use, large blocks, magazines, names that would break
 * a careless report, a dead thread, and figures that are not zero.
 */
#include <pthread.h>
#include <string.h>
#include <comap.h>
#include "kin.h"

static const char *const names[] = {
	"plain",
	"\"><!--\\\x1b\xff,\n",
	"]]>&amp;</comap>",
	"\",\"a\":{\\u0000",
	"  two  spaces ",
	"\xe2\x82\xac\xf0\x9f\x90\x8e\xc3",
};
#define NAMES (sizeof names / sizeof *names)

struct crew {
	comap_heap *heap;
	_Atomic uint32_t here, go;
};

struct member {
	struct crew *crew;
	const char *name;
};

static void churn(comap_heap *heap, size_t seed)
{
	void *p[400];

	for (size_t i = 0; i < 400; i++)
		KIN_CHECK((p[i] = comap_heap_malloc(heap, (seed + i) % 37 * (i % 5 ? 16 : 2500))) != NULL);
	for (size_t i = 0; i < 400; i++)
		if (i % 8)
			comap_heap_free(heap, p[i]);
}

static void *sits(void *arg)
{
	struct member *m = arg;

	prctl(PR_SET_NAME, m->name);
	churn(m->crew->heap, strlen(m->name));
	atomic_fetch_add(&m->crew->here, 1);
	KIN_CHECK(kin_await(&m->crew->go, 1));
	return NULL;
}

static int dies(void *arg)
{
	prctl(PR_SET_NAME, "the dead");
	churn(arg, 3);
	kin_die();
	return 0;
}

static int works(void *arg)
{
	for (size_t i = 0; i < 100000000; i++) { /* until it is killed */
		churn(arg, i);
		if (i % 50 == 49)
			comap_heap_detach(arg);
	}
	return 0;
}

static void write_to(comap_heap *heap, const char *dir, const char *name, enum comap_report form)
{
	char path[4096];
	FILE *to;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	to = fopen(path, "w");
	KIN_CHECK(to != NULL);
	KIN_CHECK(comap_heap_report(heap, to, form) == 0);
	KIN_CHECK(fclose(to) == 0);
}

int main(int argc, char **argv)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	struct member members[NAMES];
	pthread_t threads[NAMES];
	struct crew crew = {0};
	pid_t pids[2];
	void *p;

	KIN_CHECK(argc == 2);
	opts.max_size = 1ull << 30;
	KIN_CHECK(comap_heap_open_anon(&opts, &crew.heap) == 0);
	KIN_CHECK((p = comap_heap_malloc(crew.heap, 9000000)) != NULL);
	KIN_CHECK(comap_heap_malloc(crew.heap, 100000) != NULL);
	comap_heap_free(crew.heap, p);
	KIN_CHECK(comap_heap_trim(crew.heap) == 0);
	for (size_t i = 0; i < NAMES; i++) {
		members[i] = (struct member){ &crew, names[i] };
		KIN_CHECK(pthread_create(&threads[i], NULL, sits, &members[i]) == 0);
	}
	KIN_CHECK(kin_await(&crew.here, NAMES));
	KIN_CHECK(kin_run(dies, crew.heap) == -SIGKILL);
	KIN_CHECK(comap_heap_reap(crew.heap) == 1);
	KIN_CHECK(kin_run(dies, crew.heap) == -SIGKILL);
	write_to(crew.heap, argv[1], "text", COMAP_REPORT_TEXT);
	write_to(crew.heap, argv[1], "xml", COMAP_REPORT_XML);
	write_to(crew.heap, argv[1], "json", COMAP_REPORT_JSON);
	for (int i = 0; i < 2; i++)
		KIN_CHECK((pids[i] = kin_spawn(works, crew.heap)) > 0);
	kin_sleep_us(20000);
	write_to(crew.heap, argv[1], "busy.xml", COMAP_REPORT_XML);
	write_to(crew.heap, argv[1], "busy.json", COMAP_REPORT_JSON);
	for (int i = 0; i < 2; i++)
		KIN_CHECK(kin_kill(pids[i]) == -SIGKILL);
	kin_raise(&crew.go, 1);
	for (size_t i = 0; i < NAMES; i++)
		pthread_join(threads[i], NULL);
	KIN_CHECK(comap_heap_check(crew.heap, NULL, NULL) == 0);
	comap_heap_close(crew.heap);
	return 0;
}
