#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# check.sh - everything that `make check` is: unit tests over the in-memory
# Xen, the programs and what they link, the modules for every promised kernel,
# the scenarios on real Xen.
#
# check.sh long - what `make check-long` is, beside that: the scenarios that say
# "# rig: long", those under FLASK, kills under load, the attacker in full, the
# comparison, the unit tests with clang, half an hour of libFuzzer.  Hours.
#
# Each target that `make help` lists is run by one of the two: targets_are_run()
# looks.
#
# A part that fails does not keep the others from running; a scenario that fails
# is run a second time and named if that passes (tests/xen/run-all.sh).  Ends with every
# failure and skip by name, then the line "N passed, N failed[, N skipped]".
# Exit status: 0 only if something passed and nothing failed.
#
# CHECK_PARTS: which parts, instead of all.

set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
export TZ=UTC

case "${1:-}" in
'') parts='unit fuzz sandbox rig programs install units spec kernel xen' ;;
long) parts='clang fuzz_long bench xen_long flask torture isolation compare shell' ;;
*)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
	exit 2 ;;
esac

passed=0 failed=0 skipped=0
notes=''
began=$SECONDS

say() {
	printf '%4d s  %s\n' $((SECONDS - began)) "$*"
}

good() {
	passed=$((passed + 1))
	say "PASS $*"
}

bad() {
	failed=$((failed + 1))
	notes+="  FAIL $*"$'\n'
	say "FAIL $*"
}

skip() {
	skipped=$((skipped + 1))
	notes+="  SKIP $*"$'\n'
	say "SKIP $*"
}

# add PASSED FAILED SKIPPED
add() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + ${3:-0}))
}

# try NAME COMMAND...: one test; its output is kept and shown if it fails.
try() {
	local name="$1" log="build/check/${1//[^a-zA-Z0-9]/-}.log"

	shift
	# What takes minutes, says so.
	"$@" 2>&1 | tee "$log" |
		sed -nu -E 's/^(rig|build|build-kernel|deps|apt): /        &/p'
	if [ "${PIPESTATUS[0]}" -eq 0 ]; then
		good "$name"
	else
		tail -n 40 "$log"
		bad "$name (log: $log)"
	fi
}

# watch NAME COMMAND...: the same for what takes long and says how far it is.
watch() {
	local name="$1" log="build/check/${1//[^a-zA-Z0-9]/-}.log"

	shift
	say "$name"
	"$@" 2>&1 | tee "$log"
	if [ "${PIPESTATUS[0]}" -eq 0 ]; then
		good "$name"
	else
		bad "$name (log: $log)"
	fi
}

# unit_tests WORD...: `make check-unit`, told these.
unit_tests() {
	local line

	sh tests/unit/deps.sh || {
		bad "unit tests: their packages can't be installed"
		return
	}
	rm -f build/unit*/summary
	make --no-print-directory -s -j2 check-unit "$@" 2>&1 |
		tee build/check/unit.log
	line=$(cat build/unit*/summary 2>/dev/null)
	if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
		add "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[4]:-0}"
		notes+=$(grep -E '^(FAIL|SKIP) ' build/check/unit.log |
			sed 's/^/  /')${notes:+}
		notes=${notes%$'\n'}${notes:+$'\n'}
	else
		bad "unit tests do not build or run (log: build/check/unit.log)"
	fi
}

# Its sanitizers see what gcc's do not.
part_clang() {
	say "unit tests (ASan, UBSan of clang)"
	if sh tests/fuzz/deps.sh && clang_has_fuzzer; then
		unit_tests UNIT_CC=clang UNIT_BUILD=build/unit-clang
	else
		skip "unit tests with clang: none with its sanitizers is to be had"
	fi
}

part_unit() {
	say "unit tests (ASan, UBSan) over the in-memory Xen"
	unit_tests
	sh tests/bench/deps.sh || {
		bad "benchmark: its packages can't be installed"
		return
	}
	try "what a request takes: instructions, hypercalls, allocations" \
		make --no-print-directory -j2 check-bench
}

clang_has_fuzzer() {
	echo 'int LLVMFuzzerTestOneInput(const char *p, long n) { return 0; }' |
		clang -fsanitize=fuzzer,address -x c - -o build/check/has-fuzzer
}

part_fuzz() {
	say "a device driven by bytes"
	sh tests/unit/deps.sh || {
		bad "fuzzing: its packages can't be installed"
		return
	}
	try "fuzzing, inputs from a fixed seed" \
		make --no-print-directory -s -j2 fuzz-alone
}

