/*
 * soak.c - many processes, random operations, random deaths: does anything get lost,
 * torn, given out twice, or stuck?
 *
 *	soak [--processes N] [--threads N] [--seconds N] [--seed N] [--slots N]
 *	     [--file NAME] [--keep]
 *
 * The monitor kills, stops and continues workers at random microseconds and replaces
 * the dead.  Every few seconds it kills all of them at once, and then every block must
 * be accounted for.  At the end all is freed, and the storage must have gone back.
 *
 * A stall is how long a living thread stays in one call.  It counts from the moment
 * when nobody was stopped any more: a stopped process may hold a lock.
 *
 * --slots N with fewer slots than threads makes them share the common one.
 * --keep leaves everybody as they are when something hangs, for gdb.
 */
#include <getopt.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "soak.h"

#define HANG (20 * SECOND)
#define ROUND (4 * SECOND) /* between two massacres */

struct monitor {
	struct soak soak;
	struct dice dice;
	pid_t pid[WORKERS_MOST];
	uint64_t seconds, began, calm_since, last_look;
	uint64_t nkills, nstops, nmassacres, longest_stall, most_storage;
	unsigned longest_op;
	bool keeps, has_failed;
};

/* ---- making and opening --------------------------------------------------------- */

static int make_heap(const char *path, uint32_t nslots, size_t desk_bytes, comap_heap **ret_heap)
{
	struct comap_heap_opts opts = small_opts(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL, nslots);
	void *desk;
	int err;

	opts.max_size = 8 * 1024 * MIB;
	if (*path) {
		err = comap_heap_open(path, &opts, ret_heap);
	} else {
		opts.flags = 0;
		err = comap_heap_open_anon(&opts, ret_heap);
	}
	if (err < 0)
		return err;
	desk = comap_heap_calloc(*ret_heap, 1, desk_bytes);
	return desk ? comap_root_set(*ret_heap, "soak", comap_heap_ref(*ret_heap, desk)) : -errno;
}

static const char *exact_name(const struct board *board)
{
	static char name[300];

	snprintf(name, sizeof name, "%s-exact", board->file);
	return name;
}

int soak_attach(struct soak *soak)
{
	comap_ref ref;
	int err;

	if (*soak->board->file)
		err = comap_heap_open(soak->board->file, NULL, &soak->loose);
	else
		err = comap_heap_open_fd(soak->loose_fd, NULL, &soak->loose);
	if (err == 0 && *soak->board->file)
		err = comap_heap_open(exact_name(soak->board), NULL, &soak->exact);
	else if (err == 0)
		err = comap_heap_open_fd(soak->exact_fd, NULL, &soak->exact);
	if (err == 0)
		err = comap_root_get(soak->loose, "soak", &ref);
	if (err < 0)
		return err;
	soak->loose_desk = comap_heap_at(soak->loose, ref);
	err = comap_root_get(soak->exact, "soak", &ref);
	if (err == 0)
		soak->exact_desk = comap_heap_at(soak->exact, ref);
	return err;
}

static void set_desks(struct soak *soak)
{
	comap_ref ref;

	if (comap_root_get(soak->loose, "soak", &ref) == 0)
		soak->loose_desk = comap_heap_at(soak->loose, ref);
	if (comap_root_get(soak->exact, "soak", &ref) == 0)
		soak->exact_desk = comap_heap_at(soak->exact, ref);
}

