#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sources-test.sh - plays a mirror that lacks things, and looks where apt.sh and
# sources.sh go then.  apt's programs are replaced by ones that read a few lines
# of index below a temporary directory; no network, a few seconds.
#
# One line per check, "PASS ..." or "FAIL ..."; exit status 1 if one failed.

set -u
lib=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$lib/../../.." && pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0

# ---- apt's programs -------------------------------------------------------------

# mirror/SUITE, which "update" takes a copy of, has lines
#	deb ARCH PACKAGE VERSION DEPENDS,...	and	src SOURCE VERSION FILE
# and pool/ has the files there are.  A file's hash is that of its name.
mkdir -p "$tmp"/{bin,mirror,pool}
cat >"$tmp/bin/apt" <<'EOA'
#!/bin/bash
conf=${APT_CONFIG:-/}
suite=$(basename "${conf%/apt.conf}")
index="${conf%/apt.conf}/index"
file_of() { echo "$2_${3}_$1.deb"; }
last=${!#}
hash_of() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
uri() { echo "'http://mirror.invalid/pool/$1' $1 5 SHA256:$(hash_of "$1")"; }
case "$(basename "$0") $*" in
*indextargets*SIGNED_BY*) ;;
*indextargets*) echo "http://mirror.invalid trixie" ;;
*update)
	echo "$suite" >>"$FAKE/updates"
	[ -e "$FAKE/mirror/$suite" ] || {
		echo "E: no suite $suite"
		exit 100
	}
	cp "$FAKE/mirror/$suite" "$index" ;;
*download\ *)
	awk -v s="$last" '$1 == "deb" && $3 ":" $2 "=" $4 == s { print $2, $3, $4 }' "$index" |
		while read -r a p v; do uri "$(file_of "$a" "$p" "$v")"; done ;;
*\ source\ *)
	awk -v s="$last" '$1 == "src" && $2 "=" $3 == s { print $4 }' "$index" |
		while read -r f; do uri "$f"; done ;;
*\ install\ *)
	words="$*"
	for p in ${words##* install }; do
		awk -v p="$p" '$1 == "deb" && $3 == p { print $2, $3, $4; exit }' "$index"
	done | while read -r a p v; do uri "$(file_of "$a" "$p" "$v")"; done ;;
apt-cache\ madison\ *)
	awk -v s="$2" '$1 == "deb" && $3 ":" $2 == s { print $3 " | " $4 " | x" }' "$index" ;;
apt-cache\ show\ *)
	awk -v s="$last" '$1 == "deb" && $3 ":" $2 == s { print "Depends: " $5; exit }' "$index" ;;
apt-cache\ dumpavail)
	awk '$1 == "deb" { print "Package: " $3 "\nArchitecture: " $2 "\n" }' "$index" ;;
apt-cache\ showsrc\ *)
	awk -v s="$last" '$1 == "src" && $2 == s { print "Version: " $3 }' "$index" ;;
apt-config\ *) ;;
apt-helper\ download-file\ *)
	echo "$3" >>"$FAKE/asked"
	[ ! -e "$FAKE/down" ] || { echo "E: could not connect"; exit 100; }
	[ -e "$FAKE/pool/${2##*/}" ] || { echo "E: 404  Not Found"; exit 100; }
	case "$2 $4" in
	*/pool/main/*) ;;	# what is known by hash: the list's own
	*) [ "$4" = "SHA256:$(hash_of "${2##*/}")" ] || exit 100 ;;
	esac
	cp "$FAKE/pool/${2##*/}" "$3" ;;
*)
	echo "fake apt: what is $(basename "$0") $*?" >&2
	exit 100 ;;
esac
EOA
chmod +x "$tmp/bin/apt"
for name in apt-get apt-cache apt-config apt-helper; do
	ln -s apt "$tmp/bin/$name"
done
# Some of the scripts below want these before they ask for a source.
for name in aarch64-linux-gnu-gcc flex bison bc make xz sparse perl m4 \
		checkpolicy qemu-system-aarch64; do
	command -v "$name" >/dev/null || ln -s /bin/true "$tmp/bin/$name"
