/*
 * writer.c - a file is begun, and is there, whole, or was never begun.
 *
 * The new file is written without a name in the folder of the old one and takes its
 * place by one rename (os/replace.c).  What decides how it ends is asked when
 * it ends: the permissions of the old file, and whether its name is still one of a
 * file.  The folder stays open meanwhile, so neither chdir(2) nor the end of the caller's
 * dirfd matters, and a folder that was moved takes the file along.
 *
 * True until finish: the path names what it named before.  After finish failed, too.
 *
 * Durable means fsync, rename, fsync of the folder.  fsync and not fdatasync: the file is new,
 * and its owner and permissions are to survive with its bytes; both commit the same
 * journal once.  Appending needs fdatasync only, and the folder.
 *
 * Appending cannot be all or nothing: others see the bytes as they come.  O_APPEND, not pwrite
 * at an offset we remember, so that appenders never overwrite one another, and a log that was
 * emptied goes on at its new end.  Giving up cuts the file back to its old length, provided that
 * all that was added is ours.
 */
#include <stdlib.h>
#include <string.h>
#include "view/writer.h"

#define FLAGS (COMAP_WRITER_APPEND | COMAP_WRITER_EXCL | COMAP_WRITER_NOFOLLOW)

static bool is_append(const struct comap_writer *writer)
{
	return writer->flags & COMAP_WRITER_APPEND;
}

static int read_opts(const struct comap_writer_opts *given, struct comap_writer_opts *opts)
{
	*opts = (struct comap_writer_opts)COMAP_WRITER_OPTS_INIT;
	if (given) {
		int err = cm_opts_copy(opts, sizeof *opts, given, given->size);

		if (err < 0)
			return err;
	}
	if (opts->flags & ~FLAGS || opts->reserved || opts->permissions > 07777)
		return -EINVAL;
	if (opts->flags & COMAP_WRITER_EXCL && opts->flags & COMAP_WRITER_APPEND)
		return -EINVAL;
	return 0;
}

/* What a writer may find at its path. */
static int check_what(const struct comap_writer *writer)
{
	switch (writer->spot.what) {
	case CM_OS_SPOT_FOLDER:
		return -EISDIR;
	case CM_OS_SPOT_OTHER:
		return -ENODEV;
	case CM_OS_SPOT_LINK:
		return is_append(writer) ? -ELOOP : 0;
	default:
		return 0;
	}
}

static int begin_append(struct comap_writer *writer)
{
	struct cm_os_stat stat;
	int err = cm_os_open_append(&writer->spot, writer->permissions, &writer->fd, &writer->is_made);

	if (err < 0)
		return err;
	err = cm_os_stat(writer->fd, &stat);
	if (err < 0)
		return err;
	writer->start = stat.size;
	return stat.kind == CM_OS_REGULAR ? 0 : -ENODEV; /* a moment ago it was */
}

static void drop(struct comap_writer *writer)
{
	if (writer->fd >= 0)
		cm_os_close(writer->fd);
	cm_os_spot_drop(&writer->spot);
	if (writer->buffer)
		cm_pages_give(writer->buffer, writer->span);
	free(writer);
}

/* Is our last byte the file's?  A log that was emptied meanwhile may be as long by chance. */
static bool is_last(const struct comap_writer *writer, uint64_t size)
{
	return !writer->put || cm_os_position(writer->fd) == (int64_t)size;
}

/* The file is as it was before us, where all that was added is ours. */
static void take_back(struct comap_writer *writer)
{
	uint64_t size;

	if (!is_append(writer)) {
		cm_os_replace_abandon(&writer->spot, writer->fd);
		writer->fd = -1;
	} else if ((writer->put || writer->has_spare) && cm_os_file_size(writer->fd, &size) == 0 &&
		   size == writer->start + writer->put && is_last(writer, size))
		(void)cm_os_cut(writer->fd, writer->start);
}

static int begin(struct comap_writer *writer, int dirfd, const struct comap_writer_opts *opts)
{
	bool follows = !(opts->flags & COMAP_WRITER_NOFOLLOW);
	int err = cm_os_spot_find(dirfd, writer->path, follows, &writer->spot);

	if (err == 0)
		err = check_what(writer);
	if (err == 0)
		err = is_append(writer) ? begin_append(writer)
			      : cm_os_replace_begin(&writer->spot, opts->permissions, &writer->fd);
	if (err == 0) {
		err = cm_writer_expect(writer, opts->expect);
		if (err < 0)
			take_back(writer);
	}
	return cm_os_quota_is_enospc(err);
}

