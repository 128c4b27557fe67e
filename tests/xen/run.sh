#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Boots real Xen in QEMU and runs one scenario in it.
#
#	run.sh NAME [VAR=VALUE...]	a scenario of tests/xen/scenarios, or the
#					path of a script; the variables are the
#					scenario's; DOM0=pvh: on x86, with a PVH dom0
#	run.sh NAME@ARCH [VAR=VALUE...]	the same on arm64 or x86
#	run.sh --shell [VAR=VALUE...]	an interactive dom0
#	run.sh --prepare		build and fetch everything beforehand
#	run.sh --list			the scenarios there are, but for those with
#					"# rig: long" in their heads; one that runs
#					on a second machine, too, is there a second
#					time, as NAME@ARCH ("# rig: long x86": but
#					for that)
#	run.sh --list-long		these
#
# VG_ARCH=x86 or arm64: where no ARCH is named, which; without it, the first that
# the scenario names ("# rig: arch"), or arm64.
#
# VG_XEN_VARIANT=flask: any scenario under Xen with FLASK, enforcing; its driver
# domains get the label of spec/xen/flask (a scenario can ask for a variant by
# itself, see README.md).
#
# VG_INIT=systemd: any scenario with that as the first process of all domains, and
# the daemons by their units (a scenario can ask for it by itself, too).
#
# Limits are of a machine that does nothing else, times what this one takes longer
# (dom0/pace.sh): a scenario's "timeout", VG_LIMIT_S in its place, and VG_DOM0_S
# (120) for dom0 to come up.
#
# VG_KVM=0: x86 without KVM, where that could be.
#
# All of a run is kept in build/xen/NAME/ (NAME-ARCH/ if that is not the first that
# the scenario names, NAME-VARIANT/ if it was asked for so, README.md).  Exit status:
# 0 passed, 1 failed, 77 skipped; the last line says which, and why.

set -u
. "$(dirname "$0")/lib/common.sh"
. "$VG_LIB/deps.sh"
. "$VG_LIB/kernel.sh"
. "$VG_LIB/compose.sh"
. "$VG_LIB/scenario.sh"

rig_words() {
	vg_rig_words "$script" "$1"
}

verdict() {
	printf '%s\n' "$1" >"$dir/status"
	printf '%s\n' "${2:-}" >"$dir/reason"
	write_result "$1" "${2:-}"
	case "$1" in
	PASS) echo "$name: PASS ($((SECONDS - began)) s)"; exit 0 ;;
	SKIP) echo "$name: SKIP ($2)"; exit 77 ;;
	*) echo "$name: FAIL ($2; logs: ${dir#"$PWD/"})"; exit 1 ;;
	esac
}

write_result() {
	python3 - "$name" "$1" "$2" "$((SECONDS - began))" "$dir" \
		"$(pace_text "$pace")" <<-'EOP'
	import json, os, sys
	name, verdict, reason, seconds, dir, pace = sys.argv[1:7]
	doc = {"scenario": name, "verdict": verdict, "reason": reason,
	       "seconds": int(seconds), "pace": float(pace), "results": {}}
	try:
	    with open(os.path.join(dir, "progress"), errors="replace") as f:
	        for line in f:
	            words = line.rstrip().split(" ", 2)
	            if words[0] != "RESULT" or len(words) < 2:
	                continue
	            value = words[2] if len(words) > 2 else ""
	            for kind in (int, float):
	                try:
	                    value = kind(value)
	                    break
	                except ValueError:
	                    pass
	            doc["results"][words[1]] = value
	except FileNotFoundError:
	    pass
	with open(os.path.join(dir, "result.json"), "w") as f:
	    json.dump(doc, f, indent=1)
	    f.write("\n")
	EOP
}

