/* comap.h - everything comap offers; each header also stands alone. */
#ifndef COMAP_H
#define COMAP_H

#include <comap/heap.h>
#include <comap/malloc.h>
#include <comap/ref.h>
#include <comap/report.h>
#include <comap/root.h>
#include <comap/sync.h>
#include <comap/version.h>

#endif
