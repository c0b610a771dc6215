/* base/base.h - the door of floor 0: bits, ordered accesses, checks.  No system calls. */
#ifndef CM_BASE_H
#define CM_BASE_H

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"

#endif