static struct board *map_board(int fd)
{
	void *p = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* What an exec'ed worker is: soak --worker NUMBER FDS. */
static int come_back(const char *number, const char *fds)
{
	struct soak soak = {0};
	int err;

	KIN_CHECK(sscanf(fds, "%d,%d,%d", &soak.board_fd, &soak.loose_fd, &soak.exact_fd) == 3);
	KIN_CHECK((soak.board = map_board(soak.board_fd)));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = soak_attach(&soak);
	if (err < 0) {
		fprintf(stderr, "soak: attach: %s: %s\n", strerror(-err), comap_heap_open_reason());
		return KIN_FAILED;
	}
	return worker_run(&soak, (unsigned)atoi(number));
}

/* ---- births --------------------------------------------------------------------- */

static void hire(struct monitor *m, unsigned worker)
{
	char number[16], fds[64];
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (roll(&m->dice, 4))
			_exit(worker_run(&m->soak, worker));
		snprintf(number, sizeof number, "%u", worker);
		snprintf(fds, sizeof fds, "%d,%d,%d", m->soak.board_fd, m->soak.loose_fd, m->soak.exact_fd);
		execl("/proc/self/exe", "soak", "--worker", number, fds, (char *)NULL);
		kin_fail_(__FILE__, __LINE__, "exec");
	}
	m->pid[worker] = pid;
	(void)roll(&m->dice, 4); /* the child's roll was ours, too */
}

/* ---- deaths --------------------------------------------------------------------- */

static void bury_one(struct monitor *m, pid_t pid, int status)
{
	for (unsigned w = 0; w < m->soak.board->nworkers; w++) {
		if (m->pid[w] != pid)
			continue;
		m->pid[w] = 0;
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			return;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && atomic_load(&m->soak.board->stop))
			return;
		fprintf(stderr, "soak: worker %u ended by itself: status %#x\n", w, (unsigned)status);
		m->has_failed = true;
		return;
	}
	/* an orphaned guest */
	if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL : WEXITSTATUS(status) != 0) {
		fprintf(stderr, "soak: a guest ended badly: status %#x\n", (unsigned)status);
		m->has_failed = true;
	}
}

/* Take in who is dead; true when worker w is not alive any more. */
static void bury_dead(struct monitor *m)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		bury_one(m, pid, status);
}

static void kill_worker(struct monitor *m, unsigned w)
{
	int status;

	if (!m->pid[w])
		return;
	atomic_fetch_add(&m->soak.board->life[w], 1); /* no stall counts from here on */
	kill(m->pid[w], SIGKILL);
	m->nkills++;
	if (waitpid(m->pid[w], &status, 0) == m->pid[w])
		bury_one(m, m->pid[w], status);
}

/* ---- looking -------------------------------------------------------------------- */

static const char *const op_names[] = {
	"rest", "swap", "move", "card", "corner", "roots", "once", "tidy", "fork",
};

static void tell_one(const char *who, unsigned number, struct person *p, uint64_t life)
{
	uint64_t beat = atomic_load(&p->beat), now = kin_now_ns();

	fprintf(stderr, "soak:   %s %u: %s %s for %" PRIu64 " ms%s\n", who, number,
		op_names[atomic_load(&p->op)], beat ? "busy" : "resting",
		beat && now > beat ? (now - beat) / MS : 0,
		atomic_load(&p->life) == life ? "" : " (a life ago)");
}

/* Who is at what. */
static void tell_all(struct monitor *m)
{
	struct board *board = m->soak.board;

	fprintf(stderr, "soak: calm for %" PRIu64 " ms\n", (kin_now_ns() - m->calm_since) / MS);
	for (unsigned w = 0; w < board->nworkers; w++) {
		fprintf(stderr, "soak: worker %u is pid %d\n", w, (int)m->pid[w]);
		for (unsigned i = 0; i < board->nthreads; i++)
			tell_one("thread", i, worker_person(board, w, i), atomic_load(&board->life[w]));
	}
	for (unsigned g = 0; g < GUESTS; g++)
		if (atomic_load(&guest_person(board, g)->pid))
			tell_one("guest, pid", (unsigned)atomic_load(&guest_person(board, g)->pid),
				 guest_person(board, g), atomic_load(&guest_person(board, g)->life));
}

static void look_at(struct monitor *m, struct person *person, uint64_t life, uint64_t now)
{
	uint64_t beat = atomic_load(&person->beat), since;

	if (beat == 0 || atomic_load(&person->life) != life)
		return;
	since = beat > m->calm_since ? beat : m->calm_since;
	if (now <= since || now - since <= m->longest_stall || atomic_load(&person->beat) != beat)
		return;
	if (now - since > SECOND && m->longest_stall <= SECOND) {
		fprintf(stderr, "soak: somebody is at it for %" PRIu64 " ms\n", (now - since) / MS);
		tell_all(m);
	}
	m->longest_stall = now - since;
	m->longest_op = atomic_load(&person->op);
}

