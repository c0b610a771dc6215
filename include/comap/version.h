/*
 * version.h - which comap this is.
 *
 * The macros are the version you compiled against, the function is the one you
 * run with.  Versions follow semver.org; until 1.0 a minor step may break.
 */
#ifndef COMAP_VERSION_H
#define COMAP_VERSION_H

#define COMAP_VERSION_MAJOR 0
#define COMAP_VERSION_MINOR 1
#define COMAP_VERSION_PATCH 0

#if defined(__GNUC__)
#define COMAP_API __attribute__((visibility("default")))
#else
#define COMAP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* "MAJOR.MINOR.PATCH", a static string.  Any thread, any time, signal handlers too. */
COMAP_API const char *comap_version(void);

#ifdef __cplusplus
}
#endif
#endif
