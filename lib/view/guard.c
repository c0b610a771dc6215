/*
 * guard.c - the scopes in which a thread gets an error instead of SIGBUS.
 *
 * Whose fault is it?  The handler may take no lock and walk no list that another thread changes.
 * So each thread has its own list of guards, innermost first, in its own TLS (initial-exec: reading
 * it allocates nothing), and a fault of this thread is looked for there only.
 *
 * What is put there?  Where the file was cut short everything behind is gone too, and zeroes
 * cover the rest of the mapping: one fault, not one for each page.  Elsewhere, a disk that
 * cannot be read or a hole that cannot be filled, one page; neighbours may hold stores of others.
 *
 * Who learns of it?  Every guard of this memory that may have read a zero:
 *
 *   faults  counts them, from below all, from bit 32 those of a file that was cut; it goes up
 *           before the zeroes come, so whoever entered before finds another number at leave;
 *   zeroed  says whether zeroes may lie there: bit 0 that they do, from bit 48 handlers at work
 *           on it; whoever enters or leaves then counts as one who read them.  Between these is a
 *           number that goes up with each laying and each mapping anew.
 *
 * The first to leave maps the file again.  It takes bit 0 away only if no handler began or ended
 * since it looked, for then its mapping came after all zeroes; else one who faulted leaves later.
 * That is what the number is for: without it, zeroes gone and laid again since would look the same.
 * There is no lock that a handler could find held by the thread it interrupted.
 *
 * Mapping anew would drop the stores of a PRIVATE view, and cannot be done without a descriptor:
 * there the zeroes stay, and every later leave says so.
 *
 * comap_guard_leave leaves no comap_view_reason: it may be called in a signal handler, and
 * printing a sentence may not.
 */
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>
#include "view/guard.h"

#define FAULT UINT64_C(1)
#define FAULTS_CUT (UINT64_C(1) << 32)
#define CUT (FAULTS_CUT + FAULT)
#define LIE UINT64_C(1)            /* bits of zeroed */
#define NUMBER (UINT64_C(1) << 1)
#define BUSY (UINT64_C(1) << 48)

/* Atomic for the sake of this thread's own signal handlers. */
_Thread_local _Atomic(comap_guard *) cm_guard_innermost;

static comap_guard *own(void)
{
	return atomic_load_explicit(&cm_guard_innermost, memory_order_relaxed); /* our own last store */
}

