# shellcheck shell=bash
# lint.sh - the steps of ./do lint, which sources this file; each counts as a test.

log=$(mktemp)
trap 'rm -f "$log"' EXIT

step() { # NAME COMMAND...
	local name=$1 start=$SECONDS

	shift
	if "$@" >"$log" 2>&1; then
		echo "ok    $name ($((SECONDS - start)) s)"
		(( ++passed ))
	else
		{
			echo "FAIL  $name"
			sed 's/^/      /' "$log"
		} | tee -a "${COMAP_FAILURES:-/dev/null}"
		(( ++failed ))
	fi
}

# Tracked and still there, or untracked and not ignored.  safe.directory: CI may run as another user.
sources() {
	git -c safe.directory="$PWD" ls-files -co --exclude-standard -- "$@" |
		while read -r file; do [[ ! -f $file ]] || echo "$file"; done
}

formatted() { sources '*.c' '*.h' | xargs -r python3 tests/support/format.py; }

werror() { CC=$1 build "build-lint-$1" -Dwerror=true; }

tidy() { sources 'lib/*.c' | xargs -r -n 4 -P "$(nproc)" clang-tidy -p build-lint-clang --quiet; }

fast_paths() { # 77: not on this machine
	python3 tests/objdump/fast_path.py build-lint-gcc "$PWD/lib/heap/malloc.c" -O2 -O3 || (( $? == 77 ))
}

step "clang-format" formatted
step "floors" python3 tests/support/floors.py
step "tests named in docs" python3 tests/support/named_tests.py
step "shellcheck" shellcheck ./do .ci/run tests/support/*.sh
step "gcc -Werror" werror gcc
step "clang -Werror" werror clang
step "fast paths" fast_paths
sed -n 's/^fast path .* stores$/      &/p' "$log"
step "clang-tidy" tidy
