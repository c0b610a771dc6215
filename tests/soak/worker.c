/*
 * worker.c - one process of the soak: its threads do whatever the API offers, in random
 * order, until they are told to stop or killed.
 *
 * What is found wrong is told on stderr and ends the process with KIN_FAILED, which the
 * monitor never does by itself.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include "soak.h"

/* One thread, or one guest, at work. */
struct hands {
	struct soak *soak;
	struct person *person;
	struct card *card; /* its own */
	struct dice dice;
	unsigned worker;
	uint64_t life;
	bool is_guest;
};

static void fail(const struct hands *hands, const char *what, uint64_t off, uint64_t detail)
{
	fprintf(stderr, "soak: pid %d tid %d: %s (block %#" PRIx64 ", %#" PRIx64 ", errno %d)\n",
		(int)getpid(), (int)gettid(), what, off, detail, errno);
	atomic_fetch_add(&hands->soak->board->nwrong, 1);
	_exit(KIN_FAILED);
}

#define SOAK_CHECK(hands, x) ((x) ? (void)0 : fail((hands), #x, 0, __LINE__))

/* 0, or the error: that one is wrong.  -EAGAIN: no slot of one's own to be had. */
static void expect(const struct hands *hands, const char *call, int err)
{
	if (err < 0 && !(err == -EAGAIN && hands->soak->board->nslots))
		fail(hands, call, 0, (uint64_t)-err);
}

static uint64_t new_colour(const struct hands *hands)
{
	return atomic_fetch_add(&hands->soak->board->next_colour, 1) + 1;
}

static size_t some_size(struct dice *dice)
{
	uint64_t kind = roll(dice, 200);

	if (kind < 150)
		return roll(dice, 600);
	if (kind < 190)
		return roll(dice, 9000);
	if (kind < 197)
		return roll(dice, 65 * KIB);
	return 64 * KIB + roll(dice, 300 * KIB);
}

/* Also whole segments: in the exact heap, where nothing piles up. */
static size_t any_size(struct dice *dice)
{
	return roll(dice, 500) ? some_size(dice) : 3 * MIB + roll(dice, 7 * MIB);
}

/* ---- the loose heap ------------------------------------------------------------- */

static void free_labelled(const struct hands *hands, comap_ref ref)
{
	comap_heap *heap = hands->soak->loose;
	void *block = comap_heap_at(heap, ref);
	const char *wrong;
	uint64_t colour;
	size_t size;

	if (!block)
		return;
	wrong = read_label(block, comap_heap_usable_size(heap, block), &size, &colour);
	if (wrong)
		fail(hands, wrong, ref.off, colour);
	comap_heap_free(heap, block);
}

static void *new_labelled(struct hands *hands)
{
	comap_heap *heap = hands->soak->loose;
	size_t size = LABEL_BYTES + some_size(&hands->dice);
	void *p = NULL;

	switch (roll(&hands->dice, 6)) {
	case 0:
		p = comap_heap_calloc(heap, 1, size);
		for (size_t i = 0; p && i < size; i += size < 4096 ? 1 : 509)
			SOAK_CHECK(hands, ((char *)p)[i] == 0);
		break;
	case 1:
		p = comap_heap_aligned_alloc(heap, 16ull << roll(&hands->dice, 10), size);
		break;
	case 2:
		if (comap_heap_posix_memalign(heap, &p, 64, size) != 0)
			p = NULL;
		break;
	default:
		p = comap_heap_malloc(heap, size);
	}
	if (!p)
		fail(hands, "no block to be had", 0, size);
	label(p, size, new_colour(hands));
	return p;
}

static comap_ref *some_place(struct hands *hands)
{
	return &hands->soak->loose_desk->table[roll(&hands->dice, TABLE)];
}

static void swap_block(struct hands *hands)
{
	comap_ref *place = some_place(hands);

	atomic_store(&hands->person->in_hand, 1);
	free_labelled(hands, comap_ref_exchange(place, COMAP_NULL));
	if (roll(&hands->dice, 8))
		/* a neighbour may have put one there meanwhile */
		free_labelled(hands, comap_ref_exchange(place, comap_heap_ref(hands->soak->loose,
								       new_labelled(hands))));
	atomic_store(&hands->person->in_hand, 0);
}