# libFuzzer begins with no more than the seeds: seconds of it are not worth what clang
# takes to be installed and to compile all of the backend.
part_fuzz_long() {
	part_fuzz
	if sh tests/fuzz/deps.sh && clang_has_fuzzer; then
		try "fuzzing, half an hour under libFuzzer" \
			make --no-print-directory fuzz FUZZ_SECONDS=1800
	else
		skip "fuzzing under libFuzzer: no clang with it is to be had"
	fi
}

part_bench() {
	sh tests/bench/deps.sh || {
		bad "benchmark: its packages can't be installed"
		return
	}
	watch "the benchmark" make --no-print-directory bench
}

# What virtio-grantd may link is part of the design.
grantd_links() {
	local needed lib

	needed=$(aarch64-linux-gnu-readelf -d build/arm64/virtio-grantd |
		sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p') || return 1
	echo "$needed"
	[ -n "$needed" ] || return 1
	for lib in libxenforeignmemory libxendevicemodel libxenctrl libxencall \
		libxenguest libxenlight; do
		! grep -q "^$lib\." <<<"$needed" || {
			echo "virtio-grantd links $lib"
			return 1
		}
	done
	! grep -q privcmd build/arm64/virtio-grantd || {
		echo "virtio-grantd mentions privcmd"
		return 1
	}
}

# Rule 1 of the code: Xen's headers are included in backend/xen/ only.
xen_headers_stay() {
	! grep -rnE '#include <xen(/|gnttab|evtchn|store|devicemodel|foreignmemory|ctrl|call|toolcore)' \
		--include='*.[ch]' backend | grep -v '^backend/xen/'
}

programs_build() {
	make --no-print-directory -j2 arm64 CFLAGS=-Werror
}


# What docs/hardening.md says of the units: nothing wrong in them, and an exposure
# of no more than that ("systemd-analyze security", times ten).
UNIT_EXPOSURE='virtio-grantd:30 virtio-grant-broker:11 virtio-grant-watch:9'

units_are_well_formed() {
	local dir unit said bad=0

	dir=$(mktemp -d) || return 1
	for unit in backend/units/*.service; do
		# The program is not installed here.
		sed 's,^ExecStart=.*,ExecStart=/bin/true,' "$unit" \
			>"$dir/${unit##*/}"
		said=$(systemd-analyze verify --man=no "$dir/${unit##*/}" 2>&1)
		if [ -n "$said" ]; then
			printf '%s\n' "$said"
			bad=1
		fi
	done
	rm -rf "$dir"
	return $bad
}

units_are_hardened() {
	local word bad=0

	for word in $UNIT_EXPOSURE; do
		systemd-analyze security --offline=yes --no-pager \
			--threshold="${word#*:}" \
			"backend/units/${word%:*}.service" || bad=1
		grep -qE "${word%:*}\.service.* $((${word#*:} / 10))\.$((${word#*:} % 10)) " \
			docs/hardening.md || {
			echo "docs/hardening.md does not say ${word#*:} / 10"
			bad=1
		}
	done
	return $bad
}

part_units() {
	say "the units"
	bash tests/xen/lib/deps.sh units
	if ! systemd-analyze security --help 2>/dev/null | grep -q -e --offline; then
		skip "units: no systemd-analyze with --offline (systemd 250)"
		return
	fi
	try "the units are well-formed" units_are_well_formed
	try "the units are as hardened as docs/hardening.md says" units_are_hardened
}

# What the rig does when something is missing or slow.
part_rig() {
	say "the rig itself"
	counted sources bash tests/xen/lib/sources-test.sh
	counted pace bash tests/xen/lib/pace-test.sh verbs
}

part_programs() {
	say "the programs, for arm64"
	bash tests/xen/lib/deps.sh rig || {
		bad "programs: the rig's packages can't be installed"
		return
	}
	try "programs build without a warning" programs_build
	try "virtio-grantd links nothing privileged" grantd_links
	try "only backend/xen includes Xen headers" xen_headers_stay
	try "the code stays in its rooms" tests/rooms.sh
	try "style of all C" tests/style.sh
	try "the documents name what is there" tests/docs.sh
}

