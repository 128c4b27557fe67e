#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh - is the specification draft what kernel/uapi/virtio_grant.h says,
# and whole in itself?
#
# One line per check, "PASS ...", "FAIL ..." or "SKIP ..."; exit status 1 if one
# failed.  Needs no network, and no more than a few seconds.  What is for Xen
# itself, xen/check.sh checks.
#
# UAPI, TEX, PATCH: other files than the project's (to see a check fail).
# VIRTIO_SPEC: a git work tree of the specification, for what needs one.

set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
uapi=${UAPI:-$here/../kernel/uapi/virtio_grant.h}
tex=${TEX:-$here/virtio/xen-grants.tex}
patch=${PATCH:-$here/virtio/0001-xen-grants-hook-in.patch}
failed=0

# verdict WHAT [COMPLAINT]: passed if there is nothing to complain about.
verdict() {
	if [ -z "${2:-}" ]; then
		echo "PASS spec: $1"
	else
		failed=1
		echo "FAIL spec: $1: $(tr -s '\n' ';' <<<"$2" | sed 's/;$//; s/;/; /g')"
	fi
}

for f in "$uapi" "$tex" "$patch"; do
	[ -s "$f" ] && continue
	verdict "the files are there" "no $f"
	exit 1
done

# differences UAPI DRAFT: what only one of two sorted lists has, with its origin.
differences() {
	comm -3 "$1" "$2" | sed 's/^\t/only in the draft: /; t; s/^/only in uapi: /'
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

# ---- constants ---------------------------------------------------------------

# "#define" lines of constants: their names and values (hexadecimal), sorted.
# Shell arithmetic looks names up by itself; casts and suffixes it can't read.
constants() {
	sed -nE 's/^#define[ \t]+(VIRTIO_GRANT_[A-Z_]+)[ \t]+([^/]+).*/\1 \2/p' "$1" |
		sed -E 's/\(virtio_grant_u(32|64)\)//g; s/([0-9a-f])U?LL\b/\1/g' | (
		names=()
		while read -r name expr; do
			[[ $expr =~ ^[A-Za-z0-9_\(\)\<\ -]+$ ]] || expr=-1
			printf -v "$name" '(%s)' "$expr"
			names+=("$name")
		done
		for name in "${names[@]}"; do
			printf '%s = 0x%x\n' "$name" $((name))
		done
	) | sort
}

constants "$uapi" | grep -v _MMIO_ >"$tmp/uapi.const"
constants "$tex" >"$tmp/tex.const"
n=$(wc -l <"$tmp/uapi.const")
why=$(differences "$tmp/uapi.const" "$tmp/tex.const")
[ "$n" -gt 0 ] || why="found none"
verdict "$n constants have the values of uapi" "$why"

# Whatever the text mentions exists; a name ending early stands for its family.
why=$(grep -oE 'VIRTIO_GRANT_[A-Z_]+[A-Z]' "$tex" | sort -u |
	while read -r name; do
		grep -qE "^${name}(_[A-Z_]+)? =" "$tmp/tex.const" ||
			echo "$name is not defined"
	done)
verdict "the text mentions no other constant" "$why"

why=$(grep -oE 'VIRTIO_GRANT_(RANGE|QUEUE)_[A-Z_]+' "$tmp/uapi.const" |
	while read -r name; do
		grep -qF "\\item[$name]" "$tex" || echo "$name"
	done)
verdict "every state is described" "$why"

# ---- registers -----------------------------------------------------------------

# RANGE_FIRST is GrantRangeFirst in the manner of the specification.
# Offsets from the definitions, directions from the table in the comment.
sed -nE 's/^#define[ \t]+VIRTIO_GRANT_MMIO_([A-Z_]+)[ \t]+(0x[0-9a-f]+).*/\1 \2/p' \
	"$uapi" | while read -r name offset; do
	dir=$(sed -nE "s/^ \*\t$name\t+(RW|R|W)\t.*/\1/p" "$uapi")
	echo "$(sed -E 's/(^|_)([A-Z])([A-Z]*)/\2\L\3/g; s/^/Grant/' <<<"$name") $offset ${dir:-?}"
done | sort >"$tmp/uapi.reg"
sed -nE 's/.*\\mmioreg\{(Grant[A-Za-z]+)\}\{[^}]*\}\{(0x[0-9a-f]+)\}\{([RW]+)\}.*/\1 \2 \3/p' \
	"$tex" | sort >"$tmp/tex.reg"
n=$(wc -l <"$tmp/uapi.reg")
why=$(differences "$tmp/uapi.reg" "$tmp/tex.reg")
[ "$n" -gt 0 ] || why="found none"
verdict "$n registers have the offsets and directions of uapi" "$why"

why=$(grep -oE '\\field\{Grant[A-Za-z]+\}' "$tex" "$patch" -h | sort -u |
	sed -E 's/.*\{(.*)\}/\1/' | while read -r name; do
		grep -q "^$name " "$tmp/tex.reg" || echo "no register $name"
	done)
verdict "the text mentions no other register" "$why"

magic=$(sed -n 's/^VIRTIO_GRANT_MAGIC = //p' "$tmp/uapi.const")
why=$(grep -A1 'mmioreg{GrantMagic}' "$tex" | grep -qF "${magic:-?}" ||
	echo "not ${magic:-?}")
verdict "the magic value in the table is that of uapi" "$why"

# ---- LaTeX -----------------------------------------------------------------------

# Comments and listings are not looked into.
why=$(awk '
	/^[ \t]*%/ { next }
	{ gsub(/\\[{}%]/, ""); sub(/%.*/, "") }
	match($0, /\\end\{[a-z]+\}/) {
		env = substr($0, RSTART + 5, RLENGTH - 6)
		if (depth == 0 || stack[depth--] != env)
			print "line " NR ": \\end{" env "} ends nothing"
	}
	depth && stack[depth] == "lstlisting" { next }
	{ braces += gsub(/\{/, "{") - gsub(/\}/, "}") }
	/[&#]/ && !/ & |\\hline/ { print "line " NR ": stray & or #" }
	match($0, /\\begin\{[a-z]+\}/) {
		stack[++depth] = substr($0, RSTART + 7, RLENGTH - 8)
	}
	END {
		while (depth)
			print "\\begin{" stack[depth--] "} has no end"
		if (braces)
			print "braces: " braces " too many opened"
	}' "$tex")
verdict "environments and braces match" "$why"

# Labels go over line ends, as in the specification itself.
{ grep -v '^%' "$tex"; sed -n 's/^+//p' "$patch"; } | tr -s '\n\t ' ' ' >"$tmp/text"
{
	grep -oE '\\label\{[^}]+\}' "$tmp/text" | sed 's/^\\label{//'
	grep -oE '\\(driver|device)normative\{[^}]+\}\{[^}]+\}\{[^}]+\}' "$tmp/text" |
		sed -E 's/^\\(driver|device)normative.*\{/\1normative:/'
} | sed 's/}$//' | sort >"$tmp/labels"
grep -oE '\\(ref|nameref)\{[^}]+\}|\\hyperref\[[^]]+\]' "$tmp/text" |
	sed -E 's/^\\[a-z]+[[{]//; s/[]}]$//' | sort -u >"$tmp/refs"

why=$(uniq -d "$tmp/labels")
verdict "no label twice" "$why"
why=$(comm -13 "$tmp/labels" "$tmp/refs" | grep -E 'Xen|intro:' )
verdict "references to the new text have a target" "$why"

sed -n 's/^+\\item \\ref{\(.*normative:.*\)}$/\1/p' "$patch" | sort >"$tmp/targets"
grep normative: "$tmp/labels" >"$tmp/normative"
why=$(comm -3 "$tmp/targets" "$tmp/normative" | tr -d '\t')
[ -s "$tmp/targets" ] || why="found none"
verdict "conformance clauses list exactly the normative sections" "$why"

why=$(git apply --numstat "$patch" 2>&1 >"$tmp/numstat") || why=${why:-broken}
verdict "the patch is well-formed ($(wc -l <"$tmp/numstat") files)" "$why"

# ---- against the specification itself -----------------------------------------------

if [ -n "${VIRTIO_SPEC:-}" ]; then
	why=$(git -C "$VIRTIO_SPEC" apply --check "$(realpath "$patch")" 2>&1)
	verdict "the patch applies" "$why"
	cat "$VIRTIO_SPEC"/*.tex | tr -s '\n\t ' ' ' |
		grep -oE '\\label\{[^}]+\}|\\(driver|device)normative\{[^}]+\}\{[^}]+\}\{[^}]+\}' |
		sed -E 's/^\\label\{//; s/^\\(driver|device)normative.*\{/\1normative:/; s/\}$//' |
		sort -u - "$tmp/labels" >"$tmp/all"
	why=$(comm -13 "$tmp/all" "$tmp/refs")
	verdict "all references have a target" "$why"
else
	echo "SKIP spec: the patch against the specification (VIRTIO_SPEC is not set)"
fi

if command -v xelatex >/dev/null; then
	echo "SKIP spec: typesetting (takes longer than this check: spec/virtio/README.md)"
else
	echo "SKIP spec: typesetting was not run (no xelatex)"
fi

"$here/xen/check.sh" || failed=1
exit $failed
