/*
 * stepper.c - see stepper.h.
 *
 *	stepper            every scenario
 *	stepper -l         their names
 *	stepper NAME...    these
 *	stepper -n ...     without the second level (reapers and thieves stepped in their turn)
 *	stepper -j N ...   N scenarios at a time; else as many as there are processors
 *
 * Prints, for each scenario,
 *
 *	stepper NAME points=N inconsistent=N leaked=N states=N
 *
 * points: instructions after which the process could have died; states: how many different
 * heaps that makes, each recovered in three ways; leaked: the most blocks lost at any point.
 * An instruction that changes nothing shared leaves the same heap as the one before, so it
 * is counted, not judged again.
 *
 * Second level: of each scenario's states those that differ in what is to be recovered (locks,
 * logs, holds, slots) are kept, and a reaper, and a thief that meets the dead one's locks in
 * its own malloc, are stepped on a copy of each, and judged in the same way.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "crash/neighbours.h"
#include "crash/stepper.h"

#define NEIGHBOUR_SAMPLE 5
#define SHOWN 3 /* failures told per scenario */

struct tally {
	unsigned long points, states, inconsistent;
	unsigned leaked;
};

/* What the second level starts from. */
struct seed {
	struct image image;
	struct journal journal;
	struct dead dead;
	bool has_locks; /* for a thief to steal */
};

struct run {
	const struct scenario *scenario;
	struct world world;
	struct tally tally;
	struct neighbours *neighbours;
	struct seed *seeds;
	unsigned nseeds;
	bool keeps_seeds;
	unsigned long instructions;
	char *map;          /* of world.fd, to look for changes without a copy */
	bool in_turn;       /* each state is judged in one way, the next in another */
	struct dead dead;
	const struct dead *late; /* who die when the stepped one is ready */
};

/* Between the workers, who each take the next scenario. */
enum level { FIRST, REAPER, THIEF, LONE_OPENER, LEVELS };
#define SEEN 8192u
static struct common {
	_Atomic unsigned next;
	_Atomic unsigned nseen;
	_Atomic uint64_t seen[SEEN]; /* signatures of the states that are some worker's seeds */
	struct tally tally[][LEVELS];
} * common;

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void keep_seed(struct run *run, const struct image *image, uint64_t signature, bool has_locks)
{
	struct seed *seed;

	for (unsigned i = 0; i < SEEN && i < common->nseen; i++)
		if (common->seen[i] == signature)
			return;
	if (common->nseen < SEEN)
		common->seen[common->nseen++] = signature;
	run->seeds = realloc(run->seeds, (run->nseeds + 1) * sizeof *run->seeds);
	seed = &run->seeds[run->nseeds++];
	image_copy(&seed->image, image);
	memcpy(&seed->journal, run->world.journal, sizeof seed->journal);
	seed->dead = run->dead;
	seed->has_locks = has_locks;
}

static void judge_image(struct run *run, const struct image *image)
{
	/* neighbours die at the same moment */
	unsigned leaked, may_leak = run->scenario->may_leak + run->dead.njournals - 1;
	struct tally *t = &run->tally;

	t->states++;
	for (enum way way = 0; way < WAYS; way++) {
		if (run->in_turn && way != t->states % WAYS)
			continue;
		int fd = image_thaw(image);
		const char *wrong;

		if (way == WAY_REAP && run->keeps_seeds) {
			bool has_locks;
			uint64_t signature = image_signature(fd, &has_locks);

			keep_seed(run, image, signature, has_locks);
		}
		wrong = judge(fd, way, run->scenario, &run->dead, &leaked);
		close(fd);
		t->leaked = leaked > t->leaked ? leaked : t->leaked;
		if (!wrong && leaked > may_leak)
			wrong = "too much is leaked";
		if (wrong && t->inconsistent++ < SHOWN)
			printf("  %s: point %lu, way %d: %s (leaked %u)\n", run->scenario->name,
			       t->points, way, wrong, leaked);
		if (wrong)
			break;
	}
}

