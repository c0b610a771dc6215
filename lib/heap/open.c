/*
 * open.c - creating, attaching, leaving, removing.
 *
 * Who is attached?  Each opener holds a shared lock on byte 0 of the file through
 * its own open file description, for as long as its mapping lasts (fork children
 * share it).  Who gets that lock exclusively is alone: no other process maps the
 * heap writable, so whatever its slots say, their threads are gone.  That covers
 * reboots and copied files.  The lone opener declares them dead, registers, and
 * reaps them; then it makes its lock shared.  Dying in the midst, it leaves the
 * file to the next lone one.  Those who come meanwhile wait, with a deadline.
 *
 * A file that cannot be believed is refused before anything is written to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "heap/heap.h"

#define ATTACH_BYTE 0
#define DEFAULT_MAX_SIZE CM_TIB
#define DEFAULT_DIRTY (64 * CM_MIB)
#define DEFAULT_TIMEOUT_NS 10000000000ull
#define KNOWN_FLAGS                                                                              \
	(COMAP_HEAP_CREATE | COMAP_HEAP_EXCL | COMAP_HEAP_READONLY | COMAP_HEAP_DUMP |             \
	 COMAP_HEAP_LEAN | COMAP_HEAP_HUGE | COMAP_HEAP_POPULATE | COMAP_HEAP_LOCK)

static _Thread_local const char *reason = "";

const char *comap_heap_open_reason(void)
{
	return reason;
}

static int refuse(int err, const char *why)
{
	reason = why;
	return err;
}

/* For errors that come with a name of their own. */
static int because(int err)
{
	return err < 0 && !*reason ? refuse(err, strerrordesc_np(-err)) : err;
}

/* ---- options ------------------------------------------------------------ */

static int read_opts(const struct comap_heap_opts *given, struct comap_heap_opts *ret_opts)
{
	struct comap_heap_opts o = COMAP_HEAP_OPTS_INIT;
	const char *why = "";
	int err;

	if (given) {
		if (given->size < offsetof(struct comap_heap_opts, mode) || given->size > 4096)
			return refuse(-EINVAL, "opts.size is not set: use COMAP_HEAP_OPTS_INIT");
		for (size_t i = sizeof o; i < given->size; i++)
			if (((const char *)given)[i])
				return refuse(-E2BIG, "opts has a field this comap does not know");
		memcpy(&o, given, cm_min(given->size, sizeof o));
	}
	if ((o.flags & ~KNOWN_FLAGS) || ((o.flags & COMAP_HEAP_EXCL) && !(o.flags & COMAP_HEAP_CREATE)) ||
	    ((o.flags & COMAP_HEAP_CREATE) && (o.flags & COMAP_HEAP_READONLY)))
		return refuse(-EINVAL, "opts.flags make no sense together");
	if (o.mode & ~0777u)
		return refuse(-EINVAL, "opts.mode is more than permission bits");
	if (o.max_size && (o.max_size < CM_MAX_SIZE_LEAST || o.max_size > CM_MAX_SIZE_MOST))
		return refuse(-EINVAL, "opts.max_size is below 8 MiB or above 64 TiB");
	if (o.slots >= CM_SLOTS_MAX)
		return refuse(-EINVAL, "opts.slots is above 65535");
	err = cm_advice_validate(&o, &why);
	if (err < 0)
		return refuse(err, why);
	o.mode = o.mode ? o.mode : 0600;
	o.timeout_ns = o.timeout_ns ? o.timeout_ns : DEFAULT_TIMEOUT_NS;
	*ret_opts = o;
	return 0;
}

/* One slot per MiB of ceiling, 16 at least: their address space stays a small part of it. */
static uint32_t slots_for(uint64_t max_size, uint32_t wanted)
{
	uint64_t n = wanted ? wanted : cm_min(cm_max(max_size / CM_MIB, 16), 4096);

	return (uint32_t)n + 1; /* the common one is nobody's */
}

/* ---- creating ------------------------------------------------------------- */

/* Map a new heap's ceiling: what was asked for, or what the kernel grants. */
static int map_new(struct comap_heap *heap, const struct comap_heap_opts *o,
		   struct cm_super_opts *ret_super)
{
	uint64_t max_size = cm_round_up(o->max_size ? o->max_size : DEFAULT_MAX_SIZE, CM_SEGMENT);
	const char *why = "";
	int err;