done
export FAKE="$tmp" PATH="$tmp/bin:$PATH" VG_APT_HELPER="$tmp/bin/apt-helper" \
	HOME="$tmp" VG_NO_INSTALL=1
unset VG_XEN_SOURCE VG_FIO_SOURCE VG_LINUX_SOURCE APT_CONFIG

# verdict WHAT [COMPLAINT]
verdict() {
	if [ -z "${2:-}" ]; then
		echo "PASS sources: $1"
	else
		failed=1
		echo "FAIL sources: $1: $(tr -s '\n' ';' <<<"$2")"
	fi
}

# anew: a machine that has nothing, and a mirror that lacks nothing.
anew() {
	local suite

	rm -rf "$tmp"/{mirror,pool,cache,down,updates,asked}
	mkdir -p "$tmp"/{mirror,pool,cache}
	export XDG_CACHE_HOME="$tmp/cache"
	for suite in bookworm trixie forky sid; do
		: >"$tmp/mirror/$suite"
	done
}

# has SUITE WORDS...: a line of its index, and the file.
has() {
	names "$@"
	if [ "$2" = deb ]; then
		echo data >"$tmp/pool/$4_$5_$3.deb"
	else
		echo data >"$tmp/pool/$5"
	fi
}

# names SUITE WORDS...: the line without the file.
names() {
	echo "${*:2}" >>"$tmp/mirror/$1"
}

# finds WHAT FILE COMMAND...: it prints the path of that.
finds() {
	local what="$1" want="$2" got

	shift 2
	got=$("$@" 2>"$tmp/said")
	[ "${got##*/}" = "$want" ] && [ -e "$got" ] && verdict "$what" && return
	verdict "$what" "got '$got', wanted $want; $(cat "$tmp/said")"
}

# refuses WHAT WORDS COMMAND...: it fails, and says each of the words.
refuses() {
	local what="$1" words="$2" word why='' status=0

	shift 2
	"$@" >"$tmp/got" 2>"$tmp/said" || status=$?
	[ "$status" -ne 0 ] || why="it succeeds: $(cat "$tmp/got")"
	for word in $words; do
		grep -qF -- "$word" "$tmp/got" "$tmp/said" ||
			why+=" it does not say $word"
	done
	verdict "$what" "${why:+$why; $(cat "$tmp/got" "$tmp/said")}"
}

apt() { bash "$lib/apt.sh" "$@"; }
source_of() { bash "$lib/sources.sh" path "$1"; }
known_files() { bash "$lib/sources.sh" ways "$1" | awk '$1 == "known" { print $3 }'; }

# ---- sources --------------------------------------------------------------------

# What each suite's index names, in the order of the ways.
indexes() {
	case "$1" in
	xen)
		echo trixie src xen 4.20.4-1 xen_4.20.4.orig.tar.xz
		echo trixie src xen 4.20.3-1 xen_4.20.3.orig.tar.xz
		echo forky src xen 4.20.5-1 xen_4.20.5.orig.tar.xz
		echo sid src xen 4.20.6-1 xen_4.20.6.orig.tar.xz ;;
	fio)
		echo trixie src fio 3.39-1 fio_3.39.orig.tar.gz
		echo bookworm src fio 3.33-3 fio_3.33-b.orig.tar.gz
		echo forky src fio 3.40-1 fio_3.40.orig.tar.gz
		echo sid src fio 3.42-2 fio_3.42.orig.tar.gz ;;
	linux)
		echo trixie deb amd64 linux-source-6.12 6.12.118-1
		echo trixie deb amd64 linux-source-6.12 6.12.116-1
		echo bookworm deb amd64 linux-source-6.12 6.12.115-1
		echo trixie src linux 6.12.118-1 linux_6.12.118.orig.tar.xz
		echo bookworm src linux-6.12 6.12.115-1 linux-6.12_6.12.115.orig.tar.xz ;;
	esac
}