# What the scenario needs and may not have been built.
check_needs() {
	local need kernel version programs="$VG_BUILD/$VG_DEB_ARCH"

	case " $(vg_scenario_archs "$script") " in
	*" $arch "*) ;;
	*) verdict SKIP "it does not run on $arch ('# rig: arch')" ;;
	esac
	case "$arch:$VG_XEN_VARIANT" in
	arm64:*|x86:|x86:stock|x86:plain) ;;
	*) verdict SKIP "there is no Xen called $VG_XEN_VARIANT for $arch" ;;
	esac
	for need in $(rig_words needs); do
		case "$need" in
		backend)
			[ -x "$programs/virtio-grantd" ] ||
				verdict SKIP "build/$VG_DEB_ARCH/virtio-grantd is not built" ;;
		program:*)
			[ -x "$programs/${need#*:}" ] ||
				verdict SKIP "build/$VG_DEB_ARCH/${need#*:} is not built" ;;
		modules)
			for kernel in $kernels; do
				version=$(cat "$(vg_kernel "$kernel")/version")
				ls "$VG_BUILD/modules/$version"/*.ko >/dev/null 2>&1 ||
					verdict SKIP "build/modules/$version is not built"
			done ;;
		kernel:*'?')
			need="${need%'?'}"
			! vg_kernel "${need#*:}" >/dev/null 2>&1 ||
				kernels="$kernels ${need#*:}" ;;
		kernel:*)
			vg_kernel "${need#*:}" >/dev/null 2>&1 ||
				verdict SKIP "there is no kernel called ${need#*:}"
			kernels="$kernels ${need#*:}" ;;
		*)
			verdict FAIL "the scenario needs '$need', which means nothing" ;;
		esac
	done
}

# The host's images become dom0's virtio disks.  "# rig: disk NAME SIZE" makes
# an empty one of that size; a host_before() may have made it already.
make_disks() {
	local disk size

	while read -r disk size; do
		[ -n "$disk" ] || continue
		[ -e "$dir/disk/$disk" ] || truncate -s "$size" "$dir/disk/$disk"
		qemu+=(-drive "if=none,id=$disk,file=$dir/disk/$disk,format=raw,cache=writeback"
			-device "virtio-blk-$bus,drive=$disk,serial=$disk")
	done < <(rig_words disk)
}

# Print what is new in the progress file.
follow() {
	local line

	while IFS= read -r line <&5; do
		case "$line" in
		STEP\ *)
			last_step="${line#STEP }"
			printf '  %3d s  %s\n' $((SECONDS - began)) "$last_step" ;;
		PACE\ *) pace="${line#PACE }" ;;
		SAY\ *) printf '         %s\n' "${line#SAY }" ;;
		RESULT\ *) printf '         %s\n' "${line#RESULT }" ;;
		PASS*|FAIL*|SKIP*) outcome="$line" ;;
		esac
	done
}

# Something that nothing recovers from?  Prints it.
look_for_disaster() {
	grep -a -m 1 -E 'VG-RIG-FAILED|Kernel panic - not syncing|Xen BUG at|Panic on CPU|Data Abort Trap|FATAL TRAP|Unable to mount root' \
		"$dir/serial.log" 2>/dev/null
}

# What dom0's boot has to go by: what the last run saw, if it was within the hour,
# and how many want each processor now.
last_pace() {
	local file="$VG_BUILD/xen/.pace" pace=10 load

	[ -z "$(find "$file" -mmin -60 2>/dev/null)" ] || read -r pace <"$file"
	read -r load _ <"${VG_LOADAVG:-/proc/loadavg}"
	load=$((10#${load/./} / 10 / $(nproc)))
	[ "$load" -le "$pace" ] || pace=$load
	[ "$pace" -le "$VG_PACE_MAX" ] || pace=$VG_PACE_MAX
	echo "$pace"
}

# dom0 is up: how long that took is this machine's pace, until more is known.
dom0_is_up() {
	pace=$(pace_of "$1" "$VG_PACE_DOM0_MS")
	echo "$pace" >"$dir/pace.new"
	mv "$dir/pace.new" "$dir/pace"
	is_up=1
}

# ask_xen: timers, domains and their vCPUs, event channels, run queues, by keys on
# its console.  For a machine that dom0 does not answer for any more.
ask_xen() {
	python3 - "$dir/serial.sock" <<-'EOP'
	import socket, sys, time
	s = socket.socket(socket.AF_UNIX)
	s.settimeout(1)
	s.connect(sys.argv[1])
	for key in "\x01\x01\x01", "a", "q", "e", "r", "0", "\x01\x01\x01":
	    s.send(key.encode())
	    end = time.time() + 2
	    while time.time() < end:
	        try:
	            s.recv(65536)
	        except socket.timeout:
	            pass
	EOP
}

# machine_ARCH XEN KERNELDIR: QEMU's words for it.  It starts Xen, and gives it dom0's
# kernel and initramfs.
machine_arm64() {
	bus=device
	qemu=(qemu-system-aarch64
		-M virt,virtualization=on,gic-version=3
		-cpu "max,pauth-impdef=on" -smp 2 -m "${VG_QEMU_MIB:-4096}"
		-accel "tcg,thread=multi"
		-kernel "$1"
		-append "dom0_mem=${dom0_mem:-768M} dom0_max_vcpus=1 console=dtuart dtuart=/pl011@9000000 noreboot $xen_words"
		-device "guest-loader,addr=0x49000000,kernel=$2/Image,bootargs=$linux_words"
		-device "guest-loader,addr=0x50000000,initrd=$dir/dom0.cpio")
}

# Without KVM a processor of few features: with SMAP dom0 dies at its first return
# to user mode, and XSAVE and RDTSCP (guests) and MWAIT (Xen) panic, since QEMU's
# own nested virtualization lacks part of what they take.  One processor: with two,
# what a guest traps for takes ten times as long.  No CMPXCHG16B: QEMU 7.2 leaves
# EFLAGS with an operand's bits after it, and a guest that is interrupted there is
# resumed with EFLAGS.VM, in a double fault.
machine_x86() {
	bus=pci
	qemu=(qemu-system-x86_64 -M q35 -m "${VG_QEMU_MIB:-4096}" -no-reboot)
	if has_nested_kvm; then
		printf '         with KVM and its nested virtualization\n'
		qemu+=(-accel kvm -cpu host -smp 2)
	else
		qemu+=(-accel "tcg,thread=multi"
			-cpu "qemu64,+svm,+npt,-monitor,-cx16" -smp 1)
	fi
	# Xen builds a PVH dom0 only where there is an IOMMU, and then the devices
	# have to use it: dom0's addresses are not the machine's.
	case " $xen_words " in
	*" dom0=pvh "*)
		qemu+=(-device "amd-iommu,intremap=on")
		bus=pci,disable-legacy=on,iommu_platform=on ;;
	esac
	qemu+=(-kernel "$1"
		-append "dom0_mem=${dom0_mem:-1024M} dom0_max_vcpus=1 console=com1 com1=115200,8n1 noreboot cpuidle=0 $xen_words"
		-initrd "$2/Image $linux_words,$dir/dom0.cpio")
}

# May this machine run a hypervisor with guests in KVM?
has_nested_kvm() {
	[ "${VG_KVM:-1}" != 0 ] && [ "$(uname -m)" = x86_64 ] &&
		[ -r /dev/kvm ] && [ -w /dev/kvm ] &&
		grep -qs '^[1Y]' /sys/module/kvm_{intel,amd}/parameters/nested
}

boot() {
	local limit="$1" xen kernel dom0_mem is_up='' started dom0_limit bus
	local linux_words='console=hvc0 rdinit=/init loglevel=4 panic=-1'

	xen=$(vg_xen) && kernel=$(vg_kernel 6.12) || return 1
	dom0_mem=$(rig_words dom0_mem)
	"machine_$arch" "$xen" "$kernel"
	qemu+=(-nic none -display none
		-fsdev "local,id=vg,path=$dir,security_model=none,multidevs=remap"
		-device "virtio-9p-$bus,fsdev=vg,mount_tag=vg"
		-fsdev "local,id=vg-in,path=$dir/in,security_model=none,readonly=on"
		-device "virtio-9p-$bus,fsdev=vg-in,mount_tag=vg-in")
	make_disks
	# For experiments, e.g. -chardev ... -gdb chardev:...
	# shellcheck disable=SC2206 # a list of words
	qemu+=(${VG_QEMU_OPTIONS:-})
	if [ -n "$shell" ]; then
		touch "$dir/in/shell"
		"${qemu[@]}" -monitor none -serial mon:stdio
		return
	fi
	: >"$dir/progress"
	exec 5<"$dir/progress"
	# Xen's console, to be spoken to as well: ask_xen().
	setsid "${qemu[@]}" -monitor none -serial chardev:serial \
		-chardev "socket,id=serial,path=$dir/serial.sock,server=on,wait=off,logfile=$dir/serial.log" \
		</dev/null >"$dir/qemu.log" 2>&1 &
	qemu_pid=$!
	trap 'kill "$qemu_pid" 2>/dev/null' EXIT
	trap 'exit 1' INT TERM
	outcome=
	disaster=
	last_step='booting Xen and dom0'
	dom0_limit=$(pace_limit "${VG_DOM0_S:-120}" "$(last_pace)")
	started=$(now_ms)
	printf '  %3d s  %s\n' $((SECONDS - began)) "$last_step"
	while kill -0 "$qemu_pid" 2>/dev/null; do
		follow
		if [ -z "$is_up" ] && [ -d "$dir/console" ]; then
			dom0_is_up $(($(now_ms) - started))
		fi
		if [ -n "$is_up" ] &&
		   [ $((($(now_ms) - started) / 1000)) -ge "$(pace_limit "$limit" "$pace")" ]; then
			disaster="time limit of $(pace_limit "$limit" "$pace") s"
			disaster+=" ($limit s at a pace of $(pace_text "$pace"))"
			break
		fi
		# dom0 says that it is there; without that, do not wait long.
		if [ -z "$is_up" ] &&
		   [ $(($(now_ms) - started)) -ge $((dom0_limit * 1000)) ]; then
			disaster="dom0 did not come up in $dom0_limit s"
			break
		fi
		if disaster=$(look_for_disaster); then
			sleep 1
			break
		fi
		sleep 0.3
	done
	follow
	case "$disaster" in
	'time limit'*|'dom0 did'*) ask_xen ;;
	esac
	kill "$qemu_pid" 2>/dev/null
	wait "$qemu_pid" 2>/dev/null
	trap - EXIT
	echo "$pace" >"$VG_BUILD/xen/.pace"
	[ "$pace" -le 10 ] ||
		echo "         limits were $(pace_text "$pace") times those of an idle machine"
	case "$outcome" in
	'')
		: "${disaster:=$(look_for_disaster)}"
		echo "---- the end of serial.log:"
		tail -n 15 "$dir/serial.log"
		[ ! -s "$dir/qemu.log" ] || tail -n 5 "$dir/qemu.log"
		if [ -s "$dir/log/scenario.log" ]; then
			echo "---- the end of log/scenario.log:"
			tail -n 15 "$dir/log/scenario.log"
		fi
		outcome="FAIL $last_step: ${disaster:-the machine stopped}"
		;;
	FAIL*)
		echo "---- the end of log/scenario.log:"
		tail -n 15 "$dir/log/scenario.log"
		;;
	esac
}

shell=
case "${1:-}" in
--list)
	vg_scenarios -L
	exit 0 ;;
--list-long)
	vg_scenarios -l
	exit 0 ;;
--prepare)
	vg_need_host_tools rig && vg_prepare 6.12 6.1
	exit ;;
--shell)
	shell=1
	name=shell
	script="$VG_XEN/shell.sh" ;;
''|-*)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
	exit 2 ;;
*/*)
	script="$1"
	name=$(basename "$1" .sh) ;;