static void look_around(struct monitor *m)
{
	struct board *board = m->soak.board;
	uint64_t now = kin_now_ns();
	struct stat st;
	uint64_t storage = 0;

	for (unsigned w = 0; w < board->nworkers; w++)
		for (unsigned i = 0; m->pid[w] && i < board->nthreads; i++)
			look_at(m, worker_person(board, w, i), atomic_load(&board->life[w]), now);
	if (now - m->last_look < 20 * MS)
		return;
	m->last_look = now;
	if (fstat(m->soak.loose_fd, &st) == 0)
		storage += (uint64_t)st.st_blocks * 512;
	if (fstat(m->soak.exact_fd, &st) == 0)
		storage += (uint64_t)st.st_blocks * 512;
	if (storage > m->most_storage)
		m->most_storage = storage;
}

static bool hangs(const struct monitor *m)
{
	return m->longest_stall > HANG;
}

/* ---- mischief ------------------------------------------------------------------- */

static unsigned some_worker(struct monitor *m)
{
	return (unsigned)roll(&m->dice, m->soak.board->nworkers);
}

static void stop_somebody(struct monitor *m)
{
	unsigned w = some_worker(m);
	pid_t pid = m->pid[w];

	if (!pid || kill(pid, SIGSTOP) < 0)
		return;
	m->nstops++;
	pause_us(roll(&m->dice, 2000));
	if (roll(&m->dice, 4) == 0) /* another dies meanwhile; or this one */
		kill_worker(m, some_worker(m));
	if (m->pid[w] == pid) {
		if (roll(&m->dice, 3) == 0)
			kill_worker(m, w);
		else
			kill(pid, SIGCONT);
	}
	m->calm_since = kin_now_ns();
}

static void do_mischief(struct monitor *m)
{
	switch (roll(&m->dice, 8)) {
	case 0:
	case 1:
	case 2:
		kill_worker(m, some_worker(m));
		break;
	case 3:
	case 4:
		stop_somebody(m);
		break;
	default: /* let them work */
		pause_us(1000 + roll(&m->dice, 20000));
	}
}

/* All of them, and all orphans; then settle what they had in hand. */
static void kill_all(struct monitor *m)
{
	struct board *board = m->soak.board;
	int status;
	pid_t pid;

	for (unsigned w = 0; w < board->nworkers; w++)
		if (m->pid[w]) {
			atomic_fetch_add(&board->life[w], 1);
			kill(m->pid[w], SIGKILL);
			m->nkills++;
		}
	while ((pid = waitpid(-1, &status, 0)) > 0 || errno == EINTR)
		if (pid > 0)
			bury_one(m, pid, status);
	m->nmassacres++;
}

/* Nobody is left: is all there? */
static void take_stock(struct monitor *m)
{
	struct soak *soak = &m->soak;
	int err;

	for (unsigned i = 0; i < PEOPLE; i++) {
		settle(soak->board, &soak->board->person[i]);
		atomic_store(&soak->board->person[i].pid, 0);
	}
	if (*soak->board->file) { /* as after a reboot: the next one is alone */
		comap_heap_close(soak->loose);
		comap_heap_close(soak->exact);
		err = soak_attach(soak);
		if (err < 0) {
			fprintf(stderr, "soak: reopen: %s: %s\n", strerror(-err), comap_heap_open_reason());
			exit(1);
		}
	}
	if (comap_heap_reap(soak->loose) < 0 || comap_heap_reap(soak->exact) < 0 ||
	    stats_of(soak->loose).slots_dead || stats_of(soak->exact).slots_dead) {
		fprintf(stderr, "soak: there are dead left to reap\n");
		m->has_failed = true;
	}
	if (balance(soak) < 0)
		m->has_failed = true;
}

/* ---- the end -------------------------------------------------------------------- */

