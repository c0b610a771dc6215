/* proc.c - who this thread is, and whether another is gone. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "os/os.h"

int32_t cm_os_tgid(void)
{
	return (int32_t)syscall(SYS_getpid);
}

int32_t cm_os_tid(void)
{
	return (int32_t)syscall(SYS_gettid);
}

void cm_os_thread_name(char name[16])
{
	memset(name, 0, 16);
	(void)prctl(PR_GET_NAME, name, 0, 0, 0);
}

uint64_t cm_os_pid_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) < 0 ? 0 : (uint64_t)st.st_ino;
}

bool cm_os_thread_is_gone(int32_t tgid, int32_t tid)
{
	int saved = errno;
	bool is_gone = syscall(SYS_tgkill, tgid, tid, 0) < 0 && errno == ESRCH;

	errno = saved;
	return is_gone;
}

void cm_os_random(void *bytes, size_t n)
{
	uint64_t seed;
	unsigned char *p = bytes;

	if (syscall(SYS_getrandom, bytes, n, 1 /* GRND_NONBLOCK */) == (long)n)
		return;
	/* early boot, or no such call: for names and ids, not for secrets */
	seed = cm_os_wall_ns() ^ ((uint64_t)cm_os_tid() << 32);
	for (size_t i = 0; i < n; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		p[i] = (unsigned char)(seed >> 56);
	}
}

void *cm_os_robust_head(void)
{
	void *head = NULL;
	size_t len = 0;

	return syscall(SYS_get_robust_list, 0, &head, &len) < 0 ? NULL : head;
}

int cm_os_set_robust_head(void *head, size_t len)
{
	return syscall(SYS_set_robust_list, head, len) < 0 ? -errno : 0;
}
