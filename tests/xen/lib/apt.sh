#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian packages of other suites and architectures, without touching the
# host's apt: a private apt root per suite under the cache directory.  The
# mirror is read from the host's own apt configuration; only the suite's name
# is replaced.  Signatures are always checked: a suite whose key the host does
# not know yet is verified with the keyring package of the suite before it.
#
# Source it for the vg_apt_* functions, or run it:
#
#	apt.sh candidate SUITE ARCH PACKAGE		print the version
#	apt.sh deb SUITE ARCH PACKAGE			print the path of a cached .deb
#	apt.sh unpack SUITE ARCH PACKAGE DIR		unpack it over DIR
#	apt.sh closure SUITE ARCH PACKAGES...		print the paths of the .debs of
#							these and all they depend on
#	apt.sh source SUITE SOURCE GLOB			print the path of one file of a
#							source package, e.g. '*.orig.tar.*'
#	apt.sh known SOURCE FILE SHA256			the same for one that no index need
#							name any more
#	apt.sh kernel SUITE ARCH headers|all		print the .debs of the newest kernel
#							whose packages are all to be had
#	apt.sh depends SUITE ARCH PACKAGE		print its Depends, one name a line
#	apt.sh names SUITE ARCH REGEX			print matching package names
#	apt.sh sources SUITE				print sources.list lines
#	apt.sh suites					print the suites there are here,
#							oldest first (bookworm trixie ...)
#
# ARCH is arm64 or amd64 (packages of architecture "all" are found as either).
# VG_APT_MAX_AGE_MIN: lists older than this are fetched again (default a day).

vg_cache_dir() {
	local dir="${XDG_CACHE_HOME:-$HOME/.cache}/virtio-grant"

	mkdir -p "$dir" && printf '%s\n' "$dir"
}

vg_apt_say() {
	printf 'apt: %s\n' "$*" >&2
}

# The suites in use, oldest first.  "sid" stands for the newest there is.
VG_APT_SUITES="bookworm trixie forky sid"

# vg_apt_host_uri main|security: the host's URI of that archive.
vg_apt_host_uri() {
	local want="$1" uri release codename

	codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
	while read -r uri release; do
		case "$want:$release" in
		security:*-security)
			printf '%s\n' "$uri"; return 0 ;;
		main:"$codename"|main:bookworm|main:trixie|main:forky|main:sid|\
		main:stable|main:oldstable|main:testing|main:unstable)
			printf '%s\n' "$uri"; return 0 ;;
		esac
	done < <(apt-get indextargets \
		--format '$(REPO_URI) $(RELEASE)' \
		'Created-By: Packages' 'Component: main' 2>/dev/null | sort -u)
	return 1
}

# The keyring that signs the host's own Debian archive.
vg_apt_host_keyring() {
	local file

	for file in $(apt-get indextargets --format '$(SIGNED_BY)' \
			'Created-By: Packages' 'Component: main' 2>/dev/null |
			grep '^/.*debian-archive' | sort -u) \
		    /usr/share/keyrings/debian-archive-keyring.gpg \
		    /usr/share/keyrings/debian-archive-keyring.pgp; do
		if [ -r "$file" ]; then
			printf '%s\n' "$file"
			return 0
		fi
	done
	vg_apt_say "no Debian archive keyring on this host (package debian-archive-keyring)"
	return 1
}

vg_apt_root() {
	printf '%s/apt/%s\n' "$(vg_cache_dir)" "$1"
}

# vg_apt_sources SUITE [types]: sources.list lines without the host's sources.
vg_apt_sources() {
	local suite="$1" types="${2:-deb deb-src}" type main security keyring

	main=$(vg_apt_host_uri main) || {
		vg_apt_say "the host's apt names no Debian mirror"
		return 1
	}
	security=$(vg_apt_host_uri security) || security=
	keyring=$(vg_apt_root "$suite")/keyring.gpg
	for type in $types; do
		printf '%s [signed-by=%s] %s %s main\n' \
			"$type" "$keyring" "$main" "$suite"
		case "$suite" in
		bookworm|trixie)
			printf '%s [signed-by=%s] %s %s-updates main\n' \
				"$type" "$keyring" "$main" "$suite"
			[ -z "$security" ] ||
				printf '%s [signed-by=%s] %s %s-security main\n' \
					"$type" "$keyring" "$security" "$suite"
			;;
		esac
	done
}

