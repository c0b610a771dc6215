/*
 * smaps.h - what the kernel says about this process's memory.
 *
 * None of it allocates: who measures a heap must not disturb it.
 */
#ifndef WHERE_SMAPS_H
#define WHERE_SMAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define PAGE ((size_t)4096)

/* The lines of /proc/self/smaps that are used here. */
enum smaps_line { SIZE, RSS, PSS, SHARED_DIRTY, PRIVATE_DIRTY, NLINES };

/* The sum over some mappings, in bytes. */
struct smaps {
	uint64_t bytes[NLINES];
	uint32_t nmappings;
	char first[96]; /* of them, as the kernel writes it, without the inode */
};

/* The mappings that [at, at + size) touches, or every one without a file. */
struct smaps smaps_of(const void *at, size_t size);
struct smaps smaps_of_anonymous(void);

/* Print `who`, and those lines of m that are in the set: 1u << RSS | ... */
void smaps_print(const char *who, const struct smaps *m, unsigned set);

/* A line of a file of the kernel's, "name   123 kB" or "name 123", or "123" when name is "".
 * In bytes where the kernel says kB; 0 when there is no such line. */
uint64_t kernel_number(const char *path, const char *name);
/* The first line of the file; "" when there is none.  text has room for 64 bytes. */
const char *kernel_text(const char *path, char text[64]);

/* Page faults of this process that needed no disk. */
uint64_t count_faults(void);

/* Write, or read, one byte of each page. */
void touch(void *at, size_t size);
void peek(const void *at, size_t size);

static inline double mib(uint64_t bytes)
{
	return (double)bytes / (double)MIB;
}

#endif
