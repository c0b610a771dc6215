#!/usr/bin/env bash
# do - what one does with a comap checkout.  Alone it lists its verbs.
#
# A Debian 12 with git and a shell is enough: each verb says which packages it
# lacks and installs them, as root or by sudo, and asks nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
	cat <<'END'
usage: ./do VERB
  demo [ARGS]           build, then count words in a shared heap while workers are killed
  test [ARGS]           build, then run every test; ARGS go to meson test
  bench [ARGS]          build for speed, then run the benchmarks beside their peers; ARGS: rows;
                        bench levels: what each -Dcheck costs; bench views: mmap or read?
  lint                  formatting, warnings of gcc and clang, clang-tidy, shellcheck, floors,
                        fast paths
  sanitize [quick|all]  tests under ASan and UBSan, TSan, valgrind; all: also crash and check=3
  soak [SECONDS]        many processes, random deaths (30 s)
  fuzz [SECONDS [WHAT]] libFuzzer (60 s) on the open path of heaps, or WHAT: open, lz4
  fresh                 demo and test on a Debian 12 bootstrapped for the occasion
  clean                 remove build/ and build-*/
END
}

die() { echo "do: $*" >&2; exit 1; }

# --- packages ---

base=(gcc g++ libc6-dev meson ninja-build pkg-config libcmocka-dev liblz4-dev libxxhash-dev)

is_root() { (( EUID == 0 )); }
can_root() { is_root || sudo -n true 2>/dev/null; }
as_root() { if is_root; then "$@"; else sudo -n "$@"; fi; }

apt() { # the lock timeout: a new cloud machine is often busy upgrading itself
	as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
		apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}