/* Judge the heap as it stands, unless it stands as it stood. */
static void look(struct run *run, struct image *last, bool *has_last)
{
	struct image now;
	int fd = run->world.fd;

	if (run->scenario->is_named && fd < 0) {
		/* not there, or opens */
		fd = open(run->world.path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return;
		run->world.fd = fd;
	}
	if (!run->map)
		run->map = mmap(NULL, IMAGE_MAP_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (run->neighbours)
		neighbours_stop(run->neighbours);
	else if (*has_last && !image_is_stale(last, fd, run->map, run->world.journal))
		return;
	image_take(&now, fd);
	if (!*has_last || !image_is_same(&now, last)) {
		judge_image(run, &now);
		if (*has_last)
			image_drop(last);
		*last = now;
		*has_last = true;
	} else {
		image_drop(&now);
	}
	if (run->neighbours)
		neighbours_go(run->neighbours);
}

static void on_misuse(comap_heap *heap, enum comap_misuse what, const void *ptr, void *arg)
{
	(void)arg;
	fprintf(stderr, "misuse %d of %#llx\n", what, (unsigned long long)comap_heap_ref(heap, ptr).off);
	_exit(5);
}

static void child(const struct scenario *s, struct world *w)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	opts.flags = s->is_hot ? 0 : COMAP_HEAP_LEAN;
	if (!s->opens_itself && comap_heap_open_fd(w->fd, &opts, &w->heap) < 0)
		_exit(3);
	if (w->heap)
		comap_heap_on_misuse(w->heap, on_misuse, NULL);
	if (s->prepare)
		s->prepare(w);
	ptrace(PTRACE_TRACEME, 0, 0, 0);
	raise(SIGSTOP);
	s->step(w);
	w->journal->done = 1;
	_exit(0);
}

/* Step the child to its end. */
static void step(struct run *run)
{
	struct world *w = &run->world;
	struct image last;
	bool has_last = false;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		child(run->scenario, w);
	if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status)) {
		fprintf(stderr, "%s: the scenario ended before it began (%#x)\n",
			run->scenario->name, status);
		exit(2);
	}
	if (run->late)
		mark_dead(w->fd, run->late);
	run->dead.tid[run->dead.n++] = pid;
	if (w->journal->helper)
		run->dead.tid[run->dead.n++] = w->journal->helper;
	look(run, &last, &has_last);
	while (!w->journal->done || run->scenario->goes_on) {
		int signal = 0;

		if (WIFSTOPPED(status) && WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
			signal = WSTOPSIG(status);
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, signal) < 0 || waitpid(pid, &status, 0) < 0)
			die("ptrace");
		if (WIFEXITED(status) || WIFSIGNALED(status))
			break;
		/* beside neighbours every instant is a new state: a sample of them */
		if (run->neighbours && ++run->instructions % NEIGHBOUR_SAMPLE)
			continue;
		run->tally.points++;
		look(run, &last, &has_last);
	}
	if (!w->journal->done) {
		printf("  %s: the child failed (%#x)\n", run->scenario->name, status);
		run->tally.inconsistent++;
	}
	munmap(run->map, IMAGE_MAP_SIZE);
	kill(pid, SIGKILL);
	if (!WIFEXITED(status) && !WIFSIGNALED(status))
		waitpid(pid, &status, 0);
	if (has_last)
		image_drop(&last);
}

static void tell(const char *name, const struct tally *t)
{
	printf("stepper %s points=%lu inconsistent=%lu leaked=%u states=%lu\n", name, t->points,
	       t->inconsistent, t->leaked, t->states);
	fflush(stdout);
}

static void add(struct tally *total, const struct tally *t)
{
	total->points += t->points;
	total->states += t->states;
	total->inconsistent += t->inconsistent;
	total->leaked = t->leaked > total->leaked ? t->leaked : total->leaked;
}

static int make_heap(const struct scenario *s)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	int fd;

	opts.max_size = 32 << 20;
	opts.slots = s->slots ? s->slots : 16;
	opts.dirty_max = 1 << 20;
	if (comap_heap_open_anon(&opts, &heap) < 0)
		die("comap_heap_open_anon");
	fd = dup(comap_heap_fd(heap));
	comap_heap_close(heap);
	return fd;
}

static void run_scenario(struct run *run)
{
	const struct scenario *s = run->scenario;
	char path[64];

	run->world.journal = shared(sizeof(struct journal));
	run->dead.journal[run->dead.njournals++] = run->world.journal;
	run->world.fd = s->is_named ? -1 : make_heap(s);
	snprintf(path, sizeof path, "/dev/shm/stepper.%d", (int)getpid());
	run->world.path = path;
	if (s->has_neighbours) {
		run->in_turn = true;
		run->neighbours = neighbours_start(run->world.fd);
		run->dead.n = neighbours_tids(run->neighbours, run->dead.tid);
		for (unsigned i = 0; i < NEIGHBOUR_THREADS; i++)
			run->dead.journal[run->dead.njournals++] = neighbours_journal(run->neighbours, i);
	}
	step(run);
	if (run->neighbours)
		neighbours_end(run->neighbours);
	close(run->world.fd);
	unlink(path);
	munmap(run->world.journal, sizeof(struct journal));
}

/* ---- the second level -------------------------------------------------------------- */

static void reap_it(struct world *w)
{
	comap_heap_reap(w->heap);
}

/* Meets the locks of the dead in a malloc of its own, before anybody reaped. */
static void steal_it(struct world *w)
{
	static const size_t sizes[] = { 64, 200000 };

	for (unsigned i = 0; i < 2; i++)
		comap_heap_free(w->heap, comap_heap_malloc(w->heap, sizes[i]));
}