	for (;;) {
		uint32_t nslots = slots_for(max_size, o->slots);

		if (cm_super_data_off(max_size, nslots) == 0)
			return refuse(-EINVAL, "opts.max_size is too small for that many slots");
		heap->seg.backing.size = max_size;
		cm_table_hold();
		err = cm_os_map(&heap->seg.backing, true, o->flags & COMAP_HEAP_DUMP);
		cm_table_release();
		if (err == 0) {
			*ret_super = (struct cm_super_opts){
				.max_size = max_size,
				.nslots = nslots,
				.quota_units = o->quota ? o->quota / CM_UNIT : UINT64_MAX,
				.dirty_max_units = (o->dirty_max ? o->dirty_max : DEFAULT_DIRTY) / CM_UNIT,
			};
			err = cm_advice_apply(heap, o, cm_super_data_off(max_size, nslots), &why);
			return err < 0 ? refuse(err, why) : 0;
		}
		if (o->max_size || max_size / 2 < 64 * CM_MIB)
			return refuse(err, "the kernel refused a mapping of max_size");
		max_size /= 2;
	}
}

/* heap->seg.backing.fd is a new, empty file (or -1): make it a heap. */
static int create_in(struct comap_heap *heap, const struct comap_heap_opts *o)
{
	struct cm_super_opts super;
	int err;

	if (heap->seg.backing.fd >= 0) {
		/* ours alone so far; a later opener must not think itself alone */
		err = cm_os_lock_shared(heap->seg.backing.fd, ATTACH_BYTE);
		if (err < 0)
			return refuse(err, "the file system cannot lock");
	}
	cm_os_probe(&heap->seg.backing);
	err = map_new(heap, o, &super);
	return err < 0 ? err : because(cm_super_create(&heap->seg, &super));
}

/* ---- attaching -------------------------------------------------------------- */

/* Get the attach lock; *ret_is_alone: nobody else has it.  -EBUSY at the deadline. */
static int lock_attached(int fd, uint64_t timeout_ns, bool *ret_is_alone)
{
	uint64_t deadline = cm_os_now_ns() + timeout_ns;
	int err;

	for (;;) {
		*ret_is_alone = true;
		err = cm_os_lock_exclusive(fd, ATTACH_BYTE);
		if (err != -EAGAIN)
			return err;
		*ret_is_alone = false;
		err = cm_os_lock_shared(fd, ATTACH_BYTE);
		if (err != -EAGAIN)
			return err;
		if (cm_os_now_ns() >= deadline)
			return refuse(-EBUSY, "a neighbour is repairing the heap for too long");
		cm_os_sleep_ns(1000000);
	}
}

static int read_super(int fd, struct cm_super_shm *super)
{
	int64_t n;

	n = cm_os_read_at(fd, super, sizeof *super, 0);
	if (n < 0)
		return (int)n;
	if ((size_t)n < sizeof super->fixed.magic ||
	    memcmp(super->fixed.magic, CM_MAGIC, sizeof super->fixed.magic) != 0)
		return refuse(-ENOTUNIQ, "not a comap heap: wrong magic number");
	return (size_t)n < sizeof *super ? refuse(-ENODATA, "the file was cut short") : 0;
}

/* Every slot's owner is gone.  Nothing of value is lost if we die here: the next
 * one is alone, too. */
static void declare_dead(struct cm_seg *seg)
{
	for (uint32_t i = 0; i < cm_life_nused(&seg->life); i++) {
		struct cm_slot_shm *slot = cm_life_slot(&seg->life, i);

		cm_write(&cm_magazines(slot)->ring_pages, 0);
		if (cm_read(&slot->state) == CM_SLOT_LIVE)
			cm_robust_mark_dead(slot);
		else
			cm_robust_reset(slot);
	}
	cm_write(&seg->super->life_abi, cm_robust_abi());
}

static int repair(struct comap_heap *heap)
{
	const char *why = "";
	struct cm_seat *seat;
	int err;

	err = cm_super_validate_records(&heap->seg, &why);
	if (err < 0)
		return refuse(err, why);
	/* a copy may have lost storage that was never written */
	for (uint32_t i = 0; i < cm_life_nused(&heap->seg.life) && !err; i++)
		err = cm_life_commit(&heap->seg.life, i);
	if (err < 0)
		return because(err);
	declare_dead(&heap->seg);
	/* entering reaps; once more for those it left to an impatient look */
	seat = cm_seat_enter(heap, &err);
	if (!seat)
		return because(err);
	(void)cm_reap_all(&heap->seg, &seat->self, 0);
	cm_seat_leave(heap, seat);
	err = cm_seg_settle(&heap->seg);
	if (err < 0)
		return because(err);
	return because(cm_os_lock_shared(heap->seg.backing.fd, ATTACH_BYTE));
}

