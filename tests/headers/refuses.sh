#!/bin/sh
# refuses.sh STD INCLUDE COMPILER... - typed refs (ref.h) take what fits and refuse what does not.
# 77: there is no such compiler.
set -eu

std=$1 include=$2
shift 2
[ $# -gt 0 ] || exit 77
case $std in
c++*) lang=c++ ;;
*) lang=c ;;
esac
failed=0

compiles() { # STATEMENT COMPILER...
	statement=$1
	shift
	"$@" -x "$lang" -std="$std" -Wall -Wextra -Werror -fsyntax-only -I "$include" - 2>/dev/null <<-END
		#include <comap.h>
		struct leaf { int x; };
		struct node {
			COMAP_REF(struct node) next;
			COMAP_REF(struct leaf) leaf;
			COMAP_REF(char) text;
		};
		void use(comap_heap *heap, struct node *a, struct leaf *b, void *any, int *i, char *c);
		void use(comap_heap *heap, struct node *a, struct leaf *b, void *any, int *i, char *c)
		{
			(void)heap, (void)a, (void)b, (void)any, (void)i, (void)c;
			$statement
		}
	END
}

# The good ones show that the bad ones are refused for their types, not for a slip of ours.
while read -r want statement; do
	[ -n "$want" ] || continue
	got=bad
	if compiles "$statement" "$@"; then got=good; fi
	[ "$got" = "$want" ] || { echo "$got, not $want: $statement" >&2; failed=1; }
done <<'END'
good	comap_set(heap, a->next, a);
good	comap_set(heap, a->leaf, b);
good	comap_set(heap, a->text, c);
good	comap_set(heap, a->leaf, any);
good	comap_set(heap, a->leaf, comap_heap_malloc(heap, sizeof *b));
good	a->next.ref = COMAP_NULL;
good	struct node *n = comap_at(heap, a->next); (void)n;
good	struct leaf *n = comap_at(heap, a->leaf); (void)n;
good	(void)comap_at(heap, a->leaf)->x;
good	a->next = a->next;
good	a->next.ref = a->leaf.ref;
bad	comap_set(heap, a->next, b);
bad	comap_set(heap, a->leaf, a);
bad	comap_set(heap, a->leaf, "text");
bad	comap_set(heap, a->leaf, i);
bad	comap_set(heap, a->next, *a);
bad	comap_set(heap, a->next, 5);
bad	comap_set(heap, a->next, sizeof *a);
bad	comap_set(heap, a->next, a->next);
bad	struct leaf *n = comap_at(heap, a->next); (void)n;
bad	struct node *n = comap_at(heap, a->leaf); (void)n;
bad	(void)comap_at(heap, a->next)->x;
bad	a->next = a->leaf;
bad	a->next.ref = 5;
bad	a->next.ref = sizeof *a;
bad	a->next.ref = a;
bad	(void)comap_heap_at(heap, 4096);
bad	(void)comap_heap_at(heap, a);
bad	comap_heap_free_from(heap, a);
bad	(void)comap_heap_malloc_to(heap, 8, a);
END
exit $failed
