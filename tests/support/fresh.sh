#!/usr/bin/env bash
# fresh.sh - ./do demo and ./do test as a newcomer meets them: a Debian 12 with
# git and nothing else, a clone of the committed HEAD.
#
# Runs as root.  77 and one line of reason where this machine cannot do it.
# The work happens in mount and pid namespaces of its own: mounts and stray
# processes go with them however we end, and then rm is safe.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() { echo "fresh: skipped: $*"; exit 77; }

bootstrap() { # ROOT: the mirror is the one this machine's own apt uses
	local root=$1 sources mirror proxy=

	# shellcheck disable=SC2016  # the $(...) are apt's
	sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' 2>/dev/null |
		grep -E ' bookworm(-updates|-security)? main$' | sort -u || true)
	mirror=$(awk '$3 == "bookworm" { print $2; exit }' <<<"$sources")
	if [[ -z $mirror ]]; then       # not a bookworm itself
		mirror=http://deb.debian.org/debian
		sources="deb $mirror bookworm main"
	fi
	eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null || true)"
	[[ -z $proxy || $proxy == DIRECT ]] || export http_proxy=$proxy

	echo "fresh: bootstrapping Debian 12 from $mirror"
	debootstrap --variant=minbase --include=git,ca-certificates bookworm "$root" "$mirror" \
		>"$root.log" 2>&1 || skip "debootstrap from $mirror: $(tail -n 1 "$root.log")"

	echo "$sources" >"$root/etc/apt/sources.list"
	apt-config dump 2>/dev/null |
		grep -E '^Acquire::(https?::|Check-|Retries|ForceIPv)' | grep -v Auto-Detect \
		>"$root/etc/apt/apt.conf.d/99host" || true
	cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

inside() { # ROOT
	local root=$1 v keep=()

	mount --bind "$root" "$root" 2>/dev/null || skip "may not mount"
	bootstrap "$root"
	cp "$root.bundle" "$root/root/comap.bundle"
	mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
	mountpoint -q "$root/sys" || mount -t sysfs -o ro sysfs "$root/sys"
	mkdir -p "$root/dev/shm"
	mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"

	for v in http_proxy https_proxy no_proxy; do
		[[ -z ${!v:-} ]] || keep+=("$v=${!v}")
	done
	env -i HOME=/root TERM=dumb LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "${keep[@]}" \
		chroot "$root" bash -ec 'cd
			git clone -q -c advice.detachedHead=false comap.bundle comap
			cd comap
			./do demo
			./do test' </dev/null || exit 1
}

if [[ ${1:-} == --inside ]]; then
	inside "$2"
	exit
fi

command -v debootstrap >/dev/null || skip "no debootstrap"
ns=(unshare --mount --propagation private --pid --fork --kill-child)
"${ns[@]}" true 2>/dev/null || skip "may not make namespaces"

top=$(mktemp -d /var/tmp/comap-fresh.XXXXXX)
trap 'rm -rf --one-file-system "$top"' EXIT
mkdir "$top/root"
git bundle create -q "$top/root.bundle" HEAD 2>/dev/null || skip "no commit to clone"
git diff --quiet HEAD || echo "fresh: tests the last commit; your changes are not in it"

"${ns[@]}" tests/support/fresh.sh --inside "$top/root" &
outer=$!
# shellcheck disable=SC2317  # not unreachable: the trap calls it
stop() { # the first process of a pid namespace takes the others along
	local first
	read -r first <"/proc/$outer/task/$outer/children" && kill -KILL "$first"
	wait "$outer" || true
	exit 1
}
trap stop INT TERM HUP
rc=0
wait "$outer" || rc=$?
case $rc in
0) echo PASS ;;
77) ;;
*) echo FAIL; rc=1 ;;
esac
exit "$rc"