# apt.conf of the private root.  Transport settings (proxies, certificates)
# are the host's; hooks, pinning and cache policy are not.
vg_apt_conf() {
	local root="$1" arch

	arch=$(dpkg --print-architecture)
	cat <<-EOC
	Dir "/";
	Dir::State "$root/state";
	Dir::State::status "$root/state/status";
	Dir::Cache "$root/cache";
	Dir::Etc::main "/dev/null";
	Dir::Etc::parts "$root/empty";
	Dir::Etc::sourcelist "$root/sources.list";
	Dir::Etc::sourceparts "$root/empty";
	Dir::Etc::preferences "/dev/null";
	Dir::Etc::preferencesparts "$root/empty";
	Dir::Etc::trusted "/dev/null";
	Dir::Etc::trustedparts "$root/empty";
	Dir::Log "$root/log";
	APT::Architecture "$arch";
	APT::Architectures { "arm64"; "amd64"; };
	APT::Install-Recommends "false";
	APT::Sandbox::User "$(id -un)";
	Acquire::Languages "none";
	Acquire::Retries "3";
	Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
	Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
	EOC
	apt-config dump 2>/dev/null |
		grep -E '^Acquire::(https?|ftp|tor)(::[^ ]*)? ".+";$' || true
}

vg_apt_get() {
	local suite="$1"

	shift
	APT_CONFIG="$(vg_apt_root "$suite")/apt.conf" apt-get "$@"
}

vg_apt_helper() {
	local suite="$1"

	shift
	APT_CONFIG="$(vg_apt_root "$suite")/apt.conf" \
		"${VG_APT_HELPER:-/usr/lib/apt/apt-helper}" "$@"
}

vg_apt_cache() {
	local suite="$1"

	shift
	APT_CONFIG="$(vg_apt_root "$suite")/apt.conf" apt-cache "$@"
}

# The suite whose keyring package vouches for the given one's archive key.
vg_apt_predecessor() {
	case "$1" in
	trixie) echo bookworm ;;
	forky|sid) echo trixie ;;
	*) return 1 ;;
	esac
}

vg_apt_update() {
	local suite="$1" root log

	root=$(vg_apt_root "$suite")
	log="$root/update.log"
	# apt-get update succeeds with a warning when an index cannot be had,
	# and that includes an unknown key: ask for errors.
	APT_CONFIG="$root/apt.conf" apt-get -o APT::Update::Error-Mode=any \
		-q update >"$log" 2>&1
}

# A mirror that stands still for a fortnight serves an "expired" Release file
# of the moving suites.  Take it, saying so: the date check guards against
# being kept from security updates, which a test rig can live without.  The
# signature check stays.
vg_apt_stale() {
	local suite="$1" root

	root=$(vg_apt_root "$suite")
	grep -q 'is expired' "$root/update.log" || return 1
	vg_apt_say "the mirror's copy of $suite is out of date;" \
		"using it all the same (signatures are still checked)"
	sed -i 's/\[signed-by=/[check-valid-until=no signed-by=/' \
		"$root/sources.list"
	vg_apt_update "$suite"
}

# vg_apt_init SUITE: make the private root and fetch the lists if they are old.
vg_apt_init() {
	local suite="$1" root before deb file

	root=$(vg_apt_root "$suite")
	mkdir -p "$root"
	(
		flock 9
		[ -z "$(find "$root/ready" -mmin \
			-"${VG_APT_MAX_AGE_MIN:-1440}" 2>/dev/null)" ] || exit 0
		mkdir -p "$root"/{state/lists/partial,cache/archives/partial,empty,log,debs}
		: >"$root/state/status"
		if [ ! -s "$root/keyring.gpg" ]; then
			file=$(vg_apt_host_keyring) || exit 1
			cp "$file" "$root/keyring.gpg" || exit 1
		fi
		vg_apt_conf "$root" >"$root/apt.conf"
		vg_apt_sources "$suite" >"$root/sources.list" || exit 1
		vg_apt_say "fetching the package lists of $suite"
		if ! vg_apt_update "$suite" && ! vg_apt_stale "$suite"; then
			if [ -e "$root/ready" ]; then
				vg_apt_say "no new lists of $suite; the old ones will do"
				touch "$root/ready"
				exit 0
			fi
			if ! grep -q NO_PUBKEY "$root/update.log" ||
			   ! before=$(vg_apt_predecessor "$suite"); then
				vg_apt_say "cannot use suite $suite:"
				grep -E '^(E|W|Err)' "$root/update.log" >&2
				exit 1
			fi
			vg_apt_say "$suite is signed by a key this host lacks;" \
				"taking debian-archive-keyring of $before"
			deb=$(vg_apt_deb "$before" amd64 debian-archive-keyring) || exit 1
			rm -rf "$root/keys" && mkdir "$root/keys"
			dpkg-deb -x "$deb" "$root/keys" || exit 1
			for file in "$root"/keys/usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
				[ -s "$file" ] || continue
				cp -L "$file" "$root/keyring.gpg"
			done
			rm -rf "$root/keys"
			if ! vg_apt_update "$suite" && ! vg_apt_stale "$suite"; then
				vg_apt_say "cannot use suite $suite:"
				grep -E '^(E|W|Err)' "$root/update.log" >&2
				exit 1
			fi
		fi
		touch "$root/ready"
	) 9>"$root/.lock"
}