static void move_block(struct hands *hands)
{
	comap_heap *heap = hands->soak->loose;
	comap_ref *place = some_place(hands), ref;
	size_t size, want = LABEL_BYTES + some_size(&hands->dice), keep;
	const char *wrong;
	uint64_t colour;
	void *p;

	atomic_store(&hands->person->in_hand, 2); /* the old one and its copy */
	ref = comap_ref_exchange(place, COMAP_NULL);
	p = comap_heap_at(heap, ref);
	if (p) {
		wrong = read_label(p, comap_heap_usable_size(heap, p), &size, &colour);
		if (wrong)
			fail(hands, wrong, ref.off, colour);
		p = comap_heap_realloc(heap, p, want);
		SOAK_CHECK(hands, p);
		keep = size < want ? size : want;
		/* the paint beyond a page depends on the size: look at the label alone */
		SOAK_CHECK(hands, memcmp(p, &colour, 8) == 0 && memcmp((char *)p + 8, &size, 8) == 0);
		if (keep == size && find_stain((char *)p + LABEL_BYTES, size - LABEL_BYTES, colour) >= 0)
			fail(hands, "realloc changed what it copied", ref.off, colour);
		label(p, want, new_colour(hands));
		free_labelled(hands, comap_ref_exchange(place, comap_heap_ref(heap, p)));
	}
	atomic_store(&hands->person->in_hand, 0);
}

int init_named_block(comap_heap *heap, comap_ref *cell, void *arg)
{
	(void)arg;
	if (comap_ref_is_null(*cell) && !comap_heap_malloc_to(heap, 500, cell))
		return -errno;
	return 0;
}

static void set_and_delete_roots(struct hands *hands)
{
	comap_heap *heap = hands->soak->loose;
	comap_ref desk = comap_heap_ref(heap, hands->soak->loose_desk), ref;
	char name[24];
	int err;

	snprintf(name, sizeof name, "set %u", (unsigned)roll(&hands->dice, LOOSE_NAMES - ONCE_NAMES - 5));
	switch (roll(&hands->dice, 4)) {
	case 0:
		err = comap_root_delete(heap, name);
		SOAK_CHECK(hands, err == 0 || err == -ENOENT);
		return;
	case 1:
		err = comap_root_get(heap, name, &ref);
		SOAK_CHECK(hands, err == -ENOENT || (err == 0 && ref.off == desk.off));
		return;
	case 2:
		expect(hands, "root_set", comap_root_set(heap, name, desk));
		return;
	default:
		break;
	}
	snprintf(name, sizeof name, "name %u", (unsigned)roll(&hands->dice, ONCE_NAMES));
	if (roll(&hands->dice, 2)) {
		expect(hands, "root_once",
		       comap_root_once(heap, name, init_named_block, NULL, UINT64_MAX, &ref));
		return;
	}
	err = comap_mutex_lock(heap, &hands->soak->loose_desk->names);
	if (err == -EAGAIN && hands->soak->board->nslots)
		return;
	SOAK_CHECK(hands, err == 0 || err == -EOWNERDEAD);
	if (comap_root_get(heap, name, &ref) == 0) {
		atomic_store(&hands->person->in_hand, 1);
		expect(hands, "root_delete", comap_root_delete(heap, name));
		comap_heap_free(heap, comap_heap_at(heap, ref));
		atomic_store(&hands->person->in_hand, 0);
	}
	expect(hands, "mutex_unlock", comap_mutex_unlock(heap, &hands->soak->loose_desk->names));
}

/* ---- the exact heap ------------------------------------------------------------- */

/* death anywhere: the cell is null or has its block, and the colour is 0 or right. */
static void empty_card(struct hands *hands, struct card *card)
{
	comap_heap *heap = hands->soak->exact;
	uint64_t colour = atomic_load(&card->colour), size = atomic_load(&card->size);
	comap_ref ref = comap_ref_load(&card->cell);
	void *block = comap_heap_at(heap, ref);

	if (block && colour) {
		if (comap_heap_usable_size(heap, block) < size)
			fail(hands, "a card's block is too short", ref.off, colour);
		if (find_stain(block, size, colour) >= 0)
			fail(hands, "a card's paint is overwritten", ref.off, colour);
	}
	atomic_store(&card->colour, 0);
	comap_heap_free_from(heap, &card->cell);
	SOAK_CHECK(hands, comap_ref_is_null(comap_ref_load(&card->cell)));
}

static void fill_card(struct hands *hands, struct card *card)
{
	size_t size = any_size(&hands->dice);
	uint64_t colour = new_colour(hands);
	void *p;

	atomic_store(&card->size, size);
	p = comap_heap_malloc_to(hands->soak->exact, size, &card->cell);
	if (!p)
		fail(hands, "malloc_to", 0, size);
	SOAK_CHECK(hands, comap_heap_at(hands->soak->exact, card->cell) == p);
	paint(p, size, colour);
	atomic_store(&card->colour, colour);
}

static void turn_card(struct hands *hands, struct card *card)
{
	empty_card(hands, card);
	if (roll(&hands->dice, 8))
		fill_card(hands, card);
}