# What README.md has an administrator do, below a directory.
installs() {
	local dir status=0

	dir=$(mktemp -d) || return 1
	make --no-print-directory install DESTDIR="$dir" prefix=/usr &&
		make --no-print-directory install-modules DESTDIR="$dir" &&
		"$dir/usr/sbin/virtio-grantctl" --version &&
		grep '^ExecStart=/usr/sbin/virtio-grantd' \
			"$dir/usr/lib/systemd/system/virtio-grantd.service" &&
		[ -s "$dir/usr/share/man/man8/virtio-grant-broker.8" ] &&
		grep PACKAGE_NAME "$dir"/usr/src/virtio-grant-*/dkms.conf || status=1
	rm -rf "$dir"/usr/src
	make --no-print-directory uninstall DESTDIR="$dir" prefix=/usr || status=1
	if find "$dir" -type f | grep .; then
		echo "make uninstall leaves these"
		status=1
	fi
	make --no-print-directory install-grantd DESTDIR="$dir" prefix=/usr &&
		[ ! -e "$dir/usr/sbin/virtio-grant-broker" ] || status=1
	make --no-print-directory install-broker DESTDIR="$dir" prefix=/usr &&
		[ -x "$dir/usr/sbin/virtio-grant-broker" ] || status=1
	rm -rf "$dir"
	make --no-print-directory install-toolstack DESTDIR="$dir" prefix=/usr &&
		grep '^ExecStart=/usr/sbin/virtio-grantctl watch' \
			"$dir/usr/lib/systemd/system/virtio-grant-watch.service" &&
		[ ! -e "$dir/usr/sbin/virtio-grant-broker" ] || status=1
	rm -rf "$dir"
	return $status
}

# In a copy: what has been built here, is needed.
cleans() {
	local dir status=0

	dir=$(mktemp -d) || return 1
	cp -r Makefile backend kernel tests spec "$dir/" &&
		mkdir -p "$dir/build/host" &&
		make --no-print-directory -C "$dir" clean &&
		[ ! -e "$dir/build" ] && [ -e "$dir/backend" ] || status=1
	rm -rf "$dir"
	return $status
}

# A target that nothing runs, breaks unseen.
targets_are_run() {
	local target bad=0

	for target in $(make --no-print-directory help |
			sed -nE 's/^make ([a-z-]+).*/\1/p; s/^make install .*also (.*)/\1/p' |
			tr -d ,); do
		case "$target" in
		check|check-long) continue ;;
		esac
		grep -qE "(make|scenarios)( -[-a-zA-Z0-9]+)* $target( |\"|\$|\)|$)" \
			tests/check.sh || {
			echo "make help lists $target, and tests/check.sh does not run it"
			bad=1
		}
	done
	return $bad
}

part_install() {
	say "the programs, for this machine"
	try "each target of make help is run by something" targets_are_run
	bash tests/xen/lib/deps.sh host || {
		bad "programs for this machine: their packages can't be installed"
		return
	}
	try "programs build" make --no-print-directory -j2 all
	try "make install, uninstall" installs
	try "make clean" cleans
}

part_sandbox() {
	say "attempts to get out of a worker's sandbox"
	sh tests/unit/deps.sh || {
		bad "sandbox: its packages can't be installed"
		return
	}
	counted sandbox make --no-print-directory check-sandbox
}

part_kernel() {
	say "the modules: every promised kernel, W=1 and sparse"
	bash tests/xen/lib/deps.sh kernel-build kernel-check || {
		bad "modules: their packages can't be installed"
		return
	}
	counted kernel make --no-print-directory check-kernel
}

# counted NAME COMMAND...: one whose lines that begin with PASS, FAIL or SKIP are
# tests; those that passed are in the log only.
counted() {
	local name="$1" log="build/check/$1.log" status line tests=0

	shift
	"$@" 2>&1 | tee "$log" | grep -v '^PASS '
	status=${PIPESTATUS[0]}
	while read -r line; do
		tests=$((tests + 1))
		case "$line" in
		PASS*) passed=$((passed + 1)) ;;
		FAIL*)
			failed=$((failed + 1))
			status=0	# that is why
			notes+="  $line"$'\n' ;;
		SKIP*)
			skipped=$((skipped + 1))
			notes+="  $line"$'\n' ;;
		esac
	done < <(grep -E '^(PASS|FAIL|SKIP) ' "$log")
	[ "$status" -eq 0 ] ||
		bad "$name: it ended with status $status (log: $log)"
	[ "$tests" -gt 0 ] || bad "$name: no test was run (log: $log)"
	say "$name: $tests tests"
}

part_spec() {
	say "the specification draft against the contract; Xen's patch and policy"
	bash tests/xen/lib/deps.sh flask spec || {
		bad "spec: the policy compiler can't be installed"
		return
	}
	bash tests/xen/lib/sources.sh path xen >build/check/xen-source ||
		bad "spec: Xen's source is not to be had"
	XEN_TAR=$(cat build/check/xen-source) counted spec spec/check.sh
}