# vg_apt_suites: those suites that the host's mirror has.
vg_apt_suites() {
	local suite

	for suite in $VG_APT_SUITES; do
		vg_apt_init "$suite" 2>/dev/null && printf '%s\n' "$suite"
	done
	return 0
}

# vg_apt_newest: the newest suite there is here.
vg_apt_newest() {
	local suite

	for suite in sid forky trixie bookworm; do
		if vg_apt_init "$suite" 2>/dev/null; then
			printf '%s\n' "$suite"
			return 0
		fi
	done
	return 1
}

# vg_apt_show SUITE ARCH PACKAGE FIELD: a field of the candidate's record.
vg_apt_show() {
	vg_apt_init "$1" || return 1
	vg_apt_cache "$1" show --no-all-versions "$3:$2" 2>/dev/null |
		sed -n "s/^$4: //p" | head -n 1
}

# vg_apt_candidate SUITE ARCH PACKAGE: the candidate's version, or status 1.
vg_apt_candidate() {
	local version

	vg_apt_init "$1" || return 1
	version=$(vg_apt_cache "$1" policy "$3:$2" 2>/dev/null |
		sed -n 's/^  Candidate: //p')
	case "$version" in
	''|'(none)') return 1 ;;
	esac
	printf '%s\n' "$version"
}

# vg_apt_names SUITE ARCH REGEX: names (egrep, whole name) available there.
vg_apt_names() {
	vg_apt_init "$1" || return 1
	vg_apt_cache "$1" dumpavail 2>/dev/null | awk -v arch="$2" -v re="^($3)\$" '
		/^Package: / { name = $2; a = "" }
		/^Architecture: / { a = $2 }
		/^$/ { if ((a == arch || a == "all") && name ~ re) print name }' |
		sort -uV
}

# vg_apt_depends SUITE ARCH PACKAGE: names it depends on (first alternative).
vg_apt_depends() {
	vg_apt_show "$1" "$2" "$3" Depends | tr ',' '\n' |
		sed -e 's/|.*//' -e 's/(.*//' -e 's/:any//' -e 's/ //g' -e '/^$/d'
}

# vg_apt_remembered FUNCTION SUITE ARGS...: what vg_apt_find_FUNCTION found since
# the suite's lists were fetched; asking apt takes seconds.
vg_apt_remembered() {
	local function="$1" suite="$2" root memo file found=1

	shift
	vg_apt_init "$suite" || return 1
	root=$(vg_apt_root "$suite")
	memo="$root/memo/$(printf '%s\n' "$function" "$@" | sha256sum | cut -c 1-24)"
	mkdir -p "$root/memo"
	if [ "$memo" -nt "$root/ready" ]; then
		while read -r file; do
			[ -s "$file" ] || found=
		done <"$memo"
		if [ -n "$found" ]; then
			cat "$memo"
			return 0
		fi
	fi
	if "vg_apt_find_$function" "$@" >"$memo.$$"; then
		mv "$memo.$$" "$memo"
		cat "$memo"
	else
		rm -f "$memo.$$"
		return 1
	fi
}