static void visit_corner(struct hands *hands)
{
	struct corner *corner = &hands->soak->exact_desk->corner[roll(&hands->dice, CORNERS)];
	comap_heap *heap = hands->soak->exact;
	int err;

	switch (roll(&hands->dice, 4)) {
	case 0:
		err = comap_mutex_trylock(heap, &corner->mutex);
		break;
	case 1:
		err = comap_mutex_lock_for(heap, &corner->mutex, roll(&hands->dice, 2 * MS));
		break;
	default:
		err = comap_mutex_lock(heap, &corner->mutex);
	}
	if (err == -EBUSY || err == -ETIMEDOUT || (err == -EAGAIN && hands->soak->board->nslots))
		return;
	SOAK_CHECK(hands, err == 0 || err == -EOWNERDEAD);
	SOAK_CHECK(hands, err == -EOWNERDEAD || atomic_load(&corner->a) == atomic_load(&corner->b));
	atomic_store(&corner->b, atomic_load(&corner->a));
	atomic_fetch_add(&corner->a, 1);
	turn_card(hands, &corner->card[roll(&hands->dice, CARDS)]);
	if (roll(&hands->dice, 50) == 0)
		sched_yield();
	atomic_fetch_add(&corner->b, 1);
	expect(hands, "mutex_unlock", comap_mutex_unlock(heap, &corner->mutex));
}

/* ---- both ----------------------------------------------------------------------- */

static int look_at_slot(const struct comap_slot_info *info, void *arg)
{
	(void)arg;
	return info->tgid <= 0;
}

static int look_at_block(void *ptr, size_t size, void *arg)
{
	(void)ptr;
	(void)size;
	return ++*(unsigned *)arg > 500;
}

static void look_and_tidy(struct hands *hands)
{
	comap_heap *heap = roll(&hands->dice, 2) ? hands->soak->loose : hands->soak->exact;
	unsigned n = 0;

	switch (roll(&hands->dice, 12)) {
	case 0:
		expect(hands, "trim", comap_heap_trim(heap));
		break;
	case 1:
		if (!is_whole(heap))
			fail(hands, "check", 0, 0);
		atomic_fetch_add(&hands->soak->board->nchecks, 1);
		break;
	case 2:
		(void)stats_of(heap);
		break;
	case 3:
		SOAK_CHECK(hands, comap_heap_slots(heap, look_at_slot, NULL) == 0);
		break;
	case 4:
		(void)comap_heap_walk(heap, look_at_block, &n);
		break;
	case 5:
	case 6:
	case 7:
		comap_heap_detach(heap);
		atomic_fetch_add(&hands->soak->board->ndetaches, 1);
		break;
	case 8:
		expect(hands, "set_quota", comap_heap_set_quota(heap, roll(&hands->dice, 2) * 900 * MIB));
		break;
	case 9:
		expect(hands, "set_decay", comap_heap_set_decay(heap, (uint32_t)roll(&hands->dice, 30)));
		break;
	default:
		expect(hands, "reap", comap_heap_reap(heap));
	}
}

static void create_once(struct hands *hands)
{
	comap_ref ref;
	char name[24];

	snprintf(name, sizeof name, "once %u", (unsigned)roll(&hands->dice, ONCE_NAMES));
	expect(hands, "root_once", comap_root_once(hands->soak->exact, name, init_named_block, NULL,
						   UINT64_MAX, &ref));
}

/* ---- forks and execs ------------------------------------------------------------ */

static void act(struct hands *hands);

/* A place on the board for a guest, or NULL. */
static struct person *find_place(struct hands *hands, unsigned *ret_guest)
{
	unsigned first = (unsigned)roll(&hands->dice, GUESTS);

	for (unsigned i = 0; i < GUESTS; i++) {
		unsigned g = (first + i) % GUESTS;
		struct person *person = guest_person(hands->soak->board, g);
		int32_t nobody = 0;

		*ret_guest = g;
		if (atomic_compare_exchange_strong(&person->pid, &nobody, -1))
			return person;
	}
	return NULL;
}

static void be_guest(struct hands *host, struct person *person, unsigned guest)
{
	struct hands hands = {
		.soak = host->soak,
		.person = person,
		.card = host->soak->exact_desk->card[WORKERS_MOST * THREADS_MOST + guest],
		.dice = dice_of(host->dice.state),
		.worker = host->worker,
		.life = host->life,
		.is_guest = true,
	};
	pid_t parent = getppid();

	kin_born();
	if (getppid() != parent)
		_exit(0);
	atomic_store(&person->life, host->life);
	/* whoever had this place before may have died over its cards */
	expect(&hands, "reap", comap_heap_reap(hands.soak->exact));
	for (unsigned n = (unsigned)roll(&hands.dice, 60); n; n--)
		act(&hands);
	atomic_store(&person->beat, 0);
	switch (roll(&hands.dice, 4)) {
	case 0: exit(0);
	case 1: kin_die(); break;
	default: _exit(0);
	}
}

