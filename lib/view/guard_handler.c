/*
 * guard_handler.c - SIGBUS: taking it, giving it back, and passing on what is not ours.
 *
 * SIGBUS belongs to the program, and others take it too: crash reporters, language runtimes,
 * other libraries.  They chain as we do: each remembers whom it found and passes on to it.  So
 * ours must go on working after somebody came on top of it and we were removed; and when we are
 * installed again, on top of that one, passing on must not go round in a circle.  So each
 * installation has a function of its own that knows whom it found; a few of them are enough.
 *
 * The handler blocks nothing (SA_NODEFER), and runs on the alternate stack where there is one.
 * Whom we pass on to gets the mask and the arguments it asked for.
 *
 * Passing on to the default: the fault happens again when we return, and ends the process as if
 * we had never been there, at the place it happened.
 */
#include <pthread.h>
#include <signal.h>
#include "view/guard.h"

#define ENTRIES 8

static struct sigaction before[ENTRIES]; /* whom each found */
static bool is_taken[ENTRIES];           /* installed, or left behind somebody else */
_Atomic unsigned cm_guard_installs; /* changed under the mutex */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static bool is_plain(const struct sigaction *action)
{
	return action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN;
}

/* Was it an instruction of this thread?  Not kill(2), nor news of bad memory that nobody
 * touched. */
static bool is_fault(const siginfo_t *info)
{
	return info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
}

static bool is_lost_page(const siginfo_t *info)
{
	return info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR || info->si_code == BUS_MCEERR_AR;
}

static void pass_on(struct sigaction *to, int sig, siginfo_t *info, void *context)
{
	struct sigaction action = *to;
	struct sigaction dflt = { .sa_handler = SIG_DFL };

	if (is_plain(&action)) {
		if (action.sa_handler == SIG_IGN && !is_fault(info))
			return;
		/* also a fault that was to be ignored: the kernel would not have let it */
		sigaction(sig, &dflt, NULL);
		if (!is_fault(info))
			raise(sig); /* nothing will happen again by itself */
		return;
	}
	if ((unsigned)action.sa_flags & SA_RESETHAND)
		*to = dflt;
	if (!((unsigned)action.sa_flags & SA_NODEFER))
		sigaddset(&action.sa_mask, sig);
	pthread_sigmask(SIG_BLOCK, &action.sa_mask, NULL); /* until we return */
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(sig, info, context);
	else
		action.sa_handler(sig);
}

static void handle(unsigned i, int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	if (!is_lost_page(info) || !cm_guard_absorb(info->si_addr, context)) {
		errno = saved; /* as whom we pass on to would have found it */
		pass_on(&before[i], sig, info, context);
	}
	errno = saved;
}

#define ENTRY(i)                                                     \
	static void entry_##i(int sig, siginfo_t *info, void *context) \
	{                                                            \
		handle(i, sig, info, context);                       \
	}
ENTRY(0)
ENTRY(1)
ENTRY(2)
ENTRY(3)
ENTRY(4)
ENTRY(5)
ENTRY(6)
ENTRY(7)

static void (*const entries[ENTRIES])(int sig, siginfo_t *info, void *context) = {
	entry_0, entry_1, entry_2, entry_3, entry_4, entry_5, entry_6, entry_7,
};

/* Which of ours it is; ENTRIES: none. */
static unsigned entry_of(const struct sigaction *action)
{
	unsigned i = 0;

	if (!(action->sa_flags & SA_SIGINFO))
		return ENTRIES;
	while (i < ENTRIES && entries[i] != action->sa_sigaction)
		i++;
	return i;
}

static unsigned free_entry(const struct sigaction *now)
{
	unsigned i = 0;

	if (is_plain(now)) /* it passes on to nobody, so none of ours is behind it */
		for (i = 0; i < ENTRIES; i++)
			is_taken[i] = false;
	for (i = 0; i < ENTRIES && is_taken[i]; i++)
		;
	return i;
}

static int take(void)
{
	struct sigaction now, ours = { .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };
	unsigned i;

	if (sigaction(SIGBUS, NULL, &now) < 0)
		return -errno;
	if (entry_of(&now) < ENTRIES)
		return 0;
	i = free_entry(&now);
	if (i == ENTRIES)
		return -EBUSY;
	before[i] = now; /* first: the handler may be called at once */
	ours.sa_sigaction = entries[i];
	if (sigaction(SIGBUS, &ours, NULL) < 0)
		return -errno;
	is_taken[i] = true;
	return 0;
}

int comap_guard_install(void)
{
	int err;

	pthread_mutex_lock(&mutex);
	err = take();
	if (err == 0)
		cm_guard_installs++;
	pthread_mutex_unlock(&mutex);
	return err;
}

/* All of ours that are on top. */
static void give_back(void)
{
	struct sigaction now;
	unsigned i;

	while (sigaction(SIGBUS, NULL, &now) == 0 && (i = entry_of(&now)) < ENTRIES) {
		if (sigaction(SIGBUS, &before[i], NULL) < 0)
			return;
		is_taken[i] = false;
	}
}

void comap_guard_remove(void)
{
	int saved = errno;

	pthread_mutex_lock(&mutex);
	if (cm_guard_installs && --cm_guard_installs == 0)
		give_back();
	pthread_mutex_unlock(&mutex);
	errno = saved;
}
