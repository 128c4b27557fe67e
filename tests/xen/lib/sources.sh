#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the rig builds from source, and where that comes from.  A mirror's index
# can name files that the mirror has no more, so there are several ways to each,
# tried in this order:
#
#	1. the one that the user names: VG_XEN_SOURCE, VG_FIO_SOURCE,
#	   VG_LINUX_SOURCE, a tarball or a directory (a checkout)
#	2. the suites' indexes, older versions too
#	3. versions known to work, by name and hash, from the mirror's pool, which
#	   no index need name
#
# Source it after apt.sh for the vg_source_* functions, or run it:
#
#	sources.sh path THING		print the path of its source: a tarball, a
#					.deb with one inside, or a directory
#	sources.sh ways THING		print where it is looked for
#	sources.sh unpack THING DIR	unpack it into DIR
#
# THING is xen, fio or linux.

[ "${BASH_SOURCE[0]}" != "$0" ] || . "$(dirname "$0")/apt.sh"

# Xen is the toolstack's version (build-root.sh has xen-utils-4.20): hypercalls
# of the tools change with each.  Linux is a series that has virtio's DMA hooks
# as the modules know them; a plain one of kernel.org is as good as Debian's.
vg_source_ways() {
	case "$1" in
	xen)
		cat <<-'EOW'
		source trixie xen xen_4.20.*.orig.tar.?z
		source forky xen xen_4.20.*.orig.tar.?z
		source sid xen xen_4.20.*.orig.tar.?z
		known xen xen_4.20.3+127-gc42374a105.orig.tar.xz df0831854a55a8f31cb3cb85036f2edc928e2ef098d77f815f5714bfafac68f3
		EOW
		;;
	fio)
		cat <<-'EOW'
		source trixie fio fio_3.*.orig.tar.?z
		source bookworm fio fio_3.*.orig.tar.?z
		source forky fio fio_3.*.orig.tar.?z
		source sid fio fio_3.*.orig.tar.?z
		known fio fio_3.41.orig.tar.gz a40b45112005e30a67bab6be4860b198c35104a628b6ec4d15720d62b5d1bab9
		known fio fio_3.33.orig.tar.gz d2410e13e0f379d061d077cc5ae325835bb7c6186aa7bafc1df954cbc9b014fc
		EOW
		;;
	linux)
		cat <<-'EOW'
		deb trixie amd64 linux-source-6.12
		deb bookworm amd64 linux-source-6.12
		source trixie linux linux_6.12.*.orig.tar.xz
		source bookworm linux-6.12 linux-6.12_6.12.*.orig.tar.xz
		known linux linux-source-6.12_6.12.117-1_all.deb 9141325315c7f1eca682113d185a8c77c82814aa6e32f7e127e61d6106403835
		known linux linux-source-6.12_6.12.107-1_all.deb 775b9ef84d7fa7927ccebfec33fbbe9aeb2482ebf9a92c771aafd33fb6e2ee27
		known linux linux_6.12.107.orig.tar.xz efc76d3c78a5d65f42724118c437d11db1c9f6309a5f024ee9a8b1978fdc6919
		known linux linux_6.12.74.orig.tar.xz b12440d62ef47193c3c8ae5b8dbb76cfcd1084bbb54d6c64a485aed07ecec708
		EOW
		;;
	*)
		vg_apt_say "no source is called '$1'"
		return 1 ;;
	esac
}

# A file that only the source of that has.
vg_source_proof() {
	case "$1" in
	xen) echo xen/arch/arm/configs/arm64_defconfig ;;
	fio) echo fio.c ;;
	linux) echo scripts/checkpatch.pl ;;
	esac
}

# vg_source_named THING: what the user names; status 1 if that is nothing.
vg_source_named() {
	local variable="VG_${1^^}_SOURCE" path proof

	path="${!variable:-}"
	[ -n "$path" ] || return 1
	proof=$(vg_source_proof "$1")
	if [ ! -r "$path" ]; then
		vg_apt_say "$variable=$path: there is no such file"
		return 2
	elif [ -d "$path" ] && [ ! -e "$path/$proof" ]; then
		vg_apt_say "$variable=$path is no source of $1: it has no $proof"
		return 2
	fi
	realpath -- "$path"
}