int comap_writer_open_at(int dirfd, const char *path, const struct comap_writer_opts *opts,
			 comap_writer **ret_writer)
{
	struct comap_writer *writer;
	struct comap_writer_opts o;
	int err = path ? read_opts(opts, &o) : -EINVAL;

	if (err < 0)
		return cm_view_fail(err, "write", path);
	writer = calloc(1, sizeof *writer + strlen(path) + 1);
	if (!writer)
		return cm_view_fail(-ENOMEM, "write", path);
	strcpy(writer->path, path);
	writer->fd = writer->spot.folder = writer->spot.old = -1;
	writer->flags = o.flags;
	writer->permissions = o.permissions;
	writer->reserved = CM_WRITER_NO_ROOM;
	err = begin(writer, dirfd, &o);
	if (err < 0) {
		drop(writer);
		return cm_view_fail(err, "write", path);
	}
	*ret_writer = writer;
	return 0;
}

int comap_writer_open(const char *path, const struct comap_writer_opts *opts, comap_writer **ret_writer)
{
	return comap_writer_open_at(CM_OS_CWD, path, opts, ret_writer);
}

/* Storage that no byte came for goes back. */
static int trim(struct comap_writer *writer)
{
	uint64_t size;

	if (!writer->has_spare || writer->allocated == writer->put)
		return 0;
	if (!is_append(writer))
		return cm_os_cut(writer->fd, writer->put);
	if (cm_os_file_size(writer->fd, &size) == 0 && size == writer->start + writer->put)
		(void)cm_os_cut(writer->fd, size); /* else it is storage for what others append */
	return 0;
}

static int finish_append(struct comap_writer *writer, bool is_durable)
{
	int err = trim(writer), folder = -1;

	if (err == 0)
		err = is_durable ? cm_os_sync_data(writer->fd) : cm_os_flush_close(writer->fd);
	if (err < 0 || !is_durable)
		return err;
	/* whoever made the file may not have waited for its name */
	err = cm_os_spot_open_folder(&writer->spot, &folder);
	return err < 0 ? err : cm_os_spot_sync(folder, writer->fd);
}

static int finish_replace(struct comap_writer *writer, bool is_durable)
{
	int err = trim(writer), folder = -1;

	if (err == 0)
		err = cm_os_spot_look(&writer->spot);
	if (err == 0 && !(writer->flags & COMAP_WRITER_EXCL))
		err = check_what(writer);
	if (err == 0)
		err = cm_os_replace_dress(&writer->spot, writer->fd, writer->permissions);
	if (err == 0)
		err = is_durable ? cm_os_sync_all(writer->fd) : cm_os_flush_close(writer->fd);
	if (err == 0 && is_durable) /* now: once the name is given only the disk may fail */
		err = cm_os_spot_open_folder(&writer->spot, &folder);
	if (err == 0)
		err = cm_os_replace_publish(&writer->spot, writer->fd, writer->flags & COMAP_WRITER_EXCL);
	if (err == 0 && is_durable) {
		writer->is_published = true;
		return cm_os_spot_sync(folder, writer->fd) < 0 ? -EIO : 0;
	}
	if (folder >= 0)
		cm_os_close(folder);
	return err;
}

int comap_writer_finish(comap_writer *writer, enum comap_writer_how how)
{
	bool is_durable = how == COMAP_WRITER_DURABLE;
	int err = writer->err;

	if (err == 0 && !is_durable && how != COMAP_WRITER_PLAIN)
		err = -EINVAL;
	if (err == 0)
		err = cm_writer_drain(writer);
	if (err == 0)
		err = is_append(writer) ? finish_append(writer, is_durable)
					: finish_replace(writer, is_durable);
	if (err < 0 && !writer->is_published)
		take_back(writer);
	err = cm_os_quota_is_enospc(err);
	if (err < 0)
		cm_view_fail(err, "finish", writer->path);
	drop(writer);
	return err;
}

void comap_writer_abort(comap_writer *writer)
{
	int saved = errno;

	if (!writer)
		return;
	take_back(writer);
	drop(writer);
	errno = saved;
}
