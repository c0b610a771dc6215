/*
 * smaps.c - read and print /proc/self/smaps, without malloc.
 *
 * smaps is exact: the kernel walks the page table.  (statm and the VmRSS of
 * status are counters that each processor keeps a part of, and may be off by
 * some hundred pages.)
 */
#include "smaps.h"
#include <ctype.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "evidence.h"

static const char *const line_names[NLINES] = {
	[SIZE] = "Size",
	[RSS] = "Rss",
	[PSS] = "Pss",
	[SHARED_DIRTY] = "Shared_Dirty",
	[PRIVATE_DIRTY] = "Private_Dirty",
};

/* ---- lines of a file ----------------------------------------------------- */

struct reader {
	int fd;
	size_t at, end;
	char bytes[4096];
};

static bool reader_next(struct reader *r, char *line, size_t room)
{
	size_t n = 0;

	for (;;) {
		if (r->at == r->end) {
			ssize_t got = read(r->fd, r->bytes, sizeof r->bytes);

			if (got <= 0)
				return false;
			r->at = 0;
			r->end = (size_t)got;
		}
		if (r->bytes[r->at] == '\n')
			break;
		if (n + 1 < room)
			line[n++] = r->bytes[r->at];
		r->at++;
	}
	r->at++;
	line[n] = '\0';
	return true;
}

uint64_t kernel_number(const char *path, const char *name)
{
	struct reader r = { .fd = open(path, O_RDONLY | O_CLOEXEC) };
	size_t length = strlen(name);
	uint64_t number = 0;
	char line[256];

	while (r.fd >= 0 && reader_next(&r, line, sizeof line)) {
		if (strncmp(line, name, length) || (length && !strchr(": \t", line[length])))
			continue;
		number = strtoull(line + length + strspn(line + length, ": \t"), NULL, 10);
		if (strstr(line, " kB"))
			number *= KIB;
		break;
	}
	if (r.fd >= 0)
		close(r.fd);
	return number;
}

const char *kernel_text(const char *path, char text[64])
{
	struct reader r = { .fd = open(path, O_RDONLY | O_CLOEXEC) };

	if (r.fd < 0 || !reader_next(&r, text, 64))
		text[0] = '\0';
	if (r.fd >= 0)
		close(r.fd);
	return text;
}

/* ---- smaps --------------------------------------------------------------- */

/* The mapping's first line: is it wanted?  from == to: those without a file. */
static bool add_mapping(struct smaps *m, const char *line, uint64_t from, uint64_t to)
{
	uint64_t begin, end, inode;
	char rights[5];
	int name = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %" SCNu64 " %n", &begin, &end, rights,
		   &inode, &name) != 4)
		errx(1, "smaps: %s", line);
	if (from == to ? inode != 0 : end <= from || to <= begin)
		return false;
	if (m->nmappings++ == 0)
		snprintf(m->first, sizeof m->first, "%" PRIx64 "-%" PRIx64 " %s %.40s", begin, end,
			 rights, line + name);
	return true;
}

static void add_line(struct smaps *m, const char *line)
{
	for (int i = 0; i < NLINES; i++) {
		size_t length = strlen(line_names[i]);

		if (!strncmp(line, line_names[i], length) && line[length] == ':')
			m->bytes[i] += strtoull(line + length + 1, NULL, 10) * KIB;
	}
}

static struct smaps sum(uint64_t from, uint64_t to)
{
	struct reader r = { .fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC) };
	struct smaps m = { .nmappings = 0 };
	bool is_wanted = false;
	char line[512];

	if (r.fd < 0)
		err(1, "/proc/self/smaps");
	while (reader_next(&r, line, sizeof line)) {
		if (!isupper((unsigned char)line[0]))
			is_wanted = add_mapping(&m, line, from, to);
		else if (is_wanted)
			add_line(&m, line);
	}
	close(r.fd);
	return m;
}

struct smaps smaps_of(const void *at, size_t size)
{
	uint64_t from = (uint64_t)(uintptr_t)at;

	return sum(from, from + size);
}

struct smaps smaps_of_anonymous(void)
{
	return sum(0, 0);
}

void smaps_print(const char *who, const struct smaps *m, unsigned set)
{
	evidence("%-7s %s", who, m->first);
	printf("            ");
	for (int i = 0; i < NLINES; i++)
		if (set & 1u << i)
			printf("  %s: %" PRIu64 " kB", line_names[i], m->bytes[i] / KIB);
	printf("\n");
}

/* ---- faults -------------------------------------------------------------- */

uint64_t count_faults(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		err(1, "getrusage");
	return (uint64_t)usage.ru_minflt;
}

void touch(void *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		((volatile char *)at)[i] = 1;
}

void peek(const void *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		(void)((const volatile char *)at)[i];
}
