/* comap.h - everything comap offers; each header also stands alone. */
#ifndef COMAP_H
#define COMAP_H

#include <comap/bytes.h>
#include <comap/guard.h>
#include <comap/heap.h>
#include <comap/lz4view.h>
#include <comap/malloc.h>
#include <comap/ref.h>
#include <comap/report.h>
#include <comap/root.h>
#include <comap/stream.h>
#include <comap/sync.h>
#include <comap/version.h>
#include <comap/view.h>
#include <comap/window.h>
#include <comap/writer.h>

#endif
