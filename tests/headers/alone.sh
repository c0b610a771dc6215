#!/bin/sh
# alone.sh STD INCLUDE HEADER COMPILER... - does HEADER compile with nothing before it, twice, and
# without a warning?  77: there is no such compiler.
set -eu

std=$1 include=$2 header=$3
shift 3
[ $# -gt 0 ] || exit 77
case $std in
c++*) lang=c++ ;;
*) lang=c ;;
esac
printf '#include <%s>\n#include <%s>\nint main(void);\nint main(void) { return 0; }\n' "$header" "$header" |
	"$@" -x "$lang" -std="$std" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef -Werror \
		-fsyntax-only -I "$include" -
