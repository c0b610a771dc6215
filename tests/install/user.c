/* user.c - somebody's program, built against an installed comap by install.sh. */
#include <comap.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	struct comap_heap_opts opts = COMAP_HEAP_OPTS_INIT;
	comap_heap *heap;
	comap_ref ref;
	char *text;
	int err;

	opts.max_size = 64u << 20;
	err = comap_heap_open_anon(&opts, &heap);
	if (err < 0) {
		fprintf(stderr, "%s: %s\n", strerror(-err), comap_heap_open_reason());
		return 1;
	}
	text = comap_heap_strdup(heap, comap_version());
	err = comap_root_set(heap, "version", comap_heap_ref(heap, text));
	if (!text || err < 0 || comap_root_get(heap, "version", &ref) < 0)
		return 2;
	puts((char *)comap_heap_at(heap, ref));
	err = comap_heap_check(heap, NULL, NULL);
	comap_heap_close(heap);
	return err < 0 ? 3 : 0;
}