/* A survivor was there before the death: newcomers reap at once. */
static void come_before(struct world *w)
{
	if (comap_heap_set_quota(w->heap, 0) < 0)
		_exit(6);
}

/* Finds itself alone with what the dead left. */
static void open_it(struct world *w)
{
	if (comap_heap_open_fd(w->fd, NULL, &w->heap) < 0)
		_exit(4);
}

static void second_level(const struct run *first, void (*act)(struct world *w), struct tally *total)
{
	struct scenario s = *first->scenario;
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1 };

	s.prepare = act == open_it || first->scenario->slots == 1 ? NULL : come_before;
	s.step = act;
	s.may_leak += act == steal_it; /* the thief's own block */
	s.opens_itself = act == open_it;
	s.is_named = s.has_neighbours = s.goes_on = false;
	for (unsigned i = 0; i < first->nseeds; i++) {
		const struct seed *seed = &first->seeds[i];
		struct run run = { .scenario = &s, .dead = seed->dead, .in_turn = true };

		if (act == steal_it && !seed->has_locks)
			continue;
		run.dead.in_two_steps = true;
		run.world.journal = run.dead.journal[0] = shared(sizeof(struct journal));
		memcpy(run.world.journal, &seed->journal, sizeof seed->journal);
		run.world.journal->done = 0;
		run.world.journal->helper = 0;
		run.world.fd = image_thaw(&seed->image);
		if (act == open_it || first->scenario->slots == 1)
			mark_dead(run.world.fd, &seed->dead);
		else
			run.late = &seed->dead; /* once the survivor has come */
		/* the world has other survivors */
		if (act != open_it && fcntl(run.world.fd, F_OFD_SETLK, &lock) < 0)
			die("fcntl");
		step(&run);
		close(run.world.fd);
		munmap(run.world.journal, sizeof(struct journal));
		add(total, &run.tally);
	}
}

static void drop_seeds(struct run *run)
{
	for (unsigned i = 0; i < run->nseeds; i++)
		image_drop(&run->seeds[i].image);
	free(run->seeds);
}

static bool is_wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static void whole_scenario(const struct scenario *s, bool is_deep, struct tally *tally)
{
	struct run run = { .scenario = s, .keeps_seeds = is_deep && !s->has_neighbours };

	run_scenario(&run);
	tell(s->name, &run.tally);
	add(&tally[FIRST], &run.tally);
	second_level(&run, reap_it, &tally[REAPER]);
	second_level(&run, steal_it, &tally[THIEF]);
	second_level(&run, open_it, &tally[LONE_OPENER]);
	drop_seeds(&run);
}

static void work(char **names, bool is_deep, struct tally *tally)
{
	unsigned i;

	while ((i = common->next++) < nscenarios)
		if (is_wanted(scenarios[i].name, names))
			whole_scenario(&scenarios[i], is_deep, tally);
	exit(0);
}

int main(int argc, char **argv)
{
	static const char *const names[LEVELS] = { NULL, "reaper", "thief", "lone_opener" };
	struct tally sum[LEVELS] = {0};
	long njobs = sysconf(_SC_NPROCESSORS_ONLN);
	bool is_deep = true, is_fine = true;
	int c, status;

	while ((c = getopt(argc, argv, "lnj:")) != -1) {
		if (c == 'l')
			for (unsigned i = 0; i < nscenarios; i++)
				puts(scenarios[i].name);
		if (c == 'n')
			is_deep = false;
		if (c == 'j')
			njobs = strtol(optarg, NULL, 10);
		if ((c != 'n' && c != 'j') || njobs < 1 || njobs > 1024)
			return c == 'l' ? 0 : 2;
	}
	common = shared(sizeof *common + (size_t)njobs * sizeof common->tally[0]);
	if (!common)
		die("mmap");
	for (long i = 0; i < njobs; i++)
		if (fork() == 0)
			work(argv + optind, is_deep, common->tally[i]);
	while (wait(&status) > 0) {
		is_fine = is_fine && status == 0;
		if (status)
			printf("  a worker ended before its work (%#x)\n", status);
	}
	for (long i = 0; i < njobs; i++)
		for (unsigned level = FIRST; level < LEVELS; level++)
			add(&sum[level], &common->tally[i][level]);
	for (unsigned level = FIRST; level < LEVELS; level++)
		is_fine = sum[level].inconsistent == 0 && is_fine;
	for (unsigned level = REAPER; is_deep && level < LEVELS; level++) {
		tell(names[level], &sum[level]);
		add(&sum[FIRST], &sum[level]);
	}
	tell("total", &sum[FIRST]);
	return is_fine ? 0 : 1;
}
