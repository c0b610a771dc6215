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