need() {
	local p missing=() unknown=

	command -v dpkg-query >/dev/null || { echo "do: not a Debian; this needs: $*"; return 0; }
	for p in "$@"; do
		dpkg-query -W -f='${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed ||
			missing+=("$p")
	done
	(( ${#missing[@]} )) || return 0
	can_root || die "missing packages, and neither root nor sudo to install them: ${missing[*]}"

	echo "do: installing from Debian: ${missing[*]}"
	for p in "${missing[@]}"; do
		apt-cache show "$p" >/dev/null 2>&1 || unknown=1
	done
	if [[ -z $unknown ]]; then      # the lists may still be too old to fetch by
		apt install -y --no-install-recommends "${missing[@]}" && return
	fi
	apt update || die "apt-get could not update its lists"
	apt install -y --no-install-recommends "${missing[@]}" ||
		die "apt-get could not install: ${missing[*]}"
}

# --- building and counting ---

setup() { # DIR [meson options]
	[[ -f $1/build.ninja ]] || meson setup "$@"
}

build() { # DIR [meson options]
	setup "$@" && meson compile -C "$1"
}

passed=0 failed=0 skipped=0

# Meson logs one JSON object a test.  Whatever neither passed nor was skipped failed: a timeout,
# an error, a word we do not know.
run_tests() { # DIR [meson test arguments]
	local dir=$1 rc=0 results all ok skip

	shift
	rm -f "$dir"/meson-logs/testlog*.json   # its name varies with setup and wrapper
	meson test -C "$dir" --print-errorlogs "$@" || rc=$?
	results=$(cat "$dir"/meson-logs/testlog*.json 2>/dev/null |
		grep -oE '"result": "[A-Z]+"' || true)
	all=$(grep -c result <<<"$results" || true)
	ok=$(grep -cE '"(OK|EXPECTEDFAIL)"' <<<"$results" || true)
	skip=$(grep -c '"SKIP"' <<<"$results" || true)
	if (( rc && all == ok + skip )); then
		(( ++all ))             # meson itself failed: it could not build or was stopped
	fi
	(( passed += ok, skipped += skip, failed += all - ok - skip )) || true
	if (( all > ok + skip )); then
		python3 tests/support/failed.py "$dir"/meson-logs/testlog*.json |
			tee -a "${COMAP_FAILURES:-/dev/null}" || true
	fi
}

build_and_test() { # DIR [meson options] -- [meson test arguments]
	local options=()

	while [[ $1 != -- ]]; do options+=("$1"); shift; done
	shift
	if build "${options[@]}"; then
		run_tests "${options[0]}" "$@"
	else
		echo "FAIL  ${options[0]} does not build" | tee -a "${COMAP_FAILURES:-/dev/null}" >&2
		(( ++failed ))
	fi
}

finish() { # the line that counts; COMAP_COUNTS is how .ci/run learns of it
	echo "$passed passed, $failed failed, $skipped skipped"
	[[ -z ${COMAP_COUNTS:-} ]] || echo "$passed $failed $skipped" >"$COMAP_COUNTS"
	(( passed > 0 && failed == 0 )) || exit 1
}

# --- verbs ---

do_demo() {
	need "${base[@]}"
	build build
	(( $# )) || set -- --kill 20
	build/examples/wordcount "$@"
}

do_test() {
	need "${base[@]}" mandoc man-db groff-base   # man pages are looked over
	build_and_test build -- --setup full "$@"
	finish
}

do_bench() {
	local level

	need "${base[@]}" python3 libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4 libboost-dev \
		libpmemobj-dev gnuplot-nox lz4
	if [[ ${1:-} == levels ]]; then
		for level in 0 1 2 3; do
			build "build-check$level" -Dbuildtype=release -Dbench=enabled -Dtests=disabled \
				-Dcheck="$level"
		done
		bench/levels.py build-check{0,1,2,3}/bench/bench_comap
		return
	fi
	build build-release -Dbuildtype=release -Dbench=enabled -Dtests=disabled
	mkdir -p build          # where people look for it
	if [[ ${1:-} == views ]]; then
		shift
		bench/views.py build-release/bench/views build "$@"
		return
	fi
	bench/run.py build-release/bench build "$@"
}

do_lint() {
	need "${base[@]}" clang clang-format clang-tidy shellcheck
	. tests/support/lint.sh
	finish
}

do_sanitize() {
	local how=${1:-quick}

	[[ $how == quick || $how == all ]] || die "sanitize quick, or sanitize all"
	need "${base[@]}" valgrind      # gcc brings libasan, libubsan and libtsan itself
	. tests/support/sanitize.sh
	finish
}

do_soak() {
	need "${base[@]}"
	build build
	build/tests/proc/soak --seconds "${1:-30}"
}

do_fuzz() {
	local what=${2:-open} corpus=tests/fuzz/corpus

	[[ $what == open || $what == lz4 ]] || die "fuzz SECONDS open, or fuzz SECONDS lz4"
	[[ $what == open ]] || corpus=tests/fuzz/lz4
	need "${base[@]}" clang libclang-rt-dev
	CC=clang build build-fuzz -Dfuzz=enabled -Db_sanitize=address,undefined -Db_lundef=false
	# what is found goes to build-fuzz/, and is kept for the next run
	mkdir -p "build-fuzz/corpus-$what"
	cp -rn "$corpus/." "build-fuzz/corpus-$what/"
	"build-fuzz/tests/fuzz/fuzz_$what" -max_total_time="${1:-60}" -artifact_prefix=build-fuzz/ \
		"build-fuzz/corpus-$what"
}

do_fresh() {
	can_root || { echo "fresh: skipped: neither root nor sudo"; exit 77; }
	(need debootstrap debian-archive-keyring) ||
		{ echo "fresh: skipped: debootstrap cannot be installed"; exit 77; }
	is_root || exec sudo -n tests/support/fresh.sh
	exec tests/support/fresh.sh
}

do_clean() {
	rm -rf build build-*
}

verb=${1:-}
case $verb in
demo | test | bench | lint | sanitize | soak | fuzz | fresh | clean) shift; "do_$verb" "$@" ;;
'' | help | -h | --help) usage ;;
*) usage >&2; exit 2 ;;
esac
