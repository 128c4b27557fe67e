# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the comparisons of both machines share: workloads, runs, rounds, and what is
# written down of them.  On top of virtio.sh and bus.sh, by compare/compare.sh and
# compare/compare-x86.sh, which make the domains and say
#
#	BACKEND_TABLE	what there is, a line for each: name, guest, vdev, ram, how
#
#	. /vg/in/dom0/compare.sh

: "${QUICK:=}" "${ROUNDS:=3}" "${SWEEP_S:=2}" "${BACKENDS:=}" "${WORKLOADS:=}" "${OPTIONS:=}"
VG_TIMEOUT_S=300
RAM_KIB=65536

# name|bytes per I/O|fio
essential='4k-randread-qd1|4096|--rw=randread --bs=4k --iodepth=1
4k-randread-qd16|4096|--rw=randread --bs=4k --iodepth=16
4k-randwrite-qd16|4096|--rw=randwrite --bs=4k --iodepth=16
4k-randread-qd32|4096|--rw=randread --bs=4k --iodepth=32
64k-randread-qd16|65536|--rw=randread --bs=64k --iodepth=16'
complete="$essential
4k-randwrite-qd1|4096|--rw=randwrite --bs=4k --iodepth=1
4k-randwrite-qd32|4096|--rw=randwrite --bs=4k --iodepth=32
64k-randwrite-qd16|65536|--rw=randwrite --bs=64k --iodepth=16
1m-read-qd4|1048576|--rw=read --bs=1m --iodepth=4
1m-write-qd4|1048576|--rw=write --bs=1m --iodepth=4
mix-verify|4096|--rw=randrw --rwmixread=70 --bs=4k --iodepth=16 --verify=crc32c --verify_fatal=1 --size=6m --runtime=0 --time_based=0 --norandommap=0"
depths='1 2 4 8 16 32 64'
sizes='512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1m'

if [ -n "$QUICK" ]; then
	workloads="$essential"
	seconds="${SECONDS_EACH:-2}"
	sweep=
else
	workloads="$complete"
	seconds="${SECONDS_EACH:-5}"
	sweep=1
fi

# wants NAME: does it take part?
wants() {
	[ -z "$BACKENDS" ] || [[ " $BACKENDS " = *" $1 "* ]]
}

# choose_backends: of BACKEND_TABLE remains what takes part.
choose_backends() {
	local name rest all="$BACKEND_TABLE"

	BACKEND_TABLE=
	while IFS=$'\t' read -r name rest; do
		! wants "$name" ||
			BACKEND_TABLE="$BACKEND_TABLE${BACKEND_TABLE:+$'\n'}$name"$'\t'"$rest"
	done <<<"$all"
	[ -n "$BACKEND_TABLE" ] || fail "none of these is here: $BACKENDS"
	[ -z "$WORKLOADS" ] ||
		workloads=$(grep -E "^(${WORKLOADS// /|})\|" <<<"$complete")
}

# ram_disks: in DomD, one for each disk: an image has one user.
ram_disks() {
	in_domain DomD "modprobe brd rd_nr=11 rd_size=$RAM_KIB
		for r in $(cut -f 4 <<<"$BACKEND_TABLE" | tr '\n' ' '); do
			dd if=/dev/zero of=/dev/\$r bs=1M \
				count=$((RAM_KIB >> 10)) oflag=direct
		done 2>/dev/null"
}

INSTANCES=
# instance RUN_DIR PROGRAM OPTIONS...: in DomD.
instance() {
	local dir="$1"

	INSTANCES="$INSTANCES ${1##*/}"
	shift
	in_domain DomD "mkdir -p $dir
		( setsid $* --run-dir=$dir 2>&1 </dev/null |
			tee $dir/log >/dev/hvc0 ) &"
	retry 20 in_domain DomD "test -S $dir/grantd.sock" ||
		fail "$1 did not start: $(in_domain DomD "tail -n 1 $dir/log")"
}

# "SERIAL DEVICE" of each virtio disk of a guest: its serial is its vdev, or the
# name that it was attached with.
devices_of() {
	in_domain "$1" 'for d in /sys/block/vd*; do
		echo "$(cat $d/serial) ${d##*/}"; done'
}

# has_devices GUEST COUNT
has_devices() {
	[ "$(devices_of "$1" | grep -c '^xvd')" -eq "$2" ]
}

declare -A guest device
order=

# find_devices: under which name its guest has each.
find_devices() {
	local name g vdev ram how devices

	devices=$(for g in $(cut -f 2 <<<"$BACKEND_TABLE" | sort -u); do
		devices_of "$g" | sed "s/^/$g /"
	done)
	while IFS=$'\t' read -r name g vdev ram how; do
		guest[$name]="$g"
		if [ "$how" = blkback ]; then
			device[$name]="$vdev"
		else
			device[$name]=$(sed -n "s/^$g $vdev //p" <<<"$devices")
		fi
		[ -n "${device[$name]}" ] || fail "$name: $g has no disk $vdev"
		order="$order $name"
		say "$name: ${device[$name]} in $g"
	done <<<"$BACKEND_TABLE"
}

# ---- what there is to know about them ----------------------------------------

# pages_of NAME: of its pool, if it has one.
pages_of() {
	in_domain "${guest[$1]}" \
		"cat /sys/block/${device[$1]}/device/../grant_pool/pages_total 2>/dev/null"
}