# vg_source THING: the path of its source, or what was tried, on stderr.
vg_source() {
	local status=0 path memo way tried='' log first=1

	path=$(vg_source_named "$1") || status=$?
	case "$status" in
	0) printf '%s\n' "$path"; return 0 ;;
	2) return 1 ;;
	esac
	# The search takes seconds, and minutes where much is missing.
	memo="$(vg_cache_dir)/source-$1"
	if [ -n "$(find "$memo" -mmin -"${VG_APT_MAX_AGE_MIN:-1440}" \
			2>/dev/null)" ]; then
		read -r path <"$memo"
		if [ -s "$path" ]; then
			printf '%s\n' "$path"
			return 0
		fi
	fi
	log=$(mktemp) || return 1
	while read -r way; do
		# Words, with a glob among them that is not for this shell.
		set -f
		# shellcheck disable=SC2086
		path=$(set -- $way
			set +f
			"vg_apt_$1" "${@:2}" 2>"$log" </dev/null) || path=
		set +f
		if [ -n "$path" ]; then
			[ -n "$first" ] ||
				vg_apt_say "source of $1: taking ${path##*/}"
			printf '%s\n' "$path" >"$memo.$$"
			mv "$memo.$$" "$memo"
			rm -f "$log"
			printf '%s\n' "$path"
			return 0
		fi
		first=
		tried+="  $(vg_source_way_text "$way"):"
		tried+=" $(sed 's/^apt: //' "$log" | grep . | tail -n 1)"$'\n'
	done < <(vg_source_ways "$1")
	rm -f "$log"
	vg_apt_say "the source of $1 is not to be had.  Tried:"
	printf '%s' "$tried" >&2
	vg_apt_say "name one: VG_${1^^}_SOURCE=PATH of a tarball or a checkout" \
		"(tests/xen/README.md), or try again when the mirror has it"
	return 1
}

vg_source_way_text() {
	case "$1" in
	known\ *)
		# shellcheck disable=SC2086
		set -- $1
		echo "the mirror's pool, $3" ;;
	deb\ *)
		# shellcheck disable=SC2086
		set -- $1
		echo "$2, package $4" ;;
	*)
		set -f
		# shellcheck disable=SC2086
		set -- $1
		set +f
		echo "$2, source package $3, $4" ;;
	esac
}

# vg_source_key PATH: what a cache's key is to have of it.  Names of packages
# have the version; what the user named is looked at.
vg_source_key() {
	case "$1" in
	"$(vg_cache_dir)"/*) printf '%s\n' "${1##*/}" ;;
	*)
		if [ -d "$1" ]; then
			(cd "$1" && find . -name .git -prune -o -type f \
				-printf '%p %s %T@\n' | LC_ALL=C sort) | sha256sum
		else
			sha256sum <"$1"
		fi | cut -c 1-32 ;;
	esac
}

# vg_source_tar PATH: a tar stream of the tree; its first component is a name of
# no meaning.
vg_source_tar() {
	case "$1" in
	*.deb)
		# Debian's kernel source: a tarball in a package.
		dpkg-deb --fsys-tarfile "$1" | tar -xOf - --wildcards \
			'./usr/src/linux-source-*.tar.xz' | xz -dc ;;
	*.tar.xz|*.txz) xz -dc "$1" ;;
	*.tar.gz|*.tgz) gzip -dc "$1" ;;
	*.tar.bz2) bzip2 -dc "$1" ;;
	*.tar.zst) zstd -qdc "$1" ;;
	*.tar) cat "$1" ;;
	*)
		if [ -e "$1/.git" ] && command -v git >/dev/null; then
			# Without what a build in it has left.
			(cd "$1" && git -c safe.directory='*' ls-files -z \
				--cached --others --exclude-standard |
				tar -cf - --null -T - --ignore-failed-read \
					--transform='s,^,src/,S')
		elif [ -d "$1" ]; then
			tar -C "$1" -cf - --exclude=./.git \
				--transform='s,^\.,src,S' .
		else
			echo "$1: neither a directory nor a tarball" >&2
			return 1
		fi ;;
	esac
}

# vg_source_unpack THING PATH DIR [TAR'S WORDS]: its tree, in DIR.
vg_source_unpack() {
	local thing="$1" path="$2" dir="$3" proof

	shift 3
	proof=$(vg_source_proof "$thing")
	mkdir -p "$dir"
	(set -o pipefail
	 vg_source_tar "$path" |
		tar -xf - -C "$dir" --strip-components=1 --no-same-owner "$@") &&
		[ -e "$dir/$proof" ] || {
		vg_apt_say "$path is no source of $thing: it has no $proof"
		return 1
	}
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	set -u
	case "${1:-}" in
	path) vg_source "${2:-}" ;;
	ways) vg_source_ways "${2:-}" ;;
	unpack)
		path=$(vg_source "$2") && vg_source_unpack "$2" "$path" "$3" ;;
	*)
		sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
		exit 2 ;;
	esac
fi