# The first N are named and gone; the next one is there.
for thing in xen fio linux; do
	total=$(indexes "$thing" | wc -l)
	for ((gone = 0; gone < total; gone++)); do
		anew
		n=0
		while read -r line; do
			n=$((n + 1))
			# shellcheck disable=SC2086
			if [ "$n" -le "$gone" ]; then
				names $line
			else
				has $line
				[ "$n" -ne $((gone + 1)) ] || want=$line
			fi
		done < <(indexes "$thing")
		case "$want" in
		*\ src\ *) want=${want##* } ;;
		*) want=$(awk '{ print $4 "_" $5 "_" $3 ".deb" }' <<<"$want") ;;
		esac
		finds "$thing, $gone files of the indexes gone" "$want" source_of "$thing"
	done
	file=
	for file in $(known_files "$thing"); do
		anew
		while read -r line; do
			# shellcheck disable=SC2086
			names $line
		done < <(indexes "$thing")
		echo data >"$tmp/pool/$file"
		finds "$thing, nothing of the indexes, $file in the pool" "$file" \
			source_of "$thing"
	done
	finds "$thing is remembered" "$file" source_of "$thing"
done

# Xen of another series would not go with the toolstack.
anew
has trixie src xen 4.21.0-1 xen_4.21.0.orig.tar.xz
echo data >"$tmp/pool/$(known_files xen | head -n 1)"
finds "Xen of another series is not taken" "$(known_files xen | head -n 1)" \
	source_of xen

# Suites that the mirror does not have at all.
anew
rm "$tmp"/mirror/{trixie,forky,bookworm}
echo data >"$tmp/pool/$(known_files xen | head -n 1)"
finds "a mirror with one suite only" "$(known_files xen | head -n 1)" source_of xen

# Nothing is left.
all_gone() {
	anew
	while read -r line; do
		# shellcheck disable=SC2086
		names $line
	done < <(indexes "$1")
}
for thing in xen fio linux; do
	all_gone "$thing"
	refuses "$thing, all gone: each is named, and the way out" \
		"$(known_files "$thing") $(indexes "$thing" | awk '{ print $1 }' | sort -u)
		404 VG_${thing^^}_SOURCE=PATH tests/xen/README.md" source_of "$thing"
done
all_gone xen
refuses "build-xen.sh says so, too" "VG_XEN_SOURCE=PATH 4.20.3" "$lib/build-xen.sh"
all_gone fio
refuses "build-fio.sh" "VG_FIO_SOURCE=PATH" "$lib/build-fio.sh"
all_gone linux
refuses "build-kernel.sh" "VG_LINUX_SOURCE=PATH" "$top/kernel/build-kernel.sh" plain
refuses "check-build.sh, for checkpatch" "VG_LINUX_SOURCE=PATH FAIL" \
	"$top/kernel/check-build.sh" style

# ---- what the user names -----------------------------------------------------------

all_gone xen
mkdir -p "$tmp/my/xen/arch/arm/configs" "$tmp/my/left"
echo y >"$tmp/my/xen/arch/arm/configs/arm64_defconfig"
tar -C "$tmp" -czf "$tmp/my.tar.gz" my
VG_XEN_SOURCE="$tmp/my" finds "a directory of the user's" my source_of xen
VG_XEN_SOURCE="$tmp/my.tar.gz" finds "a tarball of the user's" my.tar.gz source_of xen
for path in "$tmp/my" "$tmp/my.tar.gz"; do
	VG_XEN_SOURCE="$path" bash "$lib/sources.sh" unpack xen "$tmp/un" 2>"$tmp/said"
	[ -e "$tmp/un/xen/arch/arm/configs/arm64_defconfig" ] && why= ||
		why=$(cat "$tmp/said"; find "$tmp/un" 2>&1)
	verdict "it is unpacked (${path##*/})" "$why"
	rm -rf "$tmp/un"
done
key() { bash -c '. "$1/apt.sh"; . "$1/sources.sh"; vg_source_key "$2"' _ "$lib" "$1"; }
before=$(key "$tmp/my")
echo n >>"$tmp/my/xen/arch/arm/configs/arm64_defconfig"
[ "$before" != "$(key "$tmp/my")" ] && why= || why="same key"
verdict "a change in it is another key of the cache" "$why"
refuses "one that is not there" "VG_XEN_SOURCE=/none no such" \
	env VG_XEN_SOURCE=/none bash "$lib/sources.sh" path xen