/* heap->seg.backing.fd is a file with something in it: attach to it. */
static int attach_in(struct comap_heap *heap, const struct comap_heap_opts *o, bool may_repair)
{
	struct cm_seg *seg = &heap->seg;
	bool writable = !(o->flags & COMAP_HEAP_READONLY), is_alone = false;
	struct cm_super_shm super;
	const char *why = "";
	uint64_t size;
	int err;

	err = read_super(seg->backing.fd, &super);
	if (err < 0)
		return because(err);
	err = cm_super_validate(&super, &why);
	if (err < 0)
		return refuse(err, why);
	if (super.fixed.ro_compat && writable)
		return refuse(-EPROTONOSUPPORT, "made by a newer comap: open it read-only");
	if (writable && may_repair) {
		err = lock_attached(seg->backing.fd, o->timeout_ns, &is_alone);
		if (err < 0)
			return because(err);
	}
	err = cm_os_file_size(seg->backing.fd, &size);
	if (err < 0)
		return because(err);
	if (size < super.fixed.data_off)
		return refuse(-ENODATA, "the file was cut short");
	cm_os_probe(&seg->backing);
	seg->backing.size = super.fixed.max_size;
	cm_table_hold();
	err = cm_os_map(&seg->backing, writable, o->flags & COMAP_HEAP_DUMP);
	cm_table_release();
	if (err < 0)
		return refuse(err, "the kernel refused a mapping of max_size");
	seg->is_readonly = !writable;
	cm_super_bind(seg, &super.fixed);
	err = cm_super_validate_state(seg, &why);
	if (err == 0)
		err = cm_advice_apply(heap, o, super.fixed.data_off, &why);
	if (err < 0)
		return refuse(err, why);
	if (is_alone)
		return repair(heap);
	if (writable && cm_read(&seg->super->life_abi) != cm_robust_abi())
		return refuse(-EPROTONOSUPPORT, "its users have a libc with another mutex layout");
	return 0;
}

/* ---- the doors ------------------------------------------------------------------ */

static int begin(const struct comap_heap_opts *given, struct comap_heap_opts *ret_opts,
		 struct comap_heap **ret_heap)
{
	int err;

	reason = "";
	err = read_opts(given, ret_opts);
	if (err < 0)
		return err;
	if (cm_robust_init() < 0)
		return refuse(-ENOTSUP, "this libc's robust mutex is not understood");
	*ret_heap = cm_table_add();
	if (!*ret_heap)
		return refuse(-EMFILE, "this process has 64 heaps open");
	(*ret_heap)->is_lean = ret_opts->flags & COMAP_HEAP_LEAN;
	return 0;
}

static int finish(int err, struct comap_heap *heap, const struct comap_heap_opts *o,
		  comap_heap **ret_heap)
{
	if (err == 0) {
		if (o->flags & COMAP_HEAP_POPULATE)
			cm_os_populate(&heap->seg.backing);
		heap->is_open = true;
		*ret_heap = heap;
		return 0;
	}
	cm_seat_give_up(heap);
	cm_table_unref(heap);
	return err;
}

#define TOO_LONG "the name is too long"

static int path_of(const char *name, char *path, size_t size)
{
	int n;

	if (!name || !*name)
		return refuse(-EINVAL, "the name is empty");
	n = snprintf(path, size, "%s%s", strchr(name, '/') ? "" : "/dev/shm/", name);
	return n < 0 || (size_t)n >= size ? refuse(-EINVAL, TOO_LONG) : 0;
}

static int create_named(struct comap_heap *heap, const char *path, const struct comap_heap_opts *o)
{
	static _Thread_local struct cm_os_birth birth; /* two paths: too much for a small stack */
	int err;

	err = cm_os_birth_begin(&birth, path, o->mode);
	if (err < 0)
		return because(err);
	heap->seg.backing.fd = birth.fd;
	err = create_in(heap, o);
	if (err == 0) {
		err = cm_os_birth_publish(&birth);
		if (err == 0)
			return 0;
	}
	cm_os_unmap(&heap->seg.backing);
	cm_os_birth_abandon(&birth);
	heap->seg.backing.fd = -1;
	return because(err);
}

static int open_named(struct comap_heap *heap, const char *path, const struct comap_heap_opts *o)
{
	bool writable = !(o->flags & COMAP_HEAP_READONLY);
	int err = -ENOENT;

	/* Somebody may create it, or remove it, between our two looks. */
	for (int tries = 0; tries < 100; tries++) {
		reason = "";
		cm_table_hold();
		if (!(o->flags & COMAP_HEAP_EXCL))
			err = cm_os_open(path, writable, &heap->seg.backing.fd);
		cm_table_release();
		if (err == 0)
			return attach_in(heap, o, true);
		if (err == -ENAMETOOLONG)
			return refuse(-EINVAL, TOO_LONG);
		if (err != -ENOENT || !(o->flags & COMAP_HEAP_CREATE))
			return because(err);
		err = create_named(heap, path, o);
		if (err != -EEXIST || (o->flags & COMAP_HEAP_EXCL))
			return err;
	}
	return err;
}

