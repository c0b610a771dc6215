/* futex.c - sleep until a shared word changes (futex(2)); errors need no answer: callers look
 * again. */
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "os/os.h"

void cm_os_futex_wait(cm_half *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};

	/* not FUTEX_PRIVATE: the waker may be another process */
	(void)syscall(SYS_futex, word, FUTEX_WAIT, expected, &ts, NULL, 0);
}

void cm_os_futex_wake(cm_half *word, int n)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}