refuses "one of something else" "VG_FIO_SOURCE=$tmp/my fio.c" \
	env VG_FIO_SOURCE="$tmp/my" bash "$lib/sources.sh" path fio
refuses "a tarball of something else" "my.tar.gz fio.c" \
	env VG_FIO_SOURCE="$tmp/my.tar.gz" bash "$lib/sources.sh" unpack fio "$tmp/un"

# ---- packages ----------------------------------------------------------------------

old_lists() { touch -d '1 hour ago' "$tmp/cache/virtio-grant/apt/$1/ready"; }

# Lists of an hour ago name a file that has gone since; the new ones another.
anew
has trixie deb arm64 tool 1
apt candidate trixie arm64 tool >/dev/null 2>&1
old_lists trixie
rm "$tmp"/pool/*
: >"$tmp/mirror/trixie"
has trixie deb arm64 tool 2
finds "a package whose file went: the lists are fetched again" \
	tool_2_arm64.deb apt deb trixie arm64 tool
[ "$(wc -l <"$tmp/updates")" = 2 ] && why= || why=$(cat "$tmp/updates")
verdict "once" "$why"
rm "$tmp"/pool/* "$tmp"/cache/virtio-grant/apt/trixie/debs/*
refuses "it went again: no way" "tool_2_arm64.deb" apt deb trixie arm64 tool
[ "$(wc -l <"$tmp/updates")" = 2 ] && why= || why=$(cat "$tmp/updates")
verdict "fresh lists are not fetched again" "$why"

anew
has trixie deb arm64 tool 1 lib
names trixie deb arm64 lib 2
has trixie deb arm64 lib 1
apt closure trixie arm64 tool lib >"$tmp/got" 2>"$tmp/said"
[ "$(sed 's,.*/,,' "$tmp/got" | tr '\n' ' ')" = "tool_1_arm64.deb lib_1_arm64.deb " ] &&
	why= || why=$(cat "$tmp/got" "$tmp/said")
verdict "one of many packages gone: its older version" "$why"

# What the network lost, is asked for again.
anew
has trixie deb arm64 tool 1
touch "$tmp/down"
refuses "a network that is down" "could not connect" apt deb trixie arm64 tool
rm "$tmp/down"
finds "and up again" tool_1_arm64.deb apt deb trixie arm64 tool

# kernel RELEASE: its packages.
kernel() {
	has trixie deb arm64 "linux-headers-$1" 1 "linux-headers-$1-common,linux-kbuild-$1"
	has trixie deb amd64 "linux-headers-$1-common" 1
	has trixie deb amd64 "linux-kbuild-$1" 1
	has trixie deb arm64 "linux-image-$1" 1 none
}
for lacks in linux-image-6.12.2-arm64 linux-headers-6.12.2-arm64 linux-kbuild-6.12.2-arm64; do
	anew
	has trixie deb arm64 linux-headers-arm64 2 linux-headers-6.12.2-arm64
	for release in 6.1.9-arm64 6.12.1-arm64 6.12.2-arm64; do
		kernel "$release"
	done
	rm "$tmp"/pool/"$lacks"_*
	apt kernel trixie arm64 all >"$tmp/got" 2>"$tmp/said"
	[ "$(grep -c 6.12.1-arm64 "$tmp/got")" = 4 ] &&
		[ "$(wc -l <"$tmp/got")" = 4 ] && why= ||
		why=$(cat "$tmp/got" "$tmp/said")
	verdict "no $lacks: all of the kernel before it" "$why"
done

# The newest suite has a kernel's name, and nothing of it.
newest() { bash -c '. "$1/apt.sh"; . "$2/kernel/headers.sh"; vg_headers_newest arm64' \
	_ "$lib" "$top"; }
anew
names sid deb arm64 linux-headers-arm64 3 linux-headers-7.2.1-arm64
names sid deb arm64 linux-headers-7.2.1-arm64 1 none
has forky deb arm64 linux-headers-arm64 2 linux-headers-7.1.1-arm64
has forky deb arm64 linux-headers-7.1.1-arm64 1 none
[ "$(newest 2>"$tmp/said")" = forky ] && why= || why=$(cat "$tmp/said")
verdict "the newest kernel is gone: that of the suite before" "$why"

exit $failed
