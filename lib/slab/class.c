/* class.c - the table of size classes; waste inside a block is at most 12.5 % above 128 bytes. */
#include "slab/slab.h"

#define ROW(bytes, n)                                                  \
	{                                                              \
		.size = (bytes),                                       \
		.units = (n),                                          \
		.blocks = (uint16_t)((n) * CM_UNIT / (bytes)),         \
		.reciprocal = ((1ull << 40) + (bytes) - 1) / (bytes),  \
	},

const struct cm_class cm_classes[CM_CLASSES] = {
#include "slab/classes.inc"
};

#undef ROW

#define TWICE(mark) mark, mark
#define FOUR(mark) TWICE(mark), TWICE(mark)

const uint8_t cm_tiny_marks[CM_TINY_MOST / 16 + 1] = {
	CM_UNIT_NONE,
	1, 2, 3, 4, 5, 6, 7, 8, /* by 16 bytes */
	9, 10, 11, 12, 13, 14, 15, 16,
	TWICE(17), TWICE(18), TWICE(19), TWICE(20), TWICE(21), TWICE(22), TWICE(23), TWICE(24),
	FOUR(25), FOUR(26), FOUR(27), FOUR(28), FOUR(29), FOUR(30), FOUR(31), FOUR(32),
};

unsigned cm_class_of_aligned(uint64_t size, uint64_t align)
{
	unsigned cls;

	if (size > CM_SMALL_MOST || align > CM_SMALL_MOST)
		return CM_CLASSES;
	cls = cm_class_of(cm_max(size, 1));
	while (cls < CM_CLASSES && cm_classes[cls].size % align)
		cls++;
	return cls;
}
