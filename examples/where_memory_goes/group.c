/* group.c - find where a memory cgroup can be made, and make it. */
#include "group.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "smaps.h"

/* Where the hierarchy with the memory controller is mounted. */
static bool find_mount(char *ret_dir, size_t room, bool *ret_is_v2)
{
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	const struct mntent *m;
	bool is_found = false;

	while (mounts && !is_found && (m = getmntent(mounts))) {
		char controllers[600], text[64];

		*ret_is_v2 = !strcmp(m->mnt_type, "cgroup2");
		snprintf(controllers, sizeof controllers, "%.500s/cgroup.controllers", m->mnt_dir);
		if (*ret_is_v2)
			is_found = strstr(kernel_text(controllers, text), "memory") != NULL;
		else
			is_found = !strcmp(m->mnt_type, "cgroup") && hasmntopt(m, "memory");
		if (is_found)
			snprintf(ret_dir, room, "%s", m->mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	return is_found;
}

/* The group we are in, as a path below the mount: "0::/a/b", or "4:memory:/a/b". */
static bool find_own(bool is_v2, char *ret_path, size_t room)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool is_found = false;
	char line[512];

	while (file && !is_found && fgets(line, sizeof line, file)) {
		char *controllers = strchr(line, ':'), *path;

		path = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		is_found = is_v2 ? controllers[1] == '\0' : !strcmp(controllers + 1, "memory");
		if (is_found)
			snprintf(ret_path, room, "%s", path);
	}
	if (file)
		fclose(file);
	return is_found;
}

static int write_to(const struct group *group, const char *name, uint64_t value)
{
	char path[600], text[32];
	int fd, length, err = 0;

	snprintf(path, sizeof path, "%s/%s", group->path, name);
	length = snprintf(text, sizeof text, "%" PRIu64, value);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)length) != length)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

static bool has(const struct group *group, const char *name)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", group->path, name);
	return access(path, F_OK) == 0;
}

static int set_limit(const struct group *group, uint64_t limit)
{
	int err = write_to(group, group->is_v2 ? "memory.max" : "memory.limit_in_bytes", limit);

	if (err == 0 && group->is_v2 && has(group, "memory.swap.max"))
		err = write_to(group, "memory.swap.max", 0);
	if (err == 0 && !group->is_v2 && has(group, "memory.memsw.limit_in_bytes"))
		err = write_to(group, "memory.memsw.limit_in_bytes", limit);
	if (err == 0 && !group->is_v2 && has(group, "memory.swappiness"))
		err = write_to(group, "memory.swappiness", 0);
	return err;
}

const char *group_make(struct group *group, uint64_t limit)
{
	static char reason[128];
	char mount[256], own[256] = "";
	int err = -ENOENT;

	if (!find_mount(mount, sizeof mount, &group->is_v2))
		return "no cgroup file system with a memory controller";
	if (!find_own(group->is_v2, own, sizeof own))
		return "this process is in no memory cgroup";
	while (own[0]) {
		char *slash = strrchr(own, '/');

		snprintf(group->path, sizeof group->path, "%s%s%swhere_memory_goes.%d", mount, own,
			 slash && slash[1] ? "/" : "", (int)getpid());
		err = mkdir(group->path, 0755) < 0 ? -errno : set_limit(group, limit);
		if (err == 0)
			return NULL;
		rmdir(group->path);
		if (!group->is_v2 || !slash)
			break;
		/* One up; the last is "/" alone. */
		slash[slash == own && slash[1] ? 1 : 0] = '\0';
	}
	snprintf(reason, sizeof reason, "no memory cgroup can be made (%s): %s",
		 group->is_v2 ? "v2" : "v1", strerror(-err));
	return reason;
}

void group_remove(const struct group *group)
{
	rmdir(group->path);
}

int group_join(const struct group *group)
{
	return write_to(group, "cgroup.procs", 0); /* 0: who writes */
}

static uint64_t number_of(const struct group *group, const char *name, const char *key)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", group->path, name);
	return kernel_number(path, key);
}

uint64_t group_peak(const struct group *group)
{
	return number_of(group, group->is_v2 ? "memory.peak" : "memory.max_usage_in_bytes", "");
}

uint64_t group_kills(const struct group *group)
{
	return number_of(group, group->is_v2 ? "memory.events" : "memory.oom_control", "oom_kill");
}