facts() {
	local name pages

	echo "arch $VG_ARCH"
	echo "domid_DomD $(domid DomD)"
	for name in $(cut -f 2 <<<"$BACKEND_TABLE" | sort -u); do
		echo "domid_$name $(domid $name)"
		echo "bytes_$name $(($(xl list $name | awk 'NR == 2 { print $3 }') * 1048576))"
		echo "kernel_$name $(in_domain $name 'uname -r')"
	done
	echo "kernel_DomD $(in_domain DomD 'uname -r')"
	echo "xen $(xl info | awk '/^xen_version/ { print $3 }')"
	for name in $order; do
		pages=$(pages_of "$name") || continue
		echo "pool_pages_$name $pages"
	done
	echo "pv_grants $(in_domain DomD 'cat /sys/module/xen_blkback/parameters/max_persistent_grants')"
	echo "device_bytes $((RAM_KIB * 1024))"
	echo "seconds_each $seconds"
	echo "daemon_options ${OPTIONS:-none}"
	has_perf || echo "counters none"
}

# memory: of each instance's processes.
memory() {
	in_domain DomD "for dir in $INSTANCES; do
			pid=\$(cat /run/\$dir/virtio-*.pid)
			cat /proc/[0-9]*/status 2>/dev/null | awk -v p=\$pid -v d=\$dir '
				/^Pid:/ { me = \$2 } /^PPid:/ { up = \$2 }
				me != p && up != p { next }
				/^VmRSS:/ { rss += \$2 }
				/^RssAnon:|^VmPTE:/ { own += \$2 }
				END { print \"rss_\" d, rss; print \"own_\" d, own }'
		done
		awk '/MemTotal/ { t = \$2 } /MemAvailable/ { print \"domd_used\", t - \$2 }' /proc/meminfo"
}

# counted: what the daemons did.
counted() {
	local name

	step "what the daemons counted"
	for name in $INSTANCES; do
		in_domain DomD "virtio-grantctl -j -r /run/$name stats" \
			>/vg/out/ctl-$name.json
	done
}

# ---- runs ----------------------------------------------------------------------

nr=0
# run BACKEND WORKLOAD ROUND BYTES FIO...
run() {
	local name="$1" g="${guest[$1]}" file

	nr=$((nr + 1))
	file=$(printf '/vg/out/runs/%05d' "$nr")
	{
		echo "backend $1"
		echo "workload $2"
		echo "round $3"
		echo "io_bytes $4"
		echo "guest $g"
	} >"$file.new"
	! has_perf || perf_reset
	in_domain "$g" "cat /proc/interrupts >/tmp/i0
		fio --name=w --filename=/dev/${device[$name]} --ioengine=libaio \
			--direct=1 --size=$((RAM_KIB / 1024))m --runtime=$seconds \
			--time_based=1 --norandommap=1 --randrepeat=0 $5 \
			--output-format=terse --terse-version=3 --output=/tmp/fio 2>&1 ||
			{ cat /tmp/fio; exit 1; }
		cat /proc/interrupts >/tmp/i1" >/tmp/said ||
		fail "fio on $name, $2: $(tail -n 2 /tmp/said)"
	if has_perf; then
		xenperf -f >/tmp/perf
		grep -E '^(by domain:|trap: guest data)' /tmp/perf >>"$file.new"
	fi
	in_domain "$g" 'for i in 0 1; do
			echo "irqs $(awk "NR > 1 { n += \$2 } END { print n }" /tmp/i$i)"
		done
		sed "s/^/fio /" /tmp/fio' >>"$file.new"
	mv "$file.new" "$file"
}

# warm_up: pages come into use, and PV block's grants become persistent.
warm_up() {
	local name

	step "warming up"
	for name in $order; do
		in_domain "${guest[$name]}" "fio --name=w --filename=/dev/${device[$name]} \
			--ioengine=libaio --direct=1 --rw=randrw --bs=64k --iodepth=16 \
			--size=60m --time_based --runtime=2 --output=/dev/null 2>&1" >/tmp/said ||
			fail "fio on $name: $(tail -n 2 /tmp/said)"
	done
}

# rounds: in each the other way round, so that a drift favours nobody.
rounds() {
	local round names workload bytes args name

	for round in $(seq "$ROUNDS"); do
		step "round $round of $ROUNDS"
		names="$order"
		[ $((round % 2)) -eq 1 ] ||
			names=$(tr ' ' '\n' <<<"$order" | tac | tr '\n' ' ')
		while IFS='|' read -r workload bytes args; do
			for name in $names; do
				run "$name" "$workload" "$round" "$bytes" "$args"
			done
		done <<<"$workloads"
		memory >/vg/out/memory.$round
	done
}

# sweeps: over depth and size, one run each.
sweeps() {
	local name n bytes

	[ -n "$sweep" ] || return 0
	step "sweeps over depth and size"
	seconds="$SWEEP_S"
	for name in $order; do
		for n in $depths; do
			run "$name" "depth-$n" 1 4096 "--rw=randread --bs=4k --iodepth=$n"
		done
		for n in $sizes; do
			bytes=${n%k}
			case "$n" in
			*k) bytes=$((bytes * 1024)) ;;
			1m) bytes=1048576 ;;
			esac
			run "$name" "size-$bytes" 1 "$bytes" "--rw=randread --bs=$n --iodepth=16"
		done
	done
}

# compare: all of it.
compare() {
	mkdir -p /vg/out/runs
	find_devices
	facts >/vg/out/facts
	warm_up
	rounds
	sweeps
	counted
	result runs "$nr"
}
