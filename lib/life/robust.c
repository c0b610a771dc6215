/*
 * robust.c - the life word of a slot, on top of libc's robust mutex.
 *
 * The mutex is opaque bytes of the heap file: only its owner works it, through
 * pthread_mutex_trylock and unlock, in whatever layout that libc has.  Others
 * need one thing of it, where the word is that the kernel changes at death.  At
 * start we lock a private mutex and look where our tid turns up.
 *
 * An initialised mutex differs from zero bytes in a constant word or two, never
 * in the lock word; storing just those is harmless at any time.  So slots need
 * no lock to come into being (cm_robust_prepare).
 *
 * Threads libc does not know, made by a raw clone or fork system call, have no
 * robust list, and libc would write their parent's tid.  They get a list head
 * of our own, and we write the word.
 *
 * The kernel's part: handle_futex_death() sets FUTEX_OWNER_DIED and clears the
 * tid if the word holds the dying thread's tid.  Its list_op_pending looks at a
 * mutex the thread was just about to take: a thread of another pid namespace
 * with the same tid, which wins that mutex within those few instructions, would
 * be marked dead.  So newcomers never try a mutex that looks taken, and start
 * looking at different slots (slot.c).
 */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include "life/life.h"

#define WORDS (sizeof(((struct cm_slot_shm *)0)->life) / sizeof(cm_half))
#define RAW_NODE 8 /* the word where a raw thread's list node stands: 32 bytes in */

_Static_assert(sizeof(pthread_mutex_t) <= 64, "a mutex fits in its line");

static uint32_t blank[WORDS]; /* an initialised, unlocked mutex */
static unsigned word_at;      /* index of the kernel's word */
static bool is_known;

/* The head of a raw thread's own robust list: struct robust_list_head. */
struct cm_raw_robust {
	void *next;
	long offset;
	void *pending;
};
static _Thread_local struct cm_raw_robust raw_head;

static cm_half *words(struct cm_slot_shm *slot)
{
	return (cm_half *)(void *)slot->life;
}

int cm_robust_init(void)
{
	union {
		pthread_mutex_t mutex;
		uint32_t word[WORDS];
	} m;
	pthread_mutexattr_t attr;
	uint32_t tid = (uint32_t)cm_os_tid();
	unsigned found = WORDS;

	if (is_known)
		return 0;
	memset(&m, 0, sizeof m);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m.mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	memcpy(blank, &m, sizeof blank);
	if (pthread_mutex_trylock(&m.mutex) != 0)
		return -ENOTSUP;
	for (unsigned i = 0; i < WORDS && found == WORDS; i++)
		if ((m.word[i] & FUTEX_TID_MASK) == tid && blank[i] == 0)
			found = i;
	pthread_mutex_unlock(&m.mutex);
	pthread_mutex_destroy(&m.mutex);
	if (found == WORDS)
		return -ENOTSUP;
	word_at = found;
	is_known = true;
	return 0;
}

uint64_t cm_robust_abi(void)
{
	uint64_t abi = sizeof(pthread_mutex_t) << 8 | word_at;

	for (unsigned i = 0; i < WORDS; i++)
		abi = abi * 31 + blank[i];
	return abi;
}

void cm_robust_prepare(struct cm_slot_shm *slot)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (blank[i])
			cm_write(&words(slot)[i], blank[i]);
}

void cm_robust_reset(struct cm_slot_shm *slot)
{
	for (unsigned i = 0; i < WORDS; i++)
		if (i != word_at)
			cm_write(&words(slot)[i], blank[i]);
	/* release pairs with cm_robust_word in whoever takes the slot next; last, so
	 * that a death before leaves the word, and the slot, as they were. */
	cm_store_release(&words(slot)[word_at], blank[word_at]);
}

uint32_t cm_robust_word(struct cm_slot_shm *slot)
{
	/* acquire pairs with the kernel's fully ordered store of OWNER_DIED: what the
	 * dead did is visible to whoever sees that it died. */
	return cm_load_acquire(&words(slot)[word_at]);
}

void cm_robust_disown(struct cm_slot_shm *slot, uint32_t tid)
{
	uint32_t seen = cm_robust_word(slot);

	if ((seen & FUTEX_TID_MASK) == tid)
		(void)atomic_compare_exchange_strong(&words(slot)[word_at], &seen,
						     (uint32_t)FUTEX_OWNER_DIED);
}

void cm_robust_mark_dead(struct cm_slot_shm *slot)
{
	cm_robust_reset(slot);
	cm_write(&words(slot)[word_at], (uint32_t)FUTEX_OWNER_DIED);
}

/* A thread libc does not know: its own list head, and the word by hand. */
static int raw_lock(struct cm_slot_shm *slot, struct cm_raw_robust **ret_raw)
{
	cm_half *word = &words(slot)[word_at];
	void **node = (void **)(void *)&slot->life[RAW_NODE * 4];
	uint32_t seen = cm_read(word);

	if (seen & FUTEX_TID_MASK)
		return -EBUSY;
	if (cm_os_robust_head() != &raw_head) {
		raw_head = (struct cm_raw_robust){
			.next = &raw_head,
			.offset = (long)word_at * 4 - RAW_NODE * 4,
		};
		if (cm_os_set_robust_head(&raw_head, sizeof raw_head) < 0)
			return -ENOMEM;
	}
	/* death between here and the link below: the kernel looks at `pending` too */
	raw_head.pending = node;
	cm_order();
	if (!atomic_compare_exchange_strong_explicit(word, &seen, (uint32_t)cm_os_tid(),
						     memory_order_acquire, memory_order_relaxed)) {
		raw_head.pending = NULL;
		return -EBUSY;
	}
	*node = raw_head.next;
	cm_order();
	raw_head.next = node;
	cm_order();
	raw_head.pending = NULL;
	*ret_raw = &raw_head;
	return seen & FUTEX_OWNER_DIED ? -EOWNERDEAD : 0;
}

static void raw_unlock(struct cm_slot_shm *slot)
{
	void **node = (void **)(void *)&slot->life[RAW_NODE * 4];
	void **at = &raw_head.next;

	raw_head.pending = node;
	cm_order();
	while (*at != (void *)node && *at != (void *)&raw_head)
		at = *at;
	if (*at == (void *)node)
		*at = *node;
	cm_order();
	cm_store_release(&words(slot)[word_at], 0u);
	cm_order();
	raw_head.pending = NULL;
}

int cm_robust_lock(struct cm_slot_shm *slot, struct cm_raw_robust **ret_raw)
{
	pthread_mutex_t *mutex = (pthread_mutex_t *)(void *)slot->life;
	uint32_t tid = (uint32_t)cm_os_tid();
	int err;

	*ret_raw = NULL;
	if (cm_os_robust_head() == NULL || cm_os_robust_head() == &raw_head)
		return raw_lock(slot, ret_raw);
	err = pthread_mutex_trylock(mutex);
	if (err != 0 && err != EOWNERDEAD)
		return -EBUSY;
	if (err == EOWNERDEAD)
		pthread_mutex_consistent(mutex);
	if ((cm_robust_word(slot) & FUTEX_TID_MASK) != tid) {
		/* libc took us for our parent */
		pthread_mutex_unlock(mutex);
		return err == EOWNERDEAD ? -EBUSY : raw_lock(slot, ret_raw);
	}
	return -err;
}

void cm_robust_unlock(struct cm_slot_shm *slot, struct cm_raw_robust *raw)
{
	if (raw)
		raw_unlock(slot);
	else
		pthread_mutex_unlock((pthread_mutex_t *)(void *)slot->life);
}
