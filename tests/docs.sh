#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# docs.sh - what can be seen of the documents without understanding them: a link
# or a name of what is not there (any more), a table that is torn, and what a
# merge has left.  Says where.
#
#	docs.sh [FILE.md...]

cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- $(git ls-files '*.md' 2>/dev/null ||
	find . -name '*.md' ! -path './build/*' | sed 's|^\./||')
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
all=$tmp/all words=$tmp/words n=$tmp/n
{ git ls-files 2>/dev/null || find . -type f ! -path './build/*' |
	sed 's|^\./||'; } >"$all"

# What the documents name of Linux and Xen.
foreign="dma_map_page_attrs dma_map_phys domain_comms drivers/xen/privcmd.c
	hvc_alloc init_port_console manage_domain virtio_net.c virtio_ring.c
	vm_map_pages_zero"
is_foreign() {
	for name_ in $foreign; do
		[ "$1" != "$name_" ] || return 0
	done
	return 1
}

bad() {
	echo "$*"
	echo >>"$n"
}

# In all files, so this pattern must not find itself.
found=$(tr '\n' '\0' <"$all" | xargs -0 grep -nIE '^(<{7}|>{7}) ')
[ -z "$found" ] || bad "$found: a merge has left this"

# torn FILE: a line of a table that is none.
torn() {
	awk '
	/^ *\|[-|: ]*---[-|: ]*\|$/ { in_table = 1; next }
	/^[ \t]*$/ { in_table = 0 }
	in_table && !/^ *\|/ {
		print FILENAME ":" FNR ": in a table, and not of it"
		in_table = 0
	}' "$1"
}

# has_heading FILE ANCHOR
has_heading() {
	sed -n 's/^##* *//p' "$1" | tr 'A-Z' 'a-z' |
		sed 's/[^a-z0-9 _-]//g; s/ /-/g' | grep -qxF -- "$2"
}

# Names of functions, once for all documents.
grep -E '\.([ch]|sh|py|mk|dts|patch)$' "$all" | tr '\n' '\0' |
	xargs -0 grep -hoE '[A-Za-z_][A-Za-z0-9_]*' | sort -u >"$words"

for doc; do
	torn=$(torn "$doc")
	[ -z "$torn" ] || bad "$torn"
	dir=$(dirname "$doc")

	for link in $(grep -oE '\]\([^)# ]*(#[^) ]*)?\)' "$doc" |
			sed 's/^](//; s/)$//'); do
		case $link in
		*://* | mailto:*) continue ;;
		esac
		file=${link%%#*}
		[ -e "$dir/${file:-$(basename "$doc")}" ] || {
			bad "$doc: no such file: $link"
			continue
		}
		case $link in
		*#*)
			has_heading "$dir/${file:-$(basename "$doc")}" "${link#*#}" ||
				bad "$doc: no such heading: $link" ;;
		esac
	done

	# What is in fences is for a shell, or somebody else's.
	text=$(awk '/^```/ { off = !off; next } !off' "$doc")
	for name in $(printf '%s\n' "$text" |
			grep -oE '`[A-Za-z_][A-Za-z0-9_]*\(\)`' | tr -d '`()' | sort -u); do
		grep -qxF "$name" "$words" || is_foreign "$name" ||
			bad "$doc: no such function: $name()"
	done
	# A path may begin in the part that the document is about.
	for name in $(printf '%s\n' "$text" |
			grep -oE '`[A-Za-z0-9_][A-Za-z0-9_./-]*\.(c|h|sh|mk|md)`' |
			tr -d '`' | grep -v NAME | sort -u); do
		is_foreign "$name" || grep -qE "(^|/)$(echo "$name" | sed 's/\./\\./g')\$" "$all" ||
			bad "$doc: no such file: $name"
	done
done
[ ! -s "$n" ]