static void tell_hang(struct monitor *m)
{
	tell_all(m);
	if (!m->keeps)
		return;
	fprintf(stderr, "soak: they are yours: gdb -p PID; then kill %d\n", (int)getpid());
	for (;;)
		pause();
}

static bool end_in_peace(struct monitor *m)
{
	uint64_t end = kin_now_ns() + HANG;
	unsigned nleft = 1;

	atomic_store(&m->soak.board->stop, 1);
	while (nleft && kin_now_ns() < end) {
		bury_dead(m);
		nleft = 0;
		for (unsigned w = 0; w < m->soak.board->nworkers; w++)
			nleft += m->pid[w] != 0;
		kin_sleep_us(1000);
	}
	if (nleft) {
		fprintf(stderr, "soak: %u workers do not come to an end\n", nleft);
		tell_hang(m);
		m->has_failed = true;
	}
	return nleft == 0;
}

static uint64_t leftover(comap_heap *heap)
{
	if (comap_heap_trim(heap) < 0 || !is_whole(heap))
		return UINT64_MAX;
	return stats_of(heap).committed;
}

static void report(struct monitor *m)
{
	struct soak *soak = &m->soak;
	struct board *board = soak->board;
	struct comap_heap_stats loose, exact;
	uint64_t nops = 0, committed, may_lose = atomic_load(&board->may_lose);
	struct rusage usage;

	clear_tables(soak);
	committed = leftover(soak->loose) + leftover(soak->exact);
	loose = stats_of(soak->loose);
	exact = stats_of(soak->exact);
	for (unsigned i = 0; i < PEOPLE; i++)
		nops += atomic_load(&board->person[i].nops);
	loose.live_blocks -= loose.live_blocks < LOOSE_NAMES / 30 ? loose.live_blocks : LOOSE_NAMES / 30;
	/* what was lost lies where it lay, in a slab of up to 8 units and its segment */
	if (exact.live_blocks || loose.live_blocks > may_lose || loose.misuses || exact.misuses ||
	    committed > (2 + loose.live_blocks) * 9 * 64 * KIB + loose.live_bytes)
		m->has_failed = true;
	getrusage(RUSAGE_CHILDREN, &usage);
	printf("soak seconds=%" PRIu64 " processes=%u threads=%u seed=%" PRIu64 " kills=%" PRIu64
	       " stops=%" PRIu64 " massacres=%" PRIu64 " forks=%" PRIu64 " execs=%" PRIu64
	       " ops=%" PRIu64 " checks=%" PRIu64 " deaths=%" PRIu64 " steals=%" PRIu64
	       " lost_plain=%" PRIu64 "/%" PRIu64 " lost_to=%" PRIu64 " misuses=%" PRIu64
	       " longest_stall_ms=%" PRIu64 " (%s) rss_mib=%ld"
	       " file_mib=%" PRIu64 " left_kib=%" PRIu64 " %s\n",
	       (kin_now_ns() - m->began) / SECOND, board->nworkers, board->nthreads, board->seed,
	       m->nkills, m->nstops, m->nmassacres, atomic_load(&board->nforks),
	       atomic_load(&board->nexecs), nops, atomic_load(&board->nchecks),
	       loose.deaths + exact.deaths, loose.steals + exact.steals, loose.live_blocks, may_lose,
	       exact.live_blocks, loose.misuses + exact.misuses, m->longest_stall / MS,
	       op_names[m->longest_op],
	       usage.ru_maxrss / 1024, m->most_storage / MIB, committed / KIB,
	       m->has_failed || atomic_load(&board->nwrong) ? "FAILED" : "ok");
}