static void set_own(comap_guard *guard)
{
	/* a handler that interrupts us finds the guard filled in, and what it guards not yet
	 * touched */
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&cm_guard_innermost, guard, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

/* ---- the file behind it ------------------------------------------------------------ */

/* 0; -ENODATA: the file ends before end; -EIO: it does not say. */
static int check_end(const struct cm_memory *memory, uint64_t end)
{
	struct cm_os_stat st;

	if (cm_os_stat(memory->fd, &st) < 0)
		return -EIO;
	return st.size < end ? -ENODATA : 0;
}

/* Is this page past the file's end?  Without a descriptor that is the likely case. */
static bool is_cut_at(const struct cm_memory *memory, const char *page)
{
	uint64_t off = memory->offset - (uint64_t)(memory->data - page); /* page may be the lesser */

	return memory->fd < 0 || check_end(memory, off + 1) == -ENODATA;
}

static bool may_lie(uint64_t zeroed)
{
	return (zeroed & LIE) || zeroed >= BUSY;
}

bool cm_guard_may_lie(const struct cm_memory *memory)
{
	return may_lie(atomic_load_explicit(&memory->zeroed, memory_order_acquire));
}

/* Map the file again, where nothing is lost by it. */
static void restore(struct cm_memory *memory)
{
	/* acquire pairs with the release of lay_zeroes: our mapping comes after theirs */
	uint64_t zeroed = atomic_load_explicit(&memory->zeroed, memory_order_acquire);

	if (!(zeroed & LIE) || zeroed >= BUSY || memory->fd < 0 || memory->mode == COMAP_VIEW_PRIVATE)
		return;
	if (cm_memory_map(memory, memory->base) < 0)
		return;
	cm_memory_relock(memory);
	/* release pairs with the acquire of enter: who finds no zeroes finds the file.  When it
	 * fails, another handler came or went, and its thread has yet to leave; or another thread
	 * did this. */
	atomic_compare_exchange_strong_explicit(&memory->zeroed, &zeroed, (zeroed & ~LIE) + NUMBER,
						memory_order_release, memory_order_relaxed);
}

/* ---- the fault, in the handler ------------------------------------------------------- */

static comap_guard *find(const char *page, size_t page_size)
{
	comap_guard *guard = own();

	/* by pages: a vector load reads beside the bytes it wants */
	while (guard && !(page < guard->end && page + page_size > guard->begin))
		guard = guard->outer;
	return guard;
}

static bool lay_zeroes(struct cm_memory *memory, char *page, size_t page_size, bool is_cut)
{
	bool is_writable = memory->mode != COMAP_VIEW_READ;
	/* without a descriptor nobody knows whether it was cut; a PRIVATE view has stores to
	 * lose */
	bool is_rest = is_cut && (memory->fd >= 0 || !is_writable);
	size_t rest = (size_t)(memory->base + memory->span - page);
	uint64_t zeroed, done;
	int err = -ENOMEM;

	/* release, both: restore sees that we began before it can cover our zeroes, or map after
	 * them */
	atomic_fetch_add_explicit(&memory->zeroed, BUSY, memory_order_acq_rel);
	if (!is_rest)
		err = cm_os_map_zeroes(page, page_size, is_writable);
	if (err < 0) /* also where the process has too many mappings for one page more */
		err = cm_os_map_zeroes(page, rest, is_writable);
	zeroed = atomic_load_explicit(&memory->zeroed, memory_order_relaxed);
	do
		done = (zeroed - BUSY + NUMBER) | (err < 0 ? 0 : LIE);
	while (!atomic_compare_exchange_weak_explicit(&memory->zeroed, &zeroed, done, memory_order_acq_rel,
						      memory_order_relaxed));
	return err == 0;
}

/* Guards inside of it, in frames that are about to go, end now. */
static void end_inner(comap_guard *guard)
{
	for (comap_guard *inner = own(); inner != guard; inner = inner->outer)
		restore(inner->view->memory);
	set_own(guard);
}

bool cm_guard_absorb(const void *at, void *context)
{
	size_t page_size = cm_os_page_size();
	char *page = (char *)((uintptr_t)at & ~(uintptr_t)(page_size - 1));
	comap_guard *guard = find(page, page_size);
	struct cm_memory *memory;
	bool is_cut;

	if (!guard)
		return false;
	memory = guard->view->memory;
	is_cut = is_cut_at(memory, page);
	/* release pairs with the acquires of enter and leave: it is counted before a zero can be
	 * read */
	atomic_fetch_add_explicit(&memory->faults, is_cut ? CUT : FAULT, memory_order_acq_rel);
	if (guard->jump) {
		end_inner(guard);
		/* ours blocks nothing, but a handler that passed it on to us may; it will not
		 * return */
		pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
		siglongjmp(*(sigjmp_buf *)guard->jump, 1);
	}
	return lay_zeroes(memory, page, page_size, is_cut);
}

/* ---- scopes ------------------------------------------------------------------------------ */

static void enter(comap_guard *guard, comap_view *view, sigjmp_buf *jump)
{
	struct cm_memory *memory = view->memory;
	bool is_mapped = memory->kind == CM_MEMORY_MAPPED && view->size;

	*guard = (comap_guard){
		.view = view,
		.outer = own(),
		.begin = is_mapped ? view->data : NULL,
		.end = is_mapped ? view->data + view->size : NULL,
		.jump = jump,
	};
	/* acquire, in this order: zeroes that came after we counted change the count; those before
	 * are either gone or show in zeroed, and then the count is made to differ */
	guard->faults = atomic_load_explicit(&memory->faults, memory_order_acquire);
	if (CM_RARELY(may_lie(atomic_load_explicit(&memory->zeroed, memory_order_acquire))))
		guard->faults -= guard->faults >= FAULTS_CUT ? CUT : FAULT;
	set_own(guard);
}

/* It faulted: which error is it? */
static int tell(struct cm_memory *memory, uint64_t faults)
{
	int err;

	if (memory->fd < 0)
		return -ENODATA;
	restore(memory);
	err = check_end(memory, memory->offset + memory->size);
	/* cut, and grown back since: what was read may be zeroes all the same */
	return faults >= FAULTS_CUT ? -ENODATA : err < 0 ? err : -EIO;
}

void comap_guard_enter(comap_guard *guard, comap_view *view)
{
	enter(guard, view, NULL);
}

int comap_guard_leave(comap_guard *guard)
{
	struct cm_memory *memory = guard->view->memory;
	uint64_t faults;

	set_own(guard->outer);
	if (!guard->end)
		return 0; /* a copy, the caller's memory, or nothing */
	/* what was read comes before what we ask here; so these may be relaxed */
	atomic_thread_fence(memory_order_acquire);
	faults = atomic_load_explicit(&memory->faults, memory_order_relaxed) - guard->faults;
	if (CM_RARELY(faults || may_lie(atomic_load_explicit(&memory->zeroed, memory_order_relaxed))))
		return tell(memory, faults);
	if (memory->is_sealed || memory->fd < 0)
		return 0;
	/* the last partial page becomes zeroes without a fault */
	return check_end(memory, memory->offset + (uint64_t)(guard->end - memory->data));
}

/* Nothing here is a local of the function that calls sigsetjmp: those would be anything after the
 * jump. */
struct call {
	comap_guard guard;
	sigjmp_buf jump;
	int value;
};

__attribute__((noinline)) static void run(struct call *call, comap_view *view,
					  int (*fn)(void *arg, struct comap_bytes bytes), void *arg)
{
	/* 0: the mask is not saved, which would be a system call; the handler knows it */
	if (sigsetjmp(call->jump, 0))
		return;
	enter(&call->guard, view, &call->jump);
	call->value = fn(arg, comap_view_bytes(view));
}

int comap_guard_call(comap_view *view, int (*fn)(void *arg, struct comap_bytes bytes), void *arg, int *ret)
{
	struct call call;
	int err;

	run(&call, view, fn, arg);
	err = comap_guard_leave(&call.guard);
	if (err == 0 && ret)
		*ret = call.value;
	return err;
}
