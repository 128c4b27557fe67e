#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the modules for every kernel that is promised, with W=1 and sparse;
# any warning is a failure.  One line per kernel and architecture.
#
#	check-build.sh [KERNEL/ARCH...]		e.g. 6.12/amd64; default: all
#	check-build.sh style			checkpatch only
#
# The last line is "N passed, N failed".  Logs: build/kernel-check/*/log.

set -u -o pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
# shellcheck source=SCRIPTDIR/../tests/xen/lib/common.sh
. "$top/tests/xen/lib/common.sh"
# shellcheck source=SCRIPTDIR/headers.sh
. "$here/headers.sh"

passed=0 failed=0 skipped=0

# What sparse up to 0.6.4 does not know and newer kernels' headers use.
sparse_flags=
shim="$top/build/kernel-check/sparse.h"
if printf '%s\n' 'static inline int u(const int *q) { __typeof_unqual__(*q) v = *q; return v; }' \
		'_Static_assert(__builtin_strlen("a") == 1, "");' |
		sparse - 2>&1 | grep error >/dev/null; then
	mkdir -p "${shim%/*}"
	printf '#define __typeof_unqual__ __typeof__\n' >"$shim"
	printf '#define __builtin_strlen(s) (sizeof(s) - 1)\n' >>"$shim"
	sparse_flags="-include $shim"
fi

verdict() {
	case "$1" in
	PASS) passed=$((passed + 1)) ;;
	FAIL) failed=$((failed + 1)) ;;
	SKIP) skipped=$((skipped + 1)) ;;
	esac
	printf '%s %s\n' "$1" "$2"
}

# suite_of KERNEL ARCH
suite_of() {
	case "$1" in
	6.1) echo bookworm ;;
	6.12|6.12-16k) echo trixie ;;
	newest) vg_headers_newest "$2" ;;
	*) return 1 ;;
	esac
}

# Warnings of the kernel's own making: this compiler is not the one that the
# kernel was built with, and there is no type information for BPF.
expected='^warning: the compiler differs|^  The kernel was built by|^  You are using|
^Skipping BTF generation|^warning: pahole version differs|^  The kernel was built with'
expected=$(printf '%s' "$expected" | tr -d '\n')

check() {
	local kernel="${1%/*}" arch="${1#*/}" suite kdir version out

	# Debian's flavour with pages of 16 KiB.
	[ "$kernel" != 6.12-16k ] || arch="$arch-16k"
	suite=$(suite_of "$kernel" "$arch") || {
		verdict FAIL "$1: no such kernel is to be had"
		return
	}
	kdir=$(vg_headers "$suite" "$arch") || {
		verdict FAIL "$1: no headers"
		return
	}
	version=$(vg_headers_version "$suite" "$arch")
	out="$top/build/kernel-check/$version"
	rm -rf "$out" && mkdir -p "$out"
	if ! vg_headers_make "$kdir" "$arch" "$out" W=1 C=1 CF="$sparse_flags" \
			>"$out/log" 2>&1; then
		verdict FAIL "$1 ($version): does not build, see $out/log"
	elif grep -vE "$expected" "$out/log" | grep -q .; then
		grep -vE "$expected" "$out/log" | head -n 5 >&2
		verdict FAIL "$1 ($version): warnings, see $out/log"
	elif [ ! -s "$out/virtio_grant_dma.ko" ] ||
	     [ ! -s "$out/virtio_grant_mmio.ko" ]; then
		verdict FAIL "$1 ($version): a module is missing"
	else
		verdict PASS "$1 ($version) W=1 C=1"
	fi
}

unpack_checkpatch() {
	vg_source_unpack linux "$1" "$2" --wildcards '*/scripts/checkpatch.pl' \
		'*/scripts/spelling.txt' '*/scripts/const_structs.checkpatch'
}

# It leaves a file of names where it is run.
checkpatch() {
	(cd "$top/build/kernel-check" && exec perl "$@")
}

style() {
	local source script log="$top/build/kernel-check/style.log"

	# Debian's packages of headers do not have it.
	source=$(vg_source linux) &&
		script=$(vg_cached checkpatch "$(vg_key "with scripts" "$(vg_source_key "$source")")" \
			unpack_checkpatch "$source")/scripts/checkpatch.pl || {
		verdict FAIL "style: no checkpatch.pl"
		return
	}
	mkdir -p "${log%/*}"
	# compat.h is made of version checks and adapting macros.  Elsewhere:
	# our DMA operations are per pool, attributes are made by a macro, and
	# Xen's names are as they are.
	if checkpatch "$script" --no-tree --strict --quiet --terse \
			--ignore LINUX_VERSION_CODE,CONSTANT_COMPARISON \
			--ignore MACRO_ARG_UNUSED,LINE_SPACING,EXPORT_SYMBOL \
			-f "$here/compat.h" >"$log" 2>&1 &&
	   checkpatch "$script" --no-tree --strict --quiet --terse \
			--ignore CONST_STRUCT,MACRO_ARG_REUSE \
			--ignore LINE_SPACING,PREFER_KERNEL_TYPES,CAMELCASE -f \
			"$here"/virtio_grant*.[ch] "$here"/*/*.[ch] >>"$log" 2>&1; then
		verdict PASS "style (checkpatch)"
	else
		head -n 20 "$log" >&2
		verdict FAIL "style (checkpatch), see $log"
	fi
}

for tool in $vg_headers_tools sparse perl; do
	command -v "$tool" >/dev/null || {
		printf 'check-build: needs %s (packages gcc-aarch64-linux-gnu make flex bison sparse perl)\n' \
			"$tool" >&2
		exit 1
	}
done

if [ "${1:-}" = style ]; then
	style
else
	if [ $# -eq 0 ]; then
		set -- 6.1/arm64 6.1/amd64 6.12/arm64 6.12/amd64 \
			6.12-16k/arm64 newest/arm64 newest/amd64
		style
	fi
	for target; do
		check "$target"
	done
fi
printf '%d passed, %d failed%s\n' "$passed" "$failed" \
	"$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
[ "$failed" -eq 0 ]