static void run(struct monitor *m)
{
	struct board *board = m->soak.board;
	uint64_t end = m->began + m->seconds * SECOND, massacre = m->began + ROUND;

	m->calm_since = m->began;
	while (kin_now_ns() < end && !m->has_failed && !atomic_load(&board->nwrong)) {
		for (unsigned w = 0; w < board->nworkers; w++)
			if (!m->pid[w])
				hire(m, w);
		pause_us(roll(&m->dice, 3000));
		look_around(m);
		if (hangs(m)) {
			fprintf(stderr, "soak: somebody hangs\n");
			tell_hang(m);
			m->has_failed = true;
			break;
		}
		do_mischief(m);
		bury_dead(m);
		if (kin_now_ns() >= massacre) {
			kill_all(m);
			take_stock(m);
			m->calm_since = kin_now_ns();
			massacre = m->calm_since + ROUND;
		}
	}
	if (!m->has_failed && !atomic_load(&board->nwrong))
		(void)end_in_peace(m);
	kill_all(m);
	take_stock(m);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: soak [--processes N] [--threads N] [--seconds N] [--seed N] [--slots N]\n"
		"            [--file NAME] [--keep]\n");
	return 2;
}

static int read_args(struct monitor *m, int argc, char **argv)
{
	static const struct option options[] = {
		{ "processes", required_argument, NULL, 'p' }, { "threads", required_argument, NULL, 't' },
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' },
		{ "slots", required_argument, NULL, 'n' }, { "file", required_argument, NULL, 'f' },
		{ "keep", no_argument, NULL, 'k' },
		{ NULL, 0, NULL, 0 },
	};
	struct board *board = m->soak.board;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'p': board->nworkers = (uint32_t)atoi(optarg); break;
		case 't': board->nthreads = (uint32_t)atoi(optarg); break;
		case 's': m->seconds = strtoull(optarg, NULL, 0); break;
		case 'r': board->seed = strtoull(optarg, NULL, 0); break;
		case 'n': board->nslots = (uint32_t)atoi(optarg); break;
		case 'f':
			snprintf(board->file, sizeof board->file, "%s%s",
				 strchr(optarg, '/') ? "" : "/dev/shm/", optarg);
			break;
		case 'k': m->keeps = true; break;
		default: return -1;
		}
	return optind == argc && board->nworkers >= 1 && board->nworkers <= WORKERS_MOST &&
			       board->nthreads >= 1 && board->nthreads <= THREADS_MOST
		       ? 0
		       : -1;
}

int main(int argc, char **argv)
{
	static struct monitor m;
	struct soak *soak = &m.soak;
	struct board *board;
	int err;

	if (argc == 4 && strcmp(argv[1], "--worker") == 0)
		return come_back(argv[2], argv[3]);
	soak->board_fd = memfd_create("soak-board", 0);
	if (soak->board_fd < 0 || ftruncate(soak->board_fd, sizeof(struct board)) < 0 ||
	    !(soak->board = board = map_board(soak->board_fd)))
		return 77;
	board->nworkers = 4;
	board->nthreads = 2;
	m.seconds = 30;
	board->seed = kin_now_ns();
	if (read_args(&m, argc, argv) < 0)
		return usage();
	m.dice = dice_of(board->seed);
	m.began = kin_now_ns();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	err = make_heap(board->file, board->nslots, sizeof *soak->loose_desk, &soak->loose);
	if (err == 0)
		err = make_heap(*board->file ? exact_name(board) : "", board->nslots,
				sizeof *soak->exact_desk, &soak->exact);
	if (err < 0) {
		fprintf(stderr, "soak: %s: %s\n", strerror(-err), comap_heap_open_reason());
		return 1;
	}
	/* to look at, and for those who exec; of their own, so that in a file's case nobody
	 * keeps the heaps' own locks */
	if (*board->file) {
		soak->loose_fd = open(board->file, O_RDWR);
		soak->exact_fd = open(exact_name(board), O_RDWR);
	} else {
		soak->loose_fd = dup(comap_heap_fd(soak->loose));
		soak->exact_fd = dup(comap_heap_fd(soak->exact));
	}
	set_desks(soak);
	run(&m);
	report(&m);
	comap_heap_close(soak->loose);
	comap_heap_close(soak->exact);
	if (*board->file) {
		(void)comap_heap_unlink(board->file);
		(void)comap_heap_unlink(exact_name(board));
	}
	return m.has_failed || atomic_load(&board->nwrong) ? 1 : 0;
}