*)
	script=$(vg_run_script "${1%.sh}")
	name=$(basename "$script" .sh) ;;
esac
[ -r "$script" ] || vg_die "no scenario $script"
if [ "$name" = shell ] || [[ $1 = */* ]]; then
	arch=$(vg_run_arch "" "$script")
else
	arch=$(vg_run_arch "${1%.sh}")
fi
shift
if [ "${VG_ARCH:-}" != "$arch" ]; then
	# For all that is called from here, too.
	export VG_ARCH="$arch"
	. "$VG_LIB/common.sh"
fi
. "$VG_XEN/dom0/pace.sh"

vg_need_host_tools rig || exit 1
name=$(vg_run_dir "$name" "$arch" "$script")
dir="$VG_BUILD/xen/$name"
kernels=$(rig_words kernels)
kernels="${kernels:-6.12}"
limit=$(rig_words timeout)
began=$SECONDS
pace=10
xen_words=$(rig_words cmdline)
case "$arch: $* " in
x86:*' DOM0=pvh '*) xen_words="dom0=pvh $xen_words" ;;
*' DOM0=pvh '*) vg_die "DOM0=pvh: only on x86 there are two kinds of dom0" ;;
esac
# Debian's own forbids grants between two guests unless it is told otherwise.
[ "${VG_XEN_VARIANT:-$(rig_words xen)}" = "$(rig_words xen)" ] ||
	[ "$VG_XEN_VARIANT" != stock ] || xen_words="xsm=dummy $xen_words"
export VG_XEN_VARIANT="${VG_XEN_VARIANT:-$(rig_words xen)}"
VG_INIT="${VG_INIT:-$(rig_words init)}"
case " $(rig_words without) " in
*' fio '*) VG_WITHOUT_FIO=1 ;;
esac
case "$arch:$VG_XEN_VARIANT" in
*:flask*) xen_words="flask=enforcing $xen_words" ;;
# Arm's vCPUs lose their timers if they move between CPUs that are held up (spec/xen,
# 0003, which our own Xen has): so none moves (dom0/lib.sh).
arm64:stock) xen_words="dom0_vcpus_pin $xen_words" ;;
esac

mkdir -p "$VG_BUILD/xen"
exec 6>"$VG_BUILD/xen/.$name.lock"
flock -n 6 || vg_die "scenario $name is running already"
rm -rf "$dir"
mkdir -p "$dir"/{in,out,disk,log}
check_needs
# shellcheck disable=SC2086 # a list of words
vg_prepare $kernels || verdict FAIL "preparing the rig"
began=$SECONDS
# shellcheck disable=SC2086
vg_compose "$dir" $kernels || verdict FAIL "putting the images together"
cp "$script" "$dir/in/scenario.sh"
for word in "VG_ARCH=$VG_ARCH" "VG_XEN_VARIANT=$VG_XEN_VARIANT" "VG_INIT=$VG_INIT" "$@"; do
	printf '%s=%q\n' "${word%%=*}" "${word#*=}"
done >"$dir/in/env"
host="${script%.sh}.host"
if [ -r "$host" ]; then
	# host_before DIR and host_after DIR run on this machine.
	. "$host"
	# Not in an if: there bash takes no notice of -e.
	(set -e; host_before "$dir") >"$dir/log/host-before.log" 2>&1
	if [ $? -ne 0 ]; then
		tail -n 5 "$dir/log/host-before.log"
		verdict FAIL "before the boot, on this machine: see log/host-before.log"
	fi
fi
if [ -n "$shell" ]; then
	boot 0
	exit 0
fi
boot "${VG_LIMIT_S:-${limit:-300}}"
if [ "${outcome%% *}" = PASS ] && [ -r "$host" ]; then
	printf '  %3d s  %s\n' $((SECONDS - began)) "checking on the host"
	(set -e; host_after "$dir") >"$dir/log/host-after.log" 2>&1
	if [ $? -ne 0 ]; then
		tail -n 5 "$dir/log/host-after.log"
		outcome="FAIL checking on the host: see log/host-after.log"
	fi
	grep '^RESULT ' "$dir/log/host-after.log" | tee -a "$dir/progress" |
		sed 's/^RESULT /         /'
fi
reason="${outcome#* }"
[ "$reason" != "$outcome" ] || reason=
verdict "${outcome%% *}" "$reason"
