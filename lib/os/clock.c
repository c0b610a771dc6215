/* clock.c - time in nanoseconds. */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "os/os.h"

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts = {0};

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t cm_os_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t cm_os_coarse_ns(void)
{
	return read_clock(CLOCK_MONOTONIC_COARSE);
}

uint64_t cm_os_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

void cm_os_sleep_ns(uint64_t ns)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};

	/* raw: nanosleep(3) is a cancellation point; a signal may cut it short */
	(void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL);
}
