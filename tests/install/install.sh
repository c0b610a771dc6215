#!/bin/sh
# install.sh shared|static BUILD SOURCE VERSION MESON COMPILER... - install into a directory of our
# own, build a program outside the tree against it with pkg-config, run it.
set -eu

how=$1 build=$2 source=$3 version=$4 meson=$5
shift 5
command -v pkg-config >/dev/null || exit 77

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$meson" install -C "$build" --no-rebuild --quiet --destdir "$dir/root"

pc=$(find "$dir/root" -name comap.pc)
[ -n "$pc" ] || { echo "no comap.pc was installed" >&2; exit 1; }
# what we installed first, then the system's: libxxhash
export PKG_CONFIG_PATH="${pc%/*}${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
prefix=$dir/root$(pkg-config --variable=prefix comap)
libdir=$dir/root$(pkg-config --variable=libdir comap)
[ "$(pkg-config --modversion comap)" = "$version" ] || { echo "another version" >&2; exit 1; }

for header in comap.h $(cd "$source/include" && echo comap/*.h); do
	[ "$header" = comap/meson.build ] || cmp "$source/include/$header" "$prefix/include/$header"
done

cp "$source/tests/install/user.c" "$dir"
cd "$dir"
relocated() { pkg-config --define-variable=prefix="$prefix" --define-variable=libdir="$libdir" \
	--define-variable=includedir="$prefix/include" "$@" comap; }
# shellcheck disable=SC2046
case $how in
shared)
	"$@" -std=c11 -Wall -Wextra -Werror $(relocated --cflags) user.c -o user $(relocated --libs)
	LD_LIBRARY_PATH=$libdir ldd ./user | grep -q "libcomap.so.0 => $libdir/"
	# nothing that only the library itself needs
	if readelf -d ./user | grep -q 'NEEDED.*xxhash'; then exit 1; fi
	;;
static)
	rm "$libdir"/libcomap.so*
	"$@" -std=c11 -Wall -Wextra -Werror $(relocated --static --cflags) user.c -o user \
		$(relocated --static --libs)
	if ldd ./user | grep -q libcomap; then exit 1; fi
	;;
esac
[ "$(LD_LIBRARY_PATH=$libdir ./user)" = "$version" ]