static void fork_guest(struct hands *hands)
{
	struct board *board = hands->soak->board;
	struct person *person;
	unsigned guest;
	pid_t pid;
	int status;

	person = find_place(hands, &guest);
	if (!person)
		return;
	atomic_fetch_add(&board->nforks, 1);
	atomic_store(&hands->person->beat, 0); /* we rest while it works */
	pid = fork();
	if (pid == 0)
		be_guest(hands, person, guest);
	SOAK_CHECK(hands, pid > 0);
	atomic_store(&person->pid, pid);
	if (roll(&hands->dice, 3) == 0) {
		pause_us(roll(&hands->dice, 2000));
		kill(pid, SIGKILL);
	}
	status = kin_wait(pid);
	if (status != 0 && status != -SIGKILL && status != KIN_FAILED)
		fail(hands, "a guest ended badly", 0, (uint64_t)(int64_t)status);
	settle(board, person);
	atomic_store(&person->pid, 0);
}

/* Leave the heap by exec, whatever the other threads are at, and come back. */
static void exec_myself(struct hands *hands)
{
	struct board *board = hands->soak->board;
	char worker[16], fds[64];

	snprintf(worker, sizeof worker, "%u", hands->worker);
	snprintf(fds, sizeof fds, "%d,%d,%d", hands->soak->board_fd, hands->soak->loose_fd,
		 hands->soak->exact_fd);
	atomic_fetch_add(&board->nexecs, 1);
	atomic_fetch_add(&board->life[hands->worker], 1);
	execl("/proc/self/exe", "soak", "--worker", worker, fds, (char *)NULL);
	fail(hands, "exec", 0, 0);
}

/* ---- one thread ----------------------------------------------------------------- */

static void act(struct hands *hands)
{
	struct person *person = hands->person;
	uint64_t kind = roll(&hands->dice, 1000);
	unsigned op = kind < 400 ? OP_SWAP : kind < 440 ? OP_MOVE : kind < 700 ? OP_CARD :
		      kind < 920 ? OP_CORNER : kind < 970 ? OP_ROOTS : kind < 980 ? OP_ONCE :
		      kind < 995 || hands->is_guest ? OP_TIDY : OP_FORK;

	atomic_store(&person->op, op);
	atomic_store(&person->beat, kin_now_ns());
	switch (op) {
	case OP_SWAP: swap_block(hands); break;
	case OP_MOVE: move_block(hands); break;
	case OP_CARD: turn_card(hands, &hands->card[roll(&hands->dice, CARDS)]); break;
	case OP_CORNER: visit_corner(hands); break;
	case OP_ROOTS: set_and_delete_roots(hands); break;
	case OP_ONCE: create_once(hands); break;
	case OP_TIDY: look_and_tidy(hands); break;
	case OP_FORK:
		if (roll(&hands->dice, 8) == 0)
			exec_myself(hands);
		fork_guest(hands);
		break;
	default: break;
	}
	atomic_fetch_add(&person->nops, 1);
}

static void *live(void *arg)
{
	struct hands *hands = arg;
	struct board *board = hands->soak->board;

	while (!atomic_load(&board->stop))
		act(hands);
	atomic_store(&hands->person->beat, 0);
	return NULL;
}

int worker_run(struct soak *soak, unsigned worker)
{
	static struct hands hands[THREADS_MOST];
	pthread_t thread[THREADS_MOST];
	uint64_t life = atomic_load(&soak->board->life[worker]);

	/* Who was here before is dead, killed or by exec: only when it is reaped do its
	 * cards mean what they say. */
	KIN_CHECK(comap_heap_reap(soak->loose) >= 0);
	KIN_CHECK(comap_heap_reap(soak->exact) >= 0);
	for (unsigned i = 0; i < soak->board->nthreads; i++) {
		struct person *person = worker_person(soak->board, worker, i);

		settle(soak->board, person);
		atomic_store(&person->life, life);
		hands[i] = (struct hands){
			.soak = soak,
			.person = person,
			.card = soak->exact_desk->card[worker * THREADS_MOST + i],
			.dice = dice_of(soak->board->seed + worker * 1000 + i + life * 100000),
			.worker = worker,
			.life = life,
		};
	}
	for (unsigned i = 1; i < soak->board->nthreads; i++)
		/* the kernel makes no thread (EAGAIN) while another one is about to exec */
		while (pthread_create(&thread[i], NULL, live, &hands[i]) != 0)
			kin_sleep_us(100);
	(void)live(&hands[0]);
	for (unsigned i = 1; i < soak->board->nthreads; i++)
		pthread_join(thread[i], NULL);
	comap_heap_close(soak->loose);
	comap_heap_close(soak->exact);
	return 0;
}