# vg_apt_fetch SUITE URI NAME HASH: path of a file in the cache.
vg_apt_fetch() {
	local root file

	root=$(vg_apt_root "$1")
	file="$root/debs/$3"
	if [ ! -s "$file" ]; then
		# A file that was missing an hour ago need not be asked for again.
		[ -z "$(find "$file.missing" -mmin -60 2>/dev/null)" ] || {
			vg_apt_say "cannot download $3: the mirror did not have it" \
				"at $(date -r "$file.missing" +%H:%M)"
			return 1
		}
		if ! vg_apt_helper "$1" download-file "$2" "$file.$$" "$4" \
				>"$file.$$.log" 2>&1; then
			vg_apt_say "cannot download $3:" \
				"$(grep -E '^(E:|  )' "$file.$$.log" | head -n 1)"
			# A network that was down says nothing about the file.
			! grep -qE '404|not found' "$file.$$.log" ||
				touch "$file.missing"
			rm -f "$file.$$" "$file.$$.log"
			return 1
		fi
		rm -f "$file.$$.log"
		mv "$file.$$" "$file"
	fi
	printf '%s\n' "$file"
}

# vg_apt_refresh SUITE: fetches the lists again, unless they are of these last ten
# minutes.  Files go from a mirror when newer ones come: what can't be downloaded
# may have another name now.
vg_apt_refresh() {
	local root

	root=$(vg_apt_root "$1")
	[ -z "$(find "$root/ready" -mmin -"${VG_APT_REFRESH_MIN:-10}" \
		2>/dev/null)" ] || return 1
	VG_APT_MAX_AGE_MIN=0 vg_apt_init "$1"
}

# A mirror may lack the newest version's files (its security half often lags
# behind): the functions below try older versions in turn, and say so.

# vg_apt_deb SUITE ARCH PACKAGE: path of the .deb in the cache.
vg_apt_deb() {
	vg_apt_remembered "deb" "$@"
}

vg_apt_find_deb() {
	vg_apt_look_for_deb "$@" ||
		{ vg_apt_refresh "$1" && vg_apt_look_for_deb "$@"; }
}

vg_apt_look_for_deb() {
	local suite="$1" arch="$2" package="$3" version uri name size hash found=

	vg_apt_init "$suite" || return 1
	while read -r version; do
		read -r uri name size hash < <(vg_apt_get "$suite" -qq \
			--print-uris download "$package:$arch=$version" 2>/dev/null)
		[ -n "$uri" ] || continue
		found=1
		uri=${uri#\'}
		vg_apt_fetch "$suite" "${uri%\'}" "$name" "$hash" && return 0
	done < <(vg_apt_cache "$suite" madison "$package:$arch" 2>/dev/null |
		awk -F' *[|] *' '{ print $2 }' | uniq)
	[ -n "$found" ] ||
		vg_apt_say "$suite has no package $package for $arch"
	return 1
}

# vg_apt_unpack SUITE ARCH PACKAGE DIR
vg_apt_unpack() {
	local deb

	deb=$(vg_apt_deb "$1" "$2" "$3") || return 1
	mkdir -p "$4" && dpkg-deb -x "$deb" "$4"
}

# vg_apt_closure SUITE ARCH PACKAGES...: paths of the .debs of the packages and
# of all they depend on, as if installed on an empty system.
vg_apt_closure() {
	vg_apt_remembered "closure" "$@"
}

vg_apt_find_closure() {
	local suite="$1" arch="$2" uri name size hash list

	shift 2
	vg_apt_init "$suite" || return 1
	list=$(vg_apt_get "$suite" -o APT::Architecture="$arch" \
		-o APT::Architectures= -o APT::Architectures::="$arch" \
		-qq --print-uris -y install "$@" 2>&1) || {
		printf '%s\n' "$list" | grep '^E:' >&2
		return 1
	}
	while read -r uri name size hash; do
		case "$uri" in
		\'*) ;;
		*) continue ;;
		esac
		uri=${uri#\'}
		vg_apt_fetch "$suite" "${uri%\'}" "$name" "$hash" ||
			vg_apt_deb "$suite" "$arch" "${name%%_*}" || return 1
	done <<<"$list"
}

# vg_apt_source SUITE SOURCE GLOB: path of the one file of a source package
# that matches.  Files are fetched singly, since a mirror may lack the .dsc and
# have the rest; the hash is the signed index's.
vg_apt_source() {
	vg_apt_remembered "source" "$@"
}

vg_apt_find_source() {
	vg_apt_look_for_source "$@" ||
		{ vg_apt_refresh "$1" && vg_apt_look_for_source "$@"; }
}

vg_apt_look_for_source() {
	local suite="$1" source="$2" glob="$3" version uri name size hash found=

	vg_apt_init "$suite" || return 1
	while read -r version; do
		while read -r uri name size hash; do
			# shellcheck disable=SC2254 # the glob is meant as one
			case "$name" in
			$glob) ;;
			*) continue ;;
			esac
			found=1
			uri=${uri#\'}
			vg_apt_fetch "$suite" "${uri%\'}" "$name" "$hash" &&
				return 0
		done < <(vg_apt_get "$suite" -qq --print-uris --download-only \
			source "$source=$version" 2>/dev/null)
	done < <(vg_apt_cache "$suite" showsrc --only-source "$source" 2>/dev/null |
		sed -n 's/^Version: //p' | sort -urV)
	[ -n "$found" ] ||
		vg_apt_say "$suite has no file '$glob' of source package $source"
	return 1
}