int comap_heap_open(const char *name, const struct comap_heap_opts *opts, comap_heap **ret_heap)
{
	struct comap_heap_opts o;
	struct comap_heap *heap;
	char path[4096];
	int err;

	reason = "";
	err = path_of(name, path, sizeof path);
	if (err == 0)
		err = begin(opts, &o, &heap);
	return err < 0 ? err : finish(open_named(heap, path, &o), heap, &o, ret_heap);
}

int comap_heap_open_anon(const struct comap_heap_opts *opts, comap_heap **ret_heap)
{
	struct comap_heap_opts o;
	struct comap_heap *heap;
	int err = begin(opts, &o, &heap);

	if (err < 0)
		return err;
	if (o.flags & COMAP_HEAP_READONLY)
		return finish(refuse(-EINVAL, "a new heap cannot be read-only"), heap, &o, ret_heap);
	err = cm_os_memfd(&heap->seg.backing.fd);
	if (err == 0 || err == -ENOSYS)
		err = create_in(heap, &o);
	return finish(because(err), heap, &o, ret_heap);
}

int comap_heap_open_fd(int fd, const struct comap_heap_opts *opts, comap_heap **ret_heap)
{
	struct comap_heap_opts o;
	struct comap_heap *heap;
	bool may_repair = true;
	int err = begin(opts, &o, &heap);

	if (err < 0)
		return err;
	if (o.flags & COMAP_HEAP_CREATE)
		return finish(refuse(-EINVAL, "COMAP_HEAP_CREATE makes no sense with an fd"), heap, &o,
			      ret_heap);
	cm_table_hold();
	err = cm_os_reopen(fd, !(o.flags & COMAP_HEAP_READONLY), &heap->seg.backing.fd);
	cm_table_release();
	if (err == -ENOENT || err == -EPERM) {
		/* No /proc, or no right to open it anew: then we share the sender's open
		 * file description, and cannot learn whether we are alone. */
		may_repair = false;
		heap->seg.backing.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		err = heap->seg.backing.fd < 0 ? -errno : cm_os_lock_shared(fd, ATTACH_BYTE);
	}
	if (err == 0)
		err = attach_in(heap, &o, may_repair);
	return finish(because(err), heap, &o, ret_heap);
}

void comap_heap_close(comap_heap *heap)
{
	int saved = errno;

	if (!heap)
		return;
	cm_seat_give_up(heap);
	heap->is_closed = true;
	cm_table_unref(heap);
	errno = saved;
}

void comap_heap_detach(comap_heap *heap)
{
	int saved = errno;

	cm_seat_give_up(heap);
	errno = saved;
}

int comap_heap_unlink(const char *name)
{
	char path[4096];
	int err = path_of(name, path, sizeof path);

	return err < 0 ? err : unlink(path) < 0 ? -errno : 0;
}

int comap_heap_fd(const comap_heap *heap)
{
	return heap->seg.backing.fd;
}

int comap_heap_set_quota(comap_heap *heap, uint64_t quota)
{
	int err = 0;
	struct cm_seat *seat = cm_seat_enter(heap, &err);

	if (!seat)
		return err;
	cm_write(&heap->seg.super->quota, quota ? quota / CM_UNIT : UINT64_MAX);
	cm_seat_leave(heap, seat);
	return 0;
}

int comap_heap_set_decay(comap_heap *heap, uint32_t ms)
{
	int err = 0;
	struct cm_seat *seat = cm_seat_enter(heap, &err);

	if (!seat)
		return err;
	cm_write(&heap->seg.super->decay_ms, ms);
	cm_seat_leave(heap, seat);
	return 0;
}

int comap_heap_reap(comap_heap *heap)
{
	int err = 0;
	struct cm_seat *seat = cm_seat_enter(heap, &err);

	if (!seat)
		return err;
	err = cm_reap_all(&heap->seg, &seat->self, CM_REAP_ASK_KERNEL | CM_REAP_PATIENT);
	err += (int)seat->reaped;
	seat->reaped = 0;
	cm_seat_leave(heap, seat);
	return err;
}

int comap_heap_trim(comap_heap *heap)
{
	int err = 0;
	struct cm_seat *seat = cm_seat_enter(heap, &err);

	if (!seat)
		return err;
	cm_seat_drain(heap, seat);
	cm_slab_trim(&heap->seg, &seat->self);
	err = cm_purge_all(&heap->seg, &seat->self);
	cm_seat_leave(heap, seat);
	return err;
}

void comap_heap_on_misuse(comap_heap *heap,
			  void (*fn)(comap_heap *heap, enum comap_misuse what, const void *ptr,
				     void *arg),
			  void *arg)
{
	heap->on_misuse = fn;
	heap->on_misuse_arg = arg;
}