part_xen() {
	say "real Xen in QEMU"
	bash tests/xen/lib/deps.sh rig kernel-build flask || {
		bad "scenarios: the rig's packages can't be installed"
		return
	}
	try "modules for the rig's kernels" kernel/build.sh 6.1 6.12 lockdep
	try "the probe for privileges" tests/xen/probe/build.sh
	try "the attacker on resources" tests/xen/flask/build.sh
	try "the attacker and its victim" tests/xen/isolation/build.sh
	try "what is made of the attacker's results" python3 \
		tests/xen/isolation/report_test.py
	try "the attacker inside a worker" make --no-print-directory -j2 \
		build/arm64/vg-sandbox-probe build/arm64/virtio-grantd-attacked
	counted limits bash tests/xen/lib/pace-test.sh run
	# Before the others: the main job.
	if make --no-print-directory demo 2>&1 | tee build/check/demo.log; then
		good "make demo"
	elif make --no-print-directory demo 2>&1 | tee build/check/demo.log; then
		good "make demo"
		notes+="  UNSTABLE demo: the first time it failed"$'\n'
	else
		bad "make demo (log: build/check/demo.log)"
	fi
	scenarios check-xen SCENARIOS="$(tests/xen/run.sh --list |
		grep -vx demo | tr '\n' ' ')"
}

# scenarios TARGET [VARIABLE=...]: a target that runs some of them.
scenarios() {
	local p f s log="build/check/$1.log"

	rm -f build/xen/summary
	make --no-print-directory "$@" 2>&1 | tee "$log"
	if read -r p f s <build/xen/summary; then
		add "$p" "$f" "$s"
		notes+=$(grep -E '^  (FAIL|SKIP|UNSTABLE) ' "$log")
		notes=${notes%$'\n'}${notes:+$'\n'}
	else
		bad "no scenario ran (log: $log)"
	fi
}

part_xen_long() {
	say "the long scenarios"
	scenarios check-xen-long
}

part_flask() {
	say "scenarios under Xen with FLASK, enforcing"
	scenarios check-flask
}

part_torture() {
	watch "kills under verified load" make --no-print-directory torture
}

part_isolation() {
	watch "the attacker in full" make --no-print-directory prove-isolation
}

part_compare() {
	watch "the comparison, its short form" \
		make --no-print-directory compare QUICK=1
}

# Typed at dom0's prompt, which comes when dom0 is up.
shell_answers() {
	rm -rf build/xen/shell
	(
		for ((i = 0; i < 300; i++)); do
			grep -aq '^dom0# ' build/check/shell.log 2>/dev/null && break
			sleep 1
		done
		printf 'xl list | sed s/Domain-0/it-is-there/\r'
		sleep 5
		printf 'poweroff -f\r'
		sleep 60
	) | timeout 600 make --no-print-directory shell >build/check/shell.log 2>&1
	cat build/check/shell.log
	grep -a '^it-is-there ' build/check/shell.log
}

part_shell() {
	rm -f build/check/shell.log
	try "make shell" shell_answers
}

# What is to be downloaded, while the processors have something else to do.
fetch_ahead() {
	local thing suite

	for thing in xen fio linux; do
		bash tests/xen/lib/sources.sh path "$thing"
	done
	for suite in trixie bookworm; do
		bash tests/xen/lib/apt.sh kernel "$suite" arm64 all
		bash tests/xen/lib/apt.sh kernel "$suite" amd64 all
	done
	bash tests/xen/lib/apt.sh kernel trixie arm64-16k all
	(
		# shellcheck source=SCRIPTDIR/xen/lib/apt.sh
		. tests/xen/lib/apt.sh
		# shellcheck source=SCRIPTDIR/../kernel/headers.sh
		. kernel/headers.sh
		vg_headers_newest arm64
		vg_headers_newest amd64
	)
}

mkdir -p build/check
if [ -z "${CHECK_PARTS:-}" ] && [ "$#" -eq 0 ]; then
	fetch_ahead >build/check/fetch-ahead.log 2>&1 &
fi
for part in ${CHECK_PARTS:-$parts}; do
	"part_$part"
done

echo
say "done"
printf '%s' "$notes"
if [ "$skipped" -gt 0 ]; then
	echo "$passed passed, $failed failed, $skipped skipped"
else
	echo "$passed passed, $failed failed"
fi
[ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