# vg_apt_known SOURCE FILE SHA256: path of a source file that an index need not
# name any more, from the pool of the host's mirror.
vg_apt_known() {
	local suite main dir

	suite=$(vg_apt_newest) && main=$(vg_apt_host_uri main) || {
		vg_apt_say "no suite of the mirror can be used"
		return 1
	}
	case "$1" in
	lib?*) dir="${1:0:4}/$1" ;;
	*) dir="${1:0:1}/$1" ;;
	esac
	vg_apt_fetch "$suite" "${main%/}/pool/main/$dir/$2" "$2" "SHA256:$3"
}

# vg_apt_kernel SUITE ARCH headers|all: paths of the .debs of the newest kernel of
# that suite whose packages are all to be had: its headers, what they depend on and,
# if asked for, its image and modules.  The first is that of the headers.  ARCH may
# name one of Debian's flavours, too: arm64-16k.
vg_apt_kernel() {
	vg_apt_remembered "kernel" "$@"
}

vg_apt_find_kernel() {
	local suite="$1" flavour="$2" arch="${2%%-*}" newest release

	newest=$(vg_apt_depends "$suite" "$arch" "linux-headers-$flavour" |
		sed -n 's/^linux-headers-//p' | head -n 1)
	[ -n "$newest" ] || {
		vg_apt_say "$suite has no kernel for $flavour"
		return 1
	}
	vg_apt_kernel_debs "$suite" "$arch" "$3" "$newest" && return 0
	# Older ones of the same series: bookworm's security has others, too.
	while read -r release; do
		[ "$release" != "$newest" ] || continue
		vg_apt_say "$suite: trying the kernel $release for $flavour"
		vg_apt_kernel_debs "$suite" "$arch" "$3" "$release" && return 0
	done < <(vg_apt_names "$suite" "$arch" \
			"linux-headers-$(sed -E 's/^([0-9]+[.][0-9]+).*/\1/' \
				<<<"$newest")[.][^-]*(-[0-9]+)?-$flavour" |
		sed 's/^linux-headers-//' | sort -rV)
	vg_apt_say "$suite: no kernel for $flavour of which the mirror has all packages"
	return 1
}

# vg_apt_kernel_debs SUITE ARCH headers|all RELEASE.  The programs among the headers
# run on this machine.
vg_apt_kernel_debs() {
	local suite="$1" arch="$2" what="$3" release="$4" word deb debs words host

	host=$(dpkg --print-architecture)
	words="$arch:linux-headers-$release
		$(vg_apt_depends "$suite" "$arch" "linux-headers-$release" |
			sed -nE "s/^linux-(headers-.*-common|kbuild-)/$host:&/p")"
	# Newer releases have image and modules in packages of their own.
	[ "$what" = headers ] || words+="
		$arch:linux-image-$release
		$(vg_apt_depends "$suite" "$arch" "linux-image-$release" |
			sed -nE "s/^linux-(base|binary|modules)-[0-9]/$arch:&/p")"
	debs=
	for word in $words; do
		deb=$(vg_apt_deb "$suite" "${word%%:*}" "${word#*:}") || return 1
		debs+="$deb"$'\n'
	done
	printf '%s' "$debs"
}

# vg_apt_kernel_release DEBS: what its headers' package says.
vg_apt_kernel_release() {
	sed -nE '1s,.*/linux-headers-(.*)_[^_]*_[^_]*\.deb$,\1,p' <<<"$1"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	set -u
	command="${1:-}"
	[ $# -eq 0 ] || shift
	case "$command" in
	candidate|deb|unpack|source|known|kernel|closure|depends|names|sources|suites|newest|show)
		"vg_apt_$command" "$@" ;;
	*)
		sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
		exit 2 ;;
	esac
fi
